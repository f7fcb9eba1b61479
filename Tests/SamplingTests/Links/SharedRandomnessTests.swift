// Stories that probabilities keep as a whole or not at all: traces share the randomness of what they link to.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct SharedRandomnessTests {
  private let lucky = TestSpan.lucky
  private let unlucky = TestSpan.unlucky

  private func kept(_ span: TestSpan, sharing: Bool = true) throws -> [KeptSpan] {
    let world = World.linked { $0.sharesRandomness = sharing }
    try world.send(span, at: 1000)
    return try world.pass(to: 40_000).kept
  }

  @Test func aTraceIsKeptIfTheLinkedOneIs() throws {
    let span = TestSpan.root(1, of: unlucky).linking(to: lucky)
    let kept = try kept(span)
    // The spans state it, for those who sample them next.
    #expect(kept.map(\.traceState) == ["ot=th:fd70a;rv:ffffffffffffff"])
    #expect(try self.kept(span, sharing: false).isEmpty)
    #expect(try self.kept(TestSpan.root(1, of: lucky).linking(to: unlucky)).isEmpty)
  }

  @Test func theLinksTracestateComesFirst() throws {
    let span = TestSpan.root(1, of: unlucky).linking(to: unlucky + 1, state: "ot=rv:fffffffffffffe")
    #expect(try kept(span).map(\.traceState) == ["ot=th:fd70a;rv:fffffffffffffe"])
  }

  /// Of several, that with the smallest id, in whatever order they come.
  @Test func theSmallestIDDecides() throws {
    #expect(try kept(TestSpan.root(1, of: lucky - 1).linking(to: lucky, 5)).isEmpty)
    #expect(try kept(TestSpan.root(1, of: lucky - 1).linking(to: 5, lucky)).isEmpty)
  }

  /// A randomness of its own stays; so does that of a trace that head sampling has thinned.
  @Test func itsOwnRandomnessStays() throws {
    var given = TestSpan.root(1, of: unlucky).linking(to: unlucky + 1)
    given.traceState = "ot=rv:fffffffffffffe"
    #expect(try kept(given).map(\.traceState) == ["ot=th:fd70a;rv:fffffffffffffe"])
    var thinned = TestSpan.root(1, of: lucky).linking(to: unlucky)
    thinned.traceState = "ot=th:8"
    #expect(try kept(thinned).map(\.traceState) == ["ot=th:fd70a"])
  }

  @Test func lateSpansStateItToo() throws {
    let world = World.linked()
    try world.send(TestSpan.root(1, of: unlucky).linking(to: lucky), at: 1000)
    try world.pass(to: 40_000)
    let late = try world.send(.child(2, of: unlucky), at: 41_000).kept
    #expect(late.map(\.traceState) == ["ot=th:fd70a;rv:ffffffffffffff"])
  }

  /// What it was decided by stays, whatever late spans link to, and if its note is forgotten.
  @Test func lateLinksChangeNothing() throws {
    let world = World.linked { $0.tracesMax = 1 }
    try world.send(TestSpan.root(1, of: unlucky).linking(to: lucky), at: 1000)
    try world.pass(to: 40_000)
    for number in 2...3 as ClosedRange<UInt64> {
      let late = try world.send(TestSpan.child(number, of: unlucky).linking(to: 0), at: 41_000).kept
      #expect(late.map(\.traceState) == ["ot=th:fd70a;rv:ffffffffffffff"])
      try world.send(TestSpan.root(9, of: 0x90 + number).linking(to: 0x99), at: 41_000)
    }
    #expect(world.counters.linksForgotten > 0)
  }

  /// Two links to the same trace: what one states comes first, in whatever order they come.
  @Test func whatALinkStatesComesFirst() throws {
    let links = [TestLink(trace: lucky - 1), TestLink(trace: lucky - 1, state: "ot=rv:00000000000001")]
    for links in [links, links.reversed()] {
      var span = TestSpan.root(1, of: lucky)
      span.linked = links
      #expect(try kept(span).isEmpty)
    }
  }

  @Test func whatIsReadFromTheLogKeepsItsOwn() throws {
    let world = World.linked({ _ in }) { $0.windows.buffer = .log }
    try world.send(TestSpan.root(1, of: unlucky).linking(to: lucky), at: 1000)
    #expect(try world.pass(to: 40_000).decisions.map(\.isKept) == [false])
  }

  @Test func whatIsCertainStatesNone() throws {
    let world = World.linked()
    let kept = try world.send(TestSpan.root(1, of: unlucky, .error).linking(to: lucky), at: 1000).kept
    #expect(kept.map(\.traceState) == ["ot=th:0"])
  }
}
