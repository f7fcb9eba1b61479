// The exposition format, line by line, and the figures in it.

import Pipeline
import Sampling
import Testing
import Topology

@testable import Console

@Suite struct MetricsTextTests {
  private func counter(_ name: String, _ help: String, _ labels: [String] = []) -> Metric {
    Metric(name: name, kind: .counter, unit: .none, help: help, labels: labels) { _ in nil }
  }

  private func gauge(_ name: String, _ help: String, _ labels: [String] = []) -> Metric {
    Metric(name: name, kind: .gauge, unit: .none, help: help, labels: labels) { _ in nil }
  }

  @Test func countersAndGauges() {
    var text = MetricsText()
    text.append(counter("a_total", "What"), .counts([Metric.Sample([], 3)]))
    text.append(
      counter("b_total", "By kind", ["kind", "end"]),
      .counts([Metric.Sample(["z", "x"], 1), Metric.Sample(["a", "y"], UInt64.max)]))
    text.append(gauge("c", "Now"), .amounts([Metric.Sample([], -1.5)]))
    text.append(gauge("d", "None of it"), .amounts([]))
    #expect(
      text.text == """
        # HELP a_total What.
        # TYPE a_total counter
        a_total 3
        # HELP b_total By kind.
        # TYPE b_total counter
        b_total{kind="z",end="x"} 1
        b_total{kind="a",end="y"} 18446744073709551615
        # HELP c Now.
        # TYPE c gauge
        c -1.5
        # HELP d None of it.
        # TYPE d gauge

        """)
  }

  @Test func labelsAndHelpAreEscaped() {
    var text = MetricsText()
    text.append(
      gauge("a", "One\\two\n\"three\"", ["l"]), .amounts([Metric.Sample(["a\\b\n\"c\" é"], 1)]))
    #expect(
      text.text == """
        # HELP a One\\\\two\\n"three".
        # TYPE a gauge
        a{l="a\\\\b\\n\\"c\\" é"} 1

        """)
  }

  @Test(arguments: [
    (0, "0"), (1e15, "1000000000000000"), (0.005, "0.005"), (-2, "-2"),
    (.infinity, "+Inf"),
    (-.infinity, "-Inf"), (.nan, "NaN"), (1e300, "1e+300"),
  ])
  func numbers(_ value: Double, _ text: String) {
    #expect(MetricsText.format(value) == text)
  }

  @Test func histogramsAreCumulative() {
    var histogram = Histogram()
    for milliseconds: Int64 in [0, 5, 6, 1000, 1001, 10_000_000] {
      histogram.observe(.milliseconds(milliseconds))
    }
    var text = MetricsText()
    text.append(.histogram("t_seconds", "Times") { _ in Histogram() }, .durations(histogram))
    let lines = text.text.split(separator: "\n").map(String.init)
    #expect(lines.count == 2 + Histogram.bounds.count + 3)
    #expect(lines.contains("t_seconds_bucket{le=\"0.005\"} 2"))
    #expect(lines.contains("t_seconds_bucket{le=\"0.01\"} 3"))
    #expect(lines.contains("t_seconds_bucket{le=\"1\"} 4"))
    #expect(lines.contains("t_seconds_bucket{le=\"2\"} 5"))
    #expect(lines.contains("t_seconds_bucket{le=\"300\"} 5"))
    #expect(
      lines.suffix(3) == ["t_seconds_bucket{le=\"+Inf\"} 6", "t_seconds_sum 10002.012", "t_seconds_count 6"])
  }

  @Test func histogramsAddUp() {
    var (one, other) = (Histogram(), Histogram())
    one.observe(.seconds(1))
    other.observe(.seconds(1))
    other.observe(.seconds(1000))
    one.add(other)
    #expect(one.count == 3)
    #expect(one.sum == .seconds(1002))
    #expect(one.counts.last == 1)
  }
}

