// A lane: one member of the group, one producer, one thread. It feeds the partitions' samplers and does what
// they say.

internal import OTLP
public import Sampling

/// What a lane does, beside its samplers' own configuration.
public struct LaneConfiguration: Sendable {
  /// The samplers' configuration.
  public var sampler: SamplerConfiguration
  /// How records are encoded.
  public var encoding = SpanEncoding.otlpProto
  /// The input topic's name, for dead letters.
  public var topic: String
  /// How often outputs and commit points are made lasting.
  public var commitInterval = Interval.seconds(1)
  /// Bytes of undecided spans that all partitions of the lane may hold together.
  public var bufferedBytesMax = 1 << 30
  /// A partition that is caught up and quiet for this long follows the wall clock.
  public var idleAfter = Interval.seconds(1)
  /// The largest record that the topic of kept spans takes, less what a record costs beside its value.
  public var sampledBytesMax = 900_000
  /// The same for dead letters.
  public var deadLetterBytesMax = 900_000

  /// Makes a configuration with the defaults above.
  public init(sampler: SamplerConfiguration, topic: String) {
    self.sampler = sampler
    self.topic = topic
  }
}

/// The sampler of one assigned partition, and what the lane knows of the partition.
private final class AssignedPartition {
  let id: PartitionID
  var sampler: Sampler
  /// Wall clock of the last record, or of the assignment.
  var activeAt: Instant
  /// Whether every record there is has been read.
  var isCaughtUp = false
  /// What was committed last.
  var committed: CommitPoint?

  init(_ sampler: consuming Sampler, activeAt: Instant) {
    id = sampler.partition
    self.sampler = sampler
    self.activeAt = activeAt
  }
}

/// Runs the samplers of the partitions that are assigned to one member of the group.
///
/// Not thread-safe: it lives on one thread. `step` does one round; nothing happens between rounds.
public final class Lane<Link: BrokerLink> {
  private let link: Link
  private let configuration: LaneConfiguration
  private let report: (LaneEvent) -> Void
  private var decoder: InputDecoder
  /// By number, so that the lane's outputs do not depend on a hash table's order.
  private var partitions: [AssignedPartition] = []
  /// Partitions that are assigned but not taken up yet.
  private var waiting: [PartitionID] = []
  /// The partition of the record before: most records come in runs.
  private var latest: AssignedPartition?
  private var effects = Effects()
  private var committedAt = Instant.distantPast
  private var key: [UInt8] = []
  /// Counts of partitions that are no longer assigned.
  private var pastCounters = SamplerCounters()
  private var written = LaneCounters()

  /// Makes a lane over a link that has joined its group.
  ///
  /// - Parameter report: told what happens, on the lane's thread.
  public init(link: Link, configuration: LaneConfiguration, report: @escaping (LaneEvent) -> Void) {
    self.link = link
    self.configuration = configuration
    self.report = report
    decoder = InputDecoder(encoding: configuration.encoding)
    pastCounters.keptByPolicy = Array(repeating: 0, count: configuration.sampler.policies.count)
  }

  /// One round: reads what there is, answers the group, lets time pass, commits if it is time to.
  ///
  /// - Parameters:
  ///   - now: the wall clock.
  ///   - timeout: how long to wait for a record.
  /// - Throws: what the link throws. After `retry` the same call may be made again.
  public func step(now: Instant, timeout: Interval) throws(BrokerError) {
    do {
      try round(now: now, timeout: timeout)
    } catch {
      guard error.remedy == .abort else { throw error }
      report(.disturbed(error))
      try startOver()
    }
  }

  private func round(now: Instant, timeout: Interval) throws(BrokerError) {
    _ = try link.poll(timeout: timeout) { (place, key, value) throws(BrokerError) in
      try take(place, key: key, value: value, now: now)
    }
    try answerGroup()
    try takeUpWaiting(now: now)
    try letTimePass(now: now)
    try relieveMemory()
    if now >= committedAt + configuration.commitInterval || now < committedAt {
      try commit()
      committedAt = now
    }
  }

  /// Makes everything done so far lasting and leaves the group. No window is closed: the log keeps what is
  /// open.
  public func stop() throws(BrokerError) {
    try commit()
    link.close()
  }

  /// Leaves the group as things are: what is not committed is done again by whoever takes the partitions
  /// over.
  public func leave() {
    link.close()
  }

  // MARK: Records

  private func take(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, now: Instant
  ) throws(BrokerError) {
    guard let partition = partition(place.partition) else {
      written.recordsNotAssigned += 1
      return
    }
    // After a rebalance the broker may hand out records again that were fetched before.
    if let next = partition.sampler.nextOffset, place.offset < next { return }
    partition.activeAt = now
    partition.isCaughtUp = false
    let malformed = ingest(place, key: key, value: value, now: now, into: partition)
    if let malformed, !partition.sampler.isReplayed(place.offset) {
      try writeDeadLetter(
        place, key: key, value: value, reason: malformed.reason.rawValue, error: "\(malformed)")
    }
    try drain(place.partition)
  }

