// Very late spans follow the verdict that their trace got, even if the cache has forgotten it.
//
// A trace is opened as usual, and its spans are buffered. If one of them started longer ago than verdicts are
// remembered, the trace waits until its old verdict has been looked up: it is neither kept early nor closed.
// Then its spans follow that verdict as late spans do; if there is none, the trace is like any other.

public import OTLP
import SpanStorage

extension Sampler {
  /// Spans that started longer ago than this are from a clock that is wrong.
  static var lookupReach: Interval { .seconds(86_400) }

  /// How long a trace waits for an answer.
  static var lookupPatience: Interval { .seconds(600) }

  /// How long a trace's first span takes to arrive at most, if its verdict is to be found.
  private static var delayMax: Interval { .seconds(60) }

  /// Whether an open trace with a span of this start, in nanoseconds since 1970, has to be looked up.
  ///
  /// - Parameter offset: where the trace begins. No verdict on it can have been forgotten since then.
  @inline(__always)
  mutating func isVeryLate(_ start: UInt64, at offset: Offset) -> Bool {
    let now = UInt64(clamping: clock.nanoseconds)
    if now > lookupAge && start < now - lookupAge { return true }
    return horizon.clock > clock || !forgotten.isEmpty ? mayBeForgotten(start, at: offset) : false
  }

  /// Whether verdicts are forgotten at `offset` that are younger than the late window: the clock was ahead,
  /// and has been set back, or memory was short. None is older than its trace's spans.
  @inline(never)
  private mutating func mayBeForgotten(_ start: UInt64, at offset: Offset) -> Bool {
    guard lookupAge != .max else { return false }
    var time = horizon.clock(at: offset) - configuration.windows.lateWindow
    for early in forgotten where offset >= early.since { time = max(time, early.before) }
    return start < UInt64(clamping: time.nanoseconds)
  }

  /// Has an open trace wait for its old verdict. One whose spans are in the log only does not: they can't
  /// follow another verdict than that of their windows.
  @inline(never)
  mutating func awaitVerdict(_ slot: Int, _ facts: ShareFacts, at offset: Offset) {
    let start = facts.earliestStart
    guard table[slot].state == .undecided, !table[slot].isLookedUp, !recovery.isCollecting,
      !isLogBacked(slot),
      Interval(nanoseconds: clock.nanoseconds - Int64(clamping: start)) < Self.lookupReach
    else { return }
    table[slot].isLookedUp = true
    guard lookups.count < configuration.limits.lookups else {
      counters.lookupsRefused += 1
      return
    }
    table[slot].awaitsVerdict = true
    // A span that lasted long is old, and may have come in time: its trace is decided after its end.
    lookups.add(
      table[slot].id,
      VerdictLookups.Waiting(
        start: Instant(nanoseconds: Int64(clamping: start)),
        end: min(Instant(nanoseconds: Int64(clamping: facts.latestEnd)), clock), offset: offset, since: clock)
    )
    counters.lookups += 1
  }

  /// No longer waits for an answer: the trace has to be decided at once.
  mutating func stopAwaiting(_ slot: Int) {
    guard table[slot].awaitsVerdict else { return }
    table.endWait(slot)
    lookups.remove(table[slot].id)
    counters.lookupsRefused += 1
    // Its window may have ended.
    quietUntil = .distantPast
  }

  /// Notes that all verdicts are in the log that were given before the record at `offset` was read: those can
  /// be looked up.
  public mutating func noteCommitted(before offset: Offset) { lookups.noteCommitted(before: offset) }

  /// The verdicts that have to be read, for `found` and then `endLookup`; nil if none are wanted. It stays
  /// the same until then.
  public mutating func nextLookup() -> VerdictLookup? {
    guard lookups.count > 0, !recovery.isHolding else { return nil }
    let windows = configuration.windows
    // Its partition can't be resumed after it, so it does not wait for ever.
    for traceID in lookups.overdue(since: clock - Self.lookupPatience) {
      if case .open(let slot) = find(traceID, index.hash(traceID)) { stopAwaiting(slot) }
    }
    // A trace may have begun, and been decided, before the span that came late. It was decided no later than
    // its wait after that span's end, or after its first span, which may have taken a while to arrive.
    let after = Interval(nanoseconds: 2 * windows.decisionWait.nanoseconds + Self.delayMax.nanoseconds)
    return lookups.next(before: windows.lateWindow, after: after)
  }

