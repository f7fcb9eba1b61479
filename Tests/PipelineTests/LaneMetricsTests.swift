// Metrics of all spans, written by lanes: with the commit that they belong to.

import OTLP
import Sampling
import Simulation
import Testing

@testable import Pipeline

@Suite struct LaneMetricsTests {
  private func lane(
    _ link: MemoryLink, isServed: Bool = false, report: @escaping (LaneEvent) -> Void = { _ in }
  ) -> Lane<MemoryLink, SamplingJob> {
    var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.sampler.metrics = SpanMetricsConfiguration()
    configuration.sampler.metrics?.interval = .seconds(10)
    configuration.sampler.metrics?.isServed = isServed
    configuration.sampler.clockWitnesses = 1
    return Lane(link: link, configuration: configuration, report: report)
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

  /// What a worker serves is what it has committed, and the buckets are those of the durations themselves.
  @Test func committedPointsAreTotalled() throws {
    let broker = MemoryBroker()
    let durations: [UInt64] = [0, 1, 249_999, 250_000, 250_001, 1_000_000, 3_000_000, 70_000_000_000]
    for (number, duration) in durations.enumerated() {
      var span = TestSpan(trace: UInt64(number + 1), id: 1, parent: nil)
      span.duration = duration
      broker.append(tracesData([span]), at: at(Double(number)))
    }
    broker.append(tracesData([TestSpan(trace: 99, id: 1, parent: nil)]), at: at(21))
    let traffic = TrafficTotals(SpanMetricsConfiguration())
    var records = 0
    let lane = lane(
      MemoryLink(broker), isServed: true,
      report: {
        guard case .measured(let measured) = $0 else { return }
        records += measured.count
        for record in measured { #expect(throws: Never.self) { try traffic.add(record) } }
      })
    for second in 0..<3 { try lane.step(at: moment(at(100 + Double(second))), timeout: .seconds(0)) }
    #expect(records == broker.outputs(to: .metrics).count && records > 0)
    #expect(traffic.ordered.map(\.series.calls).reduce(0, +) == 8)
    let buckets = traffic.ordered.reduce(into: Array(repeating: 0 as UInt64, count: 20)) { total, one in
      for place in total.indices { total[place] += one.series.buckets[place] }
    }
    let bounds = traffic.bounds + [.infinity]
    let wanted = bounds.indices.map { place in
      durations.count { each in
        let value = Double(each) / 1e6
        return value <= bounds[place] && (place == 0 || value > bounds[place - 1])
      }
    }
    #expect(buckets.map(Int.init) == wanted)
  }

  /// A flood of names takes no more memory than the limit, and its spans are still counted.
  @Test func totalsAreBounded() throws {
    let traffic = TrafficTotals(SpanMetricsConfiguration())
    var configuration = SamplerConfiguration()
    configuration.metrics = SpanMetricsConfiguration()
    var sampler = Sampler(partition: PartitionID(0), configuration: configuration)
    var effects = Effects()
    for number in 0..<1500 {
      var span = TestSpan(trace: UInt64(number + 1), id: 1, parent: nil)
      span.name = "user \(number)"
      tracesData([span]).withRawBytes { value in
        _ = sampler.ingest(
          offset: Offset(Int64(number)), timestamp: at(Double(number)), key: nil, value: value, into: &effects
        )
      }
    }
    sampler.endMetrics(into: &effects)
    for case .measure(let range, _) in effects.outputs { try traffic.add(Array(effects.bytes[range])) }
    let all = traffic.ordered
    #expect(all.count == TrafficTotals.seriesMax + 1)
    #expect(all.map(\.series.calls).reduce(0, +) == 1500)
    #expect(all.first?.key == TrafficTotals.Key() && all.first?.series.calls == 500)
  }
}
