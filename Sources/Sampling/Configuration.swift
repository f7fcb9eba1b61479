// What the core needs to know before the first record.

/// When windows close and how long verdicts are remembered. All on the partition's stream clock.
public struct Windows: Equatable, Sendable {
  /// A trace is decided at the latest this long after its first span.
  public var decisionWait = Interval.seconds(30)
  /// A trace whose root has come and that misses no parent is decided this long after its root, unless it has
  /// shown asynchronous spans and a policy could still be satisfied.
  public var decisionWaitAfterRoot = Interval.seconds(5)
  /// Whether a root that is still alone by then waits the whole wait, too: nothing shows yet whether its
  /// trace is complete. Topologies say yes unless told otherwise.
  public var loneRootsWait = false
  /// Verdicts are remembered this long, for spans that come late.
  public var lateWindow = Interval.seconds(600)

  /// The default windows.
  public init() {}
}

/// What bounds the memory that traffic can take.
public struct Limits: Equatable, Sendable {
  /// A trace with more spans than this is kept as a skeleton.
  public var spansPerTrace = 10_000
  /// A trace with more bytes than this is kept as a skeleton.
  public var bytesPerTrace = 16 << 20
  /// Larger records are malformed.
  public var recordBytes = 64 << 20
  /// Records that take more bytes than this when they are taken apart by trace are malformed; see also
  /// `splitBytes(ofRecord:)`.
  public var splitBytes = 128 << 20
  /// Kept spans of one trace are handed out in portions of at most this many bytes, unless one span is
  /// larger together with what stands around it (its resource and scope),
  public var forwardBytes = 900_000
  /// or these have more than half of that. Then it is this many bytes: what the topic takes. A span that does
  /// not even fit that is handed out alone, and all spans of a resource that does not, together.
  public var forwardBytesMax = 900_000
  /// What is larger than this once it is to be handed out does not fit its topic: it is left out, and said.
  public var sampledBytes = Int.max
  /// Decision records are at most this large: services are left out, and reasons but the first, until they
  /// are. At least `decisionBytesMin`.
  public var decisionBytes = 900_000
  /// Records of counts are at most this large: the keys with the least traces are counted as one.
  public var statsBytes = 900_000
  /// Distinct service names told apart; the rest share one.
  public var services = 10_000
  /// Services whose verdicts are counted one by one; the rest share a count.
  public var servicesCounted = 200
  /// Services listed on a decision.
  public var servicesPerTrace = 256
  /// Error spans looked at to find a trace's error origin.
  public var errorSpansPerTrace = 64
  /// Names of services and operations are cut to this many bytes.
  public var nameBytes = 256
  /// Verdicts remembered; beyond it the oldest go before their time, and are counted.
  public var verdicts = 16_000_000
  /// Bytes of notes on the spans of kept traces after their verdict, so that a late span that is delivered
  /// again is handed out once; beyond it the oldest go.
  public var keptSpanNoteBytes = 16 << 20
  /// The same for dropped traces.
  public var droppedSpanNoteBytes = 1 << 20
  /// The size of a segment of the span buffer.
  public var segmentBytes = 64 << 10

  /// The default limits.
  public init() {}

  /// A record may grow to so many times its size. Pieces repeat resources: 16 times is a trace for every span
  /// of 350 bytes, under a resource of 5 KB.
  static let splitRatioMax = 16
  /// A small record may grow to this all the same.
  static let splitBytesLeast = 4 << 20

  /// The most bytes that the pieces of a record of `count` bytes may have: that a sender gets so much memory
  /// filled it has to send at least a sixteenth.
  @inline(__always)
  public func splitBytes(ofRecord count: Int) -> Int {
    let (product, overflow) = count.multipliedReportingOverflow(by: Limits.splitRatioMax)
    return min(splitBytes, overflow ? .max : max(product, Limits.splitBytesLeast))
  }
}

/// What is written about dropped traces.
public enum DroppedRecords: String, Sendable, CaseIterable {
  /// Id, verdict, counts, root, offsets.
  case compact
  /// The same record as for kept traces.
  case full
  /// Nothing.
  case none
}

/// Everything that a sampler's behaviour depends on beside its input.
public struct SamplerConfiguration: Sendable {
  /// When windows close.
  public var windows = Windows()
  /// What bounds memory.
  public var limits = Limits()
  /// The policies, in their order; see `Policy`.
  public var policies = Policy.defaults
  /// Whether policies behind the first that samples a trace are not asked.
  public var sampleOnFirstMatch = false
  /// Whether policies of the list that are inverted decide as in Collectors before version 0.144: one that
  /// matches takes the trace away, and one that does not keeps it only if no other policy says no. Otherwise
  /// an inverted policy samples what does not match.
  public var invertDecisions = false
  /// How the rates of the policy `adaptive` are found; nil where there is none.
  public var baseline: BaselineConfiguration?
  /// Names all that verdicts depend on; decision records repeat it.
  public var version = ""
  /// What is written about dropped traces.
  public var dropped = DroppedRecords.compact
  /// Which kept spans say why they were kept.
  public var annotate = AnnotatedSpans.none
  /// How far a record's timestamp may be from the stream clock without more records that say so.
  public var clockLead = Interval.seconds(5)
  /// How many records must say so; with 1 the stream clock is the largest timestamp. See `ClockGuard`.
  public var clockWitnesses = 64
  /// Clocks of different hosts may differ by this much without making a trace slow.
  public var skewTolerance = Interval.milliseconds(10)
  /// Seeds the hash of every table. It changes no output, only which ids fall into one bucket.
  public var hashSeed: UInt64 = 0x5851_f42d_4c95_7f2d

  /// The default configuration: all errors, all traces of two seconds and more, and one percent.
  public init() {}
}
