// What a tail sampler reads, decides, hands out and holds.

internal import OTLP
internal import Pipeline
internal import Sampling
import Topology

extension MetricSection {
  static let records: [Metric] = [
    .gauge(
      "tailrace_config_info", "Always 1; the version of the configuration that decides, as decisions name it",
      by: ["version"]
    ) {
      let version = $0.status.configuration.version
      return version.isEmpty ? nil : [Metric.Sample([version], 1)]
    },
    .counter("tailrace_unkeyed_records_total", "Records without a key that is a trace id") {
      $0.counters.recordsUnkeyed
    },
    .counter("tailrace_misrouted_records_total", "Records with a span whose trace id is not their key") {
      $0.counters.recordsMisrouted
    },
    .counter(
      "tailrace_clamped_timestamps_total",
      "Records whose timestamp was too far ahead of those around it, and did not move the stream clock: a "
        + "producer's clock is wrong"
    ) { $0.counters.timestampsClamped },
    .counter(
      "tailrace_clock_turned_back_total",
      "Times that a partition's stream clock turned out to be ahead of its log, and was set back"
    ) { $0.counters.clockTurnedBack },
  ]

  static let verdicts: [Metric] = [
    .counter("tailrace_opened_traces_total", "Traces opened") { $0.counters.tracesOpened },
    .counter(
      "tailrace_decided_traces_total",
      "Final verdicts, keep or drop, by what ended the window: root, wait or memory",
      by: ["verdict", "trigger"]
    ) { $0.finalVerdicts },
    .counter(
      "tailrace_early_kept_traces_total",
      "Traces kept before their window closed, by why: eager or limit", by: "trigger"
    ) { scrape in
      Dictionary(uniqueKeysWithValues: scrape.measures.verdicts.keptEarly.map { ($0.key.rawValue, $0.value) })
    },
    .counter(
      "tailrace_kept_traces_total",
      "Traces kept, by the first policy that matched; trace_limit where a limit alone kept a trace, "
        + "earlier_policies where only replaced ones did", by: "policy"
    ) { $0.keptByPolicy },
    .counter("tailrace_truncated_traces_total", "Traces that went over a limit and were kept as a skeleton") {
      $0.counters.tracesTruncated
    },
    .counter("tailrace_shed_traces_total", "Traces decided before their time because memory ran short") {
      $0.counters.tracesShed
    },
    .counter(
      "tailrace_missed_traces_total",
      "Dropped traces that a policy would have kept, had their late spans come in time, by policy; one trace "
        + "may count under several", by: "policy"
    ) { $0.byPolicy($0.counters.missedByPolicy) },
    .counter(
      "tailrace_extended_waits_total",
      "Traces that waited on after decision_wait_after_root, because asynchronous work might follow"
    ) { $0.counters.tracesWaitingOn },
    .counter("tailrace_forgotten_verdicts_total", "Verdicts forgotten before the late window was over") {
      $0.counters.verdictsForgottenEarly
    },
    .counter(
      "tailrace_shared_names_total",
      "What shares a name because limits.services is reached: resources by service, spans by baseline_key; "
        + "and stats_key, keys of the baseline that had no room in a record of stats", by: "kind"
    ) {
      [
        "service": $0.counters.servicesBeyondLimit, "baseline_key": $0.counters.keysBeyondLimit,
        "stats_key": $0.counters.statsKeysLeftOut,
      ]
    },
    .counter(
      "tailrace_shortened_decisions_total",
      "Decision records that leave out services or reasons, because their topic takes no larger records"
    ) { $0.counters.decisionsShortened },
    .counter("tailrace_condition_errors_total", "Conditions of policies that could not be evaluated") {
      $0.counters.conditionErrors
    },
    .histogram(
      "tailrace_decision_latency_seconds", "Stream time from a trace's first span to its final verdict"
    ) { $0.measures.decisionLatencies },
    .histogram(
      "tailrace_eager_latency_seconds",
      "From the timestamp of the record that made a trace certain to the commit of its early decision"
    ) { $0.measures.eagerLatencies },
  ]

