// Every small world: all traces of up to four spans, in every order of arrival, with every pattern of
// silences.

import Testing

@testable import OTLP
@testable import Sampling

/// A trace of one root, perhaps, and some children of it or of each other.
struct SmallTrace {
  var spans: [TestSpan]

  var hasError: Bool { spans.contains { $0.status == .error } }
  var isSlow: Bool { spans.contains { $0.parent == 0 && $0.end - $0.start >= 2000 } }

  /// Every choice of a root (none, usual, slow, failed) and up to three children (usual, failed), under the
  /// root or in a chain; up to `count` spans.
  static func all(upTo count: Int) -> [SmallTrace] {
    let roots: [TestSpan?] = [nil, .root(), .root(lasting: 2500), .root(1, .error)]
    var traces: [SmallTrace] = []
    for root in roots {
      for children in 0...3 where children + (root == nil ? 0 : 1) <= count && (root != nil || children > 0) {
        for failed in 0..<(1 << children) {
          for isChain in children > 1 ? [false, true] : [false] {
            let spans = (0..<children).map { number in
              TestSpan.child(
                UInt64(number + 2), under: isChain ? UInt64(number + 1) : 1,
                failed & 1 << number != 0 ? .error : .unset)
            }
            traces.append(SmallTrace(spans: (root.map { [$0] } ?? []) + spans))
          }
        }
      }
    }
    return traces
  }
}

@Suite struct SmallWorldTests {
  /// Without silences nothing is late, and the order of arrival must not matter to the verdict.
  @Test func theOrderOfArrivalDoesNotMatter() throws {
    for trace in SmallTrace.all(upTo: 4) {
      var first: Verdict?
      for order in trace.spans.permutations {
        let world = World { $0.dropped = .full }
        var events: [Event] = []
        for span in order { events += try world.send(span, at: 0) }
        events += try world.pass(to: 30_000)
        try check(events, of: trace, in: world)
        var verdict = try #require(finals(events).first)
        verdict.lastOffset = 0
        #expect(verdict == first ?? verdict)
        first = verdict
        #expect(events.keptIDs.sorted() == (verdict.isKept ? trace.spans.map(\.id) : []))
      }
    }
  }

  /// All spans in one record give the same trace as each in its own.
  @Test func howRecordsAreCutDoesNotMatter() throws {
    for trace in SmallTrace.all(upTo: 4) {
      let single = World { $0.dropped = .full }
      let mixed = World { $0.dropped = .full }
      var events: [Event] = []
      for span in trace.spans { events += try single.send(span, at: 0) }
      events += try single.pass(to: 30_000)
      var atOnce = try mixed.send(trace.spans, at: 0)
      atOnce += try mixed.pass(to: 30_000)
      try check(atOnce, of: trace, in: mixed)
      var verdict = try #require(finals(events).first)
      verdict.lastOffset = 0
      #expect(finals(atOnce) == [verdict])
      #expect(events.kept.map(\.rest) == atOnce.kept.map(\.rest))
    }
  }

  /// With silences that end the wait after the root, or the window, before any of the spans; and a second
  /// trace whose spans arrive in between.
  @Test(arguments: 1...4) func silencesLoseNothing(count: Int) throws {
    let silences: [Int64] = [0, 6000, 31_000]
    for trace in SmallTrace.all(upTo: count) where trace.spans.count == count {
      for order in trace.spans.permutations {
        for pattern in 0..<pow(3, count - 1) {
          let world = World { $0.dropped = .full }
          var events: [Event] = []
          var time: Int64 = 0
          var rest = pattern
          for (number, span) in order.enumerated() {
            if number > 0 {
              time += silences[rest % 3]
              rest /= 3
              events += try world.pass(to: time)
            }
            let other = TestSpan.child(UInt64(number + 1), under: 50, of: 77 + UInt64(number / 2))
            events += try world.send(number % 2 == 0 ? [span, other] : [other, span], at: time)
          }
          events += try world.pass(to: time + 30_000)
          try check(events, of: trace, in: world)
        }
      }
    }
  }

  private func pow(_ base: Int, _ exponent: Int) -> Int {
    (0..<exponent).reduce(1) { product, _ in product * base }
  }

  /// The final decisions on the trace in question.
  private func finals(_ events: [Event]) -> [Verdict] {
    events.compactMap { event in
      guard let decision = event.decision, decision.isFinal, decision.traceID.low == TestSpan.unlucky,
        case .verdict(let verdict) = ReferenceEvent(event)
      else { return nil }
      return verdict
    }
  }

  /// What must hold in every world, whatever the order of arrival.
  private func check(_ events: [Event], of trace: SmallTrace, in world: World) throws {
    #expect(world.usage.openTraces == 0)
    #expect(world.usage.bufferedBytes == 0)
    let ids = Set(events.decisions.map(\.traceID))
    for id in ids {
      #expect(events.decisions.filter { $0.traceID == id && $0.isFinal }.count == 1)
      // Only late decisions follow the final one.
      let all = events.decisions.filter { $0.traceID == id }
      #expect(all.drop { !$0.isFinal }.dropFirst().allSatisfy { $0.isLate && !$0.isKept })
    }
    let verdict = try #require(finals(events).first)
    var kept: [UInt64] = []
    var isAnnounced = false
    for event in events {
      if let decision = event.decision, decision.traceID.low == TestSpan.unlucky, decision.isKept {
        isAnnounced = true
      }
      guard case .kept(let traceID, let spans, _) = event, traceID.low == TestSpan.unlucky else { continue }
      // A trace's first spans are never forwarded before the decision that keeps it.
      #expect(isAnnounced)
      kept += spans.map(\.id)
    }
    // All spans or none, each once, late ones included.
    #expect(kept.sorted() == (verdict.isKept ? trace.spans.map(\.id).sorted() : []))
    if verdict.errorCount > 0 { #expect(verdict.isKept) }
    // What a policy would have kept it for is reported, once per policy.
    let late = events.written.filter { $0.late && $0.traceId == trace.spans[0].traceID.description }
    let wanted = (trace.hasError ? ["errors"] : []) + (trace.isSlow ? ["slow"] : [])
    #expect(late.flatMap { $0.reasons ?? [] }.sorted() == (verdict.isKept ? [] : wanted))
    for policy in ["errors", "slow"] {
      let isMissed = !verdict.isKept && wanted.contains(policy)
      #expect(world.counters.missedByPolicy[policy] == (isMissed ? 1 : 0))
    }
  }
}
