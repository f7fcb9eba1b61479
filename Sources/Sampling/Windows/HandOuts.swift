// Log-backed windows: the kept traces whose spans have not been handed out yet, and how far that is.

import Invariants
import OTLP

/// Where the spans of undecided traces are.
public enum WindowBuffer: String, Equatable, Sendable, CaseIterable {
  /// In memory.
  case memory
  /// In the log alone: they are read a second time once their traces are decided.
  case log
}

/// How far the follower of a log-backed partition is: part of the commit point.
public struct FollowerPoint: Equatable, Sendable {
  /// All spans of kept traces in records before this have been handed out.
  public var position: Offset
  /// The stream clock at the oldest verdict whose trace has not been handed out whole: decisions must be read
  /// back to there. Nil if there is none.
  public var oldestVerdict: Instant?
  /// Traces are log-backed if their first span is in this range of records. It has bounds for a while after
  /// `windows.buffer` has changed.
  public var from = Offset(.min)
  /// Where that range ends.
  public var until = Offset(.max)

  /// Makes a point.
  public init(
    position: Offset, oldestVerdict: Instant? = nil, from: Offset = Offset(.min), until: Offset = Offset(.max)
  ) {
    self.position = position
    self.oldestVerdict = oldestVerdict
    self.from = from
    self.until = until
  }
}

/// A kept trace whose spans are still in the log only.
struct HandOut {
  let traceID: TraceID
  /// The records with its first span and its last one before the verdict. Later ones are late spans: the
  /// sampler forwards them as they come.
  let first: Offset
  var last: Offset
  var decidedAt: Instant
  /// What its spans are forwarded with.
  var threshold: SamplingThreshold
  /// What head sampling left.
  var incomingThreshold: SamplingThreshold
  /// The policies that keep it, a bit each.
  var matches: UInt64
  /// Whether only its shape keeps it.
  var isFirstOfShape = false
  /// The number of the entry before it for the same id; negative if there is none.
  var older = -1
  /// Whether it is a skeleton.
  var isTruncated: Bool
  /// Whether some of its spans may have arrived twice.
  var hasRedelivered: Bool
  /// Whether links keep it.
  var isLinked = false
  var isDone = false
}

/// What handing out a trace has to remember from record to record. Few traces need it.
struct HandOutProgress {
  /// The spans so far, if some may have arrived twice.
  var known = KnownSpans(.digests)
  /// The counts of a skeleton so far.
  var spanCount: UInt32 = 0
  var byteCount: UInt64 = 0
  var skeletonCount: UInt32 = 0
  var isOverLimit = false
}

/// The hand-outs of a partition.
///
/// Records are read a second time in their order, up to the safe offset: the traces of all spans before it
/// are decided. A kept trace enters at its verdict and leaves with the record of its last span. What is not
/// here is dropped, or handed out already. So one offset says what has been handed out.
struct HandOuts {
  /// Whether traces are log-backed, or some hand-outs are left from when they were.
  var isUsed: Bool
  /// Traces are log-backed if their first span is in this range.
  var (from, until) = (Offset(.min), Offset(.max))
  /// All records before this are handed out; meaningful only if there are entries.
  private(set) var position = Offset(0)
  /// The next record to read: before `position`, records are read only to learn which spans they have.
  private(set) var reading = Offset(0)
  /// No record at or after this is known to have other traces than its key says.
  var mixedUntil = Offset(.min)
  /// When `from` means nothing any more: once everything before this is handed out.
  private var settledAt: Offset?

  /// In the order of their verdicts. Entry *n* is at `n - firstNumber`.
  private var entries: [HandOut] = []
  private var firstNumber = 0
  /// How many of them, at the front, are done and not removed yet.
  private var head = 0
  /// The newest entry of each trace.
  private var numbers: [TraceID: Int] = [:]
  private var progress: [Int: HandOutProgress] = [:]
  /// How many are not done.
  private(set) var count = 0

