// Every metric of a worker: its name, what it means, and where its number comes from. docs/metrics.md lists
// them.

internal import OTLP
internal import Pipeline
internal import Sampling
internal import Synchronization

/// Makes the page of metrics from a worker's status.
///
/// Labels are bounded: policies, triggers and reasons by configuration and code, partitions by what the
/// worker is assigned, brokers by the cluster, services by `console.services`.
final class WorkerMetrics: Sendable {
  private let version: String
  private let clientVersion: String
  private let services: ServiceLabels

  init(_ topology: Topology, version: String, clientVersion: String) {
    self.version = version
    self.clientVersion = clientVersion
    services = ServiceLabels(most: topology.worker.console.services)
  }

  /// - Parameter topology: what is in effect.
  func text(
    _ status: WorkerStatus, _ topology: Topology, at now: Instant, process: ProcessFigures?,
    console: [String: UInt64] = ConsoleCounters().byReason
  ) -> String {
    var text = MetricsText()
    let (snapshot, measures) = (status.snapshot, status.measures)
    text.gauge(
      "tailrace_build_info", "Always 1; the labels say what runs.",
      [
        (
          [
            (name: "version", value: version), (name: "librdkafka", value: clientVersion),
            (name: "kind", value: topology.kind),
          ], 1
        )
      ])
    appendInput(snapshot, topology, to: &text)
    if case .tailSampling(let topology) = topology {
      appendVerdicts(snapshot, measures, topology, to: &text)
      appendSpans(snapshot.counters, to: &text)
      appendServices(measures, to: &text)
      appendMemory(snapshot, topology.limits, to: &text)
    } else {
      text.counter(
        "tailrace_written_records_total",
        "Records of keyed spans written: one for each trace in each record.",
        snapshot.lane.spans)
    }
    appendLag(measures.positions, at: now, to: &text)
    appendGroup(status, snapshot, measures, to: &text)
    appendClients(status, to: &text)
    appendConfiguration(status.configuration, to: &text)
    text.counter(
      "tailrace_console_closed_connections_total",
      "Connections of the console that did not ask, or did not read, as they should, by reason.",
      by: "reason", console)
    if let process { text.append(process) }
    return text.text
  }

  // MARK: What comes in

  private func appendInput(_ snapshot: LaneSnapshot, _ topology: Topology, to text: inout MetricsText) {
    let counters = snapshot.counters
    text.counter(
      "tailrace_read_records_total", "Records read, malformed ones included.", counters.recordsRead)
    text.counter("tailrace_read_bytes_total", "Bytes of the values of records read.", counters.bytesRead)
    text.counter("tailrace_read_spans_total", "Spans read.", counters.spansRead)
    text.counter(
      "tailrace_malformed_records_total", "Records that could not be read.", counters.recordsMalformed)
    text.counter(
      "tailrace_dead_letters_total", "Records written to the topic of dead letters, by reason.", by: "reason",
      snapshot.lane.deadLetters)
    text.counter(
      "tailrace_unassigned_records_total",
      "Records that came for partitions that were given up; whoever has them now reads them.",
      snapshot.lane.recordsNotAssigned)
    text.counter(
      "tailrace_repeated_records_total",
      "Records skipped because their offset lies before the next one to read: read before, or of a log that "
        + "was cut short.", snapshot.lane.recordsRepeated)
    guard case .tailSampling = topology else { return }
    text.counter(
      "tailrace_unkeyed_records_total", "Records without a key that is a trace id.", counters.recordsUnkeyed)
    text.counter(
      "tailrace_misrouted_records_total", "Records with a span whose trace id is not their key.",
      counters.recordsMisrouted)
    text.counter(
      "tailrace_clamped_timestamps_total",
      "Records whose timestamp was too far ahead of those around it, and did not move the stream clock.",
      counters.timestampsClamped)
    text.counter(
      "tailrace_clock_turned_back_total",
      "Times that a stream clock turned out to be ahead of its log, and was set back.",
      counters.clockTurnedBack)
  }

  // MARK: What is decided

