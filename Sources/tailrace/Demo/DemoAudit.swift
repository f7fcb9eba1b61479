// The demo's auditor: reads the worker's output as any consumer would, and knows nothing of the worker.

import Foundation
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

  private let decisions: StretchReader
  private let verdicts: StretchReader
  private let sampled: StretchReader
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

  init(_ topology: TailSamplingTopology) throws {
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    func follow(_ topic: String) throws -> StretchReader {
      var stretch = TopicStretch(topic: topic)
      stretch.follows = true
      return try StretchReader(stretch, of: .tailSampling(topology))
    }
    decisions = try follow(topology.topics.decisions.name)
    verdicts = try follow(topology.topics.verdicts)
    sampled = try follow(topology.topics.sampled)
  }

  /// Leaves the broker.
  func end() {
    for reader in [decisions, verdicts, sampled] { reader.abandon() }
  }

  /// Traces with a final verdict,
  var decidedTraces: Int { firstVerdicts.count }
  /// and those whose last one is to keep them.
  var keptTraces: Int { firstVerdicts.count { $0.value } + recalled.count }

  /// Whether the trace's last verdict is to keep it.
  func isKept(_ id: TraceID) -> Bool { firstVerdicts[id] == true || recalled.contains(id) }

  /// Reads what has arrived.
  func read() throws {
    try read(decisions) { try take(decision: $0) }
    try read(verdicts) { try take(page: $0) }
    try read(sampled) { try take(kept: $0) }
  }

  private func read(_ reader: StretchReader, _ take: ([UInt8]) throws -> Void) throws {
    try reader.read(for: .milliseconds(20)) { record in
      try take(record.value ?? [])
      return true
    }
    if let gap = reader.gaps.first { throw CommandFailure.failed("the auditor is missing records: \(gap)") }
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
      // The others say where late spans are.
      try RestoredVerdict.read(page) { if $0.isFinal { take($0.isKept, $0.traceID) } }
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
