// Models of records, and what the scanner should find in them.

import OTLP

/// One span, including fields that the scanner steps over.
struct SpanModel: Hashable, Sendable {
  var traceID: TraceID
  var spanID: UInt64
  var parentID: UInt64 = 0
  var start: UInt64 = 0
  var end: UInt64 = 0
  var name: [UInt8] = []
  var traceState: [UInt8] = []
  var flags: UInt32 = 0
  var status: SpanStatus?
  var kind: UInt8 = 0
  var others: [WireNode] = []

  /// The span's fields, ascending, then the others. Fields at their default are left out, as encoders do.
  var nodes: [WireNode] {
    var nodes: [WireNode] = [
      .bytes(1, bigEndian(traceID.high) + bigEndian(traceID.low)), .bytes(2, bigEndian(spanID)),
    ]
    if !traceState.isEmpty { nodes.append(.bytes(3, traceState)) }
    if parentID != 0 { nodes.append(.bytes(4, bigEndian(parentID))) }
    if !name.isEmpty { nodes.append(.bytes(5, name)) }
    if kind != 0 { nodes.append(.varint(6, UInt64(kind))) }
    if start != 0 { nodes.append(.fixed64(7, start)) }
    if end != 0 { nodes.append(.fixed64(8, end)) }
    if let status { nodes.append(.message(15, [.string(2, "why"), .varint(3, UInt64(status.rawValue))])) }
    if flags != 0 { nodes.append(.fixed32(16, flags)) }
    return nodes + others
  }
}

struct ScopeModel {
  var spans: [SpanModel]
  var others: [WireNode] = []
}

struct ResourceModel {
  var service: [UInt8]?
  var scopes: [ScopeModel]
  var attributes: [WireNode] = []
  var others: [WireNode] = []
}

struct RecordModel {
  var resources: [ResourceModel]
  var others: [WireNode] = []

  /// A record with one span in one scope of one resource.
  init(_ spans: SpanModel..., service: String? = nil) {
    resources = [ResourceModel(service: service.map { Array($0.utf8) }, scopes: [ScopeModel(spans: spans)])]
  }

  init(resources: [ResourceModel], others: [WireNode] = []) {
    self.resources = resources
    self.others = others
  }
}

/// The order in which an encoder writes a message's fields. Elements of a repeated field keep their order in
/// all of them.
enum FieldOrder: CaseIterable, Sendable {
  /// By ascending number, as most encoders do.
  case ascending
  /// By descending number, as the OpenTelemetry Collector does.
  case descending
  /// In no order.
  case shuffled

  func arrange(_ nodes: [WireNode], keeping repeated: UInt32?, _ random: inout SeededGenerator) -> [WireNode]
  {
    switch self {
    case .ascending: return nodes.stablySorted { $0.field < $1.field }
    case .descending: return nodes.stablySorted { $0.field > $1.field }
    case .shuffled:
      var arranged = nodes.shuffled(using: &random)
      guard let repeated else { return arranged }
      let places = arranged.indices.filter { arranged[$0].field == repeated }
      for (place, node) in zip(places, nodes.filter { $0.field == repeated }) { arranged[place] = node }
      return arranged
    }
  }
}

extension RecordModel {
  /// The record as OTLP protobuf.
  func encoded(_ order: FieldOrder = .ascending, seed: UInt64 = 0) -> [UInt8] {
    var random = SeededGenerator(seed: seed)
    let top = resources.map { resource -> WireNode in
      let scopes = resource.scopes.map { scope -> WireNode in
        let spans = scope.spans.map { span in
          WireNode.message(2, order.arrange(span.nodes, keeping: nil, &random))
        }
        return .message(2, order.arrange(spans + scope.others, keeping: 2, &random))
      }
      var attributes = resource.attributes
      if let service = resource.service {
        let value = WireNode.message(2, [.bytes(1, service)])
        let pair = order.arrange([.string(1, "service.name"), value], keeping: nil, &random)
        attributes.append(.message(1, pair))
      }
      let about = WireNode.message(1, attributes)
      return .message(1, order.arrange([about] + scopes + resource.others, keeping: 2, &random))
    }
    return order.arrange(top + others, keeping: 1, &random).encoded
  }

  /// What the scanner should find, in record order.
  var facts: [SpanFacts] {
    resources.flatMap { resource in
      resource.scopes.flatMap(\.spans).map { SpanFacts($0, service: resource.service ?? []) }
    }
  }
}

/// What is known about a span, regardless of where its bytes are.
struct SpanFacts: Hashable {
  var traceID: TraceID
  var spanID: UInt64
  var parentID: UInt64
  var start: UInt64
  var end: UInt64
  var name: [UInt8]
  var traceState: [UInt8]
  var flags: UInt32
  var status: SpanStatus
  var kind: UInt8
  var service: [UInt8]

  init(_ span: SpanModel, service: [UInt8]) {
    (traceID, spanID, parentID) = (span.traceID, span.spanID, span.parentID)
    (start, end, name, traceState) = (span.start, span.end, span.name, span.traceState)
    (flags, status, kind) = (span.flags, span.status ?? .unset, span.kind)
    self.service = service
  }

  init(_ span: SpanView, of record: ScannedRecord, _ bytes: [UInt8]) {
    (traceID, spanID, parentID) = (span.traceID, span.spanID, span.parentID)
    (start, end, flags, status, kind) = (span.start, span.end, span.flags, span.status, span.kind)
    name = Array(bytes[span.name.indices])
    traceState = Array(bytes[span.traceState.indices])
    service = Array(bytes[record.resources[Int(span.resource)].serviceName.indices])
  }
}

/// Scans `bytes` into a record of its own.
func scan(_ bytes: [UInt8]) throws(MalformedInput) -> ScannedRecord {
  var record = ScannedRecord()
  try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scan(raw) }
  return record
}

/// The facts of the spans that the scanner finds in `bytes`, in order.
func scannedFacts(_ bytes: [UInt8]) throws(MalformedInput) -> [SpanFacts] {
  let record = try scan(bytes)
  return record.spans.map { SpanFacts($0, of: record, bytes) }
}

func bigEndian(_ value: UInt64) -> [UInt8] {
  (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64($0))) }
}

extension TraceID {
  /// The trace with this number.
  init(_ number: UInt64) {
    self.init(high: 0x5b8a_a5a2_d2c8_72e8, low: number)
  }
}

extension Sequence {
  /// Sorts and keeps equal elements in order, which the library's sort does not promise.
  func stablySorted(_ areInOrder: (Element, Element) -> Bool) -> [Element] {
    enumerated().sorted { left, right in
      if areInOrder(left.element, right.element) { return true }
      if areInOrder(right.element, left.element) { return false }
      return left.offset < right.offset
    }.map(\.element)
  }
}

extension Collection where Element: Hashable {
  /// How often each element occurs.
  var counts: [Element: Int] { reduce(into: [:]) { $0[$1, default: 0] += 1 } }
}
