// tailrace generate: traffic whose truth is known, as a recording or onto a topic.

import ArgumentParser
import Foundation
import Kafka
import OTLP
import Pipeline
import Simulation

struct GenerateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Make traffic of distributed traces whose truth is known.",
    discussion: """
      Services call services; some traces fail, some are slow, some go on over a queue, clocks are \
      off by up to ten milliseconds and some spans come late. The same seed and options give the \
      same bytes.
      """)

  @Option(name: .shortAndLong, help: "The recording to write; compressed if the name ends in .zst.")
  var output: String?

  @Option(name: .long, help: "The topic to publish to, keyed by trace id, as fast as the brokers take it.")
  var topic: String?

  @Option(name: .long, help: "The brokers of --topic.")
  var brokers = "127.0.0.1:9092"

  @Option(name: .long, help: "Where to write the truth about each trace, one line of JSON each.")
  var truth: String?

  @OptionGroup var traffic: TrafficOptions

  func validate() throws {
    guard output != nil || topic != nil else {
      throw ValidationError("name a recording with --output, or a topic with --topic")
    }
  }

  mutating func run() throws {
    do {
      try generate()
    } catch let failure as CommandFailure {
      throw failure
    } catch {
      throw CommandFailure.failed(
        "\([output, topic].compactMap { $0 }.joined(separator: ", ")): \(describe(error))")
    }
  }

  private func generate() throws {
    let recording = try output.map { try RecordingWriter(path: $0) }
    let publisher = try topic.map { try TopicPublisher($0, brokers: brokers) }
    let truths = try truth.map { try LineWriter(path: $0) }
    var options = traffic.options
    // Brokers delete records that are old by their topic's retention: what is published happens now.
    if publisher != nil { options.startNanoseconds = Int64(Date().timeIntervalSince1970 * 1e9) }
    var workload = Workload(options)
    var progress = Progress(total: traffic.traces, unit: "traces")
    var (records, spans, bytes, traces) = (0, 0, 0, 0)
    while let record = workload.next() {
      try recording?.append(record.bytes)
      try publisher?.publish(record)
      records += 1
      spans += record.spanCount
      bytes += record.bytes.count
      for truth in workload.takeFinishedTruths() {
        traces += 1
        try truths?.append(try TruthLine(truth).json)
      }
      progress.show(traces)
    }
    progress.end()
    try recording?.finish()
    try publisher?.finish()
    try truths?.finish()
    for target in [output, topic].compactMap({ $0 }) {
      print("\(target): \(traces) traces, \(spans) spans in \(records) records, \(bytes) bytes")
    }
  }
}

/// Publishes generated records.
private final class TopicPublisher {
  private let producer: Producer
  private let topic: ProducerTopic

  init(_ topic: String, brokers: String) throws {
    producer = try Producer(properties: [KafkaProperty("bootstrap.servers", brokers)], log: { _ in })
    self.topic = try producer.topic(topic)
  }

  /// Records that mix traces have no key.
  func publish(_ record: WorkloadRecord) throws {
    try record.key.withRawBytes { (key) throws(KafkaError) in
      try record.bytes.withRawBytes { (value) throws(KafkaError) in
        try producer.produce(topic, partition: nil, key: record.key.isEmpty ? nil : key, value: value)
      }
    }
  }

  func finish() throws {
    try producer.flush(timeout: .seconds(60))
    if let failure = producer.takeFailures().first {
      throw CommandFailure.failed("topic '\(failure.topic)': not delivered: \(failure.error)")
    }
  }
}

/// What traffic to make; shared by the commands that make some.
struct TrafficOptions: ParsableArguments {
  @Option(name: .long, help: "The seed: the same one gives the same traffic.")
  var seed: UInt64 = 1

  @Option(name: .long, help: "How many traces.")
  var traces = 1_000

  @Option(name: .long, help: "Traces a second of the traffic's own time.")
  var rate = 100.0

  @Option(name: .long, help: "How many services there are.")
  var services = 12

  @Option(name: .long, help: "Spans in a trace, on average.")
  var spansPerTrace = 50.0

  @Option(name: .long, help: "Share of traces with an error, from 0 to 1.")
  var errors = 0.01

  @Option(name: .long, help: "Share of slow traces, from 0 to 1.")
  var slow = 0.01

  @Flag(help: "Mix traces in records, as an unkeyed topic has them.")
  var mixed = false

  func validate() throws {
    guard traces > 0, rate > 0, services > 0, spansPerTrace >= 1 else {
      throw ValidationError("--traces, --rate, --services and --spans-per-trace must be positive")
    }
    // The traffic's own time is counted in nanoseconds, and must not leave the years that these reach to.
    guard spansPerTrace <= 1e6, services <= 1_000_000, rate <= 1e9, Double(traces) / rate <= 3e9 else {
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
    options.traceCount = traces
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

  var json: Data {
    get throws {
      let encoder = JSONEncoder()
      encoder.keyEncodingStrategy = .convertToSnakeCase
      encoder.outputFormatting = .sortedKeys
      return try encoder.encode(self)
    }
  }
}

/// A progress line on standard error, when a person is looking.
struct Progress {
  private let total: Int
  private let unit: String
  private let isShown = StandardError.isTerminal
  private var shownPercent = -1

  init(total: Int, unit: String) {
    self.total = total
    self.unit = unit
  }

  mutating func show(_ done: Int) {
    let percent = total == 0 ? 100 : min(100, 100 * done / total)
    guard isShown, percent != shownPercent else { return }
    shownPercent = percent
    let bar = String(repeating: "#", count: percent / 4).padding(toLength: 25, withPad: ".", startingAt: 0)
    StandardError.write("\r[\(bar)] \(percent) % of \(total) \(unit)")
  }

  func end() {
    if isShown, shownPercent >= 0 { StandardError.write("\n") }
  }
}
