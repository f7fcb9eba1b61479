// The story of a trace: what is told is what happened, and policies answer as they did at the verdict.

import OTLP
import Sampling
import Simulation
import Testing

@testable import Pipeline

@Suite struct ExplanationTests {
  /// Policies of every kind that can be asked again.
  private static let policies = [
    Policy(name: "errors", rule: .statusCode([.error])),
    Policy(name: "slow", rule: .latency(threshold: .milliseconds(150), upper: nil)),
    Policy(
      name: "between",
      rule: .latency(threshold: .milliseconds(20), upper: .milliseconds(90), measure: .spans)),
    Policy(name: "share", rule: .probabilistic(SamplingThreshold(probability: 0.2))),
    Policy(name: "hashed", rule: .hashed(HashSampling(salt: "salt", percentage: 20))),
    Policy(name: "large", rule: .spanCount(least: 14, most: nil)),
    Policy(name: "shop", rule: .stringAttribute(key: "service.name", values: ["payment"])),
    Policy(
      name: "pattern",
      rule: .patternAttribute(key: "service.name", patterns: ["^f.*d$"], inverted: true)),
    Policy(name: "flags", rule: .traceFlags),
    Policy(
      name: "both",
      rule: .and([.statusCode([.error]), .not(.latency(threshold: .milliseconds(100), upper: nil))])
    ),
    Policy(name: "never", rule: .drop([.statusCode([.error]), .spanCount(least: 20, most: nil)])),
  ]

  /// Of random traces, late and early ones.
  @Test(arguments: [1, 2, 3]) func policiesAnswerAsAtTheVerdict(_ seed: UInt64) throws {
    let directory = try TemporaryDirectory()
    let records = generatedRecords(traces: 200) {
      $0.seed = seed
      $0.errorShare = 0.2
      $0.slowShare = 0.2
      $0.spansPerTrace = 12
    }.records
    var configuration = SamplerConfiguration()
    configuration.policies = ExplanationTests.policies
    configuration.dropped = .full
    let path = try writeRecording(records, in: directory, name: "a.otlp")
    var evidence: [TraceID: TraceEvidence] = [:]
    for (number, record) in records.enumerated() {
      for id in Set(try scannedSpans(record).map(\.traceID)) {
        _ = evidence[id, default: TraceEvidence(traceID: id)].add(record, at: Offset(Int64(number)))
      }
    }
    let lines = try ReplayOutcome(path: path, configuration).decisions.compactMap {
      DecisionLine($0)
    }
    var asked = 0
    for line in lines where line.final {
      let id = try #require(Array(line.traceId.utf8).withRawBytes { TraceID(key: $0) })
      let answers = try #require(evidence[id]).answers(configuration, upTo: Offset(line.lastOffset))
      let matching = answers.filter { $0.outcome == .matches }.map(\.name)
      #expect(!answers.contains { $0.outcome == .depends })
      asked += 1
      if matching.contains("never") {
        // A veto comes too late for a trace that was kept early.
        #expect(line.vetoed == true || line.isKept, "\(line.traceId): \(matching)")
      } else {
        #expect(line.isKept == !matching.isEmpty, "\(line.traceId): \(matching)")
        if line.isKept { #expect((line.reasons ?? []) == matching, "\(line.traceId)") }
      }
    }
    #expect(asked >= 200)
  }

  private func story(
    _ records: [[UInt8]], _ change: (inout SamplerConfiguration) -> Void = { _ in }
  ) throws -> TraceStory {
    let directory = try TemporaryDirectory()
    var configuration = SamplerConfiguration()
    configuration.clockWitnesses = 1
    change(&configuration)
    let path = try writeRecording(records, in: directory, name: "a.otlp")
    return try #require(try TraceStory.inRecording(path, of: traceID(1), configuration))
  }

  private static let second: UInt64 = 1_000_000_000

  /// A trace without anything to keep it for, and one that lets its window close.
  private let dropped = [
    tracesData([
      TestSpan(trace: 1, id: 1, end: 100 * ExplanationTests.second),
      TestSpan(trace: 1, id: 2, parent: 1, end: 100 * ExplanationTests.second),
    ]),
    tracesData([TestSpan(trace: 9, id: 1, end: 200 * ExplanationTests.second)]),
  ]
  private let late = tracesData([
    TestSpan(trace: 1, id: 3, parent: 1, isError: true, end: 201 * ExplanationTests.second)
  ])

  @Test func aKeptTrace() throws {
    let story = try story([
      tracesData([
        TestSpan(trace: 1, id: 1, isError: true, end: 100 * Self.second),
        TestSpan(trace: 1, id: 2, parent: 1, isError: true, name: "cause", end: 100 * Self.second),
      ])
    ])
    #expect(story.verdict == "keep" && story.reasons == ["errors"] && story.adjustedCount == 1)
    #expect(story.events.map(\.kind) == ["arrived", "kept_early", "kept"])
    #expect(story.policies.map(\.answer) == ["matches", "does_not_match", "does_not_match"])
    #expect(story.spans.filter(\.isErrorOrigin).map(\.name) == ["cause"])
  }

  /// A span without a start does not make the others late.
  @Test func spansAreLateAfterTheFirstStartThatIsKnown() throws {
    let end = 100 * Self.second
    let story = try story([
      tracesData([
        TestSpan(trace: 1, id: 1, isError: true, end: end),
        TestSpan(trace: 1, id: 2, parent: 1, end: end + 5),
        TestSpan(trace: 1, id: 3, parent: 1, duration: end, end: end),
      ])
    ])
    #expect(story.spans.map(\.startNs) == [0, end - 1_000_000, end - 999_995])
    #expect(story.spans.map(\.afterNs) == [0, 0, 5])
  }

  @Test func aDroppedTrace() throws {
    let story = try story(dropped)
    #expect(story.verdict == "drop" && story.reasons.isEmpty)
    #expect(story.events.map(\.kind) == ["arrived", "dropped"])
    #expect(story.events.map(\.offset) == [0, 0])
    #expect(story.policies.map(\.answer) == ["does_not_match", "does_not_match", "does_not_match"])
    #expect(
      story.policies[1].seen == "a root of 1 ms" && story.policies[1].wanted == "at least 2 s")
    #expect(story.spans.count == 2 && story.notes.isEmpty)
  }

