// Spans for conditions, as real records: encoded, scanned, and evaluated with a `SpanConditionSet`.

import Testing

@testable import Expressions
@testable import OTLP

/// The value of an attribute.
indirect enum ModelValue: Sendable {
  /// An `AnyValue` with nothing in it.
  case empty
  case string(String)
  case boolean(Bool)
  case integer(Int64)
  case double(Double)
  case bytes([UInt8])
  case array([ModelValue])
  case map([ModelAttribute])

  func write(to writer: inout WireWriter) {
    switch self {
    case .empty: break
    case .string(let text): writer.stringField(1, text)
    case .boolean(let value): writer.varintField(2, value ? 1 : 0)
    case .integer(let value): writer.varintField(3, UInt64(bitPattern: value))
    case .double(let value): writer.fixed64Field(4, value.bitPattern)
    case .array(let values):
      writer.message(5) { array in
        for value in values { array.message(1) { value.write(to: &$0) } }
      }
    case .map(let attributes):
      writer.message(6) { map in
        for attribute in attributes { attribute.write(1, to: &map, isDescending: false) }
      }
    case .bytes(let bytes): writer.bytesField(7, bytes)
    }
  }
}

struct ModelAttribute: Sendable {
  var key: String
  var value: ModelValue?

  init(_ key: String, _ value: ModelValue?) {
    self.key = key
    self.value = value
  }

  func write(_ field: UInt32, to writer: inout WireWriter, isDescending: Bool) {
    writer.message(field) { pair in
      if !isDescending { pair.stringField(1, key) }
      if let value { pair.message(2) { value.write(to: &$0) } }
      if isDescending { pair.stringField(1, key) }
    }
  }
}

struct ModelEvent: Sendable {
  var name = ""
  var time: UInt64 = 0
  var attributes: [ModelAttribute] = []
}

/// A record with one span. If `isDescending`, fields are in the order of the Collector's encoder.
struct ModelSpan: Sendable {
  var name = "GET /cart"
  var kind: UInt64 = 2
  var parent: UInt64 = 0
  var start: UInt64 = 1_000_000_000
  var end: UInt64 = 3_500_000_000
  var status: UInt64 = 0
  var message = ""
  var traceState = ""
  var attributes: [ModelAttribute] = []
  var events: [ModelEvent] = []
  var resource: [ModelAttribute] = []
  var scopeName = ""
  var scopeVersion = ""
  var scope: [ModelAttribute] = []
  var isDescending = false

  var encoded: [UInt8] {
    var writer = WireWriter()
    append(to: &writer)
    return writer.bytes
  }

  func append(to writer: inout WireWriter) {
    writer.message(1) { resourceSpans in
      ordered(
        [
          { (writer: inout WireWriter) in
            writer.message(1) { inner in
              resource.forEach { $0.write(1, to: &inner, isDescending: isDescending) }
            }
          },
          { (writer: inout WireWriter) in writer.message(2) { writeScopeSpans(to: &$0) } },
          { (writer: inout WireWriter) in writer.stringField(3, "https://schema") },
        ], &resourceSpans)
    }
  }

  private func ordered(_ parts: [(inout WireWriter) -> Void], _ writer: inout WireWriter) {
    for part in isDescending ? parts.reversed() : parts { part(&writer) }
  }

  private func writeScopeSpans(to writer: inout WireWriter) {
    ordered(
      [
        { (writer: inout WireWriter) in
          writer.message(1) { inner in
            inner.stringField(1, scopeName)
            inner.stringField(2, scopeVersion)
            scope.forEach { $0.write(3, to: &inner, isDescending: isDescending) }
          }
        },
        { (writer: inout WireWriter) in writer.message(2) { writeSpan(to: &$0) } },
      ], &writer)
  }

  private func writeSpan(to writer: inout WireWriter) {
    ordered(
      [
        { (writer: inout WireWriter) in
          writer.bytesField(1, (0..<16).map { UInt8($0) })
          writer.bytesField(2, [0, 0, 0, 0, 0, 0, 0xab, 0xcd])
          if !traceState.isEmpty { writer.stringField(3, traceState) }
          if parent != 0 { writer.bytesField(4, (0..<8).reversed().map { UInt8(parent >> (8 * $0) & 0xff) }) }
        },
        { (writer: inout WireWriter) in
          writer.stringField(5, name)
          writer.varintField(6, kind)
          writer.fixed64Field(7, start)
          writer.fixed64Field(8, end)
        },
        { (writer: inout WireWriter) in
          attributes.forEach { $0.write(9, to: &writer, isDescending: isDescending) }
        },
        { (writer: inout WireWriter) in
          for event in events {
            writer.message(11) { inner in
              inner.fixed64Field(1, event.time)
              inner.stringField(2, event.name)
              event.attributes.forEach { $0.write(3, to: &inner, isDescending: isDescending) }
            }
          }
        },
        { (writer: inout WireWriter) in
          writer.message(15) { inner in
            inner.stringField(2, message)
            inner.varintField(3, status)
          }
        },
      ], &writer)
  }

  /// Whether `condition` holds for the span, or for one of its events.
  func holds(_ condition: String, _ context: OTTLContext = .span) throws -> Bool {
    var set = try SpanConditionSet([condition], context)
    let outcome = try set.outcomes(of: encoded)[0]
    #expect(set.errorCount == 0, "\(condition): \(set.lastError?.reason.rawValue ?? "")")
    return outcome == .matches
  }

  /// The error from evaluating `condition`.
  func error(_ condition: String, _ context: OTTLContext = .span) throws -> EvaluationError.Reason? {
    var set = try SpanConditionSet([condition], context)
    #expect(try set.outcomes(of: encoded)[0] == .failed)
    return set.lastError?.reason
  }
}

extension SpanConditionSet {
  /// A set of conditions of one context.
  init(
    _ texts: [String], _ context: OTTLContext = .span, errorMode: ConditionErrorMode = .propagate
  ) throws {
    let conditions = try texts.map { text in try OTTLCondition(text, context: context) }
    self.init(
      spans: context == .span ? conditions : [], events: context == .spanEvent ? conditions : [],
      errorMode: errorMode)
  }

  /// The outcome of the conditions for each span of a record.
  mutating func outcomes(of record: [UInt8]) throws -> [ConditionOutcome] {
    var scanned = ScannedRecord()
    try record.withRawBytes { bytes throws(MalformedInput) in try scanned.scan(bytes) }
    startRecord()
    var outcomes: [ConditionOutcome] = []
    for span in scanned.spans {
      let resource = scanned.extras.slice(scanned.resources[Int(span.resource)].extras)
      let scope = scanned.extras.slice(scanned.scopes[Int(span.scope)].extras)
      outcomes.append(
        record.withRawBytes { self.outcome(of: span, resource: resource, scope: scope, in: $0) })
    }
    return outcomes
  }
}
