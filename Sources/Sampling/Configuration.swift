// What the core needs to know before the first record.

/// When windows close and how long verdicts are remembered, all on the partition's stream clock.
public struct Windows: Equatable, Sendable {
  /// A trace is decided at the latest this long after its first span.
  public var decisionWait = Interval.seconds(35)
  /// A trace whose root has arrived and that misses no parent is decided this long after its root, unless it
  /// has asynchronous spans and a policy could still match.
  public var decisionWaitAfterRoot = Interval.seconds(5)
  /// Whether a root that is still alone by then also waits the whole wait: nothing shows yet whether its
  /// trace is complete. On by default in topologies.
  public var loneRootsWait = false
  /// How long verdicts are remembered for late spans.
  public var lateWindow = Interval.seconds(600)
  /// How much longer they are remembered at most, because they are forgotten in steps.
  public var horizonLag: Interval { Interval(nanoseconds: lateWindow.nanoseconds / 2) }
  /// How long after its verdict a dropped trace is recalled if a late span makes a policy certain. Within
  /// `lateWindow`. Zero turns recall off.
  public var recallWindow = Interval.seconds(0)
  /// Whether the verdicts of traces whose spans are older than `lateWindow` are looked up: see
  /// `Sampler.nextLookup`.
  public var looksUpVerdicts = false
  /// Where the spans of undecided traces are.
  public var buffer = WindowBuffer.memory

  /// The default windows.
  public init() {}
}

/// Bounds on the memory that traffic can take.
public struct Limits: Equatable, Sendable {
  /// A trace with more spans than this is kept as a skeleton.
  public var spansPerTrace = 10_000
  /// A trace with more bytes than this is kept as a skeleton.
  public var bytesPerTrace = 16 << 20
  /// Larger records are malformed.
  public var recordBytes = 64 << 20
  /// Records that take more bytes than this once split by trace are malformed; see `splitBytes(ofRecord:)`.
  public var splitBytes = 128 << 20
  /// Kept spans of one trace are forwarded in portions of at most this many bytes, unless `forwardBytesMax`
  /// applies.
  public var forwardBytes = 900_000
  /// The limit of portions, that of the topic, if one span with its resource and scope is larger than
  /// `forwardBytes`, or resource and scope take more than half of it. A span that exceeds even this is
  /// forwarded alone; spans whose resource exceeds it, together.
  public var forwardBytesMax = 900_000
  /// Portions larger than this do not fit their topic: they are left out and reported.
  public var sampledBytes = Int.max
  /// Decision records are at most this large: services are left out, then all reasons but the first, until
  /// they fit. At least `decisionBytesMin`.
  public var decisionBytes = 900_000
  /// Pages of the ledger are at most this large, unless that is too little for a single entry.
  public var ledgerPageBytes = 128 << 10
  /// Records of counts are at most this large: the keys with the fewest traces are counted as one.
  public var statsBytes = 900_000
  /// Records of links are at most this large, unless that is too little for a single entry.
  public var linkPageBytes = 64 << 10
  /// Records of metrics are at most this large; at least 12,000.
  public var metricsBytes = 900_000
  /// Distinct service names; the rest share one.
  public var services = 10_000
  /// Services whose verdicts are counted individually; the rest share a count.
  public var servicesCounted = 200
  /// Services listed in a decision.
  public var servicesPerTrace = 256
  /// Error spans examined to find a trace's error origin.
  public var errorSpansPerTrace = 64
  /// Names of services and operations are cut to this many bytes.
  public var nameBytes = 256
  /// Verdicts remembered; beyond this the oldest are forgotten early, and counted.
  public var verdicts = 16_000_000
  /// Traces that wait at a time for verdicts to be looked up; others are decided anew, and counted.
  public var lookups = 1000
  /// Bytes of notes on the spans of kept traces after their verdict, so that a redelivered late span is
  /// forwarded only once; beyond this the oldest are forgotten.
  public var keptSpanNoteBytes = 16 << 20
  /// The same for dropped traces.
  public var droppedSpanNoteBytes = 1 << 20
  /// Recalls that wait or are being read; beyond this, late spans are reported only.
  public var recalls = 10_000
  /// Bytes of spans held for recalls by all samplers that share their memory. At this much no other trace is
  /// begun, and above it those that began last wait for the next pass, but for one trace: see
  /// `Sampler.relieveRecalls`.
  public var recallBytes = 64 << 20
  /// The size of a segment of the span buffer.
  public var segmentBytes = 64 << 10

