// A stretch of a topic, read once from its beginning to its end, by a consumer that belongs to no group.

public import Kafka
internal import OTLP
public import Sampling
public import Topology

/// A stretch of a topic.
public struct TopicStretch: Sendable {
  /// Where a stretch begins or ends in each partition.
  public enum Bound: Equatable, Sendable {
    /// At an offset; one outside of the log stands for its nearer end.
    case offset(Int64)
    /// At the first record with this timestamp or a later one.
    case time(Instant)
  }

  /// The topic's name.
  public var topic: String
  /// The partitions; nil for all.
  public var partitions: [Int32]?
  /// Where to begin; nil for the beginning of the log.
  public var from: Bound?
  /// Where to end: the record there is not part of the stretch. Nil for the log's end as it is now.
  public var to: Bound?
  /// Whether to wait for new records at the end.
  public var follows = false

  /// Names a whole topic.
  public init(topic: String) {
    self.topic = topic
  }
}

extension TopicStretch {
  /// Reads partitions such as `0,3-5`; nil if the text is anything else.
  public static func partitions(_ text: String) -> [Int32]? {
    var numbers: [Int32] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int32($0) }
      guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1], first >= 0, first <= last,
        numbers.count + Int(last - first) < partitionsMax
      else { return nil }
      numbers += first...last
    }
    return numbers
  }

  private static let partitionsMax = 100_000
}

extension TopicStretch.Bound {
  /// Reads a time by RFC 3339, with a fraction of up to nine digits; an age such as `-15m`; or an offset. Nil
  /// if the text is anything else.
  ///
  /// - Parameter now: what ages are counted from.
  public init?(_ text: String, now: Instant) {
    if text.hasPrefix("-") {
      guard let age = DurationText.parse(String(text.dropFirst())) else { return nil }
      self = .time(now - Interval(age))
    } else if let offset = Int64(text), !text.hasPrefix("+") {
      self = .offset(offset)
    } else if let time = Self.time(text) {
      self = .time(time)
    } else {
      return nil
    }
  }

  private static func time(_ text: String) -> Instant? {
    let form =
      #/([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9:]{8})(?:\.([0-9]{1,9}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))/#
    guard let parts = text.wholeMatch(of: form)?.output else { return nil }
    let digits = String(parts.3 ?? "")
    let fraction = digits + String(repeating: "0", count: 9 - digits.count)
    guard let local = Instant(rfc3339: Array("\(parts.1)T\(parts.2).\(fraction)Z".utf8)) else { return nil }
    guard let sign = parts.4, let hours = Int64(parts.5 ?? ""), let minutes = Int64(parts.6 ?? "") else {
      return local
    }
    guard hours < 24, minutes < 60 else { return nil }
    let ahead = Interval.seconds(hours * 3600 + minutes * 60)
    return sign == "+" ? local - ahead : local + ahead
  }
}

/// A record of a topic.
public struct TopicRecord: Sendable {
  /// Its partition.
  public var partition: Int32
  /// Its place in the partition.
  public var offset: Int64
  /// Its timestamp, if it has one.
  public var timestamp: Instant?
  /// Its key.
  public var key: [UInt8]?
  /// Its value; nil for a tombstone.
  public var value: [UInt8]?
}

extension Topology {
  /// The topic that it reads, and how its records are encoded.
  public var input: SpanSource {
    switch self {
    case .tailSampling(let topology): topology.topics.spans
    case .repartition(let topology): topology.topics.rawSpans
    }
  }
}

/// Reads a stretch of a topic. Partitions are merged by the times of their records, as if the topic had one
/// partition, in bounded memory. Only committed records are read.
public final class StretchReader {
  /// A partition while it is read.
  private struct Place {
    let start: Int64
    /// The offset after the last one that is wanted; nil if there is no end.
    let end: Int64?
    /// The log's end at the start.
    let endBefore: Int64
    /// The next offset to read.
    var next: Int64
    var isDone: Bool
    /// Whether it was read up to the log's end at least once: others don't wait for it any more.
    var hasCaughtUp = false
    /// Whether the client reads it; not while too much of it waits.
    var isRead = false
    /// Records that wait for their turn, from `taken` on, and their bytes.
    var waiting: [TopicRecord] = []
    var taken = 0
    var bytes = 0
    /// The latest timestamp so far: an earlier one after it does not change the order.
    var time = Instant.distantPast

    var hasWaiting: Bool { taken < waiting.count }
    /// Whether the merge can go on without a record of it.
    var isIdle: Bool { isDone || hasCaughtUp }
  }

  private let topic: String
  private let reader: Consumer
  private var places: [Int32: Place] = [:]
  private let order: [Int32]
  private var bytesWaiting = 0
  private var arrivedAt = ContinuousClock.now
  private var trouble: KafkaError?
  /// Partitions of which the beginning of the stretch is no longer in the log.
  public private(set) var partitionsCut: [Int32] = []
  private let total: Int64?

