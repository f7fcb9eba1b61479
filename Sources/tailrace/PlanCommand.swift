// tailrace plan: what would change if other policies ran, before they do.

import ArgumentParser
import Files
import Foundation
import Pipeline
import Sampling
import Topology

struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Show what a changed topology would keep and drop, on a recording.",
    discussion: """
      Runs both topologies over the recording and compares their verdicts, trace by trace: what is kept by \
      policy and service, before and after, and which traces change. A worker's page /configz is a \
      topology: `curl WORKER/configz | tailrace plan new.yaml RECORDING --against -`.

      Exits with 0 if nothing changes and with 3 if something does.
      """)

  @Argument(help: "The planned topology.")
  var planned: String

  @Argument(help: "The recording: see `tailrace replay --help`.")
  var recording: String

  @Option(name: .long, help: "The topology that it replaces; else the defaults. `-` is standard input.")
  var against: String?

  @Option(name: .long, help: "Where to write the plan as a page of HTML, which needs no other file.")
  var html: String?

  @Flag(help: "Print the plan as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  mutating func run() throws {
    let files = CommandFiles(
      inputs: [("the planned topology", planned), ("the recording", recording), ("--against", against)],
      outputs: [("--html", html)])
    try files.check()
    let new = SamplerConfiguration(try TailSamplingTopology.loaded(from: planned))
    let old = SamplerConfiguration(try TailSamplingTopology.loaded(from: against))
    let page = try html.map { try OutputFile(path: $0) }
    let reader = try RecordingReader(path: recording)
    let line = Progress("records", progress, isHidden: files.isOnTerminal)
    let path = recording
    var plan = PolicyPlan(old: old, new: new, canReadAgain: path != "-")
    let again = path == "-" ? nil : { try RecordingReader(path: path) }
    let report = try plan.run(reader, again: again) { line.show($0, share: reader.share) }
    line.end()
    guard report.new.records > 0 else {
      throw CommandFailure.failed("\(recording): no record could be read, so there is nothing to compare")
    }
    let text = PlanText(report: report, isReadOnce: path == "-")
    if let page {
      try page.write(Array(PlanPage(text: text).html.utf8))
      try page.finish()
    }
    try files.report(json ? text.json : text.lines.joined(separator: "\n"))
    guard report.hasChanges else { return }
    throw CommandFailure(message: "the plan changes \(text.changedTraces)", exitCode: 3)
  }
}

/// A plan for people and as JSON.
struct PlanText {
  let report: PlanReport
  /// Whether the recording could not be read again.
  let isReadOnce: Bool

  /// How many services and changes are listed.
  private static let rowsMax = 20

  var lines: [String] {
    var lines = [summary, ""]
    lines += PlanText.table([["", "now", "planned", "change"]] + totals)
    lines += ["", "policies (traces that they sample; alone: no other policy does)"]
    lines += PlanText.table(
      [["", "policy", "now", "planned", "alone now", "alone planned", "bytes alone planned"]] + policyRows)
    lines += ["", "kept traces by first policy"]
    lines += PlanText.table([["", "now", "planned"]] + rows(report.reasons))
    lines += ["", "kept traces by the root's service, the greatest changes first"]
    lines += PlanText.table([["", "now", "planned"]] + rows(report.services))
    if report.hasChanges { lines += ["", "changes"] + changeLines }
    if !notes.isEmpty { lines += ["", "notes"] + notes.map { "  " + $0 } }
    return lines
  }

  /// What changes, in a sentence.
  var summary: String {
    guard report.hasChanges else { return "No changes: \(count(report.compared, "trace")) compared." }
    let sums = PlanChange.Kind.allCases.map { kind in
      report.changes.filter { $0.kind == kind }.reduce(0) { $0 + $1.tally.traces }
    }
    return "Plan: \(sums[0]) to keep, \(sums[1]) to drop, \(sums[2]) with another weight, \(sums[3]) for "
      + "other reasons, \(sums[4]) with other spans; \(count(report.compared, "trace")) compared"
      + (report.uncompared > 0 ? ", \(report.uncompared) not." : ".")
  }

  /// How many traces change.
  var changedTraces: String {
    count(report.changes.reduce(0) { $0 + $1.tally.traces }, "trace")
  }

  /// The sums of both, a row each.
  var totals: [[String]] {
    let (old, new) = (report.old, report.new)
    var rows = [
      row("traces", old.traces, new.traces),
      row("traces kept", report.kept.old.traces, report.kept.new.traces, of: (old.traces, new.traces)),
      row("spans kept", report.kept.old.spans, report.kept.new.spans, of: (old.spans, new.spans)),
      row("bytes kept", report.kept.old.bytes, report.kept.new.bytes, of: (old.bytes, new.bytes)),
      row("error traces kept", old.errorTraces.kept, new.errorTraces.kept),
    ]
    if let days = perDay(report.kept) { rows.append(row("bytes a day", days.old, days.new)) }
    rows.append(row("peak memory", report.oldMemory, report.newMemory))
    rows.append(
      row(
        "recalls", Int(clamping: old.counters.recallsRequested), Int(clamping: new.counters.recallsRequested))
    )
    return rows
  }

