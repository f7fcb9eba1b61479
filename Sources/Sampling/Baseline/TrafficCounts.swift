// One partition's counts, and the rates that it decides with: the part of the baseline inside a sampler.

public import OTLP

/// A key of a partition's `TrafficCounts`. Valid until `TrafficCounts.generation` changes.
public struct TrafficKey: Hashable, Sendable {
  let slot: Int32

  /// All keys that are not tracked individually, and traces without a key.
  public static let other = TrafficKey(slot: 0)
}

/// Which key decided a trace, and with which rate.
public struct BaselineRate: Equatable, Sendable {
  /// The rate: the trace is kept if its randomness is at or above the threshold.
  public var threshold: SamplingThreshold
  /// The key that set it.
  public var key: TrafficKey
}

/// The outcome of a trace, for the counts.
public struct TraceOutcome: Equatable, Sendable {
  /// Why a trace is kept or dropped.
  public enum Fate: Sendable {
    /// Kept by another policy: an error, slow, and so on.
    case forced
    /// Kept for being the first of its shape. Others of its keys come, and are the baseline's: it counts as
    /// present, but its own rate does not.
    case first
    /// Left to the baseline, which kept it.
    case kept
    /// Left to the baseline, which dropped it.
    case passed
    /// Dropped by a policy: the baseline was not evaluated.
    case refused
  }

  /// Whether and why it was kept or dropped.
  public var fate: Fate
  /// How many traces; more than one if equal traces are counted together.
  public var traces: Int
  /// The spans of all of them.
  public var spans: Int
  /// The bytes of their spans.
  public var bytes: Int
  /// The threshold of their head sampling.
  public var incoming: SamplingThreshold

  /// Makes an outcome.
  public init(
    _ fate: Fate, traces: Int = 1, spans: Int, bytes: Int, incoming: SamplingThreshold = .always
  ) {
    self.fate = fate
    self.traces = traces
    self.spans = spans
    self.bytes = bytes
    self.incoming = incoming
  }
}

/// One partition's rates, and its counts of the current interval.
///
/// For each trace: `key(of:)` for its names, `rate(of:)`, then `count`. For each move of the stream clock:
/// `advance(to:)`. Memory is bounded by the keys of the rates and `newNamesMax` names more.
public struct TrafficCounts: Sendable {
  private struct Slot: Sendable {
    var name: [UInt8]
    var hash: UInt32
    var threshold: SamplingThreshold
    var isKnown: Bool
    /// How many more traces may be kept whole because the name is new.
    var newTracesLeft: Int
    var traffic = KeyTraffic()
  }

  /// Changes whenever earlier keys become invalid.
  public private(set) var generation = 0
  /// The total of traces whose names were not tracked individually because there were too many.
  public private(set) var crowdedOut: UInt64 = 0
  /// The rates in use.
  public private(set) var rates: BaselineRates

  private let partition: PartitionID
  private var configuration: BaselineConfiguration
  /// The largest rate of a key.
  private var ceiling: SamplingThreshold
  /// What was kept against the budget; it counts if `isWithinBudget`.
  private(set) var account: BudgetAccount
  private let seed: HashSeed
  private var slots: [Slot] = []
  private var nameBytes = 0
  private var index = HashIndex()
  private var newNamesLeft = 0
  private var newTracesLeft = 0
  private var interval: IntervalNumber
  /// When counting began in this interval: nanoseconds since 1970.
  private var countedFrom: Int64

  /// Begins to count at `clock`. The hash seed changes no output; see ``SamplerConfiguration/hashSeed``.
  public init(
    partition: PartitionID, configuration: BaselineConfiguration, rates: BaselineRates, clock: Instant,
    hashSeed: UInt64
  ) {
    self.partition = partition
    self.configuration = configuration
    ceiling = SamplingThreshold(probability: configuration.ceiling)
    self.rates = rates
    account = BudgetAccount(configuration, share: rates.share)
    seed = HashSeed(value: hashSeed)
    interval = IntervalNumber(of: clock, length: configuration.interval)
    countedFrom = max(0, clock.nanoseconds)
    restart(with: [])
    newTracesLeft = rates.newTracesMax
  }

