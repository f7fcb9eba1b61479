// Compiles the tree of rules into one flat list of tests, evaluated without following references.

import Expressions
import OTLP

/// One test of a policy set. Plain values only.
enum PolicyTest {
  case always
  /// Bit *s* is set if status *s* matches.
  case status(mask: UInt8)
  /// Nanoseconds, both inclusive; of all spans together, or the root's own.
  case latency(least: Int64, most: Int64, measure: Policy.DurationMeasure)
  /// Both inclusive.
  case spanCount(least: UInt32, most: UInt32)
  /// Samples randomness from `rejected` up.
  case randomness(rejected: UInt64)
  /// Samples randomness from the baseline's threshold for the trace up.
  case baseline
  /// An index into `PolicyProgram.hashes`.
  case hash(Int)
  /// Whether a span or resource matched.
  case predicate(bit: UInt64)
  /// Whether no span or resource matched.
  case noPredicate(bit: UInt64)
  /// Whether a span matched before evaluation failed for one. If it failed, the policy does not sample the
  /// trace, wherever in the policy the test appears.
  case condition(bit: UInt64, failure: UInt64)
  /// Which of `PolicyBudgets.buckets` pays for the trace's spans, or its bytes.
  case bucket(Int, paysBytes: Bool)
  /// All of these tests.
  case all(Range<Int>)
  /// The negation of this test.
  case not(Int)
  /// An index into `PolicyBudgets.composites`, and the tests of its parts.
  case composite(Int, Range<Int>)
}

/// What a policy's match does to the verdict.
enum PolicyRole {
  /// A match keeps the trace.
  case samples
  /// A match drops the trace, even if another policy keeps it.
  case drops
  /// An inverted policy as in Collectors before version 0.144: a span that matches drops the trace.
  case vetoes(bit: UInt64)
}

/// A compiled composite.
struct CompiledComposite {
  let fallsThrough: Bool
  /// The bit of its first part in the set of budgets that refused.
  let firstBit: Int
}

/// Builds the parts of a policy set.
struct PolicyCompiler {
  /// The answers of all hashes fit in one word.
  static let hashesMax = 64
  /// The most combinations of their answers to go through for each kept trace.
  static let chancesMax = 1024
  /// Buckets and parts of composites: the set of those that refused fits in one word.
  static let budgetsMax = 64
  /// Limits that the fleet shares: a record of `stats` has them all.
  static let fleetLimitsMax = DemandRecord.limitsMax

  private(set) var tests: [PolicyTest] = []
  private(set) var roots: [Int] = []
  private(set) var roles: [PolicyRole] = []
  private(set) var predicates: [SpanPredicate] = []
  private(set) var hashes: [HashSampling] = []
  /// The unused budgets.
  private(set) var budgets = PolicyBudgets()
  private(set) var bucketBits: [Int] = []
  /// The buckets of limits that the fleet shares, and whether they pay for bytes.
  private(set) var fleetBuckets: [(bucket: Int, paysBytes: Bool)] = []
  private(set) var composites: [CompiledComposite] = []
  private(set) var budgetCount = 0
  /// For each policy, the index that its first bucket and its first composite would have.
  private(set) var firstBudgets: [(bucket: Int, composite: Int)] = []

  /// - Parameters:
  ///   - invertDecisions: whether inverted policies veto.
  ///   - earlier: other policies of the same spans, whose predicates keep their bits.
  init(_ policies: [Policy], invertDecisions: Bool = false, after earlier: PolicyCompiler? = nil) {
    predicates = earlier?.predicates ?? []
    for policy in policies {
      firstBudgets.append((bucketBits.count, composites.count))
      tests.append(.always)
      let root = tests.count - 1
      roots.append(root)
      place(policy.rule, at: root)
      switch (policy.rule, tests[root]) {
      case (.drop, _): roles.append(.drops)
      case (_, .noPredicate(let bit)) where invertDecisions: roles.append(.vetoes(bit: bit))
      default: roles.append(.samples)
      }
    }
  }

  /// Compiles `rules` into adjacent tests.
  private mutating func place(_ rules: [Policy.Rule]) -> Range<Int> {
    let start = tests.count
    tests.append(contentsOf: repeatElement(.always, count: rules.count))
    for (number, rule) in rules.enumerated() { place(rule, at: start + number) }
    return start..<start + rules.count
  }

