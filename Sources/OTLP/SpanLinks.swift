// The traces that a span links to. Read only where somebody asks: the scanner notes no more than that there
// are links.

/// A trace that a span links to.
public struct SpanLink: Equatable, Sendable {
  /// The other trace.
  public var traceID: TraceID
  /// Its randomness, if the link's tracestate states it (`rv`).
  public var randomness: UInt64?
}

extension SpanView {
  /// Passes the span's links to `body`, in their order, but those of no trace. Returns how many could not be
  /// read.
  public func forEachLink(of bytes: RawSpan, _ body: (SpanLink) -> Void) -> Int {
    var malformed = 0
    var cursor = WireCursor(content)
    do {
      while !cursor.isAtEnd {
        let tag = try cursor.tag(in: bytes)
        guard tag.field == SpanField.links else {
          try cursor.skip(tag, in: bytes)
          continue
        }
        guard tag.type == .lengthDelimited else {
          malformed += 1
          try cursor.skip(tag, in: bytes)
          continue
        }
        let message = try cursor.content(of: tag, in: bytes)
        do {
          if let link = try SpanLink(message, of: bytes) { body(link) }
        } catch {
          malformed += 1
        }
      }
    } catch {
      // The scanner has accepted the span's own fields.
      malformed += 1
    }
    return malformed
  }
}

extension SpanLink {
  /// Reads a `Link`; nil if it names no trace.
  init?(_ message: ByteRange, of bytes: RawSpan) throws(MalformedInput) {
    var traceID: TraceID?
    var state = ByteRange(offset: 0, count: 0)
    var cursor = WireCursor(message)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case LinkField.traceID:
        let range = try cursor.content(of: tag, in: bytes)
        if range.count == 0 {
          traceID = nil
          continue
        }
        guard range.count == 16 else { throw MalformedInput(.identifierLength, at: tag.offset) }
        traceID = TraceID(in: bytes, at: Int(range.offset))
      case LinkField.traceState:
        state = try cursor.content(of: tag, in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
    guard let traceID, !traceID.isZero else { return nil }
    self.init(traceID: traceID)
    guard state.count > 0, TraceStateSampling.isGiven(in: state, of: bytes) else { return }
    randomness = TraceStateSampling(state, of: bytes).randomness
  }
}
