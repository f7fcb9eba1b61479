// A lane: one member of the group, one producer, one thread. Round by round it reads records, answers the
// group, and commits.
//
// A record's way leads straight down: the worker's loop calls `step`, `step` polls the link and hands each
// record to the job, the job writes what comes of it to the link. Nothing calls back.

package import Sampling

/// How often a lane commits.
package struct CommitPace: Sendable {
  /// Outputs and commit points are made durable this often,
  package var interval = Interval.seconds(1)
  /// and after this many records at the latest.
  package var records = 250_000
}

/// One member of the group with its producer, and the job that it does.
///
/// Not thread-safe: it lives on one thread. `step` does one round; nothing happens between rounds.
package final class Lane<Link: BrokerLink, Job: LaneJob & ~Copyable> {
  let link: Link
  var job: Job
  var membership = Membership()
  /// Records taken since the last commit.
  var recordsSinceCommit = 0
  /// What time it is by now: a round's moment is when it began.
  let now: () -> Moment
  /// Told what happens, on the lane's thread.
  let report: (LaneEvent) -> Void
  private let pace: CommitPace
  /// When the last commit was, by the steady clock.
  private var committedAt = Instant.distantPast
  private var commits: UInt64 = 0
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

  /// One round: reads what there is, answers the group, does what is due, commits if it is time to.
  ///
  /// - Parameter timeout: how long to wait for a record.
  /// - Throws: what the link throws. After `retry` the same call may be made again.
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
    // While partitions are being resumed there is something to do other than to wait for records.
    let patience = isResuming(at: moment) ? .seconds(0) : timeout
    let link = link
    let count = try link.poll(timeout: patience) { (place, key, value) throws(BrokerError) in
      try job.take(place, key: key, value: value, at: moment, to: link)
    }
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

  /// Makes everything done so far durable, and commits. After `retry` it finishes what it has begun.
  func commit() throws(BrokerError) {
    guard !membership.mustStartOver else {
      throw BrokerError(.abort, "what was written since the last commit must not be committed")
    }
    var points = membership.unfinished ?? job.points(all: false, at: now().wall)
    // Outputs come from records or from time, and both move the point, but for what is written for want of
    // memory while records are read again.
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

  /// Takes over the policies, the baseline and the version of `sampler` between two rounds; see
  /// `Sampler.adopt`.
  package func adopt(_ sampler: SamplerConfiguration) {
    job.adopt(sampler)
  }

  /// What it holds and has done.
  package func snapshot() -> LaneSnapshot {
    var snapshot = job.snapshot()
    snapshot.lane.commits = commits
    snapshot.recovering += membership.waiting.count
    return snapshot
  }

  /// What it has measured, and where its partitions stand; costs more than a snapshot.
  package func measured() -> LaneMeasures {
    var all = job.measured(by: link)
    all.hasJoined = membership.hasJoined
    all.rebalances = membership.rebalances
    all.aborts = membership.aborts
    all.commitDurations = commitDurations
    return all
  }
}
