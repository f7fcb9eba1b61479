// What becomes of a trace, for what follows its verdict: logs.

public import OTLP

/// What is known of a trace's verdict.
public enum TraceFate: Equatable, Sendable {
  /// Its window is open, and nothing is certain yet.
  case undecided
  /// It is kept, perhaps before its window closes.
  case kept
  /// It is dropped.
  case dropped
  /// No span of it has arrived, or its verdict is older than `late_window`.
  case unknown
}

extension Sampler {
  /// What becomes of a trace, as of the stream clock. It changes nothing; mutating as the other lookups are.
  public mutating func fate(of traceID: TraceID) -> TraceFate {
    switch find(traceID, index.hash(traceID)) {
    case .open(let slot): return table[slot].state == .undecided ? .undecided : .kept
    case .past(let past):
      // One that is older is forgotten when a span comes: whether that has happened must not matter.
      guard verdicts[past].decidedAt + configuration.windows.lateWindow > clock else { return .unknown }
      return verdicts[past].isKept ? .kept : .dropped
    case nil: return .unknown
    }
  }

  /// Whether the stream clock is believed. Until a few records agree, the first one may have set it far
  /// ahead.
  public var isClockSettled: Bool { clockGuard.isSettled }

  /// Starts the stream clock of a partition that has no record to start it: what follows verdicts would wait
  /// for the first one, however long that takes.
  ///
  /// The first records may still replace it.
  ///
  /// - Parameter next: the log's end.
  public mutating func startClock(at time: Instant, next: Offset) {
    guard nextOffset == nil, clock == .distantPast else { return }
    begin(at: next, clock: time, isSettled: false)
    baseline?.begin(partition, at: time)
  }
}
