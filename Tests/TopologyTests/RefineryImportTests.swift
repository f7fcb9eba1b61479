// Rules of Refinery: what each kind of sampler and condition becomes, and what has no place.

import Expressions
import Sampling
import Testing

@testable import Topology

@Suite struct RefineryImportTests {
  private func imported(_ samplers: String) throws -> RefineryImport {
    try RefineryImport.parse("RulesVersion: 2\nSamplers:\n" + samplers, fileName: "rules.yaml")
  }

  /// The rules of one environment; each line of `rules` is a rule.
  private func rules(_ rules: String...) throws -> [RuleSpecification] {
    let lines = rules.map { "        - \($0)\n" }.joined()
    let found = try imported("  __default__:\n    RulesBasedSampler:\n      Rules:\n" + lines)
    return try #require(found.topologies.first).topology.rules
  }

  /// The condition, as OTTL, of a rule with one condition.
  private func condition(_ condition: String) throws -> [String] {
    let rule = try #require(try rules("{Name: x, Drop: true, Conditions: [\(condition)]}").first)
    return rule.conditions.flatMap { policy -> [String] in
      switch policy.rule {
      case .ottlCondition(let spans, _, let mode): mode == .ignore ? spans.map(\.text) : []
      case .spanCount(let least, let most): ["\(least) to \(most) spans"]
      default: []
      }
    }
  }

  @Test func ratesBecomeShares() throws {
    let found = try rules(
      "{Name: one, SampleRate: 1, Conditions: [{Field: a, Operator: exists}]}",
      "{Name: ten, SampleRate: 10, Conditions: [{Field: b, Operator: exists}]}",
      "{Name: none, Drop: true, Conditions: [{Field: c, Operator: exists}]}",
      "{SampleRate: 100}")
    #expect(found.map(\.name) == ["1: one", "2: ten", "3: none", "4: rule"])
    #expect(found.map(\.outcome) == [.keep, .percentage(10), .drop, .percentage(1)])
  }

  /// Refinery keeps what no rule is for.
  @Test func theRestIsKept() throws {
    let found = try rules("{Name: a, Drop: true, Conditions: [{Field: a, Operator: exists}]}")
    #expect(found.last == RuleSpecification(name: "no rule", outcome: .keep))
  }

