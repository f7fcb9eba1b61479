// tailrace replay: the sampler over a recording, without a broker.

import ArgumentParser
import Foundation
import Pipeline
import Sampling
import Topology

struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Run the sampler over a recording, without a broker.",
    discussion: """
      A recording is a sequence of records, each a 32-bit little-endian length and that many bytes \
      of OTLP, optionally zstd-compressed as a whole. Output of the Collector's file exporter is read \
      too: lines of JSON, or protobuf, both optionally compressed. `-` is standard input or output; if \
      an output goes to standard output, the report goes to standard error.

      The stream clock is the largest span end time seen, unless later records refute it; the \
      recording's end closes every window. The same recording and topology give the same outputs, \
      byte for byte.

      Damaged records are counted and reported; the rest is decided. With --strict they are a failure.
      """)

  @Argument(help: "The recording.")
  var recording: String

  @Option(name: .long, help: "The topology with the policies, windows and limits; else the defaults.")
  var topology: String?

  @Option(name: .long, help: "Where to write decision records, one line of JSON per record.")
  var decisions: String?

  @Option(
    name: .long, help: "Where to write kept spans, as a recording; compressed if the name ends in .zst.")
  var sampled: String?

  @Option(
    name: .long,
    help: "Where to write metrics of all spans, as a recording of OTLP metrics; empty without 'metrics'.")
  var metrics: String?

  @Flag(help: "Exit with 1 if any record was damaged.")
  var strict = false

  @Flag(help: "Print the report as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  mutating func run() throws {
    let files = CommandFiles(
      inputs: [("the recording", recording), ("--topology", topology)],
      outputs: [("--decisions", decisions), ("--sampled", sampled), ("--metrics", metrics)])
    try files.check()
    let configuration = SamplerConfiguration(try TailSamplingTopology.loaded(from: topology))
    let (report, form) = try replay(configuration, files)
    let text = ReplayText(report: report, form: form, configuration: configuration)
    try files.report(json ? text.json : text.lines.joined(separator: "\n"))
    if strict, report.damageCount > 0 {
      throw CommandFailure.failed("\(recording): \(report.damageCount) damaged records (--strict)")
    }
  }

  private func replay(
    _ configuration: SamplerConfiguration, _ files: CommandFiles
  ) throws -> (ReplayReport, RecordingForm) {
    let reader = try RecordingReader(path: recording)
    let decisionLines = try decisions.map { try LineWriter(path: $0) }
    let keptSpans = try sampled.map { try RecordingWriter(path: $0) }
    let metricRecords = try metrics.map { try RecordingWriter(path: $0) }
    let line = Progress("records", progress, isHidden: files.isOnTerminal)
    var replay = Replay(configuration: configuration, canReadAgain: recording != "-")
    let path = recording
    let again = path == "-" ? nil : { try RecordingReader(path: path) }
    let report = try replay.run(reader, again: again) { output in
      switch output {
      case .decision(let record, _): try decisionLines?.append(record)
      case .keptSpans(let bytes, _, _): try keptSpans?.append(bytes)
      case .metrics(let bytes): try metricRecords?.append(bytes)
      }
    } progress: {
      line.show($0, share: reader.share)
    }
    try decisionLines?.flush()
    try keptSpans?.complete()
    try metricRecords?.complete()
    try decisionLines?.finish()
    try keptSpans?.finish()
    try metricRecords?.finish()
    line.end()
    return (report, reader.form)
  }
}

/// A replay's report, for people and as JSON.
struct ReplayText {
  let report: ReplayReport
  let form: RecordingForm
  let configuration: SamplerConfiguration

  var lines: [String] {
    var lines = [
      "records    \(report.records) (\(report.bytes) bytes, \(report.spans) spans)",
      "traces     \(report.traces) decided, \(report.keptTraces) kept "
        + "(\(share(report.keptTraces, report.traces)))",
      "spans      \(report.keptSpans) kept "
        + "(\(share(report.keptSpans, report.spans)), \(report.keptBytes) bytes)",
      "errors     \(report.errorTraces.kept) of \(report.errorTraces.total) error traces kept, "
        + "with \(report.errorTraceSpans.kept) of \(report.errorTraceSpans.total) spans",
      "slow       \(report.slowTraces.kept) of \(report.slowTraces.total) slow traces kept",
      "policies   " + report.keptByPolicy.map { "\($0.name) \($0.count)" }.joined(separator: ", "),
      "triggers   "
        + report.byTrigger.filter { $0.count > 0 }.map { "\($0.name) \($0.count)" }.joined(separator: ", "),
      "late       \(report.counters.lateSpansKept) spans kept, \(report.counters.lateSpansDropped) dropped",
      "missed     " + missed,
    ]
    if report.counters.recallsRequested > 0 {
      lines.append(
        "recalled   \(report.counters.tracesRecalled) of \(report.counters.recallsRequested) dropped traces "
          + "that late spans show to be wanted; \(report.counters.bytesReadAgain) bytes read again")
    }
    // Shows the recognised form if it is not our own, or if nothing could be read.
    if form != .tailrace || (report.records == 0 && !report.damages.isEmpty) {
      lines.insert("recording  read as \(form)", at: 0)
    }
    if report.counters.tracesTruncated > 0 {
      lines.append(
        "truncated  \(report.counters.tracesTruncated) traces, "
          + "\(report.counters.spansTruncated) spans left out"
      )
    }
    if report.counters.spansCounted > 0 {
      lines.append(
        "metrics    \(report.counters.spansCounted) spans counted, \(report.metricSeries) series written"
          + " (\(report.counters.spansCountedTogether) spans beyond the limit of series)")
    }
    for counts in report.counters.shadow {
      lines.append(
        "shadow     \(counts.policy): would have kept \(counts.wouldKeep.traces) dropped traces "
          + "(\(counts.wouldKeep.spans) spans, \(counts.wouldKeep.bytes) bytes), and dropped "
          + "\(counts.wouldDrop.traces) kept ones")
    }
    if report.counters.spansRedelivered > 0 {
      lines.append(
        "repeated   \(report.counters.spansRedelivered) duplicate spans, byte for byte the same: left out"
      )
    }
    if let first = report.firstAhead {
      let place = "record \(first.record), at byte \(first.byte)"
      lines.append(
        report.recordsAhead == 1
          ? "warning    \(place), ends long after its neighbours, and closed no window"
          : "warning    \(report.recordsAhead) records end long after their neighbours, and closed no "
            + "window; the first is \(place)")
    }
    if let first = report.firstRejected {
      lines.append(
        "rejected   \(report.spansRejected) unusable spans; the first in record \(first.record): "
          + first.reason)
    }
    if let first = report.damages.first {
      lines.append(
        "damaged    \(report.damageCount) records; the first at byte \(first.offset): \(first.reason)")
    } else {
      lines.append("damaged    0 records")
    }
    return lines
  }

