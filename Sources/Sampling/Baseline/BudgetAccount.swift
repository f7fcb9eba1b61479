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

/// The account of one partition. All amounts are billionths, as integers: the same traces give the same rates
/// on every machine.
struct BudgetAccount: Sendable {
  /// Billionths.
  private static let unit: Int64 = 1_000_000_000
  /// The largest amount of one trace or batch that counts: so that products fit 63 bits.
  private static let amountMax: Int64 = 1 << 32
  /// How many traces may be kept for being the first of their shape before any budget came in.
  private static let advance: Int64 = 4
  /// How many such traces may be saved up for.
  private static let tokensMax: Int64 = 8
  /// A trace of more than so many mean ones is never kept for its shape, and never owes more.
  private static let costMax: Int64 = 64
  /// What is larger than so many mean traces pays the rest by chance.
  private static let giantSize: Int64 = 8
  /// A rate moves by at most this many steps of `RateGrid`: a factor of sixteen.
  private static let stepsMax: Int64 = 64

  /// What is left in the budget's unit, negative if more was kept.
  private(set) var credit: Int64 = 0
  /// What the first traces of new kinds may take, in mean traces: so what is saved does not depend on how
  /// large those were that it was saved for. Negative after one that cost more than there was.
  private(set) var tokens: Int64 = 0
  /// How many mean traces may still be paid in during this interval.
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
    // Traffic may have begun in this interval.
    scale = max(scale, scaleNow)
    let most = amount(ofTraces: 2 * BudgetAccount.unit + BudgetAccount.reach(scale))
    credit = min(credit.addingSaturated(size.multipliedSaturated(by: share)), most)
    let refill = min(size.multipliedSaturated(by: firstShare) / mean, refillLeft)
    refillLeft -= refill
    tokens = min(tokens + refill, max(tokens, BudgetAccount.tokensMax * BudgetAccount.unit))
  }

  /// Takes out what traces cost that others keep.
  mutating func spend(traces count: Int, amount size: UInt64) {
    pay(Int64(clamping: min(size, UInt64(BudgetAccount.amountMax))) * BudgetAccount.unit, for: count)
  }

  /// Takes out what traces cost that were left to the baseline.
  ///
  /// Those that are kept cost their size. But one that is many times larger than the mean would silence the
  /// rest for long, or take what is limited for debts and be forgiven. So what exceeds `giantSize` mean
  /// traces is paid by chance: by all such traces, kept or not, times the probability that they are kept
  /// with.
  ///
  /// - Parameters:
  ///   - traces: how many.
  ///   - size: their amount.
  ///   - isKept: whether they are kept.
  ///   - threshold: the rate that they were decided with; nil if it is not known.
  ///   - incoming: the threshold of their head sampling, which they have passed.
  mutating func spend(
    traces: Int, amount size: UInt64, isKept: Bool, at threshold: SamplingThreshold?,
    incoming: SamplingThreshold
  ) {
    let size = Int64(clamping: min(size, UInt64(BudgetAccount.amountMax)))
    let most = amount(ofTraces: BudgetAccount.giantSize * Int64(clamping: min(traces, 1 << 32)))
    let usual = min(size, threshold == nil ? size : most)
    if isKept { pay(usual * BudgetAccount.unit, for: traces) }
    guard let threshold, size > usual else { return }
    let whole = SamplingThreshold.randomnessCount
    let (kept, there) = (whole - threshold.rejected, whole - incoming.rejected)
    let excess = (size - usual) * BudgetAccount.unit
    guard kept < there else { return pay(excess, for: traces) }
    // `excess` is below 2^63 and `kept` below `there`, so the quotient fits.
    let product = UInt64(excess).multipliedFullWidth(by: kept)
    pay(Int64(there.dividingFullWidth((product.high, product.low)).quotient), for: traces)
  }

  private mutating func pay(_ billionths: Int64, for traces: Int) {
    // Whatever else is owed is forgiven: an outage's errors must not silence the baseline for hours. But what
    // a single trace owes is not.
    let one = min(billionths / Int64(max(1, traces)), oneMax)
    credit = min(credit, max(credit.addingSaturated(-billionths), -max(debtMax, one)))
  }

  /// How much may be owed,
  private var debtMax: Int64 {
    amount(ofTraces: 16 * BudgetAccount.unit + BudgetAccount.reach(scale))
  }

  /// and how much for a single trace.
  private var oneMax: Int64 { amount(ofTraces: BudgetAccount.costMax * BudgetAccount.unit) }

  /// How far credit may go beyond what moves the rates all the way.
  private static func reach(_ scale: Int64) -> Int64 { scale * (stepsMax / 16 + 2) }

  /// The cost of a first trace, in billionths of mean traces. What the mean is, the first trace of all tells.
  private func cost(ofAmount size: UInt64) -> Int64 {
    guard traces > 0 else { return BudgetAccount.unit }
    // Below 2^62.
    return Int64(clamping: min(size, UInt64(BudgetAccount.amountMax))) * BudgetAccount.unit / mean
  }

  /// Whether there is enough for a first trace, with `reserve` traces' worth left over.
  func hasTokens(forAmount size: UInt64, reserve: Int64) -> Bool {
    let cost = cost(ofAmount: size)
    guard cost <= BudgetAccount.costMax * BudgetAccount.unit else { return false }
    // A trace larger than what can be saved up takes all there is, and the rest is owed.
    let most = BudgetAccount.tokensMax * BudgetAccount.unit
    return tokens >= min(cost + reserve * BudgetAccount.unit, most)
  }

  /// Takes what a first trace costs.
  mutating func takeTokens(forAmount size: UInt64) {
    tokens -= min(cost(ofAmount: size), BudgetAccount.costMax * BudgetAccount.unit)
  }

  /// Takes what one trace of the usual size costs, if there is as much.
  mutating func takeTokensForOne() -> Bool {
    guard tokens >= BudgetAccount.unit else { return false }
    tokens -= BudgetAccount.unit
    return true
  }

  /// Begins another interval.
  mutating func startInterval() {
    scale = scaleNow
    // With less traffic, what was owed easily would be owed for hours.
    credit = max(credit, -max(debtMax, oneMax))
    tracesNow = 0
    refillLeft = seconds * BudgetAccount.unit
  }

  /// The scale for the traces of this interval.
  ///
  /// Of what ten minutes keep, one percent is as good as nothing. The more that is, the gentler the pull:
  /// what it does to weights costs precision.
  private var scaleNow: Int64 {
    let kept = Double(tracesNow) * Double(share) / Double(seconds) * 600
    return max(BudgetAccount.unit / 2, Int64(min(kept / 100, 1e15)))
  }

  /// A rate, moved by what is left or owed, but not above `ceiling` unless it is already.
  func moved(_ threshold: SamplingThreshold, ceiling: SamplingThreshold) -> SamplingThreshold {
    let whole = SamplingThreshold.randomnessCount
    let chance = whole - threshold.rejected
    guard chance > 0 else { return threshold }
    let most = max(chance, whole - ceiling.rejected)
    let double = max(1, amount(ofTraces: scale) / 16)
    let steps = min(max(credit / double, -BudgetAccount.stepsMax), BudgetAccount.stepsMax)
    guard steps != 0 else { return threshold }
    return SamplingThreshold(rounding: whole - RateGrid.moved(chance, by: Int(steps), most: most))
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
