// Policies: what is worth keeping. Compiled once, then fed with accumulators, never with decoded spans.

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
    /// longer than `upper`, both in whole milliseconds. So the Collector has it.
    ///
    /// The duration is the root span's own, by one clock; only where no root came is it that of all spans
    /// together, from the earliest start to the latest end, less the skew tolerance.
    case latency(threshold: Interval, upper: Interval?)
    /// A share of all traces, by their own randomness.
    case probabilistic(SamplingThreshold)
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

/// What a policy set says about a trace.
struct PolicyOutcome: Equatable {
  /// Bit *i* is set if policy *i* matches.
  var matches: UInt64 = 0
  /// The threshold that the trace was kept with; meaningful only if something matches.
  var threshold = SamplingThreshold.never

  var isKept: Bool { matches != 0 }

  /// The first policy that matches.
  var first: Int? { matches == 0 ? nil : matches.trailingZeroBitCount }
}

/// The compiled policies.
struct PolicySet {
  /// At most this many, so that a set of matches is one word.
  static let countMax = 64

  private enum Test {
    case always
    /// Bit *s* is set if status *s* matches.
    case status(mask: UInt8)
    /// Nanoseconds, both included.
    case latency(least: Int64, most: Int64)
    case randomness(SamplingThreshold)
  }

  private let tests: [Test]
  let names: [String]

  init(_ policies: [Policy]) {
    invariant(
      policies.count <= PolicySet.countMax, "\(policies.count) policies: more than \(PolicySet.countMax)")
    names = policies.map(\.name)
    tests = policies.map { policy in
      switch policy.rule {
      case .alwaysSample: .always
      case .statusCode(let codes): .status(mask: codes.reduce(0) { $0 | 1 << $1.rawValue })
      case .latency(let threshold, nil):
        .latency(least: threshold.nanoseconds, most: .max)
      case .latency(let threshold, let upper?):
        .latency(least: threshold.nextMillisecond, most: upper.nextMillisecond - 1)
      case .probabilistic(let threshold): .randomness(threshold)
      }
    }
  }

  /// The outcome on what is known of a trace.
  ///
  /// - Parameter certainOnly: whether only matches count that no further span can take back. Probability is
  ///   left out then too: it could be kept for a better reason later, and its spans would carry the wrong
  ///   threshold.
  ///
  /// A trace that any other policy keeps is kept for certain, so it stands for itself alone. One that only
  /// probabilities keep was kept with the greatest of all the probabilities, not of the matching ones alone:
  /// which of them match follows from the same randomness.
  func evaluate(_ trace: OpenTrace, skewTolerance: Int64, certainOnly: Bool) -> PolicyOutcome {
    var outcome = PolicyOutcome()
    for (number, test) in tests.enumerated() {
      let isMatch: Bool
      var threshold = SamplingThreshold.always
      switch test {
      case .always: isMatch = true
      case .status(let mask): isMatch = trace.statuses & mask != 0
      case .latency(let least, let most):
        if certainOnly {
          isMatch = trace.hasRoot && most == .max && trace.rootDuration >= least
        } else {
          let duration = trace.judgedDuration(skewTolerance: skewTolerance)
          isMatch = duration >= least && duration <= most
        }
      case .randomness(let own):
        threshold = own
        isMatch = !certainOnly && own.keeps(randomness: trace.randomness)
      }
      guard isMatch else { continue }
      outcome.matches |= 1 << UInt64(number)
      outcome.threshold = min(outcome.threshold, threshold)
    }
    return outcome
  }
}

extension Interval {
  /// The first nanosecond of the next whole millisecond.
  fileprivate var nextMillisecond: Int64 {
    let (next, overflow) = (nanoseconds / 1_000_000 + 1).multipliedReportingOverflow(by: 1_000_000)
    return overflow ? .max : next
  }
}
