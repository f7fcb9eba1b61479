// Policies as a topology file gives them: names, keys and meaning of the OpenTelemetry Collector's
// `tail_sampling` policies.

public import Expressions
import Sampling

/// One named policy of the file.
public struct PolicySpecification: Equatable, Sendable {
  /// The name that decisions give as their reason. Not empty, but of policies inside another.
  public var name: String
  /// Which traces it samples.
  public var rule: PolicyRule

  /// Makes a policy.
  public init(name: String, rule: PolicyRule) {
    self.name = name
    self.rule = rule
  }

  /// The policies of a file that has none: every error trace, every slow trace, 1 % of all.
  public static let defaults = [
    PolicySpecification(name: "errors", rule: .statusCode(codes: [.error])),
    PolicySpecification(name: "slow", rule: .latency(threshold: .seconds(2), upperThreshold: nil)),
    PolicySpecification(name: "baseline", rule: .probabilistic(percentage: 1)),
  ]
}

/// Which traces a policy samples; types and meaning as in the OpenTelemetry Collector's `tail_sampling`.
public enum PolicyRule: Equatable, Sendable {
  /// Every trace.
  case alwaysSample
  /// Traces with a span of one of these statuses; never empty, no repeats, in the file's order.
  case statusCode(codes: [StatusCode])
  /// Without an upper threshold, traces at least as long as `threshold`; with one, those longer than
  /// `threshold` and not longer than `upperThreshold`. Whole milliseconds.
  case latency(threshold: Duration, upperThreshold: Duration?, measure: LatencyMeasure = .root)
  /// This share of all traces, in percent: 0 to 100. With a salt, which is not empty, by a hash of the trace
  /// id, as the Collector does it; without, by the trace's own randomness.
  case probabilistic(percentage: Double, hashSalt: String? = nil)
  /// Traces with an integer attribute in a range; at least one bound is given, both count.
  case numericAttribute(key: String, minValue: Int64?, maxValue: Int64?, invertMatch: Bool)
  /// Traces with a text attribute that has one of these values, or that one of these regular expressions
  /// finds something in.
  case stringAttribute(key: String, values: [String], areRegularExpressions: Bool, invertMatch: Bool)
  /// Traces with a truth attribute of this value.
  case booleanAttribute(key: String, value: Bool, invertMatch: Bool)
  /// Traces with a span that has one of these values under `key` in its tracestate.
  case traceState(key: String, values: [String])
  /// Traces with a span that is flagged as sampled.
  case traceFlags
  /// Traces with a span for which one of `spans` holds, or with an event of a span for which one of `events`
  /// holds. Not both are empty.
  case ottlCondition(spans: [OTTLCondition], events: [OTTLCondition], errorMode: ConditionErrorMode)
  /// Traces with so many spans; a `maxSpans` of 0 is no bound.
  case spanCount(minSpans: Int, maxSpans: Int)
  /// Traces up to a rate of spans; without a burst it is two seconds' worth.
  case rateLimiting(spansPerSecond: Int, burstCapacity: Int?)
  /// Traces up to a rate of bytes; without a burst it is two seconds' worth.
  case bytesLimiting(bytesPerSecond: Int, burstCapacity: Int?)
  /// Traces that all of these sample.
  case and([PolicySpecification])
  /// Traces that this one does not sample.
  indirect case not(PolicySpecification)
  /// Takes away the traces that all of these sample. At the top level only.
  case drop([PolicySpecification])
  /// Several policies with a budget each. At the top level only.
  case composite(CompositePolicy)

  /// A span's status.
  public enum StatusCode: String, Equatable, Sendable, CaseIterable {
    /// Marked as a success by the application.
    case ok = "OK"
    /// Failed.
    case error = "ERROR"
    /// Not set: the usual status of a span without an error.
    case unset = "UNSET"
  }

  /// What a trace's duration is.
  public enum LatencyMeasure: String, Equatable, Sendable, CaseIterable {
    /// The root span's own; where no root came, that of all spans less 10 ms.
    case root
    /// From the earliest start to the latest end of all spans.
    case spans
  }
}

/// Policies that are asked in order, each with a budget of spans a second.
public struct CompositePolicy: Equatable, Sendable {
  /// The most spans a second: of each policy, or with `capsTotal` of all together.
  public var spansPerSecondMax: Int
  /// The policies, in the order in which they are asked; names are unique.
  public var policies: [PolicySpecification]
  /// Percent of `spansPerSecondMax` by policy name: 0 to 100. A policy without an entry, or with 0, has an
  /// equal share: one of as many as there are policies.
  public var allocations: [String: Int]
  /// Whether a trace that a policy has no budget for is passed on to the next.
  public var fallsThrough: Bool
  /// Whether all policies together stay under `spansPerSecondMax`.
  public var capsTotal: Bool

  /// Makes a composite.
  public init(
    spansPerSecondMax: Int, policies: [PolicySpecification], allocations: [String: Int] = [:],
    fallsThrough: Bool = false, capsTotal: Bool = false
  ) {
    self.spansPerSecondMax = spansPerSecondMax
    self.policies = policies
    self.allocations = allocations
    self.fallsThrough = fallsThrough
    self.capsTotal = capsTotal
  }
}
