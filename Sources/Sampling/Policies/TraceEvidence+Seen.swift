// What a rule saw of a trace's spans, in words: the values that it looks at.

import Expressions
import OTLP

extension TraceEvidence {
  /// What a rule saw, in words.
  func seen(
    by rule: Policy.Rule, _ summary: Summary, _ configuration: SamplerConfiguration, _ last: Offset
  ) -> String {
    let facts = summary.facts
    let spans = facts.spanCount == 1 ? "1 span" : "\(facts.spanCount) spans"
    switch rule {
    case .statusCode:
      let names = SpanStatus.all.filter { facts.statuses & 1 << $0.rawValue != 0 }.map(\.text)
      return
        "\(spans) with status \(names.joined(separator: ", ")); "
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
    case .spanCount, .rateLimiting: return "\(spans)"
    case .bytesLimiting: return "\(facts.byteCount) bytes"
    case .numericAttribute(let key, _, _), .stringAttribute(let key, _, _),
      .patternAttribute(let key, _, _),
      .booleanAttribute(let key, _, _):
      return listed(values(of: Array(key.utf8), last)) ?? "no such attribute"
    case .traceState(let key, _): return listed(members(key, last)) ?? "no such member of a tracestate"
    case .ottlCondition(let conditions, let events, _):
      return values(of: conditions + events, last) ?? "\(spans)"
    case .traceFlags: return "\(spans)"
    case .alwaysSample, .and, .not, .drop, .composite: return ""
    }
  }

  private static let valuesMax = 5

  /// The first few of what was found; nil if there is nothing.
  private func listed(_ found: [String]) -> String? {
    guard !found.isEmpty else { return nil }
    return found.prefix(TraceEvidence.valuesMax).joined(separator: ", ")
      + (found.count > TraceEvidence.valuesMax ? " and others" : "")
  }

  /// The first few different values of an attribute, and one more if there are others.
  private func values(of key: [UInt8], _ last: Offset) -> [String] {
    gather(last) { (scanned, span, bytes, found) throws(MalformedInput) in
      for run in scanned.resourceFields(of: span) {
        var cursor = WireCursor(run)
        while let resource = try cursor.next(ResourceSpansField.resource, in: bytes) {
          try TraceEvidence.note(key, ResourceField.attributes, in: resource, of: bytes, &found)
        }
      }
      try TraceEvidence.note(key, SpanField.attributes, in: span.content, of: bytes, &found)
      var cursor = WireCursor(span.content)
      while let event = try cursor.next(SpanField.events, in: bytes) {
        try TraceEvidence.note(key, EventField.attributes, in: event, of: bytes, &found)
      }
    }
  }

  /// The values of the attributes that conditions name; nil if they name none.
  private func values(of conditions: [OTTLCondition], _ last: Offset) -> String? {
    var needs = ConditionRequirements()
    for condition in conditions { needs.formUnion(condition.requirements) }
    let keys = needs.spanAttributes.union(needs.resourceAttributes).union(needs.eventAttributes)
      .sorted { $0.lexicographicallyPrecedes($1) }
    guard !keys.isEmpty else { return nil }
    let texts = keys.prefix(TraceEvidence.valuesMax).map { key in
      String(decoding: key, as: UTF8.self) + " " + (listed(values(of: key, last)) ?? "nowhere")
    }
    return texts.joined(separator: "; ") + (keys.count > texts.count ? "; and others" : "")
  }

  /// The first few different values of a tracestate's member.
  private func members(_ key: String, _ last: Offset) -> [String] {
    let key = Array(key.utf8)
    return gather(last) { (_, span, bytes, found) throws(MalformedInput) in
      let list = TraceStateList(span.traceState, of: bytes)
      guard let value = key.withRawBytes({ list.value(of: $0, in: bytes) }) else { return }
      let text = "\"" + String(decoding: bytes.extracting(value.indices).copied(), as: UTF8.self) + "\""
      if !found.contains(text) { found.append(text) }
    }
  }

  /// Goes through the spans until more has been found than is told.
  private func gather(
    _ last: Offset,
    _ note: (ScannedRecord, SpanView, RawSpan, inout [String]) throws(MalformedInput) -> Void
  ) -> [String] {
    var found: [String] = []
    var scanned = ScannedRecord()
    for piece in pieces where piece.offset <= last && found.count <= TraceEvidence.valuesMax {
      piece.bytes.withRawBytes { bytes in
        // It was written from a record that could be read.
        do throws(MalformedInput) {
          try scanned.scan(bytes)
          for span in scanned.spans where found.count <= TraceEvidence.valuesMax {
            try note(scanned, span, bytes, &found)
          }
        } catch { return }
      }
    }
    return found
  }

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
