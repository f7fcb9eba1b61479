// A lane's job: what it does with the records of its partitions.

package import Sampling

/// What a lane does with the records of its partitions.
///
/// The lane calls its job, never the other way round. A job writes to the link that it is lent for the call.
package protocol LaneJob: ~Copyable {
  /// The partitions that are read.
  var partitionIDs: [PartitionID] { get }

  /// Whether records are to be polled in this round. False only for moments: a member must poll.
  mutating func mayPoll(at now: Instant) -> Bool

  /// Processes the record that `link` is delivering.
  mutating func take(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, at moment: Moment, to link: some BrokerLink
  ) throws(BrokerError)

  /// Restores the state of an assigned partition, then has the link read it. Returns whether it is being
  /// read; if not, the lane calls again in a later round.
  mutating func resume(
    _ partition: inout WaitingPartition, at moment: Moment, from link: some BrokerLink
  ) throws(BrokerError) -> Bool

  /// All records of a partition before an offset have been delivered.
  mutating func noteEnd(of id: PartitionID, at offset: Offset)

  /// Does what is due besides records, once a round.
  ///
  /// - Parameter waiting: the partitions that are assigned but not read yet.
  mutating func work(
    at moment: Moment, waiting: [WaitingPartition], to link: some BrokerLink
  ) throws(BrokerError)

  /// Writes what is held back until a commit, which follows.
  mutating func flush(to link: some BrokerLink) throws(BrokerError)

  /// The commit points: all of them, or those that have moved since they were committed.
  mutating func points(all: Bool, at wall: Instant) -> [(PartitionID, CommitPoint)]

  /// The points have been committed.
  mutating func noteCommitted(_ points: [(PartitionID, CommitPoint)], at wall: Instant)

  /// Drops the state of partitions, and all output not written yet.
  mutating func forget(_ ids: [PartitionID])

  /// The lane is about to end: from now on nothing more is begun.
  mutating func drain()

  /// Whether nothing is under way that a last commit should wait for.
  var isDrained: Bool { get }

  /// Everything is committed, and the lane is about to leave the group.
  mutating func finish(at steady: Instant)

  /// Adopts the policies, the baseline and the version of `sampler`.
  mutating func adopt(_ sampler: SamplerConfiguration)

  /// Its contents and counts.
  func snapshot() -> LaneSnapshot

  /// Its measurements and its partitions' positions; costs more than a snapshot.
  func measured(by link: some BrokerLink) -> LaneMeasures
}

extension LaneJob where Self: ~Copyable {
  /// Most jobs have nothing under way between two rounds.
  package mutating func drain() {}
  package var isDrained: Bool { true }
}
