// tailrace report: what topologies keep of a recording, or a simulated day of the adaptive baseline, in
// figures.

import ArgumentParser
import Files
import Foundation
import Pipeline
import Sampling
import Simulation
import Topology

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Report what topologies keep of a recording, or simulate a day under the adaptive baseline.",
    discussion: """
      With --recording: for each topology, without any for the defaults, the share of traces and spans \
      kept, the shapes of traces, services and operations seen in them, and whether counts scaled up by the \
      weights hold. Exits with 1 if no record can be read.

      Without it, a simulated day: a thousand services with Zipf-distributed traffic, load that doubles and \
      halves, a new service and an outage. It runs the fleet's own counts, records and controller, on counts \
      instead of traces. Exits with 1 if the budget is missed by a tenth in any ten minutes outside the \
      outage, or a service with traffic is not seen in ten minutes.
      """)

  @Argument(help: "With --recording: the topologies to compare.")
  var topologies: [String] = []

  @Option(name: .long, help: "Report on this recording: see `tailrace replay --help`.")
  var recording: String?

  @Option(name: .long, help: "With --recording: shapes of less than so many percent of traces are rare.")
  var rare = 0.1

  @Flag(help: "With --recording: print the report as JSON.")
  var json = false

  @Option(
    name: .shortAndLong,
    help: "Where to write each interval's figures, as CSV. (default: baseline-day.csv)")
  var output: String?

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
    guard recording != nil || (topologies.isEmpty && !json) else {
      throw ValidationError("topologies and --json are for a --recording")
    }
    guard recording == nil || output == nil else {
      throw ValidationError("--output is for the simulated day, not for a --recording")
    }
    guard topologies.count <= ReportCommand.topologiesMax else {
      throw ValidationError("at most \(ReportCommand.topologiesMax) topologies are compared")
    }
    guard rare >= 0, rare <= 100 else { throw ValidationError("--rare is from 0 to 100") }
    guard (240...1_000_000).contains(intervals), (1...100_000).contains(services),
      (1...10_000).contains(partitions)
    else {
      throw ValidationError(
        "--intervals is from 240 to 1000000, --services from 1 to 100000, --partitions from 1 to 10000")
    }
  }

  /// Each has a replay of its own.
  private static let topologiesMax = 16

  mutating func run() throws {
    if let recording { return try report(on: recording) }
    try simulateDay(output ?? "baseline-day.csv")
  }

  private func report(on recording: String) throws {
    let inputs = topologies.map { ("a topology", Optional($0)) }
    let files = CommandFiles(inputs: inputs + [("the recording", recording)], outputs: [])
    try files.check()
    let names = topologies.isEmpty ? ["(defaults)"] : topologies
    let configurations =
      try topologies.isEmpty
      ? [SamplerConfiguration(TailSamplingTopology.loaded(from: nil))]
      : topologies.map { SamplerConfiguration(try TailSamplingTopology.loaded(from: $0)) }
    let reader = try RecordingReader(path: recording)
    let line = Progress("records", progress, isHidden: files.isOnTerminal)
    var study = CoverageStudy(configurations, rareShare: rare / 100, canReadAgain: recording != "-")
    let again = recording == "-" ? nil : { try RecordingReader(path: recording) }
    let report = try study.run(reader, again: again) { line.show($0, share: reader.share) }
    line.end()
    guard report.candidates.contains(where: { $0.replay.records > 0 }) else {
      throw CommandFailure.failed("\(recording): no record could be read, so there is nothing to report")
    }
    let text = CoverageText(
      report: report, names: names, budgets: configurations.map { $0.baseline?.budget },
      isReadOnce: recording == "-")
    try files.report(json ? text.json : text.lines.joined(separator: "\n"))
  }

  private func simulateDay(_ output: String) throws {
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
