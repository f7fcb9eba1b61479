// Recordings: what is written is read back; damage is reported with its place, and the rest is still read.

import Compression
import OTLP
import Simulation
import Testing

@testable import Pipeline

@Suite struct RecordingTests {
  /// Four small records.
  private static let small = (1...4).map { number in
    tracesData((1...number).map { TestSpan(trace: UInt64(number), id: UInt64($0)) })
  }

  @Test(arguments: ["a.otlp", "a.otlp.zst"])
  func whatIsWrittenIsReadBack(_ name: String) throws {
    let directory = try TemporaryDirectory()
    // Larger than the chunks of reader and writer, so that records cross them.
    let records = generatedRecords(traces: 120).records
    #expect(records.reduce(0) { $0 + $1.count } > 2 << 20)
    let contents = try RecordingContents(path: try writeRecording(records, in: directory, name: name))
    #expect(contents.records == records)
    #expect(contents.damages.isEmpty)
  }

  @Test func theFormIsTheDocumentedOne() throws {
    let directory = try TemporaryDirectory()
    _ = try writeRecording(RecordingTests.small, in: directory, name: "a.otlp")
    #expect(try directory.read("a.otlp") == RecordingTests.small.flatMap(framed))
    _ = try writeRecording(RecordingTests.small, in: directory, name: "a.otlp.zst")
    #expect(try directory.read("a.otlp.zst").starts(with: [0x28, 0xb5, 0x2f, 0xfd]))
  }

  @Test func compressionIsDetectedFromBytesNotTheName() throws {
    let directory = try TemporaryDirectory()
    _ = try writeRecording(RecordingTests.small, in: directory, name: "a.otlp.zst")
    let path = try directory.write(try directory.read("a.otlp.zst"), to: "b.otlp")
    #expect(try RecordingContents(path: path).records == RecordingTests.small)
  }

  @Test func framesFollowEachOther() throws {
    let directory = try TemporaryDirectory()
    _ = try writeRecording(RecordingTests.small, in: directory, name: "a.zst")
    let frame = try directory.read("a.zst")
    let contents = try RecordingContents(path: try directory.write(frame + frame, to: "b.zst"))
    #expect(contents.records == RecordingTests.small + RecordingTests.small)
    #expect(contents.damages.isEmpty)
  }

  @Test(arguments: ["a.otlp", "a.otlp.zst"])
  func anEmptyOneHasNothing(_ name: String) throws {
    let directory = try TemporaryDirectory()
    let contents = try RecordingContents(path: try writeRecording([], in: directory, name: name))
    #expect(contents.records.isEmpty && contents.damages.isEmpty)
    let empty = try RecordingContents(path: try directory.write([], to: "empty"))
    #expect(empty.records.isEmpty && empty.damages.isEmpty)
  }

  @Test func aFileThatIsNotThereIsAnError() throws {
    let directory = try TemporaryDirectory()
    #expect(throws: (any Error).self) { try RecordingReader(path: directory.path("nothing")) }
    #expect(throws: (any Error).self) { try RecordingWriter(path: directory.path("no/such/directory")) }
  }

