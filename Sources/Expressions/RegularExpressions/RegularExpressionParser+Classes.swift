// Parses what matches one character: classes in brackets, named classes, escapes.

extension RegularExpressionParser {
  /// `[...]`
  mutating func parseClass() throws(RegularExpressionError) -> CodePointSet {
    let start = position
    position += 1
    let isNegated = peek() == "^"
    if isNegated { position += 1 }
    var ranges: [ClosedRange<UInt32>] = []
    var isFirst = true
    // A `]` in first position is literal.
    while isFirst || peek() != "]" {
      isFirst = false
      if let named = try parsePosixSet() {
        ranges += named.ranges
      } else if let named = try parseNamedSet() {
        ranges += named.ranges
      } else {
        let range = CodePointSet([try parseClassRange(of: start)])
        ranges += (foldsCase ? range.caseFolded : range).ranges
      }
    }
    position += 1
    let set = CodePointSet(ranges)
    return isNegated ? set.inverted : set
  }

  private mutating func parseClassRange(of classStart: Int) throws(RegularExpressionError)
    -> ClosedRange<UInt32>
  {
    let start = position
    let low = try parseClassMember(of: classStart)
    guard peek() == "-", let behind = peek(1), behind != "]" else { return low...low }
    position += 1
    let high = try parseClassMember(of: classStart)
    guard low <= high else { throw error(.invalidCharacterRange, from: start) }
    return low...high
  }

  private mutating func parseClassMember(of classStart: Int) throws(RegularExpressionError) -> UInt32 {
    guard let scalar = peek() else { throw error(.missingBracket, from: classStart) }
    if scalar == "\\" { return try parseEscape() }
    position += 1
    return scalar.value
  }

  /// `[:name:]` inside a class. Without a closing `:]` its characters are literal.
  private mutating func parsePosixSet() throws(RegularExpressionError) -> CodePointSet? {
    guard peek() == "[", peek(1) == ":" else { return nil }
    let start = position
    var end = start + 2
    while end + 1 < pattern.count, pattern[end] != ":" || pattern[end + 1] != "]" { end += 1 }
    guard end + 1 < pattern.count else { return nil }
    let isNegated = pattern[start + 2] == "^"
    var name = String.UnicodeScalarView()
    name.append(contentsOf: pattern[(start + (isNegated ? 3 : 2))..<end])
    position = end + 2
    guard let ranges = RegularExpressionParser.posixRanges(String(name)) else {
      throw error(.invalidCharacterRange, from: start)
    }
    return set(ranges, isNegated: isNegated)
  }

  private static func posixRanges(_ name: String) -> [ClosedRange<UInt32>]? {
    switch name {
    case "alnum": [0x30...0x39, 0x41...0x5A, 0x61...0x7A]
    case "alpha": [0x41...0x5A, 0x61...0x7A]
    case "ascii": [0x00...0x7F]
    case "blank": [0x09...0x09, 0x20...0x20]
    case "cntrl": [0x00...0x1F, 0x7F...0x7F]
    case "digit": [0x30...0x39]
    case "graph": [0x21...0x7E]
    case "lower": [0x61...0x7A]
    case "print": [0x20...0x7E]
    case "punct": [0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E]
    case "space": [0x09...0x0D, 0x20...0x20]
    case "upper": [0x41...0x5A]
    case "word": word
    case "xdigit": [0x30...0x39, 0x41...0x46, 0x61...0x66]
    default: nil
    }
  }

  private static let word: [ClosedRange<UInt32>] = [0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A]

  private func set(_ ranges: [ClosedRange<UInt32>], isNegated: Bool) -> CodePointSet {
    let plain = CodePointSet(ranges)
    let folded = foldsCase ? plain.caseFolded : plain
    return isNegated ? folded.inverted : folded
  }

  /// `\d`, `\s`, `\w`, `\p` and their negations; nil, with nothing read, for anything else.
  mutating func parseNamedSet() throws(RegularExpressionError) -> CodePointSet? {
    guard peek() == "\\", let letter = peek(1) else { return nil }
    let ranges: [ClosedRange<UInt32>]
    switch letter {
    case "d", "D": ranges = [0x30...0x39]
    // As in old Perl: no vertical tab, which [[:space:]] has.
    case "s", "S": ranges = [0x09...0x0A, 0x0C...0x0D, 0x20...0x20]
    case "w", "W": ranges = RegularExpressionParser.word
    case "p", "P": return try parseCategory()
    default: return nil
    }
    position += 2
    return set(ranges, isNegated: letter.properties.isUppercase)
  }

  /// `\pL`, `\p{Lu}`, `\p{^Greek}` or `\P` of these.
  private mutating func parseCategory() throws(RegularExpressionError) -> CodePointSet {
    let start = position
    var isNegated = peek(1) == "P"
    position += 2
    guard let first = peek() else { throw error(.invalidEscape, from: start) }
    position += 1
    var name = String.UnicodeScalarView()
    if first == "{" {
      while let scalar = peek(), scalar != "}" {
        name.append(scalar)
        position += 1
      }
      guard !isAtEnd else { throw error(.invalidCharacterRange, from: start) }
      position += 1
      if name.first == "^" {
        name.removeFirst()
        isNegated.toggle()
      }
    } else {
      name.append(first)
    }
    guard let found = UnicodeClasses.codePoints(of: String(name)) else {
      throw error(.invalidCharacterRange, from: start)
    }
    return set(found.ranges, isNegated: isNegated)
  }

  /// An escape for one code point.
  mutating func parseEscape() throws(RegularExpressionError) -> UInt32 {
    let start = position
    position += 1
    guard let scalar = peek() else { throw error(.trailingBackslash, from: start) }
    position += 1
    switch scalar {
    case "a": return 0x07
    case "f": return 0x0C
    case "n": return 0x0A
    case "r": return 0x0D
    case "t": return 0x09
    case "v": return 0x0B
    case "x": return try parseHexadecimal(from: start)
    case "0"..."7":
      let isOctal = peek().map { ("0"..."7").contains($0) } ?? false
      guard scalar == "0" || isOctal else { throw error(.backReference, from: start) }
      return parseOctal(first: scalar)
    case "8", "9": throw error(.backReference, from: start)
    default:
      // Punctuation is literal; letters are reserved.
      let isPlain = scalar.isASCII && (scalar == "_" || !isWordByte(UInt8(truncatingIfNeeded: scalar.value)))
      guard isPlain else { throw error(.invalidEscape, from: start) }
      return scalar.value
    }
  }

  /// Up to three octal digits, of which `first` has been read.
  private mutating func parseOctal(first: Unicode.Scalar) -> UInt32 {
    var number = first.value - 0x30
    for _ in 0..<2 {
      guard let digit = peek(), ("0"..."7").contains(digit) else { break }
      number = number * 8 + digit.value - 0x30
      position += 1
    }
    return number
  }

  /// Two hexadecimal digits, or any number of them in braces.
  private mutating func parseHexadecimal(from start: Int) throws(RegularExpressionError) -> UInt32 {
    let isBraced = peek() == "{"
    if isBraced { position += 1 }
    var number: UInt32 = 0
    var digits = 0
    while digits < 2 || isBraced {
      guard let scalar = peek() else { throw error(.invalidEscape, from: start) }
      position += 1
      if isBraced, digits > 0, scalar == "}" { return number }
      guard scalar.isASCII, let digit = Character(scalar).hexDigitValue else {
        throw error(.invalidEscape, from: start)
      }
      number = number * 16 + UInt32(digit)
      guard number <= CodePointSet.codePointMax else { throw error(.invalidEscape, from: start) }
      digits += 1
    }
    return number
  }
}
