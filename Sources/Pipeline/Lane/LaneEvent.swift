// What a lane tells about itself.

public import Sampling

/// Something that happened on a lane.
public enum LaneEvent: Sendable {
  /// A partition resumed from its committed offset, or from the configured start where there was none; so
  /// many records are read again, and so many past verdicts are known.
  case assigned(PartitionID, from: Offset?, recordsAgain: Int64, verdicts: Int)
  /// How far partitions are that are not where their last owner left them yet. Told every
  /// `progressInterval`.
  case recovering([RecoveryProgress])
  /// A partition is where its last owner left it, so long after it was assigned.
  case recovered(PartitionID, after: Interval)
  /// The partition's decisions no longer reach back to this time: verdicts older than what is left are
  /// forgotten, and spans of their traces are taken for new ones.
  case decisionsMissing(PartitionID, since: Instant)
  /// A record came whose offset lies before the next one to read. It is skipped: it was read before, or the
  /// log was cut short and this is another record.
  case repeated(PartitionID, Offset, next: Offset)
  /// Partitions were given up.
  case released([PartitionID])
  /// Outputs and offsets are durable.
  case committed(LaneSnapshot)
  /// Dead letters were written. Each reason is reported at once, then no more than once a minute.
  case deadLettered(DeadLetterNotice)
  /// A transient error; the lane carries on.
  case disturbed(BrokerError)
}

extension LaneEvent {
  /// How often progress is reported.
  static let progressInterval = Interval.seconds(5)
}

/// How far the recovery of a partition is.
public struct RecoveryProgress: Equatable, Sendable {
  /// What is being read.
  public enum Phase: String, Sendable {
    /// The partition's own decisions.
    case decisions
    /// The spans of traces that were open.
    case records
  }

  /// The partition.
  public var partition: PartitionID
  /// What is being read.
  public var phase: Phase
  /// Offsets read in this phase,
  public var done: Int64
  /// of so many; 0 while that is not known.
  public var total: Int64
  /// How long this phase has taken.
  public var elapsed: Interval

  /// How long it will take, if it goes on as it has gone; nil while nothing has been read. One that does not
  /// fit is clamped: offsets are the broker's, and with the first of very many read it is long.
  public var estimate: Interval? {
    guard done > 0, total >= done else { return nil }
    let left = Int128(elapsed.nanoseconds) * Int128(total - done) / Int128(done)
    return Interval(nanoseconds: Int64(clamping: left))
  }
}

/// What a lane has written.
public struct LaneCounters: Equatable, Sendable {
  /// Decision records.
  public var decisions: UInt64 = 0
  /// Records of kept spans.
  public var sampled: UInt64 = 0
  /// Dead letters by reason.
  public var deadLetters: [String: UInt64] = [:]
  /// Spans in them by reason, as far as they could be told apart.
  public var deadLetterSpans: [String: UInt64] = [:]
  /// Commits.
  public var commits: UInt64 = 0
  /// Records of spans that a repartitioner has written.
  public var spans: UInt64 = 0
  /// Records that came for partitions that were not assigned any more; whoever has them now reads them.
  public var recordsNotAssigned: UInt64 = 0
  /// Records that came with an offset before the next one to read, and were skipped.
  public var recordsRepeated: UInt64 = 0

  /// Nothing yet.
  public init() {}
}

/// The state of a lane at one moment.
public struct LaneSnapshot: Equatable, Sendable {
  /// The samplers' counters, summed over partitions, those given up included.
  public var counters: SamplerCounters
  /// The lane's own.
  public var lane: LaneCounters
  /// Partitions assigned.
  public var partitions: [PartitionID] = []
  /// Partitions that are not where their last owner left them yet.
  public var recovering = 0
  /// Traces open.
  public var openTraces = 0
  /// Bytes of undecided spans.
  public var bufferedBytes = 0
  /// Bytes of memory that a lane takes: for spans, tables and past verdicts, and to work with.
  public var residentBytes = 0
  /// Segments of spans that are compressed.
  public var compressedSegments = 0
  /// Bytes of memory that the buffered spans are kept in.
  public var residentBufferBytes = 0
  /// Verdicts remembered for spans that come late.
  public var pastVerdicts = 0

  /// Nothing yet.
  public init(counters: SamplerCounters = SamplerCounters(), lane: LaneCounters = LaneCounters()) {
    self.counters = counters
    self.lane = lane
  }
}

extension LaneSnapshot {
  /// Adds what another lane holds and has done.
  public mutating func add(_ other: LaneSnapshot) {
    counters.add(other.counters)
    lane.add(other.lane)
    partitions += other.partitions
    recovering += other.recovering
    openTraces += other.openTraces
    bufferedBytes += other.bufferedBytes
    residentBufferBytes += other.residentBufferBytes
    residentBytes += other.residentBytes
    compressedSegments += other.compressedSegments
    pastVerdicts += other.pastVerdicts
  }
}

extension LaneCounters {
  mutating func add(_ other: LaneCounters) {
    decisions += other.decisions
    sampled += other.sampled
    spans += other.spans
    commits += other.commits
    recordsNotAssigned += other.recordsNotAssigned
    recordsRepeated += other.recordsRepeated
    deadLetters.merge(other.deadLetters) { $0 + $1 }
    deadLetterSpans.merge(other.deadLetterSpans) { $0 + $1 }
  }
}
