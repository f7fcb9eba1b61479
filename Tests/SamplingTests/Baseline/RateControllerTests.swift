// The control law, property by property, on traffic without noise.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct RateControllerTests {
  private func configuration(_ budget: BaselineBudget) -> BaselineConfiguration {
    var configuration = BaselineConfiguration()
    configuration.budget = budget
    return configuration
  }

  private let mixed = [
    TraceStream(names: ["web"], traces: 20_000), TraceStream(names: ["web", "cart"], traces: 4000),
    TraceStream(names: ["web", "cart", "pay"], traces: 500, spansPerTrace: 60),
    TraceStream(names: ["cron"], traces: 3),
  ]

  @Test(arguments: [
    BaselineBudget.shareOfTraces(0.01), .shareOfSpans(0.01), .shareOfBytes(0.02), .spansPerSecond(300),
  ])
  func theBudgetIsMet(_ budget: BaselineBudget) {
    var world = BaselineWorld(configuration(budget), partitions: 2)
    world.pass(mixed, times: 12)
    let expected: (traces: Double?, spans: Double?) =
      switch budget {
      case .shareOfTraces(let share): (share * 2 * 24_503, nil)
      case .shareOfSpans(let share), .shareOfBytes(let share): (nil, share * 2 * (240_000 + 30_000 + 30))
      case .spansPerSecond(let rate): (nil, rate * 10)
      }
    var (traces, kept) = (0.0, 0.0)
    for _ in 0..<10 {
      world.pass(mixed)
      traces += Double(world.kept.traces)
      kept += Double(world.kept.spans)
    }
    if let expected = expected.traces { #expect(abs(traces / 10 / expected - 1) < 0.05) }
    if let expected = expected.spans { #expect(abs(kept / 10 / expected - 1) < 0.05) }
    #expect(world.rate("cron") == 1)
    #expect(world.rate("pay") > world.rate("cart") && world.rate("cart") > world.rate("web"))
  }

  /// Two keys that always come together, and a key that is in everything: the rate is steady, whichever sets
  /// it.
  @Test func attributionDoesNotSwing() {
    var world = BaselineWorld(configuration(.shareOfTraces(0.01)))
    let twins = [
      TraceStream(names: ["a", "b"], traces: 10_000), TraceStream(names: ["b", "a", "c"], traces: 2000),
    ]
    world.pass(twins, times: 12)
    for _ in 0..<20 {
      world.pass(twins)
      #expect((100...132).contains(world.kept.traces))
    }
  }

  @Test func ratesFallAtOnceAndRiseSlowly() {
    var world = BaselineWorld(configuration(.spansPerSecond(500)))
    let (calm, busy) = (
      [TraceStream(names: ["a"], traces: 10_000), TraceStream(names: ["b"], traces: 10_000)],
      [TraceStream(names: ["a"], traces: 40_000), TraceStream(names: ["b"], traces: 10_000)]
    )
    world.pass(calm, times: 12)
    let before = world.rate("a")
    world.pass(busy)
    #expect(world.rate("a") < before * 0.3)
    world.pass(busy, times: 11)
    let low = world.rate("a")
    #expect((0.2...0.3).contains(low / before))
    world.pass(calm)
    #expect(world.rate("a") < low * 1.6)
    world.pass(calm, times: 11)
    #expect((0.9...1.1).contains(world.rate("a") / before))
  }

  @Test func smallDeviationsChangeNothing() {
    var world = BaselineWorld(configuration(.shareOfTraces(0.01)))
    func traffic(_ web: Int) -> [TraceStream] {
      [TraceStream(names: ["web"], traces: web), TraceStream(names: ["cart"], traces: 5050)]
    }
    world.pass(traffic(20_000), times: 12)
    var seen: Set<Double> = []
    for step in 0..<20 {
      world.pass(traffic(20_000 + 150 * (step % 3 - 1)))
      seen.insert(world.rate("cart"))
    }
    // At most two neighbours on the grid.
    #expect(seen.count <= 2)
  }

  @Test func whatIsForcedComesFirst() {
    var configuration = configuration(.shareOfTraces(0.02))
    let traffic = [
      TraceStream(names: ["a"], traces: 10_000, forced: 150), TraceStream(names: ["b"], traces: 10_000),
    ]
    var world = BaselineWorld(configuration)
    world.pass(traffic, times: 20)
    #expect((370...410).contains(world.kept.traces))
    configuration.includesForced = false
    world = BaselineWorld(configuration)
    world.pass(traffic, times: 20)
    #expect((510...570).contains(world.kept.traces))
  }

  @Test func theFloorHoldsWhenErrorsTakeAll() {
    var world = BaselineWorld(configuration(.shareOfTraces(0.01)))
    let traffic = [
      TraceStream(names: ["a"], traces: 60_000, forced: 30_000), TraceStream(names: ["b"], traces: 6000),
    ]
    world.pass(traffic, times: 12)
    // One trace a minute of 6 intervals.
    #expect((0.99...1.1).contains(world.rate("b") * 6000 * 6))
    #expect((0.99...1.1).contains(world.rate("a") * 30_000 * 6))
  }

  @Test func floorsNeverCostMoreThanTheBudget() {
    var configuration = configuration(.spansPerSecond(10))
    configuration.floor = 60
    var world = BaselineWorld(configuration)
    let traffic = (0..<50).map { TraceStream(names: ["s\($0)"], traces: 1000) }
    world.pass(traffic, times: 12)
    #expect((world.rates.plan?.expected ?? .infinity) <= 100 * RateGrid.step)
  }

  @Test func noRateIsAboveTheCeiling() {
    var configuration = configuration(.shareOfTraces(0.5))
    configuration.ceiling = 0.25
    var world = BaselineWorld(configuration)
    world.pass(mixed, times: 8)
    #expect(world.rates.entries.allSatisfy { $0.threshold.probability <= 0.25 })
    #expect(world.rate("pay") == 0.25)
  }

  @Test func aRisenErrorRateBoosts() {
    let calm = [
      TraceStream(names: ["a"], traces: 10_000, forced: 10),
      TraceStream(names: ["b"], traces: 10_000, forced: 10),
      TraceStream(names: ["c"], traces: 10_000, forced: 10),
    ]
    var failing = calm
    failing[0].forced = 100
    var world = BaselineWorld(configuration(.shareOfTraces(0.05)))
    world.pass(calm, times: 12)
    #expect(!world.isBoosted("a"))
    world.pass(failing)
    #expect(world.isBoosted("a") && !world.isBoosted("b"))
    #expect((3.5...4.5).contains(world.rate("a") / world.rate("b")))
    // Lasting changes become the norm.
    world.pass(failing, times: 12)
    #expect(!world.isBoosted("a"))
  }

  @Test func headSamplingIsAccountedFor() {
    var world = BaselineWorld(configuration(.shareOfTraces(0.1)))
    let incoming = SamplingThreshold(probability: 0.0625)
    world.pass([TraceStream(names: ["a"], traces: 10_000, incoming: incoming)], times: 12)
    #expect((930...1070).contains(world.kept.traces))
    #expect(world.rate("a") < 0.01)
  }

  @Test func aNewNameWithAllTheTrafficDoesNotBreakTheBudget() {
    var world = BaselineWorld(configuration(.shareOfTraces(0.01)), partitions: 4)
    world.pass(mixed, times: 12)
    world.pass(mixed + [TraceStream(names: ["fresh"], traces: 25_000)])
    // Its own share of the budget, 250, and the first traces of each partition.
    #expect(world.kept.traces < UInt64(4 * 2 * 250 * 1.2))
    #expect(world.rates.threshold(of: Array("fresh".utf8)) != nil)
  }

  @Test func withoutNumbersTheBudgetIsTheRate() {
    let configuration = configuration(.shareOfSpans(0.0625))
    let fleet = FleetTraffic(configuration: configuration)
    let rates = RateController(configuration: configuration).rates(for: fleet)
    #expect(rates == BaselineRates(starting: configuration))
    #expect(rates.other.probability == 0.0625 && rates.plan == nil)
  }
}