  /// The traces whose verdicts `nextLookup` asks for.
  public var lookedUp: [TraceID] { lookups.asked }

  /// Notes a verdict that was read.
  public mutating func found(_ verdict: RestoredVerdict) { lookups.note(verdict) }

  /// Everything that `nextLookup` asked for has been read.
  public mutating func endLookup(into effects: inout Effects) {
    // None waits any longer: what follows may need room, and stop those that wait.
    var answers: [(slot: Int, traceID: TraceID, verdict: RestoredVerdict?)] = []
    for (traceID, verdict) in lookups.end() {
      guard case .open(let slot) = find(traceID, index.hash(traceID)), table[slot].awaitsVerdict else {
        continue
      }
      table.endWait(slot)
      answers.append((slot, traceID, verdict))
    }
    for (slot, traceID, verdict) in answers {
      if let verdict {
        counters.lookupsFound += 1
        let isWanted = hasLinks && policies.program.certain(table[slot].facts).isKept
        let isNew = follow(slot, verdict, into: &effects)
        if hasLinks {
          reviewDecided(traceID, into: &effects)
          if isNew { followFound(traceID, isWanted: isWanted, into: &effects) }
        }
      } else if policies.program.certain(table[slot].facts).isKept {
        keepEarly(slot, .eager, into: &effects)
      } else if hasLinks {
        reviewLinks(of: slot, into: &effects)
      }
    }
    // Windows may have ended meanwhile.
    quietUntil = .distantPast
    closeDue(into: &effects)
  }

  /// What is remembered from now on of a verdict that was looked up.
  private mutating func past(_ old: RestoredVerdict, of slot: Int) -> PastVerdict {
    var past = PastVerdict(
      traceID: old.traceID, isKept: old.isKept, threshold: old.threshold, decidedAt: verdictTime)
    past.isTruncated = old.isTruncated
    past.dependsOnOthers = dependsOnOthers(old)
    if hasLinks, old.isKept, !past.isCertain {
      // Had chance dropped it, nothing could be recalled: it must not spread.
      let window = configuration.windows.recallWindow
      past.isThinned =
        table[rare: slot].incomingThreshold != .always || window <= .seconds(0)
        || clock > old.decidedAt + window
    }
    if old.isKept { past.sharedRandomness = old.randomness }
    if hasLinks, old.isKept, let reach = old.linked { setReach(reach, of: old.traceID) }
    return past
  }

  /// Has the spans of an open trace follow the verdict that the trace got long ago. Returns whether there are
  /// any that it did not cover.
  private mutating func follow(_ slot: Int, _ old: RestoredVerdict, into effects: inout Effects) -> Bool {
    var past = past(old, of: slot)
    if let last = old.lastOffset, table[slot].lastOffset <= last {
      retireReplayed(slot, past)
      return false
    }
    var outcome = PolicyOutcome()
    var recall: RecallStatus?
    if !old.isKept {
      let facts = table.facts(of: slot)
      past.note(
        earliestStart: old.earliestStart ?? UInt64(clamping: old.decidedAt.nanoseconds),
        hasRoot: old.hasRoot, isVetoed: old.isVetoed)
      let before = TraceFacts(of: past, RememberedFacts(), randomness: facts.randomness)
      let now = before.adding(facts)
      outcome.matches = old.isVetoed ? 0 : policies.missed(before, now)
      past.note(earliestStart: now.earliestStart, hasRoot: now.hasRoot, isVetoed: old.isVetoed)
      past.report(outcome.matches)
      // A later span may still show that it is wanted.
      if let first = old.firstOffset, clock <= old.decidedAt + configuration.windows.recallWindow {
        past.note(first: first, last: table[slot].lastOffset)
      }
      if outcome.matches != 0 { recall = recallAlone(old, now.earliestStart, outcome.matches) }
      if case .requested = recall {
        past = PastVerdict(traceID: old.traceID, isKept: true, threshold: .always, decidedAt: verdictTime)
        past.isThinned = table[rare: slot].incomingThreshold != .always
      }
    }
    let count = UInt64(table[slot].spanCount)
    if old.isKept {
      // The late record says so again, for whoever finds no other.
      table[slot].isFirstOfShape = old.isFirstOfShape
      table[slot].isLinked = old.linked != nil
    }
    if past.isTruncated {
      table[slot].state = .skeleton
      table[rare: slot].threshold = past.threshold
    }
    if past.isKept, !past.isTruncated {
      counters.lateSpansKept += count
      table[slot].state = .kept
      table[rare: slot].threshold = past.threshold
      if hasLinks, let randomness = past.sharedRandomness { share(randomness, of: old.traceID) }
      forwardBuffered(slot, outcome, into: &effects)
    } else if past.isTruncated {
      counters.spansTruncated += count
      buffer.release(&table[slot].spans)
    } else {
      counters.lateSpansDropped += count
      counters.spansDropped += count
      buffer.release(&table[slot].spans)
    }
    if !past.isKept, outcome.matches == 0 {
      var decision = Decision(on: table[slot], RareFacts(), outcome, .late, isFinal: false, at: verdictTime)
      decision.isLate = true
      account(late: decision, table.facts(of: slot), &effects)
    } else {
      reportLate(slot, outcome, recall, past, since: old.firstOffset, &effects)
    }
    retire(slot, past)
    release(slot)
    return true
  }

