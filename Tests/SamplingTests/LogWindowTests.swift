// Log-backed windows: the same verdicts and the same kept spans as with spans in memory, through takeovers.

import Foundation
import Testing

@testable import OTLP
@testable import Sampling

/// Traffic with everything that handing out has to cope with, and a place to keep what came out.
private struct Traffic {
  struct Record {
    var spans: [TestSpan]
    var time: Int64
  }

  var records: [Record] = []
  /// The spans of each trace.
  var published: [UInt64: Set<UInt64>] = [:]
  var errors: Set<UInt64> = []

  init(seed: UInt64, traces: UInt64 = 40, giants: Bool = false) {
    var random = TrafficSource(seed: seed)
    for trace in 1...traces {
      let begin = 1000 + Int64(trace) * 250
      let count = giants && trace % 13 == 0 ? 40 : UInt64.random(in: 1...6, using: &random)
      for id in 1...count {
        let isRoot = id == 1
        if isRoot, trace % 7 == 0 { continue }
        let isLate = trace % 5 == 0 && id == count
        let time = begin + (isLate ? 25_000 : Int64.random(in: 0...3000, using: &random))
        let isError = Int.random(in: 0..<(giants ? 6 : 12), using: &random) == 0
        let span = TestSpan(
          trace: trace, id: id, parent: isRoot ? 0 : 1, start: begin, end: begin + 10,
          status: isError ? .error : .unset)
        published[trace, default: []].insert(id)
        if isError { errors.insert(trace) }
        records.append(Record(spans: [span], time: time))
        // Soon: one that comes after its trace's verdict and a takeover is not recognised.
        if !isLate, Int.random(in: 0..<6, using: &random) == 0 {
          records.append(Record(spans: [span], time: time + Int64.random(in: 0...900, using: &random)))
        }
      }
    }
    records.sort { $0.time < $1.time }
    // Some records have spans of several traces.
    for place in stride(from: records.count - 2, to: 0, by: -9) {
      records[place].spans += records.remove(at: place + 1).spans
    }
    // They move the clock until all is decided.
    for place in 0...8 as ClosedRange<Int64> {
      let trace = 10_000 + UInt64(place)
      published[trace] = [1]
      records.append(Record(spans: [TestSpan.root(1, of: trace)], time: 60_000 + place * 5000))
    }
  }
}

/// SplitMix64.
private struct TrafficSource: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}

/// What a `read_committed` reader sees.
private struct Seen {
  var kept: [UInt64: [UInt64: Int]] = [:]
  var finals: [UInt64: [WrittenDecision]] = [:]
  var revised: Set<UInt64> = []
  var records: [[UInt8]] = []

  private func traceID(_ written: WrittenDecision) -> UInt64 {
    Array(written.traceId.utf8).withRawBytes { TraceID(key: $0)?.low ?? 0 }
  }

  mutating func note(_ events: [Event]) {
    for case .decision(let decision, let record?) in events {
      records.append(record)
      guard decision.isFinal else { continue }
      if decision.isRevised { revised.insert(decision.traceID.low) }
    }
    for written in events.written where written.final && written.revised != true {
      finals[traceID(written), default: []].append(written)
    }
    for case .kept(let traceID, let spans, _) in events {
      for span in spans { kept[traceID.low, default: [:]][span.id, default: 0] += 1 }
    }
  }
}

@Suite struct LogWindowTests {
  private func configure(_ configuration: inout SamplerConfiguration, _ buffer: WindowBuffer) {
    configuration.windows.decisionWait = .seconds(12)
    configuration.windows.decisionWaitAfterRoot = .seconds(4)
    configuration.windows.lateWindow = .seconds(120)
    configuration.windows.recallWindow = .seconds(120)
    configuration.windows.buffer = buffer
    configuration.policies[2].rule = .probabilistic(SamplingThreshold(probability: 0.3))
  }

