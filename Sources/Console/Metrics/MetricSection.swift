// All metrics of a worker, in the order of its page and of docs/metrics.md.

internal import Pipeline

/// A part of the page: metrics that the same workers have.
struct MetricSection: Sendable {
  /// The heading in docs/metrics.md.
  let title: String
  let metrics: [Metric]

  /// Every section.
  static let all: [MetricSection] = [bothKinds, tailSampling, repartition, clients, process]

  static let bothKinds = MetricSection(
    title: "Both kinds of worker", metrics: build + input + group + configuration + console)

  static let tailSampling = MetricSection(
    title: "Tail sampling",
    metrics: records + verdicts + shadow + lookups + recalls + windows + logs + metrics + spans + services
      + memory)

  static let repartition = MetricSection(
    title: "Repartition",
    metrics: [
      .counter(
        "tailrace_written_records_total", "Keyed records written: one for each trace in each record read"
      ) {
        $0.snapshot.lane.spans
      }
    ])

  static let clients = MetricSection(title: "Kafka's client", metrics: connections + queues)
}
