// Recall: a dropped trace that a late span makes a policy certain about is read again from the log, and kept.
//
// The late record is the request, and the verdict is keep from then on: spans that arrive later are forwarded
// as they come. What arrived before, up to and including the late span, is read again, put to the policies
// once more, and handed out with a revised record. Request and fulfilment date from the same moment of log
// time, and cover the same records whenever the log is read, so the same log gives the same outputs; only
// their order depends on how fast it is read.
//
// A revised record is not counted for the baseline: the trace was counted when it was dropped.

import Invariants
public import OTLP
import SpanStorage

/// Holds the spans of traces that are being recalled: a sampler that only accumulates.
final class RecallCollector {
  var sampler: Sampler
  /// Bytes of the spans it holds, as the memory's account has them.
  private(set) var heldBytes = 0

  init(
    partition: PartitionID, _ configuration: SamplerConfiguration, _ memory: SpanMemory,
    _ workspace: SamplerWorkspace
  ) {
    sampler = Sampler(
      partition: partition, configuration: configuration.forCollecting, memory: memory,
      workspace: workspace)
    sampler.recovery.isHolding = true
    sampler.recovery.isCollecting = true
  }

  deinit { sampler.spanMemory.recallBytes -= heldBytes }

  /// Reports the memory that it takes now.
  func updateAccounts() {
    let held = sampler.buffer.neededBytes
    sampler.spanMemory.recallBytes += held - heldBytes
    heldBytes = held
    sampler.updateTableAccount()
  }
}

extension Sampler {
  // MARK: Requests

  /// Requests the recall of a dropped trace that `matches` would keep now. Returns what the late record says
  /// about it; nil if traces are not recalled, or this one can't be.
  ///
  /// If it is requested, the verdict at `past` is replaced.
  mutating func requestRecall(
    _ past: Int, _ matches: UInt64, late: Offset, linked: LinkReach? = nil
  ) -> RecallStatus? {
    let verdict = verdicts[past]
    guard mayRecall(verdict) else { return nil }
    guard recalls.count < configuration.limits.recalls, recalls.late(of: verdict.traceID) == nil else {
      counters.recallsRefused += 1
      return .refused
    }
    counters.recallsRequested += 1
    recalls.add(
      RecallRequest(
        traceID: verdict.traceID, first: verdict.firstOffset, last: verdict.lastOffset, late: late,
        matches: matches, requestedAt: verdictTime,
        logs: logStretch(decidedAt: verdict.decidedAt, start: verdict.earliestStart), linked: linked))
    keepRecalled(
      verdict.traceID, past: past, decidedAt: verdictTime, isRestored: false, isThinned: verdict.isThinned)
    return .requested(until: verdict.lastOffset)
  }

  /// Whether a dropped trace can be read again.
  func mayRecall(_ verdict: PastVerdict) -> Bool {
    let window = configuration.windows.recallWindow
    return window > .seconds(0) && verdict.firstOffset >= Offset(0) && clock <= verdict.decidedAt + window
  }

  /// Restores a request that an earlier owner made, and may not have fulfilled.
  mutating func restoreRecall(_ verdict: RestoredVerdict, until last: Offset, past: Int?) {
    guard let first = verdict.firstOffset, let late = verdict.lastOffset, first <= last, last <= late,
      recalls.late(of: verdict.traceID) == nil, recalls.count < configuration.limits.recalls
    else { return }
    let requestedAt = min(verdict.decidedAt, recovery.clock)
    // The id may have come again since, and been decided. Offsets tell, where they are known: the clock may
    // have been set back in between.
    let isLast =
      past.map {
        let began = verdicts[$0].firstOffset
        guard !verdicts[$0].isKept, began >= Offset(0) else { return verdicts[$0].decidedAt <= requestedAt }
        return began <= late
      } ?? true
    let known = isLast ? past.map { verdicts[$0] } : nil
    let logs = verdict.logsUntil.flatMap { restoredLogStretch(known, requestedAt: requestedAt, until: $0) }
    recalls.add(
      RecallRequest(
        traceID: verdict.traceID, first: first, last: last, late: late,
        matches: policies.program.named(verdict.reasons), requestedAt: requestedAt, logs: logs,
        linked: verdict.linked))
    let clock = min(horizon.earliest, retention.clock)
    guard isLast, requestedAt + configuration.windows.lateWindow > clock else {
      // What it replaced is forgotten with it, though it may have a later time.
      if let past, isDropped(past, since: first) { verdicts.replace(past, in: &index) }
      return
    }
    if hasLinks, let reach = verdict.linked { setReach(reach, of: verdict.traceID) }
    keepRecalled(
      verdict.traceID, past: past, decidedAt: requestedAt, isRestored: true,
      isThinned: known?.isThinned ?? false)
  }

