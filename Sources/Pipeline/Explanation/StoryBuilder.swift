// Gathers what topics or a recording have of one trace, and puts its story together.

internal import Foundation
internal import OTLP
internal import Sampling

/// A decision record, or what the ledger has of one.
struct DecisionLine: Decodable {
  var traceId, verdict, trigger, decidedAt: String
  var final: Bool
  var late: Bool
  var vetoed, revised: Bool?
  var reasons, shadow: [String]?
  var probability, adjustedCount: Double?
  var spanCount, errorCount: Int
  var truncatedSpans: Int?
  var recall: String?
  var recallUntil: Int64?
  var partition: Int32
  var firstOffset, lastOffset: Int64
  var config: String?
  var linkedFrom: String?
  var linkHops: Int?

  var isKept: Bool { verdict == "keep" }
  var isRevised: Bool { revised == true }

  /// Reads a decision record; nil if it is anything else.
  init?(_ record: [UInt8]) {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    guard let line = try? decoder.decode(DecisionLine.self, from: Data(record)) else { return nil }
    self = line
  }

  /// What the ledger has.
  init(_ entry: LedgerEntry, partition: Int32, config: String) {
    traceId = entry.traceID.description
    (verdict, trigger, decidedAt) = ("drop", entry.trigger.rawValue, entry.decidedAt.description)
    late = entry.trigger == .late
    final = !late
    vetoed = entry.isVetoed
    (spanCount, errorCount) = (Int(clamping: entry.spanCount), Int(clamping: entry.errorCount))
    (firstOffset, lastOffset) = (entry.firstOffset.value, entry.lastOffset.value)
    self.partition = partition
    self.config = config
  }
}

/// Gathers what is known of a trace, and tells its story.
struct StoryBuilder {
  let traceID: TraceID
  private let configuration: SamplerConfiguration
  private let hasPartitions: Bool
  /// The spans of each partition: each has a sampler of its own, which knows nothing of the others.
  private var evidence: [Int32: TraceEvidence] = [:]
  private var arrivals: [Arrival] = []
  private var lines: [DecisionLine] = []
  private var spans: [TraceStory.StorySpan] = []
  var notes: [String] = []

  private struct Arrival {
    var partition: Int32
    var offset: Int64
    var time: Instant?
    var added: Int
    var spans: Range<Int>
  }

  /// Records that did not fit.
  private var recordsLeftOut = 0
  private var linesLeftOut = 0

  static let spansMax = 100_000
  static let bytesMax = 64 << 20
  static let linesMax = 10_000

  init(_ traceID: TraceID, _ configuration: SamplerConfiguration, hasPartitions: Bool) {
    self.traceID = traceID
    self.configuration = configuration
    self.hasPartitions = hasPartitions
  }

  /// Whether a record may have spans of the trace: whether its id is in it.
  func isNamed(in record: [UInt8]) -> Bool {
    let (high, low) = (traceID.high.bigEndian, traceID.low.bigEndian)
    return record.withRawBytes { bytes in
      guard bytes.byteCount >= 16 else { return false }
      for offset in 0...bytes.byteCount - 16
      where bytes.word(at: offset) == high && bytes.word(at: offset + 8) == low { return true }
      return false
    }
  }

  /// Adds the trace's spans in a record of protobuf.
  mutating func take(_ record: [UInt8], partition: Int32, offset: Int64, time: Instant?) {
    guard isNamed(in: record) else { return }
    let bytes = evidence.values.reduce(0) { $0 + $1.byteCount }
    guard spans.count < StoryBuilder.spansMax, bytes < StoryBuilder.bytesMax else {
      recordsLeftOut += 1
      return
    }
    let added = evidence[partition, default: TraceEvidence(traceID: traceID)].add(
      record, at: Offset(offset))
    let first = spans.count
    record.withRawBytes { bytes in
      var scanned = ScannedRecord()
      do throws(MalformedInput) { try scanned.scan(bytes) } catch { return }
      for span in scanned.spans where span.traceID == traceID {
        let service = scanned.resources[Int(span.resource)].serviceName
        spans.append(
          TraceStory.StorySpan(
            spanId: Self.hexadecimal(span.spanID),
            parentId: span.isRoot ? nil : Self.hexadecimal(span.parentID),
            service: Self.text(service, of: bytes), name: Self.text(span.name, of: bytes),
            startNs: span.start,
            durationNs: span.duration, isError: span.status == .error, offset: offset))
      }
    }
    guard spans.count > first else { return }
    arrivals.append(
      Arrival(
        partition: partition, offset: offset, time: time, added: added, spans: first..<spans.count))
  }

