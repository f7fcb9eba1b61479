// Stretches of a topic: how they are named, and that exactly they are read and recorded.

import Foundation
import Kafka
import OTLP
import Sampling
import Testing
import Topology

@testable import Pipeline

@Suite struct TopicStretchTests {
  private static let now = Instant(nanoseconds: 1_000_000_000_000)

  @Test(arguments: [
    ("0", TopicStretch.Bound.offset(0)), ("12345", .offset(12345)),
    ("-15m", .time(Instant(nanoseconds: 100_000_000_000))),
    ("-1m30s", .time(Instant(nanoseconds: 910_000_000_000))),
    ("1970-01-01T00:00:01Z", .time(Instant(nanoseconds: 1_000_000_000))),
    ("1970-01-01 00:00:01.5z", .time(Instant(nanoseconds: 1_500_000_000))),
    ("1970-01-01T01:00:01.000000001+01:00", .time(Instant(nanoseconds: 1_000_000_001))),
    ("1969-12-31T23:30:00-00:30", .time(Instant(nanoseconds: 0))),
  ])
  func boundsAreTimesAgesAndOffsets(_ text: String, _ bound: TopicStretch.Bound) {
    #expect(TopicStretch.Bound(text, now: TopicStretchTests.now) == bound)
  }

  @Test(arguments: [
    "", "-", "+1", "-15", "yesterday", "1970-01-01", "1970-02-30T00:00:00Z", "1970-01-01T00:00:00",
    "1970-01-01T00:00:00+25:00", "99999999999999999999",
  ])
  func anythingElseIsNone(_ text: String) {
    #expect(TopicStretch.Bound(text, now: TopicStretchTests.now) == nil)
  }

  @Test func partitionsAreListsAndRanges() {
    #expect(TopicStretch.partitions("0,3-5") == [0, 3, 4, 5])
    for text in ["", ",", "1-", "3-1", "-1", "0-99999999", "a"] {
      #expect(TopicStretch.partitions(text) == nil, "\(text)")
    }
  }
}

@Suite struct StretchReaderTests {
  private let cluster: MockCluster
  private let topology: Topology

  init() throws {
    cluster = try MockCluster()
    try cluster.createTopic("spans", partitions: 3)
    var settings = TailSamplingTopology()
    settings.worker.kafka.values["bootstrap.servers"] = cluster.bootstrapServers
    topology = .tailSampling(settings)
  }

  /// Produces records numbered from 0 on, the next one always to the next partition.
  private func produce(_ count: Int) throws {
    let producer = try Producer(
      properties: [KafkaProperty("bootstrap.servers", cluster.bootstrapServers)], log: { _ in })
    let topic = try producer.topic("spans")
    for number in 0..<count {
      try Array("\(number)".utf8).withRawBytes { (value) throws(KafkaError) in
        try producer.produce(topic, partition: Int32(number % 3), key: nil, value: value)
      }
      // Each has a time of its own.
      usleep(2000)
    }
    try producer.flush(timeout: .seconds(10))
  }

  private func read(_ change: (inout TopicStretch) -> Void) throws -> [TopicRecord] {
    var stretch = TopicStretch(topic: "spans")
    change(&stretch)
    let reader = try StretchReader(stretch, of: topology)
    defer { reader.abandon() }
    var records: [TopicRecord] = []
    let deadline = ContinuousClock.now + .seconds(30)
    while !reader.isAtEnd {
      try #require(ContinuousClock.now < deadline)
      try reader.read {
        records.append($0)
        return true
      }
    }
    #expect(reader.share == 1)
    return records
  }

  @Test func partitionsAreMergedByTime() throws {
    try produce(60)
    let records = try read { _ in }
    let numbers = records.map { Int(String(decoding: $0.value ?? [], as: UTF8.self)) }
    #expect(numbers == Array(0..<60))
  }

  @Test func exactlyTheStretchIsRead() throws {
    try produce(30)
    let records = try read {
      $0.partitions = [0, 2]
      $0.from = .offset(3)
      $0.to = .offset(7)
    }
    #expect(records.count == 8)
    #expect(Set(records.map(\.partition)) == [0, 2])
    #expect(Set(records.map(\.offset)) == [3, 4, 5, 6])
    #expect(try read { $0.from = .offset(1000) }.isEmpty)
  }

  @Test func aFollowerGetsWhatComes() throws {
    try produce(3)
    var stretch = TopicStretch(topic: "spans")
    stretch.follows = true
    let reader = try StretchReader(stretch, of: topology)
    defer { reader.abandon() }
    var count = 0
    let deadline = ContinuousClock.now + .seconds(30)
    while count < 6 {
      try #require(ContinuousClock.now < deadline)
      let before = count
      try reader.read { _ in
        count += 1
        return true
      }
      if count == 3, before < 3 { try produce(3) }
    }
    #expect(count == 6 && !reader.isAtEnd && reader.share == nil)
  }

