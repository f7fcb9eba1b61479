// What can change in a topology while a worker runs it, and the version that its decisions carry.

internal import OTLP
internal import Sampling

extension TailSamplingTopology {
  /// Identifies everything besides the spans that verdicts depend on: windows, limits, policies and baseline,
  /// and the shadow policies, which decision records name. Eight hexadecimal digits. Workers with the same
  /// version decide alike; comments, key order and explicit defaults make no difference.
  ///
  /// The upper half of FNV-1a over the effective configuration, folded onto the lower (draft-eastlake-fnv).
  public var version: String {
    var writer = TopologyWriter()
    writer.writeRules(of: self)
    let hash = writer.text.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { hash, byte in
      (hash ^ UInt64(byte)) &* 0x100_0000_01b3
    }
    return Hexadecimal.text((hash >> 32) ^ (hash & 0xffff_ffff), digits: 8)
  }
}

extension Topology {
  /// The version that decisions carry; empty for a topology that decides nothing.
  public var version: String {
    switch self {
    case .tailSampling(let topology): topology.version
    case .repartition, .export: ""
    }
  }
}

/// The effect of replacing a topology while a worker runs.
package struct TopologyChange: Equatable, Sendable {
  /// The topology in effect afterwards.
  package var effective: Topology
  /// The changed settings that wait for a restart, by their names in the file.
  package var waiting: [String]

  /// - Parameters:
  ///   - old: the topology in effect.
  ///   - new: the one to replace it.
  package init(from old: Topology, to new: Topology) {
    effective = old
    switch (old, new) {
    case (.tailSampling(var topology), .tailSampling(let new)):
      waiting = Differences(topology.worker, new.worker).names + Differences(topology, new).names
      // All or none of them: they may depend on each other. The topic of counts is opened at start.
      let lacksStats = new.usesStats && !topology.usesStats
      if !lacksStats, Differences(topology.baseline, new.baseline).names.isEmpty {
        topology.policies = new.policies
        topology.rules = new.rules
        topology.shadow = new.shadow
        topology.sampleOnFirstMatch = new.sampleOnFirstMatch
        topology.invertDecisions = new.invertDecisions
        topology.baseline = new.baseline
      } else {
        if topology.policies != new.policies { waiting.append("policies") }
        if topology.rules != new.rules { waiting.append("rules") }
        if topology.shadow != new.shadow { waiting.append("shadow") }
      }
      topology.worker.log.level = new.worker.log.level
      effective = .tailSampling(topology)
    case (.repartition(var topology), .repartition(let new)):
      waiting = Differences(topology.worker, new.worker).names + Differences(topology, new).names
      topology.worker.log.level = new.worker.log.level
      effective = .repartition(topology)
    case (.export(var topology), .export(let new)):
      waiting = Differences(topology.worker, new.worker).names + Differences(topology, new).names
      topology.worker.log.level = new.worker.log.level
      effective = .export(topology)
    case (.tailSampling, _), (.repartition, _), (.export, _):
      waiting = ["kind"]
    }
  }
}

/// The settings that differ between two topologies and need a restart.
private struct Differences {
  private(set) var names: [String] = []

  private mutating func compare<Part, Value: Equatable>(
    _ name: String, _ path: KeyPath<Part, Value>, _ old: Part, _ new: Part
  ) {
    if old[keyPath: path] != new[keyPath: path] { names.append(name) }
  }

  init(_ old: WorkerSettings, _ new: WorkerSettings) {
    compare("group", \.group, old, new)
    compare("lanes", \.lanes, old, new)
    compare("delivery", \.delivery, old, new)
    compare("commit_interval", \.commitInterval, old, new)
    compare("commit_records", \.commitRecords, old, new)
    compare("stop_timeout", \.stopTimeout, old, new)
    compare("kafka", \.kafka.values, old, new)
    compare("console", \.console, old, new)
    compare("log.format", \.log.format, old, new)
  }

  init(_ old: TailSamplingTopology, _ new: TailSamplingTopology) {
    compare("topics", \.topics, old, new)
    compare("windows", \.windows, old, new)
    compare("recall", \.recall, old, new)
    compare("logs", \.logs, old, new)
    compare("metrics", \.metrics, old, new)
    compare("links", \.links, old, new)
    compare("limits", \.limits, old, new)
    names += Differences(old.baseline, new.baseline).names
  }

  init(_ old: RepartitionTopology, _ new: RepartitionTopology) {
    compare("topics", \.topics, old, new)
    compare("limits.record_bytes", \.recordBytesMax, old, new)
  }

  init(_ old: ExportTopology, _ new: ExportTopology) {
    compare("topics", \.topics, old, new)
    compare("limits.record_bytes", \.recordBytesMax, old, new)
    compare(new.store.transport.rawValue, \.store, old, new)
  }

  /// Baseline settings that determine what the whole fleet counts.
  init(_ old: BaselineSettings?, _ new: BaselineSettings?) {
    guard let old, let new else {
      if (old == nil) != (new == nil) { names.append("baseline") }
      return
    }
    compare("baseline.key", \.key, old, new)
    compare("baseline.interval", \.interval, old, new)
    compare("baseline.services", \.services, old, new)
    compare("baseline.first_of_shape", \.readsShapes, old, new)
    compare("baseline.shape_silence", \.shapeSilence, old, new)
  }
}
