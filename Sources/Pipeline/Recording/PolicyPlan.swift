// What would change if policies were replaced: two replays of one recording, trace by trace.

internal import OTLP
public import Sampling

/// Compares what two configurations make of a recording.
///
/// Both replays read each item of it, so that their verdicts on a trace come close together. A trace is
/// compared once half a million younger ones have been seen, or at the end: memory does not grow with the
/// recording.
public struct PolicyPlan: ~Copyable {
  private var old: Replay
  private var new: Replay
  private let empty: PlanComparison

  /// Prepares to compare `new` with `old`.
  ///
  /// - Parameter canReadAgain: whether the recording can be read a second time: see `Replay`.
  public init(old: SamplerConfiguration, new: SamplerConfiguration, canReadAgain: Bool = true) {
    self.init(old: old, new: new, canReadAgain: canReadAgain, tracesMax: 500_000)
  }

  init(old: SamplerConfiguration, new: SamplerConfiguration, canReadAgain: Bool, tracesMax: Int) {
    var (old, new) = (old, new)
    // The verdict on every trace is wanted, and nothing besides.
    (old.metrics, new.metrics) = (nil, nil)
    if old.dropped == .none { old.dropped = .compact }
    if new.dropped == .none { new.dropped = .compact }
    self.old = Replay(configuration: old, canReadAgain: canReadAgain)
    self.new = Replay(configuration: new, canReadAgain: canReadAgain)
    empty = PlanComparison(old: old, new: new, tracesMax: tracesMax)
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
  ) throws -> PlanReport {
    var comparison = empty
    var start: Instant?
    var count = 0
    while let item = try reader.next() {
      try old.read(item) { comparison.note($0, .old) }
      try new.read(item) { comparison.note($0, .new) }
      if start == nil, old.streamClock != .distantPast { start = old.streamClock }
      if count & 63 == 0 { comparison.noteMemory(old: old.memoryBytes, new: new.memoryBytes) }
      count += 1
      progress(count)
    }
    comparison.noteMemory(old: old.memoryBytes, new: new.memoryBytes)
    comparison.noteBudgets(new.hasBudgets)
    let end = old.streamClock
    let oldReport = try old.finish(again: again) { comparison.note($0, .old) }
    let newReport = try new.finish(again: again) { comparison.note($0, .new) }
    return comparison.report(
      old: oldReport, new: newReport, duration: start.map { end - $0 } ?? .seconds(0))
  }
}

/// The verdicts on recent traces, and the sums over all before.
struct PlanComparison {
  enum Side { case old, new }

  /// What one configuration has made of a trace.
  struct Outcome {
    var isDecided = false
    var isKept = false
    var isVetoed = false
    /// Whether the trace will be read again, and kept.
    var awaitsRecall = false
    var matches: UInt64 = 0
    var threshold = SamplingThreshold.never
    var kept = PlanTally()
  }

  struct Trace {
    var old = Outcome()
    var new = Outcome()
    var service: UInt32 = 0
    var duration: Int64 = 0
    var spanCount: UInt32 = 0
    var errorCount: UInt32 = 0
    var hadTurn = false
  }

  private struct Group: Hashable {
    var kind: PlanChange.Kind
    var policy: String
  }

  /// The traces seen since the last turn, and those of the turn before.
  private var traces: [TraceID: Trace] = [:]
  private var earlier: [TraceID: Trace] = [:]
  /// The number of traces at which the table turns.
  private let tracesMax: Int
  private var serviceNames = ["(no root)"]
  private var serviceNumbers: [[UInt8]: UInt32] = [:]
  private let policyNames: (old: [String], new: [String])
  private var result: PlanReport
  private var groups: [Group: PlanChange] = [:]
  /// For each planned policy the kept traces that it samples together with each one before it.
  private var together: [[Int]]

  /// Services beyond this are counted as one.
  private static let servicesMax = 10_000
  /// The name of traces that no policy samples, but a limit keeps.
  private static let limit = "trace_limit"

  init(old: SamplerConfiguration, new: SamplerConfiguration, tracesMax: Int = 500_000) {
    self.tracesMax = tracesMax
    policyNames = (old.policies.map(\.name), new.policies.map(\.name))
    result = PlanReport(old: ReplayReport(), new: ReplayReport(), duration: .seconds(0))
    let (oldNames, newNames) = (policyNames.old, policyNames.new)
    result.stopsAtFirstMatch = new.sampleOnFirstMatch
    together = newNames.indices.map { [Int](repeating: 0, count: $0) }
    result.policies = newNames.map { PlanPolicy(name: $0, isOld: oldNames.contains($0), isNew: true) }
    for name in oldNames where !newNames.contains(name) {
      result.policies.append(PlanPolicy(name: name, isOld: true, isNew: false))
    }
  }