  @Test func unknownTopicsAndPartitionsAreErrors() {
    #expect(throws: KafkaError.self) { try read { $0.topic = "none" } }
    #expect(throws: KafkaError.self) { try read { $0.partitions = [3] } }
  }

  /// Reads all that there is, with little patience; nothing may hang.
  private func readAll(_ reader: StretchReader, _ take: (TopicRecord) -> Void = { _ in }) throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while !reader.isAtEnd {
      try #require(ContinuousClock.now < deadline)
      try reader.read {
        take($0)
        return true
      }
    }
  }

  private func stretch(_ change: (inout TopicStretch) -> Void = { _ in }) -> TopicStretch {
    var stretch = TopicStretch(topic: "spans")
    change(&stretch)
    return stretch
  }

  /// NOT_LEADER_OR_FOLLOWER, for as long as a test needs to change what is in the log.
  private func holdFetches(_ count: Int) {
    cluster.failNext(api: 1, with: [Int32](repeating: 6, count: count))
  }

  @Test func aPartitionWithoutALeaderIsGivenUp() throws {
    try produce(30)
    holdFetches(2)
    let reader = try StretchReader(stretch { $0.patience = .seconds(8) }, of: topology)
    defer { reader.abandon() }
    try cluster.takeLeader(ofPartition: 1, of: "spans")
    var counts: [Int32: Int] = [:]
    try readAll(reader) { counts[$0.partition, default: 0] += 1 }
    #expect(counts == [0: 10, 2: 10])
    let gap = StretchGap(cause: .unreadable, partition: 1, from: 0, to: 10)
    #expect(reader.gaps == [gap] && gap.isFailure)
    #expect("\(gap)" == "partition 1: offsets 0 to 9 could not be read")
    #expect(try #require(reader.share) < 1)
  }

  @Test func aPartitionThatNeverHadALeaderIsNamed() throws {
    try produce(3)
    try cluster.takeLeader(ofPartition: 1, of: "spans")
    let error = #expect(throws: KafkaError.self) {
      _ = try StretchReader(stretch { $0.patience = .seconds(1) }, of: topology)
    }
    #expect(error?.message.hasPrefix("partition 1 gives no offsets") == true, "\(error?.message ?? "")")
    var others = 0
    try readAll(StretchReader(stretch { $0.partitions = [0, 2] }, of: topology)) { _ in others += 1 }
    #expect(others == 2)
  }

  /// An election takes a while; then the stretch is read as if there had been none.
  @Test func aPartitionWithoutALeaderAtTheStartIsWaitedFor() throws {
    try produce(3)
    // LEADER_NOT_AVAILABLE, to the requests for offsets.
    cluster.failNext(api: 2, with: [Int32](repeating: 5, count: 3))
    #expect(throws: KafkaError.self) {
      _ = try StretchReader(stretch { $0.patience = .zero }, of: topology)
    }
    cluster.failNext(api: 2, with: [Int32](repeating: 5, count: 12))
    var count = 0
    try readAll(StretchReader(stretch(), of: topology)) { _ in count += 1 }
    #expect(count == 3)
  }

  /// What does not pass ends the reading; what was read before is delivered.
  @Test func anErrorThatDoesNotPassEndsTheReading() throws {
    try produce(3)
    var wanted = stretch()
    wanted.follows = true
    let reader = try StretchReader(wanted, of: topology)
    defer { reader.abandon() }
    var count = 0
    let deadline = ContinuousClock.now + .seconds(30)
    while count < 3 {
      try #require(ContinuousClock.now < deadline)
      try reader.read { _ in
        count += 1
        return true
      }
    }
    // TOPIC_AUTHORIZATION_FAILED
    cluster.failNext(api: 1, with: [29, 29, 29])
    try readAll(reader)
    #expect(reader.gaps.count == 3 && reader.gaps.allSatisfy { $0.cause == .unreadable && $0.to == nil })
    #expect(reader.trouble?.isAuthorization == true)
  }

  /// A partition holds about 5 MB: more of them delete the oldest.
  private func produceLarge(_ count: Int) throws {
    let producer = try Producer(
      properties: [KafkaProperty("bootstrap.servers", cluster.bootstrapServers)], log: { _ in })
    let topic = try producer.topic("spans")
    // It can't be compressed.
    var word: UInt64 = 1
    let value = (0..<200_000).map { _ in
      word = word &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: word >> 56)
    }
    for _ in 0..<count {
      try value.withRawBytes { (value) throws(KafkaError) in
        try producer.produce(topic, partition: 0, key: nil, value: value)
      }
      try producer.flush(timeout: .seconds(10))
    }
  }

  @Test func recordsDeletedBeforeTheyAreReadAreMissed() throws {
    try produceLarge(20)
    holdFetches(8)
    let reader = try StretchReader(stretch { $0.partitions = [0] }, of: topology)
    defer { reader.abandon() }
    try produceLarge(20)
    var offsets: [Int64] = []
    try readAll(reader) { offsets.append($0.offset) }
    let gap = try #require(reader.gaps.first)
    #expect(reader.gaps.count == 1 && gap.cause == .deletedBefore && !gap.isFailure && gap.from == 0)
    let rest = try #require(gap.to)
    #expect(rest > 0 && offsets == Array(rest..<20))
  }

  @Test func aStretchThatBeginsBeforeTheLogSaysSo() throws {
    try produceLarge(40)
    let reader = try StretchReader(
      stretch {
        $0.partitions = [0]
        $0.from = .offset(2)
      }, of: topology)
    defer { reader.abandon() }
    let gap = try #require(reader.gaps.first)
    let start = try #require(gap.to)
    #expect(gap.from == 2 && gap.cause == .deletedBefore && start > 2)
    #expect(
      "\(gap)"
        == "partition 0: the first \(start - 2) offsets of the stretch, 2 to \(start - 1), were deleted")
    try readAll(reader)
    #expect(reader.gaps == [gap])
    // The whole topic begins where it begins.
    let whole = try StretchReader(stretch(), of: topology)
    defer { whole.abandon() }
    #expect(whole.gaps.isEmpty)
  }

  /// Without one of the two the middle would be left out silently.
  @Test func recordsDeletedAmidTheReadingAreAFailure() throws {
    try produceLarge(3)
    let reader = try StretchReader(
      stretch {
        $0.partitions = [0]
        $0.follows = true
      }, of: topology)
    defer { reader.abandon() }
    var offsets: [Int64] = []
    let deadline = ContinuousClock.now + .seconds(60)
    func read(until count: () -> Bool) throws {
      while !count() {
        try #require(ContinuousClock.now < deadline)
        try reader.read {
          offsets.append($0.offset)
          return true
        }
      }
    }
    try read { offsets.count == 3 }
    holdFetches(12)
    try produceLarge(40)
    try read { offsets.last == 42 }
    let gap = try #require(reader.gaps.first)
    #expect(reader.gaps.count == 1 && gap.cause == .deletedAmid && gap.isFailure && gap.from == 3)
    #expect(Array(offsets.dropFirst(3)) == Array(try #require(gap.to)..<43))
  }

  /// A broker may say that an offset is gone that is not.
  @Test func anOffsetThatIsStillThereIsReadAgain() throws {
    try produce(30)
    cluster.failNext(api: 1, with: [1])
    let reader = try StretchReader(stretch(), of: topology)
    defer { reader.abandon() }
    var count = 0
    try readAll(reader) { _ in count += 1 }
    #expect(count == 30 && reader.gaps.isEmpty)
  }

  @Test func recordersStopAtTheirLimitAndKeepDamage() throws {
    let directory = try TemporaryDirectory()
    let good = tracesData([TestSpan(trace: 1, id: 1)])
    let writer = try RecordingWriter(path: directory.path("a.otlp"))
    var recorder = Recorder(writer, encoding: nil, anonymiser: nil, bytesMax: 3 * (good.count + 4))
    #expect(try recorder.take(good))
    #expect(try recorder.take(nil))
    #expect(try recorder.take(Array("rubbish".utf8)))
    #expect(try recorder.take(good))
    #expect(try !recorder.take(good))
    try writer.finish()
    #expect(recorder.report.records == 3 && recorder.report.tombstones == 1)
    let contents = try RecordingContents(path: directory.path("a.otlp"))
    #expect(contents.records == [good, good] && contents.damages.count == 1)
  }

  @Test func documentsBecomeProtobuf() throws {
    let directory = try TemporaryDirectory()
    let json = """
      {"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0123456789abcdef0123456789abcdef",\
      "spanId":"0123456789abcdef","name":"secret","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}
      """
    let writer = try RecordingWriter(path: directory.path("a.otlp"))
    var recorder = Recorder(
      writer, encoding: .otlpJSON, anonymiser: Anonymiser(key: (1, 2)))
    #expect(try recorder.take(Array(json.utf8)))
    #expect(try recorder.take(Array("{secret".utf8)))
    try writer.finish()
    #expect(recorder.report.blanked == 1)
    let contents = try RecordingContents(path: directory.path("a.otlp"))
    #expect(contents.records.count == 1 && contents.damages.count == 1)
    #expect(!String(decoding: try directory.read("a.otlp"), as: UTF8.self).contains("secret"))
  }
}
