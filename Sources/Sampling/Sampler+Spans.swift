// How one trace's share of a record is processed: opened, accumulated, buffered or forwarded at once.

import OTLP
import SpanStorage

extension Sampler {
  /// Processes the share of one trace.
  ///
  /// - Parameters:
  ///   - bytes: the record's bytes, which `record` refers to.
  ///   - piece: the share as its own `TracesData`; the record itself if it has only one trace.
  mutating func take(
    _ share: Share, of record: inout ScannedRecord, _ bytes: RawSpan, _ piece: RawSpan,
    _ effects: inout Effects
  ) {
    counters.spansRead += UInt64(share.spans.count)
    let slot: Int
    let hash = index.hash(share.traceID)
    switch find(share.traceID, hash) {
    case .open(let open): slot = open
    case .past(let past) where isRemembered(past, at: share.offset):
      return takePast(share, of: &record, bytes, piece, past, &effects)
    default:
      if handOuts.isUsed, isHandedOut(share) {
        return counters.spansReplayed += UInt64(share.spans.count)
      }
      makeRoomInTable(&effects)
      slot = table.open(OpenTrace(id: share.traceID, firstOffset: share.offset, openedAt: clock))
      index.insert(hash, .open(slot))
      counters.tracesOpened += 1
      if isReplayed(share.offset), let threshold = recovery.keptEarly.removeValue(forKey: share.traceID) {
        table[slot].state = .kept
        table[rare: slot].threshold = threshold
        table[slot].isRestored = true
        table[slot].known = KnownSpans(.digests)
        if hasLinks, let reach = recovery.linked.removeValue(forKey: share.traceID) {
          table[slot].isLinked = true
          setReach(reach, of: share.traceID)
        }
      }
      // Tags can't be turned into digests later: no span is in memory.
      if handOuts.isUsed, handOuts.covers(share.offset) { table[slot].known = KnownSpans(.digests) }
    }
    var facts = ShareFacts()
    var place = share.spans.lowerBound
    if table[slot].known.form != .digests {
      place = table[slot].note(share.spans, of: record, in: &register, &facts)
    }
    if place == share.spans.upperBound {
      takeOpen(share, facts, of: &record, bytes, piece, slot, &effects)
    } else {
      takeNew(share, from: place, of: &record, bytes, piece, slot, &effects)
    }
  }

  /// Whether the share, read again, is of a kept trace whose verdict the cache had no room for.
  @inline(never)
  private mutating func isHandedOut(_ share: Share) -> Bool {
    isReplayed(share.offset) && handOuts.find(share.traceID, at: share.offset) != nil
  }

  /// Processes the new spans of an open trace's share, of which those before `place` are known to be new.
  @inline(never)
  private mutating func takeNew(
    _ share: Share, from place: Int, of record: inout ScannedRecord, _ bytes: RawSpan, _ piece: RawSpan,
    _ slot: Int, _ effects: inout Effects
  ) {
    guard let new = newSpans(of: share, from: place, of: record, bytes, in: slot) else {
      return takeWhole(share, of: &record, bytes, piece, slot, &effects)
    }
    share.withPart(new, of: &record, bytes) { takeWhole($0, of: &$1, bytes, $2, slot, &effects) }
  }

  private mutating func takeWhole(
    _ share: Share, of record: inout ScannedRecord, _ bytes: RawSpan, _ piece: RawSpan, _ slot: Int,
    _ effects: inout Effects
  ) {
    var facts = ShareFacts()
    for index in share.spans { table[slot].fold(record.spans[index], into: &facts) }
    takeOpen(share, facts, of: &record, bytes, piece, slot, &effects)
  }

