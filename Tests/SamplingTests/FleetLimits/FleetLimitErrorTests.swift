// How far a limit that twelve partitions share is from a single one, in the worst minute of ten.

import Simulation
import Testing

@testable import Sampling

@Suite struct FleetLimitErrorTests {
  /// A kind of demand, and the worst that may happen in any minute: shares of the limit.
  struct Scenario: CustomTestStringConvertible, Sendable {
    var name: String
    var over: Double
    var under: Double
    var demand: @Sendable (_ partition: Int, _ second: Int) -> Double
    var partitions = 12
    var perSecond: Int64 = 1000

    var testDescription: String { name }
  }

  /// Traces a second, of ten spans each: 100 are the limit.
  static let scenarios = [
    Scenario(name: "even, three times the limit", over: 0.05, under: 0.02) { _, _ in 25 },
    Scenario(name: "even, just the limit", over: 0.05, under: 0.08) { _, _ in 100 / 12 },
    Scenario(name: "half the limit, skewed", over: 0, under: 0.03) { partition, _ in
      50 * pow2(partition)
    },
    Scenario(name: "skewed by halves, three times the limit", over: 0.05, under: 0.1) { partition, _ in
      300 * pow2(partition)
    },
    Scenario(name: "skewed by halves, a tenth more than the limit", over: 0.05, under: 0.14) { partition, _ in
      110 * pow2(partition)
    },
    Scenario(name: "all on one partition", over: 0.05, under: 0.18) { partition, _ in
      partition == 3 ? 300 : 0
    },
    Scenario(name: "all on one partition, another each minute", over: 0.05, under: 0.2) { partition, second in
      partition == second / 60 % 12 ? 300 : 0
    },
    Scenario(name: "nine tenths on one partition, another each minute", over: 0.05, under: 0.14) {
      partition, second in partition == second / 60 % 12 ? 270 : 30 / 11
    },
    Scenario(name: "half of the partitions, the other half each two minutes", over: 0.05, under: 0.16) {
      partition, second in partition % 2 == second / 120 % 2 ? 50 : 0
    },
    Scenario(name: "a burst of twenty seconds each minute", over: 0.05, under: 0.2) { partition, second in
      second % 60 < 20 ? (partition < 4 ? 100 : 0) : 5
    },
    Scenario(
      name: "64 partitions, 35 spans a second", over: 0.2, under: 0.18,
      demand: { partition, _ in partition < 8 ? 5 : 0.1 }, partitions: 64, perSecond: 35),
  ]

  private static func pow2(_ partition: Int) -> Double { 1 / Double(1 << (partition + 1)) }

  @Test(arguments: scenarios) func theWorstMinute(_ scenario: Scenario) {
    var worst = (over: -1.0, under: -1.0, shares: 0.0)
    for seed in 1...3 as ClosedRange<UInt64> {
      let world = LimitWorld(
        RateLimit(perSecond: scenario.perSecond, scope: .fleet),
        LimitDemand(partitions: scenario.partitions, traces: scenario.demand), seconds: 600, seed: seed)
      let minute = world.worstMinute()
      worst = (
        max(worst.over, minute.over), max(worst.under, minute.under), max(worst.shares, world.sharesMax)
      )
    }
    #expect(worst.shares < 3, "shares of \(worst.shares) while lanes change at different times")
    #expect(worst.over <= scenario.over, "over by \(worst.over)")
    #expect(worst.under <= scenario.under, "under by \(worst.under)")
  }
}
