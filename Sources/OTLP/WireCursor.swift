// Reads the protobuf wire format from borrowed bytes, one field at a time, allocating nothing.
//
// The only reader: the scanner, the rewriting of kept spans and the conditions all use it. What other modules
// call is `@inlinable`, since it is called for each field.

/// A position in a record and the end of the message being read.
///
/// The bytes are not stored here but passed to each call, so that the cursor stays a plain pair of integers
/// that the optimiser keeps in registers. `RawSpan` bounds-checks every load; the checks before it turn bad
/// input into `MalformedInput` instead of a trap.
///
/// Invariant: `offset <= end <= bytes.byteCount` for the bytes that it was made for.
public struct WireCursor: Sendable {
  /// The offset of the next byte to read.
  @usableFromInline
  package var offset: Int
  /// The offset just past the message.
  @usableFromInline
  let end: Int

  /// A cursor over `range` of a record.
  @inlinable
  public init(_ range: ByteRange) {
    offset = Int(range.offset)
    end = Int(range.offset) + Int(range.count)
  }

  /// A cursor over a whole record.
  init(all bytes: RawSpan) {
    offset = 0
    end = bytes.byteCount
  }

  /// Whether the message has no more fields.
  @inlinable
  public var isAtEnd: Bool { offset == end }

  /// Reads the tag of the next field.
  @inlinable @inline(__always)
  public mutating func tag(in bytes: RawSpan) throws(MalformedInput) -> WireTag {
    let start = offset
    let raw = try varint(in: bytes)
    guard raw >> 3 != 0, raw <= UInt64(UInt32.max), let type = WireType(rawValue: UInt8(raw & 7)) else {
      throw MalformedInput(.invalidTag, at: start)
    }
    return WireTag(field: UInt32(raw >> 3), type: type, offset: start)
  }

  /// Reads a varint.
  @inlinable @inline(__always)
  package mutating func varint(in bytes: RawSpan) throws(MalformedInput) -> UInt64 {
    if offset < end {
      let first = bytes.byte(at: offset)
      if first < 0x80 {
        offset += 1
        return UInt64(first)
      }
      // Nearly every span or attribute length that does not fit one byte fits two.
      if offset + 1 < end {
        let second = bytes.byte(at: offset + 1)
        if second < 0x80 {
          offset += 2
          return UInt64(first & 0x7f) | UInt64(second) << 7
        }
      }
    }
    return try longVarint(in: bytes)
  }

