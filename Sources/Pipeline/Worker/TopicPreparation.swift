// Topics at start: those that a topology needs exist, or are created, and match.

internal import Kafka
import Topology

/// The topics that a topology needs.
struct TopicNeeds {
  /// The input topic.
  var input: String
  /// Topics whose partitions must be those of the input, one for one.
  var mirrored: [String]
  /// Other output topics.
  var free: [String]
  /// A topic of which only the last record of each key matters.
  var compacted: String?
  /// The topic of links, if verdicts spread along them: one of `free`; and how far back it is read.
  var links: String?
  var linksReach = Duration.zero
  /// How missing ones are created.
  var creation: TopicCreation
  /// The largest record that dead letters must take.
  var deadLetterBytes: Int
  /// The dead letter topic: one of `free`.
  var deadLetters: String
  /// The topic that spans are written to: one of `mirrored` or `free`.
  var spansOut: String
  /// Larger records of the input are dead letters.
  var recordBytes: Int
  /// The largest record that the client lets through: its `message.max.bytes`.
  var clientBytes: Int
  /// The topic of decision records.
  var decisions: String?
  /// The topics that recovery reads back, and how far.
  var readBack: [String] = []
  var readBackReach = Duration.zero
  /// How far back recalls read the input; zero if nothing is recalled.
  var recallReach = Duration.zero
  /// The topic of logs, if logs follow: its partitions must be those of the input, no more and no fewer.
  var logs: String?
  /// How long a request of logs waits.
  var logsWait = Duration.zero
  /// The topic of kept logs: one of `mirrored`.
  var sampledLogs: String?
  /// How far back log-backed windows read the input; zero if windows are in memory.
  var windowReach = Duration.zero
}

/// Facts about the topics once they are ready.
struct TopicFacts: Sendable {
  /// Partitions of the input.
  var partitions: Int
  /// How large records may be.
  var sizes: RecordSizes
  /// Findings and actions, one line each.
  var notes: [String]
  /// What works, but perhaps not as expected, one line each.
  var warnings: [String] = []
}

/// Why topics do not match a topology.
struct TopicProblem: Error {
  /// One line for each problem.
  var lines: [String]
}

/// Checks topics, and creates missing ones if allowed.
struct TopicPreparation {
  let needs: TopicNeeds
  let admin: Admin
  private let configurations: TopicConfigurations
  private let isCancelled: () -> Bool

  private static let timeout = Duration.seconds(15)

  /// - Parameter isCancelled: whether the worker no longer waits for the topics. Then requests fail soon.
  init(
    _ needs: TopicNeeds, properties: [KafkaProperty], log: @escaping KafkaLog,
    isCancelled: @escaping () -> Bool = { false }
  ) throws(KafkaError) {
    self.needs = needs
    self.isCancelled = isCancelled
    admin = try Admin(properties: properties.forProducers, log: log)
    configurations = TopicConfigurations(admin)
  }

  /// Checks everything and changes nothing: topics that would be created are only noted.
  func inspect() throws -> TopicFacts {
    let found = try describe()
    let partitions = try inputPartitions(found)
    try checkCounts(found, partitions)
    var notes = found.compactMap { name, count in count.map { "topic '\(name)': \($0) partitions" } }
    for name in missing(found) { notes.append("topic '\(name)': missing; it would be created") }
    try checkRetention(found)
    return try facts(found, partitions, notes)
  }

  /// Creates missing topics, then checks.
  ///
  /// - Parameter pause: waits for this long, or until cancelled.
  func prepare(pause: (_ milliseconds: Int) -> Void) throws -> TopicFacts {
    let found = try describe()
    let partitions = try inputPartitions(found)
    try checkCounts(found, partitions)
    for name in missing(found) { try create(name, partitions) }
    let isWhole = missing(found).isEmpty
    let ready = isWhole ? found : try waitForAll(pause)
    try checkCounts(ready, partitions)
    try checkRetention(ready)
    return try facts(
      ready, partitions, missing(found).map { "topic '\($0)' was missing and has been created" })
  }

  /// - Throws: if a topic's limit is too small to work with.
  private func facts(_ found: Found, _ partitions: Int, _ notes: [String]) throws -> TopicFacts {
    let (limits, untold) = limits(of: found)
    let sizes = RecordSizes(limits, clientBytes: needs.clientBytes)
    let problems = sizes.problems(of: needs)
    if !problems.isEmpty { throw TopicProblem(lines: problems) }
    return TopicFacts(
      partitions: partitions, sizes: sizes, notes: notes + untold,
      warnings: sizes.warnings(of: needs) + retentionWarnings(found))
  }

