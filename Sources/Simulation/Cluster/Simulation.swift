// A run: workers over a virtual Kafka, faults, and an auditor. One seed decides everything.

import Kafka
import OTLP
import Pipeline
import Sampling

/// Simulated workers run the production core, lane and link; only the clients, the brokers, the clock and the
/// faults are simulated.
public final class Simulation {
  private final class SimulatedWorker {
    let process: VirtualProcess
    let link: MutatedLink
    let lane: Lane<MutatedLink, SamplingJob>
    private let clock: SimulatedClock
    var frozenUntil = Instant.distantPast
    var wallError: Int64 {
      get { clock.wallError }
      set { clock.wallError = newValue }
    }

    /// Nil if no client could be created.
    init?(
      _ process: VirtualProcess, _ names: OutputNames, _ configuration: SamplingJob.Configuration,
      _ id: String?
    ) {
      let clock = SimulatedClock(process.cluster)
      let link = try? KafkaLink(
        topic: SimulatedTopic.spans, group: "simulated", outputs: names,
        logs: configuration.logs?.topic, transactionalID: id,
        properties: [KafkaProperty("message.max.bytes", "1000000")],
        clients: VirtualClients(process: process),
        isStopping: { process.isStopping }, beat: { process.beat() })
      guard let link else { return nil }
      self.process = process
      self.clock = clock
      self.link = MutatedLink(link, process.mutant)
      lane = Lane(link: self.link, configuration: configuration, now: { clock.moment }) { _ in }
    }

    var moment: Moment { clock.moment }
  }

  /// A process's own clocks.
  private final class SimulatedClock {
    private let cluster: SimulatedCluster
    private let startedAt: Instant
    /// Nanoseconds by which its time of day is off.
    var wallError: Int64 = 0

    init(_ cluster: SimulatedCluster) {
      self.cluster = cluster
      startedAt = cluster.now
    }

    var moment: Moment {
      Moment(
        wall: Instant(nanoseconds: cluster.now.nanoseconds + wallError),
        steady: Instant(nanoseconds: cluster.now.nanoseconds - startedAt.nanoseconds))
    }
  }

  private let options: SimulationOptions
  private let mutant: Mutant?
  private let cluster: SimulatedCluster
  private let faults: FaultSource
  private var random: RandomSource
  /// Draws logs.
  private var logs: RandomSource
  private var workload: Workload
  private var nextRecord: WorkloadRecord?
  private var auditor: Auditor
  private var workers: [Int: SimulatedWorker] = [:]
  private var now: Instant { cluster.now }
  private var report: SimulationReport
  /// How many times the policies have changed. Each worker adopts a change when it gets to it.
  private var configurations = 0
  private var recoveringSince: [Int: Instant] = [:]
  private var wrongClock: WrongClock

  private static let start = Instant(nanoseconds: 1_760_000_000_000_000_000)
  private static let memoryLimit = 64 << 20

  /// Prepares the run of `seed`, with options drawn from it unless others are given.
  public init(seed: UInt64, options given: SimulationOptions? = nil, mutant: Mutant? = nil) {
    var random = RandomSource(seed: seed)
    let options = given ?? SimulationOptions(drawnFrom: &random)
    self.options = options
    self.mutant = mutant
    self.random = random
    logs = RandomSource(seed: seed ^ 0x1065)
    report = SimulationReport(seed: seed)
    auditor = Auditor(
      allowsRepeats: !options.isTransactional,
      mayChangeVerdicts: !options.isTransactional && options.hasLinks,
      isLedgerDamaged: options.strangers > 0, hasMetrics: options.hasMetrics)
    if options.hasLinks, options.areStoriesWhole { auditor.links = Simulation.links(options) }
    cluster = SimulatedCluster(
      partitions: options.partitions, stampsRecords: options.disorderMilliseconds == 0,
      now: Simulation.start)
    cluster.recordBytesMax = options.recordBytesMax
    wrongClock = WrongClock(seed: seed, share: options.wrongStamps)
    var plan = FaultPlan(random: RandomSource(seed: seed ^ 0x5eed))
    plan.crash = options.crashes
    plan.commitFailure = options.commitFailures
    plan.requestFailure = options.requestFailures
    plan.oddCode = options.oddCodes
    plan.stall = options.stalls
    plan.late = options.lateRequests
    plan.lateRandom = RandomSource(seed: seed ^ 0x1a7e)
    faults = FaultSource(plan)
    workload = Workload(Simulation.workloadOptions(seed, options))
    nextRecord = workload.next()
  }