  /// Bytes of memory in use; each name includes the 32-byte header of its array.
  var byteCount: Int {
    slots.capacity * MemoryLayout<Slot>.stride + slots.count * 32 + nameBytes + index.byteCount
  }

  /// How many keys are tracked individually, without `other`.
  public var keyCount: Int { slots.count - 1 }

  // MARK: Rates

  /// Adopts new rates. Keeps the counts of this interval.
  public mutating func adopt(_ rates: BaselineRates) {
    self.rates = rates
    account.adopt(configuration, share: rates.share)
    restart(with: slots)
  }

  /// Adopts another configuration that counts the same.
  mutating func adopt(_ configuration: BaselineConfiguration) {
    let isCountedAlike = configuration.budget.isCounted(like: self.configuration.budget)
    self.configuration = configuration
    ceiling = SamplingThreshold(probability: configuration.ceiling)
    account.adopt(configuration, share: rates.share)
    // What is left of spans says nothing about bytes.
    if !isCountedAlike { account = BudgetAccount(configuration, share: rates.share) }
  }

  /// Goes on with the account of counts that were discarded.
  mutating func resume(_ account: BudgetAccount) {
    self.account = account
    self.account.adopt(configuration, share: rates.share)
  }

  /// Whether a first trace of a shape, of this amount, is within its share of the budget, so that what
  /// `reserve` traces cost is left for others.
  func mayKeepFirst(amount: UInt64, reserve: Int64) -> Bool {
    account.hasTokens(forAmount: amount, reserve: reserve)
  }

  /// Notes that a first trace of a shape, of this amount, is kept.
  mutating func keepFirst(amount: UInt64) { account.takeTokens(forAmount: amount) }

  /// Rebuilds the slots for the current rates, with the counts of `old`, whose first is `other`.
  private mutating func restart(with old: [Slot]) {
    generation += 1
    var other = Slot(name: [], hash: 0, threshold: rates.other, isKnown: true, newTracesLeft: 0)
    if let first = old.first { other.traffic = first.traffic }
    slots = [other]
    nameBytes = 0
    index = HashIndex(capacity: old.count)
    newNamesLeft = rates.newNamesMax
    for slot in old.dropFirst() where slot.traffic.seen > 0 {
      if let threshold = rates.threshold(of: slot.name) {
        append(slot, threshold: threshold, isKnown: true)
      } else if newNamesLeft > 0 {
        newNamesLeft -= 1
        append(slot, threshold: rates.other, isKnown: false)
      } else {
        slots[0].traffic.add(slot.traffic)
      }
    }
  }

  private mutating func append(_ old: Slot, threshold: SamplingThreshold, isKnown: Bool) {
    var slot = old
    slot.threshold = threshold
    slot.isKnown = isKnown
    if isKnown { slot.newTracesLeft = 0 }
    index.insert(slot.hash, slot: slots.count)
    nameBytes += slot.name.count
    slots.append(slot)
  }

  /// The key for `name`, cut to `TrafficName.bytesMax`; `other` after too many new names.
  ///
  /// A name `isNew` if the partition has never seen it. A name that was only silent for a window has no rate
  /// either, but none of its first traces are kept whole: with little traffic all names are like this.
  public mutating func key(of name: RawSpan, isNew: Bool = true) -> TrafficKey {
    let cut = name.extracting(first: TrafficName.bytesMax)
    let hash = seed.hash(cut)
    if let slot = index.find(
      hash, where: { slot in slots[slot].name.withRawBytes { $0.isEqual(to: cut) } })
    {
      return TrafficKey(slot: Int32(truncatingIfNeeded: slot))
    }
    let bytes = cut.copied()
    let known = rates.threshold(of: bytes)
    if known == nil {
      guard newNamesLeft > 0 else {
        crowdedOut += 1
        return .other
      }
      newNamesLeft -= 1
    }
    let slot = slots.count
    index.insert(hash, slot: slot)
    nameBytes += bytes.count
    slots.append(
      Slot(
        name: bytes, hash: hash, threshold: known ?? rates.other, isKnown: known != nil,
        newTracesLeft: known == nil && isNew ? BaselineRates.newTracesPerNameMax : 0))
    return TrafficKey(slot: Int32(truncatingIfNeeded: slot))
  }

