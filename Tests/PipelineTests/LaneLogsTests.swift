// A lane whose logs follow: when requests are dealt with, what is kept, limits, damage, restarts and aborts.

import OTLP
import Sampling
import Testing
import Topology

@testable import Pipeline

/// A log record for a request.
struct TestLog {
  /// Nil for a log record without a trace.
  var trace: UInt64?
  var text: String
  var severity: UInt64 = 9
}

/// An `ExportLogsServiceRequest` of one resource, which has `padding` bytes of text.
func logsRequest(_ logs: [TestLog], padding: Int = 0) -> [UInt8] {
  var writer = WireWriter()
  writer.message(1) { resource in
    resource.message(1) { content in
      content.varintField(2, 3)
      guard padding > 0 else { return }
      content.message(1) { $0.stringField(1, String(repeating: "p", count: padding)) }
    }
    resource.message(2) { scope in
      for log in logs {
        scope.message(2) { record in
          // The text comes last: the test reads it from the bytes.
          defer { record.message(5) { $0.stringField(1, log.text) } }
          record.varintField(2, log.severity)
          guard let trace = log.trace else { return }
          let id = traceID(trace)
          record.bytesField(
            9,
            [id.high, id.low].flatMap { half in
              (0..<8).map { UInt8(truncatingIfNeeded: half >> UInt64(56 - 8 * $0)) }
            })
        }
      }
    }
  }
  return writer.bytes
}

@Suite struct LaneLogsTests {
  private let first = PartitionID(0)

  private func lane(
    _ link: MemoryLink, _ change: (inout SamplingJob.Configuration) -> Void = { _ in },
    _ note: @escaping (LaneEvent) -> Void = { _ in }
  ) -> Lane<MemoryLink, SamplingJob> {
    var sampler = SamplerConfiguration()
    sampler.dropped = .compact
    sampler.clockWitnesses = 1
    sampler.windows.decisionWait = .seconds(10)
    sampler.windows.decisionWaitAfterRoot = .seconds(2)
    var configuration = SamplingJob.Configuration(sampler: sampler, topic: "spans")
    configuration.logs = LogsConfiguration(topic: "logs")
    configuration.logs?.wait = .seconds(20)
    change(&configuration)
    return Lane(link: link, configuration: configuration, report: note)
  }

