// The counts of one key in one interval, and the record that shares them with the fleet.

/// Traces, with their spans and bytes.
public struct TrafficTally: Equatable, Sendable {
  /// How many traces.
  public var traces: UInt64 = 0
  /// Their spans.
  public var spans: UInt64 = 0
  /// Bytes of their spans.
  public var bytes: UInt64 = 0

  /// Makes a tally.
  public init(traces: UInt64 = 0, spans: UInt64 = 0, bytes: UInt64 = 0) {
    self.traces = traces
    self.spans = spans
    self.bytes = bytes
  }

  /// Adds, saturating at the largest number, so order still does not matter.
  mutating func add(_ other: TrafficTally) {
    traces = traces.addingSaturated(other.traces)
    spans = spans.addingSaturated(other.spans)
    bytes = bytes.addingSaturated(other.bytes)
  }

  /// Whether each number is at most that of `other`.
  func isAtMost(_ other: TrafficTally) -> Bool {
    traces <= other.traces && spans <= other.spans && bytes <= other.bytes
  }
}

/// The counts of one key.
///
/// A trace with several keys is *present* at each of them, and *attributed* to one: the key with the largest
/// rate, which decided it. `present` and `offered` are weighted: a head-sampled trace counts with its
/// adjusted count, because a rate is a share of the traffic before head sampling.
public struct KeyTraffic: Equatable, Sendable {
  /// Traces that have the key, kept or dropped.
  public var seen: UInt64 = 0
  /// Those of them in which this key's own spans failed.
  public var failed: UInt64 = 0
  /// Weighted: traces that have the key and that only the baseline could keep.
  public var present = TrafficTally()
  /// Attributed: all traces.
  public var decided = TrafficTally()
  /// Attributed: traces that other policies kept.
  public var forced = TrafficTally()
  /// Attributed and weighted: traces that only the baseline could keep.
  public var offered = TrafficTally()
  /// Attributed: traces that the baseline kept.
  public var kept = TrafficTally()

  /// Nothing.
  public init() {}

  /// Adds counts from elsewhere.
  mutating func add(_ other: KeyTraffic) {
    seen = seen.addingSaturated(other.seen)
    failed = failed.addingSaturated(other.failed)
    present.add(other.present)
    decided.add(other.decided)
    forced.add(other.forced)
    offered.add(other.offered)
    kept.add(other.kept)
  }

  /// Whether any traffic can have these numbers.
  var isConsistent: Bool {
    var whole = forced
    whole.add(kept)
    return failed <= seen && whole.isAtMost(decided)
  }
}

/// One partition's traffic in one interval: the value of a `stats` record.
public struct TrafficRecord: Equatable, Sendable {
  /// One key's traffic.
  public struct Entry: Equatable, Sendable {
    /// The key's name, at most `TrafficName.bytesMax` bytes.
    public var name: [UInt8]
    /// Whether the key had its own rate when it was counted.
    public var isKnown: Bool
    /// The counts.
    public var traffic: KeyTraffic

    /// Makes an entry.
    public init(name: [UInt8], isKnown: Bool, traffic: KeyTraffic) {
      self.name = name
      self.isKnown = isKnown
      self.traffic = traffic
    }
  }

  /// The partition of the input.
  public var partition: PartitionID
  /// Which interval.
  public var interval: IntervalNumber
  /// The length of intervals, in milliseconds.
  public var intervalMilliseconds: Int64
  /// How much of the interval was counted: milliseconds, 1 to the interval's length. Less if the partition
  /// was assigned to a worker in the middle of it.
  public var coveredMilliseconds: Int64
  /// Keys without an entry, and traces without a key.
  public var other = KeyTraffic()
  /// The keys with traffic in ascending order of their names, each once.
  public var entries: [Entry] = []
  /// Some of the shapes and variants of which the partition has kept a trace, in ascending order.
  public var shapes: [UInt64] = []

  /// Makes a record without traffic.
  public init(
    partition: PartitionID, interval: IntervalNumber, intervalMilliseconds: Int64, coveredMilliseconds: Int64
  ) {
    self.partition = partition
    self.interval = interval
    self.intervalMilliseconds = intervalMilliseconds
    self.coveredMilliseconds = coveredMilliseconds
  }

  /// The record's key, "<partition>/<interval mod history>": a compacted topic holds the last `history`
  /// intervals of each partition.
  public func topicKey(history: Int) -> [UInt8] {
    Array("\(partition.value)/\(interval.value % Int64(max(1, history)))".utf8)
  }
}

extension UInt64 {
  /// The sum, or the largest number on overflow.
  func addingSaturated(_ other: UInt64) -> UInt64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}

extension [UInt8] {
  /// Whether the bytes precede those of `other` in lexicographic order.
  func precedes(_ other: [UInt8]) -> Bool {
    lexicographicallyPrecedes(other)
  }
}
