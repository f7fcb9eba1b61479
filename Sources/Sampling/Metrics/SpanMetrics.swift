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
      _ duration: UInt64, _ table: borrowing BucketTable, unit: Double, to counts: inout [UInt32],
      at base: Int
    ) {
      count &+= 1
      sum &+= UInt128(duration)
      least = min(least, duration)
      most = max(most, duration)
      guard duration > 0 else { return zeroCount &+= 1 }
      buckets.add(table.bucket(of: Double(duration) / unit), to: &counts, at: base)
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
  /// For each series 160.
  private var bucketCounts: [UInt32] = []
  private var names: [UInt8] = []
  private var index = HashIndex()
  private var overflow: Int?
  /// All spans counted.
  private(set) var spanCount = 0
  private let table = BucketTable.shared
  private let seed: HashSeed
  private let unit: Double
  private let nameBytesMax: Int

  private static let overflowKey = UInt64.max

  /// After so many spans points are written, even if the stream clock stands still: a count of 32 bits does
  /// not overflow, as a record has fewer than 2^31 spans, and little has to be read again.
  static let spansMax = 50_000_000

  init(_ configuration: SpanMetricsConfiguration?, seed: HashSeed, nameBytesMax: Int) {
    isUsed = configuration != nil
    self.configuration = configuration ?? SpanMetricsConfiguration()
    self.seed = seed
    self.nameBytesMax = nameBytesMax
    unit = self.configuration.unit.nanoseconds
  }

  /// Whether nothing has been counted since points were last written.
  var isEmpty: Bool { spanCount == 0 }

  /// Bytes of memory in use.
  var byteCount: Int {
    guard isUsed else { return 0 }
    return series.capacity * MemoryLayout<Series>.stride + bucketCounts.capacity * 4 + names.capacity
      + index.byteCount + (reader?.byteCount ?? 0)
  }

  // MARK: Counting

  /// Counts a span. Returns false if its series is beyond the limit: then it counts as one of many.
  ///
  /// - Parameter mayAdd: whether there is memory for another series.
  @inline(__always)
  mutating func count(
    _ name: RawSpan, of service: NameID, kind: UInt8, _ status: SpanStatus, lasting duration: UInt64,
    mayAdd: Bool
  ) -> Bool {
    let name = name.extracting(first: nameBytesMax)
    let key = SpanMetrics.key(service, kind, status)
    let hash = hash(name, key)
    let slot: Int
    if let known = find(name, key, hash) {
      slot = known
    } else {
      slot = add(name, key, hash, mayAdd: mayAdd)
    }
    spanCount &+= 1
    series[slot].add(
      duration, table, unit: unit, to: &bucketCounts, at: slot &* BucketRange.countMax)
    return slot != overflow
  }

  /// The lower 16 bits have kind and status; what OTLP does not know counts as not given.
  @inline(__always)
  private static func key(_ service: NameID, _ kind: UInt8, _ status: SpanStatus) -> UInt64 {
    let facts = UInt64(kind <= 5 ? kind : 0) << 8 | UInt64(status == .other ? 0 : status.rawValue)
    return UInt64(service.slot) << 16 | facts
  }

  @inline(__always)
  private func hash(_ name: RawSpan, _ key: UInt64) -> UInt32 {
    let digest = (seed.digest(name) ^ key) &* 0x9e37_79b9_7f4a_7c15
    return UInt32(truncatingIfNeeded: digest >> 32)
  }

  @inline(__always)
  private func find(_ name: RawSpan, _ key: UInt64, _ hash: UInt32) -> Int? {
    index.find(hash) { slot in
      guard series[slot].key == key, series[slot].nameCount == name.byteCount else { return false }
      let start = series[slot].nameOffset
      return names.withRawBytes { $0.extracting(start..<start + name.byteCount).isEqual(to: name) }
    }
  }

  @inline(never)
  private mutating func add(_ name: RawSpan, _ key: UInt64, _ hash: UInt32, mayAdd: Bool) -> Int {
    let own = series.count - (overflow == nil ? 0 : 1)
    guard own < configuration.seriesMax, mayAdd else {
      if let overflow { return overflow }
      overflow = append(Series(key: SpanMetrics.overflowKey, nameOffset: 0, nameCount: 0))
      return series.count - 1
    }
    let slot = append(Series(key: key, nameOffset: names.count, nameCount: name.byteCount))
    names += name.copied()
    index.insert(hash, slot: slot)
    return slot
  }

  private mutating func append(_ one: Series) -> Int {
    series.append(one)
    bucketCounts.append(contentsOf: repeatElement(0, count: BucketRange.countMax))
    return series.count - 1
  }

  /// Offers a span of a kept trace: the first of each series is its exemplar.
  mutating func offer(
    _ exemplar: Exemplar, _ name: RawSpan, of service: NameID, kind: UInt8, _ status: SpanStatus
  ) {
    let name = name.extracting(first: nameBytesMax)
    let key = SpanMetrics.key(service, kind, status)
    guard let slot = find(name, key, hash(name, key)), series[slot].exemplar == nil else { return }
    series[slot].exemplar = exemplar
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
    series.removeAll(keepingCapacity: !isMuch)
    bucketCounts.removeAll(keepingCapacity: !isMuch)
    names.removeAll(keepingCapacity: !isMuch)
    overflow = nil
    spanCount = 0
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
