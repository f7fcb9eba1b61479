// One family of metrics: its name, its meaning, and the source of its samples.

internal import Pipeline

/// One family of metrics. `MetricSection` lists them all.
struct Metric: Sendable {
  /// Prometheus's metric types, named as in the exposition format.
  enum Kind: String {
    /// Only goes up while the process lives. The name ends in `_total`.
    case counter
    /// Goes up and down.
    case gauge
    /// Durations, counted by length.
    case histogram
  }

  /// The unit of its values. The name ends with it, before any `_total`.
  enum Unit: String {
    /// A count, or a flag.
    case none = ""
    case bytes
    case seconds
  }

  let name: String
  let kind: Kind
  let unit: Unit
  /// What it means: one sentence without its full stop, for the page's HELP and for docs/metrics.md.
  let help: String
  /// The names of its labels, in the order of every sample's values.
  let labels: [String]
  /// Its current samples; nil if the worker has no such family.
  let read: @Sendable (Scrape) -> Samples?
}

extension Metric {
  /// The samples of one family.
  enum Samples {
    case counts([Sample<UInt64>])
    case amounts([Sample<Double>])
    case durations(Histogram)
  }

  /// One number and its labels.
  struct Sample<Number> {
    var labelValues: [String]
    var value: Number

    init(_ labelValues: [String], _ value: Number) {
      self.labelValues = labelValues
      self.value = value
    }
  }
}

extension Metric {
  /// A counter without labels.
  static func counter(
    _ name: String, _ help: String, _ unit: Unit = .none,
    read: @escaping @Sendable (Scrape) -> UInt64
  ) -> Metric {
    Metric(name: name, kind: .counter, unit: unit, help: help, labels: []) { .counts([Sample([], read($0))]) }
  }

  /// A counter with one label, in the order of its values.
  static func counter(
    _ name: String, _ help: String, _ unit: Unit = .none, by label: String,
    read: @escaping @Sendable (Scrape) -> [String: UInt64]
  ) -> Metric {
    Metric(name: name, kind: .counter, unit: unit, help: help, labels: [label]) { scrape in
      .counts(read(scrape).sorted { $0.key < $1.key }.map { Sample([$0.key], $0.value) })
    }
  }

  /// A counter with several labels, in the order of `read`.
  static func counter(
    _ name: String, _ help: String, _ unit: Unit = .none, by labels: [String],
    read: @escaping @Sendable (Scrape) -> [Sample<UInt64>]
  ) -> Metric {
    Metric(name: name, kind: .counter, unit: unit, help: help, labels: labels) { .counts(read($0)) }
  }

  /// A gauge without labels; nil where the worker has none.
  static func gauge(
    _ name: String, _ help: String, _ unit: Unit = .none, read: @escaping @Sendable (Scrape) -> Double?
  ) -> Metric {
    Metric(name: name, kind: .gauge, unit: unit, help: help, labels: []) { scrape in
      read(scrape).map { .amounts([Sample([], $0)]) }
    }
  }

  /// A gauge with labels, in the order of `read`; nil where the worker has none.
  static func gauge(
    _ name: String, _ help: String, _ unit: Unit = .none, by labels: [String],
    read: @escaping @Sendable (Scrape) -> [Sample<Double>]?
  ) -> Metric {
    Metric(name: name, kind: .gauge, unit: unit, help: help, labels: labels) { read($0).map { .amounts($0) } }
  }

  /// A histogram of durations in seconds, without labels.
  static func histogram(
    _ name: String, _ help: String, read: @escaping @Sendable (Scrape) -> Histogram
  ) -> Metric {
    Metric(name: name, kind: .histogram, unit: .seconds, help: help, labels: []) { .durations(read($0)) }
  }
}
