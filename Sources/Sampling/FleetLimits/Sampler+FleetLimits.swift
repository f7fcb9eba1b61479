// Limits that the fleet shares, inside a sampler: its shares, and what is counted of its demand.

/// The interval in which a partition counts its demand.
struct DemandInterval {
  /// Nil until the stream clock has started.
  private var number: IntervalNumber?
  /// When counting began in it.
  private var countedFrom = Instant.distantPast
  /// The intervals that were published last.
  private var published: [IntervalNumber] = []
  /// How many are remembered: what is published when the clock jumps is fewer.
  private static var publishedMax: Int { 16 }
  /// When it ends; `distantPast` until it has begun.
  var end: Instant {
    guard let number else { return .distantPast }
    return DemandInterval.start(of: IntervalNumber(number.value + 1))
  }

  private static func start(of number: IntervalNumber) -> Instant {
    let length = DemandRecord.interval.nanoseconds
    let (start, overflow) = number.value.multipliedReportingOverflow(by: length)
    return overflow ? .distantFuture : Instant(nanoseconds: start)
  }

  /// Starts counting at `clock`.
  mutating func begin(at clock: Instant) {
    guard clock != .distantPast else { return }
    number = IntervalNumber(of: clock, length: DemandRecord.interval)
    countedFrom = Instant(nanoseconds: max(0, clock.nanoseconds))
  }

  /// An interval that is over.
  struct Over {
    var interval: IntervalNumber
    /// How much of it was counted.
    var milliseconds: Int64
    /// Whether it is the one that was being counted; the others are the last ones of a gap.
    var hasDemand: Bool
  }

  /// Moves the clock. Returns the intervals that are over, each only once, also after the clock was set back:
  /// the topic is compacted, so a second record would replace the first.
  mutating func advance(to clock: Instant) -> [Over] {
    let now = IntervalNumber(of: clock, length: DemandRecord.interval)
    guard let last = number, now > last else { return [] }
    let covered = (end.nanoseconds - countedFrom.nanoseconds) / 1_000_000
    var over = [Over(interval: last, milliseconds: covered, hasDemand: true)]
    for empty in max(last.value + 1, now.value - DemandRecord.history)..<now.value {
      over.append(
        Over(
          interval: IntervalNumber(empty), milliseconds: DemandRecord.intervalMilliseconds,
          hasDemand: false))
    }
    number = now
    countedFrom = DemandInterval.start(of: now)
    let new = over.filter { !published.contains($0.interval) }
    published.append(contentsOf: new.map(\.interval))
    published.removeFirst(max(0, published.count - DemandInterval.publishedMax))
    return new
  }
}

/// One limit that the fleet shares, at one partition.
public struct FleetLimitState: Equatable, Sendable {
  /// The name of its policy or shadow policy.
  public let policy: String
  /// Its place among the limits of the policy that the fleet shares, from 0.
  public let place: Int
  let id: LimitID
  /// The partition's share.
  public let share: LimitShare
}

/// What asked a limit that the fleet shares, and what it granted.
public struct FleetLimitCounts: Equatable, Sendable {
  /// The name of its policy or shadow policy.
  public let policy: String
  /// Its place among the limits of the policy that the fleet shares, from 0.
  public let place: Int
  /// Spans or bytes of the traces that asked.
  public internal(set) var asked: UInt64 = 0
  /// Those of them that were granted.
  public internal(set) var granted: UInt64 = 0
}

extension [FleetLimitCounts] {
  /// Adds the counts of one limit.
  mutating func add(_ counts: FleetLimitCounts) {
    if let known = firstIndex(where: { $0.policy == counts.policy && $0.place == counts.place }) {
      self[known].asked = self[known].asked.addingSaturated(counts.asked)
      self[known].granted = self[known].granted.addingSaturated(counts.granted)
    } else {
      append(counts)
    }
  }
}

extension Sampler {
  /// Adopts this partition's shares of the limits that the fleet shares. Until then, each is a limit of the
  /// partition's own.
  public mutating func adopt(_ shares: PartitionShares) {
    policies.adopt(shares, at: clock)
  }

  /// The limits that the fleet shares: those of policies, then those of shadow policies.
  public var fleetLimits: [FleetLimitState] { policies.fleetLimits }

  /// Begins to count what asks for tokens, at `time`, if a limit is shared and counting has not begun.
  mutating func beginDemand(at time: Instant) {
    guard policies.hasFleetLimits, configuration.countsDemand else { return demandDue = .distantFuture }
    guard demandDue == .distantFuture || demandDue == .distantPast else { return }
    demandInterval.begin(at: time)
    demandDue = demandInterval.end
  }

  /// Begins to count anew: the stream clock was set back to `time`, or policies have changed.
  mutating func restartDemand(at time: Instant) {
    guard demandDue != .distantFuture else { return }
    _ = takeTallies()
    demandInterval.begin(at: time)
    demandDue = demandInterval.end
  }

  /// What asked for tokens since the last call, which is in the counters then.
  private mutating func takeTallies() -> [LimitTally] {
    let tallies = policies.takeTallies()
    for (limit, tally) in zip(policies.fleetLimits, tallies) {
      counters.fleetLimits.add(
        FleetLimitCounts(
          policy: limit.policy, place: limit.place, asked: tally.asked, granted: tally.granted))
    }
    return tallies
  }

  /// Writes what asked for tokens in the intervals that are over.
  mutating func publishDemand(into effects: inout Effects) {
    guard policies.hasFleetLimits else { return demandDue = .distantFuture }
    guard demandDue != .distantPast else { return beginDemand(at: clock) }
    let over = demandInterval.advance(to: clock)
    demandDue = demandInterval.end
    let tallies = takeTallies()
    for part in over {
      let demands = zip(policies.fleetLimits, tallies).map { limit, tally in
        DemandRecord.Demand(
          limit.id, traces: part.hasDemand ? tally.traces : 0, tokens: part.hasDemand ? tally.asked : 0)
      }
      let record = DemandRecord(
        partition: partition, interval: part.interval, coveredMilliseconds: part.milliseconds,
        demands: demands)
      effects.count(key: record.topicKey, record: record.encoded())
    }
  }
}
