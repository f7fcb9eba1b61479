// Every policy on its own: what the Collector's source does, case by case, through a whole sampler.

import Testing

@testable import OTLP
@testable import Sampling

/// A policy, the spans of a trace, and whether it keeps them.
struct PolicyCase: Sendable, CustomTestStringConvertible {
  var name: String
  var rule: Policy.Rule
  var spans: [TestSpan]
  var isKept: Bool

  init(_ name: String, _ rule: Policy.Rule, _ spans: TestSpan..., keeps isKept: Bool) {
    self.name = name
    self.rule = rule
    self.spans = spans
    self.isKept = isKept
  }

  var testDescription: String { name }
}

/// The final decision on one trace under `policies`, and all outputs before it.
func decide(
  _ policies: [Policy], _ records: [[TestSpan]], firstMatch: Bool = false, inverts: Bool = false
) throws -> (final: Decision, written: WrittenDecision, early: [Event]) {
  let world = World {
    $0.policies = policies
    $0.dropped = .full
    $0.sampleOnFirstMatch = firstMatch
    $0.invertDecisions = inverts
  }
  var early: [Event] = []
  for record in records { early += try world.send(record, at: 0) }
  let last = try world.pass(to: 30_000)
  let final = try #require(last.decisions.last)
  let written = try #require(last.written.last)
  #expect(final.isFinal)
  return (final, written, early)
}

func decide(_ rules: Policy.Rule..., spans: [TestSpan]) throws -> Decision {
  try decide(rules.enumerated().map { Policy(name: "p\($0)", rule: $1) }, [spans]).final
}

extension TestSpan {
  /// A child span with attributes.
  static func with(_ attributes: TestAttribute..., resource: TestAttribute...) -> TestSpan {
    TestSpan(id: 5, parent: 1, attributes: attributes, resource: resource)
  }
}

@Suite struct PolicyConformanceTests {
  /// The verdict is the same for all spans in one record, each in its own, and in the other order.
  private func check(_ policy: PolicyCase) throws {
    let policies = [Policy(name: "p", rule: policy.rule)]
    let layouts = [[policy.spans], policy.spans.map { [$0] }, policy.spans.reversed().map { [$0] }]
    for records in layouts {
      let outcome = try decide(policies, records)
      #expect(outcome.final.isKept == policy.isKept)
      #expect(outcome.written.reasons == (policy.isKept ? ["p"] : []))
    }
  }

  private static let range = Policy.Rule.numericAttribute(key: "n", range: 50...100)
  private static let text = Policy.Rule.stringAttribute(key: "k", values: ["one", "two", "", "three"])
  private static let truth = Policy.Rule.booleanAttribute(key: "b", value: true)
  private static let falsehood = Policy.Rule.booleanAttribute(key: "b", value: false)

  @Test(arguments: [
    PolicyCase("within", range, .root(), .with(.init("n", .integer(75))), keeps: true),
    PolicyCase("least", range, .with(.init("n", .integer(50))), keeps: true),
    PolicyCase("below", range, .with(.init("n", .integer(49))), keeps: false),
    PolicyCase("most", range, .with(.init("n", .integer(100))), keeps: true),
    PolicyCase("above", range, .with(.init("n", .integer(101))), keeps: false),
    PolicyCase("missing", range, .root(), .with(.init("m", .integer(75))), keeps: false),
    PolicyCase("text", range, .with(.init("n", .text("75"))), keeps: false),
    PolicyCase("double", range, .with(.init("n", .real(75))), keeps: false),
    PolicyCase("list", range, .with(.init("n", .list("75"))), keeps: false),
    PolicyCase("no value", range, .with(.init("n", .nothing)), keeps: false),
    PolicyCase(
      "another type is not zero", .numericAttribute(key: "n", range: -1...1), .with(.init("n", .text("x"))),
      keeps: false),
    PolicyCase("resource", range, .with(resource: .init("n", .integer(75))), keeps: true),
    PolicyCase(
      "a resource that matches, a span that does not", range,
      .with(.init("n", .integer(1)), resource: .init("n", .integer(75))), keeps: true),
    PolicyCase(
      "a span that matches, a resource that does not", range,
      .with(.init("n", .integer(75)), resource: .init("n", .integer(1))), keeps: true),
    PolicyCase(
      "one of several", range, .root(), .with(.init("n", .integer(1))), .with(.init("n", .integer(60))),
      keeps: true),
    PolicyCase(
      "the first of a repeated key", range, .with(.init("n", .integer(1)), .init("n", .integer(75))),
      keeps: false),
    PolicyCase(
      "negative", .numericAttribute(key: "n", range: .min ... -5), .with(.init("n", .integer(-5))),
      keeps: true),
    PolicyCase(
      "extremes", .numericAttribute(key: "n", range: .min ... .max), .with(.init("n", .integer(.min))),
      keeps: true),
  ]) func numericAttributes(policy: PolicyCase) throws { try check(policy) }

