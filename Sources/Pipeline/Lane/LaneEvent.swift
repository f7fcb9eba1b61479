// What a lane tells about itself.

public import Sampling

/// Something that happened on a lane.
public enum LaneEvent: Sendable {
  /// Partitions were taken up; from their committed offsets, or from the configured start where there was none.
  case assigned([(partition: PartitionID, from: Offset?)])
  /// Partitions were given up.
  case released([PartitionID])
  /// Outputs and offsets are lasting.
  case committed(LaneSnapshot)
  /// Something passing went wrong; the lane goes on.
  case disturbed(BrokerError)
}

/// What a lane has written.
public struct LaneCounters: Equatable, Sendable {
  /// Decision records.
  public var decisions: UInt64 = 0
  /// Records of kept spans.
  public var sampled: UInt64 = 0
  /// Dead letters by reason.
  public var deadLetters: [String: UInt64] = [:]
  /// Commits.
  public var commits: UInt64 = 0
  /// Records that came for partitions that were not assigned any more; whoever has them now reads them.
  public var recordsNotAssigned: UInt64 = 0

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
  /// Traces open.
  public var openTraces = 0
  /// Bytes of undecided spans.
  public var bufferedBytes = 0
  /// Bytes of memory that samplers take.
  public var residentBytes = 0

  /// Nothing yet.
  public init(counters: SamplerCounters = SamplerCounters(), lane: LaneCounters = LaneCounters()) {
    self.counters = counters
    self.lane = lane
  }
}
