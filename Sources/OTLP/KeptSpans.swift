// Writes kept spans: sets the threshold in each one's tracestate, appends attributes, and changes nothing
// else.

/// How a kept piece was rewritten.
public struct RewriteCounts: Equatable, Sendable {
  /// Spans written.
  public var spans = 0
  /// Spans whose tracestate was left unchanged because it breaks the rules or has no room for another member.
  public var tracestatesLeftAlone = 0

  /// Nothing counted yet.
  public init() {}
}

extension WireWriter {
  /// Appends `piece`, a `TracesData`, with `threshold` in the tracestate of each span and the attributes of
  /// `annotation` at its end; all else byte for byte.
  ///
  /// A span already sampled with a greater threshold keeps that one: the sampling was consistent, so the
  /// greater of the two is the threshold of both together. Spans that carry the right threshold are copied
  /// unchanged.
  ///
  /// - Parameters:
  ///   - piece: bytes that `ScannedRecord.scan` has accepted.
  ///   - threshold: the threshold of the verdict that keeps the spans.
  ///   - annotation: attributes to add. A span that already has such a key then has it twice.
  ///   - counts: where spans are counted.
  /// - Throws: only if `piece` was never accepted by the scanner.
  public mutating func appendKept(
    _ piece: RawSpan, threshold: SamplingThreshold, annotation: SpanAnnotation = .none,
    counts: inout RewriteCounts
  ) throws(MalformedInput) {
    var cursor = WireCursor(all: piece)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: piece)
      try cursor.skip(tag, in: piece)
      guard tag.field == TracesDataField.resourceSpans else {
        append(piece.extracting(tag.offset..<cursor.offset))
        continue
      }
      try appendKept(level: .resource, tag.offset..<cursor.offset, piece, threshold, annotation, &counts)
    }
  }

  /// Appends the message field at `field`: a `ResourceSpans` or a `ScopeSpans`, with its content rewritten.
  private mutating func appendKept(
    level: Level, _ field: Range<Int>, _ piece: RawSpan, _ threshold: SamplingThreshold,
    _ annotation: SpanAnnotation, _ counts: inout RewriteCounts
  ) throws(MalformedInput) {
    var outer = WireCursor(ByteRange(from: field.lowerBound, to: field.upperBound))
    let outerTag = try outer.tag(in: piece)
    let content = try outer.content(of: outerTag, in: piece)
    tag(outerTag.field, .lengthDelimited)
    let start = count
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: piece)
      try cursor.skip(tag, in: piece)
      let inner = tag.offset..<cursor.offset
      switch (level, tag.field) {
      case (.resource, ResourceSpansField.scopeSpans):
        try appendKept(level: .scope, inner, piece, threshold, annotation, &counts)
      case (.scope, ScopeSpansField.spans):
        try appendSpan(inner, piece, threshold, annotation, &counts)
      default:
        append(piece.extracting(inner))
      }
    }
    closeMessage(contentStart: start)
  }

  private enum Level {
    /// Inside a `ResourceSpans`: the children are scopes.
    case resource
    /// Inside a `ScopeSpans`: the children are spans.
    case scope
  }

  private static var attributesTag: UInt8 { WireTag.byte(SpanField.attributes, .lengthDelimited) }

  /// Appends the span field at `field`, with its tracestate set and attributes added.
  private mutating func appendSpan(
    _ field: Range<Int>, _ piece: RawSpan, _ threshold: SamplingThreshold, _ annotation: SpanAnnotation,
    _ counts: inout RewriteCounts
  ) throws(MalformedInput) {
    var outer = WireCursor(ByteRange(from: field.lowerBound, to: field.upperBound))
    let outerTag = try outer.tag(in: piece)
    let content = try outer.content(of: outerTag, in: piece)
    var state = ByteRange(offset: 0, count: 0)
    var place: Range<Int>?
    var isRoot = true
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      // Most of a span's fields.
      if cursor.usualContent(of: WireWriter.attributesTag, in: piece) != nil { continue }
      let tag = try cursor.tag(in: piece)
      if tag.field == SpanField.traceState {
        state = try cursor.content(of: tag, in: piece)
        place = tag.offset..<cursor.offset
      } else if tag.field == SpanField.parentSpanID {
        let parent = try cursor.content(of: tag, in: piece)
        isRoot = parent.count != 8 || piece.bigEndian64(at: Int(parent.offset)) == 0
      } else {
        try cursor.skip(tag, in: piece)
      }
    }
    let list = TraceStateList(state, of: piece)
    let sampling = TraceStateSampling(list, of: piece)
    let combined = max(threshold, sampling.threshold ?? .always)
    counts.spans += 1
    let randomness = sampling.randomness == nil ? annotation.randomness : nil
    let more = randomness == nil ? 0 : SpanAnnotation.randomnessGrowth
    let isLeftAlone = sampling.isMalformed || !list.hasRoomForThreshold(in: piece, and: more)
    if isLeftAlone { counts.tracestatesLeftAlone += 1 }
    let isStateRight = isLeftAlone || (sampling.threshold == combined && randomness == nil)
    let isAnnotated = annotation.applies(toRoot: isRoot)
    guard !isStateRight || isAnnotated else {
      append(piece.extracting(field))
      return
    }
    tag(outerTag.field, .lengthDelimited)
    let start = count
    if isStateRight {
      append(piece.extracting(content.indices))
    } else {
      // An existing tracestate is replaced in place, to keep the encoder's field order.
      let cut = place ?? content.indices.upperBound..<content.indices.upperBound
      append(piece.extracting(content.indices.lowerBound..<cut.lowerBound))
      message(SpanField.traceState) { writer in
        writer.appendTraceState(list, state, of: piece, threshold: combined, randomness: randomness)
      }
      append(piece.extracting(cut.upperBound..<content.indices.upperBound))
    }
    if isAnnotated { appendBytes { $0 += annotation.fields } }
    closeMessage(contentStart: start)
  }

  /// Appends a tracestate whose first member is `ot` with `th` set; the rest of `ot` and the other members
  /// follow.
  private mutating func appendTraceState(
    _ list: TraceStateList, _ range: ByteRange, of bytes: RawSpan, threshold: SamplingThreshold,
    randomness: UInt64?
  ) {
    append("ot=th:")
    append(threshold)
    if let randomness {
      append(";rv:")
      appendBytes { bytes in
        bytes.appendText(room: 16) { $0.appendHexadecimal(randomness, digits: 14) }
      }
    }
    if let value = list.openTelemetryValue(in: bytes) {
      var fields = SubKeys(value)
      while !fields.isAtEnd, let field = fields.next(in: bytes) {
        guard !bytes.spells("th", in: field.key) else { continue }
        append(";")
        append(bytes.extracting(field.whole.indices))
      }
    }
    let (before, after) = list.surroundings(range, of: bytes)
    for part in [before, after] where part.count > 0 {
      append(",")
      append(bytes.extracting(part.indices))
    }
  }
}

extension TraceStateList {
  /// The length of "th:", 14 digits and ";".
  private static let thresholdTextMax = 18

  /// Whether `th` can be set: the list holds at most 32 members, and the value of `ot` at most 256
  /// characters.
  fileprivate func hasRoomForThreshold(in bytes: RawSpan, and more: Int) -> Bool {
    guard let value = openTelemetryValue(in: bytes) else { return count < TraceStateList.membersMax }
    return Int(value.count) + TraceStateList.thresholdTextMax + more <= 256
  }
}

extension WireWriter {
  mutating func append(_ text: StaticString) {
    // Sound: a static string has `utf8CodeUnitCount` bytes at `utf8Start` for the lifetime of the program.
    unsafe append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount).bytes)
  }

  fileprivate mutating func append(_ threshold: SamplingThreshold) {
    appendBytes { bytes in threshold.appendHexadecimal(to: &bytes) }
  }
}
