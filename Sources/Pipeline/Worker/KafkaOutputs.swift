// The topics that a link writes to.

internal import Kafka
internal import Sampling

/// The names of a link's output topics; nil for those it does not write.
package struct OutputNames: Sendable {
  package var spans: String?
  package var decisions: String?
  package var verdicts: String?
  package var sampled: String?
  package var sampledLogs: String?
  package var deadLetters: String
  package var stats: String?
  package var metrics: String?
  package var links: String?

  package init(
    spans: String? = nil, decisions: String? = nil, verdicts: String? = nil, sampled: String? = nil,
    sampledLogs: String? = nil, deadLetters: String, stats: String? = nil, metrics: String? = nil,
    links: String? = nil
  ) {
    self.spans = spans
    self.decisions = decisions
    self.verdicts = verdicts
    self.sampled = sampled
    self.sampledLogs = sampledLogs
    self.deadLetters = deadLetters
    self.stats = stats
    self.metrics = metrics
    self.links = links
  }
}

/// A link's output topics, opened.
struct KafkaOutputs<Producer: ProducerClient> {
  private var topics: [OutputTopic: (name: String, topic: Producer.Topic)] = [:]
  /// Known number of partitions that all topics mirroring the input have.
  private var mirrored: Int32 = 0
  private var askedAt: Duration?

  /// Minimum time between queries for missing partitions.
  private static var askInterval: Duration { .seconds(1) }

  init(_ names: OutputNames, _ producer: Producer) throws(KafkaError) {
    let pairs: [(OutputTopic, String?)] = [
      (.spans, names.spans), (.decisions, names.decisions), (.verdicts, names.verdicts),
      (.sampled, names.sampled), (.sampledLogs, names.sampledLogs),
      (.deadLetters, names.deadLetters), (.stats, names.stats), (.metrics, names.metrics),
      (.links, names.links),
    ]
    for case (let output, let name?) in pairs { topics[output] = (name, try producer.topic(name)) }
  }

  subscript(output: OutputTopic) -> (name: String, topic: Producer.Topic)? { topics[output] }

  /// Whether every topic that mirrors the input's partitions has this one.
  mutating func mirrors(
    _ partition: PartitionID, asking producer: Producer, at uptime: Duration, timeout: Duration
  ) throws(KafkaError) -> Bool {
    if partition.value < mirrored { return true }
    if let askedAt, uptime < askedAt + Self.askInterval { return false }
    var least = Int32.max
    for output in [OutputTopic.decisions, .verdicts, .sampled, .sampledLogs, .metrics] {
      guard let topic = topics[output]?.topic else { continue }
      do throws(KafkaError) {
        least = min(least, Int32(clamping: try producer.partitionCount(of: topic, timeout: timeout)))
      } catch {
        // It existed at start: a broker that does not know it has not learnt of it yet.
        guard error.isUnknownTopic else { throw error }
        least = 0
      }
    }
    askedAt = uptime
    mirrored = least
    return partition.value < mirrored
  }
}