  private func check(_ seen: Seen, _ traffic: Traffic) {
    for (trace, spans) in traffic.published {
      let finals = seen.finals[trace] ?? []
      #expect(finals.count == 1, "trace \(trace) has \(finals.count) verdicts")
      let isKept = finals.first?.verdict == "keep" || seen.revised.contains(trace)
      let kept = seen.kept[trace] ?? [:]
      #expect(kept.allSatisfy { $0.value == 1 }, "trace \(trace): spans are kept twice")
      #expect(Set(kept.keys) == (isKept ? spans : []), "trace \(trace), kept: \(isKept)")
      if traffic.errors.contains(trace) { #expect(isKept, "trace \(trace) has an error") }
    }
  }

  @Test func aKeptTraceIsHandedOutOnceAllBeforeItIsDecided() throws {
    let world = World { $0.windows.buffer = .log }
    // Without a root: open for the whole wait.
    try world.send(TestSpan(trace: TestSpan.unlucky, id: 1, parent: 9, start: 0, end: 1), at: 1000)
    let early = try world.send(
      TestSpan(trace: 5, id: 2, parent: 1, start: 0, end: 1, status: .error), at: 1500)
    #expect(early.written.map(\.final) == [false] && early.kept.isEmpty)
    try world.send(.root(1, of: 5), at: 2000)
    #expect(try world.pass(to: 8000).written.map(\.verdict) == ["keep"])
    #expect(world.sampler.nextHandOut() == nil && world.usage.bufferedBytes == 0)
    #expect(world.sampler.handOutsPending == 1 && world.sampler.followerLag == 3)
    #expect(try #require(world.commitPoint).committedOffset == Offset(0))
    // A late span does not wait.
    #expect(
      try world.send(TestSpan(trace: 5, id: 3, parent: 1, start: 0, end: 1), at: 9000).kept.map(\.id) == [3])
    try world.pass(to: 31_000)
    let events = try world.handOut()
    #expect(events.kept.map(\.id) == [2, 1])
    #expect(world.sampler.handOutsPending == 0 && world.sampler.followerLag == 0)
    #expect(try #require(world.commitPoint).committedOffset == Offset(4))
    #expect(world.counters.spansHandedOut == 2 && world.counters.recordsFollowed == 3)
  }

  /// Log-backed windows give the verdicts, records and spans of those in memory.
  @Test(arguments: [false, true], 1...8 as ClosedRange<UInt64>)
  func bothBuffersGiveTheSame(giants: Bool, seed: UInt64) throws {
    let traffic = Traffic(seed: seed, giants: giants)
    var random = TrafficSource(seed: seed)
    var outcomes: [Seen] = []
    for buffer in WindowBuffer.allCases {
      let world = World {
        configure(&$0, buffer)
        if giants { $0.limits.spansPerTrace = 10 }
      }
      var seen = Seen()
      for record in traffic.records {
        try seen.note(world.send(record.spans, at: record.time))
        try seen.note(world.recall())
        if Bool.random(using: &random) {
          try seen.note(world.handOut(records: .random(in: 0...9, using: &random)))
        }
      }
      try seen.note(world.pass(to: 200_000) + world.recall() + world.handOut())
      outcomes.append(seen)
      if !giants { check(seen, traffic) }
      #expect(world.usage.bufferedBytes == 0 && world.sampler.handOutsPending == 0)
    }
    #expect(outcomes[0].kept == outcomes[1].kept)
    for (trace, finals) in outcomes[0].finals {
      let other = try #require(outcomes[1].finals[trace])
      #expect(finals.map(\.verdict) == other.map(\.verdict) && finals.map(\.reasons) == other.map(\.reasons))
      #expect(finals.map(\.spanCount) == other.map(\.spanCount))
      #expect(finals.map(\.truncatedSpans) == other.map(\.truncatedSpans))
    }
  }

  /// Whoever takes the partition over continues where the last commit was, also if it has another buffer.
  @Test(arguments: [false, true], 1...25 as ClosedRange<UInt64>)
  func takeoversLoseNothing(changesBuffer: Bool, seed: UInt64) throws {
    let traffic = Traffic(seed: seed)
    var random = TrafficSource(seed: seed)
    var (committed, open) = (Seen(), Seen())
    var point: CommitPoint?
    var buffer = WindowBuffer.log
    var world = World { configure(&$0, buffer) }
    var next = 0
    var takeovers = 0
    while next < traffic.records.count || world.sampler.handOutsPending > 0 || takeovers == 0 {
      if next < traffic.records.count {
        let record = traffic.records[next]
        next += 1
        try open.note(world.send(record.spans, at: record.time))
      } else {
        try open.note(world.pass(to: 200_000))
      }
      if Int.random(in: 0..<3, using: &random) == 0 { try open.note(world.recall()) }
      if Int.random(in: 0..<3, using: &random) == 0 {
        try open.note(world.handOut(records: .random(in: 0...15, using: &random)))
      }
      if Int.random(in: 0..<8, using: &random) == 0, let now = world.commitPoint {
        committed = open
        let read = try #require(CommitPoint(safeOffset: now.committedOffset, metadata: now.metadata))
        #expect(read == now)
        point = read
      }
      guard Int.random(in: 0..<40, using: &random) == 0, let point else { continue }
      takeovers += 1
      open = committed
      if changesBuffer { buffer = Bool.random(using: &random) ? .log : .memory }
      let before = world
      world = World { configure(&$0, buffer) }
      world.checksBalance = false
      (world.log, world.keys) = (before.log, before.keys)
      next = Int(point.safeOffset.value)
      world.offset = Int64(next)
      let past = try committed.records.map { try RestoredVerdict(record: $0) }
      world.sampler.restore(point, past: past)
    }
    try open.note(world.pass(to: 200_000) + world.recall() + world.handOut())
    check(open, traffic)
  }

