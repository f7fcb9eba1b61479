// What is known of an undecided trace: accumulators, no spans.

import OTLP
import SpanStorage

/// Which span ids were seen, or named as parents: 192 bits, two set for each id.
struct IdentifierFilter {
  private var words: [3 of UInt64] = [0, 0, 0]

  /// Adds an id. The two bits come from the id itself, whose bytes are random. Returns whether both were
  /// already set; if not, the id was never added.
  @inline(__always)
  @discardableResult
  mutating func insert(_ identifier: UInt64) -> Bool {
    let mixed = identifier &* 0x9e37_79b9_7f4a_7c15
    // The upper half of a product with 192 is a number below 192, as evenly spread as a remainder and
    // cheaper.
    let wasFirstSet = set(Int(((mixed >> 32) &* 192) >> 32))
    let wasSecondSet = set(Int(((mixed & 0xffff_ffff) &* 192) >> 32))
    return wasFirstSet && wasSecondSet
  }

  @inline(__always)
  private mutating func set(_ bit: Int) -> Bool {
    let mask: UInt64 = 1 &<< UInt64(bit & 63)
    let wasSet = words[bit &>> 6] & mask != 0
    words[bit &>> 6] |= mask
    return wasSet
  }

  /// Whether every bit set here is set in `other`.
  @inline(__always)
  func isCovered(by other: IdentifierFilter) -> Bool {
    (words[0] & ~other.words[0]) | (words[1] & ~other.words[1]) | (words[2] & ~other.words[2]) == 0
  }
}

/// What policies may evaluate of a trace: see the fields of the same names in `OpenTrace`.
struct TraceFacts: BitwiseCopyable {
  var id: TraceID
  var randomness: UInt64
  var predicateMatches: UInt64
  var byteCount: UInt64
  var rootDuration: Int64
  var earliestStart: UInt64
  var latestEnd: UInt64
  var spanCount: UInt32
  var statuses: UInt8
  var hasRoot: Bool

  /// From the earliest start to the latest end, in nanoseconds.
  var envelope: Int64 {
    guard latestEnd > earliestStart else { return 0 }
    return Int64(clamping: latestEnd - earliestStart)
  }
}

/// What a share's spans say, folded while they are read and added to their trace at once: its slot is not
/// visited for each span.
struct ShareFacts {
  var spanCount: UInt32 = 0
  var errorCount: UInt32 = 0
  var statuses: UInt8 = 0
  var isAsynchronous = false
  var hasRoots = false
  /// Whether a span has a tracestate.
  var hasTraceStates = false
  var earliestStart = UInt64.max
  var latestEnd: UInt64 = 0
  /// The longest of the roots, in nanoseconds.
  var rootDuration: Int64 = 0

  /// Adds one span.
  @inline(__always)
  mutating func add(_ span: SpanView) {
    // A record has fewer spans than bytes.
    spanCount &+= 1
    statuses |= 1 &<< span.status.rawValue
    if span.status == .error { errorCount &+= 1 }
    earliestStart = min(earliestStart, span.start)
    latestEnd = max(latestEnd, span.end)
    if span.isAsynchronous { isAsynchronous = true }
    if span.traceState.count > 0 { hasTraceStates = true }
    guard span.isRoot else { return }
    hasRoots = true
    rootDuration = max(rootDuration, Int64(clamping: span.duration))
  }
}

/// One open trace. It lives in a slot of the table and is never copied: a copy takes longer than most of what
/// is done with it.
struct OpenTrace: ~Copyable {
  // First what every record reads and changes, in the first three cache lines; then what opening, a root
  // and closing need.

  /// What is settled while the window is open.
  enum State: UInt8 {
    /// No verdict: spans are buffered.
    case undecided
    /// Kept: the early record and the spans so far have been forwarded, later spans are as they arrive.
    case kept
    /// Kept, and over a limit: of later spans only errors and roots are forwarded, the rest are counted.
    case skeleton
  }

  let id: TraceID
  /// Ids of spans that arrived.
  var seen = IdentifierFilter()
  /// Ids that spans named as their parents.
  var named = IdentifierFilter()

  /// The buffered spans, while the trace is undecided.
  var spans = BufferedSpans()
  var byteCount: UInt64 = 0
  /// Bit *i* is set if span predicate *i* matched a span; see `SpanPredicates`.
  var predicateMatches: UInt64 = 0
  /// The spans that arrived, so that none counts twice.
  var known = KnownSpans()
  var lastOffset: Offset

  var earliestStart = UInt64.max
  var latestEnd: UInt64 = 0
  // A trace may never end, for example if its id is a constant in some program. Its counts then stay at the
  // largest number; the sampler's 64-bit counters continue.
  var spanCount: UInt32 = 0
  var errorCount: UInt32 = 0
  var state = State.undecided
  /// Bit *s* is set if a span with status *s* arrived.
  var statuses: UInt8 = 0
  var hasRoot = false
  /// Whether the wait after the root is over: only a missing parent or `waitsOn` keeps the window open.
  var isRootWaitOver = false
  /// Whether a span arrived that shows asynchronous work.
  var isAsynchronous = false
  /// Whether it waits the whole wait although its root has arrived and no parent is missing.
  var waitsOn = false
  private var marks: UInt8 = 0
  var services = ServiceList()
  /// How many error spans are noted for the error origin.
  var notedErrors: UInt16 = 0
  /// The latest of them.
  var errors: Int32 = -1
  /// Where its rare facts are; negative if it has none.
  var rare: Int32 = -1

