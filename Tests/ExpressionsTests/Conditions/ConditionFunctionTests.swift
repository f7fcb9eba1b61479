// Functions, arithmetic, ids, times and nested attributes.

import Testing

@testable import Expressions
@testable import OTLP

@Suite struct ConditionFunctionTests {
  static let span: ModelSpan = {
    var span = ModelSpan()
    span.name = "GET /Cart"
    span.parent = 0x1122_3344_5566_7788
    span.status = 2
    span.attributes = [
      ModelAttribute("env", .string("Prod")), ModelAttribute("none", .empty),
      ModelAttribute("count", .integer(-7)), ModelAttribute("ratio", .double(2.5)),
      ModelAttribute("yes", .boolean(true)), ModelAttribute("blob", .bytes([1, 0xab])),
      ModelAttribute("digits", .string("+042")), ModelAttribute("decimal", .string("-1.5e3")),
      ModelAttribute("list", .array([.string("a"), .integer(1), .double(2), .boolean(true), .empty])),
      ModelAttribute(
        "map",
        .map([
          ModelAttribute(
            "a", .map([ModelAttribute("b", .string("deep")), ModelAttribute("b", .integer(0))])),
          ModelAttribute(
            "l", .array([.string("x"), .array([.integer(5)]), .map([ModelAttribute("k", .integer(6))])])),
          ModelAttribute("valueless", nil), ModelAttribute("", .integer(9)),
        ])),
    ]
    span.resource = [
      ModelAttribute("allowed", .array([.string("GET /Cart"), .string("b")])),
      ModelAttribute("Host", .string("ÀÉ")),
    ]
    span.scope = [ModelAttribute("m", .map([ModelAttribute("k", .integer(1))]))]
    span.events = [
      ModelEvent(
        name: "first", time: 1_250_000_000,
        attributes: [ModelAttribute("m", .map([ModelAttribute("k", .integer(2))]))]),
      ModelEvent(name: "Prod", time: 1_500_000_000),
    ]
    return span
  }()

