// A day of traffic under adaptive rates, as counts instead of traces: whether the budget is met, who is seen.
//
// It runs the fleet's own code: each partition's counts, encoding and decoding of records, the sum, the
// controller.

internal import Glibc
import OTLP
public import Sampling

/// The simulated traffic.
public struct BaselineDayOptions: Sendable {
  /// Seeds everything.
  public var seed: UInt64 = 1
  /// Services with their own traffic. Popularity falls by Zipf's law.
  public var services = 1000
  /// The exponent of Zipf's law.
  public var zipf = 1.2
  /// Average traces per second over the day.
  public var tracesPerSecond = 100_000.0
  /// Partitions of the topic.
  public var partitions = 2
  /// Intervals of the day; 8640 of ten seconds are 24 hours. Events happen at the same fractions of any day.
  public var intervals = 8640
  /// How many intervals later rates are used: the fleet needs a second or two.
  public var delay = 1
  /// Errors and slow traces outside the outage: a share of all traces.
  public var forcedShare = 0.001
  /// The rates' configuration.
  public var configuration = BaselineConfiguration()

  /// A thousand services at 100,000 traces of about 30 spans per second, 30,000 spans per second kept.
  public init() {
    configuration.budget = .spansPerSecond(30_000)
  }

  /// The interval in which a new service starts.
  public var newServiceStart: Int { intervals * 3 / 8 }
  /// The intervals in which every second trace of a large service is an error.
  public var outage: Range<Int> {
    let start = intervals * 7 / 12
    return start..<start + max(1, intervals / 48)
  }
  /// The intervals in which a service has ten times its traffic.
  public var surge: Range<Int> { intervals * 3 / 4..<intervals * 19 / 24 }
}

/// One interval of the simulated day, fleet-wide.
public struct BaselineInterval: Equatable, Sendable {
  /// Spans that arrived.
  public var decidedSpans = 0.0
  /// Spans kept for their own sake.
  public var forcedSpans = 0.0
  /// Spans that the baseline kept.
  public var baselineSpans = 0.0
  /// The budget, in spans.
  public var budgetSpans = 0.0
  /// Services with traffic in the last ten minutes.
  public var servicesActive = 0
  /// Those of them with a kept trace in the last ten minutes.
  public var servicesSeen = 0
  /// The rates of the watched services.
  public var rates: [Double] = []
}

/// The result of a simulated day.
public struct BaselineDayReport: Sendable {
  /// Each interval.
  public var intervals: [BaselineInterval] = []
  /// The services whose rates were recorded.
  public var watched: [String] = []
  /// The largest relative deviation of spans kept from the budget over 60 intervals; windows that touch the
  /// outage, or the start, are left out.
  public var deviationMax = 0.0
  /// Services with traffic but no kept trace within 60 intervals, counted once per service and interval.
  public var unseen = 0
  /// Intervals from the new service's first trace to its first kept one, the first included.
  public var newServiceIntervals = 0
  /// Traces that arrived, and how many the kept ones represent.
  public var traces = 0.0
  /// See `traces`.
  public var estimatedTraces = 0.0
  /// The standard deviation of the estimate.
  public var estimateDeviation = 0.0
  /// How many services' own estimates are outside their 99 % interval.
  public var servicesFarOff = 0
}

/// Simulates a day.
public struct BaselineDay: Sendable {
  /// Traces that are alike: they pass through the same services.
  private struct Route {
    var services: [Int]
    var traces: Double
    var spans: Double
  }

  /// Sums per service over the day.
  private struct Sums {
    var traces = 0.0
    var estimated = 0.0
    var variance = 0.0
    var lastTraffic = -1000
    var lastKept = -1000
  }

  private let options: BaselineDayOptions
  private let names: [[UInt8]]
  private let routes: [Route]
  private var random: RandomSource
  private var fleet: FleetTraffic
  private let controller: RateController
  private var partitions: [TrafficCounts] = []
  /// Rates that are computed but not used yet, oldest first.
  private var pending: [BaselineRates] = []
  private var sums: [Sums]
  private var report = BaselineDayReport()
  private static let windowIntervals = 60

