// The scanner: walks a record of OTLP traces and notes, per span, what the sampler needs.
//
// It reads tags and lengths and steps over everything else, so that attributes, events and links cost one
// addition each. Fields may come in any order: the Collector's own encoder writes a resource after its spans.
// So the fields of a `ResourceSpans` are walked first (a length to step over for each scope), then its
// scopes.

/// The spans of one record, and where everything lies in it. Reused from record to record: it keeps its
/// storage.
public struct ScannedRecord: Sendable {
  /// The record's spans, in the order of its bytes.
  public internal(set) var spans = ReusedList<SpanView>(capacity: 64)
  /// The record's resources with spans, in the order of its bytes. One without spans takes two bytes of a
  /// record: it must take no more of memory.
  public internal(set) var resources = ReusedList<ResourceView>(capacity: 8)
  var scopes = ReusedList<ScopeView>(capacity: 8)
  /// Runs of bytes that are neither a span nor the way to one: a resource, a scope, a schema URL, unknown
  /// fields.
  var extras = ReusedList<ByteRange>(capacity: 32)
  /// Which of `extras` stand at the top level.
  var topLevelExtras = 0..<0
  /// Spans that can't be used, by reason: the others are taken without them.
  public internal(set) var rejected: [RejectedSpans] = []
  var rejectedRuns = ReusedList<RejectedRun>(capacity: 0)
  /// Whether spans stand in the field of before OTLP 0.15 (`instrumentation_library_spans`).
  private var hasLibrarySpans = false
  /// Scratch: the scope messages of the resource that is being read.
  private var scopeContents = ReusedList<ByteRange>(capacity: 8)

  /// Makes an empty record with room for a usual one.
  public init() {}

  /// Bytes of memory in use.
  public var byteCount: Int {
    spans.byteCount + resources.byteCount + scopes.byteCount + extras.byteCount + scopeContents.byteCount
      + rejectedRuns.byteCount
  }

  /// Whether the record's bytes are what its spans are to be handed on as: all of them can be used, and none
  /// stands in a field that readers of today do not know. If not, they are written with
  /// `WireWriter.appendPiece`.
  public var isWhole: Bool { rejected.isEmpty && !hasLibrarySpans }

  /// Reads `TracesData` or `ExportTraceServiceRequest` (they are the same on the wire) and replaces what was
  /// here.
  ///
  /// Everything on the way to the spans is checked, and each span's own fields; what is stepped over is not,
  /// beyond that its length lies inside its parent.
  ///
  /// Spans that can't be used (an id is missing or has another length, a field has another wire type than
  /// its own) are in `rejected`, as long as there are others.
  ///
  /// Spans in `instrumentation_library_spans`, the field of before OTLP 0.15, are read as those in
  /// `scope_spans`, whose form it has. The Collector reads it only where `scope_spans` is empty; here none is
  /// passed over.
  ///
  /// - Throws: `MalformedInput` with the offset of the first byte that can't be accepted. What is here then
  ///   is of no use, but for `rejected`: if it is not empty, nothing but these spans was wrong.
  ///
  /// Schema: <https://github.com/open-telemetry/opentelemetry-proto>, `trace/v1/trace.proto`.
  public mutating func scan(_ bytes: RawSpan) throws(MalformedInput) {
    spans.removeAll()
    resources.removeAll()
    scopes.removeAll()
    extras.removeAll()
    if !rejected.isEmpty { rejected.removeAll() }
    rejectedRuns.removeAll()
    hasLibrarySpans = false
    guard bytes.byteCount > 0 else { throw MalformedInput(.empty, at: 0) }
    guard bytes.byteCount <= Int(Int32.max) else { throw MalformedInput(.recordTooLarge, at: 0) }

    do throws(MalformedInput) {
      try scanFields(bytes)
    } catch {
      rejected.removeAll()
      throw error
    }
    guard !spans.isEmpty else { throw rejected.first?.error ?? MalformedInput(.noSpans, at: 0) }
  }

