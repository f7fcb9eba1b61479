// Reads again what recalls need, within a budget of bytes a second.

internal import OTLP
internal import Sampling
internal import Topology

/// The bytes that a lane may read again.
struct RecallBudget {
  /// Bytes a second.
  var rate: Int
  /// What may be read now; negative after a batch that was larger.
  private var left = 0.0
  private var filledAt: Instant?

  init(rate: Int) { self.rate = rate }

  /// Adds what time has brought, up to a second's worth. Returns whether anything may be read.
  mutating func fill(at now: Instant) -> Bool {
    let second = Double(rate)
    let elapsed = filledAt.map { Double((now - $0).nanoseconds) / 1e9 } ?? 1
    left = min(second, left + second * max(0, elapsed))
    filledAt = now
    return left > 0
  }

  mutating func spend(_ bytes: Int) { left -= Double(bytes) }
}

extension SamplingJob {
  /// Reads on for the recalls of all partitions, as far as records have arrived and the budget lasts.
  mutating func recall(at now: Instant, through link: some BrokerLink) throws(BrokerError) {
    var wanted: [(PartitionID, Offset)] = []
    for partition in partitions where !partition.state.sampler.isRecovering {
      if let offset = partition.state.sampler.nextRecall() { wanted.append((partition.id, offset)) }
    }
    guard !wanted.isEmpty || isRecalling else { return }
    isRecalling = !wanted.isEmpty
    guard wanted.isEmpty || (seekAgainAt <= now && recallBudget.fill(at: now)) else { return }
    do {
      for (id, first) in try link.seekAgain(wanted, for: .recall) {
        guard let partition = find(id) else { continue }
        partition.state.sampler.loseRecalls(before: first, into: &effects)
        try drain(partition, to: link)
      }
      guard isRecalling else { return }
      try link.readAgain(for: .recall) { (place, key, value) throws(BrokerError) in
        guard let partition = find(place.partition) else { return }
        recallBudget.spend(value?.byteCount ?? 0)
        partition.state.recall(
          place, value: value, decoder: &decoder, bytesMax: configuration.sampler.limits.recordBytes,
          into: &effects)
        try drain(partition, to: link)
      }
    } catch {
      guard error.remedy == .retry else { throw error }
      // A leader that does not answer costs one wait now and then, not one a round.
      seekAgainAt = now + Self.seekPause
      report(.disturbed(error))
    }
  }

  /// The pause after partitions could not be sought.
  private static var seekPause: Interval { .seconds(3) }
}

extension PartitionState {
  /// Reads a record again for a recall, converting it first unless it is OTLP protobuf.
  fileprivate mutating func recall(
    _ place: RecordPlace, value: RawSpan?, decoder: inout InputDecoder, bytesMax: Int,
    into effects: inout Effects
  ) {
    guard let value, decoder.encoding != .otlpProto else {
      return sampler.recall(
        offset: place.offset, timestamp: place.timestamp, value: value, into: &effects)
    }
    var isTaken = false
    _ = decoder.decode(value, bytesMax: bytesMax) { converted in
      isTaken = true
      sampler.recall(offset: place.offset, timestamp: place.timestamp, value: converted, into: &effects)
      return nil
    }
    // It was a dead letter when it was read first.
    if !isTaken {
      sampler.recall(offset: place.offset, timestamp: place.timestamp, value: nil, into: &effects)
    }
  }
}
