// What the scanner finds in valid records, whatever the order of their fields.

import OTLP
import Testing

@Suite struct ScannerTests {
  @Test(arguments: FieldOrder.allCases)
  func seesEveryFieldInAnyOrder(_ order: FieldOrder) throws {
    let model = RecordModel(.full, service: "cart")
    for seed in UInt64(0)..<50 {
      #expect(try scannedFacts(model.encoded(order, seed: seed)) == model.facts)
    }
  }

  @Test func leavesOutWhatIsNotThere() throws {
    let bytes = RecordModel(SpanModel(traceID: TraceID(7), spanID: 9)).encoded()
    let span = try #require(scan(bytes).spans.first)
    #expect(span.isRoot)
    #expect(span.duration == 0)
    #expect(span.status == .unset)
    #expect(span.kind == 0)
    #expect(span.flags == 0)
    #expect(span.name.count == 0 && span.traceState.count == 0)
  }

  /// Producers, consumers and spans with links, wherever the links are.
  @Test func tellsAsynchronousSpans() throws {
    let link = WireNode.message(13, [.bytes(1, Array(repeating: 1, count: 16))])
    for kind in [0, 1, 2, 3, 4, 5, 6, 7, 255] as [UInt8] {
      let span = SpanModel(
        traceID: TraceID(7), spanID: 9, parentID: 3, start: 4, end: 5, name: [6], kind: kind)
      func scanned(_ nodes: [WireNode]) throws -> SpanView {
        let bytes = [WireNode.message(1, [.message(2, [.message(2, nodes)])])].encoded
        return try #require(scan(bytes).spans.first)
      }
      let plain = try scanned(span.nodes)
      #expect(!plain.hasLinks && plain.isAsynchronous == (kind == 4 || kind == 5))
      for nodes in [[link] + span.nodes, span.nodes + [link], span.nodes + [.message(13, []), link]] {
        let linked = try scanned(nodes)
        #expect(linked.hasLinks && linked.isAsynchronous)
        #expect(linked.spanID == 9 && linked.end == 5)
      }
    }
  }

  @Test func knowsWhereASpanLies() throws {
    let bytes = RecordModel(.full, SpanModel(traceID: TraceID(7), spanID: 9)).encoded()
    let inPlace = spansInPlace(bytes)
    let spans = try scan(bytes).spans
    #expect(spans.map { Array(bytes[$0.field.indices]) } == inPlace.map(\.span))
    for span in spans {
      #expect(fields(of: Array(bytes[span.field.indices]))[0].content == Array(bytes[span.content.indices]))
    }
  }

  @Test(arguments: FieldOrder.allCases)
  func tellsResourcesAndScopesApart(_ order: FieldOrder) throws {
    let model = RecordModel(resources: [
      ResourceModel(service: Array("a".utf8), scopes: [.numbered(1, 2), .numbered(3)]),
      ResourceModel(service: nil, scopes: [.numbered(4)]),
      ResourceModel(service: Array("none of the spans".utf8), scopes: []),
      ResourceModel(service: Array("c".utf8), scopes: [.numbered(), .numbered(5), .numbered(6)]),
    ])
    let bytes = model.encoded(order)
    let record = try scan(bytes)
    #expect(record.spans.map { SpanFacts($0, of: record, bytes) } == model.facts)
    #expect(record.spans.map(\.resource) == [0, 0, 0, 1, 2, 2])
    #expect(record.spans.map(\.scope) == [0, 0, 1, 2, 3, 4])
    #expect(record.resources.count == 3, "one without spans is left out")
  }

  // MARK: Repeated and unknown fields

  @Test func theLastOfARepeatedFieldCounts() throws {
    let first = SpanModel.full.nodes
    let second = SpanModel(
      traceID: TraceID(2), spanID: 2, parentID: 3, start: 4, end: 5, name: [6], traceState: [7], flags: 8,
      status: .ok, kind: 4)
    let record = [WireNode.message(1, [.message(2, [.message(2, first + second.nodes)])])].encoded
    #expect(try scannedFacts(record) == [SpanFacts(second, service: [])])
  }

