// The open traces of a partition, queued by when their windows close.

import Invariants
import OTLP

/// Open traces in slots, and the two queues that windows close from. A `TraceIndex` finds them by trace id.
struct TraceTable: ~Copyable {
  private var traces = SlotPool<OpenTrace>()
  private var rareFacts = SlotPool<RareFacts>()

  /// All open traces, in the order they were opened.
  private(set) var opened = SlotQueue(.opened)
  /// Those that only wait for the time after their root to pass, in the order their roots arrived.
  private(set) var rooted = SlotQueue(.rooted)

  /// The last of the oldest traces that all wait for a verdict to be looked up, if that is known: there may
  /// be a thousand, and each close asks for the first trace behind them.
  private var lastWaiting: Int?

  /// How many traces are open.
  var count: Int { opened.count }

  /// How many slots there are.
  var slotCount: Int { traces.count }

  /// Whether a trace can be opened without more memory.
  var hasFreeSlot: Bool { traces.hasFree }

  /// Whether a slot with this number exists, open or not. Those of a burst are removed once it is over.
  func hasSlot(_ slot: Int) -> Bool { slot < traces.count }

  /// Bytes of memory in use.
  var byteCount: Int { traces.byteCount + rareFacts.byteCount }

  /// The trace in `slot`.
  subscript(slot: Int) -> OpenTrace {
    @inline(__always) _read { yield traces[slot] }
    @inline(__always) _modify { yield &traces[slot] }
  }

  /// The rare facts of the trace in `slot`; those of most traces until they are changed.
  subscript(rare slot: Int) -> RareFacts {
    get {
      let place = traces[slot].rare
      return place < 0 ? RareFacts() : rareFacts[Int(place)]
    }
    set {
      let place = traces[slot].rare
      if place < 0 {
        traces[slot].rare = Int32(truncatingIfNeeded: rareFacts.take(newValue))
      } else {
        rareFacts[Int(place)] = newValue
      }
    }
  }

  /// What policies may evaluate of the trace in `slot`.
  @inline(__always)
  func facts(of slot: Int) -> TraceFacts {
    var facts = traces[slot].facts
    if traces[slot].isRandomnessGiven { facts.randomness = self[rare: slot].randomness }
    return facts
  }

  /// Accounts for the sampling fields of a span's tracestate; a root's counts even if it has none.
  mutating func accumulate(_ sampling: TraceStateSampling, isRoot: Bool, in slot: Int) {
    let threshold = sampling.threshold ?? .always
    let isUsual = sampling.randomness == nil && threshold == .always
    guard !isUsual || traces[slot].rare >= 0 else { return }
    var facts = self[rare: slot]
    if let given = sampling.randomness, !traces[slot].isRandomnessGiven {
      facts.randomness = given
      traces[slot].isRandomnessGiven = true
    }
    if isRoot, !traces[slot].hasRoot {
      facts.incomingThreshold = threshold
    } else if isRoot == traces[slot].hasRoot {
      facts.incomingThreshold = max(facts.incomingThreshold, threshold)
    }
    self[rare: slot] = facts
  }

  /// Opens a trace that is not open, at the end of the queue.
  @inline(__always)
  mutating func open(_ trace: consuming OpenTrace) -> Int {
    let slot = traces.take(trace)
    opened.append(slot, in: &traces)
    return slot
  }

  /// Closes the trace in `slot`, which another trace may take at once.
  mutating func close(_ slot: Int) {
    if slot == lastWaiting { lastWaiting = nil }
    opened.remove(slot, in: &traces)
    if traces[slot].links[.rooted].isQueued { rooted.remove(slot, in: &traces) }
    if traces[slot].rare >= 0 { rareFacts.release(Int(traces[slot].rare)) }
    traces.release(slot)
  }

  /// The slot of the trace opened after that in `slot`, or nil.
  func next(after slot: Int) -> Int? { traces[slot].links[.opened].nextSlot }

  /// Releases memory not needed since the last call.
  mutating func trim() {
    traces.trim()
    rareFacts.trim()
  }

  /// Starts the wait after the root for the trace in `slot`.
  mutating func startRootWait(_ slot: Int) {
    rooted.append(slot, in: &traces)
  }

  /// Ends the wait after the root without closing the trace.
  mutating func endRootWait(_ slot: Int) {
    rooted.remove(slot, in: &traces)
    traces[slot].isRootWaitOver = true
  }

  /// The trace in `slot` waits no longer for its verdict to be looked up.
  mutating func endWait(_ slot: Int) {
    traces[slot].awaitsVerdict = false
    lastWaiting = nil
  }

  /// The first of the open traces that wait for no verdict to be looked up.
  var firstReady: Int? { passWaiting().ready }

  /// The same, without passing those that wait again the next time.
  mutating func findReady() -> Int? {
    let (last, ready) = passWaiting()
    lastWaiting = last
    return ready
  }

  private func passWaiting() -> (last: Int?, ready: Int?) {
    var last = lastWaiting
    var ready = last.map { next(after: $0) } ?? opened.first
    while let slot = ready, traces[slot].awaitsVerdict { (last, ready) = (slot, next(after: slot)) }
    return (last, ready)
  }