  private static func workloadOptions(_ seed: UInt64, _ options: SimulationOptions) -> WorkloadOptions {
    var traffic = WorkloadOptions()
    traffic.seed = seed
    traffic.startNanoseconds = start.nanoseconds
    traffic.traceCount = options.traces
    traffic.tracesPerSecond = options.tracesPerSecond
    traffic.spansPerTrace = 8
    traffic.spansPerRecord = 3
    traffic.spanBytes = 320
    traffic.services = 5
    traffic.errorShare = 0.15
    traffic.slowShare = 0.1
    traffic.slowThresholdNanoseconds = 800_000_000
    traffic.publishDelayMaxNanoseconds = 300_000_000
    traffic.lateShare = options.hasLateRecords ? (options.recallsSlowly ? 0.6 : 0.1) : 0
    traffic.redeliveredShare = options.redelivered
    if options.hasLinks { traffic.linkShare = 0.3 }
    traffic.lateDelay = 12_000_000_000...30_000_000_000
    return traffic
  }

  /// Enough for all stories of a run.
  private static func links(_ options: SimulationOptions) -> LinksConfiguration {
    var links = LinksConfiguration()
    links.direction = LinkDirection.allCases[options.traces / 3 % 3]
    links.maxHops = 1 + options.traces % 4
    links.tracesPerSecond = 10_000
    links.remember = .seconds(86_400)
    return links
  }

  private var samplerConfiguration: SamplerConfiguration {
    var sampler = SamplerConfiguration()
    // Long enough for every span that is not late: a message waits at most two seconds, and a slow root lasts
    // little more than three.
    sampler.windows.decisionWait = .seconds(10)
    sampler.windows.decisionWaitAfterRoot = .seconds(4)
    sampler.windows.loneRootsWait = true
    sampler.windows.lateWindow = .seconds(120)
    sampler.windows.recallWindow = .seconds(120)
    sampler.windows.looksUpVerdicts = options.forgetsSoon
    if options.forgetsSoon { sampler.windows.lateWindow = .seconds(11) }
    // Stories unfold recall by recall.
    if options.hasLinks, !options.forgetsSoon {
      sampler.windows.lateWindow = .seconds(1200)
      sampler.windows.recallWindow = .seconds(1200)
    }
    if options.isLogBacked { sampler.windows.buffer = .log }
    // Traffic is low: enough witnesses for the truth to hold, and few enough to occur.
    sampler.clockWitnesses = 16
    // Every other configuration reads attributes of spans that the one before it didn't.
    let isOther = configurations % 2 == 1
    sampler.version = "\(configurations)"
    sampler.dropped = options.dropped
    let share = isOther ? 0.5 : 0.2
    sampler.policies = [
      Policy(name: "errors", rule: .statusCode([.error])),
      Policy(name: "slow", rule: .latency(threshold: .milliseconds(800), upper: nil)),
      Policy(
        name: "baseline",
        rule: options.isBaselineAdaptive ? .adaptive : .probabilistic(SamplingThreshold(probability: share))),
    ]
    if isOther {
      let orders = Policy.Rule.patternAttribute(key: "url.path", patterns: ["orders"])
      sampler.policies.insert(Policy(name: "orders", rule: orders), at: 0)
    }
    let scope: RateLimit.Scope = options.hasFleetLimit ? .fleet : .partition
    if options.hasRateLimit {
      let limit = RateLimit(perSecond: 6, burst: 24, scope: scope)
      sampler.policies.append(Policy(name: "limited", rule: .rateLimiting(limit)))
    }
    if options.hasMetrics {
      sampler.metrics = SpanMetricsConfiguration()
      sampler.metrics?.interval = .seconds(7)
    }
    if options.hasLinks { sampler.links = Simulation.links(options) }
    if options.hasShadow { sampler.shadow = Simulation.shadow(isOther: isOther, scope) }
    if mutant == .heedShadow { sampler.policies += sampler.shadow }
    if options.isBaselineAdaptive {
      var baseline = BaselineConfiguration()
      baseline.budget = .shareOfTraces(isOther ? 0.6 : 0.4)
      baseline.interval = .seconds(1)
      if options.hasAttributeKeys { baseline.key = .attributes(["service.name", "db.system", "url.path"]) }
      if options.hasShapes {
        baseline.key = options.hasAttributeKeys ? .parts([.traceShape, .spanName]) : .parts([.traceShape])
        baseline.isWithinBudget = true
        baseline.firstOfShapeShare = 0.5
      }
      sampler.baseline = baseline
    }
    sampler.limits.segmentBytes = 4096
    return sampler
  }

