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
    /// Identifies it.
    fileprivate let digest: UInt64
    /// How long its spans lasted, and how many there are.
    fileprivate(set) var durations = DurationHistogram()
    /// Service, kind and status: see `key`.
    let key: UInt64
    /// Where the name is among the bytes of all names.
    fileprivate let name: Range<Int>
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
  }

  /// What tells series and buckets apart.
  fileprivate struct Rule {
    let table: BucketTable
    let seed: HashSeed
    /// Nobody who chooses names knows them: with a word equal to one of these, a product would be zero.
    private let secrets: (UInt64, UInt64)
    let nameBytesMax: Int
    /// Names of eight bytes up to 16 are two words, which may overlap, shorter ones part of one: how many
    /// lengths these are.
    let twoWordLengths: Int
    let oneWordLengths: Int

    init(_ configuration: SpanMetricsConfiguration, seed: HashSeed, nameBytesMax: Int) {
      self.seed = seed
      secrets = (
        seed.fold(seed.value ^ 0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db),
        seed.fold(seed.value ^ 0x8ebc_6af0_9c88_c6e3, 0x5899_65cc_7537_4cc3)
      )
      table = BucketTable(unit: configuration.unit.nanoseconds)
      self.nameBytesMax = nameBytesMax
      twoWordLengths = max(0, min(16, nameBytesMax) - 7)
      oneWordLengths = min(7, nameBytesMax)
    }

    /// Identifies a series: two of them have the same digest once in 2^64 times.
    ///
    /// Source: one step of wyhash, as in `HashSeed`.
    @inline(__always)
    func digest(_ name: ByteRange, _ key: UInt64, in bytes: RawSpan) -> UInt64 {
      // Sound: both have 32 bits.
      let (offset, count) = (Int(name.offset), Int(name.count))
      let end = offset &+ count
      // Sound: in each case eight bytes from that place on are in `bytes`. Loads need no alignment, and every
      // bit pattern is a UInt64.
      func word(_ place: Int) -> UInt64 {
        unsafe bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: place, as: UInt64.self)
      }
      if UInt(bitPattern: count &- 8) < UInt(bitPattern: twoWordLengths), end <= bytes.byteCount {
        return digest(word(offset), word(end &- 8), key, count)
      }
      // A shorter one is the end of a word: something always comes before a name.
      if UInt(bitPattern: count &- 1) < UInt(bitPattern: oneWordLengths), end >= 8, end <= bytes.byteCount {
        return digest(word(end &- 8) &>> UInt64(truncatingIfNeeded: (8 &- count) &* 8), 0, key, count)
      }
      return longDigest(name, key, in: bytes)
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
      return seed.fold(first ^ secrets.0, last ^ secrets.1 ^ facts)
    }

    /// Counts spans of one resource whose series are known: `countKnown`. The tables' storage is looked up
    /// once.
    @inline(__always)
    func count(
      _ spans: Span<SpanView>, from start: Int, of service: NameID, in bytes: RawSpan,
      _ index: borrowing SeriesIndex, _ series: inout [Series]
    ) -> Int {
      let resource = spans[start].resource
      var place = start
      var series = series.mutableSpan
      while place < spans.count, spans[place].resource == resource {
        // A kind or a status that OTLP does not know is none of a known series.
        let key = SpanMetrics.key(service, spans[place].kind, spans[place].status)
        let digest = digest(spans[place].name, key, in: bytes)
        guard let slot = index.find(digest, in: series) else { break }
        series[slot].durations.add(spans[place].duration, table)
        place &+= 1
      }
      return place
    }
  }

  /// Finds series by their digests: open addressing with linear probing, no more than half full.
  ///
  /// `HashIndex` has hashes of its own, so that deleting and growing don't touch the table. Here nothing is
  /// deleted, and a digest is in the very line of memory that is changed next.
  fileprivate struct SeriesIndex {
    /// Slots; `free` where there is none.
    private var slots: [UInt32] = Array(repeating: free, count: 64)
    /// Greater than any slot.
    private static let free = UInt32.max

    var byteCount: Int { slots.capacity * 4 }

    /// The slot of the series with this digest, or nil.
    @inline(__always)
    func find(_ digest: UInt64, in series: borrowing MutableSpan<Series>) -> Int? {
      let mask = slots.count &- 1
      var place = Int(truncatingIfNeeded: digest) & mask
      while true {
        let slot = Int(slots[place])
        guard slot < series.count else { return nil }
        if series[slot].digest == digest { return slot }
        place = (place &+ 1) & mask
      }
    }

    /// The same for one series.
    func find(_ digest: UInt64, in series: inout [Series]) -> Int? {
      let series = series.mutableSpan
      return find(digest, in: series)
    }

    /// Adds the last of the series.
    mutating func insertLast(of series: [Series]) {
      if series.count * 2 > slots.count {
        slots = Array(repeating: SeriesIndex.free, count: slots.count * 2)
        for slot in series.indices where !series[slot].isOverflow { place(slot, of: series[slot].digest) }
      } else {
        place(series.count - 1, of: series[series.count - 1].digest)
      }
    }

    private mutating func place(_ slot: Int, of digest: UInt64) {
      var place = Int(truncatingIfNeeded: digest) & (slots.count - 1)
      while slots[place] != SeriesIndex.free { place = (place + 1) & (slots.count - 1) }
      slots[place] = UInt32(slot)
    }

    /// Forgets all. Room is kept for `capacity` series, if that is not much less than there was.
    mutating func removeAll(capacity: Int) {
      if slots.count > 8 * max(64, capacity) {
        self = SeriesIndex()
      } else {
        for place in slots.indices { slots[place] = SeriesIndex.free }
      }
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
  private var names: [UInt8] = []
  private var index = SeriesIndex()
  private var overflow: Int?
  /// All spans counted.
  var spanCount = 0
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
    return series.capacity * MemoryLayout<Series>.stride + names.capacity + index.byteCount
      + (reader?.byteCount ?? 0)
  }

  // MARK: Counting

  /// Counts the spans of one resource from the one at `start` on, up to one of a series that is not known
  /// yet. Returns the place of the first that is not counted.
  @inline(__always)
  mutating func countKnown(
    _ spans: Span<SpanView>, from start: Int, of service: NameID, in bytes: RawSpan
  ) -> Int {
    rule.count(spans, from: start, of: service, in: bytes, index, &series)
  }

  /// Counts a span of a series that is not known, or whose kind or status is not. Returns false if its series
  /// is beyond the limit: then it counts as one of many.
  ///
  /// - Parameter mayAdd: whether there is memory for another series.
  @inline(never)
  mutating func countNew(_ span: SpanView, of service: NameID, in bytes: RawSpan, mayAdd: Bool) -> Bool {
    let slot = find(span, of: service, in: bytes) ?? add(span, of: service, in: bytes, mayAdd: mayAdd)
    let table = rule.table
    series[slot].durations.add(span.duration, table)
    return slot != overflow
  }

  /// The lower 16 bits have kind and status.
  @inline(__always)
  fileprivate static func key(_ service: NameID, _ kind: UInt8, _ status: SpanStatus) -> UInt64 {
    UInt64(service.slot) << 16 | UInt64(kind) << 8 | UInt64(status.rawValue)
  }

  /// The key of a span's series: what OTLP does not know counts as not given.
  private static func key(_ span: SpanView, _ service: NameID) -> UInt64 {
    key(service, span.kind <= 5 ? span.kind : 0, span.status == .other ? .unset : span.status)
  }

  /// The series of a span, if it is known.
  private mutating func find(_ span: SpanView, of service: NameID, in bytes: RawSpan) -> Int? {
    let digest = rule.digest(span.name, SpanMetrics.key(span, service), in: bytes)
    return index.find(digest, in: &series)
  }

  private mutating func add(_ span: SpanView, of service: NameID, in bytes: RawSpan, mayAdd: Bool) -> Int {
    let own = series.count - (overflow == nil ? 0 : 1)
    guard own < configuration.seriesMax, mayAdd else {
      if let overflow { return overflow }
      // No span has its digest, as it is not in the index.
      overflow = series.count
      series.append(Series(digest: 0, key: SpanMetrics.overflowKey, name: 0..<0))
      return series.count - 1
    }
    let key = SpanMetrics.key(span, service)
    let name = bytes.extracting(span.name.indices).extracting(first: rule.nameBytesMax)
    let place = names.count..<names.count + name.byteCount
    series.append(Series(digest: rule.digest(span.name, key, in: bytes), key: key, name: place))
    names += name.copied()
    index.insertLast(of: series)
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
    guard let slot = find(span, of: service, in: bytes), series[slot].exemplar == nil else { return false }
    series[slot].exemplar = Exemplar(
      traceID: span.traceID, spanID: span.spanID, duration: span.duration, end: span.end)
    return true
  }

  // MARK: Reading

  /// Lends the name of a series' spans, as it is written.
  func withName<Result>(of slot: Int, _ body: (RawSpan) -> Result) -> Result {
    names.withRawBytes { SpanMetrics.withText($0.extracting(series[slot].name), body) }
  }

  /// The first bucket in use of a series and the last, at its scale; nil if no span lasted any time.
  func bucketsInUse(of slot: Int) -> ClosedRange<Int32>? { series[slot].durations.bucketsInUse(rule.table) }

  /// Forgets everything counted. Room is kept for as much again.
  mutating func removeAll() {
    index.removeAll(capacity: series.count)
    let isMuch = series.capacity > 4 * max(series.count, 64)
    series.removeAll(keepingCapacity: !isMuch)
    names.removeAll(keepingCapacity: !isMuch)
    overflow = nil
    spanCount = 0
    (pause, passedOver) = (0, 0)
  }

  /// Checks that all parts agree. For tests and simulation.
  func checkInvariants() {
    let total = series.reduce(0) { $0 + $1.durations.count }
    invariant(total == UInt64(spanCount), "\(spanCount) spans are counted, but the series have \(total)")
    for slot in series.indices {
      let durations = series[slot].durations
      let buckets = bucketsInUse(of: slot).map { Array($0) } ?? []
      let counted = buckets.reduce(durations.zeroCount) { $0 + UInt64(durations.count(of: $1)) }
      invariant(counted == durations.count, "the buckets of a series do not have all its spans")
    }
  }
}
