// What is counted of all spans, for the topic of metrics.

internal import Sampling

extension MetricSection {
  static let metrics: [Metric] = [
    .counter(
      "tailrace_metrics_spans_total",
      "Spans counted for the topic of metrics, by whether their series has its own points or is beyond "
        + "metrics.series_limit; spans whose counts were not written yet when a partition changed hands "
        + "count again here, though not in the topic; only with metrics", by: "series"
    ) {
      let counters = $0.counters
      return [
        "other": counters.spansCountedTogether, "own": counters.spansCounted - counters.spansCountedTogether,
      ]
    },
    .counter("tailrace_metrics_points_total", "Data points written to the topic of metrics") {
      $0.counters.metricPoints
    },
  ]
}
