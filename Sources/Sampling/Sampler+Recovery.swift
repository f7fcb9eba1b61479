// Resuming a partition where another sampler left it, from nothing but the log.
//
// The state is rebuilt by reading the records from the safe offset on. Part of their output was written
// already: everything up to the high water, in committed transactions. So below the high water, spans of
// decided traces are skipped, and traces that were kept early continue without being forwarded again; all
// other spans are buffered. From the high water on, everything is as usual.
//
// If all verdicts given below the high water are known, no other trace is decided there, whatever this
// sampler's policies, windows and limits: they may differ from the last owner's. If a trace were decided
// halfway to the high water, the next owner would assume that it had been forwarded up to there.

import Invariants
import OTLP

/// What a sampler knows from its predecessor while it reads records again.
struct Recovery {
  /// Records before this are read again only for their spans to be counted for metrics.
  var samplesFrom = Offset(.min)
  /// Records before this are being read again.
  var highWater = Offset(0)
  /// The stream clock after the record before the high water.
  var clock = Instant.distantPast
  /// Traces that were kept early and not finally decided, with the threshold their spans carry.
  var keptEarly: [TraceID: SamplingThreshold] = [:]
  /// How links reach those of them that they keep.
  var linked: [TraceID: LinkReach] = [:]
  /// Where late spans are of traces whose verdicts have not been read back: the ledger is read first, and the
  /// verdict may be a decision record. At most `lateMax`.
  var lateUntil: [TraceID: Offset] = [:]
  static let lateMax = 100_000
  /// Whether nothing is decided before the high water.
  var isHolding = false
  /// Whether nothing is decided at all: the sampler holds traces that are recalled.
  var isCollecting = false
  /// The first reread record whose timestamp was too far ahead of the clock, and the clock then.
  var firstSuspect: (offset: Offset, clock: Instant)?
}

extension Sampler {
  /// Resumes the partition at `point`. The sampler must not have read anything yet; the next record it reads
  /// is the one at the safe offset, or an earlier one whose spans were not counted: see `nextOffset`.
  ///
  /// - Parameters:
  ///   - point: the partition's last commit.
  ///   - past: the verdicts committed with `point` or before it, at least those of the last `late_window`
  ///     before the safe offset's clock, in the order that `restore(_:)` asks for.
  ///   - isWhole: whether no verdict given below the high water is missing. If some may be, their traces are
  ///     decided again as the records are read.
  public mutating func restore(_ point: CommitPoint, past: [RestoredVerdict] = [], isWhole: Bool = true) {
    invariant(nextOffset == nil && table.count == 0, "a sampler can't be restored after it has read")
    begin(at: point.safeOffset, clock: point.clockAtSafeOffset)
    recovery.samplesFrom = point.safeOffset
    restoreMetrics(point)
    recovery.highWater = point.highWater
    recovery.clock = point.clock
    forgotten = point.forgotten
    horizon.restore(point)
    for step in horizon.steps { retention.note(step: step.clock) }
    lookups.noteCommitted(before: point.highWater)
    recovery.isHolding = isWhole && point.safeOffset < point.highWater
    policies.restoreBudgets(point.budgetLevels, at: point.clock)
    policies.shadow?.restore(point.shadowLevels, at: point.clock)
    // Earlier counts were written with the commit: counting continues from there.
    baseline?.begin(partition, at: point.clock)
    beginDemand(at: point.clock)
    handOuts.resume(at: point.follower)
    handOuts.change(to: configuration.windows.buffer, at: point.highWater)
    // Nothing is known of keys of records that others have read.
    handOuts.mixedUntil = point.highWater
    for verdict in past { restore(verdict) }
  }

  /// Whether records are still being read again.
  public var isRecovering: Bool {
    nextOffset.map { $0 < recovery.highWater } ?? false
  }

  /// Whether the record at `offset` was dealt with before this sampler was made.
  public func isReplayed(_ offset: Offset) -> Bool {
    offset < recovery.highWater
  }

  /// Adds a past verdict to the cache, within its limit: after `restore(_:past:isWhole:)` and before the
  /// first record. First come those of the ledger, oldest first, then those of decision records, oldest
  /// first: a late record finds the verdict that it is about.
  ///
  /// So the cache may have two runs in order of time, one after the other. `isRemembered` tells exactly what
  /// is forgotten; only the memory of the second run is released later than that of the first.
  public mutating func restore(_ verdict: RestoredVerdict) {
    let hash = index.hash(verdict.traceID)
    if hasLinks, !verdict.links.isEmpty { noteLinks(verdict.links, of: verdict.traceID) }
    var known: Int?
    if case .past(let past) = find(verdict.traceID, hash) { known = past }
    if verdict.isRevised {
      recalls.remove(verdict.traceID)
      if let known, verdicts[known].isKept { return }
    } else if verdict.isLate, !verdict.isKept {
      if case .requested(let until) = verdict.recall {
        return restoreRecall(verdict, until: until, past: known)
      }
      guard let known else { return noteLate(of: verdict) }
      guard !verdicts[known].isKept else { return }
      verdicts[known].report(policies.program.named(verdict.reasons))
      if let last = verdict.lastOffset { verdicts[known].noteLate(at: last) }
      if verdict.hasRoot { verdicts[known].noteRoot() }
      return
    } else if !verdict.isFinal, !verdict.isLate {
      recovery.keptEarly[verdict.traceID] = verdict.threshold
      recovery.linked[verdict.traceID] = verdict.linked
      return
    }
    if verdict.isKept, verdict.isFinal, !verdict.isRevised, handOuts.isUsed { restoreHandOut(verdict) }
    remember(verdict, in: known, hash)
  }

