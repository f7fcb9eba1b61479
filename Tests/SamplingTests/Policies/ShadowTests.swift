// Shadow policies: they are asked and decide nothing.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

private let all = Policy(name: "all", rule: .alwaysSample)
private let failed = Policy(name: "failed", rule: .drop([.statusCode([.error])]))
private let checkout = Policy(
  name: "checkout", rule: .stringAttribute(key: "http.route", values: ["/checkout"]))

/// Everything that is written, with the field that names shadow policies taken out.
private func output(_ events: [Event]) -> [[UInt8]] {
  events.map { event in
    switch event {
    case .decision(_, let bytes):
      var text = String(decoding: bytes ?? [], as: UTF8.self)
      if let start = text.firstRange(of: #","shadow":["#),
        let end = text[start.upperBound...].firstIndex(of: "]")
      {
        text.removeSubrange(start.lowerBound...end)
      }
      return Array(text.utf8)
    case .kept(_, let spans, let count):
      return spans.flatMap { $0.id.bigEndianBytes + Array($0.traceState.utf8) + $0.rest } + [
        UInt8(count & 0xff)
      ]
    case .leftOut(_, let spans): return spans.flatMap { $0.id.bigEndianBytes }
    }
  }
}

@Suite struct ShadowTests {
  private func world(_ dropped: DroppedRecords = .compact, _ shadow: Policy...) -> World {
    World {
      $0.shadow = shadow
      $0.dropped = dropped
    }
  }

  private func events(_ world: World, _ spans: TestSpan..., until time: Int64 = 5000) throws -> [Event] {
    try world.send(spans, at: 0) + world.pass(to: time)
  }

  /// Beside policies that only veto, every other one decides what is kept.
  @Test func besideVetoesAloneEveryOtherPolicyDecides() throws {
    let veto = Policy(
      name: "veto", rule: .stringAttribute(key: "service.name", values: ["other"], inverted: true))
    let slow = Policy(name: "slow", rule: .latency(threshold: .seconds(3), upper: nil))
    func world(_ adjust: (inout SamplerConfiguration) -> Void) -> World {
      World {
        ($0.policies, $0.invertDecisions, $0.dropped) = ([veto], true, .full)
        adjust(&$0)
      }
    }
    for policy in [slow, failed] {
      let with = try events(world { $0.policies.append(policy) }, .root())
      let told = try events(world { $0.shadow = [policy] }, .root())
      #expect(with.written.last?.verdict == "drop" && told.written.last?.verdict == "keep")
      #expect(told.written.last?.shadow == [policy.name])
    }
  }

  /// What only shadow policies had asked of earlier traces is as unknown as if there had been none.
  @Test func aPromotedShadowPolicyKnowsNothingOfEarlierTraces() throws {
    func run(_ shadow: [Policy]) throws -> [[UInt8]] {
      let both = Policy(name: "both", rule: .and([.statusCode([.error]), .spanCount(least: 2, most: nil)]))
      let world = World { ($0.policies, $0.shadow, $0.dropped) = ([both], shadow, .full) }
      var root = TestSpan.root()
      root.attributes = [TestAttribute("http.route", .text("/checkout"))]
      var events = try self.events(world, root)
      var configuration = world.sampler.configuration
      configuration.shadow = []
      configuration.policies.append(
        Policy(name: "promoted", rule: .and([checkout.rule, .statusCode([.error])])))
      world.sampler.adopt(configuration)
      events += try world.send(.child(2, .error), at: 6000)
      events += try world.pass(to: 30_000)
      return output(events)
    }
    #expect(try run([checkout]) == run([]))
  }

  @Test func aDroppedTraceNamesThoseThatWouldKeepIt() throws {
    var span = TestSpan.root()
    span.attributes = [TestAttribute("http.route", .text("/checkout"))]
    let world = world(.compact, all, failed, checkout)
    let end = try events(world, span, .root(9, of: 5))
    #expect(end.written.map(\.verdict) == ["drop", "drop"])
    #expect(end.written.map(\.shadow) == [["all", "checkout"], ["all"]])
    #expect(end.decisions.map(\.shadow) == [0b101, 0b001])
    #expect(world.counters.tracesDropped == 2 && world.counters.spansKept == 0)
  }

  @Test func aKeptTraceNamesThoseThatWouldDropIt() throws {
    let end = try events(world(.compact, all, failed), .root(1, .error), .child(2))
    // Kept at once: they are asked when the window closes.
    #expect(end.written.map(\.final) == [false, true])
    #expect(end.written.map(\.shadow) == [nil, ["failed"]])
    #expect(end.written.map(\.adjustedCount) == [1, 1])
  }

  @Test func whereTheyAgreeNothingIsSaid() throws {
    let end = try events(world(.full, all, failed), .root(of: TestSpan.lucky))
    #expect(end.written.map(\.verdict) == ["keep"])
    #expect(end.written.map(\.shadow) == [nil])
  }

  /// Neither can a policy that samples undo a veto, nor one that drops what went over a limit.
  @Test func someVerdictsNoPolicyWouldChange() throws {
    let vetoed = World {
      $0.policies.append(Policy(name: "noise", rule: .drop([.alwaysSample])))
      $0.shadow = [all]
    }
    #expect(try events(vetoed, .root()).written.map(\.shadow) == [nil])
    #expect(vetoed.counters.shadow.map(\.droppedMatching) == [1])
    #expect(vetoed.counters.shadow.map(\.wouldKeep.traces) == [0])
    let limited = World {
      $0.limits.spansPerTrace = 1
      $0.shadow = [Policy(name: "any", rule: .drop([.alwaysSample]))]
    }
    #expect(try events(limited, .root(), .child(2)).written.map(\.shadow) == [nil, nil])
    #expect(limited.counters.shadow.map(\.keptMatching) == [1])
  }

  @Test func theyAreCounted() throws {
    let world = world(.none, all, failed)
    _ = try events(world, .root(of: 1), .child(2, of: 1), .root(of: 3, .error), .root(of: TestSpan.lucky))
    let counts = world.counters.shadow
    #expect(counts.map(\.policy) == ["all", "failed"])
    #expect(counts.map(\.keptMatching) == [2, 1] && counts.map(\.keptOthers) == [0, 1])
    #expect(counts.map(\.droppedMatching) == [1, 0] && counts.map(\.droppedOthers) == [0, 1])
    #expect(counts.map(\.wouldKeep.traces) == [1, 0] && counts.map(\.wouldKeep.spans) == [2, 0])
    #expect(counts.map(\.wouldDrop.traces) == [0, 1] && counts.map(\.wouldDrop.spans) == [0, 1])
    #expect(counts[0].wouldKeep.bytes > 0 && counts[1].wouldDrop.bytes > 0)
    var sum = SamplerCounters()
    sum.add(world.counters)
    sum.add(world.counters)
    #expect(sum.shadow.map(\.keptMatching) == [4, 2] && sum.shadow[0].wouldKeep.spans == 4)
  }

  /// Each is asked as if it were alone, and budgets are its own.
  @Test func theirBudgetsAreTheirOwn() throws {
    func limit(_ name: String) -> Policy {
      Policy(name: name, rule: .rateLimiting(RateLimit(perSecond: 1, burst: 2)))
    }
    let world = World {
      $0.policies = [limit("real")]
      $0.shadow = [limit("shadow"), limit("other")]
      $0.dropped = .compact
    }
    let end = try events(world, .root(of: 1), .root(of: 2), .root(of: 3))
    #expect(end.written.map(\.verdict) == ["keep", "keep", "drop"])
    #expect(end.written.map(\.shadow) == [nil, nil, nil], "both buckets are empty by then")
    #expect(world.counters.shadow.map(\.keptMatching) == [2, 2])
    #expect(world.counters.shadow.map(\.droppedOthers) == [1, 1])
  }

  // MARK: The ledger

  /// A dropped trace has a decision record instead of an entry, at a limited rate. Each has one final
  /// verdict.
  @Test func theLedgerLeavesSomeToDecisions() throws {
    let world = World {
      $0.windows.decisionWaitAfterRoot = .seconds(1)
      $0.dropped = .ledger
      $0.shadow = [all]
    }
    for trace in 1...50 as ClosedRange<UInt64> { try world.send(.root(of: trace), at: 0) }
    let end = try world.pass(to: 1000)
    #expect(end.decisions.count == 50)
    #expect(end.written.count == 20 && end.written.allSatisfy { $0.shadow == ["all"] && $0.reasons == [] })
    let ledger = try world.takeLedger()
    #expect(ledger.count == 30)
    #expect(
      Set(ledger.map(\.traceID.low)).isDisjoint(
        with: end.written.map { UInt64($0.traceId.suffix(16), radix: 16)! }))
    #expect(world.counters.shadow[0].wouldKeep.traces == 50)
    // A second later there may be ten more.
    for trace in 51...100 as ClosedRange<UInt64> { try world.send(.root(of: trace), at: 1000) }
    #expect(try world.pass(to: 2000).written.count == 10)
  }

  @Test func withoutADifferenceTheLedgerHasIt() throws {
    let end = try events(world(.ledger, failed), .root())
    #expect(end.written.isEmpty && end.decisions.count == 1)
  }

  // MARK: Adoption and recovery

  @Test func theyAreAdopted() throws {
    let world = world(.compact, failed)
    var span = TestSpan.root()
    span.attributes = [TestAttribute("http.route", .text("/checkout"))]
    try world.send(span, at: 0)
    var configuration = world.sampler.configuration
    configuration.shadow = [checkout, failed]
    world.sampler.adopt(configuration)
    // Spans that arrived before are asked too.
    #expect(try world.pass(to: 5000).written.map(\.shadow) == [["checkout"]])
    #expect(world.counters.shadow.map(\.policy) == ["checkout", "failed"])
    configuration.shadow = []
    world.sampler.adopt(configuration)
    try world.send(.root(of: 5), at: 5000)
    #expect(try world.pass(to: 10_000).written.map(\.shadow) == [nil])
    #expect(world.counters.shadow.map(\.policy) == ["checkout", "failed"], "counters never go back")
    #expect(world.commitPoint?.shadowLevels == [])
  }

  /// Budgets of shadow policies, and of their records, continue with the next owner. They don't with other
  /// policies, and then change nothing of the budgets that decide.
  @Test func theirLevelsAreCommitted() throws {
    func adjust(_ configuration: inout SamplerConfiguration) {
      configuration.policies.append(
        Policy(name: "real", rule: .bytesLimiting(RateLimit(perSecond: 1, burst: 7))))
      configuration.shadow = [
        Policy(name: "limit", rule: .rateLimiting(RateLimit(perSecond: 1, burst: 9)))
      ]
      configuration.dropped = .ledger
    }
    let first = World(adjust)
    _ = try events(first, .root(of: 1), .root(of: 2))
    let point = try #require(first.commitPoint)
    #expect(point.shadowLevels == [18, 0, 7, 0])
    let read = try #require(CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata))
    #expect(read == point)
    let second = World(adjust)
    second.sampler.restore(read)
    #expect(second.commitPoint?.shadowLevels == [18, 0, 7, 0])
    let third = World {
      adjust(&$0)
      $0.shadow.append(Policy(name: "more", rule: .rateLimiting(RateLimit(perSecond: 1, burst: 9))))
    }
    third.sampler.restore(read)
    #expect(third.commitPoint?.shadowLevels == [18, 0, 9, 0, 9, 0])
    #expect(third.commitPoint?.budgetLevels == point.budgetLevels)
    for wrong in ["shadow=1", "shadow=1:-2", "shadow=", "shadow=1:2,shadow=1:2"] {
      #expect(CommitPoint(safeOffset: Offset(1), metadata: "5;9;1;2;0;;;\(wrong)") == nil, "\(wrong)")
    }
  }

  /// Cut anywhere and resumed, they say what they would have said.
  @Test(arguments: 1...4 as ClosedRange<UInt64>, [DroppedRecords.full, .ledger])
  func whatWasCutSaysTheSame(_ seed: UInt64, _ dropped: DroppedRecords) throws {
    func make() -> World {
      World {
        $0.shadow = ReferenceSampler.shadow + [all]
        $0.dropped = dropped
        $0.windows.lateWindow = .seconds(600)
      }
    }
    let steps = randomStream(seed: seed, steps: 400).compactMap { step -> (spans: [TestSpan], time: Int64)? in
      guard case .spans(let spans, let time) = step else { return nil }
      return (spans, time)
    }
    func read(_ part: ArraySlice<(spans: [TestSpan], time: Int64)>, _ world: World) throws -> [String] {
      try part.flatMap { step in
        try world.send(step.spans, at: step.time).written.map {
          "\($0.traceId) \($0.verdict) \($0.shadow ?? [])"
        }
      }
    }
    let whole = make()
    var past: [RestoredVerdict] = []
    var named = 0
    for (number, step) in steps.enumerated() {
      for event in try whole.send(step.spans, at: step.time) {
        guard case .decision(_, let bytes?) = event else { continue }
        past.append(try RestoredVerdict(record: bytes))
        if event.written?.shadow != nil { named += 1 }
      }
      let ledger = try whole.takeLedger()
      past.insert(contentsOf: ledger, at: past.count { $0.earliestStart != nil })
      guard number % 61 == 60, let point = whole.commitPoint else { continue }
      let other = make()
      _ = try read(steps[...number], other)
      let again = make()
      again.sampler.restore(
        try #require(CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata)), past: past)
      again.offset = point.safeOffset.value
      _ = try read(steps[Int(point.safeOffset.value)...number], again)
      #expect(try read(steps[(number + 1)...], again) == read(steps[(number + 1)...], other), "\(number)")
    }
    #expect(named > 20)
  }

  // MARK: They decide nothing

  /// With shadow policies of every kind, everything else is written as without them.
  @Test(arguments: 1...4) func theOutputIsTheSame(seed: UInt64) throws {
    func run(_ shadow: [Policy]) throws -> (output: [[UInt8]], world: World) {
      let world = World {
        $0.limits.spansPerTrace = 6
        $0.windows.recallWindow = .seconds(60)
        $0.policies.append(Policy(name: "limit", rule: .rateLimiting(RateLimit(perSecond: 1, burst: 9))))
        $0.shadow = shadow
        $0.dropped = .full
      }
      var events: [Event] = []
      for step in randomStream(seed: seed, steps: 1500) {
        switch step {
        case .spans(let spans, let time): events += try world.send(spans, at: time)
        case .time(let time): events += try world.pass(to: time)
        case .relief:
          world.sampler.relieve(toBytes: 0, into: &world.effects)
          events += try world.take()
        }
      }
      return (output(events), world)
    }
    let without = try run([])
    let hash = HashSampling(salt: "s", percentage: 50)
    let with = try run(
      ReferenceSampler.shadow + [
        all, failed, checkout, Policy(name: "half", rule: .hashed(hash)),
        Policy(name: "share", rule: .probabilistic(SamplingThreshold(probability: 0.5))),
        Policy(
          name: "parts",
          rule: .composite(
            Composite(spansPerSecondMax: 9, parts: [.init(rule: .alwaysSample, spansPerSecond: 5)]))),
      ])
    #expect(with.output == without.output)
    var counters = with.world.counters
    #expect(
      counters.shadow.count == 10
        && counters.shadow.allSatisfy {
          $0.wouldKeep.traces + $0.wouldDrop.traces > 0 || $0.policy == "checkout"
        })
    counters.shadow = []
    #expect(counters == without.world.counters)
    #expect(with.world.counters.recallsRequested > 0)
  }

  /// What they say is what happens once they are among the policies: the verdicts that name one change, and
  /// no others.
  @Test(arguments: 1...3) func theyTellTheTruth(seed: UInt64) throws {
    // Asynchronous work would change how long a window is open.
    let steps = randomStream(seed: seed, steps: 1200).compactMap {
      step -> (spans: [TestSpan], time: Int64)? in
      guard case .spans(let spans, let time) = step else { return nil }
      let plain = spans.map { span in
        var span = span
        (span.kind, span.links) = (2, 0)
        return span
      }
      return (plain, time)
    }
    func verdicts(_ adjust: (inout SamplerConfiguration) -> Void) throws -> [String: WrittenDecision] {
      let world = World {
        $0.dropped = .full
        $0.windows.lateWindow = .seconds(3600)
        adjust(&$0)
      }
      var events: [Event] = []
      for step in steps { events += try world.send(step.spans, at: step.time) }
      events += try world.pass(to: 10_000_000)
      let finals = events.written.filter { $0.final && $0.revised == nil }
      return Dictionary(finals.map { ($0.traceId, $0) }, uniquingKeysWith: { first, _ in first })
    }
    let both = Policy(name: "both", rule: .and([.statusCode([.ok]), .spanCount(least: 4, most: nil)]))
    let fast = Policy(name: "fast", rule: .drop([.not(.latency(threshold: .seconds(3), upper: nil))]))
    let half = Policy(name: "half", rule: .hashed(HashSampling(salt: "s", percentage: 50)))
    let shadow = ReferenceSampler.shadow + [both, fast, half]
    let before = try verdicts { $0.shadow = shadow }
    for policy in shadow {
      let after = try verdicts { $0.policies.append(policy) }
      #expect(Set(after.keys) == Set(before.keys))
      let changed = before.keys.filter { before[$0]?.verdict != after[$0]?.verdict }
      let named = before.keys.filter { before[$0]?.shadow?.contains(policy.name) == true }
      #expect(Set(changed) == Set(named), "\(policy.name)")
      #expect(named.count > 3, "\(policy.name)")
    }
  }

  /// With `sampleOnFirstMatch` a veto at the end is not reached once a policy samples the trace. Policies
  /// that drop are asked before all others.
  @Test(arguments: [false, true]) func aVetoBehindAMatchIsNotHeard(_ stops: Bool) throws {
    let veto = Policy(
      name: "veto", rule: .stringAttribute(key: "service.name", values: ["shop"], inverted: true))
    func world(_ adjust: (inout SamplerConfiguration) -> Void) -> World {
      World {
        $0.sampleOnFirstMatch = stops
        $0.invertDecisions = true
        adjust(&$0)
      }
    }
    let shadowed = world { $0.shadow = [failed, veto] }
    let end = try events(shadowed, .root(1, .error))
    #expect(end.written.last?.shadow == (stops ? ["failed"] : ["failed", "veto"]))
    #expect(shadowed.counters.shadow.map(\.keptMatching) == [1, 1])
    for policy in [failed, veto] {
      let with = try events(world { $0.policies.append(policy) }, .root(1, .error))
      let isNamed = end.written.last?.shadow?.contains(policy.name) == true
      #expect((with.written.last?.verdict == "drop") == isNamed, "\(policy.name)")
    }
  }

  /// One that comes by a reload leaves it to the policies what late spans of earlier traces mean, and so does
  /// one that goes. Promoted, it knows as little of them as a new policy.
  @Test func reloadingThemChangesNothingOfLateSpans() throws {
    func run(_ shadow: [Policy], promoted: Bool = false) throws -> (output: [[UInt8]], missed: UInt64) {
      let both = Policy(name: "both", rule: .and([.statusCode([.error]), .spanCount(least: 2, most: nil)]))
      let world = World {
        $0.policies = [both]
        $0.dropped = .full
      }
      var events = try self.events(world, .root(), .root(of: 3), until: 5000)
      var configuration = world.sampler.configuration
      configuration.shadow = shadow
      world.sampler.adopt(configuration)
      events += try world.send(.child(2, .error), at: 6000)
      configuration.shadow = []
      if promoted { configuration.policies.append(checkout) }
      world.sampler.adopt(configuration)
      events += try world.send(.child(2, of: 3, .error), at: 7000)
      events += try world.pass(to: 30_000)
      return (output(events), world.counters.missedByPolicy["both"] ?? 0)
    }
    let without = try run([])
    #expect(without.missed == 2, "late spans are judged together with what came in time")
    #expect(try run([checkout]) == without)
    #expect(try run([checkout], promoted: true) == run([], promoted: true))
  }

  /// A record that is too large for its topic names fewer of them.
  @Test func namesAreLeftOutOfRecordsThatAreTooLarge() throws {
    let world = World {
      $0.limits.decisionBytes = Limits.decisionBytesMin
      $0.dropped = .full
      $0.shadow = (1...60).map {
        Policy(name: String(repeating: "\u{1}", count: 250) + "\($0)", rule: .alwaysSample)
      }
    }
    let end = try events(world, .root())
    #expect(end.written.first?.shadow?.count ?? 0 >= 1)
    guard case .decision(_, let bytes?)? = end.first else { return #expect(Bool(false)) }
    #expect(bytes.count <= Limits.decisionBytesMin)
    #expect(world.counters.decisionsShortened == 1)
  }
}
