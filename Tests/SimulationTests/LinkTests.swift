// The production link over virtual clients: fencing has a cause, waits have an end, limits hold.

import Kafka
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
    _ process: VirtualProcess, isTransactional: Bool = true, _ more: [KafkaProperty] = []
  ) throws -> KafkaLink<VirtualClients> {
    try KafkaLink(
      topic: SimulatedTopic.spans, group: "g",
      outputs: OutputNames(
        decisions: SimulatedTopic.decisions, sampled: SimulatedTopic.sampled,
        deadLetters: SimulatedTopic.deadLetters),
      transactionalID: isTransactional ? process.name : nil, properties: more,
      clients: VirtualClients(process: process), isStopping: { process.isStopping },
      beat: { process.beat() })
  }

  private func write(_ link: KafkaLink<VirtualClients>, bytes: Int = 10) throws {
    let value = [UInt8](repeating: 0x20, count: bytes)
    // Sound: bytes have no padding.
    try link.write(
      .decisions, partition: PartitionID(0), key: nil, value: unsafe value.span.bytes, headers: [])
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

  /// Each question has its deadline, and all that a round asks leaves the transaction time to be committed.
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
    _ = try? first.readDecisions(PartitionID(0), since: begin) { _, _ in }
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
    // The offsets are added, and then nobody answers.
    var answers = 0
    cluster.onPass = { answers += 1 }
    faults.plan.requestFailure = 0
    try first.commit(point)
    #expect(!first.isCommitting)
    try write(first)
    cluster.fallSilent(for: .seconds(4))
    try first.commit(point)
    #expect(!first.isCommitting, "an answer within the transaction's time is waited for")
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

  /// A record that its topic does not take ends the process: a new one reads the limits anew. One that the
  /// queue does not take is given up with its transaction.
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
}
