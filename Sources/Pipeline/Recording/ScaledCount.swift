// How many traces there were, from those that were kept and their weights.

/// A count that is estimated from kept traces, and its 99 % interval.
///
/// Traces that were certain to be kept stand for themselves and are counted. What the others stand for is the
/// sum of their weights w: as if n = (sum w)^2 / sum w^2 traces had been kept with one weight each,
/// s = sum w^2 / sum w. The interval is s times the one for a Poisson count of n, and reaches as far up as if
/// one trace more had been kept, the heaviest of all: one like it may have been missed. Source: Fay and
/// Feuer, "Confidence intervals for directly standardized rates", 1997; the limits of the Poisson count by
/// Byar's approximation, exact to a few thousandths, as in Breslow and Day, 1987.
public struct ScaledCount: Equatable, Sendable {
  /// Traces that stand for themselves.
  var certain = 0.0
  /// The others,
  var sampled = 0
  /// their weights together,
  var weights = 0.0
  /// and the squares of these.
  var squares = 0.0
  /// The largest weight.
  private(set) var heaviest = 0.0

  /// 99 % of a normal distribution lie within so many standard deviations.
  private static let deviations = 2.5758

  mutating func add(_ weight: Double) {
    guard weight > 1 else { return certain += weight }
    sampled += 1
    weights += weight
    squares += weight * weight
    heaviest = max(heaviest, weight)
  }

  /// Kept traces.
  public var kept: Int { Int(certain) + sampled }

  /// The estimate.
  public var estimate: Double { certain + weights }

  /// What one sampled trace stands for; nil if there is none.
  var scale: Double? { weights > 0 ? squares / weights : nil }

  /// The 99 % interval.
  ///
  /// - Parameter other: the largest weight of any trace: one that stands for so many may have been missed.
  public func interval(heaviest other: Double = 1) -> (low: Double, high: Double) {
    let scale = scale ?? 1
    let most = max(heaviest, other, 1)
    let (sum, sumOfSquares) = (weights + most, squares + most * most)
    return (
      certain + scale * ScaledCount.low(weights / scale),
      certain + sumOfSquares / sum * ScaledCount.high(sum * sum / sumOfSquares)
    )
  }

  private static func low(_ count: Double) -> Double {
    guard count > 0 else { return 0 }
    let root = 1 - 1 / (9 * count) - deviations / (3 * count.squareRoot())
    return root > 0 ? count * root * root * root : 0
  }

  /// - Parameter more: the count and one more.
  private static func high(_ more: Double) -> Double {
    let root = 1 - 1 / (9 * more) + deviations / (3 * more.squareRoot())
    return more * root * root * root
  }
}
