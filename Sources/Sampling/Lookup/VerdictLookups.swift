// Traces that may have been decided before: their verdicts are looked up in the log.

import Invariants
import OTLP

/// What is to be read of a partition's verdicts.
public struct VerdictLookup: Equatable, Sendable {
  /// Verdicts given before are not wanted.
  public let since: Instant
  /// Nor are those given after.
  public let until: Instant
}

/// Open traces whose spans are so old that their verdicts may have been forgotten.
///
/// A lookup is a pass over the verdicts of a stretch of time. It answers all traces that began in it and were
/// waiting when the pass began.
struct VerdictLookups {
  /// One that waits for a pass.
  private struct Waiting {
    /// The start of its earliest span.
    let start: Instant
    /// The record with that span.
    let offset: Offset
  }

  private var waiting: [TraceID: Waiting] = [:]
  /// Up to where verdicts are in the log: those on traces before this record can be read.
  private var committed = Offset(0)
  /// Those of the pass, with what was found; the value is nil until something is.
  private var active: [TraceID: RestoredVerdict?] = [:]
  /// The pass that is being read.
  private var lookup: VerdictLookup?

  /// A pass takes in traces that began within this time of the oldest.
  private static var stretch: Interval { .seconds(60) }

  /// How many traces wait for an answer.
  var count: Int { waiting.count + active.count }

  /// The traces of the pass.
  var asked: [TraceID] { Array(active.keys) }

  mutating func add(_ traceID: TraceID, start: Instant, at offset: Offset) {
    waiting[traceID] = Waiting(start: start, offset: offset)
  }

  /// Notes that all verdicts are in the log that were given before the record at `offset` was read.
  mutating func noteCommitted(before offset: Offset) { committed = max(committed, offset) }

  /// The trace was decided without an answer.
  mutating func remove(_ traceID: TraceID) {
    guard count > 0, waiting.removeValue(forKey: traceID) == nil else { return }
    active.removeValue(forKey: traceID)
  }

  /// The pass that is to be read, or goes on; nil if no trace waits.
  ///
  /// - Parameters:
  ///   - before: how long before a late span its trace may have been decided.
  ///   - after: how long after a span's start its trace is decided at the latest.
  mutating func next(before: Interval, after: Interval) -> VerdictLookup? {
    if let lookup { return lookup }
    let ready = waiting.filter { $0.value.offset < committed }
    guard let oldest = ready.values.map(\.start).min() else { return nil }
    let newest = oldest + Self.stretch
    for (traceID, trace) in ready where trace.start <= newest {
      waiting[traceID] = nil
      active[traceID] = .some(nil)
    }
    lookup = VerdictLookup(since: oldest - before, until: newest + after)
    return lookup
  }

  /// Notes a verdict that was read; one that comes later counts.
  mutating func note(_ verdict: RestoredVerdict) {
    guard !active.isEmpty, let known = active[verdict.traceID] else { return }
    guard verdict.isLate, !verdict.isKept else {
      // What was kept early has a final record too.
      if verdict.isFinal || verdict.isLate { active[verdict.traceID] = verdict }
      return
    }
    guard var old = known else { return }
    if case .requested = verdict.recall {
      // The trace is kept from then on.
      old.isKept = true
      old.threshold = .always
    } else if let last = verdict.lastOffset {
      old.lastOffset = max(old.lastOffset ?? last, last)
    }
    active[verdict.traceID] = old
  }

  /// Ends the pass. Returns its traces with what was found, in an order that depends on nothing else.
  mutating func end() -> [(TraceID, RestoredVerdict?)] {
    defer { (active, lookup) = ([:], nil) }
    return active.map { ($0.key, $0.value) }.sorted { ($0.0.high, $0.0.low) < ($1.0.high, $1.0.low) }
  }
}
