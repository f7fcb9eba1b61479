// Spans that arrive after their trace was dropped: which policies report that they would have kept it.

import Expressions
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct MissedTraceTests {
  /// Drops the trace of `early` at its end, then sends each of `late`; returns what is reported about it.
  private func missed(
    _ policies: [Policy], _ early: [TestSpan], late: [TestSpan]..., sampleOnFirstMatch: Bool = false,
    invertDecisions: Bool = false
  ) throws -> [[String]] {
    let world = World {
      $0.policies = policies
      $0.sampleOnFirstMatch = sampleOnFirstMatch
      $0.invertDecisions = invertDecisions
    }
    try world.send(early, at: 1000)
    let verdicts = try world.pass(to: 31_000).decisions
    #expect(verdicts.map(\.isKept) == [false])
    var said: [[String]] = []
    for (number, spans) in late.enumerated() {
      let events = try world.send(spans, at: 45_000 + Int64(number) * 1000)
      #expect(events.kept.isEmpty)
      #expect(events.decisions.allSatisfy { $0.isLate && !$0.isFinal && !$0.isKept && $0.trigger == .late })
      for record in events.written {
        #expect(record.policy == record.reasons?.first)
        said.append(record.reasons ?? [])
      }
    }
    for policy in policies {
      let count = said.count { $0.contains(policy.name) }
      #expect(world.counters.missedByPolicy[policy.name] == UInt64(count))
    }
    return said
  }

  private func policy(_ name: String, _ rule: Policy.Rule) -> Policy { Policy(name: name, rule: rule) }

  private static let error = Policy.Rule.statusCode([.error])
  private static let slow = Policy.Rule.latency(threshold: .milliseconds(1500), upper: nil)
  private static let long = Policy.Rule.latency(
    threshold: .milliseconds(1500), upper: nil, measure: .spans)
  private static let gold = Policy.Rule.stringAttribute(key: "tenant", values: ["gold"])
  private static let golden = [TestAttribute("tenant", .text("gold"))]

  private func child(
    _ id: UInt64 = 2, _ status: SpanStatus = .unset, start: Int64 = 500, end: Int64 = 1000,
    with attributes: [TestAttribute] = []
  ) -> TestSpan {
    TestSpan(id: id, parent: 1, start: start, end: end, status: status, attributes: attributes)
  }

  /// The root lasts longer than the wait.
  @Test func aSlowRootAfterTheWaitIsReported() throws {
    let policies = [policy("errors", Self.error), policy("slow", Self.slow)]
    #expect(
      try missed(policies, [child()], late: [.root(lasting: 45_000)], [.root(9, lasting: 60_000)])
        == [["slow"]])
    #expect(try missed(policies, [child()], late: [.root(lasting: 1499)]) == [])
  }

  @Test func theLateRecordSaysWhatTheRootIs() throws {
    let world = World()
    try world.send(child(), at: 1000)
    try world.pass(to: 31_000)
    var root = TestSpan.root(lasting: 45_000)
    root.name = String(repeating: "n", count: 300)
    let late = try #require(try world.send(root, at: 45_000).written.first)
    #expect(late.root == WrittenDecision.Root(service: "shop", operation: String(root.name.prefix(256))))
    #expect(late.policy == "slow" && late.verdict == "drop" && late.late && !late.final)
  }

  /// One policy's record does not hide another's; each is written once.
  @Test func eachPolicyIsReportedOnce() throws {
    let policies = [policy("errors", Self.error), policy("slow", Self.slow), policy("gold", Self.gold)]
    let said = try missed(
      policies, [child()], late: [child(3, .error)], [child(4, .error)],
      [child(5, .error, with: Self.golden)],
      [.root(1, lasting: 45_000, .error)], [.root(9, lasting: 45_000, .error)])
    #expect(said == [["errors"], ["gold"], ["slow"]])
  }

  /// Two at once are one record.
  @Test func policiesOfOneRecordAreNamedTogether() throws {
    let policies = [policy("slow", Self.slow), policy("errors", Self.error)]
    #expect(try missed(policies, [child()], late: [.root(lasting: 2000, .error)]) == [["slow", "errors"]])
  }

  /// A late child may make the trace long, even if no root has arrived.
  @Test func aLongEnvelopeIsReported() throws {
    let late = child(3, start: 44_000, end: 44_010)
    #expect(try missed([policy("long", Self.long)], [.root(), child()], late: [late]) == [["long"]])
    #expect(
      try missed([policy("long", Self.long)], [.root(), child()], late: [child(3, start: 1400, end: 1499)])
        == [])
    #expect(try missed([policy("slow", Self.slow)], [child()], late: [late]) == [["slow"]])
    // The root has determined its duration.
    #expect(try missed([policy("slow", Self.slow)], [.root(), child()], late: [late]) == [])
  }

  @Test func attributesAndConditionsAreReported() throws {
    let condition = try OTTLCondition(#"attributes["tenant"] == "gold""#, context: .span)
    let rules: [Policy.Rule] = [
      Self.gold, .patternAttribute(key: "tenant", patterns: ["^go"]),
      .ottlCondition(spans: [condition], events: [], errorMode: .ignore),
      .ottlCondition(spans: [condition], events: [], errorMode: .propagate),
    ]
    for rule in rules {
      #expect(try missed([policy("p", rule)], [child()], late: [child(3, with: Self.golden)]) == [["p"]])
      #expect(try missed([policy("p", rule)], [child()], late: [child(3, .error)]) == [])
    }
    var span = child(3)
    span.resource = Self.golden
    #expect(try missed([policy("p", Self.gold)], [child()], late: [span]) == [["p"]])
    let isTrue = Policy.Rule.booleanAttribute(key: "vip", value: true)
    #expect(
      try missed(
        [policy("p", isTrue)], [child()], late: [child(3, with: [TestAttribute("vip", .truth(true))])])
        == [["p"]])
  }

  /// On-time and late spans together.
  @Test func factsAreCombined() throws {
    let both = [policy("both", .and([Self.gold, Self.error]))]
    #expect(try missed(both, [child(with: Self.golden)], late: [child(3, .error)]) == [["both"]])
    #expect(try missed(both, [child(2, .error)], late: [child(3, with: Self.golden)]) == [["both"]])
    #expect(
      try missed(both, [child()], late: [child(3, .error)], [child(4, with: Self.golden)]) == [["both"]])
    #expect(try missed(both, [child()], late: [child(3, .error)]) == [])
    #expect(try missed(both, [child(with: Self.golden)], late: [child(3)]) == [])
    let slowError = [policy("both", .and([Self.slow, Self.error]))]
    #expect(try missed(slowError, [.root(lasting: 2000)], late: [child(3, .error)]) == [["both"]])
    let many = [policy("many", .spanCount(least: 3, most: nil))]
    #expect(try missed(many, [.root(), child()], late: [child(3)], [child(4)]) == [["many"]])
  }

  /// A part of a composite that was evaluated, without a budget, is not reported; another part is.
  @Test func aPartOfACompositeIsReported() throws {
    func composite(_ fallsThrough: Bool) -> [Policy] {
      var composite = Composite(
        spansPerSecondMax: 1,
        parts: [
          Composite.Part(rule: Self.error, spansPerSecond: 1),
          Composite.Part(rule: .alwaysSample, spansPerSecond: 1),
          Composite.Part(rule: Self.gold, spansPerSecond: 1),
        ])
      composite.fallsThrough = fallsThrough
      return [policy("composite", .composite(composite))]
    }
    let early = [TestSpan.root(), child()]
    #expect(try missed(composite(false), early, late: [child(3)]) == [])
    #expect(try missed(composite(false), early, late: [child(3, .error)]) == [["composite"]])
    #expect(try missed(composite(false), early, late: [child(3, with: Self.golden)]) == [])
    #expect(try missed(composite(true), early, late: [child(3, with: Self.golden)]) == [["composite"]])
  }

  /// What a policy drops is not a loss.
  @Test func vetoesAreRespected() throws {
    let health = [TestAttribute("route", .text("/health"))]
    let drop = policy("health", .drop([.stringAttribute(key: "route", values: ["/health"])]))
    let policies = [policy("errors", Self.error), drop]
    #expect(try missed(policies, [child(with: health)], late: [child(3, .error)]) == [])
    #expect(try missed(policies, [child()], late: [child(3, .error, with: health)]) == [])
    // A veto that did not happen is none.
    #expect(
      try missed(policies, [child()], late: [child(3, .error)]) == [["errors"]])
    let some = policy(
      "health", .drop([.stringAttribute(key: "route", values: ["/health"]), Self.gold]))
    let both = [policy("errors", Self.error), some]
    #expect(try missed(both, [child(with: health)], late: [child(3, .error)]) == [["errors"]])
    #expect(try missed(both, [child(with: health)], late: [child(3, .error, with: Self.golden)]) == [])
    let not = [policy("p", .and([Self.error, .not(Self.gold)]))]
    #expect(try missed(not, [child(with: Self.golden)], late: [child(3, .error)]) == [])
    #expect(try missed(not, [child()], late: [child(3, .error)]) == [["p"]])
  }

  @Test func vetoesOfTheInvertedKindAreRespected() throws {
    let health = [TestAttribute("route", .text("/health"))]
    let inverted = policy(
      "health", .stringAttribute(key: "route", values: ["/health"], inverted: true))
    func said(_ policies: [Policy], _ early: TestSpan, _ late: TestSpan) throws -> [[String]] {
      try missed(policies, [early], late: [late], invertDecisions: true)
    }
    for policies in [[policy("errors", Self.error), inverted], [inverted, policy("errors", Self.error)]] {
      #expect(try said(policies, child(with: health), child(3, .error)) == [])
      #expect(try said(policies, child(), child(3, .error, with: health)) == [])
      #expect(try said(policies, child(), child(3, .error)) == [["errors"]])
    }
  }

  /// Chance has decided, and so have budgets.
  @Test func chanceAndBudgetsAreNotAskedAgain() throws {
    let share = Policy.Rule.probabilistic(SamplingThreshold(probability: 0.5))
    let limit = Policy.Rule.rateLimiting(RateLimit(perSecond: 1, burst: 1))
    #expect(
      try missed([policy("p", share), policy("l", limit)], [.root(), child()], late: [child(3)]) == [])
    #expect(try missed([policy("p", .and([share, Self.error]))], [child()], late: [child(3, .error)]) == [])
    #expect(
      try missed([policy("p", .and([limit, Self.error]))], [child()], late: [child(3, .error)]) == [["p"]])
  }

  @Test func onlyTheFirstPolicyCountsWhereTheFirstMatchEndsIt() throws {
    let policies = [policy("errors", Self.error), policy("slow", Self.slow)]
    let late = [TestSpan.root(lasting: 2000, .error)]
    #expect(try missed(policies, [child()], late: late, sampleOnFirstMatch: true) == [["errors"]])
  }

  /// Replaced policies take their reports with them.
  @Test func reportsFollowTheirPolicies() throws {
    let world = World { $0.policies = [self.policy("errors", Self.error), self.policy("slow", Self.slow)] }
    try world.send(child(), at: 1000)
    try world.pass(to: 31_000)
    #expect(try world.send(child(3, .error), at: 32_000).written.map(\.policy) == ["errors"])
    var configuration = world.sampler.configuration
    configuration.policies = [
      policy("both", .and([Self.gold, Self.error])), policy("gold", Self.gold), policy("errors", Self.error),
    ]
    world.sampler.adopt(configuration)
    #expect(try world.send(child(4, .error), at: 33_000).isEmpty)
    #expect(
      try world.send(child(5, .error, with: Self.golden), at: 34_000).written.map(\.reasons) == [
        ["both", "gold"]
      ])
    #expect(try world.send(child(6, .error, with: Self.golden), at: 35_000).isEmpty)
    configuration.policies = [policy("gold", Self.gold)]
    world.sampler.adopt(configuration)
    #expect(try world.send(child(7, with: Self.golden), at: 36_000).isEmpty)
  }

  /// The next owner of the partition knows what was reported, and when the trace was dropped.
  @Test func reportsSurviveATakeover() throws {
    let world = World { $0.policies = [self.policy("errors", Self.error), self.policy("slow", Self.slow)] }
    try world.send(child(), at: 1000)
    var records = try world.pass(to: 31_000)
    records += try world.send(child(3, .error), at: 32_000)
    let next = try successor(of: world, records)
    #expect(try next.send(child(4, .error), at: 33_000).isEmpty)
    #expect(
      try next.send(child(5, start: 44_000, end: 44_010), at: 45_000).written.map(\.policy) == ["slow"])
  }

  /// Another world that resumes where `world` is, and knows what `records` contain.
  private func successor(of world: World, _ records: [Event]) throws -> World {
    let point = try #require(world.commitPoint)
    let next = World { $0 = world.sampler.configuration }
    next.offset = world.offset
    let past = try records.compactMap { event -> RestoredVerdict? in
      guard case .decision(_, let bytes?) = event else { return nil }
      return try RestoredVerdict(record: bytes)
    }
    next.sampler.restore(point, past: past)
    return next
  }

  /// What a policy dropped is not a loss for the next owner either: the record states it.
  @Test(arguments: [DroppedRecords.compact, .full], [false, true])
  func vetoesSurviveATakeover(form: DroppedRecords, isInverted: Bool) throws {
    let health = [TestAttribute("route", .text("/health"))]
    let rule = Policy.Rule.stringAttribute(key: "route", values: ["/health"], inverted: isInverted)
    let world = World {
      $0.policies = [
        self.policy("errors", Self.error), self.policy("health", isInverted ? rule : .drop([rule])),
      ]
      $0.invertDecisions = isInverted
      $0.dropped = form
    }
    try world.send(child(with: health), at: 1000)
    var other = child()
    other.trace = 2
    try world.send(other, at: 1000)
    let records = try world.pass(to: 31_000)
    let says = records.map { event in
      guard case .decision(let decision, let bytes?) = event else { return "" }
      let text = String(decoding: bytes, as: UTF8.self)
      return "\(decision.traceID.low) \(text.contains(#","vetoed":true,"#)) \(text.contains("vetoed"))"
    }
    #expect(says == ["1 true true", "2 false false"])
    let next = try successor(of: world, records)
    for each in [world, next] {
      #expect(try each.send(child(3, .error), at: 32_000).isEmpty)
      var late = child(3, .error)
      late.trace = 2
      #expect(try each.send(late, at: 33_000).written.map(\.policy) == ["errors"])
    }
  }

  /// A root that arrived late has arrived, for the next owner too.
  @Test func aLateRootSurvivesATakeover() throws {
    let world = World { $0.policies = [self.policy("errors", Self.error), self.policy("slow", Self.slow)] }
    try world.send(child(), at: 1000)
    var records = try world.pass(to: 31_000)
    records += try world.send(.root(), child(3, .error), at: 32_000)
    #expect(records.written.map(\.late) == [false, true])
    let next = try successor(of: world, records)
    for each in [world, next] {
      #expect(try each.send(child(4, start: 44_000, end: 44_010), at: 45_000).isEmpty)
    }
  }
}

