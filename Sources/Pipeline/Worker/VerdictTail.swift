// Reading partitions' own verdicts back, for recovery: the ledger, then the decisions.

internal import Kafka
internal import OTLP
internal import Sampling

/// Reads the tails of the topics of verdicts, of several partitions at once and a little at a time: the
/// lane's other partitions continue meanwhile. Verdicts are delivered as they arrive; none is kept here. A
/// partition's topics are read one after the other, by one consumer; records say themselves which form they
/// have.
///
/// A partition's last owner may have died while its last transaction was being committed. So a tail is read
/// up to the high watermark, and reading waits until the last stable offset has reached it: then every
/// transaction has ended, and everything committed has been read. (The broker aborts abandoned transactions
/// after their timeout.)
final class VerdictTail<Clients: KafkaClients> {
  /// One partition's tail of a topic while it is read.
  private struct Reading {
    /// The topic's place in `topics`.
    let place: Int
    /// Its range of offsets.
    let start: Int64
    let end: Int64
    /// Verdicts given later are not wanted, if this is not nil.
    let until: Instant?
    /// How many verdicts in a row were given after that.
    var tooLate = 0
    /// The next offset to read.
    var next: Int64
    /// Whether nothing is missing, in the topics before included.
    var isWhole: Bool
    var damage: LedgerDamage?
    var isDone = false
    var progressAt: Duration

    /// Notes when a verdict was given: only later ones follow once a thousand in a row are too late. A few
    /// may be from a clock that was ahead for a while.
    mutating func noteTime(of verdict: RestoredVerdict) {
      guard let until else { return }
      tooLate = verdict.decidedAt > until ? tooLate + 1 : 0
      if tooLate >= VerdictTail.tooLateMax { isDone = true }
    }

    /// Notes a page that can't be read: its verdicts are missing.
    mutating func note(_ error: LedgerError, at offset: Int64) {
      isWhole = false
      if damage == nil { damage = LedgerDamage(pages: 0, firstOffset: offset, firstError: error) }
      damage?.pages += 1
    }
  }

  private let topics: [String]
  /// Sees uncommitted records: for the high watermark.
  private let bounds: Clients.Consumer
  /// Sees committed records.
  private let reader: Clients.Consumer
  private let clients: Clients
  private var readings: [PartitionID: Reading] = [:]
  /// Bytes of the records that were read for calls with an end.
  private(set) var bytesLookedUp: UInt64 = 0

  private static var tooLateMax: Int { 1000 }
  /// How long a call reads.
  private static var slice: Duration { .milliseconds(50) }
  /// How long a tail may stall before that is reported.
  private static var patience: Duration { .seconds(2) }

  /// - Parameters:
  ///   - topics: the topics in the order in which they are read; at least one.
  ///   - bounds: a consumer that sees uncommitted records.
  init(
    topics: [String], bounds: Clients.Consumer, clients: Clients, properties: [KafkaProperty]
  ) throws(KafkaError) {
    self.topics = topics
    self.bounds = bounds
    self.clients = clients
    reader = try clients.makeReader(
      topic: topics[0], properties: properties + [KafkaProperty("isolation.level", "read_committed")])
  }

  /// Reads for a moment, in the tail of `partition` and in all others already begun.
  ///
  /// - Parameters:
  ///   - end: verdicts given later are not wanted; then a call doesn't wait for more than has arrived.
  ///   - timeout: for the offset lookups at the start of a tail.
  ///   - take: receives verdicts of all these partitions; those of a topic oldest first.
  /// - Throws: a timeout while a transaction is open.
  func read(
    _ partition: PartitionID, since time: Instant, until end: Instant?, timeout: Duration,
    _ take: (PartitionID, RestoredVerdict) -> Void
  ) throws(KafkaError) -> PastDecisions {
    if readings[partition] == nil {
      try begin(partition, place: 0, since: time, until: end, timeout: timeout)
    }
    let deadline = clients.uptime + (end == nil ? Self.slice : .zero)
    while readings[partition]?.isDone == false, try pump(waits: end == nil, take), clients.uptime < deadline {
    }
    guard let reading = readings[partition] else { return .reading(read: 0, of: 0) }
    guard reading.isDone else {
      // A lookup waits for this lane's own transaction.
      if end == nil { try complain(of: partition) }
      return .reading(read: reading.next - reading.start, of: reading.end - reading.start)
    }
    guard reading.place == topics.count - 1 else {
      try begin(partition, place: reading.place + 1, since: time, until: end, timeout: timeout)
      return .reading(read: 0, of: 0)
    }
    forget([partition])
    return .read(isWhole: reading.isWhole, damage: reading.damage)
  }

