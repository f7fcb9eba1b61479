// A worker process: as many lanes as the topology says, each on a thread of its own.

internal import Foundation
internal import Kafka
public import Logging
internal import Sampling
internal import Synchronization

/// Why a worker ended, other than by being told to stop.
public struct WorkerFailure: Error, Sendable, CustomStringConvertible {
  /// What happened: one line, or one for each problem.
  public let description: String
  init(_ description: String) {
    self.description = description
  }
}

/// Runs a topology until it is told to stop.
public final class Worker: Sendable {
  private let plan: LanePlan
  private let logger: Logger
  private let isStopping = Atomic(false)
  private let state = Mutex(State())

  private struct State {
    var snapshots: [Int: LaneSnapshot] = [:]
    var failure: String?
    var disturbances = DisturbanceLog()
  }

  /// Prepares a worker. Nothing is connected yet.
  public init(_ topology: Topology, logger: Logger) {
    plan = LanePlan(topology)
    self.logger = logger
  }

  /// Checks the topics without changing anything. Returns a line for each thing found.
  ///
  /// - Throws: `WorkerFailure` with a line for each problem.
  public func inspectTopics() throws(WorkerFailure) -> [String] {
    try withTopics { try $0.inspect() }.notes
  }

  /// Runs until `stop` is called. Blocks.
  ///
  /// - Throws: `WorkerFailure` when topics do not fit, or a lane can't go on.
  public func run() throws(WorkerFailure) {
    let facts = try withTopics { try $0.prepare() }
    for note in facts.notes { logger.notice("\(note)") }
    logger.info("starting", metadata: ["lanes": "\(plan.lanes)", "partitions": "\(facts.partitions)"])
    let group = DispatchGroup()
    for number in 0..<plan.lanes {
      group.enter()
      let thread = Thread { [self] in
        defer { group.leave() }
        runLane(number, facts)
      }
      thread.name = "lane-\(number)"
      thread.stackSize = 8 << 20
      thread.start()
    }
    group.wait()
    if let failure = state.withLock(\.failure) { throw WorkerFailure(failure) }
    logger.info("stopped")
  }

  /// Tells the lanes to finish: they commit, leave the group and end. May be called from any thread, more
  /// than once.
  public func stop() {
    isStopping.store(true, ordering: .relaxed)
  }

  /// What all lanes hold and have done, as of their last commits.
  public var snapshot: LaneSnapshot {
    state.withLock { state in
      var total = LaneSnapshot()
      for snapshot in state.snapshots.values { total.add(snapshot) }
      total.partitions.sort()
      return total
    }
  }

  // MARK: Topics

  private func withTopics(
    _ body: (TopicPreparation) throws -> TopicFacts
  ) throws(WorkerFailure) -> TopicFacts {
    do {
      let log = kafkaLog
      return try body(try TopicPreparation(plan.needs, properties: plan.properties, log: log))
    } catch let problem as TopicProblem {
      throw WorkerFailure(problem.lines.joined(separator: "\n"))
    } catch let error as KafkaError {
      let brokers = plan.properties.first { $0.name == "bootstrap.servers" }?.value ?? "?"
      throw WorkerFailure("no answer from the brokers at \(brokers): \(error)")
    } catch {
      throw WorkerFailure("\(error)")
    }
  }

  /// librdkafka's log lines as ours.
  private var kafkaLog: KafkaLog {
    let logger = logger
    return { line in
      let level: Logger.Level = line.level <= 3 ? .error : line.level == 4 ? .warning : .debug
      logger.log(level: level, "librdkafka \(line.facility): \(line.text)")
    }
  }

  // MARK: Lanes

  private func runLane(_ number: Int, _ facts: TopicFacts) {
    do {
      let link = try KafkaLink(
        topic: plan.needs.input, group: plan.group, outputs: plan.outputs,
        transactionalID: plan.transactionalID.map { "\($0)-\(number)" }, properties: plan.properties,
        log: kafkaLog)
      switch plan.work {
      case .sample(var configuration):
        configuration.sampledBytesMax = facts.valueBytesMax(of: plan.outputs.sampled ?? "")
        configuration.deadLetterBytesMax = facts.valueBytesMax(of: plan.outputs.deadLetters)
        configuration.sampler.limits.forwardBytes = min(
          configuration.sampler.limits.forwardBytes, configuration.sampledBytesMax * 9 / 10)
        let lane = Lane(link: link, configuration: configuration) { [self] in note($0, lane: number) }
        try loop(lane)
      case .repartition(var configuration):
        configuration.sampledBytesMax = facts.valueBytesMax(of: plan.outputs.spans ?? "")
        configuration.deadLetterBytesMax = facts.valueBytesMax(of: plan.outputs.deadLetters)
        let lane = Repartitioner(link: link, configuration: configuration) { [self] in note($0, lane: number)
        }
        try loop(lane)
      }
    } catch {
      fail("lane \(number): \(error)")
    }
  }