  private static let patience = Duration.seconds(60)
  private static let requestTimeout = Duration.seconds(15)
  private static let bytesMax = 128 << 20

  /// Finds out where the stretch begins and ends.
  ///
  /// - Parameter topology: has the connection's properties.
  public init(_ stretch: TopicStretch, of topology: Topology) throws(KafkaError) {
    topic = stretch.topic
    let plan = LanePlan(topology)
    let count = try StretchReader.partitionCount(of: stretch.topic, topology)
    let all = 0..<count
    let partitions = stretch.partitions ?? Array(all)
    if let missing = partitions.first(where: { !all.contains($0) }) {
      throw KafkaError(
        .unknownTopicOrPart,
        "topic '\(stretch.topic)' has no partition \(missing), only 0 to \(count - 1)")
    }
    order = Array(Set(partitions)).sorted()
    // Not a member of a group, but librdkafka requires a name.
    let own = [
      KafkaProperty("group.id", "\(plan.group)-reader"), KafkaProperty("isolation.level", "read_committed"),
      KafkaProperty("queued.max.messages.kbytes", "32768"),
    ]
    let properties = plan.properties.forConsumers.filter { $0.name != "group.instance.id" } + own
    reader = try LibrdkafkaClients(log: { _ in }).makeReader(topic: topic, properties: properties)
    let bounds = try StretchReader.bounds(stretch, order, reader)
    total = stretch.follows ? nil : bounds.reduce(0) { $0 + $1.end - $1.start }
    for (partition, bound) in zip(order, bounds) {
      if bound.isCut { partitionsCut.append(partition) }
      places[partition] = Place(
        start: bound.start, end: stretch.follows ? nil : bound.end, endBefore: bound.end,
        next: bound.start,
        isDone: !stretch.follows && bound.start >= bound.end,
        hasCaughtUp: stretch.follows && bound.start >= bound.end)
    }
    try resume(order.filter { places[$0]?.isDone == false })
  }

  /// How many partitions a topic has.
  static func partitionCount(of topic: String, _ topology: Topology) throws(KafkaError) -> Int32 {
    let admin = try Admin(properties: LanePlan(topology).properties.forProducers, log: { _ in })
    guard let found = try admin.describe([topic], timeout: requestTimeout)[0] else {
      throw KafkaError(.unknownTopicOrPart, "topic '\(topic)' does not exist")
    }
    return Int32(clamping: found.partitions)
  }

  /// How much of the stretch has been read, from 0 to 1; nil if it has no end.
  public var share: Double? {
    guard let total else { return nil }
    let read = places.values.reduce(0) { $0 + (($1.isDone ? $1.end : nil) ?? $1.next) - $1.start }
    return total == 0 ? 1 : min(1, Double(read) / Double(total))
  }

  /// How much of what the log had at the start has been read, from 0 to 1, with or without an end.
  public var shareOfBacklog: Double {
    var (read, total) = (0.0, 0.0)
    for place in places.values {
      let all = place.endBefore - place.start
      total += Double(all)
      read += Double(place.isIdle ? all : min(all, place.next - place.start))
    }
    return total == 0 ? 1 : read / total
  }

  /// Whether the topic has partitions that it had not at the start.
  public func hasMorePartitions(of topology: Topology) throws(KafkaError) -> Bool {
    try StretchReader.partitionCount(of: topic, topology) > order.count
  }

  /// Whether everything was delivered.
  public var isAtEnd: Bool {
    places.values.allSatisfy { $0.isDone && !$0.hasWaiting }
  }

  /// Leaves the brokers without waiting for them.
  public func abandon() { reader.abandon() }

  /// Reads for a moment, and delivers the records whose turn it is.
  ///
  /// - Parameter take: receives a record. Returns false for no more: those that wait are not delivered.
  /// - Throws: a timeout if nothing arrives for a minute before the end; errors of `take`.
  public func read(_ take: (TopicRecord) throws -> Bool) throws {
    let count = reader.poll(timeout: .milliseconds(100)) { info, key, value in
      note(info, key: key?.copied(), value: value?.copied())
    }
    let now = ContinuousClock.now
    if count > 0 { arrivedAt = now }
    for event in reader.takeEvents() {
      switch event {
      case .endOfPartition(let ended, let offset): end(ended.partition, at: offset)
      case .error(let error):
        if error.isFatal || error.isAuthorization || error.isUnknownTopic { throw error }
        trouble = error
      case .assigned, .revoked, .lost: break
      }
    }
    try deliver(take)
    try bound()
    if bytesWaiting == 0, places.values.contains(where: { !$0.isIdle }),
      now - arrivedAt > StretchReader.patience
    {
      throw trouble ?? KafkaError(timedOut: "no record has arrived for a minute")
    }
  }

