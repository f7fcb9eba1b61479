// Wanted attributes: found in any order of fields, and damage stays local.

import Testing

@testable import OTLP

@Suite struct WantedAttributesTests {
  /// One span, or one resource, with these fields.
  private func found(
    _ keys: [String], span: [WireNode] = [], resource: [WireNode] = [], tail: [UInt8] = []
  ) throws -> (span: [FoundAttribute], resource: [FoundAttribute]) {
    let ids: [WireNode] = [
      .bytes(1, [UInt8](repeating: 1, count: 16)), .bytes(2, [UInt8](repeating: 2, count: 8)),
    ]
    var writer = WireWriter()
    WireNode.message(1, [.bytes(1, resource.encoded + tail), .message(2, [.message(2, ids + span)])]).append(
      to: &writer)
    var wanted = WantedAttributes(keys: keys)
    var record = ScannedRecord()
    return try writer.bytes.withRawBytes { bytes in
      try record.scan(bytes)
      wanted.read(record.spans[0], of: bytes)
      let ofSpan = wanted.found
      wanted.read(record.resources[0], of: record, bytes)
      return (ofSpan, wanted.found)
    }
  }

  private func pair(_ key: String, _ value: [WireNode], valueFirst: Bool = false) -> [WireNode] {
    let fields: [WireNode] = [.string(1, key), .message(2, value)]
    return valueFirst ? fields.reversed() : fields
  }

  /// The value, with a range of nothing for each of the record.
  private func withoutRange(_ value: AttributeValue) -> AttributeValue {
    switch value {
    case .string: .string(nothing)
    case .array: .array(nothing)
    case .map: .map(nothing)
    case .bytes: .bytes(nothing)
    default: value
    }
  }

  private let nothing = ByteRange(offset: 0, count: 0)

  @Test(arguments: [false, true]) func valuesOfEveryType(valueFirst: Bool) throws {
    let long = [UInt8](repeating: 0x78, count: 300)
    let values: [([WireNode], AttributeValue)] = [
      ([.varint(2, 1)], .boolean(true)), ([.varint(2, 0)], .boolean(false)),
      ([.varint(3, UInt64(bitPattern: -7))], .integer(-7)), ([.fixed64(4, (1.5).bitPattern)], .double(1.5)),
      ([.string(1, "text")], .string(nothing)), ([.bytes(1, long)], .string(nothing)),
      ([.message(5, [])], .array(nothing)), ([.message(6, [])], .map(nothing)),
      ([.bytes(7, [1])], .bytes(nothing)), ([], .missing),
      ([.varint(3, 1), .varint(2, 1)], .boolean(true)), ([.varint(3, 1), .bytes(7, [])], .bytes(nothing)),
      // Unknown fields change nothing.
      ([.varint(3, 1), .varint(8, 1)], .integer(1)),
      ([.string(1, "text"), .bytes(9, long)], .string(nothing)),
      ([.varint(8, 1)], .missing),
    ]
    for (fields, value) in values {
      let attribute = pair("key", fields, valueFirst: valueFirst)
      let found = try found(
        ["other", "key"], span: [.message(9, attribute)], resource: [.message(1, attribute)])
      for found in [found.span, found.resource] {
        #expect(found.map(\.key) == [1] && found.map { withoutRange($0.value) } == [value])
      }
    }
  }

  /// As in protobuf: the last key counts, values are merged, and a missing key is empty.
  @Test func whatIsGivenTwice() throws {
    let one = WireNode.message(2, [.varint(3, 1)])
    let attributes: [([WireNode], [FoundAttribute])] = [
      ([.string(1, "a"), .string(1, "b"), one], [.init(key: 1, value: .integer(1))]),
      ([.string(1, "b"), .string(1, "c"), one], []),
      ([.string(1, "c"), one, .string(1, "b")], [.init(key: 1, value: .integer(1))]),
      ([.string(1, "a"), .message(2, [.varint(2, 1)]), one], [.init(key: 0, value: .integer(1))]),
      ([one, .string(1, "a"), .message(2, [])], [.init(key: 0, value: .integer(1))]),
      (
        [one, .message(2, [.fixed64(4, (0.5).bitPattern)]), .string(1, "a")],
        [.init(key: 0, value: .double(0.5))]
      ),
      ([one], [.init(key: 2, value: .integer(1))]),
    ]
    for (attribute, expected) in attributes {
      #expect(try found(["a", "b", ""], span: [.message(9, attribute)]).span == expected)
    }
  }

