// The keys of rules, the policies that they stand for, and mistakes.

import Sampling
import Testing

@testable import Topology

@Suite struct RuleKeysTests {
  private func parse(_ body: String) throws -> TailSamplingTopology {
    let topology = try Topology.parse("kind: tail-sampling\n" + body, fileName: "t.yaml", environment: [:])
    let again = try Topology.parse(topology.redactedDescription, fileName: "t.yaml", environment: [:])
    #expect(again == topology)
    let found: TailSamplingTopology? = if case .tailSampling(let found) = topology { found } else { nil }
    return try #require(found)
  }

  private func problems(_ body: String) -> [String] {
    do {
      _ = try parse(body)
      return []
    } catch let error as TopologyError {
      return error.issues.map(\.message)
    } catch { return ["\(error)"] }
  }

  @Test func everyKeyIsRead() throws {
    let topology = try parse(
      """
      rules:
        - {name: health, attributes: {url.path: [/healthz, /ready], http.method: GET}, then: drop}
        - name: paying
          services: [shop, bank]
          when: [{type: status_code, status_code: {status_codes: [ERROR]}}]
          then: keep
        - {name: shop, services: shop, then: {percentage: 12.5}}
        - {name: bulk, services: bulk, then: {spans_per_second: 100, burst_capacity: 150}}
        - {name: shared, services: all, then: {spans_per_second: 7, scope: fleet}}
        - {name: "rest", then: {bytes_per_second: 1MiB}}
      """)
    let errors = PolicySpecification(name: "", rule: .statusCode(codes: [.error]))
    #expect(
      topology.rules == [
        RuleSpecification(
          name: "health",
          attributes: [
            .init(key: "url.path", values: ["/healthz", "/ready"]),
            .init(key: "http.method", values: ["GET"]),
          ], outcome: .drop),
        RuleSpecification(name: "paying", services: ["shop", "bank"], conditions: [errors], outcome: .keep),
        RuleSpecification(name: "shop", services: ["shop"], outcome: .percentage(12.5)),
        RuleSpecification(
          name: "bulk", services: ["bulk"], outcome: .spansPerSecond(100, burstCapacity: 150)),
        RuleSpecification(
          name: "shared", services: ["all"],
          outcome: .spansPerSecond(7, burstCapacity: nil, scope: .fleet)),
        RuleSpecification(name: "rest", outcome: .bytesPerSecond(1 << 20, burstCapacity: nil)),
      ])
    // The default policies without the baseline: the rules set the rate.
    #expect(topology.policies.map(\.name) == ["errors", "slow"])
    #expect(
      topology.decidingPolicies.map(\.name)
        == ["errors", "slow", "paying", "shop", "bulk", "shared", "rest"])
  }

  @Test func policiesMayBeEmptyBesideThem() throws {
    #expect(
      try parse("policies: []\nrules: [{name: all, then: keep}]").decidingPolicies.map(\.name) == ["all"])
    #expect(try parse("policies: []\nbaseline: {}").decidingPolicies.isEmpty)
    #expect(problems("policies: []").count == 1)
  }

  @Test(arguments: [
    ("[{then: keep}]", "needs the key 'name'"), ("[{name: a}]", "needs the key 'then'"),
    ("[{name: a, then: maybe}]", "must be keep, drop, or a section"),
    ("[{name: a, then: {}}]", "must be keep, drop, or a section"),
    ("[{name: a, then: {percentage: 1, spans_per_second: 2}}]", "must be keep, drop, or a section"),
    ("[{name: a, then: {percentage: 101}}]", "a number from 0 to 100"),
    ("[{name: a, then: {percentage: 1, burst_capacity: 2}}]", "unknown key 'burst_capacity'"),
    ("[{name: a, then: {spans_per_second: 0}}]", "a whole number of spans"),
    ("[{name: a, type: latency, then: keep}]", "a rule's conditions are a list under 'when'"),
    (
      "[{name: a, when: [{type: drop, drop: {drop_sub_policy: [{type: always_sample}]}}], then: keep}]",
      "can't be nested"
    ),
    ("[{name: a, services: [], then: keep}]", "at least one item"),
    ("[{name: a, services: x, then: keep}, {name: a, then: keep}]", "already used"),
    ("[{name: errors, services: x, then: keep}]", "already used"),
    ("[{name: a, then: keep}, {name: b, then: drop}]", "is never reached"),
  ])
  func mistakesAreTold(rules: String, message: String) {
    let found = problems("rules: \(rules)")
    #expect(found.count == 1 && found.first?.contains(message) == true, "\(found)")
  }

  @Test func thereAreNoMoreThanPoliciesMayBe() {
    let rules = (0..<63).map { "  - {name: r\($0), services: s\($0), then: keep}\n" }.joined()
    #expect(problems("rules:\n" + rules).first?.contains("at most 64") == true)
  }

  @Test func theVersionAndChangesFollowThem() throws {
    let old = try parse("rules: [{name: a, then: {percentage: 1}}]")
    let new = try parse("rules: [{name: a, then: {percentage: 2}}]")
    #expect(old.version != new.version)
    let change = TopologyChange(from: .tailSampling(old), to: .tailSampling(new))
    #expect(change.waiting.isEmpty && change.effective == .tailSampling(new))
  }
}
