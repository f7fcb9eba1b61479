// Links: a trace that a kept trace links to, or that links to a kept one, is kept with it.
//
// Only what is certain spreads: traces kept by a policy that is no probability, and traces that links keep
// themselves, up to so many hops. So a trace that links keep is kept for a reason that chance has no part in,
// and its weight is 1. Probabilities keep stories whole in another way: their traces share their randomness.
//
// What is kept is made known by entries in the topic `links`, which are written with the commit. All lanes
// read the whole topic, so links lead from partition to partition. When they read it is up to them, as with
// the fleet's rates. But what follows is written before it counts: an open trace gets an early record, a
// dropped one a request of its recall. So a partition's next owner knows it from the log, like any other
// early verdict or request.

import OTLP

extension Sampler {
  /// The reason given for a trace that links keep.
  public static var linkedReason: String { "linked" }

  // MARK: Reading links

  /// Notes the links of a span of the trace.
  @inline(never)
  mutating func noteLinks(_ span: SpanView, of bytes: RawSpan, in traceID: TraceID) {
    var found: [SpanLink] = []
    counters.linksMalformed += UInt64(span.forEachLink(of: bytes) { found.append($0) })
    found.removeAll { $0.traceID == traceID }
    guard !found.isEmpty else { return }
    var left: UInt64 = 0
    let forgotten = links?.change(traceID, at: clock) { note in
      for link in found where !note.links.contains(link.traceID) {
        guard note.links.count < LinksConfiguration.linksPerTrace else {
          left += 1
          continue
        }
        note.links.append(link.traceID)
      }
      for link in found { note.take(link) }
    }
    counters.linksLeftOut += left
    counters.linksForgotten += forgotten ?? 0
  }

  /// Gives the trace in `slot` the randomness that it shares, when it is decided. One that head sampling has
  /// thinned keeps its own: that of both must be the same for weights to be right. So does one whose spans
  /// are handed out from the log: they would not state it.
  mutating func shareRandomness(_ slot: Int) {
    guard links?.configuration.sharesRandomness == true, !table[slot].isRandomnessGiven,
      table[slot].state == .undecided, table[rare: slot].incomingThreshold == .always, !isLogBacked(slot),
      let note = links?[table[slot].id], note.source != nil
    else { return }
    table[rare: slot].randomness = note.randomness
    table[slot].isRandomnessGiven = true
    _ = links?.change(table[slot].id, at: clock) { $0.isShared = true }
  }

  /// The randomness that kept spans of an open trace have to state; nil if they do already, or it is their
  /// id's. That of a decided one is with its verdict.
  mutating func sharedRandomness(of traceID: TraceID) -> UInt64? {
    guard let note = links?[traceID], note.isShared else { return nil }
    return note.randomness
  }

  /// Notes the randomness that an old verdict on the trace was given by.
  mutating func share(_ randomness: UInt64, of traceID: TraceID) {
    counters.linksForgotten +=
      links?.change(traceID, at: clock) { ($0.randomness, $0.isShared) = (randomness, true) } ?? 0
  }

  // MARK: Open traces

  /// Looks at an open trace that is new, or has another share with links: links may keep it, or it may have
  /// more of them to make known.
  ///
  /// - Parameter isClosing: whether its window closes, and no policy drops it.
  @inline(never)
  mutating func reviewLinks(of slot: Int, isClosing: Bool = false, into effects: inout Effects) {
    guard table[slot].state == .undecided else {
      let isOwn =
        table[slot].isRestored && !table[slot].isLinked
        && policies.program.certain(table[slot].facts).isKept
      return tellLinks(of: slot, isOwn: isOwn, into: &effects)
    }
    guard mayFollowLinks, let reach = reach(of: table[slot].id) else { return }
    keepLinked(slot, reach, isClosing: isClosing, into: &effects)
  }

  /// Whether links may decide anything now.
  private var mayFollowLinks: Bool {
    !recovery.isHolding && !recovery.isCollecting && recovery.clock == .distantPast
  }

  /// The shortest way on which links reach a trace; nil if there is none.
  private mutating func reach(of traceID: TraceID) -> LinkReach? {
    guard let known = workspace.links else { return nil }
    var best = known.reach(linked: traceID, at: clock)
    for link in links?[traceID]?.links ?? [] {
      guard let reach = known.reach(linkingTo: link, at: clock) else { continue }
      if best.map({ reach.hops < $0.hops }) ?? true { best = reach }
    }
    return best
  }

