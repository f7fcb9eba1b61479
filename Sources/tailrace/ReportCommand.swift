// tailrace report: a simulated day of the adaptive baseline, in figures.

import ArgumentParser
import Files
import Foundation
import Pipeline
import Sampling
import Simulation

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Simulate a day under the adaptive baseline: budget, rates and coverage.",
    discussion: """
      A thousand services with Zipf-distributed traffic, load that doubles and halves, a new service and an \
      outage. It runs the fleet's own counts, records and controller, on counts instead of traces. \
      Exits with 1 if the budget is missed by a tenth in any ten minutes outside the outage, or a service \
      with traffic is not seen in ten minutes.
      """)

  @Option(name: .shortAndLong, help: "Where to write each interval's figures, as CSV.")
  var output = "baseline-day.csv"

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
    // Fail before the simulation if the figures can't be written.
    let file = try OutputFile(path: output)
    let line = Progress("intervals", total: intervals, progress)
    let report = BaselineDay.run(options) { line.show($0) }
    line.end()
    try file.write(Array(csv(report, options).utf8))
    try file.finish()
    let kept = report.intervals.reduce(0) { $0 + $1.forcedSpans + $1.baselineSpans }
    let budget = report.intervals.reduce(0) { $0 + $1.budgetSpans }
    let deviations = (report.estimatedTraces - report.traces) / report.estimateDeviation
    try files.report(
      """
      intervals            \(intervals), \(services) services, \(partitions) partitions
      budget               kept \(text(kept / budget, 3)) of it; off by at most \
      \(text(100 * report.deviationMax, 1)) % in any ten minutes outside the outage
      coverage             \(report.unseen) times a service with traffic was not seen in ten minutes
      new service          seen after \(report.newServiceIntervals) intervals
      counts scaled up     \(text(deviations, 2)) standard deviations off; \(report.servicesFarOff) services \
      outside their 99 % interval
      figures              \(output)
      """)
    guard report.deviationMax < 0.1, report.unseen == 0 else {
      throw CommandFailure.failed("the baseline missed its targets")
    }
  }

  /// A row for each interval. An event appears in the row of the interval in which it begins.
  private func csv(_ report: BaselineDayReport, _ options: BaselineDayOptions) -> String {
    let seconds = Double(options.configuration.interval.nanoseconds) / 1e9
    let events = [
      options.newServiceStart: "new service", options.outage.lowerBound: "outage",
      options.surge.lowerBound: "tenfold load of one",
    ]
    let header = [
      "hour", "event", "spans/s arriving", "spans/s kept", "spans/s kept for their own sake",
      "spans/s of budget", "services with traffic", "services with none of it kept",
    ]
    return CSVText.encode(
      header: header + report.watched.map { "rate of \($0)" },
      rows: report.intervals.enumerated().map { number, interval in
        let spans = [
          interval.decidedSpans, interval.forcedSpans + interval.baselineSpans, interval.forcedSpans,
          interval.budgetSpans,
        ]
        let services = [interval.servicesActive, interval.servicesActive - interval.servicesSeen]
        return [text(Double(number) * 24 / Double(report.intervals.count), 4), events[number] ?? ""]
          + spans.map { text($0 / seconds, 1) } + services.map(String.init)
          + interval.rates.map { String($0) }
      })
  }

  private func text(_ value: Double, _ digits: Int) -> String {
    String(format: "%.\(digits)f", value)
  }
}
