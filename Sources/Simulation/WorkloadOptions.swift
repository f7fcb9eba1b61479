// What traffic to generate.

public import OTLP

/// The order in which an encoder writes a message's fields.
public enum FieldOrder: Sendable {
  /// By ascending field number, as most encoders do.
  case ascending
  /// By descending field number, as the OpenTelemetry Collector's own encoder does.
  case descending
  /// One or the other, record by record.
  case mixed
}

/// What traffic to generate. The defaults are a shop of twelve services.
public struct WorkloadOptions: Sendable {
  /// The same seed and options give the same bytes.
  public var seed: UInt64 = 1
  /// When the first trace starts: nanoseconds since 1970.
  public var startNanoseconds: Int64 = 1_760_000_000_000_000_000
  /// How many traces start in a second.
  public var tracesPerSecond = 100.0
  /// How many traces there are; nil for unlimited.
  public var traceCount: Int?
  /// How many services there are.
  public var services = 12
  /// Spans in a trace, on average.
  public var spansPerTrace = 50.0
  /// The most spans in a record.
  public var spansPerRecord = 5
  /// Whether records mix traces, as those of a collector that does not partition do.
  public var mixed = false
  /// The bytes of a span with its share of resource and scope, on average.
  public var spanBytes = 430
  /// Share of traces with an error.
  public var errorShare = 0.01
  /// Share of traces whose root lasts at least 1.25 times `slowThresholdNanoseconds`. The others' roots last
  /// at most 0.75 times as long, so that a clock that is off by milliseconds can't blur the truth.
  public var slowShare = 0.01
  /// The root duration from which a trace counts as slow.
  public var slowThresholdNanoseconds: Int64 = 2_000_000_000
  /// Share of traces that continue over a queue after their root may have ended.
  public var asyncShare = 0.2
  /// How far a service's clock may be off, in either direction.
  public var clockSkewMaxNanoseconds: Int64 = 10_000_000
  /// Share of traces with one late record.
  public var lateShare = 0.01
  /// How late, in nanoseconds.
  public var lateDelay: ClosedRange<Int64> = 15_000_000_000...40_000_000_000
  /// Share of records that are published again within a second, as by a producer that got no answer from its
  /// broker: half of them whole, half in part. Late records are not.
  public var redeliveredShare = 0.0
  /// How long after its last span a record is published at most, in nanoseconds.
  public var publishDelayMaxNanoseconds: Int64 = 1_000_000_000
  /// Share of traces whose root span is missing.
  public var rootlessShare = 0.005
  /// Share of traces with another vendor's tracestate.
  public var tracestateShare = 0.05
  /// Share of traces that link to another one: to one of the last few, mostly the last, so that chains come
  /// about, or to the next one, which may link back.
  public var linkShare = 0.0
  /// The order in which fields are written.
  public var fieldOrder = FieldOrder.mixed

  /// The defaults.
  public init() {}
}

/// One record, as a collector would publish it.
public struct WorkloadRecord: Sendable {
  /// When it is published: nanoseconds since 1970. Never earlier than the record before it.
  public var publishedAt: Int64
  /// The trace id in 32 lower-case hexadecimal characters; empty where records mix traces.
  public var key: [UInt8]
  /// A `TracesData`.
  public var bytes: [UInt8]
  /// How many spans are in it.
  public var spanCount: Int
  /// The first eight bytes of the (first) trace id.
  public var traceIDHigh: UInt64
  /// The last eight bytes of the (first) trace id.
  public var traceIDLow: UInt64
}

/// The truth about a generated trace, whatever a sampler makes of it.
public struct TraceTruth: Sendable, Equatable {
  /// The first eight bytes of the trace id.
  public var traceIDHigh: UInt64
  /// The last eight bytes of the trace id.
  public var traceIDLow: UInt64
  /// Spans that are published.
  public var spanCount: Int
  /// Those of them with status ERROR.
  public var errorCount: Int
  /// Whether there are any.
  public var hasError: Bool { errorCount > 0 }
  /// Whether the root's own duration reaches the threshold; a trace without a root is not slow.
  public var isSlow: Bool
  /// The root span's duration; nil if the root is missing.
  public var rootDurationNanoseconds: Int64?
  /// The services of its spans, sorted.
  public var services: [String]
  /// The root span's service.
  public var rootService: String?
  /// The root span's name.
  public var rootOperation: String?
  /// The service of the error span none of whose children failed; of several, the one that ended first.
  public var errorOriginService: String?
  /// That span's id.
  public var errorOriginSpanID: UInt64?
  /// Whether one of its records is late.
  public var isLate: Bool
  /// Whether that record holds all its errors, or its root: a sampler may have decided without them.
  public var isOutcomeLate: Bool
  /// When its last record is published: nanoseconds since 1970.
  public var lastPublishedAt: Int64
  /// The traces that its spans link to.
  public var links: [TraceID] = []
}
