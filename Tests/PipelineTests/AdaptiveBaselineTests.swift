// Lanes with an adaptive baseline: counts are published and return as rates, and weights stay right.

import OTLP
import Sampling
import Testing

@testable import Pipeline
@testable import Topology

@Suite struct AdaptiveBaselineTests {
  /// Service `small` has one trace a second, `large` has fifty; ids are spread evenly.
  private func broker(seconds: Int, partitions: Int = 1) -> MemoryBroker {
    let broker = MemoryBroker(partitions: partitions)
    var number: UInt64 = 0
    for second in 0..<seconds {
      for place in 0..<51 {
        number += 1
        let id = number &* 0x9e37_79b9_7f4a_7c15
        let value = tracesData([TestSpan(trace: id, id: 1)], service: place == 0 ? "small" : "large")
        broker.append(value, at: at(Double(second) + Double(place) / 51), to: Int(number) % partitions)
      }
    }
    return broker
  }

  private func configuration() -> SamplingJob.Configuration {
    var sampler = SamplerConfiguration()
    sampler.windows.decisionWaitAfterRoot = .seconds(0)
    sampler.policies = [
      Policy(name: "errors", rule: .statusCode([.error])), Policy(name: "baseline", rule: .adaptive),
    ]
    var baseline = BaselineConfiguration()
    baseline.budget = .shareOfTraces(0.1)
    baseline.interval = .seconds(5)
    sampler.baseline = baseline
    var configuration = SamplingJob.Configuration(sampler: sampler, topic: "spans")
    configuration.pace.interval = .seconds(1)
    return configuration
  }

  private func run(_ broker: MemoryBroker, seconds: Int, assigned: Int = 1) throws -> Lane<
    MemoryLink, SamplingJob
  > {
    let link = MemoryLink(broker, assigned: assigned)
    // One partition is read as it fills; several at once, so that none is idle while another is read.
    link.batch = assigned == 1 ? 51 : .max
    let lane = Lane(link: link, configuration: configuration()) { _ in }
    for second in 0..<seconds + 3 {
      try lane.step(at: moment(at(Double(second))), timeout: .seconds(0))
    }
    return lane
  }

  @Test func countsGoOutAndRatesComeBack() throws {
    let broker = broker(seconds: 300)
    let lane = try run(broker, seconds: 300)
    #expect(broker.outputs(to: .stats).count >= 55, "a record for each interval")
    #expect(broker.outputs(to: .stats).first?.keyText.hasPrefix("0/") == true)
    let counters = lane.snapshot().counters
    let share = Double(counters.tracesKept) / Double(counters.tracesKept + counters.tracesDropped)
    #expect(0.07 < share && share < 0.14, "a tenth of all traces: \(share)")
    // Max-min fair: the small service needs less than its share, so all of it is kept.
    let late = try broker.decisions().filter { $0.firstOffset > 100 * 51 }
    let small = late.filter { $0.firstOffset % 51 == 0 }
    let kept = small.count { $0.verdict == "keep" }
    #expect(Double(kept) > 0.9 * Double(small.count), "\(kept) of \(small.count)")
  }

  @Test func weightsAddUpToTheTruth() throws {
    let broker = broker(seconds: 300)
    _ = try run(broker, seconds: 300)
    var estimate = 0.0
    for output in broker.outputs(to: .decisions) {
      let text = output.text
      guard text.contains("\"verdict\":\"keep\""), text.contains("\"final\":true") else { continue }
      let tail = try #require(text.split(separator: "\"adjusted_count\":").last)
      estimate += try #require(Double(tail.prefix { $0.isNumber || $0 == "." || $0 == "e" || $0 == "-" }))
    }
    let truth = Double(try broker.decisions().count)
    // 1,500 kept traces with weights of about ten: a standard deviation of three percent.
    #expect(abs(estimate - truth) < 0.1 * truth, "\(estimate) for \(truth)")
  }

