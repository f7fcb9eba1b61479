// The seam between the pipeline and a broker: what a lane asks of Kafka, and of the simulated cluster.
//
// One link is one member of the consumer group and one producer. It is used from the lane's own thread only,
// and its calls block: each for seconds at the most, and no longer than an open transaction has left.
// Everything that a lane writes between two commits belongs together: a transactional link writes it and the
// commit points at once, or not at all; a plain one writes it before it commits.

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

/// What happens to a member of a consumer group beside records.
public enum GroupEvent: Equatable, Sendable {
  /// Partitions are given to this member. It answers with `resume`.
  case assigned([PartitionID])
  /// Partitions are to be given up. The member finishes with them and answers with `release`.
  case revoked([PartitionID])
  /// Partitions are another member's already. Nothing of them may be committed; the answer is `release`.
  case lost([PartitionID])
  /// All records of the partition before this offset have been delivered.
  case caughtUp(PartitionID, Offset)
  /// A transient error; the link recovers on its own.
  case disturbed(BrokerError)
}

/// The one error of a link, in the three classes that a lane tells apart.
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
  /// Whether it comes from the brokers' state or the network, and goes when they are well again. Errors that
  /// are not transient end the process when they come again and again.
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

/// Where a lane writes to. Decisions and kept spans go to the partition of their input.
public enum OutputTopic: Hashable, Sendable, CaseIterable {
  /// Spans keyed by trace id: what `repartition` makes.
  case spans
  /// Decision records.
  case decisions
  /// Kept spans.
  case sampled
  /// Records that could not be taken.
  case deadLetters
  /// What each partition counted, for the adaptive baseline.
  case stats
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

  /// Makes a header with a text in UTF-8.
  public init(_ name: String, _ value: String) {
    self.init(name, bytes: Array(value.utf8))
  }
}

/// How far the reading back of a partition's decision records is.
public enum PastDecisions: Equatable, Sendable {
  /// So many offsets have been read, of so many.
  case reading(read: Int64, of: Int64)
  /// All have been read. If they are not whole, the topic no longer reaches back far enough.
  case read(isWhole: Bool)
}

/// What a lane needs of a broker.
public protocol BrokerLink {
  /// Hands out records that have come, waiting for the first no longer than `timeout`. Returns how many there
  /// were.
  ///
  /// Key and value are lent for the call only. A record of a partition that the lane has released may still
  /// come.
  func poll(
    timeout: Interval, _ take: (RecordPlace, RawSpan?, RawSpan?) throws(BrokerError) -> Void
  ) throws(BrokerError) -> Int

  /// The headers of the record that `poll` is delivering, `countMax` of them at the most, and how many there
  /// are. None outside the call of `poll`'s body.
  func lentHeaders(countMax: Int) -> (headers: [RecordHeaderField], count: Int)

  /// What has happened since the last call, in order.
  func takeEvents() -> [GroupEvent]

  /// The last committed points of partitions, in the order of `partitions`; nil where there is none, or where
  /// only the offset is known (then the metadata was not ours).
  func committed(_ partitions: [PartitionID]) throws(BrokerError) -> [CommittedPoint?]

  /// Starts to read the partitions, each from its offset; nil is the configured start for groups without a
  /// commit.
  func resume(_ partitions: [(PartitionID, Offset?)]) throws(BrokerError)

  /// Stops to read the partitions.
  func release(_ partitions: [PartitionID]) throws(BrokerError)

  /// Queues a record. The bytes are copied.
  ///
  /// - Parameter partition: the partition to write to; nil lets the key decide.
  func write(
    _ topic: OutputTopic, partition: PartitionID?, key: RawSpan?, value: RawSpan?,
    headers: [RecordHeaderField]
  ) throws(BrokerError)

  /// Makes everything written so far durable, then commits the points. After `retry`, and while
  /// `isCommitting`, nothing else may be asked for before the same call has ended otherwise.
  func commit(_ points: [(PartitionID, CommitPoint)]) throws(BrokerError)

  /// Whether something has been written that only a commit makes durable.
  var hasUncommitted: Bool { get }

  /// Whether a commit has begun of which nobody knows what became.
  var isCommitting: Bool { get }

  /// Goes on reading the partition's own decision records back: those written since `time`, as a
  /// `read_committed` reader sees them. Called again until they are `.read`; `release` ends it too.
  ///
  /// Verdicts are delivered as they come, oldest first, and not kept: those of this partition, and of others
  /// that are being read back at the same time. Everything that an earlier owner of the partition may have
  /// committed is among them; while it is not certain what that is, the error is `retry`. A call takes no
  /// longer than a round should.
  func readDecisions(
    _ partition: PartitionID, since time: Instant, _ take: (PartitionID, RestoredVerdict) -> Void
  ) throws(BrokerError) -> PastDecisions

  /// The offsets after the last records that partitions have now, whether they can be read yet or not: one
  /// question for all.
  func ends(of partitions: [PartitionID]) throws(BrokerError) -> [Offset]

  /// The same of one partition, as far as it is known without asking; nil if it is not.
  func knownEnd(of partition: PartitionID) -> Offset?

  /// Hands out the counts that the fleet has written since the last call, from the topic's start on. Returns
  /// whether those are out that were there when the link was made. It does not wait.
  func readStats(_ take: ([UInt8]) -> Void) throws(BrokerError) -> Bool

  /// Whether what is written and the points become durable together. If not, some of what was written may
  /// have outlived the commit that it was meant for.
  var commitsTogether: Bool { get }

  /// Whether every topic that mirrors the input's partitions has this one. Asks the brokers only where they
  /// are not known to have it, and not more often than once a second.
  func hasOutputs(for partition: PartitionID) throws(BrokerError) -> Bool

  /// Takes back everything written since the last commit, as far as the link can.
  func abort() throws(BrokerError)

  /// Leaves the group. What was written after the last commit may be lost.
  func close()

  /// Lets go of everything as it is, without a word to any broker: for a process that is about to end while
  /// none answers.
  func abandon()
}

/// A commit that was read back.
public struct CommittedPoint: Equatable, Sendable {
  /// The committed offset.
  public var offset: Offset
  /// What was stored beside it; empty if nothing was.
  public var metadata: String

  /// Makes a point.
  public init(offset: Offset, metadata: String) {
    self.offset = offset
    self.metadata = metadata
  }
}
