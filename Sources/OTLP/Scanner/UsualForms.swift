// Fast paths for the forms that encoders usually give a span's fields and attributes.
//
// Each reads as much as has the form that it knows and leaves the rest, errors included, to the general
// reader. Without them the results would be the same, only slower.

/// Tags of one byte, and tags of one byte followed by a length of one byte.
private enum Usual {
  @inline(__always)
  static func tag(_ field: UInt32, _ type: WireType) -> UInt8 { WireTag.byte(field, type) }

  /// The tag of a length-delimited field and its length, as a little-endian integer.
  @inline(__always)
  static func head(_ field: UInt32, count: UInt8) -> UInt16 {
    UInt16(WireTag.byte(field, .lengthDelimited)) | UInt16(count) << 8
  }

  static var traceIDHead: UInt16 { head(SpanField.traceID, count: 16) }
  static var spanIDHead: UInt16 { head(SpanField.spanID, count: 8) }
  static var parentHead: UInt16 { head(SpanField.parentSpanID, count: 8) }
  static var nameTag: UInt8 { tag(SpanField.name, .lengthDelimited) }
  static var kindTag: UInt8 { tag(SpanField.kind, .varint) }
  static var startTag: UInt8 { tag(SpanField.start, .fixed64) }
  static var endTag: UInt8 { tag(SpanField.end, .fixed64) }
  static var statusCodeTag: UInt8 { tag(StatusField.code, .varint) }
  static var attributesTag: UInt8 { tag(SpanField.attributes, .lengthDelimited) }
  /// The two bytes of the flags' tag: of these fields, the only one whose number takes a second byte.
  static var flagsTag: UInt16 {
    UInt16(SpanField.flags << 3 & 0x7f | UInt32(WireType.fixed32.rawValue) | 0x80)
      | UInt16(SpanField.flags >> 4) << 8
  }
}

extension SpanView {
  /// Reads what encoders write first, as long as it comes in the order of field numbers: ids, parent, name,
  /// kind and times, with one check for each run of fixed length.
  @inline(__always)
  mutating func readUsualHead(_ cursor: inout WireCursor, _ bytes: RawSpan) {
    guard cursor.end <= bytes.byteCount, cursor.left >= 40 else { return }
    var start = cursor.offset
    // Sound, here and below: 40 bytes are left before the span's end, which lies in the record; two ids take
    // 28 of them, a parent ten and the name's tag and length two.
    let (traceTag, spanTag) = unsafe (bytes.uncheckedPair(at: start), bytes.uncheckedPair(at: start &+ 18))
    guard traceTag == Usual.traceIDHead, spanTag == Usual.spanIDHead else { return }
    traceID = unsafe bytes.uncheckedTraceID(at: start &+ 2)
    spanID = unsafe bytes.uncheckedSpanID(at: start &+ 20)
    start &+= 28
    if unsafe bytes.uncheckedPair(at: start) == Usual.parentHead {
      parentID = unsafe bytes.uncheckedSpanID(at: start &+ 2)
      start &+= 10
    }
    cursor.step(start &- cursor.offset)
    guard unsafe bytes.uncheckedByte(at: start) == Usual.nameTag else { return }
    let count = Int(unsafe bytes.uncheckedByte(at: start &+ 1))
    // Two bytes of the kind and nine of each time.
    guard count < 0x80, cursor.left >= count &+ 22 else { return }
    name = ByteRange(offset: UInt32(truncatingIfNeeded: start &+ 2), count: UInt32(truncatingIfNeeded: count))
    start &+= 2 &+ count
    cursor.step(2 &+ count)
    // Sound, here and below: 20 bytes are left.
    let kind = unsafe bytes.uncheckedByte(at: start &+ 1)
    guard unsafe bytes.uncheckedByte(at: start) == Usual.kindTag, kind < 0x80,
      unsafe bytes.uncheckedByte(at: start &+ 2) == Usual.startTag,
      unsafe bytes.uncheckedByte(at: start &+ 11) == Usual.endTag
    else { return }
    self.kind = kind
    self.start = unsafe bytes.uncheckedWord(at: start &+ 3)
    end = unsafe bytes.uncheckedWord(at: start &+ 12)
    cursor.step(20)
  }

