// The core: one partition's state machine. Records and time go in, decisions and kept spans come out.
//
// It is pure: no input or output of its own, no clock, lock or randomness. The same inputs give the same
// outputs, byte for byte, however they are batched: recovery, replay, planning and simulation rest on that.

import Invariants
public import OTLP
public import SpanStorage

/// The sampler of one partition.
///
/// Not thread-safe: it belongs to the lane that reads the partition.
///
/// A nonmutating method copies, on every call, what it reads of a large struct, and a sampler is 2.4 KB. So
/// methods that run for each record or trace are mutating even if they change nothing.
public struct Sampler: ~Copyable {
  /// The partition whose records it reads.
  public let partition: PartitionID
  var configuration: SamplerConfiguration
  var policies: PolicySet
  /// From which record on the policies have been asked which traces are certain to be kept.
  var askedSince = Offset(.min)
  /// The adaptive baseline, if there is one.
  var baseline: PartitionBaseline?
  /// Asked for each record and trace; asking the baseline itself takes ten times as long.
  let hasBaseline: Bool
  /// Whether its keys are made of what spans have.
  let readsKeys: Bool
  /// Whether shapes of traces are needed: see `Shapes/Sampler+Shapes.swift`.
  let notesShapes: Bool
  var shapeNotes = ShapeNotes()
  /// The digest of the service of each resource that records had, as `knownServices`.
  var shapeServices: [ShapeService] = []
  /// When its counts of this interval are complete.
  var countsDue = Instant.distantPast
  /// The interval in which the demand on limits that the fleet shares is counted,
  var demandInterval = DemandInterval()
  /// and when it ends: never if there are none, long ago if it has not begun.
  var demandDue = Instant.distantFuture
  /// All spans, counted by service, name, kind and status: see `Metrics/Sampler+Metrics.swift`.
  var metrics: SpanMetrics
  /// When their interval ends; never if they are not counted.
  var metricsDue: Instant
  /// The traces that link to others; nil if links keep nothing: see `Links/Sampler+Links.swift`.
  var links: TraceLinks?
  /// Asked for each record; asking the links themselves takes longer.
  let hasLinks: Bool
  /// Which predicates each resource of the record being read matches.
  var resourceMatches: [UInt64] = []

  /// Where each open trace and each past verdict is.
  var index: TraceIndex
  var table = TraceTable()
  var buffer: SpanBuffer
  var verdicts: VerdictCache
  var services: NameTable
  /// The services of resources that records had, by the low eight bits of the resource's number.
  var knownServices: [KnownService] = []
  var operations: NameTable
  var serviceLists = ServiceLists()
  var errorNotes = ErrorNotes()
  /// What its decision records have in common.
  var texts: DecisionTexts
  /// Dropped traces since the last commit, if they go to the ledger.
  var ledger: LedgerWriter
  /// The spans of open traces, and of those decided last: see `Sampler+Redelivery.swift`.
  var register: SpanRegister
  var pastKept = PastSpans()
  var pastDropped = PastSpans()
  /// The service shared by all services beyond the limit.
  let otherServices: NameID
  /// That of spans whose resource names none, as metrics have it; none without metrics.
  let unknownService: NameID

  /// The stream clock: the largest believed timestamp, or the time it was advanced to.
  public private(set) var clock = Instant.distantPast
  /// Which timestamps are believed.
  var clockGuard: ClockGuard
  /// Whether the clock was set back and has not jumped forward since.
  private var isTurnedBack = false
  /// What had been forgotten too early when it was set back.
  var forgotten: [ForgottenVerdicts] = []
  /// By which time verdicts are forgotten.
  var horizon = VerdictHorizon()
  /// Which verdicts are forgotten later than that.
  var retention = VerdictRetention()
  /// Before this time no window closes and no verdict is forgotten.
  var quietUntil = Instant.distantPast
  /// The offset of the next record; nil before the first.
  public internal(set) var nextOffset: Offset?
  /// What it has seen and done.
  public internal(set) var counters = SamplerCounters()

  /// Verdicts by the service of the root.
  var serviceVerdicts = ServiceVerdictCounts()

