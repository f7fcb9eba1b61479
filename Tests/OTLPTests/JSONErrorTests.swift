// Invalid OTLP/JSON: every kind of error at its exact offset, and no input that crashes the reader.

import OTLP
import Testing

/// A document with a `§` before the byte that can't be accepted.
struct MarkedDocument: Sendable, CustomTestStringConvertible {
  let reason: MalformedInput.Reason
  let text: String
  let offset: Int

  init(_ reason: MalformedInput.Reason, _ marked: String) {
    self.reason = reason
    text = marked.filter { $0 != "§" }
    offset = marked.utf8.count - (marked.drop { $0 != "§" }).utf8.count
  }

  /// `members` of a message at `place`.
  init(_ reason: MalformedInput.Reason, _ place: Place, _ members: String) {
    self.init(reason, place.document(members))
  }

  var testDescription: String { text.count < 90 ? text : "\(reason) at \(offset)" }
}

@Suite("OTLP/JSON errors")
struct JSONErrorTests {
  static let grammar: [MarkedDocument] = [
    MarkedDocument(.empty, "§"),
    MarkedDocument(.truncated, " \n§"),
    MarkedDocument(.truncated, "{§"),
    MarkedDocument(.truncated, #"{"a§"#),
    MarkedDocument(.truncated, #"{"a"§"#),
    MarkedDocument(.truncated, #"{"a":§"#),
    MarkedDocument(.truncated, #"{"a":1§"#),
    MarkedDocument(.truncated, #"{"a":1.§"#),
    MarkedDocument(.truncated, #"{"a":"\§"#),
    MarkedDocument(.truncated, #"{"a":"\u00§"#),
    MarkedDocument(.truncated, #"{"a":"\ud83d§"#),
    MarkedDocument(.truncated, #"{"a":"\ud83d\§"#),
    MarkedDocument(.truncated, #"{"a":tru§"#),
    MarkedDocument(.truncated, #"{"resourceSpans":[{}§"#),
    MarkedDocument(.invalidJSON, "§\u{feff}{}"),
    MarkedDocument(.invalidJSON, "§}"),
    MarkedDocument(.invalidJSON, "§x"),
    MarkedDocument(.invalidJSON, "{}§x"),
    MarkedDocument(.invalidJSON, "{} §{}"),
    MarkedDocument(.invalidJSON, "{§a:1}"),
    MarkedDocument(.invalidJSON, "{§'a':1}"),
    MarkedDocument(.invalidJSON, "{§]"),
    MarkedDocument(.invalidJSON, "{§,}"),
    MarkedDocument(.invalidJSON, #"{"a"§,1}"#),
    MarkedDocument(.invalidJSON, #"{"a":§}"#),
    MarkedDocument(.invalidJSON, #"{"a":1,§}"#),
    MarkedDocument(.invalidJSON, #"{"a":1 §"b":2}"#),
    MarkedDocument(.invalidJSON, #"{"a":1§]"#),
    MarkedDocument(.invalidJSON, #"{"a":[§,1]}"#),
    MarkedDocument(.invalidJSON, #"{"a":[1,§]}"#),
    MarkedDocument(.invalidJSON, #"{"a":[1 §2]}"#),
    MarkedDocument(.invalidJSON, #"{"a":[1§}}"#),
    MarkedDocument(.invalidJSON, #"{"a":[{}§{}]}"#),
    MarkedDocument(.invalidJSON, #"{"a":n§an}"#),
    MarkedDocument(.invalidJSON, #"{"a":fals§o}"#),
    MarkedDocument(.invalidJSON, #"{"a":§NaN}"#),
    MarkedDocument(.invalidJSON, #"{"a":§//}"#),
    MarkedDocument(.invalidJSON, #"{"a":0§1}"#),
    MarkedDocument(.invalidJSON, #"{"a":-§}"#),
    MarkedDocument(.invalidJSON, #"{"a":-§-1}"#),
    MarkedDocument(.invalidJSON, #"{"a":§+1}"#),
    MarkedDocument(.invalidJSON, #"{"a":§.5}"#),
    MarkedDocument(.invalidJSON, #"{"a":1.§e5}"#),
    MarkedDocument(.invalidJSON, #"{"a":1e§}"#),
    MarkedDocument(.invalidJSON, #"{"a":1e+§-5}"#),
    MarkedDocument(.invalidJSON, #"{"a":1.5§.5}"#),
    MarkedDocument(.invalidJSON, #"{"a":1§x}"#),
  ]

  static let text: [MarkedDocument] = [
    MarkedDocument(.invalidJSON, .span, "\"name\":\"12345678a§\nb\""),
    MarkedDocument(.invalidJSON, .span, "\"name\":\"§\u{0}\""),
    MarkedDocument(.invalidJSON, .span, "\"name\":\"1234567§\u{1f}\""),
    MarkedDocument(.invalidJSON, .span, #""name":"\§x""#),
    MarkedDocument(.invalidJSON, .span, #""name":"\u12§""#),
    MarkedDocument(.invalidJSON, .span, #""name":"\u00§g0""#),
    MarkedDocument(.invalidJSON, .span, #""name":"ab§\ud83d""#),
    MarkedDocument(.invalidJSON, .span, #""name":"ab§\ud83d\n""#),
    MarkedDocument(.invalidJSON, .span, #""name":"ab§\ud83dx""#),
    MarkedDocument(.invalidJSON, .span, #""name":"ab§\ud83d\ud83d""#),
    MarkedDocument(.invalidJSON, .span, #""name":"ab§\ud83d\u0041""#),
    MarkedDocument(.invalidJSON, .span, #""name":"ab§\ude00""#),
    MarkedDocument(.invalidJSON, .span, #""unknown":{"k§\udfff":1}"#),
    MarkedDocument(.invalidText, .span, #""traceId":"000102030405060708090a0b0c0d0e0§g""#),
    MarkedDocument(.invalidText, .span, #""spanId":"00§é203040506070""#),
    MarkedDocument(.invalidText, .span, #""spanId":"00\u00300§\u002d02030405060""#),
    MarkedDocument(.identifierLength, .span, #""traceId":§"000102030405060708090a0b0c0d0e0""#),
    MarkedDocument(.identifierLength, .span, #""traceId":§"000102030405060708090a0b0c0d0e0f00""#),
    MarkedDocument(.identifierLength, .span, #""traceId": §"AAECAwQFBgcICQoLDA0ODw==""#),
    MarkedDocument(.identifierLength, .span, #""spanId":§"000102030405060""#),
    MarkedDocument(.identifierLength, .span, #""parentSpanId":§"\u003000102030405060""#),
    MarkedDocument(.identifierLength, .link, #""traceId":§"0001020304050607""#),
    MarkedDocument(.identifierLength, .link, #""spanId":§"0""#),
    MarkedDocument(.invalidText, .value, #""bytesValue":"AA§.A""#),
    MarkedDocument(.invalidText, .value, #""bytesValue":"AA\/§ A""#),
    MarkedDocument(.invalidText, .value, #""bytesValue":"AA=§A""#),
    MarkedDocument(.invalidText, .value, #""bytesValue":"AA==§=""#),
    MarkedDocument(.invalidText, .value, #""bytesValue":"A§""#),
    MarkedDocument(.invalidText, .value, #""bytesValue":"AA=§""#),
    MarkedDocument(.invalidText, .value, #""bytesValue":"AAA==§""#),
    MarkedDocument(.invalidText, .value, #""bytesValue":"AAAA=§""#),
    MarkedDocument(.invalidText, .value, #""bytesValue":"==§""#),
  ]

  static let types: [MarkedDocument] = [
    MarkedDocument(.wrongType, "§[]"),
    MarkedDocument(.wrongType, " §null"),
    MarkedDocument(.wrongType, "§\"{}\""),
    MarkedDocument(.wrongType, "§1"),
    MarkedDocument(.wrongType, .top, #""resourceSpans":§{}"#),
    MarkedDocument(.wrongType, .top, #""resourceSpans":[§1]"#),
    MarkedDocument(.wrongType, .top, #""resourceSpans":[{},§null]"#),
    MarkedDocument(.wrongType, .resourceSpans, #""resource": §[]"#),
    MarkedDocument(.wrongType, .entityRef, #""idKeys":§"a""#),
    MarkedDocument(.wrongType, .entityRef, #""idKeys":["a",§1]"#),
    MarkedDocument(.wrongType, .span, #""attributes":[§null]"#),
    MarkedDocument(.wrongType, .span, #""attributes":§{"a":"b"}"#),
    MarkedDocument(.wrongType, .span, #""traceId":§1"#),
    MarkedDocument(.wrongType, .span, #""name":§1"#),
    MarkedDocument(.wrongType, .span, #""name":§true"#),
    MarkedDocument(.wrongType, .span, #""kind":§"SPAN_KIND_SERVICE""#),
    MarkedDocument(.wrongType, .span, #""kind":§"STATUS_CODE_ERROR""#),
    MarkedDocument(.wrongType, .span, #""kind":§true"#),
    MarkedDocument(.wrongType, .span, #""flags":§[]"#),
    MarkedDocument(.wrongType, .span, #""startTimeUnixNano":§"2026-01-01T00:00:00Z""#),
    MarkedDocument(.wrongType, .span, #""startTimeUnixNano":§"""#),
    MarkedDocument(.wrongType, .span, #""startTimeUnixNano":§" 1""#),
    MarkedDocument(.wrongType, .span, #""startTimeUnixNano":§"0x10""#),
    MarkedDocument(.wrongType, .span, #""startTimeUnixNano":§"1\u0000""#),
    MarkedDocument(.wrongType, .attribute, #""value":§"v""#),
    MarkedDocument(.wrongType, .value, #""stringValue":§1"#),
    MarkedDocument(.wrongType, .value, #""boolValue":§"true""#),
    MarkedDocument(.wrongType, .value, #""boolValue":§0"#),
    MarkedDocument(.wrongType, .value, #""intValue":§true"#),
    MarkedDocument(.wrongType, .value, #""doubleValue":§"one""#),
    MarkedDocument(.wrongType, .value, #""doubleValue":§{}"#),
    MarkedDocument(.wrongType, .value, #""arrayValue":§[]"#),
    MarkedDocument(.wrongType, .value, #""kvlistValue":§[]"#),
    MarkedDocument(.wrongType, .value, #""bytesValue":§[1,2]"#),
  ]

  static let numbers: [MarkedDocument] = [
    MarkedDocument(.numberOutOfRange, .value, #""intValue":§9223372036854775808"#),
    MarkedDocument(.numberOutOfRange, .value, #""intValue":§"-9223372036854775809""#),
    MarkedDocument(.numberOutOfRange, .value, #""intValue":§1.5"#),
    MarkedDocument(.numberOutOfRange, .value, #""intValue":§1e-1"#),
    MarkedDocument(.numberOutOfRange, .value, #""intValue":§1e19"#),
    MarkedDocument(.numberOutOfRange, .value, #""intValue":§1e99999999999999999999"#),
    MarkedDocument(.numberOutOfRange, .value, #""intValue":§100000000000000000000000000001e-20"#),
    MarkedDocument(.numberOutOfRange, .span, #""startTimeUnixNano":§18446744073709551616"#),
    MarkedDocument(.numberOutOfRange, .span, #""startTimeUnixNano":§-1"#),
    MarkedDocument(.numberOutOfRange, .span, #""endTimeUnixNano":§"-1""#),
    MarkedDocument(.numberOutOfRange, .span, #""flags":§4294967296"#),
    MarkedDocument(.numberOutOfRange, .span, #""droppedLinksCount":§4294967296"#),
    MarkedDocument(.numberOutOfRange, .span, #""droppedLinksCount":§-1"#),
    MarkedDocument(.numberOutOfRange, .span, #""kind":§2147483648"#),
    MarkedDocument(.numberOutOfRange, .status, #""code":§-2147483649"#),
    MarkedDocument(.numberOutOfRange, .status, #""code":§"0.5""#),
    MarkedDocument(.numberOutOfRange, .value, #""doubleValue":§1e309"#),
    MarkedDocument(.numberOutOfRange, .value, #""doubleValue":§"-1e309""#),
  ]

  @Test(arguments: grammar + text + types + numbers)
  func throwsAtOffset(_ document: MarkedDocument) {
    let error = #expect(throws: MalformedInput.self) { try converted(document.text) }
    #expect(error == MalformedInput(document.reason, at: document.offset))
  }

  static let illFormed: [[UInt8]] = [
    [0x80], [0xbf], [0xc0, 0x80], [0xc1, 0xbf], [0xc2, 0x41], [0xe0, 0x9f, 0x80], [0xe1, 0x80, 0x41],
    [0xed, 0xa0, 0x80], [0xf0, 0x8f, 0x80, 0x80], [0xf1, 0x80, 0x80, 0x41], [0xf4, 0x90, 0x80, 0x80],
    [0xf5, 0x80, 0x80, 0x80], [0xff],
  ]

  @Test(
    "Ill-formed UTF-8 is found at its first byte, in what is read and in what is skipped",
    arguments: illFormed)
  func invalidUTF8(_ sequence: [UInt8]) {
    for member in [#""name":"abcdefghi"#, #""unknown":["é"#, #""k"#] {
      let document = Place.span.document(member + "§\":1}")
      let parts = document.utf8.split(separator: Array("§".utf8), maxSplits: 1)
      let error = #expect(throws: MalformedInput.self) {
        try converted(Array(parts[0]) + sequence + Array(parts[1]))
      }
      #expect(error == MalformedInput(.invalidUTF8, at: parts[0].count))
    }
  }

  @Test("128 objects and arrays may be open, in what is read and in what is skipped")
  func nesting() throws {
    let unknown = { (count: Int) in
      "{\"a\":" + String(repeating: "[", count: count) + String(repeating: "]", count: count) + "}"
    }
    #expect(try converted(unknown(127)) == [])
    #expect(throws: MalformedInput(.nestingTooDeep, at: 132)) { try converted(unknown(128)) }
    #expect(throws: MalformedInput(.nestingTooDeep, at: 132)) { try converted(unknown(100_000)) }

    // 7 are open around an attribute's value, and each list in it opens 3.
    let open = #""arrayValue":{"values":[{"#
    let lists = { (count: Int) in
      Place.value.document(String(repeating: open, count: count) + String(repeating: "}]}", count: count))
    }
    var innermost: [UInt8] = []
    for _ in 0..<40 {
      let inner = innermost
      innermost = wire { $0.message(5) { $0.bytesField(1, inner) } }
    }
    #expect(try converted(lists(40)) == Place.value.wire(innermost))
    let start = Place.value.document("§").prefix { $0 != "§" }.utf8.count
    let offset = start + 40 * open.utf8.count + #""arrayValue":{"values":"#.utf8.count
    #expect(throws: MalformedInput(.nestingTooDeep, at: offset)) { try converted(lists(41)) }
    #expect(throws: MalformedInput(.nestingTooDeep, at: offset)) { try converted(lists(100_000)) }
    #expect(throws: MalformedInput(.wrongType, at: 0)) {
      try converted(String(repeating: "[", count: 100_000))
    }
  }

  @Test("An error leaves the writer unchanged")
  func writerStays() {
    var writer = WireWriter()
    writer.stringField(1, "before")
    let before = writer.bytes
    let text = Place.span.document(#""name":"a","flags":"#)
    #expect(throws: MalformedInput.self) {
      try Array(text.utf8).withRawBytes { json in try OTLPJSON.convert(json, into: &writer) }
    }
    #expect(writer.bytes == before)
  }

  @Test("Every prefix of a document is truncated at its end")
  func prefixes() throws {
    let document = Array(wholeDocument.utf8)
    #expect(try !converted(document).isEmpty)
    #expect(throws: MalformedInput(.empty, at: 0)) { try converted([]) }
    for count in 1..<document.count {
      #expect(throws: MalformedInput(.truncated, at: count)) { try converted(Array(document[..<count])) }
    }
  }

  @Test("Flipped bits and lost bytes only throw")
  func mutations() {
    let document = Array(wholeDocument.utf8)
    for index in document.indices {
      var changed = document
      for bit in 0..<8 {
        changed[index] = document[index] ^ 1 << UInt8(bit)
        expectNoMoreThanThrow(changed)
      }
      changed.remove(at: index)
      expectNoMoreThanThrow(changed)
    }
  }

  private func expectNoMoreThanThrow(_ document: [UInt8]) {
    do throws(MalformedInput) {
      // No field is shorter in JSON than in protobuf.
      let bytes = try converted(document)
      if bytes.count > document.count { Issue.record("\(bytes.count) bytes of \(document.count)") }
    } catch {
      if !(0...document.count ~= error.offset) { Issue.record("\(error) of \(document.count)") }
    }
  }
}
