// Other encodings are converted to OTLP protobuf on input, so that everything downstream handles one form.

internal import OTLP
import Topology

/// Converts records to OTLP protobuf. Reused: it keeps its storage.
struct InputDecoder {
  let encoding: SpanEncoding
  private var converted = WireWriter()
  /// Unusable spans of the last converted document.
  private(set) var rejected = RejectedJSONSpans()

  init(encoding: SpanEncoding) {
    self.encoding = encoding
  }

  /// Bytes of memory in use.
  var byteCount: Int { converted.byteCount + rejected.byteCount }

  /// Releases its storage.
  mutating func release() {
    converted = WireWriter()
    rejected = RejectedJSONSpans()
  }

  /// Lends the record's OTLP protobuf bytes to `body`: its own bytes if they already are that.
  ///
  /// A document's unusable spans are left out; they are in `rejected`.
  mutating func decode(
    _ value: RawSpan, bytesMax: Int, _ body: (RawSpan) -> MalformedInput?
  ) -> MalformedInput? {
    rejected.removeAll()
    guard encoding == .otlpJSON, value.byteCount > 0, value.byteCount <= bytesMax else { return body(value) }
    converted.removeAll()
    do {
      try OTLPJSON.convert(value, into: &converted, rejected: &rejected)
    } catch {
      return error
    }
    guard converted.count > 0 else { return MalformedInput(.noSpans, at: 0) }
    let malformed = converted.bytes.withRawBytes(body)
    // That no spans are left is only a consequence: the first rejection is the reason.
    guard malformed?.reason == .noSpans, let first = rejected.groups.first else { return malformed }
    return first.error
  }
}
