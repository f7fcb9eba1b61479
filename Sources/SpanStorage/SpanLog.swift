// A log of pieces in segments: appended at one end, freed at the other.
//
// A segment is filled from both ends: bytes from the front, and from the back a 12-byte record for each
// piece: where its bytes begin, how many there are, and what it links to: the trace's previous piece or, for
// the trace's first piece in this log, the trace. So everything about a piece is in its segment, and goes
// with it.
//
// The log knows only the place of its oldest piece that may still be needed. The owner of the pieces reports
// each trace at that end as gone or moved, and the segments passed are freed. A trace that ends costs nothing
// here: none of its pieces is looked at.

import Invariants

/// The number of a piece: its segment's number (21 bits, wrapping around) and its place there.
public struct PieceID: Equatable, Sendable, BitwiseCopyable {
  private let value: UInt32

  static let piecesPerSegment = 2047
  private static let placeBits: UInt32 = 11
  fileprivate static let segmentMask = 1 << 21 - 1

  /// No piece. No segment has a piece 2047.
  public static let none = PieceID(value: .max)

  private init(value: UInt32) { self.value = value }

  fileprivate init(segment: Int, place: Int) {
    let low = UInt32(truncatingIfNeeded: segment & PieceID.segmentMask)
    value = low << PieceID.placeBits | UInt32(truncatingIfNeeded: place)
  }

  fileprivate init(word: UInt32) { value = word }
  fileprivate var word: UInt32 { value }
  fileprivate var segmentLow: Int { Int(value >> PieceID.placeBits) }
  fileprivate var place: Int { Int(value & (1 << PieceID.placeBits - 1)) }
}

/// Pieces in order of arrival.
struct SpanLog: ~Copyable {
  private struct Segment {
    /// The bytes and the records while raw; nil when compressed.
    var block: MemoryBlock?
    var dataEnd = 0
    var pieceCount = 0
    /// When compressed: the shelf, and where on it the records are, followed by the compressed bytes.
    var shelf = 0
    var shelfOffset = 0
    var compressedCount = 0

    /// Adds a piece, in place: a segment is too large to be copied for each. Returns the piece's place; nil
    /// if it does not fit.
    @inline(__always)
    mutating func append(_ bytes: RawSpan, isFirst: Bool, link: UInt32) -> Int? {
      let (count, place) = (bytes.byteCount, pieceCount)
      let records = SpanLog.recordBytes * (place + 1)
      guard let block, place < PieceID.piecesPerSegment, dataEnd + count + records <= block.byteCount else {
        return nil
      }
      block.write(bytes, at: dataEnd)
      let record = block.byteCount - records
      block.setWords(
        UInt32(truncatingIfNeeded: dataEnd),
        UInt32(truncatingIfNeeded: count) | (isFirst ? SpanLog.firstBit : 0), link, at: record)
      dataEnd += count
      pieceCount += 1
      return place
    }
  }

  /// Memory that several compressed segments share.
  private struct Shelf {
    var block: MemoryBlock
    var end = 0
    var segments = 0
  }

  private static let recordBytes = 12
  private static let firstBit: UInt32 = 1 << 31

  private let memory: SpanMemory
  /// Distinguishes the log from others that share the memory.
  private let logID: Int
  private var segments = NumberedQueue<Segment>()
  private var shelves = NumberedQueue<Shelf>()
  /// The place, in the first segment, of the first piece that may be needed.
  private var frontier = 0
  /// The first segment not yet tried for compression.
  private var firstRaw = 0

  /// Bytes that the segments would take if none were compressed.
  private(set) var rawBytes = 0
  /// Segments that are compressed.
  private(set) var compressedSegments = 0

  init(memory: SpanMemory) {
    self.memory = memory
    logID = memory.makeLogID()
  }

