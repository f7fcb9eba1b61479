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
  /// How far the follower of log-backed windows is; nil if they are in memory.
  public var follower: FollowerPoint?

  /// The offset to commit: the first record that is still needed.
  public var committedOffset: Offset { min(safeOffset, follower?.position ?? safeOffset) }

  /// The clock at the oldest verdict that is needed for more than the spans to come.
  public var oldestNeed: Instant? {
    [oldestRecall, follower?.oldestVerdict].compactMap(\.self).min()
  }

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

  /// The metadata committed with `committedOffset`: `1;` (the version), then the high water, the clock at the
  /// safe offset and the clock, as decimal numbers separated by `;`. With rate limits the version is 2 and
  /// their levels follow, separated by `,`. If the clock was ahead, the version is 3, the nanoseconds it was
  /// ahead come before the levels, and the levels may be missing. If recalls are pending, the version is 4:
  /// the nanoseconds may be zero, and the clock at the oldest request comes before the levels.
  ///
  /// If windows are log-backed, the version is 5: as 4, but the clock at the oldest request may be empty, and
  /// fields with names follow, separated by `,`: `s=` the safe offset, `f=` the follower's position, `h=` the
  /// clock at the oldest verdict that it has not passed, `a=` and `u=` where log-backed traces begin and end.
  /// The last three may be missing.
  public var metadata: String {
    let point = "\(highWater.value);\(clockAtSafeOffset.nanoseconds);\(clock.nanoseconds)"
    let levels = budgetLevels.map(String.init).joined(separator: ",")
    if let follower {
      let recall = oldestRecall.map { String($0.nanoseconds) } ?? ""
      return "5;\(point);\(max(0, clockAhead.nanoseconds));\(recall);\(levels);\(fields(of: follower))"
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

  private func fields(of follower: FollowerPoint) -> String {
    var fields = "s=\(safeOffset.value),f=\(follower.position.value)"
    if let oldest = follower.oldestVerdict { fields += ",h=\(oldest.nanoseconds)" }
    if follower.from > Offset(.min) { fields += ",a=\(follower.from.value)" }
    if follower.until < Offset(.max) { fields += ",u=\(follower.until.value)" }
    return fields
  }

  /// What the named fields say; nil if they make no sense.
  private static func follower(_ fields: Substring) -> (safe: Offset, point: FollowerPoint)? {
    var values: [Substring: Int64] = [:]
    for field in fields.split(separator: ",", omittingEmptySubsequences: false) {
      let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, ["s", "f", "h", "a", "u"].contains(parts[0]), let value = Int64(parts[1]),
        value >= 0 || parts[0] == "h", values.updateValue(value, forKey: parts[0]) == nil
      else { return nil }
    }
    guard let safe = values["s"], let position = values["f"], position <= safe else { return nil }
    let point = FollowerPoint(
      position: Offset(position), oldestVerdict: values["h"].map { Instant(nanoseconds: $0) },
      from: Offset(values["a"] ?? .min), until: Offset(values["u"] ?? .max))
    return (Offset(safe), point)
  }

  /// Reads back what `metadata` wrote; nil for anything else, since another program may have committed.
  /// Neither offset is negative, so their difference fits.
  ///
  /// - Parameter offset: the committed offset.
  public init?(safeOffset offset: Offset, metadata: String) {
    var parts = metadata.split(separator: ";", omittingEmptySubsequences: false)
    let counts: [Substring: Int] = ["1": 4, "2": 5, "3": 6, "4": 7, "5": 8]
    guard counts[parts[0]] == parts.count else { return nil }
    var (safeOffset, follower) = (offset, nil as FollowerPoint?)
    if parts.count == 8 {
      guard let found = CommitPoint.follower(parts.removeLast()) else { return nil }
      (safeOffset, follower) = (found.safe, found.point)
    }
    guard let highWater = Int64(parts[1]), let atSafe = Int64(parts[2]),
      let clock = Int64(parts[3]), safeOffset.value >= 0, highWater >= safeOffset.value,
      clock >= atSafe
    else { return nil }
    var levels: [Int64] = []
    var ahead: Int64 = 0
    if parts.count >= 6 {
      guard let found = Int64(parts[4]), found > 0 || (found == 0 && parts.count == 7) else { return nil }
      ahead = found
    }
    var recall: Instant?
    if parts.count == 7, !(parts[5].isEmpty && follower != nil) {
      guard let found = Int64(parts[5]) else { return nil }
      recall = Instant(nanoseconds: found)
    }
    if let text = parts.dropFirst(4).last, parts[0] == "2" || !text.isEmpty {
      let texts = text.split(separator: ",", omittingEmptySubsequences: false)
      levels = texts.compactMap { Int64($0) }
      let isPlausible = levels.count == texts.count && levels.count <= CommitPoint.budgetLevelsMax
      guard isPlausible, levels.allSatisfy({ $0 >= 0 }) else { return nil }
    }
    self.init(
      safeOffset: safeOffset, clockAtSafeOffset: Instant(nanoseconds: atSafe), highWater: Offset(highWater),
      clock: Instant(nanoseconds: clock), budgetLevels: levels, oldestRecall: recall)
    clockAhead = Interval(nanoseconds: ahead)
    self.follower = follower
  }
}
