// Attributes on kept spans that tell why they were kept, if the topology asks for them.

import OTLP

/// Which kept spans get attributes that tell why they were kept.
public enum AnnotatedSpans: String, Equatable, Sendable, CaseIterable {
  /// None: kept spans keep their bytes, except for the tracestate.
  case none
  /// Spans without a parent.
  case root
  /// All of them.
  case all
}

extension Sampler {
  /// The attributes for spans of the open trace in `slot` that are forwarded now, from what is known so far.
  ///
  /// - Parameter matches: the policies of its verdict; nil for those that are certain while the window is
  ///   open.
  mutating func annotation(of slot: Int, matches: UInt64? = nil) -> SpanAnnotation {
    let isPlain = configuration.annotate == .none
    guard !isPlain || hasLinks else { return .none }
    let rare = table[rare: slot]
    var annotation =
      isPlain
      ? SpanAnnotation.none
      : annotation(
        reasons: reasons(of: slot, matches: matches ?? policies.program.certain(table[slot].facts).matches),
        threshold: max(rare.threshold, rare.incomingThreshold))
    if hasLinks, rare.threshold != .always {
      annotation.randomness = sharedRandomness(of: table[slot].id)
    }
    return annotation
  }

  /// The attributes for spans of a decided trace: only what they say in any case is remembered.
  mutating func annotation(of verdict: PastVerdict) -> SpanAnnotation {
    var annotation =
      configuration.annotate == .none
      ? SpanAnnotation.none : annotation(reasons: [], threshold: verdict.threshold)
    annotation.randomness = verdict.sharedRandomness
    return annotation
  }

  /// The attributes for spans of a kept trace that are read again.
  mutating func annotation(of handOut: HandOut) -> SpanAnnotation {
    guard configuration.annotate != .none else { return .none }
    let state = handOut.isTruncated ? OpenTrace.State.skeleton : .kept
    return annotation(
      reasons: reasons(
        matches: handOut.matches, state, isLinked: handOut.isLinked, isFirstOfShape: handOut.isFirstOfShape),
      threshold: max(handOut.threshold, handOut.incomingThreshold))
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

  /// The names of the policies that keep a trace, and any other reason.
  mutating func reasons(of slot: Int, matches: UInt64) -> [String] {
    reasons(
      matches: matches, table[slot].state, isLinked: table[slot].isLinked,
      isFirstOfShape: table[slot].isFirstOfShape)
  }

  private mutating func reasons(
    matches: UInt64, _ state: OpenTrace.State, isLinked: Bool, isFirstOfShape: Bool
  ) -> [String] {
    if isFirstOfShape { return [Sampler.firstOfShapeReason] }
    var reasons: [String] = []
    for number in policies.program.names.indices where matches & 1 << UInt64(number) != 0 {
      reasons.append(policies.program.names[number])
    }
    if isLinked { reasons.append(Sampler.linkedReason) }
    if let other = state.reason(matches: matches, isLinked: isLinked) { reasons.append(other) }
    return reasons
  }

  /// The first of them.
  mutating func firstReason(of slot: Int, matches: UInt64) -> String? {
    if table[slot].isFirstOfShape { return Sampler.firstOfShapeReason }
    // There are no more than 64 policies, and a match has one.
    if matches != 0 { return policies.program.names[matches.trailingZeroBitCount] }
    return table[slot].isLinked ? Sampler.linkedReason : table[slot].state.reason(matches: 0)
  }

  /// The most bytes that spans of `byteCount` bytes may take once forwarded.
  ///
  /// A span has at least 30 bytes, and its tracestate grows by at most `tracestateGrowth`: without
  /// attributes, spans grow to less than double.
  static func grown(_ byteCount: Int, by annotation: SpanAnnotation) -> Int {
    2 * byteCount + byteCount / spanBytesMin * annotation.growth
  }

  /// Two ids with their tags and lengths, and the span's own tag and length.
  private static var spanBytesMin: Int { 30 }
}

extension OpenTrace.State {
  /// The reason that is no policy, nor links: none, for most traces.
  func reason(matches: UInt64, isLinked: Bool = false) -> String? {
    switch self {
    case .skeleton: Sampler.limitReason
    case .kept: matches == 0 && !isLinked ? Sampler.earlierReason : nil
    case .undecided: nil
    }
  }
}
