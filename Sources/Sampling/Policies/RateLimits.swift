// Budgets on stream time: token buckets, and the seconds of a composite. Integers only, so that the same log
// gives the same verdicts.

import Invariants

/// How much a limiting policy lets through.
public struct RateLimit: Equatable, Sendable {
  /// What shares a limit.
  public enum Scope: String, Equatable, Sendable, CaseIterable {
    /// Each partition has the whole limit.
    case partition
    /// All partitions of the fleet have it together: see `FleetDemand`.
    case fleet
  }

  /// Tokens added per second of stream time: at least 1.
  public var perSecond: Int64
  /// Tokens that the bucket holds: what may pass at once, and the most that one trace may cost.
  public var burst: Int64
  /// What shares it.
  public var scope = Scope.partition

  /// Makes a limit; without a burst the bucket holds two seconds' worth of tokens, as in the Collector.
  public init(perSecond: Int64, burst: Int64? = nil, scope: Scope = .partition) {
    self.perSecond = perSecond
    self.burst = burst ?? (perSecond < .max / 2 ? 2 * perSecond : .max)
    self.scope = scope
  }
}

/// What asked a limit that the fleet shares for tokens.
struct LimitTally: Equatable, Sendable {
  /// Traces that could ever pass,
  var traces: UInt64 = 0
  /// their tokens,
  var asked: UInt64 = 0
  /// and those of them that were granted.
  var granted: UInt64 = 0
}

/// A token bucket that starts full, or where another sampler left it, by the rules of
/// `golang.org/x/time/rate`.
///
/// Of a limit that the fleet shares it is one partition's share: rate and capacity are multiplied by it. A
/// trace that costs more than this capacity, but not more than the whole limit's, passes once the bucket is
/// full, and leaves a debt that is paid before the next one: so a small share delays large traces, but does
/// not shut them out.
struct TokenBucket: Sendable {
  private var limit: RateLimit
  /// Billionths of a token; negative while there is a debt.
  private var stock: Int128
  private var filledAt = Instant.distantPast
  /// The partition's share of the limit.
  private(set) var share = LimitShare.whole
  /// What asked for tokens since it was last taken; only of a limit that the fleet shares.
  private var tally = LimitTally()

  init(_ limit: RateLimit) {
    self.limit = limit
    if limit.scope == .fleet {
      // Levels, and the greatest debt, stay within 64 bits.
      self.limit.burst = min(limit.burst, 1 << 60)
    }
    stock = Int128(self.limit.burst) * TokenBucket.unit
  }

  /// A token in units of `stock`.
  private static var unit: Int128 { 1_000_000_000 }

  /// The most that the bucket holds, in units of `stock`: at most 2^63 * 2^30, before the share is taken
  /// 2^125.
  private var capacity: Int128 { (Int128(limit.burst) * TokenBucket.unit * share.scaled) >> LimitShare.bits }

  /// Takes out `cost` tokens, if the bucket has that many.
  mutating func take(_ cost: Int64, at now: Instant) -> Bool {
    fill(at: now)
    let price = Int128(cost) * TokenBucket.unit
    guard limit.scope == .fleet else { return pay(price, ifThereIs: price) }
    // No share of the limit lets it pass: it is no demand.
    guard cost <= limit.burst else { return false }
    let isGranted = pay(price, ifThereIs: min(price, capacity))
    tally.traces = tally.traces.addingSaturated(1)
    tally.asked = tally.asked.addingSaturated(UInt64(clamping: cost))
    if isGranted { tally.granted = tally.granted.addingSaturated(UInt64(clamping: cost)) }
    return isGranted
  }

  private mutating func pay(_ price: Int128, ifThereIs needed: Int128) -> Bool {
    guard needed <= stock else { return false }
    stock -= price
    return true
  }

  /// Its level: whole tokens, and billionths of one; those of a debt are a billion more. So neither is
  /// negative, and a level means the same whatever the limit is when it is restored.
  func level(at now: Instant) -> [Int64] {
    var filled = self
    filled.fill(at: now)
    let level = filled.stock.magnitude.quotientAndRemainder(dividingBy: UInt128(TokenBucket.unit))
    let mark = filled.stock < 0 ? TokenBucket.debtMark : 0
    return [Int64(clamping: level.quotient), Int64(clamping: level.remainder) + mark]
  }

