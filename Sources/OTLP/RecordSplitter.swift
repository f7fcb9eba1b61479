// Splits a record that holds several traces: one piece per trace, each a whole `TracesData` of its own.
//
// A piece repeats the resource and scope of its spans, byte for byte, with every field that Tailrace does not
// know. The order of fields may change (other fields come before the spans); their content never does.

/// The traces of a scanned record, and which of its spans belong to each. Reused from record to record: it
/// keeps its storage.
public struct TraceGroups: Sendable {
  /// One trace's share of a record.
  public struct Group: Sendable {
    /// The trace.
    public let traceID: TraceID
    /// The indices of its spans in the record.
    public var spans: Range<Int>
  }

  /// The groups, in the order of their first spans in the record.
  public private(set) var groups = ReusedList<Group>(capacity: 64)
  /// Scratch: indices of the record's spans, group by group.
  private var order: [Int32] = []

  /// Makes an empty grouping.
  public init() {}

  /// Bytes of memory in use.
  public var byteCount: Int { groups.byteCount + order.capacity * MemoryLayout<Int32>.stride }

  /// Groups the spans of `record` by trace, and moves those of a trace next to each other. Each trace's spans
  /// stay in byte order.
  ///
  /// Pieces repeat resources and scopes, so a hostile record of many traces under one large resource would
  /// multiply its size by the number of its traces.
  ///
  /// - Throws: `splitTooLarge` when all pieces together would have more than `bytesMax` bytes.
  public mutating func group(_ record: inout ScannedRecord, bytesMax: Int) throws(MalformedInput) {
    groups.removeAll()
    if record.isSingleTrace {
      groups.append(Group(traceID: record.spans[0].traceID, spans: 0..<record.spans.count))
      return
    }
    sort(record.spans)
    var start = 0
    for end in 1...order.count
    where end == order.count || record.spans.trace(order[end]) != record.spans.trace(order[start]) {
      groups.append(Group(traceID: record.spans.trace(order[start]), spans: start..<end))
      start = end
    }
    groups.sort { order[$0.spans.lowerBound] < order[$1.spans.lowerBound] }
    record.arrange(order, groups)
    start = 0
    for number in groups.indices {
      let end = start + groups[number].spans.count
      groups[number].spans = start..<end
      start = end
    }
    guard fits(record, bytesMax: bytesMax) else { throw MalformedInput(.splitTooLarge, at: 0) }
  }

  /// Sets `order` to the indices of `spans` by trace.
  private mutating func sort(_ spans: ReusedList<SpanView>) {
    order.removeAll(keepingCapacity: true)
    while order.count < spans.count { order.append(Int32(truncatingIfNeeded: order.count)) }
    order.sort { left, right in
      let (first, second) = (spans.trace(left), spans.trace(right))
      if first.high != second.high { return first.high < second.high }
      if first.low != second.low { return first.low < second.low }
      return left < right
    }
  }

  /// Whether the pieces stay under `bytesMax`, computed before any is written. Stops counting at the limit,
  /// so a hostile record costs no more time than an honest one of that size.
  private func fits(_ record: ScannedRecord, bytesMax: Int) -> Bool {
    var total = 0
    for group in groups {
      total += record.size(ofPiece: group.spans, bytesMax: bytesMax - total)
      if total > bytesMax { return false }
    }
    return true
  }
}
extension ScannedRecord {
  /// The bytes of a piece with these spans, and their surroundings; at least. Stops counting above
  /// `bytesMax`.
  public func size(ofPiece spans: Range<Int>, bytesMax: Int = .max) -> Int {
    var place = Place()
    var total = size(of: topLevelExtras)
    for index in spans {
      let span = self.spans[index]
      if span.resource != place.resource {
        total += headerBytesMax + size(of: resources[Int(span.resource)].extras)
      }
      if span.scope != place.scope {
        total += headerBytesMax + size(of: scopes[Int(span.scope)].extras)
      }
      place = Place(resource: span.resource, scope: span.scope)
      total += Int(span.field.count)
      if total > bytesMax { break }
    }
    return total
  }

  func size(of extras: Range<Int>) -> Int {
    var bytes = 0
    for index in extras { bytes += Int(self.extras[index].count) }
    return bytes
  }
}

extension ReusedList where Element == SpanView {
  /// The trace of the span at `index`.
  @inline(__always)
  fileprivate func trace(_ index: Int32) -> TraceID { self[Int(index)].traceID }
}

extension ScannedRecord {
  /// Puts the spans in the order of `groups`, each of which has a range of `order`.
  fileprivate mutating func arrange(_ order: [Int32], _ groups: ReusedList<TraceGroups.Group>) {
    arranged.removeAll()
    for group in groups {
      for place in group.spans { arranged.append(spans[Int(order[place])]) }
    }
    swap(&spans, &arranged)
  }

  /// Moves the spans at `chosen`, ascending indices in `range`, to the front of that range, and the others
  /// after them. Returns their new indices. Both keep their order.
  public mutating func moveToFront(_ chosen: [Int], of range: Range<Int>) -> Range<Int> {
    arranged.removeAll()
    var end = range.lowerBound
    for index in range {
      let place = end - range.lowerBound
      if place < chosen.count, chosen[place] == index {
        spans[end] = spans[index]
        end += 1
      } else {
        arranged.append(spans[index])
      }
    }
    for number in arranged.indices { spans[end + number] = arranged[number] }
    return range.lowerBound..<end
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
  ///   - spans: indices of the record's spans, not empty.
  ///   - record: the record.
  ///   - bytes: the bytes that it was scanned from.
  public mutating func appendPiece(_ spans: Range<Int>, of record: ScannedRecord, bytes: RawSpan) {
    appendSpans(spans, of: record, bytes)
  }

  /// The same for spans that need not be next to each other; their indices ascend.
  public mutating func appendPiece(_ spans: [Int], of record: ScannedRecord, bytes: RawSpan) {
    appendSpans(spans, of: record, bytes)
  }

  @inline(__always)
  private mutating func appendSpans(_ spans: some Sequence<Int>, of record: ScannedRecord, _ bytes: RawSpan) {
    var place = PiecePlace()
    append(record.topLevelExtras, of: record, bytes: bytes)
    for index in spans {
      let span = record.spans[index]
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
