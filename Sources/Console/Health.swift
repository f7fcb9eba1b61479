// Whether a worker lives, has started and is ready, and if not, why.

internal import Pipeline

/// What a worker's status means for whoever runs it.
struct Health {
  let status: WorkerStatus

  /// A lane that has not finished a round for so long hangs. No single call to a broker takes longer than
  /// librdkafka's `socket.timeout.ms`, a minute, and between two of them a lane says that it lives.
  static let patience = Duration.seconds(120)

  /// Why the process should be restarted; empty while it lives. A worker that waits for a broker lives: a
  /// restart would bring it no nearer.
  var deathReasons: [String] {
    running.compactMap { number, lane in
      guard lane.sinceProgress > Health.patience else { return nil }
      return "lane \(number) has not got on for \(lane.sinceProgress.components.seconds) s"
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

  /// What keeps the worker from doing all its work; empty when it is ready: every lane knows what it reads,
  /// be it nothing, and is where the last owners of its partitions left them.
  var unreadyReasons: [String] {
    guard startReasons.isEmpty else { return startReasons }
    return running.compactMap { number, lane in
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
