// Reads a stretch of a topic once from its beginning to its end, by a consumer that belongs to no group.

public import Kafka
internal import OTLP
internal import Sampling
public import Topology

/// Reads a stretch of a topic. Partitions are merged by the times of their records, as if the topic had one
/// partition, in bounded memory. Only committed records are read.
///
/// It always comes to an end: a partition that gives nothing for too long is given up, and so are all after
/// an error that does not pass. `gaps` tells what is missing.
public final class StretchReader {
  /// A partition while it is read.
  private struct Place {
    let start: Int64
    /// The offset after the last one that is wanted; nil if there is no end.
    let end: Int64?
    /// The stretch's end, had it one, and the log's end, at the start.
    let endBefore, logEnd: Int64
    /// The next offset to read.
    var next: Int64
    var isDone: Bool
    /// Whether it was read up to the log's end at least once: others don't wait for it any more.
    var hasCaughtUp = false
    /// Whether the client reads it; not while too much of it waits.
    var isRead = false
    /// How long it was waited for since its last record.
    var silence = Duration.zero
    /// Whether it gave nothing for too long. One without an end is read on, and may come back.
    var isGivenUp = false
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
  /// Whether a partition's next offset is no longer in the log.
  private var hasLostPlace = false
  private var deleted: [StretchGap] = []
  private let total: Int64?
  private let patience: Duration
  /// The brokers' last error, which may have passed.
  public private(set) var trouble: KafkaError?

  private static let requestTimeout = Duration.seconds(15)
  private static let bytesMax = 128 << 20