  /// The kept bytes of a day at the recorded rate; nil if the recording is too short to tell.
  private func perDay(_ kept: PlanPair) -> (old: Int, new: Int)? {
    let seconds = Double(report.duration.nanoseconds) / 1e9
    guard seconds >= 1 else { return nil }
    return (
      Int(Double(kept.old.bytes) * 86_400 / seconds), Int(Double(kept.new.bytes) * 86_400 / seconds)
    )
  }

  private var policyRows: [[String]] {
    report.policies.map { policy in
      let sign = policy.isOld ? (policy.isNew ? " " : "-") : "+"
      let text = { (value: Int, isThere: Bool) in isThere ? String(value) : "" }
      return [
        sign, printable(policy.name), text(policy.sampled.old.traces, policy.isOld),
        text(policy.sampled.new.traces, policy.isNew), text(policy.alone.old.traces, policy.isOld),
        text(policy.alone.new.traces, policy.isNew), text(policy.alone.new.bytes, policy.isNew),
      ]
    }
  }

  /// Rows of kept traces, the greatest changes first, and the sum of the rest.
  func rows(_ pairs: [String: PlanPair]) -> [[String]] {
    let sorted = pairs.sorted { left, right in
      let (first, second) = (PlanText.change(left.value), PlanText.change(right.value))
      if first != second { return first > second }
      if left.value.new.traces != right.value.new.traces {
        return left.value.new.traces > right.value.new.traces
      }
      return left.key < right.key
    }
    var rows = sorted.prefix(PlanText.rowsMax).map {
      [printable($0.key), "\($0.value.old.traces)", "\($0.value.new.traces)"]
    }
    let rest = sorted.dropFirst(PlanText.rowsMax)
    if !rest.isEmpty {
      rows.append([
        "(\(rest.count) more)", "\(rest.reduce(0) { $0 + $1.value.old.traces })",
        "\(rest.reduce(0) { $0 + $1.value.new.traces })",
      ])
    }
    return rows
  }

  private static func change(_ pair: PlanPair) -> Int { abs(pair.new.traces - pair.old.traces) }

  private var changeLines: [String] {
    var lines: [String] = []
    for change in report.changes.prefix(PlanText.rowsMax) {
      lines.append("  \(PlanText.words(change)): \(count(change.tally.traces, "trace"))")
      for sample in change.samples { lines.append("      " + describe(sample)) }
    }
    let rest = report.changes.count - PlanText.rowsMax
    if rest > 0 { lines.append("  and \(rest) more kinds of change") }
    return lines
  }

  /// What changes and why.
  static func words(_ change: PlanChange) -> String {
    let name = "\"\(printable(change.policy))\""
    return switch change.kind {
    case .kept: "+ keep, for \(name)"
    case .dropped: "- drop, kept so far for \(name)"
    case .weight: "~ keep with another weight, for \(name)"
    case .reasons: "~ keep with or without \(name) among the reasons"
    case .spans: "~ keep other spans, for \(name)"
    }
  }

  /// A trace in a line.
  func describe(_ sample: PlanSample) -> String {
    let service = printable(sample.service)
    let errors = sample.errorCount > 0 ? ", \(count(sample.errorCount, "error"))" : ""
    let milliseconds = String(format: "%.1f ms", Double(sample.duration) / 1e6)
    return "\(sample.traceID)  \(service)  \(milliseconds), \(count(sample.spanCount, "span"))\(errors)"
  }

  /// What deserves a second look.
  var notes: [String] {
    var notes: [String] = []
    for policy in report.policies where policy.isNew {
      let name = "\"\(printable(policy.name))\""
      let (sampled, alone) = (policy.sampled.new.traces, policy.alone.new.traces)
      let dropped = policy.dropped.new.traces
      if dropped > 0 {
        notes.append("\(name) drops \(count(dropped, "trace"))")
      } else if sampled == 0 {
        notes.append("\(name) matches nothing")
      } else if sampled == report.new.traces, report.new.traces > 1 {
        notes.append("\(name) samples every trace")
      } else if alone == 0 {
        notes.append("\(name) samples nothing that other policies would not keep")
      }
    }
    let costly = report.policies.filter(\.isNew).max { $0.alone.new.bytes < $1.alone.new.bytes }
    if let costly, costly.alone.new.bytes > 0 {
      let share = 100 * Double(costly.alone.new.bytes) / Double(max(1, report.kept.new.bytes))
      notes.append(
        "\"\(printable(costly.name))\" costs most: "
          + String(format: "%.0f %% of the kept bytes are there for it alone", share))
    }
    if report.uncompared > 0 {
      notes.append(
        "\(count(report.uncompared, "trace")) could not be compared: the verdicts are too far from each other"
      )
    }
    if report.hasBudgets {
      notes.append(
        "a rate limit counts for each partition of a worker, and here for the recording as a whole")
    }
    if isReadOnce { notes.append("the recording is read once, so no trace is recalled") }
    if report.new.spansRejected > 0 {
      notes.append("the recording has \(count(report.new.spansRejected, "unusable span"))")
    }
    if report.new.damageCount > 0 {
      notes.append("the recording has \(count(report.new.damageCount, "damaged record"))")
    }
    return notes
  }

