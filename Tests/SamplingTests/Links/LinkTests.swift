// Links: what is linked with a kept trace is kept, whichever comes first, and over so many links.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct LinkTests {
  private let producer: UInt64 = 0x10
  private let consumer: UInt64 = 0x20

  private func id(_ trace: UInt64) -> TraceID { TestSpan(trace: trace, id: 1).traceID }

  /// The consumer fails; its producer, in another partition, is still open.
  @Test func theProducerOfAnErrorIsKept() throws {
    let (first, second) = (World.linked(), World.linked())
    try first.send(.root(1, of: producer), at: 1000)
    let error = TestSpan.root(2, of: consumer, .error).linking(to: producer)
    try second.send(error, at: 1500)
    let events = try spread(first, second)[0]
    let early = try #require(events.written.first)
    #expect(early.verdict == "keep" && !early.final && early.trigger == "linked")
    #expect(early.reasons == ["linked"] && early.policy == "linked" && early.adjustedCount == 1)
    #expect(early.linkedFrom == id(consumer).description && early.linkHops == 1)
    #expect(events.kept.map(\.id) == [1])
    let final = try #require(try first.pass(to: 40_000).written.first)
    #expect(final.verdict == "keep" && final.final && final.reasons == ["linked"] && final.linkHops == 1)
    #expect(first.counters.keptByReason["linked"] == 1 && first.counters.tracesLinked == 1)
  }

  @Test func theConsumerOfAnErrorIsKept() throws {
    let (first, second) = (World.linked(), World.linked())
    try second.send(TestSpan.root(2, of: consumer).linking(to: producer), at: 1000)
    try first.send(.root(1, of: producer, .error), at: 1500)
    #expect(try spread(first, second)[1].kept.map(\.id) == [2])
  }

  /// The verdict is known before the other trace begins.
  @Test func aTraceThatBeginsLaterIsKept() throws {
    let (first, second) = (World.linked(), World.linked())
    try first.send(TestSpan.root(1, of: producer, .error).linking(to: 0x30), at: 1000)
    _ = try spread(first, second)
    #expect(
      try second.send(TestSpan.root(2, of: consumer).linking(to: producer), at: 2000).kept.map(\.id) == [2])
    #expect(try second.send(.root(3, of: 0x30), at: 2000).kept.map(\.id) == [3])
    #expect(try second.send(.root(4, of: 0x31), at: 2000).kept.isEmpty)
  }

  @Test func aDroppedProducerIsRecalled() throws {
    let (first, second) = (World.linked(), World.linked())
    try first.send(.root(1, of: producer), .child(2, of: producer), at: 1000)
    #expect(try first.pass(to: 40_000).decisions.first?.isKept == false)
    try second.send(TestSpan.root(3, of: consumer, .error).linking(to: producer), at: 41_000)
    let events = try spread(first, second)[0]
    let request = try #require(events.written.first)
    #expect(request.late && request.recall == "requested" && request.trigger == "linked")
    #expect(request.recallUntil == 0 && request.linkedFrom == id(consumer).description)
    let revised = try #require(events.written.last)
    #expect(revised.revised == true && revised.verdict == "keep" && revised.reasons == ["linked"])
    #expect(revised.linkHops == 1 && revised.adjustedCount == 1)
    #expect(events.kept.map(\.id) == [1, 2])
  }

  @Test func aDroppedConsumerIsRecalled() throws {
    let (first, second) = (World.linked(), World.linked())
    try second.send(TestSpan.root(2, of: consumer).linking(to: producer), at: 1000)
    #expect(try second.pass(to: 40_000).decisions.first?.isKept == false)
    try first.send(.root(1, of: producer, .error), at: 41_000)
    #expect(try spread(first, second)[1].kept.map(\.id) == [2])
  }

  @Test(arguments: [LinkDirection.toLinked, .toLinking])
  func onlyOneDirectionIsFollowed(_ direction: LinkDirection) throws {
    let world = World.linked { $0.direction = direction }
    try world.send(.root(1, of: producer), at: 1000)
    try world.send(TestSpan.root(2, of: consumer, .error).linking(to: producer), at: 1000)
    try world.send(TestSpan.root(3, of: 0x30).linking(to: consumer), at: 1000)
    let kept = try spread(world)[0].kept.map(\.id)
    #expect(kept == (direction == .toLinked ? [1] : [3]))
  }

  /// 1 <- 2 <- 3 <- 4 <- 5, and the last one fails.
  @Test(arguments: [1, 2, 3, 15])
  func chainsEndAfterSoManyHops(_ hops: Int) throws {
    let world = World.linked { $0.maxHops = hops }
    for number in 1...4 as ClosedRange<UInt64> {
      try world.send(TestSpan.root(number, of: number).linking(to: number - 1), at: 1000)
    }
    try world.send(TestSpan.root(5, of: 5, .error).linking(to: 4), at: 1000)
    let kept = try spread(world)[0].kept.map(\.id)
    #expect(kept == [4, 3, 2, 1].prefix(hops).map { $0 })
  }

  @Test func loopsEnd() throws {
    let world = World.linked { $0.maxHops = 15 }
    try world.send(TestSpan.root(1, of: 1).linking(to: 2), at: 1000)
    try world.send(TestSpan.root(2, of: 2).linking(to: 3), at: 1000)
    try world.send(TestSpan.root(3, of: 3, .error).linking(to: 1, 3), at: 1000)
    #expect(try spread(world)[0].kept.map(\.id).sorted() == [1, 2])
    #expect(world.counters.tracesLinked == 2)
  }

  /// What only a probability keeps is no reason to keep anything: its weight would be wrong. But a story goes
  /// on through it.
  @Test func chanceDoesNotSpread() throws {
    let world = World.linked { $0.sharesRandomness = false }
    try world.send(.root(1, of: producer), at: 1000)
    try world.send(TestSpan.root(2, of: TestSpan.lucky).linking(to: producer), at: 1000)
    let events = try world.pass(to: 40_000)
    #expect(events.written.filter { $0.verdict == "keep" }.map(\.policy) == ["baseline"])
    #expect(try world.takeLinks().isEmpty)
    try world.send(TestSpan.root(3, of: consumer, .error).linking(to: TestSpan.lucky), at: 41_000)
    #expect(try spread(world)[0].kept.map(\.id) == [1])
  }

  /// A trace that chance has kept turns out to have failed.
  @Test func aLateErrorSpreads() throws {
    let world = World.linked { $0.sharesRandomness = false }
    try world.send(.root(1, of: producer), at: 1000)
    try world.send(TestSpan.root(2, of: TestSpan.lucky).linking(to: producer), at: 1000)
    try world.pass(to: 40_000)
    try world.send(.child(3, under: 2, of: TestSpan.lucky, .error), at: 41_000)
    #expect(try spread(world)[0].kept.map(\.id) == [1])
  }

  /// What links keep is kept for its own sake once it fails: a story begins with it, too.
  @Test func aLateErrorOfWhatLinksHaveKeptLeadsOn() throws {
    let world = World.linked { $0.maxHops = 2 }
    try world.send(.root(1, of: 0x30), at: 1000)
    try world.send(TestSpan.root(2, of: 0x40).linking(to: 0x30), at: 1000)
    try world.send(TestSpan.root(3, of: producer).linking(to: 0x40), at: 1000)
    try world.send(TestSpan.root(4, of: consumer, .error).linking(to: producer), at: 1000)
    #expect(try spread(world)[0].kept.map(\.id).sorted() == [2, 3])
    try world.pass(to: 40_000)
    try world.send(TestSpan.child(5, under: 3, of: producer, .error), at: 41_000)
    #expect(try spread(world)[0].kept.map(\.id) == [1])
  }

  /// By a late span, what chance has kept links to a trace that policies keep: others are reached through it.
  @Test func aLateLinkOfWhatChanceHasKeptLeadsOn() throws {
    let world = World.linked { $0.sharesRandomness = false }
    try world.send(.root(1, of: producer), at: 1000)
    try world.send(TestSpan.root(2, of: TestSpan.lucky).linking(to: producer), at: 1000)
    try world.pass(to: 40_000)
    try world.send(.root(3, of: consumer, .error), at: 41_000)
    #expect(try spread(world)[0].isEmpty)
    try world.send(TestSpan.child(4, under: 2, of: TestSpan.lucky).linking(to: consumer), at: 42_000)
    #expect(try spread(world)[0].kept.map(\.id) == [1])
  }

  @Test func linksOfLateSpansCount() throws {
    let world = World.linked()
    try world.send(.root(1, of: producer), at: 1000)
    try world.send(.root(2, of: consumer, .error), at: 1000)
    try world.send(.root(4, of: 0x40), at: 1000)
    try world.pass(to: 40_000)
    _ = try spread(world)
    try world.send(TestSpan.child(3, under: 2, of: consumer).linking(to: producer), at: 41_000)
    #expect(try spread(world)[0].kept.map(\.id) == [1])
    // And those of a dropped trace.
    let late = try world.send(TestSpan.child(5, under: 4, of: 0x40).linking(to: consumer), at: 42_000)
    #expect(late.written.first?.recall == "requested")
    #expect(try world.recall().kept.map(\.id) == [4, 5])
  }

  @Test func theRateIsKept() throws {
    let world = World.linked { $0.tracesPerSecond = 1 }
    for number in 1...5 as ClosedRange<UInt64> { try world.send(.root(number, of: number), at: 1000) }
    try world.send(TestSpan.root(9, of: consumer, .error).linking(to: 1, 2, 3, 4, 5), at: 1000)
    #expect(try spread(world)[0].kept.map(\.id) == [1, 2])
    #expect(world.counters.linkedBeyondRate == 3 && world.counters.tracesLinked == 2)
  }

  @Test func aTraceThatIsVetoedStaysDropped() throws {
    let world = World.linked({ _ in }) {
      $0.policies.insert(
        Policy(name: "health", rule: .drop([.stringAttribute(key: "kind", values: ["probe"])])), at: 0)
    }
    var probe = TestSpan.root(1, of: producer)
    probe.attributes = [TestAttribute("kind", .text("probe"))]
    try world.send(probe, at: 1000)
    // One whose other spans come first, then the link, and then the span by which it is dropped;
    try world.send(.child(4, under: 5, of: 0x40), at: 1000)
    // and one that no policy drops.
    try world.send(.root(7, of: 0x70), at: 1000)
    let other = World.linked()
    try other.send(TestSpan.root(2, of: consumer, .error).linking(to: producer, 0x40, 0x70), at: 1000)
    #expect(try spread(world, other)[0].isEmpty)
    (probe.trace, probe.id) = (0x40, 5)
    #expect(try world.send(probe, at: 1500).kept.isEmpty)
    let events = try world.pass(to: 40_000)
    #expect(events.kept.map(\.id) == [7])
    #expect(events.written.filter { $0.verdict == "keep" }.map(\.final) == [false, true])
    try other.send(TestSpan.root(3, of: 0x30, .error).linking(to: producer, 0x40), at: 41_000)
    #expect(try spread(world, other)[0].isEmpty)
  }

  /// What chance has kept leads on where it would had chance dropped it: by a recall.
  @Test func chanceLeadsOnNoFurtherThanARecallWould() throws {
    let world = World.linked({ $0.sharesRandomness = false }) { $0.windows.recallWindow = .seconds(0) }
    try world.send(TestSpan.root(2, of: TestSpan.lucky).linking(to: producer), at: 1000)
    #expect(try world.pass(to: 40_000).kept.map(\.id) == [2])
    try world.send(.root(1, of: producer), at: 41_000)
    try world.send(TestSpan.root(3, of: consumer, .error).linking(to: TestSpan.lucky), at: 41_000)
    #expect(try spread(world)[0].isEmpty && world.counters.linkedOutOfReach == 1)
    // Nor if it turns out to have failed.
    try world.send(.child(4, under: 2, of: TestSpan.lucky, .error), at: 42_000)
    #expect(try spread(world)[0].isEmpty && world.counters.linkedOutOfReach == 2)
  }

  /// It is here by chance, whatever its late spans show.
  @Test func whatHeadSamplingHasThinnedDoesNotSpread() throws {
    let world = World.linked()
    var thinned = TestSpan.root(1, of: consumer)
    thinned.traceState = "ot=th:8"
    try world.send(thinned, at: 1000)
    #expect(try world.pass(to: 40_000).decisions.first?.isKept == false)
    let late = TestSpan.child(2, under: 1, of: consumer, .error).linking(to: producer)
    #expect(try world.send(late, at: 41_000).written.first?.recall == "requested")
    #expect(try world.recall().kept.map(\.id) == [1, 2])
    #expect(try world.takeLinks().isEmpty)
    // Nor does it lead on.
    try world.send(TestSpan.root(3, of: 0x30, .error).linking(to: consumer), at: 42_000)
    let entries = try world.takeLinks()
    _ = try world.follow(entries)
    #expect(entries.count == 1 && world.hasNoLinks)
  }

  /// A world that keeps the first traces of shapes, and hardly any other.
  private func shapes(_ more: Policy...) -> World {
    let baseline = shapeBaseline(0.000_001)
    let world = World.linked({ $0.sharesRandomness = false }) {
      $0.policies =
        more + [
          Policy(name: "errors", rule: .statusCode([.error])), Policy(name: "baseline", rule: .adaptive),
        ]
      $0.baseline = baseline
    }
    world.sampler.adopt(BaselineRates(starting: baseline))
    return world
  }

  /// Which trace of a shape the fleet keeps is chance: its links lead nowhere, unless a story leads to it.
  /// Also if a probability keeps it, too.
  @Test(arguments: [false, true]) func theFirstOfAShapeDoesNotSpread(hasProbability: Bool) throws {
    let half = Policy(name: "half", rule: .probabilistic(SamplingThreshold(probability: 0.5)))
    let world = hasProbability ? shapes(half) : shapes()
    let first = hasProbability ? TestSpan.lucky : consumer
    try world.send(.root(1, of: 0x40), at: 1000)
    try world.send(.root(2, of: producer), at: 2000)
    try world.send(.root(3, of: first), .child(4, under: 3, of: first), at: 3000)
    let events = try world.pass(to: 60_000)
    #expect(events.kept.map(\.id) == [1, 3, 4])
    #expect(events.written.last { $0.verdict == "keep" }?.reasons == ["first_of_shape"])
    #expect(try world.takeLinks().isEmpty)
    try world.send(TestSpan.child(5, under: 3, of: first).linking(to: producer), at: 61_000)
    #expect(try world.takeLinks().isEmpty)
    try world.send(TestSpan.root(6, of: 0x30, .error).linking(to: first), at: 62_000)
    #expect(try spread(world)[0].kept.map(\.id) == [2])
  }

  /// A story reaches the first of a shape before its window closes, but a policy may still drop it.
  @Test func aStoryGoesOnThroughTheFirstOfAShape() throws {
    let world = shapes(
      Policy(name: "health", rule: .drop([.stringAttribute(key: "kind", values: ["probe"])])))
    try world.send(TestSpan.root(6, of: 0x30, .error).linking(to: consumer), at: 500)
    try world.send(.root(1, of: 0x40), at: 1000)
    try world.send(.root(2, of: producer), at: 2000)
    try world.send(
      TestSpan.root(3, of: consumer).linking(to: producer), .child(4, under: 3, of: consumer), at: 3000)
    #expect(Set(try world.pass(to: 30_800).kept.map(\.id)) == [1, 6])
    #expect(try spread(world)[0].isEmpty)
    var events = try world.pass(to: 60_000)
    events += try spread(world)[0]
    #expect(Set(events.kept.map(\.id)) == [2, 3, 4])
    // The consumer's early record and its last, and the producer's after its recall.
    #expect(events.written.filter { $0.reasons == ["linked"] }.compactMap(\.linkHops) == [1, 1, 2, 2])
  }

  /// What a baseline keeps whole depends on what it kept before.
  @Test func aBaselineThatKeepsAllDoesNotSpread() throws {
    let world = World.linked({ $0.sharesRandomness = false }) {
      $0.policies = [
        Policy(name: "errors", rule: .statusCode([.error])), Policy(name: "baseline", rule: .adaptive),
      ]
      $0.baseline = BaselineConfiguration()
      $0.baseline?.budget = .shareOfTraces(1)
    }
    var rates = BaselineConfiguration()
    rates.budget = .shareOfTraces(1)
    world.sampler.adopt(BaselineRates(starting: rates))
    try world.send(.root(1, of: producer), at: 1000)
    let kept = try world.pass(to: 40_000).written.filter { $0.verdict == "keep" }
    #expect(kept.map(\.reasons) == [["baseline"]] && kept[0].adjustedCount == 1)
    #expect(try world.takeLinks().isEmpty)
    try world.send(TestSpan.child(2, under: 1, of: producer).linking(to: consumer), at: 41_000)
    #expect(try world.takeLinks().isEmpty)
  }

  @Test func whatCannotBeRecalledIsCounted() throws {
    let world = World.linked({ _ in }) { $0.windows.recallWindow = .seconds(0) }
    try world.send(.root(1, of: producer), at: 1000)
    try world.pass(to: 40_000)
    try world.send(TestSpan.root(2, of: consumer, .error).linking(to: producer), at: 41_000)
    #expect(try spread(world)[0].isEmpty)
    #expect(world.counters.linkedOutOfReach == 1 && world.counters.tracesLinked == 0)
  }

  @Test func badLinksAndTooManyAreCounted() throws {
    let world = World.linked()
    var span = TestSpan.root(2, of: consumer, .error)
    span.links = 2
    span.linked = (0..<40).map { TestLink(trace: 0x100 + $0) } + [TestLink(trace: consumer)]
    try world.send(span, at: 1000)
    let entry = try #require(try world.takeLinks().first)
    #expect(entry.links.count == LinksConfiguration.linksPerTrace && entry.hops == 0)
    #expect(world.counters.linksMalformed == 2 && world.counters.linksLeftOut == 8)
  }

  @Test func tooManyNotesAreForgotten() throws {
    let world = World.linked { $0.tracesMax = 3 }
    for number in 1...5 as ClosedRange<UInt64> {
      try world.send(TestSpan.root(number, of: number).linking(to: producer), at: 1000)
    }
    try world.send(.root(9, of: producer, .error), at: 1000)
    #expect(world.counters.linksForgotten == 2, "the producer has no links, and no note")
    #expect(try spread(world)[0].kept.map(\.id).contains(1) == false)
  }

  @Test func withoutLinksNothingIsWritten() throws {
    let world = World { $0.windows.recallWindow = .seconds(600) }
    try world.send(.root(1, of: producer), at: 1000)
    let events = try world.send(TestSpan.root(2, of: consumer, .error).linking(to: producer), at: 1000)
    #expect(events.written.first?.links == nil && world.hasNoLinks)
    #expect(try world.pass(to: 40_000).written.count == 2)
  }
}
