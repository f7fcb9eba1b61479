// The seeded generator: the published algorithm, and the distributions built on it.

import Simulation
import Testing

@Suite struct RandomSourceTests {
  /// Computed with a separate program in another language, from the published algorithms.
  @Test(arguments: [
    (UInt64(0), [0x99ec_5f36_cb75_f2b4, 0xbf6e_1f78_4956_452a, 0x1a5f_849d_4933_e6e0] as [UInt64]),
    (UInt64(42), [0x1578_0b2e_0c2e_c716, 0x6104_d986_6d11_3a7e, 0xae17_5332_39e4_99a1]),
  ])
  func theAlgorithmIsThePublishedOne(_ seed: UInt64, _ expected: [UInt64]) {
    var random = RandomSource(seed: seed)
    #expect(expected.map { _ in random.next() } == expected)
  }

  @Test func aSeedRepeatsItselfAndOnlyItself() {
    var (first, again, other) = (
      RandomSource(seed: 7), RandomSource(seed: 7), RandomSource(seed: 8)
    )
    let numbers = (0..<1000).map { _ in first.next() }
    #expect((0..<1000).map { _ in again.next() } == numbers)
    #expect((0..<1000).map { _ in other.next() } != numbers)
  }

  @Test func unitsLieInTheirRangeAndFillIt() {
    var random = RandomSource(seed: 3)
    var tenths = Array(repeating: 0, count: 10)
    let units = (0..<20_000).map { _ in random.unit() }
    #expect(units.allSatisfy { $0 >= 0 && $0 < 1 })
    for unit in units { tenths[Int(unit * 10)] += 1 }
    for count in tenths { #expect(isPlausible(count, of: 20_000, share: 0.1)) }
  }

  @Test(arguments: [0, 0.01, 0.5, 0.99, 1])
  func chancesHappenAsOftenAsTheyShould(_ share: Double) {
    var random = RandomSource(seed: 5)
    let count = (0..<20_000).count { _ in random.chance(share) }
    #expect(isPlausible(count, of: 20_000, share: share))
  }

  @Test func numbersStayBetweenTheirBounds() {
    var random = RandomSource(seed: 9)
    var seen: Set<Int> = []
    for _ in 0..<2000 { seen.insert(random.number(in: -3...3)) }
    let reals = (0..<2000).map { _ in random.number(from: -2, to: 5) }
    #expect(reals.allSatisfy { $0 >= -2 && $0 < 5 })
    #expect(seen == Set(-3...3))
  }

  @Test func skewedNumbersHaveTheirMean() {
    var random = RandomSource(seed: 11)
    var (sum, most, small) = (0.0, 0.0, 0)
    for _ in 0..<50_000 {
      let number = random.skewed(mean: 50)
      sum += number
      most = max(most, number)
      if number < 50 { small += 1 }
    }
    // The standard deviation of 4uv is 0.882 times the mean: five standard errors are 2 % of the mean.
    #expect(abs(sum / 50_000 - 51) < 1)
    #expect(most < 400)
    #expect(small > 25_000 * 11 / 10)
  }
}

/// Whether `count` of `total` is within five standard deviations of the expected share.
func isPlausible(_ count: Int, of total: Int, share: Double) -> Bool {
  let expected = Double(total) * share
  return abs(Double(count) - expected) <= 5 * (expected * (1 - share)).squareRoot() + 1e-9
}
