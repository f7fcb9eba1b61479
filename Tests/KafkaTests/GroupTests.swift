// Members of one group: assignments, revocations, commits, and how they leave.

import Kafka
import Synchronization
import Testing

@Suite(.ownThreads, .timeLimit(.minutes(2))) struct GroupTests {
  @Test func twoMembersShareThePartitionsAndLoseNoRecord() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t", partitions: 4)
    let producer = try cluster.producer()
    let topic = try producer.topic("t")
    var sent: Set<String> = []
    func send(_ name: String) throws {
      for partition in Int32(0)..<4 {
        let value = "\(name)-\(partition)"
        try producer.send(topic, partition: partition, key: nil, value: value)
        sent.insert(value)
      }
      try producer.flush(timeout: .seconds(10))
    }
    let first = try cluster.member(of: "g", reading: "t")
    try first.consumer.subscribe()
    try send("alone")
    try first.step(until: "all partitions") { first.assigned.count == 4 && first.records.count == 4 }
    try commit(first)

    let second = try cluster.member(of: "g", reading: "t")
    try second.consumer.subscribe()
    try wait(for: "two partitions each") {
      try first.step()
      try second.step()
      return first.assigned.count == 2 && second.assigned.count == 2
    }
    #expect(first.assigned.isDisjoint(with: second.assigned))
    // Cooperative: a partition that stays is not revoked and reassigned.
    #expect(revoked(by: first).count == 2)
    #expect(revoked(by: second).isEmpty)
    // Even a rebalance that assigns nothing new is an event, and must be answered.
    #expect(first.events.contains(.assigned([])))
    try send("together")
    try wait(for: "the records of both") {
      try first.step()
      try second.step()
      return first.records.count + second.records.count >= 8
    }
    let read = (first.records + second.records).compactMap(\.value)
    #expect(read.count == 8 && Set(read) == sent)

    try commit(first)
    try commit(second)
    second.consumer.close()
    try wait(for: "all partitions again") {
      try first.step()
      return first.assigned.count == 4
    }
    try send("alone again")
    try first.step(until: "the last records") {
      first.records.count(where: { $0.value?.hasPrefix("alone again") == true }) == 4
    }
    #expect((first.records + second.records).count == 12)
    first.consumer.close()
  }

  @Test func committedOffsetsComeBackWithTheirMetadata() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t", partitions: 2)
    let producer = try cluster.producer()
    let topic = try producer.topic("t")
    for number in 0..<10 { try producer.send(topic, key: nil, value: "\(number)") }
    try producer.flush(timeout: .seconds(10))
    let places = [TopicPartition("t", 0), TopicPartition("t", 1)]

    let first = try cluster.member(of: "g", reading: "t")
    try first.consumer.subscribe()
    try first.step(until: "ten records") { first.records.count == 10 }
    let none = try first.consumer.committed(places, timeout: .seconds(10))
    #expect(none.map(\.offset) == [PartitionOffset.invalid, PartitionOffset.invalid])
    let metadata = "1;10;1760000000000000000;1760000005000000000"
    try first.consumer.commit(
      [PartitionOffset(places[0], offset: 4, metadata: metadata)], timeout: .seconds(10))
    let committed = try first.consumer.committed(places.reversed(), timeout: .seconds(10))
    #expect(committed.map(\.topicPartition) == places.reversed())
    #expect(committed.map(\.offset) == [PartitionOffset.invalid, 4])
    #expect(committed.map(\.metadata) == ["", metadata])
    first.consumer.close()

    let second = try cluster.member(of: "g", reading: "t")
    try second.consumer.subscribe()
    try second.step(until: "what is behind the commit") { second.records.count >= 6 }
    #expect(second.records.map(\.offset) == Array(4..<10))
    second.consumer.close()

    let other = try cluster.member(of: "other", reading: "t")
    other.start = 8
    try other.consumer.subscribe()
    try other.step(until: "what is behind the offset given") { other.records.count >= 2 }
    #expect(other.records.map(\.offset) == [8, 9])
    other.consumer.close()
  }

  /// Each state of a member; leaving must not wait for an answer that never comes.
  enum Situation: CaseIterable {
    case notSubscribed, joining, unanswered, owning, revoking
  }

  @Test(arguments: Situation.allCases, ["cooperative-sticky", "range"])
  func closingEnds(_ situation: Situation, _ strategy: String) throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t", partitions: 2)
    let assignment = [KafkaProperty("partition.assignment.strategy", strategy)]
    let member = try cluster.member(of: "g", reading: "t", assignment)
    let other = try cluster.member(of: "g", reading: "t", assignment)
    func isAsked(_ event: ConsumerEvent) -> Bool {
      switch event {
      case .assigned, .revoked: true
      default: false
      }
    }
    if situation != .notSubscribed { try member.consumer.subscribe() }
    switch situation {
    case .notSubscribed: break
    case .joining: _ = member.poll()
    case .unanswered: try wait(for: "an assignment") { member.poll().contains(where: isAsked) }
    case .owning: try member.step(until: "the partitions") { member.assigned.count == 2 }
    case .revoking:
      try member.step(until: "the partitions") { member.assigned.count == 2 }
      try other.consumer.subscribe()
      try wait(for: "a revocation") {
        try other.step()
        return member.poll().contains(where: isAsked)
      }
    }
    // If closing hangs, the suite's time limit fails the test.
    member.consumer.close()
    member.consumer.close()
    other.consumer.close()
  }

  /// A member that leaves after joining and before its first assignment: librdkafka 2.0.2 aborts the process
  /// when such a client is destroyed.
  @Test func leavingBeforeTheFirstAssignmentIsSurvived() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let (syncGroup, rebalanceInProgress): (Int16, Int32) = (14, 27)
    cluster.cluster.failNext(api: syncGroup, with: Array(repeating: rebalanceInProgress, count: 100))
    let refusals = Mutex(0)
    let properties = [KafkaProperty("group.id", "g"), KafkaProperty("debug", "cgrp")]
    var consumer: Consumer? = try Consumer(topic: "t", properties: cluster.properties + properties) { line in
      if line.text.contains("SyncGroup"), line.text.contains("in progress") { refusals.withLock { $0 += 1 } }
    }
    try consumer?.subscribe()
    try wait(for: "an assignment that is refused") {
      let nothing: (RecordInfo, RawSpan?, RawSpan?) -> Void = { _, _, _ in }
      _ = consumer?.poll(timeout: .milliseconds(50), nothing)
      return refusals.withLock { $0 } > 0
    }
    #expect(consumer?.takeEvents().isEmpty == true)
    consumer?.close()
    consumer = nil
  }

  private func revoked(by member: Member) -> [TopicPartition] {
    member.events.flatMap { event in
      if case .revoked(let partitions) = event { partitions } else { [] as [TopicPartition] }
    }
  }

  /// Commits what a member has read. Only while the group is stable: the mock cluster rejects commits during
  /// a rebalance, and the member would lose all its partitions.
  private func commit(_ member: Member) throws {
    var next: [TopicPartition: Int64] = [:]
    for record in member.records { next[TopicPartition("t", record.partition)] = record.offset + 1 }
    let offsets = next.filter { member.assigned.contains($0.key) }.map {
      PartitionOffset($0.key, offset: $0.value)
    }
    try member.consumer.commit(offsets, timeout: .seconds(10))
  }
}