  @Test func anEmptyParentIsNone() throws {
    var nodes = SpanModel.full.nodes
    nodes.append(.bytes(4, []))
    let record = [WireNode.message(1, [.message(2, [.message(2, nodes)])])].encoded
    #expect(try scan(record).spans.map(\.isRoot) == [true])
  }

  @Test(arguments: [
    ([WireNode.varint(3, 2)], SpanStatus.error), ([.varint(3, 2), .varint(3, 1)], .ok), ([], .unset),
    ([.varint(3, 3)], .other), ([.varint(3, 258)], .other), ([.varint(3, .max)], .other),
    ([.varint(3, 0x1_0000_0002)], .error), ([.varint(3, 0x1_0000_0003)], .other),
    ([.varint(3, 0x83)], .other),
    ([.string(2, "message alone")], .unset), ([.varint(3, 2), .varint(900, 1)], .error),
  ])
  func readsStatusCodes(_ status: [WireNode], _ expected: SpanStatus) throws {
    let nodes = SpanModel(traceID: TraceID(1), spanID: 1).nodes + [.message(15, status)]
    let record = [WireNode.message(1, [.message(2, [.message(2, nodes)])])].encoded
    #expect(try scan(record).spans.map(\.status) == [expected])
  }

  @Test func kindsOutOfRangeDoNotWrapAround() throws {
    let nodes = SpanModel(traceID: TraceID(1), spanID: 1).nodes + [.varint(6, 258)]
    let record = [WireNode.message(1, [.message(2, [.message(2, nodes)])])].encoded
    #expect(try scan(record).spans.map(\.kind) == [255])
  }

  @Test func stepsOverUnknownFieldsOfEveryTypeAtEveryLevel() throws {
    let unknown: [WireNode] = [
      .varint(1004, .max), .fixed64(1001, 1), .fixed32(1002, 2), .bytes(1003, [0xff]),
      .bytes(1 << 29 - 1, []),
    ]
    var span = SpanModel.full
    span.others += unknown
    let model = RecordModel(
      resources: [
        ResourceModel(
          service: [1], scopes: [ScopeModel(spans: [span, span], others: unknown)], attributes: unknown,
          others: unknown)
      ], others: unknown)
    for order in FieldOrder.allCases {
      #expect(try scannedFacts(model.encoded(order)) == model.facts)
    }
  }

  @Test func longerVarintsThanNeededAreRead() throws {
    // Tag 10 in two bytes, length 0 in three, before a valid record: both are legal protobuf.
    let record: [UInt8] = [0x8a, 0x00, 0x80, 0x80, 0x00] + RecordModel(.full).encoded()
    #expect(try scannedFacts(record) == RecordModel(.full).facts)
  }

  // MARK: Service names

  @Test(arguments: [
    ([WireNode.service("a")], "a"), ([.service("a"), .service("b")], "a"), ([], ""),
    ([.attribute("service.names", "x"), .attribute("service.nam", "x"), .service("b")], "b"),
    ([.message(1, [.string(1, "service.name")]), .service("b")], "b"),
    ([.message(1, [.string(1, "service.name"), .message(2, [.varint(3, 1)])]), .service("b")], "b"),
    ([.message(1, [.string(1, "x"), .string(1, "service.name"), .message(2, [.string(1, "c")])])], "c"),
    ([.message(1, [.string(1, "service.name"), .string(1, "x"), .message(2, [.string(1, "c")])])], ""),
    ([.varint(9, 9), .service("a"), .varint(9, 9)], "a"),
  ])
  func findsTheServiceName(_ attributes: [WireNode], _ expected: String) throws {
    let span = WireNode.message(2, [.message(2, SpanModel.full.nodes)])
    let bytes = [WireNode.message(1, [.message(1, attributes), span])].encoded
    #expect(try scannedFacts(bytes).map(\.service) == [Array(expected.utf8)])
  }

