// The writer against bytes written by hand, after the protobuf encoding guide.

import OTLP
import Testing

@Suite struct WireWriterTests {
  @Test(
    arguments: [
      (UInt64(0), [0]), (1, [1]), (127, [0x7f]), (128, [0x80, 1]), (150, [0x96, 1]), (16_383, [0xff, 0x7f]),
      (16_384, [0x80, 0x80, 1]), (.max, [UInt8](repeating: 0xff, count: 9) + [1]),
    ] as [(UInt64, [UInt8])])
  func writesVarints(_ value: UInt64, _ expected: [UInt8]) {
    var writer = WireWriter()
    writer.varint(value)
    #expect(writer.bytes == expected)
  }

  @Test func writesFields() {
    var writer = WireWriter()
    writer.varintField(1, 150)
    writer.fixed64Field(2, 0x0102_0304_0506_0708)
    writer.fixed32Field(3, 0x0102_0304)
    writer.stringField(4, "é")
    writer.bytesField(5, [0xff])
    [UInt8]([0xfe]).withRawBytes { writer.bytesField(16, $0) }
    writer.varintField(1 << 29 - 1, 0)
    #expect(
      writer.bytes == [
        0x08, 0x96, 1, 0x11, 8, 7, 6, 5, 4, 3, 2, 1, 0x1d, 4, 3, 2, 1, 0x22, 2, 0xc3, 0xa9, 0x2a, 1, 0xff,
        0x82,
        0x01, 1, 0xfe, 0xf8, 0xff, 0xff, 0xff, 0x0f, 0,
      ])
  }

  /// The length goes in front once it is known, in as few bytes as it needs.
  @Test(arguments: [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
  func writesMessagesOfAnyLength(_ count: Int) {
    let content = [UInt8](repeating: 7, count: count)
    var writer = WireWriter()
    writer.message(1) { inner in content.withRawBytes { inner.append($0) } }
    var expected = WireWriter()
    expected.bytesField(1, content)
    #expect(writer.bytes == expected.bytes)
  }

  @Test func nestsMessages() {
    var writer = WireWriter()
    writer.message(1) { outer in
      outer.message(2) { $0.varintField(3, 1) }
      outer.message(2) { _ in }
    }
    #expect(writer.bytes == [0x0a, 6, 0x12, 2, 0x18, 1, 0x12, 0])
    writer.removeAll()
    #expect(writer.bytes.isEmpty && writer.count == 0)
  }

  @Test func closesWhatWasOpenedByHand() {
    var writer = WireWriter()
    writer.tag(1, .lengthDelimited)
    let start = writer.count
    writer.appendBytes { $0 += [0x18, 1] }
    writer.closeMessage(contentStart: start)
    #expect(writer.bytes == [0x0a, 2, 0x18, 1])
  }
}