  /// Adds a decision record, if it is the trace's.
  mutating func take(decision record: [UInt8]) {
    let head = Array(#"{"trace_id":""#.utf8) + Array(traceID.description.utf8)
    guard record.starts(with: head), let line = DecisionLine(record) else { return }
    add(line)
  }

  /// Adds an entry of the ledger, if it is the trace's.
  mutating func take(_ entry: LedgerEntry, partition: Int32, config: String) {
    guard entry.traceID == traceID else { return }
    add(DecisionLine(entry, partition: partition, config: config))
  }

  private mutating func add(_ line: DecisionLine) {
    if lines.count < StoryBuilder.linesMax { lines.append(line) } else { linesLeftOut += 1 }
  }

  private static func hexadecimal(_ id: UInt64) -> String {
    let digits = String(id, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  private static func text(_ range: ByteRange, of bytes: RawSpan) -> String {
    String(decoding: bytes.extracting(range.indices).copied().prefix(1024), as: UTF8.self)
  }

  // MARK: The story

  /// The story; nil if nothing is known of the trace.
  func story() -> TraceStory? {
    guard !arrivals.isEmpty || !lines.isEmpty else { return nil }
    let final = lines.last(where: \.isRevised) ?? lines.last(where: \.final)
    let early = lines.first { !$0.final && $0.isKept }
    let verdict = final ?? early
    var story = TraceStory(
      traceId: traceID.description, verdict: verdict?.verdict, reasons: verdict?.reasons ?? [],
      probability: verdict?.probability, adjustedCount: verdict?.adjustedCount,
      spanCount: spans.count,
      truncatedSpans: verdict?.truncatedSpans ?? 0,
      isRecalled: lines.contains { $0.isRevised && $0.recall != "gone" })
    story.notes = notes + limits()
    let partitions = self.partitions
    let asked = verdict?.partition ?? partitions[0]
    if partitions.count > 1 {
      let list = partitions.map(String.init).joined(separator: ", ")
      story.notes.append(
        "it is in partitions \(list), as after partitions were added: each is sampled by itself, and offsets "
          + "of one say nothing about another's; events are told one partition after the other, and policies "
          + "answer for partition \(asked)")
    }
    story.events = partitions.flatMap { events(in: $0) }
    story.policies = answers(final, in: asked)
    // A recall's record does not name them: the verdict's own does.
    story.shadowChanging = lines.last { $0.final && !$0.isRevised }?.shadow ?? []
    story.shadow = shadowAnswers(final, story.shadowChanging, in: asked)
    if let config = final?.config, config != configuration.version {
      story.notes.append(
        "decided by configuration \(config); the policies' answers are those of \(configuration.version)"
      )
    }
    if verdict == nil {
      story.notes.append("there is no verdict yet, or it is no longer in the log")
    }
    if evidence[asked] == nil {
      story.notes.append(
        arrivals.isEmpty
          ? "its spans are not there, so policies can't be asked and no tree can be shown"
          : "the spans of the verdict's partition are not there, so policies can't be asked")
    }
    story.spans = distinctSpans()
    return story
  }

  /// The partitions that it is in, in the order in which they were met.
  private var partitions: [Int32] {
    var found: [Int32] = []
    for partition in arrivals.map(\.partition) + lines.map(\.partition) where !found.contains(partition) {
      found.append(partition)
    }
    return found
  }

  /// What did not fit.
  private func limits() -> [String] {
    var notes: [String] = []
    if recordsLeftOut > 0 {
      notes.append(
        "\(recordsLeftOut) more records name the trace, and are left out: a story has at most "
          + "\(StoryBuilder.spansMax) spans and \(StoryBuilder.bytesMax >> 20) MiB; policies answer for "
          + "what it has")
    }
    if linesLeftOut > 0 {
      notes.append(
        "\(linesLeftOut) more records of its verdicts are left out: a story has at most "
          + "\(StoryBuilder.linesMax)")
    }
    return notes
  }

  /// Each span once, in the order of their starts, the origin of an error marked: of the error spans without
  /// a failed child, the one that ended first.
  private func distinctSpans() -> [TraceStory.StorySpan] {
    var known: Set<String> = []
    var distinct = spans.filter { known.insert($0.spanId).inserted }
    distinct.sort { ($0.startNs, $0.spanId) < ($1.startNs, $1.spanId) }
    // One without a start would make the others half a century late.
    let first = distinct.first { $0.startNs > 0 }?.startNs ?? 0
    for place in distinct.indices {
      distinct[place].afterNs = max(distinct[place].startNs, first) - first
    }
    let failedParents = Set(distinct.filter(\.isError).compactMap(\.parentId))
    let origin = distinct.indices.filter {
      distinct[$0].isError && !failedParents.contains(distinct[$0].spanId)
    }
    .min { distinct[$0].endAndID < distinct[$1].endAndID }
    if let origin { distinct[origin].isErrorOrigin = true }
    return distinct
  }

  /// What policies answered: of those that depend on other traces, as the record tells.
  private func answers(_ final: DecisionLine?, in partition: Int32) -> [TraceStory.Answer] {
    guard let evidence = evidence[partition] else { return [] }
    let last = final.map { Offset($0.lastOffset) } ?? Offset(.max)
    return evidence.answers(configuration, upTo: last).map { answer in
      var answer = answer
      if answer.outcome == .depends, let final, final.vetoed != true {
        if final.reasons?.contains(answer.name) == true {
          answer.outcome = .matches
        } else if !final.isKept || !configuration.sampleOnFirstMatch {
          answer.outcome = .doesNotMatch
        }
      }
      return TraceStory.Answer(answer)
    }
  }

  /// What shadow policies answered: of those that depend on other traces, as the record tells.
  private func shadowAnswers(
    _ final: DecisionLine?, _ changing: [String], in partition: Int32
  ) -> [TraceStory.Answer] {
    guard let evidence = evidence[partition] else { return [] }
    let last = final.map { Offset($0.lastOffset) } ?? Offset(.max)
    return evidence.answers(configuration, upTo: last, of: configuration.shadow).map { answer in
      var answer = answer
      if answer.outcome == .depends, changing.contains(answer.name) { answer.outcome = .matches }
      return TraceStory.Answer(answer)
    }
  }

  /// What happened in a partition, in the order of its log: what a verdict rests on comes before it.
  private func events(in partition: Int32) -> [TraceStory.Event] {
    var placed: [(offset: Int64, rank: Int, event: TraceStory.Event)] = []
    let lines = self.lines.filter { $0.partition == partition }
    let verdict = lines.first { $0.final && !$0.isRevised }
    for (number, arrival) in arrivals.filter({ $0.partition == partition }).enumerated() {
      let isLate = verdict.map { arrival.offset > $0.lastOffset } ?? false
      placed.append((arrival.offset, 0, event(of: arrival, isFirst: number == 0, isLate: isLate)))
    }
    for line in lines {
      let rank = line.isRevised ? 4 : line.late ? 3 : line.final ? 2 : 1
      placed.append((line.lastOffset, rank, event(of: line)))
    }
    return placed.sorted { ($0.offset, $0.rank) < ($1.offset, $1.rank) }.map(\.event)
  }

  private func event(of arrival: Arrival, isFirst: Bool, isLate: Bool) -> TraceStory.Event {
    let spans = self.spans[arrival.spans]
    var services: [String] = []
    for span in spans where !services.contains(span.service) && services.count < 4 {
      services.append(span.service)
    }
    var text = isFirst ? "the trace opened: " : isLate ? "after the verdict: " : ""
    text +=
      "\(spans.count) \(spans.count == 1 ? "span" : "spans") of \(services.joined(separator: ", "))"
    if let root = spans.first(where: { $0.parentId == nil }) {
      text += "; the root \(root.name), \(Int64(clamping: root.durationNs).asDuration)"
    }
    let errors = spans.count(where: \.isError)
    if errors > 0 { text += "; \(errors) with ERROR" }
    if arrival.added < spans.count {
      text += "; \(spans.count - arrival.added) delivered again, left out"
    }
    return TraceStory.Event(
      kind: isLate ? "late" : "arrived", time: arrival.time?.description,
      partition: hasPartitions ? arrival.partition : nil, offset: arrival.offset, text: text)
  }

  private func event(of line: DecisionLine) -> TraceStory.Event {
    let reasons = (line.reasons ?? []).joined(separator: ", ")
    var (kind, text) = ("", "")
    if line.isRevised {
      (kind, text) = ("recalled", "recalled: read again and kept by \(reasons)")
      if let way = way(of: line) { text += "; \(way)" }
      if line.recall == "partial" { text += "; the log had lost some of its records" }
      if line.recall == "gone" { text = "the recall came too late: its records had left the log" }
    } else if line.late {
      (kind, text) = ("late_record", lateText(line, reasons))
    } else if !line.final {
      (kind, text) = ("kept_early", "kept early by \(reasons): \(cause(of: line))")
    } else if line.isKept {
      (kind, text) = ("kept", "\(cause(of: line)): kept by \(reasons)")
    } else {
      let veto = line.vetoed == true ? (reasons.isEmpty ? "a policy that drops it" : reasons) : nil
      (kind, text) = (
        "dropped",
        "\(cause(of: line)): dropped" + (veto.map { " by \($0)" } ?? ", no policy matched")
      )
    }
    if line.final, line.isKept, !line.isRevised, let way = way(of: line) { text += "; \(way)" }
    if line.final { text += "; \(line.spanCount) spans, \(line.errorCount) with ERROR" }
    if let cut = line.truncatedSpans, cut > 0 { text += "; a skeleton, \(cut) spans left out" }
    if line.isKept, let probability = line.probability, let count = line.adjustedCount,
      probability < 1
    {
      text += "; probability \(probability.asFigure), it stands for \(count.asFigure) traces"
    }
    return TraceStory.Event(
      kind: kind, time: line.decidedAt, partition: hasPartitions ? line.partition : nil,
      offset: line.lastOffset,
      text: text)
  }

  /// How links reach the trace.
  private func way(of line: DecisionLine) -> String? {
    guard let from = line.linkedFrom, let hops = line.linkHops else { return nil }
    let distance =
      hops == 1
      ? "which is kept for its own sake" : "which is \(hops - 1) links away from one kept for its own sake"
    return "it is linked with trace \(from), \(distance)"
  }

  private func lateText(_ line: DecisionLine, _ reasons: String) -> String {
    guard !reasons.isEmpty else { return "late spans change nothing" }
    if line.trigger == "linked" {
      return "\(way(of: line) ?? "links reached it"): a recall is requested"
        + (line.recallUntil.map { ", of offsets \(line.firstOffset) to \($0)" } ?? "")
    }
    switch line.recall {
    case "requested":
      return "late spans: \(reasons) would keep it now; a recall is requested"
        + (line.recallUntil.map { ", of offsets \(line.firstOffset) to \($0)" } ?? "")
    case "refused":
      return "late spans: \(reasons) would keep it now; too many recalls wait, so it stays dropped"
    default: return "late spans: \(reasons) would keep it now; it stays dropped"
    }
  }

  /// Why the verdict was given then.
  private func cause(of line: DecisionLine) -> String {
    let windows = configuration.windows
    switch line.trigger {
    case "root":
      return
        "closed \(windows.decisionWaitAfterRoot.nanoseconds.asDuration) after the root, no parent missing"
    case "wait":
      return "closed after the whole wait of \(windows.decisionWait.nanoseconds.asDuration)"
    case "memory": return "closed early because memory ran short"
    case "limit":
      let limits = configuration.limits
      return "over a limit (\(limits.spansPerTrace) spans or \(limits.bytesPerTrace) bytes)"
    case "eager": return "a span made it certain"
    case "linked": return way(of: line) ?? "links reached it"
    default: return "closed (\(line.trigger))"
    }
  }
}

extension TraceStory.StorySpan {
  fileprivate var endAndID: (UInt64, String) { (startNs &+ durationNs, spanId) }
}

extension TraceStory.Answer {
  fileprivate init(_ answer: PolicyAnswer) {
    self.init(
      name: answer.name, type: answer.type, answer: answer.outcome.rawValue, seen: answer.seen,
      wanted: answer.wanted, parts: answer.parts.map { TraceStory.Answer($0) })
  }
}