  deinit {
    for number in segments.startNumber..<segments.endNumber {
      if let block = segments[number].block { memory.deallocate(block) }
    }
    for number in shelves.startNumber..<shelves.endNumber { memory.deallocate(shelves[number].block) }
  }

  /// Segments begun since the log was made.
  var segmentsBegun: Int { segments.endNumber }

  /// Bytes of memory besides the segments.
  var byteCount: Int { segments.byteCount + shelves.byteCount }

  // MARK: Pieces

  /// Adds a piece that links to `previous`, or to the trace in slot `owner` if it is the trace's first here.
  mutating func append(_ bytes: RawSpan, after previous: PieceID, owner: Int) -> PieceID {
    let count = bytes.byteCount
    invariant(count > 0 && count < 1 << 31, "a piece of \(count) bytes")
    let isFirst = previous == .none
    let link = isFirst ? UInt32(truncatingIfNeeded: owner) : previous.word
    while true {
      if let place = segments.newest?.append(bytes, isFirst: isFirst, link: link) {
        return PieceID(segment: segments.endNumber - 1, place: place)
      }
      addSegment(for: count)
    }
  }

  /// Adds a segment in which a piece of this size fits.
  private mutating func addSegment(for count: Int) {
    invariant(segments.count < PieceID.segmentMask / 2, "\(segments.count) segments")
    // Records consist of words, so the block's end must be aligned.
    let block = memory.allocate(atLeast: (count + 3) / 4 * 4 + SpanLog.recordBytes)
    rawBytes += block.byteCount
    segments.append(Segment(block: block))
  }

  /// The record of a piece.
  struct Piece {
    var offset: Int
    var count: Int
    /// The previous piece of the same trace; none for the first.
    var previous: PieceID
  }

  @inline(__always)
  func piece(_ id: PieceID) -> Piece {
    let number = segmentNumber(of: id)
    return piece(id.place, of: segments[number])
  }

  @inline(__always)
  private func piece(_ place: Int, of segment: Segment) -> Piece {
    let (block, recordsEnd) = records(of: segment)
    let record = recordsEnd - SpanLog.recordBytes * (place + 1)
    let count = block.word(at: record + 4)
    let link = block.word(at: record + 8)
    let isFirst = count & SpanLog.firstBit != 0
    return Piece(
      offset: Int(block.word(at: record)), count: Int(count & ~SpanLog.firstBit),
      previous: isFirst ? .none : PieceID(word: link))
  }

  /// Lends the piece's bytes to `body`; a compressed segment is decompressed first, unless it was the last
  /// one read.
  func withBytes<Result, Failure: Error>(
    of id: PieceID, _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let number = segmentNumber(of: id)
    let segment = segments[number]
    let piece = piece(id.place, of: segment)
    let block = segment.block ?? decompressed(number, segment)
    return try block.withBytes(from: piece.offset, count: piece.count, body)
  }

  @inline(__always)
  private func segmentNumber(of id: PieceID) -> Int {
    let start = segments.startNumber
    return start + (id.segmentLow - start) & PieceID.segmentMask
  }

  // MARK: The old end

  /// The oldest trace that may still need its pieces here, and its first piece. Nil if the log has no such
  /// trace; segments that are not needed are freed on the way.
  mutating func oldest() -> (owner: Int, piece: PieceID)? {
    while !segments.isEmpty {
      let number = segments.startNumber
      if let owner = ownerAtFrontier(of: segments[number]) {
        return (owner, PieceID(segment: number, place: frontier))
      }
      // The last one is still being filled.
      guard segments.count > 1 else { return nil }
      removeFirstSegment()
    }
    return nil
  }

  /// Moves the frontier to the next piece that is its trace's first, and returns the trace's slot; nil if it
  /// reaches the segment's end.
  @inline(__always)
  private mutating func ownerAtFrontier(of segment: Segment) -> Int? {
    let (block, recordsEnd) = records(of: segment)
    while frontier < segment.pieceCount {
      let record = recordsEnd - SpanLog.recordBytes * (frontier + 1)
      if block.word(at: record + 4) & SpanLog.firstBit != 0 { return Int(block.word(at: record + 8)) }
      frontier += 1
    }
    return nil
  }

