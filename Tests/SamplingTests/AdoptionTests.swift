// Changes of policies while traces are open.

import Expressions
import Simulation
import SpanStorage
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct AdoptionTests {
  private static let checkout = Policy.Rule.stringAttribute(key: "shop.page", values: ["checkout"])
  private static let all = Policy(name: "all", rule: .alwaysSample)

  private func page(_ name: String) -> [TestAttribute] { [TestAttribute("shop.page", .text(name))] }

  private func adopt(_ world: World, version: String = "new", _ policies: Policy...) {
    var configuration = world.sampler.configuration
    configuration.policies = policies
    configuration.version = version
    world.sampler.adopt(configuration)
  }

  @Test func openTracesAreDecidedByTheNewPolicies() throws {
    let world = World { $0.version = "old" }
    try world.send(.root(), at: 0)
    adopt(world, AdoptionTests.all)
    let end = try world.pass(to: 5000)
    #expect(end.written.map(\.policy) == ["all"])
    #expect(end.written.map(\.config) == ["new"])
    #expect(end.keptIDs == [1])
    #expect(world.counters.keptByReason == ["errors": 0, "slow": 0, "baseline": 0, "all": 1])
  }

  /// Policies are asked only when their answer may have changed: other policies have not been asked at all.
  @Test func theNewPoliciesAreAskedAboutWhatTheOldOnesWereAskedAbout() throws {
    let world = World()
    #expect(try world.send(.child(2), at: 0).keptIDs == [])
    adopt(world, AdoptionTests.all)
    #expect(Set(try world.send(.child(3), at: 1).keptIDs) == [2, 3])
  }

  @Test func droppedRecordsNameTheVersionToo() throws {
    let world = World { $0.version = "old" }
    try world.send(.root(), at: 0)
    #expect(try world.pass(to: 5000).written.map(\.config) == ["old"])
    #expect(try world.send(.child(2, .error), at: 6000).written.map(\.config) == ["old"])
  }

  /// New tests are evaluated on the spans that have arrived, and on their resources.
  @Test func bufferedSpansAreAskedAgain() throws {
    let world = World()
    var span = TestSpan.root(of: 1)
    span.attributes = page("checkout")
    var other = TestSpan.root(of: 2)
    other.resource = page("checkout")
    try world.send(span, at: 0)
    try world.send(other, TestSpan.root(of: 3), at: 0)
    adopt(world, Policy(name: "checkout", rule: AdoptionTests.checkout))
    #expect(try world.pass(to: 5000).decisions.map(\.isKept) == [true, true, false])
  }

  /// The results on earlier spans stay, though the bits that hold them move.
  @Test func knownAnswersMove() throws {
    let never = Policy.Rule.latency(threshold: .seconds(7200), upper: nil)
    let help = Policy.Rule.stringAttribute(key: "shop.page", values: ["help"])
    let world = World {
      $0.policies = [
        Policy(name: "a", rule: .and([help, never])),
        Policy(name: "b", rule: .and([AdoptionTests.checkout, never])),
      ]
    }
    var span = TestSpan.root()
    span.attributes = page("checkout")
    try world.send(span, at: 0)
    adopt(world, Policy(name: "checkout", rule: AdoptionTests.checkout))
    #expect(try world.pass(to: 5000).written.map(\.policy) == ["checkout"])
  }

  /// Its spans have been forwarded: the last decision can't undo that, and states what it was.
  @Test func aTraceThatWasKeptEarlyStaysKept() throws {
    let world = World()
    #expect(try world.send(.root(1, .error), at: 0).keptIDs == [1])
    let never = Policy(name: "never", rule: .latency(threshold: .seconds(7200), upper: nil))
    adopt(world, never)
    #expect(try world.send(.child(2), at: 100).keptIDs == [2])
    let end = try world.pass(to: 5000)
    #expect(end.written.map(\.reasons) == [["earlier_policies"]])
    #expect(end.decisions.map(\.isKept) == [true])
    #expect(world.counters.keptByReason["earlier_policies"] == 1)
  }

  /// A budget that continues is not refilled when something else changes.
  @Test func budgetsOfPoliciesThatStayGoOn() throws {
    func limited(_ perSecond: Int64) -> Policy {
      Policy(name: "limited", rule: .rateLimiting(RateLimit(perSecond: perSecond, burst: 2)))
    }
    func kept(after policies: Policy...) throws -> [Bool] {
      let world = World { $0.policies = [limited(1)] }
      try world.send(.root(of: 1), .root(of: 2), at: 0)
      #expect(try world.pass(to: 5000).decisions.map(\.isKept) == [true, true])
      try world.send(.root(of: 3), .root(of: 4), at: 5000)
      var configuration = world.sampler.configuration
      configuration.policies = policies
      world.sampler.adopt(configuration)
      world.sampler.relieve(toBytes: 0, into: &world.effects)
      return try world.take().decisions.map(\.isKept)
    }
    let slow = Policy(name: "slow", rule: .latency(threshold: .seconds(9), upper: nil))
    #expect(try kept(after: limited(1), slow) == [false, false])
    #expect(try kept(after: slow, limited(1)) == [false, false])
    #expect(try kept(after: limited(2)) == [true, true])
  }

  /// Policies that combine facts of several spans remember more of each trace, of fewer traces if need be.
  @Test func whatIsRememberedForNewPoliciesStaysWithinItsLimit() throws {
    let memory = SpanMemory()
    let world = World()
    world.sampler = Sampler(
      partition: world.sampler.partition, configuration: world.sampler.configuration, memory: memory)
    for trace in 1...1000 as ClosedRange<UInt64> { try world.send(.root(of: trace), at: 0) }
    try world.pass(to: 5000)
    #expect(world.usage.pastVerdicts == 1000)
    memory.verdictBytesMax = memory.verdictBytes + 1000
    let both = Policy.Rule.and([.statusCode([.error]), AdoptionTests.checkout])
    adopt(world, Policy(name: "both", rule: both))
    #expect(memory.verdictBytes <= memory.verdictBytesMax)
    #expect(memory.verdictBytes == world.usage.verdictBytes)
    let left = UInt64(world.usage.pastVerdicts)
    #expect(left > 400 && world.counters.verdictsForgottenEarly == 1000 - left)
    // The oldest was evicted.
    for (trace, isKnown) in [(1000 - left, false), (1001 - left, true), (1000, true)] {
      let late = world.counters.lateSpansDropped
      try world.send(.child(2, of: trace), at: 6000)
      #expect((world.counters.lateSpansDropped > late) == isKnown)
    }
    // Policies that don't combine release the room.
    adopt(world, AdoptionTests.all)
    #expect(memory.verdictBytes == world.usage.verdictBytes)
  }

  @Test func aBaselineIsTakenOverIfItCountsTheSame() throws {
    var old = SamplerConfiguration()
    #expect(old.canAdopt(old))
    var adaptive = old
    adaptive.baseline = BaselineConfiguration()
    #expect(!old.canAdopt(adaptive) && !adaptive.canAdopt(old))
    var other = adaptive
    other.baseline?.budget = .shareOfSpans(0.1)
    other.baseline?.floor = 9
    other.baseline?.ceiling = 0.5
    other.baseline?.boost = 1
    other.baseline?.includesForced = false
    #expect(adaptive.canAdopt(other))
    for change: (inout BaselineConfiguration) -> Void in [
      { $0.interval = .seconds(20) }, { $0.key = .attributes(["a"]) }, { $0.history = 7 },
      { $0.servicesMax = 9 },
    ] {
      var changed = adaptive
      if let baseline = changed.baseline {
        var copy = baseline
        change(&copy)
        changed.baseline = copy
      }
      #expect(!adaptive.canAdopt(changed))
    }
    old.adopt(other)
    #expect(old.baseline == other.baseline)
  }

  /// Wherever in a stream they arrive, the new policies decide every open trace as if they had been there
  /// from the start.
  @Test(arguments: 1...8) func verdictsAreThoseOfPoliciesThatWereAlwaysThere(seed: UInt64) throws {
    // Relief closes what is undecided: without early verdicts there is more of it.
    let stream = randomStream(seed: seed, steps: 400).filter { !$0.isRelief }.map(withAttributes)
    var random = RandomSource(seed: seed &+ 77)
    let policies = try newPolicies()
    let (always, changed) = (World { $0.policies = policies }, World { $0.policies = policies.map(silenced) })
    let memory = SpanMemory(slabBytes: 1 << 12)
    memory.compressAbove = seed % 2 == 0 ? 0 : .max
    changed.sampler = Sampler(
      partition: changed.sampler.partition, configuration: changed.sampler.configuration, memory: memory)
    let change = random.number(in: 100...300)
    var verdicts: (always: [FinalVerdict], changed: [FinalVerdict]) = ([], [])
    for (number, step) in stream.enumerated() {
      if number == change {
        var configuration = changed.sampler.configuration
        configuration.policies = policies
        changed.sampler.adopt(configuration)
      }
      let (left, right) = (try always.take(step), try changed.take(step))
      guard number >= change else { continue }
      verdicts.always += FinalVerdict.all(in: left)
      verdicts.changed += FinalVerdict.all(in: right)
    }
    #expect(verdicts.always == verdicts.changed)
    #expect(Set(verdicts.always.map(\.isKept)) == [true, false])
  }

  private func newPolicies() throws -> [Policy] {
    let condition = try OTTLCondition("attributes[\"shop.page\"] == \"basket\"", context: .span)
    return [
      Policy(name: "errors", rule: .statusCode([.error])),
      Policy(name: "checkout", rule: AdoptionTests.checkout),
      Policy(name: "items", rule: .numericAttribute(key: "shop.items", range: 40...50)),
      Policy(name: "basket", rule: .ottlCondition(spans: [condition], events: [], errorMode: .ignore)),
      Policy(name: "head", rule: .traceState(key: "ot", values: ["th:fa"])),
    ]
  }

  /// A policy with some of the same tests, in other places, which keeps nothing.
  private func silenced(_ policy: Policy) -> Policy {
    let never = Policy.Rule.latency(threshold: .seconds(7200), upper: nil)
    let isAsked = policy.name == "items" || policy.name == "basket"
    return Policy(name: policy.name, rule: .and(isAsked ? [never, policy.rule] : [never]))
  }

  private func withAttributes(_ step: Step) -> Step {
    guard case .spans(var spans, let time) = step else { return step }
    for place in spans.indices {
      let number = spans[place].trace &+ spans[place].id
      spans[place].attributes = page(number % 5 == 0 ? "checkout" : number % 5 == 1 ? "basket" : "help")
      spans[place].resource = [TestAttribute("shop.items", .integer(Int64(number % 60)))]
    }
    return .spans(spans, at: time)
  }
}

/// The decisions on a trace.
private struct FinalVerdict: Equatable {
  var trace: TraceID
  var isKept: Bool
  var matches: UInt64
  var threshold: SamplingThreshold

  static func all(in events: [Event]) -> [FinalVerdict] {
    events.decisions.filter { $0.isFinal }.map {
      FinalVerdict(trace: $0.traceID, isKept: $0.isKept, matches: $0.matches, threshold: $0.threshold)
    }
  }
}

extension Step {
  fileprivate var isRelief: Bool { if case .relief = self { true } else { false } }
}

extension World {
  fileprivate func take(_ step: Step) throws -> [Event] {
    switch step {
    case .spans(let spans, let time): return try send(spans, at: time)
    case .time(let time): return try pass(to: time)
    case .relief:
      sampler.relieve(toBytes: 0, into: &effects)
      return try take()
    }
  }
}
