// Unusable spans are set aside, with their resource and scope; the others are read as if these were missing.

import Testing

@testable import OTLP

@Suite struct RejectedSpansTests {
  /// A way to break a span, and the reason for which it must be rejected.
  struct Fault: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var reason: MalformedInput.Reason
    var spoil: @Sendable ([WireNode]) -> [WireNode]

    init(
      _ description: String, _ reason: MalformedInput.Reason,
      _ spoil: @escaping @Sendable ([WireNode]) -> [WireNode]
    ) {
      (testDescription, self.reason, self.spoil) = (description, reason, spoil)
    }
  }

  static let faults = [
    Fault("no fields", .identifierMissing) { _ in [] },
    Fault("no trace id", .identifierMissing) { $0.filter { $0.field != 1 } },
    Fault("no span id", .identifierMissing) { $0.filter { $0.field != 2 } },
    Fault("zero trace id", .identifierMissing) {
      $0.filter { $0.field != 1 } + [.bytes(1, [UInt8](repeating: 0, count: 16))]
    },
    Fault("zero span id", .identifierMissing) {
      $0.filter { $0.field != 2 } + [.bytes(2, [UInt8](repeating: 0, count: 8))]
    },
    Fault("trace id of 15 bytes", .identifierLength) { $0 + [.bytes(1, [UInt8](repeating: 1, count: 15))] },
    Fault("trace id of 8 bytes", .identifierLength) { $0 + [.bytes(1, [UInt8](repeating: 1, count: 8))] },
    Fault("span id of 16 bytes", .identifierLength) { $0 + [.bytes(2, [UInt8](repeating: 1, count: 16))] },
    Fault("parent id of 7 bytes", .identifierLength) { $0 + [.bytes(4, [UInt8](repeating: 1, count: 7))] },
    Fault("a name that is a number", .wrongWireType) { $0 + [.varint(5, 1)] },
    Fault("a start that is a text", .wrongWireType) { $0 + [.string(7, "now")] },
    Fault("a status code that is a text", .wrongWireType) { $0 + [.message(15, [.string(3, "ERROR")])] },
  ]

  private static func span(_ trace: UInt64, _ id: UInt64) -> SpanModel {
    SpanModel(traceID: TraceID(trace), spanID: id, start: 1, end: 2, name: Array("op \(id)".utf8), kind: 2)
  }

  /// Two resources of two scopes with two spans each; the one at `bad` is broken.
  private func record(_ fault: Fault, at bad: [Int]) -> [UInt8] {
    var number = -1
    return (0..<2).map { resource in
      WireNode.message(
        1,
        [.message(1, [.string(2, "resource \(resource)")])]
          + (0..<2).map { scope in
            WireNode.message(
              2,
              [.message(1, [.string(1, "scope \(scope)")])]
                + (0..<2).map { _ in
                  number += 1
                  let nodes = Self.span(UInt64(number % 3), UInt64(number + 1)).nodes
                  return WireNode.message(2, bad.contains(number) ? fault.spoil(nodes) : nodes)
                } + [.string(3, "schema")])
          })
    }.encoded
  }

  @Test(arguments: faults, [[0], [7], [0, 1, 2, 3], [1, 2, 5], [0, 1, 2, 4, 5, 6, 7]])
  func theOthersAreRead(_ fault: Fault, _ bad: [Int]) throws {
    let bytes = record(fault, at: bad)
    let scanned = try scan(bytes)
    #expect(scanned.spans.map(\.spanID) == (1...8).filter { !bad.contains(Int($0) - 1) })
    #expect(!scanned.isWhole)
    let rejected = try #require(scanned.rejected.first)
    #expect(scanned.rejected.count == 1 && rejected.count == bad.count)
    #expect(rejected.error.reason == fault.reason)
    // The piece has only these spans, each in its place.
    var piece = WireWriter()
    bytes.withRawBytes { piece.appendRejected(fault.reason, of: scanned, bytes: $0) }
    var again = ScannedRecord()
    #expect(throws: MalformedInput.self) { try piece.bytes.withRawBytes { try again.scan($0) } }
    #expect(again.rejected.map(\.count) == [bad.count])
    let text = String(decoding: piece.bytes, as: UTF8.self)
    for resource in 0..<2 {
      #expect(text.contains("resource \(resource)") == bad.contains { $0 / 4 == resource })
    }
    // So do the pieces of the others.
    var rest = WireWriter()
    bytes.withRawBytes {
      rest.appendPiece(0..<scanned.spans.count, of: scanned, bytes: $0)
    }
    let good = try scan(rest.bytes)
    #expect(good.isWhole && good.spans.map(\.spanID) == scanned.spans.map(\.spanID))
  }

  @Test(arguments: faults) func aRecordOfNothingElseIsRefused(_ fault: Fault) throws {
    var scanned = ScannedRecord()
    let bytes = record(fault, at: Array(0..<8))
    let error = #expect(throws: MalformedInput.self) { try bytes.withRawBytes { try scanned.scan($0) } }
    #expect(scanned.rejected.map(\.count) == [8] && scanned.rejected.first?.error == error)
  }

  @Test func theFirstOfEachReasonIsNamed() throws {
    let noSpan = Self.span(4, 9).nodes.filter { $0.field != 2 }
    let noTrace = Self.span(5, 10).nodes.filter { $0.field != 1 }
    let long = Self.span(6, 11).nodes + [.bytes(4, [1])]
    let spans = [noSpan, Self.span(1, 1).nodes, long, noTrace].map { WireNode.message(2, $0) }
    let scanned = try scan([WireNode.message(1, [.message(2, spans)])].encoded)
    #expect(scanned.rejected.map(\.error.reason) == [.identifierMissing, .identifierLength])
    #expect(scanned.rejected.map(\.count) == [2, 1])
    #expect(scanned.rejected.map(\.traceID) == [TraceID(4), TraceID(6)])
    #expect(scanned.rejected.map(\.spanID) == [0, 11])
  }

  /// Damage after a bad field of the same span, or after the span, concerns the record.
  @Test(arguments: faults) func damageIsAboutTheRecord(_ fault: Fault) throws {
    let bad = WireNode.message(2, fault.spoil(Self.span(1, 1).nodes))
    let good = WireNode.message(2, Self.span(1, 2).nodes)
    var scanned = ScannedRecord()
    for damage in [[0x0b], [0x2a, 0x7f], [0x07], [0x7a, 2, 0x12, 9]] as [[UInt8]] {
      let within = WireNode.bytes(2, fault.spoil(Self.span(1, 1).nodes).encoded + damage)
      var bytes = [WireNode.message(1, [.message(2, [good, within])])].encoded
      #expect(throws: MalformedInput.self) { try bytes.withRawBytes { try scanned.scan($0) } }
      #expect(scanned.rejected.isEmpty)
      // Damage in a status would be an unknown field in a scope.
      if damage[0] == 0x7a { continue }
      bytes = [WireNode.message(1, [.bytes(2, [bad, good].encoded + damage)])].encoded
      #expect(throws: MalformedInput.self) { try bytes.withRawBytes { try scanned.scan($0) } }
      #expect(scanned.rejected.isEmpty)
    }
  }

  /// A million bad spans of two bytes each take no more memory than one.
  @Test func aRowTakesTheRoomOfOne() throws {
    let row = (0..<1_000_000).flatMap { _ in [0x12, 0x00] as [UInt8] }
    let content = WireNode.bytes(2, [WireNode.message(2, Self.span(1, 1).nodes)].encoded + row)
    let scanned = try scan([WireNode.message(1, [content])].encoded)
    #expect(scanned.spans.count == 1 && scanned.rejected.map(\.count) == [1_000_000])
    #expect(scanned.rejectedRuns.count == 1 && scanned.byteCount < 1 << 16)
  }
}

