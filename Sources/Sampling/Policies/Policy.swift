// Policies: what is worth keeping. Compiled once, then fed with accumulators, never with decoded spans.

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
    /// A trace that lasted `threshold` or longer. Where `upper` is given: longer than `threshold`, and no
    /// longer than `upper`, both in whole milliseconds.
    case latency(threshold: Interval, upper: Interval?, measure: DurationMeasure = .root)
    /// A share of all traces, by their own randomness.
    case probabilistic(SamplingThreshold)
    /// A share of all traces that the fleet's traffic decides, by their own randomness: the baseline. Once,
    /// and as a policy of its own; see `SamplerConfiguration.baseline`.
    case adaptive
    /// A share of all traces, by a hash of their ids.
    case hashed(HashSampling)
    /// As many spans as this; no upper bound where `most` is nil.
    case spanCount(least: Int, most: Int?)
    /// A span or resource that has the attribute with an integer in the range.
    case numericAttribute(key: String, range: ClosedRange<Int64>, inverted: Bool = false)
    /// A span or resource that has the attribute with one of these texts. Empty texts match nothing.
    case stringAttribute(key: String, values: [String], inverted: Bool = false)
    /// A span or resource that has the attribute with a text that one of these regular expressions finds
    /// something in. Each must be one that `RegularExpression` takes.
    case patternAttribute(key: String, patterns: [String], inverted: Bool = false)
    /// A span or resource that has the attribute with this truth value.
    case booleanAttribute(key: String, value: Bool, inverted: Bool = false)
    /// A span whose tracestate has the member `key` with one of these values.
    case traceState(key: String, values: [String])
    /// A span whose trace flags say that it was sampled.
    case traceFlags
    /// A span for which one of these conditions holds, or one of whose events one of those holds. `spans` are
    /// conditions on spans, `events` on span events.
    case ottlCondition(spans: [OTTLCondition], events: [OTTLCondition], errorMode: ConditionErrorMode)
    /// Traces while there are tokens in the bucket: a trace costs its spans.
    case rateLimiting(RateLimit)
    /// Traces while there are tokens in the bucket: a trace costs its bytes.
    case bytesLimiting(RateLimit)
    /// A trace that all of these sample.
    case and([Rule])
    /// A trace that this one does not sample.
    indirect case not(Rule)
    /// Takes away what all of these sample, whatever keeps it. Only as a policy of its own.
    case drop([Rule])
    /// Several rules with a budget of spans a second each. Only as a policy of its own.
    case composite(Composite)
  }

  /// What a trace's duration is.
  public enum DurationMeasure: String, Equatable, Sendable, CaseIterable {
    /// The root span's own, by one clock; only where no root came that of all spans together, less the skew
    /// tolerance.
    case root
    /// From the earliest start to the latest end of all spans, as the Collector has it.
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

/// Rules that are asked one after the other, each with a budget of its own.
public struct Composite: Equatable, Sendable {
  /// One of the rules.
  public struct Part: Equatable, Sendable {
    /// What it looks for.
    public var rule: Policy.Rule
    /// The spans that it may keep in one second of stream time.
    public var spansPerSecond: Int64

    /// Makes a part.
    public init(rule: Policy.Rule, spansPerSecond: Int64) {
      self.rule = rule
      self.spansPerSecond = spansPerSecond
    }
  }

  /// The most spans that a part may keep in one second of stream time; with `capsTotal`, that all of them
  /// together may.
  public var spansPerSecondMax: Int64
  /// The rules, in the order in which they are asked.
  public var parts: [Part]
  /// Whether a trace that a part samples but has no budget for is passed on to the next; else it ends there.
  public var fallsThrough = false
  /// Whether all parts together stay under `spansPerSecondMax`.
  public var capsTotal = false

  /// Makes a composite that behaves as the Collector's.
  public init(spansPerSecondMax: Int64, parts: [Part]) {
    self.spansPerSecondMax = spansPerSecondMax
    self.parts = parts
  }
}
