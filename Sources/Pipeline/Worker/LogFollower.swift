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
  /// The next offset of each partition that is being read.
  private var places: [PartitionID: Int64] = [:]

  /// Stretches this close are read in one go: starting again costs a request and a fetch.
  private static var gapMax: Int64 { 10_000 }

  /// - Parameters:
  ///   - bounds: a consumer that sees uncommitted records.
  ///   - properties: those of the lane's consumer, isolation included: it must see the same records.
  init(
    topic: String, bounds: Clients.Consumer, clients: Clients, properties: [KafkaProperty]
  ) throws(KafkaError) {
    self.topic = topic
    self.bounds = bounds
    // Little is fetched ahead: most stretches are short. And a position that has left the log is an error: to
    // go on elsewhere would leave out records without a word.
    let own = [
      KafkaProperty("queued.max.messages.kbytes", "16384"), KafkaProperty("auto.offset.reset", "error"),
    ]
    reader = try clients.makeReader(topic: topic, properties: properties + own)
  }

  /// Starts, or goes on, reading a partition at `offset`. Returns the first offset that is left in the log.
  ///
  /// - Throws: a timeout if no broker answers.
  func seek(_ partition: PartitionID, to offset: Offset, timeout: Duration) throws(KafkaError) -> Offset? {
    if let next = places[partition], (next...next + Self.gapMax).contains(offset.value) { return nil }
    let place = TopicPartition(topic, partition.value)
    let low = try bounds.lookUp(
      [PartitionOffset(place, offset: PartitionOffset.beginning)], timeout: timeout
    ).first.map { Offset($0.offset) }
    if places.removeValue(forKey: partition) != nil { try reader.unassignAlone([place]) }
    let start = max(offset, low ?? offset)
    try reader.assignAlone(more: [PartitionOffset(place, offset: start.value)])
    places[partition] = start.value
    return low
  }

  /// Delivers what has arrived, in the order of each partition's offsets, without waiting. Returns how many
  /// records there were.
  func read(
    _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) -> Int {
    let count = try reader.poll(timeout: .zero) { (info, key, value) throws(BrokerError) in
      let partition = PartitionID(info.partition)
      // What was fetched before a seek may still arrive.
      guard let next = places[partition], info.offset >= next else { return }
      places[partition] = info.offset + 1
      try take(RecordPlace(info), key, value)
    }
    for case .error(let error) in reader.takeEvents() {
      if error.isFatal || error.isAuthorization {
        throw BrokerError(.stop, "reading '\(topic)' again: \(error)")
      }
      // What was to be read has left the log. The next seek finds out where the log begins now.
      if error.known == .localAutoOffsetReset || error.known == .offsetOutOfRange { forget(partitions) }
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

extension RecordPlace {
  /// A record's place, from what the client says of it.
  init(_ info: RecordInfo) {
    self.init(
      partition: PartitionID(info.partition), offset: Offset(info.offset),
      timestamp: info.timestampMilliseconds.map { Instant(milliseconds: $0) },
      isLogTime: info.isLogAppendTime)
  }
}