  /// Processes a share of an open trace whose spans are all new.
  ///
  /// The record is `inout` here and in what this calls, though it does not change: otherwise each of these
  /// calls would copy it.
  @inline(__always)
  private mutating func takeOpen(
    _ share: Share, _ facts: ShareFacts, of record: inout ScannedRecord, _ bytes: RawSpan, _ piece: RawSpan,
    _ slot: Int, _ effects: inout Effects
  ) {
    if notesShapes { noteShape(share, of: &record, bytes, in: slot) }
    if isVeryLate(facts.earliestStart, at: table[slot].firstOffset) {
      awaitVerdict(slot, facts, at: share.offset)
    }
    var mayBeCertain = table[slot].add(
      facts, byteCount: piece.byteCount, at: share.offset, policies.program.edges,
      askedSince: askedSince)
    if accumulate(share, facts, of: &record, bytes, into: slot) { mayBeCertain = true }
    guard deliver(share, of: &record, bytes, piece, slot, mayBeCertain, &effects) else { return }
    if hasLinks, facts.isAsynchronous || table[slot].spanCount == facts.spanCount {
      reviewLinks(of: slot, into: &effects)
    }
    guard table[slot].isRootWaitOver, table[slot].isComplete, !table[slot].awaitsVerdict, !waitsOn(slot)
    else { return }
    close(slot, .root, into: &effects)
  }

  /// Decides the oldest trace early if there is no memory for another.
  private mutating func makeRoomInTable(_ effects: inout Effects) {
    guard !table.hasFreeSlot, tableAccount.isOverdrawn, !recovery.isCollecting,
      let oldest = table.opened.first
    else { return }
    counters.tracesShed += 1
    close(oldest, .memory, into: &effects)
  }

  /// The number of an operation's name; `none` if there is no memory for a new one.
  private mutating func noteOperation(_ name: RawSpan) -> NameID {
    tableAccount.isOverdrawn ? operations.internKnown(name) : operations.intern(name)
  }

  // MARK: Accumulators

  /// Adds to the trace what its share's spans say beyond `facts`, which it has already. Returns whether a
  /// predicate matched for the first time.
  @inline(__always)
  private mutating func accumulate(
    _ share: Share, _ facts: ShareFacts, of record: inout ScannedRecord, _ bytes: RawSpan, into slot: Int
  ) -> Bool {
    let readsEach =
      facts.hasRoots || facts.hasTraceStates || facts.errorCount > 0 || policies.predicates.readsSpans
      || readsKeys || (hasLinks && facts.isAsynchronous)
    if readsEach || record.resources.count > 1 {
      return accumulateEach(share, of: &record, bytes, into: slot)
    }
    _ = note(record.resources[0], of: bytes, in: slot)
    return false
  }

  /// The same span by span.
  private mutating func accumulateEach(
    _ share: Share, of record: inout ScannedRecord, _ bytes: RawSpan, into slot: Int
  ) -> Bool {
    var resource = UInt32.max
    var service = NameID.none
    let (hadRoot, matches) = (table[slot].hasRoot, table[slot].predicateMatches)
    let readsAttributes = policies.predicates.attributeBits != 0
    let readsSpans = policies.predicates.readsSpans
    for index in share.spans {
      // Not a copy of the span: it is 96 bytes, of which little is read.
      if record.spans[index].resource != resource {
        resource = record.spans[index].resource
        service = note(record.resources[Int(resource)], of: bytes, in: slot)
        if readsAttributes { table[slot].predicateMatches |= resourceMatches[Int(resource)] }
        if readsKeys { baseline?.attributes?.startResource() }
      }
      if readsKeys, baseline?.note(record.spans[index], of: bytes, in: slot) == false {
        counters.keysBeyondLimit += 1
      }
      if readsSpans {
        policies.predicates.match(
          record.spans[index], of: record, bytes, into: &table[slot].predicateMatches)
      }
      if hasLinks, record.spans[index].hasLinks {
        noteLinks(record.spans[index], of: bytes, in: share.traceID)
      }
      let (traceState, isRoot) = (record.spans[index].traceState, record.spans[index].isRoot)
      if traceState.count > 0 || isRoot {
        let isGiven = TraceStateSampling.isGiven(in: traceState, of: bytes)
        let sampling = isGiven ? TraceStateSampling(traceState, of: bytes) : TraceStateSampling()
        table.accumulate(sampling, isRoot: isRoot, in: slot)
      }
      if isRoot { noteRoot(record.spans[index].start, record.spans[index].name, service, bytes, in: slot) }
      if record.spans[index].status == .error { noteError(record.spans[index], service, bytes, in: slot) }
    }
    counters.conditionErrors = policies.predicates.conditionErrors
    counters.conditionErrorsSaid = policies.predicates.conditionErrorsSaid
    if table[slot].hasRoot, !hadRoot { table.startRootWait(slot) }
    return table[slot].predicateMatches != matches
  }

