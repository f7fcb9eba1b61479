// Writes OTLP's attributes and a span's fields into reserved room: it has a bound that is known beforehand.

import OTLP

/// The most bytes that parts of a span take besides the texts that they are made of.
enum OutputRoom {
  /// An attribute: five tags, three lengths of five bytes, and the length of a text or ten bytes of a number.
  static let attribute = 32
  /// Tag and length of an event or link, the time, and the name's tag and length.
  static let event = 24
  /// The same with ids, and an attribute with the kind of a reference.
  static let link = 6 + 28 + attribute + 32
  /// The fields that a span has once, with lengths; and what is stored past the end at most.
  static let span = 192
}

extension WireWriter {
  /// Appends what `body` writes, `room` bytes at most.
  @inline(__always)
  mutating func appendFields(room: Int, _ body: (inout TextOutput) -> Void) {
    appendBytes { bytes in bytes.appendText(room: room, body) }
  }
}

extension TextOutput {
  /// Appends an attribute as field `field` of the open message.
  @inline(__always)
  mutating func attribute(_ field: UInt32, _ tag: SpanTag, in bytes: RawSpan) {
    guard case .text(let text) = tag.value, tag.key.count <= 63, text.count <= 58 else {
      return anyAttribute(field, tag, in: bytes)
    }
    // Most are short: all lengths take one byte, as that of the whole is 6 + 63 + 58 bytes at most, 127.
    append(half: TextOutput.heads(field, tag.key.count &+ text.count &+ 6, KeyValueField.key, tag.key.count))
    append(tag.key, of: bytes)
    append(half: TextOutput.heads(KeyValueField.value, text.count &+ 2, AnyValueField.string, text.count))
    append(text, of: bytes)
  }

  /// The tags and lengths of a message and of its first field, as four bytes.
  @inline(__always)
  private static func heads(_ outer: UInt32, _ length: UInt32, _ field: UInt32, _ count: UInt32) -> UInt32 {
    UInt32(FieldTag.delimited(outer)) | length << 8 | UInt32(FieldTag.delimited(field)) << 16 | count << 24
  }

  @inline(never)
  private mutating func anyAttribute(_ field: UInt32, _ tag: SpanTag, in bytes: RawSpan) {
    let key = bytes.extracting(tag.key.indices)
    switch tag.value {
    case .text(let range):
      attribute(field, key, AnyValueField.string, bytes.extracting(range.indices))
    case .binary(let range):
      attribute(field, key, AnyValueField.bytes, bytes.extracting(range.indices))
    case .boolean(let value): attribute(field, key, boolean: value)
    case .integer(let value): attribute(field, key, integer: value)
    case .double(let bits):
      attribute(field, key, valueBytes: 9) { value in
        value.append(FieldTag.fixed64(AnyValueField.double))
        value.append(word: bits, count: 8)
      }
    }
  }

  /// The same for text or bytes: `kind` is the field of the value.
  mutating func attribute(_ field: UInt32, _ key: RawSpan, _ kind: UInt32, _ text: RawSpan) {
    let count = UInt64(text.byteCount)
    let bytes = 1 + TextOutput.varintBytes(count) + text.byteCount
    attribute(field, key, valueBytes: bytes) { value in
      value.append(FieldTag.delimited(kind))
      value.append(varint: count)
      value.append(text)
    }
  }

  mutating func attribute(_ field: UInt32, _ key: RawSpan, boolean: Bool) {
    attribute(field, key, valueBytes: 2) { value in
      value.append(FieldTag.varint(AnyValueField.boolean))
      value.append(boolean ? 1 : 0)
    }
  }

  mutating func attribute(_ field: UInt32, _ key: RawSpan, integer: Int64) {
    let number = UInt64(bitPattern: integer)
    attribute(field, key, valueBytes: 1 + TextOutput.varintBytes(number)) { value in
      value.append(FieldTag.varint(AnyValueField.integer))
      value.append(varint: number)
    }
  }

  /// Appends an attribute whose value takes `valueBytes` bytes, which `body` writes.
  @inline(__always)
  private mutating func attribute(
    _ field: UInt32, _ key: RawSpan, valueBytes: Int, _ body: (inout TextOutput) -> Void
  ) {
    let keyBytes = 1 + TextOutput.varintBytes(UInt64(key.byteCount)) + key.byteCount
    let content = keyBytes + 1 + TextOutput.varintBytes(UInt64(valueBytes)) + valueBytes
    append(FieldTag.delimited(field))
    append(varint: UInt64(content))
    append(FieldTag.delimited(KeyValueField.key))
    append(varint: UInt64(key.byteCount))
    append(key)
    append(FieldTag.delimited(KeyValueField.value))
    append(varint: UInt64(valueBytes))
    body(&self)
  }

  /// Appends the ids with which a span begins, or a link.
  mutating func identifiers(_ traceID: TraceID, _ spanID: UInt64) {
    append(FieldTag.delimited(SpanField.traceID))
    append(16)
    append(word: traceID.high.byteSwapped, count: 8)
    append(word: traceID.low.byteSwapped, count: 8)
    append(FieldTag.delimited(SpanField.spanID))
    append(8)
    append(word: spanID.byteSwapped, count: 8)
  }

  /// Appends a parent's id, unless it is zero.
  mutating func parent(_ spanID: UInt64) {
    guard spanID != 0 else { return }
    append(FieldTag.delimited(SpanField.parentSpanID))
    append(8)
    append(word: spanID.byteSwapped, count: 8)
  }

  /// Appends a text field, unless it is empty.
  mutating func text(_ field: UInt32, _ range: ByteRange?, in bytes: RawSpan) {
    guard let range, range.count > 0 else { return }
    append(FieldTag.delimited(field))
    append(varint: UInt64(range.count))
    append(range, of: bytes)
  }

  /// Appends a span's kind, unless it says nothing.
  mutating func kind(_ kind: SpanKindNumber) {
    guard kind != .unspecified else { return }
    append(FieldTag.varint(SpanField.kind))
    append(varint: kind.rawValue)
  }

  /// Appends a time.
  mutating func time(_ field: UInt32, _ time: UInt64) {
    append(FieldTag.fixed64(field))
    append(word: time, count: 8)
  }

  /// Appends a span's flags. Their field has the number 16: the tag takes two bytes.
  mutating func flags(_ flags: UInt32) {
    append(varint: UInt64(SpanField.flags << 3 | UInt32(WireType.fixed32.rawValue)))
    append(half: flags)
  }

  /// Appends a span's status, unless it says nothing.
  mutating func status(_ status: MappedStatus, in bytes: RawSpan) {
    let message = status.message.flatMap { $0.count > 0 ? $0 : nil }
    guard status.code != 0 || message != nil else { return }
    self.message(FieldTag.delimited(SpanField.status), lengthBytes: 1) { out in
      out.text(StatusField.message, message, in: bytes)
      guard status.code != 0 else { return }
      out.append(FieldTag.varint(StatusField.code))
      out.append(varint: status.code)
    }
  }
}

/// The tags of fields with numbers below 16: one byte.
enum FieldTag {
  static func varint(_ field: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: field << 3) }
  static func fixed64(_ field: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: field << 3) | 1 }
  static func delimited(_ field: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: field << 3) | 2 }
}
