// When windows close: the waits, the root, missing parents, idle time, and the stream clock.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct WindowTests {
  @Test func aTraceWithoutARootWaitsTheWholeWindow() throws {
    let world = World()
    try world.send(.child(2), at: 0)
    #expect(try world.pass(to: 29_999).isEmpty)
    let decision = try #require(try world.pass(to: 30_000).decisions.first)
    #expect(decision.trigger == .wait)
    #expect(decision.isFinal)
    #expect(!decision.isKept)
    #expect(!decision.hasRoot)
    #expect(decision.decidedAt == .at(30_000))
    #expect(world.usage.openTraces == 0)
  }

  @Test func aCompleteTraceClosesSoonAfterItsRoot() throws {
    let world = World()
    try world.send(.child(2), at: 0)
    try world.send(.root(), at: 2000)
    #expect(try world.pass(to: 6999).isEmpty)
    let decision = try #require(try world.pass(to: 7000).decisions.first)
    #expect(decision.trigger == .root)
    #expect(decision.spanCount == 2)
  }

  /// The wait runs from the root's arrival, but never past the end of the whole window.
  @Test func theWholeWindowEndsTheWaitAfterTheRoot() throws {
    let world = World()
    try world.send(.child(2), at: 0)
    try world.send(.root(), at: 28_000)
    #expect(try world.pass(to: 29_999).isEmpty)
    #expect(try world.pass(to: 30_000).decisions.map(\.trigger) == [.wait])
  }

  @Test func aMissingParentHoldsTheWindowOpen() throws {
    let world = World()
    try world.send(.root(), .child(3, under: 2), at: 0)
    #expect(try world.pass(to: 6000).isEmpty)
    let events = try world.send(.child(2), at: 8000)
    #expect(events.decisions.map(\.trigger) == [.root])
    #expect(events.decisions.map(\.spanCount) == [3])
    #expect(events.decisions.map(\.decidedAt) == [.at(8000)])
  }

  @Test func aParentThatNeverComesHoldsItToTheEnd() throws {
    let world = World()
    try world.send(.root(), .child(3, under: 2), at: 0)
    #expect(try world.pass(to: 29_999).isEmpty)
    #expect(try world.pass(to: 30_000).decisions.map(\.trigger) == [.wait])
  }

  /// The parent arrives while the wait after the root still runs: that wait then continues.
  @Test func aParentInTimeLeavesTheWaitAsItIs() throws {
    let world = World()
    try world.send(.root(), .child(3, under: 2), at: 0)
    #expect(try world.send(.child(2), at: 3000).isEmpty)
    #expect(try world.pass(to: 4999).isEmpty)
    #expect(try world.pass(to: 5000).decisions.map(\.trigger) == [.root])
  }

  @Test func windowsCloseInTheOrderOfTheirDeadlines() throws {
    let world = World()
    try world.send(.child(2, of: 1), at: 0)  // Due at 30 s.
    try world.send(.root(of: 2), at: 10_000)  // Due at 15 s.
    try world.send(.child(2, of: 3), at: 11_000)  // Due at 41 s.
    try world.send(.root(of: 4), at: 26_000)
    let decisions = try world.pass(to: 100_000).decisions
    #expect(decisions.map(\.traceID.low) == [1, 4, 3])
    #expect(decisions.map(\.decidedAt) == Array(repeating: .at(100_000), count: 3))
  }

  /// Of two windows that end at the same moment, the whole wait comes first, even within one trace.
  @Test func theWholeWaitComesFirst() throws {
    let world = World()
    try world.send(.child(2, of: 1), at: 0)
    try world.send(.root(of: 2), .root(of: 1), at: 25_000)
    let decisions = try world.pass(to: 30_000).decisions
    #expect(decisions.map(\.traceID.low) == [1, 2])
    #expect(decisions.map(\.trigger) == [.wait, .root])
  }

  /// A record closes the windows that its timestamp ends before it is read: its span is late.
  @Test func aRecordClosesWindowsFirst() throws {
    let world = World()
    try world.send(.child(2), at: 0)
    let events = try world.send(.child(3), at: 30_000)
    #expect(events.decisions.map(\.spanCount) == [1])
    #expect(world.counters.lateSpansDropped == 1)
  }

  @Test func severalRootsTheEarliestGivesTheName() throws {
    let early = TestSpan(id: 1, start: 10, end: 20, service: "edge", name: "early")
    let late = TestSpan(id: 2, start: 30, end: 90, service: "batch", name: "late")
    for order in [[early, late], [late, early]] {
      let world = World { $0.dropped = .full }
      for span in order { try world.send(span, at: 0) }
      let written = try #require(try world.pass(to: 5000).written.first)
      #expect(written.root == WrittenDecision.Root(service: "edge", operation: "early"))
      #expect(written.durationNs == 60_000_000)
      #expect(written.startTime == "2023-11-14T22:13:20.010000000Z")
    }
  }

  /// A second root does not restart the wait.
  @Test func theFirstRootStartsTheWait() throws {
    let world = World()
    try world.send(.root(1), at: 0)
    try world.send(.root(2), at: 4000)
    #expect(try world.pass(to: 5000).decisions.map(\.spanCount) == [2])
  }
}

