// Replays: same output each time, kept spans that can be replayed, reports that agree with the truth.

import Foundation
import OTLP
import Sampling
import Simulation
import Testing
import Topology

@testable import Pipeline

/// What a replay has written and reported.
struct ReplayOutcome {
  var report: ReplayReport
  var decisions: [[UInt8]] = []
  var sampled: [[UInt8]] = []

  init(path: String, _ configuration: SamplerConfiguration = SamplerConfiguration()) throws {
    var (decisions, sampled): ([[UInt8]], [[UInt8]]) = ([], [])
    var replay = Replay(configuration: configuration)
    report = try replay.run(try RecordingReader(path: path)) { output in
      switch output {
      case .decision(let record, _): decisions.append(Array(record))
      case .keptSpans(let bytes, _, _): sampled.append(Array(bytes))
      case .metrics: break
      }
    }
    (self.decisions, self.sampled) = (decisions, sampled)
  }

  /// How many spans were forwarded for each trace.
  func sampledSpans() throws -> [TraceID: Int] {
    var counts: [TraceID: Int] = [:]
    for bytes in sampled { for span in try scannedSpans(bytes) { counts[span.traceID, default: 0] += 1 } }
    return counts
  }
}

@Suite struct ReplayTests {
  @Test func theSameRecordingGivesTheSameOutputs() throws {
    let directory = try TemporaryDirectory()
    let path = try writeRecording(generatedRecords(traces: 100).records, in: directory, name: "a.zst")
    let first = try ReplayOutcome(path: path)
    let second = try ReplayOutcome(path: path)
    #expect(first.decisions == second.decisions)
    #expect(first.sampled == second.sampled)
    #expect(!first.sampled.isEmpty)
  }

  @Test func theReportAgreesWithTheTruth() throws {
    let directory = try TemporaryDirectory()
    let (records, truths) = generatedRecords(traces: 300) {
      $0.errorShare = 0.1
      $0.slowShare = 0.1
      $0.lateShare = 0
    }
    let outcome = try ReplayOutcome(path: try writeRecording(records, in: directory, name: "a.zst"))
    let report = outcome.report
    #expect(report.records == records.count && report.damages.isEmpty)
    #expect(report.spans == truths.reduce(0) { $0 + $1.spanCount })
    #expect(report.bytes == records.reduce(0) { $0 + $1.count })
    #expect(report.traces == 300)
    let errors = truths.filter(\.hasError)
    #expect(report.errorTraces == ReplayReport.Kept(kept: errors.count, total: errors.count))
    let errorSpans = errors.reduce(0) { $0 + $1.spanCount }
    #expect(report.errorTraceSpans == ReplayReport.Kept(kept: errorSpans, total: errorSpans))
    #expect(report.slowTraces.kept == report.slowTraces.total)
    #expect(report.slowTraces.total >= truths.count(where: \.isSlow))
    let sampled = try outcome.sampledSpans()
    for truth in truths where truth.hasError || truth.isSlow {
      #expect(sampled[TraceID(high: truth.traceIDHigh, low: truth.traceIDLow)] == truth.spanCount)
    }
    #expect(report.keptSpans == sampled.values.reduce(0, +))
    #expect(report.keptBytes == outcome.sampled.reduce(0) { $0 + $1.count })
    #expect(report.byTrigger.reduce(0) { $0 + $1.count } == 300)
    #expect(report.keptTraces == sampled.count)
    let finals = try outcome.decisions.map { try DecisionRecord($0) }.filter(\.final)
    #expect(finals.count == 300 && Set(finals.map(\.traceId)).count == 300)
  }

