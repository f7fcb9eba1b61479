// Recordings of the Collector's file exporter: recognised by their bytes, and ours never mistaken for them.

import Compression
import Files
import OTLP
import Testing

@testable import Pipeline

@Suite struct RecordingFormTests {
  /// Three small records.
  private static let small = (1...3).map { number in
    tracesData((1...number).map { TestSpan(trace: UInt64(number), id: UInt64($0)) })
  }

  private static func compressed(_ bytes: [UInt8]) throws -> [UInt8] {
    try ZstandardWriter(level: 3).compress(bytes, isLast: true)
  }

  /// A message after its length, as the exporter writes it.
  private static func bigEndian(_ message: [UInt8]) -> [UInt8] { framed(message)[..<4].reversed() + message }

  /// A trace of one span in JSON.
  private static func json(_ trace: Int) -> String {
    let id = String(trace, radix: 16)
    let traceID = String(repeating: "0", count: 32 - id.count) + id
    return
      #"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"\#(traceID)","spanId":"00000000000000a1","#
      + #""name":"get","startTimeUnixNano":"1700000000000000000","#
      + #""endTimeUnixNano":"1700000001000000000"}]}]}]}"#
  }

  private static var lines: [UInt8] { Array((1...3).map { json($0) + "\n" }.joined().utf8) }

  private struct Contents {
    var form: RecordingForm
    var records: [RecordingItem.Record] = []
    var damages: [(offset: Int, count: Int, reason: String)] = []

    init(_ bytes: [UInt8]) throws {
      let reader = try RecordingReader(bytes: bytes)
      form = reader.form
      while let item = try reader.next() {
        switch item {
        case .record(let record): records.append(record)
        case .damaged(let offset, let count, let reason): damages.append((offset, count, reason))
        }
      }
    }
  }

  @Test(arguments: [false, true])
  func messagesWithBigEndianLengths(_ isWhole: Bool) throws {
    let plain = RecordingFormTests.small.flatMap { RecordingFormTests.bigEndian($0) }
    let contents = try Contents(isWhole ? RecordingFormTests.compressed(plain) : plain)
    #expect(contents.form == .collectorRecords)
    #expect(contents.records.map(\.bytes) == RecordingFormTests.small)
    #expect(contents.damages.isEmpty)
    #expect(contents.records.reduce(0) { $0 + $1.byteCount } == plain.count)
  }

  @Test func messagesCompressedOneByOne() throws {
    let bytes = try RecordingFormTests.small.flatMap {
      RecordingFormTests.bigEndian(try RecordingFormTests.compressed($0))
    }
    let contents = try Contents(bytes)
    #expect(contents.form == .collectorRecords)
    #expect(contents.records.map(\.bytes) == RecordingFormTests.small)
    #expect(contents.damages.isEmpty)
  }

