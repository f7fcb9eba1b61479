// The production lanes over a virtual Kafka: a bounded share of `make simulate`, and the proof that the
// auditor detects faults.

import Simulation
import Testing

struct SimulatedRunTests {
  @Test(arguments: [1, 11, 21, 31])
  func nothingIsLostTwiceOrSplit(_ first: Int) {
    for seed in first..<first + 10 {
      let report = Simulation(seed: UInt64(seed)).run()
      #expect(report.objections == [], "seed \(seed)")
    }
  }

  /// Seeds that once failed. 3: a commit made during recovery forgot how far the last owner had read. 937: a
  /// verdict given during recovery hid spans that arrived after it. 2778: a member continued with partitions
  /// that it had lost before resuming them. 874: an abort met an unfinished commit, forever. 10: a stream
  /// clock was ahead of the wall clock, and minutes later a new owner did not look far enough back for
  /// verdicts. 100236: a commit that could not be finished was retried without a pause. 5: replayed records
  /// with a wrong clock were mistaken for records after a silence, and the stream clock began where it had
  /// never been. 48: while a stream clock stood still, its lead over the wall clock shrank, and verdicts were
  /// looked for where there were none. 950516: a clock that was set back kept steps that it had made while it
  /// was ahead, and what was decided afterwards was forgotten by them. 950069: the auditor wanted the logs of
  /// a trace that chance had kept at first and then, as it was decided again without transactions, dropped.
  @Test(arguments: [3, 937, 2778, 874, 10, 100236, 5, 48, 950_516, 950_069] as [UInt64])
  func whatWasRedStaysGreen(_ seed: UInt64) {
    #expect(Simulation(seed: seed).run().objections == [])
  }

  @Test func theSameSeedGivesTheSameOutputs() {
    let first = Simulation(seed: 42).run()
    #expect(Simulation(seed: 42).run() == first)
    #expect(Simulation(seed: 43).run().hash != first.hash)
  }

  @Test func faultsHappen() {
    var crashes = 0
    var rebalances = 0
    var reloads = 0
    var failures = 0
    for seed in 1...15 as ClosedRange<UInt64> {
      let faults = Simulation(seed: seed).run().faults
      crashes += faults.crashes
      rebalances += faults.rebalances
      reloads += faults.reloads
      failures += faults.commitFailures + faults.requestFailures
    }
    #expect(crashes > 0 && rebalances > 0 && failures > 0 && reloads > 0)
  }

  /// An auditor that objects to nothing proves nothing. The first seed to try is the one that was the first
  /// to show the bug when this was written; if it does so no longer, another must.
  @Test(arguments: Mutant.allCases)
  func mutantsAreCaught(_ mutant: Mutant) {
    let known: [Mutant: UInt64] = [
      .forgetLedger: 2, .accountTwice: 3, .forwardEarly: 2, .forgetHighWater: 2, .ignoreDeadlines: 2,
      .forgetRecalls: 11, .recallTwice: 11, .skipLookups: 12, .followerAhead: 3, .ignoreLimits: 5,
      .repeatLogs: 3, .hurryLogs: 17, .skipRecalledLogs: 12, .recountMetrics: 2, .skipMetrics: 2,
      .forgetLinks: 44, .heedShadow: 7, .keepEpoch: 16,
    ]
    let seeds = [known[mutant] ?? 1] + Array(1...100 as ClosedRange<UInt64>)
    #expect(seeds.contains { !Simulation(seed: $0, mutant: mutant).run().objections.isEmpty })
  }
}
