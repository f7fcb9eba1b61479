// From a topology file's words to the core's configuration.

internal import OTLP
public import Sampling

extension SamplerConfiguration {
  /// The configuration of every sampler that `topology` runs.
  public init(_ topology: TailSamplingTopology) {
    self.init()
    windows.decisionWait = Interval(topology.windows.decisionWait)
    windows.decisionWaitAfterRoot = Interval(topology.windows.decisionWaitAfterRoot)
    windows.lateWindow = Interval(topology.windows.lateWindow)
    limits.spansPerTrace = topology.limits.spansPerTrace
    limits.bytesPerTrace = topology.limits.bytesPerTrace
    limits.recordBytes = topology.limits.recordBytes
    limits.splitBytes = max(limits.splitBytes, topology.limits.recordBytes)
    limits.services = topology.limits.services
    dropped = DroppedRecords(rawValue: topology.topics.decisions.dropped.rawValue) ?? .compact
    policies = topology.policies.map { Policy(name: $0.name, rule: Policy.Rule($0.rule)) }
  }
}

extension Policy.Rule {
  init(_ rule: PolicyRule) {
    switch rule {
    case .alwaysSample: self = .alwaysSample
    case .statusCode(let codes): self = .statusCode(Set(codes.map(SpanStatus.init)))
    case .latency(let threshold, let upper):
      self = .latency(threshold: Interval(threshold), upper: upper.map { Interval($0) })
    case .probabilistic(let percentage):
      self = .probabilistic(SamplingThreshold(probability: percentage / 100))
    }
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

extension Interval {
  /// The duration in whole nanoseconds; one that does not fit is clamped.
  public init(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    self.init(nanoseconds: overflow ? .max : product + attoseconds / 1_000_000_000)
  }
}
