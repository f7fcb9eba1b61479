// What a lane measures besides its counters, for monitoring.

public import Sampling

/// The position of a partition.
public struct PartitionPosition: Equatable, Sendable {
  /// The partition.
  public var partition: PartitionID
  /// The next offset to read; nil before the first record.
  public var next: Offset?
  /// The end of the log; nil if it is not known.
  public var end: Offset?
  /// The stream clock; nil before the first record with a timestamp.
  public var clock: Instant?
  /// How long the next request of its logs has been due; nil if none follow.
  public var logsLag: Interval?

  /// Makes a position.
  public init(
    partition: PartitionID, next: Offset?, end: Offset?, clock: Instant?, logsLag: Interval? = nil
  ) {
    self.logsLag = logsLag
    self.partition = partition
    self.next = next
    self.end = end
    self.clock = clock
  }

  /// Records between the next one and the end; nil while either is unknown. Transaction markers count.
  public var lagRecords: Int64? {
    guard let next, let end else { return nil }
    return max(0, end.value - next.value)
  }

  /// How far the stream clock is behind the wall clock; zero if everything has been read.
  public func lag(at now: Instant) -> Interval? {
    guard let lagRecords else { return nil }
    guard lagRecords > 0 else { return .seconds(0) }
    return clock.map { now - $0 }
  }
}

/// Verdicts by trigger.
public struct VerdictCounts: Equatable, Sendable {
  /// Final verdicts, by trigger.
  public var kept: [Decision.Trigger: UInt64] = [:]
  /// Final verdicts, by trigger.
  public var dropped: [Decision.Trigger: UInt64] = [:]
  /// Early verdicts, by trigger; final ones follow.
  public var keptEarly: [Decision.Trigger: UInt64] = [:]

  /// Nothing yet.
  public init() {}

  mutating func note(_ decision: Decision) {
    switch (decision.isFinal, decision.isKept) {
    case (true, true): kept[decision.trigger, default: 0] += 1
    case (true, false): dropped[decision.trigger, default: 0] += 1
    case (false, true): keptEarly[decision.trigger, default: 0] += 1
    // Late spans of a dropped trace: no verdict, and counted elsewhere.
    case (false, false): break
    }
  }

  mutating func add(_ other: VerdictCounts) {
    kept.merge(other.kept, uniquingKeysWith: +)
    dropped.merge(other.dropped, uniquingKeysWith: +)
    keptEarly.merge(other.keptEarly, uniquingKeysWith: +)
  }
}

/// What a lane has measured since its start, and its positions.
public struct LaneMeasures: Equatable, Sendable {
  /// Whether its group has assigned it partitions, perhaps none.
  public var hasJoined = false
  /// Assignments, revocations and losses of partitions.
  public var rebalances: [String: UInt64] = [:]
  /// How many times everything since the last commit was aborted and redone.
  public var aborts: UInt64 = 0
  /// Verdicts by trigger.
  public var verdicts = VerdictCounts()
  /// Verdicts by the service of the root.
  public var services: [String: ServiceVerdicts] = [:]
  /// How long commits took, from flush to answer.
  public var commitDurations = Histogram()
  /// Stream time from a trace's first span to its final verdict.
  public var decisionLatencies = Histogram()
  /// Time from the timestamp of the record that made a trace certain to be kept to the commit of its early
  /// decision.
  public var eagerLatencies = Histogram()
  /// Time from a partition's assignment until it caught up with its last owner.
  public var recoveryDurations = Histogram()
  /// How long a store took to answer.
  public var storeDurations = Histogram()
  /// The partitions' positions.
  public var positions: [PartitionPosition] = []
  /// The shares that its partitions have together of the limits that the fleet shares.
  public var limitShares: [LimitName: Double] = [:]
  /// The rates of the adaptive baseline; nil if there is none.
  public var rates: BaselineRates?

  /// Nothing measured yet.
  public init() {}

  /// Adds what another lane has measured. The rates are the fleet's, the same on every lane.
  public mutating func add(_ other: LaneMeasures) {
    hasJoined = hasJoined && other.hasJoined
    rebalances.merge(other.rebalances, uniquingKeysWith: +)
    aborts += other.aborts
    verdicts.add(other.verdicts)
    services.merge(other.services) { own, other in
      var sum = own
      sum.add(other)
      return sum
    }
    commitDurations.add(other.commitDurations)
    decisionLatencies.add(other.decisionLatencies)
    eagerLatencies.add(other.eagerLatencies)
    recoveryDurations.add(other.recoveryDurations)
    storeDurations.add(other.storeDurations)
    positions += other.positions
    limitShares.merge(other.limitShares, uniquingKeysWith: +)
    rates = rates ?? other.rates
  }

  /// A limit that the fleet shares.
  public struct LimitName: Hashable, Sendable {
    /// The name of its policy or shadow policy.
    public var policy: String
    /// Its place among the limits of the policy that the fleet shares, from 0.
    public var place: Int
  }

  /// Adds a partition's shares of the limits that the fleet shares.
  mutating func addShares(of sampler: borrowing Sampler) {
    for limit in sampler.fleetLimits {
      limitShares[LimitName(policy: limit.policy, place: limit.place), default: 0] += limit.share.value
    }
  }

  /// Adds verdicts by service. Names that are not UTF-8 are repaired: two of them may become one.
  mutating func addServices(of sampler: borrowing Sampler) {
    sampler.forEachServiceVerdicts { name, verdicts in
      services[String(decoding: name, as: UTF8.self), default: ServiceVerdicts()].add(verdicts)
    }
  }
}
