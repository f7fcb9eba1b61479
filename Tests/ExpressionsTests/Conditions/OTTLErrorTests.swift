// Errors: which token, where, and what was expected instead.

import Testing

@testable import Expressions

@Suite struct OTTLErrorTests {
  private static let comparison = "a comparison operator: ==, !=, <, <=, > or >="
  private static let spanFields =
    "a field of the span: attributes[\"…\"], name, kind, kind.string, kind.deprecated_string, status.code, "
    + "status.message, start_time, end_time, start_time_unix_nano, end_time_unix_nano, duration, "
    + "trace_state, trace_id, trace_id.string, span_id, span_id.string, parent_span_id, parent_span_id.string"
  private static let eventFields =
    "a field of the span event: attributes[\"…\"], name, time, time_unix_nano"
  private static let arithmetic = "strings, booleans, enums and nil can't be used in arithmetic"
  private static let number = "a number, a path or a function"
  private static let symbols =
    "a function, or one of SPAN_KIND_UNSPECIFIED, SPAN_KIND_INTERNAL, SPAN_KIND_SERVER, SPAN_KIND_CLIENT, "
    + "SPAN_KIND_PRODUCER, SPAN_KIND_CONSUMER, STATUS_CODE_UNSET, STATUS_CODE_OK, STATUS_CODE_ERROR"
  private static let attributeKey = "'[' and an attribute key in double quotes"
  private static let durationOnly =
    "a duration, which compares only with durations: 'duration', end_time - start_time or Duration(\"2s\")"
  private static let timeOnly =
    "a time, which compares only with times: start_time and end_time (start_time_unix_nano is an integer)"
  private static let eventFunctions =
    "one of the functions for span events: IsMatch, HasPrefix, HasSuffix, ContainsValue, IsString, IsInt, "
    + "IsDouble, IsBool, IsList, IsMap, Len, ToLowerCase, ToUpperCase, Int, Double, String, Duration, "
    + "SpanID, TraceID, Nanoseconds, Microseconds, Milliseconds, Seconds, Minutes, Hours, UnixNano, "
    + "UnixMicro, UnixMilli, UnixSeconds"
  private static let spanFunctions =
    eventFunctions.replacing("span events", with: "spans").replacing(
      "IsMap, Len", with: "IsMap, IsRootSpan, Len")

  private func message(_ text: String, _ context: OTTLContext = .span) throws -> String {
    try #require(throws: OTTLError.self, "\(text)") { try OTTLCondition(text, context: context) }.description
  }

  @Test(arguments: [
    ("", "1:1: found the end, expected a condition"),
    ("   ", "1:4: found the end, expected a condition"),
    ("name", "1:5: found the end, expected \(comparison)"),
    (
      "name = \"a\"",
      "1:6: found '=', expected ',' or a comparison operator (named arguments are outside the subset)"
    ),
    ("name ==", "1:8: found the end, expected a value"),
    ("name == \"a\" and", "1:16: found the end, expected a condition"),
    ("name == \"a\" name", "1:13: found 'name', expected 'and', 'or' or the end"),
    ("true true", "1:6: found 'true', expected 'and', 'or' or the end"),
    ("(true", "1:6: found the end, expected 'and', 'or' or ')'"),
    ("true)", "1:5: found ')', expected 'and', 'or' or the end"),
    ("()", "1:2: found ')', expected a condition"),
    ("not not true", "1:5: found 'not', expected a condition"),
    ("or true", "1:1: found 'or', expected a condition"),
    ("true\n  and\n\té == 1", "3:2: found 'é', expected a path, a literal, an operator or a parenthesis"),
    ("\"é\" == é", "1:8: found 'é', expected a path, a literal, an operator or a parenthesis"),
    ("kind ! 2", "1:6: found '!', expected a path, a literal, an operator or a parenthesis"),
    ("kind == 2 && true", "1:11: found '&', expected a path, a literal, an operator or a parenthesis"),
    ("1", "1:2: found the end, expected \(comparison)"),
    ("nil", "1:4: found the end, expected \(comparison)"),
    ("Len(name)", "1:10: found the end, expected \(comparison)"),
    ("1 == 2 == 3", "1:8: found '==', expected 'and', 'or' or the end"),
  ])
  func grammar(text: String, expected: String) throws {
    #expect(try message(text) == expected)
  }

