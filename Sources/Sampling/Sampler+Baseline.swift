// The adaptive baseline inside a sampler: a trace's rate, and what is counted of the trace.

import OTLP

/// The baseline of one partition.
struct PartitionBaseline {
  private(set) var configuration: BaselineConfiguration
  /// The index of its policy.
  private(set) var policy: Int
  /// The rates in use; the starting rates until others are adopted.
  private var rates: BaselineRates
  /// Nil until the stream clock has started.
  private(set) var traffic: TrafficCounts?
  /// The keys of open traces, if keys are made of attributes.
  var attributes: AttributeKeys?

  /// What is known of a name.
  private struct Resolved {
    var key = TrafficKey.other
    /// The generation of the key; negative if the name was never looked up.
    var generation = -1
  }

  /// Indexed by the number of the name of a service, or of a key made of attributes.
  private var resolved: [Resolved] = []
  private let hashSeed: UInt64
  /// The intervals whose counts were published last,
  private var published: [IntervalNumber] = []
  /// and how many are remembered: what is published when the clock jumps is fewer.
  private static var publishedMax: Int { 64 }
  /// The keys of the trace being decided, and those whose own spans failed.
  var keys: [TrafficKey] = []
  var failed: [TrafficKey] = []

  init?(_ configuration: SamplerConfiguration) {
    guard let baseline = configuration.baseline else { return nil }
    guard let place = PartitionBaseline.policy(of: configuration) else { return nil }
    policy = place
    self.configuration = baseline
    rates = BaselineRates(starting: baseline)
    hashSeed = configuration.hashSeed
    attributes = AttributeKeys(
      baseline.key, limits: configuration.limits, seed: HashSeed(value: configuration.hashSeed))
  }

  /// Bytes of memory in use, without the rates, which a lane's partitions share.
  var byteCount: Int {
    resolved.capacity * MemoryLayout<Resolved>.stride + (traffic?.byteCount ?? 0)
      + (attributes?.byteCount ?? 0)
  }

  private static func policy(of configuration: SamplerConfiguration) -> Int? {
    configuration.policies.firstIndex { $0.rule == .adaptive }
  }

  /// Adopts what may change in a baseline. Counting continues.
  mutating func adopt(_ configuration: SamplerConfiguration) {
    guard let baseline = configuration.baseline, let place = PartitionBaseline.policy(of: configuration)
    else { return }
    self.configuration = baseline
    policy = place
  }

  mutating func adopt(_ rates: BaselineRates) {
    self.rates = rates
    traffic?.adopt(rates)
  }

  /// Starts counting at `clock`, if it has not started.
  mutating func begin(_ partition: PartitionID, at clock: Instant) {
    guard traffic == nil, clock != .distantPast else { return }
    traffic = TrafficCounts(
      partition: partition, configuration: configuration, rates: rates, clock: clock, hashSeed: hashSeed)
  }

  /// Discards the counts of this interval: the stream clock was set back to before it.
  mutating func restart() {
    traffic = nil
    // Names stay known, but not their keys: no key is of generation 0.
    for slot in resolved.indices where resolved[slot].generation > 0 { resolved[slot].generation = 0 }
  }

  /// The records of completed intervals, each interval once: the topic is compacted, so a second record, of
  /// what came after the clock was set back, would replace the first.
  mutating func advance(to clock: Instant) -> [TrafficRecord] {
    guard let records = traffic?.advance(to: clock), !records.isEmpty else { return [] }
    let new = records.filter { !published.contains($0.interval) }
    published.append(contentsOf: new.map(\.interval))
    published.removeFirst(max(0, published.count - PartitionBaseline.publishedMax))
    return new
  }

  /// Forgets the keys of the trace decided last.
  mutating func startTrace() {
    keys.removeAll(keepingCapacity: true)
    if !failed.isEmpty { failed.removeAll(keepingCapacity: true) }
  }

  /// The key of a name.
  @inline(__always)
  private mutating func key(of name: NameID, in names: NameTable) -> TrafficKey {
    let slot = Int(name.slot)
    // Nearly every name is known, and moving the counts takes longer than the rest.
    if slot < resolved.count, let now = traffic?.generation, resolved[slot].generation == now {
      return resolved[slot].key
    }
    return findKey(of: name, in: names)
  }

  private mutating func findKey(of name: NameID, in names: NameTable) -> TrafficKey {
    guard var traffic = traffic.take() else { return .other }
    defer { self.traffic = traffic }
    let slot = Int(name.slot)
    while resolved.count <= slot { resolved.append(Resolved()) }
    let last = resolved[slot]
    let key = names.withBytes(of: name) { traffic.key(of: $0, isNew: last.generation < 0) }
    resolved[slot] = Resolved(key: key, generation: traffic.generation)
    return key
  }

