// Limits that the fleet shares: their buckets, and what samplers do with them.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

/// A bucket that `#expect` can take from.
private final class SharedPurse {
  var bucket: TokenBucket

  init(_ limit: RateLimit, share: Double) {
    bucket = TokenBucket(limit)
    bucket.adopt(LimitShare(share), at: .distantPast)
  }

  func take(_ cost: Int64, at now: Instant) -> Bool { bucket.take(cost, at: now) }
}

@Suite struct SharedBucketTests {
  @Test func aShareIsASmallerLimit() {
    let bucket = SharedPurse(RateLimit(perSecond: 10, burst: 20, scope: .fleet), share: 0.5)
    #expect(bucket.take(10, at: .at(0)))
    #expect(!bucket.take(1, at: .at(199)))
    #expect(bucket.take(1, at: .at(200)))
  }

  /// A trace larger than the share's bucket, but not than the limit's: it passes, and is paid off.
  @Test func largeTracesPassWithDebt() {
    let bucket = SharedPurse(RateLimit(perSecond: 8, burst: 16, scope: .fleet), share: 0.125)
    #expect(!bucket.take(17, at: .at(0)), "larger than the whole limit")
    #expect(bucket.take(12, at: .at(0)))
    // 10 tokens of debt at one a second; then two, what the bucket holds.
    #expect(!bucket.take(1, at: .at(10_999)))
    #expect(bucket.take(1, at: .at(11_000)))
    #expect(!bucket.take(12, at: .at(12_999)))
    #expect(bucket.take(12, at: .at(13_000)))
  }

  /// However small the share, what passes in the long run is the share.
  @Test(arguments: [1, 0.3, 0.01, 0.0005]) func theRateHolds(_ share: Double) {
    let bucket = SharedPurse(RateLimit(perSecond: 1000, scope: .fleet), share: share)
    var passed: Int64 = 0
    for step in 0..<100_000 as Range<Int64> where bucket.take(30, at: .at(step * 10)) { passed += 30 }
    let expected = 1000 * share * 1000
    #expect(abs(Double(passed) - expected) <= 2000 * share + 30, "\(passed) of \(expected)")
  }

  @Test func levelsKeepTheDebt() {
    let limit = RateLimit(perSecond: 8, burst: 16, scope: .fleet)
    let first = SharedPurse(limit, share: 0.125)
    #expect(first.take(12, at: .at(0)))
    let level = first.bucket.level(at: .at(500))
    #expect(level == [9, 1_500_000_000], "9.5 of debt")
    let second = SharedPurse(limit, share: 0.125)
    second.bucket.restore(level[...], at: .at(500))
    #expect(!second.take(1, at: .at(10_999)))
    #expect(second.take(1, at: .at(11_000)))
    // Restored before the share is known.
    let third = TokenBucket(limit)
    #expect(third.level(at: .at(0)) == [16, 0])
  }

  /// A level is restored under other limits, too: the file has changed before a restart.
  @Test func aLevelMeansTheSameUnderAnotherLimit() {
    let own = SharedPurse(RateLimit(perSecond: 10, burst: 20), share: 1)
    #expect(own.take(15, at: .at(0)))
    let level = own.bucket.level(at: .at(0))
    for limit in [
      RateLimit(perSecond: 10, burst: 20, scope: .fleet),
      RateLimit(perSecond: 100, burst: 200, scope: .fleet),
    ] {
      let next = SharedPurse(limit, share: 1)
      next.bucket.restore(level[...], at: .at(0))
      #expect(next.take(5, at: .at(0)))
    }
  }

  @Test func aSmallerShareHoldsLess() {
    let bucket = SharedPurse(RateLimit(perSecond: 10, burst: 20, scope: .fleet), share: 1)
    bucket.bucket.adopt(LimitShare(0.25), at: .at(0))
    #expect(bucket.take(5, at: .at(0)))
    bucket.bucket.adopt(LimitShare(1), at: .at(0))
    #expect(!bucket.take(1, at: .at(99)))
    #expect(bucket.take(10, at: .at(1000)))
  }

  @Test func theLargestLimitsDoNotOverflow() {
    let limit = RateLimit(perSecond: .max, burst: .max, scope: .fleet)
    let bucket = SharedPurse(limit, share: 1)
    #expect(bucket.take(.max / 16, at: .distantPast))
    #expect(bucket.take(.max / 16, at: .distantFuture))
    #expect(bucket.bucket.level(at: .distantFuture).allSatisfy { $0 >= 0 })
    #expect(!bucket.take(.max, at: .distantFuture), "its bucket ends at 2^60")
    let whole = TokenBucket(RateLimit(perSecond: .max, burst: .max))
    #expect(whole.level(at: .at(0)) == [.max, 0])
  }
}

