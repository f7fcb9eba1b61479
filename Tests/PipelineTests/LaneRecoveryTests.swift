// Recovery of partitions: reading decisions back bit by bit, which of them count, and reporting progress.

import OTLP
import Sampling
import Testing

@testable import Pipeline

@Suite struct LaneRecoveryTests {
  private let first = PartitionID(0)
  private let passing = BrokerError(.retry, "not now")

  /// A broker whose first partition was committed in the middle: trace 1 was decided before, trace 2 is open.
  private func brokerInMidWindow() -> MemoryBroker {
    let broker = MemoryBroker(partitions: 2)
    for second in 0..<4 {
      let trace: UInt64 = second == 1 ? 1 : 2
      let span = TestSpan(trace: trace, id: UInt64(second + 1), parent: 9)
      broker.append(tracesData([span]), at: at(Double(second)))
    }
    broker.append(tracesData([TestSpan(trace: 3, id: 1, parent: 9)]), at: at(0), to: 1)
    broker.points[first] = CommitPoint(
      safeOffset: Offset(0), clockAtSafeOffset: at(0), highWater: Offset(3), clock: at(2))
    return broker
  }

  private func verdict(_ trace: UInt64, firstOffset: Int64, at second: Double) -> RestoredVerdict {
    RestoredVerdict(
      traceID: traceID(trace), isKept: false, isFinal: true, threshold: .never, decidedAt: at(second),
      firstOffset: Offset(firstOffset))
  }

  private func lane(_ link: MemoryLink, _ note: @escaping (LaneEvent) -> Void = { _ in }) -> Lane<
    MemoryLink, SamplingJob
  > {
    Lane(
      link: link, configuration: SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans"),
      report: note)
  }

  @Test func decisionsAreReadBackWhileOtherPartitionsContinue() throws {
    let broker = brokerInMidWindow()
    let link = MemoryLink(broker, assigned: 2)
    link.tails = [
      ([verdict(1, firstOffset: 1, at: 1)], .read(isWhole: true)), ([], .reading(read: 5, of: 10)),
      ([], .reading(read: 0, of: 10)),
    ]
    let lane = lane(link)
    try lane.step(at: moment(at(10)), timeout: .seconds(0))
    try lane.step(at: moment(at(10)), timeout: .seconds(0))
    #expect(broker.answers == 1, "the group does not wait for recovery")
    #expect(lane.snapshot().partitions == [PartitionID(1)])
    #expect(lane.snapshot().openTraces == 1)
    #expect(lane.snapshot().recovering == 1)
    for _ in 0..<3 { try lane.step(at: moment(at(10)), timeout: .seconds(0)) }
    #expect(lane.snapshot().partitions == [first, PartitionID(1)])
    #expect(lane.snapshot().recovering == 0)
    // Trace 1 has a verdict; its span below the high water is skipped.
    #expect(lane.snapshot().openTraces == 2)
    #expect(lane.snapshot().counters.spansReplayed == 1)
  }

  /// Without transactions a decision may exist although the spans that it keeps don't.
  @Test func withoutTransactionsOnlyWhatWasDecidedBeforeTheCommitCounts() throws {
    for isTransactional in [true, false] {
      let broker = brokerInMidWindow()
      let link = MemoryLink(broker, assigned: 1)
      link.isTransactional = isTransactional
      link.tails = [([verdict(1, firstOffset: 1, at: 1)], .read(isWhole: true))]
      let lane = lane(link)
      for _ in 0..<3 { try lane.step(at: moment(at(10)), timeout: .seconds(0)) }
      #expect(lane.snapshot().openTraces == (isTransactional ? 1 : 2))
    }
  }

  /// Decisions are stamped with the wall clock. A stream clock may be ahead of it, if all producers' clocks
  /// are.
  @Test(arguments: [0.0, 3600]) func decisionsAreLookedForWhereTheyAre(_ ahead: Double) throws {
    let broker = brokerInMidWindow()
    broker.points[first]?.clockAtSafeOffset = at(ahead)
    broker.points[first]?.clock = at(ahead + 2)
    let link = MemoryLink(broker, assigned: 1)
    let lane = lane(link)
    for _ in 0..<3 { try lane.step(at: moment(at(10)), timeout: .seconds(0)) }
    #expect(link.asked == [at(min(ahead, 10) - 605)])
  }

