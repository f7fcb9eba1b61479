// One partition: which rate a trace gets, what is counted, and that names can't fill the memory.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct TrafficCountsTests {
  private let configuration = BaselineConfiguration()

  private func rates(_ rates: [String: Double], other: Double = 0.01) -> BaselineRates {
    var result = BaselineRates(starting: configuration)
    result.other = SamplingThreshold(probability: other)
    result.entries = rates.sorted { $0.key < $1.key }.map { name, rate in
      BaselineRates.Entry(
        name: Array(name.utf8), threshold: SamplingThreshold(probability: rate), isBoosted: false)
    }
    return result
  }

  private func counts(_ rates: BaselineRates, at seconds: Int64 = 100) -> TrafficCounts {
    TrafficCounts(
      partition: PartitionID(2), configuration: configuration, rates: rates,
      clock: Instant(milliseconds: seconds * 1000), hashSeed: 3)
  }

  @Test func theLargestRateDecides() {
    var counts = counts(rates(["a": 0.25, "b": 0.5, "c": 0.125]))
    let keys = ["a", "b", "c"].map { counts.key(of: $0) }
    let rate = counts.rate(of: keys)
    #expect(rate.threshold.probability == 0.5 && rate.key == keys[1])
    #expect(counts.rate(of: []).key == .other)
    #expect(counts.rate(of: [.other, keys[2]]).key == keys[2])
  }

  @Test func aTraceIsSeenEverywhereAndAttributedOnce() {
    var counts = counts(rates(["a": 0.25, "b": 0.5]))
    let keys = ["a", "b"].map { counts.key(of: $0) }
    counts.count(TraceOutcome(.kept, spans: 7, bytes: 70), keys: keys, setBy: keys[1])
    counts.count(TraceOutcome(.forced, spans: 3, bytes: 30), keys: keys, failed: [keys[0]], setBy: keys[1])
    counts.count(TraceOutcome(.refused, spans: 2, bytes: 20), keys: [keys[0]], setBy: keys[0])
    counts.count(TraceOutcome(.passed, spans: 1, bytes: 10), keys: [.other, .other], setBy: .other)
    let record = counts.advance(to: Instant(milliseconds: 110_000))[0]
    let (a, b) = (record.entries[0].traffic, record.entries[1].traffic)
    #expect(a.seen == 3 && a.failed == 1 && a.present == TrafficTally(traces: 1, spans: 7, bytes: 70))
    #expect(a.decided == TrafficTally(traces: 1, spans: 2, bytes: 20) && a.offered == TrafficTally())
    #expect(b.seen == 2 && b.failed == 0 && b.present == a.present && b.offered == b.present)
    #expect(b.decided == TrafficTally(traces: 2, spans: 10, bytes: 100))
    #expect(b.forced == TrafficTally(traces: 1, spans: 3, bytes: 30) && b.kept == b.offered)
    #expect(record.other.seen == 1 && record.other.present.spans == 1)
    #expect(record.entries.allSatisfy { $0.isKnown })
  }

  @Test func headSampledTracesCountAsOftenAsTheyStandFor() {
    var counts = counts(rates(["a": 0.25]))
    let key = counts.key(of: "a")
    let incoming = SamplingThreshold(probability: 0.25)
    counts.count(
      TraceOutcome(.passed, spans: 5, bytes: 50, incoming: incoming), keys: [key], setBy: key)
    let traffic = counts.advance(to: Instant(milliseconds: 110_000))[0].entries[0].traffic
    #expect(traffic.decided.spans == 5 && traffic.seen == 1)
    #expect(traffic.present == TrafficTally(traces: 4, spans: 20, bytes: 200))
    #expect(traffic.offered == traffic.present)
  }

  @Test func intervalsEndWithTheClock() {
    var counts = counts(rates([:]), at: 104)
    #expect(counts.advance(to: Instant(milliseconds: 109_999)).isEmpty)
    let first = counts.advance(to: Instant(milliseconds: 125_000))
    #expect(first.map(\.interval.value) == [10, 11])
    #expect(first.map(\.coveredMilliseconds) == [6000, 10_000])
    let far = counts.advance(to: Instant(milliseconds: 10_000_000))
    #expect(far.map(\.interval.value) == [12] + (994...999))
    #expect(counts.advance(to: .distantFuture).count == 7)
  }

  @Test func newRatesKeepTheCounts() {
    var counts = counts(rates(["a": 0.25]))
    let (a, b) = (counts.key(of: "a"), counts.key(of: "b"))
    for key in [a, b] { counts.count(TraceOutcome(.passed, spans: 1, bytes: 1), keys: [key], setBy: key) }
    let generation = counts.generation
    var next = rates(["b": 0.5])
    next.newNamesMax = 0
    counts.adopt(next)
    #expect(counts.generation != generation)
    let again = counts.key(of: "b")
    #expect(counts.rate(of: [again]).threshold.probability == 0.5)
    #expect(counts.key(of: "a") == .other)
    let record = counts.advance(to: Instant(milliseconds: 110_000))[0]
    #expect(record.entries.map(\.name) == [Array("b".utf8)])
    #expect(record.entries[0].traffic.seen == 1 && record.other.seen == 1)
  }

  @Test func theFirstTracesOfANewNameAreKept() {
    var rates = rates(["a": 0.25], other: 0.125)
    rates.newTracesMax = 6
    var counts = counts(rates)
    let (a, b) = (counts.key(of: "a"), counts.key(of: "b"))
    let first = (0..<5).map { _ in counts.rate(of: [a, b]) }
    #expect(first.map(\.threshold.probability) == [1, 1, 1, 1, 0.25])
    #expect(first.map(\.key) == [b, b, b, b, a])
    #expect(counts.rate(of: [b]).threshold.probability == 0.125)
    // Two are left for the interval, whatever the name.
    let c = counts.key(of: "c")
    #expect((0..<3).map { _ in counts.rate(of: [c]).threshold.probability } == [1, 1, 0.125])
  }

  @Test func aMillionNamesTakeNoMemoryAndNoRates() {
    var rates = rates(["cart": 0.25, "pay": 0.5], other: 0.001)
    rates.newNamesMax = 100
    rates.newTracesMax = 20
    var counts = counts(rates)
    var (keptWhole, others) = (0, 0)
    var name: [UInt8] = [0, 0, 0, 0]
    for number in 0..<1_000_000 {
      for place in 0..<4 { name[place] = UInt8(truncatingIfNeeded: number >> (8 * place)) }
      let key = counts.key(of: name)
      guard key != .other else {
        others += 1
        continue
      }
      if counts.rate(of: [key]).threshold == .always { keptWhole += 1 }
      counts.count(TraceOutcome(.passed, spans: 1, bytes: 1), keys: [key], setBy: key)
    }
    #expect(keptWhole == 20 && counts.rate(of: [.other]).threshold.probability < 0.01)
    counts.count(
      TraceOutcome(.passed, traces: others, spans: others, bytes: others), keys: [.other], setBy: .other)
    #expect(counts.keyCount == 100 && counts.crowdedOut == 999_900)
    let cart = counts.key(of: "cart")
    #expect(counts.rate(of: [cart]).threshold.probability == 0.25)
    let record = counts.advance(to: Instant(milliseconds: 110_000))[0]
    #expect(record.entries.count == 100 && record.other.seen == 999_900)
    #expect(counts.keyCount == 0)
  }

  @Test func numbersStopAtTheirLimit() throws {
    var counts = counts(rates(["a": 0.25]))
    let key = counts.key(of: "a")
    for fate in [TraceOutcome.Fate.forced, .kept, .kept] {
      counts.count(TraceOutcome(fate, spans: 1, bytes: 1 << 47), keys: [key], setBy: key)
    }
    let record = counts.advance(to: Instant(milliseconds: 110_000))[0]
    #expect(record.entries[0].traffic.decided.bytes == 1 << 48)
    #expect(try TrafficRecord(decoding: record.encoded()) == record)
  }

  /// Trace by trace with their own randomness: kept traces, scaled up, give the true numbers.
  @Test func weightsAreUnbiased() {
    var random = RandomSource(seed: 12)
    var counts = counts(rates(["a": 0.02, "b": 0.1, "c": 0.3]))
    var (truth, estimate, variance) = (0.0, 0.0, 0.0)
    for number in 0..<30_000 {
      let names = [["a"], ["a", "b"], ["c", "a"], ["b", "new"]][number % 4]
      let keys = names.map { counts.key(of: $0) }
      let rate = counts.rate(of: keys)
      truth += 1
      if rate.threshold.keeps(randomness: random.next() >> 8) { estimate += rate.threshold.adjustedCount }
      variance += rate.threshold.adjustedCount - 1
    }
    #expect(abs(estimate - truth) < 2.576 * variance.squareRoot())
  }
}

extension TrafficCounts {
  fileprivate mutating func key(of name: [UInt8]) -> TrafficKey {
    name.withRawBytes { key(of: $0) }
  }
}
