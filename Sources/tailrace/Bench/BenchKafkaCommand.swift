// tailrace bench-kafka: a worker against a consumer that does nothing, on the same topic of a real broker.

import ArgumentParser
import Files
import Foundation
import Kafka
import Pipeline
import Sampling
import Topology

struct BenchKafkaCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench-kafka",
    abstract: "Compare a worker with a consumer that does nothing, on an existing topic.",
    discussion: """
      Reads the whole topic in turn with a consumer that does nothing, a worker with at-least-once \
      delivery, and one with exactly-once delivery. Each worker has its own group and output topics. \
      Brokers and machines drift, so ratios are taken within a round; their median counts.

      With --live, traffic is published to the topic at that rate (`tailrace generate --live`), and a worker \
      follows it, exactly once; then another reads the same records as a backlog while the traffic goes on. \
      CPU time is that of the workers' process. Plan capacity by the live figure: a worker that keeps up \
      takes more for a span.
      """)

  @Option(name: .long, help: "The brokers.")
  var brokers = "127.0.0.1:9092"

  @Option(name: .long, help: "The topic of spans; `tailrace generate --topic` fills one.")
  var topic = "spans"

  @Option(name: .long, help: "Number of measurements of each.")
  var rounds = 4

  @Option(name: .long, help: "Follow live traffic of this many spans a second.")
  var live: Double?

  @Option(
    name: .long, help: "How long to measure live traffic, such as 20s; a third of that is for warming up.")
  var seconds = TimeArgument(seconds: 20)

  @Option(name: .long, help: "Spans per trace of live traffic, on average.")
  var spansPerTrace = 50.0

  @Option(name: .long, help: "Lanes of the workers.")
  var lanes = 1

  @Flag(help: "Print the figures as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard (1...100_000).contains(rounds), (1...64).contains(lanes) else {
      throw ValidationError("--rounds is from 1 to 100000, --lanes from 1 to 64")
    }
    guard (1...1e9).contains(live ?? 1), (1...1e6).contains(spansPerTrace), seconds.duration >= .seconds(1)
    else {
      throw ValidationError("--live is from 1 to 1e9, --spans-per-trace from 1 to 1e6, --seconds at least 1")
    }
  }

  mutating func run() throws {
    do {
      if let live { return try follow(live) }
      let bench = try KafkaBench(BenchTopic(topic, brokers: brokers), lanes: lanes)
      var readings: [KafkaBench.Mode: [KafkaBench.Reading]] = [:]
      let line = Progress("readings", total: rounds * 3, progress)
      for round in 0..<rounds {
        // Later modes find memory that earlier ones have touched, so every other round reverses the order.
        let modes = round % 2 == 0 ? KafkaBench.Mode.allCases : KafkaBench.Mode.allCases.reversed()
        for (number, mode) in modes.enumerated() {
          readings[mode, default: []].append(try bench.measure(mode, round: round))
          line.show(round * 3 + number + 1)
        }
      }
      line.end()
      let report = KafkaBenchReport(readings)
      try StandardOutput.writeLine(json ? ReportJSON.encode(report) : report.text)
    } catch let failure as CommandFailure {
      throw failure
    } catch let failure as FileFailure {
      throw failure
    } catch {
      throw CommandFailure.failed("\(topic) at \(brokers): \(describe(error))")
    }
  }

  private func follow(_ spansPerSecond: Double) throws {
    let bench = LiveBench(
      topic: try BenchTopic(topic, brokers: brokers), lanes: lanes, spansPerSecond: spansPerSecond,
      spansPerTrace: spansPerTrace, seconds: seconds.duration)
    var readings: [LiveBench.Reading] = []
    let line = Progress("readings", total: rounds, progress)
    for round in 0..<rounds {
      readings.append(try bench.measure(round: round))
      line.show(round + 1)
    }
    line.end()
    let report = LiveBenchReport(readings)
    try StandardOutput.writeLine(json ? ReportJSON.encode(report) : report.text)
  }
}

/// Reads a topic from its start to its current end. The first third is not measured: after it memory has been
/// touched, and as many windows close as open.
private struct KafkaBench {
  enum Mode: String, CaseIterable {
    case nothing = "nothing"
    case atLeastOnce = "at_least_once"
    case exactlyOnce = "exactly_once"
  }

  /// One reading of the whole topic.
  struct Reading {
    /// Records that were measured.
    var records: Int64
    /// Seconds from the first to the last of them.
    var seconds: Double
    /// Processor time of the whole process, librdkafka's threads included.
    var cpuSeconds: Double
    /// Spans in the records; 0 if not counted.
    var spans: UInt64
    /// The worker's counts for the whole topic; nil if not counted.
    var whole: (records: UInt64, spans: UInt64)?

    var recordsPerSecond: Double { Double(records) / seconds }
  }

  private let topic: BenchTopic
  private let lanes: Int
  private let recordCount: Int64
  /// Records read before measuring begins.
  private var warmUp: Int64 { recordCount / 3 }

  init(_ topic: BenchTopic, lanes: Int) throws {
    self.topic = topic
    self.lanes = lanes
    let (first, last) = (try topic.offsets(PartitionOffset.beginning), try topic.offsets(PartitionOffset.end))
    recordCount = zip(first, last).reduce(0) { $0 + ($1.1.offset - $1.0.offset) }
    guard recordCount > 0 else { throw CommandFailure.failed("topic '\(topic.name)' is empty") }
  }

  func measure(_ mode: Mode, round: Int) throws -> Reading {
    switch mode {
    case .nothing: try readAndDoNothing(round)
    case .atLeastOnce: try work(.atLeastOnce, round)
    case .exactlyOnce: try work(.exactlyOnce, round)
    }
  }

