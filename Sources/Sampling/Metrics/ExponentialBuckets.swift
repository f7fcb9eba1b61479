// Exponential histograms: which bucket a duration is in, and the buckets of one histogram.
//
// Bucket i at scale s has the values above 2^(i / 2^s), up to and including 2^((i + 1) / 2^s). A histogram
// begins with the largest scale, the narrowest buckets. Once its values need more than 160 of them,
// neighbours are joined, two by two, and the scale is one less: the same buckets as if it had begun with
// that scale.
//
// Source: OpenTelemetry Metrics Data Model, "ExponentialHistogram", and the SDK's "Base2 Exponential Bucket
// Histogram Aggregation" (max_size 160).

import Invariants

/// Finds the buckets of durations at the largest scale, by integers alone: no logarithm, no division, the
/// same on every machine.
///
/// A duration is 2^e times a mantissa from 1 to 2. From one power of two to the next, bounds of buckets are
/// at the same mantissas, whatever the unit is, and 32 buckets further on.
struct BucketTable: Sendable {
  /// The largest scale: 32 buckets for each power of two, each 2.2 % wide, so that 160 of them reach from a
  /// value to its 32-fold. Most histograms of durations need that much, and would be joined from a larger
  /// scale again in each interval.
  static let scaleMax = 5

  /// What a 64th of the mantissas has. A bucket is wider than that, so no more than one begins in it.
  private struct Step {
    /// Mantissas above this one are a bucket further on.
    var bound: UInt64
    /// The bucket of the others, if the duration is at least one nanosecond, and less than two.
    var bucket: Int
  }

  private let steps: [Step]

  /// - Parameter unit: the nanoseconds in one of the unit that values are given in.
  init(unit: UInt64) {
    let exponent = 63 - unit.leadingZeroBitCount
    let bounds = BucketTable.begins.enumerated().map { number, begin in
      let bound = (UInt128(begin) * UInt128(unit)) >> UInt128(exponent)
      // Those at two and above are at half as much, one power of two earlier.
      return bound >> 64 == 0
        ? (mantissa: UInt64(bound), number: number) : (mantissa: UInt64(bound >> 1), number: number - 32)
    }
    .sorted { $0.mantissa < $1.mantissa }
    steps = (0..<64 as Range<UInt64>).map { part in
      let start = 1 << 63 | part << 57
      let next = bounds.first { $0.mantissa >= start }
      let bucket = (next?.number ?? bounds[0].number + 32) - 1
      let isHere = next.map { $0.mantissa - start < 1 << 57 } ?? false
      return Step(bound: isHere ? next?.mantissa ?? .max : .max, bucket: bucket - 32 * exponent)
    }
  }

  /// The bucket of a duration above zero, in nanoseconds.
  ///
  /// Exact for those below 2^60, which is 36 years.
  @inline(__always)
  func bucket(of duration: UInt64) -> Int32 {
    let zeros = duration.leadingZeroBitCount
    // The highest bit is set.
    let mantissa = duration &<< UInt64(truncatingIfNeeded: zeros)
    let step = steps[Int(truncatingIfNeeded: mantissa &>> 57 & 63)]
    // Sound: there are 64 powers of two, and 32 buckets for each.
    let bucket = (63 &- zeros) &<< BucketTable.scaleMax &+ step.bucket &+ (mantissa > step.bound ? 1 : 0)
    return Int32(truncatingIfNeeded: bucket)
  }

  /// 2^(n/32) · 2^63, for n from 0 to 31, rounded down. What is above a bound that is no binary fraction is
  /// above it rounded down, and the other way round. Times a unit, the errors are in the last four bits of a
  /// mantissa, which durations below 2^60 do not have.
  private static let begins: [UInt64] = [
    0x8000_0000_0000_0000, 0x82cd_8698_ac2b_a1d7, 0x85aa_c367_cc48_7b14, 0x8898_0e80_92da_8527,
    0x8b95_c1e3_ea8b_d6e6, 0x8ea4_398b_45cd_53c0, 0x91c3_d373_ab11_c336, 0x94f4_efa8_fef7_0961,
    0x9837_f051_8db8_a96f, 0x9b8d_39b9_d54e_5538, 0x9ef5_3260_91a1_11ad, 0xa270_4303_0c49_6818,
    0xa5fe_d6a9_b151_38ea, 0xa9a1_5ab4_ea7c_0ef8, 0xad58_3eea_42a1_4ac6, 0xb123_f581_d2ac_258f,
    0xb504_f333_f9de_6484, 0xb8fb_af47_62fb_9ee9, 0xbd08_a39f_580c_36be, 0xc12c_4cca_6670_9456,
    0xc567_2a11_5506_dadd, 0xc9b9_bd86_6e2f_27a2, 0xce24_8c15_1f84_80e3, 0xd2a8_1d91_f12a_e45a,
    0xd744_fcca_d69d_6af4, 0xdbfb_b797_daf2_3755, 0xe0cc_deec_2a94_e111, 0xe5b9_06e7_7c83_48a8,
    0xeac0_c6e7_dd24_392e, 0xefe4_b99b_dcda_f5cb, 0xf525_7d15_2486_cc2c, 0xfa83_b2db_722a_033a,
  ]
}

