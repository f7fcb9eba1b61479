// The compiled policies, and what they say about a trace.
//
// A policy's answer is not yes or no but a threshold: from which randomness on a trace with these facts is
// kept. Facts give the least or the greatest threshold, probabilities give their own; `and` takes the
// greater, a choice of policies the smaller. So the threshold of the verdict is exact however deep a
// probability sits. Below a `not` or a `drop` a probability picks its share from the low end, so that what is
// kept is always the upper end of the randomness space, as `th` says it is.

import Invariants
import OTLP

/// What a policy set says about a trace.
struct PolicyOutcome: Equatable {
  /// Bit *i* is set if policy *i* samples the trace; if it `isVetoed`, if policy *i* takes it away.
  var matches: UInt64 = 0
  /// The threshold that the trace was kept with; meaningful only if it is kept.
  var threshold = SamplingThreshold.never
  /// Whether a policy takes the trace away, whatever samples it.
  var isVetoed = false

  var isKept: Bool { matches != 0 && !isVetoed }

  /// The first policy that matches.
  var first: Int? { matches == 0 ? nil : matches.trailingZeroBitCount }

  fileprivate mutating func veto(by policy: Int) {
    matches = 1 << UInt64(policy)
    isVetoed = true
  }
}

/// The compiled policies.
struct PolicySet {
  /// At most this many, so that a set of matches is one word.
  static let countMax = 64

  let names: [String]
  /// What is asked of each span and resource.
  var predicates: SpanPredicates

  private let tests: [PolicyTest]
  private let roots: [Int]
  private let roles: [PolicyRole]
  private let hashes: [HashSampling]
  /// Every combination of answers that the hashes can give, and its probability.
  private let chances: [(answers: UInt64, weight: UInt64)]
  private var buckets: [(bucket: TokenBucket, bit: Int)]
  private var composites: [CompiledComposite]
  /// The policies as they were given, and where the budgets of each begin.
  private let policies: [(policy: Policy, firstBucket: Int, firstComposite: Int)]
  private let drops: [Int]
  private let skewTolerance: Int64
  private let stopsAtFirstMatch: Bool
  /// Whether every policy vetoes. Only then do they keep what they don't veto: the Collector kept it unless
  /// another policy said no, and where all others say yes it is kept by these.
  private let isOnlyVetoes: Bool
  /// Whether policies combine what several spans say, so that late spans can't be judged by themselves.
  let remembersFacts: Bool

  /// - Parameters:
  ///   - skewTolerance: by how much clocks of different hosts may differ.
  ///   - sampleOnFirstMatch: whether policies behind the first that samples a trace are not asked.
  ///   - invertDecisions: whether inverted policies veto; see `SamplerConfiguration`.
  init(
    _ policies: [Policy], skewTolerance: Interval = .milliseconds(10), sampleOnFirstMatch: Bool = false,
    invertDecisions: Bool = false
  ) {
    invariant(
      policies.count <= PolicySet.countMax, "\(policies.count) policies: more than \(PolicySet.countMax)")
    let compiled = PolicyCompiler(policies, invertDecisions: invertDecisions)
    let excess = Policy.excess(in: policies)
    invariant(excess == nil, "the policies need \(excess ?? "")")
    names = policies.map(\.name)
    predicates = SpanPredicates(compiled.predicates)
    tests = compiled.tests
    roots = compiled.roots
    roles = compiled.roles
    hashes = compiled.hashes
    chances = compiled.chances
    buckets = compiled.buckets
    composites = compiled.composites
    self.policies = zip(policies, compiled.firstBudgets).map { ($0, $1.bucket, $1.composite) }
    drops = compiled.roles.indices.filter { if case .drops = compiled.roles[$0] { true } else { false } }
    self.skewTolerance = skewTolerance.nanoseconds
    stopsAtFirstMatch = sampleOnFirstMatch
    isOnlyVetoes = compiled.roles.allSatisfy { if case .vetoes = $0 { true } else { false } }
    remembersFacts = compiled.combines(sampleOnFirstMatch: sampleOnFirstMatch)
  }

