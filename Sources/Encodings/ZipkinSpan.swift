// Zipkin's spans, from protobuf to OTLP.

import OTLP

/// Reads one span of Zipkin's protobuf and writes it as OTLP. Reused: it keeps its storage.
///
/// The two halves of a call share a span id in Zipkin. OTLP has nothing like that: both are kept, with that
/// id and the same parent.
struct ZipkinSpan {
  private(set) var traceID = TraceID(high: 0, low: 0)
  private(set) var spanID: UInt64 = 0
  private var parentID: UInt64 = 0
  private var kind = SpanKindNumber.unspecified
  private var name = ByteRange(offset: 0, count: 0)
  /// In microseconds.
  private var start: UInt64 = 0
  private var duration: UInt64 = 0
  private var local = Endpoint()
  private var remote = Endpoint()
  private var annotations: [Annotation] = []
  private var tags: [SpanTag] = []
  private var special = TagsOfFields()
  /// How many bytes the span was read from.
  private var byteCountRead = 0
  /// The contents of the messages of its resource and scope.
  private(set) var resource: [UInt8] = []
  private(set) var scope: [UInt8] = []
  /// Whether endpoints may have addresses as text: only those that we have written.
  private let readsAddresses: Bool

  private struct Endpoint {
    var serviceName = ByteRange(offset: 0, count: 0)
    var ipv4: ByteRange?
    var ipv6: ByteRange?
    var address: ByteRange?
    var address6: ByteRange?
    var port: UInt64 = 0
  }

  private struct Annotation {
    var time: UInt64 = 0
    var value: ByteRange?
  }

  private static let serviceName = Array("service.name".utf8)
  private static let peerService = Array("peer.service".utf8)
  private static let localAddress = Array("network.local.address".utf8)
  private static let localPort = Array("network.local.port".utf8)
  private static let peerAddress = Array("network.peer.address".utf8)
  private static let peerPort = Array("network.peer.port".utf8)
  private static let startIsAbsent = Array("otel.zipkin.absentField.startTime".utf8)

  init(readsAddresses: Bool) { self.readsAddresses = readsAddresses }

  // MARK: Reading

