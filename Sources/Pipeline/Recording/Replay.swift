// The sampler over a recording, without a broker: the production core, fed from a file.

internal import OTLP
public import Sampling

/// What a replay has seen and decided.
public struct ReplayReport: Sendable {
  /// Records that could be read.
  public var records = 0
  /// Their spans.
  public var spans = 0
  /// Their bytes.
  public var bytes = 0
  /// Stretches of the recording that are no record: the first of them,
  public private(set) var damages: [Damage] = []
  /// and how many there are.
  public private(set) var damageCount = 0
  /// Spans that could not be used, of records of which the rest was.
  public var spansRejected = 0
  /// The number of the first such record, and what is wrong with the span.
  public var firstRejected: (record: Int, reason: String)?
  /// Records that end far after those around them: they are replayed, but did not move the stream clock.
  public var recordsAhead = 0
  /// The first of them.
  public var firstAhead: Place?
  /// Final decisions.
  public var traces = 0
  /// Traces with at least one span with status ERROR, and those of them that are kept. One that a policy
  /// would have kept for an error that came too late is one of them.
  public var errorTraces = Kept()
  /// Traces that a latency policy matches, be it for spans that came too late, and those of them that are
  /// kept.
  public var slowTraces = Kept()
  /// Kept spans of error traces against all spans of theirs.
  public var errorTraceSpans = Kept()
  /// Kept traces.
  public var keptTraces = 0
  /// Kept spans.
  public var keptSpans = 0
  /// Bytes of kept spans.
  public var keptBytes = 0
  /// Final keeps by each policy that matched; one trace may count under several.
  public var keptByPolicy: [(name: String, count: Int)] = []
  /// Final decisions by trigger, in the order of `Decision.Trigger.allCases`.
  public var byTrigger: [(name: String, count: Int)] = []
  /// The sampler's own counters at the end.
  public var counters = SamplerCounters()

  /// So many stretches are described, all are counted.
  static let damagesMax = 64

  mutating func note(_ damage: Damage) {
    damageCount += 1
    if damages.count < ReplayReport.damagesMax { damages.append(damage) }
  }

  /// So many of so many.
  public struct Kept: Equatable, Sendable {
    /// How many were kept.
    public var kept = 0
    /// Of how many.
    public var total = 0
  }

  /// A record's place in a recording.
  public struct Place: Equatable, Sendable {
    /// Its number among the records that can be read, from 0 up.
    public var record: Int
    /// Where it begins, in the decompressed recording.
    public var byte: Int
  }

  /// A stretch of a recording that is no record.
  public struct Damage: Sendable {
    /// Where it begins, in the decompressed recording.
    public var offset: Int
    /// How many bytes it has; zero where the rest of the recording is missing.
    public var count: Int
    /// What is wrong.
    public var reason: String
  }
}

/// Runs one sampler over a recording.
///
/// The stream clock is the largest span end time seen that those after it do not refute, and the recording's
/// end closes every window.
public struct Replay: ~Copyable {
  private var sampler: Sampler
  private let configuration: SamplerConfiguration
  /// A recording is the whole fleet: its own counts make its rates.
  private var fleetRates: FleetRates?
  private var effects = Effects()
  private var report = ReplayReport()
  private var clock: RecordingClock

  /// What each output is handed to, in order.
  public typealias Writer = (ReplayOutput) throws -> Void

  /// Prepares a replay.
  public init(configuration: SamplerConfiguration) {
    self.configuration = configuration
    sampler = Sampler(partition: PartitionID(0), configuration: configuration)
    clock = RecordingClock(configuration)
    fleetRates = configuration.baseline.map { FleetRates($0) }
    report.keptByPolicy = configuration.policies.map { ($0.name, 0) }
    report.byTrigger = Decision.Trigger.allCases.map { ($0.rawValue, 0) }
  }

  /// Replays the whole recording and hands each decision record and each portion of kept spans to `write`.
  ///
  /// - Parameter progress: called now and then with how many records have been read.
  /// - Throws: what reading or `write` throws. Damage is no error: it is in the report.
  public mutating func run(
    _ reader: RecordingReader, write: Writer, progress: (Int) -> Void = { _ in }
  ) throws -> ReplayReport {
    while let item = try reader.next() {
      progress(report.records)
      switch item {
      case .record(let record):
        report.records += 1
        report.spans += record.spanCount
        report.bytes += record.bytes.count
        for rejected in record.rejected { note(rejected, record: report.records - 1) }
        clock.push(record)
        try takeDecided(write)
      case .damaged(let offset, let count, let reason):
        report.note(ReplayReport.Damage(offset: offset, count: count, reason: reason))
      }
    }
    clock.finish()
    try takeDecided(write)
    sampler.advance(to: sampler.clock + configuration.windows.decisionWait, into: &effects)
    try drain(write)
    report.counters = sampler.counters
    report.recordsAhead = clock.refuted.count
    report.firstAhead = clock.refuted.first
    return report
  }

