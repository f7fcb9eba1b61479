// The span buffer: bytes come back unchanged, whatever was moved or compressed meanwhile, and memory is
// bounded and reused.

import OTLP
import Simulation
import Testing

@testable import SpanStorage

/// A buffer and the traces that use it, cleaned as the sampler cleans it.
struct BufferWorld: ~Copyable {
  let memory: SpanMemory
  var buffer: SpanBuffer
  var traces: [BufferedSpans] = []

  init(slabBytes: Int = 4096) {
    memory = SpanMemory(slabBytes: slabBytes)
    buffer = SpanBuffer(memory: memory)
  }

  mutating func open() -> Int {
    traces.append(BufferedSpans())
    return traces.count - 1
  }

  mutating func append(_ content: [UInt8], to trace: Int) {
    content.withRawBytes { buffer.append($0, to: &traces[trace], owner: trace) }
    if buffer.isCleaningDue { clean() }
  }

  mutating func release(_ trace: Int) {
    buffer.release(&traces[trace])
  }

  mutating func clean() {
    buffer.beginCleaning()
    for survivors in [false, true] {
      while let oldest = buffer.nextOldest(survivors: survivors) {
        if buffer.isNeeded(oldest, by: traces[oldest.owner]), !buffer.move(oldest, &traces[oldest.owner]) {
          break
        }
        buffer.pass(oldest)
      }
    }
  }

  mutating func content(of trace: Int) -> [UInt8] {
    var all: [UInt8] = []
    for piece in buffer.pieces(of: traces[trace]) {
      buffer.withBytes(of: piece) { bytes in
        #expect(bytes.byteCount == piece.byteCount)
        all += bytes.copied()
      }
    }
    return all
  }
}

/// Bytes that compress about as well as spans: repetitive text with random ids.
private func spanlike(_ count: Int, _ random: inout RandomSource) -> [UInt8] {
  let words = Array("http.request.method GET service.name checkout server.address 10.0.0.1 status 200 ".utf8)
  return (0..<count).map { place in
    place % 100 < 25 ? UInt8(truncatingIfNeeded: random.next()) : words[place % words.count]
  }
}

@Suite struct SpanBufferTests {
  /// During recovery, one trace may hold more than 4 GiB.
  @Test func aTraceMayHoldMoreThan4GiB() {
    var world = BufferWorld()
    let trace = world.open()
    world.traces[trace].arrivalBytes = Int(UInt32.max) - 5
    world.append([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], to: trace)
    #expect(world.traces[trace].byteCount == Int(UInt32.max) + 5)
  }