  @Test func aLateTrace() throws {
    let story = try story(dropped + [late])
    #expect(story.verdict == "drop" && !story.isRecalled)
    #expect(story.events.map(\.kind) == ["arrived", "dropped", "late", "late_record"])
    #expect(story.events.last?.text.contains("errors would keep it now") == true)
    // The answers are those at the verdict.
    #expect(story.policies.first?.answer == "does_not_match")
  }

  @Test func aRecalledTrace() throws {
    let story = try story(dropped + [late]) { $0.windows.recallWindow = .seconds(600) }
    #expect(story.verdict == "keep" && story.isRecalled && story.reasons == ["errors"])
    #expect(story.events.map(\.kind) == ["arrived", "dropped", "late", "late_record", "recalled"])
    #expect(story.events[3].text.contains("a recall is requested"))
    #expect(story.policies.first?.answer == "matches")
  }

  @Test func aTruncatedTrace() throws {
    let spans = (1...8).map {
      TestSpan(trace: 1, id: UInt64($0), parent: 100, end: 100 * Self.second)
    }
    let story = try story([tracesData(Array(spans[..<5])), tracesData(Array(spans[5...]))]) {
      $0.limits.spansPerTrace = 3
    }
    #expect(story.verdict == "keep" && story.reasons == [Sampler.limitReason])
    #expect(story.truncatedSpans > 0)
    #expect(story.events.first { $0.kind == "kept_early" }?.text.contains("over a limit") == true)
  }

  @Test func anUnknownTraceHasNoStory() throws {
    let directory = try TemporaryDirectory()
    let path = try writeRecording(dropped, in: directory, name: "a.otlp")
    #expect(try TraceStory.inRecording(path, of: traceID(7), SamplerConfiguration()) == nil)
  }

