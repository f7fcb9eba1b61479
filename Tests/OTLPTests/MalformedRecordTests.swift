// Every way in which a record can be malformed, with the error and the exact byte it names.

import OTLP
import Testing

@Suite struct MalformedRecordTests {
  /// Bytes and what is wrong with them.
  struct Case: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var bytes: [UInt8]
    var expected: MalformedInput

    init(_ description: String, _ bytes: [UInt8], _ reason: MalformedInput.Reason, at offset: Int) {
      testDescription = description
      self.bytes = bytes
      expected = MalformedInput(reason, at: offset)
    }
  }

  @Test(arguments: wholeRecords + varints + tags + lengths + identifiers)
  func namesReasonAndOffset(_ wrong: Case) {
    #expect(fault(of: wrong.bytes) == wrong.expected)
  }

  @Test(arguments: KnownField.all)
  func refusesEveryOtherWireType(_ field: KnownField) {
    for type in UInt8(0)...7 where type != field.type {
      let tag = varint(UInt64(field.number) << 3 | UInt64(type))
      // A value of that type, so that the wire format is valid.
      let count = type == 0 || type == 2 ? 1 : type == 5 ? 4 : 8
      let (record, offset) = field.place(tag + [UInt8](repeating: 0, count: count))
      let reason: MalformedInput.Reason =
        switch type {
        case 3, 4: .group
        case 6, 7: .invalidTag
        default: .wrongWireType
        }
      #expect(fault(of: record) == MalformedInput(reason, at: offset), "wire type \(type)")
    }
  }

  @Test(arguments: KnownField.levels)
  func refusesGroupsAndMissingWireTypesInUnknownFields(_ level: KnownField) {
    for (type, reason) in [
      (UInt64(3), MalformedInput.Reason.group), (4, .group), (6, .invalidTag), (7, .invalidTag),
    ] {
      let (record, offset) = level.place(varint(1001 << 3 | type))
      #expect(fault(of: record) == MalformedInput(reason, at: offset), "wire type \(type)")
    }
  }

  @Test(arguments: KnownField.levels)
  func refusesFieldNumberZero(_ level: KnownField) {
    for type in UInt8(0)...7 {
      let (record, offset) = level.place([type, 0])
      #expect(fault(of: record) == MalformedInput(.invalidTag, at: offset), "wire type \(type)")
    }
  }

  @Test(arguments: KnownField.levels.filter { !$0.parents.isEmpty })
  func refusesLengthsPastTheirMessage(_ level: KnownField) {
    // The record continues after the message, so only the message's own end can catch it.
    let (record, offset) = level.place(varint(1001 << 3 | 2) + [1])
    let padded = record + [UInt8](repeating: 0, count: 64)
    #expect(fault(of: padded) == MalformedInput(.lengthPastEnd, at: offset + 2))
  }

  // MARK: Truncation

  @Test func refusesEveryPrefixOfARecord() {
    let record = RecordModel(.full, service: "cart").encoded()
    for length in 0..<record.count {
      let expected =
        switch length {
        case 0: MalformedInput(.empty, at: 0)
        case 1: MalformedInput(.truncated, at: 1)
        // The length of the resource spans is two bytes here.
        case 2: MalformedInput(.truncated, at: 1)
        default: MalformedInput(.lengthPastEnd, at: 1)
        }
      #expect(fault(of: Array(record.prefix(length))) == expected, "\(length) bytes")
    }
  }

  /// Cuts the span's content at every length, with valid lengths around it, and works out what must happen
  /// from the layout of the fields.
  @Test(arguments: FieldOrder.allCases)
  func refusesEverySpanCutShort(_ order: FieldOrder) {
    var random = SeededGenerator(seed: 1)
    let nodes = order.arrange(SpanModel.full.nodes, keeping: nil, &random)
    let content = nodes.encoded
    for length in 0..<content.count {
      let (record, contentStart) = place(span: Array(content.prefix(length)))
      let expected = SpanLayout(nodes).outcome(cutAt: length).map {
        MalformedInput($0.reason, at: contentStart + $0.offset)
      }
      #expect(fault(of: record) == expected, "cut at \(length)")
    }
  }

  // MARK: Hostile records

  @Test func aHugeClaimInASmallRecordCostsNothing() {
    for claim in [100 << 20, Int(Int32.max), Int(UInt32.max), Int.max] {
      for level in KnownField.levels {
        let (record, offset) = level.place(varint(1001 << 3 | 2) + varint(UInt64(claim)))
        let padded = record + [UInt8](repeating: 0, count: max(0, 100 - record.count))
        #expect(fault(of: padded) == MalformedInput(.lengthPastEnd, at: offset + 2))
      }
    }
  }

  /// Only the messages that lead to spans are entered. An unknown field is one step, whatever its content: no
  /// depth can exhaust the stack, and the content need not even be protobuf.
  @Test func unknownFieldsAreNeverEntered() throws {
    var nested: [UInt8] = [0xff, 0xff, 0xff]
    for _ in 0..<10_000 { nested = [0x0a] + varint(UInt64(nested.count)) + nested }
    let deep = WireNode.bytes(1001, nested)
    var span = SpanModel.full
    span.others = [deep]
    let attribute = WireNode.message(1, [.string(1, "deep"), .bytes(2, nested)])
    let model = RecordModel(
      resources: [
        ResourceModel(
          scopes: [ScopeModel(spans: [span], others: [deep])], attributes: [attribute], others: [deep])
      ], others: [deep])
    #expect(try scannedFacts(model.encoded()) == model.facts)
  }

  @Test func aRecordIsUsableAgainAfterAnError() throws {
    var record = ScannedRecord()
    let sound = RecordModel(.full, service: "cart")
    for wrong in Self.varints + Self.tags + Self.lengths + Self.identifiers {
      #expect(throws: wrong.expected) { try wrong.bytes.withRawBytes { try record.scan($0) } }
      let bytes = sound.encoded()
      try bytes.withRawBytes { try record.scan($0) }
      #expect(record.spans.map { SpanFacts($0, of: record, bytes) } == sound.facts)
      #expect(record.resources.count == 1)
    }
  }

  @Test func describesItself() {
    #expect("\(MalformedInput(.varintTooLong, at: 17))" == "varint_too_long at byte 17")
    #expect(Set(MalformedInput.Reason.allCases.map(\.rawValue)).count == MalformedInput.Reason.allCases.count)
  }
}

