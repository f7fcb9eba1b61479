// Where a partition can be resumed, and what must be known besides the offset.

/// Verdicts that were forgotten before their time, because the clock was ahead and was set back.
public struct ForgottenVerdicts: Equatable, Sendable {
  /// Those given before this time,
  public var before: Instant
  /// for the spans in records from this one on. In earlier records they were still known.
  public var since: Offset
}

/// A stretch of the log in which the clock stood still: records were so far ahead of it that it did not
/// follow them until enough agreed.
public struct StandingClock: Equatable, Sendable {
  /// The clock then,
  public var clock: Instant
  /// and the record with which it jumped.
  public var until: Offset
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
  /// How far the stream clock was ahead of the time of day at the commit, because producers' clocks are.
  /// Decisions are stamped with the time of day, so reading them back must start that much earlier.
  public var clockAhead = Interval.seconds(0)
  /// The stream clock at the oldest request for a recall that is not fulfilled: decisions must be read back
  /// to there. Nil if there is none.
  public var oldestRecall: Instant?
  /// Verdicts that were forgotten although they are no older than `late_window`: spans that came afterwards
  /// opened their traces again. Nil if there are none.
  public var forgotten: ForgottenVerdicts?
  /// Where the clock stood still after the safe offset, though `clockAtSafeOffset` is what it jumped to. What
  /// was remembered there goes by this. Nil if it did not.
  public var standing: StandingClock?
  /// The position in the partition of the same number of the logs' topic. Nil if none is known.
  public var logs: LogsPosition?

  /// The clock by which the first record to read again knew verdicts: those of `late_window` before it must
  /// be read back.
  public var clockOfVerdicts: Instant { min(clockAtSafeOffset, standing?.clock ?? clockAtSafeOffset) }

  /// Two numbers for each rate limit. At 19 digits each the metadata takes 2,630 bytes; brokers accept 4,096
  /// by default (`offset.metadata.max.bytes`).
  public static let budgetLevelsMax = 2 * PolicyCompiler.budgetsMax

  /// Makes a commit point.
  public init(
    safeOffset: Offset, clockAtSafeOffset: Instant, highWater: Offset, clock: Instant,
    budgetLevels: [Int64] = [], oldestRecall: Instant? = nil,
    forgotten: ForgottenVerdicts? = nil, standing: StandingClock? = nil
  ) {
    self.safeOffset = safeOffset
    self.clockAtSafeOffset = clockAtSafeOffset
    self.highWater = highWater
    self.clock = clock
    self.budgetLevels = budgetLevels
    self.oldestRecall = oldestRecall
    self.forgotten = forgotten
    self.standing = standing
  }

  /// The metadata committed with the safe offset: `1;` (the version), then the high water, the clock at the
  /// safe offset and the clock, as decimal numbers separated by `;`. With rate limits the version is 2 and
  /// their levels follow, separated by `,`. If the clock was ahead, the version is 3, the nanoseconds it was
  /// ahead come before the levels, and the levels may be missing. If recalls are pending, the version is 4:
  /// the nanoseconds may be zero, and the clock at the oldest request comes before the levels. If anything
  /// else has to be known, the version is 5: the oldest request may be missing, and after the levels come
  /// pairs of a name and a value, `name=value`, separated by `,`: `forgotten=`, `standing=` and `l=` (for the
  /// logs) with a time and, after a `:`, an offset.
  public var metadata: String {
    let point = "\(highWater.value);\(clockAtSafeOffset.nanoseconds);\(clock.nanoseconds)"
    let levels = budgetLevels.map(String.init).joined(separator: ",")
    let (ahead, recall) = (max(0, clockAhead.nanoseconds), oldestRecall.map { "\($0.nanoseconds)" } ?? "")
    var pairs: [String] = []
    if let forgotten { pairs.append("forgotten=\(forgotten.before.nanoseconds):\(forgotten.since.value)") }
    if let standing { pairs.append("standing=\(standing.clock.nanoseconds):\(standing.until.value)") }
    if let logs { pairs.append("l=\(logs.since.nanoseconds):\(logs.next.value)") }
    if !pairs.isEmpty {
      return "5;\(point);\(ahead);\(recall);\(levels);\(pairs.joined(separator: ","))"
    }
    if oldestRecall != nil { return "4;\(point);\(ahead);\(recall);\(levels)" }
    if ahead > 0 { return "3;\(point);\(ahead);\(levels)" }
    return budgetLevels.isEmpty ? "1;\(point)" : "2;\(point);\(levels)"
  }

  /// Reads back what `metadata` wrote; nil for anything else, since another program may have committed.
  /// Neither offset is negative, so their difference fits.
  public init?(safeOffset: Offset, metadata: String) {
    var parts = metadata.split(separator: ";", omittingEmptySubsequences: false)
    let counts: [Substring: Int] = ["1": 4, "2": 5, "3": 6, "4": 7, "5": 8]
    let version = parts[0]
    guard counts[version] == parts.count, let highWater = Int64(parts[1]), let atSafe = Int64(parts[2]),
      let clock = Int64(parts[3]), safeOffset.value >= 0, highWater >= safeOffset.value,
      clock >= atSafe
    else { return nil }
    self.init(
      safeOffset: safeOffset, clockAtSafeOffset: Instant(nanoseconds: atSafe), highWater: Offset(highWater),
      clock: Instant(nanoseconds: clock))
    if version == "5", !readPairs(parts.removeLast()) { return nil }
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

  /// Reads the pairs at the end of version 5. Returns whether all are known and well formed.
  private mutating func readPairs(_ text: Substring) -> Bool {
    for pair in text.split(separator: ",", omittingEmptySubsequences: false) {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2 else { return false }
      let values = sides[1].split(separator: ":", omittingEmptySubsequences: false).map { Int64($0) }
      guard values.count == 2, let time = values[0], let offset = values[1], offset >= 0 else { return false }
      switch sides[0] {
      case "forgotten" where forgotten == nil:
        forgotten = ForgottenVerdicts(before: Instant(nanoseconds: time), since: Offset(offset))
      case "standing" where standing == nil:
        standing = StandingClock(clock: Instant(nanoseconds: time), until: Offset(offset))
      case "l" where logs == nil:
        logs = LogsPosition(since: Instant(nanoseconds: time), next: Offset(offset))
      default: return false
      }
    }
    return true
  }
}
