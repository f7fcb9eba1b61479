// How a lane answers its group when partitions are assigned, revoked or lost, and starts over after an abort.

internal import Sampling

extension Lane where Job: ~Copyable {
  /// An event is removed only once it has been answered: a failed answer is repeated in the next round.
  func answerGroup(at moment: Moment) throws(BrokerError) {
    while let event = membership.events.first {
      switch event {
      case .assigned(let ids):
        // The answer is immediate, and reading begins when it can: the group does not wait for recovery.
        try link.resume([])
        membership.waiting += ids.map { WaitingPartition(id: $0, since: moment.steady) }
      case .revoked(let ids):
        if !membership.mustStartOver { membership.mustStartOver = try !commitBeforeRelease() }
        try release(ids)
      case .lost(let ids):
        // They belong to another member: output for them since the last commit must not be committed.
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

  /// Commits everything before partitions are released: their output shares a transaction with that of the
  /// others. Returns false if that failed; they are released all the same, and their next owner replays.
  ///
  /// - Throws: `retry` while the commit's outcome is unknown: the group waits until then.
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

  /// Whether waiting partitions can be resumed now.
  func isResuming(at moment: Moment) -> Bool {
    membership.pausedUntil <= moment.steady
      && membership.waiting.contains { $0.lookAgainAt <= moment.steady }
  }

  /// Resumes assigned partitions. Committed points are requested for all of them at once, and an unresponsive
  /// broker costs one wait: the other partitions are tried in a later round.
  func resumeWaiting(at moment: Moment) throws(BrokerError) {
    guard !membership.waiting.isEmpty, membership.pausedUntil <= moment.steady else { return }
    let begin = now().steady
    do {
      try askForCommits()
      for id in membership.waiting.filter({ $0.lookAgainAt <= moment.steady }).map(\.id) {
        guard let index = membership.waiting.firstIndex(where: { $0.id == id }) else { continue }
        // The next round begins with the other partitions.
        var partition = membership.waiting.remove(at: index)
        var isRead = false
        defer { if !isRead { membership.waiting.append(partition) } }
        isRead = try job.resume(&partition, at: moment, from: link)
        guard now().steady <= begin + Self.resumptionSlice else { break }
      }
    } catch {
      guard error.remedy == .retry else { throw error }
      report(.disturbed(error))
      // The round's moment is from before the wait.
      membership.pausedUntil = moment.steady + (now().steady - begin) + Self.pause
    }
  }

  /// Requests the committed points of all partitions for which they have not been requested yet.
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
  /// How long the lane waits after an error before it tries again.
  private static var pause: Interval { .milliseconds(500) }

  // MARK: Aborts

  /// How many non-transient aborts in a row end the process.
  private static var abortsMax: Int { 10 }

  /// After an abort, everything since the last commit is void: all partitions are resumed from their
  /// committed points.
  ///
  /// - Throws: `stop` after too many aborts that waiting does not fix.
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
          .stop, "gave up after \(Self.abortsMax) aborts without a commit in between: \(error.message)")
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
