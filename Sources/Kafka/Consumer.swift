// A member of a consumer group.

internal import CRdKafka
internal import Synchronization

/// Events of a consumer other than records.
public enum ConsumerEvent: Equatable, Sendable {
  /// Partitions are assigned; answer with `assign`.
  case assigned([TopicPartition])
  /// Partitions are revoked; commit what is due, then answer with `unassign`.
  case revoked([TopicPartition])
  /// Partitions were lost; answer with `unassign`. Nothing may be committed.
  case lost([TopicPartition])
  /// The partition has been read up to this offset.
  case endOfPartition(TopicPartition, offset: Int64)
  /// An error; librdkafka recovers on its own unless it is fatal.
  case error(KafkaError)

  /// Whether librdkafka waits for an answer.
  var isRebalance: Bool {
    switch self {
    case .assigned, .revoked, .lost: true
    case .endOfPartition, .error: false
    }
  }
}

/// A consumer of one topic in a group, with cooperative rebalancing.
///
/// Used from one thread. The rebalance callback only records what happens: librdkafka waits until `assign` or
/// `unassign` is called, however late, so the owner answers between two polls, not in the middle of one.
@safe
public final class Consumer: ConsumerClient {
  private let handle: ClientHandle
  private let queue: OpaquePointer
  private let topic: String
  private var batch: RecordBatch
  private let fillTime: Duration
  private var isClosed = false
  /// The rebalance that the owner has taken and not answered yet.
  private var unanswered: ConsumerEvent?

  /// The defaults, which a consumer's properties can override.
  private static let defaults = [
    KafkaProperty("partition.assignment.strategy", "cooperative-sticky"),
    KafkaProperty("auto.offset.reset", "earliest"),
  ]

  /// Required: only the owner commits offsets, and it needs to know the ends of partitions.
  private static let required = [
    KafkaProperty("enable.auto.commit", "false"),
    KafkaProperty("enable.auto.offset.store", "false"),
    KafkaProperty("enable.partition.eof", "true"),
  ]

