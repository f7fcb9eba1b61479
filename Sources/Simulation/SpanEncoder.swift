// Encodes planned spans as OTLP, in either field order.

import OTLP

/// What all spans of a trace share.
struct TraceIdentity {
  var high: UInt64
  var low: UInt64
  /// Empty for none.
  var traceState: String

  init(high: UInt64, low: UInt64, traceState: String) {
    (self.high, self.low, self.traceState) = (high, low, traceState)
  }

  init(_ id: TraceID) { self.init(high: id.high, low: id.low, traceState: "") }

  var id: TraceID { TraceID(high: high, low: low) }

  var idBytes: [UInt8] {
    [high, low].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> UInt64(56 - 8 * $0)) } }
  }
}

/// The services' names and the content of their resources and spans.
struct ServiceCatalogue: Sendable {
  private static let names = [
    "frontend", "checkout", "cart", "catalogue", "payment", "inventory", "shipping", "recommendation",
    "search",
    "pricing", "email", "fraud",
  ]
  private static let verbs = [
    "GET /", "POST /orders", "GET /items/{id}", "PUT /cart", "GET /quotes", "SELECT orders", "load template",
    "validate", "HGETALL session", "render", "orders publish", "events publish",
  ]

  let services: [String]

  init(count: Int) {
    services = (0..<max(1, count)).map { number in
      let name = ServiceCatalogue.names[number % ServiceCatalogue.names.count]
      return number < ServiceCatalogue.names.count ? name : "\(name)-\(number / ServiceCatalogue.names.count)"
    }
  }

  func operation(_ number: Int) -> String { ServiceCatalogue.verbs[number % ServiceCatalogue.verbs.count] }
}

/// Writes records.
struct SpanEncoder {
  let catalogue: ServiceCatalogue
  /// Characters of padding in each span's statement, to reach the wanted size.
  let filling: String

  init(catalogue: ServiceCatalogue, spanBytes: Int) {
    self.catalogue = catalogue
    // A span without padding, its share of a resource for five spans included: about 310 bytes, measured.
    filling =
      String(repeating: "select id, name, price from items where id = $1; ", count: 40)
      .prefix(max(0, spanBytes - 310)).description
  }

  /// A record with some spans of one service, as one `ResourceSpans`.
  func record(
    _ places: ArraySlice<Int>, of spans: [PlannedSpan], _ identity: TraceIdentity, skew: Int64,
    isDescending: Bool
  ) -> [UInt8] {
    let service = spans[places[places.startIndex]].service
    let traceID = identity.idBytes
    var writer = WireWriter(capacity: 512 * places.count + 256)
    writer.message(TracesDataField.resourceSpans) { writer in
      writer.inOrder(isDescending) { resource in
        resource.message(ResourceSpansField.resource) { writeResource(service, isDescending, &$0) }
      } then: { scopes in
        scopes.message(ResourceSpansField.scopeSpans) { writer in
          writer.inOrder(isDescending) { scope in
            scope.message(ScopeSpansField.scope) { scope in
              scope.inOrder(isDescending) {
                $0.stringField(ScopeField.name, "io.shop.instrumentation")
              } then: {
                $0.stringField(ScopeField.version, "1.4.2")
              }
            }
          } then: { writer in
            for place in places {
              writer.message(ScopeSpansField.spans) { span in
                writeSpan(place, spans, traceID, identity.traceState, skew, isDescending, &span)
              }
            }
          }
        }
      }
    }
    return writer.bytes
  }

  private func writeResource(_ service: Int, _ isDescending: Bool, _ writer: inout WireWriter) {
    let name = catalogue.services[service]
    var pairs = [
      ("service.name", name), ("service.version", "2.\(service).0"),
      ("k8s.pod.name", "\(name)-6d4cf56db6-x7k2q"),
      ("telemetry.sdk.language", "go"),
    ]
    if isDescending { pairs.reverse() }
    for (key, value) in pairs { writer.attribute(ResourceField.attributes, key, value, isDescending) }
  }