  private func appendVerdicts(
    _ snapshot: LaneSnapshot, _ measures: LaneMeasures, _ topology: TailSamplingTopology,
    to text: inout MetricsText
  ) {
    let counters = snapshot.counters
    text.counter("tailrace_opened_traces_total", "Traces opened.", counters.tracesOpened)
    text.counter(
      "tailrace_decided_traces_total",
      "Final verdicts, by verdict and by why they were given when they were.",
      verdicts("keep", measures.verdicts.kept) + verdicts("drop", measures.verdicts.dropped))
    text.counter(
      "tailrace_early_kept_traces_total", "Traces kept before their window closed, by why.", by: "trigger",
      Dictionary(uniqueKeysWithValues: measures.verdicts.keptEarly.map { ($0.key.rawValue, $0.value) }))
    text.counter(
      "tailrace_kept_traces_total",
      "Traces kept, by the first policy that matched; trace_limit where a limit alone kept a trace, "
        + "earlier_policies where only replaced ones did.",
      by: "policy", keptByPolicy(counters, topology))
    text.counter(
      "tailrace_truncated_traces_total", "Traces that went over a limit and were kept as a skeleton.",
      counters.tracesTruncated)
    text.counter(
      "tailrace_shed_traces_total", "Traces decided before their time because memory ran short.",
      counters.tracesShed)
    text.counter(
      "tailrace_late_errors_total", "Dropped traces that got an error span after their verdict.",
      counters.lateErrors)
    text.counter(
      "tailrace_forgotten_verdicts_total", "Verdicts forgotten before the late window was over.",
      counters.verdictsForgottenEarly)
    text.counter(
      "tailrace_shared_names_total",
      "What had no room among the names told apart: resources by service, spans by baseline key, keys of "
        + "the baseline in a record of stats.",
      by: "kind",
      [
        "service": counters.servicesBeyondLimit, "baseline_key": counters.keysBeyondLimit,
        "stats_key": counters.statsKeysLeftOut,
      ])
    text.counter(
      "tailrace_shortened_decisions_total",
      "Decision records without some of their services or reasons, to fit their topic.",
      counters.decisionsShortened)
    text.counter(
      "tailrace_condition_errors_total", "Conditions of policies that could not be evaluated.",
      counters.conditionErrors)
    text.histogram(
      "tailrace_decision_latency_seconds", "Stream time from a trace's first span to its final verdict.",
      measures.decisionLatencies)
    text.histogram(
      "tailrace_eager_latency_seconds",
      "From the timestamp of the record that made a trace certain to the commit of its early decision.",
      measures.eagerLatencies)
  }

  /// Every trigger that a final verdict can have, so that a rate has a beginning.
  private func verdicts(
    _ verdict: String, _ counts: [Decision.Trigger: UInt64]
  ) -> [([MetricsText.Label], UInt64)] {
    let triggers = Decision.Trigger.allCases.filter { counts[$0] != nil || $0.closesWindows }
    return triggers.map { trigger in
      ([(name: "verdict", value: verdict), (name: "trigger", value: trigger.rawValue)], counts[trigger] ?? 0)
    }
  }

  private func keptByPolicy(
    _ counters: SamplerCounters, _ topology: TailSamplingTopology
  ) -> [String: UInt64] {
    var kept = counters.keptByReason
    let reasons = topology.policies.map(\.name) + [Sampler.limitReason]
    for reason in reasons { kept[reason, default: 0] += 0 }
    if topology.baseline != nil { kept[BaselineSettings.policyName, default: 0] += 0 }
    return kept
  }

  private func appendSpans(_ counters: SamplerCounters, to text: inout MetricsText) {
    text.counter("tailrace_kept_spans_total", "Spans handed out, late ones included.", counters.spansKept)
    text.counter("tailrace_kept_bytes_total", "Bytes of spans handed out.", counters.bytesKept)
    text.counter(
      "tailrace_dropped_spans_total", "Spans of dropped traces, late ones included.", counters.spansDropped)
    text.counter("tailrace_truncated_spans_total", "Spans left out of skeletons.", counters.spansTruncated)
    text.counter(
      "tailrace_replayed_spans_total", "Spans read again in recoveries that had been dealt with before.",
      counters.spansReplayed)
    text.counter(
      "tailrace_late_spans_total", "Spans that came after the verdict on their trace, by verdict.",
      by: "verdict", ["keep": counters.lateSpansKept, "drop": counters.lateSpansDropped])
    text.counter(
      "tailrace_unmarked_spans_total", "Kept spans whose tracestate had no room for their threshold.",
      counters.tracestatesLeftAlone)
  }

  private func appendServices(_ measures: LaneMeasures, to text: inout MetricsText) {
    let services = services.bound(measures.services)
    var samples: [([MetricsText.Label], UInt64)] = []
    for (name, verdicts) in services.sorted(by: { $0.key < $1.key }) {
      for (verdict, count) in [("drop", verdicts.dropped), ("keep", verdicts.kept)] {
        samples.append(([(name: "service", value: name), (name: "verdict", value: verdict)], count))
      }
    }
    text.counter(
      "tailrace_service_traces_total",
      "Final verdicts by the service of the root span. Services beyond console.services share one label.",
      samples)
    guard let rates = measures.rates else { return }
    var shown: [([MetricsText.Label], Double)] = []
    for name in services.keys.sorted() where name != Sampler.rootlessName {
      let threshold = rates.threshold(of: Array(name.utf8)) ?? rates.other
      shown.append(([(name: "service", value: name)], threshold.probability))
    }
    text.gauge(
      "tailrace_baseline_probability", "The baseline's rate now, 0 to 1, for traces of a service.", shown)
  }