  /// Keeps an open trace because of links, if the rate allows it and no policy may drop it. If one may, the
  /// trace is looked at again when its window closes.
  private mutating func keepLinked(
    _ slot: Int, _ reach: LinkReach, isClosing: Bool = false, into effects: inout Effects
  ) {
    guard table[slot].state == .undecided, !table[slot].awaitsVerdict,
      isClosing || !policies.program.mayVeto(table[slot].facts), takeLinked()
    else { return }
    counters.tracesLinked += 1
    setReach(reach, of: table[slot].id)
    table[slot].isLinked = true
    keepEarly(slot, .linked, into: &effects)
  }

  /// Takes one trace from what the rate allows.
  private mutating func takeLinked() -> Bool {
    if links?.bucket.take(1, at: clock) == true { return true }
    counters.linkedBeyondRate += 1
    return false
  }

  mutating func setReach(_ reach: LinkReach, of traceID: TraceID) {
    counters.linksForgotten += links?.change(traceID, at: clock) { $0.reach = reach } ?? 0
  }

  // MARK: Making verdicts known

  /// Makes known that an open trace is kept, and what it links to, as far as that is news.
  ///
  /// - Parameter isOwn: whether policies keep it, chance aside; if not, or that is not known, links do.
  mutating func tellLinks(of slot: Int, isOwn: Bool = false, into effects: inout Effects) {
    // What head sampling has thinned is here by chance.
    guard links != nil, !recovery.isCollecting, table[rare: slot].incomingThreshold == .always else { return }
    let note = links?[table[slot].id]
    let isFirst = isOwn || table[slot].isTold
    guard let hops = isFirst ? 0 : note?.toldHops ?? note?.reach?.hops else { return }
    defer { if hops == 0 { table[slot].isTold = true } }
    guard note == nil else { return tellLinks(of: table[slot].id, hops: hops, into: &effects) }
    // Most kept traces have no links: a note on each would push out those that have.
    guard !table[slot].isTold, links?.configuration.direction.reachesLinking == true else { return }
    append(LinkEntry(traceID: table[slot].id, hops: hops, keptAt: verdictTime, links: []), into: &effects)
  }

  /// Makes known that a trace is kept, so many hops away from one that policies keep.
  mutating func tellLinks(of traceID: TraceID, hops: Int, into effects: inout Effects) {
    guard let configuration = links?.configuration, hops < configuration.maxHops else { return }
    let note = links?[traceID] ?? LinkNote()
    let isCloser = note.toldHops.map { hops < $0 } ?? true
    guard isCloser || note.links.count > note.toldLinks else { return }
    guard configuration.direction.reachesLinking || !note.links.isEmpty else { return }
    let news = isCloser ? note.links : Array(note.links[note.toldLinks...])
    counters.linksForgotten +=
      links?.change(traceID, at: clock) {
        $0.toldHops = min(hops, $0.toldHops ?? hops)
        $0.toldLinks = $0.links.count
      } ?? 0
    append(LinkEntry(traceID: traceID, hops: hops, keptAt: verdictTime, links: news), into: &effects)
  }

  private mutating func append(_ entry: LinkEntry, into effects: inout Effects) {
    links?.page.append(entry)
    counters.linkEntries += 1
    if links?.page.isFull == true { endLinkPage(into: &effects) }
  }

  /// Whether there are entries that are not in an output yet.
  public var hasLinkEntries: Bool { links?.page.isEmpty == false }

  /// Ends the page of entries: what was kept since the last call becomes an output. To be called before each
  /// commit.
  public mutating func endLinkPage(into effects: inout Effects) {
    guard let (page, traces) = links?.page.takePage(), traces > 0 else { return }
    let start = effects.arena.count
    page.withRawBytes { effects.arena.append($0) }
    effects.outputs.append(.link(page: start..<effects.arena.count, traces: traces))
    effects.hasLinks = true
  }

  // MARK: Decided traces

  /// Notes the links of late spans. Returns whether there are new ones.
  @inline(never)
  mutating func noteLateLinks(_ share: Share, of record: ScannedRecord, _ bytes: RawSpan) -> Bool {
    guard !recovery.isCollecting else { return false }
    let before = links?[share.traceID]?.links.count ?? 0
    for index in share.spans where record.spans[index].hasLinks {
      noteLinks(record.spans[index], of: bytes, in: share.traceID)
    }
    return links?[share.traceID]?.links.count ?? 0 > before
  }

