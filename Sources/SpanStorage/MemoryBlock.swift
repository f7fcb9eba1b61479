// A run of memory with checked access: the only place that touches it by address.

internal import CMemory
import Invariants

/// A run of memory lent by a `SpanMemory`.
///
/// A block must not be used after it was given back: only that is not checked. `SpanLog` holds all of them,
/// one per segment, and forgets a segment together with its memory.
@safe struct MemoryBlock {
  private let base: UnsafeMutableRawPointer
  let byteCount: Int
  /// The number of the slab, or nil for a block that was allocated on its own.
  let slab: Int?

  /// Sound if `base` has `byteCount` bytes that nothing else uses until the block is given back.
  @unsafe init(base: UnsafeMutableRawPointer, byteCount: Int, slab: Int?) {
    unsafe self.base = base
    self.byteCount = byteCount
    self.slab = slab
  }

  /// Copies `bytes` to `offset`. They are not expected to be read again soon.
  @inline(__always)
  func write(_ bytes: RawSpan, at offset: Int) {
    check(offset, bytes.byteCount)
    // Sound: the range is inside the block, which has no other user; the source is borrowed for the call.
    unsafe bytes.withUnsafeBytes { source in
      if let start = source.baseAddress {
        unsafe tailrace_copy_past_caches(base + offset, start, source.count)
      }
    }
  }

  /// Copies `count` bytes at `start` to `offset` of `other`.
  func copy(from start: Int, count: Int, to other: MemoryBlock, at offset: Int) {
    check(start, count)
    other.check(offset, count)
    // Sound: both ranges are inside their blocks; `copyMemory` allows them to overlap.
    unsafe (other.base + offset).copyMemory(from: base + start, byteCount: count)
  }

  /// Lends `count` bytes at `offset` to `body`.
  func withBytes<Result, Failure: Error>(
    from offset: Int, count: Int, _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    check(offset, count)
    // Sound: the range is inside the block, and the span can't outlive the call.
    return try unsafe body(RawSpan(_unsafeStart: base + offset, byteCount: count))
  }

  /// Lends `count` bytes at `offset` to `body` for writing.
  func withMutableBytes<Result>(
    from offset: Int, count: Int, _ body: (UnsafeMutableRawBufferPointer) -> Result
  ) -> Result {
    check(offset, count)
    // Sound: the range is inside the block; each caller shows that `body` keeps no address.
    return unsafe body(UnsafeMutableRawBufferPointer(start: base + offset, count: count))
  }

  /// The 32-bit integer at `offset`, a multiple of four.
  @inline(__always)
  func word(at offset: Int) -> UInt32 {
    check(offset, 4)
    // Sound: inside the block, aligned, and every bit pattern is a UInt32.
    return unsafe base.load(fromByteOffset: offset, as: UInt32.self)
  }

  /// Writes three 32-bit integers from `offset` on, a multiple of four.
  @inline(__always)
  func setWords(_ first: UInt32, _ second: UInt32, _ third: UInt32, at offset: Int) {
    check(offset, 12)
    // Sound: inside the block and aligned.
    unsafe base.storeBytes(of: first, toByteOffset: offset, as: UInt32.self)
    unsafe base.storeBytes(of: second, toByteOffset: offset &+ 4, as: UInt32.self)
    unsafe base.storeBytes(of: third, toByteOffset: offset &+ 8, as: UInt32.self)
  }

  /// The address, for giving the block back.
  @unsafe var address: UnsafeMutableRawPointer { unsafe base }

  @inline(__always)
  private func check(_ offset: Int, _ count: Int) {
    invariant(
      offset >= 0 && count >= 0 && offset <= byteCount - count,
      "\(count) bytes at \(offset) of a block of \(byteCount)")
  }
}
