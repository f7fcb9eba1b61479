// A lane: one member of the group, one producer, one thread. Each round it reads records, answers the group,
// and commits.
//
// Calls go straight down: the worker's loop calls `step`, `step` polls the link and passes each record to the
// job, and the job writes its output to the link. Nothing calls back.

package import Sampling

/// How often a lane commits.
package struct CommitPace: Sendable {
  /// Outputs and commit points are made durable this often,
  package var interval = Interval.seconds(1)
  /// and after this many records at the latest.
  package var records = 250_000
}

/// One member of the group with its producer and its job.
///
/// Not thread-safe: it lives on one thread. `step` does one round; nothing happens between rounds.
package final class Lane<Link: BrokerLink, Job: LaneJob & ~Copyable> {
  let link: Link
  var job: Job
  var membership = Membership()
  /// Records read since the last commit.
  var recordsSinceCommit = 0
  /// The current time: a round's moment is when it began.
  let now: () -> Moment
  /// Receives events, on the lane's thread.
  let report: (LaneEvent) -> Void
  private let pace: CommitPace
  /// When the last commit was, by the steady clock.
  private var committedAt = Instant.distantPast
  private var commits: UInt64 = 0
  private var rounds: UInt64 = 0
  private var commitDurations = Histogram()

  init(
    link: Link, job: consuming Job, pace: CommitPace, now: @escaping () -> Moment,
    report: @escaping (LaneEvent) -> Void
  ) {
    self.link = link
    self.job = job
    self.pace = pace
    self.now = now
    self.report = report
  }

  /// One round: reads what has arrived, answers the group, does what is due, and commits if it is time.
  ///
  /// - Parameter timeout: how long to wait for a record.
  /// - Throws: the link's errors. After `retry` the call may be repeated.
  package func step(at moment: Moment, timeout: Interval) throws(BrokerError) {
    do {
      if membership.mustStartOver { try startOver(after: membership.cause, at: moment) }
      if membership.unfinished != nil { try commit() }
      try doRound(at: moment, timeout: timeout)
    } catch {
      guard error.remedy == .abort else { throw error }
      report(.disturbed(error))
      try startOver(after: error, at: moment)
    }
  }

  private func doRound(at moment: Moment, timeout: Interval) throws(BrokerError) {
    // While partitions are being resumed, there is more to do than wait for records.
    let patience = isResuming(at: moment) ? .seconds(0) : timeout
    let count =
      job.mayPoll(at: moment.steady)
      ? try Lane.read(from: link, into: &job, at: moment, timeout: patience) : 0
    rounds += 1
    recordsSinceCommit += count
    membership.events += link.takeEvents()
    try answerGroup(at: moment)
    try resumeWaiting(at: moment)
    try job.work(at: moment, waiting: membership.waiting, to: link)
    if moment.steady >= committedAt + pace.interval || recordsSinceCommit >= pace.records {
      try commit()
      committedAt = moment.steady
    }
  }

  /// The job is accessed once for all records: each access to a property of a class is checked at run time.
  private static func read(
    from link: Link, into job: inout Job, at moment: Moment, timeout: Interval
  ) throws(BrokerError) -> Int {
    try link.poll(timeout: timeout) { (place, key, value) throws(BrokerError) in
      try job.take(place, key: key, value: value, at: moment, to: link)
    }
  }

  /// Makes everything done so far durable, and commits. After `retry`, the next call finishes what this one
  /// began.
  func commit() throws(BrokerError) {
    guard !membership.mustStartOver else {
      throw BrokerError(.abort, "output since the last commit must not be committed")
    }
    if membership.unfinished == nil { try job.flush(to: link) }
    var points = membership.unfinished ?? job.points(all: false, at: now().wall)
    // Records and time cause output, and both move the point, with one exception: output written because
    // memory runs short while records are replayed.
    if points.isEmpty, link.hasUncommitted { points = job.points(all: true, at: now().wall) }
    recordsSinceCommit = 0
    guard !points.isEmpty else { return }
    let begin = now()
    do { try link.commit(points) } catch {
      membership.unfinished = error.remedy == .retry && link.isCommitting ? points : nil
      throw error
    }
    membership.unfinished = nil
    membership.abortsInARow = 0
    let end = now()
    commits += 1
    commitDurations.observe(end.steady - begin.steady)
    job.noteCommitted(points, at: end.wall)
    report(.committed(snapshot()))
  }

  /// Adopts the policies, the baseline and the version of `sampler` between two rounds; see `Sampler.adopt`.
  package func adopt(_ sampler: SamplerConfiguration) {
    job.adopt(sampler)
  }

  /// Its contents and counts.
  package func snapshot() -> LaneSnapshot {
    var snapshot = job.snapshot()
    snapshot.lane.commits = commits
    snapshot.lane.rounds = rounds
    snapshot.recovering += membership.waiting.count
    return snapshot
  }

  /// Its measurements and its partitions' positions; costs more than a snapshot.
  package func measured() -> LaneMeasures {
    var all = job.measured(by: link)
    all.hasJoined = membership.hasJoined
    all.rebalances = membership.rebalances
    all.aborts = membership.aborts
    all.commitDurations = commitDurations
    return all
  }
}
