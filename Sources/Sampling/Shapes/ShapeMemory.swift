// Which shapes were seen lately, and which of them have been kept.

/// The shapes and variants that a partition remembers.
///
/// Those that were kept, and those that were only seen, in two generations each: what comes moves to the
/// younger one, and the older one is forgotten after half of the silence, or when the younger one is full. So
/// a flood of new shapes costs the memory of its generations, what keeps coming is never forgotten, and what
/// was only seen forgets nothing that was kept.
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

  /// Those kept,
  private var younger: Set<UInt64> = []
  private var older: Set<UInt64> = []
  /// and others.
  private var seen: Set<UInt64> = []
  private var seenBefore: Set<UInt64> = []
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
  var byteCount: Int {
    (younger.capacity + older.capacity + seen.capacity + seenBefore.capacity) * 9 + fresh.capacity * 8
  }

  /// How many shapes and variants are remembered; those of two generations count twice.
  var count: Int { younger.count + older.count + seen.count + seenBefore.count }

  /// Moves on to `clock`, which may be earlier than before.
  mutating func pass(to clock: Instant) {
    if end == .distantFuture || clock + half < end { end = clock + half }
    guard clock >= end else { return }
    if clock >= end + half { (younger, seen) = ([], []) }
    rotateKept()
    rotateSeen()
    end = clock + half
  }

  private mutating func rotateKept() {
    older = younger
    younger = []
  }

  private mutating func rotateSeen() {
    seenBefore = seen
    seen = []
  }

  /// Notes that a trace of `shape` was decided.
  ///
  /// - Parameter fleet: the shapes that were kept elsewhere.
  mutating func see(_ shape: UInt64, fleet: Set<UInt64>) -> Sighting {
    if younger.contains(shape) { return Sighting(isNew: false, isKept: true) }
    if older.contains(shape) || fleet.contains(shape) {
      addKept(shape)
      return Sighting(isNew: false, isKept: true)
    }
    if seen.contains(shape) { return Sighting(isNew: false, isKept: false) }
    if seen.count >= ShapeMemory.generationMax { rotateSeen() }
    seen.insert(shape)
    return Sighting(isNew: !seenBefore.contains(shape), isKept: false)
  }

  /// Notes that a trace of `shape`, which was just seen, is kept.
  mutating func keep(_ shape: UInt64) {
    guard !younger.contains(shape) else { return }
    addKept(shape)
    if fresh.count < ShapeMemory.generationMax { fresh.append(shape) }
  }

  private mutating func addKept(_ shape: UInt64) {
    if younger.count >= ShapeMemory.generationMax { rotateKept() }
    younger.insert(shape)
  }

  /// Remembers what others kept, as if it was seen before: all of it, or if it is more than a partition
  /// remembers, a part that differs from partition to partition.
  mutating func restore(_ shapes: Set<UInt64>, of partition: PartitionID) {
    let parts = UInt64((shapes.count + ShapeMemory.generationMax - 1) / ShapeMemory.generationMax)
    guard parts > 1 else { return older.formUnion(shapes) }
    let own = UInt64(clamping: partition.value) % parts
    for shape in shapes where shape % parts == own { older.insert(shape) }
  }

  /// Those kept shapes that the record of an interval tells, in ascending order: those kept since the last
  /// record, and some of the others, so that after `turns` records all have been told.
  mutating func tell(turn: Int64, of turns: Int, most: Int) -> [UInt64] {
    let turns = UInt64(max(1, turns))
    let wanted = UInt64(clamping: turn) % turns
    var told = Set(fresh)
    fresh = []
    // The order is the hash table's; the result is sorted.
    for shape in younger where shape % turns == wanted { told.insert(shape) }
    for shape in older where shape % turns == wanted { told.insert(shape) }
    return Array(told.sorted().prefix(most))
  }
}
