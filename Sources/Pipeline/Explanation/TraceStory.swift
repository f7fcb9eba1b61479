// What happened to one trace: its spans as they arrived, the verdicts, and why.

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
    /// How long after the first of the trace's spans it started, in nanoseconds.
    public var afterNs: UInt64 = 0
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
  /// What each shadow policy answers about them: they decide nothing.
  public var shadow: [Answer] = []
  /// The shadow policies that would change the verdict, by its record.
  public var shadowChanging: [String] = []
  /// The spans.
  public var spans: [StorySpan] = []
  /// What is missing, and why.
  public var notes: [String] = []
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
