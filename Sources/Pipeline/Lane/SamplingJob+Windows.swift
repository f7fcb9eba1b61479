// Log-backed windows: reads the input a second time, up to where all traces are decided.

internal import OTLP
package import Sampling
internal import SpanStorage
internal import Topology

extension SamplingJob {
  /// Hands out kept traces of all partitions, as far as records have arrived.
  mutating func follow(at now: Instant, through link: some BrokerLink) throws(BrokerError) {
    var wanted: [(PartitionID, Offset)] = []
    for partition in partitions {
      if let offset = partition.state.nextHandOut(at: now) { wanted.append((partition.id, offset)) }
    }
    guard !wanted.isEmpty || isFollowing else { return }
    isFollowing = !wanted.isEmpty
    guard wanted.isEmpty || followAgainAt <= now else { return }
    do {
      try link.seekAgain(wanted, for: .windows) { (id, first) in
        find(id)?.state.sampler.loseHandOuts(before: first)
      }
      guard isFollowing else { return }
      try link.readAgain(for: .windows) { (place, key, value) throws(BrokerError) in
        guard let partition = find(place.partition) else { return }
        let isPassed = partition.state.handOut(
          place, key: key, value: value, decoder: &decoder,
          bytesMax: configuration.sampler.limits.recordBytes, into: &effects)
        if !isPassed { try drain(partition, to: link) }
      }
    } catch {
      guard error.remedy == .retry else { throw error }
      followAgainAt = now + Self.followPause
      report(.disturbed(error))
    }
  }

  /// The pause after partitions could not be sought.
  private static var followPause: Interval { .seconds(3) }

  /// Whether records are polled in this round. While kept traces that wait for their hand-out take half of
  /// the memory for tables, the follower goes first: records are polled only to stay in the group.
  package mutating func mayPoll(at now: Instant) -> Bool {
    guard isFollowing, polledAt + Self.slowPollInterval > now, isFarBehind else {
      polledAt = now
      return true
    }
    return false
  }

  /// How often a lane polls that reads too fast for its follower.
  private static var slowPollInterval: Interval { .milliseconds(500) }

  private var isFarBehind: Bool {
    partitions.reduce(0) { $0 + $1.state.sampler.handOutBytes } > memory.tableBytesMax / 2
  }
}

extension PartitionState {
  /// Reads a record again, decoding it first unless it is OTLP protobuf as it is. Returns whether it was
  /// passed without being read.
  fileprivate mutating func handOut(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, decoder: inout InputDecoder, bytesMax: Int,
    into effects: inout Effects
  ) -> Bool {
    if sampler.passHandOut(offset: place.offset, key: key) { return true }
    guard let value, !decoder.isPlain(value) else {
      sampler.handOut(offset: place.offset, value: value, into: &effects)
      return false
    }
    var isTaken = false
    _ = decoder.decode(value, bytesMax: bytesMax, convertedMax: bytesMax) { converted in
      isTaken = true
      sampler.handOut(offset: place.offset, value: converted, into: &effects)
      return nil
    }
    // It was a dead letter when it was read first.
    if !isTaken { sampler.handOut(offset: place.offset, value: nil, into: &effects) }
    return false
  }
}
