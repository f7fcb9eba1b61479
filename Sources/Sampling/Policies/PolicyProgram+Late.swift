// What policies would have decided about a dropped trace, had its late spans been on time.

import OTLP

extension PolicyProgram {
  /// The policies, one bit each, that would keep a dropped trace with its late spans but not without them.
  /// None if a policy drops the trace.
  ///
  /// A rate limit is assumed to have room: its level at the verdict is unknown. In a composite, a part that
  /// did not keep the trace before must keep it now, and be evaluated before those that did.
  ///
  /// - Parameters:
  ///   - before: the facts without the late spans.
  ///   - now: the facts with them.
  ///   - budgets: not changed.
  func missed(_ before: TraceFacts, _ now: TraceFacts, _ budgets: inout PolicyBudgets) -> UInt64 {
    var evaluation = Evaluation(
      now: .distantPast, baseline: SamplingThreshold.never.rejected, hashes: answers(for: now.id))
    evaluation.isPaying = false
    evaluation.role = .dropping
    for policy in drops {
      let threshold = threshold(of: roots[policy], .dropping, now, &evaluation, &budgets)
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
        guard isNew(roots[policy], before, now, &evaluation, &budgets) else { continue }
        missed |= 1 << UInt64(policy)
        if stopsAtFirstMatch { return missed }
      }
    }
    return missed
  }

  private func isNew(
    _ test: Int, _ before: TraceFacts, _ now: TraceFacts, _ evaluation: inout Evaluation,
    _ budgets: inout PolicyBudgets
  ) -> Bool {
    guard case .composite(let number, let parts) = tests[test] else {
      return keeps(test, now, &evaluation, &budgets) && !keeps(test, before, &evaluation, &budgets)
    }
    // A part that sampled the trace before had no budget for it. If evaluation stopped there, it does so now.
    for part in parts {
      if keeps(part, now, &evaluation, &budgets) {
        if !keeps(part, before, &evaluation, &budgets) { return true }
        if !composites[number].fallsThrough { return false }
      }
    }
    return false
  }

  private func keeps(
    _ test: Int, _ trace: TraceFacts, _ evaluation: inout Evaluation, _ budgets: inout PolicyBudgets
  ) -> Bool {
    trace.randomness >= threshold(of: test, .keeping, trace, &evaluation, &budgets)
  }
}
