// Makes records anonymous, so that a recording can be shared: what people wrote becomes keyed hashes of the
// same length.

public import OTLP

/// Replaces the texts, attribute values and ids of a record by keyed hashes.
///
/// Everything is replaced in place: no length changes, so a record has the same fields of the same sizes in
/// the same order. Equal texts have equal hashes, wherever they are. Times, kinds, statuses, flags, counts
/// and booleans stay, and so does `th` in a tracestate.
public struct Anonymiser: Sendable {
  /// What a name is of.
  public enum Name: String, Sendable, CaseIterable {
    /// The values of `service.name`.
    case services
    /// Instrumentation scopes.
    case scopes
    /// Spans.
    case spans
    /// Events of spans.
    case events
    /// Attributes, and types of entities.
    case attributes
  }

  private let hash: SipHash
  /// Extends a hash to more bytes.
  private let stream: SipHash
  private let keptNames: Set<Name>

  /// - Parameters:
  ///   - key: two random numbers: who knows them can test whether a text was hashed.
  ///   - keptNames: names that stay.
  public init(key: (UInt64, UInt64), keptNames: Set<Name> = []) {
    hash = SipHash(key: key)
    stream = SipHash(key: hash.hash(0, 0, 0))
    self.keptNames = keptNames
  }

  /// Reads a key as text: 32 hexadecimal digits, with blanks around them. Nil if it is anything else.
  public static func key(from text: [UInt8]) -> (UInt64, UInt64)? {
    var digits = text.drop { $0.isBlank }
    while digits.last?.isBlank == true { digits.removeLast() }
    guard digits.count == 32, let key = Array(digits).withRawBytes({ TraceID(key: $0) }) else { return nil }
    return (key.high, key.low)
  }

  /// Makes a record anonymous in place.
  ///
  /// - Throws: if the record is malformed. Then it is unchanged, and not anonymous.
  public func anonymise(_ record: inout [UInt8]) throws(MalformedInput) {
    var output = record
    try record.withRawBytes { (bytes) throws(MalformedInput) in
      guard bytes.byteCount <= Int(Int32.max) else { throw MalformedInput(.truncated, at: 0) }
      let whole = ByteRange(offset: 0, count: UInt32(truncatingIfNeeded: bytes.byteCount))
      try rewrite(whole, as: .tracesData, depth: 0, of: bytes, in: &output)
    }
    record = output
  }

  /// Maps and arrays may be nested this deep; protobuf's own readers allow 100 levels in all.
  private static let depthMax = 100

  // MARK: Messages

