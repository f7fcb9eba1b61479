// Writes the protobuf wire format into one growing byte array.
//
// Used wherever bytes are made rather than passed through: records split, tracestate rewritten, documents
// converted from another encoding, traffic generated. Bytes that only pass through are copied, never written
// anew.

/// Appends protobuf fields to a byte array. Lengths are always minimal varints.
///
/// Format: <https://protobuf.dev/programming-guides/encoding/>
public struct WireWriter: Sendable {
  /// Everything written so far.
  public package(set) var bytes: [UInt8]

  /// Starts empty, with room for `capacity` bytes.
  public init(capacity: Int = 0) {
    bytes = []
    bytes.reserveCapacity(capacity)
  }

  /// The number of bytes written so far.
  @inlinable public var count: Int { bytes.count }

  /// Bytes of memory in use.
  public var byteCount: Int { bytes.capacity }

  /// Discards what was written but keeps the storage.
  public mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
  }

  /// Appends `value` as a base-128 varint of 1 to 10 bytes.
  public mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  /// Appends the tag of field number `field` with wire type `type`.
  public mutating func tag(_ field: UInt32, _ type: WireType) {
    varint(UInt64(field) << 3 | UInt64(type.rawValue))
  }

  /// Appends a varint field. Negative `int32` and `int64` values are passed as their two's complement bit
  /// pattern.
  public mutating func varintField(_ field: UInt32, _ value: UInt64) {
    tag(field, .varint)
    varint(value)
  }

  /// Appends a `fixed64`, `sfixed64` or `double` field by its bit pattern, little-endian.
  public mutating func fixed64Field(_ field: UInt32, _ value: UInt64) {
    tag(field, .fixed64)
    bytes.appendText(room: 8) { $0.append(word: value, count: 8) }
  }

  /// Appends a `fixed32` or `float` field by its bit pattern, little-endian.
  public mutating func fixed32Field(_ field: UInt32, _ value: UInt32) {
    tag(field, .fixed32)
    for shift in stride(from: UInt32(0), to: 32, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  /// Appends a `bytes` or `string` field with the given content.
  public mutating func bytesField(_ field: UInt32, _ content: some Collection<UInt8>) {
    tag(field, .lengthDelimited)
    varint(UInt64(content.count))
    bytes.append(contentsOf: content)
  }

  /// Appends a `string` field with `text` in UTF-8.
  public mutating func stringField(_ field: UInt32, _ text: String) {
    bytesField(field, text.utf8)
  }

  /// Appends a `bytes`, `string` or message field whose content lies in foreign memory.
  public mutating func bytesField(_ field: UInt32, _ content: borrowing RawSpan) {
    tag(field, .lengthDelimited)
    varint(UInt64(content.byteCount))
    append(content)
  }

  /// Appends raw bytes unchanged: whole fields that are passed through.
  public mutating func append(_ content: borrowing RawSpan) {
    // Sound: the pointer is used inside the closure only, for the span's own length.
    unsafe content.withUnsafeBytes { source in
      unsafe bytes.append(contentsOf: source)
    }
  }

  /// Appends what `body` appends to a byte array: text with an encoder of its own.
  public mutating func appendBytes(_ body: (inout [UInt8]) -> Void) {
    body(&bytes)
  }

  /// Appends a message field whose content `body` writes.
  ///
  /// The length is not known before the content is written, so the content is written first and then shifted
  /// by the one to five bytes that its length needs.
  public mutating func message(_ field: UInt32, _ body: (inout WireWriter) -> Void) {
    tag(field, .lengthDelimited)
    let start = bytes.count
    body(&self)
    closeMessage(contentStart: start)
  }

  /// Inserts the length of a message whose content began at `contentStart` and ends here.
  ///
  /// For writers whose content can't be one closure: write the tag, remember `count`, write the content,
  /// close.
  public mutating func closeMessage(contentStart: Int) {
    let end = bytes.count
    var rest = UInt64(end - contentStart)
    let size = max(1, (64 - rest.leadingZeroBitCount + 6) / 7)
    bytes.appendText(room: 8) { $0.append(word: 0, count: min(size, 8)) }
    // Sound: the content and its new place, `size` bytes on, lie in the array, and copying allows an overlap.
    // The pointer is used inside the closure only.
    unsafe bytes.withUnsafeMutableBytes { buffer in
      unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[(contentStart + size)...])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[contentStart..<end]))
    }
    for place in contentStart..<contentStart + size {
      let isLast = place == contentStart + size - 1
      bytes[place] = UInt8(truncatingIfNeeded: rest & 0x7f) | (isLast ? 0 : 0x80)
      rest >>= 7
    }
  }
}

/// The wire type in the low three bits of a protobuf tag.
public enum WireType: UInt8, Sendable {
  case varint = 0
  case fixed64 = 1
  case lengthDelimited = 2
  case groupStart = 3
  case groupEnd = 4
  case fixed32 = 5
}
