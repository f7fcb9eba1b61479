// The messages of OTLP traces and logs as tables: what each field is called in JSON, its number, and what it
// holds.

/// One field of a message.
struct OTLPField {
  /// What a field holds.
  enum Kind {
    case string
    case strings
    case bytes
    /// A trace id (16 bytes) or span id (8 bytes).
    case identifier(byteCount: Int)
    case bool
    case uint32
    case int64
    case fixed32
    case fixed64
    case double
    case enumeration(OTLPEnumeration)
    case message(OTLPMessage)
    case messages(OTLPMessage)
  }

  let name: JSONName
  let number: UInt32
  let kind: Kind
  /// The field is one of a `oneof`: its presence means something, so its default is written, too.
  let isChoice: Bool

  init(_ number: UInt32, _ name: JSONName, _ kind: Kind, isChoice: Bool = false) {
    self.name = name
    self.number = number
    self.kind = kind
    self.isChoice = isChoice
  }
}

/// An enum, whose values are numbered from 0 without a gap.
enum OTLPEnumeration {
  case spanKind
  case statusCode
  /// The status code before OTLP 0.6.
  case deprecatedStatusCode
  case severityNumber

  /// The prefix of the enum's names, where they are too long for a `JSONName` with it.
  var longPrefix: StaticString? { self == .deprecatedStatusCode ? "DEPRECATED_STATUS_CODE_" : nil }

  /// The number of the value called `name`, with or without the enum's prefix (without a long one).
  func value(named name: JSONName) -> UInt64? {
    let names =
      switch self {
      case .spanKind: Self.spanKinds
      case .statusCode: Self.statusCodes
      case .deprecatedStatusCode: Self.deprecatedStatusCodes
      case .severityNumber: Self.severityNumbers
      }
    return names.firstIndex { $0.full == name || $0.short == name }.map(UInt64.init)
  }

  private static let spanKinds: [(full: JSONName, short: JSONName)] = [
    ("SPAN_KIND_UNSPECIFIED", "UNSPECIFIED"), ("SPAN_KIND_INTERNAL", "INTERNAL"),
    ("SPAN_KIND_SERVER", "SERVER"),
    ("SPAN_KIND_CLIENT", "CLIENT"), ("SPAN_KIND_PRODUCER", "PRODUCER"), ("SPAN_KIND_CONSUMER", "CONSUMER"),
  ]
  private static let statusCodes: [(full: JSONName, short: JSONName)] = [
    ("STATUS_CODE_UNSET", "UNSET"), ("STATUS_CODE_OK", "OK"), ("STATUS_CODE_ERROR", "ERROR"),
  ]
  private static let deprecatedStatusCodes: [(full: JSONName, short: JSONName)] = [
    "OK", "CANCELLED", "UNKNOWN_ERROR", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL_ERROR", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
  ].map { (full: $0, short: $0) }
  private static let severityNumbers: [(full: JSONName, short: JSONName)] = [
    ("SEVERITY_NUMBER_UNSPECIFIED", "UNSPECIFIED"),
    ("SEVERITY_NUMBER_TRACE", "TRACE"), ("SEVERITY_NUMBER_TRACE2", "TRACE2"),
    ("SEVERITY_NUMBER_TRACE3", "TRACE3"), ("SEVERITY_NUMBER_TRACE4", "TRACE4"),
    ("SEVERITY_NUMBER_DEBUG", "DEBUG"), ("SEVERITY_NUMBER_DEBUG2", "DEBUG2"),
    ("SEVERITY_NUMBER_DEBUG3", "DEBUG3"), ("SEVERITY_NUMBER_DEBUG4", "DEBUG4"),
    ("SEVERITY_NUMBER_INFO", "INFO"), ("SEVERITY_NUMBER_INFO2", "INFO2"),
    ("SEVERITY_NUMBER_INFO3", "INFO3"), ("SEVERITY_NUMBER_INFO4", "INFO4"),
    ("SEVERITY_NUMBER_WARN", "WARN"), ("SEVERITY_NUMBER_WARN2", "WARN2"),
    ("SEVERITY_NUMBER_WARN3", "WARN3"), ("SEVERITY_NUMBER_WARN4", "WARN4"),
    ("SEVERITY_NUMBER_ERROR", "ERROR"), ("SEVERITY_NUMBER_ERROR2", "ERROR2"),
    ("SEVERITY_NUMBER_ERROR3", "ERROR3"), ("SEVERITY_NUMBER_ERROR4", "ERROR4"),
    ("SEVERITY_NUMBER_FATAL", "FATAL"), ("SEVERITY_NUMBER_FATAL2", "FATAL2"),
    ("SEVERITY_NUMBER_FATAL3", "FATAL3"), ("SEVERITY_NUMBER_FATAL4", "FATAL4"),
  ]
}