  /// The rate of a trace with these keys: the largest of theirs; that of `other` if it has none.
  ///
  /// The first traces of a new name are kept whole. The log determines which, not their randomness, so they
  /// rightly stand only for themselves.
  public mutating func rate(of keys: [TrafficKey]) -> BaselineRate {
    var best = BaselineRate(threshold: .never, key: keys.first ?? .other)
    if keys.isEmpty { best.threshold = slots[0].threshold }
    for key in keys {
      let slot = Int(key.slot)
      if slots[slot].newTracesLeft > 0, takesNewTrace() {
        slots[slot].newTracesLeft -= 1
        return BaselineRate(threshold: .always, key: key)
      }
      if slots[slot].threshold < best.threshold {
        best = BaselineRate(threshold: slots[slot].threshold, key: key)
      }
    }
    if configuration.isWithinBudget { best.threshold = account.moved(best.threshold, ceiling: ceiling) }
    return best
  }

  /// Whether one more trace of a new name is kept whole.
  private mutating func takesNewTrace() -> Bool {
    if configuration.isWithinBudget {
      return configuration.firstOfShapeShare == 0 && account.takeTokensForOne()
    }
    guard newTracesLeft > 0 else { return false }
    newTracesLeft -= 1
    return true
  }

  // MARK: Counts

  /// Counts traces for which `rate(of:)` was called, or would have been.
  ///
  /// - Parameters:
  ///   - outcome: the outcome and the size of the traces.
  ///   - keys: the traces' keys, each once.
  ///   - failed: the keys whose own spans failed.
  ///   - key: the key that set the rate.
  ///   - threshold: the rate; nil if traces with several are counted together.
  public mutating func count(
    _ outcome: TraceOutcome, keys: [TrafficKey], failed: [TrafficKey] = [], setBy key: TrafficKey,
    threshold: SamplingThreshold? = nil
  ) {
    let counted = TrafficTally(
      traces: UInt64(clamping: outcome.traces), spans: UInt64(clamping: outcome.spans),
      bytes: UInt64(clamping: outcome.bytes))
    // Larger weights than a million make no difference: the rate that they ask for is below any grid step.
    let weight = min(max(1, outcome.incoming.adjustedCount), 1_048_576)
    let weighted = weight == 1 ? counted : counted.times(weight)
    let isOffered = outcome.fate == .kept || outcome.fate == .passed
    let isPresent = isOffered || outcome.fate == .first
    if configuration.isWithinBudget { settle(counted, outcome, at: threshold) }
    // Several names of a trace may be `other`, which counts the trace once.
    var isOther = keys.isEmpty
    for key in keys {
      if key == .other { isOther = true } else { see(counted, isPresent ? weighted : nil, at: key) }
    }
    if isOther { see(counted, isPresent ? weighted : nil, at: .other) }
    for key in failed {
      let most = slots[Int(key.slot)].traffic.seen
      let sum = slots[Int(key.slot)].traffic.failed.addingSaturated(counted.traces)
      slots[Int(key.slot)].traffic.failed = min(sum, most)
    }
    let slot = Int(key.slot)
    var whole = slots[slot].traffic.decided
    whole.addCapped(counted)
    // Beyond the largest number nothing is counted, so parts never exceed their whole.
    guard slots[slot].traffic.decided.isWithin(whole, by: counted) else { return }
    slots[slot].traffic.decided = whole
    if isOffered { slots[slot].traffic.offered.addCapped(weighted) }
    switch outcome.fate {
    case .forced, .first: slots[slot].traffic.forced.add(counted)
    case .kept: slots[slot].traffic.kept.add(counted)
    case .passed, .refused: break
    }
  }

