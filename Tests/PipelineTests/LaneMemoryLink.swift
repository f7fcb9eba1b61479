// An in-memory broker for lanes: one topic to read; everything written and committed is recorded in order.

import OTLP
import Sampling

@testable import Pipeline

/// A moment by clocks that agree.
func moment(_ time: Instant) -> Moment { Moment(wall: time, steady: time) }

/// The log, the outputs and the commits. They outlive the links, as a broker outlives its clients.
final class MemoryBroker {
  struct Input {
    var timestamp: Instant?
    var key: [UInt8]?
    var value: [UInt8]?
    var headers: [RecordHeaderField] = []
  }

  struct Output {
    var topic: OutputTopic
    var partition: PartitionID?
    var key: [UInt8]?
    var value: [UInt8]?
    var headers: [String: String]
    /// The headers as they were written.
    var fields: [RecordHeaderField]

    /// The key as text: a trace id if there is one.
    var keyText: String { String(decoding: key ?? [], as: UTF8.self) }
    /// The value as text: a decision record.
    var text: String { String(decoding: value ?? [], as: UTF8.self) }
  }

  /// What a lane did, in order.
  enum Step: Equatable {
    case wrote(OutputTopic)
    case committed([PartitionID: Int64])
    case resumed([PartitionID: Int64?])
    case released([PartitionID])
    case aborted
    case closed
  }

  var inputs: [[Input]]
  /// The partitions of the topic of logs.
  var logs: [[Input]]
  var outputs: [Output] = []
  var points: [PartitionID: CommitPoint] = [:]
  var steps: [Step] = []
  /// Answers to the group that start no reading.
  var answers = 0

  init(partitions: Int = 1) {
    inputs = Array(repeating: [], count: partitions)
    logs = inputs
  }

  /// Appends a record to a partition.
  func append(
    _ value: [UInt8]?, key: [UInt8]? = nil, at timestamp: Instant?, to partition: Int = 0,
    headers: [RecordHeaderField] = []
  ) {
    inputs[partition].append(Input(timestamp: timestamp, key: key, value: value, headers: headers))
  }

  func outputs(to topic: OutputTopic) -> [Output] { outputs.filter { $0.topic == topic } }

  /// Every safe offset that was committed for partition 0, in order.
  var commits: [Int64] {
    steps.compactMap { if case .committed(let points) = $0 { points[PartitionID(0)] } else { nil } }
  }
}

/// One member of the group. It reads the partitions it has resumed, and fails on demand.
final class MemoryLink: BrokerLink {
  let broker: MemoryBroker
  /// The group's next events.
  var events: [GroupEvent] = []
  /// The next offset to deliver, by partition.
  private var positions: [PartitionID: Int64] = [:]
  private var toldEnds: [PartitionID: Int64] = [:]
  /// Records to deliver before all others, whatever the positions are.
  var strays: [(partition: Int, offset: Int)] = []
  /// The most records that a poll delivers.
  var batch = Int.max
  /// Errors for the next calls, each thrown once.
  var commitErrors: [BrokerError] = []
  var committedErrors: [BrokerError] = []
  var resumeErrors: [BrokerError] = []
  var releaseErrors: [BrokerError] = []
  private var statsRead = 0
  /// Whether the counts from before the link was made have been read.
  var areStatsRead = true
  var endErrors: [BrokerError] = []
  var countErrors: [BrokerError] = []
  /// How often brokers were queried for ends of logs,
  var questions = 0
  /// and for committed points.
  var committedQuestions = 0
  /// How often records were requested,
  var polls = 0
  /// and without waiting for them.
  var impatientPolls = 0
  /// The time, which passes while requests wait for records in vain.
  var time = Instant.distantPast
  /// Whether polls deliver nothing, whatever there is.
  var isStalled = false
  /// Answers to the next requests for past decisions, the last one first, with what they deliver.
  var tails: [(verdicts: [RestoredVerdict], answer: PastDecisions)] = []
  var isTransactional = true
  /// Whether the outcome of a commit is unknown.
  var isCommitting = false
  /// Whether something was written since the last commit.
  var hasUncommitted = false
  var partitionsWithoutOutputs: Set<PartitionID> = []

  init(_ broker: MemoryBroker, assigned partitions: Int = 1) {
    self.broker = broker
    if partitions > 0 { events = [.assigned((0..<partitions).map { PartitionID(Int32($0)) })] }
  }

  func poll(
    timeout: Interval, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) -> Int {
    polls += 1
    if timeout == .seconds(0) { impatientPolls += 1 }
    var count = 0
    for stray in strays {
      try hand(stray.partition, stray.offset, take)
      count += 1
    }
    strays = []
    for id in positions.keys.sorted() where !isStalled {
      let partition = Int(id.value)
      while count < batch, let next = positions[id], next < broker.inputs[partition].count {
        positions[id] = next + 1
        try hand(partition, Int(next), take)
        count += 1
      }
      let end = Int64(broker.inputs[partition].count)
      guard positions[id] == end, toldEnds[id] != end else { continue }
      toldEnds[id] = end
      events.append(.caughtUp(id, Offset(end)))
    }
    if count == 0 { time = time + timeout }
    return count
  }

