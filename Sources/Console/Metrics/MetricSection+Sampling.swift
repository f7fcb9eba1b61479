// What a tail sampler reads, decides, forwards and holds.

internal import OTLP
internal import Pipeline
internal import Sampling
import Topology

extension MetricSection {
  static let records: [Metric] = [
    .gauge(
      "tailrace_config_info",
      "Always 1; the label is the version of the configuration in effect, as in decision records",
      by: ["version"]
    ) {
      let version = $0.status.configuration.version
      return version.isEmpty ? nil : [Metric.Sample([version], 1)]
    },
    .counter("tailrace_unkeyed_records_total", "Records whose key is not a trace id") {
      $0.counters.recordsUnkeyed
    },
    .counter("tailrace_misrouted_records_total", "Records with a span whose trace id differs from their key")
    {
      $0.counters.recordsMisrouted
    },
    .counter(
      "tailrace_clamped_timestamps_total",
      "Records whose timestamp was too far ahead of its neighbours to move the stream clock: a producer's "
        + "clock is wrong"
    ) { $0.counters.timestampsClamped },
    .counter(
      "tailrace_clock_turned_back_total",
      "Times a partition's stream clock was found ahead of its log and set back"
    ) { $0.counters.clockTurnedBack },
  ]

  static let verdicts: [Metric] = [
    .counter(
      "tailrace_opened_traces_total", "Traces opened, those included that then followed their old verdict"
    ) {
      $0.counters.tracesOpened
    },
    .counter(
      "tailrace_decided_traces_total",
      "Final verdicts, keep or drop, by what closed the window: root, wait or memory. A recalled trace was "
        + "dropped, and counts again under recall",
      by: ["verdict", "trigger"]
    ) { $0.finalVerdicts },
    .counter(
      "tailrace_early_kept_traces_total",
      "Traces kept before their window closed, by trigger: eager or limit", by: "trigger"
    ) { scrape in
      Dictionary(uniqueKeysWithValues: scrape.measures.verdicts.keptEarly.map { ($0.key.rawValue, $0.value) })
    },
    .counter(
      "tailrace_kept_traces_total",
      "Traces kept, recalled ones included, by the first policy that matched; trace_limit where only a limit "
        + "kept a trace, earlier_policies where only replaced policies did", by: "policy"
    ) { $0.keptByPolicy },
    .counter("tailrace_truncated_traces_total", "Traces that exceeded a limit and were kept as a skeleton") {
      $0.counters.tracesTruncated
    },
    .counter("tailrace_shed_traces_total", "Traces decided early because memory ran short") {
      $0.counters.tracesShed
    },
    .counter(
      "tailrace_missed_traces_total",
      "Dropped traces that a policy would have kept had their late spans arrived in time, and that are not "
        + "recalled, by policy; a trace may count under several", by: "policy"
    ) { $0.byPolicy($0.counters.missedByPolicy) },
    .counter(
      "tailrace_extended_waits_total",
      "Traces that kept waiting after decision_wait_after_root because asynchronous work might follow"
    ) { $0.counters.tracesWaitingOn },
    .counter("tailrace_forgotten_verdicts_total", "Verdicts forgotten before the late window ended") {
      $0.counters.verdictsForgottenEarly
    },
    .counter(
      "tailrace_fleet_limit_asked_total",
      "Spans or bytes of traces that asked a rate limit with scope fleet, by policy or shadow policy, the "
        + "limit's place in it, and whether they were granted; counted every five seconds",
      by: ["policy", "limit", "granted"]
    ) { scrape in
      scrape.counters.fleetLimits.flatMap { limit in
        [
          Metric.Sample([limit.policy, "\(limit.place)", "false"], limit.asked - limit.granted),
          Metric.Sample([limit.policy, "\(limit.place)", "true"], limit.granted),
        ]
      }
    },
    .gauge(
      "tailrace_fleet_limit_share",
      "The share of a rate limit with scope fleet that this worker's partitions have; those of all workers "
        + "add up to one", by: ["policy", "limit"]
    ) { scrape in
      scrape.measures.limitShares.sorted { ($0.key.policy, $0.key.place) < ($1.key.policy, $1.key.place) }
        .map { Metric.Sample([$0.key.policy, "\($0.key.place)"], $0.value) }
    },
    .counter(
      "tailrace_shared_names_total",
      "Resources (service) and spans (baseline_key) under a shared name because limits.services is reached; "
        + "stats_key counts baseline keys that did not fit into a stats record", by: "kind"
    ) {
      [
        "service": $0.counters.servicesBeyondLimit, "baseline_key": $0.counters.keysBeyondLimit,
        "stats_key": $0.counters.statsKeysLeftOut,
      ]
    },
    .counter(
      "tailrace_shapes_total",
      "Traces whose shape their partition had not seen lately (new), that would have been kept for it within "
        + "a larger share of the budget (refused), and that have too many spans to tell (large)", by: "kind"
    ) {
      [
        "new": $0.counters.shapesNew, "refused": $0.counters.firstsRefused,
        "large": $0.counters.shapesOfLarge,
      ]
    },
    .counter(
      "tailrace_shortened_decisions_total",
      "Decision records without some services or reasons because their topic takes no larger records"
    ) { $0.counters.decisionsShortened },
    .counter(
      "tailrace_ledger_traces_total",
      "Entries of the ledger: verdicts on dropped traces, and places of their late spans"
    ) {
      $0.snapshot.lane.ledgerTraces
    },
    .counter("tailrace_ledger_bytes_total", "Bytes of the ledger's pages, uncompressed", .bytes) {
      $0.snapshot.lane.ledgerBytes
    },
    .counter(
      "tailrace_ledger_unreadable_pages_total",
      "Pages of the ledger that could not be read back when a partition was assigned: the verdicts in them "
        + "are lost"
    ) { $0.snapshot.lane.ledgerPagesUnreadable },
    .counter("tailrace_condition_errors_total", "Policy conditions that could not be evaluated") {
      $0.counters.conditionErrors
    },
    .histogram(
      "tailrace_decision_latency_seconds", "Stream time from a trace's first span to its final verdict"
    ) { $0.measures.decisionLatencies },
    .histogram(
      "tailrace_eager_latency_seconds",
      "From the timestamp of the record that made a trace's verdict certain to the commit of its early "
        + "decision"
    ) { $0.measures.eagerLatencies },
  ]

