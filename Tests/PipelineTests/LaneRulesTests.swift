// Rules on a lane: the first match sets the rate, and the weights of what is kept add up to what was there.

import Foundation
import OTLP
import Sampling
import Testing
import Topology

@testable import Pipeline

@Suite struct LaneRulesTests {
  private struct Kept: Decodable {
    var verdict: String
    var final: Bool
    var reasons: [String]?
    var adjusted_count: Double?
  }

  /// Final records of kept traces by the first reason, of `count` traces for each of `services`.
  private func kept(_ rules: String, services: [String], count: Int) throws -> [String: [Kept]] {
    let yaml = "kind: tail-sampling\npolicies: []\nrules:\n" + rules
    let topology = try Topology.parse(yaml, fileName: "t.yaml", environment: [:])
    guard case .sample(let configuration) = LanePlan(topology).work else { return [:] }
    let broker = MemoryBroker()
    var random: UInt64 = 7
    for _ in 0..<count {
      for service in services {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        broker.append(
          tracesData([TestSpan(trace: random, id: 1)], service: service), key: traceKey(random), at: at(0))
      }
    }
    let lane = Lane(link: MemoryLink(broker), configuration: configuration) { _ in }
    for second in stride(from: 0.0, through: 60, by: 5) {
      try lane.step(at: moment(at(second)), timeout: .seconds(0))
    }
    let records = try broker.outputs(to: .decisions).map { output in
      try JSONDecoder().decode(Kept.self, from: Data(output.value ?? []))
    }
    return Dictionary(grouping: records.filter { $0.final && $0.verdict == "keep" }) {
      $0.reasons?.first ?? ""
    }
  }

  @Test func theFirstMatchSetsTheRate() throws {
    let kept = try kept(
      """
        - {name: health, services: health, then: drop}
        - {name: bank, services: [bank, vault], then: keep}
        - {name: shop, services: shop, then: {percentage: 25}}
        - {name: rest, then: {percentage: 10}}
      """, services: ["health", "bank", "shop", "other"], count: 1000)
    #expect(Set(kept.keys) == ["bank", "shop", "rest"])
    #expect(kept["bank"]?.count == 1000 && kept["bank"]?.allSatisfy { $0.adjusted_count == 1 } == true)
    // Each trace kept by a share stands for as many as the share says, whatever the rules before it.
    for (rule, weight) in [("shop", 4.0), ("rest", 10.0)] {
      let weights = try #require(kept[rule]).map { $0.adjusted_count ?? 0 }
      #expect(weights.allSatisfy { abs($0 - weight) < 0.001 })
      // Four standard deviations of the estimate.
      let deviation = (1000 * (weight - 1)).squareRoot()
      #expect(abs(weights.reduce(0, +) - 1000) < 4 * deviation)
    }
  }

  @Test func aRateIsSpentOnlyByTracesOfItsRule() throws {
    let kept = try kept(
      """
        - {name: shop, services: shop, then: drop}
        - {name: rest, then: {spans_per_second: 10, burst_capacity: 30}}
      """, services: ["shop", "other"], count: 50)
    #expect(kept.mapValues(\.count) == ["rest": 30])
  }
}
