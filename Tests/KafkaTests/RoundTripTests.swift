// Records through a broker and back: keys, values, headers, timestamps, ends of partitions.

import Foundation
import Kafka
import Testing

@Suite(.ownThreads) struct RoundTripTests {
  /// Whether or not a poll waits for more records than have arrived.
  @Test(arguments: [Duration.zero, .milliseconds(5)])
  func keysAndValuesComeBackAsTheyWent(_ fillTime: Duration) throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let producer = try cluster.producer()
    let topic = try producer.topic("t")
    let sent: [(String?, String?)] = [
      ("key", "value"), (nil, "no key"), ("tombstone", nil), ("empty", ""), ("", "empty key"), (nil, nil),
      ("large", String(repeating: "x", count: 100_000)), ("ünïcode", "\u{0}\u{1}"),
    ]
    let before = Int64(Date().timeIntervalSince1970 * 1000)
    for (key, value) in sent { try producer.send(topic, key: key, value: value) }
    try producer.flush(timeout: .seconds(10))
    let after = Int64(Date().timeIntervalSince1970 * 1000)
    #expect(producer.takeFailures().isEmpty)
    #expect(producer.deliveredCount == UInt64(sent.count))

    let member = try cluster.member(of: "g", reading: "t", fillTime: fillTime)
    try member.consumer.subscribe()
    try member.step(until: "all records") { member.records.count >= sent.count }
    #expect(member.records.map(\.value) == sent.map(\.1))
    #expect(member.records.map(\.key) == sent.map(\.0))
    #expect(member.records.map(\.offset) == Array(0..<Int64(sent.count)))
    for record in member.records { #expect((before...after).contains(try #require(record.timestamp))) }
    member.consumer.close()
  }