  private func readAndDoNothing(_ round: Int) throws -> Reading {
    let consumer = try topic.consumer(group: "\(topic.run)-\(round)")
    defer { consumer.close() }
    try consumer.subscribe()
    var count: Int64 = 0
    var clock: Stopwatch?
    let deadline = ContinuousClock.now + BenchTopic.patience
    while count < recordCount {
      guard ContinuousClock.now < deadline else {
        throw CommandFailure.failed("the topic's end was not reached")
      }
      let came = consumer.poll(timeout: .milliseconds(100)) { _, _, _ in }
      count += Int64(came)
      if clock == nil, count >= warmUp { clock = Stopwatch(records: count) }
      for case .assigned(let partitions) in consumer.takeEvents() {
        try consumer.assign(partitions.map { PartitionOffset($0, offset: PartitionOffset.beginning) })
      }
    }
    return (clock ?? Stopwatch()).reading(records: count, spans: 0)
  }

  private func work(_ delivery: Delivery, _ round: Int) throws -> Reading {
    let worker = try BenchWorker(topic, lanes: lanes, delivery, name: "\(delivery.rawValue)-\(round)")
    defer { worker.stop() }
    var clock: Stopwatch?
    let deadline = ContinuousClock.now + BenchTopic.patience
    var counters = worker.snapshot.counters
    while counters.recordsRead < recordCount {
      if clock == nil, counters.recordsRead >= warmUp {
        clock = Stopwatch(records: Int64(counters.recordsRead), spans: counters.spansRead)
      }
      try worker.check()
      guard ContinuousClock.now < deadline else {
        throw CommandFailure.failed("the topic's end was not reached")
      }
      usleep(2000)
      counters = worker.snapshot.counters
    }
    var reading = (clock ?? Stopwatch()).reading(
      records: Int64(counters.recordsRead), spans: counters.spansRead)
    reading.whole = (counters.recordsRead, counters.spansRead)
    return reading
  }
}

/// Elapsed and processor time since a place in the topic.
private struct Stopwatch {
  private let start = ContinuousClock.now
  private let cpuStart = Stopwatch.cpuSeconds
  private let records: Int64
  private let spans: UInt64

  init(records: Int64 = 0, spans: UInt64 = 0) {
    self.records = records
    self.spans = spans
  }

  /// The time since then, up to another place.
  func reading(records: Int64, spans: UInt64) -> KafkaBench.Reading {
    KafkaBench.Reading(
      records: records - self.records, seconds: (ContinuousClock.now - start) / .seconds(1),
      cpuSeconds: Stopwatch.cpuSeconds - cpuStart, spans: spans - self.spans)
  }

  private static var cpuSeconds: Double { Double(clock()) / Double(CLOCKS_PER_SEC) }
}

/// A comparison's results.
private struct KafkaBenchReport: Encodable {
  struct Figures: Encodable {
    var recordsPerSecond: Double
    var ratioToNothing: Double
    var cpuSecondsPerMillionSpans: Double
  }

  /// Records and their spans, as a worker counted them.
  var records: UInt64
  var spans: UInt64
  var nothing: Figures
  var atLeastOnce: Figures
  var exactlyOnce: Figures
  /// Exactly-once throughput relative to at-least-once.
  var exactlyOnceRatio: Double

  init(_ readings: [KafkaBench.Mode: [KafkaBench.Reading]]) {
    let base = readings[.nothing] ?? []
    // The consumer that does nothing counts no spans; per record it has read as many as the worker.
    let spansPerRecord = (readings[.exactlyOnce] ?? []).map { Double($0.spans) / Double($0.records) }.median
    func figures(_ mode: KafkaBench.Mode) -> Figures {
      let own = readings[mode] ?? []
      return Figures(
        recordsPerSecond: own.map(\.recordsPerSecond).median,
        ratioToNothing: zip(base, own).map { $1.recordsPerSecond / $0.recordsPerSecond }.median,
        cpuSecondsPerMillionSpans: own.map { $0.cpuSeconds / Double($0.records) }.median / spansPerRecord
          * 1e6)
    }
    // Counted, not extrapolated from the measured part.
    (records, spans) = readings[.exactlyOnce]?.last?.whole ?? (0, 0)
    nothing = figures(.nothing)
    atLeastOnce = figures(.atLeastOnce)
    exactlyOnce = figures(.exactlyOnce)
    exactlyOnceRatio =
      zip(readings[.atLeastOnce] ?? [], readings[.exactlyOnce] ?? [])
      .map { $1.recordsPerSecond / $0.recordsPerSecond }.median
  }

  var text: String {
    func line(_ name: String, _ figures: Figures) -> String {
      let rate = String(format: "%9.0f", figures.recordsPerSecond)
      let ratio = String(format: "%5.2f", figures.ratioToNothing)
      let cpu = String(format: "%5.2f", figures.cpuSecondsPerMillionSpans)
      return "\(name)  \(rate) records/s  \(ratio) of nothing  \(cpu) s of CPU per million spans"
    }
    return """
      \(records) records, \(spans) spans
      \(line("nothing      ", nothing))
      \(line("at_least_once", atLeastOnce))
      \(line("exactly_once ", exactlyOnce))
      exactly_once reaches \(String(format: "%.2f", exactlyOnceRatio)) of at_least_once
      """
  }
}

extension [Double] {
  /// The middle value; 0 of none.
  var median: Double {
    guard !isEmpty else { return 0 }
    let ordered = sorted()
    let middle = count / 2
    return count % 2 == 1 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2
  }
}
