// An assigned partition: its sampler, and what the lane knows of it.

internal import OTLP
internal import Sampling
internal import Topology

/// One assigned partition. What changes is one struct, lent as a whole for a record or a step of time: each
/// access to a property of a class is checked for overlaps as the program runs.
final class AssignedPartition {
  let id: PartitionID
  var state: PartitionState

  init(_ state: consuming PartitionState) {
    id = state.sampler.partition
    self.state = state
  }
}

/// The sampler of one assigned partition, and what the lane knows of the partition.
struct PartitionState: ~Copyable {
  var sampler: Sampler
  /// Steady time of the last record, or of when reading began.
  private var activeAt: Instant
  /// The stream clock then.
  private var clockWhenActive: Instant
  /// Whether every record there is has been read.
  private var isCaughtUp = false
  /// When the broker was last asked where it ends.
  var askedAt = Instant.distantPast
  /// What was committed last.
  var committed: CommitPoint?
  /// When it was assigned and when reading began, by the steady clock.
  let assignedAt: Instant
  private var readingSince: Instant
  /// What was committed when it was assigned.
  let point: CommitPoint?
  /// Past verdicts that were read back.
  var verdicts = 0
  /// Whether it still has to come to where its last owner was.
  var isBehind: Bool
  /// How far the stream clock was ahead of the time of day at the most, and where it stood then.
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

  /// Its past is known, and its records are read from now on.
  mutating func beginReading(at moment: Moment) {
    activeAt = moment.steady
    readingSince = moment.steady
  }

  // MARK: Records

  /// A record has come: the partition is no longer quiet.
  mutating func wake(for place: RecordPlace, at steady: Instant, idleAfter: Interval) {
    if isCaughtUp, activeAt + idleAfter <= steady {
      // No further than the record itself says: fetching may have hung, and the record may be old.
      let quiet = quietClock(at: steady)
      sampler.drift(to: place.timestamp.map { min($0, quiet) } ?? quiet)
    }
    activeAt = steady
    isCaughtUp = false
  }

  /// Reads a record, which is converted first where it is no OTLP protobuf.
  ///
  /// - Returns: why it can't be read; nothing of it was taken then.
  mutating func ingest(
    _ place: RecordPlace, key: RawSpan?, value: RawSpan?, decoder: inout InputDecoder, bytesMax: Int,
    into effects: inout Effects
  ) -> MalformedInput? {
    defer { clockWhenActive = sampler.clock }
    guard let value, decoder.encoding != .otlpProto else {
      return sampler.ingest(
        offset: place.offset, timestamp: place.timestamp, isLogTime: place.isLogTime, key: key, value: value,
        into: &effects)
    }
    var isTaken = false
    let malformed = decoder.decode(value, bytesMax: bytesMax) { converted in
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

  // MARK: Quiet

  /// All records before `offset` have been delivered.
  mutating func noteEnd(at offset: Offset) {
    // The end may lie after the next offset to read: the markers of transactions take offsets too. If it lies
    // before it, records have come since.
    guard (sampler.nextOffset ?? offset) <= offset else { return }
    isCaughtUp = true
    sampler.noteEnd(at: offset)
  }

  /// What the stream clock is, by the time that has passed since the last record.
  func quietClock(at now: Instant) -> Instant { clockWhenActive + (now - activeAt) }

  /// Whether all is read, nothing has come for a while, and time alone has closed a window.
  func isDue(at now: Instant, idleAfter: Interval) -> Bool {
    isCaughtUp && clockWhenActive != .distantPast && activeAt + idleAfter <= now
      && sampler.hasWorkDue(by: quietClock(at: now))
  }

  // MARK: Commits

  /// Where it can be resumed, with how far the stream clock was ahead of the time of day when verdicts were
  /// given that may be asked for there. By whole seconds: what the time of day does meanwhile is nothing to
  /// commit.
  mutating func commitPoint(at wall: Instant, lateWindow: Interval) -> CommitPoint? {
    guard var point = sampler.commitPoint else { return nil }
    let now = Interval.seconds(max(0, (point.clock - wall).nanoseconds / 1_000_000_000))
    // Where the clock stands still it is less ahead by the minute, and the verdicts are as old as they are.
    if now >= ahead.most || point.clockAtSafeOffset > ahead.clock + lateWindow { ahead = (now, point.clock) }
    point.clockAhead = ahead.most
    return point
  }

  /// Whether `point` says more than the one committed last. How far the clock is ahead is no news by itself.
  func hasMoved(to point: CommitPoint) -> Bool {
    var known = committed
    known?.clockAhead = point.clockAhead
    return point != known
  }

  /// How far it is on its way to where its last owner was.
  func progress(at now: Instant) -> RecoveryProgress {
    let highWater = committed?.highWater.value ?? 0
    let begin = point?.safeOffset.value ?? highWater
    let done = max(0, (sampler.nextOffset?.value ?? begin) - begin)
    return RecoveryProgress(
      partition: sampler.partition, phase: .records, done: done, total: highWater - begin,
      elapsed: now - readingSince)
  }
}
