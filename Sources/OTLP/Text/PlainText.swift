// Where plain text ends and what follows it: for the JSON reader and writer.

extension RawSpan {
  /// Steps over plain text, eight bytes at a time: ASCII except control characters, quote and backslash.
  ///
  /// Returns the offset of a byte that is something else, or one within eight bytes of the end.
  @inline(__always)
  func endOfPlainText(from start: Int) -> Int {
    var offset = start
    while byteCount - offset >= 8 {
      let marks = littleEndian64(at: offset).specialBytes
      if marks != 0 { return offset + marks.trailingZeroBitCount / 8 }
      offset += 8
    }
    return offset
  }

  /// How far the UTF-8 sequence of two to four bytes that begins at `start` is well-formed.
  ///
  /// Format: the Unicode Standard, table 3-7, well-formed UTF-8 byte sequences.
  func multibyteCharacter(at start: Int) -> MultibyteCharacter {
    var second: ClosedRange<UInt8> = 0x80...0xbf
    var character = MultibyteCharacter(length: 0, wellFormed: 0)
    switch byte(at: start) {
    case 0xc2...0xdf: character.length = 2
    case 0xe0: (character.length, second) = (3, 0xa0...0xbf)
    case 0xed: (character.length, second) = (3, 0x80...0x9f)
    case 0xe1...0xef: character.length = 3
    case 0xf0: (character.length, second) = (4, 0x90...0xbf)
    case 0xf1...0xf3: character.length = 4
    case 0xf4: (character.length, second) = (4, 0x80...0x8f)
    default: return character
    }
    character.wellFormed = 1
    while character.wellFormed < character.length, start + character.wellFormed < byteCount,
      (character.wellFormed == 1 ? second : 0x80...0xbf).contains(byte(at: start + character.wellFormed))
    {
      character.wellFormed += 1
    }
    return character
  }
}

/// How much of a UTF-8 sequence is present.
struct MultibyteCharacter {
  /// How many bytes its first byte calls for; 0 if no character begins with it.
  var length: Int
  /// How many of these are present, counted from the first.
  var wellFormed: Int

  var isWhole: Bool { length > 0 && wellFormed == length }
}

extension UInt64 {
  /// The top bit of each byte that is not plain text: non-ASCII, a control character, a quote or a backslash.
  ///
  /// Only the lowest one counts: `(x - n) & ~x` has a byte's top bit set if the byte is below n, and a borrow
  /// can set it wrongly, but only above a byte where it is set rightly. The same is true of a carry.
  @inline(__always)
  var specialBytes: UInt64 {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let quote = self ^ ones &* UInt64(UInt8(ascii: "\""))
    let backslash = self ^ ones &* UInt64(UInt8(ascii: "\\"))
    // `&-` and `&+`: the top byte's borrow or carry has nowhere to go. 0x7f and one more has the top bit.
    let below = (self &- ones &* 0x20) & ~self
    let escaped = below | (quote &- ones) & ~quote | (backslash &- ones) & ~backslash
    return (escaped | self | (self &+ ones)) & (ones &* 0x80)
  }
}
