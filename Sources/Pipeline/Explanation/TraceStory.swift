// What happened to one trace: its spans as they arrived, the verdicts, and why.

internal import Foundation
public import OTLP
public import Sampling

/// The story of a trace.
public struct TraceStory: Encodable, Sendable {
  /// Something that happened, in the order of the log.
  public struct Event: Encodable, Sendable {
    /// What kind of event: `arrived`, `late`, `kept_early`, `kept`, `dropped`, `late_record`, `recalled`.
    public var kind: String
    /// When, in UTC: the record's time, or the stream clock at the verdict.
    public var time: String?
    /// The record's partition; nil in a recording.
    public var partition: Int32?
    /// The record's offset; in a recording, its number.
    public var offset: Int64?
    /// In words.
    public var text: String
  }

  /// A span.
  public struct StorySpan: Encodable, Sendable {
    /// Its id, 16 hexadecimal digits.
    public var spanId: String
    /// Its parent's; nil for a root.
    public var parentId: String?
    /// Its service and its name.
    public var service, name: String
    /// When it started: nanoseconds since 1970.
    public var startNs: UInt64
    /// How long it lasted, in nanoseconds.
    public var durationNs: UInt64
    /// Whether it failed.
    public var isError: Bool
    /// Whether the trace's error began with it.
    public var isErrorOrigin = false
    /// The offset of its record; in a recording, the record's number.
    public var offset: Int64
  }

  /// A policy's answer.
  public struct Answer: Encodable, Sendable {
    /// The policy's name; of a part, its type.
    public var name: String
    /// The type of its rule.
    public var type: String
    /// `matches`, `does_not_match` or `depends`.
    public var answer: String
    /// What it saw, and what it wants.
    public var seen, wanted: String
    /// The rules that it consists of.
    public var parts: [Answer]
  }

  /// The trace, 32 hexadecimal digits.
  public var traceId: String
  /// `keep` or `drop`; nil if there is no verdict yet.
  public var verdict: String?
  /// The policies that the verdict names.
  public var reasons: [String] = []
  /// The probability with which it was kept, and how many traces it stands for.
  public var probability, adjustedCount: Double?
  /// Spans that arrived, as far as they can still be read.
  public var spanCount: Int
  /// Spans left out of a skeleton.
  public var truncatedSpans: Int
  /// Whether it was recalled.
  public var isRecalled = false
  /// What happened.
  public var events: [Event] = []
  /// What each policy answers about the spans up to the verdict.
  public var policies: [Answer] = []
  /// The spans.
  public var spans: [StorySpan] = []
  /// What is missing, and why.
  public var notes: [String] = []
}

/// A decision record, or what the ledger has of one.
struct DecisionLine: Decodable {
  var traceId, verdict, trigger, decidedAt: String
  var final: Bool
  var late: Bool
  var vetoed, revised: Bool?
  var reasons: [String]?
  var probability, adjustedCount: Double?
  var spanCount, errorCount: Int
  var truncatedSpans: Int?
  var recall: String?
  var recallUntil: Int64?
  var partition: Int32
  var firstOffset, lastOffset: Int64
  var config: String?

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
  private var evidence: TraceEvidence
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

  private static let spansMax = 100_000

  init(_ traceID: TraceID, _ configuration: SamplerConfiguration, hasPartitions: Bool) {
    self.traceID = traceID
    self.configuration = configuration
    self.hasPartitions = hasPartitions
    evidence = TraceEvidence(traceID: traceID)
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
    guard spans.count < StoryBuilder.spansMax, isNamed(in: record) else { return }
    let added = evidence.add(record, at: Offset(offset))
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
    lines.append(line)
  }