  @Test func aNewLaneAdoptsTheFleetsRates() throws {
    let broker = broker(seconds: 60)
    _ = try run(broker, seconds: 60)
    let link = MemoryLink(broker, assigned: 1)
    link.areStatsRead = false
    let lane = Lane(link: link, configuration: configuration()) { _ in }
    for second in 0..<9 { try lane.step(at: moment(at(100 + Double(second))), timeout: .seconds(0)) }
    #expect(lane.snapshot().partitions.isEmpty, "it waits for the fleet's counts")
    link.areStatsRead = true
    for second in 9..<11 { try lane.step(at: moment(at(100 + Double(second))), timeout: .seconds(0)) }
    #expect(lane.snapshot().partitions == [PartitionID(0)])
    let other = MemoryLink(broker, assigned: 1)
    other.areStatsRead = false
    let impatient = Lane(link: other, configuration: configuration()) { _ in }
    for second in 0..<12 { try impatient.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    #expect(impatient.snapshot().partitions == [PartitionID(0)], "but not forever")
  }

  /// The same records, in another order and on other lanes, give the same rates.
  @Test func theFleetAgrees() throws {
    let broker = broker(seconds: 120, partitions: 3)
    _ = try run(broker, seconds: 0, assigned: 3)
    let values = broker.outputs(to: .stats).compactMap(\.value)
    var first = FleetRates(try #require(configuration().sampler.baseline))
    var second = FleetRates(try #require(configuration().sampler.baseline))
    for value in values { first.merge(value, now: at(200)) }
    for value in values.reversed() { second.merge(value, now: at(200)) }
    let (own, others) = (first.newRates(at: at(0)), second.newRates(at: at(0)))
    let rates = try #require(own)
    #expect(rates == others)
    #expect(rates.entries.map { String(decoding: $0.name, as: UTF8.self) } == ["large", "small"])
    #expect(first.recordsRefused == 0)
    first.merge([1, 2, 3], now: at(200))
    #expect(first.recordsRefused == 1)
  }
}

@Suite struct BaselineKeysTests {
  private func topology(_ baseline: String) throws -> TailSamplingTopology {
    let text = "kind: tail-sampling\nbaseline:\n" + baseline
    let topology = try Topology.parse(text, fileName: "t.yaml", environment: [:])
    guard case .tailSampling(let tailSampling) = topology else { throw WrongKind() }
    return tailSampling
  }

  private struct WrongKind: Error {}

  @Test func theBaselineReplacesTheDefaultOne() throws {
    let topology = try topology("  budget: {spans_percentage: 2}\n  floor: 3\n  interval: 20s\n")
    #expect(topology.policies.map(\.name) == ["errors", "slow"])
    #expect(
      topology.baseline == BaselineSettings(budget: .spans(percentage: 2), floor: 3, interval: .seconds(20)))
    let configuration = SamplerConfiguration(topology)
    #expect(configuration.policies.map(\.name) == ["errors", "slow", "baseline"])
    #expect(configuration.baseline?.budget == .shareOfSpans(0.02))
  }

  @Test(arguments: [
    "service", "[service.name, http.route]", "[\"a key: with all\", http.route]", "[trace.shape]",
    "[trace.shape, root.operation, span.name]", "[attribute.trace.shape, attribute.attribute.x]",
  ])
  func keysAreReadAndWritten(_ key: String) throws {
    let read = try topology("  key: \(key)\n")
    let settings = try #require(read.baseline)
    let known: [String: BaselineKey] = [
      "service": .service, "[service.name, http.route]": .attributes(["service.name", "http.route"]),
      "[\"a key: with all\", http.route]": .attributes(["a key: with all", "http.route"]),
      "[trace.shape]": .parts([.traceShape]),
      "[trace.shape, root.operation, span.name]": .parts([.traceShape, .rootOperation, .spanName]),
      "[attribute.trace.shape, attribute.attribute.x]": .attributes(["trace.shape", "attribute.x"]),
    ]
    #expect(settings.key == known[key])
    let written = Topology.tailSampling(read).redactedDescription
    #expect(written.contains("  key: \(key)\n"), "\(written)")
    #expect(try Topology.parse(written, fileName: "t.yaml", environment: [:]) == .tailSampling(read))
    let configuration = try #require(SamplerConfiguration(read).baseline)
    #expect(configuration.key == settings.key)
    try configuration.validate()
  }

  @Test func theDefaultsAreTheCores() {
    var configuration = BaselineConfiguration()
    configuration.isWithinBudget = true
    #expect(BaselineConfiguration(BaselineSettings()) == configuration)
  }

  @Test func floorsAreWithinTheBudgetOrNot() throws {
    let within = try #require(try topology("  floor: within_budget\n").baseline)
    #expect(within == BaselineSettings() && within.floor == nil)
    let hard = try #require(try topology("  floor: 1\n").baseline)
    #expect(hard.floor == 1)
    #expect(BaselineConfiguration(within).isWithinBudget && !BaselineConfiguration(hard).isWithinBudget)
    #expect(BaselineConfiguration(within).floor == 1)
  }

  @Test func firstTracesOfShapesAreUsualWhereShapesAreKeys() throws {
    let usual = try #require(try topology("  key: [trace.shape]\n").baseline)
    #expect(usual.firstOfShapePercentage == 96 && usual.shapeSilence == .seconds(86_400))
    #expect(try topology("  key: service\n").baseline?.firstOfShapePercentage == 0)
    #expect(try topology("  key: [trace.shape]\n  floor: 2\n").baseline?.firstOfShapePercentage == 0)
    let own = try topology("  first_of_shape: 20\n  shape_silence: 2h\n")
    let configuration = try #require(SamplerConfiguration(own).baseline)
    #expect(configuration.firstOfShapeShare == 0.2 && configuration.shapeSilence == .seconds(7200))
    try configuration.validate()
    let written = Topology.tailSampling(own).redactedDescription
    #expect(try Topology.parse(written, fileName: "t.yaml", environment: [:]) == .tailSampling(own))
  }

  @Test(
    arguments: [
      ("  budget: {spans_percentage: 1, bytes_percentage: 1}\n", "exactly one of traces_percentage"),
      ("  budget: {traces_percentage: 0}\n", "a number from"), ("  budgets: {}\n", "did you mean 'budget'"),
      (
        "  key: http.route\n",
        "such as [service.name, http.route], found 'http.route'; did you mean '[http.route]'?"
      ),
      ("  key: sevice\n", "did you mean 'service'?"), ("  key: {a: b}\n", "found a section"),
      ("  key: []\n", "baseline.key needs at least one item"), ("  key:\n", "baseline.key has no value"),
      ("  key: [a, b, a]\n", "baseline.key[2] repeats 'a'"), ("  key: ['']\n", "found an empty string"),
      ("  key: [service, http.route]\n", "baseline.key[0] must be an attribute name, found 'service'"),
      ("  key: [service]\n", "did you mean 'service.name'?"), ("  key: [[a]]\n", "found a list"),
      ("  key: [a, b, c, d, e, f, g, h, i]\n", "can have at most 8 attributes, found 9"),
      ("  key: [trace.shap]\n", "baseline.key[0] must be one of trace.shape, root.operation, span.name"),
      ("  key: [a, trace.shap]\n", "found 'trace.shap'; did you mean 'trace.shape'?"),
      ("  key: [span.kind]\n", "found 'span.kind'; did you mean 'attribute.span.kind'?"),
      ("  key: [attribute.]\n", "found an empty string"),
      ("  key: [http.route, attribute.http.route]\n", "repeats 'attribute.http.route'"),
      ("  floor: none\n", "within_budget, or a number from 0"),
      ("  floor: -1\n", "within_budget, or a number"),
      ("  floor: 1\n  first_of_shape: 5\n", "baseline.first_of_shape needs floor: within_budget"),
      ("  first_of_shape: 101\n", "a number from 0 to 100"),
      ("  shape_silence: 1h\n", "baseline.shape_silence has no effect without first_of_shape"),
      ("  boost: 0.5\n", "from 1 to 64"),
      ("  interval: 1ms\n", "a duration from 1s"),
      ("  floor: 1\npolicies: [{name: baseline, type: always_sample}]\n", "rename the policy"),
    ])
  func errorsAreNamed(_ text: String, _ part: String) throws {
    do {
      _ = try topology(text)
      Issue.record("accepted: \(text)")
    } catch {
      #expect("\(error)".contains(part), "\(error)")
    }
  }
}