  @Test(arguments: [
    PolicyCase("exact", text, .root(), .with(.init("k", .text("two"))), keeps: true),
    PolicyCase("longest", text, .with(.init("k", .text("three"))), keeps: true),
    PolicyCase("no part of it", text, .with(.init("k", .text("tw"))), keeps: false),
    PolicyCase("not more than it", text, .with(.init("k", .text("twos"))), keeps: false),
    PolicyCase("case counts", text, .with(.init("k", .text("Two"))), keeps: false),
    PolicyCase("empty text matches nothing", text, .with(.init("k", .text(""))), keeps: false),
    PolicyCase("missing", text, .with(.init("kk", .text("two")), .init("j", .text("two"))), keeps: false),
    PolicyCase("integer", text, .with(.init("k", .integer(2))), keeps: false),
    PolicyCase("list", text, .with(.init("k", .list("two"))), keeps: false),
    PolicyCase("map", text, .with(.init("k", .map("two"))), keeps: false),
    PolicyCase("bytes", text, .with(.init("k", .bytes(Array("two".utf8)))), keeps: false),
    PolicyCase("resource", text, .with(resource: .init("k", .text("one"))), keeps: true),
    PolicyCase(
      "the service's name", .stringAttribute(key: "service.name", values: ["shop"]), .root(), keeps: true),
    PolicyCase(
      "one of several", text, .root(), .with(.init("k", .text("no"))), .with(.init("k", .text("one"))),
      keeps: true),
  ]) func stringAttributes(policy: PolicyCase) throws { try check(policy) }

  @Test(arguments: [
    PolicyCase("true", truth, .with(.init("b", .truth(true))), keeps: true),
    PolicyCase("false", truth, .with(.init("b", .truth(false))), keeps: false),
    PolicyCase("false is wanted", falsehood, .with(.init("b", .truth(false))), keeps: true),
    PolicyCase("missing is not false", falsehood, .root(), keeps: false),
    PolicyCase("text is not false", falsehood, .with(.init("b", .text("false"))), keeps: false),
    PolicyCase("number is not true", truth, .with(.init("b", .integer(1))), keeps: false),
    PolicyCase("resource", truth, .with(resource: .init("b", .truth(true))), keeps: true),
    PolicyCase(
      "one of several", truth, .with(.init("b", .truth(false))), .with(.init("b", .truth(true))),
      keeps: true),
  ]) func booleanAttributes(policy: PolicyCase) throws { try check(policy) }

  private static let state = Policy.Rule.traceState(key: "vendor", values: ["a", "b", ""])