  private mutating func place(_ rule: Policy.Rule, at slot: Int) {
    tests[slot] =
      switch rule {
      case .alwaysSample: .always
      case .statusCode(let codes): .status(mask: codes.reduce(0) { $0 | 1 << $1.rawValue })
      case .latency(let threshold, nil, let measure):
        .latency(least: threshold.nanoseconds, most: .max, measure: measure)
      case .latency(let threshold, let upper?, let measure):
        .latency(least: threshold.nextMillisecond, most: upper.nextMillisecond - 1, measure: measure)
      case .probabilistic(let threshold): .randomness(rejected: threshold.rejected)
      case .adaptive: .baseline
      case .hashed(let sampling): .hash(number(of: sampling))
      case .spanCount(let least, let most):
        .spanCount(least: UInt32(clamping: least), most: most.map { UInt32(clamping: $0) } ?? .max)
      case .numericAttribute(let key, let range, let isInverted):
        predicate(.integer(key: key, range: range), isInverted)
      case .stringAttribute(let key, let values, let isInverted):
        predicate(.text(key: key, values: values), isInverted)
      case .patternAttribute(let key, let patterns, let isInverted):
        predicate(.pattern(key: key, patterns: patterns), isInverted)
      case .booleanAttribute(let key, let value, let isInverted):
        predicate(.boolean(key: key, value: value), isInverted)
      case .traceState(let key, let values): predicate(.traceState(key: key, values: values), false)
      case .traceFlags: predicate(.sampledFlag, false)
      case .ottlCondition(let spans, let events, let mode):
        condition(ConditionGroup(spans: spans, events: events, errorMode: mode))
      case .rateLimiting(let limit): .bucket(bucket(limit, paysBytes: false), paysBytes: false)
      case .bytesLimiting(let limit): .bucket(bucket(limit, paysBytes: true), paysBytes: true)
      case .and(let rules), .drop(let rules): .all(place(rules))
      case .not(let rule): .not(place([rule]).lowerBound)
      case .composite(let composite): .composite(number(of: composite), place(composite.parts.map(\.rule)))
      }
  }

  /// The test of a predicate. Equal predicates share a bit.
  private mutating func predicate(_ predicate: SpanPredicate, _ isInverted: Bool) -> PolicyTest {
    let bit: UInt64 = 1 << UInt64(number(of: predicate))
    return isInverted ? .noPredicate(bit: bit) : .predicate(bit: bit)
  }

  /// The test of a group of conditions. If errors count, a second bit records that one occurred.
  private mutating func condition(_ group: ConditionGroup) -> PolicyTest {
    let bit: UInt64 = 1 << UInt64(number(of: .conditions(group)))
    guard group.errorMode == .propagate else { return .predicate(bit: bit) }
    return .condition(bit: bit, failure: 1 << UInt64(number(of: .failure(of: group))))
  }

  private mutating func number(of predicate: SpanPredicate) -> Int {
    if let known = predicates.firstIndex(of: predicate) { return known }
    predicates.append(predicate)
    return predicates.count - 1
  }

  private mutating func number(of sampling: HashSampling) -> Int {
    if let known = hashes.firstIndex(of: sampling) { return known }
    hashes.append(sampling)
    return hashes.count - 1
  }

  private mutating func bucket(_ limit: RateLimit, paysBytes: Bool) -> Int {
    if limit.scope == .fleet { fleetBuckets.append((bucketBits.count, paysBytes)) }
    budgets.buckets.append(TokenBucket(limit))
    bucketBits.append(budgetCount)
    budgetCount += 1
    return bucketBits.count - 1
  }

  private mutating func number(of composite: Composite) -> Int {
    budgets.composites.append(SecondBudgets(composite))
    composites.append(CompiledComposite(fallsThrough: composite.fallsThrough, firstBit: budgetCount))
    budgetCount += composite.parts.count
    return composites.count - 1
  }

  /// How many buckets and composites a rule has.
  static func budgets(of rule: Policy.Rule) -> (buckets: Int, composites: Int) {
    let compiled = PolicyCompiler([Policy(name: "", rule: rule)])
    return (compiled.bucketBits.count, compiled.composites.count)
  }