  /// Adds the service of a resource to the trace's list, if it is new.
  @inline(__always)
  private mutating func note(_ resource: ResourceView, of bytes: RawSpan, in slot: Int) -> NameID {
    let service = findService(of: resource, in: bytes)
    guard service != .none, !serviceLists.contains(service, table[slot].services),
      Int(table[slot].services.count) < configuration.limits.servicesPerTrace
    else { return service }
    serviceLists.add(service, to: &table[slot].services)
    return service
  }

  /// The name of a resource's service; `none` if it has none.
  @inline(__always)
  mutating func findService(of resource: ResourceView, in bytes: RawSpan) -> NameID {
    guard resource.serviceName.count > 0 else { return .none }
    let place = Int(truncatingIfNeeded: resource.number & 0xff)
    let isKnown =
      resource.number != 0 && place < knownServices.count && knownServices[place].resource == resource.number
    return isKnown ? knownServices[place].service : service(of: resource, in: bytes)
  }

  /// Finds or adds the name of a resource's service.
  @inline(never)
  private mutating func service(of resource: ResourceView, in bytes: RawSpan) -> NameID {
    guard let service = services.pin(bytes.extracting(resource.serviceName.indices)) else {
      counters.servicesBeyondLimit += 1
      return otherServices
    }
    guard resource.number != 0 else { return service }
    if knownServices.isEmpty { knownServices = Array(repeating: KnownService(), count: 256) }
    let place = Int(truncatingIfNeeded: resource.number & 0xff)
    knownServices[place] = KnownService(resource: resource.number, service: service)
    return service
  }

  private mutating func noteRoot(
    _ start: UInt64, _ name: ByteRange, _ service: NameID, _ bytes: RawSpan, in slot: Int
  ) {
    if start < table[slot].rootStart || !table[slot].hasRoot {
      table[slot].rootStart = start
      table[slot].rootService = service
      operations.release(table[slot].rootOperation)
      table[slot].rootOperation = noteOperation(bytes.extracting(name.indices))
    }
    guard !table[slot].hasRoot else { return }
    table[slot].hasRoot = true
    table[slot].rootArrivedAt = clock
  }

  private mutating func noteError(
    _ span: SpanView, _ service: NameID, _ bytes: RawSpan, in slot: Int
  ) {
    guard Int(table[slot].notedErrors) < configuration.limits.errorSpansPerTrace,
      table[slot].notedErrors == 0 || !tableAccount.isOverdrawn
    else { return }
    table[slot].notedErrors += 1
    table[slot].errors = errorNotes.add(
      ErrorNote(
        spanID: span.spanID, parentID: span.parentID, end: span.end, service: service,
        operation: noteOperation(bytes.extracting(span.name.indices)), previous: table[slot].errors))
  }

  // MARK: Spans of open traces

  /// Buffers or forwards the share, depending on the trace's state. Returns whether the trace is still open.
  ///
  /// Small enough to be inlined: what happens to most shares is here, the rest in `deliverOther`.
  ///
  /// - Parameter mayBeCertain: whether policies may find the trace certain now that did not before.
  private mutating func deliver(
    _ share: Share, of record: inout ScannedRecord, _ bytes: RawSpan, _ piece: RawSpan, _ slot: Int,
    _ mayBeCertain: Bool, _ effects: inout Effects
  ) -> Bool {
    let isOverLimit = table[slot].exceeds(
      spans: configuration.limits.spansPerTrace, bytes: configuration.limits.bytesPerTrace)
    guard table[slot].state == .undecided, !isOverLimit, !recovery.isHolding, !isLogBacked(slot) else {
      return deliverOther(share, of: &record, bytes, piece, slot, mayBeCertain, isOverLimit, &effects)
    }
    buffer.append(piece, to: &table[slot].spans, owner: slot)
    if mayBeCertain, !table[slot].awaitsVerdict, policies.program.certain(table[slot].facts).isKept {
      keepEarly(slot, .eager, into: &effects)
    }
    return true
  }

