// Requests of log records for the virtual cluster, and how the auditor reads them.

import OTLP

/// An `ExportLogsServiceRequest`. Each log record has a number, in the place of its span id.
struct LogRequest {
  private var logs: [(number: UInt64, trace: TraceID?)] = []

  mutating func add(_ number: UInt64, of trace: TraceID?) { logs.append((number, trace)) }

  var bytes: [UInt8] {
    var writer = WireWriter()
    writer.message(LogsDataField.resourceLogs) { resource in
      resource.message(ResourceSpansField.scopeSpans) { scope in
        for log in logs {
          scope.message(ScopeSpansField.spans) { record in
            record.varintField(LogRecordField.severityNumber, 9)
            if let trace = log.trace {
              record.bytesField(
                LogRecordField.traceID, LogRequest.bigEndian(trace.high) + LogRequest.bigEndian(trace.low))
            }
            record.bytesField(LogRecordField.spanID, LogRequest.bigEndian(log.number))
          }
        }
      }
    }
    return writer.bytes
  }

  private static func bigEndian(_ value: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) }
  }

  /// The numbers of a request's log records.
  static func numbers(in bytes: RawSpan) throws(MalformedInput) -> [UInt64] {
    var numbers: [UInt64] = []
    var request = WireCursor(ByteRange(offset: 0, count: UInt32(clamping: bytes.byteCount)))
    while let resource = try request.next(LogsDataField.resourceLogs, in: bytes) {
      var scopes = WireCursor(resource)
      while let scope = try scopes.next(ResourceSpansField.scopeSpans, in: bytes) {
        var records = WireCursor(scope)
        while let record = try records.next(ScopeSpansField.spans, in: bytes) {
          var fields = WireCursor(record)
          guard let id = try fields.next(LogRecordField.spanID, in: bytes) else { continue }
          numbers.append(id.indices.reduce(0) { $0 << 8 | UInt64(bytes.byte(at: $1)) })
        }
      }
    }
    return numbers
  }
}
