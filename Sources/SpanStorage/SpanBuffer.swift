// Spans of undecided traces, as the bytes they arrived in.
//
// Two logs, each freed from its old end as the traces there are decided (see `SpanLog`): a trace that ends
// costs nothing, and most end in about the order in which they began. The few long-lived ones would hold the
// old end, and with it everything after them. So when a log wastes too much, its oldest trace is moved: its
// pieces are gathered at the end of the second log, one after the other. Above a limit the second log is
// compressed, and traces are moved there for that: a compressed segment holds the pieces of a few whole
// traces, so that a kept trace is read back from one segment and not from as many as it has pieces.
//
// This is the cleaner of a log-structured file system (Rosenblum and Ousterhout, 1992), with two generations.

import Invariants
internal import OTLP

/// Where a trace's spans are. A plain value, kept with the trace.
public struct BufferedSpans: Sendable, BitwiseCopyable {
  /// In the log of arrivals.
  fileprivate var firstArrival = PieceID.none
  fileprivate var lastArrival = PieceID.none
  /// In the log of survivors; all of these are older than the arrivals.
  fileprivate var firstSurvivor = PieceID.none
  fileprivate var lastSurvivor = PieceID.none
  // During recovery a trace is held whatever its size, so 32 bits are not enough.
  var arrivalBytes = 0
  var survivorBytes = 0

  /// No spans.
  public init() {}

  /// Whether there are none.
  public var isEmpty: Bool { lastArrival == .none && lastSurvivor == .none }

  /// Bytes of the spans.
  public var byteCount: Int { arrivalBytes + survivorBytes }
}

/// The spans that a partition's undecided traces hold.
///
/// Not thread-safe: it belongs to the lane, as its memory does.
public struct SpanBuffer: ~Copyable {
  /// One run of a trace's bytes.
  public struct Piece: Sendable {
    fileprivate var id: PieceID
    fileprivate var isSurvivor: Bool
    /// Its bytes.
    public var byteCount: Int
  }

  /// The trace at the old end of a log.
  public struct Oldest: Sendable {
    /// Its slot when its spans arrived. The slot may be another trace's by now.
    public var owner: Int
    fileprivate var piece: PieceID
    fileprivate var isSurvivor: Bool
  }

  private let memory: SpanMemory
  private var arrivals: SpanLog
  private var survivors: SpanLog
  private var arrivalBytes = 0
  private var survivorBytes = 0
  /// Room to list a trace's pieces.
  private var listed: [Piece] = []
  /// Room for more is not kept.
  private static let listedMax = 1024
  /// Bytes that may still be moved before the next segment begins.
  private var moveAllowance = 0

  /// A log may take this percentage of its needed bytes.
  private static let wastePercentMax = 120
  /// Plus this many slabs, so that light traffic is left alone.
  private static let slabsSpare = 4
  /// The most slabs moved or compressed for each one filled: memory is reclaimed faster than it is used, and
  /// no record waits long.
  private static let slabsPerCleaning = 4

  /// Makes an empty buffer in `memory`.
  public init(memory: SpanMemory) {
    self.memory = memory
    arrivals = SpanLog(memory: memory)
    survivors = SpanLog(memory: memory)
  }

  /// Bytes of spans that are still needed.
  public var neededBytes: Int { arrivalBytes + survivorBytes }

  /// Bytes that the segments would take if none were compressed.
  public var rawBytes: Int { arrivals.rawBytes + survivors.rawBytes }

  /// Bytes of memory besides the segments.
  public var byteCount: Int { arrivals.byteCount + survivors.byteCount }

  /// Segments that are compressed.
  public var compressedSegments: Int { survivors.compressedSegments }

  /// Adds a piece to the spans of the trace in slot `owner`.
  public mutating func append(_ bytes: RawSpan, to spans: inout BufferedSpans, owner: Int) {
    let segmentsBefore = arrivals.segmentsBegun
    spans.lastArrival = arrivals.append(bytes, after: spans.lastArrival, owner: owner)
    if arrivals.segmentsBegun != segmentsBefore { isCleaningDue = true }
    if spans.firstArrival == .none { spans.firstArrival = spans.lastArrival }
    spans.arrivalBytes += bytes.byteCount
    arrivalBytes += bytes.byteCount
  }

  /// Releases a trace's spans.
  public mutating func release(_ spans: inout BufferedSpans) {
    arrivalBytes -= spans.arrivalBytes
    survivorBytes -= spans.survivorBytes
    invariant(arrivalBytes >= 0 && survivorBytes >= 0, "spans were released twice")
    spans = BufferedSpans()
    if neededBytes == 0 {
      arrivals.removeAll()
      survivors.removeAll()
    }
  }

  /// The pieces of a trace's spans, in order of arrival.
  public mutating func pieces(of spans: BufferedSpans) -> [Piece] {
    beginListing()
    SpanBuffer.list(spans.lastArrival, of: arrivals, isSurvivor: false, in: &listed)
    SpanBuffer.list(spans.lastSurvivor, of: survivors, isSurvivor: true, in: &listed)
    listed.reverse()
    return listed
  }

