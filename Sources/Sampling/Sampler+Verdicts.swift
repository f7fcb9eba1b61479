// How windows close: the verdict, its record, and the kept spans.

import Invariants
import OTLP
import SpanStorage

extension Sampler {
  /// Keeps a trace whose window is still open: writes its early record and forwards its spans so far.
  mutating func keepEarly(_ slot: Int, _ trigger: Decision.Trigger, into effects: inout Effects) {
    let outcome = policies.program.certain(table[slot].facts)
    counters.tracesKeptEarly += 1
    // A trace that neither policies nor links keep went over a limit.
    table[slot].state = outcome.matches == 0 && !table[slot].isLinked ? .skeleton : .kept
    // A certain match is kept for its own sake: it stands for no other trace.
    table[rare: slot].threshold = .always
    // The spans first, to know what is left out. The record still goes before them.
    let place = effects.outputs.count
    forwardBuffered(slot, outcome, into: &effects)
    var decision = Decision(
      on: table[slot], table[rare: slot], outcome, trigger, isFinal: false, at: verdictTime)
    if table[slot].isLinked { decision.linked = links?[table[slot].id]?.reach }
    emit(decision, outcome, slot, at: place, &effects)
    if hasLinks { tellLinks(of: slot, isOwn: outcome.matches != 0, into: &effects) }
  }

  /// Closes a window: gives the verdict, or repeats the early one with everything known now.
  mutating func close(_ slot: Int, _ trigger: Decision.Trigger, into effects: inout Effects) {
    stopAwaiting(slot)
    let shape = notesShapes ? shape(of: slot) : nil
    var rate = hasBaseline ? baselineRate(of: slot, shape) : nil
    var first = PartitionBaseline.FirstOfShape()
    if let shape {
      first = seeShape(shape, of: slot, wasKept: table[slot].state != .undecided, &rate)
    }
    if hasLinks { shareRandomness(slot) }
    var outcome = policies.decide(table.facts(of: slot), at: clock, baseline: rate?.threshold ?? .never)
    let isCertain = outcome.isKept && outcome.isCertain
    if hasLinks, table[slot].state == .undecided, !outcome.isVetoed, !isCertain {
      reviewLinks(of: slot, isClosing: true, into: &effects)
      // It was decided with the rate of a first trace, and is none.
      if first.isWanted, table[slot].state != .undecided, let policy = baseline?.policy {
        outcome.matches &= ~(1 << UInt64(policy))
      }
    }
    let wasKept = table[slot].state != .undecided
    if let shape { settleShape(shape, of: slot, first, outcome, wasKept: wasKept) }
    if let rate { countForBaseline(slot, outcome, wasKept: wasKept, rate) }
    // A trace that went over a limit has been forwarded: a veto comes too late.
    if wasKept, outcome.isVetoed { outcome = PolicyOutcome() }
    let isKept = wasKept || outcome.isKept
    if isKept, !wasKept {
      table[slot].state = .kept
      table[rare: slot].threshold = outcome.threshold
    }
    let shadow =
      policies.shadow == nil ? 0 : askShadow(slot, isKept: isKept, isVetoed: outcome.isVetoed)
    let place = effects.outputs.count
    if isKept { forwardBuffered(slot, outcome, into: &effects) } else { releaseBuffered(slot) }
    if isKept, isLogBacked(slot) { handOutLater(slot, outcome) }
    // A dropped trace has been neither forwarded nor cut.
    let rare = isKept ? table[rare: slot] : RareFacts()
    var decision = Decision(on: table[slot], rare, outcome, trigger, isFinal: true, at: verdictTime)
    decision.shadow = shadow
    if hasLinks {
      let note = links?[table[slot].id]
      if table[slot].isLinked { decision.linked = note?.reach }
      decision.links = note?.links ?? []
      if isKept, rare.threshold != .always {
        decision.sharedRandomness = sharedRandomness(of: table[slot].id)
      }
    }
    decision.shape = shape?.edges ?? 0
    emit(decision, outcome, slot, at: place, &effects)
    if isKept, hasLinks {
      tellLinks(of: slot, isOwn: isCertain && !outcome.isVetoed, into: &effects)
    }
    count(slot, outcome, isKept: isKept)
    var past = PastVerdict(on: table[slot], rare.threshold, isVetoed: outcome.isVetoed, at: verdictTime)
    if hasLinks {
      past.isThinned = table[rare: slot].incomingThreshold != .always
      past.dependsOnOthers = isKept && !wasKept && outcome.threshold == .always && !outcome.isCertain
      if isKept { past.sharedRandomness = decision.sharedRandomness }
    }
    retire(slot, past)
    release(slot)
  }

