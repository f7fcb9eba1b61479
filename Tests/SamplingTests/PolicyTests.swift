// Policies over accumulators, and the filters behind "no parent is missing".

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct PolicySetTests {
  /// A trace of spans from `start` to `end` in nanoseconds, roots where the parent is zero.
  private func trace(
    low: UInt64 = 1, _ spans: (parent: UInt64, start: UInt64, end: UInt64, status: SpanStatus)...
  ) -> TraceFacts {
    var trace = OpenTrace(id: TraceID(high: 1, low: low), firstOffset: Offset(0), openedAt: .start)
    for (number, given) in spans.enumerated() {
      var span = SpanView()
      span.spanID = UInt64(number + 1)
      span.parentID = given.parent
      span.start = given.start
      span.end = given.end
      span.status = given.status
      trace.accumulate(span)
      if span.isRoot { trace.hasRoot = true }
    }
    return trace.facts
  }

  private func matches(_ rule: Policy.Rule, _ trace: TraceFacts, certainOnly: Bool = false) -> Bool {
    var policies = PolicySet([Policy(name: "p", rule: rule)])
    return certainOnly ? policies.program.certain(trace).isKept : policies.decide(trace, at: .start).isKept
  }

  @Test func statusesAreAnyOf() {
    let mixed = trace((0, 0, 1, .unset), (1, 0, 1, .ok))
    #expect(matches(.statusCode([.ok]), mixed))
    #expect(matches(.statusCode([.unset]), mixed))
    #expect(!matches(.statusCode([.unset, .ok, .error]), trace((0, 0, 1, .other))))
    #expect(!matches(.statusCode([.error]), mixed))
    #expect(matches(.statusCode([.error, .ok]), mixed))
    #expect(!matches(.statusCode([]), mixed))
    #expect(matches(.statusCode([.error]), trace((9, 0, 1, .error)), certainOnly: true))
  }

  @Test func exactlyTheThresholdIsSlow() {
    let rule = Policy.Rule.latency(threshold: .seconds(2), upper: nil)
    #expect(matches(rule, trace((0, 5, 2_000_000_005, .unset))))
    #expect(!matches(rule, trace((0, 5, 2_000_000_004, .unset))))
  }

  /// As in the Collector: with an upper threshold both are in whole milliseconds, the lower one excluded.
  @Test func anUpperThresholdChangesTheLowerOne() {
    let rule = Policy.Rule.latency(threshold: .seconds(2), upper: .seconds(3))
    #expect(!matches(rule, trace((0, 0, 2_000_999_999, .unset))))
    #expect(matches(rule, trace((0, 0, 2_001_000_000, .unset))))
    #expect(matches(rule, trace((0, 0, 3_000_999_999, .unset))))
    #expect(!matches(rule, trace((0, 0, 3_001_000_000, .unset))))
  }

  /// With a root, only its own clock decides: no envelope, and no tolerance to subtract.
  @Test func aRootIsJudgedByItself() {
    let rule = Policy.Rule.latency(threshold: .seconds(2), upper: nil)
    let skewed = trace((0, 0, 100, .unset), (1, 5_000_000_000, 9_000_000_000, .unset))
    #expect(!matches(rule, skewed))
    #expect(skewed.envelope == 9_000_000_000)
    #expect(matches(rule, trace((0, 0, 2_000_000_000, .unset), (1, 0, 1, .unset))))
  }

  @Test func ofSeveralRootsTheLongestCounts() {
    let rule = Policy.Rule.latency(threshold: .seconds(2), upper: nil)
    #expect(matches(rule, trace((0, 0, 10, .unset), (0, 50, 2_000_000_050, .unset))))
    #expect(matches(rule, trace((0, 50, 2_000_000_050, .unset), (0, 0, 10, .unset))))
  }

  @Test func withoutARootTenMillisecondsAreForgiven() {
    let rule = Policy.Rule.latency(threshold: .seconds(2), upper: nil)
    #expect(matches(rule, trace((9, 0, 1, .unset), (9, 7, 2_010_000_000, .unset))))
    #expect(!matches(rule, trace((9, 0, 1, .unset), (9, 7, 2_009_999_999, .unset))))
    let short = Policy.Rule.latency(threshold: .seconds(0), upper: .milliseconds(1))
    #expect(!matches(short, trace((9, 0, 10_999_999, .unset))))
    #expect(matches(short, trace((9, 0, 11_999_999, .unset))))
    #expect(!matches(short, trace((9, 0, 12_000_000, .unset))))
  }

  @Test func spansThatEndBeforeTheyStartLastNoTime() {
    let odd = trace((0, 500, 100, .unset))
    #expect(odd.rootDuration == 0)
    #expect(odd.envelope == 0)
    #expect(trace((9, 0, .max, .unset)).envelope == .max)
  }

  /// Certain is what no further span can undo: an upper threshold can be passed, an envelope replaced by a
  /// root.
  @Test func onlyTheIrrevocableIsCertain() {
    let slowRoot = trace((0, 0, 3_000_000_000, .unset))
    let slowEnvelope = trace((9, 0, 3_000_000_000, .unset))
    let open = Policy.Rule.latency(threshold: .seconds(2), upper: nil)
    let bounded = Policy.Rule.latency(threshold: .seconds(2), upper: .seconds(4))
    #expect(matches(open, slowRoot, certainOnly: true))
    #expect(!matches(open, slowEnvelope, certainOnly: true))
    #expect(!matches(bounded, slowRoot, certainOnly: true))
    #expect(matches(bounded, slowRoot))
    #expect(matches(.alwaysSample, slowRoot, certainOnly: true))
    #expect(!matches(.probabilistic(.always), slowRoot, certainOnly: true))
    #expect(matches(.probabilistic(.always), slowRoot))
  }

  /// Whatever the policies: where they are not asked again, they answer as before.
  @Test(arguments: 0..<20 as Range<UInt64>)
  func anAnswerChangesOnlyWhereItMay(seed: UInt64) {
    var random = RandomSource(seed: seed)
    let rules: [Policy.Rule] = [
      .statusCode([.error]), .latency(threshold: .milliseconds(3), upper: nil),
      .latency(threshold: .milliseconds(2), upper: .milliseconds(5)),
      .latency(threshold: .milliseconds(4), upper: nil, measure: .spans), .spanCount(least: 3, most: nil),
      .spanCount(least: 2, most: 4), .probabilistic(.always), .traceFlags,
    ]
    for _ in 0..<50 {
      let (one, other) = (rules.randomElement(using: &random), rules.randomElement(using: &random))
      guard let one, let other else { continue }
      let program = PolicySet([
        Policy(name: "a", rule: .and([one, .not(other)])), Policy(name: "b", rule: .and([one, other])),
        Policy(name: "c", rule: .drop([other, .statusCode([.ok])])),
      ]).program
      var trace = OpenTrace(id: TraceID(high: 1, low: 1), firstOffset: Offset(0), openedAt: .start)
      for number in 1...8 {
        let before = trace.facts
        var span = SpanView()
        span.spanID = UInt64(number)
        span.parentID = UInt64.random(in: 0...3, using: &random)
        span.start = UInt64.random(in: 0...3, using: &random) * 1_000_000
        span.end = UInt64.random(in: 0...8, using: &random) * 1_000_000
        span.status = [.unset, .unset, .unset, .ok, .error].randomElement(using: &random) ?? .unset
        var share = ShareFacts()
        trace.fold(span, into: &share)
        let isNews = trace.add(
          share, byteCount: 1, at: Offset(Int64(number)), program.edges, askedSince: Offset(.min))
        if span.isRoot { trace.hasRoot = true }
        guard !isNews else { continue }
        #expect(program.certain(before) == program.certain(trace.facts))
      }
    }
  }

  @Test func probabilityIsTheTraceIDsOwn() {
    let threshold = SamplingThreshold(rejected: 1000)
    #expect(matches(.probabilistic(threshold), trace(low: 1000, (0, 0, 1, .unset))))
    #expect(!matches(.probabilistic(threshold), trace(low: 999, (0, 0, 1, .unset))))
    // The top byte of the low half is not part of the randomness.
    #expect(!matches(.probabilistic(threshold), trace(low: 0xff00_0000_0000_03e7, (0, 0, 1, .unset))))
    #expect(!matches(.probabilistic(.never), trace(low: .max, (0, 0, 1, .unset))))
  }

  /// Several probabilities together keep what the greatest keeps; with any other match the trace represents
  /// only itself.
  @Test func thresholdsTogether() {
    var policies = PolicySet([
      Policy(name: "tenth", rule: .probabilistic(SamplingThreshold(rejected: 900))),
      Policy(name: "half", rule: .probabilistic(SamplingThreshold(rejected: 500))),
      Policy(name: "errors", rule: .statusCode([.error])),
    ])
    func outcome(_ low: UInt64, _ status: SpanStatus) -> PolicyOutcome {
      policies.decide(trace(low: low, (0, 0, 1, status)), at: .start)
    }
    #expect(
      outcome(950, .unset) == PolicyOutcome(matches: 0b011, threshold: SamplingThreshold(rejected: 500)))
    #expect(
      outcome(600, .unset) == PolicyOutcome(matches: 0b010, threshold: SamplingThreshold(rejected: 500)))
    #expect(outcome(100, .unset) == PolicyOutcome())
    #expect(outcome(950, .error) == PolicyOutcome(matches: 0b111, threshold: .always, isCertain: true))
    #expect(outcome(600, .error).first == 1)
    #expect(outcome(100, .error).first == 2)
    #expect(outcome(100, .unset).first == nil)
  }

  @Test func asManyPoliciesAsAWordHasBits() {
    let rules = (0..<64).map { number in
      Policy(name: "p\(number)", rule: number == 63 ? .alwaysSample : .statusCode([.error]))
    }
    var policies = PolicySet(rules)
    let outcome = policies.decide(trace((0, 0, 1, .ok)), at: .start)
    #expect(outcome.matches == 1 << 63)
    #expect(outcome.first == 63)
  }
}