  /// When the first window is over, of the traces that are open or that are opened or get a root `now`.
  func firstEnd(_ windows: Windows, now: Instant) -> Instant {
    let openedAt = firstReady.map { traces[$0].openedAt } ?? now
    let rootArrivedAt = rooted.first.map { traces[$0].rootArrivedAt } ?? now
    return min(openedAt + windows.decisionWait, rootArrivedAt + windows.decisionWaitAfterRoot)
  }

  /// Restarts, at `time`, the windows of traces opened since the record at `offset` and the waits after roots
  /// that arrived since `clock`: they were stamped by a clock that stood still. These are the last in the
  /// queues, and `time` is later than everything in them, so the order stays.
  mutating func delay(since offset: Offset, clock: Instant, to time: Instant) {
    var next = opened.last
    while let slot = next, traces[slot].firstOffset >= offset {
      traces[slot].openedAt = max(traces[slot].openedAt, time)
      next = traces[slot].links[.opened].previousSlot
    }
    next = rooted.last
    while let slot = next, traces[slot].rootArrivedAt >= clock {
      traces[slot].rootArrivedAt = max(traces[slot].rootArrivedAt, time)
      next = traces[slot].links[.rooted].previousSlot
    }
  }

  /// Makes no window start later than `time`. Capping all of them keeps their order.
  mutating func turnBack(to time: Instant) {
    var next = opened.first
    while let slot = next {
      traces[slot].openedAt = min(traces[slot].openedAt, time)
      traces[slot].rootArrivedAt = min(traces[slot].rootArrivedAt, time)
      next = self.next(after: slot)
    }
  }

  /// Checks that queues and slots agree. For tests: it visits every trace.
  func checkInvariants() {
    traces.checkInvariants(used: count)
    var rareCount = 0
    var slot = opened.first
    var last = Instant.distantPast
    while let current = slot {
      invariant(traces[current].openedAt >= last, "the queue is out of order")
      last = traces[current].openedAt
      if traces[current].rare >= 0 { rareCount += 1 }
      slot = next(after: current)
    }
    rareFacts.checkInvariants(used: rareCount)
    slot = rooted.first
    last = .distantPast
    while let current = slot {
      invariant(traces[current].rootArrivedAt >= last, "the queue of those with roots is out of order")
      last = traces[current].rootArrivedAt
      slot = traces[current].links[.rooted].nextSlot
    }
  }
}

/// The places of an open trace in the queues.
struct QueueLinks: BitwiseCopyable {
  /// A queue.
  enum Queue: Int {
    case opened = 0
    case rooted = 1
  }

  /// The place of a trace in a queue.
  struct Link: BitwiseCopyable {
    fileprivate var previous: Int32 = -2
    fileprivate var next: Int32 = -2

    var isQueued: Bool { next != -2 }
    /// The slot queued after it, or nil.
    var nextSlot: Int? { next < 0 ? nil : Int(next) }
    /// The slot queued before it, or nil.
    var previousSlot: Int? { previous < 0 ? nil : Int(previous) }
  }

  private var links: [2 of Link] = [Link(), Link()]

  @inline(__always)
  subscript(queue: Queue) -> Link {
    get { links[queue.rawValue] }
    set { links[queue.rawValue] = newValue }
  }
}

/// First in, first out, with removal from the middle: a doubly linked list, with its links in the traces.
///
/// All windows have the same length, and if the stream clock is set back, everything later goes back with it.
/// So a queue in order of arrival is in order of deadline too: no heap, no timer wheel.
struct SlotQueue {
  private let queue: QueueLinks.Queue
  private var head: Int32 = -1
  private var tail: Int32 = -1
  private(set) var count = 0

  init(_ queue: QueueLinks.Queue) {
    self.queue = queue
  }

  /// The slot queued first, or nil.
  var first: Int? { head < 0 ? nil : Int(head) }

  /// The slot queued last, or nil.
  var last: Int? { tail < 0 ? nil : Int(tail) }

  @inline(__always)
  mutating func append(_ slot: Int, in traces: inout SlotPool<OpenTrace>) {
    invariant(!traces[slot].links[queue].isQueued, "slot \(slot) is queued already")
    let number = Int32(truncatingIfNeeded: slot)
    traces[slot].links[queue] = QueueLinks.Link(previous: tail, next: -1)
    if tail >= 0 { traces[Int(tail)].links[queue].next = number } else { head = number }
    tail = number
    count += 1
  }

  @inline(__always)
  mutating func remove(_ slot: Int, in traces: inout SlotPool<OpenTrace>) {
    let link = traces[slot].links[queue]
    invariant(link.isQueued, "slot \(slot) is not queued")
    if let next = link.nextSlot {
      traces[next].links[queue].previous = link.previous
    } else {
      tail = link.previous
    }
    if let previous = link.previousSlot {
      traces[previous].links[queue].next = link.next
    } else {
      head = link.next
    }
    traces[slot].links[queue] = QueueLinks.Link()
    count -= 1
  }
}