  /// Releases an open trace and everything that it has in the tables, except what is known of its spans.
  mutating func release(_ slot: Int) {
    serviceLists.release(table[slot].services)
    operations.release(table[slot].rootOperation)
    if table[slot].errors >= 0 {
      errorNotes.release(from: table[slot].errors) { note in operations.release(note.operation) }
    }
    if hasBaseline { baseline?.attributes?.release(slot) }
    if notesShapes { shapeNotes.release(slot) }
    table.close(slot)
  }

  /// Counts the final verdict on the trace in `slot`.
  @inline(__always)
  private mutating func count(_ slot: Int, _ outcome: PolicyOutcome, isKept: Bool) {
    serviceVerdicts.count(table[slot].rootService, isKept: isKept, most: configuration.limits.servicesCounted)
    guard isKept else {
      counters.tracesDropped += 1
      counters.spansDropped += UInt64(table[slot].spanCount)
      return
    }
    counters.tracesKept += 1
    if let reason = firstReason(of: slot, matches: outcome.matches) {
      counters.keptByReason[reason, default: 0] += 1
    }
  }

  /// Remembers the verdict on the trace in `slot`, and what is known of its spans, for late spans.
  @inline(__always)
  mutating func retire(_ slot: Int, _ verdict: PastVerdict) {
    let past = remember(
      verdict, policies.program.remembersFacts ? RememberedFacts(table[slot].facts) : RememberedFacts())
    index.move(index.hash(verdict.traceID), from: .open(slot), to: .past(past))
    retire(table[slot].known, of: verdict)
  }

  /// Remembers a verdict for late spans. Returns where it is, which the caller enters in the index.
  mutating func remember(_ verdict: PastVerdict, _ facts: RememberedFacts = RememberedFacts()) -> Int {
    // Nothing older is known: the next owner need not look for it.
    if verdicts.foundCount == 0, let nextOffset { moveHorizon(from: nextOffset) }
    if verdicts.count >= configuration.limits.verdicts || !verdicts.hasRoom { forgetForRoom() }
    return verdicts.append(verdict, facts, in: &index)
  }

  private mutating func releaseBuffered(_ slot: Int) {
    buffer.release(&table[slot].spans)
  }

  // MARK: Kept spans

  /// Forwards what the trace has buffered, several pieces at a time, and releases it.
  mutating func forwardBuffered(
    _ slot: Int, _ outcome: PolicyOutcome, into effects: inout Effects
  ) {
    learnDigests(of: slot)
    guard !table[slot].spans.isEmpty else { return }
    let tooLargeBefore = counters.spansTooLarge
    let (traceID, threshold) = (table[slot].id, table[rare: slot].threshold)
    let annotation = annotation(of: slot, matches: outcome.matches)
    var portion = Portion(start: effects.arena.count)
    for piece in buffer.pieces(of: table[slot].spans) {
      let grown = Sampler.grown(piece.byteCount, by: annotation)
      if effects.arena.count - portion.start + grown > configuration.limits.forwardBytes {
        emit(&portion, of: traceID, into: &effects)
      }
      if grown > configuration.limits.forwardBytes {
        let bytes = buffer.withBytes(of: piece) { $0.copied() }
        bytes.withRawBytes {
          forward($0, of: traceID, threshold: threshold, annotation, into: &effects)
        }
        portion.start = effects.arena.count
      } else {
        buffer.withBytes(of: piece) { bytes in
          effects.arena.appendAccepted(bytes, threshold, annotation, counts: &portion.counts)
        }
      }
    }
    emit(&portion, of: traceID, into: &effects)
    noteTooLarge(since: tooLargeBefore, in: slot)
    releaseBuffered(slot)
  }