  /// The policies of `configuration`.
  init(_ configuration: SamplerConfiguration) {
    self.init(
      configuration.policies, skewTolerance: configuration.skewTolerance,
      sampleOnFirstMatch: configuration.sampleOnFirstMatch, invertDecisions: configuration.invertDecisions)
  }

  // MARK: Taking over

  /// Takes the place of `earlier`: policies that are the same there go on with the budget that they had.
  ///
  /// - Returns: where the yeses of spans have gone.
  mutating func succeed(_ earlier: PolicySet) -> PredicateMove {
    for (policy, bucket, composite) in policies {
      guard let before = earlier.policies.first(where: { $0.policy == policy }) else { continue }
      let (bucketCount, compositeCount) = PolicyCompiler.budgets(of: policy.rule)
      for number in 0..<bucketCount {
        buckets[bucket + number].bucket = earlier.buckets[before.firstBucket + number].bucket
      }
      for number in 0..<compositeCount {
        composites[composite + number].budgets = earlier.composites[before.firstComposite + number].budgets
      }
    }
    return predicates.succeed(earlier.predicates)
  }

  // MARK: Budgets

  /// What rate limits and composites have left, or spent, at `now`: not negative, at most two numbers for
  /// each of `PolicyCompiler.budgetsMax`. Empty where there are none.
  func budgetLevels(at now: Instant) -> [Int64] {
    guard !buckets.isEmpty || !composites.isEmpty else { return [] }
    return buckets.flatMap { $0.bucket.level(at: now) } + composites.flatMap { $0.budgets.spent(at: now) }
  }

  /// Takes over what `budgetLevels` said at `now`. Numbers of other policies, as far as that shows, are of
  /// no effect.
  mutating func restoreBudgets(_ levels: [Int64], at now: Instant) {
    let parts = composites.map { $0.budgets.partCount }
    guard levels.count == 2 * buckets.count + parts.reduce(0, +) else { return }
    var rest = levels[...]
    for number in buckets.indices {
      buckets[number].bucket.restore(rest.prefix(2), at: now)
      rest = rest.dropFirst(2)
    }
    for number in composites.indices {
      composites[number].budgets.restore(rest.prefix(parts[number]), at: now)
      rest = rest.dropFirst(parts[number])
    }
  }

  // MARK: At the end of the window

  /// Which end of the randomness space a test's threshold cuts off.
  private enum Side {
    /// The test says yes from the threshold up.
    case keeping
    /// The test says yes below the threshold.
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

    /// The threshold of both of two tests together.
    @inline(__always)
    func both(_ left: UInt64, _ right: UInt64) -> UInt64 {
      self == .keeping ? max(left, right) : min(left, right)
    }
  }

  /// The state of one evaluation.
  private struct Evaluation {
    let now: Instant
    /// The baseline's threshold for the trace.
    let baseline: UInt64
    /// Bit *i* is set if hash *i* samples the trace.
    var hashes: UInt64
    /// Whether budgets are asked, and pay. Not for policies that the Collector would not come to, whose
    /// thresholds count all the same; they are taken to have budget left, unless they just refused.
    var isPaying = true
    /// The bits of the budgets that refused.
    var refused: UInt64 = 0
    /// Whether the policy at hand keeps traces, or takes them away.
    var role = Side.keeping
  }

  /// The verdict on all that is known. Asked once a trace: budgets are spent.
  ///
  /// The threshold is that of the whole set: one that only probabilities keep stands for all traces of its
  /// kind, one that anything else keeps stands for itself. A rate limit counts as certain: how many traces a
  /// kept one stands for then, nobody knows.
  ///
  /// - Parameter baseline: the baseline's threshold for this trace.
  mutating func decide(
    _ trace: TraceFacts, at now: Instant, baseline: SamplingThreshold = .never
  ) -> PolicyOutcome {
    var evaluation = Evaluation(now: now, baseline: baseline.rejected, hashes: answers(for: trace.id))
    var outcome = PolicyOutcome()
    let threshold = self.threshold(trace, &evaluation, &outcome)
    guard outcome.isKept else { return outcome }
    outcome.threshold = SamplingThreshold(rejected: threshold)
    if !chances.isEmpty {
      outcome.threshold = chance(of: trace, evaluation, actual: threshold)
    }
    return outcome
  }

