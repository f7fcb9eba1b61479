// What each policy answers about one trace, and why: asked again, by the same code, of the same facts.
//
// The sampler folds spans into facts and keeps no reasons. To explain a verdict, the trace's spans are folded
// once more, for each rule of each policy alone: so the answers are the program's own. Only budgets can't be
// asked again, as they depend on all other traces.

public import OTLP

/// What a policy, or a rule that is part of one, answers about a trace.
public struct PolicyAnswer: Equatable, Sendable {
  /// An answer.
  public enum Outcome: String, Sendable {
    /// It matches the trace.
    case matches
    /// It does not.
    case doesNotMatch = "does_not_match"
    /// It depends on what other traces had left of a budget, or on the fleet's traffic.
    case depends
  }

  /// The policy's name; of a part, its type.
  public var name: String
  /// The type of its rule, as in a topology.
  public var type: String
  /// The answer.
  public var outcome: Outcome
  /// What it saw.
  public var seen: String
  /// What it wants.
  public var wanted: String
  /// The rules that it consists of.
  public var parts: [PolicyAnswer] = []
}

/// The spans of one trace, as they arrived.
public struct TraceEvidence: Sendable {
  /// A record's spans of the trace.
  struct Piece {
    var offset: Offset
    var bytes: [UInt8]
  }

  /// The trace.
  public let traceID: TraceID
  private(set) var pieces: [Piece] = []
  /// The bytes of its spans.
  public private(set) var byteCount = 0
  private var known: [UInt64: [[UInt8]]] = [:]

  /// Has no spans yet.
  public init(traceID: TraceID) {
    self.traceID = traceID
  }

  /// Adds the trace's spans in a record. Spans that are there already, byte for byte, are left out.
  ///
  /// - Returns: how many were added.
  public mutating func add(_ record: [UInt8], at offset: Offset) -> Int {
    var scanned = ScannedRecord()
    var writer = WireWriter()
    var count = 0
    record.withRawBytes { bytes in
      do throws(MalformedInput) { try scanned.scan(bytes) } catch { return }
      var chosen: [Int] = []
      for index in scanned.spans.indices where scanned.spans[index].traceID == traceID {
        let span = scanned.spans[index]
        let content = bytes.extracting(span.content.indices).copied()
        if known[span.spanID]?.contains(content) == true { continue }
        known[span.spanID, default: []].append(content)
        chosen.append(index)
      }
      guard !chosen.isEmpty else { return }
      writer.appendPiece(chosen, of: scanned, bytes: bytes)
      count = chosen.count
    }
    if count > 0 {
      pieces.append(Piece(offset: offset, bytes: writer.bytes))
      byteCount += writer.bytes.count
    }
    return count
  }

  /// What policies answer about the trace.
  ///
  /// - Parameters:
  ///   - last: the offset of the last record that counts: the one before the verdict.
  ///   - policies: those that are asked; nil for the configuration's policies that decide.
  public func answers(
    _ configuration: SamplerConfiguration, upTo last: Offset = Offset(.max), of policies: [Policy]? = nil
  ) -> [PolicyAnswer] {
    (policies ?? configuration.policies).map { policy in
      var answer = self.answer(policy.rule, configuration, last)
      answer.name = policy.name
      return answer
    }
  }

  /// Where a rule is: its share of traces is at the upper end of the randomness space if it keeps them, and
  /// at the lower end if it drops them.
  enum Side {
    case policy, keepingPart, droppingPart

    /// The side of the rules that a rule consists of.
    func below(_ rule: Policy.Rule) -> Side {
      switch rule {
      case .drop: .droppingPart
      case .not: self == .droppingPart ? .keepingPart : .droppingPart
      default: self == .droppingPart ? .droppingPart : .keepingPart
      }
    }
  }

  private func answer(
    _ rule: Policy.Rule, _ configuration: SamplerConfiguration, _ last: Offset, _ side: Side = .policy
  ) -> PolicyAnswer {
    // With as much of budgets and baselines as there can be, and without any.
    let most = matches(rule, configuration, last, side, baseline: .always)
    let least =
      rule.hasBudget
      ? matches(rule.withoutBudgets, configuration, last, side, baseline: .never) : most
    let outcome: PolicyAnswer.Outcome = most != least ? .depends : most ? .matches : .doesNotMatch
    var policies = PolicySet([Policy(name: "asked", rule: rule)])
    let summary = self.summary(&policies, last)
    var answer = PolicyAnswer(
      name: rule.typeName, type: rule.typeName, outcome: outcome,
      seen: seen(by: rule, summary, configuration, last), wanted: rule.wanted(side))
    let below = side.below(rule)
    answer.parts = rule.parts.map { self.answer($0, configuration, last, below) }
    return answer
  }

  /// Asks the sampler's own code.
  private func matches(
    _ rule: Policy.Rule, _ configuration: SamplerConfiguration, _ last: Offset, _ side: Side,
    baseline: SamplingThreshold
  ) -> Bool {
    if side == .droppingPart, rule.hasShare {
      // Below a `not` it picks from the low end.
      return !matches(.not(rule), configuration, last, .keepingPart, baseline: baseline)
    }
    var policies = PolicySet(
      [Policy(name: "asked", rule: rule)], skewTolerance: configuration.skewTolerance,
      invertDecisions: configuration.invertDecisions && side == .policy)
    let summary = self.summary(&policies, last)
    let outcome = policies.decide(summary.facts, at: Instant(nanoseconds: 0), baseline: baseline)
    // By itself it would keep what it does not veto.
    if case .vetoes = policies.program.roles[0] { return outcome.isVetoed }
    return outcome.matches != 0
  }

  // MARK: Facts

  struct Summary {
    var facts: TraceFacts
    var errorCount: UInt32
  }

  /// Folds the spans as the sampler does.
  private func summary(_ policies: inout PolicySet, _ last: Offset) -> Summary {
    var trace = OpenTrace(
      id: traceID, firstOffset: pieces.first?.offset ?? Offset(0), openedAt: .distantPast)
    var randomness: UInt64?
    var scanned = ScannedRecord()
    for piece in pieces where piece.offset <= last {
      trace.byteCount += UInt64(piece.bytes.count)
      piece.bytes.withRawBytes { bytes in
        // It was written from a record that could be read.
        do throws(MalformedInput) { try scanned.scan(bytes) } catch { return }
        policies.predicates.startRecord()
        let resources = scanned.resources.map {
          policies.predicates.matches($0, of: scanned, bytes)
        }
        for index in scanned.spans.indices {
          let span = scanned.spans[index]
          trace.predicateMatches |= resources[Int(span.resource)]
          trace.accumulate(span)
          policies.predicates.match(span, of: scanned, bytes, into: &trace.predicateMatches)
          if span.traceState.count > 0, randomness == nil {
            randomness = TraceStateSampling(span.traceState, of: bytes).randomness
          }
          if span.isRoot { trace.hasRoot = true }
        }
      }
    }
    var facts = trace.facts
    if let randomness { facts.randomness = randomness }
    return Summary(facts: facts, errorCount: trace.errorCount)
  }
}
