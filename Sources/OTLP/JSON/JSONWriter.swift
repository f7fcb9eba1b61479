// Writes JSON: every string that Tailrace writes by hand goes through here.
//
// It knows nothing of objects and commas: keys are fixed text, part of the fixed runs between the values, as
// in `,"span_count":`.

/// The space that JSON takes.
@usableFromInline
package enum JSONSize {
  /// The most room that a string of `count` bytes needs: each byte becomes an escape of six, and an escape is
  /// stored as a word.
  @inlinable
  package static func stringMax(_ count: Int) -> Int { 6 * count + 10 }
}

extension TextOutput {
  /// Appends a JSON string. It takes room for `JSONSize.stringMax`.
  ///
  /// Escapes quote, backslash, and whatever a reader may take for the end of a line: control characters, and
  /// the line and paragraph separators. A record stays on its line, whatever a producer names its spans.
  /// Bytes that are not UTF-8 become the replacement character, one for each truncated sequence, as in
  /// `String(decoding:as:)`: no name makes a record that readers can't parse.
  ///
  /// Format: RFC 8259, section 7.
  package mutating func appendJSONString(_ text: RawSpan) {
    append(0x22)
    var start = 0
    while true {
      let end = text.endOfJSONRun(from: start)
      append(text.extracting(start..<end))
      guard end < text.byteCount else { break }
      start = end + appendEscape(at: end, of: text)
    }
    append(0x22)
  }

  /// Appends the replacement of the character at `place`, which can't be copied, and returns how many bytes
  /// of `text` the character takes.
  private mutating func appendEscape(at place: Int, of text: RawSpan) -> Int {
    let byte = text.byte(at: place)
    if byte == 0x22 || byte == 0x5c {
      append(0x5c)
      append(byte)
      return 1
    }
    if byte < 0x80 {
      appendEscape(of: UInt64(byte))
      return 1
    }
    let character = text.multibyteCharacter(at: place)
    guard character.isWhole else {
      append("\u{fffd}")
      return max(character.wellFormed, 1)
    }
    if character.length == 2 {
      appendEscape(of: UInt64(text.byte(at: place + 1)))
    } else {
      appendEscape(of: 0x2000 | UInt64(text.byte(at: place + 2) & 0x3f))
    }
    return character.length
  }

  /// Appends `\u` and four digits.
  private mutating func appendEscape(of codePoint: UInt64) {
    append("\\u")
    append(word: Hexadecimal.characters(of: codePoint << 48)[0], count: 4)
  }
}

extension TextOutput {
  /// Appends a JSON string, as above.
  package mutating func appendJSONString(_ text: String) {
    // Sound: `Span.bytes` is unsafe because of padding, and UInt8 has none.
    appendJSONString(unsafe text.utf8Span.span.bytes)
  }
}

extension [UInt8] {
  /// Appends a JSON string, as above.
  package mutating func appendJSONString(_ text: String) {
    appendText(room: JSONSize.stringMax(text.utf8.count)) { $0.appendJSONString(text) }
  }
}

extension RawSpan {
  /// The end of what can be copied unchanged: the end, or the offset of what must be escaped or replaced.
  fileprivate func endOfJSONRun(from start: Int) -> Int {
    var place = start
    while true {
      place = endOfPlainText(from: place)
      if byteCount - place < 8 {
        let marks = lastCharacters(from: place).specialBytes
        guard marks != 0 else { return byteCount }
        place += marks.trailingZeroBitCount / 8
      }
      guard byte(at: place) >= 0x80 else { return place }
      let character = multibyteCharacter(at: place)
      guard character.isWhole, !isControl(place, character.length) else { return place }
      place += character.length
    }
  }

  /// The bytes from `start`, at most seven, padded with spaces; the first is the lowest.
  private func lastCharacters(from start: Int) -> UInt64 {
    let count = byteCount - start
    guard count > 0 else { return 0x2020_2020_2020_2020 }
    let spaces: UInt64 = 0x2020_2020_2020_2020 << UInt64(8 * count)
    if byteCount >= 8 { return littleEndian64(at: byteCount - 8) >> UInt64(8 * (8 - count)) | spaces }
    var word: UInt64 = 0
    for place in start..<byteCount { word |= UInt64(byte(at: place)) << UInt64(8 * (place - start)) }
    return word | spaces
  }

  /// Whether a character beyond ASCII is U+0080 to U+009F (c2 80 to c2 9f), or one of U+2028 and U+2029
  /// (e2 80 a8, e2 80 a9).
  private func isControl(_ place: Int, _ length: Int) -> Bool {
    switch (byte(at: place), byte(at: place + 1)) {
    case (0xc2, 0x80..<0xa0): true
    case (0xe2, 0x80): length == 3 && (0xa8...0xa9).contains(byte(at: place + 2))
    default: false
    }
  }
}
