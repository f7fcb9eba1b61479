// Rules: an ordered list in which the first match sets the rate.

public import Sampling

/// A rule: which traces it is for, and what becomes of those that no earlier rule is for.
public struct RuleSpecification: Equatable, Sendable {
  /// The name that decisions give as their reason.
  public var name: String
  /// The trace has a span of one of these services; any trace if empty.
  public var services: [String]
  /// For each of these attributes, the trace has a span or resource with one of its values.
  public var attributes: [Attribute]
  /// All of these sample the trace.
  public var conditions: [PolicySpecification]
  /// What becomes of the traces.
  public var outcome: Outcome

  /// Makes a rule.
  public init(
    name: String, services: [String] = [], attributes: [Attribute] = [],
    conditions: [PolicySpecification] = [], outcome: Outcome
  ) {
    self.name = name
    self.services = services
    self.attributes = attributes
    self.conditions = conditions
    self.outcome = outcome
  }

  /// An attribute and the strings that a rule is for.
  public struct Attribute: Equatable, Sendable {
    /// Its key.
    public var key: String
    /// Never empty.
    public var values: [String]

    /// Makes a requirement.
    public init(key: String, values: [String]) {
      self.key = key
      self.values = values
    }
  }

  /// What becomes of the traces that a rule is for.
  public enum Outcome: Equatable, Sendable {
    /// All are kept.
    case keep
    /// No rule keeps them.
    case drop
    /// This share of them is kept, in percent: 0 to 100.
    case percentage(Double)
    /// They are kept up to a rate of spans; the burst defaults to two seconds' worth.
    case spansPerSecond(Int, burstCapacity: Int?, scope: RateLimit.Scope = .partition)
    /// They are kept up to a rate of bytes; the burst defaults to two seconds' worth.
    case bytesPerSecond(Int, burstCapacity: Int?, scope: RateLimit.Scope = .partition)
  }

  /// Whether it is for every trace, so that no rule after it is ever reached.
  var isForAll: Bool { services.isEmpty && attributes.isEmpty && conditions.isEmpty }

  /// What a trace must be like.
  private var requirements: [PolicySpecification] {
    var requirements: [PolicySpecification] = []
    if !services.isEmpty { requirements.append(RuleSpecification.has("service.name", services)) }
    requirements += attributes.map { RuleSpecification.has($0.key, $0.values) }
    return requirements + conditions
  }

  private static func has(_ key: String, _ values: [String]) -> PolicySpecification {
    PolicySpecification(
      name: "",
      rule: .stringAttribute(key: key, values: values, areRegularExpressions: false, invertMatch: false))
  }

  /// The policies that do the same as `rules`: each samples what it is for and no earlier rule is. Conditions
  /// are facts, so the threshold of a kept trace is that of its rule's share, exactly.
  static func policies(of rules: [RuleSpecification]) -> [PolicySpecification] {
    var earlier: [PolicySpecification] = []
    var policies: [PolicySpecification] = []
    for rule in rules {
      let requirements = rule.requirements
      if let sampled = rule.outcome.policy {
        policies.append(PolicySpecification(name: rule.name, rule: .and(earlier + requirements + sampled)))
      }
      let matches =
        requirements.count == 1 ? requirements[0] : PolicySpecification(name: "", rule: .and(requirements))
      earlier.append(PolicySpecification(name: "", rule: .not(matches)))
    }
    return policies
  }
}

extension RuleSpecification.Outcome {
  /// What samples the traces of a rule; nil if nothing does.
  fileprivate var policy: [PolicySpecification]? {
    let rule: PolicyRule
    switch self {
    case .keep: return []
    case .drop: return nil
    case .percentage(let percentage): rule = .probabilistic(percentage: percentage)
    case .spansPerSecond(let rate, let burst, let scope):
      rule = .rateLimiting(spansPerSecond: rate, burstCapacity: burst, scope: scope)
    case .bytesPerSecond(let rate, let burst, let scope):
      rule = .bytesLimiting(bytesPerSecond: rate, burstCapacity: burst, scope: scope)
    }
    return [PolicySpecification(name: "", rule: rule)]
  }
}

extension TailSamplingTopology {
  /// The policies that decide, besides the baseline: those of the file, and one for each rule that keeps
  /// traces.
  public var decidingPolicies: [PolicySpecification] { policies + RuleSpecification.policies(of: rules) }

  /// Whether workers tell each other through `topics.stats` what they count: for a baseline, or for limits
  /// that the fleet shares.
  package var usesStats: Bool { SamplerConfiguration(self).usesStats }
}
