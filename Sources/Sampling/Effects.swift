// What the core wants done. The caller does it: writes to Kafka, to a file, or to a simulated log.

public import OTLP

/// The outputs of a run of inputs, in order. Reused: `removeAll` keeps the storage.
public struct Effects: Sendable {
  /// One thing to write.
  public enum Output: Sendable {
    /// A decision record, encoded at `record`; nil if it is not to be written, or is in the ledger.
    case decide(Decision, record: Range<Int>?)
    /// Kept spans of one trace: a `TracesData` of `spans` spans at `bytes`.
    case forward(TraceID, bytes: Range<Int>, spans: Int)
    /// Kept spans of one trace that are larger than `Limits.sampledBytes`, to be written elsewhere.
    case leaveOut(TraceID, bytes: Range<Int>, spans: Int)
    /// A page of the ledger at `page`, with the verdicts of `traces` dropped traces.
    case account(page: Range<Int>, traces: Int)
    /// The partition's counts of an interval, or its demand on limits, for the whole fleet: key and value of
    /// a `stats` record.
    case count(key: Range<Int>, record: Range<Int>)
    /// Metrics of all spans: a `MetricsData` at `record`, with two points for each of `series`.
    case measure(record: Range<Int>, series: Int)
    /// Kept traces whose verdicts spread along links, for the whole fleet: a record at `page` with `traces`
    /// entries.
    case link(page: Range<Int>, traces: Int)
    /// Unusable spans of a record that is otherwise usable: a `TracesData` at `bytes`.
    case reject(RejectedSpans, bytes: Range<Int>)
  }

  /// The outputs, in order.
  public internal(set) var outputs: [Output] = []
  /// Whether `outputs` contains counts.
  public internal(set) var hasCounts = false
  /// Whether `outputs` contains pages of links.
  public internal(set) var hasLinks = false
  /// Whether `outputs` contains unusable spans.
  public internal(set) var hasRejections = false
  var arena = WireWriter(capacity: 1 << 16)

  /// Makes an empty list.
  public init() {}

  /// The bytes that `outputs` refers to.
  public var bytes: [UInt8] { arena.bytes }

  /// Bytes waiting to be written.
  public var byteCount: Int { arena.count }

  /// Bytes of memory in use.
  public var capacity: Int { arena.byteCount + outputs.capacity * MemoryLayout<Output>.stride }

  /// Forgets the outputs, once they are written.
  public mutating func removeAll() {
    // Emptying an empty array is no less work, and a dropped trace leaves no bytes.
    if !outputs.isEmpty { outputs.removeAll(keepingCapacity: true) }
    hasCounts = false
    hasLinks = false
    hasRejections = false
    if arena.count > 0 { arena.removeAll() }
  }
}

