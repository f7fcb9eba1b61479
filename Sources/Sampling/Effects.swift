// What the core wants done. It never does it: the caller writes to Kafka, to a file, or to a simulated log.

public import OTLP

/// The outputs of a run of inputs, in order. Reused: it keeps its storage.
public struct Effects: Sendable {
  /// One thing to write.
  public enum Output: Sendable {
    /// A decision record, in its written form at `record`; not to be written where that is nil.
    case decide(Decision, record: Range<Int>?)
    /// Kept spans of one trace: a `TracesData` of `spans` spans at `bytes`.
    case forward(TraceID, bytes: Range<Int>, spans: Int)
    /// Kept spans of one trace that are larger than `Limits.sampledBytes`: to be written elsewhere.
    case leaveOut(TraceID, bytes: Range<Int>, spans: Int)
    /// What the partition counted in an interval, for the whole fleet: key and value of a record of `stats`.
    case count(key: Range<Int>, record: Range<Int>)
    /// Spans of the record that was read that can't be used, though the record can: a `TracesData` at
    /// `bytes`.
    case reject(RejectedSpans, bytes: Range<Int>)
  }

  /// The outputs, in order.
  public internal(set) var outputs: [Output] = []
  /// Whether there are counts among them.
  public internal(set) var hasCounts = false
  /// Whether spans that can't be used are among them.
  public internal(set) var hasRejections = false
  var arena = WireWriter(capacity: 1 << 16)

  /// Makes an empty list.
  public init() {}

  /// The bytes that the ranges of `outputs` are in.
  public var bytes: [UInt8] { arena.bytes }

  /// Bytes waiting to be written.
  public var byteCount: Int { arena.count }

  /// Bytes of memory in use.
  public var capacity: Int { arena.byteCount + outputs.capacity * MemoryLayout<Output>.stride }

  /// Forgets the outputs, once they are written.
  public mutating func removeAll() {
    outputs.removeAll(keepingCapacity: true)
    hasCounts = false
    hasRejections = false
    arena.removeAll()
  }
}