  /// Forwards a piece of the open trace in `slot` at once.
  mutating func forward(_ piece: RawSpan, of slot: Int, into effects: inout Effects) {
    let tooLargeBefore = counters.spansTooLarge
    forward(
      piece, of: table[slot].id, threshold: table[rare: slot].threshold, annotation(of: slot), into: &effects)
    noteTooLarge(since: tooLargeBefore, in: slot)
  }

  private mutating func noteTooLarge(since before: UInt64, in slot: Int) {
    guard counters.spansTooLarge > before else { return }
    table[rare: slot].tooLargeCount.count(UInt32(clamping: counters.spansTooLarge - before))
  }

  /// Counts what an earlier owner left out of a piece it forwarded: nothing is written again.
  mutating func recount(_ piece: RawSpan, of slot: Int, into effects: inout Effects) {
    guard Sampler.grown(piece.byteCount, by: annotation(of: slot)) > configuration.limits.sampledBytes else {
      return
    }
    let (counted, outputs, bytes) = (counters, effects.outputs.count, effects.arena.count)
    forward(piece, of: slot, into: &effects)
    counters = counted
    effects.outputs.removeSubrange(outputs...)
    effects.arena.appendBytes { $0.removeSubrange(bytes...) }
  }

  /// The most bytes that a threshold adds to a span: `ot=th:`, 14 digits, a comma, and tag and lengths.
  private static let tracestateGrowth = 26

  /// Forwards one piece at once; in portions, if it may outgrow one.
  mutating func forward(
    _ piece: RawSpan, of traceID: TraceID, threshold: SamplingThreshold, _ annotation: SpanAnnotation,
    into effects: inout Effects
  ) {
    guard Sampler.grown(piece.byteCount, by: annotation) > configuration.limits.forwardBytes else {
      var portion = Portion(start: effects.arena.count)
      effects.arena.appendAccepted(piece, threshold, annotation, counts: &portion.counts)
      return emit(&portion, of: traceID, into: &effects)
    }
    var record = ScannedRecord()
    do { try record.scan(piece) } catch { invariant(false, "a buffered piece can't be read: \(error)") }
    var cutter = PortionCutter(recordBytes: piece.byteCount, bytesMax: portionBytes(of: record, in: piece))
    var chosen: [Int] = []
    for index in record.spans.indices {
      let span = record.spans[index]
      let isAnnotated = annotation.scope == .all || span.isRoot
      let growth = Sampler.tracestateGrowth + annotation.growth(isAnnotated: isAnnotated)
      if let size = cutter.add(span, of: record, growth: growth) {
        forward(chosen, size, of: record, piece, traceID, threshold, annotation, &effects)
        chosen.removeAll(keepingCapacity: true)
      }
      chosen.append(index)
    }
    forward(chosen, cutter.byteCount, of: record, piece, traceID, threshold, annotation, &effects)
  }

  /// How large portions of a record may be: as large as the topic takes, if what surrounds the spans takes
  /// more than half of the usual size.
  private func portionBytes(of record: ScannedRecord, in piece: RawSpan) -> Int {
    var around = piece.byteCount
    for span in record.spans { around -= Int(span.field.count) }
    let limits = configuration.limits
    let isHeavy = around > limits.forwardBytes / 2
    return isHeavy ? max(limits.forwardBytes, limits.forwardBytesMax) : limits.forwardBytes
  }

  /// Forwards some spans of a record. A single one that only its attributes make too large is forwarded
  /// without them.
  private mutating func forward(
    _ chosen: [Int], _ size: Int, of record: ScannedRecord, _ bytes: RawSpan, _ traceID: TraceID,
    _ threshold: SamplingThreshold, _ annotation: SpanAnnotation, _ effects: inout Effects
  ) {
    var part = WireWriter()
    part.appendPiece(chosen, of: record, bytes: bytes)
    let isTooLarge = size > configuration.limits.forwardBytesMax
    let annotation = chosen.count == 1 && isTooLarge ? annotation.withoutAttributes : annotation
    var portion = Portion(start: effects.arena.count)
    part.bytes.withRawBytes {
      effects.arena.appendAccepted($0, threshold, annotation, counts: &portion.counts)
    }
    emit(&portion, of: traceID, into: &effects)
  }

