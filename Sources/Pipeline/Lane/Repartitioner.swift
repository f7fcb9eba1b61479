// The repartition topology: takes records of any key apart and writes their spans keyed by trace id.

internal import OTLP
public import Sampling

/// What a repartitioner has seen and done.
public struct RepartitionCounters: Equatable, Sendable {
  /// Records read, malformed ones included.
  public var recordsRead: UInt64 = 0
  /// Bytes of their values.
  public var bytesRead: UInt64 = 0
  /// Records that could not be read.
  public var recordsMalformed: UInt64 = 0
  /// Spans read.
  public var spansRead: UInt64 = 0
  /// Records written: one for each trace in each record.
  public var recordsWritten: UInt64 = 0
}

/// Reads `raw-spans` and writes `spans`. It keeps nothing: a record is done with when its pieces are written.
///
/// Not thread-safe: it lives on one thread.
public final class Repartitioner<Link: BrokerLink>: GroupMember {
  let link: Link
  let configuration: LaneConfiguration
  let now: () -> Moment
  private let report: (LaneEvent) -> Void
  private var decoder: InputDecoder
  private var deadLetters: DeadLetterOutput
  private var record = ScannedRecord()
  private var groups = TraceGroups()
  private var piece = WireWriter()
  private var key: [UInt8] = []
  /// The next offset to read of each assigned partition; nil before its first record.
  private var positions: [(id: PartitionID, next: Offset?)] = []
  /// The largest timestamp of each assigned partition.
  private var clocks: [PartitionID: Instant] = [:]
  private var commits: UInt64 = 0
  private var commitDurations = Histogram()
  private var committed: [PartitionID: Offset] = [:]
  var membership = Membership()
  private var counters = RepartitionCounters()

  /// Makes a repartitioner over a link that has joined its group.
  ///
  /// - Parameters:
  ///   - configuration: its sampler's limits bound records; its `sampledBytesMax` bounds what `spans` takes.
  ///   - now: what time it is, to measure by.
  public init(
    link: Link, configuration: LaneConfiguration, now: @escaping () -> Moment = { .now },
    report: @escaping (LaneEvent) -> Void
  ) {
    self.link = link
    self.configuration = configuration
    self.now = now
    self.report = report
    decoder = InputDecoder(encoding: configuration.encoding)
    deadLetters = DeadLetterOutput(topic: configuration.topic, bytesMax: configuration.deadLetterBytesMax)
  }

  /// Nothing that it does depends on policies.
  func adopt(_ sampler: SamplerConfiguration) {}

  /// One round: reads what there is, answers the group, commits if it is time to.
  public func step(at moment: Moment, timeout: Interval) throws(BrokerError) {
    try doRound(at: moment, timeout: timeout)
  }

  /// Makes everything done so far lasting and leaves the group.
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

  // MARK: Records

  func take(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, at moment: Moment
  ) throws(BrokerError) {
    guard let index = positions.firstIndex(where: { $0.id == place.partition }) else { return }
    if let next = positions[index].next, place.offset < next { return }
    positions[index].next = place.offset.next
    if let timestamp = place.timestamp {
      clocks[place.partition] = max(clocks[place.partition] ?? timestamp, timestamp)
    }
    counters.recordsRead += 1
    var failure: BrokerError?
    var malformed: MalformedInput? = MalformedInput(.tombstone, at: 0)
    if let value {
      counters.bytesRead += UInt64(value.byteCount)
      let bytesMax = configuration.sampler.limits.recordBytes
      malformed =
        value.byteCount > bytesMax
        ? MalformedInput(.recordTooLarge, at: 0)
        : decoder.decode(value, bytesMax: bytesMax) { split($0, key: key, from: place, &failure) }
    }
    if let failure { throw failure }
    if let malformed {
      counters.recordsMalformed += 1
      let groups = decoder.rejected.groups.isEmpty ? record.rejected : decoder.rejected.groups
      try deadLetters.writeRecord(
        place, malformed, groups, key: key, value: value, encoding: configuration.encoding, to: link)
    } else if let value {
      for rejected in decoder.rejected.groups {
        piece.removeAll()
        decoder.rejected.append(rejected.error.reason, of: value, to: &piece)
        try writeRejected(rejected, key: key, from: place)
      }
    }
  }

  /// Writes the spans in `piece`, which can't be used.
  private func writeRejected(
    _ rejected: RejectedSpans, key: RawSpan?, from place: RecordPlace
  ) throws(BrokerError) {
    try piece.bytes.withRawBytes { (bytes) throws(BrokerError) in
      try deadLetters.write(
        DeadLetter(place, rejected), key: key, value: bytes, isOfLentRecord: true, to: link)
    }
  }

  private func tellDeadLetters(at now: Instant, all: Bool = false) {
    for notice in deadLetters.takeNotices(at: now, all: all) { report(.deadLettered(notice)) }
  }

  /// Writes each trace's piece. What the link throws goes into `failure`.
  private func split(
    _ bytes: RawSpan, key: RawSpan?, from place: RecordPlace, _ failure: inout BrokerError?
  ) -> MalformedInput? {
    do {
      try record.scan(bytes)
      try groups.group(record, bytesMax: configuration.sampler.limits.splitBytes(ofRecord: bytes.byteCount))
    } catch {
      return error
    }
    counters.spansRead += UInt64(record.spans.count)
    do {
      for rejected in record.rejected {
        piece.removeAll()
        piece.appendRejected(rejected.error.reason, of: record, bytes: bytes)
        try writeRejected(rejected, key: key, from: place)
      }
      for group in groups.groups {
        let members = groups.spanIndices(of: group)
        if groups.groups.count == 1, record.isWhole, bytes.byteCount <= configuration.sampledBytesMax {
          try write(bytes, of: group.traceID)
        } else {
          try write(members, bytes, of: group.traceID, from: place)
        }
      }
    } catch {
      failure = error
    }
    return nil
  }

