// Points in time, and where a partition can resume.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct InstantTests {
  private func text(_ nanoseconds: Int64) -> String {
    var bytes: [UInt8] = []
    Instant(nanoseconds: nanoseconds).appendRFC3339(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Seconds by GNU date.
  @Test(
    arguments: [
      (0, "1970-01-01T00:00:00.000000000Z"),
      (951_782_400, "2000-02-29T00:00:00.000000000Z"),
      (951_868_800, "2000-03-01T00:00:00.000000000Z"),
      (1_709_164_799, "2024-02-28T23:59:59.000000000Z"),
      (1_709_164_800, "2024-02-29T00:00:00.000000000Z"),
      (1_709_251_200, "2024-03-01T00:00:00.000000000Z"),
      (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
      (4_107_542_399, "2100-02-28T23:59:59.000000000Z"),
      (1_767_225_599, "2025-12-31T23:59:59.000000000Z"),
      (1_767_225_600, "2026-01-01T00:00:00.000000000Z"),
      (-1, "1969-12-31T23:59:59.000000000Z"),
      (-86_400, "1969-12-31T00:00:00.000000000Z"),
      (-2_203_891_200, "1900-03-01T00:00:00.000000000Z"),
      (-2_203_891_201, "1900-02-28T23:59:59.000000000Z"),
    ] as [(Int64, String)])
  func writesDates(seconds: Int64, expected: String) {
    #expect(text(seconds * 1_000_000_000) == expected)
  }

  /// The text of one second becomes that of another, of the same day or not.
  @Test func followsAnInstant() {
    var second = SecondText(of: Instant(nanoseconds: 0))
    for seconds in [
      1, 86_399, 86_400, 86_401, 86_400, -1, -86_400, -86_401, 951_782_399, 951_782_400, 1_709_251_199,
      1_709_164_800, 4_107_542_400, -2_203_891_201, -2_203_891_200,
    ] as [Int64] {
      let instant = Instant(nanoseconds: seconds * 1_000_000_000 + 123_456_789)
      second.follow(instant)
      var bytes: [UInt8] = []
      bytes.appendText(room: 64) { $0.appendRFC3339(instant, in: second) }
      #expect(String(decoding: bytes, as: UTF8.self) == text(instant.nanoseconds))
    }
  }

  @Test func writesNanoseconds() {
    #expect(text(1) == "1970-01-01T00:00:00.000000001Z")
    #expect(text(-1) == "1969-12-31T23:59:59.999999999Z")
    #expect(text(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z")
  }

  @Test func theEndsOfTime() {
    #expect(text(.max) == "2262-04-11T23:47:16.854775807Z")
    #expect(text(.min) == "1677-09-21T00:12:43.145224192Z")
  }

  @Test(arguments: [0, 1, -1, .min, .max, 1_700_000_000_123_456_789, 951_782_400_000_000_000] as [Int64])
  func readsWhatItWrote(_ nanoseconds: Int64) {
    #expect(Instant(rfc3339: Array(text(nanoseconds).utf8)) == Instant(nanoseconds: nanoseconds))
  }

  /// Also values that would overflow: a writer to `decisions` must not be able to end every worker that reads
  /// it.
  @Test(arguments: [
    "", "Z", "999999999999-01-01T00:00:00.000000000Z", "9223372036854775807-12-31T23:59:59.999999999Z",
    "-9223372036854775808-01-01T00:00:00.000000000Z", "9999-12-31T23:59:59.999999999Z",
    "0000-01-01T00:00:00.000000000Z", "2262-04-11T23:47:16.854775808Z", "1677-09-21T00:12:43.145224191Z",
    "2026-13-01T00:00:00.000000000Z", "2026-00-01T00:00:00.000000000Z", "2026-02-29T00:00:00.000000000Z",
    "2026-01-01T24:00:00.000000000Z", "2026-01-01T00:60:00.000000000Z", "2026-01-01T00:00:60.000000000Z",
    "+026-01-01T00:00:00.000000000Z", "2026-01-01T00:00:00.-00000001Z", "2026-+1-01T00:00:00.000000000Z",
    "2026-01-01 00:00:00.000000000Z", "2026-01-01T00:00:00.000000000z", "2026-01-01T00:00:00.00000000Z",
    "2026-01-01T00:00:00,000000000Z", "2026-01-01T00:00:00.0000000000Z",
  ])
  func readsNothingElse(_ text: String) {
    #expect(Instant(rfc3339: Array(text.utf8)) == nil)
  }

  @Test func intervalsAndOffsetsAreClamped() {
    #expect(Interval.seconds(.max) == Interval(nanoseconds: .max))
    #expect(Interval.milliseconds(.max) == Interval(nanoseconds: .max))
    #expect(Interval.seconds(.min) == .seconds(0))
    #expect(Offset(.max).next == Offset(.max))
    #expect(Offset(7).next == Offset(8))
  }

  @Test func millisecondsAreClamped() {
    #expect(Instant(milliseconds: 1_700_000_000_000).nanoseconds == 1_700_000_000_000_000_000)
    #expect(Instant(milliseconds: -1).nanoseconds == -1_000_000)
    #expect(Instant(milliseconds: .max) == .distantFuture)
    #expect(Instant(milliseconds: .min) == .distantPast)
  }

  @Test func addingNeverGoesPastTheEnd() {
    #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
    #expect(Instant.distantPast + .seconds(1) > .distantPast)
    #expect(Interval(nanoseconds: -5) == .seconds(0))
  }
}

@Suite struct CommitPointTests {
  private let point = CommitPoint(
    safeOffset: Offset(41), clockAtSafeOffset: .at(5), highWater: Offset(99), clock: .at(7000))

  @Test func comesBackFromItsMetadata() {
    #expect(CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata) == point)
  }

  @Test func budgetLevelsComeBackWithItAndFit() {
    var full = point
    full.budgetLevels = [0, 5, .max]
    #expect(
      full.metadata == "2;99;\(Instant.at(5).nanoseconds);\(Instant.at(7000).nanoseconds);0,5,\(Int64.max)")
    #expect(CommitPoint(safeOffset: full.safeOffset, metadata: full.metadata) == full)
    full.budgetLevels = Array(repeating: .max, count: CommitPoint.budgetLevelsMax)
    full.highWater = Offset(.max)
    #expect(CommitPoint(safeOffset: full.safeOffset, metadata: full.metadata) == full)
    #expect(full.metadata.utf8.count < 4096)
    full.budgetLevels.append(0)
    #expect(CommitPoint(safeOffset: full.safeOffset, metadata: full.metadata) == nil)
  }

  @Test func aClockThatIsAheadComesBackWithIt() {
    var ahead = point
    ahead.clockAhead = .seconds(900)
    #expect(
      ahead.metadata == "3;99;\(Instant.at(5).nanoseconds);\(Instant.at(7000).nanoseconds);900000000000;")
    #expect(CommitPoint(safeOffset: ahead.safeOffset, metadata: ahead.metadata) == ahead)
    ahead.budgetLevels = [7, 0]
    #expect(CommitPoint(safeOffset: ahead.safeOffset, metadata: ahead.metadata) == ahead)
    for wrong in ["3;99;5;7000;900;x", "3;99;5;7000;-1;", "3;99;5;7000;;", "3;99;5;7000;900", "4;99;5;7000"] {
      #expect(CommitPoint(safeOffset: Offset(1), metadata: wrong) == nil, "\(wrong)")
    }
  }

  @Test func whereSpansAreCountedFromComesBackWithIt() {
    var counted = point
    counted.counting = CountingPoint(next: Offset(12), since: .at(3))
    let times = "\(Instant.at(5).nanoseconds);\(Instant.at(7000).nanoseconds)"
    let counting = "m=12:\(Instant.at(3).nanoseconds)"
    #expect(counted.committedOffset == Offset(12))
    #expect(counted.metadata == "5;99;\(times);0;;;s=41,\(counting)")
    #expect(CommitPoint(safeOffset: Offset(12), metadata: counted.metadata) == counted)
    counted.follower = FollowerPoint(position: Offset(9))
    #expect(CommitPoint(safeOffset: Offset(9), metadata: counted.metadata) == counted)
    counted.follower = nil
    counted.counting?.next = Offset(99)
    #expect(counted.committedOffset == Offset(41))
    #expect(CommitPoint(safeOffset: Offset(41), metadata: counted.metadata) == counted)
    for wrong in ["m=1", "m=-1:5", "m=100:5", "m=1:2:3", "s=41", "m=1:5,h=1"] {
      #expect(CommitPoint(safeOffset: Offset(1), metadata: "5;99;5;7000;0;;;\(wrong)") == nil, "\(wrong)")
    }
  }

  @Test func aPositionInTheLogsComesBackWithIt() {
    var logs = point
    logs.logs = LogsPosition(since: .at(3), next: Offset(12))
    let position = "l=\(Instant.at(3).nanoseconds):12"
    let times = "\(Instant.at(5).nanoseconds);\(Instant.at(7000).nanoseconds)"
    #expect(logs.metadata == "5;99;\(times);0;;;\(position)")
    #expect(CommitPoint(safeOffset: logs.safeOffset, metadata: logs.metadata) == logs)
    (logs.budgetLevels, logs.clockAhead, logs.oldestRecall) = ([7, 0], .seconds(1), .at(9))
    #expect(logs.metadata == "5;99;\(times);1000000000;\(Instant.at(9).nanoseconds);7,0;\(position)")
    #expect(CommitPoint(safeOffset: logs.safeOffset, metadata: logs.metadata) == logs)
    logs.budgetLevels = Array(repeating: .max, count: CommitPoint.budgetLevelsMax)
    #expect(CommitPoint(safeOffset: logs.safeOffset, metadata: logs.metadata) == logs)
    #expect(logs.metadata.utf8.count < 4096)
    logs.forgotten = (0..<Int64(ForgottenVerdicts.countMax)).map {
      ForgottenVerdicts(before: Instant(nanoseconds: .min), since: Offset(.max - 9 + $0))
    }
    logs.horizon = (0..<Int64(VerdictHorizon.stepsMax)).map {
      HorizonStep(since: Offset(41 + $0 * (.max / 32)), clock: Instant(nanoseconds: $0 * (.max / 32)))
    }
    logs.follower = FollowerPoint(
      position: Offset(40), oldestVerdict: Instant(nanoseconds: .min), from: Offset(.max - 1),
      until: Offset(.max - 1))
    logs.counting = CountingPoint(next: Offset(99), since: Instant(nanoseconds: .min))
    #expect(CommitPoint(safeOffset: logs.safeOffset, metadata: logs.metadata) == logs)
    #expect(logs.metadata.utf8.count < 4096)
    // Budgets are shared with shadow policies, which have two numbers more.
    logs.budgetLevels.removeLast(64)
    logs.shadowLevels = [20, 999_999_999] + Array(repeating: .max, count: 64)
    #expect(CommitPoint(safeOffset: logs.safeOffset, metadata: logs.metadata) == logs)
    #expect(logs.metadata.utf8.count < 4096)
    for wrong in [
      "", "l=", "l=1:-1", "l=1:1,", "l=1:1,l=1:1", "x=1:1", "l=1:1,x=2:2", "l=1:1;l=2:2", "L=1:1", "l=1",
    ] {
      #expect(CommitPoint(safeOffset: Offset(1), metadata: "5;99;5;7000;0;;;\(wrong)") == nil, "\(wrong)")
    }
    for wrong in [
      "5;99;5;7000;0;x;;l=1:1", "5;99;5;7000;;;;l=1:1", "5;99;5;7000;0;;x;l=1:1", "4;99;5;7000;0;;;l=1:1",
    ] {
      #expect(CommitPoint(safeOffset: Offset(1), metadata: wrong) == nil, "\(wrong)")
    }
  }

  @Test func forgottenVerdictsComeBackWithIt() {
    var some = point
    some.forgotten = [ForgottenVerdicts(before: .at(4), since: Offset(50))]
    let times = "\(Instant.at(5).nanoseconds);\(Instant.at(7000).nanoseconds)"
    #expect(some.metadata == "5;99;\(times);0;;;forgotten=\(Instant.at(4).nanoseconds):50")
    #expect(CommitPoint(safeOffset: some.safeOffset, metadata: some.metadata) == some)
    some.horizon = [
      HorizonStep(since: Offset(41), clock: .at(4)), HorizonStep(since: Offset(60), clock: .at(2)),
    ]
    #expect(point.clockOfVerdicts == .at(5) && some.clockOfVerdicts == .at(2))
    #expect(
      some.metadata.hasSuffix(
        "forgotten=\(Instant.at(4).nanoseconds):50,horizon=\(Instant.at(4).nanoseconds):-2000000:19"))
    #expect(CommitPoint(safeOffset: some.safeOffset, metadata: some.metadata) == some)
    some.forgotten.append(ForgottenVerdicts(before: .at(6), since: Offset(51)))
    #expect(some.metadata.contains(":50:\(Instant.at(6).nanoseconds):51,"))
    #expect(CommitPoint(safeOffset: some.safeOffset, metadata: some.metadata) == some)
    some.clockAhead = .seconds(900)
    some.oldestRecall = .at(3)
    some.budgetLevels = [7, 0]
    #expect(CommitPoint(safeOffset: some.safeOffset, metadata: some.metadata) == some)
    for wrong in [
      "", "forgotten", "forgotten=", "forgotten=1", "forgotten=1:", "forgotten=1:-1", "forgotten=1:2:3",
      "forgotten=1:2:3:2", "forgotten=1:1:1:2:1:3:1:4:1:5",
      "forgotten=1:2,", "forgotten=1:2,forgotten=1:2", "forgotten=x:2", "other=1", "horizon=", "horizon=1:2",
      "horizon=1:2:0", "horizon=1:\(Int64.max):1", "horizon=1:2:\(Int64.max)", "horizon=1,horizon=1",
      "horizon=1" + String(repeating: ":0:1", count: VerdictHorizon.stepsMax),
    ] {
      #expect(CommitPoint(safeOffset: Offset(1), metadata: "5;99;5;7000;0;;;\(wrong)") == nil, "\(wrong)")
    }
  }

  @Test func comesBackFromTheEndsOfTime() {
    let edge = CommitPoint(
      safeOffset: Offset(0), clockAtSafeOffset: .distantPast, highWater: Offset(.max), clock: .distantFuture)
    #expect(CommitPoint(safeOffset: edge.safeOffset, metadata: edge.metadata) == edge)
  }

  @Test(arguments: [
    "", "1", "1;", ";;;", "1;99;5", "1;99;5;7;", "2;99;5;7", "2;99;5;7;", "2;99;5;7;1,", "2;99;5;7;-1",
    "2;99;5;7;x", "2;99;5;7;1;2", "1;99;5;7;1",
    "3;99;5;7;1", "1;99;5;x", "1;99; 5;7", "1;;5;7", "a;b;c;d",
    "1;40;5;7", "1;99;8;7", "1;99999999999999999999;5;7", "01;99;5;7", "NULL",
  ])
  func rejectsWhatItDidNotWrite(metadata: String) {
    #expect(CommitPoint(safeOffset: Offset(41), metadata: metadata) == nil)
  }

  /// The distance of the two offsets must fit.
  @Test func offsetsAreNotNegative() {
    #expect(CommitPoint(safeOffset: Offset(-1), metadata: "1;\(Int64.max);5;7") == nil)
    #expect(CommitPoint(safeOffset: Offset(.min), metadata: "1;0;5;7") == nil)
  }
}
