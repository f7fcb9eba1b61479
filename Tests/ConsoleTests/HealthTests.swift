// When a worker is alive, started and ready.

import Pipeline
import Testing

@testable import Console

@Suite struct HealthTests {
  private func health(_ lanes: [LaneStatus], _ change: (inout WorkerStatus) -> Void = { _ in }) -> Health {
    var status = WorkerStatus()
    status.areTopicsReady = true
    status.lanes = lanes
    change(&status)
    return Health(status: status)
  }

  private func lane(joined: Bool = true, recovering: Int = 0, age: Duration = .zero) -> LaneStatus {
    var lane = LaneStatus(phase: .running, sinceProgress: age)
    lane.measures.hasJoined = joined
    lane.snapshot.recovering = recovering
    return lane
  }

  @Test func aWorkerWaitingForBrokersIsAliveAndNotStarted() {
    let health = health([LaneStatus(phase: .waiting, sinceProgress: .seconds(9999))]) {
      $0.areTopicsReady = false
    }
    #expect(health.deathReasons.isEmpty)
    #expect(health.startReasons == ["the topics are not prepared: waiting for the brokers"])
    #expect(health.unreadyReasons == health.startReasons)
  }

  @Test func everyLaneHasToHaveConnected() {
    let health = health([lane(), LaneStatus(phase: .connecting)])
    #expect(health.startReasons == ["lane 1 is connecting"])
  }

  @Test func everyLaneNeedsItsAssignment() {
    let health = health([lane(), lane(joined: false)])
    #expect(health.startReasons.isEmpty)
    #expect(health.unreadyReasons == ["lane 1 is waiting for its assignment"])
  }

  @Test func everyPartitionHasToBeRecovered() {
    #expect(health([lane(), lane(recovering: 3)]).unreadyReasons == ["lane 1 is recovering 3 partitions"])
    #expect(health([lane(), lane()]).unreadyReasons.isEmpty)
  }

  @Test func aStalledLaneIsDead() {
    #expect(health([lane(age: .seconds(119)), lane()]).deathReasons.isEmpty)
    #expect(
      health([lane(age: .seconds(121)), lane()]).deathReasons == ["lane 0 has made no progress for 121 s"])
    let connecting = LaneStatus(phase: .connecting, sinceProgress: .seconds(200))
    #expect(health([connecting]).deathReasons.count == 1)
  }

  @Test func aLaneThatNoBrokerAnswersIsAliveAndNotReady() {
    var silent = lane()
    silent.consumerStatistics = statistics(rxidle: [-1, 40_000_000, 27_000_000])
    silent.consumerStatisticsAge = .zero
    #expect(health([silent]).unreadyReasons.isEmpty)
    silent.consumerStatisticsAge = .seconds(4)
    #expect(health([silent]).unreadyReasons == ["lane 0 has heard from no broker for 31 s"])
    #expect(health([silent]).deathReasons.isEmpty)
    silent.consumerStatistics = []
    #expect(health([silent]).unreadyReasons.isEmpty)
    silent.consumerStatisticsAge = .seconds(31)
    #expect(health([silent]).unreadyReasons == ["lane 0 has heard from no broker for 31 s"])
    silent.consumerStatisticsAge = nil
    #expect(health([silent]).unreadyReasons.isEmpty, "clients tell nothing")
  }

  private func statistics(rxidle: [Int]) -> [UInt8] {
    let brokers = rxidle.enumerated().map { number, idle in
      """
      "b\(number)": {"nodeid": \(number), "txerrs": 0, "rxerrs": 0, "req_timeouts": 0, "rxidle": \(idle),
        "rtt": {"avg": 1, "p99": 2, "cnt": 3}}
      """
    }
    let text = """
      {"msg_cnt": 0, "msg_size": 0, "tx_bytes": 0, "rx_bytes": 0, "tx": 0, "topics": {},
        "brokers": {\(brokers.joined(separator: ","))}}
      """
    return Array(text.utf8)
  }

  @Test func aLaneThatHasEndedIsNotDead() {
    #expect(health([LaneStatus(phase: .ended, sinceProgress: .seconds(999))]).deathReasons.isEmpty)
  }

  @Test func aStoppingWorkerIsNotReady() {
    #expect(health([lane()]) { $0.isStopping = true }.unreadyReasons == ["the worker is stopping"])
  }
}