  /// Writes some spans of one trace, in as many records as the topic's limit makes necessary.
  private func write(
    _ spans: ArraySlice<Int32>, _ bytes: RawSpan, of traceID: TraceID, from place: RecordPlace
  ) throws(BrokerError) {
    var cutter = PortionCutter(recordBytes: bytes.byteCount, bytesMax: configuration.sampledBytesMax)
    var start = spans.startIndex
    for end in spans.indices where cutter.add(record.spans[Int(spans[end])], of: record) != nil {
      try writePortion(spans[start..<end], bytes, of: traceID, from: place)
      start = end
    }
    try writePortion(spans[start...], bytes, of: traceID, from: place)
  }

  private func writePortion(
    _ spans: ArraySlice<Int32>, _ bytes: RawSpan, of traceID: TraceID, from place: RecordPlace
  ) throws(BrokerError) {
    piece.removeAll()
    piece.appendPiece(spans, of: record, bytes: bytes)
    try piece.bytes.withRawBytes { (bytes) throws(BrokerError) in
      if bytes.byteCount <= configuration.sampledBytesMax {
        try write(bytes, of: traceID)
      } else {
        try writeTooLarge(bytes, spans.count, of: traceID, from: place)
      }
    }
  }

  /// Spans that are larger than their topic takes are not lost, but a dead letter.
  private func writeTooLarge(
    _ value: RawSpan, _ spans: Int, of traceID: TraceID, from place: RecordPlace
  ) throws(BrokerError) {
    var letter = DeadLetter(
      tooLarge: value, spans: spans, traceID: traceID, bytesMax: configuration.sampledBytesMax,
      partition: place.partition, offsets: place.offset...place.offset)
    letter.timestamp = place.timestamp
    key.removeAll(keepingCapacity: true)
    traceID.appendHexadecimal(to: &key)
    try key.withRawBytes { (key) throws(BrokerError) in
      try deadLetters.write(letter, key: key, value: value, isOfLentRecord: true, to: link)
    }
  }

  private func write(_ value: RawSpan, of traceID: TraceID) throws(BrokerError) {
    key.removeAll(keepingCapacity: true)
    traceID.appendHexadecimal(to: &key)
    counters.recordsWritten += 1
    try key.withRawBytes { (key) throws(BrokerError) in
      try link.write(.spans, partition: nil, key: key, value: value, headers: [])
    }
  }

  // MARK: Group

  var partitionIDs: [PartitionID] { positions.map(\.id) }

  func noteDisturbance(_ error: BrokerError) { report(.disturbed(error)) }

  func noteReleased(_ ids: [PartitionID]) { report(.released(ids)) }

  func noteEnd(of id: PartitionID, at offset: Offset) {}

  /// Gives back what a large record took.
  func workOff(at moment: Moment) {
    tellDeadLetters(at: moment.steady)
    if workingBytes <= configuration.workingBytesKept { return }
    record = ScannedRecord()
    groups = TraceGroups()
    piece = WireWriter()
    decoder.release()
  }

  /// Bytes of memory that it holds.
  var workingBytes: Int { record.byteCount + groups.byteCount + piece.byteCount + decoder.byteCount }

  func takeUp(_ partition: inout WaitingPartition, at moment: Moment) throws(BrokerError) -> Bool {
    let offset = partition.committed??.offset
    try link.resume([(partition.id, offset)])
    positions.append((partition.id, offset))
    report(.assigned(partition.id, from: offset, recordsAgain: 0, verdicts: 0))
    return true
  }

  func forget(_ ids: [PartitionID]) {
    positions.removeAll { ids.contains($0.id) }
    for id in ids {
      committed[id] = nil
      clocks[id] = nil
    }
  }

  var duePoints: [(PartitionID, CommitPoint)] {
    allPoints.filter { id, point in committed[id] != point.safeOffset }
  }

  var allPoints: [(PartitionID, CommitPoint)] {
    let time = Instant(nanoseconds: 0)
    return positions.compactMap { id, next in
      next.map { (id, CommitPoint(safeOffset: $0, clockAtSafeOffset: time, highWater: $0, clock: time)) }
    }
  }

  func noteCommitted(_ points: [(PartitionID, CommitPoint)], from begin: Moment, to end: Moment) {
    commitDurations.observe(end.steady - begin.steady)
    commits += 1
    for (id, point) in points { committed[id] = point.safeOffset }
    report(.committed(snapshot()))
  }

  /// What it has measured, in a lane's form.
  func measured() -> LaneMeasures {
    var all = LaneMeasures()
    all.hasJoined = membership.hasJoined
    all.rebalances = membership.rebalances
    all.aborts = membership.aborts
    all.commitDurations = commitDurations
    all.positions = positions.map { id, next in
      PartitionPosition(partition: id, next: next, end: link.knownEnd(of: id), clock: clocks[id])
    }
    return all
  }

  /// What it has done, in a lane's form.
  func snapshot() -> LaneSnapshot {
    var snapshot = LaneSnapshot(counters)
    snapshot.lane.deadLetters = deadLetters.letters
    snapshot.lane.deadLetterSpans = deadLetters.spans
    snapshot.lane.commits = commits
    snapshot.partitions = positions.map(\.id)
    snapshot.recovering = membership.waiting.count
    return snapshot
  }
}