  @inline(never) @usableFromInline
  mutating func longVarint(in bytes: RawSpan) throws(MalformedInput) -> UInt64 {
    let start = offset
    // The word may go past the message, but the varint must not.
    if bytes.byteCount - offset >= 8 {
      let word = bytes.word(at: offset)
      let ends = ~word & 0x8080_8080_8080_8080
      let size = ends.trailingZeroBitCount / 8 + 1
      if ends != 0, size <= end - offset {
        offset += size
        return WireCursor.sevens(of: word & (ends ^ (ends &- 1)))
      }
    }
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while offset < end {
      let byte = bytes.byte(at: offset)
      offset += 1
      // The tenth byte holds only bit 63: anything above 1 there, a further byte included, is past 64 bits.
      if shift == 63, byte > 1 { throw MalformedInput(.varintTooLong, at: start) }
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    throw MalformedInput(.truncated, at: start)
  }

  /// The low seven bits of each of the eight bytes, next to each other.
  @inline(__always)
  private static func sevens(of word: UInt64) -> UInt64 {
    var bits = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1
    bits = bits & 0x0000_3fff_0000_3fff | (bits & 0x3fff_0000_3fff_0000) >> 2
    return bits & 0x0000_0000_0fff_ffff | (bits & 0x0fff_ffff_0000_0000) >> 4
  }

  /// Reads the length of a length-delimited field and steps over its content.
  @inlinable @inline(__always)
  public mutating func content(of tag: WireTag, in bytes: RawSpan) throws(MalformedInput) -> ByteRange {
    guard tag.type == .lengthDelimited else { throw tag.misplaced }
    let lengthOffset = offset
    let length = try varint(in: bytes)
    guard length <= UInt64(end - offset) else { throw MalformedInput(.lengthPastEnd, at: lengthOffset) }
    // Fits: `scan` rejects records of more than `Int32.max` bytes.
    let range = ByteRange(
      offset: UInt32(truncatingIfNeeded: offset), count: UInt32(truncatingIfNeeded: length))
    offset += Int(length)
    return range
  }

  /// The content of the next field numbered `field`, which has to be length-delimited; nil if there are no
  /// more. Steps over the fields before it.
  @inlinable @inline(__always)
  public mutating func next(_ field: UInt32, in bytes: RawSpan) throws(MalformedInput) -> ByteRange? {
    while !isAtEnd {
      let tag = try tag(in: bytes)
      if tag.field == field { return try content(of: tag, in: bytes) }
      try skip(tag, in: bytes)
    }
    return nil
  }

  /// Steps over the next field if its tag is the byte `tag` and its length takes one or two bytes, and
  /// returns its content. Otherwise nil: the caller then reads the field, or rejects it.
  @inlinable @inline(__always)
  package mutating func usualContent(of tag: UInt8, in bytes: RawSpan) -> ByteRange? {
    // No sum here can wrap: offsets are below 2^31, and two-byte lengths below 2^14.
    guard end <= bytes.byteCount, end &- offset > 2 else { return nil }
    // Sound: three bytes are left before `end`, which lies in the record; `offset` is never negative.
    guard unsafe bytes.uncheckedByte(at: offset) == tag else { return nil }
    var count = Int(unsafe bytes.uncheckedByte(at: offset &+ 1))
    var start = offset &+ 2
    if count >= 0x80 {
      let second = Int(unsafe bytes.uncheckedByte(at: start))
      guard second < 0x80 else { return nil }
      count = count & 0x7f | second << 7
      start &+= 1
    }
    guard start &+ count <= end else { return nil }
    offset = start &+ count
    return ByteRange(offset: UInt32(truncatingIfNeeded: start), count: UInt32(truncatingIfNeeded: count))
  }

  /// Steps over `count` bytes, which the caller knows are left.
  @inline(__always)
  mutating func step(_ count: Int) {
    offset &+= count
  }

  /// Reads a fixed64 field's value.
  @inlinable @inline(__always)
  public mutating func fixed64(of tag: WireTag, in bytes: RawSpan) throws(MalformedInput) -> UInt64 {
    guard tag.type == .fixed64 else { throw tag.misplaced }
    guard end - offset >= 8 else { throw MalformedInput(.truncated, at: offset) }
    let value = bytes.littleEndian64(at: offset)
    offset += 8
    return value
  }

  /// Reads a fixed32 field's value.
  @inlinable @inline(__always)
  public mutating func fixed32(of tag: WireTag, in bytes: RawSpan) throws(MalformedInput) -> UInt32 {
    guard tag.type == .fixed32 else { throw tag.misplaced }
    guard end - offset >= 4 else { throw MalformedInput(.truncated, at: offset) }
    let value = bytes.littleEndian32(at: offset)
    offset += 4
    return value
  }

  /// Reads a varint field's value.
  @inlinable @inline(__always)
  public mutating func varint(of tag: WireTag, in bytes: RawSpan) throws(MalformedInput) -> UInt64 {
    guard tag.type == .varint else { throw tag.misplaced }
    return try varint(in: bytes)
  }

  /// Steps over the value of an unwanted field.
  @inlinable @inline(__always)
  public mutating func skip(_ tag: WireTag, in bytes: RawSpan) throws(MalformedInput) {
    switch tag.type {
    case .varint: _ = try varint(in: bytes)
    case .fixed64: _ = try fixed64(of: tag, in: bytes)
    case .fixed32: _ = try fixed32(of: tag, in: bytes)
    case .lengthDelimited: _ = try content(of: tag, in: bytes)
    case .groupStart, .groupEnd: throw tag.misplaced
    }
  }
}

/// The tag of one field and its position.
public struct WireTag: Sendable {
  /// The field's number.
  public let field: UInt32
  /// How its value is written.
  public let type: WireType
  /// Where the tag begins.
  public let offset: Int

  @inlinable
  init(field: UInt32, type: WireType, offset: Int) {
    self.field = field
    self.type = type
    self.offset = offset
  }

  /// The tag of a field whose number is below 16: one byte.
  @inline(__always)
  static func byte(_ field: UInt32, _ type: WireType) -> UInt8 {
    UInt8(truncatingIfNeeded: field << 3) | type.rawValue
  }

