// Decision records as JSON.

import Foundation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct JSONWriterTests {
  private func written(_ text: [UInt8]) -> [UInt8] {
    var json = JSONWriter([])
    json.text(text)
    return json.bytes
  }

  private func readBack(_ text: [UInt8]) throws -> String {
    try JSONDecoder().decode(String.self, from: Data(written(text)))
  }

  @Test func everyByteMakesAStringThatCanBeRead() throws {
    for byte in UInt8.min...UInt8.max {
      let text = [0x61, byte, 0x62]
      #expect(try readBack(text) == String(decoding: text, as: UTF8.self))
    }
  }

  @Test(arguments: [
    ("plain", "\"plain\""), ("", "\"\""), ("a\"b\\c", "\"a\\\"b\\\\c\""),
    ("\u{0}\n\t\u{1f}\u{7f}", "\"\\u0000\\u000a\\u0009\\u001f\\u007f\""),
    ("grün 漢 🚀", "\"grün 漢 🚀\""),
    ("</script>\u{2028}", "\"</script>\u{2028}\""),
  ])
  func escapes(text: String, expected: String) {
    #expect(String(decoding: written(Array(text.utf8)), as: UTF8.self) == expected)
  }

  /// A lone continuation, a cut sequence, an overlong slash, a surrogate, a value above U+10FFFF.
  @Test(
    arguments: [[0x80], [0xe2, 0x82], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]] as [[UInt8]]
  )
  func brokenTextIsReplaced(bytes: [UInt8]) throws {
    let text = try readBack([0x61] + bytes + [0x22])
    #expect(text.hasPrefix("a\u{fffd}"))
    #expect(text.hasSuffix("\""))
  }

  @Test(arguments: [
    (0.0, "0"), (1, "1"), (100, "100"), (0.25, "0.25"), (1e-17, "1e-17"), (0x1p56, "7.205759403792794e+16"),
    (99.99847409781033, "99.99847409781033"),
  ])
  func numbersReadBackAsTheyAre(value: Double, expected: String) throws {
    var json = JSONWriter([])
    json.open()
    json.field("x", real: value)
    json.close()
    #expect(String(decoding: json.bytes, as: UTF8.self) == "{\"x\":\(expected)}")
    let read = try JSONDecoder().decode([String: Double].self, from: Data(json.bytes))
    #expect(read["x"] == value)
  }
}

@Suite struct DecisionRecordTests {
  private func decision(isKept: Bool = true) -> Decision {
    Decision(
      traceID: TraceID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210), isKept: isKept,
      isFinal: true,
      trigger: .root, matches: 1, threshold: isKept ? SamplingThreshold(probability: 0.25) : .never,
      spanCount: 3,
      errorCount: 1, byteCount: 900, truncatedCount: 0, isLate: false, hasRoot: true,
      start: 1_700_000_000_000_000_000, duration: 5_000_000, firstOffset: Offset(4), lastOffset: Offset(9),
      openedAt: .start, decidedAt: .start)
  }

  private func text(_ decision: Decision, _ names: DecisionNames, isCompact: Bool) -> String {
    var bytes: [UInt8] = []
    decision.appendJSON(
      names: names, partition: PartitionID(3), configuration: "0123abcd", isCompact: isCompact, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test func theFullRecord() {
    var names = DecisionNames()
    names.policies = ["errors", "slow"]
    names.services = [Array("a".utf8), Array("b".utf8)]
    names.rootService = Array("a".utf8)
    names.rootOperation = Array("GET /".utf8)
    names.origin = (0xab, Array("b".utf8), Array("SELECT".utf8))
    #expect(
      text(decision(), names, isCompact: false) == """
        {"trace_id":"0123456789abcdeffedcba9876543210","verdict":"keep","final":true,"policy":"errors",\
        "reasons":["errors","slow"],"probability":0.25,"threshold":"c","adjusted_count":4,"span_count":3,\
        "error_count":1,"byte_count":900,"services":["a","b"],"root":{"service":"a","operation":"GET /"},\
        "start_time":"2023-11-14T22:13:20.000000000Z","duration_ns":5000000,\
        "error_origin":{"service":"b","operation":"SELECT","span_id":"00000000000000ab"},"trigger":"root",\
        "late":false,"truncated_spans":0,"too_large_spans":0,"partition":3,"first_offset":4,"last_offset":9,\
        "decided_at":"2023-11-14T22:13:20.000000000Z","config":"0123abcd"}
        """)
  }

  @Test func theCompactRecord() {
    var dropped = decision(isKept: false)
    dropped.hasRoot = false
    #expect(
      text(dropped, DecisionNames(), isCompact: true) == """
        {"trace_id":"0123456789abcdeffedcba9876543210","verdict":"drop","final":true,"span_count":3,\
        "error_count":1,"byte_count":900,"root":null,"trigger":"root","late":false,"truncated_spans":0,\
        "partition":3,"first_offset":4,"last_offset":9,"decided_at":"2023-11-14T22:13:20.000000000Z",\
        "config":"0123abcd"}
        """)
  }

  /// Whoever reads a shortened record back has to know that its trace is a skeleton.
  @Test func theReasonOfASkeletonIsNotLeftOut() {
    for (policies, left) in [
      (["a", "b", "c", "trace_limit"], ["a", "trace_limit"]), (["a", "b", "c"], ["a"]),
      (["trace_limit"], ["trace_limit"]),
    ] {
      var names = DecisionNames()
      names.policies = policies
      names.leaveOut(bytes: 8, rest: [])
      #expect(names.policies == left)
    }
  }

  @Test func aFullRecordOfADroppedTraceHasNoThreshold() throws {
    let written = try WrittenDecision(
      text(decision(isKept: false), DecisionNames(), isCompact: false).utf8)
    #expect(written.threshold == nil)
    #expect(written.policy == nil)
    #expect(written.probability == 0)
    #expect(written.adjustedCount == 0)
  }

  /// A start beyond 2262 is clamped, not wrapped.
  @Test func anImpossibleStartIsClamped() throws {
    var odd = decision()
    odd.start = .max
    let written = try WrittenDecision(text(odd, DecisionNames(), isCompact: false).utf8)
    #expect(written.startTime == "2262-04-11T23:47:16.854775807Z")
  }

  @Test func recordsAreAppended() {
    var bytes = Array("before".utf8)
    decision().appendJSON(
      names: DecisionNames(), partition: PartitionID(0), configuration: "", isCompact: true, to: &bytes)
    #expect(String(decoding: bytes, as: UTF8.self).hasPrefix("before{\"trace_id\""))
  }
}