  /// The pieces in one of the logs.
  private mutating func pieces(of spans: BufferedSpans, survivors isSurvivor: Bool) -> [Piece] {
    beginListing()
    if isSurvivor {
      SpanBuffer.list(spans.lastSurvivor, of: survivors, isSurvivor: true, in: &listed)
    } else {
      SpanBuffer.list(spans.lastArrival, of: arrivals, isSurvivor: false, in: &listed)
    }
    listed.reverse()
    return listed
  }

  private mutating func beginListing() {
    listed.removeAll(keepingCapacity: listed.capacity <= SpanBuffer.listedMax)
  }

  private static func list(
    _ last: PieceID, of log: borrowing SpanLog, isSurvivor: Bool, in pieces: inout [Piece]
  ) {
    var id = last
    while id != .none {
      let piece = log.piece(id)
      pieces.append(Piece(id: id, isSurvivor: isSurvivor, byteCount: piece.count))
      id = piece.previous
    }
  }

  /// Lends the piece's bytes to `body`.
  public func withBytes<Result, Failure: Error>(
    of piece: Piece, _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    if piece.isSurvivor { return try survivors.withBytes(of: piece.id, body) }
    return try arrivals.withBytes(of: piece.id, body)
  }

  // MARK: Cleaning

  /// Whether cleaning may reclaim memory: a segment was begun since the last one.
  public private(set) var isCleaningDue = false

  /// Begins a cleaning. Under memory pressure it compresses survivors first.
  public mutating func beginCleaning() {
    isCleaningDue = false
    moveAllowance = SpanBuffer.slabsPerCleaning * memory.slabBytes
    while isUnderPressure, moveAllowance > 0, survivors.compressNext() { moveAllowance -= memory.slabBytes }
  }

  /// The next trace of the cleaning; nil at its end. The caller then checks whether it `isNeeded`.
  public mutating func nextOldest(survivors isSurvivor: Bool) -> Oldest? {
    guard let (owner, piece) = isSurvivor ? survivors.oldest() : arrivals.oldest() else { return nil }
    return Oldest(owner: owner, piece: piece, isSurvivor: isSurvivor)
  }

  /// Whether `oldest` is the trace that has these spans, not one that has ended or was moved.
  public func isNeeded(_ oldest: Oldest, by spans: BufferedSpans) -> Bool {
    oldest.piece == (oldest.isSurvivor ? spans.firstSurvivor : spans.firstArrival)
  }

  /// Skips `oldest`, which is not needed.
  public mutating func pass(_ oldest: Oldest) {
    if oldest.isSurvivor { survivors.passOldest() } else { arrivals.passOldest() }
  }

  /// Moves the spans of `oldest`, if that is worth it; otherwise the cleaning of this log has ended.
  public mutating func move(_ oldest: Oldest, _ spans: inout BufferedSpans) -> Bool {
    guard moveAllowance > 0, isWorthMoving(oldest) else { return false }
    let count = oldest.isSurvivor ? spans.survivorBytes : spans.arrivalBytes
    moveAllowance -= count
    var moved: PieceID
    if oldest.isSurvivor {
      moved = .none
      spans.firstSurvivor = .none
    } else {
      moved = spans.lastSurvivor
    }
    for piece in pieces(of: spans, survivors: oldest.isSurvivor) {
      moved = copy(piece, after: moved, owner: oldest.owner)
      if spans.firstSurvivor == .none { spans.firstSurvivor = moved }
    }
    spans.lastSurvivor = moved
    if !oldest.isSurvivor {
      spans.survivorBytes += spans.arrivalBytes
      arrivalBytes -= count
      survivorBytes += count
      spans.arrivalBytes = 0
      spans.firstArrival = .none
      spans.lastArrival = .none
    }
    return true
  }

  /// Appends a piece to the survivors.
  private mutating func copy(_ piece: Piece, after previous: PieceID, owner: Int) -> PieceID {
    // The log may grow and its scratch change while it is written, so its own bytes are copied first.
    if piece.isSurvivor {
      let bytes = survivors.withBytes(of: piece.id) { $0.copied() }
      return bytes.withRawBytes { survivors.append($0, after: previous, owner: owner) }
    }
    return arrivals.withBytes(of: piece.id) { survivors.append($0, after: previous, owner: owner) }
  }

  private var isUnderPressure: Bool { memory.usedBytes > memory.compressAbove }

  private func isWorthMoving(_ oldest: Oldest) -> Bool {
    let spare = SpanBuffer.slabsSpare * memory.slabBytes
    if oldest.isSurvivor {
      return survivors.rawBytes > survivorBytes / 100 * SpanBuffer.wastePercentMax + spare
    }
    return isUnderPressure && arrivals.rawBytes > spare
      || arrivals.rawBytes > arrivalBytes / 100 * SpanBuffer.wastePercentMax + spare
  }
}
