// From a topology to the configuration of its lanes.

internal import Foundation
internal import Kafka
internal import Sampling
import Topology

/// Everything the lanes of a topology need to know.
struct LanePlan: Sendable {
  enum Work: Sendable {
    case sample(SamplingJob.Configuration)
    case repartition(RepartitionJob.Configuration)
    case export(ExportJob.Configuration, StoreSettings)
  }

  var work: Work
  var group: String
  var lanes: Int
  var outputs: OutputNames
  var needs: TopicNeeds
  var properties: [KafkaProperty]
  /// The first part of each lane's transactional id; nil for at-least-once delivery.
  var transactionalID: String?
  /// How often lanes commit.
  var commitInterval: Duration
  /// How long lanes may take to finish when the worker stops.
  var stopTimeout: Duration

  init(_ topology: Topology) {
    switch topology {
    case .tailSampling(let topology): self.init(topology)
    case .repartition(let topology): self.init(topology)
    case .export(let topology): self.init(topology)
    }
  }

  private init(_ topology: TailSamplingTopology) {
    let (topics, worker) = (topology.topics, topology.worker)
    var sampler = SamplerConfiguration(topology)
    // Unknown outside the process, so a producer can't choose ids that fall into one bucket. It does not
    // affect output.
    sampler.hashSeed = .random(in: .min ... .max)
    // Without records of dropped traces there is nothing to find; without spans in memory, nothing waits.
    // Without transactions a record does not say that what it tells of was written.
    let looksUpVerdicts =
      sampler.dropped != .none && worker.delivery == .exactlyOnce && sampler.windows.buffer == .memory
    sampler.windows.looksUpVerdicts = looksUpVerdicts
    var configuration = SamplingJob.Configuration(sampler: sampler, topic: topics.spans.name)
    configuration.encoding = topics.spans.encoding
    configuration.compression = topics.spans.compression
    configuration.pace = CommitPace(worker)
    configuration.memoryBytesMax = topology.limits.memory / worker.lanes
    configuration.recallBytesPerSecond = topology.recall.bytesPerSecond / worker.lanes
    configuration.lookUpBytesPerSecond = configuration.recallBytesPerSecond
    configuration.logs = topics.logs.map { logs in
      var configuration = LogsConfiguration(topic: logs.name)
      configuration.encoding = logs.encoding
      configuration.wait = Interval(topology.logs.wait)
      configuration.withoutTrace = topology.logs.withoutTrace
      configuration.keepsWithoutVerdict = topology.logs.withoutVerdict == .keep
      configuration.requestBytesMax = topology.limits.recordBytes
      configuration.heldBytesMax = topology.limits.memory / worker.lanes / 64
      configuration.recalledBytesMax = configuration.heldBytesMax
      return configuration
    }
    let sampledLogs = topics.logs == nil ? nil : topics.sampledLogs
    let outputs = OutputNames(
      decisions: topics.decisions.name, verdicts: topics.verdicts, sampled: topics.sampled,
      sampledLogs: sampledLogs, deadLetters: topics.deadLetters,
      stats: topology.usesStats ? topics.stats : nil,
      metrics: topology.metrics == nil ? nil : topics.metrics,
      links: topology.links == nil ? nil : topics.links)
    // A verdict must be remembered, or be in the log, for its trace to be recalled.
    let windows = topology.windows
    let recalled = looksUpVerdicts ? windows.recallWindow : min(windows.recallWindow, windows.lateWindow)
    let needs = TopicNeeds(
      input: topics.spans.name,
      mirrored: [
        topics.decisions.name, topics.verdicts, topics.sampled, sampledLogs, outputs.metrics,
      ].compactMap(\.self),
      free: [topics.deadLetters] + (outputs.links.map { [$0] } ?? []),
      compacted: outputs.stats, links: outputs.links,
      linksReach: .nanoseconds(topology.links?.remember.nanoseconds ?? 0),
      creation: topics.creation, deadLetterBytes: LanePlan.deadLetterBytes, deadLetters: topics.deadLetters,
      spansOut: topics.sampled, recordBytes: topology.limits.recordBytes,
      clientBytes: LanePlan.clientBytes(worker), decisions: topics.decisions.name,
      readBack: [topics.decisions.name, topics.verdicts],
      readBackReach: topology.windows.lateWindow + topology.windows.decisionWait,
      recallReach: recalled > .zero ? recalled + topology.windows.decisionWait : .zero,
      logs: topics.logs?.name, logsWait: topology.logs.wait + topology.windows.decisionWait,
      sampledLogs: sampledLogs,
      // The follower may be behind for a while, as after a takeover.
      windowReach: topology.windows.buffer == .log ? topology.windows.decisionWait + .seconds(600) : .zero)
    self.init(worker, .sample(configuration), outputs, needs)
  }

