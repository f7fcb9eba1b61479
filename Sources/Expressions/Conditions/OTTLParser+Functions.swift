// Functions: their names, their arguments, and alternatives to those outside the subset.

import OTLP

/// The functions of the subset.
enum OTTLFunction: String, CaseIterable {
  case isMatch = "IsMatch"
  case hasPrefix = "HasPrefix"
  case hasSuffix = "HasSuffix"
  case containsValue = "ContainsValue"
  case isString = "IsString"
  case isInt = "IsInt"
  case isDouble = "IsDouble"
  case isBool = "IsBool"
  case isList = "IsList"
  case isMap = "IsMap"
  case isRootSpan = "IsRootSpan"
  case len = "Len"
  case toLowerCase = "ToLowerCase"
  case toUpperCase = "ToUpperCase"
  case int = "Int"
  case double = "Double"
  case string = "String"
  case duration = "Duration"
  case spanID = "SpanID"
  case traceID = "TraceID"
  case nanoseconds = "Nanoseconds"
  case microseconds = "Microseconds"
  case milliseconds = "Milliseconds"
  case seconds = "Seconds"
  case minutes = "Minutes"
  case hours = "Hours"
  case unixNano = "UnixNano"
  case unixMicro = "UnixMicro"
  case unixMilli = "UnixMilli"
  case unixSeconds = "UnixSeconds"

  /// The nearest alternative to an OTTL function outside the subset.
  static func nearest(to name: String) -> String? {
    switch name {
    case "IsRootSpan": "span.parent_span_id == SpanID(0x0000000000000000)"
    case "Contains", "Index", "Substring", "Split", "Trim", "TrimPrefix", "TrimSuffix", "ExtractPatterns",
      "ExtractGrokPatterns", "ParseJSON", "ParseKeyValue", "ParseCSV", "URL", "UserAgent", "IsInCIDR":
      "IsMatch, HasPrefix and HasSuffix test strings"
    case "Concat", "Format": "compare the parts, joined by 'and'"
    case "ConvertCase": "ToLowerCase or ToUpperCase"
    case "Keys", "Values", "Any", "All", "Find", "Filter":
      "attributes[\"map\"][\"key\"], or ContainsValue on a list"
    case "Now", "Time", "Unix", "TruncateTime", "FormatTime", "Year", "Month", "Day", "Weekday", "Hour",
      "Minute",
      "Second", "Nanosecond":
      "conditions have no clock; compare the span's own times"
    case "Bool", "ParseInt", "Hex", "Decode", "Base64Decode": "Int, Double or String"
    case "FNV", "MD5", "SHA1", "SHA256", "SHA512", "Murmur3Hash", "XXH3", "UUID", "UUIDv7":
      "the policy 'probabilistic' samples by a hash of the trace id"
    case "Log", "Max", "Min", "Sum": "arithmetic with + - * /"
    default: nil
    }
  }
}

extension OTTLParser {
  /// Reads the arguments of the function `name`; the current token is the opening parenthesis.
  mutating func function(_ name: OTTLToken) throws(OTTLError) -> OTTLOperand {
    let known = OTTLFunction.allCases.filter { $0 != .isRootSpan || context == .span }
    let spelled = spelling(name)
    guard let function = known.first(where: { $0.rawValue == spelled }) else {
      let hint = OTTLFunction.nearest(to: spelled).map { " (instead of \(spelled): \($0))" } ?? ""
      let names = known.map(\.rawValue).joined(separator: ", ")
      throw unexpected("one of the functions for \(context.things): \(names)\(hint)", at: name)
    }
    try enter()
    let result = try call(function)
    try leave("')'")
    return result
  }

  private mutating func call(_ function: OTTLFunction) throws(OTTLError) -> OTTLOperand {
    switch function {
    case .isRootSpan: try add(.isRootSpan)
    case .duration: .duration(try duration())
    case .spanID: .spanID(try identifier(8).reduce(0) { $0 << 8 | UInt64($1) })
    case .traceID: try traceID()
    case .isMatch: try isMatch()
    case .hasPrefix: try affix(isSuffix: false)
    case .hasSuffix: try affix(isSuffix: true)
    case .containsValue: try containsValue()
    case .isString: try add(.isOfType(value("a value"), .string))
    case .isInt: try add(.isOfType(value("a value"), .integer))
    case .isDouble: try add(.isOfType(value("a value"), .double))
    case .isBool: try add(.isOfType(value("a value"), .boolean))
    case .isList: try add(.isOfType(value("a value"), .list))
    case .isMap: try add(.isOfType(value("a value"), .map))
    case .len: try add(.length(value("a value")))
    case .toLowerCase: try add(.changeCase(value("a value"), isUpper: false))
    case .toUpperCase: try add(.changeCase(value("a value"), isUpper: true))
    case .int: try add(.convert(value("a value"), .integer))
    case .double: try add(.convert(value("a value"), .double))
    case .string: try add(.convert(value("a value"), .string))
    case .nanoseconds: try add(.durationAsNumber(value("a duration"), .nanosecond))
    case .microseconds: try add(.durationAsNumber(value("a duration"), .microsecond))
    case .milliseconds: try add(.durationAsNumber(value("a duration"), .millisecond))
    case .seconds: try add(.durationAsNumber(value("a duration"), .second))
    case .minutes: try add(.durationAsNumber(value("a duration"), .minute))
    case .hours: try add(.durationAsNumber(value("a duration"), .hour))
    case .unixNano: try add(.timeAsInteger(value("a time"), .nanosecond))
    case .unixMicro: try add(.timeAsInteger(value("a time"), .microsecond))
    case .unixMilli: try add(.timeAsInteger(value("a time"), .millisecond))
    case .unixSeconds: try add(.timeAsInteger(value("a time"), .second))
    }
  }

