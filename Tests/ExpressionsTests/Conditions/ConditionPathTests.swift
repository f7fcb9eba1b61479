// Every path, on spans with fields in either order.

import Testing

@testable import Expressions
@testable import OTLP

@Suite struct ConditionPathTests {
  static let span: ModelSpan = {
    var span = ModelSpan()
    span.parent = 0x1122_3344_5566_7788
    span.status = 2
    span.message = "no route"
    span.traceState = "ot=th:8,vendor=a=b"
    span.attributes = [
      ModelAttribute("http.route", .string("/cart")), ModelAttribute("count", .integer(-7)),
      ModelAttribute("ratio", .double(0.25)),
      ModelAttribute("retry", .boolean(true)), ModelAttribute("blob", .bytes([1, 0xab])),
      ModelAttribute("tags", .array([.string("a"), .integer(1)])), ModelAttribute("count", .integer(8)),
      ModelAttribute("empty", .empty), ModelAttribute("empty", .integer(1)), ModelAttribute("valueless", nil),
      ModelAttribute("map", .map([ModelAttribute("a", .integer(1)), ModelAttribute("a", .integer(2))])),
      ModelAttribute("", .integer(5)),
    ]
    span.resource = [ModelAttribute("service.name", .string("cart")), ModelAttribute("count", .integer(1))]
    span.scopeName = "net/http"
    span.scopeVersion = "1.2.3"
    span.scope = [ModelAttribute("count", .integer(2))]
    span.events = [
      ModelEvent(name: "start", time: 1_500_000_000, attributes: [ModelAttribute("count", .integer(3))]),
      ModelEvent(
        name: "exception", time: 2_000_000_000,
        attributes: [ModelAttribute("exception.type", .string("IO"))]),
    ]
    return span
  }()

  @Test(arguments: [
    "name == \"GET /cart\"", "span.name == \"GET /cart\"", "kind == SPAN_KIND_SERVER", "span.kind == 2",
    "kind.string == \"Server\"", "kind.deprecated_string == \"SPAN_KIND_SERVER\"",
    "status.code == STATUS_CODE_ERROR",
    "status.message == \"no route\"", "start_time_unix_nano == 1000000000",
    "end_time_unix_nano == 3500000000",
    "end_time_unix_nano > start_time_unix_nano", "duration == Duration(\"2500ms\")",
    "trace_state == \"ot=th:8,vendor=a=b\"",
    "trace_id.string == \"000102030405060708090a0b0c0d0e0f\"", "span_id.string == \"000000000000abcd\"",
    "parent_span_id.string == \"1122334455667788\"", "span_id.string != parent_span_id.string",
    "span_id.string < parent_span_id.string", "not IsRootSpan()",
    "attributes[\"http.route\"] == \"/cart\"", "span.attributes[\"http.route\"] == \"/cart\"",
    "attributes[\"count\"] == -7", "attributes[\"ratio\"] == 0.25", "attributes[\"retry\"] == true",
    "attributes[\"none\"] == nil", "attributes[\"none\"] != \"a\"", "not attributes[\"none\"] == \"a\"",
    "attributes[\"empty\"] == nil", "attributes[\"valueless\"] == nil", "attributes[\"\"] == 5",
    "attributes[\"tags\"] != nil", "attributes[\"map\"] != nil", "attributes[\"blob\"] != nil",
    "resource.attributes[\"service.name\"] == \"cart\"", "resource.attributes[\"count\"] == 1",
    "resource.attributes[\"http.route\"] == nil",
    "instrumentation_scope.name == \"net/http\"", "instrumentation_scope.version == \"1.2.3\"",
    "scope.name == \"net/http\"", "instrumentation_scope.attributes[\"count\"] == 2",
    "Len(name) == 9", "Len(attributes[\"tags\"]) == 2", "Len(attributes[\"map\"]) == 2",
    "Len(attributes[\"blob\"]) == 2", "Len(trace_id.string) == 32",
    "IsString(name)", "IsString(attributes[\"http.route\"])", "not IsString(attributes[\"none\"])",
    "IsInt(attributes[\"count\"])", "IsInt(kind)", "not IsInt(attributes[\"ratio\"])",
    "IsDouble(attributes[\"ratio\"])", "not IsDouble(attributes[\"count\"])",
    "IsBool(attributes[\"retry\"])", "not IsBool(nil)", "not IsString(attributes[\"tags\"])",
    "IsString(trace_id.string)",
    "IsMatch(name, \"^GET\")", "not IsMatch(name, \"^cart\")", "IsMatch(name, \"cart\")",
    "IsMatch(name, \"\")",
    "not IsMatch(attributes[\"none\"], \"\")", "IsMatch(attributes[\"count\"], \"^-7\")",
    "IsMatch(attributes[\"retry\"], \"true\")", "IsMatch(attributes[\"ratio\"], \"^0.25\")",
    "IsMatch(attributes[\"blob\"], \"^01ab\")", "IsMatch(trace_id.string, \"0e0f\")",
    "IsMatch(kind.string, \"^Ser\")",
    "IsMatch(\"abc\", \"b\")", "IsMatch(name, \"cart\") == true",
    "IsMatch(name, \"^GET\") and not IsMatch(name, \"^cart\") or false",
  ])
  func spans(condition: String) throws {
    var span = ConditionPathTests.span
    for isDescending in [false, true] {
      span.isDescending = isDescending
      #expect(try span.holds(condition), "\(condition)")
      #expect(try !span.holds("not (\(condition))"), "\(condition)")
    }
  }

