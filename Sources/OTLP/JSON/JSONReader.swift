// A pull reader of JSON: values are asked for one by one, and nothing is built that nobody asked for.

/// Reads one JSON document from an array of bytes.
///
/// Format: RFC 8259. Every error carries the offset of the byte that can't be accepted.
public struct JSONReader {
  private let bytes: [UInt8]
  /// The offset of the next byte.
  public private(set) var offset = 0
  private var depth = 0

  /// Objects and arrays inside each other, at the most: a reader's own stack must not be a producer's to
  /// fill.
  static let depthMax = 64

  /// A reader at the beginning of `bytes`.
  public init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  /// The next byte that is not white space; nil at the end.
  public mutating func peek() -> UInt8? {
    while offset < bytes.count {
      switch bytes[offset] {
      case 0x20, 0x09, 0x0a, 0x0d: offset += 1
      default: return bytes[offset]
      }
    }
    return nil
  }

  /// Makes sure that nothing follows the document.
  public mutating func end() throws(MalformedInput) {
    if peek() != nil { throw MalformedInput(.invalidJSON, at: offset) }
  }

  /// Reads an object and calls `member` for each of its members, which must read the value.
  public mutating func object(
    _ member: (inout JSONReader, String) throws(MalformedInput) -> Void
  ) throws(MalformedInput) {
    try open(0x7b)
    if peek() == 0x7d {
      offset += 1
    } else {
      repeat {
        let name = String(decoding: try string(), as: UTF8.self)
        try take(0x3a)
        try member(&self, name)
      } while try goesOn(until: 0x7d)
    }
    depth -= 1
  }

  /// Reads an array and calls `element` for each of its elements, which must read it.
  public mutating func array(_ element: (inout JSONReader) throws(MalformedInput) -> Void)
    throws(MalformedInput)
  {
    try open(0x5b)
    if peek() == 0x5d {
      offset += 1
    } else {
      repeat { try element(&self) } while try goesOn(until: 0x5d)
    }
    depth -= 1
  }

  /// Reads `null` if it comes next.
  public mutating func null() throws(MalformedInput) -> Bool {
    guard peek() == 0x6e else { return false }
    try word("null")
    return true
  }

  /// Reads `true` or `false`.
  public mutating func boolean() throws(MalformedInput) -> Bool {
    switch peek() {
    case 0x74:
      try word("true")
      return true
    case 0x66:
      try word("false")
      return false
    default: throw unexpected
    }
  }

  /// Reads a number and gives its text.
  public mutating func number() throws(MalformedInput) -> String {
    guard let first = peek(), first == 0x2d || isDigit(first) else { throw unexpected }
    let start = offset
    if first == 0x2d { offset += 1 }
    let integerStart = offset
    try digits()
    if bytes[integerStart] == 0x30, offset - integerStart > 1 {
      throw MalformedInput(.invalidJSON, at: integerStart)
    }
    if offset < bytes.count, bytes[offset] == 0x2e {
      offset += 1
      try digits()
    }
    if offset < bytes.count, bytes[offset] | 0x20 == 0x65 {
      offset += 1
      if offset < bytes.count, bytes[offset] == 0x2b || bytes[offset] == 0x2d { offset += 1 }
      try digits()
    }
    return String(decoding: bytes[start..<offset], as: UTF8.self)
  }

  /// Reads a string and gives its text in UTF-8. Lone surrogates and bytes that are not UTF-8 are errors.
  public mutating func string() throws(MalformedInput) -> [UInt8] {
    guard peek() == 0x22 else { throw unexpected }
    offset += 1
    let start = offset
    var text: [UInt8] = []
    while offset < bytes.count {
      let byte = bytes[offset]
      switch byte {
      case 0x22:
        offset += 1
        guard String(validating: text, as: UTF8.self) != nil else {
          throw MalformedInput(.invalidUTF8, at: start)
        }
        return text
      case 0x5c: try escape(into: &text)
      case 0..<0x20: throw MalformedInput(.invalidJSON, at: offset)
      default:
        text.append(byte)
        offset += 1
      }
    }
    throw MalformedInput(.truncated, at: offset)
  }

