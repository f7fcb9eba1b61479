// Spans of a record that can't be converted, and the record reduced to them.

public import OTLP

/// The spans of one record that can't be converted: an id is missing or has the wrong length, or a field has
/// the wrong type or a value that it can't hold.
public struct RejectedParts: Sendable {
  /// By reason, in order of appearance.
  public private(set) var groups: [RejectedSpans] = []
  /// Neighbours with the same reason.
  private var runs: [(range: Range<Int>, reason: MalformedInput.Reason)] = []
  /// Whether the next one would be a neighbour of the last run.
  private var isInRun = false

  /// Bytes of memory in use.
  var byteCount: Int {
    runs.capacity * MemoryLayout<(range: Range<Int>, reason: MalformedInput.Reason)>.stride
  }

  /// Forgets the previous record.
  mutating func removeAll() {
    isInRun = false
    guard !groups.isEmpty else { return }
    groups.removeAll()
    runs.removeAll()
  }

  /// A span could be converted.
  mutating func endRun() { isInRun = false }

  /// - Parameter range: where the span is: a document's value, or a whole field.
  mutating func note(_ error: MalformedInput, in range: Range<Int>, _ traceID: TraceID, _ spanID: UInt64) {
    if let index = groups.firstIndex(where: { $0.error.reason == error.reason }) {
      groups[index].count += 1
    } else {
      groups.append(RejectedSpans(error, count: 1, traceID: traceID, spanID: spanID))
    }
    if isInRun, let last = runs.last, last.reason == error.reason {
      runs[runs.count - 1].range = last.range.lowerBound..<range.upperBound
    } else {
      runs.append((range, error.reason))
    }
    isInRun = true
  }

  /// Appends a list of only the spans that were rejected for `reason`, as they are written in `bytes`.
  ///
  /// - Parameter isJSON: whether they are values of a JSON list; fields of protobuf otherwise.
  public func append(
    _ reason: MalformedInput.Reason, of bytes: RawSpan, isJSON: Bool, to writer: inout WireWriter
  ) {
    if isJSON { writer.appendBytes { $0.append(UInt8(ascii: "[")) } }
    var isFirst = true
    for run in runs where run.reason == reason {
      if isJSON, !isFirst { writer.appendBytes { $0.append(UInt8(ascii: ",")) } }
      isFirst = false
      writer.append(bytes.extracting(run.range))
    }
    if isJSON { writer.appendBytes { $0.append(UInt8(ascii: "]")) } }
  }
}
