// The entry point: records of spans in other encodings become OTLP protobuf, which everything after it reads.

public import OTLP

/// The encodings of spans, besides OTLP's own.
public enum ForeignEncoding: Sendable, CaseIterable {
  /// One `jaeger.api_v2.Span`, as Jaeger's collector writes it to Kafka.
  case jaegerProto
  /// The same in protobuf's JSON; or a span, a trace or an answer as Jaeger's query API and store write them.
  case jaegerJSON
  /// Zipkin's `ListOfSpans`.
  case zipkinProto
  /// A list of spans in Zipkin's JSON, version 2; or one span.
  case zipkinJSON

  /// Whether records are JSON.
  public var isJSON: Bool { self == .jaegerJSON || self == .zipkinJSON }
}

/// How many tags, events and links a span may have. In memory each takes many times the two bytes that an
/// empty one has in a record: so one in eight bytes, and a few more. The smallest useful tag has seven.
struct PartLimit {
  private let most: Int

  init(_ range: ByteRange) { most = 1 << 14 + Int(range.count) / 8 }

  func check(_ parts: Int, at offset: Int) throws(MalformedInput) {
    guard parts <= most else { throw MalformedInput(.splitTooLarge, at: offset) }
  }
}

/// Converts records to OTLP protobuf. Reused: it keeps its storage.
///
/// The mapping is OpenTelemetry's:
/// <https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/jaeger/>,
/// <https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin/>, and the Collector's translators,
/// `pkg/translator` of <https://github.com/open-telemetry/opentelemetry-collector-contrib>. docs/encodings.md
/// has it in full.
public struct SpanConverter: Sendable {
  private let encoding: ForeignEncoding
  private var output = TracesOutput()
  private var jaeger = JaegerSpan()
  private var zipkin: ZipkinSpan
  /// The span of a document that is being converted, in its source's protobuf.
  private var inner = WireWriter()
  /// How many bytes the record may become, and where in the written bytes that ends.
  private var (room, limit) = (0, 0)
  /// What is wrong with one that would become more.
  private var excess = MalformedInput.Reason.splitTooLarge
  /// The last record's spans that could not be converted, while others could.
  public private(set) var rejected = RejectedParts()

  /// Makes a converter of records in `encoding`.
  public init(_ encoding: ForeignEncoding) {
    self.encoding = encoding
    zipkin = ZipkinSpan(readsAddresses: encoding.isJSON)
  }

  /// Bytes of memory in use.
  public var byteCount: Int {
    jaeger.byteCount + zipkin.byteCount + inner.byteCount + rejected.byteCount
  }

  /// A record becomes at most so many times its size, but may always become 4 MiB: spans repeat resources.
  private static let growthMax = 16
  private static let bytesMin = 4 << 20

  /// Converts one record and appends the bytes to `writer`; none if it has no usable span.
  ///
  /// Unusable spans in a list are left out and noted in `rejected`, as long as the list itself can be read.
  ///
  /// - Throws: `MalformedInput`, whose offset is in `bytes`; `writer` is then as it was. The reasons are
  ///   those of OTLP and its JSON, `splitTooLarge` if the result would be far larger than the record, and
  ///   `recordTooLarge` if it would have more than `bytesMax` bytes.
  public mutating func convert(
    _ bytes: RawSpan, into writer: inout WireWriter, bytesMax: Int = .max
  ) throws(MalformedInput) {
    rejected.removeAll()
    guard bytes.byteCount > 0 else { throw MalformedInput(.empty, at: 0) }
    // Offsets have 32 bits.
    guard bytes.byteCount <= Int(Int32.max) else { throw MalformedInput(.recordTooLarge, at: 0) }
    let start = writer.count
    let grown = max(SpanConverter.bytesMin, bytes.byteCount * SpanConverter.growthMax)
    room = min(grown, bytesMax)
    limit = start + room
    excess = bytesMax < grown ? .recordTooLarge : .splitTooLarge
    output.begin()
    do throws(MalformedInput) {
      switch encoding {
      case .jaegerProto:
        let range = ByteRange(offset: 0, count: UInt32(bytes.byteCount))
        try writeJaeger(range, of: bytes, to: &writer)
      case .jaegerJSON: try convertJaegerDocument(bytes, into: &writer)
      case .zipkinProto: try convertZipkinList(bytes, into: &writer)
      case .zipkinJSON: try convertZipkinDocument(bytes, into: &writer)
      }
      output.finish(&writer)
      // With the lengths of the groups, which are written last.
      guard writer.count <= limit else { throw MalformedInput(excess, at: 0) }
    } catch {
      writer.appendBytes { $0.removeSubrange(start...) }
      throw error
    }
  }

