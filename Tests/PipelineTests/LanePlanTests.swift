// The configuration of a worker's lanes.

import Sampling
import Testing
import Topology

@testable import Pipeline

@Suite struct LanePlanTests {
  /// A producer that knew it could choose trace ids that fall into one bucket.
  @Test func everyWorkerHasItsOwnHashSeed() throws {
    let topology = try Topology.parse("kind: tail-sampling", fileName: "t.yaml", environment: [:])
    let seeds = try (0..<8).map { _ in
      guard case .sample(let configuration) = LanePlan(topology).work else { throw CancellationError() }
      return configuration.sampler.hashSeed
    }
    #expect(Set(seeds).count == seeds.count)
  }
}
