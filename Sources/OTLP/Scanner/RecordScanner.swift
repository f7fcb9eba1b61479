// The walk through a record of OTLP traces, which notes what the sampler needs of each span.
//
// It reads tags and lengths and steps over everything else, so that attributes, events and links cost one
// addition each. Fields may come in any order: the Collector's own encoder writes a resource after its spans.
// So the fields of a `ResourceSpans` are walked first (a length to step over for each scope), then its
// scopes. Next to this file are the reader of a span's own fields, its fast paths, and the service's name.

/// The spans of one record, and where everything lies in it. Reused from record to record: it keeps its
/// storage.
public struct ScannedRecord: Sendable {
  /// The record's spans, in byte order.
  public internal(set) var spans = ReusedList<SpanView>(capacity: 64)
  /// The record's resources with spans, in byte order. One without spans takes two bytes of a record: it must
  /// not take more memory than that.
  public internal(set) var resources = ReusedList<ResourceView>(capacity: 8)
  var scopes = ReusedList<ScopeView>(capacity: 8)
  /// Runs of bytes that neither are spans nor lead to one: a resource, a scope, a schema URL, unknown fields.
  var extras = ReusedList<ByteRange>(capacity: 32)
  /// Which of `extras` are at the top level.
  var topLevelExtras = 0..<0
  /// Unusable spans, by reason: the others are used without them.
  public internal(set) var rejected: [RejectedSpans] = []
  var rejectedRuns = ReusedList<RejectedRun>(capacity: 0)
  /// Whether the record's spans can be forwarded as its own bytes: all of them are usable, and none is in a
  /// field that current readers do not know. If not, they are written with `WireWriter.appendPiece`.
  public internal(set) var isWhole = true
  /// Whether all spans belong to one trace: then the record is its own, only piece.
  public internal(set) var isSingleTrace = true
  /// Scratch: spans that are being moved.
  var arranged = ReusedList<SpanView>(capacity: 0)
  /// Scratch: the scope messages of the resource being read.
  var scopeContents = ReusedList<ByteRange>(capacity: 8)

  private static var resourceSpansTag: UInt8 { WireTag.byte(TracesDataField.resourceSpans, .lengthDelimited) }
  private static var resourceTag: UInt8 { WireTag.byte(ResourceSpansField.resource, .lengthDelimited) }
  private static var scopeSpansTag: UInt8 { WireTag.byte(ResourceSpansField.scopeSpans, .lengthDelimited) }
  private static var scopeTag: UInt8 { WireTag.byte(ScopeSpansField.scope, .lengthDelimited) }
  private static var spansTag: UInt8 { WireTag.byte(ScopeSpansField.spans, .lengthDelimited) }

  /// Resources of earlier records.
  private var known: KnownResources

  /// Makes an empty record with room for a typical one.
  ///
  /// - Parameter remembersResources: whether resources are recognised that earlier records had. That takes
  ///   memory, and is of use if many records are scanned one after the other.
  public init(remembersResources: Bool = false) {
    known = KnownResources(isUsed: remembersResources)
  }

  /// Releases its storage.
  public mutating func release() {
    var known = known
    known.release()
    self = ScannedRecord()
    self.known = known
  }

  /// Bytes of memory in use.
  public var byteCount: Int {
    spans.byteCount + resources.byteCount + scopes.byteCount + extras.byteCount + scopeContents.byteCount
      + rejectedRuns.byteCount + arranged.byteCount + known.byteCount
  }