  /// As in a lane: the document's other spans are read.
  @Test func aBadSpanOfADocumentIsTheOnlyLoss() throws {
    let good = RecordingFormTests.json(1)
    let bad = #"{"traceId":"00000000000000000000000000000001","spanId":"a1"},"#
    let both = good.replacing(#""spans":["#, with: #""spans":["# + bad)
    let none = #"{"resourceSpans":[{"scopeSpans":[{"spans":["# + bad.dropLast() + "]}]}]}"
    let contents = try Contents(Array((good + "\n" + both + "\n" + none + "\n").utf8))
    #expect(contents.records.map(\.spanCount) == [1, 1])
    #expect(contents.records.map { $0.rejected.map(\.count) } == [[], [1]])
    #expect(contents.damages.count == 1)
  }

  /// A bad span in the previous record does not make a damaged length good.
  @Test func aDamagedLengthAfterABadSpanIsNotTrusted() throws {
    let bad = #"{"traceId":"00000000000000000000000000000001","spanId":"a1"},"#
    let first = RecordingFormTests.json(1).replacing(#""spans":["#, with: #""spans":["# + bad)
    let records = [first] + (2...4).map(RecordingFormTests.json)
    var bytes = records.flatMap { RecordingFormTests.bigEndian(Array($0.utf8)) }
    // The second record's length reaches into the third.
    bytes[4 + first.utf8.count + 3] &+= 40
    let contents = try Contents(bytes)
    #expect(contents.form == .collectorRecords)
    #expect(contents.records.map(\.traceID.low) == [1, 3, 4])
    #expect(contents.damages.count == 1)
  }

  @Test func linesOfJSON() throws {
    let lines = RecordingFormTests.lines
    let windows = Array(String(decoding: lines, as: UTF8.self).replacing("\n", with: "\r\n\r\n").utf8)
    for bytes in [lines, lines.dropLast(), [0x0a] + lines, [0xef, 0xbb, 0xbf] + lines, windows] as [[UInt8]] {
      for bytes in [bytes, try RecordingFormTests.compressed(bytes)] {
        let contents = try Contents(bytes)
        #expect(contents.form == .collectorLines)
        #expect(contents.records.map(\.traceID) == (1...3).map { TraceID(high: 0, low: $0) })
        #expect(
          contents.records.allSatisfy { $0.spanCount == 1 && $0.latestEnd == 1_700_000_001_000_000_000 })
        #expect(contents.damages.isEmpty)
      }
    }
  }

  @Test func compressedJSONWithLengths() throws {
    let messages = (1...3).map { Array(RecordingFormTests.json($0).utf8) }
    for bytes in [
      messages.flatMap { RecordingFormTests.bigEndian($0) },
      try messages.flatMap { RecordingFormTests.bigEndian(try RecordingFormTests.compressed($0)) },
    ] {
      let contents = try Contents(bytes)
      #expect(contents.form == .collectorRecords)
      #expect(contents.records.map(\.traceID) == (1...3).map { TraceID(high: 0, low: $0) })
    }
  }

  @Test func aDamagedLineIsTheOnlyLoss() throws {
    let lines = [
      RecordingFormTests.json(1), #"{"resourceSpans": 7}"#, "nonsense", RecordingFormTests.json(2),
      #"{"reso"#,
    ]
    let bytes = Array(lines.joined(separator: "\n").utf8)
    let contents = try Contents(bytes)
    #expect(contents.records.map(\.traceID) == [TraceID(high: 0, low: 1), TraceID(high: 0, low: 2)])
    #expect(contents.damages.count == 3)
    #expect(contents.damages.map(\.offset).first == RecordingFormTests.json(1).utf8.count + 1)
    #expect(contents.damages.last?.reason.contains("truncated") == true)
  }

  @Test func aDamagedFirstRecordHidesNothing() throws {
    for isOurs in [true, false] {
      var records = RecordingFormTests.small.map { isOurs ? framed($0) : RecordingFormTests.bigEndian($0) }
      for place in 4..<12 { records[0][place] = 0xff }
      let contents = try Contents(records.flatMap(\.self))
      #expect(contents.form == (isOurs ? .tailrace : .collectorRecords))
      #expect(contents.records.map(\.bytes) == Array(RecordingFormTests.small.dropFirst()))
      #expect(contents.damages.map(\.offset) == [0])
    }
  }

  /// Whatever byte is flipped, and wherever it is truncated.
  @Test func oursIsNeverMistakenForAnother() throws {
    let bytes = RecordingFormTests.small.flatMap(framed)
    for place in bytes.indices {
      for mask in [0x01, 0x80, 0xff] as [UInt8] {
        var flipped = bytes
        flipped[place] ^= mask
        #expect(try RecordingReader(bytes: flipped).form == .tailrace, "byte \(place)")
      }
      #expect(try RecordingReader(bytes: Array(bytes.prefix(place))).form == .tailrace)
    }
    // Lengths that read the same in both byte orders, or smaller in the wrong one.
    for count in [0x0001_0000, 0x0001_0100, 0x0002_0100] {
      let name = String(repeating: "n", count: count - RecordingFormTests.length(ofName: 0x10000) + 0x10000)
      var record = tracesData([TestSpan(trace: 1, id: 1)], service: name)
      #expect(record.count >= count)
      record = tracesData(
        [TestSpan(trace: 1, id: 1)], service: String(name.dropLast(record.count - count)))
      #expect(record.count == count)
      #expect(try RecordingReader(bytes: framed(record)).form == .tailrace)
    }
  }

  private static func length(ofName count: Int) -> Int {
    tracesData([TestSpan(trace: 1, id: 1)], service: String(repeating: "n", count: count)).count
  }

  /// A message of a few KB that expands to gigabytes is one damage, in bounded memory.
  @Test func aMessageThatIsTooLargeIsOneDamage() throws {
    let bomb = try RecordingFormTests.compressed([UInt8](repeating: 0x0a, count: 65 << 20))
    let good = RecordingFormTests.small.map { RecordingFormTests.bigEndian($0) }
    let contents = try Contents(good[0] + RecordingFormTests.bigEndian(bomb) + good[1])
    #expect(contents.records.map(\.bytes) == Array(RecordingFormTests.small.prefix(2)))
    #expect(contents.damages.count == 1 && contents.damages[0].reason.contains("in one record"))
  }

  @Test func aLineThatIsTooLongIsOneDamage() throws {
    let long = Array(#"{"x":""#.utf8) + [UInt8](repeating: 0x61, count: 80 << 20) + [0x0a]
    let reader = try RecordingReader(bytes: long + RecordingFormTests.lines)
    guard case .damaged(0, let count, let reason) = try reader.next() else {
      Issue.record("the line is not reported as damage")
      return
    }
    #expect(count == long.count - 1 && reason.contains("a line of more than"))
    for _ in 0..<3 { #expect(try reader.next() != nil) }
    #expect(try reader.next() == nil)
    #expect(reader.bytesHeldMax < 72 << 20)
  }

  @Test func gzipIsNamed() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3] + Array("abcdefgh".utf8), to: "a.gz")
    let failure = #expect(throws: FileFailure.self) { try RecordingReader(path: path) }
    #expect(failure?.description.contains("gzip") == true)
  }
}
