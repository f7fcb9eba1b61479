// Giant traces, portions, memory relief, and limits on names.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct SkeletonTests {
  /// The counts of a trace that never ends do end.
  @Test func countsStayAtTheLargestNumber() throws {
    let world = world(spans: 1)
    try world.send(.root(), .child(2), at: 0)
    let slot = try #require(world.sampler.table.opened.first)
    world.sampler.table[slot].spanCount = .max - 1
    world.sampler.table[slot].errorCount = .max - 1
    world.sampler.table[rare: slot].truncatedCount = .max - 1
    world.sampler.table[rare: slot].skeletonCount = .max - 1
    try world.send((3...9).map { TestSpan.child($0) } + (10...15).map { .child($0, .error) }, at: 1)
    let final = try #require(try world.pass(to: 5001).written.last)
    #expect(final.truncatedSpans == Int(UInt32.max))
    #expect(final.spanCount == Int(UInt32.max))
    #expect(world.counters.spansTruncated == 14, "the sampler's own counts continue")
  }

  private func world(spans: Int) -> World {
    World { $0.limits.spansPerTrace = spans }
  }

  @Test func aGiantTraceIsDecidedEarly() throws {
    let world = world(spans: 3)
    #expect(try world.send(.root(), .child(2), .child(3), at: 0).isEmpty)
    let events = try world.send(.child(4), .child(5, .error), .child(6), at: 0)
    let early = try #require(events.decisions.first)
    #expect(early.trigger == .limit)
    #expect(early.isKept && !early.isFinal)
    #expect(events.keptIDs == [1, 2, 3, 5])
    #expect(try world.send(.child(7), .child(8), at: 1000).isEmpty)
    #expect(try world.send(.root(9), at: 1000).keptIDs == [9])
    let final = try world.pass(to: 5000).written
    #expect(final.map(\.truncatedSpans) == [4])
    #expect(final.map(\.spanCount) == [9])
    #expect(final.map(\.reasons) == [["errors", "trace_limit"]])
    #expect(world.counters.tracesTruncated == 1)
    #expect(world.counters.spansTruncated == 4)
  }

  /// The record that crosses the limit is cut at it: the first N spans of the trace are forwarded, not the
  /// first records.
  @Test func theFirstNGoOut() throws {
    let world = world(spans: 4)
    try world.send(.child(2), .child(3), at: 0)
    #expect(try world.send(.child(4), .child(5), .child(6), .child(7), at: 0).keptIDs == [2, 3, 4, 5])
    #expect(world.counters.spansTruncated == 2)
  }

  @Test func exactlyTheLimitIsNotTooMany() throws {
    let world = world(spans: 2)
    #expect(try world.send(.child(2), .child(3), at: 0).isEmpty)
    #expect(try world.pass(to: 30_000).decisions.map(\.isKept) == [false])
  }

  @Test func aGiantThatNothingElseKeepsGivesTheLimitAsItsReason() throws {
    let world = world(spans: 1)
    let early = try world.send(.child(2), .child(3), at: 0).written
    #expect(early.map(\.reasons) == [["trace_limit"]])
    #expect(try world.pass(to: 30_000).written.map(\.policy) == ["trace_limit"])
    #expect(world.counters.tracesKept == 1)
    #expect(world.counters.keptByReason["trace_limit"] == 1)
  }

  @Test func anEagerlyKeptTraceBecomesASkeletonToo() throws {
    let world = world(spans: 2)
    #expect(try world.send(.root(1, .error), at: 0).keptIDs == [1])
    let over = try world.send(.child(2), .child(3), .child(4, .error), at: 0)
    #expect(over.decisions.isEmpty)
    #expect(over.keptIDs == [2, 4])
    #expect(try world.pass(to: 5000).written.map(\.truncatedSpans) == [1])
  }

  /// Even a trace of only errors ends: they have the allowance once more.
  @Test func errorsBeyondTheLimitHaveALimit() throws {
    let world = world(spans: 3)
    let spans = (1...20).map { TestSpan.child(UInt64($0), under: 99, .error) }
    #expect(try world.send(spans, at: 0).keptIDs == [1, 2, 3, 4, 5, 6])
    #expect(try world.send(.child(21, .error), at: 0).keptIDs == [])
    #expect(world.counters.spansTruncated == 15)
  }

  @Test func bytesAreALimitToo() throws {
    let world = World { $0.limits.bytesPerTrace = 3000 }
    var large = TestSpan.child(2)
    large.filling = 1500
    #expect(try world.send(large, at: 0).isEmpty)
    let failed = TestSpan(id: 4, parent: 1, status: .error, filling: 1500)
    large.id = 3
    let events = try world.send(large, failed, at: 0)
    #expect(events.decisions.map(\.trigger) == [.limit])
    #expect(events.keptIDs == [2, 4])
    #expect(world.counters.spansTruncated == 1)
  }
}

