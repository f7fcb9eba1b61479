// A kept trace, whole: decoded from its records in the topic of kept spans.

public import OTLP

/// A span with everything that its record has of it.
struct WholeSpan: Sendable {
  struct Event: Sendable {
    var time: UInt64 = 0
    var name: [UInt8] = []
    var attributes: [Attribute] = []
  }

  struct Link: Sendable {
    var traceID: [UInt8] = []
    var spanID: [UInt8] = []
    var attributes: [Attribute] = []
  }

  var traceID: [UInt8] = []
  var spanID: [UInt8] = []
  var parentID: [UInt8] = []
  var name: [UInt8] = []
  var kind: UInt8 = 0
  var start: UInt64 = 0
  var end: UInt64 = 0
  var status: UInt64 = 0
  var statusMessage: [UInt8] = []
  var traceState: [UInt8] = []
  var attributes: [Attribute] = []
  var events: [Event] = []
  var links: [Link] = []
  /// Which of the trace's resources and scopes it has.
  var resource = 0
  var scopeName: [UInt8] = []
  var scopeVersion: [UInt8] = []

  var duration: UInt64 { end > start ? end - start : 0 }
  var isError: Bool { status == 2 }
}

/// The spans of one trace.
public struct TraceSpans: Sendable {
  /// The trace.
  public let id: TraceID
  private(set) var spans: [WholeSpan] = []
  private(set) var resources: [[Attribute]] = []
  /// Their numbers by their bytes, and their services.
  private var resourceNumbers: [[UInt8]: Int] = [:]
  private var services: [[UInt8]] = []
  private static let serviceName = Array("service.name".utf8)
  /// Whether there were more than are held.
  public private(set) var isTruncated = false
  private var known: Set<[UInt8]> = []

  /// More spans are left out.
  static let spansMax = 50_000

  /// A trace without spans.
  public init(_ id: TraceID) {
    self.id = id
  }

  /// Whether it has none.
  public var isEmpty: Bool { spans.isEmpty }

  /// How many it has.
  public var count: Int { spans.count }

  /// Adds the trace's spans in a record; those of other traces are left out, and what is damaged, too.
  public mutating func add(_ record: [UInt8]) {
    record.withRawBytes { bytes in
      do throws(MalformedInput) {
        var cursor = WireCursor(ByteRange(offset: 0, count: UInt32(clamping: bytes.byteCount)))
        while let group = try cursor.next(TracesDataField.resourceSpans, in: bytes) { try add(group, bytes) }
      } catch {}
    }
  }

  private mutating func add(_ group: ByteRange, _ bytes: RawSpan) throws(MalformedInput) {
    guard spans.count < TraceSpans.spansMax else {
      isTruncated = true
      return
    }
    var attributes: [Attribute] = []
    var key: [UInt8] = []
    var cursor = WireCursor(group)
    while let resource = try cursor.next(ResourceSpansField.resource, in: bytes) {
      key += bytes.bytes(resource)
      attributes += try Attribute.list(resource, ResourceField.attributes, in: bytes)
    }
    let resource = resourceNumbers[key] ?? resources.count
    if resource == resources.count {
      resourceNumbers[key] = resource
      services.append(attributes.last { $0.key == TraceSpans.serviceName }?.value.text ?? [])
      resources.append(attributes)
    }
    var scopes = WireCursor(group)
    while let scope = try scopes.next(ResourceSpansField.scopeSpans, in: bytes) {
      let name = try TraceSpans.scopeName(scope, bytes)
      var messages = WireCursor(scope)
      while let message = try messages.next(ScopeSpansField.spans, in: bytes) {
        try add(span: message, resource, name, bytes)
      }
    }
  }

  private mutating func add(
    span message: ByteRange, _ resource: Int, _ scope: (name: [UInt8], version: [UInt8]), _ bytes: RawSpan
  ) throws(MalformedInput) {
    guard spans.count < TraceSpans.spansMax else {
      isTruncated = true
      return
    }
    // The same bytes twice: at-least-once delivery.
    let content = bytes.bytes(message)
    var span = try WholeSpan(message, in: bytes)
    guard span.traceID.withRawBytes({ TraceID(key: $0) }) == id, known.insert(content).inserted else {
      return
    }
    span.resource = resource
    (span.scopeName, span.scopeVersion) = scope
    spans.append(span)
  }

