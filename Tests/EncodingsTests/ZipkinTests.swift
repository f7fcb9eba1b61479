// The mapping of Zipkin's spans, rule by rule.

import OTLP
import Testing

@testable import Encodings

private let ids = #""traceId":"0000000000000002","id":"0000000000000003""#
private let times = #""timestamp":1769903998500000,"duration":250000"#
private let otlpIDs = #""traceId":"00000000000000000000000000000002","spanId":"0000000000000003""#
private let otlpTimes = #""startTimeUnixNano":"1769903998500000000","endTimeUnixNano":"1769903998750000000""#

private func expectSpan(
  _ members: String, becomes fields: String, early: String = "", resource: String = "", scope: String = "",
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let json = "[{" + [ids, times, members].filter { !$0.isEmpty }.joined(separator: ",") + "}]"
  let span = [otlpIDs, early, otlpTimes, fields].filter { !$0.isEmpty }.joined(separator: ",")
  let head = scope.isEmpty ? "" : #""scope":{\#(scope)},"#
  let whole = resource.isEmpty ? "" : #""resource":{"attributes":[\#(resource)]},"#
  let expected = try otlp(#"{\#(whole)"scopeSpans":[{\#(head)"spans":[{\#(span)}]}]}"#)
  #expect(try converted(json, .zipkinJSON) == expected, sourceLocation: sourceLocation)
}

@Suite struct ZipkinMappingTests {
  @Test(arguments: [("SERVER", 2), ("CLIENT", 3), ("PRODUCER", 4), ("CONSUMER", 5)])
  func kinds(_ word: String, _ number: Int) throws {
    try expectSpan(
      #""kind":"\#(word)","name":"get","parentId":"9""#, becomes: "",
      early: #""parentSpanId":"0000000000000009","name":"get","kind":\#(number)"#)
  }

  @Test func endpoints() throws {
    try expectSpan(
      #"""
      "localEndpoint":{"serviceName":"shop","ipv4":"10.0.0.1","port":80},
      "remoteEndpoint":{"serviceName":"db","ipv6":"2001:db8::c001","port":5432}
      """#,
      becomes: #"""
        "attributes":[\#(text("peer.service", "db")),\#(text("network.local.address", "10.0.0.1")),
        {"key":"network.local.port","value":{"intValue":"80"}},
        \#(text("network.peer.address", "2001:db8::c001")),
        {"key":"network.peer.port","value":{"intValue":"5432"}}]
        """#,
      resource: text("service.name", "shop"))
    try expectSpan(#""localEndpoint":{},"remoteEndpoint":null,"tags":null"#, becomes: "")
  }

  /// OpenTelemetry has one address: that of version 4, in whatever order they come.
  @Test(arguments: [
    #""ipv4":"10.0.0.1","ipv6":"2001:db8::c001""#, #""ipv6":"2001:db8::c001","ipv4":"10.0.0.1""#,
  ])
  func endpointsWithBothAddresses(_ addresses: String) throws {
    let attributes = #"""
      "attributes":[\#(text("network.local.address", "10.0.0.1")),
      \#(text("network.peer.address", "10.0.0.1"))]
      """#
    try expectSpan(
      #""localEndpoint":{\#(addresses)},"remoteEndpoint":{\#(addresses)}"#, becomes: attributes)
  }

  /// A lane's room for a record is smaller than what it may become: then it is as one that is too large, and
  /// nothing of it is written.
  @Test func convertedRecordsHaveTheCallersLimit() throws {
    let json = Array(#"[{\#(ids),\#(times),"name":"\#(String(repeating: "n", count: 1000))"}]"#.utf8)
    let whole = try converted(json, .zipkinJSON)
    var converter = SpanConverter(.zipkinJSON)
    for bytesMax in [whole.count, whole.count - 1, 0] {
      var writer = WireWriter()
      writer.varintField(1, 7)
      let before = writer.bytes
      var error: MalformedInput?
      do throws(MalformedInput) {
        try json.withRawBytes { (raw) throws(MalformedInput) in
          try converter.convert(raw, into: &writer, bytesMax: bytesMax)
        }
      } catch let thrown { error = thrown }
      #expect(error?.reason == (bytesMax < whole.count ? .recordTooLarge : nil), "\(bytesMax)")
      #expect(writer.bytes == before + (error == nil ? whole : []))
    }
  }

  @Test func tagsAndAnnotations() throws {
    try expectSpan(
      #"""
      "tags":{"http.path":"/api","n":5,"b":true,"skip":null},
      "annotations":[{"timestamp":1769903998600000,"value":"foo"}]
      """#,
      becomes: #"""
        "attributes":[\#(text("http.path", "/api")),\#(text("n", "5")),\#(text("b", "true"))],
        "events":[{"timeUnixNano":"1769903998600000000","name":"foo"}]
        """#)
    try expectSpan(
      #"""
      "tags":{"host.name":"h","otel.scope.name":"lib","span.kind":"internal","k8s.pod.name":"p",
      "service.name":"tagged"}
      """#,
      becomes: "", early: #""kind":1"#,
      resource: [text("host.name", "h"), text("k8s.pod.name", "p"), text("service.name", "tagged")]
        .joined(separator: ","),
      scope: #""name":"lib""#)
  }

  @Test func errors() throws {
    try expectSpan(#""tags":{"error":"true"}"#, becomes: #""status":{"code":2}"#)
    try expectSpan(#""tags":{"error":""}"#, becomes: #""status":{"code":2}"#)
    try expectSpan(#""tags":{"error":"timeout"}"#, becomes: #""status":{"message":"timeout","code":2}"#)
    try expectSpan(#""tags":{"error":"false"}"#, becomes: #""attributes":[\#(text("error", "false"))]"#)
    try expectSpan(#""tags":{"otel.status_code":"OK"}"#, becomes: #""status":{"code":1}"#)
    try expectSpan(
      #""tags":{"otel.status_code":"ERROR","otel.status_description":"why","error":"true"}"#,
      becomes: #""status":{"message":"why","code":2}"#)
  }

  /// Both halves of a call are kept: they have the same id and the same parent. A half that is alone with
  /// itself has none.
  @Test func sharedSpans() throws {
    let half = #"{\#(ids),"parentId":"7",\#(times),"kind":"CLIENT"}"#
    let other = #"{\#(ids),"parentId":"7",\#(times),"kind":"SERVER","shared":true}"#
    func span(_ kind: Int) -> String {
      #"{\#(otlpIDs),"parentSpanId":"0000000000000007","kind":\#(kind),\#(otlpTimes)}"#
    }
    #expect(
      try converted("[\(half),\(other)]", .zipkinJSON)
        == otlp(#"{"scopeSpans":[{"spans":[\#(span(3)),\#(span(2))]}]}"#))
    try expectSpan(#""parentId":"0000000000000003","shared":true"#, becomes: "")
  }

  @Test func anAbsentTimeIsSaid() throws {
    let flag = #"{"key":"otel.zipkin.absentField.startTime","value":{"boolValue":true}}"#
    let bytes = try converted("[{\(ids),\"timestamp\":null}]", .zipkinJSON)
    var record = ScannedRecord()
    try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scan(raw) }
    #expect(record.spans.count == 1)
    let expected = try otlp(#"{"scopeSpans":[{"spans":[{\#(otlpIDs),"attributes":[\#(flag)]}]}]}"#)
    // The times are written although they are zero.
    #expect(bytes.count == expected.count + 18)
  }

  /// Neighbours with the same service share a resource; a new one begins with another service.
  @Test func servicesAreResources() throws {
    let spans = ["a", "a", "b", "a"].map { #"{\#(ids),\#(times),"localEndpoint":{"serviceName":"\#($0)"}}"# }
    let span = "{\(otlpIDs),\(otlpTimes)}"
    let groups = [("a", "\(span),\(span)"), ("b", span), ("a", span)].map { name, spans in
      #"{"resource":{"attributes":[\#(text("service.name", name))]},"scopeSpans":[{"spans":[\#(spans)]}]}"#
    }
    #expect(
      try converted("[\(spans.joined(separator: ","))]", .zipkinJSON) == otlp(groups.joined(separator: ",")))
  }

  @Test func protobufIsReadAlike() throws {
    var list = WireWriter()
    list.message(1) { span in
      span.bytesField(1, [0, 0, 0, 0, 0, 0, 0, 2])
      span.bytesField(2, [0, 0, 0, 0, 0, 0, 0, 9])
      span.bytesField(3, [0, 0, 0, 0, 0, 0, 0, 3])
      span.varintField(4, 2)
      span.stringField(5, "get")
      span.fixed64Field(6, 1_769_903_998_500_000)
      span.varintField(7, 250_000)
      span.message(8) { endpoint in
        endpoint.stringField(1, "shop")
        endpoint.bytesField(2, [10, 0, 0, 1])
        // Not ours: it is no address.
        endpoint.stringField(15, "elsewhere")
      }
      span.message(9) { endpoint in
        endpoint.bytesField(3, [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 10) + [0xc0, 1])
        endpoint.varintField(4, 80)
      }
      span.message(10) { annotation in
        annotation.fixed64Field(1, 1_769_903_998_600_000)
        annotation.stringField(2, "foo")
      }
      span.message(11) { tag in
        tag.stringField(1, "error")
        tag.stringField(2, "true")
      }
      span.varintField(13, 1)
    }
    let json = #"""
      {\#(ids),"parentId":"9","kind":"SERVER","name":"get",\#(times),"shared":true,"tags":{"error":"true"},
      "localEndpoint":{"serviceName":"shop","ipv4":"10.0.0.1"},
      "remoteEndpoint":{"ipv6":"2001:db8::c001","port":80},
      "annotations":[{"timestamp":1769903998600000,"value":"foo"}]}
      """#
    #expect(try converted(list.bytes, .zipkinProto) == converted(json, .zipkinJSON))
    for count in 0..<list.count {
      do throws(MalformedInput) { _ = try converted(Array(list.bytes[..<count]), .zipkinProto) } catch {
        #expect((0...count).contains(error.offset))
      }
    }
  }

  @Test func aBadSpanCostsItselfAlone() throws {
    let good = "{\(ids),\(times)}"
    let nameless = #"{"id":"5"}"#
    let bad = #"{"traceId":"6","id":"7","duration":-1}"#
    let json = Array("[\(nameless), \(nameless) ,\(good),\(bad),\(nameless)]".utf8)
    let found = try rejected(json, .zipkinJSON)
    #expect(try found.written == otlp(#"{"scopeSpans":[{"spans":[{\#(otlpIDs),\#(otlpTimes)}]}]}"#))
    #expect(found.groups.map(\.error.reason) == [.identifierMissing, .numberOutOfRange])
    #expect(found.groups.map(\.count) == [3, 1] && found.groups.map(\.spanID) == [5, 7])
    #expect(found.groups[1].traceID == TraceID(high: 0, low: 6))
    #expect(
      found.parts.map { String(decoding: $0, as: UTF8.self) } == [
        "[\(nameless), \(nameless),\(nameless)]", "[\(bad)]",
      ])
    var list = WireWriter()
    list.message(1) { $0.bytesField(1, [UInt8](repeating: 1, count: 16)) }
    let part = list.bytes
    list.message(1) { span in
      span.bytesField(1, [UInt8](repeating: 1, count: 16))
      span.bytesField(3, [UInt8](repeating: 1, count: 8))
    }
    list.message(1) { $0.bytesField(1, [1, 2, 3]) }
    let parts = try rejected(list.bytes, .zipkinProto)
    #expect(parts.groups.map(\.error.reason) == [.identifierMissing, .identifierLength])
    #expect(parts.parts == [part, Array(list.bytes.suffix(7))] && !parts.written.isEmpty)
  }

  @Test(arguments: [
    (#"[{"traceId":"1","id":"2"}"#, MalformedInput.Reason.truncated, 25), ("5", .wrongType, 0),
    ("[1,", .truncated, 3), ("[]]", .invalidJSON, 2), ("", .empty, 0),
  ])
  func documentsThatAreNoJSON(_ json: String, _ reason: MalformedInput.Reason, _ offset: Int) {
    #expect(failure(json, .zipkinJSON) == MalformedInput(reason, at: offset))
  }

  /// Version 1 has other keys: its spans would say nothing.
  @Test func versionOneIsRefused() throws {
    let found = try rejected(
      Array(#"[{"traceId":"1","id":"2","name":"get","binaryAnnotations":[]}]"#.utf8), .zipkinJSON)
    #expect(found.groups.map(\.error) == [MalformedInput(.wrongType, at: 38)] && found.written.isEmpty)
  }

  @Test func addresses() {
    #expect([10, 0, 0, 255].addressText == Array("10.0.0.255".utf8))
    let zeros = [UInt8](repeating: 0, count: 16)
    #expect(zeros.addressText == Array("::".utf8))
    #expect((zeros.dropLast() + [1]).addressText == Array("::1".utf8))
    let mixed: [UInt8] = [0x20, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3]
    #expect(mixed.addressText == Array("2001:0:1::2:0:3".utf8))
    #expect([1, 2, 3].addressText == nil)
  }
}

@Suite struct TimeTextTests {
  @Test(arguments: [
    ("1970-01-01T00:00:00Z", 0), ("1969-12-31T23:59:59.5Z", -500_000_000),
    ("2000-02-29T12:00:00+00:00", 951_825_600_000_000_000),
    ("2017-01-26T16:46:31.639875139-05:00", 1_485_467_191_639_875_139),
    ("2100-03-01T00:00:00Z", 4_107_542_400_000_000_000),
  ])
  func times(_ text: String, _ nanoseconds: Int64) {
    #expect(TimeText.time(Array(text.utf8)) == nanoseconds)
  }

  @Test(arguments: [
    "", "2017-01-26", "2017-13-26T16:46:31Z", "2017-01-26T16:46:31", "2017-01-26T16:46:31.Z",
    "2017-01-26 16:46:31Z",
    "2017-01-26T16:46:31ZZ", "2017-01-26T24:46:31Z", "17-01-26T16:46:31Z",
  ])
  func otherTexts(_ text: String) {
    #expect(TimeText.time(Array(text.utf8)) == nil)
  }

  @Test(arguments: [
    ("22938000ns", 22_938_000), ("0.022938s", 22_938_000), ("1.5ms", 1_500_000), ("7us", 7000), ("7µs", 7000),
    ("-2s", -2_000_000_000), ("0s", 0), ("99999999999999999999s", Int64.max), ("0.1234567891s", 123_456_789),
  ])
  func durations(_ text: String, _ nanoseconds: Int64) {
    #expect(TimeText.duration(Array(text.utf8)) == nanoseconds)
  }

  @Test(arguments: ["", "5", "s", "1.s", ".5s", "5 s", "1m", "1.5.5s", "--1s"])
  func otherDurations(_ text: String) {
    #expect(TimeText.duration(Array(text.utf8)) == nil)
  }
}
