// The demo's live table, and its report: kept traces against the truth.

import Foundation
import OTLP
import Pipeline
import Sampling
import Simulation

/// The demo's result.
struct DemoReport: Encodable {
  var traces, spans, bytes: Int
  var keptTraces, keptSpans, keptBytes: Int
  var decided, repeatedDecisions: Int
  var errors, slow: Share
  var baseline: Baseline
  var lateOutcomes, lateRecalled: Int
  var reasons: [String: Int]

  /// Traces kept, kept with all their spans, and in all.
  struct Share: Encodable {
    var kept = 0
    var complete = 0
    var total = 0
  }

  /// The share of other traces that were kept, with its 95 % confidence interval.
  struct Baseline: Encodable {
    var kept = 0
    var total = 0
    var share = 0.0
    var low = 0.0
    var high = 0.0
  }

  init(truths: [TraceTruth], audit: DemoAudit, spans: Int, bytes: Int) {
    traces = truths.count
    self.spans = spans
    self.bytes = bytes
    keptSpans = audit.keptSpanCount
    keptBytes = audit.keptBytes
    decided = audit.decidedTraces
    repeatedDecisions = audit.repeatedFinals
    keptTraces = audit.keptTraces
    reasons = audit.keptByReason
    (errors, slow, baseline, lateOutcomes, lateRecalled) = (Share(), Share(), Baseline(), 0, 0)
    for truth in truths { count(truth, audit) }
    baseline.estimate()
  }

  private mutating func count(_ truth: TraceTruth, _ audit: DemoAudit) {
    let id = TraceID(high: truth.traceIDHigh, low: truth.traceIDLow)
    let isKept = audit.isKept(id)
    let isComplete = isKept && audit.keptSpans[id]?.count == truth.spanCount
    // Its deciding record arrived after the verdict, unless other errors or its root were in time.
    if truth.isOutcomeLate, truth.hasError || truth.isSlow, !isKept || audit.recalled.contains(id) {
      lateOutcomes += 1
      if isKept { lateRecalled += 1 }
    }
    if truth.hasError { errors.add(isKept, isComplete) }
    if truth.isSlow { slow.add(isKept, isComplete) }
    guard !truth.hasError, !truth.isSlow, truth.rootDurationNanoseconds != nil else { return }
    baseline.total += 1
    if isKept { baseline.kept += 1 }
  }

  /// Whether every trace was decided once, and every error or slow trace kept with all its spans.
  var isWhole: Bool {
    decided == traces && repeatedDecisions == 0 && errors.complete == errors.total
      && slow.complete == slow.total
  }

  var text: String {
    """

    traffic    \(traces) traces, \(spans) spans, \(bytes / 1_000_000) MB
    decided    \(decided) of \(traces) traces, \(repeatedDecisions) twice
    kept       \(keptTraces) traces, \(keptSpans) spans, \(Self.percent(keptBytes, bytes)) of the bytes
    errors     kept \(errors.kept) of \(errors.total), \(errors.complete) with all their spans
    slow       kept \(slow.kept) of \(slow.total), \(slow.complete) with all their spans
    baseline   kept \(baseline.kept) of \(baseline.total) other traces: \(Self.percent(baseline.share)) \
    (95 % interval \(Self.percent(baseline.low)) to \(Self.percent(baseline.high)), wanted 1.00 %)
    late       \(lateOutcomes) traces whose error or root arrived after the verdict, \(lateRecalled) \
    of them recalled
    reasons    \(reasons.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
    \(isWhole ? "nothing is missing" : "SOMETHING IS MISSING")
    """
  }

  private static func percent(_ part: Int, _ whole: Int) -> String {
    percent(whole == 0 ? 0 : Double(part) / Double(whole))
  }

  private static func percent(_ share: Double) -> String {
    String(format: "%.2f %%", 100 * share)
  }
}

extension DemoReport.Share {
  fileprivate mutating func add(_ isKept: Bool, _ isComplete: Bool) {
    total += 1
    if isKept { kept += 1 }
    if isComplete { complete += 1 }
  }
}

extension DemoReport.Baseline {
  /// The share and its 95 % interval.
  ///
  /// Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
  fileprivate mutating func estimate() {
    guard total > 0 else { return }
    let (z, n) = (1.959964, Double(total))
    share = Double(kept) / n
    let centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    let spread = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot()
    (low, high) = (max(0, centre - spread), min(1, centre + spread))
  }
}

/// The live table, twice a second on a terminal; otherwise a line now and then.
final class DemoTable {
  private let isLive: Bool
  private var shownAt = Duration.zero
  private var shownLines = 0

  init(isLive: Bool) {
    self.isLive = isLive
  }

  func show(after time: Duration, _ worker: LaneSnapshot, _ traffic: DemoTraffic, _ audit: DemoAudit) {
    guard time - shownAt >= (isLive ? .milliseconds(500) : .seconds(5)) else { return }
    shownAt = time
    let seconds = Int(time.components.seconds)
    let counters = worker.counters
    let head =
      "\(seconds) s  published \(traffic.spans) spans  read \(counters.spansRead)  "
      + "open \(worker.openTraces) traces  "
      + "decided \(counters.tracesKept + counters.tracesDropped)  kept \(counters.tracesKept)  "
      + "late spans \(counters.lateSpansKept + counters.lateSpansDropped)"
    guard isLive else { return StandardError.write(head + "\n") }
    let reasons = audit.keptByReason.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
    var lines = [
      head, "kept for   " + reasons.joined(separator: "  "), "service              spans in    kept",
    ]
    for (service, count) in traffic.spansByService.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) })
      .prefix(12)
    {
      let kept = audit.keptByService[service] ?? 0
      lines.append(
        service.padding(toLength: 18, withPad: " ", startingAt: 0) + String(format: "%11d %7d", count, kept))
    }
    if shownLines > 0 { StandardError.write("\u{1b}[\(shownLines)A") }
    StandardError.write(lines.map { "\u{1b}[2K\($0)\n" }.joined())
    shownLines = lines.count
  }

  func end() {
    shownLines = 0
  }
}
