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
  /// One that waits for an answer.
  struct Waiting {
    /// The start of its earliest span.
    let start: Instant
    /// The end of its latest.
    let end: Instant
    /// The record with these spans.
    let offset: Offset
    /// The stream clock then.
    fileprivate(set) var since: Instant
    /// What was found so far; nil before that.
    var verdict: RestoredVerdict?

    fileprivate func waiting(sinceAtMost time: Instant) -> Waiting {
      var trace = self
      trace.since = min(since, time)
      return trace
    }
  }

  private var waiting: [TraceID: Waiting] = [:]
  /// Up to where verdicts are in the log: those on traces before this record can be read.
  private var committed = Offset(0)
  /// Those of the pass.
  private var active: [TraceID: Waiting] = [:]
  /// The pass that is being read.
  private var lookup: VerdictLookup?

  /// A pass takes in traces that began within this time of the first.
  private static var stretch: Interval { .seconds(60) }

  /// How many traces wait for an answer.
  var count: Int { waiting.count + active.count }

  /// The traces of the pass.
  var asked: [TraceID] { Array(active.keys) }

  mutating func add(_ traceID: TraceID, _ trace: Waiting) { waiting[traceID] = trace }

  /// Notes that all verdicts are in the log that were given before the record at `offset` was read.
  mutating func noteCommitted(before offset: Offset) { committed = max(committed, offset) }

  /// The trace was decided without an answer.
  mutating func remove(_ traceID: TraceID) {
    guard count > 0, waiting.removeValue(forKey: traceID) == nil else { return }
    active.removeValue(forKey: traceID)
  }

  /// The clock was set back: nothing has waited since after `time`.
  mutating func turnBack(to time: Instant) {
    waiting = waiting.mapValues { $0.waiting(sinceAtMost: time) }
    active = active.mapValues { $0.waiting(sinceAtMost: time) }
  }

  /// The traces that have waited since before `time`, in an order that depends on nothing else.
  func overdue(since time: Instant) -> [TraceID] {
    guard count > 0 else { return [] }
    return [waiting, active].flatMap { $0.filter { $0.value.since < time }.keys }.sorted {
      ($0.high, $0.low) < ($1.high, $1.low)
    }
  }

  /// The pass that is to be read, or goes on; nil if no trace waits. The trace that came first has its turn,
  /// with all that began at about the same time: so none waits for those that come later.
  ///
  /// - Parameters:
  ///   - before: how long before a late span its trace may have been decided.
  ///   - after: how long after a span's end its trace is decided at the latest.
  mutating func next(before: Interval, after: Interval) -> VerdictLookup? {
    if let lookup { return lookup }
    let ready = waiting.filter { $0.value.offset < committed }
    let first = ready.min {
      ($0.value.offset, $0.key.high, $0.key.low) < ($1.value.offset, $1.key.high, $1.key.low)
    }
    guard let first else { return nil }
    var (since, until) = (first.value.start, first.value.start)
    let earliest = first.value.start - Self.stretch
    let latest = first.value.start + Self.stretch
    for (traceID, trace) in ready where earliest <= trace.start && trace.start <= latest {
      waiting[traceID] = nil
      active[traceID] = trace
      since = min(since, trace.start)
      until = max(until, trace.start, trace.end)
    }
    lookup = VerdictLookup(since: since - before, until: until + after)
    return lookup
  }

  /// Notes a verdict that was read; one that comes later counts.
  mutating func note(_ verdict: RestoredVerdict) {
    guard !active.isEmpty, let trace = active[verdict.traceID] else { return }
    guard verdict.isLate, !verdict.isKept else {
      // What was kept early has a final record too.
      if verdict.isFinal || verdict.isLate { active[verdict.traceID]?.verdict = verdict }
      return
    }
    guard var old = trace.verdict else { return }
    if case .requested = verdict.recall {
      // The trace is kept from then on.
      old.isKept = true
      old.threshold = .always
    } else if let last = verdict.lastOffset {
      old.lastOffset = max(old.lastOffset ?? last, last)
    }
    active[verdict.traceID]?.verdict = old
  }

  /// Ends the pass. Returns its traces with what was found, in an order that depends on nothing else.
  mutating func end() -> [(TraceID, RestoredVerdict?)] {
    defer { (active, lookup) = ([:], nil) }
    return active.map { ($0.key, $0.value.verdict) }.sorted { ($0.0.high, $0.0.low) < ($1.0.high, $1.0.low) }
  }
}
