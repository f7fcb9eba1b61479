// The sum of all partitions: neither the order of records nor the reader matters.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct FleetTrafficTests {
  private let configuration = BaselineConfiguration()

  private func fleet(_ records: [TrafficRecord]) -> FleetTraffic {
    var fleet = FleetTraffic(configuration: configuration)
    for record in records { _ = fleet.merge(record, latest: IntervalNumber(1_000_000)) }
    return fleet
  }

  private func rates(_ fleet: FleetTraffic) -> BaselineRates {
    RateController(configuration: configuration).rates(for: fleet)
  }

  private func empty(_ partition: Int32, _ interval: Int64, covered: Int64 = 10_000) -> TrafficRecord {
    TrafficRecord(
      partition: PartitionID(partition), interval: IntervalNumber(interval), intervalMilliseconds: 10_000,
      coveredMilliseconds: covered)
  }

  /// Partitions come and go; each of 1, 4 and 16 workers reads everything, each in its own order, and one has
  /// just started and finds only the last intervals in the compacted topic.
  @Test(arguments: [1, 4, 16]) func allWorkersHaveTheSameRates(workers: Int) {
    var random = RandomSource(seed: UInt64(workers))
    var fleets = Array(repeating: FleetTraffic(configuration: configuration), count: workers)
    var topic: [[UInt8]: TrafficRecord] = [:]
    for interval in Int64(0)..<12 {
      // A quarter of the partitions has no owner for a while.
      let gone = Int32(interval / 4 % 4)
      let records = (Int32(0)..<64).filter { $0 % 4 != gone || interval < 4 }.map { partition in
        randomRecord(partition: partition, interval: 500 + interval, keys: 5, random: &random)
      }
      for record in records { topic[record.topicKey(history: configuration.history)] = record }
      for worker in fleets.indices {
        for record in records.shuffled(using: &random) {
          _ = fleets[worker].merge(record, latest: IntervalNumber(600))
        }
      }
      let started = fleet(topic.values.shuffled(using: &random))
      let expected = rates(started)
      #expect(expected.plan?.interval.value == 500 + interval)
      #expect(expected.entries.count > 5)
      for fleet in fleets { #expect(rates(fleet) == expected) }
    }
  }

  @Test(arguments: 1...5) func orderDoesNotMatter(seed: UInt64) {
    var random = RandomSource(seed: seed)
    var records: [TrafficRecord] = []
    for interval in Int64(90)..<104 {
      for partition in Int32(0)..<8 where random.chance(0.8) {
        records.append(randomRecord(partition: partition, interval: interval, keys: 6, random: &random))
      }
    }
    let inOrder = fleet(records)
    for _ in 0..<10 {
      // Some appear twice.
      let mixed = fleet((records + records.prefix(20)).shuffled(using: &random))
      #expect(mixed.intervals == inOrder.intervals)
      #expect(rates(mixed) == rates(inOrder))
    }
  }

  @Test func eachIntervalOfAPartitionCountsOnce() {
    var random = RandomSource(seed: 1)
    var fleet = fleet([])
    let record = randomRecord(partition: 1, interval: 100, keys: 3, random: &random)
    let now = IntervalNumber(200)
    #expect(fleet.merge(record, latest: now) == .added)
    #expect(fleet.merge(record, latest: now) == .repeated)
    #expect(fleet.merge(empty(2, 150), latest: now) == .added)
    #expect(fleet.merge(empty(1, 99), latest: now) == .old)
    #expect(fleet.merge(empty(1, 143), latest: now) == .added)
    #expect(fleet.merge(empty(3, 142), latest: now) == .old)
    #expect(fleet.merge(empty(3, 201), latest: now) == .implausible)
    var other = empty(3, 150)
    other.intervalMilliseconds = 20_000
    #expect(fleet.merge(other, latest: now) == .implausible)
    #expect(fleet.intervals.keys.sorted() == [143, 150])
  }

  @Test func theHorizonIsWhereHalfOfThePartitionsAre() {
    #expect(fleet([]).horizon == nil)
    #expect(fleet([empty(0, 9), empty(1, 9), empty(2, 10)]).horizon?.value == 9)
    #expect(fleet([empty(0, 9), empty(1, 10), empty(2, 10)]).horizon?.value == 10)
    // Far behind: not waited for.
    #expect(fleet([empty(0, 9), empty(1, 9), empty(2, 30)]).horizon?.value == 28)
  }

  @Test func silentPartitionsAreForgotten() {
    var fleet = fleet([empty(0, 100), empty(1, 100)])
    _ = fleet.merge(empty(0, 159), latest: IntervalNumber(160))
    #expect(fleet.partitionCount == 2)
    _ = fleet.merge(empty(0, 160), latest: IntervalNumber(160))
    #expect(fleet.partitionCount == 1)
  }

  /// Where partitions lag, or had no owner for a part of an interval, the others are extrapolated.
  @Test func missingCountsAreThoseOfTheOthers() {
    func steady(_ partition: Int32, _ interval: Int64, covered: Int64 = 10_000) -> TrafficRecord {
      var record = empty(partition, interval, covered: covered)
      var traffic = KeyTraffic()
      traffic.seen = UInt64(covered)
      traffic.present = TrafficTally(
        traces: UInt64(covered), spans: UInt64(covered) * 10, bytes: UInt64(covered) * 100)
      traffic.decided = traffic.present
      traffic.offered = traffic.present
      traffic.kept.traces = UInt64(covered) / 100
      record.entries = [TrafficRecord.Entry(name: [0x61], isKnown: true, traffic: traffic)]
      return record
    }
    var whole: [TrafficRecord] = []
    for interval in Int64(1)...6 {
      for partition in Int32(0)..<8 { whole.append(steady(partition, interval)) }
    }
    let expected = rates(fleet(whole))
    #expect(expected.plan?.budget == 800)
    var holes = whole
    holes.removeAll { $0.partition.value < 3 && $0.interval.value > 2 }
    holes[4] = steady(4, 1, covered: 5000)
    let found = rates(fleet(holes))
    #expect(found.entries == expected.entries)
    #expect(abs((found.plan?.budget ?? 0) - 800) < 1e-6)
  }

  @Test func namesBeyondTheLimitShareOneRate() {
    var few = configuration
    few.servicesMax = 10
    var random = RandomSource(seed: 6)
    var record = randomRecord(partition: 0, interval: 5, keys: 40, random: &random)
    for place in record.entries.indices { record.entries[place].isKnown = place < 4 }
    var fleet = FleetTraffic(configuration: few)
    _ = fleet.merge(record, latest: IntervalNumber(5))
    let names = Set(RateController(configuration: few).rates(for: fleet).entries.map(\.name))
    #expect(names.count == 10)
    #expect(record.entries.prefix(4).allSatisfy { names.contains($0.name) })
    let rest = record.entries.dropFirst(4).sorted { $0.traffic.seen > $1.traffic.seen }
    #expect(rest.prefix(5).allSatisfy { names.contains($0.name) })
  }
}
