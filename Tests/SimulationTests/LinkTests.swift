// The production link over virtual clients: fencing reports its cause, waits end, limits hold.

import Kafka
import OTLP
import Pipeline
import Sampling
import Testing

@testable import Simulation

@Suite struct LinkTests {
  private let cluster = SimulatedCluster(
    partitions: 3, stampsRecords: true, now: Instant(nanoseconds: 1_760_000_000_000_000_000))
  private let faults = FaultSource(FaultPlan(random: RandomSource(seed: 1)))

  private func process(_ name: String = "one") -> VirtualProcess {
    VirtualProcess(cluster, faults, name: name, mutant: nil)
  }

  private func link(
    _ process: VirtualProcess, isTransactional: Bool = true, _ more: [KafkaProperty] = [],
    beat: @escaping () -> Void = {}
  ) throws -> KafkaLink<VirtualClients> {
    try KafkaLink(
      topic: SimulatedTopic.spans, group: "g",
      outputs: OutputNames(
        decisions: SimulatedTopic.decisions, verdicts: SimulatedTopic.verdicts,
        sampled: SimulatedTopic.sampled,
        deadLetters: SimulatedTopic.deadLetters),
      transactionalID: isTransactional ? process.name : nil, properties: more,
      clients: VirtualClients(process: process), isStopping: { process.isStopping },
      beat: {
        process.beat()
        beat()
      })
  }

  private func write(_ link: KafkaLink<VirtualClients>, bytes: Int = 10) throws {
    let value = [UInt8](repeating: 0x20, count: bytes)
    // Sound: bytes have no padding.
    try link.write(
      .decisions, partition: PartitionID(0), key: nil, value: unsafe value.span.bytes, headers: [])
  }

  // MARK: Verdicts read back

  /// A page of the ledger about one trace.
  private func page(_ trace: UInt8, version: UInt8 = 1) -> [UInt8] {
    [0x54, 0x52, 0x4c, version, 1, 0, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: trace, count: 16)
      + [1, 0, 0, 0, 0, 1]
  }

  private func decision(_ trace: UInt8) -> [UInt8] {
    let id = String(repeating: "0\(trace)", count: 16)
    return Array(
      #"{"trace_id":"\#(id)","verdict":"keep","final":true,"decided_at":"2026-01-31T23:59:58.000000001Z"}"#
        .utf8)
  }

  private func readBack(
    _ link: KafkaLink<VirtualClients>, _ partitions: [Int32]
  ) throws -> (verdicts: [PartitionID: [TraceID]], answers: [PastDecisions]) {
    var found: [PartitionID: [TraceID]] = [:]
    var answers: [PastDecisions] = []
    var left = partitions
    while let number = left.first {
      let answer = try link.readDecisions(PartitionID(number), since: Instant(nanoseconds: 0), until: nil) {
        id, verdict in
        found[id, default: []].append(verdict.traceID)
      }
      left.removeFirst()
      if case .read = answer { answers.append(answer) } else { left.append(number) }
    }
    return (found, answers)
  }

  private func id(_ byte: UInt64) -> TraceID {
    TraceID(high: byte &* 0x0101_0101_0101_0101, low: byte &* 0x0101_0101_0101_0101)
  }

  /// A partition's ledger is read before its decisions, whatever other partitions' tails are being read.
  @Test func theLedgerIsReadFirst() throws {
    for partition in 0..<2 as Range<Int32> {
      for trace in [3, 4] as [UInt8] {
        let log = LogID(topic: SimulatedTopic.decisions, partition: PartitionID(partition))
        _ = cluster.write(log, nil, decision(trace), in: nil)
      }
      for trace in [1, 2] as [UInt8] where partition == 0 {
        let log = LogID(topic: SimulatedTopic.verdicts, partition: PartitionID(partition))
        _ = cluster.write(log, nil, page(trace), in: nil)
      }
    }
    let (found, answers) = try readBack(link(process()), [0, 1, 2])
    #expect(found[PartitionID(0)] == [1, 2, 3, 4].map(id))
    #expect(found[PartitionID(1)] == [3, 4].map(id))
    #expect(found[PartitionID(2)] == nil)
    #expect(answers == [PastDecisions](repeating: .read(isWhole: true), count: 3))
  }

