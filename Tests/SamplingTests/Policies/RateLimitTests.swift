// Token buckets and the seconds of a composite, on stream time.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

/// A bucket that `#expect` can take from.
private final class Purse {
  var bucket: TokenBucket

  init(_ limit: RateLimit) { bucket = TokenBucket(limit) }

  func take(_ cost: Int64, at now: Instant) -> Bool { bucket.take(cost, at: now) }
}

@Suite struct TokenBucketTests {
  @Test func itStartsFullAndFillsUp() {
    let bucket = Purse(RateLimit(perSecond: 10))
    #expect(bucket.take(20, at: .at(0)))
    #expect(!bucket.take(1, at: .at(0)))
    #expect(!bucket.take(1, at: .at(99)))
    #expect(bucket.take(1, at: .at(100)))
    #expect(!bucket.take(1, at: .at(199)))
    #expect(bucket.take(5, at: .at(600)))
    // Never more than the burst, however long it waits.
    #expect(!bucket.take(21, at: .at(1_000_000)))
    #expect(bucket.take(20, at: .at(1_000_000)))
    #expect(bucket.take(0, at: .at(1_000_000)))
  }

  @Test func whatDoesNotFitTheBurstNeverPasses() {
    let bucket = Purse(RateLimit(perSecond: 100, burst: 5))
    #expect(!bucket.take(6, at: .at(0)))
    #expect(bucket.take(5, at: .at(0)))
  }

  @Test func timeThatStandsStillOrGoesBackFillsNothing() {
    let bucket = Purse(RateLimit(perSecond: 1000, burst: 1))
    #expect(bucket.take(1, at: .at(5)))
    #expect(!bucket.take(1, at: .at(5)))
    #expect(!bucket.take(1, at: .at(4)))
    #expect(bucket.take(1, at: .at(6)))
  }

  @Test func itGoesOnFromItsLevel() {
    let first = Purse(RateLimit(perSecond: 3, burst: 10))
    #expect(first.take(10, at: .at(0)))
    let second = Purse(RateLimit(perSecond: 3, burst: 10))
    // 1.5 tokens.
    second.bucket.restore(first.bucket.level(at: .at(500))[...], at: .at(500))
    #expect(!second.take(2, at: .at(666)))
    #expect(second.take(2, at: .at(667)))
    #expect(first.bucket.level(at: .at(500)) == [1, 500_000_000])
    // A limit that was lowered since holds no more than its new value.
    let lower = Purse(RateLimit(perSecond: 1, burst: 4))
    lower.bucket.restore([7, 999_999_999], at: .at(0))
    #expect(lower.bucket.level(at: .at(0)) == [4, 0])
    // One that a fleet's limit owed: this one owes nothing.
    lower.bucket.restore([7, 1_999_999_999], at: .at(0))
    #expect(lower.bucket.level(at: .at(0)) == [0, 0])
  }

  @Test func levelsOfOtherPoliciesAreOfNoEffect() {
    let limit = Policy.Rule.rateLimiting(RateLimit(perSecond: 1, burst: 2))
    let composite = Composite(
      spansPerSecondMax: 4,
      parts: [.init(rule: .alwaysSample, spansPerSecond: 3), .init(rule: .alwaysSample, spansPerSecond: 0)])
    let policies = [Policy(name: "a", rule: limit), Policy(name: "b", rule: .composite(composite))]
    var set = PolicySet(policies)
    #expect(set.budgetLevels(at: .at(0)) == [2, 0, 0, 0])
    set.restoreBudgets([1, 0, 0], at: .at(0))
    #expect(set.budgetLevels(at: .at(0)) == [2, 0, 0, 0])
    set.restoreBudgets([1, 4, 9, .max], at: .at(0))
    #expect(set.budgetLevels(at: .at(0)) == [1, 4, 3, 0])
    // A composite's second is over.
    #expect(set.budgetLevels(at: .at(1000)) == [2, 0, 0, 0])
    #expect(PolicySet(Policy.defaults).budgetLevels(at: .at(0)) == [])
  }

