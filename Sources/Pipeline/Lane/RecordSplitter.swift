// Splits a record by trace, and writes the pieces keyed by trace id.

internal import OTLP
internal import Sampling

/// Writes the spans of records keyed by trace id. Reused: it keeps its storage.
struct RecordSplitter {
  /// The largest value that the topic of spans accepts.
  let bytesMax: Int
  private let limits = Limits()
  private var record = ScannedRecord()
  private var groups = TraceGroups()
  private var piece = WireWriter()
  private var key = TraceKey()
  /// Spans read.
  private(set) var spansRead: UInt64 = 0
  /// Records written.
  private(set) var recordsWritten: UInt64 = 0

  init(bytesMax: Int) {
    self.bytesMax = bytesMax
  }

  /// Unusable spans of the last record read, by reason.
  var rejectedSpans: [RejectedSpans] { record.rejected }

  /// Bytes of memory in use.
  var byteCount: Int { record.byteCount + groups.byteCount + piece.byteCount }

  /// Releases its storage.
  mutating func release() {
    record = ScannedRecord()
    groups = TraceGroups()
    piece = WireWriter()
  }

  /// Reads a record, whose pieces `write` then writes.
  mutating func read(_ bytes: RawSpan) throws(MalformedInput) {
    try record.scan(bytes)
    try groups.group(&record, bytesMax: limits.splitBytes(ofRecord: bytes.byteCount))
    spansRead += UInt64(record.spans.count)
  }

  /// Writes each trace's piece of the last record read, and its unusable spans to `aside`.
  mutating func write(
    _ bytes: RawSpan, key recordKey: RawSpan?, from place: RecordPlace, aside: inout DeadLetterOutput,
    to link: some BrokerLink
  ) throws(BrokerError) {
    for rejected in record.rejected {
      piece.removeAll()
      piece.appendRejected(rejected.error.reason, of: record, bytes: bytes)
      try piece.bytes.withRawBytes { (bytes) throws(BrokerError) in
        try aside.write(
          DeadLetter(place, rejected), key: recordKey, value: bytes, isOfLentRecord: true, to: link)
      }
    }
    for group in groups.groups {
      if groups.groups.count == 1, record.isWhole, bytes.byteCount <= bytesMax {
        try write(bytes, of: group.traceID, to: link)
      } else {
        try write(group.spans, bytes, of: group.traceID, from: place, aside: &aside, to: link)
      }
    }
  }

  /// Writes some spans of one trace, in as many records as the topic's limit requires.
  private mutating func write(
    _ spans: Range<Int>, _ bytes: RawSpan, of traceID: TraceID, from place: RecordPlace,
    aside: inout DeadLetterOutput, to link: some BrokerLink
  ) throws(BrokerError) {
    // What its portions may have together depends on this piece, not on the record: a record has many.
    var cutter = PortionCutter(recordBytes: record.size(ofPiece: spans), bytesMax: bytesMax)
    var start = spans.lowerBound
    for end in spans where cutter.add(record.spans[end], of: record) != nil {
      try writePortion(start..<end, bytes, of: traceID, from: place, aside: &aside, to: link)
      start = end
    }
    try writePortion(start..<spans.upperBound, bytes, of: traceID, from: place, aside: &aside, to: link)
  }

  private mutating func writePortion(
    _ spans: Range<Int>, _ bytes: RawSpan, of traceID: TraceID, from place: RecordPlace,
    aside: inout DeadLetterOutput, to link: some BrokerLink
  ) throws(BrokerError) {
    piece.removeAll()
    piece.appendPiece(spans, of: record, bytes: bytes)
    let piece = piece.bytes
    try piece.withRawBytes { (value) throws(BrokerError) in
      guard value.byteCount > bytesMax else { return try write(value, of: traceID, to: link) }
      // Spans larger than their topic accepts are not lost: they become a dead letter.
      var letter = DeadLetter(
        tooLarge: value, spans: spans.count, traceID: traceID, bytesMax: bytesMax,
        partition: place.partition, offsets: place.offset...place.offset)
      letter.timestamp = place.timestamp
      try key.lend(traceID) { (key) throws(BrokerError) in
        try aside.write(letter, key: key, value: value, isOfLentRecord: true, to: link)
      }
    }
  }

  private mutating func write(
    _ value: RawSpan, of traceID: TraceID, to link: some BrokerLink
  ) throws(BrokerError) {
    recordsWritten += 1
    try key.lend(traceID) { (key) throws(BrokerError) in
      try link.write(.spans, partition: nil, key: key, value: value, headers: [])
    }
  }
}