  @Test(arguments: [
    (
      "{Field: http.route, Operator: '=', Value: /x}",
      #"(attributes["http.route"] == "/x" or resource.attributes["http.route"] == "/x")"#
    ),
    (
      "{Field: code, Operator: '>=', Value: 500, Datatype: int}",
      #"(attributes["code"] >= 500 or resource.attributes["code"] >= 500)"#
    ),
    (
      "{Field: ok, Operator: '=', Value: true}",
      #"(attributes["ok"] == true or resource.attributes["ok"] == true)"#
    ),
    (
      "{Field: n, Operator: '=', Value: 5, Datatype: string}",
      #"(attributes["n"] == "5" or resource.attributes["n"] == "5")"#
    ),
    ("{Field: a, Operator: not-exists}", #"(attributes["a"] == nil and resource.attributes["a"] == nil)"#),
    (
      "{Field: a, Operator: '!=', Value: b}",
      #"((attributes["a"] != nil and attributes["a"] != "b") "#
        + #"or (resource.attributes["a"] != nil and resource.attributes["a"] != "b"))"#
    ),
    ("{Field: name, Operator: starts-with, Value: 'a.b'}", #"IsMatch(name, "^a\\.b")"#),
    ("{Field: name, Operator: contains, Value: '$x'}", #"IsMatch(name, "\\$x")"#),
    ("{Field: name, Operator: matches, Value: '^\\d+$'}", #"IsMatch(name, "^\\d+$")"#),
    ("{Field: name, Operator: in, Value: [a, b]}", #"(name == "a" or name == "b")"#),
    ("{Field: trace.parent_id, Operator: not-exists}", "IsRootSpan()"),
    (
      "{Field: duration_ms, Operator: '>=', Value: 5000, Datatype: int}",
      #"duration >= Duration("5000000us")"#
    ),
    ("{Field: error, Operator: exists}", "status.code == STATUS_CODE_ERROR"),
    ("{Field: status_code, Operator: '>=', Value: 2, Datatype: int}", "status.code >= 2"),
    (
      "{Field: root.http.route, Operator: starts-with, Value: /h}",
      #"IsRootSpan() and (IsMatch(attributes["http.route"], "^/h") "#
        + #"or IsMatch(resource.attributes["http.route"], "^/h"))"#
    ),
    (
      "{Fields: [a, b], Operator: exists}",
      #"((attributes["a"] != nil or resource.attributes["a"] != nil) "#
        + #"or (attributes["b"] != nil or resource.attributes["b"] != nil))"#
    ),
    ("{Field: meta.span_count, Operator: '>', Value: 300, Datatype: int}", "301 to 0 spans"),
    ("{Field: '?.NUM_DESCENDANTS', Operator: '<=', Value: 3}", "0 to 3 spans"),
    (
      "{Field: 'a\"b', Operator: exists}",
      #"(attributes["a\"b"] != nil or resource.attributes["a\"b"] != nil)"#
    ),
  ])
  func conditionsBecomeConditionsOnSpans(given: String, text: String) throws {
    #expect(try condition(given) == [text])
  }

  @Test func theScopeDecidesWhetherConditionsMeetInOneSpan() throws {
    let conditions = "Conditions: [{Field: name, Operator: '=', Value: a}, {Field: error, Operator: exists}]"
    let found = try rules(
      "{Name: span, Scope: span, Drop: true, \(conditions)}", "{Name: trace, Drop: true, \(conditions)}")
    #expect(found.map(\.conditions.count) == [1, 2, 0])
  }

  @Test(arguments: [
    "{Field: meta.refinery.reason, Operator: exists}", "{Field: a, Operator: smells-like, Value: b}",
    "{Operator: exists}", "{Field: a}", "{Field: a, Operator: '='}",
    "{Field: meta.span_count, Operator: exists}", "{Field: duration_ms, Operator: exists}",
  ])
  func whatHasNoPlaceLeavesItsRuleOut(condition: String) throws {
    let found = try imported(
      """
        __default__:
          RulesBasedSampler:
            Rules:
              - {Name: a, Drop: true, Conditions: [\(condition)]}
              - {Name: b, SampleRate: 2}
      """)
    #expect(found.rulesLeftOut == 1)
    #expect(found.noteLines.count >= 2 && found.noteLines.allSatisfy { $0.hasPrefix("rules.yaml:6:") })
    #expect(found.topologies.first?.topology.rules.map(\.name) == ["2: b"])
  }

  @Test func samplersOfWholeEnvironments() throws {
    let found = try imported(
      """
        __default__: {DeterministicSampler: {SampleRate: 50}}
        staging: {EMADynamicSampler: {GoalSampleRate: 20, FieldList: [service_name, http.route], Weight: 0.5}}
        busy: {EMAThroughputSampler: {GoalThroughputPerSec: 100}}
        odd: {MagicSampler: {SampleRate: 2}}
      """)
    #expect(found.topologies.map(\.environment) == ["__default__", "staging", "busy"])
    #expect(found.topologies[0].topology.rules == [RuleSpecification(name: "all", outcome: .percentage(2))])
    #expect(found.topologies[1].topology.baseline?.budget == .traces(percentage: 5))
    #expect(found.topologies[1].topology.baseline?.key == .attributes(["service.name", "http.route"]))
    #expect(found.topologies[2].topology.baseline?.budget == .spansPerSecond(100))
    #expect(found.rulesLeftOut == 1)
    #expect(found.noteLines.contains { $0.contains("MagicSampler") })
  }

  @Test(arguments: ["", "a: b", "RulesVersion: 1\nSamplers: {}", "RulesVersion: 2", "Samplers: {}", "- 1"])
  func otherFilesAreRefused(text: String) {
    #expect(throws: TopologyError.self) { try RefineryImport.parse(text, fileName: "x") }
  }
}
