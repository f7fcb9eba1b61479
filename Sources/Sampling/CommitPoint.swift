// Where a partition can be resumed, and what must be known besides the offset.

/// Verdicts that were forgotten before their time, because the clock was ahead and was set back.
public struct ForgottenVerdicts: Equatable, Sendable {
  /// Those given before this time,
  public var before: Instant
  /// for the spans in records from this one on. In earlier records they were still known.
  public var since: Offset

  /// So many times may the clock be set back while all that it forgot is remembered.
  static let countMax = 4
}

/// Where reading the logs of a partition goes on.
public struct LogsPosition: Equatable, Sendable {
  /// The stream clock when the requests that are not dealt with were written, or earlier: verdicts that were
  /// known then are still needed.
  public var since: Instant
  /// The next request: those before it are dealt with.
  public var next: Offset

  /// Makes a position.
  public init(since: Instant, next: Offset) {
    self.since = since
    self.next = next
  }
}

/// What is committed for a partition: every span before the safe offset is dealt with for good.
public struct CommitPoint: Equatable, Sendable {
  /// The offset of the first span of the oldest open trace; the next offset to read if none is open.
  public var safeOffset: Offset
  /// The stream clock when the record at the safe offset was read; rereading from there starts with it.
  public var clockAtSafeOffset: Instant
  /// The next offset to read. Records before it are dealt with if their traces are already decided.
  public var highWater: Offset
  /// The stream clock after the record before the high water.
  public var clock: Instant
  /// What rate limits and composites had left at `clock`; empty if there are none. Never negative, at most
  /// `budgetLevelsMax` numbers.
  public var budgetLevels: [Int64]
  /// The same of shadow policies, after the level of their records; empty if there are none. At most
  /// `budgetLevelsMax` numbers together with `budgetLevels`, and two.
  public var shadowLevels: [Int64] = []
  /// How far the stream clock was ahead of the time of day at the commit, because producers' clocks are.
  /// Decisions are stamped with the time of day, so reading them back must start that much earlier.
  public var clockAhead = Interval.seconds(0)
  /// The stream clock at the oldest request for a recall that is not fulfilled: decisions must be read back
  /// to there. Nil if there is none.
  public var oldestRecall: Instant?
  /// Verdicts that were forgotten although they are no older than `late_window`: spans that came afterwards
  /// opened their traces again. By offset; at most `ForgottenVerdicts.countMax`.
  public var forgotten: [ForgottenVerdicts]
  /// By which time records from the safe offset on forget verdicts: at most `VerdictHorizon.stepsMax` steps,
  /// the first of them at the safe offset. Empty if it is the clock there for all of them.
  public var horizon: [HorizonStep]
  /// How far the follower of log-backed windows is; nil if they are in memory.
  public var follower: FollowerPoint?
  /// The position in the partition of the same number of the logs' topic. Nil if none is known.
  public var logs: LogsPosition?
  /// Which spans have been counted and written as metrics; nil if they are not counted.
  public var counting: CountingPoint?

  /// The offset to commit: the first record that is still needed.
  public var committedOffset: Offset {
    min(safeOffset, min(follower?.position ?? safeOffset, counting?.next ?? safeOffset))
  }

  /// The clock at the oldest verdict that is needed for more than the spans to come.
  public var oldestNeed: Instant? {
    [oldestRecall, follower?.oldestVerdict].compactMap(\.self).min()
  }

  /// The clock by which the first record to read again knew verdicts: those of `late_window` before it must
  /// be read back.
  public var clockOfVerdicts: Instant { horizon.map(\.clock).min() ?? clockAtSafeOffset }

  /// Two numbers for each rate limit. At 19 digits each the metadata takes 2,630 bytes; brokers accept 4,096
  /// by default (`offset.metadata.max.bytes`).
  public static let budgetLevelsMax = 2 * PolicyCompiler.budgetsMax

  /// Makes a commit point.
  public init(
    safeOffset: Offset, clockAtSafeOffset: Instant, highWater: Offset, clock: Instant,
    budgetLevels: [Int64] = [], oldestRecall: Instant? = nil,
    forgotten: [ForgottenVerdicts] = [], horizon: [HorizonStep] = []
  ) {
    self.safeOffset = safeOffset
    self.clockAtSafeOffset = clockAtSafeOffset
    self.highWater = highWater
    self.clock = clock
    self.budgetLevels = budgetLevels
    self.oldestRecall = oldestRecall
    self.forgotten = forgotten
    self.horizon = horizon
  }

