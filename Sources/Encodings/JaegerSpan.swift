// Jaeger's spans, from protobuf to OTLP.

import OTLP

/// A time of protobuf's `Timestamp` or `Duration`, in nanoseconds.
private func nanoseconds(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) -> Int64 {
  var cursor = WireCursor(range)
  var seconds: Int64 = 0
  var nanoseconds: Int64 = 0
  while !cursor.isAtEnd {
    let tag = try cursor.tag(in: bytes)
    switch tag.field {
    case TimeField.seconds: seconds = Int64(bitPattern: try cursor.varint(of: tag, in: bytes))
    case TimeField.nanoseconds: nanoseconds = Int64(bitPattern: try cursor.varint(of: tag, in: bytes))
    default: try cursor.skip(tag, in: bytes)
    }
  }
  return SpanTime.sum(SpanTime.product(seconds, 1_000_000_000), nanoseconds)
}

/// Arithmetic on times that come from outside: it stops at the ends.
enum SpanTime {
  static func sum(_ left: Int64, _ right: Int64) -> Int64 {
    let (sum, overflow) = left.addingReportingOverflow(right)
    return overflow ? (right < 0 ? .min : .max) : sum
  }

  static func product(_ left: Int64, _ right: Int64) -> Int64 {
    let (product, overflow) = left.multipliedReportingOverflow(by: right)
    return overflow ? ((left < 0) != (right < 0) ? .min : .max) : product
  }

  /// As OTLP has it: nothing is before 1970.
  static func unix(_ time: Int64) -> UInt64 { UInt64(max(0, time)) }
}

/// Reads one span of Jaeger's protobuf and writes it as OTLP. Reused: it keeps its storage.
struct JaegerSpan {
  private(set) var traceID = TraceID(high: 0, low: 0)
  private(set) var spanID: UInt64 = 0
  private var name = ByteRange(offset: 0, count: 0)
  private var isSampled = false
  private var start: Int64 = 0
  private var duration: Int64 = 0
  /// How many bytes the span was read from.
  private var byteCountRead = 0
  private var process: ByteRange?
  private var references = ReusedList<Reference>()
  private var events = ReusedList<Event>()
  /// The fields of all events.
  private var fields = ReusedList<SpanTag>()
  private var tags = ReusedList<SpanTag>()
  private var special = TagsOfFields()
  /// References that become links, or the parent.
  private var linkCount = 0
  private var resources = JaegerResources()
  private(set) var scope: [UInt8] = []

  private struct Reference {
    var traceID = TraceID(high: 0, low: 0)
    var spanID: UInt64 = 0
    var followsFrom = false

    /// Whether both make the same span a parent that is waited for: such a one is no link.
    func isSameParent(as other: Reference) -> Bool {
      !followsFrom && !other.followsFrom && traceID == other.traceID && spanID == other.spanID
    }
  }

  /// A log.
  private struct Event {
    var time: Int64 = 0
    var name: ByteRange?
    /// Its other fields.
    var fields: Range<Int>
  }

  private static let referenceKind = Array("opentracing.ref_type".utf8)
  private static let childOf = Array("child_of".utf8)
  private static let followsFrom = Array("follows_from".utf8)

  /// The span's resource, as the content of its message.
  var resource: [UInt8] { resources.current }

  // MARK: Reading

