// Any bytes as a record of `stats`: what is accepted has one form, and gives rates.

import Expectation
import Sampling

private let configuration = makeConfiguration()

private func makeConfiguration() -> BaselineConfiguration {
  var configuration = BaselineConfiguration()
  configuration.interval = .seconds(5)
  configuration.history = 3
  configuration.servicesMax = 4
  return configuration
}

/// libFuzzer's entry point.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzStats(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  if DemandRecord.isOne(input) { return checkDemand(input) }
  guard var record = try? TrafficRecord(decoding: input) else { return 0 }
  expect(record.encoded() == input, "a record has two forms")
  var cut = record
  _ = cut.shorten(toBytes: 300)
  expect((try? TrafficRecord(decoding: cut.encoded())) != nil, "a cut record is rejected")
  _ = record.topicKey(history: configuration.history)
  var fleet = FleetTraffic(configuration: configuration)
  checkRates(fleet.merge(record, latest: record.interval), of: fleet)
  // The same counts for another partition, and for the interval before.
  record.intervalMilliseconds = 5_000
  record.coveredMilliseconds = min(record.coveredMilliseconds, 5_000)
  for partition in 0..<3 as Range<Int32> {
    record.partition = PartitionID(partition)
    for _ in 0..<2 {
      checkRates(fleet.merge(record, latest: record.interval), of: fleet)
      record.interval = record.interval.advanced(by: 1)
    }
  }
  expect(fleet.byteCount >= 0, "memory is counted wrongly")
  return 0
}

/// Rates are shares, and all numbers of the plan are finite.
private func checkRates(_ merged: FleetTraffic.Merge, of fleet: FleetTraffic) {
  guard merged == .added else { return }
  let rates = RateController(configuration: configuration).rates(for: fleet)
  expect(rates.newNamesMax >= 0 && rates.newTracesMax >= 0, "a negative number of new names")
  guard let plan = rates.plan else { return }
  for number in [plan.budget, plan.forced, plan.aim, plan.expected, plan.correction] {
    expect(number.isFinite && number >= 0, "the plan is \(plan)")
  }
  expect(!plan.waterLevel.isNaN, "the plan is \(plan)")
}

/// What is accepted as demand has one form, and shares are at most the limit.
private func checkDemand(_ input: [UInt8]) -> CInt {
  guard var record = try? DemandRecord(decoding: input) else { return 0 }
  expect(record.encoded() == input, "a demand has two forms")
  _ = record.topicKey
  var fleet = FleetDemand()
  for partition in 0..<3 as Range<Int32> {
    record.partition = PartitionID(partition)
    for _ in 0..<2 {
      _ = fleet.merge(record, latest: record.interval)
      record.interval = record.interval.advanced(by: 1)
    }
  }
  let wanted = (0..<3).map { PartitionID(Int32($0)) }
  let shares = fleet.shares(of: wanted, among: 3)
  for demand in record.demands {
    let sum = wanted.reduce(0.0) { $0 + (shares[$1]?[demand.limit].value ?? 0) }
    expect(sum > 0 && sum <= 1 + 1e-9, "shares of \(sum)")
  }
  return 0
}
