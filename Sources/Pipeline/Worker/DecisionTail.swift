// Reading partitions' own decisions back, for recovery.

internal import Kafka
internal import OTLP
internal import Sampling

/// Reads the tails of the topic of decisions, of several partitions at once and a little at a time: the
/// lane's other partitions go on meanwhile.
///
/// A partition's last owner may have died while its last transaction was being committed. So a tail is read
/// up to the high watermark, and reading waits until the last stable offset has reached it: then every
/// transaction has ended, and what is read is all that was committed. (A transaction that nobody ends is
/// ended by the broker after its timeout.)
final class DecisionTail {
  /// One partition's tail while it is read.
  private struct Reading {
    /// Where it begins and ends.
    let start: Int64
    let end: Int64
    /// The next offset that the reader has to come to.
    var next: Int64
    var verdicts: [RestoredVerdict] = []
    var isWhole: Bool
    var isDone = false
    var progressAt = ContinuousClock.now
  }

  private let topic: String
  /// Sees what is not stable yet: for the high watermark.
  private let bounds: Consumer
  /// Sees what was committed.
  private let reader: Consumer
  private var batch = RecordBatch(capacity: 4096)
  private var readings: [PartitionID: Reading] = [:]

  private static let requestTimeout = Duration.seconds(10)
  /// How long a call reads.
  private static let slice = Duration.milliseconds(50)
  /// How long a tail stands still until somebody should know.
  private static let patience = Duration.seconds(2)

  /// - Parameter bounds: a consumer that sees uncommitted records.
  init(
    topic: String, bounds: Consumer, properties: [KafkaProperty], log: @escaping KafkaLog
  ) throws(KafkaError) {
    self.topic = topic
    self.bounds = bounds
    reader = try Consumer(
      topic: topic, properties: properties + [KafkaProperty("isolation.level", "read_committed")], log: log)
  }

  /// Reads on for a moment, in the tail of `partition` and in all others that were begun.
  ///
  /// - Throws: `retry` while a transaction is open.
  func read(_ partition: PartitionID, since time: Instant) throws(BrokerError) -> PastDecisions {
    do {
      if readings[partition] == nil { try begin(partition, since: time) }
      let deadline = ContinuousClock.now + DecisionTail.slice
      while readings[partition]?.isDone == false, pump(), ContinuousClock.now < deadline {}
      guard let reading = readings[partition] else { return .reading(read: 0, of: 0) }
      guard reading.isDone else {
        try complain(of: partition)
        return .reading(read: reading.next - reading.start, of: reading.end - reading.start)
      }
      forget([partition])
      return .read(reading.verdicts, isWhole: reading.isWhole)
    } catch {
      throw BrokerError(error, "reading decisions of partition \(partition.value) back")
    }
  }

  /// Ends the reading of partitions.
  func forget(_ partitions: [PartitionID]) {
    let begun = partitions.filter { readings.removeValue(forKey: $0) != nil }
    try? reader.unassignAlone(begun.map { TopicPartition(topic, $0.value) })
  }

  private func begin(_ partition: PartitionID, since time: Instant) throws(KafkaError) {
    let place = TopicPartition(topic, partition.value)
    let (low, high) = try bounds.watermarks(of: place, timeout: DecisionTail.requestTimeout)
    let milliseconds = max(0, time.nanoseconds / 1_000_000)
    let found =
      high > low
      ? try bounds.offset(of: place, since: milliseconds, timeout: DecisionTail.requestTimeout) : nil
    guard let start = found, start < high else {
      // What was deleted may have been younger than `time`: an empty log can't tell.
      var nothing = Reading(start: high, end: high, next: high, isWhole: high == 0 || low < high)
      nothing.isDone = true
      readings[partition] = nothing
      return
    }
    // Whatever the log began with once, it now begins with a record that is young enough: older ones that
    // were young enough too may be gone.
    readings[partition] = Reading(start: start, end: high, next: start, isWhole: low == 0 || start > low)
    try reader.assignAlone(more: [PartitionOffset(place, offset: start)])
  }

  /// Reads what has come. Returns whether anything had.
  private func pump() -> Bool {
    let now = ContinuousClock.now
    let count = reader.poll(into: &batch, timeout: .milliseconds(5)) { info, _, value in
      let partition = PartitionID(info.partition)
      readings[partition]?.next = info.offset + 1
      readings[partition]?.progressAt = now
      // What is no decision record was written by somebody else; it decides nothing.
      if let value, let verdict = try? RestoredVerdict(record: value.copied()) {
        readings[partition]?.verdicts.append(verdict)
      }
    }
    for case .endOfPartition(let ended, let offset) in reader.takeEvents() {
      let partition = PartitionID(ended.partition)
      if let end = readings[partition]?.end, offset >= end { readings[partition]?.isDone = true }
    }
    return count > 0
  }

  /// Says so, from time to time, when nothing comes although the tail has not ended.
  private func complain(of partition: PartitionID) throws(KafkaError) {
    guard let reading = readings[partition] else { return }
    let now = ContinuousClock.now
    guard now >= reading.progressAt + DecisionTail.patience else { return }
    readings[partition]?.progressAt = now
    throw KafkaError(
      timedOut: "a transaction of the partition's last owner is still open (decisions end at \(reading.end))")
  }
}
