// Exponential histograms against the specification's own arithmetic.

import Foundation
import Simulation
import Testing

@testable import Sampling

@Suite struct ExponentialBucketTests {
  private let table = BucketTable.shared

  /// Bucket i begins above 2^(i / 32): a power of two is the last value of its bucket.
  @Test func powersOfTwoEndTheirBuckets() {
    for exponent in -30...64 {
      let value = Double(sign: .plus, exponent: exponent, significand: 1)
      #expect(table.bucket(of: value) == Int32(32 * exponent - 1))
      #expect(table.bucket(of: value.nextUp) == Int32(32 * exponent))
      #expect(table.bucket(of: value.nextDown) == Int32(32 * exponent - 1))
    }
  }

  /// Around each bound: the logarithm of the C library is off by less than a billionth of a bucket.
  @Test func boundsAreThoseOfTheLogarithm() {
    for bucket in -300...300 {
      let bound = exp2(Double(bucket) / 32)
      #expect(table.bucket(of: bound * (1 + 1e-9)) == Int32(bucket))
      #expect(table.bucket(of: bound * (1 - 1e-9)) == Int32(bucket - 1))
    }
    var random = RandomSource(seed: 5)
    for _ in 0..<20_000 {
      let value = exp2(random.number(from: -20, to: 45))
      let exact = log2(value) * 32
      guard abs(exact - exact.rounded()) > 1e-6 else { continue }
      #expect(Double(table.bucket(of: value)) == exact.rounded(.up) - 1)
    }
  }

  /// Whatever comes in whatever order: all values are in the buckets that the scale gives them, no more than
  /// 160, and a larger scale would have needed more.
  @Test(arguments: 1...40 as ClosedRange<UInt64>)
  func bucketsHaveAllValuesAtTheLargestScaleThatFits(_ seed: UInt64) {
    var random = RandomSource(seed: seed)
    let octaves = random.number(from: 0, to: 60)
    let base = 3 * BucketRange.countMax
    var counts = [UInt32](repeating: 0, count: 5 * BucketRange.countMax)
    var range = BucketRange()
    var values: [Int32] = []
    for _ in 0..<random.number(in: 1...400) {
      let bucket = table.bucket(of: exp2(random.number(from: -20, to: -19.9 + octaves)))
      values.append(bucket)
      var own = counts.mutableSpan
      range.add(bucket, to: &own, at: base)
    }
    var found: [UInt32] = []
    range.forEach(in: counts, at: base) { found.append($0) }
    let own = values.map { $0 >> Int32(BucketTable.scaleMax - range.scale) }
    #expect(range.count <= 160 && range.count == found.count)
    #expect(range.low == own.min() && range.high == own.max())
    for (number, count) in found.enumerated() {
      #expect(Int(count) == own.count { $0 == range.low + Int32(number) })
    }
    if range.scale < BucketTable.scaleMax {
      let wider = values.map { $0 >> Int32(BucketTable.scaleMax - range.scale - 1) }
      #expect((wider.max() ?? 0) - (wider.min() ?? 0) >= 160)
    }
    // Nothing outside the histogram's own counts.
    #expect(counts[..<base].allSatisfy { $0 == 0 } && counts[(base + 160)...].allSatisfy { $0 == 0 })
  }

  @Test func durationsFromOneNanosecondToTheLongestFit() {
    var counts = [UInt32](repeating: 0, count: 160)
    var range = BucketRange()
    #expect(range.count == 0)
    for duration in [1, UInt64.max] {
      var own = counts.mutableSpan
      range.add(table.bucket(of: Double(duration) / 1e6), to: &own, at: 0)
    }
    #expect(range.scale == 1 && range.count <= 160)
  }
}
