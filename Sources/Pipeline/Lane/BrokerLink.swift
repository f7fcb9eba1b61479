// The seam between the pipeline and a broker: what a lane needs from Kafka, or from the simulated cluster.
//
// A link is one member of the consumer group and one producer. It is used only from the lane's thread, and
// its calls block: each for a few seconds at most, and never beyond the timeout of an open transaction.
// Everything a lane writes between two commits belongs together: a transactional link commits it atomically
// with the commit points; a plain one makes it durable before it commits.

public import Sampling

/// A place in the input: a partition of the one topic that a lane reads.
public struct RecordPlace: Sendable {
  /// The partition.
  public var partition: PartitionID
  /// The offset.
  public var offset: Offset
  /// The record's timestamp; nil if it has none.
  public var timestamp: Instant?
  /// Whether the broker set it when it appended the record. One that a producer set may be wrong.
  public var isLogTime: Bool

  /// Makes a place.
  public init(partition: PartitionID, offset: Offset, timestamp: Instant?, isLogTime: Bool = false) {
    self.partition = partition
    self.offset = offset
    self.timestamp = timestamp
    self.isLogTime = isLogTime
  }
}

/// What a member of a consumer group receives besides records.
public enum GroupEvent: Equatable, Sendable {
  /// Partitions are assigned to this member, which answers with `resume`.
  case assigned([PartitionID])
  /// Partitions are being revoked. The member finishes its work on them and answers with `release`.
  case revoked([PartitionID])
  /// Partitions already belong to another member. Nothing may be committed for them; the answer is `release`.
  case lost([PartitionID])
  /// All records of the partition before this offset have been delivered.
  case caughtUp(PartitionID, Offset)
  /// A transient error; the link recovers on its own.
  case disturbed(BrokerError)
}

/// The one error type of a link, in the three classes that a lane distinguishes.
public struct BrokerError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What can be done about it.
  public enum Remedy: Sendable {
    /// Try the same again later.
    case retry
    /// Abandon what was written since the last commit and resume the partitions from it.
    case abort
    /// End the process: a new one takes over.
    case stop
  }

  /// What can be done.
  public var remedy: Remedy
  /// What happened, for the log.
  public var message: String
  /// Whether its cause is the state of the brokers or the network, so that it passes when they recover. Other
  /// errors end the process if they keep recurring.
  public var isTransient: Bool

  /// Makes an error.
  public init(_ remedy: Remedy, _ message: String, isTransient: Bool = true) {
    self.remedy = remedy
    self.message = message
    self.isTransient = isTransient
  }

  /// The message.
  public var description: String { message }
}

/// Where a lane writes. Decisions, the ledger, kept spans and kept logs go to the partition of their input.
public enum OutputTopic: Hashable, Sendable, CaseIterable {
  /// Spans keyed by trace id: what `repartition` makes.
  case spans
  /// Decision records.
  case decisions
  /// The ledger: pages with the verdicts of dropped traces.
  case verdicts
  /// Kept spans.
  case sampled
  /// Kept logs.
  case sampledLogs
  /// Records, or spans of one, that could not be processed.
  case deadLetters
  /// Each partition's traffic counts, for the adaptive baseline.
  case stats
  /// Metrics of all spans.
  case metrics
  /// Kept traces whose verdicts spread along links.
  case links
}

/// A header of a record.
public struct RecordHeaderField: Equatable, Sendable {
  /// Its name.
  public var name: String
  /// Its value; nil if it has none.
  public var value: [UInt8]?

  /// Makes a header with any value.
  public init(_ name: String, bytes value: [UInt8]?) {
    self.name = name
    self.value = value
  }

  /// Makes a header with a UTF-8 value.
  public init(_ name: String, _ value: String) {
    self.init(name, bytes: Array(value.utf8))
  }
}

/// How far a partition's verdicts have been read back.
public enum PastDecisions: Equatable, Sendable {
  /// This many offsets out of this many have been read.
  case reading(read: Int64, of: Int64)
  /// All have been read. They are incomplete if a topic no longer reaches back far enough, or if a page of
  /// the ledger could not be read.
  case read(isWhole: Bool, damage: LedgerDamage? = nil)
}

