// A lane: one member of the group, one producer, one thread. It feeds the partitions' samplers and does what
// they say.

internal import OTLP
public import Sampling
internal import SpanStorage
public import Topology

/// What a lane does, beside its samplers' own configuration.
public struct LaneConfiguration: Sendable {
  /// The samplers' configuration.
  public var sampler: SamplerConfiguration
  /// How records are encoded.
  public var encoding = SpanEncoding.otlpProto
  /// The input topic's name, for dead letters.
  public var topic: String
  /// How often outputs and commit points are made lasting,
  public var commitInterval = Interval.seconds(1)
  /// and after how many records at the latest.
  public var commitRecords = 250_000
  /// Bytes of memory that all partitions of the lane may take together: for undecided spans, for what is
  /// known of open traces, and for past verdicts.
  public var memoryBytesMax = 1 << 30
  /// Memory that a burst has left over is given back after so long, twice at the most.
  static let trimInterval = Interval.seconds(60)
  /// Spans are compressed when they take this much of what they may.
  public var compressAbovePercent = 50
  /// A partition that is caught up and quiet for this long lets its clock go on by itself.
  public var idleAfter = Interval.seconds(1)
  /// The largest value that the topic of kept spans takes, or that of spans keyed by trace id.
  public var sampledBytesMax = 900_000
  /// The most bytes that key, value and headers of a dead letter may have together.
  public var deadLetterBytesMax = 900_000

  /// Makes a configuration with the defaults above.
  public init(sampler: SamplerConfiguration, topic: String) {
    self.sampler = sampler
    self.topic = topic
  }

  /// The most that the pieces of one record may take of memory: a sixteenth, or what it takes to double the
  /// largest record, if that is more and no more than a quarter.
  var splitBytesMax: Int {
    let doubled = min(2 * min(sampler.limits.recordBytes, memoryBytesMax), memoryBytesMax / 4)
    return min(sampler.limits.splitBytes, max(memoryBytesMax / 16, doubled))
  }

  /// What a record needs while it is read and written is kept up to this much for the next one.
  var workingBytesKept: Int { max(1 << 20, memoryBytesMax / 64) }
}

/// The sampler of one assigned partition, and what the lane knows of the partition.
private final class AssignedPartition {
  let id: PartitionID
  var sampler: Sampler
  /// Steady time of the last record, or of when reading began.
  var activeAt: Instant
  /// The stream clock then.
  var clockWhenActive: Instant
  /// Whether every record there is has been read.
  var isCaughtUp = false
  /// When the broker was last asked where it ends.
  var askedAt = Instant.distantPast
  /// What was committed last.
  var committed: CommitPoint?
  /// When it was assigned and when reading began, by the steady clock.
  let assignedAt: Instant
  private(set) var readingSince: Instant
  /// What was committed when it was assigned.
  let point: CommitPoint?
  /// Past verdicts that were read back.
  var verdicts = 0
  /// Whether it still has to come to where its last owner was.
  var isBehind: Bool
  /// How far the stream clock was ahead of the time of day at the most, and where it stood then.
  private var ahead: (most: Interval, clock: Instant)

  init(_ sampler: consuming Sampler, _ point: CommitPoint?, assignedAt: Instant, at moment: Moment) {
    id = sampler.partition
    activeAt = moment.steady
    clockWhenActive = sampler.clock
    committed = point
    self.point = point
    self.assignedAt = assignedAt
    readingSince = moment.steady
    isBehind = sampler.isRecovering
    ahead = (point?.clockAhead ?? .seconds(0), point?.clock ?? .distantPast)
    self.sampler = sampler
  }

  /// Its past is known, and its records are read from now on.
  func beginReading(at moment: Moment) {
    activeAt = moment.steady
    readingSince = moment.steady
  }

  /// Where it can be taken up again, with how far the stream clock was ahead of the time of day when verdicts
  /// were given that may be asked for there. By whole seconds: what the time of day does meanwhile is nothing
  /// to commit.
  func commitPoint(at wall: Instant, lateWindow: Interval) -> CommitPoint? {
    guard var point = sampler.commitPoint else { return nil }
    let now = Interval.seconds(max(0, (point.clock - wall).nanoseconds / 1_000_000_000))
    // Where the clock stands still it is less ahead by the minute, and the verdicts are as old as they are.
    if now >= ahead.most || point.clockAtSafeOffset > ahead.clock + lateWindow { ahead = (now, point.clock) }
    point.clockAhead = ahead.most
    return point
  }