  /// Follows the links of late spans, and those of a trace that they show to be wanted for its own sake: it
  /// was kept by chance, or because links reach it.
  @inline(never)
  mutating func followLate(
    _ share: Share, of record: ScannedRecord, _ bytes: RawSpan, hasNewLinks: Bool, _ effects: inout Effects
  ) {
    guard !recovery.isCollecting, case .past(let past) = find(share.traceID, index.hash(share.traceID)) else {
      return
    }
    guard verdicts[past].isKept else { return reviewDecided(share.traceID, into: &effects) }
    // What head sampling has thinned is here by chance.
    guard !verdicts[past].isThinned else { return }
    let verdict = verdicts[past]
    if hops(ofKept: past) != 0, !verdict.isTruncated {
      let facts = lateFacts(of: share, in: record, bytes, matches: 0)
      if policies.program.certain(facts).isKept, verdict.isCertain || isInRecallWindow(verdict) {
        return tellLinks(of: share.traceID, hops: 0, into: &effects)
      }
    }
    guard hasNewLinks else { return }
    // They may be the first way that leads there, or a shorter one.
    reviewDecided(share.traceID, into: &effects)
    if let hops = hops(ofKept: past) { tellLinks(of: share.traceID, hops: hops, into: &effects) }
  }

  /// Follows the links of a kept trace whose verdict was looked up.
  ///
  /// - Parameter isWanted: whether its late spans show that it is wanted for its own sake.
  mutating func followFound(_ traceID: TraceID, isWanted: Bool, into effects: inout Effects) {
    guard !recovery.isCollecting, case .past(let past) = find(traceID, index.hash(traceID)),
      verdicts[past].isKept, !verdicts[past].isThinned
    else { return }
    guard isWanted || links?[traceID]?.links.isEmpty == false else { return }
    let own = isWanted && !verdicts[past].isTruncated ? 0 : nil
    if let hops = own ?? hops(ofKept: past) { tellLinks(of: traceID, hops: hops, into: &effects) }
  }

  /// Looks whether links reach a decided trace: a dropped one is recalled; through one that is kept, by
  /// chance perhaps, others are reached.
  mutating func reviewDecided(_ traceID: TraceID, into effects: inout Effects) {
    guard mayFollowLinks, let reach = reach(of: traceID) else { return }
    follow(reach, to: traceID, into: &effects)
  }

  /// How many hops away a decided trace is from one that policies keep; nil if its verdict does not spread.
  private mutating func hops(ofKept past: Int) -> Int? {
    guard !verdicts[past].isThinned else { return nil }
    let traceID = verdicts[past].traceID
    let note = links?[traceID]
    // An earlier owner may have told of fewer hops than its record.
    if let hops = note?.toldHops { return hops }
    let known = [note?.reach?.hops, workspace.links?.hops(ofKept: traceID)].compactMap(\.self)
    if let hops = known.min() { return hops }
    let verdict = verdicts[past]
    return verdict.isCertain && !verdict.isTruncated ? 0 : nil
  }

  /// Whether a trace that chance has kept could be recalled, had chance dropped it. If not, it makes nothing
  /// known either: what links reach through it would be kept by its chance, with weight 1.
  private mutating func isInRecallWindow(_ verdict: PastVerdict) -> Bool {
    let window = configuration.windows.recallWindow
    if window > .seconds(0), clock <= verdict.decidedAt + window { return true }
    counters.linkedOutOfReach += 1
    return false
  }

  /// Adds entries to the table that this sampler shares with the lane's others: for one that is alone.
  public mutating func learn(_ entries: [LinkEntry]) {
    for entry in entries { workspace.links?.merge(entry) }
  }

  /// Follows entries of the topic that the lane has just added to its table.
  public mutating func follow(_ entries: [LinkEntry], into effects: inout Effects) {
    // Nothing is left to be read again.
    if awaitsLinks, let nextOffset { endRecovery(before: nextOffset, into: &effects) }
    guard let direction = links?.configuration.direction, mayFollowLinks else { return }
    for entry in entries {
      if direction.reachesLinked {
        for link in entry.links {
          guard let reach = workspace.links?.reach(linked: link, at: clock) else { continue }
          follow(reach, to: link, into: &effects)
        }
      }
      guard direction.reachesLinking,
        let reach = workspace.links?.reach(linkingTo: entry.traceID, at: clock)
      else { continue }
      for traceID in links?.linking(to: entry.traceID) ?? [] { follow(reach, to: traceID, into: &effects) }
    }
  }

