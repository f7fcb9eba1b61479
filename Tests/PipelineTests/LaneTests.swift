// A lane over an in-memory broker: what it writes, what it commits and when, and how it handles the group's
// events.

import OTLP
import Sampling
import Testing
import Topology

@testable import Pipeline

private func configuration(_ change: (inout SamplingJob.Configuration) -> Void = { _ in })
  -> SamplingJob.Configuration
{
  var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
  configuration.sampler.windows.decisionWait = .seconds(30)
  change(&configuration)
  return configuration
}

private func lane(_ link: MemoryLink, _ configuration: SamplingJob.Configuration = configuration()) -> Lane<
  MemoryLink, SamplingJob
> {
  Lane(link: link, configuration: configuration) { _ in }
}

/// A failure that a retry may fix.
private let passing = BrokerError(.retry, "not now")

@Suite struct LaneOutputTests {
  @Test func aKeptTraceGoesToThePartitionItCameFrom() throws {
    let broker = MemoryBroker(partitions: 3)
    let value = tracesData([TestSpan(trace: 1, id: 1, isError: true)])
    broker.append(value, key: traceKey(1), at: at(0), to: 2)
    let lane = lane(MemoryLink(broker, assigned: 3))
    for second in [0.0, 0.1, 10] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    let sampled = broker.outputs(to: .sampled)
    #expect(sampled.map(\.partition) == [PartitionID(2)])
    #expect(sampled.map(\.keyText) == [traceID(1).description])
    #expect(
      broker.outputs(to: .decisions).allSatisfy { $0.partition == PartitionID(2) && $0.headers.isEmpty })
    let decisions = try broker.decisions()
    #expect(decisions.map(\.verdict) == ["keep", "keep"])
    #expect(decisions.map(\.final) == [false, true])
    #expect(decisions.map(\.trigger) == ["eager", "root"])
    #expect(decisions.allSatisfy { $0.traceId == traceID(1).description && $0.reasons == ["errors"] })
  }

  @Test func outputsAreWrittenBeforeTheCommitThatCoversThem() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, isError: true)]), at: at(0))
    let lane = lane(MemoryLink(broker))
    for second in [0.0, 1, 2, 9] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    let final = try #require(broker.steps.lastIndex(of: .wrote(.decisions)))
    let commit = try #require(broker.steps.firstIndex(of: .committed([PartitionID(0): 1])))
    #expect(final < commit)
  }

  @Test func commitsStayAtTheOldestUndecidedTrace() throws {
    let broker = MemoryBroker()
    // Trace 2 has a missing parent and waits for the whole decision wait; 1 and 3 are complete.
    broker.append(tracesData([TestSpan(trace: 1, id: 1)]), at: at(0))
    broker.append(tracesData([TestSpan(trace: 2, id: 1, parent: 9)]), at: at(1))
    broker.append(tracesData([TestSpan(trace: 3, id: 1)]), at: at(2))
    let lane = lane(MemoryLink(broker))
    for second in 0..<40 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    let commits = broker.commits
    #expect(Array(commits.uniqued()) == [0, 1, 3])
    #expect(try broker.decisions().map(\.traceId) == [1, 3, 2].map { traceID($0).description })
    let point = try #require(broker.points[PartitionID(0)])
    #expect(point.highWater == Offset(3))
  }

  @Test func commitsComeAtTheirIntervalAndOnlyWithSomethingNew() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1)]), at: at(0))
    let lane = lane(MemoryLink(broker), configuration { $0.idleAfter = .seconds(100) })
    for tenth in 0..<50 { try lane.step(at: moment(at(Double(tenth) / 10)), timeout: .seconds(0)) }
    #expect(broker.commits == [0])
    broker.append(nil, at: at(0.2))
    for tenth in 50..<60 { try lane.step(at: moment(at(Double(tenth) / 10)), timeout: .seconds(0)) }
    // The safe offset is the same but the high water is not.
    #expect(broker.commits == [0, 0])
  }

  @Test func aQuietPartitionsClockGoesOnOnceItsEndIsKnown() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, parent: 9)]), at: at(0))
    let link = MemoryLink(broker, assigned: 0)
    let lane = lane(link, configuration { $0.idleAfter = .seconds(2) })
    link.events = [.assigned([PartitionID(0)])]
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    try lane.step(at: moment(at(100)), timeout: .seconds(0))
    #expect(try broker.decisions().isEmpty, "the partition was active a moment ago")
    try lane.step(at: moment(at(101)), timeout: .seconds(0))
    #expect(try broker.decisions().isEmpty)
    // From the record's own time on, not from the current wall clock.
    try lane.step(at: moment(at(129)), timeout: .seconds(0))
    #expect(try broker.decisions().isEmpty)
    try lane.step(at: moment(at(130)), timeout: .seconds(0))
    #expect(try broker.decisions().map(\.trigger) == ["wait"])
  }

  @Test func settingTheWallClockClosesNoWindow() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, parent: 9)]), at: at(0))
    let lane = lane(MemoryLink(broker), configuration { $0.idleAfter = .seconds(0) })
    for second in 0..<20 {
      let wall = at(second < 3 ? 0 : second % 2 == 0 ? 90_000 : 1)
      try lane.step(at: Moment(wall: wall, steady: at(Double(second))), timeout: .seconds(0))
    }
    #expect(try broker.decisions().isEmpty)
    try lane.step(at: Moment(wall: at(2), steady: at(40)), timeout: .seconds(0))
    #expect(try broker.decisions().map(\.trigger) == ["wait"])
  }

  /// Nothing has arrived for a while, but there is more: fetching hangs, as it may during a rebalance.
  @Test func aPartitionWhoseRecordsDoNotComeIsNotQuiet() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, parent: 9)]), at: at(0))
    let link = MemoryLink(broker)
    let lane = lane(link)
    for second in 0..<3 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    link.isStalled = true
    broker.append(tracesData([TestSpan(trace: 1, id: 2, parent: 1, isError: true)]), at: at(20))
    link.endErrors = [passing]
    for second in 3..<60 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    #expect(try broker.decisions().isEmpty)
    link.isStalled = false
    for second in 60..<75 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    #expect(try broker.decisions().map(\.verdict) == ["keep", "keep"])
  }

  @Test func aPartitionThatIsNotReadToItsEndKeepsItsOwnTime() throws {
    let broker = MemoryBroker()
    for number in 0..<10 {
      broker.append(tracesData([TestSpan(trace: UInt64(number + 1), id: 1, parent: 9)]), at: at(0))
    }
    let link = MemoryLink(broker)
    link.batch = 1
    let lane = lane(link, configuration { $0.idleAfter = .seconds(0) })
    for second in 0..<9 { try lane.step(at: moment(at(Double(second) * 100)), timeout: .seconds(0)) }
    #expect(try broker.decisions().isEmpty)
    for second in 9..<12 { try lane.step(at: moment(at(Double(second) * 100)), timeout: .seconds(0)) }
    #expect(try broker.decisions().count == 10)
  }

  /// Some offsets hold no record but a transaction marker. A stale end doesn't count.
  @Test(arguments: [(Int64(1), 0), (2, 1), (0, 0)])
  func theEndMayLieAfterTheLastRecordButNotBeforeIt(_ end: Int64, _ decided: Int) throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, parent: 9)]), at: at(0))
    let link = MemoryLink(broker)
    let lane = lane(link)
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    // One record, and the end is known only from the test.
    broker.append(nil, at: at(0))
    link.batch = 1
    try lane.step(at: moment(at(0.1)), timeout: .seconds(0))
    link.batch = 0
    link.events = [.caughtUp(PartitionID(0), Offset(end))]
    try lane.step(at: moment(at(50)), timeout: .seconds(0))
    #expect(try broker.decisions().count == decided)
  }

  @Test func memoryIsRelievedWhereMostIsHeld() throws {
    let broker = MemoryBroker(partitions: 2)
    for trace in 1...400 {
      let spans = [TestSpan(trace: UInt64(trace), id: 1, parent: 9, padding: 50_000)]
      broker.append(tracesData(spans), at: at(0), to: trace <= 300 ? 0 : 1)
    }
    let lane = lane(MemoryLink(broker, assigned: 2), configuration { $0.memoryBytesMax = 12 << 20 })
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    try lane.step(at: moment(at(0.1)), timeout: .seconds(0))
    let snapshot = lane.snapshot()
    #expect(snapshot.residentBytes <= 12 << 20)
    #expect(snapshot.bufferedBytes > 6_000_000)
    let shed = try broker.decisions()
    #expect(shed.allSatisfy { $0.trigger == "memory" })
    #expect(shed.count == 400 - snapshot.openTraces)
    #expect(
      shed.map(\.firstOffset) == Array(0..<Int64(shed.count)), "the oldest ones of the larger partition")
    #expect(snapshot.counters.tracesShed == UInt64(shed.count))
  }
}

