// The fleet's traffic of the last intervals: the sum of all partitions' records.
//
// Records are added up and forgotten, so memory is that of `history` intervals of names, whatever the number
// of partitions. Sums are integers, so order does not matter.

/// The counts of all partitions in the last intervals.
///
/// Trace ids are hashed to partitions, so each partition sees a random part of all traffic: the counts of
/// missing partitions are extrapolated from the others. A partition is missing from an interval if it lags or
/// is not assigned; one without traffic still writes records.
public struct FleetTraffic: Sendable {
  /// What became of a record that was merged.
  public enum Merge: Equatable, Sendable {
    /// It was added.
    case added
    /// The partition's record of this interval was already added: the first one counts.
    case repeated
    /// Its interval is too old.
    case old
    /// Its interval is in the future, or it was counted with another interval length, or there are too many
    /// partitions: no worker with this configuration wrote it.
    case implausible
  }

  /// The maximum number of partitions.
  public static let partitionsMax = 65_536
  /// After this many intervals without a record, a partition is no longer waited for. Until then its traffic
  /// is assumed to be in the log, not yet counted.
  static let silenceMax: Int64 = 60
  /// How many intervals the slower half of the partitions may lag the fastest before it is no longer waited
  /// for.
  static let lagMax: Int64 = 2

  private struct Presence {
    var newest: Int64
    /// Bit *i* is set if the record of `newest - i` was added.
    var taken: UInt64
  }

  struct KeySum: Equatable, Sendable {
    var isKnown = false
    var traffic = KeyTraffic()
  }

  struct IntervalSum: Equatable, Sendable {
    var coveredMilliseconds: UInt64 = 0
    var other = KeyTraffic()
    var keys: [[UInt8]: KeySum] = [:]
    var nameBytes = 0
  }

  let configuration: BaselineConfiguration
  private var partitions: [Int32: Presence] = [:]
  private var newest: Int64 = -1
  private(set) var intervals: [Int64: IntervalSum] = [:]
  /// Shapes and variants of which a trace was kept, with the last interval whose records told so.
  private(set) var shapes: [UInt64: Int64] = [:]
  /// The most of them; any partition tells no more than `TrafficRecord.shapesMax`.
  static let shapesMax = 65_536

  /// Nothing counted yet.
  public init(configuration: BaselineConfiguration) {
    self.configuration = configuration
  }

  /// Adds a partition's record.
  ///
  /// The result depends on which records were merged, not on their order, as long as repeated records are
  /// equal. If they are not (an at-least-once worker counted again after a crash), workers may differ until
  /// the interval is forgotten.
  ///
  /// `latest` is the interval of the wall clock: a later record would make all others old.
  public mutating func merge(_ record: TrafficRecord, latest: IntervalNumber) -> Merge {
    guard record.interval <= latest, record.intervalMilliseconds == configuration.intervalMilliseconds else {
      return .implausible
    }
    let (partition, interval) = (record.partition.value, record.interval.value)
    guard partitions[partition] != nil || partitions.count < FleetTraffic.partitionsMax else {
      return .implausible
    }
    var presence = partitions[partition] ?? Presence(newest: interval, taken: 0)
    guard presence.newest - interval < 64 else { return .old }
    if interval > presence.newest {
      let step = interval - presence.newest
      presence.taken = step < 64 ? presence.taken << UInt64(step) : 0
      presence.newest = interval
    }
    let bit: UInt64 = 1 << UInt64(presence.newest - interval)
    guard presence.taken & bit == 0 else { return .repeated }
    presence.taken |= bit
    partitions[partition] = presence
    if interval > newest {
      newest = interval
      intervals = intervals.filter { isRetained($0.key) }
      partitions = partitions.filter { isAlive($0.value) }
      if !shapes.isEmpty { shapes = shapes.filter { isRemembered($0.value) } }
    }
    for shape in record.shapes where shapes.count < FleetTraffic.shapesMax || shapes[shape] != nil {
      shapes[shape] = max(interval, shapes[shape] ?? interval)
    }
    guard isRetained(interval) else { return .old }
    intervals[interval, default: IntervalSum()].add(record, keysMax: keysMax)
    return .added
  }

  /// Whether a shape that was told in this interval still counts as kept.
  ///
  /// A partition tells all that it remembers once in `history` intervals. Shapes of one that has stopped are
  /// remembered as long as it is waited for, but no longer than half of the silence: what partitions remember
  /// themselves comes on top.
  private func isRemembered(_ interval: Int64) -> Bool {
    let told = 2 * Int64(configuration.history) + FleetTraffic.lagMax
    let half = configuration.shapeSilence.nanoseconds / 2 / max(1, configuration.interval.nanoseconds)
    return interval > newest - max(told, min(max(FleetTraffic.silenceMax, told), half))
  }

  private func isRetained(_ interval: Int64) -> Bool {
    interval > newest - Int64(configuration.history) - FleetTraffic.lagMax
  }

  private func isAlive(_ presence: Presence) -> Bool {
    presence.newest > newest - FleetTraffic.silenceMax
  }

  /// More keys than honest partitions can send: a limit against hostile records only, because which keys
  /// exceed it depends on the order of arrival.
  private var keysMax: Int { 2 * configuration.servicesMax + 4 * BaselineRates.newNamesOfFleet }

