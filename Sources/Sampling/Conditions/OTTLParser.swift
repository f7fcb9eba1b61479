// Reads a condition: recursive descent over OTTL's grammar, as far as the subset goes.
//
//   condition  = term { "or" term }
//   term       = factor { "and" factor }
//   factor     = [ "not" ] ( value comparison value | "true" | "false" | function | "(" condition ")" )
//   value      = "nil" | literal | enum | path | function
//   function   = name "(" [ argument { "," argument } ] ")"
//   path       = segment { "." segment },  segment = name { "[" key "]" }
//
// Source: opentelemetry-collector-contrib, pkg/ottl/grammar.go.

import OTLP

struct OTTLParser {
  /// So deep may parentheses stand in each other.
  static let nestingMax = 64

  let context: OTTLContext
  var program = OTTLProgram()
  private var lexer: OTTLLexer
  /// The token that is looked at.
  private(set) var token = OTTLToken(kind: .end, range: 0..<0)
  private var depth = 0

  /// Reads the whole of `text` and leaves the result in `program`.
  init(_ text: [UInt8], context: OTTLContext) throws(OTTLError) {
    self.context = context
    lexer = OTTLLexer(text)
    try advance()
    let expression = try condition()
    guard token.kind == .end else { throw unexpected("'and', 'or' or the end") }
    program.entry = program.lower(expression, ifTrue: OTTLStep.accept, ifFalse: OTTLStep.reject)
  }

  // MARK: Tokens

  mutating func advance() throws(OTTLError) {
    token = try lexer.next()
  }

  /// The error for `token`, or for the one that is looked at.
  func unexpected(_ expected: String, at token: OTTLToken? = nil) -> OTTLError {
    let token = token ?? self.token
    let hint =
      token.kind.isArithmetic
      ? " (arithmetic is outside the subset; how long a span lasted is its 'duration')" : ""
    return OTTLError(token.range, of: lexer.text, expected: expected + hint)
  }

  mutating func take(_ kind: OTTLToken.Kind, _ expected: String) throws(OTTLError) {
    guard token.kind == kind else { throw unexpected(expected) }
    try advance()
  }

  func spelling(_ token: OTTLToken) -> String {
    String(decoding: lexer.text[token.range], as: UTF8.self)
  }

  // MARK: Conditions

  private mutating func condition() throws(OTTLError) -> OTTLExpression {
    var terms = [try term()]
    while token.kind == .or {
      try advance()
      terms.append(try term())
    }
    return terms.count == 1 ? terms[0] : .any(terms)
  }

  private mutating func term() throws(OTTLError) -> OTTLExpression {
    var factors = [try factor()]
    while token.kind == .and {
      try advance()
      factors.append(try factor())
    }
    return factors.count == 1 ? factors[0] : .all(factors)
  }

  private mutating func factor() throws(OTTLError) -> OTTLExpression {
    guard token.kind == .not else { return try primary() }
    try advance()
    return .not(try primary())
  }

  private mutating func primary() throws(OTTLError) -> OTTLExpression {
    guard token.kind == .leftParenthesis else { return try test() }
    guard depth < OTTLParser.nestingMax else {
      throw unexpected("at most \(OTTLParser.nestingMax) parentheses in each other")
    }
    depth += 1
    try advance()
    let inner = try condition()
    try take(.rightParenthesis, "'and', 'or' or ')'")
    depth -= 1
    return inner
  }

  private mutating func test() throws(OTTLError) -> OTTLExpression {
    let leftToken = token
    let left = try value("a condition")
    guard case .comparison(let comparison) = token.kind else {
      switch left {
      case .boolean(let value): return .constant(value)
      case .call(let call) where isBoolean(call): return .test(.call(call))
      default: throw unexpected("a comparison operator: ==, !=, <, <=, > or >=")
      }
    }
    try advance()
    let rightToken = token
    let right = try value("a value")
    if isDuration(left) != isDuration(right) {
      throw unexpected(
        "a duration, which compares with durations only: 'duration' or Duration(\"2s\")",
        at: isDuration(left) ? rightToken : leftToken)
    }
    return .test(.compare(comparison, left, right))
  }