  private typealias Found = [(name: String, partitions: Int?)]

  private func describe() throws -> Found {
    let others = [needs.compacted, needs.logs].compactMap(\.self)
    let names = [needs.input] + needs.mirrored + needs.free + others
    let descriptions = try admin.describe(
      names, timeout: TopicPreparation.timeout, isCancelled: isCancelled)
    return zip(names, descriptions).map { ($0, $1?.partitions) }
  }

  private func missing(_ found: Found) -> [String] {
    found.filter { $0.partitions == nil }.map(\.name)
  }

  private func inputPartitions(_ found: Found) throws -> Int {
    let absent = missing(found)
    if !needs.creation.enabled, !absent.isEmpty {
      throw TopicProblem(
        lines: absent.map { "topic '\($0)' does not exist, and topics.create is false: create it first" })
    }
    return found.first { $0.name == needs.input }?.partitions ?? needs.creation.partitions
  }

  private func checkCounts(_ found: Found, _ partitions: Int) throws {
    let lines = found.compactMap { name, count -> String? in
      if name == needs.logs, let count, count != partitions {
        return
          "topic '\(name)' has \(count) partitions but '\(needs.input)' has \(partitions): logs are read "
          + "next to the spans in the partition of the same number, so both need the same count, and the "
          + "same partitioner"
      }
      // More than the input's is fine: partitions are added to the outputs first.
      guard needs.mirrored.contains(name), let count, count < partitions else { return nil }
      return "topic '\(name)' has \(count) partitions but '\(needs.input)' has \(partitions): "
        + "its partition p holds the output of input partition p, so it needs as many"
    }
    if !lines.isEmpty { throw TopicProblem(lines: lines) }
  }

  /// A worker that is assigned a partition reads its verdicts back, so they must still exist.
  private func checkRetention(_ found: Found) throws {
    var lines = needs.readBack.compactMap { name in
      found.contains { $0.name == name && $0.partitions != nil } ? retentionProblem(of: name) : nil
    }
    if needs.windowReach > .zero, let retention = retention(of: needs.input), retention < needs.windowReach {
      lines.append(
        "topic '\(needs.input)' keeps its records for \(retention.components.seconds) s (retention.ms), but "
          + "with windows.buffer: log, kept traces are read from it up to "
          + "\(needs.windowReach.components.seconds) s later (decision_wait and ten minutes): raise "
          + "retention.ms, or shorten windows.decision_wait")
    }
    if !lines.isEmpty { throw TopicProblem(lines: lines) }
  }

  private func retentionProblem(of name: String) -> String? {
    let needed = needs.readBackReach
    guard let retention = retention(of: name), retention < needed else { return nil }
    return "topic '\(name)' keeps its records for \(retention.components.seconds) s (retention.ms), but "
      + "recovering a partition needs the verdicts of the last \(needed.components.seconds) s "
      + "(late_window and decision_wait): raise retention.ms, or shorten windows.late_window"
  }

  /// Traces that are recalled are read again, and logs are read late, as far as their records still exist.
  private func retentionWarnings(_ found: Found) -> [String] {
    let recall = retentionWarning(
      of: needs.input, found, needed: needs.recallReach, for: "recalling dropped traces",
      settings: "recall_window and decision_wait", else: "traces are recalled in part or not at all")
    let logs = needs.logs.flatMap {
      retentionWarning(
        of: $0, found, needed: needs.logsWait, for: "dealing with logs once their traces are decided",
        settings: "logs.wait and decision_wait", else: "logs of kept traces are lost")
    }
    let links = needs.links.flatMap {
      retentionWarning(
        of: $0, found, needed: needs.linksReach, for: "following links",
        settings: "links.remember", else: "a worker that starts does not know of older links")
    }
    return [recall, logs, links].compactMap(\.self)
  }

  private func retentionWarning(
    of name: String, _ found: Found, needed: Duration, for purpose: String, settings: String,
    else loss: String
  ) -> String? {
    guard found.contains(where: { $0.name == name && $0.partitions != nil }),
      let retention = retention(of: name), retention < needed
    else { return nil }
    return "topic '\(name)' keeps its records for \(retention.components.seconds) s (retention.ms), but "
      + "\(purpose) needs those of the last \(needed.components.seconds) s (\(settings)): "
      + "raise retention.ms, or \(loss)"
  }