  /// A poll that waits for a record then waits for more of them.
  @Test func batchesHaveTimeToFill() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let producer = try cluster.producer()
    let topic = try producer.topic("t")
    try producer.send(topic, key: nil, value: "one")
    try producer.flush(timeout: .seconds(10))
    let fillTime = Duration.milliseconds(300)
    let member = try cluster.member(of: "g", reading: "t", fillTime: fillTime)
    try member.consumer.subscribe()
    try member.step(until: "the record") { !member.records.isEmpty }
    // The position is at the end: the next record comes alone.
    try producer.send(topic, key: nil, value: "two")
    var (count, took) = (0, Duration.zero)
    try wait(for: "the next record") {
      took = ContinuousClock().measure { count = member.consumer.poll(timeout: .seconds(1)) { _, _, _ in } }
      return count > 0
    }
    #expect(took >= fillTime)
    member.consumer.close()
  }

  /// A worker counts no deliveries, so its producer reports only failures.
  @Test func workersProducersReportOnlyFailures() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let clients = LibrdkafkaClients { _ in }
    let producer = try clients.makeProducer(properties: cluster.properties)
    let topic = try producer.topic("t")
    try producer.send(topic, key: nil, value: "delivered")
    try producer.flush(timeout: .seconds(10))
    #expect(producer.deliveredCount == 0)
    #expect(producer.takeFailures().isEmpty)
    // Produce: TOPIC_AUTHORIZATION_FAILED.
    cluster.cluster.failNext(api: 0, with: [29])
    try producer.send(topic, key: nil, value: "rejected")
    try producer.flush(timeout: .seconds(10))
    #expect(producer.takeFailures().map(\.topic) == ["t"])
  }

  @Test func headersGoWithTheirRecords() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let producer = try cluster.producer()
    let topic = try producer.topic("t")
    try producer.send(topic, key: "k", value: "v", headers: [("reason", "empty"), ("source_offset", "17")])
    try producer.send(topic, key: nil, value: nil, headers: [("reason", "tombstone"), ("reason", "")])
    try producer.send(topic, key: nil, value: "", headers: [("naïve", "ü")])
    try producer.send(topic, key: "k", value: "none")
    try producer.flush(timeout: .seconds(10))
    let headers = try readHeaders(cluster, topic: "t", partition: 0, count: 4)
    #expect(
      headers == [["reason=empty", "source_offset=17"], ["reason=tombstone", "reason="], ["naïve=ü"], []])

    let member = try cluster.member(of: "g", reading: "t")
    try member.consumer.subscribe()
    try member.step(until: "all records") { member.records.count >= 4 }
    #expect(member.records.map(\.value) == ["v", nil, "", "none"])
    #expect(member.records.map(\.key) == ["k", nil, nil, "k"])
    member.consumer.close()
  }

  /// Headers are read while their record is lent: any bytes, an empty value, and no value.
  @Test func headersAreReadBack() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let producer = try cluster.producer()
    let topic = try producer.topic("t")
    let sent = [
      [RecordHeader("a", [0, 0xff, 0x80]), RecordHeader("a", [])], [], [RecordHeader("none", nil)],
      (0..<5).map { RecordHeader("h\($0)", [$0]) },
    ]
    for headers in sent {
      try producer.produce(topic, partition: 0, key: nil, value: nil, headers: headers)
    }
    try producer.flush(timeout: .seconds(10))
    let member = try cluster.member(of: "g", reading: "t")
    try member.consumer.subscribe()
    try member.step(until: "all records") { member.records.count >= sent.count }
    #expect(member.headers.map(\.headers) == sent.map { Array($0.prefix(2)) })
    #expect(member.headers.map(\.count) == sent.map(\.count))
    #expect(member.consumer.lentHeaders(countMax: 2).count == 0)
    member.consumer.close()
  }

  @Test func partitionsAreTheOnesAskedForOrTheKeys() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t", partitions: 3)
    let producer = try cluster.producer()
    let topic = try producer.topic("t")
    for partition in Int32(0)..<3 { try producer.send(topic, partition: partition, key: "k", value: "v") }
    for _ in 0..<5 { try producer.send(topic, partition: nil, key: "same", value: "keyed") }
    try producer.flush(timeout: .seconds(10))
    let member = try cluster.member(of: "g", reading: "t")
    try member.consumer.subscribe()
    try member.step(until: "all records") { member.records.count >= 8 }
    #expect(Set(member.records.filter { $0.value == "v" }.map(\.partition)) == [0, 1, 2])
    #expect(Set(member.records.filter { $0.value == "keyed" }.map(\.partition)).count == 1)
    member.consumer.close()
  }

  /// A reader that is given partitions may read several topics, one after the other.
  @Test func anEndNamesItsTopic() throws {
    let cluster = try RunningCluster()
    for name in ["t", "u"] { try cluster.createTopic(name) }
    let member = try cluster.member(of: "g", reading: "t")
    for name in ["t", "u"] {
      try member.consumer.assignAlone(more: [PartitionOffset(TopicPartition(name, 0), offset: 0)])
      try member.step(until: "the end of \(name)") {
        member.events.contains(.endOfPartition(TopicPartition(name, 0), offset: 0))
      }
      try member.consumer.unassignAlone([TopicPartition(name, 0)])
    }
    member.consumer.close()
  }

  @Test func endsOfPartitionsAreToldAgainAfterEachCatchingUp() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t", partitions: 2)
    let producer = try cluster.producer()
    let topic = try producer.topic("t")
    let member = try cluster.member(of: "g", reading: "t")
    try member.consumer.subscribe()
    func isTold(_ partition: Int32, _ offset: Int64) -> Bool {
      member.events.contains(.endOfPartition(TopicPartition("t", partition), offset: offset))
    }
    try member.step(until: "the ends of empty partitions") { isTold(0, 0) && isTold(1, 0) }
    for value in ["a", "b"] {
      try producer.send(topic, partition: 1, key: nil, value: value)
      try producer.flush(timeout: .seconds(10))
    }
    try member.step(until: "the new end") { isTold(1, 2) }
    #expect(member.records.count == 2)
    #expect(!isTold(0, 2))
    member.consumer.close()
  }

  @Test func aRecordThatTheClientDoesNotTakeIsAnErrorAndNotLost() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let producer = try cluster.producer([KafkaProperty("message.max.bytes", "2000")])
    let topic = try producer.topic("t")
    let error = #expect(throws: KafkaError.self) {
      try producer.send(topic, key: nil, value: String(repeating: "x", count: 3000))
    }
    #expect(error?.known == .msgSizeTooLarge)
    let withHeaders = #expect(throws: KafkaError.self) {
      try producer.send(topic, key: nil, value: String(repeating: "x", count: 3000), headers: [("a", "b")])
    }
    #expect(withHeaders?.known == .msgSizeTooLarge)
    try producer.send(topic, key: nil, value: "small")
    try producer.flush(timeout: .seconds(10))
    #expect(producer.deliveredCount == 1)
  }

  @Test func aRecordForAPartitionThatIsNotThereFails() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let producer = try cluster.producer()
    let topic = try producer.topic("t")
    var failures: [DeliveryFailure] = []
    // If the client knows the topic it rejects the record at once, else when it learns of it.
    do {
      try producer.send(topic, partition: 7, key: nil, value: "v")
      try wait(for: "the failure") {
        producer.poll(timeout: .milliseconds(5))
        failures = producer.takeFailures()
        return !failures.isEmpty
      }
      let failure = try #require(failures.first)
      #expect(failure.topic == "t" && failure.partition == 7 && failure.error.isUnknownTopic)
    } catch let error as KafkaError {
      #expect(error.isUnknownTopic)
    }
  }

  @Test func aFullQueueIsWaitedForAndThenAnError() throws {
    // Nothing listens at port 1, so nothing leaves the queue.
    let producer = try Producer(
      properties: [
        KafkaProperty("bootstrap.servers", "127.0.0.1:1"),
        KafkaProperty("queue.buffering.max.messages", "2"),
      ], log: { _ in })
    let topic = try producer.topic("t")
    try producer.send(topic, key: nil, value: "1")
    try producer.send(topic, key: nil, value: "2")
    let error = #expect(throws: KafkaError.self) {
      try producer.produce(topic, partition: 0, key: nil, value: nil, queueTimeout: .milliseconds(50))
    }
    #expect(error?.isQueueFull == true)
    let late = #expect(throws: KafkaError.self) { try producer.flush(timeout: .milliseconds(50)) }
    #expect([.localTimedOut, .localTimedOutQueue].contains(late?.known))
  }
}
