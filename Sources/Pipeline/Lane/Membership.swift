// A lane's membership in its group: partitions waiting to be read, the group's events, an unfinished commit.

internal import Sampling

/// A partition that is assigned but not read yet.
package struct WaitingPartition {
  let id: PartitionID
  /// When it was assigned, by the steady clock.
  let since: Instant
  /// What was committed for it; the outer optional is nil until it has been requested.
  var committed: CommittedPoint??
  /// How many offsets of its decisions have been read back, of how many.
  var progress: (read: Int64, of: Int64) = (0, 0)
  /// It waits for something slow, such as a topic's new partition, and is checked again at this time, by the
  /// steady clock.
  var lookAgainAt = Instant.distantPast
}

/// What a lane keeps about its group between two rounds.
struct Membership {
  /// In order of assignment.
  var waiting: [WaitingPartition] = []
  /// Events that have not been answered yet.
  var events: [GroupEvent] = []
  /// Points whose commit has begun but not ended: it is finished before anything else.
  var unfinished: [(PartitionID, CommitPoint)]?
  /// Set when output since the last commit must not be committed,
  var mustStartOver = false
  /// and the error that caused it, if one did.
  var cause: BrokerError?
  /// No partition is resumed before then, by the steady clock: an unresponsive broker gets one request after
  /// a pause, not one per partition.
  var pausedUntil = Instant.distantPast
  /// Aborts since the last commit that were not due to transient errors.
  var abortsInARow = 0
  /// Whether the group has assigned this lane its partitions, perhaps none.
  private(set) var hasJoined = false
  /// How many times each event has occurred.
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
