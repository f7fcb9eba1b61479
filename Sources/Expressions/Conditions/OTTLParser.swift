// Parses a condition: recursive descent over a subset of OTTL's grammar.
//
//   condition  = term { "or" term }
//   term       = factor { "and" factor }
//   factor     = [ "not" ] test
//   test       = value comparison value | "true" | "false" | function | "(" condition ")"
//   value      = "nil" | string | byte string | "true" | "false" | enum | sum
//   sum        = product { ( "+" | "-" ) product }
//   product    = number { ( "*" | "/" ) number }
//   number     = [ "+" | "-" ] ( integer | decimal | path | function | "(" sum ")" )
//   function   = name "(" [ argument { "," argument } ] ")"
//   path       = segment { "." segment },  segment = name { "[" key "]" }
//
// Only the token after the closing parenthesis shows whether the content is a condition or a sum, so one
// function reads both: a node is either.
//
// Source: opentelemetry-collector-contrib, pkg/ottl/grammar.go.

import OTLP

struct OTTLParser {
  /// The maximum nesting of parentheses and functions, and of calls in one value.
  static let nestingMax = 64

  private enum Node {
    case condition(OTTLExpression)
    /// `isNumeric` if the grammar allows it in arithmetic: not a string, boolean, enum or nil.
    case value(OTTLOperand, isNumeric: Bool)
  }

  let context: OTTLContext
  var program = OTTLProgram()
  private var lexer: OTTLLexer
  /// The current token.
  private(set) var token = OTTLToken(kind: .end, range: 0..<0)
  private var depth = 0
  /// The nesting depth of each of the program's calls.
  private var callDepths: [Int] = []

  /// Parses all of `text` into `program`.
  init(_ text: [UInt8], context: OTTLContext) throws(OTTLError) {
    self.context = context
    lexer = OTTLLexer(text)
    try advance()
    let node = try condition()
    let expression = try asCondition(node)
    guard token.kind == .end else { throw unexpected("'and', 'or' or the end") }
    program.entry = program.lower(expression, ifTrue: OTTLStep.accept, ifFalse: OTTLStep.reject)
  }

  // MARK: Tokens

  mutating func advance() throws(OTTLError) {
    token = try lexer.next()
  }

  /// The error for `token`, by default the current one.
  func unexpected(_ expected: String, at token: OTTLToken? = nil) -> OTTLError {
    OTTLError((token ?? self.token).range, of: lexer.text, expected: expected)
  }

  mutating func take(_ kind: OTTLToken.Kind, _ expected: String) throws(OTTLError) {
    guard token.kind == kind else { throw unexpected(expected) }
    try advance()
  }

  func spelling(_ token: OTTLToken) -> String {
    String(decoding: lexer.text[token.range], as: UTF8.self)
  }

  /// Goes one level deeper, into parentheses or a function's arguments.
  mutating func enter() throws(OTTLError) {
    guard depth < OTTLParser.nestingMax else {
      throw unexpected("at most \(OTTLParser.nestingMax) nested parentheses")
    }
    depth += 1
    try advance()
  }

  mutating func leave(_ expected: String) throws(OTTLError) {
    try take(.rightParenthesis, expected)
    depth -= 1
  }

  /// Adds a call to the program, unless it nests too deeply: evaluation recurses once per level.
  mutating func add(_ call: OTTLCall) throws(OTTLError) -> OTTLOperand {
    let inner = call.operands.map { if case .call(let index) = $0 { callDepths[index] } else { 0 } }
    let own = (inner.max() ?? 0) + 1
    guard own <= OTTLParser.nestingMax else {
      throw unexpected("at most \(OTTLParser.nestingMax) operators and functions in one value")
    }
    callDepths.append(own)
    program.calls.append(call)
    return .call(program.calls.count - 1)
  }

  // MARK: Conditions

  private mutating func condition() throws(OTTLError) -> Node {
    let first = try term()
    guard token.kind == .or else { return first }
    var terms = [try asCondition(first)]
    while token.kind == .or {
      try advance()
      let next = try term()
      terms.append(try asCondition(next))
    }
    return .condition(.any(terms))
  }

  private mutating func term() throws(OTTLError) -> Node {
    let first = try factor()
    guard token.kind == .and else { return first }
    var factors = [try asCondition(first)]
    while token.kind == .and {
      try advance()
      let next = try factor()
      factors.append(try asCondition(next))
    }
    return .condition(.all(factors))
  }

  private mutating func factor() throws(OTTLError) -> Node {
    guard token.kind == .not else { return try test() }
    try advance()
    let inner = try test()
    return .condition(.not(try asCondition(inner)))
  }

  /// The node as a condition: a boolean, or a function that returns one. The current token is the one after
  /// it.
  private func asCondition(_ node: Node) throws(OTTLError) -> OTTLExpression {
    switch node {
    case .condition(let expression): return expression
    case .value(.boolean(let value), _): return .constant(value)
    case .value(.call(let call), _) where program.calls[call].isBoolean: return .test(.call(call))
    case .value(_, let isNumeric):
      let hint = isNumeric || !token.kind.isArithmetic ? "" : " (\(OTTLParser.noArithmetic))"
      throw unexpected("a comparison operator: ==, !=, <, <=, > or >=" + hint)
    }
  }