  /// Notes that the trace being decided has a service, or a key made of attributes; nil stands for those
  /// beyond the limit.
  mutating func note(_ name: NameID?, in names: NameTable) {
    let key = name.map { self.key(of: $0, in: names) } ?? .other
    if !keys.contains(key) { keys.append(key) }
  }

  /// Notes that spans with this name failed.
  mutating func noteFailure(of name: NameID, in names: NameTable) {
    let key = key(of: name, in: names)
    if key != .other, !failed.contains(key) { failed.append(key) }
  }

  /// Notes the keys of the trace in `slot`.
  mutating func noteAttributes(of slot: Int) {
    guard var attributes = attributes.take() else { return }
    defer { self.attributes = attributes }
    attributes.gather(slot)
    for key in attributes.gathered where !key.isImplied {
      note(key.name == .none ? nil : key.name, in: attributes.names)
      if key.isFailed, key.name != .none { noteFailure(of: key.name, in: attributes.names) }
    }
  }

  /// Adds a span's key to those of the open trace in `slot`. False if its name is beyond the limit of
  /// distinct names.
  mutating func note(_ span: SpanView, of bytes: RawSpan, in slot: Int) -> Bool {
    guard attributes?.read(span, of: bytes) == true else { return true }
    let isFailed = span.status == .error
    guard attributes?.addKnown(to: slot, isFailed: isFailed) == false else { return true }
    // A flood of names must not cost others their rates: names that have a rate are always told apart.
    guard attributes?.makeRoom() == true || rates.threshold(of: attributes?.name ?? []) != nil else {
      attributes?.addOther(to: slot, isFailed: isFailed)
      return false
    }
    if let new = attributes?.addNew(to: slot, isFailed: isFailed), Int(new.slot) < resolved.count {
      resolved[Int(new.slot)] = Resolved()
    }
    return true
  }

  mutating func rate() -> BaselineRate {
    traffic?.rate(of: keys) ?? BaselineRate(threshold: rates.other, key: .other)
  }

  mutating func count(_ outcome: TraceOutcome, setBy key: TrafficKey) {
    traffic?.count(outcome, keys: keys, failed: failed, setBy: key)
  }
}

extension Sampler {
  /// Adopts the rates that the fleet's traffic calls for. No effect without an adaptive baseline.
  public mutating func adopt(_ rates: BaselineRates) {
    baseline?.adopt(rates)
  }

  /// The baseline's rate for a trace being decided.
  mutating func baselineRate(of slot: Int) -> BaselineRate? {
    baseline?.startTrace()
    guard baseline?.attributes == nil else {
      baseline?.noteAttributes(of: slot)
      return baseline?.rate()
    }
    serviceLists.forEach(table[slot].services) { service in
      // Names beyond the limit share one, as do keys beyond theirs.
      baseline?.note(service == otherServices ? nil : service, in: services)
    }
    errorNotes.forEach(from: table[slot].errors) { note in
      guard note.service != .none, note.service != otherServices else { return }
      baseline?.noteFailure(of: note.service, in: services)
    }
    return baseline?.rate()
  }

  /// Counts a decided trace.
  mutating func countForBaseline(_ slot: Int, _ outcome: PolicyOutcome, wasKept: Bool, _ rate: BaselineRate) {
    guard let policy = baseline?.policy else { return }
    let isAlone = outcome.matches == 1 << UInt64(policy)
    let fate: TraceOutcome.Fate =
      wasKept || (outcome.isKept && !isAlone)
      ? .forced : outcome.isKept ? .kept : outcome.isVetoed ? .refused : .passed
    baseline?.count(
      TraceOutcome(
        fate, spans: Int(table[slot].spanCount), bytes: Int(clamping: table[slot].byteCount),
        incoming: table[rare: slot].incomingThreshold),
      setBy: rate.key)
  }

  /// Writes the counts of completed intervals.
  mutating func publishCounts(into effects: inout Effects) {
    guard let history = baseline?.configuration.history else { return }
    baseline?.begin(partition, at: clock)
    defer { countsDue = baseline?.traffic?.intervalEnd ?? .distantPast }
    for var record in baseline?.advance(to: clock) ?? [] {
      counters.statsKeysLeftOut += UInt64(record.shorten(toBytes: configuration.limits.statsBytes))
      effects.count(key: record.topicKey(history: history), record: record.encoded())
    }
  }
}

extension Effects {
  /// Appends a record of counts.
  mutating func count(key: [UInt8], record: [UInt8]) {
    let start = arena.count
    key.withRawBytes { arena.append($0) }
    let middle = arena.count
    record.withRawBytes { arena.append($0) }
    outputs.append(.count(key: start..<middle, record: middle..<arena.count))
    hasCounts = true
  }
}