// MARK: Tables

extension MalformedRecordTests {
  static let wholeRecords: [Case] = [
    Case("no bytes", [], .empty, at: 0),
    Case("no resource spans", [0x18, 0x01], .noSpans, at: 0),
    Case("empty resource spans", [0x0a, 0], .noSpans, at: 0),
    Case("empty scope spans", [0x0a, 2, 0x12, 0], .noSpans, at: 0),
    Case("only a resource", [0x0a, 2, 0x0a, 0], .noSpans, at: 0),
    Case("text", Array("{\"resourceSpans\":[]}".utf8), .group, at: 0),
  ]

  static let varints: [Case] = [
    Case("tag not ended", [0x80], .truncated, at: 0),
    Case("length missing", [0x0a], .truncated, at: 1),
    Case("length not ended", [0x0a, 0x80], .truncated, at: 1),
    Case("unknown varint missing", [0x18], .truncated, at: 1),
    Case("unknown varint not ended", [0x18, 0xff, 0xff], .truncated, at: 1),
    Case("eleven bytes", [0x18] + [UInt8](repeating: 0x80, count: 10) + [0], .varintTooLong, at: 1),
    Case("bit 64", [0x18] + [UInt8](repeating: 0xff, count: 9) + [2], .varintTooLong, at: 1),
    Case(
      "more than ten bytes", [0x18] + [UInt8](repeating: 0x80, count: 9) + [0x81, 0], .varintTooLong, at: 1),
    Case("tag of eleven bytes", [UInt8](repeating: 0x80, count: 10) + [0], .varintTooLong, at: 0),
    Case("length of eleven bytes", [0x0a] + [UInt8](repeating: 0x80, count: 10) + [0], .varintTooLong, at: 1),
    spanCase(
      "kind of eleven bytes", [0x30] + [UInt8](repeating: 0x80, count: 10) + [0], .varintTooLong, at: 1),
    spanCase("kind cut short", [0x30, 0x80], .truncated, at: 1),
    spanCase("status code cut short", [0x7a, 2, 0x18, 0x80], .truncated, at: 3),
  ]

  static let tags: [Case] = [
    Case("field 2^29", varint((1 << 29) << 3), .invalidTag, at: 0),
    Case("field 2^61 - 1", varint(.max), .invalidTag, at: 0),
    Case("field 0 after a valid field", [0x18, 0, 0x00], .invalidTag, at: 2),
    Case("over-long field 0", [0x80, 0x00], .invalidTag, at: 0),
    spanCase("field 0 in a span", [0x02, 0], .invalidTag, at: 0),
    spanCase("group in a span", [0x0b, 0x0c], .group, at: 0),
    spanCase("group in a status", [0x7a, 1, 0x0b], .group, at: 2),
  ]

