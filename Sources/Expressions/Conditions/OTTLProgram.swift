// A condition in its evaluated form: tests that jump, and their operands.
//
// `and`, `or` and `not` become jumps, so evaluation is a loop over a few tests, without recursion, and skips
// tests that don't matter.

import OTLP

/// The six comparison operators.
enum OTTLComparison: Equatable, Sendable {
  case equal, notEqual, less, atMost, greater, atLeast

  @inline(__always)
  func holds<Value: Comparable>(_ left: Value, _ right: Value) -> Bool {
    switch self {
    case .equal: left == right
    case .notEqual: left != right
    case .less: left < right
    case .atMost: left <= right
    case .greater: left > right
    case .atLeast: left >= right
    }
  }
}

/// Whose attributes are meant.
enum AttributeOwner: Int, CaseIterable, Sendable {
  case span, event, resource, scope
}

/// An attribute that a condition reads.
struct OTTLAttribute: Hashable, Sendable {
  var owner: AttributeOwner
  var key: [UInt8]
}

/// The field of a path that is not an attribute.
enum OTTLField: Hashable, Sendable {
  case spanName, kind, kindText, kindSymbol, statusCode, statusMessage, traceState
  case duration
  /// Times, and the same as integers.
  case startTime, endTime, start, end
  /// Ids, and the same in hexadecimal digits.
  case traceID, spanID, parentID, traceIDText, spanIDText, parentIDText
  case eventName
  case eventTime, eventTimeInteger
  case scopeName, scopeVersion
}

/// An operand of a comparison or a function. Its numbers are indices into the program's tables.
enum OTTLOperand: Equatable, Sendable {
  case null
  /// A run of the program's texts.
  case text(ByteRange)
  /// Another such run, as a byte string.
  case byteString(ByteRange)
  case integer(Int64)
  case double(Double)
  case boolean(Bool)
  /// Nanoseconds.
  case duration(Int64)
  case traceID(TraceID)
  case spanID(UInt64)
  case field(OTTLField)
  case attribute(Int)
  /// The member of the tracestate whose key is a run of the program's texts.
  case traceStateMember(ByteRange)
  case call(Int)
}

/// A function or an operator, and its arguments. An argument may be another call, which precedes it in the
/// program's table.
enum OTTLCall: Equatable, Sendable {
  /// Not a function of the language: finding a member of the tracestate takes a scan.
  case traceStateMember(ByteRange)
  /// An element of an attribute: `attributes["a"]["b"][0]`.
  case element(OTTLOperand, [OTTLKey])
  case arithmetic(OTTLArithmetic, OTTLOperand, OTTLOperand)
  case negative(OTTLOperand)
  case isMatch(OTTLOperand, pattern: Int)
  case isRootSpan
  case isOfType(OTTLOperand, OTTLType)
  case length(OTTLOperand)
  case hasAffix(OTTLOperand, OTTLOperand, isSuffix: Bool)
  /// Whether a list has an item. If the list lasts longer than the item, it is scanned repeatedly and must be
  /// short.
  case containsValue(OTTLOperand, OTTLOperand, isRepeated: Bool)
  /// The same for a list in the condition's text.
  case isOneOf([OTTLOperand], OTTLOperand)
  case changeCase(OTTLOperand, isUpper: Bool)
  /// `Int`, `Double` or `String`.
  case convert(OTTLOperand, OTTLType)
  case durationAsNumber(OTTLOperand, OTTLTimeUnit)
  case timeAsInteger(OTTLOperand, OTTLTimeUnit)

  /// Its operands.
  var operands: [OTTLOperand] {
    switch self {
    case .traceStateMember, .isRootSpan: []
    case .element(let only, _), .negative(let only), .isMatch(let only, _), .isOfType(let only, _),
      .length(let only), .changeCase(let only, _), .convert(let only, _), .durationAsNumber(let only, _),
      .timeAsInteger(let only, _):
      [only]
    case .arithmetic(_, let first, let second), .hasAffix(let first, let second, _),
      .containsValue(let first, let second, _):
      [first, second]
    case .isOneOf(let elements, let item): elements + [item]
    }
  }

  /// Whether it returns a boolean, and so may be a condition.
  var isBoolean: Bool {
    switch self {
    case .isMatch, .isRootSpan, .isOfType, .hasAffix, .containsValue, .isOneOf: true
    case .traceStateMember, .element, .arithmetic, .negative, .length, .changeCase, .convert,
      .durationAsNumber, .timeAsInteger:
      false
    }
  }