  /// What the stream clock is, by the time that has passed since the last record.
  func quietClock(at now: Instant) -> Instant { clockWhenActive + (now - activeAt) }

  /// How far it is on its way to where its last owner was.
  func progress(at now: Instant) -> RecoveryProgress {
    let highWater = committed?.highWater.value ?? 0
    let begin = point?.safeOffset.value ?? highWater
    let done = max(0, (sampler.nextOffset?.value ?? begin) - begin)
    return RecoveryProgress(
      partition: id, phase: .records, done: done, total: highWater - begin, elapsed: now - readingSince)
  }
}

/// Runs the samplers of the partitions that are assigned to one member of the group.
///
/// Not thread-safe: it lives on one thread. `step` does one round; nothing happens between rounds.
public final class Lane<Link: BrokerLink>: GroupMember {
  let link: Link
  private(set) var configuration: LaneConfiguration
  let now: () -> Moment
  private let report: (LaneEvent) -> Void
  private var decoder: InputDecoder
  private var deadLetters: DeadLetterOutput
  /// By number, so that the lane's outputs do not depend on a hash table's order.
  private var partitions: [AssignedPartition] = []
  var membership = Membership()
  /// Partitions whose past is being read back. Verdicts go into their samplers' caches as they come, under
  /// the caches' limit; nothing is gathered.
  private var restoring: [PartitionID: AssignedPartition] = [:]
  /// The partition of the record before: most records come in runs.
  private var latest: AssignedPartition?
  /// What the samplers share.
  private let memory: SpanMemory
  private let workspace = SamplerWorkspace()
  /// What the lane holds beside spans, tables and verdicts, as of the last round.
  private var workingBytes = 0
  /// What spans may take. Room for the pieces of one record is left: when they are written it is too late to
  /// look.
  private var spanBytesMax: Int {
    let others =
      memory.tableBytes + memory.verdictBytes + workingBytes + configuration.sampler.limits.splitBytes
    return max(configuration.memoryBytesMax - others, configuration.memoryBytesMax / 8)
  }
  /// When memory was last given back, by the steady clock.
  private var trimmedAt = Instant.distantPast
  private var effects = Effects()
  private var key: [UInt8] = []
  /// Counts of partitions that are no longer assigned.
  private var pastCounters = SamplerCounters()
  private var written = LaneCounters()
  /// What is measured as it happens. What was measured of partitions that are no longer assigned, too.
  private var measures = LaneMeasures()
  /// Timestamps of the records that made traces certain since the last commit.
  private var eagerSince: [Instant] = []
  /// What is known of the fleet's traffic, where the baseline is adaptive.
  private var fleetRates: FleetRates?
  private var isFleetKnown: Bool
  /// When progress was last told, by the steady clock.
  private var progressToldAt = Instant.distantPast
  /// When a record that came again was last told, by the steady clock.
  private var repeatedToldAt = Instant.distantPast
  /// Brokers are not asked for the ends of quiet partitions before then, by the steady clock.
  private var askAgainAt = Instant.distantPast

  /// Makes a lane over a link that has joined its group.
  ///
  /// - Parameters:
  ///   - now: what time it is, to measure by.
  ///   - report: told what happens, on the lane's thread.
  public init(
    link: Link, configuration: LaneConfiguration, now: @escaping () -> Moment = { .now },
    report: @escaping (LaneEvent) -> Void
  ) {
    self.link = link
    self.configuration = configuration
    self.configuration.sampler.limits.splitBytes = configuration.splitBytesMax
    self.configuration.sampler.limits.sampledBytes = configuration.sampledBytesMax
    self.now = now
    self.report = report
    decoder = InputDecoder(encoding: configuration.encoding)
    deadLetters = DeadLetterOutput(topic: configuration.topic, bytesMax: configuration.deadLetterBytesMax)
    fleetRates = configuration.sampler.baseline.map { FleetRates($0) }
    isFleetKnown = fleetRates == nil
    memory = SpanMemory(slabBytes: configuration.sampler.limits.segmentBytes)
    // Half is left for spans, less what the lane works with and the room for a record.
    memory.tableBytesMax = configuration.memoryBytesMax / 4
    memory.verdictBytesMax = configuration.memoryBytesMax / 4
  }

