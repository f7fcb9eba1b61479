// Input: malformed records, keys, and records of several traces.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct BadRecordTests {
  private func read(_ value: [UInt8]?, _ world: World = World()) -> MalformedInput.Reason? {
    let error = world.ingest(value, key: nil, at: .at(0))
    #expect(world.counters.recordsMalformed == (error == nil ? 0 : 1))
    #expect(world.counters.recordsRead == 1)
    if error != nil {
      #expect(world.usage.openTraces == 0)
      #expect(world.counters.spansRead == 0)
    }
    return error?.reason
  }

  @Test func theReasonIsSaid() {
    #expect(read(nil) == .tombstone)
    #expect(read([]) == .empty)
    #expect(read([0x0a, 0x05, 0x01]) == .lengthPastEnd)
    #expect(read(record([])) == .empty)
    #expect(read([0x0a, 0x00]) == .noSpans)
    #expect(read(record([.root()])) == nil)
  }

  /// A record truncated in its last span delivers none of its spans.
  @Test func nothingIsTakenFromABrokenRecord() {
    let whole = record([.root(of: 1), .root(of: 2), .root(of: 3)])
    for length in 0..<whole.count { #expect(read(Array(whole[..<length])) != nil) }
  }

  @Test func tooLargeIsTooLarge() {
    let bytes = record([.root()])
    #expect(read(bytes, World { $0.limits.recordBytes = bytes.count }) == nil)
    #expect(read(bytes, World { $0.limits.recordBytes = bytes.count - 1 }) == .recordTooLarge)
  }

  @Test func takingApartHasALimit() {
    let bytes = record((1...50).map { .root(of: $0) })
    #expect(read(bytes, World { $0.limits.splitBytes = 1000 }) == .splitTooLarge)
    #expect(read(bytes) == nil)
  }

  /// The clock advances all the same: a run of malformed records must not stop time.
  @Test func timePasses() throws {
    let world = World()
    try world.send(.child(2), at: 0)
    _ = world.ingest(nil, key: nil, at: .at(30_000))
    #expect(try world.take().decisions.count == 1)
    try world.send(.child(2, of: 2), at: 30_000)
    world.sampler.skip(
      offset: Offset(world.offset), timestamp: .at(60_000), into: &world.effects)
    #expect(try world.take().decisions.count == 1)
  }
}

@Suite struct KeyTests {
  private func counters(key: [UInt8]?, _ spans: TestSpan...) -> SamplerCounters {
    let world = World()
    _ = world.ingest(record(spans), key: key, at: .at(0))
    return world.counters
  }

  private let root = TestSpan.root()

  @Test func theTraceIDIsTheRightKey() {
    let raw = root.traceID.high.bigEndianBytes + root.traceID.low.bigEndianBytes
    for key in [raw, Array("\(root.traceID)".utf8), Array("\(root.traceID)".uppercased().utf8)] {
      let counters = counters(key: key, root)
      #expect(counters.recordsUnkeyed == 0)
      #expect(counters.recordsMisrouted == 0)
    }
  }

  @Test func otherKeysAreNoKeys() {
    for key in [nil, [], Array("shop".utf8), [UInt8](repeating: 0x7a, count: 32)] as [[UInt8]?] {
      let counters = counters(key: key, root)
      #expect(counters.recordsUnkeyed == 1)
      #expect(counters.recordsMisrouted == 0)
    }
  }

  @Test func anotherTracesKeyIsMisrouted() {
    let key = Array("\(root.traceID)".utf8)
    #expect(counters(key: key, .root(of: 9)).recordsMisrouted == 1)
    #expect(counters(key: key, root, .root(of: 8), .root(of: 9)).recordsMisrouted == 1)
    #expect(counters(key: key, root, .child(2)).recordsMisrouted == 0)
  }
}

@Suite struct RejectedSpanTests {
  /// Two spans without ids, in a resource of their own.
  private let bad: [UInt8] = [0x0a, 6, 0x12, 4, 0x12, 0, 0x12, 0]

  private func rejected(_ effects: Effects) -> [RejectedSpans] {
    effects.outputs.compactMap { if case .reject(let rejected, _) = $0 { rejected } else { nil } }
  }

