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

  /// The bytes from `offset`, at most seven, as one word.
  @inlinable @inline(__always)
  package func lastWord(from offset: Int) -> UInt64 {
    var word: UInt64 = 0
    for place in offset..<byteCount { word = word << 8 | UInt64(byte(at: place)) }
    return word
  }
}
