// The keys for metrics of all spans: defaults, the way back to YAML, and mistakes.

import Sampling
import Testing

@testable import Topology

@Suite struct MetricsKeysTests {
  private func parse(_ body: String) throws -> TailSamplingTopology {
    let text = "kind: tail-sampling\n" + body
    let topology = try Topology.parse(text, fileName: "t.yaml", environment: [:])
    let again = try Topology.parse(topology.redactedDescription, fileName: "t.yaml", environment: [:])
    #expect(again == topology)
    let found: TailSamplingTopology? = if case .tailSampling(let found) = topology { found } else { nil }
    return try #require(found)
  }

  @Test func spansAreCountedOnlyIfAsked() throws {
    #expect(try parse("").metrics == nil)
    let topology = try parse("metrics: {}")
    #expect(topology.metrics == SpanMetricsConfiguration())
    #expect(topology.metrics?.interval == .seconds(60) && topology.metrics?.seriesMax == 10_000)
    #expect(topology.topics.metrics == "metrics")
    #expect(SamplerConfiguration(topology).metrics == topology.metrics)
  }

  @Test func allKeysAreRead() throws {
    let topology = try parse(
      "topics: {metrics: {name: red}}\nmetrics: {interval: 15s, series_limit: 20, unit: s, serve: true}")
    #expect(topology.topics.metrics == "red")
    #expect(topology.metrics?.interval == .seconds(15))
    #expect(topology.metrics?.seriesMax == 20 && topology.metrics?.unit == .seconds)
    #expect(topology.metrics?.isServed == true)
  }

  @Test(arguments: [
    ("topics: {metrics: {name: x}}", "topics.metrics has no effect without metrics"),
    ("topics: {metrics: {name: spans}}\nmetrics: {}", "are the same topic"),
    ("metrics: {interval: 10ms}", "metrics.interval must be a duration from 1s to"),
    ("metrics: {series_limit: 0}", "metrics.series_limit must be a whole number from 1 to 100000"),
    ("metrics: {unit: us}", "metrics.unit must be ms or s"),
    ("metrics: {serve: some}", "metrics.serve must be true or false"),
    ("metrics: {limit: 5}", "unknown key 'limit'"),
    ("metrics: true", "metrics must be a section of keys and values"),
  ])
  func mistakesAreReported(_ body: String, _ message: String) {
    let error = #expect(throws: TopologyError.self) { try parse(body) }
    #expect(error.map { "\($0)".contains(message) } == true, "\(error.map { "\($0)" } ?? "")")
  }

  @Test func aChangeNeedsARestart() throws {
    let old = Topology.tailSampling(try parse("metrics: {}"))
    let new = Topology.tailSampling(try parse("metrics: {unit: s}"))
    #expect(TopologyChange(from: old, to: new).waiting == ["metrics"])
    #expect(old.version == new.version)
  }
}