  /// What is known from the last owner; no effect unless the sampler was restored.
  var recovery = Recovery()

  /// Dropped traces that are read again: see `Recall/Sampler+Recall.swift`.
  var recalls = RecallQueue()
  var lookups = VerdictLookups()
  /// Whether logs follow,
  var followsLogs = false
  /// and the first request of them that is not dealt with; nil if none is.
  var nextLogs: Offset?
  /// Spans that started longer ago than this, in nanoseconds, may belong to traces whose verdicts are
  /// forgotten.
  let lookupAge: UInt64
  /// Their spans, while some are being read.
  var collector: RecallCollector?
  let spanMemory: SpanMemory
  /// Kept traces whose spans are handed out from the log: see `Windows/Sampler+HandOuts.swift`.
  var handOuts: HandOuts

  /// What the tables take; updated every 16 records.
  var tableAccount: TableAccount

  /// What it shares with the lane's other samplers.
  let workspace: SamplerWorkspace

  /// Makes the sampler of a partition, with nothing open.
  ///
  /// - Parameters:
  ///   - partition: the partition whose records it will read.
  ///   - configuration: its policies, windows and limits.
  ///   - memory: where spans are stored, shared by the samplers of a lane; nil for its own.
  ///   - workspace: what else they share; nil for its own.
  public init(
    partition: PartitionID, configuration: SamplerConfiguration, memory: SpanMemory? = nil,
    workspace: SamplerWorkspace? = nil
  ) {
    self.partition = partition
    self.configuration = configuration
    let lateWindow = UInt64(clamping: configuration.windows.lateWindow.nanoseconds)
    lookupAge = configuration.windows.looksUpVerdicts ? lateWindow : .max
    let seed = HashSeed(value: configuration.hashSeed)
    let limits = configuration.limits
    let workspace = workspace ?? SamplerWorkspace()
    self.workspace = workspace
    policies = workspace.policies(configuration)
    texts = DecisionTexts(
      partition: partition, configuration: configuration.version, policies: policies.program.names,
      shadow: policies.shadow?.names ?? [])
    ledger = LedgerWriter(
      partition: partition, configuration: configuration.version, pageBytesMax: limits.ledgerPageBytes)
    clockGuard = ClockGuard(lead: configuration.clockLead, witnesses: configuration.clockWitnesses)
    let baseline = PartitionBaseline(configuration)
    self.baseline = baseline
    hasBaseline = baseline != nil
    readsKeys = baseline?.attributes != nil
    if policies.hasFleetLimits, configuration.countsDemand { demandDue = .distantPast }
    notesShapes = configuration.tellsShapes || baseline?.configuration.readsShapes == true
    metrics = SpanMetrics(configuration.metrics, seed: seed, nameBytesMax: limits.nameBytes)
    metricsDue = configuration.metrics == nil ? .distantFuture : .distantPast
    hasLinks = configuration.links != nil
    links = configuration.links.map { TraceLinks($0, pageBytesMax: limits.linkPageBytes) }
    if let links = configuration.links { _ = workspace.linkTable(links) }
    index = TraceIndex(seed: seed)
    let memory = memory ?? SpanMemory(slabBytes: limits.segmentBytes)
    spanMemory = memory
    buffer = SpanBuffer(memory: memory)
    handOuts = HandOuts(configuration.windows.buffer)
    tableAccount = TableAccount(memory: memory)
    verdicts = VerdictCache(memory: memory, remembersFacts: policies.program.remembersFacts)
    register = SpanRegister(seed: seed, memory: memory)
    let isCounting = configuration.metrics != nil
    var services = NameTable(
      seed: seed, capacity: limits.services + (isCounting ? 2 : 1), bytesMax: limits.nameBytes)
    operations = NameTable(seed: seed, capacity: limits.services, bytesMax: limits.nameBytes)
    otherServices = Array(Sampler.otherServicesName.utf8).withRawBytes { services.pin($0) } ?? .none
    let unknown = Array(SpanMetrics.unknownService.utf8)
    unknownService = isCounting ? unknown.withRawBytes { services.pin($0) } ?? .none : .none
    self.services = services
    counters.beginCounting(configuration)
  }

