// What a plan tells: what is kept before and after, by what, and which traces change.

public import Sampling

/// How much of something there is.
public struct PlanTally: Equatable, Sendable {
  /// Traces.
  public var traces = 0
  /// Their kept spans.
  public var spans = 0
  /// The bytes of these.
  public var bytes = 0

  mutating func add(_ other: PlanTally) {
    traces += other.traces
    spans += other.spans
    bytes += other.bytes
  }
}

/// The same of both configurations.
public struct PlanPair: Equatable, Sendable {
  /// By the configuration now.
  public var old = PlanTally()
  /// By the planned one.
  public var new = PlanTally()

  /// Makes an empty pair.
  public init() {}

  /// Adds another pair's sides to this one's.
  public mutating func add(_ other: PlanPair) {
    old.add(other.old)
    new.add(other.new)
  }
}

/// What a policy does.
public struct PlanPolicy: Sendable {
  /// Its name.
  public var name: String
  /// Whether each configuration has it.
  public var isOld, isNew: Bool
  /// Kept traces that it samples.
  public var sampled = PlanPair()
  /// Those of them that no other policy samples: what it costs.
  public var alone = PlanPair()
  /// Traces that it drops, whatever samples them.
  public var dropped = PlanPair()
  /// Planned policies before it that each sample every kept trace that it samples.
  public var shadowedBy: [String] = []
}

/// What a shadow policy would change in each configuration that has it. It decides nothing.
public struct PlanShadow: Sendable {
  /// Its name.
  public var name: String
  /// What it would change now, and as planned; nil where it is not.
  public var old, new: ShadowCounts?
}

/// Traces that change alike.
public struct PlanChange: Sendable {
  /// What changes.
  public enum Kind: String, Sendable, CaseIterable {
    /// A dropped trace would be kept.
    case kept
    /// A kept trace would be dropped.
    case dropped
    /// A kept trace would be kept with another adjusted count.
    case weight
    /// A kept trace would be kept for other reasons.
    case reasons
    /// Other spans of a kept trace would be kept.
    case spans
  }

  /// What changes.
  public var kind: Kind
  /// The policy that makes the difference: the first that samples or vetoes it where it did not.
  public var policy: String
  /// How many traces, and the spans and bytes that are kept of them before or after.
  public var tally = PlanTally()
  /// Some of them.
  public var samples: [PlanSample] = []

  static let samplesMax = 3
}

/// A trace that changes.
public struct PlanSample: Sendable {
  /// Its id, in hexadecimal.
  public var traceID: String
  /// The service of its root span.
  public var service: String
  /// How long it takes, in nanoseconds.
  public var duration: Int64
  /// Its spans, and those with an error.
  public var spanCount, errorCount: Int
}

/// What two configurations make of a recording.
public struct PlanReport: Sendable {
  /// The replays' own reports.
  public var old, new: ReplayReport
  /// How much of log time the recording covers.
  public var duration: Interval
  /// Traces with a verdict of both,
  public var compared = 0
  /// and of one only, or too far from each other to be compared.
  public var uncompared = 0
  /// Whether a planned policy has a rate limit, which a worker applies to each partition.
  public var hasBudgets = false
  /// Whether planned policies are asked only until one samples.
  public var stopsAtFirstMatch = false
  /// What is kept.
  public var kept = PlanPair()
  /// Policies, in the planned order; those that would be gone come last.
  public var policies: [PlanPolicy] = []
  /// Shadow policies, in the planned order; those that would be gone come last.
  public var shadow: [PlanShadow] = []
  /// What is kept, by the first policy that samples it.
  public var reasons: [String: PlanPair] = [:]
  /// What is kept, by the root's service.
  public var services: [String: PlanPair] = [:]
  /// What changes, the most traces first within each kind.
  public var changes: [PlanChange] = []
  /// The most bytes of memory that each held.
  public var oldMemory = 0, newMemory = 0

  /// Whether anything changes, or may.
  public var hasChanges: Bool { !changes.isEmpty || uncompared > 0 }
}
