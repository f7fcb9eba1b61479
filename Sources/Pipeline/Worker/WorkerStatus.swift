// What a worker is doing, for health and metrics.

public import Sampling

/// One lane, as of its last word.
public struct LaneStatus: Sendable {
  /// What the lane's thread is doing.
  public enum Phase: Sendable {
    /// It has not begun.
    case waiting
    /// It connects, and waits for what an earlier producer of its transactional id left open.
    case connecting
    /// It does its rounds.
    case running
    /// It has ended.
    case ended
  }

  /// What it is doing.
  public var phase: Phase
  /// How long ago it last finished a round, or a step of waiting for a broker.
  public var sinceProgress: Duration
  /// What it holds and has done.
  public var snapshot: LaneSnapshot
  /// What it has measured.
  public var measures: LaneMeasures
  /// What its clients tell: JSON as librdkafka's STATISTICS.md describes it; empty before the first.
  public var consumerStatistics: [UInt8] = []
  /// How long ago it told them, or since when it has not; nil where clients tell none.
  public var consumerStatisticsAge: Duration?
  /// The producer's.
  public var producerStatistics: [UInt8] = []

  /// Makes a status.
  public init(
    phase: Phase, sinceProgress: Duration = .zero, snapshot: LaneSnapshot = LaneSnapshot(),
    measures: LaneMeasures = LaneMeasures(), consumerStatistics: [UInt8] = [],
    producerStatistics: [UInt8] = []
  ) {
    self.phase = phase
    self.sinceProgress = sinceProgress
    self.snapshot = snapshot
    self.measures = measures
    self.consumerStatistics = consumerStatistics
    self.producerStatistics = producerStatistics
  }
}

/// What a worker runs by, and what became of changes of its topology file.
public struct ConfigurationStatus: Equatable, Sendable {
  /// The version that decisions name; empty for a topology that decides nothing.
  public var version = ""
  /// When it was taken over.
  public var takenAt = Instant.distantPast
  /// How often a changed file was taken over,
  public var taken: UInt64 = 0
  /// or refused.
  public var refused: UInt64 = 0
  /// Whether the file was refused when it was last read.
  public var isRefused = false
  /// The settings that the file has changed and that take a restart.
  public var waiting: [String] = []

  /// Nothing has changed.
  public init() {}
}

/// A worker with all its lanes.
public struct WorkerStatus: Sendable {
  /// Whether it was told to stop, or stops because of an error.
  public var isStopping = false
  /// Whether the topics have been looked at: the brokers answer, and the lanes begin.
  public var areTopicsReady = false
  /// Passing trouble with brokers, as often as it was met.
  public var disturbances: UInt64 = 0
  /// What it runs by, and what became of changes.
  public var configuration = ConfigurationStatus()
  /// The lanes, by number.
  public var lanes: [LaneStatus] = []

  /// Nothing is known yet.
  public init() {}

  /// What all lanes hold and have done.
  public var snapshot: LaneSnapshot {
    var total = LaneSnapshot()
    for lane in lanes { total.add(lane.snapshot) }
    total.partitions.sort()
    return total
  }

  /// What all lanes have measured.
  public var measures: LaneMeasures {
    guard var total = lanes.first?.measures else { return LaneMeasures() }
    for lane in lanes.dropFirst() { total.add(lane.measures) }
    return total
  }
}