@Suite struct IdentifierFilterTests {
  /// It may take a missing parent for one that arrived, never the reverse: a window may close early, but it
  /// can't be held open for nothing.
  @Test func whatCameIsAlwaysCovered() {
    var random = RandomSource(seed: 8)
    for _ in 0..<2000 {
      var seen = IdentifierFilter()
      var named = IdentifierFilter()
      for _ in 0..<random.number(in: 1...60) {
        let id = random.chance(0.5) ? random.next() : UInt64(random.number(in: 1...1000))
        seen.insert(id)
        if random.chance(0.7) { named.insert(id) }
      }
      #expect(named.isCovered(by: seen))
    }
  }

  /// In traces of usual size a missing parent is nearly always detected.
  @Test func aMissingParentIsMostlyTold() {
    var random = RandomSource(seed: 9)
    var missed = 0
    for _ in 0..<2000 {
      var seen = IdentifierFilter()
      var named = IdentifierFilter()
      for _ in 0..<10 { seen.insert(random.next()) }
      named.insert(random.next())
      if named.isCovered(by: seen) { missed += 1 }
    }
    // Twenty of 192 bits are set, and two have to be hit: about one in a hundred.
    #expect(missed < 60)
  }

  @Test func nothingNamedIsCovered() {
    #expect(IdentifierFilter().isCovered(by: IdentifierFilter()))
  }
}
