// A hint for memory that will be read.

internal import CMemory

extension RawSpan {
  /// Hints that the bytes will be read soon. This affects only how long that takes.
  public func prefetch() {
    // Sound: a hint, which reads nothing; the address is used during the call only.
    unsafe withUnsafeBytes { bytes in
      if let start = bytes.baseAddress { unsafe tailrace_prefetch(start, bytes.count) }
    }
  }
}