  /// The metadata committed with `committedOffset`: `1;` (the version), then the high water, the clock at the
  /// safe offset and the clock, as decimal numbers separated by `;`. With rate limits the version is 2 and
  /// their levels follow, separated by `,`. If the clock was ahead, the version is 3, the nanoseconds it was
  /// ahead come before the levels, and the levels may be missing. If recalls are pending, the version is 4:
  /// the nanoseconds may be zero, and the clock at the oldest request comes before the levels.
  ///
  /// If anything else has to be known, the version is 5: as 4, but the clock at the oldest request may be
  /// missing, and after the levels come fields with names, `name=value`, separated by `,`. The value is
  /// numbers, separated by `:`: of `l`, for the logs, a time and an offset; of `forgotten` one or more times
  /// and offsets; of `horizon` the time of the first step, then for each further one how much later its time
  /// is, and its offset, than those of the step before. If windows are log-backed: `s=` the safe offset, `f=`
  /// the follower's position, `h=` the clock at the oldest verdict that it has not passed, `a=` and `u=`
  /// where log-backed traces begin and end; the last three may be missing. With shadow
  /// policies: `shadow=` their levels. With metrics: `m=` the first record whose spans are not counted and
  /// written, and where the next points start; and `s=` the safe offset if it is after that record.
  public var metadata: String {
    let point = "\(highWater.value);\(clockAtSafeOffset.nanoseconds);\(clock.nanoseconds)"
    let levels = budgetLevels.map(String.init).joined(separator: ",")
    let (ahead, recall) = (max(0, clockAhead.nanoseconds), oldestRecall.map { "\($0.nanoseconds)" } ?? "")
    let fields = fields
    if !fields.isEmpty {
      return "5;\(point);\(ahead);\(recall);\(levels);\(fields.joined(separator: ","))"
    }
    if oldestRecall != nil { return "4;\(point);\(ahead);\(recall);\(levels)" }
    if ahead > 0 { return "3;\(point);\(ahead);\(levels)" }
    return budgetLevels.isEmpty ? "1;\(point)" : "2;\(point);\(levels)"
  }

  private var horizonText: String {
    var numbers: [Int64] = []
    var (time, offset): (Int64, Int64) = (0, 0)
    for step in horizon {
      // They are all within the clocks and offsets of one partition; a wrong one is refused when it is read.
      numbers.append(step.clock.nanoseconds &- time)
      numbers.append(step.since.value &- offset)
      (time, offset) = (step.clock.nanoseconds, step.since.value)
    }
    numbers.remove(at: 1)
    return numbers.map(String.init).joined(separator: ":")
  }

  /// The fields with names.
  private var fields: [String] {
    var fields: [String] = []
    if committedOffset < safeOffset || follower != nil { fields.append("s=\(safeOffset.value)") }
    if let counting { fields.append("m=\(counting.next.value):\(counting.since.nanoseconds)") }
    if let follower {
      fields.append("f=\(follower.position.value)")
      if let oldest = follower.oldestVerdict { fields.append("h=\(oldest.nanoseconds)") }
      if follower.from > Offset(.min) { fields.append("a=\(follower.from.value)") }
      if follower.until < Offset(.max) { fields.append("u=\(follower.until.value)") }
    }
    if !forgotten.isEmpty {
      let pairs = forgotten.map { "\($0.before.nanoseconds):\($0.since.value)" }
      fields.append("forgotten=\(pairs.joined(separator: ":"))")
    }
    if !horizon.isEmpty { fields.append("horizon=\(horizonText)") }
    if !shadowLevels.isEmpty {
      fields.append("shadow=\(shadowLevels.map(String.init).joined(separator: ":"))")
    }
    if let logs { fields.append("l=\(logs.since.nanoseconds):\(logs.next.value)") }
    return fields
  }

  /// Reads back what `metadata` wrote; nil for anything else, since another program may have committed.
  /// Neither offset is negative, so their difference fits.
  ///
  /// - Parameter offset: the committed offset.
  public init?(safeOffset offset: Offset, metadata: String) {
    var parts = metadata.split(separator: ";", omittingEmptySubsequences: false)
    let counts: [Substring: Int] = ["1": 4, "2": 5, "3": 6, "4": 7, "5": 8]
    let version = parts[0]
    guard counts[version] == parts.count, let highWater = Int64(parts[1]), let atSafe = Int64(parts[2]),
      let clock = Int64(parts[3]), clock >= atSafe
    else { return nil }
    self.init(
      safeOffset: offset, clockAtSafeOffset: Instant(nanoseconds: atSafe), highWater: Offset(highWater),
      clock: Instant(nanoseconds: clock))
    if version == "5", !readFields(parts.removeLast()) { return nil }
    guard safeOffset.value >= 0, highWater >= safeOffset.value else { return nil }
    if parts.count >= 6 {
      guard let ahead = Int64(parts[4]), ahead > 0 || (ahead == 0 && parts.count == 7) else { return nil }
      clockAhead = Interval(nanoseconds: ahead)
    }
    if parts.count == 7, version == "4" || !parts[5].isEmpty {
      guard let recall = Int64(parts[5]) else { return nil }
      oldestRecall = Instant(nanoseconds: recall)
    }
    if let text = parts.dropFirst(4).last, version == "2" || !text.isEmpty {
      let texts = text.split(separator: ",", omittingEmptySubsequences: false)
      budgetLevels = texts.compactMap { Int64($0) }
      let isPlausible =
        budgetLevels.count == texts.count && budgetLevels.count <= CommitPoint.budgetLevelsMax
      guard isPlausible, budgetLevels.allSatisfy({ $0 >= 0 }) else { return nil }
    }
  }

