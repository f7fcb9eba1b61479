// Hexadecimal digits, eight at a time: a lane reads and writes them with each record.

/// Hexadecimal digits, written in lower case and read in either case.
public enum Hexadecimal {
  /// Appends the low `digits` nibbles of `value`, 16 at most, the highest first.
  public static func append(_ value: UInt64, digits: Int, to bytes: inout [UInt8]) {
    bytes.appendText(room: 16) { $0.appendHexadecimal(value, digits: digits) }
  }

  /// The low `digits` nibbles of `value`, 16 at most, the highest first.
  public static func text(_ value: UInt64, digits: Int) -> String {
    var bytes: [UInt8] = []
    append(value, digits: digits, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The value of eight hexadecimal characters of either case, the first in the highest byte; nil if one of
  /// them is something else.
  static func value(of characters: UInt64) -> UInt64? {
    // Of the valid characters only letters have the bit of 0x40.
    let letters = characters >> 6 & ones
    var value = (characters & (0x0f &* ones)) &+ letters &* 9
    // Encoding the value must give the characters back; that rules out all others.
    let large = (value &+ 6 &* ones) >> 4 & ones
    let expected = value &+ 0x30 &* ones &+ large &* 0x27
    guard value & (0xf0 &* ones) == 0, expected == characters | letters << 5 else { return nil }
    value = (value | value >> 4) & 0x00ff_00ff_00ff_00ff
    value = (value | value >> 8) & 0x0000_ffff_0000_ffff
    return (value | value >> 16) & 0xffff_ffff
  }

  /// The 16 lower-case characters of `value`, eight in each word, the first in the lowest byte.
  @inlinable @inline(__always)
  package static func characters(of value: UInt64) -> SIMD2<UInt64> {
    let bytes = value.byteSwapped
    var nibbles = SIMD2<UInt64>(bytes & 0xffff_ffff, bytes >> 32)
    // Two bytes apart, then each byte's halves, the upper one first.
    nibbles = (nibbles | nibbles &<< 16) & 0x0000_ffff_0000_ffff
    nibbles = (nibbles | nibbles &<< 8) & 0x00ff_00ff_00ff_00ff
    nibbles = (nibbles &>> 4 | nibbles &<< 8) & (0x0f &* ones)
    // Ten and more carry into the next bit. Letters come 0x27 later: a processor adds shifted words faster.
    let letters = (nibbles &+ 6 &* ones) &>> 4 & ones
    return nibbles &+ 0x30 &* ones &+ (letters &<< 5 &+ letters &<< 3 &- letters)
  }

  /// A one in each byte.
  @inlinable package static var ones: UInt64 { 0x0101_0101_0101_0101 }

  /// The value of one hexadecimal character of either case, or nil.
  public static func value(of character: UInt8) -> UInt8? {
    switch character {
    case 0x30...0x39: character - 0x30
    case 0x61...0x66: character - 0x57
    case 0x41...0x46: character - 0x37
    default: nil
    }
  }
}

extension TextOutput {
  /// Appends the low `digits` nibbles of `value`, 1 to 16, the highest first. It takes room for 8 bytes, for
  /// 16 above 8 digits.
  @inlinable @inline(__always)
  package mutating func appendHexadecimal(_ value: UInt64, digits: Int) {
    // Moves the first digit to the top.
    let characters = Hexadecimal.characters(of: value << UInt64(64 - 4 * digits))
    append(word: characters[0], count: min(digits, 8))
    if digits > 8 { append(word: characters[1], count: digits - 8) }
  }

  /// Appends a trace id's 32 digits.
  @inlinable @inline(__always)
  package mutating func appendHexadecimal(_ traceID: TraceID) {
    appendHexadecimal(traceID.high, digits: 16)
    appendHexadecimal(traceID.low, digits: 16)
  }
}
