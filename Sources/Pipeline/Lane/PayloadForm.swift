// Guesses what an unreadable value is: common configuration mistakes, named in the dead letter and the log.
// No decision depends on it.

internal import OTLP
import Topology

/// What a value appears to be.
enum PayloadForm: String, CaseIterable {
  case gzip, zstd, snappy, lz4
  case schemaRegistry = "schema_registry"
  case otlpProto = "otlp_proto"
  case otlpJSON = "otlp_json"
  case json
  case jaegerProto = "jaeger_proto"
  case jaegerJSON = "jaeger_json"
  case jaegerThrift = "jaeger_thrift"
  case zipkinProto = "zipkin_proto"
  case zipkinJSON = "zipkin_json"
  case zipkinThrift = "zipkin_thrift"

  /// In words.
  var description: String {
    switch self {
    case .gzip: "gzip, compressed by its producer"
    case .zstd: "a zstd frame, compressed by its producer"
    case .snappy: "snappy, compressed by its producer"
    case .lz4: "an lz4 frame, compressed by its producer (use the client's compression instead)"
    case .schemaRegistry: "a value with a schema registry's prefix (a zero byte and a four-byte id)"
    case .otlpProto: "OTLP protobuf"
    case .otlpJSON: "OTLP JSON"
    case .json: "JSON that is not OTLP"
    case .jaegerProto: "a Jaeger span (protobuf)"
    case .jaegerJSON: "Jaeger spans (JSON)"
    case .jaegerThrift: "Jaeger spans (Thrift)"
    case .zipkinProto: "Zipkin spans (protobuf)"
    case .zipkinJSON: "Zipkin spans (JSON)"
    case .zipkinThrift: "Zipkin spans (Thrift)"
    }
  }

  /// The encoding that a topology may name for it.
  var encoding: SpanEncoding? { SpanEncoding(rawValue: rawValue) }

  /// How many bytes are examined.
  private static let bytesMax = 8192

  /// Nil for an unknown form, and for the one that the topic should hold.
  init?(_ value: RawSpan, insteadOf encoding: SpanEncoding) {
    if encoding != .otlpProto, PayloadForm.isOTLP(value) {
      self = .otlpProto
      return
    }
    let head = value.copied(upTo: PayloadForm.bytesMax)
    guard let form = PayloadForm.compression(head) ?? PayloadForm.text(head) ?? PayloadForm.binary(head)
    else { return nil }
    // Broken, or without spans: the error already says so.
    if form.encoding == encoding || encoding.isJSON && form == .json { return nil }
    self = form
  }

  /// Magic numbers: RFC 1952; RFC 8878; the LZ4 frame format; the framing formats of snappy and of its Java
  /// port, which early Kafka clients used; Confluent's wire format.
  private static func compression(_ head: [UInt8]) -> PayloadForm? {
    if head.starts(with: [0x1f, 0x8b]) { return .gzip }
    if head.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) { return .zstd }
    if head.starts(with: [0x04, 0x22, 0x4d, 0x18]) { return .lz4 }
    if head.starts(with: [0xff, 0x06, 0x00, 0x00] + Array("sNaPpY".utf8)) { return .snappy }
    if head.starts(with: [0x82] + Array("SNAPPY".utf8) + [0]) { return .snappy }
    // An id is a positive 32-bit number.
    if head.count > 5, head[0] == 0, head[1] < 0x80, head[1..<5].contains(where: { $0 != 0 }) {
      return .schemaRegistry
    }
    return nil
  }

  private static func text(_ head: [UInt8]) -> PayloadForm? {
    let start = head.starts(with: [0xef, 0xbb, 0xbf]) ? 3 : 0
    let first = head[start...].first { ![0x20, 0x09, 0x0a, 0x0d].contains($0) }
    guard first == UInt8(ascii: "{") || first == UInt8(ascii: "[") else { return nil }
    // White space and a bracket may also begin a protobuf message; quoted names are unlikely in one.
    guard head.contains(UInt8(ascii: "\"")) || head.allSatisfy({ $0 < 0x80 && $0 != 0 }) else { return nil }
    func has(_ names: String...) -> Bool {
      names.contains { head.contains(Array("\"\($0)\"".utf8)) }
    }
    if has("resourceSpans", "resource_spans") { return .otlpJSON }
    if has("operationName", "operation_name") || has("traceID") && has("spanID", "spans") {
      return .jaegerJSON
    }
    if has("localEndpoint", "remoteEndpoint", "binaryAnnotations") { return .zipkinJSON }
    if has("traceId") && has("id") { return .zipkinJSON }
    return .json
  }

  /// Messages by their first fields: ids, whose lengths are fixed.
  private static func binary(_ head: [UInt8]) -> PayloadForm? {
    func byte(_ offset: Int) -> UInt8? { offset < head.count ? head[offset] : nil }
    // Jaeger's `model.Span`: trace id of 16 bytes (1), span id of 8 (2).
    if byte(0) == 0x0a, byte(1) == 16, byte(18) == 0x12, byte(19) == 8 { return .jaegerProto }
    // Zipkin's `ListOfSpans`: spans (1) of trace id (1), and parent (2) or id (3) of 8 bytes.
    if byte(0) == 0x0a, let start = endOfLength(head, 1), byte(start) == 0x0a, let count = byte(start + 1),
      count == 8 || count == 16
    {
      let next = start + 2 + Int(count)
      if byte(next) == 0x12 || byte(next) == 0x1a, byte(next + 1) == 8 { return .zipkinProto }
    }
    // Thrift, strict binary or compact: a call to the agent or the collector.
    if head.starts(with: [0x80, 0x01, 0x00]) || head.starts(with: [0x82]) {
      let start = head.prefix(64)
      if start.contains(Array("emitBatch".utf8)) || start.contains(Array("submitBatches".utf8)) {
        return .jaegerThrift
      }
      if start.contains(Array("emitZipkinBatch".utf8)) { return .zipkinThrift }
    }
    // A list of structs (12) whose first field (1) is a trace id (i64, 10); a bare Jaeger span, whose second
    // field is one as well; Jaeger's batch, which begins with a process and its name.
    if byte(0) == 0x0c, byte(1) == 0, byte(5) == 0x0a, byte(6) == 0, byte(7) == 1 { return .zipkinThrift }
    let isField = byte(0) == 0x0a && byte(1) == 0 && byte(2) == 1
    if isField, byte(11) == 0x0a, byte(12) == 0, byte(13) == 2 { return .jaegerThrift }
    if head.starts(with: [0x0c, 0, 1, 0x0b, 0, 1]) || head.starts(with: [0x1c, 0x18]) {
      return .jaegerThrift
    }
    return nil
  }

  /// Where the content after the length at `start` begins.
  private static func endOfLength(_ head: [UInt8], _ start: Int) -> Int? {
    head.indices.dropFirst(start).prefix(5).first { head[$0] < 0x80 }.map { $0 + 1 }
  }

  private static func isOTLP(_ value: RawSpan) -> Bool {
    var record = ScannedRecord()
    do throws(MalformedInput) { try record.scan(value) } catch { return false }
    return true
  }
}

extension RawSpan {
  /// The first bytes as an array.
  fileprivate func copied(upTo countMax: Int) -> [UInt8] {
    extracting(0..<Swift.min(byteCount, countMax)).copied()
  }
}
