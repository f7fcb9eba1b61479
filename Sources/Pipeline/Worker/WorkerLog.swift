// A worker's log lines. Lasting conditions are logged again and again here: the log's handler makes one line
// and a count of them.

internal import Logging
internal import Sampling
internal import Synchronization

/// Turns events of lanes into log lines.
final class WorkerLog: Sendable {
  private let logger: Logger
  private let topic: String
  private let state = Mutex(State())

  private struct State {
    /// Partitions of the input at start.
    var partitions = Int.max
    var addedPartitions: Set<PartitionID> = []
  }

  init(_ logger: Logger, topic: String) {
    self.logger = logger
    self.topic = topic
  }

  func noteStart(partitions: Int) {
    state.withLock { $0.partitions = partitions }
  }

  func note(_ event: LaneEvent, lane: Int) {
    switch event {
    case .assigned(let partition, let offset, let again, let verdicts):
      logger.info(
        "assigned",
        metadata: [
          "lane": "\(lane)", "topic": "\(topic)", "partition": "\(partition.value)",
          "from": "\(offset.map { String($0.value) } ?? "the configured start")", "records_again": "\(again)",
          "verdicts": "\(verdicts)",
        ])
      noteNew(partition)
    case .recovering(let progress): for partition in progress { note(partition, lane: lane) }
    case .recovered(let partition, let time):
      logger.info(
        "recovered",
        metadata: [
          "lane": "\(lane)", "partition": "\(partition.value)", "seconds": "\(time.secondsText)",
        ])
    case .decisionsMissing(let partition, let time):
      logger.warning(
        """
        the verdicts of partition \(partition.value) no longer reach back to \(time): traces whose \
        decisions are gone and whose spans still arrive are decided again. Raise retention.ms
        """)
    case .ledgerDamaged(let partition, let damage):
      logger.warning(
        """
        \(damage.pages) \(damage.pages == 1 ? "page" : "pages") of the ledger of partition \
        \(partition.value) can't be read, the first at offset \(damage.firstOffset) (\(damage.firstError)): \
        traces whose verdicts are lost and whose spans still arrive are decided again
        """)
    case .repeated(let partition, let offset, let next):
      logger.warning(
        """
        records of partition \(partition.value) arrive again, from offset \(offset.value) although the next \
        one is \(next.value): they are skipped. After a rebalance this is normal. After an unclean leader \
        election they are different records, and are lost
        """)
    case .logsLost(let partition, let from, let to) where from == to:
      logger.warning(
        """
        partition \(partition.value) of the logs' topic ends before offset \(from.value), which was next: it \
        was made anew, or its brokers have lost records. Reading goes on at its beginning
        """)
    case .logsLost(let partition, let from, let to):
      logger.warning(
        """
        offsets \(from.value) to \(to.value - 1) of partition \(partition.value) of the logs' topic have \
        left it before they were read (retention): the logs in them are lost. Reading goes on at its beginning
        """)
    case .released(let partitions):
      logger.info("released", metadata: ["lane": "\(lane)", "partitions": "\(partitions.map(\.value))"])
    case .deadLettered(let notice):
      let spans = notice.spans > 0 ? " with \(notice.spans) \(notice.spans == 1 ? "span" : "spans")" : ""
      logger.warning(
        """
        \(notice.letters) dead \(notice.letters == 1 ? "letter" : "letters")\(spans), \(notice.reason): the \
        first is of partition \(notice.partition.value) of '\(notice.topic)', offset \(notice.offset.value): \
        \(notice.error)
        """)
    case .disturbed(let error): logger.warning("\(error.message)")
    case .storeTroubled(let trouble):
      logger.warning("the store does not take spans: \(trouble): they are sent again until it does")
    case .storeRejected(0, let message): logger.warning("the store warns: \(message)")
    case .storeRejected(let spans, let message):
      logger.warning("the store rejects \(spans) \(spans == 1 ? "span" : "spans"): \(message)")
    case .committed, .measured: break
    }
  }

  private func note(_ progress: RecoveryProgress, lane: Int) {
    logger.info(
      "recovering",
      metadata: [
        "lane": "\(lane)", "partition": "\(progress.partition.value)",
        "reading": "\(progress.phase.rawValue)",
        "done": "\(progress.done)", "of": "\(progress.total)",
        "seconds_left": "\(progress.estimate?.secondsText ?? "unknown")",
      ])
  }

  /// Added partitions move keys: spans of a trace in flight may be in two of them.
  private func noteNew(_ partition: PartitionID) {
    let isNew = state.withLock { state in
      Int(partition.value) >= state.partitions && state.addedPartitions.insert(partition).inserted
    }
    guard isNew else { return }
    logger.warning(
      """
      partition \(partition.value) of '\(topic)' was added: keys have moved to other partitions, and traces \
      in flight then may be decided in two parts
      """)
  }

  /// Warns, once, about records that are not keyed by trace id, and about conditions that fail.
  func compare(_ before: SamplerCounters, with now: SamplerCounters) {
    let warning = KeyWarning(before: before, now: now)
    if let text = warning?.text(topic: topic) { logger.warning("\(text)") }
    if before.conditionErrorsSaid == 0, now.conditionErrorsSaid > 0 {
      logger.warning(
        """
        a condition of an ottl_condition policy could not be evaluated, \(now.conditionErrorsSaid) times so \
        far: an array or a map instead of a string or a length, or damaged bytes
        """)
    }
  }
}

extension Interval {
  /// Seconds with one decimal place.
  var secondsText: String {
    let (whole, rest) = nanoseconds.quotientAndRemainder(dividingBy: 100_000_000)
    let tenths = whole + (rest < 50_000_000 ? 0 : 1)
    return "\(tenths / 10).\(tenths % 10)"
  }
}

/// The warning about records not keyed by trace id, logged once.
private struct KeyWarning {
  private let unkeyed: UInt64
  private let misrouted: UInt64

  init?(before: SamplerCounters, now: SamplerCounters) {
    let wasSaid = before.recordsUnkeyed + before.recordsMisrouted > 0
    guard !wasSaid, now.recordsUnkeyed + now.recordsMisrouted > 0 else { return nil }
    unkeyed = now.recordsUnkeyed
    misrouted = now.recordsMisrouted
  }

  func text(topic: String) -> String {
    "topic '\(topic)' has records that are not keyed by their trace id (\(unkeyed) without such a key, "
      + "\(misrouted) with another trace's): spans of one trace may be in several partitions and be "
      + "decided separately. Have the collector partition by trace id, or run the 'repartition' topology "
      + "before this one"
  }
}
