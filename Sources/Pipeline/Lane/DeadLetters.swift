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

  /// The reason of spans that can be read but are larger than their topic takes.
  static let spanTooLarge = "span_too_large"

  /// The headers of spans that are larger than their topic takes: the trace, the first span and where they
  /// came from.
  ///
  /// - Parameters:
  ///   - value: the spans as a `TracesData`.
  ///   - spans: how many they are: more than one only where their resource alone is too large.
  ///   - offsets: the record that they came in has one of these.
  static func headers(
    ofTooLarge value: RawSpan, spans: Int, traceID: TraceID, bytesMax: Int, topic: String,
    partition: PartitionID, offsets: ClosedRange<Offset>?
  ) -> [RecordHeaderField] {
    let what = spans == 1 ? "a span" : "\(spans) spans of one resource"
    var fields = [
      RecordHeaderField("reason", spanTooLarge),
      RecordHeaderField(
        "error", "\(what) of \(value.byteCount) bytes: the topic of spans takes \(bytesMax)"),
      RecordHeaderField("source_topic", topic),
      RecordHeaderField("source_partition", String(partition.value)),
    ]
    if let offsets {
      fields.append(RecordHeaderField("source_offset", String(offsets.lowerBound.value)))
      if offsets.upperBound != offsets.lowerBound {
        fields.append(RecordHeaderField("source_offset_last", String(offsets.upperBound.value)))
      }
    }
    fields.append(RecordHeaderField("trace_id", traceID.description))
    if let span = firstSpan(of: value) {
      var digits: [UInt8] = []
      Hexadecimal.append(span.spanID, digits: 16, to: &digits)
      fields.append(RecordHeaderField("span_id", String(decoding: digits, as: UTF8.self)))
    }
    return fields
  }

  private static func firstSpan(of value: RawSpan) -> SpanView? {
    var record = ScannedRecord()
    do throws(MalformedInput) { try record.scan(value) } catch { return nil }
    return record.spans.first
  }

  /// Writes a dead letter. One that is larger than the topic takes goes without its value, and without its
  /// key if need be: the headers still say where the record stands in its own topic, and how large it is.
  ///
  /// - Parameter bytesMax: the most bytes that key, value and headers may have together.
  static func write(
    to link: some BrokerLink, key: RawSpan?, value: RawSpan?, headers: [RecordHeaderField], bytesMax: Int
  ) throws(BrokerError) {
    let valueBytes = value?.byteCount ?? 0
    let keyBytes = key?.byteCount ?? 0
    let room = bytesMax - headers.reduce(0) { $0 + bytes(of: $1) }
    // In this order, and not as a sum: sizes are anybody's.
    guard valueBytes > room || keyBytes > room - valueBytes else {
      return try link.write(.deadLetters, partition: nil, key: key, value: value, headers: headers)
    }
    let leftOut = RecordHeaderField("value_left_out_bytes", String(valueBytes))
    let isKeySmall = keyBytes <= room - bytes(of: leftOut)
    try link.write(
      .deadLetters, partition: nil, key: isKeySmall ? key : nil, value: nil, headers: headers + [leftOut])
  }

  /// What a header takes in a record: its name, its value and the length of each.
  private static func bytes(of header: RecordHeaderField) -> Int {
    header.name.utf8.count + header.value.utf8.count + 10
  }
}
