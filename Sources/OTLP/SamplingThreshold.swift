// The consistent sampling threshold, exactly as OpenTelemetry defines it: 56 bits, no floating point in a
// verdict.

/// How much of the randomness space a sampler rejects: a trace is kept if its 56 random bits are at least
/// this.
///
/// Source: OpenTelemetry specification, "TraceState: Probability Sampling" (sampling threshold `th`,
/// randomness `rv`).
public struct SamplingThreshold: Hashable, Sendable, Comparable, BitwiseCopyable {
  /// The rejected share of the randomness space, in units of 2^-56; from 0 (keep all) to 2^56 (keep none).
  public let rejected: UInt64

  /// The number of different randomness values: 2^56.
  public static let randomnessCount: UInt64 = 1 << 56

  /// Keeps everything.
  public static let always = SamplingThreshold(rejected: 0)

  /// Keeps nothing. It has no `th` form, because nothing ever carries it.
  public static let never = SamplingThreshold(rejected: randomnessCount)

  /// Rejects `rejected` of 2^56 randomness values; anything above 2^56 counts as 2^56.
  public init(rejected: UInt64) {
    self.rejected = min(rejected, SamplingThreshold.randomnessCount)
  }

  /// The threshold that keeps `probability` of all traces, rounded to four significant hexadecimal digits
  /// (after leading `f`s), as the specification advises: the trace's own bytes carry it.
  ///
  /// A probability of zero or less is `never`, one or more is `always`; above zero, at least 2^-56 is kept.
  public init(probability: Double) {
    guard probability > 0 else {
      self = .never
      return
    }
    guard probability < 1 else {
      self = .always
      return
    }
    let count = Double(SamplingThreshold.randomnessCount)
    let exact = min(UInt64((1 - probability) * count), SamplingThreshold.randomnessCount - 1)
    self.init(rejected: SamplingThreshold.rounded(exact))
  }

  /// Rejects about `rejected` of 2^56 randomness values, rounded as above.
  public init(rounding rejected: UInt64) {
    let exact = min(rejected, SamplingThreshold.randomnessCount)
    self.init(
      rejected: exact == SamplingThreshold.randomnessCount ? exact : SamplingThreshold.rounded(exact))
  }

  /// Rounds to the nearest value with four hexadecimal digits after the leading `f`s.
  private static func rounded(_ exact: UInt64) -> UInt64 {
    var leading: UInt64 = 0
    while leading < 10, (exact >> (52 - 4 * leading)) & 0xf == 0xf { leading += 1 }
    let droppedBits = 56 - 4 * min(leading + 4, 14)
    guard droppedBits > 0 else { return exact }
    let unit: UInt64 = 1 << droppedBits
    let nearest = (exact + unit / 2) / unit * unit
    return nearest < randomnessCount ? nearest : exact / unit * unit
  }

  /// Whether a trace with these 56 random bits is kept.
  public func keeps(randomness: UInt64) -> Bool {
    randomness >= rejected
  }

  /// The probability of being kept, from 0 to 1.
  public var probability: Double {
    Double(SamplingThreshold.randomnessCount - rejected) / Double(SamplingThreshold.randomnessCount)
  }

  /// How many traces a kept one stands for: the inverse of the probability; zero for `never`.
  public var adjustedCount: Double {
    let kept = SamplingThreshold.randomnessCount - rejected
    return kept == 0 ? 0 : Double(SamplingThreshold.randomnessCount) / Double(kept)
  }

  /// Appends the value of `th`: up to 14 hexadecimal digits, trailing zeros left out; "0" for `always`.
  public func appendHexadecimal(to bytes: inout [UInt8]) {
    bytes.appendText(room: 16) { $0.appendHexadecimal(self) }
  }

  /// Reads what `appendHexadecimal` wrote; nil for anything else.
  public init?(hexadecimal text: [UInt8]) {
    guard (1...14).contains(text.count) else { return nil }
    var value: UInt64 = 0
    for character in text {
      guard let digit = Hexadecimal.value(of: character) else { return nil }
      value = value << 4 | UInt64(digit)
    }
    self.init(rejected: value << UInt64(4 * (14 - text.count)))
  }

  /// Orders by what is rejected: the greater threshold keeps less.
  public static func < (left: SamplingThreshold, right: SamplingThreshold) -> Bool {
    left.rejected < right.rejected
  }
}

extension TextOutput {
  /// Appends the value of `th`, as above. It takes room for 16 bytes.
  package mutating func appendHexadecimal(_ threshold: SamplingThreshold) {
    // Zero keeps one digit.
    let zeros = min(threshold.rejected.trailingZeroBitCount / 4, 13)
    appendHexadecimal(threshold.rejected >> UInt64(4 * zeros), digits: 14 - zeros)
  }
}