  @Test(arguments: [
    PolicyCase("value", state, TestSpan(id: 1, traceState: "vendor=b"), keeps: true),
    PolicyCase("among others", state, TestSpan(id: 1, traceState: "x=1, vendor=a ,ot=th:8"), keeps: true),
    PolicyCase("another value", state, TestSpan(id: 1, traceState: "vendor=c"), keeps: false),
    PolicyCase("another key", state, TestSpan(id: 1, traceState: "vendors=a"), keeps: false),
    PolicyCase("none", state, .root(), keeps: false),
    PolicyCase("empty", state, TestSpan(id: 1, traceState: "vendor="), keeps: false),
    PolicyCase("twice", state, TestSpan(id: 1, traceState: "vendor=a,vendor=b"), keeps: false),
    PolicyCase("no tracestate", state, TestSpan(id: 1, traceState: "vendor=a,nothing"), keeps: false),
    PolicyCase("a bad key", state, TestSpan(id: 1, traceState: "vendor=a,Bad=1"), keeps: false),
    // What the Collector's parser rejects.
    PolicyCase("a digit first", state, TestSpan(id: 1, traceState: "vendor=a,0bad=1"), keeps: false),
    PolicyCase("two of another", state, TestSpan(id: 1, traceState: "vendor=a,x=1,x=1"), keeps: false),
    PolicyCase("a bad system", state, TestSpan(id: 1, traceState: "vendor=a,t@0=1"), keeps: false),
    PolicyCase("a blank member", state, TestSpan(id: 1, traceState: "vendor=a, ,x=1"), keeps: false),
    PolicyCase(
      "a long tenant", state,
      TestSpan(id: 1, traceState: "vendor=a," + String(repeating: "t", count: 242) + "@s=1"), keeps: false),
    PolicyCase(
      "one of several", state, .root(), TestSpan(id: 2, parent: 1, traceState: "vendor=a"), keeps: true),
    PolicyCase(
      "too long for a member", .traceState(key: "k", values: [String(repeating: "v", count: 255)]),
      TestSpan(id: 1, traceState: "k=" + String(repeating: "v", count: 255)), keeps: false),
    PolicyCase("sampled", .traceFlags, TestSpan(id: 1, flags: 1), keeps: true),
    PolicyCase("sampled and more", .traceFlags, TestSpan(id: 1, flags: 0x303), keeps: true),
    PolicyCase("not sampled", .traceFlags, TestSpan(id: 1, flags: 0x302), keeps: false),
    PolicyCase("above the flags", .traceFlags, TestSpan(id: 1, flags: 0x100), keeps: false),
    PolicyCase("one sampled", .traceFlags, .root(), TestSpan(id: 2, parent: 1, flags: 1), keeps: true),
  ]) func traceStateAndFlags(policy: PolicyCase) throws { try check(policy) }

  @Test(arguments: [
    PolicyCase("least", .spanCount(least: 2, most: nil), .root(), .child(2), keeps: true),
    PolicyCase("too few", .spanCount(least: 2, most: nil), .root(), keeps: false),
    PolicyCase("most", .spanCount(least: 1, most: 2), .root(), .child(2), keeps: true),
    PolicyCase("too many", .spanCount(least: 1, most: 2), .root(), .child(2), .child(3), keeps: false),
    PolicyCase("any", .spanCount(least: 0, most: nil), .root(), keeps: true),
    PolicyCase("all", .alwaysSample, .root(), keeps: true),
    PolicyCase(
      "root measure", .latency(threshold: .seconds(1), upper: nil), .root(lasting: 10),
      TestSpan(id: 2, parent: 1, start: 0, end: 5000), keeps: false),
    PolicyCase(
      "span measure", .latency(threshold: .seconds(1), upper: nil, measure: .spans), .root(lasting: 10),
      TestSpan(id: 2, parent: 1, start: 0, end: 5000), keeps: true),
    PolicyCase(
      "span measure, least", .latency(threshold: .seconds(1), upper: nil, measure: .spans),
      TestSpan(id: 1, end: 10), TestSpan(id: 2, parent: 1, start: 990, end: 1000), keeps: true),
    PolicyCase(
      "span measure, less", .latency(threshold: .seconds(1), upper: nil, measure: .spans),
      TestSpan(id: 1, end: 10), TestSpan(id: 2, parent: 1, start: 990, end: 999), keeps: false),
    PolicyCase(
      "span measure, above the upper", .latency(threshold: .seconds(1), upper: .seconds(2), measure: .spans),
      TestSpan(id: 1, end: 1500), TestSpan(id: 2, parent: 1, start: 990, end: 2001), keeps: false),
  ]) func countsAndDurations(policy: PolicyCase) throws { try check(policy) }

