// The policy `ottl_condition` through a whole sampler: which spans it is evaluated on, what errors do, and
// how it combines with other policies.

import Expressions
import Testing

@testable import OTLP
@testable import Sampling

extension Policy.Rule {
  /// Conditions on spans and on span events.
  static func conditions(
    _ spans: String..., events: [String] = [], mode: ConditionErrorMode = .propagate
  ) throws -> Policy.Rule {
    .ottlCondition(
      spans: try spans.map { text in try OTTLCondition(text, context: .span) },
      events: try events.map { text in try OTTLCondition(text, context: .spanEvent) }, errorMode: mode)
  }
}

/// Conditions, the spans of a trace, and whether the policy keeps them.
struct ConditionCase: Sendable, CustomTestStringConvertible {
  var testDescription: String
  var conditions: [String] = []
  var events: [String] = []
  var spans: [TestSpan]
  var isKept: Bool

  init(_ condition: String, _ spans: TestSpan..., keeps isKept: Bool) {
    testDescription = "\(condition) on \(spans.count) spans: \(isKept)"
    conditions = [condition]
    self.spans = spans
    self.isKept = isKept
  }

  init(event condition: String, _ spans: TestSpan..., keeps isKept: Bool) {
    testDescription = "\(condition) on events of \(spans.count) spans: \(isKept)"
    events = [condition]
    self.spans = spans
    self.isKept = isKept
  }
}

extension TestSpan {
  /// A child span with events.
  fileprivate static func events(_ events: TestEvent...) -> TestSpan {
    TestSpan(id: 6, parent: 1, events: events)
  }
}

@Suite struct ConditionPolicyTests {
  private static let code = "attributes[\"code\"] >= 500"
  private static let tier = "resource.attributes[\"tier\"] == \"gold\""
  private static let duration = "duration >= Duration(\"100ms\")"
  private static let timeout = "attributes[\"type\"] == \"timeout\""

  @Test(arguments: [
    ConditionCase(code, .with(.init("code", .integer(503))), keeps: true),
    ConditionCase(code, .with(.init("code", .integer(500))), keeps: true),
    ConditionCase(code, .with(.init("code", .integer(499))), keeps: false),
    ConditionCase(code, .root(), .with(.init("other", .integer(503))), keeps: false),
    ConditionCase(code, .with(.init("code", .text("503"))), keeps: false),
    ConditionCase(code, .with(.init("code", .real(500))), keeps: true),
    ConditionCase("attributes[\"code\"] != 500", .with(.init("code", .text("500"))), keeps: true),
    ConditionCase("attributes[\"code\"] == nil", .root(), keeps: true),
    ConditionCase(
      code, .root(), .with(.init("code", .integer(1))), .with(.init("code", .integer(600))), keeps: true),
    ConditionCase(code, .with(resource: .init("code", .integer(503))), keeps: false),
    ConditionCase(tier, .with(resource: .init("tier", .text("gold"))), keeps: true),
    ConditionCase(tier, .with(.init("tier", .text("gold"))), keeps: false),
    ConditionCase(tier, .with(resource: .init("tier", .text("silver"))), keeps: false),
    ConditionCase(
      "resource.attributes[\"service.name\"] == \"cart\"", .root(),
      TestSpan(id: 9, parent: 1, service: "cart"), keeps: true),
    ConditionCase(duration, TestSpan(id: 1, end: 100), keeps: true),
    ConditionCase(duration, TestSpan(id: 1, end: 99), TestSpan(id: 2, parent: 1, end: 99), keeps: false),
    ConditionCase(duration, .root(lasting: 5), TestSpan(id: 2, parent: 1, end: 101), keeps: true),
    ConditionCase("IsRootSpan() and status.code == STATUS_CODE_ERROR", .root(1, .error), keeps: true),
    ConditionCase(
      "IsRootSpan() and status.code == STATUS_CODE_ERROR", .root(), .child(2, .error), keeps: false),
    ConditionCase("IsMatch(name, \"^GET /(cart|buy)$\")", .root(), keeps: false),
    ConditionCase(
      "IsMatch(name, \"^GET /(cart|buy)$\")", .root(), TestSpan(id: 2, parent: 1, name: "GET /buy"),
      keeps: true),
    ConditionCase(
      event: timeout, .root(), .events(TestEvent(), TestEvent(attributes: [.init("type", .text("timeout"))])),
      keeps: true),
    ConditionCase(
      event: timeout, .events(TestEvent(attributes: [.init("type", .text("reset"))])), keeps: false),
    ConditionCase(event: timeout, .with(.init("type", .text("timeout"))), keeps: false),
    ConditionCase(event: "name == \"exception\"", .events(TestEvent(name: "exception")), keeps: true),
    ConditionCase(event: "true", .root(), keeps: false),
  ]) func conformance(of policy: ConditionCase) throws {
    let rule = Policy.Rule.ottlCondition(
      spans: try policy.conditions.map { text in try OTTLCondition(text, context: .span) },
      events: try policy.events.map { text in try OTTLCondition(text, context: .spanEvent) },
      errorMode: .propagate)
    for records in [
      [policy.spans], policy.spans.map { [$0] }, policy.spans.reversed().map { [$0] },
    ] {
      let outcome = try decide([Policy(name: "c", rule: rule)], records)
      #expect(outcome.final.isKept == policy.isKept)
      #expect(outcome.written.reasons == (policy.isKept ? ["c"] : []))
    }
  }

