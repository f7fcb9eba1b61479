// Logs follow verdicts: requests of the logs' topic are read behind the sampler of the partition with the
// same number, and dealt with once the verdicts on their traces are known.

internal import OTLP
internal import Sampling

extension SamplingJob {
  /// Deals with the requests that are due, and reads on as far as requests have arrived and there is room.
  mutating func followLogs(at moment: Moment, through link: some BrokerLink) throws(BrokerError) {
    guard let configuration = logs?.configuration else { return }
    for partition in partitions where !partition.state.sampler.isRecovering {
      partition.state.boundLogs(at: moment, configuration.wait, idleAfter: self.configuration.idleAfter)
      let clock = partition.state.sampler.clock
      partition.state.logs?.follow(clock)
      try dealWithHeld(partition, to: link)
      partition.state.logs?.noteQuiet(at: moment.steady)
    }
    defer { retainVerdicts() }
    guard seekLogsAt <= moment.steady else { return }
    let room = configuration.heldBytesMax / max(1, partitions.count)
    var wanted: [(PartitionID, Offset)] = []
    for partition in partitions where !partition.state.sampler.isRecovering {
      if let next = partition.state.logs?.place(heldBytesMax: room) { wanted.append((partition.id, next)) }
    }
    do {
      try link.seekAgain(wanted, for: .logs) { (id, first) throws(BrokerError) in
        try loseLogs(of: id, before: first, through: link)
      }
      var read = 0
      repeat {
        let before = logs?.counters.requests ?? 0
        try link.readAgain(for: .logs) { (place, key, value) throws(BrokerError) in
          try takeLogs(place, key, value, at: moment.steady, room: room, to: link)
        }
        guard logs?.counters.requests ?? 0 > before else { break }
        read += 1
      } while read < Self.readsMax && areLogsFarBehind(configuration.wait)
      try askForLogs(at: moment.steady, through: link)
    } catch {
      guard error.remedy == .retry else { throw error }
      seekLogsAt = moment.steady + Self.seekLogsPause
      report(.disturbed(error))
    }
  }

  /// Asks the brokers for the ends of logs where nothing that was dealt with has told for a while since when
  /// verdicts are needed: in quiet partitions, and where timestamps are wrong.
  private mutating func askForLogs(
    at steady: Instant, through link: some BrokerLink
  ) throws(BrokerError) {
    guard askForLogsAt <= steady else { return }
    let patience = logsPatience
    let quiet = partitions.filter { partition in
      guard !partition.state.sampler.isRecovering, let logs = partition.state.logs else { return false }
      return logs.wantsEnd(patience, now: partition.state.sampler.clock)
    }
    guard !quiet.isEmpty else { return }
    askForLogsAt = steady + Self.seekLogsPause
    let ends = try link.logEnds(of: quiet.map(\.id))
    for (partition, log) in zip(quiet, ends) {
      let clock = partition.state.sampler.clock
      partition.state.logs?.noteEnd(log.end, isRead: log.isRead, now: clock)
    }
  }

  /// The silence of logs after which brokers are asked for their ends.
  private var logsPatience: Interval {
    Interval(nanoseconds: configuration.sampler.windows.lateWindow.nanoseconds / 4)
  }

  /// Has samplers keep the verdicts that logs still need.
  private func retainVerdicts() {
    guard logs != nil else { return }
    for partition in partitions {
      guard let logs = partition.state.logs else { continue }
      partition.state.sampler.retainVerdicts(for: logs.since)
      partition.state.sampler.followLogs(from: logs.next)
    }
  }

  /// The pause after the logs could not be sought.
  private static var seekLogsPause: Interval { .seconds(3) }

  /// How often logs are read in a round while they are far behind: for a second at most.
  private static var readsMax: Int { 20 }

  /// Whether a partition's logs are so late that verdicts on their traces will soon be forgotten. Spans wait
  /// then: they are read faster than logs while there is a backlog of both.
  private func areLogsFarBehind(_ wait: Interval) -> Bool {
    let lateWindow = configuration.sampler.windows.lateWindow
    let most = Interval(nanoseconds: max(0, lateWindow.nanoseconds - wait.nanoseconds) / 2)
    return partitions.contains { partition in
      guard let lag = logsLag(of: partition) else { return false }
      return lag > most
    }
  }

  private mutating func loseLogs(
    of id: PartitionID, before first: Offset, through link: some BrokerLink
  ) throws(BrokerError) {
    guard first < Offset(.max) else { return try restartLogs(of: id, through: link) }
    guard let lost = find(id)?.state.logs?.lose(before: first) else { return }
    // Offsets are never negative, so the difference fits.
    logs?.counters.lost += UInt64(clamping: lost.upperBound.value - lost.lowerBound.value)
    report(.logsLost(id, from: lost.lowerBound, to: lost.upperBound))
  }

