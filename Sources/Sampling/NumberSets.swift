// Sets of numbers that only grow, many of them and mostly small. They are reused, so none is allocated in
// steady state.

import Invariants
import SpanStorage

/// Numbers that are as good as random, in an open-addressing table: linear probing, at most three quarters
/// full, nothing ever removed.
@safe struct NumberSet<Number: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>: ~Copyable {
  /// Zero is an empty slot; the number zero is stored as one.
  private let slots: UnsafeMutablePointer<Number>
  /// A power of two, or zero.
  let capacity: Int
  private(set) var count = 0

  init(capacity: Int) {
    self.capacity = capacity
    unsafe slots = UnsafeMutablePointer<Number>.allocate(capacity: capacity)
    // Sound: the memory has exactly this size.
    unsafe slots.initialize(repeating: 0, count: capacity)
  }

  deinit {
    // Sound: allocated by `init`, owned by this set only, of a type that needs no deinitialisation.
    unsafe slots.deallocate()
  }

  var byteCount: Int { capacity * MemoryLayout<Number>.stride }

  /// Whether there is no room for another number.
  @inline(__always)
  var isFull: Bool { (count + 1) * 4 > capacity * 3 }

  func contains(_ number: Number) -> Bool {
    guard count > 0 else { return false }
    // Sound: see `slot(of:)`.
    return unsafe slots[slot(of: max(number, 1))] != 0
  }

  /// Adds a number; nil if it is new and there is no room.
  @inline(__always)
  mutating func add(_ number: Number) -> SpanRegister.Entry? {
    guard capacity > 0 else { return nil }
    let slot = slot(of: max(number, 1))
    // Sound: see `slot(of:)`.
    guard unsafe slots[slot] == 0 else { return .known }
    if isFull { return nil }
    unsafe slots[slot] = max(number, 1)
    count += 1
    return .added
  }

  /// Adds numbers, skipping zeros; there must be room for them.
  mutating func add(allOf numbers: [7 of Number]) {
    for place in 0..<7 where numbers[place] != 0 { _ = add(numbers[place]) }
  }

  /// Adds the numbers of `other` that are not in `excluded`. There must be room: `other` is no larger than
  /// this set, which is empty.
  mutating func add(allOf other: borrowing NumberSet, but excluded: borrowing NumberSet) {
    for place in 0..<other.capacity {
      // Sound: the other set has `capacity` slots.
      let number = unsafe other.slots[place]
      if number != 0, !excluded.contains(number) { _ = add(number) }
    }
  }

  mutating func removeAll() {
    // Sound: the set has `capacity` slots.
    unsafe slots.update(repeating: 0, count: capacity)
    count = 0
  }

  /// The number's slot, or the one it would take.
  @inline(__always)
  private func slot(of number: Number) -> Int {
    let mask = capacity - 1
    var slot = Int(truncatingIfNeeded: number) & mask
    // Sound, here and for the result: the masked value is below the capacity, which is not zero where there
    // is a number or room for one. An empty slot ends the loop: a quarter of them are empty.
    while unsafe slots[slot] != 0 && slots[slot] != number { slot = (slot + 1) & mask }
    return slot
  }
}

/// Numbered sets.
struct NumberSets<Number: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>: ~Copyable {
  private var sets = SlotArray<NumberSet<Number>>()
  /// Unused sets, by the logarithm of their size; those without slots first.
  private var free: [[Int32]] = Array(repeating: [], count: NumberSets.sizesKept + 1)
  /// The fewest unused sets of each size since the last `trim`: that many were not needed.
  private var freeMin = Array(repeating: 0, count: NumberSets.sizesKept + 1)
  private var storageBytes = 0

  private let capacityMin: Int
  /// How many sizes are kept for reuse; larger sets are freed.
  private static var sizesKept: Int { 6 }

  /// - Parameter capacityMin: the slots of a new set, a power of two.
  init(capacityMin: Int) {
    self.capacityMin = capacityMin
  }

  /// Bytes of memory in use.
  var byteCount: Int { sets.byteCount + storageBytes }

  /// Bytes of a set.
  func byteCount(of set: Int32) -> Int { set < 0 ? 0 : sets[Int(set)].byteCount }

  /// How many numbers a set has.
  func count(of set: Int32) -> Int { set < 0 ? 0 : sets[Int(set)].count }

  func contains(_ number: Number, in set: Int32) -> Bool { set >= 0 && sets[Int(set)].contains(number) }

