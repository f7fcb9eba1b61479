// Generated spans as Jaeger's collector would write them, for the benchmark.

import OTLP

/// Encodes OTLP spans as Jaeger's protobuf. Links and events are left out: generated spans have none.
///
/// Format: `model.proto` of <https://github.com/jaegertracing/jaeger-idl>.
enum JaegerRecords {
  /// The spans of one OTLP record, each as a record of its own.
  static func make(of record: [UInt8]) throws -> [[UInt8]] {
    var scanned = ScannedRecord()
    return try record.withRawBytes { (bytes) throws(MalformedInput) in
      try scanned.scan(bytes)
      let process = try JaegerRecords.process(in: bytes)
      var records: [[UInt8]] = []
      for span in scanned.spans {
        var writer = WireWriter()
        try write(span, in: bytes, to: &writer)
        writer.bytesField(10, process)
        records.append(writer.bytes)
      }
      return records
    }
  }

  /// The process, made of the first resource: a generated record has only one.
  private static func process(in bytes: RawSpan) throws(MalformedInput) -> [UInt8] {
    var process = WireWriter()
    let whole = ByteRange(offset: 0, count: UInt32(bytes.byteCount))
    var cursor = WireCursor(whole)
    guard let spans = try cursor.next(TracesDataField.resourceSpans, in: bytes) else { return [] }
    cursor = WireCursor(spans)
    guard let resource = try cursor.next(ResourceSpansField.resource, in: bytes) else { return [] }
    cursor = WireCursor(resource)
    while let attribute = try cursor.next(ResourceField.attributes, in: bytes) {
      let pair = try KeyValueView(attribute, in: bytes)
      if bytes.spells("service.name", in: pair.key), case .string(let name) = try pair.value(in: bytes) {
        process.bytesField(1, bytes.extracting(name.indices))
      } else {
        try write(pair, as: 2, in: bytes, to: &process)
      }
    }
    return process.bytes
  }

  private static func write(
    _ span: SpanView, in bytes: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    var cursor = WireCursor(span.content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      guard tag.type == .lengthDelimited else {
        try cursor.skip(tag, in: bytes)
        continue
      }
      let content = try cursor.content(of: tag, in: bytes)
      let text = bytes.extracting(content.indices)
      switch tag.field {
      case SpanField.traceID: writer.bytesField(1, text)
      case SpanField.spanID: writer.bytesField(2, text)
      case SpanField.name: writer.bytesField(3, text)
      case SpanField.parentSpanID:
        writer.message(4) { $0.bytesField(2, bytes.extracting(content.indices)) }
      case SpanField.attributes:
        try write(KeyValueView(content, in: bytes), as: 8, in: bytes, to: &writer)
      default: break
      }
    }
    writer.message(6) { time in
      time.varintField(1, span.start / 1_000_000_000)
      time.varintField(2, span.start % 1_000_000_000)
    }
    writer.message(7) { time in
      time.varintField(1, span.duration / 1_000_000_000)
      time.varintField(2, span.duration % 1_000_000_000)
    }
    writer.message(8) { tag in
      tag.stringField(1, "span.kind")
      tag.stringField(3, "server")
    }
    guard span.status == .error else { return }
    writer.message(8) { tag in
      tag.stringField(1, "error")
      tag.varintField(2, 1)
      tag.varintField(4, 1)
    }
  }

  private static func write(
    _ pair: KeyValueView, as field: UInt32, in bytes: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    let value = try pair.value(in: bytes)
    writer.message(field) { tag in
      tag.bytesField(1, bytes.extracting(pair.key.indices))
      switch value {
      case .string(let text): tag.bytesField(3, bytes.extracting(text.indices))
      case .boolean(let value):
        tag.varintField(2, 1)
        tag.varintField(4, value ? 1 : 0)
      case .integer(let value):
        tag.varintField(2, 2)
        tag.varintField(5, UInt64(bitPattern: value))
      case .double(let value):
        tag.varintField(2, 3)
        tag.fixed64Field(6, value.bitPattern)
      case .missing, .array, .map, .bytes: break
      }
    }
  }
}
