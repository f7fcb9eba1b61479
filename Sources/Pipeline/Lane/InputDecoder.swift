// Encodings other than OTLP protobuf are converted at the door, so that everything behind it knows one form.

internal import OTLP

/// Converts records to OTLP protobuf. Reused: it keeps its storage.
struct InputDecoder {
  let encoding: SpanEncoding
  private var converted = WireWriter()

  init(encoding: SpanEncoding) {
    self.encoding = encoding
  }

  /// Bytes of memory in use.
  var byteCount: Int { converted.byteCount }

  /// Gives back what a record took.
  mutating func release() {
    converted = WireWriter()
  }

  /// Lends the record's OTLP protobuf bytes to `body`: its own bytes where they are that already.
  mutating func decode(
    _ value: RawSpan, bytesMax: Int, _ body: (RawSpan) -> MalformedInput?
  ) -> MalformedInput? {
    guard encoding == .otlpJSON, value.byteCount > 0, value.byteCount <= bytesMax else { return body(value) }
    converted.removeAll()
    do {
      try OTLPJSON.convert(value, into: &converted)
    } catch {
      return error
    }
    guard converted.count > 0 else { return MalformedInput(.noSpans, at: 0) }
    return converted.bytes.withRawBytes(body)
  }
}
