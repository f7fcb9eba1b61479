// A topic that is measured on, and a worker that reads it in this process.

import Foundation
import Kafka
import Logging
import Pipeline
import Topology

/// An existing topic of spans.
struct BenchTopic {
  let name: String
  let brokers: String
  let partitions: Int
  /// Distinguishes the groups and topics of different runs.
  let run = "bench-" + String(UInt32.random(in: 0 ... .max), radix: 16)

  /// How long reading it may take.
  static let patience = Duration.seconds(120)

  init(_ name: String, brokers: String) throws {
    self.name = name
    self.brokers = brokers
    let admin = try Admin(properties: [KafkaProperty("bootstrap.servers", brokers)], log: { _ in })
    guard let description = try admin.describe([name], timeout: .seconds(15))[0] else {
      throw CommandFailure.failed("topic '\(name)' does not exist")
    }
    partitions = description.partitions
  }

  var properties: [KafkaProperty] {
    [
      KafkaProperty("bootstrap.servers", brokers), KafkaProperty("receive.message.max.bytes", "2147483647"),
      KafkaProperty("fetch.message.max.bytes", "33554432"), KafkaProperty("fetch.max.bytes", "134217728"),
    ]
  }

  /// A consumer with the same properties as a worker's.
  func consumer(group: String) throws(KafkaError) -> Consumer {
    try Consumer(
      topic: name, properties: properties + [KafkaProperty("group.id", group)], batchCapacity: 2048,
      log: { _ in })
  }

  /// Its partitions' first or next offsets: `PartitionOffset.beginning` or `.end`.
  func offsets(_ named: Int64) throws(KafkaError) -> [PartitionOffset] {
    let places = (0..<Int32(partitions)).map { PartitionOffset(TopicPartition(name, $0), offset: named) }
    return try consumer(group: run).lookUp(places, timeout: .seconds(15))
  }
}

/// A worker that samples a topic, on its own threads. Each has its own group and output topics.
final class BenchWorker {
  private let worker: Worker
  private let thread: WorkerThread

  /// - Parameter start: where it begins to read; nil for the topic's start.
  init(
    _ topic: BenchTopic, lanes: Int, _ delivery: Delivery, name: String, from start: [PartitionOffset]? = nil
  ) throws(KafkaError) {
    var topology = TailSamplingTopology()
    let name = "\(topic.run)-\(name)"
    topology.worker = WorkerSettings(
      group: name, lanes: lanes, delivery: delivery,
      kafka: KafkaProperties(
        Dictionary(topic.properties.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })))
    // A topic that was filled at full speed holds some seconds of stream time. Windows are as short, so in
    // steady state they close as fast as they open.
    topology.windows.decisionWait = .seconds(1)
    topology.windows.decisionWaitAfterRoot = .milliseconds(250)
    topology.windows.lateWindow = .seconds(10)
    topology.topics.spans.name = topic.name
    topology.topics.decisions.name = "\(name)-decisions"
    topology.topics.verdicts = "\(name)-verdicts"
    topology.topics.sampled = "\(name)-sampled"
    topology.topics.deadLetters = "\(name)-dead-letters"
    if let start { try topic.consumer(group: name).commit(start, timeout: .seconds(15)) }
    worker = Worker(.tailSampling(topology), logger: .standardError(topology.worker, level: .error))
    thread = WorkerThread(worker)
  }

  deinit { stop() }

  /// Its contents and counts, a moment ago.
  var snapshot: LaneSnapshot { worker.snapshot }

  /// Throws what ended it, if it has failed.
  func check() throws {
    if let error = thread.error { throw error }
  }

  /// Ends it, and waits until it has ended.
  func stop() {
    worker.stop()
    thread.wait()
  }
}

/// A worker on its own thread.
private final class WorkerThread: @unchecked Sendable {
  // Sound: `failure` is only accessed under the lock.
  private let lock = NSLock()
  private var failure: (any Error)?
  private let ended = DispatchGroup()

  init(_ worker: Worker) {
    ended.enter()
    Thread { [self] in
      do { try worker.run() } catch { lock.withLock { failure = error } }
      ended.leave()
    }.start()
  }

  var error: (any Error)? { lock.withLock { failure } }

  func wait() { ended.wait() }
}
