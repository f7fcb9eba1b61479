// A worker process: as many lanes as the topology configures, each on its own thread.

internal import Foundation
internal import Kafka
public import Logging
internal import Sampling
internal import Synchronization
public import Topology

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
  private let log: WorkerLog
  private let isStopping = Atomic(false)
  /// Ends all waits except those for lanes.
  private let stopSignal = DispatchSemaphore(value: 0)
  private let boards: [LaneBoard]
  private let state: Mutex<State>
  /// What it has counted of all traffic, if it serves that.
  public let traffic: TrafficTotals?

  private struct State {
    var areTopicsReady = false
    var disturbances: UInt64 = 0
    var failure: String?
    var topology: Topology
    var configuration = ConfigurationStatus()
  }

  /// Makes the sender of one lane to a store.
  public typealias StoreMaker = @Sendable (StoreSettings) throws -> any SpanStore
  private let makeStore: StoreMaker?

  /// Prepares a worker. Nothing is connected yet.
  ///
  /// - Parameter makeStore: makes what sends spans to a store; only an export topology needs it.
  public init(_ topology: Topology, logger: Logger, makeStore: StoreMaker? = nil) {
    self.makeStore = makeStore
    var state = State(topology: topology)
    state.configuration.version = topology.version
    state.configuration.takenAt = Moment.now.wall
    self.state = Mutex(state)
    plan = LanePlan(topology)
    traffic = TrafficTotals(topology)
    self.logger = logger
    log = WorkerLog(logger, topic: plan.needs.input)
    // Infrequent statistics can't show that brokers have been silent for half a minute.
    let interval = plan.properties.last { $0.name == "statistics.interval.ms" }.flatMap { Int($0.value) }
    let hasStatistics = (1...10_000).contains(interval ?? 1)
    boards = (0..<plan.lanes).map { _ in LaneBoard(hasStatistics: hasStatistics) }
  }

  /// The prefix of the lines of `inspectTopics` that need attention.
  public static let warningPrefix = "warning: "

  /// Checks the topics without changing anything. Returns a line for each finding.
  ///
  /// - Throws: `WorkerFailure` with a line for each problem.
  public func inspectTopics() throws(WorkerFailure) -> [String] {
    let facts = try withTopics { try $0.inspect() }
    return facts.notes + facts.warnings.map { Worker.warningPrefix + $0 }
  }

  /// Runs until `stop` is called. Blocks.
  ///
  /// - Throws: `WorkerFailure` if topics do not match, or a lane can't continue.
  public func run() throws(WorkerFailure) {
    guard let facts = try prepareTopics() else { return }
    for note in facts.notes { logger.notice("\(note)") }
    for warning in facts.warnings { logger.warning("\(warning)") }
    log.noteStart(partitions: facts.partitions)
    state.withLock { $0.areTopicsReady = true }
    logger.info("starting", metadata: ["lanes": "\(plan.lanes)", "partitions": "\(facts.partitions)"])
    let group = DispatchGroup()
    for number in 0..<plan.lanes {
      group.enter()
      let thread = Thread { [self] in
        defer { group.leave() }
        // For `top -H` and the benchmark. Foundation's `name` sometimes does not reach the system.
        try? Data("lane-\(number)".utf8).write(to: URL(filePath: "/proc/thread-self/comm"))
        runLane(number, facts)
      }
      thread.stackSize = 8 << 20
      thread.start()
    }
    try waitForLanes(group)
    if let failure = state.withLock(\.failure) { throw WorkerFailure(failure) }
    logger.info("stopped")
  }

  /// Waits until all lanes have ended; once they are told to stop, for the stop timeout at most.
  private func waitForLanes(_ group: DispatchGroup) throws(WorkerFailure) {
    var deadline: ContinuousClock.Instant?
    while group.wait(timeout: .now() + .milliseconds(100)) == .timedOut {
      guard isStopping.load(ordering: .relaxed) else { continue }
      let end = deadline ?? ContinuousClock.now + plan.stopTimeout
      deadline = end
      guard ContinuousClock.now < end else {
        // Nothing is lost: uncommitted records are still in the log, and open transactions are aborted.
        throw WorkerFailure(
          state.withLock(\.failure)
            ?? "the lanes did not finish within stop_timeout (\(plan.stopTimeout.components.seconds) s): "
            + "the partitions' next owners redo what is not committed")
      }
    }
  }

  /// Tells the lanes to finish: they commit, leave the group and end. May be called from any thread, more
  /// than once.
  public func stop() {
    isStopping.store(true, ordering: .relaxed)
    stopSignal.signal()
  }

  /// The contents and counts of all lanes, a moment ago.
  public var snapshot: LaneSnapshot {
    var total = LaneSnapshot()
    for board in boards { total.add(board.snapshot) }
    total.partitions.sort()
    return total
  }

  /// What the worker is doing. May be read from any thread; no lane waits for it.
  public var status: WorkerStatus {
    var status = WorkerStatus()
    status.isStopping = isStopping.load(ordering: .relaxed)
    state.withLock { state in
      status.areTopicsReady = state.areTopicsReady
      status.disturbances = state.disturbances
      status.configuration = state.configuration
    }
    status.lanes = boards.map(\.status)
    return status
  }

  // MARK: Configuration

  /// The topology in effect.
  public var topology: Topology { state.withLock(\.topology) }

  /// Applies the parts of a changed topology file that need no restart: policies, shadow policies, baseline
  /// and log level.
  ///
  /// Lanes adopt it between two rounds. Traces open then are decided by the new policies, on all their spans;
  /// those kept early stay kept.
  func adopt(_ new: Topology) {
    let change = TopologyChange(from: topology, to: new)
    var isOther = false
    let status = state.withLock { state in
      isOther = state.topology != change.effective
      state.topology = change.effective
      state.configuration.version = change.effective.version
      state.configuration.waiting = change.waiting
      state.configuration.isRefused = false
      if isOther {
        state.configuration.taken += 1
        state.configuration.takenAt = Moment.now.wall
      }
      return state.configuration
    }
    if isOther {
      if case .tailSampling(let topology) = change.effective {
        let sampler = SamplerConfiguration(topology)
        for board in boards { board.leave(sampler) }
      }
      logger.notice("configuration applied", metadata: ["version": "\(status.version)"])
    }
    if !change.waiting.isEmpty {
      let names = change.waiting.joined(separator: ", ")
      logger.warning("the topology file has changes that need a restart: \(names)")
    }
  }

  /// Notes that a changed topology file can't be applied: the current topology stays in effect.
  func refuse(_ error: TopologyError) {
    state.withLock { state in
      state.configuration.refused += 1
      state.configuration.isRefused = true
    }
    for line in error.description.split(separator: "\n") {
      logger.error("the changed topology file is refused: \(line)")
    }
  }

  // MARK: Topics

  /// Prepares the topics, retrying while no broker answers. Nil if the worker is stopped meanwhile.
  private func prepareTopics() throws(WorkerFailure) -> TopicFacts? {
    while !isStopping.load(ordering: .relaxed) {
      do {
        return try TopicPreparation(plan.needs, properties: plan.properties, log: kafkaLog) { [self] in
          isStopping.load(ordering: .relaxed)
        }.prepare { [stopSignal] in _ = stopSignal.wait(timeout: .now() + .milliseconds($0)) }
      } catch let error as KafkaError where error.isRetriable {
        guard !isStopping.load(ordering: .relaxed) else { return nil }
        note(.disturbed(BrokerError(.retry, "\(noAnswer(error)); trying again")), lane: 0)
        _ = stopSignal.wait(timeout: .now() + 1)
      } catch {
        throw failure(error)
      }
    }
    return nil
  }

  private func withTopics(
    _ body: (TopicPreparation) throws -> TopicFacts
  ) throws(WorkerFailure) -> TopicFacts {
    do {
      return try body(TopicPreparation(plan.needs, properties: plan.properties, log: kafkaLog))
    } catch {
      throw failure(error)
    }
  }

  private func failure(_ error: any Error) -> WorkerFailure {
    switch error {
    case let problem as TopicProblem: WorkerFailure(problem.lines.joined(separator: "\n"))
    case let error as KafkaError: WorkerFailure(noAnswer(error))
    default: WorkerFailure("\(error)")
    }
  }

  private func noAnswer(_ error: KafkaError) -> String {
    let names = ["bootstrap.servers", "metadata.broker.list"]
    let brokers = plan.properties.last { names.contains($0.name) }?.shownValue ?? "?"
    if error.isConfiguration { return "kafka: \(error)" }
    let what =
      error.isAuthorization ? "the brokers at \(brokers) refuse" : "no answer from the brokers at \(brokers)"
    return "\(what): \(error)"
  }

  /// Logs librdkafka's lines as ours.
  private var kafkaLog: KafkaLog {
    let logger = logger
    return { line in
      let level: Logger.Level = line.level <= 3 ? .error : line.level == 4 ? .warning : .debug
      logger.log(level: level, "librdkafka \(line.facility): \(line.text)")
    }
  }

  // MARK: Lanes

  private typealias WorkerLane<Job: LaneJob & ~Copyable> = Lane<KafkaLink<LibrdkafkaClients>, Job>

  private func runLane(_ number: Int, _ facts: TopicFacts) {
    let board = boards[number]
    board.enter(.connecting)
    defer { board.enter(.ended) }
    do {
      let clients = LibrdkafkaClients(
        consumerStatistics: board.consumer, producerStatistics: board.producer, log: kafkaLog)
      let link = try KafkaLink(
        topic: plan.needs.input, group: plan.group, outputs: plan.outputs, logs: plan.needs.logs,
        transactionalID: plan.transactionalID.map { "\($0)-\(number)" },
        properties: plan.properties(ofLane: number, facts.sizes), commitInterval: plan.commitInterval,
        clients: clients,
        isStopping: { [self] in isStopping.load(ordering: .relaxed) }, beat: { board.beat() })
      board.enter(.running)
      switch plan.work {
      case .sample(var configuration):
        configuration.bound(by: facts.sizes, plan.outputs)
        let lane = Lane(link: link, configuration: configuration) { [self] in note($0, lane: number) }
        run(lane, number)
      case .repartition(var configuration):
        configuration.bound(by: facts.sizes, plan.outputs)
        let lane = Lane(link: link, configuration: configuration) { [self] in
          note($0, lane: number)
        }
        run(lane, number)
      case .export(var configuration, let settings):
        configuration.bound(by: facts.sizes, plan.outputs)
        guard let makeStore else { throw WorkerFailure("this program has no client for stores") }
        let store = try makeStore(settings)
        defer { store.close() }
        let lane = Lane(link: link, configuration: configuration, store: store) { [self] in
          note($0, lane: number)
        }
        run(lane, number)
      }
    } catch {
      // A lane told to stop while it connects has nothing to finish.
      if !isStopping.load(ordering: .relaxed) { fail("lane \(number): \(error)") }
    }
  }

  /// Runs a lane to its end, and reports why it ended before its clients are torn down: teardown may hang for
  /// good, as after a broker has forgotten a producer, and must not keep the process from ending.
  private func run<Job: LaneJob & ~Copyable>(_ lane: WorkerLane<Job>, _ number: Int) {
    do { try loop(lane, number) } catch { fail("lane \(number): \(error)") }
  }

  /// Runs rounds until the worker stops or an error can't be retried.
  private func loop<Job: LaneJob & ~Copyable>(
    _ lane: WorkerLane<Job>, _ number: Int
  ) throws(BrokerError) {
    var publishedAt = Instant.distantPast
    var measuredAt = Instant.distantPast
    while !isStopping.load(ordering: .relaxed) {
      let moment = Moment.now
      if let configuration = boards[number].takeConfiguration() {
        lane.adopt(configuration)
        logger.debug("configuration applied", metadata: ["lane": "\(number)"])
      }
      do {
        try lane.step(at: moment, timeout: .milliseconds(100))
      } catch {
        guard error.remedy == .retry else { throw error }
        note(.disturbed(error), lane: number)
      }
      boards[number].beat()
      guard moment.steady >= publishedAt + Worker.snapshotInterval else { continue }
      publishedAt = moment.steady
      publish(lane.snapshot(), of: number)
      guard moment.steady >= measuredAt + Worker.measureInterval else { continue }
      measuredAt = moment.steady
      boards[number].publish(lane.measured())
    }
    try finish(lane, number)
    publish(lane.snapshot(), of: number)
    boards[number].publish(lane.measured())
  }

  /// How often lanes publish their contents,
  private static let snapshotInterval = Interval.milliseconds(50)
  /// and their measurements, which cost more: they are read at most once a second.
  private static let measureInterval = Interval.milliseconds(500)

  private func finish<Job: LaneJob & ~Copyable>(
    _ lane: WorkerLane<Job>, _ number: Int
  ) throws(BrokerError) {
    // Half of the stop timeout: the rest is for leaving.
    let patience = min(Worker.finishPatience, Interval(plan.stopTimeout / 2))
    let end = try lane.finish(patience: patience) { note(.disturbed($0), lane: number) }
    let metadata: Logger.Metadata = ["lane": "\(number)"]
    switch end {
    case .committed: break
    case .uncommitted:
      logger.notice(
        "left without the last commit: the partitions' next owners redo its work", metadata: metadata)
    case .unanswered:
      logger.warning(
        """
        no answer from the brokers: left without the last commit; once this member's session has timed out, \
        the partitions' next owners redo its work
        """, metadata: metadata)
    }
  }

  /// How long a lane tries its last commit.
  private static let finishPatience = Interval.seconds(3)

  /// A lane that can't continue ends the whole process: the group assigns its partitions to others at once.
  private func fail(_ message: String) {
    state.withLock { state in
      if state.failure == nil { state.failure = message }
    }
    logger.critical("\(message)")
    stop()
  }

  private func note(_ event: LaneEvent, lane: Int) {
    switch event {
    case .committed(let snapshot): publish(snapshot, of: lane)
    case .measured(let records):
      do {
        for record in records { try traffic?.add(record) }
      } catch {
        logger.error("metrics that were written can't be read: \(error)")
      }
    case .disturbed(let error) where error.remedy == .stop: fail(error.message)
    case .disturbed:
      state.withLock { $0.disturbances += 1 }
      log.note(event, lane: lane)
    default: log.note(event, lane: lane)
    }
  }

  /// Publishes a lane's contents and counts.
  private func publish(_ snapshot: LaneSnapshot, of lane: Int) {
    let before = boards[lane].publish(snapshot)
    log.compare(before.counters, with: snapshot.counters)
  }
}