/// A message of the schema.
enum OTLPMessage {
  case tracesData, resourceSpans, scopeSpans, librarySpans, resource, entityRef, scope, span, event, link,
    status
  case logsData, resourceLogs, scopeLogs, libraryLogs, logRecord
  case keyValue, anyValue, arrayValue, keyValueList

  /// The message's fields; fewer than 32.
  var fields: [OTLPField] {
    switch self {
    case .tracesData: Self.tracesDataFields
    case .resourceSpans: Self.resourceSpansFields
    case .scopeSpans: Self.scopeSpansFields
    case .librarySpans: Self.librarySpansFields
    case .resource: Self.resourceFields
    case .entityRef: Self.entityRefFields
    case .scope: Self.scopeFields
    case .span: Self.spanFields
    case .event: Self.eventFields
    case .link: Self.linkFields
    case .status: Self.statusFields
    case .logsData: Self.logsDataFields
    case .resourceLogs: Self.resourceLogsFields
    case .scopeLogs: Self.scopeLogsFields
    case .libraryLogs: Self.libraryLogsFields
    case .logRecord: Self.logRecordFields
    case .keyValue: Self.keyValueFields
    case .anyValue: Self.anyValueFields
    case .arrayValue: Self.arrayValueFields
    case .keyValueList: Self.keyValueListFields
    }
  }

