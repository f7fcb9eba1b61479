// tailrace generate: traffic with known truth, as a recording or onto a topic.

import ArgumentParser
import Foundation
import Kafka
import OTLP
import Pipeline
import Simulation

struct GenerateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Generate distributed traces with known truth.",
    discussion: """
      Services call services; some traces fail, some are slow, some continue over a queue, clocks are \
      off by up to ten milliseconds, and some spans arrive late. The same seed and options give the \
      same bytes.

      With --live, traffic is published in real time: --rate traces start per second, until --traces \
      have started or until Ctrl-C. Then the rest of the started traces is published at once.
      """)

  @Option(name: .shortAndLong, help: "The recording to write; compressed if the name ends in .zst.")
  var output: String?

  @Option(
    name: .long,
    help: "The topic to publish to, keyed by trace id; without --live as fast as the brokers accept.")
  var topic: String?

  @Option(name: .long, help: "The brokers of --topic.")
  var brokers = "127.0.0.1:9092"

  @Flag(name: .long, help: "Publish to --topic in real time, at --rate.")
  var live = false

  @Option(name: .long, help: "How long to wait for the brokers and the topic, such as 30s or 5m.")
  var wait = TimeArgument(seconds: 30)

  @Option(name: .long, help: "Where to write the truth about the traces, one line of JSON per trace.")
  var truth: String?

  @OptionGroup var traffic: TrafficOptions

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard output != nil || topic != nil else {
      throw ValidationError("name a recording with --output, or a topic with --topic")
    }
    if live, topic == nil { throw ValidationError("--live is for a topic: name one with --topic") }
  }

  mutating func run() throws {
    let files = CommandFiles(outputs: [("--output", output), ("--truth", truth)])
    try files.check()
    do {
      try generate(files)
    } catch let error as KafkaError {
      throw CommandFailure.failed("topic '\(topic ?? "")': \(error)")
    }
  }

  private func generate(_ files: CommandFiles) throws {
    let publisher = try topic.map { try TopicPublisher($0, brokers: brokers, wait: wait.duration) }
    var options = traffic.options
    if live { options.traceCount = traffic.traces }
    // Brokers delete records older than their topic's retention, so published traffic starts now.
    if publisher != nil { options.startNanoseconds = Int64(Date().timeIntervalSince1970 * 1e9) }
    var run = GeneratorRun(
      recording: try output.map { try RecordingWriter(path: $0) }, publisher: publisher,
      truths: try truth.map { try LineWriter(path: $0) },
      progress: Progress(
        "traces", total: live ? traffic.traces : options.traceCount, progress, isHidden: files.isOnTerminal))
    if live { try run.keepPace(options) } else { try run.generate(options) }
    let targets = [output, topic].compactMap { $0 }
    try files.report(targets.map { "\($0): \(run.summary)" }.joined(separator: "\n"))
  }
}

/// One run of the generator: its outputs and its counts.
private struct GeneratorRun {
  let recording: RecordingWriter?
  let publisher: TopicPublisher?
  let truths: LineWriter?
  private let progress: Progress
  private var traces = 0
  private var spans = 0
  private var records = 0
  private var bytes = 0
  /// How long it took, if live.
  private var elapsed: Duration?

  init(recording: RecordingWriter?, publisher: TopicPublisher?, truths: LineWriter?, progress: Progress) {
    self.recording = recording
    self.publisher = publisher
    self.truths = truths
    self.progress = progress
  }

  /// As fast as possible.
  mutating func generate(_ options: WorkloadOptions) throws {
    var workload = Workload(options)
    while let record = workload.next() {
      try put(record, &workload)
      progress.show(traces)
    }
    try finish()
    progress.end()
  }