  private func step(_ lane: Lane<MemoryLink, SamplingJob>, _ seconds: Double...) throws {
    for second in seconds { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
  }

  /// Trace 1 is kept, trace 2 dropped; their spans come at second 0.
  private func broker() -> MemoryBroker {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, isError: true)]), at: at(0))
    broker.append(tracesData([TestSpan(trace: 2, id: 1)]), at: at(0))
    return broker
  }

  private func append(_ logs: TestLog..., at second: Double, to broker: MemoryBroker) {
    let key = logs.first?.trace.map { traceKey($0) }
    broker.logs[0].append(MemoryBroker.Input(timestamp: at(second), key: key, value: logsRequest(logs)))
  }

  /// The texts of the log records that were kept, and the keys of their records.
  private func kept(_ broker: MemoryBroker) throws -> [String] {
    try broker.outputs(to: .sampledLogs).flatMap { output in
      try (output.value ?? []).withRawBytes { (bytes) throws(MalformedInput) in
        var record = ScannedRecord()
        try record.scanLogs(bytes)
        return record.spans.flatMap { log -> [String] in
          // The body is the only text of a test's log record.
          let field = bytes.extracting(log.field.indices).copied()
          return String(decoding: field, as: UTF8.self).split { !$0.isASCII || !$0.isLetter }
            .filter { $0.hasPrefix("log") }.map(String.init)
        }
      }
    }
  }

  /// A span at a later time moves the clock there.
  private func tick(_ second: Double, _ broker: MemoryBroker) {
    broker.append(tracesData([TestSpan(trace: 1000 + UInt64(second), id: 1)]), at: at(second))
  }

  @Test func logsFollowTheirTraces() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "logKept"), at: 1, to: broker)
    append(TestLog(trace: 2, text: "logDropped"), at: 1, to: broker)
    append(TestLog(trace: 3, text: "logUnknown"), at: 1, to: broker)
    append(TestLog(trace: nil, text: "logFree"), at: 1, to: broker)
    let lane = lane(MemoryLink(broker))
    try step(lane, 0, 1, 15)
    #expect(try kept(broker) == [])
    tick(22, broker)
    try step(lane, 22, 23)
    #expect(try kept(broker) == ["logKept", "logFree"])
    #expect(broker.outputs(to: .sampledLogs).map(\.key) == [traceKey(1), nil])
    #expect(broker.outputs(to: .sampledLogs).allSatisfy { $0.partition == first })
    #expect(broker.outputs(to: .sampledLogs).first?.value == broker.logs[0][0].value)
    #expect(broker.points[first]?.logs?.next == Offset(4))
    var counters = LogCounters()
    (counters.requests, counters.written, counters.kept, counters.dropped) = (4, 2, 1, 1)
    (counters.unknownDropped, counters.traceFreeKept) = (1, 1)
    counters.bytes = UInt64(broker.logs[0].reduce(0) { $0 + ($1.value?.count ?? 0) })
    #expect(lane.snapshot().lane.logs == counters)
    // The outputs come before the commit that has the position.
    let written = broker.steps.lastIndex(of: .wrote(.sampledLogs)) ?? .max
    #expect(broker.steps.dropFirst(written).contains { if case .committed = $0 { true } else { false } })
  }

  @Test func withoutATopicOfLogsNothingIsCommittedOfThem() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "logKept"), at: 1, to: broker)
    tick(60, broker)
    let lane = lane(MemoryLink(broker)) { $0.logs = nil }
    try step(lane, 0, 1, 60, 61)
    #expect(broker.outputs(to: .sampledLogs).isEmpty)
    #expect(broker.points[first]?.metadata.contains("l=") == false)
  }

  @Test func eachTraceOfARequestGetsItsOwnRecord() throws {
    let broker = broker()
    append(
      TestLog(trace: 1, text: "loga"), TestLog(trace: 2, text: "logb"), TestLog(trace: nil, text: "logc"),
      TestLog(trace: 1, text: "logd"), at: 0, to: broker)
    tick(30, broker)
    let lane = lane(MemoryLink(broker))
    try step(lane, 0, 1, 30, 31)
    #expect(try kept(broker) == ["loga", "logd", "logc"])
    #expect(broker.outputs(to: .sampledLogs).map(\.key) == [traceKey(1), nil])
  }

  @Test func anOpenTraceIsWaitedFor() throws {
    let broker = broker()
    broker.append(tracesData([TestSpan(trace: 7, id: 2, parent: 1)]), at: at(20))
    append(TestLog(trace: 7, text: "logEarly"), at: 1, to: broker)
    append(TestLog(trace: 1, text: "logNext"), at: 1, to: broker)
    let lane = lane(MemoryLink(broker)) {
      $0.sampler.policies = [Policy(name: "all", rule: .spanCount(least: 1, most: 100))]
    }
    try step(lane, 20, 21)
    tick(22, broker)
    try step(lane, 22, 23)
    #expect(broker.outputs(to: .sampledLogs).isEmpty)
    #expect(broker.points[first]?.logs?.next ?? Offset(0) == Offset(0))
    tick(31, broker)
    try step(lane, 31, 32)
    #expect(try kept(broker) == ["logEarly", "logNext"])
  }

  @Test(arguments: [
    (TraceFreeLogs.keep, ["loga", "logb", "logc"]), (.drop, []), (.trace, ["logb", "logc"]),
    (.info, ["logb", "logc"]), (.warn, ["logc"]), (.error, []),
  ])
  func logsWithoutATraceFollowTheRule(_ rule: TraceFreeLogs, _ expected: [String]) throws {
    let broker = broker()
    append(
      TestLog(trace: nil, text: "loga", severity: 0), TestLog(trace: nil, text: "logb", severity: 9),
      TestLog(trace: nil, text: "logc", severity: 15), at: 0, to: broker)
    tick(30, broker)
    let lane = lane(MemoryLink(broker)) { $0.logs?.withoutTrace = rule }
    try step(lane, 0, 1, 30, 31)
    #expect(try kept(broker) == expected)
    let counters = lane.snapshot().lane.logs
    #expect(counters.traceFreeKept == UInt64(expected.count))
    #expect(counters.traceFreeDropped == UInt64(3 - expected.count))
  }

  @Test func logsWithoutAVerdictAreKeptByRule() throws {
    let broker = broker()
    append(TestLog(trace: 9, text: "logUnknown"), at: 0, to: broker)
    tick(30, broker)
    let lane = lane(MemoryLink(broker)) { $0.logs?.keepsWithoutVerdict = true }
    try step(lane, 0, 1, 30, 31)
    #expect(try kept(broker) == ["logUnknown"])
    #expect(lane.snapshot().lane.logs.unknownKept == 1)
  }

  // MARK: Time

  @Test func inAQuietPartitionTimePasses() throws {
    let broker = broker()
    let lane = lane(MemoryLink(broker))
    try step(lane, 0, 1)
    append(TestLog(trace: 1, text: "loga"), at: 5, to: broker)
    try step(lane, 5, 6, 24)
    #expect(try kept(broker) == [])
    try step(lane, 26, 27)
    #expect(try kept(broker) == ["loga"])
    #expect(broker.points[first]?.logs?.next == Offset(1))
  }

  @Test func inAnEmptyPartitionTimePassesToo() throws {
    let broker = MemoryBroker()
    append(TestLog(trace: nil, text: "loga"), at: 5, to: broker)
    let lane = lane(MemoryLink(broker))
    try step(lane, 0, 5, 7, 20)
    #expect(try kept(broker) == [])
    try step(lane, 28, 29)
    #expect(try kept(broker) == ["loga"])
    #expect(broker.points[first]?.logs?.next == Offset(1))
    // Spans that come then are read as ever.
    broker.append(tracesData([TestSpan(trace: 1, id: 1, isError: true)]), at: at(29))
    try step(lane, 29.5, 40, 41)
    #expect(broker.outputs(to: .sampled).count == 1)
  }

  @Test func aTimestampFarAheadDelaysLogsOnlyByTheWait() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "loga"), at: 1_000_000, to: broker)
    append(TestLog(trace: 1, text: "logb"), at: 1, to: broker)
    let lane = lane(MemoryLink(broker))
    try step(lane, 0, 1, 2, 10)
    #expect(try kept(broker) == [])
    try step(lane, 24, 25)
    #expect(try kept(broker) == ["loga", "logb"])
  }

  @Test func aClockThatIsNotSettledMakesNothingDue() throws {
    let broker = MemoryBroker()
    // The first record's producer is an hour ahead; those of the others are right.
    broker.append(tracesData([TestSpan(trace: 9, id: 1)]), at: at(3600))
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    let lane = lane(MemoryLink(broker)) { $0.sampler.clockWitnesses = 16 }
    try step(lane, 0, 1, 2)
    for number in 0..<10 {
      broker.append(tracesData([TestSpan(trace: 1, id: 5 + UInt64(number), isError: true)]), at: at(2))
    }
    try step(lane, 2.5, 3)
    #expect(lane.snapshot().lane.logs.requests == 0)
    try step(lane, 24, 25)
    #expect(try kept(broker) == ["loga"])
  }

  // MARK: Limits

  @Test func whatExceedsTheMemoryForLogsIsReadAgain() throws {
    let broker = broker()
    let names = (0..<40).map {
      "log" + String(UnicodeScalar(UInt8(97 + $0 % 26))) + String(repeating: "x", count: $0)
    }
    for name in names { append(TestLog(trace: 1, text: name), at: 5, to: broker) }
    let link = MemoryLink(broker)
    let lane = lane(link) { $0.logs?.heldBytesMax = 1000 }
    try step(lane, 0, 1, 2, 3)
    #expect(lane.job.partitions[0].state.logs?.heldBytes ?? 0 <= 1000)
    #expect(link.logPlaces.isEmpty)
    tick(30, broker)
    try step(lane, 30, 31, 32)
    #expect(try kept(broker) == names)
    #expect(lane.job.partitions[0].state.logs?.heldBytes == 0)
  }

  @Test func damagedRequestsAreDeadLetters() throws {
    let broker = broker()
    for value in [[0x0b, 0x01], nil] as [[UInt8]?] {
      broker.logs[0].append(MemoryBroker.Input(timestamp: at(1), key: [1], value: value))
    }
    append(TestLog(trace: 1, text: String(repeating: "y", count: 3000)), at: 1, to: broker)
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    tick(30, broker)
    let lane = lane(MemoryLink(broker)) {
      $0.logs?.requestBytesMax = 2000
    }
    try step(lane, 0, 1, 30, 31)
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.map { $0.headers["reason"] } == ["group", "tombstone", "record_too_large"])
    #expect(letters.map { $0.headers["source_topic"] } == ["logs", "logs", "logs"])
    #expect(letters.map { $0.headers["source_offset"] } == ["0", "1", "2"])
    #expect(try kept(broker) == ["loga"])
    #expect(lane.snapshot().lane.logs.malformed == 3)
    #expect(lane.snapshot().lane.deadLetters["group"] == 1)
  }

  @Test func logsThatTheirTopicRefusesAreCutOrDeadLetters() throws {
    let broker = broker()
    let long = String(repeating: "y", count: 1500)
    append(
      TestLog(trace: 1, text: "loga " + long), TestLog(trace: 1, text: "logb " + long),
      TestLog(trace: 1, text: "logc " + long + long), at: 1, to: broker)
    tick(30, broker)
    let lane = lane(MemoryLink(broker)) { $0.logs?.sampledBytesMax = 2000 }
    try step(lane, 0, 1, 30, 31)
    #expect(try kept(broker) == ["loga", "logb"])
    #expect(broker.outputs(to: .sampledLogs).count == 2)
    let letter = try #require(broker.outputs(to: .deadLetters).first)
    #expect(letter.headers["reason"] == "log_too_large")
    #expect(letter.headers["trace_id"] == traceID(1).description)
    #expect(lane.snapshot().lane.logs.tooLarge == 1)
  }

  /// Each trace's logs repeat the resource in each portion: all portions together are bounded by what the
  /// trace brought, not by what the request did.
  @Test func cuttingMultipliesARequestOnlySoFar() throws {
    let broker = MemoryBroker()
    let traces = 1...10 as ClosedRange<UInt64>
    for trace in traces {
      broker.append(tracesData([TestSpan(trace: trace, id: 1, isError: true)]), at: at(0))
    }
    let logs = (0..<3000 as Range<UInt64>).map { TestLog(trace: 1 + $0 % 10, text: "log \($0)") }
    let request = logsRequest(logs, padding: 2900)
    broker.logs[0].append(MemoryBroker.Input(timestamp: at(1), key: traceKey(1), value: request))
    tick(30, broker)
    let lane = lane(MemoryLink(broker)) { $0.logs?.sampledBytesMax = 3000 }
    try step(lane, 0, 1, 30, 31)
    let written = broker.outputs(to: .sampledLogs).reduce(0) { $0 + ($1.value?.count ?? 0) }
    #expect(written > 0 && written < 16 * request.count)
    #expect(lane.snapshot().lane.logs.kept == 3000)
  }

  @Test func jsonIsConverted() throws {
    let broker = broker()
    let json = """
      {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "\(traceID(1))",
      "body": {"stringValue": "loga"}}]}]}]}
      """
    for text in [json, "{"] {
      broker.logs[0].append(MemoryBroker.Input(timestamp: at(1), key: nil, value: Array(text.utf8)))
    }
    tick(30, broker)
    let lane = lane(MemoryLink(broker)) { $0.logs?.encoding = .otlpJSON }
    try step(lane, 0, 1, 30, 31)
    #expect(try kept(broker) == ["loga"])
    #expect(broker.outputs(to: .deadLetters).map { $0.headers["reason"] } == ["truncated"])
  }

  // MARK: Positions

  @Test func theNextOwnerGoesOnWhereTheLastOneStopped() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    append(TestLog(trace: 1, text: "logb"), at: 10, to: broker)
    tick(22, broker)
    try step(lane(MemoryLink(broker)), 22, 23, 24)
    #expect(broker.points[first]?.logs?.next == Offset(1))
    tick(40, broker)
    let link = MemoryLink(broker)
    link.tails = [
      (
        [
          RestoredVerdict(
            traceID: traceID(1), isKept: true, isFinal: true, threshold: .always, decidedAt: at(2))
        ],
        .read(isWhole: true)
      )
    ]
    try step(lane(link), 25, 40, 41)
    #expect(try kept(broker) == ["loga", "logb"])
    #expect(broker.points[first]?.logs?.next == Offset(2))
  }

  @Test func anAbortStartsFromTheCommittedPosition() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    let link = MemoryLink(broker)
    let lane = lane(link)
    try step(lane, 0, 1)
    tick(30, broker)
    link.commitErrors = [BrokerError(.abort, "refused")]
    try step(lane, 30)
    #expect(broker.points[first]?.logs?.next ?? Offset(0) == Offset(0))
    broker.outputs.removeAll()
    try step(lane, 31, 32, 33)
    #expect(try kept(broker) == ["loga"])
    #expect(broker.points[first]?.logs?.next == Offset(1))
  }

  @Test func whatHasLeftTheLogIsReported() throws {
    let broker = broker()
    for name in ["loga", "logb", "logc"] { append(TestLog(trace: 1, text: name), at: 1, to: broker) }
    broker.points[first] = CommitPoint(
      safeOffset: Offset(0), clockAtSafeOffset: at(0), highWater: Offset(0), clock: at(0))
    broker.points[first]?.logs = LogsPosition(since: at(0), next: Offset(1))
    tick(30, broker)
    let link = MemoryLink(broker)
    link.logsStart = 2
    var lost: [String] = []
    let lane = lane(link, { _ in }) {
      if case .logsLost(_, let from, let to) = $0 { lost.append("\(from.value)-\(to.value)") }
    }
    try step(lane, 0, 1, 30, 31)
    #expect(lost == ["1-2"])
    #expect(lane.snapshot().lane.logs.lost == 1)
    #expect(try kept(broker) == ["logc"])
  }

  @Test func aTopicMadeAnewIsReadFromItsBeginning() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    broker.points[first] = CommitPoint(
      safeOffset: Offset(0), clockAtSafeOffset: at(0), highWater: Offset(0), clock: at(0))
    broker.points[first]?.logs = LogsPosition(since: at(0), next: Offset(9))
    tick(30, broker)
    let link = MemoryLink(broker)
    link.logsEndEarly = true
    let lane = lane(link)
    try step(lane, 0)
    link.logsEndEarly = false
    try step(lane, 1, 30, 31)
    #expect(lane.snapshot().lane.logs.lost == 0)
    #expect(try kept(broker) == ["loga"])
    #expect(broker.points[first]?.logs?.next == Offset(1))
  }

  /// Brokers that lost the end of the log have the rest still: it was written before, and is not written
  /// again.
  @Test func whatIsLeftOfALogIsNotWrittenAgain() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    append(TestLog(trace: 1, text: "logb"), at: 40, to: broker)
    broker.points[first] = CommitPoint(
      safeOffset: Offset(2), clockAtSafeOffset: at(38), highWater: Offset(2), clock: at(38))
    broker.points[first]?.logs = LogsPosition(since: at(35), next: Offset(9))
    tick(90, broker)
    let link = MemoryLink(broker)
    let verdict = RestoredVerdict(
      traceID: traceID(1), isKept: true, isFinal: true, threshold: .always, decidedAt: at(2))
    link.tails = [([verdict], .read(isWhole: true))]
    link.logsEndEarly = true
    let lane = lane(link)
    try step(lane, 0)
    link.logsEndEarly = false
    try step(lane, 1, 90, 91)
    #expect(try kept(broker) == ["logb"])
    #expect(broker.points[first]?.logs?.next == Offset(2))
  }

  /// Requests that are read again because the log was cut are recognised; those that came instead of lost
  /// ones are not taken for them.
  @Test func whatWasDealtWithIsNotWrittenAgain() throws {
    let broker = broker()
    for text in ["loga", "logb", "logc"] { append(TestLog(trace: 1, text: text), at: 1, to: broker) }
    let link = MemoryLink(broker)
    let lane = lane(link)
    try step(lane, 0, 1)
    tick(22, broker)
    try step(lane, 22, 23)
    #expect(try kept(broker) == ["loga", "logb", "logc"])
    broker.logs[0].removeLast()
    link.logsEndEarly = true
    try step(lane, 24)
    link.logsEndEarly = false
    append(TestLog(trace: 1, text: "logd"), at: 1, to: broker)
    append(TestLog(trace: 1, text: "loge"), at: 25, to: broker)
    tick(50, broker)
    try step(lane, 25, 50, 51)
    #expect(try kept(broker) == ["loga", "logb", "logc", "logd", "loge"])
    #expect(broker.points[first]?.logs?.next == Offset(4))
  }

  // MARK: Recalls

  /// Brokers that lost the end of the logs never deliver what a recall still waits for.
  @Test func aRecallEndsWhereItsLogsDo() throws {
    let broker = broker()
    for (place, text) in ["loga", "logb", "logc"].enumerated() {
      append(TestLog(trace: 2, text: text), at: 1 + Double(place), to: broker)
    }
    let link = MemoryLink(broker)
    let lane = lane(link) { $0.sampler.windows.recallWindow = .seconds(3600) }
    try step(lane, 0, 1)
    tick(24, broker)
    try step(lane, 24, 25)
    #expect(lane.snapshot().lane.logs.dropped == 3)
    broker.append(tracesData([TestSpan(trace: 2, id: 9, parent: 1, isError: true)]), at: at(30))
    try step(lane, 30)
    #expect(lane.snapshot().recallsPending == 1)
    broker.logs[0].removeLast(2)
    link.logsEndEarly = true
    try step(lane, 30.1)
    link.logsEndEarly = false
    for tenth in 2..<20 as Range<Int> { try step(lane, 30 + Double(tenth) / 10) }
    #expect(lane.snapshot().recallsPending == 0)
    #expect(try kept(broker) == ["loga"])
  }

  /// No trace is cut because of what others hold: it waits until they are done.
  @Test func logsOfARecallWaitForTheRoomOfOthers() throws {
    let broker = broker()
    broker.append(tracesData([TestSpan(trace: 4, id: 1)]), at: at(0))
    var sizes: [Int] = []
    for (trace, text) in [(2, "logb"), (4, "logc"), (4, "logd")] as [(UInt64, String)] {
      let value = logsRequest([TestLog(trace: trace, text: text)], padding: 400 + 50 * Int(trace))
      broker.logs[0].append(MemoryBroker.Input(timestamp: at(1), key: traceKey(trace), value: value))
      sizes.append(value.count + MemoryLayout<RecalledLogs.Piece>.stride)
    }
    let link = MemoryLink(broker)
    let lane = lane(link) {
      $0.sampler.windows.recallWindow = .seconds(3600)
      // The second trace fits by itself, but not with the first one.
      $0.logs?.recalledBytesMax = sizes.reduce(0, +) - 1
    }
    try step(lane, 0, 1)
    tick(24, broker)
    try step(lane, 24, 25)
    // The first trace's spans can't be read again yet: its logs are held.
    link.silentAgain = [first]
    for (trace, second) in [(2, 30), (4, 34)] as [(UInt64, Double)] {
      broker.append(tracesData([TestSpan(trace: trace, id: 9, parent: 1, isError: true)]), at: at(second))
      for tenth in 0..<20 as Range<Int> { try step(lane, second + Double(tenth) / 10) }
    }
    #expect(lane.job.partitions[0].state.recalledLogs.heldBytes == sizes[0])
    link.silentAgain = []
    for tenth in 0..<60 as Range<Int> { try step(lane, 40 + Double(tenth) / 10) }
    #expect(lane.snapshot().recallsPending == 0)
    #expect(try kept(broker) == ["logb", "logc", "logd"])
    #expect(lane.snapshot().lane.logs.recalledTooMany == 0)
    #expect(lane.job.partitions[0].state.recalledLogs.heldBytes == 0)
  }

  @Test func aRecallBringsTheLogsThatWereDropped() throws {
    let broker = broker()
    append(TestLog(trace: 2, text: "logb"), TestLog(trace: nil, text: "logFree"), at: 1, to: broker)
    append(TestLog(trace: 1, text: "loga"), TestLog(trace: 2, text: "logc"), at: 2, to: broker)
    append(TestLog(trace: 3, text: "logd"), at: 3, to: broker)
    let lane = lane(MemoryLink(broker)) { $0.sampler.windows.recallWindow = .seconds(3600) }
    try step(lane, 0, 1)
    tick(24, broker)
    try step(lane, 24, 25)
    #expect(try kept(broker) == ["logFree", "loga"])
    #expect(lane.snapshot().lane.logs.dropped == 2)
    // An error comes late.
    append(TestLog(trace: 2, text: "loge"), at: 26, to: broker)
    broker.append(tracesData([TestSpan(trace: 2, id: 9, parent: 1, isError: true)]), at: at(30))
    for second in stride(from: 30.0, to: 42, by: 1) { try step(lane, second) }
    #expect(lane.snapshot().recallsPending == 0)
    #expect(try kept(broker) == ["logFree", "loga", "logb", "logc"])
    let late = broker.outputs(to: .decisions).map { String(decoding: $0.value ?? [], as: UTF8.self) }
    #expect(late.contains { $0.contains(#""recall":"requested","recall_until":1,"logs_until":3"#) })
    // What was not dealt with before follows the verdict that is known now.
    tick(46, broker)
    try step(lane, 46, 47)
    #expect(try kept(broker) == ["logFree", "loga", "logb", "logc", "loge"])
    #expect(lane.snapshot().lane.logs.recalled == 2)
    #expect(lane.snapshot().lane.logs.kept == 2)
    #expect(lane.job.partitions[0].state.recalledLogs.heldBytes == 0)
  }

  /// Logs may be far ahead of their trace's spans: what waited, and was dropped with them, is found again.
  @Test func aRecallBringsLogsThatCameLongBeforeTheirSpans() throws {
    let broker = MemoryBroker()
    append(TestLog(trace: 2, text: "logb"), at: 1, to: broker)
    tick(1, broker)
    broker.append(tracesData([TestSpan(trace: 2, id: 1)]), at: at(18))
    let lane = lane(MemoryLink(broker)) {
      $0.sampler.windows.recallWindow = .seconds(3600)
      $0.sampler.windows.decisionWait = .seconds(6)
    }
    try step(lane, 0, 1, 18, 19)
    tick(24, broker)
    try step(lane, 24, 25)
    tick(30, broker)
    try step(lane, 30, 31)
    #expect(lane.snapshot().lane.logs.dropped == 1)
    broker.append(tracesData([TestSpan(trace: 2, id: 9, parent: 1, isError: true)]), at: at(32))
    for second in 32..<40 as Range<Int> { try step(lane, Double(second)) }
    #expect(try kept(broker) == ["logb"])
  }

  @Test func theNextOwnerRecallsLogs() throws {
    let broker = broker()
    append(TestLog(trace: 2, text: "logb"), at: 1, to: broker)
    append(TestLog(trace: 2, text: "logc"), at: 28, to: broker)
    broker.append(tracesData([TestSpan(trace: 2, id: 9, parent: 1, isError: true)]), at: at(30))
    broker.points[first] = CommitPoint(
      safeOffset: Offset(3), clockAtSafeOffset: at(30), highWater: Offset(3), clock: at(30),
      oldestRecall: at(30))
    broker.points[first]?.logs = LogsPosition(since: at(1), next: Offset(1))
    let link = MemoryLink(broker)
    var request = RestoredVerdict(
      traceID: traceID(2), isKept: false, isFinal: false, isLate: true, reasons: ["errors"],
      threshold: .never, decidedAt: at(30), firstOffset: Offset(1), lastOffset: Offset(2),
      recall: .requested(until: Offset(1)))
    request.logsUntil = Offset(1)
    let verdict = RestoredVerdict(
      traceID: traceID(2), isKept: false, isFinal: true, threshold: .never, decidedAt: at(10),
      firstOffset: Offset(1), lastOffset: Offset(1))
    link.tails = [([verdict, request], .read(isWhole: true))]
    let lane = lane(link)
    tick(31, broker)
    for second in stride(from: 31.0, to: 42, by: 1) { try step(lane, second) }
    #expect(lane.snapshot().recallsPending == 0)
    #expect(try kept(broker) == ["logb"])
    tick(50, broker)
    try step(lane, 50, 51)
    #expect(try kept(broker) == ["logb", "logc"])
  }

  // MARK: Verdicts are known as long as logs need them

  /// Logs that are read long after their traces were decided.
  @Test func verdictsWaitForLogsThatAreLate() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    append(TestLog(trace: 2, text: "logb"), at: 1, to: broker)
    append(TestLog(trace: 3, text: "logc"), at: 1, to: broker)
    let link = MemoryLink(broker)
    link.againErrors = Array(repeating: BrokerError(.retry, "no answer"), count: 1000)
    let lane = lane(link)
    try step(lane, 0, 1)
    for second in stride(from: 20.0, to: 5000, by: 20) {
      tick(second, broker)
      try step(lane, second)
    }
    #expect(broker.outputs(to: .sampledLogs).isEmpty)
    // Spans know of old verdicts what they always did.
    #expect(lane.job.partitions[0].state.sampler.usage.pastVerdicts > 200)
    link.againErrors = []
    tick(5010, broker)
    try step(lane, 5010, 5011)
    #expect(try kept(broker) == ["loga"])
    #expect(lane.snapshot().lane.logs.dropped == 1)
    #expect(lane.snapshot().lane.logs.unknownDropped == 1)
    // Once logs have been read, the verdicts on them are forgotten.
    for second in stride(from: 5020.0, to: 5060, by: 4) {
      tick(second, broker)
      try step(lane, second)
    }
    #expect(lane.job.partitions[0].state.sampler.usage.pastVerdicts < 60)
  }

  @Test func verdictsForLateLogsAreReadBack() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    let link = MemoryLink(broker)
    link.againErrors = Array(repeating: BrokerError(.retry, "no answer"), count: 1000)
    try step(lane(link), 0, 1, 2)
    broker.points[first] = CommitPoint(
      safeOffset: Offset(2), clockAtSafeOffset: at(5000), highWater: Offset(2), clock: at(5000))
    broker.points[first]?.logs = LogsPosition(since: at(0), next: Offset(0))
    let next = MemoryLink(broker)
    next.tails = [
      (
        [
          RestoredVerdict(
            traceID: traceID(1), isKept: true, isFinal: true, threshold: .always, decidedAt: at(2))
        ],
        .read(isWhole: true)
      )
    ]
    tick(5001, broker)
    let lane = lane(next)
    try step(lane, 5001, 5002)
    #expect(next.asked.first.map { $0 < at(-500) } == true)
    #expect(try kept(broker) == ["loga"])
  }

  /// Without its verdict, nobody can say that a trace was dropped.
  @Test func logsWhoseVerdictIsMissingAreKept() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    broker.points[first] = CommitPoint(
      safeOffset: Offset(2), clockAtSafeOffset: at(5000), highWater: Offset(2), clock: at(5000))
    broker.points[first]?.logs = LogsPosition(since: at(0), next: Offset(0))
    let link = MemoryLink(broker)
    link.tails = [([], .read(isWhole: false))]
    tick(5001, broker)
    let lane = lane(link)
    try step(lane, 5001, 5002, 5006)
    append(TestLog(trace: 1, text: "logb"), at: 5010, to: broker)
    tick(5040, broker)
    try step(lane, 5040, 5041)
    #expect(try kept(broker) == ["loga", "logb"], "a verdict is known longer than late_window")
    #expect(lane.snapshot().lane.logs.forgottenKept == 2)
  }

  @Test func aQuietTopicOfLogsHoldsNoVerdictsBack() throws {
    let broker = broker()
    let lane = lane(MemoryLink(broker))
    try step(lane, 0, 1)
    for second in stride(from: 20.0, to: 5000, by: 20) {
      tick(second, broker)
      try step(lane, second)
    }
    #expect(lane.job.partitions[0].state.sampler.usage.pastVerdicts < 60)
  }

  @Test func aBrokersErrorIsRepeated() throws {
    let broker = broker()
    append(TestLog(trace: 1, text: "loga"), at: 1, to: broker)
    tick(30, broker)
    let link = MemoryLink(broker)
    link.againErrors = [BrokerError(.retry, "no answer")]
    let lane = lane(link)
    try step(lane, 0, 1, 2)
    #expect(try kept(broker) == [])
    try step(lane, 30, 31)
    #expect(try kept(broker) == ["loga"])
  }

  /// What follows the mark was written when the clock had been set back, or later.
  @Test func aMarkGoesBackWithTheClock() {
    func second(_ second: Int64) -> Instant { Instant(nanoseconds: second * 1_000_000_000) }
    var logs = FollowedLogs(LogsPosition(since: second(10), next: Offset(5)))
    logs.follow(second(100))
    let place = RecordPlace(partition: PartitionID(0), offset: Offset(5), timestamp: second(10))
    logs.hold(FollowedLogs.Request(place: place, key: nil, value: nil), heldBytesMax: 1000)
    logs.noteEnd(Offset(6), isRead: true, now: second(100))
    logs.follow(second(20))
    logs.follow(second(60))
    logs.removeHead()
    #expect(logs.since == second(20))
  }
}
