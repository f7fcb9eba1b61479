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

extension BaselineBudget {
  /// A tally in the budget's unit.
  func amount(_ tally: TrafficTally) -> UInt64 {
    switch self {
    case .shareOfTraces: tally.traces
    case .shareOfSpans, .spansPerSecond: tally.spans
    case .shareOfBytes: tally.bytes
    }
  }

  /// Whether its unit is that of `other`.
  func isCounted(like other: BaselineBudget) -> Bool {
    let tally = TrafficTally(traces: 1, spans: 2, bytes: 3)
    return amount(tally) == other.amount(tally)
  }
}

/// A part of a key.
public enum BaselineKeyPart: Hashable, Sendable {
  /// A span's value for this attribute, or its resource's.
  case attribute(String)
  /// A span's name.
  case spanName
  /// The name of a trace's root.
  case rootOperation
  /// A trace's shape: see `TraceShape`.
  case traceShape

  /// Whether all spans of a trace have the same.
  var isOfTrace: Bool { self == .rootOperation || self == .traceShape }
}

/// What the baseline is shared over.
public enum BaselineKey: Equatable, Sendable {
  /// The services of a trace.
  case service
  /// The tuples that the spans of a trace have of these, 1 to `partsMax` different ones. A tuple with only
  /// part of the values of another one of its trace does not count.
  case parts([BaselineKeyPart])

  /// The most parts of a key.
  public static let partsMax = 8

  /// A key of attributes only.
  public static func attributes(_ names: [String]) -> BaselineKey { .parts(names.map { .attribute($0) }) }

  /// Its parts; none if it is made of services.
  public var parts: [BaselineKeyPart] {
    if case .parts(let parts) = self { parts } else { [] }
  }
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
  /// Whether the budget comes before the floor, and before anything else that would exceed it, however little
  /// traffic there is: see `BudgetAccount`.
  public var isWithinBudget = false
  /// The share of the budget that the first traces of shapes may take, 0 to 1. It needs `isWithinBudget`.
  public var firstOfShapeShare = 0.0
  /// A shape that was not seen for this long is new again; from half of it on it may be.
  public var shapeSilence = Interval.seconds(24 * 3600)
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
    case budget, key, floor, firstOfShapeShare, shapeSilence, ceiling, boost, interval, history, servicesMax
  }

  /// Throws the first property that is out of range.
  public func validate() throws(Fault) {
    switch budget {
    case .shareOfTraces(let share), .shareOfSpans(let share), .shareOfBytes(let share):
      guard share > 0, share <= 1 else { throw .budget }
    case .spansPerSecond(let spans):
      guard spans > 0, spans <= 1e12 else { throw .budget }
    }
    if case .parts(let parts) = key {
      guard (1...BaselineKey.partsMax).contains(parts.count), !parts.contains(.attribute("")),
        Set(parts).count == parts.count
      else {
        throw .key
      }
    }
    guard floor >= 0, floor <= 1e6 else { throw .floor }
    guard firstOfShapeShare >= 0, firstOfShapeShare <= 1, firstOfShapeShare == 0 || isWithinBudget else {
      throw .firstOfShapeShare
    }
    guard (.seconds(60) ... .seconds(31 * 86_400)).contains(shapeSilence) else { throw .shapeSilence }
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
      && servicesMax == other.servicesMax && readsShapes == other.readsShapes
      && shapeSilence == other.shapeSilence
  }

  /// Whether it needs the shapes of traces.
  var readsShapes: Bool { firstOfShapeShare > 0 || key.parts.contains(.traceShape) }

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
