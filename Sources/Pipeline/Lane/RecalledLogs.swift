// Logs that are read again because their traces are recalled: which, how far, and what was found.

internal import OTLP
internal import Sampling

/// The logs of one partition's recalled traces, until they are written.
///
/// A pass reads the stretch in which the logs of some traces are, the oldest requests first. What it finds is
/// held, and written with the trace's revised record: in one transaction, so that it is done once. A pass
/// that is interrupted by another owner begins anew, as nothing of it was written.
struct RecalledLogs {
  /// Log records of a trace from one request.
  struct Piece {
    var traceID: TraceID
    var place: RecordPlace
    var value: [UInt8]
    var count: UInt64

    var byteCount: Int { value.count + MemoryLayout<Piece>.stride }
  }

  /// The traces of the pass, and the first request that was not dealt with when each was recalled.
  private(set) var wanted: [TraceID: Offset] = [:]
  /// The same, those that were requested first in front.
  private var order: [TraceID] = []
  /// When the pass begins,
  private(set) var since = Instant.distantFuture
  /// and the first request that is not part of it.
  private var until = Offset(0)
  /// The next one to read; nil until the first is found.
  private(set) var next: Offset?
  private var pieces: [TraceID: [Piece]] = [:]
  private(set) var heldBytes = 0
  /// How many there may be. One piece is held whatever its size.
  var heldBytesMax = Int.max
  /// Log records of the request being read that had no room.
  private var tooMany: UInt64 = 0
  /// Whether a pass has begun and not ended. It may have no traces left.
  private(set) var isReading = false
  /// Whether a trace has waited for what other passes hold: it needs more room than they leave.
  private var needsAllRoom = false

  /// A pass takes in so many traces.
  private static var tracesMax: Int { 256 }

  /// Whether another pass may begin.
  func mayBegin(room: Int) -> Bool { !isReading && heldBytes <= (needsAllRoom ? 0 : room / 2) }
  /// Whether the pass has read all that it needs.
  var isDone: Bool { next.map { $0 >= until } ?? false }

  /// Begins a pass.
  ///
  /// - Parameter wait: how long requests wait for their traces. One that was dropped by a trace's verdict may
  ///   have been written so long before the trace's first span was read.
  mutating func begin(_ requests: [RecallRequest], wait: Interval) {
    for request in requests.prefix(Self.tracesMax) {
      guard let logs = request.logs else { continue }
      wanted[request.traceID] = logs.until
      order.append(request.traceID)
      since = min(since, logs.since - wait)
      until = max(until, logs.until)
    }
    isReading = !order.isEmpty
    needsAllRoom = false
  }

  /// Reading begins at `first`; nil if there is nothing to read.
  mutating func found(_ first: Offset?) { next = min(first ?? until, until) }

  /// The log ends at `end`: its brokers have lost what came after that.
  mutating func cut(at end: Offset) {
    wanted = wanted.mapValues { min($0, end) }
    until = min(until, end)
  }

  /// The log begins at `offset`.
  mutating func lose(before offset: Offset) { next = max(next ?? offset, offset) }

  /// Whether a request is the next one.
  func expects(_ offset: Offset) -> Bool { isReading && next.map { offset >= $0 } ?? false }

  /// Whether the pass wants a trace's logs in the request at `offset`.
  func wants(_ traceID: TraceID, at offset: Offset) -> Bool { wanted[traceID].map { offset < $0 } ?? false }

  /// Holds what a request has of one of the pass's traces. If that is too much, those that were requested
  /// last wait for another pass, and so does the last one while earlier passes hold anything. What has no
  /// room even so is counted.
  mutating func hold(_ piece: Piece) {
    guard wanted[piece.traceID] != nil else { return }
    while heldBytes + piece.byteCount > heldBytesMax, order.count > 1 { putBackLast() }
    guard wanted[piece.traceID] != nil else { return }
    if heldBytes + piece.byteCount > heldBytesMax {
      guard pieces.keys.allSatisfy({ $0 == piece.traceID }) else {
        // The pass has no traces left: it ends with this request.
        putBackLast()
        needsAllRoom = true
        until = Offset(0)
        return
      }
      guard pieces.isEmpty else {
        tooMany += piece.count
        return
      }
    }
    heldBytes += piece.byteCount
    pieces[piece.traceID, default: []].append(piece)
  }