  // MARK: Jaeger

  private mutating func writeJaeger(
    _ range: ByteRange, of bytes: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    try jaeger.read(range, in: bytes)
    output.open(resource: jaeger.resource, scope: jaeger.scope, in: &writer)
    jaeger.write(to: &writer, in: bytes)
  }

  /// A span that can't be converted costs its document: a record of a topic has one span, and an answer or a
  /// trace reduced to some spans would be another document.
  private mutating func convertJaegerDocument(
    _ json: RawSpan, into writer: inout WireWriter
  ) throws(MalformedInput) {
    var cursor = JSONCursor()
    var document = JaegerDocument(processBytesMax: room)
    try document.forEachSpan(&cursor, in: json) { (document, cursor) throws(MalformedInput) in
      _ = try cursor.valueKind(in: json)
      let start = cursor.offset
      inner.removeAll()
      try document.read(&cursor, in: json, to: &inner)
      // Offsets have 32 bits.
      guard inner.count <= Int(Int32.max) else { throw MalformedInput(.splitTooLarge, at: start) }
      try SpanConverter.placing(at: start) { () throws(MalformedInput) in
        try inner.bytes.withRawBytes { (bytes) throws(MalformedInput) in
          let range = ByteRange(offset: 0, count: UInt32(bytes.byteCount))
          try writeJaeger(range, of: bytes, to: &writer)
        }
      }
      guard writer.count <= limit else { throw MalformedInput(excess, at: start) }
    }
    try cursor.finish(in: json)
  }

  // MARK: Zipkin

  private mutating func writeZipkin(
    _ range: ByteRange, of bytes: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    try zipkin.read(range, in: bytes)
    output.open(resource: zipkin.resource, scope: zipkin.scope, in: &writer)
    zipkin.write(to: &writer, in: bytes)
    rejected.endRun()
  }

  private mutating func convertZipkinList(
    _ bytes: RawSpan, into writer: inout WireWriter
  ) throws(MalformedInput) {
    var cursor = WireCursor(ByteRange(offset: 0, count: UInt32(bytes.byteCount)))
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      guard tag.field == ZipkinListField.spans else {
        try cursor.skip(tag, in: bytes)
        continue
      }
      let content = try cursor.content(of: tag, in: bytes)
      do throws(MalformedInput) {
        try writeZipkin(content, of: bytes, to: &writer)
      } catch {
        // Other errors say that the bytes are not what they claim to be.
        guard error.reason.isOfOneSpan else { throw error }
        rejected.note(
          error, in: tag.offset..<content.indices.upperBound, zipkin.traceID, zipkin.spanID)
      }
      guard writer.count <= limit else { throw MalformedInput(excess, at: tag.offset) }
    }
  }

  private mutating func convertZipkinDocument(
    _ json: RawSpan, into writer: inout WireWriter
  ) throws(MalformedInput) {
    var cursor = JSONCursor()
    if try cursor.valueKind(in: json) == .object {
      try convertZipkinSpan(&cursor, in: json, to: &writer)
    } else {
      try cursor.openArray(in: json)
      while try cursor.nextElement(in: json) { try convertZipkinSpan(&cursor, in: json, to: &writer) }
    }
    try cursor.finish(in: json)
  }

  private mutating func convertZipkinSpan(
    _ cursor: inout JSONCursor, in json: RawSpan, to writer: inout WireWriter
  ) throws(MalformedInput) {
    _ = try cursor.valueKind(in: json)
    let before = cursor
    do throws(MalformedInput) {
      inner.removeAll()
      try ZipkinDocument.read(&cursor, in: json, to: &inner)
      try SpanConverter.placing(at: before.offset) { () throws(MalformedInput) in
        try inner.bytes.withRawBytes { (bytes) throws(MalformedInput) in
          let range = ByteRange(offset: 0, count: UInt32(bytes.byteCount))
          try writeZipkin(range, of: bytes, to: &writer)
        }
      }
    } catch {
      // Throws if it is not JSON.
      cursor = before
      try cursor.skipValue(in: json)
      let ids = inner.bytes.withRawBytes { ZipkinSpan.identifiers(in: $0) }
      rejected.note(error, in: before.offset..<cursor.offset, ids.trace, ids.span)
    }
    guard writer.count <= limit else { throw MalformedInput(excess, at: before.offset) }
  }

  /// Places errors in a document: those of what it was converted to first are in the span at `offset`.
  private static func placing(
    at offset: Int, _ body: () throws(MalformedInput) -> Void
  ) throws(MalformedInput) {
    do throws(MalformedInput) { try body() } catch { throw MalformedInput(error.reason, at: offset) }
  }
}
