// The demo's auditor: reads the worker's output as any consumer would, and knows nothing of the worker.

import Foundation
import Kafka
import OTLP
import Pipeline
import Sampling
import Topology

/// Reads `decisions`, `verdicts` and `sampled`.
final class DemoAudit {
  /// The fields of a decision record that the audit needs.
  struct Record: Decodable {
    var traceId: String
    var verdict: String
    var final: Bool
    var revised: Bool?
    var reasons: [String]?
  }

  private let decisions: TopicReader
  private let verdicts: TopicReader
  private let sampled: TopicReader
  private let decoder = JSONDecoder()
  private var scanned = ScannedRecord()

  /// The first final verdict of each trace: whether it was kept.
  private var firstVerdicts: [TraceID: Bool] = [:]
  /// Dropped traces that were recalled for their late spans.
  private(set) var recalled: Set<TraceID> = []
  /// Traces with more than one final decision, revised ones not counted.
  private(set) var repeatedFinals = 0
  /// Kept spans by trace.
  private(set) var keptSpans: [TraceID: Set<UInt64>] = [:]
  private(set) var keptSpanCount = 0
  private(set) var keptBytes = 0
  private(set) var keptByService: [String: Int] = [:]
  private(set) var keptByReason: [String: Int] = [:]

  init(_ topology: TailSamplingTopology, brokers: String) throws {
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    decisions = try TopicReader(topology.topics.decisions.name, brokers: brokers)
    verdicts = try TopicReader(topology.topics.verdicts, brokers: brokers)
    sampled = try TopicReader(topology.topics.sampled, brokers: brokers)
  }

  /// Traces with a final verdict,
  var decidedTraces: Int { firstVerdicts.count }
  /// and those whose last one is to keep them.
  var keptTraces: Int { firstVerdicts.count { $0.value } + recalled.count }

  /// Whether the trace's last verdict is to keep it.
  func isKept(_ id: TraceID) -> Bool { firstVerdicts[id] == true || recalled.contains(id) }

  /// Reads what has arrived.
  func read() throws {
    try decisions.read { [self] bytes in try take(decision: bytes) }
    try verdicts.read { [self] bytes in try take(page: bytes) }
    try sampled.read { [self] bytes in try take(kept: bytes) }
  }

  private func take(decision bytes: [UInt8]) throws {
    let record = try decoder.decode(Record.self, from: Data(bytes))
    guard let id = Array(record.traceId.utf8).withRawBytes({ TraceID(key: $0) }) else {
      throw CommandFailure.failed("a decision names '\(record.traceId)', which is not a trace id")
    }
    guard record.final else { return }
    let isKept = record.verdict == "keep"
    if record.revised == true { recalled.insert(id) } else { take(isKept, id) }
    if isKept {
      for reason in record.reasons ?? [] { keptByReason[reason, default: 0] += 1 }
    }
  }

  private func take(page bytes: [UInt8]) throws {
    try bytes.withRawBytes { (page) throws(VerdictRecordError) in
      try RestoredVerdict.read(page) { take($0.isKept, $0.traceID) }
    }
  }

  private func take(_ isKept: Bool, _ id: TraceID) {
    if firstVerdicts.updateValue(isKept, forKey: id) != nil { repeatedFinals += 1 }
  }

  private func take(kept bytes: [UInt8]) throws {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in try scanned.scan(raw) }
    keptBytes += bytes.count
    for span in scanned.spans {
      keptSpans[span.traceID, default: []].insert(span.spanID)
      keptSpanCount += 1
      let name = scanned.resources[Int(span.resource)].serviceName
      keptByService[String(decoding: bytes[name.indices], as: UTF8.self), default: 0] += 1
    }
  }
}

/// Reads one topic from its beginning, in its own group.
final class TopicReader {
  private let consumer: Consumer

  init(_ topic: String, brokers: String) throws {
    consumer = try Consumer(
      topic: topic,
      properties: [
        KafkaProperty("bootstrap.servers", brokers), KafkaProperty("group.id", "audit-\(topic)"),
        KafkaProperty("isolation.level", "read_committed"), KafkaProperty("fetch.wait.max.ms", "50"),
      ], log: { _ in })
    try consumer.subscribe()
  }

  deinit {
    consumer.close()
  }

  /// Delivers the values that have arrived.
  func read(_ body: ([UInt8]) throws -> Void) throws {
    _ = try consumer.poll(timeout: .milliseconds(20)) { (_, _, value) throws in
      try body(value?.copied() ?? [])
    }
    for event in consumer.takeEvents() {
      switch event {
      case .assigned(let partitions):
        try consumer.assign(partitions.map { PartitionOffset($0, offset: PartitionOffset.beginning) })
      case .revoked(let partitions), .lost(let partitions): try consumer.unassign(partitions)
      case .error(let error) where error.isFatal: throw error
      case .error, .endOfPartition: break
      }
    }
  }
}