  private func appendMemory(
    _ snapshot: LaneSnapshot, _ limits: TailSamplingTopology.Limits, to text: inout MetricsText
  ) {
    text.gauge("tailrace_open_traces", "Traces whose window is open.", Double(snapshot.openTraces))
    text.gauge(
      "tailrace_remembered_verdicts", "Verdicts remembered for spans that come late.",
      Double(snapshot.pastVerdicts))
    text.gauge(
      "tailrace_buffered_bytes", "Bytes of spans that undecided traces wait with.",
      Double(snapshot.bufferedBytes))
    text.gauge(
      "tailrace_compressed_segments", "Segments of spans that are kept compressed.",
      Double(snapshot.compressedSegments))
    text.gauge(
      "tailrace_buffer_resident_bytes", "Memory that the buffered spans are kept in.",
      Double(snapshot.residentBufferBytes))
    text.gauge(
      "tailrace_state_resident_bytes",
      "Memory for spans, open traces, verdicts, and what lanes read and write with.",
      Double(snapshot.residentBytes))
    text.gauge("tailrace_memory_limit_bytes", "limits.memory of the topology.", Double(limits.memory))
  }

  // MARK: Kafka

  private func appendLag(
    _ positions: [PartitionPosition], at now: Instant, to text: inout MetricsText
  ) {
    let positions = positions.sorted { $0.partition < $1.partition }
    func label(_ position: PartitionPosition) -> [MetricsText.Label] {
      [(name: "partition", value: "\(position.partition.value)")]
    }
    text.gauge(
      "tailrace_lag_records", "Records between the next one to read and the partition's end.",
      positions.compactMap { position in position.lagRecords.map { (label(position), Double($0)) } })
    text.gauge(
      "tailrace_lag_seconds",
      "How far a partition's stream clock is behind the time of day; 0 where everything is read.",
      positions.compactMap { position in
        position.lag(at: now).map { (label(position), Double($0.nanoseconds) / 1e9) }
      })
  }

  private func appendGroup(
    _ status: WorkerStatus, _ snapshot: LaneSnapshot, _ measures: LaneMeasures, to text: inout MetricsText
  ) {
    text.gauge("tailrace_lanes", "Lanes of the worker.", Double(status.lanes.count))
    text.gauge(
      "tailrace_assigned_partitions", "Partitions that are read.", Double(snapshot.partitions.count))
    text.gauge(
      "tailrace_recovering_partitions", "Partitions that are not where their last owner left them yet.",
      Double(snapshot.recovering))
    text.gauge(
      "tailrace_worker_recovering", "Whether any partition is recovering.", snapshot.recovering > 0 ? 1 : 0)
    text.counter(
      "tailrace_rebalances_total", "What the group has told: partitions assigned, revoked, lost.",
      by: "event", measures.rebalances)
    text.counter(
      "tailrace_aborts_total", "Times that all since the last commit was given up and done again.",
      measures.aborts)
    text.counter(
      "tailrace_disturbances_total", "Passing trouble with brokers.", status.disturbances)
    text.counter("tailrace_commits_total", "Commits of outputs and offsets.", snapshot.lane.commits)
    text.histogram(
      "tailrace_commit_duration_seconds", "What it took to make outputs and offsets lasting.",
      measures.commitDurations)
    text.histogram(
      "tailrace_recovery_duration_seconds",
      "From a partition's assignment until it was where its last owner had left it.",
      measures.recoveryDurations)
    text.gauge(
      "tailrace_progress_age_seconds", "How long ago the slowest lane last finished a round.",
      status.lanes.filter(\.isAtWork).map { $0.sinceProgress / .seconds(1) }.max() ?? 0)
  }

  // MARK: Configuration

  private func appendConfiguration(_ status: ConfigurationStatus, to text: inout MetricsText) {
    if !status.version.isEmpty {
      text.gauge(
        "tailrace_config_info", "Always 1; the version of the configuration that decides.",
        [([(name: "version", value: status.version)], 1)])
    }
    text.counter(
      "tailrace_config_reloads_total", "Changes of the topology file, by what became of them.", by: "result",
      ["taken": status.taken, "refused": status.refused])
    text.gauge(
      "tailrace_config_refused", "Whether the topology file was refused when it was last read.",
      status.isRefused ? 1 : 0)
    text.gauge(
      "tailrace_config_waiting_settings",
      "Settings that the topology file has changed and that take a restart.", Double(status.waiting.count))
    text.gauge(
      "tailrace_config_taken_timestamp_seconds", "When the configuration in effect was taken over.",
      Double(status.takenAt.nanoseconds) / 1e9)
  }