/// What a sampler has seen and done, from its start on. Every span that came is in exactly one of
/// `spansKept`, `spansTooLarge`, `spansDropped`, `spansTruncated`, `spansReplayed`, `spansRedelivered` or in
/// an open, undecided trace.
public struct SamplerCounters: Equatable, Sendable {
  /// Records read, malformed ones included.
  public var recordsRead: UInt64 = 0
  /// Bytes of their values.
  public var bytesRead: UInt64 = 0
  /// Records that could not be read.
  public var recordsMalformed: UInt64 = 0
  /// Records without a key that is a trace id.
  public var recordsUnkeyed: UInt64 = 0
  /// Records with a span whose trace id is not their key.
  public var recordsMisrouted: UInt64 = 0
  /// Records whose timestamp was too far ahead of those around it, and did not move the stream clock.
  public var timestampsClamped: UInt64 = 0
  /// Times that the stream clock turned out to be ahead of the log, and was set back.
  public var clockTurnedBack: UInt64 = 0
  /// Spans that could not be used, of records of which the rest was taken. They are not among those read.
  public var spansRejected: UInt64 = 0
  /// Spans read.
  public var spansRead: UInt64 = 0
  /// Traces opened.
  public var tracesOpened: UInt64 = 0
  /// Traces kept, final verdicts only.
  public var tracesKept: UInt64 = 0
  /// Traces dropped.
  public var tracesDropped: UInt64 = 0
  /// Traces kept before their window closed.
  public var tracesKeptEarly: UInt64 = 0
  /// Traces that wait the whole wait although their root has come and no parent is missing, because
  /// asynchronous work may go on.
  public var tracesWaitingOn: UInt64 = 0
  /// Traces that went over a limit.
  public var tracesTruncated: UInt64 = 0
  /// Traces decided before their time because memory ran short.
  public var tracesShed: UInt64 = 0
  /// Spans handed out, late ones included.
  public var spansKept: UInt64 = 0
  /// Bytes handed out.
  public var bytesKept: UInt64 = 0
  /// Spans of kept traces that are larger than their topic takes, late ones included.
  public var spansTooLarge: UInt64 = 0
  /// Spans of dropped traces, late ones included.
  public var spansDropped: UInt64 = 0
  /// Spans left out of skeletons.
  public var spansTruncated: UInt64 = 0
  /// Spans read again during recovery that had been dealt with before.
  public var spansReplayed: UInt64 = 0
  /// Spans that had come before, with the same bytes, and were left out.
  public var spansRedelivered: UInt64 = 0
  /// Spans that there was no room to remember: delivered again, they count again.
  public var spansUnremembered: UInt64 = 0
  /// Spans that came after their trace was kept.
  public var lateSpansKept: UInt64 = 0
  /// Spans that came after their trace was dropped.
  public var lateSpansDropped: UInt64 = 0
  /// Verdicts forgotten before the late window was over.
  public var verdictsForgottenEarly: UInt64 = 0
  /// Resources whose service had no room among the services told apart.
  public var servicesBeyondLimit: UInt64 = 0
  /// Spans whose key of the baseline had no room among those told apart.
  public var keysBeyondLimit: UInt64 = 0
  /// Spans whose tracestate could not be given a threshold.
  public var tracestatesLeftAlone: UInt64 = 0
  /// Decision records that were shortened to fit their topic.
  public var decisionsShortened: UInt64 = 0
  /// Keys that were counted as one with others, to make a record of counts fit its topic.
  public var statsKeysLeftOut: UInt64 = 0
  /// Conditions of `ottl_condition` policies that could not be evaluated.
  public var conditionErrors: UInt64 = 0
  /// Those of policies whose error mode is not `silent`.
  public var conditionErrorsSaid: UInt64 = 0
  /// Final keeps by reason: of all the policies that matched, the first counts.
  public var keptByReason: [String: UInt64] = [:]
  /// Traces that were dropped and that a policy would have kept for spans that came too late, by policy; one
  /// trace may count under several.
  public var missedByPolicy: [String: UInt64] = [:]

  /// Nothing counted yet.
  public init() {}
}

extension SamplerCounters {
  /// Adds what another sampler has seen and done.
  public mutating func add(_ other: SamplerCounters) {
    for path in SamplerCounters.scalars { self[keyPath: path] += other[keyPath: path] }
    keptByReason.merge(other.keptByReason) { $0 + $1 }
    missedByPolicy.merge(other.missedByPolicy) { $0 + $1 }
  }

  /// Names each of `policies` as a reason, so that its count has a beginning.
  mutating func beginCounting(_ policies: [Policy]) {
    for policy in policies {
      keptByReason[policy.name, default: 0] += 0
      missedByPolicy[policy.name, default: 0] += 0
    }
  }

  private typealias Scalar = WritableKeyPath<SamplerCounters, UInt64>

  /// Every counter but those by policy.
  private static var scalars: [Scalar] {
    [
      \.recordsRead, \.bytesRead, \.recordsMalformed, \.recordsUnkeyed, \.recordsMisrouted,
      \.timestampsClamped, \.clockTurnedBack, \.spansRejected,
      \.spansRead, \.tracesOpened, \.tracesKept, \.tracesDropped, \.tracesKeptEarly, \.tracesTruncated,
      \.tracesWaitingOn, \.spansTooLarge,
      \.tracesShed, \.spansKept, \.bytesKept, \.spansDropped, \.spansTruncated, \.spansReplayed,
      \.spansRedelivered, \.spansUnremembered,
      \.lateSpansKept, \.lateSpansDropped, \.verdictsForgottenEarly, \.servicesBeyondLimit,
      \.keysBeyondLimit, \.tracestatesLeftAlone, \.conditionErrors, \.conditionErrorsSaid,
      \.decisionsShortened, \.statsKeysLeftOut,
    ]
  }
}
