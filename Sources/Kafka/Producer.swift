// A producer, plain or transactional.

internal import CRdKafka
internal import Synchronization

/// The outcome of deliveries.
struct DeliveryState {
  var delivered: UInt64 = 0
  var failed: UInt64 = 0
  /// The first failures since they were last taken; more are only counted.
  var failures: [DeliveryFailure] = []
}

/// A record that could not be delivered.
public struct DeliveryFailure: Equatable, Sendable {
  /// The topic.
  public var topic: String
  /// The partition; -1 if none was chosen yet.
  public var partition: Int32
  /// Why.
  public var error: KafkaError

  /// Describes a failure.
  public init(topic: String, partition: Int32, error: KafkaError) {
    self.topic = topic
    self.partition = partition
    self.error = error
  }
}

/// A topic that a producer writes to.
@safe
public final class ProducerTopic {
  let pointer: OpaquePointer
  /// Its client. librdkafka needs the topic destroyed first, in whatever order their owner releases the two.
  private let producer: Producer

  init(taking pointer: OpaquePointer, of producer: Producer) {
    unsafe self.pointer = unsafe pointer
    self.producer = producer
  }

  deinit {
    // Sound: owned only by this object, destroyed once, before the client, which it keeps until then.
    unsafe rd_kafka_topic_destroy(pointer)
  }
}

/// Writes records.
///
/// Used from one thread; the delivery callback is served by the calls below.
public final class Producer: ProducerClient {
  private let handle: ClientHandle

  /// The defaults, which a producer's properties can override.
  private static let defaults = [
    KafkaProperty("enable.idempotence", "true"),
    KafkaProperty("linger.ms", "20"),
    KafkaProperty("compression.type", "lz4"),
  ]

  /// Makes a producer.
  ///
  /// - Throws: if a property is unknown or has a value that librdkafka does not accept.
  public init(
    properties: [KafkaProperty], log: @escaping KafkaLog, statistics: KafkaStatistics? = nil
  ) throws(KafkaError) {
    handle = try ClientHandle(
      .producer, Producer.defaults + properties, log: log, statistics: statistics)
  }

  deinit {
    // A separate thread purges and destroys a retired client.
    guard !handle.context.isAbandoned.load(ordering: .relaxed),
      !handle.context.isRetired.load(ordering: .relaxed)
    else { return }
    // Sound: the handle, which owns the client, is destroyed after this.
    unsafe ClientHandle.purge(handle.pointer)
  }

  /// Opens a topic for writing.
  public func topic(_ name: String) throws(KafkaError) -> ProducerTopic {
    guard let pointer = unsafe rd_kafka_topic_new(handle.pointer, name, nil) else {
      throw KafkaError(rd_kafka_last_error())
    }
    return unsafe ProducerTopic(taking: pointer, of: self)
  }

  /// How many partitions a topic has, according to the brokers now.
  public func partitionCount(of topic: ProducerTopic, timeout: Duration) throws(KafkaError) -> Int {
    var metadata: UnsafePointer<rd_kafka_metadata>?
    try check(
      unsafe rd_kafka_metadata(handle.pointer, 0, topic.pointer, &metadata, timeout.milliseconds))
    // Sound: the metadata is ours until it is destroyed; its counts and topics are read within it.
    guard let metadata = unsafe metadata else { return 0 }
    defer { unsafe rd_kafka_metadata_destroy(metadata) }
    guard unsafe metadata.pointee.topic_cnt == 1 else { return 0 }
    let found = unsafe metadata.pointee.topics[0]
    try check(unsafe found.err)
    return Int(unsafe found.partition_cnt)
  }