  @Test func truncatedAnywhereItGivesWholeRecords() throws {
    let directory = try TemporaryDirectory()
    let bytes = RecordingTests.small.flatMap(framed)
    let ends = RecordingTests.small.indices.map { RecordingTests.small[...$0].flatMap(framed).count }
    for count in 0..<bytes.count {
      let path = try directory.write(Array(bytes.prefix(count)), to: "cut")
      let contents = try RecordingContents(path: path)
      let whole = ends.prefix { $0 <= count }
      #expect(contents.records == Array(RecordingTests.small.prefix(whole.count)), "cut at \(count)")
      let isAtAnEnd = count == 0 || whole.last == count
      #expect(contents.damages.map(\.offset) == (isAtAnEnd ? [] : [whole.last ?? 0]), "cut at \(count)")
      #expect(
        contents.damages.allSatisfy { $0.offset + $0.count == count && $0.reason.contains("truncated") })
    }
  }

  @Test func compressedAndTruncatedAnywhereItGivesWholeRecords() throws {
    let directory = try TemporaryDirectory()
    _ = try writeRecording(RecordingTests.small, in: directory, name: "whole.zst")
    let bytes = try directory.read("whole.zst")
    for count in 5..<bytes.count {
      let path = try directory.write(Array(bytes.prefix(count)), to: "cut")
      let contents = try RecordingContents(path: path)
      #expect(contents.records == Array(RecordingTests.small.prefix(contents.records.count)))
      let last = try #require(contents.damages.last, "cut at \(count)")
      #expect(last.reason == "the zstd frame is truncated")
    }
  }

  @Test(arguments: [UInt8(0x01), 0x80, 0xff])
  func aFlippedByteCostsOneRecord(_ mask: UInt8) throws {
    let directory = try TemporaryDirectory()
    let bytes = RecordingTests.small.flatMap(framed)
    let starts = [0] + RecordingTests.small.indices.map { RecordingTests.small[...$0].flatMap(framed).count }
    for place in bytes.indices {
      var flipped = bytes
      flipped[place] ^= mask
      let contents = try RecordingContents(path: try directory.write(flipped, to: "flipped"))
      let hit = try #require(starts.lastIndex { $0 <= place })
      // A flip inside a span's text or time changes the record, but it remains readable.
      for (number, record) in RecordingTests.small.enumerated() where number != hit {
        let isThere = contents.records.contains(record)
        #expect(isThere, "byte \(place): record \(number) is gone")
      }
      for damage in contents.damages {
        #expect((starts[hit]..<starts[hit + 1]).contains(damage.offset), "byte \(place)")
        #expect(damage.offset + damage.count <= bytes.count)
      }
      #expect(contents.records.count >= 3 && contents.records.count + contents.damages.count >= 4)
    }
  }

  /// Two damaged bytes make a record unreadable; its length still tells where the next one begins.
  @Test(arguments: [1, 2, 5, 63, 64, 65, 200], [0, 1])
  func damagedRecordsInARowAreCountedOneByOne(_ count: Int, _ after: Int) throws {
    var spoilt = RecordingTests.small[1]
    spoilt.replaceSubrange(0..<2, with: [0x0f, 0x0f])
    let row = (0..<count).flatMap { _ in framed(spoilt) }
    let tail = (0..<after).flatMap { _ in framed(RecordingTests.small[2]) }
    let reader = try RecordingReader(bytes: framed(RecordingTests.small[0]) + row + tail)
    var damages = 0
    var records: [[UInt8]] = []
    while let item = try reader.next() {
      switch item {
      case .record(let record): records.append(record.bytes)
      case .damaged(_, let bytes, _):
        damages += 1
        #expect(bytes == framed(spoilt).count)
      }
    }
    #expect(damages == count)
    #expect(records == [RecordingTests.small[0]] + (after == 0 ? [] : [RecordingTests.small[2]]))
  }

  @Test func aFlippedByteInACompressedOneIsFoundAtTheLatestByTheChecksum() throws {
    let directory = try TemporaryDirectory()
    _ = try writeRecording(RecordingTests.small, in: directory, name: "whole.zst")
    let bytes = try directory.read("whole.zst")
    for place in bytes.indices {
      var flipped = bytes
      flipped[place] ^= 0x10
      let contents = try RecordingContents(path: try directory.write(flipped, to: "flipped"))
      // One bit of the frame's header is unused.
      #expect(!contents.damages.isEmpty || contents.records == RecordingTests.small, "byte \(place)")
    }
  }

  /// A few thousand bytes may hold gigabytes, of which the reader holds a few MiB at a time.
  @Test(arguments: ["zeros", "zeros.zst"])
  func invalidRecordingsAreReadInBoundedMemory(_ name: String) throws {
    let bytes = [UInt8](repeating: 0, count: 48 << 20)
    let content = try name.hasSuffix(".zst") ? ZstandardWriter(level: 3).compress(bytes, isLast: true) : bytes
    let reader = try RecordingReader(bytes: content + (name.hasSuffix(".zst") ? [] : [7]))
    guard case .damaged(let offset, let count, _) = try reader.next() else {
      Issue.record("zeros are not a record")
      return
    }
    #expect(offset == 0 && count >= bytes.count)
    #expect(try reader.next() == nil)
    #expect(reader.bytesHeldMax < 8 << 20)
  }

  @Test func aRecordingInMemoryIsReadAsAFileIs() throws {
    let bytes = RecordingTests.small.flatMap(framed)
    let reader = try RecordingReader(bytes: bytes)
    for expected in RecordingTests.small {
      guard case .record(let record) = try reader.next() else {
        Issue.record("a record is missing")
        return
      }
      #expect(record.bytes == expected)
    }
    #expect(try reader.next() == nil)
  }

  @Test func aDamagedLargeFrameIsReportedOnce() throws {
    let directory = try TemporaryDirectory()
    var random = RandomSource(seed: 1)
    // Text that hardly compresses, so that another chunk follows the damage.
    let records = (1...30).map { number in
      let filling = (0..<8000).flatMap { _ in
        random.next().characters
      }
      let service = String(decoding: filling, as: UTF8.self)
      return tracesData([TestSpan(trace: UInt64(number), id: 1)], service: service)
    }
    _ = try writeRecording(records, in: directory, name: "whole.zst")
    var bytes = try directory.read("whole.zst")
    #expect(bytes.count > 3 << 19)
    for place in bytes.count / 3..<bytes.count / 3 + 2000 { bytes[place] = 0 }
    let contents = try RecordingContents(path: try directory.write(bytes, to: "damaged.zst"))
    #expect(contents.records.starts(with: records.prefix(5)))
    #expect(contents.records.count < 30)
    #expect(contents.damages.count(where: { $0.reason.hasPrefix("zstd: ") }) == 1)
  }

  @Test(arguments: [UInt32.max, 0x8000_0000, 0x0400_0001, 0x0400_0000, 100_000, 0])
  func anInvalidLengthIsSkipped(_ length: UInt32) throws {
    let directory = try TemporaryDirectory()
    let claim = (0..<4).map { UInt8(truncatingIfNeeded: length >> (8 * UInt32($0))) }
    let before = framed(RecordingTests.small[0])
    let bytes = before + claim + RecordingTests.small[1...].flatMap(framed)
    let contents = try RecordingContents(path: try directory.write(bytes, to: "a"))
    #expect(contents.records == RecordingTests.small)
    #expect(contents.damages.map(\.offset) == [before.count])
    #expect(contents.damages.map(\.count) == [4])
  }

  @Test(arguments: 0..<5)
  func noiseHasNoRecordsAndAnEnd(_ seed: Int) throws {
    let directory = try TemporaryDirectory()
    var random = RandomSource(seed: UInt64(seed))
    let noise = (0..<100_000).map { _ in seed == 0 ? 0x0a : UInt8(truncatingIfNeeded: random.next()) }
    let contents = try RecordingContents(path: try directory.write(noise, to: "noise"))
    #expect(contents.records.isEmpty)
    #expect(contents.damages.first?.offset == 0)
    #expect(contents.damages.reduce(0) { $0 + $1.count } == noise.count)
  }

  @Test func recordsBetweenNoiseAreFound() throws {
    let directory = try TemporaryDirectory()
    var random = RandomSource(seed: 3)
    var bytes: [UInt8] = []
    for record in RecordingTests.small {
      // Never the tag of `resource_spans`, so that noise and record can't combine.
      bytes += (0..<500).map { _ in UInt8(truncatingIfNeeded: random.next()) | 0x80 } + framed(record)
    }
    let contents = try RecordingContents(path: try directory.write(bytes, to: "a"))
    #expect(contents.records == RecordingTests.small)
    #expect(contents.damages.map(\.count) == [500, 500, 500, 500])
  }
}

extension UInt64 {
  /// Its bytes as ASCII.
  fileprivate var characters: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: self >> (8 * $0)) & 0x7f } }
}
