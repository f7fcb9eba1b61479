// A lane's link to the simulated cluster, with the faults that the simulation wants.

import OTLP
import Pipeline
import Sampling

/// A bug that is put in on purpose, to see whether the auditor finds it.
public enum Mutant: String, Sendable, CaseIterable {
  /// The high water is committed as the safe offset.
  case commitHighWater = "commit-high-water"
  /// Past verdicts are not read back.
  case forgetVerdicts = "forget-verdicts"
  /// Kept spans are written outside the transaction.
  case forwardEarly = "forward-early"
  /// The high water is not known: everything that is read again is taken for new.
  case forgetHighWater = "forget-high-water"
}

/// What can go wrong at a call, and how often.
struct FaultPlan {
  var random: RandomSource
  var commitFailure = 0.0
  var requestFailure = 0.0
  var stall = 0.0
  var crash = 0.0
  var counts = FaultCounts()
  /// Once set, nothing goes wrong any more.
  var isOver = false

  mutating func happens(_ share: Double) -> Bool { !isOver && random.chance(share) }
}

/// Faults injected, by kind.
public struct FaultCounts: Equatable, Sendable {
  /// Workers that died at some call.
  public var crashes = 0
  /// Workers that were stopped, and left.
  public var stops = 0
  /// Workers that were frozen past their session.
  public var freezes = 0
  /// Commits that failed before anything was committed.
  public var commitFailures = 0
  /// Commits whose transaction was complete but for its end when the worker died.
  public var tornCommits = 0
  /// Commits that succeeded although the worker died before it knew.
  public var unknownCommits = 0
  /// Requests that failed.
  public var requestFailures = 0
  /// Partitions of which nothing was handed out for a while, whatever there was.
  public var stalls = 0
  /// Times of day that were set forward or back on a worker.
  public var clockJumps = 0
  /// Times that a worker took over other policies.
  public var reloads = 0
  /// Rebalances.
  public var rebalances = 0

  /// None.
  public init() {}

  /// All of them, reloads and rebalances aside.
  public var total: Int {
    crashes + stops + freezes + commitFailures + tornCommits + unknownCommits + requestFailures + clockJumps
      + stalls
  }
}

/// What lanes of one simulated world share.
final class FaultSource {
  var plan: FaultPlan

  init(_ plan: FaultPlan) {
    self.plan = plan
  }
}

/// One member of the group and one transactional producer.
final class SimulatedLink: BrokerLink {
  private let cluster: SimulatedCluster
  private let faults: FaultSource
  private let producer: String
  private let mutant: Mutant?
  private let isTransactional: Bool
  private var epoch: Int
  private var member: Int
  private var transaction: Int?
  private var positions: [PartitionID: Int64] = [:]
  private var ended: [PartitionID: Int64] = [:]
  /// Partitions that nothing comes from until then.
  private var stalled: [PartitionID: Instant] = [:]
  private var events: [GroupEvent] = []
  /// Partitions that the group has given to this member, whether they are read yet or not.
  private var owned: Set<PartitionID> = []
  /// Partitions that the group wants back.
  private var revoking: Set<PartitionID> = []
  /// The next offset of the counts.
  private var statsRead: Int64 = 0
  /// The ends of the tails that are being read back.
  private var tailEnds: [PartitionID: Int64] = [:]
  /// Without transactions: what has been written and not been acknowledged.
  private var unacknowledged: [(id: LogID, key: [UInt8]?, value: [UInt8]?)] = []

  /// The message of the error that stands for the end of the process.
  static let crash = "the simulated process ends"

  init(
    _ cluster: SimulatedCluster, _ faults: FaultSource, producer: String, isTransactional: Bool,
    mutant: Mutant?
  ) {
    self.isTransactional = isTransactional
    self.cluster = cluster
    self.faults = faults
    self.producer = producer
    self.mutant = mutant
    epoch = cluster.register(producer)
    member = cluster.group.join(at: cluster.now)
  }

