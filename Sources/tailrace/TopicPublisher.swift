// Publishing generated records: waiting for the topic, keeping pace, and reporting delivery.

import ArgumentParser
import Foundation
import Kafka
import OTLP
import Sampling
import Simulation
import Synchronization

/// Publishes generated records.
final class TopicPublisher {
  private let producer: Producer
  private let topic: ProducerTopic
  private let name: String
  private let brokers: String

  /// How long the brokers may accept none of the last records.
  private static let patience = Duration.seconds(60)

  /// Connects to a topic. Waits for a missing topic or unresponsive brokers, and tells the user.
  init(_ name: String, brokers: String, wait: Duration) throws {
    self.name = name
    self.brokers = brokers
    producer = try Producer(properties: [KafkaProperty("bootstrap.servers", brokers)], log: { _ in })
    topic = try producer.topic(name)
    try waitForTopic(wait)
  }

  private func waitForTopic(_ wait: Duration) throws {
    let deadline = ContinuousClock.now + wait
    var saidAt: ContinuousClock.Instant?
    while let reason = try reasonToWait() {
      let now = ContinuousClock.now
      guard now < deadline else {
        throw CommandFailure.failed(
          "\(reason), for \(wait.components.seconds) s: start the brokers at \(brokers) or the worker that "
            + "creates the topic, or wait longer with --wait")
      }
      if saidAt.map({ $0 + .seconds(10) <= now }) ?? true {
        saidAt = now
        StandardError.write("\(reason): waiting for at most \((deadline - now).components.seconds) s\n")
      }
      usleep(1_000_000)
    }
  }

  /// Why the topic isn't ready; nil if it is.
  private func reasonToWait() throws(KafkaError) -> String? {
    do throws(KafkaError) {
      return try producer.partitionCount(of: topic, timeout: .seconds(2)) > 0
        ? nil : "topic '\(name)' has no partitions yet"
    } catch {
      if error.isAuthorization || error.isConfiguration || error.isFatal { throw error }
      return error.isUnknownTopic
        ? "topic '\(name)' does not exist" : "no answer from the brokers at \(brokers) (\(error))"
    }
  }

  /// Records that mix traces have no key.
  func publish(_ record: WorkloadRecord) throws {
    try record.key.withRawBytes { (key) throws(KafkaError) in
      try record.bytes.withRawBytes { (value) throws(KafkaError) in
        try producer.produce(topic, partition: nil, key: record.key.isEmpty ? nil : key, value: value)
      }
    }
  }

  /// Handles delivery reports so far.
  func checkDeliveries() throws {
    producer.poll()
    if let failure = producer.takeFailures().first {
      throw CommandFailure.failed("topic '\(failure.topic)': not delivered: \(failure.error)")
    }
  }

  /// Waits until the brokers have accepted everything, as long as they accept something.
  func finish() throws {
    var delivered = producer.deliveredCount
    var progressAt = ContinuousClock.now
    while try !flush() {
      try checkDeliveries()
      if producer.deliveredCount != delivered {
        delivered = producer.deliveredCount
        progressAt = .now
      } else if progressAt + TopicPublisher.patience <= .now {
        throw CommandFailure.failed(
          "the brokers at \(brokers) have accepted no record for "
            + "\(TopicPublisher.patience.components.seconds) s, \(delivered) in all")
      }
    }
    try checkDeliveries()
  }

  /// Whether everything was accepted; waits some seconds at most.
  private func flush() throws(KafkaError) -> Bool {
    do throws(KafkaError) { try producer.flush(timeout: .seconds(5)) } catch {
      guard [.localTimedOut, .localTimedOutQueue].contains(error.known) else { throw error }
      return false
    }
    return true
  }
}

/// Set by a signal, waited for by a loop.
final class StopFlag: Sendable {
  private let flag = Atomic(false)
  private let semaphore = DispatchSemaphore(value: 0)

  var isSet: Bool { flag.load(ordering: .relaxed) }

  func set() {
    flag.store(true, ordering: .relaxed)
    semaphore.signal()
  }

  func clear() { flag.store(false, ordering: .relaxed) }

  /// Waits until the flag is set, for at most `time`.
  func wait(_ time: Duration) {
    guard !isSet else { return }
    _ = semaphore.wait(timeout: .now() + .nanoseconds(Int(clamping: time.nanoseconds)))
  }
}

/// The pace of live traffic: each record when it is due.
struct LivePace {
  private let start = ContinuousClock.now
  private let startNanoseconds: Int64
  private let stop: StopFlag
  /// How late the latest record was.
  private(set) var behindMost = Duration.zero

  init(startNanoseconds: Int64, stop: StopFlag) {
    self.startNanoseconds = startNanoseconds
    self.stop = stop
  }

  /// The time since it started.
  var elapsed: Duration { ContinuousClock.now - start }

  /// Waits until `time` or a stop, calling `idle` now and then. A record goes out up to a millisecond early:
  /// a wait for each would take longer than many records are apart.
  mutating func wait(until time: Int64, _ idle: () throws -> Void) throws {
    let due = start + .nanoseconds(time - startNanoseconds)
    while !stop.isSet {
      let left = due - .now
      guard left > .milliseconds(1) else { break }
      try idle()
      stop.wait(min(left, .milliseconds(100)))
    }
    if !stop.isSet { behindMost = max(behindMost, ContinuousClock.now - due) }
  }
}

/// A time on the command line, such as `30s`, `5m` or `1h`; a bare number is seconds.
struct TimeArgument: ExpressibleByArgument {
  let duration: Duration

  init(seconds: Int64) {
    duration = .seconds(seconds)
  }

  /// How help shows a default.
  var defaultValueDescription: String { "\(duration.components.seconds)s" }

  init?(argument: String) {
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600]
    let unit = argument.last.flatMap { units[$0] }
    guard let count = Int64(unit == nil ? argument : String(argument.dropLast())), count >= 0 else {
      return nil
    }
    let (seconds, overflow) = count.multipliedReportingOverflow(by: unit ?? 1)
    guard !overflow, seconds <= 86_400 else { return nil }
    duration = .seconds(seconds)
  }
}
