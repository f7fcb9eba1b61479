// The explorer's page of the calls between services, as Grafana's service graph asks for them.
//
// Source: the Collector's service-graph connector, whose families and labels these are; the variance is ours.

internal import Exploration
internal import Synchronization

extension MetricsText {
  private static let graph = "traces_service_graph_"

  /// The page of a graph.
  init(of graph: ServiceGraph) {
    self.init()
    let series = graph.series.map { each in
      (labels: MetricsText.labels(each.edge, each.isFailed), isFailed: each.isFailed, sums: each.sums)
    }
    appendAmounts(
      "request_total", "Calls between two services, estimated from kept traces by their weights",
      series.map { ($0.labels, $0.sums.requests) })
    appendAmounts(
      "request_failed_total", "Those of them that failed, by their client or their server",
      series.filter(\.isFailed).map { ($0.labels, $0.sums.requests) })
    appendAmounts(
      "request_variance_total", "Variance of the estimated calls: its square root is their standard error",
      series.map { ($0.labels, $0.sums.variance) })
    appendDurations(
      "request_client_seconds", "How long calls lasted for their client",
      series.map { ($0.labels, $0.sums.client) })
    appendDurations(
      "request_server_seconds", "How long calls lasted for their server",
      series.map { ($0.labels, $0.sums.server) })
    let unpaired = graph.unpaired.map { (labels: MetricsText.labels($0.edge), spans: $0.spans) }
    appendAmounts(
      "unpaired_spans_total", "Spans of clients and servers, by weight, whose other span did not come",
      unpaired.filter { $0.spans.spans > 0 }.map { ($0.labels, $0.spans.spans) })
    appendAmounts(
      "dropped_spans_total", "Those that were not waited for to the end, as too many waited",
      unpaired.filter { $0.spans.dropped > 0 }.map { ($0.labels, $0.spans.dropped) })
  }

  private typealias Labels = [(name: String, value: String)]

  private static func labels(_ edge: ServiceGraph.Edge, _ isFailed: Bool) -> Labels {
    labels(edge) + [("failed", isFailed ? "true" : "false")]
  }

  private static func labels(_ edge: ServiceGraph.Edge) -> Labels {
    [("client", edge.client), ("server", edge.server), ("connection_type", edge.connection.rawValue)]
  }

  private mutating func appendAmounts(_ name: String, _ help: String, _ samples: [(Labels, Double)]) {
    appendHead(MetricsText.graph + name, help, .counter)
    for (labels, value) in samples { append(MetricsText.graph + name, labels, MetricsText.format(value)) }
  }

  private mutating func appendDurations(
    _ short: String, _ help: String, _ samples: [(Labels, GraphDurations)]
  ) {
    let name = MetricsText.graph + short
    appendHead(name, help, .histogram)
    let bounds = GraphDurations.bounds.map { MetricsText.format(Double($0) / 1000) } + ["+Inf"]
    for (labels, durations) in samples where !durations.buckets.isEmpty {
      var count = 0.0
      for (bound, more) in zip(bounds, durations.buckets) {
        count += more
        append("\(name)_bucket", labels + [("le", bound)], MetricsText.format(count))
      }
      append("\(name)_sum", labels, MetricsText.format(durations.sum))
      append("\(name)_count", labels, MetricsText.format(count))
    }
  }
}

extension Explorer {
  /// The calls between services since it began to follow.
  func serviceGraph() -> ConsoleResponse {
    let graph = following.index.withLock { $0.traces.serviceGraph }
    return ConsoleResponse(contentType: MetricsText.contentType, body: MetricsText(of: graph).text)
  }
}
