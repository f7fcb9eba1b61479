// What of a topology can change while a worker runs by it, and the version that its decisions name.

internal import OTLP
internal import Sampling

extension TailSamplingTopology {
  /// Names everything that verdicts depend on beside the spans: windows, limits, policies and baseline, as
  /// eight hexadecimal digits. Workers with the same version decide alike; comments, the order of keys and
  /// defaults that are written out make no difference.
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
  /// The version that decisions name; empty for a topology that decides nothing.
  public var version: String {
    switch self {
    case .tailSampling(let topology): topology.version
    case .repartition: ""
    }
  }
}

/// What comes of a topology that takes another one's place while a worker runs.
package struct TopologyChange: Equatable, Sendable {
  /// What is in effect then.
  package var effective: Topology
  /// The settings that differ and stay as they were: they take a restart. By their names in the file.
  package var waiting: [String]

  /// - Parameters:
  ///   - old: what is in effect.
  ///   - new: what is to be.
  package init(from old: Topology, to new: Topology) {
    effective = old
    switch (old, new) {
    case (.tailSampling(var topology), .tailSampling(let new)):
      waiting = Differences(topology.worker, new.worker).names + Differences(topology, new).names
      // Together or not at all: they may be meant for each other.
      if Differences(topology.baseline, new.baseline).names.isEmpty {
        topology.policies = new.policies
        topology.sampleOnFirstMatch = new.sampleOnFirstMatch
        topology.invertDecisions = new.invertDecisions
        topology.baseline = new.baseline
      } else if topology.policies != new.policies {
        waiting.append("policies")
      }
      topology.worker.log.level = new.worker.log.level
      effective = .tailSampling(topology)
    case (.repartition(var topology), .repartition(let new)):
      waiting = Differences(topology.worker, new.worker).names + Differences(topology, new).names
      topology.worker.log.level = new.worker.log.level
      effective = .repartition(topology)
    case (.tailSampling, .repartition), (.repartition, .tailSampling):
      waiting = ["kind"]
    }
  }
}

/// The settings in which two parts of a topology differ and that take a restart.
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
    compare("limits", \.limits, old, new)
    names += Differences(old.baseline, new.baseline).names
  }

  init(_ old: RepartitionTopology, _ new: RepartitionTopology) {
    compare("topics", \.topics, old, new)
    compare("limits.record_bytes", \.recordBytesMax, old, new)
  }

  /// Those of a baseline by which the whole fleet counts.
  init(_ old: BaselineSettings?, _ new: BaselineSettings?) {
    guard let old, let new else {
      if (old == nil) != (new == nil) { names.append("baseline") }
      return
    }
    compare("baseline.key", \.key, old, new)
    compare("baseline.interval", \.interval, old, new)
    compare("baseline.services", \.services, old, new)
  }
}