  @Test(arguments: [
    ("name == \"a", "1:9: found '\"a', expected a closing double quote"),
    ("name == \"a\\\"", "1:9: found '\"a\\\"', expected a closing double quote"),
    ("name == 'a'", "1:9: found ''', expected a path, a literal, an operator or a parenthesis"),
    (
      #"IsMatch(name, "\d+")"#,
      #"1:15: found '"\d+"', expected a one-line string with Go's escapes (write a backslash as \\)"#
    ),
    (
      #"name == "\400""#,
      #"1:9: found '"\400"', expected a one-line string with Go's escapes (write a backslash as \\)"#
    ),
    (
      #"name == "\ud800""#,
      #"1:9: found '"\ud800"', expected a one-line string with Go's escapes (write a backslash as \\)"#
    ),
    (
      #"name == "\x4""#,
      #"1:9: found '"\x4"', expected a one-line string with Go's escapes (write a backslash as \\)"#
    ),
    ("kind == 1e5", "1:9: found '1e5', expected an integer such as 12, or a decimal such as 1.2 or 1.2e3"),
    ("kind == 1.5x", "1:9: found '1.5x', expected an integer such as 12, or a decimal such as 1.2 or 1.2e3"),
    ("kind == 9223372036854775808", "1:9: found '9223372036854775808', expected a 64-bit integer"),
    ("kind == 1.5e999", "1:9: found '1.5e999', expected a 64-bit decimal"),
    ("kind == 0xf", "1:9: found '0xf', expected a byte string: 0x and two hexadecimal digits for each byte"),
    (
      "kind == 0xfg", "1:9: found '0xfg', expected a byte string: 0x and two hexadecimal digits for each byte"
    ),
    ("kind == 0x", "1:9: found '0x', expected a byte string: 0x and two hexadecimal digits for each byte"),
    (
      "kind == [1]",
      "1:9: found '[', expected a value (lists are outside the subset, except in ContainsValue([…], value))"
    ),
    ("{} == nil", "1:1: found '{', expected a condition (maps are outside the subset; compare their values)"),
    ("kind == SERVER", "1:9: found 'SERVER', expected \(symbols)"),
    ("kind + == 3", "1:8: found '==', expected \(number)"),
    ("kind + \"a\" == 3", "1:8: found '\"a\"', expected \(number) (\(arithmetic))"),
    ("kind - SPAN_KIND_SERVER == 0", "1:8: found 'SPAN_KIND_SERVER', expected \(number) (\(arithmetic))"),
    ("\"a\" + kind == 3", "1:5: found '+', expected \(comparison) (\(arithmetic))"),
    ("true * 2 == 3", "1:6: found '*', expected 'and', 'or' or the end"),
    ("kind == nil + 1", "1:13: found '+', expected 'and', 'or' or the end"),
    ("(\"a\") == \"a\"", "1:5: found ')', expected \(comparison)"),
    ("(kind + 1", "1:10: found the end, expected 'and', 'or' or ')'"),
    ("kind + 1", "1:9: found the end, expected \(comparison)"),
    ("(kind == 2) + 1 == 3", "1:13: found '+', expected 'and', 'or' or the end"),
    ("- - 1 == 1", "1:3: found '-', expected \(number)"),
    ("-\"a\" == 1", "1:2: found '\"a\"', expected \(number) (\(arithmetic))"),
    (
      "name == \"0123456789012345678901234567890123456789",
      "1:9: found '\"012345678901234567890123456789012345678…', "
        + "expected a closing double quote"
    ),
  ])
  func literals(text: String, expected: String) throws {
    #expect(try message(text) == expected)
  }

  @Test(arguments: [
    ("foo == 1", "1:1: found 'foo', expected \(spanFields)"),
    ("span.foo == 1", "1:6: found 'foo', expected \(spanFields)"),
    (
      "status == 1",
      "1:1: found 'status', expected \(spanFields) (instead of status: status.code and status.message)"
    ),
    ("status.text == 1", "1:8: found 'text', expected \(spanFields)"),
    ("kind.string.more == 1", "1:6: found 'string', expected \(spanFields)"),
    (
      "events == nil",
      "1:1: found 'events', expected \(spanFields) (instead of events: conditions under 'spanevent' are "
        + "evaluated for each event)"
    ),
    ("spanevent.name == \"a\"", "1:1: found 'spanevent', expected \(spanFields)"),
    ("span == nil", "1:6: found '==', expected '.' and \(spanFields)"),
    ("span[\"a\"].name == 1", "1:5: found '[', expected '.' and a field"),
    ("span. == nil", "1:7: found '==', expected a field name"),
    ("span.Name == nil", "1:6: found 'Name', expected a field name"),
    ("resource.name == 1", "1:10: found 'name', expected a field of the resource: attributes[\"…\"]"),
    (
      "scope.foo == 1",
      "1:7: found 'foo', expected a field of the scope: attributes[\"…\"], name, version"
    ),
    ("attributes == nil", "1:12: found '==', expected \(attributeKey)"),
    ("attributes.foo == 1", "1:12: found 'foo', expected \(attributeKey)"),
    ("attributes[\"a\"].b == 1", "1:17: found 'b', expected the end of the path"),
    ("attributes[\"a\"][\"b\"].c == 1", "1:22: found 'c', expected the end of the path"),
    (
      "attributes[\"a\"][9223372036854775808] == 1",
      "1:17: found '9223372036854775808', expected a 64-bit index"
    ),
    (
      "attributes[\"a\"][-1] == 1",
      "1:17: found '-', expected a key in double quotes, or the index of an element"
    ),
    ("trace_state[\"a\"][\"b\"] == 1", "1:17: found '[', expected a single key"),
    ("attributes[0] == 1", "1:12: found '0', expected a key in double quotes"),
    (
      "attributes[name] == 1",
      "1:12: found 'name', expected a key in double quotes, or the index of an element"
    ),
    ("attributes[\"a\" == 1", "1:16: found '==', expected ']'"),
    ("name[\"a\"] == 1", "1:5: found '[', expected no key: 'name' is not a map"),
    ("kind[\"a\"].string == 1", "1:5: found '[', expected no key: 'kind.string' is not a map"),
    ("trace_state[0] == 1", "1:13: found '0', expected a key in double quotes"),
  ])
  func paths(text: String, expected: String) throws {
    #expect(try message(text) == expected)
  }

