// A virtual Kafka: logs, transactions and a consumer group in memory, under a clock that the simulation
// advances.
//
// It does what Apache Kafka does where correctness depends on it: read_committed readers see nothing past the
// last stable offset and nothing aborted; a transaction that nobody ends is aborted after its timeout and its
// producer fenced; offsets sent in a transaction count only once it commits, and hide the committed ones
// until then; a member that is silent for too long is evicted, and its later commits are rejected. It also
// does what no broker should, and those before KIP-890 do: a request to end a transaction that is executed
// late ends whatever transaction of the same producer and epoch is open then.

import OTLP
import Pipeline
import Sampling

/// A record in a simulated log.
struct LoggedRecord {
  var offset: Int64
  /// Nanoseconds since 1970.
  var timestamp: Int64
  var key: [UInt8]?
  var value: [UInt8]?
  /// The transaction that wrote it; nil if none did.
  var transaction: Int?
  /// Whether it only marks the end of a transaction.
  var isMarker = false
}

/// A partition's log.
struct PartitionLog {
  private(set) var records: [LoggedRecord] = []

  var end: Int64 { Int64(records.count) }

  mutating func append(
    _ key: [UInt8]?, _ value: [UInt8]?, at time: Int64, transaction: Int?, isMarker: Bool = false
  ) {
    records.append(
      LoggedRecord(
        offset: end, timestamp: time, key: key, value: value, transaction: transaction, isMarker: isMarker))
  }
}

/// A transaction and its outcome.
struct SimulatedTransaction {
  enum State {
    case open
    case committed
    case aborted
  }

  var producer: String
  var state = State.open
  var startedAt: Instant
  /// How long the brokers leave it open.
  var timeout: Interval
  /// Where it has written, and its first offset there.
  var partitions: [LogID: Int64] = [:]
  var offsets: [PartitionID: CommittedPoint] = [:]
}

/// A partition of a topic.
struct LogID: Hashable, Comparable {
  var topic: String
  var partition: PartitionID

  static func < (left: LogID, right: LogID) -> Bool {
    (left.topic, left.partition) < (right.topic, right.partition)
  }
}

/// The topics of the simulated topology.
enum SimulatedTopic {
  static let spans = "spans"
  static let decisions = "decisions"
  static let verdicts = "verdicts"
  static let sampled = "sampled"
  static let deadLetters = "dead-letters"
  static let stats = "stats"
  static let logs = "logs"
  static let sampledLogs = "sampled-logs"
  static let metrics = "metrics"
  static let links = "links"
  /// The topics that say what was decided.
  static let ofVerdicts = [verdicts, decisions]

  static func input(_ partition: PartitionID) -> LogID { LogID(topic: spans, partition: partition) }
}

/// The brokers.
final class SimulatedCluster {
  let partitionCount: Int32
  /// Whether the cluster, not the producer, timestamps the records of the input.
  let stampsRecords: Bool
  private(set) var now: Instant
  private(set) var logs: [LogID: PartitionLog] = [:]
  private(set) var transactions: [SimulatedTransaction] = []
  private var openTransactions: Set<Int> = []
  private(set) var committed: [PartitionID: CommittedPoint] = [:]
  /// The epoch of each transactional id: a producer with an older one is fenced.
  private var epochs: [String: Int] = [:]
  /// The process that registered each transactional id last.
  private var registrants: [String: ObjectIdentifier] = [:]
  /// Requests that brokers have received and will execute later.
  private var lateRequests: [(dueAt: Instant, carryOut: () -> Void)] = []
  let group: SimulatedGroup
  /// No broker answers before then; the brokers' own clocks go on.
  private(set) var silentUntil = Instant.distantPast
  /// The largest record that topics accept, where it differs from the client's limit.
  var recordBytesMax: [String: Int] = [:]
  /// The first offset that is left of logs whose oldest records have been deleted.
  var logStarts: [LogID: Int64] = [:]
  /// Called whenever time has passed: what is due is published before anybody reads.
  var onPass: (() -> Void)?
  /// Called whenever offsets have been committed.
  var onCommit: ((PartitionID, Offset) -> Void)?

