// Redelivered spans: recognised and left out.
//
// A producer that gets no answer from its broker writes a record again, and a sender that gets no answer from
// a collector sends a batch again. A span whose bytes arrived before in its trace is counted and left out
// before anything else happens to it. What surrounds it (resource, scope, record) is not compared: a batch
// may be cut differently the second time. A span with the same id and other bytes is another span.
//
// See `SpanRegister` for how spans are recognised. It is exact except for one pair in 2^64 of spans of one
// trace with different bytes, of which the second would be left out; the hash is seeded, so nobody can choose
// such a pair. Of dropped traces only the tags are known after the verdict: a span with the same id, times,
// status and length as an earlier one counts as the same. All this could change is whether a late record is
// written.

import Invariants
import OTLP
import SpanStorage

extension OpenTrace {
  /// Notes spans of a record by their tags, and folds them into `facts`. Returns the index of the first whose
  /// tag is known, or the end.
  @inline(__always)
  mutating func note(
    _ spans: Range<Int>, of record: ScannedRecord, in register: inout SpanRegister,
    _ facts: inout ShareFacts
  ) -> Int {
    for index in spans {
      // Not a copy of the span: it is 96 bytes, of which half are read.
      let mayBeKnown = seen.insert(record.spans[index].spanID)
      if register.isKnown(record.spans[index], mayBeKnown: mayBeKnown, to: &known) { return index }
      fold(record.spans[index], into: &facts)
    }
    return spans.upperBound
  }
}

extension Sampler {
  /// Notes the spans of an open trace's share by their digests, those before `place` by their tags already.
  /// Returns the new ones; nil if all are new.
  mutating func newSpans(
    of share: Share, from place: Int, of record: ScannedRecord, _ bytes: RawSpan, in slot: Int
  ) -> [Int]? {
    learnDigests(of: slot, and: share.spans.lowerBound..<place, of: record, bytes)
    // Only once there is a known one: of most shares all spans are new.
    var fresh: [Int]?
    for index in place..<share.spans.upperBound {
      let span = record.spans[index]
      let countMax = digestsMax(of: slot, isWanted: span.isRoot || span.status == .error)
      if register.isKnown(span, in: bytes, to: &table[slot].known, countMax: countMax) {
        counters.spansRedelivered += 1
        if handOuts.isUsed { table[rare: slot].hasRedelivered = true }
        if fresh == nil { fresh = Array(share.spans.lowerBound..<index) }
      } else {
        table[slot].seen.insert(span.spanID)
        fresh?.append(index)
      }
    }
    return fresh
  }

  /// How many of a trace's spans are remembered. While it is undecided all are in memory anyway. Later few
  /// are forwarded and nothing bounds how many arrive: the others must not take the room of errors and roots.
  private mutating func digestsMax(of slot: Int, isWanted: Bool) -> Int {
    guard table[slot].state != .undecided else { return .max }
    let (most, overflow) = configuration.limits.spansPerTrace.multipliedReportingOverflow(
      by: isWanted ? 3 : 2)
    return overflow ? .max : most
  }

  /// Switches the trace to digests, computed from its buffered spans.
  mutating func learnDigests(of slot: Int) {
    guard table[slot].known.form != .digests else { return }
    let known = Sampler.digests(of: table[slot].spans, in: &buffer, &workspace.review, &register)
    register.replace(&table[slot].known, by: known)
  }

  /// The same, if some spans of a record are known by their tags and not buffered.
  mutating func learnDigests(
    of slot: Int, and spans: Range<Int>, of record: ScannedRecord, _ bytes: RawSpan
  ) {
    guard table[slot].known.form != .digests else { return }
    var known = Sampler.digests(of: table[slot].spans, in: &buffer, &workspace.review, &register)
    for index in spans { register.note(record.spans[index], in: bytes, to: &known) }
    register.replace(&table[slot].known, by: known)
  }

  private static func digests(
    of spans: BufferedSpans, in buffer: inout SpanBuffer, _ record: inout ScannedRecord,
    _ register: inout SpanRegister
  ) -> KnownSpans {
    var known = KnownSpans(.digests)
    for piece in buffer.pieces(of: spans) {
      buffer.withBytes(of: piece) { bytes in
        do { try record.scan(bytes) } catch { invariant(false, "a buffered piece can't be read: \(error)") }
        for span in record.spans { register.note(span, in: bytes, to: &known) }
      }
    }
    return known
  }

  // MARK: After the verdict