  private mutating func test() throws(OTTLError) -> Node {
    let leftToken = token
    let node = try sum("a condition")
    guard case .comparison(let comparison) = token.kind, case .value(let left, _) = node else { return node }
    try advance()
    let rightToken = token
    let right = try value("a value")
    try check(left, leftToken, right, rightToken)
    return .condition(.test(.compare(comparison, left, right)))
  }

  // MARK: Values

  /// Reads a value.
  ///
  /// - Parameter wanted: what the error expects if there is none.
  mutating func value(_ wanted: String) throws(OTTLError) -> OTTLOperand {
    let first = token
    guard case .value(let operand, _) = try sum(wanted) else { throw unexpected(wanted, at: first) }
    return operand
  }

  static let noArithmetic = "strings, booleans, enums and nil can't be used in arithmetic"

  private mutating func sum(_ wanted: String) throws(OTTLError) -> Node {
    var left = try product(wanted)
    while token.kind == .plus || token.kind == .minus, case .value(let operand, true) = left {
      let operation: OTTLArithmetic = token.kind == .plus ? .add : .subtract
      try advance()
      let first = token
      let node = try product(OTTLParser.number)
      let right = try numeric(node, at: first)
      left = .value(try add(.arithmetic(operation, operand, right)), isNumeric: true)
    }
    return left
  }

  private mutating func product(_ wanted: String) throws(OTTLError) -> Node {
    var left = try signed(wanted)
    while token.kind == .times || token.kind == .divide, case .value(let operand, true) = left {
      let operation: OTTLArithmetic = token.kind == .times ? .multiply : .divide
      try advance()
      let first = token
      let node = try signed(OTTLParser.number)
      let right = try numeric(node, at: first)
      left = .value(try add(.arithmetic(operation, operand, right)), isNumeric: true)
    }
    return left
  }

  private static let number = "a number, a path or a function"

  private func numeric(_ node: Node, at first: OTTLToken) throws(OTTLError) -> OTTLOperand {
    guard case .value(let operand, true) = node else {
      throw unexpected("\(OTTLParser.number) (\(OTTLParser.noArithmetic))", at: first)
    }
    return operand
  }

  private mutating func signed(_ wanted: String) throws(OTTLError) -> Node {
    let sign = token
    guard sign.kind == .plus || sign.kind == .minus else { return try primary(wanted) }
    try advance()
    let first = token
    switch first.kind {
    case .integer, .decimal: return .value(try number(isNegative: sign.kind == .minus), isNumeric: true)
    case .plus, .minus: throw unexpected(OTTLParser.number)
    default:
      let node = try primary(OTTLParser.number)
      let operand = try numeric(node, at: first)
      return .value(sign.kind == .minus ? try add(.negative(operand)) : operand, isNumeric: true)
    }
  }

  private mutating func number(isNegative: Bool) throws(OTTLError) -> OTTLOperand {
    let text = (isNegative ? "-" : "") + spelling(token)
    let operand: OTTLOperand
    if token.kind == .integer {
      guard let integer = Int64(text) else { throw unexpected("a 64-bit integer") }
      operand = .integer(integer)
    } else {
      guard let double = Double(text), double.isFinite else { throw unexpected("a 64-bit decimal") }
      operand = .double(double)
    }
    try advance()
    return operand
  }

  private mutating func primary(_ wanted: String) throws(OTTLError) -> Node {
    let first = token
    switch first.kind {
    case .nil:
      try advance()
      return .value(.null, isNumeric: false)
    case .true, .false:
      try advance()
      return .value(.boolean(first.kind == .true), isNumeric: false)
    case .string: return .value(.text(program.add(try string())), isNumeric: false)
    case .byteString: return .value(.byteString(program.add(try byteString())), isNumeric: false)
    case .integer, .decimal: return .value(try number(isNegative: false), isNumeric: true)
    case .capitalized:
      try advance()
      guard token.kind == .leftParenthesis else { return .value(try symbol(first), isNumeric: false) }
      return .value(try function(first), isNumeric: true)
    case .name: return .value(try path(), isNumeric: true)
    case .leftParenthesis: return try parenthesized()
    case .leftBracket:
      throw unexpected("\(wanted) (lists are outside the subset, except in ContainsValue([…], value))")
    case .leftBrace: throw unexpected("\(wanted) (maps are outside the subset; compare their values)")
    default: throw unexpected(wanted)
    }
  }

  /// Reads a condition or a number in parentheses.
  private mutating func parenthesized() throws(OTTLError) -> Node {
    try enter()
    var inner = try condition()
    if case .value(_, isNumeric: false) = inner { inner = .condition(try asCondition(inner)) }
    try leave("'and', 'or' or ')'")
    return inner
  }

  /// Reads a string literal.
  mutating func string() throws(OTTLError) -> [UInt8] {
    guard let bytes = OTTLLiteral.unquote(lexer.text[token.range]) else {
      throw unexpected("a one-line string with Go's escapes (write a backslash as \\\\)")
    }
    try advance()
    return bytes
  }

  /// Reads a byte string.
  mutating func byteString() throws(OTTLError) -> [UInt8] {
    guard let bytes = OTTLLiteral.bytes(lexer.text[token.range].dropFirst(2)), !bytes.isEmpty else {
      throw unexpected("a byte string: 0x and two hexadecimal digits for each byte")
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
}
