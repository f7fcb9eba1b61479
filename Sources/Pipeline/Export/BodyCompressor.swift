// How the bodies of requests to a store are compressed.

internal import Topology

/// Compresses one body after the other.
final class BodyCompressor {
  /// zstd, if it is wanted and there was memory for its state.
  private let zstandard: ZstandardWriter?
  private let form: StoreSettings.Compression

  /// zstd's fastest usual level: a store decompresses at once, so only the network gains.
  private static let level: Int32 = 1

  init(_ form: StoreSettings.Compression) {
    self.form = form
    zstandard = form == .zstd ? try? ZstandardWriter(level: BodyCompressor.level) : nil
  }

  /// The body compressed; nil if that was not possible.
  func compressed(_ body: [UInt8]) -> [UInt8]? {
    switch form {
    case .none: body
    case .gzip: Gzip.compress(body)
    case .zstd: try? zstandard?.compress(body, isLast: true)
    }
  }
}