  /// Whether the verdict at `past` dropped the trace whose first span is in the record at `first`.
  func isDropped(_ past: Int, since first: Offset?) -> Bool {
    !verdicts[past].isKept && verdicts[past].firstOffset == first && verdicts[past].firstOffset >= Offset(0)
  }

  /// The verdict is keep from now on. Its spans so far will be handed out by the recall: none is known yet.
  private mutating func keepRecalled(
    _ traceID: TraceID, past: Int?, decidedAt: Instant, isRestored: Bool, isThinned: Bool
  ) {
    if let past { verdicts.replace(past, in: &index) }
    var kept = PastVerdict(traceID: traceID, isKept: true, threshold: .always, decidedAt: decidedAt)
    kept.isRestored = isRestored
    kept.isThinned = isThinned
    let place = remember(kept)
    index.insert(index.hash(traceID), .past(place))
    retire(KnownSpans(.digests), of: kept)
  }

  // MARK: Logs

  /// Where the logs of a dropped trace are that were dealt with before it is recalled; nil if none were.
  ///
  /// A trace's first span was read no earlier than `decision_wait` before the verdict. It may have started
  /// before that, and its logs may be as old; one that started hours before is not believed.
  ///
  /// - Parameter until: the first request that was not dealt with; as of now if it is not given.
  mutating func logStretch(decidedAt: Instant, start: UInt64, until: Offset? = nil) -> LogStretch? {
    guard followsLogs, let until = until ?? nextLogs, until > Offset(0) else { return nil }
    let windows = configuration.windows
    let opened = decidedAt - windows.decisionWait
    let earliest = decidedAt - Self.oldestStart
    let started = max(earliest, Instant(nanoseconds: Int64(clamping: start)))
    return LogStretch(since: min(opened, started) - windows.decisionWait, until: until)
  }

  /// The same for a request of an earlier owner.
  ///
  /// - Parameter known: the verdict that the request is about; nil if it was not read back. It may not say
  ///   when the trace started: then the stretch begins as early as the request allows.
  private mutating func restoredLogStretch(
    _ known: PastVerdict?, requestedAt: Instant, until: Offset
  ) -> LogStretch? {
    // Brokers may have lost the end of the logs since then.
    let until = nextLogs.map { min($0, until) } ?? until
    if let known, known.isStartKnown {
      return logStretch(decidedAt: known.decidedAt, start: known.earliestStart, until: until)
    }
    let earliest = requestedAt - configuration.windows.recallWindow
    return logStretch(
      decidedAt: known.map { min($0.decidedAt, earliest) } ?? earliest, start: .max, until: until)
  }

  /// A span that started longer before its trace's verdict has a wrong start.
  private static var oldestStart: Interval { .seconds(7200) }

  /// Notes that logs follow the partition's verdicts, and which request is the first that is not dealt with.
  public mutating func followLogs(from next: Offset?) {
    followsLogs = true
    nextLogs = next
    texts.nextLogs = next
  }

  /// The recalls that wait until their traces' logs have been read, the oldest first.
  public var recallsWantingLogs: [RecallRequest] { recalls.wantingLogs }

  /// Notes that the logs end at `end`: their brokers have lost what came after that.
  public mutating func cutLogs(at end: Offset) { recalls.cutLogs(at: end) }

