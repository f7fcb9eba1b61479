// The values that conditions compare, and OTTL's rules for comparing them.

import OTLP

/// A value of a span, or one derived from it.
enum ConditionValue: Equatable, Sendable {
  /// OTTL's nil: an attribute that is missing or has no value.
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
  /// A byte string. An empty one compares like nil, but has text and a length.
  case bytes(ByteRange)
  /// A byte string in the evaluation's own texts: a literal, never empty.
  case ownBytes(ByteRange)
  /// The content of an `ArrayValue`.
  case array(ByteRange)
  /// The content of a `KeyValueList`.
  case map(ByteRange)
}

extension ConditionValue {
  /// The value that an attribute or an element has.
  init(_ value: AttributeValue) {
    switch value {
    case .missing: self = .missing
    case .string(let range): self = .string(range)
    case .boolean(let boolean): self = .boolean(boolean)
    case .integer(let integer): self = .integer(integer)
    case .double(let double): self = .double(double)
    case .array(let content): self = .array(content)
    case .map(let content): self = .map(content)
    case .bytes(let range): self = .bytes(range)
    }
  }

  /// The element of an array at an index, or of a map under a key.
  ///
  /// A missing key of a map gives nil; a missing index of an array is an error, and so is a key of the wrong
  /// kind, or a key of a value that is neither.
  ///
  /// Source: `getIndexableValue` in pkg/ottl/contexts/internal/ctxutil/value.go.
  func element(_ key: OTTLKey, in bytes: RawSpan, own: RawSpan) throws(EvaluationError) -> ConditionValue {
    switch (self, key) {
    case (.array(let content), .index(let index)):
      var place: Int64 = 0
      var elements = ConditionElements(content)
      while let element = try elements.next(in: bytes) {
        if place == index { return try ConditionValue(element: element, in: bytes) }
        place += 1
      }
      throw EvaluationError(reason: .noElement, offset: Int(content.offset))
    case (.map(let content), .text(let key)):
      let key = own.extracting(key.indices)
      var entries = ConditionElements(content)
      while let entry = try entries.next(in: bytes) {
        let pair = try ConditionPair(entry, in: bytes)
        if bytes.extracting(pair.key.indices).isEqual(to: key) { return pair.value }
      }
      return .missing
    default: throw EvaluationError(reason: .noElement)
    }
  }

  /// Reads an `AnyValue`.
  init(element message: ByteRange, in bytes: RawSpan) throws(EvaluationError) {
    self = try EvaluationError.reading { () throws(MalformedInput) in
      ConditionValue(try AttributeValue(message, in: bytes))
    }
  }

  /// How many elements an array or a map has.
  static func count(_ content: ByteRange, in bytes: RawSpan) throws(EvaluationError) -> Int64 {
    var count: Int64 = 0
    var elements = ConditionElements(content)
    while try elements.next(in: bytes) != nil { count += 1 }
    return count
  }

  /// The value that OTTL compares: an empty byte string is a nil slice.
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
  /// Whether the comparison holds, by OTTL's rules: an integer and a float compare as 64-bit floats, nil
  /// equals nil, values of different types are unequal and have no order.
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

  /// For values that have no order.
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

extension RawSpan {
  /// Whether these bytes sort before `other`'s as unsigned numbers: Go's order of strings.
  func precedes(_ other: RawSpan) -> Bool {
    for offset in 0..<min(byteCount, other.byteCount) {
      let (left, right) = (byte(at: offset), other.byte(at: offset))
      if left != right { return left < right }
    }
    return byteCount < other.byteCount
  }
}

/// The messages in an array or a map, one after the other: each an `AnyValue` or a `KeyValue`.
struct ConditionElements {
  private var cursor: WireCursor

  init(_ content: ByteRange) {
    cursor = WireCursor(content)
  }

  /// The next message; nil at the end.
  mutating func next(in bytes: RawSpan) throws(EvaluationError) -> ByteRange? {
    // The same field number in both.
    try EvaluationError.reading { () throws(MalformedInput) in
      try cursor.next(ArrayValueField.values, in: bytes)
    }
  }
}

/// An entry of a map.
struct ConditionPair {
  let key: ByteRange
  let value: ConditionValue

  init(_ message: ByteRange, in bytes: RawSpan) throws(EvaluationError) {
    do throws(MalformedInput) {
      let pair = try KeyValueView(message, in: bytes)
      key = pair.key
      value = ConditionValue(try pair.value(in: bytes))
    } catch {
      throw EvaluationError(error)
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
  /// As `kind.string` spells them.
  static let texts = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"]
}
