// What a lane answers to its group: partitions that are assigned, revoked, lost; and starting over after an
// abort.

internal import Sampling

extension Lane where Job: ~Copyable {
  /// An event is gone only when it has been answered: an answer that fails is given again in the next round.
  func answerGroup(at moment: Moment) throws(BrokerError) {
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
      case .caughtUp(let id, let offset): job.noteEnd(of: id, at: offset)
      case .disturbed(let error): report(.disturbed(error))
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
      report(.disturbed(error))
      return false
    }
  }

  private func release(_ ids: [PartitionID]) throws(BrokerError) {
    job.forget(ids)
    membership.waiting.removeAll { ids.contains($0.id) }
    try link.release(ids)
    report(.released(ids))
  }

  // MARK: Resuming

  /// Whether partitions wait for something that can be done now.
  func isResuming(at moment: Moment) -> Bool {
    membership.pausedUntil <= moment.steady
      && membership.waiting.contains { $0.lookAgainAt <= moment.steady }
  }

  /// Resumes partitions that were assigned. What they wait for is asked for all of them at once, and one
  /// broker that does not answer costs one wait: the others are asked in a later round.
  func resumeWaiting(at moment: Moment) throws(BrokerError) {
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
        isRead = try job.resume(&partition, at: moment, from: link)
        guard now().steady <= begin + Self.resumptionSlice else { break }
      }
    } catch {
      guard error.remedy == .retry else { throw error }
      report(.disturbed(error))
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

  /// How long a round works on partitions that are not read yet.
  private static var resumptionSlice: Interval { .milliseconds(50) }
  /// How long the lane waits before it asks again for what was not there.
  private static var pause: Interval { .milliseconds(500) }

  // MARK: Aborts

  /// How many aborts in a row that no broker's state explains are too many.
  private static var abortsMax: Int { 10 }

  /// After an abort nothing that was done since the last commit counts: all partitions are resumed from what
  /// was committed.
  ///
  /// - Throws: `stop` when aborts of a kind that waiting does not mend come again and again.
  func startOver(after error: BrokerError? = nil, at moment: Moment) throws(BrokerError) {
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
    let ids = job.partitionIDs + membership.waiting.map(\.id)
    job.forget(ids)
    membership.waiting = ids.map { WaitingPartition(id: $0, since: moment.steady) }
    recordsSinceCommit = 0
    membership.mustStartOver = false
    membership.cause = nil
    try link.release(ids)
    report(.released(ids))
  }
}
