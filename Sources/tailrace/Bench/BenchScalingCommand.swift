// tailrace bench-scaling: what a span costs as the work grows.

import ArgumentParser
import Files
import Foundation
import Pipeline
import Sampling
import Simulation
import SpanStorage
import Topology

struct BenchScalingCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench-scaling",
    abstract: "Measure what a span costs the core as the work grows.",
    discussion: """
      One quantity grows at a time: spans in a trace, open traces, services, policies, spans in a record. \
      Each point is the core in steady state, as in `tailrace bench`, in processor time of its thread. \
      The relative cost is that of a span against the first point of its sweep.
      """)

  @Option(name: .long, help: "Grow only this; repeatable.")
  var sweep: [ScalingSweep] = []

  @Option(
    name: .long, help: "Measure only at this value; repeatable, the first is the baseline.")
  var value: [Int] = []

  @Option(name: .long, help: "Measured passes per point, of half a million spans each; the median counts.")
  var passes = 5

  @Option(
    name: .long, help: "Leave out points that need more memory, such as 8GiB. Default: free memory.")
  var memory: String?

  @Option(name: .long, help: "Where to write the points as CSV, for a plot.")
  var csv: String?

  @Flag(help: "Small values, as a smoke test; the figures mean nothing.")
  var quick = false

  @Flag(help: "Print the figures as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard (1...100_000).contains(passes) else { throw ValidationError("--passes is from 1 to 100000") }
    let sweeps = sweep.isEmpty ? ScalingSweep.allCases : sweep
    for value in value {
      guard let broken = sweeps.first(where: { !(1...$0.valueMax).contains(value) }) else { continue }
      throw ValidationError("--value: \(broken.name) are 1 to \(broken.valueMax)")
    }
    if let memory, ByteSizeText.parse(memory) == nil {
      throw ValidationError("--memory is a number of bytes, such as 8GiB")
    }
  }

  mutating func run() throws {
    let files = CommandFiles(outputs: [("--csv", csv)])
    try files.check()
    // Fail before hours of measuring if the file can't be written.
    let file = try csv.map { try OutputFile(path: $0) }
    let limit = memory.flatMap(ByteSizeText.parse) ?? ResidentMemory.available
    var report = ScalingReport(memoryBytesMax: limit, sweeps: [])
    let sweeps = ScalingSweep.allCases.filter { self.sweep.isEmpty || self.sweep.contains($0) }
    let points = sweeps.reduce(0) { $0 + values(of: $1).count }
    let line = Progress("points", total: points, progress)
    var done = 0
    for sweep in sweeps {
      report.sweeps.append(
        try measure(sweep, limit: limit) { value in
          line.show(done, "\(sweep.name) \(value)")
          done += 1
        })
    }
    line.end()
    try file?.write(Array(report.csv.utf8))
    try file?.finish()
    try files.report(json ? ReportJSON.encode(report) : report.text)
  }

  private func values(of sweep: ScalingSweep) -> [Int] {
    value.isEmpty ? sweep.values(isQuick: quick) : value
  }

  /// Measures each point of a sweep, after calling `begin`.
  private func measure(
    _ sweep: ScalingSweep, limit: Int, begin: (Int) -> Void
  ) throws -> ScalingReport.Sweep {
    var result = ScalingReport.Sweep(quantity: sweep)
    for value in values(of: sweep) {
      begin(value)
      let work = sweep.work(at: value, isQuick: quick)
      var corpus = try BenchCorpus(generating: work.options, traces: work.corpusTraces)
      corpus.spansPerPass = quick ? 1 : corpus.spansPerPass
      let needed = ScalingReport.memoryNeeded(work, corpus)
      guard needed <= limit else {
        result.leftOut.append(ScalingReport.LeftOut(value: value, bytesNeeded: needed))
        continue
      }
      let core = CoreBench.run(
        &corpus, work.configuration, SpanMemory(), openTraces: work.openTraces, passes: passes)
      result.points.append(
        ScalingReport.Point(
          value: value, core, corpus, relativeTo: result.points.first?.nanosecondsPerSpan))
    }
    return result
  }
}

