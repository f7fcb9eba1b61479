// Exponential histograms: which bucket a value is in, and the buckets of one histogram.
//
// Bucket i at scale s has the values above 2^(i / 2^s), up to and including 2^((i + 1) / 2^s). A histogram
// begins with the largest scale, the narrowest buckets. Once its values need more than 160 of them,
// neighbours are joined, two by two, and the scale is one less: the same buckets as if it had begun with
// that scale.
//
// Source: OpenTelemetry Metrics Data Model, "ExponentialHistogram", and the SDK's "Base2 Exponential Bucket
// Histogram Aggregation" (max_size 160).

import Invariants

/// Finds buckets at the largest scale, without a logarithm: the same on every machine.
struct BucketTable: Sendable {
  /// The largest scale: 32 buckets for each power of two, each 2.2 % wide, so that 160 of them reach from a
  /// value to its 32-fold. Most histograms of durations need that much, and would be joined from a larger
  /// scale again in each interval.
  static let scaleMax = 5

  /// The one that all samplers use.
  static let shared = BucketTable()

  /// For each 256th of the values between two powers of two: in the low eight bits, how many buckets begin
  /// before it; above them, where the next one begins. A bucket is wider than a 256th of its power of two, so
  /// no more than one begins in each.
  private let steps: [UInt64]

  init() {
    var begun = 0
    steps = (0..<256 as Range<UInt64>).map { part in
      while begun < BucketTable.begins.count, BucketTable.begins[begun] < part << 44 { begun += 1 }
      let next = begun < BucketTable.begins.count ? BucketTable.begins[begun] : 1 << 52
      return next << 8 | UInt64(begun)
    }
  }

  /// The bucket of `value`, which is positive, finite and no subnormal number.
  @inline(__always)
  func bucket(of value: Double) -> Int32 {
    let bits = value.bitPattern
    let fraction = bits & 0x000f_ffff_ffff_ffff
    let step = steps[Int(truncatingIfNeeded: fraction >> 44)]
    // Sound: an exponent has eleven bits, and there are 32 buckets for each.
    let exponent = Int32(truncatingIfNeeded: bits >> 52) &- 1023
    let begun = Int32(truncatingIfNeeded: step & 0xff) &+ (step >> 8 < fraction ? 1 : 0)
    return exponent << Int32(BucketTable.scaleMax) &+ begun &- 1
  }

  /// 2^(n/32), for n from 0 to 31: the 52 bits of its fraction, rounded down. What is above a bound that is
  /// no binary fraction is above it rounded down, and the other way round.
  private static let begins: [UInt64] = [
    0x0_0000_0000_0000, 0x0_59b0_d315_8574, 0x0_b558_6cf9_890f, 0x1_1301_d012_5b50, 0x1_72b8_3c7d_517a,
    0x1_d487_3168_b9aa, 0x2_387a_6e75_6238, 0x2_9e9d_f51f_dee1, 0x3_06fe_0a31_b715, 0x3_71a7_373a_a9ca,
    0x3_dea6_4c12_3422, 0x4_4e08_6061_892d, 0x4_bfda_d536_2a27, 0x5_342b_569d_4f81, 0x5_ab07_dd48_5429,
    0x6_247e_b03a_5584, 0x6_a09e_667f_3bcc, 0x7_1f75_e8ec_5f73, 0x7_a114_73eb_0186, 0x8_2589_994c_ce12,
    0x8_ace5_422a_a0db, 0x9_3737_b0cd_c5e4, 0x9_c491_82a3_f090, 0xa_5503_b23e_255c, 0xa_e89f_995a_d3ad,
    0xb_7f76_f2fb_5e46, 0xc_199b_dd85_529c, 0xc_b720_dcef_9069, 0xd_5818_dcfb_a487, 0xd_fc97_337b_9b5e,
    0xe_a4af_a2a4_90d9, 0xf_5076_5b6e_4540,
  ]
}

/// The buckets of a histogram that are in use. Their counts are in a list shared by many histograms.
struct BucketRange {
  /// At most so many buckets.
  static let countMax = 160

  /// The first bucket and the last; none if the last is before the first.
  private(set) var low = Int32.max
  private(set) var high = Int32.min
  /// By how much the scale is less than the largest.
  private var shift: Int32 = 0

  /// The scale.
  var scale: Int { BucketTable.scaleMax - Int(shift) }

  /// How many buckets are between the first and the last, both included.
  var count: Int { low <= high ? Int(high - low) + 1 : 0 }

  /// The place of a bucket among 160 counts: they go around in a circle.
  ///
  /// Sound: buckets are within 2^16 of zero, and the sum is a multiple of 160 above that.
  @inline(__always)
  private static func place(_ bucket: Int32) -> Int {
    Int(UInt32(truncatingIfNeeded: bucket &+ 160 << 12) % UInt32(countMax))
  }

  /// Counts a value.
  ///
  /// - Parameters:
  ///   - bucket: its bucket at the largest scale.
  ///   - counts: the histogram's own 160 counts are at `base`, all zero before the first value.
  @inline(__always)
  mutating func add(_ bucket: Int32, to counts: inout MutableSpan<UInt32>, at base: Int) {
    let own = bucket &>> shift
    if own < low || own > high { widen(to: bucket, &counts, at: base) }
    counts[base &+ BucketRange.place(bucket &>> shift)] += 1
  }

  @inline(never)
  private mutating func widen(to bucket: Int32, _ counts: inout MutableSpan<UInt32>, at base: Int) {
    let own = bucket &>> shift
    if low > high { (low, high) = (own, own) }
    var halvings: Int32 = 0
    while max(high, own) >> halvings - min(low, own) >> halvings >= BucketRange.countMax { halvings += 1 }
    if halvings > 0 { join(halvings, &counts, at: base) }
    low = min(low, own >> halvings)
    high = max(high, own >> halvings)
  }

  /// Joins neighbours, two by two, so many times.
  private mutating func join(_ halvings: Int32, _ counts: inout MutableSpan<UInt32>, at base: Int) {
    // 64 powers of two, from a nanosecond to the longest duration, fit at scale 1.
    invariant(shift + halvings < 16, "no scale is small enough")
    var joined = InlineArray<160, UInt32>(repeating: 0)
    let first = low >> halvings
    for bucket in low...high {
      let place = base + BucketRange.place(bucket)
      joined[Int(bucket >> halvings - first)] += counts[place]
      counts[place] = 0
    }
    low = first
    high >>= halvings
    shift += halvings
    for bucket in low...high { counts[base + BucketRange.place(bucket)] = joined[Int(bucket - low)] }
  }

  /// Calls `body` with the count of each bucket, from the first to the last.
  func forEach(in counts: [UInt32], at base: Int, _ body: (UInt32) -> Void) {
    guard low <= high else { return }
    for bucket in low...high { body(counts[base + BucketRange.place(bucket)]) }
  }
}
