// Splits a record that holds several traces: one piece per trace, each a whole `TracesData` of its own.
//
// A piece repeats the resource and scope of its spans, byte for byte, with every field that Tailrace does not
// know. The order of fields may change (other fields come before the spans); their content never does.

/// The spans of a scanned record, grouped by trace. Reused from record to record: it keeps its storage.
public struct TraceGroups: Sendable {
  /// One trace's share of a record.
  public struct Group: Sendable {
    /// The trace.
    public let traceID: TraceID
    /// Where the group's spans are in `order`, in record order.
    let members: Range<Int>
    /// The index of its first span in the record.
    let firstSpan: Int32
  }

  /// The groups, in the order of their first spans in the record.
  public private(set) var groups = ReusedList<Group>(capacity: 64)
  /// Indices of the record's spans, group by group. For a record of one trace they ascend from zero; what an
  /// earlier record left after them does no harm.
  private var order: [Int32] = []
  private var isAscending = true

  /// Makes an empty grouping.
  public init() {
    order.reserveCapacity(64)
  }

  /// Bytes of memory in use.
  public var byteCount: Int { groups.byteCount + order.capacity * MemoryLayout<Int32>.stride }

  /// Groups the spans of `record` by trace.
  ///
  /// Pieces repeat resources and scopes, so a hostile record of many traces under one large resource would
  /// multiply its size by the number of its traces.
  ///
  /// - Throws: `splitTooLarge` when all pieces together would have more than `bytesMax` bytes.
  public mutating func group(_ record: ScannedRecord, bytesMax: Int) throws(MalformedInput) {
    groups.removeAll()
    let spans = record.spans
    let isSingle = record.isSingleTrace
    if !isAscending || !isSingle { order.removeAll(keepingCapacity: true) }
    isAscending = isSingle
    while order.count < spans.count { order.append(Int32(truncatingIfNeeded: order.count)) }
    if isSingle {
      groups.append(Group(traceID: spans[0].traceID, members: 0..<spans.count, firstSpan: 0))
      return
    }
    order.sort { left, right in
      let (first, second) = (spans[Int(left)].traceID, spans[Int(right)].traceID)
      if first.high != second.high { return first.high < second.high }
      if first.low != second.low { return first.low < second.low }
      return left < right
    }
    var start = 0
    for end in 1...order.count
    where end == order.count || spans[Int(order[end])].traceID != spans[Int(order[start])].traceID {
      let first = order[start]
      groups.append(Group(traceID: spans[Int(first)].traceID, members: start..<end, firstSpan: first))
      start = end
    }
    groups.sort { $0.firstSpan < $1.firstSpan }
    guard fits(record, bytesMax: bytesMax) else { throw MalformedInput(.splitTooLarge, at: 0) }
  }

  /// The indices into `record.spans` of the group's spans, in record order.
  public func spanIndices(of group: Group) -> ArraySlice<Int32> {
    order[group.members]
  }

  /// Whether the pieces stay under `bytesMax`, computed before any is written. Stops counting at the limit,
  /// so a hostile record costs no more time than an honest one of that size.
  private func fits(_ record: ScannedRecord, bytesMax: Int) -> Bool {
    var total = 0
    for group in groups {
      var place = Place()
      total += size(of: record.topLevelExtras, in: record)
      for member in group.members {
        let span = record.spans[Int(order[member])]
        if span.resource != place.resource {
          total += headerBytesMax + size(of: record.resources[Int(span.resource)].extras, in: record)
        }
        if span.scope != place.scope {
          total += headerBytesMax + size(of: record.scopes[Int(span.scope)].extras, in: record)
        }
        place = Place(resource: span.resource, scope: span.scope)
        total += Int(span.field.count)
        if total > bytesMax { return false }
      }
    }
    return true
  }

  private func size(of extras: Range<Int>, in record: ScannedRecord) -> Int {
    var bytes = 0
    for index in extras { bytes += Int(record.extras[index].count) }
    return bytes
  }

  /// Appends the piece of `group` to `writer`: a `TracesData` with only that trace's spans.
  public func append(_ group: Group, of record: ScannedRecord, bytes: RawSpan, to writer: inout WireWriter) {
    writer.appendPiece(order[group.members], of: record, bytes: bytes)
  }
}

/// A tag and a length: one byte and at most five.
private let headerBytesMax = 6

/// The current resource and scope of a walk over spans. Scopes are numbered through the whole record.
struct Place {
  var resource = UInt32.max
  var scope = UInt32.max
  var isInside: Bool { scope != UInt32.max }
}

/// The position of a piece being written, and where the contents of its open messages begin.
struct PiecePlace {
  var at = Place()
  var resourceStart = 0
  var scopeStart = 0
}

extension WireWriter {
  /// Appends a `TracesData` with some of a record's spans, each in its resource and scope.
  ///
  /// - Parameters:
  ///   - spans: indices into the record's spans, ascending and not empty.
  ///   - record: the record.
  ///   - bytes: the bytes that it was scanned from.
  public mutating func appendPiece(_ spans: ArraySlice<Int32>, of record: ScannedRecord, bytes: RawSpan) {
    var place = PiecePlace()
    append(record.topLevelExtras, of: record, bytes: bytes)
    for index in spans {
      let span = record.spans[Int(index)]
      enter(resource: span.resource, scope: span.scope, of: record, bytes, &place)
      append(bytes.extracting(span.field.indices))
    }
    leave(place)
  }

  /// Moves to the next span: closes the scope and resource that it is not in, opens those that it is in.
  @inline(__always)
  mutating func enter(
    resource: UInt32, scope: UInt32, of record: ScannedRecord, _ bytes: RawSpan, _ place: inout PiecePlace
  ) {
    if scope == place.at.scope { return }
    if place.at.isInside { closeMessage(contentStart: place.scopeStart) }
    if resource != place.at.resource {
      if place.at.isInside { closeMessage(contentStart: place.resourceStart) }
      tag(TracesDataField.resourceSpans, .lengthDelimited)
      place.resourceStart = count
      append(record.resources[Int(resource)].extras, of: record, bytes: bytes)
    }
    tag(ResourceSpansField.scopeSpans, .lengthDelimited)
    place.scopeStart = count
    append(record.scopes[Int(scope)].extras, of: record, bytes: bytes)
    place.at = Place(resource: resource, scope: scope)
  }

  /// Closes what is open after the last span.
  mutating func leave(_ place: PiecePlace) {
    closeMessage(contentStart: place.scopeStart)
    closeMessage(contentStart: place.resourceStart)
  }

  mutating func append(_ extras: Range<Int>, of record: ScannedRecord, bytes: RawSpan) {
    for index in extras { append(bytes.extracting(record.extras[index].indices)) }
  }
}

extension ScannedRecord {
  /// Whether all spans belong to one trace: then the record is its own, only piece.
  public var isSingleTrace: Bool {
    guard let first = spans.first else { return true }
    for span in spans where span.traceID != first.traceID { return false }
    return true
  }
}
