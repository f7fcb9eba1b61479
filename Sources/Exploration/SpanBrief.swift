// What the index takes from a record of kept spans.

internal import OTLP

/// A span's own facts, and where its attributes are.
struct SpanBrief {
  var traceID: TraceID
  var spanID: UInt64
  var parentID: UInt64
  var service: String
  var operation: String
  var start: UInt64
  var duration: UInt64
  var isError: Bool
  var kind: UInt8
  /// How many spans it stands for, by the threshold in its tracestate.
  var weight: Double
  var content: ByteRange

  /// Whether a call enters its service with it, whatever its parent is.
  var isEntry: Bool { parentID == 0 || kind == 2 || kind == 5 }
}

/// A span that another one links to.
struct LinkedSpan: Hashable {
  var traceID: TraceID
  var spanID: UInt64

  /// More links of a span are not followed: a batch of messages may have one for each.
  static let countMax = 128
}

/// Reads records of kept spans.
struct BriefReader {
  private var scanned = ScannedRecord(remembersResources: true)

  /// Calls `body` with each span; false if the record can't be read.
  mutating func read(_ record: RawSpan, _ body: (SpanBrief) -> Void) -> Bool {
    do throws(MalformedInput) { try scanned.scan(record) } catch { return false }
    var services: [Int: String] = [:]
    for span in scanned.spans {
      let resource = Int(span.resource)
      let service = services[resource] ?? record.text(scanned.resources[resource].serviceName)
      services[resource] = service
      let threshold = TraceStateSampling(span.traceState, of: record).threshold
      body(
        SpanBrief(
          traceID: span.traceID, spanID: span.spanID, parentID: span.parentID, service: service,
          operation: record.text(span.name), start: span.start, duration: span.duration,
          isError: span.status == .error, kind: span.kind, weight: threshold?.adjustedCount ?? 1,
          content: span.content))
    }
    return true
  }
}

extension RawSpan {
  /// The spans that a span links to, each once; not its own parent.
  func links(of brief: SpanBrief) -> Set<LinkedSpan> {
    var found: Set<LinkedSpan> = []
    var cursor = WireCursor(brief.content)
    do throws(MalformedInput) {
      while found.count < LinkedSpan.countMax, let message = try cursor.next(SpanField.links, in: self) {
        let link = try WholeSpan.Link(message, in: self)
        guard link.traceID.count == 16, link.spanID.count == 8 else { continue }
        let trace = link.traceID.withRawBytes { TraceID(in: $0, at: 0) }
        let span = link.spanID.reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        guard !trace.isZero, span != 0, trace != brief.traceID || span != brief.parentID else { continue }
        found.insert(LinkedSpan(traceID: trace, spanID: span))
      }
    } catch {}
    return found
  }

  /// A run of the record as text; what is not UTF-8 becomes U+FFFD.
  func text(_ range: ByteRange) -> String {
    String(decoding: bytes(range), as: UTF8.self)
  }

  /// A run of the record; empty if it is not in it.
  func bytes(_ range: ByteRange) -> [UInt8] {
    guard range.indices.upperBound <= byteCount else { return [] }
    return extracting(range.indices).copied()
  }
}
