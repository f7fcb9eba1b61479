// Exponential histograms against the specification's own arithmetic.

import Foundation
import Simulation
import Testing

@testable import Sampling

@Suite struct ExponentialBucketTests {
  private static let units: [UInt64] = [1, 1_000_000, 1_000_000_000]

  /// Bucket i begins above 2^(i / 32): a power of two is the last value of its bucket.
  @Test(arguments: units)
  func powersOfTwoEndTheirBuckets(_ unit: UInt64) {
    let table = BucketTable(unit: unit)
    // Those that are whole nanoseconds, and below 2^60.
    for exponent in -unit.trailingZeroBitCount..<unit.leadingZeroBitCount - 4 {
      let value = exponent < 0 ? unit >> UInt64(-exponent) : unit << UInt64(exponent)
      #expect(table.bucket(of: value) == Int32(32 * exponent - 1))
      #expect(table.bucket(of: value + 1) >= Int32(32 * exponent))
      if value > 1 { #expect(table.bucket(of: value - 1) <= Int32(32 * exponent - 1)) }
    }
  }

  /// Around each bound: the logarithm of the C library is off by less than a billionth of a bucket.
  @Test(arguments: units)
  func boundsAreThoseOfTheLogarithm(_ unit: UInt64) {
    let table = BucketTable(unit: unit)
    for bucket in 0...Int(32 * log2(0x1p60 / Double(unit))) - 1 {
      let bound = exp2(Double(bucket) / 32) * Double(unit)
      guard bound > 1e6 else { continue }
      #expect(table.bucket(of: UInt64(bound * (1 + 1e-9)) + 1) == Int32(bucket))
      #expect(table.bucket(of: UInt64(bound * (1 - 1e-9))) == Int32(bucket - 1))
    }
    var random = RandomSource(seed: 5)
    for _ in 0..<20_000 {
      let duration = UInt64(exp2(random.number(from: 0, to: 60)))
      let exact = log2(Double(duration) / Double(unit)) * 32
      guard abs(exact - exact.rounded()) > 1e-6 else { continue }
      #expect(Double(table.bucket(of: duration)) == exact.rounded(.up) - 1)
    }
  }

  /// Whatever comes in whatever order: all values are in the buckets that the scale gives them, no more than
  /// 160, and a larger scale would have needed more.
  @Test(arguments: 1...60 as ClosedRange<UInt64>)
  func bucketsHaveAllValuesAtTheLargestScaleThatFits(_ seed: UInt64) {
    let table = BucketTable(unit: 1_000_000)
    var random = RandomSource(seed: seed)
    let least = random.number(from: 0, to: 40)
    let octaves = random.number(from: 0, to: random.chance(0.5) ? 8 : 63 - least)
    var durations = DurationHistogram()
    var values: [UInt64] = []
    for _ in 0..<random.number(in: 1...400) {
      let value = random.chance(0.02) ? 0 : UInt64(exp2(random.number(from: least, to: least + octaves)))
      values.append(value)
      durations.add(value, table)
    }
    let above = values.filter { $0 > 0 }
    #expect(durations.count == UInt64(values.count) && durations.sum == values.reduce(0) { $0 + UInt128($1) })
    #expect(durations.zeroCount == UInt64(values.count - above.count) && durations.most == values.max())
    #expect(durations.shortest == values.min())
    let own = above.map { table.bucket(of: $0) >> Int32(BucketTable.scaleMax - durations.scale) }
    guard let buckets = durations.bucketsInUse(table) else {
      #expect(above.isEmpty)
      return
    }
    #expect(buckets.count <= 160 && buckets.lowerBound == own.min() && buckets.upperBound == own.max())
    for bucket in buckets { #expect(Int(durations.count(of: bucket)) == own.count { $0 == bucket }) }
    if durations.scale < BucketTable.scaleMax {
      let wider = above.map { table.bucket(of: $0) >> Int32(BucketTable.scaleMax - durations.scale - 1) }
      #expect((wider.max() ?? 0) - (wider.min() ?? 0) >= 160)
    }
  }

  @Test(arguments: units, [false, true])
  func durationsFromOneNanosecondToTheLongestFit(_ unit: UInt64, longestFirst: Bool) {
    let table = BucketTable(unit: unit)
    var durations = DurationHistogram()
    #expect(durations.bucketsInUse(table) == nil)
    let values = longestFirst ? [UInt64.max, 1] : [1, UInt64.max]
    for duration in values { durations.add(duration, table) }
    #expect(durations.scale == 1 && durations.bucketsInUse(table)?.count ?? 0 <= 160)
    #expect(durations.sum == UInt128(UInt64.max) + 1)
  }
}