extension World {
  fileprivate var fleetLimits: [FleetLimitState] { sampler.fleetLimits }
}

@Suite struct FleetLimitTests {
  private static let limit = Policy.Rule.rateLimiting(RateLimit(perSecond: 2, scope: .fleet))

  private func world(_ adjust: (inout SamplerConfiguration) -> Void = { _ in }) -> World {
    World {
      $0.policies = [Policy(name: "p", rule: Self.limit)]
      $0.windows.decisionWaitAfterRoot = .milliseconds(1)
      adjust(&$0)
    }
  }

  /// The records of demand among a world's outputs.
  private func demands(_ world: World) throws -> [DemandRecord] {
    try world.effects.outputs.compactMap { output in
      guard case .count(_, let record) = output else { return nil }
      return try DemandRecord(decoding: Array(world.effects.bytes[record]))
    }
  }

  /// The records that come out as the stream passes `time`.
  private func records(_ world: World, passing time: Int64) throws -> [DemandRecord] {
    world.sampler.advance(to: .at(time), into: &world.effects)
    let records = try demands(world)
    _ = try Event.take(from: &world.effects)
    return records
  }

  @Test func demandIsPublishedEveryFiveSeconds() throws {
    let world = world()
    let start = Instant.at(0).nanoseconds / 5_000_000_000
    for trace in 1...3 as ClosedRange<UInt64> {
      try world.send([.root(of: trace), .child(2, of: trace)], at: 1000)
    }
    try world.pass(to: 1100)
    #expect(try records(world, passing: 4999).isEmpty)
    let isDue = world.sampler.hasWorkDue(by: .at(5000))
    #expect(isDue)
    let first = try records(world, passing: 5000)
    let id = LimitID(policy: "p", place: 0, paysBytes: false)
    #expect(first.map(\.interval.value) == [start])
    #expect(first.first?.coveredMilliseconds == 4000)
    // Refused or not.
    #expect(first.first?.demands == [DemandRecord.Demand(id, traces: 3, tokens: 6)])
    #expect(world.counters.fleetLimits.map { [$0.asked, $0.granted] } == [[6, 4]])
    // A gap gives the last intervals, empty.
    let gap = try records(world, passing: 61_000)
    #expect(gap.map(\.interval.value) == [start + 1] + (start + 6..<start + 12))
    #expect(gap.allSatisfy { $0.demands == [DemandRecord.Demand(id, traces: 0, tokens: 0)] })
  }

  @Test func sharesCount() throws {
    let world = world()
    world.sampler.adopt(PartitionShares(equalAmong: 4))
    #expect(world.fleetLimits.map(\.share) == [LimitShare(0.25)])
    for trace in 1...4 as ClosedRange<UInt64> { try world.send(.root(of: trace), at: 0) }
    // One span is what its bucket holds.
    #expect(try world.pass(to: 100).decisions.map(\.isKept) == [true, false, false, false])
  }

  @Test func shadowPoliciesHaveLevelsOfTheirOwn() throws {
    let world = world { $0.shadow = [Policy(name: "s", rule: .and([.alwaysSample, Self.limit]))] }
    try world.send(.root(of: 1), at: 0)
    try world.pass(to: 100)
    let record = try #require(try records(world, passing: 5000).first)
    let ids = [
      LimitID(policy: "p", place: 0, paysBytes: false),
      LimitID(policy: "s", isShadow: true, place: 0, paysBytes: false),
    ]
    #expect(Set(record.demands.map(\.limit)) == Set(ids))
    #expect(record.demands.allSatisfy { $0.traces == 1 })
    var shares = PartitionShares(equalAmong: 4)
    shares.known[ids[0]] = LimitShare(0.5)
    world.sampler.adopt(shares)
    #expect(world.fleetLimits.map(\.share) == [LimitShare(0.5), LimitShare(0.25)])
    #expect(world.fleetLimits.map(\.policy) == ["p", "s"])
  }