  /// A root and an error that arrive after the wait are losses that the report names.
  @Test func lateSpansAreReported() throws {
    let directory = try TemporaryDirectory()
    func span(
      _ trace: UInt64, _ id: UInt64, under parent: UInt64, from start: Double, to end: Double,
      isError: Bool = false
    ) -> [UInt8] {
      var span = TestSpan(trace: trace, id: id, isError: isError)
      if parent != 0 { span.parent = parent }
      span.duration = UInt64((end - start) * 1e9)
      span.end = UInt64((1.7e9 + end) * 1e9)
      return tracesData([span])
    }
    let records = [
      span(1, 2, under: 1, from: 0.5, to: 1), span(2, 1, under: 0, from: 0, to: 2),
      span(2, 2, under: 1, from: 0, to: 2),
      span(3, 1, under: 0, from: 20, to: 20.1), span(4, 1, under: 0, from: 33, to: 33.1),
      span(2, 3, under: 1, from: 40, to: 40.1, isError: true), span(1, 1, under: 0, from: 0, to: 45),
      span(5, 1, under: 0, from: 90, to: 90.1),
    ]
    var configuration = SamplerConfiguration()
    configuration.policies[1].rule = .latency(threshold: .seconds(3), upper: nil)
    configuration.policies[2].rule = .probabilistic(.never)
    let outcome = try ReplayOutcome(
      path: try writeRecording(records, in: directory, name: "a"), configuration)
    #expect(outcome.report.slowTraces == ReplayReport.Kept(kept: 0, total: 1))
    #expect(outcome.report.errorTraces == ReplayReport.Kept(kept: 0, total: 1))
    #expect(outcome.report.counters.missedByPolicy == ["errors": 1, "slow": 1, "baseline": 0])
    #expect(outcome.report.traces == 5 && outcome.report.keptTraces == 0)
  }

  @Test func keptSpansReplayAndAreKeptAgain() throws {
    let directory = try TemporaryDirectory()
    let records = generatedRecords(traces: 200) { $0.errorShare = 0.2 }.records
    let first = try ReplayOutcome(path: try writeRecording(records, in: directory, name: "a.zst"))
    let second = try ReplayOutcome(path: try writeRecording(first.sampled, in: directory, name: "b.zst"))
    #expect(second.report.damages.isEmpty)
    #expect(second.report.spans == first.report.keptSpans)
    #expect(second.report.traces == first.report.keptTraces)
    #expect(second.report.errorTraces == first.report.errorTraces)
    #expect(second.report.keptSpans == first.report.keptSpans)
  }

  @Test func damageIsReportedAndTheRestDecided() throws {
    let directory = try TemporaryDirectory()
    let records = generatedRecords(traces: 50) { $0.errorShare = 1 }.records
    var bytes = records.flatMap(framed)
    let start = records.prefix(10).flatMap(framed).count
    for place in start + 4..<start + 40 { bytes[place] = 0xff }
    let outcome = try ReplayOutcome(path: try directory.write(Array(bytes.dropLast(5)), to: "a"))
    #expect(outcome.report.records == records.count - 2)
    #expect(outcome.report.damages.count == 2)
    #expect(outcome.report.damages.first?.offset == start)
    #expect(outcome.report.damages.last?.reason.contains("truncated") == true)
    #expect(outcome.report.traces == 50)
  }

  /// A span without ids is the only loss; a record of only such spans is damaged.
  @Test func unusableSpansAreReported() throws {
    let directory = try TemporaryDirectory()
    let bad: [UInt8] = [0x0a, 6, 0x12, 4, 0x12, 0, 0x12, 0]
    var records = (1...10).map { tracesData([TestSpan(trace: UInt64($0), id: 1, isError: true)]) }
    records[3] += bad
    records[7] += bad
    records += [bad, bad, bad]
    let outcome = try ReplayOutcome(path: try directory.write(records.flatMap(framed), to: "a"))
    #expect(outcome.report.errorTraces == ReplayReport.Kept(kept: 10, total: 10))
    #expect(outcome.report.spansRejected == 4)
    #expect(outcome.report.firstRejected?.record == 3)
    #expect(outcome.report.firstRejected?.reason.hasPrefix("identifier_missing at byte ") == true)
    #expect(outcome.report.damageCount == 3)
  }

  // MARK: Time