  private func appendClients(_ status: WorkerStatus, to text: inout MetricsText) {
    let consumers = ClientFigures(
      statistics: status.lanes.map { ClientStatistics(reading: $0.consumerStatistics) })
    let producers = ClientFigures(
      statistics: status.lanes.map { ClientStatistics(reading: $0.producerStatistics) })
    let both = [("consumer", consumers), ("producer", producers)]
    func byClient(_ value: (ClientFigures) -> UInt64) -> [String: UInt64] {
      Dictionary(uniqueKeysWithValues: both.map { ($0.0, value($0.1)) })
    }
    text.counter(
      "tailrace_kafka_sent_bytes_total", "Bytes sent to brokers.", by: "client",
      byClient { $0.sum(\.tx_bytes) })
    text.counter(
      "tailrace_kafka_received_bytes_total", "Bytes received from brokers.", by: "client",
      byClient { $0.sum(\.rx_bytes) })
    text.counter(
      "tailrace_kafka_requests_total", "Requests sent to brokers.", by: "client", byClient { $0.sum(\.tx) })
    let kinds: [(String, KeyPath<ClientStatistics.Broker, UInt64>)] = [
      ("receive", \.rxerrs), ("send", \.txerrs), ("timeout", \.req_timeouts),
    ]
    text.counter(
      "tailrace_kafka_request_errors_total",
      "Requests that failed on their way, or were not answered in time.",
      both.flatMap { client, figures in
        kinds.map { kind, path in
          ([(name: "client", value: client), (name: "kind", value: kind)], figures.errors(path))
        }
      })
    let trips: [(String, KeyPath<ClientStatistics.Broker.Window, Int64>)] = [("mean", \.avg), ("p99", \.p99)]
    text.gauge(
      "tailrace_kafka_round_trip_seconds",
      "Round trips to a broker in the last seconds, of the slowest lane.",
      both.flatMap { client, figures in
        trips.flatMap { statistic, path in
          figures.roundTrips(path).sorted { $0.key < $1.key }.map { broker, seconds in
            let labels = [
              (name: "client", value: client), (name: "broker", value: "\(broker)"),
              (name: "statistic", value: statistic),
            ]
            return (labels, seconds)
          }
        }
      })
    text.gauge(
      "tailrace_kafka_produce_queue_records", "Records that wait to be sent or acknowledged.",
      Double(producers.sum(\.msg_cnt)))
    text.gauge(
      "tailrace_kafka_produce_queue_bytes", "Their bytes.", Double(producers.sum(\.msg_size)))
    text.gauge(
      "tailrace_kafka_fetch_queue_records", "Records that were fetched and are not taken yet.",
      Double(consumers.fetched(\.fetchq_cnt)))
    text.gauge(
      "tailrace_kafka_fetch_queue_bytes", "Their bytes.", Double(consumers.fetched(\.fetchq_size)))
  }
}

/// Which services have a label of their own: the first that came, for as long as the process lives. So no
/// counter ever goes back.
private final class ServiceLabels: Sendable {
  private let most: Int
  private let admitted = Mutex<Set<String>>([])

  init(most: Int) {
    self.most = most
  }

  /// The counts of services with a label, and of all others together.
  func bound(_ services: [String: ServiceVerdicts]) -> [String: ServiceVerdicts] {
    admitted.withLock { admitted in
      for name in services.keys.sorted() where admitted.count < most && !ServiceLabels.isShared(name) {
        admitted.insert(name)
      }
      var bounded: [String: ServiceVerdicts] = [:]
      for (name, verdicts) in services {
        let label = ServiceLabels.isShared(name) || admitted.contains(name) ? name : Sampler.otherServicesName
        bounded[label, default: ServiceVerdicts()].add(verdicts)
      }
      return bounded
    }
  }

  private static func isShared(_ name: String) -> Bool {
    name == Sampler.otherServicesName || name == Sampler.rootlessName
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

extension Decision.Trigger {
  /// Whether a final verdict may be given for it.
  fileprivate var closesWindows: Bool {
    switch self {
    case .root, .wait, .memory: true
    case .limit, .eager, .late: false
    }
  }
}

extension Topology {
  /// The word of the topology file.
  fileprivate var kind: String {
    switch self {
    case .tailSampling: "tail-sampling"
    case .repartition: "repartition"
    }
  }
}
