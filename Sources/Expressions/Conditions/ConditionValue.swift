// The values that conditions compare, and OTTL's rules for comparing them.

import OTLP

/// A value of a span, or one made of it.
enum ConditionValue: Equatable, Sendable {
  /// OTTL's nil: an attribute that is not there or has no value.
  case missing
  /// A run of the record.
  case string(ByteRange)
  /// A run of the evaluation's own texts: a literal, or text made from something else.
  case ownText(ByteRange)
  case integer(Int64)
  case double(Double)
  case boolean(Bool)
  /// Nanoseconds.
  case duration(Int64)
  /// Nanoseconds since 1970.
  case time(Int64)
  case traceID(TraceID)
  case spanID(UInt64)
  /// A byte string. An empty one compares as nil does, but is text, and has a length.
  case bytes(ByteRange)
  /// A byte string in the evaluation's own texts: a literal, never empty.
  case ownBytes(ByteRange)
  /// The content of an `ArrayValue`.
  case array(ByteRange)
  /// The content of a `KeyValueList`.
  case map(ByteRange)
}

extension ConditionValue {
  /// Reads an `AnyValue`. Of a value that is given twice the last one counts, as in protobuf.
  ///
  /// Source: `common/v1/common.proto` of <https://github.com/open-telemetry/opentelemetry-proto>.
  mutating func read(_ message: ByteRange, in bytes: RawSpan) throws(EvaluationError) {
    var fields = ConditionFields(message)
    while let field = try fields.next(in: bytes) {
      switch field.number {
      case 1: self = .string(try field.message())
      case 2: self = .boolean(try field.number(.varint) != 0)
      case 3: self = .integer(Int64(bitPattern: try field.number(.varint)))
      case 4: self = .double(Double(bitPattern: try field.number(.fixed64)))
      case 5: self = .array(try field.message())
      case 6: self = .map(try field.message())
      case 7: self = .bytes(try field.message())
      default: break
      }
    }
  }

  /// What stands in an array at `index`, or in a map under `key`.
  ///
  /// A key that a map does not have leads to nil; a place that an array does not have is an error, and so is
  /// a key of the wrong kind, or one behind a value that holds no others.
  ///
  /// Source: `getIndexableValue` in pkg/ottl/contexts/internal/ctxutil/value.go.
  func element(_ key: OTTLKey, in bytes: RawSpan, own: RawSpan) throws(EvaluationError) -> ConditionValue {
    switch (self, key) {
    case (.array(let content), .index(let index)):
      var place: Int64 = 0
      var fields = ConditionFields(content)
      while let field = try fields.next(in: bytes) {
        guard field.number == 1 else { continue }
        if place == index { return try ConditionValue(field.message(), in: bytes) }
        place += 1
      }
      throw EvaluationError(reason: .noElement, offset: Int(content.offset))
    case (.map(let content), .text(let key)):
      let key = own.extracting(key.indices)
      var fields = ConditionFields(content)
      while let field = try fields.next(in: bytes) {
        guard field.number == 1 else { continue }
        let pair = try ConditionPair(field.message(), in: bytes)
        if bytes.extracting(pair.key.indices).isEqual(to: key) { return pair.value }
      }
      return .missing
    default: throw EvaluationError(reason: .noElement)
    }
  }

  /// Reads an `AnyValue`.
  init(_ message: ByteRange, in bytes: RawSpan) throws(EvaluationError) {
    self = .missing
    try read(message, in: bytes)
  }

  /// How many elements an array or a map has.
  static func count(_ message: ByteRange, in bytes: RawSpan) throws(EvaluationError) -> Int64 {
    var count: Int64 = 0
    var fields = ConditionFields(message)
    while let field = try fields.next(in: bytes) {
      if field.number == 1 { count += 1 }
    }
    return count
  }

  /// What OTTL compares: its empty byte string is a slice that is nil.
  fileprivate var compared: ConditionValue {
    if case .bytes(let range) = self, range.count == 0 { .missing } else { self }
  }

