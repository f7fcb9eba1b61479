// What each policy answers about one trace, and why: asked again, by the same code, of the same facts.
//
// The sampler folds spans into facts and keeps no reasons. To explain a verdict, the trace's spans are folded
// once more, for each rule of each policy alone: so the answers are the program's own. Only budgets can't be
// asked again, as they depend on all other traces.

import Expressions
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
  private struct Piece {
    var offset: Offset
    var bytes: [UInt8]
  }

  /// The trace.
  public let traceID: TraceID
  private var pieces: [Piece] = []
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
    if count > 0 { pieces.append(Piece(offset: offset, bytes: writer.bytes)) }
    return count
  }

  /// What the policies of a configuration answer about the trace.
  ///
  /// - Parameter last: the offset of the last record that counts: the one before the verdict.
  public func answers(_ configuration: SamplerConfiguration, upTo last: Offset = Offset(.max))
    -> [PolicyAnswer]
  {
    configuration.policies.map { policy in
      var answer = self.answer(policy.rule, configuration, last)
      answer.name = policy.name
      return answer
    }
  }

  private func answer(
    _ rule: Policy.Rule, _ configuration: SamplerConfiguration, _ last: Offset, isPart: Bool = false
  ) -> PolicyAnswer {
    var policies = PolicySet(
      [Policy(name: "asked", rule: rule)], skewTolerance: configuration.skewTolerance,
      invertDecisions: configuration.invertDecisions && !isPart)
    let summary = self.summary(&policies, last)
    let baseline = rule.isAdaptive ? SamplingThreshold.always : .never
    let outcome = policies.decide(summary.facts, at: Instant(nanoseconds: 0), baseline: baseline)
    var isMatch = outcome.matches != 0
    // By itself it would keep what it does not veto.
    if case .vetoes = policies.program.roles[0] { isMatch = outcome.isVetoed }
    var answer = PolicyAnswer(
      name: rule.typeName, type: rule.typeName, outcome: isMatch ? .matches : .doesNotMatch,
      seen: seen(by: rule, summary, configuration, last), wanted: rule.wanted)
    if answer.outcome == .matches, rule.hasBudget { answer.outcome = .depends }
    answer.parts = rule.parts.map { self.answer($0, configuration, last, isPart: true) }
    return answer
  }

  // MARK: Facts

  private struct Summary {
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

  private func seen(
    by rule: Policy.Rule, _ summary: Summary, _ configuration: SamplerConfiguration, _ last: Offset
  ) -> String {
    let facts = summary.facts
    switch rule {
    case .statusCode:
      let names = SpanStatus.all.filter { facts.statuses & 1 << $0.rawValue != 0 }.map(\.text)
      return
        "\(facts.spanCount) spans with status \(names.joined(separator: ", ")); "
        + "\(summary.errorCount) with ERROR"
    case .latency(_, _, let measure):
      if measure == .spans {
        return "\(facts.envelope.asDuration) from the first start to the last end"
      }
      guard !facts.hasRoot else { return "a root of \(facts.rootDuration.asDuration)" }
      return "no root; \(facts.envelope.asDuration) from the first start to the last end, "
        + "less \(configuration.skewTolerance.nanoseconds.asDuration) for clocks that differ"
    case .probabilistic, .adaptive:
      return "randomness \(facts.randomness.randomnessText)"
    case .hashed: return "the trace id"
    case .spanCount, .rateLimiting: return "\(facts.spanCount) spans"
    case .bytesLimiting: return "\(facts.byteCount) bytes"
    case .numericAttribute(let key, _, _), .stringAttribute(let key, _, _),
      .patternAttribute(let key, _, _),
      .booleanAttribute(let key, _, _):
      return values(of: key, last)
    case .traceState, .traceFlags, .ottlCondition: return "\(facts.spanCount) spans"
    case .alwaysSample, .and, .not, .drop, .composite: return ""
    }
  }

  /// The first few different values of an attribute.
  private func values(of key: String, _ last: Offset) -> String {
    var found: [String] = []
    let wanted = Array(key.utf8)
    for piece in pieces where piece.offset <= last {
      piece.bytes.withRawBytes { bytes in
        var scanned = ScannedRecord()
        do throws(MalformedInput) {
          try scanned.scan(bytes)
          for index in scanned.spans.indices {
            let span = scanned.spans[index]
            for run in scanned.resourceFields(of: span) {
              var cursor = WireCursor(run)
              while let resource = try cursor.next(ResourceSpansField.resource, in: bytes) {
                try TraceEvidence.note(
                  wanted, ResourceField.attributes, in: resource, of: bytes, &found)
              }
            }
            try TraceEvidence.note(
              wanted, SpanField.attributes, in: span.content, of: bytes, &found)
          }
        } catch { return }
      }
    }
    guard !found.isEmpty else { return "no such attribute" }
    let rest = found.count - TraceEvidence.valuesMax
    return found.prefix(TraceEvidence.valuesMax).joined(separator: ", ")
      + (rest > 0 ? " and others" : "")
  }

  private static let valuesMax = 5

  private static func note(
    _ key: [UInt8], _ field: UInt32, in message: ByteRange, of bytes: RawSpan,
    _ found: inout [String]
  ) throws(MalformedInput) {
    var cursor = WireCursor(message)
    while found.count <= valuesMax, let attribute = try cursor.next(field, in: bytes) {
      let pair = try KeyValueView(attribute, in: bytes)
      guard bytes.extracting(pair.key.indices).copied() == key else { continue }
      let text = try pair.value(in: bytes).text(in: bytes)
      if !found.contains(text) { found.append(text) }
    }
  }
}

extension AttributeValue {
  fileprivate func text(in bytes: RawSpan) -> String {
    switch self {
    case .missing: "no value"
    case .string(let range):
      // Long enough to tell values apart.
      "\"" + String(decoding: bytes.extracting(range.indices).copied().prefix(256), as: UTF8.self)
        + "\""
    case .boolean(let value): "\(value)"
    case .integer(let value): "\(value)"
    case .double(let value): "\(value)"
    case .array: "a list"
    case .map: "a map"
    case .bytes(let range): "\(range.count) bytes"
    }
  }
}

extension SpanStatus {
  fileprivate static let all: [SpanStatus] = [.unset, .ok, .error, .other]

  fileprivate var text: String {
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
  fileprivate var randomnessText: String {
    let digits = String(self, radix: 16)
    return String(repeating: "0", count: Swift.max(0, 14 - digits.count)) + digits
  }
}

extension Policy.Rule {
  fileprivate var isAdaptive: Bool { if case .adaptive = self { true } else { false } }

  /// Whether the answer depends on other traces.
  fileprivate var hasBudget: Bool {
    switch self {
    case .rateLimiting, .bytesLimiting, .composite, .adaptive: true
    case .and(let rules), .drop(let rules): rules.contains(where: \.hasBudget)
    case .not(let rule): rule.hasBudget
    default: false
    }
  }

  fileprivate var parts: [Policy.Rule] {
    switch self {
    case .and(let rules), .drop(let rules): rules
    case .not(let rule): [rule]
    case .composite(let composite): composite.parts.map(\.rule)
    default: []
    }
  }

  fileprivate var typeName: String {
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
  fileprivate var wanted: String {
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
    case .probabilistic(let threshold):
      "randomness of at least \(threshold.rejected.randomnessText): \(threshold.probability * 100) %"
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
    case .rateLimiting(let limit): "\(limit.perSecond) spans a second, up to \(limit.burst) at once"
    case .bytesLimiting(let limit):
      "\(limit.perSecond) bytes a second, up to \(limit.burst) at once"
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
