// Reads JSON from borrowed bytes, value by value, allocating nothing.
//
// It checks everything it passes, skipped values included: grammar, escapes, UTF-8, depth. Every byte is read
// a bounded number of times, so the cost is linear in the document's length.

/// A position in a JSON document.
///
/// The bytes are passed to each call, as with `WireCursor`. The caller opens an object or array, steps
/// through its members until there are no more, and reads or skips each value exactly once.
///
/// Every error's offset is that of the first byte that can't be accepted, or the end if the bytes end early.
///
/// Format: RFC 8259, with no byte order mark, and with only escapes that name a Unicode scalar value.
package struct JSONCursor {
  /// How many objects and arrays may be open at once.
  ///
  /// It keeps OTLP within the 100 messages that protobuf's own parsers follow by default: an attribute's
  /// value lies at least 7 objects and arrays and 4 messages deep, and each list of pairs in it adds 4 of the
  /// one and 3 of the other, so that there are at most 4 + (128 - 7) * 3 / 4 = 95 messages, rounded up.
  package static let depthMax = 128

  /// The offset of the next byte to read.
  package private(set) var offset = 0
  private var depth = 0
  /// Where unusable spans are set aside; nil where they are errors.
  var rejected: RejectedJSONSpans?
  /// No member of the innermost open object or array has been read yet, so no comma comes before the next.
  private var isBeforeFirstMember = false

  /// Starts before the document.
  package init() {}

  /// A position in a document to return to.
  struct Mark {
    let offset: Int
    fileprivate let depth: Int
    fileprivate let isBeforeFirstMember: Bool
  }

  /// The current position.
  var mark: Mark { Mark(offset: offset, depth: depth, isBeforeFirstMember: isBeforeFirstMember) }

  /// Returns to `mark`.
  mutating func goBack(to mark: Mark) {
    (offset, depth, isBeforeFirstMember) = (mark.offset, mark.depth, mark.isBeforeFirstMember)
  }

  /// The kinds of values, told apart by their first byte.
  package enum ValueKind {
    case object, array, string, number, boolean, null
  }

  /// Steps to the next value and tells its kind by its first byte.
  package mutating func valueKind(in bytes: RawSpan) throws(MalformedInput) -> ValueKind {
    skipWhitespace(in: bytes)
    switch try bytes.required(at: offset) {
    case UInt8(ascii: "{"): return .object
    case UInt8(ascii: "["): return .array
    case UInt8(ascii: "\""): return .string
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
    case UInt8(ascii: "t"), UInt8(ascii: "f"): return .boolean
    case UInt8(ascii: "n"): return .null
    default: throw MalformedInput(.invalidJSON, at: offset)
    }
  }

  private mutating func expect(_ kind: ValueKind, in bytes: RawSpan) throws(MalformedInput) {
    guard try valueKind(in: bytes) == kind else { throw MalformedInput(.wrongType, at: offset) }
  }

  // MARK: Objects and arrays

  /// Enters the next value, an object.
  package mutating func openObject(in bytes: RawSpan) throws(MalformedInput) {
    try open(.object, in: bytes)
  }

  /// Enters the next value, an array.
  package mutating func openArray(in bytes: RawSpan) throws(MalformedInput) {
    try open(.array, in: bytes)
  }

  private mutating func open(_ kind: ValueKind, in bytes: RawSpan) throws(MalformedInput) {
    try expect(kind, in: bytes)
    guard depth < Self.depthMax else { throw MalformedInput(.nestingTooDeep, at: offset) }
    depth += 1
    offset += 1
    isBeforeFirstMember = true
  }

  /// Steps to the innermost open object's next key and over its colon; closes the object if there is none.
  package mutating func nextKey(in bytes: RawSpan) throws(MalformedInput) -> JSONToken? {
    guard try nextMember(closedBy: UInt8(ascii: "}"), in: bytes) else { return nil }
    guard try bytes.required(at: offset) == UInt8(ascii: "\"") else {
      throw MalformedInput(.invalidJSON, at: offset)
    }
    let key = try string(in: bytes)
    skipWhitespace(in: bytes)
    try step(over: UInt8(ascii: ":"), in: bytes)
    return key
  }

  /// Steps to the next element of the innermost open array; if there is none, closes the array and returns
  /// false.
  package mutating func nextElement(in bytes: RawSpan) throws(MalformedInput) -> Bool {
    try nextMember(closedBy: UInt8(ascii: "]"), in: bytes)
  }

  private mutating func nextMember(closedBy close: UInt8, in bytes: RawSpan) throws(MalformedInput) -> Bool {
    skipWhitespace(in: bytes)
    let isFirst = isBeforeFirstMember
    isBeforeFirstMember = false
    if try bytes.required(at: offset) == close {
      depth -= 1
      offset += 1
      return false
    }
    if !isFirst {
      try step(over: UInt8(ascii: ","), in: bytes)
      skipWhitespace(in: bytes)
    }
    return true
  }

  /// Reads to the end of the bytes, where only whitespace is allowed.
  package mutating func finish(in bytes: RawSpan) throws(MalformedInput) {
    skipWhitespace(in: bytes)
    guard offset == bytes.byteCount else { throw MalformedInput(.invalidJSON, at: offset) }
  }

  /// Steps over the next value, whatever it is.
  package mutating func skipValue(in bytes: RawSpan) throws(MalformedInput) {
    switch try valueKind(in: bytes) {
    case .object:
      try openObject(in: bytes)
      while try nextKey(in: bytes) != nil { try skipValue(in: bytes) }
    case .array:
      try openArray(in: bytes)
      while try nextElement(in: bytes) { try skipValue(in: bytes) }
    case .string: _ = try string(in: bytes)
    case .number: _ = try number(in: bytes)
    case .boolean: _ = try boolean(in: bytes)
    case .null: _ = try skipNull(in: bytes)
    }
  }

  // MARK: Scalars

  /// Steps over the next value if it is `null`, and returns whether it was.
  package mutating func skipNull(in bytes: RawSpan) throws(MalformedInput) -> Bool {
    guard try valueKind(in: bytes) == .null else { return false }
    try step(over: "null", in: bytes)
    return true
  }

  /// Reads `true` or `false`.
  package mutating func boolean(in bytes: RawSpan) throws(MalformedInput) -> Bool {
    try expect(.boolean, in: bytes)
    let value = bytes.byte(at: offset) == UInt8(ascii: "t")
    try step(over: value ? "true" : "false", in: bytes)
    return value
  }

  /// Reads a number.
  package mutating func number(in bytes: RawSpan) throws(MalformedInput) -> JSONNumber {
    try expect(.number, in: bytes)
    let start = offset
    while offset < bytes.byteCount, JSONNumber.mayContain(bytes.byte(at: offset)) { offset += 1 }
    return try JSONNumber(JSONToken(start: start, end: offset, isQuoted: false), in: bytes)
  }

  /// Reads a string.
  package mutating func string(in bytes: RawSpan) throws(MalformedInput) -> JSONToken {
    try expect(.string, in: bytes)
    offset += 1
    var text = JSONToken(start: offset, end: offset, isQuoted: true)
    while true {
      offset = bytes.endOfPlainText(from: offset)
      switch try bytes.required(at: offset) {
      case UInt8(ascii: "\""):
        text.end = offset
        offset += 1
        return text
      case JSONToken.backslash:
        text.hasEscapes = true
        offset = try bytes.escape(at: offset).end
      case 0..<0x20: throw MalformedInput(.invalidJSON, at: offset)
      case 0x20..<0x80: offset += 1
      default: offset = try bytes.endOfMultibyteCharacter(at: offset)
      }
    }
  }

  // MARK: Bytes

  private mutating func skipWhitespace(in bytes: RawSpan) {
    while offset < bytes.byteCount {
      switch bytes.byte(at: offset) {
      case 0x20, 0x09, 0x0a, 0x0d: offset += 1
      default: return
      }
    }
  }

  private mutating func step(over byte: UInt8, in bytes: RawSpan) throws(MalformedInput) {
    guard try bytes.required(at: offset) == byte else { throw MalformedInput(.invalidJSON, at: offset) }
    offset += 1
  }

  private mutating func step(over word: String, in bytes: RawSpan) throws(MalformedInput) {
    for byte in word.utf8 { try step(over: byte, in: bytes) }
  }
}

