// A keyed hash of 128 bits: without the key nobody can tell what was hashed, not even by trying.

internal import OTLP

/// SipHash-2-4 with 128 bits of output.
///
/// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF"; the reference implementation at
/// <https://github.com/veorq/SipHash>.
struct SipHash: Sendable {
  private let key: (UInt64, UInt64)

  /// - Parameter key: 16 bytes, of which the first is the lowest.
  init(key: (UInt64, UInt64)) {
    self.key = key
  }

  /// The hash of bytes: bytes 0 to 7, then 8 to 15, each as a little-endian number.
  func hash(_ bytes: RawSpan) -> (UInt64, UInt64) {
    var state = State(key)
    var offset = 0
    while bytes.byteCount - offset >= 8 {
      state.take(UInt64(littleEndian: bytes.word(at: offset)))
      offset += 8
    }
    var last = UInt64(truncatingIfNeeded: bytes.byteCount) << 56
    for place in 0..<bytes.byteCount - offset {
      last |= UInt64(bytes.byte(at: offset + place)) << UInt64(8 * place)
    }
    state.take(last)
    return state.finish()
  }

  /// The hash of three numbers, as of their 24 bytes.
  func hash(_ first: UInt64, _ second: UInt64, _ third: UInt64) -> (UInt64, UInt64) {
    var state = State(key)
    for word in [first, second, third, 24 << 56] { state.take(word) }
    return state.finish()
  }

  private struct State {
    private var v0, v1, v2, v3: UInt64

    init(_ key: (UInt64, UInt64)) {
      v0 = 0x736f_6d65_7073_6575 ^ key.0
      v1 = 0x646f_7261_6e64_6f6d ^ key.1 ^ 0xee
      v2 = 0x6c79_6765_6e65_7261 ^ key.0
      v3 = 0x7465_6462_7974_6573 ^ key.1
    }

    mutating func take(_ word: UInt64) {
      v3 ^= word
      mix(2)
      v0 ^= word
    }

    mutating func finish() -> (UInt64, UInt64) {
      v2 ^= 0xee
      mix(4)
      let first = v0 ^ v1 ^ v2 ^ v3
      v1 ^= 0xdd
      mix(4)
      return (first, v0 ^ v1 ^ v2 ^ v3)
    }

    private mutating func mix(_ rounds: Int) {
      for _ in 0..<rounds {
        v0 &+= v1
        v1 = v1 << 13 | v1 >> 51
        v1 ^= v0
        v0 = v0 << 32 | v0 >> 32
        v2 &+= v3
        v3 = v3 << 16 | v3 >> 48
        v3 ^= v2
        v0 &+= v3
        v3 = v3 << 21 | v3 >> 43
        v3 ^= v0
        v2 &+= v1
        v1 = v1 << 17 | v1 >> 47
        v1 ^= v2
        v2 = v2 << 32 | v2 >> 32
      }
    }
  }
}