@Suite struct PortionTests {
  private func sizes(_ events: [Event]) -> [Int] {
    events.compactMap { if case .kept(_, _, let count) = $0 { count } else { nil } }
  }

  /// Bytes of a trace with 200 spans in records of `perRecord`, kept in portions of `forwardBytes`.
  private func portions(
    of spans: [TestSpan], perRecord: Int, forwardBytes: Int
  ) throws -> (sizes: [Int], kept: [KeptSpan]) {
    let world = World {
      $0.limits.forwardBytes = forwardBytes
      $0.policies = [Policy(name: "all", rule: .probabilistic(SamplingThreshold(probability: 0.01)))]
    }
    for start in stride(from: 0, to: spans.count, by: perRecord) {
      try world.send(Array(spans[start..<min(start + perRecord, spans.count)]), at: 0)
    }
    let events = try world.pass(to: 30_000)
    #expect(events.decisions.count == 1)
    return (sizes(events), events.kept)
  }

  @Test(arguments: [1, 3, 50, 200], [700, 4000, 1 << 20])
  func stayUnderTheirLimit(perRecord: Int, forwardBytes: Int) throws {
    let spans = (1...200).map { TestSpan.child(UInt64($0), under: 999, of: TestSpan.lucky) }
    let (sizes, kept) = try portions(of: spans, perRecord: perRecord, forwardBytes: forwardBytes)
    #expect(kept.map(\.id) == (1...200).map(UInt64.init))
    #expect(kept.map(\.rest) == spans.map(\.bytesWithoutState))
    #expect(kept.allSatisfy { $0.traceState == "ot=th:fd70a" })
    #expect(sizes.allSatisfy { $0 <= forwardBytes })
    if forwardBytes == 1 << 20 { #expect(sizes.count == 1) }
    // And they are full: no more portions than three times what the bytes need.
    #expect(sizes.count <= 1 + 3 * sizes.reduce(0, +) / forwardBytes)
  }

  @Test func aHugeSpanStandsAlone() throws {
    var spans = (1...5).map { TestSpan.child(UInt64($0), under: 999, of: TestSpan.lucky) }
    spans[2].filling = 5000
    for perRecord in [1, 5] {
      let (sizes, kept) = try portions(of: spans, perRecord: perRecord, forwardBytes: 1000)
      #expect(kept.map(\.id) == [1, 2, 3, 4, 5])
      #expect(kept.map(\.rest) == spans.map(\.bytesWithoutState))
      #expect(sizes.count == 3)
      #expect(sizes.filter { $0 > 1000 }.count == 1)
    }
  }

  /// Spans under a resource with an attribute of `resourceBytes`, in one record, and the sizes in which they
  /// are forwarded.
  private func portions(
    of count: Int, under resourceBytes: Int, _ change: (inout SamplerConfiguration) -> Void = { _ in }
  ) throws -> (sizes: [Int], kept: [KeptSpan], recordBytes: Int) {
    let world = World {
      $0.limits.forwardBytes = 900
      $0.limits.forwardBytesMax = 1000
      $0.policies = [Policy(name: "all", rule: .probabilistic(SamplingThreshold(probability: 0.01)))]
      change(&$0)
    }
    let attribute = TestAttribute("padding", .text(String(repeating: "r", count: resourceBytes)))
    let spans = (1...count).map { number in
      var span = TestSpan.child(UInt64(number), under: 999, of: TestSpan.lucky)
      span.resource = [attribute]
      return span
    }
    try world.send(spans, at: 0)
    let events = try world.pass(to: 30_000)
    #expect(events.keptIDs == (1...count).map(UInt64.init))
    return (sizes(events), events.kept, record(spans).count)
  }

  /// The surroundings of the spans take more than half of a portion's limit.
  @Test(arguments: [500, 600, 700]) func spansThatFitWithTheirResourceDo(resourceBytes: Int) throws {
    let (sizes, _, _) = try portions(of: 20, under: resourceBytes)
    #expect(sizes.allSatisfy { $0 <= 1000 }, "\(sizes)")
  }

  @Test func spansOfAResourceThatFitsNowhereStayTogether() throws {
    #expect(try portions(of: 20, under: 2000).sizes.count == 1)
  }

  /// A resource that leaves room for only one span per portion is not repeated for each of very many spans.
  @Test func aHostileResourceIsNotMultiplied() throws {
    let (sizes, _, recordBytes) = try portions(of: 500, under: 850)
    #expect(sizes.reduce(0, +) <= 10 * recordBytes)
    #expect(sizes.dropLast().allSatisfy { $0 <= 1000 })
    #expect(try #require(sizes.last) > 1000)
  }

  @Test func aResourceThatFitsNowhereSparesItsNeighbours() throws {
    let world = World {
      $0.limits.forwardBytes = 900
      $0.limits.forwardBytesMax = 1000
    }
    try world.send(.root(1, .error), at: 0)
    var spans = (2...9).map { TestSpan.child($0) }
    for place in 3...4 {
      spans[place].resource = [TestAttribute("padding", .text(String(repeating: "r", count: 2000)))]
    }
    let events = try world.send(spans, at: 0)
    #expect(events.keptIDs == (2...9).map(UInt64.init))
    let large = events.filter { if case .kept(_, _, let count) = $0 { count > 1000 } else { false } }
    #expect(large.map { $0.kept.map(\.id) } == [[5, 6]])
  }

  @Test func aSpanThatOnlyItsAttributesMakeTooLargeGoesWithoutThem() throws {
    let world = World {
      $0.limits.forwardBytes = 1000
      $0.limits.forwardBytesMax = 1000
      $0.annotate = .all
      $0.policies = [Policy(name: String(repeating: "n", count: 300), rule: .alwaysSample)]
    }
    var large = TestSpan.root()
    large.filling = 700
    let events = try world.send(large, at: 0) + world.send(.child(2), at: 0)
    #expect(sizes(events).allSatisfy { $0 <= 1000 })
    #expect(events.kept.first?.rest == large.bytesWithoutState)
    #expect((events.kept.last?.rest.count ?? 0) > 600, "the other span has them")
  }

  @Test func aLargeRecordOfAKeptTraceIsSplitToo() throws {
    let world = World { $0.limits.forwardBytes = 1000 }
    try world.send(.root(1, .error), at: 0)
    let events = try world.send((2...40).map { .child($0) }, at: 0)
    #expect(events.keptIDs == (2...40).map(UInt64.init))
    #expect(sizes(events).allSatisfy { $0 <= 1000 })
  }
}

@Suite struct RecordSizeTests {
  /// A name whose every byte takes six in a record.
  private func name(_ number: Int) -> String { "\(number)" + String(repeating: "\u{1}", count: 250) }