  /// Queues a record; the bytes are copied.
  ///
  /// While the queue is full it waits for room, for at most `queueTimeout`.
  ///
  /// - Parameters:
  ///   - partition: the destination; nil lets the key decide.
  ///   - whileWaiting: called repeatedly while there is no room.
  public func produce(
    _ topic: ProducerTopic, partition: Int32?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeader] = [], queueTimeout: Duration = .seconds(60),
    whileWaiting: () -> Void = {}
  ) throws(KafkaError) {
    let deadline = ContinuousClock.now + queueTimeout
    while true {
      let error = enqueue(topic, partition ?? -1, key, value, headers)
      guard let error else { return }
      guard error.isQueueFull, ContinuousClock.now < deadline else { throw handle.explain(error) }
      poll(timeout: .milliseconds(20))
      whileWaiting()
    }
  }

  private func enqueue(
    _ topic: ProducerTopic, _ partition: Int32, _ key: RawSpan?, _ value: RawSpan?,
    _ headers: [RecordHeader]
  ) -> KafkaError? {
    unsafe withOptionalBytes(key) { key in
      unsafe withOptionalBytes(value) { value in
        // Sound: librdkafka copies key and value before it returns (MSG_F_COPY).
        guard headers.isEmpty else {
          return unsafe enqueue(topic, partition, key: key, value: value, headers: headers)
        }
        let result = unsafe rd_kafka_produce(
          topic.pointer, partition, Int32(RD_KAFKA_MSG_F_COPY),
          UnsafeMutableRawPointer(mutating: value.baseAddress), value.count, key.baseAddress, key.count, nil)
        return result == 0 ? nil : KafkaError(rd_kafka_last_error())
      }
    }
  }

  /// The same with headers, for which librdkafka has a separate call.
  private func enqueue(
    _ topic: ProducerTopic, _ partition: Int32, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
    headers: [RecordHeader]
  ) -> KafkaError? {
    guard let list = unsafe makeHeaders(headers) else {
      return KafkaError(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE)
    }
    let value = unsafe rd_kafka_vu_t.__Unnamed_union_u(
      mem: .init(ptr: UnsafeMutableRawPointer(mutating: value.baseAddress), size: value.count))
    let key = unsafe rd_kafka_vu_t.__Unnamed_union_u(
      mem: .init(ptr: UnsafeMutableRawPointer(mutating: key.baseAddress), size: key.count))
    let arguments = unsafe [
      rd_kafka_vu_t(vtype: RD_KAFKA_VTYPE_RKT, u: .init(rkt: topic.pointer)),
      rd_kafka_vu_t(vtype: RD_KAFKA_VTYPE_PARTITION, u: .init(i32: partition)),
      rd_kafka_vu_t(vtype: RD_KAFKA_VTYPE_MSGFLAGS, u: .init(i: Int32(RD_KAFKA_MSG_F_COPY))),
      rd_kafka_vu_t(vtype: RD_KAFKA_VTYPE_VALUE, u: value),
      rd_kafka_vu_t(vtype: RD_KAFKA_VTYPE_KEY, u: key),
      rd_kafka_vu_t(vtype: RD_KAFKA_VTYPE_HEADERS, u: .init(headers: list)),
    ]
    // Sound: librdkafka owns the headers only if the call succeeds; otherwise they are freed here.
    let error = unsafe KafkaError(taking: rd_kafka_produceva(handle.pointer, arguments, arguments.count))
    if error != nil { unsafe rd_kafka_headers_destroy(list) }
    return error
  }

  private func makeHeaders(_ headers: [RecordHeader]) -> OpaquePointer? {
    guard let list = unsafe rd_kafka_headers_new(headers.count) else { return nil }
    for header in headers {
      // Sound: librdkafka copies name and value. A null pointer without bytes is a header without a value.
      guard let value = header.value else {
        _ = unsafe rd_kafka_header_add(list, header.name, -1, nil, 0)
        continue
      }
      // The extra byte gives an empty value an address; without one it would be a missing value.
      unsafe (value + [0]).withUnsafeBytes { bytes in
        _ = unsafe rd_kafka_header_add(list, header.name, -1, bytes.baseAddress, value.count)
      }
    }
    return unsafe list
  }

  /// Throws the error object that a call returned, if it did.
  @unsafe private func complete(_ error: OpaquePointer?) throws(KafkaError) {
    // Sound: each error object is taken once.
    if let error = unsafe KafkaError(taking: error) { throw handle.explain(error) }
  }

  /// Serves delivery reports, waiting for the first for at most `timeout`.
  public func poll(timeout: Duration = .zero) {
    _ = unsafe rd_kafka_poll(handle.pointer, timeout.milliseconds)
  }

  /// Waits until everything queued is delivered or has failed.
  ///
  /// - Throws: if that takes longer than `timeout`.
  public func flush(timeout: Duration) throws(KafkaError) {
    try check(unsafe rd_kafka_flush(handle.pointer, timeout.milliseconds))
  }

  /// Failures since the last call, at most the first thousand.
  public func takeFailures() -> [DeliveryFailure] {
    handle.context.deliveries.withLock { state in
      defer { state.failures.removeAll() }
      return state.failures
    }
  }

  /// Errors of the client as a whole since the last call.
  public func takeErrors() -> [KafkaError] {
    handle.context.events.withLock { events in
      defer { events.removeAll() }
      return events.compactMap { if case .error(let error) = $0 { handle.explain(error) } else { nil } }
    }
  }

  /// How many records were delivered.
  public var deliveredCount: UInt64 { handle.context.deliveries.withLock(\.delivered) }

  // MARK: Transactions

  /// Registers the transactional id, and ends what an earlier producer with the same id left open. After a
  /// timeout, calling it again resumes it; librdkafka accepts one registration per client.
  public func initTransactions(timeout: Duration) throws(KafkaError) {
    try unsafe complete(rd_kafka_init_transactions(handle.pointer, timeout.milliseconds))
  }

  /// Begins a transaction.
  public func beginTransaction() throws(KafkaError) {
    try unsafe complete(rd_kafka_begin_transaction(handle.pointer))
  }

  /// Makes offsets part of the transaction, under the group's generation as `consumer` knows it.
  public func sendOffsets(
    _ offsets: [PartitionOffset], of consumer: Consumer, timeout: Duration
  ) throws(KafkaError) {
    guard let group = consumer.groupMetadata() else {
      throw KafkaError(timedOut: "the consumer has not joined its group yet")
    }
    let list = PartitionList(offsets)
    try unsafe complete(
      rd_kafka_send_offsets_to_transaction(
        handle.pointer, list.pointer, group.pointer, timeout.milliseconds))
  }

  /// Commits the transaction, after delivering what it holds.
  public func commitTransaction(timeout: Duration) throws(KafkaError) {
    try unsafe complete(rd_kafka_commit_transaction(handle.pointer, timeout.milliseconds))
  }

  /// Aborts the transaction.
  public func abortTransaction(timeout: Duration) throws(KafkaError) {
    try unsafe complete(rd_kafka_abort_transaction(handle.pointer, timeout.milliseconds))
  }

  /// Discards queued records that are not sent yet, without reporting them as failures.
  public func purgeQueue() {
    _ = unsafe rd_kafka_purge(
      handle.pointer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING)
    poll()
  }

  /// Makes way for another producer. A separate thread destroys the client once its owner releases it: that
  /// may take as long as a broker hangs, and the owner does not wait.
  public func retire() {
    handle.context.isRetired.store(true, ordering: .relaxed)
  }

  /// Abandons the client as it is. Its threads run until the process ends.
  public func abandon() {
    handle.context.isAbandoned.store(true, ordering: .relaxed)
  }

  static func setDeliveryCallback(_ configuration: OpaquePointer) {
    // Sound: the message is valid during the call; what is kept of it is copied.
    unsafe rd_kafka_conf_set_dr_msg_cb(configuration) { _, message, opaque in
      guard let message = unsafe message, let opaque = unsafe opaque else { return }
      let code = unsafe message.pointee.err
      let isDelivered = code == RD_KAFKA_RESP_ERR_NO_ERROR
      var failure: DeliveryFailure?
      // A record that its owner discarded is not a failure.
      if !isDelivered, code != RD_KAFKA_RESP_ERR__PURGE_QUEUE {
        failure = unsafe DeliveryFailure(
          topic: message.pointee.rkt.map { unsafe String(cString: rd_kafka_topic_name($0)) } ?? "",
          partition: message.pointee.partition, error: KafkaError(code))
      }
      unsafe CallbackContext.from(opaque).deliveries.withLock { state in
        if isDelivered { state.delivered += 1 } else { state.failed += 1 }
        if let failure, state.failures.count < 1000 { state.failures.append(failure) }
      }
    }
  }
}

/// Lends the bytes of `span`, or an empty buffer without an address, to `body`.
private func withOptionalBytes<Result>(_ span: RawSpan?, _ body: (UnsafeRawBufferPointer) -> Result) -> Result
{
  // Sound: the pointer is used only inside `body`.
  guard let span else { return unsafe body(UnsafeRawBufferPointer(start: nil, count: 0)) }
  return unsafe span.withUnsafeBytes { bytes in
    // Unlike a missing value, an empty one needs an address.
    if unsafe bytes.baseAddress == nil {
      let nothing: UInt8 = 0
      return unsafe withUnsafeBytes(of: nothing) {
        unsafe body(UnsafeRawBufferPointer(rebasing: $0.prefix(0)))
      }
    }
    return unsafe body(bytes)
  }
}
