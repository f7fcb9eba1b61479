// A batch of records, lent until the next batch.

internal import CMemory
internal import CRdKafka
internal import Glibc

/// A record's place and time.
public struct RecordInfo: Sendable {
  /// The partition.
  public var partition: Int32
  /// The offset.
  public var offset: Int64
  /// Milliseconds since 1970; nil if the record has no timestamp.
  public var timestampMilliseconds: Int64?
  /// Whether the broker set the timestamp when it appended the record, instead of the producer.
  public var isLogAppendTime = false

  /// Describes a record.
  public init(
    partition: Int32, offset: Int64, timestampMilliseconds: Int64?, isLogAppendTime: Bool = false
  ) {
    self.partition = partition
    self.offset = offset
    self.timestampMilliseconds = timestampMilliseconds
    self.isLogAppendTime = isLogAppendTime
  }
}

/// A header of a record. Names may repeat; a value may be missing.
public struct RecordHeader: Equatable, Sendable {
  /// Its name.
  public var name: String
  /// Its value; nil if it has none.
  public var value: [UInt8]?

  /// Makes a header.
  public init(_ name: String, _ value: [UInt8]?) {
    self.name = name
    self.value = value
  }
}

/// The records of one poll. It owns librdkafka's messages and frees them when it is cleared.
@safe
struct RecordBatch: ~Copyable {
  private let messages: UnsafeMutablePointer<UnsafeMutablePointer<rd_kafka_message_t>?>
  /// The maximum number of records per poll.
  let capacity: Int
  /// The number of records.
  private(set) var count = 0
  /// The record that is lent now.
  private let lent = LentRecord()

  private final class LentRecord {
    var index = -1
  }

  /// Makes an empty batch for up to `capacity` records.
  init(capacity: Int) {
    self.capacity = capacity
    unsafe messages = .allocate(capacity: capacity)
    unsafe messages.initialize(repeating: nil, count: capacity)
  }

  deinit {
    // Sound: the first `count` pointers are messages that this batch owns; the array was allocated in `init`.
    for index in 0..<count { unsafe rd_kafka_message_destroy(messages[index]) }
    unsafe messages.deallocate()
  }

  /// Frees the records.
  mutating func clear() {
    // Sound: as in `deinit`; with `count` at zero nothing is freed twice.
    for index in 0..<count { unsafe rd_kafka_message_destroy(messages[index]) }
    count = 0
  }

  /// Reads what `queue` has, waiting for the first record for at most `timeout`.
  ///
  /// With a `fillTime`, a batch that is not full when the queue is empty gets that much more time: a thread
  /// that is woken for a few records spends more on waking than on the records. With a timeout of zero the
  /// caller has other work, and gets what there is at once.
  ///
  /// One by one instead of with `rd_kafka_consume_batch_queue`, which loses records in librdkafka 2.0.2: a
  /// rebalance pauses every partition, and the pause discards the partition's records that the call holds
  /// although the position is already past them (fixed in 2.1.0, librdkafka's pull request 4208). This call,
  /// too, counts for `max.poll.interval.ms`.
  mutating func fill(from queue: OpaquePointer, timeout: Duration, fillTime: Duration = .zero) {
    clear()
    unsafe take(from: queue, timeout: timeout.milliseconds)
    guard fillTime > .zero, timeout > .zero, count > 0, count < capacity else { return }
    usleep(UInt32(min(fillTime.milliseconds, 1000)) * 1000)
    unsafe take(from: queue, timeout: 0)
  }

  private mutating func take(from queue: OpaquePointer, timeout: Int32) {
    var wait = timeout
    // Sound: the batch takes ownership of each message; `count` stays below `capacity`.
    while count < capacity, let message = unsafe rd_kafka_consume_queue(queue, wait) {
      unsafe messages[count] = message
      count += 1
      wait = 0
    }
  }

  /// The message at `index`, which may be an error or the end of a partition.
  private func message(_ index: Int) -> UnsafeMutablePointer<rd_kafka_message_t>? {
    precondition(index >= 0 && index < count)
    return unsafe messages[index]
  }

