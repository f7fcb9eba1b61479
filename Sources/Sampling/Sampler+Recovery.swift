// Taking up a partition where another sampler left it, with nothing but what the log holds.
//
// The state is made again by reading the records from the safe offset on. What they lead to has partly been
// written already: everything up to the high water, in transactions that were committed. So below the high
// water spans of decided traces are stepped over, and traces that were kept early go on without being handed
// out again; all other spans are buffered. From the high water on, everything is as usual.
//
// Where all verdicts that were given below the high water are known, no other trace is decided there,
// whatever this sampler's policies, windows and limits would say: they may be others than those of the last
// owner. One that was decided halfway to the high water would be taken, by whoever comes next, for one that
// had been handed out up to it.

import Invariants
import OTLP

/// What a sampler knows from before, while it reads records again.
struct Recovery {
  /// Records before it are being read again.
  var highWater = Offset(0)
  /// The stream clock when the record before the high water had been read.
  var clock = Instant.distantPast
  /// Traces that were kept early and not finally decided, with the threshold that their spans carry.
  var keptEarly: [TraceID: SamplingThreshold] = [:]
  /// Whether nothing is decided before the high water.
  var isHolding = false
  /// The first record read again whose timestamp was too far ahead of the clock, and the clock then.
  var firstSuspect: (offset: Offset, clock: Instant)?
}

extension Sampler {
  /// Takes up the partition at `point`. The sampler must not have read anything yet; the next record that it
  /// reads is that at the safe offset.
  ///
  /// - Parameters:
  ///   - point: what was committed last for the partition.
  ///   - past: the verdicts that were committed with `point` or before it, oldest first, at least those of
  ///     the last `late_window` before the safe offset's clock.
  ///   - isWhole: whether no verdict that was given below the high water is missing. If some may be, what
  ///     they decided is decided again as the records are read.
  public mutating func restore(_ point: CommitPoint, past: [RestoredVerdict] = [], isWhole: Bool = true) {
    invariant(nextOffset == nil && table.count == 0, "a sampler is restored after it has read")
    begin(at: point.safeOffset, clock: point.clockAtSafeOffset)
    recovery.highWater = point.highWater
    recovery.clock = point.clock
    recovery.isHolding = isWhole && point.safeOffset < point.highWater
    policies.restoreBudgets(point.budgetLevels, at: point.clock)
    // What was counted before was written with the commit: counting goes on from there.
    baseline?.begin(partition, at: point.clock)
    for verdict in past { restore(verdict) }
  }

  /// Whether records that were read before are still being read again.
  public var isRecovering: Bool {
    nextOffset.map { $0 < recovery.highWater } ?? false
  }

  /// Whether the record at `offset` was dealt with before this sampler was made.
  public func isReplayed(_ offset: Offset) -> Bool {
    offset < recovery.highWater
  }

  /// Takes one of the past verdicts into the cache, under its limit: after `restore(_:past:isWhole:)` and
  /// before the first record, oldest first.
  public mutating func restore(_ verdict: RestoredVerdict) {
    let known = verdicts.find(verdict.traceID)
    if verdict.isLate {
      guard let known, !verdicts[known].isKept else { return }
      verdicts[known].report(policies.program.named(verdict.reasons))
      if verdict.hasRoot { verdicts[known].noteRoot() }
    } else if !verdict.isFinal {
      recovery.keptEarly[verdict.traceID] = verdict.threshold
    } else {
      recovery.keptEarly[verdict.traceID] = nil
      // None of them is younger than the point. One that says so was written by somebody else; it would stay
      // at the head of those that are remembered, and all that follow with it.
      let decidedAt = min(verdict.decidedAt, recovery.clock)
      guard decidedAt + configuration.windows.lateWindow > clock else { return }
      // The trace came again after its verdict was forgotten: what counts is what was said last.
      if let known { verdicts.replace(known) }
      var past = PastVerdict(
        traceID: verdict.traceID, isKept: verdict.isKept, threshold: verdict.threshold,
        decidedAt: decidedAt)
      past.isTruncated = verdict.isTruncated
      past.isRestored = true
      // When its first span began, the record does not say; what had been read by then had begun.
      if !verdict.isKept {
        past.note(
          earliestStart: UInt64(clamping: decidedAt.nanoseconds), hasRoot: verdict.hasRoot,
          isVetoed: verdict.isVetoed)
      }
      remember(past)
      retire(KnownSpans(past.isKept ? .digests : .list), of: past)
    }
  }

  /// Ends the reading again once a record at or behind the high water comes, or none is left before it: the
  /// clock is what it was there, and what is due by it is decided.
  mutating func endRecovery(before offset: Offset, into effects: inout Effects) {
    // The clock may not have begun where records have no timestamps.
    guard offset >= recovery.highWater, recovery.isHolding || recovery.clock != .distantPast else { return }
    let clock = recovery.clock
    recovery.clock = .distantPast
    recovery.keptEarly = [:]
    let wasHolding = recovery.isHolding
    recovery.isHolding = false
    // The last owner's clock also followed time that passed without records. Read again, the records after
    // such a silence are ahead of the clock, and what they opened was opened by a clock that stood still:
    // held to that time it would close at once.
    if let suspect = recovery.firstSuspect, clock > self.clock + configuration.clockLead {
      table.delay(since: suspect.offset, clock: suspect.clock, to: clock)
      clockGuard.forget()
    }
    recovery.firstSuspect = nil
    pass(to: clock, into: &effects)
    if wasHolding { closeDue(into: &effects) }
  }
}
