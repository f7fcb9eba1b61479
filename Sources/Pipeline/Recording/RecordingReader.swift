// Reads recordings: `u32 little-endian length` and that many bytes of OTLP, again and again, as a whole
// perhaps zstd.
//
// A recording may be cut or damaged. A bad record is stepped over by its length; where the length itself is
// damaged, the reader looks for the next place from which a whole record can be read.

internal import Foundation
public import OTLP

/// What a recording holds at one place.
public enum RecordingItem: Sendable {
  /// A record that can be read.
  case record(Record)
  /// Bytes that are no record: where they begin in the (decompressed) recording, how many they are, what is
  /// wrong.
  case damaged(offset: Int, count: Int, reason: String)

  /// A record and the little that has been learnt by looking at it.
  public struct Record: Sendable {
    /// Where it begins in the (decompressed) recording.
    public var offset: Int
    /// The record's OTLP bytes.
    public var bytes: [UInt8]
    /// The largest span end in it, in nanoseconds since 1970.
    public var latestEnd: UInt64
    /// How many spans it has.
    public var spanCount: Int
    /// The trace id of its first span.
    public var traceID: TraceID
  }
}

/// Reads a recording from a file, in bounded memory.
public final class RecordingReader {
  private let file: FileHandle
  private var decompressor: ZstandardReader?
  private var isFileAtEnd = false
  /// Decompressed bytes; those before `position` are used up.
  private var window: [UInt8] = []
  private var position = 0
  /// The place of the window's first byte in the decompressed recording.
  private var windowOffset = 0
  /// Where and why decompression stopped, reported once all that came before has been read.
  private var damage: String?
  private var record = ScannedRecord()

  private static let chunkBytes = 1 << 20
  private static let recordBytesMax = 64 << 20

  /// Opens the recording at `path`. Whether it is compressed is told by its first bytes, not by its name.
  ///
  /// - Throws: if the file can't be opened or read.
  public init(path: String) throws {
    file = try FileHandle(forReadingFrom: URL(filePath: path))
    let start = try file.read(upToCount: RecordingReader.chunkBytes) ?? Data()
    if start.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) {
      decompressor = try ZstandardReader()
    }
    try take([UInt8](start))
  }

  deinit {
    try? file.close()
  }

  /// The next record or damage, or nil at the end.
  public func next() throws -> RecordingItem? {
    trim()
    let start = position
    guard try fill(to: start + 4) else {
      guard position < window.count else { return takeDamage() }
      return damaged(from: start, to: window.count, "a length that is cut off")
    }
    let length = window.littleEndian32(at: start)
    guard length <= RecordingReader.recordBytesMax else {
      return try resynchronise(from: start, "a length of \(length) bytes")
    }
    guard try fill(to: start + 4 + length) else {
      return try resynchronise(from: start, "a record of \(length) bytes that is cut off")
    }
    let range = start + 4..<start + 4 + length
    do {
      let item = try scan(range)
      position = range.upperBound
      return .record(item)
    } catch {
      if try isPlausible(at: range.upperBound) {
        return damaged(from: start, to: range.upperBound, "\(error)")
      }
      return try resynchronise(from: start, "\(error)")
    }
  }

  /// What ended the recording early, after everything before it has been given out.
  private func takeDamage() -> RecordingItem? {
    guard let reason = damage else { return nil }
    damage = nil
    return .damaged(offset: windowOffset + position, count: 0, reason: reason)
  }

  private func damaged(from start: Int, to end: Int, _ reason: String) -> RecordingItem {
    position = end
    return .damaged(offset: windowOffset + start, count: end - start, reason: reason)
  }

  private func scan(_ range: Range<Int>) throws(MalformedInput) -> RecordingItem.Record {
    var scanned = ScannedRecord()
    swap(&scanned, &record)
    defer { swap(&scanned, &record) }
    try window.withRawBytes { (raw) throws(MalformedInput) in try scanned.scan(raw.extracting(range)) }
    var latestEnd: UInt64 = 0
    for span in scanned.spans { latestEnd = max(latestEnd, span.end) }
    return RecordingItem.Record(
      offset: windowOffset + range.lowerBound - 4, bytes: Array(window[range]), latestEnd: latestEnd,
      spanCount: scanned.spans.count,
      traceID: scanned.spans[0].traceID)
  }

  /// Whether a record can be read from `place` on. That the recording ends there says nothing: a damaged
  /// length may point there too.
  private func isPlausible(at place: Int) throws -> Bool {
    guard try fill(to: place + 4) else { return false }
    let length = window.littleEndian32(at: place)
    guard length > 0, length <= RecordingReader.recordBytesMax, try fill(to: place + 4 + length) else {
      return false
    }
    return (try? scan(place + 4..<place + 4 + length)) != nil
  }

  /// Steps over bytes until a whole record can be read.
  private func resynchronise(from start: Int, _ reason: String) throws -> RecordingItem {
    var place = start + 1
    while try fill(to: place + 5) {
      // A record begins with the tag of `resource_spans`; unknown top-level fields are not worth a search.
      if window[place + 4] == 0x0a, try isPlausible(at: place) { break }
      place += 1
    }
    let isFound = place + 5 <= window.count
    return damaged(from: start, to: isFound ? place : window.count, reason)
  }

  /// Lets go of bytes that are used up, once there are enough of them.
  private func trim() {
    guard position > 4 * RecordingReader.chunkBytes else { return }
    window.removeFirst(position)
    windowOffset += position
    position = 0
  }

  /// Makes sure that the window reaches `end`; moves nothing, so that indices stay good.
  private func fill(to end: Int) throws -> Bool {
    while window.count < end {
      guard !isFileAtEnd, damage == nil else { return false }
      try take([UInt8](try file.read(upToCount: RecordingReader.chunkBytes) ?? Data()))
    }
    return true
  }

  private func take(_ chunk: [UInt8]) throws {
    guard !chunk.isEmpty else {
      isFileAtEnd = true
      if let isWhole = decompressor?.isAtFrameEnd, !isWhole { damage = "the zstd frame is cut off" }
      return
    }
    guard decompressor != nil else {
      window.append(contentsOf: chunk)
      return
    }
    do {
      try decompressor?.decompress(chunk, to: &window)
    } catch {
      damage = "zstd: \(error)"
      // What follows can't be decompressed either.
      isFileAtEnd = true
    }
  }
}

extension [UInt8] {
  /// Four bytes from `offset` on as a little-endian number.
  fileprivate func littleEndian32(at offset: Int) -> Int {
    Int(self[offset]) | Int(self[offset + 1]) << 8 | Int(self[offset + 2]) << 16 | Int(self[offset + 3]) << 24
  }
}
