// The spans of decided traces, to recognise those that are redelivered late.

import Invariants

/// What is known of the spans of past traces, in the order of their verdicts: as many of the latest as fit a
/// number of bytes.
struct PastSpans {
  private struct Entry {
    /// The number of the verdict in the cache.
    var verdict: Int
    var known: KnownSpans
  }

  private var ring = Array(repeating: PastSpans.vacant, count: PastSpans.placesMin)
  private var head = 0
  private(set) var count = 0
  /// The largest `count` since the last `trim`.
  private var countMax = 0

  private static let placesMin = 16
  /// Fills places without a trace.
  private static let vacant = Entry(verdict: 0, known: KnownSpans())
  /// Bytes taken by the notes on their spans.
  private(set) var noteBytes = 0

  /// Bytes of memory in use, without the notes.
  var byteCount: Int { ring.capacity * MemoryLayout<Entry>.stride }

  /// What is known of the oldest trace; there must be one.
  var oldest: KnownSpans { ring[head].known }

  /// What is known of each trace.
  var all: [KnownSpans] { (0..<count).map { ring[slot($0)].known } }

  /// Whether the oldest trace is to be forgotten: if its verdict is older than the one with this number, or
  /// if all traces and the notes on their spans take more than `bytesMax`.
  @inline(__always)
  func isOver(_ bytesMax: Int, since verdict: Int) -> Bool {
    count > 0
      && (ring[head].verdict < verdict || noteBytes + count * MemoryLayout<Entry>.stride > bytesMax)
  }

  /// The place of the trace with this verdict, or nil.
  func find(_ verdict: Int) -> Int? {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      let found = ring[slot(middle)].verdict
      if found == verdict { return middle }
      if found < verdict { low = middle + 1 } else { high = middle }
    }
    return nil
  }

  /// What is known of the trace at `place`, a result of `find`.
  subscript(place: Int) -> KnownSpans { ring[slot(place)].known }

  /// Replaces what is known of the trace at `place`, which takes `growth` bytes more.
  mutating func update(_ place: Int, _ known: KnownSpans, growth: Int) {
    ring[slot(place)].known = known
    noteBytes += growth
  }

  /// Adds a trace whose verdict is newer than all others here.
  mutating func append(_ known: KnownSpans, verdict: Int, noteBytes: Int) {
    if count == ring.count { rebuild(2 * count) }
    ring[slot(count)] = Entry(verdict: verdict, known: known)
    count += 1
    countMax = max(countMax, count)
    self.noteBytes += noteBytes
  }

  /// Removes the oldest trace; there must be one. The notes on its spans take `noteBytes`.
  mutating func removeOldest(noteBytes: Int) {
    invariant(count > 0, "the spans of no past trace are known")
    head = slot(1)
    count -= 1
    self.noteBytes -= noteBytes
  }

  private func slot(_ place: Int) -> Int { (head + place) & (ring.count - 1) }

  /// Releases memory not needed since the last call.
  mutating func trim() {
    let places = RingSize.trimmed(ring.count, needed: countMax, least: PastSpans.placesMin)
    if places < ring.count { rebuild(places) }
    countMax = count
  }

  private mutating func rebuild(_ places: Int) {
    invariant(count <= places, "\(count) traces in \(places) places")
    var moved = Array(repeating: PastSpans.vacant, count: places)
    for place in 0..<count { moved[place] = ring[slot(place)] }
    ring = moved
    head = 0
  }
}

/// The sizes of rings that double when full.
enum RingSize {
  /// How many places a ring keeps if at most `needed` were taken: it is halved while three quarters are free,
  /// so that a little growth does not double it again at once.
  static func trimmed(_ places: Int, needed: Int, least: Int) -> Int {
    var places = places
    while places > least, needed <= places / 4 { places /= 2 }
    return places
  }
}
