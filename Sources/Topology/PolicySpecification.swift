// Policies as in a topology file, with the names, keys and meaning of the OpenTelemetry Collector's
// `tail_sampling` policies.

public import Expressions
public import Sampling

/// One named policy of the file.
public struct PolicySpecification: Equatable, Sendable {
  /// The name that decisions give as their reason. Only nested policies may have an empty one.
  public var name: String
  /// Which traces it samples.
  public var rule: PolicyRule

  /// Makes a policy.
  public init(name: String, rule: PolicyRule) {
    self.name = name
    self.rule = rule
  }

  /// The policies of a file without any: every error trace, every slow trace, 1 % of all.
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
  /// This share of all traces, in percent: 0 to 100. With a salt (never empty), chosen by a hash of the trace
  /// id, as in the Collector; without one, by the trace's own randomness.
  case probabilistic(percentage: Double, hashSalt: String? = nil)
  /// Traces with an integer attribute in a range; at least one bound is given, and both are inclusive.
  case numericAttribute(key: String, minValue: Int64?, maxValue: Int64?, invertMatch: Bool)
  /// Traces with a string attribute that equals one of these values, or matches one of these regular
  /// expressions.
  case stringAttribute(key: String, values: [String], areRegularExpressions: Bool, invertMatch: Bool)
  /// Traces with a Boolean attribute of this value.
  case booleanAttribute(key: String, value: Bool, invertMatch: Bool)
  /// Traces with a span that has one of these values under `key` in its tracestate.
  case traceState(key: String, values: [String])
  /// Traces with a span that is flagged as sampled.
  case traceFlags
  /// Traces with a span for which one of `spans` holds, or with an event of a span for which one of `events`
  /// holds. At least one of the two is not empty.
  case ottlCondition(spans: [OTTLCondition], events: [OTTLCondition], errorMode: ConditionErrorMode)
  /// Traces with `minSpans` to `maxSpans` spans; a `maxSpans` of 0 means no upper bound.
  case spanCount(minSpans: Int, maxSpans: Int)
  /// Traces up to a rate of spans; the burst defaults to two seconds' worth.
  case rateLimiting(spansPerSecond: Int, burstCapacity: Int?, scope: RateLimit.Scope = .partition)
  /// Traces up to a rate of bytes; the burst defaults to two seconds' worth.
  case bytesLimiting(bytesPerSecond: Int, burstCapacity: Int?, scope: RateLimit.Scope = .partition)
  /// Traces that all of these policies sample.
  case and([PolicySpecification])
  /// Traces that this policy does not sample.
  indirect case not(PolicySpecification)
  /// Drops the traces that all of these policies sample. At the top level only.
  case drop([PolicySpecification])
  /// Several policies, each with a budget. At the top level only.
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

  /// How a trace's duration is measured.
  public enum LatencyMeasure: String, Equatable, Sendable, CaseIterable {
    /// The root span's own duration; without a root, that of all spans less 10 ms.
    case root
    /// From the earliest start to the latest end of all spans.
    case spans
  }
}

/// Policies that are evaluated in order, each with a budget of spans per second.
public struct CompositePolicy: Equatable, Sendable {
  /// The most spans per second: for each policy, or with `capsTotal` for all together.
  public var spansPerSecondMax: Int
  /// The policies, in evaluation order; names are unique.
  public var policies: [PolicySpecification]
  /// Percent of `spansPerSecondMax` by policy name: 0 to 100. A policy without an entry, or with 0, has an
  /// equal share: the total divided by the number of policies.
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