  private func note(_ info: RecordInfo, key: [UInt8]?, value: [UInt8]?) {
    guard var place = places[info.partition], place.isRead, !place.isDone, info.offset >= place.next else {
      return
    }
    // The copy must not share its array, or appending to it would copy that.
    places[info.partition] = nil
    defer { places[info.partition] = place }
    if let end = place.end, info.offset >= end {
      place.isDone = true
      return
    }
    place.next = info.offset + 1
    if let end = place.end, place.next >= end { place.isDone = true }
    let size = (key?.count ?? 0) + (value?.count ?? 0) + 128
    place.waiting.append(
      TopicRecord(
        partition: info.partition, offset: info.offset,
        timestamp: info.timestampMilliseconds.map { Instant(milliseconds: $0) }, key: key, value: value))
    place.bytes += size
    bytesWaiting += size
  }

  private func end(_ partition: Int32, at offset: Int64) {
    guard let place = places[partition], place.isRead, offset >= place.next else { return }
    if place.end == nil { places[partition]?.hasCaughtUp = true } else { places[partition]?.isDone = true }
  }

  /// Delivers records in the order of their times, as long as no earlier one can come.
  private func deliver(_ take: (TopicRecord) throws -> Bool) throws {
    while let partition = nextPartition() {
      guard var place = places.removeValue(forKey: partition) else { return }
      let record = place.waiting[place.taken]
      place.taken += 1
      let size = (record.key?.count ?? 0) + (record.value?.count ?? 0) + 128
      place.bytes -= size
      bytesWaiting -= size
      if let time = record.timestamp { place.time = max(place.time, time) }
      if place.taken == place.waiting.count || place.taken >= 4096 {
        place.waiting.removeFirst(place.taken)
        place.taken = 0
      }
      places[partition] = place
      guard try take(record) else { return }
    }
  }

  /// The partition whose record comes next; nil if that is not known yet.
  private func nextPartition() -> Int32? {
    var earliest: (time: Instant, partition: Int32)?
    for partition in order {
      guard let place = places[partition] else { continue }
      guard place.hasWaiting else {
        guard place.isIdle else { return nil }
        continue
      }
      let time = max(place.time, place.waiting[place.taken].timestamp ?? .distantPast)
      if earliest.map({ time < $0.time }) ?? true { earliest = (time, partition) }
    }
    return earliest?.partition
  }

  /// Stops reading partitions of which too much waits, and resumes those that have little left.
  private func bound() throws(KafkaError) {
    let done = order.filter { places[$0].map { $0.isRead && $0.isDone } ?? false }
    try pause(done)
    let share = StretchReader.bytesMax / max(1, order.count)
    if bytesWaiting > StretchReader.bytesMax {
      let full = order.filter { places[$0].map { $0.isRead && !$0.isDone && $0.bytes > share } ?? false }
      try pause(full)
    }
    try resume(order.filter { places[$0].map { !$0.isRead && !$0.isDone && $0.bytes <= share / 4 } ?? false })
  }

  private func pause(_ partitions: [Int32]) throws(KafkaError) {
    try reader.unassignAlone(partitions.map { TopicPartition(topic, $0) })
    for partition in partitions { places[partition]?.isRead = false }
  }

  private func resume(_ partitions: [Int32]) throws(KafkaError) {
    guard !partitions.isEmpty else { return }
    try reader.assignAlone(
      more: partitions.map { PartitionOffset(TopicPartition(topic, $0), offset: places[$0]?.next ?? 0) })
    for partition in partitions { places[partition]?.isRead = true }
  }

  // MARK: Bounds

  private static func bounds(
    _ stretch: TopicStretch, _ partitions: [Int32], _ reader: Consumer
  ) throws(KafkaError) -> [(start: Int64, end: Int64, isCut: Bool)] {
    /// One lookup per list: a list takes each partition once.
    func lookUp(_ offset: Int64) throws(KafkaError) -> [Int64] {
      let wanted = partitions.map { PartitionOffset(TopicPartition(stretch.topic, $0), offset: offset) }
      return try reader.lookUp(wanted, timeout: requestTimeout).map(\.offset)
    }
    let lows = try lookUp(PartitionOffset.beginning)
    let highs = try lookUp(PartitionOffset.end)
    func places(_ bound: TopicStretch.Bound?, otherwise: [Int64]) throws(KafkaError) -> [Int64] {
      switch bound {
      case nil: return otherwise
      case .offset(let offset): return partitions.map { _ in offset }
      case .time(let time):
        let found = try lookUp(max(0, time.nanoseconds / 1_000_000))
        return zip(found, highs).map { $0 < 0 ? $1 : $0 }
      }
    }
    let starts = try places(stretch.from, otherwise: lows)
    let ends = try places(stretch.to, otherwise: highs)
    return partitions.indices.map { index in
      let log = lows[index]...max(lows[index], highs[index])
      let start = min(max(starts[index], log.lowerBound), log.upperBound)
      let end = min(max(ends[index], start), log.upperBound)
      var isCut = starts[index] < log.lowerBound
      // The first record that is left may not be the first of that time.
      if case .time = stretch.from { isCut = start == log.lowerBound && log.lowerBound > 0 }
      return (start, end, isCut)
    }
  }
}
