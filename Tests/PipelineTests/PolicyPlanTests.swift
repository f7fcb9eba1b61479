// Plans of recordings with more traces than are compared at a time: the sums don't depend on it.

import OTLP
import Sampling
import Simulation
import Testing

@testable import Pipeline

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
}
