// The broker seam over Kafka: one consumer, one producer, plain or transactional.

internal import Kafka
internal import Sampling

/// One consumer and one producer.
///
/// With a transactional id, what is written and the commit points are one transaction: committed together or
/// not at all, and fenced by the group's generation (KIP-447). Without one, `commit` waits until everything
/// written before is acknowledged and only then commits the offsets: what may happen twice after a crash is
/// the writing, what can't happen is a commit of something that was not written.
final class KafkaLink: BrokerLink {
  private let consumer: Consumer
  private let producer: Producer
  private let outputs: KafkaOutputs
  private let topic: String
  private let tail: DecisionTail?
  private let stats: StatsReader?
  /// Sees the ends of logs as they are, uncommitted records included.
  private let bounds: Consumer
  private let isTransactional: Bool
  /// Told whenever the link gets on, and while it waits for a broker.
  private let board: LaneBoard
  /// Partitions that librdkafka reads for this member.
  private var reading: Set<PartitionID> = []
  private var isInTransaction = false
  /// Few enough that what librdkafka notes of each is still in the cache when its turn comes.
  private var batch = RecordBatch(capacity: 256)

  /// How long a commit waits for acknowledgements before it is tried again.
  private static let flushTimeout = Duration.seconds(10)
  /// How long writing waits for room in the producer's queue: less than `max.poll.interval.ms`, so that the
  /// member is still in its group when it gives up.
  private static let queueTimeout = Duration.seconds(240)
  private static let requestTimeout = Duration.seconds(30)
  /// How long a quiet partition's end is waited for: the lane's others wait as long.
  private static let endTimeout = Duration.seconds(1)
  /// How long a transaction's end is tried.
  private static let transactionPatience = Duration.seconds(60)

  /// Joins `group` to read `topic`.
  ///
  /// - Parameter transactionalID: the same for the same place in the fleet, if there is such a thing: a
  ///   worker that comes back under its id ends at once what it left open. Nil for at-least-once delivery.
  init(
    topic: String, group: String, outputs names: OutputNames, transactionalID: String?,
    properties: [KafkaProperty], board: LaneBoard, log: @escaping KafkaLog
  ) throws(KafkaError) {
    self.topic = topic
    self.board = board
    isTransactional = transactionalID != nil
    let consumerProperties = properties.forConsumers
    var transactional: [KafkaProperty] = []
    if let transactionalID {
      transactional = [
        KafkaProperty("transaction.timeout.ms", "15000"), KafkaProperty("transactional.id", transactionalID),
      ]
    }
    producer = try Producer(
      properties: transactional + properties.forProducers, log: log, statistics: board.producer)
    if isTransactional { try KafkaLink.initTransactions(producer, board) }
    // Members of no group; librdkafka wants a name all the same.
    let outside =
      consumerProperties.filter { $0.name != "group.instance.id" }
      + [KafkaProperty("group.id", "\(group)-outside")]
    bounds = try Consumer(
      topic: topic, properties: outside + [KafkaProperty("isolation.level", "read_uncommitted")], log: log)
    if let decisions = names.decisions {
      tail = try DecisionTail(topic: decisions, bounds: bounds, properties: outside, log: log)
    } else {
      tail = nil
    }
    outputs = try KafkaOutputs(names, producer)
    if let name = names.stats, let topic = outputs[.stats]?.topic {
      let count = try producer.partitionCount(of: topic, timeout: KafkaLink.requestTimeout)
      stats = try StatsReader(topic: name, partitions: count, properties: outside, log: log)
    } else {
      stats = nil
    }
    consumer = try Consumer(
      topic: topic, properties: consumerProperties + [KafkaProperty("group.id", group)], log: log,
      statistics: board.consumer)
    try consumer.subscribe()
  }

  /// Registering waits for what an earlier producer of the id left open.
  private static func initTransactions(_ producer: Producer, _ board: LaneBoard) throws(KafkaError) {
    let deadline = ContinuousClock.now + .seconds(60)
    while true {
      board.beat()
      do {
        return try producer.initTransactions(timeout: requestTimeout)
      } catch {
        guard error.isRetriable, ContinuousClock.now < deadline else { throw error }
      }
    }
  }

