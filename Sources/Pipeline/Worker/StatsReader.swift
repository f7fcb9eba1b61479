// Following the topic of counts: what every partition of the fleet has counted.

internal import Kafka
internal import OTLP
internal import Sampling

/// Reads all of `stats` from its start and then whatever comes.
final class StatsReader<Reader: ConsumerClient> {
  private let reader: Reader
  /// Partitions whose end has not been seen yet.
  private var behind: Set<Int32>

  /// - Parameter reader: a consumer in no group that sees what was committed.
  init(_ reader: Reader, topic: String, partitions: Int) throws(KafkaError) {
    self.reader = reader
    behind = Set(0..<Int32(clamping: partitions))
    try reader.assignAlone(
      more: behind.sorted().map {
        PartitionOffset(TopicPartition(topic, $0), offset: PartitionOffset.beginning)
      })
  }

  /// Hands out what has come, without waiting. Returns whether everything that was there at the start has.
  func read(_ take: ([UInt8]) -> Void) -> Bool {
    _ = reader.poll(timeout: .zero) { _, _, value in
      if let value { take(value.copied()) }
    }
    for case .endOfPartition(let ended, _) in reader.takeEvents() { behind.remove(ended.partition) }
    return behind.isEmpty
  }

  func abandon() { reader.abandon() }
}