  init(partitions: Int32, stampsRecords: Bool, now: Instant) {
    partitionCount = partitions
    self.stampsRecords = stampsRecords
    self.now = now
    group = SimulatedGroup(partitions: (0..<partitions).map { PartitionID($0) })
  }

  /// Lets time pass: transactions and members time out.
  func pass(to time: Instant) {
    now = max(now, time)
    onPass?()
    carryOutLateRequests()
    for number in openTransactions.sorted() {
      guard transactions[number].startedAt + transactions[number].timeout <= now else { continue }
      epochs[transactions[number].producer, default: 0] += 1
      end(number, .aborted)
    }
    group.expire(at: now)
  }

  /// Receives a request, and executes it `delay` after brokers answer again.
  func receiveLate(after delay: Interval, _ carryOut: @escaping () -> Void) {
    lateRequests.append((max(now, silentUntil) + delay, carryOut))
  }

  private func carryOutLateRequests() {
    let due = lateRequests.filter { $0.dueAt <= now }
    lateRequests.removeAll { $0.dueAt <= now }
    for request in due { request.carryOut() }
  }

  /// Passes time in which one process waits. The others stand still meanwhile, and nothing of theirs times
  /// out because of it.
  func wait(_ time: Interval, producer: String, member: Int?) {
    for number in openTransactions.sorted() {
      guard transactions[number].producer != producer else { continue }
      transactions[number].startedAt = transactions[number].startedAt + time
    }
    group.shift(by: time, except: member)
    pass(to: now + time)
  }

  /// Brokers stop answering.
  func fallSilent(for time: Interval) { silentUntil = max(silentUntil, now + time) }

  var isSilent: Bool { now < silentUntil }

  func speakAgain() { silentUntil = .distantPast }

  // MARK: Logs

  func log(_ id: LogID) -> PartitionLog { logs[id] ?? PartitionLog() }

  /// Writes a record of the input, or of the logs that go with it.
  func publish(
    _ key: [UInt8], _ value: [UInt8]?, to partition: PartitionID, of topic: String = SimulatedTopic.spans,
    at time: Int64
  ) {
    logs[LogID(topic: topic, partition: partition), default: PartitionLog()].append(
      key, value, at: time, transaction: nil)
  }

  /// The first offset that is not stable: that of the first record of an open transaction, or the log's end.
  func lastStableOffset(of id: LogID) -> Int64 {
    var least = log(id).end
    for number in openTransactions {
      if let first = transactions[number].partitions[id] { least = min(least, first) }
    }
    return least
  }

  /// The record at an offset before the log's end; nil for what a reader does not see: transaction markers,
  /// and aborted records for a reader with `read_committed`.
  func record(at offset: Int64, of id: LogID, seesUncommitted: Bool) -> LoggedRecord? {
    guard let record = logs[id]?.records[Int(offset)], !record.isMarker else { return nil }
    guard !seesUncommitted, let number = record.transaction else { return record }
    return transactions[number].state == .committed ? record : nil
  }

  /// What a read_committed reader sees.
  ///
  /// - Parameter includesUnstable: whether committed records after the first open transaction count too:
  ///   readers will see them once it has ended.
  func committedRecords(of id: LogID, includesUnstable: Bool = false) -> [LoggedRecord] {
    let stable = includesUnstable ? .max : lastStableOffset(of: id)
    return log(id).records.filter { record in
      guard record.offset < stable, !record.isMarker else { return false }
      return record.transaction.map { transactions[$0].state == .committed } ?? true
    }
  }

  // MARK: Producers

  /// How many partitions a topic has.
  func partitionCount(of topic: String) -> Int32 {
    switch topic {
    case SimulatedTopic.stats, SimulatedTopic.links, SimulatedTopic.deadLetters: 1
    default: partitionCount
    }
  }

