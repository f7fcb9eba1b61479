// Lanes with rate limits that the fleet shares: demand is published and returns as shares.

import OTLP
import Sampling
import Testing

@testable import Pipeline
@testable import Topology

@Suite struct FleetLimitLaneTests {
  /// Traces of one span: so many a second on each partition.
  private func broker(seconds: Int, _ perSecond: [Int]) -> MemoryBroker {
    let broker = MemoryBroker(partitions: perSecond.count)
    var number: UInt64 = 0
    for second in 0..<seconds {
      for (partition, count) in perSecond.enumerated() {
        for place in 0..<count {
          number += 1
          let value = tracesData([TestSpan(trace: number &* 0x9e37_79b9_7f4a_7c15, id: 1)])
          broker.append(value, at: at(Double(second) + Double(place) / Double(count)), to: partition)
        }
      }
    }
    return broker
  }

  private func configuration(_ scope: RateLimit.Scope = .fleet) -> SamplingJob.Configuration {
    var sampler = SamplerConfiguration()
    sampler.windows.decisionWaitAfterRoot = .seconds(0)
    let limit = RateLimit(perSecond: 12, scope: scope)
    sampler.policies = [Policy(name: "limited", rule: .rateLimiting(limit))]
    var configuration = SamplingJob.Configuration(sampler: sampler, topic: "spans")
    configuration.pace.interval = .seconds(1)
    return configuration
  }

  private func lane(_ broker: MemoryBroker, _ configuration: SamplingJob.Configuration) -> (
    Lane<MemoryLink, SamplingJob>, MemoryLink
  ) {
    let link = MemoryLink(broker, assigned: broker.inputs.count)
    return (Lane(link: link, configuration: configuration) { _ in }, link)
  }

  /// Kept traces from a second on.
  private func kept(_ broker: MemoryBroker, _ perSecond: [Int], from second: Int) throws -> Int {
    try broker.outputs(to: .decisions).count { output in
      let decision = try DecisionRecord(output.value ?? [])
      let partition = Int(output.partition?.value ?? 0)
      return decision.verdict == "keep" && decision.firstOffset >= Int64(second * perSecond[partition])
    }
  }

  @Test func twoLanesKeepWhatTheLimitSays() throws {
    let perSecond = [60, 6, 3, 1]
    let broker = broker(seconds: 0, perSecond)
    let links = [[0, 2], [1, 3]].map { own in
      let link = MemoryLink(broker, assigned: 0)
      link.events = [.assigned(own.map { PartitionID(Int32($0)) })]
      return link
    }
    let lanes = links.map { Lane(link: $0, configuration: configuration()) { _ in } }
    let source = self.broker(seconds: 120, perSecond)
    for second in 0..<123 {
      // Lanes read what is written as time passes.
      for (partition, count) in perSecond.enumerated() where second < 120 {
        for place in 0..<count {
          let input = source.inputs[partition][second * count + place]
          broker.append(
            input.value ?? [], at: at(Double(second) + Double(place) / Double(count)), to: partition)
        }
      }
      for lane in lanes { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    }
    // 70 a second ask for 12.
    let kept = try kept(broker, perSecond, from: 60)
    #expect(abs(kept - 60 * 12) <= 60 * 12 / 10, "\(kept) of \(60 * 12)")
    let shares = try #require(lanes[0].measured().limitShares.first)
    #expect(shares.key.policy == "limited")
    #expect(shares.value > 0.85 && shares.value < 0.95, "\(shares.value)")
    let counts = lanes.flatMap { $0.snapshot().counters.fleetLimits }
    #expect(counts.reduce(0) { $0 + $1.asked } >= 115 * 70)
  }

  @Test func partitionsWaitForTheirNumber() throws {
    let broker = broker(seconds: 1, [5, 5])
    let (lane, link) = lane(broker, configuration())
    link.countErrors = [BrokerError(.retry, "no answer")]
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    try lane.step(at: moment(at(0.5)), timeout: .seconds(0))
    #expect(lane.snapshot().partitions.isEmpty)
    for step in 1...4 { try lane.step(at: moment(at(Double(step))), timeout: .seconds(0)) }
    #expect(lane.snapshot().partitions.count == 2)
    #expect(lane.measured().limitShares.values.map { $0 } == [1])
    let (other, failing) = self.lane(broker, configuration())
    failing.countErrors = [BrokerError(.stop, "denied")]
    #expect(throws: BrokerError.self) {
      for step in 0..<4 { try other.step(at: moment(at(Double(step))), timeout: .seconds(0)) }
    }
  }

  @Test func aChangeOfPoliciesBringsALimit() throws {
    let broker = broker(seconds: 1, [5, 5, 5, 5])
    let link = MemoryLink(broker, assigned: 0)
    link.events = [.assigned([PartitionID(2)])]
    let lane = Lane(link: link, configuration: configuration(.partition)) { _ in }
    for step in 0..<3 { try lane.step(at: moment(at(Double(step))), timeout: .seconds(0)) }
    #expect(lane.measured().limitShares.isEmpty)
    lane.adopt(configuration().sampler)
    // At once, as far as it is known: at least three partitions.
    #expect(lane.measured().limitShares.values.map { ($0 * 300).rounded() } == [100])
    for step in 3..<6 { try lane.step(at: moment(at(Double(step))), timeout: .seconds(0)) }
    #expect(lane.measured().limitShares.values.map { ($0 * 300).rounded() } == [75])
  }
}

@Suite struct FleetLimitTopologyTests {
  private func plan(_ body: String) throws -> LanePlan {
    let topology = try Topology.parse("kind: tail-sampling\n\(body)", fileName: "t.yaml", environment: [:])
    return LanePlan(topology)
  }

  @Test func suchALimitNeedsTheTopicOfCounts() throws {
    let limit = "policies: [{name: p, type: rate_limiting, rate_limiting: {spans_per_second: 5"
    #expect(try plan("\(limit), scope: fleet}}]\n").outputs.stats == "stats")
    #expect(try plan("\(limit)}}]\n").outputs.stats == nil)
    let shadow = "{name: s, type: bytes_limiting, bytes_limiting: {bytes_per_second: 5, scope: fleet}}"
    #expect(try plan("shadow: [\(shadow)]\n").outputs.stats == "stats")
  }
}