  /// Steps over any value.
  public mutating func skip() throws(MalformedInput) {
    switch peek() {
    case 0x7b: try object { (reader, _) throws(MalformedInput) in try reader.skip() }
    case 0x5b: try array { (reader) throws(MalformedInput) in try reader.skip() }
    case 0x22: _ = try string()
    case 0x74, 0x66: _ = try boolean()
    case 0x6e: _ = try null()
    default: _ = try number()
    }
  }

  /// The error for a byte that does not belong here: a value of another type, or no JSON at all.
  var unexpected: MalformedInput {
    guard offset < bytes.count else { return MalformedInput(.truncated, at: bytes.count) }
    let byte = bytes[offset]
    let isValue = [0x7b, 0x5b, 0x22, 0x74, 0x66, 0x6e, 0x2d].contains(byte) || isDigit(byte)
    return MalformedInput(isValue ? .wrongType : .invalidJSON, at: offset)
  }

  // MARK: Parts

  private mutating func open(_ bracket: UInt8) throws(MalformedInput) {
    guard peek() == bracket else { throw unexpected }
    guard depth < JSONReader.depthMax else { throw MalformedInput(.nestingTooDeep, at: offset) }
    depth += 1
    offset += 1
  }

  /// Reads a comma, and gives true, or the closing bracket, and gives false.
  private mutating func goesOn(until bracket: UInt8) throws(MalformedInput) -> Bool {
    let next = peek()
    guard let next else { throw MalformedInput(.truncated, at: offset) }
    guard next == 0x2c || next == bracket else { throw MalformedInput(.invalidJSON, at: offset) }
    offset += 1
    return next == 0x2c
  }

  private mutating func take(_ byte: UInt8) throws(MalformedInput) {
    guard let next = peek() else { throw MalformedInput(.truncated, at: offset) }
    guard next == byte else { throw MalformedInput(.invalidJSON, at: offset) }
    offset += 1
  }

  private mutating func word(_ text: StaticString) throws(MalformedInput) {
    for index in 0..<text.utf8CodeUnitCount {
      guard offset < bytes.count else { throw MalformedInput(.truncated, at: offset) }
      // Sound: a static string has `utf8CodeUnitCount` bytes behind `utf8Start` for the whole run of the
      // program.
      guard bytes[offset] == (unsafe text.utf8Start[index]) else {
        throw MalformedInput(.invalidJSON, at: offset)
      }
      offset += 1
    }
  }

  private mutating func digits() throws(MalformedInput) {
    let start = offset
    while offset < bytes.count, isDigit(bytes[offset]) { offset += 1 }
    guard offset > start else {
      throw MalformedInput(offset < bytes.count ? .invalidJSON : .truncated, at: offset)
    }
  }

  private func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

  private mutating func escape(into text: inout [UInt8]) throws(MalformedInput) {
    let start = offset
    offset += 1
    guard offset < bytes.count else { throw MalformedInput(.truncated, at: offset) }
    let letter = bytes[offset]
    offset += 1
    switch letter {
    case 0x22, 0x5c, 0x2f: text.append(letter)
    case 0x62: text.append(0x08)
    case 0x66: text.append(0x0c)
    case 0x6e: text.append(0x0a)
    case 0x72: text.append(0x0d)
    case 0x74: text.append(0x09)
    case 0x75: try unicodeEscape(startingAt: start, into: &text)
    default: throw MalformedInput(.invalidJSON, at: start)
    }
  }

  private mutating func unicodeEscape(startingAt start: Int, into text: inout [UInt8]) throws(MalformedInput)
  {
    var code = try fourDigits()
    if (0xd800..<0xdc00).contains(code), offset + 1 < bytes.count, bytes[offset] == 0x5c,
      bytes[offset + 1] == 0x75
    {
      offset += 2
      let low = try fourDigits()
      guard (0xdc00..<0xe000).contains(low) else { throw MalformedInput(.invalidText, at: start) }
      code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
    }
    guard let scalar = Unicode.Scalar(code) else { throw MalformedInput(.invalidText, at: start) }
    text.append(contentsOf: Array(String(Character(scalar)).utf8))
  }

  private mutating func fourDigits() throws(MalformedInput) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard offset < bytes.count else { throw MalformedInput(.truncated, at: offset) }
      guard let digit = Hexadecimal.value(of: bytes[offset]) else {
        throw MalformedInput(.invalidJSON, at: offset)
      }
      value = value << 4 | UInt32(digit)
      offset += 1
    }
    return value
  }
}
