// The signals that librdkafka's threads don't block.

import Foundation
import Kafka
import Testing

@Suite(.ownThreads) struct ThreadSignalsTests {
  /// Swift's crash handler writes a line about each thread that blocks all of the signals that suspend
  /// threads, and repeats it in each round.
  @Test func noThreadOfAClientBlocksTheSignalThatStopsIt() throws {
    let cluster = try RunningCluster()
    try cluster.createTopic("t")
    let producer = try cluster.producer()
    try producer.send(try producer.topic("t"), key: nil, value: "x")
    try producer.flush(timeout: .seconds(10))
    // The main thread, a broker's and the mock cluster's. A thread that has just started may not have
    // unblocked it yet.
    let deadline = ContinuousClock.now + .seconds(20)
    var threads: [String: Bool] = [:]
    repeat { threads = try Self.blockingThreads() } while threads.values.contains(true) && .now < deadline
    #expect(threads.count >= 3)
    #expect(!threads.values.contains(true), "blocked: \(threads.filter(\.value).keys.sorted())")
  }

  /// librdkafka's threads in this process, and whether they block the signal.
  private static func blockingThreads() throws -> [String: Bool] {
    var threads: [String: Bool] = [:]
    for number in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task") {
      // A thread may end meanwhile.
      guard let status = try? String(contentsOfFile: "/proc/self/task/\(number)/status", encoding: .utf8)
      else { continue }
      let fields = status.split(separator: "\n").map { $0.split(separator: "\t", maxSplits: 1) }
      let values = Dictionary(fields.filter { $0.count == 2 }.map { ($0[0], $0[1]) }) { first, _ in first }
      guard let name = values["Name:"], name.hasPrefix("rdk:") else { continue }
      let blocked = try #require(values["SigBlk:"].flatMap { UInt64($0, radix: 16) })
      threads["\(name) \(number)"] = blocked & (1 << UInt64(SIGPROF - 1)) != 0
    }
    return threads
  }
}