  /// However finely time is cut, the inflow is the same: no fraction of a token is lost.
  @Test func smallStepsAddUp() {
    var random = RandomSource(seed: 3)
    for rate in [1, 3, 7, 1000, 999_983] as [Int64] {
      let bucket = Purse(RateLimit(perSecond: rate, burst: 10 * rate))
      #expect(bucket.take(10 * rate, at: .start))
      var time = Instant.start
      while time < .at(1000) {
        time = min(.at(1000), time + Interval(nanoseconds: Int64(random.number(in: 1...30_000_000))))
        #expect(bucket.take(0, at: time))
      }
      #expect(!bucket.take(rate + 1, at: .at(1000)))
      #expect(bucket.take(rate, at: .at(1000)))
    }
  }

  @Test func extremesDoNotOverflow() {
    let bucket = Purse(RateLimit(perSecond: .max, burst: .max))
    #expect(bucket.take(.max, at: .distantFuture))
    #expect(!bucket.take(1, at: .distantFuture))
    let early = Purse(RateLimit(perSecond: .max, burst: .max))
    #expect(early.take(.max, at: .distantPast))
    #expect(early.take(.max, at: .distantFuture))
    #expect(RateLimit(perSecond: .max).burst == .max)
  }

  /// A commit's metadata may claim that all of the largest budget is spent.
  @Test func theLargestCompositeDoesNotOverflow() {
    for capsTotal in [false, true] {
      var composite = Composite(
        spansPerSecondMax: .max, parts: (0..<3).map { _ in .init(rule: .alwaysSample, spansPerSecond: .max) })
      composite.capsTotal = capsTotal
      var budgets = SecondBudgets(composite)
      budgets.restore([.max, .max, .max - 1], at: .at(0))
      #expect([0, 1].allSatisfy { !budgets.spend(1, of: $0, at: .at(0)) })
      #expect(budgets.spend(1, of: 2, at: .at(0)) != capsTotal)
    }
  }
}

@Suite struct RateLimitingTests {
  /// Sends traces of these sizes at these times, each closed a moment later, and returns which are kept.
  private func kept(_ rule: Policy.Rule, _ traces: [(time: Int64, spans: Int)]) throws -> [Bool] {
    let world = World {
      $0.policies = [Policy(name: "p", rule: rule)]
      $0.windows.decisionWaitAfterRoot = .milliseconds(1)
    }
    var verdicts: [Bool] = []
    for (number, trace) in traces.enumerated() {
      let id = UInt64(number + 1)
      let children = (1..<trace.spans).map { TestSpan.child(UInt64($0) + 1, of: id) }
      verdicts += try world.send([.root(of: id)] + children, at: trace.time).decisions.map(\.isKept)
      verdicts += try world.pass(to: trace.time + 1).decisions.map(\.isKept)
    }
    return verdicts
  }

  @Test func spansArePaidFor() throws {
    let rule = Policy.Rule.rateLimiting(RateLimit(perSecond: 10))
    let traces = [(0, 15), (10, 6), (20, 5), (30, 1), (1030, 11), (1040, 9)] as [(Int64, Int)]
    #expect(try kept(rule, traces) == [true, false, true, false, false, true])
  }

  @Test func bytesArePaidFor() throws {
    let size = record([.root()]).count
    let rule = Policy.Rule.bytesLimiting(RateLimit(perSecond: 1, burst: Int64(2 * size)))
    #expect(try kept(rule, [(0, 1), (1, 1), (2, 1)]) == [true, true, false])
    let less = Policy.Rule.bytesLimiting(RateLimit(perSecond: 1, burst: Int64(size - 1)))
    #expect(try kept(less, [(0, 1)]) == [false])
  }

  /// In an `and` only traces that reach the limit are paid for.
  @Test func andAsksInOrder() throws {
    let large = Policy.Rule.spanCount(least: 2, most: nil)
    let limit = Policy.Rule.rateLimiting(RateLimit(perSecond: 1, burst: 4))
    let traces = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 4)] as [(Int64, Int)]
    #expect(try kept(.and([large, limit]), traces) == [false, false, false, false, true])
    #expect(try kept(.and([limit, large]), traces) == [false, false, false, false, false])
    #expect(try kept(.not(limit), traces) == [false, false, false, false, true])
  }

  /// A limit ignores other policies: it pays for what they keep too. A trace is paid for once.
  @Test func aKeptTraceIsPaidOnce() throws {
    let world = World {
      $0.policies = [
        Policy(name: "errors", rule: .statusCode([.error])),
        Policy(name: "some", rule: .rateLimiting(RateLimit(perSecond: 1, burst: 2))),
      ]
    }
    let early = try world.send(.root(of: 1, .error), at: 0)
    #expect(early.written.map(\.reasons) == [["errors"]])
    try world.send(.root(of: 2), at: 0)
    try world.send(.root(of: 3), at: 0)
    let last = try world.pass(to: 5000).written
    #expect(last.map(\.verdict) == ["keep", "keep", "drop"])
    #expect(last[0].reasons == ["errors", "some"])
    #expect(last[1].adjustedCount == 1)
  }
}

