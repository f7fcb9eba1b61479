// Budgets on stream time: token buckets, and the seconds of a composite. Integers only, so that the same log
// gives the same verdicts.

import Invariants

/// How much a limiting policy lets through.
public struct RateLimit: Equatable, Sendable {
  /// Tokens added per second of stream time: at least 1.
  public var perSecond: Int64
  /// Tokens that the bucket holds: what may pass at once, and the most that one trace may cost.
  public var burst: Int64

  /// Makes a limit; without a burst the bucket holds two seconds' worth of tokens, as in the Collector.
  public init(perSecond: Int64, burst: Int64? = nil) {
    self.perSecond = perSecond
    self.burst = burst ?? (perSecond < .max / 2 ? 2 * perSecond : .max)
  }
}

/// A token bucket that starts full, or where another sampler left it, by the rules of
/// `golang.org/x/time/rate`.
struct TokenBucket {
  private let limit: RateLimit
  private var tokens: Int64
  /// The fraction of a token in addition to the whole ones, in billionths.
  private var fraction: Int64 = 0
  private var filledAt = Instant.distantPast

  init(_ limit: RateLimit) {
    self.limit = limit
    tokens = limit.burst
  }

  /// Takes out `cost` tokens, if the bucket has that many.
  mutating func take(_ cost: Int64, at now: Instant) -> Bool {
    fill(at: now)
    guard cost <= tokens else { return false }
    tokens -= cost
    return true
  }

  /// Its level: whole tokens, and billionths of one.
  func level(at now: Instant) -> [Int64] {
    var filled = self
    filled.fill(at: now)
    return [filled.tokens, filled.fraction]
  }

  /// Restores what `level` returned; at most a full bucket.
  mutating func restore(_ level: ArraySlice<Int64>, at now: Instant) {
    invariant(level.count == 2, "\(level.count) numbers are not a bucket's level")
    tokens = min(level[level.startIndex], limit.burst)
    fraction = tokens < limit.burst ? min(level[level.startIndex + 1], 999_999_999) : 0
    filledAt = now
  }

  private mutating func fill(at now: Instant) {
    guard now > filledAt else { return }
    // From the distant past this overflows: the bucket is full, as after any long time.
    let (elapsed, overflow) = now.nanoseconds.subtractingReportingOverflow(filledAt.nanoseconds)
    filledAt = now
    let stock = Int128(tokens) * 1_000_000_000 + Int128(fraction)
    let flowed = stock + Int128(overflow ? .max : elapsed) * Int128(limit.perSecond)
    let (whole, rest) = flowed.quotientAndRemainder(dividingBy: 1_000_000_000)
    if whole >= Int128(limit.burst) {
      tokens = limit.burst
      fraction = 0
    } else {
      tokens = Int64(whole)
      fraction = Int64(rest)
    }
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