  /// Bytes of memory in use, approximately: each name includes the 32-byte header of its array, and each
  /// dictionary place takes one byte.
  public var byteCount: Int {
    let key = MemoryLayout<[UInt8]>.stride + MemoryLayout<KeySum>.stride + 1
    let partition = MemoryLayout<Int32>.stride + MemoryLayout<Presence>.stride + 1
    return intervals.values.reduce(partitions.capacity * partition + shapes.capacity * 17) { sum, interval in
      sum + interval.keys.capacity * key + interval.keys.count * 32 + interval.nameBytes
    }
  }

  /// How many partitions write, or are waited for.
  public var partitionCount: Int { partitions.values.count { isAlive($0) } }

  /// The last interval that half of the partitions have finished: rates are computed for it. It lags the
  /// fastest partition by at most two intervals. Nil if nothing was merged.
  public var horizon: IntervalNumber? {
    guard newest >= 0 else { return nil }
    let reached = partitions.values.filter(isAlive).map(\.newest).sorted(by: >)
    let median = reached[(reached.count - 1) / 2]
    return IntervalNumber(max(median, newest - FleetTraffic.lagMax))
  }
}

extension FleetTraffic.IntervalSum {
  fileprivate mutating func add(_ record: TrafficRecord, keysMax: Int) {
    coveredMilliseconds += UInt64(record.coveredMilliseconds)
    other.add(record.other)
    for entry in record.entries {
      guard keys.count < keysMax || keys[entry.name] != nil else {
        other.add(entry.traffic)
        continue
      }
      let keysBefore = keys.count
      keys[entry.name, default: FleetTraffic.KeySum()].isKnown = entry.isKnown || isKnown(entry.name)
      keys[entry.name]?.traffic.add(entry.traffic)
      if keys.count > keysBefore { nameBytes += entry.name.count }
    }
  }

  private func isKnown(_ name: [UInt8]) -> Bool {
    keys[name]?.isKnown ?? false
  }
}

/// The window that rates are computed from: its last interval, and all others together.
struct TrafficWindow {
  /// One key.
  struct Key {
    var name: [UInt8]
    var isKnown: Bool
    var latest = KeyTraffic()
    var earlier = KeyTraffic()
  }

  /// The last interval.
  var interval: IntervalNumber
  /// The fraction of the last interval that all partitions together have counted: 1 is all of it.
  var latestCoverage: Double
  /// The same for all earlier intervals together: `history - 1` is all of them.
  var earlierCoverage: Double
  /// Partitions waited for.
  var partitionCount: Int
  /// Keys tracked individually, in ascending order of names, at most `servicesMax`.
  var keys: [Key]
  /// All the rest.
  var other: Key
}

extension FleetTraffic {
  /// The window that ends at the horizon; nil if nothing was merged.
  ///
  /// If there are more names than may have a rate, those that had one take precedence, then those with more
  /// traces.
  func window() -> TrafficWindow? {
    guard let horizon else { return nil }
    let whole = Double(partitionCount) * Double(configuration.intervalMilliseconds)
    var window = TrafficWindow(
      interval: horizon, latestCoverage: 0, earlierCoverage: 0, partitionCount: partitionCount, keys: [],
      other: TrafficWindow.Key(name: [], isKnown: true))
    var places: [[UInt8]: Int] = [:]
    // The order here is the hash table's; the keys are sorted below.
    for age in 0..<Int64(configuration.history) {
      guard let sum = intervals[horizon.value - age] else { continue }
      let coverage = Double(sum.coveredMilliseconds) / whole
      if age == 0 { window.latestCoverage = coverage } else { window.earlierCoverage += coverage }
      window.other.add(sum.other, isLatest: age == 0)
      for (name, key) in sum.keys {
        let place = places[name] ?? window.keys.count
        if place == window.keys.count {
          places[name] = place
          window.keys.append(TrafficWindow.Key(name: name, isKnown: false))
        }
        if key.isKnown { window.keys[place].isKnown = true }
        window.keys[place].add(key.traffic, isLatest: age == 0)
      }
    }
    window.keepLargest(configuration.servicesMax)
    return window
  }
}

extension TrafficWindow.Key {
  fileprivate mutating func add(_ traffic: KeyTraffic, isLatest: Bool) {
    if isLatest { latest.add(traffic) } else { earlier.add(traffic) }
  }

  fileprivate var seen: UInt64 { latest.seen.addingSaturated(earlier.seen) }
}

extension TrafficWindow {
  /// Keeps the largest keys, ordered by name.
  fileprivate mutating func keepLargest(_ count: Int) {
    // Sorts indices instead of keys, which are large.
    var order = Array(keys.indices)
    if keys.count > count {
      order.sort { [keys] left, right in
        let (left, right) = (keys[left], keys[right])
        if left.isKnown != right.isKnown { return left.isKnown }
        return left.seen != right.seen ? left.seen > right.seen : left.name.precedes(right.name)
      }
      for place in order[count...] {
        other.latest.add(keys[place].latest)
        other.earlier.add(keys[place].earlier)
      }
      order.removeSubrange(count...)
    }
    let names = keys.map(\.name)
    order.sort { names[$0].precedes(names[$1]) }
    keys = order.map { keys[$0] }
  }
}
