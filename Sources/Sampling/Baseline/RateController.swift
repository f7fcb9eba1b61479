// The control law: from the fleet's traffic to the rate of every key.
//
// It is stateless. What a controller usually keeps (estimates, hysteresis, an integral) is computed from the
// window each time, so a worker that has just started has the same rates as all others. See "The baseline's
// control law" in ARCHITECTURE.md for the formulas.

import OTLP

/// Computes rates. A pure function: the same traffic gives the same rates, bit for bit.
public struct RateController: Sendable {
  /// A load has risen if it exceeds the mean by this many standard deviations and by `deadBand`.
  static let deviations = 3.0
  /// See `deviations`.
  static let deadBand = 0.1
  /// The ratio of the variance of a sum of sizes to that of a count, divided by the squared mean size: 2 for
  /// exponential sizes.
  static let sizeDispersion = 2.0
  /// At most this share of what the baseline may keep goes to the first traces of new names.
  static let newTracesShare = 0.05
  /// An error rate has risen if it is at least this many times the norm, and the rise is significant.
  static let failureRise = 1.5
  /// Significance in standard deviations. With ten thousand keys, some would exceed three by chance in every
  /// interval.
  static let failureDeviations = 4.5

  private let configuration: BaselineConfiguration

  /// A controller for a valid configuration.
  public init(configuration: BaselineConfiguration) {
    self.configuration = configuration
  }

  /// The rates that follow from `traffic`.
  public func rates(for traffic: FleetTraffic) -> BaselineRates {
    var rates = ratesWithoutShapes(for: traffic)
    rates.shapes = Set(traffic.shapes.keys)
    return rates
  }

  private func ratesWithoutShapes(for traffic: FleetTraffic) -> BaselineRates {
    guard let window = traffic.window(), window.latestCoverage + window.earlierCoverage > 0 else {
      return BaselineRates(starting: configuration)
    }
    var estimates = window.keys.map { estimate(of: $0, in: window) }
    estimates.append(estimate(of: window.other, in: window))
    var total = Load()
    for estimate in estimates { total.add(estimate.load) }
    let budget = budget(of: total.decided)
    let left = left(of: budget, forced: total.forced)
    // With little traffic a minute's counts say nothing about what was kept: there the account knows.
    let floorsMax = configuration.isWithinBudget ? left : budget
    let floors = boundedFloors(estimates.map(\.demand), budget: floorsMax)
    let correction = configuration.isWithinBudget ? 1 : correction(in: window, floorCost: floors.cost)
    let filling = WaterFilling(demands: floors.demands, ceiling: configuration.ceiling)
    let aim = left * correction
    let level = filling.level(for: aim)
    let thresholds = filling.demands.map { demand in
      SamplingThreshold(probability: demand.rate(at: level, ceiling: configuration.ceiling))
    }
    // A new name's load is unknown. At the mean rate of all traffic it costs no more than its share, however
    // large it is.
    let offered = filling.demands.reduce(0) { $0 + $1.offered }
    // After a silence all loads are unknown: start over with the initial rates.
    let mean =
      offered > 0
      ? SamplingThreshold(probability: RateGrid.rounded(min(configuration.ceiling, aim / offered)))
      : BaselineRates(starting: configuration).other
    let other = max(thresholds[thresholds.count - 1], mean)
    let entries = window.keys.indices.map { place in
      BaselineRates.Entry(
        name: window.keys[place].name, threshold: thresholds[place],
        isBoosted: estimates[place].demand.shares > 1)
    }
    let partitions = Double(max(1, window.partitionCount))
    let size = total.decidedTraces > 0 ? total.decided / total.decidedTraces : 1
    let newTraces = RateController.newTracesShare * left / max(size, 1) / partitions
    return BaselineRates(
      entries: entries, other: other,
      newNamesMax: Int(min(max(Double(BaselineRates.newNamesOfFleet) / partitions, 16), 1024)),
      newTracesMax: Int(min(max(newTraces, 1), 10_000)),
      share: total.decided > 0
        ? min(1, budget / total.decided) : BaselineRates(starting: configuration).share,
      plan: BaselinePlan(
        interval: window.interval, budget: budget, forced: total.forced, aim: aim,
        expected: filling.cost(at: level), correction: correction, waterLevel: level))
  }

  // MARK: Estimates

  /// Loads per interval of the whole fleet, in the budget's unit.
  private struct Load {
    var decided = 0.0
    var decidedTraces = 0.0
    var forced = 0.0

    mutating func add(_ other: Load) {
      decided += other.decided
      decidedTraces += other.decidedTraces
      forced += other.forced
    }
  }

  private struct Estimate {
    var demand: KeyDemand
    var load: Load
  }

