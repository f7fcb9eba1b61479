// Several replays of one recording, and what each keeps of the shapes, services and operations in it.

internal import OTLP
public import Sampling

/// Compares what several configurations keep of a recording.
///
/// All replays read each item of it, so that their verdicts on a trace come close together. A trace is
/// counted once half a million younger ones, or forty million spans, have been seen, or at the end: memory
/// does not grow with the recording.
public struct CoverageStudy: ~Copyable {
  private var replays: [Slot]
  private var gathered: GatheredTraces

  /// A replay, which can't be copied.
  private final class Slot {
    var replay: Replay

    init(_ configuration: SamplerConfiguration, canReadAgain: Bool) {
      var configuration = configuration
      // The verdict on every trace is wanted, and nothing besides.
      configuration.metrics = nil
      if configuration.dropped == .none { configuration.dropped = .compact }
      // Log-backed windows would hand out all spans at the end, when traces have been counted.
      configuration.windows.buffer = .memory
      replay = Replay(configuration: configuration, canReadAgain: canReadAgain)
    }
  }

  /// Prepares to compare configurations.
  ///
  /// - Parameters:
  ///   - rareShare: a shape is rare if it has less than this share of traces.
  ///   - canReadAgain: whether the recording can be read a second time: see `Replay`.
  public init(_ configurations: [SamplerConfiguration], rareShare: Double = 0.001, canReadAgain: Bool = true)
  {
    self.init(
      configurations, rareShare: rareShare, canReadAgain: canReadAgain, tracesMax: 500_000,
      spansMax: 40_000_000)
  }

  init(
    _ configurations: [SamplerConfiguration], rareShare: Double, canReadAgain: Bool, tracesMax: Int,
    spansMax: Int
  ) {
    replays = configurations.map { Slot($0, canReadAgain: canReadAgain) }
    gathered = GatheredTraces(
      candidates: configurations.count, rareShare: rareShare, tracesMax: tracesMax, spansMax: spansMax)
  }

  /// Reads the whole recording.
  ///
  /// - Parameters:
  ///   - again: opens the recording again, to recall dropped traces; nil if that can't be done.
  ///   - progress: called now and then with the number of items read.
  /// - Throws: errors of reading. Damage is not an error: it is in the reports.
  public mutating func run(
    _ reader: RecordingReader, again: (() throws -> RecordingReader)? = nil,
    progress: (Int) -> Void = { _ in }
  ) throws -> CoverageReport {
    var count = 0
    while let item = try reader.next() {
      if case .record(let record) = item { gathered.read(record.bytes) }
      for (place, slot) in replays.enumerated() {
        try slot.replay.read(item) { gathered.note($0, place) }
      }
      count += 1
      progress(count)
    }
    gathered.end()
    for (place, slot) in replays.enumerated() {
      let report = try slot.replay.finish(again: again) { gathered.note($0, place) }
      gathered.finish(place, report)
    }
    return gathered.report()
  }
}

/// The recent traces of a recording, and the sums over all before.
struct GatheredTraces {
  /// What one candidate has made of a trace.
  private struct Outcome {
    var isDecided = false
    var isKept = false
    var weight = 0.0
    var spans = 0
  }

  private struct Trace {
    var spans: [ShapeSpan] = []
    /// Spans beyond those that its shape is made of.
    var more = 0
    var outcomes: [Outcome]
    /// Late spans that not all candidates have decided about get another turn.
    var hadTurn = false
  }

  /// A kind of trace: how many there are, and how many of them each candidate keeps.
  fileprivate struct Kind {
    var traces = 0
    var kept: [Int]

    init(candidates: Int) { kept = Array(repeating: 0, count: candidates) }
  }

  private var traces: [TraceID: Trace] = [:]
  private var earlier: [TraceID: Trace] = [:]
  private var spansHeld = 0
  private var isEnding = false
  private let tracesMax: Int
  private let spansMax: Int
  private let candidates: Int
  private var record = ScannedRecord()
  private var services = NameNumbers(most: 10_000)
  private var operations = NameNumbers(most: 200_000)
  /// The service of each operation.
  private var serviceOfOperation: [UInt32] = []
  private var shapes: [[UInt64: Kind]]
  private var byService: [Kind] = []
  private var estimates: [[ScaledCount]] = []
  private var byOperation: [Kind] = []
  private var byRoot: [UInt32: Kind] = [:]
  private var result: CoverageReport

