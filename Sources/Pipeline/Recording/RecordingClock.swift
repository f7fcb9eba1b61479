// What time it is at each record of a recording: when its last span ended, unless that can't be.

internal import Sampling

/// Gives the records of a recording their timestamps.
///
/// It goes by the rule of the sampler's own clock (`ClockGuard`). But a recording can be read ahead, so
/// whether a record that is far ahead is right is found out before the record is replayed, not after.
struct RecordingClock {
  /// A record and the time to replay it at.
  struct Timed {
    var record: RecordingItem.Record
    /// The number of the record among those that can be read.
    var number: Int64
    var time: Instant

    /// When its last span ended, as it says.
    var end: Instant { Instant(nanoseconds: Int64(clamping: record.latestEnd)) }
  }

  /// A record that ends far after those around it.
  struct Refuted {
    var count = 0
    var first: ReplayReport.Place?
  }

  private var guardian: ClockGuard
  private var clock = Instant.distantPast
  private let lead: Interval
  private let witnesses: Int
  private let lateWindow: Interval
  /// Records that have not been handed out, in order.
  private var waiting: [Timed] = []
  /// Whether each of those that were judged is a suspect.
  private var suspects: [Bool] = []
  /// How many have a judgement that is final, and how many of those have been handed out.
  private var decided = 0
  private var taken = 0
  private var waitingBytes = 0
  /// Whether any record has been handed out.
  private var hasBegun = false
  private var count: Int64 = 0
  /// Records whose end was no time to go by.
  private(set) var refuted = Refuted()

  /// Beyond it what has not been refuted is believed.
  private static let waitingBytesMax = 64 << 20

  init(_ configuration: SamplerConfiguration) {
    lead = configuration.clockLead
    witnesses = configuration.clockWitnesses
    lateWindow = configuration.windows.lateWindow
    guardian = ClockGuard(lead: lead, witnesses: witnesses)
  }

  /// Takes the next record. Those that it decides about come out of `next`, all before the next `push`.
  mutating func push(_ record: RecordingItem.Record) {
    waiting.append(Timed(record: record, number: count, time: clock))
    count += 1
    waitingBytes += record.bytes.count
    judge()
    while waitingBytes > RecordingClock.waitingBytesMax, believe() {}
    if waitingBytes > RecordingClock.waitingBytesMax { decided = suspects.count }
  }

  /// Decides about the rest, at the end of the recording.
  ///
  /// Whether a gap comes before it or a wrong host wrote it can't be told any more. It is believed as long
  /// as it covers as much time as witnesses must. The last of it then closes no window: the end does.
  mutating func finish() {
    let doubted = suspects[decided...]
    if !guardian.isSettled, 2 * doubted.count(where: { $0 }) > doubted.count { _ = believe() }
    while let rest = guardian.suspects, rest.latest - rest.earliest >= lead,
      suspects[decided...].allSatisfy({ $0 }), believe()
    {}
    // Traffic may have paused for so long. If not, it is worth a warning.
    if let rest = guardian.suspects, rest.earliest <= clock + lateWindow {
      for place in decided..<suspects.count { suspects[place] = false }
    }
    decided = suspects.count
  }

  /// The next record that is decided about, or nil.
  mutating func next() -> Timed? {
    guard taken < decided else {
      waiting.removeFirst(taken)
      suspects.removeFirst(taken)
      decided -= taken
      taken = 0
      return nil
    }
    let record = waiting[taken]
    if suspects[taken] {
      refuted.count += 1
      let place = ReplayReport.Place(record: Int(record.number), byte: record.record.offset)
      refuted.first = refuted.first ?? place
    }
    taken += 1
    waitingBytes -= record.record.bytes.count
    hasBegun = true
    return record
  }

  /// Judges the records that have not been judged.
  private mutating func judge() {
    while suspects.count < waiting.count {
      let place = suspects.count
      let end = waiting[place].end
      let offset = Offset(waiting[place].number)
      switch guardian.judge(end, at: offset, isLogTime: false, clock: clock) {
      case .stay:
        // A first record of long ago takes the time of those after it: its window would close at once.
        waiting[place].time = hasBegun || clock - end <= lateWindow ? end : clock
        suspects.append(false)
      case .suspect:
        waiting[place].time = clock
        suspects.append(true)
      case .follow:
        clock = end
        waiting[place].time = end
        suspects.append(false)
      case .jump(let dissent): judgeAnew(from: dissent.earliest)
      case .turnBack(let dissent): judgeAnew(from: dissent.latest)
      }
      if !guardian.isUndecided {
        decided = suspects.count
      } else if let since = guardian.suspects?.since, guardian.isSettled {
        decided = Int(since.value - waiting[0].number)
      }
    }
  }

  /// Judges what is not final by another clock.
  private mutating func judgeAnew(from time: Instant) {
    clock = time
    guardian = ClockGuard(lead: lead, witnesses: witnesses)
    guardian.settle()
    suspects.removeLast(suspects.count - decided)
  }

  /// Believes the suspects that wait, where nothing comes that could refute them. False if there are none.
  private mutating func believe() -> Bool {
    guard let dissent = guardian.suspects, dissent.earliest > clock else { return false }
    judgeAnew(from: dissent.earliest)
    judge()
    return true
  }
}