extension ScalingSweep: ExpressibleByArgument {}

/// The results of the sweeps.
struct ScalingReport: Encodable {
  /// The memory that a point may take.
  var memoryBytesMax: Int
  var sweeps: [Sweep]

  /// One quantity's points, in its order.
  struct Sweep: Encodable {
    var quantity: ScalingSweep
    var points: [Point] = []
    var leftOut: [LeftOut] = []
  }

  struct Point: Encodable {
    var value: Int
    var spansPerSecond: Double
    var nanosecondsPerSpan: Double
    /// The cost of a span relative to the sweep's first point.
    var relativeCost: Double
    var bytesPerOpenTrace: Double
    var openTraces: Int
    var spansPerRecord: Double
    var bytesPerSpan: Double

    init(
      value: Int, _ core: BenchReport.Core, _ corpus: borrowing BenchCorpus, relativeTo first: Double?
    ) {
      self.value = value
      spansPerSecond = core.spansPerSecond
      nanosecondsPerSpan = 1e9 / core.spansPerSecond
      relativeCost = nanosecondsPerSpan / (first ?? nanosecondsPerSpan)
      bytesPerOpenTrace = core.bytesPerOpenTrace
      openTraces = core.openTraces
      spansPerRecord = Double(corpus.spanCount) / Double(corpus.records.count)
      bytesPerSpan = Double(corpus.bytes.count) / Double(corpus.spanCount)
    }
  }

  /// A point that needs more memory than is allowed.
  struct LeftOut: Encodable {
    var value: Int
    var bytesNeeded: Int
  }

  /// The most that a point takes: spans plus a fifth, and tables and verdicts that have just doubled.
  /// Verdicts are those of the passes, at most 16 million.
  static func memoryNeeded(_ work: ScalingWork, _ corpus: borrowing BenchCorpus) -> Int {
    let bytesPerTrace = Double(corpus.bytes.count) / Double(corpus.traceCount)
    let verdicts = min(16_000_000, 4 * work.openTraces)
    return Int(Double(work.openTraces) * (1.2 * bytesPerTrace + 800)) + 96 * verdicts
  }

  var text: String {
    var lines = [
      "quantity              value   spans/s  ns a span  relative  bytes an   spans a  bytes a      open",
      "                              million                cost  open trace   record     span    traces",
    ]
    for sweep in sweeps {
      for point in sweep.points {
        lines.append(
          sweep.quantity.name.padding(toLength: 16, withPad: " ", startingAt: 0)
            + String(
              format: "%11d %9.2f %10.0f %9.2f %11.0f %8.1f %8.0f %9d", point.value,
              point.spansPerSecond / 1e6, point.nanosecondsPerSpan, point.relativeCost,
              point.bytesPerOpenTrace, point.spansPerRecord, point.bytesPerSpan, point.openTraces))
      }
      for point in sweep.leftOut {
        lines.append(
          sweep.quantity.name.padding(toLength: 16, withPad: " ", startingAt: 0)
            + String(
              format: "%11d  left out: takes up to %.1f GB of %.1f GB allowed", point.value,
              Double(point.bytesNeeded) / 1e9, Double(memoryBytesMax) / 1e9))
      }
    }
    return lines.joined(separator: "\n")
  }

  /// A row for each point.
  var csv: String {
    let rows = sweeps.flatMap { sweep in
      sweep.points.map { point in
        [sweep.quantity.name, String(point.value)]
          + [
            point.spansPerSecond, point.nanosecondsPerSpan, point.relativeCost, point.bytesPerOpenTrace,
            Double(point.openTraces), point.spansPerRecord, point.bytesPerSpan,
          ].map { String(format: "%.10g", $0) }
      }
    }
    return CSVText.encode(
      header: [
        "quantity", "value", "spans/s", "ns a span", "relative cost", "bytes an open trace", "open traces",
        "spans a record", "bytes a span",
      ],
      rows: rows)
  }
}