  private mutating func scanFields(_ bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(all: bytes)
    while !cursor.isAtEnd {
      if let content = cursor.usualContent(of: Field.resourceSpansTag, in: bytes) {
        try scanResourceSpans(content, in: bytes)
        continue
      }
      let tag = try cursor.tag(in: bytes)
      if tag.field == Field.resourceSpans {
        let content = try cursor.content(of: tag, in: bytes)
        try scanResourceSpans(content, in: bytes)
      } else {
        try cursor.skip(tag, in: bytes)
      }
    }
    if !spans.isEmpty || !rejected.isEmpty { try collectTopLevelExtras(in: bytes) }
  }

  /// The fields of the `ResourceSpans` that `span` is in, but for its scope spans: the resource among them.
  /// In runs of whole fields, in the order of the bytes.
  public func resourceFields(of span: SpanView) -> ArraySlice<ByteRange> {
    extras.slice(resources[Int(span.resource)].extras)
  }

  /// The fields of the `ScopeSpans` that `span` is in, but for its spans: the scope among them. In runs of
  /// whole fields, in the order of the bytes.
  public func scopeFields(of span: SpanView) -> ArraySlice<ByteRange> {
    extras.slice(scopes[Int(span.scope)].extras)
  }

  /// Unknown fields beside the resource spans are so rare that they get a walk of their own, at the end, so
  /// that each resource's and scope's extras stay in one run.
  private mutating func collectTopLevelExtras(in bytes: RawSpan) throws(MalformedInput) {
    let first = extras.count
    var cursor = WireCursor(all: bytes)
    while !cursor.isAtEnd {
      if cursor.usualContent(of: Field.resourceSpansTag, in: bytes) != nil { continue }
      let tag = try cursor.tag(in: bytes)
      try cursor.skip(tag, in: bytes)
      if tag.field != Field.resourceSpans { noteExtra(from: tag.offset, to: cursor.offset, first: first) }
    }
    topLevelExtras = first..<extras.count
  }

  private mutating func scanResourceSpans(_ content: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    scopeContents.removeAll()
    let firstExtra = extras.count
    var service = ByteRange(offset: 0, count: 0)
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case Field.scopeSpans:
        scopeContents.append(try cursor.content(of: tag, in: bytes))
        continue
      case Field.librarySpans:
        hasLibrarySpans = true
        scopeContents.append(try cursor.content(of: tag, in: bytes))
        continue
      case Field.resource:
        let resource = try cursor.content(of: tag, in: bytes)
        if let name = try serviceName(in: resource, of: bytes) { service = name }
      default:
        try cursor.skip(tag, in: bytes)
      }
      noteExtra(from: tag.offset, to: cursor.offset, first: firstExtra)
    }
    let (firstSpan, firstRun) = (spans.count, rejectedRuns.count)
    resources.append(ResourceView(serviceName: service, extras: firstExtra..<extras.count))
    for index in scopeContents.indices {
      try scanScopeSpans(scopeContents[index], in: bytes)
    }
    if spans.count == firstSpan, rejectedRuns.count == firstRun {
      resources.truncate(to: resources.count - 1)
      extras.truncate(to: firstExtra)
    }
  }

  private mutating func scanScopeSpans(_ content: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    let (firstExtra, firstSpan, firstRun) = (extras.count, spans.count, rejectedRuns.count)
    let scope = UInt32(truncatingIfNeeded: scopes.count)
    let resource = UInt32(truncatingIfNeeded: resources.count - 1)
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let start = cursor.offset
      var span = SpanView()
      if let content = cursor.usualContent(of: Field.spansTag, in: bytes) {
        span.content = content
      } else {
        let tag = try cursor.tag(in: bytes)
        guard tag.field == Field.spans else {
          try cursor.skip(tag, in: bytes)
          noteExtra(from: start, to: cursor.offset, first: firstExtra)
          continue
        }
        span.content = try cursor.content(of: tag, in: bytes)
      }
      span.field = ByteRange(from: start, to: cursor.offset)
      span.scope = scope
      span.resource = resource
      do throws(MalformedInput) {
        try span.read(bytes)
      } catch {
        try reject(span, error, in: bytes)
        continue
      }
      spans.append(span)
    }
    if spans.count == firstSpan, rejectedRuns.count == firstRun {
      extras.truncate(to: firstExtra)
    } else {
      scopes.append(ScopeView(extras: firstExtra..<extras.count))
    }
  }

  /// Notes a run of bytes to be kept with every piece; runs that touch become one.
  private mutating func noteExtra(from start: Int, to end: Int, first: Int) {
    if extras.count > first, extras[extras.count - 1].indices.upperBound == start {
      extras[extras.count - 1].count += UInt32(truncatingIfNeeded: end - start)
    } else {
      extras.append(ByteRange(from: start, to: end))
    }
  }
}