  /// Finds out where the stretch begins and ends.
  ///
  /// - Parameter topology: has the connection's properties.
  public init(_ stretch: TopicStretch, of topology: Topology) throws(KafkaError) {
    topic = stretch.topic
    patience = stretch.patience
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
    // Not a member of a group, but librdkafka requires a name. An offset that is gone must not silently
    // become another one.
    let own = [
      KafkaProperty("group.id", "\(plan.group)-reader"), KafkaProperty("isolation.level", "read_committed"),
      KafkaProperty("queued.max.messages.kbytes", "32768"), KafkaProperty("auto.offset.reset", "error"),
    ]
    let properties = plan.properties.forConsumers.filter { $0.name != "group.instance.id" } + own
    reader = try LibrdkafkaClients(log: { _ in }).makeReader(topic: topic, properties: properties)
    let bounds = try StretchReader.awaitBounds(stretch, order, reader)
    total = stretch.follows ? nil : bounds.reduce(0) { $0 + $1.end - $1.start }
    for (partition, bound) in zip(order, bounds) {
      if bound.isCut {
        deleted.append(
          StretchGap(cause: .deletedBefore, partition: partition, from: bound.cutFrom, to: bound.cutTo))
      }
      places[partition] = Place(
        start: bound.start, end: stretch.follows ? nil : bound.end, endBefore: bound.end,
        logEnd: bound.logEnd, next: bound.start,
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
    let read = places.values.reduce(0) {
      $0 + (($1.isDone && !$1.isGivenUp ? $1.end : nil) ?? $1.next) - $1.start
    }
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

  /// Whether everything was delivered that can be read.
  public var isAtEnd: Bool {
    places.values.allSatisfy { $0.isDone && !$0.hasWaiting }
  }

  /// Whether a partition is not read on, and may have been replaced by another one.
  public var hasLost: Bool { places.values.contains { $0.isGivenUp && $0.isDone } }

  /// The end that each partition's log had at the start.
  public var ends: [Int32: Int64] { places.mapValues(\.logEnd) }

  /// What is missing so far, by partition.
  public var gaps: [StretchGap] {
    let unread = order.compactMap { partition -> StretchGap? in
      guard let place = places[partition], place.isGivenUp else { return nil }
      return StretchGap(cause: .unreadable, partition: partition, from: place.next, to: place.end)
    }
    return (deleted + unread).sorted { ($0.partition, $0.from ?? 0) < ($1.partition, $1.from ?? 0) }
  }

  /// Leaves the brokers without waiting for them.
  public func abandon() { reader.abandon() }

  /// Reads for a moment, and delivers the records whose turn it is.
  ///
  /// Errors of brokers are not thrown: reading ends with a gap.
  ///
  /// - Parameters:
  ///   - wait: how long to wait for records.
  ///   - take: receives a record. Returns false for no more: those that wait are not delivered.
  /// - Throws: errors of `take`.
  public func read(
    for wait: Duration = .milliseconds(100), _ take: (TopicRecord) throws -> Bool
  ) throws {
    let start = ContinuousClock.now
    do throws(KafkaError) { try fetch(wait) } catch { fail(error) }
    noteSilence(ContinuousClock.now - start)
    try deliver(take)
    do throws(KafkaError) { try bound() } catch { fail(error) }
  }

  private func fetch(_ wait: Duration) throws(KafkaError) {
    _ = reader.poll(timeout: wait) { info, key, value in
      note(info, key: key?.copied(), value: value?.copied())
    }
    for event in reader.takeEvents() {
      switch event {
      case .endOfPartition(let ended, let offset): end(ended.partition, at: offset)
      case .error(let error):
        if error.isFatal || error.isAuthorization || error.isUnknownTopic { throw error }
        if error.known == .localAutoOffsetReset { hasLostPlace = true } else { trouble = error }
      case .assigned, .revoked, .lost: break
      }
    }
    if hasLostPlace { try findPlaces() }
  }

  /// Goes on with the oldest records that are left. The client does not read a partition further whose next
  /// offset is gone, and does not tell which one that is.
  private func findPlaces() throws(KafkaError) {
    let reading = order.filter { places[$0].map { $0.isRead && !$0.isDone } ?? false }
    let lows: [Int64]
    let highs: [Int64]
    do throws(KafkaError) {
      lows = try StretchReader.lookUp(PartitionOffset.beginning, of: reading, topic, reader)
      highs = try StretchReader.lookUp(PartitionOffset.end, of: reading, topic, reader)
    } catch {
      guard error.isUnanswered else { throw error }
      trouble = error
      return
    }
    hasLostPlace = false
    try pause(reading)
    // A log that is shorter than what was read of it is another one, or its brokers have lost some of it.
    for (partition, high) in zip(reading, highs) where places[partition].map({ $0.next > high }) ?? false {
      places[partition]?.isGivenUp = true
      places[partition]?.isDone = true
    }
    for (partition, low) in zip(reading, lows) {
      guard let place = places[partition], low > place.next else { continue }
      let next = min(low, place.end ?? low)
      deleted.append(
        StretchGap(
          cause: place.next == place.start ? .deletedBefore : .deletedAmid, partition: partition,
          from: place.next, to: next))
      places[partition]?.next = next
      if next == place.end { places[partition]?.isDone = true }
    }
  }

  /// Counts the time in which partitions gave nothing, and gives up those that give nothing for too long.
  /// Time spent elsewhere, as on a slow disk, does not count.
  private func noteSilence(_ time: Duration) {
    for partition in order {
      guard let place = places[partition], place.isRead, !place.isIdle else { continue }
      let silence = place.silence + time
      places[partition]?.silence = silence
      guard silence > patience else { continue }
      places[partition]?.isGivenUp = true
      if place.end == nil { places[partition]?.hasCaughtUp = true } else { places[partition]?.isDone = true }
    }
  }

  /// Ends the reading; what waits is still delivered.
  private func fail(_ error: KafkaError) {
    trouble = error
    for partition in order where places[partition]?.isDone == false {
      places[partition]?.isGivenUp = true
      places[partition]?.isDone = true
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
    place.silence = .zero
    place.isGivenUp = false
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
    places[partition]?.silence = .zero
    places[partition]?.isGivenUp = false
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
    for partition in partitions {
      places[partition]?.isRead = true
      places[partition]?.silence = .zero
    }
  }

  // MARK: Bounds

  /// Looks up one offset of each partition: a list takes each partition once.
  private static func lookUp(
    _ offset: Int64, of partitions: [Int32], _ topic: String, _ reader: Consumer
  ) throws(KafkaError) -> [Int64] {
    let wanted = partitions.map { PartitionOffset(TopicPartition(topic, $0), offset: offset) }
    return try reader.lookUp(wanted, timeout: requestTimeout).map(\.offset)
  }

  /// Names the first partition that gives no offsets by itself: the answer for all of them does not.
  private static func blame(
    for error: KafkaError, _ partitions: [Int32], _ topic: String, _ reader: Consumer
  ) -> KafkaError {
    for partition in partitions {
      let wanted = [PartitionOffset(TopicPartition(topic, partition), offset: PartitionOffset.beginning)]
      do throws(KafkaError) { _ = try reader.lookUp(wanted, timeout: .seconds(2)) } catch {
        return KafkaError(
          error.known ?? .localFail,
          "partition \(partition) gives no offsets, as without a leader: \(error.message)")
      }
    }
    return error
  }

  private struct Bounds {
    var start, end, logEnd: Int64
    /// Whether the stretch begins before the log; the offset at which it would, if that is known; and the
    /// offset after what is missing.
    var isCut = false
    var cutFrom: Int64?
    var cutTo: Int64 = 0
  }

  /// Finds them out, and waits for partitions without a leader as long as for records of one.
  private static func awaitBounds(
    _ stretch: TopicStretch, _ partitions: [Int32], _ reader: Consumer
  ) throws(KafkaError) -> [Bounds] {
    let deadline = ContinuousClock.now + stretch.patience
    while true {
      do throws(KafkaError) { return try bounds(stretch, partitions, reader) } catch {
        let passes =
          !error.isFatal && !error.isAuthorization && !error.isUnknownTopic && !error.isConfiguration
        guard passes, ContinuousClock.now < deadline else {
          throw blame(for: error, partitions, stretch.topic, reader)
        }
        // Nothing is assigned: it only waits.
        _ = reader.poll(timeout: .milliseconds(200)) { _, _, _ in }
      }
    }
  }

  private static func bounds(
    _ stretch: TopicStretch, _ partitions: [Int32], _ reader: Consumer
  ) throws(KafkaError) -> [Bounds] {
    func lookUp(_ offset: Int64) throws(KafkaError) -> [Int64] {
      try StretchReader.lookUp(offset, of: partitions, stretch.topic, reader)
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
      var bounds = Bounds(start: start, end: end, logEnd: log.upperBound)
      if case .time = stretch.from {
        // The first record that is left may not be the first of that time.
        if start == log.lowerBound, log.lowerBound > 0 { (bounds.isCut, bounds.cutTo) = (true, start) }
      } else if starts[index] < log.lowerBound, ends[index] > starts[index] {
        (bounds.isCut, bounds.cutFrom) = (true, starts[index])
        bounds.cutTo = min(start, ends[index])
      }
      return bounds
    }
  }
}
