// A share of traces by a hash of the trace id, bit for bit as the OpenTelemetry Collector's `tail_sampling`
// picks it: a mixed fleet agrees on every trace.

public import OTLP

/// Samples a trace if the FNV-1a hash of a salt and the trace id is small enough.
///
/// Source: `probabilistic.go` of the Collector's `tailsamplingprocessor`; the hash: RFC 9923.
public struct HashSampling: Equatable, Sendable {
  /// Hashed before the id: policies with different salts pick independently.
  public let salt: String
  /// The largest hash that is sampled.
  public let limit: UInt64
  /// The hash of the salt only.
  private let seed: UInt64

  /// Samples `percentage` of all traces, from 0 to 100.
  public init(salt: String, percentage: Double) {
    self.salt = salt
    limit = HashSampling.limit(ratio: percentage / 100)
    seed = salt.utf8.reduce(0xcbf2_9ce4_8422_2325) { HashSampling.mixed($0, $1) }
  }

  /// Whether the trace is sampled.
  public func samples(_ id: TraceID) -> Bool {
    var hash = seed
    for half in [id.high, id.low] {
      for place in 0..<8 {
        hash = HashSampling.mixed(hash, UInt8(truncatingIfNeeded: half >> UInt64(56 - 8 * place)))
      }
    }
    return hash <= limit
  }

  private static func mixed(_ hash: UInt64, _ byte: UInt8) -> UInt64 {
    (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
  }

  /// `ratio` of 2^64 - 1. The Collector multiplies floating-point numbers with a 64-bit mantissa, rounds to
  /// even, and truncates.
  private static func limit(ratio: Double) -> UInt64 {
    guard ratio > 0 else { return 0 }
    guard ratio < 1 else { return .max }
    let mantissa = ratio.significandBitPattern | 1 << 52
    // At least 2^52 · (2^64 - 1): never fewer than 64 bits.
    let product = UInt128(UInt64.max) * UInt128(mantissa)
    let dropped = 64 - product.leadingZeroBitCount
    let half: UInt128 = 1 << UInt128(dropped - 1)
    let rest = product & (half << 1 - 1)
    var rounded = product >> UInt128(dropped)
    if rest > half || (rest == half && rounded & 1 == 1) { rounded += 1 }
    let shift = 52 - Int(ratio.exponent) - dropped
    return shift < 128 ? UInt64(clamping: rounded >> UInt128(max(0, shift))) : 0
  }
}
