// What a worker is doing, for health and metrics.

public import Sampling

/// One lane's latest status.
public struct LaneStatus: Sendable {
  /// What the lane's thread is doing.
  public enum Phase: Sendable {
    /// It has not started.
    case waiting
    /// It connects, and waits for open transactions of an earlier producer of its transactional id.
    case connecting
    /// It runs its rounds.
    case running
    /// It has ended.
    case ended
  }

  /// What it is doing.
  public var phase: Phase
  /// Time since it last finished a round or a step of waiting for a broker.
  public var sinceProgress: Duration
  /// Its contents and counts.
  public var snapshot: LaneSnapshot
  /// Its measurements.
  public var measures: LaneMeasures
  /// Its consumer's statistics: JSON as described in librdkafka's STATISTICS.md; empty before the first.
  public var consumerStatistics: [UInt8] = []
  /// Their age, or how long there have been none; nil if clients report none.
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

/// A worker's configuration, and the outcome of changes of its topology file.
public struct ConfigurationStatus: Equatable, Sendable {
  /// The version in decision records; empty for a topology that decides nothing.
  public var version = ""
  /// When it was applied.
  public var takenAt = Instant.distantPast
  /// How often a changed file was applied,
  public var taken: UInt64 = 0
  /// or refused.
  public var refused: UInt64 = 0
  /// Whether the file was refused when last read.
  public var isRefused = false
  /// Changed settings that need a restart.
  public var waiting: [String] = []

  /// Nothing has changed.
  public init() {}
}

/// A worker with all its lanes.
public struct WorkerStatus: Sendable {
  /// Whether it is stopping, by request or because of an error.
  public var isStopping = false
  /// Whether the topics have been checked: the brokers answer, and the lanes start.
  public var areTopicsReady = false
  /// Number of transient broker errors.
  public var disturbances: UInt64 = 0
  /// Its configuration, and the outcome of changes.
  public var configuration = ConfigurationStatus()
  /// The lanes, by number.
  public var lanes: [LaneStatus] = []

  /// Nothing is known yet.
  public init() {}

  /// The totals of all lanes.
  public var snapshot: LaneSnapshot {
    var total = LaneSnapshot()
    for lane in lanes { total.add(lane.snapshot) }
    total.partitions.sort()
    return total
  }

  /// The measurements of all lanes.
  public var measures: LaneMeasures {
    guard var total = lanes.first?.measures else { return LaneMeasures() }
    for lane in lanes.dropFirst() { total.add(lane.measures) }
    return total
  }
}