  static let lookups: [Metric] = [
    .counter(
      "tailrace_verdict_lookups_total",
      "Traces with a span that started longer ago than verdicts are remembered, by what became of looking "
        + "up their old verdict: begun, found, or refused because 1,000 of the partition were waiting, "
        + "memory ran short, or there was no answer for ten minutes",
      by: "outcome"
    ) {
      [
        "begun": $0.counters.lookups, "found": $0.counters.lookupsFound,
        "refused": $0.counters.lookupsRefused,
      ]
    },
    .counter("tailrace_verdict_lookup_bytes_total", "Bytes of verdicts read for that", .bytes) {
      $0.snapshot.lane.lookUpBytes
    },
  ]

  static let recalls: [Metric] = [
    .counter(
      "tailrace_recalls_total",
      "Dropped traces that a late span showed to be wanted: requested, or refused because too many waited; "
        + "of those requested, done, partial (some records had left the log) or gone (all had)",
      by: "state"
    ) {
      let counters = $0.counters
      let incomplete = counters.recallsPartial + counters.recallsGone
      return [
        "requested": counters.recallsRequested, "refused": counters.recallsRefused,
        "done": counters.tracesRecalled - incomplete, "partial": counters.recallsPartial,
        "gone": counters.recallsGone,
      ]
    },
    .gauge("tailrace_recalls_waiting", "Recalls that were requested and are not fulfilled yet") {
      Double($0.snapshot.recallsPending)
    },
    .counter(
      "tailrace_put_back_recalls_total",
      "Times that a recall's spans were released half-way because recalls held too much memory; they are "
        + "read once more"
    ) { $0.counters.recallsPutBack },
    .gauge(
      "tailrace_recall_age_seconds", "Log time since the oldest of them was requested; 0 if there is none",
      .seconds
    ) { Double($0.snapshot.recallAge.nanoseconds) / 1e9 },
    .counter("tailrace_recalled_spans_total", "Spans forwarded by recalls") { $0.counters.spansRecalled },
    .counter("tailrace_recalled_bytes_total", "Bytes of spans forwarded by recalls", .bytes) {
      $0.counters.bytesRecalled
    },
    .counter("tailrace_read_again_records_total", "Records read again for recalls") {
      $0.counters.recordsReadAgain
    },
    .counter("tailrace_read_again_bytes_total", "Bytes of records read again for recalls", .bytes) {
      $0.counters.bytesReadAgain
    },
  ]

  static let windows: [Metric] = [
    .gauge("tailrace_hand_outs_waiting", "Kept traces that log-backed windows have yet to hand out") {
      Double($0.snapshot.handOutsPending)
    },
    .gauge(
      "tailrace_hand_out_age_seconds", "Log time since the oldest of their verdicts; 0 if there is none",
      .seconds
    ) { Double($0.snapshot.handOutAge.nanoseconds) / 1e9 },
    .gauge(
      "tailrace_follower_lag_records",
      "Records between the follower of log-backed windows and the next record to read"
    ) { Double($0.snapshot.followerLag) },
    .counter("tailrace_followed_records_total", "Records passed by the follower of log-backed windows") {
      $0.counters.recordsFollowed
    },
    .counter(
      "tailrace_followed_by_key_records_total",
      "Those of them that were passed unread, because of their keys"
    ) { $0.counters.recordsPassedByKey },
    .counter("tailrace_followed_bytes_total", "Bytes of the records that the follower read", .bytes) {
      $0.counters.bytesFollowed
    },
    .counter("tailrace_handed_out_spans_total", "Spans handed out by log-backed windows") {
      $0.counters.spansHandedOut
    },
    .counter(
      "tailrace_hand_outs_lost_total",
      "Kept traces that are incomplete, because records had left the log before they were handed out"
    ) { $0.counters.handOutsLost },
  ]