  /// Traces of random pieces, some larger than a slab, released in a random order; memory is short for half
  /// of the seeds.
  @Test(arguments: 1...8) func givesBackWhatItTook(seed: UInt64) {
    var random = RandomSource(seed: seed)
    var world = BufferWorld()
    if seed % 2 == 0 { world.memory.compressAbove = 40_000 }
    var open: [Int: [UInt8]] = [:]
    var needed = 0
    for _ in 0..<6000 {
      let all = open.keys.sorted()
      if let trace = all.isEmpty ? nil : all[random.number(in: 0...all.count - 1)], random.chance(0.06) {
        #expect(world.content(of: trace) == open[trace])
        needed -= open[trace]?.count ?? 0
        world.release(trace)
        open[trace] = nil
        continue
      }
      let trace =
        all.count < 40 && random.chance(0.2) || all.isEmpty
        ? world.open() : all[random.number(in: 0...all.count - 1)]
      let size = random.chance(0.02) ? random.number(in: 4097...20_000) : random.number(in: 1...900)
      let content = spanlike(size, &random)
      world.append(content, to: trace)
      open[trace, default: []] += content
      needed += size
      #expect(world.buffer.neededBytes == needed)
      #expect(world.traces[trace].byteCount == open[trace]?.count)
      #expect(world.memory.usedBytes <= world.memory.residentBytes)
    }
    if seed % 2 == 0 { #expect(world.memory.decompressions > 0) }
    for (trace, content) in open {
      #expect(world.content(of: trace) == content)
      world.release(trace)
    }
    #expect(world.buffer.neededBytes == 0)
    #expect(world.buffer.rawBytes == 0)
  }

  /// A stream with a window of 100 pieces never needs more than the segments these are in.
  @Test func reusesMemory() {
    var world = BufferWorld()
    let content = [UInt8](repeating: 7, count: 500)
    var window: [Int] = []
    for _ in 0..<20_000 {
      window.append(world.open())
      world.append(content, to: window[window.count - 1])
      if window.count > 100 { world.release(window.removeFirst()) }
    }
    // 101 pieces of 500 bytes, seven per segment: 15 segments, and the one to be freed next.
    #expect(world.memory.usedBytes <= 17 * 4096)
  }

  /// One trace in a hundred stays a hundred times as long as the others: it must not hold the ones between.
  @Test(arguments: [0.001, 0.01, 0.05]) func longTracesDoNotHoldTheRest(share: Double) {
    var random = RandomSource(seed: 5)
    var world = BufferWorld()
    var window: [(trace: Int, end: Int)] = []
    var worst = 0.0
    for step in 0..<60_000 {
      let trace = world.open()
      world.append(spanlike(random.number(in: 100...700), &random), to: trace)
      window.append((trace, step + (random.chance(share) ? 20_000 : 200)))
      if step % 50 == 0 {
        for ended in window where ended.end <= step { world.release(ended.trace) }
        window.removeAll { $0.end <= step }
        world.clean()
        if step > 30_000 {
          worst = max(worst, Double(world.memory.usedBytes) / Double(world.buffer.neededBytes))
        }
      }
    }
    // The cleaner may waste a fifth, plus eight slabs: these count when so little is needed.
    let slack = Double(10 * 4096) / Double(world.buffer.neededBytes)
    #expect(worst < 1.3 + slack, "\(worst) of what is needed, with a slack of \(slack)")
  }

  /// Under pressure all but the newest is compressed, and memory stays within its limit.
  @Test func pressureCompresses() {
    var random = RandomSource(seed: 9)
    var world = BufferWorld(slabBytes: 64 << 10)
    world.memory.compressAbove = 4 << 20
    var contents: [[UInt8]] = []
    for _ in 0..<600 { contents.append([]) }
    for trace in contents.indices {
      #expect(world.open() == trace)
      for _ in 0..<40 {
        let content = spanlike(random.number(in: 200...900), &random)
        // Spans arrive while later traces begin.
        let owner = max(0, trace - random.number(in: 0...20))
        world.append(content, to: owner)
        contents[owner] += content
      }
    }
    #expect(world.buffer.neededBytes > 12 << 20)
    #expect(world.memory.usedBytes < 8 << 20)
    #expect(world.buffer.compressedSegments > 60)
    // Traces in the order in which they began, as windows close: each segment is read about once.
    world.memory.decompressions = 0
    for trace in contents.indices { #expect(world.content(of: trace) == contents[trace]) }
    #expect(world.memory.decompressions < 4 * world.buffer.compressedSegments)
    for trace in contents.indices { world.release(trace) }
    #expect(world.memory.usedBytes < 1 << 20)
  }

  /// Incompressible data stays as it is.
  @Test func noiseIsNotCompressed() {
    var random = RandomSource(seed: 2)
    var world = BufferWorld(slabBytes: 64 << 10)
    world.memory.compressAbove = 0
    for _ in 0..<200 {
      let trace = world.open()
      world.append((0..<5000).map { _ in UInt8(truncatingIfNeeded: random.next()) }, to: trace)
    }
    #expect(world.buffer.compressedSegments == 0)
    #expect(world.memory.usedBytes < 1_000_000 * 3 / 2 + 16 * 65536)
  }

  @Test func memoryGoesBackAfterABurst() {
    var world = BufferWorld(slabBytes: 64 << 10)
    let content = [UInt8](repeating: 7, count: 10_000)
    for _ in 0..<4000 {
      let trace = world.open()
      world.append(content, to: trace)
    }
    let peak = world.memory.residentBytes
    #expect(peak >= 40_000_000)
    for trace in world.traces.indices { world.release(trace) }
    world.memory.trim()
    #expect(world.memory.residentBytes == peak, "what was needed since the last trim is kept once more")
    world.memory.trim()
    #expect(world.memory.residentBytes < 10 << 20)
    let trace = world.open()
    world.append(content, to: trace)
    #expect(world.content(of: trace) == content)
  }

  @Test func anOutsizedPieceGoesBackAtOnce() {
    var world = BufferWorld()
    let trace = world.open()
    let small = [UInt8](repeating: 1, count: 10)
    let huge = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    world.append(small, to: trace)
    world.append(huge, to: trace)
    #expect(world.memory.usedBytes >= 1 << 20)
    #expect(world.content(of: trace) == small + huge)
    world.release(trace)
    #expect(world.memory.usedBytes == 0)
  }

  /// Each piece has a record of twelve bytes.
  @Test(arguments: [4096 - 12, 4096 - 13, 4096 - 11]) func aPieceMayFillASegmentExactly(count: Int) {
    var world = BufferWorld()
    let content = [UInt8](repeating: 3, count: count)
    let trace = world.open()
    for _ in 0..<10 { world.append(content, to: trace) }
    #expect(world.content(of: trace) == Array(repeatElement(content, count: 10).joined()))
    // A piece that does not fit gets its own block: the bytes up to a multiple of four, and the record.
    #expect(world.memory.usedBytes == 10 * (count <= 4084 ? 4096 : (count + 3) / 4 * 4 + 12))
    world.release(trace)
    #expect(world.buffer.neededBytes == 0)
  }

  /// The numbers of segments wrap around at 2^21.
  @Test func segmentNumbersWrapAround() {
    var world = BufferWorld(slabBytes: 64)
    let content = [UInt8](repeating: 9, count: 50)
    var last: Int?
    for step in 0..<(1 << 21 + 100) {
      let trace = step < 2 ? world.open() : step % 2
      world.append([UInt8(truncatingIfNeeded: step)] + content, to: trace)
      if let last { world.release(last) }
      last = trace
    }
    #expect(world.content(of: last ?? 0) == [UInt8(truncatingIfNeeded: 1 << 21 + 99)] + content)
  }

  @Test func spansAreReleasedOnce() async throws {
    let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      var world = BufferWorld()
      let trace = world.open()
      world.append([1, 2, 3], to: trace)
      let spans = world.traces[trace]
      world.release(trace)
      world.traces[trace] = spans
      world.release(trace)
    }
    #expect(String(decoding: result.standardErrorContent, as: UTF8.self).contains("released twice"))
  }

  @Test func accessBeyondABlockFails() async throws {
    let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let block = SpanMemory(slabBytes: 4096).allocate(atLeast: 100)
      [1, 2, 3].withRawBytes { block.write($0, at: 4094) }
    }
    #expect(String(decoding: result.standardErrorContent, as: UTF8.self).contains("3 bytes at 4094"))
  }
}
