// What policies are and want, in words, and the figures in them.

import Expressions
import OTLP

extension Policy.Rule {
  /// Whether the answer depends on other traces.
  var hasBudget: Bool {
    switch self {
    case .rateLimiting, .bytesLimiting, .composite, .adaptive: true
    case .and(let rules), .drop(let rules): rules.contains(where: \.hasBudget)
    case .not(let rule): rule.hasBudget
    default: false
    }
  }

  /// Whether it has a limit that the fleet shares.
  var isFleetWide: Bool {
    switch self {
    case .rateLimiting(let limit), .bytesLimiting(let limit): limit.scope == .fleet
    default: parts.contains(where: \.isFleetWide)
    }
  }

  /// The same when all budgets are spent.
  var withoutBudgets: Policy.Rule {
    switch self {
    case .rateLimiting, .bytesLimiting, .composite: .not(.alwaysSample)
    case .and(let rules): .and(rules.map(\.withoutBudgets))
    case .drop(let rules): .drop(rules.map(\.withoutBudgets))
    case .not(let rule): .not(rule.withoutBudgets)
    default: self
    }
  }

  /// Whether it picks a share of traces by their randomness.
  var hasShare: Bool {
    switch self {
    case .probabilistic: true
    case .and(let rules), .drop(let rules): rules.contains(where: \.hasShare)
    case .not(let rule): rule.hasShare
    default: false
    }
  }

  /// The rules that it consists of.
  var parts: [Policy.Rule] {
    switch self {
    case .and(let rules), .drop(let rules): rules
    case .not(let rule): [rule]
    case .composite(let composite): composite.parts.map(\.rule)
    default: []
    }
  }

  /// The type of policy, as in a topology.
  var typeName: String {
    switch self {
    case .alwaysSample: "always_sample"
    case .statusCode: "status_code"
    case .latency: "latency"
    case .probabilistic, .hashed: "probabilistic"
    case .adaptive: "baseline"
    case .spanCount: "span_count"
    case .numericAttribute: "numeric_attribute"
    case .stringAttribute, .patternAttribute: "string_attribute"
    case .booleanAttribute: "boolean_attribute"
    case .traceState: "trace_state"
    case .traceFlags: "trace_flags"
    case .ottlCondition: "ottl_condition"
    case .rateLimiting: "rate_limiting"
    case .bytesLimiting: "bytes_limiting"
    case .and: "and"
    case .not: "not"
    case .drop: "drop"
    case .composite: "composite"
    }
  }

  /// What it wants, in words.
  func wanted(_ side: TraceEvidence.Side) -> String {
    switch self {
    case .alwaysSample: "every trace"
    case .statusCode(let codes):
      "a span with status "
        + SpanStatus.all.filter(codes.contains).map(\.text).joined(separator: " or ")
    case .latency(let threshold, let upper, _):
      upper.map {
        "more than \(threshold.nanoseconds.asDuration), at most \($0.nanoseconds.asDuration)"
      }
        ?? "at least \(threshold.nanoseconds.asDuration)"
    case .probabilistic(let threshold) where side == .droppingPart:
      "randomness below \((SamplingThreshold.randomnessCount - threshold.rejected).randomnessText): "
        + "\((threshold.probability * 100).asFigure) %"
    case .probabilistic(let threshold):
      "randomness of at least \(threshold.rejected.randomnessText): "
        + "\((threshold.probability * 100).asFigure) %"
    case .adaptive: "randomness of at least the threshold that follows from the fleet's traffic"
    case .hashed(let hash): "a hash of at most \(String(hash.limit, radix: 16))"
    case .spanCount(let least, let most):
      most.map { "\(least) to \($0) spans" } ?? "at least \(least) spans"
    case .numericAttribute(let key, let range, let inverted):
      "\(inverted ? "not " : "")\(key) from \(range.lowerBound) to \(range.upperBound)"
    case .stringAttribute(let key, let values, let inverted):
      "\(inverted ? "not " : "")\(key) \(values.listed)"
    case .patternAttribute(let key, let patterns, let inverted):
      "\(inverted ? "not " : "")\(key) that matches \(patterns.listed)"
    case .booleanAttribute(let key, let value, let inverted):
      "\(inverted ? "not " : "")\(key) \(value)"
    case .traceState(let key, let values): "the tracestate's \(key) \(values.listed)"
    case .traceFlags: "a span with the sampled flag"
    case .ottlCondition(let spans, let events, _):
      (spans + events).map(\.text).joined(separator: " or ")
    case .rateLimiting(let limit):
      "\(limit.perSecond) spans a second, up to \(limit.burst) at once"
        + (limit.scope == .fleet ? ", for the whole fleet" : "")
    case .bytesLimiting(let limit):
      "\(limit.perSecond) bytes a second, up to \(limit.burst) at once"
        + (limit.scope == .fleet ? ", for the whole fleet" : "")
    case .and: "all of its parts"
    case .not: "not its part"
    case .drop: "all of its parts, to drop the trace"
    case .composite(let composite):
      "a part with budget left, of \(composite.spansPerSecondMax) spans a second"
    }
  }
}

extension [String] {
  fileprivate var listed: String { map { "\"\($0)\"" }.joined(separator: " or ") }
}

extension SpanStatus {
  /// All of them.
  static let all: [SpanStatus] = [.unset, .ok, .error, .other]

  /// Its name in OTLP.
  var text: String {
    switch self {
    case .unset: "UNSET"
    case .ok: "OK"
    case .error: "ERROR"
    case .other: "another"
    }
  }
}

extension Int64 {
  /// Nanoseconds as people write them, such as `1.25 s`.
  package var asDuration: String {
    let units: [(name: String, nanoseconds: Int64)] = [
      ("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1000),
    ]
    for unit in units where self >= unit.nanoseconds {
      let whole = self / unit.nanoseconds
      let hundredths = self % unit.nanoseconds / (unit.nanoseconds / 100)
      guard hundredths > 0 else { return "\(whole) \(unit.name)" }
      return "\(whole).\(hundredths < 10 ? "0" : "")\(hundredths) \(unit.name)"
    }
    return "\(self) ns"
  }
}

extension UInt64 {
  /// 56 bits as 14 hexadecimal digits.
  var randomnessText: String {
    let digits = String(self, radix: 16)
    return String(repeating: "0", count: Swift.max(0, 14 - digits.count)) + digits
  }
}

extension Double {
  /// Four significant digits.
  package var asFigure: String {
    guard isFinite, self != 0 else { return self == 0 ? "0" : "\(self)" }
    var scale = 1.0
    while magnitude * scale < 1000, scale < 1e15 { scale *= 10 }
    let text = "\((self * scale).rounded() / scale)"
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
  }
}