  @Test func ofTwoResourcesTheLastNameCounts() throws {
    let span = WireNode.message(2, [.message(2, SpanModel.full.nodes)])
    let bytes = [
      WireNode.message(
        1, [.message(1, [.service("a")]), span, .message(1, [.service("b")]), .message(1, [])])
    ].encoded
    #expect(try scannedFacts(bytes).map(\.service) == [Array("b".utf8)])
  }

  // MARK: Durations

  /// Two bytes of a record, or six with an unknown field, must not become fifty bytes of memory.
  @Test func whatHasNoSpansIsNotNoted() throws {
    let one = RecordModel(resources: [ResourceModel(scopes: [.numbered(1)])]).encoded(.ascending)
    let nothing: [[UInt8]] = [
      [0x0a, 0x00], [0x0a, 0x02, 0x12, 0x00], [0x0a, 0x04, 0x12, 0x00, 0x12, 0x00],
      [0x0a, 0x06, 0x12, 0x02, 0x2a, 0x00, 0x2a, 0x00],
    ]
    let some = (0..<500).flatMap { nothing[$0 % nothing.count] }
    let bytes = some + one + some
    let record = try scan(bytes)
    let alone = try scan(one)
    #expect(record.resources.count == 1)
    #expect(record.byteCount == alone.byteCount, "no list has grown")
    #expect(record.spans.map(\.spanID) == [1] && record.spans[0].resource == 0 && record.spans[0].scope == 0)
    #expect(
      record.resourceFields(of: record.spans[0]).count == alone.resourceFields(of: alone.spans[0]).count)
  }

  @Test func aSpanThatEndsBeforeItStartsHasNoDuration() throws {
    for (start, end, expected) in [(UInt64(5), UInt64(9), UInt64(4)), (9, 5, 0), (5, 5, 0), (0, .max, .max)] {
      let bytes = RecordModel(SpanModel(traceID: TraceID(1), spanID: 1, start: start, end: end)).encoded()
      #expect(try scan(bytes).spans.map(\.duration) == [expected])
    }
  }

  // MARK: Properties

  @Test(arguments: UInt64(0)..<8)
  func readsBackWhatWasWritten(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var reused = ScannedRecord()
    for _ in 0..<250 {
      let model = RecordModel.random(traceCount: 5, &random)
      for order in FieldOrder.allCases {
        let bytes = model.encoded(order, seed: random.next())
        try bytes.withRawBytes { try reused.scan($0) }
        try #require(reused.spans.map { SpanFacts($0, of: reused, bytes) } == model.facts)
        let withSpans = model.resources.count { $0.scopes.contains { !$0.spans.isEmpty } }
        try #require(reused.resources.count == withSpans)
        try #require(reused.spans.map { Array(bytes[$0.field.indices]) } == spansInPlace(bytes).map(\.span))
      }
    }
  }

  /// Damaged records are rejected or read, never trapped on, and whatever is read lies inside the record.
  @Test(arguments: UInt64(0)..<8)
  func survivesDamage(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<1_000 {
      var bytes = RecordModel.random(traceCount: 3, &random).encoded(.shuffled, seed: random.next())
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
      }
      do throws(MalformedInput) {
        let record = try scan(bytes)
        for span in record.spans { #expect(span.field.indices.upperBound <= bytes.count) }
      } catch {
        #expect(error.offset >= 0 && error.offset <= bytes.count)
      }
    }
  }
}

extension WireNode {
  static func attribute(_ key: String, _ value: String) -> WireNode {
    .message(1, [.string(1, key), .message(2, [.string(1, value)])])
  }

  static func service(_ name: String) -> WireNode { .attribute("service.name", name) }
}

extension ScopeModel {
  /// A scope with spans of these numbers, each in its own trace.
  static func numbered(_ numbers: UInt64...) -> ScopeModel {
    ScopeModel(spans: numbers.map { SpanModel(traceID: TraceID($0), spanID: $0) })
  }
}
