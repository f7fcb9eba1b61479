// Verdicts already given, for spans that come late. Exact: 128-bit ids, no filter that could take one trace
// for another.

import OTLP
import SpanStorage

/// What was decided about a trace.
struct PastVerdict {
  let traceID: TraceID
  fileprivate(set) var decidedAt: Instant
  /// The threshold in the low 57 bits, the flags above them.
  private var packed: UInt64

  /// What stands where no verdict does; the index never leads there.
  static let vacant = PastVerdict(
    traceID: TraceID(high: 0, low: 0), isKept: false, threshold: .never, decidedAt: .distantPast)

  private static let keptBit: UInt64 = 1 << 63
  private static let lateErrorBit: UInt64 = 1 << 62
  private static let truncatedBit: UInt64 = 1 << 61
  private static let restoredBit: UInt64 = 1 << 60

  init(traceID: TraceID, isKept: Bool, threshold: SamplingThreshold, decidedAt: Instant) {
    self.traceID = traceID
    self.decidedAt = decidedAt
    packed = threshold.rejected | (isKept ? PastVerdict.keptBit : 0)
  }

  var isKept: Bool { packed & PastVerdict.keptBit != 0 }

  var threshold: SamplingThreshold { SamplingThreshold(rejected: packed & (1 << 57 - 1)) }

  /// Whether the verdict, or the early keep before it, was given by an earlier owner of the partition: then
  /// what is read again of the trace was dealt with.
  var isRestored: Bool {
    get { packed & PastVerdict.restoredBit != 0 }
    set { packed = newValue ? packed | PastVerdict.restoredBit : packed & ~PastVerdict.restoredBit }
  }

  /// Whether the trace went over a limit: its late spans are left out too.
  var isTruncated: Bool {
    get { packed & PastVerdict.truncatedBit != 0 }
    set { packed = newValue ? packed | PastVerdict.truncatedBit : packed & ~PastVerdict.truncatedBit }
  }

  /// Whether an error span that came after the trace was dropped has been reported.
  var isLateErrorReported: Bool {
    get { packed & PastVerdict.lateErrorBit != 0 }
    set { packed = newValue ? packed | PastVerdict.lateErrorBit : packed & ~PastVerdict.lateErrorBit }
  }
}

/// The verdicts of the last `late_window`, oldest first, found by trace id.
///
/// A ring of 32-byte verdicts, doubled when full, and an index of two 8-byte buckets for each of its places:
/// 48 to 96 bytes a trace. Verdicts come in the order of stream time, so the oldest is always at the head.
struct VerdictCache: ~Copyable {
  private var ring: [PastVerdict]
  private var head = 0
  private(set) var count = 0
  /// The number of the oldest verdict: they are numbered as they come.
  private(set) var firstNumber = 0
  private var index: HashIndex
  private let seed: HashSeed
  /// Keeps account of what all caches of a lane take.
  private let memory: SpanMemory

  init(seed: HashSeed, memory: SpanMemory) {
    ring = Array(repeating: .vacant, count: 16)
    index = HashIndex()
    self.seed = seed
    self.memory = memory
    memory.verdictBytes += byteCount
  }

  deinit {
    memory.verdictBytes -= byteCount
  }

  /// Whether one verdict more takes no more memory than there is for verdicts.
  var hasRoom: Bool {
    count < ring.count || memory.verdictBytes + byteCount <= memory.verdictBytesMax
  }

  /// Bytes of memory in use.
  var byteCount: Int { ring.count * MemoryLayout<PastVerdict>.stride + index.byteCount }

  /// When the oldest verdict was given; nil if there is none.
  var oldest: Instant? { count == 0 ? nil : ring[head].decidedAt }

  /// Where the trace's verdict is, or nil.
  func find(_ traceID: TraceID) -> Int? {
    index.find(hash(traceID)) { ring[$0].traceID == traceID }
  }

  /// The verdict in `slot`, a result of `find`.
  subscript(slot: Int) -> PastVerdict {
    get { ring[slot] }
    set { ring[slot] = newValue }
  }

  /// Adds a verdict that is no older than those here, about a trace that is not here.
  mutating func append(_ verdict: PastVerdict) {
    if count == ring.count { grow() }
    let slot = (head + count) & (ring.count - 1)
    ring[slot] = verdict
    index.insert(hash(verdict.traceID), slot: slot)
    count += 1
  }

  /// The number of the verdict in `slot`, a result of `find`.
  func number(of slot: Int) -> Int { firstNumber + (slot - head) & (ring.count - 1) }

  /// The number of the verdict that was added last.
  var newestNumber: Int { firstNumber + count - 1 }

  /// Makes no verdict later than `time`. Cutting all of them keeps their order.
  mutating func turnBack(to time: Instant) {
    for place in 0..<count {
      let slot = (head + place) & (ring.count - 1)
      ring[slot].decidedAt = min(ring[slot].decidedAt, time)
    }
  }

  /// Forgets the oldest verdict.
  mutating func removeOldest() {
    guard count > 0 else { return }
    index.remove(hash(ring[head].traceID), slot: head)
    head = (head + 1) & (ring.count - 1)
    count -= 1
    firstNumber += 1
  }

  private func hash(_ traceID: TraceID) -> UInt32 {
    seed.hash(high: traceID.high, low: traceID.low)
  }

  /// Doubles the ring. Slots move, so the index is made anew: once per doubling.
  private mutating func grow() {
    var larger: [PastVerdict] = Array(repeating: .vacant, count: ring.count * 2)
    var moved = HashIndex(capacity: ring.count * 2)
    for place in 0..<count {
      let verdict = ring[(head + place) & (ring.count - 1)]
      larger[place] = verdict
      moved.insert(hash(verdict.traceID), slot: place)
    }
    memory.verdictBytes -= byteCount
    ring = larger
    index = moved
    head = 0
    memory.verdictBytes += byteCount
  }
}