  /// Its places in the queues.
  var links = QueueLinks()
  /// The stream clock when the first span was read, corrected if that clock proves wrong.
  var openedAt: Instant
  /// The stream clock when the first root span was read; meaningful only if `hasRoot`.
  var rootArrivedAt = Instant.distantPast
  let firstOffset: Offset
  /// Start of the root span that starts first.
  var rootStart = UInt64.max
  /// The longest of the root spans, in nanoseconds.
  var rootDuration: Int64 = 0
  var rootService = NameID.none
  var rootOperation = NameID.none

  @inline(__always)
  init(id: TraceID, firstOffset: Offset, openedAt: Instant) {
    self.id = id
    self.firstOffset = firstOffset
    lastOffset = firstOffset
    self.openedAt = openedAt
  }

  /// Whether an earlier owner of the partition kept it early: what is read again of it was already forwarded.
  var isRestored: Bool {
    get { marks & 1 != 0 }
    set { mark(1, newValue) }
  }

  /// Whether the randomness came from an `rv`, not from the id.
  var isRandomnessGiven: Bool {
    get { marks & 2 != 0 }
    set { mark(2, newValue) }
  }

  /// Whether it waits for the verdict that it may have got long ago,
  var awaitsVerdict: Bool {
    get { marks & 4 != 0 }
    set { mark(4, newValue) }
  }

  /// and whether it does or did.
  var isLookedUp: Bool {
    get { marks & 8 != 0 }
    set { mark(8, newValue) }
  }

  /// Whether links keep it.
  var isLinked: Bool {
    get { marks & 16 != 0 }
    set { mark(16, newValue) }
  }

  /// Whether it is kept because the fleet had kept none of its shape.
  var isFirstOfShape: Bool {
    get { marks & 64 != 0 }
    set { mark(64, newValue) }
  }

  /// Whether it has been made known as kept for its own sake, for links that lead to it.
  var isTold: Bool {
    get { marks & 32 != 0 }
    set { mark(32, newValue) }
  }

  private mutating func mark(_ bit: UInt8, _ isSet: Bool) {
    marks = isSet ? marks | bit : marks & ~bit
  }

  /// Whether every parent that a span named has arrived, according to the filters: they may answer yes too
  /// early, never too late.
  @inline(__always)
  var isComplete: Bool { named.isCovered(by: seen) }

  /// What policies may evaluate of it; the randomness is that of its id.
  @inline(__always)
  var facts: TraceFacts {
    TraceFacts(
      id: id, randomness: id.randomness, predicateMatches: predicateMatches, byteCount: byteCount,
      rootDuration: rootDuration, earliestStart: earliestStart, latestEnd: latestEnd, spanCount: spanCount,
      statuses: statuses, hasRoot: hasRoot)
  }

  /// Folds one span into the facts of its share; its id is already in `seen`.
  @inline(__always)
  mutating func fold(_ span: SpanView, into share: inout ShareFacts) {
    share.add(span)
    if !span.isRoot { named.insert(span.parentID) }
  }

  /// Adds a share to the accumulators.
  @inline(__always)
  mutating func accumulate(_ share: ShareFacts) {
    spanCount.count(share.spanCount)
    errorCount.count(share.errorCount)
    statuses |= share.statuses
    earliestStart = min(earliestStart, share.earliestStart)
    latestEnd = max(latestEnd, share.latestEnd)
    rootDuration = max(rootDuration, share.rootDuration)
    if share.isAsynchronous { isAsynchronous = true }
  }

  /// Adds the share of the record at `offset`, a piece of `byteCount` bytes. Returns whether policies may now
  /// find the trace certain to be kept that have these `edges` and have been asked since `askedSince`.
  @inline(__always)
  mutating func add(
    _ share: ShareFacts, byteCount: Int, at offset: Offset, _ edges: AnswerEdges, askedSince: Offset
  ) -> Bool {
    let isNews = lastOffset < askedSince || edges.arePassed(by: share, after: statuses)
    lastOffset = offset
    self.byteCount += UInt64(byteCount)
    accumulate(share)
    return isNews
  }

  /// Whether it is too large to be kept whole.
  @inline(__always)
  func exceeds(spans: Int, bytes: Int) -> Bool {
    spanCount > spans || byteCount > bytes
  }

  /// Adds one span to the accumulators.
  mutating func accumulate(_ span: SpanView) {
    var share = ShareFacts()
    fold(span, into: &share)
    accumulate(share)
  }
}

/// What only some traces have: those sampled before they arrived, those kept, and those cut.
struct RareFacts: BitwiseCopyable {
  /// The 56 random bits, if they were given.
  var randomness: UInt64 = 0
  /// The threshold that head sampling left in the root span (the greatest, if there are several); until a
  /// root arrives, the greatest of all spans. So it does not depend on the order in which spans arrive.
  var incomingThreshold = SamplingThreshold.always
  /// The threshold of the verdict; meaningful once kept.
  var threshold = SamplingThreshold.never
  var truncatedCount: UInt32 = 0
  /// Kept spans that are too large for their topic.
  var tooLargeCount: UInt32 = 0
  /// Errors and roots forwarded although the trace is over a limit.
  var skeletonCount: UInt32 = 0
  /// Whether a span has arrived twice; noted if the trace is log-backed.
  var hasRedelivered = false
}

extension UInt32 {
  /// Adds `more`, saturating.
  @inline(__always)
  mutating func count(_ more: UInt32 = 1) {
    let (sum, overflow) = addingReportingOverflow(more)
    self = overflow ? .max : sum
  }
}