  /// Traces of one root each, ten a second, every other with an error and a later child; `ends` are hours to
  /// add to the end of a record's spans.
  private func timed(_ ends: [Int: Double], count: Int = 200, step: Double = 0.1) -> [[UInt8]] {
    (0..<count).map { number in
      let end = 1.7e9 + Double(number) * step + 3600 * (ends[number] ?? 0)
      var span = TestSpan(trace: UInt64(number / 2 + 1), id: UInt64(number % 2 + 1))
      if number % 2 == 1 {
        span.parent = 1
        span.isError = number % 4 == 3
      }
      span.end = UInt64(max(0, end) * 1e9)
      return tracesData([span])
    }
  }

  /// Recordings with the places of records whose end time is wrong, and by how many hours.
  static let wrongEnds: [[Int: Double]] = [
    [:], [20: 1], [20: 2_400_000], [0: 1], [0: 2_400_000], [0: 1, 1: 1, 2: 1], [0: -400_000], [7: -400_000],
    [199: 1], [198: 1, 199: 1], [197: 1, 198: 1, 199: 1], [195: 1, 197: 2_400_000, 199: 1],
    [50: 1, 51: 1, 52: 1, 53: 1, 54: 1],
    [10: 1, 12: 5, 14: 1, 16: 5, 17: 5, 30: -7],
    Dictionary(uniqueKeysWithValues: (0..<100).map { (2 * $0 + 1, 1) }),
    Dictionary(uniqueKeysWithValues: (20..<80).map { ($0, 1) }),
  ]

  @Test(arguments: wrongEnds)
  func aWrongEndMisjudgesNoOtherTrace(_ ends: [Int: Double]) throws {
    let directory = try TemporaryDirectory()
    let outcome = try ReplayOutcome(path: try writeRecording(timed(ends), in: directory, name: "a"))
    let finals = try outcome.decisions.map { try DecisionRecord($0) }.filter(\.final)
    #expect(finals.count == 100 && Set(finals.map(\.traceId)).count == 100)
    #expect(finals.allSatisfy { $0.spanCount == 2 })
    #expect(outcome.report.errorTraces == ReplayReport.Kept(kept: 50, total: 50))
    #expect(outcome.report.counters.lateSpansDropped == 0)
  }

  @Test(
    arguments: [
      ([20: 1], 1, 20), ([20: 2_400_000], 1, 20), ([0: 1], 1, 0), ([0: 1, 1: 1, 2: 1], 3, 0),
      ([199: 1], 1, 199),
      ([50: 1, 51: 1, 60: 2], 3, 50), ([197: 1, 198: 1, 199: 1], 3, 197), ([7: -400_000], 0, nil),
      ([:], 0, nil),
    ] as [([Int: Double], Int, Int?)])
  func theFirstWrongRecordIsNamed(_ ends: [Int: Double], _ count: Int, _ first: Int?) throws {
    let directory = try TemporaryDirectory()
    let records = timed(ends)
    let outcome = try ReplayOutcome(path: try writeRecording(records, in: directory, name: "a"))
    #expect(outcome.report.recordsAhead == count)
    #expect(outcome.report.firstAhead?.record == first)
    #expect(outcome.report.firstAhead?.byte == first.map { records.prefix($0).flatMap(framed).count })
  }

  /// A recording can be read ahead: a gap in it, or sparse traffic, is recognised at once, and windows close
  /// as usual.
  @Test(arguments: [0.1, 8, 100]) func aGapIsNotAnError(_ step: Double) throws {
    let directory = try TemporaryDirectory()
    var gaps: [Int: Double] = [:]
    if step == 0.1 { for number in 120..<200 { gaps[number] = 2 } }
    let outcome = try ReplayOutcome(
      path: try writeRecording(timed(gaps, step: step), in: directory, name: "a"))
    #expect(outcome.report.recordsAhead == 0 && outcome.report.firstAhead == nil)
    var configuration = SamplerConfiguration()
    configuration.clockWitnesses = 1
    let plain = try ReplayOutcome(path: directory.path("a"), configuration)
    // The last record may be from a host with a wrong clock: it closes nothing. So a trace that ends with it
    // waits for it.
    func decisions(_ outcome: ReplayOutcome) -> [[UInt8]] {
      outcome.decisions.filter { (try? DecisionRecord($0))?.traceId != traceID(100).description }
    }
    // Not as operands of `#expect`: it would take minutes to show the difference.
    let isSame = decisions(outcome) == decisions(plain)
    #expect(isSame)
    if step == 0.1 { #expect(outcome.report.byTrigger.contains { $0.name == "root" && $0.count >= 60 }) }
  }

  @Test func anEmptyRecordingDecidesNothing() throws {
    let directory = try TemporaryDirectory()
    let outcome = try ReplayOutcome(path: try directory.write([], to: "a"))
    #expect(outcome.report.traces == 0 && outcome.report.records == 0 && outcome.report.damages.isEmpty)
    #expect(outcome.decisions.isEmpty && outcome.sampled.isEmpty)
  }
}

// MARK: Real traces

/// A recording of real traces next to the checkout, and its truth.
struct RealTraces: CustomTestStringConvertible {
  var name: String
  var traces: Int
  var errors: Int