  /// Whether other traces had a part in a verdict, as far as its record tells.
  mutating func dependsOnOthers(_ verdict: RestoredVerdict) -> Bool {
    guard verdict.isKept, verdict.threshold == .always else { return false }
    // Where chance and a baseline at 100 % keep a trace together, the threshold is the baseline's.
    return verdict.isFirstOfShape || (baseline != nil && policies.program.areByChance(verdict.reasons))
  }

  private mutating func noteLate(of verdict: RestoredVerdict) {
    guard let last = verdict.lastOffset else { return }
    if let known = recovery.lateUntil[verdict.traceID] {
      recovery.lateUntil[verdict.traceID] = max(known, last)
    } else if recovery.lateUntil.count < Recovery.lateMax {
      recovery.lateUntil[verdict.traceID] = last
    }
  }

  /// Adds a past verdict that replaces `known`. A late record that says keep is about a trace whose old
  /// verdict was looked up.
  private mutating func remember(_ verdict: RestoredVerdict, in known: Int?, _ hash: UInt32) {
    recovery.keptEarly[verdict.traceID] = nil
    recovery.linked[verdict.traceID] = nil
    // None of them is newer than the point. One that claims to be was written by something else; it would
    // stay at the head of the cache, and everything after it as well.
    let decidedAt = min(verdict.decidedAt, recovery.clock)
    let clock = min(horizon.earliest, retention.clock)
    let isReplaced = known.map { verdict.isRevised && isDropped($0, since: verdict.firstOffset) } ?? false
    guard decidedAt + configuration.windows.lateWindow > clock else {
      // What it replaced is forgotten with it, though it may have a later time.
      if isReplaced, let known { verdicts.replace(known, in: &index) }
      return
    }
    // The trace came back after its verdict was forgotten: the last verdict counts. It may have been read
    // before, from the ledger. A revised one counts whatever the clock was: it may have been set back.
    if let known {
      guard isReplaced || decidedAt >= verdicts[known].decidedAt else { return }
      // The id has come again since it was recalled.
      if verdict.isRevised, !verdicts[known].isKept, let last = verdict.lastOffset,
        verdicts[known].firstOffset > last
      {
        return
      }
      verdicts.replace(known, in: &index)
    }
    var past = PastVerdict(
      traceID: verdict.traceID, isKept: verdict.isKept, threshold: verdict.threshold,
      decidedAt: decidedAt)
    past.isTruncated = verdict.isTruncated
    past.isRestored = true
    past.dependsOnOthers = dependsOnOthers(verdict)
    // A verdict that was looked up is older than the record of its late spans.
    past.isThinned = hasLinks && verdict.isLate && verdict.isKept && !past.isCertain
    if verdict.isKept { past.sharedRandomness = verdict.randomness }
    if hasLinks, verdict.isKept, let reach = verdict.linked { setReach(reach, of: verdict.traceID) }
    // A record that does not state when the first span started: everything read by then had started.
    if !verdict.isKept {
      past.note(
        earliestStart: verdict.earliestStart ?? UInt64(clamping: decidedAt.nanoseconds),
        hasRoot: verdict.hasRoot, isVetoed: verdict.isVetoed)
      if let first = verdict.firstOffset, let last = verdict.lastOffset {
        past.note(first: first, last: last)
      }
      if let late = recovery.lateUntil.removeValue(forKey: verdict.traceID) { past.noteLate(at: late) }
    }
    let place = remember(past)
    index.insert(hash, .past(place))
    retire(KnownSpans(past.isKept ? .digests : .list), of: past)
  }

  /// Whether the verdict in `slot`, a result of `VerdictCache.find`, is known to a record at `offset`: if it
  /// was not forgotten by then, nor earlier because the clock was ahead. One that is not known is forgotten.
  mutating func isRemembered(_ slot: Int, at offset: Offset) -> Bool {
    let decidedAt = verdicts[slot].decidedAt
    let isForgotten = forgotten.contains { offset >= $0.since && decidedAt < $0.before }
    let end = decidedAt + configuration.windows.lateWindow
    if end <= clock { moveHorizon(from: offset) }
    if !isForgotten, end > horizon.clock(at: offset) { return true }
    verdicts.replace(slot, in: &index)
    return false
  }

  /// Ends recovery when a record at or after the high water arrives, or none is left before it: the clock
  /// becomes what it was there, and everything due by then is decided.
  mutating func endRecovery(before offset: Offset, into effects: inout Effects) {
    // The clock may not have started if records have no timestamps.
    guard offset >= recovery.highWater, recovery.isHolding || recovery.clock != .distantPast else { return }
    let clock = recovery.clock
    recovery.clock = .distantPast
    recovery.keptEarly = [:]
    recovery.linked = [:]
    recovery.lateUntil = [:]
    let wasHolding = recovery.isHolding
    recovery.isHolding = false
    // The last owner's clock also followed time that passed without records. On rereading, the records after
    // such a silence are ahead of the clock, and what they opened was stamped by a clock that stood still:
    // judged by that time it would close at once.
    if let suspect = recovery.firstSuspect, clock > self.clock + configuration.clockLead {
      table.delay(since: suspect.offset, clock: suspect.clock, to: clock)
      clockGuard.forget()
    }
    recovery.firstSuspect = nil
    pass(to: clock, into: &effects)
    dateBack(to: self.clock)
    if wasHolding {
      askedSince = offset
      // Before windows close.
      if hasLinks { followAllLinks(into: &effects) }
      closeDue(into: &effects)
    } else if hasLinks {
      followAllLinks(into: &effects)
    }
  }
}
