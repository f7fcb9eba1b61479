// How metrics of all spans are counted.

/// How spans are counted before any of them is sampled: `Sampler+Metrics.swift`.
public struct SpanMetricsConfiguration: Equatable, Sendable {
  /// In what durations are given.
  public enum Unit: String, Equatable, Sendable, CaseIterable {
    /// Milliseconds.
    case milliseconds = "ms"
    /// Seconds.
    case seconds = "s"

    /// Nanoseconds in one.
    var nanoseconds: UInt64 { self == .seconds ? 1_000_000_000 : 1_000_000 }
  }

  /// Points are written when the stream clock passes a multiple of this.
  public var interval = Interval.seconds(60)
  /// How many series a partition has in an interval; further ones are counted as one.
  public var seriesMax = 10_000
  /// The unit of durations.
  public var unit = Unit.milliseconds

  /// Whether a worker serves the totals of what it has counted.
  public var isServed = false

  /// Makes a configuration with the defaults above.
  public init() {}
}
