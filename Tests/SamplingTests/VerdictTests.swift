// Verdicts: errors, slow traces, the baseline, early and late spans, and how kept spans are forwarded.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct EagerKeepTests {
  @Test func anErrorIsKeptAtOnceAndDecidedAtTheEnd() throws {
    let world = World()
    let root = TestSpan.root()
    let failed = TestSpan.child(2, .error)
    let after = TestSpan.child(3)
    #expect(try world.send(root, at: 0).isEmpty)

    let early = try world.send(failed, at: 1000)
    #expect(early.count == 2)
    let decision = try #require(early[0].decision)
    #expect(decision.isKept && !decision.isFinal)
    #expect(decision.trigger == .eager)
    #expect(early[1].kept.map(\.id) == [1, 2])

    let later = try world.send(after, at: 2000)
    #expect(later.decisions.isEmpty)
    #expect(later.keptIDs == [3])

    let last = try world.pass(to: 5000)
    #expect(last.kept.isEmpty)
    #expect(last.decisions.map(\.isFinal) == [true])
    #expect(last.decisions.map(\.trigger) == [.root])
    #expect(last.written.first?.reasons == ["errors"])
    #expect(last.written.first?.spanCount == 3)
    #expect(world.counters.tracesKeptEarly == 1)
    #expect(world.counters.keptByReason == ["errors": 1, "slow": 0, "baseline": 0])

    let kept = early.kept + later.kept
    #expect(kept.map(\.rest) == [root, failed, after].map(\.bytesWithoutState))
    #expect(kept.map(\.traceState) == ["ot=th:0", "ot=th:0", "ot=th:0"])
  }

  @Test func aSlowRootIsKeptAtOnce() throws {
    let world = World()
    #expect(try world.send(.root(lasting: 1999), at: 0).isEmpty)
    let early = try world.send(.root(of: 2, lasting: 2000), at: 0)
    #expect(early.decisions.map(\.trigger) == [.eager])
    #expect(early.keptIDs == [1])
    #expect(try world.pass(to: 5000).written.map(\.policy) == [nil, "slow"])
  }

  /// A long envelope may still get a short root: it is not certain until the window closes.
  @Test func aLongEnvelopeWaits() throws {
    let world = World()
    #expect(try world.send(TestSpan(id: 2, parent: 1, end: 9000), at: 0).isEmpty)
    let end = try world.pass(to: 30_000)
    #expect(end.written.map(\.policy) == ["slow"])
    #expect(end.keptIDs == [2])

    let other = World()
    try other.send(TestSpan(id: 2, parent: 1, end: 9000), at: 0)
    try other.send(.root(), at: 0)
    #expect(try other.pass(to: 30_000).decisions.map(\.isKept) == [false])
  }

  @Test func theFinalRecordKnowsMoreThanTheEarlyOne() throws {
    let world = World()
    let early = try world.send(TestSpan.child(3, under: 2, .error), at: 0).written
    #expect(early.map(\.root) == [nil])
    #expect(early.map(\.errorOrigin?.spanId) == ["0000000000000003"])
    try world.send(
      TestSpan(id: 4, parent: 3, end: 5, status: .error, service: "stock", name: "SELECT"),
      TestSpan(id: 1, end: 3000, status: .error, service: "edge", name: "GET /cart"), .child(2), at: 100)
    let final = try #require(try world.pass(to: 6000).written.first)
    #expect(final.root == WrittenDecision.Root(service: "edge", operation: "GET /cart"))
    #expect(
      final.errorOrigin
        == WrittenDecision.Origin(service: "stock", operation: "SELECT", spanId: "0000000000000004"))
    #expect(final.reasons == ["errors", "slow"])
    #expect(final.services == ["shop", "stock", "edge"])
    #expect([final.spanCount, final.errorCount] == [4, 3])
    #expect([final.firstOffset, final.lastOffset, final.partition] == [0, 1, 7])
  }
}

@Suite struct BaselineTests {
  @Test func aKeptTraceStandsForAHundred() throws {
    let world = World()
    #expect(try world.send(.root(of: TestSpan.lucky), at: 0).isEmpty)
    let events = try world.pass(to: 5000)
    let written = try #require(events.written.first)
    #expect(written.verdict == "keep")
    #expect(written.reasons == ["baseline"])
    #expect(written.threshold == "fd70a")
    #expect(abs((written.adjustedCount ?? 0) - 100) < 0.01)
    #expect(events.kept.map(\.traceState) == ["ot=th:fd70a"])
    #expect(world.counters.keptByReason == ["errors": 0, "slow": 0, "baseline": 1])
  }

