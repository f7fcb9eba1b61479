// What every worker has: its build, input, group and configuration.

internal import OTLP
internal import Pipeline
internal import Sampling
import Topology

extension MetricSection {
  static let build: [Metric] = [
    .gauge(
      "tailrace_build_info", "Always 1; the labels tell what runs", by: ["version", "librdkafka", "kind"]
    ) {
      [Metric.Sample([$0.version, $0.clientVersion, $0.topology.kind], 1)]
    }
  ]

  static let input: [Metric] = [
    .counter("tailrace_read_records_total", "Records read, malformed ones included") {
      $0.counters.recordsRead
    },
    .counter("tailrace_read_bytes_total", "Bytes of the values of records read", .bytes) {
      $0.counters.bytesRead
    },
    .counter("tailrace_read_spans_total", "Spans read") { $0.counters.spansRead },
    .counter("tailrace_malformed_records_total", "Records that could not be read") {
      $0.counters.recordsMalformed
    },
    .counter(
      "tailrace_dead_letters_total", "Records written to the dead letter topic, by reason", by: "reason"
    ) { $0.snapshot.lane.deadLetters },
    .counter(
      "tailrace_dead_letter_spans_total",
      "Spans in dead letters, by reason: bad spans (of records with or without good ones) and spans that are "
        + "too large; not those of records whose spans can't be told apart",
      by: "reason"
    ) { $0.snapshot.lane.deadLetterSpans },
    .counter(
      "tailrace_unassigned_records_total",
      "Records that arrived for revoked partitions; their new owner reads them"
    ) { $0.snapshot.lane.recordsNotAssigned },
    .counter(
      "tailrace_repeated_records_total",
      "Records skipped because their offset lies before the next one to read: read already, or from a log "
        + "truncated by an unclean election"
    ) { $0.snapshot.lane.recordsRepeated },
    .gauge(
      "tailrace_lag_records",
      "Records between the next one to read and the partition's end, transaction markers included",
      by: ["partition"]
    ) { $0.perPartition { $0.lagRecords.map(Double.init) } },
    .gauge(
      "tailrace_lag_seconds",
      "How far a partition's stream clock is behind the wall clock; 0 if everything is read", .seconds,
      by: ["partition"]
    ) { scrape in
      scrape.perPartition { $0.lag(at: scrape.now).map { Double($0.nanoseconds) / 1e9 } }
    },
  ]

  static let group: [Metric] = [
    .gauge("tailrace_lanes", "Lanes of the worker") { Double($0.status.lanes.count) },
    .gauge("tailrace_assigned_partitions", "Partitions assigned") {
      Double($0.snapshot.partitions.count)
    },
    .gauge(
      "tailrace_recovering_partitions", "Partitions that have not yet reached where their last owner stopped"
    ) { Double($0.snapshot.recovering) },
    .gauge("tailrace_worker_recovering", "Whether any partition is recovering: 1 or 0") {
      $0.snapshot.recovering > 0 ? 1 : 0
    },
    .counter(
      "tailrace_rebalances_total", "Rebalance events: assigned, revoked, lost",
      by: "event"
    ) { $0.measures.rebalances },
    .counter(
      "tailrace_aborts_total", "Times the work since the last commit was aborted and done again"
    ) { $0.measures.aborts },
    .counter("tailrace_disturbances_total", "Transient errors of brokers") { $0.status.disturbances },
    .counter(
      "tailrace_rounds_total", "Rounds of lanes: each reads the records that have arrived, perhaps none"
    ) { $0.snapshot.lane.rounds },
    .counter("tailrace_commits_total", "Commits of outputs and offsets") { $0.snapshot.lane.commits },
    .histogram("tailrace_commit_duration_seconds", "Duration of commits of outputs and offsets") {
      $0.measures.commitDurations
    },
    .histogram(
      "tailrace_recovery_duration_seconds",
      "From a partition's assignment until it reached where its last owner had stopped"
    ) { $0.measures.recoveryDurations },
    .gauge(
      "tailrace_progress_age_seconds",
      "Time since the slowest lane last finished a round or a step of waiting for a broker", .seconds
    ) { scrape in
      scrape.status.lanes.filter(\.isAtWork).map { $0.sinceProgress / .seconds(1) }.max() ?? 0
    },
  ]

  static let console: [Metric] = [
    .counter(
      "tailrace_console_closed_connections_total",
      "Connections that the console closed: silent for longest when a newer one needed the place "
        + "(displaced), no request within 10 s (slow_request), answer not read within 30 s or its memory "
        + "needed (slow_reader), not a valid request or a head of more than 8 KiB (refused)", by: "reason"
    ) { $0.closedConnections }
  ]

  static let configuration: [Metric] = [
    .counter(
      "tailrace_config_reloads_total",
      "Changes of the topology file, by result: taken or refused",
      by: "result"
    ) { ["taken": $0.status.configuration.taken, "refused": $0.status.configuration.refused] },
    .gauge(
      "tailrace_config_refused",
      "1 if the topology file was refused when last read: the previous configuration is still in effect"
    ) { $0.status.configuration.isRefused ? 1 : 0 },
    .gauge(
      "tailrace_config_waiting_settings",
      "Settings changed in the topology file that need a restart"
    ) { Double($0.status.configuration.waiting.count) },
    .gauge(
      "tailrace_config_taken_timestamp_seconds", "When the configuration in effect was taken", .seconds
    ) { Double($0.status.configuration.takenAt.nanoseconds) / 1e9 },
  ]
}

extension Scrape {
  /// One sample for each partition with a `value`, by partition number.
  func perPartition(_ value: (PartitionPosition) -> Double?) -> [Metric.Sample<Double>] {
    measures.positions.sorted { $0.partition < $1.partition }.compactMap { position in
      value(position).map { Metric.Sample(["\(position.partition.value)"], $0) }
    }
  }
}

extension LaneStatus {
  fileprivate var isAtWork: Bool {
    switch phase {
    case .connecting, .running: true
    case .waiting, .ended: false
    }
  }
}

extension Topology {
  /// As the topology file spells it.
  fileprivate var kind: String {
    switch self {
    case .tailSampling: "tail-sampling"
    case .repartition: "repartition"
    case .export: "export"
    }
  }
}
