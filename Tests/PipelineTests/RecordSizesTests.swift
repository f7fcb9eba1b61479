// Record sizes: the smaller limit of topic and client, the warnings about it, and its effects.

import Kafka
import Sampling
import Testing
import Topology

@testable import Pipeline

@Suite struct RecordSizesTests {
  private let topics = [
    "spans": 1_048_588, "decisions": 1_048_588, "verdicts": 1_048_588, "sampled": 1_048_588,
    "spans.dead-letters": 1_048_588,
  ]

  private func plan(_ change: (inout TailSamplingTopology) -> Void = { _ in }) -> LanePlan {
    var topology = TailSamplingTopology()
    change(&topology)
    return LanePlan(.tailSampling(topology))
  }

  private func bounded(_ topics: [String: Int], _ plan: LanePlan) throws -> SamplingJob.Configuration {
    guard case .sample(var configuration) = plan.work else { throw NotASampler() }
    configuration.bound(by: RecordSizes(topics, clientBytes: plan.needs.clientBytes), plan.outputs)
    return configuration
  }

  private struct NotASampler: Error {}

  @Test func eachOutputHasItsTopicsLimit() throws {
    var topics = topics
    topics["sampled"] = 500_000
    topics["decisions"] = 100_000
    topics["spans.dead-letters"] = 3_000_000
    topics["stats"] = 50_000
    let configuration = try bounded(topics, plan { $0.baseline = BaselineSettings() })
    let limits = configuration.sampler.limits
    #expect(configuration.sampledBytesMax == 500_000 - 1024)
    #expect(limits.forwardBytes == 500_000 - 1024 && limits.forwardBytesMax == 500_000 - 1024)
    #expect(limits.decisionBytes == 100_000 - 1024)
    #expect(limits.statsBytes == 50_000 - 1024)
    #expect(configuration.deadLetterBytesMax == 3_000_000 - 1024)
    #expect(try bounded(["sampled": 2_000_000], plan()).sampler.limits.forwardBytes == 900_000)
    #expect(try bounded(["sampled": 2_000_000], plan()).sampler.limits.forwardBytesMax > 1_900_000)
  }

  @Test func theClientsOwnLimitCounts() throws {
    let small = plan { $0.worker.kafka.values["message.max.bytes"] = "200000" }
    #expect(small.needs.clientBytes == 200_000)
    let configuration = try bounded(topics, small)
    #expect(configuration.sampledBytesMax == 200_000 - 1024)
    #expect(configuration.deadLetterBytesMax == 200_000 - 1024)
    #expect(configuration.sampler.limits.decisionBytes == 200_000 - 1024)
    // By default the client accepts dead letters of 16 MiB.
    #expect(plan().needs.clientBytes > 16 << 20)
    #expect(
      plan().properties.last { $0.name == "message.max.bytes" }?.value == String(plan().needs.clientBytes))
  }

  /// A topic's limit is for a batch.
  @Test func batchesFitTheSmallestTopic() {
    func batch(_ topics: [String: Int], _ given: String? = nil) -> [String] {
      let plan = plan { $0.worker.kafka.values["batch.size"] = given }
      let sizes = RecordSizes(topics, clientBytes: plan.needs.clientBytes)
      return plan.properties(ofLane: 0, sizes).filter { $0.name == "batch.size" }.map(\.value)
    }
    #expect(batch(topics) == [])
    #expect(batch(topics, "500000") == ["500000"])
    #expect(batch(topics, "9000000") == ["1048588"])
    var small = topics
    small["decisions"] = 300_000
    #expect(batch(small) == ["300000"])
    #expect(batch(small, "500000") == ["300000"])
    #expect(batch(small, "200000") == ["200000"])
  }

  @Test func thereAreNoWarningsIfAllFits() {
    #expect(RecordSizes(topics, clientBytes: 20_000_000).warnings(of: plan().needs).isEmpty)
    #expect(RecordSizes(topics, clientBytes: 20_000_000).problems(of: plan().needs).isEmpty)
    // Topics to be created, and a broker that does not report limits.
    #expect(RecordSizes(["spans": 5_000_000], clientBytes: 20_000_000).warnings(of: plan().needs).isEmpty)
    #expect(RecordSizes([:], clientBytes: 20_000_000).warnings(of: plan().needs).isEmpty)
  }

  @Test func outputsThatTakeLessThanTheInputAreNamed() {
    var topics = topics
    topics["spans"] = 2_000_000
    let warnings = RecordSizes(topics, clientBytes: 20_000_000).warnings(of: plan().needs)
    #expect(warnings.count == 2)
    #expect(
      warnings.first == """
        topic 'sampled' accepts records of at most 1048588 bytes (its max.message.bytes), but 'spans' \
        accepts up to 2000000: a span that does not fit goes to 'spans.dead-letters'
        """)
    #expect(warnings.last?.hasPrefix("topic 'spans.dead-letters' accepts records of at most 1048588") == true)
    // Larger records than these are dead letters anyway.
    topics["spans"] = 100_000_000
    topics["sampled"] = 5_000_000
    topics["spans.dead-letters"] = 100_000_000
    let client = RecordSizes(topics, clientBytes: 20_000_000).warnings(of: plan().needs)
    #expect(client.count == 1)
    #expect(
      client.first?.hasPrefix(
        "records for topic 'spans.dead-letters' may have at most 20000000 bytes "
          + "(message.max.bytes under kafka)")
        == true)
    topics["decisions"] = 50_000
    let decisions = RecordSizes(topics, clientBytes: 200_000_000).warnings(of: plan().needs)
    #expect(decisions.count == 1 && decisions.first?.hasPrefix("topic 'decisions' accepts") == true)
  }

  @Test func aTopicThatTakesNextToNothingIsAProblem() {
    var topics = topics
    topics["decisions"] = 2000
    let problems = RecordSizes(topics, clientBytes: 20_000_000).problems(of: plan().needs)
    #expect(
      problems == [
        "topic 'decisions' accepts records of at most 2000 bytes (its max.message.bytes): "
          + "at least 13024 bytes are needed"
      ])
    #expect(RecordSizes(topics, clientBytes: 5000).problems(of: plan().needs).count == 4)
  }

  @Test func repartitionHasItsOwnOutput() {
    let plan = LanePlan(.repartition(RepartitionTopology()))
    let sizes = RecordSizes(
      ["raw-spans": 2_000_000, "spans": 1_000_000, "spans.dead-letters": 3_000_000], clientBytes: 20_000_000)
    #expect(sizes.warnings(of: plan.needs).map { $0.hasPrefix("topic 'spans' accepts") } == [true])
  }
}