@Suite struct DeprecatedFormTests {
  private func span(_ id: UInt64) -> WireNode {
    .message(2, SpanModel(traceID: TraceID(1), spanID: id).nodes)
  }

  /// By themselves, and before and after current scopes: all spans are read, none is skipped.
  @Test(arguments: [[1000], [1000, 2], [2, 1000], [1000, 1000, 2, 1000]] as [[UInt32]])
  func librarySpansAreRead(_ fields: [UInt32]) throws {
    let library = WireNode.message(1, [.string(1, "lib"), .string(2, "1.2")])
    let scopes = fields.enumerated().map { number, field in
      WireNode.message(field, [library, span(UInt64(number + 1)), .string(3, "schema")])
    }
    let resource = WireNode.message(1, [.string(2, "about")])
    for nodes in [[resource] + scopes, scopes + [resource]] {
      let bytes = [WireNode.message(1, nodes)].encoded
      let scanned = try scan(bytes)
      #expect(scanned.spans.map(\.spanID) == (1...UInt64(fields.count)).map { $0 })
      #expect(!scanned.isWhole && scanned.rejected.isEmpty)
      // When forwarded, they are where current readers look.
      var piece = WireWriter()
      bytes.withRawBytes { raw in
        piece.appendPiece(0..<fields.count, of: scanned, bytes: raw)
      }
      let expected = [
        WireNode.message(
          1,
          [resource]
            + fields.indices.map { number in
              .message(2, [library, .string(3, "schema"), span(UInt64(number + 1))])
            })
      ]
      #expect(piece.bytes == expected.encoded)
      #expect(try scan(piece.bytes).isWhole)
    }
  }

