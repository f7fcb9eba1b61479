// Any bytes as a compressed value: refused with an error inside them, or decompressed within the limit.

import Compression
import Expectation

/// libFuzzer's entry point. The first byte tells the form.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzCompression(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  guard let first = input.first else { return 0 }
  let form = CompressionForm.allCases[Int(first) % CompressionForm.allCases.count]
  let value = Array(input.dropFirst())
  let limit = 1 << 16
  var decompressor = Decompressor()
  do throws(CompressionError) {
    let content = try decompressor.decompress(value, form, bytesMax: limit)
    expect(content.count <= limit, "\(content.count) bytes")
    let again = try decompressor.decompress(value, form, bytesMax: limit)
    expect(again == content, "the same value was decompressed in two ways")
  } catch {
    if case .damaged(let offset) = error { expect((0...value.count).contains(offset), "at \(offset)") }
  }
  return 0
}
