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
}

/// What a member of the group keeps between two rounds.
struct Membership {
  /// In the order of their assignment.
  var waiting: [WaitingPartition] = []
  /// What the group has told, as far as it is not dealt with.
  var events: [GroupEvent] = []
  /// When outputs and points were made lasting last, by the steady clock.
  var committedAt = Instant.distantPast
  /// Records taken since.
  var recordsSinceCommit = 0
  /// Set when what was written since the last commit must not be committed.
  var mustStartOver = false
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
  /// Something passing went wrong.
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
      try round(at: moment, timeout: timeout)
    } catch {
      guard error.remedy == .abort else { throw error }
      noteDisturbance(error)
      try startOver(at: moment)
    }
  }

  private func round(at moment: Moment, timeout: Interval) throws(BrokerError) {
    // While partitions are being taken up there is something to do other than to wait for records.
    let patience = membership.waiting.isEmpty ? timeout : .seconds(0)
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

  /// Makes everything done so far lasting, and commits.
  func commit() throws(BrokerError) {
    // Without a point there is nothing to be made lasting either: outputs come from records or from time, and
    // both move the point.
    let points = duePoints
    membership.recordsSinceCommit = 0
    guard !points.isEmpty else { return }
    let begin = now()
    try link.commit(points)
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
  private func commitBeforeRelease() throws(BrokerError) -> Bool {
    do {
      try commit()
      return true
    } catch {
      guard error.remedy != .stop else { throw error }
      noteDisturbance(error)
      return false
    }
  }

  /// Takes up partitions that were assigned. One that can't be taken up yet waits; the others go on.
  private func takeUpWaiting(at moment: Moment) throws(BrokerError) {
    var index = 0
    while index < membership.waiting.count {
      var partition = membership.waiting[index]
      var isRead = false
      do {
        isRead = try takeUp(&partition, at: moment)
      } catch {
        guard error.remedy == .retry else { throw error }
        noteDisturbance(error)
      }
      membership.waiting[index] = partition
      if isRead { membership.waiting.remove(at: index) } else { index += 1 }
    }
  }

  /// After an abort nothing that was done since the last commit counts: all partitions are taken up again.
  private func startOver(at moment: Moment) throws(BrokerError) {
    membership.mustStartOver = true
    try link.abort()
    membership.aborts += 1
    let ids = partitionIDs + membership.waiting.map(\.id)
    try release(ids)
    membership.waiting = ids.map { WaitingPartition(id: $0, since: moment.steady) }
    membership.recordsSinceCommit = 0
    membership.mustStartOver = false
  }

  private func release(_ ids: [PartitionID]) throws(BrokerError) {
    forget(ids)
    membership.waiting.removeAll { ids.contains($0.id) }
    try link.release(ids)
    noteReleased(ids)
  }
}

/// What a worker's thread drives: rounds until it is told to stop.
protocol LaneRounds {
  /// Takes over policies, baseline and version between two rounds.
  func adopt(_ sampler: SamplerConfiguration)
  /// One round, waiting no longer than `timeout` for a record.
  func step(at moment: Moment, timeout: Interval) throws(BrokerError)
  /// Makes everything done so far lasting and leaves the group.
  func stop() throws(BrokerError)
  /// Leaves the group as things are.
  func leave()
  /// What it holds and has done.
  func snapshot() -> LaneSnapshot
  /// What it has measured; costs more than a snapshot.
  func measured() -> LaneMeasures
}

extension Lane: LaneRounds {}
extension Repartitioner: LaneRounds {}