  init(_ buffer: WindowBuffer) {
    isUsed = buffer == .log
  }

  /// Bytes of memory in use.
  var byteCount: Int {
    guard entries.capacity > 0 else { return 0 }
    let id = MemoryLayout<TraceID>.stride + MemoryLayout<Int>.stride
    return entries.capacity * MemoryLayout<HandOut>.stride + numbers.capacity * id
      + progress.capacity * (MemoryLayout<HandOutProgress>.stride + MemoryLayout<Int>.stride)
  }

  /// Whether a trace that begins at `offset` is log-backed.
  func covers(_ offset: Offset) -> Bool { from <= offset && offset < until }

  /// The clock at the oldest verdict of which something is left.
  var oldestVerdict: Instant? { count == 0 ? nil : entries[head].decidedAt }

  /// Where everything before is handed out, if all traces before `safe` are decided.
  func position(safe: Offset) -> Offset { count == 0 ? safe : min(position, safe) }

  // MARK: Entries

  /// Adds a kept trace. All traces before `safe` are decided, and its first span is not before that.
  mutating func add(_ handOut: HandOut, safe: Offset) {
    if count == 0 {
      // Nothing before that is left.
      position = max(position, safe)
      reading = position
    }
    if let known = find(handOut.traceID, at: handOut.first) {
      // Decided again, because its verdict was forgotten.
      entries[known - firstNumber].last = max(self[known].last, handOut.last)
      return
    }
    let number = firstNumber + entries.count
    var added = handOut
    added.older = numbers.updateValue(number, forKey: handOut.traceID) ?? -1
    entries.append(added)
    count += 1
    capVerdicts(at: handOut.decidedAt)
  }

  /// Adds one that an earlier owner has decided, unless it has handed it out.
  mutating func restore(_ handOut: HandOut) {
    guard handOut.last >= position, handOut.first <= handOut.last, covers(handOut.first) else { return }
    let before = (position, reading)
    add(handOut, safe: position)
    // What is before the position is read once more, to know the spans that may come again.
    position = before.0
    reading = min(before.1, handOut.first)
  }

  /// Continues where an earlier owner was; nil if its windows were in memory.
  mutating func resume(at point: FollowerPoint?) {
    isUsed = point != nil
    guard let point else { return }
    (from, until) = (point.from, point.until)
    (position, reading) = (point.position, point.position)
  }

  /// No entry is newer than those after it: the clock may have gone back.
  private mutating func capVerdicts(at time: Instant) {
    var place = entries.count - 2
    while place >= head, entries[place].decidedAt > time {
      entries[place].decidedAt = time
      place -= 1
    }
  }

  /// The number of the entry of a trace that has a span at `offset`.
  func find(_ traceID: TraceID, at offset: Offset) -> Int? {
    guard count > 0, var number = numbers[traceID] else { return nil }
    while number >= firstNumber + head {
      let entry = entries[number - firstNumber]
      if !entry.isDone, entry.first <= offset, offset <= entry.last { return number }
      number = entry.older
    }
    return nil
  }

  /// Whether spans of the trace may be handed out, at whatever offset.
  func contains(_ traceID: TraceID) -> Bool { numbers[traceID] != nil }

  subscript(number: Int) -> HandOut { entries[number - firstNumber] }

  /// Calls `body` with what is remembered of an entry, and remembers it.
  mutating func withProgress<Result>(of number: Int, _ body: (inout HandOutProgress) -> Result) -> Result {
    body(&progress[number, default: HandOutProgress()])
  }

  /// Removes an entry. Returns what was known of its spans.
  mutating func remove(_ number: Int) -> KnownSpans? {
    let place = number - firstNumber
    guard !entries[place].isDone else { return nil }
    entries[place].isDone = true
    count -= 1
    if numbers[entries[place].traceID] == number { numbers[entries[place].traceID] = nil }
    while head < entries.count, entries[head].isDone { head += 1 }
    if head > 64, head * 2 > entries.count {
      entries.removeFirst(head)
      firstNumber += head
      head = 0
    }
    return progress.removeValue(forKey: number)?.known
  }

