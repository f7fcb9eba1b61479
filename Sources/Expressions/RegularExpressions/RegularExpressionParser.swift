// Parses patterns as Go's `regexp/syntax` does with its Perl flags.

/// Reads a pattern from left to right, one call per group.
struct RegularExpressionParser {
  /// How deep groups may nest: one call each.
  static let depthMax = 250
  /// The largest repeat count, also for the product of nested repetitions.
  static let repeatMax = 1000

  private struct Flags {
    var foldsCase = false
    var isMultiline = false
    var dotTakesNewline = false
  }

  /// A part of a sequence.
  private struct Item {
    var tree: RegularExpressionTree
    /// How many copies of its innermost part its counted repetitions make.
    var copies = 1
  }

  let pattern: [Unicode.Scalar]
  /// The scalar to read next.
  var position = 0
  private var flags = Flags()
  private var names: Set<String> = []

  var foldsCase: Bool { flags.foldsCase }

  private init(_ pattern: String) {
    self.pattern = Array(pattern.unicodeScalars)
  }

  static func parse(_ pattern: String) throws(RegularExpressionError) -> RegularExpressionTree {
    var parser = RegularExpressionParser(pattern)
    let whole = try parser.parseAlternatives(depth: 0)
    guard parser.isAtEnd else { throw parser.error(.unexpectedParenthesis, from: parser.position, count: 1) }
    return whole.tree
  }

  /// Reads up to the end of the group or pattern, and not beyond.
  private mutating func parseAlternatives(depth: Int) throws(RegularExpressionError) -> Item {
    var branches: [RegularExpressionTree] = []
    var items: [Item] = []
    var copies = 1
    var lastRepetition: Int?
    reading: while let scalar = peek() {
      let start = position
      var isRepetition = false
      switch scalar {
      case ")": break reading
      case "|":
        position += 1
        branches.append(.joined(items.map(\.tree)))
        copies = items.reduce(copies) { max($0, $1.copies) }
        items = []
      case "(":
        if let group = try parseGroup(depth: depth) { items.append(group) }
      case "*", "+", "?", "{":
        guard let bounds = try parseBounds() else {
          position += 1
          items.append(Item(tree: literal(scalar.value)))
          break
        }
        if let lastRepetition { throw error(.invalidRepetition, from: lastRepetition) }
        guard let repeated = items.popLast() else { throw error(.missingRepetitionArgument, from: start) }
        items.append(try repeating(repeated, bounds, isCounted: scalar == "{", from: start))
        isRepetition = true
      case "\\" where peek(1) == "Q": items += parseQuoted()
      default: items.append(Item(tree: try parseSingle(scalar)))
      }
      lastRepetition = isRepetition ? start : nil
    }
    copies = items.reduce(copies) { max($0, $1.copies) }
    let last = RegularExpressionTree.joined(items.map(\.tree))
    return Item(tree: branches.isEmpty ? last : .choice(branches + [last]), copies: copies)
  }

  /// Parses what matches one character, or a condition.
  private mutating func parseSingle(_ scalar: Unicode.Scalar) throws(RegularExpressionError)
    -> RegularExpressionTree
  {
    switch scalar {
    case "^":
      position += 1
      return .look(flags.isMultiline ? .lineStart : .textStart)
    case "$":
      position += 1
      return .look(flags.isMultiline ? .lineEnd : .textEnd)
    case ".":
      position += 1
      return .set(flags.dotTakesNewline ? .all : .allButNewline)
    case "[": return .set(try parseClass())
    case "\\":
      if let look = parseLook() { return .look(look) }
      if let set = try parseNamedSet() { return .set(set) }
      return literal(try parseEscape())
    default:
      position += 1
      return literal(scalar.value)
    }
  }

  private func literal(_ codePoint: UInt32) -> RegularExpressionTree {
    guard flags.foldsCase else { return .scalar(codePoint) }
    let set = CodePointSet([codePoint...codePoint]).caseFolded
    return set == CodePointSet([codePoint...codePoint]) ? .scalar(codePoint) : .set(set)
  }

  private mutating func parseLook() -> Look? {
    let look: Look
    switch peek(1) {
    case "A": look = .textStart
    case "z": look = .textEnd
    case "b": look = .wordBoundary
    case "B": look = .notWordBoundary
    default: return nil
    }
    position += 2
    return look
  }

  /// `\Q...\E`: everything between is literal, and `\E` may be missing.
  private mutating func parseQuoted() -> [Item] {
    position += 2
    var items: [Item] = []
    while let scalar = peek() {
      if scalar == "\\", peek(1) == "E" {
        position += 2
        break
      }
      items.append(Item(tree: literal(scalar.value)))
      position += 1
    }
    return items
  }

  // MARK: Repetitions

  private typealias Bounds = (least: Int, most: Int?)

  /// The operator and the `?` after it that makes it lazy; nil, with nothing read, for a `{` that opens no
  /// count.
  private mutating func parseBounds() throws(RegularExpressionError) -> Bounds? {
    let start = position
    let operation = peek()
    position += 1
    let bounds: Bounds
    switch operation {
    case "*": bounds = (0, nil)
    case "+": bounds = (1, nil)
    case "?": bounds = (0, 1)
    default:
      guard let counted = parseCounts() else {
        position = start
        return nil
      }
      bounds = counted
      let isTooMuch = max(bounds.least, bounds.most ?? 0) > RegularExpressionParser.repeatMax
      if isTooMuch || bounds.least > bounds.most ?? .max { throw error(.invalidRepetitionCount, from: start) }
    }
    if peek() == "?" { position += 1 }
    return bounds
  }

