// Recall: dropped traces that late spans make policies certain about are read again, and kept whole.

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
    #expect(world.sampler.usage.bufferedBytes == 0)
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
