// The one error of this module: bytes that are not what they claim to be.

/// Why and where a record could not be read.
///
/// A trivial value, so that throwing it from the scanner costs no allocation. Bad input is expected: it is
/// counted and dead-lettered with this reason, and it never reaches an assertion.
public struct MalformedInput: Error, Equatable, Hashable, Sendable {
  /// What is wrong with the bytes.
  public let reason: Reason
  /// The offset of the first byte that can't be accepted, from the start of the record.
  public let offset: Int

  /// Makes an error for the byte at `offset`.
  public init(_ reason: Reason, at offset: Int) {
    self.reason = reason
    self.offset = offset
  }

  /// The kinds of malformed input. The raw values appear in dead-letter headers and metrics.
  public enum Reason: String, Sendable, CaseIterable {
    /// The record has no value at all: a tombstone.
    case tombstone
    /// The record has no bytes.
    case empty
    /// The record is readable but holds no spans.
    case noSpans = "no_spans"
    /// The bytes end inside a field.
    case truncated
    /// A varint longer than ten bytes, or wider than 64 bits.
    case varintTooLong = "varint_too_long"
    /// A tag names field number 0, or one above 2^29 - 1, or a wire type that does not exist.
    case invalidTag = "invalid_tag"
    /// A known field with the wrong wire type.
    case wrongWireType = "wrong_wire_type"
    /// A length claims more bytes than its message holds.
    case lengthPastEnd = "length_past_end"
    /// A protobuf group, which OTLP never uses.
    case group
    /// A trace id that is not 16 bytes, or a span id that is not 8.
    case identifierLength = "identifier_length"
    /// A trace id or span id that is all zeros or missing.
    case identifierMissing = "identifier_missing"
    /// Messages, arrays or objects nested deeper than the reader follows.
    case nestingTooDeep = "nesting_too_deep"
    /// The bytes are not a JSON document.
    case invalidJSON = "invalid_json"
    /// A JSON value whose type is not the field's.
    case wrongType = "wrong_type"
    /// A number that its field can't hold.
    case numberOutOfRange = "number_out_of_range"
    /// A hexadecimal or base64 string with invalid characters.
    case invalidText = "invalid_text"
    /// Text that is not UTF-8.
    case invalidUTF8 = "invalid_utf8"
    /// Splitting the record by trace would multiply its bytes beyond the limit.
    case splitTooLarge = "split_too_large"
    /// A value that its producer compressed, and that can't be decompressed.
    case invalidCompression = "invalid_compression"
    /// The record, or what a compressed one holds, is larger than the configured limit.
    case recordTooLarge = "record_too_large"
    /// A request holds so many small log records that reading it would multiply its bytes.
    case tooManyRecords = "too_many_records"
  }
}

extension MalformedInput: CustomStringConvertible {
  /// Human-readable: "varint_too_long at byte 17".
  public var description: String { "\(reason.rawValue) at byte \(offset)" }
}
