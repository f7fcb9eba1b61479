// tailrace bench-kafka --live: a worker that follows live traffic, against one that reads a backlog of it.

import Foundation
import Kafka
import Pipeline
import Sampling
import Topology

/// Publishes traffic at a rate and has a worker follow it; then another reads the same records as a backlog.
struct LiveBench {
  let topic: BenchTopic
  let lanes: Int
  let spansPerSecond: Double
  let spansPerTrace: Double
  /// How long live traffic is measured, after a third of that for warming up.
  let seconds: Duration

  /// The same records, read live and as a backlog.
  struct Reading {
    var live: WorkerReading
    var backlog: WorkerReading
    /// Records that had been published and not read when the live measurement ended.
    var lagRecords: Int64
  }

  /// The traffic goes on while the backlog is read: so both workers have the same busy neighbours, which cost
  /// them caches and clock rate.
  func measure(round: Int) throws -> Reading {
    let start = try topic.offsets(PartitionOffset.end)
    let worker = try BenchWorker(topic, lanes: lanes, .exactlyOnce, name: "live-\(round)", from: start)
    defer { worker.stop() }
    let deadline = ContinuousClock.now + BenchTopic.patience
    while worker.snapshot.partitions.count < topic.partitions || worker.snapshot.recovering > 0 {
      try worker.check()
      guard ContinuousClock.now < deadline else {
        throw CommandFailure.failed("the worker was not assigned all partitions")
      }
      usleep(10_000)
    }
    let traffic = try LiveTraffic(
      topic, spansPerSecond: spansPerSecond, spansPerTrace: spansPerTrace,
      seconds: seconds * 2 + BenchTopic.patience)
    defer { traffic.stop() }
    func wait(_ time: Duration) throws {
      let end = ContinuousClock.now + time
      while ContinuousClock.now < end {
        try worker.check()
        try traffic.check()
        usleep(20_000)
      }
    }
    while worker.snapshot.counters.recordsRead == 0 { try wait(.milliseconds(20)) }
    try wait(seconds / 3)
    let clock = WorkerClock(worker)
    try wait(seconds)
    let live = clock.reading(worker)
    let (read, end) = (worker.snapshot.counters.recordsRead, try topic.offsets(PartitionOffset.end))
    worker.stop()
    let records = zip(start, end).reduce(0) { $0 + ($1.1.offset - $1.0.offset) }
    return Reading(
      live: live, backlog: try catchUp(from: start, records: records, round),
      lagRecords: max(0, records - Int64(read)))
  }

  private func catchUp(
    from start: [PartitionOffset], records: Int64, _ round: Int
  ) throws -> WorkerReading {
    let worker = try BenchWorker(topic, lanes: lanes, .exactlyOnce, name: "backlog-\(round)", from: start)
    defer { worker.stop() }
    var clock: WorkerClock?
    let deadline = ContinuousClock.now + BenchTopic.patience
    while worker.snapshot.counters.recordsRead < records {
      try worker.check()
      if clock == nil, worker.snapshot.counters.recordsRead >= records / 3 { clock = WorkerClock(worker) }
      guard ContinuousClock.now < deadline else {
        throw CommandFailure.failed("the topic's end was not reached")
      }
      usleep(2000)
    }
    return (clock ?? WorkerClock(worker)).reading(worker)
  }
}

/// Traffic that another process publishes: its CPU time is not the worker's.
private final class LiveTraffic {
  private let process = Process()
  private let errors = Pipe()

  /// - Parameter seconds: when it ends by itself, should nobody stop it.
  init(_ topic: BenchTopic, spansPerSecond: Double, spansPerTrace: Double, seconds: Duration) throws {
    let rate = spansPerSecond / spansPerTrace
    process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = [
      "generate", "--live", "--topic", topic.name, "--brokers", topic.brokers, "--rate", "\(rate)",
      "--traces", "\(max(1, Int(rate * (seconds / .seconds(1)))))", "--spans-per-trace", "\(spansPerTrace)",
      "--quiet",
    ]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = errors
    try process.run()
  }

  deinit { stop() }

  /// Throws why it has ended, if it has.
  func check() throws {
    guard !process.isRunning else { return }
    let text = String(decoding: errors.fileHandleForReading.availableData, as: UTF8.self)
    throw CommandFailure.failed("the traffic has ended: \(text)")
  }

  /// Ends it; then everything that it has started is published.
  func stop() {
    // Foundation traps on one that never ran.
    guard process.isRunning else { return }
    process.terminate()
    process.waitUntilExit()
  }
}

/// What a worker did in some time, and what that took.
struct WorkerReading {
  var seconds: Double
  var records, spans, traces, rounds, commits: Double
  /// Seconds of processor time: all of the process, its lanes' threads, librdkafka's.
  var cpu, laneCPU, clientCPU: Double
  /// How many times lanes' threads waited and were woken.
  var wakeUps: Double
}

/// The counts of a worker and of this process at one time.
private struct WorkerClock {
  private let start = ContinuousClock.now
  private let times = ThreadTimes.now
  private let snapshot: LaneSnapshot

