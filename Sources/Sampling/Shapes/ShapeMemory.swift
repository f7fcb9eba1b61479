// Which shapes were seen lately, and which of them have been kept.

/// The shapes and variants that a partition remembers.
///
/// Two generations: what is seen moves to the younger one, and the older one is forgotten after half of the
/// silence, or when the younger one is full. So a flood of new shapes costs the memory of two generations,
/// and what keeps coming is never forgotten.
struct ShapeMemory {
  /// What is known of a shape.
  struct Sighting {
    /// Whether it was not seen before, as far as is remembered.
    var isNew: Bool
    /// Whether a trace of it was kept.
    var isKept: Bool
  }

  /// The most shapes of a generation.
  static let generationMax = 8192

  /// By number: whether a trace was kept.
  private var younger: [UInt64: Bool] = [:]
  private var older: [UInt64: Bool] = [:]
  /// Those kept since some were told last.
  private var fresh: [UInt64] = []
  private var end = Instant.distantFuture
  private let silence: Interval

  /// - Parameter silence: what was not seen for this long, or for half as long, is new again.
  init(silence: Interval) {
    self.silence = silence
  }

  private var half: Interval { Interval(nanoseconds: max(1, silence.nanoseconds / 2)) }

  /// Bytes of memory in use.
  var byteCount: Int { (younger.capacity + older.capacity) * 10 + fresh.capacity * 8 }

  /// How many shapes and variants are remembered.
  var count: Int { younger.count + older.keys.count { younger[$0] == nil } }

  /// Whether nothing is remembered.
  var isEmpty: Bool { younger.isEmpty && older.isEmpty }

  /// Moves on to `clock`, which may be earlier than before.
  mutating func pass(to clock: Instant) {
    if end == .distantFuture || clock + half < end { end = clock + half }
    guard clock >= end else { return }
    if clock >= end + half { younger = [:] }
    rotate()
    end = clock + half
  }

  private mutating func rotate() {
    older = younger
    younger = [:]
  }

  /// Notes that a trace of `shape` was decided.
  ///
  /// - Parameter fleet: the shapes that were kept elsewhere.
  mutating func see(_ shape: UInt64, fleet: Set<UInt64>) -> Sighting {
    if let isKept = younger[shape] {
      if isKept || !fleet.contains(shape) { return Sighting(isNew: false, isKept: isKept) }
      younger[shape] = true
      return Sighting(isNew: false, isKept: true)
    }
    let before = older[shape]
    let isKept = before == true || fleet.contains(shape)
    add(shape, isKept: isKept)
    return Sighting(isNew: before == nil && !isKept, isKept: isKept)
  }

  /// Notes that a trace of `shape`, which was just seen, is kept.
  mutating func keep(_ shape: UInt64) {
    if younger.updateValue(true, forKey: shape) != true, fresh.count < ShapeMemory.generationMax {
      fresh.append(shape)
    }
  }

  private mutating func add(_ shape: UInt64, isKept: Bool) {
    if younger.count >= ShapeMemory.generationMax { rotate() }
    younger[shape] = isKept
  }

  /// Remembers what others kept, as if it was seen before.
  mutating func restore(_ shapes: Set<UInt64>) {
    guard shapes.count <= ShapeMemory.generationMax else { return }
    for shape in shapes where older[shape] != true { older[shape] = true }
  }

  /// Those kept shapes that the record of an interval tells, in ascending order: those kept since the last
  /// record, and some of the others, so that after `turns` records all have been told.
  mutating func tell(turn: Int64, of turns: Int, most: Int) -> [UInt64] {
    let turns = UInt64(max(1, turns))
    let wanted = UInt64(clamping: turn) % turns
    var told = Set(fresh)
    fresh = []
    // The order is the hash table's; the result is sorted.
    for (shape, isKept) in younger where isKept && shape % turns == wanted { told.insert(shape) }
    for (shape, isKept) in older where isKept && shape % turns == wanted && younger[shape] == nil {
      told.insert(shape)
    }
    return Array(told.sorted().prefix(most))
  }
}
