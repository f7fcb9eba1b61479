// A client's statistics as librdkafka writes them: kept here, read elsewhere.

internal import CRdKafka
internal import Synchronization

/// The last statistics of a client. Written by the thread that polls the client, read by any.
public final class KafkaStatistics: Sendable {
  private let last = Mutex<(text: [UInt8], at: ContinuousClock.Instant)>(([], .now))

  /// No statistics yet.
  public init() {}

  /// How often a client with statistics reports them, by default.
  static let interval = KafkaProperty("statistics.interval.ms", "5000")

  /// The last statistics: JSON as librdkafka's STATISTICS.md describes it; empty before the first.
  public var latest: [UInt8] { last.withLock(\.text) }

  /// Their age.
  public var age: Duration { ContinuousClock.now - last.withLock(\.at) }

  /// Replaces the last statistics. The client's thread only makes a copy.
  func keep(_ json: UnsafeRawBufferPointer) {
    // Sound: the bytes are read only during the call.
    let copy = unsafe [UInt8](json)
    last.withLock { $0 = (copy, .now) }
  }
}

/// The version of the librdkafka in use, such as `2.0.2`.
public var librdkafkaVersion: String {
  // Sound: librdkafka returns a static string.
  unsafe String(cString: rd_kafka_version_str())
}
