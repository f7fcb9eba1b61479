// The walk through an `ExportLogsServiceRequest`: which log records belong to which trace.
//
// The messages around log records have the form of those around spans, field by field. So a scanned request
// is a `ScannedRecord` as well, and is grouped by trace, cut and written by the same code as a record of
// spans.

/// Neighbouring log records of one trace and scope, in the place of a span.
///
/// A log record takes as little as two bytes of a request: a row of them must not take the memory of as many
/// views. Only short ones are joined, so that a long row can still be cut.
extension SpanView {
  /// How many log records they are.
  public var logCount: Int { Int(truncatingIfNeeded: end) }

  /// The highest severity number that one of them may have; those without a trace all have the same. 0 is
  /// none, and 255 stands for all numbers that OTLP does not define and are as large.
  public var severity: UInt8 { kind }
}

extension ScannedRecord {
  /// Rows of log records up to this many bytes are one view.
  private static var joinedBytesMax: UInt32 { 1024 }

  /// The most views of a request of `count` bytes: one for 32 bytes, beyond some. A log record with a trace
  /// id, a time and a body takes more; one of four bytes would take as many as 25 times its bytes.
  private static func viewsMax(ofBytes count: Int) -> Int { 1024 + count / 32 }

  /// Reads `LogsData` or `ExportLogsServiceRequest` (they are the same on the wire) and replaces the previous
  /// record. `spans` are then views of log records; there may be none.
  ///
  /// The trace id of a log record without one is all zeros. One that is not 16 bytes long counts as missing,
  /// as the schema demands.
  ///
  /// - Throws: `MalformedInput` with the offset of the first byte that can't be accepted; `tooManyRecords`
  ///   if small log records of many traces or severities take turns. The content is then meaningless.
  ///
  /// Schema: <https://github.com/open-telemetry/opentelemetry-proto>, `logs/v1/logs.proto`.
  public mutating func scanLogs(_ bytes: RawSpan) throws(MalformedInput) {
    startOver()
    guard bytes.byteCount <= Int(Int32.max) else { throw MalformedInput(.recordTooLarge, at: 0) }
    var cursor = WireCursor(all: bytes)
    var hasExtras = false
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      if tag.field == LogsDataField.resourceLogs {
        let content = try cursor.content(of: tag, in: bytes)
        try scanResourceLogs(content, in: bytes)
      } else {
        try cursor.skip(tag, in: bytes)
        hasExtras = true
      }
    }
    topLevelExtras = extras.count..<extras.count
    if hasExtras, !spans.isEmpty { try collectTopLevelExtras(in: bytes) }
  }

  private mutating func scanResourceLogs(_ content: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    scopeContents.removeAll()
    let (firstExtra, firstLog) = (extras.count, spans.count)
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case ResourceSpansField.scopeSpans, ResourceSpansField.librarySpans:
        if tag.field == ResourceSpansField.librarySpans { isWhole = false }
        scopeContents.append(try cursor.content(of: tag, in: bytes))
      default:
        try cursor.skip(tag, in: bytes)
        noteExtra(from: tag.offset, to: cursor.offset, first: firstExtra)
      }
    }
    resources.append(
      ResourceView(serviceName: ByteRange(offset: 0, count: 0), extras: firstExtra..<extras.count))
    for index in scopeContents.indices { try scanScopeLogs(scopeContents[index], in: bytes) }
    if spans.count == firstLog {
      resources.truncate(to: resources.count - 1)
      extras.truncate(to: firstExtra)
    }
  }

  private mutating func scanScopeLogs(_ content: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    let (firstExtra, firstLog) = (extras.count, spans.count)
    let scope = UInt32(truncatingIfNeeded: scopes.count)
    let resource = UInt32(truncatingIfNeeded: resources.count - 1)
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      guard tag.field == ScopeSpansField.spans else {
        try cursor.skip(tag, in: bytes)
        noteExtra(from: tag.offset, to: cursor.offset, first: firstExtra)
        continue
      }
      let content = try cursor.content(of: tag, in: bytes)
      var log = SpanView(
        content: content, field: ByteRange(from: tag.offset, to: cursor.offset), scope: scope,
        resource: resource)
      try log.readLog(bytes)
      add(log, first: firstLog)
      // So are surroundings bounded: each has a view.
      guard spans.count <= Self.viewsMax(ofBytes: bytes.byteCount) else {
        throw MalformedInput(.tooManyRecords, at: Int(tag.offset))
      }
    }
    if spans.count == firstLog {
      extras.truncate(to: firstExtra)
    } else {
      scopes.append(ScopeView(extras: firstExtra..<extras.count))
    }
  }

  /// Adds a log record, joining it to the one before it in its scope if they have the same fate.
  private mutating func add(_ log: SpanView, first: Int) {
    if spans.count > first {
      var last = spans[spans.count - 1]
      let hasSameFate = last.traceID == log.traceID && (!log.traceID.isZero || last.kind == log.kind)
      let isNext = last.field.indices.upperBound == Int(log.field.offset)
      if hasSameFate, isNext, last.field.count + log.field.count <= Self.joinedBytesMax {
        last.field.count += log.field.count
        last.end += 1
        last.kind = max(last.kind, log.kind)
        spans[spans.count - 1] = last
        return
      }
    }
    spans.append(log)
    if log.traceID != spans[0].traceID { isSingleTrace = false }
  }
}

extension SpanView {
  /// Reads the fields of a `LogRecord`.
  fileprivate mutating func readLog(_ bytes: RawSpan) throws(MalformedInput) {
    end = 1
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case LogRecordField.traceID:
        let range = try cursor.content(of: tag, in: bytes)
        traceID =
          range.count == 16 ? TraceID(in: bytes, at: Int(range.offset)) : TraceID(high: 0, low: 0)
      case LogRecordField.severityNumber:
        // An enum value, of which protobuf keeps 32 bits. A negative one is none of OTLP's.
        let number = Int32(truncatingIfNeeded: try cursor.varint(of: tag, in: bytes))
        kind = UInt8(clamping: number)
      default: try cursor.skip(tag, in: bytes)
      }
    }
  }
}