extension RawSpan {
  /// The byte at `offset`; without it the document is truncated.
  @inline(__always)
  fileprivate func required(at offset: Int) throws(MalformedInput) -> UInt8 {
    guard offset < byteCount else { throw MalformedInput(.truncated, at: byteCount) }
    return byte(at: offset)
  }

  /// The end of the UTF-8 sequence of two to four bytes at `start`.
  fileprivate func endOfMultibyteCharacter(at start: Int) throws(MalformedInput) -> Int {
    let character = multibyteCharacter(at: start)
    guard character.isWhole else {
      let isCut = character.length > 0 && start + character.wellFormed == byteCount
      throw isCut ? MalformedInput(.truncated, at: byteCount) : MalformedInput(.invalidUTF8, at: start)
    }
    return start + character.length
  }

  /// The character that the escape at `start` stands for, and the offset just past it.
  ///
  /// An escape that names half a surrogate pair names no character: it is `invalidJSON` at its backslash.
  fileprivate func escape(at start: Int) throws(MalformedInput) -> (scalar: Unicode.Scalar, end: Int) {
    switch try required(at: start + 1) {
    case UInt8(ascii: "\""): return ("\"", start + 2)
    case UInt8(ascii: "\\"): return ("\\", start + 2)
    case UInt8(ascii: "/"): return ("/", start + 2)
    case UInt8(ascii: "b"): return ("\u{8}", start + 2)
    case UInt8(ascii: "f"): return ("\u{c}", start + 2)
    case UInt8(ascii: "n"): return ("\n", start + 2)
    case UInt8(ascii: "r"): return ("\r", start + 2)
    case UInt8(ascii: "t"): return ("\t", start + 2)
    case UInt8(ascii: "u"): break
    default: throw MalformedInput(.invalidJSON, at: start + 1)
    }
    let unit = try codeUnit(at: start + 2)
    if let scalar = Unicode.Scalar(unit) { return (scalar, start + 6) }
    guard unit < 0xdc00,
      try required(at: start + 6) == JSONToken.backslash,
      try required(at: start + 7) == UInt8(ascii: "u"),
      case let trail = try codeUnit(at: start + 8), 0xdc00..<0xe000 ~= trail,
      let scalar = Unicode.Scalar(0x10000 + (UInt32(unit - 0xd800) << 10 | UInt32(trail - 0xdc00)))
    else { throw MalformedInput(.invalidJSON, at: start) }
    return (scalar, start + 12)
  }

