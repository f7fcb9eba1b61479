// A decoder of OTLP traces for these tests, independent of the scanner: slow, plain, one value per span.

/// A span as on the wire, with its resource's service.
struct DecodedSpan {
  var traceID: [UInt8] = []
  var id: UInt64 = 0
  var parent: UInt64?
  var name = ""
  var service = ""
  var traceState = ""
  var kind: UInt64 = 0
  var start: Int64 = 0
  var end: Int64 = 0
  var status: UInt64 = 0
  /// Field numbers in the order of the bytes.
  var fields: [UInt64] = []

  var isError: Bool { status == 2 }

  /// The halves of the trace id, as in truths.
  var trace: TraceKey {
    TraceKey(high: traceID.prefix(8).bigEndian, low: traceID.suffix(8).bigEndian)
  }
}

/// A trace id.
struct TraceKey: Hashable {
  var high: UInt64
  var low: UInt64
}

/// One field of a message.
struct PlainField {
  var number: UInt64
  /// The value of a varint or fixed field.
  var value: UInt64 = 0
  /// The content of any other field.
  var content: ArraySlice<UInt8> = []

  var text: String { String(decoding: content, as: UTF8.self) }
}

struct PlainDecodingError: Error {}

/// Splits a message into its fields.
func decodeFields(_ message: ArraySlice<UInt8>) throws -> [PlainField] {
  var fields: [PlainField] = []
  var rest = message
  func take(_ count: Int) throws -> ArraySlice<UInt8> {
    guard count <= rest.count else { throw PlainDecodingError() }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }
  func varint() throws -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard let byte = try take(1).first else { throw PlainDecodingError() }
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
    }
    throw PlainDecodingError()
  }
  while !rest.isEmpty {
    let tag = try varint()
    var field = PlainField(number: tag >> 3)
    switch tag & 7 {
    case 0: field.value = try varint()
    case 1: field.value = try take(8).littleEndian
    case 2: field.content = try take(Int(try varint()))
    case 5: field.value = try take(4).littleEndian
    default: throw PlainDecodingError()
    }
    fields.append(field)
  }
  return fields
}

/// All spans of a `TracesData`, in byte order.
func decodeSpans(_ record: [UInt8]) throws -> [DecodedSpan] {
  var spans: [DecodedSpan] = []
  for resourceSpans in try decodeFields(record[...]) where resourceSpans.number == 1 {
    let parts = try decodeFields(resourceSpans.content)
    let service = try parts.filter { $0.number == 1 }.compactMap { try serviceName($0.content) }.first ?? ""
    for scopeSpans in parts where scopeSpans.number == 2 {
      for span in try decodeFields(scopeSpans.content) where span.number == 2 {
        spans.append(try decodeSpan(span.content, service))
      }
    }
  }
  return spans
}

private func serviceName(_ resource: ArraySlice<UInt8>) throws -> String? {
  for attribute in try decodeFields(resource) where attribute.number == 1 {
    let pair = try decodeFields(attribute.content)
    guard pair.contains(where: { $0.number == 1 && $0.text == "service.name" }) else { continue }
    for value in pair where value.number == 2 {
      return try decodeFields(value.content).first { $0.number == 1 }?.text
    }
  }
  return nil
}

private func decodeSpan(_ message: ArraySlice<UInt8>, _ service: String) throws -> DecodedSpan {
  var span = DecodedSpan(service: service)
  for field in try decodeFields(message) {
    span.fields.append(field.number)
    switch field.number {
    case 1: span.traceID = Array(field.content)
    case 2: span.id = field.content.bigEndian
    case 3: span.traceState = field.text
    case 4: span.parent = field.content.bigEndian
    case 5: span.name = field.text
    case 6: span.kind = field.value
    case 7: span.start = Int64(bitPattern: field.value)
    case 8: span.end = Int64(bitPattern: field.value)
    case 15: span.status = try decodeFields(field.content).first { $0.number == 3 }?.value ?? 0
    default: break
    }
  }
  return span
}

extension ArraySlice<UInt8> {
  fileprivate var bigEndian: UInt64 { reduce(0) { $0 << 8 | UInt64($1) } }
  fileprivate var littleEndian: UInt64 { reversed().reduce(0) { $0 << 8 | UInt64($1) } }
}