/// One log, read at two times, by hosts whose clocks differ.
@Suite struct LaneClockTests {
  /// A minute and a half of traces, five a second, some with a later error; one host in seven stamps its
  /// records ten minutes ahead.
  private func log() -> [MemoryBroker.Input] {
    var spans: [(second: Double, span: TestSpan)] = []
    for number in 0..<450 {
      let (trace, second) = (UInt64(number + 1), Double(number) / 5)
      spans.append((second, TestSpan(trace: trace, id: 1)))
      spans.append((second + 0.3, TestSpan(trace: trace, id: 2, parent: 1)))
      if number % 10 == 0 {
        spans.append((second + 4, TestSpan(trace: trace, id: 3, parent: 1, isError: true)))
      }
    }
    return spans.sorted { ($0.second, $0.span.trace) < ($1.second, $1.span.trace) }.enumerated().map {
      number, entry in
      MemoryBroker.Input(
        timestamp: at(entry.second + (number % 7 == 3 ? 600 : 0)), key: traceKey(entry.span.trace),
        value: tracesData([entry.span]))
    }
  }

  /// The output once the log is read to its end.
  private func outputs(
    _ read: (MemoryBroker, Lane<MemoryLink, SamplingJob>, [MemoryBroker.Input]) throws -> Void
  ) throws
    -> [[[UInt8]?]]
  {
    let broker = MemoryBroker()
    let lane = lane(MemoryLink(broker))
    try read(broker, lane, log())
    #expect(lane.snapshot().counters.recordsRead == UInt64(broker.inputs[0].count))
    return OutputTopic.allCases.map { broker.outputs(to: $0).map(\.value) }
  }