  /// Partitions whose verdicts are being read are given up together, and one of them has none.
  @Test func readingsThatAreGivenUpBeginAgain() throws {
    let log = LogID(topic: SimulatedTopic.decisions, partition: PartitionID(1))
    _ = cluster.write(log, nil, decision(3), in: nil)
    // Keeps the reading from its end.
    let other = process("other")
    let epoch = cluster.register("other", of: ObjectIdentifier(other))
    let transaction = try #require(cluster.begin("other", epoch: epoch, timeout: .seconds(60)))
    _ = cluster.write(log, nil, decision(4), in: transaction)
    let link = try link(process())
    var answers: [PastDecisions] = []
    for partition in [0, 1, 1] as [Int32] {
      answers.append(
        try link.readDecisions(PartitionID(partition), since: Instant(nanoseconds: 0), until: nil) { _, _ in }
      )
    }
    #expect(answers.allSatisfy { if case .reading = $0 { true } else { false } })
    try link.release([PartitionID(0), PartitionID(1)])
    #expect(cluster.finish(transaction, .committed))
    let (found, _) = try readBack(link, [0, 1])
    #expect(found[PartitionID(1)] == [3, 4].map(id))
  }

  /// Pages that can't be read are missing verdicts; what is foreign is nothing.
  @Test func damagedPagesAreTold() throws {
    let log = LogID(topic: SimulatedTopic.verdicts, partition: PartitionID(0))
    for bytes in [page(1), Array("foreign".utf8), page(2, version: 3), Array(page(3).dropLast()), page(4)] {
      _ = cluster.write(log, nil, bytes, in: nil)
    }
    let (found, answers) = try readBack(link(process()), [0])
    #expect(found[PartitionID(0)] == [1, 4].map(id))
    guard case .read(isWhole: false, let damage?) = answers.first else {
      Issue.record("\(answers)")
      return
    }
    #expect(damage.pages == 2 && damage.firstOffset == 2)
    #expect(damage.firstError.description == "unknown version 3 at byte 3")
  }

  private let point = [
    (
      PartitionID(0),
      CommitPoint(
        safeOffset: Offset(0), clockAtSafeOffset: Instant(nanoseconds: 0), highWater: Offset(0),
        clock: Instant(nanoseconds: 0))
    )
  ]

  @Test func whoSharesATransactionalIDIsToldSo() throws {
    let first = try link(process())
    try write(first)
    _ = try link(process())
    let error = #expect(throws: BrokerError.self) { try first.commit(point) }
    #expect(error?.remedy == .stop)
    #expect(error?.message.contains("another producer has its transactional id 'one'") == true)
  }

