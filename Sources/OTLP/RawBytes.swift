// Lending the bytes of an array as a `RawSpan`, in one place.

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