  /// One round: reads what there is, answers the group, lets time pass, commits if it is time to.
  ///
  /// - Parameter timeout: how long to wait for a record.
  /// - Throws: what the link throws. After `retry` the same call may be made again.
  public func step(at moment: Moment, timeout: Interval) throws(BrokerError) {
    try doRound(at: moment, timeout: timeout)
  }

  /// Makes everything done so far lasting and leaves the group. No window is closed: the log keeps what is
  /// open.
  public func stop() throws(BrokerError) {
    try commit()
    tellDeadLetters(at: now().steady, all: true)
    link.close()
  }

  /// Gives up what is not committed and leaves the group: whoever takes the partitions over does it again.
  public func leave() {
    try? link.abort()
    link.close()
  }

  /// Lets go of everything without a word to any broker: none answers, and the process is about to end.
  public func abandon() {
    link.abandon()
  }

  /// Takes over the policies, the baseline and the version of `sampler` between two rounds; see
  /// `Sampler.adopt`.
  public func adopt(_ sampler: SamplerConfiguration) {
    configuration.sampler.adopt(sampler)
    for partition in partitions { partition.sampler.adopt(sampler) }
    for partition in restoring.values { partition.sampler.adopt(sampler) }
    guard let baseline = sampler.baseline, let rates = fleetRates?.adopt(baseline) else { return }
    for partition in partitions { partition.sampler.adopt(rates) }
  }

  // MARK: Records

  func take(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, at moment: Moment
  ) throws(BrokerError) {
    guard let partition = partition(place.partition) else {
      written.recordsNotAssigned += 1
      return
    }
    // After a rebalance the broker may hand out records again that were fetched before. So it may when a log
    // was cut short (an unclean election) and has grown again: then these are other records.
    if let next = partition.sampler.nextOffset, place.offset < next {
      return noteRepeated(place, before: next)
    }
    if partition.isCaughtUp, partition.activeAt + configuration.idleAfter <= moment.steady {
      // No further than the record itself says: fetching may have hung, and the record may be old.
      let quiet = partition.quietClock(at: moment.steady)
      partition.sampler.drift(to: place.timestamp.map { min($0, quiet) } ?? quiet)
    }
    partition.activeAt = moment.steady
    partition.isCaughtUp = false
    let malformed = ingest(place, key: key, value: value, into: partition)
    partition.clockWhenActive = partition.sampler.clock
    if !partition.sampler.isReplayed(place.offset) {
      if let malformed {
        try writeDeadLetter(place, malformed, key: key, value: value)
      } else if let value, decoder.encoding != .otlpProto {
        try writeRejected(place, key: key, value: value)
      }
    }
    try drain(place.partition, record: place, key: key)
    if memory.usedBytes > spanBytesMax { try relieveMemory() }
  }

  private func noteRepeated(_ place: RecordPlace, before next: Offset) {
    written.recordsRepeated += 1
    guard repeatedToldAt + Self.repeatedInterval <= now().steady else { return }
    repeatedToldAt = now().steady
    report(.repeated(place.partition, place.offset, next: next))
  }

  /// How often records that come again are told.
  private static var repeatedInterval: Interval { .seconds(60) }

  private func partition(_ id: PartitionID) -> AssignedPartition? {
    if let latest, latest.id == id { return latest }
    latest = find(id)
    return latest
  }

  private func find(_ id: PartitionID) -> AssignedPartition? {
    partitions.first { $0.id == id }
  }

  private func ingest(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, into partition: AssignedPartition
  ) -> MalformedInput? {
    guard let value, configuration.encoding != .otlpProto else {
      return partition.sampler.ingest(
        offset: place.offset, timestamp: place.timestamp, isLogTime: place.isLogTime, key: key, value: value,
        into: &effects)
    }
    var isTaken = false
    let malformed = decoder.decode(value, bytesMax: configuration.sampler.limits.recordBytes) { converted in
      isTaken = true
      return partition.sampler.ingest(
        offset: place.offset, timestamp: place.timestamp, isLogTime: place.isLogTime, key: key,
        value: converted, into: &effects)
    }
    if !isTaken {
      partition.sampler.skip(
        offset: place.offset, timestamp: place.timestamp, isLogTime: place.isLogTime, into: &effects)
    }
    return malformed
  }

