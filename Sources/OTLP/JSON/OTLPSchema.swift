// The messages of OTLP traces as tables: what each field is called, its number, and what it holds.
//
// Schema: <https://github.com/open-telemetry/opentelemetry-proto>, trace/v1, common/v1 and resource/v1. Left
// out are `key_strindex` and `string_value_strindex`, which point into a profile's string table.

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
  /// The field is one of a `oneof`: that it is there says something, so its default is written, too.
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
  /// The status code of before OTLP 0.6.
  case deprecatedStatusCode

  /// What the enum's names begin with, where they are too long for a `JSONName` with it.
  var longPrefix: StaticString? { self == .deprecatedStatusCode ? "DEPRECATED_STATUS_CODE_" : nil }

  /// The number of the value called `name`, with or without the enum's prefix (without a long one).
  func value(named name: JSONName) -> UInt64? {
    let names =
      switch self {
      case .spanKind: Self.spanKinds
      case .statusCode: Self.statusCodes
      case .deprecatedStatusCode: Self.deprecatedStatusCodes
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
}

/// A message of the schema.
enum OTLPMessage {
  case tracesData, resourceSpans, scopeSpans, librarySpans, resource, entityRef, scope, span, event, link,
    status
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
    case .keyValue: Self.keyValueFields
    case .anyValue: Self.anyValueFields
    case .arrayValue: Self.arrayValueFields
    case .keyValueList: Self.keyValueListFields
    }
  }

  private static let tracesDataFields = [OTLPField(1, "resourceSpans", .messages(.resourceSpans))]
  private static let resourceSpansFields = [
    OTLPField(1, "resource", .message(.resource)),
    OTLPField(2, "scopeSpans", .messages(.scopeSpans)),
    OTLPField(3, "schemaUrl", .string),
    // The name of before OTLP 0.15: written as today's field, whose form it has.
    OTLPField(2, "instrumentationLibrarySpans", .messages(.librarySpans)),
  ]
  private static let librarySpansFields = [
    OTLPField(1, "instrumentationLibrary", .message(.scope)),
    OTLPField(2, "spans", .messages(.span)),
    OTLPField(3, "schemaUrl", .string),
  ]
  private static let scopeSpansFields = [
    OTLPField(1, "scope", .message(.scope)),
    OTLPField(2, "spans", .messages(.span)),
    OTLPField(3, "schemaUrl", .string),
  ]
  private static let resourceFields = [
    OTLPField(1, "attributes", .messages(.keyValue)),
    OTLPField(2, "droppedAttributesCount", .uint32),
    OTLPField(3, "entityRefs", .messages(.entityRef)),
  ]
  private static let entityRefFields = [
    OTLPField(1, "schemaUrl", .string),
    OTLPField(2, "type", .string),
    OTLPField(3, "idKeys", .strings),
    OTLPField(4, "descriptionKeys", .strings),
  ]
  private static let scopeFields = [
    OTLPField(1, "name", .string),
    OTLPField(2, "version", .string),
    OTLPField(3, "attributes", .messages(.keyValue)),
    OTLPField(4, "droppedAttributesCount", .uint32),
  ]
  private static let spanFields = [
    OTLPField(1, "traceId", .identifier(byteCount: 16)),
    OTLPField(2, "spanId", .identifier(byteCount: 8)),
    OTLPField(3, "traceState", .string),
    OTLPField(4, "parentSpanId", .identifier(byteCount: 8)),
    OTLPField(5, "name", .string),
    OTLPField(6, "kind", .enumeration(.spanKind)),
    OTLPField(7, "startTimeUnixNano", .fixed64),
    OTLPField(8, "endTimeUnixNano", .fixed64),
    OTLPField(9, "attributes", .messages(.keyValue)),
    OTLPField(10, "droppedAttributesCount", .uint32),
    OTLPField(11, "events", .messages(.event)),
    OTLPField(12, "droppedEventsCount", .uint32),
    OTLPField(13, "links", .messages(.link)),
    OTLPField(14, "droppedLinksCount", .uint32),
    OTLPField(15, "status", .message(.status)),
    OTLPField(16, "flags", .fixed32),
  ]
  private static let eventFields = [
    OTLPField(1, "timeUnixNano", .fixed64),
    OTLPField(2, "name", .string),
    OTLPField(3, "attributes", .messages(.keyValue)),
    OTLPField(4, "droppedAttributesCount", .uint32),
  ]
  private static let linkFields = [
    OTLPField(1, "traceId", .identifier(byteCount: 16)),
    OTLPField(2, "spanId", .identifier(byteCount: 8)),
    OTLPField(3, "traceState", .string),
    OTLPField(4, "attributes", .messages(.keyValue)),
    OTLPField(5, "droppedAttributesCount", .uint32),
    OTLPField(6, "flags", .fixed32),
  ]
  private static let statusFields = [
    OTLPField(1, "deprecatedCode", .enumeration(.deprecatedStatusCode)),
    OTLPField(2, "message", .string),
    OTLPField(3, "code", .enumeration(.statusCode)),
  ]
  private static let keyValueFields = [
    OTLPField(1, "key", .string),
    OTLPField(2, "value", .message(.anyValue)),
  ]
  private static let anyValueFields = [
    OTLPField(1, "stringValue", .string, isChoice: true),
    OTLPField(2, "boolValue", .bool, isChoice: true),
    OTLPField(3, "intValue", .int64, isChoice: true),
    OTLPField(4, "doubleValue", .double, isChoice: true),
    OTLPField(5, "arrayValue", .message(.arrayValue), isChoice: true),
    OTLPField(6, "kvlistValue", .message(.keyValueList), isChoice: true),
    OTLPField(7, "bytesValue", .bytes, isChoice: true),
  ]
  private static let arrayValueFields = [OTLPField(1, "values", .messages(.anyValue))]
  private static let keyValueListFields = [OTLPField(1, "values", .messages(.keyValue))]
}
