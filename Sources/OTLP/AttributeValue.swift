// The reader of attributes: `KeyValue` and `AnyValue` messages.

/// A `KeyValue` message: an attribute, or an entry of a map. As in protobuf, the last of several keys counts,
/// and a missing one is empty.
public struct KeyValueView: Sendable {
  /// The key.
  public let key: ByteRange
  /// The `AnyValue`, empty if there is none; the whole message if it has several.
  private let source: ByteRange
  private let hasSeveralValues: Bool

  init(key: ByteRange, value: ByteRange) {
    self.key = key
    source = value
    hasSeveralValues = false
  }

  /// Reads a `KeyValue`. Only the length of its value is checked.
  @inline(__always)
  public init(_ message: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    if let usual = KeyValueView(usual: message, in: bytes) {
      self = usual
    } else {
      self = try KeyValueView(ofAnyForm: message, in: bytes)
    }
  }

  @inline(never)
  init(ofAnyForm message: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    var key = ByteRange(offset: 0, count: 0)
    var value: ByteRange?
    var hasSeveralValues = false
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case KeyValueField.key: key = try cursor.content(of: tag, in: bytes)
      case KeyValueField.value:
        hasSeveralValues = value != nil
        value = try cursor.content(of: tag, in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
    self.key = key
    self.hasSeveralValues = hasSeveralValues
    source = hasSeveralValues ? message : value ?? ByteRange(offset: message.offset, count: 0)
  }

  /// Reads the value.
  @inline(__always)
  public func value(in bytes: RawSpan) throws(MalformedInput) -> AttributeValue {
    hasSeveralValues ? try mergedValue(in: bytes) : try AttributeValue(source, in: bytes)
  }

  /// Reads all values as one message, as protobuf does.
  @inline(never)
  private func mergedValue(in bytes: RawSpan) throws(MalformedInput) -> AttributeValue {
    var value = AttributeValue.missing
    var cursor = WireCursor(source)
    while let part = try cursor.next(KeyValueField.value, in: bytes) { try value.read(part, in: bytes) }
    return value
  }
}

/// The value of an attribute, or of an element of an array or a map. Text, bytes, arrays and maps are ranges
/// of the record.
public enum AttributeValue: Equatable, Sendable {
  /// No value, or one of an unknown type.
  case missing
  /// Text.
  case string(ByteRange)
  /// A truth value.
  case boolean(Bool)
  /// A whole number.
  case integer(Int64)
  /// A number.
  case double(Double)
  /// The content of an `ArrayValue`.
  case array(ByteRange)
  /// The content of a `KeyValueList`.
  case map(ByteRange)
  /// A byte string.
  case bytes(ByteRange)

  /// Reads an `AnyValue`. Of several values the last one counts, as in protobuf; unknown fields are ignored.
  @inline(__always)
  public init(_ message: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    if let usual = AttributeValue(usual: message, in: bytes) {
      self = usual
    } else {
      self = try AttributeValue(ofAnyForm: message, in: bytes)
    }
  }

  init(ofAnyForm message: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    self = .missing
    try read(message, in: bytes)
  }

  fileprivate mutating func read(_ message: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case AnyValueField.string: self = .string(try cursor.content(of: tag, in: bytes))
      case AnyValueField.boolean: self = .boolean(try cursor.varint(of: tag, in: bytes) != 0)
      case AnyValueField.integer: self = .integer(Int64(bitPattern: try cursor.varint(of: tag, in: bytes)))
      case AnyValueField.double: self = .double(Double(bitPattern: try cursor.fixed64(of: tag, in: bytes)))
      case AnyValueField.array: self = .array(try cursor.content(of: tag, in: bytes))
      case AnyValueField.map: self = .map(try cursor.content(of: tag, in: bytes))
      case AnyValueField.bytes: self = .bytes(try cursor.content(of: tag, in: bytes))
      default: try cursor.skip(tag, in: bytes)
      }
    }
  }
}
