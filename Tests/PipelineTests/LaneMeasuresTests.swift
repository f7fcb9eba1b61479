// What a lane measures: verdicts, latencies, positions, and its group's events.

import Sampling
import Testing

@testable import Pipeline

@Suite struct LaneMeasuresTests {
  @Test func verdictsAndLatencies() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, isError: true)]), key: traceKey(1), at: at(0))
    broker.append(tracesData([TestSpan(trace: 2, id: 1)]), key: traceKey(2), at: at(1))
    // A parent is missing, so it waits to the end of its window; and it has no root.
    broker.append(tracesData([TestSpan(trace: 3, id: 2, parent: 1)]), key: traceKey(3), at: at(1))
    var time = at(0)
    let configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    let lane = Lane(
      link: MemoryLink(broker), configuration: configuration,
      now: {
        // A commit reads the clock twice, a tenth of a second apart.
        time = time + .milliseconds(100)
        return moment(time)
      }, report: { _ in })
    for second in 0..<40 {
      time = at(Double(second))
      try lane.step(at: moment(time), timeout: .seconds(0))
    }
    let measures = lane.measured()
    #expect(measures.hasJoined)
    #expect(measures.rebalances == ["assigned": 1])
    #expect(measures.verdicts.keptEarly == [.eager: 1])
    #expect(measures.verdicts.kept == [.root: 1])
    #expect(measures.verdicts.dropped == [.root: 1, .wait: 1])
    #expect(measures.services["shop"]?.kept == 1)
    #expect(measures.services["shop"]?.dropped == 1)
    #expect(measures.services[Sampler.rootlessName]?.dropped == 1)
    #expect(measures.decisionLatencies.count == 3)
    #expect(measures.eagerLatencies.count == 1)
    #expect(measures.commitDurations.count == lane.snapshot().lane.commits)
    #expect(measures.commitDurations.sum == .milliseconds(100) * Int(measures.commitDurations.count))
    let position = try #require(measures.positions.first)
    #expect(position.next == Offset(3) && position.end == Offset(3))
    #expect(position.lagRecords == 0)
  }

  /// A partition's counts remain after it is released.
  @Test func releasedPartitionsStayCounted() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1)]), key: traceKey(1), at: at(0))
    let link = MemoryLink(broker)
    let configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    let lane = Lane(link: link, configuration: configuration) { _ in }
    for second in 0..<10 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    link.events = [.revoked([PartitionID(0)])]
    try lane.step(at: moment(at(11)), timeout: .seconds(0))
    #expect(lane.measured().services["shop"]?.dropped == 1)
    #expect(lane.measured().positions.isEmpty)
    #expect(lane.measured().rebalances == ["assigned": 1, "revoked": 1])
    link.events = [.lost([])]
    try lane.step(at: moment(at(12)), timeout: .seconds(0))
    #expect(!lane.measured().hasJoined)
  }
}
