// The job of an exporting lane: it sends kept spans to a store, and commits what the store has acknowledged.

internal import OTLP
package import Sampling
package import Topology

/// Reads `sampled` and sends its records to a store, several in one request.
///
/// A partition's commit point is its first record that is not dealt with: acknowledged by the store, or
/// written to the dead letters. After a crash requests are repeated that the store has taken but whose
/// records were not committed yet: a store gets every span at least once. Stores take a span that comes again
/// for the same one.
package struct ExportJob: ~Copyable, LaneJob {
  /// What configures an exporting lane.
  package struct Configuration: Sendable {
    /// The input topic's name, for dead letters.
    package var topic: String
    /// How often to commit.
    package var pace = CommitPace()
    /// Larger records are malformed.
    package var recordBytesMax = 4 << 20
    /// The most bytes of a dead letter's key, value and headers together.
    package var deadLetterBytesMax = 900_000
    /// A request is sent once its records have this many bytes,
    package var batchBytes = 1 << 20
    /// or once the first of them has waited this long.
    package var batchWait = Interval.milliseconds(200)
    /// How request bodies are compressed.
    package var compression = StoreSettings.Compression.gzip
    /// Reading stops while this many bytes wait for answers,
    package var waitingBytesMax = 6 << 20
    /// and while this many records do, those included that only wait for one before them.
    package var waitingRecordsMax = 100_000

    /// Makes a configuration with the defaults above.
    package init(topic: String) {
      self.topic = topic
    }
  }

  private static let troubleInterval = Interval.seconds(5)

  private let configuration: Configuration
  private let compressor: BodyCompressor
  private let store: any SpanStore
  private let report: (LaneEvent) -> Void
  private var deadLetters: DeadLetterOutput
  private var record = ScannedRecord()
  private var positions = ReadPositions()
  private var batch = ExportBatch()
  /// Requests without an answer, by number.
  private var underWay: [UInt64: ExportBatch] = [:]
  private var requests: UInt64 = 0
  /// Bytes of records in the batch and under way, and of dead letters that wait for their turn.
  private var waitingBytes = 0
  /// Records that are not committed yet.
  private var waitingRecords = 0
  /// No partition is read: too much waits, or the worker is stopping.
  private var isPaused = false
  /// Records were delivered that did not fit: they have to be delivered again.
  private var hasPassedOver = false
  private var isDraining = false
  /// When it was last reported that the store fails, by the steady clock.
  private var troubleToldAt = Instant.distantPast
  private var counters = ExportCounters()
  private var recordsRead: UInt64 = 0
  private var bytesRead: UInt64 = 0
  private var spansRead: UInt64 = 0
  private var recordsMalformed: UInt64 = 0

  init(_ configuration: Configuration, store: any SpanStore, report: @escaping (LaneEvent) -> Void) {
    self.configuration = configuration
    self.store = store
    self.report = report
    compressor = BodyCompressor(configuration.compression)
    deadLetters = DeadLetterOutput(topic: configuration.topic, bytesMax: configuration.deadLetterBytesMax)
  }

  /// It does not depend on policies.
  package mutating func adopt(_ sampler: SamplerConfiguration) {}

  // MARK: Records

  package mutating func mayPoll(at now: Instant) -> Bool { true }

  package mutating func take(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, at moment: Moment, to link: some BrokerLink
  ) throws(BrokerError) {
    // Those that no longer fit are read again once there is room; none after them may be taken before.
    if isFull, let index = positions.index(of: place.partition) {
      hasPassedOver = true
      return positions.begin(index, at: place.offset)
    }
    guard let index = positions.pass(place, at: moment.steady, report: report) else { return }
    recordsRead += 1
    bytesRead += UInt64(value?.byteCount ?? 0)
    if let malformed = check(value) {
      recordsMalformed += 1
      var letter = DeadLetter(place, malformed)
      if let value { letter.recognise(value, insteadOf: .otlpProto) }
      let held = HeldLetter(letter: letter, key: key?.copied(), value: value?.copied())
      waitingBytes += held.byteCount
      positions[index].pending.append(place.offset, .dead(held))
      waitingRecords += 1
      return
    }
    guard let value else { return }
    if !batch.isEmpty, batch.bytes.count + value.byteCount > configuration.batchBytes { send() }
    if batch.isEmpty { batch.since = moment.steady }
    let spans = record.spans.count
    spansRead += UInt64(spans)
    waitingBytes += value.byteCount
    batch.append(value, key: key, place, epoch: positions[index].epoch, spans: spans)
    positions[index].pending.append(place.offset, .sent)
    waitingRecords += 1
    if batch.bytes.count >= configuration.batchBytes { send() }
  }

  /// Whether no more records are taken.
  private var isFull: Bool { hasPassedOver || isPaused || isDraining || isCrowded }

  private var isCrowded: Bool {
    waitingBytes >= configuration.waitingBytesMax || waitingRecords >= configuration.waitingRecordsMax
  }

  /// Requests are records one after the other, so a record must be whole, or it would spoil the others.
  private mutating func check(_ value: RawSpan?) -> MalformedInput? {
    guard let value else { return MalformedInput(.tombstone, at: 0) }
    guard value.byteCount <= configuration.recordBytesMax else {
      return MalformedInput(.recordTooLarge, at: 0)
    }
    do throws(MalformedInput) { try record.scan(value) } catch { return error }
    return record.rejected.first?.error
  }

  /// Sends the batch.
  private mutating func send() {
    guard !batch.isEmpty else { return }
    send(batch)
    batch = ExportBatch()
  }

  private mutating func send(_ batch: ExportBatch) {
    requests += 1
    underWay[requests] = batch
    // A library that compresses may be missing, or its memory: then the body goes as it is.
    let compressed = compressor.compressed(batch.bytes)
    store.send(
      StoreRequest(
        number: requests, body: compressed ?? batch.bytes,
        compression: compressed == nil ? .none : configuration.compression))
  }

  // MARK: Answers

  package mutating func work(
    at moment: Moment, waiting: [WaitingPartition], to link: some BrokerLink
  ) throws(BrokerError) {
    if !batch.isEmpty, isDraining || moment.steady >= batch.since + configuration.batchWait { send() }
    takeAnswers()
    if moment.steady >= troubleToldAt + ExportJob.troubleInterval, let trouble = store.figures.trouble {
      troubleToldAt = moment.steady
      report(.storeTroubled(trouble))
    }
    try advance(to: link)
    try pauseOrResume(link)
    for notice in deadLetters.takeNotices(at: moment.steady) { report(.deadLettered(notice)) }
  }

  private mutating func takeAnswers() {
    for answer in store.takeAnswers() {
      guard let batch = underWay.removeValue(forKey: answer.number) else { continue }
      switch answer.outcome {
      case .taken(let rejected, let message): note(batch, taken: rejected, message)
      case .refused(let status, let message): note(batch, refused: status, message)
      }
    }
  }

  private mutating func note(_ batch: ExportBatch, taken rejected: UInt64, _ message: String) {
    // What a store claims beyond that is a mistake.
    let rejected = min(rejected, batch.pieces.reduce(0) { $0 + UInt64($1.spans) })
    counters.requests += 1
    counters.rejectedSpans += rejected
    if rejected > 0 || !message.isEmpty { report(.storeRejected(spans: rejected, message)) }
    for piece in batch.pieces {
      counters.records += 1
      counters.spans += UInt64(piece.spans)
      settle(piece, .done)
    }
  }

  /// Halves a refused request until the records are found that it is refused for.
  private mutating func note(_ batch: ExportBatch, refused status: String, _ message: String) {
    counters.refusedRequests += 1
    let current = batch.pieces.filter { isCurrent($0) }
    waitingBytes -= batch.bytes.count - current.reduce(0) { $0 + $1.range.count }
    guard current.count > 1 else {
      if let piece = current.first { bury(piece, of: batch, status, message) }
      return
    }
    let middle = current.count / 2
    for half in [current[..<middle], current[middle...]] { send(batch.part(half)) }
  }

  private mutating func bury(
    _ piece: ExportBatch.Piece, of batch: ExportBatch, _ status: String, _ message: String
  ) {
    counters.refusedRecords += 1
    let letter = DeadLetter(refused: piece.place, status: status, message, spans: piece.spans)
    let held = HeldLetter(letter: letter, key: piece.key, value: Array(batch.bytes[piece.range]))
    settle(piece, .dead(held))
    waitingBytes += held.byteCount
  }

  /// Notes what has become of a record, unless its partition has been released since.
  private mutating func settle(_ piece: ExportBatch.Piece, _ state: PendingRecords.State) {
    waitingBytes -= piece.range.count
    guard let index = positions.index(of: piece.place.partition, epoch: piece.epoch) else { return }
    positions[index].pending.note(piece.place.offset, state)
  }

  /// Moves every partition past what is dealt with, and writes the dead letters among it.
  private mutating func advance(to link: some BrokerLink) throws(BrokerError) {
    for index in positions.indices {
      while let state = positions[index].pending.takeFirst() {
        waitingRecords -= 1
        guard case .dead(let held) = state else { continue }
        waitingBytes -= held.byteCount
        try write(held, to: link)
      }
    }
  }

  private mutating func write(_ held: HeldLetter, to link: some BrokerLink) throws(BrokerError) {
    let (key, value) = (held.key ?? [], held.value ?? [])
    try key.withRawBytes { (keyBytes: RawSpan) throws(BrokerError) in
      try value.withRawBytes { (valueBytes: RawSpan) throws(BrokerError) in
        try deadLetters.write(
          held.letter, key: held.key == nil ? nil : keyBytes, value: held.value == nil ? nil : valueBytes,
          isOfLentRecord: false, to: link)
      }
    }
  }

  /// Stops reading while too much waits, so that memory is bounded however long a store does not answer; the
  /// member stays in its group.
  private mutating func pauseOrResume(_ link: some BrokerLink) throws(BrokerError) {
    let mustPause = isDraining || hasPassedOver || isCrowded
    if mustPause, !isPaused {
      try link.release(positions.ids)
      isPaused = true
      hasPassedOver = false
      if !isDraining { counters.pauses += 1 }
    } else if isPaused, !isDraining, waitingBytes <= configuration.waitingBytesMax / 2,
      waitingRecords <= configuration.waitingRecordsMax / 2
    {
      try link.resume(positions.places)
      isPaused = false
    }
  }

  package mutating func drain() { isDraining = true }

  package var isDrained: Bool { batch.isEmpty && underWay.isEmpty }

  package mutating func finish(at steady: Instant) {
    for notice in deadLetters.takeNotices(at: steady, all: true) { report(.deadLettered(notice)) }
  }

  // MARK: Partitions

  package var partitionIDs: [PartitionID] { positions.ids }

  package mutating func resume(
    _ partition: inout WaitingPartition, at moment: Moment, from link: some BrokerLink
  ) throws(BrokerError) -> Bool {
    let offset = partition.committed??.offset
    // While paused it is only noted; it is read with the others.
    if !isPaused { try link.resume([(partition.id, offset)]) }
    positions.add(partition.id, from: offset)
    report(.assigned(partition.id, from: offset, recordsAgain: 0, verdicts: 0))
    return true
  }

  package mutating func noteEnd(of id: PartitionID, at offset: Offset) {
    // Records that did not fit are before that end, and still have to be read.
    if !isFull { positions.passEnd(of: id, at: offset) }
  }

  package mutating func forget(_ ids: [PartitionID]) {
    for pending in positions.remove(ids) {
      waitingBytes -= pending.heldBytes
      waitingRecords -= pending.count
    }
    // Requests with nobody's records any more must not hold up the others.
    for (number, batch) in underWay where !batch.pieces.contains(where: { isCurrent($0) }) {
      underWay[number] = nil
      waitingBytes -= batch.bytes.count
      store.forget(number)
    }
    let rest = batch.part(batch.pieces.filter { isCurrent($0) })
    waitingBytes -= batch.bytes.count - rest.bytes.count
    batch = rest
  }

  private func isCurrent(_ piece: ExportBatch.Piece) -> Bool {
    positions.index(of: piece.place.partition, epoch: piece.epoch) != nil
  }

  /// What was answered since the last round counts too: partitions may be about to leave.
  package mutating func flush(to link: some BrokerLink) throws(BrokerError) {
    takeAnswers()
    try advance(to: link)
  }

  package mutating func points(all: Bool, at wall: Instant) -> [(PartitionID, CommitPoint)] {
    positions.points(all: all)
  }

  package mutating func noteCommitted(_ points: [(PartitionID, CommitPoint)], at wall: Instant) {
    positions.noteCommitted(points)
  }

  // MARK: Measures

  package func measured(by link: some BrokerLink) -> LaneMeasures {
    var all = LaneMeasures()
    all.positions = positions.measured(by: link)
    all.storeDurations = store.figures.durations
    return all
  }

  package func snapshot() -> LaneSnapshot {
    var snapshot = LaneSnapshot()
    snapshot.counters.recordsRead = recordsRead
    snapshot.counters.bytesRead = bytesRead
    snapshot.counters.recordsMalformed = recordsMalformed
    snapshot.counters.spansRead = spansRead
    snapshot.lane.add(positions.skipped)
    snapshot.lane.export = counters
    let figures = store.figures
    snapshot.lane.export.retries = figures.retries
    snapshot.lane.export.bytes = figures.bytesSent
    snapshot.lane.deadLetters = deadLetters.letters
    snapshot.lane.deadLetterSpans = deadLetters.spans
    snapshot.partitions = partitionIDs
    snapshot.exportWaitingBytes = waitingBytes
    snapshot.exportIsPaused = isPaused && !isDraining
    snapshot.exportIsTroubled = figures.trouble != nil
    return snapshot
  }
}

extension Lane where Job == ExportJob {
  /// Makes an exporting lane over a link that has joined its group.
  ///
  /// - Parameters:
  ///   - now: the clock for measurements.
  ///   - report: receives events, on the lane's thread.
  package convenience init(
    link: Link, configuration: ExportJob.Configuration, store: any SpanStore,
    now: @escaping () -> Moment = { .now }, report: @escaping (LaneEvent) -> Void
  ) {
    self.init(
      link: link, job: ExportJob(configuration, store: store, report: report), pace: configuration.pace,
      now: now, report: report)
  }
}