  /// As in the Collector: an attribute has its key whether it has a value or not.
  @Test func anAttributeWithoutAValueIsOne() throws {
    let attributes: [WireNode] = [.message(9, [.string(1, "k")]), .message(9, pair("k", [.varint(3, 1)]))]
    #expect(try found(["k"], span: attributes).span == [FoundAttribute(key: 0, value: .missing)])
  }

  @Test func keysAreToldApart() throws {
    let keys = ["a", "b", "http.method", "http.target", "", "http.targets"]
    for (number, key) in keys.enumerated() {
      let found = try found(keys, span: [.message(9, pair(key, [.varint(3, 5)]))]).span
      #expect(found == [FoundAttribute(key: number, value: .integer(5))])
    }
    for key in ["c", "aa", "http.metho", "http.methods", "xttp.method", "http.target\0"] {
      #expect(try found(keys, span: [.message(9, pair(key, [.varint(3, 5)]))]).span.isEmpty)
    }
    #expect(try found([], span: [.message(9, pair("a", [.varint(3, 5)]))]).span.isEmpty)
  }

  @Test func theFirstOfAKeyCounts() throws {
    let attributes: [WireNode] = [
      .message(9, pair("k", [.varint(3, 1)])), .message(9, pair("j", [.varint(3, 2)])),
      .message(9, pair("k", [.varint(3, 3)])),
    ]
    let found = try found(["k", "j"], span: attributes).span
    #expect(found == [.init(key: 0, value: .integer(1)), .init(key: 1, value: .integer(2))])
  }

  /// Damage ends only its own attribute. A field with the wrong wire type is not an attribute.
  @Test func damageStaysWhereItIs() throws {
    let sound = WireNode.message(9, pair("k", [.varint(3, 1)]))
    let expected = [FoundAttribute(key: 0, value: .integer(1))]
    for damage in [
      .bytes(9, [0x0a, 0x09, 0x6b]), .bytes(9, [0x0a]), .bytes(9, [0x0a, 0x01, 0x6b, 0x12, 0x05, 0x18]),
      .bytes(9, [0x0a, 0x01, 0x6b, 0x12, 0x01, 0x18]), .bytes(9, [0x08, 0x01]), .bytes(9, [0xff]),
      .varint(9, 3),
      .fixed64(9, 1), .bytes(9, []), .bytes(9, [0x0b]),
      .bytes(9, [0x0a, 0x01, 0x6b, 0x12, 0x02, 0x2d, 0x00]),
    ] as [WireNode] {
      #expect(try found(["k"], span: [damage, sound]).span == expected)
      #expect(try found(["k"], span: [sound, damage]).span == expected)
      #expect(try found(["k"], span: [damage]).span.isEmpty)
    }
  }

  /// The scanner checks a resource only up to its service name.
  @Test func aResourceThatEndsInDamage() throws {
    let name = WireNode.message(1, pair("service.name", [.string(1, "a")]))
    let sound = WireNode.message(1, pair("k", [.varint(3, 1)]))
    let found = try found(["k"], resource: [name, sound, .bytes(1, [0x0a])], tail: [0x0a, 0x7f])
    #expect(found.resource == [FoundAttribute(key: 0, value: .integer(1))])
  }

  @Test func aResourceInSeveralParts() throws {
    var writer = WireWriter()
    let span: [WireNode] = [
      .bytes(1, [UInt8](repeating: 1, count: 16)), .bytes(2, [UInt8](repeating: 2, count: 8)),
    ]
    WireNode.message(
      1,
      [
        .message(1, [.message(1, pair("a", [.varint(3, 1)]))]), .message(2, [.message(2, span)]),
        .string(3, "schema"), .message(1, [.message(1, pair("b", [.varint(3, 2)]))]),
      ]
    ).append(to: &writer)
    var wanted = WantedAttributes(keys: ["a", "b"])
    var record = ScannedRecord()
    try writer.bytes.withRawBytes { bytes in
      try record.scan(bytes)
      wanted.read(record.resources[0], of: record, bytes)
    }
    #expect(wanted.found == [.init(key: 0, value: .integer(1)), .init(key: 1, value: .integer(2))])
  }
}