  /// After partitions were added a trace is in two of them, each sampled by itself.
  @Test func aTraceInTwoPartitions() throws {
    var builder = StoryBuilder(traceID(1), SamplerConfiguration(), hasPartitions: true)
    func decide(_ verdict: String, _ partition: Int, _ offset: Int, _ reasons: String) {
      builder.take(
        decision: Array(
          """
          {"trace_id":"\(traceID(1))","verdict":"\(verdict)","final":true,"span_count":1,"error_count":0,\
          "byte_count":9,"root":null,"trigger":"wait","late":false,"truncated_spans":0,\
          "partition":\(partition),"first_offset":\(offset),"last_offset":\(offset),"reasons":[\(reasons)],\
          "decided_at":"2026-01-31T23:59:58.000000001Z"}
          """.utf8))
    }
    // The offsets of the second are smaller, and say nothing about the first.
    builder.take(
      tracesData([TestSpan(trace: 1, id: 1)]), partition: 0, offset: 1000, time: Instant(nanoseconds: 1))
    decide("drop", 0, 1000, "")
    builder.take(
      tracesData([TestSpan(trace: 1, id: 2, parent: 1, isError: true)]), partition: 5, offset: 3,
      time: Instant(nanoseconds: 2))
    decide("keep", 5, 3, "\"errors\"")
    let story = try #require(builder.story())
    #expect(story.events.map(\.kind) == ["arrived", "dropped", "arrived", "kept"])
    #expect(story.events.map(\.partition) == [0, 0, 5, 5])
    #expect(story.events.allSatisfy { !$0.text.contains("after the verdict") })
    #expect(story.events[2].text.hasPrefix("the trace opened"))
    #expect(story.notes.count == 1 && story.notes[0].contains("partitions 0, 5"), "\(story.notes)")
    // Policies answer for what the sampler of the verdict's partition saw.
    #expect(story.policies.map(\.answer) == ["matches", "does_not_match", "does_not_match"])
    #expect(story.policies[0].seen.hasPrefix("1 span "))
  }

  /// What does not fit is counted, not left out silently.
  @Test func aHugeTraceSaysWhatIsLeftOut() throws {
    var builder = StoryBuilder(traceID(1), SamplerConfiguration(), hasPartitions: true)
    for number in 0..<102 {
      let spans = (0..<1000).map { TestSpan(trace: 1, id: UInt64(number * 1000 + $0 + 1), parent: 1 << 40) }
      builder.take(tracesData(spans), partition: 0, offset: Int64(number), time: nil)
    }
    let story = try #require(builder.story())
    #expect(story.spanCount == StoryBuilder.spansMax)
    #expect(story.notes.contains { $0.hasPrefix("2 more records name the trace, and are left out") })

    var large = StoryBuilder(traceID(1), SamplerConfiguration(), hasPartitions: true)
    for number in 0..<9 {
      let span = TestSpan(trace: 1, id: UInt64(number + 1), parent: 1 << 40, padding: 10 << 20)
      large.take(tracesData([span]), partition: 0, offset: Int64(number), time: nil)
    }
    let short = try #require(large.story())
    #expect(short.spanCount == 7 && short.notes.contains { $0.hasPrefix("2 more records") })
  }

  /// What the ledger has is enough for a story without spans.
  @Test func aTraceOfTheLedger() throws {
    var builder = StoryBuilder(traceID(1), SamplerConfiguration(), hasPartitions: true)
    let json = """
      {"trace_id":"\(traceID(1))","verdict":"drop","final":true,"span_count":3,"error_count":0,\
      "byte_count":9,"root":null,"trigger":"wait","late":false,"truncated_spans":0,"partition":2,\
      "first_offset":4,"last_offset":5,\
      "decided_at":"2026-01-31T23:59:58.000000001Z","config":"abc"}
      """
    builder.take(decision: Array(json.utf8))
    builder.take(decision: Array(json.replacing("abcd", with: "abce").utf8))
    let story = try #require(builder.story())
    #expect(story.events.map(\.kind) == ["dropped"] && story.events[0].partition == 2)
    #expect(story.policies.isEmpty && story.notes.count == 2)
  }

  /// Known values of the partitioners' hashes.
  @Test func keysArePartitionedAsProducersDo() {
    let text = Array("123456789".utf8)
    #expect(KeyPartitions.crc32(text) == 0xcbf4_3926)
    // From Kafka's own tests, `UtilsTest.testMurmur2`.
    #expect(Int32(bitPattern: KeyPartitions.murmur2(Array("21".utf8))) == -973_932_308)
    #expect(Int32(bitPattern: KeyPartitions.murmur2(Array("foobar".utf8))) == -790_332_482)
    #expect(
      Int32(bitPattern: KeyPartitions.murmur2(Array("a-little-bit-long-string".utf8)))
        == -985_981_536)
    #expect(KeyPartitions.fnv1a(Array("a".utf8)) == 0xe40c_292c)
    #expect(KeyPartitions.candidates(of: text, count: 1) == [0])
  }
}
