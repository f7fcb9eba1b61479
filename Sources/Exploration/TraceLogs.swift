// The logs of a kept trace, decoded from its records in the topic of their logs.

public import OTLP

/// The log records of one trace.
public struct TraceLogs: Sendable {
  /// A log record.
  private struct Log: Sendable {
    var time: UInt64 = 0
    var observed: UInt64 = 0
    var severityNumber: UInt64 = 0
    var severityText: [UInt8] = []
    var name: [UInt8] = []
    var body = AttributeContent.missing
    var attributes: [Attribute] = []
    var traceID: [UInt8] = []
    var spanID: [UInt8] = []
    var service: [UInt8] = []

    /// When it happened, or was seen.
    var moment: UInt64 { time > 0 ? time : observed }
  }

  /// The trace.
  public let id: TraceID
  private var logs: [Log] = []
  private var bytes = 0
  /// Whether there were more than are held.
  public private(set) var isTruncated = false

  /// More are left out.
  private static let countMax = 5000
  private static let bytesMax = 16 << 20
  private static let serviceName = Array("service.name".utf8)

  /// A trace without logs.
  public init(_ id: TraceID) {
    self.id = id
  }

  /// Notes that the trace has more than are given.
  public mutating func noteMore() { isTruncated = true }

  /// Adds the trace's log records in a record; those of other traces are left out, and what is damaged, too.
  public mutating func add(_ record: [UInt8]) {
    record.withRawBytes { raw in
      do throws(MalformedInput) {
        var cursor = WireCursor(ByteRange(offset: 0, count: UInt32(clamping: raw.byteCount)))
        while let group = try cursor.next(LogsDataField.resourceLogs, in: raw) { try add(group, raw) }
      } catch {}
    }
  }

  private mutating func add(_ group: ByteRange, _ raw: RawSpan) throws(MalformedInput) {
    var service: [UInt8] = []
    var fields = WireCursor(group)
    while let resource = try fields.next(ResourceSpansField.resource, in: raw) {
      let attributes = try Attribute.list(resource, ResourceField.attributes, in: raw)
      service = attributes.last { $0.key == TraceLogs.serviceName }?.value.text ?? service
    }
    var scopes = WireCursor(group)
    while let scope = try scopes.next(ResourceSpansField.scopeSpans, in: raw) {
      var messages = WireCursor(scope)
      while let message = try messages.next(ScopeSpansField.spans, in: raw) {
        guard logs.count < TraceLogs.countMax, bytes < TraceLogs.bytesMax else {
          isTruncated = true
          return
        }
        var log = try TraceLogs.log(message, in: raw)
        guard log.traceID.withRawBytes({ TraceID(key: $0) }) == id else { continue }
        log.service = service
        bytes += Int(message.count)
        logs.append(log)
      }
    }
  }

  private static func log(_ message: ByteRange, in raw: RawSpan) throws(MalformedInput) -> Log {
    var log = Log()
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: raw)
      switch tag.field {
      case LogRecordField.time: log.time = try cursor.fixed64(of: tag, in: raw)
      case LogRecordField.observedTime: log.observed = try cursor.fixed64(of: tag, in: raw)
      case LogRecordField.severityNumber: log.severityNumber = try cursor.varint(of: tag, in: raw)
      case LogRecordField.severityText: log.severityText = raw.bytes(try cursor.content(of: tag, in: raw))
      case LogRecordField.eventName: log.name = raw.bytes(try cursor.content(of: tag, in: raw))
      case LogRecordField.traceID: log.traceID = raw.bytes(try cursor.content(of: tag, in: raw))
      case LogRecordField.spanID: log.spanID = raw.bytes(try cursor.content(of: tag, in: raw))
      case LogRecordField.body:
        let content = try cursor.content(of: tag, in: raw)
        log.body = try AttributeContent(try AttributeValue(content, in: raw), in: raw)
      case LogRecordField.attributes:
        let part = try cursor.content(of: tag, in: raw)
        if log.attributes.count < WholeSpan.partsMax { log.attributes.append(try Attribute(part, raw)) }
      default: try cursor.skip(tag, in: raw)
      }
    }
    return log
  }

  // MARK: The document

  /// Severities by their numbers, four each.
  ///
  /// Source: OpenTelemetry, "Logs Data Model", severity fields.
  private static let severities = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]

  /// Appends them as an array, in the order of their times.
  func append(to json: inout JSONText) {
    // Of those with the same time in the order in which they arrived.
    let order = logs.indices.sorted { (logs[$0].moment, $0) < (logs[$1].moment, $1) }
    json.array { json in for place in order { TraceLogs.append(logs[place], to: &json) } }
  }

  private static func append(_ log: Log, to json: inout JSONText) {
    json.object { json in
      json.set("time_ns", String(log.moment))
      let hasSpan = log.spanID.contains { $0 != 0 }
      json.set("span_id", hasSpan ? TraceSpans.hexadecimal(log.spanID) : nil)
      json.key("service")
      json.string(bytes: log.service)
      json.key("severity")
      if log.severityText.isEmpty, (1...24).contains(log.severityNumber) {
        json.string(severities[Int(log.severityNumber - 1) / 4])
      } else {
        json.string(bytes: log.severityText)
      }
      json.key("body")
      json.string(bytes: log.body == .missing ? log.name : log.body.text)
      json.key("attributes")
      TraceSpans.append(log.attributes, to: &json)
    }
  }
}
