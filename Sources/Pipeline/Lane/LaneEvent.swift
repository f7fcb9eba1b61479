// What a lane reports about itself.

public import Sampling

/// Something that happened on a lane.
public enum LaneEvent: Sendable {
  /// A partition resumed from its committed offset, or from the configured start if there was none;
  /// `recordsAgain` records are replayed, and `verdicts` past verdicts are known.
  case assigned(PartitionID, from: Offset?, recordsAgain: Int64, verdicts: Int)
  /// The progress of partitions that have not caught up with their last owner yet. Reported every
  /// `progressInterval`.
  case recovering([RecoveryProgress])
  /// A partition has caught up with its last owner, this long after it was assigned.
  case recovered(PartitionID, after: Interval)
  /// The partition's decisions no longer reach back to this time: older verdicts are lost, and spans of their
  /// traces are treated as new ones.
  case decisionsMissing(PartitionID, since: Instant)
  /// Pages of the partition's ledger can't be read: their verdicts are lost, with the same consequence.
  case ledgerDamaged(PartitionID, LedgerDamage)
  /// A record arrived with an offset before the next one to read. It is skipped: it was read before, or the
  /// log was truncated and this is a different record.
  case repeated(PartitionID, Offset, next: Offset)
  /// Requests of the partition's logs have left their topic before they were read. Reading goes on at the
  /// topic's beginning.
  case logsLost(PartitionID, from: Offset, to: Offset)
  /// Partitions were released.
  case released([PartitionID])
  /// Outputs and offsets are durable.
  case committed(LaneSnapshot)
  /// These records of span metrics are durable.
  case measured([[UInt8]])
  /// Dead letters were written. Each reason is reported at once, then at most once a minute.
  case deadLettered(DeadLetterNotice)
  /// A transient error; the lane carries on.
  case disturbed(BrokerError)
  /// The store that spans are exported to fails; its requests are repeated. Reported every few seconds.
  case storeTroubled(String)
  /// The store has taken a request except for this many spans, perhaps none, and has something to say.
  case storeRejected(spans: UInt64, String)
}

extension LaneEvent {
  /// How often progress is reported.
  static let progressInterval = Interval.seconds(5)
}

/// The progress of a partition's recovery.
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
  /// out of this many; 0 while unknown.
  public var total: Int64
  /// How long this phase has taken so far.
  public var elapsed: Interval

  /// The time left at the rate so far; nil while nothing has been read. It is clamped: offsets come from the
  /// broker, and after the first of very many records the estimate is huge.
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
  /// Dropped traces whose verdicts are in the ledger,
  public var ledgerTraces: UInt64 = 0
  /// the bytes of its pages,
  public var ledgerBytes: UInt64 = 0
  /// and pages that could not be read back.
  public var ledgerPagesUnreadable: UInt64 = 0
  /// Records of the topic of links that could not be read.
  public var linkPagesUnreadable: UInt64 = 0
  /// What the lane's table of links has forgotten because there was too much.
  public var linksForgotten: UInt64 = 0
  /// Bytes of verdicts that were read to look up old ones.
  public var lookUpBytes: UInt64 = 0
  /// Records of kept spans.
  public var sampled: UInt64 = 0
  /// Dead letters by reason.
  public var deadLetters: [String: UInt64] = [:]
  /// Spans in them by reason, if they could be counted.
  public var deadLetterSpans: [String: UInt64] = [:]
  /// Commits.
  public var commits: UInt64 = 0
  /// Rounds: each reads the records that have arrived, perhaps none.
  public var rounds: UInt64 = 0
  /// Records of spans that a repartitioner has written.
  public var spans: UInt64 = 0
  /// Records of partitions that were no longer assigned; their current owner reads them.
  public var recordsNotAssigned: UInt64 = 0
  /// Records with an offset before the next one to read, which were skipped.
  public var recordsRepeated: UInt64 = 0
  /// What became of logs.
  public var logs = LogCounters()
  /// What was sent to a store.
  public var export = ExportCounters()

  /// Nothing yet.
  public init() {}
}

/// The state of a lane at one moment.
public struct LaneSnapshot: Equatable, Sendable {
  /// The samplers' counters, summed over partitions, including those released.
  public var counters: SamplerCounters
  /// The lane's own.
  public var lane: LaneCounters
  /// Partitions assigned.
  public var partitions: [PartitionID] = []
  /// Partitions that have not caught up with their last owner yet.
  public var recovering = 0
  /// Open traces.
  public var openTraces = 0
  /// Bytes of undecided spans.
  public var bufferedBytes = 0
  /// Bytes of spans held for recalls.
  public var recallBytes = 0
  /// Bytes of memory that a lane uses: for spans, tables, past verdicts and work.
  public var residentBytes = 0
  /// Compressed segments of spans.
  public var compressedSegments = 0
  /// Bytes of memory that hold the buffered spans.
  public var residentBufferBytes = 0
  /// Verdicts remembered for late spans.
  public var pastVerdicts = 0
  /// Recalls that wait or are being read,
  public var recallsPending = 0
  /// and log time since the oldest of them was requested.
  public var recallAge = Interval.seconds(0)
  /// Kept traces of log-backed windows that wait for their hand-out,
  public var handOutsPending = 0
  /// log time since the oldest of their verdicts,
  public var handOutAge = Interval.seconds(0)
  /// and records between their follower and the next one to read.
  public var followerLag: Int64 = 0
  /// Bytes of records that a store has not answered for yet,
  public var exportWaitingBytes = 0
  /// whether reading stopped for them,
  public var exportIsPaused = false
  /// and whether the store fails.
  public var exportIsTroubled = false

  /// Nothing yet.
  public init(counters: SamplerCounters = SamplerCounters(), lane: LaneCounters = LaneCounters()) {
    self.counters = counters
    self.lane = lane
  }
}

extension LaneSnapshot {
  /// Adds another lane's contents and counts.
  public mutating func add(_ other: LaneSnapshot) {
    counters.add(other.counters)
    lane.add(other.lane)
    partitions += other.partitions
    recovering += other.recovering
    openTraces += other.openTraces
    bufferedBytes += other.bufferedBytes
    recallBytes += other.recallBytes
    residentBufferBytes += other.residentBufferBytes
    residentBytes += other.residentBytes
    compressedSegments += other.compressedSegments
    pastVerdicts += other.pastVerdicts
    recallsPending += other.recallsPending
    recallAge = max(recallAge, other.recallAge)
    handOutsPending += other.handOutsPending
    handOutAge = max(handOutAge, other.handOutAge)
    followerLag += other.followerLag
    exportWaitingBytes += other.exportWaitingBytes
    exportIsPaused = exportIsPaused || other.exportIsPaused
    exportIsTroubled = exportIsTroubled || other.exportIsTroubled
  }
}

extension LaneCounters {
  mutating func add(_ other: LaneCounters) {
    decisions += other.decisions
    ledgerTraces += other.ledgerTraces
    ledgerBytes += other.ledgerBytes
    ledgerPagesUnreadable += other.ledgerPagesUnreadable
    linkPagesUnreadable += other.linkPagesUnreadable
    linksForgotten += other.linksForgotten
    sampled += other.sampled
    spans += other.spans
    commits += other.commits
    rounds += other.rounds
    recordsNotAssigned += other.recordsNotAssigned
    recordsRepeated += other.recordsRepeated
    logs.add(other.logs)
    export.add(other.export)
    deadLetters.merge(other.deadLetters) { $0 + $1 }
    deadLetterSpans.merge(other.deadLetterSpans) { $0 + $1 }
  }
}