  /// Good spans are decided as if the others were missing, and are forwarded without them.
  @Test func theOthersAreTaken() throws {
    let world = World()
    let plain = World()
    for share: [TestSpan] in [
      [.root(1, of: 1, .error), .root(1, of: 2), .child(2, of: 1)], [.root(1, of: 3, .error)],
      [.root(1, of: 4), .child(2, of: 3)],
    ] {
      #expect(world.ingest(record(share) + bad, key: nil, at: .at(0)) == nil)
      #expect(rejected(world.effects).map(\.count) == [2])
      #expect(plain.ingest(record(share), key: nil, at: .at(0)) == nil)
      let (events, expected) = (try world.take(), try plain.take())
      #expect(events.keptIDs == expected.keptIDs && !events.keptIDs.isEmpty || share.count == 2)
      #expect(events.written.map(\.traceId) == expected.written.map(\.traceId))
    }
    #expect(world.counters.spansRejected == 6 && plain.counters.spansRejected == 0)
    #expect(world.counters.spansRead == plain.counters.spansRead)
    #expect(world.counters.recordsMalformed == 0)
    #expect(world.usage.bufferedBytes == plain.usage.bufferedBytes)
  }

  @Test func aRecordOfNothingElseIsMalformed() {
    let world = World()
    #expect(world.ingest(bad, key: nil, at: .at(0))?.reason == .identifierMissing)
    #expect(world.effects.outputs.isEmpty)
    #expect(world.counters.recordsMalformed == 1 && world.counters.spansRejected == 0)
  }

  /// What was processed before the last commit is not forwarded again.
  @Test func aRecordThatIsReadAgainGivesNone() throws {
    let first = World()
    #expect(first.ingest(record([.child(2)]) + bad, key: nil, at: .at(0)) == nil)
    let point = try #require(first.commitPoint)
    #expect(point.safeOffset == Offset(0) && point.highWater == Offset(1))
    let second = World()
    second.sampler.restore(point, isWhole: true)
    #expect(second.ingest(record([.child(2)]) + bad, key: nil, at: .at(0)) == nil)
    #expect(second.ingest(record([.child(3)]) + bad, key: nil, at: .at(1)) == nil)
    #expect(rejected(second.effects).map(\.count) == [2])
    #expect(second.counters.spansRejected == 2)
  }
}

@Suite struct MixedRecordTests {
  @Test func eachTraceGetsItsOwnSpans() throws {
    let world = World()
    let events = try world.send(
      .root(1, of: 1), .root(1, of: 2, .error), .child(2, of: 1), .child(2, of: 2), .child(3, of: 3), at: 0)
    #expect(events.keptIDs == [1, 2])
    #expect(events.decisions.map(\.traceID.low) == [2])
    #expect(world.usage.openTraces == 3)
    let final = try world.pass(to: 30_000).decisions
    #expect(final.map(\.traceID.low) == [1, 2, 3])
    #expect(final.map(\.spanCount) == [2, 2, 1])
    #expect(final.map(\.firstOffset) == [Offset(0), Offset(0), Offset(0)])
  }

  /// Resources and scopes go with each trace's spans.
  @Test func eachTraceKnowsItsServices() throws {
    let world = World { $0.dropped = .full }
    try world.send(
      TestSpan(trace: 1, id: 1, service: "a"), TestSpan(trace: 2, id: 1, service: "a"),
      TestSpan(trace: 2, id: 2, parent: 1, service: "b"), at: 0)
    #expect(try world.pass(to: 5000).written.map(\.services) == [["a"], ["a", "b"]])
  }

  /// One record holds an open trace, a late span and a new one.
  @Test func traceByTraceIsAsItsOwnState() throws {
    let world = World()
    try world.send(.root(1, of: 1), at: 0)
    try world.pass(to: 5000)
    try world.send(.child(2, of: 2), at: 5000)
    try world.send(.child(2, of: 1), .child(3, of: 2), .child(2, of: 3), at: 5000)
    #expect(world.counters.lateSpansDropped == 1)
    #expect(world.counters.tracesOpened == 3)
    #expect(try world.pass(to: 35_000).decisions.map(\.spanCount) == [2, 1])
  }
}