  /// The same for a share of a trace that is log-backed, kept, over a limit, or not to be decided now.
  @inline(never)
  private mutating func deliverOther(
    _ share: Share, of record: inout ScannedRecord, _ bytes: RawSpan, _ piece: RawSpan, _ slot: Int,
    _ mayBeCertain: Bool, _ isOverLimit: Bool, _ effects: inout Effects
  ) -> Bool {
    if isLogBacked(slot) {
      return deliverLogBacked(share, of: &record, slot, mayBeCertain, isOverLimit, &effects)
    }
    switch table[slot].state {
    case .undecided where recovery.isHolding:
      hold(share, of: record, bytes, piece, slot, isGiant: isOverLimit && recovery.isCollecting, &effects)
    case .undecided where policies.program.isVetoCertain(table[slot].facts):
      close(slot, .limit, into: &effects)
      return false
    case .undecided:
      stopAwaiting(slot)
      learnDigests(of: slot, and: share.spans, of: record, bytes)
      keepEarly(slot, .limit, into: &effects)
      startSkeleton(slot)
      forwardSkeleton(share, of: record, bytes, slot, &effects)
    case .kept where isOverLimit:
      startSkeleton(slot)
      forwardSkeleton(share, of: record, bytes, slot, &effects)
    case .kept where isReplayed(share.offset) && table[slot].isRestored:
      counters.spansReplayed += UInt64(share.spans.count)
      recount(piece, of: slot, into: &effects)
    case .kept:
      forward(piece, of: slot, into: &effects)
    case .skeleton:
      forwardSkeleton(share, of: record, bytes, slot, &effects)
    }
    return true
  }

  /// Buffers a share of a trace that is not to be decided now. A giant that is recalled becomes a skeleton
  /// like any other, which is handed out with its record.
  private mutating func hold(
    _ share: Share, of record: ScannedRecord, _ bytes: RawSpan, _ piece: RawSpan, _ slot: Int,
    isGiant: Bool, _ effects: inout Effects
  ) {
    guard isGiant else { return buffer.append(piece, to: &table[slot].spans, owner: slot) }
    learnDigests(of: slot, and: share.spans, of: record, bytes)
    startSkeleton(slot)
    forwardSkeleton(share, of: record, bytes, slot, &effects)
  }

  mutating func startSkeleton(_ slot: Int) {
    table[slot].state = .skeleton
    counters.tracesTruncated += 1
  }

  /// The share's spans that the skeleton has; the rest is counted in the trace.
  mutating func chooseForSkeleton(_ share: Share, of record: ScannedRecord, _ slot: Int) -> [Int] {
    var errorsAndRoots = table[rare: slot].skeletonCount
    let limits = configuration.limits
    let mayHold = !recovery.isCollecting || table[slot].spans.byteCount / 2 <= limits.bytesPerTrace
    let chosen = limits.skeletonSpans(
      Array(share.spans), of: record, total: (Int(table[slot].spanCount), table[slot].byteCount),
      &errorsAndRoots, hasRoom: mayHold)
    table[rare: slot].skeletonCount = errorsAndRoots
    let left = share.spans.count - chosen.count
    if left > 0 { table[rare: slot].truncatedCount.count(UInt32(clamping: left)) }
    return chosen
  }