  /// Goes on in a log that ends before what was to be read. Offsets say nothing any more, but times do: what
  /// was dealt with was written before then. Requests of logs that are read for recalls end there as well:
  /// otherwise their passes would wait for what may never be written.
  private mutating func restartLogs(of id: PartitionID, through link: some BrokerLink) throws(BrokerError) {
    guard let partition = find(id), let state = partition.state.logs else { return }
    let found = try link.findLogs([(id, state.since)]).first.flatMap(\.self)
    let end = try link.logEnds(of: [id]).first?.end
    partition.state.logs?.restart(at: found ?? end ?? Offset(0))
    if let end {
      partition.state.recalledLogs.cut(at: end)
      partition.state.sampler.cutLogs(at: end)
    }
    report(.logsLost(id, from: state.nextToRead, to: state.nextToRead))
  }

  /// Deals with the requests that wait, as far as they are due and their traces decided.
  private mutating func dealWithHeld(
    _ partition: AssignedPartition, to link: some BrokerLink
  ) throws(BrokerError) {
    guard let wait = logs?.configuration.wait else { return }
    let (clock, patience) = (partition.state.sampler.clock, logsPatience)
    while let due = partition.state.logs?.headDue(wait, by: partition.state.sampler), due <= clock,
      clock != .distantPast,
      let request = partition.state.logs?.head
    {
      if let undecided = partition.state.logs?.undecided,
        partition.state.sampler.fate(of: undecided, at: clock) == .undecided
      {
        return
      }
      let time = partition.state.logs?.writtenAt(request.place, wait, now: clock, patience: patience) ?? clock
      let undecided = try request.lend { (key, value) throws(BrokerError) in
        try logs?.deal(
          with: request.place, writtenAt: time, key: key, value: value, asking: &partition.state.sampler,
          to: link) ?? nil
      }
      partition.state.logs?.undecided = undecided
      guard undecided == nil else { return }
      partition.state.logs?.advance(to: time)
      partition.state.logs?.note(delay: clock - due)
      partition.state.logs?.removeHead()
    }
  }

  /// Takes a request that has been read: deals with it at once if nothing waits and it is due, or holds it.
  private mutating func takeLogs(
    _ place: RecordPlace, _ key: RawSpan?, _ value: RawSpan?, at steady: Instant, room: Int,
    to link: some BrokerLink
  ) throws(BrokerError) {
    guard let wait = logs?.configuration.wait, let partition = find(place.partition),
      partition.state.logs?.expects(place.offset) == true
    else { return }
    partition.state.logs?.noteRead(at: steady)
    if partition.state.logs?.passDealt(place.offset, key, value) == true { return }
    let clock = partition.state.sampler.clock
    var place = place
    place.timestamp = place.timestamp ?? clock
    let due = (place.timestamp ?? clock) + wait
    var undecided: TraceID?
    let isDue = due <= clock && clock != .distantPast && partition.state.sampler.isClockSettled
    if partition.state.logs?.head == nil, isDue {
      let time = partition.state.logs?.writtenAt(place, wait, now: clock, patience: logsPatience) ?? clock
      undecided =
        try logs?.deal(
          with: place, writtenAt: time, key: key, value: value, asking: &partition.state.sampler, to: link)
        ?? nil
      if undecided == nil {
        partition.state.logs?.advance(to: time)
        partition.state.logs?.note(delay: clock - due)
        partition.state.logs?.pass(place.offset, key, value)
        return
      }
    }
    let isFirst = partition.state.logs?.head == nil
    let request = FollowedLogs.Request(place: place, key: key?.copied(), value: value?.copied())
    partition.state.logs?.hold(request, heldBytesMax: room)
    if isFirst { partition.state.logs?.undecided = undecided }
  }

  /// Bytes of memory that logs take.
  var logBytes: Int {
    guard let logs else { return 0 }
    return partitions.reduce(logs.byteCount) {
      $0 + ($1.state.logs?.byteCount ?? 0) + $1.state.recalledLogs.heldBytes
    }
  }
}

extension PartitionState {
  /// Makes sure that logs do not wait forever: for the first record of an empty partition, or because of a
  /// timestamp that is far ahead.
  ///
  /// All requests that have been read were written by now. So once all spans have been read too, a request is
  /// no later than the stream clock, advanced by the time since the last record.
  fileprivate mutating func boundLogs(at moment: Moment, _ wait: Interval, idleAfter: Interval) {
    guard isCaughtUp, let head = logs?.head else { return }
    if sampler.clock == .distantPast {
      startClock(at: head.place.timestamp ?? moment.wall, steady: moment.steady, idleAfter: idleAfter)
    }
    guard sampler.clock != .distantPast else { return }
    let now = max(sampler.clock, quietClock(at: moment.steady))
    logs?.bound(wait, now: now)
  }
}