  private mutating func putBackLast() {
    guard let last = order.popLast() else { return }
    wanted[last] = nil
    forget(last)
  }

  /// Notes that a request was read. Returns how many of its log records had no room.
  mutating func pass(_ offset: Offset) -> UInt64 {
    next = offset.next
    defer { tooMany = 0 }
    return tooMany
  }

  /// Ends the pass. Returns its traces.
  mutating func end() -> [TraceID] {
    defer {
      (wanted, order, since, until, next) = ([:], [], .distantFuture, Offset(0), nil)
      isReading = false
    }
    return order
  }

  /// Returns what was found of a trace, and forgets it.
  mutating func take(_ traceID: TraceID) -> [Piece] {
    guard let found = pieces[traceID] else { return [] }
    forget(traceID)
    return found
  }

  private mutating func forget(_ traceID: TraceID) {
    for piece in pieces.removeValue(forKey: traceID) ?? [] { heldBytes -= piece.byteCount }
  }
}

extension SamplingJob {
  /// Reads on in the logs of traces that are recalled, as far as requests have arrived.
  mutating func recallLogs(at now: Instant, through link: some BrokerLink) throws(BrokerError) {
    guard let configuration = logs?.configuration, recallLogsAt <= now else { return }
    let room = configuration.recalledBytesMax / max(1, partitions.count)
    for partition in partitions where !partition.state.sampler.isRecovering {
      guard partition.state.recalledLogs.mayBegin(room: room) else { continue }
      let wanting = partition.state.sampler.recallsWantingLogs
      partition.state.recalledLogs.begin(wanting, wait: configuration.wait)
    }
    do {
      try seekLogsAgain(through: link)
      try link.readAgain(for: .recalledLogs) { (place, _, value) throws(BrokerError) in
        guard let partition = find(place.partition), partition.state.recalledLogs.expects(place.offset) else {
          return
        }
        recallBudget.spend(value?.byteCount ?? 0)
        logs?.counters.bytesReadAgain += UInt64(value?.byteCount ?? 0)
        partition.state.recalledLogs.heldBytesMax = room
        try logs?.collect(from: place, value, into: &partition.state.recalledLogs, to: link)
        logs?.counters.recalledTooMany += partition.state.recalledLogs.pass(place.offset)
      }
    } catch {
      guard error.remedy == .retry else { throw error }
      recallLogsAt = now + Self.seekPause
      report(.disturbed(error))
    }
    for partition in partitions where partition.state.recalledLogs.isDone {
      let read = partition.state.recalledLogs.end()
      for traceID in read { partition.state.sampler.noteLogsRead(of: traceID) }
    }
  }

  /// Tells the link where to read logs again.
  private func seekLogsAgain(through link: some BrokerLink) throws(BrokerError) {
    let reading = partitions.filter { $0.state.recalledLogs.isReading }
    let unfound = reading.filter { $0.state.recalledLogs.next == nil }
    if !unfound.isEmpty {
      let found = try link.findLogs(unfound.map { ($0.id, $0.state.recalledLogs.since) })
      for (partition, first) in zip(unfound, found) { partition.state.recalledLogs.found(first) }
    }
    var wanted: [(PartitionID, Offset)] = []
    for partition in reading where !partition.state.recalledLogs.isDone {
      if let next = partition.state.recalledLogs.next { wanted.append((partition.id, next)) }
    }
    try link.seekAgain(wanted, for: .recalledLogs) { (id, first) in
      find(id)?.state.recalledLogs.lose(before: first)
    }
  }

  /// Writes the logs of a trace that has been recalled.
  mutating func writeRecalledLogs(
    of traceID: TraceID, in partition: PartitionID, to link: some BrokerLink
  ) throws(BrokerError) {
    guard logs != nil, let found = find(partition)?.state.recalledLogs.take(traceID), !found.isEmpty else {
      return
    }
    try logs?.write(found, to: link)
  }
}