  /// The most common conditions of public sampler configurations.
  @Test(arguments: [
    #"end_time - start_time > Duration("2s")"#, #"end_time - start_time == duration"#,
    #"(end_time - start_time) >= Duration("2500ms")"#, #"not end_time - start_time > Duration("3s")"#,
    "end_time_unix_nano - start_time_unix_nano > 2000000000",
    "(end_time_unix_nano - start_time_unix_nano) / 1000000 == 2500",
    "(end_time_unix_nano - start_time_unix_nano) / 1000000.0 == 2500.0",
    #"start_time + Duration("2.5s") == end_time"#, #"Duration("2.5s") + start_time == end_time"#,
    #"end_time - Duration("1s") > start_time"#, "end_time > start_time", "start_time != nil",
    "Milliseconds(end_time - start_time) == 2500", "Seconds(duration) == 2.5", "Minutes(duration) < 0.05",
    "Microseconds(duration) == 2500000", "Nanoseconds(duration) == 2500000000", "Hours(duration) > 0.0",
    "UnixNano(end_time) - UnixNano(start_time) == 2500000000", "UnixMilli(start_time) == 1000",
    "UnixSeconds(end_time) == 3", "UnixMicro(start_time) == 1000000",
    "parent_span_id != SpanID(0x0000000000000000)", "parent_span_id == SpanID(0x1122334455667788)",
    #"parent_span_id == SpanID("1122334455667788")"#, #"span_id == SpanID("000000000000ABCD")"#,
    "span.span_id == SpanID(0x000000000000abcd)", "span_id != parent_span_id",
    "trace_id == TraceID(0x000102030405060708090a0b0c0d0e0f)", "trace_id != SpanID(0x0000000000000000)",
    "not span_id < parent_span_id", "not span_id >= span_id", "parent_span_id != nil", "span_id != \"\"",
    "parent_span_id != 0x1122334455667788",
    "kind == SPAN_KIND_SERVER and status.code == STATUS_CODE_ERROR", "not IsRootSpan()",
    #"attributes["env"] != nil and attributes["nothing"] == nil"#,
    #"HasPrefix(name, "GET ")"#, #"not HasPrefix(name, "get")"#, #"HasSuffix(name, "/Cart")"#,
    #"HasPrefix(name, "")"#, #"HasSuffix("", "")"#, #"not HasSuffix("a", "aa")"#,
    #"HasPrefix(ToLowerCase(name), "get")"#, #"HasSuffix(attributes["env"], ToLowerCase("OD"))"#,
    #"ToLowerCase(attributes["env"]) == "prod""#, #"ToUpperCase(attributes["env"]) == "PROD""#,
    #"ToLowerCase(resource.attributes["Host"]) == "àé""#, #"IsMatch(ToUpperCase(name), "^GET /CART$")"#,
    #"ToLowerCase(ToUpperCase("aß")) == "aß""#,
    #"ContainsValue(["Prod", "Stage"], attributes["env"])"#,
    #"not ContainsValue(["prod"], attributes["env"])"#,
    #"ContainsValue(attributes["list"], "a")"#, #"ContainsValue(attributes["list"], 1.0)"#,
    #"ContainsValue(attributes["list"], 2)"#, #"ContainsValue(attributes["list"], true)"#,
    #"ContainsValue(attributes["list"], nil)"#, #"not ContainsValue(attributes["list"], "b")"#,
    #"ContainsValue(resource.attributes["allowed"], name)"#, "not ContainsValue([], name)",
    #"ContainsValue([1, 2.0, name], name)"#, #"ContainsValue([1, -7], attributes["count"])"#,
    #"Int(attributes["digits"]) == 42"#, #"Int("-9223372036854775808") == -9223372036854775808"#,
    #"Int("9223372036854775808") == nil"#, #"Int("4.2") == nil"#, #"Int("") == nil"#, #"Int("-") == nil"#,
    #"Int(" 1") == nil"#, #"Int(attributes["ratio"]) == 2"#, #"Int(-2.9) == -2"#,
    #"Int(attributes["yes"]) == 1"#,
    #"Int(attributes["none"]) == nil"#, #"Int(attributes["count"]) == -7"#, "Int(1.5e300) < 0",
    #"Double(attributes["decimal"]) == -1500"#, #"Double(attributes["count"]) == -7.0"#,
    #"IsDouble(Double(1))"#, #"Double("0x1p3") == 8"#, #"Double("inf") > 1"#, #"Double("-Infinity") < 1"#,
    #"Double("NaN") != Double("nan")"#, #"Double(".5") == 0.5"#, #"Double(attributes["none"]) == nil"#,
    #"String(attributes["count"]) == "-7""#, #"String(attributes["ratio"]) == "2.5""#,
    #"String(attributes["yes"]) == "true""#, #"String(attributes["blob"]) == "01ab""#,
    #"String(name) == name"#,
    #"String(attributes["none"]) == nil"#, #"String(0x00ff) == "00ff""#, #"String(1.0e21 * 10) == "1e+22""#,
    #"Len(String(attributes["blob"])) == 4"#, "Len(0x0102) == 2", #"Len(attributes["list"]) == 5"#,
    #"IsList(attributes["list"]) and IsMap(attributes["map"])"#,
    #"not IsMap(attributes["list"]) and not IsList(name)"#,
    #"attributes["count"] + 8 == 1"#, #"attributes["ratio"] * 2 == 5"#, #"-attributes["count"] == 7"#,
    #"attributes["count"] * attributes["ratio"] == -17.5"#, #"Len(name) + Len(attributes["env"]) == 13"#,
    #"attributes["blob"] == 0x01AB and 0x01ac > attributes["blob"]"#, #"attributes["blob"] != "01ab""#,
  ])
  func spans(condition: String) throws {
    var span = ConditionFunctionTests.span
    for isDescending in [false, true] {
      span.isDescending = isDescending
      #expect(try span.holds(condition), "\(condition)")
      #expect(try !span.holds("not (\(condition))"), "\(condition)")
    }
  }

  @Test(arguments: [
    #"attributes["map"]["a"]["b"] == "deep""#, #"attributes["map"]["l"][0] == "x""#,
    #"attributes["map"]["l"][1][0] == 5"#, #"attributes["map"]["l"][2]["k"] == 6"#,
    #"attributes["map"][""] == 9"#, #"attributes["map"]["valueless"] == nil"#,
    #"attributes["map"]["c"] == nil"#, #"attributes["map"]["c"]["d"] == nil"#,
    #"attributes["nothing"]["d"] == nil"#,
    #"attributes["list"][4] == nil"#, #"span.attributes["list"][1] == 1"#,
    #"instrumentation_scope.attributes["m"]["k"] == 1"#, #"resource.attributes["allowed"][1] == "b""#,
    #"HasPrefix(attributes["map"]["a"]["b"], "de")"#, #"IsMatch(attributes["map"]["l"][1][0], "^5$")"#,
    #"IsMap(attributes["map"]["a"]) and IsList(attributes["map"]["l"])"#,
    #"Len(attributes["map"]["l"]) == 3"#,
    #"ContainsValue(attributes["map"]["l"], "x")"#, #"attributes["map"]["l"][1][0] + 1 == 6"#,
  ])
  func nested(condition: String) throws {
    #expect(try ConditionFunctionTests.span.holds(condition), "\(condition)")
  }