  private mutating func takeDecided(_ write: Writer) throws {
    while let record = clock.next() {
      take(record)
      if effects.byteCount > 1 << 20 || effects.hasCounts || effects.hasRejections { try drain(write) }
    }
  }

  private mutating func take(_ timed: RecordingClock.Timed) {
    let bytes = timed.record.bytes
    var key: [UInt8] = []
    timed.record.traceID.appendHexadecimal(to: &key)
    // What the timestamp is has been found out; the sampler must not doubt it again.
    let malformed = key.withRawBytes { key in
      bytes.withRawBytes { value in
        sampler.ingest(
          offset: Offset(timed.number), timestamp: timed.time, isLogTime: true, key: key, value: value,
          into: &effects)
      }
    }
    if let malformed {
      report.note(
        ReplayReport.Damage(offset: Int(timed.number), count: bytes.count, reason: "\(malformed)"))
    }
  }

  private mutating func drain(_ write: Writer) throws {
    for output in effects.outputs {
      switch output {
      case .decide(let decision, let range):
        count(decision)
        if let range { try write(.decision(effects.bytes[range])) }
      case .forward(_, let range, let spans):
        report.keptSpans += spans
        report.keptBytes += range.count
        try write(.keptSpans(effects.bytes[range]))
      // There is no topic, and no limit to what it takes.
      case .leaveOut: break
      case .reject(let rejected, _):
        guard let next = sampler.nextOffset else { continue }
        note(rejected, record: Int(next.value) - 1)
      case .count(_, let record):
        fleetRates?.merge(Array(effects.bytes[record]), now: sampler.clock)
      }
    }
    if effects.hasCounts, let rates = fleetRates?.newRates(at: sampler.clock) { sampler.adopt(rates) }
    effects.removeAll()
  }

  private mutating func note(_ rejected: RejectedSpans, record: Int) {
    report.spansRejected += rejected.count
    guard report.firstRejected.map({ record < $0.record }) ?? true else { return }
    report.firstRejected = (record, "\(rejected.error)")
  }

  private mutating func count(_ decision: Decision) {
    guard decision.isFinal else { return countMissed(decision) }
    report.traces += 1
    if decision.isKept { report.keptTraces += 1 }
    for (number, policy) in configuration.policies.enumerated() {
      guard decision.matches & 1 << UInt64(number) != 0 else { continue }
      if decision.isKept { report.keptByPolicy[number].count += 1 }
      if case .latency = policy.rule { report.slowTraces.add(decision.isKept) }
    }
    if decision.errorCount > 0 {
      report.errorTraces.add(decision.isKept)
      report.errorTraceSpans.total += decision.spanCount
      if decision.isKept { report.errorTraceSpans.kept += decision.spanCount - decision.truncatedCount }
    }
    if let place = Decision.Trigger.allCases.firstIndex(of: decision.trigger) {
      report.byTrigger[place].count += 1
    }
  }

  /// Counts a dropped trace that turns out too late to have been an error trace or a slow one. A policy says
  /// so once of a trace, and has not said it at the verdict.
  private mutating func countMissed(_ decision: Decision) {
    guard decision.isLate else { return }
    for (number, policy) in configuration.policies.enumerated() {
      guard decision.matches & 1 << UInt64(number) != 0 else { continue }
      switch policy.rule {
      case .latency: report.slowTraces.add(false)
      case .statusCode(let codes) where codes.contains(.error) && decision.errorCount > 0:
        report.errorTraces.add(false)
        report.errorTraceSpans.total += decision.spanCount
      default: break
      }
    }
  }
}

/// One output of a replay.
public enum ReplayOutput {
  /// A decision record: one line of JSON without its line break.
  case decision(ArraySlice<UInt8>)
  /// Kept spans: a `TracesData`.
  case keptSpans(ArraySlice<UInt8>)
}

extension ReplayReport.Kept {
  fileprivate mutating func add(_ isKept: Bool) {
    total += 1
    if isKept { kept += 1 }
  }
}
