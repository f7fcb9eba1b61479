// The job of a lane that samples: it feeds records to its partitions' samplers and carries out their effects.

internal import OTLP
package import Sampling
internal import SpanStorage

/// Runs the samplers of a lane's partitions.
package struct SamplingJob: ~Copyable, LaneJob {
  var configuration: Configuration
  let report: (LaneEvent) -> Void
  var decoder: InputDecoder
  var deadLetters: DeadLetterOutput
  /// Ordered by number, so that the lane's outputs do not depend on a hash table's order.
  var partitions: [AssignedPartition] = []
  /// Partitions whose decisions are being read back. Verdicts go into their samplers' caches as they arrive,
  /// under the caches' limit; none are collected first.
  var restoring: [PartitionID: AssignedPartition] = [:]
  /// The partition of the previous record: records mostly arrive in runs.
  private var latest: AssignedPartition?
  /// What the samplers share.
  let memory: SpanMemory
  let workspace = SamplerWorkspace()
  /// Bytes that the lane holds besides spans, tables and verdicts, as of the last round.
  var workingBytes = 0
  /// When memory was last released, by the steady clock.
  var trimmedAt = Instant.distantPast
  var effects = Effects()
  var key = TraceKey()
  /// Counts of partitions that are no longer assigned.
  private(set) var pastCounters = SamplerCounters()
  var written = LaneCounters()
  var skipped = SkippedRecords()
  /// Measurements taken as things happen, and those of partitions that are no longer assigned.
  var measures = LaneMeasures()
  /// Timestamps of the records that caused eager keeps since the last commit.
  var eagerSince: [Instant] = []
  /// The records of span metrics written since the last commit, if the worker serves their totals.
  var measured: [[UInt8]] = []
  /// What is known about the fleet's traffic; nil unless the baseline is adaptive.
  var fleetRates: FleetRates?
  /// What is known about the demand on limits that the fleet shares; unused without such limits.
  var fleetLimits = FleetLimits()
  /// Whether what the fleet had counted when the lane began has been read.
  var isFleetKnown: Bool
  /// Whether the topic of links has been read as far as it went when the lane began.
  var areLinksKnown: Bool
  /// When progress was last reported, by the steady clock.
  var progressToldAt = Instant.distantPast
  /// The ends of quiet partitions are not requested before then, by the steady clock.
  var askAgainAt = Instant.distantPast

  /// What may be read again for recalls.
  var recallBudget: ReadingBudget
  /// Nothing is sought before then, by the steady clock.
  var seekAgainAt = Instant.distantPast
  /// How many times that failed: then another partition is sought first.
  var seekFailures = 0
  /// The same for old verdicts: what may be read,
  var lookUpBudget: ReadingBudget
  /// what the link has read,
  var lookUpBytes: UInt64 = 0
  /// and when they may be sought.
  var lookUpAgainAt = Instant.distantPast
  /// Whether something is being read again.
  var isRecalling = false
  /// The same for log-backed windows.
  var followAgainAt = Instant.distantPast
  var isFollowing = false
  /// When records were last polled, by the steady clock.
  var polledAt = Instant.distantPast

  /// Deals with logs; nil if none follow.
  var logs: LogOutput?
  /// Logs are not sought before then, by the steady clock.
  var seekLogsAt = Instant.distantPast
  /// Logs are not read again before then.
  var recallLogsAt = Instant.distantPast
  /// Brokers are not asked for the ends of logs before then.
  var askForLogsAt = Instant.distantPast

  init(_ configuration: Configuration, report: @escaping (LaneEvent) -> Void) {
    recallBudget = ReadingBudget(rate: configuration.recallBytesPerSecond)
    lookUpBudget = ReadingBudget(rate: configuration.lookUpBytesPerSecond)
    self.configuration = configuration
    self.configuration.sampler.limits.splitBytes = configuration.splitBytesMax
    self.configuration.sampler.limits.sampledBytes = configuration.sampledBytesMax
    self.configuration.sampler.limits.recallBytes = configuration.recallBytesMax
    self.report = report
    decoder = InputDecoder(encoding: configuration.encoding, compression: configuration.compression)
    deadLetters = DeadLetterOutput(topic: configuration.topic, bytesMax: configuration.deadLetterBytesMax)
    let limits = self.configuration.sampler.limits
    logs = configuration.logs.map {
      LogOutput(
        $0, limits: limits, deadLetterBytesMax: configuration.deadLetterBytesMax)
    }
    fleetRates = configuration.sampler.baseline.map { FleetRates($0) }
    isFleetKnown = fleetRates == nil && !configuration.sampler.hasFleetLimits
    areLinksKnown = configuration.sampler.links == nil
    memory = SpanMemory(slabBytes: configuration.sampler.limits.segmentBytes)
    // That leaves half for spans, less the lane's working memory and room for one record. Log-backed windows
    // need the memory of spans for tables.
    let isLogBacked = configuration.sampler.windows.buffer == .log
    memory.tableBytesMax =
      isLogBacked ? configuration.memoryBytesMax / 8 * 5 : configuration.memoryBytesMax / 4
    memory.verdictBytesMax = configuration.memoryBytesMax / 4
  }

  package mutating func adopt(_ sampler: SamplerConfiguration) {
    configuration.sampler.adopt(sampler)
    for partition in partitions { partition.state.sampler.adopt(sampler) }
    for partition in restoring.values { partition.state.sampler.adopt(sampler) }
    adoptShares()
    guard let baseline = sampler.baseline, let rates = fleetRates?.adopt(baseline) else { return }
    for partition in partitions { partition.state.sampler.adopt(rates) }
  }

  package mutating func work(
    at moment: Moment, waiting: [WaitingPartition], to link: some BrokerLink
  ) throws(BrokerError) {
    try followFleet(at: moment, through: link)
    try followLinks(through: link)
    try letTimePass(at: moment.steady, to: link)
    try recall(at: moment.steady, through: link)
    try lookUp(at: moment.steady, through: link)
    try follow(at: moment.steady, through: link)
    try followLogs(at: moment, through: link)
    manageMemory(at: moment.steady)
    tellProgress(of: waiting, at: moment.steady)
    tellDeadLetters(at: moment.steady)
  }

  private mutating func tellDeadLetters(at steady: Instant, all: Bool = false) {
    for notice in deadLetters.takeNotices(at: steady, all: all) { report(.deadLettered(notice)) }
    for notice in logs?.deadLetters.takeNotices(at: steady, all: all) ?? [] { report(.deadLettered(notice)) }
  }

  package mutating func finish(at steady: Instant) {
    tellDeadLetters(at: steady, all: true)
  }

  // MARK: Partitions

  package var partitionIDs: [PartitionID] { partitions.map(\.id) }

  func find(_ id: PartitionID) -> AssignedPartition? {
    partitions.first { $0.id == id }
  }

  /// The partition of a record; nil if it is no longer read.
  mutating func partition(of place: RecordPlace) -> AssignedPartition? {
    if let latest, latest.id == place.partition { return latest }
    latest = find(place.partition)
    return latest
  }

  /// Accepts the partition's records from now on.
  mutating func add(_ partition: AssignedPartition) {
    partitions.append(partition)
    partitions.sort { $0.id < $1.id }
    latest = nil
  }

  package mutating func forget(_ ids: [PartitionID]) {
    for id in ids {
      restoring[id] = nil
      guard let index = partitions.firstIndex(where: { $0.id == id }) else { continue }
      let partition = partitions.remove(at: index)
      pastCounters.add(partition.state.sampler.counters)
      measures.addServices(of: partition.state.sampler)
    }
    effects.removeAll()
    eagerSince.removeAll()
    measured.removeAll()
    latest = nil
  }

  // MARK: Commits

  package mutating func points(all: Bool, at wall: Instant) -> [(PartitionID, CommitPoint)] {
    let lateWindow = configuration.sampler.windows.lateWindow
    return partitions.compactMap { partition in
      guard let point = partition.state.commitPoint(at: wall, lateWindow: lateWindow) else { return nil }
      guard all || partition.state.hasMoved(to: point) else { return nil }
      return (partition.id, point)
    }
  }

  package mutating func noteCommitted(_ points: [(PartitionID, CommitPoint)], at wall: Instant) {
    for timestamp in eagerSince { measures.eagerLatencies.observe(wall - timestamp) }
    eagerSince.removeAll(keepingCapacity: true)
    if !measured.isEmpty { report(.measured(measured)) }
    measured.removeAll()
    for (id, point) in points {
      guard let partition = find(id) else { continue }
      partition.state.committed = point
      partition.state.sampler.noteCommitted(before: point.highWater)
    }
  }
}

extension Lane where Job == SamplingJob {
  /// Makes a sampling lane over a link that has joined its group.
  ///
  /// - Parameters:
  ///   - now: the clock for measurements.
  ///   - report: receives events, on the lane's thread.
  package convenience init(
    link: Link, configuration: SamplingJob.Configuration, now: @escaping () -> Moment = { .now },
    report: @escaping (LaneEvent) -> Void
  ) {
    self.init(
      link: link, job: SamplingJob(configuration, report: report), pace: configuration.pace, now: now,
      report: report)
  }
}
