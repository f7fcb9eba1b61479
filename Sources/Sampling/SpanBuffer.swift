// Spans of undecided traces, as the bytes they arrived in.
//
// Bytes are appended to segments in the order of arrival, whatever trace they are of; a trace refers to its
// pieces. A segment is reused when no piece in it is needed any more. So a span costs its own bytes and a
// share of a 16-byte reference, nothing is allocated per span, and freeing a trace moves nothing.

import OTLP

/// The number of a piece in a `SpanBuffer`; pieces of one trace form a list.
struct PieceID: Equatable {
  let slot: Int32

  static let none = PieceID(slot: -1)
}

/// Append-only segments, shared by all traces of a partition.
struct SpanBuffer {
  private struct Piece {
    var segment: UInt32
    var offset: UInt32
    var count: UInt32
    /// The next piece of the same trace, or the next free slot.
    var next: Int32
  }

  private struct Segment {
    var bytes: [UInt8]
    /// How many pieces in it are still needed.
    var pieces: Int
  }

  private var segments: [Segment] = []
  /// Segments without a needed piece, storage kept.
  private var freeSegments: [UInt32] = []
  /// Segments whose storage was given back.
  private var vacantSegments: [UInt32] = []
  /// The segment that pieces are appended to; all others are sealed.
  private var current: UInt32?
  private var pieces: [Piece] = []
  private var firstFreePiece: Int32 = -1
  private let segmentBytes: Int

  /// Bytes of pieces that are needed.
  private(set) var neededBytes = 0
  /// Bytes of memory that segments take, the free ones included.
  private(set) var residentBytes = 0

  /// - Parameter segmentBytes: the size of a segment. A larger piece gets a segment of its own size.
  init(segmentBytes: Int) {
    self.segmentBytes = segmentBytes
  }

  /// Adds a piece behind `last`, the last piece of its trace so far, or as its first.
  mutating func append(_ bytes: RawSpan, after last: PieceID) -> PieceID {
    let segment = segmentWithRoom(for: bytes.byteCount)
    let offset = segments[segment].bytes.count
    segments[segment].bytes.append(bytes)
    segments[segment].pieces += 1
    neededBytes += bytes.byteCount
    let piece = Piece(
      segment: UInt32(truncatingIfNeeded: segment), offset: UInt32(truncatingIfNeeded: offset),
      count: UInt32(truncatingIfNeeded: bytes.byteCount), next: -1)
    let slot: Int
    if firstFreePiece >= 0 {
      slot = Int(firstFreePiece)
      firstFreePiece = pieces[slot].next
      pieces[slot] = piece
    } else {
      slot = pieces.count
      pieces.append(piece)
    }
    if last != .none { pieces[Int(last.slot)].next = Int32(truncatingIfNeeded: slot) }
    return PieceID(slot: Int32(truncatingIfNeeded: slot))
  }

  /// The piece that follows, or `none`.
  func next(after piece: PieceID) -> PieceID {
    PieceID(slot: pieces[Int(piece.slot)].next)
  }

  /// How many bytes the piece has.
  func count(of piece: PieceID) -> Int {
    Int(pieces[Int(piece.slot)].count)
  }

  /// Lends the piece's bytes to `body`.
  func withBytes<Result, Failure: Error>(
    of piece: PieceID, _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let place = pieces[Int(piece.slot)]
    let start = Int(place.offset)
    let count = Int(place.count)
    return try segments[Int(place.segment)].bytes.withRawBytes { (bytes) throws(Failure) -> Result in
      try body(bytes.extracting(start..<start + count))
    }
  }

  /// Lets go of `first` and all pieces behind it.
  mutating func release(from first: PieceID) {
    var slot = first.slot
    while slot >= 0 {
      let piece = pieces[Int(slot)]
      pieces[Int(slot)].next = firstFreePiece
      firstFreePiece = slot
      neededBytes -= Int(piece.count)
      let segment = Int(piece.segment)
      segments[segment].pieces -= 1
      invariant(segments[segment].pieces >= 0, "segment \(segment) lost a piece twice")
      if segments[segment].pieces == 0 { recycle(piece.segment) }
      slot = piece.next
    }
  }

  private mutating func segmentWithRoom(for count: Int) -> Int {
    if let current, segments[Int(current)].bytes.count + count <= segments[Int(current)].bytes.capacity {
      return Int(current)
    }
    if let sealed = current {
      current = nil
      if segments[Int(sealed)].pieces == 0 { recycle(sealed) }
    }
    if count <= segmentBytes, let reused = freeSegments.popLast() {
      current = reused
      return Int(reused)
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(max(segmentBytes, count))
    residentBytes += bytes.capacity
    let index: Int
    if let vacant = vacantSegments.popLast() {
      index = Int(vacant)
      segments[index].bytes = bytes
    } else {
      index = segments.count
      segments.append(Segment(bytes: bytes, pieces: 0))
    }
    current = UInt32(truncatingIfNeeded: index)
    return index
  }

  /// Empties a segment. Its storage is kept for reuse, but for outsized ones and those beyond half of all.
  private mutating func recycle(_ segment: UInt32) {
    let index = Int(segment)
    let isUsual = segments[index].bytes.capacity < 2 * segmentBytes
    if isUsual, segment == current {
      segments[index].bytes.removeAll(keepingCapacity: true)
    } else if isUsual, freeSegments.count <= segments.count / 2 {
      segments[index].bytes.removeAll(keepingCapacity: true)
      freeSegments.append(segment)
    } else {
      if segment == current { current = nil }
      residentBytes -= segments[index].bytes.capacity
      segments[index].bytes = []
      vacantSegments.append(segment)
    }
  }
}

extension [UInt8] {
  /// Appends borrowed bytes.
  mutating func append(_ bytes: RawSpan) {
    // Sound: the pointer is used inside the closure only, for the span's own length.
    unsafe bytes.withUnsafeBytes { unsafe append(contentsOf: $0) }
  }
}
