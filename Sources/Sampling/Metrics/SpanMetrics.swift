// Calls and durations of all spans of a partition, by service, span name, kind and status.
//
// Everything is forgotten once it is written: points are deltas. So what is written depends on the records
// since the last time only, and nothing has to be kept for names that do not come again.

import Invariants
import OTLP

/// The counts of one partition since they were last written.
///
/// Counting a span of a known series allocates nothing.
struct SpanMetrics {
  /// A span of a kept trace, to be found from a histogram.
  struct Exemplar {
    var traceID: TraceID
    var spanID: UInt64
    /// Nanoseconds.
    var duration: UInt64
    /// When it ended, in nanoseconds since 1970.
    var end: UInt64
  }

  /// One series: spans of the same service, name, kind and status.
  struct Series {
    /// Service, kind and status: see `key`.
    let key: UInt64
    /// Where the name is among the bytes of all names.
    fileprivate let nameOffset: Int
    fileprivate let nameCount: Int
    /// The buckets of durations above zero.
    fileprivate(set) var buckets = BucketRange()
    /// Spans.
    fileprivate(set) var count: UInt64 = 0
    /// Those of them that lasted no time.
    fileprivate(set) var zeroCount: UInt64 = 0
    /// The sum of all durations, the shortest and the longest, in nanoseconds. 2^64 durations fit the sum.
    fileprivate(set) var sum: UInt128 = 0
    fileprivate(set) var least = UInt64.max
    fileprivate(set) var most: UInt64 = 0
    /// A span that is kept, if one was offered.
    fileprivate(set) var exemplar: Exemplar?

    /// The number of the service's name.
    var service: NameID { NameID(slot: UInt32(truncatingIfNeeded: key >> 16)) }
    /// The kind, as OTLP numbers it.
    var kind: Int { Int(truncatingIfNeeded: key >> 8 & 0xff) }
    /// The status, as OTLP numbers it.
    var status: Int { Int(truncatingIfNeeded: key & 0xff) }
    /// Whether it has all spans beyond the limit of series.
    var isOverflow: Bool { key == SpanMetrics.overflowKey }

    @inline(__always)
    fileprivate mutating func add(
      _ duration: UInt64, _ rule: borrowing Rule, to counts: inout MutableSpan<UInt32>, at base: Int
    ) {
      count &+= 1
      sum &+= UInt128(duration)
      least = min(least, duration)
      most = max(most, duration)
      guard duration > 0 else { return zeroCount &+= 1 }
      buckets.add(rule.table.bucket(of: Double(duration) / rule.unit), to: &counts, at: base)
    }
  }

  /// What tells series and buckets apart.
  fileprivate struct Rule {
    let table = BucketTable.shared
    let seed: HashSeed
    /// Nanoseconds.
    let unit: Double
    let nameBytesMax: Int
    /// Names of eight bytes up to this many are two words, which may overlap.
    let twoWordsMax: Int

    init(_ configuration: SpanMetricsConfiguration, seed: HashSeed, nameBytesMax: Int) {
      self.seed = seed
      unit = configuration.unit.nanoseconds
      self.nameBytesMax = nameBytesMax
      twoWordsMax = min(16, nameBytesMax)
    }

    /// Identifies a series: two of them have the same digest once in 2^64 times.
    ///
    /// Source: one step of wyhash, as in `HashSeed`.
    @inline(__always)
    func digest(_ name: ByteRange, _ key: UInt64, in bytes: RawSpan) -> UInt64 {
      let (offset, count) = (Int(name.offset), Int(name.count))
      guard count >= 8, count <= twoWordsMax else { return longDigest(name, key, in: bytes) }
      let last = bytes.word(at: offset &+ count &- 8)
      return digest(bytes.word(at: offset), last, key, count)
    }

    @inline(never)
    private func longDigest(_ name: ByteRange, _ key: UInt64, in bytes: RawSpan) -> UInt64 {
      let name = bytes.extracting(name.indices).extracting(first: nameBytesMax)
      return digest(seed.digest(name), 0, key, name.byteCount)
    }

    /// Neither the key nor the count is large: they have different bits, and the product all of them.
    @inline(__always)
    private func digest(_ first: UInt64, _ last: UInt64, _ key: UInt64, _ count: Int) -> UInt64 {
      let facts = (key ^ UInt64(truncatingIfNeeded: count) << 48) &* 0x9e37_79b9_7f4a_7c15
      return seed.fold(first ^ seed.value ^ 0xa076_1d64_78bd_642f, last ^ facts)
    }

    /// Counts spans of one resource whose series are known: `countKnown`. The tables' storage is looked up
    /// once.
    @inline(__always)
    func count(
      _ spans: Span<SpanView>, from start: Int, of service: NameID, in bytes: RawSpan,
      _ digests: borrowing [UInt64], _ index: borrowing HashIndex, _ series: inout [Series],
      _ counts: inout [UInt32]
    ) -> Int {
      let resource = spans[start].resource
      var place = start
      var series = series.mutableSpan
      var counts = counts.mutableSpan
      while place < spans.count, spans[place].resource == resource {
        let key = SpanMetrics.key(service, spans[place].kind, spans[place].status)
        let digest = digest(spans[place].name, key, in: bytes)
        guard let slot = index.find(SpanMetrics.hash(digest), where: { digests[$0] == digest }) else { break }
        series[slot].add(spans[place].duration, self, to: &counts, at: slot &* BucketRange.countMax)
        place &+= 1
      }
      return place
    }

    /// Counts a span of the series in `slot`.
    func count(_ duration: UInt64, in series: inout [Series], _ counts: inout [UInt32], _ slot: Int) {
      var counts = counts.mutableSpan
      series[slot].add(duration, self, to: &counts, at: slot * BucketRange.countMax)
    }
  }

