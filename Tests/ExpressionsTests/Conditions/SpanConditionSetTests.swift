// Sets of conditions: requirements, records of many spans, errors and their modes, hostile bytes.

import Simulation
import Testing

@testable import Expressions
@testable import OTLP

@Suite struct SpanConditionSetTests {
  @Test func requirementsAreWhatIsLookedAt() throws {
    let plain = try OTTLCondition("name == \"a\" and duration > Duration(\"1s\")", context: .span)
    #expect(plain.requirements == ConditionRequirements())
    #expect(!plain.requirements.needsResource && !plain.requirements.needsScope)
    var all = try OTTLCondition(
      "attributes[\"a\"] == 1 or span.attributes[\"a\"] == 2 or resource.attributes[\"b\"] == status.message",
      context: .span
    ).requirements
    #expect(all.spanAttributes == [Array("a".utf8)])
    #expect(all.resourceAttributes == [Array("b".utf8)])
    #expect(all.needsStatusMessage && all.needsResource && !all.needsScope)
    all.formUnion(
      try OTTLCondition("attributes[\"c\"] == scope.name", context: .spanEvent).requirements)
    #expect(all.eventAttributes == [Array("c".utf8)])
    #expect(all.needsScopeFields && all.needsScope && all.scopeAttributes.isEmpty)
  }

  @Test func conditionsAreEqualByText() throws {
    let one = try OTTLCondition("true", context: .span)
    #expect(try one == OTTLCondition("true", context: .span))
    #expect(try one != OTTLCondition("true", context: .spanEvent))
    #expect(try one != OTTLCondition("(true)", context: .span))
  }

  /// Any condition of the set is enough; each has its own literals, patterns and functions.
  @Test func anyIsEnough() throws {
    let conditions = [
      "attributes[\"a\"] == \"x\" and IsMatch(name, \"^one\")",
      "IsMatch(attributes[\"b\"], \"y\") and Len(name) == 3",
      "trace_state[\"v\"] == \"z\" and \"z\" == \"z\"",
    ]
    func outcome(_ name: String, _ attributes: [ModelAttribute], traceState: String = "") throws
      -> ConditionOutcome
    {
      var span = ModelSpan()
      span.name = name
      span.attributes = attributes
      span.traceState = traceState
      var set = try SpanConditionSet(conditions)
      return try set.outcomes(of: span.encoded)[0]
    }
    #expect(try outcome("one", [ModelAttribute("a", .string("x"))]) == .matches)
    #expect(try outcome("two", [ModelAttribute("a", .string("x"))]) == .doesNotMatch)
    #expect(try outcome("two", [ModelAttribute("b", .string("xyz"))]) == .matches)
    #expect(try outcome("four", [ModelAttribute("b", .string("xyz"))]) == .doesNotMatch)
    #expect(try outcome("four", [], traceState: "v=z") == .matches)
    #expect(try outcome("four", []) == .doesNotMatch)
  }