  @Test func anyConditionIsEnough() throws {
    let rule = try Policy.Rule.conditions(
      "attributes[\"a\"] == 1", "attributes[\"b\"] == 2", events: ["name == \"e\""])
    #expect(try decide(rule, spans: [.with(.init("b", .integer(2)))]).isKept)
    #expect(try decide(rule, spans: [TestSpan(id: 1, events: [TestEvent(name: "e")])]).isKept)
    #expect(try !decide(rule, spans: [.with(.init("a", .integer(2)), .init("b", .integer(1)))]).isKept)
  }

  /// A condition that holds is certain: the trace is kept at once, and represents only itself.
  @Test func aMatchKeepsAtOnce() throws {
    let policies = [Policy(name: "c", rule: try .conditions("name == \"GET /\""))]
    let outcome = try decide(policies, [[.root()]])
    let early = try #require(outcome.early.decisions.first)
    #expect(early.isKept && !early.isFinal && early.trigger == .eager)
    #expect(outcome.final.threshold == .always)
  }

  /// Spans of different traces in one record are evaluated with their own resources.
  @Test func tracesOfOneRecordAreApart() throws {
    let world = World {
      $0.policies = [Policy(name: "c", rule: .alwaysSample)]
    }
    let gold = try Policy.Rule.conditions(ConditionPolicyTests.tier)
    let tested = World { $0.policies = [Policy(name: "c", rule: gold)] }
    let spans = [
      TestSpan(trace: 1, id: 1, resource: [.init("tier", .text("gold"))]),
      TestSpan(trace: 2, id: 2, resource: [.init("tier", .text("tin"))]),
      TestSpan(trace: 1, id: 3, parent: 1, resource: [.init("tier", .text("tin"))]),
      TestSpan(trace: 3, id: 4, resource: [.init("tier", .text("gold"))]),
    ]
    for world in [world, tested] { try world.send(spans, at: 0) }
    let final = try tested.pass(to: 30_000).decisions.filter(\.isFinal)
    #expect(Set(final.filter(\.isKept).map(\.traceID.low)) == [1, 3])
    #expect(final.count == 3)
  }

  // MARK: Errors

  /// `Len` of a number is an error.
  private static let failing = "Len(attributes[\"n\"]) == 1"
  private let failed = TestSpan.with(.init("n", .integer(1)))
  private let sound = TestSpan.with(.init("n", .text("x")))
  /// Neither fails nor matches.
  private let neither = TestSpan.with(.init("n", .text("xyz")))

  @Test(arguments: [ConditionErrorMode.ignore, .silent, .propagate])
  func errorsAreCounted(mode: ConditionErrorMode) throws {
    let world = World {
      $0.policies = [Policy(name: "c", rule: (try? .conditions(Self.failing, mode: mode)) ?? .alwaysSample)]
    }
    try world.send(failed, at: 0)
    #expect(world.counters.conditionErrors == 1)
    try world.send(TestSpan(id: 9, attributes: failed.attributes), at: 0)
    // Once an error settles the trace, evaluation stops.
    #expect(world.counters.conditionErrors == (mode == .propagate ? 1 : 2))
    #expect(world.counters.conditionErrorsSaid == (mode == .silent ? 0 : world.counters.conditionErrors))
    try world.send(TestSpan(trace: 7, id: 1, attributes: failed.attributes), at: 0)
    #expect(world.counters.conditionErrors == (mode == .propagate ? 2 : 3))
  }

  /// In `propagate` an error before a match is final, whatever follows; after a match it is ignored.
  @Test func errorModes() throws {
    for mode in ConditionErrorMode.allCases {
      let rule = try Policy.Rule.conditions(Self.failing, mode: mode)
      #expect(try !decide(rule, spans: [failed]).isKept)
      #expect(try decide(rule, spans: [neither, sound]).isKept)
      #expect(try decide(rule, spans: [sound, failed]).isKept)
      #expect(try decide(rule, spans: [failed, sound]).isKept == (mode != .propagate))
      let records = [[failed], [sound]]
      let apart = try decide([Policy(name: "c", rule: rule)], records)
      #expect(apart.final.isKept == (mode != .propagate))
      // Within a span, too, a condition after the failing one counts only in the other modes.
      let both = try Policy.Rule.conditions(Self.failing, "true", mode: mode)
      #expect(try decide(both, spans: [failed]).isKept == (mode != .propagate))
    }
  }

