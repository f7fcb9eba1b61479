// tailrace report: a simulated day of the adaptive baseline, in figures and as a plot.

import ArgumentParser
import Files
import Foundation
import Pipeline
import Simulation

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Simulate a day under the adaptive baseline, and plot budget, rates and coverage.",
    discussion: """
      A thousand services with Zipf-distributed traffic, load that doubles and halves, a new service and an \
      outage. It runs the fleet's own counts, records and controller, in counts instead of traces. \
      Exits with 1 if the budget is missed by a tenth in any ten minutes outside the outage, or a service \
      with traffic is not seen in ten minutes.
      """)

  @Option(name: .shortAndLong, help: "Where to write the plot, an SVG.")
  var output = "baseline-day.svg"

  @Option(name: .long, help: "Intervals of ten seconds; 8640 are a day.")
  var intervals = 8640

  @Option(name: .long, help: "Services with traffic.")
  var services = 1000

  @Option(name: .long, help: "Partitions of the topic.")
  var partitions = 2

  @Option(name: .long, help: "The seed.")
  var seed: UInt64 = 1

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard (240...1_000_000).contains(intervals), (1...100_000).contains(services),
      (1...10_000).contains(partitions)
    else {
      throw ValidationError(
        "--intervals is from 240 to 1000000, --services from 1 to 100000, --partitions from 1 to 10000")
    }
  }

  mutating func run() throws {
    var options = BaselineDayOptions()
    options.intervals = intervals
    options.services = services
    options.partitions = partitions
    options.seed = seed
    let files = CommandFiles(outputs: [("--output", output)])
    try files.check()
    // Whether the plot can be written is known before the day has been simulated.
    let file = try OutputFile(path: output)
    let line = Progress("intervals", total: intervals, progress)
    let report = BaselineDay.run(options) { line.show($0) }
    line.end()
    try file.write(Array(report.plot(BaselineDay(options)).svg().utf8))
    try file.finish()
    let kept = report.intervals.reduce(0) { $0 + $1.forcedSpans + $1.baselineSpans }
    let budget = report.intervals.reduce(0) { $0 + $1.budgetSpans }
    let deviations = (report.estimatedTraces - report.traces) / report.estimateDeviation
    try files.report(
      """
      intervals            \(intervals), \(services) services, \(partitions) partitions
      budget               kept \(text(kept / budget, 3)) of it; in ten minutes off by \
      \(text(100 * report.deviationMax, 1)) % at the most, outside the outage
      coverage             \(report.unseen) times a service with traffic was not seen in ten minutes
      new service          seen after \(report.newServiceIntervals) intervals
      counts scaled up     \(text(deviations, 2)) standard deviations off; \(report.servicesFarOff) services \
      outside their 99 % interval
      plot                 \(output)
      """)
    guard report.deviationMax < 0.1, report.unseen == 0 else {
      throw CommandFailure.failed("the baseline does not do what it promises")
    }
  }

  private func text(_ value: Double, _ digits: Int) -> String {
    String(format: "%.\(digits)f", value)
  }
}
