// Slots that are taken and given back: they hold what open traces have besides their spans.

import Invariants

/// Numbered slots, reused once given back.
///
/// They grow with the traffic. After a burst, `trim` releases what it took: for that, low slots are taken
/// first once there are many to choose from, so that the high ones become free.
struct SlotPool<Element: ~Copyable>: ~Copyable {
  private var slots = SlotArray<Element>()
  /// Unused slots; the last is taken first.
  private var free: [Int32] = []
  /// The most slots in use since the last `trim`.
  private var usedMax = 0

  /// How many slots there are, in use or not.
  var count: Int { slots.count }

  /// How many are in use.
  var usedCount: Int { slots.count - free.count }

  /// Whether a slot is available without more memory.
  var hasFree: Bool { !free.isEmpty }

  /// Bytes of memory in use.
  var byteCount: Int { slots.byteCount + free.capacity * MemoryLayout<Int32>.stride }

  /// The value in `slot`, which must be in use.
  subscript(slot: Int) -> Element {
    @inline(__always) _read { yield slots[slot] }
    @inline(__always) _modify { yield &slots[slot] }
  }

  /// Takes a slot for `element`.
  mutating func take(_ element: consuming Element) -> Int {
    if let slot = free.popLast() {
      slots[Int(slot)] = element
      return Int(slot)
    }
    invariant(slots.count < Int(Int32.max), "out of slot numbers")
    slots.append(element)
    return slots.count - 1
  }

  /// Gives a slot back. Its value stays until the slot is taken again.
  mutating func release(_ slot: Int) {
    invariant(slot >= 0 && slot < slots.count && free.count < slots.count, "slot \(slot) is already free")
    usedMax = max(usedMax, usedCount)
    free.append(Int32(truncatingIfNeeded: slot))
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
  }

  private func freeSlots() -> [Bool] {
    var isFree = Array(repeating: false, count: slots.count)
    for slot in free { isFree[Int(slot)] = true }
    return isFree
  }

  /// Checks that no slot is free twice, and that `used` are in use. For tests: it visits every slot.
  func checkInvariants(used: Int) {
    let freeCount = freeSlots().count { $0 }
    invariant(freeCount == free.count, "\(free.count - freeCount) slots are free twice")
    invariant(used == usedCount, "\(usedCount - used) slots have no owner")
  }
}
