// The walk through a record of OTLP traces, which notes, per span, what the sampler needs.
//
// It reads tags and lengths and steps over everything else, so that attributes, events and links cost one
// addition each. Fields may come in any order: the Collector's own encoder writes a resource after its spans.
// So the fields of a `ResourceSpans` are walked first (a length to step over for each scope), then its
// scopes. Next to this file are the reader of a span's own fields, its fast paths, and the service's name.

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

  private static var resourceSpansTag: UInt8 { WireTag.byte(TracesDataField.resourceSpans, .lengthDelimited) }
  private static var spansTag: UInt8 { WireTag.byte(ScopeSpansField.spans, .lengthDelimited) }

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
    var service = ByteRange(offset: 0, count: 0)
    var cursor = WireCursor(content)
    while !cursor.isAtEnd {
      let tag = try cursor.tag(in: bytes)
      switch tag.field {
      case ResourceSpansField.scopeSpans:
        scopeContents.append(try cursor.content(of: tag, in: bytes))
        continue
      case ResourceSpansField.librarySpans:
        hasLibrarySpans = true
        scopeContents.append(try cursor.content(of: tag, in: bytes))
        continue
      case ResourceSpansField.resource:
        let resource = try cursor.content(of: tag, in: bytes)
        if let name = try ResourceView.serviceName(in: resource, of: bytes) { service = name }
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
      if let content = cursor.usualContent(of: ScannedRecord.spansTag, in: bytes) {
        span.content = content
      } else {
        let tag = try cursor.tag(in: bytes)
        guard tag.field == ScopeSpansField.spans else {
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
