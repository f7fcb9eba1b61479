// A partition that resumes gives the verdicts that it would have given, even with budgets.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct RecoveryTests {
  /// A record of the log.
  private struct Entry {
    var time: Int64
    var spans: [TestSpan]
  }

  /// Traces of some spans, over half a minute; budgets are short for most of it.
  private func log(_ seed: UInt64) -> [Entry] {
    var random = RandomSource(seed: seed)
    var entries: [Entry] = []
    for number in 1...150 as ClosedRange<UInt64> {
      let start = Int64(random.number(in: 0...30_000))
      let trace = number &* 0x9e37_79b9_7f4a_7c15
      for id in 1...UInt64(random.number(in: 1...6)) {
        var span = TestSpan(trace: trace, id: id, parent: id > 1 ? 1 : 0)
        span.filling = random.number(in: 1...200)
        span.status = random.chance(0.05) ? .error : .unset
        entries.append(Entry(time: start + Int64(random.number(in: 0...800)), spans: [span]))
      }
    }
    return entries.sorted {
      ($0.time, $0.spans[0].trace, $0.spans[0].id) < ($1.time, $1.spans[0].trace, $1.spans[0].id)
    }
  }

  private func world(_ dropped: DroppedRecords = .compact) -> World {
    World { configuration in
      configuration.dropped = dropped
      configuration.windows.decisionWait = .seconds(2)
      configuration.windows.decisionWaitAfterRoot = .seconds(1)
      let half = Policy.Rule.probabilistic(SamplingThreshold(probability: 0.5))
      configuration.policies = [
        Policy(name: "errors", rule: .statusCode([.error])),
        Policy(name: "spans", rule: .and([half, .rateLimiting(RateLimit(perSecond: 3, burst: 11))])),
        Policy(name: "bytes", rule: .bytesLimiting(RateLimit(perSecond: 97, burst: 2000))),
        Policy(
          name: "parts",
          rule: .composite(
            Composite(
              spansPerSecondMax: 6,
              parts: [
                .init(rule: .spanCount(least: 4, most: nil), spansPerSecond: 4),
                .init(rule: .alwaysSample, spansPerSecond: 2),
              ]))),
      ]
    }
  }

  private func read(_ entries: ArraySlice<Entry>, _ world: World) throws -> [Decision] {
    try entries.flatMap { try world.send($0.spans, at: $0.time).decisions }
  }

  /// Cut at many places, and resumed from what a commit there contains.
  @Test(arguments: 1...4 as ClosedRange<UInt64>, [DroppedRecords.compact, .ledger])
  func whatWasCutGoesOnAsItWas(_ seed: UInt64, _ dropped: DroppedRecords) throws {
    let log = log(seed)
    let whole = world(dropped)
    var past: [RestoredVerdict] = []
    for (number, entry) in log.enumerated() {
      for event in try whole.send(entry.spans, at: entry.time) {
        if case .decision(_, let bytes?) = event { past.append(try RestoredVerdict(record: bytes)) }
      }
      let ledger = try whole.takeLedger()
      // As recovery reads them: the ledger first.
      past.insert(contentsOf: ledger, at: past.count { $0.lastOffset != nil })
      guard number % 29 == 3, let point = whole.commitPoint else { continue }
      let read = try #require(CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata))
      #expect(read == point)
      // What follows without an interruption.
      let other = world(dropped)
      _ = try self.read(log[...number], other)
      let expected = try self.read(log[(number + 1)...], other) + other.pass(to: 60_000).decisions
      let again = world(dropped)
      again.sampler.restore(read, past: past)
      again.offset = read.safeOffset.value
      let found = try self.read(log[Int(read.safeOffset.value)...], again) + again.pass(to: 60_000).decisions
      #expect(found.map(\.summary) == expected.map(\.summary), "cut after record \(number)")
    }
    let kept = past.count { $0.isFinal && $0.isKept }
    #expect(kept > 20 && kept < 130, "budgets keep some and not all: \(kept)")
    #expect(past.contains { $0.isFinal && !$0.isKept && $0.earliestStart != nil })
  }

  /// Spans that came too late are in the ledger, which is read first, although the verdict on their trace is
  /// a decision record.
  @Test func lateSpansAreKnownBeforeTheirVerdict() throws {
    func adjust(_ configuration: inout SamplerConfiguration) {
      configuration.dropped = .compact
      configuration.windows.recallWindow = .seconds(60)
    }
    let first = World(adjust)
    try first.send(.root(), at: 0)
    var decisions: [RestoredVerdict] = []
    for case .decision(_, let bytes?) in try first.pass(to: 5000) {
      decisions.append(try RestoredVerdict(record: bytes))
    }
    try first.send(.child(2), at: 6000)
    let ledger = try first.takeLedger()
    #expect(ledger.map(\.isLate) == [true] && decisions.map(\.isKept) == [false])
    let second = World(adjust)
    second.sampler.restore(try #require(first.commitPoint), past: ledger + decisions)
    second.offset = first.offset
    let late = try second.send(.child(3, .error), at: 7000)
    #expect(late.written.map(\.recallUntil) == [1], "up to the first late span")
  }

  /// A verdict from the end of time, which nobody who follows the log has written, is forgotten like others.
  @Test func aVerdictIsNoYoungerThanThePoint() throws {
    let world = World { $0.windows.lateWindow = .seconds(60) }
    let past = [Instant.distantFuture, .at(500)].enumerated().map { number, time in
      RestoredVerdict(
        traceID: TraceID(high: 9, low: UInt64(number) + 1), isKept: true, isFinal: true, threshold: .always,
        decidedAt: time)
    }
    let point = CommitPoint(
      safeOffset: Offset(5), clockAtSafeOffset: .at(0), highWater: Offset(5), clock: .at(1000))
    world.sampler.restore(point, past: past)
    #expect(world.usage.pastVerdicts == 2)
    world.offset = 5
    try world.send(.root(), at: 61_000)
    #expect(world.usage.pastVerdicts == 0)
  }

  /// A log with everything that its clock has to cope with: hosts that are ahead and behind, single and many
  /// at once; a gap; a wrong beginning.
  private func wrongClocks(_ seed: UInt64) -> [Entry] {
    var random = RandomSource(seed: seed)
    var batch = 0
    var ahead: Int64 = 0
    return log(seed).enumerated().map { number, entry in
      var entry = entry
      if entry.time > 15_000 { entry.time += 600_000 }
      if batch == 0, number > 10, random.chance(0.03) {
        batch = random.number(in: 1...12)
        ahead = Int64(random.number(in: 0...7200) - 3600) * 1000
      }
      if batch > 0 {
        batch -= 1
        entry.time += ahead
      }
      return entry
    }
  }

  /// The clock follows time that passes without records; a replay sees only the records, which look as if
  /// they were ahead. A window opened after the silence must not close when the replay ends.
  @Test func aSilenceDoesNotCloseTheWindowsAfterIt() throws {
    func world() -> World {
      World {
        $0.clockWitnesses = 64
        $0.clockLead = .seconds(5)
        $0.windows.decisionWait = .seconds(30)
        $0.windows.decisionWaitAfterRoot = .seconds(5)
        $0.policies = [Policy(name: "errors", rule: .statusCode([.error]))]
      }
    }
    let first = world()
    for number in 1...9 as ClosedRange<UInt64> { try first.send(.root(of: number), at: Int64(number)) }
    // It lacks its parent, so it stays open, and holds the safe offset.
    try first.send(.child(7, under: 6, of: 50), at: 100)
    first.sampler.advance(to: .at(9_990), into: &first.effects)
    first.sampler.drift(to: .at(10_000))
    try first.send(.root(of: 60), at: 10_000)
    let point = try #require(first.commitPoint)
    #expect(first.clock == .at(10_000))

    let second = world()
    second.sampler.restore(point)
    second.offset = point.safeOffset.value
    try second.send(.child(7, under: 6, of: 50), at: 100)
    try second.send(.root(of: 60), at: 10_000)
    #expect(second.offset == point.highWater.value)
    let events = try second.send(.child(8, under: 1, of: 60, .error), at: 11_000)
    let kept = events.contains { event in
      if case .decision(let decision, _) = event { decision.isKept && !decision.isLate } else { false }
    }
    #expect(kept, "an error a second after its root is in its window")
  }

  /// Cut at every place, the next owner judges timestamps as its predecessor would have.
  @Test(arguments: 1...3 as ClosedRange<UInt64>) func aDissentIsJudgedAsItWas(_ seed: UInt64) throws {
    func world() -> World {
      World {
        $0.clockWitnesses = 8
        $0.clockLead = .seconds(2)
        $0.windows.decisionWait = .seconds(2)
        $0.windows.decisionWaitAfterRoot = .seconds(1)
        $0.policies = [Policy(name: "errors", rule: .statusCode([.error]))]
      }
    }
    let log = wrongClocks(seed)
    let whole = world()
    var past: [RestoredVerdict] = []
    var decided: [(after: Int, decision: Decision)] = []
    var cuts: [(number: Int, point: CommitPoint, past: Int)] = []
    for (number, entry) in log.enumerated() {
      for event in try whole.send(entry.spans, at: entry.time) {
        if case .decision(let decision, let bytes?) = event {
          past.append(try RestoredVerdict(record: bytes))
          decided.append((number, decision))
        }
      }
      // The first clock is trusted after 8 records.
      if number > 10, let point = whole.commitPoint { cuts.append((number, point, past.count)) }
    }
    #expect(whole.counters.timestampsClamped > 0)
    #expect(whole.clock > .at(600_000))
    for cut in cuts where cut.number % 5 == 0 {
      let again = world()
      again.sampler.restore(cut.point, past: Array(past.prefix(cut.past)))
      again.offset = cut.point.safeOffset.value
      let found = try read(log[Int(cut.point.safeOffset.value)...], again)
      let expected = decided.filter { $0.after > cut.number }.map(\.decision.summary)
      #expect(found.map(\.summary) == expected, "cut after record \(cut.number)")
      #expect(again.clock == whole.clock)
    }
  }

  /// Other policies than the last owner's would decide halfway: the next owner would assume that the rest of
  /// the trace was forwarded.
  @Test func nothingElseIsDecidedBelowTheHighWater() throws {
    let before = World()
    try before.send(.child(2), at: 0)
    try before.send(.child(3), at: 1000)
    try before.send(.root(of: 5), at: 4000)
    let point = try #require(before.commitPoint)
    #expect(point.safeOffset == Offset(0) && point.highWater == Offset(3))

    let after = World {
      $0.policies = [Policy(name: "all", rule: .alwaysSample)]
      $0.windows.decisionWait = .seconds(3)
      $0.limits.spansPerTrace = 1
    }
    after.sampler.restore(point, past: [])
    #expect(try after.send(.child(2), at: 0).isEmpty)
    #expect(try after.send(.child(3), at: 1000).isEmpty)
    #expect(try after.send(.root(of: 5), at: 4000).isEmpty)
    let rest = try after.send(.root(of: 6), at: 4000)
    #expect(rest.decisions.map(\.trigger) == [.wait, .eager])
    #expect(rest.keptIDs == [2, 3, 1])
  }

  /// Reads records of a log that another world has read, from its commit point on, after `past`.
  private func takeover(
    of first: World, _ past: [RestoredVerdict], _ records: [(spans: [TestSpan], time: Int64)],
    _ adjust: (inout SamplerConfiguration) -> Void
  ) throws -> World {
    let point = try #require(first.commitPoint)
    #expect(point.safeOffset < point.highWater)
    let second = World(adjust)
    second.sampler.restore(point, past: past)
    second.offset = point.safeOffset.value
    for entry in records[Int(point.safeOffset.value)...] {
      #expect(try second.send(entry.spans, at: entry.time).isEmpty)
    }
    return second
  }

  /// A verdict that is forgotten during a replay does not take the trace's second life along.
  @Test(arguments: [false, true]) func aTraceThatRecursIsTwoTraces(isDecided: Bool) throws {
    func adjust(_ configuration: inout SamplerConfiguration) {
      configuration.windows.lateWindow = .seconds(10)
    }
    // The second trace holds the safe offset until 34 s; the verdict on the first life is forgotten at 16 s.
    var records: [(spans: [TestSpan], time: Int64)] = [
      ([.root(1)], 0), ([.child(8, under: 7, of: 50)], 4000), ([.root(of: 51)], 6000),
      ([.child(2)], 20_000),
    ]
    if isDecided { records += [([.root(3, .error)], 20_000), ([.root(of: 52)], 26_000)] }
    let first = World(adjust)
    var past: [RestoredVerdict] = []
    for entry in records {
      for case .decision(_, let bytes?) in try first.send(entry.spans, at: entry.time) {
        past.append(try RestoredVerdict(record: bytes))
      }
    }
    let ofTrace = past.filter { $0.traceID == TestSpan.child(2).traceID }
    #expect(ofTrace.map(\.isKept) == (isDecided ? [false, true] : [false]))
    let second = try takeover(of: first, past, records, adjust)
    for world in [first, second] {
      let events = try world.send(.child(4, .error), at: 27_000)
      #expect(events.keptIDs == (isDecided ? [4] : [2, 4]))
      #expect(events.decisions.map(\.isLate) == (isDecided ? [] : [false]))
    }
  }

  /// A quiet partition ends its recovery without another record.
  @Test func whatIsDueIsDecidedWhenTheLogEnds() throws {
    let before = World()
    try before.send(.child(2, .error), at: 0)
    let point = try #require(before.commitPoint)
    let after = World { $0.windows.decisionWait = .seconds(1) }
    after.sampler.restore(point, past: [])
    #expect(try after.send(.child(2, .error), at: 0).isEmpty)
    let end = try after.pass(to: 1000)
    #expect(end.decisions.map(\.isFinal) == [true])
    #expect(end.keptIDs == [2])
  }

  /// Where decisions may be missing they are made again during the replay.
  @Test func whatMayHaveBeenDecidedIsDecidedAgain() throws {
    let before = World()
    try before.send(.child(2, .error), at: 0)
    let point = try #require(before.commitPoint)
    let after = World()
    after.sampler.restore(point, past: [], isWhole: false)
    #expect(try after.send(.child(2, .error), at: 0).keptIDs == [2])
  }
}

extension Decision {
  fileprivate var summary: String {
    "\(traceID) \(isKept) \(isFinal) \(matches) \(threshold) \(spanCount) \(decidedAt.nanoseconds)"
  }
}
