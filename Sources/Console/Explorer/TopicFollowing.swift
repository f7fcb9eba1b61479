// The threads that keep the explorer's index up to date.

internal import Exploration
internal import Foundation
internal import Kafka
internal import OTLP
internal import Pipeline
internal import Sampling
internal import Synchronization
internal import Topology

/// How far reading is, and what went wrong last.
struct FollowingState: Sendable {
  /// By topic: how much of what the log had at the start is read, from 0 to 1.
  var shares: [String: Double] = [:]
  /// The last problems, newest last.
  var errors: [String] = []
  /// How many there were.
  var errorCount: UInt64 = 0
  var records: UInt64 = 0
  /// Records a second, lately.
  var rate = 0.0
  var lag: [GroupLag.Partition]?

  private static let errorsMax = 10

  mutating func note(_ error: String) {
    errorCount += 1
    if errors.last == error { return }
    errors.append(error)
    if errors.count > FollowingState.errorsMax { errors.removeFirst() }
  }
}

/// Reads the topics of a fleet into an index until it is stopped, each on a thread of its own.
final class TopicFollowing: Sendable {
  private let topology: TailSamplingTopology
  private let start: Instant?
  private let state = Mutex(FollowingState())
  private let isStopped = Mutex(false)
  let index: Mutex<KeptTraces>

  private static let pause = 2.0
  private static let lagPause = 10.0
  private static let partitionsPause = Duration.seconds(60)
  /// Records that are indexed while questions wait.
  private static let turnRecords = 64
  private static let batchRecords = 4096

  /// - Parameter start: the log time to begin at; nil for the beginning.
  init(_ topology: TailSamplingTopology, from start: Instant?, _ kept: KeptTraces) {
    self.topology = topology
    self.start = start
    index = Mutex(kept)
  }

  var current: FollowingState { state.withLock { $0 } }

  func note(_ error: String) { state.withLock { $0.note(error) } }

  /// Whether everything that the log had at the start is in the index.
  var share: Double {
    let (shares, wanted) = (current.shares, [topology.topics.sampled, topology.topics.decisions.name])
    return wanted.reduce(0) { $0 + (shares[$1] ?? 0) } / Double(wanted.count)
  }

  func stop() { isStopped.withLock { $0 = true } }

  var stopped: Bool { isStopped.withLock { $0 } }

  func begin() {
    let topics = topology.topics
    thread("sampled") { [self] in
      follow(topics.sampled, from: start) { kept, record, value, isPast in
        value.withRawBytes {
          kept.traces.add(
            spans: $0, at: RecordPosition(.sampled, partition: record.partition, offset: record.offset),
            time: record.timestamp?.nanoseconds ?? 0, isPast: isPast)
        }
      }
    }
    thread("decisions") { [self] in
      follow(topics.decisions.name, from: start) { kept, record, value, _ in
        value.withRawBytes {
          kept.traces.add(
            decision: $0, at: RecordPosition(.decisions, partition: record.partition, offset: record.offset))
        }
      }
    }
    if topology.topics.logs != nil {
      // Their key is their trace's id; those without a trace have none.
      thread("logs") { [self] in
        follow(topics.sampledLogs, from: start) { kept, record, _, _ in
          guard let id = record.key?.withRawBytes({ TraceID(key: $0) }), !id.isZero else { return }
          kept.traces.add(
            logsOf: id, at: RecordPosition(.logs, partition: record.partition, offset: record.offset))
        }
      }
    }
    if topology.baseline != nil {
      // Compacted: its records are of the last intervals, whenever they were written.
      thread("stats") { [self] in
        follow(topics.stats, from: nil) { kept, _, value, _ in
          kept.arrivals?.add(value, now: Moment.now.wall)
        }
      }
    }
    thread("lag") { [self] in followLag() }
    thread("rate") { [self] in
      var before: UInt64 = 0
      repeat {
        state.withLock {
          $0.rate = Double($0.records - before) / TopicFollowing.pause
          before = $0.records
        }
      } while pause(TopicFollowing.pause)
    }
  }

