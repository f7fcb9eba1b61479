// OTLP/JSON, field by field: each becomes the protobuf field that the schema gives it.

import OTLP
import Testing

/// Members of one message, and the fields that they become.
struct FieldCase: Sendable, CustomTestStringConvertible {
  let place: Place
  let members: String
  let fields: [UInt8]

  init(_ place: Place, _ members: String, _ fields: (inout WireWriter) -> Void = { _ in }) {
    self.place = place
    self.members = members
    self.fields = wire(fields)
  }

  var testDescription: String { members }
}

@Suite("OTLP/JSON fields")
struct JSONFieldTests {
  static let messages: [FieldCase] = [
    FieldCase(.top, #""resourceSpans":[{},{}]"#) {
      $0.message(1) { _ in }
      $0.message(1) { _ in }
    },
    FieldCase(.resourceSpans, #""resource":{}"#) { $0.message(1) { _ in } },
    FieldCase(.resourceSpans, #""scopeSpans":[{},{}]"#) {
      $0.message(2) { _ in }
      $0.message(2) { _ in }
    },
    FieldCase(.resourceSpans, #""schemaUrl":"u""#) { $0.stringField(3, "u") },
    FieldCase(.resource, #""attributes":[{"key":"k"},{}]"#) {
      $0.message(1) { $0.stringField(1, "k") }
      $0.message(1) { _ in }
    },
    FieldCase(.resource, #""droppedAttributesCount":300"#) { $0.varintField(2, 300) },
    FieldCase(.entityRef, #""schemaUrl":"u","type":"host""#) {
      $0.stringField(1, "u")
      $0.stringField(2, "host")
    },
    FieldCase(.entityRef, #""idKeys":["a","","b"],"descriptionKeys":["c"]"#) {
      $0.stringField(3, "a")
      $0.stringField(3, "")
      $0.stringField(3, "b")
      $0.stringField(4, "c")
    },
    FieldCase(.scopeSpans, #""scope":{},"spans":[{}],"schemaUrl":"u""#) {
      $0.message(1) { _ in }
      $0.message(2) { _ in }
      $0.stringField(3, "u")
    },
    FieldCase(.scope, #""name":"n","version":"v","attributes":[{}],"droppedAttributesCount":1"#) {
      $0.stringField(1, "n")
      $0.stringField(2, "v")
      $0.message(3) { _ in }
      $0.varintField(4, 1)
    },
    FieldCase(.event, #""timeUnixNano":"9","name":"n","attributes":[{}],"droppedAttributesCount":1"#) {
      $0.fixed64Field(1, 9)
      $0.stringField(2, "n")
      $0.message(3) { _ in }
      $0.varintField(4, 1)
    },
    FieldCase(.link, #""traceId":"000102030405060708090a0b0c0d0e0f","spanId":"0001020304050607""#) {
      $0.bytesField(1, 0..<16)
      $0.bytesField(2, 0..<8)
    },
    FieldCase(.link, #""traceState":"a=b","attributes":[{}],"droppedAttributesCount":1,"flags":769"#) {
      $0.stringField(3, "a=b")
      $0.message(4) { _ in }
      $0.varintField(5, 1)
      $0.fixed32Field(6, 769)
    },
    FieldCase(.status, #""message":"m","code":2"#) {
      $0.stringField(2, "m")
      $0.varintField(3, 2)
    },
    FieldCase(.attribute, #""key":"k","value":{}"#) {
      $0.stringField(1, "k")
      $0.message(2) { _ in }
    },
  ]

  static let spanFields: [FieldCase] = [
    FieldCase(.span, #""traceId":"000102030405060708090A0b0C0d0E0f""#) { $0.bytesField(1, 0..<16) },
    FieldCase(.span, #""spanId":"0001020304050607""#) { $0.bytesField(2, 0..<8) },
    FieldCase(.span, #""traceState":"ot=th:8""#) { $0.stringField(3, "ot=th:8") },
    FieldCase(.span, #""parentSpanId":"08090a0B0c0D0e0F""#) { $0.bytesField(4, 8..<16) },
    FieldCase(.span, #""parentSpanId":"0000000000000000""#) { $0.bytesField(4, repeatElement(0, count: 8)) },
    FieldCase(.span, #""spanId":"\u00300\u003010203\u0030405060\u0037""#) { $0.bytesField(2, 0..<8) },
    FieldCase(.span, #""name":"GET""#) { $0.stringField(5, "GET") },
    FieldCase(.span, #""kind":3"#) { $0.varintField(6, 3) },
    FieldCase(.span, #""startTimeUnixNano":"18446744073709551615""#) { $0.fixed64Field(7, .max) },
    FieldCase(.span, #""endTimeUnixNano":1544712661000000001"#) {
      $0.fixed64Field(8, 1_544_712_661_000_000_001)
    },
    FieldCase(.span, #""attributes":[{"value":{"stringValue":"v"},"key":"k"}]"#) {
      $0.message(9) {
        $0.message(2) { $0.stringField(1, "v") }
        $0.stringField(1, "k")
      }
    },
    FieldCase(.span, #""droppedAttributesCount":4294967295"#) { $0.varintField(10, 4_294_967_295) },
    FieldCase(.span, #""events":[{"name":"a"},{"name":"b"}]"#) {
      $0.message(11) { $0.stringField(2, "a") }
      $0.message(11) { $0.stringField(2, "b") }
    },
    FieldCase(.span, #""droppedEventsCount":1"#) { $0.varintField(12, 1) },
    FieldCase(.span, #""links":[{"flags":1}]"#) { $0.message(13) { $0.fixed32Field(6, 1) } },
    FieldCase(.span, #""droppedLinksCount":"2""#) { $0.varintField(14, 2) },
    FieldCase(.span, #""status":{"code":1}"#) { $0.message(15) { $0.varintField(3, 1) } },
    FieldCase(.span, #""flags":4294967295"#) { $0.fixed32Field(16, .max) },
  ]

  static let snakeCase: [FieldCase] = [
    FieldCase(.top, #""resource_spans":[{"scope_spans":[{"schema_url":"u"}]}]"#) {
      $0.message(1) { $0.message(2) { $0.stringField(3, "u") } }
    },
    FieldCase(.span, #""trace_state":"a","start_time_unix_nano":1,"end_time_unix_nano":2"#) {
      $0.stringField(3, "a")
      $0.fixed64Field(7, 1)
      $0.fixed64Field(8, 2)
    },
    FieldCase(.span, #""parent_span_id":"0001020304050607","dropped_attributes_count":1"#) {
      $0.bytesField(4, 0..<8)
      $0.varintField(10, 1)
    },
    FieldCase(.value, #""array_value":{"values":[{"bool_value":false}]}"#) {
      $0.message(5) { $0.message(1) { $0.varintField(2, 0) } }
    },
    // Neither of the two spellings.
    FieldCase(.span, #""trace_State":"a","trace__state":"a","_name":"a","name_":"a","dropped_linksCount":1"#),
  ]

  static let values: [FieldCase] = [
    FieldCase(.value, #""stringValue":"s""#) { $0.stringField(1, "s") },
    FieldCase(.value, #""stringValue":"""#) { $0.stringField(1, "") },
    FieldCase(.value, #""boolValue":true"#) { $0.varintField(2, 1) },
    FieldCase(.value, #""boolValue":false"#) { $0.varintField(2, 0) },
    FieldCase(.value, #""intValue":"0""#) { $0.varintField(3, 0) },
    FieldCase(.value, #""intValue":-1"#) { $0.varintField(3, .max) },
    FieldCase(.value, #""doubleValue":0"#) { $0.fixed64Field(4, 0) },
    FieldCase(.value, #""arrayValue":{}"#) { $0.message(5) { _ in } },
    FieldCase(.value, #""arrayValue":{"values":[{"intValue":1},null,{}]}"#) {
      $0.message(5) {
        $0.message(1) { $0.varintField(3, 1) }
        $0.message(1) { _ in }
        $0.message(1) { _ in }
      }
    },
    FieldCase(.value, #""kvlistValue":{"values":[{"key":"k","value":{"boolValue":true}}]}"#) {
      $0.message(6) {
        $0.message(1) {
          $0.stringField(1, "k")
          $0.message(2) { $0.varintField(2, 1) }
        }
      }
    },
    FieldCase(.value, #""bytesValue":"AAEC""#) { $0.bytesField(7, 0..<3) },
    FieldCase(.value, #""bytesValue":"""#) { $0.bytesField(7, []) },
    FieldCase(.value, #""stringValue":null"#),
  ]

  static let absent: [FieldCase] = [
    FieldCase(.top, ""),
    FieldCase(.top, #""resourceSpans":[]"#),
    FieldCase(.top, #""resourceSpans":null"#),
    FieldCase(.top, #""partialSuccess":{"rejectedSpans":"1"}"#),
    FieldCase(.span, #""traceId":"","spanId":"","parentSpanId":"","name":"","traceState":"""#),
    FieldCase(
      .span, #""kind":0,"flags":0,"startTimeUnixNano":"0","endTimeUnixNano":0,"droppedLinksCount":0"#),
    FieldCase(
      .span, #""kind":"SPAN_KIND_UNSPECIFIED","attributes":[],"events":[],"links":null,"status":null"#),
    FieldCase(.attribute, #""key":"","value":null"#),
    FieldCase(
      .span, #""unknown":{"name":["GET",{"kind":2},-0.5e+7,false]},"Name":"a","nam":"a","names":"a""#),
    FieldCase(.span, #""name\u0000":"a","averyveryverylongunknownname":"a","ñame":"a","":1"#),
    FieldCase(.resourceSpans, #""instrumentationLibrarySpans":[{"spans":[{"name":"a"}]}]"#) {
      $0.message(2) { scope in scope.message(2) { $0.stringField(5, "a") } }
    },
  ]

  /// A repeated key is written twice, for protobuf's readers to merge; a default overrides an earlier value.
  static let repeated: [FieldCase] = [
    FieldCase(.span, #""name":"a","name":"b""#) {
      $0.stringField(5, "a")
      $0.stringField(5, "b")
    },
    FieldCase(.span, #""kind":2,"kind":0,"name":"a","name":"","flags":1,"flags":0"#) {
      $0.varintField(6, 2)
      $0.varintField(6, 0)
      $0.stringField(5, "a")
      $0.stringField(5, "")
      $0.fixed32Field(16, 1)
      $0.fixed32Field(16, 0)
    },
    FieldCase(.span, #""spanId":"0001020304050607","spanId":"","span_id":null"#) {
      $0.bytesField(2, 0..<8)
      $0.bytesField(2, [])
    },
    FieldCase(.span, #""attributes":[{}],"attributes":[{}],"status":{"code":2},"status":{"message":"m"}"#) {
      $0.message(9) { _ in }
      $0.message(9) { _ in }
      $0.message(15) { $0.varintField(3, 2) }
      $0.message(15) { $0.stringField(2, "m") }
    },
    FieldCase(.value, #""intValue":1,"stringValue":"""#) {
      $0.varintField(3, 1)
      $0.stringField(1, "")
    },
  ]

  @Test(arguments: messages + spanFields + snakeCase + values + absent + repeated)
  func becomes(_ field: FieldCase) throws {
    #expect(try converted(field.place.document(field.members)) == field.place.wire(field.fields))
  }

  @Test("Whitespace is allowed between any two tokens")
  func whitespace() throws {
    let text =
      "\t\r\n { \"resourceSpans\" : [ { \"schemaUrl\" : \"u\" , \"a\" : [ 1 , { } , [ ] ] } , { } ] } \n"
    let expected = wire {
      $0.message(1) { $0.stringField(3, "u") }
      $0.message(1) { _ in }
    }
    #expect(try converted(text) == expected)
  }

  @Test("A document is appended to what the writer holds")
  func appends() throws {
    var writer = WireWriter()
    writer.stringField(99, "before")
    let before = writer.bytes
    try Array(Place.span.document(#""name":"a""#).utf8).withRawBytes { json in
      try OTLPJSON.convert(json, into: &writer)
    }
    #expect(writer.bytes == before + Place.span.wire(wire { $0.stringField(5, "a") }))
  }
}