  static let lengths: [Case] = [
    Case("resource spans of 1 byte too many", [0x0a, 3, 0x18, 0x01], .lengthPastEnd, at: 1),
    Case("scope spans over their resource", [0x0a, 2, 0x12, 1, 0], .lengthPastEnd, at: 3),
    Case("span over its scope", [0x0a, 4, 0x12, 2, 0x12, 1, 0], .lengthPastEnd, at: 5),
    Case("resource over its parent", [0x0a, 2, 0x0a, 1, 0], .lengthPastEnd, at: 3),
    Case("attribute over its resource", [0x0a, 4, 0x0a, 2, 0x0a, 1, 0], .lengthPastEnd, at: 5),
    Case("key over its attribute", [0x0a, 6, 0x0a, 4, 0x0a, 2, 0x0a, 1, 0], .lengthPastEnd, at: 7),
    Case("unknown fixed64 of 7 bytes", [0x19, 1, 2, 3, 4, 5, 6, 7], .truncated, at: 1),
    Case("unknown fixed32 of 3 bytes", [0x1d, 1, 2, 3], .truncated, at: 1),
    spanCase("start of 7 bytes", [0x39, 1, 2, 3, 4, 5, 6, 7], .truncated, at: 1),
    spanCase("end of 0 bytes", [0x41], .truncated, at: 1),
    spanCase("flags of 3 bytes", [0x85, 0x01, 1, 2, 3], .truncated, at: 2),
    spanCase("name past the span", [0x2a, 5, 1, 2, 3, 4], .lengthPastEnd, at: 1),
    spanCase("tracestate past the span", [0x1a, 1], .lengthPastEnd, at: 1),
    spanCase("status past the span", [0x7a, 1], .lengthPastEnd, at: 1),
    spanCase("message in a status past it", [0x7a, 2, 0x12, 1], .lengthPastEnd, at: 3),
    // With 2^64 - 1 the sum of offset and length would overflow.
    spanCase("length of 2^64 - 1", [0x2a] + varint(.max), .lengthPastEnd, at: 1),
  ]

  static let identifiers: [Case] =
    [0, 1, 8, 15, 17, 32].map { count in
      let id: [UInt8] = [0x0a, UInt8(count)] + [UInt8](repeating: 1, count: count)
      return spanCase("trace id of \(count) bytes", id, .identifierLength, at: 0)
    }
    + [1, 7, 9, 16].flatMap { count in
      let id = [UInt8(count)] + [UInt8](repeating: 1, count: count)
      return [
        spanCase("span id of \(count) bytes", [0x12] + id, .identifierLength, at: 0),
        spanCase("parent id of \(count) bytes", [0x22] + id, .identifierLength, at: 0),
      ]
    } + [
      missing("nothing in the span", []),
      missing("no trace id", [0x12, 8] + bigEndian(1)),
      missing("no span id", [0x0a, 16] + bigEndian(1) + bigEndian(1)),
      missing("span id of no bytes", [0x0a, 16] + bigEndian(1) + bigEndian(1) + [0x12, 0]),
      missing("zero trace id", [0x0a, 16] + bigEndian(0) + bigEndian(0) + [0x12, 8] + bigEndian(1)),
      missing("zero span id", [0x0a, 16] + bigEndian(1) + bigEndian(1) + [0x12, 8] + bigEndian(0)),
      missing("a trace id replaced by zeros", soundIdentifiers + [0x0a, 16] + bigEndian(0) + bigEndian(0)),
    ]

  /// A span with valid ids, then `fields`, whose fault is at `offset` in them.
  private static func spanCase(
    _ description: String, _ fields: [UInt8], _ reason: MalformedInput.Reason, at offset: Int
  ) -> Case {
    let (record, start) = place(span: soundIdentifiers + fields)
    return Case(description, record, reason, at: start + soundIdentifiers.count + offset)
  }

  private static func missing(_ description: String, _ span: [UInt8]) -> Case {
    let (record, start) = place(span: span)
    return Case(description, record, .identifierMissing, at: start)
  }
}

/// The scanner's error for `bytes`; nil if there is none.
private func fault(of bytes: [UInt8]) -> MalformedInput? {
  do throws(MalformedInput) {
    _ = try scan(bytes)
    return nil
  } catch {
    return error
  }
}

/// Trace id and span id, 28 bytes.
private let soundIdentifiers: [UInt8] = [0x0a, 16] + bigEndian(1) + bigEndian(2) + [0x12, 8] + bigEndian(3)

private func varint(_ value: UInt64) -> [UInt8] {
  var writer = WireWriter()
  writer.varint(value)
  return writer.bytes
}

/// A record with this single span, and where the span's content begins.
private func place(span: [UInt8]) -> (record: [UInt8], offset: Int) {
  wrap(span, in: [1, 2, 2])
}

/// `content` inside message fields of these numbers, the outermost first, and where it begins.
private func wrap(_ content: [UInt8], in fields: [UInt32]) -> (record: [UInt8], offset: Int) {
  var bytes = content
  for field in fields.reversed() { bytes = [WireNode.bytes(field, bytes)].encoded }
  return (bytes, bytes.count - content.count)
}

