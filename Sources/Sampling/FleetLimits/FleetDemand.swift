// The demand of all partitions, and the share of each: the control law of limits that the fleet shares.
//
// It is stateless, as the baseline's: shares are a function of the last records of each partition, whatever
// their order, so a worker that has just started has the same shares as all others.
//
// With demands d_p, their sum D, and n partitions, the share of partition p is
//
//     (1 - f) d_p / D + f / n        f = 1/20, and 1/n for each if D is 0
//
// So shares add up to one. In proportion to demand, every partition grants the same part of what asks for
// tokens, and none of it is left unused while another one is short of it. The even part f lets a partition
// begin that nothing has asked until now.
//
// A partition that lags is not a special case: limits are of stream time, so its share is reserved for the
// time that it will read.

/// What asks for the tokens of limits that the fleet shares.
public struct FleetDemand: Sendable {
  /// The part of a limit that all partitions share evenly.
  static let evenShare = 0.05
  /// A demand has changed if it differs from the mean by this share of it and this many standard deviations.
  static let deadBand = 0.1
  static let deviations = 3.0

  /// One interval of a partition.
  fileprivate struct Count: Sendable {
    var interval: Int64
    var coveredMilliseconds: Int64
    var demands: [DemandRecord.Demand]
  }

  /// The last intervals of each partition, the latest first: none older than `DemandRecord.history`.
  private var partitions: [Int32: [Count]] = [:]
  private var newest: Int64 = -1
  /// Intervals, and entries of limits in them.
  private var countsHeld = 0
  private var demandsHeld = 0

  /// Nothing counted yet.
  public init() {}

  /// Adds a partition's record. Of several records of the same interval the first counts.
  ///
  /// `latest` is the interval of the wall clock: later records are ignored.
  public mutating func merge(_ record: DemandRecord, latest: IntervalNumber) -> FleetTraffic.Merge {
    guard record.interval <= latest else { return .implausible }
    let (partition, interval) = (record.partition.value, record.interval.value)
    var counts = partitions[partition] ?? []
    guard !counts.isEmpty || partitions.count < FleetTraffic.partitionsMax else { return .implausible }
    if let first = counts.first, interval <= first.interval - DemandRecord.history { return .old }
    let place = counts.firstIndex { $0.interval <= interval } ?? counts.count
    if place < counts.count, counts[place].interval == interval { return .repeated }
    counts.insert(
      Count(
        interval: interval, coveredMilliseconds: record.coveredMilliseconds, demands: record.demands),
      at: place)
    countsHeld += 1
    demandsHeld += record.demands.count
    while let last = counts.last, last.interval <= counts[0].interval - DemandRecord.history {
      counts.removeLast()
      countsHeld -= 1
      demandsHeld -= last.demands.count
    }
    partitions[partition] = counts
    newest = max(newest, interval)
    return .added
  }

  /// Bytes of memory in use, approximately: each array has a header of 32 bytes. Asked in every round.
  public var byteCount: Int {
    partitions.capacity * (16 + 32) + countsHeld * (MemoryLayout<Count>.stride + 32)
      + demandsHeld * MemoryLayout<DemandRecord.Demand>.stride
  }

  /// The shares of some partitions.
  ///
  /// - Parameters:
  ///   - wanted: the partitions.
  ///   - count: how many partitions the topic has. Others that have written lately count, too: partitions may
  ///     have been added.
  public func shares(of wanted: [PartitionID], among count: Int) -> [PartitionID: PartitionShares] {
    let heard = partitions.filter { Int($0.key) < count || isAlive($0.value) }
    let total = max(1, count, count + heard.keys.count { Int($0) >= count })
    var limits: Set<LimitID> = []
    for counts in heard.values { for demand in counts[0].demands { limits.insert(demand.limit) } }
    // Once a partition has a whole history, one without any record has no traffic: it is not merely slow to
    // begin.
    let isSettled = heard.values.contains { $0.count >= DemandRecord.history }
    var shares: [PartitionID: PartitionShares] = [:]
    for id in wanted { shares[id] = PartitionShares(equalAmong: total) }
    // In no particular order: what is computed for a limit depends on no other.
    for limit in limits {
      let demands = heard.compactMapValues { FleetDemand.demand(for: limit, $0) }
      let silent = isSettled ? total - heard.count : 0
      let known = demands.count + silent
      // Sums are of whole numbers: their order does not matter.
      let sum = demands.values.reduce(UInt128(0)) { $0 + UInt128($1) }
      for id in wanted {
        guard let own = demands[id.value] ?? (heard[id.value] == nil && isSettled ? 0 : nil) else { continue }
        shares[id]?.known[limit] = LimitShare(
          FleetDemand.share(own, of: sum, known: known, total: total))
      }
    }
    return shares
  }

  /// A partition's share, where the demand of `known` of `total` partitions is known. Each of the others has
  /// an equal share reserved.
  private static func share(_ demand: UInt64, of sum: UInt128, known: Int, total: Int) -> Double {
    let (known, total) = (Double(known), Double(total))
    let even = 1 / total
    guard sum > 0 else { return even }
    return (1 - evenShare) * (Double(demand) / Double(sum)) * (known / total) + evenShare * even
  }

  /// A partition beyond those of the topic is one that was added if it keeps pace with the others; if not, a
  /// topic of the same name once had it.
  private func isAlive(_ counts: [Count]) -> Bool {
    counts[0].interval > newest - FleetTraffic.silenceMax
  }

  /// Tokens an interval that a partition is asked for, in thousandths; nil if it does not know the limit.
  ///
  /// It is that of the last interval if that differs from the mean of the others by more than chance, else
  /// the mean of all.
  private static func demand(for limit: LimitID, _ counts: [Count]) -> UInt64? {
    guard let latest = counts[0].tally(of: limit) else { return nil }
    var earlier = Tally()
    for count in counts.dropFirst() { if let tally = count.tally(of: limit) { earlier.add(tally) } }
    var all = latest
    all.add(earlier)
    let demand = latest.differs(from: earlier) ? latest.perInterval : all.perInterval
    return UInt64(min(demand * 1000, 0x1p62))
  }

  fileprivate struct Tally {
    /// In intervals.
    var covered = 0.0
    var traces = 0.0
    var tokens = 0.0

    mutating func add(_ other: Tally) {
      covered += other.covered
      traces += other.traces
      tokens += other.tokens
    }

    var perInterval: Double { covered > 0 ? tokens / covered : 0 }

    /// Whether it is more or less than `others` by more than chance: see `RateController`.
    func differs(from others: Tally) -> Bool {
      guard covered > 0, others.covered > 0 else { return covered > 0 }
      let mean = others.perInterval
      let traces = max(others.traces, 1) / others.covered
      let size = mean > 0 ? mean / traces : perInterval / max(self.traces, 1)
      let variance =
        RateController.sizeDispersion * size * size * traces * (1 / covered + 1 / others.covered)
      let noise = FleetDemand.deviations * variance.squareRoot()
      return (perInterval - mean).magnitude > mean * FleetDemand.deadBand + noise
    }
  }
}

extension FleetDemand.Count {
  fileprivate func tally(of limit: LimitID) -> FleetDemand.Tally? {
    guard let demand = demands.first(where: { $0.limit == limit }) else { return nil }
    return FleetDemand.Tally(
      covered: Double(coveredMilliseconds) / Double(DemandRecord.intervalMilliseconds),
      traces: Double(demand.traces), tokens: Double(demand.tokens))
  }
}
