// Prometheus's text exposition format, version 0.0.4:
// https://prometheus.io/docs/instrumenting/exposition_formats/

internal import Pipeline

/// A page of metrics. Every family comes once, with HELP and TYPE, all its samples together.
struct MetricsText {
  /// The page's media type.
  static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  /// The page so far.
  private(set) var text = ""

  /// One label of a sample.
  typealias Label = (name: String, value: String)

  /// A number that only goes up while the process lives. Its name ends in `_total`.
  mutating func counter(_ name: String, _ help: String, _ samples: [([Label], UInt64)]) {
    open(name, "counter", help)
    for (labels, value) in samples { sample(name, labels, "\(value)") }
  }

  mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
    counter(name, help, [([], value)])
  }

  /// A counter by one label, in the order of its values.
  mutating func counter(_ name: String, _ help: String, by label: String, _ values: [String: UInt64]) {
    let samples = values.sorted { $0.key < $1.key }
    counter(name, help, samples.map { ([(name: label, value: $0.key)], $0.value) })
  }

  /// A number that goes up and down.
  mutating func gauge(_ name: String, _ help: String, _ samples: [([Label], Double)]) {
    open(name, "gauge", help)
    for (labels, value) in samples { sample(name, labels, MetricsText.format(value)) }
  }

  mutating func gauge(_ name: String, _ help: String, _ value: Double) {
    gauge(name, help, [([], value)])
  }

  /// Times in seconds; the name ends in `_seconds`.
  mutating func histogram(_ name: String, _ help: String, _ histogram: Histogram) {
    open(name, "histogram", help)
    var count: UInt64 = 0
    for (bound, more) in zip(Histogram.bounds, histogram.counts) {
      count += more
      sample("\(name)_bucket", [(name: "le", value: MetricsText.format(Double(bound) / 1000))], "\(count)")
    }
    sample("\(name)_bucket", [(name: "le", value: "+Inf")], "\(histogram.count)")
    sample("\(name)_sum", [], MetricsText.format(histogram.sum / .seconds(1)))
    sample("\(name)_count", [], "\(histogram.count)")
  }

  /// A counter of seconds or of another unit that has fractions.
  mutating func fractionalCounter(_ name: String, _ help: String, _ value: Double) {
    open(name, "counter", help)
    sample(name, [], MetricsText.format(value))
  }

  private mutating func open(_ name: String, _ type: String, _ help: String) {
    text += "# HELP \(name) \(MetricsText.escaped(help, quotes: false))\n# TYPE \(name) \(type)\n"
  }

  private mutating func sample(_ name: String, _ labels: [Label], _ value: String) {
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
    return Int64(exactly: value).map { "\($0)" } ?? "\(value)"
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
