// Which records may move the stream clock.
//
// Producers stamp records with the clocks of their hosts, and one host's clock may be wrong by an hour. If
// the stream clock followed the largest timestamp, every window would close at once. Comparing timestamps
// with the time of day does not help: verdicts would then depend on when the log is read. So timestamps are
// compared with each other, and only the log decides. ARCHITECTURE.md, "Time", and decision 0010 explain the
// rule.

/// Tells timestamps that the stream clock may follow from those of hosts with wrong clocks.
///
/// A timestamp within `lead` of the clock, before or after it, is ordinary: the clock follows the largest.
/// One farther away is a dissent, and the clock stays. An ordinary one refutes the dissents before it. If
/// `witnesses` records dissent to the same side unrefuted, and their own timestamps are `lead` or more apart,
/// the log has moved, and the clock goes where it is now.
///
/// The first clock is that of whichever record came first, so a few records are enough to replace it;
/// everything opened until then is restamped.
public struct ClockGuard: Sendable {
  /// What a timestamp does to the clock.
  public enum Move: Sendable {
    /// Nothing: the timestamp is not later than the clock.
    case stay
    /// Nothing yet: the timestamp is too far ahead, and later records must show who is wrong.
    case suspect
    /// The clock becomes the timestamp.
    case follow
    /// The log has moved on. What was opened since the first of these records was stamped by a clock that
    /// stood still.
    case jump(Dissent)
    /// The clock was ahead of the log.
    case turnBack(Dissent)
  }

  /// A run of records whose timestamps are far from the clock, all to one side.
  public struct Dissent: Sendable {
    /// How many there are.
    public private(set) var count = 0
    /// The offset of the first.
    public fileprivate(set) var since = Offset(0)
    /// The clock at the first.
    public fileprivate(set) var clock = Instant.distantPast
    /// The earliest timestamp.
    public private(set) var earliest = Instant.distantFuture
    /// The latest timestamp.
    public private(set) var latest = Instant.distantPast
    /// The clock that these records on their own would give, preferring the earlier of those far apart.
    public private(set) var ownClock = Instant.distantPast

    fileprivate mutating func add(_ timestamp: Instant, at offset: Offset, clock: Instant, lead: Interval) {
      if count == 0 {
        since = offset
        self.clock = clock
        ownClock = timestamp
      }
      count += 1
      earliest = min(earliest, timestamp)
      latest = max(latest, timestamp)
      if timestamp < ownClock - lead {
        ownClock = timestamp
      } else if timestamp > ownClock, timestamp <= ownClock + lead {
        ownClock = timestamp
      }
    }
  }

  private let lead: Interval
  private let witnesses: Int
  /// How many records must agree before the first clock is believed, or replaced.
  private let settlers: Int
  private var ahead = Dissent()
  private var behind = Dissent()
  /// Records that agree with the first clock; nil once it is believed.
  private var votes: Int? = 0
  /// The offset of the first of them.
  private var first = Offset(0)
  /// Records whose timestamps were too far ahead and were refuted by later ones.
  public private(set) var refuted: UInt64 = 0

  /// The upper bound of `settlers`.
  private static let settlersMax = 8

  /// Makes a guard for a clock that has not started.
  ///
  /// - Parameters:
  ///   - lead: how far timestamps may be from the clock.
  ///   - witnesses: how many records show that the log has moved; with 1 the clock is the largest timestamp.
  public init(lead: Interval, witnesses: Int) {
    self.lead = lead
    self.witnesses = witnesses
    settlers = min(ClockGuard.settlersMax, witnesses)
  }

  /// Whether the clock is believed; the first one is only once a few records agree.
  public var isSettled: Bool { votes == nil }

  /// Whether later records may show that earlier ones were judged by a wrong clock.
  public var isUndecided: Bool { votes != nil || ahead.count > 0 }

  /// The records ahead of the clock that nothing has refuted yet; nil if there are none.
  public var suspects: Dissent? { ahead.count > 0 ? ahead : nil }

