// Reading decision records back: the inverse of Decision.appendJSON. Pages of the ledger: see `LedgerReader`.

public import OTLP

/// A verdict read back from a partition's own decision records.
public struct RestoredVerdict: Equatable, Sendable {
  /// The trace.
  public var traceID: TraceID
  /// Whether it was kept.
  public var isKept: Bool
  /// Whether it was the final record; otherwise the trace was kept early, or got spans too late.
  public var isFinal: Bool
  /// Whether it reports that policies would keep the dropped trace because of spans that arrived too late.
  public var isLate: Bool
  /// The policies that keep it, or would; empty if the record does not name them.
  public var reasons: [String]
  /// Whether a root span had arrived.
  public var hasRoot: Bool
  /// Whether a policy vetoed it.
  public var isVetoed: Bool
  /// The threshold that the trace's spans were forwarded with, head sampling included.
  public var threshold: SamplingThreshold
  /// Whether the trace went over a limit.
  public var isTruncated: Bool
  /// The stream clock at the verdict.
  public var decidedAt: Instant
  /// The offset of the trace's first span; nil if the record does not state it.
  public var firstOffset: Offset?
  /// The offset of its last span; nil if the record does not state it.
  public var lastOffset: Offset?
  /// Of a dropped trace: the start of its earliest span in nanoseconds since 1970, up to 1.05 ms late, or 100
  /// ms if a full record states it; nil if nothing does.
  public var earliestStart: UInt64?
  /// With the request of a recall: the first request of logs that had not been dealt with; nil if none had.
  public var logsUntil: Offset?
  /// What the record says about the trace's recall.
  public var recall: RecallStatus?
  /// How links reach it, if they keep it.
  public var linked: LinkReach?
  /// The traces that its spans link to, where verdicts spread along links.
  public var links: [TraceID] = []
  /// The randomness that it was kept by, if it shares that of a trace that it links to.
  public var randomness: UInt64?
  /// Whether it was kept as the first of its shape.
  public var isFirstOfShape: Bool { isKept && reasons == [Sampler.firstOfShapeReason] }

  /// Whether it replaces an earlier final record of the trace.
  public var isRevised: Bool { isFinal && recall != nil }

  /// Makes a verdict.
  public init(
    traceID: TraceID, isKept: Bool, isFinal: Bool, isLate: Bool = false, reasons: [String] = [],
    hasRoot: Bool = false, isVetoed: Bool = false, threshold: SamplingThreshold, isTruncated: Bool = false,
    decidedAt: Instant, firstOffset: Offset? = nil, lastOffset: Offset? = nil, recall: RecallStatus? = nil
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
    self.lastOffset = lastOffset
    self.recall = recall
  }

  /// Reads a decision record in its JSON form, full or compact.
  ///
  /// - Throws: `MalformedInput` if it is not one: something else wrote to the topic.
  public init(record: RawSpan) throws(MalformedInput) {
    var cursor = JSONCursor()
    var fields = Fields()
    try cursor.openObject(in: record)
    while let key = try cursor.nextKey(in: record) { try fields.read(key, from: &cursor, in: record) }
    try cursor.finish(in: record)
    guard let traceID = fields.traceID, let isKept = fields.isKept, let isFinal = fields.isFinal,
      let decidedAt = fields.decidedAt
    else { throw MalformedInput(.wrongType, at: 0) }
    self.init(
      traceID: traceID, isKept: isKept, isFinal: isFinal, isLate: fields.isLate,
      reasons: fields.reasons, hasRoot: fields.hasRoot, isVetoed: fields.isVetoed,
      threshold: fields.threshold ?? .never, isTruncated: fields.reasons.contains(Sampler.limitReason),
      decidedAt: decidedAt,
      firstOffset: fields.firstOffset, lastOffset: fields.lastOffset, recall: fields.recallStatus)
    logsUntil = fields.logsUntil
    links = fields.links
    if isKept { randomness = fields.randomness }
    if let from = fields.linkedFrom, let hops = fields.linkHops {
      linked = LinkReach(from: from, hops: Int(max(1, min(hops, Int64(LinksConfiguration.hopsMax)))))
    }
    guard !isKept, isFinal else { return }
    earliestStart = (fields.earliestStart ?? fields.start).map { UInt64(clamping: $0.nanoseconds) }
  }

