// Encodings other than OTLP protobuf are converted at the door, so that everything after it knows one form.

internal import OTLP
import Topology

/// Converts records to OTLP protobuf. Reused: it keeps its storage.
struct InputDecoder {
  let encoding: SpanEncoding
  private var converted = WireWriter()
  /// The spans that can't be used of the document that was converted last.
  private(set) var rejected = RejectedJSONSpans()

  init(encoding: SpanEncoding) {
    self.encoding = encoding
  }

  /// Bytes of memory in use.
  var byteCount: Int { converted.byteCount + rejected.byteCount }

  /// Gives back what a record took.
  mutating func release() {
    converted = WireWriter()
    rejected = RejectedJSONSpans()
  }

  /// Lends the record's OTLP protobuf bytes to `body`: its own bytes where they are that already.
  ///
  /// Spans of a document that can't be used are left out and are in `rejected`.
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
    // What is left without them is not what is wrong with the record.
    guard malformed?.reason == .noSpans, let first = rejected.groups.first else { return malformed }
    return first.error
  }
}