  mutating func noteBudgets(_ hasBudgets: Bool) { result.hasBudgets = hasBudgets }

  mutating func noteMemory(old: Int, new: Int) {
    result.oldMemory = max(result.oldMemory, old)
    result.newMemory = max(result.newMemory, new)
  }

  mutating func note(_ output: ReplayOutput, _ side: Side) {
    switch output {
    case .keptSpans(let bytes, let traceID, let count):
      change(traceID, side) {
        $0.kept.spans += count
        $0.kept.bytes += bytes.count
      }
    case .decision(let bytes, let decision):
      if case .requested = decision.recall { change(decision.traceID, side) { $0.awaitsRecall = true } }
      guard decision.isFinal else { return }
      change(decision.traceID, side) {
        $0.isDecided = true
        $0.awaitsRecall = false
        $0.isKept = decision.isKept
        $0.isVetoed = decision.isVetoed
        $0.matches = decision.matches
        $0.threshold = decision.threshold
      }
      let service = number(of: DecisionText.rootService(in: bytes))
      traces[decision.traceID]?.describe(decision, service)
    case .metrics: break
    }
  }

  private mutating func change(_ id: TraceID, _ side: Side, _ body: (inout Outcome) -> Void) {
    // One that changes is young again: it stays in one of the two tables only.
    var trace = traces[id] ?? earlier.removeValue(forKey: id) ?? Trace()
    if traces.count >= tracesMax, traces[id] == nil { turn() }
    switch side {
    case .old: body(&trace.old)
    case .new: body(&trace.new)
    }
    traces[id] = trace
  }

  /// Settles the older traces, except those that are recalled at the recording's end. One that only one side
  /// has decided gets a second turn: at the end one side decides after the other.
  private mutating func turn() {
    var kept: [TraceID: Trace] = [:]
    for (id, trace) in earlier {
      let isOneSided = trace.old.isDecided != trace.new.isDecided
      if trace.old.awaitsRecall || trace.new.awaitsRecall || isOneSided && !trace.hadTurn {
        var young = trace
        young.hadTurn = true
        kept[id] = young
      } else {
        settle(trace, id)
      }
    }
    (earlier, traces) = (traces, kept)
  }

  private mutating func number(of service: ArraySlice<UInt8>?) -> UInt32 {
    guard let service else { return 0 }
    let name = Array(service)
    if let number = serviceNumbers[name] { return number }
    let isFull = serviceNames.count > PlanComparison.servicesMax
    if isFull, serviceNames.count > PlanComparison.servicesMax + 1 { return UInt32(serviceNames.count - 1) }
    let number = UInt32(serviceNames.count)
    serviceNames.append(isFull ? "(other services)" : DecisionText.name(name))
    if !isFull { serviceNumbers[name] = number }
    return number
  }

  /// The sums of everything.
  mutating func report(old: ReplayReport, new: ReplayReport, duration: Interval) -> PlanReport {
    for (id, trace) in earlier { settle(trace, id) }
    for (id, trace) in traces { settle(trace, id) }
    (earlier, traces) = ([:], [:])
    result.old = old
    result.new = new
    result.duration = duration
    result.shadow = PlanComparison.shadow(old.counters.shadow, new.counters.shadow)
    // The planned policies come first.
    for (policy, counts) in together.enumerated() {
      let sampled = result.policies[policy].sampled.new.traces
      guard sampled > 0 else { continue }
      result.policies[policy].shadowedBy = counts.indices.filter { counts[$0] == sampled }.map {
        policyNames.new[$0]
      }
    }
    let kinds = PlanChange.Kind.allCases
    result.changes = groups.values.sorted { left, right in
      let (first, second) = (kinds.firstIndex(of: left.kind) ?? 0, kinds.firstIndex(of: right.kind) ?? 0)
      if first != second { return first < second }
      if left.tally.traces != right.tally.traces { return left.tally.traces > right.tally.traces }
      return left.policy < right.policy
    }
    return result
  }

  private static func shadow(_ old: [ShadowCounts], _ new: [ShadowCounts]) -> [PlanShadow] {
    let planned = new.map { counts in
      PlanShadow(name: counts.policy, old: old.first { $0.policy == counts.policy }, new: counts)
    }
    let gone = old.filter { counts in !new.contains { $0.policy == counts.policy } }
    return planned + gone.map { PlanShadow(name: $0.policy, old: $0, new: nil) }
  }

  // MARK: A trace that nothing more is expected of

