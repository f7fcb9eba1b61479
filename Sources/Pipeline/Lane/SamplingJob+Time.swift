// What happens without a record: quiet partitions' windows close, and the fleet's rates change.

package import Sampling

extension SamplingJob {
  package mutating func noteEnd(of id: PartitionID, at offset: Offset) {
    find(id)?.state.noteEnd(at: offset)
  }

  /// Lets the clocks of quiet partitions run on: from where they were, by the time that has passed since. The
  /// time of day has no say in it, so a host whose clock is wrong, or is set, closes no window early.
  ///
  /// Quiet is not the same as read to the end: fetching may hang while records are written. So before a
  /// window closes by itself the broker is asked where the log ends, once for all partitions. What is written
  /// after `now` is too late for it, and what was written before has been read.
  mutating func letTimePass(at now: Instant, to link: some BrokerLink) throws(BrokerError) {
    guard askAgainAt <= now else { return }
    let idleAfter = configuration.idleAfter
    let due = partitions.filter { partition in
      partition.state.askedAt + Self.askInterval <= now
        && partition.state.isDue(at: now, idleAfter: idleAfter)
    }
    guard !due.isEmpty else { return }
    let ends: [Offset]
    do {
      ends = try link.ends(of: due.map(\.id))
    } catch {
      guard error.remedy == .retry else { throw error }
      // Windows wait for an answer. Those who ask too often keep the lane from its other work.
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

  /// How often brokers are asked for the end of a quiet partition,
  private static var askInterval: Interval { .milliseconds(500) }
  /// and how long they are left alone when they did not answer.
  private static var askPause: Interval { .seconds(3) }

  /// Writes what a sampler hands out without a record.
  mutating func drain(_ partition: AssignedPartition, to link: some BrokerLink) throws(BrokerError) {
    let last = Offset(max(0, (partition.state.sampler.nextOffset?.value ?? 1) - 1))
    try drain(partition.id, offset: last, to: link)
  }

  /// Reads what the fleet has counted, and takes the rates that follow.
  mutating func followFleet(at moment: Moment, through link: some BrokerLink) throws(BrokerError) {
    guard var fleet = fleetRates.take() else { return }
    defer { fleetRates = fleet }
    let now = partitions.reduce(moment.wall) { max($0, $1.state.sampler.clock) }
    isFleetKnown = try link.readStats { fleet.merge($0, now: now) } || isFleetKnown
    // While the past is read, rates would change with every record of it.
    guard isFleetKnown, let rates = fleet.newRates(at: moment.steady) else { return }
    for partition in partitions { partition.state.sampler.adopt(rates) }
  }
}
