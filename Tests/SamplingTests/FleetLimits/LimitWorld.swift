// A fleet whose partitions share one rate limit: buckets, counts, records that take a while to arrive, and
// lanes that adopt shares once a second, each at a moment of its own.

import Simulation

@testable import Sampling

/// Demand by partition and time.
struct LimitDemand {
  var partitions: Int
  /// Traces that ask in a second, at a partition and a second.
  var traces: (_ partition: Int, _ second: Int) -> Double
  var spansPerTrace = 10.0
}

struct LimitWorld {
  static let step: Int64 = 50
  /// What was asked for, and what was granted, by second.
  private(set) var asked: [Int64] = []
  private(set) var granted: [Int64] = []
  /// What one bucket for all of it would have granted.
  private(set) var ideal: [Int64] = []
  /// The most that the shares of all partitions were together.
  private(set) var sharesMax = 0.0

  private let limit: RateLimit
  private let id = LimitID(policy: "p", place: 0, paysBytes: false)
  private var buckets: [TokenBucket]
  private var single: TokenBucket
  private var intervals: [DemandInterval]
  private var lanes: [(fleet: FleetDemand, adoptsAt: Int64)] = []
  private var onTheWay: [(at: Int64, record: DemandRecord)] = []
  private var random: RandomSource

  /// Lets `seconds` pass. Partition *p* belongs to lane *p* mod `lanes`.
  init(_ limit: RateLimit, _ demand: LimitDemand, lanes count: Int = 4, seconds: Int, seed: UInt64) {
    self.limit = limit
    random = RandomSource(seed: seed)
    buckets = Array(repeating: TokenBucket(limit), count: demand.partitions)
    single = TokenBucket(limit)
    intervals = Array(repeating: DemandInterval(), count: demand.partitions)
    let start: Int64 = 1_000_000
    for _ in 0..<count { lanes.append((FleetDemand(), start + Int64(random.number(in: 0...999)))) }
    for partition in buckets.indices {
      buckets[partition].adopt(PartitionShares(equalAmong: demand.partitions)[id], at: .distantPast)
      intervals[partition].begin(at: Instant(milliseconds: start))
    }
    for second in 0..<seconds {
      asked.append(0)
      granted.append(0)
      ideal.append(0)
      for step in stride(from: Int64(0), to: 1000, by: Int64.Stride(LimitWorld.step)) {
        pass(start + Int64(second) * 1000 + step, second, demand)
      }
    }
  }

  private mutating func pass(_ now: Int64, _ second: Int, _ demand: LimitDemand) {
    let time = Instant(milliseconds: now)
    for partition in buckets.indices {
      publish(partition, now)
      let mean = demand.traces(partition, second) * Double(LimitWorld.step) / 1000
      for _ in 0..<random.poisson(mean: mean) {
        let cost = Int64(max(1, random.skewed(mean: demand.spansPerTrace).rounded()))
        asked[second] += cost
        if buckets[partition].take(cost, at: time) { granted[second] += cost }
        if single.take(cost, at: time) { ideal[second] += cost }
      }
    }
    adoptShares(now)
  }

  private mutating func publish(_ partition: Int, _ now: Int64) {
    let over = intervals[partition].advance(to: Instant(milliseconds: now))
    guard !over.isEmpty else { return }
    let tally = buckets[partition].takeTally()
    for part in over {
      let record = DemandRecord(
        partition: PartitionID(Int32(partition)), interval: part.interval,
        coveredMilliseconds: part.milliseconds,
        demands: [DemandRecord.Demand(id, traces: tally.traces, tokens: tally.asked)])
      // A commit each second, and the reader's own rounds.
      onTheWay.append((now + Int64(random.number(in: 100...1500)), record))
    }
  }

  private mutating func adoptShares(_ now: Int64) {
    for arrived in onTheWay where arrived.at <= now {
      for lane in lanes.indices {
        _ = lanes[lane].fleet.merge(arrived.record, latest: IntervalNumber(.max))
      }
    }
    onTheWay.removeAll { $0.at <= now }
    for lane in lanes.indices where lanes[lane].adoptsAt <= now {
      lanes[lane].adoptsAt += 1000
      let own = buckets.indices.filter { $0 % lanes.count == lane }.map { PartitionID(Int32($0)) }
      let shares = lanes[lane].fleet.shares(of: own, among: buckets.count)
      for partition in own {
        guard let share = shares[partition]?[id] else { continue }
        buckets[Int(partition.value)].adopt(share, at: Instant(milliseconds: now))
      }
    }
    sharesMax = max(sharesMax, buckets.reduce(0) { $0 + $1.share.value })
  }

  /// The worst minute: by which share of the limit more was granted than the limit allows, and less than one
  /// bucket for all partitions would have granted.
  ///
  /// - Parameter first: the second from which minutes are looked at.
  func worstMinute(from first: Int = 0) -> (over: Double, under: Double) {
    var worst = (over: -1.0, under: -1.0)
    let allowed = Double(limit.perSecond) * 60
    for start in first...(granted.count - 60) {
      let passed = Double(granted[start..<start + 60].reduce(0, +))
      let wanted = Double(ideal[start..<start + 60].reduce(0, +))
      worst.over = max(worst.over, (passed - allowed) / allowed)
      worst.under = max(worst.under, (wanted - passed) / allowed)
    }
    return worst
  }
}