  /// Policies that would drop what must be kept, and keep the rest. The auditor knows these names.
  private static func shadow(isOther: Bool, _ scope: RateLimit.Scope) -> [Policy] {
    var shadow = [
      Policy(name: Auditor.dropsErrors, rule: .drop([.statusCode([.error])])),
      Policy(name: Auditor.keepsAll, rule: .alwaysSample),
      Policy(name: "some", rule: .rateLimiting(RateLimit(perSecond: 5, burst: 10, scope: scope))),
    ]
    // Its predicate is another's in every other configuration.
    if isOther {
      let rule = Policy.Rule.patternAttribute(key: "url.path", patterns: ["cart", "orders"])
      shadow.insert(Policy(name: "paths", rule: rule), at: 0)
    }
    return shadow
  }

  private var outputs: OutputNames {
    OutputNames(
      decisions: SimulatedTopic.decisions, verdicts: SimulatedTopic.verdicts,
      sampled: SimulatedTopic.sampled, sampledLogs: options.hasLogs ? SimulatedTopic.sampledLogs : nil,
      deadLetters: SimulatedTopic.deadLetters,
      stats: samplerConfiguration.usesStats ? SimulatedTopic.stats : nil,
      metrics: options.hasMetrics ? SimulatedTopic.metrics : nil,
      links: options.hasLinks ? SimulatedTopic.links : nil)
  }

  private var laneConfiguration: SamplingJob.Configuration {
    var configuration = SamplingJob.Configuration(sampler: samplerConfiguration, topic: "spans")
    configuration.pace.interval = .milliseconds(500)
    configuration.memoryBytesMax = Simulation.memoryLimit
    if options.hasLogs {
      configuration.logs = LogsConfiguration(topic: SimulatedTopic.logs)
      configuration.logs?.wait = options.forgetsSoon ? .milliseconds(5500) : .seconds(20)
      configuration.logs?.heldBytesMax = 16_384
      configuration.logs?.recalledBytesMax = 65_536
    }
    if options.recallsSlowly { configuration.recallBytesPerSecond = options.forgetsSoon ? 1500 : 600 }
    if options.recallsSlowly { configuration.lookUpBytesPerSecond = 20_000 }
    // Their logs are read again, too.
    if options.hasLogs { configuration.recallBytesPerSecond *= 4 }
    if options.hasLinks { configuration.recallBytesPerSecond *= 8 }
    if options.compressesSpans { configuration.compressAbovePercent = 0 }
    if mutant != .ignoreLimits {
      configuration.bound(by: RecordSizes(options.recordBytesMax, clientBytes: 1_000_000), outputs)
    }
    return configuration
  }

