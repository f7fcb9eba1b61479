// An assigned partition: its sampler, and what the lane knows about it.

internal import OTLP
internal import Sampling
internal import Topology

/// One assigned partition. Its mutable state is one struct, lent as a whole for a record or a time step: each
/// access to a class's property costs a run-time exclusivity check.
final class AssignedPartition {
  let id: PartitionID
  var state: PartitionState

  init(_ state: consuming PartitionState) {
    id = state.sampler.partition
    self.state = state
  }
}

/// The sampler of one assigned partition, and what the lane knows about it.
struct PartitionState: ~Copyable {
  var sampler: Sampler
  /// Steady time of the last record, or of the start of reading.
  private var activeAt: Instant
  /// The stream clock then.
  private var clockWhenActive: Instant
  /// Whether all records have been read.
  private(set) var isCaughtUp = false
  /// Where it ends, if it has been read to its end without finding a record.
  private var emptyEnd: Offset?
  /// The logs that follow its verdicts, if any do.
  var logs: FollowedLogs?
  /// Those that are read again.
  var recalledLogs = RecalledLogs()
  /// When the broker was last asked for its end.
  var askedAt = Instant.distantPast
  /// The last committed point.
  var committed: CommitPoint?
  /// When it was assigned and when reading began, by the steady clock.
  let assignedAt: Instant
  private var readingSince: Instant
  /// The committed point when it was assigned.
  let point: CommitPoint?
  /// Past verdicts that were read back.
  var verdicts = 0
  /// Whether the log is being read a second time, and when that last reached the safe offset.
  private var isFollowing = false
  private var followedAt = Instant.distantPast
  /// Whether it still has to catch up with its last owner.
  var isBehind: Bool
  /// The most that the stream clock was ahead of the wall clock, and its value then.
  private var ahead: (most: Interval, clock: Instant)

  init(_ sampler: consuming Sampler, _ point: CommitPoint?, assignedAt: Instant, at moment: Moment) {
    activeAt = moment.steady
    clockWhenActive = sampler.clock
    committed = point
    self.point = point
    self.assignedAt = assignedAt
    readingSince = moment.steady
    isBehind = sampler.isRecovering
    ahead = (point?.clockAhead ?? .seconds(0), point?.clock ?? .distantPast)
    self.sampler = sampler
  }

  /// Its past is restored, and its records are read from now on.
  mutating func beginReading(at moment: Moment) {
    activeAt = moment.steady
    readingSince = moment.steady
  }

  // MARK: Records

  /// A record has arrived: the partition is no longer quiet.
  mutating func wake(for place: RecordPlace, at steady: Instant, idleAfter: Interval) {
    if isCaughtUp, activeAt + idleAfter <= steady {
      // No further than the record's own timestamp: fetching may have hung, and the record may be old.
      let quiet = quietClock(at: steady)
      sampler.drift(to: place.timestamp.map { min($0, quiet) } ?? quiet)
    }
    activeAt = steady
    isCaughtUp = false
  }

  /// Reads a record, decoding it first unless it is OTLP protobuf as it is.
  ///
  /// - Returns: why it can't be read; then none of it was used.
  mutating func ingest(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, decoder: inout InputDecoder, bytesMax: Int,
    into effects: inout Effects
  ) -> MalformedInput? {
    defer { clockWhenActive = sampler.clock }
    guard let value, !decoder.isPlain(value) else {
      return sampler.ingest(
        offset: place.offset, timestamp: place.timestamp, isLogTime: place.isLogTime, key: key, value: value,
        into: &effects)
    }
    var isTaken = false
    let malformed = decoder.decode(value, bytesMax: bytesMax, convertedMax: bytesMax) { converted in
      isTaken = true
      return sampler.ingest(
        offset: place.offset, timestamp: place.timestamp, isLogTime: place.isLogTime, key: key,
        value: converted, into: &effects)
    }
    if !isTaken {
      sampler.skip(
        offset: place.offset, timestamp: place.timestamp, isLogTime: place.isLogTime, into: &effects)
    }
    return malformed
  }

