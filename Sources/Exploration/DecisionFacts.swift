// What the index takes from a decision record.

public import OTLP
public import Sampling

/// A decision record, read for the index: see docs/decision-record.md.
public struct DecisionFacts: Sendable {
  /// The trace.
  public var traceID = TraceID(high: 0, low: 0)
  /// Whether it is kept, whether the record is final, whether it is a late record, whether a revised one.
  public var isKept = false, isFinal = false, isLate = false, isRevised = false
  /// The first policy that keeps it, and all of them.
  public var policy = ""
  /// All policies that keep it.
  public var reasons: [String] = []
  /// How many traces it stands for.
  public var adjustedCount = 1.0
  /// What arrived of it.
  public var spanCount = 0, errorCount = 0, byteCount = 0, truncatedCount = 0
  /// The root span's service and name; nil without one.
  public var rootService, rootOperation: String?
  /// When it started and how long it lasted, in nanoseconds.
  public var start: Int64?
  /// How long it lasted, in nanoseconds.
  public var duration: Int64 = 0
  /// The stream clock at the verdict.
  public var decidedAt = Instant.distantPast
  /// Why it was written, and what it says about a recall.
  public var trigger = ""
  /// What it says about a recall.
  public var recall: String?

  /// Reads a record; nil if it is none.
  public init?(record: RawSpan) {
    do throws(MalformedInput) {
      var cursor = JSONCursor()
      try cursor.openObject(in: record)
      var hasVerdict = false
      while let key = try cursor.nextKey(in: record) {
        let name = try key.utf8(in: record)
        if name == Array("verdict".utf8) { hasVerdict = true }
        try read(name, &cursor, record)
      }
      try cursor.finish(in: record)
      guard !traceID.isZero, hasVerdict, decidedAt != .distantPast else { return nil }
    } catch { return nil }
  }

  private mutating func read(
    _ name: [UInt8], _ cursor: inout JSONCursor, _ record: RawSpan
  ) throws(MalformedInput) {
    switch String(decoding: name, as: UTF8.self) {
    case "trace_id":
      let id = try cursor.string(in: record).utf8(in: record)
      traceID = id.withRawBytes { TraceID(key: $0) } ?? traceID
    case "verdict": isKept = try cursor.string(in: record).spells("keep", in: record)
    case "final": isFinal = try cursor.boolean(in: record)
    case "late": isLate = try cursor.boolean(in: record)
    case "revised": isRevised = try cursor.boolean(in: record)
    case "policy": policy = try text(&cursor, record) ?? ""
    case "reasons":
      try cursor.openArray(in: record)
      while try cursor.nextElement(in: record) { reasons.append(try text(&cursor, record) ?? "") }
    case "threshold":
      guard try !cursor.skipNull(in: record) else { return }
      let digits = try cursor.string(in: record).utf8(in: record)
      adjustedCount = SamplingThreshold(hexadecimal: digits)?.adjustedCount ?? 1
    case "span_count": spanCount = try count(&cursor, record)
    case "error_count": errorCount = try count(&cursor, record)
    case "byte_count": byteCount = try count(&cursor, record)
    case "truncated_spans": truncatedCount = try count(&cursor, record)
    case "root": try readRoot(&cursor, record)
    case "start_time": start = try instant(&cursor, record)?.nanoseconds
    case "duration_ns": duration = max(0, try cursor.number(in: record).int64 ?? 0)
    case "decided_at": decidedAt = try instant(&cursor, record) ?? decidedAt
    case "trigger": trigger = try text(&cursor, record) ?? ""
    case "recall": recall = try text(&cursor, record)
    default: try cursor.skipValue(in: record)
    }
  }

  private mutating func readRoot(_ cursor: inout JSONCursor, _ record: RawSpan) throws(MalformedInput) {
    guard try !cursor.skipNull(in: record) else { return }
    try cursor.openObject(in: record)
    while let key = try cursor.nextKey(in: record) {
      if try key.spells("service", in: record) {
        rootService = try text(&cursor, record)
      } else if try key.spells("operation", in: record) {
        rootOperation = try text(&cursor, record)
      } else {
        try cursor.skipValue(in: record)
      }
    }
  }

  private func text(_ cursor: inout JSONCursor, _ record: RawSpan) throws(MalformedInput) -> String? {
    guard try !cursor.skipNull(in: record) else { return nil }
    return String(decoding: try cursor.string(in: record).utf8(in: record), as: UTF8.self)
  }

  private func count(_ cursor: inout JSONCursor, _ record: RawSpan) throws(MalformedInput) -> Int {
    max(0, Int(clamping: try cursor.number(in: record).int64 ?? 0))
  }

  private func instant(_ cursor: inout JSONCursor, _ record: RawSpan) throws(MalformedInput) -> Instant? {
    Instant(rfc3339: try cursor.string(in: record).utf8(in: record))
  }
}