  private func thread(_ name: String, _ body: @escaping @Sendable () -> Void) {
    let thread = Thread { body() }
    thread.name = name
    thread.start()
  }

  /// Waits; false if it was stopped.
  private func pause(_ seconds: Double) -> Bool {
    let end = ContinuousClock.now + .seconds(seconds)
    let nobody = DispatchSemaphore(value: 0)
    while ContinuousClock.now < end, !stopped { _ = nobody.wait(timeout: .now() + 0.1) }
    return !stopped
  }

  /// Takes a record and its value, and whether it was in the topic before that was followed.
  private typealias Taker = (inout KeptTraces, TopicRecord, [UInt8], Bool) -> Void

  /// How far a topic was read, by partition.
  private struct Progress {
    /// The next offset.
    var next: [Int32: Int64] = [:]
    /// Where each log ended when it was found; nil before.
    var past: [Int32: Int64]?
    var latest: Instant?

    /// Whether a record was there when the topic was found. All records of a later partition are new.
    func isPast(_ record: TopicRecord) -> Bool { record.offset < past?[record.partition] ?? 0 }
  }

  /// Reads a topic and follows it. After an error it begins again where it was.
  private func follow(_ topic: String, from start: Instant?, _ take: @escaping Taker) {
    var progress = Progress(latest: start)
    repeat {
      do {
        try readOn(topic, &progress, take)
      } catch {
        note("'\(topic)': \(error)")
      }
    } while pause(TopicFollowing.pause)
  }

  /// Reads until it is stopped, or the topic has more partitions.
  private func readOn(_ topic: String, _ progress: inout Progress, _ take: Taker) throws {
    var stretch = TopicStretch(topic: topic)
    stretch.follows = true
    stretch.from = progress.latest.map { .time($0) }
    let whole = Topology.tailSampling(topology)
    let reader = try StretchReader(stretch, of: whole)
    defer { reader.abandon() }
    // A log that ends before what was read of it is another one, or has lost some of it.
    for (partition, end) in reader.ends where end < progress.next[partition] ?? 0 {
      note("'\(topic)': partition \(partition) is shorter than it was: what is in it now is read")
      progress.next[partition] = nil
      progress.past?[partition] = nil
    }
    progress.past = progress.past ?? reader.ends
    var checked = ContinuousClock.now
    while !stopped {
      var records: [TopicRecord] = []
      try reader.read { record in
        guard record.offset >= progress.next[record.partition] ?? 0 else { return true }
        progress.next[record.partition] = record.offset + 1
        records.append(record)
        return records.count < TopicFollowing.batchRecords
      }
      for turn in stride(from: 0, to: records.count, by: TopicFollowing.turnRecords) {
        index.withLock { kept in
          for record in records[turn..<min(turn + TopicFollowing.turnRecords, records.count)] {
            if let value = record.value { take(&kept, record, value, progress.isPast(record)) }
          }
        }
      }
      // Partitions are read in the order of time, nearly: a minute covers what is out of order.
      if progress.latest != nil, let time = records.last?.timestamp {
        progress.latest = time - .seconds(60)
      }
      state.withLock {
        $0.records += UInt64(records.count)
        $0.shares[topic] = reader.shareOfBacklog
      }
      // What is followed ends only by an error.
      if reader.isAtEnd || reader.hasLost {
        throw reader.trouble ?? KafkaError(timedOut: "nothing can be read")
      }
      guard ContinuousClock.now - checked > TopicFollowing.partitionsPause else { continue }
      checked = .now
      if try reader.hasMorePartitions(of: whole) { return }
    }
  }

  private func followLag() {
    repeat {
      do {
        let lag = try GroupLag(.tailSampling(topology))
        defer { lag.abandon() }
        repeat {
          let read = try lag.read()
          state.withLock { $0.lag = read }
        } while pause(TopicFollowing.lagPause)
      } catch {
        state.withLock { $0.lag = nil }
        note("the lag of group '\(topology.worker.group)': \(error)")
      }
    } while pause(TopicFollowing.lagPause)
  }
}
