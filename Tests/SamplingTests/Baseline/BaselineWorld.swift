// A small fleet for the baseline's tests: partitions that count, and one sum of their records.

import Simulation

@testable import OTLP
@testable import Sampling

/// Traffic of alike traces, per partition and interval.
struct TraceStream {
  var names: [String]
  var traces: Int
  var spansPerTrace = 10
  /// How many of the traces are kept for their own sake.
  var forced = 0
  var incoming = SamplingThreshold.always
}

/// Some partitions whose rates follow the controller's without delay. The baseline keeps the expected number,
/// rounded: no noise.
struct BaselineWorld {
  let configuration: BaselineConfiguration
  var fleet: FleetTraffic
  var partitions: [TrafficCounts]
  var rates: BaselineRates
  /// Spans and traces kept in the last interval, forced ones included.
  var kept = TrafficTally()
  private(set) var interval = 0

  init(_ configuration: BaselineConfiguration, partitions count: Int = 1) {
    self.configuration = configuration
    fleet = FleetTraffic(configuration: configuration)
    let rates = BaselineRates(starting: configuration)
    self.rates = rates
    partitions = (0..<count).map { number in
      TrafficCounts(
        partition: PartitionID(Int32(number)), configuration: configuration, rates: rates,
        clock: Instant(nanoseconds: 0), hashSeed: 7)
    }
  }

  /// Lets one interval pass with the same traffic in every partition.
  mutating func pass(_ streams: [TraceStream], times: Int = 1) {
    for _ in 0..<times {
      kept = TrafficTally()
      for partition in partitions.indices {
        for stream in streams { count(stream, in: partition) }
      }
      interval += 1
      let end = Instant(nanoseconds: Int64(interval) * configuration.interval.nanoseconds)
      for partition in partitions.indices {
        for record in partitions[partition].advance(to: end) {
          _ = fleet.merge(record, latest: IntervalNumber(Int64(interval)))
        }
      }
      rates = RateController(configuration: configuration).rates(for: fleet)
      for partition in partitions.indices { partitions[partition].adopt(rates) }
    }
  }

  private mutating func count(_ stream: TraceStream, in partition: Int) {
    let keys = stream.names.map { partitions[partition].key(of: $0) }
    var left = stream.traces
    while left > 0 {
      let rate = partitions[partition].rate(of: keys)
      let traces = rate.threshold == .always ? 1 : left
      left -= traces
      let forced = min(traces, left + traces <= stream.forced ? traces : stream.forced)
      let share = min(1, rate.threshold.probability * stream.incoming.adjustedCount)
      let byBaseline = Int((Double(traces - forced) * share).rounded())
      let parts: [(TraceOutcome.Fate, Int)] = [
        (.forced, forced), (.kept, byBaseline), (.passed, traces - forced - byBaseline),
      ]
      for (fate, count) in parts where count > 0 {
        let spans = count * stream.spansPerTrace
        let outcome = TraceOutcome(
          fate, traces: count, spans: spans, bytes: spans * 400, incoming: stream.incoming)
        let failed = fate == .forced ? [keys[0]] : []
        partitions[partition].count(outcome, keys: keys, failed: failed, setBy: rate.key)
        if fate != .passed {
          kept.traces += UInt64(count)
          kept.spans += UInt64(spans)
        }
      }
    }
  }

  /// The rate of a key, as a probability.
  func rate(_ name: String) -> Double {
    (rates.threshold(of: Array(name.utf8)) ?? rates.other).probability
  }

  func isBoosted(_ name: String) -> Bool {
    rates.entries.contains { $0.name == Array(name.utf8) && $0.isBoosted }
  }
}

extension TrafficCounts {
  mutating func key(of name: String) -> TrafficKey {
    Array(name.utf8).withRawBytes { key(of: $0) }
  }
}

/// A record with random but possible numbers.
func randomRecord(
  partition: Int32, interval: Int64, keys: Int, random: inout RandomSource
) -> TrafficRecord {
  var record = TrafficRecord(
    partition: PartitionID(partition), interval: IntervalNumber(interval), intervalMilliseconds: 10_000,
    coveredMilliseconds: 10_000)
  func traffic() -> KeyTraffic {
    var traffic = KeyTraffic()
    let traces = UInt64(random.number(in: 0...5000))
    func tally(_ traces: UInt64) -> TrafficTally {
      TrafficTally(traces: traces, spans: traces * 12, bytes: traces * 5000)
    }
    traffic.seen = traces
    traffic.failed = traces / 100
    traffic.present = tally(traces)
    traffic.decided = tally(traces)
    traffic.forced = tally(traces / 100)
    traffic.offered = tally(traces - traces / 100)
    traffic.kept = tally(traces / 50)
    return traffic
  }
  record.other = traffic()
  let names = Set((0..<keys).map { _ in "service-\(random.number(in: 0...max(1, 2 * keys)))" })
  record.entries = names.map { Array($0.utf8) }.sorted { $0.precedes($1) }.map { name in
    TrafficRecord.Entry(name: name, isKnown: random.chance(0.8), traffic: traffic())
  }
  return record
}