  /// What is kept for its own sake represents only itself, whatever its randomness.
  @Test func aKeptErrorStandsForItself() throws {
    let world = World()
    let early = try world.send(.root(of: TestSpan.lucky, .error), at: 0)
    #expect(early.written.map(\.adjustedCount) == [1])
    let final = try world.pass(to: 5000).written
    #expect(final.map(\.adjustedCount) == [1])
    #expect(final.map(\.reasons) == [["errors", "baseline"]])
  }

  /// Head sampling left `th:8` (one in two): the baseline keeps one in a hundred of all, and an error
  /// represents two.
  @Test func anIncomingThresholdIsRespected() throws {
    let world = World()
    var baseline = TestSpan.root(of: TestSpan.lucky)
    baseline.traceState = "ot=th:8"
    var failed = TestSpan.root(of: 2, .error)
    failed.traceState = "vendor=1,ot=th:8"
    let early = try world.send(failed, at: 0)
    #expect(early.written.map(\.adjustedCount) == [2])
    #expect(early.written.map(\.threshold) == ["8"])
    #expect(early.kept.map(\.traceState) == ["vendor=1,ot=th:8"])
    try world.send(baseline, at: 0)
    let final = try world.pass(to: 5000)
    #expect(final.written.map(\.threshold) == ["8", "fd70a"])
    #expect(final.kept.map(\.traceState) == ["ot=th:fd70a"])
  }

  @Test func explicitRandomnessDecides() throws {
    let world = World()
    var kept = TestSpan.root(of: TestSpan.unlucky)
    kept.traceState = "ot=rv:ffffffffffffff"
    var dropped = TestSpan.root(of: TestSpan.lucky)
    dropped.traceState = "ot=rv:00000000000000"
    try world.send(kept, dropped, at: 0)
    let events = try world.pass(to: 5000)
    #expect(events.decisions.map(\.isKept) == [true, false])
    #expect(events.kept.map(\.traceState) == ["ot=th:fd70a;rv:ffffffffffffff"])
  }

  /// The root's own threshold counts, whatever the order of spans; children's only while there is no root.
  @Test func theRootsThresholdCounts() throws {
    var root = TestSpan.root(1, .error)
    var child = TestSpan.child(2)
    for (ofRoot, ofChild, expected) in [
      ("ot=th:8", "ot=th:c", "8"), ("", "ot=th:c", "0"), ("ot=th:8", "", "8"),
    ] {
      root.traceState = ofRoot
      child.traceState = ofChild
      for order in [[root, child], [child, root]] {
        let world = World()
        for span in order { try world.send(span, at: 0) }
        #expect(try world.pass(to: 5000).written.map(\.threshold) == [expected])
      }
    }
    child.traceState = "ot=th:c"
    child.status = .error
    let rootless = World()
    try rootless.send(child, at: 0)
    #expect(try rootless.pass(to: 30_000).written.map(\.adjustedCount) == [4])
  }

  /// A broken tracestate is ignored, passed through and counted.
  @Test func aBrokenTracestateIsLeftAlone() throws {
    let world = World()
    var root = TestSpan.root(.init(1), .error)
    root.traceState = "ot=th:xyz"
    #expect(try world.send(root, at: 0).kept.map(\.traceState) == ["ot=th:xyz"])
    #expect(world.counters.tracestatesLeftAlone == 1)
  }
}

@Suite struct LateSpanTests {
  @Test func theyFollowAKeep() throws {
    let world = World()
    try world.send(.root(of: TestSpan.lucky), at: 0)
    try world.pass(to: 5000)
    let late = TestSpan.child(2, of: TestSpan.lucky, .error)
    let events = try world.send(late, at: 6000)
    #expect(events.decisions.isEmpty)
    #expect(events.kept == [KeptSpan(id: 2, traceState: "ot=th:fd70a", rest: late.bytesWithoutState)])
    #expect(world.counters.lateSpansKept == 1)
    #expect(world.counters.missedByPolicy["errors"] == 0)
  }