  func poll(
    timeout: Interval, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) -> Int {
    producer.poll()
    let wait = Duration.nanoseconds(timeout.nanoseconds)
    return try consumer.poll(into: &batch, timeout: wait) { (info, key, value) throws(BrokerError) in
      let place = RecordPlace(
        partition: PartitionID(info.partition), offset: Offset(info.offset),
        timestamp: info.timestampMilliseconds.map { Instant(milliseconds: $0) },
        isLogTime: info.isLogAppendTime)
      try take(place, key, value)
    }
  }

  func takeEvents() -> [GroupEvent] {
    let events = consumer.takeEvents().map { event -> GroupEvent in
      switch event {
      case .assigned(let partitions): .assigned(partitions.map { PartitionID($0.partition) })
      case .revoked(let partitions): .revoked(partitions.map { PartitionID($0.partition) })
      case .lost(let partitions): .lost(partitions.map { PartitionID($0.partition) })
      case .endOfPartition(let partition, let offset):
        .caughtUp(PartitionID(partition.partition), Offset(offset))
      case .error(let error): .disturbed(BrokerError(error, "consumer"))
      }
    }
    return events + producer.takeErrors().map { .disturbed(BrokerError($0, "producer")) }
  }

  func committed(_ partitions: [PartitionID]) throws(BrokerError) -> [CommittedPoint?] {
    let offsets = try attempt("reading committed offsets") { () throws(KafkaError) in
      try consumer.committed(partitions.map(place), timeout: KafkaLink.requestTimeout)
    }
    return offsets.map { offset in
      offset.offset < 0 ? nil : CommittedPoint(offset: Offset(offset.offset), metadata: offset.metadata)
    }
  }

  func resume(_ partitions: [(PartitionID, Offset?)]) throws(BrokerError) {
    let offsets = partitions.map { PartitionOffset(place($0), offset: $1?.value ?? PartitionOffset.stored) }
    try attempt("assigning partitions") { () throws(KafkaError) in try consumer.assign(offsets) }
    reading.formUnion(partitions.map(\.0))
  }

  func release(_ partitions: [PartitionID]) throws(BrokerError) {
    tail?.forget(partitions)
    // librdkafka refuses to stop what it has not started.
    let stopping = partitions.filter { reading.contains($0) }
    try attempt("giving partitions up") { () throws(KafkaError) in
      try consumer.unassign(stopping.map(place))
    }
    reading.subtract(stopping)
  }

  func hasOutputs(for partition: PartitionID) throws(BrokerError) -> Bool {
    try attempt("looking at the output topics") { () throws(KafkaError) in
      for topic in outputs.mirrored {
        let count = try producer.partitionCount(of: topic, timeout: KafkaLink.requestTimeout)
        if count <= partition.value { return false }
      }
      return true
    }
  }

