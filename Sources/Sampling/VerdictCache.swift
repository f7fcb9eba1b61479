// Verdicts already given, for late spans. Exact: 128-bit ids, no filter that could confuse two traces.

import Invariants
import OTLP
import SpanStorage

/// What was decided about a trace.
///
/// Of a kept trace the threshold is remembered. A dropped one has none; in its place is what its late spans
/// are judged by.
struct PastVerdict {
  let traceID: TraceID
  fileprivate(set) var decidedAt: Instant
  /// The offsets of the records with its first span and with its last; unknown, if the first is negative.
  /// They are kept for dropped traces, which may be recalled. Of a kept one the second is its randomness.
  fileprivate(set) var firstOffset = Offset(-1)
  var lastOffset = Offset(-1)
  /// The threshold, or what is known of a dropped trace, in the low 57 bits, the flags above them.
  private var packed: UInt64

  /// Fills places without a verdict; the index never leads there.
  static let vacant = PastVerdict(
    traceID: TraceID(high: 0, low: 0), isKept: false, threshold: .never, decidedAt: .distantPast)

  private static let keptBit: UInt64 = 1 << 63
  private static let replacedBit: UInt64 = 1 << 62
  private static let truncatedBit: UInt64 = 1 << 61
  private static let restoredBit: UInt64 = 1 << 60
  private static let thinnedBit: UInt64 = 1 << 59
  private static let dependentBit: UInt64 = 1 << 58

  init(traceID: TraceID, isKept: Bool, threshold: SamplingThreshold, decidedAt: Instant) {
    self.traceID = traceID
    self.decidedAt = decidedAt
    packed = isKept ? threshold.rejected | PastVerdict.keptBit : 0
  }

  /// The verdict on a trace; its state tells whether it is kept.
  ///
  /// - Parameter threshold: what its spans are forwarded with, if it is kept.
  @inline(__always)
  init(on trace: borrowing OpenTrace, _ threshold: SamplingThreshold, isVetoed: Bool, at time: Instant) {
    let isKept = trace.state != .undecided
    self.init(traceID: trace.id, isKept: isKept, threshold: threshold, decidedAt: time)
    isTruncated = trace.state == .skeleton
    isRestored = trace.isRestored
    guard !isKept else { return }
    note(earliestStart: trace.earliestStart, hasRoot: trace.hasRoot, isVetoed: isVetoed)
    note(first: trace.firstOffset, last: trace.lastOffset)
  }

  var isKept: Bool { packed & PastVerdict.keptBit != 0 }

  /// The threshold its spans are forwarded with; `never` if it was dropped.
  var threshold: SamplingThreshold {
    isKept ? SamplingThreshold(rejected: packed & (1 << 57 - 1)) : .never
  }

  /// Whether an earlier owner of the partition gave the verdict, or the early keep before it: what is read
  /// again of the trace was already dealt with.
  var isRestored: Bool {
    get { packed & PastVerdict.restoredBit != 0 }
    set { packed = newValue ? packed | PastVerdict.restoredBit : packed & ~PastVerdict.restoredBit }
  }

  /// Whether the trace went over a limit: its late spans are left out too.
  var isTruncated: Bool {
    get { packed & PastVerdict.truncatedBit != 0 }
    set { packed = newValue ? packed | PastVerdict.truncatedBit : packed & ~PastVerdict.truncatedBit }
  }

  /// Whether head sampling had thinned the trace, as far as that is known.
  var isThinned: Bool {
    get { packed & PastVerdict.thinnedBit != 0 }
    set { packed = newValue ? packed | PastVerdict.thinnedBit : packed & ~PastVerdict.thinnedBit }
  }

  /// Whether it was kept with weight 1, and other traces had a part in that: it was the first of its shape,
  /// or the baseline's rate was one.
  var dependsOnOthers: Bool {
    get { packed & PastVerdict.dependentBit != 0 }
    set { packed = newValue ? packed | PastVerdict.dependentBit : packed & ~PastVerdict.dependentBit }
  }

  /// Whether it was kept for what it is, not by chance: nor by what chance has done to other traces.
  var isCertain: Bool { isKept && threshold == .always && !dependsOnOthers }

