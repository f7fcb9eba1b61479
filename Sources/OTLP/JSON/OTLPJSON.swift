// OTLP in JSON, converted to protobuf at the door: everything behind it knows one form.

/// Reads OTLP/JSON.
///
/// Names are camelCase or, as protobuf's JSON form allows, the schema's own; ids are hexadecimal; 64-bit
/// integers are strings or numbers; enums are numbers or names; `null` is the same as nothing; names that the
/// schema does not know are stepped over. Of a name that comes twice, both are written, which in protobuf
/// means that the last one counts, and that lists are joined.
///
/// Format: OpenTelemetry Protocol specification, "JSON Protobuf Encoding".
public enum OTLPJSON {
  /// Converts one `TracesData` or `ExportTraceServiceRequest` and appends it to `writer`.
  ///
  /// - Throws: `MalformedInput` with the offset in the document. What was appended then is of no use.
  public static func convert(_ json: RawSpan, into writer: inout WireWriter) throws(MalformedInput) {
    guard json.byteCount > 0 else { throw MalformedInput(.empty, at: 0) }
    var copy = WireWriter(capacity: json.byteCount)
    copy.append(json)
    var reader = JSONReader(copy.bytes)
    try writer.fields(of: Schema.tracesData, from: &reader)
    try reader.end()
  }
}

/// A message of the schema: what its members are called, and how they are written.
struct Schema: Sendable {
  /// How a member is read and written.
  enum Form: Sendable {
    case message(@Sendable () -> Schema)
    case messages(@Sendable () -> Schema)
    case string
    /// Base64.
    case bytes
    /// Hexadecimal, of this many bytes or none.
    case identifier(Int)
    case boolean
    case double
    case int64
    case uint32
    case fixed32
    case fixed64
    case enumeration([String: UInt64])
  }

  struct Member: Sendable {
    var field: UInt32
    var form: Form
    /// Whether a value that is the default is written all the same, because being there means something.
    var isOneOf = false
  }

  private let members: [String: Member]

  init(_ members: [(name: String, field: UInt32, form: Form)], isOneOf: Bool = false) {
    var table: [String: Member] = [:]
    for (name, field, form) in members {
      let member = Member(field: field, form: form, isOneOf: isOneOf)
      table[name] = member
      table[Schema.snakeCase(name)] = member
    }
    self.members = table
  }

  subscript(name: String) -> Member? { members[name] }

  private static func snakeCase(_ name: String) -> String {
    name.reduce(into: "") { text, character in
      if character.isUppercase { text += "_" + character.lowercased() } else { text.append(character) }
    }
  }
}

/// The schema of `trace.proto`, `resource.proto` and `common.proto`.
extension Schema {
  static let tracesData: Schema = Schema([("resourceSpans", 1, .messages { resourceSpans })])

  static let resourceSpans: Schema = Schema([
    ("resource", 1, .message { resource }), ("scopeSpans", 2, .messages { scopeSpans }),
    ("schemaUrl", 3, .string),
  ])

  static let resource: Schema = Schema([
    ("attributes", 1, .messages { keyValue }), ("droppedAttributesCount", 2, .uint32),
    ("entityRefs", 3, .messages { entityRef }),
  ])

  static let entityRef: Schema = Schema([("schemaUrl", 1, .string), ("type", 2, .string)])

  static let scopeSpans: Schema = Schema([
    ("scope", 1, .message { scope }), ("spans", 2, .messages { span }), ("schemaUrl", 3, .string),
  ])

  static let scope: Schema = Schema([
    ("name", 1, .string), ("version", 2, .string), ("attributes", 3, .messages { keyValue }),
    ("droppedAttributesCount", 4, .uint32),
  ])

