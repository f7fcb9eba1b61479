// The fleet's counts, read from `stats`, and the baseline rates computed from them.

internal import Sampling

/// What a lane, or a replay, knows about the fleet's traffic. The same records give the same rates
/// everywhere.
struct FleetRates {
  private var configuration: BaselineConfiguration
  private var controller: RateController
  private var fleet: FleetTraffic
  private var isChanged = false
  private var computedAt = Instant.distantPast
  /// The rates in use.
  private(set) var rates: BaselineRates
  /// Records that no worker with this configuration can have written.
  private(set) var recordsRefused: UInt64 = 0

  /// The partitions' records for one interval arrive close together: rates are computed at most this often.
  private static let pause = Interval.seconds(1)

  init(_ configuration: BaselineConfiguration) {
    self.configuration = configuration
    controller = RateController(configuration: configuration)
    fleet = FleetTraffic(configuration: configuration)
    rates = BaselineRates(starting: configuration)
  }

  /// Bytes of memory in use.
  var byteCount: Int { fleet.byteCount + rates.byteCount }

  /// Adopts another configuration that counts the same way. Returns the new rates.
  mutating func adopt(_ configuration: BaselineConfiguration) -> BaselineRates {
    self.configuration = configuration
    controller = RateController(configuration: configuration)
    rates = controller.rates(for: fleet)
    return rates
  }

  /// Adds a record of `stats`.
  ///
  /// - Parameter now: the latest time at which a partition may have counted.
  mutating func merge(_ value: [UInt8], now: Instant) {
    guard let record = try? TrafficRecord(decoding: value) else { return recordsRefused += 1 }
    switch fleet.merge(record, latest: IntervalNumber(of: now, length: configuration.interval)) {
    case .added: isChanged = true
    case .repeated, .old: break
    case .implausible: recordsRefused += 1
    }
  }

  /// New rates, if the counts have changed and enough time has passed since the last ones.
  mutating func newRates(at now: Instant) -> BaselineRates? {
    guard isChanged, computedAt + FleetRates.pause <= now || now < computedAt else { return nil }
    isChanged = false
    computedAt = now
    rates = controller.rates(for: fleet)
    return rates
  }
}
