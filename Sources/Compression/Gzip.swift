// gzip, by zlib's library.

internal import CZlib

/// gzip members.
///
/// Format: RFC 1952. Source of the calls: zlib's manual, <https://zlib.net/manual.html>.
package enum Gzip {
  /// A stream of zlib, which has to stay at one place in memory.
  ///
  /// Safe to use. Sound: the stream never leaves the object and is freed once, and each call passes zlib the
  /// sizes of its buffers, which outlive the call.
  @safe private final class Stream {
    private let stream: UnsafeMutablePointer<tailrace_zlib_stream>
    private let isDeflating: Bool

    /// - Parameter level: of compression, 1 to 9; nil to decompress.
    init(level: Int32? = nil) throws(CompressionError) {
      let stream = UnsafeMutablePointer<tailrace_zlib_stream>.allocate(capacity: 1)
      unsafe stream.initialize(to: tailrace_zlib_stream())
      let status =
        if let level { unsafe tailrace_deflate_begin(stream, level) } else {
          unsafe tailrace_inflate_begin(stream)
        }
      // Before the object is complete: there is no `deinit` then.
      guard status == 0 else {
        unsafe stream.deallocate()
        throw .unavailable
      }
      unsafe self.stream = unsafe stream
      isDeflating = level != nil
    }

    deinit {
      _ = unsafe tailrace_zlib_call(stream, isDeflating ? "deflateEnd" : "inflateEnd")
      unsafe stream.deallocate()
    }

    /// Begins the next member.
    func reset() { _ = unsafe tailrace_zlib_call(stream, "inflateReset") }

    /// Appends at most `room` bytes to `output`, made of `input` from `place` on. Returns zlib's status.
    func step(_ input: [UInt8], from place: inout Int, to output: inout [UInt8], room: Int) -> Int32 {
      var status: Int32 = 0
      unsafe input.withUnsafeBufferPointer { source in
        unsafe stream.pointee.next_in = source.baseAddress.map { unsafe $0 + place }
        unsafe stream.pointee.avail_in = UInt32(clamping: source.count - place)
        let before = unsafe stream.pointee.avail_in
        output.append(addingCapacity: room) { free in
          unsafe free.withUnsafeMutableBufferPointer { target, initialized in
            unsafe stream.pointee.next_out = target.baseAddress.map { unsafe $0 + initialized }
            unsafe stream.pointee.avail_out = UInt32(room)
            // All input is there: compression ends with this call, or the next ones.
            status = unsafe tailrace_zlib_step(
              stream, isDeflating ? "deflate" : "inflate", isDeflating ? 4 : 0)
            initialized += unsafe room - Int(stream.pointee.avail_out)
          }
        }
        place += unsafe Int(before - stream.pointee.avail_in)
      }
      return status
    }
  }

  private static let chunkBytes = 64 << 10

  /// What all members of `input` hold, at most `bytesMax` bytes.
  package static func decompress(_ input: [UInt8], bytesMax: Int) throws(CompressionError) -> [UInt8] {
    let stream = try Stream()
    var output: [UInt8] = []
    var place = 0
    while true {
      let before = output.count
      let status = stream.step(input, from: &place, to: &output, room: chunkBytes)
      guard output.count <= bytesMax else { throw .tooLarge }
      if status == 1 {
        if place == input.count { return output }
        stream.reset()
      } else if status != 0 || place == input.count && output.count - before < chunkBytes {
        // Damaged, or at the end of the input while zlib wants more.
        throw .damaged(at: place)
      }
    }
  }

  /// `input` as one member.
  ///
  /// - Parameter level: of compression, 1 to 9.
  package static func compress(_ input: [UInt8], level: Int32 = 6) throws(CompressionError) -> [UInt8] {
    let stream = try Stream(level: level)
    var output: [UInt8] = []
    var place = 0
    while true {
      let status = stream.step(input, from: &place, to: &output, room: chunkBytes)
      if status == 1 { return output }
      guard status == 0 else { throw .damaged(at: place) }
    }
  }
}