  /// Reads one record.
  ///
  /// Windows that are over by the record's timestamp close before the record is read.
  ///
  /// - Parameters:
  ///   - offset: the record's offset; greater than that of the record before.
  ///   - timestamp: the record's timestamp; nil if it has none.
  ///   - isLogTime: whether the broker set the timestamp, and not a producer whose clock may be wrong.
  ///   - key: the record's key, nil if there is none.
  ///   - value: the record's value as OTLP protobuf, nil for a tombstone.
  ///   - effects: outputs are appended here.
  /// - Returns: why the record can't be read; then nothing of it was used, and the caller dead-letters it.
  ///   Unusable spans of a readable record are among the effects.
  public mutating func ingest(
    offset: Offset, timestamp: Instant?, isLogTime: Bool = false, key: RawSpan?, value: RawSpan?,
    into effects: inout Effects
  ) -> MalformedInput? {
    invariant(nextOffset.map { offset >= $0 } ?? true, "record \(offset.value) was read before")
    counters.recordsRead += 1
    if offset >= recovery.samplesFrom {
      // Not a call for each record.
      if recovery.isHolding || recovery.clock != .distantPast { endRecovery(before: offset, into: &effects) }
      observe(timestamp, isLogTime: isLogTime, at: offset, into: &effects)
    }
    nextOffset = offset.next
    guard let value else { return malformed(MalformedInput(.tombstone, at: 0)) }
    counters.bytesRead += UInt64(value.byteCount)
    guard value.byteCount <= configuration.limits.recordBytes else {
      return malformed(MalformedInput(.recordTooLarge, at: 0))
    }
    // In place: moving it costs more than reading a short record.
    // Sound: the sampler has the workspace all the while, so that it need not be counted, and nothing that is
    // called with its scratch uses that otherwise.
    let error = unsafe Unmanaged.passUnretained(workspace)._withUnsafeGuaranteedRef {
      unsafe ingest(value, key, offset, &$0.scratch, &effects)
    }
    if let error { return malformed(error) }
    if areMetricsFull { writeMetrics(all: true, into: &effects) }
    if buffer.isCleaningDue { cleanBuffer() }
    // Tables grow little with each record.
    if counters.recordsRead & 15 == 0 { updateTableAccount() }
    return nil
  }

  private mutating func ingest(
    _ value: RawSpan, _ key: RawSpan?, _ offset: Offset, _ reading: inout RecordScratch,
    _ effects: inout Effects
  ) -> MalformedInput? {
    do {
      try reading.scan(value, configuration.limits)
    } catch {
      return error
    }
    if metrics.isUsed {
      reading.record.resources.withSpan { resources in
        reading.record.spans.withSpan { countSpans($0, of: resources, in: value, at: offset) }
      }
      if offset < recovery.samplesFrom { return nil }
    }
    let (isWhole, isSingle) = (reading.record.isWhole, reading.record.isSingleTrace)
    let first = reading.record.spans[0].traceID
    if !isWhole { setAside(&reading, value, offset, &effects) }
    noteKey(key, first, isSingle: isSingle)
    policies.predicates.startRecord()
    if policies.predicates.attributeBits != 0 { matchResources(of: reading.record, value) }
    if readsKeys { baseline?.attributes?.startRecord(reading.record, value) }
    let all = Share(traceID: first, spans: 0..<reading.record.spans.count, offset: offset)
    if isSingle, isWhole {
      take(all, of: &reading.record, value, value, &effects)
    } else if isSingle {
      takePiece(all, of: &reading, value, &effects)
    } else {
      for number in reading.groups.groups.indices {
        let group = reading.groups.groups[number]
        let share = Share(traceID: group.traceID, spans: group.spans, offset: offset)
        takePiece(share, of: &reading, value, &effects)
      }
    }
    if reading.record.resources.count > Sampler.resourcesKept { releaseResources() }
    return nil
  }

