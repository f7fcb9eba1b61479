// Thresholds against the figures of the OpenTelemetry specification, "TraceState: Probability Sampling".

import OTLP
import Testing

@Suite struct SamplingThresholdTests {
  /// The specification's table of 1-in-N sampling, at its default of four digits: N, `th`, exact adjusted
  /// count.
  @Test(arguments: [
    (1.0, "0", 1.0), (2, "8", 2), (3, "aaab", 3.00004577706569), (4, "c", 4), (5, "cccd", 5.0000762951094835),
    (8, "e", 8), (10, "e666", 9.99938968568813), (16, "f", 16), (100, "fd70a", 99.99771123402633),
    (1000, "ffbe77", 1000.012874769029), (10_000, "fff9724", 9999.830725674266),
    (100_000, "ffff583a", 99999.238556461), (1_000_000, "ffffef39", 999992.38556461),
  ])
  func agreesWithTheSpecification(_ count: Double, _ text: String, _ adjusted: Double) {
    let threshold = SamplingThreshold(probability: 1 / count)
    #expect(threshold.hexadecimal == text)
    #expect(abs(threshold.adjustedCount / adjusted - 1) < 1e-13)
    #expect(abs(threshold.probability * threshold.adjustedCount - 1) < 1e-15)
  }

  @Test(arguments: [0.25, 0.5, 0.75, 0.125, 0x1p-16, 0x1p-56])
  func powersOfTwoAreExact(_ probability: Double) {
    let threshold = SamplingThreshold(probability: probability)
    #expect(threshold.probability == probability)
    #expect(threshold.adjustedCount == 1 / probability)
  }

  @Test func theRangeEndsAtAlwaysAndNever() {
    for probability in [0, -0.0, -1, -.infinity, .nan, .signalingNaN] {
      #expect(SamplingThreshold(probability: probability) == .never, "\(probability)")
    }
    for probability in [1, 1.5, .infinity, .greatestFiniteMagnitude] {
      #expect(SamplingThreshold(probability: probability) == .always, "\(probability)")
    }
    #expect(SamplingThreshold(rejected: .max) == .never)
    #expect(SamplingThreshold.always.adjustedCount == 1)
    #expect(SamplingThreshold.never.adjustedCount == 0)
    #expect(SamplingThreshold.never.probability == 0)
  }

  /// A probability above zero keeps something, however small; one below one never exceeds one, however large.
  @Test func smallProbabilitiesKeepSomething() {
    var probability = 0.5
    while probability > 0 {
      let threshold = SamplingThreshold(probability: probability)
      #expect(threshold < .never, "\(probability)")
      #expect(threshold.keeps(randomness: SamplingThreshold.randomnessCount - 1))
      probability /= 3
    }
    #expect(SamplingThreshold(probability: .leastNonzeroMagnitude).hexadecimal == "ffffffffffffff")
    #expect(SamplingThreshold(probability: 1.0.nextDown) <= SamplingThreshold(probability: 0.9999))
  }

  @Test func smallerProbabilitiesNeverKeepMore() {
    var random = SeededGenerator(seed: 5)
    for _ in 0..<10_000 {
      let left = Double.random(in: 0...1, using: &random)
      let right = left * Double.random(in: 0...1, using: &random)
      #expect(SamplingThreshold(probability: right) >= SamplingThreshold(probability: left))
    }
  }

  /// Four digits after the leading `f`s: the kept share is off by at most 2^-13, wherever there are leading
  /// `f`s, and the written form is no longer than that.
  @Test func roundingIsFine() {
    var random = SeededGenerator(seed: 6)
    for _ in 0..<10_000 {
      let exponent = Double.random(in: 0...8, using: &random)
      let probability = 1 / exponent.powerOfTen
      let threshold = SamplingThreshold(probability: probability)
      // The unit is 16^-(f + 4) with 16^-(f + 1) <= probability: half of it is 2^-13 of the probability.
      #expect(abs(threshold.probability / probability - 1) <= 0x1p-13)
      let text = threshold.hexadecimal
      #expect(text.drop { $0 == "f" }.count <= 4 && text.count <= 14)
    }
  }

  @Test(arguments: [
    (UInt64(0), "0"), (1, "00000000000001"), (0x10, "0000000000001"), (0x8_0000_0000_0000, "08"),
    (0x80_0000_0000_0000, "8"), (0xff_ffff_ffff_ffff, "ffffffffffffff"), (0xfd_70a4_0000_0000, "fd70a4"),
  ])
  func leavesOutTrailingZerosAlone(_ rejected: UInt64, _ text: String) throws {
    #expect(SamplingThreshold(rejected: rejected).hexadecimal == text)
    #expect(sampling("ot=th:\(text)").threshold == SamplingThreshold(rejected: rejected))
  }

  @Test func keepsFromTheThresholdOn() {
    let threshold = SamplingThreshold(probability: 0.01)
    #expect(!threshold.keeps(randomness: threshold.rejected - 1))
    #expect(threshold.keeps(randomness: threshold.rejected))
    for randomness in [0, 1, SamplingThreshold.randomnessCount - 1] {
      #expect(SamplingThreshold.always.keeps(randomness: randomness))
      #expect(!SamplingThreshold.never.keeps(randomness: randomness))
    }
  }

  /// One in a hundred random ids, within five standard deviations: sqrt(n p (1 - p)) = 31.5 of 100,000.
  @Test func keepsTheShareThatItSays() {
    var random = SeededGenerator(seed: 7)
    let threshold = SamplingThreshold(probability: 0.01)
    let kept = (0..<100_000).count { _ in
      threshold.keeps(randomness: TraceID(high: random.next(), low: random.next()).randomness)
    }
    #expect(abs(kept - 1_000) < 158)
  }
}

extension SamplingThreshold {
  fileprivate var hexadecimal: String {
    var bytes: [UInt8] = []
    appendHexadecimal(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension Double {
  /// Ten to this power, in steps of ten to the 1/16th: close enough to choose probabilities by.
  fileprivate var powerOfTen: Double {
    (0..<Int(self * 16)).reduce(1) { power, _ in power * 1.154_781_984_689_458_2 }
  }
}
