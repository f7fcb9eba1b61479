// Decompression of values: every form, damaged in every place, and bombs.

import Testing

@testable import Compression

/// `hello hello hello` as a block of snappy: a literal, and a copy that overlaps itself.
private let block: [UInt8] = [17, 5 << 2] + Array("hello ".utf8) + [(11 - 4) << 2 | 1, 6]
private let content = Array("hello hello hello".utf8)

private func decompress(
  _ input: [UInt8], _ form: CompressionForm, bytesMax: Int = 1 << 20
) throws(CompressionError) -> [UInt8] {
  var decompressor = Decompressor()
  return try decompressor.decompress(input, form, bytesMax: bytesMax)
}

private func failure(
  _ input: [UInt8], _ form: CompressionForm, bytesMax: Int = 1 << 20
) -> CompressionError? {
  do throws(CompressionError) { _ = try decompress(input, form, bytesMax: bytesMax) } catch { return error }
  return nil
}

/// A chunk of a framed stream.
private func chunk(_ kind: UInt8, _ bytes: [UInt8]) -> [UInt8] {
  [kind, UInt8(bytes.count & 0xff), UInt8(bytes.count >> 8 & 0xff), UInt8(bytes.count >> 16)] + bytes
}

private let stream: [UInt8] =
  Snappy.streamHead + chunk(0, masks.long + block) + chunk(0xfe, [0, 0]) + chunk(0x80, [1])
  + chunk(1, masks.short + Array("hello".utf8))
private let masks = (long: [171, 4, 181, 29] as [UInt8], short: [187, 31, 28, 25] as [UInt8])
private let java: [UInt8] =
  Snappy.javaHead + [0, 0, 0, 1, 0, 0, 0, 1] + [0, 0, 0, UInt8(block.count)] + block
  + [0, 0, 0, UInt8(block.count)] + block
private let gzip: [UInt8] = [
  31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 203, 72, 205, 201, 201, 7, 0, 134, 166, 16, 54, 5, 0, 0, 0,
]

@Suite struct CompressionTests {
  @Test func formsAreKnownByTheirBeginnings() throws {
    let frame = try ZstandardWriter(level: 3).compress(content, isLast: true)
    for (input, form) in [
      (gzip, CompressionForm.gzip), (frame, .zstandard), (stream, .snappyStream), (java, .snappyJava),
    ] {
      #expect(CompressionForm(head: Array(input.prefix(CompressionForm.headBytes))) == form)
      #expect(CompressionForm.mayBegin(with: input[0]))
    }
    for other in [[], [0x0a, 0x10], Array("{}".utf8), block, [0x1f, 0x8b], [0x28, 0xb5]] as [[UInt8]] {
      #expect(CompressionForm(head: other) == nil)
    }
  }

  @Test func everyFormGivesItsContent() throws {
    #expect(try decompress(gzip, .gzip) == Array("hello".utf8))
    #expect(try decompress(gzip + gzip, .gzip) == Array("hellohello".utf8))
    #expect(try decompress(block, .snappyBlock) == content)
    #expect(try decompress(stream, .snappyStream) == content + Array("hello".utf8))
    #expect(try decompress(java, .snappyJava) == content + content)
    let frame = try ZstandardWriter(level: 3).compress(content, isLast: true)
    #expect(try decompress(frame + frame, .zstandard) == content + content)
  }

  @Test func gzipGoesBothWays() throws {
    for count in [0, 1, 70_000, 300_000] {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) }
      let member = try Gzip.compress(bytes, level: 1)
      #expect(try Gzip.decompress(member, bytesMax: count) == bytes)
      if count > 0 {
        #expect(throws: CompressionError.tooLarge) { try Gzip.decompress(member, bytesMax: count - 1) }
      }
    }
  }

  @Test func blocksUseEveryElement() throws {
    let long = [UInt8](repeating: 7, count: 300)
    // A literal whose length takes two bytes; copies with offsets of two and of four bytes.
    let exact: [UInt8] =
      [0xac + 10, 0x02, 61 << 2, 0x2b, 0x01] + long + [(4 << 2) | 2, 0x2c, 0x01] + [(4 << 2) | 3, 1, 0, 0, 0]
    #expect(try decompress(exact, .snappyBlock) == long + [UInt8](repeating: 7, count: 10))
  }

  /// Each cut and each changed byte is refused or gives something, and never more than allowed.
  @Test func damageIsAnError() throws {
    let frame = try ZstandardWriter(level: 3).compress(content, isLast: true)
    let inputs: [([UInt8], CompressionForm)] = [
      (gzip, .gzip), (frame, .zstandard), (block, .snappyBlock), (stream, .snappyStream), (java, .snappyJava),
    ]
    for (input, form) in inputs {
      for count in 0..<input.count {
        let cut = Array(input[..<count])
        if form != .snappyStream, form != .snappyJava {
          #expect(failure(cut, form) != nil, "\(form) \(count)")
        }
        for bit in 0..<8 {
          var changed = input
          changed[count] ^= 1 << bit
          if case .damaged(let offset) = failure(changed, form, bytesMax: 1000) {
            #expect((0...input.count).contains(offset))
          }
        }
      }
    }
    var wrong = stream
    wrong[Snappy.streamHead.count + 4] ^= 1
    #expect(failure(wrong, .snappyStream) == .damaged(at: Snappy.streamHead.count + 4))
    // Copies from before the beginning, from nowhere, and beyond the length.
    for bad in [[4, 1, 6], [4, 0, 65, 1, 0], [1, 0, 65, 1, 1], [5, 0, 65]] as [[UInt8]] {
      #expect(failure(bad, .snappyBlock) != nil)
    }
    #expect(failure(gzip + [1], .gzip) == .damaged(at: gzip.count + 1))
  }

  @Test func bombsStopAtTheLimit() throws {
    let zeros = [UInt8](repeating: 0, count: 8 << 20)
    let limit = 1 << 20
    #expect(failure(try Gzip.compress(zeros), .gzip, bytesMax: limit) == .tooLarge)
    let frame = try ZstandardWriter(level: 3).compress(zeros, isLast: true)
    #expect(failure(frame, .zstandard, bytesMax: limit) == .tooLarge)
    // 4 GiB claimed by five bytes.
    #expect(failure([0xff, 0xff, 0xff, 0xff, 0x0f, 0], .snappyBlock, bytesMax: limit) == .tooLarge)
    #expect(try decompress(frame, .zstandard, bytesMax: zeros.count) == zeros)
    // After a failure the next value is read as usual.
    var decompressor = Decompressor()
    #expect(throws: CompressionError.tooLarge) {
      try decompressor.decompress(frame, .zstandard, bytesMax: limit)
    }
    #expect(try decompressor.decompress(frame, .zstandard, bytesMax: zeros.count) == zeros)
  }

  /// What a frame claims as its window is memory that it would take: 128 MiB for no content.
  @Test func windowsAreLimited() {
    let frame: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00]
    #expect(failure(frame, .zstandard) != nil)
  }
}
