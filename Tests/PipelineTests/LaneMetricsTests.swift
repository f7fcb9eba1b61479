// Metrics of all spans, written by lanes: with the commit that they belong to.

import OTLP
import Sampling
import Simulation
import Testing

@testable import Pipeline

@Suite struct LaneMetricsTests {
  private func lane(_ link: MemoryLink) -> Lane<MemoryLink, SamplingJob> {
    var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.sampler.metrics = SpanMetricsConfiguration()
    configuration.sampler.metrics?.interval = .seconds(10)
    configuration.sampler.clockWitnesses = 1
    return Lane(link: link, configuration: configuration, report: { _ in })
  }

  private func calls(_ broker: MemoryBroker) throws -> UInt64 {
    var counted = CountedSpans()
    for output in broker.outputs(to: .metrics) {
      #expect(output.partition == PartitionID(0) && output.key == nil)
      try (output.value ?? []).withRawBytes { (bytes) throws(MalformedInput) in try counted.read(bytes) }
    }
    return counted.calls.values.reduce(0, +)
  }

  @Test func spansThatAreNotWrittenAreReadAgain() throws {
    let broker = MemoryBroker()
    for second in 0..<25 {
      let span = TestSpan(trace: UInt64(second + 1), id: 1, parent: nil)
      broker.append(
        tracesData([span, TestSpan(trace: span.trace, id: 2, parent: 1)]), at: at(Double(second)))
    }
    let first = lane(MemoryLink(broker))
    for second in 0..<3 { try first.step(at: moment(at(100 + Double(second))), timeout: .seconds(0)) }
    let point = try #require(broker.points[PartitionID(0)])
    let counting = try #require(point.counting)
    #expect(point.committedOffset == counting.next && counting.next < Offset(25))
    #expect(try calls(broker) == 2 * UInt64(counting.next.value), "up to the last interval's end")
    let written = broker.steps.lastIndex(of: .wrote(.metrics)) ?? .max
    #expect(broker.steps[written...].contains { if case .committed = $0 { true } else { false } })
    // Another lane takes over, and the next record ends the interval.
    broker.append(tracesData([TestSpan(trace: 99, id: 1, parent: nil)]), at: at(31))
    let second = lane(MemoryLink(broker))
    for round in 0..<3 { try second.step(at: moment(at(200 + Double(round))), timeout: .seconds(0)) }
    #expect(broker.steps.contains(.resumed([PartitionID(0): counting.next.value])))
    #expect(try calls(broker) == 50)
    // A quiet partition's interval ends with time.
    for round in 0..<3 { try second.step(at: moment(at(230 + Double(round))), timeout: .seconds(0)) }
    #expect(try calls(broker) == 51)
    #expect(broker.points[PartitionID(0)]?.counting?.next == Offset(26))
  }
}
