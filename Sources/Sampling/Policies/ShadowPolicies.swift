// Shadow policies: asked of every trace when its final verdict falls, and deciding nothing.
//
// Each is asked by itself: what would the verdict be if this policy, and no other, were added to the end of
// the policies? They have a program and budgets of their own, but share the predicates of spans, since each
// span is read once. Nothing else knows them: not what is certain early, not recalls, not thresholds.

import OTLP

/// The shadow policies of one partition.
struct ShadowPolicies {
  /// How many dropped traces a second may have a decision record instead of an entry in the ledger, because
  /// their verdict would differ.
  static let recordsMax = RateLimit(perSecond: 10, burst: 20)

  private let program: PolicyProgram
  /// The policies that drop what they match, one bit each,
  private let drops: UInt64
  /// and those of them that drop what others keep.
  private let overrides: UInt64
  /// Those that would have to match for a trace to be kept: beside policies that only veto, all other kinds.
  private let needed: UInt64
  private var budgets: PolicyBudgets
  /// What is left of `recordsMax`.
  private var records = TokenBucket(ShadowPolicies.recordsMax)

  /// - Parameters:
  ///   - compiled: compiled after the policies that decide.
  ///   - heedsVetoes: whether a veto after all policies that decide would be heard.
  ///   - joinsOnlyVetoes: whether the policies that decide keep what they do not veto.
  init(
    _ policies: [Policy], _ compiled: PolicyCompiler, skewTolerance: Interval, heedsVetoes: Bool,
    joinsOnlyVetoes: Bool
  ) {
    program = PolicyProgram(
      policies, compiled, skewTolerance: skewTolerance, sampleOnFirstMatch: false, isShadow: true)
    budgets = program.budgets
    var (drops, overrides, needed): (UInt64, UInt64, UInt64) = (0, 0, 0)
    for (policy, role) in program.roles.enumerated() {
      let bit: UInt64 = 1 << UInt64(policy)
      if joinsOnlyVetoes {
        if case .vetoes = role {} else { needed |= bit }
      }
      if case .samples = role { continue }
      drops |= bit
      if case .vetoes = role, !heedsVetoes { continue }
      overrides |= bit
    }
    (self.drops, self.overrides, self.needed) = (drops, overrides, needed)
  }

  /// Their names, in the order of their bits.
  var names: [String] { program.names }

  /// The policies that match the trace, one bit each. Called once per trace: it spends budgets.
  mutating func matching(_ trace: TraceFacts, at now: Instant) -> UInt64 {
    program.matching(trace, at: now, &budgets)
  }

  /// Those of `matches` that would change the verdict.
  ///
  /// - Parameters:
  ///   - isKept: the verdict.
  ///   - isFixed: whether no policy could change it: a veto stands against every policy that samples, and
  ///     what went over a limit is kept whatever policies say.
  func changing(_ matches: UInt64, isKept: Bool, isFixed: Bool) -> UInt64 {
    if isFixed { return 0 }
    return isKept ? matches & overrides | ~matches & needed : matches & ~drops
  }

  /// Whether a dropped trace may have a decision record at `now`, which it then pays for.
  mutating func takeRecord(at now: Instant) -> Bool { records.take(1, at: now) }

  /// Replaces `earlier`: policies that are the same in both keep the budget that they had.
  mutating func succeed(_ earlier: ShadowPolicies) {
    program.carry(earlier.budgets, of: earlier.program, into: &budgets)
    records = earlier.records
  }

  /// Changes the partition's shares of the limits that the fleet shares, at `now`.
  mutating func adopt(_ shares: PartitionShares, at now: Instant) {
    budgets.adopt(shares, of: program.fleetBuckets, at: now)
  }

  var hasFleetLimits: Bool { !program.fleetBuckets.isEmpty }

  /// The limits that the fleet shares.
  var fleetLimits: [FleetLimitState] { program.states(budgets) }

  /// What has asked each of them for tokens since the last call.
  mutating func takeTallies() -> [LimitTally] { program.takeTallies(&budgets) }

  /// What is left, or spent, at `now`: of the records, then of the budgets.
  func levels(at now: Instant) -> [Int64] { records.level(at: now) + budgets.levels(at: now) }

  /// Restores what `levels` returned at `now`. Ignores levels that evidently belong to other policies.
  mutating func restore(_ levels: [Int64], at now: Instant) {
    guard levels.count >= 2 else { return }
    records.restore(levels.prefix(2), at: now)
    budgets.restore(Array(levels.dropFirst(2)), at: now)
  }
}

