// All metrics of a worker, in the order of its page and of docs/metrics.md.

internal import Pipeline

/// A part of the page: metrics that the same workers have.
struct MetricSection: Sendable {
  /// The heading in docs/metrics.md.
  let title: String
  let metrics: [Metric]

  /// Every section.
  static let all: [MetricSection] = [allKinds, tailSampling, repartition, export, clients, process]

  static let allKinds = MetricSection(
    title: "Every kind of worker", metrics: build + input + group + configuration + console)

  static let tailSampling = MetricSection(
    title: "Tail sampling",
    metrics: records + verdicts + shadow + lookups + recalls + windows + logs + metrics + links + spans
      + services + memory)

  static let repartition = MetricSection(
    title: "Repartition",
    metrics: [
      .counter(
        "tailrace_written_records_total", "Keyed records written: one for each trace in each record read"
      ) {
        $0.snapshot.lane.spans
      }
    ])

  static let export = MetricSection(
    title: "Export",
    metrics: [
      .counter("tailrace_export_requests_total", "Requests that the store has taken") {
        $0.snapshot.lane.export.requests
      },
      .counter("tailrace_export_records_total", "Records in requests that the store has taken") {
        $0.snapshot.lane.export.records
      },
      .counter("tailrace_export_spans_total", "Spans in requests that the store has taken") {
        $0.snapshot.lane.export.spans
      },
      .counter(
        "tailrace_export_bytes_total", "Bytes of request bodies sent, failed attempts included", .bytes
      ) { $0.snapshot.lane.export.bytes },
      .counter(
        "tailrace_export_retries_total",
        "Attempts that failed and are repeated, by reason: the status of the answer, timeout or connection",
        by: "reason"
      ) { $0.snapshot.lane.export.retries },
      .counter(
        "tailrace_export_rejected_spans_total",
        "Spans that the store rejected in requests that it took (partial success): they are lost to it"
      ) { $0.snapshot.lane.export.rejectedSpans },
      .counter(
        "tailrace_export_refused_requests_total",
        "Requests refused for good; they are halved until the records at fault are found"
      ) { $0.snapshot.lane.export.refusedRequests },
      .counter(
        "tailrace_export_refused_records_total", "Records that the store refuses: they are dead letters"
      ) { $0.snapshot.lane.export.refusedRecords },
      .counter(
        "tailrace_export_pauses_total", "Times that reading stopped because too much waited for the store"
      ) { $0.snapshot.lane.export.pauses },
      .gauge(
        "tailrace_export_waiting_bytes", "Bytes of records that the store has not answered for", .bytes
      ) { Double($0.snapshot.exportWaitingBytes) },
      .gauge("tailrace_export_paused", "1 while reading stands still for the store") {
        $0.snapshot.exportIsPaused ? 1 : 0
      },
      .gauge("tailrace_export_failing", "1 while the last attempt at a request has failed") {
        $0.snapshot.exportIsTroubled ? 1 : 0
      },
      .histogram("tailrace_export_request_duration_seconds", "From an attempt's beginning to its answer") {
        $0.measures.storeDurations
      },
    ])

  static let clients = MetricSection(title: "Kafka's client", metrics: connections + queues)
}
