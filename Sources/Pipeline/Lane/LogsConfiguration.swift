// How the logs of traces follow their verdicts, and what is counted of them.

package import Sampling
package import Topology

/// How logs follow verdicts.
package struct LogsConfiguration: Sendable {
  /// The topic of logs, whose partitions are those of the spans.
  package var topic: String
  /// How its requests are encoded.
  package var encoding = SpanEncoding.otlpProto
  /// A request is dealt with when the stream clock is this much later than its timestamp.
  package var wait = Interval.seconds(120)
  /// What becomes of log records without a trace.
  package var withoutTrace = TraceFreeLogs.keep
  /// Whether logs of traces without a verdict are kept.
  package var keepsWithoutVerdict = false
  /// Larger requests are dead letters.
  package var requestBytesMax = 16 << 20
  /// The largest value that the topic of kept logs accepts.
  package var sampledBytesMax = 900_000
  /// Bytes of requests that a lane may hold until they are due.
  package var heldBytesMax = 16 << 20
  /// Bytes of logs that a lane may hold for traces that are recalled.
  package var recalledBytesMax = 16 << 20

  /// Makes a configuration with the defaults above.
  package init(topic: String) {
    self.topic = topic
  }
}

/// What became of logs.
public struct LogCounters: Equatable, Sendable {
  /// Requests dealt with,
  public var requests: UInt64 = 0
  /// and their bytes.
  public var bytes: UInt64 = 0
  /// Records written.
  public var written: UInt64 = 0
  /// Log records of kept traces,
  public var kept: UInt64 = 0
  /// and of dropped ones.
  public var dropped: UInt64 = 0
  /// Log records of traces whose verdict is not known: those kept by rule,
  public var unknownKept: UInt64 = 0
  /// and those dropped.
  public var unknownDropped: UInt64 = 0
  /// Log records of traces whose verdict had to be forgotten: they are kept.
  public var forgottenKept: UInt64 = 0
  /// Log records without a trace: those kept by rule,
  public var traceFreeKept: UInt64 = 0
  /// and those dropped.
  public var traceFreeDropped: UInt64 = 0
  /// Log records of dropped traces that were read again and kept, because their traces were recalled.
  public var recalled: UInt64 = 0
  /// Those left out because a trace has too many.
  public var recalledTooMany: UInt64 = 0
  /// Bytes of requests that were read again for that.
  public var bytesReadAgain: UInt64 = 0
  /// Log records of dead letters that are larger than their topic accepts.
  public var tooLarge: UInt64 = 0
  /// Requests that can't be read.
  public var malformed: UInt64 = 0
  /// Offsets that had left the log before they were read.
  public var lost: UInt64 = 0

  /// Nothing yet.
  public init() {}

  mutating func add(_ other: LogCounters) {
    requests += other.requests
    bytes += other.bytes
    written += other.written
    kept += other.kept
    dropped += other.dropped
    unknownKept += other.unknownKept
    unknownDropped += other.unknownDropped
    forgottenKept += other.forgottenKept
    traceFreeKept += other.traceFreeKept
    traceFreeDropped += other.traceFreeDropped
    recalled += other.recalled
    recalledTooMany += other.recalledTooMany
    bytesReadAgain += other.bytesReadAgain
    tooLarge += other.tooLarge
    malformed += other.malformed
    lost += other.lost
  }
}