  @Test func whoWasFrozenIsToldSo() throws {
    let first = try link(process())
    try write(first)
    cluster.pass(to: cluster.now + .seconds(20))
    let late = #expect(throws: BrokerError.self) {
      _ = try first.poll(timeout: .seconds(0)) { _, _, _ in }
    }
    #expect(late?.remedy == .abort)
    let error = #expect(throws: BrokerError.self) { try first.abort() }
    #expect(error?.remedy == .stop)
    #expect(error?.message.contains("its transaction was open for 20 s") == true)
    #expect(error?.message.contains("another producer") == false)
  }

  /// Each request has a deadline, and all requests of a round together leave time to commit the transaction.
  @Test func silentBrokersKeepNobodyForLong() throws {
    let process = process()
    let first = try link(process)
    try write(first)
    cluster.fallSilent(for: .seconds(600))
    let ids = (0..<3).map { PartitionID($0) }
    let begin = cluster.now
    _ = try? first.committed(ids)
    #expect(cluster.now - begin <= .seconds(5))
    _ = try? first.ends(of: ids)
    _ = try? first.hasOutputs(for: PartitionID(0))
    _ = try? first.readDecisions(PartitionID(0), since: begin, until: nil) { _, _ in }
    #expect(cluster.now - begin < .seconds(15))
    #expect(process.longestWithoutBeat <= .seconds(5))
    for _ in 0..<20 { _ = try? first.committed(ids) }
    #expect(cluster.now - begin < .seconds(15), "an open transaction has to end first")
    let commit = #expect(throws: BrokerError.self) { try first.commit(point) }
    #expect(commit?.remedy == .abort, "offsets that can't be added leave nothing to wait for")
  }

  @Test func aCommitWithoutAnAnswerIsFinishedLater() throws {
    let first = try link(process())
    try write(first)
    // The offsets are added, and then no broker answers.
    var answers = 0
    cluster.onPass = { answers += 1 }
    faults.plan.requestFailure = 0
    try first.commit(point)
    #expect(!first.isCommitting)
    try write(first)
    cluster.fallSilent(for: .seconds(4))
    try first.commit(point)
    #expect(!first.isCommitting, "it waits for an answer within the transaction's time")
  }

  /// Requests that fail at once, as while a coordinator is being elected, are repeated ten times a second,
  /// not as often as the processor allows.
  @Test func requestsThatFailAtOnceDoNotSpin() throws {
    var tries = 0
    func count() {
      tries += 1
      if tries > 10_000 { faults.plan.requestFailure = 0 }
    }
    let first = try link(process(), beat: count)
    try write(first)
    faults.plan.requestFailure = 1
    faults.plan.requestCode = .coordinatorNotAvailable
    tries = 0
    #expect(throws: BrokerError.self) { try first.commit(point) }
    #expect(tries > 10 && tries < 100, "a request's time is five seconds")
    tries = 0
    #expect(throws: KafkaError.self) { _ = try link(process("two"), beat: count) }
    #expect(tries > 100 && tries < 1000, "a registration's is a minute")
  }

  @Test func whoIsToldToStopDoesNotWaitLong() throws {
    let process = process()
    let first = try link(process, isTransactional: false)
    try write(first)
    cluster.fallSilent(for: .seconds(600))
    process.isStopping = true
    let begin = cluster.now
    #expect(throws: BrokerError.self) { try first.commit(point) }
    #expect(cluster.now - begin <= .seconds(2))
  }

  /// A record that its topic does not accept ends the process: a new one reads the limits again. One that the
  /// queue does not accept is aborted with its transaction.
  @Test func recordsThatCanNotBeWritten() throws {
    cluster.recordBytesMax[SimulatedTopic.decisions] = 100
    let first = try link(process())
    try write(first, bytes: 200)
    let refused = #expect(throws: BrokerError.self) { try first.commit(point) }
    #expect(refused?.remedy == .stop)
    #expect(refused?.message.contains("'decisions'") == true)

    let second = try link(process("two"))
    cluster.fallSilent(for: .seconds(600))
    let full = #expect(throws: BrokerError.self) { for _ in 0..<3000 { try write(second) } }
    #expect(full?.remedy == .abort && full?.isTransient == true)
  }

  // MARK: Reading again

  /// Writes records of `bytes` bytes to the first partition's input.
  private func publish(_ count: Int, bytes: Int) {
    for _ in 0..<count {
      cluster.publish([], [UInt8](repeating: 0x20, count: bytes), to: PartitionID(0), at: 0)
    }
  }

  /// Seeks, and returns the offsets of the next records, at most `count`, and where the log begins if what
  /// was sought is lost.
  private func again(
    _ link: KafkaLink<VirtualClients>, from offset: Int64, count: Int
  ) throws -> (offsets: [Int64], lost: [Offset]) {
    var lost: [Offset] = []
    try link.seekAgain([(PartitionID(0), Offset(offset))], for: .recall) { lost.append($1) }
    var offsets: [Int64] = []
    do {
      try link.readAgain(for: .recall) { (place, _, _) throws(BrokerError) in
        offsets.append(place.offset.value)
        if offsets.count == count { throw BrokerError(.retry, "enough") }
      }
    } catch { #expect(error.message == "enough") }
    return (offsets, lost)
  }

  /// What lies between is read if it is small: the number of records says nothing.
  @Test(arguments: [(100, 2), (100_000, 50)] as [(Int, Int64)])
  func smallGapsAreReadThrough(bytes: Int, next: Int64) throws {
    publish(100, bytes: bytes)
    let link = try link(process())
    #expect(try again(link, from: 0, count: 2).offsets == [0, 1])
    #expect(try again(link, from: 50, count: 1).offsets == [next])
    #expect(try again(link, from: 0, count: 2).offsets == [0, 1], "a pass begins")
  }

  /// A broker that does not answer leaves no partition read at a wrong place.
  @Test func whatCanNotBeSoughtIsNotRead() throws {
    publish(100, bytes: 10)
    let link = try link(process())
    #expect(try again(link, from: 50, count: 2).offsets == [50, 51])
    faults.plan.requestFailure = 1
    #expect(throws: BrokerError.self) {
      try link.seekAgain([(PartitionID(0), Offset(0))], for: .recall) { _, _ in }
    }
    faults.plan.requestFailure = 0
    try link.readAgain(for: .recall) { (place, _, _) in
      Issue.record("record \(place.offset) follows record 51")
    }
    #expect(try again(link, from: 0, count: 2).offsets == [0, 1])
  }

  /// Nothing is asked for while a transaction is about to time out.
  @Test func whatMayNotBeSoughtNowIsNotRead() throws {
    publish(100, bytes: 10)
    let link = try link(process())
    #expect(try again(link, from: 50, count: 2).offsets == [50, 51])
    try write(link)
    cluster.pass(to: cluster.now + .milliseconds(59_600))
    #expect(throws: BrokerError.self) {
      try link.seekAgain([(PartitionID(0), Offset(0))], for: .recall) { _, _ in }
    }
    try link.readAgain(for: .recall) { (place, _, _) in
      Issue.record("record \(place.offset) follows record 51")
    }
  }

  /// A position may leave the log between two reads: then the rest is lost, not skipped.
  @Test func whatLeavesTheLogWhileItIsReadIsFoundOut() throws {
    let log = LogID(topic: SimulatedTopic.spans, partition: PartitionID(0))
    publish(100, bytes: 10)
    let link = try link(process())
    #expect(try again(link, from: 0, count: 2).offsets == [0, 1])
    cluster.logStarts[log] = 60
    let stuck = try again(link, from: 2, count: 1)
    #expect(stuck.offsets == [] && stuck.lost == [], "the position is found to be gone")
    let next = try again(link, from: 2, count: 2)
    #expect(next.offsets == [60, 61] && next.lost == [Offset(60)])
    // Brokers have lost the log's end: what was to be read does not come any more.
    try link.seekAgain([], for: .recall) { _, _ in }
    #expect(try again(link, from: 200, count: 1).offsets == [])
    #expect(try again(link, from: 200, count: 1).lost == [Offset(.max)])
  }

  // MARK: Requests without an answer

  /// After an outage, brokers carry out an abort that the link no longer waits for: it must not end the
  /// transaction begun since.
  @Test func aLateAbortEndsNoOtherTransaction() throws {
    faults.plan.late = 1
    let process = process()
    let first = try link(process)
    try write(first)
    cluster.fallSilent(for: .seconds(6))
    let silent = #expect(throws: BrokerError.self) { try first.abort() }
    #expect(silent?.remedy == .retry)
    process.wait(.seconds(1))
    try first.abort()
    try write(first)
    #expect(faults.plan.counts.lateRequests > 0)
    process.wait(.seconds(5))
    try write(first)
    try first.commit(point)
    #expect(cluster.committedPoint(of: PartitionID(0))??.offset == Offset(0))
    let id = LogID(topic: SimulatedTopic.decisions, partition: PartitionID(0))
    #expect(cluster.committedRecords(of: id).count == 2)
  }

  /// The same for a commit: it would commit half of the next transaction.
  @Test(arguments: 1...5 as ClosedRange<UInt64>)
  func aLateCommitEndsNoOtherTransaction(_ seed: UInt64) throws {
    let process = process()
    let first = try link(process)
    faults.plan.random = RandomSource(seed: seed)
    faults.plan.requestFailure = 0.5
    faults.plan.late = 1
    while !first.isCommitting {
      do {
        try write(first)
        try first.commit(point)
      } catch {
        while !first.isCommitting, (try? first.abort()) == nil {}
      }
    }
    faults.plan.requestFailure = 0
    // Brokers may have ended the transaction meanwhile.
    do { try first.commit(point) } catch { try first.abort() }
    let id = LogID(topic: SimulatedTopic.decisions, partition: PartitionID(0))
    let before = cluster.committedRecords(of: id).count
    try write(first)
    process.wait(.seconds(5))
    #expect(cluster.committedRecords(of: id, includesUnstable: true).count == before)
    try write(first)
    try first.commit(point)
    #expect(cluster.committedRecords(of: id).count == before + 2)
  }

  /// A repeated registration may be carried out once more, and fences the producer that it registered: no
  /// other producer has its id.
  @Test func whoFencesItselfGoesOn() throws {
    faults.plan.late = 1
    cluster.fallSilent(for: .milliseconds(1500))
    let first = try link(process())
    #expect(faults.plan.counts.lateRequests > 0)
    try write(first)
    cluster.pass(to: cluster.now + .seconds(5))
    let fenced = #expect(throws: BrokerError.self) { try first.commit(point) }
    #expect(fenced?.remedy == .abort)
    try first.abort()
    try write(first)
    try first.commit(point)
    _ = try link(process())
    try? write(first)
    let other = #expect(throws: BrokerError.self) { try first.commit(point) }
    #expect(other?.remedy == .stop, "the second time, it is another producer")
  }

  /// Each registration without an answer may be carried out later, one after the other.
  @Test func itMayFenceItselfAsOftenAsItHasAsked() throws {
    faults.plan.late = 1
    cluster.fallSilent(for: .milliseconds(3500))
    let process = process()
    let first = try link(process)
    let asked = faults.plan.counts.lateRequests
    #expect(asked > 1)
    var fences = 0
    for _ in 0..<20 {
      do {
        try write(first)
        process.wait(.milliseconds(250))
        try first.commit(point)
      } catch let error as BrokerError {
        #expect(error.remedy == .abort, "\(error)")
        fences += 1
        try first.abort()
      }
    }
    #expect(fences > 1 && fences <= asked)
  }
}