  private func rewrite(
    _ range: ByteRange, as form: MessageForm, depth: Int, of bytes: RawSpan, in output: inout [UInt8]
  ) throws(MalformedInput) {
    guard depth <= Anonymiser.depthMax else { throw MalformedInput(.nestingTooDeep, at: Int(range.offset)) }
    // A service's name is the value of an attribute, and protobuf's fields may come in any order.
    let isService = form == .attribute ? try isServiceName(range, of: bytes) : false
    var cursor = WireCursor(range)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      let start = cursor.offset
      guard tag.type == .lengthDelimited else {
        try cursor.skip(tag, in: bytes)
        replaceNumber(tag, form, start..<cursor.offset, of: bytes, in: &output)
        continue
      }
      let content = try cursor.content(of: tag, in: bytes)
      switch form.content(of: tag.field) {
      case .message(let inner):
        let inner = isService && inner == .value ? .serviceName : inner
        try rewrite(content, as: inner, depth: depth + 1, of: bytes, in: &output)
      case .name(let name):
        if !keptNames.contains(name) { replaceText(content, of: bytes, in: &output) }
      case .key:
        if !keptNames.contains(.attributes), !isSpelled("service.name", content.indices, of: bytes) {
          replaceText(content, of: bytes, in: &output)
        }
      case .text: replaceText(content, of: bytes, in: &output)
      case .identifier: replaceIdentifier(content, of: bytes, in: &output)
      case .traceState: replaceTraceState(content, of: bytes, in: &output)
      case .other: replaceBytes(content.indices, of: bytes, in: &output)
      }
    }
  }

  private func isServiceName(_ range: ByteRange, of bytes: RawSpan) throws(MalformedInput) -> Bool {
    var cursor = WireCursor(range)
    var isService = false
    while let key = try cursor.next(KeyValueField.key, in: bytes) {
      // The last one counts.
      isService = isSpelled("service.name", key.indices, of: bytes)
    }
    return isService
  }

  // MARK: Values

  private func replaceText(_ range: ByteRange, of bytes: RawSpan, in output: inout [UInt8]) {
    fill(range.indices, of: bytes, in: &output) { Anonymiser.letters[Int($0 & 63)] }
  }

  private func replaceBytes(_ range: Range<Int>, of bytes: RawSpan, in output: inout [UInt8]) {
    fill(range, of: bytes, in: &output) { $0 }
  }

  /// Zeros stay: they are no id.
  private func replaceIdentifier(_ range: ByteRange, of bytes: RawSpan, in output: inout [UInt8]) {
    guard range.indices.contains(where: { bytes.byte(at: $0) != 0 }) else { return }
    replaceBytes(range.indices, of: bytes, in: &output)
  }

  /// Numbers that say what a span is stay, if they are of a size that says no more than that; attributes'
  /// numbers, and those of unknown fields, don't.
  private func replaceNumber(
    _ tag: WireTag, _ form: MessageForm, _ range: Range<Int>, of bytes: RawSpan, in output: inout [UInt8]
  ) {
    let kept = form.number(in: tag.field)
    switch (kept, tag.type) {
    case (.time?, .fixed64): return
    case (.flags?, .fixed32):
      // The trace flags of W3C, and two more bits of OTLP: the rest is reserved.
      output[range.lowerBound + 1] &= 0x03
      for place in range.dropFirst(2) { output[place] = 0 }
    case (let kept?, .varint) where Anonymiser.varint(range, of: bytes) <= kept.varintMax: return
    case (.boolean?, .varint):
      // As many bytes as before, and still true.
      for place in range.dropLast() { output[place] = 0x80 }
      output[range.lowerBound] = 0x81
      output[range.upperBound - 1] = 0
    case (_, .varint): replaceVarint(range, of: bytes, in: &output)
    case (_, .fixed64) where form == .value || form == .serviceName:
      // A number from 1 up to 2: no infinity, and not "not a number".
      replaceBytes(range, of: bytes, in: &output)
      output[range.upperBound - 1] = 0x3f
      output[range.upperBound - 2] |= 0xf0
    default: replaceBytes(range, of: bytes, in: &output)
    }
  }

  /// As many bytes as before: all but the last have their top bit set, and the last is not zero. The tenth
  /// holds one bit.
  private func replaceVarint(_ range: Range<Int>, of bytes: RawSpan, in output: inout [UInt8]) {
    replaceBytes(range, of: bytes, in: &output)
    for place in range.dropLast() { output[place] |= 0x80 }
    let last = range.upperBound - 1
    output[last] &= 0x7f
    if range.count > 1, output[last] == 0 { output[last] = 1 }
    if range.count == 10 { output[last] = 1 }
  }

  /// The value of a varint, which has ten bytes at most.
  private static func varint(_ range: Range<Int>, of bytes: RawSpan) -> UInt64 {
    range.reversed().reduce(0) { $0 << 7 | UInt64(bytes.byte(at: $1) & 0x7f) }
  }

  /// Fills a range with the hash of what it has.
  private func fill(
    _ range: Range<Int>, of bytes: RawSpan, in output: inout [UInt8], _ character: (UInt8) -> UInt8
  ) {
    guard !range.isEmpty else { return }
    let first = hash.hash(bytes.extracting(range))
    var words = first
    for (number, place) in range.enumerated() {
      let inBlock = number % 16
      if inBlock == 0, number > 0 {
        words = stream.hash(first.0, first.1, UInt64(number / 16))
      }
      let word = inBlock < 8 ? words.0 : words.1
      output[place] = character(UInt8(truncatingIfNeeded: word >> UInt64(8 * (inBlock % 8))))
    }
  }

  private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
  private static let hexadecimal = Array("0123456789abcdef".utf8)

  // MARK: Tracestates

  /// Members, their order and OpenTelemetry's threshold stay. A malformed tracestate stays malformed: as a
  /// whole it becomes one word.
  private func replaceTraceState(_ range: ByteRange, of bytes: RawSpan, in output: inout [UInt8]) {
    let list = TraceStateList(range, of: bytes)
    guard list.isWellFormed else { return replaceText(range, of: bytes, in: &output) }
    let isReadable = !TraceStateSampling(range, of: bytes).isMalformed
    for (key, value) in list.ranges {
      if isReadable, isSpelled("ot", key.indices, of: bytes) {
        replaceSampling(value, of: bytes, in: &output)
        continue
      }
      if !isSpelled("ot", key.indices, of: bytes) { replaceKey(key.indices, of: bytes, in: &output) }
      replaceText(value, of: bytes, in: &output)
    }
  }

  /// Replaces what `ot` has besides the threshold. Explicit randomness becomes other randomness.
  private func replaceSampling(_ range: ByteRange, of bytes: RawSpan, in output: inout [UInt8]) {
    var start = range.indices.lowerBound
    while start < range.indices.upperBound {
      let end = range.indices.first { $0 >= start && bytes.byte(at: $0) == 0x3b } ?? range.indices.upperBound
      let colon = (start..<end).first { bytes.byte(at: $0) == 0x3a } ?? end
      let value = min(colon + 1, end)..<end
      if isSpelled("rv", start..<colon, of: bytes) {
        fill(value, of: bytes, in: &output) { Anonymiser.hexadecimal[Int($0 & 15)] }
      } else if !isSpelled("th", start..<colon, of: bytes) {
        replaceKey(start..<colon, of: bytes, in: &output)
        fill(value, of: bytes, in: &output) { Anonymiser.letters[Int($0 & 63)] }
      }
      start = end + 1
    }
  }

  /// A key's letters. None becomes one that means something.
  private func replaceKey(_ range: Range<Int>, of bytes: RawSpan, in output: inout [UInt8]) {
    fill(range, of: bytes, in: &output) { 0x61 + $0 % 26 }
    guard range.count == 2 else { return }
    let key = String(decoding: output[range], as: UTF8.self)
    if ["ot", "th", "rv"].contains(key) { output[range.upperBound - 1] = 0x7a }
  }

  private func isSpelled(_ text: String, _ range: Range<Int>, of bytes: RawSpan) -> Bool {
    range.count == text.utf8.count && zip(range, text.utf8).allSatisfy { bytes.byte(at: $0) == $1 }
  }
}