@Suite struct StreamClockTests {
  @Test func aStaleTimestampDoesNotTurnTheClockBack() throws {
    let world = World()
    try world.send(.root(of: 5), at: 10_000)
    try world.send(.child(2, of: 6), at: 1000)
    #expect(world.clock == .at(10_000))
    // The second trace's window runs from the clock, not from its record's timestamp.
    #expect(try world.pass(to: 39_999).decisions.map(\.traceID.low) == [5])
    #expect(try world.pass(to: 40_000).decisions.map(\.traceID.low) == [6])
  }

  @Test func aRecordWithoutATimestampLeavesTheClock() throws {
    let world = World()
    try world.send(.root(of: 5), at: 10_000)
    #expect(world.ingest(record([.root(of: 6)]), key: nil, at: nil) == nil)
    #expect(world.clock == .at(10_000))
    #expect(try world.pass(to: 15_000).decisions.count == 2)
  }

  @Test func anIdlePartitionDecidesByTheWallClock() throws {
    let world = World()
    try world.send(.child(2), at: 0)
    #expect(try world.pass(to: 31_000).decisions.count == 1)
    #expect(try world.pass(to: 20_000).isEmpty)
    #expect(world.clock == .at(31_000))
  }

  /// However far time jumps, everything open closes, and the call returns.
  @Test func theEndOfTimeClosesEverything() throws {
    let world = World()
    try world.send(.child(2, of: 1), .root(of: 2), at: 0)
    world.sampler.advance(to: .distantFuture, into: &world.effects)
    #expect(try world.take().decisions.count == 2)
    #expect(
      world.ingest(record([.root(of: 3)]), key: nil, at: .distantFuture) == nil)
  }
}

@Suite struct SafeOffsetTests {
  private func offsets(_ world: World) throws -> [Int64] {
    let point = try #require(world.commitPoint)
    return [point.safeOffset.value, point.highWater.value]
  }

  @Test func itIsTheFirstOffsetOfTheOldestOpenTrace() throws {
    let world = World()
    #expect(world.commitPoint == nil)
    world.offset = 100
    try world.send(.child(2, of: 1), at: 0)
    #expect(try offsets(world) == [100, 101])
    try world.send(.child(2, of: 2), at: 1000)
    try world.send(.child(3, of: 1), at: 2000)
    #expect(try offsets(world) == [100, 103])
    #expect(world.commitPoint?.clockAtSafeOffset == .at(0))
    try world.pass(to: 30_000)
    #expect(try offsets(world) == [101, 103])
    #expect(world.commitPoint?.clockAtSafeOffset == .at(1000))
    try world.pass(to: 31_000)
    #expect(try offsets(world) == [103, 103])
    #expect(world.commitPoint?.clock == .at(31_000))
  }

  /// An early keep does not move it: the final record is still due.
  @Test func anEarlyKeepHoldsIt() throws {
    let world = World()
    try world.send(.root(1, of: 1, .error), at: 0)
    try world.send(.child(2, of: 2), at: 0)
    #expect(try offsets(world) == [0, 2])
    try world.pass(to: 5000)
    #expect(try offsets(world) == [1, 2])
  }

  @Test func whatCannotBeReadMovesOnlyTheHighWater() throws {
    let world = World()
    try world.send(.child(2), at: 0)
    _ = world.ingest(nil, key: nil, at: .at(0))
    _ = world.ingest([0xff], key: nil, at: .at(0))
    world.sampler.skip(offset: Offset(9), timestamp: .at(0), into: &world.effects)
    #expect(try offsets(world) == [0, 10])
    #expect(world.counters.recordsMalformed == 3)
  }

  /// Records may be missing from the log (aborted transactions, compaction).
  @Test func offsetsMayHaveGaps() throws {
    let world = World()
    for offset in [3, 4, 900] as [Int64] {
      world.offset = offset
      try world.send(.child(2, of: UInt64(offset)), at: 0)
    }
    #expect(try offsets(world) == [3, 901])
  }
}