  private func decision(
    _ spans: [TestSpan], _ policies: [Policy] = Policy.defaults
  ) throws -> (bytes: Int, written: WrittenDecision, shortened: UInt64) {
    let world = World {
      $0.limits.decisionBytes = Limits.decisionBytesMin
      $0.policies = policies
    }
    let events = try world.send(spans, at: 0)
    let first = try #require(events.first)
    guard case .decision(_, let bytes?) = first, let written = first.written else {
      throw NoDecision()
    }
    return (bytes.count, written, world.counters.decisionsShortened)
  }

  private struct NoDecision: Error {}

  @Test func servicesAreLeftOutUntilADecisionFits() throws {
    var spans = (1...256).map { number in
      var span = TestSpan.child(UInt64(number), under: 999)
      span.service = name(number)
      return span
    }
    spans[0].status = .error
    let (bytes, written, shortened) = try decision(spans)
    #expect(bytes <= Limits.decisionBytesMin && bytes > Limits.decisionBytesMin - 2000)
    let services = try #require(written.services)
    #expect(services.count > 3)
    #expect(services.dropLast() == (1..<services.count).map { name($0) }[...])
    #expect(services.last == "(other services)")
    #expect(written.reasons == ["errors"] && written.spanCount == 256)
    #expect(shortened == 1)
  }

