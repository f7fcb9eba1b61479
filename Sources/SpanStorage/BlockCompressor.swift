// zstd, one segment at a time.

internal import CZstd
import Invariants

/// Compresses and decompresses blocks with zstd.
///
/// Source: RFC 8878, and the manual of libzstd.
@safe final class BlockCompressor {
  /// Chosen by measurement: see `docs/decisions/0008-spans-in-logs.md`.
  private static let level: Int32 = 1

  private let compression: OpaquePointer
  private let decompression: OpaquePointer

  init() {
    // The two are null only when memory has run out.
    guard let compression = unsafe ZSTD_createCCtx(), let decompression = unsafe ZSTD_createDCtx() else {
      fatalError("no memory for zstd")
    }
    unsafe self.compression = compression
    unsafe self.decompression = decompression
  }

  deinit {
    // Sound: both were made by `init` and are used only by this object.
    unsafe ZSTD_freeCCtx(compression)
    unsafe ZSTD_freeDCtx(decompression)
  }

  /// The largest compressed size of `count` bytes.
  static func bound(_ count: Int) -> Int { ZSTD_compressBound(count) }

  /// Compresses the first `count` bytes of `source` into `target`; returns the compressed size.
  func compress(_ source: MemoryBlock, count: Int, into target: MemoryBlock) -> Int {
    // Sound: zstd reads and writes inside the two buffers, for the length of the call.
    let written = unsafe source.withMutableBytes(from: 0, count: count) { input in
      unsafe target.withMutableBytes(from: 0, count: target.byteCount) { output in
        unsafe ZSTD_compressCCtx(
          compression, output.baseAddress, output.count, input.baseAddress, input.count,
          BlockCompressor.level)
      }
    }
    invariant(ZSTD_isError(written) == 0, "zstd can't compress \(count) bytes")
    return written
  }

  /// Decompresses `count` bytes at `offset` of `source` into the first `rawCount` bytes of `target`.
  func decompress(
    _ source: MemoryBlock, from offset: Int, count: Int, into target: MemoryBlock, rawCount: Int
  ) {
    // Sound: as in `compress`.
    let written = unsafe source.withMutableBytes(from: offset, count: count) { input in
      unsafe target.withMutableBytes(from: 0, count: rawCount) { output in
        unsafe ZSTD_decompressDCtx(
          decompression, output.baseAddress, output.count, input.baseAddress, input.count)
      }
    }
    invariant(written == rawCount, "a segment that was compressed can't be decompressed")
  }
}
