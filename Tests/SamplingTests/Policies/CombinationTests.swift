// Combined policies: which of them wins, and policies inside policies.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct CombinationTests {
  private static let one = Policy.Rule.stringAttribute(key: "k", values: ["one"])
  private static let two = Policy.Rule.stringAttribute(key: "j", values: ["two"])
  private static let notOne = Policy.Rule.stringAttribute(key: "k", values: ["one"], inverted: true)
  private static let never = Policy.Rule.probabilistic(.never)

  private let none = [TestSpan.root()]
  private let onlyOne = [TestSpan.root(), .with(.init("k", .text("one")))]
  private let onlyTwo = [TestSpan.with(.init("j", .text("two")))]
  /// The two attributes on different spans, and services.
  private let both = [
    TestSpan.with(.init("k", .text("one"))), TestSpan(id: 7, resource: [.init("j", .text("two"))]),
  ]

  private func keeps(
    _ rules: Policy.Rule..., firstMatch: Bool = false, inverts: Bool = false
  ) throws -> [Bool] {
    let policies = rules.enumerated().map { Policy(name: "p\($0)", rule: $1) }
    return try [none, onlyOne, onlyTwo, both].map {
      let whole = try decide(policies, [$0], firstMatch: firstMatch, inverts: inverts)
      let apart = try decide(policies, $0.map { [$0] }, firstMatch: firstMatch, inverts: inverts)
      #expect(whole.final.isKept == apart.final.isKept)
      #expect(whole.written.reasons == apart.written.reasons)
      #expect(whole.final.threshold == apart.final.threshold)
      return whole.final.isKept
    }
  }

  @Test func andNeedsAll() throws {
    #expect(try keeps(.and([Self.one, Self.two])) == [false, false, false, true])
    #expect(try keeps(.and([Self.one, .alwaysSample])) == [false, true, false, true])
    #expect(try keeps(.and([Self.one, Self.never])) == [false, false, false, false])
    #expect(try keeps(.and([Self.one, .spanCount(least: 2, most: nil)])) == [false, true, false, true])
    #expect(try keeps(.and([Self.one, .and([Self.two, .alwaysSample])])) == [false, false, false, true])
  }

  /// Inside another policy the inverted kind is a plain non-match.
  @Test func invertedInside() throws {
    #expect(try keeps(.and([Self.notOne, .alwaysSample])) == [true, false, true, false])
    #expect(try keeps(.and([Self.notOne, Self.two])) == [false, false, true, false])
    #expect(try keeps(.and([Self.notOne]), .alwaysSample) == [true, true, true, true])
    #expect(try keeps(.drop([Self.notOne]), .alwaysSample) == [false, true, false, true])
    #expect(try keeps(.not(Self.notOne)) == [false, true, false, true])
  }

  @Test func notIsTheContrary() throws {
    #expect(try keeps(.not(Self.one)) == [true, false, true, false])
    #expect(try keeps(.not(.not(Self.one))) == [false, true, false, true])
    #expect(try keeps(.not(.and([Self.one, Self.two]))) == [true, true, true, false])
    #expect(try keeps(.and([.not(Self.one), .not(Self.two)])) == [true, false, false, false])
    #expect(try keeps(.not(.alwaysSample)) == [false, false, false, false])
    #expect(try keeps(.not(Self.never)) == [true, true, true, true])
  }

  @Test func dropBeatsAll() throws {
    #expect(try keeps(.alwaysSample, .drop([Self.one])) == [true, false, true, false])
    #expect(try keeps(.drop([Self.one]), .alwaysSample) == [true, false, true, false])
    #expect(try keeps(.alwaysSample, .drop([Self.one, Self.two])) == [true, true, true, false])
    #expect(try keeps(.alwaysSample, .drop([Self.one, .not(Self.two)])) == [true, false, true, true])
    #expect(try keeps(.drop([Self.one])) == [false, false, false, false])
    #expect(try keeps(.drop([Self.one]), .drop([Self.two]), .alwaysSample) == [true, false, false, false])
    #expect(try keeps(.drop([.alwaysSample]), .alwaysSample) == [false, false, false, false])
  }

  /// An inverted policy samples what does not match, and vetoes nothing: so the Collector does since version
  /// 0.144.
  @Test(arguments: [false, true]) func invertedAtTheTop(firstMatch: Bool) throws {
    func keeps(_ rules: Policy.Rule...) throws -> [Bool] {
      switch rules.count {
      case 1: try self.keeps(rules[0], firstMatch: firstMatch)
      default: try self.keeps(rules[0], rules[1], firstMatch: firstMatch)
      }
    }
    #expect(try keeps(Self.notOne) == [true, false, true, false])
    #expect(try keeps(Self.notOne, .alwaysSample) == [true, true, true, true])
    #expect(try keeps(.alwaysSample, Self.notOne) == [true, true, true, true])
    #expect(try keeps(Self.notOne, Self.two) == [true, false, true, true])
    #expect(try keeps(Self.notOne, Self.never) == [true, false, true, false])
    let notTwo = Policy.Rule.stringAttribute(key: "j", values: ["two"], inverted: true)
    #expect(try keeps(Self.notOne, notTwo) == [true, true, true, false])
    #expect(try keeps(Self.notOne, .drop([Self.two])) == [true, false, false, false])
  }

  /// The earlier behaviour: an inverted match vetoes what others sample; a non-match keeps only if no other
  /// policy is evaluated.
  @Test func invertedDecisions() throws {
    #expect(try keeps(Self.notOne, inverts: true) == [true, false, true, false])
    #expect(try keeps(Self.notOne, .alwaysSample, inverts: true) == [true, false, true, false])
    #expect(try keeps(.alwaysSample, Self.notOne, inverts: true) == [true, false, true, false])
    #expect(try keeps(Self.notOne, Self.two, inverts: true) == [false, false, true, false])
    #expect(try keeps(Self.notOne, Self.never, inverts: true) == [false, false, false, false])
    let notTwo = Policy.Rule.stringAttribute(key: "j", values: ["two"], inverted: true)
    #expect(try keeps(Self.notOne, notTwo, inverts: true) == [true, false, false, false])
    // A drop that does not drop is a non-match too.
    #expect(try keeps(Self.notOne, .drop([Self.two]), inverts: true) == [false, false, false, false])
  }

  @Test func firstMatchEndsTheQuestions() throws {
    #expect(
      try keeps(.alwaysSample, Self.notOne, firstMatch: true, inverts: true) == [true, true, true, true])
    #expect(
      try keeps(Self.two, Self.notOne, .alwaysSample, firstMatch: true, inverts: true)
        == [true, false, true, true])
    #expect(
      try keeps(Self.notOne, .alwaysSample, firstMatch: true, inverts: true) == [true, false, true, false])
    #expect(try keeps(.alwaysSample, .drop([Self.one]), firstMatch: true) == [true, false, true, false])
  }

  @Test func reasonsAreTheTopLevelNames() throws {
    let policies = [
      Policy(name: "first", rule: .and([Self.one, Self.two])), Policy(name: "second", rule: Self.two),
      Policy(name: "third", rule: Self.never), Policy(name: "health", rule: .drop([.traceFlags])),
    ]
    let kept = try decide(policies, [both]).written
    #expect(kept.policy == "first")
    #expect(kept.reasons == ["first", "second"])
    #expect(try decide(policies, [both], firstMatch: true).written.reasons == ["first"])
    #expect(try decide(policies, [none]).written.reasons == [])
    let dropped = try decide(policies, [both + [TestSpan(id: 9, flags: 1)]])
    #expect(dropped.written.verdict == "drop")
    #expect(dropped.written.policy == "health")
    #expect(dropped.written.reasons == ["health"])
  }

  @Test func droppedTracesAreCountedAsDropped() throws {
    let world = World {
      $0.policies = [
        Policy(name: "all", rule: .alwaysSample), Policy(name: "health", rule: .drop([Self.one])),
      ]
    }
    #expect(try world.send(onlyOne, at: 0).isEmpty)
    #expect(try world.pass(to: 30_000).kept.isEmpty)
    #expect(world.counters.tracesDropped == 1)
    #expect(world.counters.spansDropped == 2)
    #expect(world.counters.keptByReason.values.allSatisfy { $0 == 0 })
    try world.send(.child(9), at: 30_001)
    #expect(world.counters.lateSpansDropped == 1)
  }
}

