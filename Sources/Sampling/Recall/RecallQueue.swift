// The recalls of a partition: which wait, which are being read, and where reading continues.

import Invariants
import OTLP

/// The recalls of a partition.
///
/// Requests are fulfilled in passes over the log. A pass begins at the first record of the request that
/// begins first and goes forward, over the stretches of all requests that begin at or after its position,
/// including those made meanwhile. What begins before that waits for the next pass, and so does what begins
/// after the end that the log had when the pass began: otherwise new requests could keep it going for ever.
/// So many recalls of one incident are one pass, and each waits for one other pass at most.
struct RecallQueue {
  /// In order of their first records.
  private var waiting: [RecallRequest] = []
  /// Those being read.
  private var active: [TraceID: RecallRequest] = [:]
  /// Those whose logs are read before.
  private var awaitingLogs: [TraceID: RecallRequest] = [:]
  /// The record with the late span of each request's trace; no trace has two requests.
  private var traces: [TraceID: Offset] = [:]
  /// The next record of the pass; meaningful only if there are requests.
  private(set) var position = Offset(0)
  /// No request that begins here or later joins the pass.
  private var passEnd = Offset(0)
  /// The first record that ends an active request.
  private var soonestEnd = Offset(.max)
  /// Requests in the order of their times. Some may have been fulfilled, but not the one at `firstDate`.
  private var dates: [RequestDate] = []
  private var firstDate = 0

  /// When a request was made.
  private struct RequestDate {
    var time: Instant
    var traceID: TraceID
    var late: Offset
  }

  /// How many there are.
  var count: Int { traces.count }

  /// Bytes of memory in use.
  var byteCount: Int {
    let request = MemoryLayout<RecallRequest>.stride
    let id = MemoryLayout<TraceID>.stride
    return waiting.capacity * request + (active.capacity + awaitingLogs.capacity) * (request + id)
      + traces.capacity * (id + MemoryLayout<Offset>.stride)
      + dates.capacity * MemoryLayout<RequestDate>.stride
  }

  /// The record whose late span requested the trace's recall; nil if none is pending.
  func late(of traceID: TraceID) -> Offset? { traces.isEmpty ? nil : traces[traceID] }

  /// Whether the trace is being read.
  func isActive(_ traceID: TraceID) -> Bool { active[traceID] != nil }

  /// Whether any trace is being read,
  var isReading: Bool { !active.isEmpty }
  /// and whether there are several.
  var isReadingSeveral: Bool { active.count > 1 }

  /// The time of the oldest request: recovery must read back at least to there. Asked with each commit.
  var oldestRequest: Instant? { firstDate < dates.endIndex ? dates[firstDate].time : nil }

  /// No request is later than `time`: the clock was wrong.
  mutating func turnBack(to time: Instant) {
    for place in waiting.indices { waiting[place].requestedAt = min(waiting[place].requestedAt, time) }
    func turned(_ request: RecallRequest) -> RecallRequest {
      var request = request
      request.requestedAt = min(request.requestedAt, time)
      return request
    }
    active = active.mapValues(turned)
    awaitingLogs = awaitingLogs.mapValues(turned)
    for place in dates.indices { dates[place].time = min(dates[place].time, time) }
  }

  /// The requests whose logs are read first, the oldest first.
  var wantingLogs: [RecallRequest] {
    guard !awaitingLogs.isEmpty else { return [] }
    return awaitingLogs.values.sorted {
      ($0.requestedAt.nanoseconds, $0.traceID.high, $0.traceID.low)
        < ($1.requestedAt.nanoseconds, $1.traceID.high, $1.traceID.low)
    }
  }

  /// No logs from `end` on are read: they are not in their log any more.
  mutating func cutLogs(at end: Offset) {
    awaitingLogs = awaitingLogs.mapValues { request in
      var request = request
      if let logs = request.logs { request.logs?.until = min(logs.until, end) }
      return request
    }
  }

  /// Notes that a trace's logs have been read.
  mutating func noteLogsRead(of traceID: TraceID) {
    guard let request = awaitingLogs.removeValue(forKey: traceID) else { return }
    waiting.insert(request, at: place(of: request.first))
  }

  /// Adds a request for a trace that has none.
  mutating func add(_ request: RecallRequest) {
    invariant(traces[request.traceID] == nil, "a trace is recalled twice at once")
    traces[request.traceID] = request.late
    if request.logs == nil {
      waiting.insert(request, at: place(of: request.first))
    } else {
      awaitingLogs[request.traceID] = request
    }
    // Nearly always the last: only recovery finds them in another order.
    var place = dates.endIndex
    while place > firstDate, dates[place - 1].time > request.requestedAt { place -= 1 }
    dates.insert(
      RequestDate(time: request.requestedAt, traceID: request.traceID, late: request.late), at: place)
  }

  /// Removes a request that an earlier owner has fulfilled.
  mutating func remove(_ traceID: TraceID) {
    guard traces.removeValue(forKey: traceID) != nil else { return }
    waiting.removeAll { $0.traceID == traceID }
    awaitingLogs[traceID] = nil
    active[traceID] = nil
    findSoonestEnd()
    forgetDates()
  }

