// One index for open traces and past verdicts: a single lookup tells what is known of a trace.

import OTLP

/// Where each open trace and each past verdict is, by trace id. An id has one place at the most.
///
/// A trace that is decided keeps its bucket, which then leads to its verdict.
struct TraceIndex {
  /// Where a trace is.
  enum Place: Equatable {
    /// Open, in this slot of the `TraceTable`.
    case open(Int)
    /// Decided, with its verdict in this slot of the `VerdictCache`.
    case past(Int)

    /// The place as a slot of the hash index: the lowest bit tells past from open.
    @inline(__always)
    fileprivate var number: Int {
      switch self {
      case .open(let slot): slot << 1
      case .past(let slot): slot << 1 | 1
      }
    }

    @inline(__always)
    fileprivate init(number: Int) {
      self = number & 1 == 0 ? .open(number >> 1) : .past(number >> 1)
    }
  }

  private var places = HashIndex()
  private let seed: HashSeed

  init(seed: HashSeed) {
    self.seed = seed
  }

  /// How many traces are in it.
  var count: Int { places.count }

  /// Bytes of memory in use.
  var byteCount: Int { places.byteCount }

  @inline(__always)
  func hash(_ id: TraceID) -> UInt32 {
    seed.hash(high: id.high, low: id.low)
  }

  /// The place under `hash` that `isMatch` accepts, or nil.
  @inline(__always)
  func find(_ hash: UInt32, where isMatch: (Place) -> Bool) -> Place? {
    places.find(hash) { isMatch(Place(number: $0)) }.map { Place(number: $0) }
  }

  /// Whether `place` is entered under `hash`.
  func find(_ hash: UInt32, _ place: Place) -> Bool {
    find(hash) { $0 == place } != nil
  }

  /// Enters a trace that is not in the index.
  mutating func insert(_ hash: UInt32, _ place: Place) {
    places.insert(hash, slot: place.number)
  }

  /// Notes that a trace has moved.
  mutating func move(_ hash: UInt32, from old: Place, to new: Place) {
    places.replace(hash, slot: old.number, by: new.number)
  }

  /// Removes a trace.
  mutating func remove(_ hash: UInt32, _ place: Place) {
    places.remove(hash, slot: place.number)
  }

  /// Notes that all verdicts have moved to the slots that `slot` returns.
  mutating func movePast(to slot: (Int) -> Int) {
    places.renumber { number in
      switch Place(number: number) {
      case .open: number
      case .past(let old): Place.past(slot(old)).number
      }
    }
  }

  /// Releases room beyond that for `capacity` traces.
  mutating func trim(capacity: Int) {
    places.trim(capacity: capacity)
  }
}