/// What a sampler has seen and done since it started. Every span that arrived is in exactly one of
/// `spansKept`, `spansTooLarge`, `spansDropped`, `spansTruncated`, `spansReplayed`, `spansRedelivered` or in
/// an open, undecided trace; with log-backed windows also in a kept trace that has not been handed out.
public struct SamplerCounters: Equatable, Sendable {
  /// Records read, malformed ones included.
  public var recordsRead: UInt64 = 0
  /// Bytes of their values.
  public var bytesRead: UInt64 = 0
  /// Records that could not be read.
  public var recordsMalformed: UInt64 = 0
  /// Records whose key is missing or not a trace id.
  public var recordsUnkeyed: UInt64 = 0
  /// Records with a span whose trace id is not their key.
  public var recordsMisrouted: UInt64 = 0
  /// Records whose timestamp was too far ahead of those around it to move the stream clock.
  public var timestampsClamped: UInt64 = 0
  /// Times the stream clock turned out to be ahead of the log and was set back.
  public var clockTurnedBack: UInt64 = 0
  /// Unusable spans in records whose other spans were used. They do not count as read.
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
  /// Traces that stay open for the whole wait although their root has arrived and no parent is missing,
  /// because asynchronous work may go on.
  public var tracesWaitingOn: UInt64 = 0
  /// Traces that went over a limit.
  public var tracesTruncated: UInt64 = 0
  /// Traces decided early because memory ran short.
  public var tracesShed: UInt64 = 0
  /// Spans forwarded, late ones included.
  public var spansKept: UInt64 = 0
  /// Bytes forwarded.
  public var bytesKept: UInt64 = 0
  /// Spans of kept traces that are too large for their topic, late ones included.
  public var spansTooLarge: UInt64 = 0
  /// Spans of dropped traces, late ones included.
  public var spansDropped: UInt64 = 0
  /// Spans left out of skeletons.
  public var spansTruncated: UInt64 = 0
  /// Spans read again during recovery that had already been dealt with.
  public var spansReplayed: UInt64 = 0
  /// Spans that had arrived before with the same bytes and were left out.
  public var spansRedelivered: UInt64 = 0
  /// Spans there was no room to remember: redelivered, they count again.
  public var spansUnremembered: UInt64 = 0
  /// Spans that arrived after their trace was kept.
  public var lateSpansKept: UInt64 = 0
  /// Spans that arrived after their trace was dropped.
  public var lateSpansDropped: UInt64 = 0
  /// Traces whose old verdicts were looked up,
  public var lookups: UInt64 = 0
  /// those of them that had one,
  public var lookupsFound: UInt64 = 0
  /// and those decided without an answer: too many waited, or memory or a limit required it.
  public var lookupsRefused: UInt64 = 0
  /// Recalls requested: of dropped traces that a late span made a policy certain about.
  public var recallsRequested: UInt64 = 0
  /// Recalls not requested, because too many waited.
  public var recallsRefused: UInt64 = 0
  /// Recalls of traces of which the log had lost some records,
  public var recallsPartial: UInt64 = 0
  /// and of those of which it had lost all.
  public var recallsGone: UInt64 = 0
  /// Recalls fulfilled, as far as the log reached back: the traces are kept.
  public var tracesRecalled: UInt64 = 0
  /// Times that a trace being read again had to wait for the next pass because recalls held too much.
  public var recallsPutBack: UInt64 = 0
  /// Spans forwarded of recalled traces. They count as dropped, too.
  public var spansRecalled: UInt64 = 0
  /// Bytes written of them.
  public var bytesRecalled: UInt64 = 0
  /// Records read again for recalls,
  public var recordsReadAgain: UInt64 = 0
  /// and the bytes of their values.
  public var bytesReadAgain: UInt64 = 0
  /// Records passed by the follower of log-backed windows,
  public var recordsFollowed: UInt64 = 0
  /// those of them that their keys told were not needed,
  public var recordsPassedByKey: UInt64 = 0
  /// and the bytes of the values that it read.
  public var bytesFollowed: UInt64 = 0
  /// Spans handed out by the follower.
  public var spansHandedOut: UInt64 = 0
  /// Kept traces of which the log lost records before the follower came to them.
  public var handOutsLost: UInt64 = 0
  /// Verdicts forgotten before the late window ended.
  public var verdictsForgottenEarly: UInt64 = 0
  /// Resources whose service is beyond the limit of distinct services.
  public var servicesBeyondLimit: UInt64 = 0
  /// Spans whose baseline key is beyond the limit of distinct keys.
  public var keysBeyondLimit: UInt64 = 0
  /// Traces of a shape that their partition did not remember,
  public var shapesNew: UInt64 = 0
  /// those that would have been kept for their shape if its share of the budget had not been spent,
  public var firstsRefused: UInt64 = 0
  /// and traces with too many spans to tell their shape from that of another large one.
  public var shapesOfLarge: UInt64 = 0
  /// Spans counted for metrics: those that are counted again because their counts were not written, too.
  public var spansCounted: UInt64 = 0
  /// Those of them whose series is beyond the limit.
  public var spansCountedTogether: UInt64 = 0
  /// Data points of metrics written.
  public var metricPoints: UInt64 = 0
  /// Traces that links keep: open ones, and dropped ones whose recall was requested.
  public var tracesLinked: UInt64 = 0
  /// Times that links reached a trace, and the rate did not allow to keep it.
  public var linkedBeyondRate: UInt64 = 0
  /// Times that links reached a dropped trace that could not be recalled.
  public var linkedOutOfReach: UInt64 = 0
  /// Kept traces made known to the fleet because verdicts spread from them.
  public var linkEntries: UInt64 = 0
  /// Links left out because their trace has many others.
  public var linksLeftOut: UInt64 = 0
  /// Links that could not be read.
  public var linksMalformed: UInt64 = 0
  /// Traces with links forgotten because there were too many.
  public var linksForgotten: UInt64 = 0
  /// Spans whose tracestate could not be given a threshold.
  public var tracestatesLeftAlone: UInt64 = 0
  /// Decision records that were shortened to fit their topic.
  public var decisionsShortened: UInt64 = 0
  /// Keys counted as one with others to make a record of counts fit its topic.
  public var statsKeysLeftOut: UInt64 = 0
  /// Conditions of `ottl_condition` policies that could not be evaluated.
  public var conditionErrors: UInt64 = 0
  /// The same, of policies whose error mode is not `silent`.
  public var conditionErrorsSaid: UInt64 = 0
  /// Final keeps by reason, recalled traces included: only the first policy that matched counts.
  public var keptByReason: [String: UInt64] = [:]
  /// Dropped traces that a policy would have kept because of spans that arrived too late, by policy; one
  /// trace may count under several.
  public var missedByPolicy: [String: UInt64] = [:]
  /// What shadow policies have answered: those in effect first, in their order.
  public internal(set) var shadow: [ShadowCounts] = []

