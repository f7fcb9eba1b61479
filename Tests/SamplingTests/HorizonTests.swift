// Which verdicts are known for how long: the horizon lags behind the clock, and what goes by it must, too.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct HorizonTests {
  private func world(_ adjust: (inout SamplerConfiguration) -> Void = { _ in }) -> World {
    World {
      $0.windows.recallWindow = .seconds(3600)
      $0.windows.lateWindow = .seconds(60)
      $0.windows.decisionWaitAfterRoot = .milliseconds(100)
      adjust(&$0)
    }
  }

  private func child(_ id: UInt64, of trace: UInt64) -> TestSpan {
    TestSpan(trace: trace, id: id, parent: 1, start: 500, end: 510)
  }

  private func traceID(_ trace: UInt64) -> TraceID { TestSpan(trace: trace, id: 1).traceID }

  /// A world whose horizon lags by two seconds at least, and the time by which it forgets.
  private func lagging() throws -> (World, Instant) {
    let world = world()
    for second in 1...300 as ClosedRange<UInt64> {
      try world.send(.root(1, of: 1000 + second), at: Int64(second) * 1000)
      guard second > 200, let point = world.commitPoint else { continue }
      let horizon = point.clockOfVerdicts
      if horizon + .seconds(2) <= point.clockAtSafeOffset { return (world, horizon) }
    }
    return (world, try #require(nil as Instant?, "the horizon does not lag"))
  }

  /// A sampler that takes the partition over.
  private func next(after world: World, _ past: [RestoredVerdict]) throws -> World {
    let next = self.world()
    (next.log, next.offset) = (world.log, world.offset)
    next.sampler.restore(try #require(world.commitPoint), past: past)
    return next
  }

  /// What was forgotten early is named as long as the horizon says that it is known, whatever the clock says.
  @Test(arguments: [false, true]) func theNextOwnerForgetsWhatTheLastOneForgot(isForgotten: Bool) throws {
    let (first, horizon) = try lagging()
    let decidedAt = horizon - .seconds(59)
    if isForgotten {
      first.sampler.noteForgotten(
        ForgottenVerdicts(before: decidedAt + .milliseconds(1), since: Offset(0)))
    }
    let verdict = RestoredVerdict(
      traceID: traceID(5), isKept: true, isFinal: true, threshold: .always, decidedAt: decidedAt)
    let second = try next(after: first, [verdict])
    let late = try second.send(child(7, of: 5), at: (first.clock - .start).nanoseconds / 1_000_000)
    #expect(late.keptIDs == (isForgotten ? [] : [7]))
  }

  /// Spans that follow a request know of it as long as the horizon says so.
  @Test func theNextOwnerKnowsARecallByTheHorizon() throws {
    let (first, horizon) = try lagging()
    let request = RestoredVerdict(
      traceID: traceID(5), isKept: false, isFinal: false, isLate: true, reasons: ["errors"],
      threshold: .never, decidedAt: horizon - .seconds(59), firstOffset: Offset(1), lastOffset: Offset(3),
      recall: .requested(until: Offset(2)))
    let second = try next(after: first, [request])
    #expect(second.sampler.recallsPending == 1)
    let late = try second.send(child(7, of: 5), at: (first.clock - .start).nanoseconds / 1_000_000)
    #expect(late.keptIDs == [7])
  }

  private func dropped(_ first: Int64, at time: Instant) -> RestoredVerdict {
    RestoredVerdict(
      traceID: traceID(5), isKept: false, isFinal: true, threshold: .never, decidedAt: time,
      firstOffset: Offset(first), lastOffset: Offset(first + 1))
  }

  private func recalled(_ first: Int64, at time: Instant) -> RestoredVerdict {
    RestoredVerdict(
      traceID: traceID(5), isKept: true, isFinal: true, reasons: ["errors"], threshold: .always,
      decidedAt: time, firstOffset: Offset(first), lastOffset: Offset(first + 1), recall: .done)
  }

  /// A trace was dropped while the clock was ahead, and recalled after it was set back, so long ago that this
  /// is forgotten: the drop, though it claims to be younger, is forgotten with it.
  @Test func whatWasRecalledIsForgottenWithItsDrop() throws {
    let (first, horizon) = try lagging()
    let second = try next(
      after: first, [dropped(1, at: first.clock), recalled(1, at: horizon - .seconds(61))])
    try second.send(child(7, of: 5), at: (first.clock - .start).nanoseconds / 1_000_000)
    #expect(second.counters.lateSpansDropped == 0 && second.usage.openTraces == 1)
    let third = try next(after: first, [dropped(1, at: first.clock)])
    try third.send(child(7, of: 5), at: (first.clock - .start).nanoseconds / 1_000_000)
    #expect(third.counters.lateSpansDropped == 1)
  }

  /// An id came again after its trace was recalled, when the clock had been set back: the second trace's drop
  /// counts, whatever the times say.
  @Test func aSecondLifeOutlivesTheFirst() throws {
    let (first, horizon) = try lagging()
    let second = try next(
      after: first, [dropped(100, at: horizon - .seconds(50)), recalled(1, at: horizon - .seconds(40))])
    let error = TestSpan(trace: 5, id: 7, parent: 1, start: 500, end: 510, status: .error)
    let late = try second.send(error, at: (first.clock - .start).nanoseconds / 1_000_000)
    #expect(late.written.map(\.recall) == ["requested"] && late.written.map(\.firstOffset) == [100])
  }

  /// A clock that is set back again and again: nothing of what it forgot is known again.
  @Test func allThatWasForgottenEarlyIsNamed() throws {
    let world = world()
    try world.send(.root(), at: 1000)
    let all = [(10, 1), (20, 2), (50, 6), (60, 7), (200, 8), (900, 100)].map { second, offset in
      ForgottenVerdicts(before: .at(second * 1000), since: Offset(offset))
    }
    for each in all { world.sampler.noteForgotten(each) }
    let named = world.sampler.forgotten
    #expect(named.count == ForgottenVerdicts.countMax)
    for each in all {
      #expect(named.contains { $0.since <= each.since && $0.before >= each.before }, "\(each) is known again")
    }
    #expect(named.last == all.last, "those that are far apart stay apart")
    #expect(zip(named, named.dropFirst()).allSatisfy { $0.since < $1.since && $0.before < $1.before })
  }

  /// A clock that is set back twice: the second time it forgot fewer verdicts, but from earlier records on.
  @Test func whatWasForgottenFromLaterRecordsOnStaysNamed() throws {
    let world = world()
    try world.send(.root(), at: 1000)
    let all = [(5, 10), (9, 20), (4, 8), (9, 22), (3, 9), (6, 10)].map { second, offset in
      ForgottenVerdicts(before: .at(second * 1000), since: Offset(offset))
    }
    for each in all { world.sampler.noteForgotten(each) }
    #expect(world.sampler.forgotten == [all[2], all[5], all[1]])
  }

  /// Logs know what spans knew when they were written. While a trace is open for long, that is more than
  /// half a late window.
  @Test func logsKnowWhatSpansKnew() throws {
    let world = world {
      $0.windows.decisionWait = .seconds(3600)
      $0.windows.decisionWaitAfterRoot = .seconds(1)
    }
    try world.send(child(2, of: 4), at: 0)
    for second in stride(from: 5, through: 3595, by: 5) as StrideThrough<Int64> {
      try world.send(.root(1, of: 10_000 + UInt64(second)), at: second * 1000)
      if second == 1000 {
        try world.send(.root(1, of: 5, lasting: 10, .error), at: second * 1000)
        try world.send(.root(1, of: 6), at: second * 1000)
      }
      // Logs are dealt with 20 s late, and from second 3000 on not at all.
      world.sampler.retainVerdicts(for: .at(min(second, 3000) * 1000 - 20_000))
    }
    #expect(try world.send(child(3, of: 5), at: 3_596_000).keptIDs == [3], "spans know it")
    // The trace that was open is decided, and verdicts are forgotten.
    try world.send(.root(1, of: 7), at: 3_610_000)
    #expect(world.sampler.horizon.clock > .at(3_600_000))
    #expect(world.sampler.fate(of: traceID(5), at: .at(3_000_000)) == .kept)
    #expect(world.sampler.fate(of: traceID(6), at: .at(3_000_000)) == .dropped)
    #expect(try world.send(child(4, of: 5), at: 3_611_000).keptIDs == [], "to spans it is forgotten")
    // Once logs have caught up, nobody needs them.
    world.sampler.retainVerdicts(for: .at(3_690_000))
    try world.send(.root(1, of: 8), at: 3_700_000)
    #expect(world.sampler.fate(of: traceID(6), at: .at(3_690_000)) == .unknown)
  }
}