  @Test func progressIsReportedWithAnEstimateAndItsEnd() throws {
    let broker = brokerInMidWindow()
    let link = MemoryLink(broker, assigned: 1)
    link.batch = 1
    link.tails = [([], .read(isWhole: false)), ([], .reading(read: 5, of: 20))]
    var told: [RecoveryProgress] = []
    var ends: [Interval] = []
    var missing = 0
    let lane = lane(link) { event in
      switch event {
      case .recovering(let progress): told += progress
      case .recovered(_, let time): ends.append(time)
      case .decisionsMissing: missing += 1
      default: break
      }
    }
    for second in 0..<40 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    let decisions = try #require(told.first { $0.phase == .decisions })
    #expect(decisions.done == 5 && decisions.total == 20)
    #expect(missing == 1)
    #expect(ends.count == 1)
    var progress = RecoveryProgress(
      partition: first, phase: .records, done: 25, total: 100, elapsed: .seconds(2))
    #expect(progress.estimate == .seconds(6))
    progress.done = 0
    #expect(progress.estimate == nil)
  }

  /// One of very many records took a while: no clock reaches that far.
  @Test func anEstimateMayBeVeryLong() {
    let progress = RecoveryProgress(
      partition: first, phase: .records, done: 1, total: .max, elapsed: .seconds(3600))
    #expect(progress.estimate == Interval(nanoseconds: .max))
    #expect(progress.estimate?.secondsText == "9223372036.9")
    #expect(Interval.milliseconds(1250).secondsText == "1.3")
  }

  @Test(arguments: [
    (1e300, Int64.max), (-1e300, .min), (1.5, 1_500_000_000), (-1.5, -1_500_000_000), (0, 0),
    (9_223_372_037, .max),
  ])
  func aClockMayBeSetToAnyYear(_ seconds: Double, _ nanoseconds: Int64) {
    #expect(Instant(secondsSince1970: seconds).nanoseconds == nanoseconds)
    #expect(Duration.seconds(Int64.max / 1_000_000_000).nanoseconds <= .max)
    #expect((Duration.seconds(9_223_372_036) + .nanoseconds(999_999_999)).nanoseconds == .max)
  }

  @Test func aPartitionWithoutOutputsWaitsForThem() throws {
    let broker = brokerInMidWindow()
    let link = MemoryLink(broker, assigned: 2)
    link.partitionsWithoutOutputs = [PartitionID(1)]
    var complaints: [String] = []
    let lane = lane(link) { if case .disturbed(let error) = $0 { complaints.append(error.message) } }
    for second in [10.0, 12, 14] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    #expect(lane.snapshot().partitions == [first])
    #expect(complaints.count == 3 && complaints.allSatisfy { $0.contains("partition 1 of 'spans' has no") })
    link.partitionsWithoutOutputs = []
    try lane.step(at: moment(at(16)), timeout: .seconds(0))
    #expect(lane.snapshot().partitions == [first, PartitionID(1)])
  }

  /// The group's latest event is not forgotten when the answer to an earlier one fails.
  @Test func aFailedAnswerIsRepeated() throws {
    let broker = brokerInMidWindow()
    let link = MemoryLink(broker, assigned: 1)
    let lane = lane(link)
    try lane.step(at: moment(at(10)), timeout: .seconds(0))
    link.releaseErrors = [passing]
    link.events = [.revoked([first]), .assigned([PartitionID(1)])]
    #expect(throws: passing) { try lane.step(at: moment(at(10)), timeout: .seconds(0)) }
    for _ in 0..<2 { try lane.step(at: moment(at(10)), timeout: .seconds(0)) }
    #expect(broker.steps.contains(.released([first])))
    #expect(lane.snapshot().partitions == [PartitionID(1)])
  }

  @Test func manyRecordsAreCommittedBeforeTheIntervalIsOver() throws {
    let broker = MemoryBroker()
    for number in 0..<100 {
      broker.append(tracesData([TestSpan(trace: UInt64(number + 1), id: 1, parent: 9)]), at: at(0))
    }
    let link = MemoryLink(broker)
    link.batch = 10
    var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
    configuration.pace.interval = .seconds(1000)
    configuration.pace.records = 30
    let lane = Lane(link: link, configuration: configuration) { _ in }
    for _ in 0..<12 { try lane.step(at: moment(at(0)), timeout: .seconds(0)) }
    #expect(lane.snapshot().lane.commits == 3, "one for every 30 records")
    #expect(lane.snapshot().lane.rounds == 12)
  }
}