  /// Reads the next field if it has the form that encoders give it: a tag of one byte, a length of one byte,
  /// ids of the right length. Everything else is left to the general reader, errors included.
  @inline(__always)
  mutating func readUsual(_ cursor: inout WireCursor, _ bytes: RawSpan) -> Bool {
    // The longest of the fixed-length forms below, so that one check serves them all.
    guard cursor.left >= 18, cursor.end <= bytes.byteCount else { return readUsualEnd(&cursor, bytes) }
    let start = cursor.offset
    // Sound, here and below: 18 bytes are left before the span's end, which lies in the record.
    let length = unsafe bytes.uncheckedByte(at: start &+ 1)
    switch unsafe bytes.uncheckedByte(at: start) {
    case Usual.attributesTag:
      // Most of a span's fields; they are not read here.
      while cursor.usualContent(of: Usual.attributesTag, in: bytes) != nil {}
      return cursor.offset != start
    case UInt8(truncatingIfNeeded: Usual.flagsTag):
      guard length == UInt8(truncatingIfNeeded: Usual.flagsTag >> 8) else { return false }
      flags = UInt32(truncatingIfNeeded: unsafe bytes.uncheckedWord(at: start &+ 2))
      cursor.step(6)
    case UInt8(truncatingIfNeeded: Usual.traceIDHead):
      guard length == 16 else { return false }
      traceID = unsafe bytes.uncheckedTraceID(at: start &+ 2)
      cursor.step(18)
    case UInt8(truncatingIfNeeded: Usual.spanIDHead):
      guard length == 8 else { return false }
      spanID = unsafe bytes.uncheckedSpanID(at: start &+ 2)
      cursor.step(10)
    case UInt8(truncatingIfNeeded: Usual.parentHead):
      guard length == 8 else { return false }
      parentID = unsafe bytes.uncheckedSpanID(at: start &+ 2)
      cursor.step(10)
    case Usual.nameTag:
      guard length < 0x80, cursor.left >= 2 &+ Int(length) else { return false }
      name = ByteRange(offset: UInt32(truncatingIfNeeded: start &+ 2), count: UInt32(length))
      cursor.step(2 &+ Int(length))
    case Usual.kindTag:
      guard length < 0x80 else { return false }
      kind = length
      cursor.step(2)
    case Usual.startTag:
      self.start = unsafe bytes.uncheckedWord(at: start &+ 1)
      cursor.step(9)
    case Usual.endTag:
      readUsualTail(&cursor, bytes)
    default:
      return false
    }
    return true
  }

  /// Reads the end time, and what follows it as long as field numbers descend: the other time, kind, name,
  /// parent and ids.
  ///
  /// - Parameter cursor: at the end time, which the caller has checked to be complete, tag included.
  @inline(__always)
  private mutating func readUsualTail(_ cursor: inout WireCursor, _ bytes: RawSpan) {
    var start = cursor.offset
    // Sound: the end time has nine bytes, which the caller has checked.
    end = unsafe bytes.uncheckedWord(at: start &+ 1)
    cursor.step(9)
    // The other time, the kind, tag and length of the name, and two ids after it.
    guard cursor.left >= 9 &+ 2 &+ 2 &+ 28 else { return }
    // Sound, here and below: that many bytes are left before the span's end, which lies in the record.
    let kind = unsafe bytes.uncheckedByte(at: start &+ 19)
    let count = Int(unsafe bytes.uncheckedByte(at: start &+ 21))
    guard unsafe bytes.uncheckedByte(at: start &+ 9) == Usual.startTag,
      unsafe bytes.uncheckedByte(at: start &+ 18) == Usual.kindTag, kind < 0x80,
      unsafe bytes.uncheckedByte(at: start &+ 20) == Usual.nameTag, count < 0x80,
      cursor.left >= 9 &+ 2 &+ 2 &+ count &+ 28
    else { return }
    self.start = unsafe bytes.uncheckedWord(at: start &+ 10)
    self.kind = kind
    name = ByteRange(
      offset: UInt32(truncatingIfNeeded: start &+ 22), count: UInt32(truncatingIfNeeded: count))
    cursor.step(13 &+ count)
    start = cursor.offset
    if unsafe bytes.uncheckedPair(at: start) == Usual.parentHead {
      parentID = unsafe bytes.uncheckedSpanID(at: start &+ 2)
      cursor.step(10)
      start &+= 10
      guard cursor.left >= 28 else { return }
    }
    let (spanTag, traceTag) = unsafe (bytes.uncheckedPair(at: start), bytes.uncheckedPair(at: start &+ 10))
    guard spanTag == Usual.spanIDHead,
      traceTag == Usual.traceIDHead
    else { return }
    spanID = unsafe bytes.uncheckedSpanID(at: start &+ 2)
    traceID = unsafe bytes.uncheckedTraceID(at: start &+ 12)
    cursor.step(28)
  }

