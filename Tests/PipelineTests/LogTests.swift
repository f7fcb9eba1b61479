// The log: the form of its lines, and the bounds on lasting conditions.

import Foundation
import Kafka
import Logging
import Sampling
import Synchronization
import Testing
import Topology

@testable import Pipeline

/// Written lines, and a manual clock.
private final class WrittenLog: Sendable {
  private let state = Mutex<(lines: [String], now: Instant)>(([], Instant(nanoseconds: 0)))

  var lines: [String] { state.withLock(\.lines) }

  func pass(_ seconds: Int64) {
    state.withLock { $0.now = $0.now + .seconds(seconds) }
  }

  func logger(
    _ format: LogSettings.Format = .text, secrets: [String] = [], level: LogLevel = LogLevel(LogSettings())
  ) -> Logger {
    let sink = LogSink(format: format, secrets: secrets, now: { moment(self.state.withLock(\.now)) }) {
      line in
      self.state.withLock { $0.lines.append(line) }
    }
    return Logger(label: "test") { _ in WorkerLogHandler(level: level, sink: sink) }
  }
}

@Suite struct LogTests {
  private let epoch = "1970-01-01T00:00:00.000Z"

  @Test func textForPeople() {
    let log = WrittenLog()
    let logger = log.logger()
    logger.info("assigned", metadata: ["partition": "3", "lane": "0", "from": "the start", "empty": ""])
    logger.warning("two\nlines\u{7}", metadata: ["a": "x=y\n"])
    logger.debug("not important enough")
    #expect(
      log.lines == [
        "\(epoch) info assigned empty=\"\" from=\"the start\" lane=0 partition=3\n",
        "\(epoch) warning two\\u000alines\\u0007 a=\"x=y\\u000a\"\n",
      ])
  }

  @Test func theLevelFollowsChanges() {
    let log = WrittenLog()
    let level = LogLevel(LogSettings())
    let logger = log.logger(level: level)
    var own = logger
    own.logLevel = .error
    logger.debug("one")
    level.follow(LogSettings(level: .debug))
    logger.debug("two")
    own.warning("three")
    #expect(log.lines == ["\(epoch) debug two\n"])
    let fixed = LogLevel(LogSettings(), fixed: .error)
    fixed.follow(LogSettings(level: .debug))
    #expect(fixed.value == .error)
  }

  @Test func jsonForPrograms() throws {
    let log = WrittenLog()
    let logger = log.logger(.json)
    logger.info("assigned", metadata: ["partition": "3", "from": "\"é\" \\ \u{1}\u{2028}"])
    logger.error("away")
    #expect(log.lines.last == "{\"time\":\"\(epoch)\",\"level\":\"error\",\"message\":\"away\"}\n")
    struct Line: Decodable, Equatable {
      var time: String
      var level: String
      var message: String
      var fields: [String: String]
    }
    let line = try JSONDecoder().decode(Line.self, from: Data(try #require(log.lines.first).utf8))
    let fields = ["partition": "3", "from": "\"é\" \\ \u{1}\u{2028}"]
    #expect(line == Line(time: epoch, level: "info", message: "assigned", fields: fields))
    #expect(log.lines.allSatisfy { $0.split(whereSeparator: \.isNewline).count == 1 })
  }

  @Test func aConditionThatLastsIsOneLineAMinute() {
    let log = WrittenLog()
    let logger = log.logger()
    for second in 0..<60 {
      logger.warning("no answer after \(second) ms")
      logger.warning("another")
      log.pass(1)
    }
    #expect(log.lines.count == 2)
    // Recurring conditions are logged before the next line, whatever it is.
    logger.info("hello")
    #expect(
      log.lines.suffix(3) == [
        "1970-01-01T00:01:00.000Z warning another repeated=59\n",
        "1970-01-01T00:01:00.000Z warning no answer after 59 ms repeated=59\n",
        "1970-01-01T00:01:00.000Z info hello\n",
      ])
    log.pass(60)
    logger.warning("another")
    #expect(log.lines.last == "1970-01-01T00:02:00.000Z warning another\n", "it had ended, and begins again")
    #expect(log.lines.count == 6)
  }

  @Test func fieldsDistinguishConditions() {
    let log = WrittenLog()
    let logger = log.logger()
    for partition in 0..<3 { logger.warning("away", metadata: ["partition": "\(partition)"]) }
    #expect(log.lines.count == 3)
  }

  @Test func everyPartitionIsNamed() {
    let log = WrittenLog()
    let logger = log.logger()
    for partition in [7, 8, 10, 11, 8] { logger.warning("partition \(partition) was added 5 s ago") }
    let named = log.lines.map { $0.split(separator: " ")[3] }
    #expect(named == ["7", "8", "10", "11"])
    log.pass(60)
    logger.info("hello")
    #expect(log.lines.dropFirst(4).first?.contains("partition 8 was added 5 s ago repeated=1") == true)
    // Beyond the limit, partitions are only counted.
    log.pass(60)
    for partition in 0..<1000 { logger.warning("partition \(partition) is odd") }
    #expect(log.lines.count == 6 + RepeatedLines.partitionsMax + 1)
    log.pass(60)
    logger.info("hello")
    #expect(log.lines.contains { $0.contains("partition 999 is odd repeated=935") })
    #expect(!log.lines.contains { $0.contains("different warnings") })
  }

  @Test func ofFourNewPartitionsFourAreNamed() {
    let log = WrittenLog()
    let worker = WorkerLog(log.logger(), topic: "spans")
    worker.noteStart(partitions: 2)
    for partition in 0..<6 as Range<Int32> {
      worker.note(.assigned(PartitionID(partition), from: nil, recordsAgain: 0, verdicts: 0), lane: 0)
    }
    let warnings = log.lines.filter { $0.contains(" warning ") }
    #expect(warnings.count == 4)
    for partition in 2...5 {
      #expect(warnings.contains { $0.contains("partition \(partition) of 'spans' was added") })
    }
  }

  @Test func manyDifferentConditionsAreBounded() {
    let log = WrittenLog()
    let logger = log.logger()
    func word(_ number: Int) -> String { String(repeating: "x", count: number) }
    for number in 0..<1000 { logger.warning("condition \(word(number))") }
    #expect(log.lines.count == RepeatedLines.conditionsMax)
    log.pass(61)
    logger.warning("another")
    #expect(
      log.lines.suffix(2) == [
        "1970-01-01T00:01:01.000Z warning more than 64 different warnings in a minute left_out=936\n",
        "1970-01-01T00:01:01.000Z warning another\n",
      ])
  }

  @Test func linesBelowWarningAreAlwaysWritten() {
    let log = WrittenLog()
    let logger = log.logger()
    for _ in 0..<3 { logger.info("released") }
    #expect(log.lines.count == 3)
  }

  @Test func secretsNeverAppear() {
    let log = WrittenLog()
    var worker = WorkerSettings(group: "g")
    worker.kafka.values = [
      "sasl.password": "hun\"ter2", "sasl.username": "info", "ssl.key.password": "abc", "linger.ms": "5000",
    ]
    #expect(worker.kafka.secretValues == ["hun\"ter2"])
    let logger = log.logger(.json, secrets: worker.kafka.secretValues)
    logger.error("refused: hun\"ter2", metadata: ["detail": "info hun\"ter2 5000"])
    let line = "\"level\":\"error\",\"message\":\"refused: ***\",\"fields\":{\"detail\":\"info *** 5000\"}}\n"
    #expect(log.lines == ["{\"time\":\"\(epoch)\",\(line)"])
  }
}
