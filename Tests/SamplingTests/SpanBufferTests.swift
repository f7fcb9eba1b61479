// The span buffer: bytes come back as they were, and memory is bounded and reused.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct SpanBufferTests {
  private static let segmentBytes = 4096

  private func bytes(of piece: PieceID, in buffer: SpanBuffer) -> [[UInt8]] {
    var all: [[UInt8]] = []
    var next = piece
    while next != .none {
      all.append(buffer.withBytes(of: next) { $0.copied() })
      #expect(buffer.count(of: next) == all[all.count - 1].count)
      next = buffer.next(after: next)
    }
    return all
  }

  /// Traces of random pieces, some larger than a segment, released in a random order.
  @Test(arguments: 1...5) func givesBackWhatItTook(seed: UInt64) {
    var random = RandomSource(seed: seed)
    var buffer = SpanBuffer(segmentBytes: SpanBufferTests.segmentBytes)
    var traces: [Int: (first: PieceID, last: PieceID, content: [[UInt8]])] = [:]
    for _ in 0..<4000 {
      let number = random.number(in: 0...40)
      if let trace = traces[number], random.chance(0.15) {
        #expect(bytes(of: trace.first, in: buffer) == trace.content)
        buffer.release(from: trace.first)
        traces[number] = nil
        continue
      }
      let size = random.chance(0.02) ? random.number(in: 4097...20_000) : random.number(in: 1...900)
      let content = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: size)
      var trace = traces[number] ?? (.none, .none, [])
      trace.last = content.withRawBytes { buffer.append($0, after: trace.last) }
      if trace.first == .none { trace.first = trace.last }
      trace.content.append(content)
      traces[number] = trace
      #expect(buffer.neededBytes == traces.values.reduce(0) { $0 + $1.content.reduce(0) { $0 + $1.count } })
      #expect(buffer.residentBytes >= buffer.neededBytes)
    }
    for trace in traces.values {
      #expect(bytes(of: trace.first, in: buffer) == trace.content)
      buffer.release(from: trace.first)
    }
    #expect(buffer.neededBytes == 0)
  }

  /// A stream with a window of 100 pieces never needs more than the segments that those lie in.
  @Test func reusesSegments() {
    var buffer = SpanBuffer(segmentBytes: SpanBufferTests.segmentBytes)
    let content = [UInt8](repeating: 7, count: 500)
    var window: [PieceID] = []
    var residentMax = 0
    for _ in 0..<20_000 {
      window.append(content.withRawBytes { buffer.append($0, after: .none) })
      if window.count > 100 { buffer.release(from: window.removeFirst()) }
      residentMax = max(residentMax, buffer.residentBytes)
    }
    // 100 pieces of 500 bytes, eight a segment: 13 segments, two partly used, half as many spare.
    #expect(residentMax <= 24 * (SpanBufferTests.segmentBytes + 64))
  }

  @Test func givesMemoryBackAfterABurst() {
    var buffer = SpanBuffer(segmentBytes: SpanBufferTests.segmentBytes)
    let content = [UInt8](repeating: 7, count: 1000)
    var pieces: [PieceID] = []
    for _ in 0..<4000 { pieces.append(content.withRawBytes { buffer.append($0, after: .none) }) }
    let peak = buffer.residentBytes
    for piece in pieces { buffer.release(from: piece) }
    #expect(buffer.neededBytes == 0)
    #expect(buffer.residentBytes <= peak * 11 / 20)
  }

  @Test func anOutsizedPieceIsGivenBackAtOnce() {
    var buffer = SpanBuffer(segmentBytes: SpanBufferTests.segmentBytes)
    let small = [UInt8](repeating: 1, count: 10)
    let huge = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let first = small.withRawBytes { buffer.append($0, after: .none) }
    let second = huge.withRawBytes { buffer.append($0, after: first) }
    let before = buffer.residentBytes
    #expect(before >= 1 << 20)
    #expect(bytes(of: first, in: buffer) == [small, huge])
    buffer.release(from: first)
    #expect(buffer.residentBytes < 1 << 16)
    #expect(second != first)
  }

  @Test func aPieceMayFillASegmentExactly() {
    var buffer = SpanBuffer(segmentBytes: SpanBufferTests.segmentBytes)
    let content = [UInt8](repeating: 3, count: SpanBufferTests.segmentBytes)
    var last = PieceID.none
    var first = PieceID.none
    for _ in 0..<10 {
      last = content.withRawBytes { buffer.append($0, after: last) }
      if first == .none { first = last }
    }
    #expect(bytes(of: first, in: buffer) == Array(repeating: content, count: 10))
    buffer.release(from: .none)
    buffer.release(from: first)
    #expect(buffer.neededBytes == 0)
  }
}