  // MARK: Reading

  /// Notes that the record at `offset` has been read.
  mutating func pass(_ offset: Offset) {
    reading = max(reading, offset.next)
    position = max(position, reading)
  }

  /// Notes that nothing before `offset` is left in the log. Returns the entries that lack a record now, with
  /// whether all of what was left of them is gone.
  mutating func lose(before offset: Offset) -> [(number: Int, isGone: Bool)] {
    var lost: [(Int, Bool)] = []
    for place in head..<max(head, entries.count) where !entries[place].isDone {
      let entry = entries[place]
      guard max(entry.first, position) < offset else { continue }
      lost.append((firstNumber + place, entry.last < offset))
    }
    // The log ends before: it is another one, and what is kept next is in it.
    guard offset < Offset(.max) else { return lost }
    reading = max(reading, offset)
    position = max(position, offset)
    return lost
  }

  /// Entries whose last record has been passed without being seen: it was compacted away.
  var stale: [Int] {
    (head..<max(head, entries.count)).filter { !entries[$0].isDone && entries[$0].last < position }
      .map { firstNumber + $0 }
  }

  // MARK: Changes of the mode

  /// From `offset` on traces are in `buffer`, if it has changed.
  mutating func change(to buffer: WindowBuffer, at offset: Offset) {
    if buffer == .log, !isUsed {
      (isUsed, from, until) = (true, offset, Offset(.max))
      settledAt = nil
    } else if buffer == .memory, isUsed, until == Offset(.max) {
      until = offset
    }
  }

  /// Notes where the partition is: the bounds of a change end once nothing depends on them.
  mutating func settle(safe: Offset, next: Offset, _ buffer: WindowBuffer) {
    if from > Offset(.min), safe >= from {
      // No trace from before is open. Those decided last have spans up to here.
      let end = settledAt ?? next
      settledAt = end
      if position(safe: safe) >= end { (from, settledAt) = (Offset(.min), nil) }
    }
    if until < Offset(.max), safe >= until, count == 0 {
      (isUsed, from, until) = (false, Offset(.min), Offset(.max))
      change(to: buffer, at: next)
    }
  }

  /// Moves the bits of policies to their new places: policy *i* is at `places[i]`, or gone.
  mutating func moveMatches(to places: [Int?]) {
    for entry in entries.indices {
      entries[entry].matches = RecallQueue.moved(entries[entry].matches, to: places)
    }
  }

  /// No verdict is later than `time`: the clock was wrong.
  mutating func turnBack(to time: Instant) {
    for entry in entries.indices { entries[entry].decidedAt = min(entries[entry].decidedAt, time) }
  }

  /// Releases memory that is not needed.
  mutating func trim() {
    guard count == 0 else {
      // One trace may be open for long after a burst of others has been handed out.
      if entries.capacity > 4 * entries.count + 64 { entries = entries.map { $0 } }
      if numbers.capacity > 4 * numbers.count + 64 {
        numbers = Dictionary(uniqueKeysWithValues: numbers.lazy.map { ($0, $1) })
      }
      if progress.capacity > 4 * progress.count + 64 {
        progress = Dictionary(uniqueKeysWithValues: progress.lazy.map { ($0, $1) })
      }
      return
    }
    firstNumber += entries.count
    (entries, head, numbers, progress) = ([], 0, [:], [:])
  }

  /// What is known of spans, for checks.
  var known: [KnownSpans] { progress.values.map(\.known) }

  func checkInvariants() {
    invariant(entries.dropFirst(head).count { !$0.isDone } == count, "a hand-out is lost")
    invariant(head == entries.count || !entries[head].isDone, "a hand-out that is done is not removed")
  }
}