  func poll(
    timeout: Interval, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) -> Int {
    try mayCrash()
    guard cluster.group.isMember(member) else {
      events.append(.lost(owned.sorted()))
      owned = []
      revoking = []
      member = cluster.group.join(at: cluster.now)
      return 0
    }
    let news = cluster.group.heartbeat(member, at: cluster.now)
    for case .assigned(let partitions) in news { owned.formUnion(partitions) }
    events += news
    var left = faults.plan.random.number(in: 1...40)
    var count = 0
    for partition in positions.keys.sorted() where !isStalled(partition) {
      let log = cluster.log(LogID(topic: nil, partition: partition))
      while left > 0, let next = positions[partition], next < log.end {
        let record = log.records[Int(next)]
        positions[partition] = next + 1
        left -= 1
        count += 1
        try hand(record, of: partition, take)
        try mayCrash()
      }
      if let next = positions[partition], next == log.end, ended[partition] != next {
        ended[partition] = next
        events.append(.caughtUp(partition, Offset(next)))
      }
    }
    return count
  }

  /// Whether fetching from the partition hangs: a broker is slow, or a rebalance goes on.
  private func isStalled(_ partition: PartitionID) -> Bool {
    if let end = stalled[partition], cluster.now < end, !faults.plan.isOver { return true }
    stalled[partition] = nil
    guard faults.plan.happens(faults.plan.stall) else { return false }
    faults.plan.counts.stalls += 1
    stalled[partition] = cluster.now + .milliseconds(Int64(faults.plan.random.number(in: 500...10_000)))
    return true
  }

  private func hand(
    _ record: LoggedRecord, of partition: PartitionID,
    _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    let place = RecordPlace(
      partition: partition, offset: Offset(record.offset), timestamp: Instant(nanoseconds: record.timestamp),
      isLogTime: cluster.stampsRecords)
    try (record.key ?? []).withRawBytes { (key) throws(BrokerError) in
      guard let value = record.value else { return try take(place, key, nil) }
      try value.withRawBytes { (value) throws(BrokerError) in try take(place, key, value) }
    }
  }

  func takeEvents() -> [GroupEvent] {
    defer { events = [] }
    for case .revoked(let partitions) in events { revoking.formUnion(partitions) }
    return events
  }

  func committed(_ partitions: [PartitionID]) throws(BrokerError) -> [CommittedPoint?] {
    try mayFail("reading committed offsets")
    var points: [CommittedPoint?] = []
    for partition in partitions {
      guard let point = cluster.committedPoint(of: partition) else {
        throw BrokerError(.retry, "an offset commit is not stable yet")
      }
      points.append(point)
    }
    return points
  }

  func verdicts(_ partition: PartitionID, since time: Instant) throws(BrokerError) -> PastDecisions {
    try mayFail("reading decisions back")
    if mutant == .forgetVerdicts { return .read([], isWhole: true) }
    let id = LogID(topic: .decisions, partition: partition)
    let end = tailEnds[partition] ?? cluster.log(id).end
    tailEnds[partition] = end
    // A tail takes a few rounds to read.
    if faults.plan.random.chance(0.5) { return .reading(read: 0, of: end) }
    guard cluster.lastStableOffset(of: id) >= end else {
      throw BrokerError(.retry, "a transaction is open")
    }
    tailEnds[partition] = nil
    let verdicts = cluster.committedRecords(of: id)
      .filter { $0.timestamp >= time.nanoseconds && $0.offset < end }
      .compactMap { record in try? RestoredVerdict(record: record.value ?? []) }
    return .read(verdicts, isWhole: true)
  }

  var commitsTogether: Bool { isTransactional }

  func readStats(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool {
    try mayFail("reading counts")
    let id = LogID(topic: .stats, partition: PartitionID(0))
    let stable = cluster.lastStableOffset(of: id)
    for record in cluster.committedRecords(of: id) where record.offset >= statsRead {
      take(record.value ?? [])
    }
    statsRead = stable
    return true
  }

  func end(of partition: PartitionID) throws(BrokerError) -> Offset {
    try mayFail("asking for the log's end")
    return Offset(cluster.log(LogID(topic: nil, partition: partition)).end)
  }

  func knownEnd(of partition: PartitionID) -> Offset? {
    Offset(cluster.log(LogID(topic: nil, partition: partition)).end)
  }

  func hasOutputs(for partition: PartitionID) -> Bool { true }

  func resume(_ partitions: [(PartitionID, Offset?)]) throws(BrokerError) {
    try mayCrash()
    for (partition, offset) in partitions {
      positions[partition] = offset?.value ?? 0
      ended[partition] = nil
    }
  }

  /// Reading stops. Only what the group has asked for is given back to it: a lane that starts over reads its
  /// own partitions again.
  func release(_ partitions: [PartitionID]) throws(BrokerError) {
    try mayCrash()
    for partition in partitions {
      positions[partition] = nil
      tailEnds[partition] = nil
    }
    let asked = partitions.filter { revoking.remove($0) != nil }
    owned.subtract(asked)
    if !asked.isEmpty { cluster.group.release(asked, by: member) }
  }

  func write(
    _ topic: OutputTopic, partition: PartitionID?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeaderField]
  ) throws(BrokerError) {
    try mayCrash()
    let id = LogID(topic: topic, partition: partition ?? PartitionID(0))
    guard isTransactional else { return unacknowledged.append((id, key?.copied(), value?.copied())) }
    let number = mutant == .forwardEarly && topic == .sampled ? nil : try openTransaction()
    guard cluster.write(id, key?.copied(), value?.copied(), in: number) else {
      throw BrokerError(.abort, "the transaction is not open any more")
    }
  }