  /// Reads the span in `range`. Of a field that comes twice the last one counts.
  ///
  /// - Throws: what is wrong with its wire format; `identifierMissing` at its beginning.
  mutating func read(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    (traceID, spanID, isSampled) = (TraceID(high: 0, low: 0), 0, false)
    (name, process) = (ByteRange(offset: 0, count: 0), nil)
    (start, duration, linkCount) = (0, 0, 0)
    references.removeAll()
    events.removeAll()
    fields.removeAll()
    tags.removeAll()
    special = TagsOfFields()
    byteCountRead = Int(range.count)
    let limit = PartLimit(range)
    var cursor = WireCursor(range)
    while !cursor.isAtEnd {
      let offset = cursor.offset
      try limit.check(tags.count + events.count + references.count + fields.count, at: offset)
      // Most fields are tags.
      if let tag = cursor.usualContent(of: FieldTag.delimited(JaegerSpanField.tags), in: bytes) {
        try readTag(tag, in: bytes)
        continue
      }
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case JaegerSpanField.traceID:
        traceID = try bytes.traceID(cursor.content(of: tag, in: bytes))
      case JaegerSpanField.spanID:
        spanID = try bytes.spanID(cursor.content(of: tag, in: bytes))
      case JaegerSpanField.operationName: name = try cursor.content(of: tag, in: bytes)
      case JaegerSpanField.references:
        let found = try JaegerSpan.reference(cursor.content(of: tag, in: bytes), in: bytes)
        if found.spanID != 0 { linkCount += 1 }
        references.append(found)
      case JaegerSpanField.flags: isSampled = try cursor.varint(of: tag, in: bytes) & 1 != 0
      case JaegerSpanField.startTime: start = try nanoseconds(cursor.content(of: tag, in: bytes), in: bytes)
      case JaegerSpanField.duration: duration = try nanoseconds(cursor.content(of: tag, in: bytes), in: bytes)
      case JaegerSpanField.tags:
        try readTag(cursor.content(of: tag, in: bytes), in: bytes)
      case JaegerSpanField.logs: try readEvent(cursor.content(of: tag, in: bytes), in: bytes, limit)
      case JaegerSpanField.process: process = try cursor.content(of: tag, in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
    guard !traceID.isZero, spanID != 0 else {
      throw MalformedInput(.identifierMissing, at: Int(range.offset))
    }
    // A reference without a trace is one to the span's own.
    for index in references.indices where references[index].traceID.isZero {
      references[index].traceID = traceID
    }
    try resources.read(process ?? ByteRange(offset: 0, count: 0), in: bytes)
    renderScope(in: bytes)
  }

  @inline(__always)
  private mutating func readTag(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    let found = try JaegerSpan.tag(range, in: bytes)
    special.note(found, at: tags.count, in: bytes)
    tags.append(found)
  }

  /// Reads a tag: of the span, an event or a process.
  @inline(__always)
  static func tag(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) -> SpanTag {
    // Most are a key and a text: neither a kind nor anything else is written then.
    var usual = WireCursor(range)
    if let key = usual.usualContent(of: FieldTag.delimited(JaegerTagField.key), in: bytes),
      let text = usual.usualContent(of: FieldTag.delimited(JaegerTagField.text), in: bytes),
      usual.isAtEnd
    {
      return SpanTag(key: key, value: .text(text))
    }
    return try anyTag(range, in: bytes)
  }

  @inline(never)
  private static func anyTag(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) -> SpanTag {
    var found = SpanTag()
    var kind: UInt64 = 0
    let nothing = ByteRange(offset: 0, count: 0)
    var (text, binary) = (nothing, nothing)
    var (boolean, integer, double): (UInt64, UInt64, UInt64) = (0, 0, 0)
    var cursor = WireCursor(range)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case JaegerTagField.key: found.key = try cursor.content(of: tag, in: bytes)
      case JaegerTagField.kind: kind = try cursor.varint(of: tag, in: bytes)
      case JaegerTagField.text: text = try cursor.content(of: tag, in: bytes)
      case JaegerTagField.boolean: boolean = try cursor.varint(of: tag, in: bytes)
      case JaegerTagField.integer: integer = try cursor.varint(of: tag, in: bytes)
      case JaegerTagField.double: double = try cursor.fixed64(of: tag, in: bytes)
      case JaegerTagField.binary: binary = try cursor.content(of: tag, in: bytes)
      default: try cursor.skip(tag, in: bytes)
      }
    }
    switch JaegerTagKind(rawValue: kind) {
    case .text, nil: found.value = .text(text)
    case .boolean: found.value = .boolean(boolean != 0)
    case .integer: found.value = .integer(Int64(bitPattern: integer))
    case .double: found.value = .double(double)
    case .binary: found.value = .binary(binary)
    }
    return found
  }