  /// Keeps what is known of the spans of the trace decided last, or releases it.
  mutating func retire(_ known: KnownSpans, of verdict: PastVerdict) {
    // Late spans of a trace that went over a limit are left out in any case.
    guard !verdict.isTruncated else { return register.release(known) }
    let bytes = register.byteCount(of: known)
    if verdict.isKept {
      pastKept.append(known, verdict: verdicts.newestNumber, noteBytes: bytes)
    } else {
      pastDropped.append(known, verdict: verdicts.newestNumber, noteBytes: bytes)
    }
    trimPastSpans()
  }

  /// Forgets the spans of traces whose verdicts are forgotten, and the oldest that have no room. There is
  /// none if tables take more than half their limit: open traces come first.
  mutating func trimPastSpans() {
    let hasRoom = !tableAccount.isHalfDrawn
    let first = verdicts.firstNumber
    let keptMax = hasRoom ? configuration.limits.keptSpanNoteBytes : 0
    while pastKept.isOver(keptMax, since: first) { register.forgetOldest(of: &pastKept) }
    let droppedMax = hasRoom ? configuration.limits.droppedSpanNoteBytes : 0
    while pastDropped.isOver(droppedMax, since: first) { register.forgetOldest(of: &pastDropped) }
  }

  /// Notes the late spans of a decided trace. Returns the new ones; nil if all are new, or the earlier ones
  /// are no longer remembered.
  mutating func newSpans(
    of share: Share, of record: ScannedRecord, _ bytes: RawSpan, after past: Int
  ) -> [Int]? {
    let number = verdicts.number(of: past)
    let found =
      verdicts[past].isKept
      ? register.newSpans(of: share, of: record, bytes, in: &pastKept, verdict: number)
      : register.newSpans(of: share, of: record, bytes, in: &pastDropped, verdict: number)
    trimPastSpans()
    return found
  }

  /// Notes reread spans that were already dealt with: they may be redelivered.
  mutating func noteReplayed(_ share: Share, of record: ScannedRecord, _ bytes: RawSpan, _ past: Int) {
    counters.spansReplayed += UInt64(share.spans.count)
    // A recall has to read it, too: late spans that the last owner had dropped.
    if !verdicts[past].isKept { verdicts[past].noteLate(at: share.offset) }
    // Those will be handed out by the trace's recall: they are not known until then.
    if let late = recalls.late(of: share.traceID), share.offset <= late { return }
    _ = newSpans(of: share, of: record, bytes, after: past)
  }

  /// Checks that no notes are lost or duplicated. For tests: it visits every open trace.
  func checkKnownSpans() {
    var known = pastKept.all + pastDropped.all + handOuts.known
    var slot = table.opened.first
    while let current = slot {
      known.append(table[current].known)
      slot = table.next(after: current)
    }
    register.checkInvariants(known)
    for past in [pastKept, pastDropped] {
      let bytes = past.all.reduce(0) { $0 + register.byteCount(of: $1) }
      invariant(bytes == past.noteBytes, "notes on past spans take \(bytes) bytes, not \(past.noteBytes)")
    }
  }
}

extension Share {
  /// Passes a part of the share and its piece to `body`, unless the part is empty. The part's spans become
  /// the first of the share.
  func withPart(
    _ spans: [Int], of record: inout ScannedRecord, _ bytes: RawSpan,
    _ body: (Share, inout ScannedRecord, RawSpan) -> Void
  ) {
    guard !spans.isEmpty else { return }
    var part = self
    part.spans = record.moveToFront(spans, of: self.spans)
    var piece = WireWriter()
    piece.appendPiece(part.spans, of: record, bytes: bytes)
    piece.bytes.withRawBytes { body(part, &record, $0) }
  }
}

extension SpanRegister {
  /// Forgets the spans of the oldest trace in `past`, which is not empty.
  fileprivate mutating func forgetOldest(of past: inout PastSpans) {
    let known = past.oldest
    past.removeOldest(noteBytes: byteCount(of: known))
    release(known)
  }

  fileprivate mutating func newSpans(
    of share: Share, of record: ScannedRecord, _ bytes: RawSpan, in past: inout PastSpans, verdict: Int
  ) -> [Int]? {
    guard let place = past.find(verdict) else { return nil }
    var known = past[place]
    let before = byteCount(of: known)
    let fresh = share.spans.filter { index in
      let span = record.spans[index]
      return known.form == .digests
        ? !isKnown(span, in: bytes, to: &known) : !isKnown(span, mayBeKnown: true, to: &known)
    }
    past.update(place, known, growth: byteCount(of: known) - before)
    return fresh.count == share.spans.count ? nil : fresh
  }
}
