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
    for group in Group.allCases {
      for (service, sum) in sums(key, group) {
        services += 1
        let isFar = abs(sum.estimate - sum.truth) > 2.576 * sum.variance.squareRoot()
        if isFar { far += 1 }
        if group == .ownShapes, service == "own" {
          #expect(!isFar, "\(sum.estimate) of \(sum.truth) traces with shapes of their own")
        }
      }
    }
    // Of 38 services, 0.4 are expected; three would come by chance once in 150 times, and seeds are fixed.
    #expect(services == 38)
    #expect(far <= 2, "\(far) of \(services)")
  }

  private enum Group: UInt64, CaseIterable {
    case firsts, noFirsts, hardFloor, ownShapes
  }

  private func sums(_ key: BaselineKey, _ group: Group) -> [String: Sum] {
    var sums: [String: Sum] = [:]
    // With shapes of their own few others are kept, with heavy weights: their sum is skewed unless it is
    // long.
    for seed in UInt64(1)...(group == .ownShapes ? 60 : 5) {
      let first = group == .firsts || group == .ownShapes ? 0.5 : 0
      var baseline = shapeBaseline(0.2, key: key, first: first)
      baseline.isWithinBudget = group != .hardFloor
      let fleet = ShapeFleet(baseline, seed: seed + group.rawValue * 100)
      fleet.run(seconds: 100, tracesPerSecond: 8, errors: 0.02) { random, number in
        guard group == .ownShapes, random.chance(0.5) else { return draw(usualKinds, &random) }
        return TraceKind(service: "own", operation: "GET /own/\(number)", calls: ["stock"])
      }
      for (number, decision, _) in fleet.decisions {
        let weight = decision.isKept ? decision.threshold.adjustedCount : 0
        for service in fleet.services[Int(number) - 1] {
          sums[service, default: Sum()].truth += 1
          sums[service, default: Sum()].estimate += weight
          sums[service, default: Sum()].variance += weight * max(0, weight - 1)
        }
      }
    }
    return sums
  }
}
