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
  static var traceStateTag: UInt8 { tag(SpanField.traceState, .lengthDelimited) }
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
  /// Reads fields from `offset` as long as they have the form and the order that encoders give them: tags of
  /// one byte, short lengths, ids of the right length. Everything else is left to the general reader, errors
  /// included. Returns the offset reached.
  @inline(__always)
  mutating func readUsual(from offset: Int, to end: Int, _ bytes: RawSpan) -> Int {
    guard offset >= 0, end <= bytes.byteCount else { return offset }
    var at = readUsualHead(from: offset, to: end, bytes)
    // The longest of the fixed-length forms below, so that one check serves them all.
    while end &- at >= 18 {
      // Sound, here and below: 18 bytes are left before the span's end, which lies in the record.
      let length = unsafe bytes.uncheckedByte(at: at &+ 1)
      switch unsafe bytes.uncheckedByte(at: at) {
      case Usual.attributesTag:
        // Most of a span's fields; they are not read here.
        let next = unsafe bytes.uncheckedOffset(pastFieldsOf: Usual.attributesTag, from: at, to: end)
        guard next != at else { return at }
        at = next
      case UInt8(truncatingIfNeeded: Usual.flagsTag):
        guard length == UInt8(truncatingIfNeeded: Usual.flagsTag >> 8) else { return at }
        flags = unsafe bytes.uncheckedHalf(at: at &+ 2)
        at &+= 6
      case UInt8(truncatingIfNeeded: Usual.traceIDHead):
        guard length == 16 else { return at }
        traceID = unsafe bytes.uncheckedTraceID(at: at &+ 2)
        at &+= 18
      case UInt8(truncatingIfNeeded: Usual.spanIDHead):
        guard length == 8 else { return at }
        spanID = unsafe bytes.uncheckedSpanID(at: at &+ 2)
        at &+= 10
      case UInt8(truncatingIfNeeded: Usual.parentHead):
        guard length == 8 else { return at }
        parentID = unsafe bytes.uncheckedSpanID(at: at &+ 2)
        at &+= 10
      case Usual.traceStateTag:
        guard length < 0x80, end &- at >= 2 &+ Int(length) else { return at }
        traceState = ByteRange(offset: UInt32(truncatingIfNeeded: at &+ 2), count: UInt32(length))
        at &+= 2 &+ Int(length)
      case Usual.nameTag:
        guard length < 0x80, end &- at >= 2 &+ Int(length) else { return at }
        name = ByteRange(offset: UInt32(truncatingIfNeeded: at &+ 2), count: UInt32(length))
        at &+= 2 &+ Int(length)
      case Usual.kindTag:
        guard length < 0x80 else { return at }
        kind = length
        at &+= 2
      case Usual.startTag:
        start = unsafe bytes.uncheckedWord(at: at &+ 1)
        at &+= 9
      case Usual.endTag:
        at = readUsualTail(from: at, to: end, bytes)
      default:
        return at
      }
    }
    return readUsualEnd(from: at, to: end, bytes)
  }

  /// Reads what encoders write first, as long as it comes in the order of field numbers: ids, parent, name,
  /// kind and times, with one check for each run of fixed length.
  @inline(__always)
  private mutating func readUsualHead(from offset: Int, to end: Int, _ bytes: RawSpan) -> Int {
    guard end &- offset >= 40 else { return offset }
    // Sound, here and below: 40 bytes are left before the span's end, which lies in the record; two ids take
    // 28 of them, a parent ten and the name's tag and length two.
    let (traceTag, spanTag) = unsafe (bytes.uncheckedPair(at: offset), bytes.uncheckedPair(at: offset &+ 18))
    guard traceTag == Usual.traceIDHead, spanTag == Usual.spanIDHead else { return offset }
    traceID = unsafe bytes.uncheckedTraceID(at: offset &+ 2)
    spanID = unsafe bytes.uncheckedSpanID(at: offset &+ 20)
    var at = offset &+ 28
    if unsafe bytes.uncheckedPair(at: at) == Usual.parentHead {
      parentID = unsafe bytes.uncheckedSpanID(at: at &+ 2)
      at &+= 10
    }
    guard unsafe bytes.uncheckedByte(at: at) == Usual.nameTag else { return at }
    let count = Int(unsafe bytes.uncheckedByte(at: at &+ 1))
    // Two bytes of the kind and nine of each time.
    guard count < 0x80, end &- at >= count &+ 22 else { return at }
    name = ByteRange(offset: UInt32(truncatingIfNeeded: at &+ 2), count: UInt32(truncatingIfNeeded: count))
    at &+= 2 &+ count
    // Sound, here and below: 20 bytes are left.
    let kind = unsafe bytes.uncheckedByte(at: at &+ 1)
    guard unsafe bytes.uncheckedByte(at: at) == Usual.kindTag, kind < 0x80,
      unsafe bytes.uncheckedByte(at: at &+ 2) == Usual.startTag,
      unsafe bytes.uncheckedByte(at: at &+ 11) == Usual.endTag
    else { return at }
    self.kind = kind
    start = unsafe bytes.uncheckedWord(at: at &+ 3)
    self.end = unsafe bytes.uncheckedWord(at: at &+ 12)
    return at &+ 20
  }

  /// Reads the end time, and what follows it as long as field numbers descend: the other time, kind, name,
  /// parent and ids.
  ///
  /// - Parameter offset: where the end time is, which the caller has checked to be complete, tag included.
  @inline(__always)
  private mutating func readUsualTail(from offset: Int, to end: Int, _ bytes: RawSpan) -> Int {
    // Sound: the end time has nine bytes, which the caller has checked.
    self.end = unsafe bytes.uncheckedWord(at: offset &+ 1)
    var at = offset &+ 9
    // The other time, the kind, tag and length of the name, and two ids after it.
    guard end &- at >= 9 &+ 2 &+ 2 &+ 28 else { return at }
    // Sound, here and below: that many bytes are left before the span's end, which lies in the record.
    let kind = unsafe bytes.uncheckedByte(at: at &+ 10)
    let count = Int(unsafe bytes.uncheckedByte(at: at &+ 12))
    guard unsafe bytes.uncheckedByte(at: at) == Usual.startTag,
      unsafe bytes.uncheckedByte(at: at &+ 9) == Usual.kindTag, kind < 0x80,
      unsafe bytes.uncheckedByte(at: at &+ 11) == Usual.nameTag, count < 0x80,
      end &- at >= 9 &+ 2 &+ 2 &+ count &+ 28
    else { return at }
    start = unsafe bytes.uncheckedWord(at: at &+ 1)
    self.kind = kind
    name = ByteRange(offset: UInt32(truncatingIfNeeded: at &+ 13), count: UInt32(truncatingIfNeeded: count))
    at &+= 13 &+ count
    if unsafe bytes.uncheckedPair(at: at) == Usual.parentHead {
      parentID = unsafe bytes.uncheckedSpanID(at: at &+ 2)
      at &+= 10
      guard end &- at >= 28 else { return at }
    }
    let (spanTag, traceTag) = unsafe (bytes.uncheckedPair(at: at), bytes.uncheckedPair(at: at &+ 10))
    guard spanTag == Usual.spanIDHead, traceTag == Usual.traceIDHead else { return at }
    spanID = unsafe bytes.uncheckedSpanID(at: at &+ 2)
    traceID = unsafe bytes.uncheckedTraceID(at: at &+ 12)
    return at &+ 28
  }

  /// Reads what encoders write last, in fewer bytes than the loop of `readUsual` needs: flags, and a status
  /// that is empty or has only a code.
  @inline(__always)
  private mutating func readUsualEnd(from offset: Int, to end: Int, _ bytes: RawSpan) -> Int {
    var at = offset
    while end &- at >= 2 {
      // Sound, here and below: that many bytes are left before the span's end, which lies in the record.
      switch unsafe bytes.uncheckedPair(at: at) {
      case Usual.flagsTag:
        guard end &- at >= 6 else { return at }
        flags = unsafe bytes.uncheckedHalf(at: at &+ 2)
        at &+= 6
      case Usual.head(SpanField.status, count: 0):
        status = .unset
        at &+= 2
      case Usual.head(SpanField.status, count: 2):
        guard end &- at >= 4, unsafe bytes.uncheckedByte(at: at &+ 2) == Usual.statusCodeTag,
          let code = SpanStatus(rawValue: unsafe bytes.uncheckedByte(at: at &+ 3))
        else { return at }
        status = code
        at &+= 4
      default:
        return at
      }
    }
    return at
  }
}

extension RawSpan {
  /// The offset past the fields from `offset` that have the tag `tag` and a length of one or two bytes.
  ///
  /// Sound if three bytes from `offset` lie before `end`, which lies in these bytes.
  @unsafe @inline(__always)
  fileprivate func uncheckedOffset(pastFieldsOf tag: UInt8, from offset: Int, to end: Int) -> Int {
    // As far as three bytes are left: no sum here can wrap, as offsets are below 2^31 and lengths below 2^14.
    let last = end &- 3
    var at = offset
    // Sound, here and below: `at` is `last` at most.
    while unsafe uncheckedByte(at: at) == tag {
      var count = Int(unsafe uncheckedByte(at: at &+ 1))
      var start = at &+ 2
      if count >= 0x80 {
        let second = Int(unsafe uncheckedByte(at: start))
        guard second < 0x80 else { return at }
        count = count & 0x7f | second << 7
        start &+= 1
      }
      let next = start &+ count
      guard next <= last else { return next <= end ? next : at }
      at = next
    }
    return at
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
