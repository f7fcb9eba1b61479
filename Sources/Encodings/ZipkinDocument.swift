// Zipkin's JSON, version 2, to Zipkin's protobuf: one mapping to OTLP serves both.

import OTLP

/// Reads spans of Zipkin's JSON.
///
/// Format: <https://zipkin.io/zipkin-api/>, `zipkin2-api.yaml`. Unknown keys are skipped; `null` is an absent
/// field.
enum ZipkinDocument {
  /// Reads the next span and writes its fields.
  ///
  /// - Throws: also `wrongType` at a key of version 1, whose spans say nothing in version 2.
  static func read(
    _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    try cursor.openObject(in: json)
    while let key = try cursor.nextKey(in: json) {
      if try key.spells("binaryAnnotations", in: json) {
        throw MalformedInput(.wrongType, at: key.valueOffset)
      }
      if try cursor.skipNull(in: json) { continue }
      if try readIdentifier(key, &cursor, in: json, to: &writer) { continue }
      try readField(key, &cursor, in: json, to: &writer)
    }
  }

  private static func readIdentifier(
    _ key: JSONToken, _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) -> Bool {
    if try key.spells("traceId", in: json) {
      try cursor.writeHexadecimal(ZipkinSpanField.traceID, byteCount: 16, in: json, to: &writer)
    } else if try key.spells("id", in: json) {
      try cursor.writeHexadecimal(ZipkinSpanField.spanID, byteCount: 8, in: json, to: &writer)
    } else if try key.spells("parentId", in: json) {
      try cursor.writeHexadecimal(ZipkinSpanField.parentID, byteCount: 8, in: json, to: &writer)
    } else {
      return false
    }
    return true
  }

  private static func readField(
    _ key: JSONToken, _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    if try key.spells("name", in: json) {
      try cursor.writeText(ZipkinSpanField.name, in: json, to: &writer)
    } else if try key.spells("kind", in: json) {
      writer.varintField(ZipkinSpanField.kind, try kind(cursor.string(in: json), in: json))
    } else if try key.spells("timestamp", in: json) {
      writer.fixed64Field(ZipkinSpanField.timestamp, try cursor.unsigned(in: json))
    } else if try key.spells("duration", in: json) {
      writer.varintField(ZipkinSpanField.duration, try cursor.unsigned(in: json))
    } else if try key.spells("localEndpoint", in: json) {
      try readEndpoint(ZipkinSpanField.localEndpoint, &cursor, in: json, to: &writer)
    } else if try key.spells("remoteEndpoint", in: json) {
      try readEndpoint(ZipkinSpanField.remoteEndpoint, &cursor, in: json, to: &writer)
    } else if try key.spells("annotations", in: json) {
      try cursor.forEachElement(in: json) { (cursor) throws(MalformedInput) in
        try readAnnotation(&cursor, in: json, to: &writer)
      }
    } else if try key.spells("tags", in: json) {
      try cursor.forEachMember(in: json) { (cursor, name) throws(MalformedInput) in
        writer.tag(ZipkinSpanField.tags, .lengthDelimited)
        let start = writer.count
        writer.bytesField(ZipkinTagField.key, try name.utf8(in: json))
        try cursor.writeScalar(ZipkinTagField.value, in: json, to: &writer)
        writer.closeMessage(contentStart: start)
      }
    } else {
      try cursor.skipValue(in: json)
    }
  }

  /// The number of a kind; 0 for an unknown one.
  private static func kind(_ text: JSONToken, in json: RawSpan) throws(MalformedInput) -> UInt64 {
    let kind: ZipkinKind? =
      if try text.spells("CLIENT", in: json) { .client } else if try text.spells("SERVER", in: json) {
        .server
      } else if try text.spells("PRODUCER", in: json) {
        .producer
      } else if try text.spells(
        "CONSUMER", in: json)
      { .consumer } else { nil }
    return kind?.rawValue ?? 0
  }

  private static func readEndpoint(
    _ field: UInt32, _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    try cursor.writeMessage(field, in: json, to: &writer) { (cursor, key, writer) throws(MalformedInput) in
      if try key.spells("serviceName", in: json) {
        try cursor.writeText(ZipkinEndpointField.serviceName, in: json, to: &writer)
      } else if try key.spells("ipv4", in: json) {
        try cursor.writeText(ZipkinEndpointField.address, in: json, to: &writer)
      } else if try key.spells("ipv6", in: json) {
        try cursor.writeText(ZipkinEndpointField.address6, in: json, to: &writer)
      } else if try key.spells("port", in: json) {
        writer.varintField(ZipkinEndpointField.port, try cursor.unsigned(in: json))
      } else {
        try cursor.skipValue(in: json)
      }
    }
  }

  private static func readAnnotation(
    _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    try cursor.writeMessage(ZipkinSpanField.annotations, in: json, to: &writer) {
      (cursor, key, writer) throws(MalformedInput) in
      if try key.spells("timestamp", in: json) {
        writer.fixed64Field(ZipkinAnnotationField.timestamp, try cursor.unsigned(in: json))
      } else if try key.spells("value", in: json) {
        try cursor.writeText(ZipkinAnnotationField.value, in: json, to: &writer)
      } else {
        try cursor.skipValue(in: json)
      }
    }
  }
}