  /// Whether spans are counted at all.
  let isUsed: Bool
  /// Spans in records from this one on are counted, or will be; nil before the first record.
  var next: Offset?
  /// The stream clock when counting began after the last points were written.
  var since = Instant.distantPast
  let configuration: SpanMetricsConfiguration

  /// Room for kept spans that are read again; nil while there were none.
  var reader: ScannedRecord?
  /// In the order in which they came.
  private(set) var series: [Series] = []
  /// What identifies each series.
  private var digests: [UInt64] = []
  /// For each series 160, and zeros.
  private var bucketCounts: [UInt32] = []
  private var names: [UInt8] = []
  private var index = HashIndex()
  private var overflow: Int?
  /// All spans counted.
  private(set) var spanCount = 0
  /// How many pieces of kept traces are passed over after one that gave no exemplar, and how many still are.
  private var pause = 0
  private var passedOver = 0
  private let rule: Rule

  private static let overflowKey = UInt64.max

  /// After so many spans points are written, even if the stream clock stands still: a count of 32 bits does
  /// not overflow, as a record has fewer than 2^31 spans, and little has to be read again.
  static let spansMax = 50_000_000

  /// The longest pause between two pieces of kept traces that are read again for exemplars.
  private static let pauseMax = 63

  init(_ configuration: SpanMetricsConfiguration?, seed: HashSeed, nameBytesMax: Int) {
    isUsed = configuration != nil
    self.configuration = configuration ?? SpanMetricsConfiguration()
    rule = Rule(self.configuration, seed: seed, nameBytesMax: nameBytesMax)
  }

  /// Whether nothing has been counted since points were last written.
  var isEmpty: Bool { spanCount == 0 }

  /// Bytes of memory in use.
  var byteCount: Int {
    guard isUsed else { return 0 }
    return series.capacity * MemoryLayout<Series>.stride + digests.capacity * 8 + bucketCounts.capacity * 4
      + names.capacity + index.byteCount + (reader?.byteCount ?? 0)
  }

  // MARK: Counting

  /// Counts the spans of one resource from the one at `start` on, up to one of a series that is not known
  /// yet. Returns the place of the first that is not counted.
  @inline(__always)
  mutating func countKnown(
    _ spans: Span<SpanView>, from start: Int, of service: NameID, in bytes: RawSpan
  ) -> Int {
    let place = rule.count(spans, from: start, of: service, in: bytes, digests, index, &series, &bucketCounts)
    spanCount &+= place &- start
    return place
  }

  /// Counts a span of a series that is not known. Returns false if its series is beyond the limit: then it
  /// counts as one of many.
  ///
  /// - Parameter mayAdd: whether there is memory for another series.
  @inline(never)
  mutating func countNew(_ span: SpanView, of service: NameID, in bytes: RawSpan, mayAdd: Bool) -> Bool {
    let key = SpanMetrics.key(service, span.kind, span.status)
    let slot = add(span.name, key, in: bytes, mayAdd: mayAdd)
    rule.count(span.duration, in: &series, &bucketCounts, slot)
    spanCount &+= 1
    return slot != overflow
  }

