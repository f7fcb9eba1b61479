// The broker seam over Kafka: one consumer, one producer, plain or transactional.

package import Kafka
package import Sampling

/// One consumer and one producer.
///
/// With a transactional id, what is written and the commit points are one transaction: committed together or
/// not at all, and fenced by the group's generation (KIP-447). Without one, `commit` waits until everything
/// written before is acknowledged and only then commits the offsets: what may happen twice after a crash is
/// the writing, what can't happen is a commit of something that was not written.
///
/// No call waits for longer than a few seconds, or half of what an open transaction has left: a broker that
/// hangs keeps a lane from its next round for seconds, and never for so long that its transaction times out
/// meanwhile.
package final class KafkaLink<Clients: KafkaClients>: BrokerLink {
  private let clients: Clients
  private let consumer: Clients.Consumer
  private var producer: Clients.Producer
  private let producerProperties: [KafkaProperty]
  private var standing = Standing.registered
  /// Registrations that no broker has answered. Brokers may still carry each of them out, which fences the
  /// producer that has registered since: as often as that, it is no sign of another one with its id.
  private var unansweredRegistrations = 0
  /// When the last registration was answered. A minute later nothing is left of those before it.
  private var registeredAt: Duration
  private let outputNames: OutputNames
  private var outputs: KafkaOutputs<Clients.Producer>
  private let topic: String
  private let tail: DecisionTail<Clients>?
  private let stats: StatsReader<Clients.Consumer>?
  /// Sees the ends of logs as they are, uncommitted records included.
  private let bounds: Clients.Consumer
  private let transactionalID: String?
  /// Told whenever the link makes progress, and while it waits for a broker.
  private let beat: () -> Void
  /// Partitions that librdkafka reads for this member.
  private var reading: Set<PartitionID> = []
  private var transaction = Transaction.none
  /// What brokers are told: they end a transaction that is open for longer.
  private let transactionTimeout: Duration

  /// Where the producer stands between two transactions.
  private enum Transaction {
    /// None is open.
    case none
    /// One has been open since then.
    case open(since: Duration)
    /// Its commit has begun and its outcome is not known: it has to be asked for before anything else.
    case committing(since: Duration)
    /// Its abort has begun.
    case aborting(since: Duration)

    var since: Duration? {
      switch self {
      case .none: nil
      case .open(let since), .committing(let since), .aborting(let since): since
      }
    }
  }

  /// What can be relied on of the producer.
  private enum Standing {
    /// Its requests were answered.
    case registered
    /// One of its requests to add offsets, commit or abort was not. Brokers may carry it out at any time, and
    /// those before KIP-890 do so to whatever transaction of the same epoch is open then. So no other
    /// transaction begins with this producer: a new one, with a new epoch, takes its place.
    case doubtful
    /// It takes the place of a doubtful one, and its registration has not been answered yet.
    case registering
  }

  /// Whether the process is told to stop.
  private let isStopping: () -> Bool

  /// How long one request waits for its answer,
  private static var requestTimeoutUsual: Duration { .seconds(5) }
  /// and when the process is told to stop.
  private static var requestTimeoutLast: Duration { .seconds(1) }
  private var requestTimeout: Duration {
    isStopping() ? KafkaLink.requestTimeoutLast : KafkaLink.requestTimeoutUsual
  }
  /// How long a quiet partition's end is waited for: the lane's others wait as long.
  private static var endTimeout: Duration { .seconds(1) }
  /// A request is not made for the sake of an answer that would come after this.
  private static var leastPatience: Duration { .milliseconds(250) }
  /// How long it is between two attempts that fail at once.
  private static var attemptInterval: Duration { .milliseconds(100) }

  /// Joins `group` to read `topic`.
  ///
  /// - Parameters:
  ///   - transactionalID: the same for the same place in the fleet, if there is such a thing: a worker that
  ///     comes back under its id ends at once what it left open. Nil for at-least-once delivery.
  ///   - commitInterval: how often it is committed: a transaction may be open for longer.
  ///   - isStopping: whether the process is told to stop: then nothing is waited for very long.
  ///   - beat: called whenever the link makes progress, and while it waits for a broker.
  package init(
    topic: String, group: String, outputs names: OutputNames, transactionalID: String?,
    properties: [KafkaProperty], commitInterval: Duration = .seconds(1), clients: Clients,
    isStopping: @escaping () -> Bool,
    beat: @escaping () -> Void
  ) throws(KafkaError) {
    self.topic = topic
    self.clients = clients
    self.isStopping = isStopping
    self.beat = beat
    self.transactionalID = transactionalID
    let consumerProperties = properties.forConsumers
    var transactional: [KafkaProperty] = []
    if let transactionalID {
      transactional = .transactional(transactionalID, commitInterval: commitInterval)
    }
    producerProperties = transactional + properties.forProducers
    let timeout = producerProperties.last { $0.name == "transaction.timeout.ms" }.flatMap { Int64($0.value) }
    transactionTimeout = .milliseconds(timeout ?? 60_000)
    producer = try clients.makeProducer(properties: producerProperties)
    if transactionalID != nil {
      let producer = producer
      var unanswered = 0
      // Registering waits for what an earlier producer of the id left open.
      try KafkaLink.persistently(producer, clients, isStopping, beat) { (timeout) throws(KafkaError) in
        do throws(KafkaError) { try producer.initTransactions(timeout: timeout) } catch {
          unanswered += 1
          throw error
        }
      }
      unansweredRegistrations = unanswered
    }
    registeredAt = clients.uptime
    // Members of no group; librdkafka wants a name all the same.
    let outside =
      consumerProperties.filter { $0.name != "group.instance.id" }
      + [KafkaProperty("group.id", "\(group)-outside")]
    bounds = try clients.makeReader(
      topic: topic, properties: outside + [KafkaProperty("isolation.level", "read_uncommitted")])
    if let decisions = names.decisions {
      tail = try DecisionTail(topic: decisions, bounds: bounds, clients: clients, properties: outside)
    } else {
      tail = nil
    }
    outputNames = names
    outputs = try KafkaOutputs(names, producer)
    if let name = names.stats, let topic = outputs[.stats]?.topic {
      let producer = producer
      let count = try KafkaLink.persistently(producer, clients, isStopping, beat) {
        (timeout) throws(KafkaError) in try producer.partitionCount(of: topic, timeout: timeout)
      }
      let reader = try clients.makeReader(
        topic: name, properties: outside + [KafkaProperty("isolation.level", "read_committed")])
      stats = try StatsReader(reader, topic: name, partitions: count)
    } else {
      stats = nil
    }
    // Whoever takes a partition over must not see a commit that is still being made.
    let isolation =
      transactionalID == nil ? [] : [KafkaProperty("isolation.level", "read_committed")]
    consumer = try clients.makeMember(
      topic: topic, properties: consumerProperties + isolation + [KafkaProperty("group.id", group)])
    try consumer.subscribe()
  }

  /// Asks again while brokers do not answer, or do not know yet what others know: for a minute.
  private static func persistently<Result>(
    _ producer: Clients.Producer, _ clients: Clients, _ isStopping: () -> Bool, _ beat: () -> Void,
    _ body: (Duration) throws(KafkaError) -> Result
  ) throws(KafkaError) -> Result {
    let deadline = clients.uptime + .seconds(60)
    while true {
      beat()
      do {
        return try body(requestTimeoutLast)
      } catch {
        let isPassing = error.isRetriable || error.known?.remedy == .retry || error.isUnknownTopic
        guard isPassing, !isStopping(), clients.uptime < deadline else { throw error }
        producer.poll(timeout: attemptInterval)
      }
    }
  }

  // MARK: Reading

  package func poll(
    timeout: Interval, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) -> Int {
    producer.poll(timeout: .zero)
    // Whoever asks for bounds gets no records; without this nobody would take its events.
    _ = bounds.poll(timeout: .zero) { _, _, _ in }
    _ = bounds.takeEvents()
    tail?.rest()
    if case .none = transaction { try renewProducer() }
    if let left = transactionLeft, left <= .zero {
      throw BrokerError(.abort, "the transaction was open for longer than transaction.timeout.ms")
    }
    let wait = Duration.nanoseconds(timeout.nanoseconds)
    return try consumer.poll(timeout: wait) { (info, key, value) throws(BrokerError) in
      let place = RecordPlace(
        partition: PartitionID(info.partition), offset: Offset(info.offset),
        timestamp: info.timestampMilliseconds.map { Instant(milliseconds: $0) },
        isLogTime: info.isLogAppendTime)
      try take(place, key, value)
    }
  }

  package func lentHeaders(countMax: Int) -> (headers: [RecordHeaderField], count: Int) {
    let (headers, count) = consumer.lentHeaders(countMax: countMax)
    return (headers.map { RecordHeaderField($0.name, bytes: $0.value) }, count)
  }

  package func takeEvents() -> [GroupEvent] {
    let events = consumer.takeEvents().map { event -> GroupEvent in
      switch event {
      case .assigned(let partitions): .assigned(partitions.map { PartitionID($0.partition) })
      case .revoked(let partitions): .revoked(partitions.map { PartitionID($0.partition) })
      case .lost(let partitions): .lost(partitions.map { PartitionID($0.partition) })
      case .endOfPartition(let partition, let offset):
        .caughtUp(PartitionID(partition.partition), Offset(offset))
      case .error(let error): .disturbed(besideCalls(sort(error, "consumer"), error))
      }
    }
    return events
      + producer.takeErrors().map { .disturbed(besideCalls(sort(inTransaction: $0, "producer"), $0)) }
  }

  /// An error that a client reports beside its calls: unless it is fatal, the client goes on, and what cannot
  /// succeed fails where it is called.
  private func besideCalls(_ sorted: BrokerError, _ error: KafkaError) -> BrokerError {
    var sorted = sorted
    if sorted.remedy == .abort || error.known == nil { sorted.remedy = .retry }
    return sorted
  }

  package func committed(_ partitions: [PartitionID]) throws(BrokerError) -> [CommittedPoint?] {
    let patience = try patience(requestTimeout)
    let offsets = try attempt("reading committed offsets") { () throws(KafkaError) in
      try consumer.committed(partitions.map(place), timeout: patience)
    }
    return offsets.map { offset in
      offset.offset < 0 ? nil : CommittedPoint(offset: Offset(offset.offset), metadata: offset.metadata)
    }
  }

  package func resume(_ partitions: [(PartitionID, Offset?)]) throws(BrokerError) {
    let offsets = partitions.map { PartitionOffset(place($0), offset: $1?.value ?? PartitionOffset.stored) }
    try attempt("assigning partitions") { () throws(KafkaError) in try consumer.assign(offsets) }
    reading.formUnion(partitions.map(\.0))
  }

  package func release(_ partitions: [PartitionID]) throws(BrokerError) {
    tail?.forget(partitions)
    // librdkafka refuses to stop what it has not started.
    let stopping = partitions.filter { reading.contains($0) }
    try attempt("giving partitions up") { () throws(KafkaError) in
      try consumer.unassign(stopping.map(place))
    }
    reading.subtract(stopping)
  }

  package func hasOutputs(for partition: PartitionID) throws(BrokerError) -> Bool {
    let patience = try patience(requestTimeout)
    return try attempt("looking at the output topics") { () throws(KafkaError) in
      try outputs.mirrors(partition, asking: producer, at: clients.uptime, timeout: patience / 2)
    }
  }

  package func readDecisions(
    _ partition: PartitionID, since time: Instant, _ take: (PartitionID, RestoredVerdict) -> Void
  ) throws(BrokerError) -> PastDecisions {
    guard let tail else { return .read(isWhole: true) }
    let patience = try patience(requestTimeout)
    return try attempt("reading decisions of partition \(partition.value) back") { () throws(KafkaError) in
      try tail.read(partition, since: time, timeout: patience, take)
    }
  }

  package var commitsTogether: Bool { transactionalID != nil }

  package func readStats(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool {
    stats?.read(take) ?? true
  }

  package func ends(of partitions: [PartitionID]) throws(BrokerError) -> [Offset] {
    let patience = try patience(KafkaLink.endTimeout)
    return try attempt("asking for the log's end") { () throws(KafkaError) in
      let ends = partitions.map { PartitionOffset(place($0), offset: PartitionOffset.end) }
      return try bounds.lookUp(ends, timeout: patience).map { Offset($0.offset) }
    }
  }

  package func knownEnd(of partition: PartitionID) -> Offset? {
    consumer.knownEnd(of: place(partition)).map { Offset($0) }
  }

  // MARK: Writing

  package func write(
    _ topic: OutputTopic, partition: PartitionID?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeaderField]
  ) throws(BrokerError) {
    try beginTransaction()
    guard let output = outputs[topic] else {
      throw BrokerError(.stop, "this topology has no topic of \(topic)")
    }
    let queueTimeout = min(requestTimeout, max(transactionLeft ?? .seconds(60), .zero) / 2)
    do {
      try producer.produce(
        output.topic, partition: partition?.value, key: key, value: value,
        headers: headers.map { RecordHeader($0.name, $0.value) }, queueTimeout: queueTimeout,
        whileWaiting: beat)
    } catch {
      // The sampler has moved on: what could not be queued can only come from reading the input again.
      throw causeOr(error, "writing to topic '\(output.name)'")
    }
  }

  private func beginTransaction() throws(BrokerError) {
    guard transactionalID != nil, case .none = transaction else { return }
    do { try renewProducer() } catch {
      var error = error
      // What is about to be written can't wait for it.
      if error.remedy == .retry { error.remedy = .abort }
      throw error
    }
    do { try producer.beginTransaction() } catch {
      throw sort(inTransaction: error, "beginning a transaction")
    }
    transaction = .open(since: clients.uptime)
  }

  package func commit(_ points: [(PartitionID, CommitPoint)]) throws(BrokerError) {
    let offsets = points.map { id, point in
      PartitionOffset(place(id), offset: point.safeOffset.value, metadata: point.metadata)
    }
    guard transactionalID != nil else { return try commitPlainly(offsets) }
    if case .committing = transaction { return try finishCommit() }
    try beginTransaction()
    try untilDone("adding offsets to the transaction", else: .abort) { (timeout) throws(KafkaError) in
      try answered { () throws(KafkaError) in
        try producer.sendOffsets(offsets, of: consumer, timeout: timeout)
      }
    }
    transaction = .committing(since: transaction.since ?? clients.uptime)
    try finishCommit()
  }

  package var hasUncommitted: Bool {
    if case .none = transaction { false } else { true }
  }

  package var isCommitting: Bool {
    if case .committing = transaction { true } else { false }
  }

  /// Ends the transaction whose commit has begun. librdkafka takes no other call before it has.
  private func finishCommit() throws(BrokerError) {
    do {
      try untilDone("committing the transaction", else: .retry) { (timeout) throws(KafkaError) in
        try answered { () throws(KafkaError) in try producer.commitTransaction(timeout: timeout) }
      }
    } catch {
      // An answer that says no leaves the transaction open: it is aborted next.
      if error.remedy == .abort { transaction = .open(since: transaction.since ?? clients.uptime) }
      throw error
    }
    transaction = .none
  }

  private func commitPlainly(_ offsets: [PartitionOffset]) throws(BrokerError) {
    try attempt("waiting for acknowledgements") { () throws(KafkaError) in
      try producer.flush(timeout: requestTimeout)
    }
    if let error = deliveryFailure { throw error }
    try attempt("committing offsets") { () throws(KafkaError) in
      try consumer.commit(offsets, timeout: requestTimeout)
    }
  }

  /// A transaction fails where one of its records did, and later calls only say that it has failed: the
  /// record's own error is the cause.
  private func causeOr(_ error: KafkaError, _ action: String) -> BrokerError {
    producer.poll(timeout: .zero)
    if !error.isFatal, let cause = deliveryFailure { return cause }
    return sort(inTransaction: error, action)
  }

  /// Why a record was not delivered, if one was not.
  private var deliveryFailure: BrokerError? {
    let failures = producer.takeFailures()
    guard let failure = failures.first(where: { $0.error.remedy == .stop }) ?? failures.first else {
      return nil
    }
    let place = "topic '\(failure.topic)', partition \(failure.partition)"
    return sort(inTransaction: failure.error, "\(place): not delivered")
  }

  package func abort() throws(BrokerError) {
    switch transaction {
    case .none:
      if transactionalID == nil { producer.purgeQueue() }
      _ = producer.takeFailures()
      return
    case .committing:
      do { try finishCommit() } catch { guard error.remedy == .abort else { throw error } }
      if case .none = transaction { return }
    case .open, .aborting: break
    }
    let since = transaction.since ?? clients.uptime
    transaction = .aborting(since: since)
    do {
      // What a doubtful producer has left open is ended by the registration of the next one.
      if case .registered = standing { try abortTransaction(since: since) } else { try renewProducer() }
    } catch {
      // An abort is not given up for another: it is tried again.
      var error = error
      if error.remedy == .abort { error.remedy = .retry }
      throw error
    }
    transaction = .none
    _ = producer.takeFailures()
  }

  private func abortTransaction(since: Duration) throws(BrokerError) {
    try untilDone("aborting the transaction", else: .retry) { (timeout) throws(KafkaError) in
      do throws(KafkaError) {
        try answered { () throws(KafkaError) in try producer.abortTransaction(timeout: timeout) }
      } catch {
        // A commit that librdkafka has not ended is in the way: it is ended first, the next time.
        if error.known == .localConflict { transaction = .committing(since: since) }
        throw error
      }
    }
  }

  /// Notes that a request of the transaction's was not answered, if it was not.
  private func answered(_ body: () throws(KafkaError) -> Void) throws(KafkaError) {
    do { try body() } catch {
      if error.isUnanswered { standing = .doubtful }
      throw error
    }
  }

  /// Puts a new producer in the place of a doubtful one. Its registration ends what the old one left open,
  /// and brokers refuse what still reaches them of the old one: its epoch is over.
  ///
  /// librdkafka registers a client once, so it takes a new client.
  private func renewProducer() throws(BrokerError) {
    switch standing {
    case .registered: return
    case .doubtful:
      do throws(KafkaError) {
        let successor = try clients.makeProducer(properties: producerProperties)
        outputs = try KafkaOutputs(outputNames, successor)
        producer.retire()
        producer = successor
      } catch { throw sort(error, "making a new producer") }
      if !mayHaveFencedItself { unansweredRegistrations = 0 }
      standing = .registering
    case .registering: break
    }
    do {
      try untilDone("registering a new producer", else: .retry) { (timeout) throws(KafkaError) in
        do throws(KafkaError) { try producer.initTransactions(timeout: timeout) } catch {
          unansweredRegistrations += 1
          throw error
        }
      }
    } catch {
      var error = error
      if error.remedy == .abort { error.remedy = .retry }
      throw error
    }
    standing = .registered
    registeredAt = clients.uptime
  }

  /// Whether the fence that the producer meets may be a request of its own, carried out late.
  private var mayHaveFencedItself: Bool {
    unansweredRegistrations > 0 && clients.uptime < registeredAt + .seconds(60)
  }

  /// Calls `body` again while librdkafka says that it may succeed, for as long as the transaction has left,
  /// but once at least.
  ///
  /// - Parameter remedy: what remains when that was in vain.
  private func untilDone(
    _ action: String, else remedy: BrokerError.Remedy, _ body: (Duration) throws(KafkaError) -> Void
  ) throws(BrokerError) {
    let left = transactionLeft ?? .zero
    let patience = left > .zero ? min(requestTimeout, left) : KafkaLink.requestTimeoutLast
    let deadline = clients.uptime + patience
    while true {
      beat()
      let begin = clients.uptime
      do {
        return try body(max(deadline - begin, KafkaLink.leastPatience))
      } catch {
        if error.isFatal || error.requiresAbort || !error.isRetriable {
          throw causeOr(error, action)
        }
        // Whoever comes back at once does not turn round and round.
        if clients.uptime - begin < KafkaLink.attemptInterval {
          producer.poll(timeout: KafkaLink.attemptInterval)
        }
        guard clients.uptime < deadline else { throw BrokerError(remedy, "\(action): \(error)") }
      }
    }
  }

  package func close() {
    consumer.close()
  }

  package func abandon() {
    consumer.abandon()
    bounds.abandon()
    tail?.abandon()
    stats?.abandon()
    producer.abandon()
  }

  // MARK: Waiting

  /// What the open transaction has left before brokers end it; nil if none is open.
  private var transactionLeft: Duration? {
    transaction.since.map { $0 + transactionTimeout - clients.uptime }
  }

  /// How long a request may wait: an open transaction has to be committed in time.
  private func patience(_ wanted: Duration) throws(BrokerError) -> Duration {
    guard let left = transactionLeft else { return wanted }
    guard left / 2 >= KafkaLink.leastPatience else {
      throw BrokerError(.retry, "the open transaction has to end first")
    }
    return min(wanted, left / 2)
  }

  private func place(_ id: PartitionID) -> TopicPartition {
    TopicPartition(topic, id.value)
  }

  private func attempt<Result>(
    _ action: String, _ body: () throws(KafkaError) -> Result
  ) throws(BrokerError) -> Result {
    defer { beat() }
    do { return try body() } catch { throw sort(error, action) }
  }

  private func sort(_ error: KafkaError, _ action: String) -> BrokerError {
    error.isFenced ? fenced(error, action) : BrokerError(error, action)
  }

  /// Sorts an error of the producer.
  private func sort(inTransaction error: KafkaError, _ action: String) -> BrokerError {
    if error.isFenced, mayHaveFencedItself {
      unansweredRegistrations -= 1
      standing = .doubtful
    }
    // The end of a producer whose place another takes anyway ends nothing else.
    if case .doubtful = standing, error.isFatal || error.isFenced {
      return BrokerError(.abort, "\(action): a new producer takes over: \(error)")
    }
    return error.isFenced ? fenced(error, action) : BrokerError(inTransaction: error, action)
  }

  /// Brokers fence a producer for two reasons, with one error: another has its id, or they have ended a
  /// transaction of its own that was open for too long. How long it was open tells the two apart.
  private func fenced(_ error: KafkaError, _ action: String) -> BrokerError {
    let id = transactionalID ?? ""
    let cause: String
    if let since = transaction.since, clients.uptime - since >= transactionTimeout {
      cause =
        "its transaction was open for \((clients.uptime - since).components.seconds) s, and brokers end one "
        + "after \(transactionTimeout.components.seconds) s (transaction.timeout.ms): this process was "
        + "frozen or starved, or no broker answered for so long"
    } else {
      cause =
        "another producer has its transactional id '\(id)': give each worker a transactional.id or "
        + "group.instance.id of its own, or none"
    }
    return BrokerError(.stop, "\(action): fenced: \(cause): \(error)", isTransient: false)
  }
}
