// What a lane knows of its membership: partitions that wait to be read, the group's events, the commit that
// has begun.

internal import Sampling

/// A partition that is assigned and not read yet.
package struct WaitingPartition {
  let id: PartitionID
  /// When it was assigned, by the steady clock.
  let since: Instant
  /// What was committed for it; nil in the outer sense while nobody has asked.
  var committed: CommittedPoint??
  /// How far its decisions have been read back, of how many offsets.
  var progress: (read: Int64, of: Int64) = (0, 0)
  /// It waits for something that takes its time, such as a topic's new partition, and is looked at again
  /// then, by the steady clock.
  var lookAgainAt = Instant.distantPast
}

/// What a lane keeps of the group between two rounds.
struct Membership {
  /// In the order of their assignment.
  var waiting: [WaitingPartition] = []
  /// Events that have not been answered yet.
  var events: [GroupEvent] = []
  /// Points whose commit has begun and not ended: nothing else is done before it has.
  var unfinished: [(PartitionID, CommitPoint)]?
  /// Set when what was written since the last commit must not be committed,
  var mustStartOver = false
  /// and why, where an error was the reason.
  var cause: BrokerError?
  /// No partition is resumed before then, by the steady clock: a broker that does not answer is asked again a
  /// little later, and not once for each partition.
  var pausedUntil = Instant.distantPast
  /// Aborts since the last commit that no broker's state explains.
  var abortsInARow = 0
  /// Whether the group has said which partitions are this lane's.
  private(set) var hasJoined = false
  /// How often what has happened.
  private(set) var rebalances: [String: UInt64] = [:]
  var aborts: UInt64 = 0

  /// Counts an event, once it has been answered.
  mutating func count(_ event: GroupEvent) {
    switch event {
    case .assigned:
      hasJoined = true
      rebalances["assigned", default: 0] += 1
    case .revoked: rebalances["revoked", default: 0] += 1
    case .lost:
      hasJoined = false
      rebalances["lost", default: 0] += 1
    case .caughtUp, .disturbed: break
    }
  }
}