  /// Where rereading must start to find the current dissents again, and the clock there; nil if there are
  /// none.
  var pending: (since: Offset, clock: Instant)? {
    // Nothing is decided before the clock is believed, so it may start again anywhere.
    guard votes == nil else { return nil }
    switch (ahead.count > 0, behind.count > 0) {
    case (false, false): return nil
    case (true, false): return (ahead.since, ahead.clock)
    case (false, true): return (behind.since, behind.clock)
    case (true, true):
      return ahead.since < behind.since ? (ahead.since, ahead.clock) : (behind.since, behind.clock)
    }
  }

  /// Believes the current clock and forgets the dissents.
  public mutating func settle() {
    votes = nil
    forget()
  }

  /// Forgets the dissents: it is unknown who was wrong.
  mutating func forget() {
    ahead = Dissent()
    behind = Dissent()
  }

  /// Whether a timestamp is ordinary and no dissent or vote is pending. Nearly all are, so this is checked
  /// first.
  @inline(__always)
  func isPlain(_ timestamp: Instant, clock: Instant) -> Bool {
    votes == nil && ahead.count | behind.count == 0 && timestamp <= clock + lead && timestamp >= clock - lead
  }

  /// Judges the timestamp of the record at `offset` and returns what happens to `clock`.
  ///
  /// A timestamp set by the broker (`isLogTime`) is believed if it is ahead.
  public mutating func judge(
    _ timestamp: Instant, at offset: Offset, isLogTime: Bool, clock: Instant
  ) -> Move {
    guard witnesses > 1, clock != .distantPast else {
      first = offset
      votes = witnesses > 1 && !isLogTime ? 1 : nil
      return timestamp > clock ? .follow : .stay
    }
    if timestamp > clock + lead, !isLogTime { return judgeAhead(timestamp, offset, clock) }
    if timestamp < clock - lead { return judgeBehind(timestamp, offset, clock) }
    if votes != nil || ahead.count > 0 || behind.count > 0 { agree(isLogTime: isLogTime) }
    return timestamp > clock ? .follow : .stay
  }

  private mutating func agree(isLogTime: Bool) {
    if let votes, votes + 1 < settlers, !isLogTime {
      self.votes = votes + 1
      return
    }
    refuted += UInt64(ahead.count)
    settle()
  }

  private mutating func judgeAhead(_ timestamp: Instant, _ offset: Offset, _ clock: Instant) -> Move {
    ahead.add(timestamp, at: offset, clock: clock, lead: lead)
    let isFirstClock = votes != nil
    guard isFirstClock ? ahead.count >= settlers : isRight(ahead) else { return .suspect }
    var found = ahead
    if isFirstClock {
      found.since = first
      found.clock = .distantPast
    }
    settle()
    // Time that passed without records may already have brought the clock there.
    return found.ownClock > clock ? .jump(found) : .stay
  }

  private mutating func judgeBehind(_ timestamp: Instant, _ offset: Offset, _ clock: Instant) -> Move {
    guard let votes else {
      behind.add(timestamp, at: offset, clock: clock, lead: lead)
      guard isRight(behind) else { return .stay }
      let found = behind
      settle()
      return .turnBack(found)
    }
    // Two that agree are enough while nothing depends on the clock: an earlier clock closes no window.
    if behind.count > 0, timestamp < behind.earliest - lead || timestamp > behind.latest + lead {
      behind = Dissent()
    }
    behind.add(timestamp, at: offset, clock: clock, lead: lead)
    guard behind.count >= 2 else { return .stay }
    let found = behind
    refuted += UInt64(votes)
    settle()
    return .turnBack(found)
  }

  /// Whether so many records can't come from a host with a wrong clock. A producer sends hundreds at once,
  /// all stamped within a moment, so their timestamps must also be `lead` apart, with no ordinary one between
  /// them.
  private func isRight(_ dissent: Dissent) -> Bool {
    dissent.count >= witnesses && dissent.latest - dissent.earliest >= lead
  }
}
