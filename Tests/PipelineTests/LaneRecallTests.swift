// A lane that recalls dropped traces: its budget, errors while it reads again, partitions that move, aborts.

import OTLP
import Sampling
import Testing

@testable import Pipeline

@Suite struct LaneRecallTests {
  private let first = PartitionID(0)

  private func lane(
    _ link: MemoryLink, bytesPerSecond: Int = 1 << 20, recallBytes: Int = 64 << 20,
    lookUpBytesPerSecond: Int? = nil, _ note: @escaping (LaneEvent) -> Void = { _ in }
  ) -> Lane<MemoryLink, SamplingJob> {
    var sampler = SamplerConfiguration()
    sampler.dropped = .compact
    sampler.windows.recallWindow = .seconds(3600)
    sampler.limits.recallBytes = recallBytes
    if lookUpBytesPerSecond != nil {
      sampler.windows.lateWindow = .seconds(60)
      sampler.windows.looksUpVerdicts = true
    }
    var configuration = SamplingJob.Configuration(sampler: sampler, topic: "spans")
    if let lookUpBytesPerSecond { configuration.lookUpBytesPerSecond = lookUpBytesPerSecond }
    configuration.recallBytesPerSecond = bytesPerSecond
    return Lane(link: link, configuration: configuration, report: note)
  }

  /// A lane over two partitions, each with a dropped trace of some large spans. Their errors come at second
  /// 20.
  private func twoLargeTraces(
    recallBytes: Int = 64 << 20
  ) throws -> (broker: MemoryBroker, link: MemoryLink, lane: Lane<MemoryLink, SamplingJob>) {
    let broker = MemoryBroker(partitions: 2)
    for id in 1...5 as ClosedRange<UInt64> {
      for trace in 1...2 as ClosedRange<UInt64> {
        let span = TestSpan(trace: trace, id: id, parent: id - 1, padding: 1000)
        broker.append(tracesData([span]), at: at(0), to: Int(trace) - 1)
      }
    }
    let link = MemoryLink(broker, assigned: 2)
    let lane = lane(link, recallBytes: recallBytes)
    try step(lane, 0, 1, 2, 9)
    for trace in 1...2 as ClosedRange<UInt64> {
      let error = TestSpan(trace: trace, id: 6, parent: 1, isError: true)
      broker.append(tracesData([error]), at: at(20), to: Int(trace) - 1)
    }
    return (broker, link, lane)
  }

  /// Partitions share what a lane may hold; that which has waited longest goes first.
  @Test func whatALaneHoldsIsBounded() throws {
    let (broker, _, lane) = try twoLargeTraces(recallBytes: 2000)
    var most = 0
    for second in 0..<100 as Range<Int> {
      try step(lane, 20 + Double(second) / 10)
      most = max(most, lane.snapshot().recallBytes)
    }
    #expect(most > 2000 && most < 8000, "one trace may exceed the limit")
    #expect(try revised(broker).map(\.recall) == ["done", "done"])
    let ids = Set(1...6 as ClosedRange<UInt64>)
    #expect(try broker.sampledSpans().values.map { Set($0) } == [ids, ids])
    #expect(lane.snapshot().counters.recallsPutBack > 0 && lane.snapshot().recallBytes == 0)
  }

  /// A leader that does not answer keeps no other partition waiting.
  @Test func aSilentLeaderKeepsNoOtherPartitionWaiting() throws {
    let (broker, link, lane) = try twoLargeTraces()
    link.silentAgain = [first]
    for second in 0..<100 as Range<Int> { try step(lane, 20 + Double(second) / 10) }
    #expect(try revised(broker).map(\.traceId) == [traceID(2).description])
    #expect(lane.snapshot().recallsPending == 1)
    link.silentAgain = []
    for second in 0..<50 as Range<Int> { try step(lane, 30 + Double(second) / 10) }
    #expect(try revised(broker).map(\.recall) == ["done", "done"])
  }

  /// What has left the log is told even if another partition's leader doesn't answer: reading goes on after
  /// it.
  @Test func whatIsLostIsToldThoughAnotherLeaderIsSilent() throws {
    let (broker, link, lane) = try twoLargeTraces()
    link.silentAgain = [PartitionID(1)]
    link.logStart = 3
    for second in 0..<100 as Range<Int> { try step(lane, 20 + Double(second) / 10) }
    #expect(try revised(broker).map(\.traceId) == [traceID(1).description])
    #expect(try revised(broker).map(\.recall) != ["done"])
  }