  /// Runs up to `stepsMax` steps with faults, then as many without as are needed to decide everything.
  public func run(stepsMax: Int = 4000) -> SimulationReport {
    cluster.onCommit = { [unowned self] partition, offset in auditor.checkCommit(partition, offset, cluster) }
    cluster.onPass = { [unowned self] in publishDue() }
    startWorker()
    while report.steps < stepsMax, nextRecord != nil || !isDrained { step() }
    faults.plan.isOver = true
    cluster.speakAgain()
    let quietSteps = report.steps + (options.recallsSlowly ? 48_000 : 6000)
    while report.steps < quietSteps, nextRecord != nil || !isDrained { step() }
    if options.hasLinks { followLinks() }
    // Transactions that dead workers left open end now: readers see what comes after them.
    cluster.pass(to: now + .seconds(60))
    let (hash, kept, recalled) = auditor.checkOutputs(cluster)
    if !isDrained { auditor.object("after the faults stopped, not everything was decided") }
    report.hash = hash
    report.kept = kept
    report.recalled = recalled
    report.traces = options.traces
    report.objections = auditor.objections
    report.faults = faults.plan.counts
    report.faults.rebalances = cluster.group.rebalances
    return report
  }

  /// Lets workers follow links until no verdict spreads any more.
  private func followLinks() {
    let links = LogID(topic: SimulatedTopic.links, partition: PartitionID(0))
    for round in 0..<100 {
      let end = cluster.log(links).end
      // Enough for each worker to read what there is, to write what follows, and to commit it; at first also
      // for the transactions of dead workers to time out: nobody sees what comes after them before that.
      for _ in 0..<(round == 0 ? 1600 : 200) { step() }
      let stepsMax = report.steps + 6000
      while report.steps < stepsMax, !isDrained { step() }
      guard cluster.log(links).end > end else { return }
    }
    auditor.object("verdicts spread along links without end")
  }

  /// Whether everything that was published has been read, decided and committed.
  private var isDrained: Bool {
    (0..<options.partitions).allSatisfy { number in
      let partition = PartitionID(number)
      let end = cluster.log(SimulatedTopic.input(partition)).end
      guard end > 0 else { return true }
      guard let committed = cluster.committedPoint(of: partition) ?? nil, committed.offset.value == end else {
        return false
      }
      let point = CommitPoint(safeOffset: committed.offset, metadata: committed.metadata)
      let logsEnd = cluster.log(LogID(topic: SimulatedTopic.logs, partition: partition)).end
      let nextLogs = point?.logs?.next ?? Offset(0)
      return point?.oldestRecall == nil && nextLogs.value >= logsEnd
    }
  }

  private func step() {
    report.steps += 1
    keepAlive()
    cluster.pass(to: now + .milliseconds(Int64(random.number(in: 5...80))))
    changeWorkers()
    let living = workers.keys.sorted()
    guard !living.isEmpty else { return }
    let number = living[random.number(in: 0...living.count - 1)]
    stepWorker(number)
  }

  /// librdkafka's threads send heartbeats as long as their process is not frozen.
  private func keepAlive() {
    for worker in workers.values {
      if worker.frozenUntil > now {
        worker.process.excusedAt = now
      } else if let member = worker.process.member {
        cluster.group.heartbeat(member, at: now)
      }
    }
  }

  private func publishDue() {
    while let record = nextRecord, record.publishedAt <= now.nanoseconds {
      let partition = PartitionID(Int32(record.traceIDLow % UInt64(options.partitions)))
      let isSpoilt = random.chance(options.malformed)
      if isSpoilt {
        cluster.publish(record.key, Auditor.malformedRecord, to: partition, at: record.publishedAt)
        auditor.note(nil, in: partition)
        auditor.noteSpoilt()
      }
      if options.strangers > 0, random.chance(options.strangers) { writeStrangely(to: partition) }
      let disorder = options.disorderMilliseconds
      let behind = disorder > 0 ? Int64(random.number(in: 0...disorder)) * 1_000_000 : 0
      let stamp = record.publishedAt - behind + wrongClock.error()
      // Whatever accompanies it, the record's own spans count.
      let bytes = isSpoilt ? record.bytes + Auditor.rejectedSpan : record.bytes
      cluster.publish(record.key, bytes, to: partition, at: stamp)
      auditor.note(record, in: partition)
      if options.hasLogs { publishLogs(with: record, to: partition, at: stamp) }
      nextRecord = workload.next()
    }
    auditor.note(workload.takeFinishedTruths())
  }