  /// Processes a share that is not the whole record.
  private mutating func takePiece(
    _ share: Share, of reading: inout RecordScratch, _ value: RawSpan, _ effects: inout Effects
  ) {
    reading.piece.removeAll()
    reading.piece.appendPiece(share.spans, of: reading.record, bytes: value)
    reading.piece.bytes.withRawBytes { take(share, of: &reading.record, value, $0, &effects) }
    // After each piece, so that those forwarded at once don't hold memory until the record's last one.
    if buffer.isCleaningDue { cleanBuffer() }
  }

  /// Emits the unusable spans, once: a record that is read again has emitted them before.
  private mutating func setAside(
    _ reading: inout RecordScratch, _ value: RawSpan, _ offset: Offset, _ effects: inout Effects
  ) {
    guard !isReplayed(offset) else { return }
    for rejected in reading.record.rejected {
      counters.spansRejected += UInt64(rejected.count)
      let start = effects.arena.count
      effects.arena.appendRejected(rejected.error.reason, of: reading.record, bytes: value)
      effects.outputs.append(.reject(rejected, bytes: start..<effects.arena.count))
      effects.hasRejections = true
    }
  }

  /// Counts a record that could not even be converted to OTLP protobuf, and skips it.
  public mutating func skip(
    offset: Offset, timestamp: Instant?, isLogTime: Bool = false, into effects: inout Effects
  ) {
    invariant(nextOffset.map { offset >= $0 } ?? true, "record \(offset.value) was read before")
    counters.recordsRead += 1
    counters.recordsMalformed += 1
    if offset >= recovery.samplesFrom {
      endRecovery(before: offset, into: &effects)
      observe(timestamp, isLogTime: isLogTime, at: offset, into: &effects)
    }
    nextOffset = offset.next
  }

  /// Notes that there is no record between the last one read and `offset`: the offsets are transaction
  /// markers, or records that were compacted away.
  public mutating func noteEnd(at offset: Offset) {
    guard let nextOffset else { return }
    self.nextOffset = max(nextOffset, offset)
  }

  /// Lets the stream clock follow the wall clock while the partition is read to its end and idle.
  public mutating func advance(to time: Instant, into effects: inout Effects) {
    // During recovery only the records' own timestamps count: elapsed time would close windows whose records
    // are still to come.
    guard !isRecovering else { return }
    if let nextOffset { endRecovery(before: nextOffset, into: &effects) }
    pass(to: time, into: &effects)
    if isDissentOver { clockGuard.forget() }
    cleanBuffer()
  }

  /// Advances the stream clock to `time`, or to just before the next window closes: after a silence, before
  /// the record that ends it. Otherwise that record would seem to be ahead of its time.
  public mutating func drift(to time: Instant) {
    guard !isRecovering, clock != .distantPast else { return }
    clock = max(clock, min(time, nextDue - Interval(nanoseconds: 1)))
    skipIntervals()
  }

  /// Advances the stream clock, never back, and closes the windows that are over.
  mutating func pass(to time: Instant, into effects: inout Effects) {
    guard time > clock else { return }
    clock = time
    if hasBaseline, clock >= countsDue { publishCounts(into: &effects) }
    if clock >= demandDue { publishDemand(into: &effects) }
    if clock >= metricsDue { writeMetrics(into: &effects) }
    closeDue(into: &effects)
  }

  /// Decides the oldest traces early until no more than `bytesMax` bytes are buffered.
  public mutating func relieve(toBytes bytesMax: Int, into effects: inout Effects) {
    var next = table.opened.first
    while buffer.neededBytes > bytesMax, let slot = next {
      next = table.next(after: slot)
      guard !table[slot].spans.isEmpty else { continue }
      counters.tracesShed += 1
      close(slot, .memory, into: &effects)
    }
    cleanBuffer()
  }

  /// Frees the memory of spans that are no longer needed.
  mutating func cleanBuffer() {
    buffer.beginCleaning()
    cleanBuffer(survivors: false)
    cleanBuffer(survivors: true)
  }

