// From an array's bytes to a `RawSpan` and back, in one place.

extension [UInt8] {
  /// Lends the array's bytes to `body`.
  @inlinable
  public func withRawBytes<Result, Failure: Error>(
    _ body: (RawSpan) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    // Sound: what makes `Span.bytes` unsafe is padding, and UInt8 has none.
    try body(unsafe span.bytes)
  }
}

extension RawSpan {
  /// The bytes as an array.
  public func copied() -> [UInt8] {
    // Sound: the pointer is used inside the closure only, for the span's own length.
    unsafe withUnsafeBytes { unsafe [UInt8]($0) }
  }
}