  private init(_ topology: RepartitionTopology) {
    let (topics, worker) = (topology.topics, topology.worker)
    var configuration = RepartitionJob.Configuration(topic: topics.rawSpans.name)
    configuration.encoding = topics.rawSpans.encoding
    configuration.compression = topics.rawSpans.compression
    configuration.pace = CommitPace(worker)
    configuration.recordBytesMax = topology.recordBytesMax
    let needs = TopicNeeds(
      input: topics.rawSpans.name, mirrored: [], free: [topics.spans, topics.deadLetters],
      creation: topics.creation, deadLetterBytes: LanePlan.deadLetterBytes, deadLetters: topics.deadLetters,
      spansOut: topics.spans, recordBytes: topology.recordBytesMax,
      clientBytes: LanePlan.clientBytes(worker))
    let outputs = OutputNames(spans: topics.spans, deadLetters: topics.deadLetters)
    self.init(worker, .repartition(configuration), outputs, needs)
  }

  private init(_ topology: ExportTopology) {
    let (topics, worker, store) = (topology.topics, topology.worker, topology.store)
    var configuration = ExportJob.Configuration(topic: topics.sampled)
    configuration.pace = CommitPace(worker)
    configuration.recordBytesMax = topology.recordBytesMax
    configuration.batchBytes = store.batchBytes
    configuration.batchWait = Interval(store.batchWait)
    configuration.compression = store.compression
    // Every connection busy, as much again ready for it, and the batch that is being filled.
    configuration.waitingBytesMax = (2 * store.connections + 1) * store.batchBytes
    let needs = TopicNeeds(
      input: topics.sampled, mirrored: [], free: [topics.deadLetters], creation: topics.creation,
      deadLetterBytes: LanePlan.deadLetterBytes, deadLetters: topics.deadLetters,
      spansOut: topics.sampled, recordBytes: topology.recordBytesMax,
      clientBytes: LanePlan.clientBytes(worker))
    self.init(
      worker, .export(configuration, store), OutputNames(deadLetters: topics.deadLetters), needs)
  }

  private init(_ worker: WorkerSettings, _ work: Work, _ outputs: OutputNames, _ needs: TopicNeeds) {
    self.work = work
    self.outputs = outputs
    self.needs = needs
    group = worker.group
    lanes = worker.lanes
    properties = LanePlan.properties(worker)
    transactionalID = LanePlan.transactionalID(worker)
    stopTimeout = worker.stopTimeout
    commitInterval = worker.commitInterval
  }

  /// Stable for a place in the fleet if the topology names that place; otherwise of this process only. Host
  /// names are not enough: several workers may share one, and each would fence the other.
  private static func transactionalID(_ worker: WorkerSettings) -> String? {
    guard worker.delivery == .exactlyOnce else { return nil }
    if let id = worker.kafka.values["transactional.id"] { return id }
    if let member = worker.kafka.values["group.instance.id"] { return "\(worker.group)-\(member)" }
    let process = String(UInt64.random(in: 1 << 60 ... .max), radix: 16)
    return "\(worker.group)-\(ProcessInfo.processInfo.hostName)-\(process)"
  }

  /// The properties of one lane's clients: each lane is a member of its own, so each has its own name; and
  /// their batches fit every topic.
  func properties(ofLane number: Int, _ sizes: RecordSizes) -> [KafkaProperty] {
    sizes.bounding(properties, outputs: needs.outputs).map { property in
      lanes > 1 && property.name == "group.instance.id"
        ? KafkaProperty(property.name, "\(property.value)-\(number)") : property
    }
  }

  /// Dead letters are records that are too large or of the wrong kind: their topic accepts what others don't.
  private static let deadLetterBytes = 16 << 20

  /// The largest record that the clients let through.
  private static func clientBytes(_ worker: WorkerSettings) -> Int {
    worker.kafka.values["message.max.bytes"].flatMap { Int($0) } ?? deadLetterBytes + 65_536
  }

  /// The topology's properties on top of ours. The client lets records through that only some topics accept:
  /// each topic's own limit is checked before a record is written.
  private static func properties(_ worker: WorkerSettings) -> [KafkaProperty] {
    let defaults = [
      KafkaProperty("bootstrap.servers", KafkaProperties.brokersDefault),
      KafkaProperty("client.id", "tailrace"),
      KafkaProperty("message.max.bytes", String(clientBytes(worker))),
      KafkaProperty("receive.message.max.bytes", "268435456"),
    ]
    let given = worker.kafka.values.filter { $0.key != "transactional.id" }.sorted { $0.key < $1.key }.map {
      KafkaProperty($0.key, $0.value)
    }
    return defaults + given
  }
}

extension CommitPace {
  fileprivate init(_ worker: WorkerSettings) {
    self.init(interval: Interval(worker.commitInterval), records: worker.commitRecords)
  }
}
