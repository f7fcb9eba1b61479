// What a lane holds stays within its limit, whatever is offered.

import OTLP
import Sampling
import Simulation
import Testing

@testable import Pipeline

/// Traffic that fills memory, each kind another part of it.
enum Flood: CaseIterable {
  /// Spans that compress well, of traces that miss their parents.
  case text
  /// Spans that do not compress.
  case noise
  /// A trace for every small span.
  case traces
  /// Error traces, kept at once, with an operation of its own for each span.
  case errors
  /// Traces decided at once, whose verdicts are remembered.
  case verdicts
  /// One trace.
  case giant

  /// Record number `number` of the flood, of about `bytes` bytes.
  func record(_ number: UInt64, bytes: Int, _ random: inout RandomSource) -> [UInt8] {
    switch self {
    case .text:
      return tracesData([TestSpan(trace: number / 8 + 1, id: number + 1, parent: 9, padding: bytes)])
    case .noise:
      var record = tracesData([TestSpan(trace: number / 8 + 1, id: number + 1, parent: 9, padding: bytes)])
      // The padding is one run of one letter: it may be any bytes.
      for index in record.indices.dropFirst(200).dropLast(40) where record[index] == 0x78 {
        record[index] = UInt8(truncatingIfNeeded: random.next()) & 0x7f
      }
      return record
    case .traces:
      return tracesData((0..<40).map { TestSpan(trace: number * 40 + UInt64($0) + 1, id: 1, parent: 9) })
    case .errors:
      return tracesData(
        (0..<40).map { place in
          let id = number * 40 + UInt64(place) + 1
          return TestSpan(trace: id / 20 + 1, id: id, parent: 9, isError: true, name: "operation \(id)")
        })
    case .verdicts:
      return tracesData((0..<40).map { TestSpan(trace: number * 40 + UInt64($0) + 1, id: 1) })
    case .giant:
      return tracesData([TestSpan(trace: 1, id: number + 1, parent: 9, padding: bytes)])
    }
  }
}

@Suite struct LaneMemoryTests {
  /// Ten times what fits, over two partitions; at no time more than the limit is held.
  @Test(arguments: Flood.allCases) func aFloodStaysWithinTheLimit(_ flood: Flood) throws {
    let limit = 8 << 20
    var random = RandomSource(seed: 4)
    let broker = MemoryBroker(partitions: 2)
    var configuration = LaneConfiguration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.memoryBytesMax = limit
    configuration.sampler.limits.bytesPerTrace = 2 << 20
    if flood == .verdicts { configuration.sampler.windows.decisionWaitAfterRoot = .milliseconds(1) }
    let lane = Lane(link: MemoryLink(broker, assigned: 2), configuration: configuration) { _ in }
    var offered = 0
    var number: UInt64 = 0
    var worst = 0
    // The small ones take far more in memory than on the wire.
    let offeredMax = [.traces, .errors, .verdicts].contains(flood) ? 3 * limit : 10 * limit
    while offered < offeredMax {
      for _ in 0..<50 {
        let record = flood.record(number, bytes: 20_000, &random)
        broker.append(record, at: at(Double(number) / 10_000), to: Int(number % 2))
        offered += record.count
        number += 1
      }
      try lane.step(at: moment(at(Double(number) / 10_000)), timeout: .seconds(0))
      worst = max(worst, lane.snapshot().residentBytes)
      broker.outputs.removeAll()
    }
    let snapshot = lane.snapshot()
    #expect(worst <= limit + limit / 16, "\(worst) bytes held")
    #expect(snapshot.counters.recordsRead == number)
    let counters = snapshot.counters
    let decided = counters.tracesKept + counters.tracesDropped
    #expect(counters.tracesOpened == decided + UInt64(snapshot.openTraces))
    switch flood {
    case .text: #expect(snapshot.compressedSegments > 0)
    case .noise, .traces, .errors: #expect(counters.tracesShed > 0)
    case .verdicts: #expect(counters.verdictsForgottenEarly > 0)
    case .giant: #expect(counters.tracesTruncated == 2, "one in each partition")
    }
  }

  /// 20,000 spans of 10 KB in one trace: the others are decided when they would have been.
  @Test func aGiantTraceIsInNobodysWay() throws {
    let broker = MemoryBroker(partitions: 1)
    var configuration = LaneConfiguration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.memoryBytesMax = 64 << 20
    let lane = Lane(link: MemoryLink(broker, assigned: 1), configuration: configuration) { _ in }
    var worst = 0
    var others = 0
    for number in 0..<10_000 as Range<UInt64> {
      let spans = (0..<2).map {
        TestSpan(trace: 1, id: number * 2 + UInt64($0) + 1, parent: 9, padding: 10_000)
      }
      let time = at(Double(number) / 1000)
      broker.append(tracesData(spans), at: time)
      if number % 10 == 0 {
        others += 1
        broker.append(tracesData([TestSpan(trace: number + 2, id: 1)]), at: time)
      }
      if number % 100 == 99 {
        try lane.step(at: moment(time), timeout: .seconds(0))
        worst = max(worst, lane.snapshot().residentBytes)
      }
    }
    let decisions = try broker.decisions()
    #expect(worst < 24 << 20, "\(worst) bytes held, of which the limit of a trace is 16 MiB")
    // Of ten seconds of others those of the first five are over their wait after the root.
    let decided = decisions.filter { $0.traceId != traceID(1).description }
    #expect((498...502).contains(decided.count), "\(decided.count) of \(others)")
    #expect(decided.allSatisfy { $0.trigger == "root" })
    #expect(lane.snapshot().counters.spansTruncated > 18_000)
  }
}