  /// Makes one output of what was appended since the portion's start, and starts the next. An output larger
  /// than the topic takes is a single span, or spans of a resource that is too large by itself.
  private mutating func emit(_ portion: inout Portion, of traceID: TraceID, into effects: inout Effects) {
    let end = effects.arena.count
    guard end > portion.start else { return }
    let spans = portion.counts.spans
    if end - portion.start <= configuration.limits.sampledBytes {
      effects.outputs.append(.forward(traceID, bytes: portion.start..<end, spans: spans))
      counters.spansKept += UInt64(spans)
      counters.bytesKept += UInt64(end - portion.start)
      if metrics.isUsed { offerExemplars(portion.start..<end, of: effects.bytes) }
    } else {
      effects.outputs.append(.leaveOut(traceID, bytes: portion.start..<end, spans: spans))
      counters.spansTooLarge += UInt64(spans)
    }
    counters.tracestatesLeftAlone += UInt64(portion.counts.tracestatesLeftAlone)
    portion = Portion(start: end)
  }

  // MARK: Records

  /// Inserts a decision as the output at `place`, with its record if one is to be written.
  mutating func emit(
    _ decision: Decision, _ outcome: PolicyOutcome, _ slot: Int, at place: Int, _ effects: inout Effects
  ) {
    let isUnwritten = configuration.dropped == .ledger || configuration.dropped == .none
    if !decision.isKept, isUnwritten, !showsShadow(decision) {
      effects.insert(decision, record: nil, at: place)
      guard configuration.dropped == .ledger else { return }
      ledger.append(decision, earliestStart: table[slot].earliestStart)
      if ledger.isFull { endLedgerPage(into: &effects) }
      return
    }
    let isCompact = !decision.isKept && configuration.dropped == .compact
    let record = write(decision, outcome, slot, isCompact: isCompact, &effects)
    effects.insert(decision, record: record, at: place)
  }

  /// Whether a dropped trace has a record instead of an entry in the ledger: shadow policies would change its
  /// verdict, and that has not happened too often lately.
  @inline(__always)
  private mutating func showsShadow(_ decision: borrowing Decision) -> Bool {
    guard decision.shadow != 0, configuration.dropped == .ledger else { return false }
    return policies.shadow?.takeRecord(at: clock) ?? false
  }

