// The open traces of a partition: found by id, and queued by when their windows close.

import Invariants
import OTLP
import SpanStorage

/// Open traces in slots, an index by trace id, and the two queues that windows close from.
struct TraceTable: ~Copyable {
  private var traces = SlotPool<OpenTrace>()
  private var index = HashIndex()
  private let seed: HashSeed

  /// All open traces, in the order they were opened.
  private(set) var opened = SlotQueue()
  /// Those that only wait for the time after their root to pass, in the order their roots arrived.
  private(set) var rooted = SlotQueue()

  init(seed: HashSeed) {
    self.seed = seed
  }

  /// How many traces are open.
  var count: Int { index.count }

  /// Whether a trace can be opened without more memory.
  var hasFreeSlot: Bool { traces.hasFree }

  /// Whether a slot with this number exists, open or not. Those of a burst are removed once it is over.
  func hasSlot(_ slot: Int) -> Bool { slot < traces.count }

  /// Bytes of memory in use.
  var byteCount: Int {
    traces.byteCount + index.byteCount + opened.byteCount + rooted.byteCount
  }

  /// The trace in `slot`.
  subscript(slot: Int) -> OpenTrace {
    _read { yield traces[slot] }
    _modify { yield &traces[slot] }
  }

  /// The slot of the open trace with this id, or nil.
  @inline(__always)
  func find(_ id: TraceID) -> Int? {
    index.find(hash(id)) { traces[$0].id == id }
  }

  /// Opens a trace that is not open, at the end of the queue.
  mutating func open(_ trace: consuming OpenTrace) -> Int {
    let hash = hash(trace.id)
    let slot = traces.take(trace)
    opened.makeRoom(for: slot)
    rooted.makeRoom(for: slot)
    index.insert(hash, slot: slot)
    opened.append(slot)
    return slot
  }

  /// Closes the trace in `slot`, which another trace may take at once.
  mutating func close(_ slot: Int) {
    opened.remove(slot)
    if rooted.contains(slot) { rooted.remove(slot) }
    index.remove(hash(traces[slot].id), slot: slot)
    traces.release(slot)
  }

  /// Releases memory not needed since the last call.
  mutating func trim() {
    traces.trim()
    opened.removeSlots(from: traces.count)
    rooted.removeSlots(from: traces.count)
    index.trim(capacity: traces.count)
  }

  /// Starts the wait after the root for the trace in `slot`.
  mutating func startRootWait(_ slot: Int) {
    rooted.append(slot)
  }

  /// Ends the wait after the root without closing the trace.
  mutating func endRootWait(_ slot: Int) {
    rooted.remove(slot)
    traces[slot].isRootWaitOver = true
  }

  /// Restarts, at `time`, the windows of traces opened since the record at `offset` and the waits after roots
  /// that arrived since `clock`: they were stamped by a clock that stood still. These are the last in the
  /// queues, and `time` is later than everything in them, so the order stays.
  mutating func delay(since offset: Offset, clock: Instant, to time: Instant) {
    var next = opened.last
    while let slot = next, traces[slot].firstOffset >= offset {
      traces[slot].openedAt = max(traces[slot].openedAt, time)
      next = opened.previous(before: slot)
    }
    next = rooted.last
    while let slot = next, traces[slot].rootArrivedAt >= clock {
      traces[slot].rootArrivedAt = max(traces[slot].rootArrivedAt, time)
      next = rooted.previous(before: slot)
    }
  }

  /// Makes no window start later than `time`. Capping all of them keeps their order.
  mutating func turnBack(to time: Instant) {
    var next = opened.first
    while let slot = next {
      traces[slot].openedAt = min(traces[slot].openedAt, time)
      traces[slot].rootArrivedAt = min(traces[slot].rootArrivedAt, time)
      next = opened.next(after: slot)
    }
  }

  private func hash(_ id: TraceID) -> UInt32 {
    seed.hash(high: id.high, low: id.low)
  }

  /// Checks that index, queues and slots agree. For tests: it visits every trace.
  func checkInvariants() {
    invariant(opened.count == count, "\(opened.count) traces are queued but \(count) are indexed")
    traces.checkInvariants(used: count)
    var slot = opened.first
    var last = Instant.distantPast
    while let current = slot {
      invariant(find(traces[current].id) == current, "an open trace is not found by its id")
      invariant(traces[current].openedAt >= last, "the queue is out of order")
      last = traces[current].openedAt
      slot = opened.next(after: current)
    }
    slot = rooted.first
    last = .distantPast
    while let current = slot {
      invariant(traces[current].rootArrivedAt >= last, "the queue of those with roots is out of order")
      last = traces[current].rootArrivedAt
      slot = rooted.next(after: current)
    }
  }
}

/// First in, first out, with removal from the middle: a doubly linked list over slots.
///
/// All windows have the same length, and if the stream clock is set back, everything later goes back with it.
/// So a queue in order of arrival is in order of deadline too: no heap, no timer wheel.
struct SlotQueue {
  private struct Links {
    var previous: Int32
    var next: Int32

    /// In no queue.
    static let none = Links(previous: -2, next: -2)
  }

  private var links: [Links] = []
  private var head: Int32 = -1
  private var tail: Int32 = -1
  private(set) var count = 0

  var byteCount: Int { links.capacity * MemoryLayout<Links>.stride }

  /// The slot queued first, or nil.
  var first: Int? { head < 0 ? nil : Int(head) }

  /// The slot queued last, or nil.
  var last: Int? { tail < 0 ? nil : Int(tail) }

  /// Makes room for a slot, the highest so far or an earlier one.
  @inline(__always)
  mutating func makeRoom(for slot: Int) {
    if slot >= links.count { links.append(.none) }
  }

  /// Releases the room of removed slots, none of which is queued.
  mutating func removeSlots(from slot: Int) {
    // A new array: one that shrinks keeps its capacity.
    if slot < links.count { links = Array(links[..<slot]) }
  }

  func contains(_ slot: Int) -> Bool { links[slot].next != -2 }

  /// The slot queued after `slot`, or nil.
  func next(after slot: Int) -> Int? {
    links[slot].next < 0 ? nil : Int(links[slot].next)
  }

  /// The slot queued before `slot`, or nil.
  func previous(before slot: Int) -> Int? {
    links[slot].previous < 0 ? nil : Int(links[slot].previous)
  }

  mutating func append(_ slot: Int) {
    invariant(!contains(slot), "slot \(slot) is queued already")
    let number = Int32(truncatingIfNeeded: slot)
    links[slot] = Links(previous: tail, next: -1)
    if tail >= 0 { links[Int(tail)].next = number } else { head = number }
    tail = number
    count += 1
  }

  mutating func remove(_ slot: Int) {
    let link = links[slot]
    invariant(contains(slot), "slot \(slot) is not queued")
    if link.previous >= 0 { links[Int(link.previous)].next = link.next } else { head = link.next }
    if link.next >= 0 { links[Int(link.next)].previous = link.previous } else { tail = link.previous }
    links[slot] = .none
    count -= 1
  }
}
