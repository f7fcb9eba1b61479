// The workload: the same seed gives the same records, in order and well formed, with shares and sizes as
// configured.

import Simulation
import Testing

@Suite struct WorkloadTests {
  @Test func theSameSeedGivesTheSameRecords() {
    let first = fingerprint(seed: 1)
    #expect(fingerprint(seed: 1) == first)
    #expect(fingerprint(seed: 2) != first)
  }

  @Test func truthsAreTheSameTooHoweverOftenTheyAreTaken() throws {
    let often = try GeneratedTraffic(traces: 200, smallTraces)
    var options = WorkloadOptions()
    options.traceCount = 200
    smallTraces(&options)
    var workload = Workload(options)
    while workload.next() != nil {}
    #expect(workload.takeFinishedTruths() == often.truths)
    #expect(workload.takeFinishedTruths().isEmpty)
    #expect(workload.next() == nil)
  }

  @Test(arguments: [false, true])
  func recordsComeInTheOrderOfPublishing(mixed: Bool) throws {
    let traffic = try GeneratedTraffic(traces: 300) {
      $0.mixed = mixed
      $0.lateShare = 0.2
    }
    for (record, next) in zip(traffic.records, traffic.records.dropFirst()) {
      #expect(record.publishedAt <= next.publishedAt)
    }
  }

  @Test func recordsHoldSpansOfOneServiceOfOneTrace() throws {
    let traffic = try GeneratedTraffic(traces: 60) { $0.spansPerRecord = 4 }
    for (record, spans) in zip(traffic.records, traffic.spans) {
      let first = try #require(spans.first)
      #expect(record.spanCount == spans.count)
      #expect(spans.count <= 4)
      #expect(spans.allSatisfy { $0.trace == first.trace && $0.service == first.service })
      #expect(first.trace == TraceKey(high: record.traceIDHigh, low: record.traceIDLow))
      #expect(String(decoding: record.key, as: UTF8.self) == hexadecimal(first.traceID))
      #expect(spans.map(\.end) == spans.map(\.end).sorted())
      #expect(!first.service.isEmpty && spans.allSatisfy { !$0.name.isEmpty })
    }
  }

  /// Redelivered records hold nothing new, and change nothing else.
  @Test func recordsThatAreDeliveredAgainHoldNothingNew() throws {
    let once = try GeneratedTraffic(traces: 60)
    let twice = try GeneratedTraffic(traces: 60) { $0.redeliveredShare = 0.5 }
    #expect(twice.records.count > once.records.count * 5 / 4)
    #expect(Set(twice.spans.joined().map(\.id)) == Set(once.spans.joined().map(\.id)))
    #expect(Set(twice.truths.map(\.trace)) == Set(once.truths.map(\.trace)))
    let whole = Set(once.records.map(\.bytes))
    #expect(whole.isSubset(of: twice.records.map(\.bytes)))
    #expect(twice.records.contains { !whole.contains($0.bytes) }, "some are split differently")
  }

