// Descriptions of topics from brokers.

import Kafka
import Testing

@Suite(.ownThreads) struct AdminTests {
  @Test func topicsAreDescribedInTheOrderAskedFor() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("one")
    try cluster.createTopic("five", partitions: 5)
    let admin = try Admin(properties: cluster.properties, log: { _ in })
    let found = try admin.describe(["five", "missing", "one", "five"], timeout: .seconds(10))
    #expect(found.map { $0?.name } == ["five", nil, "one", "five"])
    #expect(found.map { $0?.partitions } == [5, nil, 1, 5])
    #expect(try admin.describe([], timeout: .seconds(10)).isEmpty)
    // Describing it did not create it.
    #expect(try admin.describe(["missing"], timeout: .seconds(10)) == [nil])
  }

  @Test func silentBrokersAreAnError() throws {
    let admin = try Admin(properties: [KafkaProperty("bootstrap.servers", "127.0.0.1:1")], log: { _ in })
    let error = #expect(throws: KafkaError.self) { try admin.describe(["t"], timeout: .milliseconds(200)) }
    #expect(error?.isRetriable == true)
  }
}
