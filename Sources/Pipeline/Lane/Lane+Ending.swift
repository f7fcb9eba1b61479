// How a lane ends: with a last commit if possible.

package import Sampling

/// How a lane left its group.
package enum LaneEnd: Sendable {
  /// With everything committed.
  case committed
  /// The last commit was refused, as by a rebalance: the partitions' next owners redo its work.
  case uncommitted
  /// No broker answered: the group notices that the member is gone when its session times out.
  case unanswered
}

extension Lane where Job: ~Copyable {
  /// Commits everything done so far and leaves the group. No window is closed: the log still holds the open
  /// traces.
  func stop() throws(BrokerError) {
    try commit()
    job.finish(at: now().steady)
    link.close()
  }

  /// Aborts uncommitted work and leaves the group: the partitions' next owners redo it.
  private func leave() {
    try? link.abort()
    link.close()
  }

  /// Leaves the group after a last commit, which takes at most `patience` plus one request.
  ///
  /// A rebalance may interfere, as when several lanes stop at once: the lane answers it and tries again. What
  /// can't be committed is redone by the partitions' next owners: that is not a failure.
  ///
  /// - Throws: `stop` for an error that waiting for brokers does not fix.
  package func finish(
    patience: Interval, _ note: (BrokerError) -> Void
  ) throws(BrokerError) -> LaneEnd {
    let deadline = now().steady + patience
    // What does not answer leaves time for the last commit.
    let drained = now().steady + Interval(nanoseconds: patience.nanoseconds / 2)
    job.drain()
    while !job.isDrained, now().steady < drained {
      do { try step(at: now(), timeout: .milliseconds(20)) } catch {
        guard error.remedy == .retry else { throw error }
        break
      }
    }
    while true {
      do {
        try stop()
        return .committed
      } catch {
        note(error)
        switch error.remedy {
        case .stop: throw error
        case .abort:
          leave()
          return .uncommitted
        case .retry: break
        }
      }
      guard now().steady < deadline else {
        // No broker is contacted: none answers, and the process is about to end.
        link.abandon()
        return .unanswered
      }
      do { try step(at: now(), timeout: .milliseconds(100)) } catch {
        guard error.remedy == .retry else { throw error }
      }
    }
  }
}
