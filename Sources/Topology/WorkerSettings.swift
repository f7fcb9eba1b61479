// The settings that all kinds of topology share: group, lanes, delivery, the connection to Kafka, topics.

internal import Kafka

/// How a worker takes part in its consumer group and reaches Kafka.
public struct WorkerSettings: Equatable, Sendable {
  /// The consumer group's id.
  public var group: String
  /// Consumers in this process, each with its own thread: 1 to 64.
  public var lanes: Int
  /// What a reader of the output topics may see after a failure.
  public var delivery: Delivery
  /// The time between two commits of consumed offsets: 50 ms to 60 s.
  public var commitInterval: Duration
  /// Offsets are committed after this many records, even before the interval is over: 1 to 100 million.
  public var commitRecords: Int
  /// How long the worker may take to stop: 1 s to 10 min.
  public var stopTimeout: Duration
  /// librdkafka properties for every client that the worker opens.
  public var kafka: KafkaProperties
  /// Where health and metrics are served.
  public var console: ConsoleSettings
  /// What is logged, and how.
  public var log: LogSettings

  /// Makes settings; the defaults are those of a topology file.
  public init(
    group: String, lanes: Int = 1, delivery: Delivery = .exactlyOnce,
    commitInterval: Duration = .seconds(1), commitRecords: Int = 250_000,
    stopTimeout: Duration = .seconds(25),
    kafka: KafkaProperties = KafkaProperties(), console: ConsoleSettings = ConsoleSettings(),
    log: LogSettings = LogSettings()
  ) {
    self.group = group
    self.lanes = lanes
    self.delivery = delivery
    self.commitInterval = commitInterval
    self.commitRecords = commitRecords
    self.stopTimeout = stopTimeout
    self.kafka = kafka
    self.console = console
    self.log = log
  }
}

/// Where a worker serves health, metrics and its configuration over HTTP.
public struct ConsoleSettings: Equatable, Sendable {
  /// The port of a repartitioner, which often runs alongside a sampler.
  public static let repartitionPort = 8081
  /// The port of an exporter, which may run beside both.
  public static let exportPort = 8082

  /// Whether it serves them at all.
  public var isEnabled: Bool
  /// The address to listen on: IPv4 or IPv6. Only this host can reach the default one.
  public var address: String
  /// The port; 0 for any free one.
  public var port: Int
  /// How many services get their own metrics, in order of appearance; the rest share a label: 0 to 10,000.
  public var services: Int

  /// Makes settings; the defaults are those of a topology file of kind `tail-sampling`.
  public init(isEnabled: Bool = true, address: String = "127.0.0.1", port: Int = 8080, services: Int = 200) {
    self.isEnabled = isEnabled
    self.address = address
    self.port = port
    self.services = services
  }
}

/// What a worker logs, and how.
public struct LogSettings: Equatable, Sendable {
  /// The least important lines to write.
  public var level: Level
  /// What a line looks like.
  public var format: Format

  /// Makes settings; the defaults are those of a topology file.
  public init(level: Level = .info, format: Format = .text) {
    self.level = level
    self.format = format
  }

  /// How important a line is.
  public enum Level: String, Equatable, Sendable, CaseIterable {
    /// Also what librdkafka does.
    case debug
    /// Normal events.
    case info
    /// Unusual events.
    case notice
    /// Events that need attention.
    case warning
    /// Failures.
    case error
  }

  /// What a line looks like.
  public enum Format: String, Equatable, Sendable, CaseIterable {
    /// For people: time, level, message, fields.
    case text
    /// One JSON object per line, with the same content.
    case json
  }
}

/// What a reader of the output topics may see after a failure.
public enum Delivery: String, Equatable, Sendable, CaseIterable {
  /// Nothing is lost; records may be repeated.
  case atLeastOnce = "at_least_once"
  /// Nothing is lost, nothing is repeated, for readers with `isolation.level=read_committed`.
  case exactlyOnce = "exactly_once"
}

