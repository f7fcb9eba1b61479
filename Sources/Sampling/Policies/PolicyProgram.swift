// The compiled policies, and what they decide about a trace at the end of its window.
//
// A policy's answer is a threshold, not a boolean: the randomness from which a trace with these facts is
// kept. Facts give the lowest or the highest threshold, probabilities give their own; `and` takes the higher,
// a choice of policies the lower. So the threshold of the verdict is exact however deeply a probability is
// nested. Below a `not` or a `drop` a probability picks its share from the low end, so kept traces are always
// at the upper end of the randomness space, as `th` requires.

import OTLP

/// The compiled policies. Immutable, and shared by a lane's partitions; each partition has its own
/// `PolicyBudgets`.
final class PolicyProgram: Sendable {
  let names: [String]
  /// The unused budgets.
  let budgets: PolicyBudgets
  let tests: [PolicyTest]
  let roots: [Int]
  let roles: [PolicyRole]
  let drops: [Int]
  let edges: AnswerEdges
  let composites: [CompiledComposite]
  /// The bits of buckets in the set of budgets that refused.
  private let bucketBits: [Int]
  private let hashes: [HashSampling]
  /// Every combination of answers that the hashes can give, with its probability.
  private let chances: [(answers: UInt64, weight: UInt64)]
  /// The policies as given, and where the budgets of each begin.
  private let policies: [(policy: Policy, firstBucket: Int, firstComposite: Int)]
  private let skewTolerance: Int64
  let stopsAtFirstMatch: Bool
  /// Whether every policy vetoes. Only then do they keep what they don't veto: the Collector kept a trace
  /// unless another policy did not match, and if all others match, those keep it.
  private let isOnlyVetoes: Bool
  /// The limits that the fleet shares.
  let fleetBuckets: [FleetBucket]
  /// Whether policies combine facts of several spans, so late spans can't be judged by themselves.
  let remembersFacts: Bool

  init(
    _ policies: [Policy], _ compiled: PolicyCompiler, skewTolerance: Interval, sampleOnFirstMatch: Bool,
    isShadow: Bool = false
  ) {
    names = policies.map(\.name)
    budgets = compiled.budgets
    tests = compiled.tests
    roots = compiled.roots
    roles = compiled.roles
    drops = compiled.roles.indices.filter { if case .drops = compiled.roles[$0] { true } else { false } }
    edges = AnswerEdges(compiled.tests)
    composites = compiled.composites
    bucketBits = compiled.bucketBits
    hashes = compiled.hashes
    chances = compiled.chances
    self.policies = zip(policies, compiled.firstBudgets).map { ($0, $1.bucket, $1.composite) }
    self.skewTolerance = skewTolerance.nanoseconds
    stopsAtFirstMatch = sampleOnFirstMatch
    isOnlyVetoes = compiled.roles.allSatisfy { if case .vetoes = $0 { true } else { false } }
    fleetBuckets = FleetBucket.all(of: policies, compiled, isShadow: isShadow)
    remembersFacts = compiled.combines(sampleOnFirstMatch: sampleOnFirstMatch)
  }

  /// Whether the first policy that samples a trace ends the evaluation before a veto at the end of the
  /// policies would be reached. Policies that drop come before all others.
  var stopsBeforeAppendedVetoes: Bool { stopsAtFirstMatch && !isOnlyVetoes }

  /// Whether what is not vetoed is kept, as long as no other kind of policy joins them.
  var keepsWhatIsNotVetoed: Bool { isOnlyVetoes && !roots.isEmpty }

  /// The policies with these names, one bit each.
  func named(_ wanted: [String]) -> UInt64 {
    var named: UInt64 = 0
    for (policy, name) in names.enumerated() where wanted.contains(name) { named |= 1 << UInt64(policy) }
    return named
  }

  /// Whether there are policies with these names, and each of them keeps traces by chance: a probability has
  /// a part in it.
  func areByChance(_ wanted: [String]) -> Bool {
    let places = wanted.map { names.firstIndex(of: $0) }
    return !places.isEmpty && places.allSatisfy { $0.map { isByChance(roots[$0]) } ?? false }
  }