  /// The next record to read; nil if there is nothing to read. Starts another pass if the last one has ended.
  ///
  /// The pass goes on from there: what it passes over may not be read. A request that begins in that, made
  /// before the record is read, or that had no room, waits for the next pass.
  ///
  /// - Parameters:
  ///   - hasRoom: whether requests may be begun. One is begun in any case if none is being read.
  ///   - end: the end of the log as far as it has been read.
  mutating func next(hasRoom: Bool, end: Offset) -> Offset? {
    var place = place(of: position)
    if active.isEmpty, !mayJoin(at: place) {
      guard let first = waiting.first?.first else { return nil }
      position = first
      passEnd = max(end, first.next)
      place = waiting.startIndex
    }
    var next = active.values.map { $0.next(from: position) }.min()
    if hasRoom || active.isEmpty, mayJoin(at: place) {
      next = min(next ?? waiting[place].first, waiting[place].first)
    }
    if let next { position = max(position, next) }
    return next
  }

  /// Notes that the record at `offset` is read now, and begins the requests that begin there.
  mutating func read(_ offset: Offset, hasRoom: Bool) {
    let place = place(of: position)
    while mayJoin(at: place), waiting[place].first <= offset, hasRoom || active.isEmpty {
      let request = waiting.remove(at: place)
      active[request.traceID] = request
      soonestEnd = min(soonestEnd, request.late)
    }
    position = max(position, offset.next)
  }

  /// Puts the request whose trace begins last back to those that wait for the next pass. Returns its trace;
  /// nil if none is being read.
  mutating func putBack() -> TraceID? {
    let last = active.values.max {
      ($0.first, $0.traceID.high, $0.traceID.low) < ($1.first, $1.traceID.high, $1.traceID.low)
    }
    guard let request = last else { return nil }
    active[request.traceID] = nil
    waiting.insert(request, at: place(of: request.first))
    findSoonestEnd()
    return request.traceID
  }

  /// Notes that nothing before `offset` is left in the log.
  mutating func lose(before offset: Offset) {
    guard offset > position else { return }
    for (traceID, request) in active where request.next(from: position) < offset {
      active[traceID]?.isPartial = true
    }
    // Those that begin in what is lost are begun: what is left of them is read.
    var place = place(of: position)
    while place < waiting.endIndex, waiting[place].first < offset {
      var request = waiting.remove(at: place)
      request.isPartial = true
      active[request.traceID] = request
      soonestEnd = min(soonestEnd, request.late)
      place = self.place(of: position)
    }
    position = offset
  }

  /// Removes and returns a request that has been read.
  mutating func takeRead() -> RecallRequest? {
    guard soonestEnd < position else { return nil }
    // Two may end with the same record: the order must not depend on a dictionary's.
    let read = active.values.filter { $0.late < position }
    let first = read.min {
      ($0.late, $0.traceID.high, $0.traceID.low) < ($1.late, $1.traceID.high, $1.traceID.low)
    }
    guard let request = first else { return nil }
    active[request.traceID] = nil
    traces[request.traceID] = nil
    findSoonestEnd()
    forgetDates()
    return request
  }

  /// Moves the bits of policies to their new places: policy *i* is at `places[i]`, or gone.
  mutating func moveMatches(to places: [Int?]) {
    for place in waiting.indices {
      waiting[place].matches = RecallQueue.moved(waiting[place].matches, to: places)
    }
    func updated(_ request: RecallRequest) -> RecallRequest {
      var request = request
      request.matches = RecallQueue.moved(request.matches, to: places)
      return request
    }
    active = active.mapValues(updated)
    awaitingLogs = awaitingLogs.mapValues(updated)
  }

  /// The bits of `matches` at their new places.
  static func moved(_ matches: UInt64, to places: [Int?]) -> UInt64 {
    var moved: UInt64 = 0
    for (place, now) in places.enumerated() where matches & 1 << UInt64(place) != 0 {
      if let now { moved |= 1 << UInt64(now) }
    }
    return moved
  }

  private mutating func findSoonestEnd() {
    soonestEnd = active.values.map(\.late).min() ?? Offset(.max)
  }

  /// Whether there is a waiting request at `place` that is part of the pass.
  private func mayJoin(at place: Int) -> Bool {
    place < waiting.endIndex && waiting[place].first < passEnd
  }

  private func isPending(_ date: RequestDate) -> Bool { traces[date.traceID] == date.late }

  /// Forgets when fulfilled requests were made, at the latest when they are more than the others.
  private mutating func forgetDates() {
    while firstDate < dates.endIndex, !isPending(dates[firstDate]) { firstDate += 1 }
    guard dates.count > 2 * traces.count + 16 else { return }
    dates = dates[firstDate...].filter(isPending)
    firstDate = 0
  }

  /// The place of the first waiting request that begins at or after `offset`.
  private func place(of offset: Offset) -> Int {
    var (low, high) = (0, waiting.count)
    while low < high {
      let middle = (low + high) / 2
      if waiting[middle].first < offset { low = middle + 1 } else { high = middle }
    }
    return low
  }

  func checkInvariants() {
    invariant(traces.count == waiting.count + active.count + awaitingLogs.count, "a recall is lost")
    for (left, right) in zip(waiting, waiting.dropFirst()) {
      invariant(left.first <= right.first, "recalls are out of order")
    }
    let oldest = (waiting + active.values + awaitingLogs.values).map(\.requestedAt).min()
    invariant(oldest == oldestRequest, "the oldest recall is not the oldest")
  }
}