  /// Dropped traces that policies would have kept for late spans.
  private var missed: String {
    let missed = configuration.policies.compactMap { policy -> String? in
      guard let count = report.counters.missedByPolicy[policy.name], count > 0 else { return nil }
      return "\(policy.name) \(count)"
    }
    guard !missed.isEmpty else { return "0 dropped traces that late spans would have kept" }
    return "dropped traces that late spans would have kept: " + missed.joined(separator: ", ")
  }

  var json: String {
    get throws {
      let first = report.damages.first
      let fields = Form(
        recordingForm: form.rawValue, records: report.records, spans: report.spans, bytes: report.bytes,
        traces: report.traces,
        keptTraces: report.keptTraces, keptSpans: report.keptSpans, keptBytes: report.keptBytes,
        errorTraces: report.errorTraces.total, errorTracesKept: report.errorTraces.kept,
        errorTraceSpans: report.errorTraceSpans.total, errorTraceSpansKept: report.errorTraceSpans.kept,
        slowTraces: report.slowTraces.total, slowTracesKept: report.slowTraces.kept,
        policies: Dictionary(uniqueKeysWithValues: report.keptByPolicy.map { ($0.name, $0.count) }),
        shadow: report.counters.shadow.map(ShadowForm.init), missed: report.counters.missedByPolicy,
        lateSpansKept: report.counters.lateSpansKept,
        lateSpansDropped: report.counters.lateSpansDropped, extendedWaits: report.counters.tracesWaitingOn,
        recallsRequested: report.counters.recallsRequested, recalled: report.counters.tracesRecalled,
        triggers: Dictionary(uniqueKeysWithValues: report.byTrigger.map { ($0.name, $0.count) }),
        recordsAhead: report.recordsAhead, firstRecordAhead: report.firstAhead?.record,
        firstOffsetAhead: report.firstAhead?.byte, damagedRecords: report.damageCount,
        rejectedSpans: report.spansRejected, metricSeries: report.metricSeries,
        metricSpans: report.counters.spansCounted,
        metricOverflowSpans: report.counters.spansCountedTogether,
        firstRejectedRecord: report.firstRejected?.record,
        firstRejected: report.firstRejected?.reason,
        firstDamageOffset: first?.offset, firstDamage: first?.reason)
      return try ReportJSON.encode(fields)
    }
  }

  private struct Form: Encodable {
    var recordingForm: String
    var records, spans, bytes, traces, keptTraces, keptSpans, keptBytes: Int
    var errorTraces, errorTracesKept, errorTraceSpans, errorTraceSpansKept: Int
    var slowTraces, slowTracesKept: Int
    var policies: [String: Int]
    var shadow: [ShadowForm]
    var missed: [String: UInt64]
    var lateSpansKept, lateSpansDropped, extendedWaits, recallsRequested, recalled: UInt64
    var triggers: [String: Int]
    var recordsAhead: Int
    var firstRecordAhead, firstOffsetAhead: Int?
    var damagedRecords, rejectedSpans, metricSeries: Int
    var metricSpans, metricOverflowSpans: UInt64
    var firstRejectedRecord: Int?
    var firstRejected: String?
    var firstDamageOffset: Int?
    var firstDamage: String?
  }

  private struct ShadowForm: Encodable {
    var policy: String
    var keptTracesMatching, droppedTracesMatching: UInt64
    var wouldKeepTraces, wouldKeepSpans, wouldKeepBytes: UInt64
    var wouldDropTraces, wouldDropSpans, wouldDropBytes: UInt64

    init(_ counts: ShadowCounts) {
      policy = counts.policy
      (keptTracesMatching, droppedTracesMatching) = (counts.keptMatching, counts.droppedMatching)
      let (keep, drop) = (counts.wouldKeep, counts.wouldDrop)
      (wouldKeepTraces, wouldKeepSpans, wouldKeepBytes) = (keep.traces, keep.spans, keep.bytes)
      (wouldDropTraces, wouldDropSpans, wouldDropBytes) = (drop.traces, drop.spans, drop.bytes)
    }
  }

  private func share(_ part: Int, _ whole: Int) -> String {
    whole == 0 ? "0 %" : String(format: "%.2f %%", 100 * Double(part) / Double(whole))
  }
}
