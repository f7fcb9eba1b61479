// A lane with log-backed windows: kept traces are read from the log a second time.

import OTLP
import Sampling
import Testing

@testable import Pipeline

@Suite struct LaneWindowTests {
  private let first = PartitionID(0)

  private func lane(
    _ link: MemoryLink, _ buffer: WindowBuffer = .log
  ) -> Lane<MemoryLink, SamplingJob> {
    var sampler = SamplerConfiguration()
    sampler.dropped = .compact
    sampler.windows.buffer = buffer
    return Lane(link: link, configuration: SamplingJob.Configuration(sampler: sampler, topic: "spans")) { _ in
    }
  }

  private func step(_ lane: Lane<MemoryLink, SamplingJob>, _ seconds: Double...) throws {
    for second in seconds { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
  }

  /// Trace 1 has an error, trace 2 none.
  private func broker() -> MemoryBroker {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, isError: true)]), at: at(0))
    broker.append(tracesData([TestSpan(trace: 2, id: 1)]), at: at(0))
    broker.append(tracesData([TestSpan(trace: 1, id: 2, parent: 1)]), at: at(0))
    return broker
  }

  private func verdicts(_ broker: MemoryBroker) throws -> [RestoredVerdict] {
    try broker.outputs(to: .decisions).map { output in
      try (output.value ?? []).withRawBytes { (bytes) throws(MalformedInput) in
        try RestoredVerdict(record: bytes)
      }
    }
  }

  @Test func keptTracesAreHandedOutWithTheFollowersPosition() throws {
    let broker = broker()
    let lane = lane(MemoryLink(broker))
    try step(lane, 0, 1, 2)
    #expect(try broker.decisions().map(\.final) == [false] && broker.sampledSpans().isEmpty)
    #expect(lane.snapshot().bufferedBytes == 0)
    try step(lane, 9)
    #expect(try broker.decisions().count == 3)
    #expect(lane.snapshot().handOutsPending == 1)
    try step(lane, 9.1, 9.2, 9.3, 9.4, 12)
    #expect(try broker.sampledSpans() == [traceID(1): [1, 2]])
    #expect(broker.points[first]?.committedOffset == Offset(3))
    #expect(broker.points[first]?.follower == FollowerPoint(position: Offset(3)))
    let snapshot = lane.snapshot()
    #expect(snapshot.handOutsPending == 0 && snapshot.followerLag == 0)
    #expect(snapshot.counters.recordsFollowed == 3 && snapshot.counters.spansHandedOut == 2)
  }

  /// What is decided and not handed out is found by the next owner, whatever its own buffer.
  @Test(arguments: WindowBuffer.allCases)
  func theNextOwnerHandsOutTheRest(_ buffer: WindowBuffer) throws {
    let broker = broker()
    let link = MemoryLink(broker)
    let lane = lane(link)
    link.againErrors = [BrokerError(.retry, "no answer")]
    try step(lane, 0, 1, 2, 9, 9.1, 11)
    let point = try #require(broker.points[first])
    #expect(point.safeOffset == Offset(3) && point.committedOffset == Offset(0))
    #expect(point.follower?.oldestVerdict != nil && broker.outputs(to: .sampled).isEmpty)

    let next = MemoryLink(broker)
    next.tails = [(try verdicts(broker), .read(isWhole: true))]
    let owner = self.lane(next, buffer)
    try step(owner, 20, 20.1, 20.2, 20.3, 20.4, 20.5, 25, 26, 27, 30)
    #expect(broker.steps.contains(.resumed([first: 3])))
    #expect(try broker.sampledSpans() == [traceID(1): [1, 2]])
    #expect(broker.points[first]?.committedOffset == Offset(3))
    #expect((broker.points[first]?.follower == nil) == (buffer == .memory))
  }

  @Test func whatHasLeftTheLogIsCounted() throws {
    let broker = broker()
    let link = MemoryLink(broker)
    let lane = lane(link)
    link.logStart = 1
    try step(lane, 0, 1, 2, 9, 9.1, 9.2, 9.3, 9.4)
    #expect(try broker.sampledSpans() == [traceID(1): [2]])
    #expect(lane.snapshot().counters.handOutsLost == 1)
  }
}
