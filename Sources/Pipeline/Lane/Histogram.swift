// How long things take: counts in fixed buckets, which add up over partitions, lanes and workers.

public import Sampling

/// A distribution of times.
public struct Histogram: Equatable, Sendable {
  /// The upper bounds of all buckets but the last, in milliseconds: two or three a decade, from a commit's
  /// few milliseconds to the minutes that a window or a recovery may last.
  public static let bounds: [Int64] = [
    5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000,
  ]

  /// How many times were at most as long as the bound of the same place, and longer than the one before; the
  /// last are longer than all bounds.
  public private(set) var counts = [UInt64](repeating: 0, count: Histogram.bounds.count + 1)
  /// All of them together.
  public private(set) var sum = Duration.zero

  /// Nothing observed yet.
  public init() {}

  /// How many there were.
  public var count: UInt64 { counts.reduce(0, +) }

  /// Counts one.
  public mutating func observe(_ interval: Interval) {
    let place = Histogram.bounds.firstIndex { interval <= .milliseconds($0) } ?? Histogram.bounds.count
    counts[place] += 1
    sum += .nanoseconds(interval.nanoseconds)
  }

  /// Adds what another has counted.
  public mutating func add(_ other: Histogram) {
    for place in counts.indices { counts[place] += other.counts[place] }
    sum += other.sum
  }
}