  @Test func whenALogIsReadMakesNoDifference() throws {
    let live = try outputs { broker, lane, log in
      for tenth in 0..<905 {
        let now = at(Double(tenth) / 10)
        let end = Int(Double(log.count) * min(1, Double(tenth) / 900))
        broker.inputs[0] = Array(log[..<end])
        try lane.step(at: moment(now), timeout: .seconds(0))
      }
    }
    let later = try outputs { broker, lane, log in
      broker.inputs[0] = log
      for tenth in 0..<3 {
        try lane.step(at: moment(at(600 + Double(tenth) / 10)), timeout: .seconds(0))
      }
    }
    // Not as an operand of `#expect`: it would take minutes to show the difference.
    let isSame = live == later
    #expect(isSame)
    let finals = live.flatMap { $0 }.compactMap { try? DecisionRecord($0 ?? []) }.filter(\.final)
    // All traces due are decided; each error four seconds after its root is kept.
    #expect(finals.count > 400)
    #expect(finals.count { $0.verdict == "keep" } >= 40)
    #expect(finals.allSatisfy { $0.trigger == "root" })
  }

  /// A lane that catches up: after an hour without traffic there are too few records to show that the log has
  /// moved on. The passage of time decides them, none before its wait is over.
  @Test func fewRecordsAfterAGapAreDecidedByTheTimeThatPasses() throws {
    let broker = MemoryBroker()
    for number in 0..<20 {
      broker.append(
        tracesData([TestSpan(trace: UInt64(number + 1), id: 1, parent: 9)]), at: at(0.1 * Double(number)))
    }
    for number in 0..<20 {
      let span = TestSpan(trace: UInt64(number + 101), id: 1, parent: 9)
      broker.append(tracesData([span]), at: at(3600 + 0.1 * Double(number)))
    }
    let lane = lane(MemoryLink(broker))
    for second in 0..<30 { try lane.step(at: moment(at(7000 + Double(second))), timeout: .seconds(0)) }
    #expect(try broker.decisions().isEmpty)
    for second in 30..<35 { try lane.step(at: moment(at(7000 + Double(second))), timeout: .seconds(0)) }
    #expect(try broker.decisions().count == 40)
    try lane.stop()
    #expect(broker.points[PartitionID(0)]?.safeOffset == Offset(40))
  }