/// librdkafka configuration properties. Printing or dumping them masks the secret ones.
public struct KafkaProperties: Equatable, Sendable {
  /// The brokers when neither `bootstrap.servers` nor its other name `metadata.broker.list` is given.
  public static let brokersDefault = "127.0.0.1:9092"

  /// Values by property name, as given to `rd_kafka_conf_set`.
  public var values: [String: String]

  /// Makes properties; without brokers among them, `bootstrap.servers` is `brokersDefault`.
  public init(_ values: [String: String] = [:]) {
    self.values = values
    if values["bootstrap.servers"] == nil, values["metadata.broker.list"] == nil {
      self.values["bootstrap.servers"] = Self.brokersDefault
    }
  }

  /// The properties sorted by name, secret values replaced by `***`.
  public var redacted: [(name: String, value: String)] {
    values.sorted { $0.key < $1.key }.map {
      ($0.key, KafkaProperty($0.key, $0.value).shownValue)
    }
  }

  /// Values that must not appear anywhere, longest first: one may be part of another.
  package var secretValues: [String] {
    values.flatMap { KafkaProperty($0.key, $0.value).secrets }.sorted { $0.utf8.count > $1.utf8.count }
  }
}

extension KafkaProperties: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// `name=value` pairs, secrets masked.
  public var description: String {
    redacted.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
  }

  /// The same as `description`.
  public var debugDescription: String { description }

  /// A mirror without the secrets, so that `dump` and test failures don't show them.
  public var customMirror: Mirror {
    Mirror(self, children: redacted.map { (label: $0.name, value: $0.value as Any) })
  }
}

/// Whether and how missing topics are created at start.
public struct TopicCreation: Equatable, Sendable {
  /// Whether missing topics are created.
  public var enabled: Bool
  /// The partition count when the input topic itself is created; output topics have as many as the input.
  public var partitions: Int
  /// Copies of each partition; nil leaves it to the broker's `default.replication.factor`.
  public var replicationFactor: Int?

  /// Makes settings; the defaults are those of a topology file.
  public init(enabled: Bool = true, partitions: Int = 8, replicationFactor: Int? = nil) {
    self.enabled = enabled
    self.partitions = partitions
    self.replicationFactor = replicationFactor
  }
}

/// A topic that spans are read from.
public struct SpanSource: Equatable, Sendable {
  /// The topic's name.
  public var name: String
  /// How its records are encoded.
  public var encoding: SpanEncoding
  /// How their values may be compressed by their producers.
  public var compression: ValueCompression

  /// Makes a source.
  public init(
    name: String, encoding: SpanEncoding = .otlpProto, compression: ValueCompression = .auto
  ) {
    self.name = name
    self.encoding = encoding
    self.compression = compression
  }
}

/// How producers may have compressed values, besides their clients, whose compression is Kafka's.
public enum ValueCompression: String, Equatable, Sendable, CaseIterable {
  /// Told by each value's first bytes: gzip, zstd, framed snappy, or not at all.
  case auto
  /// Not at all.
  case none
  /// Blocks of snappy, which nothing tells from other bytes, or framed snappy.
  case snappy
}

/// How the records of a span topic are encoded.
public enum SpanEncoding: String, Equatable, Sendable, CaseIterable {
  /// OTLP `TracesData`, protobuf.
  case otlpProto = "otlp_proto"
  /// OTLP `TracesData`, the JSON form of the OTLP specification.
  case otlpJSON = "otlp_json"
  /// One span of Jaeger, protobuf.
  case jaegerProto = "jaeger_proto"
  /// One span of Jaeger, JSON.
  case jaegerJSON = "jaeger_json"
  /// A list of spans of Zipkin's version 2, JSON.
  case zipkinJSON = "zipkin_json"
  /// The same, protobuf.
  case zipkinProto = "zipkin_proto"
}