  private func partition(_ id: PartitionID) -> AssignedPartition? {
    if let latest, latest.id == id { return latest }
    latest = find(id)
    return latest
  }

  private func find(_ id: PartitionID) -> AssignedPartition? {
    partitions.first { $0.id == id }
  }

  private func ingest(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, now: Instant, into partition: AssignedPartition
  ) -> MalformedInput? {
    guard let value, configuration.encoding != .otlpProto else {
      return partition.sampler.ingest(
        offset: place.offset, timestamp: place.timestamp, wallClock: now, key: key, value: value,
        into: &effects)
    }
    var isTaken = false
    let malformed = decoder.decode(value, bytesMax: configuration.sampler.limits.recordBytes) { converted in
      isTaken = true
      return partition.sampler.ingest(
        offset: place.offset, timestamp: place.timestamp, wallClock: now, key: key, value: converted,
        into: &effects)
    }
    if !isTaken {
      partition.sampler.skip(
        offset: place.offset, timestamp: place.timestamp, wallClock: now, into: &effects)
    }
    return malformed
  }

  private func writeDeadLetter(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, reason: String, error: String
  ) throws(BrokerError) {
    written.deadLetters[reason, default: 0] += 1
    let headers = DeadLetters.headers(
      reason: reason, error: error, topic: configuration.topic, partition: place.partition,
      offset: place.offset)
    try DeadLetters.write(
      to: link, key: key, value: value, headers: headers, bytesMax: configuration.deadLetterBytesMax)
  }