  /// Hints that the record at `index`, if any, will be read soon. librdkafka's threads wrote its bytes, so
  /// they are not in this thread's cache: without the hint the scanner waits for each cache line.
  private func prefetch(_ index: Int) {
    guard index < count, let message = unsafe message(index), let payload = unsafe message.pointee.payload
    else { return }
    // Sound: as in `forEach`; a hint reads nothing.
    unsafe tailrace_prefetch(payload, min(message.pointee.len, RecordBatch.prefetchedBytes))
  }

  /// After this many bytes the processor itself detects that memory is read sequentially.
  private static let prefetchedBytes = 8192

  /// Calls `body` with each record: its place, its key and its value, nil if missing. Both are lent.
  ///
  /// - Parameter special: called instead for messages that are not records: an error's code, its place (the
  ///   topic is nil if it is of none) and its text.
  func forEach<Failure: Error>(
    _ body: (RecordInfo, RawSpan?, RawSpan?) throws(Failure) -> Void,
    special: (rd_kafka_resp_err_t, String?, Int32, Int64, String) -> Void
  ) throws(Failure) {
    defer { lent.index = -1 }
    for index in 0..<count {
      prefetch(index + 1)
      lent.index = index
      // Sound: the message is owned by the batch and not freed before the batch is cleared, which needs it
      // exclusively; key and payload have the lengths that the message gives.
      guard let message = unsafe message(index) else { continue }
      let code = unsafe message.pointee.err
      guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
        let text = unsafe rd_kafka_message_errstr(message).map { unsafe String(cString: $0) } ?? ""
        let topic = unsafe message.pointee.rkt.map { unsafe String(cString: rd_kafka_topic_name($0)) }
        unsafe special(code, topic, message.pointee.partition, message.pointee.offset, text)
        continue
      }
      var type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
      let timestamp = unsafe rd_kafka_message_timestamp(message, &type)
      let info = unsafe RecordInfo(
        partition: message.pointee.partition, offset: message.pointee.offset,
        timestampMilliseconds: type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? nil : timestamp,
        isLogAppendTime: type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME)
      let key = unsafe UnsafeRawBufferPointer(start: message.pointee.key, count: message.pointee.key_len)
      let value = unsafe UnsafeRawBufferPointer(start: message.pointee.payload, count: message.pointee.len)
      switch unsafe (message.pointee.key == nil, message.pointee.payload == nil) {
      case (false, false): try body(info, unsafe key.bytes, unsafe value.bytes)
      case (true, false): try body(info, nil, unsafe value.bytes)
      case (false, true): try body(info, unsafe key.bytes, nil)
      case (true, true): try body(info, nil, nil)
      }
    }
  }

  /// The headers of the record that is lent now, at most `countMax` of them, and the total count; none
  /// outside `forEach`. librdkafka parses headers on first use: unused ones cost nothing.
  func lentHeaders(countMax: Int) -> (headers: [RecordHeader], count: Int) {
    guard (0..<count).contains(lent.index), let message = unsafe message(lent.index) else { return ([], 0) }
    var list: OpaquePointer?
    // Sound: the message is owned by the batch and stays while the record is lent; the list and what it
    // points to belong to the message, and are copied here.
    guard unsafe rd_kafka_message_headers(message, &list) == RD_KAFKA_RESP_ERR_NO_ERROR,
      let list = unsafe list
    else { return ([], 0) }
    let all = unsafe rd_kafka_header_cnt(list)
    var headers: [RecordHeader] = []
    for index in 0..<min(all, countMax) {
      var name: UnsafePointer<CChar>?
      var value: UnsafeRawPointer?
      var size = 0
      guard
        unsafe rd_kafka_header_get_all(list, index, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR,
        let name = unsafe name
      else { break }
      let bytes = unsafe value.map { unsafe [UInt8](UnsafeRawBufferPointer(start: $0, count: size)) }
      headers.append(RecordHeader(unsafe String(cString: name), bytes))
    }
    return (headers, all)
  }
}