  /// The hashes that sample the trace, a bit each.
  private func answers(for trace: TraceID) -> UInt64 {
    var answers: UInt64 = 0
    for (number, hash) in hashes.enumerated() where hash.samples(trace) { answers |= 1 << UInt64(number) }
    return answers
  }

  /// The probability of being kept over all answers that the hashes could have given.
  ///
  /// A hash knows nothing of the trace's randomness: the threshold then says how likely the trace was, not
  /// which randomness it takes.
  private mutating func chance(
    of trace: TraceFacts, _ evaluation: Evaluation, actual: UInt64
  ) -> SamplingThreshold {
    var hypothetical = evaluation
    hypothetical.isPaying = false
    var nothing = PolicyOutcome()
    var kept: UInt64 = 0
    var isSettled = true
    for chance in chances {
      hypothetical.hashes = chance.answers
      let threshold = self.threshold(trace, &hypothetical, &nothing)
      if threshold != actual { isSettled = false }
      kept += SamplingThreshold.product(chance.weight, SamplingThreshold.randomnessCount - threshold)
    }
    // Where the hashes make no difference the threshold needs no rounding.
    guard !isSettled else { return SamplingThreshold(rejected: actual) }
    return SamplingThreshold(rounding: SamplingThreshold.randomnessCount - max(1, kept))
  }