  /// One key's loads: the last interval's if they have risen, else the window's mean. So a rate falls as soon
  /// as its load rises, and recovers as the window moves on.
  private func estimate(of key: TrafficWindow.Key, in window: TrafficWindow) -> Estimate {
    var basis = key.latest
    var coverage = window.latestCoverage
    if !hasRisen(key, in: window) {
      basis.add(key.earlier)
      coverage += window.earlierCoverage
    }
    func rate(_ count: UInt64) -> Double { Double(count) / coverage }
    let load = Load(
      decided: rate(amount(basis.decided)), decidedTraces: rate(basis.decided.traces),
      forced: rate(amount(basis.forced)))
    var demand = KeyDemand(
      present: rate(amount(basis.present)), offered: rate(amount(basis.offered)),
      costMax: rate(amount(basis.decided) - amount(basis.forced)), shares: 1, floor: 0)
    // A key that has not set any trace's rate may set the next one's: it is not free. With little traffic
    // most keys are like this.
    let presentTraces = Double(key.latest.present.traces) + Double(key.earlier.present.traces)
    if presentTraces > 0 {
      let presentAmount = Double(amount(key.latest.present)) + Double(amount(key.earlier.present))
      let one = presentAmount / presentTraces / (window.latestCoverage + window.earlierCoverage)
      demand.offered = max(demand.offered, min(demand.present, one))
      demand.costMax = max(demand.costMax, min(demand.present, one))
    }
    let perInterval = configuration.floor * Double(configuration.intervalMilliseconds) / 60_000
    let traces = rate(basis.present.traces)
    demand.floor = traces > 0 ? min(1, perInterval / traces) : 0
    if configuration.boost > 1, hasFailed(key) {
      demand.shares = configuration.boost
      // With a boosted share it also sets the rate of traces that other keys set so far: up to all traces
      // that have it.
      demand.offered = max(demand.offered, demand.present)
      demand.costMax = max(demand.costMax, demand.present)
    }
    return Estimate(demand: demand, load: load)
  }

  /// Whether the last interval's load exceeds the mean of the others by more than chance and the dead band.
  private func hasRisen(_ key: TrafficWindow.Key, in window: TrafficWindow) -> Bool {
    guard window.latestCoverage > 0 else { return false }
    guard window.earlierCoverage > 0 else { return true }
    let mean = Double(amount(key.earlier.present)) / window.earlierCoverage
    let traces = max(Double(key.earlier.present.traces), 1) / window.earlierCoverage
    let latest = Double(amount(key.latest.present)) / window.latestCoverage
    let size = mean > 0 ? mean / traces : latest / max(Double(key.latest.present.traces), 1)
    let variance =
      RateController.sizeDispersion * size * size * traces
      * (1 / window.latestCoverage + 1 / window.earlierCoverage)
    let noise = RateController.deviations * variance.squareRoot()
    return latest > mean * (1 + RateController.deadBand) + noise
  }

  /// Whether the share of failed traces has risen.
  ///
  /// It compares square roots, whose variance is a quarter whatever the mean: small counts, which are skewed,
  /// cause no false alarms. Source: Bartlett, "The Square Root Transformation in Analysis of Variance", 1936.
  private func hasFailed(_ key: TrafficWindow.Key) -> Bool {
    let (count, failures) = (Double(key.latest.seen), Double(key.latest.failed))
    let (countBefore, failuresBefore) = (Double(key.earlier.seen), Double(key.earlier.failed))
    guard failures > 0, countBefore > 0 else { return false }
    let expected = failuresBefore / countBefore * count
    let pooled = (failures + failuresBefore) / (count + countBefore)
    let deviation = (max(0, 1 - pooled) * (1 + count / countBefore)).squareRoot()
    return failures >= RateController.failureRise * expected
      && 2 * (failures.squareRoot() - expected.squareRoot()) > RateController.failureDeviations * deviation
  }

  /// A tally in the budget's unit.
  private func amount(_ tally: TrafficTally) -> UInt64 { configuration.budget.amount(tally) }

  // MARK: Budget

  /// What may be kept of a load.
  ///
  /// - Parameter intervals: how many intervals the load covers.
  private func budget(of decided: Double, intervals: Double = 1) -> Double {
    switch configuration.budget {
    case .shareOfTraces(let share), .shareOfSpans(let share), .shareOfBytes(let share): share * decided
    case .spansPerSecond(let spans):
      spans * Double(configuration.intervalMilliseconds) / 1000 * intervals
    }
  }

  private func left(of budget: Double, forced: Double) -> Double {
    guard configuration.includesForced else { return budget }
    // The account takes the rest back: rates that have gone down to nothing could not go on from there.
    return max(configuration.isWithinBudget ? budget / 2 : 0, budget - forced)
  }

  /// The demands, with their floors scaled down equally if these would cost more than the whole budget.
  private func boundedFloors(_ demands: [KeyDemand], budget: Double) -> (demands: [KeyDemand], cost: Double) {
    var cost = 0.0
    for demand in demands { cost += demand.cost(at: demand.floor) }
    guard cost > budget else { return (demands, cost) }
    var bounded = demands
    for place in bounded.indices { bounded[place].floor *= budget / cost }
    return (bounded, budget)
  }

  /// What should have been kept in the window over what was: the square root, half to double. The root halves
  /// the gain: estimates already lag a step of the load, and both together would overshoot.
  ///
  /// If the floors cost more than was left, or there was less traffic than the budget, that is what should
  /// have been kept: the correction does not chase a budget that can't be met.
  private func correction(in window: TrafficWindow, floorCost: Double) -> Double {
    var (decided, forced, kept) = (0.0, 0.0, 0.0)
    for key in window.keys + [window.other] {
      for traffic in [key.latest, key.earlier] {
        decided += Double(amount(traffic.decided))
        forced += Double(amount(traffic.forced))
        kept += Double(amount(traffic.kept))
      }
    }
    let coverage = window.latestCoverage + window.earlierCoverage
    let left = left(of: budget(of: decided, intervals: coverage), forced: forced)
    let wanted = min(max(left, floorCost * coverage), (decided - forced) * configuration.ceiling)
    guard wanted > 0, kept > 0 else { return 1 }
    return min(max((wanted / kept).squareRoot(), 0.5), 2)
  }
}