/// The histogram of one series.
///
/// What it costs to count a duration decides what metrics cost: the counts are in place, and the first and
/// the last bucket in use are found from the shortest and the longest duration when they are needed.
struct DurationHistogram {
  /// At most so many buckets.
  static let countMax = 160

  /// Durations.
  private(set) var count: UInt64 = 0
  /// Those of them that are zero. They have no bucket.
  private(set) var zeroCount: UInt64 = 0
  /// The sum of all, in nanoseconds. 2^64 durations fit.
  private(set) var sum: UInt128 = 0
  /// The shortest above zero, and the longest.
  private var least = UInt64.max
  private(set) var most: UInt64 = 0
  /// The bucket whose count is the first: far from all buckets before the first duration.
  private var first = Int32.max
  /// By how much the scale is less than the largest.
  private var shift: Int32 = 0
  /// Of the buckets from `first` on. A bucket elsewhere moves them.
  private var counts = InlineArray<160, UInt32>(repeating: 0)

  /// The shortest, in nanoseconds.
  var shortest: UInt64 { zeroCount > 0 ? 0 : least }

  /// The scale.
  var scale: Int { BucketTable.scaleMax - Int(shift) }

  /// Counts a duration in nanoseconds.
  @inline(__always)
  mutating func add(_ duration: UInt64, _ table: borrowing BucketTable) {
    count &+= 1
    guard duration > 0 else { return zeroCount &+= 1 }
    sum &+= UInt128(duration)
    if duration < least { least = duration }
    if duration > most { most = duration }
    let bucket = table.bucket(of: duration)
    // One comparison: as an unsigned number, a place before the first is too large.
    let place = UInt32(bitPattern: bucket &>> shift &- first)
    guard place < UInt32(DurationHistogram.countMax) else { return widen(to: bucket, table) }
    // Sound: `SpanMetrics.spansMax`.
    counts[Int(place)] &+= 1
  }

  /// Counts a duration whose bucket at the largest scale has no place yet.
  @inline(never)
  private mutating func widen(to bucket: Int32, _ table: borrowing BucketTable) {
    // With the new one.
    let (low, high) = (table.bucket(of: least), table.bucket(of: most))
    var halvings: Int32 = 0
    while high &>> (shift &+ halvings) &- low &>> (shift &+ halvings) >= DurationHistogram.countMax {
      halvings &+= 1
      // 64 powers of two fit at scale 1.
      invariant(shift &+ halvings < 16, "no scale is small enough")
    }
    let newShift = shift &+ halvings
    let (newLow, newHigh) = (low &>> newShift, high &>> newShift)
    // As much room on either side.
    let newFirst = newLow &- (Int32(DurationHistogram.countMax) &- 1 &- (newHigh &- newLow)) / 2
    if first != .max, halvings > 0 {
      move(to: newFirst, joining: halvings, low &>> shift, high &>> shift)
    } else if first != .max {
      move(by: Int(first &- newFirst))
    }
    (first, shift) = (newFirst, newShift)
    counts[Int(bucket &>> newShift &- newFirst)] &+= 1
  }

  /// Moves all counts by so many places. Those that leave are zero: what is in use has room before and after.
  private mutating func move(by distance: Int) {
    let left = DurationHistogram.countMax - abs(distance)
    invariant(left > 0, "no bucket is in both ranges")
    var places = counts.mutableSpan
    // Sound: `left` counts from either place on, and the `abs(distance)` others, are among the 160; these are
    // integers, so their bytes may be copied, overlapping or not, and zero.
    unsafe places.withUnsafeMutableBytes { bytes in
      guard let start = bytes.baseAddress else { return }
      let stride = MemoryLayout<UInt32>.stride
      unsafe (start + max(0, distance) * stride)
        .copyMemory(from: start + max(0, -distance) * stride, byteCount: left * stride)
      unsafe (start + (distance > 0 ? 0 : left) * stride)
        .initializeMemory(as: UInt32.self, repeating: 0, count: abs(distance))
    }
  }

  /// Moves the counts to their places if `newFirst` is the first bucket, and joins neighbours, two by two, so
  /// many times. None that is not zero is outside of `low` and `high`.
  private mutating func move(to newFirst: Int32, joining halvings: Int32, _ low: Int32, _ high: Int32) {
    var moved = InlineArray<160, UInt32>(repeating: 0)
    var place = max(0, low &- first)
    let end = min(Int32(DurationHistogram.countMax), high &- first &+ 1)
    while place < end {
      moved[Int((first &+ place) &>> halvings &- newFirst)] &+= counts[Int(place)]
      place &+= 1
    }
    counts = moved
  }

  /// The first bucket in use and the last, at the scale; nil if all durations are zero.
  func bucketsInUse(_ table: BucketTable) -> ClosedRange<Int32>? {
    guard most > 0 else { return nil }
    return table.bucket(of: least) &>> shift...table.bucket(of: most) &>> shift
  }

  /// How many are in `bucket`, one of those in use.
  @inline(__always)
  func count(of bucket: Int32) -> UInt32 { counts[Int(bucket &- first)] }
}
