// The user's configuration of the baseline: how much may be kept, and how it is shared.

/// How much the sampler may keep.
public enum BaselineBudget: Equatable, Sendable {
  /// A share of all traces, above 0 and up to 1.
  case shareOfTraces(Double)
  /// A share of all spans, above 0 and up to 1.
  case shareOfSpans(Double)
  /// A share of all bytes of spans, above 0 and up to 1.
  case shareOfBytes(Double)
  /// Spans per second of stream time, all partitions together.
  case spansPerSecond(Double)
}

/// What the baseline is shared over.
public enum BaselineKey: Equatable, Sendable {
  /// The services of a trace.
  case service
  /// The tuples of values that the spans of a trace have for these attributes, 1 to `attributesMax` names:
  /// their own, else their resources'. A tuple with only part of the values of another one of its trace does
  /// not count.
  case attributes([String])

  /// The most attributes of a key.
  public static let attributesMax = 8
}

/// How baseline rates are computed. It must be the same on every worker of a fleet.
public struct BaselineConfiguration: Equatable, Sendable {
  /// How much may be kept.
  public var budget = BaselineBudget.shareOfTraces(0.01)
  /// Whether traces that other policies keep (errors, slow ones) count against the budget. If not, the budget
  /// is only for the baseline, and they come on top.
  public var includesForced = true
  /// What the baseline is shared over.
  public var key = BaselineKey.service
  /// The fewest traces per minute that a key with traffic keeps, on average.
  public var floor = 1.0
  /// The largest rate of any key, above 0 and up to 1. It does not limit new names.
  public var ceiling = 1.0
  /// The multiple of its fair share that a key gets when its error rate has risen; 1 is off, at most 64.
  public var boost = 4.0
  /// How often rates are computed: 1 second to 10 minutes of stream time, whole milliseconds.
  public var interval = Interval.seconds(10)
  /// How many intervals are remembered, 2 to 48: after this many, a burst no longer affects a rate.
  public var history = 6
  /// Keys with a rate of their own, 1 to 100,000; the rest share one.
  public var servicesMax = 10_000

  /// The defaults: one percent of all traces, per service.
  public init() {}

  /// A property with an invalid value. The raw values are the names of the properties.
  public enum Fault: String, Error, Equatable, Sendable, CaseIterable {
    case budget, key, floor, ceiling, boost, interval, history, servicesMax
  }

  /// Throws the first property that is out of range.
  public func validate() throws(Fault) {
    switch budget {
    case .shareOfTraces(let share), .shareOfSpans(let share), .shareOfBytes(let share):
      guard share > 0, share <= 1 else { throw .budget }
    case .spansPerSecond(let spans):
      guard spans > 0, spans <= 1e12 else { throw .budget }
    }
    if case .attributes(let names) = key {
      guard (1...BaselineKey.attributesMax).contains(names.count), !names.contains(""),
        Set(names).count == names.count
      else {
        throw .key
      }
    }
    guard floor >= 0, floor <= 1e6 else { throw .floor }
    guard ceiling > 0, ceiling <= 1 else { throw .ceiling }
    guard boost >= 1, boost <= 64 else { throw .boost }
    let isWhole = interval.nanoseconds % 1_000_000 == 0
    guard isWhole, (.seconds(1) ... .seconds(600)).contains(interval) else { throw .interval }
    guard (2...48).contains(history) else { throw .history }
    guard (1...100_000).contains(servicesMax) else { throw .servicesMax }
  }

  /// Whether a worker with `other` counts the same: then this one can replace it while a worker runs.
  public func counts(like other: BaselineConfiguration) -> Bool {
    key == other.key && interval == other.interval && history == other.history
      && servicesMax == other.servicesMax
  }

  /// The interval's length in milliseconds.
  var intervalMilliseconds: Int64 { interval.nanoseconds / 1_000_000 }
}

/// Names of keys.
public enum TrafficName {
  /// Longer names are cut to this many bytes.
  public static let bytesMax = 256

  /// Separates the values of several attributes: the unit separator, which in a value becomes `?`.
  static let separator: UInt8 = 0x1f
}

/// The number of an interval of stream time: it starts this many intervals after 1970.
public struct IntervalNumber: Hashable, Comparable, Sendable {
  /// Intervals since 1970; never negative.
  public let value: Int64

  /// Makes a number; a negative one becomes zero.
  public init(_ value: Int64) {
    self.value = max(0, value)
  }

  /// The interval that contains `instant`, for intervals of `length`.
  public init(of instant: Instant, length: Interval) {
    self.init(max(0, instant.nanoseconds) / max(1, length.nanoseconds))
  }

  /// The number `count` later.
  public func advanced(by count: Int) -> IntervalNumber {
    IntervalNumber(value + Int64(count))
  }

  /// Orders by time.
  public static func < (left: IntervalNumber, right: IntervalNumber) -> Bool {
    left.value < right.value
  }
}
