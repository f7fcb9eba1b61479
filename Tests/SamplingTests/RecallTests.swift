// Recall: dropped traces that late spans make policies certain about are read again, and kept whole.

import SpanStorage
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct RecallTests {
  private func world(_ adjust: (inout SamplerConfiguration) -> Void = { _ in }) -> World {
    World {
      $0.windows.recallWindow = .seconds(3600)
      adjust(&$0)
    }
  }

  private func child(_ id: UInt64, of trace: UInt64 = TestSpan.unlucky, at start: Int64 = 500) -> TestSpan {
    TestSpan(trace: trace, id: id, parent: 1, start: start, end: start + 10)
  }

  private func error(_ id: UInt64, of trace: UInt64 = TestSpan.unlucky) -> TestSpan {
    TestSpan(trace: trace, id: id, parent: 1, start: 500, end: 600, status: .error)
  }

  /// Other traffic, which moves the clock.
  private func passing(_ world: World, at time: Int64) throws {
    try world.send(TestSpan.root(9, of: UInt64(0x1000 + time)), at: time)
  }

  @Test func aLateErrorBringsItsTraceBack() throws {
    let world = world()
    try world.send(.root(), child(2), at: 1000)
    try passing(world, at: 2000)
    try world.send(child(3), at: 3000)
    #expect(try world.pass(to: 31_000).decisions.first?.isKept == false)
    try passing(world, at: 40_000)
    let asked = try world.send(error(4), at: 45_000)
    let request = try #require(asked.written.first { $0.late })
    #expect(request.recall == "requested" && request.recallUntil == 2)
    #expect(request.firstOffset == 0 && request.lastOffset == 4 && asked.kept.isEmpty)
    let events = try world.recall()
    let revised = try #require(events.written.first)
    #expect(events.written.count == 1)
    #expect(revised.verdict == "keep" && revised.final && revised.revised == true)
    #expect(revised.recall == "done" && revised.trigger == "recall" && revised.policy == "errors")
    #expect(revised.spanCount == 4 && revised.errorCount == 1 && revised.firstOffset == 0)
    #expect(events.kept.map(\.id).sorted() == [1, 2, 3, 4])
    #expect(world.counters.tracesRecalled == 1 && world.counters.spansRecalled == 4)
    // What came between is not read.
    #expect(world.counters.recordsReadAgain <= 4)
  }

  /// The verdict is keep from the request on.
  @Test func spansAfterTheRequestGoOutAtOnce() throws {
    let world = world()
    try world.send(.root(), at: 1000)
    try world.pass(to: 31_000)
    try world.send(error(2), at: 45_000)
    #expect(try world.send(child(3), at: 46_000).kept.map(\.id) == [3])
    #expect(try world.recall().kept.map(\.id).sorted() == [1, 2])
    #expect(try world.send(child(4), at: 47_000).kept.map(\.id) == [4])
    #expect(world.sampler.nextRecall() == nil && world.sampler.recallsPending == 0)
  }

  /// A span that is resent is handed out once, by the recall or before it.
  @Test func nothingIsHandedOutTwice() throws {
    let world = world()
    try world.send(.root(), child(2), at: 1000)
    try world.pass(to: 31_000)
    try world.send(error(3), at: 45_000)
    #expect(try world.send(child(2), at: 46_000).kept.map(\.id) == [2])
    #expect(try world.send(child(2), error(3), at: 46_500).kept.map(\.id) == [3])
    #expect(try world.recall().kept.map(\.id) == [1])
    #expect(try world.send(.root(), child(2), error(3), at: 47_000).kept.isEmpty)
  }

  /// A root that lasts longer than the wait.
  @Test func aSlowRootBringsItsTraceBack() throws {
    let world = world()
    try world.send(child(2), at: 1000)
    try world.pass(to: 31_000)
    try world.send(.root(lasting: 45_000), at: 45_000)
    let events = try world.recall()
    #expect(events.kept.map(\.id).sorted() == [1, 2])
    #expect(events.written.first?.reasons == ["slow"])
    #expect(events.written.first?.probability == 1)
  }

  /// Late spans that change nothing belong to the trace.
  @Test func earlierLateSpansAreHandedOutToo() throws {
    let world = world()
    try world.send(.root(), at: 1000)
    try world.pass(to: 31_000)
    #expect(try world.send(child(2), at: 40_000).written.isEmpty)
    try passing(world, at: 41_000)
    try world.send(error(3), at: 45_000)
    #expect(try world.recall().kept.map(\.id).sorted() == [1, 2, 3])
  }

  /// Many recalls of one incident are one pass, whatever their order.
  @Test func recallsShareAPass() throws {
    let world = world()
    for trace in 1...20 as ClosedRange<UInt64> {
      try world.send(.root(1, of: trace), child(2, of: trace), at: 1000 + Int64(trace))
    }
    try world.pass(to: 40_000)
    for trace in (1...20 as ClosedRange<UInt64>).reversed() {
      try world.send(error(3, of: trace), at: 45_000)
    }
    let events = try world.recall()
    #expect(events.decisions.count == 20 && events.kept.count == 60)
    #expect(world.counters.recordsReadAgain == 40)
  }

  /// Without room for the spans of all, passes are shorter, and nothing is left out.
  @Test func spansOfRecallsAreBounded() throws {
    let world = world { $0.limits.recallBytes = 1 }
    for trace in 1...5 as ClosedRange<UInt64> {
      try world.send(.root(1, of: trace), at: 1000 + Int64(trace))
    }
    try world.pass(to: 40_000)
    for trace in 1...5 as ClosedRange<UInt64> { try world.send(error(3, of: trace), at: 45_000) }
    let events = try world.recall()
    #expect(events.kept.count == 10)
    #expect(world.usage.recallBytes == 0)
  }

  /// Reads the next record again.
  private func readOne(_ world: World) throws -> [Event] {
    guard let next = world.sampler.nextRecall() else { return [] }
    let (value, time) = world.log[Int(next.value)]
    try #require(value).withRawBytes {
      world.sampler.recall(offset: next, timestamp: time, value: $0, into: &world.effects)
    }
    return try world.take()
  }

  /// Traces that grow while they are read wait for the next pass, those that began last first.
  @Test func growingRecallsAreBounded() throws {
    let world = world { $0.limits.recallBytes = 3000 }
    let traces = 1...5 as ClosedRange<UInt64>
    for id in 1...4 as ClosedRange<UInt64> {
      for trace in traces {
        try world.send(TestSpan(trace: trace, id: id, parent: id - 1, filling: 1000), at: 1000)
      }
    }
    try world.pass(to: 40_000)
    for trace in traces { try world.send(error(5, of: trace), at: 45_000) }
    // Those that come again since then are forwarded, and not once more.
    let again = TestSpan(trace: 3, id: 1, parent: 0, filling: 1000)
    #expect(try world.send(again, at: 46_000).keptIDs == [1])
    var (most, events) = (0, [Event]())
    while world.sampler.nextRecall() != nil {
      events += try readOne(world)
      most = max(most, world.usage.recallBytes)
    }
    #expect(most > 3000 && most < 5500, "one trace may exceed the limit")
    #expect(events.kept.count == 24 && events.written.map(\.spanCount).sorted() == [4, 5, 5, 5, 5])
    #expect(try world.send(again, at: 47_000).keptIDs.isEmpty)
    #expect(world.counters.recallsPutBack > 0 && world.counters.tracesRecalled == 5)
    #expect(world.usage.recallBytes == 0 && world.sampler.spanMemory.recallBytes == 0)
  }

  /// A giant is a skeleton, as if all its spans had come in time.
  @Test func aRecalledGiantIsASkeleton() throws {
    let world = world { $0.limits.spansPerTrace = 5 }
    try world.send(.root(), child(2), at: 1000)
    try world.pass(to: 31_000)
    for id in 3...20 as ClosedRange<UInt64> { try world.send(child(id), at: 40_000) }
    try world.send(child(3), error(21), at: 45_000)
    let revised = try world.recall()
    #expect(revised.kept.map(\.id).sorted() == [1, 2, 3, 4, 5, 21])
    #expect(revised.written.map(\.truncatedSpans) == [15] && revised.written.map(\.spanCount) == [21])
    #expect(revised.written.first?.reasons == ["errors", "trace_limit"])
    #expect(world.counters.tracesTruncated == 1 && world.counters.spansRecalled == 6)
  }

  /// Nothing of it goes out before its end: errors, which exceed the limit of spans, have one of bytes.
  @Test func whatIsHeldOfAGiantIsBounded() throws {
    let world = world {
      $0.limits.bytesPerTrace = 4000
      $0.policies.removeAll { $0.name == "errors" }
    }
    try world.send(child(2), at: 1000)
    try world.pass(to: 31_000)
    for id in 3...40 as ClosedRange<UInt64> {
      let failed = TestSpan(id: id, parent: 1, start: 500, end: 600, status: .error, filling: 1000)
      try world.send(failed, at: 40_000)
    }
    try world.send(.root(lasting: 45_000), at: 45_000)
    var (most, events) = (0, [Event]())
    while world.sampler.nextRecall() != nil {
      events += try readOne(world)
      most = max(most, world.usage.recallBytes)
    }
    #expect(most > 8000 && most < 10_000)
    #expect(events.written.first.map { $0.spanCount - $0.truncatedSpans } == events.kept.count)
    #expect(events.written.first?.spanCount == 40)
  }

  /// New requests that begin ahead of a pass do not keep it going.
  @Test func theOldestRecallHasItsTurn() throws {
    let world = world { $0.windows.decisionWaitAfterRoot = .seconds(2) }
    try world.send(.root(1, of: 1000), at: 0)
    var fulfilledAt: Int?
    // Each second a trace begins, an error of an earlier one comes, and two records are read again.
    for second in 1...400 as ClosedRange<UInt64> {
      let now = Int64(second) * 1000
      try world.send(.root(1, of: 1000 + second), at: now)
      if second > 10 { try world.send(error(2, of: 1000 + second - 10), at: now) }
      if second == 60 { try world.send(error(2, of: 1000), at: now) }
      let events = try readOne(world) + readOne(world)
      if fulfilledAt == nil, events.decisions.contains(where: { $0.traceID.low == 1000 }) {
        fulfilledAt = Int(second)
      }
    }
    #expect(try #require(fulfilledAt) < 160)
    #expect(world.sampler.recallsPending > 0, "there are always some")
  }

  /// Each counter has a recalled trace once: among the kept by policy and by service.
  @Test func recalledTracesAreCountedAsKept() throws {
    let world = world()
    try world.send(.root(), at: 1000)
    try world.pass(to: 31_000)
    try world.send(error(2), at: 45_000)
    #expect(world.counters.keptByReason["errors"] == 0)
    try world.recall()
    #expect(world.counters.keptByReason["errors"] == 1)
    var services: [String: ServiceVerdicts] = [:]
    world.sampler.forEachServiceVerdicts { services[String(decoding: $0, as: UTF8.self)] = $1 }
    #expect(services.keys.sorted() == ["shop"])
    #expect(services["shop"]?.kept == 1 && services["shop"]?.dropped == 1)
  }

  /// A commit asks for the oldest request: in whatever order requests end, and when the clock is set back.
  @Test func theOldestRequestIsKnown() {
    var queue = RecallQueue()
    func request(_ trace: UInt64, _ time: Int64) -> RecallRequest {
      let first = Offset(Int64(trace) * 10)
      return RecallRequest(
        traceID: TraceID(high: 0, low: trace), first: first, last: first, late: Offset(first.value + 5),
        matches: 1, requestedAt: .at(time))
    }
    let times: [Int64] = [500, 300, 800, 100, 900, 200]
    for (trace, time) in times.enumerated() { queue.add(request(UInt64(trace), time)) }
    queue.checkInvariants()
    #expect(queue.oldestRequest == .at(100))
    for trace in [3, 0, 5] as [UInt64] {
      queue.remove(TraceID(high: 0, low: trace))
      queue.checkInvariants()
    }
    #expect(queue.oldestRequest == .at(300))
    queue.turnBack(to: .at(250))
    queue.checkInvariants()
    for trace in 100...200 as ClosedRange<UInt64> {
      queue.add(request(trace, 1000))
      if trace != 150 { queue.remove(TraceID(high: 0, low: trace)) }
      queue.checkInvariants()
    }
    #expect(queue.byteCount < 64 << 10, "those that have ended are forgotten")
    queue.turnBack(to: .at(50))
    while let next = queue.next(hasRoom: true, end: Offset(5000)) {
      queue.read(next, hasRoom: true)
      while queue.takeRead() != nil { queue.checkInvariants() }
    }
    #expect(queue.count == 0 && queue.oldestRequest == nil)
  }

  /// A request that begins in what the pass passes over is none of the pass's, whether it is made after the
  /// next record was asked for, or had no room then: what it needs was not read.
  @Test(arguments: [false, true]) func whatIsPassedOverIsReadByTheNextPass(hasRoom: Bool) {
    var queue = RecallQueue()
    func request(_ trace: UInt64, _ first: Int64, _ last: Int64, late: Int64) -> RecallRequest {
      RecallRequest(
        traceID: TraceID(high: 0, low: trace), first: Offset(first), last: Offset(last), late: Offset(late),
        matches: 1, requestedAt: .at(1000))
    }
    queue.add(request(1, 10, 12, late: 100))
    if !hasRoom { queue.add(request(2, 50, 60, late: 90)) }
    for offset in 10...12 as ClosedRange<Int64> {
      #expect(queue.next(hasRoom: false, end: Offset(200)) == Offset(offset))
      queue.read(Offset(offset), hasRoom: false)
    }
    #expect(queue.next(hasRoom: hasRoom, end: Offset(200)) == Offset(100))
    if hasRoom { queue.add(request(2, 50, 60, late: 90)) }
    queue.read(Offset(100), hasRoom: true)
    #expect(queue.takeRead()?.traceID.low == 1)
    #expect(queue.takeRead() == nil)
    #expect(queue.next(hasRoom: true, end: Offset(200)) == Offset(50))
    for offset in 50...90 as ClosedRange<Int64> { queue.read(Offset(offset), hasRoom: true) }
    #expect(queue.takeRead()?.traceID.low == 2 && queue.count == 0)
    queue.checkInvariants()
  }

  /// Records that are delivered while nothing is to be read again are passed, too.
  @Test func whatIsDeliveredWithoutARequestIsReadByTheNextPass() throws {
    let world = world()
    try world.send(.root(1, of: 1), at: 1000)
    try world.pass(to: 31_000)
    try world.send(error(2, of: 1), at: 45_000)
    try world.send(.root(1, of: 2), at: 46_000)
    let first = world.sampler.nextRecall()
    #expect(first == Offset(0))
    #expect(try world.pass(to: 80_000).decisions.map(\.isKept) == [false])
    func deliver(_ offset: Int) {
      world.log[offset].value?.withRawBytes {
        world.sampler.recall(
          offset: Offset(Int64(offset)), timestamp: world.log[offset].time, value: $0, into: &world.effects)
      }
    }
    for offset in 0...2 as ClosedRange<Int> { deliver(offset) }
    #expect(try world.take().keptIDs.sorted() == [1, 2] && world.sampler.recallsPending == 0)
    let asked = try world.send(error(2, of: 2), at: 81_000)
    #expect(asked.written.map(\.recall) == ["requested"])
    deliver(3)
    #expect(try world.take().isEmpty)
    #expect(try world.recall().keptIDs.sorted() == [1, 2])
  }

  @Test func theQueueOfRecallsIsBounded() throws {
    let world = world { $0.limits.recalls = 1 }
    for trace in 1...2 as ClosedRange<UInt64> { try world.send(.root(1, of: trace), at: 1000) }
    try world.pass(to: 31_000)
    #expect(try world.send(error(2, of: 1), at: 45_000).written.first?.recall == "requested")
    #expect(try world.send(error(2, of: 2), at: 45_000).written.first?.recall == "refused")
    #expect(try world.recall().decisions.map(\.traceID.low) == [1])
    #expect(world.counters.recallsRefused == 1)
    #expect(world.counters.lateSpansDropped == 2)
  }

  @Test func whatHasLeftTheLogIsSaid() throws {
    let world = world()
    try world.send(.root(), at: 1000)
    try world.send(child(2), at: 1500)
    try world.pass(to: 31_000)
    try world.send(error(3), at: 45_000)
    world.sampler.loseRecalls(before: Offset(1), into: &world.effects)
    let partial = try world.recall()
    #expect(partial.written.map(\.recall) == ["partial"])
    #expect(partial.kept.map(\.id).sorted() == [2, 3])

    let other = self.world()
    try other.send(.root(), at: 1000)
    try other.pass(to: 31_000)
    try other.send(error(3), at: 45_000)
    other.sampler.loseRecalls(before: Offset(10), into: &other.effects)
    let gone = try other.take()
    #expect(gone.written.map(\.recall) == ["gone"] && gone.kept.isEmpty)
    #expect(other.counters.recallsGone == 1)
  }

  /// After the window, and without one, late spans are reported as before.
  @Test(arguments: [0, 10] as [Int64])
  func recallEndsWithItsWindow(seconds: Int64) throws {
    let world = world { $0.windows.recallWindow = .seconds(seconds) }
    try world.send(.root(), at: 1000)
    try world.pass(to: 31_000)
    let late = try #require(try world.send(error(2), at: 45_000).written.first)
    #expect(late.late && late.recall == nil && late.firstOffset == late.lastOffset)
    #expect(world.sampler.nextRecall() == nil)
  }

  /// Whoever takes the partition over finds the request, and fulfils it once.
  @Test(arguments: [false, true])
  func aRequestOutlivesItsOwner(isFulfilled: Bool) throws {
    let first = world()
    var records: [[UInt8]] = []
    func note(_ events: [Event]) {
      for case .decision(_, let record?) in events { records.append(record) }
    }
    note(try first.send(.root(), child(2), at: 1000))
    note(try first.pass(to: 31_000))
    note(try first.send(error(3), at: 45_000))
    note(try first.send(child(4), at: 46_000))
    if isFulfilled { note(try first.recall()) }
    let point = try #require(first.commitPoint)
    let restored = try #require(CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata))
    #expect(restored == point)
    #expect((point.oldestRecall == nil) == isFulfilled)

    let second = world()
    second.log = first.log
    second.offset = first.offset
    second.sampler.restore(restored, past: try records.map { try RestoredVerdict(record: $0) })
    #expect(second.sampler.recallsPending == (isFulfilled ? 0 : 1))
    let events = try second.recall()
    #expect(events.kept.map(\.id).sorted() == (isFulfilled ? [] : [1, 2, 3]))
    #expect(events.written.map(\.recall) == (isFulfilled ? [] : ["done"]))
    #expect(try second.send(child(5), at: 47_000).kept.map(\.id) == [5])
  }

  /// Late spans that changed nothing are found by whoever owns the partition when another one does.
  @Test(arguments: [DroppedRecords.ledger, .compact])
  func lateSpansBeforeATakeoverAreRecalled(_ dropped: DroppedRecords) throws {
    let first = world { $0.dropped = dropped }
    var past: [RestoredVerdict] = []
    func note(_ events: [Event]) throws {
      for case .decision(_, let record?) in events { past.append(try RestoredVerdict(record: record)) }
    }
    try note(first.send(.root(), child(2), at: 1000))
    try note(first.pass(to: 31_000))
    past = try first.takeLedger() + past
    #expect(try first.send(child(3), at: 40_000).isEmpty)
    let places = try first.takeLedger()
    #expect(places.map(\.isFinal) == [false] && places.map(\.lastOffset) == [Offset(1)])
    try passing(first, at: 41_000)
    let point = try #require(first.commitPoint)

    let second = world { $0.dropped = dropped }
    (second.log, second.offset) = (first.log, first.offset)
    second.sampler.restore(point, past: past + places)
    try second.send(error(4), at: 45_000)
    #expect(try second.recall().kept.map(\.id).sorted() == [1, 2, 3, 4])
  }

  /// The first span's start counts for those that come late, whatever says what it was.
  @Test(arguments: [DroppedRecords.ledger, .compact, .full])
  func aSlowEnvelopeIsRecalledAfterATakeover(_ dropped: DroppedRecords) throws {
    let first = world { $0.dropped = dropped }
    var past: [RestoredVerdict] = []
    try first.send(child(2), at: 1000)
    for case .decision(_, let record?) in try first.pass(to: 31_000) {
      past.append(try RestoredVerdict(record: record))
    }
    past += try first.takeLedger()
    try passing(first, at: 32_000)
    let second = world { $0.dropped = dropped }
    (second.log, second.offset) = (first.log, first.offset)
    second.sampler.restore(try #require(first.commitPoint), past: past)
    // Each takes 10 ms, together half a minute.
    let late = try second.send(child(3, at: 32_000), at: 33_000)
    #expect(late.written.map(\.recall) == ["requested"])
    #expect(try second.recall().kept.map(\.id).sorted() == [2, 3])
  }

  /// Where nothing says when a trace started, its logs may be as old as the request allows.
  @Test(arguments: [true, false]) func logsOfARestoredRecallAreSought(isStartKnown: Bool) throws {
    let world = world()
    let clock = Instant.at(1_000_000)
    let point = CommitPoint(
      safeOffset: Offset(9), clockAtSafeOffset: clock, highWater: Offset(9), clock: clock,
      oldestRecall: clock - .seconds(10))
    let id = TraceID(high: 0, low: TestSpan.unlucky)
    var old = RestoredVerdict(
      traceID: id, isKept: false, isFinal: true, threshold: .never, decidedAt: clock - .seconds(100),
      firstOffset: Offset(1), lastOffset: Offset(1))
    if isStartKnown { old.earliestStart = UInt64(Instant.at(700_000).nanoseconds) }
    var asked = RestoredVerdict(
      traceID: id, isKept: false, isFinal: false, isLate: true, reasons: ["errors"], threshold: .never,
      decidedAt: clock - .seconds(10), firstOffset: Offset(1), lastOffset: Offset(5),
      recall: .requested(until: Offset(1)))
    asked.logsUntil = Offset(70)
    // Brokers have lost the end of the logs since the request.
    world.sampler.followLogs(from: Offset(50))
    world.sampler.restore(point, past: [old, asked])
    let logs = try #require(world.sampler.recallsWantingLogs.first?.logs)
    #expect(logs.until == Offset(50))
    if isStartKnown {
      #expect(logs.since > .at(600_000) && logs.since < .at(700_000))
    } else {
      #expect(logs.since <= clock - .seconds(10 + 3600))
    }
  }

  /// Logs that their brokers have lost are not waited for.
  @Test func requestsEndWhereTheLogsDo() throws {
    let world = world()
    try world.send(.root(), at: 1000)
    try world.pass(to: 31_000)
    world.sampler.followLogs(from: Offset(9))
    try world.send(error(2), at: 45_000)
    #expect(world.sampler.recallsWantingLogs.map(\.logs?.until) == [Offset(9)])
    world.sampler.cutLogs(at: Offset(20))
    #expect(world.sampler.recallsWantingLogs.map(\.logs?.until) == [Offset(9)])
    world.sampler.cutLogs(at: Offset(4))
    #expect(world.sampler.recallsWantingLogs.map(\.logs?.until) == [Offset(4)])
  }

  /// A request that is older than a later verdict on the same id does not undo it.
  @Test func anIDThatCameAgainKeepsItsLastVerdict() throws {
    let first = world()
    try first.send(.root(), at: 1000)
    try first.pass(to: 31_000)
    let request = try #require(try first.send(error(2), at: 45_000).first { $0.written?.late == true })
    guard case .decision(_, let record?) = request else {
      Issue.record("no record")
      return
    }
    let point = try #require(first.commitPoint)
    let second = world()
    let later = RestoredVerdict(
      traceID: TraceID(high: 0, low: TestSpan.unlucky), isKept: false, isFinal: true, threshold: .never,
      decidedAt: point.clock, firstOffset: Offset(1), lastOffset: Offset(1))
    var asked = try RestoredVerdict(record: record)
    asked.decidedAt = .at(40_000)
    second.sampler.restore(point, past: [later, asked])
    #expect(second.sampler.recallsPending == 1)
    let hash = second.sampler.index.hash(later.traceID)
    guard case .past(let place) = second.sampler.find(later.traceID, hash) else {
      Issue.record("forgotten")
      return
    }
    #expect(!second.sampler.verdicts[place].isKept)
  }

  /// While recalls overlap, what has been handed out is freed.
  @Test func overlappingRecallsFreeWhatIsDone() throws {
    let world = world { $0.limits.segmentBytes = 4096 }
    let traces = 1...2000 as ClosedRange<UInt64>
    for trace in traces { try world.send(.root(1, of: trace), at: 1000 + Int64(trace)) }
    try world.pass(to: 40_000)
    for trace in traces { try world.send(error(2, of: trace), at: 45_000 + Int64(trace)) }
    var most = 0
    while let next = world.sampler.nextRecall() {
      let (value, time) = world.log[Int(next.value)]
      try #require(value).withRawBytes {
        world.sampler.recall(offset: next, timestamp: time, value: $0, into: &world.effects)
      }
      guard let collector = world.sampler.collector else { continue }
      let (held, needed) = (collector.sampler.buffer.byteCount, collector.sampler.buffer.neededBytes)
      most = max(most, held - 2 * needed)
    }
    #expect(most < 64 << 10)
    #expect(try world.take().kept.count == 4000)
  }

  /// A recall that is pending belongs to the policies of the day.
  @Test func policiesMayChangeMeanwhile() throws {
    let world = world()
    try world.send(.root(), at: 1000)
    try world.pass(to: 31_000)
    try world.send(error(2), at: 45_000)
    var other = SamplerConfiguration()
    other.policies = [
      Policy(name: "all", rule: .alwaysSample), Policy(name: "faults", rule: .statusCode([.error])),
    ]
    world.sampler.adopt(other)
    #expect(try world.recall().written.first?.reasons == ["all", "faults"])
  }
}