  private func openTransaction() throws(BrokerError) -> Int {
    if let transaction { return transaction }
    guard let number = cluster.begin(producer, epoch: epoch) else {
      throw BrokerError(.stop, "the producer is fenced")
    }
    transaction = number
    return number
  }

  func commit(_ points: [(PartitionID, CommitPoint)]) throws(BrokerError) {
    try mayCrash()
    guard isTransactional else { return try commitPlainly(points) }
    let number = try openTransaction()
    if faults.plan.happens(faults.plan.commitFailure) {
      faults.plan.counts.commitFailures += 1
      throw BrokerError(.abort, "the commit failed")
    }
    var offsets: [PartitionID: CommittedPoint] = [:]
    for (partition, point) in points { offsets[partition] = commitPoint(point) }
    guard cluster.add(offsets, to: number, by: member) else {
      throw BrokerError(.abort, "the member or the producer is fenced")
    }
    try mayCrash { counts in counts.tornCommits += 1 }
    guard cluster.commit(number) else { throw BrokerError(.abort, "the transaction is not open any more") }
    transaction = nil
    try mayCrash { counts in counts.unknownCommits += 1 }
  }

  /// Everything written is acknowledged before the offsets are committed, as at-least-once delivery wants it.
  private func commitPlainly(_ points: [(PartitionID, CommitPoint)]) throws(BrokerError) {
    acknowledge(unacknowledged.count)
    if faults.plan.happens(faults.plan.commitFailure) {
      faults.plan.counts.commitFailures += 1
      throw BrokerError(.retry, "the commit failed")
    }
    try mayCrash { counts in counts.tornCommits += 1 }
    for (partition, point) in points {
      guard cluster.commitPlainly(commitPoint(point), of: partition, by: member) else {
        throw BrokerError(.retry, "the member is fenced")
      }
    }
    try mayCrash { counts in counts.unknownCommits += 1 }
  }

  private func acknowledge(_ count: Int) {
    for record in unacknowledged.prefix(count) {
      _ = cluster.write(record.id, record.key, record.value, in: nil)
    }
    unacknowledged.removeFirst(count)
  }

  private func commitPoint(_ point: CommitPoint) -> CommittedPoint {
    var point = point
    if mutant == .commitHighWater {
      point.safeOffset = point.highWater
      point.clockAtSafeOffset = point.clock
    }
    if mutant == .forgetHighWater { point.highWater = point.safeOffset }
    return CommittedPoint(offset: point.safeOffset, metadata: point.metadata)
  }

  func abort() throws(BrokerError) {
    try mayCrash()
    if let transaction { cluster.abort(transaction) }
    transaction = nil
  }

  func close() {
    cluster.group.leave(member)
  }

  private func mayFail(_ action: String) throws(BrokerError) {
    try mayCrash()
    guard faults.plan.happens(faults.plan.requestFailure) else { return }
    faults.plan.counts.requestFailures += 1
    throw BrokerError(.retry, "\(action): timed out")
  }

  private func mayCrash(_ note: (inout FaultCounts) -> Void = { _ in }) throws(BrokerError) {
    guard faults.plan.happens(faults.plan.crash) else { return }
    faults.plan.counts.crashes += 1
    note(&faults.plan.counts)
    // Some of what was on its way has arrived.
    acknowledge(faults.plan.random.number(in: 0...unacknowledged.count))
    throw BrokerError(.stop, SimulatedLink.crash)
  }
}