/// Pages of the ledger that could not be read back.
public struct LedgerDamage: Equatable, Sendable {
  /// How many.
  public var pages: Int
  /// The offset of the first in topic `verdicts`,
  public var firstOffset: Int64
  /// and what is wrong with it.
  public var firstError: LedgerError

  /// Makes a description.
  public init(pages: Int, firstOffset: Int64, firstError: LedgerError) {
    self.pages = pages
    self.firstOffset = firstOffset
    self.firstError = firstError
  }
}

/// What records are read for besides being sampled. Each use has its own place in a partition.
public enum RereadingUse: CaseIterable, Sendable {
  /// Dropped traces are recalled.
  case recall
  /// Kept traces of log-backed windows are handed out.
  case windows
  /// Logs follow verdicts: a topic of its own, and no second time.
  case logs
  /// Logs of recalled traces.
  case recalledLogs

  /// Whether the topic of logs is read, and not that of spans.
  var isOfLogs: Bool { self == .logs || self == .recalledLogs }

  /// What is done, for messages.
  var action: String {
    switch self {
    case .recall, .windows: "reading records again"
    case .logs: "reading logs"
    case .recalledLogs: "reading logs again"
    }
  }

  /// Kilobytes fetched ahead. Recalls mostly read short stretches. Log-backed windows read up to the safe
  /// offset and fetch again what lies after it.
  var prefetchedKilobytes: Int {
    switch self {
    case .recall, .logs, .recalledLogs: 16_384
    case .windows: 4096
    }
  }
}

/// What a lane needs from a broker.
public protocol BrokerLink {
  /// Delivers the records that have arrived, waiting at most `timeout` for the first. Returns how many there
  /// were.
  ///
  /// Key and value are lent for the call only. Records of a partition that the lane has released may still
  /// arrive.
  func poll(
    timeout: Interval, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) -> Int

  /// At most `countMax` headers of the record that `poll` is delivering, and how many it has. None outside
  /// the body passed to `poll`.
  func lentHeaders(countMax: Int) -> (headers: [RecordHeaderField], count: Int)

  /// The events since the last call, in order.
  func takeEvents() -> [GroupEvent]

  /// The last committed point of each partition, in the order of `partitions`; nil if there is none, or if
  /// only the offset is known (then the metadata was not ours).
  func committed(_ partitions: [PartitionID]) throws(BrokerError) -> [CommittedPoint?]

  /// Starts reading the partitions, each from its offset; nil means the configured start for groups without a
  /// commit.
  func resume(_ partitions: [(PartitionID, Offset?)]) throws(BrokerError)

  /// Stops reading the partitions.
  func release(_ partitions: [PartitionID]) throws(BrokerError)

