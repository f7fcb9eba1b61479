// A worker whose embedded brokers refuse it ends, and reports who refused what.

import Foundation
import Kafka
import Logging
import Pipeline
import Synchronization
import Testing
import Topology

/// A worker's log lines.
private final class LogLines: LogHandler, Sendable {
  private let lines = Mutex<[String]>([])
  var metadata: Logger.Metadata {
    get { [:] }
    set {}
  }
  var logLevel: Logger.Level {
    get { .debug }
    set {}
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { nil }
    set {}
  }

  var all: [String] { lines.withLock(\.self) }

  func log(event: LogEvent) {
    lines.withLock { $0.append("\(event.level) \(event.message)") }
  }
}

@Suite struct WorkerErrorTests {
  /// Kinds of requests and errors by their numbers in Kafka's protocol.
  private enum Request {
    static let fetch: Int16 = 1
    static let joinGroup: Int16 = 11
    static let initProducerID: Int16 = 22
  }

  private func topology(_ brokers: String, _ delivery: Delivery) throws -> TailSamplingTopology {
    var topology = TailSamplingTopology()
    topology.worker.kafka.values["bootstrap.servers"] = brokers
    topology.worker.delivery = delivery
    topology.worker.commitInterval = .milliseconds(100)
    topology.topics.creation.enabled = false
    return topology
  }

  private func cluster() throws -> MockCluster {
    let cluster = try MockCluster()
    for topic in ["spans", "decisions", "verdicts", "sampled", "spans.dead-letters"] {
      try cluster.createTopic(topic, partitions: 2)
    }
    return cluster
  }

  @Test(
    arguments: [
      (Request.joinGroup, 30, "Group authorization failed"),
      (Request.fetch, 29, "Topic authorization failed"),
      (Request.initProducerID, 53, "Transactional Id authorization failed"),
    ] as [(Int16, Int32, String)])
  func aRefusedWorkerEndsAndReportsIt(_ request: Int16, _ code: Int32, _ text: String) throws {
    let cluster = try cluster()
    let delivery = request == Request.initProducerID ? Delivery.exactlyOnce : .atLeastOnce
    let lines = LogLines()
    let worker = Worker(
      .tailSampling(try topology(cluster.bootstrapServers, delivery)),
      logger: Logger(label: "test") { _ in lines })
    cluster.failNext(api: request, with: Array(repeating: code, count: 50))
    let failure = #expect(throws: WorkerFailure.self) { try worker.run() }
    #expect(
      failure?.description.contains(text) == true, "\(failure?.description ?? "it ended without an error")")
    #expect(lines.all.contains { $0.hasPrefix("critical") && $0.contains(text) }, "\(lines.all)")
  }

  @Test func aWorkerWithoutBrokersWaitsForThemUntilItIsStopped() throws {
    let lines = LogLines()
    // No one listens on port 1.
    let worker = Worker(
      .tailSampling(try topology("127.0.0.1:1", .exactlyOnce)), logger: Logger(label: "test") { _ in lines })
    let ended = DispatchSemaphore(value: 0)
    let thread = Thread {
      #expect(throws: Never.self) { try worker.run() }
      ended.signal()
    }
    thread.start()
    let deadline = Date(timeIntervalSinceNow: 60)
    while !lines.all.contains(where: { $0.contains("no answer from the brokers at 127.0.0.1:1") }) {
      try #require(Date.now < deadline, "\(lines.all)")
      Thread.sleep(forTimeInterval: 0.05)
    }
    worker.stop()
    #expect(ended.wait(timeout: .now() + 60) == .success)
  }
}