@Suite struct WorkerMetricsTests {
  private func page(_ status: WorkerStatus, _ topology: Topology = .tailSampling(TailSamplingTopology()))
    -> [String]
  {
    WorkerMetrics(topology, version: "1", clientVersion: "2").text(
      status, topology, at: Instant(nanoseconds: 100_000_000_000), process: nil
    ).split(separator: "\n").map(String.init)
  }

  private func status(_ lanes: [LaneStatus]) -> WorkerStatus {
    var status = WorkerStatus()
    status.areTopicsReady = true
    status.lanes = lanes
    return status
  }

  @Test func lanesAddUp() {
    var one = LaneStatus(phase: .running)
    one.snapshot.counters.spansRead = 3
    one.snapshot.counters.keptByReason = ["errors": 1, "baseline": 4, "gone": 1, "trace_limit": 2]
    one.snapshot.counters.tracesKept = 7
    one.snapshot.lane.deadLetters = ["tombstone": 1]
    one.measures.verdicts.kept = [.wait: 2]
    var other = one
    other.snapshot.lane.deadLetters = ["tombstone": 1, "truncated": 1]
    let lines = page(status([one, other]))
    #expect(lines.contains("tailrace_read_spans_total 6"))
    #expect(lines.contains("tailrace_dead_letters_total{reason=\"tombstone\"} 2"))
    #expect(lines.contains("tailrace_dead_letters_total{reason=\"truncated\"} 1"))
    #expect(lines.contains("tailrace_decided_traces_total{verdict=\"keep\",trigger=\"wait\"} 4"))
    #expect(lines.contains("tailrace_decided_traces_total{verdict=\"drop\",trigger=\"memory\"} 0"))
    #expect(lines.contains("tailrace_kept_traces_total{policy=\"errors\"} 2"))
    #expect(lines.contains("tailrace_kept_traces_total{policy=\"slow\"} 0"))
    #expect(lines.contains("tailrace_kept_traces_total{policy=\"gone\"} 2"))
    #expect(lines.contains("tailrace_kept_traces_total{policy=\"trace_limit\"} 4"))
  }

  @Test func everyFamilyAppearsOnceWithHelpAndType() {
    for topology: Topology in [
      .tailSampling(TailSamplingTopology()), .repartition(RepartitionTopology()),
    ] {
      let lines = page(status([LaneStatus(phase: .running)]), topology)
      let types = lines.filter { $0.hasPrefix("# TYPE ") }.map { $0.split(separator: " ")[2] }
      let helps = lines.filter { $0.hasPrefix("# HELP ") }.map { $0.split(separator: " ")[2] }
      #expect(types == helps)
      #expect(Set(types).count == types.count)
      #expect(types.allSatisfy { $0.hasPrefix("tailrace_") })
    }
  }

  @Test func outcomesOfChangesAreReported() {
    var changed = status([LaneStatus(phase: .running)])
    changed.configuration.version = "0123abcd"
    changed.configuration.taken = 3
    changed.configuration.refused = 1
    changed.configuration.isRefused = true
    changed.configuration.waiting = ["windows", "kafka"]
    changed.configuration.takenAt = Instant(nanoseconds: 1_500_000_000)
    let lines = page(changed)
    #expect(lines.contains("tailrace_config_info{version=\"0123abcd\"} 1"))
    #expect(lines.contains("tailrace_config_reloads_total{result=\"refused\"} 1"))
    #expect(lines.contains("tailrace_config_reloads_total{result=\"taken\"} 3"))
    #expect(lines.contains("tailrace_config_refused 1"))
    #expect(lines.contains("tailrace_config_waiting_settings 2"))
    #expect(lines.contains("tailrace_config_taken_timestamp_seconds 1.5"))
  }