  private mutating func cleanBuffer(survivors: Bool) {
    while let oldest = buffer.nextOldest(survivors: survivors) {
      if table.hasSlot(oldest.owner), buffer.isNeeded(oldest, by: table[oldest.owner].spans) {
        guard buffer.move(oldest, &table[oldest.owner].spans) else { return }
      }
      buffer.pass(oldest)
    }
  }

  /// Releases what its tables have not needed since the last call. Call it every minute or so.
  public mutating func trim() {
    trimPastSpans()
    trimHandOuts()
    register.trim()
    pastKept.trim()
    pastDropped.trim()
    table.trim()
    serviceLists.trim()
    errorNotes.trim()
    verdicts.trim(&index)
    index.trim(capacity: table.slotCount + verdicts.count)
    ledger.trim()
    shapeNotes.trim()
    metrics.reader = nil
    updateTableAccount()
    collector?.sampler.trim()
  }

  /// Where the partition can be resumed, as of now; nil before the first record.
  public var commitPoint: CommitPoint? {
    guard let nextOffset else { return nil }
    // During recovery, what was dealt with before reaches further than what has been read.
    let highWater = max(nextOffset, recovery.highWater)
    let clockThere = max(clock, recovery.clock)
    let safe = safePoint(next: nextOffset)
    let steps = horizon.steps(from: safe.offset)
    var point = CommitPoint(
      safeOffset: safe.offset, clockAtSafeOffset: safe.clock, highWater: highWater, clock: clockThere,
      budgetLevels: policies.budgetLevels(at: clockThere), oldestRecall: recalls.oldestRequest,
      forgotten: forgottenNeeded(by: min(safe.clock, steps.map(\.clock).min() ?? safe.clock)),
      horizon: steps == [HorizonStep(since: safe.offset, clock: safe.clock)] ? [] : steps)
    point.counting = countingPoint
    if let shadow = policies.shadow { point.shadowLevels = shadow.levels(at: clockThere) }
    if handOuts.isUsed {
      point.follower = FollowerPoint(
        position: handOuts.position(safe: safe.offset), oldestVerdict: handOuts.oldestVerdict,
        from: handOuts.from, until: handOuts.until)
    }
    return point
  }

  /// The safe offset and the clock there; `next` is the next record to read.
  func safePoint(next: Offset) -> (offset: Offset, clock: Instant) {
    var safe = (offset: max(next, recovery.samplesFrom), clock: clock)
    if let oldest = table.opened.first { safe = (table[oldest].firstOffset, table[oldest].openedAt) }
    // Rereading must find the same records dissenting from the same clock.
    if let pending = clockGuard.pending, pending.since < safe.offset {
      safe = (pending.since, pending.clock)
    }
    return safe
  }

  /// How many traces are open, and the memory taken by them and by past verdicts.
  public var usage: SamplerUsage {
    SamplerUsage(
      openTraces: table.count, pastVerdicts: verdicts.count,
      bufferedBytes: buffer.neededBytes, recallBytes: collector?.heldBytes ?? 0,
      segmentBytes: buffer.rawBytes, compressedSegments: buffer.compressedSegments,
      tableBytes: tableBytes, verdictBytes: verdicts.byteCount)
  }

  mutating func updateTableAccount() {
    tableAccount.update(to: tableBytes)
    counters.spansUnremembered = register.refusals
  }

  @inline(__always)
  private var tableBytes: Int {
    table.byteCount + max(0, index.byteCount - verdicts.indexBytes) + serviceLists.byteCount
      + errorNotes.byteCount + buffer.byteCount + services.byteCount
      + knownServices.capacity * MemoryLayout<KnownService>.stride
      + operations.byteCount + (baseline?.byteCount ?? 0) + register.byteCount + pastKept.byteCount
      + pastDropped.byteCount + shapeNotes.byteCount + metrics.byteCount + ledger.byteCount
      + recalls.byteCount + handOuts.byteCount + (links?.byteCount ?? 0)
  }