  /// Writes what a sampler wants written.
  private func drain(_ partition: PartitionID) throws(BrokerError) {
    guard !effects.outputs.isEmpty else { return }
    defer { effects.removeAll() }
    for output in effects.outputs {
      switch output {
      case .decide(let decision, let range):
        guard let range else { continue }
        written.decisions += 1
        try write(.decisions, partition, decision.traceID, range)
      case .forward(let traceID, let range, _):
        written.sampled += 1
        if range.count > configuration.sampledBytesMax {
          try writeTooLarge(partition, traceID, range)
        } else {
          try write(.sampled, partition, traceID, range)
        }
      }
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

  /// A kept span that alone is larger than its topic takes: it is not lost, but a dead letter.
  private func writeTooLarge(
    _ partition: PartitionID, _ traceID: TraceID, _ range: Range<Int>
  ) throws(BrokerError) {
    key.removeAll(keepingCapacity: true)
    traceID.appendHexadecimal(to: &key)
    let reason = "span_too_large"
    written.deadLetters[reason, default: 0] += 1
    let headers = [
      RecordHeaderField("reason", reason),
      RecordHeaderField("error", "a kept span of \(range.count) bytes does not fit the topic of kept spans"),
      RecordHeaderField("source_topic", configuration.topic),
      RecordHeaderField("source_partition", String(partition.value)),
    ]
    try key.withRawBytes { (key) throws(BrokerError) in
      try effects.bytes.withRawBytes { (bytes) throws(BrokerError) in
        try DeadLetters.write(
          to: link, key: key, value: bytes.extracting(range), headers: headers,
          bytesMax: configuration.deadLetterBytesMax)
      }
    }
  }

  // MARK: Group

  private func answerGroup() throws(BrokerError) {
    var mustStartOver = false
    for event in link.takeEvents() {
      switch event {
      case .assigned(let ids):
        waiting += ids
        // A rebalance that gives nothing new wants an answer too.
        if ids.isEmpty { try link.resume([]) }
      case .revoked(let ids):
        if !mustStartOver { mustStartOver = try !commitBeforeRelease() }
        try release(ids)
      case .lost(let ids):
        // They are somebody else's: what was written for them since the last commit must not be committed.
        try release(ids)
        mustStartOver = true
      case .caughtUp(let id, let offset): noteEnd(of: id, at: offset)
      case .disturbed(let error): report(.disturbed(error))
      }
    }
    if mustStartOver { try startOver() }
  }

  /// Commits everything, for the sake of partitions that are given up: their outputs and those of the others
  /// are in one transaction. Returns false if that failed; they are given up all the same, and their next
  /// owner reads again.
  private func commitBeforeRelease() throws(BrokerError) -> Bool {
    do {
      try commit()
      return true
    } catch {
      guard error.remedy != .stop else { throw error }
      report(.disturbed(error))
      return false
    }
  }

  private func noteEnd(of id: PartitionID, at offset: Offset) {
    // The end may lie behind the next offset to read: the markers of transactions take offsets too. If it
    // lies before it, records have come since.
    guard let partition = find(id), (partition.sampler.nextOffset ?? offset) <= offset else { return }
    partition.isCaughtUp = true
    partition.sampler.noteEnd(at: offset)
  }

  /// Takes up partitions that were assigned. One that can't be taken up yet waits; the others go on.
  private func takeUpWaiting(now: Instant) throws(BrokerError) {
    for id in waiting {
      do {
        try takeUp(id, now: now)
        waiting.removeAll { $0 == id }
      } catch {
        guard error.remedy == .retry else { throw error }
        report(.disturbed(error))
      }
    }
  }

  private func takeUp(_ id: PartitionID, now: Instant) throws(BrokerError) {
    var sampler = Sampler(partition: id, configuration: configuration.sampler)
    let committed = try link.committed([id]).first ?? nil
    let point = committed.flatMap { CommitPoint(safeOffset: $0.offset, metadata: $0.metadata) }
    var past: [RestoredVerdict] = []
    if let point {
      // Timestamps may have been ahead of the stream clock by as much as they are let through.
      let lateWindow = configuration.sampler.windows.lateWindow
      past = try link.verdicts(
        id, since: point.clockAtSafeOffset - lateWindow - configuration.sampler.clockLead)
      sampler.restore(point, past: past)
    }
    try link.resume([(id, committed?.offset)])
    let partition = AssignedPartition(sampler, activeAt: now)
    partition.committed = point
    partitions.append(partition)
    partitions.sort { $0.id < $1.id }
    latest = nil
    let again = point.map { $0.highWater.value - $0.safeOffset.value } ?? 0
    report(.assigned(id, from: committed?.offset, recordsAgain: again, verdicts: past.count))
  }

  /// After an abort nothing that was done since the last commit counts: all partitions are taken up again.
  private func startOver() throws(BrokerError) {
    try link.abort()
    effects.removeAll()
    let ids = partitions.map(\.id)
    try release(ids)
    waiting += ids
  }

  private func release(_ ids: [PartitionID]) throws(BrokerError) {
    for id in ids {
      guard let index = partitions.firstIndex(where: { $0.id == id }) else { continue }
      pastCounters.add(partitions.remove(at: index).sampler.counters)
    }
    waiting.removeAll { ids.contains($0) }
    latest = nil
    try link.release(ids)
    report(.released(ids))
  }

  // MARK: Time, memory, commits

  /// Lets quiet partitions follow the wall clock.
  private func letTimePass(now: Instant) throws(BrokerError) {
    for partition in partitions where partition.isCaughtUp {
      guard partition.activeAt + configuration.idleAfter <= now else { continue }
      partition.sampler.advance(to: now, into: &effects)
      try drain(partition.id)
    }
  }

  /// Takes memory from the partition that holds most, while all together hold too much.
  private func relieveMemory() throws(BrokerError) {
    var total = 0
    for partition in partitions { total += partition.sampler.usage.bufferedBytes }
    while total > configuration.bufferedBytesMax {
      let largest = partitions.max { $0.sampler.usage.bufferedBytes < $1.sampler.usage.bufferedBytes }
      guard let largest else { return }
      let before = largest.sampler.usage.bufferedBytes
      // A tenth more than needed, so that the next record does not bring the lane here again.
      let excess = total - configuration.bufferedBytesMax / 10 * 9
      largest.sampler.relieve(toBytes: max(0, before - excess), into: &effects)
      try drain(largest.id)
      let freed = before - largest.sampler.usage.bufferedBytes
      guard freed > 0 else { return }
      total -= freed
    }
  }

  private func commit() throws(BrokerError) {
    var points: [(PartitionID, CommitPoint)] = []
    for partition in partitions {
      guard let point = partition.sampler.commitPoint, point != partition.committed else { continue }
      points.append((partition.id, point))
    }
    // Without a point there is nothing to be made lasting either: outputs come from records or from time, and
    // both move the point.
    guard !points.isEmpty else { return }
    try link.commit(points)
    for (id, point) in points { find(id)?.committed = point }
    written.commits += 1
    report(.committed(snapshot()))
  }

  /// What the lane holds and has done.
  public func snapshot() -> LaneSnapshot {
    var snapshot = LaneSnapshot(counters: pastCounters, lane: written)
    for partition in partitions {
      snapshot.counters.add(partition.sampler.counters)
      let usage = partition.sampler.usage
      snapshot.openTraces += usage.openTraces
      snapshot.bufferedBytes += usage.bufferedBytes
      snapshot.residentBytes += usage.residentBufferBytes + usage.tableBytes + usage.verdictBytes
    }
    snapshot.partitions = partitions.map(\.id)
    snapshot.recovering = waiting.count + partitions.count { $0.sampler.isRecovering }
    return snapshot
  }
}