  @Test func mixedRecordsHoldTheSameSpansWithoutAKey() throws {
    let plain = try GeneratedTraffic(traces: 60)
    let mixed = try GeneratedTraffic(traces: 60) { $0.mixed = true }
    #expect(mixed.records.allSatisfy { $0.key.isEmpty })
    #expect(mixed.records.dropLast().allSatisfy { $0.spanCount >= 50 })
    for (record, spans) in zip(mixed.records, mixed.spans) { #expect(record.spanCount == spans.count) }
    #expect(mixed.spans.contains { Set($0.map(\.trace)).count > 1 })
    #expect(mixed.spans.joined().map(\.id) == plain.spans.joined().map(\.id))
    #expect(Set(mixed.truths.map(\.trace)) == Set(plain.truths.map(\.trace)))
  }

  @Test(arguments: [FieldOrder.ascending, .descending, .mixed])
  func fieldsComeInTheOrderAskedFor(_ order: FieldOrder) throws {
    let traffic = try GeneratedTraffic(traces: 40) { $0.fieldOrder = order }
    var (ascending, descending) = (0, 0)
    for span in traffic.spans.joined() {
      if span.fields == span.fields.sorted() { ascending += 1 }
      if span.fields == span.fields.sorted(by: >) { descending += 1 }
    }
    let total = traffic.spans.joined().count
    #expect(ascending + descending == total)
    switch order {
    case .ascending: #expect(ascending == total)
    case .descending: #expect(descending == total)
    case .mixed: #expect(ascending > total / 4 && descending > total / 4)
    }
  }

  @Test(arguments: [FieldOrder.ascending, .descending])
  func theOrderOfFieldsChangesNothingElse(_ order: FieldOrder) throws {
    let one = try GeneratedTraffic(traces: 30) { $0.fieldOrder = .ascending }
    let other = try GeneratedTraffic(traces: 30) { $0.fieldOrder = order }
    #expect(one.truths == other.truths)
    #expect(one.records.map(\.bytes.count) == other.records.map(\.bytes.count))
  }

  @Test func tracesAndSpansHaveTheSizeAskedFor() throws {
    let traffic = try GeneratedTraffic(traces: 400)
    let spans = traffic.records.reduce(0) { $0 + $1.spanCount }
    let bytes = traffic.records.reduce(0) { $0 + $1.bytes.count }
    let spansPerTrace = Double(spans) / 400
    let bytesPerSpan = Double(bytes) / Double(spans)
    #expect(abs(spansPerTrace - 50) < 0.15 * 50, "\(spansPerTrace) spans per trace")
    #expect(abs(bytesPerSpan - 430) < 0.15 * 430, "\(bytesPerSpan) bytes per span")
  }

  @Test(arguments: [2.0, 10, 120])
  func otherMeansAreMetToo(_ spansPerTrace: Double) throws {
    let traffic = try GeneratedTraffic(traces: 400) {
      $0.spansPerTrace = spansPerTrace
      $0.asyncShare = 0
    }
    let spans = traffic.records.reduce(0) { $0 + $1.spanCount }
    let mean = Double(spans) / 400
    // Small traces are rounded up to one span.
    #expect(abs(mean - spansPerTrace) < 0.15 * spansPerTrace + 0.3, "\(mean) spans per trace")
  }

  @Test func tracesStartAsOftenAsAskedFor() throws {
    let traffic = try GeneratedTraffic(traces: 1000) {
      smallTraces(&$0)
      $0.tracesPerSecond = 250
      $0.clockSkewMaxNanoseconds = 0
    }
    let starts = traffic.traces.values.compactMap { $0.map(\.start).min() }
    let first = try #require(starts.min())
    let last = try #require(starts.max())
    #expect(first >= 1_760_000_000_000_000_000)
    #expect(abs(Double(last - first) / 1e9 - 4) < 0.3)
  }

  @Test func finishingStartsNoMoreTracesAndPublishesTheRest() throws {
    var options = WorkloadOptions()
    smallTraces(&options)
    var workload = Workload(options)
    var spans = 0
    for _ in 0..<500 { spans += workload.next()?.spanCount ?? 0 }
    workload.finish()
    while let record = workload.next() { spans += record.spanCount }
    let truths = workload.takeFinishedTruths()
    #expect(truths.reduce(0) { $0 + $1.spanCount } == spans)
    #expect(!truths.isEmpty)
  }

  /// A hash over 5,000 records: when they are published, their keys and their bytes.
  private func fingerprint(seed: UInt64) -> Int {
    var options = WorkloadOptions()
    options.seed = seed
    var workload = Workload(options)
    var hasher = Hasher()
    for _ in 0..<5000 {
      let record = workload.next()
      hasher.combine(record?.publishedAt)
      hasher.combine(record?.key)
      hasher.combine(record?.bytes)
    }
    return hasher.finalize()
  }

  private func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