  /// Writes a record that can't be taken, as it came.
  private func writeDeadLetter(
    _ place: RecordPlace, _ malformed: MalformedInput, key: RawSpan?, value: RawSpan?
  ) throws(BrokerError) {
    let groups = decoder.rejected.groups.isEmpty ? workspace.rejectedSpans : decoder.rejected.groups
    try deadLetters.writeRecord(
      place, malformed, groups, key: key, value: value, encoding: configuration.encoding, to: link)
  }

  /// Writes the spans of a document that could not be converted, as they came.
  private func writeRejected(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan
  ) throws(BrokerError) {
    for rejected in decoder.rejected.groups {
      var part = WireWriter()
      decoder.rejected.append(rejected.error.reason, of: value, to: &part)
      try part.bytes.withRawBytes { (bytes) throws(BrokerError) in
        try deadLetters.write(
          DeadLetter(place, rejected), key: key, value: bytes, isOfLentRecord: true, to: link)
      }
    }
  }

  private func tellDeadLetters(at now: Instant, all: Bool = false) {
    for notice in deadLetters.takeNotices(at: now, all: all) { report(.deadLettered(notice)) }
  }

  /// Writes what a sampler wants written.
  ///
  /// - Parameter record: the record that was read, if it was one.
  private func drain(
    _ partition: PartitionID, record: RecordPlace? = nil, key: RawSpan?
  ) throws(BrokerError) {
    guard !effects.outputs.isEmpty else { return }
    defer { effects.removeAll() }
    var latest: Decision?
    for output in effects.outputs {
      switch output {
      case .decide(let decision, let range):
        note(decision, record?.timestamp)
        latest = decision
        guard let range else { continue }
        written.decisions += 1
        try write(.decisions, partition, decision.traceID, range)
      case .count(let key, let record):
        try writeCounts(key, record)
      case .reject(let rejected, let range):
        guard let record else { continue }
        try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
          try deadLetters.write(
            DeadLetter(record, rejected), key: key, value: bytes.extracting(range), isOfLentRecord: true,
            to: link)
        }
      case .forward(let traceID, let range, _):
        written.sampled += 1
        try write(.sampled, partition, traceID, range)
      case .leaveOut(let traceID, let range, let spans):
        let decision = latest?.traceID == traceID ? latest : nil
        let offsets = offsets(decision, record, of: partition)
        try writeTooLarge(partition, traceID, range, spans, from: offsets)
      }
    }
  }

  /// The offsets between which the record stands that spans handed out now have come in: those of a trace
  /// that is decided now, or else the one that was read, or else the last one that was.
  private func offsets(
    _ decision: Decision?, _ record: RecordPlace?, of partition: PartitionID
  ) -> ClosedRange<Offset> {
    if let decision { return decision.firstOffset...max(decision.firstOffset, decision.lastOffset) }
    let next = find(partition)?.sampler.nextOffset?.value ?? 1
    let offset = record?.offset ?? Offset(max(0, next - 1))
    return offset...offset
  }

  private func note(_ decision: Decision, _ timestamp: Instant?) {
    measures.verdicts.note(decision)
    if decision.isFinal {
      measures.decisionLatencies.observe(decision.decidedAt - decision.openedAt)
    } else if decision.trigger == .eager, let timestamp {
      eagerSince.append(timestamp)
    }
  }

  private func write(
    _ topic: OutputTopic, _ partition: PartitionID, _ traceID: TraceID, _ range: Range<Int>
  ) throws(BrokerError) {
    key.removeAll(keepingCapacity: true)
    traceID.appendHexadecimal(to: &key)
    try key.withRawBytes { (key) throws(BrokerError) in
      try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
        try link.write(topic, partition: partition, key: key, value: bytes.extracting(range), headers: [])
      }
    }
  }

  private func writeCounts(_ key: Range<Int>, _ record: Range<Int>) throws(BrokerError) {
    try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
      try link.write(
        .stats, partition: nil, key: bytes.extracting(key), value: bytes.extracting(record), headers: [])
    }
  }

  /// Kept spans that are larger than their topic takes are not lost, but a dead letter.
  private func writeTooLarge(
    _ partition: PartitionID, _ traceID: TraceID, _ range: Range<Int>, _ spans: Int,
    from offsets: ClosedRange<Offset>
  ) throws(BrokerError) {
    key.removeAll(keepingCapacity: true)
    traceID.appendHexadecimal(to: &key)
    try key.withRawBytes { (key) throws(BrokerError) in
      try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
        let value = bytes.extracting(range)
        let letter = DeadLetter(
          tooLarge: value, spans: spans, traceID: traceID, bytesMax: configuration.sampledBytesMax,
          partition: partition, offsets: offsets)
        try deadLetters.write(letter, key: key, value: value, isOfLentRecord: false, to: link)
      }
    }
  }

  // MARK: Group

  var partitionIDs: [PartitionID] { partitions.map(\.id) }

  func noteDisturbance(_ error: BrokerError) { report(.disturbed(error)) }

  func noteReleased(_ ids: [PartitionID]) { report(.released(ids)) }

  func noteEnd(of id: PartitionID, at offset: Offset) {
    // The end may lie behind the next offset to read: the markers of transactions take offsets too. If it
    // lies before it, records have come since.
    guard let partition = find(id), (partition.sampler.nextOffset ?? offset) <= offset else { return }
    partition.isCaughtUp = true
    partition.sampler.noteEnd(at: offset)
  }

  func takeUp(_ waiting: inout WaitingPartition, at moment: Moment) throws(BrokerError) -> Bool {
    let id = waiting.id
    // Whoever starts takes the fleet's rates, not its own first guess; but not for ever.
    guard isFleetKnown || waiting.since + Self.fleetPatience <= moment.steady else {
      waiting.lookAgainAt = moment.steady + .milliseconds(50)
      return false
    }
    guard try link.hasOutputs(for: id) else {
      waiting.lookAgainAt = moment.steady + Self.outputsInterval
      noteDisturbance(
        BrokerError(
          .retry,
          "partition \(id.value) of '\(configuration.topic)' has no counterpart in the output topics yet: "
            + "add partitions to them"))
      return false
    }
    let committed = waiting.committed ?? nil
    let point = committed.flatMap { CommitPoint(safeOffset: $0.offset, metadata: $0.metadata) }
    let partition = restoring[id] ?? makePartition(waiting, at: point, moment)
    // Kept until it is read: an assignment that fails is made again.
    restoring[id] = partition
    if let point {
      guard try readDecisions(&waiting, at: point, wall: moment.wall) else { return false }
    }
    try link.resume([(id, committed?.offset)])
    restoring[id] = nil
    partition.beginReading(at: moment)
    if let rates = fleetRates?.rates { partition.sampler.adopt(rates) }
    partitions.append(partition)
    partitions.sort { $0.id < $1.id }
    latest = nil
    let again = point.map { $0.highWater.value - $0.safeOffset.value } ?? 0
    report(.assigned(id, from: committed?.offset, recordsAgain: again, verdicts: partition.verdicts))
    return true
  }

  private func makePartition(
    _ waiting: WaitingPartition, at point: CommitPoint?, _ moment: Moment
  ) -> AssignedPartition {
    var sampler = Sampler(
      partition: waiting.id, configuration: configuration.sampler, memory: memory, workspace: workspace)
    if let point { sampler.restore(point, isWhole: link.commitsTogether) }
    return AssignedPartition(sampler, point, assignedAt: waiting.since, at: moment)
  }

  /// How often it is looked whether a partition's counterparts are there.
  private static var outputsInterval: Interval { .seconds(2) }

  /// Goes on with reading back what was committed with `point` or before. Returns whether all is read.
  private func readDecisions(
    _ waiting: inout WaitingPartition, at point: CommitPoint, wall: Instant
  ) throws(BrokerError) -> Bool {
    // Decisions are stamped by the time of day, which producers' clocks may be ahead of: then, by as much as
    // the last owner saw, or now.
    let since =
      min(point.clockAtSafeOffset - point.clockAhead, wall) - configuration.sampler.windows.lateWindow
      - configuration.sampler.clockLead
    let isCertain = link.commitsTogether
    let past = try link.readDecisions(waiting.id, since: since) { id, verdict in
      guard let partition = restoring[id], let point = partition.point else { return }
      // A verdict that was written after the commit may be there although the spans that it lets through are
      // not. Only traces that began before the safe offset were decided before the commit for certain. The
      // others are decided again: once too often, perhaps, but nothing is lost.
      let began = verdict.firstOffset
      guard isCertain || began.map({ $0 < point.safeOffset }) ?? false else { return }
      partition.sampler.restore(verdict)
      partition.verdicts += 1
    }
    switch past {
    case .reading(let read, let total):
      waiting.progress = (read, total)
      return false
    case .read(let isWhole):
      if !isWhole { report(.decisionsMissing(waiting.id, since: since)) }
      return true
    }
  }

  func forget(_ ids: [PartitionID]) {
    for id in ids {
      restoring[id] = nil
      guard let index = partitions.firstIndex(where: { $0.id == id }) else { continue }
      let partition = partitions.remove(at: index)
      pastCounters.add(partition.sampler.counters)
      measures.addServices(of: partition.sampler)
    }
    effects.removeAll()
    eagerSince.removeAll()
    latest = nil
  }

  // MARK: Time, memory, commits

  func workOff(at moment: Moment) throws(BrokerError) {
    try followFleet(at: moment)
    try letTimePass(at: moment.steady)
    manageMemory(at: moment.steady)
    tellProgress(at: moment.steady)
    tellDeadLetters(at: moment.steady)
  }

  /// Lets the clocks of quiet partitions go on: from where they were, by the time that has passed since. The
  /// time of day has no say in it, so a host whose clock is wrong, or is set, closes no window early.
  ///
  /// Quiet is not the same as read to the end: fetching may hang while records are written. So before a
  /// window closes by itself the broker is asked where the log ends, once for all partitions. What is written
  /// after `now` is too late for it, and what was written before has been read.
  private func letTimePass(at now: Instant) throws(BrokerError) {
    guard askAgainAt <= now else { return }
    let due = partitions.filter { partition in
      partition.isCaughtUp && partition.clockWhenActive != .distantPast
        && partition.activeAt + configuration.idleAfter <= now
        && partition.askedAt + Self.askInterval <= now
        && partition.sampler.hasWorkDue(by: partition.quietClock(at: now))
    }
    guard !due.isEmpty else { return }
    let ends: [Offset]
    do {
      ends = try link.ends(of: due.map(\.id))
    } catch {
      guard error.remedy == .retry else { throw error }
      // Windows wait for an answer. Those who ask too often keep the lane from its other work.
      askAgainAt = now + Self.askPause
      return report(.disturbed(error))
    }
    for (partition, end) in zip(due, ends) {
      partition.askedAt = now
      guard let next = partition.sampler.nextOffset, end <= next else { continue }
      partition.sampler.advance(to: partition.quietClock(at: now), into: &effects)
      try drain(partition.id, key: nil)
    }
  }

  /// How often brokers are asked for the end of a quiet partition,
  private static var askInterval: Interval { .milliseconds(500) }
  /// and how long they are left alone when they did not answer.
  private static var askPause: Interval { .seconds(3) }

  /// Reads what the fleet has counted, and takes the rates that follow.
  private func followFleet(at moment: Moment) throws(BrokerError) {
    guard var fleet = fleetRates.take() else { return }
    defer { fleetRates = fleet }
    let now = partitions.reduce(moment.wall) { max($0, $1.sampler.clock) }
    isFleetKnown = try link.readStats { fleet.merge($0, now: now) } || isFleetKnown
    // While the past is read, rates would change with every record of it.
    guard isFleetKnown, let rates = fleet.newRates(at: moment.steady) else { return }
    for partition in partitions { partition.sampler.adopt(rates) }
  }

  /// How long partitions wait for the fleet's counts to be read.
  private static var fleetPatience: Interval { .seconds(10) }

  private func tellProgress(at now: Instant) {
    for partition in partitions where partition.isBehind && !partition.sampler.isRecovering {
      partition.isBehind = false
      measures.recoveryDurations.observe(now - partition.assignedAt)
      report(.recovered(partition.id, after: now - partition.assignedAt))
    }
    guard progressToldAt + LaneEvent.progressInterval <= now else { return }
    progressToldAt = now
    let waiting = membership.waiting.map { partition in
      RecoveryProgress(
        partition: partition.id, phase: .decisions, done: partition.progress.read,
        total: partition.progress.of, elapsed: now - partition.since)
    }
    let reading = partitions.filter(\.isBehind).map { $0.progress(at: now) }
    if !waiting.isEmpty || !reading.isEmpty { report(.recovering(waiting + reading)) }
  }

  private func manageMemory(at now: Instant) {
    // What a large record took is given back at once: traces would have to go for it.
    if workspace.scratchBytes > configuration.workingBytesKept { workspace.releaseScratch() }
    if effects.capacity > configuration.workingBytesKept { effects = Effects() }
    if decoder.byteCount > configuration.workingBytesKept { decoder.release() }
    if workspace.automataBytes > configuration.memoryBytesMax / 16 { workspace.releaseAutomata(all: true) }
    workingBytes =
      workspace.scratchBytes + effects.capacity + decoder.byteCount + workspace.automataBytes
      + (fleetRates?.byteCount ?? 0) + eagerSince.capacity * MemoryLayout<Instant>.stride
    memory.compressAbove = spanBytesMax / 100 * configuration.compressAbovePercent
    guard trimmedAt + LaneConfiguration.trimInterval <= now else { return }
    trimmedAt = now
    memory.trim()
    for partition in partitions { partition.sampler.trim() }
    workspace.releaseAutomata(all: false)
  }

  /// Takes memory from the partition that holds most, while spans of all together take too much.
  private func relieveMemory() throws(BrokerError) {
    while memory.usedBytes > spanBytesMax {
      let largest = partitions.max { $0.sampler.usage.bufferedBytes < $1.sampler.usage.bufferedBytes }
      guard let largest else { return }
      let before = largest.sampler.usage.bufferedBytes
      // A tenth more than needed, so that the next record does not bring the lane here again.
      let excess = memory.usedBytes - spanBytesMax / 10 * 9
      largest.sampler.relieve(toBytes: max(0, before - excess), into: &effects)
      try drain(largest.id, key: nil)
      guard largest.sampler.usage.bufferedBytes < before else { return }
    }
  }

  var allPoints: [(PartitionID, CommitPoint)] {
    let (wall, lateWindow) = (now().wall, configuration.sampler.windows.lateWindow)
    return partitions.compactMap { partition in
      partition.commitPoint(at: wall, lateWindow: lateWindow).map { (partition.id, $0) }
    }
  }

  var duePoints: [(PartitionID, CommitPoint)] {
    allPoints.filter { id, point in
      var known = find(id)?.committed
      known?.clockAhead = point.clockAhead
      return point != known
    }
  }

  func noteCommitted(_ points: [(PartitionID, CommitPoint)], from begin: Moment, to end: Moment) {
    measures.commitDurations.observe(end.steady - begin.steady)
    for timestamp in eagerSince { measures.eagerLatencies.observe(end.wall - timestamp) }
    eagerSince.removeAll(keepingCapacity: true)
    for (id, point) in points { find(id)?.committed = point }
    written.commits += 1
    report(.committed(snapshot()))
  }

  /// What the lane has measured, and where its partitions stand.
  public func measured() -> LaneMeasures {
    var all = measures
    all.hasJoined = membership.hasJoined
    all.rebalances = membership.rebalances
    all.aborts = membership.aborts
    all.rates = fleetRates?.rates
    for partition in partitions {
      all.addServices(of: partition.sampler)
      let clock = partition.sampler.clock
      all.positions.append(
        PartitionPosition(
          partition: partition.id, next: partition.sampler.nextOffset, end: link.knownEnd(of: partition.id),
          clock: clock == .distantPast ? nil : clock))
    }
    return all
  }

  /// What the lane holds and has done.
  public func snapshot() -> LaneSnapshot {
    var snapshot = LaneSnapshot(counters: pastCounters, lane: written)
    snapshot.lane.deadLetters = deadLetters.letters
    snapshot.lane.deadLetterSpans = deadLetters.spans
    for partition in partitions {
      snapshot.counters.add(partition.sampler.counters)
      let usage = partition.sampler.usage
      snapshot.openTraces += usage.openTraces
      snapshot.bufferedBytes += usage.bufferedBytes
      snapshot.compressedSegments += usage.compressedSegments
      snapshot.pastVerdicts += usage.pastVerdicts
    }
    snapshot.residentBufferBytes = memory.usedBytes
    snapshot.residentBytes = memory.usedBytes + memory.tableBytes + memory.verdictBytes + workingBytes
    snapshot.partitions = partitions.map(\.id)
    snapshot.recovering = membership.waiting.count + partitions.count { $0.sampler.isRecovering }
    return snapshot
  }
}
