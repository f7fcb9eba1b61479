// Where a partition's logs are: which request is next, and which have been read and wait.

internal import OTLP
internal import Sampling

/// The logs that follow one partition's verdicts.
///
/// Requests are dealt with in the order of their offsets. Those that are read before they are due are held,
/// within a limit; what exceeds it is read again later.
struct FollowedLogs {
  /// A request that waits.
  struct Request {
    var place: RecordPlace
    var key: [UInt8]?
    var value: [UInt8]?
    /// It is due no later than this, whatever its timestamp says.
    fileprivate(set) var latestDue = Instant.distantFuture

    init(place: RecordPlace, key: [UInt8]?, value: [UInt8]?) {
      self.place = place
      self.key = key
      self.value = value
    }

    /// Lends its key and value.
    func lend<Result, Failure: Error>(
      _ body: (RawSpan?, RawSpan?) throws(Failure) -> Result
    ) throws(Failure) -> Result {
      try Self.lend(key) { (key) throws(Failure) in
        try Self.lend(value) { (value) throws(Failure) in try body(key, value) }
      }
    }

    private static func lend<Result, Failure: Error>(
      _ bytes: [UInt8]?, _ body: (RawSpan?) throws(Failure) -> Result
    ) throws(Failure) -> Result {
      guard let bytes else { return try body(nil) }
      return try bytes.withRawBytes { (bytes) throws(Failure) in try body(bytes) }
    }

    var byteCount: Int { (key?.count ?? 0) + (value?.count ?? 0) + MemoryLayout<Request>.stride }
  }

  /// The next request to deal with; nil if that is the log's first, wherever it is.
  private(set) var next: Offset?
  /// The next one to read.
  private(set) var nextToRead: Offset
  private var held: [Request] = []
  /// The place of the first in `held`.
  private var first = 0
  /// The place of the first whose wait is not bounded yet.
  private var firstUnbounded = 0
  private(set) var heldBytes = 0
  /// Bytes of memory that it takes.
  var byteCount: Int { heldBytes + dealt.byteCount }
  /// The requests that were dealt with last,
  private var dealt = DealtLogs()
  /// and up to where requests that are read may be some of them; nil unless the log has been cut.
  private var dealtUntil: Offset?
  /// Whether one was refused. Nothing is read until there is room.
  private var isFull = false
  /// The undecided trace that the first request waits for.
  var undecided: TraceID?
  /// How long the last request was overdue when it was dealt with,
  private var lastDelay = Interval.seconds(0)
  /// and when one was last read, by the steady clock.
  private var readAt = Instant.distantPast

  /// The stream clock when the requests that are not dealt with were written, or earlier. Verdicts that were
  /// known then are needed.
  private(set) var since: Instant
  /// The stream clock as of the last round.
  private var lastClock = Instant.distantPast
  /// All requests from this one on were written when the stream clock was this, or later.
  private var mark: (next: Offset, clock: Instant)?

  init(_ position: LogsPosition?) {
    next = position.flatMap { $0.next > Offset(0) ? $0.next : nil }
    nextToRead = position?.next ?? Offset(0)
    since = position?.since ?? .distantPast
  }

  /// Where reading goes on, and since when verdicts are needed; nil before the stream clock starts. Offset 0
  /// stands for the log's first.
  var position: LogsPosition? {
    since == .distantPast ? nil : LogsPosition(since: since, next: next ?? Offset(0))
  }

  /// Keeps `since` in step with the stream clock, which may start or be set back. What was decided before it
  /// starts is not known.
  mutating func follow(_ clock: Instant) {
    guard clock != .distantPast else { return }
    since = since == .distantPast ? clock : min(since, clock)
    // Waits that were bounded by a clock that was ahead are bounded anew, and what follows the mark was
    // written when it is now, or later.
    if clock < lastClock {
      firstUnbounded = first
      if let known = mark { mark = (known.next, min(known.clock, clock)) }
    }
    lastClock = clock
  }

  /// Notes that what follows was written when the stream clock was `clock` or later.
  mutating func advance(to clock: Instant) { since = max(since, clock) }

  /// Whether the end of the log is wanted: what has been dealt with has not told for a while since when
  /// verdicts are needed.
  func wantsEnd(_ patience: Interval, now clock: Instant) -> Bool {
    (mark == nil || head == nil) && since + patience <= clock
  }

  /// Notes that requests from `end` on are written now or later.
  ///
  /// - Parameter isRead: whether everything before it was delivered. What was refused is read again.
  mutating func noteEnd(_ end: Offset, isRead: Bool, now clock: Instant) {
    let place = isRead && !isFull ? nextToRead : end
    if mark != nil, place > nextToRead { return }
    mark = (place, clock)
    passMark()
  }

  private mutating func passMark() {
    guard let mark, (head?.place.offset ?? nextToRead) >= mark.next else { return }
    advance(to: mark.clock)
    self.mark = nil
  }

