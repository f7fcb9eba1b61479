// How large records may be. A record has to pass the client and the topic, and a batch of several records the
// topic: a larger one would be refused, and refused again on every replay.

internal import Kafka
internal import Sampling
import Topology

/// What each topic accepts, through the client.
package struct RecordSizes: Equatable, Sendable {
  /// `max.message.bytes` by topic; missing ones have the default.
  private var topics: [String: Int]
  /// The client's own `message.max.bytes`.
  private var clientBytes: Int

  /// librdkafka's default for `message.max.bytes`; Kafka's for `max.message.bytes` is a little more.
  static let topicDefault = 1_000_000
  /// librdkafka's default for `batch.size`.
  private static let batchDefault = 1_000_000
  /// A record's bytes besides its value: a trace id as key, the batch header, lengths.
  private static let overhead = 1024
  /// With less, even the shortest decision record may not fit.
  static let bytesMin = Limits.decisionBytesMin + overhead

  package init(_ topics: [String: Int], clientBytes: Int) {
    self.topics = topics
    self.clientBytes = clientBytes
  }

  /// The largest record for a topic.
  func recordBytes(of topic: String) -> Int {
    min(topics[topic] ?? RecordSizes.topicDefault, clientBytes)
  }

  /// The largest value for a topic; it includes key and headers where their size is unknown.
  func valueBytes(of topic: String?) -> Int {
    max(0, (topic.map { recordBytes(of: $0) } ?? RecordSizes.topicDefault) - RecordSizes.overhead)
  }

  /// The smallest limit of the topics `names`.
  private func least(of names: [String]) -> Int {
    names.map { recordBytes(of: $0) }.min() ?? RecordSizes.topicDefault
  }

  /// The properties, with batches that every topic accepts. A topic's limit is for a whole batch, and
  /// librdkafka does not split a refused batch. A single record may be larger than `batch.size`.
  func bounding(_ properties: [KafkaProperty], outputs: [String]) -> [KafkaProperty] {
    let given = properties.last { $0.name == "batch.size" }.flatMap { Int($0.value) }
    let least = least(of: outputs)
    guard given ?? RecordSizes.batchDefault > least else { return properties }
    return properties.filter { $0.name != "batch.size" } + [KafkaProperty("batch.size", String(least))]
  }

  // MARK: Problems and warnings

  /// Why nothing works with these sizes, one line each.
  func problems(of needs: TopicNeeds) -> [String] {
    needs.outputs.filter { recordBytes(of: $0) < RecordSizes.bytesMin }.map { name in
      "\(limit(of: name)): at least \(RecordSizes.bytesMin) bytes are needed"
    }
  }

  /// A missing topic will be created large enough.
  private func isKnown(_ topic: String) -> Bool { topics[topic] != nil }

  /// What happens to records that the input accepts and an output doesn't, one line each.
  func warnings(of needs: TopicNeeds) -> [String] {
    guard let input = topics[needs.input] else { return [] }
    var lines: [String] = []
    let spans = min(input, needs.recordBytes)
    if isKnown(needs.spansOut), recordBytes(of: needs.spansOut) < spans {
      lines.append(
        "\(limit(of: needs.spansOut)), but '\(needs.input)' accepts up to \(spans): a span that does not "
          + "fit goes to '\(needs.deadLetters)'")
    }
    if isKnown(needs.deadLetters), recordBytes(of: needs.deadLetters) < input {
      lines.append(
        "\(limit(of: needs.deadLetters)), but '\(needs.input)' accepts \(input): larger dead letters are "
          + "written without their value, with the record's partition and offset")
    }
    if let logs = needs.logs, let kept = needs.sampledLogs, let input = topics[logs], isKnown(kept),
      recordBytes(of: kept) < min(input, needs.recordBytes)
    {
      lines.append(
        "\(limit(of: kept)), but '\(logs)' accepts up to \(min(input, needs.recordBytes)): a log record that "
          + "does not fit goes to '\(needs.deadLetters)'")
    }
    if let name = needs.decisions, isKnown(name), recordBytes(of: name) < RecordSizes.decisionsWanted {
      lines.append("\(limit(of: name)): decisions on traces with very many services may leave some out")
    }
    return lines
  }

  /// 256 services with names of 256 bytes, each byte escaped to six.
  private static let decisionsWanted = 400_000

  /// The limit and where it is set.
  private func limit(of name: String) -> String {
    let topic = topics[name] ?? RecordSizes.topicDefault
    return topic <= clientBytes
      ? "topic '\(name)' accepts records of at most \(topic) bytes (its max.message.bytes)"
      : "records for topic '\(name)' may have at most \(clientBytes) bytes (message.max.bytes under kafka)"
  }
}

extension TopicNeeds {
  /// All output topics.
  var outputs: [String] { mirrored + free + (compacted.map { [$0] } ?? []) }
}

extension SamplingJob.Configuration {
  /// Keeps all output within its topic's limit.
  package mutating func bound(by sizes: RecordSizes, _ outputs: OutputNames) {
    sampledBytesMax = sizes.valueBytes(of: outputs.sampled)
    logs?.sampledBytesMax = sizes.valueBytes(of: outputs.sampledLogs)
    deadLetterBytesMax = sizes.valueBytes(of: outputs.deadLetters)
    sampler.limits.forwardBytesMax = sampledBytesMax
    sampler.limits.forwardBytes = min(sampler.limits.forwardBytes, sampledBytesMax)
    sampler.limits.decisionBytes = sizes.valueBytes(of: outputs.decisions)
    sampler.limits.ledgerPageBytes = min(
      sampler.limits.ledgerPageBytes, sizes.valueBytes(of: outputs.verdicts))
    sampler.limits.statsBytes = sizes.valueBytes(of: outputs.stats)
    sampler.limits.linkPageBytes = min(sampler.limits.linkPageBytes, sizes.valueBytes(of: outputs.links))
    sampler.limits.metricsBytes = sizes.valueBytes(of: outputs.metrics)
  }
}

extension RepartitionJob.Configuration {
  /// Keeps all output within its topic's limit.
  mutating func bound(by sizes: RecordSizes, _ outputs: OutputNames) {
    spansBytesMax = sizes.valueBytes(of: outputs.spans)
    deadLetterBytesMax = sizes.valueBytes(of: outputs.deadLetters)
  }
}

extension ExportJob.Configuration {
  /// Keeps all output within its topic's limit.
  mutating func bound(by sizes: RecordSizes, _ outputs: OutputNames) {
    deadLetterBytesMax = sizes.valueBytes(of: outputs.deadLetters)
  }
}
