// A short day under adaptive rates, with noise: the whole loop, from counts to rates and back.

import Simulation
import Testing

@testable import Sampling

@Suite struct BaselineDayTests {
  private func options(seed: UInt64, _ budget: BaselineBudget) -> BaselineDayOptions {
    var options = BaselineDayOptions()
    options.seed = seed
    options.services = 40
    options.tracesPerSecond = 4000
    options.partitions = 2
    options.intervals = 240
    options.configuration.budget = budget
    return options
  }

  @Test(arguments: [
    (UInt64(1), BaselineBudget.spansPerSecond(1500)), (3, .shareOfSpans(0.01)),
  ])
  func aDayKeepsItsPromises(_ seed: UInt64, _ budget: BaselineBudget) {
    let report = BaselineDay.run(options(seed: seed, budget))
    #expect(report.intervals.count == 240)
    #expect(report.deviationMax < 0.1)
    #expect(report.unseen == 0)
    #expect(report.newServiceIntervals == 1)
    #expect(abs(report.estimatedTraces - report.traces) < 2.576 * report.estimateDeviation)
    // Of 40 services, 0.4 are expected to be off; five would come by chance once in 10,000 days.
    #expect(report.servicesFarOff < 5)
  }

  /// The same where the budget comes first: each partition's account moves its rates.
  @Test(arguments: [(UInt64(1), BaselineBudget.spansPerSecond(1500)), (3, .shareOfSpans(0.01))])
  func aDayWithinTheBudget(_ seed: UInt64, _ budget: BaselineBudget) {
    var options = options(seed: seed, budget)
    options.configuration.isWithinBudget = true
    let report = BaselineDay.run(options)
    #expect(report.deviationMax < 0.1, "\(report.deviationMax)")
    #expect(report.unseen == 0)
    #expect(abs(report.estimatedTraces - report.traces) < 2.576 * report.estimateDeviation)
    #expect(report.servicesFarOff < 5)
  }

  /// A thousand services, so that names, records and the water line have realistic sizes.
  @Test func aThousandServicesAreSeen() {
    var options = BaselineDayOptions()
    options.partitions = 1
    options.intervals = 8
    let report = BaselineDay.run(options)
    #expect(report.intervals.last?.servicesActive == 1000)
    #expect(report.intervals.last?.servicesSeen == 1000)
  }

  @Test func theSameSeedIsTheSameDay() {
    var options = options(seed: 5, .spansPerSecond(1500))
    options.intervals = 24
    #expect(BaselineDay.run(options).intervals == BaselineDay.run(options).intervals)
  }
}
