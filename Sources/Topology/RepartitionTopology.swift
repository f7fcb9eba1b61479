// The settings of the repartition topology.

/// Spans of an unkeyed topic in, the same spans keyed by trace id out.
public struct RepartitionTopology: Equatable, Sendable {
  /// The consumer group's default id. It differs from the tail sampler's, whose members read another topic.
  public static let groupDefault = "tailrace-repartition"

  /// The default settings of a worker.
  public static let workerDefault = WorkerSettings(
    group: groupDefault, console: ConsoleSettings(port: ConsoleSettings.repartitionPort))

  /// Group, lanes, delivery and the connection to Kafka.
  public var worker: WorkerSettings
  /// The topics read and written.
  public var topics: Topics
  /// Larger records are dead-lettered. In bytes.
  public var recordBytesMax: Int

  /// Makes a topology; the defaults are those of a topology file.
  public init(
    worker: WorkerSettings = RepartitionTopology.workerDefault,
    topics: Topics = Topics(), recordBytesMax: Int = 4 << 20
  ) {
    self.worker = worker
    self.topics = topics
    self.recordBytesMax = recordBytesMax
  }

  /// The topics of a repartition topology; all names differ.
  public struct Topics: Equatable, Sendable {
    /// Whether and how missing topics are created.
    public var creation: TopicCreation
    /// The spans read, under any key or none.
    public var rawSpans: SpanSource
    /// The name of the topic of spans keyed by trace id; OTLP protobuf.
    public var spans: String
    /// The name of the topic of records that could not be read.
    public var deadLetters: String

    /// Makes topics; the defaults are those of a topology file.
    public init(
      creation: TopicCreation = TopicCreation(), rawSpans: SpanSource = SpanSource(name: "raw-spans"),
      spans: String = "spans", deadLetters: String = "spans.dead-letters"
    ) {
      self.creation = creation
      self.rawSpans = rawSpans
      self.spans = spans
      self.deadLetters = deadLetters
    }
  }
}