  var json: String {
    get throws {
      let pairs = { (pairs: [String: PlanPair]) in pairs.mapValues { JSONPair($0) } }
      let days = perDay(report.kept)
      return try ReportJSON.encode(
        Form(
          changes: report.changes.map { change in
            JSONChange(
              kind: change.kind.rawValue, policy: change.policy, traces: change.tally.traces,
              spans: change.tally.spans, bytes: change.tally.bytes,
              samples: change.samples.map {
                JSONSample(
                  traceID: $0.traceID, service: $0.service, durationNs: $0.duration,
                  spanCount: $0.spanCount, errorCount: $0.errorCount)
              })
          },
          compared: report.compared, uncompared: report.uncompared, durationNs: report.duration.nanoseconds,
          kept: JSONPair(report.kept),
          bytesADayNow: days?.old, bytesADayPlanned: days?.new, memoryNow: report.oldMemory,
          memoryPlanned: report.newMemory, recallsNow: report.old.counters.recallsRequested,
          recallsPlanned: report.new.counters.recallsRequested,
          policies: report.policies.map {
            JSONPolicy(
              name: $0.name, isOld: $0.isOld, isNew: $0.isNew, sampled: JSONPair($0.sampled),
              alone: JSONPair($0.alone), tracesDroppedNow: $0.dropped.old.traces,
              tracesDroppedPlanned: $0.dropped.new.traces)
          }, reasons: pairs(report.reasons), services: pairs(report.services), notes: notes))
    }
  }

  // MARK: JSON

  private struct Form: Encodable {
    var changes: [JSONChange]
    var compared, uncompared: Int
    var durationNs: Int64
    var kept: JSONPair
    var bytesADayNow, bytesADayPlanned: Int?
    var memoryNow, memoryPlanned: Int
    var recallsNow, recallsPlanned: UInt64
    var policies: [JSONPolicy]
    var reasons, services: [String: JSONPair]
    var notes: [String]
  }

  private struct JSONPair: Encodable {
    var now, planned: JSONTally

    init(_ pair: PlanPair) {
      now = JSONTally(traces: pair.old.traces, spans: pair.old.spans, bytes: pair.old.bytes)
      planned = JSONTally(traces: pair.new.traces, spans: pair.new.spans, bytes: pair.new.bytes)
    }
  }

  private struct JSONTally: Encodable {
    var traces, spans, bytes: Int
  }

  private struct JSONPolicy: Encodable {
    var name: String
    var isOld, isNew: Bool
    var sampled, alone: JSONPair
    var tracesDroppedNow, tracesDroppedPlanned: Int
  }

  private struct JSONChange: Encodable {
    var kind, policy: String
    var traces, spans, bytes: Int
    var samples: [JSONSample]
  }

  private struct JSONSample: Encodable {
    var traceID, service: String
    var durationNs: Int64
    var spanCount, errorCount: Int
  }

  // MARK: Words

  private func row(_ name: String, _ old: Int, _ new: Int, of totals: (Int, Int)? = nil) -> [String] {
    let share = { (part: Int, whole: Int?) in
      guard let whole, whole > 0 else { return "" }
      return String(format: " (%.2f %%)", 100 * Double(part) / Double(whole))
    }
    let change = new - old
    return [
      name, "\(old)" + share(old, totals?.0), "\(new)" + share(new, totals?.1),
      change == 0 ? "" : (change > 0 ? "+\(change)" : "\(change)"),
    ]
  }

  private func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

  /// Columns as wide as their widest field: the first to the left, the others to the right.
  private static func table(_ rows: [[String]]) -> [String] {
    let widths = (0..<(rows.map(\.count).max() ?? 0)).map { column in
      rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
      let fields = row.enumerated().map { column, field in
        let padding = String(repeating: " ", count: widths[column] - field.count)
        return Int(field.prefix(1)) == nil && column < 2 ? field + padding : padding + field
      }
      var line = "  " + fields.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}

/// Text from traces in one line, without anything that controls a terminal, and not too long.
func printable(_ text: String, most: Int = 80) -> String {
  let scalars = text.unicodeScalars
  return MessageText.oneLine(String(scalars.prefix(most))) + (scalars.count > most ? "…" : "")
}