/// A field of the schema that the scanner reads.
struct KnownField: CustomTestStringConvertible, Sendable {
  var testDescription: String
  /// The messages around it, the outermost first.
  var parents: [UInt32]
  var number: UInt32
  var type: UInt8

  /// A record in which `bytes` come last in the field's message, and where they begin.
  func place(_ bytes: [UInt8]) -> (record: [UInt8], offset: Int) {
    // A span needs its ids, and `service.name` its key, for the field to be read at all.
    let isValue = parents == [1, 1, 1, 2]
    guard isValue else {
      let before = parents == [1, 2, 2] ? soundIdentifiers : []
      let (record, offset) = wrap(before + bytes, in: parents)
      return (record, offset + before.count)
    }
    let attribute = [WireNode.bytes(2, bytes), .string(1, "service.name")].encoded
    let (record, offset) = wrap(attribute, in: [1, 1, 1])
    return (record, offset + 2)
  }

  static let all: [KnownField] = [
    KnownField(testDescription: "resource spans", parents: [], number: 1, type: 2),
    KnownField(testDescription: "resource", parents: [1], number: 1, type: 2),
    KnownField(testDescription: "scope spans", parents: [1], number: 2, type: 2),
    KnownField(testDescription: "spans", parents: [1, 2], number: 2, type: 2),
    KnownField(testDescription: "trace id", parents: [1, 2, 2], number: 1, type: 2),
    KnownField(testDescription: "span id", parents: [1, 2, 2], number: 2, type: 2),
    KnownField(testDescription: "tracestate", parents: [1, 2, 2], number: 3, type: 2),
    KnownField(testDescription: "parent id", parents: [1, 2, 2], number: 4, type: 2),
    KnownField(testDescription: "name", parents: [1, 2, 2], number: 5, type: 2),
    KnownField(testDescription: "kind", parents: [1, 2, 2], number: 6, type: 0),
    KnownField(testDescription: "start", parents: [1, 2, 2], number: 7, type: 1),
    KnownField(testDescription: "end", parents: [1, 2, 2], number: 8, type: 1),
    KnownField(testDescription: "status", parents: [1, 2, 2], number: 15, type: 2),
    KnownField(testDescription: "flags", parents: [1, 2, 2], number: 16, type: 5),
    KnownField(testDescription: "status code", parents: [1, 2, 2, 15], number: 3, type: 0),
    KnownField(testDescription: "attributes", parents: [1, 1], number: 1, type: 2),
    KnownField(testDescription: "key", parents: [1, 1, 1], number: 1, type: 2),
    KnownField(testDescription: "value", parents: [1, 1, 1], number: 2, type: 2),
    KnownField(testDescription: "service name", parents: [1, 1, 1, 2], number: 1, type: 2),
  ]

  /// One field of each message that the scanner enters.
  static let levels: [KnownField] = all.reduce(into: []) { levels, field in
    if !levels.contains(where: { $0.parents == field.parents }) { levels.append(field) }
  }
}

/// Where the fields of a span are, to tell what must happen when it is cut short.
private struct SpanLayout {
  private let nodes: [WireNode]

  init(_ nodes: [WireNode]) {
    self.nodes = nodes
  }

  /// The error of a reader that gets the first `length` bytes; nil if those are a valid span.
  func outcome(cutAt length: Int) -> (reason: MalformedInput.Reason, offset: Int)? {
    var offset = 0
    var identifiers: Set<UInt32> = []
    for node in nodes {
      let bytes = [node].encoded
      guard length < offset + bytes.count else {
        offset += bytes.count
        if node.field <= 2 { identifiers.insert(node.field) }
        continue
      }
      if length == offset { break }
      let tag = varint(UInt64(node.field) << 3).count
      if length < offset + tag { return (.truncated, offset) }
      if case .bytes = node, length > offset + tag { return (.lengthPastEnd, offset + tag) }
      if case .message = node, length > offset + tag { return (.lengthPastEnd, offset + tag) }
      return (.truncated, offset + tag)
    }
    return identifiers.count == 2 ? nil : (.identifierMissing, 0)
  }
}

extension SpanModel {
  /// A span with every field that the scanner reads, and some that it does not.
  static let full = SpanModel(
    traceID: TraceID(0x11_2233_4455_6677), spanID: 0xa1, parentID: 0xb2, start: 1_000, end: 3_500,
    name: Array("GET /cart".utf8), traceState: Array("ot=th:8".utf8), flags: 0x101, status: .error, kind: 2,
    others: [
      .message(9, [.string(1, "http.route"), .message(2, [.string(1, "/cart")])]), .varint(10, 3),
      .message(11, [.fixed64(1, 5), .string(2, "event")]),
      .message(13, [.bytes(1, bigEndian(1) + bigEndian(2))]),
    ])
}
