// The first trace of a shape is kept for its own sake, within its share of the budget.

import Foundation
import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct FirstOfShapeTests {
  private func kind(_ number: Int) -> TraceKind {
    TraceKind(service: "shop", operation: "GET /\(number)", calls: ["stock"])
  }

  @Test func theFirstIsKeptAndStandsForItself() throws {
    let fleet = ShapeFleet(shapeBaseline(0.000_001))
    for number in [1, 1, 2, 1, 2] { fleet.send(kind(number)) }
    let kept = fleet.decisions.filter { $0.decision.isKept }
    #expect(kept.map(\.number) == [1, 3])
    #expect(kept.allSatisfy { $0.reason == "first_of_shape" && $0.decision.threshold == .always })
    #expect(fleet.shapes.count == 2 && !fleet.shapes.contains(0))
    #expect(fleet.samplers[0].sampler.counters.keptByReason["first_of_shape"] == 2)
    #expect(fleet.samplers[0].sampler.counters.shapesNew == 2)
  }

  @Test func whatOthersKeepIsNoFirst() {
    let fleet = ShapeFleet(shapeBaseline(0.000_001))
    fleet.send(kind(1), isFailed: true)
    fleet.send(kind(1))
    #expect(fleet.decisions.map(\.decision.isKept) == [true, false])
    #expect(fleet.decisions[0].reason == "errors")
  }

  @Test func otherPartitionsLearnOfIt() {
    let fleet = ShapeFleet(shapeBaseline(0.000_001), partitions: 2)
    fleet.send(kind(1))
    // Two intervals, so that the counts are out.
    fleet.run(seconds: 30, tracesPerSecond: 0.001) { _, _ in self.kind(1) }
    fleet.send(kind(1))
    fleet.send(kind(1))
    #expect(fleet.decisions.map(\.decision.isKept) == [true, false, false])
  }

  @Test func afterASilenceItIsNewAgain() {
    var baseline = shapeBaseline(0.000_001)
    baseline.shapeSilence = .seconds(3600)
    let fleet = ShapeFleet(baseline)
    fleet.send(kind(1))
    fleet.run(seconds: 1500, tracesPerSecond: 0.0001) { _, _ in self.kind(1) }
    fleet.send(kind(1))
    #expect(fleet.decisions.last?.decision.isKept == false)
    fleet.run(seconds: 7300, tracesPerSecond: 0.000_01) { _, _ in self.kind(2) }
    fleet.send(kind(1))
    #expect(fleet.decisions.last?.decision.isKept == true)
    #expect(fleet.decisions.last?.reason == "first_of_shape")
  }

  /// Although all partitions tell each other what they have kept, in every interval.
  @Test func afterASilenceItIsNewAgainInAFleetThatTells() {
    var baseline = shapeBaseline(0.000_001)
    baseline.shapeSilence = .seconds(3600)
    let fleet = ShapeFleet(baseline, partitions: 2)
    fleet.send(kind(1))
    for _ in 0..<500 { fleet.run(seconds: 20, tracesPerSecond: 0.000_000_1) { _, _ in self.kind(1) } }
    fleet.send(kind(1))
    #expect(fleet.decisions.map(\.reason) == ["first_of_shape", "first_of_shape"])
  }

  /// Firsts that are much larger than others pay for what they are, and so does who comes after them.
  @Test func giantsPayForThemselves() {
    var baseline = shapeBaseline(0.01, first: 0.5)
    baseline.budget = .shareOfSpans(0.01)
    let fleet = ShapeFleet(baseline)
    for number in 0..<360 {
      fleet.run(seconds: 20, tracesPerSecond: 2) { random, _ in draw(usualKinds, &random) }
      var giant = kind(number)
      giant.repeats = 1000
      fleet.send(giant)
    }
    let all = Double(fleet.spans)
    let mean = all / Double(fleet.decisions.count)
    let firsts = Double(fleet.spansKept(for: "first_of_shape"))
    #expect(firsts < 0.005 * all + 72 * mean, "\(firsts) of \(all), \(mean) each")
    #expect(firsts > 0.0025 * all, "they are kept all the same")
  }

  @Test func theFirstOfAllIsKeptWhateverItsSize() {
    var baseline = shapeBaseline(0.000_001)
    baseline.budget = .shareOfSpans(0.000_001)
    let fleet = ShapeFleet(baseline)
    var large = kind(1)
    large.repeats = 19
    fleet.send(large)
    fleet.send(kind(2))
    #expect(fleet.decisions.first?.reason == "first_of_shape")
  }

  @Test func noRateIsAboveTheCeiling() {
    var baseline = shapeBaseline(0.2, first: 0)
    baseline.ceiling = 0.05
    let fleet = ShapeFleet(baseline)
    fleet.run(seconds: 3600, tracesPerSecond: 2) { random, _ in draw(usualKinds, &random) }
    let rates = fleet.decisions.filter { $0.reason == "baseline" }.map(\.decision.threshold.probability)
    #expect(rates.count > 200 && rates.allSatisfy { $0 <= 0.0501 }, "\(rates.max() ?? 0)")
  }

  /// Every fiftieth trace has a hundred times the spans of others; it may have a key of its own or not.
  @Test(arguments: [BaselineKey.parts([.rootOperation]), .parts([.traceShape])])
  func theBudgetOfSpansHoldsWithGiants(_ key: BaselineKey) {
    var (all, kept) = (0.0, 0.0)
    for seed in UInt64(1)...2 {
      var baseline = shapeBaseline(0.02, key: key, first: 0)
      baseline.budget = .shareOfSpans(0.02)
      let fleet = ShapeFleet(baseline, seed: seed)
      let giant = TraceKind(service: "shop", operation: "GET /", calls: ["stock"], repeats: 99)
      let other = TraceKind(service: "shop", operation: "GET /")
      fleet.run(seconds: 6 * 3600, tracesPerSecond: 2) { _, number in number % 50 == 49 ? giant : other }
      all += Double(fleet.spans)
      kept += Double(fleet.spansKept())
    }
    #expect(abs(kept / all / 0.02 - 1) < 0.15, "\(kept / all)")
  }

  /// However many shapes a sender invents, they take their share and no more, and the rest is not silenced.
  @Test func aFloodOfShapesIsWithinItsShare() {
    let fleet = ShapeFleet(shapeBaseline(0.05, first: 0.5))
    fleet.run(seconds: 3600, tracesPerSecond: 2) { random, number in
      random.chance(0.5) ? self.kind(1000 + number) : draw(usualKinds, &random)
    }
    let all = Double(fleet.decisions.count)
    #expect(abs(fleet.shareKept / 0.05 - 1) < 0.1, "\(fleet.shareKept)")
    #expect(Double(fleet.kept(for: "first_of_shape")) < 0.5 * 0.05 * all + 5)
    #expect(Double(fleet.kept(for: "baseline")) > 0.4 * 0.05 * all)
    #expect(fleet.samplers[0].sampler.counters.firstsRefused > 1000)
    let usual = Set(
      fleet.decisions.filter { fleet.services[Int($0.number) - 1] != ["shop", "stock"] }
        .map(\.decision.shape))
    #expect(usual.count == 12)
    #expect(usual.subtracting(fleet.shapesKept).count <= 3, "variety of others costs rare shapes their luck")
  }

  @Test func variantsComeAfterShapes() {
    let fleet = ShapeFleet(shapeBaseline(0.02))
    // Every trace has another number of repeats.
    fleet.run(seconds: 1200, tracesPerSecond: 5) { random, number in
      if number % 1000 == 999 { return self.kind(number) }
      return TraceKind(service: "loop", operation: "GET /", calls: ["stock"], repeats: 1 + number % 300)
    }
    #expect(fleet.shapes.subtracting(fleet.shapesKept).isEmpty)
    #expect(abs(fleet.shareKept / 0.02 - 1) < 0.1, "\(fleet.shareKept)")
  }

  @Test(arguments: [WindowBuffer.memory, .log]) func shapesDoNotDependOnWhereSpansAre(_ buffer: WindowBuffer)
  {
    let fleet = ShapeFleet(shapeBaseline(0.1)) { $0.windows.buffer = buffer }
    let memory = ShapeFleet(shapeBaseline(0.1))
    for kind in usualKinds {
      fleet.send(kind)
      memory.send(kind)
    }
    #expect(fleet.shapes == memory.shapes && fleet.shapes.count == 12)
  }

  @Test func giantsHaveAShape() throws {
    let fleet = ShapeFleet(shapeBaseline(0.1)) { $0.limits.spansPerTrace = 20 }
    var kind = usualKinds[3]
    fleet.send(kind)
    kind.repeats = 100
    fleet.send(kind)
    #expect(fleet.decisions.count == 2)
    #expect(fleet.decisions[0].decision.shape == fleet.decisions[1].decision.shape, "a skeleton has its own")
    kind.repeats = 2000
    fleet.send(kind)
    kind.repeats = 3000
    fleet.send(kind)
    let shapes = fleet.decisions.map(\.decision.shape)
    #expect(shapes[2] == shapes[3] && shapes[2] != shapes[0] && shapes[2] != 0)
    #expect(fleet.samplers[0].sampler.counters.shapesOfLarge == 2)
  }

  /// The budget holds from the first minutes on, within ten percent or a trace.
  @Test(arguments: [
    BaselineKey.service, .parts([.traceShape]), .parts([.rootOperation]), .parts([.spanName]),
    .parts([.attribute("service.name"), .spanName]), .parts([.traceShape, .attribute("service.name")]),
  ])
  func theBudgetHoldsInThinTraffic(_ key: BaselineKey) {
    for (share, rate, periods) in [(0.01, 1.0, 3), (0.05, 1.0, 3), (0.1, 1.0, 2), (0.02, 10.0, 1)] {
      for seed in UInt64(1)...1 {
        let first = key == .parts([.traceShape]) ? 0.96 : 0
        let fleet = ShapeFleet(shapeBaseline(share, key: key, first: first), seed: seed)
        var before = 0
        var misses = 0
        for _ in 0..<periods {
          fleet.run(seconds: 600, tracesPerSecond: rate) { random, _ in draw(usualKinds, &random) }
          let part = fleet.decisions[before...]
          before = fleet.decisions.count
          let kept = Double(part.count { $0.decision.isKept })
          let budget = share * Double(part.count)
          // Whole traces: the account is within one or two of them, and firsts may have come in advance.
          let tolerance = first > 0 ? 6.0 : 2.0
          if abs(kept - budget) > 0.1 * budget + tolerance { misses += 1 }
        }
        #expect(misses == 0, "\(share) at \(rate)/s, seed \(seed): \(misses) of \(periods)")
        let tolerance = share * rate < 0.05 ? 0.15 : 0.1
        #expect(abs(fleet.shareKept / share - 1) < tolerance, "\(fleet.shareKept)")
      }
    }
  }

  /// Each hour of a day, with traffic that rises and falls; for eight hours half of it are shapes of its own.
  @Test func aDayWithAFloodHoldsItsBudget() {
    let (share, first, flood) = (0.08, 0.96, 8..<16)
    let fleet = ShapeFleet(shapeBaseline(share, first: first))
    var (invented, chosen) = (1000, 0)
    for hour in 0..<24 {
      let before = fleet.decisions.count
      fleet.run(seconds: 3600, tracesPerSecond: 0.3 + 0.25 * sin(Double(hour) / 12 * .pi)) { random, _ in
        guard flood.contains(hour), random.chance(0.5) else { return draw(usualKinds, &random) }
        invented += 1
        return self.kind(invented)
      }
      let part = fleet.decisions[before...]
      let budget = share * Double(part.count)
      let kept = Double(part.count { $0.decision.isKept })
      // A flood may begin with what was saved up, and the day with an advance.
      let saved = hour == 0 ? 4.0 : hour == flood.lowerBound ? 8 : 2
      #expect(abs(kept - budget) < 0.1 * budget + saved, "hour \(hour): \(kept) of \(budget)")
      let firsts = Double(part.count { $0.reason == "first_of_shape" })
      #expect(firsts < first * budget + 9, "hour \(hour): \(firsts) firsts of \(budget)")
      if flood.contains(hour) { chosen += part.count { $0.reason == "baseline" } }
    }
    #expect(abs(fleet.shareKept / share - 1) < 0.02, "\(fleet.shareKept)")
    #expect(chosen > 0, "the rest is not silenced")
  }

  @Test func errorsCountAgainstTheBudget() {
    let fleet = ShapeFleet(shapeBaseline(0.05))
    fleet.run(seconds: 3600, tracesPerSecond: 2, errors: 0.02) { random, _ in draw(usualKinds, &random) }
    #expect(abs(fleet.shareKept / 0.05 - 1) < 0.1, "\(fleet.shareKept)")
    #expect(fleet.kept(for: "baseline") > 0)
  }
}
