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
  /// The largest scale: 128 buckets for each power of two, each 0.54 % wide. Larger ones would tell values
  /// apart that lie in less than 160 / 128 powers of two, closer than that; nobody needs them.
  static let scaleMax = 7

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
    // Sound: an exponent has eleven bits, and there are 128 buckets for each.
    let exponent = Int32(truncatingIfNeeded: bits >> 52) &- 1023
    let begun = Int32(truncatingIfNeeded: step & 0xff) &+ (step >> 8 < fraction ? 1 : 0)
    return exponent << Int32(BucketTable.scaleMax) &+ begun &- 1
  }

  /// 2^(n/128), for n from 0 to 127: the 52 bits of its fraction, rounded down. What is above a bound that is
  /// no binary fraction is above it rounded down, and the other way round.
  private static let begins: [UInt64] = [
    0x0_0000_0000_0000, 0x0_163d_a9fb_3335, 0x0_2c9a_3e77_8060, 0x0_4315_e86e_7f84, 0x0_59b0_d315_8574,
    0x0_706b_29dd_f6dd, 0x0_8745_1875_9bc8, 0x0_9e3e_cac6_f383, 0x0_b558_6cf9_890f, 0x0_cc92_2b72_47f7,
    0x0_e3ec_32d3_d1a2, 0x0_fb66_affe_d31a, 0x1_1301_d012_5b50, 0x1_2abd_c06c_31cb, 0x1_429a_aea9_2ddf,
    0x1_5a98_c8a5_8e51, 0x1_72b8_3c7d_517a, 0x1_8af9_388c_8de9, 0x1_a35b_eb6f_cb75, 0x1_bbe0_8404_5cd3,
    0x1_d487_3168_b9aa, 0x1_ed50_22fc_d91c, 0x2_063b_8862_8cd6, 0x2_1f49_917d_dc96, 0x2_387a_6e75_6238,
    0x2_51ce_4fb2_a63f, 0x2_6b45_65e2_7cdd, 0x2_84df_e1f5_6380, 0x2_9e9d_f51f_dee1, 0x2_b87f_d0da_d98f,
    0x2_d285_a6e4_030b, 0x2_ecaf_a93e_2f56, 0x3_06fe_0a31_b715, 0x3_2170_fc4c_d831, 0x3_3c08_b264_16ff,
    0x3_56c5_5f92_9ff0, 0x3_71a7_373a_a9ca, 0x3_8cae_6d05_d865, 0x3_a7db_34e5_9ff6, 0x3_c32d_c313_a8e4,
    0x3_dea6_4c12_3422, 0x3_fa45_04ac_801b, 0x4_160a_21f7_2e29, 0x4_31f5_d950_a896, 0x4_4e08_6061_892d,
    0x4_6a41_ed1d_0057, 0x4_86a2_b5c1_3cd0, 0x4_a32a_f0d7_d3de, 0x4_bfda_d536_2a27, 0x4_dcb2_99fd_dd0d,
    0x4_f9b2_769d_2ca6, 0x5_16da_a2cf_6641, 0x5_342b_569d_4f81, 0x5_51a4_ca5d_920e, 0x5_6f47_36b5_27da,
    0x5_8d12_d497_c7fd, 0x5_ab07_dd48_5429, 0x5_c926_8a59_46b7, 0x5_e76f_15ad_2148, 0x6_05e1_b976_dc08,
    0x6_247e_b03a_5584, 0x6_4346_34cc_c31f, 0x6_6238_8255_2224, 0x6_8155_d44c_a973, 0x6_a09e_667f_3bcc,
    0x6_c012_750b_dabe, 0x6_dfb2_3c65_1a2e, 0x6_ff7d_f951_9483, 0x7_1f75_e8ec_5f73, 0x7_3f9a_48a5_8173,
    0x7_5feb_5642_67c8, 0x7_8069_4fde_5d3f, 0x7_a114_73eb_0186, 0x7_c1ed_0130_c132, 0x7_e2f3_36cf_4e62,
    0x8_0427_543e_1a11, 0x8_2589_994c_ce12, 0x8_471a_4623_c7ac, 0x8_68d9_9b44_92ec, 0x8_8ac7_d98a_6699,
    0x8_ace5_422a_a0db, 0x8_cf32_16b5_448b, 0x8_f1ae_9915_7736, 0x9_145b_0b91_ffc5, 0x9_3737_b0cd_c5e4,
    0x9_5a44_cbc8_520e, 0x9_7d82_9fde_4e4f, 0x9_a0f1_70ca_07b9, 0x9_c491_82a3_f090, 0x9_e863_19e3_2323,
    0xa_0c66_7b5d_e564, 0xa_309b_ec4a_2d33, 0xa_5503_b23e_255c, 0xa_799e_1330_b358, 0xa_9e6b_5579_fdbf,
    0xa_c36b_bfd3_f379, 0xa_e89f_995a_d3ad, 0xb_0e07_298d_b665, 0xb_33a2_b84f_15fa, 0xb_5972_8de5_5939,
    0xb_7f76_f2fb_5e46, 0xb_a5b0_30a1_0649, 0xb_cc1e_904b_c1d2, 0xb_f2c2_5bd7_1e08, 0xc_199b_dd85_529c,
    0xc_40ab_5fff_d07a, 0xc_67f1_2e57_d14b, 0xc_8f6d_9406_e7b5, 0xc_b720_dcef_9069, 0xc_df0b_555d_c3f9,
    0xd_072d_4a07_897b, 0xd_2f87_080d_89f1, 0xd_5818_dcfb_a487, 0xd_80e3_16c9_8397, 0xd_a9e6_03db_3285,
    0xd_d321_f301_b460, 0xd_fc97_337b_9b5e, 0xe_2646_14f5_a128, 0xe_502e_e78b_3ff6, 0xe_7a51_fbc7_4c83,
    0xe_a4af_a2a4_90d9, 0xe_cf48_2d8e_67f0, 0xe_fa1b_ee61_5a27, 0xf_252b_376b_ba97, 0xf_5076_5b6e_4540,
    0xf_7bfd_ad9c_be13, 0xf_a7c1_819e_90d8, 0xf_d3c2_2b8f_71f1,
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
  /// Sound: buckets are within 2^18 of zero, and the sum is a multiple of 160 above that.
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
  mutating func add(_ bucket: Int32, to counts: inout [UInt32], at base: Int) {
    let own = bucket &>> shift
    if own < low || own > high { widen(to: bucket, &counts, at: base) }
    counts[base &+ BucketRange.place(bucket &>> shift)] += 1
  }

  @inline(never)
  private mutating func widen(to bucket: Int32, _ counts: inout [UInt32], at base: Int) {
    if low > high { (low, high) = (bucket &>> shift, bucket &>> shift) }
    while max(high, bucket &>> shift) - min(low, bucket &>> shift) >= BucketRange.countMax {
      join(&counts, at: base)
    }
    low = min(low, bucket &>> shift)
    high = max(high, bucket &>> shift)
  }

  /// Joins neighbours.
  private mutating func join(_ counts: inout [UInt32], at base: Int) {
    // 64 powers of two, from a nanosecond to the longest duration, fit at scale 1.
    invariant(shift < 16, "no scale is small enough")
    let old = (low...high).map { counts[base + BucketRange.place($0)] }
    for place in base..<base + BucketRange.countMax { counts[place] = 0 }
    for (number, count) in old.enumerated() {
      counts[base + BucketRange.place((low + Int32(truncatingIfNeeded: number)) >> 1)] += count
    }
    low >>= 1
    high >>= 1
    shift += 1
  }

  /// Calls `body` with the count of each bucket, from the first to the last.
  func forEach(in counts: [UInt32], at base: Int, _ body: (UInt32) -> Void) {
    guard low <= high else { return }
    for bucket in low...high { body(counts[base + BucketRange.place(bucket)]) }
  }
}
