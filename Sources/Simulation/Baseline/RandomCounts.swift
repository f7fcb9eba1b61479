// Random counts: how many events happen, drawn at once.

internal import Glibc

extension RandomSource {
  /// A standard normal number, as the sum of twelve uniform ones: exact in mean and variance, and never
  /// beyond six.
  public mutating func normal() -> Double {
    var sum = -6.0
    for _ in 0..<12 { sum += unit() }
    return sum
  }

  /// A Poisson number: how many independent events happen where `mean` are expected.
  ///
  /// Up to a mean of 32 by inversion, exactly; above that by the normal distribution, rounded.
  public mutating func poisson(mean: Double) -> Int {
    guard mean > 0 else { return 0 }
    guard mean < 32 else { return max(0, Int((mean + mean.squareRoot() * normal()).rounded())) }
    var term = exp(-mean)
    var rest = unit() - term
    var count = 0
    while rest > 0, count < 1000 {
      count += 1
      term *= mean / Double(count)
      rest -= term
    }
    return count
  }

  /// How many of `count` independent trials of probability `share` succeed.
  ///
  /// Exact by inversion where few or nearly all do; otherwise by the normal distribution, rounded.
  public mutating func binomial(_ count: Int, _ share: Double) -> Int {
    guard count > 0, share > 0 else { return 0 }
    guard share < 1 else { return count }
    guard share <= 0.5 else { return count - binomial(count, 1 - share) }
    let mean = Double(count) * share
    guard mean < 32 else {
      let drawn = (mean + (mean * (1 - share)).squareRoot() * normal()).rounded()
      return min(count, max(0, Int(drawn)))
    }
    var term = pow(1 - share, Double(count))
    var rest = unit() - term
    var hits = 0
    while rest > 0, hits < count {
      term *= Double(count - hits) / Double(hits + 1) * share / (1 - share)
      hits += 1
      rest -= term
    }
    return hits
  }
}
