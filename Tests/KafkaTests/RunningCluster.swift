// A mock cluster for one test, and helpers to produce, read a topic, and wait for a condition.

import Kafka
import Testing

/// A cluster in this process, and clients of it that log nothing.
struct RunningCluster {
  let cluster: MockCluster

  init() throws {
    cluster = try MockCluster()
  }

  /// The properties of any client.
  var properties: [KafkaProperty] { [KafkaProperty("bootstrap.servers", cluster.bootstrapServers)] }

  func createTopic(_ name: String, partitions: Int32 = 1) throws {
    try cluster.createTopic(name, partitions: partitions)
  }

  func producer(_ more: [KafkaProperty] = []) throws -> Producer {
    try Producer(properties: properties + [KafkaProperty("linger.ms", "1")] + more, log: { _ in })
  }

  /// A member of `group` that answers rebalances within tenths of a second.
  ///
  /// The mock cluster makes the first member of a group wait for three seconds, and expels it if its session
  /// timeout is shorter.
  func member(
    of group: String, reading topic: String, fillTime: Duration = .zero, _ more: [KafkaProperty] = []
  ) throws -> Member {
    let quick = [
      KafkaProperty("group.id", group), KafkaProperty("heartbeat.interval.ms", "100"),
      KafkaProperty("session.timeout.ms", "4000"), KafkaProperty("fetch.wait.max.ms", "20"),
    ]
    return Member(
      try Consumer(topic: topic, properties: properties + quick + more, fillTime: fillTime, log: { _ in }))
  }
}

extension Producer {
  /// Produces one record with a text key and value.
  func send(
    _ topic: ProducerTopic, partition: Int32? = 0, key: String?, value: String?,
    headers: [(name: String, value: String)] = []
  ) throws {
    try withBytes(key) { key in
      try withBytes(value) { value in
        try produce(
          topic, partition: partition, key: key, value: value,
          headers: headers.map { RecordHeader($0.name, Array($0.value.utf8)) })
      }
    }
  }
}

/// Lends the bytes of a text.
private func withBytes(_ text: String?, _ body: (RawSpan?) throws -> Void) throws {
  guard let text else { return try body(nil) }
  let bytes = Array(text.utf8)
  // Sound: bytes have no padding.
  try body(unsafe bytes.span.bytes)
}

/// A record that was read.
struct ReadRecord: Equatable {
  var partition: Int32
  var offset: Int64
  var timestamp: Int64?
  var key: String?
  var value: String?
}

/// A consumer whose events the test answers.
final class Member {
  let consumer: Consumer
  /// Everything read so far.
  private(set) var records: [ReadRecord] = []
  /// Their headers, at most two of each, and how many each has.
  private(set) var headers: [(headers: [RecordHeader], count: Int)] = []
  /// Every event so far.
  private(set) var events: [ConsumerEvent] = []
  /// The assigned partitions, according to the answered events.
  private(set) var assigned: Set<TopicPartition> = []
  /// Where to start; by default the committed offset.
  var start = PartitionOffset.stored

  init(_ consumer: Consumer) {
    self.consumer = consumer
  }

  /// Reads what has arrived; returns the events, unanswered.
  func poll() -> [ConsumerEvent] {
    _ = consumer.poll(timeout: .milliseconds(5)) { info, key, value in
      records.append(
        ReadRecord(
          partition: info.partition, offset: info.offset, timestamp: info.timestampMilliseconds,
          key: text(key), value: text(value)))
      headers.append(consumer.lentHeaders(countMax: 2))
    }
    let new = consumer.takeEvents()
    events += new
    return new
  }

  /// Reads what has arrived and answers the group.
  func step() throws {
    for event in poll() {
      switch event {
      case .assigned(let partitions):
        try consumer.assign(partitions.map { PartitionOffset($0, offset: start) })
        assigned.formUnion(partitions)
      case .revoked(let partitions), .lost(let partitions):
        try consumer.unassign(partitions)
        assigned.subtract(partitions)
      case .endOfPartition, .error: break
      }
    }
  }

  /// Steps until a condition is true.
  func step(until what: String, _ condition: () -> Bool) throws {
    try wait(for: what) {
      try step()
      return condition()
    }
  }
}

private func text(_ bytes: RawSpan?) -> String? {
  guard let bytes else { return nil }
  // Sound: the bytes are copied within the call.
  return unsafe bytes.withUnsafeBytes { unsafe String(decoding: $0, as: UTF8.self) }
}

/// Calls `condition`, which itself waits briefly, until it is true.
func wait(for what: String, _ condition: () throws -> Bool) throws {
  let deadline = ContinuousClock.now + .seconds(25)
  while !(try condition()) {
    guard ContinuousClock.now < deadline else {
      Issue.record("waited in vain for \(what)")
      throw Waited()
    }
  }
}

struct Waited: Error {}
