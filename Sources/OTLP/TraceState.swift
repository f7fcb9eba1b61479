// The `ot` member of a W3C tracestate: reading `th` and `rv`, and writing `th` into kept spans.

/// What OpenTelemetry's member of a tracestate says about sampling.
public struct TraceStateSampling: Equatable, Sendable {
  /// The threshold that spans were sampled with before (`th`).
  public var threshold: SamplingThreshold?
  /// The trace's explicit randomness (`rv`): 56 bits.
  public var randomness: UInt64?
  /// Whether an `ot` member is there that breaks the rules. Its values then count for nothing.
  public var isMalformed = false

  /// Nothing said.
  public init() {}

  /// Reads the tracestate in `range` of `bytes`.
  ///
  /// Source: W3C Trace Context Level 2, section 3.3; OpenTelemetry specification, "TraceState Handling".
  public init(_ range: ByteRange, of bytes: RawSpan) {
    guard range.count > 0, var scanner = TraceStateMembers(range, of: bytes).openTelemetry else { return }
    repeat {
      let field = scanner.next(separator: 0x3b, in: bytes)  // ;
      if bytes.hasPrefix("th:", in: field) {
        guard let rejected = bytes.hexadecimal(field, skipping: 3, digits: 1...14) else {
          self = .malformed
          return
        }
        threshold = SamplingThreshold(rejected: rejected)
      } else if bytes.hasPrefix("rv:", in: field) {
        guard let bits = bytes.hexadecimal(field, skipping: 3, digits: 14...14) else {
          self = .malformed
          return
        }
        randomness = bits
      }
    } while !scanner.isAtEnd
  }

  private static var malformed: TraceStateSampling {
    var sampling = TraceStateSampling()
    sampling.isMalformed = true
    return sampling
  }
}

/// How a kept piece was rewritten.
public struct RewriteCounts: Equatable, Sendable {
  /// Spans written.
  public var spans = 0
  /// Spans whose tracestate was left as it was because it breaks the rules or has no room for another member.
  public var tracestatesLeftAlone = 0

  /// Nothing counted yet.
  public init() {}
}

extension WireWriter {
  /// Appends `piece`, a `TracesData`, with `threshold` in the tracestate of each span and the attributes of
  /// `annotation` at its end; all else byte for byte.
  ///
  /// A span that was sampled before with a greater threshold keeps that one: the sampling was consistent, so
  /// the greater of the two is the threshold of both together. Spans that carry the right threshold are
  /// copied as they are.
  ///
  /// - Parameters:
  ///   - piece: bytes that `ScannedRecord.scan` has accepted.
  ///   - threshold: the threshold of the verdict that keeps the spans.
  ///   - annotation: attributes to be added. Spans that have attributes of these keys have them twice then.
  ///   - counts: what could not be done is added here.
  /// - Throws: only if `piece` was never accepted by the scanner.
  public mutating func appendKept(
    _ piece: RawSpan, threshold: SamplingThreshold, annotation: SpanAnnotation = .none,
    counts: inout RewriteCounts
  ) throws(MalformedInput) {
    var cursor = WireCursor(all: piece)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: piece)
      try cursor.skip(tag, in: piece)
      guard tag.field == Field.resourceSpans else {
        append(piece.extracting(tag.offset..<cursor.offset))
        continue
      }
      try appendKept(level: .resource, tag.offset..<cursor.offset, piece, threshold, annotation, &counts)
    }
  }

  /// Appends the message field at `field`: a `ResourceSpans` or a `ScopeSpans`, with what is in it rewritten.
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
      case (.resource, Field.scopeSpans):
        try appendKept(level: .scope, inner, piece, threshold, annotation, &counts)
      case (.scope, Field.spans):
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

  /// Appends the span field at `field`, its tracestate set and attributes added.
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
      let tag = try cursor.tag(in: piece)
      if tag.field == Field.traceState {
        state = try cursor.content(of: tag, in: piece)
        place = tag.offset..<cursor.offset
      } else if tag.field == Field.parentSpanID {
        let parent = try cursor.content(of: tag, in: piece)
        isRoot = parent.count != 8 || piece.bigEndian64(at: Int(parent.offset)) == 0
      } else {
        try cursor.skip(tag, in: piece)
      }
    }
    let sampling = TraceStateSampling(state, of: piece)
    let combined = max(threshold, sampling.threshold ?? .always)
    let members = TraceStateMembers(state, of: piece)
    counts.spans += 1
    let isLeftAlone = sampling.isMalformed || !members.hasRoom
    if isLeftAlone { counts.tracestatesLeftAlone += 1 }
    let isStateRight = isLeftAlone || sampling.threshold == combined
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
      // A tracestate that is there is replaced where it stands, so that an encoder's field order is kept.
      let cut = place ?? content.indices.upperBound..<content.indices.upperBound
      append(piece.extracting(content.indices.lowerBound..<cut.lowerBound))
      message(Field.traceState) { writer in
        writer.appendTraceState(members, of: piece, threshold: combined)
      }
      append(piece.extracting(cut.upperBound..<content.indices.upperBound))
    }
    if isAnnotated { appendBytes { $0 += annotation.fields } }
    closeMessage(contentStart: start)
  }

  /// Appends a tracestate whose first member is `ot` with `th` set; the rest of `ot`, then the other members,
  /// follow.
  private mutating func appendTraceState(
    _ members: TraceStateMembers, of bytes: RawSpan, threshold: SamplingThreshold
  ) {
    append("ot=th:")
    append(threshold)
    if var scanner = members.openTelemetry {
      repeat {
        let field = scanner.next(separator: 0x3b, in: bytes)  // ;
        guard field.count > 0, !bytes.hasPrefix("th:", in: field) else { continue }
        append(";")
        append(bytes.extracting(field.indices))
      } while !scanner.isAtEnd
    }
    for part in [members.before, members.after] where part.count > 0 {
      append(",")
      append(bytes.extracting(part.indices))
    }
  }
}

