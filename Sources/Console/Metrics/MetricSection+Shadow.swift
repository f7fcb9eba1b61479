// What shadow policies answer, and what they would change.

internal import Sampling
import Topology

extension MetricSection {
  static let shadow: [Metric] = [
    .counter(
      "tailrace_shadow_verdicts_total",
      "Final verdicts, recalls aside, by what a shadow policy answered (match or no_match) and by the "
        + "verdict that fell without it; only with shadow",
      by: ["policy", "shadow", "verdict"]
    ) { scrape in
      scrape.shadowCounts.flatMap { counts in
        [
          Metric.Sample([counts.policy, "match", "drop"], counts.droppedMatching),
          Metric.Sample([counts.policy, "match", "keep"], counts.keptMatching),
          Metric.Sample([counts.policy, "no_match", "drop"], counts.droppedOthers),
          Metric.Sample([counts.policy, "no_match", "keep"], counts.keptOthers),
        ]
      }
    },
    .counter(
      "tailrace_shadow_changed_traces_total",
      "Traces whose verdict would be another if the shadow policy were one of the policies, by that verdict",
      by: ["policy", "would"]
    ) { $0.shadowChanges(\.traces) },
    .counter(
      "tailrace_shadow_changed_spans_total", "Spans of these traces, late ones not included",
      by: ["policy", "would"]
    ) { $0.shadowChanges(\.spans) },
    .counter(
      "tailrace_shadow_changed_bytes_total", "Bytes of these spans", .bytes, by: ["policy", "would"]
    ) { $0.shadowChanges(\.bytes) },
  ]
}

extension Scrape {
  /// Every shadow policy has counts, at zero too, so that rates start from zero.
  fileprivate var shadowCounts: [ShadowCounts] {
    var counts = counters.shadow
    if case .tailSampling(let topology) = topology { counts.begin(topology.shadow.map(\.name)) }
    return counts.sorted { $0.policy < $1.policy }
  }

  fileprivate func shadowChanges(_ part: KeyPath<ShadowChanges, UInt64>) -> [Metric.Sample<UInt64>] {
    shadowCounts.flatMap { counts in
      [
        Metric.Sample([counts.policy, "drop"], counts.wouldDrop[keyPath: part]),
        Metric.Sample([counts.policy, "keep"], counts.wouldKeep[keyPath: part]),
      ]
    }
  }
}