  /// Names at their longest, each byte escaped: nothing can be left out any more.
  @Test func theLargestDecisionFits() throws {
    let policies = (0..<64).map {
      Policy(name: "\($0)" + String(repeating: "\u{1}", count: 4000), rule: .alwaysSample)
    }
    var root = TestSpan.root(1, .error)
    root.service = name(1)
    root.name = name(2)
    let (bytes, written, shortened) = try decision([root], policies)
    #expect(bytes <= Limits.decisionBytesMin)
    #expect(written.reasons?.count == 1)
    #expect(written.policy?.utf8.count == 256)
    #expect(written.errorOrigin?.operation == name(2))
    #expect(shortened == 1)
  }

  @Test func aDecisionThatFitsIsWhole() throws {
    let (_, written, shortened) = try decision([.root(1, .error)])
    #expect(written.services == ["shop"])
    #expect(shortened == 0)
  }

  @Test func keysAreLeftOutUntilCountsFit() throws {
    let world = World {
      $0.limits.statsBytes = 1000
      $0.policies.append(Policy(name: "adaptive", rule: .adaptive))
      $0.baseline = BaselineConfiguration()
    }
    for number in 1...100 {
      var span = TestSpan.child(1, of: UInt64(number))
      span.service = "service \(number)"
      try world.send(span, at: 0)
    }
    // They are decided when time has passed, and their interval is over later.
    for time in [60_000, 80_000] as [Int64] {
      _ = world.ingest(nil, key: nil, at: .at(time))
    }
    let records = world.effects.outputs.compactMap { output -> [UInt8]? in
      guard case .count(_, let range) = output else { return nil }
      return Array(world.effects.bytes[range])
    }
    #expect(!records.isEmpty && records.allSatisfy { $0.count <= 1000 })
    let entries = try records.reduce(0) { try $0 + TrafficRecord(decoding: $1).entries.count }
    #expect(entries > 0 && entries < 100)
    #expect(world.counters.statsKeysLeftOut == UInt64(100 - entries))
  }
}

@Suite struct ReliefTests {
  @Test func theOldestAreDecidedFirst() throws {
    let world = World()
    for trace in 1...10 as ClosedRange<UInt64> { try world.send(.child(2, of: trace), at: Int64(trace)) }
    let each = world.usage.bufferedBytes / 10
    world.sampler.relieve(toBytes: 4 * each, into: &world.effects)
    let decisions = try world.take().decisions
    #expect(decisions.map(\.traceID.low) == [1, 2, 3, 4, 5, 6])
    #expect(decisions.allSatisfy { $0.trigger == .memory && $0.isFinal })
    #expect(world.usage.bufferedBytes == 4 * each)
    #expect(world.counters.tracesShed == 6)
    #expect(world.commitPoint?.safeOffset == Offset(6))
  }

