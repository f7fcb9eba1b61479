// Reads again what recalls need, within a budget of bytes a second.

internal import OTLP
internal import Sampling
internal import SpanStorage
internal import Topology

/// The bytes that a lane may read for something that can wait.
struct ReadingBudget {
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
    let eldest = eldestRecalling
    guard eldest != nil || isRecalling else { return }
    isRecalling = eldest != nil
    guard !isRecalling || recallBudget.fill(at: now) else { return }
    if !isRecalling || seekAgainAt <= now {
      do { try seekAgain(eldest, through: link) } catch {
        guard error.remedy == .retry else { throw error }
        // A leader that does not answer costs one wait now and then, not one a round, and the others are
        // sought before it the next time.
        seekAgainAt = now + Self.seekPause
        seekFailures += 1
        report(.disturbed(error))
      }
    }
    guard isRecalling else { return }
    try recallLogs(at: now, through: link)
    try link.readAgain(for: .recall) { (place, key, value) throws(BrokerError) in
      guard let partition = find(place.partition) else { return }
      recallBudget.spend(value?.byteCount ?? 0)
      partition.state.recall(
        place, value: value, decoder: &decoder, bytesMax: configuration.sampler.limits.recordBytes,
        into: &effects)
      try drain(partition, to: link)
      // Each partition may hold one trace that exceeds the limit; together they may not. The one that has
      // waited longest is spared, so that each has its turn.
      if hasNoRecallRoom, partition.id != eldest?.id { partition.state.sampler.relieveRecalls(all: true) }
    }
  }

  /// Tells the link what to read again.
  private mutating func seekAgain(
    _ eldest: AssignedPartition?, through link: some BrokerLink
  ) throws(BrokerError) {
    var wanted: [(PartitionID, Offset)] = []
    let first = partitions.isEmpty ? 0 : seekFailures % partitions.count
    for partition in partitions[first...] + partitions[..<first] where !partition.state.sampler.isRecovering {
      // Without room none is begun, except where a recall has waited longest.
      let mayBegin = !hasNoRecallRoom || partition.id == eldest?.id
      guard mayBegin || partition.state.sampler.isReadingAgain else { continue }
      if let offset = partition.state.sampler.nextRecall() { wanted.append((partition.id, offset)) }
    }
    try link.seekAgain(wanted, for: .recall) { (id, offset) throws(BrokerError) in
      guard let partition = find(id) else { return }
      partition.state.sampler.loseRecalls(before: offset, into: &effects)
      try drain(partition, to: link)
    }
  }

  /// The partition with the oldest request; nil if there is none.
  private var eldestRecalling: AssignedPartition? {
    var eldest: (partition: AssignedPartition, since: Instant)?
    for partition in partitions where !partition.state.sampler.isRecovering {
      guard let since = partition.state.sampler.oldestRecall else { continue }
      if eldest.map({ since < $0.since }) ?? true { eldest = (partition, since) }
    }
    return eldest?.partition
  }

  private var hasNoRecallRoom: Bool { memory.recallBytes > configuration.sampler.limits.recallBytes }

  /// The pause after partitions could not be sought.
  static var seekPause: Interval { .seconds(3) }
}

extension PartitionState {
  /// Reads a record again for a recall, decoding it first unless it is OTLP protobuf as it is.
  fileprivate mutating func recall(
    _ place: RecordPlace, value: RawSpan?, decoder: inout InputDecoder, bytesMax: Int,
    into effects: inout Effects
  ) {
    guard let value, !decoder.isPlain(value) else {
      return sampler.recall(
        offset: place.offset, timestamp: place.timestamp, value: value, into: &effects)
    }
    var isTaken = false
    _ = decoder.decode(value, bytesMax: bytesMax, convertedMax: bytesMax) { converted in
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
