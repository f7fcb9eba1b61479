// The seam above librdkafka: the calls that the pipeline makes to its clients. Below it is librdkafka, or a
// virtual Kafka in a simulation; everything above it is production code.
//
// Every call that waits takes a deadline, and every implementation returns by then.

/// A consumer: a member of a group, or a reader of partitions that its owner chooses.
public protocol ConsumerClient: AnyObject {
  /// Joins the group.
  func subscribe() throws(KafkaError)

  /// Calls `body` with each record that has arrived, waiting for the first for at most `timeout`. Returns how
  /// many there were. Counts as a poll for `max.poll.interval.ms`.
  func poll<Failure: Error>(
    timeout: Duration, _ body: (RecordInfo, RawSpan?, RawSpan?) throws(Failure) -> Void
  ) throws(Failure) -> Int

  /// The headers of the record that `poll` is delivering, at most `countMax` of them, and the total count.
  /// None outside the body of `poll`.
  func lentHeaders(countMax: Int) -> (headers: [RecordHeader], count: Int)

  /// The events since the last call, in order.
  func takeEvents() -> [ConsumerEvent]

  /// Starts reading partitions; answers an assignment if there is one.
  func assign(_ offsets: [PartitionOffset]) throws(KafkaError)

  /// Stops reading partitions; answers a revocation if there is one.
  func unassign(_ partitions: [TopicPartition]) throws(KafkaError)

  /// Reads more partitions, for a consumer outside any group.
  func assignAlone(more offsets: [PartitionOffset]) throws(KafkaError)

  /// Stops reading partitions that were assigned with `assignAlone(more:)`.
  func unassignAlone(_ partitions: [TopicPartition]) throws(KafkaError)

  /// Looks up offsets: each element's `offset` is a timestamp in milliseconds since 1970 (the answer is the
  /// first record with that timestamp or a later one, or below zero if there is none),
  /// `PartitionOffset.beginning` or `PartitionOffset.end`. In the order of `offsets`, with one request to
  /// each leader.
  func lookUp(_ offsets: [PartitionOffset], timeout: Duration) throws(KafkaError) -> [PartitionOffset]

  /// The offset after a partition's last record, from the last fetch response. Sends no request.
  func knownEnd(of partition: TopicPartition) -> Int64?

  /// The committed offsets, in the order of `partitions`; `PartitionOffset.invalid` where there is none.
  func committed(_ partitions: [TopicPartition], timeout: Duration) throws(KafkaError) -> [PartitionOffset]

  /// Commits offsets with their metadata and waits for the answer.
  func commit(_ offsets: [PartitionOffset], timeout: Duration) throws(KafkaError)

  /// Leaves the group. No other call may follow.
  func close()

  /// Abandons the client as it is, without notifying any broker or waiting.
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

  /// How many partitions a topic has, according to the brokers now.
  func partitionCount(of topic: Topic, timeout: Duration) throws(KafkaError) -> Int

  /// Queues a record; the bytes are copied. While the queue is full it waits for room, for at most
  /// `queueTimeout`, and calls `whileWaiting` repeatedly.
  func produce(
    _ topic: Topic, partition: Int32?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeader], queueTimeout: Duration, whileWaiting: () -> Void
  ) throws(KafkaError)

  /// Serves delivery reports, waiting for the first for at most `timeout`.
  func poll(timeout: Duration)

  /// Waits until everything queued is delivered or has failed.
  func flush(timeout: Duration) throws(KafkaError)

  /// Discards queued records that are not sent yet.
  func purgeQueue()

  /// Failures since the last call, at most the first thousand.
  func takeFailures() -> [DeliveryFailure]

  /// Errors of the client as a whole since the last call.
  func takeErrors() -> [KafkaError]

  /// Registers the transactional id, and ends what an earlier producer with the same id left open. After a
  /// timeout, calling it again resumes it; after a success it must not be called again.
  func initTransactions(timeout: Duration) throws(KafkaError)

  /// Begins a transaction.
  func beginTransaction() throws(KafkaError)

  /// Makes offsets part of the transaction, under the group's generation as `consumer` knows it.
  func sendOffsets(_ offsets: [PartitionOffset], of consumer: Consumer, timeout: Duration) throws(KafkaError)

  /// Commits the transaction, after delivering what it holds.
  func commitTransaction(timeout: Duration) throws(KafkaError)

  /// Aborts the transaction.
  func abortTransaction(timeout: Duration) throws(KafkaError)

  /// Makes way for another producer with the same transactional id: queued records are discarded, records in
  /// flight are not waited for, and no other call may follow.
  func retire()

  /// Abandons the client as it is, without notifying any broker or waiting.
  func abandon()
}

/// Makes the clients of one member, and is their clock.
public protocol KafkaClients {
  /// What it makes.
  associatedtype Consumer: ConsumerClient
  /// What it makes.
  associatedtype Producer: ProducerClient where Producer.Consumer == Consumer

  /// Makes the consumer that is the member.
  func makeMember(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> Consumer

  /// Makes an additional consumer outside any group.
  func makeReader(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> Consumer

  /// Makes the producer.
  func makeProducer(properties: [KafkaProperty]) throws(KafkaError) -> Producer

  /// The time since some start, by a monotonic clock.
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

  /// Few records per batch, so that librdkafka's data for each is still in the cache when its turn comes. But
  /// live traffic arrives in batches that are smaller still: brokers and the member both wait a little for
  /// more. A backlog waits for neither.
  public func makeMember(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> Consumer {
    try Consumer(
      topic: topic, properties: LibrdkafkaClients.memberDefaults + properties, batchCapacity: 256,
      fillTime: .milliseconds(5), log: log, statistics: consumerStatistics)
  }

  /// What a member's properties can override. Brokers answer once they have this many bytes, at the latest
  /// after this time, instead of with each producer's batch as it arrives. A member whose queue is full looks
  /// again soon: a lane can empty it in less than librdkafka's second. Versions before 2.2 can't be told.
  private static let memberDefaults = [
    KafkaProperty("fetch.min.bytes", "262144"), KafkaProperty("fetch.wait.max.ms", "20"),
    KafkaProperty("fetch.queue.backoff.ms", "20"),
  ].filter { $0.problem == nil }

  /// Makes a consumer outside any group.
  public func makeReader(topic: String, properties: [KafkaProperty]) throws(KafkaError) -> Consumer {
    try Consumer(topic: topic, properties: properties, batchCapacity: 4096, log: log)
  }

  /// Makes the producer. Its `deliveredCount` stays 0: only records that could not be delivered are reported,
  /// which spares it an event for each of the others.
  public func makeProducer(properties: [KafkaProperty]) throws(KafkaError) -> Producer {
    try Producer(
      properties: [KafkaProperty("delivery.report.only.error", "true")] + properties, log: log,
      statistics: producerStatistics)
  }

  /// Since this value was made.
  public var uptime: Duration { ContinuousClock.now - start }
}
