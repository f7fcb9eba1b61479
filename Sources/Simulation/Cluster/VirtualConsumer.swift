// A consumer of the simulated cluster that behaves as librdkafka's: a member of the group, or a reader of
// partitions that its owner chooses.

import Kafka
import OTLP
import Pipeline
import Sampling
import Topology

/// Reads logs of the simulated cluster.
final class VirtualConsumer: ConsumerClient {
  private let process: VirtualProcess
  private let topic: String
  private let seesUncommitted: Bool
  private var cluster: SimulatedCluster { process.cluster }
  /// Whether it is a member of the group.
  private var isSubscribed = false
  private var isGone = false
  private var positions: [LogID: Int64] = [:]
  private var ended: [LogID: Int64] = [:]
  /// What its owner has chosen, whether it is still read or not.
  private var chosen: Set<LogID> = []
  /// Partitions that deliver nothing until then.
  private var stalled: [LogID: Instant] = [:]
  private var events: [ConsumerEvent] = []
  /// Partitions that the group has assigned to this member, whether it reads them yet or not.
  private var owned: Set<PartitionID> = []
  /// Partitions that the group has revoked.
  private var revoking: Set<PartitionID> = []

  init(_ process: VirtualProcess, topic: String, properties: [KafkaProperty]) {
    self.process = process
    self.topic = topic
    seesUncommitted = properties.last { $0.name == "isolation.level" }?.value == "read_uncommitted"
  }

  deinit { close() }

  func subscribe() throws(KafkaError) {
    try process.mayCrash()
    isSubscribed = true
    process.member = cluster.group.join(at: cluster.now)
  }

  func poll<Failure: Error>(
    timeout: Duration, _ body: (RecordInfo, RawSpan?, RawSpan?) throws(Failure) -> Void
  ) throws(Failure) -> Int {
    if (try? process.mayCrash()) == nil { return 0 }
    if isSubscribed { meetGroup() }
    let count = cluster.isSilent ? 0 : try fetch(body)
    if count == 0, timeout > .zero { process.wait(timeout) }
    return count
  }

  /// A poll learns what the group wants; an evicted member joins again.
  private func meetGroup() {
    process.notePoll()
    if let member = process.member, cluster.group.isMember(member) {
      cluster.group.heartbeat(member, at: cluster.now)
      for event in cluster.group.takeEvents(of: member) { note(event) }
      return
    }
    events.append(.lost(owned.sorted().map { TopicPartition(topic, $0.value) }))
    owned = []
    revoking = []
    process.member = cluster.group.join(at: cluster.now)
  }

  private func note(_ event: GroupEvent) {
    switch event {
    case .assigned(let partitions):
      owned.formUnion(partitions)
      events.append(.assigned(partitions.map { TopicPartition(topic, $0.value) }))
    case .revoked(let partitions):
      revoking.formUnion(partitions)
      events.append(.revoked(partitions.map { TopicPartition(topic, $0.value) }))
    case .lost, .caughtUp, .disturbed: break
    }
  }

  private func fetch<Failure: Error>(
    _ body: (RecordInfo, RawSpan?, RawSpan?) throws(Failure) -> Void
  ) throws(Failure) -> Int {
    var left = process.faults.plan.random.number(in: 1...40)
    var count = 0
    for id in positions.keys.sorted() where !isStalled(id) {
      guard isInLog(id) else { continue }
      let end = seesUncommitted || isSubscribed ? cluster.log(id).end : cluster.lastStableOffset(of: id)
      while left > 0, let next = positions[id], next < end {
        positions[id] = next + 1
        guard let record = cluster.record(at: next, of: id, seesUncommitted: seesUncommitted) else {
          continue
        }
        left -= 1
        count += 1
        try hand(record, of: id, body)
        // The rest of the batch is treated as not delivered.
        if (try? process.mayCrash()) == nil { return count }
      }
      if let next = positions[id], next == end, ended[id] != next {
        ended[id] = next
        events.append(.endOfPartition(TopicPartition(id.topic, id.partition.value), offset: next))
      }
    }
    return count
  }

  /// Whether the position is in the log. If not, it is an error, as with `auto.offset.reset: error`, and the
  /// partition is no longer read.
  private func isInLog(_ id: LogID) -> Bool {
    guard let next = positions[id], !(cluster.logStarts[id, default: 0]...cluster.log(id).end).contains(next)
    else {
      return true
    }
    positions[id] = nil
    events.append(.error(KafkaError(.localAutoOffsetReset)))
    return false
  }

  /// Whether fetching from the partition hangs: a broker is slow, or a rebalance is in progress.
  private func isStalled(_ id: LogID) -> Bool {
    let isOver = process.faults.plan.isOver
    if let end = stalled[id], cluster.now < end, !isOver { return true }
    stalled[id] = nil
    guard process.faults.plan.happens(process.faults.plan.stall) else { return false }
    process.faults.plan.counts.stalls += 1
    let time = Int64(process.faults.plan.random.number(in: 500...10_000))
    stalled[id] = cluster.now + .milliseconds(time)
    return true
  }

  private func hand<Failure: Error>(
    _ record: LoggedRecord, of id: LogID, _ body: (RecordInfo, RawSpan?, RawSpan?) throws(Failure) -> Void
  ) throws(Failure) {
    let info = RecordInfo(
      partition: id.partition.value, offset: record.offset,
      timestampMilliseconds: record.timestamp / 1_000_000,
      isLogAppendTime: id.topic != SimulatedTopic.spans || cluster.stampsRecords)
    try (record.key ?? []).withRawBytes { (key) throws(Failure) in
      guard let value = record.value else { return try body(info, key, nil) }
      try value.withRawBytes { (value) throws(Failure) in try body(info, key, value) }
    }
  }

