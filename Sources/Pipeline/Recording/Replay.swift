// The sampler over a recording, without a broker: the production core, fed from a file.

public import OTLP
public import Sampling

/// What a replay has read and decided.
public struct ReplayReport: Sendable {
  /// Readable records.
  public var records = 0
  /// Their spans.
  public var spans = 0
  /// Their bytes.
  public var bytes = 0
  /// Stretches of the recording that are not records: the first of them,
  public private(set) var damages: [Damage] = []
  /// and how many there are.
  public private(set) var damageCount = 0
  /// Unusable spans in records with usable ones.
  public var spansRejected = 0
  /// The number of the first such record, and what is wrong with the span.
  public var firstRejected: (record: Int, reason: String)?
  /// Records that end far after their neighbours: they are replayed, but did not move the stream clock.
  public var recordsAhead = 0
  /// The first of them.
  public var firstAhead: Place?
  /// Final decisions.
  public var traces = 0
  /// Traces with at least one span with status ERROR, and how many were kept. Traces whose error arrived too
  /// late for a policy to keep them count.
  public var errorTraces = Kept()
  /// Traces that a latency policy matches, even if only because of late spans, and how many were kept.
  public var slowTraces = Kept()
  /// Spans of error traces, and how many were kept.
  public var errorTraceSpans = Kept()
  /// Kept traces.
  public var keptTraces = 0
  /// Kept spans.
  public var keptSpans = 0
  /// Bytes of kept spans.
  public var keptBytes = 0
  /// Series of metrics of all spans, one for each interval in which it had any.
  public var metricSeries = 0
  /// Final keeps by matching policy; a trace may count under several.
  public var keptByPolicy: [(name: String, count: Int)] = []
  /// Final decisions by trigger, in the order of `Decision.Trigger.allCases`.
  public var byTrigger: [(name: String, count: Int)] = []
  /// The sampler's own counters at the end.
  public var counters = SamplerCounters()

  /// This many stretches are described; all are counted.
  static let damagesMax = 64

  mutating func note(_ damage: Damage) {
    damageCount += 1
    if damages.count < ReplayReport.damagesMax { damages.append(damage) }
  }

  /// Kept items, of a total.
  public struct Kept: Equatable, Sendable {
    /// How many were kept.
    public var kept = 0
    /// Of how many.
    public var total = 0
  }

  /// A record's place in a recording.
  public struct Place: Equatable, Sendable {
    /// Its number among the readable records, from 0.
    public var record: Int
    /// Where it begins, in the decompressed recording.
    public var byte: Int
  }

  /// A stretch of a recording that is not a record.
  public struct Damage: Sendable {
    /// Where it begins, in the decompressed recording.
    public var offset: Int
    /// Its number of bytes; zero if the rest of the recording is missing.
    public var count: Int
    /// What is wrong.
    public var reason: String
  }
}

/// Runs one sampler over a recording.
///
/// The stream clock is the largest span end time seen that later records do not refute. The recording's end
/// closes every window.
public struct Replay: ~Copyable {
  private var sampler: Sampler
  private let configuration: SamplerConfiguration
  /// A recording is the whole fleet: its own counts make its rates.
  private var fleetRates: FleetRates?
  /// Entries of links that have not been followed yet.
  private var links: [LinkEntry] = []
  private var effects = Effects()
  private var report = ReplayReport()
  private var clock: RecordingClock
  /// The latest verdicts, one to two million,
  private var decided: [TraceID: OldVerdict] = [:]
  /// and those before.
  private var decidedBefore: [TraceID: OldVerdict] = [:]

  /// The stream clock.
  var streamClock: Instant { sampler.clock }

  /// How much memory open traces and verdicts take.
  var memoryBytes: Int {
    let usage = sampler.usage
    return usage.segmentBytes + usage.tableBytes + usage.verdictBytes
  }

  /// Whether a policy has a rate limit.
  var hasBudgets: Bool { sampler.commitPoint?.budgetLevels.isEmpty == false }

  /// Receives each output, in order.
  public typealias Writer = (ReplayOutput) throws -> Void

  /// Prepares a replay. A recording's reader expects a line for each trace: what a worker writes to the
  /// ledger becomes a compact record.
  ///
  /// - Parameter canReadAgain: whether the recording can be read a second time. Otherwise windows are in
  ///   memory.
  public init(configuration: SamplerConfiguration, canReadAgain: Bool = false) {
    var configuration = configuration
    if !canReadAgain { configuration.windows.buffer = .memory }
    if configuration.dropped == .ledger { configuration.dropped = .compact }
    configuration.windows.looksUpVerdicts = configuration.windows.buffer == .memory
    self.configuration = configuration
    sampler = Sampler(partition: PartitionID(0), configuration: configuration)
    clock = RecordingClock(configuration)
    fleetRates = configuration.baseline.map { FleetRates($0) }
    report.keptByPolicy = configuration.policies.map { ($0.name, 0) }
    report.byTrigger = Decision.Trigger.allCases.map { ($0.rawValue, 0) }
  }