  private init(_ options: BaselineDayOptions) {
    self.options = options
    random = RandomSource(seed: options.seed)
    names = (0..<options.services).map { Array("service-\($0)".utf8) }
    let count = options.services
    var weights = (0..<count).map { 1 / pow(Double($0 + 1), options.zipf) }
    let whole = weights.reduce(0, +)
    for place in weights.indices { weights[place] *= options.tracesPerSecond * 10 / whole }
    var drawn = random
    // Each service has its own traces. They enter through one of four front doors, and half of them also pass
    // through one of a dozen shared services.
    routes = (0..<count).map { place in
      var services = [place]
      if place % 4 != place { services.append(place % 4) }
      let shared = 4 + place % 12
      if place % 2 == 0, shared != place, shared < count { services.append(shared) }
      return Route(services: services, traces: weights[place], spans: drawn.number(from: 5, to: 55))
    }
    random = drawn
    fleet = FleetTraffic(configuration: options.configuration)
    controller = RateController(configuration: options.configuration)
    sums = Array(repeating: Sums(), count: count)
    let rates = BaselineRates(starting: options.configuration)
    partitions = (0..<options.partitions).map { number in
      TrafficCounts(
        partition: PartitionID(Int32(number)), configuration: options.configuration, rates: rates,
        clock: Instant(nanoseconds: 0), hashSeed: options.seed)
    }
    report.watched = [0, 6, 9, 300].filter { $0 < count - 1 }.map { "service-\($0)" }
    report.watched.append("service-\(newService)")
  }

  private var newService: Int { options.services - 1 }
  private var failingService: Int { min(6, options.services - 1) }
  private var surgingService: Int { min(9, options.services - 1) }

  /// Runs the whole day, and calls `progress` after each interval.
  public static func run(
    _ options: BaselineDayOptions, progress: (Int) -> Void = { _ in }
  ) -> BaselineDayReport {
    var day = BaselineDay(options)
    for interval in 0..<options.intervals {
      day.step(interval)
      progress(interval + 1)
    }
    day.summarise()
    return day.report
  }

  /// Expected traces of a route in one interval: the night has half the load of the day.
  private func load(of route: Int, in interval: Int) -> Double {
    let part = Double(interval) / Double(options.intervals)
    // A parabola from 2/3 at midnight to 4/3 at noon.
    var load = routes[route].traces * (2.0 / 3 + (1 - (2 * part - 1) * (2 * part - 1)) * 2 / 3)
    if route == newService {
      load = interval < options.newServiceStart ? 0 : routes[min(20, newService)].traces
    }
    if route == surgingService, options.surge.contains(interval) { load *= 10 }
    return load
  }

  private mutating func step(_ interval: Int) {
    var now = BaselineInterval()
    let loads = routes.indices.map { load(of: $0, in: interval) / Double(options.partitions) }
    for partition in partitions.indices {
      for route in routes.indices {
        draw(route, expected: loads[route], partition: partition, interval: interval, into: &now)
      }
    }
    let length = options.configuration.interval.nanoseconds
    let end = Instant(nanoseconds: Int64(interval + 1) * length)
    for partition in partitions.indices {
      for record in partitions[partition].advance(to: end) { merge(record, interval) }
    }
    pending.append(controller.rates(for: fleet))
    if pending.count > options.delay {
      let rates = pending.removeFirst()
      for partition in partitions.indices { partitions[partition].adopt(rates) }
    }
    finish(&now, interval)
  }

  private mutating func merge(_ record: TrafficRecord, _ interval: Int) {
    guard let read = try? TrafficRecord(decoding: record.encoded()) else { return }
    _ = fleet.merge(read, latest: IntervalNumber(Int64(interval)))
  }

