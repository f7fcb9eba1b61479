// What becomes of a trace, for what follows its verdict: logs.

public import OTLP

/// What is known of a trace's verdict.
public enum TraceFate: Equatable, Sendable {
  /// Its window is open, and nothing is certain yet.
  case undecided
  /// It is kept, perhaps before its window closes.
  case kept
  /// It is dropped.
  case dropped
  /// No span of it has arrived, or its verdict is too old.
  case unknown
  /// Nothing is known of it, but verdicts had to be forgotten that should be known.
  case forgotten
}

/// What is known of verdicts that are needed for longer than spans need them.
struct VerdictRetention {
  /// The clock by which verdicts are forgotten, if it is earlier than the stream clock.
  var clock = Instant.distantFuture
  /// The latest verdict that was forgotten for lack of memory, or is missing from the log.
  var lost = Instant.distantPast
  /// By which times spans forgot verdicts, each from that time on: the steps of the horizon, the oldest
  /// first, since before `clock`. Beyond `horizonsMax` some are left out: then verdicts are kept for longer.
  private(set) var horizons: [Instant] = []

  static var horizonsMax: Int { 64 }

  /// Notes that spans forget verdicts by `step` from now on.
  mutating func note(step: Instant) {
    guard horizons.last.map({ $0 < step }) ?? true else { return }
    if let first = horizons.lastIndex(where: { $0 <= clock }) { horizons.removeFirst(first) }
    if horizons.count == Self.horizonsMax {
      // The one that was replaced soonest; not the first, before which nothing is known.
      let spans = zip(horizons.dropFirst(), horizons.dropFirst(2)).map { ($1 - $0).nanoseconds }
      let place = spans.indices.min { spans[$0] < spans[$1] } ?? 0
      horizons.remove(at: place + 1)
    }
    horizons.append(step)
  }

  /// Nothing was forgotten by a time after `time`.
  mutating func turnBack(to time: Instant) {
    lost = min(lost, time)
    horizons.removeAll { $0 > time }
  }

  /// The time by which spans that were written at `time` forgot verdicts, or earlier; `time` if it is not
  /// known.
  func horizon(at time: Instant) -> Instant { horizons.last { $0 <= time } ?? time }
}

extension Sampler {
  /// Keeps the verdicts that were known when something was written at `time` or later, though spans may need
  /// them no longer. What spans know does not depend on it.
  public mutating func retainVerdicts(for time: Instant) {
    let horizon = retention.horizon(at: time - configuration.clockLead)
    let clock = min(time - configuration.verdictDisorder, horizon)
    guard clock != retention.clock else { return }
    retention.clock = clock
    // Some may be forgotten now.
    if let oldest = verdicts.oldest, oldest + configuration.windows.lateWindow <= min(clock, self.clock) {
      quietUntil = .distantPast
    }
  }

  /// Notes that verdicts given up to `time` may be missing from those that were restored.
  public mutating func noteMissingVerdicts(until time: Instant) { retention.lost = max(retention.lost, time) }

  /// Makes room for verdicts. Some at once, so that it is a step that the next owner can make, too; the more,
  /// the fewer steps are left.
  mutating func forgetForRoom() {
    if let nextOffset { horizon.prune(before: safePoint(next: nextOffset).offset) }
    // Traces that wait for old verdicts hold the safe point, and with it the steps.
    if horizon.stepsOfRoom <= 4 {
      var next = table.opened.first
      while let slot = next, table[slot].awaitsVerdict {
        next = table.next(after: slot)
        stopAwaiting(slot)
      }
    }
    for _ in 0..<max(1, verdicts.count / horizon.stepsOfRoom) {
      guard let oldest = verdicts.oldest else { break }
      let isNeeded = oldest + configuration.windows.lateWindow > horizon.clock
      guard verdicts.removeOldest(from: &index) else { continue }
      if isNeeded { counters.verdictsForgottenEarly += 1 }
      retention.lost = max(retention.lost, oldest)
    }
    noteForgotten()
  }

  /// Notes that verdicts were forgotten early: those that are older than what is left.
  mutating func noteForgotten() {
    guard let oldest = verdicts.oldest, let nextOffset, recovery.clock == .distantPast else { return }
    let until = oldest + configuration.windows.lateWindow - Interval(nanoseconds: 1)
    if until > horizon.clock {
      horizon.move(to: until, from: nextOffset)
      retention.note(step: horizon.clock)
    }
  }

