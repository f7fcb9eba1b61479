// OTTL's comparison rules: every operator with every pair of types, from attributes and from literals.

import Testing

@testable import Expressions

@Suite struct ConditionComparisonTests {
  /// A value as a literal (nil if the subset has none for it) and as an attribute.
  struct Sample: Sendable, CustomTestStringConvertible {
    var type: String
    /// Its rank among the values of its type.
    var rank: Double
    var literal: String?
    var attribute: ModelValue?

    var testDescription: String { "\(type) \(rank)" }
  }

  static let samples = [
    Sample(type: "nil", rank: 0, literal: "nil", attribute: nil),
    Sample(type: "nil", rank: 0, literal: nil, attribute: .empty),
    Sample(type: "nil", rank: 0, literal: nil, attribute: .bytes([])),
    Sample(type: "boolean", rank: 0, literal: "false", attribute: .boolean(false)),
    Sample(type: "boolean", rank: 1, literal: "true", attribute: .boolean(true)),
    Sample(type: "number", rank: -3, literal: "-3", attribute: .integer(-3)),
    Sample(type: "number", rank: 2, literal: "2", attribute: .integer(2)),
    Sample(type: "number", rank: 2, literal: "2.0", attribute: .double(2)),
    Sample(type: "number", rank: 2.5, literal: "2.5", attribute: .double(2.5)),
    Sample(type: "number", rank: -.infinity, literal: nil, attribute: .double(-.infinity)),
    Sample(type: "string", rank: 0, literal: "\"\"", attribute: .string("")),
    Sample(type: "string", rank: 1, literal: "\"2\"", attribute: .string("2")),
    Sample(type: "string", rank: 2, literal: "\"a\"", attribute: .string("a")),
    Sample(type: "string", rank: 3, literal: "\"aa\"", attribute: .string("aa")),
    Sample(type: "string", rank: 4, literal: "\"é\"", attribute: .string("é")),
    Sample(type: "bytes", rank: 0, literal: "0x61", attribute: .bytes([0x61])),
    Sample(type: "bytes", rank: 1, literal: "0xFf", attribute: .bytes([0xff])),
    Sample(type: "array", rank: .nan, literal: nil, attribute: .array([.integer(1)])),
    Sample(type: "map", rank: .nan, literal: nil, attribute: .map([ModelAttribute("k", .integer(1))])),
  ]

  static let operators: [(String, @Sendable (Double, Double) -> Bool)] = [
    ("==", { $0 == $1 }), ("!=", { $0 != $1 }), ("<", { $0 < $1 }), ("<=", { $0 <= $1 }), (">", { $0 > $1 }),
    (">=", { $0 >= $1 }),
  ]

  @Test(arguments: samples)
  func everyPair(left: Sample) throws {
    for right in ConditionComparisonTests.samples {
      var span = ModelSpan()
      span.attributes = [ModelAttribute("l", left.attribute), ModelAttribute("r", right.attribute)]
      for (symbol, holds) in ConditionComparisonTests.operators {
        let isSame = left.type == right.type
        let texts = [left.literal, "attributes[\"l\"]"].compactMap { left in
          left.map { left in
            [right.literal, "attributes[\"r\"]"].compactMap { $0 }.map { "\(left) \(symbol) \($0)" }
          }
        }
        for text in texts.joined() {
          if isSame, left.rank.isNaN, symbol == "==" || symbol == "!=" {
            #expect(try span.error(text) == .notComparable, "\(text)")
          } else {
            let expected = isSame && !left.rank.isNaN ? holds(left.rank, right.rank) : symbol == "!="
            #expect(
              try span.holds(text) == (isSame && left.rank.isNaN ? false : expected),
              "\(left) \(symbol) \(right)")
          }
        }
      }
    }
  }

  @Test func notANumber() throws {
    var span = ModelSpan()
    span.attributes = [ModelAttribute("n", .double(.nan))]
    for symbol in ["==", "<", "<=", ">", ">="] {
      #expect(try !span.holds("attributes[\"n\"] \(symbol) attributes[\"n\"]"))
      #expect(try !span.holds("attributes[\"n\"] \(symbol) 1"))
    }
    #expect(try span.holds("attributes[\"n\"] != attributes[\"n\"]"))
    #expect(try span.holds("attributes[\"n\"] != 1"))
  }

  /// An integer and a float compare as 64-bit floats: beyond 2^53 neighbours are equal.
  @Test func integersMeetFloats() throws {
    var span = ModelSpan()
    span.attributes = [
      ModelAttribute("i", .integer(9_007_199_254_740_993)),
      ModelAttribute("d", .double(9_007_199_254_740_992)),
      ModelAttribute("most", .integer(.max)), ModelAttribute("least", .integer(.min)),
    ]
    #expect(try span.holds("attributes[\"i\"] == attributes[\"d\"]"))
    #expect(try span.holds("attributes[\"d\"] >= attributes[\"i\"]"))
    #expect(try span.holds("attributes[\"i\"] > 9007199254740992"))
    #expect(try span.holds("attributes[\"most\"] == 9223372036854775807"))
    #expect(try span.holds("attributes[\"least\"] < -9223372036854775807"))
  }

  @Test func durations() throws {
    let span = ModelSpan()
    #expect(try span.holds("duration == Duration(\"2.5s\")"))
    #expect(try span.holds("span.duration > Duration(\"2s\") and duration < Duration(\"1h\")"))
    #expect(try span.holds("Duration(\"1m\") >= Duration(\"60s\")"))
    #expect(try !span.holds("duration != Duration(\"2500ms\")"))
    #expect(
      try span.holds("duration != nil and nil != duration and not nil == duration and not duration > nil"))
    var odd = ModelSpan()
    odd.end = 0
    #expect(try odd.holds("duration == Duration(\"0\")"))
    odd.start = 0
    odd.end = .max
    #expect(try odd.holds("duration == Duration(\"9223372036854775807ns\")"))
  }
}