  private func isByChance(_ test: Int) -> Bool {
    switch tests[test] {
    case .randomness(let rejected): rejected > 0
    case .baseline, .hash: true
    case .all(let range), .composite(_, let range): range.contains(where: isByChance)
    case .not(let test): isByChance(test)
    case .always, .status, .latency, .spanCount, .predicate, .noPredicate, .condition, .bucket: false
    }
  }

  /// Carries budgets over from `earlier`, which this program replaces: policies that are the same in both
  /// keep what was left in `old`.
  func carry(_ old: PolicyBudgets, of earlier: PolicyProgram, into new: inout PolicyBudgets) {
    for (policy, bucket, composite) in policies {
      guard let before = earlier.policies.first(where: { $0.policy == policy }) else { continue }
      let (bucketCount, compositeCount) = PolicyCompiler.budgets(of: policy.rule)
      for number in 0..<bucketCount {
        new.buckets[bucket + number] = old.buckets[before.firstBucket + number]
      }
      for number in 0..<compositeCount {
        new.composites[composite + number] = old.composites[before.firstComposite + number]
      }
    }
  }

  // MARK: At the end of the window

  /// Which end of the randomness space a test's threshold cuts off.
  enum Side {
    /// The test matches from the threshold up.
    case keeping
    /// The test matches below the threshold.
    case dropping

    var other: Side { self == .keeping ? .dropping : .keeping }

    /// The threshold of a fact.
    @inline(__always)
    func threshold(_ holds: Bool) -> UInt64 {
      (self == .keeping) == holds ? 0 : SamplingThreshold.randomnessCount
    }

    @inline(__always)
    func says(_ threshold: UInt64, at randomness: UInt64) -> Bool {
      (self == .keeping) == (randomness >= threshold)
    }

    /// The threshold of two tests together.
    @inline(__always)
    func both(_ left: UInt64, _ right: UInt64) -> UInt64 {
      self == .keeping ? max(left, right) : min(left, right)
    }
  }

  /// The state of one evaluation.
  struct Evaluation {
    let now: Instant
    /// The baseline's threshold for the trace.
    var baseline: UInt64
    /// Bit *i* is set if hash *i* samples the trace.
    var hashes: UInt64
    /// Whether budgets are checked and charged. Not for policies that the Collector would not reach, whose
    /// thresholds count all the same; they are assumed to have budget left unless they just refused.
    var isPaying = true
    /// The bits of the budgets that refused.
    var refused: UInt64 = 0
    /// Whether the current policy keeps traces or drops them.
    var role = Side.keeping
  }

  /// The verdict on all known facts. Called once per trace: it spends budgets.
  ///
  /// The threshold is that of the whole set: a trace that only probabilities keep stands for all traces of
  /// its kind, one that anything else keeps stands for itself. A rate limit counts as certain: how many
  /// traces it stands for is unknown.
  ///
  /// - Parameter baseline: the baseline's threshold for this trace.
  func decide(
    _ trace: TraceFacts, at now: Instant, baseline: SamplingThreshold, _ budgets: inout PolicyBudgets
  ) -> PolicyOutcome {
    var evaluation = Evaluation(now: now, baseline: baseline.rejected, hashes: answers(for: trace.id))
    var outcome = PolicyOutcome()
    let threshold = self.threshold(trace, &evaluation, &budgets, &outcome)
    guard outcome.isKept else { return outcome }
    outcome.threshold = SamplingThreshold(rejected: threshold)
    if !chances.isEmpty {
      outcome.threshold = chance(of: trace, evaluation, &budgets, actual: threshold)
    }
    outcome.isCertain = outcome.threshold == .always
    if outcome.isCertain, baseline == .always {
      outcome.isCertain = isCertainWithoutBaseline(trace, evaluation, &budgets)
    }
    return outcome
  }

  @inline(never)
  private func isCertainWithoutBaseline(
    _ trace: TraceFacts, _ evaluation: Evaluation, _ budgets: inout PolicyBudgets
  ) -> Bool {
    var others = evaluation
    others.baseline = SamplingThreshold.randomnessCount
    others.isPaying = false
    var nothing = PolicyOutcome()
    let threshold = self.threshold(trace, &others, &budgets, &nothing)
    guard !chances.isEmpty else { return threshold == 0 }
    return chance(of: trace, others, &budgets, actual: threshold) == .always
  }

