// Numbers in decimal digits, eight at a time.

/// Decimal digits.
@usableFromInline
package enum Decimals {
  /// The most bytes that a 64-bit integer takes, its sign included. A `Double` takes at most four more.
  @inlinable package static var bytesMax: Int { 24 }

  /// Eight digits of a number below 10^8, leading zeros included; the first is in the lowest byte.
  ///
  /// The number is cut in two, each half in two again, and so on, all parts of a step at once. Each division
  /// is a multiplication that is exact for parts this small: x * 5243 >> 19 is x / 100 below 10,000, and
  /// x * 103 >> 10 is x / 10 below 100. No product reaches the part above it: 9,999 * 5,243 < 2^32,
  /// 99 * 103 < 2^16.
  @inlinable @inline(__always)
  package static func characters(of value: UInt64) -> UInt64 {
    let (high, low) = value.quotientAndRemainder(dividingBy: 10_000)
    let fours = high | low << 32
    let hundreds = ((fours &* 5243) >> 19) & 0x0000_007f_0000_007f
    let rests = fours &- hundreds &* 100
    let twos = hundreds | rests << 16
    let tens = ((twos &* 103) >> 10) & 0x000f_000f_000f_000f
    let ones = twos &- tens &* 10
    return tens | ones << 8 | zeros
  }

  /// Four digits of a number below 10^4, in the same way; the bytes above them are zero.
  @inlinable @inline(__always)
  package static func lastCharacters(of value: UInt64) -> UInt64 {
    let hundreds = (value &* 5243) >> 19
    let twos = hundreds | (value &- hundreds &* 100) << 16
    let tens = ((twos &* 103) >> 10) & 0x000f_000f
    let ones = twos &- tens &* 10
    return tens | ones << 8 | zeros >> 32
  }

  /// Eight characters "0".
  @inlinable package static var zeros: UInt64 { 0x3030_3030_3030_3030 }

  /// The shortest decimal that reads back as `value`; whole numbers below 2^53 without a fraction.
  package static func text(of value: Double) -> String {
    value == value.rounded() && abs(value) < 0x1p53 ? String(Int64(value)) : value.description
  }
}

extension TextOutput {
  /// Appends `value` in decimal digits. It takes room for `Decimals.bytesMax`.
  @inlinable @inline(__always)
  package mutating func appendDecimal(_ value: Int64) {
    // Most numbers have one digit.
    if value >= 0, value < 10 { return append(0x30 | UInt8(truncatingIfNeeded: value)) }
    if value < 0 { append(0x2d) }
    appendDecimal(value.magnitude)
  }

  /// Appends `value` in decimal digits. Needs room for `Decimals.bytesMax`.
  @inlinable @inline(__always)
  package mutating func appendDecimal(_ value: UInt64) {
    if value < 100_000_000 { appendShortDecimal(value) } else { appendLongDecimal(value) }
  }

  /// Appends a number of more than eight digits.
  @inlinable @inline(never)
  mutating func appendLongDecimal(_ value: UInt64) {
    let (high, low) = value.quotientAndRemainder(dividingBy: 100_000_000)
    if high < 100_000_000 { appendShortDecimal(high) } else { appendLongDecimal(high) }
    append(word: Decimals.characters(of: low), count: 8)
  }

  /// Appends a number below 10^8.
  @inlinable @inline(__always)
  mutating func appendShortDecimal(_ value: UInt64) {
    if value < 10_000 {
      let characters = Decimals.lastCharacters(of: value)
      // A single zero stays, here and below: the last digit counts as none.
      let leading = (characters ^ Decimals.zeros >> 32 | 1 << 24).trailingZeroBitCount / 8
      return append(word: characters >> UInt64(8 * leading), count: 4 - leading)
    }
    let characters = Decimals.characters(of: value)
    let leading = (characters ^ Decimals.zeros | 1 << 56).trailingZeroBitCount / 8
    append(word: characters >> UInt64(8 * leading), count: 8 - leading)
  }

  /// Appends `value` as in `Decimals.text`. Needs room for 4 more than `Decimals.bytesMax`.
  package mutating func append(real value: Double) {
    guard value == value.rounded(), abs(value) < 0x1p53 else {
      let text = Decimals.text(of: value)
      // Sound: `Span.bytes` is unsafe because of padding, and UInt8 has none.
      return append(unsafe text.utf8Span.span.bytes)
    }
    appendDecimal(Int64(value))
  }
}

extension [UInt8] {
  /// Appends `value` in decimal digits.
  @inlinable
  package mutating func appendDecimal(_ value: Int64) {
    appendText(room: Decimals.bytesMax) { $0.appendDecimal(value) }
  }
}