@Suite struct ExtendedWaitTests {
  private func asynchronous(_ kind: UInt64, links: Int = 0) -> TestSpan {
    var span = TestSpan.child(2)
    span.kind = kind
    span.links = links
    return span
  }

  /// An error in work that the root has started arrives within the whole wait.
  @Test(arguments: [(4, 0), (5, 0), (3, 1), (0, 2)] as [(UInt64, Int)])
  func asynchronousSpansWaitTheWholeWait(kind: UInt64, links: Int) throws {
    for isFirst in [false, true] {
      let world = World()
      let spans = [TestSpan.root(), asynchronous(kind, links: links)]
      for span in isFirst ? spans.reversed() : spans { try world.send(span, at: 0) }
      #expect(try world.pass(to: 20_000).isEmpty)
      #expect(world.counters.tracesWaitingOn == 1)
      let events = try world.send(.child(3, under: 2, .error), at: 20_000)
      #expect(events.keptIDs.sorted() == [1, 2, 3])
      #expect(try world.pass(to: 29_999).isEmpty)
      #expect(try world.pass(to: 30_000).decisions.map(\.trigger) == [.wait])
    }
  }

  @Test func othersDoNot() throws {
    for kind in [0, 1, 2, 3, 6] as [UInt64] {
      let world = World()
      try world.send(.root(), asynchronous(kind), at: 0)
      #expect(try world.pass(to: 5000).decisions.map(\.trigger) == [.root])
      #expect(world.counters.tracesWaitingOn == 0)
    }
  }