  /// Each record when it is due, until there are no more or a signal arrives.
  mutating func keepPace(_ options: WorkloadOptions) throws {
    let stop = StopFlag()
    let signals = Signals.stopping({ StandardError.write("\($0)\n") }) { stop.set() }
    defer { signals.cancel() }
    var workload = Workload(options)
    var pace = LivePace(startNanoseconds: options.startNanoseconds, stop: stop)
    var isEnding = false
    while let record = workload.next() {
      try pace.wait(until: record.publishedAt) { try publisher?.checkDeliveries() }
      if stop.isSet, !isEnding {
        isEnding = true
        workload.finish()
      }
      try put(record, &workload)
      progress.show(traces, "\(spans) spans")
    }
    progress.end()
    elapsed = pace.elapsed
    try finish()
    let seconds = pace.behindMost / .seconds(1)
    if seconds >= 1 {
      StandardError.write("records were sent up to \(String(format: "%.1f", seconds)) s late\n")
    }
  }

  private mutating func put(_ record: WorkloadRecord, _ workload: inout Workload) throws {
    try recording?.append(record.bytes)
    try publisher?.publish(record)
    records += 1
    spans += record.spanCount
    bytes += record.bytes.count
    for truth in workload.takeFinishedTruths() {
      traces += 1
      try truths?.append(try ReportJSON.line(TruthLine(truth)))
    }
  }

  private func finish() throws {
    try recording?.complete()
    try truths?.flush()
    try publisher?.finish()
    try recording?.finish()
    try truths?.finish()
  }

  var summary: String {
    let counts = "\(traces) traces, \(spans) spans in \(records) records, \(bytes) bytes"
    guard let elapsed else { return counts }
    let seconds = max(elapsed / .seconds(1), 0.001)
    return counts + String(format: " in %.1f s, %.1f traces/s", seconds, Double(traces) / seconds)
  }
}

/// The traffic to generate; shared by the commands that generate some.
struct TrafficOptions: ParsableArguments {
  @Option(name: .long, help: "The seed: the same seed gives the same traffic.")
  var seed: UInt64 = 1

  @Option(name: .long, help: "Number of traces; 1000 unless traffic is live.")
  var traces: Int?

  @Option(name: .long, help: "Traces per second of the traffic's own time.")
  var rate = 100.0

  @Option(name: .long, help: "Number of services.")
  var services = 12

  @Option(name: .long, help: "Spans per trace, on average.")
  var spansPerTrace = 50.0

  @Option(name: .long, help: "Share of traces with an error, from 0 to 1.")
  var errors = 0.01

  @Option(name: .long, help: "Share of slow traces, from 0 to 1.")
  var slow = 0.01

  @Flag(help: "Mix traces in records, as on an unkeyed topic.")
  var mixed = false

  func validate() throws {
    guard traces ?? 1 > 0, rate > 0, services > 0, spansPerTrace >= 1 else {
      throw ValidationError("--traces, --rate, --services and --spans-per-trace must be positive")
    }
    // The traffic's own time is counted in nanoseconds and must stay within their range.
    guard spansPerTrace <= 1e6, services <= 1_000_000, rate <= 1e9, Double(traces ?? 1) / rate <= 3e9 else {
      throw ValidationError(
        "--spans-per-trace and --services are at most a million, --rate at most 1e9, and --traces at --rate "
          + "must not take longer than 95 years of the traffic's own time")
    }
    guard (0...1).contains(errors), (0...1).contains(slow) else {
      throw ValidationError("--errors and --slow are shares from 0 to 1")
    }
  }

  var options: WorkloadOptions {
    var options = WorkloadOptions()
    options.seed = seed
    options.traceCount = traces ?? 1000
    options.tracesPerSecond = rate
    options.services = services
    options.spansPerTrace = spansPerTrace
    options.errorShare = errors
    options.slowShare = slow
    options.mixed = mixed
    return options
  }
}

/// The truth about one trace as JSON.
private struct TruthLine: Encodable {
  var traceId: String
  var spans, errorSpans: Int
  var hasError, isSlow, isLate: Bool
  var rootDurationNs: Int64?
  var rootService, rootOperation: String?
  var services: [String]

  init(_ truth: TraceTruth) {
    traceId = TraceID(high: truth.traceIDHigh, low: truth.traceIDLow).description
    spans = truth.spanCount
    errorSpans = truth.errorCount
    hasError = truth.hasError
    isSlow = truth.isSlow
    isLate = truth.isLate
    rootDurationNs = truth.rootDurationNanoseconds
    rootService = truth.rootService
    rootOperation = truth.rootOperation
    services = truth.services
  }
}