extension ByteRange {
  /// The run from `start` up to, but not including, `end`.
  init(from start: Int, to end: Int) {
    self.init(offset: UInt32(truncatingIfNeeded: start), count: UInt32(truncatingIfNeeded: end - start))
  }
}

/// Field numbers of `trace.proto`, `resource.proto` and `common.proto`, and the tags of messages that come
/// often.
enum Field {
  static let resourceSpans: UInt32 = 1
  static let resourceSpansTag = UInt8(resourceSpans << 3 | 2)
  static let resource: UInt32 = 1
  static let scopeSpans: UInt32 = 2
  /// `instrumentation_library_spans`, the name of `scope_spans` before OTLP 0.15. Both have the same form.
  static let librarySpans: UInt32 = 1000
  static let spans: UInt32 = 2
  static let spansTag = UInt8(spans << 3 | 2)
  static let attributes: UInt32 = 1
  static let attributesTag = UInt8(attributes << 3 | 2)
  static let key: UInt32 = 1
  static let value: UInt32 = 2
  static let stringValue: UInt32 = 1
  static let boolValue: UInt32 = 2
  static let intValue: UInt32 = 3
  static let doubleValue: UInt32 = 4
  static let arrayValue: UInt32 = 5
  static let arrayValues: UInt32 = 1

  static let traceID: UInt32 = 1
  static let spanID: UInt32 = 2
  static let traceState: UInt32 = 3
  static let parentSpanID: UInt32 = 4
  static let name: UInt32 = 5
  static let kind: UInt32 = 6
  static let start: UInt32 = 7
  static let end: UInt32 = 8
  static let spanAttributes: UInt32 = 9
  static let links: UInt32 = 13
  static let status: UInt32 = 15
  static let flags: UInt32 = 16
  static let statusCode: UInt32 = 3
  /// `deprecated_code`, the status code of before OTLP 0.6.
  static let deprecatedStatusCode: UInt32 = 1
}

extension SpanView {
  /// The tag of a span's attributes: field 9, length-delimited.
  private static let attributesTag = UInt8(Field.spanAttributes << 3 | 2)

