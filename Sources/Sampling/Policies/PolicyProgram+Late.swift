// What policies would have said of a dropped trace, now that late spans have come.

import OTLP

extension PolicyProgram {
  /// The policies, a bit each, that would keep a dropped trace now that late spans have come, and would not
  /// have kept it without them. None where a policy takes the trace away.
  ///
  /// A rate limit is taken to have room for it: what it had at the verdict is not known. Of a composite, a
  /// part has to keep the trace that did not, and that is asked before those that did.
  ///
  /// - Parameters:
  ///   - before: what was known without the late spans.
  ///   - now: what is known with them.
  ///   - budgets: left as they are.
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
    // One that sampled the trace had no budget for it. Where that ends the matter, so does it now.
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
