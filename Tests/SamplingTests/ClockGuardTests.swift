// Producers whose clocks are wrong: timestamps far ahead close no window, a log that has moved on is
// followed, and a clock that is ahead of its log recovers.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct ClockGuardTests {
  /// A sampler that trusts 10 records which cover 5 s, with a trusted clock at 1 s.
  private func world(_ adjust: (inout SamplerConfiguration) -> Void = { _ in }) throws -> World {
    let world = World {
      $0.clockWitnesses = 10
      adjust(&$0)
    }
    for step in 1...10 as ClosedRange<UInt64> {
      try world.send(.child(2, of: 1000 + step), at: 100 * Int64(step))
    }
    #expect(world.clock == .at(1000) && world.commitPoint?.safeOffset == Offset(0))
    return world
  }

  private let hour: Int64 = 3_600_000

  @Test func oneFarAheadClosesNothing() throws {
    let world = try world()
    for step in 0..<20 as Range<Int64> {
      #expect(try world.send(.root(of: UInt64(1 + step)), at: hour + step).isEmpty)
      #expect(world.counters.timestampsClamped == UInt64(step))
      #expect(try world.send(.child(2, of: UInt64(100 + step)), at: 1100 + step).isEmpty)
      #expect(world.clock == .at(1100 + step))
    }
    #expect(world.counters.timestampsClamped == 20)
    // The wrong ones waited by the log's own time.
    #expect(try world.pass(to: 6000).decisions.map(\.traceID.low) == [1])
    #expect(world.counters.clockTurnedBack == 0)
  }

  /// A producer sends its backlog at once: hundreds of records in a row, all with its host's time.
  @Test func aBatchOfAnHourAheadClosesNothing() throws {
    let world = try world()
    for number in 0..<300 as Range<Int64> {
      #expect(try world.send(.child(2, of: UInt64(1 + number)), at: hour + number).isEmpty)
    }
    #expect(world.clock == .at(1000))
    #expect(try world.send(.child(2, of: 999), at: 1001).isEmpty)
    #expect(world.counters.timestampsClamped == 300)
  }

  /// The same for two hosts that are off by different times.
  @Test func twoHostsThatAreAheadCloseNothing() throws {
    let world = try world()
    for number in 0..<200 as Range<Int64> {
      let ahead = number % 2 == 0 ? hour : 50 * hour
      #expect(try world.send(.child(2, of: UInt64(1 + number)), at: ahead + number).isEmpty)
      guard number % 8 == 7 else { continue }
      #expect(try world.send(.child(2, of: 999), at: 1000 + number).isEmpty)
    }
    #expect(world.clock == .at(1199))
  }

  @Test func theClockFollowsALogThatHasMovedOn() throws {
    let world = try world()
    // One with its root, which arrived just before the gap; its wait is over after it.
    try world.send(.root(of: 500), at: 1000)
    for number in 0..<9 as Range<Int64> {
      #expect(try world.send(.root(of: UInt64(1 + number)), at: hour + 600 * number).isEmpty)
    }
    #expect(world.clock == .at(1000))
    let moved = try world.send(.root(of: 10), at: hour + 5400)
    #expect(world.clock == .at(hour + 5400))
    #expect(moved.decisions.map(\.traceID.low).sorted() == [500] + (1001...1010))
    #expect(world.counters.timestampsClamped == 0)
    // What arrived after the gap has its whole wait, from the moment at which the clock was found to stall.
    #expect(try world.pass(to: hour + 10_399).isEmpty)
    #expect(try world.pass(to: hour + 10_400).decisions.map(\.traceID.low) == Array(1...10))
  }

  /// A root that arrives while the clock stalls, for an earlier trace, has its wait too.
  @Test func aRootAfterTheGapHasItsWait() throws {
    let world = try world()
    for number in 0..<10 as Range<Int64> {
      try world.send(
        number == 4 ? .root(of: 1010) : .child(2, of: UInt64(1 + number)), at: 7000 + 600 * number)
    }
    #expect(world.clock == .at(12_400))
    #expect(try world.pass(to: 17_399).isEmpty)
    #expect(try world.pass(to: 17_400).decisions.map(\.traceID.low) == [1010])
  }

  /// After a gap a host that is off by even more does not carry the clock away.
  @Test func theClockGoesNoFurtherThanTheLog() throws {
    let world = try world()
    for number in 0..<12 as Range<Int64> {
      try world.send(.child(2, of: UInt64(1 + number)), at: number % 3 == 0 ? 90 * hour : hour + 600 * number)
    }
    #expect(world.clock == .at(hour + 6600))
    #expect(world.usage.openTraces == 12)
  }

  /// Old records tell nothing about where the log is.
  @Test func whatIsOfLongAgoHoldsNothingUp() throws {
    let world = try world()
    for number in 0..<12 as Range<Int64> {
      try world.send(.child(2, of: UInt64(1 + number)), at: hour + 600 * number)
      try world.send(.child(2, of: 77), at: -hour)
    }
    #expect(world.clock == .at(hour + 6600))
  }

  @Test func aBrokersTimestampIsBelieved() throws {
    let world = try world()
    let value = record([.child(2, of: 5)])
    let error = value.withRawBytes {
      world.sampler.ingest(
        offset: Offset(world.offset), timestamp: .at(hour), isLogTime: true, key: nil, value: $0,
        into: &world.effects)
    }
    #expect(error == nil)
    #expect(world.clock == .at(hour))
    #expect(try world.take().decisions.count == 10)
  }

  // MARK: The beginning

  @Test func theFirstRecordMayBeAhead() throws {
    let world = World { $0.clockWitnesses = 64 }
    try world.send(.child(2, of: 1), at: hour)
    for number in 1..<40 as Range<Int64> {
      #expect(try world.send(.child(2, of: UInt64(1 + number)), at: 100 * number).isEmpty)
    }
    #expect(world.clock == .at(3900))
    #expect(world.counters.timestampsClamped == 1)
    // Its trace closes with the others.
    #expect(try world.pass(to: 30_199).decisions.isEmpty)
    #expect(try world.pass(to: 30_200).decisions.map(\.traceID.low) == [1, 2, 3])
  }

  @Test func theFirstRecordsMayBeAhead() throws {
    let world = World { $0.clockWitnesses = 64 }
    for number in 0..<7 as Range<Int64> {
      try world.send(.child(2, of: UInt64(1 + number)), at: hour + number)
    }
    for number in 0..<9 as Range<Int64> {
      #expect(try world.send(.child(2, of: UInt64(11 + number)), at: 100 * number).isEmpty)
    }
    #expect(world.clock == .at(800))
    #expect(world.counters.timestampsClamped == 7)
  }

  @Test func theFirstRecordMayBeOfLongAgo() throws {
    let world = World { $0.clockWitnesses = 64 }
    try world.send(.child(2, of: 1), at: -50 * hour)
    for number in 1..<9 as Range<Int64> {
      #expect(try world.send(.child(2, of: UInt64(1 + number)), at: 100 * number).isEmpty)
    }
    #expect(world.clock == .at(800))
    #expect(world.counters.timestampsClamped == 0)
    #expect(try world.pass(to: 30_799).isEmpty)
    #expect(try world.pass(to: 30_800).decisions.count == 9)
  }

  /// A first record without a timestamp is not closed by the first that has one.
  @Test func theFirstRecordMayHaveNoTimestamp() throws {
    let world = World()
    #expect(world.ingest(record([.child(2)]), key: nil, at: nil) == nil)
    #expect(try world.send(.child(3, of: 2), at: 0).isEmpty)
    #expect(try world.pass(to: 29_999).isEmpty)
  }

  // MARK: A clock that is ahead

  /// However the clock got ahead: if the whole log is behind it, it is set back, and windows, budgets and
  /// verdicts follow the log's time again.
  @Test func aClockThatIsAheadOfItsLogIsSetBack() throws {
    let world = World {
      $0.clockWitnesses = 10
      $0.policies = [Policy(name: "few", rule: .rateLimiting(RateLimit(perSecond: 1, burst: 10)))]
    }
    for step in 0..<10 as Range<Int64> { try world.send(.child(2, of: 1), at: 100 * hour + 100 * step) }
    let early = try world.pass(to: 100 * hour + 40_000)
    #expect(early.decisions.map(\.isKept) == [true])
    for step in 0..<10 as Range<Int64> {
      #expect(try world.send(.child(2, of: 2), at: 600 * step).isEmpty)
    }
    #expect(world.clock == .at(5400))
    #expect(world.counters.clockTurnedBack == 1)
    #expect(world.commitPoint?.clock == .at(5400))
    // The budget has its 10 tokens again by the log's time, by which the verdict is forgotten, too.
    #expect(try world.pass(to: 50_000).decisions.map(\.isKept) == [true])
    #expect(world.usage.pastVerdicts == 2)
    try world.pass(to: 700_000)
    #expect(world.usage.pastVerdicts == 0)
  }

  /// A verdict given while records are read again, by a clock earlier than what was forgotten, is a new one.
  @Test func aVerdictGivenAgainIsNotForgotten() throws {
    let world = World { $0.clockWitnesses = 1 }
    var point = CommitPoint(
      safeOffset: Offset(0), clockAtSafeOffset: .at(10_000), highWater: Offset(4), clock: .at(80_000))
    point.forgotten = [ForgottenVerdicts(before: .at(70_000), since: Offset(0))]
    world.sampler.restore(point)
    try world.send(.root(of: 1, lasting: 5000), at: 10_000)
    for step in 1...3 as ClosedRange<Int64> { try world.send(.child(2, of: 9), at: 10_000 + 15_000 * step) }
    try world.send(.child(2, of: 9), at: 81_000)
    #expect(world.counters.tracesKept == 1)
    try world.send(.child(2, of: 1), at: 82_000)
    #expect(world.counters.lateSpansKept == 1)
  }

  /// A clock may be set back more than once: what it forgot the first time stays forgotten.
  @Test func whatWasForgottenTwiceIsRemembered() throws {
    let world = World { $0.windows.lateWindow = .seconds(600) }
    try world.send(.root(of: 1), at: 6000)
    let early = ForgottenVerdicts(before: .at(5000), since: Offset(10))
    let late = ForgottenVerdicts(before: .at(9000), since: Offset(20))
    world.sampler.noteForgotten(early)
    world.sampler.noteForgotten(ForgottenVerdicts(before: .at(4000), since: Offset(12)))
    world.sampler.noteForgotten(late)
    #expect(world.sampler.forgotten == [early, late])
    #expect(world.commitPoint?.forgotten == [early, late])
    for step in 1...9 as ClosedRange<Int64> {
      world.sampler.noteForgotten(
        ForgottenVerdicts(before: .at(9000 + step), since: Offset(20 + step)))
    }
    #expect(world.sampler.forgotten.count == ForgottenVerdicts.countMax)
    // What the clock has forgotten anyway need not be known.
    try world.send(.root(of: 2), at: 2_000_000)
    try world.pass(to: 4_000_000)
    world.sampler.noteForgotten(ForgottenVerdicts(before: .at(3_900_000), since: Offset(50)))
    #expect(world.sampler.forgotten.count == 1)
  }

  /// What was forgotten while the clock was ahead stays forgotten for the next owner, whose clock never was:
  /// a late span that opened its trace again is read with the new trace, not skipped with the old one.
  @Test func whatAClockThatWasAheadForgotStaysForgotten() throws {
    func sampler() -> World { World { $0.clockWitnesses = 10 } }
    let world = sampler()
    for step in 0..<10 as Range<Int64> { try world.send(.child(2, of: 9000), at: 600 * step) }
    try world.send(.root(of: 1, lasting: 5000), at: 6000)
    let first = try world.pass(to: 60_000)
    func verdicts(_ events: [Event]) throws -> [RestoredVerdict] {
      try events.compactMap {
        if case .decision(_, let record?) = $0 { try RestoredVerdict(record: record) } else { nil }
      }
    }
    var past = try verdicts(first)
    for step in 0..<30 as Range<Int64> { try world.send(.child(2, of: 9001), at: hour + 600 * step) }
    past += try verdicts(world.pass(to: hour + 100_000))
    for step in 0..<10 as Range<Int64> { try world.send(.child(2, of: 9002), at: 60_000 + 600 * step) }
    #expect(world.counters.clockTurnedBack == 1)
    try world.send(.child(7, of: 1), at: 66_000)
    let point = try #require(world.commitPoint)
    #expect(point.forgotten.last?.before ?? .distantPast > .at(60_000))
    let again = sampler()
    again.sampler.restore(
      try #require(CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata)), past: past)
    again.offset = point.safeOffset.value
    for step in 0..<10 as Range<Int64> { try again.send(.child(2, of: 9002), at: 60_000 + 600 * step) }
    try again.send(.child(7, of: 1), at: 66_000)
    #expect(again.usage.openTraces == world.usage.openTraces)
    let closed = try again.pass(to: 200_000)
    let expected = try world.pass(to: 200_000)
    #expect(closed.decisions.map(\.traceID) == expected.decisions.map(\.traceID))
    #expect(closed.decisions.contains { $0.traceID.low == 1 })
  }

  /// Verdicts were forgotten in several steps while the clock was ahead, from the first record on. What was
  /// decided after it was set back is not forgotten by any of them when its records are read again.
  @Test func stepsOfAClockThatWasAheadDoNotForgetWhatFollows() throws {
    func sampler() -> World {
      World {
        $0.clockWitnesses = 10
        $0.windows.lateWindow = .seconds(60)
        $0.windows.decisionWait = .seconds(300)
      }
    }
    let world = sampler()
    // Holds the safe offset.
    try world.send(.child(2, of: 9000), at: hour)
    try world.send(.root(of: 7, lasting: 5000), .child(2, of: 7), at: hour)
    #expect(try world.pass(to: hour + 6000).decisions.map(\.traceID.low) == [7])
    try world.pass(to: hour + 64_000)
    try world.send(.root(of: 1, lasting: 5000), .child(2, of: 1), at: hour + 64_000)
    try world.pass(to: hour + 67_000)
    #expect(world.sampler.horizon.steps.count > 1)
    for step in 0..<10 as Range<Int64> { try world.send(.child(2, of: 9001), at: 600 * step) }
    #expect(world.counters.clockTurnedBack == 1)
    let past = try world.pass(to: 16_000).compactMap { event in
      if case .decision(_, let record?) = event { try RestoredVerdict(record: record) } else { nil }
    }
    #expect(past.map(\.traceID.low) == [1])
    let point = try #require(world.commitPoint)
    #expect(point.safeOffset == Offset(0))
    let again = sampler()
    again.sampler.restore(
      try #require(CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata)), past: past)
    for (value, time) in world.log { _ = again.ingest(value, key: nil, at: time) }
    // That of trace 7 was forgotten before.
    #expect(try again.pass(to: 400_000).decisions.map(\.traceID.low).sorted() == [7, 9000, 9001])
  }

  /// Its clock may fall while it reads again what its predecessor's clock did not fall for: verdicts are as
  /// old as they were for the predecessor.
  @Test func aClockThatIsSetBackInRecoveryForgetsNothing() throws {
    let world = World { $0.clockWitnesses = 10 }
    let decided = RestoredVerdict(
      traceID: TestSpan.root(of: 1).traceID, isKept: true, isFinal: true, threshold: .always,
      decidedAt: .at(hour))
    world.sampler.restore(
      CommitPoint(
        safeOffset: Offset(0), clockAtSafeOffset: .at(hour), highWater: Offset(20), clock: .at(hour + 1000)),
      past: [decided])
    for step in 0..<20 as Range<Int64> { try world.send(.child(2, of: 9000), at: 600 * step) }
    #expect(world.counters.clockTurnedBack == 1)
    try world.send(.child(7, of: 1), at: hour + 1100)
    #expect(world.counters.lateSpansKept == 1)
  }

  /// The backlog of a host that is behind does not set it back.
  @Test func aBatchOfLongAgoSetsNothingBack() throws {
    let world = try world()
    for number in 0..<300 as Range<Int64> {
      try world.send(.child(2, of: UInt64(1 + number)), at: number - hour)
    }
    #expect(world.clock == .at(1000))
    #expect(world.counters.clockTurnedBack == 0)
  }

  /// The baseline continues counting from where the log is.
  @Test func theBaselineGoesBackToo() throws {
    let world = World {
      $0.clockWitnesses = 10
      $0.policies = [Policy(name: "adaptive", rule: .adaptive)]
      $0.baseline = BaselineConfiguration()
    }
    for step in 0..<10 as Range<Int64> { try world.send(.root(of: 1), at: 100 * hour + 100 * step) }
    for step in 0..<10 as Range<Int64> { try world.send(.root(of: 2), at: 600 * step) }
    #expect(world.counters.clockTurnedBack == 1)
    world.sampler.advance(to: .at(20_000), into: &world.effects)
    #expect(world.effects.hasCounts)
    _ = try world.take()
  }

  /// Counts that were published before the clock was set back are not replaced by those after it.
  @Test func theBaselineCountsEachIntervalOnce() throws {
    let world = World {
      $0.clockWitnesses = 10
      $0.policies = [Policy(name: "adaptive", rule: .adaptive)]
      $0.baseline = BaselineConfiguration()
      $0.baseline?.interval = .seconds(5)
    }
    var intervals: [IntervalNumber] = []
    func note() throws {
      for case .count(_, let range) in world.effects.outputs {
        intervals.append(try TrafficRecord(decoding: Array(world.effects.bytes[range])).interval)
      }
      world.effects.removeAll()
    }
    for step in 0..<10 as Range<Int64> {
      _ = world.ingest(record([.root(of: 1)]), key: nil, at: .at(600 * step))
    }
    world.sampler.advance(to: .at(31_000), into: &world.effects)
    try note()
    for step in 0..<20 as Range<Int64> {
      _ = world.ingest(record([.root(of: 2)]), key: nil, at: .at(15_000 + 300 * step))
    }
    #expect(world.counters.clockTurnedBack == 1)
    world.sampler.advance(to: .at(60_000), into: &world.effects)
    try note()
    #expect(intervals.count > 6 && Set(intervals).count == intervals.count)
  }

  // MARK: Commit points and silence

  /// The next owner reads the dissenting records again.
  @Test func theSafeOffsetWaitsForTheEndOfADissent() throws {
    let world = try world()
    try world.pass(to: 60_000)
    #expect(world.commitPoint?.safeOffset == Offset(10))
    try world.send(.child(2, of: 1001), at: hour)  // Late: opens nothing.
    try world.send(.child(2, of: 1001), at: hour)
    let point = try #require(world.commitPoint)
    #expect(point.safeOffset == Offset(10) && point.highWater == Offset(12))
    #expect(point.clockAtSafeOffset == .at(60_000))
    try world.send(.child(2, of: 1001), at: 60_000)
    #expect(world.commitPoint?.safeOffset == Offset(13))
  }

  /// In a silence nothing refutes it. It is forgotten once nothing that it opened is open.
  @Test func aSilenceEndsADissent() throws {
    let world = try world()
    try world.pass(to: 60_000)
    try world.send(.child(2, of: 1), at: hour)
    let isDue = world.sampler.hasWorkDue(by: .at(60_001))
    #expect(!isDue)
    #expect(try world.pass(to: 89_999).isEmpty)
    #expect(world.commitPoint?.safeOffset == Offset(10))
    #expect(try world.pass(to: 90_000).decisions.count == 1)
    #expect(world.commitPoint?.safeOffset == Offset(11))
    try world.send(.child(2, of: 1), at: hour)
    #expect(world.commitPoint?.safeOffset == Offset(11))
    let isDueAtOnce = world.sampler.hasWorkDue(by: .at(90_001))
    #expect(isDueAtOnce)
    #expect(try world.pass(to: 90_001).isEmpty)
    #expect(world.commitPoint?.safeOffset == Offset(12))
    #expect(world.counters.timestampsClamped == 0)
  }

  /// Passing time advances the clock, but only as long as nothing closes.
  @Test func aRecordAfterASilenceIsNotAhead() throws {
    let world = try world()
    world.sampler.drift(to: .at(20_000))
    #expect(world.clock == .at(20_000))
    try world.send(.child(2, of: 5), at: 21_000)
    #expect(world.clock == .at(21_000))
    world.sampler.drift(to: .at(40_000))
    #expect(world.clock == .at(30_100) - Interval(nanoseconds: 1))
    #expect(try world.send(.child(2, of: 6), at: 30_100).decisions.count == 1)
  }
}
