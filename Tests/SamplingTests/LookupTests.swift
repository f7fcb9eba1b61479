// Very late spans follow the verdict that their trace got, even if it has been forgotten.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct LookupTests {
  private let trace = TestSpan.unlucky

  private func world(_ adjust: (inout SamplerConfiguration) -> Void = { _ in }) -> World {
    World {
      $0.dropped = .ledger
      $0.windows.looksUpVerdicts = true
      $0.windows.recallWindow = .seconds(3600)
      $0.windows.lateWindow = .seconds(60)
      adjust(&$0)
    }
  }

  private func child(_ id: UInt64, at start: Int64 = 500) -> TestSpan {
    TestSpan(trace: trace, id: id, parent: 1, start: start, end: start + 10)
  }

  private func error(_ id: UInt64, at start: Int64 = 500) -> TestSpan {
    TestSpan(trace: trace, id: id, parent: 1, start: start, end: start + 10, status: .error)
  }

  /// Other traffic, which moves the clock.
  private func passing(_ world: World, at time: Int64) throws {
    let span = TestSpan(trace: UInt64(0x1000 + time), id: 9, start: time, end: time + 10)
    try world.send(span, at: time)
  }

  /// Answers what is wanted from `verdicts`, after a commit.
  private func lookUp(_ world: World, in verdicts: [RestoredVerdict]) throws -> [Event] {
    let early = world.sampler.nextLookup()
    #expect(early == nil, "the last verdicts are not in the log yet")
    world.sampler.noteCommitted(before: Offset(world.offset))
    let wanted = world.sampler.nextLookup()
    let again = world.sampler.nextLookup()
    let lookup = try #require(wanted)
    #expect(again == lookup)
    for verdict in verdicts {
      #expect(lookup.since <= verdict.decidedAt && verdict.decidedAt <= lookup.until)
      world.sampler.found(verdict)
    }
    world.sampler.endLookup(into: &world.effects)
    return try world.take()
  }

  /// A world in which the trace was dropped and forgotten, and its verdicts.
  private func forgotten(_ adjust: (inout SamplerConfiguration) -> Void = { _ in }) throws -> (
    World, [RestoredVerdict]
  ) {
    let world = world(adjust)
    try world.send(.root(), child(2), at: 1000)
    try world.pass(to: 31_000)
    let verdicts = try world.takeLedger()
    try passing(world, at: 200_000)
    return (world, verdicts)
  }

  /// The last owner kept spans in the log only. What it opened has no other verdict than that of its window.
  @Test func whatIsInTheLogOnlyIsNotLookedUp() throws {
    let first = world { $0.windows.buffer = .log }
    try passing(first, at: 200_000)
    try first.send(TestSpan(trace: 5, id: 2, parent: 1, start: 500, end: 510, status: .error), at: 200_000)
    let point = try #require(first.commitPoint)
    let next = world()
    next.checksBalance = false
    (next.log, next.keys) = (first.log, first.keys)
    next.sampler.restore(point)
    for offset in Int(point.safeOffset.value)..<first.log.count {
      next.offset = Int64(offset)
      _ = next.ingest(first.log[offset].value, key: first.keys[offset], at: first.log[offset].time)
    }
    let lookup = next.sampler.nextLookup()
    #expect(next.counters.lookups == 0 && lookup == nil)
    try next.pass(to: 300_000)
    #expect(try next.handOut().keptIDs.contains(2))
  }

  /// The clock was ahead when the verdict was forgotten, and was set back then: the trace is not old, and its
  /// verdict is looked up all the same.
  @Test(arguments: [false, true]) func whatWasForgottenTooEarlyIsLookedUp(bySameOwner: Bool) throws {
    let world = world()
    try world.send(.root(), child(2), at: 1000)
    try world.pass(to: 31_000)
    let verdicts = try world.takeLedger()
    var point = try #require(world.commitPoint)
    let next = bySameOwner ? world : self.world()
    if bySameOwner {
      next.sampler.noteForgotten(ForgottenVerdicts(before: point.clock + .seconds(1), since: Offset(0)))
    } else {
      point.horizon = [HorizonStep(since: Offset(0), clock: point.clock + .seconds(100))]
      (next.log, next.offset) = (world.log, world.offset)
      next.sampler.restore(point, past: verdicts)
    }
    #expect(try next.send(error(3), at: 32_000).isEmpty, "not kept before the answer")
    #expect(try lookUp(next, in: verdicts).written.map(\.recall) == ["requested"])
  }

  @Test func aVeryLateErrorBringsItsTraceBack() throws {
    let (world, verdicts) = try forgotten()
    #expect(try world.send(error(3), at: 201_000).isEmpty, "not kept before the answer")
    let events = try lookUp(world, in: verdicts)
    let late = try #require(events.written.first)
    #expect(events.written.count == 1 && late.late && !late.final && late.recall == "requested")
    #expect(late.firstOffset == 0 && late.recallUntil == 0)
    #expect(events.kept.map(\.id) == [3])
    let recalled = try world.recall()
    #expect(recalled.kept.map(\.id).sorted() == [1, 2])
    #expect(recalled.written.map(\.recall) == ["done"])
    #expect(try world.send(error(3), child(4), at: 202_000).kept.map(\.id) == [4])
    #expect(world.counters.lookups == 1 && world.counters.lookupsFound == 1)
  }

  @Test func spansThatChangeNothingAreDropped() throws {
    let (world, verdicts) = try forgotten()
    try world.send(child(3), at: 201_000)
    #expect(try lookUp(world, in: verdicts).isEmpty)
    let places = try world.takeLedger()
    #expect(places.map(\.isLate) == [true] && places.map(\.lastOffset) == [Offset(2)])
    #expect(try world.pass(to: 300_000).decisions.allSatisfy { $0.traceID != TraceID(high: 0, low: trace) })
    #expect(world.counters.lateSpansDropped == 1)
  }

  /// One final verdict a trace: a very late span of a kept one is kept, and its trace not decided again.
  @Test func aKeptTraceStaysKept() throws {
    let world = world()
    let kept = try world.send(.root(), error(2), at: 1000) + world.pass(to: 31_000)
    let final = try #require(kept.last { $0.decision?.isFinal == true })
    guard case .decision(_, let record?) = final else {
      Issue.record("no record")
      return
    }
    try passing(world, at: 700_000)
    try world.send(child(3), at: 701_000)
    let events = try lookUp(world, in: [try RestoredVerdict(record: record)])
    #expect(events.kept.map(\.id) == [3])
    let late = try #require(events.written.first)
    #expect(late.verdict == "keep" && late.late && !late.final)
    #expect(try world.pass(to: 800_000).decisions.count { $0.spanCount > 1 } == 0)
    #expect(try world.send(child(3), child(4), at: 801_000).kept.isEmpty, "unknown until it is looked up")
  }

  /// The links of very late spans are followed: of a kept trace, and of one that chance has kept if they show
  /// that it failed.
  @Test(arguments: [false, true]) func itsLinksAreFollowed(byChance: Bool) throws {
    let trace = byChance ? TestSpan.lucky : TestSpan.unlucky
    let world = world {
      $0.links = LinksConfiguration()
      $0.links?.sharesRandomness = false
    }
    func child(_ id: UInt64, _ status: SpanStatus = .unset) -> TestSpan {
      TestSpan(trace: trace, id: id, parent: 1, start: 500, end: 510, status: status)
    }
    let root = TestSpan(trace: trace, id: 1, start: 490, end: 520)
    let kept = try world.send(root, child(2, byChance ? .unset : .error), at: 1000) + world.pass(to: 31_000)
    let final = try #require(kept.last { $0.decision?.isFinal == true && $0.decision?.isKept == true })
    guard case .decision(_, let record?) = final else {
      Issue.record("no record")
      return
    }
    try passing(world, at: 700_000)
    try world.send(.root(7, of: 0x70), at: 700_100)
    _ = try world.takeLinks()
    try world.send(child(3).linking(to: 0x70), child(4, byChance ? .error : .unset), at: 701_000)
    #expect(try lookUp(world, in: [try RestoredVerdict(record: record)]).kept.map(\.id) == [3, 4])
    let entries = try world.takeLinks()
    #expect(entries.map(\.hops) == [0] && entries[0].links.count == 1)
    #expect(try world.follow(entries).kept.map(\.id) == [7])
  }

  /// Whoever takes the partition over may find no record of the trace but that of its late spans.
  @Test(arguments: [["first_of_shape"], ["linked"], ["baseline"]])
  func theLateRecordSaysWhyItWasKept(_ reasons: [String]) throws {
    let world = world {
      $0.links = LinksConfiguration()
      $0.policies = [
        Policy(name: "errors", rule: .statusCode([.error])), Policy(name: "baseline", rule: .adaptive),
      ]
      $0.baseline = BaselineConfiguration()
    }
    try passing(world, at: 700_000)
    var old = RestoredVerdict(
      traceID: TestSpan(trace: trace, id: 1).traceID, isKept: true, isFinal: true, reasons: reasons,
      threshold: .always, decidedAt: .at(31_000), firstOffset: Offset(0), lastOffset: Offset(0))
    if reasons == ["linked"] { old.linked = LinkReach(from: TraceID(high: 0, low: 3), hops: 2) }
    try world.send(child(3), at: 701_000)
    let events = try lookUp(world, in: [old])
    guard case .decision(_, let record?)? = events.last(where: { $0.decision?.isLate == true }) else {
      Issue.record("no late record")
      return
    }
    let again = try RestoredVerdict(record: record)
    #expect(again.isKept && again.isLate && again.reasons == reasons && again.linked == old.linked)
    #expect(again.isFirstOfShape == (reasons == ["first_of_shape"]))
  }

  /// Where memory is short, those that wait give way, but not those of which the answer has been read.
  @Test func answersAreNotLostForRoom() throws {
    let world = world { $0.limits.verdicts = 20 }
    try passing(world, at: 700_000)
    let traces: [UInt64] = [6, 5]
    for (place, trace) in traces.enumerated() {
      let late = TestSpan(trace: trace, id: 3, parent: 1, start: 500, end: 510)
      try world.send(late, at: 701_000 + Int64(place))
    }
    var time: Int64 = 702_000
    while world.sampler.horizon.steps.count < 19 {
      try passing(world, at: time)
      time += 500
    }
    let verdicts = traces.map { trace in
      RestoredVerdict(
        traceID: TestSpan(trace: trace, id: 1).traceID, isKept: true, isFinal: true, reasons: ["errors"],
        threshold: .always, decidedAt: .at(31_000), firstOffset: Offset(0), lastOffset: Offset(0))
    }
    #expect(world.counters.lookups == 2 && world.counters.lookupsRefused == 0)
    #expect(try lookUp(world, in: verdicts).kept.map(\.id) == [3, 3])
    #expect(world.counters.lookupsFound == 2 && world.counters.lookupsRefused == 0)
  }

  /// It is here by chance, whatever its late spans show.
  @Test func whatHeadSamplingHasThinnedDoesNotSpread() throws {
    let (world, verdicts) = try forgotten { $0.links = LinksConfiguration() }
    var late = error(3)
    late.traceState = "ot=th:8"
    try world.send(late.linking(to: 0x70), at: 201_000)
    #expect(try lookUp(world, in: verdicts).written.map(\.recall) == ["requested"])
    #expect(try world.takeLinks().isEmpty)
  }

  /// What chance kept so long ago could not be recalled, had chance dropped it: its links lead nowhere.
  @Test func chanceOfLongAgoDoesNotSpread() throws {
    let world = world {
      $0.links = LinksConfiguration()
      $0.links?.sharesRandomness = false
      $0.windows.recallWindow = .seconds(300)
    }
    try passing(world, at: 700_000)
    let verdict = RestoredVerdict(
      traceID: TestSpan(trace: TestSpan.lucky, id: 1).traceID, isKept: true, isFinal: true,
      reasons: ["baseline"], threshold: SamplingThreshold(probability: 0.5), decidedAt: .at(31_000),
      firstOffset: Offset(0), lastOffset: Offset(0))
    var late = TestSpan.child(3, of: TestSpan.lucky, .error)
    (late.start, late.end) = (500, 510)
    try world.send(late.linking(to: 0x70), at: 701_000)
    #expect(try lookUp(world, in: [verdict]).kept.map(\.id) == [3])
    #expect(try world.takeLinks().isEmpty)
  }

  /// Time waited is that of the stream: a clock that is set back makes nobody wait longer.
  @Test func patienceIsSetBackWithTheClock() {
    var lookups = VerdictLookups()
    let id = TestSpan(trace: 5, id: 1).traceID
    lookups.add(
      id,
      VerdictLookups.Waiting(start: .at(0), end: .at(10), offset: Offset(1), since: .at(90_000_000)))
    lookups.turnBack(to: .at(1_000_000))
    #expect(lookups.overdue(since: .at(1_000_000)).isEmpty)
    #expect(lookups.overdue(since: .at(1_000_001)) == [id])
  }

  /// Spans state the randomness that their trace was kept by, even where nothing else remembers it.
  @Test func aVerdictSaysWhichRandomnessWasShared() throws {
    let world = world {
      $0.links = LinksConfiguration()
      $0.links?.remember = .seconds(60)
    }
    let kept =
      try world.send(TestSpan.root().linking(to: TestSpan.lucky), at: 1000) + world.pass(to: 31_000)
    let records = kept.compactMap { event -> [UInt8]? in
      if case .decision(_, let record) = event { record } else { nil }
    }
    let verdicts = try records.map { try RestoredVerdict(record: $0) }
    #expect(verdicts.map(\.randomness) == [TestSpan.lucky])
    try passing(world, at: 700_000)
    try world.send(child(3), at: 701_000)
    let events = try lookUp(world, in: verdicts)
    #expect(events.kept.map(\.traceState) == ["ot=th:fd70a;rv:ffffffffffffff"])
    // Nor is the new record silent about it.
    #expect(events.written.map(\.rv) == ["ffffffffffffff"])
    #expect(
      try world.send(child(4), at: 702_000).kept.map(\.traceState) == ["ot=th:fd70a;rv:ffffffffffffff"])
  }

  @Test func withoutAVerdictATraceIsLikeAnyOther() throws {
    let world = world()
    try passing(world, at: 200_000)
    #expect(try world.send(.root(), error(2), at: 201_000).isEmpty)
    // Its window is over, and waits for the answer.
    #expect(try world.pass(to: 240_000).decisions.allSatisfy { $0.spanCount == 1 })
    let events = try lookUp(world, in: [])
    #expect(events.decisions.map(\.isFinal) == [false, true])
    #expect(events.kept.map(\.id).sorted() == [1, 2])
    #expect(world.counters.lookupsFound == 0)
  }

  /// Those beyond the limit, and those that have to make room, are decided without an answer.
  @Test func whatWaitsIsBounded() throws {
    let world = world { $0.limits.lookups = 1 }
    try passing(world, at: 200_000)
    try world.send(child(2), at: 201_000)
    let other = TestSpan(trace: 77, id: 2, parent: 1, start: 500, end: 600, status: .error)
    #expect(try world.send(other, at: 201_000).decisions.map(\.isKept) == [true])
    #expect(world.counters.lookups == 1 && world.counters.lookupsRefused == 1)
    world.sampler.relieve(toBytes: 0, into: &world.effects)
    #expect(try world.take().decisions.contains { $0.trigger == .memory })
    #expect(world.counters.lookupsRefused == 2)
    world.sampler.noteCommitted(before: Offset(world.offset))
    let none = world.sampler.nextLookup()
    #expect(none == nil)
  }

  /// A root that lasted long is old when it comes, and its trace was decided after its end.
  @Test func theVerdictOfALongRootIsFound() throws {
    let world = world()
    try passing(world, at: 200_000)
    try world.send(TestSpan(trace: trace, id: 1, start: 500, end: 199_000), at: 201_000)
    world.sampler.noteCommitted(before: Offset(world.offset))
    let lookup = world.sampler.nextLookup()
    #expect(try #require(lookup).until >= .at(199_000) + world.sampler.configuration.windows.decisionWait)
  }

  /// The trace that came first is answered first, even if spans come all the time that are older.
  @Test func noneWaitsForThoseThatComeLater() throws {
    let world = world()
    try passing(world, at: 900_000)
    try world.send(child(2, at: 700_000), at: 901_000)
    world.sampler.noteCommitted(before: Offset(world.offset))
    let first = world.sampler.nextLookup()
    for step in 0..<3 as Range<UInt64> {
      try world.send(TestSpan(trace: 80 + step, id: 2, parent: 1, start: 1000, end: 1010), at: 902_000)
    }
    world.sampler.noteCommitted(before: Offset(world.offset))
    try world.send(TestSpan(trace: 90, id: 2, parent: 1, start: 710_000, end: 710_010), at: 903_000)
    #expect(world.sampler.lookedUp.map(\.low) == [trace])
    world.sampler.endLookup(into: &world.effects)
    _ = try world.take()
    let second = world.sampler.nextLookup()
    #expect(try #require(first).since > #require(second).since)
    #expect(Set(world.sampler.lookedUp.map(\.low)) == [80, 81, 82])
    world.sampler.noteCommitted(before: Offset(world.offset))
    world.sampler.endLookup(into: &world.effects)
    _ = world.sampler.nextLookup()
    #expect(world.sampler.lookedUp.map(\.low) == [90])
  }

  /// Its partition can't be resumed after it: without an answer it is decided in the end.
  @Test func noneWaitsForEver() throws {
    let world = world()
    try passing(world, at: 200_000)
    try world.send(child(2), at: 201_000)
    try world.pass(to: 800_000)
    _ = world.sampler.nextLookup()
    #expect(try world.pass(to: 800_500).decisions.allSatisfy { $0.traceID.low != trace })
    try world.pass(to: 802_000)
    let lookup = world.sampler.nextLookup()
    #expect(lookup == nil && world.counters.lookupsRefused == 1)
    #expect(try world.pass(to: 802_001).decisions.map(\.traceID.low) == [trace])
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
    try note(first.send(child(3), at: 40_000))
    past += try first.takeLedger()
    try passing(first, at: 41_000)
    let point = try #require(first.commitPoint)

    let second = world { $0.dropped = dropped }
    (second.log, second.offset) = (first.log, first.offset)
    second.sampler.restore(point, past: past)
    try second.send(error(4), at: 45_000)
    #expect(try second.recall().kept.map(\.id).sorted() == [1, 2, 3, 4])
  }
}
