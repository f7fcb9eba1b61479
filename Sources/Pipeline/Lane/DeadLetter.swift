// What a dead letter states about a record, or some spans of one, that could not be processed.

internal import OTLP
internal import Sampling
import Topology

/// What a dead letter states about a record, or some spans of one, that could not be processed.
struct DeadLetter {
  /// One word, for counting.
  var reason: String
  /// The same in words, with the byte offset.
  var error: String
  var partition: PartitionID
  /// Its record's offset is one of these.
  var offsets: ClosedRange<Offset>
  /// The record's timestamp, if known.
  var timestamp: Instant?
  /// What the value appears to be, if it is not what the topic should hold.
  var form: PayloadForm?
  /// How many spans are in it; nil if they could not be counted.
  var spans: Int?
  /// The trace and id of its first span; nil if there is none.
  var traceID: TraceID?
  var spanID: UInt64?

  /// A record that can't be read.
  init(_ place: RecordPlace, _ malformed: MalformedInput) {
    self.init(place, reason: malformed.reason.rawValue, error: "\(malformed)")
  }

  /// Rejected spans of a record whose other spans were accepted.
  init(_ place: RecordPlace, _ rejected: RejectedSpans) {
    let what = rejected.count == 1 ? "a span" : "\(rejected.count) spans, the first"
    self.init(
      place, reason: rejected.error.reason.rawValue,
      error: "\(rejected.error): \(what) of a record whose other spans were accepted")
    spans = rejected.count
    note(rejected)
  }

  /// Spans larger than their topic accepts: several only if their resource alone is too large.
  ///
  /// - Parameter value: the spans as a `TracesData`.
  init(
    tooLarge value: RawSpan, spans: Int, traceID: TraceID, bytesMax: Int, partition: PartitionID,
    offsets: ClosedRange<Offset>
  ) {
    let what = spans == 1 ? "a span" : "\(spans) spans of one resource"
    reason = DeadLetter.spanTooLarge
    error = "\(what) of \(value.byteCount) bytes: the topic accepts at most \(bytesMax)"
    self.partition = partition
    self.offsets = offsets
    self.spans = spans
    self.traceID = traceID
    spanID = DeadLetter.firstSpan(of: value)?.spanID
  }

  /// Log records larger than their topic accepts: several only if they are short, or their resource alone is
  /// too large.
  init(tooLargeLogs bytes: Int, count: UInt64, traceID: TraceID, bytesMax: Int, _ place: RecordPlace) {
    let what = count == 1 ? "a log record" : "\(count) log records"
    self.init(
      place, reason: DeadLetter.logTooLarge,
      error: "\(what) of \(bytes) bytes: the topic accepts at most \(bytesMax)")
    if !traceID.isZero { self.traceID = traceID }
  }

  /// A record that a store refuses for good.
  ///
  /// - Parameters:
  ///   - status: the status of its answer.
  ///   - message: what it says, shortened.
  init(refused place: RecordPlace, status: String, _ message: String, spans: Int) {
    self.init(
      place, reason: DeadLetter.refusedByStore,
      error: "the store answers \(status)\(message.isEmpty ? "" : ": \(message)")")
    self.spans = spans
  }

  private init(_ place: RecordPlace, reason: String, error: String) {
    self.reason = reason
    self.error = error
    partition = place.partition
    offsets = place.offset...place.offset
    timestamp = place.timestamp
  }

  /// The reason for spans that can be read but are larger than their topic accepts.
  static let spanTooLarge = "span_too_large"
  /// The same for log records.
  static let logTooLarge = "log_too_large"
  /// The reason for records that an exporter's store refuses.
  static let refusedByStore = "refused_by_store"

  /// Names the first of the rejected spans.
  mutating func note(_ rejected: RejectedSpans) {
    traceID = rejected.traceID.isZero ? nil : rejected.traceID
    spanID = rejected.spanID == 0 ? nil : rejected.spanID
  }

  /// Adds what the value of an unreadable record appears to be.
  mutating func recognise(_ value: RawSpan, insteadOf encoding: SpanEncoding) {
    form = PayloadForm(value, insteadOf: encoding)
    guard let form else { return }
    error += "; the value looks like \(form.description)"
    if form.encoding != nil { error += ", but the topology says \(encoding.rawValue)" }
  }

  private static func firstSpan(of value: RawSpan) -> SpanView? {
    var record = ScannedRecord()
    do throws(MalformedInput) { try record.scan(value) } catch { return nil }
    return record.spans.first
  }

  func headers(topic: String) -> [RecordHeaderField] {
    var fields = [
      RecordHeaderField("reason", reason),
      RecordHeaderField("error", error),
      RecordHeaderField("source_topic", topic),
      RecordHeaderField("source_partition", String(partition.value)),
      RecordHeaderField("source_offset", String(offsets.lowerBound.value)),
    ]
    if offsets.upperBound != offsets.lowerBound {
      fields.append(RecordHeaderField("source_offset_last", String(offsets.upperBound.value)))
    }
    if let timestamp {
      fields.append(RecordHeaderField("source_timestamp", String(timestamp.nanoseconds / 1_000_000)))
    }
    if let form { fields.append(RecordHeaderField("looks_like", form.rawValue)) }
    if let spans { fields.append(RecordHeaderField("spans", String(spans))) }
    if let traceID { fields.append(RecordHeaderField("trace_id", traceID.description)) }
    if let spanID { fields.append(RecordHeaderField("span_id", Hexadecimal.text(spanID, digits: 16))) }
    return fields
  }
}
