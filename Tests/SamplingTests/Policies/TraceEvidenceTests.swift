// Why policies match or don't: parts are asked on the side on which they count, budgets depend, values are
// shown.

import Expressions
import OTLP
import Testing

@testable import Sampling

@Suite struct TraceEvidenceTests {
  private func answer(
    _ rule: Policy.Rule, _ spans: [TestSpan], _ last: Offset = Offset(.max)
  ) throws -> PolicyAnswer {
    var evidence = TraceEvidence(traceID: spans[0].traceID)
    for (number, span) in spans.enumerated() {
      #expect(evidence.add(record([span]), at: Offset(Int64(number))) == 1)
    }
    var configuration = SamplerConfiguration()
    configuration.policies = [Policy(name: "asked", rule: rule)]
    return try #require(evidence.answers(configuration, upTo: last).first)
  }

  private static let share = Policy.Rule.probabilistic(SamplingThreshold(probability: 0.25))
  private static let limit = Policy.Rule.rateLimiting(RateLimit(perSecond: 100))

  /// Below a `not` or a `drop` a share is at the low end: a trace that is kept is not in it.
  @Test(arguments: [(TestSpan.unlucky, true), (TestSpan.lucky, false)])
  func sharesBelowADropAreAtTheLowEnd(_ trace: UInt64, _ isLow: Bool) throws {
    let spans = [TestSpan.root(of: trace, .error)]
    let inShare: PolicyAnswer.Outcome = isLow ? .matches : .doesNotMatch
    let outOfShare: PolicyAnswer.Outcome = isLow ? .doesNotMatch : .matches
    let drop = try answer(.drop([.statusCode([.error]), Self.share]), spans)
    #expect(drop.outcome == inShare)
    #expect(drop.parts.map(\.outcome) == [.matches, inShare])
    #expect(drop.parts[1].wanted == "randomness below 40000000000000: 25 %")
    let not = try answer(.not(Self.share), spans)
    #expect(not.outcome == outOfShare && not.parts.map(\.outcome) == [inShare])
    let nested = try answer(.drop([.and([.alwaysSample, .not(Self.share)])]), spans)
    // Twice turned it is at the upper end again.
    #expect(nested.outcome == inShare)
    #expect(nested.parts[0].outcome == inShare && nested.parts[0].parts[1].outcome == inShare)
    #expect(nested.parts[0].parts[1].parts[0].outcome == outOfShare)
    #expect(nested.parts[0].parts[1].parts[0].wanted.hasPrefix("randomness of at least c0000000000000"))
    let plain = try answer(.and([.statusCode([.error]), Self.share]), spans)
    #expect(plain.outcome == outOfShare && plain.parts.map(\.outcome) == [.matches, outOfShare])
  }

  @Test func whatABudgetCanChangeDepends() throws {
    let spans = [TestSpan.root()]
    #expect(try answer(Self.limit, spans).outcome == .depends)
    let not = try answer(.not(Self.limit), spans)
    #expect(not.outcome == .depends && not.parts.map(\.outcome) == [.depends])
    // It has no error: no budget changes that.
    let and = try answer(.and([.statusCode([.error]), Self.limit]), spans)
    #expect(and.outcome == .doesNotMatch && and.parts.map(\.outcome) == [.doesNotMatch, .depends])
    #expect(try answer(.drop([Self.limit]), spans).outcome == .depends)
    // One that is larger than the bucket never passes.
    #expect(
      try answer(.rateLimiting(RateLimit(perSecond: 1, burst: 1)), [.root(), .child(2)]).outcome
        == .doesNotMatch)
    let composite = Composite(
      spansPerSecondMax: 10, parts: [Composite.Part(rule: .statusCode([.error]), spansPerSecond: 5)])
    #expect(try answer(.composite(composite), spans).outcome == .doesNotMatch)
    #expect(try answer(.composite(composite), [.root(1, .error)]).outcome == .depends)
  }

  @Test func valuesAreShownWhereThereAreSome() throws {
    var (root, child) = (TestSpan.root(), TestSpan.child(2))
    root.traceState = "vendor=gold"
    child.traceState = "vendor=silver,other=x"
    root.attributes = [TestAttribute("http.status", .integer(503))]
    root.resource = [TestAttribute("region", .text("eu"))]
    let state = try answer(.traceState(key: "vendor", values: ["gold"]), [root, child])
    #expect(state.outcome == .matches && state.seen == "\"gold\", \"silver\"")
    #expect(
      try answer(.traceState(key: "none", values: ["x"]), [root]).seen == "no such member of a tracestate")
    let condition = try OTTLCondition(
      #"attributes["http.status"] == 503 and resource.attributes["region"] == "eu" and attributes["x"]"#
        + " == nil",
      context: .span)
    let ottl = try answer(.ottlCondition(spans: [condition], events: [], errorMode: .ignore), [root, child])
    #expect(ottl.outcome == .matches && ottl.seen == "http.status 503; region \"eu\"; x nowhere")
    let kind = try OTTLCondition("kind == 2", context: .span)
    #expect(
      try answer(.ottlCondition(spans: [kind], events: [], errorMode: .ignore), [root]).seen == "1 span")
  }

  @Test(arguments: [
    (1.0000228881835938, "1"), (0.0, "0"), (33.333333, "33.33"), (0.0123456, "0.01235"), (100, "100"),
    (12345.6, "12346"), (97.7654321, "97.77"),
  ])
  func figuresHaveFourDigits(_ number: Double, _ text: String) { #expect(number.asFigure == text) }
}