  /// How long a topic keeps its records; nil if it is not known, or for as long as there is room.
  private func retention(of name: String) -> Duration? {
    guard let values = configurations.values(of: name),
      values["cleanup.policy"].map({ $0.contains("delete") }) ?? true,
      let milliseconds = values["retention.ms"].flatMap({ Int64($0) }), milliseconds >= 0
    else { return nil }
    return .milliseconds(milliseconds)
  }

  private func create(_ name: String, _ partitions: Int) throws {
    var configuration: [KafkaProperty] = []
    if name == needs.compacted {
      configuration.append(KafkaProperty("cleanup.policy", "compact"))
    } else if name == needs.links {
      // All lanes read it from its beginning. Segments are deleted whole, and after the retention.
      let milliseconds = Int64(needs.linksReach / .milliseconds(1))
      configuration.append(KafkaProperty("retention.ms", String(2 * milliseconds)))
      configuration.append(KafkaProperty("segment.ms", String(max(60_000, milliseconds / 2))))
    } else if name != needs.deadLetters, !needs.mirrored.contains(name) {
      // Windows run on log time: with broker time, a single host's wrong clock does no harm.
      configuration.append(KafkaProperty("message.timestamp.type", "LogAppendTime"))
    }
    let source = name == needs.sampledLogs ? needs.logs ?? needs.input : needs.input
    if needs.mirrored.contains(name), let inputMax = recordBytesMax(of: source) {
      // As large as the input's, and room for a longer tracestate.
      configuration.append(KafkaProperty("max.message.bytes", String(inputMax + 65_536)))
    }
    if name == needs.deadLetters {
      configuration.append(KafkaProperty("max.message.bytes", String(needs.deadLetterBytes + 65_536)))
    }
    let topic = TopicSpecification(
      name: name, partitions: Int32(clamping: partitions),
      replicationFactor: Int32(clamping: needs.creation.replicationFactor ?? -1), configuration: configuration
    )
    do {
      try admin.create(topic, timeout: TopicPreparation.timeout)
    } catch {
      throw TopicProblem(lines: ["topic '\(name)' does not exist and can't be created: \(error)"])
    }
  }

  /// Brokers know a new topic a moment after creating it.
  private func waitForAll(_ pause: (_ milliseconds: Int) -> Void) throws -> Found {
    let deadline = ContinuousClock.now + TopicPreparation.timeout
    var milliseconds = 50
    while true {
      pause(milliseconds)
      milliseconds = min(2 * milliseconds, 1000)
      let found = try describe()
      let absent = missing(found)
      if absent.isEmpty { return found }
      guard ContinuousClock.now < deadline else {
        throw TopicProblem(lines: absent.map { "topic '\($0)' was created but does not appear" })
      }
    }
  }

  /// Each topic's limit, and a line if a broker does not report it: then Kafka's default is assumed.
  private func limits(of found: Found) -> (limits: [String: Int], notes: [String]) {
    var limits: [String: Int] = [:]
    for (name, partitions) in found where partitions != nil {
      guard let limit = recordBytesMax(of: name) else {
        // Nor will it report the others.
        let note =
          "max.message.bytes of topic '\(name)' can't be read: records are limited to "
          + "\(RecordSizes.topicDefault) bytes"
        return (limits, [note])
      }
      limits[name] = limit
    }
    return (limits, [])
  }

  private func recordBytesMax(of topic: String) -> Int? {
    configurations.values(of: topic)?["max.message.bytes"].flatMap { Int($0) }
  }
}

/// Topics' configurations, requested from brokers once each. After a timeout the others are not requested:
/// each would take as long.
private final class TopicConfigurations {
  private let admin: Admin
  private var known: [String: [String: String]] = [:]
  private var isSilent = false

  init(_ admin: Admin) {
    self.admin = admin
  }

  /// The values by name; nil if unknown.
  func values(of topic: String) -> [String: String]? {
    if let values = known[topic] { return values }
    guard !isSilent else { return nil }
    do throws(KafkaError) {
      let values = try admin.configuration(of: topic, timeout: .seconds(5))
      known[topic] = values
      return values
    } catch {
      isSilent = !error.isUnknownTopic
      return nil
    }
  }
}