  /// Reads the span's own fields from `content`. Of a field that comes twice, the last one counts, as in
  /// protobuf.
  @inline(__always)
  mutating func read(_ bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(content)
    readUsualHead(&cursor, bytes)
    while true {
      if readUsual(&cursor, bytes) { continue }
      if cursor.isAtEnd { break }
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case Field.traceID:
        let range = try cursor.content(of: tag, in: bytes)
        guard range.count == 16 else { throw MalformedInput(.identifierLength, at: tag.offset) }
        let offset = Int(range.offset)
        traceID = TraceID(high: bytes.bigEndian64(at: offset), low: bytes.bigEndian64(at: offset + 8))
      case Field.spanID:
        spanID = try identifier(tag, &cursor, bytes)
      case Field.parentSpanID:
        parentID = try identifier(tag, &cursor, bytes)
      case Field.traceState:
        traceState = try cursor.content(of: tag, in: bytes)
      case Field.name:
        name = try cursor.content(of: tag, in: bytes)
      case Field.kind:
        kind = UInt8(clamping: try cursor.varint(of: tag, in: bytes))
      case Field.start:
        start = try cursor.fixed64(of: tag, in: bytes)
      case Field.end:
        end = try cursor.fixed64(of: tag, in: bytes)
      case Field.status:
        let message = try cursor.content(of: tag, in: bytes)
        status = try statusCode(in: message, of: bytes)
      case Field.flags:
        flags = try cursor.fixed32(of: tag, in: bytes)
      case Field.links:
        hasLinks = true
        try cursor.skip(tag, in: bytes)
      default:
        try cursor.skip(tag, in: bytes)
      }
    }
    if traceID.isZero || spanID == 0 { throw MalformedInput(.identifierMissing, at: Int(content.offset)) }
  }

  /// Reads what encoders write first, in the order of the fields' numbers and in the form that they give it,
  /// as far as it is so: ids, parent, name, kind and times, with one check for each run of fixed length.
  @inline(__always)
  private mutating func readUsualHead(_ cursor: inout WireCursor, _ bytes: RawSpan) {
    guard cursor.end <= bytes.byteCount, cursor.left >= 40 else { return }
    var start = cursor.offset
    // Sound, here and below: of 40 bytes that are left before the span's end, which lies in the record, two
    // ids take 28, a parent ten and the name's tag and length two.
    let (traceTag, spanTag) = unsafe (bytes.uncheckedPair(at: start), bytes.uncheckedPair(at: start &+ 18))
    guard traceTag == UInt16(Field.traceID << 3 | 2) | 16 << 8,
      spanTag == UInt16(Field.spanID << 3 | 2) | 8 << 8
    else { return }
    let (high, low) = unsafe (bytes.uncheckedWord(at: start &+ 2), bytes.uncheckedWord(at: start &+ 10))
    traceID = TraceID(high: high.byteSwapped, low: low.byteSwapped)
    spanID = unsafe bytes.uncheckedWord(at: start &+ 20).byteSwapped
    start &+= 28
    if unsafe bytes.uncheckedPair(at: start) == UInt16(Field.parentSpanID << 3 | 2) | 8 << 8 {
      parentID = unsafe bytes.uncheckedWord(at: start &+ 2).byteSwapped
      start &+= 10
    }
    cursor.step(start &- cursor.offset)
    guard unsafe bytes.uncheckedByte(at: start) == UInt8(Field.name << 3 | 2) else { return }
    let count = Int(unsafe bytes.uncheckedByte(at: start &+ 1))
    // Two bytes of the kind and nine of each time.
    guard count < 0x80, cursor.left >= count &+ 22 else { return }
    name = ByteRange(offset: UInt32(truncatingIfNeeded: start &+ 2), count: UInt32(truncatingIfNeeded: count))
    start &+= 2 &+ count
    cursor.step(2 &+ count)
    // Sound, here and below: 20 bytes are left.
    let kind = unsafe bytes.uncheckedByte(at: start &+ 1)
    guard unsafe bytes.uncheckedByte(at: start) == UInt8(Field.kind << 3), kind < 0x80,
      unsafe bytes.uncheckedByte(at: start &+ 2) == UInt8(Field.start << 3 | 1),
      unsafe bytes.uncheckedByte(at: start &+ 11) == UInt8(Field.end << 3 | 1)
    else { return }
    self.kind = kind
    self.start = unsafe bytes.uncheckedWord(at: start &+ 3)
    end = unsafe bytes.uncheckedWord(at: start &+ 12)
    cursor.step(20)
  }

  /// Reads the next field if it has the form that encoders give it: a tag of one byte, a length of one byte,
  /// ids of the right length. Everything else is left to the reader of all forms, errors included.
  @inline(__always)
  private mutating func readUsual(_ cursor: inout WireCursor, _ bytes: RawSpan) -> Bool {
    // The longest of the forms below whose length is fixed. So one check serves them all.
    guard cursor.left >= 18, cursor.end <= bytes.byteCount else { return readUsualEnd(&cursor, bytes) }
    let start = cursor.offset
    // Sound, here and below: 18 bytes are left before the span's end, which lies in the record.
    let length = unsafe bytes.uncheckedByte(at: start &+ 1)
    switch unsafe bytes.uncheckedByte(at: start) {
    case SpanView.attributesTag:
      // Most of a span's fields, and nothing that is read here.
      while cursor.usualContent(of: SpanView.attributesTag, in: bytes) != nil {}
      return cursor.offset != start
    case UInt8(truncatingIfNeeded: Field.flags << 3 | 5) | 0x80:
      // The one field of these whose number takes a second byte.
      guard length == UInt8(Field.flags >> 4) else { return false }
      flags = UInt32(truncatingIfNeeded: unsafe bytes.uncheckedWord(at: start &+ 2))
      cursor.step(6)
    case UInt8(Field.traceID << 3 | 2):
      guard length == 16 else { return false }
      let (high, low) = unsafe (bytes.uncheckedWord(at: start &+ 2), bytes.uncheckedWord(at: start &+ 10))
      traceID = TraceID(high: high.byteSwapped, low: low.byteSwapped)
      cursor.step(18)
    case UInt8(Field.spanID << 3 | 2):
      guard length == 8 else { return false }
      spanID = unsafe bytes.uncheckedWord(at: start &+ 2).byteSwapped
      cursor.step(10)
    case UInt8(Field.parentSpanID << 3 | 2):
      guard length == 8 else { return false }
      parentID = unsafe bytes.uncheckedWord(at: start &+ 2).byteSwapped
      cursor.step(10)
    case UInt8(Field.name << 3 | 2):
      guard length < 0x80, cursor.left >= 2 &+ Int(length) else { return false }
      name = ByteRange(offset: UInt32(truncatingIfNeeded: start &+ 2), count: UInt32(length))
      cursor.step(2 &+ Int(length))
    case UInt8(Field.kind << 3 | 0):
      guard length < 0x80 else { return false }
      kind = length
      cursor.step(2)
    case UInt8(Field.start << 3 | 1):
      self.start = unsafe bytes.uncheckedWord(at: start &+ 1)
      cursor.step(9)
    case UInt8(Field.end << 3 | 1):
      readUsualTail(&cursor, bytes)
    default:
      return false
    }
    return true
  }

  /// Reads the end time, and what stands behind it where the numbers of fields descend: the other time, kind,
  /// name, parent and ids, as far as it is so.
  ///
  /// - Parameter cursor: stands at the end time, of which the caller has seen the tag and that it is all
  ///   there.
  @inline(__always)
  private mutating func readUsualTail(_ cursor: inout WireCursor, _ bytes: RawSpan) {
    var start = cursor.offset
    // Sound: the end time has nine bytes, which the caller has seen.
    end = unsafe bytes.uncheckedWord(at: start &+ 1)
    cursor.step(9)
    // The other time, the kind, tag and length of the name, and two ids behind it.
    guard cursor.left >= 9 &+ 2 &+ 2 &+ 28 else { return }
    // Sound, here and below: so many bytes are left before the span's end, which lies in the record.
    let kind = unsafe bytes.uncheckedByte(at: start &+ 19)
    let count = Int(unsafe bytes.uncheckedByte(at: start &+ 21))
    guard unsafe bytes.uncheckedByte(at: start &+ 9) == UInt8(Field.start << 3 | 1),
      unsafe bytes.uncheckedByte(at: start &+ 18) == UInt8(Field.kind << 3), kind < 0x80,
      unsafe bytes.uncheckedByte(at: start &+ 20) == UInt8(Field.name << 3 | 2), count < 0x80,
      cursor.left >= 9 &+ 2 &+ 2 &+ count &+ 28
    else { return }
    self.start = unsafe bytes.uncheckedWord(at: start &+ 10)
    self.kind = kind
    name = ByteRange(
      offset: UInt32(truncatingIfNeeded: start &+ 22), count: UInt32(truncatingIfNeeded: count))
    cursor.step(13 &+ count)
    start = cursor.offset
    if unsafe bytes.uncheckedPair(at: start) == UInt16(Field.parentSpanID << 3 | 2) | 8 << 8 {
      parentID = unsafe bytes.uncheckedWord(at: start &+ 2).byteSwapped
      cursor.step(10)
      start &+= 10
      guard cursor.left >= 28 else { return }
    }
    let (spanTag, traceTag) = unsafe (bytes.uncheckedPair(at: start), bytes.uncheckedPair(at: start &+ 10))
    guard spanTag == UInt16(Field.spanID << 3 | 2) | 8 << 8,
      traceTag == UInt16(Field.traceID << 3 | 2) | 16 << 8
    else { return }
    spanID = unsafe bytes.uncheckedWord(at: start &+ 2).byteSwapped
    let (high, low) = unsafe (bytes.uncheckedWord(at: start &+ 12), bytes.uncheckedWord(at: start &+ 20))
    traceID = TraceID(high: high.byteSwapped, low: low.byteSwapped)
    cursor.step(28)
  }

  /// Reads what encoders write last, in fewer bytes than `readUsual` wants to have left: a status that says
  /// nothing or has a code alone, and flags.
  @inline(__always)
  private mutating func readUsualEnd(_ cursor: inout WireCursor, _ bytes: RawSpan) -> Bool {
    guard cursor.left >= 2, cursor.end <= bytes.byteCount else { return false }
    let start = cursor.offset
    // Sound, here and below: so many bytes are left before the span's end, which lies in the record.
    switch unsafe bytes.uncheckedPair(at: start) {
    case UInt16(Field.status << 3 | 2):
      status = .unset
      cursor.step(2)
    case UInt16(Field.status << 3 | 2) | 2 << 8:
      guard cursor.left >= 4, unsafe bytes.uncheckedByte(at: start &+ 2) == UInt8(Field.statusCode << 3),
        let code = SpanStatus(rawValue: unsafe bytes.uncheckedByte(at: start &+ 3))
      else { return false }
      status = code
      cursor.step(4)
    case UInt16(Field.flags << 3 & 0x7f | 5 | 0x80) | UInt16(Field.flags >> 4) << 8:
      guard cursor.left >= 6 else { return false }
      flags = unsafe bytes.uncheckedHalf(at: start &+ 2)
      cursor.step(6)
    default:
      return false
    }
    return true
  }

  /// Reads a span id: eight bytes, or none, which is the same as zero.
  @inline(__always)
  private func identifier(
    _ tag: WireTag, _ cursor: inout WireCursor, _ bytes: RawSpan
  ) throws(MalformedInput) -> UInt64 {
    let range = try cursor.content(of: tag, in: bytes)
    if range.count == 8 { return bytes.bigEndian64(at: Int(range.offset)) }
    guard range.count == 0 else { throw MalformedInput(.identifierLength, at: tag.offset) }
    return 0
  }
}

