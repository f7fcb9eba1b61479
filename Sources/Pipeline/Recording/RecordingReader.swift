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

/// Reads a recording, in bounded memory: a record of the largest size, and a few MiB.
public final class RecordingReader {
  /// Reads on: as many bytes at the most, none at the end.
  private let readChunk: (Int) throws -> [UInt8]
  private var decompressor: ZstandardReader?
  /// What is not decompressed yet, from `compressedPlace` on.
  private var compressed: [UInt8] = []
  private var compressedPlace = 0
  private var isAtEnd = false
  /// Decompressed bytes; those before `position` are used up.
  private var window: [UInt8] = []
  private var position = 0
  /// The place of the window's first byte in the decompressed recording.
  private var windowOffset = 0
  /// Where and why decompression stopped, reported once all that came before has been read.
  private var damage: String?
  private var record = ScannedRecord()
  /// Up to here, in the decompressed recording, lengths are known to lead from record to record.
  private var framedUntil = 0
  /// The most bytes that it has held at a time.
  private(set) var bytesHeldMax = 0

  private static let chunkBytes = 1 << 20
  private static let recordBytesMax = 64 << 20
  /// Behind a damaged record so many lengths are followed at the most, over no more than a record's bytes.
  private static let lengthsFollowedMax = 64

  /// Opens the recording at `path`. Whether it is compressed is told by its first bytes, not by its name.
  ///
  /// - Throws: if the file can't be opened or read.
  public convenience init(path: String) throws {
    // It closes itself when the reader goes.
    let file = try FileHandle(forReadingFrom: URL(filePath: path))
    try self.init { [UInt8](try file.read(upToCount: $0) ?? Data()) }
  }

  /// Reads a recording that is in memory.
  public convenience init(bytes: [UInt8]) throws {
    var rest = bytes[...]
    try self.init { count in
      defer { rest = rest.dropFirst(count) }
      return Array(rest.prefix(count))
    }
  }

  private init(readChunk: @escaping (Int) throws -> [UInt8]) throws {
    self.readChunk = readChunk
    let start = try readChunk(RecordingReader.chunkBytes)
    if start.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) {
      decompressor = try ZstandardReader()
      compressed = start
    } else {
      window = start
      isAtEnd = start.isEmpty
    }
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
      // If nothing but its spans is wrong, the record reaches as far as its length says.
      if try !record.rejected.isEmpty || isEndOfRecord(range.upperBound) {
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

  /// Whether a record ends at `place`, going by what follows it. Its neighbours may be damaged too, so their
  /// lengths are followed until there is a record that can be read.
  private func isEndOfRecord(_ place: Int) throws -> Bool {
    if windowOffset + place <= framedUntil { return true }
    var next = place
    for _ in 0..<RecordingReader.lengthsFollowedMax {
      // One length that points to the end may be a damaged one; two that agree on it are not.
      guard try fill(to: next + 4) else { return next > place && next == window.count && damage == nil }
      let end = next + 4 + window.littleEndian32(at: next)
      let isNear = next == place || end - place <= RecordingReader.recordBytesMax
      guard end > next + 4, end - next - 4 <= RecordingReader.recordBytesMax, isNear, try fill(to: end) else {
        return false
      }
      framedUntil = windowOffset + next
      if (try? scan(next + 4..<end)) != nil { return true }
      next = end
    }
    // So many lengths do not follow each other by chance.
    return true
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
    let offset = windowOffset + start
    position = start + 1
    while try fill(to: position + 5) {
      // A record begins with the tag of `resource_spans`; unknown top-level fields are not worth a search.
      if let tag = window[(position + 4)...].firstIndex(of: 0x0a) {
        position = tag - 4
        if try isPlausible(at: position) { break }
        position += 1
      } else {
        position = window.count - 4
      }
      trim()
    }
    if position + 5 > window.count { position = window.count }
    return .damaged(offset: offset, count: windowOffset + position - offset, reason: reason)
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
      guard !isAtEnd, damage == nil else { return false }
      if decompressor == nil {
        let chunk = try readChunk(RecordingReader.chunkBytes)
        window.append(contentsOf: chunk)
        isAtEnd = chunk.isEmpty
      } else {
        try decompress()
      }
      bytesHeldMax = max(bytesHeldMax, window.count + compressed.count)
    }
    return true
  }

  /// Decompresses a little more. Where that fails, what follows can't be decompressed either.
  private func decompress() throws {
    guard let decompressor else { return }
    if compressedPlace == compressed.count, !decompressor.hasMore {
      compressed = try readChunk(RecordingReader.chunkBytes)
      compressedPlace = 0
      guard !compressed.isEmpty else {
        isAtEnd = true
        if !decompressor.isAtFrameEnd { damage = "the zstd frame is cut off" }
        return
      }
    }
    do {
      try decompressor.decompress(
        compressed, from: &compressedPlace, to: &window, bytesMax: RecordingReader.chunkBytes)
    } catch {
      damage = "zstd: \(error)"
      isAtEnd = true
    }
  }
}

extension [UInt8] {
  /// Four bytes from `offset` on as a little-endian number.
  fileprivate func littleEndian32(at offset: Int) -> Int {
    Int(self[offset]) | Int(self[offset + 1]) << 8 | Int(self[offset + 2]) << 16 | Int(self[offset + 3]) << 24
  }
}
