// snappy: raw blocks, and the two ways of framing them.

/// Snappy's formats.
///
/// Format: <https://github.com/google/snappy>, `format_description.txt` and `framing_format.txt`; and the
/// frames of its Java port, xerial/snappy-java, `SnappyOutputStream`.
enum Snappy {
  /// The beginning of a framed stream.
  static let streamHead: [UInt8] = [0xff, 0x06, 0x00, 0x00] + Array("sNaPpY".utf8)
  /// The beginning of what the Java port writes; two version numbers follow.
  static let javaHead: [UInt8] = [0x82] + Array("SNAPPY".utf8) + [0]

  /// Appends the content of the raw block in `range` of `input` to `output`, which then has
  /// `bytesMax` bytes at most.
  static func decompressBlock(
    _ input: [UInt8], _ range: Range<Int>, bytesMax: Int, to output: inout [UInt8]
  ) throws(CompressionError) {
    var place = range.lowerBound
    let end = range.upperBound
    let length = try self.length(input, &place, end)
    // What was there before does not belong to the block: copies don't reach it.
    let start = output.count
    guard length <= bytesMax - start else { throw .tooLarge }
    while place < end {
      let (offset, count) = try element(input, &place, end)
      guard count <= length - (output.count - start) else { throw .damaged(at: place) }
      guard let offset else {
        guard count <= end - place else { throw .damaged(at: end) }
        output.append(contentsOf: input[place..<place + count])
        place += count
        continue
      }
      guard offset > 0, offset <= output.count - start else { throw .damaged(at: place) }
      copy(count, from: offset, in: &output)
    }
    guard output.count - start == length else { throw .damaged(at: end) }
  }

  /// The length of the content: a varint of 32 bits.
  private static func length(
    _ input: [UInt8], _ place: inout Int, _ end: Int
  ) throws(CompressionError) -> Int {
    var length = 0
    for shift in stride(from: 0, through: 28, by: 7) {
      guard place < end else { throw .damaged(at: end) }
      let byte = Int(input[place])
      place += 1
      length |= (byte & 0x7f) << shift
      if byte < 0x80 {
        guard length <= Int(UInt32.max) else { throw .damaged(at: place) }
        return length
      }
    }
    throw .damaged(at: place)
  }

  /// Reads an element's head: how far back it copies from, nil for a literal; and how many bytes it has.
  private static func element(
    _ input: [UInt8], _ place: inout Int, _ end: Int
  ) throws(CompressionError) -> (offset: Int?, count: Int) {
    let tag = Int(input[place])
    place += 1
    func number(_ bytes: Int) throws(CompressionError) -> Int {
      guard bytes <= end - place else { throw .damaged(at: end) }
      defer { place += bytes }
      return (0..<bytes).reduce(0) { $0 | Int(input[place + $1]) << (8 * $1) }
    }
    switch tag & 3 {
    case 0:
      let count = tag >> 2
      return (nil, try count < 60 ? count + 1 : number(count - 59) + 1)
    case 1: return (try number(1) | (tag >> 5) << 8, (tag >> 2) & 7 + 4)
    case 2: return (try number(2), tag >> 2 + 1)
    default: return (try number(4), tag >> 2 + 1)
    }
  }

  /// Appends `count` bytes, those from `offset` before the end on: some may be ones just appended.
  private static func copy(_ count: Int, from offset: Int, in output: inout [UInt8]) {
    let start = output.count - offset
    if count <= offset {
      output.append(contentsOf: output[start..<start + count])
    } else {
      for index in 0..<count { output.append(output[start + index]) }
    }
  }

  /// The content of a framed stream, at most `bytesMax` bytes.
  static func decompressStream(_ input: [UInt8], bytesMax: Int) throws(CompressionError) -> [UInt8] {
    var output: [UInt8] = []
    var place = 0
    while place < input.count {
      guard input.count - place >= 4 else { throw .damaged(at: input.count) }
      let kind = input[place]
      let count = Int(input[place + 1]) | Int(input[place + 2]) << 8 | Int(input[place + 3]) << 16
      let start = place + 4
      guard count <= input.count - start else { throw .damaged(at: input.count) }
      let end = start + count
      switch kind {
      case 0x00, 0x01:
        guard count >= 4 else { throw .damaged(at: start) }
        let before = output.count
        if kind == 0 {
          try decompressBlock(input, start + 4..<end, bytesMax: bytesMax, to: &output)
        } else {
          guard count - 4 <= bytesMax - before else { throw .tooLarge }
          output.append(contentsOf: input[start + 4..<end])
        }
        let stored = (0..<4).reduce(0 as UInt32) { $0 | UInt32(input[start + $1]) << UInt32(8 * $1) }
        guard Castagnoli.masked(output[before...]) == stored else { throw .damaged(at: start) }
      // Chunks that may be skipped, padding, and the stream's head, which may come again.
      case 0x80...0xff: break
      default: throw .damaged(at: place)
      }
      place = end
    }
    return output
  }

  /// The content of what the Java port writes: blocks, each after its length; at most `bytesMax` bytes.
  static func decompressJava(_ input: [UInt8], bytesMax: Int) throws(CompressionError) -> [UInt8] {
    var output: [UInt8] = []
    var place = javaHead.count + 8
    guard place <= input.count else { throw .damaged(at: input.count) }
    while place < input.count {
      guard input.count - place >= 4 else { throw .damaged(at: input.count) }
      let count = (0..<4).reduce(0) { $0 << 8 | Int(input[place + $1]) }
      let start = place + 4
      guard count <= input.count - start else { throw .damaged(at: place) }
      try decompressBlock(input, start..<start + count, bytesMax: bytesMax, to: &output)
      place = start + count
    }
    return output
  }
}

/// The checksum of snappy's frames: CRC-32C, masked.
///
/// Source: `framing_format.txt`, section 3; RFC 3720, section 12.1.
private enum Castagnoli {
  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
  }

  static func masked(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    let crc = ~bytes.reduce(~0 as UInt32) { $0 >> 8 ^ table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] }
    return (crc >> 15 | crc << 17) &+ 0xa282_ead8
  }
}