  /// Wherever limits occur, and several in one policy.
  @Test func nestedLimitsAreFound() {
    let bytes = Policy.Rule.bytesLimiting(RateLimit(perSecond: 9, scope: .fleet))
    let composite = Composite(
      spansPerSecondMax: 9, parts: [Composite.Part(rule: .and([bytes]), spansPerSecond: 9)])
    let set = PolicySet([
      Policy(name: "own", rule: .rateLimiting(RateLimit(perSecond: 1))),
      Policy(name: "two", rule: .and([.not(Self.limit), bytes])),
      Policy(name: "composite", rule: .composite(composite)),
      Policy(name: "drop", rule: .drop([bytes])),
    ])
    #expect(set.fleetLimits.map(\.policy) == ["two", "two", "composite", "drop"])
    #expect(set.fleetLimits.map(\.place) == [0, 1, 0, 0])
    #expect(Set(set.fleetLimits.map(\.id)).count == 4)
  }

  @Test func thereIsALimitToLimits() {
    let policies = (0..<17).map { Policy(name: "\($0)", rule: Self.limit) }
    #expect(Policy.excess(in: Array(policies.dropLast())) == nil)
    #expect(Policy.excess(in: policies) == "more than 16 rate limits with scope fleet")
  }

  /// What is new after a change of policies has the shares that are known.
  @Test func changedPoliciesHaveTheirSharesAtOnce() throws {
    let world = world()
    try world.send(.root(of: 1), at: 0)
    var shares = PartitionShares(equalAmong: 10)
    shares.known[LimitID(policy: "p", place: 0, paysBytes: false)] = LimitShare(0.5)
    world.sampler.adopt(shares)
    var configuration = world.sampler.configuration
    configuration.policies = [
      Policy(name: "p", rule: .rateLimiting(RateLimit(perSecond: 50, scope: .fleet))),
      Policy(name: "renamed", rule: Self.limit),
    ]
    world.sampler.adopt(configuration)
    #expect(world.fleetLimits.map(\.share) == [LimitShare(0.5), LimitShare(0.1)])
    // Counting goes on, and stops with the last limit.
    #expect(try records(world, passing: 5000).first?.demands.count == 2)
    configuration.policies = Policy.defaults
    world.sampler.adopt(configuration)
    #expect(try records(world, passing: 10_000).isEmpty)
    configuration.policies = [Policy(name: "p", rule: Self.limit)]
    world.sampler.adopt(configuration)
    #expect(try records(world, passing: 15_000).count == 1)
  }

  /// Its new bucket has counted nothing before.
  @Test func aChangedPolicyCountsTheRestOfItsInterval() throws {
    let world = world()
    try world.send(.root(of: 1), at: 0)
    _ = try records(world, passing: 4000)
    var configuration = world.sampler.configuration
    configuration.policies = [Policy(name: "p", rule: .rateLimiting(RateLimit(perSecond: 50, scope: .fleet)))]
    world.sampler.adopt(configuration)
    #expect(try records(world, passing: 5000).first?.coveredMilliseconds == 1000)
  }

  /// After a restart counting begins where the commit was: nothing is published twice.
  @Test func aNextOwnerCountsTheRest() throws {
    let world = world()
    try world.send(.root(of: 1), at: 1000)
    try world.pass(to: 2000)
    let point = try #require(world.commitPoint)
    var next = Sampler(partition: PartitionID(7), configuration: world.sampler.configuration)
    next.restore(point)
    var effects = Effects()
    let malformed = record([.root(of: 2)]).withRawBytes { bytes in
      next.ingest(
        offset: point.highWater, timestamp: .at(6000), isLogTime: true, key: nil, value: bytes,
        into: &effects)
    }
    #expect(malformed == nil)
    let records = effects.outputs.compactMap { output -> DemandRecord? in
      guard case .count(_, let range) = output else { return nil }
      return try? DemandRecord(decoding: Array(effects.bytes[range]))
    }
    #expect(records.map(\.coveredMilliseconds) == [3000])
  }

  /// An interval is published once, although the clock is set back into it.
  @Test func aClockThatIsSetBack() throws {
    var interval = DemandInterval()
    interval.begin(at: Instant(milliseconds: 11_000))
    #expect(interval.advance(to: Instant(milliseconds: 15_000)).map(\.interval.value) == [2])
    interval.begin(at: Instant(milliseconds: 12_000))
    #expect(interval.advance(to: Instant(milliseconds: 16_000)).isEmpty)
    #expect(interval.advance(to: Instant(milliseconds: 20_000)).map(\.interval.value) == [3])
  }

  @Test func withoutSuchLimitsNothingIsCounted() throws {
    let world = World { $0.policies = [Policy(name: "p", rule: .rateLimiting(RateLimit(perSecond: 2)))] }
    try world.send(.root(of: 1), at: 0)
    #expect(try records(world, passing: 60_000).isEmpty)
    #expect(world.fleetLimits.isEmpty)
  }
}
