// The rates of one interval, as the samplers get them.

public import OTLP

/// The rate of every key, and how new names are treated. The same on every worker.
public struct BaselineRates: Equatable, Sendable {
  /// One key's rate.
  public struct Entry: Equatable, Sendable {
    /// The key's name.
    public var name: [UInt8]
    /// Its rate.
    public var threshold: SamplingThreshold
    /// Whether it gets more than its share because its error rate has risen.
    public var isBoosted: Bool
  }

  /// The keys in ascending order of their names.
  public var entries: [Entry] = []
  /// The rate of all other keys, and of traces without a key.
  public var other: SamplingThreshold
  /// How many new names a partition tracks individually in an interval.
  public var newNamesMax: Int
  /// How many traces of new names a partition may keep whole in an interval.
  public var newTracesMax: Int
  /// How much of the traffic the budget is, in its unit.
  public var share: Double
  /// Shapes and variants that the fleet has kept a trace of.
  public var shapes: Set<UInt64> = []
  /// How they were computed; nil before the first counts arrived.
  public var plan: BaselinePlan?

  /// How many first traces of a new name to keep whole at most, per partition and interval.
  static let newTracesPerNameMax = 4
  /// How many new names the whole fleet tracks individually in an interval; its partitions share it.
  static let newNamesOfFleet = 8192

  /// The initial rates, when the traffic is unknown: the budget's share of everything, or one percent if the
  /// budget is in spans per second.
  public init(starting configuration: BaselineConfiguration) {
    var share = 0.01
    switch configuration.budget {
    case .shareOfTraces(let own), .shareOfSpans(let own), .shareOfBytes(let own): share = own
    case .spansPerSecond: break
    }
    self.share = share
    other = SamplingThreshold(probability: min(share, configuration.ceiling))
    newNamesMax = 1024
    newTracesMax = 64
  }

  init(
    entries: [Entry], other: SamplingThreshold, newNamesMax: Int, newTracesMax: Int, share: Double,
    plan: BaselinePlan
  ) {
    self.share = share
    self.entries = entries
    self.other = other
    self.newNamesMax = newNamesMax
    self.newTracesMax = newTracesMax
    self.plan = plan
  }

  /// Bytes of memory in use, without the names, which belong to the traffic that the rates were computed
  /// from.
  public var byteCount: Int { entries.capacity * MemoryLayout<Entry>.stride + shapes.capacity * 9 }

  /// The rate of `name`; nil if it shares the rate of the others.
  public func threshold(of name: [UInt8]) -> SamplingThreshold? {
    var (low, high) = (0, entries.count)
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].name.precedes(name) { low = middle + 1 } else { high = middle }
    }
    return low < entries.count && entries[low].name == name ? entries[low].threshold : nil
  }
}

/// The numbers behind a set of rates, for display. Per interval, in the budget's unit (traces, spans, bytes).
public struct BaselinePlan: Equatable, Sendable {
  /// The last interval evaluated.
  public var interval: IntervalNumber
  /// What may be kept.
  public var budget: Double
  /// What other policies are expected to keep.
  public var forced: Double
  /// What the baseline should keep: budget less forced, corrected for what was actually kept.
  public var aim: Double
  /// What the rates are expected to keep. Above `aim` if the floor requires it.
  public var expected: Double
  /// The correction: what should have been kept over what was, half to double.
  public var correction: Double
  /// What each key above the water line keeps; infinite if all are kept whole.
  public var waterLevel: Double
}
