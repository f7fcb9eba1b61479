// Cuts spans of one record into portions that fit a topic, before anything is written.
//
// A portion is a `TracesData` of its own and repeats what stands around its spans, resource and scope: see
// `WireWriter.appendPiece`. So a span is written wherever it fits together with these, alone if need be.
// Where they are too large by themselves, or where portions would multiply a hostile resource, nothing is
// gained by cutting: those spans stay together, larger than the limit, and whoever writes them sees that.

/// Cuts a run of spans into portions: `add` them one by one in the order of the record.
public struct PortionCutter: Sendable {
  /// The portion so far: an upper bound of its bytes, with what stands around the spans.
  public private(set) var byteCount = 0
  private let bytesMax: Int
  /// Bytes that may still be cut off.
  private var bytesLeft: Int
  /// What stands around the latest span.
  private var headBytes = 0
  private var resource = UInt32.max
  private var scope = UInt32.max
  private var isEmpty = true
  /// What stands around every span, and around those of the resource that was measured last: each is summed
  /// once.
  private var topBytes: Int?
  private var measured = (resource: UInt32.max, bytes: 0)

  /// Portions of a run of spans may have about this many times its bytes in all.
  private static let ratioMax = 8
  /// A tag and a length: one byte and at most five.
  private static let headerBytesMax = 6

  /// Prepares to cut.
  ///
  /// - Parameters:
  ///   - recordBytes: how large the record is.
  ///   - bytesMax: how large a portion may be.
  public init(recordBytes: Int, bytesMax: Int) {
    self.bytesMax = bytesMax
    bytesLeft = PortionCutter.ratioMax * recordBytes
  }

  /// Adds a span, which becomes `growth` bytes larger when it is written. Returns whether the portion before
  /// it is at its end, and how large that is: the span begins the next one then.
  public mutating func add(_ span: SpanView, of record: ScannedRecord, growth: Int = 0) -> Int? {
    var next = self
    next.grow(by: span, of: record, growth)
    // Two neighbours that fit nowhere, because of what stands around them, stay together.
    let isWorthCutting = byteCount <= bytesMax || next.headBytes < bytesMax
    guard next.byteCount > bytesMax, !isEmpty, isWorthCutting, bytesLeft > 0 else {
      self = next
      return nil
    }
    let end = byteCount
    var rest = PortionCutter(bytesLeft: bytesLeft - end, bytesMax: bytesMax)
    (rest.topBytes, rest.measured) = (next.topBytes, next.measured)
    self = rest
    grow(by: span, of: record, growth)
    return end
  }

  private init(bytesLeft: Int, bytesMax: Int) {
    self.bytesLeft = bytesLeft
    self.bytesMax = bytesMax
  }

  private mutating func grow(by span: SpanView, of record: ScannedRecord, _ growth: Int) {
    if span.scope != scope {
      let top = topBytes ?? record.size(of: record.topLevelExtras)
      topBytes = top
      if measured.resource != span.resource {
        measured = (span.resource, record.size(of: record.resources[Int(span.resource)].extras))
      }
      let ofResource = PortionCutter.headerBytesMax + measured.bytes
      let ofScope = PortionCutter.headerBytesMax + record.size(of: record.scopes[Int(span.scope)].extras)
      byteCount += (isEmpty ? top : 0) + (span.resource == resource ? 0 : ofResource) + ofScope
      headBytes = top + ofResource + ofScope
    }
    (resource, scope, isEmpty) = (span.resource, span.scope, false)
    byteCount += Int(span.field.count) + growth
  }
}

extension ScannedRecord {
  fileprivate func size(of run: Range<Int>) -> Int {
    var bytes = 0
    for index in run { bytes += Int(extras[index].count) }
    return bytes
  }
}