  private mutating func isMatch() throws(OTTLError) -> OTTLOperand {
    let target = try value("a value")
    try take(.comma, "',' and a pattern")
    return try add(.isMatch(target, pattern: try pattern()))
  }

  private mutating func affix(isSuffix: Bool) throws(OTTLError) -> OTTLOperand {
    let target = try value("a value")
    try take(.comma, "',' and a string")
    return try add(.hasAffix(target, value("a string"), isSuffix: isSuffix))
  }

  private mutating func containsValue() throws(OTTLError) -> OTTLOperand {
    guard token.kind == .leftBracket else {
      let list = try value("a path to a list, or a list such as [\"a\", \"b\"]")
      try take(.comma, "',' and a value")
      let item = try value("a value")
      let isRepeated = program.reach(of: item) > program.reach(of: list)
      return try add(.containsValue(list, item, isRepeated: isRepeated))
    }
    var elements: [OTTLOperand] = []
    repeat {
      try advance()
      if elements.isEmpty, token.kind == .rightBracket { break }
      let first = token
      let element = try value("a value")
      switch element {
      case .duration, .spanID, .traceID, .byteString:
        throw unexpected("a string, a number or a boolean", at: first)
      default: elements.append(element)
      }
    } while token.kind == .comma
    try take(.rightBracket, "',' or ']'")
    try take(.comma, "',' and a value")
    return try add(.isOneOf(elements, value("a value")))
  }

  private mutating func pattern() throws(OTTLError) -> Int {
    let literal = token
    guard literal.kind == .string else { throw unexpected("a pattern in double quotes") }
    let bytes = try string()
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw unexpected("a pattern in UTF-8", at: literal)
    }
    do {
      program.patterns.append(try RegularExpression(text))
    } catch {
      throw unexpected("a regular expression: \(error)", at: literal)
    }
    return program.patterns.count - 1
  }

  private mutating func duration() throws(OTTLError) -> Int64 {
    let literal = token
    guard literal.kind == .string, let nanoseconds = OTTLLiteral.nanoseconds(try string()) else {
      throw unexpected("a duration in double quotes, such as \"1.5s\" or \"1h30m\"", at: literal)
    }
    return nanoseconds
  }

  private mutating func traceID() throws(OTTLError) -> OTTLOperand {
    let bytes = try identifier(16)
    return .traceID(
      TraceID(
        high: bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) },
        low: bytes.suffix(8).reduce(0) { $0 << 8 | UInt64($1) }))
  }

  /// Reads an id's bytes: a byte string, or hexadecimal digits in a string.
  private mutating func identifier(_ count: Int) throws(OTTLError) -> [UInt8] {
    let literal = token
    let bytes: [UInt8] =
      switch literal.kind {
      case .string: try string()
      case .byteString: try byteString()
      default: []
      }
    if bytes.count == count { return bytes }
    guard bytes.count == 2 * count, let decoded = OTTLLiteral.bytes(bytes[...]) else {
      let example = "0x" + String(repeating: "0", count: 2 * count)
      throw unexpected("an id of \(count) bytes, such as \(example)", at: literal)
    }
    return decoded
  }

  // MARK: Durations and times

  /// What is known about a value's type before evaluation.
  private enum Timing {
    case duration, time, neither, unknown
  }

  /// Rejects a comparison that is always false because only one side is a duration or a time: an attribute is
  /// neither, and a number has no unit. nil compares with anything.
  func check(
    _ left: OTTLOperand, _ leftToken: OTTLToken, _ right: OTTLOperand, _ rightToken: OTTLToken
  ) throws(OTTLError) {
    guard left != .null, right != .null else { return }
    let timings = (timing(of: left), timing(of: right))
    switch timings {
    case (.duration, .time), (.duration, .neither): throw unexpected(OTTLParser.onlyDurations, at: rightToken)
    case (.time, .duration), (.neither, .duration): throw unexpected(OTTLParser.onlyDurations, at: leftToken)
    case (.time, .neither): throw unexpected(OTTLParser.onlyTimes, at: rightToken)
    case (.neither, .time): throw unexpected(OTTLParser.onlyTimes, at: leftToken)
    case (.duration, .duration), (.time, .time), (.neither, .neither), (.unknown, _), (_, .unknown): return
    }
  }

  private static let onlyDurations =
    "a duration, which compares only with durations: 'duration', end_time - start_time or Duration(\"2s\")"
  private static let onlyTimes =
    "a time, which compares only with times: start_time and end_time (start_time_unix_nano is an integer)"

  private func timing(of operand: OTTLOperand) -> Timing {
    switch operand {
    case .duration, .field(.duration): return .duration
    case .field(.startTime), .field(.endTime), .field(.eventTime): return .time
    case .call(let index):
      guard case .arithmetic(let operation, let left, let right) = program.calls[index] else {
        return .neither
      }
      switch (timing(of: left), operation, timing(of: right)) {
      case (.time, .subtract, .time), (.duration, .add, .duration), (.duration, .subtract, .duration):
        return .duration
      case (.time, .add, .duration), (.time, .subtract, .duration), (.duration, .add, .time): return .time
      case (.neither, _, .neither): return .neither
      default: return .unknown
      }
    default: return .neither
    }
  }
}
