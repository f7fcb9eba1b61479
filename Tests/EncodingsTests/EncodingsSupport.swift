// Shared by the tests of other encodings: converting records, and what they should become as OTLP/JSON.

import OTLP
import Testing

@testable import Encodings

/// What a converter of `encoding` makes of `bytes`.
func converted(_ bytes: [UInt8], _ encoding: ForeignEncoding) throws(MalformedInput) -> [UInt8] {
  var converter = SpanConverter(encoding)
  var writer = WireWriter()
  try bytes.withRawBytes { (raw) throws(MalformedInput) in try converter.convert(raw, into: &writer) }
  return writer.bytes
}

func converted(_ text: String, _ encoding: ForeignEncoding) throws(MalformedInput) -> [UInt8] {
  try converted(Array(text.utf8), encoding)
}

/// The bytes of OTLP/JSON whose fields are in the order in which the converter writes them.
func otlp(_ resourceSpans: String) throws -> [UInt8] {
  var writer = WireWriter()
  try Array(#"{"resourceSpans":[\#(resourceSpans)]}"#.utf8).withRawBytes { (raw) throws(MalformedInput) in
    try OTLPJSON.convert(raw, into: &writer)
  }
  return writer.bytes
}

/// A text attribute in OTLP/JSON.
func text(_ key: String, _ value: String) -> String {
  #"{"key":"\#(key)","value":{"stringValue":"\#(value)"}}"#
}

/// What a converter finds unusable in `bytes`, in an otherwise readable record.
func rejected(
  _ bytes: [UInt8], _ encoding: ForeignEncoding
) throws -> (groups: [RejectedSpans], parts: [[UInt8]], written: [UInt8]) {
  var converter = SpanConverter(encoding)
  var writer = WireWriter()
  try bytes.withRawBytes { (raw) throws(MalformedInput) in try converter.convert(raw, into: &writer) }
  let groups = converter.rejected.groups
  let parts = groups.map { group in
    var part = WireWriter()
    bytes.withRawBytes {
      converter.rejected.append(group.error.reason, of: $0, isJSON: encoding.isJSON, to: &part)
    }
    return part.bytes
  }
  return (groups, parts, writer.bytes)
}

/// The reason and place for which a record can't be converted.
func failure(_ text: String, _ encoding: ForeignEncoding) -> MalformedInput? {
  do throws(MalformedInput) { _ = try converted(text, encoding) } catch { return error }
  return nil
}