  /// Shapes of one kind that are told apart.
  private static let shapesMax = 500_000

  init(candidates: Int, rareShare: Double, tracesMax: Int, spansMax: Int) {
    (self.tracesMax, self.spansMax, self.candidates) = (tracesMax, spansMax, candidates)
    shapes = CoverageReport.ShapeKind.allCases.map { _ in [:] }
    result = CoverageReport(candidates: candidates, rareShare: rareShare)
  }

  // MARK: Reading

  /// Notes the spans of a record.
  mutating func read(_ bytes: [UInt8]) {
    bytes.withRawBytes { bytes in
      // What can't be read is in the replays' reports.
      do throws(MalformedInput) { try record.scan(bytes) } catch { return }
      for span in record.spans {
        let service = bytes.extracting(record.resources[Int(span.resource)].serviceName.indices)
        let operation = number(service, bytes.extracting(span.name.indices))
        var held = 0
        let spansMax = traceSpansMax
        change(span.traceID) {
          guard $0.spans.count < spansMax else { return $0.more += 1 }
          $0.spans.append(ShapeSpan(id: span.spanID, parent: span.parentID, operation: operation))
          held = 1
        }
        spansHeld += held
      }
    }
    if spansHeld >= spansMax { turn() }
  }

  /// The number of an operation: of a service and a name.
  private mutating func number(_ service: RawSpan, _ name: RawSpan) -> UInt32 {
    let serviceName = service.extracting(first: GatheredTraces.nameBytesMax).copied()
    // No text has the separator, which is no UTF-8.
    let operation = serviceName + [0xff] + name.extracting(first: GatheredTraces.nameBytesMax).copied()
    let number = operations.number(of: operation)
    if Int(number) == serviceOfOperation.count {
      serviceOfOperation.append(
        services.number(of: operations.isFull ? Array("(others)".utf8) : serviceName))
      byOperation.append(Kind(candidates: candidates))
      while byService.count < services.count {
        byService.append(Kind(candidates: candidates))
        estimates.append(Array(repeating: ScaledCount(), count: candidates))
      }
    }
    return number
  }

  private static let nameBytesMax = 256
  /// A trace's shape is made of so many spans at most: one that never ends must not crowd out the others.
  private var traceSpansMax: Int { max(1, spansMax / 40) }

  /// Notes an output of candidate `place`.
  mutating func note(_ output: ReplayOutput, _ place: Int) {
    switch output {
    case .keptSpans(_, let traceID, let count): change(traceID) { $0.outcomes[place].spans += count }
    case .decision(_, let decision):
      guard decision.isFinal else { return }
      change(decision.traceID) {
        $0.outcomes[place].isDecided = true
        // A trace that opens anew after its verdict was forgotten may be dropped then: its spans are kept.
        guard decision.isKept else { return }
        $0.outcomes[place].isKept = true
        $0.outcomes[place].weight = decision.threshold.adjustedCount
      }
    case .metrics: break
    }
  }

  private mutating func change(_ id: TraceID, _ body: (inout Trace) -> Void) {
    // One that changes is young again. It is in neither table meanwhile, so that no turn counts it.
    var trace =
      traces.removeValue(forKey: id) ?? earlier.removeValue(forKey: id)
      ?? Trace(outcomes: Array(repeating: Outcome(), count: candidates))
    if traces.count >= tracesMax, !isEnding { turn() }
    body(&trace)
    traces[id] = trace
  }

  /// All is read: what is left is decided, by one candidate after the other, and counted then.
  mutating func end() { isEnding = true }

  mutating func finish(_ place: Int, _ report: ReplayReport) {
    result.candidates[place].replay = report
  }

  // MARK: Counting

  /// Counts the older traces, but those that some candidates have not decided only in the next turn.
  private mutating func turn() {
    var kept: [TraceID: Trace] = [:]
    result.hasTurned = result.hasTurned || !earlier.isEmpty
    for (id, trace) in earlier {
      if !trace.hadTurn, trace.outcomes.contains(where: { !$0.isDecided }) {
        kept[id] = trace
        kept[id]?.hadTurn = true
      } else {
        spansHeld -= trace.spans.count
        count(trace)
      }
    }
    // If all of them are needed, the limit counts.
    if kept.count >= tracesMax / 2 {
      for trace in kept.values {
        spansHeld -= trace.spans.count
        count(trace)
      }
      kept = [:]
    }
    (earlier, traces) = (traces, kept)
  }

