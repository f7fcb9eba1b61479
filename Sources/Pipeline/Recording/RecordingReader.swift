// Reads recordings: per record `u32 little-endian length` and that many bytes of OTLP, optionally zstd as a
// whole; and the output of the Collector's file exporter (RecordingForm.swift).
//
// A recording may be truncated or damaged. A bad record is skipped by its length; if the length itself is
// damaged, the reader looks for the next place where a whole record can be read.

internal import Compression
import Files
public import OTLP

/// One item of a recording.
public enum RecordingItem: Sendable {
  /// A readable record.
  case record(Record)
  /// Bytes that are not a record: where they begin in the (decompressed) recording, their number, and the
  /// reason.
  case damaged(offset: Int, count: Int, reason: String)

  /// A record and its key figures.
  public struct Record: Sendable {
    /// Where it begins in the (decompressed) recording.
    public var offset: Int
    /// Its size there in bytes, length included.
    public var byteCount: Int
    /// The record's OTLP bytes, in protobuf.
    public var bytes: [UInt8]
    /// The largest span end in it, in nanoseconds since 1970.
    public var latestEnd: UInt64
    /// Its number of spans.
    public var spanCount: Int
    /// The trace id of its first span.
    public var traceID: TraceID
    /// Unusable spans of a JSON document: they are not in `bytes`.
    public var rejected: [RejectedSpans] = []
  }
}

/// Reads a recording in bounded memory: one record of maximum size and a few MiB.
public final class RecordingReader {
  /// The kind of recording.
  public private(set) var form = RecordingForm.tailrace
  /// Reads up to so many bytes; none at the end.
  private let readChunk: (Int) throws(FileFailure) -> [UInt8]
  /// The file's size, if known, and how much of it has been read.
  private let fileBytes: Int?
  private var fileBytesRead = 0
  private var decompressor: ZstandardReader?
  /// Bytes not yet decompressed, from `compressedPlace` on.
  private var compressed: [UInt8] = []
  private var compressedPlace = 0
  private var isAtEnd = false
  /// Decompressed bytes; those before `position` are consumed.
  private var window: [UInt8] = []
  private var position = 0
  /// The place of the window's first byte in the decompressed recording.
  private var windowOffset = 0
  /// Where and why decompression stopped, reported once everything before has been read.
  private var damage: String?
  /// Whether it is gzip, which is not supported.
  private var isGzip = false
  private var record = ScannedRecord()
  private var content = RecordContent()
  /// Up to this place in the decompressed recording, lengths are known to lead from record to record.
  private var framedUntil = 0
  /// Peak number of bytes held.
  private(set) var bytesHeldMax = 0

  private static let chunkBytes = 1 << 20
  static let recordBytesMax = 64 << 20
  /// After a damaged record, at most so many lengths are followed, over at most a record's maximum size.
  private static let lengthsFollowedMax = 64

  /// Opens the recording at `path`; `-` is standard input. Its kind and whether it is compressed are detected
  /// from its first bytes, not its name.
  ///
  /// - Throws: `FileFailure` if the file can't be opened or read, or is known to be something else.
  public convenience init(path: String) throws {
    let file = try InputFile(path: path)
    try self.init(fileBytes: file.byteCount) { count throws(FileFailure) in try file.read(upTo: count) }
    if isGzip { throw FileFailure(file.name, "this is gzip: decompress it first, with gunzip") }
  }

  /// Reads a recording in memory.
  public convenience init(bytes: [UInt8]) throws {
    var rest = bytes[...]
    try self.init(fileBytes: bytes.count) { count in
      defer { rest = rest.dropFirst(count) }
      return Array(rest.prefix(count))
    }
  }

  private init(fileBytes: Int?, readChunk: @escaping (Int) throws(FileFailure) -> [UInt8]) throws {
    self.readChunk = readChunk
    self.fileBytes = fileBytes
    // A pipe may give less than requested.
    var start = try readOn()
    while !start.isEmpty, start.count < 4 {
      let more = try readOn()
      if more.isEmpty { break }
      start += more
    }
    if ZstandardReader.isFrame(start[...]) {
      decompressor = try ZstandardReader()
      compressed = start
    } else {
      window = start
      isAtEnd = start.isEmpty
    }
    try recognise()
  }

  /// How much of the file has been read, from 0 to 1; nil if its size is unknown.
  public var share: Double? {
    fileBytes.map { $0 == 0 ? 1 : min(1, Double(fileBytesRead) / Double($0)) }
  }

