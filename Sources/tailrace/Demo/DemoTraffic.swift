// The demo's traffic, published when due, and its truth.

import Foundation
import Kafka
import OTLP
import Pipeline
import Simulation
import Synchronization

/// Publishes generated records when they are due.
final class DemoTraffic {
  private var workload: Workload
  private var next: WorkloadRecord?
  private let producer: Producer
  private let topic: ProducerTopic
  /// Truths of completely published traces.
  private(set) var truths: [TraceTruth] = []
  private(set) var spans = 0
  private(set) var bytes = 0
  private(set) var spansByService: [String: Int] = [:]
  private var scanned = ScannedRecord()

  init(options: WorkloadOptions, topic: String, brokers: String) throws {
    workload = Workload(options)
    producer = try Producer(
      properties: [KafkaProperty("bootstrap.servers", brokers), KafkaProperty("linger.ms", "5")],
      log: { _ in })
    self.topic = try producer.topic(topic)
    next = workload.next()
  }

  /// Starts no more traces.
  func finish() {
    workload.finish()
  }

  /// Publishes what is due; false when nothing is left.
  func publishDue() throws -> Bool {
    let now = Int64(Date().timeIntervalSince1970 * 1e9)
    while let record = next, record.publishedAt <= now {
      try publish(record)
      next = workload.next()
    }
    truths += workload.takeFinishedTruths()
    producer.poll()
    if next == nil { try producer.flush(timeout: .seconds(30)) }
    return next != nil
  }

  private func publish(_ record: WorkloadRecord) throws {
    try record.key.withRawBytes { key in
      try record.bytes.withRawBytes { value in
        try producer.produce(topic, partition: nil, key: key, value: value)
        try scanned.scan(value)
        for resource in scanned.resources {
          let name = String(decoding: record.bytes[resource.serviceName.indices], as: UTF8.self)
          spansByService[name, default: 0] += record.spanCount
        }
      }
    }
    spans += record.spanCount
    bytes += record.bytes.count
  }
}

/// The outcome of a thread's work, for other threads.
final class Outcome: Sendable {
  private let state = Mutex<WorkerFailure?>(nil)

  var failure: WorkerFailure? { state.withLock { $0 } }

  func fail(_ failure: WorkerFailure) {
    state.withLock { $0 = failure }
  }
}