  private mutating func settle(_ trace: Trace, _ id: TraceID) {
    count(trace.old, \.old, policyNames.old, trace)
    count(trace.new, \.new, policyNames.new, trace)
    countShadows(trace.new)
    guard trace.old.isDecided, trace.new.isDecided else {
      if trace.old.isDecided != trace.new.isDecided { result.uncompared += 1 }
      return
    }
    result.compared += 1
    guard let group = change(of: trace) else { return }
    var change = groups[group] ?? PlanChange(kind: group.kind, policy: group.policy)
    let kept = trace.new.isKept ? trace.new.kept : trace.old.kept
    change.tally.add(PlanTally(traces: 1, spans: kept.spans, bytes: kept.bytes))
    add(id, trace, to: &change.samples)
    groups[group] = change
  }

  private mutating func count(
    _ outcome: Outcome, _ side: WritableKeyPath<PlanPair, PlanTally>, _ names: [String], _ trace: Trace
  ) {
    let sampled = PlanComparison.sampling(outcome.matches, names)
    if outcome.isVetoed {
      for place in result.policies.indices where sampled.contains(result.policies[place].name) {
        result.policies[place].dropped[keyPath: side].traces += 1
      }
    }
    guard outcome.isKept || outcome.kept.spans > 0 else { return }
    let tally = PlanTally(
      traces: outcome.isKept ? 1 : 0, spans: outcome.kept.spans, bytes: outcome.kept.bytes)
    result.kept[keyPath: side].add(tally)
    // Without a verdict these are late spans of a trace that was counted before.
    guard outcome.isKept else { return }
    result.reasons[sampled.first ?? PlanComparison.limit, default: PlanPair()][keyPath: side].add(tally)
    result.services[serviceNames[Int(trace.service)], default: PlanPair()][keyPath: side].add(tally)
    for place in result.policies.indices where sampled.contains(result.policies[place].name) {
      result.policies[place].sampled[keyPath: side].add(tally)
      if sampled.count == 1 { result.policies[place].alone[keyPath: side].add(tally) }
    }
  }

  /// Counts which planned policies sample the trace together.
  private mutating func countShadows(_ outcome: Outcome) {
    guard outcome.isKept else { return }
    let sampling = together.indices.filter { $0 < 64 && outcome.matches & 1 << UInt64($0) != 0 }
    for (place, policy) in sampling.enumerated() {
      for earlier in sampling[..<place] { together[policy][earlier] += 1 }
    }
  }

  /// What changes for the trace, and the policy that makes the difference.
  private func change(of trace: Trace) -> Group? {
    let (old, new) = (trace.old, trace.new)
    let before = PlanComparison.sampling(old.matches, policyNames.old)
    let after = PlanComparison.sampling(new.matches, policyNames.new)
    let limit = PlanComparison.limit
    switch (old.isKept, new.isKept) {
    case (false, true):
      return Group(kind: .kept, policy: after.first { !before.contains($0) } ?? after.first ?? limit)
    case (true, false):
      // After a veto only the vetoing policy matches.
      let vetoing = new.isVetoed ? after.first : nil
      return Group(kind: .dropped, policy: vetoing ?? before.first { !after.contains($0) } ?? limit)
    case (false, false): return nil
    case (true, true): break
    }
    let different = after.first { !before.contains($0) } ?? before.first { !after.contains($0) }
    if old.threshold != new.threshold {
      return Group(kind: .weight, policy: different ?? after.first ?? limit)
    }
    if let different { return Group(kind: .reasons, policy: different) }
    return old.kept == new.kept ? nil : Group(kind: .spans, policy: after.first ?? limit)
  }

  /// The policies with a bit in `matches`, in order.
  private static func sampling(_ matches: UInt64, _ names: [String]) -> [String] {
    guard matches != 0 else { return [] }
    return names.indices.filter { $0 < 64 && matches & 1 << UInt64($0) != 0 }.map { names[$0] }
  }

  /// Keeps the traces with the least ids: the same ones each time.
  private func add(_ id: TraceID, _ trace: Trace, to samples: inout [PlanSample]) {
    var text: [UInt8] = []
    id.appendHexadecimal(to: &text)
    let sample = PlanSample(
      traceID: String(decoding: text, as: UTF8.self), service: serviceNames[Int(trace.service)],
      duration: trace.duration, spanCount: Int(trace.spanCount), errorCount: Int(trace.errorCount))
    if samples.count == PlanChange.samplesMax, let last = samples.last, last.traceID < sample.traceID {
      return
    }
    let place = samples.firstIndex { $0.traceID > sample.traceID } ?? samples.endIndex
    samples.insert(sample, at: place)
    if samples.count > PlanChange.samplesMax { samples.removeLast() }
  }
}

extension PlanComparison.Trace {
  fileprivate mutating func describe(_ decision: Decision, _ service: UInt32) {
    self.service = service
    duration = decision.duration
    spanCount = UInt32(clamping: decision.spanCount)
    errorCount = UInt32(clamping: decision.errorCount)
  }
}