  private func readOn() throws(FileFailure) -> [UInt8] {
    let bytes = try readChunk(RecordingReader.chunkBytes)
    fileBytesRead += bytes.count
    return bytes
  }

  /// The next record or damage, or nil at the end.
  public func next() throws -> RecordingItem? {
    trim()
    if form == .collectorLines { return try nextLine() }
    let start = position
    guard try fill(to: start + 4) else {
      guard position < window.count else { return takeDamage() }
      return damaged(from: start, to: window.count, "a truncated length")
    }
    let length = length(at: start)
    guard length <= RecordingReader.recordBytesMax else {
      return try resynchronise(from: start, "a length of \(length) bytes")
    }
    guard try fill(to: start + 4 + length) else {
      return try resynchronise(from: start, "a truncated record of \(length) bytes")
    }
    let range = start + 4..<start + 4 + length
    do {
      let item = try scan(range)
      position = range.upperBound
      return .record(item)
    } catch {
      // If only its spans are bad, the record is as long as its length says.
      if try !record.rejected.isEmpty || isEndOfRecord(range.upperBound) {
        return damaged(from: start, to: range.upperBound, "\(error)")
      }
      return try resynchronise(from: start, "\(error)")
    }
  }

  /// The damage that ended the recording early, once everything before it has been delivered.
  private func takeDamage() -> RecordingItem? {
    guard let reason = damage else { return nil }
    damage = nil
    return .damaged(offset: windowOffset + position, count: 0, reason: reason)
  }

  private func damaged(from start: Int, to end: Int, _ reason: String) -> RecordingItem {
    position = end
    return .damaged(offset: windowOffset + start, count: end - start, reason: reason)
  }

  /// Reads `range` of the window as a record's content.
  private func scan(_ range: Range<Int>) throws -> RecordingItem.Record {
    var scanned = ScannedRecord()
    swap(&scanned, &record)
    defer { swap(&scanned, &record) }
    var other: [UInt8]?
    if form != .tailrace {
      do {
        other = try content.protobuf(of: window[range])
      } catch {
        // Errors of the previous record don't apply to this one.
        scanned = ScannedRecord()
        throw error
      }
    }
    if let other {
      try other.withRawBytes { (raw) throws(MalformedInput) in try scanned.scan(raw) }
    } else {
      try window.withRawBytes { (raw) throws(MalformedInput) in try scanned.scan(raw.extracting(range)) }
    }
    var latestEnd: UInt64 = 0
    for span in scanned.spans { latestEnd = max(latestEnd, span.end) }
    let start = range.lowerBound - (form == .collectorLines ? 0 : 4)
    return RecordingItem.Record(
      offset: windowOffset + start, byteCount: range.upperBound - start, bytes: other ?? Array(window[range]),
      latestEnd: latestEnd, spanCount: scanned.spans.count, traceID: scanned.spans[0].traceID,
      rejected: other == nil ? [] : content.rejected.groups)
  }

  /// The length at `place`.
  private func length(at place: Int) -> Int {
    let bytes = window[place..<place + 4]
    return form == .tailrace
      ? bytes.reversed().reduce(0) { $0 << 8 | Int($1) } : bytes.reduce(0) { $0 << 8 | Int($1) }
  }

  /// Whether a record ends at `place`, judging by what follows. Its neighbours may be damaged too, so their
  /// lengths are followed until a readable record.
  private func isEndOfRecord(_ place: Int) throws -> Bool {
    if windowOffset + place <= framedUntil { return true }
    var next = place
    for _ in 0..<RecordingReader.lengthsFollowedMax {
      // A single length that points to the end may be damaged; two that agree are not.
      guard try fill(to: next + 4) else { return next > place && next == window.count && damage == nil }
      let end = next + 4 + length(at: next)
      let isNear = next == place || end - place <= RecordingReader.recordBytesMax
      guard end > next + 4, end - next - 4 <= RecordingReader.recordBytesMax, isNear, try fill(to: end) else {
        return false
      }
      framedUntil = windowOffset + next
      if (try? scan(next + 4..<end)) != nil { return true }
      next = end
    }
    // That many lengths do not follow each other by chance.
    return true
  }

  /// Whether a record can be read from `place` on. The recording's end proves nothing: a damaged length may
  /// point there too.
  private func isPlausible(at place: Int) throws -> Bool {
    guard try fill(to: place + 4) else { return false }
    let length = length(at: place)
    guard length > 0, length <= RecordingReader.recordBytesMax, try fill(to: place + 4 + length) else {
      return false
    }
    return (try? scan(place + 4..<place + 4 + length)) != nil
  }

