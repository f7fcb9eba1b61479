// Protobuf's fields written straight into reserved room, for messages whose size has a bound that is known.

extension TextOutput {
  /// Appends `value` as a varint.
  @inlinable @inline(__always)
  package mutating func append(varint value: UInt64) {
    if value < 1 << 7 { return append(UInt8(truncatingIfNeeded: value)) }
    if value < 1 << 14 {
      return append(pair: UInt16(truncatingIfNeeded: value & 0x7f | 0x80 | (value >> 7) << 8))
    }
    var rest = value
    while rest >= 1 << 7 {
      append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(UInt8(truncatingIfNeeded: rest))
  }

  /// Appends two bytes, the lower one first.
  @inlinable @inline(__always)
  package mutating func append(pair: UInt16) {
    precondition(room >= 2, "no room for two bytes")
    // Sound: there is room for two bytes, and a UInt16 is stored at any alignment.
    unsafe place.storeBytes(of: pair.littleEndian, as: UInt16.self)
    unsafe place += 2
  }

  /// Appends four bytes, the lowest first.
  @inlinable @inline(__always)
  package mutating func append(half: UInt32) {
    precondition(room >= 4, "no room for four bytes")
    // Sound: there is room for four bytes, and a UInt32 is stored at any alignment.
    unsafe place.storeBytes(of: half.littleEndian, as: UInt32.self)
    unsafe place += 4
  }

  /// Appends the bytes of `range`. Where 32 are left on both sides, short ones are copied by a
  /// load and a store, whatever their number.
  @inlinable @inline(__always)
  package mutating func append(_ range: ByteRange, of bytes: RawSpan) {
    let (offset, count) = (Int(range.offset), Int(range.count))
    guard count <= 32, bytes.byteCount &- offset >= 32, room >= 32 else {
      return append(bytes.extracting(range.indices))
    }
    // Sound: 32 bytes from `offset`, which is not negative, lie in `bytes`, and there is room for as many.
    // Neither loads nor stores need an alignment. What comes after `count` bytes is overwritten, or was not
    // appended.
    let words = unsafe bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: SIMD4<UInt64>.self)
    unsafe place.storeBytes(of: words, as: SIMD4<UInt64>.self)
    unsafe place += count
  }

  /// Appends a message field whose tag is the byte `tag` and whose content `body` writes. There must be room
  /// for a length of five bytes.
  ///
  /// The content is written after room for a length of `lengthBytes` bytes; it is moved only if its length
  /// takes another number of bytes.
  @inlinable @inline(__always)
  package mutating func message(_ tag: UInt8, lengthBytes: Int, _ body: (inout TextOutput) -> Void) {
    append(tag)
    precondition(lengthBytes > 0 && room >= lengthBytes, "no room for a length")
    unsafe place += lengthBytes
    let before = room
    body(&self)
    let count = before &- room
    let needed = TextOutput.varintBytes(UInt64(count))
    if needed != lengthBytes { moveLast(count, by: needed - lengthBytes) }
    // Sound: `place` is as many bytes past the beginning of the length, in the room that has been written.
    unsafe place -= count &+ needed
    append(varint: UInt64(count))
    unsafe place += count
  }

  /// The bytes that `value` takes as a varint.
  @inlinable @inline(__always)
  package static func varintBytes(_ value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }

  /// Moves the last `count` bytes, which have been appended, by `distance`.
  ///
  /// Backwards they may go only as far as bytes that have been appended.
  @inline(never) @usableFromInline
  mutating func moveLast(_ count: Int, by distance: Int) {
    precondition(distance <= room, "no room for a longer length")
    // Sound: both places lie in the room, as checked above and by the caller, and copying allows an overlap.
    let start = unsafe place - count
    unsafe (start + distance).copyMemory(from: start, byteCount: count)
    unsafe place += distance
  }
}
