// What asked one partition for the tokens of limits that the fleet shares, in one interval: a record of
// `stats`.
//
// Every number a minimal varint, as in `TrafficRecord+Wire.swift`:
//
//     record = 108 (one byte, 'l') partition interval covered-ms limit-count limit*
//     limit  = id traces tokens
//
// Limits are in strictly ascending order of their ids, so a record has one encoding.

import OTLP

/// One partition's demand in one interval: the value of a record of `stats`.
///
/// Every limit of the partition's policies has an entry, whether anything asked for it or not: so an entry
/// that is missing says that the partition does not know the limit yet.
public struct DemandRecord: Equatable, Sendable {
  /// What asked for one limit's tokens.
  public struct Demand: Equatable, Sendable {
    /// Which limit.
    public var limit: LimitID
    /// Traces that asked for tokens, whether they got any or not; none that costs more than the limit holds.
    public var traces: UInt64
    /// The tokens: spans or bytes.
    public var tokens: UInt64

    /// Makes a demand.
    public init(_ limit: LimitID, traces: UInt64, tokens: UInt64) {
      self.limit = limit
      self.traces = min(traces, TrafficRecord.countMax)
      self.tokens = min(tokens, TrafficRecord.countMax)
    }
  }

  /// The most limits of a record: those of policies and shadow policies together.
  public static let limitsMax = 16
  /// The length of intervals. Short, since it is how long a new distribution takes to be known.
  public static let interval = Interval.seconds(5)
  /// How many intervals are remembered.
  static let history: Int64 = 6
  static let intervalMilliseconds = DemandRecord.interval.nanoseconds / 1_000_000

  /// The partition of the input.
  public var partition: PartitionID
  /// Which interval, of `DemandRecord.interval` each.
  public var interval: IntervalNumber
  /// How much of it was counted: 1 to 5,000 milliseconds.
  public var coveredMilliseconds: Int64
  /// The limits in ascending order of their ids, each once.
  public var demands: [Demand]

  /// Makes a record.
  ///
  /// - Parameter demands: at most `limitsMax`, each limit once.
  public init(
    partition: PartitionID, interval: IntervalNumber, coveredMilliseconds: Int64, demands: [Demand]
  ) {
    self.partition = partition
    self.interval = interval
    self.coveredMilliseconds = min(max(1, coveredMilliseconds), DemandRecord.intervalMilliseconds)
    self.demands = demands.sorted { $0.limit < $1.limit }
  }

  /// The record's key, "limits/<partition>/<interval mod 6>": a compacted topic holds the last intervals of
  /// each partition.
  public var topicKey: [UInt8] {
    Array("limits/\(partition.value)/\(interval.value % DemandRecord.history)".utf8)
  }

  private static let tag: UInt8 = 0x6c

  /// Whether a record of `stats` is one of these, and not one of the baseline's.
  public static func isOne(_ bytes: [UInt8]) -> Bool { bytes.first == tag }

  /// The record's bytes: at most 400, usually some 30.
  public func encoded() -> [UInt8] {
    var writer = WireWriter(capacity: 64)
    writer.varint(UInt64(DemandRecord.tag))
    writer.varint(UInt64(clamping: partition.value))
    writer.varint(UInt64(clamping: interval.value))
    writer.varint(UInt64(clamping: coveredMilliseconds))
    writer.varint(UInt64(demands.count))
    for demand in demands {
      writer.varint(demand.limit.value)
      writer.varint(demand.traces)
      writer.varint(demand.tokens)
    }
    return writer.bytes
  }

  /// Reads a record. Its bytes are untrusted.
  public init(decoding bytes: [UInt8]) throws(TrafficRecordError) {
    var reader = TrafficReader(bytes: bytes)
    guard reader.byte() == DemandRecord.tag else { throw .version }
    let partition = try reader.number(atMost: UInt64(Int32.max))
    let interval = try reader.number(atMost: TrafficRecord.countMax)
    let covered = try reader.number(atMost: UInt64(DemandRecord.intervalMilliseconds))
    guard covered > 0 else { throw .number }
    let count = try reader.number(atMost: UInt64.max)
    guard count <= UInt64(DemandRecord.limitsMax) else { throw .tooLarge }
    var demands: [Demand] = []
    for _ in 0..<count {
      let limit = LimitID(value: try reader.number(atMost: LimitID.valueMax))
      if let last = demands.last?.limit, last >= limit { throw .entry }
      let traces = try reader.number(atMost: TrafficRecord.countMax)
      let tokens = try reader.number(atMost: TrafficRecord.countMax)
      demands.append(Demand(limit, traces: traces, tokens: tokens))
    }
    guard reader.bytesLeft == 0 else { throw .trailingBytes }
    self.init(
      partition: PartitionID(Int32(truncatingIfNeeded: partition)),
      interval: IntervalNumber(Int64(truncatingIfNeeded: interval)),
      coveredMilliseconds: Int64(truncatingIfNeeded: covered), demands: demands)
  }
}
