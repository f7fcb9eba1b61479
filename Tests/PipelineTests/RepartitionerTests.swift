// The repartitioner over an in-memory broker: pieces keyed by trace id, dead letters, offsets.

import OTLP
import Sampling
import Simulation
import Testing
import Topology

@testable import Pipeline

private func repartitioner(
  _ link: MemoryLink, _ change: (inout RepartitionJob.Configuration) -> Void = { _ in }
) -> Lane<MemoryLink, RepartitionJob> {
  var configuration = RepartitionJob.Configuration(topic: "raw-spans")
  configuration.pace.interval = .seconds(0)
  change(&configuration)
  return Lane(link: link, configuration: configuration) { _ in }
}

extension Lane where Job == RepartitionJob {
  fileprivate func run(_ steps: Int = 3) throws {
    for _ in 0..<steps { try step(at: moment(at(0)), timeout: .seconds(0)) }
  }
}

@Suite struct RepartitionerTests {
  private let first = PartitionID(0)

  @Test func aRecordOfOneTracePassesUntouched() throws {
    let broker = MemoryBroker()
    let value = tracesData([TestSpan(trace: 1, id: 1), TestSpan(trace: 1, id: 2, parent: 1)])
    broker.append(value, key: Array("any".utf8), at: at(0))
    broker.append(value, at: nil)
    try repartitioner(MemoryLink(broker)).run()
    let written = broker.outputs(to: .spans)
    #expect(written.map(\.value) == [value, value])
    #expect(written.map(\.keyText) == [traceID(1).description, traceID(1).description])
    #expect(written.allSatisfy { $0.partition == nil && $0.headers.isEmpty })
  }

  @Test func aRecordOfSeveralTracesIsSplit() throws {
    let broker = MemoryBroker()
    let spans = (1...9).map { TestSpan(trace: UInt64($0 % 3), id: UInt64($0)) }
    broker.append(tracesData(spans, service: "cart"), at: at(0))
    try repartitioner(MemoryLink(broker)).run()
    let written = broker.outputs(to: .spans)
    #expect(written.map(\.keyText) == [1, 2, 0].map { traceID($0).description })
    for output in written {
      let value = try #require(output.value)
      #expect(try scannedSpans(value).allSatisfy { $0.traceID.description == output.keyText })
      var record = ScannedRecord()
      try value.withRawBytes { (bytes) throws(MalformedInput) in try record.scan(bytes) }
      let name = try #require(record.resources.first?.serviceName)
      #expect(String(decoding: value[name.indices], as: UTF8.self) == "cart")
    }
    #expect(try broker.sampledSpans()[traceID(1)] == [1, 4, 7])
  }

  /// 60 MB of pieces from 200 KB are not made.
  @Test func recordGrowthIsBoundedByItsSize() throws {
    let broker = MemoryBroker()
    let service = String(repeating: "s", count: 20_000)
    for count in [200, 3000] {
      let spans = (1...count).map { TestSpan(trace: UInt64($0), id: 1) }
      broker.append(tracesData(spans, service: service), at: at(0))
    }
    try repartitioner(MemoryLink(broker)).run()
    #expect(broker.outputs(to: .spans).count == 200)
    #expect(broker.outputs(to: .deadLetters).map { $0.headers["reason"] } == ["split_too_large"])
  }

  /// Each trace's portions repeat the resource: together they are bounded by what the trace brought.
  @Test func cuttingMultipliesARecordOnlySoFar() throws {
    let broker = MemoryBroker()
    let service = String(repeating: "s", count: 2900)
    let spans = (0..<3000).map { TestSpan(trace: UInt64($0 % 10), id: UInt64(1 + $0)) }
    let record = tracesData(spans, service: service)
    broker.append(record, at: at(0))
    try repartitioner(MemoryLink(broker)) { $0.spansBytesMax = 3000 }.run()
    let written = broker.outputs(to: .spans).reduce(0) { $0 + ($1.value?.count ?? 0) }
    #expect(written > 0 && written < 16 * record.count)
  }

