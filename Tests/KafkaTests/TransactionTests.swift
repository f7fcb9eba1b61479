// Transactions: begun, committed with offsets, aborted, begun again.

import Kafka
import Testing

@Suite(.ownThreads) struct TransactionTests {
  @Test func theyCommitRecordsAndOffsets() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("in")
    try cluster.createTopic("out")
    let source = try cluster.producer()
    for value in ["a", "b"] { try source.send(try source.topic("in"), key: nil, value: value) }
    try source.flush(timeout: .seconds(10))
    let member = try cluster.member(of: "g", reading: "in")
    try member.consumer.subscribe()
    try member.step(until: "both records") { member.records.count == 2 }

    let producer = try transactional(cluster)
    try producer.initTransactions(timeout: .seconds(10))
    try producer.beginTransaction()
    try producer.send(try producer.topic("out"), key: "k", value: "v")
    let offset = PartitionOffset(TopicPartition("in", 0), offset: 2)
    try producer.sendOffsets([offset], of: member.consumer, timeout: .seconds(10))
    try producer.commitTransaction(timeout: .seconds(10))
    #expect(producer.deliveredCount == 1)
    #expect(producer.takeFailures().isEmpty)
    member.consumer.close()

    let reader = try cluster.member(of: "h", reading: "out")
    try reader.consumer.subscribe()
    try reader.step(until: "the record") { !reader.records.isEmpty }
    #expect(reader.records.map(\.value) == ["v"])
    reader.consumer.close()
  }

  @Test func oneCanBeginAfterAnAbort() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("out")
    let producer = try transactional(cluster)
    let topic = try producer.topic("out")
    try producer.initTransactions(timeout: .seconds(10))
    try producer.beginTransaction()
    try producer.send(topic, key: nil, value: "given up")
    try producer.abortTransaction(timeout: .seconds(10))
    try producer.beginTransaction()
    try producer.send(topic, key: nil, value: "kept")
    try producer.commitTransaction(timeout: .seconds(10))
    #expect(producer.takeErrors().allSatisfy { !$0.isFatal })
  }

  @Test func stepsOutOfOrderAreErrors() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("out")
    let producer = try transactional(cluster)
    let topic = try producer.topic("out")
    #expect(throws: KafkaError.self) { try producer.beginTransaction() }
    try producer.initTransactions(timeout: .seconds(10))
    let outside = #expect(throws: KafkaError.self) { try producer.send(topic, key: nil, value: "v") }
    #expect(outside?.name == "_STATE")
    #expect(throws: KafkaError.self) { try producer.commitTransaction(timeout: .seconds(10)) }
    try producer.beginTransaction()
    let twice = #expect(throws: KafkaError.self) { try producer.beginTransaction() }
    #expect(twice?.isFatal == false)
    try producer.abortTransaction(timeout: .seconds(10))
  }

  /// The new producer waits neither for the old one's open transaction nor for its end.
  @Test func aNewProducerTakesTheOldOnesPlace() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("out")
    var old: Producer? = try transactional(cluster)
    try old?.initTransactions(timeout: .seconds(10))
    try old?.beginTransaction()
    if let old { try old.send(try old.topic("out"), key: nil, value: "given up") }
    let new = try transactional(cluster)
    old?.retire()
    old = nil
    try new.initTransactions(timeout: .seconds(10))
    try new.beginTransaction()
    try new.send(try new.topic("out"), key: nil, value: "kept")
    try new.commitTransaction(timeout: .seconds(10))
    #expect(new.deliveredCount == 1)
    let again = #expect(throws: KafkaError.self) { try new.initTransactions(timeout: .seconds(1)) }
    #expect(again?.name == "_STATE", "librdkafka registers a client once")
  }

  private func transactional(_ cluster: RunningCluster) throws -> Producer {
    try cluster.producer([KafkaProperty("transactional.id", "worker-0")])
  }
}
