// Resuming partitions: one request for all, one wait for a broker that does not answer, no busy loop.

import OTLP
import Sampling
import Testing

@testable import Pipeline

@Suite struct LaneTakeUpTests {
  private func lane(
    _ link: MemoryLink, _ report: @escaping (LaneEvent) -> Void = { _ in }
  ) -> Lane<MemoryLink, SamplingJob> {
    Lane(
      link: link, configuration: SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans"),
      report: report)
  }

  @Test func committedPointsAreFetchedTogether() throws {
    let link = MemoryLink(MemoryBroker(partitions: 12), assigned: 12)
    let lane = lane(link)
    for second in 0..<3 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    #expect(lane.snapshot().partitions.count == 12)
    #expect(link.committedQuestions == 1)
  }

  /// For ten waiting partitions and an unresponsive broker there is one wait, then a pause.
  @Test func anUnresponsiveBrokerCostsOneWait() throws {
    let link = MemoryLink(MemoryBroker(partitions: 10), assigned: 10)
    link.committedErrors = Array(repeating: BrokerError(.retry, "timed out"), count: 100)
    let lane = lane(link)
    try lane.step(at: moment(at(1)), timeout: .seconds(0))
    #expect(link.committedQuestions == 1)
    for tenth in 0..<10 { try lane.step(at: moment(at(1 + Double(tenth) / 1000)), timeout: .seconds(0)) }
    #expect(link.committedQuestions == 1)
    try lane.step(at: moment(at(2)), timeout: .seconds(0))
    #expect(link.committedQuestions == 2)
  }

  /// A partition without counterparts is checked every two seconds; meanwhile the lane waits for records as
  /// usual, without a busy loop.
  @Test func waitingForATopicDoesNotSpin() throws {
    let link = MemoryLink(MemoryBroker(partitions: 2), assigned: 2)
    link.partitionsWithoutOutputs = [PartitionID(1)]
    var words = 0
    let lane = lane(link) { event in if case .disturbed = event { words += 1 } }
    for round in 0..<100 {
      try lane.step(at: moment(at(1 + Double(round) / 20)), timeout: .milliseconds(50))
    }
    #expect(lane.snapshot().partitions == [PartitionID(0)])
    // It is tried in the first rounds, then every two seconds.
    #expect(link.impatientPolls <= 5)
    #expect(words == 3)
    link.partitionsWithoutOutputs = []
    for second in 10..<14 { try lane.step(at: moment(at(Double(second))), timeout: .milliseconds(50)) }
    #expect(lane.snapshot().partitions == [PartitionID(0), PartitionID(1)])
  }

  /// Why a lane has nothing to do.
  enum Lull: CaseIterable {
    case idle, withoutOutputs, withoutAnswers, withoutRates
  }

  /// A lane that is idle, or whose partitions can't be read yet, waits for records, and doesn't spin: at most
  /// 20 rounds a second where a request for records may take 100 ms.
  @Test(arguments: Lull.allCases) func nothingToDoCostsFewRounds(_ lull: Lull) throws {
    let broker = MemoryBroker(partitions: 3)
    broker.append(tracesData([TestSpan(trace: 1, id: 1)]), at: at(1))
    let link = MemoryLink(broker, assigned: 3)
    var sampler = SamplerConfiguration()
    switch lull {
    case .idle: break
    case .withoutOutputs: link.partitionsWithoutOutputs = Set((0..<3).map { PartitionID($0) })
    case .withoutAnswers:
      link.committedErrors = Array(repeating: BrokerError(.retry, "timed out"), count: 100_000)
    case .withoutRates:
      sampler.baseline = BaselineConfiguration()
      link.areStatsRead = false
    }
    let lane = Lane(
      link: link, configuration: SamplingJob.Configuration(sampler: sampler, topic: "spans"),
      report: { _ in })
    var rounds = 0
    link.time = at(2)
    while link.time < at(7), rounds < 1000 {
      try lane.step(at: moment(link.time), timeout: .milliseconds(100))
      link.time = link.time + .milliseconds(1)
      rounds += 1
    }
    #expect(rounds <= 100)
    #expect(lane.snapshot().partitions.count == (lull == .idle ? 3 : 0))
  }

