// Records that could not be taken: written as they came, with the reason and the place they came from.

internal import OTLP
internal import Sampling

/// How dead letters are labelled.
enum DeadLetters {
  /// The headers of a dead letter.
  ///
  /// - Parameters:
  ///   - reason: one word, for counting.
  ///   - error: the same for people, with the byte offset.
  static func headers(
    reason: String, error: String, topic: String, partition: PartitionID, offset: Offset
  ) -> [RecordHeaderField] {
    [
      RecordHeaderField("reason", reason),
      RecordHeaderField("error", error),
      RecordHeaderField("source_topic", topic),
      RecordHeaderField("source_partition", String(partition.value)),
      RecordHeaderField("source_offset", String(offset.value)),
    ]
  }

  /// Writes a dead letter. One that is larger than the topic takes goes without its value: the headers still
  /// say where the record stands in its own topic, and how large it is.
  static func write(
    to link: some BrokerLink, key: RawSpan?, value: RawSpan?, headers: [RecordHeaderField], bytesMax: Int
  ) throws(BrokerError) {
    let count = value?.byteCount ?? 0
    guard count + (key?.byteCount ?? 0) > bytesMax else {
      return try link.write(.deadLetters, partition: nil, key: key, value: value, headers: headers)
    }
    let isKeySmall = (key?.byteCount ?? 0) <= bytesMax
    try link.write(
      .deadLetters, partition: nil, key: isKeySmall ? key : nil, value: nil,
      headers: headers + [RecordHeaderField("value_left_out_bytes", String(count))])
  }
}
