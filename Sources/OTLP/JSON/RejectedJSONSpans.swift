// Spans of a JSON document that can't be converted, and the document reduced to them.

/// The spans of one document that can't be converted to protobuf: a field has the wrong type or a value that
/// it can't hold, or an id is missing.
public struct RejectedJSONSpans: Sendable {
  /// By reason, in order of appearance.
  public private(set) var groups: [RejectedSpans] = []
  /// Where each begins, in document order.
  private var places: [(start: Int, reason: MalformedInput.Reason)] = []

  /// Makes an empty list.
  public init() {}

  /// Bytes of memory in use.
  public var byteCount: Int {
    places.capacity * MemoryLayout<(start: Int, reason: MalformedInput.Reason)>.stride
  }

  /// Forgets the previous document.
  public mutating func removeAll() {
    guard !groups.isEmpty else { return }
    groups.removeAll()
    places.removeAll()
  }

  mutating func note(_ error: MalformedInput, at start: Int, trace: TraceID, span: UInt64) {
    places.append((start, error.reason))
    if let index = groups.firstIndex(where: { $0.error.reason == error.reason }) {
      groups[index].count += 1
    } else {
      groups.append(RejectedSpans(error, count: 1, traceID: trace, spanID: span))
    }
  }

  /// Appends `json`, the converted document, with only the spans that were rejected for `reason`, each in its
  /// resource and scope; everything is copied as written there.
  public func append(
    _ reason: MalformedInput.Reason, of json: RawSpan, to writer: inout WireWriter
  ) {
    var copier = Copier(starts: places.filter { $0.reason == reason }.map(\.start))
    do throws(MalformedInput) {
      try copier.copy(.tracesData, of: json, to: &writer)
    } catch {
      // The document has been read before, so nothing here can throw.
    }
  }

  /// Walks a document and copies the way to some of its spans.
  private struct Copier {
    /// Where the spans begin, ascending.
    let starts: [Int]
    var cursor = JSONCursor()

    mutating func copy(
      _ message: OTLPMessage, of json: RawSpan, to writer: inout WireWriter
    ) throws(MalformedInput) {
      try cursor.openObject(in: json)
      writer.append("{")
      var isFirst = true
      while let key = try cursor.nextKey(in: json) {
        if !isFirst { writer.append(",") }
        isFirst = false
        writer.append(json.extracting(key.valueOffset..<key.end + 1))
        writer.append(":")
        let kind = try cursor.valueKind(in: json)
        if kind == .array, let inner = try children(of: message, named: key, in: json) {
          try copyList(of: inner, json, to: &writer)
        } else {
          let start = cursor.offset
          try cursor.skipValue(in: json)
          writer.append(json.extracting(start..<cursor.offset))
        }
      }
      writer.append("}")
    }

    private func children(
      of message: OTLPMessage, named key: JSONToken, in json: RawSpan
    ) throws(MalformedInput) -> OTLPMessage? {
      guard let name = try JSONName(key: key, in: json),
        case .messages(let inner)? = message.fields.first(where: { $0.name == name })?.kind
      else { return nil }
      switch inner {
      case .resourceSpans, .scopeSpans, .librarySpans, .span: return inner
      default: return nil
      }
    }

    private mutating func copyList(
      of message: OTLPMessage, _ json: RawSpan, to writer: inout WireWriter
    ) throws(MalformedInput) {
      try cursor.openArray(in: json)
      writer.append("[")
      var isFirst = true
      while try cursor.nextElement(in: json) {
        _ = try cursor.valueKind(in: json)
        let start = cursor.offset
        var behind = cursor
        try behind.skipValue(in: json)
        guard hasSpan(in: start..<behind.offset) else {
          cursor = behind
          continue
        }
        if !isFirst { writer.append(",") }
        isFirst = false
        if message == .span {
          writer.append(json.extracting(start..<behind.offset))
          cursor = behind
        } else {
          try copy(message, of: json, to: &writer)
        }
      }
      writer.append("]")
    }

    /// Whether one of the spans begins in `range`.
    private func hasSpan(in range: Range<Int>) -> Bool {
      var (low, high) = (0, starts.count)
      while low < high {
        let middle = (low + high) / 2
        if starts[middle] < range.lowerBound { low = middle + 1 } else { high = middle }
      }
      return low < starts.count && starts[low] < range.upperBound
    }
  }
}
