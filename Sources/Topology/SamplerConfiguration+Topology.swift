// Converts a topology to the core's configuration.

internal import OTLP
public import Sampling

extension SamplerConfiguration {
  /// The configuration of every sampler that `topology` runs.
  public init(_ topology: TailSamplingTopology) {
    self.init()
    windows.decisionWait = Interval(topology.windows.decisionWait)
    windows.decisionWaitAfterRoot = Interval(topology.windows.decisionWaitAfterRoot)
    windows.loneRootsWait = topology.windows.loneRootsWait
    windows.lateWindow = Interval(topology.windows.lateWindow)
    windows.recallWindow = Interval(topology.windows.recallWindow)
    windows.buffer = topology.windows.buffer
    limits.spansPerTrace = topology.limits.spansPerTrace
    limits.bytesPerTrace = topology.limits.bytesPerTrace
    limits.recordBytes = topology.limits.recordBytes
    limits.splitBytes = max(limits.splitBytes, topology.limits.recordBytes)
    limits.services = topology.limits.services
    limits.servicesCounted = topology.worker.console.services
    dropped = DroppedRecords(rawValue: topology.topics.decisions.dropped.rawValue) ?? .compact
    tellsShapes = topology.topics.decisions.tellsShapes
    annotate = topology.topics.annotate
    policies = topology.decidingPolicies.map(Policy.init)
    shadow = topology.shadow.map(Policy.init)
    sampleOnFirstMatch = topology.sampleOnFirstMatch
    invertDecisions = topology.invertDecisions
    if let settings = topology.baseline {
      policies.append(Policy(name: BaselineSettings.policyName, rule: .adaptive))
      baseline = BaselineConfiguration(settings)
    }
    metrics = topology.metrics
    links = topology.links
    version = topology.version
  }
}

extension Policy {
  init(_ specification: PolicySpecification) {
    self.init(name: specification.name, rule: Rule(specification.rule))
  }
}

extension Policy.Rule {
  init(_ rule: PolicyRule) {
    self =
      switch rule {
      case .alwaysSample: .alwaysSample
      case .statusCode(let codes): .statusCode(Set(codes.map(SpanStatus.init)))
      case .latency(let threshold, let upper, let measure):
        .latency(
          threshold: Interval(threshold), upper: upper.map { Interval($0) },
          measure: Policy.DurationMeasure(rawValue: measure.rawValue) ?? .root)
      case .probabilistic(let percentage, nil):
        .probabilistic(SamplingThreshold(probability: percentage / 100))
      case .probabilistic(let percentage, let salt?):
        .hashed(HashSampling(salt: salt, percentage: percentage))
      case .numericAttribute(let key, let least, let most, let isInverted):
        .numericAttribute(
          key: key, range: (least ?? .min)...max(least ?? .min, most ?? .max), inverted: isInverted)
      case .stringAttribute(let key, let values, false, let isInverted):
        .stringAttribute(key: key, values: values, inverted: isInverted)
      case .stringAttribute(let key, let values, true, let isInverted):
        .patternAttribute(key: key, patterns: values, inverted: isInverted)
      case .booleanAttribute(let key, let value, let isInverted):
        .booleanAttribute(key: key, value: value, inverted: isInverted)
      case .traceState(let key, let values): .traceState(key: key, values: values)
      case .traceFlags: .traceFlags
      case .ottlCondition(let spans, let events, let mode):
        .ottlCondition(spans: spans, events: events, errorMode: mode)
      case .spanCount(let least, let most): .spanCount(least: least, most: most == 0 ? nil : most)
      case .rateLimiting(let rate, let burst, let scope): .rateLimiting(RateLimit(rate, burst, scope))
      case .bytesLimiting(let rate, let burst, let scope): .bytesLimiting(RateLimit(rate, burst, scope))
      case .and(let policies): .and(policies.map { Policy.Rule($0.rule) })
      case .not(let policy): .not(Policy.Rule(policy.rule))
      case .drop(let policies): .drop(policies.map { Policy.Rule($0.rule) })
      case .composite(let policy): .composite(Composite(policy))
      }
  }
}

extension RateLimit {
  fileprivate init(_ perSecond: Int, _ burst: Int?, _ scope: Scope) {
    self.init(perSecond: Int64(perSecond), burst: burst.map { Int64($0) }, scope: scope)
  }
}

extension Composite {
  fileprivate init(_ policy: CompositePolicy) {
    let most = Int64(policy.spansPerSecondMax)
    let parts = policy.policies.map { part in
      let percent = policy.allocations[part.name] ?? 0
      // At most 100 percent, so it fits in 64 bits again.
      let budget =
        percent == 0
        ? most / Int64(policy.policies.count)
        : Int64(clamping: Int128(most) * Int128(percent) / 100)
      return Part(rule: Policy.Rule(part.rule), spansPerSecond: budget)
    }
    self.init(spansPerSecondMax: most, parts: parts)
    fallsThrough = policy.fallsThrough
    capsTotal = policy.capsTotal
  }
}

extension SpanStatus {
  init(_ code: PolicyRule.StatusCode) {
    switch code {
    case .ok: self = .ok
    case .error: self = .error
    case .unset: self = .unset
    }
  }
}
