// tailrace plan: what would change if other policies ran, before they do.

import ArgumentParser
import Files
import Foundation
import Pipeline
import Sampling
import Topology

struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Show what a changed topology would keep and drop, on a recording.",
    discussion: """
      Runs both topologies over the recording and compares their verdicts, trace by trace: what is kept by \
      policy and service, before and after, and which traces change. The topology now is a file, or what a \
      worker runs: --against http://HOST:PORT reads its page /configz. Without either it is the defaults.

      Exits with 0 if nothing changes and with 3 if something does.
      """)

  @Argument(help: "The planned topology.")
  var planned: String

  @Argument(help: "The recording: see `tailrace replay --help`.")
  var recording: String

  @Option(
    name: .long,
    help: """
      The topology that it replaces: a file, or a worker as http://HOST:PORT; else the defaults. `-` is \
      standard input.
      """)
  var against: String?

  @Option(name: .long, help: "Where to write the plan as a page of HTML, which needs no other file.")
  var html: String?

  @Flag(help: "Print the plan as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  mutating func run() throws {
    let isWorker = against.map { WorkerPage.isURL($0) } ?? false
    let files = CommandFiles(
      inputs: [
        ("the planned topology", planned), ("the recording", recording),
        ("--against", isWorker ? nil : against),
      ],
      outputs: [("--html", html)])
    try files.check()
    let new = SamplerConfiguration(try TailSamplingTopology.loaded(from: planned))
    let now =
      if isWorker, let against {
        try TailSamplingTopology.loaded(from: WorkerPage(against))
      } else {
        try TailSamplingTopology.loaded(from: against)
      }
    let old = SamplerConfiguration(now)
    let page = try html.map { try OutputFile(path: $0) }
    let reader = try RecordingReader(path: recording)
    let line = Progress("records", progress, isHidden: files.isOnTerminal)
    let path = recording
    var plan = PolicyPlan(old: old, new: new, canReadAgain: path != "-")
    let again = path == "-" ? nil : { try RecordingReader(path: path) }
    let report = try plan.run(reader, again: again) { line.show($0, share: reader.share) }
    line.end()
    guard report.new.records > 0 else {
      throw CommandFailure.failed("\(recording): no record could be read, so there is nothing to compare")
    }
    let text = PlanText(report: report, isReadOnce: path == "-")
    if let page {
      try page.write(Array(PlanPage(text: text).html.utf8))
      try page.finish()
    }
    try files.report(json ? text.json : text.lines.joined(separator: "\n"))
    guard report.hasChanges else { return }
    throw CommandFailure(message: "the plan changes \(text.changedTraces)", exitCode: 3)
  }
}