  /// Steps until the worker stops or an error can't be waited out.
  private func loop(_ lane: some LaneRounds) throws(BrokerError) {
    while !isStopping.load(ordering: .relaxed) {
      do {
        try lane.step(now: .now, timeout: .milliseconds(100))
      } catch {
        guard error.remedy == .retry else { throw error }
        disturbed(error)
      }
    }
    try finish(lane)
  }

  /// The last commit may meet a rebalance, as when several lanes stop at once: the lane answers it and tries
  /// again. What can't be committed in a few seconds is done again by whoever takes the partitions over.
  private func finish(_ lane: some LaneRounds) throws(BrokerError) {
    for _ in 0..<30 {
      do {
        try lane.stop()
        return
      } catch {
        guard error.remedy == .retry else { throw error }
        disturbed(error)
      }
      do { try lane.step(now: .now, timeout: .milliseconds(100)) } catch {
        guard error.remedy == .retry else { throw error }
      }
    }
    lane.leave()
  }

  /// One lane that can't go on ends the whole process: the group gives its partitions to others at once.
  private func fail(_ message: String) {
    state.withLock { state in
      if state.failure == nil { state.failure = message }
    }
    logger.critical("\(message)")
    stop()
  }

  private func note(_ event: LaneEvent, lane: Int) {
    switch event {
    case .assigned(let partition, let offset, let again, let verdicts):
      logger.info(
        "assigned",
        metadata: [
          "lane": "\(lane)", "topic": "\(plan.needs.input)", "partition": "\(partition.value)",
          "from": "\(offset.map { String($0.value) } ?? "the configured start")", "records_again": "\(again)",
          "verdicts": "\(verdicts)",
        ])
    case .released(let partitions): noteReleased(partitions, lane)
    case .committed(let snapshot):
      let warning = state.withLock { state in
        let warning = KeyWarning(before: state.snapshots[lane]?.counters, now: snapshot.counters)
        state.snapshots[lane] = snapshot
        return warning
      }
      if let text = warning?.text(topic: plan.needs.input) { logger.warning("\(text)") }
    case .disturbed(let error): disturbed(error)
    }
  }

  private func note(_ event: RepartitionEvent, lane: Int) {
    switch event {
    case .assigned(let partitions):
      logger.info(
        "assigned",
        metadata: [
          "lane": "\(lane)", "topic": "\(plan.needs.input)", "partitions": "\(partitions.map(\.value))",
        ])
    case .released(let partitions): noteReleased(partitions, lane)
    case .committed(let counters):
      state.withLock { $0.snapshots[lane] = LaneSnapshot(counters) }
    case .disturbed(let error): disturbed(error)
    }
  }

  private func noteReleased(_ partitions: [PartitionID], _ lane: Int) {
    logger.info("released", metadata: ["lane": "\(lane)", "partitions": "\(partitions.map(\.value))"])
  }

  /// Says what is wrong once, and again with a count while it goes on.
  private func disturbed(_ error: BrokerError) {
    if error.remedy == .stop {
      fail(error.message)
    } else if let text = state.withLock({ $0.disturbances.note(error.message, at: .now) }) {
      logger.warning("\(text)")
    }
  }
}

extension Instant {
  /// The time of day.
  static var now: Instant {
    Instant(nanoseconds: Int64(Date().timeIntervalSince1970 * 1e9))
  }
}

/// Keeps a repeating message from filling the log: one line, then one a minute with a count.
private struct DisturbanceLog {
  private var message = ""
  private var saidAt = Instant.distantPast
  private var count = 0

  mutating func note(_ text: String, at now: Instant) -> String? {
    if text != message {
      self = DisturbanceLog(message: text, saidAt: now, count: 0)
      return text
    }
    count += 1
    guard now >= saidAt + .seconds(60) else { return nil }
    defer { self = DisturbanceLog(message: text, saidAt: now, count: 0) }
    return "\(text) (\(count) times more)"
  }

  init(message: String = "", saidAt: Instant = .distantPast, count: Int = 0) {
    self.message = message
    self.saidAt = saidAt
    self.count = count
  }
}

/// The warning about records that are not keyed by trace id, given once.
private struct KeyWarning {
  private let unkeyed: UInt64
  private let misrouted: UInt64

  init?(before: SamplerCounters?, now: SamplerCounters) {
    let wasSaid = (before?.recordsUnkeyed ?? 0) + (before?.recordsMisrouted ?? 0) > 0
    guard !wasSaid, now.recordsUnkeyed + now.recordsMisrouted > 0 else { return nil }
    unkeyed = now.recordsUnkeyed
    misrouted = now.recordsMisrouted
  }

  func text(topic: String) -> String {
    "topic '\(topic)' has records that are not keyed by their trace id (\(unkeyed) without such a key, "
      + "\(misrouted) with another trace's): spans of one trace may lie in several partitions and "
      + "be decided apart. Let the collector partition by trace id, or run the 'repartition' topology "
      + "before this one"
  }
}