  static let span: Schema = Schema([
    ("traceId", 1, .identifier(16)), ("spanId", 2, .identifier(8)), ("traceState", 3, .string),
    ("parentSpanId", 4, .identifier(8)), ("name", 5, .string), ("kind", 6, .enumeration(kinds)),
    ("startTimeUnixNano", 7, .fixed64), ("endTimeUnixNano", 8, .fixed64),
    ("attributes", 9, .messages { keyValue }),
    ("droppedAttributesCount", 10, .uint32), ("events", 11, .messages { event }),
    ("droppedEventsCount", 12, .uint32),
    ("links", 13, .messages { link }), ("droppedLinksCount", 14, .uint32),
    ("status", 15, .message { status }),
    ("flags", 16, .fixed32),
  ])

  static let event: Schema = Schema([
    ("timeUnixNano", 1, .fixed64), ("name", 2, .string), ("attributes", 3, .messages { keyValue }),
    ("droppedAttributesCount", 4, .uint32),
  ])

  static let link: Schema = Schema([
    ("traceId", 1, .identifier(16)), ("spanId", 2, .identifier(8)), ("traceState", 3, .string),
    ("attributes", 4, .messages { keyValue }), ("droppedAttributesCount", 5, .uint32), ("flags", 6, .fixed32),
  ])

  static let status: Schema = Schema([("message", 2, .string), ("code", 3, .enumeration(codes))])

  static let keyValue: Schema = Schema([("key", 1, .string), ("value", 2, .message { anyValue })])

  static let anyValue: Schema = Schema(
    [
      ("stringValue", 1, .string), ("boolValue", 2, .boolean), ("intValue", 3, .int64),
      ("doubleValue", 4, .double),
      ("arrayValue", 5, .message { arrayValue }), ("kvlistValue", 6, .message { keyValueList }),
      ("bytesValue", 7, .bytes),
    ], isOneOf: true)

  static let arrayValue: Schema = Schema([("values", 1, .messages { anyValue })])

  static let keyValueList: Schema = Schema([("values", 1, .messages { keyValue })])

  private static let kinds: [String: UInt64] = [
    "SPAN_KIND_UNSPECIFIED": 0, "SPAN_KIND_INTERNAL": 1, "SPAN_KIND_SERVER": 2, "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4, "SPAN_KIND_CONSUMER": 5,
  ]

  private static let codes: [String: UInt64] = [
    "STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2,
  ]
}

extension WireWriter {
  /// Reads an object and writes its members as fields.
  fileprivate mutating func fields(of schema: Schema, from reader: inout JSONReader) throws(MalformedInput) {
    try reader.object { (reader, name) throws(MalformedInput) in
      guard let member = schema[name] else { return try reader.skip() }
      if try reader.null() { return }
      try self.value(member, from: &reader)
    }
  }

  private mutating func value(_ member: Schema.Member, from reader: inout JSONReader) throws(MalformedInput) {
    let field = member.field
    switch member.form {
    case .message(let schema):
      try message(field, schema(), from: &reader)
    case .messages(let schema):
      try reader.array { (reader) throws(MalformedInput) in
        if try reader.null() { return }
        try self.message(field, schema(), from: &reader)
      }
    case .string:
      let text = try reader.string()
      if member.isOneOf || !text.isEmpty { bytesField(field, text) }
    case .bytes:
      _ = reader.peek()
      let start = reader.offset
      bytesField(field, try Base64.decoded(try reader.string(), at: start))
    case .identifier(let count):
      try identifier(field, count, from: &reader)
    case .boolean:
      varintField(field, try reader.boolean() ? 1 : 0)
    case .double:
      fixed64Field(field, try reader.double().bitPattern)
    case .int64:
      varintField(field, UInt64(bitPattern: try reader.integer(Int64.self)))
    case .uint32:
      let value = try reader.integer(UInt32.self)
      if value != 0 { varintField(field, UInt64(value)) }
    case .fixed32:
      let value = try reader.integer(UInt32.self)
      if value != 0 { fixed32Field(field, value) }
    case .fixed64:
      let value = try reader.integer(UInt64.self)
      if value != 0 { fixed64Field(field, value) }
    case .enumeration(let names):
      let value = try reader.enumeration(names)
      if value != 0 { varintField(field, value) }
    }
  }