  /// Registers a producer of a process: it fences earlier ones with the same id and aborts what they left
  /// open.
  func register(_ producer: String, of process: ObjectIdentifier) -> Int {
    let epoch = (epochs[producer] ?? 0) + 1
    epochs[producer] = epoch
    registrants[producer] = process
    if let number = openTransaction(of: producer) { end(number, .aborted) }
    return epoch
  }

  /// Registers a producer through a request that was repeated long ago. What another process has registered
  /// since is left alone: it may be fenced too, but a worker can't help that.
  func registerLate(_ producer: String, of process: ObjectIdentifier) {
    if registrants[producer] == process { _ = register(producer, of: process) }
  }

  /// Whether a producer is the one that brokers consider current.
  func isCurrent(_ producer: String, epoch: Int) -> Bool { epochs[producer] == epoch }

  private func openTransaction(of producer: String) -> Int? {
    openTransactions.first { transactions[$0].producer == producer }
  }

  /// Begins a transaction; nil if the producer is fenced.
  func begin(_ producer: String, epoch: Int, timeout: Interval) -> Int? {
    guard epochs[producer] == epoch else { return nil }
    transactions.append(SimulatedTransaction(producer: producer, startedAt: now, timeout: timeout))
    openTransactions.insert(transactions.count - 1)
    return transactions.count - 1
  }

  /// Writes a record; false if the producer is fenced. Without a transaction it always succeeds.
  func write(_ id: LogID, _ key: [UInt8]?, _ value: [UInt8]?, in transaction: Int?) -> Bool {
    if let transaction {
      guard transactions[transaction].state == .open else { return false }
      let end = logs[id]?.end ?? 0
      transactions[transaction].partitions[id] = min(transactions[transaction].partitions[id] ?? end, end)
    }
    logs[id, default: PartitionLog()].append(key, value, at: now.nanoseconds, transaction: transaction)
    return true
  }

  /// Makes offsets part of a transaction; false if the producer or the member is fenced.
  func add(_ points: [PartitionID: CommittedPoint], to transaction: Int, by member: Int) -> Bool {
    guard transactions[transaction].state == .open, group.isMember(member) else { return false }
    transactions[transaction].offsets.merge(points) { $1 }
    return true
  }

  /// Ends a transaction; false if it has already ended otherwise.
  func finish(_ transaction: Int, _ state: SimulatedTransaction.State) -> Bool {
    if transactions[transaction].state == .open { end(transaction, state) }
    return transactions[transaction].state == state
  }

  /// Ends any open transaction of a producer's epoch.
  func finishLate(_ producer: String, epoch: Int, _ state: SimulatedTransaction.State) {
    guard isCurrent(producer, epoch: epoch), let number = openTransaction(of: producer) else { return }
    end(number, state)
  }

  private func end(_ number: Int, _ state: SimulatedTransaction.State) {
    transactions[number].state = state
    openTransactions.remove(number)
    for id in transactions[number].partitions.keys.sorted() {
      logs[id, default: PartitionLog()].append(
        nil, nil, at: now.nanoseconds, transaction: number, isMarker: true)
    }
    guard state == .committed else { return }
    for (partition, point) in transactions[number].offsets.sorted(by: { $0.key < $1.key }) {
      committed[partition] = point
      onCommit?(partition, point.offset)
    }
  }

  /// Commits an offset outside a transaction; false if the member has left or is not the owner.
  func commitPlainly(_ point: CommittedPoint, of partition: PartitionID, by member: Int) -> Bool {
    guard group.owns(partition, member) else { return false }
    committed[partition] = point
    onCommit?(partition, point.offset)
    return true
  }

  /// The committed point of a partition; nil in the outer sense while an open transaction may change it.
  func committedPoint(of partition: PartitionID) -> CommittedPoint?? {
    let isUnstable = openTransactions.contains { transactions[$0].offsets[partition] != nil }
    return isUnstable ? nil : .some(committed[partition])
  }
}
