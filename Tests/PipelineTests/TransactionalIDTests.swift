// The transactional ids of workers.

import Testing
import Topology

@testable import Pipeline

@Suite struct TransactionalIDTests {
  private func id(_ kafka: [String: String] = [:], _ delivery: Delivery = .exactlyOnce) -> String? {
    var topology = TailSamplingTopology()
    topology.worker.kafka.values.merge(kafka) { $1 }
    topology.worker.delivery = delivery
    return LanePlan(.tailSampling(topology)).transactionalID
  }

  /// Two workers of one host have the same group, the same host and the same file.
  @Test func workersOfOneHostHaveDifferentIDs() throws {
    let first = try #require(id())
    let second = try #require(id())
    #expect(first != second)
    #expect(first.hasPrefix("tailrace-") && second.hasPrefix("tailrace-"))
  }

  @Test func aNamedPlaceKeepsItsID() {
    #expect(id(["group.instance.id": "one"]) == "tailrace-one")
    #expect(id(["transactional.id": "mine"]) == "mine")
    #expect(id(["transactional.id": "mine", "group.instance.id": "one"]) == "mine")
    #expect(id([:], .atLeastOnce) == nil)
  }
}