  /// The randomness that a kept trace was decided by, if it shares that of another: its spans state it.
  var sharedRandomness: UInt64? {
    get { isKept && lastOffset >= Offset(0) ? UInt64(clamping: lastOffset.value) : nil }
    set {
      invariant(isKept, "a dropped trace's offset is overwritten")
      // It has 56 bits.
      lastOffset = newValue.map { Offset(Int64(clamping: $0)) } ?? Offset(-1)
    }
  }

  /// Whether a later verdict on the same trace replaces this one, which is then not found.
  fileprivate var isReplaced: Bool {
    get { packed & PastVerdict.replacedBit != 0 }
    set { packed = newValue ? packed | PastVerdict.replacedBit : packed & ~PastVerdict.replacedBit }
  }

  // MARK: Of a dropped trace

  // 30 bits for the start, one each for a root and a veto, 25 for the policies that were reported.
  private static let startBits: UInt64 = 1 << 30 - 1
  private static let rootBit: UInt64 = 1 << 30
  private static let vetoBit: UInt64 = 1 << 31
  private static let reportedShift: UInt64 = 32
  /// Policies with a bit of their own. The others share one: only the first of them is reported.
  static let reportedMax = 24

  /// Notes what is known of a dropped trace.
  mutating func note(earliestStart: UInt64, hasRoot: Bool, isVetoed: Bool) {
    invariant(!isKept, "a kept trace's threshold is overwritten")
    self.earliestStart = earliestStart
    if hasRoot { packed |= PastVerdict.rootBit }
    if isVetoed { packed |= PastVerdict.vetoBit }
  }

  /// Notes where the spans of a dropped trace are in the log.
  mutating func note(first: Offset, last: Offset) {
    firstOffset = first
    lastOffset = max(first, last)
  }

  /// Notes that the record at `offset` has late spans of a dropped trace.
  mutating func noteLate(at offset: Offset) {
    if firstOffset >= Offset(0) { lastOffset = max(lastOffset, offset) }
  }

  /// Notes that the root of a dropped trace has arrived.
  mutating func noteRoot() {
    invariant(!isKept, "a kept trace's threshold is overwritten")
    packed |= PastVerdict.rootBit
  }

  /// When its first span started, in nanoseconds since 1970, up to 1.05 ms late; no later than the verdict,
  /// and at most 13 days before it.
  var earliestStart: UInt64 {
    get {
      let ago = (packed & PastVerdict.startBits) << 20
      let verdict = UInt64(clamping: decidedAt.nanoseconds)
      return verdict > ago ? verdict - ago : 0
    }
    set {
      let verdict = UInt64(clamping: decidedAt.nanoseconds)
      let ago = newValue < verdict ? min((verdict - newValue) >> 20, PastVerdict.startBits) : 0
      packed = packed & ~PastVerdict.startBits | ago
    }
  }

  /// Whether a dropped trace's first span is known to have started before the verdict. Otherwise its start is
  /// not known, or wrong.
  var isStartKnown: Bool { !isKept && packed & PastVerdict.startBits != 0 }

  mutating func turnBack(to time: Instant) {
    let start = earliestStart
    decidedAt = min(decidedAt, time)
    if !isKept { earliestStart = start }
  }

  /// Whether its root has arrived.
  var hasRoot: Bool { packed & PastVerdict.rootBit != 0 }

  /// Whether a policy vetoed it.
  var isVetoed: Bool { packed & PastVerdict.vetoBit != 0 }

  /// Those of `policies`, a bit each, not yet reported as keeping it too late.
  func unreported(of policies: UInt64) -> UInt64 {
    let reported = packed >> PastVerdict.reportedShift & (1 << UInt64(PastVerdict.reportedMax + 1) - 1)
    let own: UInt64 = 1 << UInt64(PastVerdict.reportedMax) - 1
    let others = reported & ~own == 0 ? policies & ~own : 0
    return policies & own & ~reported | others
  }

  /// Notes that `policies`, a bit each, were reported as keeping it too late.
  mutating func report(_ policies: UInt64) {
    invariant(!isKept, "a kept trace's threshold is overwritten")
    let own: UInt64 = 1 << UInt64(PastVerdict.reportedMax) - 1
    let bits = policies & own | (policies & ~own == 0 ? 0 : own + 1)
    packed |= bits << PastVerdict.reportedShift
  }

