// Kept traces stand for all, whatever keys rates belong to, and although rates follow what was kept before.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct UnbiasedTests {
  private struct Sum {
    var truth = 0.0
    var estimate = 0.0
    var variance = 0.0
  }

  /// Each service's estimate over many seeds is within its 99 % interval, for 99 % of services.
  ///
  /// A kept trace of weight *w* contributes w(w - 1) to an unbiased estimate of the variance: the sum of
  /// independent draws, each of a probability that was fixed before it.
  @Test(arguments: [
    BaselineKey.service, .parts([.traceShape]), .parts([.rootOperation]), .parts([.spanName]),
    .parts([.attribute("service.name"), .spanName]), .parts([.traceShape, .attribute("service.name")]),
    .parts([.attribute("service.name")]),
  ])
  func scaledCountsAreRight(_ key: BaselineKey) {
    var far = 0
    var services = 0
    for (group, isWithin) in [(0, true), (1, true), (2, false)] {
      var sums: [String: Sum] = [:]
      for seed in UInt64(1)...5 {
        var baseline = shapeBaseline(0.2, key: key, first: isWithin && group == 0 ? 0.5 : 0)
        baseline.isWithinBudget = isWithin
        let fleet = ShapeFleet(baseline, seed: seed + UInt64(group) * 100)
        fleet.run(seconds: 100, tracesPerSecond: 8, errors: 0.02) { random, _ in draw(usualKinds, &random) }
        for (number, decision, _) in fleet.decisions {
          let weight = decision.isKept ? decision.threshold.adjustedCount : 0
          for service in fleet.services[Int(number) - 1] {
            sums[service, default: Sum()].truth += 1
            sums[service, default: Sum()].estimate += weight
            sums[service, default: Sum()].variance += weight * max(0, weight - 1)
          }
        }
      }
      for sum in sums.values {
        services += 1
        if abs(sum.estimate - sum.truth) > 2.576 * sum.variance.squareRoot() { far += 1 }
      }
    }
    // Of 27 services, 0.3 are expected; three would come by chance once in 400 times, and seeds are fixed.
    #expect(services == 27)
    #expect(far <= 2, "\(far) of \(services)")
  }
}
