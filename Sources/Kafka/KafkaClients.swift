// The seam at librdkafka's surface: the calls that the pipeline makes of its clients. Below it is librdkafka,
// or a virtual Kafka in a simulation; above it everything is production code.
//
// Every call that waits takes a deadline, and the deadline holds: whoever implements a call returns by it.

/// A consumer: a member of a group, or one that reads partitions that its owner chooses.
public protocol ConsumerClient: AnyObject {
  /// Joins the group.
  func subscribe() throws(KafkaError)

  /// Calls `body` with each record that has come, waiting for the first no longer than `timeout`. Returns how
  /// many there were. Counts as a poll for `max.poll.interval.ms`.
  func poll<Failure: Error>(
    timeout: Duration, _ body: (RecordInfo, RawSpan?, RawSpan?) throws(Failure) -> Void
  ) throws(Failure) -> Int

  /// The headers of the record that `poll` is handing out, `countMax` of them at the most, and how many there
  /// are. None outside the call of `poll`'s body.
  func lentHeaders(countMax: Int) -> (headers: [RecordHeader], count: Int)

  /// What has happened since the last call, in order.
  func takeEvents() -> [ConsumerEvent]

  /// Starts to read partitions; answers an assignment if there is one.
  func assign(_ offsets: [PartitionOffset]) throws(KafkaError)

  /// Stops to read partitions; answers a revocation if there is one.
  func unassign(_ partitions: [TopicPartition]) throws(KafkaError)

  /// Reads more partitions, for a consumer that is in no group.
  func assignAlone(more offsets: [PartitionOffset]) throws(KafkaError)

  /// Stops to read partitions that were assigned with `assignAlone(more:)`.
  func unassignAlone(_ partitions: [TopicPartition]) throws(KafkaError)

  /// Looks offsets up: the element's `offset` is a timestamp in milliseconds since 1970 (the answer is the
  /// first record with that timestamp or a later one, or below zero if there is none),
  /// `PartitionOffset.beginning` or `PartitionOffset.end`. In the order asked for, in one request to each
  /// leader.
  func lookUp(_ offsets: [PartitionOffset], timeout: Duration) throws(KafkaError) -> [PartitionOffset]

  /// The offset after a partition's last record, as the last answer to a fetch had it. Asks nobody.
  func knownEnd(of partition: TopicPartition) -> Int64?

  /// The committed offsets, in the order asked for; `PartitionOffset.invalid` where there is none.
  func committed(_ partitions: [TopicPartition], timeout: Duration) throws(KafkaError) -> [PartitionOffset]

  /// Commits offsets with their metadata and waits for the answer.
  func commit(_ offsets: [PartitionOffset], timeout: Duration) throws(KafkaError)

  /// Leaves the group. Nothing else may be called afterwards.
  func close()

  /// Lets go of the client as it is: nothing is told to any broker, and nothing is waited for.
  func abandon()
}

/// A producer, plain or transactional.
public protocol ProducerClient: AnyObject {
  /// The consumers whose offsets it can commit.
  associatedtype Consumer: ConsumerClient
  /// A topic that it writes to.
  associatedtype Topic

  /// Opens a topic for writing.
  func topic(_ name: String) throws(KafkaError) -> Topic

  /// How many partitions a topic has, as the brokers say now.
  func partitionCount(of topic: Topic, timeout: Duration) throws(KafkaError) -> Int

  /// Queues a record; the bytes are copied. While the queue is full it waits for room, for `queueTimeout` at
  /// most, and calls `whileWaiting` again and again.
  func produce(
    _ topic: Topic, partition: Int32?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeader], queueTimeout: Duration, whileWaiting: () -> Void
  ) throws(KafkaError)

  /// Serves delivery reports, waiting for the first no longer than `timeout`.
  func poll(timeout: Duration)

  /// Waits until everything queued is delivered or has failed.
  func flush(timeout: Duration) throws(KafkaError)

  /// Gives up what is queued and not sent yet.
  func purgeQueue()

  /// What has failed since the last call; of very many the first thousand.
  func takeFailures() -> [DeliveryFailure]

  /// Errors of the client as a whole since the last call.
  func takeErrors() -> [KafkaError]

  /// Registers the transactional id; ends what an earlier producer of the same id left open. After a time-out
  /// the same call goes on with it; once it has succeeded it is not made again.
  func initTransactions(timeout: Duration) throws(KafkaError)

  /// Begins a transaction.
  func beginTransaction() throws(KafkaError)

  /// Makes offsets part of the transaction, under the group's generation as `consumer` knows it.
  func sendOffsets(_ offsets: [PartitionOffset], of consumer: Consumer, timeout: Duration) throws(KafkaError)

  /// Commits the transaction, after delivering what it holds.
  func commitTransaction(timeout: Duration) throws(KafkaError)

  /// Aborts the transaction.
  func abortTransaction(timeout: Duration) throws(KafkaError)

  /// Leaves its place to another producer of the same transactional id: what is queued is given up, nobody
  /// waits for what is on its way, and nothing else may be called afterwards.
  func retire()

  /// Lets go of the client as it is: nothing is told to any broker, and nothing is waited for.
  func abandon()
}

/// Makes the clients of one member, and knows what time it is for them.
public protocol KafkaClients {
  /// What it makes.
  associatedtype Consumer: ConsumerClient
  /// What it makes.
  associatedtype Producer: ProducerClient where Producer.Consumer == Consumer

  /// Makes the consumer that is the member.
  func makeMember(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> Consumer

  /// Makes a consumer beside it, which is in no group.
  func makeReader(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> Consumer

  /// Makes the producer.
  func makeProducer(properties: [KafkaProperty]) throws(KafkaError) -> Producer

  /// Time that has passed since some start, by a clock that nobody sets.
  var uptime: Duration { get }
}

/// The clients of librdkafka.
public struct LibrdkafkaClients: KafkaClients {
  private let log: KafkaLog
  private let consumerStatistics: KafkaStatistics?
  private let producerStatistics: KafkaStatistics?
  private let start = ContinuousClock.now

  /// - Parameter log: takes librdkafka's lines, on its own threads.
  public init(
    consumerStatistics: KafkaStatistics? = nil, producerStatistics: KafkaStatistics? = nil,
    log: @escaping KafkaLog
  ) {
    self.consumerStatistics = consumerStatistics
    self.producerStatistics = producerStatistics
    self.log = log
  }

  /// Few records a batch, so that what librdkafka notes of each is still in the cache when its turn comes.
  public func makeMember(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> Consumer {
    try Consumer(
      topic: topic, properties: properties, batchCapacity: 256, log: log, statistics: consumerStatistics)
  }

  /// Makes a consumer that is in no group.
  public func makeReader(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> Consumer {
    try Consumer(topic: topic, properties: properties, batchCapacity: 4096, log: log)
  }

  /// Makes the producer.
  public func makeProducer(properties: [KafkaProperty]) throws(KafkaError) -> Producer {
    try Producer(properties: properties, log: log, statistics: producerStatistics)
  }

  /// Since these clients were described.
  public var uptime: Duration { ContinuousClock.now - start }
}
