// Reads single records of a topic by their offsets, by a consumer that belongs to no group.

public import Kafka
internal import OTLP
public import Topology

/// Fetches records whose places are known. Used from one thread at a time.
public final class RecordFetcher {
  /// A record's place in the topic.
  public struct Place: Hashable, Comparable, Sendable {
    /// Partition and offset.
    public var partition: Int32
    /// Its offset.
    public var offset: Int64

    /// Names a place.
    public init(partition: Int32, offset: Int64) {
      self.partition = partition
      self.offset = offset
    }

    /// By partition, then by offset.
    public static func < (left: Place, right: Place) -> Bool {
      (left.partition, left.offset) < (right.partition, right.offset)
    }
  }

  private let topic: String
  private let reader: Consumer

  private static let requestTimeout = Duration.seconds(5)

  /// - Parameter topology: has the connection's properties.
  public init(topic: String, of topology: Topology) throws(KafkaError) {
    self.topic = topic
    let plan = LanePlan(topology)
    let own = [
      KafkaProperty("group.id", "\(plan.group)-reader"), KafkaProperty("isolation.level", "read_committed"),
      KafkaProperty("queued.max.messages.kbytes", "8192"), KafkaProperty("auto.offset.reset", "error"),
      KafkaProperty("fetch.wait.max.ms", "20"),
    ]
    let properties = plan.properties.forConsumers.filter { $0.name != "group.instance.id" } + own
    reader = try LibrdkafkaClients(log: { _ in }).makeReader(topic: topic, properties: properties)
  }

  /// Leaves the brokers without waiting for them.
  public func abandon() { reader.abandon() }

  /// Reads records, and delivers the values of those that are still in the log, in the order of each
  /// partition. Returns whether all places were read or known to be gone in time.
  ///
  /// - Parameter take: receives a value; returns false for no more.
  public func fetch(
    _ places: [Place], within time: Duration, _ take: (Place, [UInt8]) -> Bool
  ) throws(KafkaError) -> Bool {
    let deadline = ContinuousClock.now + time
    var offsets: [Int32: Set<Int64>] = [:]
    for place in places { offsets[place.partition, default: []].insert(place.offset) }
    var isWanted = true
    for (partition, wanted) in offsets.sorted(by: { $0.key < $1.key }) where isWanted {
      guard ContinuousClock.now < deadline else { return false }
      let isRead = try fetch(wanted.sorted(), of: partition, until: deadline) { offset, value in
        isWanted = take(Place(partition: partition, offset: offset), value)
        return isWanted
      }
      guard isRead else { return false }
    }
    return true
  }

  /// One partition at a time: what was fetched before a jump is discarded, and must be no other's.
  private func fetch(
    _ offsets: [Int64], of partition: Int32, until deadline: ContinuousClock.Instant,
    _ take: (Int64, [UInt8]) -> Bool
  ) throws(KafkaError) -> Bool {
    let place = TopicPartition(topic, partition)
    let low = try bound(place, PartitionOffset.beginning)
    let high = try bound(place, PartitionOffset.end)
    var left = offsets.filter { (low..<max(low, high)).contains($0) }[...]
    var recordBytes: Int64 = 1
    while let start = left.first {
      try reader.assignAlone(more: [PartitionOffset(place, offset: start)])
      defer { leave(place) }
      var isNear = true
      while isNear, !left.isEmpty {
        guard ContinuousClock.now < deadline else { return false }
        var isWanted = true
        _ = reader.poll(timeout: .milliseconds(50)) { info, _, value in
          guard isWanted, isNear, info.partition == partition else { return }
          left = left.drop { $0 < info.offset }
          recordBytes += (Int64(value?.byteCount ?? 0) - recordBytes) / 8
          guard left.first == info.offset else { return }
          left = left.dropFirst()
          if let value { isWanted = take(info.offset, value.copied()) }
          guard let next = left.first else { return }
          // Stretches this close are read in one go: starting again costs a request and a fetch.
          isNear =
            (next - info.offset).multipliedReportingOverflow(by: max(1, recordBytes)).partialValue < 1 << 20
        }
        guard isWanted else { return true }
        for event in reader.takeEvents() {
          switch event {
          case .endOfPartition(_, let offset): left = left.drop { $0 < offset }
          case .error(let error) where error.isFatal || error.isAuthorization || error.isUnknownTopic:
            throw error
          case .error, .assigned, .revoked, .lost: break
          }
        }
      }
    }
    return true
  }

  private func bound(_ place: TopicPartition, _ offset: Int64) throws(KafkaError) -> Int64 {
    let found = try reader.lookUp(
      [PartitionOffset(place, offset: offset)], timeout: RecordFetcher.requestTimeout)
    return found.first?.offset ?? 0
  }

  /// Stops reading, and discards what was fetched: it would be taken for what is wanted next.
  private func leave(_ place: TopicPartition) {
    try? reader.unassignAlone([place])
    for _ in 0..<64 where reader.poll(timeout: .zero, { _, _, _ in }) == 0 { break }
    _ = reader.takeEvents()
  }
}
