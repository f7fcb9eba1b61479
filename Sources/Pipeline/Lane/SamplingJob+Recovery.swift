// Restores a partition before it is read: its commit point, and its own decisions, which are read back.
// Reports the progress.

internal import Sampling

extension SamplingJob {
  package mutating func resume(
    _ waiting: inout WaitingPartition, at moment: Moment, from link: some BrokerLink
  ) throws(BrokerError) -> Bool {
    let id = waiting.id
    // A new lane waits for the fleet's rates instead of using its own first guess, and for links, but not
    // forever.
    guard isFleetKnown && areLinksKnown || waiting.since + Self.fleetPatience <= moment.steady else {
      waiting.lookAgainAt = moment.steady + .milliseconds(50)
      return false
    }
    guard try link.hasOutputs(for: id) else {
      waiting.lookAgainAt = moment.steady + Self.outputsInterval
      let text =
        "partition \(id.value) of '\(configuration.topic)' has no counterpart in the output topics yet: add "
        + "partitions to them"
      report(.disturbed(BrokerError(.retry, text)))
      return false
    }
    let committed = waiting.committed ?? nil
    let point = committed.flatMap { CommitPoint(safeOffset: $0.offset, metadata: $0.metadata) }
    let partition =
      restoring[id] ?? makePartition(waiting, at: point, moment, isWhole: link.commitsTogether)
    // Kept until it is read: a failed assignment is repeated.
    restoring[id] = partition
    if let point {
      guard try readDecisions(&waiting, at: point, wall: moment.wall, from: link) else { return false }
    }
    // Spans that were not counted for metrics may come before the safe offset.
    let from = point == nil ? committed?.offset : partition.state.sampler.nextOffset
    try link.resume([(id, from)])
    restoring[id] = nil
    partition.state.beginReading(at: moment)
    if let rates = fleetRates?.rates { partition.state.sampler.adopt(rates) }
    adoptShares(partition)
    add(partition)
    let again = point.map { $0.highWater.value - (from ?? $0.highWater).value } ?? 0
    report(.assigned(id, from: from, recordsAgain: again, verdicts: partition.state.verdicts))
    return true
  }

  /// How long partitions wait for the fleet's counts to be read,
  private static var fleetPatience: Interval { .seconds(10) }
  /// and the time between checks for a partition's counterparts.
  private static var outputsInterval: Interval { .seconds(2) }

  private func makePartition(
    _ waiting: WaitingPartition, at point: CommitPoint?, _ moment: Moment, isWhole: Bool
  ) -> AssignedPartition {
    var sampler = Sampler(
      partition: waiting.id, configuration: configuration.sampler, memory: memory, workspace: workspace)
    if let point {
      sampler.restore(point, isWhole: isWhole)
      if logs != nil, let position = point.logs { sampler.retainVerdicts(for: position.since) }
    }
    if logs != nil { sampler.followLogs(from: point?.logs?.next) }
    var state = PartitionState(sampler, point, assignedAt: waiting.since, at: moment)
    if logs != nil { state.logs = FollowedLogs(point?.logs) }
    return AssignedPartition(state)
  }

  /// The clock by which verdicts are needed for logs; nil if none are, or it is not known.
  private func verdictsForLogs(of point: CommitPoint) -> Instant? {
    guard logs != nil, let position = point.logs else { return nil }
    return position.since - configuration.sampler.verdictDisorder
  }

  /// Reads back more of the verdicts that were committed with `point` or before. Returns whether that was
  /// all.
  private mutating func readDecisions(
    _ waiting: inout WaitingPartition, at point: CommitPoint, wall: Instant, from link: some BrokerLink
  ) throws(BrokerError) -> Bool {
    // Decisions are stamped with the wall clock. Producers' clocks may be ahead of it: by what the last owner
    // saw, or by what they are ahead now.
    let since =
      min(
        min(point.clockOfVerdicts, point.oldestNeed ?? wall, verdictsForLogs(of: point) ?? wall)
          - point.clockAhead, wall)
      - configuration.sampler.windows.lateWindow
      - configuration.sampler.clockLead
    let isCertain = link.commitsTogether
    let restoring = restoring
    let past = try link.readDecisions(waiting.id, since: since, until: nil) { id, verdict in
      if let partition = restoring[id] {
        partition.state.restore(verdict, isCertain: isCertain)
      } else {
        find(id)?.state.sampler.found(verdict)
      }
    }
    switch past {
    case .reading(let read, let total):
      waiting.progress = (read, total)
      return false
    case .read(let isWhole, let damage):
      if !isWhole { restoring[waiting.id]?.state.sampler.noteMissingVerdicts(until: point.clock) }
      if let damage {
        written.ledgerPagesUnreadable += UInt64(damage.pages)
        report(.ledgerDamaged(waiting.id, damage))
      } else if !isWhole {
        report(.decisionsMissing(waiting.id, since: since))
      }
      return true
    }
  }

  /// Reports the progress of partitions that have not caught up with their last owners yet.
  mutating func tellProgress(of waiting: [WaitingPartition], at now: Instant) {
    for partition in partitions where partition.state.isBehind && !partition.state.sampler.isRecovering {
      partition.state.isBehind = false
      let time = now - partition.state.assignedAt
      measures.recoveryDurations.observe(time)
      report(.recovered(partition.id, after: time))
    }
    guard progressToldAt + LaneEvent.progressInterval <= now else { return }
    progressToldAt = now
    let restoring = waiting.map { partition in
      RecoveryProgress(
        partition: partition.id, phase: .decisions, done: partition.progress.read,
        total: partition.progress.of, elapsed: now - partition.since)
    }
    let reading = partitions.filter { $0.state.isBehind }.map { $0.state.progress(at: now) }
    if !restoring.isEmpty || !reading.isEmpty { report(.recovering(restoring + reading)) }
  }
}

extension PartitionState {
  /// Takes a verdict that was read back.
  ///
  /// Unless output and commit points become durable atomically, a verdict written after the commit may exist
  /// although the spans that it keeps don't. Only traces that began before the safe offset were certainly
  /// decided before the commit. The others are decided again: some of them twice, but nothing is lost.
  ///
  /// - Parameter isCertain: whether output and commit points become durable atomically.
  mutating func restore(_ verdict: RestoredVerdict, isCertain: Bool) {
    guard let point else { return }
    if !isCertain, verdict.recall != nil {
      // Requests after the commit are made again. What was pending then is fulfilled again: the spans may not
      // have been written, whatever the record says.
      if let last = verdict.lastOffset, last >= point.highWater { return }
      if verdict.isRevised, let oldest = point.oldestRecall, verdict.decidedAt >= oldest { return }
    }
    let began = verdict.firstOffset
    guard isCertain || began.map({ $0 < point.safeOffset }) ?? false else { return }
    sampler.restore(verdict)
    verdicts += 1
  }
}