  @Test(arguments: [
    "name == \"exception\"", "spanevent.name == \"exception\"", "attributes[\"exception.type\"] == \"IO\"",
    "spanevent.attributes[\"exception.type\"] == \"IO\"", "time_unix_nano == 2000000000",
    "name == \"start\" and attributes[\"count\"] == 3",
    "name == \"exception\" and attributes[\"count\"] == nil",
    "span.name == \"GET /cart\"", "span.attributes[\"count\"] == -7", "span.status.code == 2",
    "resource.attributes[\"count\"] == 1", "instrumentation_scope.version == \"1.2.3\"",
    "scope.attributes[\"count\"] == 2",
    "time_unix_nano < span.end_time_unix_nano",
    "span.trace_state[\"vendor\"] == \"\" or span.duration > Duration(\"2s\")",
    "IsMatch(name, \"^exc\")", "IsMatch(span.name, \"^GET\")",
  ])
  func events(condition: String) throws {
    var span = ConditionPathTests.span
    for isDescending in [false, true] {
      span.isDescending = isDescending
      #expect(try span.holds(condition, .spanEvent), "\(condition)")
    }
  }

  @Test(arguments: [
    "name == \"end\"", "attributes[\"exception.type\"] == \"IO\" and attributes[\"count\"] == 3",
    "time_unix_nano == 0",
  ])
  func noEventIsLikeThis(condition: String) throws {
    #expect(try !ConditionPathTests.span.holds(condition, .spanEvent))
    #expect(try !ModelSpan().holds("true", .spanEvent), "a span without events")
  }

  /// Missing fields: strings are empty, numbers are zero, only attributes are nil.
  @Test(arguments: [
    "name == \"\"", "kind == 0", "kind.string == \"Unspecified\"", "status.code == 0",
    "status.message == \"\"",
    "trace_state == \"\"", "trace_state[\"a\"] == \"\"", "parent_span_id.string == \"0000000000000000\"",
    "IsRootSpan()",
    "instrumentation_scope.name == \"\"", "duration == Duration(\"0\")", "resource.attributes[\"a\"] == nil",
    "scope.attributes[\"a\"] == nil", "attributes[\"a\"] == nil", "start_time_unix_nano == 0",
  ])
  func bareSpan(condition: String) throws {
    var writer = WireWriter()
    writer.message(1) { resource in
      resource.message(2) { scope in
        scope.message(2) { span in
          span.bytesField(1, Array(repeating: 1, count: 16))
          span.bytesField(2, Array(repeating: 1, count: 8))
        }
      }
    }
    var set = try SpanConditionSet([condition])
    #expect(try set.outcomes(of: writer.bytes) == [.matches])
  }