  /// Ends the reading of partitions.
  func forget(_ partitions: [PartitionID]) {
    let begun = partitions.compactMap { partition in
      readings.removeValue(forKey: partition).map { TopicPartition(topics[$0.place], partition.value) }
    }
    // One by one: librdkafka refuses a list with one that it does not read, as it does an empty tail.
    for place in begun { try? reader.unassignAlone([place]) }
  }

  /// Serves the reader while there is nothing to read: otherwise its client's events would pile up.
  func rest() {
    guard readings.isEmpty else { return }
    _ = reader.poll(timeout: .zero) { _, _, _ in }
    _ = reader.takeEvents()
  }

  func abandon() { reader.abandon() }

  /// Begins to read the partition's tail of the topic at `place`, after those of the topics before.
  private func begin(
    _ partition: PartitionID, place: Int, since time: Instant, until last: Instant?, timeout: Duration
  ) throws(KafkaError) {
    let log = TopicPartition(topics[place], partition.value)
    let milliseconds = max(0, time.nanoseconds / 1_000_000)
    // One lookup per list: a list takes each partition once.
    let low = try offset(PartitionOffset.beginning, of: log, timeout / 3)
    let high = try offset(PartitionOffset.end, of: log, timeout / 3)
    let found = high > low ? try offset(milliseconds, of: log, timeout / 3) : -1
    let earlier = readings[partition]
    var reading = Reading(
      place: place, start: high, end: high, until: last, next: high, isWhole: earlier?.isWhole ?? true,
      damage: earlier?.damage, progressAt: clients.uptime)
    if found >= 0, found < high {
      // If the first remaining record is already young enough, deleted ones may have been young enough too.
      reading = Reading(
        place: place, start: found, end: high, until: last, next: found,
        isWhole: reading.isWhole && (low == 0 || found > low), damage: reading.damage,
        progressAt: clients.uptime)
    } else {
      // Deleted records may have been younger than `time`: an empty log can't tell.
      reading.isWhole = reading.isWhole && (high == 0 || low < high)
      reading.isDone = true
    }
    if let earlier, earlier.start < earlier.end {
      try? reader.unassignAlone([TopicPartition(topics[earlier.place], partition.value)])
    }
    if !reading.isDone { try reader.assignAlone(more: [PartitionOffset(log, offset: found)]) }
    readings[partition] = reading
  }

  private func offset(
    _ wanted: Int64, of place: TopicPartition, _ timeout: Duration
  ) throws(KafkaError) -> Int64 {
    try bounds.lookUp([PartitionOffset(place, offset: wanted)], timeout: timeout).first?.offset ?? -1
  }

  /// Reads what has arrived. Returns whether anything had.
  private func pump(
    waits: Bool, _ take: (PartitionID, RestoredVerdict) -> Void
  ) throws(KafkaError) -> Bool {
    let now = clients.uptime
    let count = reader.poll(timeout: waits ? .milliseconds(5) : .zero) { info, _, value in
      let partition = PartitionID(info.partition)
      guard readings[partition] != nil else { return }
      if readings[partition]?.until != nil { bytesLookedUp += UInt64(value?.byteCount ?? 0) }
      readings[partition]?.next = info.offset + 1
      readings[partition]?.progressAt = now
      guard let value else { return }
      do throws(VerdictRecordError) {
        try RestoredVerdict.read(value) { verdict in
          take(partition, verdict)
          readings[partition]?.noteTime(of: verdict)
        }
      } catch {
        // What is neither a decision record nor a page is foreign; it decides nothing.
        if case .page(let damage) = error { readings[partition]?.note(damage, at: info.offset) }
      }
    }
    for event in reader.takeEvents() {
      switch event {
      case .endOfPartition(let ended, let offset):
        let partition = PartitionID(ended.partition)
        guard let reading = readings[partition], topics[reading.place] == ended.topic else { continue }
        if offset >= reading.end { readings[partition]?.isDone = true }
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
      timedOut: "a transaction of the partition's last owner is still open "
        + "(topic '\(topics[reading.place])' ends at \(reading.end))")
  }
}