  /// A log becomes an event: its field `event` is the event's name.
  private mutating func readEvent(
    _ log: ByteRange, in bytes: RawSpan, _ limit: PartLimit
  ) throws(MalformedInput) {
    var event = Event(fields: fields.endIndex..<fields.endIndex)
    var cursor = WireCursor(log)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      try limit.check(fields.count, at: tag.offset)
      switch tag.field {
      case JaegerLogField.timestamp:
        event.time = try nanoseconds(cursor.content(of: tag, in: bytes), in: bytes)
      case JaegerLogField.fields:
        let field = try JaegerSpan.tag(cursor.content(of: tag, in: bytes), in: bytes)
        if event.name == nil, let text = field.text, bytes.spells("event", in: field.key) {
          event.name = text
        } else {
          fields.append(field)
        }
      default: try cursor.skip(tag, in: bytes)
      }
    }
    event.fields = event.fields.lowerBound..<fields.endIndex
    events.append(event)
  }

  private static func reference(_ range: ByteRange, in bytes: RawSpan) throws(MalformedInput) -> Reference {
    var found = Reference()
    var cursor = WireCursor(range)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case JaegerReferenceField.traceID:
        found.traceID = try bytes.traceID(cursor.content(of: tag, in: bytes))
      case JaegerReferenceField.spanID:
        found.spanID = try bytes.spanID(cursor.content(of: tag, in: bytes))
      case JaegerReferenceField.kind:
        found.followsFrom = try cursor.varint(of: tag, in: bytes) == JaegerReferenceField.followsFrom
      default: try cursor.skip(tag, in: bytes)
      }
    }
    return found
  }

  // MARK: Scope

  private mutating func renderScope(in bytes: RawSpan) {
    if !scope.isEmpty { scope.removeAll(keepingCapacity: true) }
    guard let name = use(special.scopeName, in: bytes) else { return }
    let version = use(special.scopeVersion, in: bytes)
    scope.appendText(room: Int(name.count) + Int(version?.count ?? 0) + OutputRoom.span) { out in
      out.text(ScopeField.name, name, in: bytes)
      out.text(ScopeField.version, version, in: bytes)
    }
  }

  /// The text of the tag at `index`, which is then no attribute; nil if there is none, or it is no text.
  private mutating func use(_ index: Int?, in bytes: RawSpan) -> ByteRange? {
    guard let index, let text = tags[index].text else { return nil }
    tags[index].isUsed = true
    return text
  }

  /// The text of the tag at `index`, if there is one.
  private func text(of index: Int?) -> ByteRange? {
    guard let index else { return nil }
    return tags[index].text
  }

  // MARK: Writing

  /// Writes the span that was read, as a field of its scope's message.
  mutating func write(to writer: inout WireWriter, in bytes: RawSpan) {
    let kind = use(special.kind, in: bytes).map { SpanKindNumber(named: $0, in: bytes) } ?? .unspecified
    let status = status(kind, in: bytes)
    let traceState = use(special.traceState, in: bytes)
    writer.appendFields(room: room) { out in
      // Most spans have a length of two bytes.
      out.message(FieldTag.delimited(ScopeSpansField.spans), lengthBytes: 2) { out in
        writeFields(kind, status, traceState, to: &out, in: bytes)
      }
    }
  }

  /// The most bytes that the span may take. Each of its texts is written once, except for the status's.
  private var room: Int {
    OutputRoom.span + 2 * byteCountRead + OutputRoom.attribute * (tags.count + fields.count)
      + OutputRoom.event * events.count + OutputRoom.link * linkCount
  }

  /// Mutating, like what it calls, although nothing changes: the compiler would copy the whole of `self` for
  /// a call from a closure.
  private mutating func writeFields(
    _ kind: SpanKindNumber, _ status: MappedStatus, _ traceState: ByteRange?, to out: inout TextOutput,
    in bytes: RawSpan
  ) {
    let parent = parentIndex
    out.identifiers(traceID, spanID)
    out.text(SpanField.traceState, traceState, in: bytes)
    if let parent { out.parent(references[parent].spanID) }
    out.text(SpanField.name, name, in: bytes)
    out.kind(kind)
    out.time(SpanField.start, SpanTime.unix(start))
    out.time(SpanField.end, SpanTime.unix(SpanTime.sum(start, duration)))
    tags.withSpan { tags in
      for index in tags.indices where !tags[index].isUsed {
        out.attribute(SpanField.attributes, tags[index], in: bytes)
      }
    }
    for index in events.indices { write(events[index], to: &out, in: bytes) }
    for index in references.indices {
      if let parent, references[index].isSameParent(as: references[parent]) { continue }
      JaegerSpan.write(references[index], to: &out)
    }
    out.status(status, in: bytes)
    if isSampled { out.flags(1) }
  }

  /// The reference to the parent: the first to a span of the same trace that it is a child of, or else
  /// follows from.
  private var parentIndex: Int? {
    var found: Int?
    for index in references.indices {
      guard references[index].traceID == traceID, references[index].spanID != 0 else { continue }
      if !references[index].followsFrom { return index }
      found = found ?? index
    }
    return found
  }

  /// The tag `error` comes first, then `otel.status_code`, then the status of HTTP.
  private mutating func status(_ kind: SpanKindNumber, in bytes: RawSpan) -> MappedStatus {
    var status = MappedStatus()
    let code = use(special.statusCode, in: bytes)
    if let error = special.error, JaegerSpan.isTrue(tags[error], in: bytes) {
      tags[error].isUsed = true
      status.code = MappedStatus.error
      status.message = use(special.statusDescription, in: bytes)
      if status.message == nil { status.message = text(of: special.httpMessage) }
    } else if let code {
      status.code = MappedStatus.code(named: code, in: bytes)
      status.message = use(special.statusDescription, in: bytes)
    } else if let index = special.httpStatus, let number = JaegerSpan.httpStatus(tags[index], in: bytes) {
      // An error of its caller is none of a server's.
      let isError = number < 100 || number >= 500 || number >= 400 && kind != .server
      guard isError else { return status }
      status.code = MappedStatus.error
      status.message = text(of: special.httpMessage)
    }
    return status
  }

  /// Some clients write the word.
  private static func isTrue(_ tag: SpanTag, in bytes: RawSpan) -> Bool {
    if case .boolean(let value) = tag.value { value } else { tag.isText("true", in: bytes) }
  }

  private static func httpStatus(_ tag: SpanTag, in bytes: RawSpan) -> Int64? {
    switch tag.value {
    case .integer(let number): number
    case .text(let range): Int64(String(decoding: bytes.extracting(range.indices).copied(), as: UTF8.self))
    default: nil
    }
  }

  private mutating func write(_ event: Event, to out: inout TextOutput, in bytes: RawSpan) {
    out.message(FieldTag.delimited(SpanField.events), lengthBytes: 1) { out in
      out.time(EventField.time, SpanTime.unix(event.time))
      out.text(EventField.name, event.name, in: bytes)
      for index in event.fields { out.attribute(EventField.attributes, fields[index], in: bytes) }
    }
  }

  private static func write(_ reference: Reference, to out: inout TextOutput) {
    guard !reference.traceID.isZero, reference.spanID != 0 else { return }
    let kind = reference.followsFrom ? JaegerSpan.followsFrom : JaegerSpan.childOf
    out.message(FieldTag.delimited(SpanField.links), lengthBytes: 1) { out in
      out.identifiers(reference.traceID, reference.spanID)
      JaegerSpan.referenceKind.withRawBytes { key in
        kind.withRawBytes { out.attribute(LinkField.attributes, key, AnyValueField.string, $0) }
      }
    }
  }

  /// Bytes of memory in use.
  var byteCount: Int {
    tags.byteCount + fields.byteCount + references.byteCount + events.byteCount + resources.byteCount
      + scope.capacity
  }
}

extension RawSpan {
  /// A trace id of 16 bytes, or of eight, which are the last ones then; zero if it is empty.
  func traceID(_ range: ByteRange) throws(MalformedInput) -> TraceID {
    switch range.count {
    case 0: return TraceID(high: 0, low: 0)
    case 8: return TraceID(high: 0, low: bigEndian64(at: Int(range.offset)))
    case 16: return TraceID(in: self, at: Int(range.offset))
    default: throw MalformedInput(.identifierLength, at: Int(range.offset))
    }
  }

  /// A span id of eight bytes; zero if it is empty.
  func spanID(_ range: ByteRange) throws(MalformedInput) -> UInt64 {
    switch range.count {
    case 0: return 0
    case 8: return bigEndian64(at: Int(range.offset))
    default: throw MalformedInput(.identifierLength, at: Int(range.offset))
    }
  }
}