  init(_ worker: BenchWorker) {
    snapshot = worker.snapshot
  }

  /// What has happened since then.
  func reading(_ worker: BenchWorker) -> WorkerReading {
    let (last, end) = (worker.snapshot, ThreadTimes.now)
    func count(_ path: (LaneSnapshot) -> UInt64) -> Double { Double(path(last)) - Double(path(snapshot)) }
    return WorkerReading(
      seconds: (ContinuousClock.now - start) / .seconds(1), records: count(\.counters.recordsRead),
      spans: count(\.counters.spansRead),
      traces: count { $0.counters.tracesKept + $0.counters.tracesDropped },
      rounds: count(\.lane.rounds), commits: count(\.lane.commits), cpu: end.all - times.all,
      laneCPU: end.lanes - times.lanes, clientCPU: end.clients - times.clients,
      wakeUps: end.wakeUps - times.wakeUps)
  }
}

/// Medians of what was measured.
struct LiveBenchReport: Encodable {
  struct Figures: Encodable {
    var spansPerSecond: Double
    /// Seconds of processor time per million spans: all of the process, its lanes' threads, librdkafka's.
    var cpuSecondsPerMillionSpans: Double
    var laneCpuSecondsPerMillionSpans: Double
    var clientCpuSecondsPerMillionSpans: Double
    var recordsPerRound: Double
    var spansPerRound: Double
    var roundsPerSecond: Double
    var commitsPerSecond: Double
    var wakeUpsPerSecond: Double

    init(_ readings: [WorkerReading]) {
      func median(_ value: (WorkerReading) -> Double) -> Double { readings.map(value).median }
      spansPerSecond = median { $0.spans / $0.seconds }
      cpuSecondsPerMillionSpans = median { $0.cpu / max(1, $0.spans) * 1e6 }
      laneCpuSecondsPerMillionSpans = median { $0.laneCPU / max(1, $0.spans) * 1e6 }
      clientCpuSecondsPerMillionSpans = median { $0.clientCPU / max(1, $0.spans) * 1e6 }
      recordsPerRound = median { $0.records / max(1, $0.rounds) }
      spansPerRound = median { $0.spans / max(1, $0.rounds) }
      roundsPerSecond = median { $0.rounds / $0.seconds }
      commitsPerSecond = median { $0.commits / $0.seconds }
      wakeUpsPerSecond = median { $0.wakeUps / $0.seconds }
    }
  }

  var spansPerRecord: Double
  var spansPerTrace: Double
  var live: Figures
  var backlog: Figures
  /// CPU time per span, live against backlog, of the process and of its lanes' threads.
  var liveRatio: Double
  var laneLiveRatio: Double
  /// The most records that were published and not read when a measurement ended.
  var lagRecords: Int64

  init(_ readings: [LiveBench.Reading]) {
    spansPerRecord = readings.map { $0.live.spans / max(1, $0.live.records) }.median
    spansPerTrace = readings.map { $0.live.spans / max(1, $0.live.traces) }.median
    live = Figures(readings.map(\.live))
    backlog = Figures(readings.map(\.backlog))
    /// Machines drift, so ratios are taken within a round.
    func ratio(_ cpu: (WorkerReading) -> Double) -> Double {
      readings.filter { $0.live.spans > 0 && cpu($0.backlog) > 0 }
        .map { cpu($0.live) / $0.live.spans * $0.backlog.spans / cpu($0.backlog) }
        .median
    }
    liveRatio = ratio(\.cpu)
    laneLiveRatio = ratio(\.laneCPU)
    lagRecords = readings.map(\.lagRecords).max() ?? 0
  }

  var text: String {
    func row(_ name: String, _ digits: Int, _ value: (Figures) -> Double) -> String {
      name.padding(toLength: 44, withPad: " ", startingAt: 0)
        + [live, backlog].map { String(format: "%11.\(digits)f", value($0)) }.joined()
    }
    let ratios = String(
      format: "live takes %.2f times the CPU of a backlog, its lanes %.2f times", liveRatio, laneLiveRatio)
    return """
      \(String(format: "%.1f spans per record, %.1f per trace", spansPerRecord, spansPerTrace)), exactly once
                                                         live    backlog
      \(row("spans/s", 0, \.spansPerSecond))
      \(row("CPU seconds per million spans", 2, \.cpuSecondsPerMillionSpans))
      \(row("  of these, lanes' threads", 2, \.laneCpuSecondsPerMillionSpans))
      \(row("  of these, librdkafka's threads", 2, \.clientCpuSecondsPerMillionSpans))
      \(row("records per round", 1, \.recordsPerRound))
      \(row("spans per round", 1, \.spansPerRound))
      \(row("rounds/s", 0, \.roundsPerSecond))
      \(row("commits/s", 1, \.commitsPerSecond))
      \(row("wake-ups of lanes/s", 0, \.wakeUpsPerSecond))
      \(ratios)
      at most \(lagRecords) records were not read yet at the end
      """
  }
}