  /// A record every ten seconds: each is further ahead of the one before than a clock may be, but not ahead
  /// of the time elapsed.
  @Test func aTrickleIsDecidedAsItComes() throws {
    let broker = MemoryBroker()
    let lane = lane(MemoryLink(broker))
    for second in 0..<200 {
      if second % 10 == 0 {
        let span = TestSpan(trace: UInt64(second + 1), id: 1, parent: 9)
        broker.append(tracesData([span]), at: at(Double(second)))
      }
      try lane.step(at: moment(at(Double(second) + 0.1)), timeout: .seconds(0))
      // Each waits thirty seconds, and a moment until the lane is sure.
      let due = max(0, (second - 32) / 10 + 1)
      #expect(try broker.decisions().count >= (second < 32 ? 0 : due))
    }
    #expect(try broker.decisions().allSatisfy { $0.trigger == "wait" })
  }
}

@Suite struct LaneDeadLetterTests {
  private static let good = tracesData([TestSpan(trace: 7, id: 1, isError: true)])

  @Test(
    arguments: [
      (nil, "tombstone"), ([], "empty"), ([0xff, 0xff, 0xff], "truncated"), (Array("{}".utf8), "group"),
      ([0x0a, 0x7f, 0x00], "length_past_end"), (Array(repeating: 0x61, count: 1000), nil),
      ([0x0a, 0x00], "no_spans"),
    ] as [([UInt8]?, String?)])
  func unreadableRecordsAreDeadLettered(_ value: [UInt8]?, _ reason: String?) throws {
    let broker = MemoryBroker(partitions: 2)
    broker.append(LaneDeadLetterTests.good, key: traceKey(7), at: at(0), to: 1)
    broker.append(value, key: Array("its key".utf8), at: at(0.1), to: 1)
    broker.append(tracesData([TestSpan(trace: 7, id: 2, parent: 1)]), key: traceKey(7), at: at(0.2), to: 1)
    let lane = lane(MemoryLink(broker, assigned: 2), configuration { $0.topic = "my-spans" })
    for second in [0.0, 0.1, 20] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    let letters = broker.outputs(to: .deadLetters)
    let letter = try #require(letters.first)
    #expect(letters.count == 1)
    #expect(letter.value == value)
    #expect(letter.keyText == "its key")
    #expect(letter.partition == nil)
    if let reason { #expect(letter.headers["reason"] == reason) }
    #expect(letter.headers["error"]?.contains(" at byte ") == true)
    #expect(letter.headers["source_topic"] == "my-spans")
    #expect(letter.headers["source_partition"] == "1")
    #expect(letter.headers["source_offset"] == "1")
    #expect(lane.snapshot().lane.deadLetters.values.reduce(0, +) == 1)
    // The spans around it are sampled as if it did not exist.
    #expect(try broker.sampledSpans() == [traceID(7): [1, 2]])
    #expect(broker.points[PartitionID(1)]?.safeOffset == Offset(3))
  }

  @Test func aRecordOverTheLimitIsOne() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, padding: 5000)]), at: at(0))
    let lane = lane(MemoryLink(broker), configuration { $0.sampler.limits.recordBytes = 4000 })
    for _ in 0..<2 { try lane.step(at: moment(at(0)), timeout: .seconds(0)) }
    #expect(broker.outputs(to: .deadLetters).map { $0.headers["reason"] } == ["record_too_large"])
  }

  @Test func oneThatIsTooLargeGoesWithoutItsValue() throws {
    let broker = MemoryBroker()
    broker.append(Array(repeating: 0xff, count: 3000), key: Array("k".utf8), at: at(0))
    broker.append(Array(repeating: 0xff, count: 10), key: Array(repeating: 0x6b, count: 3000), at: at(0))
    let lane = lane(MemoryLink(broker), configuration { $0.deadLetterBytesMax = 2000 })
    for _ in 0..<2 { try lane.step(at: moment(at(0)), timeout: .seconds(0)) }
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.map(\.value) == [nil, Array(repeating: 0xff, count: 10)])
    #expect(letters.map(\.key) == [Array("k".utf8), nil])
    #expect(letters.map { $0.headers["value_left_out_bytes"] } == ["3000", nil])
    #expect(letters.map { $0.headers["key_left_out_bytes"] } == [nil, "3000"])
    #expect(letters.map { $0.headers["source_offset"] } == ["0", "1"])
  }

  @Test func aKeptSpanThatFitsNowhereIsOne() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, isError: true, padding: 5000)]), at: at(0))
    broker.append(tracesData([TestSpan(trace: 1, id: 2, parent: 1)]), at: at(0))
    let lane = lane(
      MemoryLink(broker),
      configuration {
        $0.sampler.limits.forwardBytes = 1000
        $0.sampledBytesMax = 2000
      })
    for second in [0.0, 0.1, 20] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    let letter = try #require(broker.outputs(to: .deadLetters).first)
    #expect(letter.headers["reason"] == "span_too_large")
    #expect(letter.headers["source_topic"] == "spans")
    #expect(letter.headers["source_partition"] == "0")
    #expect(letter.headers["source_offset"] == "0")
    #expect(letter.headers["trace_id"] == traceID(1).description)
    #expect(letter.headers["span_id"] == "0000000000000001")
    #expect(letter.keyText == traceID(1).description)
    #expect(try scannedSpans(letter.value ?? []).map(\.spanID) == [1])
    #expect(try broker.sampledSpans() == [traceID(1): [2]])
    #expect(lane.snapshot().lane.sampled == 1)
    #expect(lane.snapshot().counters.spansTooLarge == 1)
    #expect(try broker.decisions().map(\.tooLargeSpans) == [1, 1], "the decision says that one is missing")
  }

  /// Its record is no longer known when the trace is decided: the trace's records are named.
  @Test func aBufferedSpanThatFitsNowhereHasAPointer() throws {
    let broker = MemoryBroker()
    broker.append(nil, at: at(0))
    broker.append(tracesData([TestSpan(trace: 1, id: 2, parent: 1)]), at: at(0))
    broker.append(tracesData([TestSpan(trace: 1, id: 3, parent: 1, padding: 5000)]), at: at(0))
    broker.append(nil, at: at(0))
    broker.append(tracesData([TestSpan(trace: 1, id: 1)]), at: at(0))
    let lane = lane(
      MemoryLink(broker),
      configuration {
        $0.sampler.policies = [Policy(name: "all", rule: .probabilistic(.always))]
        $0.sampler.limits.forwardBytes = 1000
        $0.sampledBytesMax = 2000
        $0.deadLetterBytesMax = 3000
      })
    for second in [0.0, 0.1, 20] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    let letter = try #require(
      broker.outputs(to: .deadLetters).first { $0.headers["reason"] == "span_too_large" })
    #expect(letter.value == nil && letter.keyText == traceID(1).description)
    #expect(Int(letter.headers["value_left_out_bytes"] ?? "") ?? 0 > 5000)
    #expect(letter.headers["source_offset"] == "1")
    #expect(letter.headers["source_offset_last"] == "4")
    #expect(letter.headers["span_id"] == "0000000000000003")
    #expect(try broker.sampledSpans() == [traceID(1): [2, 1]])
  }

  /// The topic's limit is for key, value and headers together.
  @Test(arguments: 0..<600) func headersCount(_ padding: Int) throws {
    let broker = MemoryBroker()
    broker.append(Array(repeating: 0xff, count: padding), key: Array("k".utf8), at: at(0))
    let lane = lane(MemoryLink(broker), configuration { $0.deadLetterBytesMax = 500 })
    for _ in 0..<2 { try lane.step(at: moment(at(0)), timeout: .seconds(0)) }
    let letter = try #require(broker.outputs(to: .deadLetters).first)
    let headers = letter.headers.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
    #expect((letter.value?.count ?? 0) + (letter.key?.count ?? 0) + headers <= 500)
    #expect(letter.headers["source_offset"] == "0")
  }

  @Test func recordsOfJSONAreConverted() throws {
    let broker = MemoryBroker()
    let id = traceID(5).description
    let json = """
      {"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
      "scopeSpans":[{"spans":[{"traceId":"\(id)","spanId":"00000000000000aa","name":"a",
      "startTimeUnixNano":"1","endTimeUnixNano":"2","status":{"code":2}}]}]}]}
      """
    broker.append(Array(json.utf8), key: traceKey(5), at: at(0))
    broker.append(Array("{\"resourceSpans\":[".utf8), at: at(0))
    broker.append(LaneDeadLetterTests.good, at: at(0))
    broker.append(Array("{}".utf8), at: at(0))
    broker.append(nil, at: at(0))
    broker.append([], at: at(0))
    let lane = lane(MemoryLink(broker), configuration { $0.encoding = .otlpJSON })
    for second in [0.0, 0.1, 20] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    #expect(try broker.sampledSpans() == [traceID(5): [0xaa]])
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.map { $0.headers["source_offset"] } == ["1", "2", "3", "4", "5"])
    #expect(letters.map(\.value) == broker.inputs[0].dropFirst().map(\.value))
    #expect(letters.dropFirst(2).map { $0.headers["reason"] } == ["no_spans", "tombstone", "empty"])
    #expect(broker.points[PartitionID(0)]?.safeOffset == Offset(6))
    #expect(lane.snapshot().counters.recordsRead == 6)
  }
}

