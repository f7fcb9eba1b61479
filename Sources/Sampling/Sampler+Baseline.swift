// The adaptive baseline inside a sampler: which rate a trace has, and what is counted of it.

import OTLP

/// The baseline of one partition.
struct PartitionBaseline {
  let configuration: BaselineConfiguration
  /// Which policy it is.
  let policy: Int
  /// The rates in use; nil stands for those to begin with.
  private var rates: BaselineRates
  /// Nil while the stream clock has not begun.
  private(set) var traffic: TrafficCounts?
  /// The key of each service, by the number of its name, as far as it was asked for.
  private var keyOfService: [TrafficKey?] = []
  private var generation = -1
  /// Whether each service was asked for before the rates in use.
  private var isServiceKnown: [Bool] = []
  private let hashSeed: UInt64
  /// The keys of the trace that is being decided, and those of them whose own spans failed.
  var keys: [TrafficKey] = []
  var failed: [TrafficKey] = []

  init?(_ configuration: SamplerConfiguration) {
    guard let baseline = configuration.baseline else { return nil }
    let place = configuration.policies.firstIndex { $0.rule == .adaptive }
    guard let place else { return nil }
    policy = place
    self.configuration = baseline
    rates = BaselineRates(starting: baseline)
    hashSeed = configuration.hashSeed
  }

  mutating func adopt(_ rates: BaselineRates) {
    self.rates = rates
    traffic?.adopt(rates)
  }

  /// Begins to count at `clock`, if it has not begun.
  mutating func begin(_ partition: PartitionID, at clock: Instant) {
    guard traffic == nil, clock != .distantPast else { return }
    traffic = TrafficCounts(
      partition: partition, configuration: configuration, rates: rates, clock: clock, hashSeed: hashSeed)
  }

  /// The records of the intervals that are over.
  mutating func advance(to clock: Instant) -> [TrafficRecord] {
    traffic?.advance(to: clock) ?? []
  }

  /// The key of a service.
  mutating func key(of service: NameID, in names: NameTable) -> TrafficKey {
    guard var traffic = traffic.take() else { return .other }
    defer { self.traffic = traffic }
    if traffic.generation != generation {
      for slot in keyOfService.indices where keyOfService[slot] != nil { isServiceKnown[slot] = true }
      keyOfService.removeAll(keepingCapacity: true)
      generation = traffic.generation
    }
    let slot = Int(service.slot)
    while keyOfService.count <= slot { keyOfService.append(nil) }
    while isServiceKnown.count <= slot { isServiceKnown.append(false) }
    if let known = keyOfService[slot] { return known }
    let key = names.bytes(of: service).withRawBytes { traffic.key(of: $0, isNew: !isServiceKnown[slot]) }
    keyOfService[slot] = key
    return key
  }

  mutating func rate() -> BaselineRate {
    traffic?.rate(of: keys) ?? BaselineRate(threshold: rates.other, key: .other)
  }

  mutating func count(_ outcome: TraceOutcome, setBy key: TrafficKey) {
    traffic?.count(outcome, keys: keys, failed: failed, setBy: key)
  }
}

extension Sampler {
  /// Takes the rates that the fleet's traffic asks for. Of no effect without an adaptive baseline.
  public mutating func adopt(_ rates: BaselineRates) {
    baseline?.adopt(rates)
  }

  /// The baseline's rate for a trace that is decided now.
  mutating func baselineRate(of slot: Int) -> BaselineRate? {
    guard baseline != nil else { return nil }
    baseline?.keys.removeAll(keepingCapacity: true)
    baseline?.failed.removeAll(keepingCapacity: true)
    serviceLists.forEach(first: table[slot].services, count: Int(table[slot].serviceCount)) { service in
      // Names beyond the limit share one, as keys beyond theirs do.
      let key = service == otherServices ? .other : baseline?.key(of: service, in: services) ?? .other
      if baseline?.keys.contains(key) == false { baseline?.keys.append(key) }
    }
    errorNotes.forEach(from: table[slot].errors) { note in
      guard note.service != .none, note.service != otherServices else { return }
      let key = baseline?.key(of: note.service, in: services) ?? .other
      if key != .other, baseline?.failed.contains(key) == false { baseline?.failed.append(key) }
    }
    return baseline?.rate()
  }

  /// Counts a trace that was decided.
  mutating func countForBaseline(_ slot: Int, _ outcome: PolicyOutcome, wasKept: Bool, _ rate: BaselineRate) {
    guard let policy = baseline?.policy else { return }
    let isAlone = outcome.matches == 1 << UInt64(policy)
    let fate: TraceOutcome.Fate =
      wasKept || (outcome.isKept && !isAlone)
      ? .forced : outcome.isKept ? .kept : outcome.isVetoed ? .refused : .passed
    baseline?.count(
      TraceOutcome(
        fate, spans: Int(table[slot].spanCount), bytes: Int(clamping: table[slot].byteCount),
        incoming: table[slot].incomingThreshold),
      setBy: rate.key)
  }

  /// Writes the counts of the intervals that are over.
  mutating func publishCounts(into effects: inout Effects) {
    guard let history = baseline?.configuration.history else { return }
    baseline?.begin(partition, at: clock)
    for record in baseline?.advance(to: clock) ?? [] { effects.count(record, history: history) }
  }
}

extension Effects {
  /// Appends a record of counts.
  mutating func count(_ record: TrafficRecord, history: Int) {
    let start = arena.count
    record.topicKey(history: history).withRawBytes { arena.append($0) }
    let middle = arena.count
    record.encoded().withRawBytes { arena.append($0) }
    outputs.append(.count(key: start..<middle, record: middle..<arena.count))
    hasCounts = true
  }
}
