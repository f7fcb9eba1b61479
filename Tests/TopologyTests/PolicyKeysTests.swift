// Policies in a Collector's syntax: read, rejected with their places, written back.

import Expressions
import Sampling
import Testing

@testable import OTLP
@testable import Sampling
@testable import Topology

private func policies(_ yaml: String) throws -> TailSamplingTopology {
  let topology = try Topology.parse("kind: tail-sampling\n" + yaml, fileName: "t.yaml", environment: [:])
  guard case .tailSampling(let found) = topology else { fatalError("another kind") }
  #expect(try Topology.parse(topology.redactedDescription, fileName: "t.yaml", environment: [:]) == topology)
  return found
}

/// The rule of the one policy of `type` with `settings`.
private func rule(_ type: String, _ settings: String) throws -> PolicyRule {
  let topology = try policies("policies: [{name: p, type: \(type), \(type): \(settings)}]\n")
  return try #require(topology.policies.first).rule
}

/// Every policy type, laid out as in Collectors' files, with comments and quotes.
private let collectorBlock = #"""
  sample_on_first_match: true
  invert_decisions: true
  policies: [
    {
      name: p1, # every trace
      type: always_sample
    },
    {name: p2, type: latency, latency: {threshold_ms: 5000, upper_threshold_ms: 10000}},
    {name: p3, type: numeric_attribute, numeric_attribute: {key: key1, min_value: 50, max_value: 100}},
    {name: p4, type: probabilistic, probabilistic: {sampling_percentage: 10, hash_salt: "custom-salt"}},
    {name: p5, type: status_code, status_code: {status_codes: [ERROR, UNSET]}},
    {name: p6, type: string_attribute, string_attribute: {key: key2, values: [value1, value2]}},
    {
      name: p7,
      type: string_attribute,
      string_attribute: {key: key2, values: [value1, val*, ^\/health$], enabled_regex_matching: true,
        cache_max_size: 10}
    },
    {name: p8, type: rate_limiting, rate_limiting: {spans_per_second: 35}},
    {name: p9, type: bytes_limiting, bytes_limiting: {bytes_per_second: 1024000, burst_capacity: 2048000}},
    {name: p10, type: span_count, span_count: {min_spans: 2, max_spans: 20}},
    {name: p11, type: trace_state, trace_state: { key: key3, values: [value1, value2] }},
    {name: p12, type: boolean_attribute, boolean_attribute: {key: key4, value: true}},
    {name: p13, type: trace_flags},
    {
      name: p14,
      type: ottl_condition,
      ottl_condition: {
        error_mode: ignore,
        span: [
          "attributes[\"key1\"] == \"value1\"",
          'IsMatch(attributes["url.path"], "^/(buy|pay)$")',
        ],
        spanevent: [name != "exception"]
      }
    },
    {
      name: a1,
      type: and,
      and: {
        and_sub_policy:
        [
          {
            name: s1,
            type: string_attribute,
            string_attribute: { key: service.name, values: [a, b], invert_match: true }
          },
          { name: s2, type: probabilistic, probabilistic: { sampling_percentage: 0.1 } },
        ]
      }
    },
    {
      name: n1,
      type: not,
      not: { not_sub_policy: { name: s3, type: status_code, status_code: {status_codes: [OK]} } }
    },
    {
      name: d1,
      type: drop,
      drop: {
        drop_sub_policy: [{name: s4, type: boolean_attribute, boolean_attribute: {key: no, value: true}}]
      }
    },
    {
      name: c1,
      type: composite,
      composite:
        {
          max_total_spans_per_second: 1000,
          policy_order: [c-b, c-a, c-c],
          composite_sub_policy:
            [
              { name: c-a, type: numeric_attribute, numeric_attribute: {key: key1, min_value: 50} },
              { name: c-b, type: string_attribute, string_attribute: {key: key2, values: [value1]} },
              { name: c-c, type: always_sample }
            ],
          rate_allocation:
            [
              { policy: c-a, percent: 50 },
              { policy: c-b, percent: 25 }
            ]
        }
    },
  ]
  """#

@Suite struct PolicyKeysTests {
  @Test func aCollectorsBlock() throws {
    let topology = try policies(collectorBlock)
    #expect(topology.sampleOnFirstMatch && topology.invertDecisions)
    #expect(try !policies("policies: [{name: all, type: always_sample}]\n").invertDecisions)
    let named = { (name: String, rule: PolicyRule) in PolicySpecification(name: name, rule: rule) }
    #expect(
      topology.policies == [
        named("p1", .alwaysSample),
        named("p2", .latency(threshold: .seconds(5), upperThreshold: .seconds(10))),
        named("p3", .numericAttribute(key: "key1", minValue: 50, maxValue: 100, invertMatch: false)),
        named("p4", .probabilistic(percentage: 10, hashSalt: "custom-salt")),
        named("p5", .statusCode(codes: [.error, .unset])),
        named(
          "p6",
          .stringAttribute(
            key: "key2", values: ["value1", "value2"], areRegularExpressions: false, invertMatch: false)),
        named(
          "p7",
          .stringAttribute(
            key: "key2", values: ["value1", "val*", "^\\/health$"], areRegularExpressions: true,
            invertMatch: false)),
        named("p8", .rateLimiting(spansPerSecond: 35, burstCapacity: nil)),
        named("p9", .bytesLimiting(bytesPerSecond: 1_024_000, burstCapacity: 2_048_000)),
        named("p10", .spanCount(minSpans: 2, maxSpans: 20)),
        named("p11", .traceState(key: "key3", values: ["value1", "value2"])),
        named("p12", .booleanAttribute(key: "key4", value: true, invertMatch: false)),
        named("p13", .traceFlags),
        named(
          "p14",
          .ottlCondition(
            spans: [
              try OTTLCondition("attributes[\"key1\"] == \"value1\"", context: .span),
              try OTTLCondition("IsMatch(attributes[\"url.path\"], \"^/(buy|pay)$\")", context: .span),
            ],
            events: [try OTTLCondition("name != \"exception\"", context: .spanEvent)], errorMode: .ignore)),
        named(
          "a1",
          .and([
            named(
              "s1",
              .stringAttribute(
                key: "service.name", values: ["a", "b"], areRegularExpressions: false, invertMatch: true)),
            named("s2", .probabilistic(percentage: 0.1)),
          ])),
        named("n1", .not(named("s3", .statusCode(codes: [.ok])))),
        named("d1", .drop([named("s4", .booleanAttribute(key: "no", value: true, invertMatch: false))])),
        named(
          "c1",
          .composite(
            CompositePolicy(
              spansPerSecondMax: 1000,
              policies: [
                named(
                  "c-b",
                  .stringAttribute(
                    key: "key2", values: ["value1"], areRegularExpressions: false, invertMatch: false)),
                named("c-a", .numericAttribute(key: "key1", minValue: 50, maxValue: nil, invertMatch: false)),
                named("c-c", .alwaysSample),
              ],
              allocations: ["c-a": 50, "c-b": 25]))),
      ])
  }

  @Test func theCore() throws {
    let core = SamplerConfiguration(try policies(collectorBlock))
    #expect(core.sampleOnFirstMatch && core.invertDecisions)
    #expect(core.policies.map(\.name).last == "c1")
    let two = Policy.Rule.stringAttribute(key: "key2", values: ["value1"])
    #expect(
      core.policies.last?.rule
        == .composite(
          Composite(
            spansPerSecondMax: 1000,
            parts: [
              .init(rule: two, spansPerSecond: 250),
              .init(rule: .numericAttribute(key: "key1", range: 50 ... .max), spansPerSecond: 500),
              .init(rule: .alwaysSample, spansPerSecond: 333),
            ])))
    #expect(core.policies[3].rule == .hashed(HashSampling(salt: "custom-salt", percentage: 10)))
    #expect(core.policies[7].rule == .rateLimiting(RateLimit(perSecond: 35, burst: 70)))
    #expect(core.policies[9].rule == .spanCount(least: 2, most: 20))
  }

  /// A policy without a `rate_allocation`, or with 0 percent, has an equal share.
  @Test(arguments: [
    ("", [33, 33, 33]), ("rate_allocation: [],", [33, 33, 33]),
    ("rate_allocation: [{policy: b, percent: 40}],", [33, 40, 33]),
    ("rate_allocation: [{policy: a, percent: 100}, {policy: c}],", [100, 33, 33]),
    ("cap_total: true, rate_allocation: [{policy: a, percent: 30}, {policy: b, percent: 0}],", [30, 33, 33]),
    ("fall_through: true, rate_allocation: [{policy: c, percent: 1}],", [33, 33, 1]),
  ])
  func sharesOfAComposite(allocation: String, shares: [Int64]) throws {
    let parts = ["a", "b", "c"].map { "{name: \($0), type: always_sample}" }.joined(separator: ", ")
    let settings =
      "{max_total_spans_per_second: 100, \(allocation) composite_sub_policy: [\(parts)]}"
    guard case .composite(let composite) = Policy.Rule(try rule("composite", settings)) else {
      Issue.record("no composite")
      return
    }
    #expect(composite.parts.map(\.spansPerSecond) == shares)
  }

  @Test func defaultsAndOptions() throws {
    #expect(
      try rule("probabilistic", "{sampling_percentage: 5, hash_salt: ''}") == .probabilistic(percentage: 5))
    #expect(
      try rule("latency", "{threshold_ms: 5, measure: spans}")
        == .latency(threshold: .milliseconds(5), upperThreshold: nil, measure: .spans))
    #expect(
      try rule("numeric_attribute", "{key: k, max_value: 0}")
        == .numericAttribute(key: "k", minValue: nil, maxValue: 0, invertMatch: false))
    #expect(
      try rule("numeric_attribute", "{key: k, min_value: -5, invert_match: true}")
        == .numericAttribute(key: "k", minValue: -5, maxValue: nil, invertMatch: true))
    #expect(
      try rule("boolean_attribute", "{key: k}")
        == .booleanAttribute(key: "k", value: false, invertMatch: false))
    #expect(
      try rule("string_attribute", "{key: k, values: [200, true, '', \"a$$b\"]}")
        == .stringAttribute(
          key: "k", values: ["200", "true", "", "a$b"], areRegularExpressions: false, invertMatch: false))
    let truth = try OTTLCondition("true", context: .span)
    #expect(
      try rule("ottl_condition", "{span: ['true']}")
        == .ottlCondition(spans: [truth], events: [], errorMode: .propagate))
    let event = try OTTLCondition("Len(name) > 3", context: .spanEvent)
    #expect(
      try rule("ottl_condition", "{span: [], spanevent: [Len(name) > 3], error_mode: silent}")
        == .ottlCondition(spans: [], events: [event], errorMode: .silent))
    #expect(
      try rule("and", "{and_sub_policy: [{type: ottl_condition, ottl_condition: {span: ['true']}}]}")
        == .and([
          PolicySpecification(
            name: "", rule: .ottlCondition(spans: [truth], events: [], errorMode: .propagate))
        ]))
    #expect(try rule("span_count", "{}") == .spanCount(minSpans: 0, maxSpans: 0))
    #expect(
      try rule("rate_limiting", "{spans_per_second: 5, burst_capacity: 0}")
        == .rateLimiting(spansPerSecond: 5, burstCapacity: nil))
    #expect(
      try rule("rate_limiting", "{spans_per_second: 5, scope: fleet}")
        == .rateLimiting(spansPerSecond: 5, burstCapacity: nil, scope: .fleet))
    #expect(
      try rule("bytes_limiting", "{bytes_per_second: 5, burst_capacity: 9, scope: fleet}")
        == .bytesLimiting(bytesPerSecond: 5, burstCapacity: 9, scope: .fleet))
    #expect(
      try rule("rate_limiting", "{spans_per_second: 5, scope: partition}")
        == .rateLimiting(spansPerSecond: 5, burstCapacity: nil))
    #expect(
      try rule("bytes_limiting", "{bytes_per_second: 1MiB}")
        == .bytesLimiting(bytesPerSecond: 1 << 20, burstCapacity: nil))
    #expect(
      try rule("and", "{and_sub_policy: [{type: not, not: {not_sub_policy: {type: trace_flags}}}]}")
        == .and([
          PolicySpecification(
            name: "", rule: .not(PolicySpecification(name: "", rule: .traceFlags)))
        ]))
    let composite = try rule(
      "composite",
      "{max_total_spans_per_second: 9, composite_sub_policy: [{name: a, type: trace_flags}, {name: b, type: "
        + "always_sample}], policy_order: [b], rate_allocation: [{policy: b}], "
        + "fall_through: true, cap_total: true}"
    )
    #expect(
      composite
        == .composite(
          CompositePolicy(
            spansPerSecondMax: 9,
            policies: [
              PolicySpecification(name: "b", rule: .alwaysSample),
              PolicySpecification(name: "a", rule: .traceFlags),
            ], allocations: ["b": 0], fallsThrough: true, capsTotal: true)))
  }

  private func errors(_ type: String, _ settings: String) -> String? {
    let yaml = "kind: tail-sampling\npolicies: [{name: p, type: \(type), \(type):\n\(settings)}]\n"
    let error = #expect(throws: TopologyError.self) {
      try Topology.parse(yaml, fileName: "t.yaml", environment: [:])
    }
    return error?.description
  }

  /// The settings are on line 3.
  @Test(arguments: [
    (
      "numeric_attribute", "{key: k}",
      "3:1: policies[0].numeric_attribute needs min_value, max_value or both"
    ),
    (
      "numeric_attribute", "{key: k, min_value: 2, max_value: 1}",
      "3:35: policies[0].numeric_attribute.max_value must not be smaller than min_value"
    ),
    (
      "numeric_attribute", "{key: k, min_value: 1e99}",
      "3:21: policies[0].numeric_attribute.min_value must be a whole number from -2^63 to 2^63 - 1, "
        + "found '1e99'"
    ),
    (
      "numeric_attribute", "{key: k, min_value: 1.5}",
      "3:21: policies[0].numeric_attribute.min_value must be a whole number from -2^63 to 2^63 - 1, "
        + "found '1.5'"
    ),
    (
      "numeric_attribute", "{key: '', min_value: 1}",
      "3:7: policies[0].numeric_attribute.key must be a non-empty key, found the quoted string ''"
    ),
    ("boolean_attribute", "{value: true}", "3:1: policies[0].boolean_attribute needs the key 'key'"),
    (
      "boolean_attribute", "{key: k, value: 1}",
      "3:17: policies[0].boolean_attribute.value must be true or false, found '1'"
    ),
    (
      "string_attribute", "{key: k, values: [a], invert_mach: true}",
      "3:23: unknown key 'invert_mach' in policies[0].string_attribute; did you mean 'invert_match'?"
    ),
    (
      "string_attribute", "{key: k, values: []}",
      "3:18: policies[0].string_attribute.values needs at least one item"
    ),
    (
      "string_attribute", "{key: k, values: [[a]]}",
      "3:19: policies[0].string_attribute.values[0] must be a string, found a list"
    ),
    (
      "string_attribute", "{key: k, values: [a$b]}",
      "3:19: policies[0].string_attribute.values[0]: a lone '$'; write '$$' for a dollar sign, "
        + "'${NAME}' for a variable"
    ),
    ("trace_state", "{key: k}", "3:1: policies[0].trace_state needs the key 'values'"),
    (
      "span_count", "{min_spans: 5, max_spans: 4}",
      "3:27: policies[0].span_count.max_spans must be at least min_spans, or 0 for no upper bound"
    ),
    (
      "rate_limiting", "{spans_per_second: 0}",
      "3:20: policies[0].rate_limiting.spans_per_second must be a whole number of spans from 1 to "
        + "1000000000000, found '0'"
    ),
    ("bytes_limiting", "{}", "3:1: policies[0].bytes_limiting needs the key 'bytes_per_second'"),
    (
      "latency", "{threshold_ms: 1, measure: trace}",
      "3:28: policies[0].latency.measure must be root or spans, found 'trace'"
    ),
    (
      "and", "{and_sub_policies: []}",
      "3:1: policies[0].and needs the key 'and_sub_policy'\n"
        + "t.yaml:3:2: unknown key 'and_sub_policies' in policies[0].and; did you mean 'and_sub_policy'?"
    ),
    (
      "and", "{and_sub_policy: [{type: drop}, {type: latncy}]}",
      "3:26: policy type 'drop' can't be nested in another policy\n"
        + "t.yaml:3:40: unknown policy type 'latncy'; did you mean 'latency'?"
    ),
    (
      "not", "{not_sub_policy: [{type: trace_flags}]}",
      "3:18: policies[0].not.not_sub_policy must be a section of keys and values, found a list"
    ),
    (
      "drop", "{drop_sub_policy: [{type: latency, latency: {threshold_ms: x}}]}",
      "3:60: policies[0].drop.drop_sub_policy[0].latency.threshold_ms must be a whole number of "
        + "milliseconds from 0 to 1000000000000, found 'x'"
    ),
    (
      "composite",
      "{max_total_spans_per_second: 9, composite_sub_policy: [{name: slow, type: always_sample}], "
        + "policy_order: [slwo], rate_allocation: [{policy: slow, percent: 101}]}",
      "3:107: policies[0].composite.policy_order[0] must be the name of a policy in composite_sub_policy, "
        + "found 'slwo'; did you mean 'slow'?\n"
        + "t.yaml:3:156: policies[0].composite.rate_allocation[0].percent must be a whole number from 0 "
        + "to 100, found '101'"
    ),
  ])
  func mistakes(type: String, settings: String, message: String) {
    #expect(errors(type, settings) == "t.yaml:\(message)")
  }

  /// An invalid condition is reported with its place in the file, and the place and token within it.
  @Test(arguments: [
    ("{}", "3:1: policies[0].ottl_condition needs a condition in span or spanevent"),
    (
      "{error_mode: ignore, span: [], spanevent: []}",
      "3:1: policies[0].ottl_condition needs a condition in span or spanevent"
    ),
    (
      "{span: ['true'], error_mode: panic}",
      "3:30: policies[0].ottl_condition.error_mode must be ignore, silent or propagate, found 'panic'"
    ),
    (
      "{span: ['true'], span_event: ['true']}",
      "3:18: unknown key 'span_event' in policies[0].ottl_condition; did you mean 'spanevent'?"
    ),
    (
      "{span: 'true'}",
      "3:8: policies[0].ottl_condition.span must be a list of conditions, found a single value"
    ),
    ("{span: [{a: b}]}", "3:9: policies[0].ottl_condition.span[0] must be a condition, found a section"),
  ])
  func conditionMistakes(settings: String, message: String) {
    #expect(errors("ottl_condition", settings) == "t.yaml:\(message)")
  }

  @Test func invalidConditions() throws {
    let one = try #require(errors("ottl_condition", "{span: ['true', 'name = \"x\"']}"))
    #expect(
      one.hasPrefix(
        "t.yaml:3:17: policies[0].ottl_condition.span[1]: 'name = \"x\"' is not a valid condition: 1:6: "
          + "found '=', expected "))
    // All of them are reported.
    let two = try #require(errors("ottl_condition", "{span: [nome == 1], spanevent: ['IsRootSpan()']}"))
    let lines = two.split(separator: "\n")
    #expect(lines.count == 2)
    #expect(lines[0].hasPrefix("t.yaml:3:9: policies[0].ottl_condition.span[0]: 'nome == 1' is not a "))
    #expect(lines[0].contains("1:1: found 'nome'"))
    #expect(
      lines[1].hasPrefix("t.yaml:3:33: policies[0].ottl_condition.spanevent[0]: 'IsRootSpan()' is not "))
  }

  /// An invalid pattern is reported with its place and the reason.
  @Test func invalidPatterns() throws {
    let message = try #require(
      errors("string_attribute", "{key: k, enabled_regex_matching: true, values: [ok, 'a(b']}"))
    #expect(
      message.hasPrefix(
        "t.yaml:3:53: policies[0].string_attribute.values[1]: 'a(b' is not a valid regular expression: "))
  }

  @Test func moreThanFits() {
    let many = (0..<65).map { "{name: p\($0), type: boolean_attribute, boolean_attribute: {key: k\($0)}}" }
    let nested = many.map { "{type: not, not: {not_sub_policy: \($0)}}" }.joined(separator: ", ")
    #expect(
      errors("and", "{and_sub_policy: [\(nested)]}")
        == "t.yaml:2:1: policies together need more than 64 different tests of attributes, conditions, "
        + "tracestates and flags"
    )
    var deep = "{type: trace_flags}"
    for _ in 0..<20 { deep = "{type: not, not: {not_sub_policy: \(deep)}}" }
    #expect(
      errors("and", "{and_sub_policy: [\(deep)]}")?.hasSuffix("nested more than 16 deep") == true)
  }
}
