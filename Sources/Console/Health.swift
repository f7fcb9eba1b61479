// Whether a worker lives, has started and is ready, and if not, why.

internal import Pipeline

/// What a worker's status means for whoever runs it.
struct Health {
  let status: WorkerStatus

  /// A lane that has not said for so long that it lives hangs in its own code: every call to a broker has a
  /// deadline of seconds, and between two of them the lane says so.
  static let patience = Duration.seconds(120)

  /// A lane that no broker has answered for so long can't do its work. Members of a group hear from a broker
  /// every few seconds, whatever there is to read.
  static let brokerPatience = Duration.seconds(30)

  /// Why the process should be restarted; empty while it lives. A worker that waits for a broker lives: a
  /// restart would bring it no nearer.
  var deathReasons: [String] {
    running.compactMap { number, lane in
      guard lane.sinceProgress > Health.patience else { return nil }
      return "lane \(number) has made no progress for \(lane.sinceProgress.components.seconds) s"
    }
  }

  /// What has not begun; empty once it has.
  var startReasons: [String] {
    if status.isStopping { return ["the worker stops"] }
    guard status.areTopicsReady else { return ["the topics are not prepared: waiting for the brokers"] }
    return status.lanes.enumerated().compactMap { number, lane in
      switch lane.phase {
      case .waiting, .connecting: "lane \(number) is connecting"
      case .running: nil
      case .ended: "lane \(number) has ended"
      }
    }
  }

  /// What keeps the worker from doing all its work; empty when it is ready: brokers answer every lane, it
  /// knows what it reads, be it nothing, and is where the last owners of its partitions left them.
  var unreadyReasons: [String] {
    guard startReasons.isEmpty else { return startReasons }
    return running.compactMap { number, lane in
      if let silence = lane.brokerSilence, silence > Health.brokerPatience {
        return "lane \(number) has heard from no broker for \(silence.components.seconds) s"
      }
      guard lane.measures.hasJoined else { return "lane \(number) waits for its group's partitions" }
      guard lane.snapshot.recovering > 0 else { return nil }
      return "lane \(number) recovers \(lane.snapshot.recovering) partitions"
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
  /// How long no broker has answered the lane's consumer; nil if that is not known: where clients tell no
  /// statistics. While a lane waits for a broker it takes none, and those that it has grow old.
  var brokerSilence: Duration? {
    guard let age = consumerStatisticsAge else { return nil }
    return age + (ClientStatistics(reading: consumerStatistics).silence ?? .zero)
  }
}
