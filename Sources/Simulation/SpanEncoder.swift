// Encodes planned spans as OTLP, in either field order.

import OTLP

/// What is the same for all spans of a trace.
struct TraceIdentity {
  var high: UInt64
  var low: UInt64
  /// Empty for none.
  var traceState: String

  var idBytes: [UInt8] {
    [high, low].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> UInt64(56 - 8 * $0)) } }
  }
}

/// The services' names and what their resources and spans say.
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
  /// Characters of filling in each span's statement, to reach the wanted size.
  let filling: String

  init(catalogue: ServiceCatalogue, spanBytes: Int) {
    self.catalogue = catalogue
    // What a span has without filling, its share of a resource for five spans included: measured, about 310
    // bytes.
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
    writer.message(1) { writer in
      writer.inOrder(isDescending) { resource in
        resource.message(1) { writeResource(service, isDescending, &$0) }
      } then: { scopes in
        scopes.message(2) { writer in
          writer.inOrder(isDescending) { scope in
            scope.message(1) { scope in
              scope.inOrder(isDescending) {
                $0.stringField(1, "io.shop.instrumentation")
              } then: {
                $0.stringField(2, "1.4.2")
              }
            }
          } then: { writer in
            for place in places {
              writer.message(2) { span in
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
    for (key, value) in pairs { writer.attribute(1, key, value, isDescending) }
  }

  private func writeSpan(
    _ place: Int, _ spans: [PlannedSpan], _ traceID: [UInt8], _ traceState: String, _ skew: Int64,
    _ isDescending: Bool, _ writer: inout WireWriter
  ) {
    let span = spans[place]
    for field in isDescending ? SpanEncoder.fields.reversed() : SpanEncoder.fields {
      switch field {
      case 1: writer.bytesField(1, traceID)
      case 2: writer.bytesField(2, span.id.bigEndianBytes)
      case 3: if !traceState.isEmpty { writer.stringField(3, traceState) }
      case 4: if let parent = span.parent { writer.bytesField(4, spans[parent].id.bigEndianBytes) }
      case 5: writer.stringField(5, catalogue.operation(span.operation))
      case 6: writer.varintField(6, span.kind)
      case 7: writer.fixed64Field(7, UInt64(bitPattern: span.start + skew))
      case 8: writer.fixed64Field(8, UInt64(bitPattern: span.end + skew))
      case 9: writeAttributes(span, isDescending, &writer)
      case 15: if span.isError { writeStatus(isDescending, &writer) }
      default: writer.fixed32Field(16, 0x101)
      }
    }
  }

  private static let fields: [Int] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16]

  private func writeStatus(_ isDescending: Bool, _ writer: inout WireWriter) {
    writer.message(15) { status in
      status.inOrder(isDescending) {
        $0.stringField(2, "deadline exceeded")
      } then: {
        $0.varintField(3, 2)
      }
    }
  }

  private func writeAttributes(_ span: PlannedSpan, _ isDescending: Bool, _ writer: inout WireWriter) {
    let operation = catalogue.operation(span.operation)
    if span.kind == 1 {
      writer.attribute(9, "db.system", "postgresql", isDescending)
    } else {
      writer.attribute(9, "http.request.method", "GET", isDescending)
      writer.attribute(9, "server.address", catalogue.services[span.service], isDescending)
    }
    writer.attribute(9, "url.path", operation, isDescending)
    writer.message(9) { pair in
      pair.inOrder(isDescending) {
        $0.stringField(1, "http.response.status_code")
      } then: { pair in
        pair.message(2) { $0.varintField(3, span.isError ? 504 : 200) }
      }
    }
    if !filling.isEmpty { writer.attribute(9, "db.query.text", filling, isDescending) }
  }
}

extension UInt64 {
  fileprivate var bigEndianBytes: [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: self >> UInt64(56 - 8 * $0)) }
  }
}

extension WireWriter {
  /// Writes two parts, the second one first where fields descend.
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
        $0.stringField(1, key)
      } then: { pair in
        pair.message(2) { $0.stringField(1, value) }
      }
    }
  }
}
