// A producer of the simulated cluster that behaves as librdkafka's: records wait in a queue while no broker
// answers, transactions begin, resume, abort and are fenced.

import Kafka
import OTLP
import Pipeline
import Sampling

/// Writes to logs of the simulated cluster.
final class VirtualProducer: ProducerClient {
  private let process: VirtualProcess
  private var cluster: SimulatedCluster { process.cluster }
  private let isTransactional: Bool
  private let transactionTimeout: Interval
  private let recordBytesMax: Int
  private var epoch = 0
  private var state = State.idle
  /// The transaction at the brokers; nil before anything is written.
  private var transaction: Int?
  private var queue: [(id: LogID, key: [UInt8]?, value: [UInt8]?)] = []
  private var failures: [DeliveryFailure] = []
  /// Why it is no longer usable.
  private var fatal: KafkaError?
  /// Whether the transaction can no longer be committed.
  private var mustAbort = false

  private enum State {
    case idle
    case open
    /// The commit has begun; `isDone` if brokers have executed it.
    case committing(isDone: Bool)
  }

  private static let queueMax = 2000

  init(_ process: VirtualProcess, properties: [KafkaProperty]) {
    self.process = process
    func number(_ name: String) -> Int? { properties.last { $0.name == name }.flatMap { Int($0.value) } }
    isTransactional = properties.contains { $0.name == "transactional.id" }
    transactionTimeout = .milliseconds(Int64(number("transaction.timeout.ms") ?? 60_000))
    recordBytesMax = number("message.max.bytes") ?? 1_000_000
  }

  func topic(_ name: String) throws(KafkaError) -> String { name }

  func partitionCount(of topic: String, timeout: Duration) throws(KafkaError) -> Int {
    try process.request(timeout, [.localTimedOut, .localTransport, .leaderNotAvailable])
    return Int(cluster.partitionCount(of: topic))
  }

  // MARK: Records