extension PolicyProgram {
  /// The policies that match the trace, one bit each, whatever the others answer.
  func matching(_ trace: TraceFacts, at now: Instant, _ budgets: inout PolicyBudgets) -> UInt64 {
    var evaluation = Evaluation(
      now: now, baseline: SamplingThreshold.never.rejected, hashes: answers(for: trace.id))
    var matches: UInt64 = 0
    for policy in roots.indices {
      let side: Side
      switch roles[policy] {
      case .vetoes(let bit):
        if trace.predicateMatches & bit != 0 { matches |= 1 << UInt64(policy) }
        continue
      case .samples: side = .keeping
      case .drops: side = .dropping
      }
      evaluation.role = side
      let threshold = threshold(of: roots[policy], side, trace, &evaluation, &budgets)
      if side.says(threshold, at: trace.randomness) { matches |= 1 << UInt64(policy) }
    }
    return matches
  }
}

/// What a shadow policy would have changed: traces whose verdict falls otherwise.
public struct ShadowChanges: Equatable, Sendable {
  /// Traces.
  public var traces: UInt64 = 0
  /// Their spans by the end of their windows.
  public var spans: UInt64 = 0
  /// The bytes of these spans.
  public var bytes: UInt64 = 0

  mutating func add(_ other: ShadowChanges) {
    traces += other.traces
    spans += other.spans
    bytes += other.bytes
  }
}

/// What one shadow policy has answered, and what it would have changed.
public struct ShadowCounts: Equatable, Sendable {
  /// The policy's name.
  public let policy: String
  /// Kept traces that it matches.
  public var keptMatching: UInt64 = 0
  /// Kept traces that it does not match.
  public var keptOthers: UInt64 = 0
  /// Dropped traces that it matches.
  public var droppedMatching: UInt64 = 0
  /// Dropped traces that it does not match.
  public var droppedOthers: UInt64 = 0
  /// Dropped traces that would be kept with it.
  public var wouldKeep = ShadowChanges()
  /// Kept traces that would be dropped with it.
  public var wouldDrop = ShadowChanges()

  init(policy: String) { self.policy = policy }

  mutating func count(isMatch: Bool, isKept: Bool) {
    switch (isKept, isMatch) {
    case (true, true): keptMatching += 1
    case (true, false): keptOthers += 1
    case (false, true): droppedMatching += 1
    case (false, false): droppedOthers += 1
    }
  }

  mutating func add(_ other: ShadowCounts) {
    keptMatching += other.keptMatching
    keptOthers += other.keptOthers
    droppedMatching += other.droppedMatching
    droppedOthers += other.droppedOthers
    wouldKeep.add(other.wouldKeep)
    wouldDrop.add(other.wouldDrop)
  }
}

extension [ShadowCounts] {
  /// Puts the counts of `policies` first, in their order; those of policies that are gone stay behind them.
  public mutating func begin(_ policies: [String]) {
    var ordered = policies.map { policy in
      first { $0.policy == policy } ?? ShadowCounts(policy: policy)
    }
    ordered += filter { !policies.contains($0.policy) }
    self = ordered
  }

  /// Adds another sampler's counts, by the policies' names.
  mutating func add(_ others: [ShadowCounts]) {
    for other in others {
      if let place = firstIndex(where: { $0.policy == other.policy }) {
        self[place].add(other)
      } else {
        append(other)
      }
    }
  }
}

extension Sampler {
  /// Asks the shadow policies, if there are any, about a trace whose window closes, and counts their answers.
  /// Returns those that would change the verdict, one bit each.
  mutating func askShadow(_ slot: Int, isKept: Bool, isVetoed: Bool) -> UInt64 {
    guard let matches = policies.shadow?.matching(table.facts(of: slot), at: clock) else { return 0 }
    let isFixed = isKept ? table[slot].state == .skeleton : isVetoed
    let changing = policies.shadow?.changing(matches, isKept: isKept, isFixed: isFixed) ?? 0
    let trace = ShadowChanges(
      traces: 1, spans: UInt64(table[slot].spanCount), bytes: table[slot].byteCount)
    for policy in configuration.shadow.indices {
      let bit: UInt64 = 1 << UInt64(policy)
      counters.shadow[policy].count(isMatch: matches & bit != 0, isKept: isKept)
      guard changing & bit != 0 else { continue }
      if isKept {
        counters.shadow[policy].wouldDrop.add(trace)
      } else {
        counters.shadow[policy].wouldKeep.add(trace)
      }
    }
    return changing
  }
}
