// Reads, for conditions, what the scanner has stepped over: attributes, a status message, events.

import OTLP

/// Why a condition could not be evaluated. A trivial value: throwing it costs no allocation.
struct EvaluationError: Error, Equatable, Sendable {
  enum Reason: String, Sendable {
    /// Bytes that the scanner steps over are no protobuf.
    case malformed
    /// `IsMatch` or `String` on what has no text here: a time, an id, a float that is no number, alone or in
    /// an array or a map.
    case noText = "no_text"
    /// A function of text on another value.
    case noString = "no_string"
    /// Arithmetic, `Int` or `Double` on what is no number.
    case noNumber = "no_number"
    /// A function of durations on another value.
    case noDuration = "no_duration"
    /// A function of times on another value.
    case noTime = "no_time"
    /// `Len` of a value that has no length.
    case noLength = "no_length"
    /// `ContainsValue` on what is no array.
    case noList = "no_list"
    /// A key behind a value that has no such place.
    case noElement = "no_element"
    /// Two arrays or two maps compared with each other.
    case notComparable = "not_comparable"
    case divisionByZero = "division_by_zero"
    /// More is asked of a list, or of the text that is made for a span, than there is a limit for.
    case tooLong = "too_long"
  }

  var reason: Reason
  /// The offset of the bytes that it is about, from the start of the record; 0 where it is about none.
  var offset = 0
}

/// One field as it stands in a message.
struct ConditionField {
  var number: UInt32
  var type: WireType
  /// A varint's or a fixed field's value.
  var value: UInt64 = 0
  /// A length-delimited field's content.
  var content = ByteRange(offset: 0, count: 0)
  /// Where its tag begins.
  var offset: Int

  /// The content of a field that has to be length-delimited.
  func message() throws(EvaluationError) -> ByteRange {
    guard type == .lengthDelimited else { throw EvaluationError(reason: .malformed, offset: offset) }
    return content
  }

  /// The value of a field that has to be of `type`.
  func number(_ type: WireType) throws(EvaluationError) -> UInt64 {
    guard self.type == type else { throw EvaluationError(reason: .malformed, offset: offset) }
    return value
  }
}

/// The fields of a message, one after the other.
///
/// Invariant: `offset <= end <= bytes.byteCount`, as the range that it is made of lies in the record.
struct ConditionFields {
  private var offset: Int
  private let end: Int

  init(_ range: ByteRange) {
    offset = range.indices.lowerBound
    end = range.indices.upperBound
  }

  /// The next field; nil at the end.
  @inline(__always)
  mutating func next(in bytes: RawSpan) throws(EvaluationError) -> ConditionField? {
    guard offset < end else { return nil }
    let start = offset
    let tag = try varint(in: bytes)
    guard tag >> 3 != 0, tag <= UInt64(UInt32.max), let type = WireType(rawValue: UInt8(tag & 7)) else {
      throw EvaluationError(reason: .malformed, offset: start)
    }
    var field = ConditionField(number: UInt32(tag >> 3), type: type, offset: start)
    switch type {
    case .varint: field.value = try varint(in: bytes)
    case .fixed64: field.value = try fixed(8, in: bytes)
    case .fixed32: field.value = try fixed(4, in: bytes)
    case .lengthDelimited:
      let length = try varint(in: bytes)
      guard length <= UInt64(end - offset) else { throw EvaluationError(reason: .malformed, offset: start) }
      // Fits: a record has at most `Int32.max` bytes.
      field.content = ByteRange(
        offset: UInt32(truncatingIfNeeded: offset), count: UInt32(truncatingIfNeeded: length))
      offset += Int(length)
    case .groupStart, .groupEnd: throw EvaluationError(reason: .malformed, offset: start)
    }
    return field
  }

  @inline(__always)
  private mutating func varint(in bytes: RawSpan) throws(EvaluationError) -> UInt64 {
    // One byte holds nearly every tag and length.
    if offset < end {
      let first = bytes.octet(at: offset)
      if first < 0x80 {
        offset += 1
        return UInt64(first)
      }
    }
    return try longVarint(in: bytes)
  }

  @inline(never)
  private mutating func longVarint(in bytes: RawSpan) throws(EvaluationError) -> UInt64 {
    let start = offset
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while offset < end {
      let byte = bytes.octet(at: offset)
      offset += 1
      // The tenth byte holds bit 63 alone.
      if shift == 63, byte > 1 { break }
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    throw EvaluationError(reason: .malformed, offset: start)
  }

  private mutating func fixed(_ count: Int, in bytes: RawSpan) throws(EvaluationError) -> UInt64 {
    guard end - offset >= count else { throw EvaluationError(reason: .malformed, offset: offset) }
    var value: UInt64 = 0
    for index in 0..<count { value |= UInt64(bytes.octet(at: offset + index)) << UInt64(8 * index) }
    offset += count
    return value
  }
}

extension RawSpan {
  /// The byte at `offset`, bounds-checked.
  @inline(__always)
  func octet(at offset: Int) -> UInt8 {
    // Sound: the load checks its bounds, and every bit pattern is a UInt8.
    unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
  }

  /// Whether these bytes come before `other`'s, compared as unsigned numbers: Go's order of strings.
  func precedes(_ other: RawSpan) -> Bool {
    for offset in 0..<min(byteCount, other.byteCount) {
      let (left, right) = (octet(at: offset), other.octet(at: offset))
      if left != right { return left < right }
    }
    return byteCount < other.byteCount
  }
}
