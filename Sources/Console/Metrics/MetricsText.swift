// Prometheus's text exposition format, version 0.0.4:
// https://prometheus.io/docs/instrumenting/exposition_formats/

internal import OTLP
internal import Pipeline

/// A page of metrics. Every family appears once, with HELP, TYPE and all its samples.
struct MetricsText {
  /// The page's media type.
  static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  /// The page so far.
  private(set) var text = ""

  /// Appends a family.
  mutating func append(_ metric: Metric, _ samples: Metric.Samples) {
    appendHead(metric.name, metric.help, metric.kind)
    switch samples {
    case .counts(let samples):
      for sample in samples { append(metric, sample.labelValues, "\(sample.value)") }
    case .amounts(let samples):
      for sample in samples { append(metric, sample.labelValues, MetricsText.format(sample.value)) }
    case .durations(let histogram):
      append(metric.name, histogram)
    }
  }

  /// Appends the lines with which a family begins.
  mutating func appendHead(_ name: String, _ help: String, _ kind: Metric.Kind) {
    let help = MetricsText.escaped(help + ".", quotes: false)
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
  }

  private mutating func append(_ metric: Metric, _ labelValues: [String], _ value: String) {
    append(metric.name, Array(zip(metric.labels, labelValues)), value)
  }

  private mutating func append(_ name: String, _ histogram: Histogram) {
    var count: UInt64 = 0
    for (bound, more) in zip(Histogram.bounds, histogram.counts) {
      count += more
      append("\(name)_bucket", [("le", MetricsText.format(Double(bound) / 1000))], "\(count)")
    }
    append("\(name)_bucket", [("le", "+Inf")], "\(histogram.count)")
    append("\(name)_sum", [], MetricsText.format(histogram.sum / .seconds(1)))
    append("\(name)_count", [], "\(histogram.count)")
  }

  /// Appends a sample.
  mutating func append(_ name: String, _ labels: [(name: String, value: String)], _ value: String) {
    text += name
    if !labels.isEmpty {
      let pairs = labels.map { "\($0.name)=\"\(MetricsText.escaped($0.value, quotes: true))\"" }
      text += "{\(pairs.joined(separator: ","))}"
    }
    text += " \(value)\n"
  }

  /// A number as Go's `ParseFloat` reads it.
  static func format(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    return Decimals.text(of: value)
  }

  /// Backslashes and line breaks are escaped everywhere, quotes in the values of labels only.
  private static func escaped(_ text: String, quotes: Bool) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": escaped += "\\\\"
      case "\n": escaped += "\\n"
      case "\"" where quotes: escaped += "\\\""
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}