  /// Draws one route's traces in one partition and counts them.
  private mutating func draw(
    _ route: Int, expected: Double, partition: Int, interval: Int, into now: inout BaselineInterval
  ) {
    var left = random.poisson(mean: expected)
    guard left > 0 else { return }
    let keys = routes[route].services.map { service in
      names[service].withRawBytes { partitions[partition].key(of: $0) }
    }
    for service in routes[route].services { sums[service].lastTraffic = interval }
    let isFailing = route == failingService && options.outage.contains(interval)
    let forcedShare = isFailing ? 0.5 : options.forcedShare
    while left > 0 {
      // One trace at a time while new names have their first traces kept, then the rest together.
      let rate = partitions[partition].rate(of: keys)
      let isNew = rate.threshold == .always
      let traces = isNew ? 1 : left
      left -= traces
      let forced = random.binomial(traces, forcedShare)
      let kept = random.binomial(traces - forced, rate.threshold.probability)
      let passed = traces - forced - kept
      for (fate, count) in [(TraceOutcome.Fate.forced, forced), (.kept, kept), (.passed, passed)]
      where count > 0 {
        let spans = spans(of: count, route)
        let outcome = TraceOutcome(fate, traces: count, spans: spans, bytes: spans * 430)
        let failed = fate == .forced ? [keys[0]] : []
        partitions[partition].count(outcome, keys: keys, failed: failed, setBy: rate.key)
        now.decidedSpans += Double(spans)
        if fate == .forced { now.forcedSpans += Double(spans) }
        if fate == .kept { now.baselineSpans += Double(spans) }
      }
      note(route, interval, traces: traces, forced: forced, kept: kept, rate.threshold.probability)
    }
  }

  /// The spans of some traces: the number per trace is roughly exponential.
  private mutating func spans(of traces: Int, _ route: Int) -> Int {
    let mean = routes[route].spans
    let count = Double(traces)
    return max(traces, Int((count * mean + count.squareRoot() * mean * random.normal()).rounded()))
  }

  private mutating func note(
    _ route: Int, _ interval: Int, traces: Int, forced: Int, kept: Int, _ probability: Double
  ) {
    let estimate = Double(forced) + Double(kept) / probability
    let variance = Double(traces - forced) * (1 - probability) / probability
    report.traces += Double(traces)
    report.estimatedTraces += estimate
    for service in routes[route].services {
      sums[service].traces += Double(traces)
      sums[service].estimated += estimate
      sums[service].variance += variance
      if kept + forced > 0 {
        sums[service].lastKept = interval
        if service == newService, report.newServiceIntervals == 0 {
          report.newServiceIntervals = interval - options.newServiceStart + 1
        }
      }
    }
    report.estimateDeviation += variance
  }

  private mutating func finish(_ now: inout BaselineInterval, _ interval: Int) {
    switch options.configuration.budget {
    case .spansPerSecond(let spans):
      now.budgetSpans = spans * Double(options.configuration.interval.nanoseconds) / 1e9
    case .shareOfTraces(let share), .shareOfSpans(let share), .shareOfBytes(let share):
      now.budgetSpans = share * now.decidedSpans
    }
    let window = BaselineDay.windowIntervals
    for sum in sums where sum.lastTraffic > interval - window {
      now.servicesActive += 1
      if sum.lastKept > interval - window { now.servicesSeen += 1 }
    }
    if interval >= window { report.unseen += now.servicesActive - now.servicesSeen }
    let rates = partitions[0].rates
    now.rates = report.watched.map { name in
      (rates.threshold(of: Array(name.utf8)) ?? rates.other).probability
    }
    report.intervals.append(now)
  }

  private mutating func summarise() {
    report.estimateDeviation = report.estimateDeviation.squareRoot()
    let window = BaselineDay.windowIntervals
    let touched = options.outage.lowerBound..<options.outage.upperBound + window
    // In the first minutes the rates know nothing yet.
    for end in stride(from: window + 6, to: options.intervals, by: 1) where !touched.contains(end) {
      let part = report.intervals[end - window + 1...end]
      let kept = part.reduce(0) { $0 + $1.forcedSpans + $1.baselineSpans }
      let budget = part.reduce(0) { $0 + $1.budgetSpans }
      report.deviationMax = max(report.deviationMax, abs(kept / budget - 1))
    }
    report.servicesFarOff = sums.count { sum in
      abs(sum.estimated - sum.traces) > 2.576 * sum.variance.squareRoot() + 1e-6
    }
  }
}
