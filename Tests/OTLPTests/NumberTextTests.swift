// Numbers as decimal and hexadecimal digits.

import Testing

@testable import OTLP

@Suite struct NumberTextTests {
  private func text(_ body: (inout TextOutput) -> Void) -> String {
    var bytes: [UInt8] = []
    bytes.appendText(room: 64, body)
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test func integersOfEveryLength() {
    var values: [Int64] = [0, .max, .min]
    var power: Int64 = 1
    while true {
      values += [power - 1, power, power + 1, -power, 1 - power]
      let (next, overflow) = power.multipliedReportingOverflow(by: 10)
      if overflow { break }
      power = next
    }
    var random = SeededGenerator(seed: 15)
    for bits in 0..<63 {
      for _ in 0..<100 { values.append(Int64.random(in: 0...(1 << bits), using: &random)) }
    }
    for value in values {
      #expect(text { $0.appendDecimal(value) } == String(value))
      var bytes: [UInt8] = []
      bytes.appendDecimal(value)
      #expect(bytes == Array(String(value).utf8))
    }
    #expect(text { $0.appendDecimal(UInt64.max) } == String(UInt64.max))
  }

  /// No more room is taken than is reserved.
  @Test func theRoomIsEnough() {
    for value in [0, .max, .min] as [Int64] {
      var bytes: [UInt8] = []
      bytes.appendText(room: Decimals.bytesMax) { $0.appendDecimal(value) }
      #expect(bytes.count <= Decimals.bytesMax)
    }
    let longest = -Double.leastNormalMagnitude.nextUp
    #expect(text { $0.append(real: longest) }.utf8.count <= Decimals.bytesMax + 4)
  }

  @Test(arguments: [
    (0.0, "0"), (-0.0, "0"), (1, "1"), (100, "100"), (-3, "-3"), (0.25, "0.25"), (1e-17, "1e-17"),
    (0x1p56, "7.205759403792794e+16"), (99.99847409781033, "99.99847409781033"),
    (1e15, "1000000000000000"), (0x1p53, "9007199254740992.0"), (.leastNonzeroMagnitude, "5e-324"),
    (-1.7976931348623157e308, "-1.7976931348623157e+308"),
  ])
  func realNumbers(value: Double, expected: String) {
    #expect(text { $0.append(real: value) } == expected)
    #expect(Decimals.text(of: value) == expected)
    #expect(Double(expected) == value)
  }

  @Test func hexadecimalOfEveryLength() {
    let value: UInt64 = 0x0123_4567_89ab_cdef
    let whole = "0123456789abcdef"
    for digits in 1...16 {
      #expect(text { $0.appendHexadecimal(value, digits: digits) } == String(whole.suffix(digits)))
      #expect(Hexadecimal.text(value, digits: digits) == String(whole.suffix(digits)))
    }
    #expect(Hexadecimal.text(.max, digits: 16) == "ffffffffffffffff")
    #expect(Hexadecimal.text(0, digits: 16) == "0000000000000000")
  }

  @Test func wordsTakeTheirOwnLength() {
    for count in 0...8 {
      let written = text {
        $0.append(word: 0x6867_6665_6463_6261, count: count)
        $0.append("|")
      }
      #expect(written == String("abcdefgh".prefix(count)) + "|")
    }
  }
}
