// What a client tells about itself, as librdkafka writes it: kept here, read elsewhere.

internal import CRdKafka
internal import Synchronization

/// The last statistics of a client. Written by the thread that polls the client, read by any.
public final class KafkaStatistics: Sendable {
  private let last = Mutex<(text: [UInt8], at: ContinuousClock.Instant)>(([], .now))

  /// Nothing told yet.
  public init() {}

  /// How often a client with statistics tells them, unless its properties say otherwise.
  static let interval = KafkaProperty("statistics.interval.ms", "5000")

  /// The last statistics: JSON as librdkafka's STATISTICS.md describes it; empty before the first.
  public var latest: [UInt8] { last.withLock(\.text) }

  /// How long ago they were told.
  public var age: Duration { ContinuousClock.now - last.withLock(\.at) }

  /// Takes the place of what was kept. A copy is all that happens on the client's thread.
  func keep(_ json: UnsafeRawBufferPointer) {
    // Sound: the bytes are read during the call only.
    let copy = unsafe [UInt8](json)
    last.withLock { $0 = (copy, .now) }
  }
}

/// The version of librdkafka that runs, such as `2.0.2`.
public var librdkafkaVersion: String {
  // Sound: librdkafka returns a static string.
  unsafe String(cString: rd_kafka_version_str())
}