  /// A trace for which a condition failed is not sampled by the condition's policy, nor below a `not`;
  /// another policy may sample it.
  @Test func failuresInsidePolicies() throws {
    let failing = try Policy.Rule.conditions(Self.failing)
    for spans in [[failed], [failed, sound]] {
      #expect(try !decide(.not(failing), spans: spans).isKept)
      #expect(try !decide(.not(.not(failing)), spans: spans).isKept)
      #expect(try !decide(.and([failing, .alwaysSample]), spans: spans).isKept)
      #expect(try !decide(.not(.and([.alwaysSample, failing])), spans: spans).isKept)
      #expect(try !decide(.not(.and([.alwaysSample, .not(failing)])), spans: spans).isKept)
      #expect(try decide(.drop([failing]), .alwaysSample, spans: spans).isKept)
      #expect(try decide(.drop([.not(failing)]), .alwaysSample, spans: spans).isKept)
      #expect(try decide(failing, .alwaysSample, spans: spans).isKept)
      let composite = Composite(
        spansPerSecondMax: 100, parts: [.init(rule: failing, spansPerSecond: 100)])
      #expect(try !decide(.composite(composite), spans: spans).isKept)
    }
    // The other conditions are unaffected.
    #expect(try decide(.not(failing), spans: [neither]).isKept)
    #expect(try !decide(.not(failing), spans: [sound]).isKept)
    #expect(try !decide(.drop([failing]), .alwaysSample, spans: [sound]).isKept)
    let ignoring = try Policy.Rule.conditions(Self.failing, mode: .ignore)
    #expect(try decide(.not(ignoring), spans: [failed]).isKept)
    #expect(try !decide(.drop([.not(ignoring)]), .alwaysSample, spans: [failed]).isKept)
  }

  @Test func insideOtherPolicies() throws {
    let gold = try Policy.Rule.conditions(ConditionPolicyTests.tier)
    let slow = try Policy.Rule.conditions(ConditionPolicyTests.duration)
    let goldSpan = TestSpan.with(resource: .init("tier", .text("gold")))
    let slowSpan = TestSpan(id: 3, parent: 1, end: 200)
    #expect(try decide(.and([gold, slow]), spans: [goldSpan, slowSpan]).isKept)
    #expect(try !decide(.and([gold, slow]), spans: [goldSpan]).isKept)
    #expect(try !decide(.and([gold, .statusCode([.error])]), spans: [goldSpan]).isKept)
    #expect(try decide(.not(gold), spans: [slowSpan]).isKept)
    #expect(try !decide(.not(gold), spans: [slowSpan, goldSpan]).isKept)
    #expect(try !decide(.drop([slow]), .alwaysSample, spans: [goldSpan, slowSpan]).isKept)
    let composite = Composite(
      spansPerSecondMax: 100,
      parts: [.init(rule: gold, spansPerSecond: 1), .init(rule: slow, spansPerSecond: 50)])
    #expect(try decide(.composite(composite), spans: [goldSpan]).isKept)
    #expect(try decide(.composite(composite), spans: [slowSpan, .root()]).isKept)
    #expect(try !decide(.composite(composite), spans: [.root()]).isKept)
  }

  /// A share of what a condition matches has the share's threshold.
  @Test func thresholds() throws {
    let share = SamplingThreshold(probability: 0.25)
    let rule = Policy.Rule.and([try .conditions("true"), .probabilistic(share)])
    let outcome = try decide([Policy(name: "c", rule: rule)], [[.root(of: TestSpan.lucky)]])
    #expect(outcome.final.isKept && outcome.final.threshold == share)
    #expect(outcome.early.isEmpty)
  }

  /// Where errors count, a group takes two of the 64 bits; the same conditions twice are one group.
  @Test func bits() throws {
    func policies(_ count: Int, _ mode: ConditionErrorMode) throws -> [Policy] {
      try (0..<count).map { number in
        Policy(name: "p\(number)", rule: try .conditions("attributes[\"a\"] == \(number)", mode: mode))
      }
    }
    #expect(Policy.excess(in: try policies(64, .ignore)) == nil)
    #expect(Policy.excess(in: try policies(32, .propagate)) == nil)
    let excess = try #require(Policy.excess(in: try policies(33, .propagate)))
    #expect(excess.hasPrefix("more than 64 different tests"))
    let twice = try policies(32, .propagate) + policies(32, .propagate)
    #expect(Policy.excess(in: twice) == nil)
    let last = try decide(policies(32, .propagate), [[.with(.init("a", .integer(31)))]])
    #expect(last.written.reasons == ["p31"])
  }
}