  @Test(arguments: [
    ("kind == 1", "1:1: found 'kind', expected \(eventFields)"),
    ("spanevent.kind == 1", "1:11: found 'kind', expected \(eventFields)"),
    ("span.time_unix_nano == 1", "1:6: found 'time_unix_nano', expected \(spanFields)"),
    (
      "IsRootSpan()",
      "1:1: found 'IsRootSpan', expected \(eventFunctions) (instead of IsRootSpan: span.parent_span_id == "
        + "SpanID(0x0000000000000000))"
    ),
  ])
  func eventPaths(text: String, expected: String) throws {
    #expect(try message(text, .spanEvent) == expected)
  }

  @Test(arguments: [
    (
      "Split(name, \",\") == nil",
      "1:1: found 'Split', expected \(spanFunctions) (instead of Split: IsMatch, HasPrefix and HasSuffix "
        + "test strings)"
    ),
    ("Foo(name) == nil", "1:1: found 'Foo', expected \(spanFunctions)"),
    ("IsRootSpan", "1:1: found 'IsRootSpan', expected \(symbols)"),
    ("IsRootSpan(name)", "1:12: found 'name', expected ')'"),
    ("IsMatch(name)", "1:13: found ')', expected ',' and a pattern"),
    ("IsMatch()", "1:9: found ')', expected a value"),
    ("HasPrefix(name)", "1:15: found ')', expected ',' and a string"),
    ("ContainsValue([\"a\"])", "1:20: found ')', expected ',' and a value"),
    ("ContainsValue([\"a\" \"b\"], name)", "1:20: found '\"b\"', expected ',' or ']'"),
    (
      "ContainsValue([Duration(\"1s\")], name)",
      "1:16: found 'Duration', expected a string, a number or a boolean"
    ),
    (
      "span_id == SpanID(0x00)", "1:19: found '0x00', expected an id of 8 bytes, such as 0x0000000000000000"
    ),
    (
      "span_id == SpanID(\"000000000000000g\")",
      "1:19: found '\"000000000000000g\"', expected an id of 8 bytes, such as 0x0000000000000000"
    ),
    (
      "trace_id == TraceID(name)",
      "1:21: found 'name', expected an id of 16 bytes, such as 0x00000000000000000000000000000000"
    ),
    ("IsMatch(name, name)", "1:15: found 'name', expected a pattern in double quotes"),
    (#"IsMatch(name, "\xff")"#, #"1:15: found '"\xff"', expected a pattern in UTF-8"#),
    ("IsMatch(name, \"a\", 1)", "1:18: found ',', expected ')'"),
    (
      "IsMatch(target=name, \"a\")",
      "1:15: found '=', expected ',' or a comparison operator (named arguments are outside the subset)"
    ),
    (
      "duration > Duration(5)",
      "1:21: found '5', expected a duration in double quotes, such as \"1.5s\" or \"1h30m\""
    ),
    (
      "duration > Duration(\"5\")",
      "1:21: found '\"5\"', expected a duration in double quotes, such as \"1.5s\" or \"1h30m\""
    ),
    ("duration > 5", "1:12: found '5', expected \(durationOnly)"),
    ("5 < duration", "1:1: found '5', expected \(durationOnly)"),
    ("end_time - start_time > 5", "1:25: found '5', expected \(durationOnly)"),
    ("end_time - start_time > name", "1:25: found 'name', expected \(durationOnly)"),
    (
      "Duration(\"1s\") < start_time - Duration(\"1s\")", "1:18: found 'start_time', expected \(durationOnly)"
    ),
    ("start_time == 0", "1:15: found '0', expected \(timeOnly)"),
    ("start_time_unix_nano == start_time", "1:1: found 'start_time_unix_nano', expected \(timeOnly)"),
    ("attributes[\"a\"] > Duration(\"1s\")", "1:1: found 'attributes', expected \(durationOnly)"),
  ])
  func functions(text: String, expected: String) throws {
    #expect(try message(text) == expected)
  }

  /// The regular expression's own error follows ours.
  @Test func patterns() throws {
    let message = try message(#"name == "x" or IsMatch(name, "a(")"#)
    #expect(message.hasPrefix(#"1:30: found '"a("', expected a regular expression: "#))
  }
}