  /// The workload's records have none.
  func lentHeaders(countMax: Int) -> (headers: [RecordHeader], count: Int) { ([], 0) }

  func takeEvents() -> [ConsumerEvent] {
    defer { events = [] }
    return events
  }

  // MARK: Assignments

  func assign(_ offsets: [PartitionOffset]) throws(KafkaError) {
    try process.mayCrash()
    for offset in offsets { start(offset) }
  }

  /// Stops reading. Only partitions that the group has revoked are released: a lane that starts over reads
  /// its own partitions again.
  func unassign(_ partitions: [TopicPartition]) throws(KafkaError) {
    try process.mayCrash()
    for partition in partitions { positions[id(partition)] = nil }
    let asked = revoking.sorted()
    revoking = []
    owned.subtract(asked)
    if !asked.isEmpty, let member = process.member { cluster.group.release(asked, by: member) }
  }

  /// All or none: as librdkafka, it refuses a list with one that is there already,
  func assignAlone(more offsets: [PartitionOffset]) throws(KafkaError) {
    try process.mayCrash()
    let ids = offsets.map { id($0.topicPartition) }
    guard chosen.isDisjoint(with: ids) else { throw KafkaError(.localConflict) }
    chosen.formUnion(ids)
    for offset in offsets { start(offset) }
  }

  /// and one with one that is not.
  func unassignAlone(_ partitions: [TopicPartition]) throws(KafkaError) {
    try process.mayCrash()
    let ids = partitions.map(id)
    guard chosen.isSuperset(of: ids) else { throw KafkaError(.localInvalidArg) }
    chosen.subtract(ids)
    for id in ids { positions[id] = nil }
  }

  private func start(_ offset: PartitionOffset) {
    let id = id(offset.topicPartition)
    let stored = (cluster.committedPoint(of: id.partition) ?? nil)?.offset.value
    positions[id] = offset.offset >= 0 ? offset.offset : isSubscribed ? stored ?? 0 : 0
    ended[id] = nil
  }

  private func id(_ partition: TopicPartition) -> LogID {
    LogID(topic: partition.topic, partition: PartitionID(partition.partition))
  }

  // MARK: Queries

  private static let usualFailures: [KafkaErrorCode] = [
    .localTimedOut, .localTransport, .notLeaderForPartition, .leaderNotAvailable, .requestTimedOut,
    .networkException, .coordinatorLoadInProgress, .notCoordinator, .coordinatorNotAvailable,
    .throttlingQuotaExceeded, .localWaitCoord,
  ]

  func lookUp(_ offsets: [PartitionOffset], timeout: Duration) throws(KafkaError) -> [PartitionOffset] {
    try process.request(timeout, VirtualConsumer.usualFailures)
    return offsets.map { wanted in
      var found = wanted
      let id = id(wanted.topicPartition)
      let end = seesUncommitted ? cluster.log(id).end : cluster.lastStableOffset(of: id)
      switch wanted.offset {
      case PartitionOffset.end: found.offset = end
      case PartitionOffset.beginning: found.offset = cluster.logStarts[id, default: 0]
      default:
        let record = cluster.log(id).records.first { $0.timestamp / 1_000_000 >= wanted.offset }
        found.offset = record?.offset ?? PartitionOffset.end
      }
      return found
    }
  }

  func knownEnd(of partition: TopicPartition) -> Int64? { cluster.log(id(partition)).end }

  func committed(_ partitions: [TopicPartition], timeout: Duration) throws(KafkaError) -> [PartitionOffset] {
    try process.request(timeout, VirtualConsumer.usualFailures)
    let deadline = process.uptime + timeout
    while partitions.contains(where: { cluster.committedPoint(of: id($0).partition) == nil }) {
      // An open transaction includes an offset: librdkafka retries until it has ended.
      guard process.uptime < deadline else { throw KafkaError(.localTimedOut) }
      process.wait(.milliseconds(200))
    }
    return partitions.map { partition in
      let point = cluster.committedPoint(of: id(partition).partition) ?? nil
      return PartitionOffset(
        partition, offset: point?.offset.value ?? PartitionOffset.invalid, metadata: point?.metadata ?? "")
    }
  }

  /// Commits offsets outside a transaction.
  func commit(_ offsets: [PartitionOffset], timeout: Duration) throws(KafkaError) {
    try process.request(timeout, VirtualConsumer.usualFailures)
    if process.faults.plan.happens(process.faults.plan.commitFailure) {
      process.faults.plan.counts.commitFailures += 1
      throw KafkaError(process.failure([.illegalGeneration, .rebalanceInProgress, .localTimedOut]))
    }
    try process.mayCrash { counts in counts.tornCommits += 1 }
    guard let member = process.member else { throw KafkaError(.unknownMemberId) }
    for offset in offsets {
      let point = CommittedPoint(offset: Offset(offset.offset), metadata: offset.metadata)
      guard cluster.commitPlainly(point, of: id(offset.topicPartition).partition, by: member) else {
        throw KafkaError(.illegalGeneration)
      }
    }
    try process.mayCrash { counts in counts.unknownCommits += 1 }
  }

  func close() {
    guard !isGone, isSubscribed, !process.isDead, let member = process.member else { return }
    isGone = true
    cluster.group.leave(member)
  }

  func abandon() { isGone = true }
}
