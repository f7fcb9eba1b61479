// Fields in reserved room: the same bytes as from the writer that grows.

import Testing

@testable import OTLP

@Suite struct FieldOutputTests {
  @Test func varintsOfAllLengths() {
    for shift in UInt64(0)..<64 {
      for value in [UInt64(1) << shift, (UInt64(1) << shift) &- 1, UInt64.max >> shift] {
        var (bytes, writer) = ([UInt8](), WireWriter())
        bytes.appendText(room: 10) { $0.append(varint: value) }
        writer.varint(value)
        #expect(bytes == writer.bytes && TextOutput.varintBytes(value) == bytes.count)
      }
    }
  }

  @Test(arguments: [1, 2, 3, 5]) func messagesOfAllLengths(_ lengthBytes: Int) {
    for count in [0, 1, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152] {
      let content = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
      var (bytes, writer) = ([UInt8](), WireWriter())
      bytes.appendText(room: count + 7) { out in
        out.message(0x0a, lengthBytes: lengthBytes) { out in content.withRawBytes { out.append($0) } }
        out.append(7)
      }
      writer.bytesField(1, content)
      #expect(bytes == writer.bytes + [7], "\(count) bytes")
    }
  }

  /// At the ends of the bytes and of the room nothing past them is read or written.
  @Test func rangesAreCopiedWherever() {
    let source = (0..<100).map { UInt8($0) }
    source.withRawBytes { raw in
      for count in 0...70 {
        for offset in 0...(100 - count) {
          for spare in [0, 31, 32, 64] {
            var bytes: [UInt8] = []
            bytes.appendText(room: count + spare) {
              $0.append(ByteRange(offset: UInt32(offset), count: UInt32(count)), of: raw)
            }
            #expect(bytes.elementsEqual(source[offset..<offset + count]))
          }
        }
      }
    }
  }

  /// A varint ends where its message does, even if the bytes after it would go on with it.
  @Test func varintsEndWithTheirMessage() throws {
    let bytes: [UInt8] = [0x96, 0x81, 0x82, 0x03, 0x96, 0x81, 0x82, 0x83, 0x04, 0, 0, 0, 0, 0, 0, 0]
    try bytes.withRawBytes { (raw) throws(MalformedInput) in
      var cursor = WireCursor(ByteRange(offset: 0, count: 4))
      #expect(try cursor.varint(in: raw) == 0x16 | 1 << 7 | 2 << 14 | 3 << 21)
      #expect(cursor.isAtEnd)
      cursor = WireCursor(ByteRange(offset: 4, count: 4))
      #expect(throws: MalformedInput(.truncated, at: 4)) { try cursor.varint(in: raw) }
      cursor = WireCursor(ByteRange(offset: 4, count: 5))
      #expect(try cursor.varint(in: raw) == 0x16 | 1 << 7 | 2 << 14 | 3 << 21 | 4 << 28)
    }
  }
}