  @Test func keysSaveScans() throws {
    let world = World { $0.windows.buffer = .log }
    for id in 1...20 as ClosedRange<UInt64> {
      try world.send(TestSpan(trace: TestSpan.unlucky, id: id, parent: 99, start: 0, end: 1), at: 1000)
    }
    try world.send(TestSpan(trace: 5, id: 1, start: 0, end: 1, status: .error), at: 1500)
    try world.send(TestSpan(trace: 5, id: 2, parent: 1, start: 0, end: 1), at: 1600)
    try world.pass(to: 60_000)
    #expect(try world.handOut().kept.map(\.id) == [1, 2])
    #expect(world.counters.recordsFollowed == 22 && world.counters.recordsPassedByKey == 20)

    try world.send(TestSpan(trace: 6, id: 1, start: 60_000, end: 60_001, status: .error), at: 61_000)
    try world.send(TestSpan(trace: 7, id: 1, parent: 9, start: 60_000, end: 60_001), at: 61_000)
    try world.send(TestSpan(trace: 6, id: 2, parent: 1, start: 60_000, end: 60_001), at: 61_000)
    try world.pass(to: 120_000)
    #expect(try world.handOut().kept.map(\.id) == [1, 2])
    #expect(world.counters.recordsPassedByKey == 21)

    // A record with spans that its key does not name: everything up to it is scanned.
    try world.send(TestSpan(trace: 8, id: 1, start: 0, end: 1, status: .error), at: 121_000)
    try world.send(TestSpan(trace: 7, id: 2, parent: 9, start: 0, end: 1), at: 121_000)
    try world.send(
      [
        TestSpan(trace: 7, id: 3, parent: 9, start: 0, end: 1),
        TestSpan(trace: 8, id: 2, parent: 1, start: 0, end: 1),
      ], at: 121_000)
    try world.pass(to: 200_000)
    #expect(try world.handOut().kept.map(\.id) == [1, 2])
    #expect(world.counters.recordsPassedByKey == 21)
  }

  @Test func whatHasLeftTheLogIsCounted() throws {
    let world = World { $0.windows.buffer = .log }
    for trace in 1...3 as ClosedRange<UInt64> {
      try world.send(TestSpan(trace: trace, id: 1, start: 0, end: 1, status: .error), at: 1000)
    }
    try world.send(TestSpan(trace: 2, id: 2, parent: 1, start: 0, end: 1), at: 1500)
    try world.pass(to: 40_000)
    world.sampler.loseHandOuts(before: Offset(2))
    #expect(world.counters.handOutsLost == 2)
    #expect(try world.handOut().kept.map(\.id) == [1, 2])
    #expect(world.sampler.handOutsPending == 0)
  }

  /// A trace that waits for long does not keep the memory of the others that have been handed out since.
  @Test func handOutsShrinkWhileOneIsPending() {
    var handOuts = HandOuts(.log)
    func handOut(_ trace: UInt64) -> HandOut {
      HandOut(
        traceID: TraceID(high: 0, low: trace), first: Offset(Int64(trace)), last: Offset(Int64(trace)),
        decidedAt: .at(0), threshold: .always, incomingThreshold: .always, matches: 1, isTruncated: false,
        hasRedelivered: false)
    }
    for trace in 1...5000 as ClosedRange<UInt64> { handOuts.add(handOut(trace), safe: Offset(0)) }
    let most = handOuts.byteCount
    for trace in 1..<5000 as Range<UInt64> {
      if let number = handOuts.find(TraceID(high: 0, low: trace), at: Offset(Int64(trace))) {
        _ = handOuts.remove(number)
      }
    }
    handOuts.trim()
    handOuts.checkInvariants()
    #expect(handOuts.count == 1 && handOuts.byteCount < most / 50)
    #expect(handOuts.find(TraceID(high: 0, low: 5000), at: Offset(5000)) != nil)
  }

