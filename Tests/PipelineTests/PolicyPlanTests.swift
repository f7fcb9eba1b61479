// Plans of recordings with more traces than are compared at a time: the sums don't depend on it.

import OTLP
import Simulation
import Testing

@testable import Pipeline
@testable import Sampling

@Suite struct PolicyPlanTests {
  private static let errors = Policy(name: "errors", rule: .statusCode([.error]))
  private static let slow = Policy(
    name: "slow", rule: .latency(threshold: .milliseconds(500), upper: nil))

  private func report(_ path: String, tracesMax: Int) throws -> PlanReport {
    var (old, new) = (SamplerConfiguration(), SamplerConfiguration())
    (old.windows.recallWindow, new.windows.recallWindow) = (.seconds(600), .seconds(600))
    old.policies = [PolicyPlanTests.errors]
    new.policies = [PolicyPlanTests.errors, PolicyPlanTests.slow]
    var plan = PolicyPlan(old: old, new: new, canReadAgain: true, tracesMax: tracesMax)
    return try plan.run(RecordingReader(path: path), again: { try RecordingReader(path: path) })
  }

  /// Most traces are decided at the recording's end, by one configuration after the other.
  @Test func smallTablesGiveTheSameSums() throws {
    let directory = try TemporaryDirectory()
    let (records, _) = generatedRecords(traces: 400) {
      $0.errorShare = 0.1
      $0.slowShare = 0.2
      $0.lateShare = 0.1
    }
    let path = try writeRecording(records, in: directory, name: "a.otlp")
    let large = try report(path, tracesMax: 100_000)
    let small = try report(path, tracesMax: 250)
    #expect(large.uncompared == 0 && small.uncompared == 0)
    #expect(large.compared == 400 && small.compared == 400)
    #expect(small.kept == large.kept && small.services == large.services && small.reasons == large.reasons)
    #expect(small.changes.map(\.tally) == large.changes.map(\.tally))
    #expect(large.kept.old.traces == large.old.keptTraces && large.kept.new.traces == large.new.keptTraces)
    #expect(large.kept.new.spans == large.new.keptSpans && large.kept.new.bytes == large.new.keptBytes)
  }

  private func decision(
    _ number: UInt64, isKept: Bool = false, isFinal: Bool = true, recall: RecallStatus? = nil
  ) -> ReplayOutput {
    let decision = Decision(
      traceID: traceID(number), isKept: isKept, isFinal: isFinal, trigger: .wait, matches: isKept ? 1 : 0,
      threshold: isKept ? .always : .never, spanCount: 1, errorCount: 0, byteCount: 9, truncatedCount: 0,
      isLate: !isFinal, hasRoot: true, start: 1, duration: 1, firstOffset: Offset(0), lastOffset: Offset(0),
      openedAt: .distantPast, decidedAt: .distantPast, recall: recall)
    return .decision([], decision)
  }

  /// A trace is recalled at the recording's end, however many younger ones there are: it waits for that.
  @Test func aTraceThatAwaitsItsRecallIsNotSettledBefore() {
    var configuration = SamplerConfiguration()
    configuration.policies = [PolicyPlanTests.errors]
    var comparison = PlanComparison(old: configuration, new: configuration, tracesMax: 10)
    for side in [PlanComparison.Side.old, .new] { comparison.note(decision(1), side) }
    comparison.note(decision(1, isFinal: false, recall: .requested(until: Offset(5))), .new)
    for number in 2...101 as ClosedRange<UInt64> {
      for side in [PlanComparison.Side.old, .new] { comparison.note(decision(number), side) }
    }
    comparison.note(decision(1, isKept: true, recall: .done), .new)
    let report = comparison.report(old: ReplayReport(), new: ReplayReport(), duration: .seconds(1))
    #expect(report.compared == 101 && report.uncompared == 0)
    #expect(report.changes.map(\.kind) == [.kept] && report.changes.first?.tally.traces == 1)
  }

  /// A policy that keeps nothing which one before it does not keep has no effect.
  @Test func policiesThatOthersShadowAreNamed() throws {
    let directory = try TemporaryDirectory()
    let (records, _) = generatedRecords(traces: 200) {
      $0.errorShare = 0.2
      $0.slowShare = 0.2
    }
    let path = try writeRecording(records, in: directory, name: "a.otlp")
    var (old, new) = (SamplerConfiguration(), SamplerConfiguration())
    old.policies = [PolicyPlanTests.errors]
    let both = Policy(
      name: "both", rule: .and([.statusCode([.error]), .latency(threshold: .seconds(0), upper: nil)]))
    let never = Policy(name: "never", rule: .spanCount(least: 1_000_000, most: nil))
    new.policies = [PolicyPlanTests.errors, both, PolicyPlanTests.slow, never]
    func shadows(_ configuration: SamplerConfiguration) throws -> [String: [String]] {
      var plan = PolicyPlan(old: old, new: configuration)
      let report = try plan.run(RecordingReader(path: path), again: { try RecordingReader(path: path) })
      return Dictionary(uniqueKeysWithValues: report.policies.map { ($0.name, $0.shadowedBy) })
    }
    #expect(try shadows(new) == ["errors": [], "both": ["errors"], "slow": [], "never": []])
    new.policies = [both, PolicyPlanTests.errors, PolicyPlanTests.slow]
    #expect(try shadows(new)["errors"] == ["both"])
  }
}
