// A plan in words and tables; PlanJSON.swift has it as JSON.

import Files
import Foundation
import Pipeline
import Sampling

/// A plan for people and as JSON.
struct PlanText {
  let report: PlanReport
  /// Whether the recording could not be read again.
  let isReadOnce: Bool

  /// How many services and changes are listed.
  private static let rowsMax = 20

  var lines: [String] {
    var lines = [summary] + (budget.map { [$0] } ?? []) + [""]
    lines += PlanText.table([["", "now", "planned", "change"]] + totals)
    lines += ["", "policies (traces that they sample; alone: no other policy does)"]
    lines += PlanText.table(
      [["", "policy", "now", "planned", "alone now", "alone planned", "bytes alone planned"]] + policyRows)
    if !report.shadow.isEmpty {
      lines += ["", "shadow policies (traces whose verdict each would change; they decide nothing)"]
      lines += PlanText.table([PlanText.shadowHeader] + shadowRows)
    }
    lines += ["", "kept traces by first policy"]
    lines += PlanText.table([PlanText.tallyHeader] + rows(report.reasons))
    lines += ["", "kept traces by the root's service, the greatest changes first"]
    lines += PlanText.table([PlanText.tallyHeader] + rows(report.services))
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

  /// What storage the kept spans take, in a sentence; nil if the recording is too short to tell.
  var budget: String? {
    guard let days = perDay(report.kept.old.bytes, report.kept.new.bytes) else { return nil }
    let side = { (bytes: Int, kept: Int, whole: Int) in
      PlanText.size(bytes) + String(format: " (%.2f %% of the traffic)", PlanText.share(kept, whole))
    }
    return "Storage a day at the recorded rate: "
      + side(days.old, report.kept.old.bytes, report.old.bytes) + " now, "
      + side(days.new, report.kept.new.bytes, report.new.bytes) + " planned."
  }

  static func share(_ part: Int, _ whole: Int) -> Double { 100 * Double(part) / Double(max(1, whole)) }

  /// A size for people, such as `1.25 GB`.
  private static func size(_ bytes: Int) -> String {
    var (value, unit) = (Double(bytes), "bytes")
    for larger in ["kB", "MB", "GB", "TB", "PB"] where value >= 1000 {
      value /= 1000
      unit = larger
    }
    return unit == "bytes" ? "\(bytes) bytes" : String(format: "%.3g ", value) + unit
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
    if let days = perDay(report.kept.old.bytes, report.kept.new.bytes) {
      rows.append(row("bytes a day", days.old, days.new))
    }
    rows.append(row("peak memory", report.oldMemory, report.newMemory))
    rows.append(row("recalls", recalls.old, recalls.new))
    if let days = perDay(recalls.old, recalls.new) { rows.append(row("recalls a day", days.old, days.new)) }
    return rows
  }

  var recalls: (old: Int, new: Int) {
    (
      Int(clamping: report.old.counters.recallsRequested), Int(clamping: report.new.counters.recallsRequested)
    )
  }

  /// What a day would have at the recorded rate; nil if the recording is too short to tell.
  func perDay(_ old: Int, _ new: Int) -> (old: Int, new: Int)? {
    let seconds = Double(report.duration.nanoseconds) / 1e9
    guard seconds >= 1 else { return nil }
    let day = { (count: Int) in Int(exactly: (Double(count) * 86_400 / seconds).rounded()) ?? .max }
    return (day(old), day(new))
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

  /// The columns of `shadowRows`.
  static let shadowHeader = [
    "", "policy", "would keep now", "planned", "would drop now", "planned", "bytes planned",
  ]

  /// What shadow policies would change, a row each.
  var shadowRows: [[String]] {
    report.shadow.map { policy in
      let text = { (counts: ShadowCounts?, changes: KeyPath<ShadowCounts, ShadowChanges>) in
        counts.map { String($0[keyPath: changes].traces) } ?? ""
      }
      let bytes = policy.new.map { String($0.wouldKeep.bytes &+ $0.wouldDrop.bytes) } ?? ""
      return [
        policy.old == nil ? "+" : policy.new == nil ? "-" : " ", printable(policy.name),
        text(policy.old, \.wouldKeep), text(policy.new, \.wouldKeep), text(policy.old, \.wouldDrop),
        text(policy.new, \.wouldDrop), bytes,
      ]
    }
  }

  /// The columns of `rows`.
  static let tallyHeader = ["", "traces now", "planned", "spans now", "planned", "bytes now", "planned"]

  private static func tallyRow(_ name: String, _ pair: PlanPair) -> [String] {
    let (old, new) = (pair.old, pair.new)
    return [name] + [old.traces, new.traces, old.spans, new.spans, old.bytes, new.bytes].map(String.init)
  }

  /// Rows of what is kept, the greatest changes first, and the sum of the rest.
  func rows(_ pairs: [String: PlanPair]) -> [[String]] {
    let sorted = pairs.sorted { left, right in
      let (first, second) = (PlanText.change(left.value), PlanText.change(right.value))
      if first != second { return first > second }
      if left.value.new.traces != right.value.new.traces {
        return left.value.new.traces > right.value.new.traces
      }
      return left.key < right.key
    }
    var rows = sorted.prefix(PlanText.rowsMax).map { PlanText.tallyRow(printable($0.key), $0.value) }
    let rest = sorted.dropFirst(PlanText.rowsMax)
    if !rest.isEmpty {
      let sum = rest.reduce(into: PlanPair()) { $0.add($1.value) }
      rows.append(PlanText.tallyRow("(\(rest.count) more)", sum))
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
      } else if let first = policy.shadowedBy.first {
        let others = policy.shadowedBy.count - 1
        notes.append(
          "\(name) is shadowed by \"\(printable(first))\""
            + (others > 0 ? " and \(count(others, "other policy", "other policies"))" : "")
            + ", before it: each of its \(count(sampled, "trace")) would be kept without it")
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
    if report.stopsAtFirstMatch {
      notes.append(
        "with sample_on_first_match a policy is not asked about traces that one before it samples: its "
          + "figures are without them")
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

  private func count(_ number: Int, _ noun: String, _ plural: String? = nil) -> String {
    "\(number) \(number == 1 ? noun : plural ?? noun + "s")"
  }

  /// Columns as wide as their widest field: the first to the left, the others to the right.
  static func table(_ rows: [[String]]) -> [String] {
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