  private mutating func settle(
    _ counted: TrafficTally, _ outcome: TraceOutcome, at threshold: SamplingThreshold?
  ) {
    let amount = configuration.budget.amount(counted)
    account.earn(traces: outcome.traces, amount: amount)
    switch outcome.fate {
    case .first: account.spend(traces: outcome.traces, amount: amount)
    case .forced: if configuration.includesForced { account.spend(traces: outcome.traces, amount: amount) }
    case .kept, .passed:
      account.spend(
        traces: outcome.traces, amount: amount, isKept: outcome.fate == .kept, at: threshold,
        incoming: outcome.incoming)
    case .refused: break
    }
  }

  private mutating func see(_ counted: TrafficTally, _ weighted: TrafficTally?, at key: TrafficKey) {
    slots[Int(key.slot)].traffic.seen.addCapped(counted.traces)
    if let weighted { slots[Int(key.slot)].traffic.present.addCapped(weighted) }
  }

  /// When the current interval ends.
  var intervalEnd: Instant {
    let length = configuration.interval.nanoseconds
    return Instant(nanoseconds: (interval.value + 1).multipliedClamped(by: length))
  }

  /// Moves the stream clock. Returns the records of the finished intervals, to write to `stats`. A gap in
  /// stream time yields records without traffic for its last `history` intervals.
  public mutating func advance(to clock: Instant) -> [TrafficRecord] {
    let now = IntervalNumber(of: clock, length: configuration.interval)
    guard now > interval else { return [] }
    let end = (interval.value + 1).multipliedClamped(by: configuration.interval.nanoseconds)
    var records = [record(covered: end - countedFrom)]
    let firstEmpty = max(interval.value + 1, now.value - Int64(configuration.history))
    for empty in firstEmpty..<now.value {
      records.append(emptyRecord(of: IntervalNumber(empty), covered: configuration.intervalMilliseconds))
    }
    interval = now
    countedFrom = now.value.multipliedClamped(by: configuration.interval.nanoseconds)
    newTracesLeft = rates.newTracesMax
    account.startInterval()
    restart(with: [])
    return records
  }

  private func emptyRecord(of interval: IntervalNumber, covered: Int64) -> TrafficRecord {
    TrafficRecord(
      partition: partition, interval: interval, intervalMilliseconds: configuration.intervalMilliseconds,
      coveredMilliseconds: min(max(1, covered), configuration.intervalMilliseconds))
  }

  private func record(covered: Int64) -> TrafficRecord {
    var record = emptyRecord(of: interval, covered: covered / 1_000_000)
    record.other = slots[0].traffic
    record.entries = slots.dropFirst().filter { $0.traffic.seen > 0 }.map { slot in
      TrafficRecord.Entry(name: slot.name, isKnown: slot.isKnown, traffic: slot.traffic)
    }
    record.entries.sort { $0.name.precedes($1.name) }
    return record
  }
}

extension UInt64 {
  /// Adds, saturating at the largest count of a record.
  fileprivate mutating func addCapped(_ other: UInt64) {
    self = Swift.min(addingSaturated(other), TrafficRecord.countMax)
  }
}

extension TrafficTally {
  fileprivate mutating func addCapped(_ other: TrafficTally) {
    traces.addCapped(other.traces)
    spans.addCapped(other.spans)
    bytes.addCapped(other.bytes)
  }

  /// Whether `whole` is this plus `part`, nothing cut off.
  fileprivate func isWithin(_ whole: TrafficTally, by part: TrafficTally) -> Bool {
    whole.traces - traces == part.traces && whole.spans - spans == part.spans
      && whole.bytes - bytes == part.bytes
  }

  /// Each number multiplied, rounded, and limited to the largest count of a record.
  fileprivate func times(_ weight: Double) -> TrafficTally {
    func product(_ count: UInt64) -> UInt64 {
      UInt64(min((Double(count) * weight).rounded(), Double(TrafficRecord.countMax)))
    }
    return TrafficTally(traces: product(traces), spans: product(spans), bytes: product(bytes))
  }
}

extension Int64 {
  /// The product, or the largest number on overflow. For non-negative numbers.
  fileprivate func multipliedClamped(by other: Int64) -> Int64 {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow ? .max : product
  }
}
