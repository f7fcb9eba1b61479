// One partition's policies: the program that a lane's partitions share, and the partition's own state.

import Invariants
import OTLP

/// What a policy set decides about a trace.
struct PolicyOutcome: Equatable {
  /// Bit *i* is set if policy *i* samples the trace or, if it `isVetoed`, drops it.
  var matches: UInt64 = 0
  /// The threshold that the trace was kept with; meaningful only if it was kept.
  var threshold = SamplingThreshold.never
  /// Whether it is kept whatever its randomness, and whatever the baseline's rate, which depends on traces
  /// before it.
  var isCertain = false
  /// Whether a policy drops the trace, even if another samples it.
  var isVetoed = false

  var isKept: Bool { matches != 0 && !isVetoed }

  /// The first policy that matches.
  var first: Int? { matches == 0 ? nil : matches.trailingZeroBitCount }

  mutating func veto(by policy: Int) {
    matches = 1 << UInt64(policy)
    isVetoed = true
  }
}

/// The policies of one partition.
struct PolicySet {
  /// The maximum number of policies: a set of matches fits in one word.
  static let countMax = 64

  /// Evaluated on traces.
  let program: PolicyProgram
  /// Evaluated on each span and resource.
  var predicates: SpanPredicates
  /// Asked too, and deciding nothing; nil if there are none.
  var shadow: ShadowPolicies?
  /// What rate limits and composites have left.
  private var budgets: PolicyBudgets
  /// The partition's shares of limits that the fleet shares; nil if it has none, and each is its own.
  private var shares: PartitionShares?

  /// - Parameters:
  ///   - skewTolerance: how far clocks of different hosts may differ.
  ///   - sampleOnFirstMatch: whether evaluation stops at the first policy that samples a trace.
  ///   - invertDecisions: whether inverted policies veto; see `SamplerConfiguration`.
  ///   - shadow: policies that are asked and decide nothing.
  init(
    _ policies: [Policy], skewTolerance: Interval = .milliseconds(10), sampleOnFirstMatch: Bool = false,
    invertDecisions: Bool = false, shadow: [Policy] = []
  ) {
    invariant(
      policies.count <= PolicySet.countMax, "\(policies.count) policies: more than \(PolicySet.countMax)")
    let compiled = PolicyCompiler(policies, invertDecisions: invertDecisions)
    invariant(
      shadow.count <= PolicySet.countMax, "\(shadow.count) shadow policies: more than \(PolicySet.countMax)")
    let excess = Policy.excess(in: policies + shadow)
    invariant(excess == nil, "the policies need \(excess ?? "")")
    program = PolicyProgram(
      policies, compiled, skewTolerance: skewTolerance, sampleOnFirstMatch: sampleOnFirstMatch)
    guard !shadow.isEmpty else {
      predicates = SpanPredicates(compiled.predicates)
      budgets = program.budgets
      return
    }
    let both = PolicyCompiler(shadow, invertDecisions: invertDecisions, after: compiled)
    self.shadow = ShadowPolicies(
      shadow, both, skewTolerance: skewTolerance, heedsVetoes: !program.stopsBeforeAppendedVetoes,
      joinsOnlyVetoes: program.keepsWhatIsNotVetoed)
    predicates = SpanPredicates(both.predicates, deciding: compiled.predicates.count)
    budgets = program.budgets
  }

  /// The policies of `configuration`.
  init(_ configuration: SamplerConfiguration) {
    self.init(
      configuration.policies, skewTolerance: configuration.skewTolerance,
      sampleOnFirstMatch: configuration.sampleOnFirstMatch, invertDecisions: configuration.invertDecisions,
      shadow: configuration.shadow)
  }

  /// Replaces `earlier`: policies that are the same in both keep the budget that they had.
  ///
  /// - Returns: how to carry over the matches of spans.
  mutating func succeed(_ earlier: PolicySet) -> PredicateMove {
    program.carry(earlier.budgets, of: earlier.program, into: &budgets)
    if let earlier = earlier.shadow { shadow?.succeed(earlier) }
    // Only new buckets, which are full, get another share by this.
    if let shares = earlier.shares { adopt(shares, at: .distantPast) }
    return predicates.succeed(earlier.predicates)
  }

  /// The verdict on all known facts: see `PolicyProgram.decide`. Called once per trace: it spends budgets.
  mutating func decide(
    _ trace: TraceFacts, at now: Instant, baseline: SamplingThreshold = .never
  ) -> PolicyOutcome {
    program.decide(trace, at: now, baseline: baseline, &budgets)
  }

  /// The policies that would keep a dropped trace with its late spans: see `PolicyProgram.missed`.
  mutating func missed(_ before: TraceFacts, _ now: TraceFacts) -> UInt64 {
    program.missed(before, now, &budgets)
  }

  /// Changes the partition's shares of the limits that the fleet shares, at `now`.
  mutating func adopt(_ shares: PartitionShares, at now: Instant) {
    self.shares = shares
    budgets.adopt(shares, of: program.fleetBuckets, at: now)
    shadow?.adopt(shares, at: now)
  }

  /// Whether the fleet shares a limit.
  var hasFleetLimits: Bool { !program.fleetBuckets.isEmpty || shadow?.hasFleetLimits == true }

  /// The limits that the fleet shares: those of policies, then those of shadow policies.
  var fleetLimits: [FleetLimitState] {
    program.states(budgets) + (shadow?.fleetLimits ?? [])
  }

  /// What has asked each of `fleetLimits` for tokens since the last call.
  mutating func takeTallies() -> [LimitTally] {
    program.takeTallies(&budgets) + (shadow?.takeTallies() ?? [])
  }

  /// What budgets have left, or spent, at `now`: see `PolicyBudgets.levels`.
  func budgetLevels(at now: Instant) -> [Int64] { budgets.levels(at: now) }

  /// Restores what `budgetLevels` returned at `now`.
  mutating func restoreBudgets(_ levels: [Int64], at now: Instant) { budgets.restore(levels, at: now) }
}
