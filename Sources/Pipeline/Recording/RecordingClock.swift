// The time of each record of a recording: the end of its last span, unless that is implausible.

internal import Sampling

/// Gives the records of a recording their timestamps.
///
/// It follows the rule of the sampler's own clock (`ClockGuard`). But a recording can be read ahead, so a
/// record that is far ahead is judged before it is replayed, not after.
struct RecordingClock {
  /// A record and the time to replay it at.
  struct Timed {
    var record: RecordingItem.Record
    /// The record's number among the readable ones.
    var number: Int64
    var time: Instant

    /// When its last span ended, according to the record.
    var end: Instant { Instant(nanoseconds: Int64(clamping: record.latestEnd)) }
  }

  /// Records that end far after their neighbours.
  struct Refuted {
    var count = 0
    var first: ReplayReport.Place?
  }

  private var guardian: ClockGuard
  private var clock = Instant.distantPast
  private let lead: Interval
  private let witnesses: Int
  private let lateWindow: Interval
  /// Records not yet delivered, in order.
  private var waiting: [Timed] = []
  /// Of those judged so far: whether each is a suspect.
  private var suspects: [Bool] = []
  /// How many have a final judgement, and how many of those have been delivered.
  private var decided = 0
  private var taken = 0
  private var waitingBytes = 0
  /// Whether any record has been delivered.
  private var hasBegun = false
  private var count: Int64 = 0
  /// Records whose end was not believed.
  private(set) var refuted = Refuted()

  /// Beyond this, records not yet refuted are believed.
  private static let waitingBytesMax = 64 << 20

  init(_ configuration: SamplerConfiguration) {
    lead = configuration.clockLead
    witnesses = configuration.clockWitnesses
    lateWindow = configuration.windows.lateWindow
    guardian = ClockGuard(lead: lead, witnesses: witnesses)
  }

  /// Takes the next record. Take all decided records from `next` before the next `push`.
  mutating func push(_ record: RecordingItem.Record) {
    waiting.append(Timed(record: record, number: count, time: clock))
    count += 1
    waitingBytes += record.bytes.count
    judge()
    while waitingBytes > RecordingClock.waitingBytesMax, believe() {}
    if waitingBytes > RecordingClock.waitingBytesMax { decided = suspects.count }
  }

  /// Decides the rest, at the end of the recording.
  ///
  /// Whether it follows a gap or is from a host with a wrong clock can no longer be told. It is believed as
  /// long as it covers as much time as witnesses must. Its last records close no window: the end does.
  mutating func finish() {
    let doubted = suspects[decided...]
    if !guardian.isSettled, 2 * doubted.count(where: { $0 }) > doubted.count { _ = believe() }
    while let rest = guardian.suspects, rest.latest - rest.earliest >= lead,
      suspects[decided...].allSatisfy({ $0 }), believe()
    {}
    // Traffic may have paused this long. If not, it is worth a warning.
    if let rest = guardian.suspects, rest.earliest <= clock + lateWindow {
      for place in decided..<suspects.count { suspects[place] = false }
    }
    decided = suspects.count
  }

  /// The next decided record, or nil.
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

  /// Judges the records not judged yet.
  private mutating func judge() {
    while suspects.count < waiting.count {
      let place = suspects.count
      let end = waiting[place].end
      let offset = Offset(waiting[place].number)
      switch guardian.judge(end, at: offset, isLogTime: false, clock: clock) {
      case .stay:
        // A very old first record gets the time of those after it: its window would close at once otherwise.
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

  /// Judges records without a final judgement by another clock.
  private mutating func judgeAnew(from time: Instant) {
    clock = time
    guardian = ClockGuard(lead: lead, witnesses: witnesses)
    guardian.settle()
    suspects.removeLast(suspects.count - decided)
  }

  /// Believes the waiting suspects, when nothing can refute them. False if there are none.
  private mutating func believe() -> Bool {
    guard let dissent = guardian.suspects, dissent.earliest > clock else { return false }
    judgeAnew(from: dissent.earliest)
    judge()
    return true
  }
}
