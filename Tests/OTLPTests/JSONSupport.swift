// Shared by the tests of OTLP/JSON: converting text, and places in a document to put fields.

import OTLP

/// What `OTLPJSON` makes of `bytes`.
func converted(_ bytes: [UInt8]) throws(MalformedInput) -> [UInt8] {
  var writer = WireWriter()
  try bytes.withRawBytes { (json) throws(MalformedInput) in try OTLPJSON.convert(json, into: &writer) }
  return writer.bytes
}

/// What `OTLPJSON` makes of `text`.
func converted(_ text: String) throws(MalformedInput) -> [UInt8] {
  try converted(Array(text.utf8))
}

/// The bytes that `body` writes.
func wire(_ body: (inout WireWriter) -> Void) -> [UInt8] {
  var writer = WireWriter()
  body(&writer)
  return writer.bytes
}

/// A message in a document, as the keys and field numbers that lead to it.
struct Place: Sendable {
  let path: [(key: String, isList: Bool, number: UInt32)]

  private func member(_ key: String, _ number: UInt32) -> Place {
    Place(path: path + [(key, false, number)])
  }

  private func element(_ key: String, _ number: UInt32) -> Place {
    Place(path: path + [(key, true, number)])
  }

  static let top = Place(path: [])
  static let resourceSpans = top.element("resourceSpans", 1)
  static let resource = resourceSpans.member("resource", 1)
  static let entityRef = resource.element("entityRefs", 3)
  static let scopeSpans = resourceSpans.element("scopeSpans", 2)
  static let scope = scopeSpans.member("scope", 1)
  static let span = scopeSpans.element("spans", 2)
  static let event = span.element("events", 11)
  static let link = span.element("links", 13)
  static let status = span.member("status", 15)
  static let attribute = resource.element("attributes", 1)
  static let value = attribute.member("value", 2)

  /// A document whose message here has `members`.
  func document(_ members: String) -> String {
    var text = "{\(members)}"
    for step in path.reversed() {
      text = step.isList ? "{\"\(step.key)\":[\(text)]}" : "{\"\(step.key)\":\(text)}"
    }
    return text
  }

  /// The bytes of a document whose message here has the fields `content`.
  func wire(_ content: [UInt8]) -> [UInt8] {
    var bytes = content
    for step in path.reversed() {
      let inner = bytes
      bytes = OTLPTests.wire { $0.bytesField(step.number, inner) }
    }
    return bytes
  }
}

/// A document with every field of the schema, every kind of value and every kind of escape.
let wholeDocument = #"""
  {"resourceSpans":[{"resource":{"attributes":[
  {"key":"service.name","value":{"stringValue":"caf\u00e9 \ud83d\ude00"}},
  {"key":"all","value":{"arrayValue":{"values":[{"boolValue":true},{"boolValue":false},
  {"intValue":"-12"},null,{"doubleValue":-1.5e-3},{"doubleValue":"NaN"},{"bytesValue":"AP+/_-0="},
  {},{"kvlistValue":{"values":[{"key":"k","value":{"intValue":7}}]}}]}}}],"droppedAttributesCount":1,
  "entityRefs":[{"schemaUrl":"u","type":"host","idKeys":["host.id"],"descriptionKeys":["a","b"]}]},
  "scopeSpans":[{"scope":{"name":"héllo","version":"1",
  "attributes":[{"key":"\"\\\/\b\f\n\r\t","value":{"stringValue":""}}],"droppedAttributesCount":2},"spans":[{
  "traceId":"0123456789abcdefFEDCBA9876543210","spanId":"00000000000000a1","parentSpanId":"00000000000000A0",
  "traceState":"ot=th:8","flags":257,"name":"GET /","kind":2,"startTimeUnixNano":"1700000000000000001",
  "endTimeUnixNano":1700000000000000002,"attributes":[{"key":"日本","value":{"stringValue":"𝕏"}}],
  "droppedAttributesCount":3,"events":[{"timeUnixNano":"5","name":"e","attributes":[{"key":"x"}],
  "droppedAttributesCount":4}],"droppedEventsCount":5,"links":[{"traceId":"000102030405060708090a0b0c0d0e0f",
  "spanId":"1011121314151617","traceState":"a=b","attributes":[],"droppedAttributesCount":6,"flags":1}],
  "droppedLinksCount":7,"status":{"message":"no","code":"STATUS_CODE_ERROR"},
  "later":[{"a":[1,2.5e3,-0]},true,null]}],"schemaUrl":"s"}],"schemaUrl":"r"}]}
  """#
