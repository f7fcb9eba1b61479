// Seeded randomness: there is no other, so that every result can be reproduced.

/// A seeded generator: xoshiro256**, its state filled by SplitMix64.
///
/// Source: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", 2021 (public domain).
public struct RandomSource: RandomNumberGenerator, Sendable {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  /// The same seed gives the same numbers, on every machine.
  public init(seed: UInt64) {
    var mixer = seed
    func next() -> UInt64 {
      mixer &+= 0x9e37_79b9_7f4a_7c15
      var mixed = mixer
      mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
      mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
      return mixed ^ (mixed >> 31)
    }
    state = (next(), next(), next(), next())
  }

  /// The next 64 random bits.
  public mutating func next() -> UInt64 {
    func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 { value << count | value >> (64 - count) }
    let result = rotate(state.1 &* 5, 7) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = rotate(state.3, 45)
    return result
  }

  /// A number from 0 up to, but not including, 1.
  public mutating func unit() -> Double {
    Double(next() >> 11) * 0x1p-53
  }

  /// Whether an event of probability `share` happens.
  public mutating func chance(_ share: Double) -> Bool {
    unit() < share
  }

  /// A number in `range`.
  public mutating func number(in range: ClosedRange<Int>) -> Int {
    Int.random(in: range, using: &self)
  }

  /// A number from `low` up to `high`.
  public mutating func number(from low: Double, to high: Double) -> Double {
    low + (high - low) * unit()
  }

  /// A number with the given mean, skewed towards small ones, never above eight times the mean: the product
  /// of two independent uniform numbers has a mean of 1/4.
  public mutating func skewed(mean: Double) -> Double {
    4 * mean * unit() * unit() + mean * 0.02
  }
}