  /// The same call with its operands, texts and patterns moved.
  func moved(
    _ operand: (OTTLOperand) -> OTTLOperand, text: (ByteRange) -> ByteRange, pattern base: Int
  ) -> OTTLCall {
    switch self {
    case .traceStateMember(let key): .traceStateMember(text(key))
    case .element(let map, let keys):
      .element(
        operand(map),
        keys.map { if case .text(let key) = $0 { .text(text(key)) } else { $0 } })
    case .arithmetic(let operation, let left, let right):
      .arithmetic(operation, operand(left), operand(right))
    case .negative(let number): .negative(operand(number))
    case .isMatch(let target, let pattern): .isMatch(operand(target), pattern: pattern + base)
    case .isRootSpan: .isRootSpan
    case .isOfType(let target, let type): .isOfType(operand(target), type)
    case .length(let target): .length(operand(target))
    case .hasAffix(let target, let affix, let isSuffix):
      .hasAffix(operand(target), operand(affix), isSuffix: isSuffix)
    case .containsValue(let list, let item, let isRepeated):
      .containsValue(operand(list), operand(item), isRepeated: isRepeated)
    case .isOneOf(let elements, let item): .isOneOf(elements.map(operand), operand(item))
    case .changeCase(let target, let isUpper): .changeCase(operand(target), isUpper: isUpper)
    case .convert(let target, let type): .convert(operand(target), type)
    case .durationAsNumber(let duration, let unit): .durationAsNumber(operand(duration), unit)
    case .timeAsInteger(let time, let unit): .timeAsInteger(operand(time), unit)
    }
  }
}

/// A key after an attribute.
enum OTTLKey: Equatable, Sendable {
  /// Of a map: a run of the program's texts.
  case text(ByteRange)
  /// Of an array.
  case index(Int64)
}

/// The types that conditions can test for, or convert values to.
enum OTTLType: Equatable, Sendable {
  case string, integer, double, boolean, list, map
}

/// The units of durations and times as numbers.
enum OTTLTimeUnit: Int64, Sendable {
  case nanosecond = 1
  case microsecond = 1000
  case millisecond = 1_000_000
  case second = 1_000_000_000
  case minute = 60_000_000_000
  case hour = 3_600_000_000_000
}

enum OTTLTest: Equatable, Sendable {
  case compare(OTTLComparison, OTTLOperand, OTTLOperand)
  /// A function with a boolean result.
  case call(Int)
}

/// A test and where to continue: the index of another step, or an end.
struct OTTLStep: Equatable, Sendable {
  var test: OTTLTest
  var ifTrue: Int
  var ifFalse: Int

  /// The end of a condition that holds.
  static let accept = -1
  /// The end of a condition that does not hold.
  static let reject = -2
}

/// One condition, compiled.
struct OTTLProgram: Sendable {
  var steps: [OTTLStep] = []
  /// The first step; an end for a condition that is constant.
  var entry = OTTLStep.accept
  var calls: [OTTLCall] = []
  var attributes: [OTTLAttribute] = []
  var fields: Set<OTTLField> = []
  var patterns: [RegularExpression] = []
  /// The bytes of all literals, one after the other.
  var texts: [UInt8] = []

  mutating func add(_ text: [UInt8]) -> ByteRange {
    // Fits: a condition's text has at most 16 KiB.
    let range = ByteRange(
      offset: UInt32(truncatingIfNeeded: texts.count), count: UInt32(truncatingIfNeeded: text.count))
    texts.append(contentsOf: text)
    return range
  }

  mutating func add(_ attribute: OTTLAttribute) -> OTTLOperand {
    if let known = attributes.firstIndex(of: attribute) { return .attribute(known) }
    attributes.append(attribute)
    return .attribute(attributes.count - 1)
  }

  /// Appends the steps of `expression`, last ones first, and returns its entry.
  ///
  /// Recursive, as deep as the parser's limit on parentheses.
  mutating func lower(_ expression: OTTLExpression, ifTrue: Int, ifFalse: Int) -> Int {
    switch expression {
    case .constant(let value):
      return value ? ifTrue : ifFalse
    case .test(let test):
      steps.append(OTTLStep(test: test, ifTrue: ifTrue, ifFalse: ifFalse))
      return steps.count - 1
    case .not(let inner):
      return lower(inner, ifTrue: ifFalse, ifFalse: ifTrue)
    case .all(let parts):
      return parts.reversed().reduce(ifTrue) { lower($1, ifTrue: $0, ifFalse: ifFalse) }
    case .any(let parts):
      return parts.reversed().reduce(ifFalse) { lower($1, ifTrue: ifTrue, ifFalse: $0) }
    }
  }
}

/// A condition as written.
indirect enum OTTLExpression {
  case constant(Bool)
  case test(OTTLTest)
  case not(OTTLExpression)
  case all([OTTLExpression])
  case any([OTTLExpression])
}