  /// Writes the decision record about the trace in `slot`, its names straight from their tables, and returns
  /// its range. One that doesn't fit its topic is written again.
  mutating func write(
    _ decision: Decision, _ outcome: PolicyOutcome, _ slot: Int, isCompact: Bool, _ effects: inout Effects
  ) -> Range<Int> {
    texts.prepare(for: decision, isCompact: isCompact)
    let (service, operation) = (table[slot].rootService, table[slot].rootOperation)
    let list = table[slot].services
    var origin: ErrorNote?
    var room = texts.room + services.textBytesMax + operations.textBytesMax
    if decision.shadow != 0 { room += texts.shadows.currentCount }
    if !isCompact {
      texts.prepare(
        policies: outcome.matches, table[slot].state, isLinked: table[slot].isLinked,
        isFirstOfShape: table[slot].isFirstOfShape)
      if table[slot].errors >= 0 { origin = errorNotes.origin(from: table[slot].errors) }
      // Each service with a comma.
      room +=
        texts.reasons.currentCount + (Int(list.count) + 1) * (services.textBytesMax + 1)
        + operations.textBytesMax
    }
    let start = effects.arena.count
    effects.arena.bytes.appendText(room: room) { out in
      decision.appendJSON(texts, isCompact: isCompact, to: &out) { part, out in
        switch part {
        case .policies: texts.reasons.appendCurrent(to: &out)
        case .shadow: texts.shadows.appendCurrent(to: &out)
        case .services:
          out.appendServices { out in
            var isFirst = true
            // Not a function that takes the table: it would be copied.
            serviceLists.forEach(list) { service in
              if !isFirst { out.append(0x2c) }
              isFirst = false
              services.appendText(of: service, to: &out)
            }
          }
        case .root:
          out.appendRoot {
            services.appendText(of: service, to: &$0)
          } operation: {
            operations.appendText(of: operation, to: &$0)
          }
        case .origin:
          guard let origin else { return out.append(#","error_origin":null"#) }
          out.appendOrigin(origin.spanID) {
            services.appendText(of: origin.service, to: &$0)
          } operation: {
            operations.appendText(of: origin.operation, to: &$0)
          }
        }
      }
    }
    if effects.arena.count - start > configuration.limits.decisionBytes {
      shorten(
        decision, names(of: slot, outcome, decision.shadow, isCompact: isCompact), isCompact, from: start,
        &effects)
    }
    return start..<effects.arena.count
  }

  /// Writes a decision record with these names that fits its topic, and returns its range.
  mutating func write(
    _ decision: Decision, _ names: DecisionNames, isCompact: Bool, _ effects: inout Effects
  ) -> Range<Int> {
    let start = effects.arena.count
    texts.append(decision, names, isCompact: isCompact, to: &effects.arena.bytes)
    if effects.arena.count - start > configuration.limits.decisionBytes {
      shorten(decision, names, isCompact, from: start, &effects)
    }
    return start..<effects.arena.count
  }

  /// Rewrites the decision record that starts at `start`, leaving out enough names to fit its topic.
  private mutating func shorten(
    _ decision: Decision, _ names: DecisionNames, _ isCompact: Bool, from start: Int, _ effects: inout Effects
  ) {
    counters.decisionsShortened += 1
    var (decision, names) = (decision, names)
    // They are on the spans.
    decision.links = []
    names.leaveOut(
      bytes: effects.arena.count - start - configuration.limits.decisionBytes,
      rest: Array(Sampler.otherServicesName.utf8))
    effects.arena.bytes.removeSubrange(start...)
    texts.append(decision, names, isCompact: isCompact, to: &effects.arena.bytes)
  }

  private mutating func names(
    of slot: Int, _ outcome: PolicyOutcome, _ shadow: UInt64, isCompact: Bool
  ) -> DecisionNames {
    var names = DecisionNames()
    names.shadow = texts.shadowNames(in: shadow)
    names.rootService = services.bytes(of: table[slot].rootService)
    names.rootOperation = operations.bytes(of: table[slot].rootOperation)
    guard !isCompact else { return names }
    names.policies = reasons(of: slot, matches: outcome.matches)
    serviceLists.forEach(table[slot].services) { service in
      names.services.append(services.bytes(of: service))
    }
    if let origin = errorNotes.origin(from: table[slot].errors) {
      names.origin = (
        origin.spanID, services.bytes(of: origin.service), operations.bytes(of: origin.operation)
      )
    }
    return names
  }

  /// The reason given for a trace that went over a limit.
  public static var limitReason: String { "trace_limit" }

  /// The reason given for a trace that is kept because the fleet had kept none of its shape, instead of the
  /// baseline's.
  public static var firstOfShapeReason: String { "first_of_shape" }

  /// The reason in the final record of a trace that was kept early by policies that have been replaced since,
  /// or by the last owner's.
  public static var earlierReason: String { "earlier_policies" }
}

extension Effects {
  /// Adds a decision as the output at `place`: nearly always the end.
  @inline(__always)
  fileprivate mutating func insert(_ decision: Decision, record: Range<Int>?, at place: Int) {
    guard place < outputs.count else { return outputs.append(.decide(decision, record: record)) }
    outputs.insert(.decide(decision, record: record), at: place)
  }
}

/// Bytes of one trace that are written together.
private struct Portion {
  var start: Int
  var counts = RewriteCounts()
}

extension WireWriter {
  /// Appends a piece that the scanner has accepted before.
  fileprivate mutating func appendAccepted(
    _ piece: RawSpan, _ threshold: SamplingThreshold, _ annotation: SpanAnnotation,
    counts: inout RewriteCounts
  ) {
    do {
      try appendKept(piece, threshold: threshold, annotation: annotation, counts: &counts)
    } catch {
      invariant(false, "an accepted piece can't be read again: \(error)")
    }
  }
}