  private mutating func message(
    _ field: UInt32, _ schema: Schema, from reader: inout JSONReader
  ) throws(MalformedInput) {
    tag(field, .lengthDelimited)
    let start = count
    try fields(of: schema, from: &reader)
    closeMessage(contentStart: start)
  }

  private mutating func identifier(
    _ field: UInt32, _ count: Int, from reader: inout JSONReader
  ) throws(MalformedInput) {
    _ = reader.peek()
    let start = reader.offset
    let text = try reader.string()
    guard !text.isEmpty else { return }
    guard text.count == 2 * count else { throw MalformedInput(.identifierLength, at: start) }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: text.count, by: 2) {
      guard let high = Hexadecimal.value(of: text[index]), let low = Hexadecimal.value(of: text[index + 1])
      else {
        throw MalformedInput(.invalidText, at: start)
      }
      bytes.append(high << 4 | low)
    }
    bytesField(field, bytes)
  }
}

extension JSONReader {
  /// Reads an integer: a number, or a string that holds one. A number may have a fraction or an exponent as
  /// long as its value is whole.
  fileprivate mutating func integer<Integer: FixedWidthInteger>(
    _: Integer.Type
  ) throws(MalformedInput) -> Integer {
    let next = peek()
    let start = offset
    let text = next == 0x22 ? String(decoding: try string(), as: UTF8.self) : try number()
    if let value = Integer(text) { return value }
    let isNumber = text.utf8.allSatisfy { $0 >= 0x2b && $0 <= 0x39 || $0 | 0x20 == 0x65 }
    guard isNumber, let real = Double(text) else { throw MalformedInput(.wrongType, at: start) }
    guard let value = Integer(exactly: real) else { throw MalformedInput(.numberOutOfRange, at: start) }
    return value
  }

  /// Reads a double: a number, a string that holds one, or `NaN`, `Infinity` or `-Infinity`.
  fileprivate mutating func double() throws(MalformedInput) -> Double {
    let next = peek()
    let start = offset
    guard next == 0x22 else { return Double(try number()) ?? .nan }
    let text = String(decoding: try string(), as: UTF8.self)
    switch text {
    case "NaN": return .nan
    case "Infinity": return .infinity
    case "-Infinity": return -.infinity
    default:
      guard let value = Double(text), value.isFinite else { throw MalformedInput(.wrongType, at: start) }
      return value
    }
  }

  /// Reads an enum: a number, or one of `names`.
  fileprivate mutating func enumeration(_ names: [String: UInt64]) throws(MalformedInput) -> UInt64 {
    guard peek() == 0x22 else { return UInt64(bitPattern: Int64(try integer(Int32.self))) }
    let start = offset
    guard let value = names[String(decoding: try string(), as: UTF8.self)] else {
      throw MalformedInput(.wrongType, at: start)
    }
    return value
  }
}

/// Base64, of both alphabets, padded or not.
///
/// Format: RFC 4648, sections 4 and 5.
private enum Base64 {
  static func decoded(_ text: [UInt8], at offset: Int) throws(MalformedInput) -> [UInt8] {
    let padding = text.reversed().prefix { $0 == 0x3d }.count
    let digits = text.dropLast(padding)
    guard padding <= 2, digits.count % 4 != 1, padding == 0 || text.count % 4 == 0 else {
      throw MalformedInput(.invalidText, at: offset)
    }
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for character in digits {
      guard let value = value(of: character) else { throw MalformedInput(.invalidText, at: offset) }
      bits = bits << 6 | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    return bytes
  }

  private static func value(of character: UInt8) -> UInt8? {
    switch character {
    case 0x41...0x5a: character - 0x41
    case 0x61...0x7a: character - 0x61 + 26
    case 0x30...0x39: character - 0x30 + 52
    case 0x2b, 0x2d: 62
    case 0x2f, 0x5f: 63
    default: nil
    }
  }
}