  /// What has asked limits that the fleet shares, as of the end of the last interval of five seconds.
  public internal(set) var fleetLimits: [FleetLimitCounts] = []

  /// Nothing counted yet.
  public init() {}
}

extension SamplerCounters {
  /// Adds another sampler's counts. A lane does that for each of its partitions 20 times a second; with key
  /// paths, instead of a line for each counter, it took 24,000 instructions.
  public mutating func add(_ other: borrowing SamplerCounters) {
    recordsRead += other.recordsRead
    bytesRead += other.bytesRead
    recordsMalformed += other.recordsMalformed
    recordsUnkeyed += other.recordsUnkeyed
    recordsMisrouted += other.recordsMisrouted
    timestampsClamped += other.timestampsClamped
    clockTurnedBack += other.clockTurnedBack
    spansRejected += other.spansRejected
    spansRead += other.spansRead
    tracesOpened += other.tracesOpened
    tracesKept += other.tracesKept
    tracesDropped += other.tracesDropped
    tracesKeptEarly += other.tracesKeptEarly
    tracesTruncated += other.tracesTruncated
    tracesWaitingOn += other.tracesWaitingOn
    spansTooLarge += other.spansTooLarge
    tracesShed += other.tracesShed
    spansKept += other.spansKept
    bytesKept += other.bytesKept
    spansDropped += other.spansDropped
    spansTruncated += other.spansTruncated
    spansReplayed += other.spansReplayed
    spansRedelivered += other.spansRedelivered
    spansUnremembered += other.spansUnremembered
    lookups += other.lookups
    lookupsFound += other.lookupsFound
    lookupsRefused += other.lookupsRefused
    recallsRequested += other.recallsRequested
    recallsRefused += other.recallsRefused
    recallsPartial += other.recallsPartial
    recallsGone += other.recallsGone
    recallsPutBack += other.recallsPutBack
    tracesRecalled += other.tracesRecalled
    spansRecalled += other.spansRecalled
    bytesRecalled += other.bytesRecalled
    recordsReadAgain += other.recordsReadAgain
    bytesReadAgain += other.bytesReadAgain
    recordsFollowed += other.recordsFollowed
    recordsPassedByKey += other.recordsPassedByKey
    bytesFollowed += other.bytesFollowed
    spansHandedOut += other.spansHandedOut
    handOutsLost += other.handOutsLost
    lateSpansKept += other.lateSpansKept
    lateSpansDropped += other.lateSpansDropped
    verdictsForgottenEarly += other.verdictsForgottenEarly
    servicesBeyondLimit += other.servicesBeyondLimit
    keysBeyondLimit += other.keysBeyondLimit
    shapesNew += other.shapesNew
    firstsRefused += other.firstsRefused
    shapesOfLarge += other.shapesOfLarge
    spansCounted += other.spansCounted
    spansCountedTogether += other.spansCountedTogether
    metricPoints += other.metricPoints
    addLinks(other)
    tracestatesLeftAlone += other.tracestatesLeftAlone
    conditionErrors += other.conditionErrors
    conditionErrorsSaid += other.conditionErrorsSaid
    decisionsShortened += other.decisionsShortened
    statsKeysLeftOut += other.statsKeysLeftOut
    keptByReason.merge(other.keptByReason) { $0 + $1 }
    missedByPolicy.merge(other.missedByPolicy) { $0 + $1 }
    if !other.shadow.isEmpty { shadow.add(other.shadow) }
    for counts in other.fleetLimits { fleetLimits.add(counts) }
  }

  private mutating func addLinks(_ other: borrowing SamplerCounters) {
    tracesLinked += other.tracesLinked
    linkedBeyondRate += other.linkedBeyondRate
    linkedOutOfReach += other.linkedOutOfReach
    linkEntries += other.linkEntries
    linksLeftOut += other.linksLeftOut
    linksMalformed += other.linksMalformed
    linksForgotten += other.linksForgotten
  }

  /// Starts each policy at zero, unless it already has a count.
  mutating func beginCounting(_ configuration: SamplerConfiguration) {
    shadow.begin(configuration.shadow.map(\.name))
    for policy in configuration.policies {
      keptByReason[policy.name, default: 0] += 0
      missedByPolicy[policy.name, default: 0] += 0
    }
    if configuration.baseline.map({ $0.firstOfShapeShare > 0 }) ?? false {
      keptByReason[Sampler.firstOfShapeReason, default: 0] += 0
    }
  }
}