@Suite struct CompositeTests {
  private static let large = Policy.Rule.spanCount(least: 3, most: nil)

  /// Traces of these sizes, closed in one second of stream time, and then two in the next.
  private func kept(
    _ sizes: [Int], next: [Int] = [], _ adjust: (inout Composite) -> Void = { _ in }
  ) throws -> [Bool] {
    var composite = Composite(
      spansPerSecondMax: 10,
      parts: [.init(rule: Self.large, spansPerSecond: 6), .init(rule: .alwaysSample, spansPerSecond: 4)])
    adjust(&composite)
    let world = World {
      $0.policies = [Policy(name: "c", rule: .composite(composite))]
      $0.windows.decisionWaitAfterRoot = .milliseconds(1)
    }
    var verdicts: [Bool] = []
    var id: UInt64 = 0
    for (start, sizes) in [(0, sizes), (1000, next)] {
      for (number, size) in sizes.enumerated() {
        id += 1
        let children = (1..<size).map { TestSpan.child(UInt64($0) + 1, of: id) }
        try world.send([.root(of: id)] + children, at: Int64(start + 2 * number))
        verdicts += try world.pass(to: Int64(start + 2 * number + 1)).decisions.map(\.isKept)
      }
    }
    return verdicts
  }

  /// The first part that samples decides; smaller traces may still fit when a larger one did not; each second
  /// starts afresh.
  @Test func asTheCollectorHasIt() throws {
    #expect(try kept([3, 3, 3], next: [6, 3]) == [true, true, false, true, false])
    #expect(try kept([4, 3, 3], next: [3]) == [true, false, false, true])
    #expect(try kept([2, 2, 2, 1]) == [true, true, false, false])
    #expect(try kept([2, 1, 2, 1]) == [true, true, false, true])
  }

  /// Together they may keep more than the total.
  @Test func theCollectorsSurprises() throws {
    #expect(try kept([1, 3]) { $0.parts[1].spansPerSecond = 0 } == [false, true])
    let all = try kept([10, 2, 2, 2, 2, 2]) {
      $0.parts[0].spansPerSecond = 10
      $0.parts[1].spansPerSecond = 10
    }
    #expect(all == [true, true, true, true, true, true])
  }

  @Test func fallingThrough() throws {
    let sizes = [3, 3, 3, 1, 1]
    #expect(try kept(sizes) == [true, true, false, true, true])
    #expect(try kept(sizes) { $0.fallsThrough = true } == [true, true, true, true, false])
  }

  @Test func cappingTheTotal() throws {
    let sizes = [6, 2, 2, 1]
    let generous: (inout Composite) -> Void = { $0.parts[1].spansPerSecond = 10 }
    #expect(try kept(sizes, generous) == [true, true, true, true])
    #expect(
      try kept(sizes, next: [6]) {
        generous(&$0)
        $0.capsTotal = true
      } == [true, true, true, false, true])
    // What the others leave over.
    #expect(
      try kept([3, 2, 2, 2, 2, 1]) {
        $0.parts[1].spansPerSecond = 10
        $0.capsTotal = true
      } == [true, true, true, true, false, true])
  }

  @Test func partsMayBeOfAnyKind() throws {
    let composite = Composite(
      spansPerSecondMax: 10,
      parts: [
        .init(rule: .and([Self.large, .not(.statusCode([.error]))]), spansPerSecond: 10),
        .init(rule: .stringAttribute(key: "k", values: ["x"], inverted: true), spansPerSecond: 1),
      ])
    let rule = Policy.Rule.composite(composite)
    #expect(try decide(rule, spans: [.root(), .child(2), .child(3)]).isKept)
    #expect(try !decide(rule, spans: [.root(1, .error), .child(2), .child(3)]).isKept)
    #expect(try decide(rule, spans: [.root()]).isKept)
    #expect(try !decide(rule, spans: [.with(.init("k", .text("x")))]).isKept)
  }
}
