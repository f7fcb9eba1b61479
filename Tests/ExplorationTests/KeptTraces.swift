// Records of kept spans and decisions, made for the tests.

import OTLP
import Sampling

@testable import Exploration

/// A span to be encoded.
struct TestSpan {
  var trace = TraceID(high: 1, low: 1)
  var id: UInt64 = 1
  var parent: UInt64 = 0
  /// Whether the missing parent is written as zeros.
  var hasZeroParent = false
  var service = "shop"
  var name = "GET /"
  var kind: UInt64 = 2
  var start: UInt64 = 1_700_000_000_000_000_000
  var duration: UInt64 = 1_000_000
  var isError = false
  var threshold = ""
  var attributes: [(String, String)] = []
  var links: [(TraceID, UInt64)] = []
  var resource: [(String, String)] = []

  private static func field(_ number: Int, _ bytes: [UInt8]) -> [UInt8] {
    varint(UInt64(number << 3 | 2)) + varint(UInt64(bytes.count)) + bytes
  }

  private static func varint(_ value: UInt64) -> [UInt8] {
    value < 128 ? [UInt8(value)] : [UInt8(value & 127) | 128] + varint(value >> 7)
  }

  private static func fixed(_ number: Int, _ value: UInt64) -> [UInt8] {
    varint(UInt64(number << 3 | 1)) + (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
  }

  private static func big(_ value: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) }
  }

  private static func attribute(_ number: Int, _ key: String, _ value: String) -> [UInt8] {
    field(number, field(1, Array(key.utf8)) + field(2, field(1, Array(value.utf8))))
  }

  private static func id(_ trace: TraceID) -> [UInt8] { big(trace.high) + big(trace.low) }

  /// A record with this span alone.
  var record: [UInt8] {
    typealias Me = TestSpan
    var span = Me.field(1, Me.id(trace)) + Me.field(2, Me.big(id))
    if !threshold.isEmpty { span += Me.field(3, Array("ot=th:\(threshold)".utf8)) }
    if parent != 0 || hasZeroParent { span += Me.field(4, Me.big(parent)) }
    span += Me.field(5, Array(name.utf8)) + Me.varint(6 << 3) + Me.varint(kind)
    span += Me.fixed(7, start) + Me.fixed(8, start + duration)
    for (key, value) in attributes { span += Me.attribute(9, key, value) }
    for (trace, id) in links { span += Me.field(13, Me.field(1, Me.id(trace)) + Me.field(2, Me.big(id))) }
    if isError { span += Me.field(15, Me.varint(3 << 3) + Me.varint(2)) }
    var resourceMessage = Me.attribute(1, "service.name", service)
    for (key, value) in resource { resourceMessage += Me.attribute(1, key, value) }
    return Me.field(1, Me.field(1, resourceMessage) + Me.field(2, Me.field(2, span)))
  }
}

/// An index with a reader's position.
struct TestIndex {
  var index: KeptTraceIndex
  private var offset: Int64 = 0
  var time: Int64 = 1_700_000_000_000_000_000
  /// Whether what is added was there before the index began to follow.
  var isPast = false

  init(bytesMax: Int = 64 << 20, sharesRandomness: Bool = false) {
    index = KeptTraceIndex(
      bytesMax: bytesMax, slowPolicies: ["slow"], sharesRandomness: sharesRandomness)
  }

  mutating func add(_ span: TestSpan) {
    offset += 1
    span.record.withRawBytes {
      index.add(
        spans: $0, at: RecordPosition(.sampled, partition: 3, offset: offset), time: time, isPast: isPast)
    }
  }

  mutating func decide(
    _ trace: TraceID, policy: String = "errors", threshold: String = "0", isFinal: Bool = true,
    spans: Int = 1, errors: Int = 0, duration: Int64 = 5_000_000, extra: String = ""
  ) {
    offset += 1
    let record = """
      {"trace_id":"\(trace)","verdict":"keep","final":\(isFinal),"policy":"\(policy)",\
      "reasons":["\(policy)"],\
      "probability":1,"threshold":"\(threshold)","adjusted_count":1,"span_count":\(spans),\
      "error_count":\(errors),"byte_count":100,"services":[],"root":{"service":"shop","operation":"GET /"},\
      "start_time":"2023-11-14T22:13:20.000000000Z","duration_ns":\(duration),"trigger":"root",\
      "late":false\(extra),\
      "decided_at":"2023-11-14T22:13:30.000000000Z"}
      """
    Array(record.utf8).withRawBytes {
      index.add(decision: $0, at: RecordPosition(.decisions, partition: 3, offset: offset))
    }
  }
}