  @Test func aDamagedLibraryIsDamage() {
    let bytes = [WireNode.message(1, [.message(2, [span(1)]), .bytes(1000, [0x12, 0x7f])])].encoded
    #expect(throws: MalformedInput.self) { try scan(bytes) }
    let number = [WireNode.message(1, [.message(2, [span(1)]), .varint(1000, 1)])].encoded
    #expect(throws: MalformedInput.self) { try scan(number) }
  }

  /// The rule of that time's schema: the old code counts if the new one is unset.
  @Test(
    arguments: [
      (0, 0, SpanStatus.unset), (2, 0, .error), (16, 0, .error), (1, 0, .error), (2, 1, .ok), (0, 1, .ok),
      (0, 2, .error), (5, 2, .error), (3, 7, .other),
    ] as [(UInt64, UInt64, SpanStatus)])
  func theOldStatusCodeCounts(_ old: UInt64, _ new: UInt64, _ status: SpanStatus) throws {
    let (first, last) = (WireNode.varint(1, old), WireNode.varint(3, new))
    for nodes in [[first, last], [last, first], [.string(2, "why"), first, last]] {
      let model = SpanModel(traceID: TraceID(1), spanID: 1, others: [.message(15, nodes)])
      #expect(try scannedFacts(RecordModel(model).encoded()).map(\.status) == [status])
    }
    guard new == 0 else { return }
    let alone = SpanModel(traceID: TraceID(1), spanID: 1, others: [.message(15, [first])])
    #expect(try scannedFacts(RecordModel(alone).encoded()).map(\.status) == [status])
  }

  @Test func jsonHasThemToo() throws {
    let span = #"{"traceId":"\#(TraceID(1))","spanId":"00000000000000a1","status":{"deprecatedCode":%}}"#
    for code in [
      "2", #""DEPRECATED_STATUS_CODE_UNKNOWN_ERROR""#, #""DEPRECATED_STATUS_CODE_FAILED_PRECONDITION""#,
      "\"16\"",
    ] {
      let text = span.replacing("%", with: code)
      let json = """
        {"resourceSpans":[{"scopeSpans":[{"spans":[\(text)]}],
        "instrumentationLibrarySpans":[{"instrumentationLibrary":{"name":"lib","version":"1"},
        "spans":[\(text.replacing("a1", with: "a2"))],"schemaUrl":"u"}]},
        {"instrumentation_library_spans":[{"instrumentation_library":{"name":"lib"},"spans":[\(text)]}]}]}
        """
      let scanned = try scan(converted(json))
      #expect(scanned.spans.map(\.spanID) == [0xa1, 0xa2, 0xa1] && scanned.isWhole)
      #expect(scanned.spans.map(\.status) == [.error, .error, .error])
    }
    let ok = span.replacing("%", with: #""DEPRECATED_STATUS_CODE_OK""#)
    let json = #"{"resourceSpans":[{"scopeSpans":[{"spans":[\#(ok)]}]}]}"#
    #expect(try scan(converted(json)).spans.map(\.status) == [.unset])
  }
}

@Suite struct RejectedJSONSpansTests {
  private static let good = #"{"traceId":"\#(TraceID(1))","spanId":"00000000000000a1"}"#