  /// Where the segment's records are, and their end there: the first piece's comes last.
  @inline(__always)
  private func records(of segment: Segment) -> (block: MemoryBlock, end: Int) {
    if let raw = segment.block { return (raw, raw.byteCount) }
    return (
      shelves[segment.shelf].block, segment.shelfOffset + SpanLog.recordBytes * segment.pieceCount
    )
  }

  /// Passes the trace that `oldest` returned: it needs nothing here any more.
  mutating func passOldest() {
    frontier += 1
  }

  /// Frees all segments: no piece is needed any more.
  mutating func removeAll() {
    while !segments.isEmpty { removeFirstSegment() }
  }

  private mutating func removeFirstSegment() {
    frontier = 0
    let segment = segments.removeFirst()
    firstRaw = max(firstRaw, segments.startNumber)
    guard let block = segment.block else {
      compressedSegments -= 1
      rawBytes -= memory.slabBytes
      shelves[segment.shelf].segments -= 1
      while let first = shelves.isEmpty ? nil : shelves[shelves.startNumber], first.segments == 0 {
        memory.deallocate(shelves.removeFirst().block)
      }
      return
    }
    rawBytes -= block.byteCount
    memory.deallocate(block)
  }

  // MARK: Compression

  /// Compresses the oldest sealed segment not yet tried for compression. Returns whether there was one.
  mutating func compressNext() -> Bool {
    while firstRaw < segments.endNumber - 1 {
      let number = firstRaw
      firstRaw += 1
      // A block of its own, for one large piece, is not worth a second copy of its size.
      guard let block = segments[number].block, block.slab != nil else { continue }
      compress(number, block)
      return true
    }
    return false
  }

  private mutating func compress(_ number: Int, _ block: MemoryBlock) {
    let (count, pieces) = (segments[number].dataEnd, segments[number].pieceCount)
    let scratch = memory.scratch(.compression)
    let compressed = memory.compressor.compress(block, count: count, into: scratch)
    let records = SpanLog.recordBytes * pieces
    // Saving less than an eighth is not worth the decompression.
    guard compressed + records <= block.byteCount / 8 * 7 else { return }
    let shelf = shelfWithRoom(for: records + (compressed + 3) / 4 * 4)
    let offset = shelves[shelf].end
    let target = shelves[shelf].block
    block.copy(from: block.byteCount - records, count: records, to: target, at: offset)
    scratch.copy(from: 0, count: compressed, to: target, at: offset + records)
    shelves[shelf].end = offset + records + (compressed + 3) / 4 * 4
    shelves[shelf].segments += 1
    segments[number].block = nil
    segments[number].shelf = shelf
    segments[number].shelfOffset = offset
    segments[number].compressedCount = compressed
    compressedSegments += 1
    memory.deallocate(block)
  }

  private mutating func shelfWithRoom(for count: Int) -> Int {
    if !shelves.isEmpty {
      let last = shelves.endNumber - 1
      if shelves[last].end + count <= shelves[last].block.byteCount { return last }
    }
    shelves.append(Shelf(block: memory.allocate(atLeast: count)))
    return shelves.endNumber - 1
  }

  private func decompressed(_ number: Int, _ segment: Segment) -> MemoryBlock {
    let scratch = memory.scratch(.reading)
    let source = SpanMemory.Source(log: logID, segment: number)
    guard memory.readSource != source else { return scratch }
    memory.compressor.decompress(
      shelves[segment.shelf].block, from: segment.shelfOffset + SpanLog.recordBytes * segment.pieceCount,
      count: segment.compressedCount, into: scratch, rawCount: segment.dataEnd)
    memory.readSource = source
    memory.decompressions += 1
    return scratch
  }
}