  /// Whether all that was read again has been dealt with, but links have not been followed since: no record
  /// has come.
  public var awaitsLinks: Bool {
    hasLinks && !isRecovering && nextOffset != nil && (recovery.isHolding || recovery.clock != .distantPast)
  }

  /// Follows everything that the lane knows, once what was read again has been dealt with.
  mutating func followAllLinks(into effects: inout Effects) {
    guard links != nil, mayFollowLinks, let known = workspace.links else { return }
    var reached: [(TraceID, LinkReach)] = []
    known.forEachLinked(at: clock) { reached.append(($0, $1)) }
    for (traceID, reach) in reached { follow(reach, to: traceID, into: &effects) }
    for traceID in links?.traces ?? [] { reviewDecided(traceID, into: &effects) }
    var next = table.opened.first
    while let slot = next {
      next = table.next(after: slot)
      reviewLinks(of: slot, into: &effects)
    }
  }

  /// Keeps or recalls a trace that links reach, if it is one of this partition.
  private mutating func follow(_ reach: LinkReach, to traceID: TraceID, into effects: inout Effects) {
    guard let maxHops = links?.configuration.maxHops, reach.hops <= maxHops else { return }
    switch find(traceID, index.hash(traceID)) {
    case .open(let slot):
      if table[slot].state == .undecided {
        keepLinked(slot, reach, into: &effects)
      } else if table[slot].isTold {
        // There is no shorter way than none.
        return
      } else if links?[traceID]?.toldHops.map({ reach.hops < $0 }) ?? true {
        // It is kept already, perhaps by chance or over more links: others are reached through it.
        guard table[rare: slot].incomingThreshold == .always else { return }
        tellLinks(of: traceID, hops: reach.hops, into: &effects)
      }
    case .past(let past):
      guard verdicts[past].isKept else { return recallLinked(past, reach, into: &effects) }
      guard !verdicts[past].isThinned else { return }
      let known = hops(ofKept: past)
      guard known.map({ reach.hops < $0 }) ?? true else { return }
      // The story goes on through it only if it would had chance dropped it.
      if known == nil, !verdicts[past].isCertain {
        guard isInRecallWindow(verdicts[past]), takeLinked() else { return }
      }
      tellLinks(of: traceID, hops: reach.hops, into: &effects)
    case nil: break
    }
  }

  /// Requests the recall of a dropped trace that links reach.
  private mutating func recallLinked(_ past: Int, _ reach: LinkReach, into effects: inout Effects) {
    let verdict = verdicts[past]
    guard !verdict.isVetoed else { return }
    guard mayRecall(verdict) else { return counters.linkedOutOfReach += 1 }
    guard takeLinked() else { return }
    // Whatever was read so far was dropped, also what redelivered its spans after its last record: none of it
    // has been handed out, as the next owner would think of records after the request.
    let late = max(verdict.lastOffset, nextOffset.map { Offset($0.value - 1) } ?? verdict.lastOffset)
    let status = requestRecall(past, 0, late: late, linked: reach)
    guard case .requested = status else { return counters.linkedOutOfReach += 1 }
    counters.tracesLinked += 1
    setReach(reach, of: verdict.traceID)
    var decision = Decision(
      traceID: verdict.traceID, isKept: false, isFinal: false, trigger: .linked, matches: 0,
      threshold: .never, spanCount: 0, errorCount: 0, byteCount: 0, truncatedCount: 0, isLate: true,
      hasRoot: false, start: verdict.earliestStart, duration: 0, firstOffset: verdict.firstOffset,
      lastOffset: late, openedAt: clock, decidedAt: verdictTime)
    decision.recall = status
    decision.linked = reach
    var names = DecisionNames()
    names.policies = [Sampler.linkedReason]
    effects.outputs.append(.decide(decision, record: write(decision, names, isCompact: true, &effects)))
  }

  /// The links of a trace that has been read again; the collector's.
  mutating func noteLinks(_ others: [TraceID], of traceID: TraceID) {
    guard !others.isEmpty else { return }
    counters.linksForgotten +=
      links?.change(traceID, at: clock) { note in
        for link in others
        where !note.links.contains(link) && note.links.count < LinksConfiguration.linksPerTrace {
          note.links.append(link)
        }
      } ?? 0
  }
}
