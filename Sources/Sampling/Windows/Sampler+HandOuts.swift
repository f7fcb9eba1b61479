// Log-backed windows: no span is held. Once traces are decided, the log is read a second time, and the spans
// of the kept ones are handed out record by record.
//
// The follower reads up to the safe offset. A trace that is open, kept early or not, has its first span at or
// after it, so nothing of a trace is handed out before its final verdict, and then from its first span to its
// last one before the verdict. An early verdict is a record only. What comes after the final verdict is
// forwarded as it comes. So the follower's position alone says what has been handed out, and the final record
// says the rest: a takeover needs no more.

import Invariants
import OTLP
import SpanStorage

extension Sampler {
  // MARK: Verdicts

  /// Whether the trace in `slot` has its spans in the log only.
  @inline(__always)
  mutating func isLogBacked(_ slot: Int) -> Bool {
    handOuts.isUsed && handOuts.covers(table[slot].firstOffset)
  }

  /// What `deliver` does with a share of a log-backed trace. Returns whether the trace is still open.
  @inline(never)
  mutating func deliverLogBacked(
    _ share: Share, of record: inout ScannedRecord, _ slot: Int, _ mayBeCertain: Bool,
    _ isOverLimit: Bool, _ effects: inout Effects
  ) -> Bool {
    switch table[slot].state {
    case .undecided where recovery.isHolding: break
    case .undecided where isOverLimit && policies.program.isVetoCertain(table[slot].facts):
      close(slot, .limit, into: &effects)
      return false
    case .undecided where isOverLimit:
      keepEarly(slot, .limit, into: &effects)
      startSkeleton(slot)
      _ = chooseForSkeleton(share, of: record, slot)
    case .undecided:
      if mayBeCertain, policies.program.certain(table[slot].facts).isKept {
        keepEarly(slot, .eager, into: &effects)
      }
    case .kept where isOverLimit:
      startSkeleton(slot)
      _ = chooseForSkeleton(share, of: record, slot)
    case .kept: break
    case .skeleton: _ = chooseForSkeleton(share, of: record, slot)
    }
    return true
  }

  /// Enters a trace that is finally kept.
  mutating func handOutLater(_ slot: Int, _ outcome: PolicyOutcome) {
    let rare = table[rare: slot]
    handOuts.add(
      HandOut(
        traceID: table[slot].id, first: table[slot].firstOffset, last: table[slot].lastOffset,
        decidedAt: verdictTime, threshold: rare.threshold, incomingThreshold: rare.incomingThreshold,
        matches: outcome.matches, isFirstOfShape: table[slot].isFirstOfShape,
        isTruncated: table[slot].state == .skeleton, hasRedelivered: rare.hasRedelivered,
        isLinked: table[slot].isLinked),
      safe: safePoint(next: table[slot].firstOffset).offset)
  }

  /// Restores a hand-out from the final record of a kept trace.
  mutating func restoreHandOut(_ verdict: RestoredVerdict) {
    guard let first = verdict.firstOffset, let last = verdict.lastOffset else { return }
    handOuts.restore(
      HandOut(
        traceID: verdict.traceID, first: first, last: last, decidedAt: min(verdict.decidedAt, recovery.clock),
        threshold: verdict.threshold, incomingThreshold: verdict.threshold,
        matches: policies.program.named(verdict.reasons),
        isFirstOfShape: verdict.reasons == [Sampler.firstOfShapeReason], isTruncated: verdict.isTruncated,
        hasRedelivered: true, isLinked: verdict.linked != nil))
  }

  // MARK: Reading again

  /// The next record to hand out, before the safe offset; nil if there is none.
  public mutating func nextHandOut() -> Offset? {
    guard handOuts.isUsed, let next = nextOffset, !isRecovering else { return nil }
    let safe = safePoint(next: next).offset
    handOuts.settle(safe: safe, next: next, configuration.windows.buffer)
    guard handOuts.count > 0, handOuts.reading < safe else { return nil }
    return handOuts.reading
  }

  /// How many kept traces wait for their hand-out.
  public var handOutsPending: Int { handOuts.count }

  /// Bytes of memory that they take.
  public var handOutBytes: Int { handOuts.byteCount }

  /// Records between the follower and the next one to read; zero if windows are in memory.
  public var followerLag: Int64 {
    guard handOuts.count > 0, let nextOffset else { return 0 }
    return max(0, nextOffset.value - handOuts.position.value)
  }

  /// Log time since the oldest verdict whose trace waits for its hand-out; zero if there is none.
  public var handOutAge: Interval {
    handOuts.oldestVerdict.map { max(clock - $0, .seconds(0)) } ?? .seconds(0)
  }

  /// Passes a record that need not be read again, from its key: its only trace is not handed out. Returns
  /// whether it was passed; if not, `handOut` reads it.
  public mutating func passHandOut(offset: Offset, key: RawSpan?) -> Bool {
    guard isNextHandOut(offset) else { return true }
    guard let key, offset >= handOuts.mixedUntil, let traceID = TraceID(key: key),
      !handOuts.contains(traceID)
    else { return false }
    counters.recordsFollowed += 1
    counters.recordsPassedByKey += 1
    handOuts.pass(offset)
    return true
  }

  /// Whether the record may be handed out now. What was read ahead of the safe offset is read again later.
  private mutating func isNextHandOut(_ offset: Offset) -> Bool {
    guard handOuts.isUsed, handOuts.count > 0, let nextOffset else { return false }
    return offset >= handOuts.reading && offset < safePoint(next: nextOffset).offset
  }