  /// Adds an entry of the ledger, if it is the trace's.
  mutating func take(_ entry: LedgerEntry, partition: Int32, config: String) {
    guard entry.traceID == traceID else { return }
    lines.append(DecisionLine(entry, partition: partition, config: config))
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
    story.notes = notes
    story.events = events()
    if !arrivals.isEmpty { story.policies = answers(final) }
    if let config = final?.config, config != configuration.version {
      story.notes.append(
        "decided by configuration \(config); the policies' answers are those of \(configuration.version)"
      )
    }
    if verdict == nil {
      story.notes.append("there is no verdict yet, or it is no longer in the log")
    }
    if arrivals.isEmpty {
      story.notes.append(
        "its spans are not there, so policies can't be asked and no tree can be shown")
    }
    story.spans = distinctSpans()
    return story
  }

  /// Each span once, in the order of their starts, the origin of an error marked: of the error spans without
  /// a failed child, the one that ended first.
  private func distinctSpans() -> [TraceStory.StorySpan] {
    var known: Set<String> = []
    var distinct = spans.filter { known.insert($0.spanId).inserted }
    distinct.sort { ($0.startNs, $0.spanId) < ($1.startNs, $1.spanId) }
    let failedParents = Set(distinct.filter(\.isError).compactMap(\.parentId))
    let origin = distinct.indices.filter {
      distinct[$0].isError && !failedParents.contains(distinct[$0].spanId)
    }
    .min { distinct[$0].endAndID < distinct[$1].endAndID }
    if let origin { distinct[origin].isErrorOrigin = true }
    return distinct
  }

  /// What policies answered: of those that depend on other traces, as the record tells.
  private func answers(_ final: DecisionLine?) -> [TraceStory.Answer] {
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

  /// In the order of the log: what a verdict rests on comes before it.
  private func events() -> [TraceStory.Event] {
    var placed: [(offset: Int64, rank: Int, event: TraceStory.Event)] = []
    let verdict = lines.first { $0.final && !$0.isRevised }
    for (number, arrival) in arrivals.enumerated() {
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
    if line.final { text += "; \(line.spanCount) spans, \(line.errorCount) with ERROR" }
    if let cut = line.truncatedSpans, cut > 0 { text += "; a skeleton, \(cut) spans left out" }
    if line.isKept, let probability = line.probability, let count = line.adjustedCount,
      probability < 1
    {
      text += "; probability \(probability), it stands for \(count) traces"
    }
    return TraceStory.Event(
      kind: kind, time: line.decidedAt, partition: hasPartitions ? line.partition : nil,
      offset: line.lastOffset,
      text: text)
  }

  private func lateText(_ line: DecisionLine, _ reasons: String) -> String {
    guard !reasons.isEmpty else { return "late spans change nothing" }
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

extension TraceStory {
  /// The story of a trace in a recording, which is read twice; nil if the trace is not in it.
  ///
  /// - Parameter progress: called with how much is done, from 0 to 1.
  public static func inRecording(
    _ path: String, of traceID: TraceID, _ configuration: SamplerConfiguration,
    progress: (Double) -> Void = { _ in }
  ) throws -> TraceStory? {
    var configuration = configuration
    configuration.dropped = .full
    var builder = StoryBuilder(traceID, configuration, hasPartitions: false)
    let reader = try RecordingReader(path: path)
    var number: Int64 = 0
    var damages = 0
    while let item = try reader.next() {
      guard case .record(let record) = item else {
        damages += 1
        continue
      }
      builder.take(
        record.bytes, partition: 0, offset: number,
        time: Instant(nanoseconds: Int64(clamping: record.latestEnd)))
      number += 1
      progress((reader.share ?? 0) / 2)
    }
    if damages > 0 { builder.notes.append("\(damages) records are damaged: spans may be missing") }
    var replay = Replay(configuration: configuration)
    let again = try RecordingReader(path: path)
    _ = try replay.run(again, again: { try RecordingReader(path: path) }) { output in
      if case .decision(let record, _) = output { builder.take(decision: Array(record)) }
    } progress: { _ in
      progress(0.5 + (again.share ?? 0) / 2)
    }
    return builder.story()
  }
}
