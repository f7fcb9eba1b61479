// The one error of decompression: what a lane can say about a value.

/// Why a value could not be decompressed.
public enum CompressionError: Error, Equatable, Sendable {
  /// The bytes are not what their beginning claims. The offset is that of the first compressed byte that
  /// can't be accepted, as far as the format tells.
  case damaged(at: Int)
  /// It holds more bytes than allowed.
  case tooLarge
  /// The library that the format takes is not there.
  case unavailable
}
