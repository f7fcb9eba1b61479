// How many traces a kept one represents, wherever a probability is; and policies against a plain evaluation
// of them.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

private let full = SamplingThreshold.randomnessCount

/// A trace of one root span whose facts are all set by hand.
private func knownTrace(randomness: UInt64, matches: UInt64 = 0, spans: UInt32 = 1) -> TraceFacts {
  var trace = OpenTrace(id: TraceID(high: 1, low: randomness), firstOffset: Offset(0), openedAt: .start)
  trace.predicateMatches = matches
  trace.spanCount = spans
  return trace.facts
}

@Suite struct ThresholdTests {
  private static let tenth = Policy.Rule.probabilistic(SamplingThreshold(rejected: full - full / 16))
  private static let half = Policy.Rule.probabilistic(SamplingThreshold(rejected: full / 2))
  /// The only predicate of each set: bit 0.
  private static let flag = Policy.Rule.traceFlags

  private func threshold(
    _ rules: Policy.Rule..., at randomness: UInt64 = full - 1, matches: UInt64 = 0
  ) -> UInt64? {
    var policies = PolicySet(rules.map { Policy(name: "p", rule: $0) })
    let outcome = policies.decide(knownTrace(randomness: randomness, matches: matches), at: .start)
    return outcome.isKept ? outcome.threshold.rejected : nil
  }

  @Test func conjunctions() {
    #expect(threshold(.and([Self.flag, Self.half]), matches: 1) == full / 2)
    #expect(threshold(.and([Self.half, Self.tenth])) == full - full / 16)
    #expect(threshold(.and([Self.flag, Self.half])) == nil)
    #expect(threshold(.and([Self.flag, Self.half]), at: full / 2 - 1, matches: 1) == nil)
    #expect(threshold(.and([Self.flag, .alwaysSample]), matches: 1) == 0)
    // Whatever else keeps it: the alternative has the greater share.
    #expect(threshold(.and([Self.flag, Self.half]), Self.tenth, matches: 1) == full / 2)
    #expect(threshold(.and([Self.flag, Self.half]), Self.tenth) == full - full / 16)
    #expect(threshold(.and([Self.flag, Self.half]), .alwaysSample, matches: 1) == 0)
  }

  /// Below a `not` or a `drop` the share is the low end, so that what is kept is the high end.
  @Test func negations() {
    #expect(threshold(.not(Self.half), at: full / 2) == full / 2)
    #expect(threshold(.not(Self.half), at: full / 2 - 1) == nil)
    #expect(threshold(.not(Self.tenth), at: full / 16) == full / 16)
    #expect(threshold(.not(.not(Self.tenth))) == full - full / 16)
    #expect(threshold(.not(.and([Self.half, Self.flag])), at: 0) == 0)
    #expect(threshold(.not(.and([Self.half, Self.flag])), matches: 1) == full / 2)
    #expect(threshold(.not(.probabilistic(.always))) == nil)
  }

  /// Dropping 15/16 of the flagged traces: the remaining ones represent sixteen.
  @Test func sharesOfDrops() {
    let share = Policy.Rule.probabilistic(SamplingThreshold(rejected: full / 16))
    let drop = Policy.Rule.drop([Self.flag, share])
    #expect(threshold(.alwaysSample, drop, matches: 1) == full - full / 16)
    #expect(threshold(.alwaysSample, drop, at: full - full / 16 - 1, matches: 1) == nil)
    #expect(threshold(.alwaysSample, drop) == 0)
    #expect(threshold(Self.half, .drop([Self.flag, Self.half]), matches: 1) == full / 2)
  }

  @Test func firstMatchKeepsTheWeight() {
    func threshold(_ rules: [Policy.Rule], at randomness: UInt64) -> UInt64? {
      var policies = PolicySet(rules.map { Policy(name: "p", rule: $0) }, sampleOnFirstMatch: true)
      let outcome = policies.decide(knownTrace(randomness: randomness), at: .start)
      return outcome.isKept ? outcome.threshold.rejected : nil
    }
    // The next policy would have kept it too.
    #expect(threshold([Self.tenth, .alwaysSample], at: full - 1) == 0)
    #expect(threshold([Self.tenth, Self.half], at: full - 1) == full / 2)
    #expect(threshold([Self.half, Self.tenth], at: full / 2) == full / 2)
  }

