// The explorer's own page of metrics. They are few, and none is a worker's.

internal import Exploration
internal import Synchronization

/// What the page is made from.
struct ExplorerFigures {
  var version: String
  var traces, bytes, bytesMax: Int
  var spans, evicted, unreadable, records: UInt64
  var share: Double
  var errors: UInt64
  var requests: [String: UInt64]
  var closedConnections: [String: UInt64]
}

/// A family of the explorer's metrics.
struct ExplorerMetric: Sendable {
  let metric: Metric
  let read: @Sendable (ExplorerFigures) -> Metric.Samples

  private init(
    _ name: String, _ kind: Metric.Kind, _ unit: Metric.Unit, _ help: String, _ labels: [String] = [],
    _ read: @escaping @Sendable (ExplorerFigures) -> Metric.Samples
  ) {
    metric = Metric(name: name, kind: kind, unit: unit, help: help, labels: labels) { _ in nil }
    self.read = read
  }

  private static func gauge(
    _ name: String, _ help: String, _ unit: Metric.Unit = .none,
    _ read: @escaping @Sendable (ExplorerFigures) -> Double
  ) -> ExplorerMetric {
    ExplorerMetric(name, .gauge, unit, help) { .amounts([Metric.Sample([], read($0))]) }
  }

  private static func counter(
    _ name: String, _ help: String, _ read: @escaping @Sendable (ExplorerFigures) -> UInt64
  ) -> ExplorerMetric {
    ExplorerMetric(name, .counter, .none, help) { .counts([Metric.Sample([], read($0))]) }
  }

  private static func counter(
    _ name: String, _ help: String, by label: String,
    _ read: @escaping @Sendable (ExplorerFigures) -> [String: UInt64]
  ) -> ExplorerMetric {
    ExplorerMetric(name, .counter, .none, help, [label]) { figures in
      .counts(read(figures).sorted { $0.key < $1.key }.map { Metric.Sample([$0.key], $0.value) })
    }
  }

  /// All of them, in the order of the page and of docs/console.md.
  static let table: [ExplorerMetric] = [
    ExplorerMetric(
      "tailrace_explorer_build_info", .gauge, .none, "Always 1; the label tells what runs", ["version"]
    ) { .amounts([Metric.Sample([$0.version], 1)]) },
    gauge("tailrace_explorer_traces", "Traces in the index") { Double($0.traces) },
    gauge("tailrace_explorer_index_bytes", "Memory of the index", .bytes) { Double($0.bytes) },
    gauge("tailrace_explorer_index_limit_bytes", "Its limit", .bytes) { Double($0.bytesMax) },
    gauge(
      "tailrace_explorer_backlog_share",
      "How much of what the topics held at the start is read, from 0 to 1: 1 once it follows"
    ) { $0.share },
    counter("tailrace_explorer_evicted_traces_total", "Traces that left the index to make room") {
      $0.evicted
    },
    counter("tailrace_explorer_read_records_total", "Records read from the topics") { $0.records },
    counter("tailrace_explorer_read_spans_total", "Spans in them") { $0.spans },
    counter("tailrace_explorer_unreadable_records_total", "Records that could not be read") { $0.unreadable },
    counter("tailrace_explorer_errors_total", "Problems with topics and brokers, as in /v1/status") {
      $0.errors
    },
    counter("tailrace_explorer_requests_total", "Pages made, by status", by: "status") { $0.requests },
    counter(
      "tailrace_explorer_closed_connections_total", "Connections that were closed on clients, by reason",
      by: "reason"
    ) { $0.closedConnections },
  ]
}

extension Explorer {
  func metrics() -> ConsoleResponse {
    let state = following.current
    let requests = requests.withLock { $0 }
    let (closed, share) = (counters.byReason, following.share)
    let figures = following.index.withLock { kept in
      let index = kept.traces
      return ExplorerFigures(
        version: version, traces: index.count, bytes: index.byteCount, bytesMax: index.bytesMax,
        spans: index.spansRead, evicted: index.evicted, unreadable: index.unreadable, records: state.records,
        share: share, errors: state.errorCount,
        requests: Dictionary(uniqueKeysWithValues: requests.map { (String($0.key), $0.value) }),
        closedConnections: closed)
    }
    var text = MetricsText()
    for each in ExplorerMetric.table { text.append(each.metric, each.read(figures)) }
    return ConsoleResponse(contentType: MetricsText.contentType, body: text.text)
  }
}
