// Following the topic of counts: what every partition of the fleet has counted.

internal import Kafka
internal import OTLP
internal import Sampling

/// Reads all of `stats` from its start and then whatever comes.
final class StatsReader {
  private let reader: Consumer
  private var batch = RecordBatch(capacity: 1024)
  /// Partitions whose end has not been seen yet.
  private var behind: Set<Int32>

  init(
    topic: String, partitions: Int, properties: [KafkaProperty], log: @escaping KafkaLog
  ) throws(KafkaError) {
    reader = try Consumer(
      topic: topic, properties: properties + [KafkaProperty("isolation.level", "read_committed")], log: log)
    behind = Set(0..<Int32(clamping: partitions))
    try reader.assignAlone(
      more: behind.sorted().map {
        PartitionOffset(TopicPartition(topic, $0), offset: PartitionOffset.beginning)
      })
  }

  /// Hands out what has come, without waiting. Returns whether everything that was there at the start has.
  func read(_ take: ([UInt8]) -> Void) -> Bool {
    _ = reader.poll(into: &batch, timeout: .zero) { _, _, value in
      if let value { take(value.copied()) }
    }
    for case .endOfPartition(let ended, _) in reader.takeEvents() { behind.remove(ended.partition) }
    return behind.isEmpty
  }
}
