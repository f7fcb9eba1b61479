// Streams of zstd, compressed and decompressed piece by piece.

internal import CZstd

/// An error of zstd.
public struct ZstandardError: Error, Equatable, Sendable, CustomStringConvertible {
  /// In zstd's words.
  public let description: String

  init(code: Int) {
    // Sound: zstd returns a pointer to a static, terminated string for every code.
    description = unsafe String(cString: ZSTD_getErrorName(code))
  }

  package init(_ description: String) {
    self.description = description
  }
}

/// Decompresses a stream of zstd frames, piece by piece.
///
/// Safe to use: the context never leaves the object, and every call passes zstd the sizes of its buffers.
@safe package final class ZstandardReader {
  private let context: OpaquePointer
  /// Whether the last frame is complete.
  package private(set) var isAtFrameEnd = true
  /// Whether zstd may hold more output, even when all input is consumed.
  package private(set) var hasMore = false

  /// Whether `bytes` begin with a frame, or a skippable one.
  package static func isFrame(_ bytes: ArraySlice<UInt8>) -> Bool {
    bytes.starts(with: [0x28, 0xb5, 0x2f, 0xfd])
      || bytes.first.map { $0 & 0xf0 == 0x50 } == true && bytes.dropFirst().starts(with: [0x2a, 0x4d, 0x18])
  }

  /// - Parameter windowBytesMax: frames that want a larger window are refused: it is memory that they take.
  ///   Rounded up, to 8 MiB at least, which levels up to 19 ask for; nil for zstd's own limit.
  /// - Throws: if there is not enough memory for the state.
  package init(windowBytesMax: Int? = nil) throws(ZstandardError) {
    guard let context = unsafe ZSTD_createDCtx() else { throw ZstandardError("out of memory") }
    unsafe self.context = unsafe context
    if let windowBytesMax {
      let bits = Int.bitWidth - max(1, windowBytesMax - 1).leadingZeroBitCount
      unsafe ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Int32(min(max(23, bits), 27)))
    }
  }

  deinit {
    // Sound: made in `init`, owned by this object alone, freed once.
    unsafe ZSTD_freeDCtx(context)
  }

  /// Decompresses `input` from `place` on, and appends about `bytesMax` bytes at most to `output`. Four bytes
  /// of input may hold 128 KiB, so output is bounded, not input.
  ///
  /// - Parameter place: set to the end of the consumed input.
  package func decompress(
    _ input: [UInt8], from place: inout Int, to output: inout [UInt8], bytesMax: Int
  ) throws(ZstandardError) {
    let start = output.count
    let chunk = ZSTD_DStreamOutSize()
    repeat {
      let (left, written) = try unsafe append(chunk, to: &output, of: input, from: &place) { to, from in
        unsafe ZSTD_decompressStream(context, to, from)
      }
      isAtFrameEnd = left == 0
      // If the chunk is full, zstd may hold more, unless the frame has ended: then that is all.
      hasMore = written == chunk && !isAtFrameEnd
    } while (place < input.count || hasMore) && output.count - start < bytesMax
  }
}

/// One step of a zstd stream: appends at most `chunk` bytes to `output`, made of `input` from `place` on.
///
/// - Parameter place: set to the end of the consumed input.
/// - Returns: zstd's answer to the step, and how many bytes it has written.
private func append(
  _ chunk: Int, to output: inout [UInt8], of input: [UInt8], from place: inout Int,
  _ step: (UnsafeMutablePointer<ZSTD_outBuffer>, UnsafeMutablePointer<ZSTD_inBuffer>) -> Int
) throws(ZstandardError) -> (left: Int, written: Int) {
  var left = 0
  var written = 0
  unsafe input.withUnsafeBufferPointer { source in
    // Not zeroed first: a hostile input may consist of many frames of a few bytes.
    output.append(addingCapacity: chunk) { free in
      unsafe free.withUnsafeMutableBufferPointer { target, initialized in
        // Sound: both buffers outlive the call, and zstd stays within the given sizes.
        var from = unsafe ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: place)
        let start = unsafe target.baseAddress.map { unsafe $0 + initialized }
        var to = unsafe ZSTD_outBuffer(dst: start, size: chunk, pos: 0)
        left = unsafe step(&to, &from)
        place = unsafe from.pos
        written = unsafe to.pos
        initialized += written
      }
    }
  }
  if ZSTD_isError(left) != 0 { throw ZstandardError(code: left) }
  return (left, written)
}

/// Compresses a stream into one zstd frame, with a checksum. Safe to use, as `ZstandardReader` is.
@safe package final class ZstandardWriter {
  private let context: OpaquePointer

  /// - Parameter level: zstd's compression level.
  package init(level: Int32) throws(ZstandardError) {
    guard let context = unsafe ZSTD_createCCtx() else { throw ZstandardError("out of memory") }
    unsafe self.context = unsafe context
    unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
    unsafe ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
  }

  deinit {
    // Sound: made in `init`, owned by this object alone, freed once.
    unsafe ZSTD_freeCCtx(context)
  }

  /// Compresses `input`, and ends the frame if `isLast`.
  package func compress(_ input: [UInt8], isLast: Bool) throws(ZstandardError) -> [UInt8] {
    var output: [UInt8] = []
    var consumed = 0
    let chunk = ZSTD_CStreamOutSize()
    while true {
      let (left, _) = try unsafe append(chunk, to: &output, of: input, from: &consumed) { to, from in
        unsafe ZSTD_compressStream2(context, to, from, isLast ? ZSTD_e_end : ZSTD_e_continue)
      }
      if isLast ? left == 0 : consumed == input.count { return output }
    }
  }
}