  /// Checks that all parts agree. For tests and simulation: it visits every open trace.
  public func checkInvariants() {
    table.checkInvariants()
    checkIndex()
    checkKnownSpans()
    recalls.checkInvariants()
    metrics.checkInvariants()
    handOuts.checkInvariants()
    shapeNotes.checkInvariants()
    invariant(
      recovery.isHolding || quietUntil <= table.firstEnd(configuration.windows, now: clock),
      "a window ends while nothing is said to be due")
    if let point = commitPoint {
      invariant(point.safeOffset <= point.highWater, "the safe offset is past the high water")
      invariant(point.clockAtSafeOffset <= point.clock, "the clock at the safe offset is ahead of the clock")
    }
  }

  /// Checks that all open traces and past verdicts are found, and nothing else.
  private func checkIndex() {
    invariant(
      index.count == table.count + verdicts.foundCount,
      "\(index.count) ids are indexed: \(table.count) open, \(verdicts.foundCount) past")
    var next = table.opened.first
    while let slot = next {
      let id = table[slot].id
      invariant(index.find(index.hash(id), .open(slot)), "an open trace is not found by its id")
      next = table.next(after: slot)
    }
  }

  /// Where the trace is, open or past; nil if nothing is known of it.
  @inline(__always)
  mutating func find(_ id: TraceID, _ hash: UInt32) -> TraceIndex.Place? {
    index.find(hash) { place in
      switch place {
      case .open(let slot): table[slot].id == id
      case .past(let slot): verdicts[slot].traceID == id
      }
    }
  }

  /// Sets where reading starts.
  mutating func begin(at offset: Offset, clock: Instant, isSettled: Bool = true) {
    nextOffset = offset
    self.clock = clock
    quietUntil = .distantPast
    if clock != .distantPast, isSettled { clockGuard.settle() }
  }

  mutating func matchResources(of record: ScannedRecord, _ bytes: RawSpan) {
    resourceMatches.removeAll(keepingCapacity: true)
    for resource in record.resources {
      resourceMatches.append(policies.predicates.matches(resource, of: record, bytes))
    }
  }

  /// Resources whose matches are kept from record to record; beyond this the memory is released.
  private static let resourcesKept = 1024

  private mutating func releaseResources() {
    resourceMatches = []
    baseline?.attributes?.releaseResources()
  }

  private mutating func malformed(_ error: MalformedInput) -> MalformedInput {
    counters.recordsMalformed += 1
    return error
  }

  /// Counts records not keyed by their trace id: their spans may be spread over partitions.
  private mutating func noteKey(_ key: RawSpan?, _ first: TraceID, isSingle: Bool) {
    guard let key else {
      counters.recordsUnkeyed += 1
      return noteMixed()
    }
    if first.isWritten(in: key), isSingle { return }
    guard let traceID = TraceID(key: key) else {
      counters.recordsUnkeyed += 1
      return noteMixed()
    }
    guard traceID != first || !isSingle else { return }
    counters.recordsMisrouted += 1
    noteMixed()
  }

  /// Notes that the key of the record being read says nothing about its traces.
  private mutating func noteMixed() {
    if handOuts.isUsed, let nextOffset { handOuts.mixedUntil = nextOffset }
  }

  // MARK: Time

  private mutating func observe(
    _ timestamp: Instant?, isLogTime: Bool, at offset: Offset, into effects: inout Effects
  ) {
    guard let timestamp else { return }
    if clockGuard.isPlain(timestamp, clock: clock) { return pass(to: timestamp, into: &effects) }
    switch clockGuard.judge(timestamp, at: offset, isLogTime: isLogTime, clock: clock) {
    case .stay: break
    case .suspect:
      // One that is ahead of the last owner's clock did not follow a silence.
      if isReplayed(offset), recovery.firstSuspect == nil,
        timestamp <= recovery.clock + configuration.clockLead, let suspects = clockGuard.suspects
      {
        recovery.firstSuspect = (suspects.since, suspects.clock)
      }
    case .follow:
      // What arrived before the first timestamp was opened without a time.
      if clock == .distantPast { table.delay(since: Offset(.min), clock: clock, to: timestamp) }
      pass(to: timestamp, into: &effects)
    case .jump(let dissent):
      // A clock that was set back returns to where it was: open traces were not opened that long ago.
      if isTurnedBack {
        table.delay(since: Offset(.min), clock: .distantPast, to: dissent.ownClock)
      } else {
        table.delay(since: dissent.since, clock: dissent.clock, to: dissent.ownClock)
      }
      isTurnedBack = false
      pass(to: dissent.ownClock, into: &effects)
    case .turnBack(let dissent): turnBack(to: dissent.latest, at: offset)
    }
    counters.timestampsClamped = clockGuard.refuted
  }