  private mutating func count(_ trace: Trace) {
    guard !trace.spans.isEmpty, trace.outcomes.allSatisfy(\.isDecided) else { return result.uncounted += 1 }
    result.traces += 1
    result.spans += trace.spans.count + trace.more
    if trace.more > 0 { result.isCut = true }
    let weights = trace.outcomes.map { $0.isKept ? max($0.weight, 1) : 0 }
    for (place, outcome) in trace.outcomes.enumerated() where outcome.isKept {
      result.candidates[place].traces += 1
      result.candidates[place].spans += outcome.spans
      result.candidates[place].estimate.add(max(outcome.weight, 1))
    }
    let shape = TraceShape(of: trace.spans)
    for (kind, hash) in [shape.edges, shape.tree, shape.calls].enumerated() {
      guard shapes[kind][hash] != nil || shapes[kind].count < GatheredTraces.shapesMax else {
        result.isCut = true
        continue
      }
      shapes[kind][hash, default: Kind(candidates: candidates)].add(weights)
    }
    let seen = Set(trace.spans.map(\.operation))
    for operation in seen { byOperation[Int(operation)].add(weights) }
    for root in Set(trace.spans.filter { $0.parent == 0 }.map(\.operation)) {
      byRoot[root, default: Kind(candidates: candidates)].add(weights)
    }
    for service in Set(seen.map { Int(serviceOfOperation[Int($0)]) }) {
      byService[service].add(weights)
      for (place, weight) in weights.enumerated() where weight > 0 { estimates[service][place].add(weight) }
    }
  }

  /// The sums of everything.
  mutating func report() -> CoverageReport {
    for trace in earlier.values { count(trace) }
    for trace in traces.values { count(trace) }
    (earlier, traces) = ([:], [:])
    for (kind, kinds) in shapes.enumerated() {
      for shape in kinds.values {
        result.shapes[kind].add(shape.kept)
        guard Double(shape.traces) < result.rareShare * Double(result.traces) else { continue }
        result.rareShapes[kind].add(shape.kept)
      }
    }
    for kind in byOperation where kind.traces > 0 { result.operations.add(kind.kept) }
    for kind in byRoot.values { result.roots.add(kind.kept) }
    for (number, kind) in byService.enumerated() where kind.traces > 0 {
      result.serviceCoverage.add(kind.kept)
      result.services.append(
        CoverageReport.Service(
          name: services.name(of: number), traces: kind.traces, estimates: estimates[number]))
      for place in 0..<candidates {
        let interval = estimates[number][place].interval(heaviest: result.candidates[place].heaviest)
        let truth = Double(kind.traces)
        if interval.low <= truth, truth <= interval.high { result.candidates[place].servicesInside += 1 }
      }
    }
    result.services.sort { ($1.traces, $0.name) < ($0.traces, $1.name) }
    result.isCut = result.isCut || services.isFull || operations.isFull
    return result
  }
}

extension GatheredTraces.Kind {
  fileprivate mutating func add(_ weights: [Double]) {
    traces += 1
    for (place, weight) in weights.enumerated() where weight > 0 { kept[place] += 1 }
  }
}

/// Names and their numbers, in order of arrival; those beyond the limit share one.
private struct NameNumbers {
  private var numbers: [[UInt8]: UInt32] = [:]
  private var names: [[UInt8]] = []
  private let most: Int
  private(set) var isFull = false

  init(most: Int) { self.most = most }

  var count: Int { names.count }

  mutating func number(of name: [UInt8]) -> UInt32 {
    if let number = numbers[name] { return number }
    let number = UInt32(names.count)
    guard names.count < most else {
      if !isFull { names.append(Array("(others)".utf8)) }
      isFull = true
      return UInt32(most)
    }
    names.append(name)
    numbers[name] = number
    return number
  }

  /// As text; what is not UTF-8 is repaired.
  func name(of number: Int) -> String {
    names[number].isEmpty ? "(no service)" : String(decoding: names[number], as: UTF8.self)
  }
}
