// Copies into a block bypass the caches: every length at every place.

import OTLP
import Testing

@testable import SpanStorage

@Suite struct MemoryBlockTests {
  /// Around the lengths at which the copy changes its method: a cache line, and short copies.
  @Test func everyByteArrivesAndNoOtherChanges() {
    let memory = SpanMemory(slabBytes: 4096)
    let block = memory.allocate(atLeast: 4096)
    let source = (0..<1024).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ 7) }
    for start in [0, 1, 7, 31, 32, 33, 63, 64, 65, 100] {
      for count in Array(0...70) + Array(250...400) + [511, 512, 513, 1000] {
        for from in [0, 1, 5] {
          let blank = [UInt8](repeating: 0xee, count: 2048)
          blank.withRawBytes { block.write($0, at: 0) }
          source.withRawBytes { block.write($0.extracting(from..<from + count), at: start) }
          let found = block.withBytes(from: 0, count: 2048) { $0.copied() }
          let expected =
            blank[..<start] + source[from..<from + count] + blank[(start + count)...]
          #expect(found == Array(expected), "\(count) bytes from \(from) to \(start)")
        }
      }
    }
    memory.deallocate(block)
  }
}
