// The grid of rates, and the fair share.

import Simulation
import Testing

@testable import Sampling

@Suite struct WaterFillingTests {
  @Test func theGridHasSixteenStepsToAnOctave() {
    var random = RandomSource(seed: 2)
    for _ in 0..<5000 {
      let exponent = random.number(in: 0...38)
      let rate = random.number(from: 0.5, to: 1) / Double(UInt64(1) << UInt64(exponent))
      let rounded = RateGrid.rounded(rate)
      #expect(rounded <= rate && rounded * RateGrid.step > rate)
      #expect(RateGrid.rounded(rounded) == rounded)
    }
    for exponent in 0...40 {
      let power = 1 / Double(UInt64(1) << UInt64(exponent))
      #expect(RateGrid.rounded(power) == power)
    }
    #expect(RateGrid.rounded(.infinity) == 1)
    #expect(RateGrid.rounded(0) == RateGrid.least)
    // 2^(-107/16), computed by another program.
    #expect(RateGrid.rounded(0.01) == 0.009702014156824094)
  }

  private func demand(_ load: Double, floor: Double = 0, shares: Double = 1) -> KeyDemand {
    KeyDemand(present: load, offered: load, costMax: load, shares: shares, floor: floor)
  }

  @Test func smallKeysAreKeptWholeAndLargeOnesShareTheRest() {
    let loads = [1.0, 5, 1000, 2000, 40_000]
    let filling = WaterFilling(demands: loads.map { demand($0) }, ceiling: 1)
    let level = filling.level(for: 306)
    let rates = filling.demands.map { $0.rate(at: level, ceiling: 1) }
    #expect(rates[0] == 1 && rates[1] == 1)
    // 300 are left for three keys; each keeps 100, less at most a step of the grid.
    for place in 2..<5 { #expect((95...105).contains(rates[place] * loads[place])) }
  }

  /// With many keys the grid's rounding enters the sum: the budget is met nearly exactly, never exceeded.
  @Test(arguments: 1...5) func theBudgetIsMet(seed: UInt64) {
    var random = RandomSource(seed: seed)
    let demands = (0..<200).map { _ in demand(random.skewed(mean: 1000)) }
    let filling = WaterFilling(demands: demands, ceiling: 1)
    let all = filling.cost(at: .infinity)
    for share in [0.001, 0.01, 0.1, 0.5, 0.9] {
      let level = filling.level(for: share * all)
      let cost = filling.cost(at: level)
      #expect(cost <= share * all && cost > share * all * 0.99)
    }
    #expect(filling.level(for: all) == .infinity)
  }

  @Test func floorsAndCeilingsHold() {
    let demands = [demand(1000, floor: 0.02), demand(10), demand(500, shares: 4), demand(500)]
    let filling = WaterFilling(demands: demands, ceiling: 0.5)
    #expect(filling.level(for: 1) == 0)
    let none = demands.map { $0.rate(at: 0, ceiling: 0.5) }
    #expect(none[0] >= 0.02 && none[1] == RateGrid.least)
    let level = filling.level(for: 80)
    let rates = demands.map { $0.rate(at: level, ceiling: 0.5) }
    #expect(rates[1] == 0.5)
    #expect((3.8...4.2).contains(rates[2] / rates[3]))
    #expect(demands.map { $0.rate(at: .infinity, ceiling: 0.5) }.allSatisfy { $0 == 0.5 })
  }

  @Test func nothingToShareIsNoTrouble() {
    #expect(WaterFilling(demands: [], ceiling: 1).level(for: 10) == .infinity)
    #expect(WaterFilling(demands: [demand(0)], ceiling: 1).level(for: 0) == .infinity)
    #expect(WaterFilling(demands: [demand(5)], ceiling: 1).level(for: 0) < 1e-9)
  }
}
