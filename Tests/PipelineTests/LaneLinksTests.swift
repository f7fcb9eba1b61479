// Links between partitions and lanes: over the topic that all of them read.

import OTLP
import Sampling
import Testing

@testable import Pipeline

@Suite struct LaneLinksTests {
  private func lane(_ link: MemoryLink) -> Lane<MemoryLink, SamplingJob> {
    var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.sampler.links = LinksConfiguration()
    configuration.sampler.windows.recallWindow = .seconds(600)
    configuration.sampler.clockWitnesses = 1
    return Lane(link: link, configuration: configuration, report: { _ in })
  }

  private func decisions(_ broker: MemoryBroker, of trace: UInt64) -> [String] {
    broker.outputs(to: .decisions).filter { $0.keyText == traceID(trace).description }.map(\.text)
  }

  @Test func aVerdictSpreadsToAnotherPartition() throws {
    let broker = MemoryBroker(partitions: 2)
    broker.append(tracesData([TestSpan(trace: 1, id: 1, parent: nil)]), at: at(0), to: 0)
    broker.append(
      tracesData([TestSpan(trace: 2, id: 2, parent: nil, isError: true, link: 1)]), at: at(1), to: 1)
    let lane = lane(MemoryLink(broker, assigned: 2))
    for second in 0..<12 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    let record = try #require(broker.outputs(to: .links).first)
    #expect(record.partition == nil && record.key == nil)
    let entry = try #require(try LinkPage.entries(of: record.value ?? []).first)
    #expect(entry.traceID == traceID(2) && entry.links == [traceID(1)] && entry.hops == 0)
    #expect(decisions(broker, of: 1).contains { $0.contains(#""trigger":"linked""#) })
    #expect(broker.outputs(to: .sampled).contains { $0.keyText == traceID(1).description })
    // Entries are committed with what they say.
    let written = broker.steps.lastIndex(of: .wrote(.links)) ?? .max
    #expect(broker.steps[written...].contains { if case .committed = $0 { true } else { false } })
  }

  /// A lane reads what others have written before it begins.
  @Test func aLaneWaitsForTheTopicToBeRead() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, parent: nil)]), at: at(0))
    let link = MemoryLink(broker)
    link.areLinksRead = false
    let lane = lane(link)
    for second in 0..<3 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    #expect(!broker.steps.contains { if case .resumed = $0 { true } else { false } })
    link.areLinksRead = true
    for second in 3..<5 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    #expect(broker.steps.contains { if case .resumed = $0 { true } else { false } })
  }

  @Test func recordsThatAreNoPagesAreCounted() throws {
    let broker = MemoryBroker()
    broker.outputs.append(
      MemoryBroker.Output(
        topic: .links, partition: nil, key: nil, value: Array("nonsense".utf8), headers: [:], fields: []))
    let lane = lane(MemoryLink(broker))
    for second in 0..<3 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    #expect(lane.snapshot().lane.linkPagesUnreadable == 1)
  }
}
