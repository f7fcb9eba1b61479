// What a partition has kept against what its budget gave it, trace by trace.
//
// Rates are computed for the fleet, from counts of a minute. With little traffic such counts say next to
// nothing: at one trace a second, one percent is one trace in a hundred seconds. So each partition also keeps
// an account. Every decided trace pays its share in, every kept one is taken out, and what is left over, or
// owed, moves the next rates up or down by a power of two.
//
// Weights stay right: the account depends on earlier traces only, never on the randomness of the one whose
// rate it moves, and a rate is never zero.

import OTLP

/// The account of one partition. All amounts are billionths of the budget's unit, as integers: the same
/// traces give the same rates on every machine.
struct BudgetAccount: Sendable {
  /// Billionths.
  private static let unit: Int64 = 1_000_000_000
  /// The largest amount of one trace or batch that counts: so that products fit 63 bits.
  private static let amountMax: Int64 = 1 << 32
  /// How many traces may be kept for being the first of their shape before any budget came in.
  private static let advance: Int64 = 4
  /// How many such traces may be saved up for.
  private static let tokensMax: Int64 = 8
  /// A rate moves by at most this many steps of `RateGrid`: a factor of sixteen.
  private static let stepsMax: Int64 = 64

  /// What is left, negative if more was kept.
  private(set) var credit: Int64 = 0
  /// What the first traces of new kinds may take.
  private(set) var tokens: Int64 = 0
  /// How much of it may still be paid in during this interval.
  private var refillLeft: Int64 = 0
  /// What a unit of traffic pays in, and how much of that goes to first traces.
  private var share: Int64 = 0
  private var firstShare: Int64 = 0
  private let seconds: Int64

  /// The traffic that the mean size of a trace comes from.
  private var traces: Int64 = 0
  private var amount: Int64 = 0
  /// Traces decided in this interval,
  private var tracesNow: Int64 = 0
  /// and how much credit doubles the rates, in traces.
  private var scale: Int64 = unit / 2

  init(_ configuration: BaselineConfiguration, share: Double) {
    seconds = max(1, configuration.interval.nanoseconds / BudgetAccount.unit)
    adopt(configuration, share: share)
    tokens = (configuration.firstOfShapeShare > 0 ? BudgetAccount.advance : 0) * BudgetAccount.unit
    refillLeft = seconds * BudgetAccount.unit
  }

  /// Adopts the share of the traffic that the budget is.
  mutating func adopt(_ configuration: BaselineConfiguration, share: Double) {
    self.share = Int64(min(max(share, 0), 1) * Double(BudgetAccount.unit))
    let part =
      configuration.firstOfShapeShare > 0 ? configuration.firstOfShapeShare : RateController.newTracesShare
    firstShare = Int64(Double(self.share) * part)
  }

  /// The mean amount of a trace, at least one.
  private var mean: Int64 { traces > 0 ? max(1, amount / traces) : 1 }

  /// A number of billionths of traces as an amount.
  private func amount(ofTraces count: Int64) -> Int64 {
    let (product, overflow) = count.multipliedReportingOverflow(by: mean)
    return overflow ? .max : product
  }

  /// Pays in for decided traces.
  mutating func earn(traces count: Int, amount size: UInt64) {
    let size = Int64(clamping: min(size, UInt64(BudgetAccount.amountMax)))
    let count = Int64(clamping: min(count, 1 << 32))
    if traces > 1 << 20 { (traces, amount) = (traces / 2, amount / 2) }
    traces += count
    amount += size
    tracesNow = min(tracesNow + count, 1 << 40)
    let most = amount(ofTraces: 2 * BudgetAccount.unit + BudgetAccount.reach(scale))
    credit = min(credit.addingSaturated(size.multipliedSaturated(by: share)), most)
    let refill = min(size.multipliedSaturated(by: firstShare), amount(ofTraces: refillLeft))
    refillLeft -= refill / mean
    tokens = min(tokens + refill, max(tokens, amount(ofTraces: BudgetAccount.tokensMax * BudgetAccount.unit)))
  }

  /// Takes out what kept traces cost.
  mutating func spend(amount size: UInt64) {
    let size = Int64(clamping: min(size, UInt64(BudgetAccount.amountMax)))
    // Whatever else is owed is forgiven: an outage's errors must not silence the baseline for hours.
    let least = -amount(ofTraces: 16 * BudgetAccount.unit + BudgetAccount.reach(scale))
    credit = max(credit.addingSaturated(-size.multipliedSaturated(by: BudgetAccount.unit)), least)
  }

  /// How far credit may go beyond what moves the rates all the way.
  private static func reach(_ scale: Int64) -> Int64 { scale * (stepsMax / 16 + 2) }

  /// Whether there is enough for a first trace, with `reserve` traces' worth left over.
  func hasTokens(forAmount size: UInt64, reserve: Int64) -> Bool {
    let size = Int64(clamping: min(size, UInt64(BudgetAccount.amountMax)))
    let cost = size.multipliedSaturated(by: BudgetAccount.unit)
    // A trace larger than what can be saved up takes all there is.
    let most = amount(ofTraces: BudgetAccount.tokensMax * BudgetAccount.unit)
    return tokens >= min(cost.addingSaturated(amount(ofTraces: reserve * BudgetAccount.unit)), most)
  }

  /// Takes what a first trace costs.
  mutating func takeTokens(forAmount size: UInt64) {
    let size = Int64(clamping: min(size, UInt64(BudgetAccount.amountMax)))
    let most = amount(ofTraces: BudgetAccount.tokensMax * BudgetAccount.unit)
    tokens = max(tokens.addingSaturated(-size.multipliedSaturated(by: BudgetAccount.unit)), -most)
  }

  /// Takes what one trace of the usual size costs, if there is as much.
  mutating func takeTokensForOne() -> Bool {
    guard hasTokens(forAmount: UInt64(mean), reserve: 0) else { return false }
    takeTokens(forAmount: UInt64(mean))
    return true
  }

  /// Begins another interval.
  mutating func startInterval() {
    // Of what ten minutes keep, one percent is as good as nothing. The more that is, the gentler the pull:
    // what it does to weights costs precision.
    let kept = Double(tracesNow) * Double(share) / Double(seconds) * 600
    scale = max(BudgetAccount.unit / 2, Int64(min(kept / 100, 1e15)))
    tracesNow = 0
    refillLeft = seconds * BudgetAccount.unit
  }

  /// A rate, moved by what is left or owed.
  func moved(_ threshold: SamplingThreshold) -> SamplingThreshold {
    let whole = SamplingThreshold.randomnessCount
    let chance = whole - threshold.rejected
    guard chance > 0 else { return threshold }
    let double = max(1, amount(ofTraces: scale) / 16)
    let steps = min(max(credit / double, -BudgetAccount.stepsMax), BudgetAccount.stepsMax)
    guard steps != 0 else { return threshold }
    return SamplingThreshold(rounding: whole - RateGrid.moved(chance, by: Int(steps), most: whole))
  }
}

extension Int64 {
  /// The sum, or the largest or smallest number.
  fileprivate func addingSaturated(_ other: Int64) -> Int64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? (other > 0 ? .max : .min) : sum
  }

  /// The product of numbers that are not negative, or the largest number.
  fileprivate func multipliedSaturated(by other: Int64) -> Int64 {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow ? .max : product
  }
}
