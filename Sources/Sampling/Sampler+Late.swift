// Spans that arrive after their trace was dropped: would a policy have kept it, had they been in time? If so,
// the trace is recalled (see `Recall/Sampler+Recall.swift`). If it can't be, the verdict stands, and a late
// record reports it, once for each policy.

import OTLP

extension RememberedFacts {
  /// The facts of all of a trace's spans.
  init(_ facts: TraceFacts) {
    self.init(
      predicateMatches: facts.predicateMatches, rootDuration: facts.rootDuration,
      earliestStart: facts.earliestStart, latestEnd: facts.latestEnd, spanCount: facts.spanCount,
      statuses: facts.statuses, isWhole: true)
  }
}

extension TraceFacts {
  /// What is still known of a dropped trace.
  init(
    of verdict: PastVerdict, _ remembered: RememberedFacts, randomness: UInt64
  ) {
    self.init(
      id: verdict.traceID, randomness: randomness, predicateMatches: remembered.predicateMatches,
      byteCount: 0,
      rootDuration: remembered.rootDuration,
      earliestStart: remembered.isWhole ? remembered.earliestStart : verdict.earliestStart,
      latestEnd: remembered.latestEnd, spanCount: remembered.spanCount, statuses: remembered.statuses,
      hasRoot: verdict.hasRoot)
  }

  /// The facts with those of later spans added.
  func adding(_ later: TraceFacts) -> TraceFacts {
    var sum = self
    sum.predicateMatches |= later.predicateMatches
    sum.rootDuration = max(sum.rootDuration, later.rootDuration)
    sum.earliestStart = min(sum.earliestStart, later.earliestStart)
    sum.latestEnd = max(sum.latestEnd, later.latestEnd)
    sum.spanCount.count(later.spanCount)
    sum.statuses |= later.statuses
    sum.hasRoot = sum.hasRoot || later.hasRoot
    return sum
  }
}

extension Sampler {
  /// Notes late spans of a dropped trace, and reports the policies that would keep it now and were not yet
  /// reported.
  mutating func noteLate(
    _ share: Share, of record: ScannedRecord, _ bytes: RawSpan, _ past: Int, _ effects: inout Effects
  ) {
    let remembered = verdicts.facts(of: past) ?? RememberedFacts()
    let summary = lateFacts(of: share, in: record, bytes, matches: remembered.predicateMatches)
    let before = TraceFacts(of: verdicts[past], remembered, randomness: summary.randomness)
    let now = before.adding(summary)
    let isTakenAway = verdicts[past].isVetoed && !remembered.isWhole
    verdicts[past].note(earliestStart: now.earliestStart, hasRoot: now.hasRoot, isVetoed: isTakenAway)
    var known = RememberedFacts(now)
    known.isWhole = remembered.isWhole
    verdicts.remember(known, of: past)
    let missed = isTakenAway ? 0 : verdicts[past].unreported(of: policies.missed(before, now))
    guard missed != 0 else {
      verdicts[past].lastOffset = max(verdicts[past].lastOffset, share.offset)
      if !isTakenAway {
        account(late: decision(on: share, of: record, summary, matches: 0), summary, &effects)
      }
      return
    }
    verdicts[past].report(missed)
    let first = verdicts[past].firstOffset
    let recall = requestRecall(past, missed, late: share.offset)
    if recall == nil || recall == .refused { verdicts[past].lastOffset = share.offset }
    report(missed, share, of: record, bytes, summary, recall, since: first, &effects)
  }

  /// The facts of the late spans; predicates in `matches` count as matched and are not evaluated.
  mutating func lateFacts(
    of share: Share, in record: ScannedRecord, _ bytes: RawSpan, matches: UInt64
  ) -> TraceFacts {
    var summary = OpenTrace(id: share.traceID, firstOffset: share.offset, openedAt: clock)
    summary.predicateMatches = matches
    var randomness: UInt64?
    for index in share.spans {
      let span = record.spans[index]
      if policies.predicates.attributeBits != 0 {
        summary.predicateMatches |= resourceMatches[Int(span.resource)]
      }
      summary.accumulate(span)
      policies.predicates.match(span, of: record, bytes, into: &summary.predicateMatches)
      if span.traceState.count > 0, randomness == nil {
        randomness = TraceStateSampling(span.traceState, of: bytes).randomness
      }
      if span.isRoot { summary.hasRoot = true }
    }
    counters.conditionErrors = policies.predicates.conditionErrors
    counters.conditionErrorsSaid = policies.predicates.conditionErrorsSaid
    var facts = summary.facts
    if let randomness { facts.randomness = randomness }
    return facts
  }

  /// Writes that policies would keep a dropped trace because of spans that arrived too late.
  private mutating func report(
    _ missed: UInt64, _ share: Share, of record: ScannedRecord, _ bytes: RawSpan, _ summary: TraceFacts,
    _ recall: RecallStatus?, since first: Offset, _ effects: inout Effects
  ) {
    var names = DecisionNames()
    var isRecalled = false
    if case .requested = recall { isRecalled = true }
    for (number, name) in policies.program.names.enumerated() where missed & 1 << UInt64(number) != 0 {
      names.policies.append(name)
      if !isRecalled { counters.missedByPolicy[name, default: 0] += 1 }
    }
    for index in share.spans {
      let span = record.spans[index]
      guard span.isRoot, names.rootOperation.isEmpty else { continue }
      names.rootOperation = name(span.name, of: bytes)
      names.rootService = name(record.resources[Int(span.resource)].serviceName, of: bytes)
    }
    var decision = decision(on: share, of: record, summary, matches: missed)
    if let recall {
      decision.recall = recall
      if isRecalled { decision.firstOffset = first }
    }
    effects.outputs.append(.decide(decision, record: write(decision, names, isCompact: true, &effects)))
  }

  /// The decision that a late record is about.
  private func decision(
    on share: Share, of record: ScannedRecord, _ summary: TraceFacts, matches: UInt64
  ) -> Decision {
    var decision = Decision(
      traceID: share.traceID, isKept: false, isFinal: false, trigger: .late, matches: matches,
      threshold: .never, spanCount: share.spans.count,
      errorCount: share.spans.count { record.spans[$0].status == .error }, byteCount: 0, truncatedCount: 0,
      isLate: true, hasRoot: summary.hasRoot, start: summary.earliestStart, duration: summary.envelope,
      firstOffset: share.offset, lastOffset: share.offset, openedAt: clock, decidedAt: verdictTime)
    if hasLinks { decision.links = links?[share.traceID]?.links ?? [] }
    return decision
  }

  /// Notes in the ledger where late spans are that change nothing: a recall that comes later, perhaps of
  /// another owner, has to read them too.
  mutating func account(late decision: Decision, _ facts: TraceFacts, _ effects: inout Effects) {
    guard configuration.dropped != .none, configuration.windows.recallWindow > .seconds(0) else { return }
    ledger.append(decision, earliestStart: facts.earliestStart)
    if ledger.isFull { endLedgerPage(into: &effects) }
  }

  private func name(_ range: ByteRange, of bytes: RawSpan) -> [UInt8] {
    let length = min(Int(range.count), configuration.limits.nameBytes)
    return bytes.extracting(Int(range.offset)..<Int(range.offset) + length).copied()
  }
}
