// Cuts a condition into tokens, as OTTL's own lexer does.
//
// Source: opentelemetry-collector-contrib, pkg/ottl/grammar.go, `buildLexer`.

/// One token and its place.
struct OTTLToken: Equatable {
  enum Kind: Equatable {
    /// In double quotes, with its escapes.
    case string
    case integer
    case decimal
    /// `0x` and hexadecimal digits.
    case byteString
    /// A word that begins with a capital: a function or an enum's symbol.
    case capitalized
    /// Any other word that is not a keyword: a part of a path.
    case name
    case and, or, not, `true`, `false`, `nil`
    case comparison(OTTLComparison)
    /// A single `=`.
    case assignment
    case plus, minus, times, divide
    case leftParenthesis, rightParenthesis, leftBracket, rightBracket, leftBrace, rightBrace
    case comma, dot, colon
    case end

    var isArithmetic: Bool { self == .plus || self == .minus || self == .times || self == .divide }
  }

  var kind: Kind
  /// The token's bytes.
  var range: Range<Int>
}

/// Reads one token after the other.
struct OTTLLexer {
  let text: [UInt8]
  private var offset = 0

  init(_ text: [UInt8]) {
    self.text = text
  }

  /// The next token; at the end of the text always `end`.
  mutating func next() throws(OTTLError) -> OTTLToken {
    while let byte = byte(0), byte == 0x20 || (0x09...0x0d).contains(byte) && byte != 0x0b { offset += 1 }
    guard let first = byte(0) else { return OTTLToken(kind: .end, range: offset..<offset) }
    if first == UInt8(ascii: "\"") { return try string() }
    if isDigit(first) || first == UInt8(ascii: ".") && isDigit(byte(1)) { return try number() }
    if isLetter(first) { return word() }
    return try punctuation(first)
  }

  private func byte(_ distance: Int) -> UInt8? {
    offset + distance < text.count ? text[offset + distance] : nil
  }

  private func isDigit(_ byte: UInt8?) -> Bool { byte.map { (0x30...0x39).contains($0) } ?? false }

  private func isLetter(_ byte: UInt8?) -> Bool { byte.map { (0x61...0x7a).contains($0 | 0x20) } ?? false }

  private func isWord(_ byte: UInt8?) -> Bool { isDigit(byte) || isLetter(byte) || byte == UInt8(ascii: "_") }

  private mutating func take(_ kind: OTTLToken.Kind, _ count: Int) -> OTTLToken {
    offset += count
    return OTTLToken(kind: kind, range: offset - count..<offset)
  }

  private mutating func string() throws(OTTLError) -> OTTLToken {
    var count = 1
    while let next = byte(count), next != UInt8(ascii: "\"") {
      count += next == UInt8(ascii: "\\") ? 2 : 1
    }
    guard byte(count) != nil else {
      throw OTTLError(offset..<text.count, of: text, expected: "a closing double quote")
    }
    return take(.string, count + 1)
  }

  /// Reads a number. Its sign is a separate token, since `a -1` is a difference.
  private mutating func number() throws(OTTLError) -> OTTLToken {
    var count = 0
    if byte(0) == UInt8(ascii: "0"), byte(1) == UInt8(ascii: "x") {
      count = 2
      while isWord(byte(count)) { count += 1 }
      return take(.byteString, count)
    }
    var kind = OTTLToken.Kind.integer
    while isDigit(byte(count)) { count += 1 }
    if byte(count) == UInt8(ascii: ".") {
      kind = .decimal
      count += 1
      while isDigit(byte(count)) { count += 1 }
      if byte(count).map({ $0 | 0x20 }) == UInt8(ascii: "e") {
        let sign = byte(count + 1) == UInt8(ascii: "-") || byte(count + 1) == UInt8(ascii: "+") ? 1 : 0
        if isDigit(byte(count + 1 + sign)) {
          count += 2 + sign
          while isDigit(byte(count)) { count += 1 }
        }
      }
    }
    guard !isWord(byte(count)) else {
      while isWord(byte(count)) { count += 1 }
      throw OTTLError(
        offset..<offset + count, of: text,
        expected: "an integer such as 12, or a decimal such as 1.2 or 1.2e3")
    }
    return take(kind, count)
  }

  private mutating func word() -> OTTLToken {
    var count = 1
    while isWord(byte(count)) { count += 1 }
    let kind: OTTLToken.Kind =
      switch String(decoding: text[offset..<offset + count], as: UTF8.self) {
      case "and": .and
      case "or": .or
      case "not": .not
      case "true": .true
      case "false": .false
      case "nil": .nil
      default: (0x41...0x5a).contains(text[offset]) ? .capitalized : .name
      }
    return take(kind, count)
  }

  private mutating func punctuation(_ first: UInt8) throws(OTTLError) -> OTTLToken {
    let isDouble = byte(1) == UInt8(ascii: "=")
    switch first {
    case UInt8(ascii: "="): return isDouble ? take(.comparison(.equal), 2) : take(.assignment, 1)
    case UInt8(ascii: "!") where isDouble: return take(.comparison(.notEqual), 2)
    case UInt8(ascii: "<"): return take(.comparison(isDouble ? .atMost : .less), isDouble ? 2 : 1)
    case UInt8(ascii: ">"): return take(.comparison(isDouble ? .atLeast : .greater), isDouble ? 2 : 1)
    case UInt8(ascii: "+"): return take(.plus, 1)
    case UInt8(ascii: "-"): return take(.minus, 1)
    case UInt8(ascii: "*"): return take(.times, 1)
    case UInt8(ascii: "/"): return take(.divide, 1)
    case UInt8(ascii: "("): return take(.leftParenthesis, 1)
    case UInt8(ascii: ")"): return take(.rightParenthesis, 1)
    case UInt8(ascii: "["): return take(.leftBracket, 1)
    case UInt8(ascii: "]"): return take(.rightBracket, 1)
    case UInt8(ascii: "{"): return take(.leftBrace, 1)
    case UInt8(ascii: "}"): return take(.rightBrace, 1)
    case UInt8(ascii: ","): return take(.comma, 1)
    case UInt8(ascii: "."): return take(.dot, 1)
    case UInt8(ascii: ":"): return take(.colon, 1)
    default:
      var count = 1
      while let next = byte(count), next & 0xc0 == 0x80 { count += 1 }
      throw OTTLError(
        offset..<offset + count, of: text, expected: "a path, a literal, an operator or a parenthesis")
    }
  }
}
