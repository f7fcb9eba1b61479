// Partitions and offsets, and librdkafka's lists of them.

internal import CRdKafka
internal import Glibc

/// A partition of a topic.
public struct TopicPartition: Hashable, Sendable {
  /// The topic's name.
  public var topic: String
  /// The partition's number.
  public var partition: Int32

  /// Names a partition.
  public init(_ topic: String, _ partition: Int32) {
    self.topic = topic
    self.partition = partition
  }
}

/// An offset in a partition, with the metadata that is committed with it.
public struct PartitionOffset: Equatable, Sendable {
  /// The partition.
  public var topicPartition: TopicPartition
  /// The offset; below zero, one of the named ones.
  public var offset: Int64
  /// Text stored with a committed offset.
  public var metadata: String

  /// The first existing record.
  public static let beginning: Int64 = -2
  /// After the last record.
  public static let end: Int64 = -1
  /// The committed offset, or `auto.offset.reset` if there is none.
  public static let stored: Int64 = -1000
  /// No offset.
  public static let invalid: Int64 = -1001

  /// Makes an offset.
  public init(_ topicPartition: TopicPartition, offset: Int64, metadata: String = "") {
    self.topicPartition = topicPartition
    self.offset = offset
    self.metadata = metadata
  }
}

/// A list of partitions as librdkafka takes it.
@safe
struct PartitionList: ~Copyable {
  let pointer: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>

  init(_ offsets: [PartitionOffset]) {
    unsafe pointer = rd_kafka_topic_partition_list_new(Int32(offsets.count))
    for offset in offsets {
      let place = offset.topicPartition
      guard let element = unsafe rd_kafka_topic_partition_list_add(pointer, place.topic, place.partition)
      else {
        continue
      }
      unsafe element.pointee.offset = offset.offset
      guard !offset.metadata.isEmpty else { continue }
      // Sound: the list frees its elements' metadata with `free`, which is what `strdup` needs.
      let text = unsafe strdup(offset.metadata)
      unsafe element.pointee.metadata = UnsafeMutableRawPointer(text)
      unsafe element.pointee.metadata_size = offset.metadata.utf8.count
    }
  }

  deinit {
    // Sound: owned only by this value, destroyed once.
    unsafe rd_kafka_topic_partition_list_destroy(pointer)
  }

  var offsets: [PartitionOffset] { unsafe PartitionList.read(pointer) }

  /// Throws the first element's error, for calls that answer per partition.
  func checkElements() throws(KafkaError) {
    for index in 0..<Int(unsafe pointer.pointee.cnt) {
      try check(unsafe pointer.pointee.elems[index].err)
    }
  }

  /// Copies one of librdkafka's lists.
  static func read(_ list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>) -> [PartitionOffset] {
    // Sound: the list holds `cnt` elements; texts are copied out with their own lengths.
    (0..<Int(unsafe list.pointee.cnt)).map { index in
      let element = unsafe list.pointee.elems[index]
      var metadata = ""
      if let text = unsafe element.metadata, unsafe element.metadata_size > 0 {
        metadata = unsafe String(
          decoding: UnsafeRawBufferPointer(start: text, count: element.metadata_size), as: UTF8.self)
      }
      return PartitionOffset(
        TopicPartition(unsafe String(cString: element.topic), unsafe element.partition),
        offset: unsafe element.offset, metadata: metadata)
    }
  }
}
