// How the bodies of requests to a store are compressed.

internal import Compression
internal import Topology

/// Compresses one body after the other.
final class BodyCompressor {
  /// zstd, if it is wanted and there was memory for its state.
  private let zstandard: ZstandardWriter?
  private let form: StoreSettings.Compression

  /// The fastest usual level of both: a store decompresses at once, so only the network gains.
  private static let level: Int32 = 1

  init(_ form: StoreSettings.Compression) {
    self.form = form
    zstandard = form == .zstd ? try? ZstandardWriter(level: BodyCompressor.level) : nil
  }

  /// The body compressed; nil if that was not possible.
  func compressed(_ body: [UInt8]) -> [UInt8]? {
    switch form {
    case .none: body
    case .gzip: try? Gzip.compress(body, level: BodyCompressor.level)
    case .zstd: try? zstandard?.compress(body, isLast: true)
    }
  }
}
