// Cuts the spans of one record into portions that fit a topic, before anything is written.
//
// A portion is a `TracesData` of its own and repeats its spans' surroundings, resource and scope: see
// `WireWriter.appendPiece`. So a span is written wherever it fits together with these, on its own if need be.
// Where the surroundings themselves are too large, or portions would multiply a hostile resource, cutting
// gains nothing: those spans stay together, larger than the limit, and the writer notices.

/// Cuts a run of spans into portions: `add` them one by one in record order.
public struct PortionCutter: Sendable {
  /// The portion so far: an upper bound of its bytes, with the spans' surroundings.
  public private(set) var byteCount = 0
  private let bytesMax: Int
  /// Bytes that may still be cut off.
  private var bytesLeft: Int
  /// The surroundings of the latest span.
  private var headBytes = 0
  private var resource = UInt32.max
  private var scope = UInt32.max
  private var isEmpty = true
  /// The surroundings of every span, and of the spans of the resource measured last: each is summed once.
  private var topBytes: Int?
  private var measured = (resource: UInt32.max, bytes: 0)

  /// All portions of a run of spans together may have about this many times its bytes.
  private static let ratioMax = 8
  /// A tag and a length: one byte and at most five.
  private static let headerBytesMax = 6

  /// Prepares to cut.
  ///
  /// - Parameters:
  ///   - recordBytes: the size of the record.
  ///   - bytesMax: the size limit of a portion.
  public init(recordBytes: Int, bytesMax: Int) {
    self.bytesMax = bytesMax
    bytesLeft = PortionCutter.ratioMax * recordBytes
  }

  /// Adds a span, which grows by `growth` bytes when it is written. If the span begins a new portion, returns
  /// the size of the one before.
  public mutating func add(_ span: SpanView, of record: ScannedRecord, growth: Int = 0) -> Int? {
    var next = self
    next.grow(by: span, of: record, growth)
    // Two neighbours that fit nowhere, because of their surroundings, stay together.
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
