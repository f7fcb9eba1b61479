// tailrace simulate: the production lanes over a virtual Kafka with faults, checked by an auditor.

import ArgumentParser
import Foundation
import Simulation

struct SimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract: "Run workers over a virtual Kafka with faults, and check their output.",
    discussion: """
      One seed decides everything: traffic, faults and their order. An auditor that knows the truth of \
      the traffic checks what was committed: every error and slow trace kept whole, exactly once; one \
      verdict per trace; no offset committed past an undecided span. The same seed gives the same hash. \
      Exits with 1 if the auditor objects.
      """)

  @Option(name: .long, help: "The first seed.")
  var seed: UInt64 = 1

  @Option(name: .long, help: "Number of consecutive seeds.")
  var seeds: UInt64 = 1

  @Option(name: .long, help: "Maximum steps with faults in each run.")
  var steps = 4000

  @Option(
    name: .long,
    help: "A bug to inject: \(Mutant.allCases.map(\.rawValue).joined(separator: ", ")).")
  var mutant: String?

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard seeds >= 1, seeds <= UInt64(Int.max), seed <= .max - seeds else {
      throw ValidationError("--seeds must be positive, and --seed plus --seeds at most 2^64")
    }
  }

  mutating func run() throws {
    let bug = try mutant.map { name in
      guard let bug = Mutant(rawValue: name) else {
        throw CommandFailure.misconfigured(
          "--mutant: '\(name)' is not one of \(Mutant.allCases.map(\.rawValue))")
      }
      return bug
    }
    var total = FaultCounts()
    var failed: [UInt64] = []
    var longestRecovery: Int64 = 0
    var recalled = 0
    let line = Progress("seeds", total: Int(seeds), progress)
    for number in seed..<seed + seeds {
      let report = Simulation(seed: number, mutant: bug).run(stepsMax: steps)
      total.add(report.faults)
      recalled += report.recalled
      longestRecovery = max(longestRecovery, report.longestRecovery)
      if !report.objections.isEmpty { failed.append(number) }
      if seeds == 1 || !report.objections.isEmpty {
        line.end()
        try show(report)
      }
      line.show(Int(number - seed) + 1)
    }
    line.end()
    if seeds > 1 {
      try StandardOutput.writeLine(
        "\(seeds) seeds, \(failed.count) failed; \(recalled) traces recalled; "
          + "longest recovery \(longestRecovery / 1_000_000) ms of simulated time"
      )
      try StandardOutput.writeLine("faults: \(total.text)")
    }
    if !failed.isEmpty { throw CommandFailure.failed("the auditor objects to seeds \(failed.prefix(20))") }
  }

  private func show(_ report: SimulationReport) throws {
    try StandardOutput.writeLine(
      "seed \(report.seed): \(report.steps) steps, \(report.kept) of \(report.traces) traces kept "
        + "(\(report.recalled) recalled), hash \(String(report.hash, radix: 16)), "
        + "\(report.objections.count) objections; " + report.faults.text
    )
    for objection in report.objections { try StandardOutput.writeLine("  \(objection)") }
  }
}

extension FaultCounts {
  var text: String {
    "\(crashes) crashes (\(tornCommits) in a commit, \(unknownCommits) after one), \(stops) stops, "
      + "\(freezes) freezes, \(commitFailures) failed commits, \(requestFailures) failed requests, "
      + "\(lateRequests) late requests, \(outages) outages, \(stalls) stalls, \(clockJumps) clock jumps, "
      + "\(reloads) reloads, \(rebalances) rebalances"
  }

  mutating func add(_ other: FaultCounts) {
    crashes += other.crashes
    stops += other.stops
    freezes += other.freezes
    commitFailures += other.commitFailures
    tornCommits += other.tornCommits
    unknownCommits += other.unknownCommits
    requestFailures += other.requestFailures
    clockJumps += other.clockJumps
    stalls += other.stalls
    lateRequests += other.lateRequests
    outages += other.outages
    reloads += other.reloads
    rebalances += other.rebalances
  }
}