  /// A commit with an unknown outcome is finished before anything else is read.
  @Test func anUnfinishedCommitComesFirst() throws {
    let broker = MemoryBroker()
    broker.append([0x0b], at: at(1))
    let link = MemoryLink(broker)
    let lane = lane(link)
    try lane.step(at: moment(at(5)), timeout: .seconds(0))
    link.commitErrors = Array(repeating: BrokerError(.retry, "no answer"), count: 3)
    link.isCommitting = true
    #expect(throws: BrokerError.self) { try lane.step(at: moment(at(7)), timeout: .seconds(0)) }
    let polls = link.polls
    for second in [8.0, 9.0] {
      #expect(throws: BrokerError.self) { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    }
    #expect(link.polls == polls)
    link.isCommitting = false
    try lane.step(at: moment(at(10)), timeout: .seconds(0))
    #expect(broker.commits == [1])
    #expect(link.polls == polls + 1)
  }

  /// Output that moves no commit point, as when memory runs short in a recovery, is committed all the same:
  /// its transaction must not stay open.
  @Test func outputIsCommittedEvenIfNoPointHasMoved() throws {
    let broker = MemoryBroker()
    broker.append([0x0b], at: at(1))
    let link = MemoryLink(broker)
    let lane = lane(link)
    for second in [5.0, 7] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    let commits = broker.commits.count
    try lane.step(at: moment(at(9)), timeout: .seconds(0))
    #expect(broker.commits.count == commits)
    link.hasUncommitted = true
    try lane.step(at: moment(at(11)), timeout: .seconds(0))
    #expect(broker.commits.count == commits + 1)
  }

  /// Errors that persist end the process after a few, but not the first time.
  @Test func abortsInARowEndTheProcess() throws {
    let broker = MemoryBroker()
    let link = MemoryLink(broker)
    link.commitErrors = Array(repeating: BrokerError(.abort, "odd", isTransient: false), count: 100)
    let lane = lane(link)
    var rounds = 0
    let error = #expect(throws: BrokerError.self) {
      while rounds < 400 {
        broker.append([0x0b], at: at(Double(rounds)))
        try lane.step(at: moment(at(10 + Double(rounds))), timeout: .seconds(0))
        rounds += 1
      }
    }
    #expect(error?.remedy == .stop)
    #expect(error?.message.contains("10 aborts") == true)
  }

  /// A refused or unanswered last commit is not a failure: the log has all of it.
  @Test(
    arguments: [
      ([], .committed), ([.abort], .uncommitted),
      (Array(repeating: .retry, count: 1000), .unanswered),
    ] as [([BrokerError.Remedy], LaneEnd)])
  func stoppingEnds(_ remedies: [BrokerError.Remedy], _ end: LaneEnd) throws {
    let broker = MemoryBroker()
    let link = MemoryLink(broker)
    var now = at(10)
    let lane = Lane(
      link: link, configuration: SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans"),
      now: {
        now = now + .milliseconds(10)
        return moment(now)
      }, report: { _ in })
    try lane.step(at: moment(at(1)), timeout: .seconds(0))
    broker.append([0x0b], at: at(1))
    try lane.step(at: moment(at(1)), timeout: .seconds(0))
    link.commitErrors = remedies.reversed().map { BrokerError($0, "no") }
    let began = now
    #expect(try lane.finish(patience: .seconds(3)) { _ in } == end)
    #expect(now - began < .seconds(4))
    #expect(broker.steps.last == .closed)
  }

  @Test func aTruncatedLogIsLoggedAndCounted() throws {
    let broker = MemoryBroker()
    for second in 0..<4 { broker.append([0x0b], at: at(Double(second))) }
    let link = MemoryLink(broker)
    var said: [Offset] = []
    let lane = lane(link) { event in if case .repeated(_, let offset, _) = event { said.append(offset) } }
    for _ in 0..<2 { try lane.step(at: moment(at(100)), timeout: .seconds(0)) }
    link.strays = [(0, 1), (0, 2)]
    try lane.step(at: moment(at(101)), timeout: .seconds(0))
    #expect(lane.snapshot().lane.recordsRepeated == 2)
    #expect(said == [Offset(1)], "reported once a minute")
  }

  /// Windows of several quiet partitions close after one request; a missing answer is waited for once, then
  /// the brokers are left alone for a while.
  @Test func theEndsOfQuietPartitionsAreFetchedTogether() throws {
    let broker = MemoryBroker(partitions: 6)
    for partition in 0..<6 {
      broker.append(tracesData([TestSpan(trace: UInt64(partition) + 1, id: 1)]), at: at(1), to: partition)
    }
    let link = MemoryLink(broker, assigned: 6)
    let lane = lane(link)
    for _ in 0..<2 { try lane.step(at: moment(at(1)), timeout: .seconds(0)) }
    link.endErrors = [BrokerError(.retry, "timed out")]
    try lane.step(at: moment(at(60)), timeout: .seconds(0))
    #expect(link.questions == 1)
    try lane.step(at: moment(at(61)), timeout: .seconds(0))
    #expect(link.questions == 1)
    try lane.step(at: moment(at(64)), timeout: .seconds(0))
    #expect(link.questions == 2)
    #expect(lane.snapshot().openTraces == 0)
  }
}
