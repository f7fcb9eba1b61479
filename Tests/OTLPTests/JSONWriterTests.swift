// JSON strings, written and read back.

import Foundation
import Testing

@testable import OTLP

@Suite struct JSONWriterTests {
  private func written(_ text: [UInt8]) -> [UInt8] {
    var json: [UInt8] = []
    json.appendText(room: JSONSize.stringMax(text.count)) { out in
      text.withRawBytes { out.appendJSONString($0) }
    }
    return json
  }

  /// Reads a string with this module's reader, and makes sure that another reads the same.
  private func readBack(_ json: [UInt8]) throws -> String {
    let text = try json.withRawBytes { json in
      var cursor = JSONCursor()
      let token = try cursor.string(in: json)
      try cursor.finish(in: json)
      return try token.utf8(in: json)
    }
    let read = try #require(String(validating: text, as: UTF8.self))
    let other = try JSONDecoder().decode(String.self, from: Data(json))
    #expect(Array(read.utf8) == Array(other.utf8))
    return read
  }

  /// Each byte at each position of a word, with others before and after it.
  @Test func everyByteMakesAStringThatCanBeRead() throws {
    for byte in UInt8.min...UInt8.max {
      for place in 0..<9 {
        var text = Array("abcdefghijk".utf8)
        text[place] = byte
        #expect(try readBack(written(text)) == String(decoding: text, as: UTF8.self))
      }
    }
  }

  @Test(arguments: [
    ("plain", "\"plain\""), ("", "\"\""), ("a\"b\\c", "\"a\\\"b\\\\c\""),
    ("\u{0}\n\t\u{1f}\u{7f}", "\"\\u0000\\u000a\\u0009\\u001f\\u007f\""),
    ("grün 漢 🚀", "\"grün 漢 🚀\""), ("</script>", "\"</script>\""),
    (
      "\u{80}\u{9f}\u{a0}\u{2027}\u{2028}\u{2029}\u{202a}",
      "\"\\u0080\\u009f\u{a0}\u{2027}\\u2028\\u2029\u{202a}\""
    ),
  ])
  func escapes(text: String, expected: String) {
    #expect(String(decoding: written(Array(text.utf8)), as: UTF8.self) == expected)
  }

  @Test func everyScalarIsReadBack() throws {
    for start in stride(from: 0 as UInt32, to: 0x11_0000, by: 0x400) {
      var text = ""
      for value in start..<start + 0x400 { Unicode.Scalar(value).map { text.unicodeScalars.append($0) } }
      let json = written(Array(text.utf8))
      let read = try json.withRawBytes { json in
        var cursor = JSONCursor()
        return try cursor.string(in: json).utf8(in: json)
      }
      #expect(read == Array(text.utf8), "from \(start)")
    }
  }

  /// A lone continuation, a truncated sequence, an overlong slash, a surrogate, a value above U+10FFFF; and
  /// bytes that are mostly not UTF-8. They become as many replacement characters as in the standard library.
  @Test func brokenTextIsReplaced() throws {
    var texts: [[UInt8]] = [
      [0x80], [0xe2, 0x82], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xf0, 0x9f, 0x9a],
      [0xe2, 0x80], [0xc2], [0xf4, 0x90, 0x80, 0x80],
    ]
    let starts: [UInt8] = [0x22, 0x61, 0x80, 0xa8, 0xc2, 0xe0, 0xe2, 0xed, 0xf0, 0xf4, 0xff, 0x9f, 0x00]
    var random = SeededGenerator(seed: 14)
    for _ in 0..<5_000 {
      let count = Int.random(in: 0...20, using: &random)
      texts.append((0..<count).map { _ in starts[Int.random(in: 0..<starts.count, using: &random)] })
    }
    for text in texts {
      for around in [text, [0x61] + text + [0x22]] {
        #expect(
          Array(try readBack(written(around)).utf8) == Array(String(decoding: around, as: UTF8.self).utf8))
      }
    }
  }

  @Test func stringsAreAppended() {
    var json = Array("[".utf8)
    json.appendJSONString("a\u{1}")
    json += [0x2c]
    json.appendJSONString(String(repeating: "\u{0}", count: 50))
    #expect(json.starts(with: Array(#"["a\u0001","\u0000"#.utf8)))
    #expect(json.count == 1 + 9 + 1 + 302)
  }

  @Test func textIsCompared() throws {
    for (json, isSame) in [
      (#""name""#, true), (#""n\u0061me""#, true), (#""names""#, false), (#""nam""#, false), (#""""#, false),
      (#""N\u0061me""#, false),
    ] {
      let answer = try Array(json.utf8).withRawBytes { json in
        var cursor = JSONCursor()
        return try cursor.string(in: json).spells("name", in: json)
      }
      #expect(answer == isSame, "\(json)")
    }
  }

  @Test(
    arguments: [
      ("0", 0), ("-0", 0), ("9223372036854775807", .max), ("-9223372036854775808", .min), ("1.50e1", 15),
      ("9223372036854775808", nil), ("-9223372036854775809", nil), ("0.5", nil), ("1e99", nil),
    ] as [(String, Int64?)])
  func integersAreRead(json: String, expected: Int64?) throws {
    let value = try Array(json.utf8).withRawBytes { json in
      var cursor = JSONCursor()
      return try cursor.number(in: json).int64
    }
    #expect(value == expected)
  }
}