  @Test func lagIsZeroWhereEverythingIsRead() {
    var lane = LaneStatus(phase: .running)
    let clock = Instant(nanoseconds: 90_000_000_000)
    lane.measures.positions = [
      PartitionPosition(partition: PartitionID(7), next: Offset(5), end: Offset(5), clock: clock),
      PartitionPosition(partition: PartitionID(2), next: Offset(5), end: Offset(9), clock: clock),
      PartitionPosition(partition: PartitionID(3), next: nil, end: Offset(9), clock: nil),
    ]
    let lines = page(status([lane])).filter { $0.hasPrefix("tailrace_lag") }
    #expect(
      lines == [
        "tailrace_lag_records{partition=\"2\"} 4", "tailrace_lag_records{partition=\"7\"} 0",
        "tailrace_lag_seconds{partition=\"2\"} 10", "tailrace_lag_seconds{partition=\"7\"} 0",
      ])
  }

  /// A counter must not go back, whatever services appear later.
  @Test func servicesAreBoundedAndKeepTheirLabels() {
    var topology = TailSamplingTopology()
    topology.worker.console.services = 2
    let metrics = WorkerMetrics(.tailSampling(topology), version: "1", clientVersion: "2")
    var kept = ServiceVerdicts()
    kept.kept = 1
    func lines(_ services: [String: ServiceVerdicts]) -> [String] {
      var lane = LaneStatus(phase: .running)
      lane.measures.services = services
      let text = metrics.text(status([lane]), .tailSampling(topology), at: .distantPast, process: nil)
      return text.split(separator: "\n").map(String.init).filter {
        $0.hasPrefix("tailrace_service_traces_total{") && $0.contains("keep")
      }
    }
    func line(_ service: String, _ count: Int) -> String {
      "tailrace_service_traces_total{service=\"\(service)\",verdict=\"keep\"} \(count)"
    }
    #expect(lines(["m": kept]) == [line("m", 1)])
    #expect(
      lines(["m": kept, "n": kept, "o": kept, "(no root)": kept])
        == [line("(no root)", 1), line("(other services)", 1), line("m", 1), line("n", 1)])
    #expect(
      lines(["a": kept, "b": kept, "m": kept, "n": kept, "o": kept, "(other services)": kept])
        == [line("(other services)", 4), line("m", 1), line("n", 1)])
  }

  @Test func statisticsOfClients() {
    let json = """
      {"name": "x", "msg_cnt": 4, "msg_size": 5, "tx": 6, "tx_bytes": 7, "rx_bytes": 8, "brokers": {
        "b/1": {"nodeid": 1, "txerrs": 1, "rxerrs": 2, "req_timeouts": 3,
                "rtt": {"avg": 1500, "p99": 2500, "cnt": 9, "min": 1}},
        "boot": {"nodeid": -1, "txerrs": 10, "rxerrs": 0, "req_timeouts": 0,
                 "rtt": {"avg": 0, "p99": 0, "cnt": 0}}},
       "topics": {"t": {"topic": "t", "partitions": {"0": {"fetchq_cnt": 2, "fetchq_size": 20},
                                                     "-1": {"fetchq_cnt": 0, "fetchq_size": 0}}}}}
      """
    let lane = LaneStatus(
      phase: .running, consumerStatistics: Array(json.utf8), producerStatistics: Array(json.utf8))
    let lines = page(status([lane, lane]))
    #expect(lines.contains("tailrace_kafka_sent_bytes_total{client=\"consumer\"} 14"))
    #expect(lines.contains("tailrace_kafka_request_errors_total{client=\"producer\",kind=\"send\"} 22"))
    let trip = "tailrace_kafka_round_trip_seconds{client=\"consumer\",broker=\"1\",statistic=\"p99\"} 0.0025"
    #expect(lines.contains(trip))
    #expect(!lines.contains { $0.contains("broker=\"-1\"") })
    #expect(lines.contains("tailrace_kafka_produce_queue_records 8"))
    #expect(lines.contains("tailrace_kafka_fetch_queue_bytes 40"))
  }

  @Test func unreadableStatisticsAreEmpty() {
    let lane = LaneStatus(phase: .running, consumerStatistics: Array("{\"tx\": \"many\"}".utf8))
    #expect(page(status([lane])).contains("tailrace_kafka_requests_total{client=\"consumer\"} 0"))
  }
}
