// Spans of all lengths, and processes that come again: what is written is the same as field by field.

import OTLP
import Testing

@testable import Encodings

private func span(id: UInt8 = 3, process: [UInt8]? = nil, tags: [(key: Int, text: Int)] = []) -> [UInt8] {
  var span = WireWriter()
  span.bytesField(1, [UInt8](repeating: 1, count: 16))
  span.bytesField(2, [UInt8](repeating: id, count: 8))
  for tag in tags {
    span.message(8) {
      $0.bytesField(1, [UInt8](repeating: 0x6b, count: tag.key))
      $0.bytesField(3, [UInt8](repeating: 0x76, count: tag.text))
    }
  }
  if let process { span.bytesField(10, process) }
  return span.bytes
}

/// What a span is as OTLP, written by other means.
private func expected(
  id: UInt8 = 3, service: String? = nil, host: String? = nil, tags: [(key: Int, text: Int)] = []
) -> [UInt8] {
  var record = WireWriter()
  record.message(TracesDataField.resourceSpans) { resourceSpans in
    if let service, let host {
      resourceSpans.message(ResourceSpansField.resource) { resource in
        attribute(ResourceField.attributes, Array("service.name".utf8), Array(service.utf8), to: &resource)
        attribute(ResourceField.attributes, Array("host".utf8), Array(host.utf8), to: &resource)
      }
    }
    resourceSpans.message(ResourceSpansField.scopeSpans) { scopeSpans in
      scopeSpans.message(ScopeSpansField.spans) { span in
        span.bytesField(SpanField.traceID, [UInt8](repeating: 1, count: 16))
        span.bytesField(SpanField.spanID, [UInt8](repeating: id, count: 8))
        span.fixed64Field(SpanField.start, 0)
        span.fixed64Field(SpanField.end, 0)
        for tag in tags {
          attribute(
            SpanField.attributes, [UInt8](repeating: 0x6b, count: tag.key),
            [UInt8](repeating: 0x76, count: tag.text), to: &span)
        }
      }
    }
  }
  return record.bytes
}

private func attribute(_ field: UInt32, _ key: [UInt8], _ text: [UInt8], to writer: inout WireWriter) {
  writer.message(field) { attribute in
    attribute.bytesField(KeyValueField.key, key)
    attribute.message(KeyValueField.value) { $0.bytesField(AnyValueField.string, text) }
  }
}

private func process(_ service: String, _ host: String) -> [UInt8] {
  var process = WireWriter()
  process.stringField(1, service)
  process.message(2) {
    $0.stringField(1, "host")
    $0.stringField(3, host)
  }
  return process.bytes
}

@Suite struct JaegerLengthTests {
  @Test func attributesOfAllLengths() throws {
    let lengths = [
      0, 1, 7, 8, 15, 16, 31, 32, 33, 57, 58, 59, 62, 63, 64, 119, 127, 128, 16_383, 16_384, 70_000,
    ]
    for key in lengths {
      for text in lengths {
        let tags = [(key: key, text: text), (key: text, text: key)]
        #expect(
          try converted(span(tags: tags), .jaegerProto) == expected(tags: tags), "key \(key), text \(text)")
      }
    }
  }

  /// The lengths of the span and of what it is in take one byte more or less.
  @Test func spansOfAllLengths() throws {
    for text in Array(0..<300) + Array(16_200..<16_400) {
      let tags = [(key: 1, text: text)]
      #expect(try converted(span(tags: tags), .jaegerProto) == expected(tags: tags), "text \(text)")
    }
    let many = (0..<2000).map { (key: $0 % 70, text: $0 % 67) }
    #expect(try converted(span(tags: many), .jaegerProto) == expected(tags: many))
  }

  /// More processes than are remembered, some of them longer than what is remembered at all.
  @Test func processesThatComeAgain() throws {
    var converter = SpanConverter(.jaegerProto)
    let hosts = (0..<600).map { number in
      "\(number)" + String(repeating: "x", count: number % 50 == 0 ? 1100 : number % 40)
    }
    for round in 0..<3 {
      for host in hosts {
        for _ in 0..<2 {
          var writer = WireWriter()
          let record = span(process: process("shop", host))
          try record.withRawBytes { (bytes) throws(MalformedInput) in
            try converter.convert(bytes, into: &writer)
          }
          #expect(writer.bytes == expected(service: "shop", host: host), "round \(round), \(host)")
        }
      }
    }
    #expect(converter.byteCount < 2 << 20)
  }

  /// A process that can't be read is none that is known: the same bytes are refused again.
  @Test func badProcessesAreNotRemembered() throws {
    var converter = SpanConverter(.jaegerProto)
    var writer = WireWriter()
    let record = span(process: process("shop", "a host") + [0x12, 0x7f])
    for _ in 0..<2 {
      #expect(throws: MalformedInput.self) {
        try record.withRawBytes { (bytes) throws(MalformedInput) in
          try converter.convert(bytes, into: &writer)
        }
      }
      #expect(writer.count == 0)
    }
    try span().withRawBytes { (bytes) throws(MalformedInput) in try converter.convert(bytes, into: &writer) }
    #expect(writer.bytes == expected())
  }
}