  /// Forwards the share's spans that are still under the limits, errors and roots; counts the rest.
  ///
  /// Errors and roots get the same allowance again, so that a giant trace of nothing but errors ends too. Of
  /// a trace that is being recalled nothing goes out before its end, so they get as many bytes, too.
  private mutating func forwardSkeleton(
    _ share: Share, of record: ScannedRecord, _ bytes: RawSpan, _ slot: Int, _ effects: inout Effects
  ) {
    let chosen = chooseForSkeleton(share, of: record, slot)
    counters.spansTruncated += UInt64(share.spans.count - chosen.count)
    let isWritten = isReplayed(share.offset) && table[slot].isRestored
    if isWritten { counters.spansReplayed += UInt64(chosen.count) }
    guard !chosen.isEmpty else { return }
    var part = WireWriter()
    part.appendPiece(chosen, of: record, bytes: bytes)
    part.bytes.withRawBytes {
      if recovery.isCollecting {
        buffer.append($0, to: &table[slot].spans, owner: slot)
      } else if isWritten {
        recount($0, of: slot, into: &effects)
      } else {
        forward($0, of: slot, into: &effects)
      }
    }
  }

  // MARK: Late spans

  /// Processes a share of a decided trace.
  @inline(never)
  private mutating func takePast(
    _ share: Share, of record: inout ScannedRecord, _ bytes: RawSpan, _ piece: RawSpan, _ past: Int,
    _ effects: inout Effects
  ) {
    // A verdict given during recovery does not cover spans still to come.
    guard !isReplayed(share.offset) || !verdicts[past].isRestored else {
      noteReplayed(share, of: record, bytes, past)
      return
    }
    guard let new = newSpans(of: share, of: record, bytes, after: past) else {
      takeLate(share, of: record, bytes, piece, past, &effects)
      return
    }
    counters.spansRedelivered += UInt64(share.spans.count - new.count)
    share.withPart(new, of: &record, bytes) { takeLate($0, of: $1, bytes, $2, past, &effects) }
  }

  /// Spans of a decided trace follow its verdict.
  private mutating func takeLate(
    _ share: Share, of record: ScannedRecord, _ bytes: RawSpan, _ piece: RawSpan, _ past: Int,
    _ effects: inout Effects
  ) {
    let hasNewLinks = hasLinks && noteLateLinks(share, of: record, bytes)
    defer { if hasLinks { followLate(share, of: record, bytes, hasNewLinks: hasNewLinks, &effects) } }
    let verdict = verdicts[past]
    let count = UInt64(share.spans.count)
    guard !verdict.isTruncated else {
      counters.spansTruncated += count
      return
    }
    guard !verdict.isKept else {
      counters.lateSpansKept += count
      forward(
        piece, of: share.traceID, threshold: verdict.threshold, annotation(of: verdict), into: &effects)
      return
    }
    counters.lateSpansDropped += count
    counters.spansDropped += count
    noteLate(share, of: record, bytes, past, &effects)
  }
}

extension Limits {
  /// Those of the spans that arrived last that a skeleton has: what is still under the limits, and as many
  /// errors and roots again.
  ///
  /// - Parameters:
  ///   - total: how many spans and bytes the trace has with them.
  ///   - errorsAndRoots: how many the skeleton has beyond the limits.
  ///   - hasRoom: whether it may have more of them.
  func skeletonSpans(
    _ spans: [Int], of record: ScannedRecord, total: (spans: Int, bytes: UInt64),
    _ errorsAndRoots: inout UInt32, hasRoom: Bool = true
  ) -> [Int] {
    var spansBefore = total.spans - spans.count
    var bytesBefore = total.bytes
    for index in spans { bytesBefore -= min(bytesBefore, UInt64(record.spans[index].field.count)) }
    return spans.filter { index in
      let span = record.spans[index]
      bytesBefore += UInt64(span.field.count)
      spansBefore += 1
      if spansBefore <= spansPerTrace && bytesBefore <= bytesPerTrace { return true }
      guard hasRoom, span.status == .error || span.isRoot, Int(errorsAndRoots) < spansPerTrace else {
        return false
      }
      errorsAndRoots.count()
      return true
    }
  }
}

/// The service of a resource that the scanner recognises.
struct KnownService {
  /// The resource's number; 0 for none.
  var resource: UInt64 = 0
  var service = NameID.none
}