  @Test func memoryOfALargeRecordIsReleased() throws {
    let broker = MemoryBroker()
    broker.append(tracesData((1...40_000).map { TestSpan(trace: 1, id: UInt64($0)) }), at: at(0))
    let lane = repartitioner(MemoryLink(broker)) { $0.workingBytesKept = 1 << 20 }
    try lane.run()
    #expect(broker.outputs(to: .spans).count > 1)
    #expect(lane.job.workingBytes < 1 << 20)
  }

  @Test func generatedTrafficComesOutWholeAndKeyed() throws {
    var options = WorkloadOptions()
    options.traceCount = 60
    options.mixed = true
    var workload = Workload(options)
    let broker = MemoryBroker()
    while let record = workload.next() {
      broker.append(record.bytes, at: Instant(nanoseconds: record.publishedAt))
    }
    let link = MemoryLink(broker)
    link.batch = 7
    try repartitioner(link).run(broker.inputs[0].count / 7 + 3)
    let spans = try broker.sampledSpans()
    let truths = workload.takeFinishedTruths()
    #expect(spans.count == truths.count)
    for truth in truths {
      let written = spans[TraceID(high: truth.traceIDHigh, low: truth.traceIDLow)] ?? []
      #expect(written.count == truth.spanCount && Set(written).count == truth.spanCount)
    }
    for output in broker.outputs(to: .spans) {
      #expect(try scannedSpans(output.value ?? []).allSatisfy { $0.traceID.description == output.keyText })
    }
    #expect(broker.commits.last == Int64(broker.inputs[0].count))
  }

  @Test func largeTracesGoIntoSeveralRecords() throws {
    let broker = MemoryBroker()
    broker.append(
      tracesData((1...20).map { TestSpan(trace: 1, id: UInt64($0), padding: 300) }), at: at(0))
    broker.append(
      tracesData((1...20).map { TestSpan(trace: UInt64($0 % 2), id: UInt64(100 + $0), padding: 300) }),
      at: at(0))
    try repartitioner(MemoryLink(broker)) { $0.spansBytesMax = 2000 }.run()
    let written = broker.outputs(to: .spans)
    #expect(written.count > 6)
    // A record's resource and scope come on top of its spans.
    #expect(written.allSatisfy { ($0.value?.count ?? 0) <= 2000 })
    #expect(try broker.sampledSpans()[traceID(1)]?.count == 30)
    #expect(broker.outputs(to: .deadLetters).isEmpty)
  }

  @Test func aSpanThatFitsNowhereIsADeadLetter() throws {
    let broker = MemoryBroker()
    broker.append(
      tracesData([TestSpan(trace: 1, id: 1, padding: 5000), TestSpan(trace: 1, id: 2, parent: 1)]), at: at(0))
    try repartitioner(MemoryLink(broker)) { $0.spansBytesMax = 2000 }.run()
    #expect(try broker.sampledSpans() == [traceID(1): [2]])
    let letter = try #require(broker.outputs(to: .deadLetters).first)
    #expect(letter.headers["reason"] == "span_too_large")
    #expect(letter.headers["trace_id"] == traceID(1).description)
    #expect(letter.headers["span_id"] == "0000000000000001")
    #expect(letter.headers["source_partition"] == "0" && letter.headers["source_offset"] == "0")
    #expect(letter.keyText == traceID(1).description)
    #expect(try scannedSpans(letter.value ?? []).map(\.spanID) == [1])
  }

  /// The resource counts too: it is in each record.
  @Test(arguments: [100, 800, 1500]) func aLargeResourceCounts(_ bytes: Int) throws {
    let broker = MemoryBroker()
    let spans = (1...40).map { TestSpan(trace: UInt64($0 % 2), id: UInt64($0)) }
    broker.append(tracesData(spans, service: String(repeating: "s", count: bytes)), at: at(0))
    try repartitioner(MemoryLink(broker)) { $0.spansBytesMax = 2000 }.run()
    #expect(broker.outputs(to: .spans).allSatisfy { ($0.value?.count ?? 0) <= 2000 })
    #expect(try broker.sampledSpans().values.map(\.count) == [20, 20])
    #expect(broker.outputs(to: .deadLetters).isEmpty)
  }