  static let spans: [Metric] = [
    .counter("tailrace_kept_spans_total", "Spans handed out, late ones included") { $0.counters.spansKept },
    .counter("tailrace_kept_bytes_total", "Bytes of spans handed out", .bytes) { $0.counters.bytesKept },
    .counter(
      "tailrace_too_large_spans_total",
      "Spans of kept traces that were dead-lettered because sampled takes no record as large"
    ) { $0.counters.spansTooLarge },
    .counter("tailrace_dropped_spans_total", "Spans of dropped traces, late ones included") {
      $0.counters.spansDropped
    },
    .counter(
      "tailrace_redelivered_spans_total",
      "Spans that had come before in their trace, byte for byte, and were left out: a producer or a "
        + "collector has sent them again"
    ) { $0.counters.spansRedelivered },
    .counter(
      "tailrace_unremembered_spans_total",
      "Spans that there was no memory to remember, or of a trace far over a limit: delivered again, they "
        + "count again"
    ) { $0.counters.spansUnremembered },
    .counter("tailrace_truncated_spans_total", "Spans left out of skeletons") { $0.counters.spansTruncated },
    .counter(
      "tailrace_replayed_spans_total", "Spans read again during recovery that had been dealt with before"
    ) { $0.counters.spansReplayed },
    .counter(
      "tailrace_late_spans_total", "Spans that came after the verdict on their trace, by verdict",
      by: "verdict"
    ) { ["keep": $0.counters.lateSpansKept, "drop": $0.counters.lateSpansDropped] },
    .counter(
      "tailrace_unmarked_spans_total",
      "Kept spans whose tracestate breaks the rules, or had no room for their threshold"
    ) { $0.counters.tracestatesLeftAlone },
  ]

  static let services: [Metric] = [
    .counter(
      "tailrace_service_traces_total",
      "Final verdicts by the service of the root span; services beyond console.services share one label",
      by: ["service", "verdict"]
    ) { scrape in
      scrape.services.sorted { $0.key < $1.key }.flatMap { name, verdicts in
        [Metric.Sample([name, "drop"], verdicts.dropped), Metric.Sample([name, "keep"], verdicts.kept)]
      }
    },
    .gauge(
      "tailrace_baseline_probability",
      "The adaptive baseline's rate now, 0 to 1, for traces of a service; only with baseline", by: ["service"]
    ) { scrape in
      guard let rates = scrape.measures.rates else { return nil }
      return scrape.services.keys.sorted().filter { $0 != Sampler.rootlessName }.map { name in
        Metric.Sample([name], (rates.threshold(of: Array(name.utf8)) ?? rates.other).probability)
      }
    },
  ]

  static let memory: [Metric] = [
    .gauge("tailrace_open_traces", "Traces whose window is open") { Double($0.snapshot.openTraces) },
    .gauge("tailrace_remembered_verdicts", "Verdicts remembered for spans that come late") {
      Double($0.snapshot.pastVerdicts)
    },
    .gauge("tailrace_buffered_bytes", "Bytes of the spans of undecided traces, as they came", .bytes) {
      Double($0.snapshot.bufferedBytes)
    },
    .gauge(
      "tailrace_compressed_segments",
      "Segments of spans, 64 KiB each, that are kept compressed because memory is short"
    ) { Double($0.snapshot.compressedSegments) },
    .gauge("tailrace_buffer_resident_bytes", "Memory that buffered spans are kept in", .bytes) {
      Double($0.snapshot.residentBufferBytes)
    },
    .gauge(
      "tailrace_state_resident_bytes",
      "Memory for spans, open traces, verdicts, and what lanes read and write with", .bytes
    ) { Double($0.snapshot.residentBytes) },
    .gauge("tailrace_memory_limit_bytes", "limits.memory of the topology", .bytes) {
      guard case .tailSampling(let topology) = $0.topology else { return nil }
      return Double(topology.limits.memory)
    },
  ]
}

extension Scrape {
  /// Every trigger that a final verdict can have, so that a rate has a beginning.
  fileprivate var finalVerdicts: [Metric.Sample<UInt64>] {
    func samples(_ verdict: String, _ counts: [Decision.Trigger: UInt64]) -> [Metric.Sample<UInt64>] {
      Decision.Trigger.allCases.filter { counts[$0] != nil || $0.closesWindows }.map { trigger in
        Metric.Sample([verdict, trigger.rawValue], counts[trigger] ?? 0)
      }
    }
    return samples("keep", measures.verdicts.kept) + samples("drop", measures.verdicts.dropped)
  }

  fileprivate var keptByPolicy: [String: UInt64] {
    var kept = byPolicy(counters.keptByReason)
    kept[Sampler.limitReason, default: 0] += 0
    if case .tailSampling(let topology) = topology, topology.baseline != nil {
      kept[BaselineSettings.policyName, default: 0] += 0
    }
    return kept
  }

  /// Counts by policy: every policy has one, so that a rate has a beginning.
  fileprivate func byPolicy(_ counts: [String: UInt64]) -> [String: UInt64] {
    guard case .tailSampling(let topology) = topology else { return counts }
    var counts = counts
    for policy in topology.policies { counts[policy.name, default: 0] += 0 }
    return counts
  }
}

extension Decision.Trigger {
  /// Whether a final verdict may be given for it.
  fileprivate var closesWindows: Bool {
    switch self {
    case .root, .wait, .memory: true
    case .limit, .eager, .late: false
    }
  }
}
