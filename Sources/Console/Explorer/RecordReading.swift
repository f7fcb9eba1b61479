// Fetches the spans of kept traces from the log, by the places that the index has of them.

internal import Exploration
internal import OTLP
internal import Pipeline
internal import Synchronization
internal import Topology

/// Reads records of the topics of kept spans and decisions. Used from one thread at a time.
final class RecordReading {
  /// What was read of a search's traces.
  struct Result: Sendable {
    /// The traces that have spans left, in the order asked for.
    var traces: [TraceSpans] = []
    var decisions: [(record: [UInt8], position: RecordPosition)] = []
    /// The logs of the one trace that was asked for; nil where logs don't follow their traces.
    var logs: TraceLogs?
    /// Why something is missing, if it is.
    var missing: String?
  }

  private let topology: TailSamplingTopology
  private var fetchers: [RecordPosition.Topic: RecordFetcher] = [:]

  private static let patience = Duration.seconds(10)
  /// Bytes read for an answer.
  private static let bytesMax = 64 << 20

  init(_ topology: TailSamplingTopology) {
    self.topology = topology
  }

  /// Reads traces.
  ///
  /// - Parameter withDecisions: whether to read their decision records, too, and of a single one its logs.
  func read(_ found: [FoundTrace], withDecisions: Bool) -> Result {
    var result = Result()
    var traces = found.map { TraceSpans($0.id) }
    var places: [RecordFetcher.Place: [Int]] = [:]
    for (number, trace) in found.enumerated() {
      for position in trace.positions where position.topic == .sampled {
        places[.init(partition: position.partition, offset: position.offset), default: []].append(number)
      }
    }
    var bytes = 0
    result.missing = fetch(.sampled, Array(places.keys)) { place, value in
      for number in places[place] ?? [] {
        let before = traces[number].count
        traces[number].add(value)
        // What a span takes besides its bytes, here and in the answer.
        bytes += (traces[number].count - before) * 512
      }
      bytes += value.count
      return bytes < RecordReading.bytesMax
    }
    if bytes >= RecordReading.bytesMax {
      result.missing = "the answer would be too large: some spans were not read"
    }
    result.traces = traces.filter { !$0.isEmpty }
    if result.missing == nil, let one = found.first, found.count == 1 {
      result.missing = RecordReading.missing(of: one, traces[0])
    }
    guard withDecisions else { return result }
    let positions = found.flatMap(\.positions).filter { $0.topic == .decisions }
    _ = fetch(.decisions, positions.map { .init(partition: $0.partition, offset: $0.offset) }) {
      place, value in
      let position = RecordPosition(.decisions, partition: place.partition, offset: place.offset)
      result.decisions.append((value, position))
      return true
    }
    if topology.topics.logs != nil, let one = found.first, found.count == 1 { readLogs(of: one, &result) }
    return result
  }

  private func readLogs(of found: FoundTrace, _ result: inout Result) {
    var logs = TraceLogs(found.id)
    let positions = found.positions.filter { $0.topic == .logs }
    var bytes = 0
    let missing = fetch(.logs, positions.map { .init(partition: $0.partition, offset: $0.offset) }) {
      _, value in
      logs.add(value)
      bytes += value.count
      return !logs.isTruncated && bytes < RecordReading.bytesMax
    }
    if result.missing == nil { result.missing = missing }
    if found.hasMoreLogs { logs.noteMore() }
    result.logs = logs
  }

  private static func missing(of found: FoundTrace, _ trace: TraceSpans) -> String? {
    guard trace.count < found.spans, !found.isTruncated else { return nil }
    guard !trace.isEmpty else { return "the spans of this trace are not in the log: not yet, or no longer" }
    return "\(found.spans - trace.count) of \(found.spans) spans are not in the log: not yet, or no longer"
  }

  /// Returns why something could not be read.
  private func fetch(
    _ topic: RecordPosition.Topic, _ places: [RecordFetcher.Place],
    _ take: (RecordFetcher.Place, [UInt8]) -> Bool
  ) -> String? {
    guard !places.isEmpty else { return nil }
    let topics = topology.topics
    let name =
      switch topic {
      case .sampled: topics.sampled
      case .decisions: topics.decisions.name
      case .logs: topics.sampledLogs
      }
    do {
      let fetcher = try fetchers[topic] ?? RecordFetcher(topic: name, of: .tailSampling(topology))
      fetchers[topic] = fetcher
      guard try fetcher.fetch(places, within: RecordReading.patience, take) else {
        return "reading '\(name)' took too long: some of it was not read"
      }
      return nil
    } catch {
      fetchers[topic]?.abandon()
      fetchers[topic] = nil
      return "'\(name)' could not be read: \(error)"
    }
  }

  func abandon() { for fetcher in fetchers.values { fetcher.abandon() } }
}