  /// Notes that a trace's logs have been read: its spans are next.
  public mutating func noteLogsRead(of traceID: TraceID) { recalls.noteLogsRead(of: traceID) }

  // MARK: Reading again

  /// The offset of the next record to read again, with `recall`; nil if there is none.
  ///
  /// It may lie far after the last one: then what is between need not be read.
  public mutating func nextRecall() -> Offset? {
    recalls.count == 0 ? nil : recalls.next(hasRoom: hasRecallRoom, end: nextOffset ?? Offset(0))
  }

  /// How many recalls wait or are being read.
  public var recallsPending: Int { recalls.count }

  /// Log time since the oldest of them was requested; zero if there is none.
  public var recallAge: Interval {
    recalls.oldestRequest.map { max(clock - $0, .seconds(0)) } ?? .seconds(0)
  }

  /// When the oldest of them was requested, by the stream clock; nil if there is none.
  public var oldestRecall: Instant? { recalls.oldestRequest }

  /// Whether a trace is being read again.
  public var isReadingAgain: Bool { recalls.isReading }

  private var hasRecallRoom: Bool { spanMemory.recallBytes < configuration.limits.recallBytes }

  /// Frees memory while recalls hold too much: traces wait for the next pass, those that began last first.
  ///
  /// - Parameter all: whether even the last one may be put back. Otherwise it is read to its end: its size is
  ///   bounded like that of any other trace.
  public mutating func relieveRecalls(all: Bool) {
    guard let collector else { return }
    while spanMemory.recallBytes > configuration.limits.recallBytes, all || recalls.isReadingSeveral,
      let traceID = recalls.putBack()
    {
      counters.recallsPutBack += 1
      forgetRead(traceID, collector)
      collector.sampler.discard(traceID)
      collector.updateAccounts()
    }
    collector.sampler.cleanBuffer()
  }

  /// Forgets what has been read again of a trace, so that it is not taken for redelivered the next time. The
  /// spans that arrived since the request stay known: they have been forwarded.
  private mutating func forgetRead(_ traceID: TraceID, _ collector: RecallCollector) {
    guard let read = collector.sampler.knownSpans(of: traceID),
      case .past(let past) = find(traceID, index.hash(traceID)), verdicts[past].isKept,
      let place = pastKept.find(verdicts.number(of: past))
    else { return }
    var known = pastKept[place]
    let before = register.byteCount(of: known)
    if read.areAll {
      register.forget(read.known, of: collector.sampler.register, from: &known)
    } else {
      // No memory: rather have those that are redelivered twice than lose any.
      register.release(known)
      known = KnownSpans(.digests)
    }
    pastKept.update(place, known, growth: register.byteCount(of: known) - before)
  }

  /// The digests of an open trace's spans, and whether no span is missing that has been buffered; nil if the
  /// trace is not open.
  private mutating func knownSpans(of traceID: TraceID) -> (known: KnownSpans, areAll: Bool)? {
    guard case .open(let slot) = find(traceID, index.hash(traceID)) else { return nil }
    learnDigests(of: slot)
    let known = table[slot].known
    let isWhole = table[slot].state == .skeleton || register.count(of: known) >= Int(table[slot].spanCount)
    return (known, isWhole)
  }

  /// Reads a record again: one at or after `nextRecall`, with no record between them.
  public mutating func recall(
    offset: Offset, timestamp: Instant?, value: RawSpan?, into effects: inout Effects
  ) {
    guard offset >= recalls.position else { return }
    recalls.read(offset, hasRoom: hasRecallRoom)
    // What is delivered while there are no requests is passed, too: one that begins there needs it again.
    guard recalls.count > 0 else { return }
    counters.recordsReadAgain += 1
    if let value, value.byteCount <= configuration.limits.recordBytes {
      counters.bytesReadAgain += UInt64(value.byteCount)
      let workspace = workspace
      // Sound: see `ingest`; nothing else reads the scratch meanwhile.
      unsafe collect(value, offset, timestamp, &workspace.scratch, &effects)
    }
    fulfilRecalls(into: &effects)
    if spanMemory.recallBytes > configuration.limits.recallBytes { relieveRecalls(all: false) }
  }

