// The story of a trace from the topics of a running fleet.

internal import Kafka
public import OTLP
internal import Sampling
public import Topology

extension TraceStory {
  /// Where in a fleet's topics to look for a trace.
  public struct Search: Sendable {
    /// The partitions; nil for those in which the trace's key can be.
    public var partitions: [Int32]?
    /// Whether to read all partitions.
    public var readsAll = false
    /// Where to begin; nil for the beginning of the topics.
    public var from: TopicStretch.Bound?

    /// Looks in the partitions of the trace's key, from the beginning.
    public init() {}
  }

  /// The story of a trace in the topics of spans, decisions and verdicts; nil if nothing there is about it.
  ///
  /// - Parameter progress: called with the topic that is read, and how much of it is done, from 0 to 1. Ends
  ///   the search if it returns false.
  /// - Throws: `KafkaError`.
  public static func inTopics(
    of topology: TailSamplingTopology, of traceID: TraceID, _ search: Search,
    progress: (String, Double) -> Bool = { _, _ in true }
  ) throws -> TraceStory? {
    let configuration = SamplerConfiguration(topology)
    let whole = Topology.tailSampling(topology)
    var builder = StoryBuilder(traceID, configuration, hasPartitions: true)
    var content = RecordContent()
    let topics = topology.topics
    let key = Array(traceID.description.utf8)
    func read(_ topic: String, _ take: (TopicRecord) -> Void) throws {
      var stretch = TopicStretch(topic: topic)
      stretch.from = search.from
      // An offset is one of the spans.
      if case .offset = search.from, topic != topics.spans.name { stretch.from = nil }
      stretch.partitions = search.partitions
      if stretch.partitions == nil, !search.readsAll {
        let count = try StretchReader.partitionCount(of: topic, whole)
        stretch.partitions = KeyPartitions.candidates(of: key, count: count)
      }
      let reader = try StretchReader(stretch, of: whole)
      defer { reader.abandon() }
      if !reader.partitionsCut.isEmpty {
        builder.notes.append("the oldest records of '\(topic)' are no longer in the log")
      }
      while !reader.isAtEnd {
        try reader.read { record in
          take(record)
          return true
        }
        guard progress(topic, reader.share ?? 0) else {
          builder.notes.append("the search was stopped in '\(topic)'")
          return
        }
      }
    }
    try read(topics.decisions.name) { if let value = $0.value { builder.take(decision: value) } }
    if configuration.dropped == .ledger {
      try read(topics.verdicts) { builder.take(page: $0) }
    }
    try read(topics.spans.name) { record in
      guard var value = record.value else { return }
      if topics.spans.encoding == .otlpJSON {
        guard let converted = try? content.protobuf(ofDocument: value) else { return }
        value = converted
      }
      builder.take(
        value, partition: record.partition, offset: record.offset, time: record.timestamp)
    }
    return builder.story()
  }
}

extension StoryBuilder {
  /// Adds the trace's entries in a page of the ledger.
  mutating func take(page record: TopicRecord) {
    guard let value = record.value else { return }
    var entries: [(LedgerEntry, String)] = []
    let traceID = traceID
    value.withRawBytes { bytes in
      do throws(LedgerError) {
        guard var reader = try LedgerReader(page: bytes) else { return }
        while let entry = try reader.next(in: bytes) {
          if entry.traceID == traceID { entries.append((entry, reader.configuration)) }
        }
      } catch { return }
    }
    for (entry, config) in entries { take(entry, partition: record.partition, config: config) }
  }
}
