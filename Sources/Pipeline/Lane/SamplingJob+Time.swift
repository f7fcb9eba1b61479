// What happens without a record: quiet partitions' windows close, and the fleet's rates change.

package import Sampling

extension SamplingJob {
  package mutating func noteEnd(of id: PartitionID, at offset: Offset) {
    find(id)?.state.noteEnd(at: offset)
  }

  /// Advances the clocks of quiet partitions from where they were, by the time elapsed since. The wall clock
  /// plays no part in it, so a host whose clock is wrong, or is set, closes no window early.
  ///
  /// Quiet does not mean read to the end: fetching may hang while records are written. So before time alone
  /// closes a window, the broker is asked where the log ends, once for all partitions. Records written after
  /// `now` are too late for the window, and those written before have been read.
  mutating func letTimePass(at now: Instant, to link: some BrokerLink) throws(BrokerError) {
    guard askAgainAt <= now else { return }
    let idleAfter = configuration.idleAfter
    let due = partitions.filter { partition in
      partition.state.askedAt + Self.askInterval <= now
        && partition.state.isDue(at: now, idleAfter: idleAfter, logsWait: logs?.configuration.wait)
    }
    guard !due.isEmpty else { return }
    let ends: [Offset]
    do {
      ends = try link.ends(of: due.map(\.id))
    } catch {
      guard error.remedy == .retry else { throw error }
      // Windows wait for an answer. Frequent requests would keep the lane from its other work.
      askAgainAt = now + Self.askPause
      return report(.disturbed(error))
    }
    for (partition, end) in zip(due, ends) {
      partition.state.askedAt = now
      guard let next = partition.state.sampler.nextOffset, end <= next else { continue }
      partition.state.sampler.advance(to: partition.state.quietClock(at: now), into: &effects)
      try drain(partition, to: link)
    }
  }

  /// The time between requests for the end of a quiet partition,
  private static var askInterval: Interval { .milliseconds(500) }
  /// and the pause after one without an answer.
  private static var askPause: Interval { .seconds(3) }

  /// Writes what a sampler emits without a record.
  mutating func drain(_ partition: AssignedPartition, to link: some BrokerLink) throws(BrokerError) {
    let last = Offset(max(0, (partition.state.sampler.nextOffset?.value ?? 1) - 1))
    try drain(partition.id, offset: last, to: link)
  }

  /// Reads the fleet's counts, and adopts the rates and the shares of limits that follow.
  mutating func followFleet(at moment: Moment, through link: some BrokerLink) throws(BrokerError) {
    let hasLimits = configuration.sampler.hasFleetLimits
    guard fleetRates != nil || hasLimits else { return }
    var (rates, limits) = (fleetRates.take(), fleetLimits)
    fleetLimits = FleetLimits()
    defer { (fleetRates, fleetLimits) = (rates, limits) }
    let now = partitions.reduce(moment.wall) { max($0, $1.state.sampler.clock) }
    let isRead = try link.readStats { value in
      // Also while there is no such limit: another set of policies may bring one.
      if DemandRecord.isOne(value) {
        limits.merge(value, now: now)
      } else {
        rates?.merge(value, now: now)
      }
    }
    if hasLimits { try limits.count(partitionIDs, through: link, at: moment.steady) }
    isFleetKnown = isFleetKnown || (isRead && (!hasLimits || limits.partitionCount != nil))
    // While old counts are read, rates would change with every record.
    guard isFleetKnown else { return }
    if hasLimits, let shares = limits.newShares(of: partitionIDs, at: moment.steady) { adopt(shares) }
    guard let new = rates?.newRates(at: moment.steady) else { return }
    for partition in partitions { partition.state.sampler.adopt(new) }
  }

  private func adopt(_ shares: [PartitionID: PartitionShares]) {
    for partition in partitions {
      if let own = shares[partition.id] { partition.state.sampler.adopt(own) }
    }
  }

  /// Adopts the shares that are known, for policies that are new.
  func adoptShares() {
    guard configuration.sampler.hasFleetLimits else { return }
    adopt(fleetLimits.shares(of: partitionIDs))
  }

  /// The same for a partition that is about to be read.
  func adoptShares(_ partition: AssignedPartition) {
    guard configuration.sampler.hasFleetLimits else { return }
    if let own = fleetLimits.shares(of: [partition.id])[partition.id] {
      partition.state.sampler.adopt(own)
    }
  }
}