  /// Reads `TracesData` or `ExportTraceServiceRequest` (they are the same on the wire) and replaces the
  /// previous record.
  ///
  /// Everything on the way to the spans is checked, and each span's own fields; what is stepped over is
  /// checked only to end inside its parent.
  ///
  /// Unusable spans (an id is missing or has the wrong length, a field has the wrong wire type) are in
  /// `rejected`, as long as there are others.
  ///
  /// Spans in `instrumentation_library_spans`, the field used before OTLP 0.15, are read like those in
  /// `scope_spans`, which has the same form. The Collector reads it only where `scope_spans` is empty; here
  /// no span is skipped.
  ///
  /// - Throws: `MalformedInput` with the offset of the first byte that can't be accepted. The content is then
  ///   meaningless, except `rejected`: if it is not empty, only these spans were wrong.
  ///
  /// Schema: <https://github.com/open-telemetry/opentelemetry-proto>, `trace/v1/trace.proto`.
  public mutating func scan(_ bytes: RawSpan) throws(MalformedInput) {
    startOver()
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

  /// Forgets the previous record.
  @inline(__always)
  mutating func startOver() {
    spans.removeAll()
    resources.removeAll()
    scopes.removeAll()
    extras.removeAll()
    if !rejected.isEmpty { rejected.removeAll() }
    rejectedRuns.removeAll()
    isWhole = true
    isSingleTrace = true
  }

  private mutating func scanFields(_ bytes: RawSpan) throws(MalformedInput) {
    var cursor = WireCursor(all: bytes)
    var hasExtras = false
    while !cursor.isAtEnd {
      if let content = cursor.usualContent(of: ScannedRecord.resourceSpansTag, in: bytes) {
        try scanResourceSpans(content, in: bytes)
        continue
      }
      let tag = try cursor.tag(in: bytes)
      if tag.field == TracesDataField.resourceSpans {
        let content = try cursor.content(of: tag, in: bytes)
        try scanResourceSpans(content, in: bytes)
      } else {
        try cursor.skip(tag, in: bytes)
        hasExtras = true
      }
    }
    topLevelExtras = extras.count..<extras.count
    if hasExtras, !spans.isEmpty || !rejected.isEmpty { try collectTopLevelExtras(in: bytes) }
  }

  /// The fields of the `ResourceSpans` that `span` is in, except its scope spans: the resource among them. In
  /// runs of whole fields, in byte order.
  public func resourceFields(of span: SpanView) -> ArraySlice<ByteRange> {
    extras.slice(resources[Int(span.resource)].extras)
  }

  /// The fields of the `ScopeSpans` that `span` is in, except its spans: the scope among them. In runs of
  /// whole fields, in byte order.
  public func scopeFields(of span: SpanView) -> ArraySlice<ByteRange> {
    extras.slice(scopes[Int(span.scope)].extras)
  }

  /// Unknown fields next to the resource spans are so rare that they get a walk of their own, at the end, so
  /// that each resource's and scope's extras stay in one run.
  mutating func collectTopLevelExtras(in bytes: RawSpan) throws(MalformedInput) {
    let first = extras.count
    var cursor = WireCursor(all: bytes)
    while !cursor.isAtEnd {
      if cursor.usualContent(of: ScannedRecord.resourceSpansTag, in: bytes) != nil { continue }
      let tag = try cursor.tag(in: bytes)
      try cursor.skip(tag, in: bytes)
      if tag.field != TracesDataField.resourceSpans {
        noteExtra(from: tag.offset, to: cursor.offset, first: first)
      }
    }
    topLevelExtras = first..<extras.count
  }

  private mutating func scanResourceSpans(_ content: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    scopeContents.removeAll()
    let firstExtra = extras.count
    var resource = ResourceView(serviceName: ByteRange(offset: 0, count: 0), extras: firstExtra..<firstExtra)
    var hasResource = false
    // Nearly always the only one.
    var lastScope: ByteRange?
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let start = cursor.offset
      if let content = cursor.usualContent(of: ScannedRecord.scopeSpansTag, in: bytes) {
        if let lastScope { scopeContents.append(lastScope) }
        lastScope = content
        continue
      }
      if let content = cursor.usualContent(of: ScannedRecord.resourceTag, in: bytes) {
        try readResource(content, isFirst: !hasResource, into: &resource, in: bytes)
        hasResource = true
        noteExtra(from: start, to: cursor.offset, first: firstExtra)
        continue
      }
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case ResourceSpansField.scopeSpans, ResourceSpansField.librarySpans:
        if tag.field == ResourceSpansField.librarySpans { isWhole = false }
        if let lastScope { scopeContents.append(lastScope) }
        lastScope = try cursor.content(of: tag, in: bytes)
        continue
      case ResourceSpansField.resource:
        let content = try cursor.content(of: tag, in: bytes)
        try readResource(content, isFirst: !hasResource, into: &resource, in: bytes)
        hasResource = true
      default:
        try cursor.skip(tag, in: bytes)
      }
      noteExtra(from: start, to: cursor.offset, first: firstExtra)
    }
    let (firstSpan, firstRun) = (spans.count, rejectedRuns.count)
    resource.extras = firstExtra..<extras.count
    resources.append(resource)
    for index in scopeContents.indices {
      try scanScopeSpans(scopeContents[index], in: bytes)
    }
    if let lastScope { try scanScopeSpans(lastScope, in: bytes) }
    if spans.count == firstSpan, rejectedRuns.count == firstRun {
      resources.truncate(to: resources.count - 1)
      extras.truncate(to: firstExtra)
    }
  }

  /// Reads a `Resource` message. If there are several, they are one resource in parts, which is not
  /// remembered.
  @inline(__always)
  private mutating func readResource(
    _ content: ByteRange, isFirst: Bool, into resource: inout ResourceView, in bytes: RawSpan
  ) throws(MalformedInput) {
    let place = known.place(of: content, in: bytes)
    if let place, let found = known.find(content, place: place, in: bytes) {
      if let service = found.service { resource.serviceName = service }
      resource.number = isFirst ? found.number : 0
      return
    }
    let service = try ResourceView.serviceName(in: content, of: bytes)
    if let service { resource.serviceName = service }
    resource.number = 0
    guard let place else { return }
    let number = known.remember(content, place: place, service: service, in: bytes)
    if isFirst { resource.number = number }
  }

  private mutating func scanScopeSpans(_ content: ByteRange, in bytes: RawSpan) throws(MalformedInput) {
    let (firstExtra, firstSpan, firstRun) = (extras.count, spans.count, rejectedRuns.count)
    let scope = UInt32(truncatingIfNeeded: scopes.count)
    let resource = UInt32(truncatingIfNeeded: resources.count - 1)
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let start = cursor.offset
      if cursor.usualContent(of: ScannedRecord.scopeTag, in: bytes) != nil {
        noteExtra(from: start, to: cursor.offset, first: firstExtra)
        continue
      }
      if try scanSpans(&cursor, resource: resource, scope: scope, in: bytes) > 0 { continue }
      let tag = try cursor.tag(in: bytes)
      guard tag.field == ScopeSpansField.spans else {
        try cursor.skip(tag, in: bytes)
        noteExtra(from: tag.offset, to: cursor.offset, first: firstExtra)
        continue
      }
      // A long span, or one whose tag or length is longer than need be.
      var span = SpanView()
      span.content = try cursor.content(of: tag, in: bytes)
      span.field = ByteRange(from: tag.offset, to: cursor.offset)
      (span.resource, span.scope) = (resource, scope)
      do throws(MalformedInput) {
        try span.read(bytes)
      } catch {
        try reject(span, error, in: bytes)
        continue
      }
      spans.append(span)
      if span.traceID != spans[0].traceID { isSingleTrace = false }
    }
    if spans.count == firstSpan, rejectedRuns.count == firstRun {
      extras.truncate(to: firstExtra)
    } else {
      scopes.append(ScopeView(extras: firstExtra..<extras.count))
    }
  }

  /// Scans spans whose tags and lengths have the usual form, one after the other, into the room for them in
  /// the list: as many as there are up to another field, or one of them is unusable. Returns how many there
  /// were, an unusable one included.
  @inline(__always)
  private mutating func scanSpans(
    _ cursor: inout WireCursor, resource: UInt32, scope: UInt32, in bytes: RawSpan
  ) throws(MalformedInput) -> Int {
    if spans.isFull { spans.grow(filler: SpanView()) }
    let first = spans.count
    var count = first
    var unusable: (span: SpanView, error: MalformedInput)?
    var room = spans.storage.mutableSpan
    var other: UInt64 = 0
    while count < room.count {
      let start = cursor.offset
      guard let content = cursor.usualContent(of: ScannedRecord.spansTag, in: bytes) else { break }
      room[count] = SpanView(
        content: content, field: ByteRange(from: start, to: cursor.offset), scope: scope, resource: resource)
      do throws(MalformedInput) {
        try room[count].read(bytes)
      } catch {
        unusable = (room[count], error)
        break
      }
      let expected = room[0].traceID
      other |= (room[count].traceID.high ^ expected.high) | (room[count].traceID.low ^ expected.low)
      count &+= 1
    }
    spans.length = count
    if other != 0 { isSingleTrace = false }
    guard let unusable else { return count - first }
    try reject(unusable.span, unusable.error, in: bytes)
    return count - first + 1
  }

  /// Notes a run of bytes to keep with every piece; adjacent runs become one.
  @inline(__always)
  mutating func noteExtra(from start: Int, to end: Int, first: Int) {
    if extras.count > first, extras[extras.count - 1].indices.upperBound == start {
      lengthenExtra(by: end - start)
    } else {
      extras.append(ByteRange(from: start, to: end))
    }
  }

  @inline(never)
  private mutating func lengthenExtra(by count: Int) {
    extras[extras.count - 1].count += UInt32(truncatingIfNeeded: count)
  }
}