  /// Notes that a clock that was ahead, and is set back now, has forgotten verdicts.
  mutating func noteForgotten(_ verdicts: ForgottenVerdicts) {
    forgotten = forgottenNeeded(by: min(clock, horizon.earliest))
    // One says this already, and of as many records or more.
    if forgotten.contains(where: { $0.since <= verdicts.since && $0.before >= verdicts.before }) { return }
    // The new one says what these say. A clock that is set back twice may name earlier records the second
    // time, and of those fewer verdicts: then others stay.
    forgotten.removeAll { $0.since >= verdicts.since && $0.before <= verdicts.before }
    let place = forgotten.firstIndex { $0.since > verdicts.since } ?? forgotten.endIndex
    forgotten.insert(verdicts, at: place)
    if forgotten.count > ForgottenVerdicts.countMax { joinForgotten() }
  }

  /// Makes one of two neighbours, which says that more was forgotten than was: spans of some more traces open
  /// them again. If it said less, those that did would be taken for late ones, and be lost. The two are those
  /// with the least difference, of records times verdicts.
  private mutating func joinForgotten() {
    func difference(_ place: Int) -> Int64 {
      let (one, next) = (forgotten[place], forgotten[place + 1])
      let (records, overflow) = next.since.value.subtractingReportingOverflow(one.since.value)
      let (product, isLarge) = max(0, records).multipliedReportingOverflow(
        by: max(0, (next.before - one.before).nanoseconds))
      return overflow || isLarge ? .max : product
    }
    guard let place = (0..<forgotten.count - 1).min(by: { difference($0) < difference($1) }) else { return }
    let next = forgotten.remove(at: place + 1)
    forgotten[place].before = max(forgotten[place].before, next.before)
  }

  /// When a verdict that is given now is given. It is not one of those that were forgotten, though the clock
  /// may be earlier while records are read again.
  var verdictTime: Instant { forgotten.isEmpty ? clock : forgotten.reduce(clock) { max($0, $1.before) } }

  /// What is known of forgotten verdicts, without those that `clock` would have forgotten anyway.
  func forgottenNeeded(by clock: Instant) -> [ForgottenVerdicts] {
    forgotten.filter { $0.before + configuration.windows.lateWindow > clock }
  }

  /// What becomes of a trace, for something written at `time`: it follows a verdict that was known then, or
  /// was given later. It changes nothing; mutating as the other lookups are.
  public mutating func fate(of traceID: TraceID, at time: Instant) -> TraceFate {
    switch find(traceID, index.hash(traceID)) {
    case .open(let slot): return table[slot].state == .undecided ? .undecided : .kept
    case .past(let past):
      // Spans may know it longer still, after an outage. What they follow is kept, and so are its logs.
      if verdicts[past].isKept { return .kept }
      return isKnown(verdictAt: verdicts[past].decidedAt, at: time) ? .dropped : .unknown
    case nil: return isKnown(verdictAt: retention.lost, at: time) ? .forgotten : .unknown
    }
  }

  /// Whether what is written at `time` follows a verdict. Spans know verdicts somewhat longer than
  /// `late_window`: how much longer, the horizon says. Older ones may be there or not.
  private mutating func isKnown(verdictAt decided: Instant, at time: Instant) -> Bool {
    let windows = configuration.windows
    let clock = min(time - windows.horizonLag, retention.horizon(at: time))
    return decided + windows.lateWindow > clock
  }

  /// Whether the stream clock is believed. Until a few records agree, the first one may have set it far
  /// ahead.
  public var isClockSettled: Bool { clockGuard.isSettled }

  /// Starts the stream clock of a partition that has no record to start it: what follows verdicts would wait
  /// for the first one, however long that takes.
  ///
  /// The first records may still replace it.
  ///
  /// - Parameter next: the log's end.
  public mutating func startClock(at time: Instant, next: Offset) {
    guard nextOffset == nil, clock == .distantPast else { return }
    begin(at: next, clock: time, isSettled: false)
    baseline?.begin(partition, at: time)
    beginDemand(at: time)
  }
}