  /// Adds a number to a set. If the set has to grow, another replaces it; if `set` is negative, one is made.
  ///
  /// - Parameter mayGrow: whether more memory may be used.
  @inline(__always)
  mutating func insert(_ number: Number, into set: inout Int32, mayGrow: () -> Bool) -> SpanRegister.Entry {
    if set >= 0, let entry = sets[Int(set)].add(number) { return entry }
    guard hasFree(after: set) || mayGrow() else { return .refused }
    grow(&set)
    return sets[Int(set)].add(number) ?? .refused
  }

  /// Whether an unused set is kept that `set` can grow into, which takes no memory.
  @inline(never)
  private func hasFree(after set: Int32) -> Bool {
    let size = size(set < 0 ? capacityMin : 2 * sets[Int(set)].capacity)
    return size <= NumberSets.sizesKept && !free[size].isEmpty
  }

  @inline(never)
  private mutating func grow(_ set: inout Int32) {
    guard set >= 0 else {
      set = take(capacity: capacityMin)
      return
    }
    move(&set, to: take(capacity: 2 * sets[Int(set)].capacity), but: NumberSet(capacity: 0))
  }

  /// Removes the numbers that are also in a set of `others`.
  mutating func remove(_ other: Int32, of others: borrowing NumberSets, from set: inout Int32) {
    guard set >= 0, other >= 0 else { return }
    move(&set, to: take(capacity: sets[Int(set)].capacity), but: others.sets[Int(other)])
  }

  /// Moves a set's numbers to an empty one that is no smaller, and replaces it.
  private mutating func move(_ set: inout Int32, to empty: Int32, but excluded: borrowing NumberSet<Number>) {
    var filled = NumberSet<Number>(capacity: 0)
    swap(&filled, &sets[Int(empty)])
    filled.add(allOf: sets[Int(set)], but: excluded)
    swap(&filled, &sets[Int(empty)])
    release(set)
    set = empty
  }

  private mutating func take(capacity: Int) -> Int32 {
    let size = size(capacity)
    if size <= NumberSets.sizesKept, let kept = free[size].popLast() {
      freeMin[size] = min(freeMin[size], free[size].count)
      sets[Int(kept)].removeAll()
      return kept
    }
    storageBytes += capacity * MemoryLayout<Number>.stride
    if let vacant = free[0].popLast() {
      sets[Int(vacant)] = NumberSet(capacity: capacity)
      return vacant
    }
    sets.append(NumberSet(capacity: capacity))
    return Int32(truncatingIfNeeded: sets.count - 1)
  }

  /// Adds numbers to a set, skipping zeros. A negative `set` is made first; there must be room.
  mutating func add(allOf numbers: [7 of Number], to set: inout Int32) {
    if set < 0 { grow(&set) }
    sets[Int(set)].add(allOf: numbers)
  }

  /// Gives a set back for reuse.
  mutating func release(_ set: Int32) {
    guard set >= 0 else { return }
    let size = size(sets[Int(set)].capacity)
    if size <= NumberSets.sizesKept { return free[size].append(set) }
    discard(set)
  }

  /// Frees the memory of an unused set.
  private mutating func discard(_ set: Int32) {
    storageBytes -= sets[Int(set)].byteCount
    sets[Int(set)] = NumberSet(capacity: 0)
    free[0].append(set)
  }

  /// Frees sets not needed since the last call.
  mutating func trim() {
    for size in 1...NumberSets.sizesKept {
      // The sets given back last are taken first.
      for set in free[size].prefix(freeMin[size]) { discard(set) }
      free[size] = Array(free[size].dropFirst(freeMin[size]))
      freeMin[size] = free[size].count
    }
  }

  /// The smallest size is 1, twice that is 2.
  private func size(_ capacity: Int) -> Int {
    capacity.trailingZeroBitCount - capacityMin.trailingZeroBitCount + 1
  }

  /// Checks that exactly `used` sets are in use.
  func checkInvariants(used: Int) {
    let unused = free.reduce(0) { $0 + $1.count }
    invariant(used + unused == sets.count, "\(sets.count - used - unused) sets of numbers have no owner")
    var bytes = 0
    for set in 0..<sets.count { bytes += sets[set].byteCount }
    invariant(bytes == storageBytes, "sets of numbers take \(bytes) bytes, not \(storageBytes)")
  }
}
