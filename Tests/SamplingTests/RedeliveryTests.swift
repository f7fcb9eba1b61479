// Redelivered spans: left out of every number, written once, whatever became of their trace.

import Simulation
import SpanStorage
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct RedeliveryTests {
  private let spans = [TestSpan.root(), .child(2), .child(3, under: 2)]

  private func world(_ policies: Policy...) -> World {
    World {
      $0.dropped = .full
      if !policies.isEmpty { $0.policies = policies }
    }
  }

  /// What is finally reported of the trace, except offsets.
  private func verdict(_ events: [Event]) throws -> Verdict {
    let final = try #require(events.last { $0.decision?.isFinal == true })
    guard case .verdict(var verdict) = ReferenceEvent(final) else { throw MalformedInput(.empty, at: 0) }
    (verdict.firstOffset, verdict.lastOffset) = (0, 0)
    return verdict
  }

  /// However spans are redelivered before the verdict, it does not change.
  @Test func theyCountOnce() throws {
    let other = TestSpan.child(9, of: 77)
    let (first, second, third) = (spans[0], spans[1], spans[2])
    let twice = spans + spans
    let again: [[[TestSpan]]] = [
      [spans, spans], [twice], [[first], [second], [third], spans], [spans, [second], [third]],
      [spans, [other, second, other, third]], [[first, first], [third, first, second], [third, second]],
    ]
    for records in again {
      let three = world(Policy(name: "four", rule: .spanCount(least: 4, most: nil)))
      let once = world(Policy(name: "four", rule: .spanCount(least: 4, most: nil)))
      for record in records { try three.send(record, at: 0) }
      try once.send(spans, at: 0)
      let found = try three.pass(to: 5000)
      #expect(try verdict(found) == verdict(once.pass(to: 5000)))
      let sent = records.joined().count { $0.trace == TestSpan.unlucky }
      #expect(three.counters.spansRedelivered >= UInt64(sent - 3))
      #expect(found.written.first?.spanCount == 3)
    }
  }

  @Test func bytesCountOnceToo() throws {
    let twice = world()
    try twice.send(spans, at: 0)
    try twice.send(spans, at: 100)
    #expect(try twice.pass(to: 5100).written.map(\.byteCount) == [record(spans).count])
    #expect(twice.usage.bufferedBytes == 0)
  }

  /// A share with nothing new moves neither the trace's last offset nor its window.
  @Test func nothingNewIsNoSignOfLife() throws {
    let world = world()
    try world.send(spans, at: 0)
    try world.send(spans, at: 4000)
    let final = try world.pass(to: 5000).written
    #expect(final.map(\.lastOffset) == [0])
  }

  /// The same id with other bytes is another span: both count.
  @Test func otherBytesAreAnotherSpan() throws {
    for change in [{ $0.name = "GET +" }, { $0.end += 1 }, { $0.flags = 1 }] as [(inout TestSpan) -> Void] {
      var changed = spans[1]
      change(&changed)
      let world = world(Policy(name: "all", rule: .alwaysSample))
      try world.send(spans + [changed], at: 0)
      try world.send(spans, at: 1)
      try world.send(changed, at: 2)
      #expect(try world.pass(to: 5000).written.map(\.spanCount) == [4])
      #expect(world.counters.spansKept == 4)
      #expect(world.counters.spansRedelivered == 4)
    }
    let late = world()
    try late.send(.root(of: TestSpan.lucky), at: 0)
    try late.pass(to: 5000)
    var changed = TestSpan.root(of: TestSpan.lucky)
    changed.name = "GET +"
    #expect(try late.send(changed, at: 6000).keptIDs == [1])
  }

  @Test func theyAreWrittenOnceAfterAnEarlyKeep() throws {
    let world = world()
    #expect(try world.send([.child(2), .child(3)], at: 0).isEmpty)
    #expect(try world.send([.child(2), .child(4, .error)], at: 0).keptIDs == [2, 3, 4])
    #expect(try world.send([.child(4, .error), .child(3), .child(5), .child(5)], at: 1).keptIDs == [5])
    #expect(try world.send(.child(5), at: 2).isEmpty)
    let final = try #require(try world.pass(to: 30_000).written.last)
    #expect([final.spanCount, final.errorCount] == [4, 1])
    #expect(world.counters.spansRedelivered == 5)
  }

  @Test func theyAreWrittenOnceInASkeleton() throws {
    let world = World { $0.limits.spansPerTrace = 3 }
    try world.send([.root(), .child(2)], at: 0)
    let over = [TestSpan.child(3), .child(4), .child(5, .error)]
    #expect(try world.send(over, at: 0).keptIDs == [1, 2, 3, 5])
    #expect(try world.send(over + [.root(), .child(6, .error)], at: 1).keptIDs == [6])
    let final = try #require(try world.pass(to: 30_000).written.last)
    #expect([final.spanCount, final.errorCount, final.truncatedSpans] == [6, 2, 1])
  }

  /// A trace that stays over its limit for ever is not remembered for ever.
  @Test func aGiantTraceIsRememberedUpToALimit() throws {
    let world = World { $0.limits.spansPerTrace = 10 }
    for id in 1...1000 as ClosedRange<UInt64> { try world.send(.child(id, under: 5000), at: 0) }
    let known = world.sampler.table[0].known
    let count = world.sampler.register.count(of: known)
    #expect(count <= 30)
    #expect(world.counters.spansUnremembered > 900)
    for id in 1...10 as ClosedRange<UInt64> {
      #expect(try world.send(.child(id, under: 5000), at: 0).isEmpty)
    }
    #expect(world.counters.spansRedelivered == 10)
  }

  @Test func lateOnesFollowAKeepOnce() throws {
    let world = world()
    let (root, late) = (TestSpan.root(of: TestSpan.lucky), TestSpan.child(2, of: TestSpan.lucky))
    try world.send(root, at: 0)
    #expect(try world.pass(to: 5000).keptIDs == [1])
    #expect(try world.send(root, late, root, at: 6000).keptIDs == [2])
    #expect(try world.send(late, root, at: 7000).isEmpty)
    #expect(world.counters.lateSpansKept == 1)
    #expect(world.counters.spansRedelivered == 4)
  }

  /// What was known at the verdict is not reported again afterwards.
  @Test func lateOnesAreNoNewsOfADroppedTrace() throws {
    let world = world(Policy(name: "slow", rule: .latency(threshold: .seconds(2), upper: nil)))
    let failed = TestSpan.child(2, .error)
    try world.send(.root(), failed, at: 0)
    #expect(try world.pass(to: 5000).decisions.map(\.isKept) == [false])
    #expect(try world.send(.root(), failed, at: 6000).isEmpty)
    #expect(world.counters.lateSpansDropped == 0)
    try world.send(.child(3), failed, at: 7000)
    #expect(world.counters.lateSpansDropped == 1)
  }

  /// Traces of every size around the places where the form of the notes changes, in records of every size.
  @Test(arguments: [1, 2, 7, 8, 55, 56, 57, 58, 96, 130, 700, 3000], [1, 7])
  func largeTracesToo(count: Int, perRecord: Int) throws {
    let world = world(Policy(name: "some", rule: .spanCount(least: count, most: count)))
    let spans = (1...UInt64(count)).map { TestSpan.child($0 &* 0x9e37_79b9_7f4a_7c15, under: 1) }
    for _ in 0..<2 {
      for start in stride(from: 0, to: count, by: perRecord) {
        try world.send(Array(spans[start..<min(count, start + perRecord)]), at: 0)
      }
    }
    let events = try world.pass(to: 30_000)
    #expect(events.keptIDs == spans.map(\.id))
    #expect(world.counters.spansRedelivered == UInt64(count))
    #expect(events.written.map(\.spanCount) == [count])
  }

  // MARK: Memory

  /// Notes end with their trace, those on past traces with the verdict or for lack of room.
  @Test func notesAreGivenBack() throws {
    let world = World {
      $0.windows.lateWindow = .seconds(60)
      $0.limits.keptSpanNoteBytes = 1000
      $0.limits.droppedSpanNoteBytes = 1000
    }
    for trace in 1...200 as ClosedRange<UInt64> {
      try world.send((1...20).map { .child($0, of: trace, trace % 2 == 0 ? .error : .unset) }, at: 0)
    }
    try world.pass(to: 30_000)
    let (kept, dropped) = (world.sampler.pastKept, world.sampler.pastDropped)
    #expect((1...5).contains(kept.count) && (1...9).contains(dropped.count))
    // The latest are the ones that are remembered.
    try world.send((1...20).map { .child($0, of: 200, .error) }, at: 30_000)
    #expect(world.counters.spansRedelivered == 20)
    try world.pass(to: 90_001)
    let (keptThen, droppedThen) = (world.sampler.pastKept, world.sampler.pastDropped)
    #expect(keptThen.count == 0 && droppedThen.count == 0)
  }

  /// When tables have no room, nothing is remembered, nothing breaks, and it is counted.
  @Test func withoutMemoryTheyCountAgain() throws {
    let memory = SpanMemory()
    memory.tableBytesMax = 1
    var sampler = Sampler(partition: PartitionID(0), configuration: SamplerConfiguration(), memory: memory)
    var effects = Effects()
    for offset in 0..<100 as Range<Int64> {
      let value = record((1...30).map { .child(UInt64(offset) * 30 + $0) })
      let error = value.withRawBytes {
        sampler.ingest(offset: Offset(offset), timestamp: .at(0), key: nil, value: $0, into: &effects)
      }
      #expect(error == nil)
      sampler.checkInvariants()
    }
    let counters = sampler.counters
    #expect(counters.spansUnremembered > 1000 && counters.spansRedelivered == 0)
  }

  /// A span that is not remembered is counted once, though its notes are rebuilt when the trace is kept.
  @Test func whatIsNotRememberedIsCountedOnce() throws {
    let memory = SpanMemory()
    memory.tableBytesMax = 0
    let world = World { $0.limits.spansPerTrace = 40 }
    world.sampler = Sampler(
      partition: PartitionID(7), configuration: world.sampler.configuration, memory: memory)
    // One that is kept early, one that exceeds the limit, one that is dropped and continues.
    try world.send((1...20).map { .child($0, of: 1) }, at: 0)
    try world.send((21...30).map { .child($0, of: 1, .error) }, at: 0)
    for record in 0..<4 as Range<UInt64> {
      try world.send((1...20).map { .child(record * 20 + $0, under: 900, of: 2) }, at: 0)
    }
    try world.send((1...10).map { .child($0, of: 3) }, at: 0)
    try world.pass(to: 30_000)
    try world.send((11...30).map { .child($0, of: 3) }, at: 30_000)
    // The count is collected from time to time.
    for number in 1...16 as ClosedRange<UInt64> { try world.send(.root(of: 100 + number), at: 30_000) }
    let counters = world.counters
    #expect(counters.spansUnremembered > 100)
    #expect(counters.spansUnremembered <= counters.spansRead)
  }

  /// After a burst its memory is released, and there is room for notes on past traces again.
  @Test func aBurstLeavesNoRoomTaken() throws {
    let memory = SpanMemory()
    let world = world()
    world.sampler = Sampler(
      partition: PartitionID(7), configuration: world.sampler.configuration, memory: memory)
    for trace in 1...3000 as ClosedRange<UInt64> {
      let size: UInt64 = trace % 8 == 0 ? 90 : 4
      try world.send((1...size).map { .child($0, of: trace << 20, trace % 8 == 1 ? .error : .unset) }, at: 0)
    }
    let peak = world.usage.tableBytes
    memory.tableBytesMax = peak / 4 * 5
    try world.pass(to: 30_000)
    #expect(world.usage.tableBytes > peak / 2)
    func copiesHandedOut(_ id: UInt64, at time: Int64) throws -> Int {
      try world.send(.root(id, of: id | TestSpan.lucky), at: time)
      try world.pass(to: time + 5000)
      let late = TestSpan.child(id + 1, under: id, of: id | TestSpan.lucky)
      let handedOut =
        try world.send(late, at: time + 6000).keptIDs + world.send(late, at: time + 7000).keptIDs
      return handedOut.count
    }
    #expect(try copiesHandedOut(1 << 60, at: 31_000) == 2)
    // What was needed until a moment ago stays for one more round.
    for _ in 0..<3 {
      world.sampler.trim()
      _ = try world.take()
    }
    #expect(world.usage.tableBytes < peak / 4)
    #expect(memory.tableBytes == world.usage.tableBytes)
    #expect(try copiesHandedOut(1 << 61, at: 41_000) == 1)
  }

  // MARK: Recovery

  /// Cut at every place: what was forwarded before and after it is every span of the kept traces, once, with
  /// one exception: a late span of a trace that was decided before the safe offset. Nothing in the replay
  /// tells that it arrived.
  @Test(arguments: 1...4 as ClosedRange<UInt64>) func aTakeoverHandsOutNothingTwice(seed: UInt64) throws {
    var random = RandomSource(seed: seed)
    var log: [(spans: [TestSpan], time: Int64)] = []
    for number in 1...40 as ClosedRange<UInt64> {
      let trace = number &* 0x9e37_79b9_7f4a_7c15
      let start = Int64(random.number(in: 0...20_000))
      for id in 1...UInt64(random.number(in: 1...6)) {
        let span = TestSpan(
          trace: trace, id: id, parent: id == 1 ? 0 : 1, status: random.chance(0.1) ? .error : .unset)
        let time = start + Int64(random.number(in: 0...900))
        log.append(([span], time))
        if random.chance(0.5) { log.append(([span], time + Int64(random.number(in: 0...900)))) }
      }
    }
    log.sort { ($0.time, $0.spans[0].trace, $0.spans[0].id) < ($1.time, $1.spans[0].trace, $1.spans[0].id) }
    func world() -> World { World { $0.windows.decisionWaitAfterRoot = .seconds(2) } }
    let first = world()
    var past: [RestoredVerdict] = []
    var before: [Event] = []
    for (number, entry) in log.enumerated() {
      let events = try first.send(entry.spans, at: entry.time)
      before += events
      for case .decision(_, let bytes?) in events { past.append(try RestoredVerdict(record: bytes)) }
      guard let point = first.commitPoint else { continue }
      let second = world()
      second.sampler.restore(point, past: past)
      second.offset = point.safeOffset.value
      var after: [Event] = []
      for entry in log[Int(point.safeOffset.value)...] {
        after += try second.send(entry.spans, at: entry.time)
      }
      after += try second.pass(to: 100_000)
      var times: [[UInt64]: Int] = [:]
      for case .kept(let trace, let spans, _) in before + after {
        for span in spans { times[[trace.low, span.id], default: 0] += 1 }
      }
      #expect(times.values.allSatisfy { $0 == 1 }, "cut after record \(number)")
      #expect(!times.isEmpty || number < log.count)
    }
  }

  /// The same for a trace that was kept early and for one that is final.
  @Test func aCopyBehindTheHighWaterIsRecognised() throws {
    let first = World()
    try first.send(.child(8, under: 7, of: 50), at: 0)
    try first.send(.child(2, .error), at: 0)
    try first.send(.root(of: TestSpan.lucky), at: 0)
    let decided = try first.pass(to: 5000)
    #expect(decided.keptIDs == [1])
    var past = [
      RestoredVerdict(
        traceID: TestSpan.child(2).traceID, isKept: true, isFinal: false, threshold: .always,
        decidedAt: .at(0))
    ]
    for case .decision(_, let bytes?) in decided { past.append(try RestoredVerdict(record: bytes)) }
    let point = try #require(first.commitPoint)
    #expect(point.safeOffset == Offset(0) && point.highWater == Offset(3))

    let second = World()
    second.sampler.restore(point, past: past)
    #expect(try second.send(.child(8, under: 7, of: 50), at: 0).isEmpty)
    #expect(try second.send(.child(2, .error), at: 0).isEmpty)
    #expect(try second.send(.root(of: TestSpan.lucky), at: 0).isEmpty)
    let events = try second.send(.child(2, .error), .root(of: TestSpan.lucky), at: 5000)
    #expect(events.keptIDs.isEmpty)
    #expect(second.counters.spansRedelivered == 2)
  }
}

