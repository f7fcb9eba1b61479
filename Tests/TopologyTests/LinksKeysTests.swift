// The keys for links: defaults, the way back to YAML, and mistakes.

import Sampling
import Testing

@testable import Topology

@Suite struct LinksKeysTests {
  private func parse(_ body: String) throws -> TailSamplingTopology {
    let text = "kind: tail-sampling\n" + body
    let topology = try Topology.parse(text, fileName: "t.yaml", environment: [:])
    let again = try Topology.parse(topology.redactedDescription, fileName: "t.yaml", environment: [:])
    #expect(again == topology)
    let found: TailSamplingTopology? = if case .tailSampling(let found) = topology { found } else { nil }
    return try #require(found)
  }

  @Test func linksAreFollowedOnlyIfAsked() throws {
    #expect(try parse("").links == nil)
    let topology = try parse("links: {}")
    #expect(topology.links == LinksConfiguration() && topology.topics.links == "links")
    #expect(SamplerConfiguration(topology).links == topology.links)
  }

  @Test func allKeysAreRead() throws {
    let topology = try parse(
      """
      topics: {links: {name: stories}}
      links: {direction: to_linking, max_hops: 5, traces_per_second: 7, remember: 10m, traces: 5000,
        share_randomness: false}
      """)
    #expect(topology.topics.links == "stories")
    var links = LinksConfiguration()
    links.direction = .toLinking
    (links.maxHops, links.tracesPerSecond, links.tracesMax) = (5, 7, 5000)
    (links.remember, links.sharesRandomness) = (.seconds(600), false)
    #expect(topology.links == links)
    #expect(try parse("metrics: {}\nlinks: {}").topics.metrics == "metrics")
  }

  @Test(arguments: [
    ("topics: {links: {name: x}}", "topics.links has no effect without links"),
    ("topics: {links: {name: spans}}\nlinks: {}", "are the same topic"),
    ("links: {topic: x}", "unknown key 'topic' in links; the topic's name is topics.links.name"),
    ("links: {direction: up}", "links.direction must be both, to_linked or to_linking, found 'up'"),
    ("links: {max_hops: 0}", "links.max_hops must be a whole number from 1 to 15"),
    ("links: {traces_per_second: 0}", "links.traces_per_second must be a whole number from 1 to 1000000"),
    ("links: {remember: 10ms}", "links.remember must be a duration from 1s to"),
    ("links: {traces: 1}", "links.traces must be a whole number from 1000 to 10000000"),
    ("windows: {buffer: log}\nlinks: {}", "links needs windows.buffer: memory"),
    (
      "policies: [{name: linked, type: always_sample}]\nlinks: {}",
      "the policy name 'linked' is reserved where there are links: rename the policy"
    ),
    ("links: true", "links must be a section of keys and values"),
    ("kind2: x\nlinks: {}", "unknown key 'kind2'"),
  ])
  func mistakesAreReported(_ body: String, _ message: String) {
    let error = #expect(throws: TopologyError.self) { try parse(body) }
    #expect(error.map { "\($0)".contains(message) } == true, "\(error.map { "\($0)" } ?? "")")
  }

  /// Verdicts depend on them.
  @Test func aChangeNeedsARestart() throws {
    let old = Topology.tailSampling(try parse("links: {}"))
    let new = Topology.tailSampling(try parse("links: {max_hops: 2}"))
    #expect(TopologyChange(from: old, to: new).waiting == ["links"])
    #expect(old.version != new.version)
  }
}