  /// The default limits.
  public init() {}

  /// A record may grow to this many times its size. Pieces repeat resources: one trace per span of 350 bytes,
  /// under a resource of 5 KB, takes 16 times.
  static let splitRatioMax = 16
  /// A small record may grow to this in any case.
  static let splitBytesLeast = 4 << 20

  /// The most bytes that the pieces of a record of `count` bytes may have: to fill this much memory, a sender
  /// must send at least a sixteenth of it.
  @inline(__always)
  public func splitBytes(ofRecord count: Int) -> Int {
    let (product, overflow) = count.multipliedReportingOverflow(by: Limits.splitRatioMax)
    return min(splitBytes, overflow ? .max : max(product, Limits.splitBytesLeast))
  }
}

/// What is written about dropped traces.
public enum DroppedRecords: String, Sendable, CaseIterable {
  /// An entry in the ledger, with many others in one record: see `Sampler.endLedgerPage`.
  case ledger
  /// Id, verdict, counts, root, offsets.
  case compact
  /// The same record as for kept traces.
  case full
  /// Nothing.
  case none
}

/// Everything that a sampler's behaviour depends on besides its input.
public struct SamplerConfiguration: Sendable {
  /// When windows close.
  public var windows = Windows()
  /// What bounds memory.
  public var limits = Limits()
  /// The policies, in their order; see `Policy`.
  public var policies = Policy.defaults
  /// Whether evaluation stops at the first policy that samples a trace.
  public var sampleOnFirstMatch = false
  /// Whether inverted policies in the list decide as in Collectors before version 0.144: one that matches
  /// vetoes the trace, and one that does not match keeps it only if no other policy decides against it.
  /// Otherwise an inverted policy samples what does not match.
  public var invertDecisions = false
  /// Policies that are asked of every trace and decide nothing, with names of their own and none `adaptive`.
  /// Counters and a field of decision records tell what each would have changed; see `ShadowCounts`.
  public var shadow: [Policy] = []
  /// How the rates of the `adaptive` policy are found; nil if there is none.
  public var baseline: BaselineConfiguration?
  /// How all spans are counted for metrics; nil if they are not.
  public var metrics: SpanMetricsConfiguration?
  /// How verdicts spread along span links; nil if they do not.
  public var links: LinksConfiguration?
  /// Whether what asks for limits that the fleet shares is counted, for `Effects.Output.count`. Not by a
  /// sampler that decides nothing.
  var countsDemand = true
  /// Whether decisions tell the shapes of their traces even if nothing else needs them.
  public var tellsShapes = false
  /// Identifies everything that verdicts depend on; repeated in decision records.
  public var version = ""
  /// What is written about dropped traces.
  public var dropped = DroppedRecords.compact
  /// Which kept spans carry the reason they were kept.
  public var annotate = AnnotatedSpans.none
  /// How far a record's timestamp may be from the stream clock before more records must confirm it.
  public var clockLead = Interval.seconds(5)
  /// How many records must confirm it; with 1 the stream clock is the largest timestamp. See `ClockGuard`.
  public var clockWitnesses = 64
  /// How far hosts' clocks may differ without making a trace count as slow.
  public var skewTolerance = Interval.milliseconds(10)
  /// How much longer than `late_window` verdicts are needed for what follows them: clocks differ, and spans
  /// know verdicts longer, too.
  public var verdictDisorder: Interval {
    let (lead, lag) = (clockLead.nanoseconds, windows.horizonLag.nanoseconds)
    let (sum, overflow) = lead.addingReportingOverflow(lag)
    return Interval(nanoseconds: overflow ? .max : sum)
  }
  /// Seeds the hash of every table. It changes no output, only which ids share a bucket.
  public var hashSeed: UInt64 = 0x5851_f42d_4c95_7f2d

  /// The default configuration: all errors, all traces of two seconds or more, and one percent.
  public init() {}
}
