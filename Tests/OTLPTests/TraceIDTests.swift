// Trace ids: the forms of record keys, the written form, and the randomness in them.

import Testing

@testable import OTLP

@Suite struct TraceIDTests {
  static let id = TraceID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210)
  static let text = "0123456789abcdeffedcba9876543210"

  @Test(arguments: [text, text.uppercased(), "0123456789ABCDEFfedcba9876543210"])
  func readsHexadecimalOfEitherCase(_ key: String) {
    #expect(traceID(Array(key.utf8)) == Self.id)
  }

  @Test func readsRawBytes() {
    #expect(traceID(bigEndian(Self.id.high) + bigEndian(Self.id.low)) == Self.id)
    // One that is no digit makes them bytes.
    #expect(
      traceID(Array("0123456789abcdeg".utf8))
        == TraceID(high: 0x3031_3233_3435_3637, low: 0x3839_6162_6364_6567))
  }

  /// Jaeger's collector writes them so.
  @Test(arguments: ["0123456789abcdef", "0123456789ABCDEF"])
  func sixteenDigitsAreAnIDOf64Bits(_ key: String) {
    #expect(traceID(Array(key.utf8)) == TraceID(high: 0, low: 0x0123_4567_89ab_cdef))
  }

  @Test func refusesOtherLengths() {
    for count in 0...100 where count != 16 && count != 32 {
      #expect(traceID([UInt8](repeating: 0x30, count: count)) == nil, "\(count) bytes")
    }
  }

  @Test func refusesEveryOtherCharacterAnywhere() {
    let digits = Set(Array("0123456789abcdefABCDEF".utf8))
    for place in 0..<32 {
      for byte in UInt8.min ... .max where !digits.contains(byte) {
        var key = Array(Self.text.utf8)
        key[place] = byte
        #expect(traceID(key) == nil, "byte \(byte) at \(place)")
      }
    }
  }

  /// Every character at every position, next to valid ones.
  @Test func eightCharactersAreReadAsOneByOne() {
    let others = Array("09afAF7c".utf8)
    for place in 0..<8 {
      for character in UInt8.min ... .max {
        var text = others
        text[place] = character
        let word = text.reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        let digits = text.map { Hexadecimal.value(of: $0) }
        let value = digits.reduce(0 as UInt64?) { sum, digit in
          if let sum, let digit { sum << 4 | UInt64(digit) } else { nil }
        }
        #expect(Hexadecimal.value(of: word) == value, "\(text)")
      }
    }
  }

  @Test func writesLowerCaseHexadecimal() {
    #expect("\(Self.id)" == Self.text)
    #expect("\(TraceID(high: 0, low: 1))" == "00000000000000000000000000000001")
    var bytes: [UInt8] = [0xff]
    Self.id.appendHexadecimal(to: &bytes)
    #expect(bytes == [0xff] + Array(Self.text.utf8))
  }

  @Test func sixteenCharactersAreWrittenAsOneByOne() {
    var random = SeededGenerator(seed: 10)
    let edges: [UInt64] = [0, 0x0123_4567_89ab_cdef, 0x9a9a_a9a9_f0f0_0f0f, .max]
    for value in edges + (0..<1_000).map({ _ in random.next() }) {
      let digits = String(value, radix: 16)
      let expected = String(repeating: "0", count: 16 - digits.count) + digits
      #expect(Hexadecimal.text(value, digits: 16) == expected)
      let key = Array((expected + Hexadecimal.text(~value, digits: 16)).utf8)
      #expect(key.withRawBytes { TraceID(high: value, low: ~value).isWritten(in: $0) })
      for place in key.indices {
        var other = key
        other[place] ^= 1
        #expect(!other.withRawBytes { TraceID(high: value, low: ~value).isWritten(in: $0) })
      }
    }
  }

  /// Only the form that every written key has: other forms of the id are parsed, not compared.
  @Test func knowsItsOwnForm() {
    #expect(isWritten(Array(Self.text.utf8)))
    #expect(!isWritten(Array(Self.text.uppercased().utf8)))
    #expect(!isWritten(bigEndian(Self.id.high) + bigEndian(Self.id.low)))
    #expect(!isWritten([]))
    #expect(!isWritten(Array(Self.text.utf8) + [0x30]))
    #expect(!isWritten(Array(Self.text.utf8.dropLast())))
    for place in 0..<32 {
      for bit in 0..<8 {
        var key = Array(Self.text.utf8)
        key[place] ^= 1 << bit
        #expect(!isWritten(key), "bit \(bit) at \(place)")
      }
    }
  }

  private func isWritten(_ key: [UInt8]) -> Bool {
    key.withRawBytes { Self.id.isWritten(in: $0) }
  }

  @Test func readsBackWhatItWrites() {
    var random = SeededGenerator(seed: 9)
    for _ in 0..<1_000 {
      let id = TraceID(high: random.next(), low: random.next())
      #expect(traceID(Array(id.description.utf8)) == id)
      #expect(traceID(bigEndian(id.high) + bigEndian(id.low)) == id)
    }
  }

  @Test func onlyAllZerosIsZero() {
    #expect(TraceID(high: 0, low: 0).isZero)
    #expect(!TraceID(high: 0, low: 1).isZero)
    #expect(!TraceID(high: 1 << 63, low: 0).isZero)
  }

  @Test func theLastSevenBytesAreRandom() {
    #expect(Self.id.randomness == 0xdc_ba98_7654_3210)
    #expect(TraceID(high: .max, low: 0xff << 56).randomness == 0)
  }

  private func traceID(_ key: [UInt8]) -> TraceID? {
    key.withRawBytes { TraceID(key: $0) }
  }
}
