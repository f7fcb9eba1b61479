// tailrace bench-kafka: a worker against a consumer that does nothing, on the same topic of a real broker.

import ArgumentParser
import Files
import Foundation
import Kafka
import Logging
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
      """)

  @Option(name: .long, help: "The brokers.")
  var brokers = "127.0.0.1:9092"

  @Option(name: .long, help: "The topic of spans; `tailrace generate --topic` fills one.")
  var topic = "spans"

  @Option(name: .long, help: "Number of measurements of each.")
  var rounds = 4

  @Option(name: .long, help: "Lanes of the workers.")
  var lanes = 1

  @Flag(help: "Print the figures as JSON.")
  var json = false

  @OptionGroup var progress: ProgressOptions

  func validate() throws {
    guard (1...100_000).contains(rounds), (1...64).contains(lanes) else {
      throw ValidationError("--rounds is from 1 to 100000, --lanes from 1 to 64")
    }
  }

  mutating func run() throws {
    do {
      let bench = try KafkaBench(topic, brokers: brokers, lanes: lanes)
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

  let recordCount: Int64
  private let topic: String
  private let brokers: String
  private let lanes: Int
  private let partitions: Int
  /// Distinguishes the groups and topics of different runs.
  private let run = String(UInt32.random(in: 0 ... .max), radix: 16)
  private static let patience = Duration.seconds(120)
  /// Records read before measuring begins.
  private var warmUp: Int64 { recordCount / 3 }

  private static func properties(_ brokers: String) -> [KafkaProperty] {
    [
      KafkaProperty("bootstrap.servers", brokers), KafkaProperty("receive.message.max.bytes", "2147483647"),
      KafkaProperty("fetch.message.max.bytes", "33554432"), KafkaProperty("fetch.max.bytes", "134217728"),
    ]
  }

  init(_ topic: String, brokers: String, lanes: Int) throws {
    self.topic = topic
    self.brokers = brokers
    self.lanes = lanes
    let admin = try Admin(properties: [KafkaProperty("bootstrap.servers", brokers)], log: { _ in })
    guard let description = try admin.describe([topic], timeout: .seconds(15))[0] else {
      throw CommandFailure.failed("topic '\(topic)' does not exist")
    }
    partitions = description.partitions
    let reader = try Consumer(
      topic: topic, properties: KafkaBench.properties(brokers) + [KafkaProperty("group.id", "bench-\(run)")],
      log: { _ in })
    let places = (0..<Int32(partitions)).map { TopicPartition(topic, $0) }
    func sum(of named: Int64) throws -> Int64 {
      try reader.lookUp(places.map { PartitionOffset($0, offset: named) }, timeout: .seconds(15))
        .reduce(0) { $0 + $1.offset }
    }
    recordCount = try sum(of: PartitionOffset.end) - sum(of: PartitionOffset.beginning)
    guard recordCount > 0 else { throw CommandFailure.failed("topic '\(topic)' is empty") }
  }

  func measure(_ mode: Mode, round: Int) throws -> Reading {
    switch mode {
    case .nothing: try readAndDoNothing(round)
    case .atLeastOnce: try work(.atLeastOnce, round)
    case .exactlyOnce: try work(.exactlyOnce, round)
    }
  }

  private func readAndDoNothing(_ round: Int) throws -> Reading {
    let consumer = try Consumer(
      topic: topic,
      properties: KafkaBench.properties(brokers) + [KafkaProperty("group.id", "bench-\(run)-\(round)")],
      batchCapacity: 2048, log: { _ in })
    defer { consumer.close() }
    try consumer.subscribe()
    var count: Int64 = 0
    var clock: Stopwatch?
    let deadline = ContinuousClock.now + KafkaBench.patience
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
    var topology = TailSamplingTopology()
    let name = "bench-\(run)-\(delivery.rawValue)-\(round)"
    topology.worker = WorkerSettings(
      group: name, lanes: lanes, delivery: delivery,
      kafka: KafkaProperties(
        Dictionary(KafkaBench.properties(brokers).map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })))
    // A topic that was filled at full speed holds some seconds of stream time. Windows are as short, so in
    // steady state they close as fast as they open.
    topology.windows.decisionWait = .seconds(1)
    topology.windows.decisionWaitAfterRoot = .milliseconds(250)
    topology.windows.lateWindow = .seconds(10)
    topology.topics.spans.name = topic
    topology.topics.decisions.name = "\(name)-decisions"
    topology.topics.verdicts = "\(name)-verdicts"
    topology.topics.sampled = "\(name)-sampled"
    topology.topics.deadLetters = "\(name)-dead-letters"
    let worker = Worker(.tailSampling(topology), logger: .standardError(topology.worker, level: .error))
    let failure = WorkerThread(worker)
    defer { worker.stop() }
    var clock: Stopwatch?
    let deadline = ContinuousClock.now + KafkaBench.patience
    var counters = worker.snapshot.counters
    while counters.recordsRead < recordCount {
      if clock == nil, counters.recordsRead >= warmUp {
        clock = Stopwatch(records: Int64(counters.recordsRead), spans: counters.spansRead)
      }
      if let error = failure.error { throw error }
      guard ContinuousClock.now < deadline else {
        throw CommandFailure.failed("the topic's end was not reached")
      }
      usleep(2000)
      counters = worker.snapshot.counters
    }
    var reading = (clock ?? Stopwatch()).reading(
      records: Int64(counters.recordsRead), spans: counters.spansRead)
    reading.whole = (counters.recordsRead, counters.spansRead)
    worker.stop()
    failure.wait()
    return reading
  }
}

/// A worker on its own thread.
private final class WorkerThread: @unchecked Sendable {
  // Sound: `failure` is only accessed under the lock.
  private let lock = NSLock()
  private var failure: (any Error)?
  private let ended = DispatchSemaphore(value: 0)

  init(_ worker: Worker) {
    Thread { [self] in
      do { try worker.run() } catch { lock.withLock { failure = error } }
      ended.signal()
    }.start()
  }

  var error: (any Error)? { lock.withLock { failure } }

  func wait() { ended.wait() }
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
  fileprivate var median: Double {
    guard !isEmpty else { return 0 }
    let ordered = sorted()
    let middle = count / 2
    return count % 2 == 1 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2
  }
}
