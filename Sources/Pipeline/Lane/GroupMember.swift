// What lanes and repartitioners have in common: rounds, answers to the group, commits, and starting over.

internal import Sampling

/// A partition that is assigned to a member and not read yet.
struct WaitingPartition {
  let id: PartitionID
  /// When it was assigned, by the steady clock.
  let since: Instant
  /// What was committed for it; nil in the outer sense while nobody has asked.
  var committed: CommittedPoint??
  /// How far its decisions have been read back, of how many offsets.
  var progress: (read: Int64, of: Int64) = (0, 0)
  /// It waits for something that takes its time, such as a topic's new partition, and is looked at again
  /// then, by the steady clock.
  var lookAgainAt = Instant.distantPast
}

/// What a member of the group keeps between two rounds.
struct Membership {
  /// In the order of their assignment.
  var waiting: [WaitingPartition] = []
  /// What the group has told, as far as it is not dealt with.
  var events: [GroupEvent] = []
  /// Points whose commit has begun and not ended: nothing else is done before it has.
  var unfinished: [(PartitionID, CommitPoint)]?
  /// When outputs and points were made lasting last, by the steady clock.
  var committedAt = Instant.distantPast
  /// Records taken since.
  var recordsSinceCommit = 0
  /// Set when what was written since the last commit must not be committed,
  var mustStartOver = false
  /// and why, where an error was the reason.
  var cause: BrokerError?
  /// Partitions are not taken up before then, by the steady clock: a broker that does not answer is asked
  /// again a little later, and not for each of them.
  var pausedUntil = Instant.distantPast
  /// Aborts since the last commit that no broker's state explains.
  var abortsInARow = 0
  /// Whether the group has told what is read.
  var hasJoined = false
  /// How often what has happened.
  var rebalances: [String: UInt64] = [:]
  var aborts: UInt64 = 0

  /// Counts what the group has told, once it is dealt with.
  fileprivate mutating func count(_ event: GroupEvent) {
    switch event {
    case .assigned:
      hasJoined = true
      rebalances["assigned", default: 0] += 1
    case .revoked: rebalances["revoked", default: 0] += 1
    case .lost:
      hasJoined = false
      rebalances["lost", default: 0] += 1
    case .caughtUp, .disturbed: break
    }
  }
}

/// One member of the group with its producer: it reads partitions and writes what comes of them.
///
/// The rounds are here; what a partition's records lead to is the conforming type's.
protocol GroupMember: AnyObject {
  associatedtype Link: BrokerLink
  var link: Link { get }
  var configuration: LaneConfiguration { get }
  var membership: Membership { get set }

  /// The partitions that are read.
  var partitionIDs: [PartitionID] { get }
  /// Points that have moved since they were committed.
  var duePoints: [(PartitionID, CommitPoint)] { get }
  /// All points, whether they have moved or not.
  var allPoints: [(PartitionID, CommitPoint)] { get }

  /// Takes a record.
  func take(_ place: RecordPlace, key: RawSpan?, value: RawSpan?, at moment: Moment) throws(BrokerError)
  /// Goes on with taking up a partition. Returns whether it is read now; if not, it is asked again in the
  /// next round.
  func takeUp(_ partition: inout WaitingPartition, at moment: Moment) throws(BrokerError) -> Bool
  /// Does what is due beside records.
  func workOff(at moment: Moment) throws(BrokerError)
  /// The points have been committed, between these two moments.
  func noteCommitted(_ points: [(PartitionID, CommitPoint)], from begin: Moment, to end: Moment)
  /// What time it is, to measure by; nothing that is done depends on it.
  var now: () -> Moment { get }
  /// Drops what is known of partitions.
  func forget(_ ids: [PartitionID])
  /// All records of a partition before an offset have been handed out.
  func noteEnd(of id: PartitionID, at offset: Offset)
  /// A transient error, which the member recovers from on its own.
  func noteDisturbance(_ error: BrokerError)
  /// Partitions were given up.
  func noteReleased(_ ids: [PartitionID])
}

extension GroupMember {
  /// One round: reads what there is, answers the group, does what is due, commits if it is time to.
  ///
  /// - Throws: what the link throws. After `retry` the same call may be made again.
  func doRound(at moment: Moment, timeout: Interval) throws(BrokerError) {
    do {
      if membership.mustStartOver { try startOver(after: membership.cause, at: moment) }
      if membership.unfinished != nil { try commit() }
      try round(at: moment, timeout: timeout)
    } catch {
      guard error.remedy == .abort else { throw error }
      noteDisturbance(error)
      try startOver(after: error, at: moment)
    }
  }

  private func round(at moment: Moment, timeout: Interval) throws(BrokerError) {
    // While partitions are being taken up there is something to do other than to wait for records.
    let isTakingUp =
      membership.pausedUntil <= moment.steady
      && membership.waiting.contains { $0.lookAgainAt <= moment.steady }
    let patience = isTakingUp ? .seconds(0) : timeout
    let count = try link.poll(timeout: patience) { (place, key, value) throws(BrokerError) in
      try take(place, key: key, value: value, at: moment)
    }
    membership.recordsSinceCommit += count
    membership.events += link.takeEvents()
    try answerGroup(at: moment)
    try takeUpWaiting(at: moment)
    try workOff(at: moment)
    if moment.steady >= membership.committedAt + configuration.commitInterval
      || membership.recordsSinceCommit >= configuration.commitRecords
    {
      try commit()
      membership.committedAt = moment.steady
    }
  }