  /// Sets the stream clock back to where the log is. This closes nothing: at most, open traces restart their
  /// wait from there.
  private mutating func turnBack(to time: Instant, at offset: Offset) {
    guard time < clock else { return }
    counters.clockTurnedBack += 1
    isTurnedBack = true
    quietUntil = .distantPast
    countsDue = .distantPast
    // The last owner may have seen it otherwise: what it knew at the high water goes by its clock there.
    if !isReplayed(offset) {
      // What was decided since the clock jumped is dated back to now, and is known.
      for ahead in horizon.turnBack(to: time) {
        let before = ahead.clock - configuration.windows.lateWindow + Interval(nanoseconds: 1)
        noteForgotten(ForgottenVerdicts(before: min(before, time), since: ahead.since))
      }
      dateBack(to: time)
    }
    let levels = policies.budgetLevels(at: clock)
    let shadowLevels = policies.shadow?.levels(at: clock) ?? []
    clock = time
    table.turnBack(to: time)
    policies.restoreBudgets(levels, at: time)
    policies.shadow?.restore(shadowLevels, at: time)
    baseline?.restart()
    baseline?.begin(partition, at: time)
    restartDemand(at: time)
    links?.turnBack()
    lookups.turnBack(to: time)
    turnBackMetrics()
  }

  /// Nothing was decided or requested after `time`.
  mutating func dateBack(to time: Instant) {
    verdicts.turnBack(to: time)
    recalls.turnBack(to: time)
    handOuts.turnBack(to: time)
    retention.turnBack(to: time)
    // What is dated back was not forgotten before.
    for place in forgotten.indices { forgotten[place].before = min(forgotten[place].before, time) }
  }

  /// Whether records dissent from the clock, but nothing they opened is still open: then it does not matter
  /// who was right, and the commit point need not wait.
  private var isDissentOver: Bool {
    guard let since = clockGuard.pending?.since else { return false }
    return table.opened.last.map { table[$0].firstOffset < since } ?? true
  }

  /// Whether a window, or an interval of the baseline, is over by `time`, or may be; or whether the passing
  /// of time moves the safe offset.
  public func hasWorkDue(by time: Instant) -> Bool {
    isDissentOver || nextDue <= time
  }

  /// When the next window or baseline interval ends, or may end.
  private var nextDue: Instant {
    var due = baseline?.traffic?.intervalEnd ?? .distantFuture
    if demandDue != .distantPast { due = min(due, demandDue) }
    if !metrics.isEmpty { due = min(due, metricsDue) }
    if let opened = table.opened.first {
      due = min(due, table[opened].openedAt + configuration.windows.decisionWait)
    }
    if let rooted = table.rooted.first {
      due = min(due, table[rooted].rootArrivedAt + configuration.windows.decisionWaitAfterRoot)
    }
    return due
  }

  /// Closes every window that is over, and forgets the verdicts past the late window.
  ///
  /// During recovery no window closes. Verdicts are forgotten all the same, as the last owner forgot them:
  /// spans that arrived after that opened their trace again.
  @inline(__always)
  mutating func closeDue(into effects: inout Effects) {
    if clock >= quietUntil { closeAllDue(into: &effects) }
  }

  @inline(never)
  private mutating func closeAllDue(into effects: inout Effects) {
    if !recovery.isHolding { closeWindows(into: &effects) }
    forgetVerdicts()
    if hasLinks { links?.forget(at: clock) }
    guard !recovery.isHolding else { return }
    // What is added from now on ends no earlier than if it were added now: the clock goes back only in
    // `turnBack`.
    quietUntil = table.firstEnd(configuration.windows, now: clock)
    let lateWindow = configuration.windows.lateWindow
    let end = (verdicts.oldest ?? clock) + lateWindow
    // Those that are retained wait for `retainVerdicts`.
    if end > clock || retention.clock == .distantFuture {
      quietUntil = min(quietUntil, max(end, horizon.nextStep(lateWindow: lateWindow, now: clock)))
    }
  }