  /// Without transactions a fulfilment may have been written before its worker ended, and its spans not: what
  /// the last commit has as pending is fulfilled again.
  @Test(arguments: [false, true])
  func atLeastOnceRecallsToo(isWritten: Bool) throws {
    let broker = broker()
    let link = MemoryLink(broker)
    link.isTransactional = false
    let lane = lane(link)
    try step(lane, 0, 1, 2, 9)
    appendErrors(to: broker)
    link.againErrors = [BrokerError(.retry, "not now")]
    try step(lane, 20, 22)
    #expect(broker.points[first]?.oldestRecall == at(20))
    if isWritten { for second in 0..<6 as Range<Int> { try step(lane, 23.1 + Double(second) / 10) } }
    #expect(try revised(broker).count == (isWritten ? 1 : 0))

    let next = MemoryLink(broker)
    next.isTransactional = false
    next.tails = [(try verdicts(broker), .read(isWhole: true))]
    let owner = self.lane(next)
    for second in 0..<60 as Range<Int> { try step(owner, 30 + Double(second) / 10) }
    let ids: [UInt64] = isWritten ? [1, 2, 3, 1, 2, 3] : [1, 2, 3]
    #expect(try revised(broker).map(\.recall) == (isWritten ? ["done", "done"] : ["done"]))
    #expect(try broker.sampledSpans() == [traceID(1): ids])
    #expect(broker.points[first]?.oldestRecall == nil)
  }

  private func step(_ lane: Lane<MemoryLink, SamplingJob>, _ seconds: Double...) throws {
    for second in seconds { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
  }

  /// Traces 1, 2, … of two spans, dropped by second 9. Each has its own partition if there are several.
  private func broker(traces: UInt64 = 1, partitions: Int = 1) -> MemoryBroker {
    let broker = MemoryBroker(partitions: partitions)
    for trace in 1...traces {
      let partition = (Int(trace) - 1) % partitions
      broker.append(tracesData([TestSpan(trace: trace, id: 1)]), at: at(0), to: partition)
      broker.append(tracesData([TestSpan(trace: trace, id: 2, parent: 1)]), at: at(0), to: partition)
    }
    return broker
  }

  /// An error of each trace, after the verdict.
  private func appendErrors(traces: UInt64 = 1, to broker: MemoryBroker) {
    for trace in 1...traces {
      let error = TestSpan(trace: trace, id: 3, parent: 1, isError: true)
      broker.append(tracesData([error]), at: at(20), to: (Int(trace) - 1) % broker.inputs.count)
    }
  }

  private func revised(_ broker: MemoryBroker) throws -> [DecisionRecord] {
    try broker.decisions().filter { $0.revised == true }
  }

  /// What was written about a partition so far, as its next owner reads it back.
  private func verdicts(_ broker: MemoryBroker) throws -> [RestoredVerdict] {
    try broker.outputs(to: .decisions).filter { $0.partition == first }.map { output in
      try (output.value ?? []).withRawBytes { (bytes) throws(MalformedInput) in
        try RestoredVerdict(record: bytes)
      }
    }
  }

  @Test func aLateErrorBringsItsTraceBackWithinATransaction() throws {
    let broker = broker()
    let lane = lane(MemoryLink(broker))
    try step(lane, 0, 1, 2, 9)
    #expect(try broker.decisions().map(\.verdict) == ["drop"])
    appendErrors(to: broker)
    try step(lane, 20, 20.1)
    #expect(lane.snapshot().recallsPending == 1 && lane.snapshot().recallAge == .milliseconds(0))
    try step(lane, 20.2, 20.3, 25)
    let decisions = try broker.decisions()
    #expect(decisions.map(\.trigger) == ["root", "late", "recall"])
    #expect(decisions.map(\.recall) == [nil, "requested", "done"])
    #expect(decisions[1].recallUntil == 1 && decisions[1].lastOffset == 2)
    #expect(decisions[2].final && decisions[2].verdict == "keep" && decisions[2].spanCount == 3)
    #expect(try broker.sampledSpans() == [traceID(1): [1, 2, 3]])
    let written = try #require(broker.steps.lastIndex(of: .wrote(.sampled)))
    let recorded = try #require(broker.steps.lastIndex(of: .wrote(.decisions)))
    let after = broker.steps[max(written, recorded)...].dropFirst()
    #expect(after.contains(.committed([first: 3])), "with the commit that follows")
    #expect(broker.points[first]?.oldestRecall == nil)
    let snapshot = lane.snapshot()
    #expect(snapshot.recallsPending == 0 && snapshot.counters.tracesRecalled == 1)
    #expect(snapshot.counters.recordsReadAgain == 3 && snapshot.counters.spansRecalled == 3)
  }

  @Test func theBudgetFillsWithTimeUpToASecondsWorth() {
    var budget = ReadingBudget(rate: 1000)
    func mayRead(_ second: Double) -> Bool { budget.fill(at: at(second)) }
    #expect(mayRead(0), "it begins with a second's worth")
    budget.spend(2500)
    #expect([0, 1, 1.5, 1.6].map(mayRead) == [false, false, false, true])
    #expect(mayRead(1000), "what is not used is not saved")
    budget.spend(1000)
    #expect(
      [1000, 999, 999.1].map(mayRead) == [false, false, true], "a clock that is set back adds nothing")
  }