  /// Skips bytes until a whole record can be read.
  private func resynchronise(from start: Int, _ reason: String) throws -> RecordingItem {
    let offset = windowOffset + start
    position = start + 1
    while try fill(to: position + 5) {
      // A record begins with the tag of `resource_spans`; unknown top-level fields are not worth a search.
      if let tag = form.firstBegin(in: window[(position + 4)...]) {
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

  // MARK: Lines

  /// The next line that is not blank.
  private func nextLine() throws -> RecordingItem? {
    while try fill(to: position + 1), window[position].isWhiteSpace {
      position += 1
      trim()
    }
    let start = position
    guard start < window.count else { return takeDamage() }
    guard let end = try endOfLine(from: start) else {
      let offset = windowOffset + start
      try stepOverLine()
      return .damaged(
        offset: offset, count: windowOffset + position - offset,
        reason: "a line of more than \(RecordingReader.recordBytesMax) bytes")
    }
    do {
      let item = try scan(start..<end)
      position = end
      return .record(item)
    } catch {
      let isCut = end == window.count && isAtEnd
      return damaged(from: start, to: end, "\(error)\(isCut ? " in a truncated line" : "")")
    }
  }

  /// The end of the line that begins at `start`; nil if it is longer than a record's maximum size.
  private func endOfLine(from start: Int) throws -> Int? {
    var searched = start
    while true {
      if let end = window[searched...].firstIndex(of: 0x0a) {
        return end - start <= RecordingReader.recordBytesMax ? end : nil
      }
      searched = window.count
      if searched - start > RecordingReader.recordBytesMax { return nil }
      guard try fill(to: searched + 1) else { return searched }
    }
  }

  private func stepOverLine() throws {
    while try fill(to: position + 1) {
      if let end = window[position...].firstIndex(of: 0x0a) {
        position = end
        return
      }
      position = window.count
      trim()
    }
  }

  // MARK: Recognition

  /// Detects the kind of recording. If two match, it is one of ours.
  private func recognise() throws {
    guard try fill(to: 1) else { return }
    // Text of OTLP in JSON, read as a length, is larger than any record.
    _ = try fill(to: 64)
    let first = window.prefix(64).drop { $0.isWhiteSpace || [0xef, 0xbb, 0xbf].contains($0) }
    if first.first == 0x7b, window.prefix(4).allSatisfy({ $0 > 8 }) {
      form = .collectorLines
      // A byte order mark is not JSON.
      position = first.startIndex
      return
    }
    for candidate in [RecordingForm.tailrace, .collectorRecords] {
      form = candidate
      if try isPlausible(at: 0) { return }
      // The first record may be damaged.
      let second = window.count >= 4 ? 4 + length(at: 0) : 0
      if second > 4, second <= RecordingReader.recordBytesMax, try isPlausible(at: second) { return }
    }
    form = .tailrace
    isGzip = decompressor == nil && window.starts(with: [0x1f, 0x8b, 8])
  }

  /// Releases consumed bytes, once there are enough of them.
  private func trim() {
    guard position > 4 * RecordingReader.chunkBytes else { return }
    window.removeFirst(position)
    windowOffset += position
    position = 0
  }

  /// Extends the window to `end`; moves nothing, so indices stay valid.
  private func fill(to end: Int) throws -> Bool {
    while window.count < end {
      guard !isAtEnd, damage == nil else { return false }
      if decompressor == nil {
        let chunk = try readOn()
        window.append(contentsOf: chunk)
        isAtEnd = chunk.isEmpty
      } else {
        try decompress()
      }
      bytesHeldMax = max(bytesHeldMax, window.count + compressed.count)
    }
    return true
  }

  /// Decompresses a little more. After a failure, the rest can't be decompressed either.
  private func decompress() throws {
    guard let decompressor else { return }
    if compressedPlace == compressed.count, !decompressor.hasMore {
      compressed = try readOn()
      compressedPlace = 0
      guard !compressed.isEmpty else {
        isAtEnd = true
        if !decompressor.isAtFrameEnd { damage = "the zstd frame is truncated" }
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

extension UInt8 {
  var isWhiteSpace: Bool { [0x20, 0x09, 0x0a, 0x0d].contains(self) }
}
