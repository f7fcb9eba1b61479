// Anybody with write access may have written what is in `decisions`.

import OTLP
import Sampling
import Testing

@Suite struct RestoredVerdictTests {
  @Test(arguments: [
    "", " ", "{", "{}", "[]", "null", "\u{0}", "not a record",
    #"{"trace_id":"x"}"#, #"{"trace_id":"000102030405060708090a0b0c0d0e0f"}"#,
    #"{"trace_id":"000102030405060708090a0b0c0d0e0f","verdict":"perhaps","final":true}"#,
    #"{"trace_id":"000102030405060708090a0b0c0d0e0f","verdict":"keep","final":"#,
    #"{"trace_id":"000102030405060708090a0b0c0d0e0f","verdict":"keep","final":true,"#
      + #""decided_at":"999999999999-01-01T00:00:00.000000000Z"}"#,
  ])
  func whatIsNoDecisionIsRefused(_ text: String) {
    #expect(throws: (any Error).self) { try RestoredVerdict(record: Array(text.utf8)) }
  }

  @Test func deepNestingIsRefused() {
    let deep = "{\"trace_id\":" + String(repeating: "[", count: 100_000)
    #expect(throws: (any Error).self) { try RestoredVerdict(record: Array(deep.utf8)) }
  }

  /// A writer may escape anything, put fields in any order and add more.
  @Test func anyJSONOfADecisionIsRead() throws {
    let text = #"""
      { "more": [1, {"a": null}], "decided_at":"2023-11-14T22:13:20.000000000Z", "fin\u0061l" : false,
      "reasons": ["a\n", "\ud83d\ude00"], "verdict":"ke\u0065p", "root": {"service":"", "operation":""},
      "first_offset": 1.2e1, "threshold": "8", "trace_id":"000102030405060708090A0B0C0D0E0F" }
      """#
    let verdict = try RestoredVerdict(record: Array(text.utf8))
    #expect(
      verdict
        == RestoredVerdict(
          traceID: TraceID(high: 0x0001_0203_0405_0607, low: 0x0809_0a0b_0c0d_0e0f), isKept: true,
          isFinal: false, reasons: ["a\n", "\u{1f600}"], hasRoot: true,
          threshold: SamplingThreshold(rejected: 1 << 55),
          decidedAt: Instant(nanoseconds: 1_700_000_000_000_000_000), firstOffset: Offset(12)))
  }
}
