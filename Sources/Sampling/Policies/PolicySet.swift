// One partition's policies: the program that a lane's partitions share, and what is the partition's own.

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

  mutating func veto(by policy: Int) {
    matches = 1 << UInt64(policy)
    isVetoed = true
  }
}

/// The policies of one partition.
struct PolicySet {
  /// At most this many, so that a set of matches is one word.
  static let countMax = 64

  /// What is asked of traces, and by whom.
  let program: PolicyProgram
  /// What is asked of each span and resource.
  var predicates: SpanPredicates
  /// What rate limits and composites have left.
  private var budgets: PolicyBudgets

  /// - Parameters:
  ///   - skewTolerance: by how much clocks of different hosts may differ.
  ///   - sampleOnFirstMatch: whether evaluation stops at the first policy that samples a trace.
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
    program = PolicyProgram(
      policies, compiled, skewTolerance: skewTolerance, sampleOnFirstMatch: sampleOnFirstMatch)
    predicates = SpanPredicates(compiled.predicates)
    budgets = program.budgets
  }

  /// The policies of `configuration`.
  init(_ configuration: SamplerConfiguration) {
    self.init(
      configuration.policies, skewTolerance: configuration.skewTolerance,
      sampleOnFirstMatch: configuration.sampleOnFirstMatch, invertDecisions: configuration.invertDecisions)
  }

  /// Takes the place of `earlier`: policies that are the same there go on with the budget that they had.
  ///
  /// - Returns: where the yeses of spans have gone.
  mutating func succeed(_ earlier: PolicySet) -> PredicateMove {
    program.carry(earlier.budgets, of: earlier.program, into: &budgets)
    return predicates.succeed(earlier.predicates)
  }

  /// The verdict on all that is known: see `PolicyProgram.decide`. Asked once a trace: budgets are spent.
  mutating func decide(
    _ trace: TraceFacts, at now: Instant, baseline: SamplingThreshold = .never
  ) -> PolicyOutcome {
    program.decide(trace, at: now, baseline: baseline, &budgets)
  }

  /// The policies that would keep a dropped trace now that late spans have come: see `PolicyProgram.missed`.
  mutating func missed(_ before: TraceFacts, _ now: TraceFacts) -> UInt64 {
    program.missed(before, now, &budgets)
  }

  /// What budgets have left, or spent, at `now`: see `PolicyBudgets.levels`.
  func budgetLevels(at now: Instant) -> [Int64] { budgets.levels(at: now) }

  /// Takes over what `budgetLevels` said at `now`.
  mutating func restoreBudgets(_ levels: [Int64], at now: Instant) { budgets.restore(levels, at: now) }
}