  /// Reads what encoders write last, in fewer bytes than `readUsual` needs: a status that is empty or has
  /// only a code, and flags.
  @inline(__always)
  private mutating func readUsualEnd(_ cursor: inout WireCursor, _ bytes: RawSpan) -> Bool {
    guard cursor.left >= 2, cursor.end <= bytes.byteCount else { return false }
    let start = cursor.offset
    // Sound, here and below: that many bytes are left before the span's end, which lies in the record.
    switch unsafe bytes.uncheckedPair(at: start) {
    case Usual.head(SpanField.status, count: 0):
      status = .unset
      cursor.step(2)
    case Usual.head(SpanField.status, count: 2):
      guard cursor.left >= 4, unsafe bytes.uncheckedByte(at: start &+ 2) == Usual.statusCodeTag,
        let code = SpanStatus(rawValue: unsafe bytes.uncheckedByte(at: start &+ 3))
      else { return false }
      status = code
      cursor.step(4)
    case Usual.flagsTag:
      guard cursor.left >= 6 else { return false }
      flags = unsafe bytes.uncheckedHalf(at: start &+ 2)
      cursor.step(6)
    default:
      return false
    }
    return true
  }
}

extension KeyValueView {
  /// Reads a `KeyValue` that holds only a key and a value, in either order, with lengths of one byte.
  @inline(__always)
  init?(usual message: ByteRange, in bytes: RawSpan) {
    let (start, count) = (Int(message.offset), Int(message.count))
    guard count >= 4 else { return nil }
    let first = Int(bytes.byte(at: start + 1))
    guard first < 0x80, first <= count - 4 else { return nil }
    let second = start + 2 + first
    let other = Int(bytes.byte(at: second + 1))
    guard other < 0x80, 4 + first + other == count else { return nil }
    let former = ByteRange(from: start + 2, to: second)
    let latter = ByteRange(from: second + 2, to: start + count)
    let keyTag = Usual.tag(KeyValueField.key, .lengthDelimited)
    let valueTag = Usual.tag(KeyValueField.value, .lengthDelimited)
    switch (bytes.byte(at: start), bytes.byte(at: second)) {
    case (keyTag, valueTag): self.init(key: former, value: latter)
    case (valueTag, keyTag): self.init(key: latter, value: former)
    default: return nil
    }
  }
}

extension AttributeValue {
  /// Reads an `AnyValue` that holds only a text, with a length of one byte.
  @inline(__always)
  init?(usual message: ByteRange, in bytes: RawSpan) {
    let start = Int(message.offset)
    // In a value of less than 128 bytes the text is shorter still.
    guard message.count >= 2, message.count < 0x80,
      bytes.byte(at: start) == Usual.tag(AnyValueField.string, .lengthDelimited),
      UInt32(bytes.byte(at: start + 1)) == message.count - 2
    else { return nil }
    self = .string(ByteRange(offset: message.offset + 2, count: message.count - 2))
  }
}
