// What is a condition and what is not, and how its parts bind.

import Simulation
import Testing

@testable import Expressions

@Suite struct OTTLGrammarTests {
  /// Only constants, so that the outcome depends only on the grammar.
  @Test(arguments: [
    ("true", true), ("false", false), ("not false", true), ("not true", false),
    ("true and false", false), ("false or true", true),
    ("true or true and false", true), ("(true or true) and false", false),
    ("false and false or true", true), ("false and (false or true)", false),
    ("not false and false", false), ("not (false and false)", true),
    ("not true or true", true), ("not (true or true)", false),
    ("not (not true)", true), ("((((true))))", true),
    ("not 1 == 2", true), ("not 1 == 1 or true", true), ("1 == 1 and not 2 == 1", true),
    ("1 + 2 * 3 == 7", true), ("(1 + 2) * 3 == 9", true), ("2 * 3 + 1 == 7", true), ("7 - 2 - 1 == 4", true),
    ("8 / 2 / 2 == 2", true), ("2 -1 == 1", true), ("2-1 == 1", true), ("-(1 + 2) == -3", true),
    ("+(1) == 1", true), ("1 - -1 == 2", true), ("2 * -3 == -6", true), ("-2 * 3 == -6", true),
    ("(((1))) == 1", true), ("(1) == (1)", true), ("(1) + (2) == (3)", true),
    ("(1 == 1) and (2) == 2", true), ("((1) == 1 and (1 + 1) == 2)", true), ("not (1) == 2", true),
    ("not (1 + 1 == 2)", false), ("(IsString(\"a\")) == true", true), ("(IsString(\"a\"))", true),
    ("(IsString(1) or IsInt(1)) and IsInt((1 + 1))", true), ("Len(String(10 + 5)) == 2", true),
    ("7 / 2 == 3", true), ("-7 / 2 == -3", true), ("7 / 2.0 == 3.5", true), ("7.0 / 2 == 3.5", true),
    ("1.5 + 1 == 2.5", true), ("1 - 1.5 == -0.5", true), ("2 * 1.5 == 3.0", true),
    ("9223372036854775807 + 1 == -9223372036854775808", true),
    ("-9223372036854775807 - 2 == 9223372036854775807", true),
    ("4611686018427387904 * 4 == 0", true), ("-9223372036854775808 / -1 == -9223372036854775808", true),
    ("-(-9223372036854775808) == -9223372036854775808", true),
    ("Duration(\"1s\") + Duration(\"500ms\") == Duration(\"1.5s\")", true),
    ("Duration(\"1s\") - Duration(\"2s\") == Duration(\"-1s\")", true),
    ("true == true", true), ("true == false", false), ("false < true", true),
    ("IsString(\"a\") == true", true), ("IsString(1) == false", true),
    ("Len(\"héé\") == 5", true), ("Len(\"a\") < Len(\"bc\")", true),
    (" \t\r\n true\nand\nfalse ", false), ("true and(true)", true), ("not(false)", true),
  ])
  func bindsAsOTTLDoes(condition: String, expected: Bool) throws {
    #expect(try ModelSpan().holds(condition) == expected, "\(condition)")
  }

