// tailrace bench-console: what the console's index of kept traces takes, in memory and in time.

import ArgumentParser
import Exploration
import OTLP
import Sampling
import Simulation

struct BenchConsoleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench-console",
    abstract: "Measure the console's index: memory per trace, and the times of its answers.",
    shouldDisplay: false)

  @Option(name: .long, help: "Kept traces.")
  var traces = 100_000

  @Option(name: .long, help: "The mean number of their spans.")
  var spansPerTrace = 20.0

  @Option(name: .long, help: "The limit on the index's memory.")
  var memory = MemoryArgument(bytes: 4 << 30)

  func validate() throws {
    guard traces > 0, spansPerTrace >= 1 else { throw ValidationError("there is nothing to measure") }
  }

  mutating func run() throws {
    var index = KeptTraceIndex(bytesMax: memory.bytes)
    var options = WorkloadOptions()
    options.traceCount = traces
    options.spansPerTrace = spansPerTrace
    // An hour, whatever their number.
    options.tracesPerSecond = Double(traces) / 3600
    var workload = Workload(options)
    var (spans, offset) = (0, Int64(0))
    var time = Duration.zero
    while let record = workload.next() {
      offset += 1
      spans += record.spanCount
      let start = ContinuousClock.now
      record.bytes.withRawBytes {
        index.add(
          spans: $0, at: RecordPosition(.sampled, partition: 0, offset: offset), time: record.publishedAt)
      }
      time += ContinuousClock.now - start
      for truth in workload.takeFinishedTruths() {
        let start = ContinuousClock.now
        Self.decision(truth, at: record.publishedAt).withRawBytes {
          index.add(decision: $0, at: RecordPosition(.decisions, partition: 0, offset: offset))
        }
        time += ContinuousClock.now - start
      }
    }
    let perTrace = index.count > 0 ? index.byteCount / index.count : 0
    try StandardOutput.writeLine(
      "\(index.count) traces, \(spans) spans: \(index.byteCount >> 20) MiB, \(perTrace) bytes a trace; "
        + "read at \(Int(Double(spans) / (time / .seconds(1)))) spans a second")
    try measure(index)
  }

  private func measure(_ index: KeptTraceIndex) throws {
    var query = TraceQuery()
    try measure("newest 200") { index.search(query).total }
    query.hasError = true
    query.service = index.serviceNames().first?.name
    try measure("errors of a service") { index.search(query).total }
    query = TraceQuery()
    query.tags = [("no.such", "attribute")]
    try measure("a tag that no trace has") { index.search(query).total }
    query = TraceQuery()
    query.order = .longest
    query.durations = 1_000_000_000...UInt64.max
    try measure("longest over a second") { index.search(query).total }
    let clock = index.clock
    let times = clock - 3600 * 1_000_000_000...clock
    try measure("overview") {
      index.overview(from: times.lowerBound, to: clock, steps: 60).services.count
    }
    try measure("map") { index.map(times).document().bytes.count }
    let service = index.serviceNames().first?.name ?? ""
    try measure("latencies") { index.latencies(of: service, nil, times).bytes.count }
    try measure("services") { index.serviceNames().count }
  }

  /// The median of five.
  private func measure(_ name: String, _ body: () -> Int) throws {
    var results = 0
    let times = (0..<5).map { _ in
      let start = ContinuousClock.now
      results = body()
      return (ContinuousClock.now - start) / .milliseconds(1)
    }
    let tenths = Int(times.sorted()[2] * 10)
    try StandardOutput.writeLine("\(name): \(tenths / 10).\(tenths % 10) ms (\(results))")
  }

  private static func decision(_ truth: TraceTruth, at time: Int64) -> [UInt8] {
    let id = TraceID(high: truth.traceIDHigh, low: truth.traceIDLow)
    var clock: [UInt8] = []
    Instant(nanoseconds: time).appendRFC3339(to: &clock)
    let moment = String(decoding: clock, as: UTF8.self)
    let policy = truth.hasError ? "errors" : truth.isSlow ? "slow" : "baseline"
    var json = JSONText()
    json.object {
      $0.set("trace_id", id.description)
      $0.set("verdict", "keep")
      $0.set("final", true)
      $0.set("policy", policy)
      $0.set("reasons", [policy])
      $0.set("threshold", "0")
      $0.set("span_count", truth.spanCount)
      $0.set("error_count", truth.errorCount)
      $0.set("byte_count", truth.spanCount * 430)
      $0.set("duration_ns", Double(truth.rootDurationNanoseconds ?? 0))
      $0.set("trigger", "root")
      $0.set("late", false)
      $0.set("decided_at", moment)
    }
    return json.bytes
  }
}
