// Where a lane's thread leaves its status for others, and finds new configuration: copies under a lock, never
// a wait for the other side.

internal import Kafka
internal import Sampling
internal import Synchronization

/// One lane's latest status. Written by its thread, read by any.
final class LaneBoard: Sendable {
  /// Its clients' statistics.
  let consumer = KafkaStatistics()
  let producer = KafkaStatistics()
  /// Whether clients report statistics at all.
  private let hasStatistics: Bool
  private let heartbeat = Heartbeat()
  private let state = Mutex(State())

  private struct State {
    var phase = LaneStatus.Phase.waiting
    var snapshot = LaneSnapshot()
    var measures = LaneMeasures()
    var configuration: SamplerConfiguration?
  }

  init(hasStatistics: Bool = true) {
    self.hasStatistics = hasStatistics
  }

  /// The lane makes progress, or is blocked on a broker within its timeout.
  func beat() { heartbeat.beat() }

  func enter(_ phase: LaneStatus.Phase) {
    beat()
    state.withLock { $0.phase = phase }
  }

  /// Replaces the previous snapshot, which is returned.
  func publish(_ snapshot: LaneSnapshot) -> LaneSnapshot {
    state.withLock { state in
      defer { state.snapshot = snapshot }
      return state.snapshot
    }
  }

  func publish(_ measures: LaneMeasures) {
    state.withLock { $0.measures = measures }
  }

  /// Leaves a configuration for the lane, replacing one not yet taken.
  func leave(_ configuration: SamplerConfiguration) {
    state.withLock { $0.configuration = configuration }
  }

  /// The configuration left since the last call.
  func takeConfiguration() -> SamplerConfiguration? {
    state.withLock { $0.configuration.take() }
  }

  var snapshot: LaneSnapshot { state.withLock(\.snapshot) }

  var status: LaneStatus {
    let state = state.withLock { $0 }
    var status = LaneStatus(
      phase: state.phase, sinceProgress: heartbeat.age, snapshot: state.snapshot, measures: state.measures,
      consumerStatistics: consumer.latest, producerStatistics: producer.latest)
    status.consumerStatisticsAge = hasStatistics ? consumer.age : nil
    return status
  }
}

/// When a thread last reported progress.
private final class Heartbeat: Sendable {
  private let start = ContinuousClock.now
  /// Nanoseconds since `start`.
  private let last = Atomic<Int64>(0)

  func beat() {
    last.store((ContinuousClock.now - start).nanoseconds, ordering: .relaxed)
  }

  var age: Duration {
    ContinuousClock.now - start - .nanoseconds(last.load(ordering: .relaxed))
  }
}