  /// Makes everything done so far lasting, and commits. After `retry` it goes on with what it has begun.
  func commit() throws(BrokerError) {
    guard !membership.mustStartOver else {
      throw BrokerError(.abort, "what was written since the last commit must not be committed")
    }
    var points = membership.unfinished ?? duePoints
    // Outputs come from records or from time, and both move the point, but for what is written for want of
    // memory while records are read again.
    if points.isEmpty, link.hasUncommitted { points = allPoints }
    membership.recordsSinceCommit = 0
    guard !points.isEmpty else { return }
    let begin = now()
    do { try link.commit(points) } catch {
      membership.unfinished = error.remedy == .retry && link.isCommitting ? points : nil
      throw error
    }
    membership.unfinished = nil
    membership.abortsInARow = 0
    noteCommitted(points, from: begin, to: now())
  }

  // MARK: Group

  /// An event is gone only when it has been dealt with: an answer that fails is given again in the
  /// next round.
  private func answerGroup(at moment: Moment) throws(BrokerError) {
    while let event = membership.events.first {
      switch event {
      case .assigned(let ids):
        // The answer comes at once, and reading begins when it can: the group waits for nobody's recovery.
        try link.resume([])
        membership.waiting += ids.map { WaitingPartition(id: $0, since: moment.steady) }
      case .revoked(let ids):
        if !membership.mustStartOver { membership.mustStartOver = try !commitBeforeRelease() }
        try release(ids)
      case .lost(let ids):
        // They are somebody else's: what was written for them since the last commit must not be committed.
        membership.mustStartOver = true
        try release(ids)
      case .caughtUp(let id, let offset): noteEnd(of: id, at: offset)
      case .disturbed(let error): noteDisturbance(error)
      }
      membership.count(event)
      membership.events.removeFirst()
    }
    if membership.mustStartOver { try startOver(at: moment) }
  }

  /// Commits everything, for the sake of partitions that are given up: their outputs and those of the others
  /// are in one transaction. Returns false if that failed; they are given up all the same, and their next
  /// owner reads again.
  ///
  /// - Throws: `retry` while it is not known what became of the commit: the group waits so long.
  private func commitBeforeRelease() throws(BrokerError) -> Bool {
    do {
      try commit()
      return true
    } catch {
      guard error.remedy != .stop, !link.isCommitting else { throw error }
      noteDisturbance(error)
      return false
    }
  }

  /// Takes up partitions that were assigned. What they wait for is asked for all of them at once, and one
  /// broker that does not answer costs one wait: the others are asked in a later round.
  private func takeUpWaiting(at moment: Moment) throws(BrokerError) {
    guard membership.pausedUntil <= moment.steady else { return }
    let begin = now().steady
    do {
      try askForCommits()
      for id in membership.waiting.filter({ $0.lookAgainAt <= moment.steady }).map(\.id) {
        guard let index = membership.waiting.firstIndex(where: { $0.id == id }) else { continue }
        // The next round begins with the others.
        var partition = membership.waiting.remove(at: index)
        var isRead = false
        defer { if !isRead { membership.waiting.append(partition) } }
        isRead = try takeUp(&partition, at: moment)
        guard now().steady <= begin + Self.takeUpSlice else { break }
      }
    } catch {
      guard error.remedy == .retry else { throw error }
      noteDisturbance(error)
      // The round's moment lies before what has been waited for.
      membership.pausedUntil = moment.steady + (now().steady - begin) + Self.pause
    }
  }

  /// Asks for the committed points of all partitions that nobody has asked for yet.
  private func askForCommits() throws(BrokerError) {
    let ids = membership.waiting.filter { $0.committed == nil }.map(\.id)
    guard !ids.isEmpty else { return }
    let points = try link.committed(ids)
    for (id, point) in zip(ids, points) {
      guard let index = membership.waiting.firstIndex(where: { $0.id == id }) else { continue }
      membership.waiting[index].committed = .some(point)
    }
  }

  /// How long a round works on partitions that are being taken up.
  private static var takeUpSlice: Interval { .milliseconds(50) }
  /// How long the member waits before it asks again for what was not there.
  static var pause: Interval { .milliseconds(500) }
  /// How many aborts in a row that no broker's state explains are too many.
  private static var abortsMax: Int { 10 }

  /// After an abort nothing that was done since the last commit counts: all partitions are taken up again.
  ///
  /// - Throws: `stop` when aborts of a kind that waiting does not mend come again and again.
  private func startOver(after error: BrokerError? = nil, at moment: Moment) throws(BrokerError) {
    membership.mustStartOver = true
    membership.cause = error
    let begin = now().steady
    try link.abort()
    membership.aborts += 1
    if let error {
      if !error.isTransient { membership.abortsInARow += 1 }
      guard membership.abortsInARow < Self.abortsMax else {
        throw BrokerError(
          .stop, "given up after \(Self.abortsMax) aborts without a commit between them: \(error.message)")
      }
      membership.pausedUntil = moment.steady + (now().steady - begin) + Self.pause
    }
    membership.unfinished = nil
    let ids = partitionIDs + membership.waiting.map(\.id)
    forget(ids)
    membership.waiting = ids.map { WaitingPartition(id: $0, since: moment.steady) }
    membership.recordsSinceCommit = 0
    membership.mustStartOver = false
    membership.cause = nil
    try link.release(ids)
    noteReleased(ids)
  }

  private func release(_ ids: [PartitionID]) throws(BrokerError) {
    forget(ids)
    membership.waiting.removeAll { ids.contains($0.id) }
    try link.release(ids)
    noteReleased(ids)
  }
}
