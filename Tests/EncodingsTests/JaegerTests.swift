// The mapping of Jaeger's spans, rule by rule.

import OTLP
import Testing

@testable import Encodings

private let ids = #""traceId":"AAAAAAAAAAEAAAAAAAAAAg==","spanId":"AAAAAAAAAAM=""#
private let times = #""startTime":"2026-01-31T23:59:58.5Z","duration":"0.25s""#
/// The same as OTLP has it; 2026-01-31T23:59:58Z is 1769903998.
private let otlpIDs = #""traceId":"00000000000000010000000000000002","spanId":"0000000000000003""#
private let otlpTimes = #""startTimeUnixNano":"1769903998500000000","endTimeUnixNano":"1769903998750000000""#

/// A span with the given members between its ids and times, and after these.
private func expectSpan(
  _ members: String, becomes fields: String, early: String = "", resource: String = "", scope: String = "",
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let json = "{" + [ids, times, members].filter { !$0.isEmpty }.joined(separator: ",") + "}"
  let span = [otlpIDs, early, otlpTimes, fields].filter { !$0.isEmpty }.joined(separator: ",")
  let head = scope.isEmpty ? "" : #""scope":{\#(scope)},"#
  let whole = resource.isEmpty ? "" : #""resource":{"attributes":[\#(resource)]},"#
  let expected = try otlp(#"{\#(whole)"scopeSpans":[{\#(head)"spans":[{\#(span)}]}]}"#)
  #expect(try converted(json, .jaegerJSON) == expected, sourceLocation: sourceLocation)
}

private func tag(_ key: String, _ text: String) -> String { #"{"key":"\#(key)","vStr":"\#(text)"}"# }

@Suite struct JaegerMappingTests {
  /// In memory, empty parts take many times the two bytes that they have in a record.
  @Test(arguments: [4, 8, 9] as [UInt32]) func emptyPartsDoNotMultiply(_ field: UInt32) throws {
    var span = WireWriter()
    span.bytesField(1, [UInt8](repeating: 1, count: 16))
    span.bytesField(2, [UInt8](repeating: 1, count: 8))
    for _ in 0..<1 << 20 { span.bytesField(field, [UInt8]()) }
    var (converter, writer) = (SpanConverter(.jaegerProto), WireWriter())
    let error = #expect(throws: MalformedInput.self) {
      try span.bytes.withRawBytes { (bytes) throws(MalformedInput) in
        try converter.convert(bytes, into: &writer)
      }
    }
    #expect(error?.reason == .splitTooLarge && writer.count == 0)
    #expect(converter.byteCount < 32 << 20)
  }

  /// A trace has its own processes only, and an answer is not in an answer.
  @Test func answersHaveTracesWithTheirOwnProcesses() throws {
    let span = #"{"traceID":"1","spanID":"2","startTime":1,"duration":1,"processID":"p1"}"#
    let answer =
      #"{"data":[{"spans":[\#(span)],"processes":{"p1":{"serviceName":"a"}}},{"spans":[\#(span)]}]}"#
    var record = ScannedRecord()
    try converted(answer, .jaegerJSON).withRawBytes { (bytes) throws(MalformedInput) in try record.scan(bytes)
    }
    #expect(record.spans.count == 2 && record.resources.map { $0.serviceName.count > 0 } == [true, false])
    #expect(throws: MalformedInput.self) {
      try converted(#"{"data":[{"data":[{"spans":[\#(span)]}]}]}"#, .jaegerJSON)
    }
  }

  @Test func aSpanWithoutAnything() throws {
    try expectSpan("", becomes: "")
  }

  @Test func theProcessIsTheResource() throws {
    try expectSpan(
      #"""
      "operationName":"get",
      "process":{"serviceName":"shop","tags":[{"key":"n","vType":"INT64","vInt64":"5"}]}
      """#,
      becomes: "", early: #""name":"get""#,
      resource: text("service.name", "shop") + #",{"key":"n","value":{"intValue":"5"}}"#)
    try expectSpan(#""process":{"serviceName":"OTLPResourceNoServiceName"}"#, becomes: "")
  }

  @Test func tagsKeepTheirTypes() throws {
    try expectSpan(
      #"""
      "tags":[{"key":"s","vStr":"größe \"\n"},{"key":"b","vType":"BOOL","vBool":true},
      {"key":"c","vType":"BOOL"},
      {"key":"i","vType":"INT64","vInt64":"-9223372036854775808"},{"key":"j","vType":"INT64","vInt64":53931},
      {"key":"f","vType":"FLOAT64","vFloat64":129.8},{"key":"x","vType":"BINARY","vBinary":"AAAwOQ=="},
      {"key":"y","vType":4,"vBinary":"AA"}]
      """#,
      becomes: #"""
        "attributes":[{"key":"s","value":{"stringValue":"größe \"\n"}},
        {"key":"b","value":{"boolValue":true}},
        {"key":"c","value":{"boolValue":false}},{"key":"i","value":{"intValue":"-9223372036854775808"}},
        {"key":"j","value":{"intValue":"53931"}},{"key":"f","value":{"doubleValue":129.8}},
        {"key":"x","value":{"bytesValue":"AAAwOQ=="}},{"key":"y","value":{"bytesValue":"AA=="}}]
        """#)
  }

  @Test(arguments: [("server", 2), ("client", 3), ("producer", 4), ("consumer", 5), ("internal", 1)])
  func kinds(_ word: String, _ number: Int) throws {
    try expectSpan(
      #""tags":[\#(tag("span.kind", word))]"#, becomes: "", early: #""kind":\#(number)"#)
  }

  @Test func anErrorTagIsTheStatus() throws {
    let error = #"{"key":"error","vType":"BOOL","vBool":true}"#
    try expectSpan(#""tags":[\#(error)]"#, becomes: #""status":{"code":2}"#)
    try expectSpan(#""tags":[\#(tag("error", "true"))]"#, becomes: #""status":{"code":2}"#)
    try expectSpan(
      #""tags":[\#(tag("otel.status_code", "OK")),\#(error),\#(tag("otel.status_description", "no"))]"#,
      becomes: #""status":{"message":"no","code":2}"#)
    try expectSpan(
      #""tags":[\#(error),\#(tag("http.status_message", "gone"))]"#,
      becomes: #""attributes":[\#(text("http.status_message", "gone"))],"status":{"message":"gone","code":2}"#
    )
    // Others are attributes.
    try expectSpan(
      #""tags":[{"key":"error","vType":"BOOL"},\#(tag("error.kind", "x"))]"#,
      becomes: #""attributes":[{"key":"error","value":{"boolValue":false}},\#(text("error.kind", "x"))]"#)
  }

  @Test func statusCodes() throws {
    for (word, status) in [
      ("OK", #""status":{"code":1}"#), ("error", #""status":{"code":2}"#), ("UNSET", ""),
      ("STATUS_CODE_ERROR", #""status":{"code":2}"#), ("nonsense", ""),
    ] {
      try expectSpan(#""tags":[\#(tag("otel.status_code", word))]"#, becomes: status)
    }
    try expectSpan(
      #""tags":[\#(tag("otel.status_code", "ERROR")),\#(tag("otel.status_description", "why"))]"#,
      becomes: #""status":{"message":"why","code":2}"#)
  }

  @Test(arguments: [
    (500, "server", true), (404, "server", false), (404, "client", true), (200, "client", false),
    (503, "", true),
    (302, "", false), (99, "", true),
  ])
  func statusesOfHTTP(_ code: Int, _ kind: String, _ isError: Bool) throws {
    let number = ["": 0, "server": 2, "client": 3][kind] ?? 0
    for (value, expected) in [
      (#""vType":"INT64","vInt64":"\#(code)""#, #"{"intValue":"\#(code)"}"#),
      (#""vStr":"\#(code)""#, #"{"stringValue":"\#(code)"}"#),
    ] {
      let kindTag = kind.isEmpty ? "" : "," + tag("span.kind", kind)
      try expectSpan(
        #""tags":[{"key":"http.status_code",\#(value)}\#(kindTag)]"#,
        becomes: #""attributes":[{"key":"http.status_code","value":\#(expected)}]"#
          + (isError ? #","status":{"code":2}"# : ""),
        early: kind.isEmpty ? "" : #""kind":\#(number)"#)
    }
  }

  @Test func referencesAreTheParentAndLinks() throws {
    func reference(_ span: Int, _ kind: String = "", trace: String = "AAAAAAAAAAEAAAAAAAAAAg==") -> String {
      #"{"traceId":"\#(trace)","spanId":"AAAAAAAAAA\#(["A", "E", "I", "M", "Q", "U"][span])="\#(kind)}"#
    }
    let other = "AAAAAAAAAAAAAAAAAAAA/w=="
    let follows = #","refType":"FOLLOWS_FROM""#
    func link(_ span: Int, _ kind: String, trace: String = "00000000000000010000000000000002") -> String {
      #"""
      {"traceId":"\#(trace)","spanId":"000000000000000\#(span)",
      "attributes":[\#(text("opentracing.ref_type", kind))]}
      """#
    }
    let otherTrace = "000000000000000000000000000000ff"
    // The first child-of of the same trace; others, of other traces too, are links.
    let all = [
      reference(1, follows), reference(2, trace: other), reference(4, #","refType":"CHILD_OF""#),
      reference(5),
    ]
    try expectSpan(
      #""references":[\#(all.joined(separator: ","))]"#,
      becomes:
        #"""
        "links":[\#(link(1, "follows_from")),\#(link(2, "child_of", trace: otherTrace)),
        \#(link(5, "child_of"))]
        """#,
      early: #""parentSpanId":"0000000000000004""#)
    // What follows from a span of its trace is no root, and still a link.
    try expectSpan(
      #""references":[\#(reference(4, follows))]"#, becomes: #""links":[\#(link(4, "follows_from"))]"#,
      early: #""parentSpanId":"0000000000000004""#)
    try expectSpan(
      #""references":[\#(reference(4, follows, trace: other))]"#,
      becomes: #""links":[\#(link(4, "follows_from", trace: otherTrace))]"#)
  }

  @Test func logsAreEvents() throws {
    try expectSpan(
      #"""
      "logs":[{"timestamp":"2026-01-31T23:59:58Z","fields":[\#(tag("a", "b")),\#(tag("event", "retry"))]},
      {"timestamp":"2026-02-01T00:59:59+01:00","fields":[{"key":"event","vType":"INT64","vInt64":"7"}]}]
      """#,
      becomes: #"""
        "events":[{"timeUnixNano":"1769903998000000000","name":"retry","attributes":[\#(text("a", "b"))]},
        {"timeUnixNano":"1769903999000000000","attributes":[{"key":"event","value":{"intValue":"7"}}]}]
        """#)
  }

  @Test func scopeTraceStateAndFlags() throws {
    try expectSpan(
      #"""
      "flags":3,
      "tags":[\#(tag("otel.scope.name", "lib")),\#(tag("otel.scope.version", "2")),\#(tag("a", "b"))]
      """#,
      becomes: #""attributes":[\#(text("a", "b"))],"flags":1"#, scope: #""name":"lib","version":"2""#)
    try expectSpan(#""tags":[\#(tag("otel.library.name", "old"))]"#, becomes: "", scope: #""name":"old""#)
    let json = #"{\#(ids),\#(times),"tags":[\#(tag("w3c.tracestate", "a=b"))]}"#
    #expect(
      try converted(json, .jaegerJSON)
        == otlp(#"{"scopeSpans":[{"spans":[{\#(otlpIDs),"traceState":"a=b",\#(otlpTimes)}]}]}"#))
  }

  @Test func timesOfEveryKind() throws {
    for (start, duration) in [
      (#""2026-02-01T00:59:58.500+01:00""#, #""250000000ns""#), ("1769903998500000", "250000"),
      (#""1769903998500000""#, #""250ms""#), (#""2026-01-31T18:59:58.5-05:00""#, #""250000us""#),
    ] {
      let json = #"{\#(ids),"startTime":\#(start),"duration":\#(duration)}"#
      #expect(
        try converted(json, .jaegerJSON)
          == otlp(#"{"scopeSpans":[{"spans":[{\#(otlpIDs),\#(otlpTimes)}]}]}"#), "\(start)")
    }
    // What is beyond the times that there are stops at the end.
    for duration in [#""-9999999999999s""#, #""9999999999999999999s""#] {
      #expect(failure(#"{\#(ids),\#(#""startTime":5"#),"duration":\#(duration)}"#, .jaegerJSON) == nil)
    }
    #expect(
      failure(#"{\#(ids),"startTime":"yesterday"}"#, .jaegerJSON)?.reason == .wrongType)
  }

  /// Protobuf and its JSON are one mapping.
  @Test func protobufIsReadAlike() throws {
    var span = WireWriter()
    span.bytesField(1, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2])
    span.bytesField(2, [0, 0, 0, 0, 0, 0, 0, 3])
    span.stringField(3, "get")
    span.message(4) { $0.bytesField(2, [0, 0, 0, 0, 0, 0, 0, 9]) }
    span.message(6) { time in
      time.varintField(1, 1_769_903_998)
      time.varintField(2, 500_000_000)
    }
    span.message(7) { $0.varintField(2, 250_000_000) }
    span.message(8) { tag in
      tag.stringField(1, "error")
      tag.varintField(2, 1)
      tag.varintField(4, 1)
    }
    span.message(10) { $0.stringField(1, "shop") }
    let json = #"""
      {\#(ids),"operationName":"get",\#(times),"process":{"serviceName":"shop"},
      "references":[{"spanId":"AAAAAAAAAAk="}],"tags":[{"key":"error","vType":"BOOL","vBool":true}]}
      """#
    let bytes = try converted(span.bytes, .jaegerProto)
    #expect(try bytes == converted(json, .jaegerJSON))
    #expect(
      try bytes
        == otlp(
          #"""
          {"resource":{"attributes":[\#(text("service.name", "shop"))]},"scopeSpans":[{"spans":[{\#(otlpIDs),
          "parentSpanId":"0000000000000009","name":"get",\#(otlpTimes),"status":{"code":2}}]}]}
          """#))
    // Every cut of it is refused or read, and never more.
    for count in 0..<span.count {
      do throws(MalformedInput) { _ = try converted(Array(span.bytes[..<count]), .jaegerProto) } catch {
        #expect((0...count).contains(error.offset))
      }
    }
  }

  @Test func idsOf64Bits() throws {
    for (trace, key) in [("AAAAAAAAAAI=", "traceId"), ("2", "traceID"), ("0000000000000002", "traceID")] {
      let span = key == "traceID" ? #""spanID":"3""# : #""spanId":"AAAAAAAAAAM=""#
      let found = try converted(#"{"\#(key)":"\#(trace)",\#(span),\#(times)}"#, .jaegerJSON)
      let padded = #""traceId":"00000000000000000000000000000002","spanId":"0000000000000003""#
      #expect(try found == otlp(#"{"scopeSpans":[{"spans":[{\#(padded),\#(otlpTimes)}]}]}"#))
    }
  }

  @Test(arguments: [
    (#"{"traceId":"AAAA","spanId":"AAAAAAAAAAM="}"#, MalformedInput.Reason.identifierLength, 11),
    (#"{"traceID":"12345678901234567890123456789012345","spanID":"3"}"#, .identifierLength, 11),
    (#"{"traceID":"1","spanID":"x"}"#, .invalidText, 25), (#" {"traceID":"1"}"#, .identifierMissing, 1),
    (#"{"traceID":"0","spanID":"1"}"#, .identifierMissing, 0),
    (#"{"traceID":"1","spanID":"1","tags":{}}"#, .wrongType, 35),
    (#"{"traceID":"1","spanID":"1""#, .truncated, 27), (#"{"traceID":"1","spanID":"1"}}"#, .invalidJSON, 28),
    (#"{"traceIdLow":1,"spanId":3}"#, .wrongType, 25), ("[]", .wrongType, 0), ("", .empty, 0),
    (
      #"{"traceID":"1","spanID":"1","tags":[{"key":"a","vType":"INT64","vInt64":"1.5"}]}"#, .numberOutOfRange,
      72
    ),
  ])
  func mistakesHaveAPlace(_ json: String, _ reason: MalformedInput.Reason, _ offset: Int) {
    #expect(failure(json, .jaegerJSON) == MalformedInput(reason, at: offset))
  }
}

@Suite struct JaegerDocumentTests {
  private let query = #"""
    {"data":[{"traceID":"1","spans":[
    {"traceID":"1","spanID":"2","startTime":1000,"duration":5,"processID":"p1","tags":[
    {"key":"n","type":"int64","value":7},{"key":"x","type":"binary","value":"AAAw"},
    {"key":"s","type":"string","value":"t"}]},
    {"traceID":"1","spanID":"3","startTime":1000,"duration":5,"processID":"p2","references":[
    {"refType":"CHILD_OF","traceID":"1","spanID":"2"}]}],
    "processes":{"p1":{"serviceName":"a"},"p2":{"serviceName":"b"}},"warnings":null}],"total":0,"errors":null}
    """#

  @Test func answersOfTheQueryAPI() throws {
    let trace = #""traceId":"00000000000000000000000000000001""#
    let times = #""startTimeUnixNano":"1000000","endTimeUnixNano":"1005000""#
    #expect(
      try converted(query, .jaegerJSON)
        == otlp(
          #"""
          {"resource":{"attributes":[\#(text("service.name", "a"))]},"scopeSpans":[{"spans":[{\#(trace),
          "spanId":"0000000000000002",\#(times),"attributes":[{"key":"n","value":{"intValue":"7"}},
          {"key":"x","value":{"bytesValue":"AAAw"}},\#(text("s", "t"))]}]}]},
          {"resource":{"attributes":[\#(text("service.name", "b"))]},"scopeSpans":[{"spans":[{\#(trace),
          "spanId":"0000000000000003","parentSpanId":"0000000000000002",\#(times)}]}]}
          """#))
  }

  @Test func spansOfTheStore() throws {
    let json = #"""
      {"traceID":"1","spanID":"2","parentSpanID":"9","startTime":1000,"startTimeMillis":1,"duration":5,
      "tags":[{"key":"n","value":"7","type":"int64"},{"key":"e","type":"bool","value":"true"},
      {"key":"f","type":"float64","value":"72.5"},{"key":"x","type":"binary","value":"00003039"}],
      "process":{"serviceName":"a"}}
      """#
    #expect(
      try converted(json, .jaegerJSON)
        == otlp(
          #"""
          {"resource":{"attributes":[\#(text("service.name", "a"))]},"scopeSpans":[{"spans":[{
          "traceId":"00000000000000000000000000000001","spanId":"0000000000000002",
          "parentSpanId":"0000000000000009","startTimeUnixNano":"1000000","endTimeUnixNano":"1005000",
          "attributes":[{"key":"n","value":{"intValue":"7"}},{"key":"e","value":{"boolValue":true}},
          {"key":"f","value":{"doubleValue":72.5}},{"key":"x","value":{"bytesValue":"AAAwOQ=="}}]}]}]}
          """#))
  }

  /// A process is copied into each of its spans: that has a limit.
  @Test func processesDoNotMultiplyWithoutEnd() {
    let name = String(repeating: "n", count: 1 << 20)
    let spans = (1...40).map { #"{"traceID":"1","spanID":"\#($0)","processID":"\#($0 % 2)"}"# }
    let json =
      #"{"spans":[\#(spans.joined(separator: ","))],"processes":{"0":{"serviceName":"\#(name)"},"1":{}}}"#
    #expect(failure(json, .jaegerJSON)?.reason == .splitTooLarge)
  }
}