  @Test(arguments: [
    (UInt64(0), "Unspecified", "SPAN_KIND_UNSPECIFIED"), (1, "Internal", "SPAN_KIND_INTERNAL"),
    (2, "Server", "SPAN_KIND_SERVER"), (3, "Client", "SPAN_KIND_CLIENT"),
    (4, "Producer", "SPAN_KIND_PRODUCER"),
    (5, "Consumer", "SPAN_KIND_CONSUMER"),
  ])
  func kinds(kind: UInt64, text: String, symbol: String) throws {
    var span = ModelSpan()
    span.kind = kind
    #expect(
      try span.holds(
        "kind == \(symbol) and kind.string == \"\(text)\" and kind.deprecated_string == \"\(symbol)\""))
    span.kind = 9
    for (large, number) in [(UInt64(255), "255"), (300, "300"), (.max, "-1"), (0x1_0000_0002, "2")] {
      span.kind = large
      #expect(try span.holds("kind == \(number) and kind.deprecated_string == \"\""))
    }
    span.kind = 9
    #expect(try span.holds("kind == 9 and kind.string == \"\" and kind.deprecated_string == \"\""))
  }

  @Test(arguments: [
    ("a=1", "\"1\""), ("b=2,a=1", "\"1\""), ("b=2 ,\t a=1 \t,", "\"1\""), ("a=1 2", "\"1 2\""),
    ("b=2", "\"\""), ("", "\"\""),
    (",,a=1", "\"1\""), ("t@a=2,a=1", "\"1\""), ("0t@s=2,a=1", "\"1\""),
    ("a=1,a=1", "nil"), ("b=1,a=1,b=2", "nil"), ("a=1=2", "nil"), ("a=", "nil"), ("a", "nil"), ("=1", "nil"),
    ("A=2,a=1", "nil"), ("a b=2,a=1", "nil"), ("a =1", "nil"), ("0b=2,a=1", "nil"), ("a=é", "nil"),
    ("a=1,@b=2", "nil"),
    ("b@=2,a=1", "nil"), ("b@0c=2,a=1", "nil"),
    (String(repeating: "k", count: 256) + "=2,a=1", "\"1\""),
    (String(repeating: "k", count: 257) + "=2,a=1", "nil"),
    ("b=" + String(repeating: "v", count: 256) + ",a=1", "\"1\""),
    ("b=" + String(repeating: "v", count: 257) + ",a=1", "nil"),
    ((0..<31).map { "k\($0)=v," }.joined() + "a=1", "\"1\""),
    ((0..<32).map { "k\($0)=v," }.joined() + "a=1", "nil"),
  ])
  func traceStates(traceState: String, expected: String) throws {
    var span = ModelSpan()
    span.traceState = traceState
    #expect(try span.holds("trace_state[\"a\"] == \(expected)"), "\(traceState)")
  }

  @Test(arguments: [
    (0.0, "0"), (-0.0, "-0"), (1, "1"), (100, "100"), (0.25, "0.25"), (-1.5, "-1.5"),
    (1e16, "10000000000000000"), (1e20, "100000000000000000000"), (1e21, "1e+21"), (-1e21, "-1e+21"),
    (1.5e21, "1.5e+21"), (0.000001, "0.000001"), (0.00000125, "0.00000125"), (9.9e-7, "9.9e-07"),
    (1.25e-7, "1.25e-07"), (123456.789, "123456.789"), (0.1, "0.1"),
    (9_007_199_254_740_992, "9007199254740992"), (.leastNonzeroMagnitude, "5e-324"),
    (.greatestFiniteMagnitude, "1.7976931348623157e+308"), (1e-100, "1e-100"),
  ])
  func floatsAsText(value: Double, expected: String) {
    var bytes: [UInt8] = []
    DecimalText.append(value, to: &bytes)
    #expect(String(decoding: bytes, as: UTF8.self) == expected)
  }

  /// If JSON can't express a number, matching fails as it does in the Collector.
  @Test(arguments: [Double.nan, .infinity, -.infinity])
  func noText(value: Double) throws {
    var span = ModelSpan()
    span.attributes = [ModelAttribute("d", .double(value)), ModelAttribute("big", .double(2e21))]
    #expect(try span.error("IsMatch(attributes[\"d\"], \"\")") == .noText)
    #expect(try span.holds("IsMatch(attributes[\"big\"], \"^2e.21$\")"))
  }

  /// Equal to nil, and yet a byte string: it has a length, and text that patterns may match.
  @Test(arguments: [
    "attributes[\"b\"] == nil", "nil <= attributes[\"b\"]", "attributes[\"b\"] == attributes[\"none\"]",
    "attributes[\"b\"] == attributes[\"b\"]", "attributes[\"b\"] != attributes[\"c\"]",
    "not attributes[\"b\"] < attributes[\"c\"]", "attributes[\"b\"] != \"\"", "Len(attributes[\"b\"]) == 0",
    "IsMatch(attributes[\"b\"], \"\")", "IsMatch(attributes[\"b\"], \"^$\")",
    "not IsMatch(attributes[\"b\"], \"0\")", "not IsString(attributes[\"b\"])",
  ])
  func emptyByteStrings(condition: String) throws {
    var span = ModelSpan()
    span.attributes = [ModelAttribute("b", .bytes([])), ModelAttribute("c", .bytes([0]))]
    #expect(try span.holds(condition), "\(condition)")
  }

  /// A code unknown to OTLP is a number like any other; protobuf keeps 32 bits of it.
  @Test(arguments: [
    (UInt64(3), "3"), (7, "7"), (255, "255"), (300, "300"), (UInt64(UInt32.max), "-1"), (.max, "-1"),
    (0x1_0000_0002, "2"), (0x1_0000_0005, "5"),
  ])
  func unknownStatusCodes(code: UInt64, expected: String) throws {
    var span = ModelSpan()
    span.status = code
    span.message = "m"
    #expect(try span.holds("status.code == \(expected) and status.message == \"m\""))
    #expect(try span.holds("status.code == STATUS_CODE_UNSET or status.code != 0"))
  }
}
