// Unusable spans in a readable record: they are set aside, and the others are used.

/// The unusable spans of one record that share a reason.
public struct RejectedSpans: Equatable, Sendable {
  /// What is wrong with the first of them.
  public let error: MalformedInput
  /// How many there are.
  public package(set) var count: Int
  /// The trace of the first of them; all zeros if it names none.
  public let traceID: TraceID
  /// The first one's span id; zero if it has none.
  public let spanID: UInt64

  /// Describes one span or several.
  public init(_ error: MalformedInput, count: Int, traceID: TraceID, spanID: UInt64) {
    self.error = error
    self.count = count
    self.traceID = traceID
    self.spanID = spanID
  }
}

/// Neighbours in one scope that were rejected for the same reason. A rejected span takes as little as two
/// bytes of a record, so a row of them is noted as one range.
struct RejectedRun {
  /// Their whole fields: tags, lengths and contents.
  var fields: ByteRange
  let scope: UInt32
  let resource: UInt32
  let reason: MalformedInput.Reason
}

extension MalformedInput.Reason {
  /// Whether a single span can be at fault while the record's wire format is sound.
  package var isOfOneSpan: Bool {
    switch self {
    case .identifierLength, .identifierMissing, .wrongWireType: true
    default: false
    }
  }
}

extension ScannedRecord {
  /// Sets aside the span in which `error` was found.
  ///
  /// - Throws: `error` if it concerns the wire format; or the next wire format error after it.
  mutating func reject(
    _ span: SpanView, _ error: MalformedInput, in bytes: RawSpan
  ) throws(MalformedInput) {
    guard error.reason.isOfOneSpan else { throw error }
    isWhole = false
    var span = span
    try span.readIdentifiers(bytes)
    if let index = rejected.firstIndex(where: { $0.error.reason == error.reason }) {
      rejected[index].count += 1
    } else {
      rejected.append(RejectedSpans(error, count: 1, traceID: span.traceID, spanID: span.spanID))
    }
    let last = rejectedRuns.count - 1
    if last >= 0, rejectedRuns[last].reason == error.reason, rejectedRuns[last].scope == span.scope,
      rejectedRuns[last].fields.indices.upperBound == Int(span.field.offset)
    {
      rejectedRuns[last].fields.count += span.field.count
    } else {
      rejectedRuns.append(
        RejectedRun(fields: span.field, scope: span.scope, resource: span.resource, reason: error.reason))
    }
  }
}

extension SpanView {
  /// Reads the ids of an unusable span, where it has any, and checks the wire format of all its fields, as
  /// reading it would have.
  fileprivate mutating func readIdentifiers(_ bytes: RawSpan) throws(MalformedInput) {
    (traceID, spanID) = (TraceID(high: 0, low: 0), 0)
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      guard tag.type == .lengthDelimited else {
        try cursor.skip(tag, in: bytes)
        continue
      }
      let range = try cursor.content(of: tag, in: bytes)
      let offset = Int(range.offset)
      switch tag.field {
      case SpanField.traceID where range.count == 16:
        traceID = TraceID(in: bytes, at: offset)
      case SpanField.spanID where range.count == 8:
        spanID = bytes.bigEndian64(at: offset)
      case SpanField.status:
        var status = WireCursor(range)
        while !status.isAtEnd { try status.skip(try status.tag(in: bytes), in: bytes) }
      default: break
      }
    }
  }
}

extension WireWriter {
  /// Appends a `TracesData` with the spans of `record` that were rejected for `reason`, each in its resource
  /// and scope.
  public mutating func appendRejected(
    _ reason: MalformedInput.Reason, of record: ScannedRecord, bytes: RawSpan
  ) {
    var place = PiecePlace()
    append(record.topLevelExtras, of: record, bytes: bytes)
    for run in record.rejectedRuns where run.reason == reason {
      enter(resource: run.resource, scope: run.scope, of: record, bytes, &place)
      append(bytes.extracting(run.fields.indices))
    }
    leave(place)
  }
}