  @Test(arguments: [
    #"time - span.start_time < Duration("1s") and name == "first""#,
    #"span.end_time - time == Duration("2s")"#,
    "time_unix_nano - span.start_time_unix_nano == 250000000", #"attributes["m"]["k"] == 2"#,
    #"name == span.attributes["env"]"#, #"ToUpperCase(name) == ToUpperCase(span.attributes["env"])"#,
    #"not ContainsValue(span.attributes["list"], name)"#, "span.parent_span_id == SpanID(0x1122334455667788)",
    #"HasPrefix(span.attributes["env"], name)"#,
  ])
  func events(condition: String) throws {
    #expect(try ConditionFunctionTests.span.holds(condition, .spanEvent), "\(condition)")
  }

  @Test(arguments: [
    (#"HasPrefix(attributes["nothing"], "a")"#, EvaluationError.Reason.noString),
    (#"HasPrefix(name, nil)"#, .noString), (#"HasSuffix(attributes["count"], "7")"#, .noString),
    (#"ToLowerCase(attributes["nothing"]) == "a""#, .noString), (#"ToUpperCase(kind) == "a""#, .noString),
    (#"ContainsValue(attributes["nothing"], 1)"#, .noList), (#"ContainsValue(name, 1)"#, .noList),
    (#"Double("x") == 1"#, .noNumber), (#"Double("") == 1"#, .noNumber),
    (#"Double("1e999") == 1"#, .noNumber),
    (#"Double("0x1") == 1"#, .noNumber), (#"Double("nan(1)") == 1"#, .noNumber),
    (#"Double("+nan") == 1"#, .noNumber),
    (#"Int(attributes["blob"]) == 1"#, .noNumber), (#"Int(attributes["list"]) == 1"#, .noNumber),
    (#"Int(duration) == 1"#, .noNumber), (#"Int(span_id) == 1"#, .noNumber),
    (#"String(span_id) == "a""#, .noText),
    (#"String(start_time) == "a""#, .noText), (#"IsMatch(trace_id, "a")"#, .noText),
    (#"Len(duration) == 1"#, .noLength), (#"Len(span_id) == 8"#, .noLength),
    (#"attributes["nothing"] + 1 == 1"#, .noNumber), (#"attributes["env"] + 1 == 1"#, .noNumber),
    (#"-name == 1"#, .noNumber), (#"-duration == 1"#, .noNumber), (#"end_time + start_time == 1"#, .noNumber),
    (#"end_time * 2 == 1"#, .noNumber), (#"end_time - 2 == 1"#, .noNumber),
    (#"duration * 2 == 1"#, .noNumber),
    (#"Duration("1s") - end_time == 1"#, .noNumber),
    ("kind / 0 == 1", .divisionByZero), ("kind / 0.0 == 1", .divisionByZero),
    ("1.5 / (kind - 2) == 1", .divisionByZero),
    (#"Milliseconds(kind) == 1"#, .noDuration), (#"Seconds(start_time) == 1"#, .noDuration),
    (#"UnixNano(start_time_unix_nano) == 1"#, .noTime), (#"UnixNano(attributes["nothing"]) == 1"#, .noTime),
    (#"attributes["list"][5] == 1"#, .noElement), (#"attributes["list"]["a"] == 1"#, .noElement),
    (#"attributes["map"][0] == 1"#, .noElement), (#"attributes["env"]["a"] == 1"#, .noElement),
    (#"attributes["env"][0] == 1"#, .noElement), (#"attributes["map"]["l"][3] == 1"#, .noElement),
  ])
  func errors(condition: String, reason: EvaluationError.Reason) throws {
    #expect(try ConditionFunctionTests.span.error(condition) == reason, "\(condition)")
  }

  /// Arrays and maps have the text of the Collector's JSON.
  @Test(
    arguments: [
      (.array([]), "[]"), (.map([]), "{}"),
      (
        .array([.string("a"), .integer(-1), .double(2), .double(1e21), .boolean(false), .empty]),
        #"["a",-1,2,1e+21,false,null]"#
      ),
      (
        .map([
          ModelAttribute("b", .integer(1)), ModelAttribute("a", .array([.map([])])), ModelAttribute("c", nil),
        ]),
        #"{"a":[{}],"b":1,"c":null}"#
      ),
      (
        .map([
          ModelAttribute("k", .integer(1)), ModelAttribute("j", .integer(2)),
          ModelAttribute("k", .integer(3)),
        ]),
        #"{"j":2,"k":3}"#
      ),
      (
        .array([.bytes([]), .bytes([1]), .bytes([1, 2]), .bytes([0xff, 0xff, 0xfe])]),
        #"[null,"AQ==","AQI=","///+"]"#
      ),
      (
        .array([.string("\"\\/\n\r\t\u{1}<é漢😀\u{2028}&>")]),
        "[\"\\\"\\\\/\\n\\r\\t\\u0001\\u003cé漢😀\\u2028\\u0026\\u003e\"]"
      ),
      (.map([ModelAttribute("<", .string(""))]), #"{"\u003c":""}"#),
    ] as [(ModelValue, String)])
  func json(value: ModelValue, expected: String) throws {
    var span = ModelSpan()
    span.attributes = [ModelAttribute("v", value), ModelAttribute("text", .string(expected))]
    for isDescending in [false, true] {
      span.isDescending = isDescending
      #expect(try span.holds(#"String(attributes["v"]) == attributes["text"]"#), "\(expected)")
    }
  }

  @Test func jsonInPatterns() throws {
    var span = ModelSpan()
    span.attributes = [
      ModelAttribute("header", .array([.string("curl"), .string("bot/1")])),
      ModelAttribute("nan", .map([ModelAttribute("n", .array([.double(.nan)]))])),
    ]
    #expect(try span.holds(#"IsMatch(attributes["header"], "\"bot/[0-9]+\"")"#))
    #expect(try !span.holds(#"IsMatch(attributes["header"], "^bot")"#))
    #expect(try span.error(#"IsMatch(attributes["nan"], "n")"#) == .noText)
    var value = ModelValue.integer(1)
    for _ in 0..<64 { value = .array([value]) }
    span.attributes = [ModelAttribute("deep", value), ModelAttribute("deeper", .array([value]))]
    #expect(try span.holds(#"IsMatch(attributes["deep"], "^.{64}1.{64}$")"#))
    #expect(try span.error(#"IsMatch(attributes["deeper"], "1")"#) == .tooLong)
  }

  /// Ends of ranges: times are clamped, and nothing traps.
  @Test func timesAtTheEnds() throws {
    var span = ModelSpan()
    span.start = 0
    span.end = UInt64(Int64.max)
    #expect(try span.holds(#"end_time + Duration("1h") == end_time"#))
    #expect(try span.holds(#"Nanoseconds(end_time - start_time) == 9223372036854775807"#))
    #expect(
      try span.holds(
        #"start_time - Duration("1ns") < start_time and UnixSeconds(start_time - Duration("1ns")) == -1"#))
    // As in Go, a time is a signed number of nanoseconds.
    span.end = .max
    #expect(try span.holds(#"end_time - start_time == Duration("-1ns") and end_time_unix_nano == -1"#))
    span.end = 1 << 63
    #expect(try span.holds(#"UnixNano(end_time - Duration("1h")) == -9223372036854775808"#))
  }

  @Test(arguments: [
    ("Straße", "straße", "STRAßE"), ("ΑΣ", "ασ", "ΑΣ"), ("İ", "i", "İ"), ("ı", "ı", "I"),
    ("ﬁ", "ﬁ", "ﬁ"), ("ᾳ", "ᾳ", "ᾼ"), ("ǆ", "ǆ", "Ǆ"), ("ǅ", "ǆ", "Ǆ"), ("Ω", "ω", "Ω"),
    ("漢a1!", "漢a1!", "漢A1!"),
    ("𐐀", "𐐨", "𐐀"), ("", "", ""),
  ])
  func cases(text: String, lower: String, upper: String) {
    for (isUpper, expected) in [(false, lower), (true, upper)] {
      var bytes = Array("x".utf8)
      let octets = Array(text.utf8)
      GoText.append(octets.count, isUpper: isUpper, to: &bytes) { place, _ in octets[place] }
      #expect(String(decoding: bytes.dropFirst(), as: UTF8.self) == expected)
    }
  }

  /// Each byte that is not part of a well-formed sequence becomes U+FFFD.
  @Test(
    arguments: [
      ([0xff], 1), ([0x80, 0x41], 1), ([0xc3], 1), ([0xe2, 0x82], 2), ([0xe0, 0x80, 0x80], 3),
      ([0xed, 0xa0, 0x80], 3),
      ([0xf0, 0x9f, 0x98], 3), ([0xf4, 0x90, 0x80, 0x80], 4), ([0xf8, 0x88, 0x80, 0x80, 0x80], 5),
      ([0xc3, 0xc3, 0xa9], 1),
    ] as [([UInt8], Int)])
  func notUTF8(octets: [UInt8], count: Int) {
    var bytes: [UInt8] = []
    GoText.append(octets.count, isUpper: false, to: &bytes) { place, _ in octets[place] }
    #expect(String(decoding: bytes, as: UTF8.self).unicodeScalars.count { $0 == "\u{FFFD}" } == count)
  }

  /// Text made from a span lasts as long as the span, and text from a resource for all its spans.
  @Test func madeTextLasts() throws {
    var span = ModelSpan()
    span.name = "NAME"
    span.resource = [ModelAttribute("r", .string("RRR")), ModelAttribute("n", .integer(12))]
    span.events = (0..<3).map { ModelEvent(name: "E\($0)") }
    let condition =
      #"ToLowerCase(name) == "e2" and ToLowerCase(span.name) == "name" and "#
      + #"ToLowerCase(resource.attributes["r"]) == "rrr" and String(resource.attributes["n"]) == "12""#
    var record = WireWriter()
    var other = span
    other.name = "OTHER"
    for each in [span, other, span] { each.append(to: &record) }
    var set = SpanConditionSet(
      spans: [], events: [try OTTLCondition(condition, context: .spanEvent)], errorMode: .propagate)
    for _ in 0..<3 {
      #expect(try set.outcomes(of: record.bytes) == [.matches, .doesNotMatch, .matches])
    }
    // Only literals, and the text made for the last span and its scope.
    #expect(set.texts.bytes.count < condition.utf8.count + 64)
  }

  /// However many events there are, lists and strings of their span are scanned a bounded number of times.
  @Test func longListsAndTexts() throws {
    var span = ModelSpan()
    let long = ModelValue.array((0..<1025).map { .integer($0) })
    span.attributes = [
      ModelAttribute("l", long), ModelAttribute("t", .string(String(repeating: "A", count: 100_000))),
    ]
    span.events = [
      ModelEvent(name: "e", attributes: [ModelAttribute("i", .integer(1023)), ModelAttribute("l", long)])
    ]
    #expect(try span.holds(#"ContainsValue(span.attributes["l"], attributes["i"])"#, .spanEvent))
    #expect(try span.holds(#"ContainsValue(attributes["l"], 1024)"#, .spanEvent))
    #expect(try span.holds(#"ContainsValue(attributes["l"], 1024)"#))
    #expect(try span.holds(#"ContainsValue(span.attributes["l"], 1024)"#, .spanEvent))
    #expect(try span.error(#"ContainsValue(span.attributes["l"], name)"#, .spanEvent) == .tooLong)
    // Two hundred copies of 100 kB exceed the limit.
    let copies = (0..<200).map { _ in #"ToLowerCase(attributes["t"]) == "a""# }.joined(separator: " or ")
    #expect(try span.error(copies) == .tooLong)
    var few = try SpanConditionSet([#"ToLowerCase(attributes["t"]) != ToUpperCase(attributes["t"])"#])
    for _ in 0..<10 { #expect(try few.outcomes(of: span.encoded) == [.matches]) }
  }

  /// For values nested as deep as bytes allow, the evaluator goes no deeper than the condition's keys.
  @Test func deepValues() throws {
    var value = ModelValue.integer(1)
    for _ in 0..<2000 { value = .array([value]) }
    var span = ModelSpan()
    span.attributes = [ModelAttribute("deep", value)]
    #expect(try span.holds(#"IsList(attributes["deep"][0][0][0][0])"#))
    #expect(try span.holds(#"Len(attributes["deep"]) == 1"#))
    #expect(try !span.holds(#"ContainsValue(attributes["deep"], 1)"#))
  }
}