  static let all = [
    RealTraces(name: "nezha-tt0129-a", traces: 2190, errors: 606),
    RealTraces(name: "nezha-ob0822-a", traces: 9668, errors: 0),
  ]

  private static let checkout = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  /// Next to the checkout: the project does not contain them.
  private static let directory = checkout.appending(path: "../shared/data").standardized
  /// The topology that the project ships as a starting point.
  static let shippedTopology = checkout.appending(path: "Topologies/tail-sampling.yaml").path

  var recording: String { RealTraces.directory.appending(path: "\(name).otlp.zst").path }
  var index: String { RealTraces.directory.appending(path: "\(name).index.json").path }
  var testDescription: String { name }

  static var areThere: Bool {
    all.allSatisfy {
      FileManager.default.fileExists(atPath: $0.recording) && FileManager.default.fileExists(atPath: $0.index)
    }
  }

  struct Index: Decodable {
    var traces: [Trace]

    struct Trace: Decodable {
      var traceId: String
      var spans: Int
      var hasError: Bool
      var rootDurationNs: Int64?
    }
  }

  func readIndex() throws -> [Index.Trace] {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Index.self, from: Data(contentsOf: URL(filePath: index))).traces
  }
}

@Suite(
  .enabled(if: RealTraces.areThere, "the recordings of real traces, ../shared/data, are not here"))
struct RealTraceTests {
  @Test(arguments: RealTraces.all)
  func theShippedTopologyKeepsErrorsAndSlowTracesWhole(_ real: RealTraces) throws {
    let topology = try Topology.load(file: RealTraces.shippedTopology, environment: [:])
    guard case .tailSampling(let tailSampling) = topology else {
      Issue.record("the shipped topology is of another kind")
      return
    }
    let outcome = try ReplayOutcome(path: real.recording, SamplerConfiguration(tailSampling))
    let index = try real.readIndex()
    #expect(index.count == real.traces)
    #expect(outcome.report.traces == real.traces)
    #expect(outcome.report.damages.isEmpty)
    #expect(outcome.report.errorTraces == ReplayReport.Kept(kept: real.errors, total: real.errors))

    var verdicts: [String: String] = [:]
    for decision in try outcome.decisions.map({ try DecisionRecord($0) }) where decision.final {
      #expect(verdicts.updateValue(decision.verdict, forKey: decision.traceId) == nil)
    }
    let sampled = Dictionary(
      uniqueKeysWithValues: try outcome.sampledSpans().map { ($0.key.description, $0.value) })
    let wanted = index.filter { $0.hasError || ($0.rootDurationNs ?? 0) >= 2_000_000_000 }
    #expect(index.count(where: \.hasError) == real.errors)
    #expect(wanted.count > real.errors)
    for trace in wanted {
      #expect(verdicts[trace.traceId] == "keep", "\(trace.traceId)")
      #expect(sampled[trace.traceId] == trace.spans, "\(trace.traceId)")
    }
    // Of the rest, about one in a hundred.
    let others = index.count - wanted.count
    let share = Double(verdicts.values.count { $0 == "keep" } - wanted.count) / Double(others)
    #expect(share > 0.004 && share < 0.02)
  }
}
