// What is certain about a trace while its window is open.

import OTLP

/// From where on `PolicyProgram.certain` may answer differently, predicates aside. It is not asked before.
struct AnswerEdges: BitwiseCopyable {
  /// The statuses that are tested.
  private var statuses: UInt8 = 0
  /// The least duration of a root that makes a difference.
  private var rootDuration = Int64.max
  private var hasRootTests = false
  /// Whether each span may make a difference: they are counted, or their envelope is measured.
  private var dependsOnGrowth = false
  /// Whether something may be certain of any trace.
  private var mayBeCertainAtOnce = false

  init(_ tests: [PolicyTest]) {
    for test in tests {
      switch test {
      case .status(let mask): statuses |= mask
      case .latency(let least, let most, .root):
        hasRootTests = true
        rootDuration = min(rootDuration, most == .max ? least : most + 1)
      case .latency(_, _, .spans), .spanCount: dependsOnGrowth = true
      case .always, .not: mayBeCertainAtOnce = true
      case .all(let parts): if parts.isEmpty { mayBeCertainAtOnce = true }
      case .randomness, .baseline, .hash, .predicate, .noPredicate, .condition, .bucket, .composite: break
      }
    }
  }

  /// Whether the answer may differ once a trace with these `statuses`, none if it is new, has another share.
  @inline(__always)
  func arePassed(by share: ShareFacts, after statuses: UInt8) -> Bool {
    if share.statuses & ~statuses & self.statuses != 0 || dependsOnGrowth { return true }
    if hasRootTests, share.hasRoots, share.rootDuration >= rootDuration { return true }
    return mayBeCertainAtOnce && statuses == 0
  }
}

extension PolicyProgram {
  /// An answer, which further spans may change only if it is `open`. In order: `and` takes the smaller.
  private enum Answer: Int {
    case no = 0
    case open = 1
    case yes = 2

    var contrary: Answer { self == .yes ? .no : self == .no ? .yes : .open }
  }

  /// What is certain before the window closes: only matches that no further span can undo, and nothing while
  /// a veto is still possible. Probabilities and rate limits are never certain: a trace that they keep could
  /// later be kept for a better reason, and its spans would carry the wrong threshold.
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

  /// Whether further spans could change what the policies decide about the trace, chance and budgets aside.
  /// Does not wait for a second root.
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

  /// The answer to a test by the facts so far; nil if it does not depend on facts.
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

  /// Whether the trace is dropped whatever else arrives.
  func isVetoCertain(_ trace: TraceFacts) -> Bool {
    for policy in drops where answer(of: roots[policy], trace) == .yes { return true }
    guard !stopsAtFirstMatch else { return false }
    for case .vetoes(let bit) in roles where trace.predicateMatches & bit != 0 { return true }
    return false
  }

  /// Whether the trace is dropped, or may be once more of it has arrived.
  func mayVeto(_ trace: TraceFacts) -> Bool {
    for policy in drops where answer(of: roots[policy], trace) != .no { return true }
    return roles.contains { if case .vetoes = $0 { true } else { false } }
  }

  private func answer(of test: Int, _ trace: TraceFacts) -> Answer {
    switch tests[test] {
    case .always: return .yes
    case .status(let mask): return trace.statuses & mask != 0 ? .yes : .open
    case .latency(let least, let most, let measure):
      // A root may still arrive and replace the envelope; the root's duration, and every envelope, only grow.
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
    // A failed condition makes the whole policy not match, but not the test itself: nothing is certain about
    // it.
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