  private static func scopeName(
    _ scope: ByteRange, _ bytes: RawSpan
  ) throws(MalformedInput) -> (name: [UInt8], version: [UInt8]) {
    var parts: (name: [UInt8], version: [UInt8]) = ([], [])
    var cursor = WireCursor(scope)
    while let message = try cursor.next(ScopeSpansField.scope, in: bytes) {
      var fields = WireCursor(message)
      while !fields.isAtEnd {
        let tag = try fields.tag(in: bytes)
        switch tag.field {
        case ScopeField.name: parts.name = bytes.bytes(try fields.content(of: tag, in: bytes))
        case ScopeField.version: parts.version = bytes.bytes(try fields.content(of: tag, in: bytes))
        default: try fields.skip(tag, in: bytes)
        }
      }
    }
    return parts
  }

  /// The `service.name` of a span's resource.
  func service(of span: WholeSpan) -> [UInt8] {
    services[span.resource]
  }

  /// Whether one span has all that a query asks of spans.
  public func matches(_ query: TraceQuery) -> Bool {
    let tags = query.tags.map { (key: Array($0.key.utf8), value: Array($0.value.utf8)) }
    return spans.contains { span in
      if let service = query.service, service != NamePool.otherText, service.utf8.count < 256,
        Array(service.utf8) != self.service(of: span)
      {
        return false
      }
      if let name = query.operation, name.utf8.count < 256, Array(name.utf8) != span.name { return false }
      if query.areDurationsOfSpans, !query.durations.contains(span.duration) { return false }
      return tags.allSatisfy { has($0.key, $0.value, span) }
    }
  }

  private func has(_ key: [UInt8], _ value: [UInt8], _ span: WholeSpan) -> Bool {
    func isWanted(_ attribute: Attribute) -> Bool { attribute.key == key && attribute.value.text == value }
    if span.attributes.contains(where: isWanted) || resources[span.resource].contains(where: isWanted) {
      return true
    }
    return switch (String(decoding: key, as: UTF8.self), String(decoding: value, as: UTF8.self)) {
    case ("error", "true"), ("otel.status_code", "ERROR"): span.isError
    case ("span.kind", let kind): SpanKind.jaegerName(span.kind) == kind
    default: false
    }
  }
}

extension WholeSpan {
  /// Attributes, events or links of a span that are shown: empty ones take two bytes of a record each, and a
  /// hundred times that in an answer.
  static let partsMax = 1024

  init(_ message: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case SpanField.traceID: traceID = bytes.bytes(try cursor.content(of: tag, in: bytes))
      case SpanField.spanID: spanID = bytes.bytes(try cursor.content(of: tag, in: bytes))
      case SpanField.parentSpanID:
        parentID = bytes.bytes(try cursor.content(of: tag, in: bytes))
        // As the sampler sees it: a root.
        if parentID.allSatisfy({ $0 == 0 }) { parentID = [] }
      case SpanField.traceState: traceState = bytes.bytes(try cursor.content(of: tag, in: bytes))
      case SpanField.name: name = bytes.bytes(try cursor.content(of: tag, in: bytes))
      case SpanField.kind: kind = UInt8(clamping: try cursor.varint(of: tag, in: bytes))
      case SpanField.start: start = try cursor.fixed64(of: tag, in: bytes)
      case SpanField.end: end = try cursor.fixed64(of: tag, in: bytes)
      case SpanField.attributes:
        let part = try cursor.content(of: tag, in: bytes)
        if attributes.count < WholeSpan.partsMax { attributes.append(try Attribute(part, bytes)) }
      case SpanField.events:
        let part = try cursor.content(of: tag, in: bytes)
        if events.count < WholeSpan.partsMax { events.append(try Event(part, in: bytes)) }
      case SpanField.links:
        let part = try cursor.content(of: tag, in: bytes)
        if links.count < WholeSpan.partsMax { links.append(try Link(part, in: bytes)) }
      case SpanField.status: try readStatus(try cursor.content(of: tag, in: bytes), bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
  }

  private mutating func readStatus(_ message: ByteRange, _ bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case StatusField.message: statusMessage = bytes.bytes(try cursor.content(of: tag, in: bytes))
      case StatusField.code: status = try cursor.varint(of: tag, in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
  }
}

extension WholeSpan.Event {
  init(_ message: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case EventField.time: time = try cursor.fixed64(of: tag, in: bytes)
      case EventField.name: name = bytes.bytes(try cursor.content(of: tag, in: bytes))
      case EventField.attributes:
        attributes.append(try Attribute(try cursor.content(of: tag, in: bytes), bytes))
      default: try cursor.skip(tag, in: bytes)
      }
    }
  }
}

extension WholeSpan.Link {
  init(_ message: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case LinkField.traceID: traceID = bytes.bytes(try cursor.content(of: tag, in: bytes))
      case LinkField.spanID: spanID = bytes.bytes(try cursor.content(of: tag, in: bytes))
      case LinkField.attributes:
        attributes.append(try Attribute(try cursor.content(of: tag, in: bytes), bytes))
      default: try cursor.skip(tag, in: bytes)
      }
    }
  }
}
