// Handmade records for the lanes' tests, and the contents of outputs.

import Foundation
import OTLP
import Sampling

@testable import Pipeline

/// A span for a record.
struct TestSpan {
  var trace: UInt64
  var id: UInt64
  var parent: UInt64?
  var isError = false
  /// Nanoseconds.
  var duration: UInt64 = 1_000_000
  /// Bytes of filling.
  var padding = 0
  var name = "GET /"
  /// Nanoseconds since 1970; nil for a start at second 1 and the duration.
  var end: UInt64?
  /// The trace that it links to.
  var link: UInt64?
}

/// The id of a test's trace: `low` in its last eight bytes. Small ones are never in the baseline.
func traceID(_ low: UInt64) -> TraceID { TraceID(high: 0xabcd, low: low) }

/// The key of a test's trace.
func traceKey(_ low: UInt64) -> [UInt8] { Array(traceID(low).description.utf8) }

/// A `TracesData` of one service.
func tracesData(_ spans: [TestSpan], service: String = "shop") -> [UInt8] {
  var writer = WireWriter()
  writer.message(1) { resourceSpans in
    resourceSpans.message(1) { resource in
      resource.message(1) { pair in
        pair.stringField(1, "service.name")
        pair.message(2) { $0.stringField(1, service) }
      }
    }
    resourceSpans.message(2) { scopeSpans in
      for span in spans { scopeSpans.message(2) { write(span, to: &$0) } }
    }
  }
  return writer.bytes
}

private func write(_ span: TestSpan, to writer: inout WireWriter) {
  writer.bytesField(1, bigEndian(0xabcd) + bigEndian(span.trace))
  writer.bytesField(2, bigEndian(span.id))
  if let parent = span.parent { writer.bytesField(4, bigEndian(parent)) }
  writer.stringField(5, span.name)
  let end = span.end ?? 1_000_000_000 + span.duration
  writer.fixed64Field(7, end - min(end, span.duration))
  writer.fixed64Field(8, end)
  if span.padding > 0 {
    writer.message(9) { pair in
      pair.stringField(1, "filling")
      pair.message(2) { $0.stringField(1, String(repeating: "x", count: span.padding)) }
    }
  }
  if let link = span.link {
    writer.message(13) { $0.bytesField(1, bigEndian(0xabcd) + bigEndian(link)) }
  }
  if span.isError { writer.message(15) { $0.varintField(3, 2) } }
}

private func bigEndian(_ value: UInt64) -> [UInt8] {
  (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) }
}

/// Second `second` of the tests' time.
func at(_ second: Double) -> Instant {
  Instant(nanoseconds: 1_700_000_000_000_000_000 + Int64(second * 1e9))
}

/// A decision record's JSON.
struct DecisionRecord: Decodable {
  var traceId: String
  var verdict: String
  var final: Bool
  var reasons: [String]?
  var spanCount: Int
  var tooLargeSpans: Int?
  var trigger: String
  var firstOffset: Int64
  var lastOffset: Int64
  var late: Bool
  var recall: String?
  var recallUntil: Int64?
  var revised: Bool?

  init(_ text: some DataProtocol) throws {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    self = try decoder.decode(DecisionRecord.self, from: Data(text))
  }
}

extension MemoryBroker {
  /// The decision records written so far.
  func decisions() throws -> [DecisionRecord] {
    try outputs(to: .decisions).map { try DecisionRecord($0.value ?? []) }
  }

  /// Ids of the spans forwarded for each trace, repetitions included.
  func sampledSpans() throws -> [TraceID: [UInt64]] {
    var spans: [TraceID: [UInt64]] = [:]
    for output in outputs(to: .sampled) + outputs(to: .spans) {
      for span in try scannedSpans(output.value ?? []) {
        spans[span.traceID, default: []].append(span.spanID)
      }
    }
    return spans
  }
}

/// The spans of a record.
func scannedSpans(_ bytes: [UInt8]) throws -> [SpanView] {
  var record = ScannedRecord()
  try bytes.withRawBytes { (bytes) throws(MalformedInput) in try record.scan(bytes) }
  return Array(record.spans)
}
