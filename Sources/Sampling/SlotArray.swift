// Slots of one type in chunks of huge pages: random access costs one miss, and growing moves nothing.

import Invariants
import SpanStorage

/// Numbered slots, added on demand. Slots never move, and values are read and changed in place, so a
/// noncopyable type will do.
///
/// An array would do, except for two things: it doubles by copying, which at ten million open traces stops
/// the lane for a second; and its small pages cost a page table walk for nearly every random access, which on
/// a virtual machine takes longer than the access.
@safe struct SlotArray<Element: ~Copyable>: ~Copyable {
  private var chunks: [UnsafeMutablePointer<Element>] = unsafe []
  /// How many slots there are.
  private(set) var count = 0

  /// The slots of a chunk: as many as fit a huge page, rounded down to a power of two.
  private static var chunkSlots: Int { 1 << chunkBits }
  private static var chunkBits: Int {
    (HugePages.pageBytes / MemoryLayout<Element>.stride).bitWidth - 1
      - (HugePages.pageBytes / MemoryLayout<Element>.stride).leadingZeroBitCount
  }

  init() {}

  deinit {
    // Sound: each chunk was allocated by `append` and is owned by this array only, and all but the last are
    // full.
    for number in unsafe chunks.indices {
      let filled = min(Self.chunkSlots, count - number * Self.chunkSlots)
      unsafe chunks[number].deinitialize(count: filled)
      unsafe chunks[number].deallocate()
    }
  }

  /// Bytes of the slots.
  var byteCount: Int { count * MemoryLayout<Element>.stride }

  /// The value in `slot`, which must be below `count`.
  subscript(slot: Int) -> Element {
    // Sound, here and below: see `place(of:)`; nothing else refers to the slot.
    @inline(__always) _read { yield unsafe place(of: slot).pointee }
    @inline(__always) _modify { yield unsafe &place(of: slot).pointee }
  }

  @inline(__always) private func place(of slot: Int) -> UnsafeMutablePointer<Element> {
    // One comparison: as an unsigned number, a negative slot is too large.
    invariant(UInt(bitPattern: slot) < UInt(bitPattern: count), "there is no slot \(slot) among \(count)")
    // Sound: the chunk has `chunkSlots` slots, and those below `count` are initialised. So there is a chunk
    // for each slot, and its pointer needs no check of its own.
    let chunk = unsafe chunks.withUnsafeBufferPointer { unsafe $0[slot &>> Self.chunkBits] }
    return unsafe chunk + (slot & (Self.chunkSlots - 1))
  }

  /// Adds a slot.
  mutating func append(_ element: consuming Element) {
    if unsafe count == chunks.count * Self.chunkSlots {
      // Sound: fresh memory of exactly this size, bound to its only type.
      let memory = unsafe HugePages.allocate(
        byteCount: Self.chunkSlots * MemoryLayout<Element>.stride, isLarge: !chunks.isEmpty)
      unsafe chunks.append(memory.bindMemory(to: Element.self, capacity: Self.chunkSlots))
    }
    // Sound: the slot lies in the last chunk, after the initialised ones.
    unsafe (chunks[count >> Self.chunkBits] + (count & (Self.chunkSlots - 1))).initialize(to: element)
    count += 1
  }

  /// Removes the last slots and releases the memory that only they took: of the first chunk by pages, of
  /// others as a whole, so that huge pages stay whole.
  mutating func removeLast(_ removed: Int) {
    invariant(removed >= 0 && removed <= count, "can't remove \(removed) of \(count) slots")
    let left = count - removed
    while count > left {
      count -= 1
      // Sound: the slot is initialised, and outside the array from here on.
      unsafe (chunks[count >> Self.chunkBits] + (count & (Self.chunkSlots - 1))).deinitialize(count: 1)
    }
    let chunksLeft = (left + Self.chunkSlots - 1) >> Self.chunkBits
    while let chunk = unsafe chunks.last, unsafe chunks.count > max(chunksLeft, 1) {
      // Sound: the chunk was allocated by `append`, and none of its slots is left.
      unsafe chunk.deallocate()
      unsafe chunks.removeLast()
    }
    if left < Self.chunkSlots, let chunk = unsafe chunks.first {
      // Sound: none of the slots from `left` on is initialised.
      unsafe HugePages.discard(
        chunk + left, byteCount: (Self.chunkSlots - left) * MemoryLayout<Element>.stride)
    }
  }
}