  /// Inverted, with no other policy: kept unless something matches.
  @Test(arguments: [
    (TestAttribute("n", .integer(7)), false), (TestAttribute("n", .integer(8)), true),
    (TestAttribute("n", .text("7")), true), (TestAttribute("m", .integer(7)), true),
  ])
  func invertedByItself(attribute: TestAttribute, isKept: Bool) throws {
    let rule = Policy.Rule.numericAttribute(key: "n", range: 7...7, inverted: true)
    #expect(try decide(rule, spans: [.root(), .with(attribute)]).isKept == isKept)
    let resource = TestSpan(id: 1, resource: [attribute])
    #expect(try decide(rule, spans: [resource, .child(2)]).isKept == isKept)
  }

  @Test func everyInvertedKind() throws {
    let span = TestSpan.with(.init("k", .text("one")), .init("b", .truth(true)))
    for (rule, isKept) in [
      (Policy.Rule.stringAttribute(key: "k", values: ["one"], inverted: true), false),
      (.stringAttribute(key: "k", values: ["two"], inverted: true), true),
      (.booleanAttribute(key: "b", value: true, inverted: true), false),
      (.booleanAttribute(key: "b", value: false, inverted: true), true),
      (.patternAttribute(key: "k", patterns: ["^o.e$"], inverted: true), false),
      (.patternAttribute(key: "k", patterns: ["x"], inverted: true), true),
    ] { #expect(try decide(rule, spans: [span]).isKept == isKept) }
  }

  /// Regular expressions search the text, as Go's `MatchString` does.
  @Test func patterns() throws {
    let rule = Policy.Rule.patternAttribute(key: "url.path", patterns: ["^/health", "v[0-9]+/cart$"])
    for (path, isKept) in [
      ("/health", true), ("/healthz", true), ("/api/health", false), ("/v12/cart", true), ("/v/cart", false),
      ("/v1/cart/9", false), ("", false),
    ] { #expect(try decide(rule, spans: [.with(.init("url.path", .text(path)))]).isKept == isKept) }
    #expect(try !decide(rule, spans: [.with(.init("url.path", .integer(1)))]).isKept)
    let anything = Policy.Rule.patternAttribute(key: "k", patterns: [".*"])
    #expect(try !decide(anything, spans: [.with(.init("k", .text("")))]).isKept)
    #expect(try decide(anything, spans: [.with(resource: .init("k", .text("")))]).isKept)
    #expect(try !decide(anything, spans: [.with(resource: .init("k", .list("")))]).isKept)
  }

  /// 64 different tests fit, and each has its own result.
  @Test func asManyPredicatesAsAWordHasBits() throws {
    let policies = (0..<64).map { number in
      Policy(name: "p\(number)", rule: .numericAttribute(key: "key\(number)", range: 1...1))
    }
    #expect(Policy.excess(in: policies) == nil)
    for number in [0, 31, 63] {
      let span = TestSpan.with(.init("key\(number)", .integer(1)))
      #expect(try decide(policies, [[span]]).written.reasons == ["p\(number)"])
    }
    let more = policies + [Policy(name: "more", rule: .traceFlags)]
    #expect(Policy.excess(in: more)?.hasPrefix("more than 64 different tests") == true)
  }

  /// Unreadable attributes match nothing; the others, the span and the record are unaffected.
  @Test func damagedAttributesAreNone() throws {
    let damages: [[UInt8]] = [
      [0x0a, 0x7f], [0x0a], [0x80], [0x18], [0x18, 0xff], [0x0b], [0x00], [0x0a, 0x03, 0x6f],
    ]
    let rule = Policy.Rule.or(
      .stringAttribute(key: "k", values: ["one"]), .numericAttribute(key: "k", range: .min ... .max))
    for damage in damages {
      let damaged = TestAttribute("k", .raw(damage))
      #expect(try !decide(rule, spans: [.root(), .with(damaged)]).isKept)
      #expect(try !decide(rule, spans: [.with(resource: damaged)]).isKept)
      let sound = TestAttribute("k", .text("one"))
      #expect(try decide(rule, spans: [.with(damaged, sound)]).isKept)
      #expect(try decide(rule, spans: [.with(resource: damaged, sound)]).isKept)
    }
  }
}

extension Policy.Rule {
  /// Samples if any of these does.
  static func or(_ rules: Policy.Rule...) -> Policy.Rule {
    .not(.and(rules.map { .not($0) }))
  }
}
