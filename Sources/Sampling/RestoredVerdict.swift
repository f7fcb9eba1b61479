// Reading decision records back: the other direction of Decision.appendJSON.

public import OTLP

/// A verdict read back from a partition's own decision records.
public struct RestoredVerdict: Equatable, Sendable {
  /// The trace.
  public var traceID: TraceID
  /// Whether it was kept.
  public var isKept: Bool
  /// Whether it was the final record; else the trace was kept early, or got spans too late.
  public var isFinal: Bool
  /// Whether it reports that policies would keep the dropped trace for spans that came too late.
  public var isLate: Bool
  /// The policies that keep it, or would; empty if the record does not say.
  public var reasons: [String]
  /// Whether a root span had come.
  public var hasRoot: Bool
  /// Whether a policy took it away.
  public var isVetoed: Bool
  /// The threshold that the trace's spans were handed out with, head sampling included.
  public var threshold: SamplingThreshold
  /// Whether the trace went over a limit.
  public var isTruncated: Bool
  /// The stream clock at the verdict.
  public var decidedAt: Instant
  /// The offset of the trace's first span; nil if the record does not say.
  public var firstOffset: Offset?

  /// Makes a verdict.
  public init(
    traceID: TraceID, isKept: Bool, isFinal: Bool, isLate: Bool = false, reasons: [String] = [],
    hasRoot: Bool = false, isVetoed: Bool = false, threshold: SamplingThreshold, isTruncated: Bool = false,
    decidedAt: Instant, firstOffset: Offset? = nil
  ) {
    self.traceID = traceID
    self.isKept = isKept
    self.isFinal = isFinal
    self.isLate = isLate
    self.reasons = reasons
    self.hasRoot = hasRoot
    self.isVetoed = isVetoed
    self.threshold = threshold
    self.isTruncated = isTruncated
    self.decidedAt = decidedAt
    self.firstOffset = firstOffset
  }

  /// Reads a decision record in its JSON form, full or compact.
  ///
  /// - Throws: `MalformedInput` if it is not one: somebody else has written to the topic.
  public init(record: [UInt8]) throws(MalformedInput) {
    var reader = JSONReader(record)
    var fields = Fields()
    try reader.object { (reader, name) throws(MalformedInput) in try fields.read(name, from: &reader) }
    try reader.end()
    guard let traceID = fields.traceID, let isKept = fields.isKept, let isFinal = fields.isFinal,
      let decidedAt = fields.decidedAt
    else { throw MalformedInput(.wrongType, at: 0) }
    self.init(
      traceID: traceID, isKept: isKept, isFinal: isFinal, isLate: fields.isLate,
      reasons: fields.reasons, hasRoot: fields.hasRoot, isVetoed: fields.isVetoed,
      threshold: fields.threshold ?? .never, isTruncated: fields.reasons.contains(Sampler.limitReason),
      decidedAt: decidedAt,
      firstOffset: fields.firstOffset)
  }

  private struct Fields {
    var traceID: TraceID?
    var isKept: Bool?
    var isFinal: Bool?
    var isLate = false
    var reasons: [String] = []
    var hasRoot = false
    var isVetoed = false
    var threshold: SamplingThreshold?
    var decidedAt: Instant?
    var firstOffset: Offset?

    mutating func read(_ name: String, from reader: inout JSONReader) throws(MalformedInput) {
      switch name {
      case "trace_id": traceID = try reader.string().withRawBytes { TraceID(key: $0) }
      case "verdict": isKept = try reader.string() == Array("keep".utf8)
      case "final": isFinal = try reader.boolean()
      case "late": isLate = try reader.boolean()
      case "vetoed": isVetoed = try reader.boolean()
      case "threshold":
        if try !reader.null() { threshold = SamplingThreshold(hexadecimal: try reader.string()) }
      case "reasons":
        try reader.array { (reader) throws(MalformedInput) in
          reasons.append(String(decoding: try reader.string(), as: UTF8.self))
        }
      case "root":
        if try !reader.null() {
          hasRoot = true
          try reader.skip()
        }
      case "decided_at": decidedAt = Instant(rfc3339: try reader.string())
      case "first_offset": firstOffset = Int64(try reader.number()).map { Offset($0) }
      default: try reader.skip()
      }
    }
  }
}
