// What kept spans say about why they were kept, where the topology asks for it.

import OTLP

/// Which kept spans get attributes that say why they were kept.
public enum AnnotatedSpans: String, Equatable, Sendable, CaseIterable {
  /// None: kept spans are the bytes that came, but for the tracestate.
  case none
  /// Spans without a parent.
  case root
  /// All of them.
  case all
}

extension Sampler {
  /// The attributes for spans of the open trace in `slot` that are handed out now: what is known by now.
  ///
  /// - Parameter matches: the policies of its verdict; nil for those that are certain while the window is
  ///   open.
  mutating func annotation(of slot: Int, matches: UInt64? = nil) -> SpanAnnotation {
    guard configuration.annotate != .none else { return .none }
    return annotation(
      reasons: reasons(of: slot, matches: matches ?? policies.program.certain(table[slot].facts).matches),
      threshold: max(table[slot].threshold, table[slot].incomingThreshold))
  }

  /// The attributes for spans of a trace that is decided: of its verdict only the threshold is remembered.
  mutating func annotation(of verdict: PastVerdict) -> SpanAnnotation {
    configuration.annotate == .none ? .none : annotation(reasons: [], threshold: verdict.threshold)
  }

  private mutating func annotation(reasons: [String], threshold: SamplingThreshold) -> SpanAnnotation {
    var annotation = SpanAnnotation(configuration.annotate == .all ? .all : .roots)
    if let first = reasons.first {
      annotation.append("tailrace.policy", first)
      annotation.append("tailrace.reasons", reasons)
    }
    annotation.append("tailrace.probability", threshold.probability)
    return annotation
  }

  /// The names of the policies that keep a trace, and what else keeps it.
  mutating func reasons(of slot: Int, matches: UInt64) -> [String] {
    var reasons: [String] = []
    for number in policies.program.names.indices where matches & 1 << UInt64(number) != 0 {
      reasons.append(policies.program.names[number])
    }
    if table[slot].state == .skeleton {
      reasons.append(Sampler.limitReason)
    } else if table[slot].state == .kept, matches == 0 {
      reasons.append(Sampler.earlierReason)
    }
    return reasons
  }

  /// The most bytes that spans of `byteCount` bytes may have once they are handed out.
  ///
  /// A span has at least 30 bytes, and its tracestate grows by `tracestateGrowth` at most: without
  /// attributes, spans less than double.
  static func grown(_ byteCount: Int, by annotation: SpanAnnotation) -> Int {
    2 * byteCount + byteCount / spanBytesMin * annotation.growth
  }

  /// Two ids, with their tags and lengths, and those of the span.
  private static var spanBytesMin: Int { 30 }
}