  /// The lower 16 bits have kind and status; what OTLP does not know counts as not given.
  @inline(__always)
  fileprivate static func key(_ service: NameID, _ kind: UInt8, _ status: SpanStatus) -> UInt64 {
    let facts = UInt64(kind <= 5 ? kind : 0) << 8 | UInt64(status == .other ? 0 : status.rawValue)
    return UInt64(service.slot) << 16 | facts
  }

  @inline(__always)
  fileprivate static func hash(_ digest: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: digest >> 32) }

  private mutating func add(_ name: ByteRange, _ key: UInt64, in bytes: RawSpan, mayAdd: Bool) -> Int {
    let own = series.count - (overflow == nil ? 0 : 1)
    guard own < configuration.seriesMax, mayAdd else {
      if let overflow { return overflow }
      // No span has its digest, as it is not in the index.
      overflow = append(Series(key: SpanMetrics.overflowKey, nameOffset: 0, nameCount: 0), digest: 0)
      return series.count - 1
    }
    let digest = rule.digest(name, key, in: bytes)
    let name = bytes.extracting(name.indices).extracting(first: rule.nameBytesMax)
    let slot = append(Series(key: key, nameOffset: names.count, nameCount: name.byteCount), digest: digest)
    names += name.copied()
    index.insert(SpanMetrics.hash(digest), slot: slot)
    return slot
  }

  private mutating func append(_ one: Series, digest: UInt64) -> Int {
    series.append(one)
    digests.append(digest)
    let missing = series.count * BucketRange.countMax - bucketCounts.count
    if missing > 0 { bucketCounts.append(contentsOf: repeatElement(0, count: missing)) }
    return series.count - 1
  }

  // MARK: Exemplars

  /// Whether the next piece of a kept trace is to be read again for exemplars. While they yield nothing new,
  /// fewer and fewer are: soon after the beginning of an interval most series have theirs.
  mutating func wantsExemplars() -> Bool {
    guard passedOver > 0 else { return true }
    passedOver -= 1
    return false
  }

  /// A piece of a kept trace has been read.
  mutating func exemplarsOffered(any: Bool) {
    pause = any ? 0 : min(2 * pause + 1, SpanMetrics.pauseMax)
    passedOver = pause
  }

  /// Offers a span of a kept trace: the first of each series is its exemplar. Returns whether it is.
  mutating func offer(_ span: SpanView, of service: NameID, in bytes: RawSpan) -> Bool {
    let key = SpanMetrics.key(service, span.kind, span.status)
    let digest = rule.digest(span.name, key, in: bytes)
    guard let slot = index.find(SpanMetrics.hash(digest), where: { digests[$0] == digest }),
      series[slot].exemplar == nil
    else { return false }
    series[slot].exemplar = Exemplar(
      traceID: span.traceID, spanID: span.spanID, duration: span.duration, end: span.end)
    return true
  }

  // MARK: Reading

  /// The name of a series' spans, as it is written.
  func name(of slot: Int) -> String {
    let start = series[slot].nameOffset
    return SpanMetrics.text(names[start..<start + series[slot].nameCount])
  }

  /// Calls `body` with the count of each bucket of a series, from the first to the last.
  func forEachBucket(of slot: Int, _ body: (UInt32) -> Void) {
    series[slot].buckets.forEach(in: bucketCounts, at: slot * BucketRange.countMax, body)
  }

  /// Forgets everything counted. Room is kept for as much again.
  mutating func removeAll() {
    index = HashIndex(capacity: series.count)
    let isMuch = series.capacity > 4 * max(series.count, 64)
    if isMuch {
      bucketCounts = []
    } else {
      let used = series.count * BucketRange.countMax
      var counts = bucketCounts.mutableSpan
      for place in 0..<used { counts[place] = 0 }
    }
    series.removeAll(keepingCapacity: !isMuch)
    digests.removeAll(keepingCapacity: !isMuch)
    names.removeAll(keepingCapacity: !isMuch)
    overflow = nil
    spanCount = 0
    (pause, passedOver) = (0, 0)
  }

  /// Checks that all parts agree. For tests and simulation.
  func checkInvariants() {
    let total = series.reduce(0) { $0 + $1.count }
    invariant(total == UInt64(spanCount), "\(spanCount) spans are counted, but the series have \(total)")
    for slot in series.indices {
      var counted = series[slot].zeroCount
      forEachBucket(of: slot) { counted += UInt64($0) }
      invariant(counted == series[slot].count, "the buckets of a series do not have all its spans")
    }
  }
}