  /// When a request was written, by the stream clock, or earlier; it is dealt with now. A timestamp that is
  /// ahead of that is wrong, and so is one that is long after those before it: longer than `patience`, in
  /// which `noteEnd` tells of a silence.
  func writtenAt(
    _ place: RecordPlace, _ wait: Interval, now clock: Instant, patience: Interval
  ) -> Instant {
    guard let timestamp = place.timestamp, timestamp + wait <= clock, timestamp <= since + patience else {
      return since
    }
    return timestamp
  }

  /// The first request that waits.
  var head: Request? { first < held.count ? held[first] : nil }

  /// When it is due, by the stream clock. One that is not settled may be far ahead: then the wait must have
  /// passed since the request was read.
  func headDue(_ wait: Interval, by sampler: borrowing Sampler) -> Instant? {
    guard let head else { return nil }
    guard sampler.isClockSettled else { return head.latestDue }
    return min((head.place.timestamp ?? .distantPast) + wait, head.latestDue)
  }

  /// Notes that all requests that have been read were in their log when the stream clock could be no later
  /// than `now`: their own timestamps may be wrong.
  mutating func bound(_ wait: Interval, now: Instant) {
    for place in firstUnbounded..<held.count { held[place].latestDue = now + wait }
    firstUnbounded = held.count
  }

  /// Where to read on; nil while there is no room.
  mutating func place(heldBytesMax: Int) -> Offset? {
    if isFull, heldBytes > heldBytesMax / 2 { return nil }
    isFull = false
    return nextToRead
  }

  /// Whether a request that has been read is the next one.
  func expects(_ offset: Offset) -> Bool { !isFull && offset >= nextToRead }

  /// Holds a request until it is due, if there is room for it; one is held whatever its size.
  mutating func hold(_ request: Request, heldBytesMax: Int) {
    guard head == nil || heldBytes + request.byteCount <= heldBytesMax else {
      isFull = true
      return
    }
    if head == nil { next = request.place.offset }
    held.append(request)
    heldBytes += request.byteCount
    nextToRead = request.place.offset.next
  }

  /// A request was dealt with as it was read.
  mutating func pass(_ offset: Offset, _ key: RawSpan?, _ value: RawSpan?) {
    dealt.note(offset, key, value)
    nextToRead = offset.next
    next = nextToRead
    passMark()
  }

  /// Passes over a request that is read again because the log has been cut, if it was dealt with before.
  /// Returns whether it was.
  mutating func passDealt(_ offset: Offset, _ key: RawSpan?, _ value: RawSpan?) -> Bool {
    guard let end = dealtUntil else { return false }
    guard offset < end else {
      dealtUntil = nil
      return false
    }
    guard dealt.contains(offset, key, value) else { return false }
    nextToRead = offset.next
    if head == nil { next = nextToRead }
    passMark()
    return true
  }

  /// The first request that waits was dealt with.
  mutating func removeHead() {
    guard let request = head else { return }
    request.lend { dealt.note(request.place.offset, $0, $1) }
    heldBytes -= request.byteCount
    held[first].key = nil
    held[first].value = nil
    first += 1
    if 2 * first >= held.count {
      held.removeFirst(first)
      firstUnbounded = max(0, firstUnbounded - first)
      first = 0
    }
    next = head?.place.offset ?? nextToRead
    undecided = nil
    passMark()
  }

  /// The log begins at `offset` now. Returns the offsets before it that were not read; a reader that starts
  /// at the beginning has missed none.
  mutating func lose(before offset: Offset) -> Range<Offset>? {
    guard offset > nextToRead else { return nil }
    let lost = next == nil ? nil : nextToRead..<offset
    nextToRead = offset
    if head == nil { next = offset }
    return lost
  }

  /// The log ended before what was to be read: its brokers have lost some of it, and it goes on at `offset`
  /// with what was written since then. What is held is read again there, if it is left, and so are some that
  /// have been dealt with.
  mutating func restart(at offset: Offset) {
    dealtUntil = max(dealtUntil ?? offset, next ?? offset)
    (held, first, firstUnbounded, heldBytes, isFull, undecided) = ([], 0, 0, 0, false, nil)
    (nextToRead, next, mark) = (offset, offset, nil)
  }

  // MARK: Lag

  /// Notes that a request was read,
  mutating func noteRead(at steady: Instant) { readAt = steady }

  /// that nothing has come since then,
  mutating func noteQuiet(at steady: Instant) {
    if readAt + .seconds(10) <= steady { lastDelay = .seconds(0) }
  }

  /// and that a request was dealt with this long after it was due.
  mutating func note(delay: Interval) { lastDelay = max(delay, .seconds(0)) }

  /// How long the first request has been due; if none waits, how long the last one was. One that waits for an
  /// open trace is not late: the trace's window bounds that.
  func lag(_ wait: Interval, behind sampler: borrowing Sampler) -> Interval {
    if undecided != nil { return .seconds(0) }
    return headDue(wait, by: sampler).map { max(sampler.clock - $0, .seconds(0)) } ?? lastDelay
  }
}