  /// The log was cut before the follower, or is another one: what is kept afterwards is handed out.
  @Test func aLogThatEndsTooEarlyDoesNotEndHandingOut() throws {
    let world = World { $0.windows.buffer = .log }
    try world.send(TestSpan(trace: 1, id: 1, start: 0, end: 1, status: .error), at: 1000)
    try world.pass(to: 40_000)
    world.sampler.loseHandOuts(before: Offset(.max))
    #expect(world.counters.handOutsLost == 1 && world.sampler.handOutsPending == 0)
    try world.send(TestSpan(trace: 2, id: 5, start: 0, end: 1, status: .error), at: 41_000)
    try world.pass(to: 90_000)
    #expect(try world.handOut().kept.map(\.id) == [5])
  }

  @Test(arguments: [
    "", "s=1", "f=1", "s=2,f=3", "s=9,f=3", "s=3,f=-1", "s=3,f=1,x=1", "s=3,f=1,s=3", "s=3,f", "s=3,f=1,",
    "s=3,f=1,h=x",
  ])
  func damagedPointsAreNotRead(fields: String) {
    #expect(CommitPoint(safeOffset: Offset(1), metadata: "5;8;10;20;0;;;\(fields)") == nil)
  }

  @Test func pointsAreReadBack() throws {
    var point = CommitPoint(
      safeOffset: Offset(7), clockAtSafeOffset: Instant(nanoseconds: 10), highWater: Offset(8),
      clock: Instant(nanoseconds: 20))
    point.follower = FollowerPoint(position: Offset(5))
    #expect(point.metadata == "5;8;10;20;0;;;s=7,f=5")
    #expect(point.committedOffset == Offset(5))
    point.oldestRecall = Instant(nanoseconds: -3)
    point.budgetLevels = [1, 2]
    point.clockAhead = .seconds(1)
    point.follower = FollowerPoint(
      position: Offset(5), oldestVerdict: Instant(nanoseconds: -4), from: Offset(3), until: Offset(9))
    #expect(CommitPoint(safeOffset: Offset(5), metadata: point.metadata) == point)
  }
}

/// What an hour of undecided traces takes.
@Suite struct LogWindowMemoryTests {
  /// 100,000 spans a second at 50 spans a trace, of which 2 % have no root and wait for an hour; 3 % are
  /// kept.
  /// Measured on fewer traces, and multiplied: `TRACES` sets how many.
  @Test func anHourFitsHalfAGigabyte() throws {
    let count = ProcessInfo.processInfo.environment["TRACES"].flatMap { UInt64($0) } ?? 2000
    let world = World {
      $0.windows.decisionWait = .seconds(3600)
      $0.windows.lateWindow = .seconds(600)
      $0.windows.buffer = .log
      $0.policies = [Policy(name: "errors", rule: .statusCode([.error]))]
    }
    func encode(_ spans: [TestSpan]) -> [UInt8] { record(spans) }
    func part(_ trace: UInt64, _ ids: ClosedRange<UInt64>, status: SpanStatus) -> [UInt8] {
      encode(
        ids.map { TestSpan(trace: trace, id: trace << 8 | $0, parent: 1, start: 0, end: 1, status: status) })
    }
    var memory: [Int] = []
    func note() { memory.append(world.usage.tableBytes) }
    note()
    // Open traces without a root.
    for trace in 1...count {
      let time = Int64(trace * 3_000_000 / count)
      for first in stride(from: 2, through: 42, by: 10) as StrideThrough<UInt64> {
        _ = world.ingest(part(trace, first...first + 9, status: .unset), key: nil, at: .at(time))
      }
      // What it writes is not under test.
      if trace % 64 == 0 { world.effects.removeAll() }
    }
    note()
    #expect(world.usage.openTraces == Int(count) && world.usage.bufferedBytes == 0)
    // Kept traces that can't be handed out before the oldest open one is decided.
    for trace in count + 1...2 * count {
      let root = TestSpan(trace: trace, id: 1, start: 0, end: 1, status: .error)
      _ = world.ingest(encode([root]), key: nil, at: .at(3_000_000 + Int64(trace * 60_000 / count)))
      if trace % 64 == 0 { world.effects.removeAll() }
    }
    world.sampler.advance(to: .at(3_200_000), into: &world.effects)
    note()
    #expect(world.sampler.handOutsPending == Int(count))
    let open = (memory[1] - memory[0]) / Int(count)
    let pending = world.sampler.handOutBytes / Int(count)
    let (opened, verdicts) = (2000 * 2 * 3600 / 100 + 2000 * 5, 2000 * 600)
    let kept = 2000 * 3 * 3600 / 100
    // A past verdict takes 128 bytes at most.
    let bytes = opened * open + kept * pending + verdicts * 128
    print(
      "an open trace of 50 spans: \(open) bytes; a pending hand-out: \(pending); in all \(bytes >> 20) MiB")
    #expect(bytes < 512 << 20)
  }
}