  /// Reads a record again, and hands out the spans of kept traces in it.
  public mutating func handOut(offset: Offset, value: RawSpan?, into effects: inout Effects) {
    guard isNextHandOut(offset) else { return }
    counters.recordsFollowed += 1
    if let value, value.byteCount <= configuration.limits.recordBytes {
      counters.bytesFollowed += UInt64(value.byteCount)
      let workspace = workspace
      // Sound: see `ingest`; nothing else reads the scratch meanwhile.
      unsafe handOut(value, offset, &workspace.scratch, &effects)
    }
    handOuts.pass(offset)
  }

  /// Notes that the log begins at `offset`: what was to be handed out before it is gone.
  public mutating func loseHandOuts(before offset: Offset) {
    guard handOuts.isUsed, offset > handOuts.reading else { return }
    for (number, isGone) in handOuts.lose(before: offset) {
      counters.handOutsLost += 1
      if isGone { endHandOut(number) }
    }
  }

  private mutating func endHandOut(_ number: Int) {
    if let known = handOuts.remove(number) { register.release(known) }
  }

  /// Removes hand-outs whose last record does not exist any more.
  mutating func trimHandOuts() {
    for number in handOuts.stale { endHandOut(number) }
    handOuts.trim()
  }

  private mutating func handOut(
    _ value: RawSpan, _ offset: Offset, _ reading: inout RecordScratch, _ effects: inout Effects
  ) {
    do {
      try reading.scan(value, configuration.limits)
    } catch {
      // It was a dead letter when it was read first.
      return
    }
    guard !reading.record.isSingleTrace else {
      let traceID = reading.record.spans[0].traceID
      let all = Share(traceID: traceID, spans: 0..<reading.record.spans.count, offset: offset)
      return handOut(all, &reading, value, &effects)
    }
    for number in reading.groups.groups.indices {
      let group = reading.groups.groups[number]
      let share = Share(traceID: group.traceID, spans: group.spans, offset: offset)
      handOut(share, &reading, value, &effects)
    }
  }

  private mutating func handOut(
    _ share: Share, _ reading: inout RecordScratch, _ value: RawSpan, _ effects: inout Effects
  ) {
    guard let number = handOuts.find(share.traceID, at: share.offset) else { return }
    let entry = handOuts[number]
    let isOut = share.offset < handOuts.position
    var chosen = Array(share.spans)
    if entry.hasRedelivered { chosen = newSpans(chosen, of: number, reading.record, value) }
    if entry.isTruncated {
      chosen = chooseForSkeleton(chosen, of: number, &reading, value, isCounted: !isOut)
    }
    if !isOut, !chosen.isEmpty { handOut(chosen, of: entry, &reading, value, &effects) }
    if share.offset == entry.last { endHandOut(number) }
  }

  private mutating func handOut(
    _ chosen: [Int], of entry: HandOut, _ reading: inout RecordScratch, _ value: RawSpan,
    _ effects: inout Effects
  ) {
    counters.spansHandedOut += UInt64(chosen.count)
    let annotation = annotation(of: entry)
    if isWhole(chosen, of: reading.record) {
      return forward(value, of: entry.traceID, threshold: entry.threshold, annotation, into: &effects)
    }
    reading.piece.removeAll()
    reading.piece.appendPiece(chosen, of: reading.record, bytes: value)
    reading.piece.bytes.withRawBytes {
      forward($0, of: entry.traceID, threshold: entry.threshold, annotation, into: &effects)
    }
  }

  /// Whether the spans are all of a record that can be forwarded as its own bytes.
  private func isWhole(_ spans: [Int], of record: ScannedRecord) -> Bool {
    record.isSingleTrace && record.isWhole && spans.count == record.spans.count
  }

  /// Those of a trace's spans that have not been handed out.
  private mutating func newSpans(
    _ spans: [Int], of number: Int, _ record: ScannedRecord, _ value: RawSpan
  ) -> [Int] {
    var known = handOuts.withProgress(of: number) { $0.known }
    let new = spans.filter { !register.isKnown(record.spans[$0], in: value, to: &known) }
    handOuts.withProgress(of: number) { $0.known = known }
    return new
  }

  /// Those of a trace's spans that its skeleton has: the same that were chosen when they arrived.
  private mutating func chooseForSkeleton(
    _ spans: [Int], of number: Int, _ reading: inout RecordScratch, _ value: RawSpan, isCounted: Bool
  ) -> [Int] {
    guard !spans.isEmpty else { return spans }
    var byteCount = UInt64(value.byteCount)
    if !isWhole(spans, of: reading.record) {
      reading.piece.removeAll()
      reading.piece.appendPiece(spans, of: reading.record, bytes: value)
      byteCount = UInt64(reading.piece.count)
    }
    let limits = configuration.limits
    let record = reading.record
    let chosen = handOuts.withProgress(of: number) { progress -> [Int] in
      progress.spanCount.count(UInt32(clamping: spans.count))
      progress.byteCount += byteCount
      if progress.spanCount > limits.spansPerTrace || progress.byteCount > limits.bytesPerTrace {
        progress.isOverLimit = true
      }
      guard progress.isOverLimit else { return spans }
      return limits.skeletonSpans(
        spans, of: record, total: (Int(progress.spanCount), progress.byteCount), &progress.skeletonCount)
    }
    if isCounted { counters.spansTruncated += UInt64(spans.count - chosen.count) }
    return chosen
  }
}