  /// They are decided by all that is known, not dropped: the one with lucky randomness is kept.
  @Test func theVerdictIsTheUsualOne() throws {
    let world = World()
    try world.send(.child(2, of: TestSpan.lucky), at: 0)
    world.sampler.relieve(toBytes: 0, into: &world.effects)
    let events = try world.take()
    #expect(events.written.map(\.reasons) == [["baseline"]])
    #expect(events.keptIDs == [2])
  }

  /// A kept trace holds no spans: closing it would free nothing.
  @Test func keptTracesAreLeftOpen() throws {
    let world = World()
    try world.send(.root(1, of: 1, .error), at: 0)
    try world.send(.child(2, of: 2), at: 0)
    world.sampler.relieve(toBytes: 0, into: &world.effects)
    #expect(try world.take().decisions.map(\.traceID.low) == [2])
    #expect(world.usage.openTraces == 1)
    #expect(world.usage.bufferedBytes == 0)
  }

  @Test func enoughIsEnough() throws {
    let world = World()
    try world.send(.child(2), at: 0)
    world.sampler.relieve(toBytes: world.usage.bufferedBytes, into: &world.effects)
    #expect(try world.take().isEmpty)
  }
}

@Suite struct ServiceTests {
  @Test func eachServiceIsListedOnce() throws {
    let world = World { $0.dropped = .full }
    let spans = [3, 1, 3, 2, 1].enumerated().map { number, service in
      TestSpan(id: UInt64(number + 2), parent: 1, service: "s\(service)")
    }
    for span in spans { try world.send(span, at: 0) }
    #expect(try world.pass(to: 30_000).written.map(\.services) == [["s3", "s1", "s2"]])
  }

  @Test func aTraceListsOnlySoMany() throws {
    let world = World {
      $0.dropped = .full
      $0.limits.servicesPerTrace = 9
    }
    let spans = (1...20).map { TestSpan(id: UInt64($0), parent: 99, service: "s\($0)") }
    try world.send(spans, at: 0)
    #expect(try world.pass(to: 30_000).written.first?.services == (1...9).map { "s\($0)" })
  }

  @Test func servicesBeyondTheLimitShareOne() throws {
    let world = World {
      $0.dropped = .full
      $0.limits.services = 2
    }
    let spans = (1...5).map { TestSpan(id: UInt64($0), parent: 99, service: "s\($0)") }
    try world.send(spans, at: 0)
    #expect(try world.pass(to: 30_000).written.first?.services == ["s1", "s2", "(other services)"])
    #expect(world.counters.servicesBeyondLimit == 3)
    // The distinguished ones stay distinguished.
    try world.send(TestSpan(trace: 2, id: 1, service: "s2"), at: 30_000)
    #expect(try world.pass(to: 60_000).written.map(\.root?.service) == ["s2"])
  }

  @Test func aResourceWithoutAServiceIsNoService() throws {
    let world = World { $0.dropped = .full }
    try world.send(TestSpan(id: 1, service: ""), at: 0)
    let written = try #require(try world.pass(to: 5000).written.first)
    #expect(written.services == [])
    #expect(written.root == WrittenDecision.Root(service: "", operation: "GET /"))
  }

  @Test func longNamesAreCutAndStayReadable() throws {
    let world = World { $0.limits.nameBytes = 5 }
    try world.send(TestSpan(id: 1, service: "größer", name: String(repeating: "n", count: 900)), at: 0)
    let written = try #require(try world.pass(to: 5000).written.first)
    #expect(written.root?.operation == "nnnnn")
    #expect(written.root?.service == "grö\u{fffd}")
  }
}

/// Kept spans that are too large for their topic.
@Suite struct TooLargeSpanTests {
  private func world(_ adjust: (inout SamplerConfiguration) -> Void = { _ in }) -> World {
    World {
      $0.limits.forwardBytes = 1000
      $0.limits.forwardBytesMax = 2000
      $0.limits.sampledBytes = 2000
      adjust(&$0)
    }
  }