@Suite struct LaneGroupTests {
  private let first = PartitionID(0)
  private let second = PartitionID(1)

  private func brokerWithOpenTraces() -> MemoryBroker {
    let broker = MemoryBroker(partitions: 2)
    for partition in 0..<2 {
      broker.append(nil, at: at(0), to: partition)
      let span = TestSpan(trace: UInt64(partition + 1), id: 1, parent: 9)
      broker.append(tracesData([span]), at: at(0), to: partition)
    }
    return broker
  }

  @Test func aRevokedPartitionIsCommittedThenReleased() throws {
    let broker = brokerWithOpenTraces()
    let link = MemoryLink(broker, assigned: 2)
    let lane = lane(link, configuration { $0.pace.interval = .seconds(1000) })
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    broker.steps = []
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    #expect(broker.points.isEmpty)
    link.events.append(.revoked([second]))
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    // All of them are committed: output of the others is in the same transaction.
    #expect(broker.steps.suffix(2) == [.committed([first: 1, second: 1]), .released([second])])
    #expect(lane.snapshot().partitions == [first])
    #expect(lane.snapshot().openTraces == 1)
    #expect(lane.snapshot().counters.tracesOpened == 2, "what a released partition did is still counted")
  }

  @Test func nothingIsCommittedForALostPartition() throws {
    let broker = brokerWithOpenTraces()
    let link = MemoryLink(broker, assigned: 2)
    let lane = lane(link, configuration { $0.pace.interval = .seconds(1000) })
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    broker.steps = []
    link.events.append(.lost([first]))
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    // Its output can't be separated from the rest, which restarts from the last commit.
    #expect(
      broker.steps == [.released([first]), .aborted, .released([second]), .resumed([second: nil])])
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    try lane.stop()
    #expect(broker.steps.suffix(2) == [.committed([second: 1]), .closed])
    #expect(broker.points[first] == nil)
  }

  @Test func stoppingCommitsAndDecidesNothing() throws {
    let broker = brokerWithOpenTraces()
    let lane = lane(MemoryLink(broker, assigned: 2))
    for _ in 0..<2 { try lane.step(at: moment(at(0)), timeout: .seconds(0)) }
    try lane.stop()
    #expect(broker.steps.last == .closed)
    #expect(try broker.decisions().isEmpty)
    #expect(broker.points[first]?.safeOffset == Offset(1))
  }

  @Test func recordsBelowThePositionAreIgnored() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, isError: true)]), at: at(0))
    broker.append(nil, at: at(0))
    let link = MemoryLink(broker)
    let lane = lane(link)
    for _ in 0..<2 { try lane.step(at: moment(at(0)), timeout: .seconds(0)) }
    link.strays = [(0, 0), (0, 1)]
    try lane.step(at: moment(at(20)), timeout: .seconds(0))
    try lane.step(at: moment(at(21)), timeout: .seconds(0))
    #expect(try broker.sampledSpans() == [traceID(1): [1]])
    #expect(broker.outputs(to: .deadLetters).count == 1)
    #expect(lane.snapshot().counters.recordsRead == 2)
  }

  @Test func recordsOfPartitionsThatAreNotAssignedAreCountedAndLeft() throws {
    let broker = brokerWithOpenTraces()
    let link = MemoryLink(broker, assigned: 1)
    let lane = lane(link)
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    link.strays = [(1, 1)]
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    #expect(lane.snapshot().lane.recordsNotAssigned == 1)
    #expect(lane.snapshot().openTraces == 1)
  }

  @Test func aFailedCommitIsRetriedWithoutWritingAgain() throws {
    let broker = MemoryBroker()
    broker.append(tracesData([TestSpan(trace: 1, id: 1, isError: true)]), at: at(0))
    let link = MemoryLink(broker)
    let lane = lane(link)
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    link.commitErrors = [passing, passing]
    for second in [2.0, 2.1] {
      #expect(throws: passing) { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    }
    #expect(broker.points.isEmpty)
    try lane.step(at: moment(at(2.2)), timeout: .seconds(0))
    #expect(broker.commits == [0])
    #expect(try broker.sampledSpans() == [traceID(1): [1]])
  }

  @Test(arguments: [BrokerError.Remedy.retry, .abort])
  func aRevokedPartitionIsReleasedEvenIfItCannotBeCommitted(_ remedy: BrokerError.Remedy) throws {
    let broker = brokerWithOpenTraces()
    let link = MemoryLink(broker, assigned: 2)
    let lane = lane(link, configuration { $0.pace.interval = .seconds(1000) })
    for _ in 0..<2 { try lane.step(at: moment(at(0)), timeout: .seconds(0)) }
    broker.steps = []
    link.events.append(.revoked([second]))
    link.commitErrors = [BrokerError(remedy, "no")]
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    // Its remaining partitions restart from the last commit: their output since is aborted too.
    #expect(
      broker.steps == [.released([second]), .aborted, .released([first]), .resumed([first: nil])])
    #expect(lane.snapshot().partitions == [first])
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    #expect(lane.snapshot().openTraces == 1)
  }

  @Test func anAbortedCommitStartsAllPartitionsFromTheirLastCommit() throws {
    let broker = MemoryBroker()
    broker.append(nil, at: at(0))
    broker.append(tracesData([TestSpan(trace: 1, id: 1, isError: true)]), at: at(0))
    let link = MemoryLink(broker)
    let lane = lane(link)
    for _ in 0..<2 { try lane.step(at: moment(at(0)), timeout: .seconds(0)) }
    link.commitErrors = [BrokerError(.abort, "the transaction is void")]
    try lane.step(at: moment(at(1.5)), timeout: .seconds(0))
    #expect(broker.steps.suffix(2) == [.aborted, .released([first])])
    broker.outputs = []
    for second in [1.6, 3.0, 4.0, 20] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    #expect(try broker.sampledSpans() == [traceID(1): [1]])
    #expect(broker.points[first]?.safeOffset == Offset(2))
  }

  @Test func anAssignmentThatCannotBeResumedWaits() throws {
    let broker = brokerWithOpenTraces()
    let link = MemoryLink(broker, assigned: 2)
    link.committedErrors = [passing]
    link.resumeErrors = [passing]
    let lane = lane(link)
    // After an error it waits a little before the next request.
    for second in 0..<5 { try? lane.step(at: moment(at(Double(second) / 1.9)), timeout: .seconds(0)) }
    #expect(lane.snapshot().partitions == [first, second])
    #expect(lane.snapshot().openTraces == 2)
    #expect(broker.outputs(to: .deadLetters).count == 2, "each partition has one sampler")
  }

  @Test func anAssignmentOfNothingIsAnsweredToo() throws {
    let broker = brokerWithOpenTraces()
    let link = MemoryLink(broker, assigned: 1)
    let lane = lane(link)
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    let answers = broker.answers
    link.events.append(.assigned([]))
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    #expect(broker.answers == answers + 1)
  }

  @Test func transientErrorsAreReported() throws {
    let link = MemoryLink(MemoryBroker())
    var reported: [BrokerError] = []
    let lane = Lane(link: link, configuration: configuration()) { event in
      if case .disturbed(let error) = event { reported.append(error) }
    }
    link.events.append(.disturbed(passing))
    try lane.step(at: moment(at(0)), timeout: .seconds(0))
    #expect(reported == [passing])
  }
}

extension Sequence where Element: Equatable {
  /// The elements without consecutive repetitions.
  fileprivate func uniqued() -> [Element] {
    reduce(into: []) { if $0.last != $1 { $0.append($1) } }
  }
}