  func write(
    _ topic: OutputTopic, partition: PartitionID?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeaderField]
  ) throws(BrokerError) {
    try beginTransaction()
    guard let output = outputs[topic] else {
      throw BrokerError(.stop, "this topology has no topic of \(topic)")
    }
    do {
      try producer.produce(
        output.topic, partition: partition?.value, key: key, value: value,
        headers: headers.map { (name: $0.name, value: $0.value) }, queueTimeout: KafkaLink.queueTimeout
      ) { board.beat() }
    } catch {
      // The sampler has moved on: what could not be queued can only come from reading the input again.
      throw BrokerError(.stop, "writing to topic '\(output.name)': \(error)")
    }
  }

  func commit(_ points: [(PartitionID, CommitPoint)]) throws(BrokerError) {
    let offsets = points.map { id, point in
      PartitionOffset(place(id), offset: point.safeOffset.value, metadata: point.metadata)
    }
    guard isTransactional else { return try commitPlainly(offsets) }
    try beginTransaction()
    try untilDone("adding offsets to the transaction") { () throws(KafkaError) in
      guard let group = consumer.groupMetadata() else {
        throw KafkaError(timedOut: "the group is not joined yet")
      }
      try producer.sendOffsets(offsets, of: group, timeout: KafkaLink.flushTimeout)
    }
    try untilDone("committing the transaction") { () throws(KafkaError) in
      try producer.commitTransaction(timeout: KafkaLink.flushTimeout)
    }
    isInTransaction = false
  }

  private func commitPlainly(_ offsets: [PartitionOffset]) throws(BrokerError) {
    try attempt("waiting for acknowledgements") { () throws(KafkaError) in
      try producer.flush(timeout: KafkaLink.flushTimeout)
    }
    if let failure = producer.takeFailures().first {
      throw BrokerError(
        .stop, "topic '\(failure.topic)', partition \(failure.partition): not delivered: \(failure.error)")
    }
    try attempt("committing offsets") { () throws(KafkaError) in try consumer.commit(offsets) }
  }

  private func beginTransaction() throws(BrokerError) {
    guard isTransactional, !isInTransaction else { return }
    // Who writes has moved on: what can't be written now can only come from reading the input again.
    do { try producer.beginTransaction() } catch {
      throw BrokerError(error.isFatal ? .stop : .abort, "beginning a transaction: \(error)")
    }
    isInTransaction = true
  }

  /// Calls `body` again while librdkafka says that it may succeed; then the transaction has to be given up.
  /// Half a transaction can't wait for the next round: what is written until then would be part of it.
  private func untilDone(_ action: String, _ body: () throws(KafkaError) -> Void) throws(BrokerError) {
    let deadline = ContinuousClock.now + KafkaLink.transactionPatience
    while true {
      board.beat()
      do {
        return try body()
      } catch {
        if error.isFatal { throw BrokerError(.stop, "\(action): \(error)") }
        guard error.isRetriable, !error.requiresAbort, ContinuousClock.now < deadline else {
          throw BrokerError(.abort, "\(action): \(error)")
        }
      }
    }
  }

  func abort() throws(BrokerError) {
    guard isInTransaction else { return }
    let deadline = ContinuousClock.now + KafkaLink.transactionPatience
    while true {
      board.beat()
      do {
        try producer.abortTransaction(timeout: KafkaLink.flushTimeout)
        isInTransaction = false
        _ = producer.takeFailures()
        return
      } catch {
        guard error.isRetriable, ContinuousClock.now < deadline else {
          throw BrokerError(.stop, "aborting the transaction: \(error)")
        }
      }
    }
  }

  func verdicts(_ partition: PartitionID, since time: Instant) throws(BrokerError) -> PastDecisions {
    try tail?.read(partition, since: time) ?? .read([], isWhole: true)
  }

  var commitsTogether: Bool { isTransactional }

  func readStats(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool {
    stats?.read(take) ?? true
  }

  func end(of partition: PartitionID) throws(BrokerError) -> Offset {
    try attempt("asking for the log's end") { () throws(KafkaError) in
      Offset(try bounds.watermarks(of: place(partition), timeout: KafkaLink.endTimeout).high)
    }
  }

  func knownEnd(of partition: PartitionID) -> Offset? {
    consumer.knownEnd(of: place(partition)).map { Offset($0) }
  }

  func close() {
    consumer.close()
  }

  private func place(_ id: PartitionID) -> TopicPartition {
    TopicPartition(topic, id.value)
  }

  private func attempt<Result>(
    _ action: String, _ body: () throws(KafkaError) -> Result
  ) throws(BrokerError) -> Result {
    do { return try body() } catch { throw BrokerError(error, action) }
  }
}

/// The names of a link's output topics; nil for those it does not write.
struct OutputNames: Sendable {
  var spans: String?
  var decisions: String?
  var sampled: String?
  var deadLetters: String
  var stats: String?
}

/// A link's output topics, opened.
private struct KafkaOutputs {
  private var topics: [OutputTopic: (name: String, topic: ProducerTopic)] = [:]

  init(_ names: OutputNames, _ producer: Producer) throws(KafkaError) {
    let pairs: [(OutputTopic, String?)] = [
      (.spans, names.spans), (.decisions, names.decisions), (.sampled, names.sampled),
      (.deadLetters, names.deadLetters), (.stats, names.stats),
    ]
    for case (let output, let name?) in pairs { topics[output] = (name, try producer.topic(name)) }
  }

  subscript(output: OutputTopic) -> (name: String, topic: ProducerTopic)? { topics[output] }

  /// Topics that have the partitions of the input.
  var mirrored: [ProducerTopic] { [.decisions, .sampled].compactMap { topics[$0]?.topic } }
}

extension BrokerError {
  /// Sorts librdkafka's error into the classes that a lane tells apart.
  init(_ error: KafkaError, _ action: String) {
    let remedy: Remedy
    if error.isFatal || error.isAuthorization || error.isUnknownTopic {
      remedy = .stop
    } else if error.requiresAbort {
      remedy = .abort
    } else {
      // A time-out, a broker that is away, or a member that is out: librdkafka or the next rebalance mends
      // it.
      remedy = .retry
    }
    self.init(remedy, "\(action): \(error)")
  }
}
