// What drives a lane: rounds until it is told to stop, and then its end.

package import Sampling

/// What a worker's thread drives: rounds until it is told to stop.
protocol LaneRounds {
  /// Takes over policies, baseline and version between two rounds.
  func adopt(_ sampler: SamplerConfiguration)
  /// One round, waiting no longer than `timeout` for a record.
  func step(at moment: Moment, timeout: Interval) throws(BrokerError)
  /// Makes everything done so far lasting and leaves the group.
  func stop() throws(BrokerError)
  /// Gives up what is not committed and leaves the group.
  func leave()
  /// Lets go of everything without a word to any broker: none answers, and the process is about to end.
  func abandon()
  /// What time it is, to measure by.
  var now: () -> Moment { get }
  /// What it holds and has done.
  func snapshot() -> LaneSnapshot
  /// What it has measured; costs more than a snapshot.
  func measured() -> LaneMeasures
}

extension Lane: LaneRounds {}
extension Repartitioner: LaneRounds {}

/// How a lane has left.
package enum LaneEnd: Sendable {
  /// With everything committed.
  case committed
  /// The last commit was refused, as by a rebalance: what it held is done again by whoever takes over.
  case uncommitted
  /// No broker answered: the group sees that the member is gone when its session times out.
  case unanswered
}

extension LaneRounds {
  /// Leaves the group after a last commit, for which it takes `patience` and one answer more at the most.
  ///
  /// The last commit may meet a rebalance, as when several lanes stop at once: the lane answers it and tries
  /// again. What can't be committed is done again by whoever takes the partitions over: that is no failure.
  ///
  /// - Throws: `stop` if something else than brokers' answers is in the way.
  func finish(
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
        abandon()
        return .unanswered
      }
      do { try step(at: now(), timeout: .milliseconds(100)) } catch {
        guard error.remedy == .retry else { throw error }
      }
    }
  }
}

extension Lane {
  /// Leaves the group after a last commit; see `LaneRounds.finish`.
  package func end(patience: Interval) throws(BrokerError) -> LaneEnd {
    try finish(patience: patience) { _ in }
  }
}