  @Test(arguments: [
    ("1 == 1", true), ("-1 < +1", true), ("-9223372036854775808 < 9223372036854775807", true),
    (".5 == 0.5", true), ("1. == 1", true), ("0x6162 != \"ab\"", true), ("0xAb == 0xaB", true),
    ("0x61 < 0x6100", true), ("-.5 == -0.50", true), ("1.5e3 == 1500", true), ("1.5E-1 == 0.15", true),
    ("9007199254740993 == 9007199254740992.0", true), ("9007199254740993 == 9007199254740992", false),
    (#""\x41\101A\U00000041" == "AAAA""#, true), (#""\a\b\f\n\r\t\v\\\"" != "\\""#, true),
    (#""é" == "\xc3\xa9""#, true), (#""a" < "b""#, true), (#""a" < "aa""#, true), (#""Z" < "a""#, true),
    (#""\xff" > "z""#, true), (#""" == """#, true), ("nil == nil", true), ("nil < nil", false),
    ("SPAN_KIND_UNSPECIFIED == 0", true), ("SPAN_KIND_INTERNAL == 1", true), ("SPAN_KIND_SERVER == 2", true),
    ("SPAN_KIND_CLIENT == 3", true), ("SPAN_KIND_PRODUCER == 4", true), ("SPAN_KIND_CONSUMER == 5", true),
    ("STATUS_CODE_UNSET == 0", true), ("STATUS_CODE_OK == 1", true), ("STATUS_CODE_ERROR == 2", true),
  ])
  func literals(condition: String, expected: Bool) throws {
    #expect(try ModelSpan().holds(condition) == expected, "\(condition)")
  }

  @Test(arguments: [
    ("1s", 1_000_000_000), ("1.5s", 1_500_000_000), ("1h30m", 5_400_000_000_000), ("250ms", 250_000_000),
    ("-2us", -2000), ("3µs", 3000), ("3μs", 3000), ("7ns", 7), ("0", 0), ("+1m", 60_000_000_000),
    (".5ms", 500_000),
    ("1.ms", 1_000_000), ("0.0000000019s", 1), ("9223372036854775807ns", Int64.max),
    ("0.99999999999999999999h", 3_599_999_999_999),
  ])
  func durations(text: String, nanoseconds: Int64) {
    #expect(OTTLLiteral.nanoseconds(Array(text.utf8)) == nanoseconds)
  }

  @Test(arguments: [
    "", "-", "1", "s", ".s", "1.5", "1d", "1s ", " 1s", "1 s", "1e3s", "9223372036854775808ns", "3000000h",
    "1s-1s",
  ])
  func noDurations(text: String) {
    #expect(OTTLLiteral.nanoseconds(Array(text.utf8)) == nil)
  }

  /// The deepest and longest conditions allowed, and a long chain, which must not recurse over its parts.
  @Test func limits() throws {
    let parentheses = { (depth: Int) in
      String(repeating: "(", count: depth) + "true" + String(repeating: ")", count: depth)
    }
    #expect(try ModelSpan().holds(parentheses(64)))
    #expect(
      throws: OTTLError(
        64..<65, of: Array(parentheses(65).utf8), expected: "at most 64 nested parentheses")
    ) {
      try OTTLCondition(parentheses(65), context: .span)
    }
    // The same for operators and functions in one value.
    for (count, isFine) in [(63, true), (64, true), (65, false)] {
      let sum = Array(repeating: "1", count: count + 1).joined(separator: "+") + " == \(count + 1)"
      let nested =
        String(repeating: "String(", count: count) + "1" + String(repeating: ")", count: count) + " == \"1\""
      for text in [sum, nested] {
        if isFine {
          #expect(try ModelSpan().holds(text))
        } else {
          #expect(throws: OTTLError.self) { try OTTLCondition(text, context: .span) }
        }
      }
    }
    let chain = Array(repeating: "not kind == 1", count: 800).joined(separator: " and ")
    #expect(try ModelSpan().holds(chain))
    let padded = chain + String(repeating: " ", count: OTTLCondition.textBytesMax - chain.utf8.count)
    #expect(try ModelSpan().holds(padded))
    let error = try #require(throws: OTTLError.self) { try OTTLCondition(padded + " ", context: .span) }
    #expect(error.expected == "at most 16384 bytes of text")
  }

  /// Random conditions of constants and comparisons against the simplest evaluator.
  @Test func randomConditions() throws {
    var random = RandomSource(seed: 11)
    for _ in 0..<2000 {
      let condition = random.condition(depth: 5)
      #expect(try ModelSpan().holds(condition.text) == condition.value, "\(condition.text)")
    }
  }

  /// No text crashes the parser: pieces of conditions, cut and joined at random.
  @Test func randomTexts() {
    let pieces = [
      "attributes", "[", "]", "\"", "\"k\"", "\\", "(", ")", "not", "and", "or", "==", "=", "<=", "!", "1",
      ".5", "0x",
      "1e9", "nil", "true", "IsMatch(", "Duration(\"1s\")", "duration", ",", ".", "span", "kind", "é",
      "\u{0}", "\n", " ",
      "-", "STATUS_CODE_OK", "Len(", "name", "+", "*", "/", "start_time", "SpanID(", "0x0000000000000000",
      "ContainsValue(", "HasPrefix(", "Int(", "[0]", "[\"k\"]",
    ]
    var random = RandomSource(seed: 5)
    var refused = 0
    for _ in 0..<20_000 {
      let text = (0..<random.number(in: 0...11)).map { _ in pieces[random.number(in: 0...pieces.count - 1)] }
        .joined(
          separator: random.chance(0.5) ? " " : "")
      for context in [OTTLContext.span, .spanEvent] {
        do {
          _ = try OTTLCondition(text, context: context)
        } catch {
          refused += 1
          #expect(error.line >= 1 && error.column >= 1 && !error.expected.isEmpty)
        }
      }
    }
    #expect(refused > 20_000)
  }
}

extension RandomSource {
  /// A condition and its value. It has parentheses only where precedence requires them.
  fileprivate mutating func condition(depth: Int) -> (text: String, value: Bool) {
    let terms = (0..<1 + number(in: 0...2)).map { _ in
      let factors = (0..<1 + number(in: 0...2)).map { _ in factor(depth: depth) }
      return (
        text: factors.map(\.text).joined(separator: " and "), value: factors.allSatisfy { $0.value }
      )
    }
    return (terms.map(\.text).joined(separator: " or "), terms.contains { $0.value })
  }

  private mutating func factor(depth: Int) -> (text: String, value: Bool) {
    var result: (text: String, value: Bool)
    switch number(in: 0...(depth > 0 ? 3 : 2)) {
    case 0: result = chance(0.5) ? ("true", true) : ("false", false)
    case 1:
      let (left, right) = (number(in: 0...2), number(in: 0...2))
      result = ("\(left) <= \(right)", left <= right)
    case 2: result = ("IsRootSpan()", true)
    default:
      let inner = condition(depth: depth - 1)
      result = ("(\(inner.text))", inner.value)
    }
    return number(in: 0...2) == 0 ? ("not " + result.text, !result.value) : result
  }
}