  /// Whether a policy combines facts of several spans: then what late spans change about a dropped trace
  /// depends on the spans before them. Otherwise the earlier spans had their chance, or a policy has dropped
  /// them.
  func combines(sampleOnFirstMatch: Bool) -> Bool {
    roots.indices.contains { policy in
      switch roles[policy] {
      case .samples, .drops: combines(roots[policy])
      // Whether it was evaluated depends on the policies before it.
      case .vetoes: sampleOnFirstMatch
      }
    }
  }

  private func combines(_ test: Int) -> Bool {
    switch tests[test] {
    case .always, .status, .randomness, .baseline, .hash, .predicate, .noPredicate, .bucket: false
    case .latency(_, let most, let measure): most < .max || measure == .spans
    case .all(let parts): parts.count > 1 || parts.contains { combines($0) }
    // A condition that failed earlier counts for the whole trace.
    case .spanCount, .condition, .not, .composite: true
    }
  }

  /// Every combination of answers that the hashes can give, with its probability in units of 2^-56. Hashes of
  /// one salt are nested: the larger share includes the smaller one.
  var chances: [(answers: UInt64, weight: UInt64)] {
    guard !hashes.isEmpty else { return [] }
    let full = SamplingThreshold.randomnessCount
    var chances: [(answers: UInt64, weight: UInt64)] = [(0, full)]
    for salt in Set(hashes.map(\.salt)).sorted() {
      let nested = hashes.indices.filter { hashes[$0].salt == salt }.sorted {
        hashes[$0].limit < hashes[$1].limit
      }
      var steps: [(answers: UInt64, weight: UInt64)] = []
      var below: UInt64 = 0
      for (place, number) in nested.enumerated() {
        // 2^64 - 1 means all traces.
        let share = hashes[number].limit == .max ? full : hashes[number].limit >> 8
        steps.append((nested[place...].reduce(0) { $0 | 1 << UInt64($1) }, share - below))
        below = share
      }
      steps.append((0, full - below))
      chances = chances.flatMap { chance in
        steps.map { (chance.answers | $0.answers, SamplingThreshold.product(chance.weight, $0.weight)) }
      }
    }
    return chances.filter { $0.weight > 0 }
  }

  /// How many combinations there are.
  var chanceCount: Int {
    Set(hashes.map(\.salt)).reduce(1) { count, salt in
      min(count, PolicyCompiler.chancesMax + 1) * (hashes.filter { $0.salt == salt }.count + 1)
    }
  }
}

extension Policy {
  /// Which limit of a sampler `policies` together exceed, as in "more than 64 rate limits"; nil if they fit.
  public static func excess(in policies: [Policy]) -> String? {
    let compiled = PolicyCompiler(policies)
    if compiled.predicates.count > SpanPredicates.countMax {
      let tests = "different tests of attributes, conditions, tracestates and flags"
      return "more than \(SpanPredicates.countMax) \(tests)"
    }
    if compiled.budgetCount > PolicyCompiler.budgetsMax {
      return "more than \(PolicyCompiler.budgetsMax) rate limits, policies of composites included"
    }
    if compiled.fleetBuckets.count > PolicyCompiler.fleetLimitsMax {
      return "more than \(PolicyCompiler.fleetLimitsMax) rate limits with scope fleet"
    }
    if compiled.hashes.count > PolicyCompiler.hashesMax || compiled.chanceCount > PolicyCompiler.chancesMax {
      return "too many different hashes; use fewer salts, or leave hash_salt out"
    }
    return nil
  }
}

extension SamplingThreshold {
  /// The product of two shares, each in units of 2^-56.
  static func product(_ left: UInt64, _ right: UInt64) -> UInt64 {
    UInt64((UInt128(left) * UInt128(right)) >> 56)
  }
}

extension Interval {
  /// The first nanosecond of the next whole millisecond.
  fileprivate var nextMillisecond: Int64 {
    let (next, overflow) = (nanoseconds / 1_000_000 + 1).multipliedReportingOverflow(by: 1_000_000)
    return overflow ? .max : next
  }
}