  @Test func limitsCountAsCertain() {
    let limit = Policy.Rule.rateLimiting(RateLimit(perSecond: 10))
    #expect(threshold(limit) == 0)
    #expect(threshold(.and([Self.half, limit])) == full / 2)
    #expect(threshold(.rateLimiting(RateLimit(perSecond: 1, burst: 0)), Self.half) == full / 2)
    let composite = Composite(
      spansPerSecondMax: 9,
      parts: [.init(rule: Self.tenth, spansPerSecond: 9), .init(rule: Self.half, spansPerSecond: 9)])
    #expect(threshold(.composite(composite)) == full / 2)
    #expect(threshold(.composite(composite), at: full / 2) == full / 2)
  }

  private func hashed(_ salt: String, _ percentage: Double) -> Policy.Rule {
    .hashed(HashSampling(salt: salt, percentage: percentage))
  }

  /// With hashes the threshold tells how likely the trace was.
  @Test func hashesCount() throws {
    let cases: [(name: String, rules: [Policy.Rule], share: Double)] = [
      ("alone", [hashed("a", 25)], 0.25), ("nested", [hashed("a", 25), hashed("a", 50)], 0.5),
      ("both", [.and([hashed("a", 25), hashed("b", 50)])], 0.125),
      ("either", [hashed("a", 50), hashed("b", 50)], 0.75), ("not", [.not(hashed("a", 25))], 0.75),
      ("drop", [.alwaysSample, .drop([hashed("a", 75)])], 0.25),
      ("and a probability", [.and([hashed("a", 50), Self.half])], 0.25),
      ("with a probability", [hashed("a", 50), Self.half], 0.75),
      ("with all", [hashed("a", 25), .alwaysSample], 1),
    ]
    for (name, rules, share) in cases {
      var policies = PolicySet(rules.map { Policy(name: "p", rule: $0) })
      var kept = 0
      for number in 0..<2000 as Range<UInt64> {
        let low = number &* 0x9e37_79b9_7f4a_7c15 & (full - 1)
        let outcome = policies.decide(knownTrace(randomness: low), at: .start)
        guard outcome.isKept else { continue }
        kept += 1
        #expect(abs(outcome.threshold.probability - share) < 1e-4, "\(name)")
      }
      // Counted by their weights, the kept traces add up to all traces.
      #expect(abs(Double(kept) / 2000 - share) < 0.05, "\(name): \(kept)")
    }
  }

  @Test func tooManySaltsAreTold() {
    let salts = (0..<11).map { Policy(name: "\($0)", rule: hashed("salt\($0)", 5)) }
    #expect(Policy.excess(in: Array(salts.prefix(10))) == nil)
    #expect(Policy.excess(in: salts)?.hasPrefix("too many different hashes") == true)
    let shares = (0..<64).map { Policy(name: "\($0)", rule: hashed("s", Double($0))) }
    #expect(Policy.excess(in: shares) == nil)
    let limits = (0..<65).map {
      Policy(name: "\($0)", rule: .and([.rateLimiting(RateLimit(perSecond: $0 + 1))]))
    }
    #expect(Policy.excess(in: limits)?.hasPrefix("more than 64 rate limits") == true)
  }
}

@Suite struct HashSamplingTests {
  /// By big integers and exact fractions.
  @Test(
    arguments: [
      (0, 0), (1e-18, 0), (1e-5, 1_844_674_407_370), (0.1, 18_446_744_073_709_551),
      (1, 184_467_440_737_095_519), (10, 1_844_674_407_370_955_263), (33.3, 6_142_765_776_545_279_999),
      (50, 9_223_372_036_854_775_807), (99.99, 18_444_899_399_302_178_815), (100, UInt64.max),
    ] as [(Double, UInt64)])
  func limits(percentage: Double, limit: UInt64) {
    #expect(HashSampling(salt: "x", percentage: percentage).limit == limit)
  }