  /// Notes that the log begins at `offset`: what recalls need from before is gone.
  public mutating func loseRecalls(before offset: Offset, into effects: inout Effects) {
    guard recalls.count > 0 else { return }
    recalls.lose(before: offset)
    fulfilRecalls(into: &effects)
  }

  private mutating func collect(
    _ value: RawSpan, _ offset: Offset, _ timestamp: Instant?, _ reading: inout RecordScratch,
    _ effects: inout Effects
  ) {
    do {
      try reading.scan(value, configuration.limits)
    } catch {
      // It was a dead letter when it was read first.
      return
    }
    guard !reading.record.isSingleTrace else {
      let traceID = reading.record.spans[0].traceID
      guard recalls.isActive(traceID) else { return }
      let all = Share(traceID: traceID, spans: 0..<reading.record.spans.count, offset: offset)
      return collect(all, timestamp, &reading, value, &effects)
    }
    for number in reading.groups.groups.indices {
      let group = reading.groups.groups[number]
      guard recalls.isActive(group.traceID) else { continue }
      let share = Share(traceID: group.traceID, spans: group.spans, offset: offset)
      collect(share, timestamp, &reading, value, &effects)
    }
  }

  private mutating func collect(
    _ share: Share, _ timestamp: Instant?, _ reading: inout RecordScratch, _ value: RawSpan,
    _ effects: inout Effects
  ) {
    let collector = collector ?? makeCollector()
    collector.sampler.begin(at: share.offset, clock: timestamp ?? .distantPast)
    collector.sampler.prepare(for: reading.record, value)
    var new: [Int]?
    if case .past(let past) = find(share.traceID, index.hash(share.traceID)), verdicts[past].isKept {
      // A span that came again since the request was forwarded then.
      new = newSpans(of: share, of: reading.record, value, after: past)
    }
    if let new {
      share.withPart(new, of: &reading.record, value) { part, record, piece in
        var record = record
        collector.sampler.take(part, of: &record, value, piece, &effects)
      }
    } else {
      reading.piece.removeAll()
      reading.piece.appendPiece(share.spans, of: reading.record, bytes: value)
      reading.piece.bytes.withRawBytes {
        collector.sampler.take(share, of: &reading.record, value, $0, &effects)
      }
    }
  }

  private mutating func makeCollector() -> RecallCollector {
    let collector = RecallCollector(partition: partition, configuration, spanMemory, workspace)
    self.collector = collector
    return collector
  }

  /// What `ingest` does for a record before its traces are taken.
  private mutating func prepare(for record: ScannedRecord, _ bytes: RawSpan) {
    policies.predicates.startRecord()
    if policies.predicates.attributeBits != 0 { matchResources(of: record, bytes) }
  }

  // MARK: Fulfilment

  private mutating func fulfilRecalls(into effects: inout Effects) {
    while let request = recalls.takeRead() {
      let collector = collector ?? makeCollector()
      let before = collector.sampler.counters
      let recalled = collector.sampler.fulfil(request, into: &effects)
      let after = collector.sampler.counters
      counters.tracesRecalled += 1
      if request.isPartial, recalled.isFound { counters.recallsPartial += 1 }
      if request.isPartial, !recalled.isFound { counters.recallsGone += 1 }
      if recalled.isTruncated { counters.tracesTruncated += 1 }
      if let reason = recalled.reason { counters.keptByReason[reason, default: 0] += 1 }
      countRecalled(ofService: recalled.rootService)
      if hasLinks { tellLinks(of: recalled, request, into: &effects) }
      counters.spansRecalled += after.spansKept - before.spansKept
      counters.bytesRecalled += after.bytesKept - before.bytesKept
      counters.spansTooLarge += after.spansTooLarge - before.spansTooLarge
      counters.tracestatesLeftAlone += after.tracestatesLeftAlone - before.tracestatesLeftAlone
    }
    // Its memory is released with it. Before that it is cleaned like any other buffer: while recalls overlap,
    // some of its spans are always needed.
    guard recalls.count > 0 else { return collector = nil }
    guard let collector else { return }
    if collector.sampler.buffer.isCleaningDue { collector.sampler.cleanBuffer() }
    collector.updateAccounts()
  }

