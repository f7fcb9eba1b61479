// Writes OTLP's attributes and spans: each message's length is known before it is written.

import OTLP

extension WireWriter {
  /// Appends an attribute as field `field` of the open message.
  mutating func attribute(_ field: UInt32, _ tag: SpanTag, in bytes: RawSpan) {
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
    let bytes = 1 + varintBytes(text.byteCount) + text.byteCount
    attribute(field, key, valueBytes: bytes) { value in
      value.append(FieldTag.delimited(kind))
      value.append(varint: UInt64(text.byteCount))
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
    attribute(field, key, valueBytes: 1 + varintBytes(number)) { value in
      value.append(FieldTag.varint(AnyValueField.integer))
      value.append(varint: number)
    }
  }

  /// Appends an attribute whose value takes `valueBytes` bytes, which `body` writes.
  @inline(__always)
  private mutating func attribute(
    _ field: UInt32, _ key: RawSpan, valueBytes: Int, _ body: (inout TextOutput) -> Void
  ) {
    let keyBytes = 1 + varintBytes(key.byteCount) + key.byteCount
    let content = keyBytes + 1 + varintBytes(valueBytes) + valueBytes
    // Eight more: a word is stored whole.
    let room = 1 + varintBytes(content) + content + 8
    appendBytes { bytes in
      bytes.appendText(room: room) { out in
        out.append(FieldTag.delimited(field))
        out.append(varint: UInt64(content))
        out.append(FieldTag.delimited(KeyValueField.key))
        out.append(varint: UInt64(key.byteCount))
        out.append(key)
        out.append(FieldTag.delimited(KeyValueField.value))
        out.append(varint: UInt64(valueBytes))
        body(&out)
      }
    }
  }

  /// Appends the ids and times with which a span begins, or a link; zero for what is left out.
  mutating func identifiers(_ traceID: TraceID, _ spanID: UInt64) {
    appendBytes { bytes in
      bytes.appendText(room: 36) { out in
        out.append(FieldTag.delimited(SpanField.traceID))
        out.append(16)
        out.append(word: traceID.high.byteSwapped, count: 8)
        out.append(word: traceID.low.byteSwapped, count: 8)
        out.append(FieldTag.delimited(SpanField.spanID))
        out.append(8)
        out.append(word: spanID.byteSwapped, count: 8)
      }
    }
  }

  /// Appends a parent's id, unless it is zero.
  mutating func parent(_ spanID: UInt64) {
    guard spanID != 0 else { return }
    appendBytes { bytes in
      bytes.appendText(room: 18) { out in
        out.append(FieldTag.delimited(SpanField.parentSpanID))
        out.append(8)
        out.append(word: spanID.byteSwapped, count: 8)
      }
    }
  }

  /// Appends a text field, unless it is empty.
  mutating func text(_ field: UInt32, _ range: ByteRange?, in bytes: RawSpan) {
    guard let range, range.count > 0 else { return }
    bytesField(field, bytes.extracting(range.indices))
  }

  /// Appends a span's status, unless it says nothing.
  mutating func status(_ status: MappedStatus, in bytes: RawSpan) {
    let message = status.message.flatMap { $0.count > 0 ? $0 : nil }
    guard status.code != 0 || message != nil else { return }
    tag(SpanField.status, .lengthDelimited)
    let start = count
    text(StatusField.message, message, in: bytes)
    if status.code != 0 { varintField(StatusField.code, status.code) }
    closeMessage(contentStart: start)
  }
}

/// The tags of fields with numbers below 16: one byte.
enum FieldTag {
  static func varint(_ field: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: field << 3) }
  static func fixed64(_ field: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: field << 3) | 1 }
  static func delimited(_ field: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: field << 3) | 2 }
}

/// The bytes that `value` takes as a varint.
@inline(__always)
private func varintBytes(_ value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }

@inline(__always)
private func varintBytes(_ value: Int) -> Int { varintBytes(UInt64(value)) }

extension TextOutput {
  /// Appends `value` as a varint.
  @inline(__always)
  fileprivate mutating func append(varint value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(UInt8(truncatingIfNeeded: rest))
  }
}
