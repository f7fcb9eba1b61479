// Where a partition can be resumed, and what must be known besides the offset.

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
  /// The next request to read in the partition of the same number of the logs' topic: those before it are
  /// dealt with. Nil if none is known.
  public var nextLogs: Offset?

  /// Two numbers for each rate limit. At 19 digits each the metadata takes 2,630 bytes; brokers accept 4,096
  /// by default (`offset.metadata.max.bytes`).
  public static let budgetLevelsMax = 2 * PolicyCompiler.budgetsMax

  /// Makes a commit point.
  public init(
    safeOffset: Offset, clockAtSafeOffset: Instant, highWater: Offset, clock: Instant,
    budgetLevels: [Int64] = [], oldestRecall: Instant? = nil
  ) {
    self.safeOffset = safeOffset
    self.clockAtSafeOffset = clockAtSafeOffset
    self.highWater = highWater
    self.clock = clock
    self.budgetLevels = budgetLevels
    self.oldestRecall = oldestRecall
  }

  /// The metadata committed with the safe offset: `1;` (the version), then the high water, the clock at the
  /// safe offset and the clock, as decimal numbers separated by `;`. With rate limits the version is 2 and
  /// their levels follow, separated by `,`. If the clock was ahead, the version is 3, the nanoseconds it was
  /// ahead come before the levels, and the levels may be missing. If recalls are pending, the version is 4:
  /// the nanoseconds may be zero, and the clock at the oldest request comes before the levels. If there is
  /// more to state, the version is 5: the clock at the oldest request may be empty, and after the levels come
  /// a letter and `=` before each value, separated by `,`: `l` for the next request to read of the logs.
  public var metadata: String {
    let point = "\(highWater.value);\(clockAtSafeOffset.nanoseconds);\(clock.nanoseconds)"
    let levels = budgetLevels.map(String.init).joined(separator: ",")
    if let nextLogs {
      let recall = oldestRecall.map { String($0.nanoseconds) } ?? ""
      return "5;\(point);\(max(0, clockAhead.nanoseconds));\(recall);\(levels);l=\(nextLogs.value)"
    }
    if let oldestRecall {
      return "4;\(point);\(max(0, clockAhead.nanoseconds));\(oldestRecall.nanoseconds);\(levels)"
    }
    if clockAhead > .seconds(0) {
      return "3;\(point);\(clockAhead.nanoseconds);\(levels)"
    }
    guard !budgetLevels.isEmpty else { return "1;\(point)" }
    return "2;\(point);\(levels)"
  }

  /// Reads back what `metadata` wrote; nil for anything else, since another program may have committed.
  /// Neither offset is negative, so their difference fits.
  public init?(safeOffset: Offset, metadata: String) {
    let parts = metadata.split(separator: ";", omittingEmptySubsequences: false)
    let counts: [Substring: Int] = ["1": 4, "2": 5, "3": 6, "4": 7, "5": 8]
    guard counts[parts[0]] == parts.count, let highWater = Int64(parts[1]), let atSafe = Int64(parts[2]),
      let clock = Int64(parts[3]), safeOffset.value >= 0, highWater >= safeOffset.value,
      clock >= atSafe
    else { return nil }
    var levels: [Int64] = []
    var ahead: Int64 = 0
    if parts.count >= 6 {
      guard let found = Int64(parts[4]), found > 0 || (found == 0 && parts.count >= 7) else { return nil }
      ahead = found
    }
    var recall: Instant?
    if parts.count >= 7, parts.count == 7 || !parts[5].isEmpty {
      guard let found = Int64(parts[5]) else { return nil }
      recall = Instant(nanoseconds: found)
    }
    if let text = parts.prefix(7).dropFirst(4).last, parts[0] == "2" || !text.isEmpty {
      let texts = text.split(separator: ",", omittingEmptySubsequences: false)
      levels = texts.compactMap { Int64($0) }
      let isPlausible = levels.count == texts.count && levels.count <= CommitPoint.budgetLevelsMax
      guard isPlausible, levels.allSatisfy({ $0 >= 0 }) else { return nil }
    }
    self.init(
      safeOffset: safeOffset, clockAtSafeOffset: Instant(nanoseconds: atSafe), highWater: Offset(highWater),
      clock: Instant(nanoseconds: clock), budgetLevels: levels, oldestRecall: recall)
    clockAhead = Interval(nanoseconds: ahead)
    if parts.count == 8 {
      guard readTagged(parts[7]) else { return nil }
    }
  }

  /// Reads the values that have a letter. Returns false for what `metadata` does not write: what an unknown
  /// letter stands for must not be ignored.
  private mutating func readTagged(_ text: Substring) -> Bool {
    for value in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard value.hasPrefix("l="), nextLogs == nil, let next = Int64(value.dropFirst(2)), next >= 0 else {
        return false
      }
      nextLogs = Offset(next)
    }
    return true
  }
}
