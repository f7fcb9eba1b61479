// Reads a span's own fields, whatever their form.

extension SpanView {
  /// Reads the span's own fields from `content`. If a field appears twice, the last one counts, as in
  /// protobuf.
  @inline(__always)
  mutating func read(_ bytes: RawSpan) throws(MalformedInput) {
    let end = content.indices.upperBound
    let reached = readUsual(from: Int(content.offset), to: end, bytes)
    if reached != end { try readOther(from: reached, bytes) }
    if traceID.isZero || spanID == 0 { throw MalformedInput(.identifierMissing, at: Int(content.offset)) }
  }

  /// Reads the fields from `offset`, the first of which does not have the usual form.
  @inline(never)
  private mutating func readOther(from offset: Int, _ bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(ByteRange(from: offset, to: content.indices.upperBound))
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case SpanField.traceID:
        let range = try cursor.content(of: tag, in: bytes)
        guard range.count == 16 else { throw MalformedInput(.identifierLength, at: tag.offset) }
        traceID = TraceID(in: bytes, at: Int(range.offset))
      case SpanField.spanID:
        spanID = try identifier(tag, &cursor, bytes)
      case SpanField.parentSpanID:
        parentID = try identifier(tag, &cursor, bytes)
      case SpanField.traceState:
        traceState = try cursor.content(of: tag, in: bytes)
      case SpanField.name:
        name = try cursor.content(of: tag, in: bytes)
      case SpanField.kind:
        kind = UInt8(clamping: try cursor.varint(of: tag, in: bytes))
      case SpanField.start:
        start = try cursor.fixed64(of: tag, in: bytes)
      case SpanField.end:
        end = try cursor.fixed64(of: tag, in: bytes)
      case SpanField.status:
        let message = try cursor.content(of: tag, in: bytes)
        status = try statusCode(in: message, of: bytes)
      case SpanField.flags:
        flags = try cursor.fixed32(of: tag, in: bytes)
      case SpanField.links:
        hasLinks = true
        try cursor.skip(tag, in: bytes)
      default:
        try cursor.skip(tag, in: bytes)
      }
      cursor.step(readUsual(from: cursor.offset, to: cursor.end, bytes) &- cursor.offset)
    }
  }

  /// Reads a span id: eight bytes, or none, which is the same as zero.
  @inline(__always)
  private func identifier(
    _ tag: WireTag, _ cursor: inout WireCursor, _ bytes: RawSpan
  ) throws(MalformedInput) -> UInt64 {
    let range = try cursor.content(of: tag, in: bytes)
    if range.count == 8 { return bytes.bigEndian64(at: Int(range.offset)) }
    guard range.count == 0 else { throw MalformedInput(.identifierLength, at: tag.offset) }
    return 0
  }
}

/// Reads the code of a `Status` message.
///
/// Where the code is unset, a code from before OTLP 0.6 that is not OK is an error: what the schema of that
/// time told receivers to do, and what the Collector's migration did.
private func statusCode(in message: ByteRange, of bytes: RawSpan) throws(MalformedInput) -> SpanStatus {
  var code: UInt64 = 0
  var deprecatedCode: UInt64 = 0
  var cursor = WireCursor(message)
  while !cursor.isAtEnd {
    let tag = try cursor.tag(in: bytes)
    switch tag.field {
    case StatusField.code: code = try cursor.varint(of: tag, in: bytes)
    case StatusField.deprecatedCode: deprecatedCode = try cursor.varint(of: tag, in: bytes)
    default: try cursor.skip(tag, in: bytes)
    }
  }
  let status = SpanStatus(code: code)
  return status == .unset && SpanStatus(code: deprecatedCode) != .unset ? .error : status
}
