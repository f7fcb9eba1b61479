// Links across a change of owner: the log says all that the next one needs.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct LinkRecoveryTests {
  private let producer: UInt64 = 0x10
  private let consumer: UInt64 = 0x20

  /// Another owner of `world`'s partition, from its commit point and what it wrote.
  private func successor(
    of world: World, _ verdicts: [RestoredVerdict], knowing entries: [LinkEntry] = []
  ) throws -> World {
    let next = World.linked { _ in }
    next.sampler.restore(try #require(world.commitPoint), past: verdicts)
    next.log = world.log
    next.offset = try #require(world.commitPoint).safeOffset.value
    next.sampler.learn(entries)
    return next
  }

  private func replay(_ world: World, into next: World) throws -> [Event] {
    var events: [Event] = []
    for offset in Int(next.offset)..<world.log.count {
      let (value, time) = world.log[offset]
      _ = next.ingest(value, key: nil, at: time)
      events += try next.take()
    }
    return events
  }

  private func restored(_ events: [Event]) throws -> [RestoredVerdict] {
    try events.compactMap {
      guard case .decision(_, let record?) = $0 else { return nil }
      return try RestoredVerdict(record: record)
    }
  }

  @Test(arguments: [DroppedRecords.ledger, .compact, .full])
  func aDroppedTraceStillLinks(_ dropped: DroppedRecords) throws {
    let world = World.linked({ _ in }) { $0.dropped = dropped }
    try world.send(TestSpan.root(1, of: consumer).linking(to: producer), at: 1000)
    let events = try world.pass(to: 40_000)
    let verdicts = try restored(events) + world.takeLedger()
    #expect(verdicts.map(\.links) == [[TestSpan(trace: producer, id: 1).traceID]])
    let next = try successor(of: world, verdicts)
    #expect(try replay(world, into: next).isEmpty)
    try next.send(.root(2, of: producer, .error), at: 41_000)
    #expect(try spread(next)[0].kept.map(\.id) == [1])
  }

  @Test func lateSpansStillStateTheSharedRandomness() throws {
    let (unlucky, lucky) = (TestSpan.unlucky, TestSpan.lucky)
    let world = World.linked()
    try world.send(TestSpan.root(1, of: unlucky).linking(to: lucky), at: 1000)
    let verdicts = try restored(try world.pass(to: 40_000))
    #expect(verdicts.map(\.randomness) == [lucky])
    let next = try successor(of: world, verdicts)
    _ = try replay(world, into: next)
    let late = try next.send(TestSpan.child(2, of: unlucky).linking(to: 0), at: 41_000).kept
    #expect(late.map(\.traceState) == ["ot=th:fd70a;rv:ffffffffffffff"])
  }

  /// A trace that links have kept makes its late links known over the hops that are left.
  @Test func lateLinksOfWhatLinksHaveKeptCount() throws {
    let world = World.linked()
    try world.send(.root(1, of: producer), at: 1000)
    var events = try world.send(TestSpan.root(2, of: consumer, .error).linking(to: producer), at: 1000)
    let entries = try world.takeLinks()
    events += try world.follow(entries)
    events += try world.pass(to: 40_000)
    let next = try successor(of: world, restored(events))
    _ = try replay(world, into: next)
    _ = try next.takeLinks()
    try next.send(TestSpan.child(3, of: producer).linking(to: 0x30), at: 41_000)
    #expect(try next.takeLinks().map(\.hops) == [1])
    try next.send(TestSpan.child(4, under: 2, of: consumer).linking(to: 0x30), at: 41_000)
    #expect(try next.takeLinks().map(\.hops) == [0])
  }

  /// Links have kept it first, and then a policy, too: the shorter way counts, though its record tells of the
  /// other.
  @Test func whatAPolicyKeepsAfterLinksLeadsOn() throws {
    let world = World.linked()
    try world.send(.root(1, of: producer), at: 1000)
    var events = try world.send(TestSpan.root(2, of: consumer, .error).linking(to: producer), at: 1000)
    var entries = try world.takeLinks()
    events += try world.follow(entries)
    events += try world.send(.child(3, of: producer, .error), at: 1500)
    events += try world.pass(to: 40_000)
    entries += try world.takeLinks()
    let next = try successor(of: world, restored(events), knowing: entries)
    _ = try replay(world, into: next)
    _ = try next.takeLinks()
    try next.send(TestSpan.child(4, of: producer).linking(to: 0x30), at: 41_000)
    #expect(try next.takeLinks().map(\.hops) == [0])
  }

  @Test func whatLinksHaveKeptStaysKept() throws {
    let world = World.linked()
    try world.send(.root(1, of: producer), at: 1000)
    let error = TestSpan.root(2, of: consumer, .error).linking(to: producer)
    var events = try world.send(error, at: 1000)
    let entries = try world.takeLinks()
    events += try world.follow(entries)
    let next = try successor(of: world, restored(events))
    #expect(try replay(world, into: next).kept.isEmpty, "it was written before")
    let final = try #require(try next.pass(to: 40_000).written.first { $0.traceId.hasSuffix("10") })
    #expect(final.verdict == "keep" && final.reasons == ["linked"] && final.linkHops == 1)
  }

  @Test func aRecallThatLinksRequestedIsFulfilled() throws {
    let world = World.linked()
    try world.send(TestSpan.root(1, of: producer).linking(to: 0x30), at: 1000)
    var verdicts = try restored(try world.pass(to: 40_000)) + world.takeLedger()
    let events = try world.send(TestSpan.root(2, of: consumer, .error).linking(to: producer), at: 41_000)
    verdicts += try restored(events)
    verdicts += try restored(try world.follow(try world.takeLinks()))
    let next = try successor(of: world, verdicts)
    _ = try replay(world, into: next)
    let revised = try #require(try next.recall().written.first)
    #expect(revised.reasons == ["linked"] && revised.linkHops == 1)
    // And its own links are followed.
    #expect(try next.takeLinks().contains { $0.hops == 1 && $0.links.count == 1 })
  }

  /// The trace was dropped while the clock was ahead; it was set back before links reached the trace.
  @Test(arguments: [false, true]) func aRecallIsRequestedOnceWhateverTheClock(isFulfilled: Bool) throws {
    let world = World.linked()
    try world.send(TestSpan.root(1, of: producer).linking(to: 0x30), at: 1000)
    var verdicts = try restored(try world.pass(to: 40_000)) + world.takeLedger()
    verdicts[0].decidedAt = verdicts[0].decidedAt + .seconds(3600)
    verdicts += try restored(
      try world.send(TestSpan.root(2, of: consumer, .error).linking(to: producer), at: 41_000))
    let entries = try world.takeLinks()
    verdicts += try restored(try world.follow(entries))
    if isFulfilled { verdicts += try restored(try world.recall()) }
    try world.send(.child(9, of: 0x99), at: 45_000)
    let next = try successor(of: world, verdicts)
    _ = try replay(world, into: next)
    #expect(try next.follow(entries).written.isEmpty)
    #expect(next.counters.recallsRequested == 0 && next.counters.recallsRefused == 0)
    #expect(try next.send(.child(5, under: 1, of: producer), at: 46_000).kept.map(\.id) == [5])
    #expect(try next.recall().kept.map(\.id) == (isFulfilled ? [] : [1]))
  }

  /// Spans that came twice were dropped both times: the next owner, which reads the second time again, must
  /// not take them for handed out.
  @Test func aRecallHasWhatCameTwice() throws {
    let world = World.linked()
    try world.send(.child(8, of: 0x99), at: 1000)
    try world.send(.root(1, of: producer), .child(2, of: producer), at: 1000)
    try world.send(.child(2, of: producer), at: 2000)
    var verdicts = try restored(try world.pass(to: 20_000)) + world.takeLedger()
    #expect(verdicts.map(\.isKept) == [false])
    verdicts += try restored(
      try world.send(TestSpan.root(3, of: consumer, .error).linking(to: producer), at: 21_000))
    verdicts += try restored(try world.follow(try world.takeLinks()))
    let next = try successor(of: world, verdicts)
    #expect(next.offset == 0, "all is read again")
    _ = try replay(world, into: next)
    #expect(try next.recall().kept.map(\.id).sorted() == [1, 2])
  }

  /// An entry was read while another worker owned the partition.
  @Test func whatIsKnownIsFollowedAfterRecovery() throws {
    let world = World.linked()
    try world.send(.root(1, of: producer), at: 1000)
    let events = try world.send(.root(3, of: 0x30), at: 38_000)
    #expect(events.decisions.map(\.isKept) == [false])
    let verdicts = try restored(events)
    let other = World.linked()
    try other.send(TestSpan.root(2, of: consumer, .error).linking(to: producer, 0x30), at: 1000)
    let next = try successor(of: world, verdicts, knowing: try other.takeLinks())
    _ = try replay(world, into: next)
    let wasWaiting = next.sampler.awaitsLinks
    let followed = try next.follow([])
    let isWaiting = next.sampler.awaitsLinks
    #expect(wasWaiting && !isWaiting)
    #expect(followed.kept.map(\.id) == [3] && followed.written.contains { $0.recall == "requested" })
    #expect(try next.recall().kept.map(\.id) == [1])
  }

  /// A baseline that keeps all gives its threshold to what chance keeps, too.
  @Test(arguments: [
    (["baseline"], true), (["half", "baseline"], true), (["few", "baseline"], true),
    (["errors", "baseline"], false), (["gone", "baseline"], false), ([], false),
  ])
  func whatChanceKeepsWithABaselineIsNotCertain(reasons: [String], isByChance: Bool) {
    let half = Policy.Rule.probabilistic(SamplingThreshold(probability: 0.5))
    let world = World.linked({ _ in }) {
      $0.policies = [
        Policy(name: "errors", rule: .statusCode([.error])), Policy(name: "half", rule: half),
        Policy(name: "few", rule: .and([.not(half), .statusCode([.unset])])),
        Policy(name: "baseline", rule: .adaptive),
      ]
      $0.baseline = BaselineConfiguration()
    }
    let verdict = RestoredVerdict(
      traceID: TraceID(high: 1, low: 2), isKept: true, isFinal: true, reasons: reasons, threshold: .always,
      decidedAt: .at(1000))
    #expect(world.sampler.dependsOnOthers(verdict) == isByChance)
  }

  /// While another worker owned the partition, a trace was kept to which one links that chance has kept.
  @Test func whatChanceHasKeptLeadsOnAfterRecovery() throws {
    let world = World.linked { $0.sharesRandomness = false }
    try world.send(.root(1, of: producer), at: 1000)
    try world.send(TestSpan.root(2, of: TestSpan.lucky).linking(to: producer, 0x30), at: 1000)
    let verdicts = try restored(try world.pass(to: 40_000)) + world.takeLedger()
    let other = World.linked()
    try other.send(.root(3, of: 0x30, .error), at: 1000)
    let next = try successor(of: world, verdicts, knowing: try other.takeLinks())
    _ = try replay(world, into: next)
    _ = try next.follow([])
    #expect(try spread(next)[0].kept.map(\.id) == [1])
  }
}
