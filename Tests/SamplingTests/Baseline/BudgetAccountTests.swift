// The account of what a partition has kept against its budget.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct BudgetAccountTests {
  private func configuration(_ share: Double) -> BaselineConfiguration {
    var configuration = BaselineConfiguration()
    configuration.budget = .shareOfSpans(share)
    configuration.isWithinBudget = true
    return configuration
  }

  private let quarter = SamplingThreshold(probability: 0.25)

  /// Where traffic begins in an interval, what is a lot is judged by that interval.
  @Test func theFirstIntervalOfTrafficPullsGently() {
    var account = BudgetAccount(configuration(0.5), share: 0.5)
    account.earn(traces: 2000, amount: 2000)
    account.spend(traces: 940, amount: 940)
    // Sixty of 60,000 in ten minutes are left: a tenth of the scale.
    let moved = account.moved(quarter, ceiling: .always).probability
    #expect(moved > 0.25 && moved < 0.28, "\(moved)")
  }

  /// What exceeds some mean traces is paid by chance, whether it is kept or not.
  @Test func giantsPayByChance() {
    var account = BudgetAccount(configuration(0.01), share: 0.01)
    account.earn(traces: 100, amount: 100)
    let before = account.credit
    account.spend(traces: 1, amount: 28, isKept: false, at: quarter, incoming: .always)
    #expect(before - account.credit == 5_000_000_000, "a quarter of what exceeds eight")
    account.spend(
      traces: 1, amount: 28, isKept: false, at: quarter, incoming: SamplingThreshold(probability: 0.5))
    #expect(before - account.credit == 15_000_000_000, "half of it: half of its like were there")
    account.spend(traces: 1, amount: 8, isKept: false, at: quarter, incoming: .always)
    #expect(before - account.credit == 15_000_000_000)
  }

  /// What is owed is limited, but by no less than a trace may cost, and nobody gains by the limit.
  @Test func debtsOfOneTraceAreNotForgiven() {
    var account = BudgetAccount(configuration(0.01), share: 0.01)
    account.earn(traces: 100, amount: 100)
    let before = account.credit
    account.spend(traces: 1, amount: 40)
    #expect(before - account.credit == 40_000_000_000)
    let owed = account.credit
    for _ in 0..<100 { account.spend(traces: 1, amount: 1) }
    #expect(account.credit == owed)
    account.startInterval()
    #expect(account.credit == owed)
  }

  /// What was little while there was much traffic is not owed for hours when there is less.
  @Test func debtsShrinkWithTheTraffic() {
    var account = BudgetAccount(configuration(0.5), share: 0.5)
    account.earn(traces: 2000, amount: 2000)
    account.startInterval()
    account.spend(traces: 3000, amount: 3000)
    #expect(account.credit == -2_000_000_000_000)
    account.startInterval()
    #expect(account.credit == -64_000_000_000)
  }

  /// What was kept stays kept when the clock is set back.
  @Test func theAccountOutlivesTheCounts() throws {
    var sampler = SamplerConfiguration()
    sampler.policies = [Policy(name: "baseline", rule: .adaptive)]
    sampler.baseline = configuration(0.01)
    var baseline = try #require(PartitionBaseline(sampler))
    baseline.begin(PartitionID(0), at: .at(100_000))
    let rate = BaselineRate(threshold: .always, key: .other)
    for _ in 0..<5 { baseline.count(TraceOutcome(.kept, spans: 1, bytes: 9), at: rate) }
    let credit = try #require(baseline.traffic?.account.credit)
    #expect(credit < -4_000_000_000)
    for time in [50_000, 20_000] as [Int64] {
      baseline.restart()
      baseline.begin(PartitionID(0), at: .at(time))
      #expect(baseline.traffic?.account.credit == credit)
    }
  }

  @Test func anotherUnitIsAnotherAccount() {
    var counts = TrafficCounts(
      partition: PartitionID(0), configuration: configuration(0.01),
      rates: BaselineRates(starting: configuration(0.01)), clock: .at(0), hashSeed: 1)
    counts.count(TraceOutcome(.kept, spans: 500, bytes: 9), keys: [], setBy: .other)
    let credit = counts.account.credit
    var next = configuration(0.02)
    counts.adopt(next)
    #expect(counts.account.credit == credit && credit < 0)
    next.budget = .shareOfBytes(0.02)
    counts.adopt(next)
    #expect(counts.account.credit == 0)
  }
}