@Suite struct SpanRegisterTests {
  /// Against a set of Swift's own.
  @Test func setsOfNumbersAreSets() {
    var random = RandomSource(seed: 5)
    var sets = NumberSets<UInt64>(capacityMin: 32)
    var models = Array(repeating: Set<UInt64>(), count: 8)
    var numbers = Array(repeating: -1 as Int32, count: 8)
    for _ in 0..<40_000 {
      let which = random.number(in: 0...7)
      if random.chance(0.0005) {
        if random.chance(0.5) { sets.trim() }
        sets.release(numbers[which])
        (numbers[which], models[which]) = (-1, [])
      }
      // Few numbers, all in few places; zero among them, which counts as one.
      let number = UInt64(random.number(in: 0...3000)) << UInt64(random.number(in: 0...2) * 20)
      let isKnown = models[which].contains(max(number, 1))
      if sets.contains(number, in: numbers[which]) != isKnown { Issue.record("\(number) is lost") }
      let mayGrow = random.chance(0.3)
      let entry = sets.insert(number, into: &numbers[which]) { mayGrow }
      if (entry == .known) != isKnown { Issue.record("\(number) is \(entry)") }
      if entry == .added { models[which].insert(max(number, 1)) }
      if entry == .refused { #expect(!mayGrow) }
      let count = sets.count(of: numbers[which])
      #expect(count == models[which].count)
    }
    sets.checkInvariants(used: numbers.count { $0 >= 0 })
    for number in numbers { sets.release(number) }
    sets.checkInvariants(used: 0)
    let bytes = sets.byteCount
    #expect(bytes < 8 * 8 * 4096 * 2)
    sets.trim()
    sets.trim()
    sets.checkInvariants(used: 0)
    let bytesLeft = sets.byteCount
    #expect(bytesLeft < 2000)
  }

  /// A past trace is found by its verdict as long as that exists.
  @Test func pastSpansAreFoundByTheirVerdicts() {
    var past = PastSpans()
    var oldest = 0
    func remove() {
      past.removeOldest(noteBytes: 2)
      oldest += 3
    }
    for number in stride(from: 0, to: 300, by: 3) {
      past.append(KnownSpans(), verdict: number, noteBytes: 2)
      if number % 2 == 0 || number > 200 { remove() }
      if number > 250 { remove() }
      if number % 5 == 0 { past.trim() }
      #expect(past.noteBytes == 2 * past.count)
      for verdict in 0...number {
        let isThere = verdict % 3 == 0 && verdict >= oldest
        #expect((past.find(verdict) != nil) == isThere)
      }
    }
  }
}
