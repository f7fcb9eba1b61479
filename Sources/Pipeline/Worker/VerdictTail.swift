// Reading partitions' own decisions back, for recovery.

internal import Kafka
internal import OTLP
internal import Sampling

/// Reads the tails of the decisions topic, of several partitions at once and a little at a time: the lane's
/// other partitions continue meanwhile. Verdicts are delivered as they arrive; none is kept here.
///
/// A partition's last owner may have died while its last transaction was being committed. So a tail is read
/// up to the high watermark, and reading waits until the last stable offset has reached it: then every
/// transaction has ended, and everything committed has been read. (The broker aborts abandoned transactions
/// after their timeout.)
final class DecisionTail<Clients: KafkaClients> {
  /// One partition's tail while it is read.
  private struct Reading {
    /// Its range of offsets.
    let start: Int64
    let end: Int64
    /// The next offset to read.
    var next: Int64
    var isWhole: Bool
    var isDone = false
    var progressAt: Duration
  }

  private let topic: String
  /// Sees uncommitted records: for the high watermark.
  private let bounds: Clients.Consumer
  /// Sees committed records.
  private let reader: Clients.Consumer
  private let clients: Clients
  private var readings: [PartitionID: Reading] = [:]

  /// How long a call reads.
  private static var slice: Duration { .milliseconds(50) }
  /// How long a tail may stall before that is reported.
  private static var patience: Duration { .seconds(2) }

  /// - Parameter bounds: a consumer that sees uncommitted records.
  init(
    topic: String, bounds: Clients.Consumer, clients: Clients, properties: [KafkaProperty]
  ) throws(KafkaError) {
    self.topic = topic
    self.bounds = bounds
    self.clients = clients
    reader = try clients.makeReader(
      topic: topic, properties: properties + [KafkaProperty("isolation.level", "read_committed")])
  }

  /// Reads for a moment, in the tail of `partition` and in all others already begun.
  ///
  /// - Parameters:
  ///   - timeout: for the offset lookups at the start of a tail.
  ///   - take: receives verdicts of all these partitions, oldest first.
  /// - Throws: a timeout while a transaction is open.
  func read(
    _ partition: PartitionID, since time: Instant, timeout: Duration,
    _ take: (PartitionID, RestoredVerdict) -> Void
  ) throws(KafkaError) -> PastDecisions {
    if readings[partition] == nil { try begin(partition, since: time, timeout: timeout) }
    let deadline = clients.uptime + Self.slice
    while readings[partition]?.isDone == false, try pump(take), clients.uptime < deadline {}
    guard let reading = readings[partition] else { return .reading(read: 0, of: 0) }
    guard reading.isDone else {
      try complain(of: partition)
      return .reading(read: reading.next - reading.start, of: reading.end - reading.start)
    }
    forget([partition])
    return .read(isWhole: reading.isWhole)
  }

  /// Ends the reading of partitions.
  func forget(_ partitions: [PartitionID]) {
    let begun = partitions.filter { readings.removeValue(forKey: $0) != nil }
    try? reader.unassignAlone(begun.map { TopicPartition(topic, $0.value) })
  }

  /// Serves the reader while there is nothing to read: otherwise its client's events would pile up.
  func rest() {
    guard readings.isEmpty else { return }
    _ = reader.poll(timeout: .zero) { _, _, _ in }
    _ = reader.takeEvents()
  }

  func abandon() { reader.abandon() }

  private func begin(_ partition: PartitionID, since time: Instant, timeout: Duration) throws(KafkaError) {
    let place = TopicPartition(topic, partition.value)
    let milliseconds = max(0, time.nanoseconds / 1_000_000)
    // One lookup per list: a list takes each partition once.
    let low = try offset(PartitionOffset.beginning, of: place, timeout / 3)
    let high = try offset(PartitionOffset.end, of: place, timeout / 3)
    let found = high > low ? try offset(milliseconds, of: place, timeout / 3) : -1
    guard found >= 0, found < high else {
      // Deleted records may have been younger than `time`: an empty log can't tell.
      readings[partition] = Reading(
        start: high, end: high, next: high, isWhole: high == 0 || low < high, isDone: true,
        progressAt: clients.uptime)
      return
    }
    // If the first remaining record is already young enough, deleted ones may have been young enough too.
    let reading = Reading(
      start: found, end: high, next: found, isWhole: low == 0 || found > low, progressAt: clients.uptime)
    try reader.assignAlone(more: [PartitionOffset(place, offset: found)])
    readings[partition] = reading
  }

  private func offset(
    _ wanted: Int64, of place: TopicPartition, _ timeout: Duration
  ) throws(KafkaError) -> Int64 {
    try bounds.lookUp([PartitionOffset(place, offset: wanted)], timeout: timeout).first?.offset ?? -1
  }

  /// Reads what has arrived. Returns whether anything had.
  private func pump(_ take: (PartitionID, RestoredVerdict) -> Void) throws(KafkaError) -> Bool {
    let now = clients.uptime
    let count = reader.poll(timeout: .milliseconds(5)) { info, _, value in
      let partition = PartitionID(info.partition)
      guard readings[partition] != nil else { return }
      readings[partition]?.next = info.offset + 1
      readings[partition]?.progressAt = now
      // Anything but a decision record is foreign; it decides nothing.
      if let value, let verdict = try? RestoredVerdict(record: value) { take(partition, verdict) }
    }
    for event in reader.takeEvents() {
      switch event {
      case .endOfPartition(let ended, let offset):
        let partition = PartitionID(ended.partition)
        if let end = readings[partition]?.end, offset >= end { readings[partition]?.isDone = true }
      case .error(let error) where error.isFatal || error.isAuthorization: throw error
      case .error, .assigned, .revoked, .lost: break
      }
    }
    return count > 0
  }

  /// Reports, from time to time, that nothing arrives although the tail has not ended.
  private func complain(of partition: PartitionID) throws(KafkaError) {
    guard let reading = readings[partition] else { return }
    let now = clients.uptime
    guard now >= reading.progressAt + Self.patience else { return }
    readings[partition]?.progressAt = now
    throw KafkaError(
      timedOut: "a transaction of the partition's last owner is still open (decisions end at \(reading.end))")
  }
}