@Suite struct EagerPolicyTests {
  private static let one = Policy.Rule.stringAttribute(key: "k", values: ["one"])

  /// Whether a trace is kept with its first record, and whether it is kept at the end.
  private func keeps(
    _ rules: Policy.Rule..., spans: [TestSpan], firstMatch: Bool = false, inverts: Bool = false
  ) throws -> (early: Bool, final: Bool) {
    let policies = rules.enumerated().map { Policy(name: "p\($0)", rule: $1) }
    let outcome = try decide(policies, [spans], firstMatch: firstMatch, inverts: inverts)
    return (!outcome.early.isEmpty, outcome.final.isKept)
  }

  @Test(
    arguments: [
      (Policy.Rule.alwaysSample, true), (.statusCode([.unset]), true), (one, true), (.traceFlags, true),
      (.numericAttribute(key: "n", range: 1...1), true), (.booleanAttribute(key: "b", value: true), true),
      (.traceState(key: "a", values: ["1"]), true), (.patternAttribute(key: "k", patterns: ["one"]), true),
      (.spanCount(least: 2, most: nil), true), (.spanCount(least: 2, most: 9), false),
      (.latency(threshold: .milliseconds(10), upper: nil), true),
      (.latency(threshold: .milliseconds(5), upper: .milliseconds(50)), false),
      (.latency(threshold: .milliseconds(10), upper: nil, measure: .spans), true),
      (.probabilistic(.always), false), (.hashed(HashSampling(salt: "s", percentage: 100)), false),
      (.rateLimiting(RateLimit(perSecond: 100)), false), (.bytesLimiting(RateLimit(perSecond: 9999)), false),
      (.not(.stringAttribute(key: "k", values: ["two"])), false), (.and([one, .traceFlags]), true),
      (.and([one, .probabilistic(.always)]), false),
      (.and([one, .not(.spanCount(least: 0, most: 1))]), true),
      (.and([one, .stringAttribute(key: "k", values: ["two"], inverted: true)]), false),
      (
        .composite(Composite(spansPerSecondMax: 9, parts: [.init(rule: .alwaysSample, spansPerSecond: 9)])),
        false
      ),
    ] as [(Policy.Rule, Bool)])
  func whatIsCertain(rule: Policy.Rule, isEager: Bool) throws {
    let spans = [
      TestSpan(
        id: 1, traceState: "a=1",
        attributes: [.init("k", .text("one")), .init("n", .integer(1)), .init("b", .truth(true))], flags: 1),
      .child(2),
    ]
    let kept = try keeps(rule, spans: spans)
    #expect(kept.final)
    #expect(kept.early == isEager)
    // With a drop that may still happen, nothing is certain; with one that can't, nothing changes.
    #expect(
      try keeps(rule, .drop([.stringAttribute(key: "x", values: ["x"])]), spans: spans) == (false, true))
    #expect(try keeps(rule, .drop([.spanCount(least: 0, most: 1)]), spans: spans) == (isEager, true))
    let inverted = Policy.Rule.stringAttribute(key: "x", values: ["x"], inverted: true)
    #expect(try keeps(rule, inverted, spans: spans) == (isEager, true))
    #expect(try keeps(rule, inverted, spans: spans, inverts: true) == (false, true))
    #expect(try keeps(inverted, rule, spans: spans, firstMatch: true, inverts: true) == (false, true))
    #expect(try keeps(rule, inverted, spans: spans, firstMatch: true, inverts: true) == (isEager, true))
  }

  /// The trace is dropped at the limit, and its memory is released.
  @Test func aCertainVetoBeatsTheLimit() throws {
    for veto in [
      Policy.Rule.drop([Self.one]), .stringAttribute(key: "k", values: ["one"], inverted: true),
    ] {
      let world = World {
        $0.limits.spansPerTrace = 2
        $0.invertDecisions = true
        $0.policies = [Policy(name: "errors", rule: .statusCode([.error])), Policy(name: "veto", rule: veto)]
        $0.dropped = .full
      }
      #expect(try world.send(.with(.init("k", .text("one"))), .root(1, .error), at: 0).isEmpty)
      let events = try world.send(.child(3, .error), .child(4), at: 1)
      #expect(events.written.map(\.verdict) == ["drop"])
      #expect(events.written.map(\.trigger) == ["limit"])
      #expect(events.written.map(\.reasons) == [["veto"]])
      #expect(world.usage.openTraces == 0)
      #expect(world.usage.bufferedBytes == 0)
      #expect(world.counters.spansDropped == 4)
    }
  }

  /// A veto after the limit is too late: spans have been forwarded.
  @Test func aVetoAfterTheLimitIsTooLate() throws {
    let world = World {
      $0.limits.spansPerTrace = 2
      $0.policies = [Policy(name: "all", rule: .alwaysSample), Policy(name: "veto", rule: .drop([Self.one]))]
    }
    let early = try world.send(.root(), .child(2), .child(3), at: 0)
    #expect(early.written.map(\.reasons) == [["trace_limit"]])
    try world.send(.with(.init("k", .text("one"))), at: 1)
    let last = try world.pass(to: 30_000)
    #expect(last.written.map(\.verdict) == ["keep"])
    #expect(last.written.map(\.reasons) == [["trace_limit"]])
  }
}