  /// The error for a field with a wire type other than the schema's.
  @usableFromInline
  var misplaced: MalformedInput {
    MalformedInput(type == .groupStart || type == .groupEnd ? .group : .wrongWireType, at: offset)
  }
}

/// A run of bytes inside one record, which is never longer than 2 GiB.
public struct ByteRange: Equatable, Sendable {
  /// Where the run begins, from the start of the record.
  public var offset: UInt32
  /// How many bytes it has.
  public var count: UInt32

  /// Makes a run of `count` bytes from `offset` on.
  @inlinable
  public init(offset: UInt32, count: UInt32) {
    self.offset = offset
    self.count = count
  }

  /// The run as indices into the record.
  public var indices: Range<Int> { Int(offset)..<Int(offset) + Int(count) }
}

extension ByteRange {
  /// The run from `start` up to, but not including, `end`.
  init(from start: Int, to end: Int) {
    self.init(offset: UInt32(truncatingIfNeeded: start), count: UInt32(truncatingIfNeeded: end - start))
  }
}

extension RawSpan {
  /// The byte at `offset`, bounds-checked.
  @inlinable @inline(__always)
  public func byte(at offset: Int) -> UInt8 {
    // Sound: the load checks its bounds, and every bit pattern is a UInt8.
    unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
  }

  /// The byte at `offset`, which the caller knows to lie in these bytes.
  @unsafe @inlinable @inline(__always)
  package func uncheckedByte(at offset: Int) -> UInt8 {
    // Sound: as the caller says, and every bit pattern is a UInt8.
    unsafe unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self)
  }

  /// Eight bytes from `offset` on as a little-endian integer; the caller knows them to lie in these bytes.
  @unsafe @inline(__always)
  func uncheckedWord(at offset: Int) -> UInt64 {
    // Sound: as the caller says; it needs no alignment, and every bit pattern is a UInt64.
    UInt64(littleEndian: unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self))
  }

  /// Four bytes from `offset` on as a little-endian integer; the caller knows them to lie in these bytes.
  @unsafe @inline(__always)
  func uncheckedHalf(at offset: Int) -> UInt32 {
    // Sound: as the caller says; it needs no alignment, and every bit pattern is a UInt32.
    UInt32(littleEndian: unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt32.self))
  }

  /// Eight bytes from `offset` on as a span id; the caller knows them to lie in these bytes.
  @unsafe @inline(__always)
  func uncheckedSpanID(at offset: Int) -> UInt64 {
    // Sound: as the caller says.
    unsafe uncheckedWord(at: offset).byteSwapped
  }

  /// 16 bytes from `offset` on as a trace id; the caller knows them to lie in these bytes.
  @unsafe @inline(__always)
  func uncheckedTraceID(at offset: Int) -> TraceID {
    // Sound: as the caller says.
    unsafe TraceID(high: uncheckedSpanID(at: offset), low: uncheckedSpanID(at: offset &+ 8))
  }

  /// Two bytes from `offset` on as a little-endian integer; the caller knows them to lie in these bytes.
  @unsafe @inline(__always)
  func uncheckedPair(at offset: Int) -> UInt16 {
    // Sound: as the caller says; it needs no alignment, and every bit pattern is a UInt16.
    UInt16(littleEndian: unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt16.self))
  }

  /// Eight bytes from `offset` on as a little-endian integer, bounds-checked.
  @inlinable @inline(__always)
  func littleEndian64(at offset: Int) -> UInt64 {
    // Sound: the load checks its bounds and needs no alignment, and every bit pattern is a UInt64.
    UInt64(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// Eight bytes from `offset` on as a big-endian integer, bounds-checked.
  @inlinable @inline(__always)
  package func bigEndian64(at offset: Int) -> UInt64 {
    // Sound: as `littleEndian64`.
    UInt64(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// Four bytes from `offset` on as a little-endian integer, bounds-checked.
  @inlinable @inline(__always)
  func littleEndian32(at offset: Int) -> UInt32 {
    // Sound: as `littleEndian64`.
    UInt32(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  /// Whether `range` of these bytes spells `text`.
  package func spells(_ text: StaticString, in range: ByteRange) -> Bool {
    let count = text.utf8CodeUnitCount
    guard Int(range.count) == count else { return false }
    // Sound: a static string has `utf8CodeUnitCount` bytes at `utf8Start` for the lifetime of the program.
    let wanted = unsafe UnsafeRawBufferPointer(start: text.utf8Start, count: count).bytes
    return extracting(range.indices).isEqual(to: wanted)
  }
}