  func produce(
    _ topic: String, partition: Int32?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeader], queueTimeout: Duration, whileWaiting: () -> Void
  ) throws(KafkaError) {
    try process.mayCrash(leaving: deliverSome)
    if let fatal { throw fatal }
    if isTransactional { guard case .open = state, !mustAbort else { throw KafkaError(.localState) } }
    let size = (key?.byteCount ?? 0) + (value?.byteCount ?? 0)
    guard size <= recordBytesMax else { throw KafkaError(.msgSizeTooLarge) }
    let id = LogID(topic: topic, partition: PartitionID(partition ?? 0))
    if queue.count >= VirtualProducer.queueMax, !process.awaitBrokers(queueTimeout) {
      throw KafkaError(.localQueueFull)
    }
    queue.append((id, key?.copied(), value?.copied()))
    if isTransactional { deliver(queue.count) }
  }

  func poll(timeout: Duration) {
    if process.isDead { return }
    if isTransactional { deliver(queue.count) }
    if timeout > .zero { process.wait(timeout) }
  }

  /// Delivers records to their logs, if a broker answers.
  private func deliver(_ count: Int) {
    guard !cluster.isSilent, fatal == nil else { return }
    for record in queue.prefix(count) {
      let size = (record.key?.count ?? 0) + (record.value?.count ?? 0)
      if let limit = cluster.recordBytesMax[record.id.topic], size > limit {
        fail(record.id, KafkaError(.msgSizeTooLarge))
        continue
      }
      let isEarly = process.mutant == .forwardEarly && record.id.topic == SimulatedTopic.sampled
      guard isTransactional, !isEarly else {
        _ = cluster.write(record.id, record.key, record.value, in: nil)
        continue
      }
      guard let number = openTransaction(), cluster.write(record.id, record.key, record.value, in: number)
      else {
        refuse()
        break
      }
    }
    queue.removeFirst(min(count, queue.count))
  }

  private func fail(_ id: LogID, _ error: KafkaError) {
    failures.append(DeliveryFailure(topic: id.topic, partition: id.partition.value, error: error))
    if isTransactional { mustAbort = true }
  }

  /// Some of what was in flight when the process died has arrived.
  private func deliverSome() { deliver(process.faults.plan.random.number(in: 0...queue.count)) }

  private func openTransaction() -> Int? {
    if let transaction { return transaction }
    transaction = cluster.begin(process.name, epoch: epoch, timeout: transactionTimeout)
    return transaction
  }

  /// The transaction is no longer open. Brokers have ended it, and with it the producer's epoch; or a request
  /// of the same epoch meant for another transaction has ended it, for which there is no excuse.
  private func refuse() {
    guard !cluster.isCurrent(process.name, epoch: epoch) else {
      fatal = KafkaError(.invalidTxnState, isFatal: true)
      return
    }
    fatal = KafkaError(.invalidProducerEpoch, isFatal: true)
    // A process whose own waiting caused it has no good reason to end.
    let begin = transaction.map { cluster.transactions[$0].startedAt } ?? .distantPast
    if process.excusedAt >= begin { process.isDoomed = true }
  }

  func flush(timeout: Duration) throws(KafkaError) {
    try process.mayCrash(leaving: deliverSome)
    guard process.awaitBrokers(timeout) else { throw KafkaError(.localTimedOut) }
    deliver(queue.count)
  }

  func purgeQueue() { queue = [] }

  func takeFailures() -> [DeliveryFailure] {
    defer { failures = [] }
    return failures
  }

  func takeErrors() -> [KafkaError] { [] }

  // MARK: Transactions

  private static let usualFailures: [KafkaErrorCode] = [.localTimedOut]

  func initTransactions(timeout: Duration) throws(KafkaError) {
    let id = ObjectIdentifier(process)
    do { try transactionRequest(timeout) } catch {
      arriveLate(after: error) { [process] in process.cluster.registerLate(process.name, of: id) }
      throw error
    }
    if process.mutant == .keepEpoch, let earlier = process.epoch,
      cluster.isCurrent(process.name, epoch: earlier)
    {
      epoch = earlier
      cluster.finishLate(process.name, epoch: epoch, .aborted)
    } else {
      epoch = cluster.register(process.name, of: id)
    }
    process.epoch = epoch
  }

  func beginTransaction() throws(KafkaError) {
    try process.mayCrash()
    if let fatal { throw fatal }
    guard case .idle = state else { throw KafkaError(.localState, requiresAbort: true) }
    state = .open
    mustAbort = false
  }

  func sendOffsets(
    _ offsets: [PartitionOffset], of consumer: VirtualConsumer, timeout: Duration
  ) throws(KafkaError) {
    try ready()
    try transactionRequest(timeout)
    deliver(queue.count)
    try ready()
    guard let number = openTransaction(), cluster.transactions[number].state == .open else {
      refuse()
      return try ready()
    }
    var points: [PartitionID: CommittedPoint] = [:]
    for offset in offsets {
      points[PartitionID(offset.topicPartition.partition)] = CommittedPoint(
        offset: Offset(offset.offset), metadata: offset.metadata)
    }
    guard let member = process.member, cluster.add(points, to: number, by: member) else {
      mustAbort = true
      throw KafkaError(.illegalGeneration, requiresAbort: true)
    }
    try process.mayCrash { counts in counts.tornCommits += 1 }
  }

  func commitTransaction(timeout: Duration) throws(KafkaError) {
    if case .committing(isDone: true) = state {
      try transactionRequest(timeout)
      return end()
    }
    try ready()
    if case .open = state {} else if case .committing = state {} else { throw KafkaError(.localState) }
    state = .committing(isDone: false)
    do { try transactionRequest(timeout) } catch {
      // Only a retriable call is still in progress.
      if !error.isRetriable { state = .open }
      // What is queued is delivered before the transaction ends.
      if queue.isEmpty, !mustAbort { endLate(.committed, after: error) }
      throw error
    }
    deliver(queue.count)
    if mustAbort || process.faults.plan.happens(process.faults.plan.commitFailure) {
      process.faults.plan.counts.commitFailures += 1
      state = .open
      mustAbort = true
      throw KafkaError(process.failure([.localFail, .outOfOrderSequenceNumber]), requiresAbort: true)
    }
    guard let number = transaction else { return end() }
    guard cluster.finish(number, .committed) else {
      refuse()
      return try ready()
    }
    state = .committing(isDone: true)
    try process.mayCrash { counts in counts.unknownCommits += 1 }
    if process.faults.plan.happens(process.faults.plan.commitFailure / 4) {
      process.faults.plan.counts.unknownCommits += 1
      process.wait(timeout)
      throw KafkaError(.localTimedOut, isRetriable: true)
    }
    end()
  }

  func abortTransaction(timeout: Duration) throws(KafkaError) {
    if case .committing = state { throw KafkaError(.localConflict, isRetriable: true) }
    try process.mayCrash()
    if let fatal { throw fatal }
    queue = []
    do { try transactionRequest(timeout) } catch {
      endLate(.aborted, after: error)
      throw error
    }
    if let transaction {
      let isDone = cluster.finish(transaction, .aborted)
      guard isDone, cluster.isCurrent(process.name, epoch: epoch) else {
        refuse()
        return try ready()
      }
    }
    end()
  }

  /// The request to end the transaction got no answer, and may still arrive.
  private func endLate(_ state: SimulatedTransaction.State, after error: KafkaError) {
    guard transaction != nil else { return }
    arriveLate(after: error) { [process, epoch] in
      process.cluster.finishLate(process.name, epoch: epoch, state)
    }
  }

  /// A request that timed out may have been received all the same.
  private func arriveLate(after error: KafkaError, _ carryOut: @escaping () -> Void) {
    guard error.isRetriable, let delay = process.faults.plan.lateness() else { return }
    cluster.receiveLate(after: delay, carryOut)
  }

  private func end() {
    state = .idle
    transaction = nil
    mustAbort = false
  }

  private func ready() throws(KafkaError) {
    try process.mayCrash(leaving: deliverSome)
    if let fatal { throw fatal }
    if mustAbort { throw KafkaError(.localState, requiresAbort: true) }
  }

  /// A request of a transaction: some failures are retriable, and librdkafka marks them so.
  private func transactionRequest(_ timeout: Duration) throws(KafkaError) {
    do { try process.request(timeout, VirtualProducer.usualFailures) } catch {
      guard let code = error.known, [.localTimedOut, process.faults.plan.requestCode].contains(code) else {
        throw error
      }
      // Brokers that delay the end of a transaction may end it themselves meanwhile.
      process.excusedAt = cluster.now
      throw KafkaError(code, isRetriable: true)
    }
  }

  func retire() {}

  func abandon() {}
}