  static let bad: [(String, MalformedInput.Reason)] = [
    ("{}", .identifierMissing), (#"{"traceId":"\#(TraceID(1))"}"#, .identifierMissing),
    (#"{"traceId":"00000000000000000000000000000000","spanId":"00000000000000a1"}"#, .identifierMissing),
    (#"{"traceId":"abcd","spanId":"00000000000000a1"}"#, .identifierLength),
    (#"{"spanId":"00000000000000a","traceId":"\#(TraceID(1))"}"#, .identifierLength),
    (#"{"traceId":"W4qloNLIcuhbiqWg0shy6A==","spanId":"AAAAAAAAAKE="}"#, .identifierLength),
    (#"{"traceId":"\#(TraceID(1))","spanId":"zzzzzzzzzzzzzzzz"}"#, .invalidText),
    (#"{"traceId":"\#(TraceID(1))","spanId":"00000000000000a1","name":5}"#, .wrongType),
    (#"{"traceId":"\#(TraceID(1))","spanId":"00000000000000a1","startTimeUnixNano":-1}"#, .numberOutOfRange),
    (
      #"{"traceId":"\#(TraceID(1))","spanId":"00000000000000a1","events":[{"timeUnixNano":"x"}]}"#,
      .wrongType
    ),
    ("7", .wrongType), ("[]", .wrongType), ("null", .wrongType),
  ]

  private func convert(_ json: String) throws(MalformedInput) -> (ScannedRecord?, RejectedJSONSpans) {
    var writer = WireWriter()
    var rejected = RejectedJSONSpans()
    try Array(json.utf8).withRawBytes { (bytes) throws(MalformedInput) in
      try OTLPJSON.convert(bytes, into: &writer, rejected: &rejected)
    }
    return (try? scan(writer.bytes), rejected)
  }

  private func piece(_ reason: MalformedInput.Reason, _ rejected: RejectedJSONSpans, of json: String)
    -> String
  {
    var writer = WireWriter()
    Array(json.utf8).withRawBytes { rejected.append(reason, of: $0, to: &writer) }
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  @Test(arguments: bad) func theOthersAreRead(_ text: String, _ reason: MalformedInput.Reason) throws {
    let json = """
      { "resourceSpans" : [ {"scopeSpans":[{"spans":[\(Self.good)],"scope":{"name":"one"}},
      {"spans":[ \(text) , \(Self.good),\(text)],"scope":{"name":"tw\\u006f"}}],"resource":{"attributes":[]}},
      {"resource":{},"scopeSpans":[{"spans":[\(Self.good)]}]}],"more":[1, 2] }
      """
    let (record, rejected) = try convert(json)
    #expect(record?.spans.count == 3)
    #expect(rejected.groups.map(\.error.reason) == [reason] && rejected.groups.map(\.count) == [2])
    #expect(
      piece(reason, rejected, of: json) == """
        {"resourceSpans":[{"scopeSpans":[{"spans":[\(text),\(text)],"scope":{"name":"tw\\u006f"}}],\
        "resource":{"attributes":[]}}],"more":[1, 2]}
        """)
  }

  /// An error of the document, not of a span, is reported as before.
  @Test(arguments: [
    #"{"name":"#, #"{"name":"a"#, #"{"name":tru}"#, "{\"name\":\"\u{1}\"}", #"{"name":"\x"}"#,
  ])
  func damageIsAboutTheDocument(_ text: String) {
    let json = #"{"resourceSpans":[{"scopeSpans":[{"spans":[\#(Self.good),{},\#(text)]}]}]}"#
    #expect(throws: MalformedInput.self) { try convert(json) }
    #expect(throws: MalformedInput.self) {
      try convert(#"{"resourceSpans":[{"resource":5,"scopeSpans":[{"spans":[\#(Self.good)]}]}]}"#)
    }
  }

  @Test func eachReasonHasItsPiece() throws {
    let spans = Self.bad.map(\.0).joined(separator: ",")
    let json = #"{"resourceSpans":[{"scopeSpans":[{"spans":[\#(spans),\#(Self.good)]}]}]}"#
    let (record, rejected) = try convert(json)
    #expect(record?.spans.count == 1)
    for group in rejected.groups {
      let own = Self.bad.filter { $0.1 == group.error.reason }.map(\.0)
      #expect(group.count == own.count)
      let expected = #"{"resourceSpans":[{"scopeSpans":[{"spans":[\#(own.joined(separator: ","))]}]}]}"#
      #expect(piece(group.error.reason, rejected, of: json) == expected)
    }
    let ids = rejected.groups.first { $0.error.reason == .wrongType }
    #expect(ids?.traceID == TraceID(1) && ids?.spanID == 0xa1)
  }
}
