// Decision records as JSON.

import Foundation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct DecisionRecordTests {
  private func decision(isKept: Bool = true) -> Decision {
    Decision(
      traceID: TraceID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210), isKept: isKept,
      isFinal: true,
      trigger: .root, matches: 1, threshold: isKept ? SamplingThreshold(probability: 0.25) : .never,
      spanCount: 3,
      errorCount: 1, byteCount: 900, truncatedCount: 0, isLate: false, hasRoot: true,
      start: 1_700_000_000_000_000_000, duration: 5_000_000, earliestStart: 1_700_000_000_000_000_000,
      firstOffset: Offset(4), lastOffset: Offset(9), openedAt: .start, decidedAt: .start)
  }

  private func text(_ decision: Decision, _ names: DecisionNames, isCompact: Bool) -> String {
    var bytes: [UInt8] = []
    var texts = DecisionTexts(partition: PartitionID(3), configuration: "0123abcd", policies: [])
    texts.append(decision, names, isCompact: isCompact, to: &bytes)
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
        "error_count":1,"byte_count":900,"root":null,"earliest_start":"2023-11-14T22:13:20.000000000Z",\
        "trigger":"root","late":false,"truncated_spans":0,"partition":3,"first_offset":4,"last_offset":9,\
        "decided_at":"2023-11-14T22:13:20.000000000Z",\
        "config":"0123abcd"}
        """)
  }

  /// The next owner judges late spans by the earliest start, which need not be the root's.
  @Test(arguments: [false, true]) func droppedTracesStateTheirEarliestStart(isCompact: Bool) throws {
    var dropped = decision(isKept: false)
    func record() -> String { text(dropped, DecisionNames(), isCompact: isCompact) }
    func restored() throws -> UInt64? { try RestoredVerdict(record: Array(record().utf8)).earliestStart }
    #expect(record().contains("earliest_start") == isCompact, "start_time says the same")
    #expect(try restored() == dropped.start)
    dropped.earliestStart -= 100_000_000
    #expect(record().contains("earliest_start") == isCompact, "start_time says nearly the same")
    dropped.earliestStart -= 5_000_000_001
    #expect(try restored() == dropped.earliestStart)
    // Nobody asks for that of a kept trace, nor of a late record.
    dropped.isFinal = false
    #expect(!record().contains("earliest_start"))
    let kept = text(decision(), DecisionNames(), isCompact: false)
    #expect(try RestoredVerdict(record: Array(kept.utf8)).earliestStart == nil)
  }

  /// A reader of a shortened record has to know that its trace is a skeleton.
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

  /// Names of services and spans from a producer can't end the line, or the record.
  @Test func namesAreEscaped() throws {
    var names = DecisionNames()
    names.policies = ["\"\n"]
    names.services = [[0x61, 0x85, 0xff], Array("\u{85}\u{2028}".utf8)]
    names.rootService = Array("\\".utf8)
    names.rootOperation = Array(repeating: 0, count: 300)
    names.origin = (1, Array("\u{7f}".utf8), [])
    let record = text(decision(), names, isCompact: false)
    #expect(record.allSatisfy { !$0.isNewline })
    let written = try WrittenDecision(record.utf8)
    #expect(written.policy == "\"\n")
    #expect(written.services == ["a\u{fffd}\u{fffd}", "\u{85}\u{2028}"])
    let verdict = try RestoredVerdict(record: Array(record.utf8))
    #expect(verdict.reasons == ["\"\n"])
    #expect(verdict.threshold == SamplingThreshold(probability: 0.25))
    #expect(verdict.firstOffset == Offset(4))
  }

  /// Every field has room for its longest form.
  @Test func theLargestNumbersFit() throws {
    var large = decision()
    (large.spanCount, large.errorCount, large.byteCount) = (.max, .max, .max)
    (large.truncatedCount, large.tooLargeCount, large.duration) = (.max, .max, .min)
    (large.firstOffset, large.lastOffset, large.start) = (Offset(.min), Offset(.min), 0)
    (large.decidedAt, large.threshold) = (.distantPast, SamplingThreshold(rejected: (1 << 56) - 3))
    (large.trigger, large.isLate, large.isFinal) = (.memory, true, false)
    let record = text(large, DecisionNames(), isCompact: false)
    #expect(record.contains("\"span_count\":9223372036854775807,"))
    #expect(record.contains("\"duration_ns\":-9223372036854775808,"))
    #expect(record.contains("\"threshold\":\"fffffffffffffd\""))
    let verdict = try RestoredVerdict(record: Array(record.utf8))
    #expect(verdict.firstOffset == Offset(.min))
    #expect(verdict.decidedAt == .distantPast)
  }

  @Test func recordsAreAppended() {
    var bytes = Array("before".utf8)
    var texts = DecisionTexts(partition: PartitionID(0), configuration: "", policies: [])
    texts.append(decision(), DecisionNames(), isCompact: true, to: &bytes)
    #expect(String(decoding: bytes, as: UTF8.self).hasPrefix("before{\"trace_id\""))
  }
}