/// Reads the code of a `Status` message.
///
/// Where the code is unset, one of before OTLP 0.6 that is not OK is an error: what receivers were told to do
/// by the schema of that time, and what the Collector's migration did.
private func statusCode(in message: ByteRange, of bytes: RawSpan) throws(MalformedInput) -> SpanStatus {
  var code: UInt64 = 0
  var deprecatedCode: UInt64 = 0
  var cursor = WireCursor(message)
  while !cursor.isAtEnd {
    let tag = try cursor.tag(in: bytes)
    switch tag.field {
    case Field.statusCode: code = try cursor.varint(of: tag, in: bytes)
    case Field.deprecatedStatusCode: deprecatedCode = try cursor.varint(of: tag, in: bytes)
    default: try cursor.skip(tag, in: bytes)
    }
  }
  let status = SpanStatus(code: code)
  return status == .unset && SpanStatus(code: deprecatedCode) != .unset ? .error : status
}

/// Finds `service.name` among a resource's attributes; the first one counts. Nil if there is none, or no
/// string.
private func serviceName(in resource: ByteRange, of bytes: RawSpan) throws(MalformedInput) -> ByteRange? {
  var cursor = WireCursor(resource)
  while !cursor.isAtEnd {
    let attribute: ByteRange
    if let content = cursor.usualContent(of: Field.attributesTag, in: bytes) {
      attribute = content
    } else {
      let tag = try cursor.tag(in: bytes)
      guard tag.field == Field.attributes else {
        try cursor.skip(tag, in: bytes)
        continue
      }
      attribute = try cursor.content(of: tag, in: bytes)
    }
    if let usual = UsualAttribute(attribute, in: bytes) {
      guard bytes.spells("service.name", in: usual.key) else { continue }
      if let name = usual.text(in: bytes) { return name }
    }
    if let name = try stringAttribute("service.name", attribute, of: bytes) { return name }
  }
  return nil
}

