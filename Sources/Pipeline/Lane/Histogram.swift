// Durations counted in fixed buckets, which can be summed over partitions, lanes and workers.

public import Sampling

/// A distribution of durations.
public struct Histogram: Equatable, Sendable {
  /// The upper bounds of all buckets but the last, in milliseconds: two or three per decade, from a commit's
  /// few milliseconds to the minutes that a window or a recovery may last.
  public static let bounds: [Int64] = [
    5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000,
  ]

  /// The number of durations up to the bound at the same index and above the previous one; the last counts
  /// those above all bounds.
  public private(set) var counts = [UInt64](repeating: 0, count: Histogram.bounds.count + 1)
  /// The sum of all durations.
  public private(set) var sum = Duration.zero

  /// Nothing observed yet.
  public init() {}

  /// The number of durations.
  public var count: UInt64 { counts.reduce(0, +) }

  /// Counts one duration.
  public mutating func observe(_ interval: Interval) {
    let place = Histogram.bounds.firstIndex { interval <= .milliseconds($0) } ?? Histogram.bounds.count
    counts[place] += 1
    sum += .nanoseconds(interval.nanoseconds)
  }

  /// Adds another's counts.
  public mutating func add(_ other: Histogram) {
    for place in counts.indices { counts[place] += other.counts[place] }
    sum += other.sum
  }
}
