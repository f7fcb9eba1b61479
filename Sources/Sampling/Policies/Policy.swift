// Policies: which traces are worth keeping. Compiled once, then fed accumulators, never decoded spans.

public import Expressions
public import OTLP

/// One policy of the OpenTelemetry Collector's `tail_sampling` processor, by its own name.
public struct Policy: Equatable, Sendable {
  /// The name that decisions give as their reason.
  public var name: String
  /// What it looks for.
  public var rule: Rule

  /// What a policy looks for.
  public enum Rule: Equatable, Sendable {
    /// Every trace.
    case alwaysSample
    /// Any span with one of these statuses.
    case statusCode(Set<SpanStatus>)
    /// A trace that lasted `threshold` or longer. With `upper`: longer than `threshold` and at most `upper`,
    /// both in whole milliseconds.
    case latency(threshold: Interval, upper: Interval?, measure: DurationMeasure = .root)
    /// A share of all traces, by their randomness.
    case probabilistic(SamplingThreshold)
    /// The baseline: a share of all traces that follows from the fleet's traffic, by their randomness. At
    /// most once, and only as a top-level policy; see `SamplerConfiguration.baseline`.
    case adaptive
    /// A share of all traces, by a hash of their trace ids.
    case hashed(HashSampling)
    /// A trace with this many spans; no upper bound if `most` is nil.
    case spanCount(least: Int, most: Int?)
    /// A span or resource that has the attribute with an integer in the range.
    case numericAttribute(key: String, range: ClosedRange<Int64>, inverted: Bool = false)
    /// A span or resource that has the attribute with one of these strings. Empty strings match nothing.
    case stringAttribute(key: String, values: [String], inverted: Bool = false)
    /// A span or resource that has the attribute with a string that one of these regular expressions matches.
    /// `RegularExpression` must accept each of them.
    case patternAttribute(key: String, patterns: [String], inverted: Bool = false)
    /// A span or resource that has the attribute with this boolean.
    case booleanAttribute(key: String, value: Bool, inverted: Bool = false)
    /// A span whose tracestate has the member `key` with one of these values.
    case traceState(key: String, values: [String])
    /// A span whose trace flags include the sampled flag.
    case traceFlags
    /// A span for which one of the `spans` conditions holds, or one of `events` for one of its events.
    case ottlCondition(spans: [OTTLCondition], events: [OTTLCondition], errorMode: ConditionErrorMode)
    /// Traces while the bucket has tokens: a trace costs its span count.
    case rateLimiting(RateLimit)
    /// Traces while the bucket has tokens: a trace costs its bytes.
    case bytesLimiting(RateLimit)
    /// A trace that all of these sample.
    case and([Rule])
    /// A trace that this rule does not sample.
    indirect case not(Rule)
    /// Drops a trace that all of these sample, even if another policy keeps it. Only as a top-level policy.
    case drop([Rule])
    /// Several rules, each with a budget of spans per second. Only as a top-level policy.
    case composite(Composite)
  }

  /// How a trace's duration is measured.
  public enum DurationMeasure: String, Equatable, Sendable, CaseIterable {
    /// The root span's duration, by one clock; if no root arrived, the envelope less the skew tolerance.
    case root
    /// From the earliest start to the latest end of all spans, as in the Collector.
    case spans
  }

  /// Makes a policy.
  public init(name: String, rule: Rule) {
    self.name = name
    self.rule = rule
  }

  /// All errors, all traces whose root lasts two seconds or more, and one percent of everything.
  public static let defaults: [Policy] = [
    Policy(name: "errors", rule: .statusCode([.error])),
    Policy(name: "slow", rule: .latency(threshold: .seconds(2), upper: nil)),
    Policy(name: "baseline", rule: .probabilistic(SamplingThreshold(probability: 0.01))),
  ]
}

/// Rules evaluated one after the other, each with its own budget.
public struct Composite: Equatable, Sendable {
  /// One of the rules.
  public struct Part: Equatable, Sendable {
    /// What it looks for.
    public var rule: Policy.Rule
    /// How many spans it may keep in one second of stream time.
    public var spansPerSecond: Int64

    /// Makes a part.
    public init(rule: Policy.Rule, spansPerSecond: Int64) {
      self.rule = rule
      self.spansPerSecond = spansPerSecond
    }
  }

  /// The most spans that a part, or with `capsTotal` all parts together, may keep in one second of stream
  /// time.
  public var spansPerSecondMax: Int64
  /// The rules, in the order of evaluation.
  public var parts: [Part]
  /// Whether a trace that a part samples but has no budget for goes on to the next part; else evaluation
  /// stops.
  public var fallsThrough = false
  /// Whether all parts together stay under `spansPerSecondMax`.
  public var capsTotal = false

  /// Makes a composite that behaves like the Collector's.
  public init(spansPerSecondMax: Int64, parts: [Part]) {
    self.spansPerSecondMax = spansPerSecondMax
    self.parts = parts
  }
}
