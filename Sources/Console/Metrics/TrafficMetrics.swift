// The page of a worker's own share of the metrics from all traffic.

internal import Pipeline
internal import Sampling

extension MetricsText {
  /// Names and labels are those that Prometheus makes of the topic `metrics`, and of the Collector's
  /// span-metrics connector; the histograms have fixed buckets.
  init(of traffic: TrafficTotals) {
    self.init()
    let (calls, duration) = ("traces_span_metrics_calls_total", MetricsText.durations(in: traffic.unit))
    let all = traffic.ordered
    appendHead(calls, "Spans that this worker has counted and written, of all traffic", .counter)
    for (key, series) in all { append(calls, MetricsText.labels(key), "\(series.calls)") }
    appendHead(duration, "How long these spans lasted", .histogram)
    let bounds = traffic.bounds.map(MetricsText.format)
    for (key, series) in all {
      let labels = MetricsText.labels(key)
      var count: UInt64 = 0
      for (bound, more) in zip(bounds + ["+Inf"], series.buckets) {
        count &+= more
        append("\(duration)_bucket", labels + [("le", bound)], "\(count)")
      }
      append("\(duration)_sum", labels, MetricsText.format(series.sum))
      append("\(duration)_count", labels, "\(count)")
    }
  }

  private static func durations(in unit: SpanMetricsConfiguration.Unit) -> String {
    "traces_span_metrics_duration_" + (unit == .seconds ? "seconds" : "milliseconds")
  }

  private static func labels(_ key: TrafficTotals.Key) -> [(name: String, value: String)] {
    guard key != TrafficTotals.Key() else { return [("otel_metric_overflow", "true")] }
    return [
      ("service_name", key.service), ("span_name", key.span), ("span_kind", key.kind),
      ("status_code", key.status),
    ]
  }
}