/// A `KeyValue` message in which key and value stand in one of the two usual orders, with lengths of one
/// byte, and nothing else does.
private struct UsualAttribute {
  let key: ByteRange
  /// The `AnyValue` message.
  let value: ByteRange

  /// Nil where the message has another form: then the reader of all forms has to look at it.
  @inline(__always)
  init?(_ attribute: ByteRange, in bytes: RawSpan) {
    let (start, count) = (Int(attribute.offset), Int(attribute.count))
    guard count >= 4 else { return nil }
    let first = Int(bytes.byte(at: start + 1))
    guard first < 0x80, first <= count - 4 else { return nil }
    let second = start + 2 + first
    let other = Int(bytes.byte(at: second + 1))
    guard other < 0x80, 4 + first + other == count else { return nil }
    let (keyTag, valueTag) = (UInt8(Field.key << 3 | 2), UInt8(Field.value << 3 | 2))
    let (former, latter) = (
      ByteRange(from: start + 2, to: second), ByteRange(from: second + 2, to: start + count)
    )
    switch (bytes.byte(at: start), bytes.byte(at: second)) {
    case (keyTag, valueTag): (key, value) = (former, latter)
    case (valueTag, keyTag): (key, value) = (latter, former)
    default: return nil
    }
  }

  /// The value's text, if it has nothing but a text in it.
  @inline(__always)
  func text(in bytes: RawSpan) -> ByteRange? {
    let start = Int(value.offset)
    // A value of less than 128 bytes has a text of less.
    guard value.count >= 2, bytes.byte(at: start) == UInt8(Field.stringValue << 3 | 2),
      UInt32(bytes.byte(at: start + 1)) == value.count - 2
    else { return nil }
    return ByteRange(offset: value.offset + 2, count: value.count - 2)
  }
}

/// The string value of the `KeyValue` message `attribute` if its key is `key`, else nil.
private func stringAttribute(
  _ key: StaticString, _ attribute: ByteRange, of bytes: RawSpan
) throws(MalformedInput) -> ByteRange? {
  var isWanted = false
  var value: ByteRange?
  var cursor = WireCursor(attribute)
  while !cursor.isAtEnd {
    let tag = try cursor.tag(in: bytes)
    switch tag.field {
    case Field.key: isWanted = bytes.spells(key, in: try cursor.content(of: tag, in: bytes))
    case Field.value: value = try cursor.content(of: tag, in: bytes)
    default: try cursor.skip(tag, in: bytes)
    }
  }
  guard isWanted, let value else { return nil }
  var text: ByteRange?
  var inner = WireCursor(value)
  while !inner.isAtEnd {
    let tag = try inner.tag(in: bytes)
    if tag.field == Field.stringValue {
      text = try inner.content(of: tag, in: bytes)
    } else {
      try inner.skip(tag, in: bytes)
    }
  }
  return text
}