  func isOf(_ type: OTTLType) -> Bool {
    switch (self, type) {
    case (.string, .string), (.ownText, .string), (.integer, .integer), (.double, .double),
      (.boolean, .boolean), (.array, .list), (.map, .map):
      true
    default: false
    }
  }
}

extension OTTLComparison {
  /// Whether the comparison holds, by OTTL's rules: numbers of two kinds compare as 64-bit floats, nil equals
  /// nil, values of different types are unequal and in no order.
  ///
  /// - Parameter own: the evaluation's own texts.
  ///
  /// Source: LANGUAGE.md, "Comparison Rules", and `compare.go`.
  func holds(
    _ left: ConditionValue, _ right: ConditionValue, in bytes: RawSpan, own: RawSpan
  ) throws(EvaluationError) -> Bool {
    switch (left.compared, right.compared) {
    case (.missing, .missing): self == .equal || self == .atMost || self == .atLeast
    case (.string(let left), .string(let right)), (.bytes(let left), .bytes(let right)):
      holds(bytes.extracting(left.indices), bytes.extracting(right.indices))
    case (.string(let left), .ownText(let right)), (.bytes(let left), .ownBytes(let right)):
      holds(bytes.extracting(left.indices), own.extracting(right.indices))
    case (.ownText(let left), .string(let right)), (.ownBytes(let left), .bytes(let right)):
      holds(own.extracting(left.indices), bytes.extracting(right.indices))
    case (.ownText(let left), .ownText(let right)), (.ownBytes(let left), .ownBytes(let right)):
      holds(own.extracting(left.indices), own.extracting(right.indices))
    case (.integer(let left), .integer(let right)), (.duration(let left), .duration(let right)),
      (.time(let left), .time(let right)):
      holds(left, right)
    case (.double(let left), .double(let right)): holds(left, right)
    case (.integer(let left), .double(let right)): holds(Double(left), right)
    case (.double(let left), .integer(let right)): holds(left, Double(right))
    case (.boolean(let left), .boolean(let right)): holds(left ? 1 : 0, right ? 1 : 0)
    case (.traceID(let left), .traceID(let right)): holds(areSame: left == right)
    case (.spanID(let left), .spanID(let right)): holds(areSame: left == right)
    case (.array(let left), .array), (.map(let left), .map):
      switch self {
      case .equal, .notEqual: throw EvaluationError(reason: .notComparable, offset: Int(left.offset))
      default: false
      }
    default: self == .notEqual
    }
  }

  /// Of values that have no order.
  private func holds(areSame: Bool) -> Bool {
    switch self {
    case .equal: areSame
    case .notEqual: !areSame
    case .less, .atMost, .greater, .atLeast: false
    }
  }

  private func holds(_ left: RawSpan, _ right: RawSpan) -> Bool {
    switch self {
    case .equal: left.isEqual(to: right)
    case .notEqual: !left.isEqual(to: right)
    case .less: left.precedes(right)
    case .atMost: !right.precedes(left)
    case .greater: right.precedes(left)
    case .atLeast: !left.precedes(right)
    }
  }
}

/// A `KeyValue` of a map.
struct ConditionPair {
  var key = ByteRange(offset: 0, count: 0)
  var value = ConditionValue.missing

  init(_ message: ByteRange, in bytes: RawSpan) throws(EvaluationError) {
    var fields = ConditionFields(message)
    while let field = try fields.next(in: bytes) {
      switch field.number {
      case 1: key = try field.message()
      case 2: try value.read(field.message(), in: bytes)
      default: break
      }
    }
  }
}

/// The names of span kinds, in the order of their numbers.
enum SpanKindName {
  /// As the protocol spells them: `kind.deprecated_string`, and the symbols of the language.
  static let symbols = [
    "SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER",
  ]
  /// As `kind.string` has them.
  static let texts = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"]
}
