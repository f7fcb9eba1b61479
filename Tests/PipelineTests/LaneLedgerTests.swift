// A lane and its ledger: a page for each commit, nothing without one, and what is read back of it.

import OTLP
import Sampling
import Testing

@testable import Pipeline

@Suite struct LaneLedgerTests {
  private func lane(_ link: MemoryLink, _ note: @escaping (LaneEvent) -> Void = { _ in }) -> Lane<
    MemoryLink, SamplingJob
  > {
    var sampler = SamplerConfiguration()
    sampler.dropped = .ledger
    sampler.version = "1a2b3c4d"
    return Lane(
      link: link, configuration: SamplingJob.Configuration(sampler: sampler, topic: "spans"), report: note)
  }

  private func verdicts(in output: MemoryBroker.Output) throws -> [RestoredVerdict] {
    var verdicts: [RestoredVerdict] = []
    try (output.value ?? []).withRawBytes { page in
      try RestoredVerdict.read(page) { verdicts.append($0) }
    }
    return verdicts
  }

  /// Three traces in two partitions, decided within one commit interval.
  private func broker() -> MemoryBroker {
    let broker = MemoryBroker(partitions: 2)
    for (trace, partition) in [(1, 0), (2, 1), (3, 0)] as [(UInt64, Int)] {
      broker.append(tracesData([TestSpan(trace: trace, id: 1)]), at: at(0), to: partition)
    }
    return broker
  }

  @Test func eachPartitionHasAPageInTheCommitThatCoversIt() throws {
    let broker = broker()
    let lane = lane(MemoryLink(broker, assigned: 2))
    for second in [0.0, 1, 2, 9, 10, 11] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    let pages = broker.outputs(to: .verdicts)
    #expect(pages.map(\.partition) == [0, 1].map { PartitionID($0) })
    #expect(pages.allSatisfy { $0.key == nil && $0.headers.isEmpty })
    let traces = try pages.map { try verdicts(in: $0).map(\.traceID) }
    #expect(traces == [[traceID(1), traceID(3)], [traceID(2)]])
    #expect(broker.outputs(to: .decisions).isEmpty)
    let written = try #require(broker.steps.lastIndex(of: .wrote(.verdicts)))
    let committed = try #require(
      broker.steps.firstIndex { step in
        if case .committed(let points) = step { points[PartitionID(0)] == 2 } else { false }
      })
    #expect(written < committed)
    let counts = lane.snapshot().lane
    #expect(counts.ledgerTraces == 3 && counts.decisions == 0)
    #expect(counts.ledgerBytes == UInt64(pages.reduce(0) { $0 + ($1.value?.count ?? 0) }))
  }

  /// What was not committed is decided again: its page must not remain.
  @Test func anAbortTakesTheLedgerAlong() throws {
    let broker = broker()
    let link = MemoryLink(broker, assigned: 2)
    let lane = lane(link)
    for second in [0.0, 1, 2] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    link.commitErrors = [BrokerError(.abort, "no")]
    try lane.step(at: moment(at(9)), timeout: .seconds(0))
    #expect(broker.steps.contains(.aborted))
    let before = broker.outputs(to: .verdicts).count
    for second in 10..<30 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    let again = try broker.outputs(to: .verdicts).dropFirst(before).flatMap { try verdicts(in: $0) }
    #expect(Set(again.map(\.traceID)) == Set([1, 2, 3].map(traceID)) && again.count == 3)
  }

  /// A commit without an answer is finished before anything else is written.
  @Test func anUnfinishedCommitHasItsPageAlready() throws {
    let broker = broker()
    let link = MemoryLink(broker, assigned: 2)
    let lane = lane(link)
    for second in [0.0, 1, 2] { try lane.step(at: moment(at(second)), timeout: .seconds(0)) }
    link.commitErrors = [BrokerError(.retry, "no answer")]
    link.isCommitting = true
    #expect(throws: BrokerError.self) { try lane.step(at: moment(at(9)), timeout: .seconds(0)) }
    let pages = broker.outputs(to: .verdicts).count
    let steps = broker.steps.count
    link.isCommitting = false
    try lane.step(at: moment(at(10)), timeout: .seconds(0))
    guard case .committed = broker.steps[steps] else {
      Issue.record("\(broker.steps[steps...])")
      return
    }
    #expect(broker.outputs(to: .verdicts).count == pages)
  }

  @Test func damageIsReportedAndCounted() throws {
    let broker = broker()
    broker.points[PartitionID(0)] = CommitPoint(
      safeOffset: Offset(0), clockAtSafeOffset: at(0), highWater: Offset(1), clock: at(0))
    let link = MemoryLink(broker, assigned: 1)
    var found: LedgerError?
    let page: [UInt8] = [0x54, 0x52, 0x4c, 9]
    do throws(VerdictRecordError) {
      try page.withRawBytes { (page) throws(VerdictRecordError) in try RestoredVerdict.read(page) { _ in } }
    } catch {
      if case .page(let damage) = error { found = damage }
    }
    let damage = LedgerDamage(pages: 2, firstOffset: 7, firstError: try #require(found))
    link.tails = [([], .read(isWhole: false, damage: damage))]
    var told: [LedgerDamage] = []
    let lane = lane(link) { event in if case .ledgerDamaged(_, let damage) = event { told.append(damage) } }
    for second in 0..<3 { try lane.step(at: moment(at(Double(second))), timeout: .seconds(0)) }
    #expect(told == [damage])
    #expect(lane.snapshot().lane.ledgerPagesUnreadable == 2)
    #expect(lane.snapshot().partitions == [PartitionID(0)], "the partition is read all the same")
  }
}
