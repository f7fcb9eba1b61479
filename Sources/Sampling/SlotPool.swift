// Slots that are taken and given back: they hold what open traces have besides their spans.

import Invariants

/// Numbered slots, reused once given back.
///
/// They grow with the traffic. After a burst, `trim` releases what it took: for that, low slots are taken
/// first once there are many to choose from, so that the high ones become free.
struct SlotPool<Element: ~Copyable>: ~Copyable {
  private var slots = SlotArray<Element>()
  /// The first `freeCount` are unused slots, of which the last is taken first.
  private var free: [Int32] = []
  private var freeCount = 0
  /// The most slots in use since the last `trim`.
  private var usedMax = 0

  /// How many slots there are, in use or not.
  var count: Int { slots.count }

  /// How many are in use.
  var usedCount: Int { slots.count - freeCount }

  /// Whether a slot is available without more memory.
  var hasFree: Bool { freeCount > 0 }

  /// Bytes of memory in use.
  var byteCount: Int { slots.byteCount + free.capacity * MemoryLayout<Int32>.stride }

  /// The value in `slot`, which must be in use.
  subscript(slot: Int) -> Element {
    @inline(__always) _read { yield slots[slot] }
    @inline(__always) _modify { yield &slots[slot] }
  }

  /// Takes a slot for `element`.
  @inline(__always)
  mutating func take(_ element: consuming Element) -> Int {
    guard freeCount > 0 else { return add(element) }
    freeCount -= 1
    let slot = Int(free[freeCount])
    slots[slot] = element
    return slot
  }

  private mutating func add(_ element: consuming Element) -> Int {
    invariant(slots.count < Int(Int32.max), "out of slot numbers")
    slots.append(element)
    return slots.count - 1
  }

  /// Gives a slot back. Its value stays until the slot is taken again.
  mutating func release(_ slot: Int) {
    invariant(slot >= 0 && slot < slots.count && freeCount < slots.count, "slot \(slot) is already free")
    usedMax = max(usedMax, usedCount)
    let number = Int32(truncatingIfNeeded: slot)
    if freeCount < free.count { free[freeCount] = number } else { free.append(number) }
    freeCount += 1
  }

  /// Releases slots not needed since the last call: the highest, down to the last one in use. Call it every
  /// minute or so: if less than half was needed it visits every free slot.
  mutating func trim() {
    let needed = max(usedMax, usedCount)
    defer { usedMax = usedCount }
    guard needed < slots.count / 2 else { return }
    let isFree = freeSlots()
    let used = usedCount
    var end = slots.count
    while end > needed, isFree[end - 1] { end -= 1 }
    slots.removeLast(slots.count - end)
    // A new array: one that shrinks keeps its capacity.
    free = []
    free.reserveCapacity(slots.count - used)
    for slot in (0..<slots.count).reversed() where isFree[slot] {
      free.append(Int32(truncatingIfNeeded: slot))
    }
    freeCount = free.count
  }

  private func freeSlots() -> [Bool] {
    var isFree = Array(repeating: false, count: slots.count)
    for slot in free[..<freeCount] { isFree[Int(slot)] = true }
    return isFree
  }

  /// Checks that no slot is free twice, and that `used` are in use. For tests: it visits every slot.
  func checkInvariants(used: Int) {
    let distinct = freeSlots().count { $0 }
    invariant(distinct == freeCount, "\(freeCount - distinct) slots are free twice")
    invariant(used == usedCount, "\(usedCount - used) slots have no owner")
  }
}
