// tailrace plan-capacity: cores, memory, partitions, pods and network for a fleet, with the arithmetic.

import ArgumentParser
import Foundation
import Pipeline
import Topology

struct PlanCapacityCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan-capacity",
    abstract: "Compute what a fleet needs, line by line: cores, memory, partitions, pods, network.",
    discussion: """
      Arithmetic on figures measured on one machine; --coefficients shows each with its source, and --set \
      replaces one with your own. Shares are from 0 to 1. Plan for the peak hour of the year.
      """)

  @Option(name: .long, help: "Requests per second; each is a trace.")
  var requestsPerSecond: Double

  @Option(name: .long, help: "Spans per trace, on average.")
  var spansPerTrace = CapacityTraffic().spansPerTrace

  @Option(
    name: .long,
    help: "Spans per record, on average; 3.8 if not given, or --spans-per-trace if that is less.")
  var spansPerRecord: Double?

  @Option(name: .long, help: "Bytes of a span with its share of resource and scope, on average.")
  var spanBytes = CapacityTraffic().spanBytes

  @Option(name: .long, help: "windows.decision_wait, such as 35s.")
  var decisionWait = "35s"

  @Option(name: .long, help: "windows.decision_wait_after_root.")
  var decisionWaitAfterRoot = "5s"

  @Option(name: .long, help: "windows.late_window.")
  var lateWindow = "10m"

  @Option(name: .long, help: "From a trace's first span to its root, on average.")
  var traceDuration = "1s"

  @Option(
    name: .long,
    help: "Share of traces that wait longest: no root, a parent missing, asynchronous, or only a root."
  )
  var incompleteShare = CapacityTraffic().incompleteShare

  @Option(name: .long, help: "Share of traces with an error.")
  var errorShare = CapacityTraffic().errorShare

  @Option(name: .long, help: "Share of slow traces.")
  var slowShare = CapacityTraffic().slowShare

  @Option(name: .long, help: "Share of the other traces to keep.")
  var baselineShare = CapacityTraffic().baselineShare

  @Option(name: .long, help: "Compression ratio of records; 1 without compression.")
  var compression = CapacityTraffic().compression

  @Option(name: .long, help: "Replicas of each topic.")
  var replication = 3

  @Option(name: .long, help: "How long `spans` is kept.")
  var retention = "6h"

  @Option(name: .long, help: "Lanes per pod.")
  var lanes = 1

  @Option(name: .long, help: "Replaces a coefficient, such as utilisation=0.5; may be repeated.")
  var set: [String] = []

  @Flag(help: "Also print the coefficients, with their sources.")
  var coefficients = false

  @Flag(help: "Print the plan as JSON.")
  var json = false

  func validate() throws {
    for (name, value) in [
      ("requests-per-second", requestsPerSecond), ("spans-per-trace", spansPerTrace),
      ("spans-per-record", spansPerRecord ?? 1), ("span-bytes", spanBytes), ("compression", compression),
    ] {
      guard value > 0, value <= 1e12 else {
        throw ValidationError("--\(name) must be above 0, and at most 1e12")
      }
    }
    for (name, share) in [
      ("incomplete-share", incompleteShare), ("error-share", errorShare), ("slow-share", slowShare),
      ("baseline-share", baselineShare),
    ] {
      guard (0...1).contains(share) else { throw ValidationError("--\(name) is a share from 0 to 1") }
    }
    guard (1...100).contains(replication), (1...64).contains(lanes) else {
      throw ValidationError("--replication is 1 to 100, --lanes 1 to 64")
    }
    _ = try traffic()
    _ = try chosenCoefficients()
  }

  mutating func run() throws {
    let coefficients = try chosenCoefficients()
    let plan = CapacityPlan(try traffic(), coefficients)
    if json {
      try StandardOutput.writeLine(
        ReportJSON.encode(CapacityReport(plan: plan, coefficients: coefficients.all)))
    } else {
      try StandardOutput.writeLine(self.coefficients ? "\(plan.text)\n\n\(coefficients.text)" : plan.text)
    }
  }

  private func traffic() throws -> CapacityTraffic {
    var traffic = CapacityTraffic()
    traffic.requestsPerSecond = requestsPerSecond
    traffic.spansPerTrace = spansPerTrace
    traffic.spansPerRecord = spansPerRecord ?? min(traffic.spansPerRecord, spansPerTrace)
    traffic.spanBytes = spanBytes
    traffic.decisionWait = try seconds(decisionWait, "decision-wait")
    traffic.decisionWaitAfterRoot = try seconds(decisionWaitAfterRoot, "decision-wait-after-root")
    traffic.traceDuration = try seconds(traceDuration, "trace-duration")
    traffic.lateWindow = try seconds(lateWindow, "late-window")
    traffic.incompleteShare = incompleteShare
    traffic.errorShare = errorShare
    traffic.slowShare = slowShare
    traffic.baselineShare = baselineShare
    traffic.compression = compression
    traffic.replication = Double(replication)
    traffic.retentionHours = try seconds(retention, "retention") / 3600
    traffic.lanes = Double(lanes)
    return traffic
  }

  private func seconds(_ text: String, _ option: String) throws -> Double {
    guard let duration = DurationText.parse(text) else {
      throw ValidationError("--\(option) is a duration, such as 30s or 1m30s")
    }
    return duration.inSeconds
  }

  private func chosenCoefficients() throws -> CapacityCoefficients {
    var chosen = CapacityCoefficients()
    for text in set {
      let parts = text.split(separator: "=", maxSplits: 1)
      guard parts.count == 2, let value = Double(parts[1]), value.isFinite, value > 0 else {
        throw ValidationError("--set \(text): a name and a positive number, such as utilisation=0.5")
      }
      guard chosen.set(String(parts[0]), to: value) else {
        let names = chosen.all.map(\.name).joined(separator: ", ")
        throw ValidationError("--set \(text): no such coefficient; there are \(names)")
      }
    }
    return chosen
  }
}

/// A plan and its coefficients.
private struct CapacityReport: Encodable {
  var plan: CapacityPlan
  var coefficients: [CapacityCoefficient]
}