  private func codeUnit(at start: Int) throws(MalformedInput) -> UInt16 {
    var unit: UInt16 = 0
    for offset in start..<start + 4 {
      guard let digit = Hexadecimal.value(of: try required(at: offset)) else {
        throw MalformedInput(.invalidJSON, at: offset)
      }
      unit = unit << 4 | UInt16(digit)
    }
    return unit
  }
}

/// A string or number of a document that the reader has checked: where its characters lie.
///
/// Reading takes characters from the front, so a copy is a cursor of its own.
package struct JSONToken {
  /// The offset of the first character's first byte.
  package private(set) var start: Int
  /// The offset just past the characters: that of a string's closing quote.
  package fileprivate(set) var end: Int
  /// Whether any character is written as an escape.
  fileprivate(set) var hasEscapes = false
  private let isQuoted: Bool

  fileprivate static let backslash = UInt8(ascii: "\\")

  fileprivate init(start: Int, end: Int, isQuoted: Bool) {
    self.start = start
    self.end = end
    self.isQuoted = isQuoted
  }

  package var isEmpty: Bool { start == end }

  /// The offset of the whole value's first byte, as long as no character has been taken.
  package var valueOffset: Int { isQuoted ? start - 1 : start }

  /// Takes the next character if it is ASCII; any other gives bytes above 0x7f, which no ASCII text matches.
  @inline(__always)
  mutating func nextASCII(in bytes: RawSpan) throws(MalformedInput) -> UInt8? {
    guard start < end else { return nil }
    let byte = bytes.byte(at: start)
    guard byte == Self.backslash, isQuoted else {
      start += 1
      return byte
    }
    let escape = try bytes.escape(at: start)
    start = escape.end
    return escape.scalar.isASCII ? UInt8(escape.scalar.value) : 0xff
  }

  /// The text after `prefix`; all of it if it has another beginning.
  func dropping(_ prefix: StaticString, in bytes: RawSpan) -> JSONToken {
    let count = prefix.utf8CodeUnitCount
    guard !hasEscapes, end - start > count,
      bytes.spells(prefix, in: ByteRange(from: start, to: start + count))
    else { return self }
    var rest = self
    rest.start += count
    return rest
  }

  /// Whether the text is `literal`.
  package func spells(_ literal: StaticString, in bytes: RawSpan) throws(MalformedInput) -> Bool {
    guard hasEscapes else { return bytes.spells(literal, in: ByteRange(from: start, to: end)) }
    var rest = self
    for index in 0..<literal.utf8CodeUnitCount {
      // Sound: a static string has `utf8CodeUnitCount` bytes at `utf8Start`.
      let wanted = unsafe literal.utf8Start[index]
      guard try rest.nextASCII(in: bytes) == wanted else { return false }
    }
    return try rest.nextASCII(in: bytes) == nil
  }

  /// The characters in UTF-8.
  package func utf8(in bytes: RawSpan) throws(MalformedInput) -> [UInt8] {
    guard hasEscapes else { return bytes.extracting(start..<end).copied() }
    var writer = WireWriter()
    try write(to: &writer, in: bytes)
    return writer.bytes
  }

  /// The number of characters, where one that is not ASCII may count as several.
  package func count(in bytes: RawSpan) throws(MalformedInput) -> Int {
    guard hasEscapes else { return end - start }
    var count = 0
    var rest = self
    while try rest.nextASCII(in: bytes) != nil { count += 1 }
    return count
  }

  /// The value of hexadecimal digits of either case, 32 at most.
  ///
  /// - Throws: `invalidText` at the first character that is none.
  package func hexadecimal(in bytes: RawSpan) throws(MalformedInput) -> (high: UInt64, low: UInt64) {
    var rest = self
    var (high, low): (UInt64, UInt64) = (0, 0)
    while case let offset = rest.start, let character = try rest.nextASCII(in: bytes) {
      guard let digit = Hexadecimal.value(of: character) else {
        throw MalformedInput(.invalidText, at: offset)
      }
      high = high << 4 | low >> 60
      low = low << 4 | UInt64(digit)
    }
    return (high, low)
  }

  /// Appends the characters in UTF-8 to `writer`.
  package func write(to writer: inout WireWriter, in bytes: RawSpan) throws(MalformedInput) {
    var runStart = start
    var offset = start
    while hasEscapes, offset < end {
      guard bytes.byte(at: offset) == Self.backslash else {
        offset += 1
        continue
      }
      writer.append(bytes.extracting(runStart..<offset))
      let escape = try bytes.escape(at: offset)
      writer.appendBytes { $0.append(contentsOf: escape.scalar.utf8) }
      offset = escape.end
      runStart = offset
    }
    writer.append(bytes.extracting(runStart..<end))
  }
}
