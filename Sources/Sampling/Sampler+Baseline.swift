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
  /// The keys of open traces, if keys have parts that differ from span to span.
  var attributes: AttributeKeys?
  /// Makes keys with parts that belong to whole traces.
  private var traceKeys: TraceKeys?
  /// Shapes that were seen, if the first trace of each is kept.
  private var shapes: ShapeMemory?
  /// Whether it has what the fleet had kept when the partition was taken over.
  private var isRestored = false
  /// The account of counts that were discarded.
  private var account: BudgetAccount?

  /// What is known of a name.
  private struct Resolved {
    var key = TrafficKey.other
    /// The generation of the key; negative if the name was never looked up.
    var generation = -1
  }

  /// Indexed by the number of the name of a service, or of a key made of what spans have.
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
    isByService = baseline.key == .service
    readsRoot = baseline.key.parts.contains(.rootOperation)
    traceKeys = TraceKeys(baseline.key)
    shapes = baseline.firstOfShapeShare > 0 ? ShapeMemory(silence: baseline.shapeSilence) : nil
  }

  /// Whether keys are made of services.
  let isByService: Bool
  /// Whether the names of roots are parts of them.
  let readsRoot: Bool

  /// Bytes of memory in use, without the rates, which a lane's partitions share.
  var byteCount: Int {
    resolved.capacity * MemoryLayout<Resolved>.stride + (traffic?.byteCount ?? 0)
      + (attributes?.byteCount ?? 0) + (shapes?.byteCount ?? 0)
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
    traffic?.adopt(baseline)
    if (shapes != nil) != (baseline.firstOfShapeShare > 0) {
      shapes = baseline.firstOfShapeShare > 0 ? ShapeMemory(silence: baseline.shapeSilence) : nil
      isRestored = false
    }
  }

  mutating func adopt(_ rates: BaselineRates, of partition: PartitionID) {
    self.rates = rates
    traffic?.adopt(rates)
    // A new owner goes on from what the fleet knows; once, or what is silent would never be forgotten.
    guard !isRestored, shapes != nil, rates.plan != nil else { return }
    shapes?.restore(rates.shapes, of: partition)
    isRestored = true
  }

  /// Starts counting at `clock`, if it has not started.
  mutating func begin(_ partition: PartitionID, at clock: Instant) {
    guard traffic == nil, clock != .distantPast else { return }
    traffic = TrafficCounts(
      partition: partition, configuration: configuration, rates: rates, clock: clock, hashSeed: hashSeed)
    if let account = account.take() { traffic?.resume(account) }
  }

  /// Discards the counts of this interval: the stream clock was set back to before it. What was kept stays
  /// kept, so the account goes on.
  mutating func restart() {
    account = traffic?.account ?? account
    traffic = nil
    // Names stay known, but not their keys: no key is of generation 0.
    for slot in resolved.indices where resolved[slot].generation > 0 { resolved[slot].generation = 0 }
  }

  /// The records of completed intervals, each interval once: the topic is compacted, so a second record, of
  /// what came after the clock was set back, would replace the first.
  mutating func advance(to clock: Instant) -> [TrafficRecord] {
    shapes?.pass(to: clock)
    guard let records = traffic?.advance(to: clock), !records.isEmpty else { return [] }
    var new = records.filter { !published.contains($0.interval) }
    for place in new.indices {
      new[place].shapes =
        shapes?.tell(
          turn: new[place].interval.value, of: configuration.history, most: TrafficRecord.shapesMax) ?? []
    }
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
    // Each name is noted once, and has a key of its own or shares that one.
    if key != .other || !keys.contains(key) { keys.append(key) }
  }

  /// Notes that spans with this name failed.
  mutating func noteFailure(of name: NameID, in names: NameTable) {
    let key = key(of: name, in: names)
    if key != .other, !failed.contains(key) { failed.append(key) }
  }

  /// Notes the keys of the trace in `slot`.
  ///
  /// - Parameters:
  ///   - root: the name of its root.
  ///   - isFailed: whether any span failed.
  mutating func noteKeys(of slot: Int, shape: TraceShape?, root: [UInt8], isFailed: Bool) {
    guard var attributes = attributes.take() else {
      if makeTraceKey(nil, shape, root) { noteTraceKey(isFailed: isFailed) }
      return
    }
    defer { self.attributes = attributes }
    attributes.gather(slot)
    guard traceKeys == nil else {
      var isAlone = true
      for key in attributes.gathered where !key.isImplied {
        isAlone = false
        guard key.name != .none else {
          note(nil, in: attributes.names)
          continue
        }
        if makeTraceKey(attributes.names.bytes(of: key.name), shape, root) {
          noteTraceKey(isFailed: key.isFailed)
        }
      }
      if isAlone, makeTraceKey(nil, shape, root) { noteTraceKey(isFailed: isFailed) }
      return
    }
    for key in attributes.gathered where !key.isImplied {
      note(key.name == .none ? nil : key.name, in: attributes.names)
      if key.isFailed, key.name != .none { noteFailure(of: key.name, in: attributes.names) }
    }
  }

  private mutating func makeTraceKey(_ spans: [UInt8]?, _ shape: TraceShape?, _ root: [UInt8]) -> Bool {
    root.withRawBytes { traceKeys?.makeName(spans, shape: shape, root: $0) ?? false }
  }

  /// Notes that the trace being decided has the key whose name was made last.
  private mutating func noteTraceKey(isFailed: Bool) {
    guard var traffic = traffic.take() else { return }
    defer { self.traffic = traffic }
    // None is new: what is new of a trace is its shape.
    let key = traceKeys?.name.withRawBytes { traffic.key(of: $0, isNew: false) } ?? .other
    if !keys.contains(key) { keys.append(key) }
    if isFailed, key != .other, !failed.contains(key) { failed.append(key) }
  }

  // MARK: Shapes

  /// What is known of the shape of the trace being decided.
  struct FirstOfShape {
    /// Whether to keep it for its own sake.
    var isWanted = false
    /// Whether the partition has not seen its shape before.
    var isNew = false
    /// Whether it would be kept if there were budget.
    var isRefused = false
  }

  /// How many traces' worth is left to shapes that are new, by what is asked for: shapes seen before that had
  /// no luck come after new ones, as they will come again. So do variants: loops have many.
  private static let seenReserve: Int64 = 3
  private static let newVariantReserve: Int64 = 1
  private static let seenVariantReserve: Int64 = 4

  /// Notes the shape of the trace being decided, which has this amount of the budget's unit.
  ///
  /// The answer depends on what came before and on the shape, not on the trace's randomness: whoever is kept
  /// for it stands for itself alone, and nobody else's weight changes.
  mutating func see(_ shape: TraceShape, amount: UInt64) -> FirstOfShape {
    guard traffic != nil, shapes != nil else { return FirstOfShape() }
    let edges = shapes?.see(shape.edges, fleet: rates.shapes)
    let variant = shapes?.see(shape.variant, fleet: rates.shapes)
    guard let edges, let variant else { return FirstOfShape() }
    var first = FirstOfShape(isNew: edges.isNew)
    let reserve: Int64
    if !edges.isKept {
      reserve = edges.isNew ? 0 : PartitionBaseline.seenReserve
    } else if !variant.isKept {
      reserve = variant.isNew ? PartitionBaseline.newVariantReserve : PartitionBaseline.seenVariantReserve
    } else {
      return first
    }
    first.isWanted = traffic?.mayKeepFirst(amount: amount, reserve: reserve) ?? false
    first.isRefused = !first.isWanted
    return first
  }

  /// Notes that the trace being decided is kept; `isFirst` if only because of its shape.
  mutating func keep(_ shape: TraceShape, amount: UInt64, isFirst: Bool) {
    shapes?.keep(shape.edges)
    shapes?.keep(shape.variant)
    if isFirst { traffic?.keepFirst(amount: amount) }
  }

  /// Adds a span's key to those of the open trace in `slot`. False if its name is beyond the limit of
  /// distinct names.
  mutating func note(_ span: SpanView, of bytes: RawSpan, in slot: Int) -> Bool {
    guard attributes?.read(span, of: bytes) == true else { return true }
    let isFailed = span.status == .error
    if attributes?.addFound(to: slot, isFailed: isFailed) == true { return true }
    guard attributes?.makeName(span, of: bytes) == true else { return true }
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

  mutating func count(_ outcome: TraceOutcome, at rate: BaselineRate) {
    traffic?.count(outcome, keys: keys, failed: failed, setBy: rate.key, threshold: rate.threshold)
  }
}

extension Sampler {
  /// Adopts the rates that the fleet's traffic calls for. No effect without an adaptive baseline.
  public mutating func adopt(_ rates: BaselineRates) {
    baseline?.adopt(rates, of: partition)
  }

  /// The baseline's rate for a trace being decided.
  mutating func baselineRate(of slot: Int, _ shape: TraceShape?) -> BaselineRate? {
    baseline?.startTrace()
    guard baseline?.isByService == true else {
      let root = baseline?.readsRoot == true ? operations.bytes(of: table[slot].rootOperation) : []
      baseline?.noteKeys(of: slot, shape: shape, root: root, isFailed: table[slot].errorCount > 0)
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
      table[slot].isFirstOfShape
      ? .first
      : wasKept || (outcome.isKept && !isAlone)
        ? .forced : outcome.isKept ? .kept : outcome.isVetoed ? .refused : .passed
    baseline?.count(
      TraceOutcome(
        fate, spans: Int(table[slot].spanCount), bytes: Int(clamping: table[slot].byteCount),
        incoming: table[rare: slot].incomingThreshold),
      at: rate)
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