  /// Reads a decision record, as above.
  public init(record: [UInt8]) throws(MalformedInput) {
    self = try record.withRawBytes { (record) throws(MalformedInput) in
      try RestoredVerdict(record: record)
    }
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
    /// The start of the root, or of the earliest span: all that older records state.
    var start: Instant?
    var earliestStart: Instant?
    var firstOffset: Offset?
    var lastOffset: Offset?
    var recall: String?
    var recallUntil: Offset?
    var logsUntil: Offset?
    var linkedFrom: TraceID?
    var linkHops: Int64?
    var links: [TraceID] = []
    var randomness: UInt64?

    var recallStatus: RecallStatus? {
      switch recall {
      case "requested": recallUntil.map { .requested(until: $0) }
      case "done": .done
      case "partial": .partial
      case "gone": .gone
      case "refused": .refused
      default: nil
      }
    }

    /// Reads the value of `key`.
    mutating func read(
      _ key: JSONToken, from cursor: inout JSONCursor, in record: RawSpan
    ) throws(MalformedInput) {
      if try key.spells("trace_id", in: record) {
        traceID = try cursor.string(in: record).utf8(in: record).withRawBytes { TraceID(key: $0) }
      } else if try key.spells("verdict", in: record) {
        isKept = try cursor.string(in: record).spells("keep", in: record)
      } else if try key.spells("final", in: record) {
        isFinal = try cursor.boolean(in: record)
      } else if try key.spells("late", in: record) {
        isLate = try cursor.boolean(in: record)
      } else if try key.spells("vetoed", in: record) {
        isVetoed = try cursor.boolean(in: record)
      } else if try key.spells("threshold", in: record) {
        if try cursor.skipNull(in: record) { return }
        threshold = SamplingThreshold(hexadecimal: try cursor.string(in: record).utf8(in: record))
      } else if try key.spells("reasons", in: record) {
        try cursor.openArray(in: record)
        while try cursor.nextElement(in: record) {
          reasons.append(String(decoding: try cursor.string(in: record).utf8(in: record), as: UTF8.self))
        }
      } else if try key.spells("root", in: record) {
        hasRoot = try !cursor.skipNull(in: record)
        if hasRoot { try cursor.skipValue(in: record) }
      } else if try key.spells("decided_at", in: record) {
        decidedAt = Instant(rfc3339: try cursor.string(in: record).utf8(in: record))
      } else if try key.spells("start_time", in: record) {
        if try cursor.skipNull(in: record) { return }
        start = Instant(rfc3339: try cursor.string(in: record).utf8(in: record))
      } else if try key.spells("earliest_start", in: record) {
        if try cursor.skipNull(in: record) { return }
        earliestStart = Instant(rfc3339: try cursor.string(in: record).utf8(in: record))
      } else if try key.spells("first_offset", in: record) {
        firstOffset = try cursor.number(in: record).int64.map { Offset($0) }
      } else if try key.spells("last_offset", in: record) {
        lastOffset = try cursor.number(in: record).int64.map { Offset($0) }
      } else if try key.spells("recall", in: record) {
        recall = String(decoding: try cursor.string(in: record).utf8(in: record), as: UTF8.self)
      } else if try key.spells("recall_until", in: record) {
        recallUntil = try cursor.number(in: record).int64.map { Offset($0) }
      } else if try key.spells("logs_until", in: record) {
        logsUntil = try cursor.number(in: record).int64.map { Offset($0) }
      } else if try key.spells("linked_from", in: record) {
        linkedFrom = try cursor.string(in: record).utf8(in: record).withRawBytes { TraceID(key: $0) }
      } else if try key.spells("links", in: record) {
        try cursor.openArray(in: record)
        while try cursor.nextElement(in: record) {
          let id = try cursor.string(in: record).utf8(in: record).withRawBytes { TraceID(key: $0) }
          if let id, links.count < LinksConfiguration.linksPerTrace { links.append(id) }
        }
      } else if try key.spells("link_hops", in: record) {
        linkHops = try cursor.number(in: record).int64
      } else if try key.spells("rv", in: record) {
        let digits = try cursor.string(in: record).utf8(in: record)
        // Written like a threshold, with all its digits.
        if digits.count == 14 { randomness = SamplingThreshold(hexadecimal: digits)?.rejected }
      } else {
        try cursor.skipValue(in: record)
      }
    }
  }
}
