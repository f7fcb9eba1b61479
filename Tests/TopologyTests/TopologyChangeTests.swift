// What can change in a topology while a worker runs, and the version that identifies it.

import Sampling
import Testing

@testable import Topology

private func topology(_ body: String, kind: String = "tail-sampling") throws -> Topology {
  try Topology.parse("kind: \(kind)\n\(body)", fileName: "t.yaml", environment: [:])
}

private let keepAll = "policies: [{name: all, type: always_sample}]\n"

@Suite struct TopologyVersionTests {
  @Test func theVersionReflectsTheMeaning() throws {
    let version = try topology(keepAll).version
    #expect(version.count == 8 && version.allSatisfy(\.isHexDigit))
    let same = """
      # Comments, order and explicit defaults make no difference, nor do settings that decide nothing.
      windows: {decision_wait: 35000ms}
      group: another
      kafka: {bootstrap.servers: "elsewhere:9092"}
      policies:
        - type: always_sample
          name: all
      """
    #expect(try topology(same).version == version)
    for other in [
      "policies: [{name: any, type: always_sample}]", keepAll + "sample_on_first_match: true",
      keepAll + "invert_decisions: true",
      keepAll + "windows: {decision_wait: 31s}", keepAll + "limits: {spans_per_trace: 9}",
      keepAll + "shadow: [{name: s, type: always_sample}]", keepAll + "baseline: {}",
      keepAll + "baseline: {floor: 2}",
    ] {
      #expect(try topology(other).version != version, "\(other)")
    }
    #expect(try topology("", kind: "repartition").version == "")
  }
}

@Suite struct TopologyChangeTests {
  @Test func policiesBaselineAndLogLevelAreAdopted() throws {
    let old = try topology("baseline: {floor: 1}\n")
    let new = try topology(
      keepAll
        + "sample_on_first_match: true\ninvert_decisions: true\nshadow: [{name: s, type: always_sample}]\n"
        + "baseline: {floor: 3, boost: 2}\nlog: {level: debug}\n"
    )
    let change = TopologyChange(from: old, to: new)
    #expect(change.effective == new)
    #expect(change.waiting.isEmpty)
  }

  @Test(arguments: [
    ("group: g", "group"), ("lanes: 2", "lanes"), ("delivery: at_least_once", "delivery"),
    ("commit_interval: 2s", "commit_interval"), ("commit_records: 9", "commit_records"),
    ("stop_timeout: 9s", "stop_timeout"), ("kafka: {linger.ms: 5}", "kafka"),
    ("console: {port: 1}", "console"),
    ("log: {format: json}", "log.format"), ("topics: {sampled: {name: s}}", "topics"),
    ("windows: {decision_wait: 9s}", "windows"), ("limits: {services: 9}", "limits"),
  ])
  func theRestWaitsForARestart(_ body: String, _ name: String) throws {
    let old = try topology("")
    let change = TopologyChange(from: old, to: try topology(body))
    #expect(change.effective == old)
    #expect(change.waiting == [name])
  }

  @Test func addingOrRemovingABaselineTakesARestart() throws {
    let (without, with) = (try topology(""), try topology("baseline: {}\n"))
    #expect(TopologyChange(from: without, to: with).waiting == ["baseline", "policies"])
    let change = TopologyChange(from: with, to: without)
    #expect(change.waiting == ["baseline", "policies"])
    #expect(change.effective == with)
  }

  /// Workers open the topic of counts at start.
  @Test func aLimitThatTheFleetSharesTakesARestartUnlessCountsAreShared() throws {
    let limit = "[{name: p, type: rate_limiting, rate_limiting: {spans_per_second: 5, scope: fleet}}]\n"
    let (without, with) = (try topology(keepAll), try topology("policies: \(limit)"))
    #expect(TopologyChange(from: without, to: with).waiting == ["policies"])
    #expect(TopologyChange(from: without, to: with).effective == without)
    #expect(TopologyChange(from: with, to: without).effective == without)
    let asShadow = try topology("\(keepAll)shadow: \(limit)")
    #expect(TopologyChange(from: without, to: asShadow).waiting == ["shadow"])
    let counting = try topology("\(keepAll)baseline: {}\n")
    let both = try topology("policies: \(limit)baseline: {}\n")
    #expect(TopologyChange(from: counting, to: both).effective == both)
    // What other scopes mean does not change with them.
    let plain = "policies: [{name: p, type: rate_limiting, rate_limiting: {spans_per_second: 5}}]\n"
    #expect(try topology(plain).version != with.version)
  }

  /// A policy may depend on the baseline that is set with it.
  @Test(arguments: ["{interval: 20s}", "{key: [http.route]}", "{services: 7}"])
  func policiesWaitTogetherWithTheBaseline(_ baseline: String) throws {
    let old = try topology("baseline: {}\n")
    let change = TopologyChange(from: old, to: try topology(keepAll + "baseline: \(baseline)\n"))
    #expect(change.effective == old)
    #expect(change.waiting.count == 2 && change.waiting.last == "policies")
  }

  /// Its names may be those of policies that wait.
  @Test func shadowPoliciesWaitWithThem() throws {
    let old = try topology("baseline: {}\n")
    let change = TopologyChange(
      from: old, to: try topology(keepAll + "shadow: [{name: s, type: always_sample}]\n"))
    #expect(change.effective == old)
    #expect(change.waiting == ["baseline", "policies", "shadow"])
  }

  @Test func shadowPoliciesComeAndGo() throws {
    let old = try topology(keepAll + "shadow: [{name: s, type: always_sample}]\n")
    let none = TopologyChange(from: old, to: try topology(keepAll + "shadow: []\n"))
    #expect(none.effective.version == (try topology(keepAll)).version && none.waiting.isEmpty)
    #expect(TopologyChange(from: none.effective, to: old).effective == old)
  }

  @Test func someSettingsAreAdoptedWhileOthersWait() throws {
    let old = try topology("")
    let change = TopologyChange(from: old, to: try topology(keepAll + "windows: {decision_wait: 9s}\n"))
    #expect(change.effective.version == (try topology(keepAll)).version)
    #expect(change.waiting == ["windows"])
  }

  @Test func aRepartitionerAdoptsTheLogLevel() throws {
    let old = try topology("", kind: "repartition")
    let new = try topology("log: {level: debug}\nlimits: {record_bytes: 1MiB}\n", kind: "repartition")
    let change = TopologyChange(from: old, to: new)
    #expect(change.effective.worker.log.level == .debug)
    #expect(change.waiting == ["limits.record_bytes"])
    #expect(TopologyChange(from: old, to: try topology("")).waiting == ["kind"])
  }
}