  @Test func aRecallWaitsForItsBudgetAndItsAgeIsKnown() throws {
    let broker = broker()
    let link = MemoryLink(broker)
    // A record has more bytes than the budget of a second.
    let lane = lane(link, bytesPerSecond: 50)
    try step(lane, 0, 1, 2, 9)
    appendErrors(to: broker)
    try step(lane, 20, 20.1, 20.2, 20.3)
    #expect(lane.snapshot().counters.recordsReadAgain == 1)
    #expect(try revised(broker).isEmpty && broker.sampledSpans().isEmpty)
    try step(lane, 25)
    #expect(broker.points[first]?.oldestRecall == at(20), "the next owner learns of it")
    for second in 26..<40 { try step(lane, Double(second)) }
    #expect(try revised(broker).count == 1)
    #expect(try broker.sampledSpans() == [traceID(1): [1, 2, 3]])
  }

  /// What is read to look up old verdicts has a budget of its own.
  @Test func aLookupWaitsForItsBudget() throws {
    let broker = broker()
    let link = MemoryLink(broker)
    let lane = lane(link, lookUpBytesPerSecond: 100)
    try step(lane, 0, 1, 2, 9, 100, 200)
    let late = TestSpan(trace: 1, id: 3, parent: 1, isError: true, end: UInt64(at(10).nanoseconds))
    broker.append(tracesData([late]), at: at(200))
    let verdict = try #require(try verdicts(broker).first)
    let others = (10..<15).map {
      RestoredVerdict(
        traceID: traceID($0), isKept: false, isFinal: true, threshold: .never, decidedAt: at(5))
    }
    // Each verdict takes 100 bytes.
    link.tails = [([verdict], .read(isWhole: true)), (others, .reading(read: 5, of: 6))]
    var reads: [Double] = []
    for tenth in 0..<200 {
      let asked = link.asked.count
      try step(lane, 200 + Double(tenth) / 10)
      if link.asked.count > asked { reads.append(200 + Double(tenth) / 10) }
    }
    #expect(reads.count == 2)
    #expect((reads.last ?? 0) - (reads.first ?? 0) > 4, "four seconds' worth was overdrawn")
    #expect(lane.snapshot().lane.lookUpBytes == 600)
    #expect(lane.snapshot().counters.lookupsFound == 1)
    #expect(try revised(broker).map(\.recall) == ["done"])
  }

  @Test func aBrokersErrorIsRepeatedUnlessItIsFinal() throws {
    let broker = broker()
    let link = MemoryLink(broker)
    var complaints: [String] = []
    let lane = lane(link) { if case .disturbed(let error) = $0 { complaints.append(error.message) } }
    try step(lane, 0, 1, 2, 9)
    appendErrors(to: broker)
    link.againErrors = [BrokerError(.retry, "no answer"), BrokerError(.retry, "no answer")]
    try step(lane, 20, 20.1, 22.9)
    #expect(complaints == ["no answer"], "not asked again at once")
    try step(lane, 23.1)
    #expect(complaints == ["no answer", "no answer"])
    try step(lane, 26.2, 26.3, 26.4)
    #expect(try revised(broker).map(\.recall) == ["done"])
    appendErrors(to: broker)
    broker.append(tracesData([TestSpan(trace: 5, id: 1)]), at: at(30))
    try step(lane, 30, 31, 32, 45)
    broker.append(tracesData([TestSpan(trace: 5, id: 2, parent: 1, isError: true)]), at: at(50))
    let denied = BrokerError(.stop, "not authorized")
    link.againErrors = [denied]
    #expect(throws: denied) { try step(lane, 50) }
  }

