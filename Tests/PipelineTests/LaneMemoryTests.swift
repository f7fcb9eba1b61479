// A lane's memory stays within its limit, whatever the input.

import OTLP
import Sampling
import Simulation
import Testing

@testable import Pipeline

/// Traffic that fills memory; each kind fills another part of it.
enum Flood: CaseIterable {
  /// Spans that compress well, of traces with missing parents.
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
    var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.memoryBytesMax = limit
    configuration.sampler.limits.bytesPerTrace = 2 << 20
    if flood == .verdicts { configuration.sampler.windows.decisionWaitAfterRoot = .milliseconds(1) }
    let lane = Lane(link: MemoryLink(broker, assigned: 2), configuration: configuration) { _ in }
    var offered = 0
    var number: UInt64 = 0
    var worst = 0
    // Small ones take far more space in memory than on the wire.
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

  /// 20,000 spans of 10 KB in one trace: the others are decided on time.
  @Test func aGiantTraceDelaysNoOthers() throws {
    let broker = MemoryBroker(partitions: 1)
    var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
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
    // Of ten seconds of others, those of the first five are past their wait after the root.
    let decided = decisions.filter { $0.traceId != traceID(1).description }
    #expect((498...502).contains(decided.count), "\(decided.count) of \(others)")
    #expect(decided.allSatisfy { $0.trigger == "root" })
    #expect(lane.snapshot().counters.spansTruncated > 18_000)
  }

  /// A record of `traces` traces of one small span each, under a resource of 20 KB that hardly compresses.
  private func fan(_ traces: Int, from first: UInt64) -> [UInt8] {
    var random = RandomSource(seed: first)
    let spans = (0..<traces).map { TestSpan(trace: first + UInt64($0), id: 1, parent: 9) }
    let letters = (0..<20_000).map { _ in UInt8(random.number(in: 0x21...0x7e)) }
    return tracesData(spans, service: String(decoding: letters, as: UTF8.self))
  }

  /// Pieces repeat the resource: how much a record may grow depends on its size and on the lane's memory, and
  /// there is room for it before it is written.
  @Test func aRecordThatMultipliesStaysWithinTheLimit() throws {
    let limit = 16 << 20
    let broker = MemoryBroker(partitions: 1)
    var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.memoryBytesMax = limit
    let link = MemoryLink(broker, assigned: 1)
    link.batch = 1
    let lane = Lane(link: link, configuration: configuration) { _ in }
    var worst = 0
    func send(_ record: [UInt8]) throws {
      broker.append(record, at: at(0))
      try lane.step(at: moment(at(0)), timeout: .seconds(0))
      worst = max(worst, lane.snapshot().residentBytes)
    }
    for number in 0..<20 as Range<UInt64> { try send(fan(180, from: number * 1000 + 1)) }
    #expect(lane.snapshot().counters.recordsMalformed == 0, "3.6 MB of pieces are taken")
    #expect(lane.snapshot().counters.tracesShed > 0)
    #expect(worst <= limit, "\(worst) bytes held")
    // 60 MB of pieces from 200 KB.
    let hostile = fan(3000, from: 1_000_000)
    try send(hostile)
    try send(fan(1, from: 1))
    #expect(lane.snapshot().counters.recordsMalformed == 1)
    #expect(broker.outputs(to: .deadLetters).map { $0.headers["reason"] } == ["split_too_large"])
    let isWhole = broker.outputs(to: .deadLetters).first?.value == hostile
    #expect(isWhole, "it is unchanged")
  }

  @Test func recordGrowthIsBoundedByItsSize() {
    let limits = Limits()
    #expect(limits.splitBytes(ofRecord: 1) == 4 << 20)
    #expect(limits.splitBytes(ofRecord: 1 << 20) == 16 << 20)
    #expect(limits.splitBytes(ofRecord: .max) == limits.splitBytes)
    var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.sampler.limits.recordBytes = 4 << 20
    for (memory, expected) in [
      (1 << 30, 64 << 20), (4 << 30, 128 << 20), (64 << 20, 8 << 20), (16 << 20, 4 << 20),
    ] {
      configuration.memoryBytesMax = memory
      #expect(configuration.splitBytesMax == expected)
    }
  }

  /// Memory for reading and writing one large record is released at once.
  @Test func workingMemoryIsReleased() throws {
    let broker = MemoryBroker(partitions: 1)
    var sampler = SamplerConfiguration()
    sampler.policies = [Policy(name: "all", rule: .alwaysSample)]
    var configuration = SamplingJob.Configuration(sampler: sampler, topic: "spans")
    configuration.memoryBytesMax = 64 << 20
    configuration.sampler.limits.spansPerTrace = 100_000
    let lane = Lane(link: MemoryLink(broker, assigned: 1), configuration: configuration) { _ in }
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    let before = lane.snapshot().residentBytes
    // 40,000 spans: 4 MB to scan them, and 4 MB written at once.
    let spans = (1...40_000).map { TestSpan(trace: 1, id: UInt64($0), parent: 9) }
    broker.append(tracesData(spans), at: at(0))
    for _ in 0..<2 { try lane.step(at: moment(at(0)), timeout: .seconds(0)) }
    #expect(broker.outputs(to: .sampled).count > 1)
    #expect(lane.snapshot().residentBytes - before < 3 << 20)
  }
}
