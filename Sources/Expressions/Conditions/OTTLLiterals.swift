// The values of literals: strings with Go's escapes, and Go's durations.

import OTLP

enum OTTLLiteral {
  /// The bytes of a string literal, given with its quotes. Nil if Go would not accept it: an unknown escape,
  /// or a line break.
  ///
  /// Source: <https://go.dev/ref/spec#String_literals>, interpreted string literals.
  static func unquote(_ literal: ArraySlice<UInt8>) -> [UInt8]? {
    var bytes: [UInt8] = []
    var rest = literal.dropFirst().dropLast()
    while let byte = rest.popFirst() {
      guard byte != 0x0a else { return nil }
      guard byte == UInt8(ascii: "\\") else {
        bytes.append(byte)
        continue
      }
      guard let escape = rest.popFirst() else { return nil }
      switch escape {
      case UInt8(ascii: "a"): bytes.append(0x07)
      case UInt8(ascii: "b"): bytes.append(0x08)
      case UInt8(ascii: "f"): bytes.append(0x0c)
      case UInt8(ascii: "n"): bytes.append(0x0a)
      case UInt8(ascii: "r"): bytes.append(0x0d)
      case UInt8(ascii: "t"): bytes.append(0x09)
      case UInt8(ascii: "v"): bytes.append(0x0b)
      case UInt8(ascii: "\\"), UInt8(ascii: "\""): bytes.append(escape)
      case UInt8(ascii: "x"):
        guard let value = number(&rest, digits: 2, radix: 16) else { return nil }
        bytes.append(UInt8(truncatingIfNeeded: value))
      case 0x30...0x37:
        rest = literal[(rest.startIndex - 1)..<rest.endIndex]
        guard let value = number(&rest, digits: 3, radix: 8), value <= 0xff else { return nil }
        bytes.append(UInt8(truncatingIfNeeded: value))
      case UInt8(ascii: "u"), UInt8(ascii: "U"):
        let digits = escape == UInt8(ascii: "u") ? 4 : 8
        guard let value = number(&rest, digits: digits, radix: 16), let scalar = Unicode.Scalar(value) else {
          return nil
        }
        bytes.append(contentsOf: String(Character(scalar)).utf8)
      default: return nil
      }
    }
    return bytes
  }

  /// Removes a number of exactly `digits` digits from the front.
  private static func number(_ rest: inout ArraySlice<UInt8>, digits: Int, radix: UInt32) -> UInt32? {
    var value: UInt32 = 0
    for _ in 0..<digits {
      guard let digit = rest.popFirst().flatMap(Hexadecimal.value), UInt32(digit) < radix else { return nil }
      // Fits: eight hexadecimal digits are 32 bits.
      value = value &* radix &+ UInt32(digit)
    }
    return value
  }

  /// The bytes of hexadecimal digits, two digits each; nil for other characters, or an odd number of digits.
  static func bytes(_ digits: ArraySlice<UInt8>) -> [UInt8]? {
    guard digits.count.isMultiple(of: 2) else { return nil }
    var bytes: [UInt8] = []
    var rest = digits
    while let high = rest.popFirst(), let low = rest.popFirst() {
      guard let high = Hexadecimal.value(of: high), let low = Hexadecimal.value(of: low) else { return nil }
      bytes.append(high << 4 | low)
    }
    return bytes
  }

  /// The nanoseconds of a duration such as "1h30m", "1.5s" or "-250ms"; nil if it is not a duration, or does
  /// not fit in 64 bits. Fractions of a nanosecond are truncated.
  ///
  /// Source: <https://pkg.go.dev/time#ParseDuration>.
  static func nanoseconds(_ text: [UInt8]) -> Int64? {
    var rest = text[...]
    let isNegative = rest.first == UInt8(ascii: "-")
    if isNegative || rest.first == UInt8(ascii: "+") { rest.removeFirst() }
    if rest.elementsEqual([UInt8(ascii: "0")]) { return 0 }
    guard !rest.isEmpty else { return nil }
    var total: Int64 = 0
    while !rest.isEmpty {
      guard let part = durationPart(&rest) else { return nil }
      let (sum, overflow) = total.addingReportingOverflow(part)
      guard !overflow else { return nil }
      total = sum
    }
    return isNegative ? -total : total
  }

  /// Removes one number with its unit from the front, in nanoseconds.
  private static func durationPart(_ rest: inout ArraySlice<UInt8>) -> Int64? {
    let whole = rest.prefix { (0x30...0x39).contains($0) }
    rest.removeFirst(whole.count)
    var fraction: ArraySlice<UInt8> = []
    if rest.first == UInt8(ascii: ".") {
      rest.removeFirst()
      fraction = rest.prefix { (0x30...0x39).contains($0) }
      rest.removeFirst(fraction.count)
    }
    guard !(whole.isEmpty && fraction.isEmpty) else { return nil }
    let name = rest.prefix { !(0x30...0x39).contains($0) && $0 != UInt8(ascii: ".") }
    rest.removeFirst(name.count)
    let unit: Int64
    switch String(decoding: name, as: UTF8.self) {
    case "ns": unit = 1
    case "us", "\u{b5}s", "\u{3bc}s": unit = 1000
    case "ms": unit = 1_000_000
    case "s": unit = 1_000_000_000
    case "m": unit = 60_000_000_000
    case "h": unit = 3_600_000_000_000
    default: return nil
    }
    var value: Int64 = 0
    for digit in whole {
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(Int64(digit - 0x30))
      guard !overflow, !carry else { return nil }
      value = sum
    }
    let (product, overflow) = value.multipliedReportingOverflow(by: unit)
    guard !overflow else { return nil }
    // Thirteen digits are enough for the nanoseconds of an hour, and their product stays below 2^127.
    var part: Int128 = 0
    var scale: Int128 = 1
    for digit in fraction.prefix(13) {
      part = part * 10 + Int128(digit - 0x30)
      scale *= 10
    }
    let (sum, carry) = product.addingReportingOverflow(Int64(part * Int128(unit) / scale))
    return carry ? nil : sum
  }
}