  /// Queues a record. The bytes are copied.
  ///
  /// - Parameter partition: the partition to write to; nil lets the key decide.
  func write(
    _ topic: OutputTopic, partition: PartitionID?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeaderField]
  ) throws(BrokerError)

  /// Makes everything written so far durable, then commits the points. If it throws `retry` while
  /// `isCommitting`, it must be repeated until it ends otherwise, before any other call.
  func commit(_ points: [(PartitionID, CommitPoint)]) throws(BrokerError)

  /// Whether there is output that only a commit makes durable.
  var hasUncommitted: Bool { get }

  /// Whether a commit has begun whose outcome is unknown.
  var isCommitting: Bool { get }

  /// Reads back more of the partition's own verdicts: those written since `time`, as a `read_committed`
  /// reader sees them, and, with an `end`, until one was given later than that. It is called until it returns
  /// `.read`; `release` ends it too.
  ///
  /// Verdicts of this partition, and of others being read back at the same time, are delivered as they
  /// arrive, and not kept: those of the ledger, oldest first, then those of decision records, oldest first.
  /// They include everything that an earlier owner of the partition may
  /// have committed; until that is certain, the error is `retry`. A call takes no longer than a round should.
  func readDecisions(
    _ partition: PartitionID, since time: Instant, until end: Instant?,
    _ take: (PartitionID, RestoredVerdict) -> Void
  ) throws(BrokerError) -> PastDecisions

  /// Bytes of what calls of `readDecisions` with an `end` have read so far.
  var bytesLookedUp: UInt64 { get }

  /// Prepares to read these partitions again for `use`, each from its offset on, and no others. It sends a
  /// request only where reading does not simply go on. If it fails, those that it has not sought are not
  /// read.
  ///
  /// - Parameter lost: gets those of which some records are no longer in the log, with the first offset that
  ///   is left, even if it fails: they are read from there, and nothing tells of it again.
  func seekAgain(
    _ partitions: [(PartitionID, Offset)], for use: RereadingUse, lost: inout [(PartitionID, Offset)]
  ) throws(BrokerError)

  /// Delivers records that are read again for `use`, as far as they have arrived: of each partition in order,
  /// from where it was sought on. It does not wait. Key and value are lent for the call only.
  func readAgain(
    for use: RereadingUse, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError)

  /// The first requests of these partitions' logs that were written at or after a time; nil where there is
  /// none.
  func findLogs(_ partitions: [(PartitionID, Instant)]) throws(BrokerError) -> [Offset?]

  /// The ends of these partitions' logs, requests that are not readable yet included, and whether everything
  /// before them has been delivered.
  func logEnds(of partitions: [PartitionID]) throws(BrokerError) -> [(end: Offset, isRead: Bool)]

  /// The offsets after the partitions' last records, readable yet or not, from one request for all of them.
  func ends(of partitions: [PartitionID]) throws(BrokerError) -> [Offset]

  /// The same for one partition; nil if it is not known without a request.
  func knownEnd(of partition: PartitionID) -> Offset?

  /// Delivers the counts that the fleet has written since the last call, beginning at the topic's start.
  /// Returns whether all counts present when the link was made have been delivered. It does not wait.
  func readStats(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool

  /// How many partitions the input has, by a request to the brokers.
  func inputPartitions() throws(BrokerError) -> Int

  /// Delivers the records of the topic of links written since the last call: at first all of them. Returns
  /// whether everything present at the start was delivered; true if there is no such topic. It doesn't wait.
  func readLinks(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool

  /// Whether output and commit points become durable atomically. If not, some output may exist although its
  /// commit failed.
  var commitsTogether: Bool { get }

  /// Whether every topic that mirrors the input's partitions has this one. It asks the brokers only while
  /// that is not known, and at most once a second.
  func hasOutputs(for partition: PartitionID) throws(BrokerError) -> Bool

  /// Undoes everything written since the last commit, if the link can.
  func abort() throws(BrokerError)

  /// Leaves the group. Output since the last commit may be lost.
  func close()

  /// Drops everything without contacting a broker: for a process that is about to end while none answers.
  func abandon()
}

/// A commit that was read back.
public struct CommittedPoint: Equatable, Sendable {
  /// The committed offset.
  public var offset: Offset
  /// The metadata stored with it; empty if there was none.
  public var metadata: String

  /// Makes a point.
  public init(offset: Offset, metadata: String) {
    self.offset = offset
    self.metadata = metadata
  }
}

extension BrokerLink {
  /// Prepares to read partitions again for `use`, and calls `lose` for each of which some records are no
  /// longer in the log: also when another one can't be sought.
  package func seekAgain(
    _ partitions: [(PartitionID, Offset)], for use: RereadingUse,
    lose: (PartitionID, Offset) throws(BrokerError) -> Void
  ) throws(BrokerError) {
    var lost: [(PartitionID, Offset)] = []
    var failure: BrokerError?
    do { try seekAgain(partitions, for: use, lost: &lost) } catch { failure = error }
    for (partition, first) in lost { try lose(partition, first) }
    if let failure { throw failure }
  }
}