  private func hand(
    _ partition: Int, _ offset: Int, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    try hand(broker.inputs[partition][offset], partition, offset, take)
  }

  private func hand(
    _ input: MemoryBroker.Input, _ partition: Int, _ offset: Int,
    _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    lent = input.headers
    defer { lent = [] }
    let place = RecordPlace(
      partition: PartitionID(Int32(partition)), offset: Offset(Int64(offset)), timestamp: input.timestamp)
    try lend(input.key) { (key) throws(BrokerError) in
      try lend(input.value) { (value) throws(BrokerError) in try take(place, key, value) }
    }
  }

  /// The headers of the record being delivered.
  private var lent: [RecordHeaderField] = []

  func lentHeaders(countMax: Int) -> (headers: [RecordHeaderField], count: Int) {
    (Array(lent.prefix(countMax)), lent.count)
  }

  private func lend(_ bytes: [UInt8]?, _ body: (RawSpan?) throws(BrokerError) -> Void) throws(BrokerError) {
    guard let bytes else { return try body(nil) }
    try bytes.withRawBytes { (bytes) throws(BrokerError) in try body(bytes) }
  }

  func takeEvents() -> [GroupEvent] {
    defer { events = [] }
    return events
  }

  func committed(_ partitions: [PartitionID]) throws(BrokerError) -> [CommittedPoint?] {
    committedQuestions += 1
    if let error = committedErrors.popLast() { throw error }
    return partitions.map { id in
      broker.points[id].map { CommittedPoint(offset: $0.committedOffset, metadata: $0.metadata) }
    }
  }

  func resume(_ partitions: [(PartitionID, Offset?)]) throws(BrokerError) {
    if partitions.isEmpty { return broker.answers += 1 }
    if let error = resumeErrors.popLast() { throw error }
    broker.steps.append(.resumed(Dictionary(uniqueKeysWithValues: partitions.map { ($0, $1?.value) })))
    for (id, offset) in partitions {
      positions[id] = offset?.value ?? 0
      toldEnds[id] = nil
    }
  }

  func release(_ partitions: [PartitionID]) throws(BrokerError) {
    if let error = releaseErrors.popLast() { throw error }
    broker.steps.append(.released(partitions))
    for id in partitions { positions[id] = nil }
  }

