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
    /// How long a partition may give nothing.
    public var patience = Duration.seconds(60)

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
    let topics = topology.topics
    var decoder = InputDecoder(encoding: topics.spans.encoding, compression: topics.spans.compression)
    let inputs = try StretchReader.partitionCount(of: topics.spans.name, whole)
    /// Outputs are in the partition of their input, and may have more partitions than it.
    func partitions(of topic: String) throws -> [Int32]? {
      if search.readsAll { return nil }
      let wanted = search.partitions ?? TraceStory.partitions(of: traceID, count: inputs)
      guard topic != topics.spans.name else { return wanted }
      let count = try StretchReader.partitionCount(of: topic, whole)
      return wanted.filter { $0 < count }
    }
    func read(_ topic: String, _ take: (TopicRecord) -> Void) throws {
      var stretch = TopicStretch(topic: topic)
      stretch.from = search.from
      stretch.patience = search.patience
      // An offset is one of the spans.
      if case .offset = search.from, topic != topics.spans.name { stretch.from = nil }
      stretch.partitions = try partitions(of: topic)
      if stretch.partitions?.isEmpty == true { return }
      let reader = try StretchReader(stretch, of: whole)
      defer { reader.abandon() }
      var isStopped = false
      while !reader.isAtEnd, !isStopped {
        try reader.read { record in
          take(record)
          return true
        }
        isStopped = !progress(topic, reader.share ?? 0)
      }
      if isStopped { builder.notes.append("the search was stopped in '\(topic)'") }
      builder.notes += reader.gaps.map { "'\(topic)', \($0)" }
      if reader.gaps.contains(where: \.isFailure), let trouble = reader.trouble {
        builder.notes.append("'\(topic)': the brokers' last error: \(trouble)")
      }
    }
    try read(topics.decisions.name) { if let value = $0.value { builder.take(decision: value) } }
    if configuration.dropped == .ledger {
      try read(topics.verdicts) { builder.take(page: $0) }
    }
    try read(topics.spans.name) { record in
      // What can't be read became a dead letter.
      _ = record.value?.withRawBytes { value in
        let most = configuration.limits.recordBytes
        return decoder.decode(value, bytesMax: most, convertedMax: most) { converted in
          builder.take(
            converted.copied(), partition: record.partition, offset: record.offset, time: record.timestamp)
          return nil
        }
      }
    }
    return builder.story()
  }

  /// The partitions that a trace may be in, whatever form its producer gives the key: 32 digits, the 16
  /// bytes, or 16 digits, as Jaeger's collector writes an id of 64 bits.
  private static func partitions(of traceID: TraceID, count: Int32) -> [Int32] {
    let digits = Array(traceID.description.utf8)
    let bytes = [traceID.high, traceID.low].flatMap { half in
      stride(from: UInt64(56), through: 0, by: -8).map { UInt8(truncatingIfNeeded: half >> $0) }
    }
    let keys = [digits, bytes] + (traceID.high == 0 ? [Array(digits.suffix(16))] : [])
    return Set(keys.flatMap { KeyPartitions.candidates(of: $0, count: count) }).sorted()
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
