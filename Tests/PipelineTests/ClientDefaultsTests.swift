// The properties of a worker's clients, where Tailrace's defaults differ from librdkafka's.

import Kafka
import Testing

@testable import Pipeline

@Suite struct ClientDefaultsTests {
  /// Nobody sees a transaction's records before its commit, so batches have time to fill.
  @Test(arguments: [(50, "12"), (400, "100"), (1000, "250"), (60_000, "250")])
  func batchesFillForAQuarterOfTheCommitInterval(_ interval: Int64, _ linger: String) {
    let properties = [KafkaProperty].transactional("id", commitInterval: .milliseconds(interval))
    #expect(properties.first { $0.name == "linger.ms" }?.value == linger)
  }
}
