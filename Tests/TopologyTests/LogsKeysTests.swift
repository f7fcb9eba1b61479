// The keys for logs that follow: defaults, the way back to YAML, and mistakes.

import Testing

@testable import Topology

@Suite struct LogsKeysTests {
  private func parse(_ body: String) throws -> TailSamplingTopology {
    let text = "kind: tail-sampling\n" + body
    let topology = try Topology.parse(text, fileName: "t.yaml", environment: [:])
    let again = try Topology.parse(topology.redactedDescription, fileName: "t.yaml", environment: [:])
    #expect(again == topology)
    let found: TailSamplingTopology? = if case .tailSampling(let found) = topology { found } else { nil }
    return try #require(found)
  }

  @Test func withoutTheirTopicLogsDoNotFollow() throws {
    let topology = try parse("windows: {decision_wait: 3s}")
    #expect(topology.topics.logs == nil)
    #expect(topology.logs == .init())
  }

  @Test func theDefaultsFitTheWindows() throws {
    let topology = try parse("topics: {logs: {}}")
    #expect(topology.topics.logs == SpanSource(name: "logs"))
    #expect(topology.topics.sampledLogs == "sampled-logs")
    #expect(topology.logs == .init(wait: .seconds(70), withoutTrace: .keep, withoutVerdict: .drop))
    #expect(try parse("topics: {logs: {}}\nwindows: {decision_wait: 3s}").logs.wait == .seconds(6))
    #expect(
      try parse("topics: {logs: {}}\nwindows: {decision_wait: 60s, late_window: 90s}").logs.wait
        == .seconds(45))
    let shortest = "windows: {decision_wait: 100ms, decision_wait_after_root: 0s, late_window: 100ms}"
    #expect(try parse("topics: {logs: {}}\n" + shortest).logs.wait == .milliseconds(100))
  }

  @Test func allKeysAreRead() throws {
    let topology = try parse(
      """
      topics:
        logs: {name: l, encoding: otlp_json}
        sampled_logs: {name: kept}
      logs: {wait: 9m, without_trace: warn, without_verdict: keep}
      """)
    #expect(topology.topics.logs == SpanSource(name: "l", encoding: .otlpJSON))
    #expect(topology.topics.sampledLogs == "kept")
    #expect(topology.logs == .init(wait: .seconds(540), withoutTrace: .warn, withoutVerdict: .keep))
  }

  @Test(arguments: [
    ("logs: {wait: 1m}", "logs has no effect without topics.logs"),
    ("topics: {sampled_logs: {name: x}}", "topics.sampled_logs has no effect without topics.logs"),
    ("topics: {logs: {name: spans}}", "are the same topic"),
    ("topics: {logs: {}}\nlogs: {wait: 11m}", "logs.wait must not be longer than windows.late_window"),
    ("topics: {logs: {}}\nlogs: {without_trace: notice}", "logs.without_trace must be keep, drop, trace,"),
    ("topics: {logs: {}}\nlogs: {waits: 1m}", "did you mean 'wait'?"),
  ])
  func mistakesAreReported(_ body: String, _ message: String) {
    let error = #expect(throws: TopologyError.self) { try parse(body) }
    #expect(error.map { "\($0)".contains(message) } == true, "\(error.map { "\($0)" } ?? "")")
  }

  @Test func aChangeNeedsARestart() throws {
    let old = Topology.tailSampling(try parse("topics: {logs: {}}"))
    let new = Topology.tailSampling(try parse("topics: {logs: {}}\nlogs: {without_trace: drop}"))
    #expect(TopologyChange(from: old, to: new).waiting == ["logs"])
    #expect(old.version == new.version)
  }
}
