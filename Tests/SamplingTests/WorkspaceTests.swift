// What the samplers of a lane share: it exists once, is accounted for, and can be released at any time.

import Expressions
import SpanStorage
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct WorkspaceTests {
  /// Samplers of a lane, by partition.
  private final class Partitions {
    let workspace = SamplerWorkspace()
    private var samplers: [Partition] = []
    private var offset: Int64 = 0

    private final class Partition {
      var sampler: Sampler
      var effects = Effects()
      init(_ sampler: consuming Sampler) { self.sampler = sampler }
    }

    init(_ count: Int, _ policies: [Policy], _ adjust: (inout SamplerConfiguration) -> Void = { _ in }) {
      var configuration = SamplerConfiguration()
      configuration.policies = policies
      adjust(&configuration)
      let memory = SpanMemory()
      for number in 0..<Int32(count) {
        samplers.append(
          Partition(
            Sampler(
              partition: PartitionID(number), configuration: configuration, memory: memory,
              workspace: workspace)))
      }
    }

    func send(_ spans: [TestSpan], to number: Int) throws {
      let value = record(spans)
      let error = value.withRawBytes { value in
        samplers[number].sampler.ingest(
          offset: Offset(offset), timestamp: .at(0), key: nil, value: value,
          into: &samplers[number].effects)
      }
      offset += 1
      if let error { throw error }
    }

    /// Closes all windows; returns how many traces each partition has kept.
    func kept() -> [UInt64] {
      samplers.map { partition in
        partition.sampler.advance(to: .at(60_000), into: &partition.effects)
        return partition.sampler.counters.tracesKept
      }
    }

    func usage(of number: Int) -> SamplerUsage { samplers[number].sampler.usage }
    func adopt(_ configuration: SamplerConfiguration) {
      for partition in samplers { partition.sampler.adopt(configuration) }
    }
  }

  private func policies() throws -> [Policy] {
    let condition = try OTTLCondition(#"IsMatch(attributes["route"], "^/(a|b)+/c$")"#, context: .span)
    return [
      Policy(name: "pattern", rule: .patternAttribute(key: "route", patterns: ["^/(x|y)+/z[0-9]{2,9}$"])),
      Policy(name: "condition", rule: .ottlCondition(spans: [condition], events: [], errorMode: .ignore)),
    ]
  }

  private func span(_ route: String, trace: UInt64 = 1) -> TestSpan {
    TestSpan(trace: trace, id: 1, parent: 9, attributes: [TestAttribute("route", .text(route))])
  }

  /// What policies are compiled to exists once per lane; what they have spent is per partition.
  @Test func partitionsShareAProgramAndNoBudget() {
    let workspace = SamplerWorkspace()
    var configuration = SamplerConfiguration()
    configuration.policies = [
      Policy(name: "limited", rule: .rateLimiting(RateLimit(perSecond: 1, burst: 10)))
    ]
    var first = workspace.policies(configuration)
    var second = workspace.policies(configuration)
    #expect(first.program === second.program)
    first.restoreBudgets([3, 0], at: .at(0))
    #expect(first.budgetLevels(at: .at(0)) == [3, 0] && second.budgetLevels(at: .at(0)) == [10, 0])
    #expect(workspace.policies(configuration).budgetLevels(at: .at(0)) == [10, 0])
    configuration.policies.append(Policy(name: "all", rule: .alwaysSample))
    second = workspace.policies(configuration)
    _ = second.succeed(first)
    #expect(first.program !== second.program && second.budgetLevels(at: .at(0)) == [3, 0])
  }

  /// The states that one partition's texts have built are available to all others.
  @Test func automataAreSharedByAllPartitions() throws {
    let lane = Partitions(8, try policies())
    #expect(lane.workspace.automataBytes == 0)
    for route in ["/xxyx/z123", "/abab/c", "/other"] { try lane.send([span(route)], to: 0) }
    let once = lane.workspace.automataBytes
    #expect(once > 0)
    for partition in 1..<8 {
      for route in ["/xxyx/z123", "/abab/c", "/other"] { try lane.send([span(route)], to: partition) }
    }
    #expect(lane.workspace.automataBytes == once)
    #expect(lane.kept() == Array(repeating: 1, count: 8))
  }

  /// What is released is rebuilt, and changes nothing.
  @Test func automataAreGivenBack() throws {
    let lane = Partitions(2, try policies())
    try lane.send([span("/xx/z12", trace: 1)], to: 0)
    let used = lane.workspace.automataBytes
    lane.workspace.releaseAutomata(all: false)
    #expect(lane.workspace.automataBytes == used, "in use")
    lane.workspace.releaseAutomata(all: false)
    #expect(lane.workspace.automataBytes == 0)
    try lane.send([span("/xx/z12", trace: 2), span("/ab/c", trace: 3), span("/no", trace: 4)], to: 1)
    lane.workspace.releaseAutomata(all: true)
    #expect(lane.workspace.automataBytes == 0)
    try lane.send([span("/ab/c", trace: 5), span("/ab/d", trace: 6)], to: 1)
    #expect(lane.kept() == [1, 3])
  }

  /// Budgets are per partition, even if the policies come from one compilation.
  @Test func budgetsAreNotShared() throws {
    let lane = Partitions(2, [Policy(name: "two", rule: .rateLimiting(RateLimit(perSecond: 1, burst: 2)))])
    for partition in 0..<2 {
      for trace in 1...3 as ClosedRange<UInt64> { try lane.send([.root(of: trace)], to: partition) }
    }
    #expect(lane.kept() == [2, 2])
  }

  @Test func newPoliciesAreCompiledOnce() throws {
    let lane = Partitions(3, [Policy(name: "errors", rule: .statusCode([.error]))])
    try lane.send([span("/xx/z12")], to: 0)
    var configuration = SamplerConfiguration()
    configuration.policies = try policies()
    lane.adopt(configuration)
    let once = lane.workspace.automataBytes
    for partition in 1..<3 { try lane.send([span("/xx/z12")], to: partition) }
    #expect(lane.workspace.automataBytes == once && once > 0)
    #expect(lane.kept() == [1, 1, 1])
  }

  @Test func roomToReadIsOneRecordsForAll() throws {
    let lane = Partitions(4, Policy.defaults)
    try lane.send([.root()], to: 0)
    let small = lane.workspace.scratchBytes
    let large = (1...20_000).map { TestSpan(trace: 1, id: UInt64($0), parent: 9) }
    try lane.send(large, to: 0)
    let once = lane.workspace.scratchBytes
    #expect(once > 20_000 * 96)
    for partition in 1..<4 { try lane.send(large, to: partition) }
    #expect(lane.workspace.scratchBytes == once)
    lane.workspace.releaseScratch()
    #expect(lane.workspace.scratchBytes < 2 * small, "up to the allocator's rounding")
    try lane.send([.root(of: 7)], to: 0)
  }

  /// Names of the baseline's keys, and their counts, are memory too.
  @Test func namesOfKeysAreCounted() throws {
    let attributes = Policy(name: "adaptive", rule: .adaptive)
    let lane = Partitions(1, [attributes]) {
      $0.baseline = BaselineConfiguration()
      $0.baseline?.key = .attributes(["route", "kind"])
    }
    try lane.send([span("a")], to: 0)
    let before = lane.usage(of: 0).tableBytes
    for number in 0..<500 as Range<UInt64> {
      let spans = (0..<4).map { part in
        span(String(repeating: "r", count: 100) + "\(number * 4 + UInt64(part))", trace: number + 2)
      }
      try lane.send(
        spans.enumerated().map { place, span in
          var span = span
          span.id = UInt64(place) + 1
          return span
        }, to: 0)
    }
    #expect(lane.usage(of: 0).tableBytes - before > 2000 * 100)
  }
}