  private func isBoolean(_ call: Int) -> Bool {
    if case .length = program.calls[call] { return false }
    return true
  }

  private func isDuration(_ operand: OTTLOperand) -> Bool {
    switch operand {
    case .duration, .field(.duration): true
    default: false
    }
  }

  // MARK: Values

  /// Reads a value.
  ///
  /// - Parameter wanted: what to ask for where there is none.
  private mutating func value(_ wanted: String) throws(OTTLError) -> OTTLOperand {
    let first = token
    switch first.kind {
    case .nil:
      try advance()
      return .null
    case .true, .false:
      try advance()
      return .boolean(first.kind == .true)
    case .string:
      return .text(program.add(try string()))
    case .integer:
      guard let integer = Int64(spelling(first)) else { throw unexpected("an integer of 64 bits") }
      try advance()
      return .integer(integer)
    case .decimal:
      guard let double = Double(spelling(first)), double.isFinite else {
        throw unexpected("a decimal of 64 bits")
      }
      try advance()
      return .double(double)
    case .capitalized:
      try advance()
      return token.kind == .leftParenthesis ? try function(first) : try symbol(first)
    case .name:
      return try path()
    case .byteString, .leftBracket, .leftBrace:
      throw unexpected("\(wanted) (byte strings, lists and maps are outside the subset)")
    default:
      throw unexpected(wanted)
    }
  }

  /// Reads a string literal.
  mutating func string() throws(OTTLError) -> [UInt8] {
    guard let bytes = OTTLLiteral.unquote(lexer.text[token.range]) else {
      throw unexpected("a string on one line with Go's escapes (a backslash is written \\\\)")
    }
    try advance()
    return bytes
  }

  private func symbol(_ name: OTTLToken) throws(OTTLError) -> OTTLOperand {
    let kinds = SpanKindName.symbols
    let statuses = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"]
    let text = spelling(name)
    guard let number = kinds.firstIndex(of: text) ?? statuses.firstIndex(of: text) else {
      throw unexpected("a function, or one of \((kinds + statuses).joined(separator: ", "))", at: name)
    }
    return .integer(Int64(number))
  }

  // MARK: Functions

  /// Reads the arguments of the function `name`; its opening parenthesis is looked at.
  private mutating func function(_ name: OTTLToken) throws(OTTLError) -> OTTLOperand {
    let known = spelling(name)
    let names =
      ["IsMatch", "IsString", "IsInt", "IsDouble", "IsBool", "Len", "Duration"]
      + (context == .span ? ["IsRootSpan"] : [])
    guard names.contains(known) else {
      throw unexpected(
        "one of the functions for \(context.things): \(names.joined(separator: ", "))", at: name)
    }
    try advance()
    let result: OTTLOperand
    switch known {
    case "IsRootSpan": result = program.add(.isRootSpan)
    case "Duration": result = .duration(try duration())
    case "IsMatch":
      let target = try argument()
      try take(.comma, "',' and a pattern")
      result = program.add(.isMatch(target, pattern: try pattern()))
    case "Len": result = program.add(.length(try argument()))
    case "IsString": result = program.add(.isOfType(try argument(), .string))
    case "IsInt": result = program.add(.isOfType(try argument(), .integer))
    case "IsDouble": result = program.add(.isOfType(try argument(), .double))
    default: result = program.add(.isOfType(try argument(), .boolean))
    }
    try take(.rightParenthesis, "')'")
    return result
  }

  private mutating func argument() throws(OTTLError) -> OTTLOperand {
    let first = token
    let operand = try value("a path or a literal")
    switch operand {
    case .call, .duration, .field(.duration): throw unexpected("a path or a literal, no duration", at: first)
    default: return operand
    }
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
}
