// Attributes of spans and resources: as text for the search, and whole for documents.

internal import OTLP

/// An attribute's value, copied out of its record.
indirect enum AttributeContent: Equatable, Sendable {
  case string([UInt8])
  case boolean(Bool)
  case integer(Int64)
  case double(Double)
  case bytes([UInt8])
  case array([AttributeContent])
  case map([Attribute])
  case missing

  /// Values in values are read this deep.
  private static let depthMax = 16

  init(_ value: AttributeValue, in record: RawSpan, depth: Int = 0) throws(MalformedInput) {
    switch value {
    case .missing: self = .missing
    case .string(let range): self = .string(record.bytes(range))
    case .boolean(let value): self = .boolean(value)
    case .integer(let value): self = .integer(value)
    case .double(let value): self = .double(value)
    case .bytes(let range): self = .bytes(record.bytes(range))
    case .array(let range):
      var values: [AttributeContent] = []
      var cursor = WireCursor(range)
      while depth < AttributeContent.depthMax, let next = try cursor.next(ArrayValueField.values, in: record)
      {
        values.append(
          try AttributeContent(try AttributeValue(next, in: record), in: record, depth: depth + 1))
      }
      self = .array(values)
    case .map(let range):
      guard depth < AttributeContent.depthMax else {
        self = .missing
        return
      }
      self = .map(try Attribute.list(range, KeyValueListField.values, in: record, depth: depth + 1))
    }
  }

  /// As the search compares it, and as arrays and maps are shown in other systems.
  var text: [UInt8] {
    switch self {
    case .string(let bytes): return bytes
    case .boolean(let value): return Array((value ? "true" : "false").utf8)
    case .integer(let value): return Array(String(value).utf8)
    case .double(let value): return Array("\(value)".utf8)
    case .missing: return []
    case .bytes, .array, .map:
      var json = JSONText()
      append(to: &json)
      return json.bytes
    }
  }

  /// Its type's name in documents.
  var type: String {
    switch self {
    case .string: "string"
    case .boolean: "bool"
    case .integer: "int"
    case .double: "double"
    case .bytes: "bytes"
    case .array: "array"
    case .map: "map"
    case .missing: "empty"
    }
  }

  /// Appends it as JSON. Whole numbers beyond 2^53, which readers would round, are texts.
  func append(to json: inout JSONText) {
    switch self {
    case .string(let bytes): json.string(bytes: bytes)
    case .boolean(let value): json.boolean(value)
    case .integer(let value):
      if value.magnitude <= 1 << 53 { json.number(value) } else { json.string(String(value)) }
    case .double(let value): if value.isFinite { json.number(value) } else { json.string("\(value)") }
    case .bytes(let bytes): json.string(Base64.text(bytes))
    case .array(let values): json.array { json in for value in values { value.append(to: &json) } }
    case .map(let entries):
      json.object { json in
        for entry in entries {
          json.key(text: String(decoding: entry.key, as: UTF8.self))
          entry.value.append(to: &json)
        }
      }
    case .missing: json.null()
    }
  }
}

/// An attribute.
struct Attribute: Equatable, Sendable {
  var key: [UInt8]
  var value: AttributeContent

  /// Reads all fields numbered `field` of a message as attributes.
  static func list(
    _ message: ByteRange, _ field: UInt32, in record: RawSpan, depth: Int = 0
  ) throws(MalformedInput) -> [Attribute] {
    var attributes: [Attribute] = []
    var cursor = WireCursor(message)
    while let next = try cursor.next(field, in: record) {
      attributes.append(try Attribute(next, record, depth))
    }
    return attributes
  }

  init(key: [UInt8], value: AttributeContent) {
    self.key = key
    self.value = value
  }

  init(_ message: ByteRange, _ record: RawSpan, _ depth: Int = 0) throws(MalformedInput) {
    let view = try KeyValueView(message, in: record)
    key = record.bytes(view.key)
    value = try AttributeContent(try view.value(in: record), in: record, depth: depth)
  }

  /// Appends it as `[key, value, type]`.
  func append(to json: inout JSONText) {
    json.array { json in
      json.string(bytes: key)
      value.append(to: &json)
      json.string(value.type)
    }
  }
}

/// Bytes as text, by RFC 4648.
enum Base64 {
  private static let characters = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  static func text(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      var bits: UInt32 = 0
      for place in 0..<3 { bits = bits << 8 | (place < group.count ? UInt32(group[start + place]) : 0) }
      for place in 0..<4 {
        let character = characters[Int(bits >> UInt32(18 - 6 * place) & 63)]
        text.append(place <= group.count ? character : 0x3d)
      }
    }
    return String(decoding: text, as: UTF8.self)
  }
}
