// Protobuf fields as a tree: written by the module's own writer, read back by an independent reader.

import OTLP

/// One protobuf field.
enum WireNode: Hashable, Sendable {
  case varint(UInt32, UInt64)
  case fixed64(UInt32, UInt64)
  case fixed32(UInt32, UInt32)
  case bytes(UInt32, [UInt8])
  case message(UInt32, [WireNode])

  var field: UInt32 {
    switch self {
    case .varint(let field, _), .fixed64(let field, _), .fixed32(let field, _), .bytes(let field, _),
      .message(let field, _):
      field
    }
  }

  static func string(_ field: UInt32, _ text: String) -> WireNode { .bytes(field, Array(text.utf8)) }

  func append(to writer: inout WireWriter) {
    switch self {
    case .varint(let field, let value): writer.varintField(field, value)
    case .fixed64(let field, let value): writer.fixed64Field(field, value)
    case .fixed32(let field, let value): writer.fixed32Field(field, value)
    case .bytes(let field, let content): writer.bytesField(field, content)
    case .message(let field, let nodes):
      writer.message(field) { inner in
        for node in nodes { node.append(to: &inner) }
      }
    }
  }
}

extension [WireNode] {
  /// The fields as bytes.
  var encoded: [UInt8] {
    var writer = WireWriter()
    for node in self { node.append(to: &writer) }
    return writer.bytes
  }
}

/// A field as it appears in valid bytes.
struct WireField: Hashable {
  var number: UInt32
  /// Tag, length and content.
  var whole: [UInt8]
  /// The content of a length-delimited field; else the value's bytes.
  var content: [UInt8]
}

/// Parses valid bytes, one level deep. Slow and plain on purpose.
func fields(of bytes: [UInt8]) -> [WireField] {
  var fields: [WireField] = []
  var offset = 0
  func varint() -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = bytes[offset]
      offset += 1
      value |= UInt64(byte & 0x7f) << shift
      shift += 7
      if byte < 0x80 { return value }
    }
  }
  while offset < bytes.count {
    let start = offset
    let tag = varint()
    var contentStart = offset
    switch tag & 7 {
    case 0: _ = varint()
    case 1: offset += 8
    case 2:
      let length = Int(varint())
      contentStart = offset
      offset += length
    case 5: offset += 4
    default: preconditionFailure("wire type \(tag & 7) in sound bytes")
    }
    fields.append(
      WireField(
        number: UInt32(tag >> 3), whole: Array(bytes[start..<offset]),
        content: Array(bytes[contentStart..<offset])))
  }
  return fields
}

/// A span with its surroundings: what a piece must keep of it.
struct SpanInPlace: Hashable {
  /// The fields next to the resource spans, the scope spans and the spans: each in order.
  var besideResources: [WireField]
  var besideScopes: [WireField]
  var besideSpans: [WireField]
  /// The span's whole field.
  var span: [UInt8]
}

/// All spans of a record, read without the scanner: resources, scopes and spans in order.
func spansInPlace(_ record: [UInt8]) -> [SpanInPlace] {
  let top = fields(of: record)
  var spans: [SpanInPlace] = []
  for resource in top where resource.number == 1 {
    let inResource = fields(of: resource.content)
    for scope in inResource where scope.number == 2 {
      let inScope = fields(of: scope.content)
      for span in inScope where span.number == 2 {
        spans.append(
          SpanInPlace(
            besideResources: top.filter { $0.number != 1 },
            besideScopes: inResource.filter { $0.number != 2 },
            besideSpans: inScope.filter { $0.number != 2 }, span: span.whole))
      }
    }
  }
  return spans
}