  @Test(
    arguments: [(1, "partial", [2, 3]), (2, "partial", [3]), (3, "gone", [])] as [(Int64, String, [UInt64])])
  func whatHasLeftTheLogIsReported(_ start: Int64, _ recall: String, _ spans: [UInt64]) throws {
    let broker = broker()
    let link = MemoryLink(broker)
    let lane = lane(link)
    try step(lane, 0, 1, 2, 9)
    appendErrors(to: broker)
    link.logStart = start
    try step(lane, 20, 20.1, 20.2, 20.3)
    #expect(try revised(broker).map(\.recall) == [recall])
    #expect(try broker.sampledSpans()[traceID(1), default: []] == spans)
    let counters = lane.snapshot().counters
    #expect(counters.tracesRecalled == 1)
    #expect(counters.recallsPartial == (recall == "partial" ? 1 : 0))
    #expect(counters.recallsGone == (recall == "gone" ? 1 : 0))
  }

  /// What an aborted transaction fulfilled was not written: the request is still there.
  @Test func anAbortedRecallIsFulfilledAgain() throws {
    let broker = broker()
    let link = MemoryLink(broker)
    let lane = lane(link)
    try step(lane, 0, 1, 2, 9)
    appendErrors(to: broker)
    // The request is committed before anything is read again.
    link.againErrors = [BrokerError(.retry, "not now")]
    try step(lane, 20, 20.1, 22)
    let committed = broker.outputs(to: .decisions).count
    #expect(broker.points[first]?.oldestRecall == at(20) && committed == 2)
    link.tails = [(try verdicts(broker), .read(isWhole: true))]
    try step(lane, 23.1, 23.2, 23.3)
    #expect(try revised(broker).count == 1)
    link.commitErrors = [BrokerError(.abort, "no")]
    for second in 24..<40 { try step(lane, Double(second)) }
    #expect(broker.steps.contains(.aborted))
    let asked = try #require(link.asked.last)
    #expect(asked <= at(20 - 605), "decisions are read back to the request")
    #expect(try revised(broker).count == 2)
    #expect(try broker.sampledSpans() == [traceID(1): [1, 2, 3, 1, 2, 3]])
    #expect(broker.points[first]?.oldestRecall == nil && lane.snapshot().recallsPending == 0)
  }

  @Test func aPartitionThatIsRevokedIsRecalledByItsNextOwner() throws {
    let broker = broker(traces: 2, partitions: 2)
    let link = MemoryLink(broker, assigned: 2)
    let lane = lane(link)
    try step(lane, 0, 1, 2, 9)
    appendErrors(traces: 2, to: broker)
    try step(lane, 20)
    #expect(lane.snapshot().recallsPending == 2 && lane.snapshot().counters.recordsReadAgain == 2)
    link.events = [.revoked([first])]
    for second in [20.1, 20.2, 20.3, 20.4] { try step(lane, second) }
    #expect(try revised(broker).map(\.traceId) == [traceID(2).description])
    #expect(try broker.sampledSpans() == [traceID(2): [1, 2, 3]])
    #expect(lane.snapshot().recallsPending == 0)
    #expect(broker.points[first]?.oldestRecall == at(20))

    let next = MemoryLink(broker)
    next.tails = [(try verdicts(broker), .read(isWhole: true))]
    let owner = self.lane(next)
    for second in [21, 21.1, 21.2, 21.3, 21.4, 21.5, 25] { try step(owner, second) }
    #expect(next.asked.count == 1)
    #expect(try revised(broker).map(\.traceId) == [2, 1].map { traceID($0).description })
    #expect(try broker.sampledSpans() == [traceID(1): [1, 2, 3], traceID(2): [1, 2, 3]])
    #expect(broker.points[first]?.oldestRecall == nil)
  }
}