/// A tracestate taken apart at its `ot` member.
private struct TraceStateMembers {
  /// The value of the `ot` member, if there is one.
  var openTelemetry: TextScanner?
  /// The members before it (all of them where there is none), without the comma between.
  var before = ByteRange(offset: 0, count: 0)
  /// The members after it, without the comma between.
  var after = ByteRange(offset: 0, count: 0)
  /// How many list members there are.
  var count = 0

  /// Whether `th` can be set: the list holds 32 members at most, and the value of `ot` 256 characters.
  var hasRoom: Bool {
    guard let openTelemetry else { return count < 32 }
    return openTelemetry.count + TraceStateMembers.thresholdTextMax <= 256
  }

  /// The length of "th:", 14 digits and ";".
  private static let thresholdTextMax = 18

  init(_ range: ByteRange, of bytes: RawSpan) {
    guard range.count > 0 else { return }
    before = range
    var scanner = TextScanner(range)
    repeat {
      let member = scanner.next(separator: 0x2c, in: bytes)  // ,
      count += 1
      let text = bytes.trimmed(member)
      guard openTelemetry == nil, bytes.hasPrefix("ot=", in: text) else { continue }
      openTelemetry = TextScanner(ByteRange(offset: text.offset + 3, count: text.count - 3))
      let start = Int(member.offset)
      before = ByteRange(from: Int(range.offset), to: max(Int(range.offset), start - 1))
      after = ByteRange(
        from: min(member.indices.upperBound + 1, range.indices.upperBound), to: range.indices.upperBound)
    } while !scanner.isAtEnd
  }
}

/// Cuts a run of text at a separator.
private struct TextScanner {
  private var offset: Int
  private let end: Int
  private(set) var isAtEnd = false

  /// How many characters are left.
  var count: Int { end - offset }

  init(_ range: ByteRange) {
    offset = range.indices.lowerBound
    end = range.indices.upperBound
  }

  /// The text up to the next separator, or to the end.
  mutating func next(separator: UInt8, in bytes: RawSpan) -> ByteRange {
    let start = offset
    while offset < end, bytes.byte(at: offset) != separator { offset += 1 }
    let part = ByteRange(from: start, to: offset)
    if offset < end { offset += 1 } else { isAtEnd = true }
    return part
  }
}

extension RawSpan {
  fileprivate func hasPrefix(_ text: StaticString, in range: ByteRange) -> Bool {
    let length = text.utf8CodeUnitCount
    return Int(range.count) >= length
      && spells(text, in: ByteRange(offset: range.offset, count: UInt32(truncatingIfNeeded: length)))
  }

  /// The run without the spaces and tabs around it.
  fileprivate func trimmed(_ range: ByteRange) -> ByteRange {
    var (start, end) = (range.indices.lowerBound, range.indices.upperBound)
    while start < end, byte(at: start) == 0x20 || byte(at: start) == 0x09 { start += 1 }
    while end > start, byte(at: end - 1) == 0x20 || byte(at: end - 1) == 0x09 { end -= 1 }
    return ByteRange(from: start, to: end)
  }

  /// The hexadecimal number behind the first `skipping` characters, as a left-aligned 56-bit value; nil if
  /// there are other characters than lower-case digits, or not so many of them.
  fileprivate func hexadecimal(_ range: ByteRange, skipping: Int, digits: ClosedRange<Int>) -> UInt64? {
    let count = Int(range.count) - skipping
    guard digits.contains(count) else { return nil }
    var value: UInt64 = 0
    for index in 0..<count {
      let character = byte(at: Int(range.offset) + skipping + index)
      guard character < 0x41 || character > 0x46, let digit = Hexadecimal.value(of: character) else {
        return nil
      }
      value = value << 4 | UInt64(digit)
    }
    return value << UInt64(4 * (14 - count))
  }
}

extension WireWriter {
  mutating func append(_ text: StaticString) {
    // Sound: a static string has `utf8CodeUnitCount` bytes behind `utf8Start` for the whole run of the
    // program.
    unsafe append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount).bytes)
  }

  fileprivate mutating func append(_ threshold: SamplingThreshold) {
    appendBytes { bytes in threshold.appendHexadecimal(to: &bytes) }
  }
}