  /// Moves the bits of policies to their new places: policy *i* is at `places[i]`, or gone.
  fileprivate mutating func moveReported(to places: [Int?]) {
    guard !isKept else { return }
    var moved: UInt64 = 0
    for (place, now) in places.prefix(PastVerdict.reportedMax).enumerated() {
      guard unreported(of: 1 << UInt64(place)) == 0, let now else { continue }
      moved |= 1 << UInt64(now)
    }
    packed &= 1 << PastVerdict.reportedShift - 1 | ~(1 << 57 - 1)
    report(moved)
  }
}

/// Facts of a dropped trace's spans, for policies that combine them with those of late spans.
struct RememberedFacts: BitwiseCopyable {
  var predicateMatches: UInt64 = 0
  var rootDuration: Int64 = 0
  var earliestStart = UInt64.max
  var latestEnd: UInt64 = 0
  var spanCount: UInt32 = 0
  var statuses: UInt8 = 0
  /// Whether it covers all the trace's spans. It does not for traces that an earlier owner decided.
  var isWhole = false
}

/// The verdicts of the last `late_window`, oldest first. A `TraceIndex` finds them by trace id.
///
/// A ring of 48-byte verdicts, doubled when full, and two 8-byte buckets of the index for each of its places:
/// 64 to 128 bytes a trace. Verdicts arrive in order of stream time, so the oldest is always at the head. If
/// policies combine facts of early and late spans, each place takes 40 bytes more.
struct VerdictCache: ~Copyable {
  private var ring: [PastVerdict]
  /// The facts of each trace's spans; empty unless policies need them.
  private var facts: [RememberedFacts]
  private var head = 0
  private(set) var count = 0
  /// The number of the oldest verdict; verdicts are numbered as they are added.
  private(set) var firstNumber = 0
  /// How many verdicts are not found, because of a later one on the same trace.
  private var replacedCount = 0
  /// The most verdicts since the last `trim`.
  private var countMax = 0
  /// The places of an empty ring.
  private static let placesMin = 16
  /// Tracks what all caches of a lane take.
  private let memory: SpanMemory

  init(memory: SpanMemory, remembersFacts: Bool = false) {
    let places = VerdictCache.placesMin
    ring = Array(repeating: .vacant, count: places)
    facts = remembersFacts ? Array(repeating: RememberedFacts(), count: places) : []
    self.memory = memory
    memory.verdictBytes += byteCount
  }

  deinit {
    memory.verdictBytes -= byteCount
  }

  /// Whether one more verdict fits the memory for verdicts.
  var hasRoom: Bool {
    count < ring.count || fits(2 * ring.count, remembersFacts: !facts.isEmpty)
  }

  /// How many verdicts can be found.
  var foundCount: Int { count - replacedCount }

  /// Bytes of memory in use, with the part of the index that is there for verdicts.
  var byteCount: Int { VerdictCache.byteCount(ring.count, remembersFacts: !facts.isEmpty) }

  /// The part of the index that is there for verdicts.
  var indexBytes: Int { HashIndex.byteCount(capacity: ring.count) }

  /// The same for a ring with this many places.
  private static func byteCount(_ places: Int, remembersFacts: Bool) -> Int {
    places * MemoryLayout<PastVerdict>.stride + HashIndex.byteCount(capacity: places)
      + (remembersFacts ? places * MemoryLayout<RememberedFacts>.stride : 0)
  }

  /// Whether a ring with this many places fits the memory for it.
  private func fits(_ places: Int, remembersFacts: Bool) -> Bool {
    let others = memory.verdictBytes - byteCount
    return others + VerdictCache.byteCount(places, remembersFacts: remembersFacts) <= memory.verdictBytesMax
  }

  /// When the oldest verdict was given; nil if there is none.
  var oldest: Instant? { count == 0 ? nil : ring[head].decidedAt }

  /// The verdict in `slot`, found in the index.
  subscript(slot: Int) -> PastVerdict {
    @inline(__always) _read { yield ring[slot] }
    @inline(__always) _modify { yield &ring[slot] }
  }

  /// The facts of the spans of the trace in `slot`; nil if no policy needs them.
  func facts(of slot: Int) -> RememberedFacts? { facts.isEmpty ? nil : facts[slot] }

  /// Remembers the facts of the spans of the trace in `slot`, if policies need them.
  mutating func remember(_ remembered: RememberedFacts, of slot: Int) {
    if !facts.isEmpty { facts[slot] = remembered }
  }