  private func writeSpan(
    _ place: Int, _ spans: [PlannedSpan], _ traceID: [UInt8], _ traceState: String, _ skew: Int64,
    _ isDescending: Bool, _ writer: inout WireWriter
  ) {
    let span = spans[place]
    for field in isDescending ? SpanEncoder.fields.reversed() : SpanEncoder.fields {
      switch field {
      case SpanField.traceID: writer.bytesField(field, traceID)
      case SpanField.spanID: writer.bytesField(field, span.id.bigEndianBytes)
      case SpanField.traceState: if !traceState.isEmpty { writer.stringField(field, traceState) }
      case SpanField.parentSpanID:
        if let parent = span.parent { writer.bytesField(field, spans[parent].id.bigEndianBytes) }
      case SpanField.name: writer.stringField(field, catalogue.operation(span.operation))
      case SpanField.kind: writer.varintField(field, span.kind)
      case SpanField.start: writer.fixed64Field(field, UInt64(bitPattern: span.start + skew))
      case SpanField.end: writer.fixed64Field(field, UInt64(bitPattern: span.end + skew))
      case SpanField.attributes: writeAttributes(span, isDescending, &writer)
      case SpanField.links:
        for link in span.links {
          writer.message(field) { $0.bytesField(LinkField.traceID, TraceIdentity(link).idBytes) }
        }
      case SpanField.status: if span.isError { writeStatus(isDescending, &writer) }
      default: writer.fixed32Field(field, 0x101)
      }
    }
  }

  private static let fields = [
    SpanField.traceID, SpanField.spanID, SpanField.traceState, SpanField.parentSpanID, SpanField.name,
    SpanField.kind, SpanField.start, SpanField.end, SpanField.attributes, SpanField.links,
    SpanField.status, SpanField.flags,
  ]

  private func writeStatus(_ isDescending: Bool, _ writer: inout WireWriter) {
    writer.message(SpanField.status) { status in
      status.inOrder(isDescending) {
        $0.stringField(StatusField.message, "deadline exceeded")
      } then: {
        $0.varintField(StatusField.code, 2)
      }
    }
  }

  private func writeAttributes(_ span: PlannedSpan, _ isDescending: Bool, _ writer: inout WireWriter) {
    let operation = catalogue.operation(span.operation)
    if span.kind == 1 {
      writer.attribute(SpanField.attributes, "db.system", "postgresql", isDescending)
    } else {
      writer.attribute(SpanField.attributes, "http.request.method", "GET", isDescending)
      writer.attribute(SpanField.attributes, "server.address", catalogue.services[span.service], isDescending)
    }
    writer.attribute(SpanField.attributes, "url.path", operation, isDescending)
    writer.message(SpanField.attributes) { pair in
      pair.inOrder(isDescending) {
        $0.stringField(KeyValueField.key, "http.response.status_code")
      } then: { pair in
        pair.message(KeyValueField.value) { $0.varintField(AnyValueField.integer, span.isError ? 504 : 200) }
      }
    }
    if !filling.isEmpty { writer.attribute(SpanField.attributes, "db.query.text", filling, isDescending) }
  }
}

extension UInt64 {
  fileprivate var bigEndianBytes: [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: self >> UInt64(56 - 8 * $0)) }
  }
}

extension WireWriter {
  /// Writes two parts, the second one first if fields descend.
  fileprivate mutating func inOrder(
    _ isDescending: Bool, _ first: (inout WireWriter) -> Void, then second: (inout WireWriter) -> Void
  ) {
    if isDescending {
      second(&self)
      first(&self)
    } else {
      first(&self)
      second(&self)
    }
  }

  /// Writes a `KeyValue` with a string.
  fileprivate mutating func attribute(_ field: UInt32, _ key: String, _ value: String, _ isDescending: Bool) {
    message(field) { pair in
      pair.inOrder(isDescending) {
        $0.stringField(KeyValueField.key, key)
      } then: { pair in
        pair.message(KeyValueField.value) { $0.stringField(AnyValueField.string, value) }
      }
    }
  }
}