  // MARK: Log-backed windows

  /// The next record to hand out; nil if there is none, or if more should gather first.
  ///
  /// Each time that reading starts costs a request, and what was fetched beyond the safe offset is fetched
  /// again.
  mutating func nextHandOut(at now: Instant) -> Offset? {
    guard let next = sampler.nextHandOut() else {
      if isFollowing { followedAt = now }
      isFollowing = false
      return nil
    }
    isFollowing = isFollowing || followedAt + Self.followInterval <= now
    return isFollowing ? next : nil
  }

  /// The pause once the safe offset is reached.
  private static var followInterval: Interval { .seconds(1) }

  // MARK: Quiet

  /// All records before `offset` have been delivered.
  mutating func noteEnd(at offset: Offset) {
    // The end may be after the next offset to read: transaction markers take offsets too. If it is before it,
    // records have arrived since.
    guard (sampler.nextOffset ?? offset) <= offset else { return }
    isCaughtUp = true
    if sampler.nextOffset == nil { emptyEnd = offset }
    sampler.noteEnd(at: offset)
  }

  /// The stream clock, advanced by the time elapsed since the last record.
  func quietClock(at now: Instant) -> Instant { clockWhenActive + (now - activeAt) }

  /// Whether everything has been read, nothing has arrived for a while, and time alone closes a window, or
  /// makes logs due.
  func isDue(at now: Instant, idleAfter: Interval, logsWait: Interval?) -> Bool {
    guard isCaughtUp, clockWhenActive != .distantPast, activeAt + idleAfter <= now else { return false }
    let quiet = quietClock(at: now)
    if sampler.hasWorkDue(by: quiet) { return true }
    guard let logsWait, let due = logs?.headDue(logsWait, by: sampler) else { return false }
    return sampler.clock < due && due <= quiet
  }

  /// Starts the stream clock, if the partition has been empty for a while.
  mutating func startClock(at time: Instant, steady: Instant, idleAfter: Interval) {
    guard let emptyEnd, activeAt + idleAfter <= steady else { return }
    sampler.startClock(at: time, next: emptyEnd)
    clockWhenActive = sampler.clock
    activeAt = steady
  }

  // MARK: Commits

  /// Where it can be resumed, with how far the stream clock was ahead of the wall clock when the verdicts
  /// needed there were given. In whole seconds: the wall clock's own movement is not worth a commit.
  mutating func commitPoint(at wall: Instant, lateWindow: Interval) -> CommitPoint? {
    guard var point = sampler.commitPoint else { return nil }
    let now = Interval.seconds(max(0, (point.clock - wall).nanoseconds / 1_000_000_000))
    // While the stream clock stands still, its lead shrinks, but the verdicts keep their timestamps.
    if now >= ahead.most || point.clockAtSafeOffset > ahead.clock + lateWindow { ahead = (now, point.clock) }
    point.clockAhead = ahead.most
    point.logs = logs?.position
    return point
  }

  /// Whether `point` adds anything to the last committed one. A change of the clock's lead alone does not
  /// count.
  func hasMoved(to point: CommitPoint) -> Bool {
    var known = committed
    known?.clockAhead = point.clockAhead
    return point != known
  }

  /// Its progress towards its last owner's position.
  func progress(at now: Instant) -> RecoveryProgress {
    let highWater = committed?.highWater.value ?? 0
    // Records before the safe offset may be read to be counted only.
    let begin =
      point.map { min($0.safeOffset, $0.counting?.next ?? $0.safeOffset).value } ?? highWater
    let done = max(0, (sampler.nextOffset?.value ?? begin) - begin)
    return RecoveryProgress(
      partition: sampler.partition, phase: .records, done: done, total: highWater - begin,
      elapsed: now - readingSince)
  }
}
