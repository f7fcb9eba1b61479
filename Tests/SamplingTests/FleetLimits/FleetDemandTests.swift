// Shares of limits, from the demand of all partitions.

import Simulation
import Testing

@testable import Sampling

@Suite struct FleetDemandTests {
  private static let limit = LimitID(policy: "p", place: 0, paysBytes: false)
  private static let never = IntervalNumber(.max)

  private func record(
    _ partition: Int32, _ interval: Int64, _ tokens: UInt64?, of limit: LimitID = limit, traces: UInt64? = nil
  ) -> DemandRecord {
    let demand = tokens.map { DemandRecord.Demand(limit, traces: traces ?? $0 / 10, tokens: $0) }
    return DemandRecord(
      partition: PartitionID(partition), interval: IntervalNumber(interval), coveredMilliseconds: 5000,
      demands: [demand].compactMap(\.self))
  }

  private func shares(_ fleet: FleetDemand, of limit: LimitID = limit, among count: Int) -> [Double] {
    let all = fleet.shares(of: (0..<count).map { PartitionID(Int32($0)) }, among: count)
    return (0..<count).map { all[PartitionID(Int32($0))]?[limit].value ?? -1 }
  }

  private func expect(_ found: [Double], _ wanted: [Double], _ name: Comment) {
    #expect(found.count == wanted.count)
    for (found, wanted) in zip(found, wanted) { #expect(abs(found - wanted) < 1e-6, name) }
    #expect(found.reduce(0, +) <= 1 + 1e-9, name)
  }

  @Test func nothingIsKnownAtFirst() {
    expect(shares(FleetDemand(), among: 4), [0.25, 0.25, 0.25, 0.25], "equal")
    expect(shares(FleetDemand(), among: 0), [], "none")
  }

  /// 19 twentieths in proportion to demand, one evenly.
  @Test func sharesFollowDemand() {
    var fleet = FleetDemand()
    for (partition, tokens) in [300, 100, 0, 0].enumerated() {
      #expect(fleet.merge(record(Int32(partition), 9, UInt64(tokens)), latest: Self.never) == .added)
    }
    expect(shares(fleet, among: 4), [0.725, 0.25, 0.0125, 0.0125], "three to one")
    // A limit that nobody has counted.
    let other = LimitID(policy: "q", place: 0, paysBytes: false)
    expect(shares(fleet, of: other, among: 4), [0.25, 0.25, 0.25, 0.25], "equal")
  }

  @Test func partitionsThatHaveNotBegunHaveTheirShareReserved() {
    var fleet = FleetDemand()
    _ = fleet.merge(record(0, 9, 300), latest: Self.never)
    _ = fleet.merge(record(1, 9, 100), latest: Self.never)
    expect(shares(fleet, among: 4), [0.36875, 0.13125, 0.25, 0.25], "half is reserved")
    // After a whole history they are known to have no traffic.
    for interval in 10..<15 as Range<Int64> {
      _ = fleet.merge(record(0, interval, 300), latest: Self.never)
      _ = fleet.merge(record(1, interval, 100), latest: Self.never)
    }
    expect(shares(fleet, among: 4), [0.725, 0.25, 0.0125, 0.0125], "the others are silent")
    // A partition whose worker does not know the limit yet has its share reserved.
    _ = fleet.merge(record(2, 14, nil), latest: Self.never)
    let some = shares(fleet, among: 4)
    #expect(some[2] == 0.25 && some.reduce(0, +) <= 1 + 1e-9)
  }

  @Test func aChangeIsFollowedAtOnceAndNoiseIsNot() {
    var fleet = FleetDemand()
    for interval in 1...6 as ClosedRange<Int64> {
      for partition in 0..<2 as Range<Int32> {
        _ = fleet.merge(record(partition, interval, 10_000), latest: Self.never)
      }
    }
    _ = fleet.merge(record(0, 7, 10_300), latest: Self.never)
    #expect(abs(shares(fleet, among: 2)[0] - 0.5) < 0.005)
    _ = fleet.merge(record(0, 8, 30_000), latest: Self.never)
    #expect(abs(shares(fleet, among: 2)[0] - (0.95 * 0.75 + 0.025)) < 1e-6)
    _ = fleet.merge(record(0, 9, 0), latest: Self.never)
    #expect(abs(shares(fleet, among: 2)[0] - 0.025) < 1e-6)
  }

  @Test func whatIsMergedMattersAndNotItsOrder() {
    var random = RandomSource(seed: 5)
    var records: [DemandRecord] = []
    for partition in 0..<7 as Range<Int32> {
      for interval in 20...25 as ClosedRange<Int64> {
        records.append(record(partition, interval - Int64(partition), UInt64(random.number(in: 0...5000))))
      }
    }
    var first = FleetDemand()
    for record in records { _ = first.merge(record, latest: Self.never) }
    for _ in 0..<5 {
      records.shuffle(using: &random)
      var other = FleetDemand()
      for record in records { _ = other.merge(record, latest: Self.never) }
      #expect(shares(other, among: 7) == shares(first, among: 7))
    }
  }

  @Test func recordsThatDoNotCount() {
    var fleet = FleetDemand()
    #expect(fleet.merge(record(0, 9, 1), latest: IntervalNumber(8)) == .implausible)
    #expect(fleet.merge(record(0, 9, 1), latest: IntervalNumber(9)) == .added)
    #expect(fleet.merge(record(0, 9, 7), latest: IntervalNumber(9)) == .repeated)
    #expect(fleet.merge(record(0, 3, 7), latest: IntervalNumber(9)) == .old)
    #expect(fleet.merge(record(0, 4, 7), latest: IntervalNumber(9)) == .added)
    // A partition that lags has its own time.
    #expect(fleet.merge(record(1, 2, 7), latest: IntervalNumber(9)) == .added)
    #expect(fleet.byteCount > 0)
  }

  /// A partition that the topic does not have any more must not take a share for ever, one that was added
  /// takes its own at once.
  @Test func partitionsBeyondTheTopic() {
    var fleet = FleetDemand()
    for partition in 0..<3 as Range<Int32> { _ = fleet.merge(record(partition, 100, 10), latest: Self.never) }
    #expect(abs(shares(fleet, among: 2)[0] - 1.0 / 3) < 1e-6)
    for partition in 0..<2 as Range<Int32> { _ = fleet.merge(record(partition, 161, 10), latest: Self.never) }
    #expect(abs(shares(fleet, among: 2)[0] - 0.5) < 1e-6)
    // Within the topic, one that lags by hours keeps its share: it is of the time that it will read.
    #expect(abs(shares(fleet, among: 3)[2] - 1.0 / 3) < 1e-6)
  }

  /// Whatever the demand, all shares together are at most the limit, and none is nothing.
  @Test(arguments: 1...20) func sharesAddUp(seed: UInt64) {
    var random = RandomSource(seed: seed)
    var fleet = FleetDemand()
    let count = random.number(in: 1...100)
    for partition in 0..<Int32(count) where random.chance(0.8) {
      for interval in 0..<Int64(random.number(in: 1...7)) {
        let tokens = random.chance(0.3) ? 0 : UInt64(random.skewed(mean: 1e6))
        _ = fleet.merge(record(partition, interval, tokens), latest: Self.never)
      }
    }
    let all = shares(fleet, among: count)
    #expect(all.allSatisfy { $0 > 0 })
    let sum = all.reduce(0, +)
    #expect(sum <= 1 + 1e-9 && sum > 1 - 1e-6, "\(sum)")
  }

  /// As large as records may say.
  @Test func hugeDemandsShareOneLimit() {
    var fleet = FleetDemand()
    for partition in 0..<12 as Range<Int32> {
      let demand = DemandRecord.Demand(Self.limit, traces: 1, tokens: TrafficRecord.countMax)
      _ = fleet.merge(
        DemandRecord(
          partition: PartitionID(partition), interval: IntervalNumber(9), coveredMilliseconds: 1,
          demands: [demand]),
        latest: Self.never)
    }
    #expect(shares(fleet, among: 12).reduce(0, +) <= 1 + 1e-9)
  }
}
