// The settings of the tail-sampling topology.

public import Sampling

/// Traces in, decisions and kept spans out.
public struct TailSamplingTopology: Equatable, Sendable {
  /// The consumer group's default id.
  public static let groupDefault = "tailrace"

  /// Group, lanes, delivery and the connection to Kafka.
  public var worker: WorkerSettings
  /// The topics read and written.
  public var topics: Topics
  /// How long traces stay open and verdicts are remembered, in stream time.
  public var windows: Windows
  /// How dropped traces are read again.
  public var recall: Recall
  /// How logs follow verdicts, if there is a topic of logs.
  public var logs: Logs
  /// How logs follow the verdicts on their traces.
  public struct Logs: Equatable, Sendable {
    /// A log record is dealt with when the stream clock is this much later than its request's timestamp:
    /// 100 ms to 24 h, at most `lateWindow`.
    public var wait: Duration
    /// What becomes of log records without a trace id.
    public var withoutTrace: TraceFreeLogs
    /// What becomes of log records whose trace has no verdict, or none that is still known.
    public var withoutVerdict: Rule

    /// Makes settings; the defaults are those of a topology file.
    public init(
      wait: Duration = .seconds(70), withoutTrace: TraceFreeLogs = .keep, withoutVerdict: Rule = .drop
    ) {
      self.wait = wait
      self.withoutTrace = withoutTrace
      self.withoutVerdict = withoutVerdict
    }

    /// What becomes of log records.
    public enum Rule: String, Equatable, Sendable, CaseIterable {
      /// They are kept.
      case keep
      /// They are dropped.
      case drop
    }
  }

  /// How all spans are counted before they are sampled; nil if they are not.
  public var metrics: SpanMetricsConfiguration?
  /// How verdicts spread along span links; nil if they do not.
  public var links: LinksConfiguration?
  /// Limits on traces, records and memory.
  public var limits: Limits
  /// Which traces are kept: those that any policy samples, or the rules keep. Empty
  /// only beside rules or a baseline; names unique.
  public var policies: [PolicySpecification]
  /// Rules beside the policies: the first that is for a trace decides what the rules make of it.
  public var rules: [RuleSpecification]
  /// Policies that are asked and decide nothing. Names unique, and none of the policies'.
  public var shadow: [PolicySpecification]
  /// The adaptive baseline, evaluated after the policies under the name `baseline`; nil if there is none.
  public var baseline: BaselineSettings?
  /// Whether evaluation stops at the first policy that samples a trace.
  public var sampleOnFirstMatch: Bool
  /// Whether top-level policies with `invertMatch` drop what matches, as in Collectors before version 0.144;
  /// otherwise they sample what does not match.
  public var invertDecisions: Bool

  /// Makes a topology; the defaults are those of a topology file.
  public init(
    worker: WorkerSettings = WorkerSettings(group: TailSamplingTopology.groupDefault),
    topics: Topics = Topics(), windows: Windows = Windows(), recall: Recall = Recall(),
    logs: Logs = Logs(), limits: Limits = Limits(),
    policies: [PolicySpecification] = PolicySpecification.defaults, rules: [RuleSpecification] = [],
    sampleOnFirstMatch: Bool = false,
    invertDecisions: Bool = false, baseline: BaselineSettings? = nil, shadow: [PolicySpecification] = [],
    metrics: SpanMetricsConfiguration? = nil, links: LinksConfiguration? = nil
  ) {
    self.worker = worker
    self.topics = topics
    self.windows = windows
    self.recall = recall
    self.logs = logs
    self.limits = limits
    self.policies = policies
    self.rules = rules
    self.shadow = shadow
    self.sampleOnFirstMatch = sampleOnFirstMatch
    self.invertDecisions = invertDecisions
    self.baseline = baseline
    self.metrics = metrics
    self.links = links
  }

  /// The topics of a tail-sampling topology; all names differ.
  public struct Topics: Equatable, Sendable {
    /// Whether and how missing topics are created.
    public var creation: TopicCreation
    /// The spans read.
    public var spans: SpanSource
    /// The decisions written.
    public var decisions: Decisions
    /// The name of the ledger's topic: the verdicts of dropped traces in bulk.
    public var verdicts: String
    /// The name of the topic of kept spans.
    public var sampled: String
    /// Which kept spans are annotated with the reason they were kept.
    public var annotate: AnnotatedSpans
    /// The name of the topic of records that could not be read.
    public var deadLetters: String
    /// The name of the topic of traffic counts; only an adaptive baseline uses it.
    public var stats: String
    /// The name of the topic of metrics; only `metrics` uses it.
    public var metrics: String
    /// The name of the topic of links; only `links` uses it.
    public var links: String
    /// The logs read; nil if logs do not follow.
    public var logs: SpanSource?
    /// The name of the topic of kept logs.
    public var sampledLogs: String

