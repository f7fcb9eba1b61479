// A dropped trace that is to be read again, and what decision records say about that.

public import OTLP

/// What a decision record says about a trace's recall.
public enum RecallStatus: Equatable, Sendable {
  /// The trace will be read again: its first span is in the record at `first_offset`, and all its spans but
  /// the late ones are in records up to this offset.
  case requested(until: Offset)
  /// All its spans were read again, and handed out.
  case done
  /// Some of its records have left the log: what was left was handed out.
  case partial
  /// None of its records is left.
  case gone
  /// Too many recalls are waiting: the late spans are reported, and nothing else happens.
  case refused

  /// Its name in a record.
  var text: StaticString {
    switch self {
    case .requested: "requested"
    case .done: "done"
    case .partial: "partial"
    case .gone: "gone"
    case .refused: "refused"
    }
  }
}

/// A stretch of a partition's logs.
public struct LogStretch: Equatable, Sendable {
  /// When it begins, by the clocks that stamp logs.
  public var since: Instant
  /// The first request after it.
  public var until: Offset
}

/// A dropped trace that a late span made a policy certain about, or that links reach: its records are read
/// again, and it is kept.
///
/// The request is a record in the log, before anything is done about it: whoever owns the partition fulfils
/// it.
public struct RecallRequest: Equatable, Sendable {
  /// The trace.
  public var traceID: TraceID
  /// The record with its first span.
  public var first: Offset
  /// The record with its last span before the late one.
  public var last: Offset
  /// The record with the late span; the last one that had been read when links reached it.
  public var late: Offset
  /// The policies that keep it, a bit each.
  public var matches: UInt64
  /// The stream clock at the request. The revised verdict dates from then, whenever it is written.
  public var requestedAt: Instant
  /// Where those of its logs are that were dropped with it; nil if there are none. They are read first.
  public var logs: LogStretch?
  /// How links reach it, if it is they that keep it.
  public var linked: LinkReach?
  /// Whether some of its records have left the log.
  var isPartial = false

  /// The first record not read yet, if everything before `position` has been.
  func next(from position: Offset) -> Offset {
    position <= first ? first : position <= last ? position : max(position, late)
  }
}