  /// FNV-1a of salt and id, to the unit: sampled at the hash itself, not one below.
  @Test(
    arguments: [
      ("default-hash-seed", 0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f, 11_989_194_628_990_176_781),
      ("default-hash-seed", 0x7411_0000_0000_0000, UInt64.max, 7_420_735_094_472_647_862),
      ("custom-salt", 0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f, 465_733_543_385_588_725),
      ("custom-salt", 0, 1, 1_302_068_425_496_309_554), ("x", 0, 1, 10_164_952_389_807_996_692),
    ] as [(String, UInt64, UInt64, UInt64)])
  func hashes(salt: String, high: UInt64, low: UInt64, hash: UInt64) {
    let id = TraceID(high: high, low: low)
    let percentage = Double(hash) / 0x1p64 * 100
    #expect(HashSampling(salt: salt, percentage: percentage * 1.0001).samples(id))
    #expect(!HashSampling(salt: salt, percentage: percentage * 0.9999).samples(id))
    #expect(HashSampling(salt: salt, percentage: 100).samples(id))
    #expect(!HashSampling(salt: salt, percentage: 0).samples(id))
  }
}

/// Random policies of every kind without a budget, and their meaning in plain words.
private struct RandomPolicies {
  var random: RandomSource
  static let predicates: [Policy.Rule] = (0..<3).map { .numericAttribute(key: "k\($0)", range: 1...1) }

  mutating func rule(depth: Int) -> Policy.Rule {
    switch random.number(in: 0...(depth > 0 ? 8 : 5)) {
    case 0: .alwaysSample
    case 1, 2: RandomPolicies.predicates[random.number(in: 0...2)]
    case 3:
      .numericAttribute(
        key: "k\(random.number(in: 0...2))", range: 1...1, inverted: true)
    case 4: .probabilistic(SamplingThreshold(rejected: UInt64(random.number(in: 0...16)) * (full / 16)))
    case 5: .spanCount(least: random.number(in: 0...2), most: random.chance(0.5) ? 2 : nil)
    case 6: .not(rule(depth: depth - 1))
    default: .and((0...random.number(in: 0...2)).map { _ in rule(depth: depth - 1) })
    }
  }

  mutating func list() -> [Policy] {
    (0...random.number(in: 0...4)).map { number in
      let parts = { (random: inout RandomPolicies) in (0...1).map { _ in random.rule(depth: 2) } }
      let rule = random.chance(0.2) ? Policy.Rule.drop(parts(&self)) : rule(depth: 3)
      return Policy(name: "p\(number)", rule: rule)
    }
  }
}

/// The facts that random policies use.
private struct Facts {
  var attributes: [Bool]
  var spans: Int
  var randomness: UInt64

  func samples(_ rule: Policy.Rule, isNegated: Bool = false) -> Bool {
    switch rule {
    case .numericAttribute(let key, _, let isInverted):
      attributes[Int(key.dropFirst()) ?? 0] != isInverted
    case .probabilistic(let threshold):
      isNegated ? randomness < full - threshold.rejected : randomness >= threshold.rejected
    case .spanCount(let least, let most): spans >= least && most.map { spans <= $0 } ?? true
    case .and(let rules), .drop(let rules): rules.allSatisfy { samples($0, isNegated: isNegated) }
    case .not(let rule): !samples(rule, isNegated: !isNegated)
    default: true
    }
  }

