// Reads the few protobuf messages that stores answer with.

import OTLP

/// A protobuf message of an answer: small, and of a peer that is not trusted.
struct ReplyMessage {
  private let bytes: [UInt8]

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  /// The contents of all fields of this number that have a length; nil if the message is damaged.
  func contents(_ number: UInt32) -> [[UInt8]]? {
    read(number, .lengthDelimited, [[UInt8]]()) { found, tag, cursor, bytes throws(MalformedInput) in
      let range = try cursor.content(of: tag, in: bytes)
      found.append(bytes.extracting(range.indices).copied())
    }
  }

  /// The last integer of this number; nil if there is none, or the message is damaged.
  func number(_ number: UInt32) -> Int64? {
    read(number, .varint, Int64?.none) { found, tag, cursor, bytes throws(MalformedInput) in
      found = Int64(bitPattern: try cursor.varint(of: tag, in: bytes))
    } ?? nil
  }

  private func read<Found>(
    _ number: UInt32, _ type: WireType, _ none: Found,
    _ take: (inout Found, WireTag, inout WireCursor, RawSpan) throws(MalformedInput) -> Void
  ) -> Found? {
    bytes.withRawBytes { bytes in
      var found = none
      var cursor = WireCursor(ByteRange(offset: 0, count: UInt32(clamping: bytes.byteCount)))
      do throws(MalformedInput) {
        while !cursor.isAtEnd {
          let tag = try cursor.tag(in: bytes)
          if tag.field == number, tag.type == type {
            try take(&found, tag, &cursor, bytes)
          } else {
            try cursor.skip(tag, in: bytes)
          }
        }
      } catch { return nil }
      return found
    }
  }
}