  private static let debtMark: Int64 = 1_000_000_000
  private var debtMax: Int128 { limit.scope == .fleet ? Int128(limit.burst) * TokenBucket.unit : 0 }

  /// Restores what `level` returned; at most a full bucket.
  mutating func restore(_ level: ArraySlice<Int64>, at now: Instant) {
    invariant(level.count == 2, "\(level.count) numbers are not a bucket's level")
    let rest = level[level.startIndex + 1]
    let isDebt = rest >= TokenBucket.debtMark
    let fraction = Int128(min(isDebt ? rest - TokenBucket.debtMark : rest, 999_999_999))
    let amount = Int128(level[level.startIndex]) * TokenBucket.unit + fraction
    stock = isDebt ? max(-amount, -debtMax) : min(amount, capacity)
    filledAt = now
  }

  /// Changes the partition's share at `now`. What no longer fits is lost.
  mutating func adopt(_ share: LimitShare, at now: Instant) {
    guard limit.scope == .fleet else { return }
    fill(at: now)
    self.share = share
    stock = min(stock, capacity)
  }

  /// What asked for tokens since the last call.
  mutating func takeTally() -> LimitTally {
    defer { tally = LimitTally() }
    return tally
  }

  private mutating func fill(at now: Instant) {
    guard now > filledAt else { return }
    // From the distant past this overflows: the bucket is full, as after any long time.
    let (elapsed, overflow) = now.nanoseconds.subtractingReportingOverflow(filledAt.nanoseconds)
    filledAt = now
    // At most 2^63 * 2^32, then times 2^63.
    let rate = Int128(limit.perSecond) * share.scaled
    let (flow, isLong) = rate.multipliedReportingOverflow(by: Int128(elapsed))
    guard !overflow, !isLong else { return stock = capacity }
    stock = min(stock + (flow >> LimitShare.bits), capacity)
  }
}

/// The spans that the parts of a composite keep in the current second.
struct SecondBudgets {
  private let budgets: [Int64]
  private let total: Int64
  private let capsTotal: Bool
  private var spent: [Int64]
  private var spentInAll: Int64 = 0
  private var second = Int64.min

  init(_ composite: Composite) {
    total = composite.spansPerSecondMax
    capsTotal = composite.capsTotal
    budgets = composite.parts.map { min($0.spansPerSecond, composite.spansPerSecondMax) }
    spent = Array(repeating: 0, count: budgets.count)
  }

  var partCount: Int { budgets.count }

  /// Spends `spans` from the budget of part `part`, if they fit.
  mutating func spend(_ spans: Int64, of part: Int, at now: Instant) -> Bool {
    let current = SecondBudgets.second(of: now)
    if current != second {
      second = current
      for place in spent.indices { spent[place] = 0 }
      spentInAll = 0
    }
    // Compares with what is left, not with the sum spent: a budget may be the largest number.
    guard spans <= budgets[part] - spent[part], !capsTotal || spans <= total - spentInAll else {
      return false
    }
    spent[part] += spans
    spentInAll = spentInAll.addingSaturated(spans)
    return true
  }

  /// What each part has spent in the current second.
  func spent(at now: Instant) -> [Int64] {
    second == SecondBudgets.second(of: now) ? spent : spent.map { _ in 0 }
  }

  /// Restores what `spent` returned; at most each part's budget.
  mutating func restore(_ spent: ArraySlice<Int64>, at now: Instant) {
    invariant(spent.count == budgets.count, "\(spent.count) numbers for \(budgets.count) parts")
    second = SecondBudgets.second(of: now)
    self.spent = zip(spent, budgets).map { min($0, $1) }
    spentInAll = min(self.spent.reduce(0) { $0.addingSaturated($1) }, total)
  }

  private static func second(of now: Instant) -> Int64 {
    let (quotient, remainder) = now.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    return remainder < 0 ? quotient - 1 : quotient
  }
}

extension Int64 {
  /// The sum of two non-negative numbers, or the largest number on overflow.
  fileprivate func addingSaturated(_ other: Int64) -> Int64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
