// Following a topic that every lane reads whole: the counts of every partition of the fleet, or its links.

internal import Kafka
internal import OTLP
internal import Sampling

/// Reads a topic from its start, and then follows it.
final class WholeTopicReader<Reader: ConsumerClient> {
  private let reader: Reader
  /// Partitions whose end has not been reached yet.
  private var behind: Set<Int32>

  /// - Parameter reader: a consumer without a group that sees committed records.
  init(_ reader: Reader, topic: String, partitions: Int) throws(KafkaError) {
    self.reader = reader
    behind = Set(0..<Int32(clamping: partitions))
    try reader.assignAlone(
      more: behind.sorted().map {
        PartitionOffset(TopicPartition(topic, $0), offset: PartitionOffset.beginning)
      })
  }

  /// Delivers what has arrived, without waiting. Returns whether everything present at the start was
  /// delivered.
  func read(_ take: ([UInt8]) -> Void) -> Bool {
    _ = reader.poll(timeout: .zero) { _, _, value in
      if let value { take(value.copied()) }
    }
    for case .endOfPartition(let ended, _) in reader.takeEvents() { behind.remove(ended.partition) }
    return behind.isEmpty
  }

  func abandon() { reader.abandon() }
}