  /// From which randomness on the trace is kept; fills in the outcome while budgets pay.
  private mutating func threshold(
    _ trace: TraceFacts, _ evaluation: inout Evaluation, _ outcome: inout PolicyOutcome
  ) -> UInt64 {
    var dropped: UInt64 = 0
    evaluation.role = .dropping
    for policy in drops {
      let threshold = threshold(of: roots[policy], .dropping, trace, &evaluation)
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
        // Policies behind it count for nothing; those before it only if they were asked first and said yes.
        return stopsAtFirstMatch ? max(dropped, sampled) : SamplingThreshold.randomnessCount
      case .samples:
        let threshold = threshold(of: roots[policy], .keeping, trace, &evaluation)
        sampled = min(sampled, threshold)
        guard evaluation.isPaying, trace.randomness >= threshold else { continue }
        outcome.matches |= 1 << UInt64(policy)
        if stopsAtFirstMatch { evaluation.isPaying = false }
      }
    }
    return max(dropped, isOnlyVetoes ? 0 : sampled)
  }

  /// The threshold of one test.
  private mutating func threshold(
    of test: Int, _ side: Side, _ trace: TraceFacts, _ evaluation: inout Evaluation
  ) -> UInt64 {
    switch tests[test] {
    case .always: return side.threshold(true)
    case .status(let mask): return side.threshold(trace.statuses & mask != 0)
    case .latency(let least, let most, let measure):
      let duration = duration(of: trace, measure)
      return side.threshold(duration >= least && duration <= most)
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
      // Not the contrary of a yes: below a `not`, too, the policy as a whole says no.
      guard trace.predicateMatches & failure == 0 else { return evaluation.role.threshold(false) }
      return side.threshold(trace.predicateMatches & bit != 0)
    case .bucket(let number, let paysBytes):
      let bit: UInt64 = 1 << UInt64(buckets[number].bit)
      if evaluation.isPaying {
        let cost = paysBytes ? Int64(clamping: trace.byteCount) : Int64(trace.spanCount)
        if !buckets[number].bucket.take(cost, at: evaluation.now) { evaluation.refused |= bit }
      }
      return side.threshold(evaluation.refused & bit == 0)
    case .all(let parts):
      return threshold(ofAll: parts, side, trace, &evaluation)
    case .not(let part):
      // Where the part says no is the other side of the same threshold.
      return threshold(of: part, side.other, trace, &evaluation)
    case .composite(let number, let parts):
      return threshold(ofComposite: number, parts, trace, &evaluation)
    }
  }

  private mutating func threshold(
    ofAll parts: Range<Int>, _ side: Side, _ trace: TraceFacts, _ evaluation: inout Evaluation
  ) -> UInt64 {
    let wasPaying = evaluation.isPaying
    var result = side.threshold(true)
    for part in parts {
      let threshold = threshold(of: part, side, trace, &evaluation)
      result = side.both(result, threshold)
      // The Collector asks no further once one says no: no budget behind it is spent.
      if !side.says(threshold, at: trace.randomness) { evaluation.isPaying = false }
    }
    evaluation.isPaying = wasPaying
    return result
  }

  /// The first part that samples the trace and has budget for it keeps it.
  private mutating func threshold(
    ofComposite number: Int, _ parts: Range<Int>, _ trace: TraceFacts, _ evaluation: inout Evaluation
  ) -> UInt64 {
    let wasPaying = evaluation.isPaying
    defer { evaluation.isPaying = wasPaying }
    var result = SamplingThreshold.randomnessCount
    for (place, part) in parts.enumerated() {
      let threshold = threshold(of: part, .keeping, trace, &evaluation)
      let isSampled = trace.randomness >= threshold
      let bit: UInt64 = 1 << UInt64(composites[number].firstBit + place)
      if evaluation.isPaying, isSampled {
        if composites[number].budgets.spend(Int64(trace.spanCount), of: place, at: evaluation.now) {
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

  private func duration(of trace: TraceFacts, _ measure: Policy.DurationMeasure) -> Int64 {
    switch measure {
    case .root: trace.hasRoot ? trace.rootDuration : max(0, trace.envelope - skewTolerance)
    case .spans: trace.envelope
    }
  }

  // MARK: While the window is open

  /// An answer that further spans may still change, or not. In order: `and` takes the smaller.
  private enum Answer: Int {
    case no = 0
    case open = 1
    case yes = 2

    var contrary: Answer { self == .yes ? .no : self == .no ? .yes : .open }
  }

  /// What is certain before the window closes: only policies that no further span can take back, and nothing
  /// as long as a veto can still come. Probabilities and rate limits are never certain: what they keep could
  /// be kept for a better reason later, and its spans would carry the wrong threshold.
  func certain(_ trace: TraceFacts) -> PolicyOutcome {
    var outcome = PolicyOutcome()
    for policy in drops where answer(of: roots[policy], trace) != .no { return outcome }
    for policy in roots.indices {
      switch roles[policy] {
      case .drops: continue
      case .vetoes: return stopsAtFirstMatch && outcome.matches != 0 ? outcome : PolicyOutcome()
      case .samples:
        guard answer(of: roots[policy], trace) == .yes else { continue }
        outcome.matches |= 1 << UInt64(policy)
        outcome.threshold = .always
        if stopsAtFirstMatch { return outcome }
      }
    }
    return outcome
  }

  /// Whether spans that are still to come could change what the policies say of the trace, chance and budgets
  /// apart. A second root is not waited for.
  func mayChange(_ trace: TraceFacts) -> Bool {
    guard !isVetoCertain(trace), !certain(trace).isKept else { return false }
    for policy in roots.indices {
      switch roles[policy] {
      case .vetoes(let bit): if trace.predicateMatches & bit == 0 { return true }
      case .drops, .samples: if settled(roots[policy], trace) == .open { return true }
      }
    }
    return false
  }

  /// What the facts so far answer to a test; nil where it does not depend on facts.
  private func settled(_ test: Int, _ trace: TraceFacts) -> Answer? {
    switch tests[test] {
    case .always, .randomness, .baseline, .hash, .bucket: return nil
    case .latency(let least, let most, .root) where trace.hasRoot:
      return trace.rootDuration >= least && trace.rootDuration <= most ? .yes : .no
    case .all(let parts):
      var answer: Answer?
      for part in parts {
        switch settled(part, trace) {
        case .no: return .no
        case .open: answer = .open
        case .yes: answer = answer ?? .yes
        case nil: break
        }
      }
      return answer
    case .not(let part): return settled(part, trace)?.contrary
    case .composite(_, let parts):
      return parts.contains { settled($0, trace) == .open } ? .open : nil
    default: return answer(of: test, trace)
    }
  }

  /// Whether the trace is taken away whatever else comes.
  func isVetoCertain(_ trace: TraceFacts) -> Bool {
    for policy in drops where answer(of: roots[policy], trace) == .yes { return true }
    guard !stopsAtFirstMatch else { return false }
    for case .vetoes(let bit) in roles where trace.predicateMatches & bit != 0 { return true }
    return false
  }

  private func answer(of test: Int, _ trace: TraceFacts) -> Answer {
    switch tests[test] {
    case .always: return .yes
    case .status(let mask): return trace.statuses & mask != 0 ? .yes : .open
    case .latency(let least, let most, let measure):
      // A root may come and put an end to the envelope; its own duration, and all envelopes, only grow.
      guard trace.hasRoot || measure == .spans else { return .open }
      let duration = measure == .spans ? trace.envelope : trace.rootDuration
      if duration > most { return .no }
      return most == .max && duration >= least ? .yes : .open
    case .spanCount(let least, let most):
      if trace.spanCount > most { return .no }
      return most == .max && trace.spanCount >= least ? .yes : .open
    case .randomness, .baseline, .hash, .bucket, .composite: return .open
    case .predicate(let bit): return trace.predicateMatches & bit != 0 ? .yes : .open
    case .noPredicate(let bit): return trace.predicateMatches & bit != 0 ? .no : .open
    // One that failed makes the policy say no, but not where it stands: nothing is certain of it.
    case .condition(let bit, _): return trace.predicateMatches & bit != 0 ? .yes : .open
    case .all(let parts):
      var answer = Answer.yes
      for part in parts {
        let other = self.answer(of: part, trace)
        if other.rawValue < answer.rawValue { answer = other }
        if answer == .no { break }
      }
      return answer
    case .not(let part): return answer(of: part, trace).contrary
    }
  }
}

extension PolicySet {
  // MARK: After the window

  /// The policies, a bit each, that would keep a dropped trace now that late spans have come, and would not
  /// have kept it without them. None where a policy takes the trace away.
  ///
  /// A rate limit is taken to have room for it: what it had at the verdict is not known. Of a composite, a
  /// part has to keep the trace that did not, and that is asked before those that did.
  ///
  /// - Parameters:
  ///   - before: what was known without the late spans.
  ///   - now: what is known with them.
  mutating func missed(_ before: TraceFacts, _ now: TraceFacts) -> UInt64 {
    var evaluation = Evaluation(
      now: .distantPast, baseline: SamplingThreshold.never.rejected, hashes: answers(for: now.id))
    evaluation.isPaying = false
    evaluation.role = .dropping
    for policy in drops {
      let threshold = threshold(of: roots[policy], .dropping, now, &evaluation)
      guard !Side.dropping.says(threshold, at: now.randomness) else { return 0 }
    }
    evaluation.role = .keeping
    var missed: UInt64 = 0
    for policy in roots.indices {
      switch roles[policy] {
      case .drops: continue
      case .vetoes(let bit):
        guard now.predicateMatches & bit != 0 else { continue }
        return stopsAtFirstMatch ? missed : 0
      case .samples:
        guard isNew(roots[policy], before, now, &evaluation) else { continue }
        missed |= 1 << UInt64(policy)
        if stopsAtFirstMatch { return missed }
      }
    }
    return missed
  }

  private mutating func isNew(
    _ test: Int, _ before: TraceFacts, _ now: TraceFacts, _ evaluation: inout Evaluation
  ) -> Bool {
    guard case .composite(let number, let parts) = tests[test] else {
      return keeps(test, now, &evaluation) && !keeps(test, before, &evaluation)
    }
    // One that sampled the trace had no budget for it. Where that ends the matter, so does it now.
    for part in parts {
      if keeps(part, now, &evaluation) {
        if !keeps(part, before, &evaluation) { return true }
        if !composites[number].fallsThrough { return false }
      }
    }
    return false
  }

  private mutating func keeps(_ test: Int, _ trace: TraceFacts, _ evaluation: inout Evaluation) -> Bool {
    trace.randomness >= threshold(of: test, .keeping, trace, &evaluation)
  }

  /// The policies with these names, a bit each.
  func named(_ wanted: [String]) -> UInt64 {
    var named: UInt64 = 0
    for (policy, name) in names.enumerated() where wanted.contains(name) { named |= 1 << UInt64(policy) }
    return named
  }
}