  /// As the Collector's processor combines the decisions of its policies; with `inverts` as versions before
  /// 0.144 do.
  func isKept(_ policies: [Policy], firstMatch: Bool, inverts: Bool) -> Bool {
    var sampled = false
    var refused = false
    var invertedYes = false
    for policy in policies {
      guard case .drop(let rules) = policy.rule else { continue }
      if rules.allSatisfy({ samples($0, isNegated: true) }) { return false }
      refused = true
    }
    for policy in policies {
      if case .drop = policy.rule { continue }
      let isSampled = samples(policy.rule)
      if inverts, case .numericAttribute(_, _, true) = policy.rule {
        if !isSampled { return false }
        invertedYes = true
      } else if isSampled {
        sampled = true
        if firstMatch { break }
      } else {
        refused = true
      }
    }
    return sampled || (invertedYes && !refused)
  }
}

@Suite struct PolicyReferenceTests {
  private func trace(_ facts: Facts, of policies: [Policy]) -> TraceFacts {
    let predicates = PolicyCompiler(policies).predicates
    var bits: UInt64 = 0
    for (number, predicate) in predicates.enumerated() {
      guard case .integer(let key, _) = predicate else { continue }
      if facts.attributes[Int(key.dropFirst()) ?? 0] { bits |= 1 << UInt64(number) }
    }
    return knownTrace(randomness: facts.randomness, matches: bits, spans: UInt32(facts.spans))
  }

  /// The verdict is the plain one; and the trace's threshold tells, for every randomness, whether a trace
  /// with the same facts is kept.
  @Test(arguments: 1...8) func verdictsAndThresholds(seed: UInt64) {
    var source = RandomPolicies(random: RandomSource(seed: seed))
    for _ in 0..<600 {
      let policies = source.list()
      let firstMatch = source.random.chance(0.3)
      let inverts = source.random.chance(0.5)
      var facts = Facts(
        attributes: (0..<3).map { _ in source.random.chance(0.5) }, spans: source.random.number(in: 1...3),
        randomness: 0)
      var set = PolicySet(policies, sampleOnFirstMatch: firstMatch, invertDecisions: inverts)
      var thresholds: Set<UInt64> = []
      var kept: [UInt64] = []
      let points = (0...16).flatMap { step in
        let edge = UInt64(step) * (full / 16)
        return [edge, edge &- 1].filter { $0 < full }
      }
      for point in points {
        facts.randomness = point
        let outcome = set.decide(trace(facts, of: policies), at: .start)
        let isKept = facts.isKept(policies, firstMatch: firstMatch, inverts: inverts)
        #expect(outcome.isKept == isKept, "\(policies) \(facts)")
        guard outcome.isKept else { continue }
        thresholds.insert(outcome.threshold.rejected)
        kept.append(point)
      }
      #expect(thresholds.count <= 1, "\(policies)")
      if let threshold = thresholds.first {
        #expect(kept.sorted() == points.filter { $0 >= threshold }.sorted())
      }
    }
  }

  /// What is certain early holds at the end, whatever arrives; so does a certain veto.
  @Test(arguments: 1...8) func certainIsForGood(seed: UInt64) {
    var source = RandomPolicies(random: RandomSource(seed: 100 + seed))
    var certain = 0
    for _ in 0..<2000 {
      let policies = source.list()
      var set = PolicySet(
        policies, sampleOnFirstMatch: source.random.chance(0.3), invertDecisions: source.random.chance(0.5))
      let later = Facts(
        attributes: (0..<3).map { _ in source.random.chance(0.5) }, spans: source.random.number(in: 1...4),
        randomness: UInt64(source.random.number(in: 0...15)) * (full / 16))
      var early = later
      early.attributes = later.attributes.map { $0 && source.random.chance(0.5) }
      early.spans = source.random.number(in: 1...later.spans)
      let first = set.program.certain(trace(early, of: policies))
      let veto = set.program.isVetoCertain(trace(early, of: policies))
      let last = set.decide(trace(later, of: policies), at: .start)
      if first.isKept {
        certain += 1
        #expect(last.isKept && last.threshold == .always, "\(policies) \(early) \(later)")
      }
      if veto { #expect(last.isVetoed, "\(policies) \(early) \(later)") }
    }
    #expect(certain > 100)
  }
}