  /// The hashes that sample the trace, one bit each.
  func answers(for trace: TraceID) -> UInt64 {
    var answers: UInt64 = 0
    for (number, hash) in hashes.enumerated() where hash.samples(trace) { answers |= 1 << UInt64(number) }
    return answers
  }

  /// The probability that the trace is kept, over all answers that the hashes could have given.
  ///
  /// A hash is independent of the trace's randomness: the threshold then states how likely the trace was
  /// kept, not which randomness it needs.
  private func chance(
    of trace: TraceFacts, _ evaluation: Evaluation, _ budgets: inout PolicyBudgets, actual: UInt64
  ) -> SamplingThreshold {
    var hypothetical = evaluation
    hypothetical.isPaying = false
    var nothing = PolicyOutcome()
    var kept: UInt64 = 0
    var isSettled = true
    for chance in chances {
      hypothetical.hashes = chance.answers
      let threshold = self.threshold(trace, &hypothetical, &budgets, &nothing)
      if threshold != actual { isSettled = false }
      kept += SamplingThreshold.product(chance.weight, SamplingThreshold.randomnessCount - threshold)
    }
    // If the hashes make no difference, the threshold needs no rounding.
    guard !isSettled else { return SamplingThreshold(rejected: actual) }
    return SamplingThreshold(rounding: SamplingThreshold.randomnessCount - max(1, kept))
  }

  /// The randomness from which the trace is kept; fills in the outcome while budgets pay.
  private func threshold(
    _ trace: TraceFacts, _ evaluation: inout Evaluation, _ budgets: inout PolicyBudgets,
    _ outcome: inout PolicyOutcome
  ) -> UInt64 {
    var dropped: UInt64 = 0
    evaluation.role = .dropping
    for policy in drops {
      let threshold = threshold(of: roots[policy], .dropping, trace, &evaluation, &budgets)
      if evaluation.isPaying, Side.dropping.says(threshold, at: trace.randomness) {
        outcome.veto(by: policy)
        return SamplingThreshold.randomnessCount
      }
      dropped = max(dropped, threshold)
    }
    evaluation.role = .keeping
    var sampled = SamplingThreshold.randomnessCount
    for policy in roots.indices {
      switch roles[policy] {
      case .drops: continue
      case .vetoes(let bit):
        guard trace.predicateMatches & bit != 0 else {
          if isOnlyVetoes, evaluation.isPaying { outcome.matches |= 1 << UInt64(policy) }
          continue
        }
        if evaluation.isPaying { outcome.veto(by: policy) }
        // Policies after it count for nothing; those before it only if evaluation stops at the first match.
        return stopsAtFirstMatch ? max(dropped, sampled) : SamplingThreshold.randomnessCount
      case .samples:
        let threshold = threshold(of: roots[policy], .keeping, trace, &evaluation, &budgets)
        sampled = min(sampled, threshold)
        guard evaluation.isPaying, trace.randomness >= threshold else { continue }
        outcome.matches |= 1 << UInt64(policy)
        if stopsAtFirstMatch { evaluation.isPaying = false }
      }
    }
    return max(dropped, isOnlyVetoes ? 0 : sampled)
  }

  /// The threshold of one test: in place for the tests that nearly every set of policies has.
  @inline(__always)
  func threshold(
    of test: Int, _ side: Side, _ trace: TraceFacts, _ evaluation: inout Evaluation,
    _ budgets: inout PolicyBudgets
  ) -> UInt64 {
    switch tests[test] {
    case .status(let mask): return side.threshold(trace.statuses & mask != 0)
    case .latency(let least, let most, let measure):
      let duration = duration(of: trace, measure)
      return side.threshold(duration >= least && duration <= most)
    default: return threshold(ofAny: test, side, trace, &evaluation, &budgets)
    }
  }