  /// Makes a consumer, which does not join its group yet.
  ///
  /// - Parameters:
  ///   - batchCapacity: the maximum number of records per poll.
  ///   - fillTime: how long a poll with a timeout waits for more records once it has some, if its batch is
  ///     not full; at most a second.
  /// - Throws: if a property is unknown or has a value that librdkafka does not accept.
  public init(
    topic: String, properties: [KafkaProperty], batchCapacity: Int = 512, fillTime: Duration = .zero,
    log: @escaping KafkaLog, statistics: KafkaStatistics? = nil
  ) throws(KafkaError) {
    batch = RecordBatch(capacity: batchCapacity)
    self.fillTime = fillTime
    handle = try ClientHandle(
      .consumer, Consumer.defaults + properties + Consumer.required, log: log, statistics: statistics)
    try check(unsafe rd_kafka_poll_set_consumer(handle.pointer))
    guard let queue = unsafe rd_kafka_queue_get_consumer(handle.pointer) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__UNKNOWN_GROUP)
    }
    unsafe self.queue = queue
    self.topic = topic
  }

  deinit {
    close()
    // Sound: the queue reference was taken in `init`; its client is destroyed after it.
    unsafe rd_kafka_queue_destroy(queue)
  }

  /// Joins the group.
  public func subscribe() throws(KafkaError) {
    handle.context.isMember.store(true, ordering: .relaxed)
    let list = PartitionList([PartitionOffset(TopicPartition(topic, -1), offset: PartitionOffset.invalid)])
    try check(unsafe rd_kafka_subscribe(handle.pointer, list.pointer))
  }

  /// Reads a batch and calls `body` with each record, waiting for the first for at most `timeout`.
  ///
  /// Reading from the consumer's queue also serves the callbacks and counts as a poll for
  /// `max.poll.interval.ms`. Key and value are lent. Returns how many records there were.
  public func poll<Failure: Error>(
    timeout: Duration, _ body: (RecordInfo, RawSpan?, RawSpan?) throws(Failure) -> Void
  ) throws(Failure) -> Int {
    unsafe batch.fill(from: queue, timeout: timeout, fillTime: fillTime)
    var specials = 0
    try batch.forEach(body) { code, ended, partition, offset, text in
      specials += 1
      // One that its owner gives partitions may read several topics.
      let place = TopicPartition(ended ?? topic, partition)
      let event: ConsumerEvent =
        code == RD_KAFKA_RESP_ERR__PARTITION_EOF
        ? .endOfPartition(place, offset: offset) : .error(KafkaError(code, text))
      handle.context.events.withLock { $0.append(event) }
    }
    let count = batch.count - specials
    batch.clear()
    return count
  }

  /// The headers of the record that `poll` is delivering, at most `countMax` of them, and the total count.
  public func lentHeaders(countMax: Int) -> (headers: [RecordHeader], count: Int) {
    batch.lentHeaders(countMax: countMax)
  }

  /// The events since the last call, in order.
  public func takeEvents() -> [ConsumerEvent] {
    let taken = handle.context.events.withLock { events in
      defer { events.removeAll() }
      return events
    }
    unanswered = taken.last(where: \.isRebalance) ?? unanswered
    return taken
  }

  /// Answers an assignment: starts reading at the given offsets. `PartitionOffset.stored` is the committed
  /// one.
  public func assign(_ offsets: [PartitionOffset]) throws(KafkaError) {
    unanswered = nil
    let list = PartitionList(offsets)
    if isCooperative {
      if let error = unsafe KafkaError(taking: rd_kafka_incremental_assign(handle.pointer, list.pointer)) {
        throw error
      }
    } else {
      try check(unsafe rd_kafka_assign(handle.pointer, list.pointer))
    }
  }

  /// Stops reading partitions, and answers a revocation if there is one.
  public func unassign(_ partitions: [TopicPartition]) throws(KafkaError) {
    switch unanswered {
    case .revoked, .lost: break
    default: if partitions.isEmpty { return }
    }
    unanswered = nil
    if isCooperative {
      let list = PartitionList(partitions.map { PartitionOffset($0, offset: PartitionOffset.invalid) })
      if let error = unsafe KafkaError(taking: rd_kafka_incremental_unassign(handle.pointer, list.pointer)) {
        throw error
      }
    } else {
      try check(unsafe rd_kafka_assign(handle.pointer, nil))
    }
  }

  /// Reads more partitions, for a consumer outside any group.
  public func assignAlone(more offsets: [PartitionOffset]) throws(KafkaError) {
    let list = PartitionList(offsets)
    if let error = unsafe KafkaError(taking: rd_kafka_incremental_assign(handle.pointer, list.pointer)) {
      throw error
    }
  }

  /// Stops reading partitions that were assigned with `assignAlone(more:)`.
  public func unassignAlone(_ partitions: [TopicPartition]) throws(KafkaError) {
    guard !partitions.isEmpty else { return }
    let list = PartitionList(partitions.map { PartitionOffset($0, offset: PartitionOffset.invalid) })
    if let error = unsafe KafkaError(taking: rd_kafka_incremental_unassign(handle.pointer, list.pointer)) {
      throw error
    }
  }

  /// Looks up offsets: each element's `offset` is a timestamp in milliseconds since 1970 (the answer is the
  /// first record with that timestamp or a later one, or below zero if there is none),
  /// `PartitionOffset.beginning` or `PartitionOffset.end`. Unstable offsets count only for a consumer with
  /// `read_uncommitted`.
  ///
  /// Not `rd_kafka_query_watermark_offsets`: before librdkafka 2.3.0 that ignores its timeout (its issue
  /// 2588), so a broker that hangs would hang the caller. This request passes the named offsets as the
  /// protocol does (ListOffsets: -1 latest, -2 earliest), and keeps its deadline.
  public func lookUp(
    _ offsets: [PartitionOffset], timeout: Duration
  ) throws(KafkaError) -> [PartitionOffset] {
    let list = PartitionList(offsets)
    try check(unsafe rd_kafka_offsets_for_times(handle.pointer, list.pointer, timeout.milliseconds))
    try list.checkElements()
    return list.offsets
  }

  /// The offset after a partition's last record, from the last fetch response; nil before the first. Sends no
  /// request.
  public func knownEnd(of partition: TopicPartition) -> Int64? {
    var low: Int64 = 0
    var high: Int64 = 0
    let code = unsafe rd_kafka_get_watermark_offsets(
      handle.pointer, partition.topic, partition.partition, &low, &high)
    return code == RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0 ? high : nil
  }

  /// Whether the group rebalances cooperatively; assumed before the first rebalance, when it is unknown.
  private var isCooperative: Bool {
    // Sound: librdkafka returns a static string, or null before the first rebalance.
    guard let protocolName = unsafe rd_kafka_rebalance_protocol(handle.pointer) else { return true }
    return unsafe String(cString: protocolName) != "EAGER"
  }

  /// The committed offsets, in the order of `partitions`; `PartitionOffset.invalid` where there is none.
  public func committed(_ partitions: [TopicPartition], timeout: Duration) throws(KafkaError)
    -> [PartitionOffset]
  {
    let list = PartitionList(partitions.map { PartitionOffset($0, offset: PartitionOffset.invalid) })
    try check(unsafe rd_kafka_committed(handle.pointer, list.pointer, timeout.milliseconds))
    try list.checkElements()
    return list.offsets
  }

  /// Commits offsets with their metadata and waits for the answer.
  ///
  /// Uses its own queue instead of `rd_kafka_commit`, which waits for the coordinator forever.
  public func commit(_ offsets: [PartitionOffset], timeout: Duration) throws(KafkaError) {
    let list = PartitionList(offsets)
    guard let answers = unsafe rd_kafka_queue_new(handle.pointer) else {
      throw KafkaError(.localCritSysResource)
    }
    // Sound: queue and event are ours and freed once, after the last use.
    defer { unsafe rd_kafka_queue_destroy(answers) }
    try check(unsafe rd_kafka_commit_queue(handle.pointer, list.pointer, answers, nil, nil))
    guard let event = unsafe rd_kafka_queue_poll(answers, timeout.milliseconds) else {
      throw KafkaError(timedOut: "no answer to the commit")
    }
    defer { unsafe rd_kafka_event_destroy(event) }
    try check(unsafe rd_kafka_event_error(event))
    guard let committed = unsafe rd_kafka_event_topic_partition_list(event) else { return }
    for index in 0..<Int(unsafe committed.pointee.cnt) {
      try check(unsafe committed.pointee.elems[index].err)
    }
  }

  /// The group's generation as this member knows it, for `Producer.sendOffsets`.
  func groupMetadata() -> ConsumerGroupMetadata? {
    unsafe rd_kafka_consumer_group_metadata(handle.pointer).map { unsafe ConsumerGroupMetadata(taking: $0) }
  }

  /// The longest that closing waits: for answers to open rebalances, then for the group.
  private static let closeTimeout = (answers: Duration.seconds(1), group: Duration.seconds(10))

  /// Leaves the group. No other call may follow.
  ///
  /// Closing waits for the answer to every rebalance. librdkafka 2.0.2 waits forever if an assignment is
  /// answered only while it closes. So open rebalances are answered first, and the wait is bounded.
  public func close() {
    guard !isClosed else { return }
    isClosed = true
    defer { handle.context.answering.store(.byNobody, ordering: .relaxed) }
    answerWhatIsOpen()
    handle.context.answering.store(.byCallback, ordering: .relaxed)
    guard let closing = unsafe rd_kafka_queue_new(handle.pointer) else { return }
    // Sound: the queue is ours and freed once, after the last use.
    defer { unsafe rd_kafka_queue_destroy(closing) }
    if unsafe KafkaError(taking: rd_kafka_consumer_close_queue(handle.pointer, closing)) != nil { return }
    let deadline = ContinuousClock.now + Consumer.closeTimeout.group
    var batch = RecordBatch(capacity: 64)
    while unsafe rd_kafka_consumer_closed(handle.pointer) == 0, ContinuousClock.now < deadline {
      unsafe batch.fill(from: closing, timeout: .milliseconds(20))
    }
  }

  /// Abandons the client as it is. Its threads run until the process ends.
  public func abandon() {
    isClosed = true
    handle.context.answering.store(.byNobody, ordering: .relaxed)
    handle.context.isAbandoned.store(true, ordering: .relaxed)
  }

  /// Answers the rebalance that the owner left unanswered, those in the queue, and the assignment that
  /// follows a revocation in a cooperative group.
  private func answerWhatIsOpen() {
    let deadline = ContinuousClock.now + Consumer.closeTimeout.answers
    var batch = RecordBatch(capacity: 1024)
    var isAssignmentDue = false
    repeat {
      unsafe batch.fill(from: queue, timeout: isAssignmentDue ? .milliseconds(20) : .zero)
      _ = takeEvents()
      switch unanswered {
      case .assigned(let partitions):
        try? assign(partitions.map { PartitionOffset($0, offset: PartitionOffset.end) })
        isAssignmentDue = false
      case .revoked(let partitions), .lost(let partitions):
        try? unassign(partitions)
        isAssignmentDue = isCooperative
      default: if batch.count == 0, !isAssignmentDue { return }
      }
    } while ContinuousClock.now < deadline
  }

  static func setRebalanceCallback(_ configuration: OpaquePointer) {
    // Sound: the pointers are valid during the call; the list is copied.
    unsafe rd_kafka_conf_set_rebalance_cb(configuration) { client, code, list, opaque in
      guard let client = unsafe client, let list = unsafe list, let opaque = unsafe opaque else { return }
      let context = unsafe CallbackContext.from(opaque)
      let partitions = unsafe PartitionList.read(list).map(\.topicPartition)
      if code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS { context.wasAssigned.store(true, ordering: .relaxed) }
      switch context.answering.load(ordering: .relaxed) {
      case .byOwner: break
      case .byCallback:
        // While terminating, librdkafka treats every answer as an unassignment of all partitions.
        _ = unsafe KafkaError(taking: rd_kafka_incremental_unassign(client, list))
        return
      case .byNobody: return
      }
      let event: ConsumerEvent
      if code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
        event = .assigned(partitions)
      } else if unsafe rd_kafka_assignment_lost(client) != 0 {
        event = .lost(partitions)
      } else {
        event = .revoked(partitions)
      }
      context.events.withLock { $0.append(event) }
    }
  }
}

/// A group's generation, by which brokers tell current members from expelled ones.
@safe
struct ConsumerGroupMetadata: ~Copyable {
  let pointer: OpaquePointer

  init(taking pointer: OpaquePointer) {
    unsafe self.pointer = pointer
  }

  deinit {
    // Sound: owned only by this value, destroyed once.
    unsafe rd_kafka_consumer_group_metadata_destroy(pointer)
  }
}
