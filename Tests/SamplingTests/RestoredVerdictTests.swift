// What stands in `decisions` may have been written by anybody who may write there.

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
}