  /// The rest of `{n}`, `{n,}` or `{n,m}`.
  private mutating func parseCounts() -> Bounds? {
    guard let least = parseNumber() else { return nil }
    var most: Int? = least
    if peek() == "," {
      position += 1
      if peek() == "}" {
        most = nil
      } else {
        guard let number = parseNumber() else { return nil }
        most = number
      }
    }
    guard peek() == "}" else { return nil }
    position += 1
    return (least, most)
  }

  /// A decimal number without leading zeros, capped above the largest count.
  private mutating func parseNumber() -> Int? {
    let start = position
    var number = 0
    while let digit = peek(), ("0"..."9").contains(digit) {
      number = min(number * 10 + Int(digit.value - 0x30), RegularExpressionParser.repeatMax + 1)
      position += 1
    }
    let hasLeadingZero = position > start + 1 && pattern[start] == "0"
    return position == start || hasLeadingZero ? nil : number
  }

  private func repeating(_ item: Item, _ bounds: Bounds, isCounted: Bool, from start: Int)
    throws(RegularExpressionError) -> Item
  {
    guard isCounted else {
      return Item(
        tree: .repetition(item.tree, least: bounds.least, most: bounds.most), copies: item.copies)
    }
    if bounds.most == 0 { return Item(tree: .empty) }
    let copies = max(bounds.most ?? bounds.least, 1) * item.copies
    guard copies <= RegularExpressionParser.repeatMax else {
      throw error(.invalidRepetitionCount, from: start)
    }
    return Item(tree: .repetition(item.tree, least: bounds.least, most: bounds.most), copies: copies)
  }

  // MARK: Groups

  /// A group of any kind; nil if it only sets flags for what follows.
  private mutating func parseGroup(depth: Int) throws(RegularExpressionError) -> Item? {
    let start = position
    let outer = flags
    position += 1
    if peek() == "?" {
      guard try parseGroupStart() else { return nil }
    }
    guard depth < RegularExpressionParser.depthMax else { throw error(.nestingTooDeep, from: start) }
    let inner = try parseAlternatives(depth: depth + 1)
    guard !isAtEnd else { throw error(.missingParenthesis, from: start) }
    position += 1
    flags = outer
    return inner
  }

  /// What follows `(?`: a name or flags. False if the group ends there.
  private mutating func parseGroupStart() throws(RegularExpressionError) -> Bool {
    let start = position - 1
    position += 1
    switch (peek(), peek(1)) {
    case ("=", _), ("!", _): throw error(.lookaround, from: start, count: 3)
    case ("<", "="), ("<", "!"): throw error(.lookaround, from: start, count: 4)
    case ("P", "="): throw error(.backReference, from: start, count: 4)
    case ("P", "<"):
      position += 2
      try parseGroupName(from: start)
      return true
    case ("<", _):
      position += 1
      try parseGroupName(from: start)
      return true
    default: return try parseFlags(from: start)
    }
  }

  private mutating func parseGroupName(from start: Int) throws(RegularExpressionError) {
    var name = ""
    while let scalar = peek(), scalar != ">" {
      name.unicodeScalars.append(scalar)
      position += 1
    }
    guard !isAtEnd else { throw error(.invalidGroupName, from: start) }
    position += 1
    let isValid = name.unicodeScalars.allSatisfy(RegularExpressionParser.isWord)
    guard !name.isEmpty, isValid, names.insert(name).inserted else {
      throw error(.invalidGroupName, from: start)
    }
  }

  /// `i`, `m`, `s`, `U`, and after a `-` those to unset, then `:` or `)`.
  private mutating func parseFlags(from start: Int) throws(RegularExpressionError) -> Bool {
    var isSet = true
    var hasFlag = false
    while let scalar = peek() {
      position += 1
      switch scalar {
      case "i": flags.foldsCase = isSet
      case "m": flags.isMultiline = isSet
      case "s": flags.dotTakesNewline = isSet
      case "U": break
      case "-" where isSet:
        isSet = false
        hasFlag = false
        continue
      case ":" where isSet || hasFlag: return true
      case ")" where isSet || hasFlag: return false
      default: throw error(.invalidGroupSyntax, from: start)
      }
      hasFlag = true
    }
    throw error(.invalidGroupSyntax, from: start)
  }

  private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    scalar.isASCII && isWordByte(UInt8(truncatingIfNeeded: scalar.value))
  }

  // MARK: Reading

  var isAtEnd: Bool { position == pattern.count }

  /// The scalar `distance` after the next one.
  func peek(_ distance: Int = 0) -> Unicode.Scalar? {
    let place = position + distance
    return place < pattern.count ? pattern[place] : nil
  }

  /// An error for `count` scalars from `start`, or for everything read since then.
  func error(_ problem: RegularExpressionError.Problem, from start: Int, count: Int? = nil)
    -> RegularExpressionError
  {
    let end = count.map { min(start + $0, pattern.count) } ?? position
    var fragment = String.UnicodeScalarView()
    fragment.append(contentsOf: pattern[start..<end])
    let offset = pattern[..<start].reduce(0) { $0 + UTF8.width($1) }
    return RegularExpressionError(problem: problem, fragment: String(fragment), offset: offset)
  }
}

/// Whether a byte is a word character, as `\w` and `\b` define it.
func isWordByte(_ byte: UInt8) -> Bool {
  switch byte {
  case 0x30...0x39, 0x41...0x5A, 0x5F, 0x61...0x7A: true
  default: false
  }
}
