// How large records may be. A record has to pass the client and the topic, and a batch of several records the
// topic: what is larger would be refused, and refused again whenever the log is replayed.

internal import Kafka
internal import Sampling
import Topology

/// What each topic takes, through the client.
package struct RecordSizes: Equatable, Sendable {
  /// `max.message.bytes` by topic; those that are missing have the default.
  private var topics: [String: Int]
  /// The client's own `message.max.bytes`.
  private var clientBytes: Int

  /// Kafka's default for `max.message.bytes` is a little more, librdkafka's for `message.max.bytes` is this.
  static let topicDefault = 1_000_000
  /// librdkafka's default for `batch.size`.
  private static let batchDefault = 1_000_000
  /// What a record costs beside its value: a key of a trace's id, the batch's head, lengths.
  private static let overhead = 1024
  /// With less than this a decision record may not fit, however short it is made.
  static let bytesMin = Limits.decisionBytesMin + overhead

  package init(_ topics: [String: Int], clientBytes: Int) {
    self.topics = topics
    self.clientBytes = clientBytes
  }

  /// The largest record for a topic.
  func recordBytes(of topic: String) -> Int {
    min(topics[topic] ?? RecordSizes.topicDefault, clientBytes)
  }

  /// The largest value for a topic; with keys and headers that are anybody's, those included.
  func valueBytes(of topic: String?) -> Int {
    max(0, (topic.map { recordBytes(of: $0) } ?? RecordSizes.topicDefault) - RecordSizes.overhead)
  }

  /// Of each topic of `names`, the least that one takes.
  private func least(of names: [String]) -> Int {
    names.map { recordBytes(of: $0) }.min() ?? RecordSizes.topicDefault
  }

  /// The properties, with batches that every topic takes. A topic's limit is for a whole batch, and
  /// librdkafka does not take a batch apart that was refused. A single record may be larger than
  /// `batch.size`.
  func bounding(_ properties: [KafkaProperty], outputs: [String]) -> [KafkaProperty] {
    let given = properties.last { $0.name == "batch.size" }.flatMap { Int($0.value) }
    let least = least(of: outputs)
    guard given ?? RecordSizes.batchDefault > least else { return properties }
    return properties.filter { $0.name != "batch.size" } + [KafkaProperty("batch.size", String(least))]
  }

  // MARK: What there is to say

  /// Why nothing works with these sizes, one line each.
  func problems(of needs: TopicNeeds) -> [String] {
    needs.outputs.filter { recordBytes(of: $0) < RecordSizes.bytesMin }.map { name in
      "\(limit(of: name)): at least \(RecordSizes.bytesMin) are needed"
    }
  }

  /// One that is missing will be made large enough.
  private func isKnown(_ topic: String) -> Bool { topics[topic] != nil }

  /// What becomes of records that the input takes and an output does not, one line each.
  func warnings(of needs: TopicNeeds) -> [String] {
    guard let input = topics[needs.input] else { return [] }
    var lines: [String] = []
    let spans = min(input, needs.recordBytes)
    if isKnown(needs.spansOut), recordBytes(of: needs.spansOut) < spans {
      lines.append(
        "\(limit(of: needs.spansOut)), and '\(needs.input)' holds records of up to \(spans): a span that "
          + "does not fit goes to '\(needs.deadLetters)'")
    }
    if isKnown(needs.deadLetters), recordBytes(of: needs.deadLetters) < input {
      lines.append(
        "\(limit(of: needs.deadLetters)), and '\(needs.input)' takes \(input): larger dead letters go "
          + "without their value, with the record's place")
    }
    if let name = needs.decisions, isKnown(name), recordBytes(of: name) < RecordSizes.decisionsWanted {
      lines.append("\(limit(of: name)): decisions on traces of very many services may leave some out")
    }
    return lines
  }

  /// 256 services with names of 256 bytes, each byte escaped to six.
  private static let decisionsWanted = 400_000

  /// The limit, and which of the two it is.
  private func limit(of name: String) -> String {
    let topic = topics[name] ?? RecordSizes.topicDefault
    return topic <= clientBytes
      ? "topic '\(name)' takes records of at most \(topic) bytes (its max.message.bytes)"
      : "records for topic '\(name)' have at most \(clientBytes) bytes (message.max.bytes under kafka)"
  }
}

extension TopicNeeds {
  /// Everything that is written.
  var outputs: [String] { mirrored + free + (compacted.map { [$0] } ?? []) }
}

extension SamplingJob.Configuration {
  /// Keeps everything that is written below what its topic takes.
  package mutating func bound(by sizes: RecordSizes, _ outputs: OutputNames) {
    sampledBytesMax = sizes.valueBytes(of: outputs.sampled)
    deadLetterBytesMax = sizes.valueBytes(of: outputs.deadLetters)
    sampler.limits.forwardBytesMax = sampledBytesMax
    sampler.limits.forwardBytes = min(sampler.limits.forwardBytes, sampledBytesMax)
    sampler.limits.decisionBytes = sizes.valueBytes(of: outputs.decisions)
    sampler.limits.statsBytes = sizes.valueBytes(of: outputs.stats)
  }
}

extension RepartitionJob.Configuration {
  /// Keeps everything that is written below what its topic takes.
  mutating func bound(by sizes: RecordSizes, _ outputs: OutputNames) {
    spansBytesMax = sizes.valueBytes(of: outputs.spans)
    deadLetterBytesMax = sizes.valueBytes(of: outputs.deadLetters)
  }
}