  @Test func theyFollowADrop() throws {
    let world = World()
    try world.send(.root(), at: 0)
    try world.pass(to: 5000)
    #expect(try world.send(.child(2), .child(3), at: 6000).isEmpty)
    #expect(world.counters.lateSpansDropped == 2)
    #expect(world.counters.spansDropped == 3)
    #expect(world.counters.tracesOpened == 1)
  }

  @Test func aLateErrorOnADroppedTraceIsReportedOnce() throws {
    let world = World()
    try world.send(.root(), at: 0)
    try world.pass(to: 5000)
    #expect(try world.send(.child(2), at: 6000).isEmpty)
    let events = try world.send(.child(3, .error), .child(4), at: 7000)
    let decision = try #require(events.decisions.first)
    #expect(decision.isLate && !decision.isFinal && !decision.isKept)
    #expect(decision.trigger == .late)
    #expect([decision.spanCount, decision.errorCount] == [2, 1])
    #expect(events.written.map(\.late) == [true])
    #expect(events.kept.isEmpty)
    #expect(try world.send(.child(5, .error), at: 8000).isEmpty)
    #expect(events.written.map(\.policy) == ["errors"])
    #expect(world.counters.missedByPolicy == ["errors": 1, "slow": 0, "baseline": 0])
    #expect(world.counters.lateSpansDropped == 4)
  }

  /// A verdict is remembered for the late window and not a moment longer.
  @Test func aVerdictIsForgottenAfterTheLateWindow() throws {
    let world = World { $0.windows.lateWindow = .seconds(60) }
    try world.send(.root(), at: 0)
    try world.pass(to: 5000)
    try world.send(.child(2), at: 64_999)
    #expect(world.counters.lateSpansDropped == 1)
    try world.send(.child(3), at: 65_000)
    #expect(world.counters.lateSpansDropped == 1)
    #expect(world.counters.tracesOpened == 2)
    #expect(world.usage.pastVerdicts == 0)
  }

  /// The next owner must forget what was forgotten for room, however long the cache has been full.
  @Test func whatIsForgottenForRoomIsCommitted() throws {
    let world = World { $0.limits.verdicts = 4 }
    for trace in 1...200 as ClosedRange<UInt64> {
      try world.send(.root(of: trace), at: 1000 * Int64(trace))
    }
    #expect(world.counters.verdictsForgottenEarly > 180)
    let point = try #require(world.commitPoint)
    #expect(point.clockOfVerdicts >= .at(780_000))
    #expect(CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata) == point)
  }

  @Test func theOldestVerdictGoesFirstWhenThereAreTooMany() throws {
    let world = World { $0.limits.verdicts = 3 }
    for trace in 1...5 as ClosedRange<UInt64> { try world.send(.root(of: trace), at: 0) }
    try world.pass(to: 5000)
    #expect(world.counters.verdictsForgottenEarly == 2)
    #expect(world.usage.pastVerdicts == 3)
    for trace in 1...5 as ClosedRange<UInt64> { try world.send(.child(2, of: trace), at: 6000) }
    #expect(world.counters.lateSpansDropped == 3)
    #expect(world.counters.tracesOpened == 7)
  }
}

@Suite struct DroppedRecordTests {
  @Test func compactByDefault() throws {
    let world = World()
    try world.send(.root(), .child(2), at: 0)
    let written = try #require(try world.pass(to: 5000).written.first)
    #expect(written.verdict == "drop")
    #expect(written.root == WrittenDecision.Root(service: "shop", operation: "GET /"))
    #expect(written.services == nil && written.reasons == nil && written.durationNs == nil)
  }

  @Test func fullOnDemand() throws {
    let world = World { $0.dropped = .full }
    try world.send(.root(), at: 0)
    let written = try #require(try world.pass(to: 5000).written.first)
    #expect(written.services == ["shop"])
    #expect(written.reasons == [])
    #expect(written.threshold == nil)
  }

  @Test func noneOnDemand() throws {
    let world = World { $0.dropped = .none }
    try world.send(.root(), at: 0)
    try world.send(.root(of: TestSpan.lucky), at: 0)
    let events = try world.pass(to: 5000)
    #expect(events.decisions.map(\.isKept) == [false, true])
    #expect(events.written.map(\.verdict) == ["keep"])
    // A late error is reported all the same: it tells what was lost.
    #expect(try world.send(.child(2, .error), at: 6000).written.map(\.late) == [true])
  }
}
