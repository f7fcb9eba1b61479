// Reads partitions of the input a second time, or those of the logs, behind the lane's own consumer.

internal import Kafka
internal import OTLP
internal import Sampling

/// Reads stretches of partitions again. A consumer without a group: it commits nothing.
final class LogFollower<Clients: KafkaClients> {
  private let topic: String
  private let reader: Clients.Consumer
  /// Sees the true bounds of logs.
  private let bounds: Clients.Consumer
  /// Where each partition that is being read is.
  private var places: [PartitionID: Place] = [:]
  /// Partitions whose position was not in the log.
  private var misplaced: Set<PartitionID> = []

  /// Where reading a partition is.
  private struct Place {
    /// The next offset.
    var next: Int64
    /// The end of its log when it was last reached: markers of transactions are no records.
    var end: Int64 = 0
    /// Bytes of a record, on average of the last ones; 0 before the first.
    var recordBytes: Int64 = 0

    mutating func note(_ offset: Int64, bytes: Int) {
      next = offset + 1
      recordBytes = recordBytes == 0 ? Int64(bytes) : recordBytes + (Int64(bytes) - recordBytes) / 16
    }

    /// Whether records up to `offset` are read on the way there.
    func reaches(_ offset: Int64) -> Bool {
      guard offset > next else { return offset == next }
      guard recordBytes > 0 else { return false }
      return offset - next <= gapBytesMax / recordBytes
    }
  }

  /// - Parameters:
  ///   - bounds: a consumer that sees uncommitted records.
  ///   - properties: those of the lane's consumer, isolation included: it must see the same records.
  init(
    topic: String, bounds: Clients.Consumer, clients: Clients, properties: [KafkaProperty],
    prefetchedKilobytes: Int
  ) throws(KafkaError) {
    self.topic = topic
    self.bounds = bounds
    // A position that has left the log is an error: to go on elsewhere would leave out records without a
    // word.
    let own = [
      KafkaProperty("queued.max.messages.kbytes", String(prefetchedKilobytes)),
      KafkaProperty("auto.offset.reset", "error"),
    ]
    reader = try clients.makeReader(topic: topic, properties: properties + own)
  }

  /// Starts, or goes on, reading a partition at `offset`. Returns the first offset that is left in the log;
  /// the largest there is if the log ends before `offset`, because its brokers have lost some of it.
  ///
  /// - Throws: a timeout if no broker answers.
  func seek(_ partition: PartitionID, to offset: Offset, timeout: Duration) throws(KafkaError) -> Offset? {
    if reaches(offset, in: partition) { return nil }
    forget([partition])
    let place = TopicPartition(topic, partition.value)
    let low = try bounds.lookUp(
      [PartitionOffset(place, offset: PartitionOffset.beginning)], timeout: timeout
    ).first.map { Offset($0.offset) }
    let start = max(offset, low ?? offset)
    if misplaced.contains(partition) {
      let end = try bounds.lookUp([PartitionOffset(place, offset: PartitionOffset.end)], timeout: timeout)
      misplaced.remove(partition)
      if let end = end.first?.offset, end < start.value { return Offset(.max) }
    }
    try reader.assignAlone(more: [PartitionOffset(place, offset: start.value)])
    places[partition] = Place(next: start.value)
    return low
  }

  /// Whether reading a partition on from where it is comes to `offset` soon.
  func reaches(_ offset: Offset, in partition: PartitionID) -> Bool {
    places[partition]?.reaches(offset.value) ?? false
  }

  /// Whether everything before `end` has been delivered.
  func hasRead(_ partition: PartitionID, to end: Offset) -> Bool {
    places[partition].map { max($0.next, $0.end) >= end.value } ?? false
  }

  /// Delivers what has arrived, in the order of each partition's offsets, without waiting. Returns how many
  /// records there were.
  func read(
    _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) -> Int {
    let count = try reader.poll(timeout: .zero) { (info, key, value) throws(BrokerError) in
      let partition = PartitionID(info.partition)
      // What was fetched before a seek may still arrive.
      guard let place = places[partition], info.offset >= place.next else { return }
      places[partition]?.note(info.offset, bytes: value?.byteCount ?? 0)
      try take(RecordPlace(info), key, value)
    }
    for event in reader.takeEvents() {
      if case .endOfPartition(let ended, let offset) = event {
        places[PartitionID(ended.partition)]?.end = offset
      }
      guard case .error(let error) = event else { continue }
      if error.isFatal || error.isAuthorization {
        throw BrokerError(.stop, "reading '\(topic)' again: \(error)")
      }
      // What was to be read is not in the log. The next seek finds out where that begins and ends now. Which
      // partition it is, the client does not say.
      switch error.known {
      case .localAutoOffsetReset, .offsetOutOfRange, .localLogTruncation:
        misplaced.formUnion(partitions)
        forget(partitions)
      default: break
      }
    }
    return count
  }

  /// Stops reading partitions.
  func forget(_ partitions: [PartitionID]) {
    let begun = partitions.filter { places.removeValue(forKey: $0) != nil }
    guard !begun.isEmpty else { return }
    try? reader.unassignAlone(begun.map { TopicPartition(topic, $0.value) })
  }

  /// Serves the reader while there is nothing to read: otherwise its client's events would pile up.
  func rest() {
    guard places.isEmpty else { return }
    _ = reader.poll(timeout: .zero) { _, _, _ in }
    _ = reader.takeEvents()
  }

  /// The partitions that are being read.
  var partitions: [PartitionID] { Array(places.keys) }

  func abandon() { reader.abandon() }
}

/// Stretches this close are read in one go: starting again costs a request and a fetch, which brings about as
/// much.
private let gapBytesMax: Int64 = 1 << 20

extension RecordPlace {
  /// A record's place, from what the client says of it.
  init(_ info: RecordInfo) {
    self.init(
      partition: PartitionID(info.partition), offset: Offset(info.offset),
      timestamp: info.timestampMilliseconds.map { Instant(milliseconds: $0) },
      isLogTime: info.isLogAppendTime)
  }
}