    /// Makes topics; the defaults are those of a topology file.
    public init(
      creation: TopicCreation = TopicCreation(), spans: SpanSource = SpanSource(name: "spans"),
      decisions: Decisions = Decisions(), verdicts: String = "verdicts", sampled: String = "sampled",
      annotate: AnnotatedSpans = .none, deadLetters: String = "spans.dead-letters", stats: String = "stats",
      metrics: String = "metrics", links: String = "links", logs: SpanSource? = nil,
      sampledLogs: String = "sampled-logs"
    ) {
      self.creation = creation
      self.spans = spans
      self.decisions = decisions
      self.verdicts = verdicts
      self.sampled = sampled
      self.annotate = annotate
      self.deadLetters = deadLetters
      self.stats = stats
      self.metrics = metrics
      self.links = links
      self.logs = logs
      self.sampledLogs = sampledLogs
    }
  }

  /// The topic of decision records.
  public struct Decisions: Equatable, Sendable {
    /// The topic's name.
    public var name: String
    /// How its records are encoded.
    public var encoding: Encoding
    /// What is written for a dropped trace.
    public var dropped: DroppedRecord
    /// Whether records tell the shapes of traces even if nothing else needs them.
    public var tellsShapes: Bool

    /// Makes the settings; the defaults are those of a topology file.
    public init(
      name: String = "decisions", encoding: Encoding = .json, dropped: DroppedRecord = .ledger,
      tellsShapes: Bool = false
    ) {
      self.name = name
      self.encoding = encoding
      self.dropped = dropped
      self.tellsShapes = tellsShapes
    }

    /// How decision records are encoded.
    public enum Encoding: String, Equatable, Sendable, CaseIterable {
      /// One JSON object per record.
      case json
    }

    /// What is written for a dropped trace.
    public enum DroppedRecord: String, Equatable, Sendable, CaseIterable {
      /// An entry in the ledger, the topic of verdicts.
      case ledger
      /// Id, verdict, counts, root and offsets.
      case compact
      /// Every field that a kept trace's record has.
      case full
      /// Nothing.
      case none
    }
  }

  /// Lengths of stream time.
  public struct Windows: Equatable, Sendable {
    /// A trace closes no later than this after its first span: 100 ms to 24 h.
    public var decisionWait: Duration
    /// A trace with its root and no missing parent closes this long after the root: 0 s to `decisionWait`.
    public var decisionWaitAfterRoot: Duration
    /// Whether a trace of which only the root has arrived by then waits for `decisionWait`.
    public var loneRootsWait: Bool
    /// Verdicts are remembered this long: `decisionWait` to 24 h, or from 0 s if spans are in the log.
    public var lateWindow: Duration
    /// A dropped trace is recalled if a late span makes a policy certain within this time after the verdict,
    /// and within `lateWindow`: 0 s (recall is off) to 24 h.
    public var recallWindow: Duration
    /// Where the spans of undecided traces are.
    public var buffer: WindowBuffer

    /// Makes windows; the defaults are those of a topology file.
    public init(
      decisionWait: Duration = .seconds(35), decisionWaitAfterRoot: Duration = .seconds(5),
      loneRootsWait: Bool = true, lateWindow: Duration = .seconds(600),
      recallWindow: Duration = .seconds(3600), buffer: WindowBuffer = .memory
    ) {
      self.decisionWait = decisionWait
      self.decisionWaitAfterRoot = decisionWaitAfterRoot
      self.loneRootsWait = loneRootsWait
      self.lateWindow = lateWindow
      self.recallWindow = recallWindow
      self.buffer = buffer
    }
  }

  /// How dropped traces are read again.
  public struct Recall: Equatable, Sendable {
    /// The most bytes of records that the process reads again in a second: 64 KiB to 10 GiB.
    public var bytesPerSecond: Int

    /// Makes settings; the defaults are those of a topology file.
    public init(bytesPerSecond: Int = 32 << 20) {
      self.bytesPerSecond = bytesPerSecond
    }
  }

  /// Limits on traces, records and memory. Sizes are in bytes.
  public struct Limits: Equatable, Sendable {
    /// A trace with more spans is decided early and kept as a skeleton.
    public var spansPerTrace: Int
    /// A trace with more bytes of spans is decided early and kept as a skeleton.
    public var bytesPerTrace: Int
    /// A larger record is dead-lettered.
    public var recordBytes: Int
    /// Memory for buffered spans and remembered verdicts, for the whole process.
    public var memory: Int
    /// How many service names are told apart.
    public var services: Int

    /// Makes limits; the defaults are those of a topology file.
    public init(
      spansPerTrace: Int = 10_000, bytesPerTrace: Int = 16 << 20, recordBytes: Int = 4 << 20,
      memory: Int = 2 << 30, services: Int = 10_000
    ) {
      self.spansPerTrace = spansPerTrace
      self.bytesPerTrace = bytesPerTrace
      self.recordBytes = recordBytes
      self.memory = memory
      self.services = services
    }
  }
}

/// What becomes of log records without a trace id.
public enum TraceFreeLogs: String, Equatable, Sendable, CaseIterable {
  /// All are kept.
  case keep
  /// All are dropped.
  case drop
  /// Those of severity TRACE or higher are kept: those that have a severity.
  case trace
  /// Those of severity DEBUG or higher are kept.
  case debug
  /// Those of severity INFO or higher are kept.
  case info
  /// Those of severity WARN or higher are kept.
  case warn
  /// Those of severity ERROR or higher are kept.
  case error
  /// Those of severity FATAL or higher are kept.
  case fatal
}