  /// Reads the span in `range`. Of a field that comes twice the last one counts.
  ///
  /// - Throws: what is wrong with its wire format; `identifierMissing` at its beginning.
  mutating func read(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    (traceID, spanID, parentID) = (TraceID(high: 0, low: 0), 0, 0)
    (kind, name) = (.unspecified, ByteRange(offset: 0, count: 0))
    (start, duration, local, remote) = (0, 0, Endpoint(), Endpoint())
    annotations.removeAll(keepingCapacity: true)
    tags.removeAll(keepingCapacity: true)
    special = TagsOfFields()
    byteCountRead = Int(range.count)
    let limit = PartLimit(range)
    var cursor = WireCursor(range)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      try limit.check(tags.count + annotations.count, at: tag.offset)
      switch tag.field {
      case ZipkinSpanField.traceID: traceID = try bytes.traceID(cursor.content(of: tag, in: bytes))
      case ZipkinSpanField.parentID: parentID = try bytes.spanID(cursor.content(of: tag, in: bytes))
      case ZipkinSpanField.spanID: spanID = try bytes.spanID(cursor.content(of: tag, in: bytes))
      case ZipkinSpanField.kind: kind = ZipkinSpan.kind(try cursor.varint(of: tag, in: bytes))
      case ZipkinSpanField.name: name = try cursor.content(of: tag, in: bytes)
      case ZipkinSpanField.timestamp: start = try cursor.fixed64(of: tag, in: bytes)
      case ZipkinSpanField.duration: duration = try cursor.varint(of: tag, in: bytes)
      case ZipkinSpanField.localEndpoint: local = try endpoint(cursor.content(of: tag, in: bytes), in: bytes)
      case ZipkinSpanField.remoteEndpoint:
        remote = try endpoint(cursor.content(of: tag, in: bytes), in: bytes)
      case ZipkinSpanField.annotations:
        annotations.append(try ZipkinSpan.annotation(cursor.content(of: tag, in: bytes), in: bytes))
      case ZipkinSpanField.tags:
        let found = try ZipkinSpan.tag(cursor.content(of: tag, in: bytes), in: bytes)
        special.note(found, at: tags.count, in: bytes)
        tags.append(found)
      default: try cursor.skip(tag, in: bytes)
      }
    }
    guard !traceID.isZero, spanID != 0 else {
      throw MalformedInput(.identifierMissing, at: Int(range.offset))
    }
    renderResource(in: bytes)
    renderScope(in: bytes)
  }

  /// The ids of a span that could not be read in full, where it has any.
  static func identifiers(in bytes: RawSpan) -> (trace: TraceID, span: UInt64) {
    var found = (trace: TraceID(high: 0, low: 0), span: UInt64(0))
    var cursor = WireCursor(ByteRange(offset: 0, count: UInt32(bytes.byteCount)))
    do throws(MalformedInput) {
      while !cursor.isAtEnd {
        let tag = try cursor.tag(in: bytes)
        switch tag.field {
        case ZipkinSpanField.traceID: found.trace = try bytes.traceID(cursor.content(of: tag, in: bytes))
        case ZipkinSpanField.spanID: found.span = try bytes.spanID(cursor.content(of: tag, in: bytes))
        default: try cursor.skip(tag, in: bytes)
        }
      }
    } catch {
      // The ids read so far are all there is.
    }
    return found
  }

  private static func kind(_ number: UInt64) -> SpanKindNumber {
    switch ZipkinKind(rawValue: number) {
    case .client: .client
    case .server: .server
    case .producer: .producer
    case .consumer: .consumer
    case nil: .unspecified
    }
  }

  private static func tag(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) -> SpanTag {
    var found = SpanTag()
    var cursor = WireCursor(range)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case ZipkinTagField.key: found.key = try cursor.content(of: tag, in: bytes)
      case ZipkinTagField.value: found.value = .text(try cursor.content(of: tag, in: bytes))
      default: try cursor.skip(tag, in: bytes)
      }
    }
    return found
  }

  private static func annotation(
    _ range: ByteRange, in bytes: RawSpan
  ) throws(MalformedInput) -> Annotation {
    var found = Annotation()
    var cursor = WireCursor(range)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case ZipkinAnnotationField.timestamp: found.time = try cursor.fixed64(of: tag, in: bytes)
      case ZipkinAnnotationField.value: found.value = try cursor.content(of: tag, in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
    return found
  }

  private func endpoint(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) -> Endpoint {
    var found = Endpoint()
    var cursor = WireCursor(range)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case ZipkinEndpointField.serviceName: found.serviceName = try cursor.content(of: tag, in: bytes)
      case ZipkinEndpointField.ipv4: found.ipv4 = try cursor.content(of: tag, in: bytes)
      case ZipkinEndpointField.ipv6: found.ipv6 = try cursor.content(of: tag, in: bytes)
      case ZipkinEndpointField.port: found.port = try cursor.varint(of: tag, in: bytes)
      case ZipkinEndpointField.address where readsAddresses:
        let text = try cursor.content(of: tag, in: bytes)
        found.address = text.count > 0 ? text : nil
      case ZipkinEndpointField.address6 where readsAddresses:
        let text = try cursor.content(of: tag, in: bytes)
        found.address6 = text.count > 0 ? text : nil
      default: try cursor.skip(tag, in: bytes)
      }
    }
    return found
  }

  // MARK: Resource and scope

  /// The local endpoint's name is the service. Tags with the names of resource attributes are what an
  /// exporter has made of a resource.
  private mutating func renderResource(in bytes: RawSpan) {
    resource.removeAll(keepingCapacity: true)
    resource.appendText(room: room) { out in
      if local.serviceName.count > 0 {
        ZipkinSpan.serviceName.withRawBytes {
          out.attribute(
            ResourceField.attributes, $0, AnyValueField.string, bytes.extracting(local.serviceName.indices))
        }
      }
      for index in tags.indices where bytes.isOfResource(tags[index].key) {
        // The endpoint's name comes first.
        if local.serviceName.count > 0, bytes.spells("service.name", in: tags[index].key) { continue }
        tags[index].isUsed = true
        out.attribute(ResourceField.attributes, tags[index], in: bytes)
      }
    }
  }

  private mutating func renderScope(in bytes: RawSpan) {
    scope.removeAll(keepingCapacity: true)
    guard let name = use(special.scopeName) else { return }
    let version = use(special.scopeVersion)
    scope.appendText(room: Int(name.count) + Int(version?.count ?? 0) + OutputRoom.span) { out in
      out.text(ScopeField.name, name, in: bytes)
      out.text(ScopeField.version, version, in: bytes)
    }
  }

  /// The most bytes that the span may take, or its resource. Each of its texts is written once, except for
  /// the status's. Up to six attributes have keys of our own, and addresses of up to 45 characters.
  private var room: Int {
    OutputRoom.span + 2 * byteCountRead + OutputRoom.attribute * tags.count
      + OutputRoom.event * annotations.count + 6 * (OutputRoom.attribute + 96)
  }

  /// The text of the tag at `index`, which is then no attribute; nil if there is none.
  private mutating func use(_ index: Int?) -> ByteRange? {
    guard let index else { return nil }
    tags[index].isUsed = true
    return tags[index].text
  }

  // MARK: Writing

  /// Writes the span that was read, as a field of its scope's message.
  mutating func write(to writer: inout WireWriter, in bytes: RawSpan) {
    if kind == .unspecified, let index = special.kind, let text = tags[index].text {
      kind = SpanKindNumber(named: text, in: bytes)
      if kind != .unspecified { tags[index].isUsed = true }
    }
    let status = status(in: bytes)
    let traceState = use(special.traceState)
    writer.appendFields(room: room) { out in
      // Most spans have a length of two bytes.
      out.message(FieldTag.delimited(ScopeSpansField.spans), lengthBytes: 2) { out in
        writeFields(status, traceState, to: &out, in: bytes)
      }
    }
  }

  /// Mutating, as in `JaegerSpan`.
  private mutating func writeFields(
    _ status: MappedStatus, _ traceState: ByteRange?, to out: inout TextOutput, in bytes: RawSpan
  ) {
    out.identifiers(traceID, spanID)
    out.text(SpanField.traceState, traceState, in: bytes)
    if parentID != spanID { out.parent(parentID) }
    out.text(SpanField.name, name, in: bytes)
    out.kind(kind)
    out.time(SpanField.start, ZipkinSpan.nanoseconds(start))
    let (end, overflow) = start.addingReportingOverflow(duration)
    out.time(SpanField.end, ZipkinSpan.nanoseconds(overflow ? .max : end))
    for tag in tags where !tag.isUsed { out.attribute(SpanField.attributes, tag, in: bytes) }
    writeEndpoints(to: &out, in: bytes)
    if start == 0 {
      ZipkinSpan.startIsAbsent.withRawBytes { out.attribute(SpanField.attributes, $0, boolean: true) }
    }
    for annotation in annotations { ZipkinSpan.write(annotation, to: &out, in: bytes) }
    out.status(status, in: bytes)
  }

  /// From microseconds; what is too far in the future stops at the end.
  private static func nanoseconds(_ time: UInt64) -> UInt64 {
    let (product, overflow) = time.multipliedReportingOverflow(by: 1000)
    return overflow ? .max : product
  }

  /// In Zipkin the tag `error` says that there was one, and its value is a message; only `false` says that
  /// there was none.
  private mutating func status(in bytes: RawSpan) -> MappedStatus {
    var status = MappedStatus()
    if let code = use(special.statusCode) { status.code = MappedStatus.code(named: code, in: bytes) }
    if let error = special.error, !tags[error].isText("false", in: bytes) {
      status.code = MappedStatus.error
      let saysMore = !tags[error].isText("true", in: bytes)
      if special.statusDescription == nil || !saysMore { tags[error].isUsed = true }
      if saysMore, special.statusDescription == nil { status.message = tags[error].text }
    }
    if status.code != 0 { status.message = use(special.statusDescription) ?? status.message }
    return status
  }

  private mutating func writeEndpoints(to out: inout TextOutput, in bytes: RawSpan) {
    if remote.serviceName.count > 0 {
      ZipkinSpan.peerService.withRawBytes {
        out.attribute(
          SpanField.attributes, $0, AnyValueField.string, bytes.extracting(remote.serviceName.indices))
      }
    }
    ZipkinSpan.write(local, ZipkinSpan.localAddress, ZipkinSpan.localPort, to: &out, in: bytes)
    ZipkinSpan.write(remote, ZipkinSpan.peerAddress, ZipkinSpan.peerPort, to: &out, in: bytes)
  }

  private static func write(
    _ endpoint: Endpoint, _ addressKey: [UInt8], _ portKey: [UInt8], to out: inout TextOutput,
    in bytes: RawSpan
  ) {
    let address =
      (endpoint.address ?? endpoint.address6).map { bytes.extracting($0.indices).copied() }
      ?? endpoint.ipv4.flatMap { bytes.extracting($0.indices).copied().addressText }
      ?? endpoint.ipv6.flatMap { bytes.extracting($0.indices).copied().addressText }
    if let address {
      addressKey.withRawBytes { key in
        address.withRawBytes { out.attribute(SpanField.attributes, key, AnyValueField.string, $0) }
      }
    }
    if endpoint.port > 0, endpoint.port <= 65_535 {
      portKey.withRawBytes {
        out.attribute(SpanField.attributes, $0, integer: Int64(endpoint.port))
      }
    }
  }

  private static func write(_ annotation: Annotation, to out: inout TextOutput, in bytes: RawSpan) {
    out.message(FieldTag.delimited(SpanField.events), lengthBytes: 1) { out in
      out.time(EventField.time, ZipkinSpan.nanoseconds(annotation.time))
      out.text(EventField.name, annotation.value, in: bytes)
    }
  }

  /// Bytes of memory in use.
  var byteCount: Int {
    tags.capacity * MemoryLayout<SpanTag>.stride + annotations.capacity * MemoryLayout<Annotation>.stride
      + resource.capacity + scope.capacity
  }
}

extension RawSpan {
  /// The beginnings of the names of resource attributes.
  ///
  /// Source: the semantic conventions of resources, version 1.6.1, as in the Collector's translator. Left out
  /// are the groups whose names spans have as well.
  private static let resourceGroups: [StaticString] = [
    "service.", "telemetry.", "host.", "container.", "k8s.", "cloud.", "deployment.", "device.", "os.",
    "process.", "webengine.", "aws.ecs.", "aws.eks.", "aws.log.",
  ]

  /// Whether `key` is the name of a resource's attribute.
  fileprivate func isOfResource(_ key: ByteRange) -> Bool {
    RawSpan.resourceGroups.contains { group in
      let count = UInt32(group.utf8CodeUnitCount)
      return key.count > count && spells(group, in: ByteRange(offset: key.offset, count: count))
    }
  }
}