  func write(
    _ topic: OutputTopic, partition: PartitionID?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeaderField]
  ) throws(BrokerError) {
    broker.steps.append(.wrote(topic))
    broker.outputs.append(
      MemoryBroker.Output(
        topic: topic, partition: partition, key: copy(key), value: copy(value),
        headers: Dictionary(
          headers.map { ($0.name, String(decoding: $0.value ?? [], as: UTF8.self)) }, uniquingKeysWith: { $1 }
        ),
        fields: headers))
  }

  private func copy(_ bytes: RawSpan?) -> [UInt8]? {
    guard let bytes else { return nil }
    var writer = WireWriter()
    writer.append(bytes)
    return writer.bytes
  }

  func commit(_ points: [(PartitionID, CommitPoint)]) throws(BrokerError) {
    if let error = commitErrors.popLast() { throw error }
    for (id, point) in points { broker.points[id] = point }
    broker.steps.append(
      .committed(Dictionary(uniqueKeysWithValues: points.map { ($0, $1.safeOffset.value) })))
  }

  /// The start times of all requests for decisions.
  private(set) var asked: [Instant] = []

  /// Each verdict that is looked up takes 100 bytes.
  private(set) var bytesLookedUp: UInt64 = 0

  func readDecisions(
    _ partition: PartitionID, since time: Instant, until end: Instant?,
    _ take: (PartitionID, RestoredVerdict) -> Void
  ) throws(BrokerError) -> PastDecisions {
    asked.append(time)
    guard let tail = tails.popLast() else { return .read(isWhole: true) }
    if end != nil { bytesLookedUp += UInt64(100 * tail.verdicts.count) }
    for verdict in tail.verdicts { take(partition, verdict) }
    return tail.answer
  }

  /// Where each partition is read again.
  private var places: [RereadingUse: [PartitionID: Int64]] = [:]
  /// The first offset that is left in the log.
  var logStart: Int64 = 0
  /// Errors for the next requests to read again, each thrown once.
  var againErrors: [BrokerError] = []
  /// Partitions whose leader does not say where to read again.
  var silentAgain: Set<PartitionID> = []

  func seekAgain(
    _ partitions: [(PartitionID, Offset)], for use: RereadingUse, lost: inout [(PartitionID, Offset)]
  ) throws(BrokerError) {
    if use == .logs { return lost += try seekLogs(partitions) }
    if use == .recalledLogs { return lost += seekLogsAgain(partitions) }
    var places: [PartitionID: Int64] = [:]
    defer { self.places[use] = places }
    if let error = againErrors.popLast() { throw error }
    for (id, offset) in partitions {
      guard !silentAgain.contains(id) else { throw BrokerError(.retry, "no answer") }
      places[id] = max(offset.value, logStart)
      if offset.value < logStart { lost.append((id, Offset(logStart))) }
    }
  }

  func readAgain(
    for use: RereadingUse, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    if use == .logs { return try readLogs(take) }
    if use == .recalledLogs { return try readLogsAgain(take) }
    for id in (places[use] ?? [:]).keys.sorted() {
      // One record at a time: a real client delivers as many as have arrived.
      guard let next = places[use]?[id], next < broker.inputs[Int(id.value)].count else { continue }
      places[use]?[id] = next + 1
      try hand(Int(id.value), Int(next), take)
    }
  }

  /// Where the logs of each partition are read, and the first offset that is left of them.
  private(set) var logPlaces: [PartitionID: Int64] = [:]
  var logsStart: Int64 = 0
  /// Whether the logs end before where they are sought.
  var logsEndEarly = false

  private func seekLogs(
    _ partitions: [(PartitionID, Offset)]
  ) throws(BrokerError) -> [(PartitionID, Offset)] {
    if let error = againErrors.popLast() { throw error }
    guard !logsEndEarly else { return partitions.map { ($0.0, Offset(.max)) } }
    logPlaces = Dictionary(uniqueKeysWithValues: partitions.map { ($0, max($1.value, logsStart)) })
    return partitions.filter { $1.value < logsStart }.map { ($0.0, Offset(logsStart)) }
  }

  private func readLogs(
    _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    for id in logPlaces.keys.sorted() {
      while let next = logPlaces[id], next < broker.logs[Int(id.value)].count {
        logPlaces[id] = next + 1
        try hand(broker.logs[Int(id.value)][Int(next)], Int(id.value), Int(next), take)
      }
    }
  }

  private var logPlacesAgain: [PartitionID: Int64] = [:]

  func findLogs(_ partitions: [(PartitionID, Instant)]) throws(BrokerError) -> [Offset?] {
    partitions.map { id, time in
      broker.logs[Int(id.value)].firstIndex { ($0.timestamp ?? .distantPast) >= time }.map {
        Offset(Int64($0))
      }
    }
  }

  private func seekLogsAgain(_ partitions: [(PartitionID, Offset)]) -> [(PartitionID, Offset)] {
    logPlacesAgain = Dictionary(uniqueKeysWithValues: partitions.map { ($0, max($1.value, logsStart)) })
    return partitions.filter { $1.value < logsStart }.map { ($0.0, Offset(logsStart)) }
  }

  private func readLogsAgain(
    _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    for id in logPlacesAgain.keys.sorted() {
      guard let next = logPlacesAgain[id], next < broker.logs[Int(id.value)].count else { continue }
      logPlacesAgain[id] = next + 1
      try hand(broker.logs[Int(id.value)][Int(next)], Int(id.value), Int(next), take)
    }
  }

  func logEnds(of partitions: [PartitionID]) throws(BrokerError) -> [(end: Offset, isRead: Bool)] {
    partitions.map { id in
      let end = Int64(broker.logs[Int(id.value)].count)
      return (Offset(end), (logPlaces[id] ?? -1) >= end)
    }
  }

  var commitsTogether: Bool { isTransactional }

  func readStats(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool {
    for output in broker.outputs(to: .stats).dropFirst(statsRead) { take(output.value ?? []) }
    statsRead = broker.outputs(to: .stats).count
    return areStatsRead
  }

  func inputPartitions() throws(BrokerError) -> Int {
    if let error = countErrors.popLast() { throw error }
    return broker.inputs.count
  }

  private var linksRead = 0
  /// Whether the links from before the link was made have been read.
  var areLinksRead = true

  func readLinks(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool {
    for output in broker.outputs(to: .links).dropFirst(linksRead) { take(output.value ?? []) }
    linksRead = broker.outputs(to: .links).count
    return areLinksRead
  }

  func ends(of partitions: [PartitionID]) throws(BrokerError) -> [Offset] {
    questions += 1
    if let error = endErrors.popLast() { throw error }
    return partitions.map { Offset(Int64(broker.inputs[Int($0.value)].count)) }
  }

  func knownEnd(of partition: PartitionID) -> Offset? {
    Offset(Int64(broker.inputs[Int(partition.value)].count))
  }

  func hasOutputs(for partition: PartitionID) -> Bool { !partitionsWithoutOutputs.contains(partition) }

  func abort() throws(BrokerError) {
    broker.steps.append(.aborted)
  }

  func close() {
    broker.steps.append(.closed)
  }

  func abandon() {
    broker.steps.append(.closed)
  }
}