  /// Forgets verdicts by the clock from the record at `offset` on, if a step may be made. While records are
  /// read again, the last owner's steps count.
  mutating func moveHorizon(from offset: Offset) {
    guard recovery.clock == .distantPast else { return }
    horizon.prune(before: safePoint(next: offset).offset)
    if !forgotten.isEmpty { forgotten = forgottenNeeded(by: min(clock, horizon.earliest)) }
    if horizon.mayMove(lateWindow: configuration.windows.lateWindow, now: clock) {
      horizon.move(to: clock, from: offset)
      retention.note(step: horizon.clock)
    }
  }

  /// Forgets the verdicts past the late window, in steps. What is read again goes by the last owner's.
  private mutating func forgetVerdicts() {
    guard clock != .distantPast else { return }
    let lateWindow = configuration.windows.lateWindow
    let next = nextOffset ?? Offset(0)
    if recovery.clock == .distantPast, horizon.steps.isEmpty {
      horizon.move(to: clock, from: next)
      retention.note(step: horizon.clock)
    }
    guard let oldest = verdicts.oldest, oldest + lateWindow <= clock else { return }
    moveHorizon(from: next)
    let time = min(horizon.clock(at: next), retention.clock)
    guard let oldest = verdicts.oldest, oldest + lateWindow <= time else { return }
    while let oldest = verdicts.oldest, oldest + lateWindow <= time { verdicts.removeOldest(from: &index) }
    trimPastSpans()
  }

  /// Closes every window that is over, in order of deadline.
  private mutating func closeWindows(into effects: inout Effects) {
    let windows = configuration.windows
    while let opened = table.findReady() {
      let deadline = table[opened].openedAt + windows.decisionWait
      let rooted = table.rooted.first
      let rootDeadline =
        rooted.map { table[$0].rootArrivedAt + windows.decisionWaitAfterRoot } ?? .distantFuture
      guard min(rootDeadline, deadline) <= clock else { break }
      if let rooted, rootDeadline < deadline {
        if table[rooted].isComplete, !table[rooted].awaitsVerdict, !waitsOn(rooted) {
          close(rooted, .root, into: &effects)
        } else {
          table.endRootWait(rooted)
        }
      } else {
        close(opened, .wait, into: &effects)
      }
    }
  }

  /// Whether a trace whose wait after the root is over, and that misses no parent, still waits the whole
  /// wait: asynchronous work may go on after the root, and a policy could still match.
  ///
  /// It then leaves the queue of traces with roots; the queue of all open traces ends its window.
  mutating func waitsOn(_ slot: Int) -> Bool {
    if table[slot].waitsOn { return true }
    let isLone = configuration.windows.loneRootsWait && table[slot].spanCount == 1
    guard table[slot].isAsynchronous || isLone, policies.program.mayChange(table[slot].facts) else {
      return false
    }
    table[slot].waitsOn = true
    counters.tracesWaitingOn += 1
    return true
  }
}

/// One trace's share of a record.
struct Share {
  let traceID: TraceID
  /// Indices of the record's spans.
  var spans: Range<Int>
  let offset: Offset
}

/// What a sampler holds.
public struct SamplerUsage: Equatable, Sendable {
  /// Open traces.
  public var openTraces: Int
  /// Verdicts remembered.
  public var pastVerdicts: Int
  /// Bytes of spans needed by undecided traces.
  public var bufferedBytes: Int
  /// Bytes of spans held for recalls.
  public var recallBytes: Int
  /// Bytes of the segments that hold them, as if none were compressed.
  public var segmentBytes: Int
  /// How many of the segments are compressed.
  public var compressedSegments: Int
  /// Bytes of memory that open traces take besides their spans.
  public var tableBytes: Int
  /// Bytes of memory taken by past verdicts.
  public var verdictBytes: Int
}
