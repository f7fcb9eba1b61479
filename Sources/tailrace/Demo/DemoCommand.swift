// tailrace demo: a broker, traffic, a worker and an auditor in one process.

import ArgumentParser
import Files
import Foundation
import Kafka
import Logging
import Pipeline
import Simulation
import Topology

struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Show the whole job in one process: an embedded broker, generated traffic, a worker.",
    discussion: """
      Traffic with known truth goes through a real worker. The worker's output is read back and \
      compared with the truth. The windows are short to keep the demo short. Exits with 1 if an error \
      trace or a slow trace is missing. Ctrl-C ends the traffic, and the report follows; a second \
      Ctrl-C ends the demo at once. With --keep the console serves the kept traces from the start, \
      and after the report until Ctrl-C; until then the broker answers, too. --write-topology writes a \
      topology that names it, for `record`, `explain`, `console` and `replay`.
      """)

  @Option(name: .long, help: "How long traffic flows, such as 20s.")
  var duration = "20s"

  @Option(name: .long, help: "Traces started per second.")
  var rate = 100.0

  @Option(name: .long, help: "Partitions of the topics.")
  var partitions: Int32 = 4

  @Option(name: .long, help: "The seed of the traffic.")
  var seed: UInt64 = 1

  @Flag(help: "Serve the kept traces in the browser, and go on after the report.")
  var keep = false

  @Option(name: .long, help: "Write the demo's topology to this file; it is of use while the broker runs.")
  var writeTopology: String?

  @Flag(help: "Print the report as JSON.")
  var json = false

  func validate() throws {
    guard seconds != nil else { throw ValidationError("--duration is a number of seconds, such as 20s") }
    guard rate > 0, rate <= 1000 else { throw ValidationError("--rate is from 1 to 1000 traces a second") }
    guard (1...64).contains(partitions) else { throw ValidationError("--partitions is from 1 to 64") }
  }

  private var seconds: Double? {
    let text = duration.hasSuffix("s") ? String(duration.dropLast()) : duration
    guard let seconds = Double(text), seconds >= 1, seconds <= 3600 else { return nil }
    return seconds
  }

  mutating func run() throws {
    do {
      let report = try show(seconds: seconds ?? 20)
      if !keep { try write(report) }
      if !report.isWhole { throw CommandFailure.failed("an error trace or a slow trace is missing") }
    } catch let error as KafkaError {
      throw CommandFailure.failed("the embedded broker: \(error)")
    } catch let error as WorkerFailure {
      throw CommandFailure.failed(error.description)
    }
  }

  private func write(_ report: DemoReport) throws {
    try StandardOutput.writeLine(json ? ReportJSON.encode(report) : report.text)
  }

  private func show(seconds: Double) throws -> DemoReport {
    let cluster = try MockCluster()
    let topology = try demoTopology(cluster.bootstrapServers)
    try announce(cluster, topology)
    let topics = topology.topics
    let outputs = [topics.decisions.name, topics.verdicts, topics.sampled, topics.deadLetters]
    for name in [topics.spans.name] + outputs {
      try cluster.createTopic(name, partitions: partitions)
    }
    let worker = Worker(
      .tailSampling(topology), logger: .standardError(topology.worker, level: .warning))
    let running = WorkerThread(worker)
    defer { running.stop() }
    let stop = StopFlag()
    let asked = DispatchSemaphore(value: 0)
    let signals = Signals.stopping({ StandardError.write("\($0)\n") }) {
      stop.set()
      asked.signal()
    }
    defer { signals.cancel() }

    let explorer = keep ? try DemoExplorer(topology) : nil
    defer { explorer?.stop() }
    let audit = try DemoAudit(topology)
    defer { audit.end() }
    try awaitReading(running, audit, stop)
    let traffic = try DemoTraffic(
      options: options, topic: topics.spans.name, brokers: cluster.bootstrapServers)
    let table = DemoTable(isLive: StandardError.isTerminal)
    let start = ContinuousClock.now
    var isFlowing = true
    while isFlowing {
      if stop.isSet || ContinuousClock.now - start > .seconds(seconds) { traffic.finish() }
      isFlowing = try traffic.publishDue()
      try audit.read()
      if let failure = running.failure { throw failure }
      table.show(after: ContinuousClock.now - start, worker.snapshot, traffic, audit)
    }
    // The last windows are still open, and recalls may be pending. Taking longer than this is a failure.
    let deadline = ContinuousClock.now + .seconds(60)
    while !report(traffic, audit).isWhole, ContinuousClock.now < deadline {
      try audit.read()
      if let failure = running.failure { throw failure }
      table.show(after: ContinuousClock.now - start, worker.snapshot, traffic, audit)
    }
    table.end()
    let report = report(traffic, audit)
    if let explorer {
      try write(report)
      // A Ctrl-C so far ended the traffic. Signals can't be given up and caught again: the second time
      // Dispatch installs no handler.
      if stop.isSet {
        asked.wait()
        signals.startOver()
      }
      explorer.serve(until: asked)
    }
    return report
  }

  /// Tells where the broker is, and writes the topology that names it.
  private func announce(_ cluster: MockCluster, _ topology: TailSamplingTopology) throws {
    if keep { StandardError.write("the broker is at \(cluster.bootstrapServers)\n") }
    guard let writeTopology else { return }
    do throws(FileFailure) {
      try OutputFile.write(Topology.tailSampling(topology).redactedDescription, to: writeTopology)
    } catch {
      throw CommandFailure.failed(error.description)
    }
  }

  private func report(_ traffic: DemoTraffic, _ audit: DemoAudit) -> DemoReport {
    DemoReport(truths: traffic.truths, audit: audit, spans: traffic.spans, bytes: traffic.bytes)
  }

  /// Traffic begins once the worker reads all partitions: joining a group takes some seconds, during which
  /// the table would only show zeros.
  private func awaitReading(_ worker: WorkerThread, _ audit: DemoAudit, _ stop: StopFlag) throws {
    StandardError.write("starting a broker and a worker\n")
    let deadline = ContinuousClock.now + .seconds(60)
    while worker.assignedPartitions < Int(partitions) {
      if let failure = worker.failure { throw failure }
      guard !stop.isSet else { throw CommandFailure.failed("stopped before traffic began") }
      guard ContinuousClock.now < deadline else {
        throw CommandFailure.failed("the worker did not start reading within a minute")
      }
      try audit.read()
    }
  }

  private var options: WorkloadOptions {
    var options = WorkloadOptions()
    options.seed = seed
    options.tracesPerSecond = rate
    options.startNanoseconds = Int64(Date().timeIntervalSince1970 * 1e9)
    options.errorShare = 0.02
    options.slowShare = 0.02
    options.slowThresholdNanoseconds = 1_000_000_000
    options.publishDelayMaxNanoseconds = 500_000_000
    options.lateDelay = 3_000_000_000...9_000_000_000
    return options
  }

  private func demoTopology(_ brokers: String) throws -> TailSamplingTopology {
    var topology = try TailSamplingTopology.defaults
    topology.worker.kafka.values["bootstrap.servers"] = brokers
    topology.worker.commitInterval = .milliseconds(500)
    // The embedded broker accepts transactions, but keeps no offsets sent in one.
    topology.worker.delivery = .atLeastOnce
    topology.topics.creation.enabled = false
    topology.windows.decisionWait = .seconds(6)
    topology.windows.decisionWaitAfterRoot = .seconds(2)
    topology.windows.lateWindow = .seconds(120)
    topology.policies = [
      PolicySpecification(name: "errors", rule: .statusCode(codes: [.error])),
      PolicySpecification(name: "slow", rule: .latency(threshold: .seconds(1), upperThreshold: nil)),
      PolicySpecification(name: "baseline", rule: .probabilistic(percentage: 1)),
    ]
    return topology
  }
}

/// A worker on its own thread.
private final class WorkerThread: Sendable {
  private let worker: Worker
  private let done = DispatchSemaphore(value: 0)
  private let outcome = Outcome()

  init(_ worker: Worker) {
    self.worker = worker
    let thread = Thread { [worker, outcome, done] in
      do throws(WorkerFailure) { try worker.run() } catch { outcome.fail(error) }
      done.signal()
    }
    thread.name = "worker"
    thread.start()
  }

  /// How many partitions it reads.
  var assignedPartitions: Int { worker.snapshot.partitions.count }

  /// Why the worker ended on its own; nil while it runs.
  var failure: WorkerFailure? { outcome.failure }

  func stop() {
    worker.stop()
    done.wait()
  }
}