  /// Reads the fields with names. Returns whether all are known, well formed, and there once.
  private mutating func readFields(_ text: Substring) -> Bool {
    var numbers: [Substring: [Int64]] = [:]
    for field in text.split(separator: ",", omittingEmptySubsequences: false) {
      let sides = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2 else { return false }
      let texts = sides[1].split(separator: ":", omittingEmptySubsequences: false)
      let values = texts.compactMap { Int64($0) }
      guard values.count == texts.count, numbers.updateValue(values, forKey: sides[0]) == nil else {
        return false
      }
      switch sides[0] {
      case "s", "f", "a", "u": guard values.count == 1, values[0] >= 0 else { return false }
      case "h": guard values.count == 1 else { return false }
      case "horizon", "forgotten": break
      case "shadow":
        let isPlausible = values.count >= 2 && values.count <= CommitPoint.budgetLevelsMax + 2
        guard isPlausible, values.allSatisfy({ $0 >= 0 }) else { return false }
      case "l": guard values.count == 2, values[1] >= 0 else { return false }
      case "m": guard values.count == 2, values[0] >= 0 else { return false }
      default: return false
      }
    }
    func one(_ name: Substring) -> Int64? { numbers[name]?.first }
    if let values = numbers["forgotten"], !readForgotten(values) { return false }
    shadowLevels = numbers["shadow"] ?? []
    if let values = numbers["l"] {
      logs = LogsPosition(since: Instant(nanoseconds: values[0]), next: Offset(values[1]))
    }
    if let values = numbers["m"] {
      guard values[0] <= highWater.value else { return false }
      counting = CountingPoint(next: Offset(values[0]), since: Instant(nanoseconds: values[1]))
    }
    if let safe = one("s") {
      guard one("f") != nil || numbers["m"] != nil else { return false }
      safeOffset = Offset(safe)
    }
    if one("s") != nil, let position = one("f") {
      guard position <= safeOffset.value else { return false }
      follower = FollowerPoint(
        position: Offset(position), oldestVerdict: one("h").map { Instant(nanoseconds: $0) },
        from: Offset(one("a") ?? .min), until: Offset(one("u") ?? .max))
    } else if !["f", "h", "a", "u"].allSatisfy({ numbers[$0] == nil }) {
      return false
    }
    // The first step is at the safe offset.
    guard let values = numbers["horizon"] else { return true }
    return readHorizon(values)
  }

  private mutating func readForgotten(_ values: [Int64]) -> Bool {
    guard values.count.isMultiple(of: 2), values.count <= 2 * ForgottenVerdicts.countMax else { return false }
    for place in stride(from: 0, to: values.count, by: 2) {
      let since = Offset(values[place + 1])
      guard since >= Offset(0), forgotten.last.map({ $0.since < since }) ?? true else { return false }
      forgotten.append(ForgottenVerdicts(before: Instant(nanoseconds: values[place]), since: since))
    }
    return true
  }

  private mutating func readHorizon(_ values: [Int64]) -> Bool {
    guard values.count % 2 == 1, values.count < 2 * VerdictHorizon.stepsMax else { return false }
    var step = HorizonStep(since: safeOffset, clock: Instant(nanoseconds: values[0]))
    horizon = [step]
    for place in stride(from: 1, to: values.count, by: 2) {
      let (time, timeOverflows) = step.clock.nanoseconds.addingReportingOverflow(values[place])
      let (offset, offsetOverflows) = step.since.value.addingReportingOverflow(values[place + 1])
      guard !timeOverflows, !offsetOverflows, offset > step.since.value else { return false }
      step = HorizonStep(since: Offset(offset), clock: Instant(nanoseconds: time))
      horizon.append(step)
    }
    return true
  }
}