extension UInt8 {
  fileprivate var isBlank: Bool { self == 0x20 || (0x09...0x0d).contains(self) }
}

/// A message of OTLP, and what each of its fields holds.
private enum MessageForm: Equatable {
  case tracesData, resourceSpans, resource, entity, scopeSpans, scope, span, event, link, status
  case attribute, value, serviceName, array, map

  enum Content: Equatable {
    case message(MessageForm)
    /// A name of something, other than an attribute.
    case name(Anonymiser.Name)
    /// The name of an attribute.
    case key
    /// Any other text.
    case text
    case identifier
    case traceState
    /// Bytes, or a field that is not known.
    case other
  }

  /// What a length-delimited field holds.
  func content(of field: UInt32) -> Content {
    switch (self, field) {
    case (.tracesData, TracesDataField.resourceSpans): .message(.resourceSpans)
    case (.resourceSpans, ResourceSpansField.resource): .message(.resource)
    case (.resourceSpans, ResourceSpansField.scopeSpans), (.resourceSpans, ResourceSpansField.librarySpans):
      .message(.scopeSpans)
    case (.resource, ResourceField.attributes): .message(.attribute)
    case (.resource, ResourceField.entityRefs): .message(.entity)
    case (.entity, EntityRefField.type): .name(.attributes)
    case (.entity, EntityRefField.idKeys), (.entity, EntityRefField.descriptionKeys): .key
    case (.scopeSpans, ScopeSpansField.scope): .message(.scope)
    case (.scopeSpans, ScopeSpansField.spans): .message(.span)
    case (.scope, ScopeField.name): .name(.scopes)
    case (.scope, ScopeField.attributes): .message(.attribute)
    case (.span, _): MessageForm.spanContent(of: field)
    case (.event, EventField.name): .name(.events)
    case (.event, EventField.attributes): .message(.attribute)
    case (.link, LinkField.traceID), (.link, LinkField.spanID): .identifier
    case (.link, LinkField.traceState): .traceState
    case (.link, LinkField.attributes): .message(.attribute)
    case (.attribute, KeyValueField.key): .key
    case (.attribute, KeyValueField.value): .message(.value)
    case (.serviceName, AnyValueField.string): .name(.services)
    case (.value, AnyValueField.string): .text
    case (.value, AnyValueField.array), (.serviceName, AnyValueField.array): .message(.array)
    case (.value, AnyValueField.map), (.serviceName, AnyValueField.map): .message(.map)
    case (.array, ArrayValueField.values): .message(.value)
    case (.map, KeyValueListField.values): .message(.attribute)
    // Texts: URLs of schemas, a scope's version, a status's message.
    case (.resourceSpans, ResourceSpansField.schemaURL), (.scopeSpans, ScopeSpansField.schemaURL),
      (.entity, EntityRefField.schemaURL), (.scope, ScopeField.version), (.status, StatusField.message):
      .text
    default: .other
    }
  }

  private static func spanContent(of field: UInt32) -> Content {
    switch field {
    case SpanField.traceID, SpanField.spanID, SpanField.parentSpanID: .identifier
    case SpanField.traceState: .traceState
    case SpanField.name: .name(.spans)
    case SpanField.attributes: .message(.attribute)
    case SpanField.events: .message(.event)
    case SpanField.links: .message(.link)
    case SpanField.status: .message(.status)
    default: .other
    }
  }

  /// A number that stays.
  enum Number: Equatable {
    case boolean, enumeration, count, time, flags

    /// The greatest value that stays as it is: more would be room for something else.
    var varintMax: UInt64 {
      switch self {
      case .boolean: 1
      case .enumeration: 127
      case .count: UInt64(UInt32.max)
      case .time, .flags: 0
      }
    }
  }

  /// What a field's number is, if it stays.
  func number(in field: UInt32) -> Number? {
    switch (self, field) {
    case (.resource, ResourceField.droppedAttributesCount), (.scope, ScopeField.droppedAttributesCount),
      (.span, SpanField.droppedAttributesCount), (.span, SpanField.droppedEventsCount),
      (.span, SpanField.droppedLinksCount), (.event, EventField.droppedAttributesCount),
      (.link, LinkField.droppedAttributesCount):
      .count
    case (.span, SpanField.start), (.span, SpanField.end), (.event, EventField.time): .time
    case (.span, SpanField.flags), (.link, LinkField.flags): .flags
    case (.span, SpanField.kind), (.status, StatusField.code), (.status, StatusField.deprecatedCode):
      .enumeration
    case (.value, AnyValueField.boolean), (.serviceName, AnyValueField.boolean): .boolean
    default: nil
    }
  }
}
