// tailrace replay: the sampler over a recording, without a broker.

import ArgumentParser
import Foundation
import Pipeline
import Sampling

struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Run the sampler over a recording, without a broker.",
    discussion: """
      A recording is a sequence of records, each a 32-bit little-endian length and that many bytes \
      of OTLP, as a whole perhaps zstd-compressed. The stream clock is the largest span end time \
      seen, unless the records after it refute it; the recording's end closes every window. The same \
      recording and topology give the same outputs, byte for byte.

      Damaged records are counted and reported, and the rest is decided. With --strict they are a \
      failure.
      """)

  @Argument(help: "The recording.")
  var recording: String

  @Option(name: .long, help: "The topology whose policies, windows and limits decide; else the defaults.")
  var topology: String?

  @Option(name: .long, help: "Where to write decision records, one line of JSON each.")
  var decisions: String?

  @Option(
    name: .long, help: "Where to write kept spans, as a recording; compressed if the name ends in .zst.")
  var sampled: String?

  @Flag(help: "Exit with 1 if any record was damaged.")
  var strict = false

  @Flag(help: "Print the report as JSON.")
  var json = false

  mutating func run() throws {
    let configuration = SamplerConfiguration(try TailSamplingTopology.loaded(from: topology))
    let report = try replay(configuration)
    let text = ReplayText(report: report, configuration: configuration)
    print(json ? try text.json : text.lines.joined(separator: "\n"))
    if strict, report.damageCount > 0 {
      throw CommandFailure.failed("\(recording): \(report.damageCount) damaged records (--strict)")
    }
  }

  private func replay(_ configuration: SamplerConfiguration) throws -> ReplayReport {
    do {
      let reader = try RecordingReader(path: recording)
      let decisionLines = try decisions.map { try LineWriter(path: $0) }
      let keptSpans = try sampled.map { try RecordingWriter(path: $0) }
      var replay = Replay(configuration: configuration)
      let report = try replay.run(reader) { output in
        switch output {
        case .decision(let record): try decisionLines?.append(record)
        case .keptSpans(let bytes): try keptSpans?.append(bytes)
        }
      }
      try decisionLines?.finish()
      try keptSpans?.finish()
      return report
    } catch let failure as CommandFailure {
      throw failure
    } catch {
      throw CommandFailure.failed("\(recording): \(describe(error))")
    }
  }
}

/// An error in words, without the parts that only mean something to a debugger.
func describe(_ error: any Error) -> String {
  if let error = error as? CocoaError { return error.localizedDescription }
  return "\(error)"
}

/// A replay's report, for people and as JSON.
struct ReplayText {
  let report: ReplayReport
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
      "late       \(report.counters.lateSpansKept) spans kept, \(report.counters.lateSpansDropped) dropped, "
        + "\(report.counters.lateErrors) late errors on dropped traces",
    ]
    if report.counters.tracesTruncated > 0 {
      lines.append(
        "truncated  \(report.counters.tracesTruncated) traces, "
          + "\(report.counters.spansTruncated) spans left out"
      )
    }
    if let first = report.firstAhead {
      let place = "record \(first.record), at byte \(first.byte)"
      lines.append(
        report.recordsAhead == 1
          ? "warning    \(place), ends long after those around it, and closed no window"
          : "warning    \(report.recordsAhead) records end long after those around them, and closed no "
            + "window; the first is \(place)")
    }
    if let first = report.firstRejected {
      lines.append(
        "rejected   \(report.spansRejected) spans that can't be used; the first in record \(first.record): "
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

  var json: String {
    get throws {
      let first = report.damages.first
      let form = Form(
        records: report.records, spans: report.spans, bytes: report.bytes, traces: report.traces,
        keptTraces: report.keptTraces, keptSpans: report.keptSpans, keptBytes: report.keptBytes,
        errorTraces: report.errorTraces.total, errorTracesKept: report.errorTraces.kept,
        errorTraceSpans: report.errorTraceSpans.total, errorTraceSpansKept: report.errorTraceSpans.kept,
        slowTraces: report.slowTraces.total, slowTracesKept: report.slowTraces.kept,
        policies: Dictionary(uniqueKeysWithValues: report.keptByPolicy.map { ($0.name, $0.count) }),
        triggers: Dictionary(uniqueKeysWithValues: report.byTrigger.map { ($0.name, $0.count) }),
        recordsAhead: report.recordsAhead, firstRecordAhead: report.firstAhead?.record,
        firstOffsetAhead: report.firstAhead?.byte, damagedRecords: report.damageCount,
        rejectedSpans: report.spansRejected, firstRejectedRecord: report.firstRejected?.record,
        firstRejected: report.firstRejected?.reason,
        firstDamageOffset: first?.offset, firstDamage: first?.reason)
      return try JSONText.encode(form)
    }
  }

  private struct Form: Encodable {
    var records, spans, bytes, traces, keptTraces, keptSpans, keptBytes: Int
    var errorTraces, errorTracesKept, errorTraceSpans, errorTraceSpansKept: Int
    var slowTraces, slowTracesKept: Int
    var policies, triggers: [String: Int]
    var recordsAhead: Int
    var firstRecordAhead, firstOffsetAhead: Int?
    var damagedRecords, rejectedSpans: Int
    var firstRejectedRecord: Int?
    var firstRejected: String?
    var firstDamageOffset: Int?
    var firstDamage: String?
  }

  private func share(_ part: Int, _ whole: Int) -> String {
    whole == 0 ? "0 %" : String(format: "%.2f %%", 100 * Double(part) / Double(whole))
  }
}

/// JSON for reports: snake case, sorted keys.
enum JSONText {
  static func encode(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }
}

/// Writes lines to a file, in chunks.
final class LineWriter {
  private let file: FileHandle
  private var pending = Data()

  init(path: String) throws {
    try Data().write(to: URL(filePath: path))
    file = try FileHandle(forWritingTo: URL(filePath: path))
  }

  func append(_ line: some Sequence<UInt8>) throws {
    pending.append(contentsOf: line)
    pending.append(0x0a)
    if pending.count > 1 << 20 { try flush() }
  }

  func finish() throws {
    try flush()
    try file.close()
  }

  private func flush() throws {
    try file.write(contentsOf: pending)
    pending.removeAll(keepingCapacity: true)
  }
}
