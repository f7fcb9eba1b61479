// What becomes of the logs that follow their traces' verdicts.

internal import Pipeline
internal import Sampling

extension MetricSection {
  static let logs: [Metric] = [
    .counter(
      "tailrace_logs_total",
      "Log records kept or dropped, by reason: the verdict on their trace, no verdict known, a verdict that "
        + "had to be forgotten (they are kept), no trace id, or larger than the topic accepts (those are "
        + "dead letters)", by: ["outcome", "reason"]
    ) {
      let logs = $0.snapshot.lane.logs
      return [
        Metric.Sample(["dropped", "no_trace"], logs.traceFreeDropped),
        Metric.Sample(["dropped", "no_verdict"], logs.unknownDropped),
        Metric.Sample(["dropped", "too_large"], logs.tooLarge),
        Metric.Sample(["dropped", "verdict"], logs.dropped),
        Metric.Sample(["kept", "forgotten"], logs.forgottenKept),
        Metric.Sample(["kept", "no_trace"], logs.traceFreeKept),
        Metric.Sample(["kept", "no_verdict"], logs.unknownKept),
        Metric.Sample(["kept", "verdict"], logs.kept),
      ]
    },
    .counter("tailrace_log_requests_total", "Requests of logs dealt with, malformed ones included") {
      $0.snapshot.lane.logs.requests
    },
    .counter("tailrace_log_bytes_total", "Bytes of these requests", .bytes) { $0.snapshot.lane.logs.bytes },
    .counter("tailrace_malformed_log_requests_total", "Requests of logs that could not be read") {
      $0.snapshot.lane.logs.malformed
    },
    .counter("tailrace_kept_log_requests_total", "Records written to the topic of kept logs") {
      $0.snapshot.lane.logs.written
    },
    .counter(
      "tailrace_lost_log_offsets_total", "Offsets that had left the topic of logs before they were read"
    ) { $0.snapshot.lane.logs.lost },
    .counter(
      "tailrace_recalled_logs_total",
      "Log records of dropped traces that were read again and kept, because their traces were recalled"
    ) { $0.snapshot.lane.logs.recalled },
    .counter(
      "tailrace_unrecalled_logs_total", "Log records left out of recalls, because their trace has too many"
    ) { $0.snapshot.lane.logs.recalledTooMany },
    .counter(
      "tailrace_read_again_log_bytes_total", "Bytes of requests of logs read again for recalls", .bytes
    ) { $0.snapshot.lane.logs.bytesReadAgain },
    .gauge(
      "tailrace_logs_lag_seconds",
      "How long the next request of a partition's logs has been due, by the stream clock; 0 if none is, and "
        + "only with topics.logs", .seconds, by: ["partition"]
    ) { $0.perPartition { $0.logsLag.map { Double($0.nanoseconds) / 1e9 } } },
  ]
}