  /// Makes a recalled trace known. Only now it is certain whether head sampling has thinned it: an earlier
  /// owner may have dropped it.
  private mutating func tellLinks(
    of recalled: RecalledTrace, _ request: RecallRequest, into effects: inout Effects
  ) {
    noteLinks(recalled.links, of: request.traceID)
    guard !recalled.isThinned else {
      if case .past(let past) = find(request.traceID, index.hash(request.traceID)) {
        verdicts[past].isThinned = true
      }
      return
    }
    let hops = request.matches == 0 ? request.linked?.hops ?? 0 : 0
    tellLinks(of: request.traceID, hops: hops, into: &effects)
  }

  /// Counts a recalled trace for the service of its root; empty if it has none. The name comes from another
  /// table.
  private mutating func countRecalled(ofService name: [UInt8]) {
    let service = name.isEmpty ? .none : name.withRawBytes { services.pin($0) } ?? otherServices
    serviceVerdicts.count(service, isKept: true, most: configuration.limits.servicesCounted)
  }

  /// What counters say about a recalled trace.
  private struct RecalledTrace {
    var isFound: Bool
    var isTruncated: Bool
    var reason: String?
    var rootService: [UInt8]
    var links: [TraceID]
    var isThinned: Bool
  }

  /// Hands out a trace that has been read again, with its revised record.
  private mutating func fulfil(_ request: RecallRequest, into effects: inout Effects) -> RecalledTrace {
    let hash = index.hash(request.traceID)
    let slot: Int
    if case .open(let open) = find(request.traceID, hash) {
      slot = open
    } else {
      slot = table.open(
        OpenTrace(id: request.traceID, firstOffset: request.first, openedAt: request.requestedAt))
      index.insert(hash, .open(slot))
    }
    let isFound = table[slot].spanCount > 0
    // All policies that are certain of the whole trace, and those that were certain with what was remembered.
    var outcome = policies.program.certain(table[slot].facts)
    outcome.matches |= request.matches
    outcome.threshold = .always
    let isTruncated = table[slot].state == .skeleton
    if !isTruncated { table[slot].state = .kept }
    table[rare: slot].threshold = .always
    table[slot].isLinked = request.linked != nil
    let place = effects.outputs.count
    forwardBuffered(slot, outcome, into: &effects)
    var decision = Decision(
      on: table[slot], table[rare: slot], outcome, .recall, isFinal: true, at: request.requestedAt)
    decision.linked = request.linked
    decision.recall = request.isPartial ? (isFound ? .partial : .gone) : .done
    decision.lastOffset = request.late
    emit(decision, outcome, slot, at: place, &effects)
    let recalled = RecalledTrace(
      isFound: isFound, isTruncated: isTruncated, reason: firstReason(of: slot, matches: outcome.matches),
      rootService: services.bytes(of: table[slot].rootService),
      links: links?[request.traceID]?.links ?? [],
      isThinned: table[rare: slot].incomingThreshold != .always)
    forget(slot, hash)
    return recalled
  }

  /// Releases what has been read again of a trace.
  private mutating func discard(_ traceID: TraceID) {
    let hash = index.hash(traceID)
    guard case .open(let slot) = find(traceID, hash) else { return }
    buffer.release(&table[slot].spans)
    forget(slot, hash)
  }

  /// Releases a trace, of which nothing is remembered.
  private mutating func forget(_ slot: Int, _ hash: UInt32) {
    register.release(table[slot].known)
    index.remove(hash, .open(slot))
    release(slot)
  }
}
