// The shares of limits that the fleet shares, from what `stats` says of all partitions' demand.

internal import Sampling

/// What a lane knows of the fleet's demand on limits that are shared.
struct FleetLimits {
  private var demand = FleetDemand()
  private var isChanged = true
  private var computedAt = Instant.distantPast
  /// How many partitions the input has; nil while no broker has said so.
  private(set) var partitionCount: Int?
  /// Brokers are not asked for it before then, by the steady clock.
  private var askAgainAt = Instant.distantPast
  /// Records that no worker can have written.
  private(set) var recordsRefused: UInt64 = 0

  /// The partitions' records for one interval arrive close together: shares are computed at most this often.
  private static let pause = Interval.seconds(1)
  /// The time between requests for the number of partitions that were not answered.
  private static let askPause = Interval.seconds(1)

  /// How far a partition's clock may be ahead of this worker's: hosts and producers differ.
  private static let clockTolerance = Interval.seconds(60)

  /// Bytes of memory in use.
  var byteCount: Int { demand.byteCount }

  /// Adds a record of `stats`.
  ///
  /// - Parameter now: the latest time at which a partition may have counted.
  mutating func merge(_ value: [UInt8], now: Instant) {
    guard let record = try? DemandRecord(decoding: value) else { return recordsRefused += 1 }
    let latest = IntervalNumber(of: now + FleetLimits.clockTolerance, length: DemandRecord.interval)
    switch demand.merge(record, latest: latest) {
    case .added: isChanged = true
    case .repeated, .old: break
    case .implausible: recordsRefused += 1
    }
  }

  /// Asks how many partitions there are, unless that is known and `assigned` are among them.
  mutating func count(
    _ assigned: [PartitionID], through link: some BrokerLink, at now: Instant
  ) throws(BrokerError) {
    let least = assigned.map { Int($0.value) + 1 }.max() ?? 0
    if let partitionCount, partitionCount >= least { return }
    guard askAgainAt <= now else { return }
    do {
      partitionCount = try link.inputPartitions()
      isChanged = true
    } catch {
      guard error.remedy == .retry else { throw error }
    }
    // Nor where an answer is old: a partition was added.
    askAgainAt = now + FleetLimits.askPause
  }

  /// The shares of these partitions, as of now.
  func shares(of partitions: [PartitionID]) -> [PartitionID: PartitionShares] {
    // Without an answer, at least those up to the last assigned one.
    let least = partitions.map { Int($0.value) + 1 }.max() ?? 1
    return demand.shares(of: partitions, among: max(partitionCount ?? 0, least))
  }

  /// The same, if something has changed, and enough time has passed since the last ones.
  mutating func newShares(of partitions: [PartitionID], at now: Instant) -> [PartitionID: PartitionShares]? {
    guard isChanged, computedAt + FleetLimits.pause <= now || now < computedAt else { return nil }
    isChanged = false
    computedAt = now
    return shares(of: partitions)
  }
}
