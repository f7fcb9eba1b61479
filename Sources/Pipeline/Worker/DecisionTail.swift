// Reading a partition's own decisions back, for recovery.

internal import Kafka
internal import OTLP
internal import Sampling

/// Reads the tail of the topic of decisions.
///
/// The partition's last owner may have died while its last transaction was being committed. So the tail is
/// read up to the high watermark, and reading waits until the last stable offset has reached it: then every
/// transaction has ended, and what is read is all that was committed. (A transaction that nobody ends is
/// ended by the broker after its timeout.)
final class DecisionTail {
  private let topic: String
  /// Sees what is not stable yet: for the high watermark.
  private let bounds: Consumer
  /// Sees what was committed.
  private let reader: Consumer
  private var batch = RecordBatch(capacity: 4096)

  private static let requestTimeout = Duration.seconds(10)
  /// How long one attempt waits for the last stable offset. The lane's other partitions wait as long.
  private static let patience = Duration.seconds(2)

  init(
    topic: String, group: String, properties: [KafkaProperty], log: @escaping KafkaLog
  ) throws(KafkaError) {
    self.topic = topic
    // Members of no group; librdkafka wants a name all the same.
    let common = properties + [KafkaProperty("group.id", "\(group)-decisions")]
    bounds = try Consumer(
      topic: topic, properties: common + [KafkaProperty("isolation.level", "read_uncommitted")], log: log)
    reader = try Consumer(
      topic: topic, properties: common + [KafkaProperty("isolation.level", "read_committed")], log: log)
  }

  /// The committed decision records of the partition since `time`, oldest first.
  ///
  /// - Throws: `retry` while a transaction is open.
  func read(_ partition: PartitionID, since time: Instant) throws(BrokerError) -> [RestoredVerdict] {
    do {
      return try readAll(partition, since: time)
    } catch {
      throw BrokerError(error, "reading decisions of partition \(partition.value) back")
    }
  }

  private func readAll(_ partition: PartitionID, since time: Instant) throws(KafkaError) -> [RestoredVerdict]
  {
    let place = TopicPartition(topic, partition.value)
    let (low, high) = try bounds.watermarks(of: place, timeout: DecisionTail.requestTimeout)
    guard high > low else { return [] }
    let milliseconds = max(0, time.nanoseconds / 1_000_000)
    let found = try bounds.offset(of: place, since: milliseconds, timeout: DecisionTail.requestTimeout)
    guard let start = found, start < high else { return [] }
    try reader.assignAlone([PartitionOffset(place, offset: start)])
    defer { try? reader.assignAlone([]) }
    var past: [RestoredVerdict] = []
    let deadline = ContinuousClock.now + DecisionTail.patience
    var lastProgress = deadline
    while true {
      let count = reader.poll(into: &batch, timeout: .milliseconds(100)) { _, _, value in
        // What is no decision record was written by somebody else; it decides nothing.
        if let value, let verdict = try? RestoredVerdict(record: value.copied()) { past.append(verdict) }
      }
      if count > 0 { lastProgress = ContinuousClock.now + DecisionTail.patience }
      for case .endOfPartition(let ended, let offset) in reader.takeEvents()
      where ended == place && offset >= high {
        return past
      }
      guard ContinuousClock.now < lastProgress else {
        throw KafkaError(
          timedOut: "a transaction of the partition's last owner is still open (decisions end at \(high))")
      }
    }
  }
}
