// Whether a worker is alive, started and ready, and if not, why.

internal import Pipeline

/// What a worker's status means for its operator.
struct Health {
  let status: WorkerStatus

  /// A lane that has reported no progress for this long hangs in its own code: every call to a broker has a
  /// deadline of seconds, and the lane reports between calls.
  static let patience = Duration.seconds(120)

  /// A lane that no broker has answered for this long can't work. Members of a group hear from a broker every
  /// few seconds, even with nothing to read.
  static let brokerPatience = Duration.seconds(30)

  /// Why the process should be restarted; empty while it is alive. Waiting for a broker counts as alive: a
  /// restart would not help.
  var deathReasons: [String] {
    running.compactMap { number, lane in
      guard lane.sinceProgress > Health.patience else { return nil }
      return "lane \(number) has made no progress for \(lane.sinceProgress.components.seconds) s"
    }
  }

  /// What has not started yet; empty once everything has.
  var startReasons: [String] {
    if status.isStopping { return ["the worker is stopping"] }
    guard status.areTopicsReady else { return ["the topics are not prepared: waiting for the brokers"] }
    return status.lanes.enumerated().compactMap { number, lane in
      switch lane.phase {
      case .waiting, .connecting: "lane \(number) is connecting"
      case .running: nil
      case .ended: "lane \(number) has ended"
      }
    }
  }

  /// Why the worker is not ready; empty when it is: brokers answer every lane, its assignment is known (even
  /// if empty), and its partitions are recovered.
  var unreadyReasons: [String] {
    guard startReasons.isEmpty else { return startReasons }
    return running.compactMap { number, lane in
      if let silence = lane.brokerSilence, silence > Health.brokerPatience {
        return "lane \(number) has heard from no broker for \(silence.components.seconds) s"
      }
      guard lane.measures.hasJoined else { return "lane \(number) is waiting for its assignment" }
      guard lane.snapshot.recovering > 0 else { return nil }
      return "lane \(number) is recovering \(lane.snapshot.recovering) partitions"
    }
  }

  private var running: [(Int, LaneStatus)] {
    status.lanes.enumerated().filter { _, lane in
      switch lane.phase {
      case .connecting, .running: true
      case .waiting, .ended: false
      }
    }.map { ($0.offset, $0.element) }
  }
}

extension LaneStatus {
  /// How long no broker has answered the lane's consumer; nil if unknown, without statistics. A lane that
  /// waits for a broker takes no new statistics, so their age counts too.
  var brokerSilence: Duration? {
    guard let age = consumerStatisticsAge else { return nil }
    return age + (ClientStatistics(reading: consumerStatistics).silence ?? .zero)
  }
}
