// The job of a repartitioning lane: it splits records with any key and writes their spans keyed by trace id.

internal import OTLP
package import Sampling
package import Topology

/// Reads `raw-spans` and writes `spans`. It keeps no state: a record is done once its pieces are written.
package struct RepartitionJob: ~Copyable, LaneJob {
  /// What configures a repartitioning lane.
  package struct Configuration: Sendable {
    /// How records are encoded.
    package var encoding = SpanEncoding.otlpProto
    /// How their values may be compressed.
    package var compression = ValueCompression.auto
    /// The input topic's name, for dead letters.
    package var topic: String
    /// How often to commit.
    package var pace = CommitPace()
    /// Larger records are malformed.
    package var recordBytesMax = Limits().recordBytes
    /// The largest value that the topic of spans accepts.
    package var spansBytesMax = 900_000
    /// The most bytes of a dead letter's key, value and headers together.
    package var deadLetterBytesMax = 900_000
    /// Working memory up to this much is kept from one record to the next.
    package var workingBytesKept = 16 << 20

    /// Makes a configuration with the defaults above.
    package init(topic: String) {
      self.topic = topic
    }
  }

  private let configuration: Configuration
  private let report: (LaneEvent) -> Void
  private var decoder: InputDecoder
  private var deadLetters: DeadLetterOutput
  private var splitter: RecordSplitter
  private var positions = ReadPositions()
  private var recordsRead: UInt64 = 0
  private var bytesRead: UInt64 = 0
  private var recordsMalformed: UInt64 = 0

  init(_ configuration: Configuration, report: @escaping (LaneEvent) -> Void) {
    self.configuration = configuration
    self.report = report
    decoder = InputDecoder(encoding: configuration.encoding, compression: configuration.compression)
    deadLetters = DeadLetterOutput(topic: configuration.topic, bytesMax: configuration.deadLetterBytesMax)
    splitter = RecordSplitter(bytesMax: configuration.spansBytesMax)
  }

  /// It does not depend on policies.
  package mutating func adopt(_ sampler: SamplerConfiguration) {}

  // MARK: Records

  package mutating func mayPoll(at now: Instant) -> Bool { true }

  package mutating func take(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, at moment: Moment, to link: some BrokerLink
  ) throws(BrokerError) {
    guard positions.pass(place, at: moment.steady, report: report) != nil else { return }
    recordsRead += 1
    var failure: BrokerError?
    var malformed: MalformedInput? = MalformedInput(.tombstone, at: 0)
    if let value {
      bytesRead += UInt64(value.byteCount)
      let bytesMax = configuration.recordBytesMax
      malformed = decoder.decode(value, bytesMax: bytesMax) { bytes in
        if value.byteCount > bytesMax { return MalformedInput(.recordTooLarge, at: 0) }
        do throws(MalformedInput) { try splitter.read(bytes) } catch { return error }
        do throws(BrokerError) {
          try splitter.write(bytes, key: key, from: place, aside: &deadLetters, to: link)
        } catch {
          failure = error
        }
        return nil
      }
    }
    if let failure { throw failure }
    if let malformed {
      recordsMalformed += 1
      try deadLetters.writeRecord(
        place, malformed, splitter.rejectedSpans, decoder, key: key, value: value, to: link)
    } else if let value {
      try deadLetters.writeRejected(decoder, of: value, at: place, key: key, to: link)
    }
  }

  /// Reports dead letters, and releases a large record's working memory.
  package mutating func work(
    at moment: Moment, waiting: [WaitingPartition], to link: some BrokerLink
  ) throws(BrokerError) {
    for notice in deadLetters.takeNotices(at: moment.steady) { report(.deadLettered(notice)) }
    guard workingBytes > configuration.workingBytesKept else { return }
    splitter.release()
    decoder.release()
  }

  package mutating func finish(at steady: Instant) {
    for notice in deadLetters.takeNotices(at: steady, all: true) { report(.deadLettered(notice)) }
  }

  /// Bytes of memory that it holds.
  var workingBytes: Int { splitter.byteCount + decoder.byteCount }

  // MARK: Partitions

  package var partitionIDs: [PartitionID] { positions.ids }

  package mutating func resume(
    _ partition: inout WaitingPartition, at moment: Moment, from link: some BrokerLink
  ) throws(BrokerError) -> Bool {
    let offset = partition.committed??.offset
    try link.resume([(partition.id, offset)])
    positions.add(partition.id, from: offset)
    report(.assigned(partition.id, from: offset, recordsAgain: 0, verdicts: 0))
    return true
  }

  package mutating func noteEnd(of id: PartitionID, at offset: Offset) {
    positions.passEnd(of: id, at: offset)
  }

  package mutating func forget(_ ids: [PartitionID]) {
    _ = positions.remove(ids)
  }

  package mutating func flush(to link: some BrokerLink) {}

  package mutating func points(all: Bool, at wall: Instant) -> [(PartitionID, CommitPoint)] {
    positions.points(all: all)
  }

  package mutating func noteCommitted(_ points: [(PartitionID, CommitPoint)], at wall: Instant) {
    positions.noteCommitted(points)
  }

  // MARK: Measures

  package func measured(by link: some BrokerLink) -> LaneMeasures {
    var all = LaneMeasures()
    all.positions = positions.measured(by: link)
    return all
  }

  package func snapshot() -> LaneSnapshot {
    var snapshot = LaneSnapshot()
    snapshot.counters.recordsRead = recordsRead
    snapshot.counters.bytesRead = bytesRead
    snapshot.counters.recordsMalformed = recordsMalformed
    snapshot.counters.spansRead = splitter.spansRead
    snapshot.lane.add(positions.skipped)
    snapshot.lane.spans = splitter.recordsWritten
    snapshot.lane.deadLetters = deadLetters.letters
    snapshot.lane.deadLetterSpans = deadLetters.spans
    snapshot.partitions = partitionIDs
    return snapshot
  }
}

extension Lane where Job == RepartitionJob {
  /// Makes a repartitioning lane over a link that has joined its group.
  ///
  /// - Parameters:
  ///   - now: the clock for measurements.
  ///   - report: receives events, on the lane's thread.
  package convenience init(
    link: Link, configuration: RepartitionJob.Configuration, now: @escaping () -> Moment = { .now },
    report: @escaping (LaneEvent) -> Void
  ) {
    self.init(
      link: link, job: RepartitionJob(configuration, report: report), pace: configuration.pace, now: now,
      report: report)
  }
}