  /// Nothing of a span, an event or a resource leaks into the next one.
  @Test func spansAreApart() throws {
    var with = ModelSpan()
    with.attributes = [ModelAttribute("a", .integer(1))]
    with.message = "m"
    with.resource = [ModelAttribute("r", .integer(1))]
    with.scopeName = "s"
    with.scope = [ModelAttribute("s", .integer(1))]
    with.events = [ModelEvent(name: "e", attributes: [ModelAttribute("e", .integer(1))])]
    var without = ModelSpan()
    without.events = [ModelEvent()]
    var record = WireWriter()
    for span in [with, without, with, without] { span.append(to: &record) }
    for condition in [
      "attributes[\"a\"] == 1", "status.message == \"m\"", "resource.attributes[\"r\"] == 1",
      "scope.name == \"s\"",
      "scope.attributes[\"s\"] == 1",
    ] {
      var set = try SpanConditionSet([condition])
      #expect(
        try set.outcomes(of: record.bytes) == [.matches, .doesNotMatch, .matches, .doesNotMatch],
        "\(condition)")
      // The next record's first resource and scope have the same numbers.
      #expect(try set.outcomes(of: without.encoded) == [.doesNotMatch], "\(condition)")
      #expect(try set.outcomes(of: with.encoded) == [.matches], "\(condition)")
    }
    for condition in ["attributes[\"e\"] == 1", "name == \"e\""] {
      var set = try SpanConditionSet([condition], .spanEvent)
      #expect(
        try set.outcomes(of: record.bytes) == [.matches, .doesNotMatch, .matches, .doesNotMatch],
        "\(condition)")
    }
  }

  /// `and` and `or` stop once the outcome is known: later operands can't fail.
  @Test func whatNeedNotBeLookedAtIsNot() throws {
    var span = ModelSpan()
    span.attributes = [ModelAttribute("nan", .double(.nan))]
    let failing = "IsMatch(attributes[\"nan\"], \"a\")"
    #expect(try span.error(failing) == .noText)
    #expect(try span.error("Len(kind) == 1") == .noLength)
    #expect(try span.error("Len(attributes[\"none\"]) == 1") == .noLength)
    #expect(try span.error("not \(failing)") == .noText)
    #expect(try !span.holds("false and \(failing)"))
    #expect(try span.holds("true or \(failing)"))
    #expect(try !span.holds("kind == 1 and \(failing)"))
    #expect(try span.holds("kind == 2 or \(failing)"))
    #expect(try span.holds("not (kind == 1 and \(failing))"))
    #expect(try span.error("kind == 2 and \(failing)") == .noText)
  }

  @Test func errorModes() throws {
    var span = ModelSpan()
    span.attributes = [ModelAttribute("list", .array([]))]
    let failing = "Len(kind) == 1"
    for mode in [ConditionErrorMode.ignore, .silent] {
      var set = try SpanConditionSet([failing, "kind == 2"], errorMode: mode)
      #expect(try set.outcomes(of: span.encoded) == [.matches])
      #expect(set.errorCount == 1)
      var alone = try SpanConditionSet([failing], errorMode: mode)
      #expect(try alone.outcomes(of: span.encoded) == [.doesNotMatch])
      #expect(alone.lastError?.reason == .noLength)
    }
    var set = try SpanConditionSet([failing, "kind == 2"], errorMode: .propagate)
    #expect(try set.outcomes(of: span.encoded) == [.failed])
    var first = try SpanConditionSet(["kind == 2", failing], errorMode: .propagate)
    #expect(try first.outcomes(of: span.encoded) == [.matches])
    #expect(first.errorCount == 0)
  }

  /// A span's conditions are evaluated before those of its events, and an event that fails stops the later
  /// ones only if errors propagate.
  @Test func spansComeBeforeEvents() throws {
    var span = ModelSpan()
    span.events = [ModelEvent(name: "a"), ModelEvent(name: "b")]
    func outcome(_ spans: [String], _ events: [String], _ mode: ConditionErrorMode) throws -> ConditionOutcome
    {
      var set = SpanConditionSet(
        spans: try spans.map { text in try OTTLCondition(text, context: .span) },
        events: try events.map { text in try OTTLCondition(text, context: .spanEvent) }, errorMode: mode)
      return try set.outcomes(of: span.encoded)[0]
    }
    #expect(try outcome(["kind == 2"], ["Len(nil) == 1"], .propagate) == .matches)
    #expect(try outcome(["kind == 1"], ["name == \"b\""], .propagate) == .matches)
    #expect(try outcome(["kind == 1"], ["name == \"c\""], .propagate) == .doesNotMatch)
    #expect(try outcome([], ["name == \"b\" or Len(nil) == 1"], .propagate) == .failed)
    #expect(try outcome([], ["name == \"b\" or Len(nil) == 1"], .ignore) == .matches)
    #expect(try outcome([], [], .propagate) == .doesNotMatch)
  }

  /// Bytes that the scanner skips may be invalid protobuf: that is an error with an offset.
  @Test func malformedAttributes() throws {
    var span = ModelSpan()
    span.attributes = [ModelAttribute("key", .string("value"))]
    var record = span.encoded
    let value = try #require(
      record.indices.first { record[$0...].starts(with: [0x0a, 0x05] + Array("value".utf8)) })
    record[value + 1] = 0x70
    var set = try SpanConditionSet(["attributes[\"key\"] == \"value\"", "true"])
    #expect(try set.outcomes(of: record) == [.failed])
    #expect(set.lastError == EvaluationError(reason: .malformed, offset: value + 1))
    var lenient = try SpanConditionSet(["attributes[\"key\"] == nil"], errorMode: .ignore)
    #expect(try lenient.outcomes(of: record) == [.doesNotMatch])
    // No condition reads the attribute: no error.
    var other = try SpanConditionSet(["attributes[\"kez\"] == nil"])
    #expect(try other.outcomes(of: record) == [.matches])
  }

  /// Text of a span is scanned once, however many events need it, and text of a resource once for all spans.
  @Test func answersLastAsLongAsWhatTheyAreMadeOf() throws {
    var span = ModelSpan()
    span.name = String(repeating: "a", count: 20_000)
    span.traceState = "v=z"
    span.resource = [ModelAttribute("r", .string(String(repeating: "b", count: 20_000)))]
    span.events = (0..<500).map { ModelEvent(name: "e\($0)") }
    let condition =
      #"IsMatch(span.name, "^(a|b)+c$") or IsMatch(resource.attributes["r"], "^(a|b)+c$") "#
      + #"or (name == "e499" and span.trace_state["v"] == "z")"#
    var set = SpanConditionSet(
      spans: [], events: [try OTTLCondition(condition, context: .spanEvent)], errorMode: .ignore)
    #expect(try set.outcomes(of: span.encoded) == [.matches])
    #expect(set.patternSteps < 50_000)
    // For the next span only its own text is scanned; in a new record the resource's, too.
    span.name = "x"
    span.events.removeLast()
    #expect(try set.outcomes(of: span.encoded) == [.doesNotMatch])
    #expect(set.patternSteps < 75_000)
    span.traceState = ""
    span.events = [ModelEvent(name: "e499")]
    #expect(try set.outcomes(of: span.encoded) == [.doesNotMatch])
    span.traceState = "v=z"
    #expect(try set.outcomes(of: span.encoded) == [.matches])
  }

  /// Conditions on the resource are evaluated once for all its spans.
  @Test func aResourceIsLookedAtOnce() throws {
    var record = WireWriter()
    record.message(1) { resourceSpans in
      resourceSpans.message(1) {
        ModelAttribute("r", .string(String(repeating: "b", count: 20_000))).write(
          1, to: &$0, isDescending: false)
      }
      resourceSpans.message(2) { scope in
        for id in 1...300 as ClosedRange<UInt64> {
          scope.message(2) { span in
            span.bytesField(1, (0..<16).map { UInt8($0) })
            span.bytesField(2, (0..<8).map { UInt8(truncatingIfNeeded: id >> (56 - 8 * $0)) })
          }
        }
      }
    }
    var set = try SpanConditionSet([#"IsMatch(resource.attributes["r"], "^(a|b)+c$")"#])
    #expect(try set.outcomes(of: record.bytes) == Array(repeating: .doesNotMatch, count: 300))
    #expect(set.patternSteps < 25_000)
  }

  /// Records with randomly changed bytes: conditions may hold, fail or not hold, and nothing else happens.
  @Test func hostileBytes() throws {
    var span = ConditionPathTests.span
    span.events.append(ModelEvent(name: "x", attributes: span.attributes))
    var set = SpanConditionSet(
      spans: try [
        "IsMatch(attributes[\"http.route\"], \"zzz\") or attributes[\"tags\"] == attributes[\"tags\"]",
        "Len(attributes[\"map\"]) == 77", "resource.attributes[\"service.name\"] == nil",
        "scope.name == scope.version or scope.attributes[\"count\"] == \"a\"",
        "trace_state[\"none\"] == status.message",
        "IsMatch(attributes[\"ratio\"], \"9\") and IsMatch(attributes[\"blob\"], \"9\")",
        "attributes[\"map\"][\"a\"] == 77 or attributes[\"tags\"][1] == 77",
        "String(attributes[\"map\"]) == \"a\" or String(attributes[\"tags\"]) == \"a\"",
        "ToLowerCase(name) == ToUpperCase(status.message)",
        "HasSuffix(attributes[\"http.route\"], scope.name)",
        "Int(attributes[\"http.route\"]) == 5",
        "Double(attributes[\"count\"]) * 2 / attributes[\"ratio\"] == 5",
        "end_time - start_time > Duration(\"1000h\") and status.code * kind == 1000",
      ].map { text in try OTTLCondition(text, context: .span) },
      events: try [
        "attributes[\"exception.type\"] == name", "time_unix_nano == 1", "Len(attributes[\"tags\"]) == 9",
        "ContainsValue(span.attributes[\"tags\"], name) or ContainsValue(attributes[\"tags\"], \"zz\")",
        "time - span.start_time == Duration(\"7ns\") or ToLowerCase(span.name) == attributes[\"map\"][\"a\"]",
      ]
      .map { text in try OTTLCondition(text, context: .spanEvent) },
      errorMode: .silent)
    var random = RandomSource(seed: 21)
    var outcomes = (asked: 0, malformed: 0)
    for round in 0..<10_000 {
      span.isDescending = round % 2 == 0
      var record = span.encoded
      for _ in 0..<1 + random.number(in: 0...2) {
        record[random.number(in: 0...record.count - 1)] = UInt8(truncatingIfNeeded: random.next())
      }
      if random.chance(0.125) { record.removeLast(random.number(in: 0...record.count - 1)) }
      let errorsBefore = set.errorCount
      guard (try? set.outcomes(of: record)) != nil else { continue }
      outcomes.asked += 1
      if set.errorCount > errorsBefore, set.lastError?.reason == .malformed { outcomes.malformed += 1 }
    }
    #expect(outcomes.asked > 1000 && outcomes.malformed > 50)
  }
}