  static let spans: [Metric] = [
    .counter(
      "tailrace_kept_spans_total",
      "Spans forwarded, late ones included, recalled ones not: add tailrace_recalled_spans_total"
    ) { $0.counters.spansKept },
    .counter(
      "tailrace_kept_bytes_total", "Bytes of these spans: add tailrace_recalled_bytes_total", .bytes
    ) { $0.counters.bytesKept },
    .counter(
      "tailrace_too_large_spans_total",
      "Spans of kept traces that were dead-lettered because they are too large for the sampled topic"
    ) { $0.counters.spansTooLarge },
    .counter(
      "tailrace_dropped_spans_total",
      "Spans of dropped traces, late ones included, and those recalled later: subtract "
        + "tailrace_recalled_spans_total"
    ) { $0.counters.spansDropped },
    .counter(
      "tailrace_redelivered_spans_total",
      "Duplicate spans left out of their trace, byte for byte the same: a producer or a collector sent them "
        + "again"
    ) { $0.counters.spansRedelivered },
    .counter(
      "tailrace_unremembered_spans_total",
      "Spans not remembered for lack of memory or because their trace is far over a limit: if redelivered, "
        + "they count again"
    ) { $0.counters.spansUnremembered },
    .counter("tailrace_truncated_spans_total", "Spans left out of skeletons") { $0.counters.spansTruncated },
    .counter(
      "tailrace_replayed_spans_total", "Spans read again during recovery that had already been handled"
    ) { $0.counters.spansReplayed },
    .counter(
      "tailrace_late_spans_total", "Spans that arrived after the verdict on their trace, by verdict",
      by: "verdict"
    ) { ["keep": $0.counters.lateSpansKept, "drop": $0.counters.lateSpansDropped] },
    .counter(
      "tailrace_unmarked_spans_total",
      "Kept spans whose tracestate is invalid or had no room for the sampling threshold"
    ) { $0.counters.tracestatesLeftAlone },
  ]

  static let services: [Metric] = [
    .counter(
      "tailrace_service_traces_total",
      "Final verdicts by the service of the root span; services beyond console.services share one label. A "
        + "recalled trace was dropped, and counts again under keep",
      by: ["service", "verdict"]
    ) { scrape in
      scrape.services.sorted { $0.key < $1.key }.flatMap { name, verdicts in
        [Metric.Sample([name, "drop"], verdicts.dropped), Metric.Sample([name, "keep"], verdicts.kept)]
      }
    },
    .gauge(
      "tailrace_baseline_probability",
      "The adaptive baseline's current rate for a service's traces, 0 to 1; only with baseline",
      by: ["service"]
    ) { scrape in
      guard let rates = scrape.measures.rates else { return nil }
      return scrape.services.keys.sorted().filter { $0 != Sampler.rootlessName }.map { name in
        Metric.Sample([name], (rates.threshold(of: Array(name.utf8)) ?? rates.other).probability)
      }
    },
  ]

  static let memory: [Metric] = [
    .gauge("tailrace_open_traces", "Traces whose window is open") { Double($0.snapshot.openTraces) },
    .gauge("tailrace_remembered_verdicts", "Verdicts remembered for late spans") {
      Double($0.snapshot.pastVerdicts)
    },
    .gauge("tailrace_buffered_bytes", "Bytes of the spans of undecided traces, uncompressed", .bytes) {
      Double($0.snapshot.bufferedBytes)
    },
    .gauge("tailrace_recall_buffered_bytes", "Bytes of the spans held for recalls", .bytes) {
      Double($0.snapshot.recallBytes)
    },
    .gauge(
      "tailrace_compressed_segments",
      "Segments of spans, 64 KiB each, compressed because memory is short"
    ) { Double($0.snapshot.compressedSegments) },
    .gauge(
      "tailrace_buffer_resident_bytes", "Memory that holds buffered spans, recalled ones included", .bytes
    ) {
      Double($0.snapshot.residentBufferBytes)
    },
    .gauge(
      "tailrace_state_resident_bytes",
      "Memory for spans, open traces, verdicts and the lanes' own buffers", .bytes
    ) { Double($0.snapshot.residentBytes) },
    .gauge("tailrace_memory_limit_bytes", "limits.memory of the topology", .bytes) {
      guard case .tailSampling(let topology) = $0.topology else { return nil }
      return Double(topology.limits.memory)
    },
  ]
}

extension Scrape {
  /// Every trigger of a final verdict, at zero too, so that rates start from zero.
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

  /// Counts by policy: every policy has one, so that rates start from zero.
  fileprivate func byPolicy(_ counts: [String: UInt64]) -> [String: UInt64] {
    guard case .tailSampling(let topology) = topology else { return counts }
    var counts = counts
    for policy in topology.decidingPolicies { counts[policy.name, default: 0] += 0 }
    return counts
  }
}

extension Decision.Trigger {
  /// Whether it can lead to a final verdict.
  fileprivate var closesWindows: Bool {
    switch self {
    case .root, .wait, .memory, .recall: true
    case .limit, .eager, .late, .linked: false
    }
  }
}