  /// The old verdict covered these spans: they are read again after a restart, and the stream clock was so
  /// far ahead at the commit that it was not restored.
  private mutating func retireReplayed(_ slot: Int, _ past: PastVerdict) {
    counters.spansReplayed += UInt64(table[slot].spanCount)
    learnDigests(of: slot)
    buffer.release(&table[slot].spans)
    retire(slot, past)
    release(slot)
  }

  /// Requests the recall of a trace whose late spans are at hand: only what came before is read again.
  private mutating func recallAlone(
    _ old: RestoredVerdict, _ start: UInt64, _ matches: UInt64
  ) -> RecallStatus? {
    let window = configuration.windows.recallWindow
    guard window > .seconds(0), let first = old.firstOffset, let last = old.lastOffset, first <= last,
      clock <= old.decidedAt + window
    else { return nil }
    guard recalls.count < configuration.limits.recalls, recalls.late(of: old.traceID) == nil else {
      counters.recallsRefused += 1
      return .refused
    }
    counters.recallsRequested += 1
    recalls.add(
      RecallRequest(
        traceID: old.traceID, first: first, last: last, late: last, matches: matches,
        requestedAt: verdictTime,
        logs: logStretch(decidedAt: old.decidedAt, start: start)))
    return .requested(until: last)
  }

  /// Writes what late spans of a trace that was looked up say, for readers and for the next owner.
  private mutating func reportLate(
    _ slot: Int, _ outcome: PolicyOutcome, _ recall: RecallStatus?, _ past: PastVerdict,
    since first: Offset?, _ effects: inout Effects
  ) {
    var decision = Decision(
      on: table[slot], table[rare: slot], outcome, .late, isFinal: false, at: verdictTime)
    decision.isLate = true
    decision.recall = recall
    if case .requested(let last) = recall {
      decision.isKept = false
      decision.threshold = .never
      if let first { (decision.firstOffset, decision.lastOffset) = (first, last) }
    } else {
      // The next owner may find no other record of the verdict.
      if table[slot].isLinked { decision.linked = links?[decision.traceID]?.reach }
      if hasLinks, decision.isKept, decision.threshold != .always {
        decision.sharedRandomness = sharedRandomness(of: decision.traceID)
      }
      for (number, name) in policies.program.names.enumerated()
      where outcome.matches & 1 << UInt64(number) != 0 { counters.missedByPolicy[name, default: 0] += 1 }
    }
    var told = outcome
    if decision.isKept, past.dependsOnOthers, !table[slot].isFirstOfShape, let policy = baseline?.policy {
      told.matches |= 1 << UInt64(policy)
    }
    let record = write(decision, told, slot, isCompact: false, &effects)
    effects.outputs.append(.decide(decision, record: record))
  }
}