  /// The consumer arrives while the wait after the root runs, or after it, while a parent is missing.
  @Test func theyMayComeAfterTheRoot() throws {
    let world = World()
    try world.send(.root(of: 1), at: 0)
    try world.send(.root(of: 2), at: 1000)
    try world.send(.root(of: 3), .child(8, under: 9, of: 3), at: 1000)
    var consumer = asynchronous(5)
    consumer.trace = 1
    try world.send(consumer, at: 4000)
    #expect(try world.pass(to: 6000).decisions.map(\.traceID.low) == [2])
    consumer.trace = 3
    try world.send(consumer, at: 8000)
    #expect(try world.send(.child(9, of: 3), at: 9000).isEmpty)
    #expect(world.counters.tracesWaitingOn == 2)
    #expect(try world.pass(to: 31_000).decisions.map(\.traceID.low) == [1, 3])
  }

  /// Where no further spans can change the verdict there is nothing to wait for.
  @Test func onlyAPolicyThatCouldBeSatisfiedIsWaitedFor() throws {
    func waits(_ rules: Policy.Rule...) throws -> Bool {
      let world = World {
        $0.policies = rules.enumerated().map { Policy(name: "\($0)", rule: $1) }
      }
      try world.send(.root(), asynchronous(4), at: 0)
      return try world.pass(to: 5000).decisions.isEmpty
    }
    let share = Policy.Rule.probabilistic(SamplingThreshold(probability: 0.01))
    let slow = Policy.Rule.latency(threshold: .seconds(2), upper: nil)
    let long = Policy.Rule.latency(threshold: .seconds(2), upper: nil, measure: .spans)
    let error = Policy.Rule.statusCode([.error])
    let gold = Policy.Rule.stringAttribute(key: "tenant", values: ["gold"])
    let limit = Policy.Rule.rateLimiting(RateLimit(perSecond: 1))
    #expect(try !waits(share))
    #expect(try !waits(share, limit))
    #expect(try !waits(.alwaysSample))
    #expect(try !waits(.alwaysSample, error), "it is kept already")
    #expect(try !waits(slow, share), "its root has arrived")
    #expect(try !waits(.and([slow, error])))
    #expect(try !waits(.spanCount(least: 0, most: 1), share))
    #expect(try waits(error))
    #expect(try waits(share, gold))
    #expect(try waits(long))
    #expect(try waits(.and([share, error])))
    #expect(try waits(.and([error, .not(gold)])))
    #expect(try waits(.spanCount(least: 3, most: nil)))
    #expect(try waits(share, .drop([gold])))
    #expect(
      try waits(
        .composite(
          Composite(spansPerSecondMax: 10, parts: [Composite.Part(rule: error, spansPerSecond: 5)]))))
  }

  /// A lone root tells nothing about what it has started.
  @Test func loneRootsWaitWhereTheyAreToldTo() throws {
    for isTold in [false, true] {
      let world = World { $0.windows.loneRootsWait = isTold }
      try world.send(.root(of: 1), at: 0)
      try world.send(.root(of: 2), .child(2, of: 2), at: 0)
      #expect(try world.pass(to: 5000).decisions.map(\.traceID.low) == (isTold ? [2] : [1, 2]))
      guard isTold else { continue }
      // These spans arrive long after the root.
      #expect(try world.send(.child(2, of: 1), at: 10_000).isEmpty)
      #expect(try world.send(.child(3, of: 1, .error), at: 20_000).keptIDs.sorted() == [1, 2, 3])
    }
  }
}