  /// Log records of a record's trace, and of a second trace or none.
  private func publishLogs(with record: WorkloadRecord, to partition: PartitionID, at stamp: Int64) {
    guard logs.chance(0.6) else { return }
    let trace = TraceID(high: record.traceIDHigh, low: record.traceIDLow)
    var request = LogRequest()
    for _ in 0...logs.number(in: 0...2) { request.add(auditor.noteLog(of: trace), of: trace) }
    if logs.chance(0.2) { request.add(auditor.noteLog(of: nil), of: nil) }
    cluster.publish(record.key, request.bytes, to: partition, of: SimulatedTopic.logs, at: stamp)
  }

  /// A foreign producer writes to the topics of verdicts: unreadable records, and readable ones with
  /// impossible values.
  private func writeStrangely(to partition: PartitionID) {
    let trace = String(repeating: "ab", count: 16)
    func decision(_ time: String, _ more: String = "") -> String {
      #"{"trace_id":"\#(trace)","verdict":"drop","final":true,"decided_at":"\#(time)"\#(more)}"#
    }
    let texts = [
      "", "{", decision("999999999999-01-01T00:00:00.000000000Z"),
      decision("2261-12-31T23:59:59.999999999Z"), decision("0000-00-00T00:00:00.000000000Z"),
      decision("2025-10-09T08:53:21.000000000Z", #","first_offset":-9223372036854775808"#),
    ]
    let text = texts[random.number(in: 0...texts.count - 1)]
    for topic in SimulatedTopic.ofVerdicts {
      let id = LogID(topic: topic, partition: partition)
      // To the ledger: a page of another version, or one that ends in its head.
      let page = topic == SimulatedTopic.verdicts ? text.isEmpty ? "TRL\u{3}" : "TRL\u{1}ab" : nil
      _ = cluster.write(id, Auditor.stranger, Array((page ?? text).utf8), in: nil)
    }
  }

  // MARK: Workers

  private func changeWorkers() {
    if workers.isEmpty, faults.plan.isOver || random.chance(0.05) { startWorker() }
    guard !faults.plan.isOver else { return }
    if random.chance(options.churn) {
      if workers.count < options.workersMax, random.chance(0.5) {
        startWorker()
      } else if let number = workers.keys.sorted().first(where: { _ in random.chance(0.5) }) {
        stopWorker(number)
      }
    }
    if random.chance(options.freezes), let number = workers.keys.min() {
      workers[number]?.frozenUntil = now + .milliseconds(Int64(random.number(in: 1000...8000)))
      faults.plan.counts.freezes += 1
    }
    if options.outages > 0, random.chance(options.outages), !cluster.isSilent {
      cluster.fallSilent(for: .milliseconds(Int64(random.number(in: 200...40_000))))
      faults.plan.counts.outages += 1
    }
    if options.reloads > 0, random.chance(options.reloads), !workers.isEmpty {
      let number = workers.keys.sorted()[random.number(in: 0...workers.count - 1)]
      configurations += 1
      workers[number]?.lane.adopt(samplerConfiguration)
      faults.plan.counts.reloads += 1
    }
    if random.chance(options.clockJumps), let number = workers.keys.max() {
      // The search for decisions starts from the stream clock or the time of day, whichever is earlier. They
      // must not both be ahead: a partition's first record may be, until the next ones refute it.
      let latest = options.wrongStamps > 0 ? 0 : 3_600_000
      workers[number]?.wallError = Int64(random.number(in: 0...latest + 3_600_000) - 3_600_000) * 1_000_000
      faults.plan.counts.clockJumps += 1
    }
  }

  /// Starts a worker in the first free place, which gives it its transactional id.
  private func startWorker() {
    guard let place = (0..<options.workersMax).first(where: { workers[$0] == nil }) else { return }
    let process = VirtualProcess(cluster, faults, name: "worker-\(place)", mutant: mutant)
    workers[place] = SimulatedWorker(
      process, outputs, laneConfiguration, options.isTransactional ? process.name : nil)
  }

  private func stopWorker(_ number: Int) {
    guard let worker = workers.removeValue(forKey: number) else { return }
    faults.plan.counts.stops += 1
    worker.process.isStopping = true
    let begin = now
    do { _ = try worker.lane.finish(patience: .seconds(3)) { _ in } } catch {
      note(error, of: worker, number)
    }
    // No stop waits longer than this, whatever the brokers do.
    if now - begin > .seconds(15) { auditor.object("worker \(number) took \(now - begin) to stop") }
  }

  private func stepWorker(_ number: Int) {
    guard let worker = workers[number], worker.frozenUntil <= now else { return }
    do {
      try worker.lane.step(at: worker.moment, timeout: .milliseconds(0))
    } catch {
      // A fatal error ends the process. Another one starts, in the same place or in another.
      if error.remedy != .retry {
        workers[number] = nil
        note(error, of: worker, number)
        return
      }
    }
    if worker.process.isDead {
      // It died in a call that can't throw.
      workers[number] = nil
      return
    }
    worker.process.beat()
    let snapshot = worker.lane.snapshot()
    if snapshot.residentBytes > Simulation.memoryLimit { auditor.object("worker \(number) is too large") }
    if worker.link.unaccountedBytes > 0 {
      auditor.object("worker \(number) holds \(worker.link.unaccountedBytes) bytes outside all limits")
    }
    if worker.process.longestWithoutBeat > Simulation.beatPatience {
      auditor.object("worker \(number) was silent for \(worker.process.longestWithoutBeat)")
    }
    if worker.process.longestWithoutPoll > Simulation.pollPatience {
      auditor.object("worker \(number) did not poll for \(worker.process.longestWithoutPoll)")
    }
    noteRecovery(number, snapshot.recovering > 0)
  }

  /// Well below what `/livez` and `max.poll.interval.ms` allow: five minutes and two.
  private static let beatPatience = Duration.seconds(20)
  private static let pollPatience = Duration.seconds(90)

  /// A process may end when it dies, or because of an error that it was given; anything else is its own
  /// fault.
  private func note(_ error: BrokerError, of worker: SimulatedWorker, _ number: Int) {
    guard !worker.process.isDead, !worker.process.isDoomed else { return }
    auditor.object("worker \(number) ended without a cause: \(error)")
  }

  private func noteRecovery(_ number: Int, _ isRecovering: Bool) {
    if isRecovering {
      if recoveringSince[number] == nil { recoveringSince[number] = now }
    } else if let since = recoveringSince.removeValue(forKey: number) {
      report.longestRecovery = max(report.longestRecovery, now.nanoseconds - since.nanoseconds)
    }
  }
}

/// The one producer whose clock is ahead: by how much, and which records it timestamps.
private struct WrongClock {
  private var random: RandomSource
  private let share: Double
  private let ahead: Int64
  private var left = 0

  init(seed: UInt64, share: Double) {
    random = RandomSource(seed: seed ^ 0xc10c)
    self.share = share
    // More than the clock follows without witnesses.
    ahead = Int64(random.number(in: 6...3600)) * 1_000_000_000
  }

  /// The error of the next record's timestamp, in nanoseconds.
  mutating func error() -> Int64 {
    guard share > 0 else { return 0 }
    if left == 0, random.chance(share) { left = random.number(in: 1...6) }
    guard left > 0 else { return 0 }
    left -= 1
    return ahead
  }
}