  private static let tracesDataFields = [
    OTLPField(TracesDataField.resourceSpans, "resourceSpans", .messages(.resourceSpans))
  ]
  private static let resourceSpansFields = [
    OTLPField(ResourceSpansField.resource, "resource", .message(.resource)),
    OTLPField(ResourceSpansField.scopeSpans, "scopeSpans", .messages(.scopeSpans)),
    OTLPField(ResourceSpansField.schemaURL, "schemaUrl", .string),
    // The name before OTLP 0.15: written as today's field, which has the same form.
    OTLPField(ResourceSpansField.scopeSpans, "instrumentationLibrarySpans", .messages(.librarySpans)),
  ]
  private static let librarySpansFields = [
    OTLPField(ScopeSpansField.scope, "instrumentationLibrary", .message(.scope)),
    OTLPField(ScopeSpansField.spans, "spans", .messages(.span)),
    OTLPField(ScopeSpansField.schemaURL, "schemaUrl", .string),
  ]
  private static let scopeSpansFields = [
    OTLPField(ScopeSpansField.scope, "scope", .message(.scope)),
    OTLPField(ScopeSpansField.spans, "spans", .messages(.span)),
    OTLPField(ScopeSpansField.schemaURL, "schemaUrl", .string),
  ]
  private static let resourceFields = [
    OTLPField(ResourceField.attributes, "attributes", .messages(.keyValue)),
    OTLPField(ResourceField.droppedAttributesCount, "droppedAttributesCount", .uint32),
    OTLPField(ResourceField.entityRefs, "entityRefs", .messages(.entityRef)),
  ]
  private static let entityRefFields = [
    OTLPField(EntityRefField.schemaURL, "schemaUrl", .string),
    OTLPField(EntityRefField.type, "type", .string),
    OTLPField(EntityRefField.idKeys, "idKeys", .strings),
    OTLPField(EntityRefField.descriptionKeys, "descriptionKeys", .strings),
  ]
  private static let scopeFields = [
    OTLPField(ScopeField.name, "name", .string),
    OTLPField(ScopeField.version, "version", .string),
    OTLPField(ScopeField.attributes, "attributes", .messages(.keyValue)),
    OTLPField(ScopeField.droppedAttributesCount, "droppedAttributesCount", .uint32),
  ]
  private static let spanFields = [
    OTLPField(SpanField.traceID, "traceId", .identifier(byteCount: 16)),
    OTLPField(SpanField.spanID, "spanId", .identifier(byteCount: 8)),
    OTLPField(SpanField.traceState, "traceState", .string),
    OTLPField(SpanField.parentSpanID, "parentSpanId", .identifier(byteCount: 8)),
    OTLPField(SpanField.name, "name", .string),
    OTLPField(SpanField.kind, "kind", .enumeration(.spanKind)),
    OTLPField(SpanField.start, "startTimeUnixNano", .fixed64),
    OTLPField(SpanField.end, "endTimeUnixNano", .fixed64),
    OTLPField(SpanField.attributes, "attributes", .messages(.keyValue)),
    OTLPField(SpanField.droppedAttributesCount, "droppedAttributesCount", .uint32),
    OTLPField(SpanField.events, "events", .messages(.event)),
    OTLPField(SpanField.droppedEventsCount, "droppedEventsCount", .uint32),
    OTLPField(SpanField.links, "links", .messages(.link)),
    OTLPField(SpanField.droppedLinksCount, "droppedLinksCount", .uint32),
    OTLPField(SpanField.status, "status", .message(.status)),
    OTLPField(SpanField.flags, "flags", .fixed32),
  ]
  private static let eventFields = [
    OTLPField(EventField.time, "timeUnixNano", .fixed64),
    OTLPField(EventField.name, "name", .string),
    OTLPField(EventField.attributes, "attributes", .messages(.keyValue)),
    OTLPField(EventField.droppedAttributesCount, "droppedAttributesCount", .uint32),
  ]
  private static let linkFields = [
    OTLPField(LinkField.traceID, "traceId", .identifier(byteCount: 16)),
    OTLPField(LinkField.spanID, "spanId", .identifier(byteCount: 8)),
    OTLPField(LinkField.traceState, "traceState", .string),
    OTLPField(LinkField.attributes, "attributes", .messages(.keyValue)),
    OTLPField(LinkField.droppedAttributesCount, "droppedAttributesCount", .uint32),
    OTLPField(LinkField.flags, "flags", .fixed32),
  ]
  private static let statusFields = [
    OTLPField(StatusField.deprecatedCode, "deprecatedCode", .enumeration(.deprecatedStatusCode)),
    OTLPField(StatusField.message, "message", .string),
    OTLPField(StatusField.code, "code", .enumeration(.statusCode)),
  ]
  private static let logsDataFields = [
    OTLPField(LogsDataField.resourceLogs, "resourceLogs", .messages(.resourceLogs))
  ]
  private static let resourceLogsFields = [
    OTLPField(ResourceSpansField.resource, "resource", .message(.resource)),
    OTLPField(ResourceSpansField.scopeSpans, "scopeLogs", .messages(.scopeLogs)),
    OTLPField(ResourceSpansField.schemaURL, "schemaUrl", .string),
    OTLPField(ResourceSpansField.scopeSpans, "instrumentationLibraryLogs", .messages(.libraryLogs)),
  ]
  private static let libraryLogsFields = [
    OTLPField(ScopeSpansField.scope, "instrumentationLibrary", .message(.scope)),
    OTLPField(ScopeSpansField.spans, "logRecords", .messages(.logRecord)),
    OTLPField(ScopeSpansField.schemaURL, "schemaUrl", .string),
  ]
  private static let scopeLogsFields = [
    OTLPField(ScopeSpansField.scope, "scope", .message(.scope)),
    OTLPField(ScopeSpansField.spans, "logRecords", .messages(.logRecord)),
    OTLPField(ScopeSpansField.schemaURL, "schemaUrl", .string),
  ]
  private static let logRecordFields = [
    OTLPField(LogRecordField.time, "timeUnixNano", .fixed64),
    OTLPField(LogRecordField.severityNumber, "severityNumber", .enumeration(.severityNumber)),
    OTLPField(LogRecordField.severityText, "severityText", .string),
    OTLPField(LogRecordField.body, "body", .message(.anyValue)),
    OTLPField(LogRecordField.attributes, "attributes", .messages(.keyValue)),
    OTLPField(LogRecordField.droppedAttributesCount, "droppedAttributesCount", .uint32),
    OTLPField(LogRecordField.flags, "flags", .fixed32),
    OTLPField(LogRecordField.traceID, "traceId", .identifier(byteCount: 16)),
    OTLPField(LogRecordField.spanID, "spanId", .identifier(byteCount: 8)),
    OTLPField(LogRecordField.observedTime, "observedTimeUnixNano", .fixed64),
    OTLPField(LogRecordField.eventName, "eventName", .string),
  ]
  private static let keyValueFields = [
    OTLPField(KeyValueField.key, "key", .string),
    OTLPField(KeyValueField.value, "value", .message(.anyValue)),
  ]
  private static let anyValueFields = [
    OTLPField(AnyValueField.string, "stringValue", .string, isChoice: true),
    OTLPField(AnyValueField.boolean, "boolValue", .bool, isChoice: true),
    OTLPField(AnyValueField.integer, "intValue", .int64, isChoice: true),
    OTLPField(AnyValueField.double, "doubleValue", .double, isChoice: true),
    OTLPField(AnyValueField.array, "arrayValue", .message(.arrayValue), isChoice: true),
    OTLPField(AnyValueField.map, "kvlistValue", .message(.keyValueList), isChoice: true),
    OTLPField(AnyValueField.bytes, "bytesValue", .bytes, isChoice: true),
  ]
  private static let arrayValueFields = [OTLPField(ArrayValueField.values, "values", .messages(.anyValue))]
  private static let keyValueListFields = [
    OTLPField(KeyValueListField.values, "values", .messages(.keyValue))
  ]
}
