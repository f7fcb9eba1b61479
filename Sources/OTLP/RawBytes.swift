// From an array's bytes to a `RawSpan` and back, in one place.

extension [UInt8] {
  /// Lends the array's bytes to `body`.
  @inlinable
  public func withRawBytes<Result, Failure: Error>(
    _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    // Sound: `Span.bytes` is unsafe because of padding, and UInt8 has none.
    try body(unsafe span.bytes)
  }
}

extension RawSpan {
  /// The bytes as an array.
  public func copied() -> [UInt8] {
    // Sound: the pointer is used inside the closure only, for the span's own length.
    unsafe withUnsafeBytes { unsafe [UInt8]($0) }
  }

  /// Whether both have the same bytes.
  package func isEqual(to other: RawSpan) -> Bool {
    guard byteCount == other.byteCount else { return false }
    guard byteCount >= 8 else { return lastWord(from: 0) == other.lastWord(from: 0) }
    var offset = 0
    while offset < byteCount &- 32 {
      // Sound: both have more than 32 bytes from here on.
      let isSame =
        unsafe isSameWord(as: other, at: offset) && isSameWord(as: other, at: offset &+ 8)
        && isSameWord(as: other, at: offset &+ 16) && isSameWord(as: other, at: offset &+ 24)
      if !isSame { return false }
      offset &+= 32
    }
    while offset < byteCount &- 8 {
      // Sound: both have more than eight bytes from here on.
      if unsafe !isSameWord(as: other, at: offset) { return false }
      offset &+= 8
    }
    // The last eight, some of which may have been compared already.
    return word(at: byteCount &- 8) == other.word(at: byteCount &- 8)
  }

  /// Sound if both have eight bytes from `offset` on.
  @unsafe @inline(__always)
  private func isSameWord(as other: RawSpan, at offset: Int) -> Bool {
    // Sound: as the caller says.
    unsafe uncheckedWord(at: offset) == other.uncheckedWord(at: offset)
  }

  /// The eight bytes at `offset`, which must exist.
  @inlinable @inline(__always)
  package func word(at offset: Int) -> UInt64 {
    // Sound: the load checks its bounds and needs no alignment, and every bit pattern is a UInt64.
    unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }

  /// The four bytes at `offset`, which must exist.
  @inlinable @inline(__always)
  package func half(at offset: Int) -> UInt32 {
    // Sound: as above.
    unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self)
  }

  /// The bytes from `offset`, at most seven, as one word: other bytes of the same number give another word.
  @inlinable @inline(__always)
  package func lastWord(from offset: Int) -> UInt64 {
    let count = byteCount - offset
    if count >= 4 { return UInt64(half(at: offset)) << 32 | UInt64(half(at: byteCount - 4)) }
    guard count > 0 else { return 0 }
    let ends = UInt64(byte(at: offset)) << 16 | UInt64(byte(at: byteCount - 1))
    return ends | UInt64(byte(at: offset + count / 2)) << 8
  }
}
