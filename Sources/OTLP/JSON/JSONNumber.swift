// A JSON number, parsed exactly: OTLP's integers have 64 bits, more than a `Double` can tell apart.

/// A number as `±significand × 10^exponent`, checked against JSON's grammar.
package struct JSONNumber {
  private let text: JSONToken
  package private(set) var isNegative = false
  /// The digits up to the last that is not zero, read as one integer.
  private var significand: UInt64 = 0
  private var exponent = 0
  /// How many zeros follow the last digit that is not zero.
  private var trailingZeros = 0
  /// The significand takes more than 64 bits, and `significand` is meaningless.
  private var isTooLong = false

  /// Whether `byte` can appear in a number.
  static func mayContain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
      UInt8(ascii: "e"), UInt8(ascii: "E"):
      true
    default: false
    }
  }

  /// Reads all of `text`.
  ///
  /// - Throws: `invalidJSON` at the first character that a number can't have there, or `truncated` at the
  ///   end.
  init(_ text: JSONToken, in bytes: RawSpan) throws(MalformedInput) {
    self.text = text
    var characters = try Characters(text, in: bytes)
    isNegative = try characters.skip("-", in: bytes)
    if try !characters.skip("0", in: bytes) {
      _ = try digits(of: &characters, in: bytes)
    }
    if try characters.skip(".", in: bytes) {
      exponent -= try digits(of: &characters, in: bytes)
    }
    if characters.next == UInt8(ascii: "e") || characters.next == UInt8(ascii: "E") {
      try characters.advance(in: bytes)
      let isDivisor = try characters.skip("-", in: bytes)
      if !isDivisor { _ = try characters.skip("+", in: bytes) }
      let power = try power(of: &characters, in: bytes)
      exponent += isDivisor ? -power : power
    }
    exponent += trailingZeros
    guard characters.next == nil else { throw characters.unexpected(in: bytes) }
  }

  /// Appends one digit or more to the significand and returns how many there were.
  private mutating func digits(of characters: inout Characters, in bytes: RawSpan) throws(MalformedInput)
    -> Int
  {
    var count = 0
    repeat {
      let digit = try characters.digit(in: bytes)
      count += 1
      if digit != 0 {
        append(digit)
      } else if significand != 0 {
        trailingZeros += 1
      }
    } while characters.nextIsDigit
    return count
  }

  /// Appends the zeros that turned out not to be trailing, then `digit`.
  private mutating func append(_ digit: UInt8) {
    // 10^20 takes more than 64 bits: a million zeros don't take a million multiplications.
    isTooLong = isTooLong || trailingZeros >= 20
    if !isTooLong {
      for _ in 0...trailingZeros { multiply(by: 10) }
      let (sum, overflow) = significand.addingReportingOverflow(UInt64(digit))
      isTooLong = isTooLong || overflow
      significand = sum
    }
    trailingZeros = 0
  }

  private mutating func multiply(by factor: UInt64) {
    let (product, overflow) = significand.multipliedReportingOverflow(by: factor)
    isTooLong = isTooLong || overflow
    significand = product
  }

  private func power(of characters: inout Characters, in bytes: RawSpan) throws(MalformedInput) -> Int {
    var power = 0
    repeat {
      // Capped at a value that no document has enough digits to offset.
      power = min(power * 10 + Int(try characters.digit(in: bytes)), 1 << 48)
    } while characters.nextIsDigit
    return power
  }

  /// Where the value begins.
  package var offset: Int { text.valueOffset }

  /// The number without its sign; nil if it is not an integer or takes more than 64 bits.
  package var magnitude: UInt64? {
    guard !isTooLong else { return nil }
    guard significand != 0 else { return 0 }
    guard exponent >= 0 else { return nil }
    // 10^20 takes more than 64 bits, so no more rounds are needed to tell.
    var number = self
    for _ in 0..<min(exponent, 20) { number.multiply(by: 10) }
    return number.isTooLong ? nil : number.significand
  }

  /// The number as a 64-bit integer; nil if it is not one.
  package var int64: Int64? {
    guard let magnitude else { return nil }
    if isNegative { return magnitude <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- magnitude) : nil }
    return Int64(exactly: magnitude)
  }

  /// The nearest `Double`; infinite if the number is beyond the largest.
  func double(in bytes: RawSpan) throws(MalformedInput) -> Double? {
    var ascii: [UInt8] = []
    var rest = text
    while let byte = try rest.nextASCII(in: bytes) { ascii.append(byte) }
    return Double(String(decoding: ascii, as: UTF8.self))
  }
}

/// The characters of a number, with one read ahead.
private struct Characters {
  private var rest: JSONToken
  /// The offset of `next`.
  private var offset: Int
  /// The next character; nil at the end.
  private(set) var next: UInt8?

  init(_ text: JSONToken, in bytes: RawSpan) throws(MalformedInput) {
    rest = text
    offset = text.start
    next = try rest.nextASCII(in: bytes)
  }

  mutating func advance(in bytes: RawSpan) throws(MalformedInput) {
    offset = rest.start
    next = try rest.nextASCII(in: bytes)
  }

  /// Steps over `character` if it is next, and returns whether it was.
  mutating func skip(_ character: Unicode.Scalar, in bytes: RawSpan) throws(MalformedInput) -> Bool {
    guard next == UInt8(ascii: character) else { return false }
    try advance(in: bytes)
    return true
  }

  var nextIsDigit: Bool {
    guard let next else { return false }
    return UInt8(ascii: "0")...UInt8(ascii: "9") ~= next
  }

  /// Takes a digit, which must be there, and returns its value.
  mutating func digit(in bytes: RawSpan) throws(MalformedInput) -> UInt8 {
    guard nextIsDigit, let next else { throw unexpected(in: bytes) }
    try advance(in: bytes)
    return next - UInt8(ascii: "0")
  }

  /// The error for a number that can't continue with `next`.
  func unexpected(in bytes: RawSpan) -> MalformedInput {
    MalformedInput(offset == bytes.byteCount ? .truncated : .invalidJSON, at: offset)
  }
}
