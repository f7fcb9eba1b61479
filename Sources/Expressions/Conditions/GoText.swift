// Text that functions make from text, and numbers that they parse from it, as Go's packages do.

import OTLP

enum GoText {
  /// Appends `count` bytes of UTF-8 in upper or lower case, code point by code point; a byte that is not part
  /// of a well-formed sequence becomes U+FFFD.
  ///
  /// Source: <https://pkg.go.dev/strings#ToLower>.
  ///
  /// - Parameter octet: the byte at a place below `count`.
  static func append(
    _ count: Int, isUpper: Bool, to bytes: inout [UInt8], octet: (Int, [UInt8]) -> UInt8
  ) {
    var place = 0
    while place < count {
      let first = octet(place, bytes)
      if first < 0x80 {
        let changes = isUpper ? (0x61...0x7a).contains(first) : (0x41...0x5a).contains(first)
        bytes.append(changes ? first ^ 0x20 : first)
        place += 1
        continue
      }
      let (scalar, width) = GoText.scalar(at: place, until: count) { octet($0, bytes) }
      place += width
      guard let scalar else {
        bytes.append(contentsOf: [0xef, 0xbf, 0xbd])
        continue
      }
      let changed = isUpper ? upper(scalar) : lower(scalar)
      bytes.append(contentsOf: String(Character(changed)).utf8)
    }
  }

  /// Reads one code point of UTF-8, and returns how many bytes it takes; nil and one for a byte that is not
  /// part of a well-formed sequence.
  ///
  /// - Parameter octet: the byte at a place below `end`.
  static func scalar(
    at place: Int, until end: Int, octet: (Int) -> UInt8
  ) -> (scalar: Unicode.Scalar?, width: Int) {
    let first = octet(place)
    if first < 0x80 { return (Unicode.Scalar(first), 1) }
    let length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
    var value = UInt32(first) & (0x7f >> UInt32(length))
    var taken = 1
    while taken < length, place + taken < end {
      let next = octet(place + taken)
      guard next & 0xc0 == 0x80 else { break }
      value = value << 6 | UInt32(next & 0x3f)
      taken += 1
    }
    // Not a stray byte, truncated, overlong, a surrogate, or beyond Unicode.
    let least: UInt32 = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000
    let isWellFormed = first >= 0xc2 && first <= 0xf4 && taken == length && value >= least
    guard isWellFormed, let scalar = Unicode.Scalar(value) else { return (nil, 1) }
    return (scalar, length)
  }

  /// The scalar in lower case, as one code point.
  private static func lower(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
    // Only this one maps to two: an i, and the dot above it.
    scalar.value == 0x130 ? "i" : only(scalar.properties.lowercaseMapping) ?? scalar
  }

  /// The scalar in upper case, as one code point. If the upper case has several (ß is SS), the title case may
  /// have one, which then is Unicode's simple mapping: ᾳ is ᾼ.
  private static func upper(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
    only(scalar.properties.uppercaseMapping) ?? only(scalar.properties.titlecaseMapping) ?? scalar
  }

  private static func only(_ mapping: String) -> Unicode.Scalar? {
    let scalars = mapping.unicodeScalars
    return scalars.count == 1 ? scalars.first : nil
  }

  /// The integer that a text spells in decimal digits, with or without a sign; nil if it is not a 64-bit
  /// integer.
  ///
  /// Source: <https://pkg.go.dev/strconv#ParseInt>, in base 10.
  static func integer(_ text: RawSpan) -> Int64? {
    guard text.byteCount > 0 else { return nil }
    let sign = text.byte(at: 0)
    let isNegative = sign == UInt8(ascii: "-")
    let start = isNegative || sign == UInt8(ascii: "+") ? 1 : 0
    guard start < text.byteCount else { return nil }
    var value: Int64 = 0
    for place in start..<text.byteCount {
      let digit = text.byte(at: place)
      guard (0x30...0x39).contains(digit) else { return nil }
      // Downwards, since the smallest integer has no opposite.
      let (product, isOver) = value.multipliedReportingOverflow(by: 10)
      let (sum, isSumOver) = product.subtractingReportingOverflow(Int64(digit - 0x30))
      guard !isOver, !isSumOver else { return nil }
      value = sum
    }
    if isNegative { return value }
    return value == .min ? nil : -value
  }

  /// The float that a text spells; nil if it is not a float, or too large.
  ///
  /// Source: <https://pkg.go.dev/strconv#ParseFloat>. Underscores in hexadecimal floats are not accepted.
  static func double(_ octets: RawSpan) -> Double? {
    let bytes = (0..<octets.byteCount).map { octets.byte(at: $0) }
    let text = String(decoding: bytes, as: UTF8.self)
    let isSigned = bytes.first == UInt8(ascii: "-") || bytes.first == UInt8(ascii: "+")
    switch text.lowercased() {
    case "nan": return .nan
    case "inf", "+inf", "infinity", "+infinity": return .infinity
    case "-inf", "-infinity": return -.infinity
    default: break
    }
    let digits = bytes.dropFirst(isSigned ? 1 : 0)
    let isHexadecimal = digits.starts(with: "0x".utf8) || digits.starts(with: "0X".utf8)
    // Swift would also accept other forms of the words above, and hexadecimal digits without an exponent.
    guard let first = digits.first, (0x30...0x39).contains(first) || first == UInt8(ascii: "."),
      !isHexadecimal || digits.contains(where: { $0 | 0x20 == UInt8(ascii: "p") }),
      let value = Double(text), value.isFinite
    else { return nil }
    return value
  }

  /// A float as an integer, truncated towards zero. One that does not fit becomes the smallest integer, as in
  /// Go on x86-64.
  static func integer(_ double: Double) -> Int64 {
    Int64(exactly: double.rounded(.towardZero)) ?? .min
  }
}
