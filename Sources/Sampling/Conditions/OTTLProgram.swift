// A condition in the form that is evaluated: tests that jump, and what they compare.
//
// `and`, `or` and `not` become jumps, so that evaluating is a loop over a few tests: no recursion, and what
// need not be looked at is not.

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

/// An attribute that a condition looks at.
struct OTTLAttribute: Hashable, Sendable {
  var owner: AttributeOwner
  var key: [UInt8]
}

/// What a path other than an attribute stands for.
enum OTTLField: Hashable, Sendable {
  case spanName, kind, kindText, kindSymbol, statusCode, statusMessage, start, end, duration, traceState
  case traceID, spanID, parentID
  case eventName, eventTime
  case scopeName, scopeVersion
}

/// What is compared, or given to a function. Numbers in it are indices into the program's tables.
enum OTTLOperand: Equatable, Sendable {
  case null
  /// A run of the program's texts.
  case text(ByteRange)
  case integer(Int64)
  case double(Double)
  case boolean(Bool)
  /// Nanoseconds.
  case duration(Int64)
  case field(OTTLField)
  case attribute(Int)
  /// The member of the tracestate whose key is a run of the program's texts.
  case traceStateMember(ByteRange)
  case call(Int)
}

/// A function and its arguments. As they are written they are no calls themselves.
enum OTTLCall: Equatable, Sendable {
  /// No function of the language: looking a member of the tracestate up takes a walk.
  case traceStateMember(ByteRange)
  case isMatch(OTTLOperand, pattern: Int)
  case isRootSpan
  case isOfType(OTTLOperand, OTTLType)
  case length(OTTLOperand)
}

/// The types that conditions can ask for.
enum OTTLType: Equatable, Sendable {
  case string, integer, double, boolean
}

enum OTTLTest: Equatable, Sendable {
  case compare(OTTLComparison, OTTLOperand, OTTLOperand)
  /// A function with a boolean result.
  case call(Int)
}

/// A test and where to go on: the index of another step, or an end.
struct OTTLStep: Equatable, Sendable {
  var test: OTTLTest
  var ifTrue: Int
  var ifFalse: Int

  /// Where a condition ends that holds.
  static let accept = -1
  /// Where a condition ends that does not.
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

  mutating func add(_ call: OTTLCall) -> OTTLOperand {
    calls.append(call)
    return .call(calls.count - 1)
  }

  /// Appends the steps of `expression`, the last ones first, and returns where it begins.
  ///
  /// Recursive, as deep as the parser has let parentheses go.
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

/// A condition as it is written.
indirect enum OTTLExpression {
  case constant(Bool)
  case test(OTTLTest)
  case not(OTTLExpression)
  case all([OTTLExpression])
  case any([OTTLExpression])
}