  private func large(_ span: TestSpan) -> TestSpan {
    var span = span
    span.filling = 5000
    return span
  }

  private func leftOut(_ events: [Event]) -> [UInt64] {
    events.flatMap { event -> [UInt64] in
      guard case .leftOut(_, let spans) = event else { return [] }
      return spans.map(\.id)
    }
  }

  /// Buffered with the trace, arriving after the early record, arriving after the final one.
  @Test func theDecisionCountsThem() throws {
    let world = world()
    try world.send(large(.child(2)), .child(3), at: 0)
    let early = try world.send(.child(4, .error), at: 100)
    #expect(early[0].written?.tooLargeSpans == 1, "the record comes first, and counts them")
    #expect(leftOut(early) == [2] && early.keptIDs == [3, 4])
    let later = try world.send(large(.root()), .child(5), at: 200)
    #expect(leftOut(later) == [1] && later.keptIDs == [5])
    let final = try #require(try world.pass(to: 6000).written.first)
    #expect(final.final && final.spanCount == 5 && final.tooLargeSpans == 2 && final.truncatedSpans == 0)
    #expect(leftOut(try world.send(large(.child(6)), at: 7000)) == [6])
    #expect(world.counters.spansTooLarge == 3 && world.counters.spansKept == 3)
    #expect(world.counters.spansKept + world.counters.spansTooLarge == world.counters.spansRead)
  }

  @Test func soDoesTheRecordOfATraceThatIsKeptAtTheEnd() throws {
    let world = world()
    try world.send(large(.child(2, of: TestSpan.lucky)), .root(of: TestSpan.lucky), at: 0)
    let events = try world.pass(to: 5000)
    #expect(events[0].written?.tooLargeSpans == 1)
    #expect(leftOut(events) == [2] && events.keptIDs == [1])
  }

  /// A dropped trace has nothing to leave out, and a skeleton counts both.
  @Test func otherTracesCountWhatIsTheirs() throws {
    let dropped = world { $0.dropped = .full }
    try dropped.send(large(.child(2)), .root(), at: 0)
    #expect(try dropped.pass(to: 5000).written.map(\.tooLargeSpans) == [0])
    let skeleton = world { $0.limits.spansPerTrace = 2 }
    try skeleton.send(.root(), .child(2), at: 0)
    try skeleton.send(.child(3), large(.child(4, .error)), at: 0)
    let final = try #require(try skeleton.pass(to: 5000).written.first)
    #expect(final.truncatedSpans == 1 && final.tooLargeSpans == 1)
  }

  /// What an earlier owner has left out is counted again, but not written again.
  @Test func aTakeoverCountsThemAgain() throws {
    let world = world()
    var records = try world.send(.root(1, .error), at: 0)
    records += try world.send(large(.child(2)), at: 100)
    let point = try #require(world.commitPoint)
    let past = try records.compactMap { event -> RestoredVerdict? in
      guard case .decision(_, let bytes?) = event else { return nil }
      return try RestoredVerdict(record: bytes)
    }
    let next = self.world()
    next.sampler.restore(point, past: past)
    #expect(try next.send(.root(1, .error), at: 0).isEmpty)
    #expect(try next.send(large(.child(2)), at: 100).isEmpty)
    #expect(try next.send(.child(3), at: 200).keptIDs == [3])
    let final = try #require(try next.pass(to: 6000).written.first)
    #expect(final.spanCount == 3 && final.tooLargeSpans == 1)
    #expect(next.counters.spansTooLarge == 0 && next.counters.spansReplayed == 2)
  }
}
