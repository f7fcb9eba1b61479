// What the readers of Jaeger's and Zipkin's documents share.

import OTLP

extension JSONCursor {
  /// Reads a hexadecimal id and writes it as a field of `byteCount` bytes: shorter ones are padded.
  mutating func writeHexadecimal(
    _ field: UInt32, byteCount: Int, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    let text = try string(in: json)
    guard !text.isEmpty else { return }
    guard try text.count(in: json) <= 2 * byteCount else {
      throw MalformedInput(.identifierLength, at: text.valueOffset)
    }
    let (high, low) = try text.hexadecimal(in: json)
    let halves = byteCount == 16 ? [high, low] : [low]
    writer.bytesField(
      field,
      halves.flatMap { half in
        stride(from: UInt64(56), through: 0, by: -8).map { UInt8(truncatingIfNeeded: half >> $0) }
      })
  }

  /// Reads a string and writes it as a field.
  mutating func writeText(
    _ field: UInt32, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    let text = try string(in: json)
    writer.tag(field, .lengthDelimited)
    let start = writer.count
    try text.write(to: &writer, in: json)
    writer.closeMessage(contentStart: start)
  }

  /// Reads a scalar and writes it as a field of text: numbers as they are written.
  mutating func writeScalar(
    _ field: UInt32, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    switch try valueKind(in: json) {
    case .string: try writeText(field, in: json, to: &writer)
    case .number, .boolean:
      let start = offset
      try skipValue(in: json)
      writer.bytesField(field, json.extracting(start..<offset))
    default: throw MalformedInput(.wrongType, at: offset)
    }
  }

  /// Reads an integer that is not negative, as a number or as a string that holds one.
  mutating func unsigned(in json: RawSpan) throws(MalformedInput) -> UInt64 {
    try integer(max: .max, in: json)
  }

  /// Reads an integer of 64 bits.
  mutating func signed(in json: RawSpan) throws(MalformedInput) -> Int64 {
    Int64(bitPattern: try integer(max: UInt64(Int64.max), negativeMax: 1 << 63, in: json))
  }

  /// Reads a list and calls `body` before each of its elements; `null` is an empty one.
  mutating func forEachElement(
    in json: RawSpan, _ body: (inout JSONCursor) throws(MalformedInput) -> Void
  ) throws(MalformedInput) {
    if try skipNull(in: json) { return }
    try openArray(in: json)
    while try nextElement(in: json) { try body(&self) }
  }

  /// Reads an object and calls `body` before each of its values that are not `null`; `null` is an empty
  /// object. `body` has to read the value.
  mutating func forEachMember(
    in json: RawSpan, _ body: (inout JSONCursor, JSONToken) throws(MalformedInput) -> Void
  ) throws(MalformedInput) {
    if try skipNull(in: json) { return }
    try openObject(in: json)
    while let key = try nextKey(in: json) {
      if try !skipNull(in: json) { try body(&self, key) }
    }
  }

  /// Reads an object and writes it as a message field: `body` is called before each value.
  mutating func writeMessage(
    _ field: UInt32, in json: RawSpan, to writer: inout WireWriter,
    _ body: (inout JSONCursor, JSONToken, inout WireWriter) throws(MalformedInput) -> Void
  ) throws(MalformedInput) {
    writer.tag(field, .lengthDelimited)
    let start = writer.count
    try forEachMember(in: json) { (cursor, key) throws(MalformedInput) in try body(&cursor, key, &writer) }
    writer.closeMessage(contentStart: start)
  }
}

extension JSONToken {
  /// Whether it is one of these texts.
  func isOne(of texts: StaticString..., in json: RawSpan) throws(MalformedInput) -> Bool {
    for text in texts where try spells(text, in: json) { return true }
    return false
  }
}
