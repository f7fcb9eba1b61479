// What went into the fleet, from the records of its traffic counts.

internal import OTLP
public import Sampling

/// Follows `stats`: traffic by interval, and the baseline's rates now.
public struct Arrivals: Sendable {
  /// Traffic of one interval, summed over partitions.
  private struct Interval: Sendable {
    var traces = 0.0
    var spans = 0.0
    var kept = 0.0
  }

  private let configuration: BaselineConfiguration
  private var traffic: FleetTraffic
  /// By interval number.
  private var intervals: [Int64: Interval] = [:]
  /// A partition's record of an interval is counted once.
  private var counted: Set<[Int64]> = []

  private static let intervalsMax = 1024

  /// Nothing has arrived.
  public init(_ configuration: BaselineConfiguration) {
    self.configuration = configuration
    traffic = FleetTraffic(configuration: configuration)
  }

  /// Adds a record of `stats`. `now` is the time of day.
  public mutating func add(_ value: [UInt8], now: Instant) {
    guard let record = try? TrafficRecord(decoding: value) else { return }
    // An interval ahead: clocks differ.
    let latest = IntervalNumber(of: now + configuration.interval, length: configuration.interval)
    _ = traffic.merge(record, latest: latest)
    guard record.interval <= latest,
      counted.insert([record.interval.value, Int64(record.partition.value)]).inserted
    else { return }
    var sum = intervals[record.interval.value] ?? Interval()
    for each in record.entries.map(\.traffic) + [record.other] {
      sum.traces += Double(each.decided.traces)
      sum.spans += Double(each.decided.spans)
      sum.kept += Double(each.forced.traces) + Double(each.kept.traces)
    }
    intervals[record.interval.value] = sum
    while intervals.count > Arrivals.intervalsMax, let oldest = intervals.keys.min() {
      intervals[oldest] = nil
      counted = counted.filter { $0[0] != oldest }
    }
  }

  /// Traces and spans that arrived, and traces dropped, in steps; nil if nothing is known.
  public func steps(from: Int64, step: Int64, count: Int) -> (
    traces: [Double], spans: [Double], dropped: [Double]
  )? {
    guard !intervals.isEmpty, step > 0 else { return nil }
    let length = configuration.interval.nanoseconds
    var traces = [Double](repeating: 0, count: count)
    var (spans, dropped) = (traces, traces)
    for (number, sum) in intervals {
      let (start, overflow) = number.multipliedReportingOverflow(by: length)
      let (end, ends) = start.addingReportingOverflow(length)
      guard !overflow, !ends else { continue }
      // An interval's counts are spread over the steps that it lies in.
      for place in 0..<count {
        let low = from + Int64(place) * step
        let common = min(end, low + step) - max(start, low)
        guard common > 0 else { continue }
        let share = Double(common) / Double(length)
        traces[place] += sum.traces * share
        spans[place] += sum.spans * share
        dropped[place] += max(0, sum.traces - sum.kept) * share
      }
    }
    return (traces, spans, dropped)
  }

  /// The baseline's rates by key, from 0 to 1.
  public func rates() -> [String: Double] {
    guard !intervals.isEmpty else { return [:] }
    var rates: [String: Double] = [:]
    for entry in RateController(configuration: configuration).rates(for: traffic).entries {
      rates[String(decoding: entry.name, as: UTF8.self)] = entry.threshold.probability
    }
    return rates
  }
}
