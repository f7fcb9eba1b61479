// Random counts have the mean and the variance of their distribution.

import Simulation
import Testing

@Suite struct RandomCountsTests {
  private func moments(_ draws: Int, _ draw: () -> Int) -> (mean: Double, variance: Double) {
    let numbers = (0..<draws).map { _ in Double(draw()) }
    let mean = numbers.reduce(0, +) / Double(draws)
    return (mean, numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(draws))
  }

  @Test(arguments: [0.01, 0.7, 5, 31, 33, 4000]) func poisson(mean: Double) {
    var random = RandomSource(seed: 1)
    let found = moments(4000) { random.poisson(mean: mean) }
    #expect(abs(found.mean - mean) < 5 * (mean / 4000).squareRoot())
    #expect(abs(found.variance / mean - 1) < 0.5)
  }

  @Test(arguments: [(1, 0.3), (40, 0.001), (40, 0.9), (1000, 0.02), (100_000, 0.4)])
  func binomial(_ count: Int, _ share: Double) {
    var random = RandomSource(seed: 2)
    let found = moments(4000) { random.binomial(count, share) }
    let variance = Double(count) * share * (1 - share)
    #expect(abs(found.mean - Double(count) * share) < 5 * (variance / 4000).squareRoot())
    #expect(abs(found.variance / variance - 1) < 0.5)
  }

  @Test func certainThingsAreCertain() {
    var random = RandomSource(seed: 3)
    #expect(random.binomial(10, 1) == 10 && random.binomial(10, 0) == 0 && random.binomial(0, 0.5) == 0)
    #expect(random.poisson(mean: 0) == 0)
  }
}