  /// Replays the whole recording and passes each decision record and each portion of kept spans to `write`.
  ///
  /// - Parameters:
  ///   - again: opens the recording again, to recall dropped traces; nil if that can't be done.
  ///   - progress: called now and then with the number of records read.
  /// - Throws: errors of reading and of `write`. Damage is not an error: it is in the report.
  public mutating func run(
    _ reader: RecordingReader, again: (() throws -> RecordingReader)? = nil, write: Writer,
    progress: (Int) -> Void = { _ in }
  ) throws -> ReplayReport {
    while let item = try reader.next() {
      progress(report.records)
      try read(item, write: write)
    }
    return try finish(again: again, write: write)
  }

  /// Reads the recording's next item, for a caller that runs several replays of one recording.
  public mutating func read(_ item: RecordingItem, write: Writer) throws {
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

  /// Ends the recording: see `run`.
  public mutating func finish(
    again: (() throws -> RecordingReader)? = nil, write: Writer
  ) throws -> ReplayReport {
    clock.finish()
    try takeDecided(write)
    sampler.advance(to: sampler.clock + configuration.windows.decisionWait, into: &effects)
    try drain(write)
    try followLinks(write)
    // What recalls bring may have links of its own.
    repeat {
      try handOut(again, write)
      try recall(again, write)
      try followLinks(write)
    } while again != nil && sampler.nextRecall() != nil
    sampler.endMetrics(into: &effects)
    try drain(write)
    report.counters = sampler.counters
    report.recordsAhead = clock.refuted.count
    report.firstAhead = clock.refuted.first
    return report
  }

  /// Hands out the kept traces of log-backed windows, in one pass: all are decided.
  private mutating func handOut(_ again: (() throws -> RecordingReader)?, _ write: Writer) throws {
    guard sampler.nextHandOut() != nil, let reader = try again?() else { return }
    var number = Offset(0)
    while sampler.nextHandOut() != nil, let item = try reader.next() {
      guard case .record(let record) = item else { continue }
      record.bytes.withRawBytes { sampler.handOut(offset: number, value: $0, into: &effects) }
      try drain(write)
      number = number.next
    }
    // They were there the first time: the file has changed.
    sampler.loseHandOuts(before: Offset(.max))
  }

  /// Reads again what recalls need, in as many passes as that takes.
  private mutating func recall(_ again: (() throws -> RecordingReader)?, _ write: Writer) throws {
    guard let again else { return }
    while let first = sampler.nextRecall() {
      let reader = try again()
      var wanted: Offset? = first
      var number = Offset(0)
      while let next = wanted, let item = try reader.next() {
        guard case .record(let record) = item else { continue }
        if number >= next {
          let time = Instant(nanoseconds: Int64(clamping: record.latestEnd))
          record.bytes.withRawBytes {
            sampler.recall(offset: number, timestamp: time, value: $0, into: &effects)
          }
          try drain(write)
          // Those that begin before need another pass.
          wanted = sampler.nextRecall().flatMap { $0 > number ? $0 : nil }
        }
        number = number.next
      }
      guard wanted != nil else { continue }
      // It was there the first time: the file has changed.
      sampler.loseRecalls(before: Offset(.max), into: &effects)
      try drain(write)
    }
  }

  private mutating func takeDecided(_ write: Writer) throws {
    while let record = clock.next() {
      take(record)
      sampler.noteCommitted(before: Offset(.max))
      while sampler.nextLookup() != nil {
        // There is no ledger: the verdicts so far are remembered.
        try drain(write)
        for traceID in sampler.lookedUp {
          if let past = decided[traceID] ?? decidedBefore[traceID] {
            sampler.found(past.verdict(on: traceID))
          }
        }
        sampler.endLookup(into: &effects)
      }
      if sampler.hasLinkEntries || effects.hasLinks || !links.isEmpty { try followLinks(write) }
      if effects.byteCount > 1 << 20 || effects.hasCounts || effects.hasRejections { try drain(write) }
    }
  }

  private mutating func take(_ timed: RecordingClock.Timed) {
    let bytes = timed.record.bytes
    var key: [UInt8] = []
    timed.record.traceID.appendHexadecimal(to: &key)
    // The timestamp has been judged; the sampler must not doubt it again.
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
        if decision.isFinal || decision.recall != nil { remember(decision) }
        if let range { try write(.decision(effects.bytes[range], decision)) }
      case .forward(let traceID, let range, let spans):
        report.keptSpans += spans
        report.keptBytes += range.count
        try write(.keptSpans(effects.bytes[range], of: traceID, count: spans))
      // There is no topic, hence no size limit; nor is there a ledger.
      case .leaveOut, .account: break
      case .measure(let range, let series):
        report.metricSeries += series
        try write(.metrics(effects.bytes[range]))
      case .reject(let rejected, _):
        guard let next = sampler.nextOffset else { continue }
        note(rejected, record: Int(next.value) - 1)
      case .link(let page, _):
        // What has been kept is known at once: a recording is the whole fleet.
        links += LinkPage.entriesWritten(effects.bytes[page])
      case .count(_, let record):
        // A recording is the whole fleet: it has all of each limit.
        let record = Array(effects.bytes[record])
        if !DemandRecord.isOne(record) { fleetRates?.merge(record, now: sampler.clock) }
      }
    }
    defer { effects.removeAll() }
    if effects.hasCounts, let rates = fleetRates?.newRates(at: sampler.clock) { sampler.adopt(rates) }
  }

  /// Follows the links of what has been kept, and of what is kept because of that.
  private mutating func followLinks(_ write: Writer) throws {
    guard configuration.links != nil else { return }
    while sampler.hasLinkEntries || effects.hasLinks || !links.isEmpty {
      sampler.endLinkPage(into: &effects)
      try drain(write)
      let entries = links
      links = []
      sampler.learn(entries)
      sampler.follow(entries, into: &effects)
      try drain(write)
    }
  }

  private mutating func note(_ rejected: RejectedSpans, record: Int) {
    report.spansRejected += rejected.count
    guard report.firstRejected.map({ record < $0.record }) ?? true else { return }
    report.firstRejected = (record, "\(rejected.error)")
  }

  private mutating func count(_ decision: Decision) {
    guard decision.isFinal else { return countMissed(decision) }
    guard !decision.isRevised else { return countRecalled(decision) }
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

  /// Counts a trace that was dropped, and is kept after all.
  private mutating func countRecalled(_ decision: Decision) {
    report.keptTraces += 1
    for (number, policy) in configuration.policies.enumerated() {
      guard decision.matches & 1 << UInt64(number) != 0 else { continue }
      report.keptByPolicy[number].count += 1
      // It did not match when the trace was dropped.
      if case .latency = policy.rule { report.slowTraces.add(true) }
    }
    if decision.errorCount > 0 {
      report.errorTraces.add(true)
      report.errorTraceSpans.total += decision.spanCount
      report.errorTraceSpans.kept += decision.spanCount - decision.truncatedCount
    }
    if let place = Decision.Trigger.allCases.firstIndex(of: decision.trigger) {
      report.byTrigger[place].count += 1
    }
  }

  private mutating func remember(_ decision: Decision) {
    if decided.count == 1_000_000 { (decidedBefore, decided) = (decided, [:]) }
    decided[decision.traceID] = OldVerdict(decision)
  }

  /// Counts a dropped trace that late spans show to be an error trace or a slow one. A policy reports a trace
  /// once, and did not match it at the verdict.
  private mutating func countMissed(_ decision: Decision) {
    guard decision.isLate, !decision.isKept else { return }
    if case .requested = decision.recall { return }
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

/// What very late spans need of a verdict.
private struct OldVerdict {
  private let threshold: SamplingThreshold
  private let decidedAt: Instant
  private let start: UInt64
  private let first: Offset
  private let last: Offset
  private let isKept: Bool
  private let isTruncated: Bool
  private let hasRoot: Bool
  private let isVetoed: Bool

  init(_ decision: Decision) {
    var isKept = decision.isKept
    if case .requested = decision.recall { isKept = true }
    self.isKept = isKept
    threshold = isKept && !decision.isKept ? .always : decision.threshold
    decidedAt = decision.decidedAt
    start = decision.start
    (first, last) = (decision.firstOffset, decision.lastOffset)
    isTruncated = decision.truncatedCount > 0
    (hasRoot, isVetoed) = (decision.hasRoot, decision.isVetoed)
  }

  func verdict(on traceID: TraceID) -> RestoredVerdict {
    var verdict = RestoredVerdict(
      traceID: traceID, isKept: isKept, isFinal: true, hasRoot: hasRoot, isVetoed: isVetoed,
      threshold: threshold, isTruncated: isTruncated, decidedAt: decidedAt, firstOffset: first,
      lastOffset: last)
    verdict.earliestStart = start
    return verdict
  }
}

/// One output of a replay.
public enum ReplayOutput {
  /// A decision record: one line of JSON without its line break, and what it says.
  case decision(ArraySlice<UInt8>, Decision)
  /// Kept spans of a trace: a `TracesData`, and how many there are.
  case keptSpans(ArraySlice<UInt8>, of: TraceID, count: Int)
  /// Metrics of all spans: a `MetricsData`.
  case metrics(ArraySlice<UInt8>)
}

extension ReplayReport.Kept {
  fileprivate mutating func add(_ isKept: Bool) {
    total += 1
    if isKept { kept += 1 }
  }
}
