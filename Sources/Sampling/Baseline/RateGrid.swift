// The possible rates: sixteen per octave, so noise in the counts does not move them.

/// Rounds rates down to 2^(-n/16).
///
/// Neighbours are 4.4 % apart. The grid is the dead band: on average, a count must change by that much to
/// change a rate.
enum RateGrid {
  /// The factor between two neighbours, rounded up.
  static let step = 1.0443

  /// The smallest rate. A key of 2^40 traces per interval still keeps one.
  static let least = 0x1p-40

  /// The largest rate of the grid that is at most `rate`; 1 for anything above 1.
  ///
  /// - Precondition: `rate` is not NaN. A rate below the grid becomes the grid's smallest.
  static func rounded(_ rate: Double) -> Double {
    guard rate < 1 else { return 1 }
    guard rate > least else { return least }
    // The significand is in 1..<2: the largest step that is at most the significand.
    let significand = rate.significand
    var (low, high) = (0, steps.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if steps[middle] <= significand { low = middle } else { high = middle }
    }
    return Double(sign: .plus, exponent: rate.exponent, significand: steps[low])
  }

  /// `count` times 2^(steps/16), at least 1 and at most `most`. With integers only, as verdicts need it.
  static func moved(_ count: UInt64, by steps: Int, most: UInt64) -> UInt64 {
    let octaves = steps >> 4
    // The factor in 62 bits: 1 to 2.
    let factor = UInt64(RateGrid.steps[steps & 15] * 0x1p61)
    let product = count.multipliedFullWidth(by: factor)
    let scaled = product.high << 3 | product.low >> 61
    let moved =
      octaves >= 0
      ? (scaled > most >> UInt64(octaves) ? most : scaled << UInt64(octaves)) : scaled >> UInt64(-octaves)
    return Swift.min(Swift.max(1, moved), most)
  }

  /// 2^(n/16) for n from 0 to 15.
  private static let steps: [Double] = [
    1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916, 1.189207115002721,
    1.241857812073484, 1.2968395546510096, 1.3542555469368927, 1.4142135623730951, 1.4768261459394993,
    1.5422108254079407, 1.6104903319492543, 1.681792830507429, 1.7562521603732995, 1.8340080864093424,
    1.9152065613971474,
  ]
}