  @Test func unreadableRecordsAreDeadLetters() throws {
    let broker = MemoryBroker()
    let values: [[UInt8]?] = [nil, [], [0xff], Array("{}".utf8), Array(repeating: 0xff, count: 3000)]
    for value in values { broker.append(value, key: Array("k".utf8), at: at(0)) }
    broker.append(tracesData([TestSpan(trace: 1, id: 1)]), at: at(0))
    try repartitioner(MemoryLink(broker)) {
      $0.recordBytesMax = 2500
      $0.deadLetterBytesMax = 2500
    }.run()
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.map(\.value) == [nil, [], [0xff], Array("{}".utf8), nil])
    #expect(letters.map { $0.headers["source_offset"] } == ["0", "1", "2", "3", "4"])
    #expect(letters.allSatisfy { $0.headers["source_topic"] == "raw-spans" && $0.keyText == "k" })
    #expect(letters.first?.headers["reason"] == "tombstone")
    #expect(letters.last?.headers["reason"] == "record_too_large")
    #expect(letters.last?.headers["value_left_out_bytes"] == "3000")
    #expect(try broker.sampledSpans() == [traceID(1): [1]])
    #expect(broker.commits.last == 6)
  }

  @Test func recordsOfJSONBecomeProtobuf() throws {
    let broker = MemoryBroker()
    let spans = (1...2).map {
      """
      {"traceId":"\(traceID(UInt64($0)).description)","spanId":"00000000000000a\($0)","name":"a"}
      """
    }
    let json = "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[\(spans.joined(separator: ","))]}]}]}"
    broker.append(Array(json.utf8), at: at(0))
    broker.append(Array("[".utf8), at: at(0))
    try repartitioner(MemoryLink(broker)) { $0.encoding = .otlpJSON }.run()
    #expect(try broker.sampledSpans() == [traceID(1): [0xa1], traceID(2): [0xa2]])
    #expect(broker.outputs(to: .deadLetters).map(\.value) == [Array("[".utf8)])
  }

  @Test func outputsAreWrittenBeforeTheirCommit() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1)]), at: at(0))
    broker.append(nil, at: at(0))
    try repartitioner(MemoryLink(broker)).run(5)
    #expect(
      broker.steps == [
        .resumed([first: nil]), .wrote(.spans), .wrote(.deadLetters), .committed([first: 2]),
      ])
  }

  @Test func recordsBelowThePositionAreIgnored() throws {
    let broker = MemoryBroker(partitions: 2)
    broker.append(tracesData([TestSpan(trace: 1, id: 1)]), at: at(0))
    broker.append(tracesData([TestSpan(trace: 2, id: 1)]), at: at(0), to: 1)
    let link = MemoryLink(broker)
    let repartitioner = repartitioner(link)
    try repartitioner.run()
    // The second partition is not assigned at all.
    link.strays = [(0, 0), (1, 0)]
    try repartitioner.run()
    #expect(broker.outputs(to: .spans).count == 1)
    let counters = repartitioner.snapshot().lane
    #expect(counters.recordsRepeated == 1 && counters.recordsNotAssigned == 1, "and both are counted")
  }

  @Test func eventsAreAnsweredInTheirOrder() throws {
    let broker = MemoryBroker(partitions: 2)
    for partition in 0..<2 { broker.append(nil, at: at(0), to: partition) }
    let link = MemoryLink(broker, assigned: 2)
    let repartitioner = repartitioner(link) { $0.pace.interval = .seconds(1000) }
    try repartitioner.run()
    broker.steps = []
    link.events = [.revoked([PartitionID(1)]), .lost([first]), .assigned([])]
    try repartitioner.run(1)
    #expect(
      broker.steps == [
        .committed([first: 1, PartitionID(1): 1]), .released([PartitionID(1)]), .released([first]),
        .aborted, .released([]),
      ])
    #expect(broker.answers == 2, "an assignment of nothing needs an answer too")
    try repartitioner.stop()
    #expect(broker.steps.last == .closed)
  }

  @Test func nothingIsCommittedForALostPartition() throws {
    let broker = MemoryBroker(partitions: 2)
    for partition in 0..<2 { broker.append(nil, at: at(0), to: partition) }
    let link = MemoryLink(broker, assigned: 2)
    let repartitioner = repartitioner(link) { $0.pace.interval = .seconds(1000) }
    try repartitioner.run()
    broker.steps = []
    link.events = [.lost([PartitionID(1)])]
    try repartitioner.run(1)
    #expect(
      broker.steps == [.released([PartitionID(1)]), .aborted, .released([first]), .resumed([first: nil])])
    try repartitioner.run(1)
    try repartitioner.stop()
    #expect(broker.points[first]?.safeOffset == Offset(1))
    #expect(broker.points[PartitionID(1)] == nil)
  }

  @Test(arguments: [BrokerError.Remedy.retry, .abort])
  func aRevokedPartitionIsReleasedEvenIfItCannotBeCommitted(_ remedy: BrokerError.Remedy) throws {
    let broker = MemoryBroker(partitions: 2)
    for partition in 0..<2 { broker.append(nil, at: at(0), to: partition) }
    let link = MemoryLink(broker, assigned: 2)
    let repartitioner = repartitioner(link) { $0.pace.interval = .seconds(1000) }
    try repartitioner.run()
    broker.steps = []
    link.events = [.revoked([PartitionID(1)])]
    link.commitErrors = [BrokerError(remedy, "no")]
    try repartitioner.run(1)
    #expect(
      broker.steps == [.released([PartitionID(1)]), .aborted, .released([first]), .resumed([first: nil])])
  }

  @Test func transientFailuresLoseNothing() throws {
    let broker = MemoryBroker()
    for trace in 1...10 { broker.append(tracesData([TestSpan(trace: UInt64(trace), id: 1)]), at: at(0)) }
    let link = MemoryLink(broker)
    let passing = BrokerError(.retry, "not now")
    link.batch = 3
    link.committedErrors = [passing]
    link.resumeErrors = [passing]
    link.commitErrors = [passing, BrokerError(.abort, "void"), passing]
    let repartitioner = repartitioner(link)
    for second in 0..<20 { try? repartitioner.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    #expect(broker.commits.last == 10)
    #expect(Set(try broker.sampledSpans().keys) == Set((1...10).map { traceID($0) }))
  }

  /// Markers of transactions at the log's end are behind the last record: without them the lag would stay.
  @Test func theEndOfTheLogIsCommitted() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1)]), at: at(0))
    let link = MemoryLink(broker)
    let repartitioner = repartitioner(link)
    try repartitioner.run()
    #expect(broker.commits.last == 1)
    link.events = [.caughtUp(first, Offset(3))]
    try repartitioner.run()
    #expect(broker.commits.last == 3)
  }

  @Test func aKilledOneResumesFromItsCommit() throws {
    let broker = MemoryBroker()
    for trace in 1...20 { broker.append(tracesData([TestSpan(trace: UInt64(trace), id: 1)]), at: at(0)) }
    for _ in 0..<12 {
      let link = MemoryLink(broker)
      link.batch = 3
      let repartitioner = repartitioner(link) { $0.pace.interval = .seconds(1000) }
      // Resumes and commits at once, reads, and dies before or after the next commit.
      try repartitioner.run(2)
      if broker.steps.count % 2 == 0 { try repartitioner.stop() }
    }
    let spans = try broker.sampledSpans()
    for (place, trace) in (1...20).enumerated() where Int64(place) < broker.commits.last ?? 0 {
      #expect(spans[traceID(UInt64(trace))]?.isEmpty == false)
    }
    #expect((broker.commits.last ?? 0) > 6)
  }
}
