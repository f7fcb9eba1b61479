// How a lane ends: with a last commit, or without one where it can't have it.

package import Sampling

/// How a lane has left.
package enum LaneEnd: Sendable {
  /// With everything committed.
  case committed
  /// The last commit was refused, as by a rebalance: what it held is done again by whoever takes over.
  case uncommitted
  /// No broker answered: the group sees that the member is gone when its session times out.
  case unanswered
}

extension Lane where Job: ~Copyable {
  /// Commits everything done so far and leaves the group. No window is closed: the log keeps what is open.
  func stop() throws(BrokerError) {
    try commit()
    job.finish(at: now().steady)
    link.close()
  }

  /// Gives up what is not committed and leaves the group: whoever takes the partitions over does it again.
  private func leave() {
    try? link.abort()
    link.close()
  }

  /// Leaves the group after a last commit, for which it takes `patience` and one answer more at the most.
  ///
  /// The last commit may meet a rebalance, as when several lanes stop at once: the lane answers it and tries
  /// again. What can't be committed is done again by whoever takes the partitions over: that is no failure.
  ///
  /// - Throws: `stop` if something else than brokers' answers is in the way.
  package func finish(
    patience: Interval, _ note: (BrokerError) -> Void
  ) throws(BrokerError) -> LaneEnd {
    let deadline = now().steady + patience
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
        // Without a word to any broker: none answers, and the process is about to end.
        link.abandon()
        return .unanswered
      }
      do { try step(at: now(), timeout: .milliseconds(100)) } catch {
        guard error.remedy == .retry else { throw error }
      }
    }
  }
}