  /// Adapts to replaced policies. Nothing is known of what was not evaluated before.
  ///
  /// If there is no room for facts that are needed now, the oldest verdicts are forgotten.
  ///
  /// - Parameters:
  ///   - places: where each policy is now; nil if it is gone.
  ///   - move: where span predicate matches are now.
  /// - Returns: how many verdicts were forgotten.
  mutating func follow(
    _ places: [Int?], _ move: PredicateMove, remembersFacts: Bool, in index: inout TraceIndex
  ) -> Int {
    var forgotten = 0
    if remembersFacts != !facts.isEmpty {
      var size = ring.count
      while remembersFacts, size > VerdictCache.placesMin, !fits(size, remembersFacts: true) { size /= 2 }
      while count > size { if removeOldest(from: &index) { forgotten += 1 } }
      rebuild(size, remembersFacts: remembersFacts, in: &index)
    }
    for place in 0..<count {
      let slot = (head + place) & (ring.count - 1)
      ring[slot].moveReported(to: places)
      guard remembersFacts else { continue }
      // What only shadow policies had asked is not known.
      facts[slot].predicateMatches = move(facts[slot].predicateMatches) & ~move.newDeciding
      if move.hasNewDeciding { facts[slot].isWhole = false }
    }
    return forgotten
  }

  /// Adds a verdict no older than those in the cache, about a trace that is not found in it. Returns where it
  /// is, which the caller enters in the index.
  mutating func append(
    _ verdict: PastVerdict, _ remembered: RememberedFacts = RememberedFacts(), in index: inout TraceIndex
  ) -> Int {
    if count == ring.count { rebuild(2 * count, remembersFacts: !facts.isEmpty, in: &index) }
    let slot = (head + count) & (ring.count - 1)
    ring[slot] = verdict
    remember(remembered, of: slot)
    count += 1
    countMax = max(countMax, count)
    return slot
  }

  /// The number of the verdict in `slot`, found in the index.
  func number(of slot: Int) -> Int { firstNumber + (slot - head) & (ring.count - 1) }

  /// The number of the newest verdict.
  var newestNumber: Int { firstNumber + count - 1 }

  /// Makes no verdict later than `time`. Capping all of them keeps their order.
  mutating func turnBack(to time: Instant) {
    for place in 0..<count {
      let slot = (head + place) & (ring.count - 1)
      ring[slot].turnBack(to: time)
    }
  }

  /// Makes room for a later verdict on the trace in `slot`, found in the index. The earlier one keeps its
  /// place until it is the oldest.
  mutating func replace(_ slot: Int, in index: inout TraceIndex) {
    index.remove(index.hash(ring[slot].traceID), .past(slot))
    ring[slot].isReplaced = true
    replacedCount += 1
  }

  /// Forgets the oldest verdict. Returns whether it could still be found.
  @discardableResult
  mutating func removeOldest(from index: inout TraceIndex) -> Bool {
    guard count > 0 else { return false }
    let isFound = !ring[head].isReplaced
    if isFound {
      index.remove(index.hash(ring[head].traceID), .past(head))
    } else {
      replacedCount -= 1
    }
    head = (head + 1) & (ring.count - 1)
    count -= 1
    firstNumber += 1
    return isFound
  }

  /// Releases memory not needed since the last call.
  mutating func trim(_ index: inout TraceIndex) {
    let places = RingSize.trimmed(ring.count, needed: countMax, least: VerdictCache.placesMin)
    if places < ring.count { rebuild(places, remembersFacts: !facts.isEmpty, in: &index) }
    countMax = count
  }

  /// Moves the verdicts to a ring with this many places, a power of two. Their slots change.
  private mutating func rebuild(_ places: Int, remembersFacts: Bool, in index: inout TraceIndex) {
    invariant(count <= places, "\(count) verdicts in \(places) places")
    var moved: [PastVerdict] = Array(repeating: .vacant, count: places)
    var movedFacts: [RememberedFacts] =
      remembersFacts ? Array(repeating: RememberedFacts(), count: places) : []
    for place in 0..<count {
      let slot = (head + place) & (ring.count - 1)
      moved[place] = ring[slot]
      if remembersFacts, !facts.isEmpty { movedFacts[place] = facts[slot] }
    }
    let (head, mask) = (self.head, ring.count - 1)
    index.movePast { ($0 - head) & mask }
    memory.verdictBytes -= byteCount
    ring = moved
    facts = movedFacts
    self.head = 0
    memory.verdictBytes += byteCount
  }
}
