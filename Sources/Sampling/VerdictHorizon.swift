// Which verdicts a record still knows: decided by the offset, so that whoever reads it again knows the same.
//
// Verdicts are forgotten after `late_window`, by the stream clock. But the clock at a record can't be found
// out by reading the record again: time passed without records, a host's clock was believed and then not, and
// reading started elsewhere. An owner that knew more or fewer verdicts than the last one would hand out spans
// twice, or not at all. So verdicts are forgotten in a few steps, at offsets that are committed.

/// From a record on, verdicts are forgotten as of a time.
public struct HorizonStep: Equatable, Sendable {
  /// From this record on,
  public var since: Offset
  /// those are forgotten that were `late_window` old or older at this time.
  public var clock: Instant

  /// Makes a step.
  public init(since: Offset, clock: Instant) {
    self.since = since
    self.clock = clock
  }
}

/// The steps in which verdicts were forgotten since the safe offset, by offset.
struct VerdictHorizon {
  private(set) var steps: [HorizonStep] = []

  /// The most steps. At 19 digits a number they take 960 bytes of the metadata.
  static let stepsMax = 24
  /// A step is at least this part of the late window,
  private static let stepsInWindow: Int64 = 16
  /// and beyond so many steps
  private static let stepsNear = 20
  /// this part of the time since the safe offset: however long that is, the steps suffice.
  private static let stepsInStretch: Int64 = 4

  /// Into how many steps a full cache is divided: fewer and fewer, so that one is always left.
  var stepsOfRoom: Int {
    switch VerdictHorizon.stepsMax - steps.count {
    case 12...: 64
    case 6...: 16
    case 2...: 4
    default: 2
    }
  }

  /// The time by which verdicts are forgotten now.
  var clock: Instant { steps.last?.clock ?? .distantPast }

  /// The earliest time by which some record forgets them.
  var earliest: Instant { steps.map(\.clock).min() ?? .distantPast }

  /// The time for the record at `offset`.
  func clock(at offset: Offset) -> Instant {
    steps.last { $0.since <= offset }?.clock ?? steps.first?.clock ?? .distantPast
  }

  /// Makes it what it was for the last owner.
  mutating func restore(_ point: CommitPoint) {
    steps = point.horizon
    // The clock does not start before a record has a timestamp.
    guard steps.isEmpty, point.clockAtSafeOffset != .distantPast else { return }
    steps = [HorizonStep(since: point.safeOffset, clock: point.clockAtSafeOffset)]
  }

  /// Whether a step may be made now.
  func mayMove(lateWindow: Interval, now: Instant) -> Bool {
    guard let first = steps.first, let last = steps.last else { return true }
    guard steps.count < VerdictHorizon.stepsMax else { return false }
    guard now >= nextStep(lateWindow: lateWindow, now: now) else { return false }
    let stretch = (now - first.clock).nanoseconds / VerdictHorizon.stepsInStretch
    return steps.count < VerdictHorizon.stepsNear || now >= last.clock + Interval(nanoseconds: stretch)
  }

  /// The earliest time at which a step may be made.
  func nextStep(lateWindow: Interval, now: Instant) -> Instant {
    guard let last = steps.last else { return .distantPast }
    let least = Interval(nanoseconds: max(1, lateWindow.nanoseconds / VerdictHorizon.stepsInWindow))
    return (steps.count < VerdictHorizon.stepsMax ? last.clock : now) + least
  }

  /// Forgets by `clock` from the record at `offset` on, unless there are too many steps.
  mutating func move(to clock: Instant, from offset: Offset) {
    if let last = steps.indices.last, steps[last].since >= offset {
      steps[last].clock = clock
    } else if steps.count < VerdictHorizon.stepsMax {
      steps.append(HorizonStep(since: offset, clock: clock))
    }
  }

  /// Drops the steps that concern only records before `safeOffset`, which nobody reads again.
  mutating func prune(before safeOffset: Offset) {
    while steps.count > 1, steps[1].since <= safeOffset { steps.removeFirst() }
  }

  /// Goes back to `clock`. Returns the steps that were made by later times: from these records on, verdicts
  /// had been forgotten by them. What is decided from now on is not, whichever record it is about.
  mutating func turnBack(to clock: Instant) -> [HorizonStep] {
    guard let first = steps.firstIndex(where: { $0.clock > clock }) else { return [] }
    let ahead = Array(steps[first...])
    steps.removeSubrange((first + 1)...)
    steps[first].clock = clock
    return ahead
  }

  /// The steps that concern records from `safeOffset` on.
  func steps(from safeOffset: Offset) -> [HorizonStep] {
    var some = self
    some.prune(before: safeOffset)
    if !some.steps.isEmpty { some.steps[0].since = safeOffset }
    return some.steps
  }
}
