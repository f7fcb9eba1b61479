// Tags: what Jaeger and Zipkin have in place of attributes, and of some of a span's own fields.

import OTLP

/// One tag, in the bytes that it was read from.
struct SpanTag {
  enum Value {
    case text(ByteRange)
    case boolean(Bool)
    case integer(Int64)
    /// The bit pattern.
    case double(UInt64)
    case binary(ByteRange)
  }

  var key = ByteRange(offset: 0, count: 0)
  var value = Value.text(ByteRange(offset: 0, count: 0))
  /// Whether it went into a field of the span, so that it is no attribute.
  var isUsed = false

  /// Its text; nil if it holds something else.
  var text: ByteRange? {
    if case .text(let range) = value { range } else { nil }
  }

  /// Whether its value is the text `literal`.
  func isText(_ literal: StaticString, in bytes: RawSpan) -> Bool {
    text.map { bytes.spells(literal, in: $0) } ?? false
  }
}

/// Which of a span's tags stand for fields that OTLP has, by their indices.
///
/// Source: <https://opentelemetry.io/docs/specs/otel/common/mapping-to-non-otlp/>, and the Collector's
/// translators.
struct TagsOfFields {
  private(set) var kind: Int?
  private(set) var error: Int?
  private(set) var statusCode: Int?
  private(set) var statusDescription: Int?
  private(set) var httpStatus: Int?
  private(set) var httpMessage: Int?
  private(set) var traceState: Int?
  private(set) var scopeName: Int?
  private(set) var scopeVersion: Int?

  /// Notes the tag at `index`, if it is one of these.
  mutating func note(_ tag: SpanTag, at index: Int, in bytes: RawSpan) {
    switch tag.key.count {
    case 5: if bytes.spells("error", in: tag.key) { error = index }
    case 9: if bytes.spells("span.kind", in: tag.key) { kind = index }
    case 14: if bytes.spells("w3c.tracestate", in: tag.key) { traceState = index }
    case 15: if bytes.spells("otel.scope.name", in: tag.key) { scopeName = index }
    case 16:
      if bytes.spells("otel.status_code", in: tag.key) { statusCode = index }
      if bytes.spells("http.status_code", in: tag.key) { httpStatus = index }
    case 17: if bytes.spells("otel.library.name", in: tag.key) { scopeName = scopeName ?? index }
    case 18: if bytes.spells("otel.scope.version", in: tag.key) { scopeVersion = index }
    case 19: if bytes.spells("http.status_message", in: tag.key) { httpMessage = index }
    case 20: if bytes.spells("otel.library.version", in: tag.key) { scopeVersion = scopeVersion ?? index }
    case 23: if bytes.spells("otel.status_description", in: tag.key) { statusDescription = index }
    case 25: if bytes.spells("http.response.status_code", in: tag.key) { httpStatus = index }
    default: break
    }
  }
}

/// The kinds of spans, numbered as in OTLP.
enum SpanKindNumber: UInt64 {
  case unspecified
  case `internal`
  case server
  case client
  case producer
  case consumer

  /// The kind that a tag `span.kind` names.
  init(named range: ByteRange, in bytes: RawSpan) {
    self =
      if bytes.spells("server", in: range) { .server } else if bytes.spells("client", in: range) {
        .client
      } else if bytes.spells("internal", in: range) { .internal } else if bytes.spells("producer", in: range)
      {
        .producer
      } else if bytes.spells("consumer", in: range) { .consumer } else { .unspecified }
  }
}

/// A status, numbered as in OTLP.
struct MappedStatus {
  static let ok: UInt64 = 1
  static let error: UInt64 = 2

  var code: UInt64 = 0
  var message: ByteRange?

  /// The code that a tag `otel.status_code` names: `OK`, `ERROR` or `UNSET`, in any case, with or without the
  /// prefix that old versions of the Collector wrote.
  static func code(named range: ByteRange, in bytes: RawSpan) -> UInt64 {
    var name = String(decoding: bytes.extracting(range.indices).copied(), as: UTF8.self).uppercased()
    if name.hasPrefix("STATUS_CODE_") { name.removeFirst("STATUS_CODE_".count) }
    return name == "OK" ? ok : name == "ERROR" ? error : 0
  }
}
