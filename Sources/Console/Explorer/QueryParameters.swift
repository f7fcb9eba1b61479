// Times, durations and numbers in a query.

internal import Pipeline
internal import Sampling

/// A parameter that can't be read, and why.
struct BadParameter: Error {
  let text: String
}

extension ConsoleRequest {
  private static let hour: Int64 = 3_600_000_000_000
  /// Times are from 1970 to here: differences and steps can't overflow.
  private static let latest = Int64.max - 24 * hour

  /// Nanoseconds since 1970, or an age such as `-15m`, counted from `clock`. What is outside the times that
  /// can be asked for becomes the nearest of them.
  func time(_ name: String, clock: Int64) throws(BadParameter) -> Int64? {
    guard let text = self[name] else { return nil }
    if let value = Int64(text), value >= 0 { return min(value, ConsoleRequest.latest) }
    guard case .time(let instant)? = TopicStretch.Bound(text, now: Instant(nanoseconds: clock)) else {
      throw BadParameter(text: "\(name): '\(text.prefix(40))' is neither nanoseconds nor an age such as -15m")
    }
    return min(max(0, instant.nanoseconds), ConsoleRequest.latest)
  }

  /// A stretch of time: by default the last hour before `clock`, and what comes after it.
  func times(clock: Int64) throws(BadParameter) -> ClosedRange<Int64> {
    let clock = min(max(0, clock), ConsoleRequest.latest)
    let to = try time("to", clock: clock)
    let from = try time("from", clock: clock) ?? max(0, (to ?? clock) - ConsoleRequest.hour)
    guard from <= to ?? .max else { throw BadParameter(text: "from is after to") }
    return from...(to ?? max(from, clock))
  }

  /// A duration in nanoseconds: `100ms`, `1.5s`, or a bare number.
  func duration(_ name: String) throws(BadParameter) -> UInt64? {
    guard let text = self[name] else { return nil }
    guard let value = UInt64(text) ?? ConsoleRequest.nanoseconds(text) else {
      throw BadParameter(text: "\(name): '\(text.prefix(40))' is no duration such as 100ms")
    }
    return value
  }

  func count(_ name: String, _ range: ClosedRange<Int>, otherwise: Int) throws(BadParameter) -> Int {
    guard let text = self[name] else { return otherwise }
    guard let value = Int(text), range.contains(value) else {
      throw BadParameter(text: "\(name) is from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  private static let units: [String: Double] = [
    "ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9,
  ]

  /// The durations of Go, which Jaeger's clients send: numbers with units, such as `1m2.5s`.
  static func nanoseconds(_ text: String) -> UInt64? {
    var rest = text[...]
    var total = 0.0
    repeat {
      let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
      rest = rest.dropFirst(digits.count)
      let name = rest.prefix { !($0.isASCII && $0.isNumber) }
      rest = rest.dropFirst(name.count)
      guard let count = Double(digits), let unit = units[String(name)] else { return nil }
      total += count * unit
    } while !rest.isEmpty
    return total < 1e18 ? UInt64(total.rounded()) : nil
  }
}
