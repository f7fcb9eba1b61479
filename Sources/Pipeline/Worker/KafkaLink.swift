// The broker seam over Kafka: one consumer, one producer, plain or transactional.

package import Kafka
package import Sampling

/// One consumer and one producer.
///
/// With a transactional id, output and commit points are one transaction: committed atomically, and fenced by
/// the group's generation (KIP-447). Without one, `commit` waits until all output is acknowledged and only
/// then commits the offsets: after a crash output may be written twice, but no offset is committed before its
/// output is written.
///
/// No call waits longer than a few seconds, or half the time that an open transaction has left: a hanging
/// broker delays a lane's next round by seconds, and never until its transaction times out.
package final class KafkaLink<Clients: KafkaClients>: BrokerLink {
  private let clients: Clients
  private let consumer: Clients.Consumer
  private var producer: Clients.Producer
  private let producerProperties: [KafkaProperty]
  private var standing = Standing.registered
  /// Registrations that no broker has answered. Brokers may still carry out each of them and so fence the
  /// producer registered since: that many fences need no other producer with its id.
  private var unansweredRegistrations = 0
  /// When the last registration was answered. A minute later no earlier one is still under way.
  private var registeredAt: Duration
  private let outputNames: OutputNames
  private var outputs: KafkaOutputs<Clients.Producer>
  private let topic: String
  private let tail: VerdictTail<Clients>?
  private let stats: WholeTopicReader<Clients.Consumer>?
  private let links: WholeTopicReader<Clients.Consumer>?
  /// Made when something is read again for the first time.
  private var followers: [RereadingUse: LogFollower<Clients>] = [:]
  /// The topic of logs, if logs follow.
  private let logsTopic: String?
  private let followerProperties: [KafkaProperty]
  /// Sees the true ends of logs, uncommitted records included.
  private let bounds: Clients.Consumer
  private let transactionalID: String?
  /// Called whenever the link makes progress, and while it waits for a broker.
  private let beat: () -> Void
  /// Partitions that librdkafka reads for this member.
  private var reading: Set<PartitionID> = []
  private var transaction = Transaction.none
  /// What brokers are told: they abort a transaction that is open for longer.
  private let transactionTimeout: Duration

  /// The state of the producer's transaction.
  private enum Transaction {
    /// None is open.
    case none
    /// One has been open since then.
    case open(since: Duration)
    /// Its commit has begun and the outcome is unknown: it has to be found out before anything else.
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

  /// Whether the producer can be relied on.
  private enum Standing {
    /// All its requests were answered.
    case registered
    /// A request to add offsets, commit or abort was not answered. Brokers may carry it out at any time, and
    /// those before KIP-890 apply it to whatever transaction of the same epoch is open then. So this producer
    /// begins no other transaction: a new one, with a new epoch, replaces it.
    case doubtful
    /// It replaces a doubtful one, and its registration has not been answered yet.
    case registering
  }

  /// Whether the process is stopping.
  private let isStopping: () -> Bool

  /// How long a request waits for its answer,
  private static var requestTimeoutUsual: Duration { .seconds(5) }
  /// and how long while the process is stopping.
  private static var requestTimeoutLast: Duration { .seconds(1) }
  private var requestTimeout: Duration {
    isStopping() ? KafkaLink.requestTimeoutLast : KafkaLink.requestTimeoutUsual
  }
  /// How long to wait for a quiet partition's end: the lane's other partitions wait too.
  private static var endTimeout: Duration { .seconds(1) }
  /// The least time in which a request can expect an answer.
  private static var leastPatience: Duration { .milliseconds(250) }
  /// The pause after an attempt that fails at once.
  private static var attemptInterval: Duration { .milliseconds(100) }

  /// Joins `group` to read `topic`.
  ///
  /// - Parameters:
  ///   - logs: the topic of logs, if logs follow.
  ///   - transactionalID: stable for a place in the fleet, if there are such places: a worker that returns
  ///     under its id ends at once what it left open. Nil for at-least-once delivery.
  ///   - commitInterval: the time between commits: transactions may be open for longer.
  ///   - isStopping: whether the process is stopping: then waits are short.
  ///   - beat: called whenever the link makes progress, and while it waits for a broker.
  package init(
    topic: String, group: String, outputs names: OutputNames, logs: String? = nil, transactionalID: String?,
    properties: [KafkaProperty], commitInterval: Duration = .seconds(1), clients: Clients,
    isStopping: @escaping () -> Bool,
    beat: @escaping () -> Void
  ) throws(KafkaError) {
    self.topic = topic
    logsTopic = logs
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
      // Registration waits for what an earlier producer of the id left open.
      try KafkaLink.persistently(producer, clients, isStopping, beat) { (timeout) throws(KafkaError) in
        do throws(KafkaError) { try producer.initTransactions(timeout: timeout) } catch {
          unanswered += 1
          throw error
        }
      }
      unansweredRegistrations = unanswered
    }
    registeredAt = clients.uptime
    // Not members of a group, but librdkafka requires a name.
    let outside =
      consumerProperties.filter { $0.name != "group.instance.id" }
      + [KafkaProperty("group.id", "\(group)-outside")]
    bounds = try clients.makeReader(
      topic: topic, properties: outside + [KafkaProperty("isolation.level", "read_uncommitted")])
    let verdictTopics = [names.verdicts, names.decisions].compactMap(\.self)
    if !verdictTopics.isEmpty {
      tail = try VerdictTail(topics: verdictTopics, bounds: bounds, clients: clients, properties: outside)
    } else {
      tail = nil
    }
    outputNames = names
    outputs = try KafkaOutputs(names, producer)
    let (producer, properties) = (
      producer, outside + [KafkaProperty("isolation.level", "read_committed")]
    )
    stats = try KafkaLink.wholeReader(outputs[.stats], producer, clients, properties, isStopping, beat)
    links = try KafkaLink.wholeReader(outputs[.links], producer, clients, properties, isStopping, beat)
    // A partition's next owner must not see a commit that is still in progress.
    let isolation =
      transactionalID == nil ? [] : [KafkaProperty("isolation.level", "read_committed")]
    followerProperties = outside + isolation
    consumer = try clients.makeMember(
      topic: topic, properties: consumerProperties + isolation + [KafkaProperty("group.id", group)])
    try consumer.subscribe()
  }

  /// A reader of a topic that every lane reads whole; nil if there is no such topic.
  private static func wholeReader(
    _ topic: (name: String, topic: Clients.Producer.Topic)?, _ producer: Clients.Producer, _ clients: Clients,
    _ properties: [KafkaProperty], _ isStopping: () -> Bool, _ beat: () -> Void
  ) throws(KafkaError) -> WholeTopicReader<Clients.Consumer>? {
    guard let topic else { return nil }
    let count = try persistently(producer, clients, isStopping, beat) { (timeout) throws(KafkaError) in
      try producer.partitionCount(of: topic.topic, timeout: timeout)
    }
    let reader = try clients.makeReader(topic: topic.name, properties: properties)
    return try WholeTopicReader(reader, topic: topic.name, partitions: count)
  }

  /// Repeats a request for up to a minute while brokers do not answer, or have not learnt yet what others
  /// know.
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
    // `bounds` reads no records; without this its events would pile up.
    _ = bounds.poll(timeout: .zero) { _, _, _ in }
    _ = bounds.takeEvents()
    tail?.rest()
    for follower in followers.values { follower.rest() }
    if case .none = transaction { try renewProducer() }
    if let left = transactionLeft, left <= .zero {
      throw BrokerError(.abort, "the transaction was open for longer than transaction.timeout.ms")
    }
    let wait = Duration.nanoseconds(timeout.nanoseconds)
    return try consumer.poll(timeout: wait) { (info, key, value) throws(BrokerError) in
      try take(RecordPlace(info), key, value)
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

  /// An error that a client reports outside its calls: unless it is fatal, the client carries on, and a call
  /// that can't succeed fails itself.
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
    for follower in followers.values { follower.forget(partitions) }
    // librdkafka refuses to stop what it has not started.
    let stopping = partitions.filter { reading.contains($0) }
    try attempt("releasing partitions") { () throws(KafkaError) in
      try consumer.unassign(stopping.map(place))
    }
    reading.subtract(stopping)
  }

  package func hasOutputs(for partition: PartitionID) throws(BrokerError) -> Bool {
    let patience = try patience(requestTimeout)
    return try attempt("checking the output topics") { () throws(KafkaError) in
      try outputs.mirrors(partition, asking: producer, at: clients.uptime, timeout: patience / 2)
    }
  }

  package func readDecisions(
    _ partition: PartitionID, since time: Instant, until end: Instant?,
    _ take: (PartitionID, RestoredVerdict) -> Void
  ) throws(BrokerError) -> PastDecisions {
    guard let tail else { return .read(isWhole: true) }
    let patience = try patience(requestTimeout)
    return try attempt("reading back verdicts of partition \(partition.value)") { () throws(KafkaError) in
      try tail.read(partition, since: time, until: end, timeout: patience, take)
    }
  }

  package var bytesLookedUp: UInt64 { tail?.bytesLookedUp ?? 0 }

  package var commitsTogether: Bool { transactionalID != nil }

  package func readStats(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool {
    stats?.read(take) ?? true
  }

  package func inputPartitions() throws(BrokerError) -> Int {
    let patience = try patience(requestTimeout)
    return try attempt("counting the input's partitions") { () throws(KafkaError) in
      try producer.partitionCount(of: try producer.topic(topic), timeout: patience)
    }
  }

  package func readLinks(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool {
    links?.read(take) ?? true
  }

  package func seekAgain(
    _ partitions: [(PartitionID, Offset)], for use: RereadingUse, lost: inout [(PartitionID, Offset)]
  ) throws(BrokerError) {
    let topic: String? = use.isOfLogs ? logsTopic : self.topic
    guard let topic, !partitions.isEmpty || followers[use] != nil else { return }
    // All that have to be sought stop before anything else: then none is read at a wrong place if a broker
    // doesn't answer, or can't be asked now.
    let wanted = Dictionary(partitions, uniquingKeysWith: { $1 })
    if let follower = followers[use] {
      follower.forget(
        follower.partitions.filter { id in wanted[id].map { !follower.reaches($0, in: id) } ?? true })
    }
    let patience = try patience(KafkaLink.endTimeout)
    try attempt(use.action) { () throws(KafkaError) in
      let follower = try getFollower(use, topic)
      for (id, offset) in partitions {
        guard let first = try follower.seek(id, to: offset, timeout: patience) else { continue }
        if first > offset { lost.append((id, first)) }
      }
    }
  }

  private func getFollower(
    _ use: RereadingUse, _ topic: String
  ) throws(KafkaError) -> LogFollower<Clients> {
    if let follower = followers[use] { return follower }
    let follower = try LogFollower(
      topic: topic, bounds: bounds, clients: clients, properties: followerProperties,
      prefetchedKilobytes: use.prefetchedKilobytes)
    followers[use] = follower
    return follower
  }

  package func readAgain(
    for use: RereadingUse, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    guard let follower = followers[use] else { return }
    let deadline = clients.uptime + .milliseconds(50)
    while try follower.read(take) > 0, clients.uptime < deadline {}
  }

  package func findLogs(_ partitions: [(PartitionID, Instant)]) throws(BrokerError) -> [Offset?] {
    guard let logsTopic else { return partitions.map { _ in nil } }
    let patience = try patience(KafkaLink.endTimeout)
    return try attempt("looking up logs") { () throws(KafkaError) in
      let times = partitions.map { id, time in
        PartitionOffset(TopicPartition(logsTopic, id.value), offset: max(0, time.nanoseconds / 1_000_000))
      }
      return try bounds.lookUp(times, timeout: patience).map { $0.offset >= 0 ? Offset($0.offset) : nil }
    }
  }

  package func logEnds(of partitions: [PartitionID]) throws(BrokerError) -> [(end: Offset, isRead: Bool)] {
    guard let logsTopic else { return partitions.map { _ in (Offset(0), false) } }
    let patience = try patience(KafkaLink.endTimeout)
    return try attempt("looking up the end of the logs") { () throws(KafkaError) in
      let ends = partitions.map {
        PartitionOffset(TopicPartition(logsTopic, $0.value), offset: PartitionOffset.end)
      }
      let found = try bounds.lookUp(ends, timeout: patience)
      return zip(partitions, found).map { partition, end in
        let end = Offset(end.offset)
        return (end, followers[.logs]?.hasRead(partition, to: end) ?? false)
      }
    }
  }

  package func ends(of partitions: [PartitionID]) throws(BrokerError) -> [Offset] {
    let patience = try patience(KafkaLink.endTimeout)
    return try attempt("looking up the log's end") { () throws(KafkaError) in
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
      throw BrokerError(.stop, "this topology has no topic for \(topic)")
    }
    let queueTimeout = min(requestTimeout, max(transactionLeft ?? .seconds(60), .zero) / 2)
    do {
      try producer.produce(
        output.topic, partition: partition?.value, key: key, value: value,
        headers: headers.map { RecordHeader($0.name, $0.value) }, queueTimeout: queueTimeout,
        whileWaiting: beat)
    } catch {
      // The sampler has moved on: only replaying the input can produce this output again.
      throw causeOr(error, "writing to topic '\(output.name)'")
    }
  }

  private func beginTransaction() throws(BrokerError) {
    guard transactionalID != nil, case .none = transaction else { return }
    do { try renewProducer() } catch {
      var error = error
      // The output about to be written can't wait for it.
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
      PartitionOffset(place(id), offset: point.committedOffset.value, metadata: point.metadata)
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

  /// Finishes the commit that has begun. librdkafka accepts no other call before that.
  private func finishCommit() throws(BrokerError) {
    do {
      try untilDone("committing the transaction", else: .retry) { (timeout) throws(KafkaError) in
        try answered { () throws(KafkaError) in try producer.commitTransaction(timeout: timeout) }
      }
    } catch {
      // A refusal leaves the transaction open: it is aborted next.
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

  /// A transaction fails if one of its records does, and later calls report only that: the record's own error
  /// is the cause.
  private func causeOr(_ error: KafkaError, _ action: String) -> BrokerError {
    producer.poll(timeout: .zero)
    if !error.isFatal, let cause = deliveryFailure { return cause }
    return sort(inTransaction: error, action)
  }

  /// Why a record was not delivered; nil if all were.
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
      // The registration of a doubtful producer's successor ends what it left open.
      if case .registered = standing { try abortTransaction(since: since) } else { try renewProducer() }
    } catch {
      // The remedy for a failed abort is not another abort, but a retry.
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
        // A commit that librdkafka has not finished is in the way: the next attempt finishes it first.
        if error.known == .localConflict { transaction = .committing(since: since) }
        throw error
      }
    }
  }

  /// Notes if a request of the transaction was not answered.
  private func answered(_ body: () throws(KafkaError) -> Void) throws(KafkaError) {
    do { try body() } catch {
      if error.isUnanswered { standing = .doubtful }
      throw error
    }
  }

  /// Replaces a doubtful producer. The new one's registration ends what the old one left open, and brokers
  /// refuse the old one's requests that still reach them: its epoch is over.
  ///
  /// librdkafka registers a client only once, so this needs a new client.
  private func renewProducer() throws(BrokerError) {
    switch standing {
    case .registered: return
    case .doubtful:
      do throws(KafkaError) {
        let successor = try clients.makeProducer(properties: producerProperties)
        outputs = try KafkaOutputs(outputNames, successor)
        producer.retire()
        producer = successor
      } catch { throw sort(error, "creating a new producer") }
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

  /// Repeats `body` while librdkafka reports that it may succeed, for the time that the transaction has left,
  /// but calls it at least once.
  ///
  /// - Parameter remedy: the remedy if that fails.
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
        // Calls that fail at once must not spin.
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
    for follower in followers.values { follower.abandon() }
    stats?.abandon()
    links?.abandon()
    producer.abandon()
  }

  // MARK: Waiting

  /// The time left before brokers abort the open transaction; nil if none is open.
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

  /// Classifies an error of the producer.
  private func sort(inTransaction error: KafkaError, _ action: String) -> BrokerError {
    if error.isFenced, mayHaveFencedItself {
      unansweredRegistrations -= 1
      standing = .doubtful
    }
    // The end of a producer that is being replaced anyway ends nothing else.
    if case .doubtful = standing, error.isFatal || error.isFenced {
      return BrokerError(.abort, "\(action): a new producer takes over: \(error)")
    }
    return error.isFenced ? fenced(error, action) : BrokerError(inTransaction: error, action)
  }

  /// Brokers fence a producer for two reasons, with one error: another has its id, or they have aborted its
  /// transaction, which was open for too long. How long it was open distinguishes the two.
  private func fenced(_ error: KafkaError, _ action: String) -> BrokerError {
    let id = transactionalID ?? ""
    let cause: String
    if let since = transaction.since, clients.uptime - since >= transactionTimeout {
      cause =
        "its transaction was open for \((clients.uptime - since).components.seconds) s, and brokers abort "
        + "one after \(transactionTimeout.components.seconds) s (transaction.timeout.ms): this process was "
        + "frozen or starved, or no broker answered for that long"
    } else {
      cause =
        "another producer has its transactional id '\(id)': give each worker its own transactional.id or "
        + "group.instance.id, or none"
    }
    return BrokerError(.stop, "\(action): fenced: \(cause): \(error)", isTransient: false)
  }
}