  private func threshold(
    ofAny test: Int, _ side: Side, _ trace: TraceFacts, _ evaluation: inout Evaluation,
    _ budgets: inout PolicyBudgets
  ) -> UInt64 {
    switch tests[test] {
    case .always: return side.threshold(true)
    case .status, .latency: return threshold(of: test, side, trace, &evaluation, &budgets)
    case .spanCount(let least, let most):
      return side.threshold(trace.spanCount >= least && trace.spanCount <= most)
    case .randomness(let rejected):
      return side == .keeping ? rejected : SamplingThreshold.randomnessCount - rejected
    case .baseline:
      return side == .keeping ? evaluation.baseline : SamplingThreshold.randomnessCount - evaluation.baseline
    case .hash(let number): return side.threshold(evaluation.hashes & 1 << UInt64(number) != 0)
    case .predicate(let bit): return side.threshold(trace.predicateMatches & bit != 0)
    case .noPredicate(let bit): return side.threshold(trace.predicateMatches & bit == 0)
    case .condition(let bit, let failure):
      // A failure is not the negation of a match: below a `not`, too, the whole policy does not match.
      guard trace.predicateMatches & failure == 0 else { return evaluation.role.threshold(false) }
      return side.threshold(trace.predicateMatches & bit != 0)
    case .bucket(let number, let paysBytes):
      let bit: UInt64 = 1 << UInt64(bucketBits[number])
      if evaluation.isPaying {
        let cost = paysBytes ? Int64(clamping: trace.byteCount) : Int64(trace.spanCount)
        if !budgets.buckets[number].take(cost, at: evaluation.now) { evaluation.refused |= bit }
      }
      return side.threshold(evaluation.refused & bit == 0)
    case .all(let parts):
      return threshold(ofAll: parts, side, trace, &evaluation, &budgets)
    case .not(let part):
      // The part does not match on the other side of the same threshold.
      return threshold(of: part, side.other, trace, &evaluation, &budgets)
    case .composite(let number, let parts):
      return threshold(ofComposite: number, parts, trace, &evaluation, &budgets)
    }
  }

  private func threshold(
    ofAll parts: Range<Int>, _ side: Side, _ trace: TraceFacts, _ evaluation: inout Evaluation,
    _ budgets: inout PolicyBudgets
  ) -> UInt64 {
    let wasPaying = evaluation.isPaying
    var result = side.threshold(true)
    for part in parts {
      let threshold = threshold(of: part, side, trace, &evaluation, &budgets)
      result = side.both(result, threshold)
      // The Collector stops at the first part that does not match: no later budget is spent.
      if !side.says(threshold, at: trace.randomness) { evaluation.isPaying = false }
    }
    evaluation.isPaying = wasPaying
    return result
  }

  /// The first part that samples the trace and has budget for it keeps it.
  private func threshold(
    ofComposite number: Int, _ parts: Range<Int>, _ trace: TraceFacts, _ evaluation: inout Evaluation,
    _ budgets: inout PolicyBudgets
  ) -> UInt64 {
    let wasPaying = evaluation.isPaying
    defer { evaluation.isPaying = wasPaying }
    var result = SamplingThreshold.randomnessCount
    for (place, part) in parts.enumerated() {
      let threshold = threshold(of: part, .keeping, trace, &evaluation, &budgets)
      let isSampled = trace.randomness >= threshold
      let bit: UInt64 = 1 << UInt64(composites[number].firstBit + place)
      if evaluation.isPaying, isSampled {
        if budgets.composites[number].spend(Int64(trace.spanCount), of: place, at: evaluation.now) {
          evaluation.isPaying = false
        } else {
          evaluation.refused |= bit
        }
      }
      if evaluation.refused & bit == 0 {
        result = min(result, threshold)
      } else if isSampled, !composites[number].fallsThrough {
        return SamplingThreshold.randomnessCount
      }
    }
    return result
  }

  @inline(__always)
  private func duration(of trace: TraceFacts, _ measure: Policy.DurationMeasure) -> Int64 {
    switch measure {
    case .root: trace.hasRoot ? trace.rootDuration : max(0, trace.envelope - skewTolerance)
    case .spans: trace.envelope
    }
  }
}
