// Past verdicts: exact, first in first out, and small.

import Simulation
import SpanStorage
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct VerdictCacheTests {
  /// Exact: each of 100,000 random ids is found with its own verdict, and no other id is taken for one of
  /// them.
  @Test func neverTakesOneTraceForAnother() {
    var random = RandomSource(seed: 5)
    var cache = IndexedVerdicts(seed: 17, memory: SpanMemory())
    var ids: [TraceID] = []
    for number in 0..<100_000 {
      let id = TraceID(high: random.next(), low: random.next())
      ids.append(id)
      cache.append(
        PastVerdict(
          traceID: id, isKept: number % 3 == 0, threshold: SamplingThreshold(rejected: UInt64(number)),
          decidedAt: .at(Int64(number))))
    }
    var wrong = 0
    for (number, id) in ids.enumerated() {
      guard let slot = cache.find(id) else {
        wrong += 1
        continue
      }
      let verdict = cache[slot]
      let isRight =
        verdict.traceID == id && verdict.isKept == (number % 3 == 0)
        && verdict.threshold.rejected == (number % 3 == 0 ? UInt64(number) : SamplingThreshold.never.rejected)
        && verdict.decidedAt == .at(Int64(number))
      if !isRight { wrong += 1 }
      // The same half, or one bit different.
      if cache.find(TraceID(high: id.high, low: id.low ^ 1)) != nil { wrong += 1 }
      if cache.find(TraceID(high: ~id.high, low: id.low)) != nil { wrong += 1 }
    }
    #expect(wrong == 0)
    #expect(cache.count == 100_000)
  }

  @Test func forgetsTheOldestFirst() {
    var random = RandomSource(seed: 6)
    var cache = IndexedVerdicts(seed: 1, memory: SpanMemory())
    var model: [TraceID] = []
    for step in 0..<20_000 {
      if !model.isEmpty, random.chance(step % 2000 < 1000 ? 0.3 : 0.7) {
        cache.removeOldest()
        if step % 7 == 0 { cache.trim() }
        let gone = model.removeFirst()
        #expect(cache.find(gone) == nil)
      } else {
        let id = TraceID(high: 2, low: UInt64(step + 1))
        cache.append(PastVerdict(traceID: id, isKept: false, threshold: .never, decidedAt: .at(Int64(step))))
        model.append(id)
      }
      #expect(cache.count == model.count)
      #expect((cache.oldest == nil) == model.isEmpty)
      if let first = model.first, let slot = cache.find(first) {
        #expect(cache[slot].decidedAt == cache.oldest)
      }
      if let last = model.last { #expect(cache.find(last) != nil) }
    }
  }

  /// A later verdict on the same trace is the one that is found, until it is forgotten in turn.
  @Test func theLatestVerdictOnATraceIsFound() {
    var cache = IndexedVerdicts(seed: 1, memory: SpanMemory())
    for round in 0..<3 as Range<Int64> {
      for trace in 1...10 as ClosedRange<UInt64> {
        let id = TraceID(high: 2, low: trace)
        if let known = cache.find(id) { cache.replace(known) }
        cache.append(
          PastVerdict(traceID: id, isKept: round == 2, threshold: .always, decidedAt: .at(round)))
        let found = cache.find(id).map { cache[$0] }
        #expect(found?.decidedAt == .at(round) && found?.isKept == (round == 2))
      }
    }
    #expect(cache.count == 30)
    let found = (0..<30).map { _ in cache.removeOldest() }
    #expect(found == (0..<30).map { $0 >= 20 })
    let isLeft = cache.find(TraceID(high: 2, low: 1)) != nil
    #expect(!isLeft)
  }

  /// Room that was not needed between two checks is released.
  @Test(arguments: [false, true]) func aPeakDoesNotLast(remembersFacts: Bool) {
    let memory = SpanMemory()
    var cache = IndexedVerdicts(seed: 1, memory: memory, remembersFacts: remembersFacts)
    for number in 0..<10_000 as Range<UInt64> {
      let id = TraceID(high: 2, low: number + 1)
      cache.append(PastVerdict(traceID: id, isKept: false, threshold: .never, decidedAt: .start))
    }
    let peak = cache.byteCount
    for _ in 0..<9900 { cache.removeOldest() }
    cache.trim()
    let soon = cache.byteCount
    #expect(soon == peak)
    cache.trim()
    let later = cache.byteCount
    #expect(later <= peak / 32 && memory.verdictBytes == later)
    for number in 0..<10_000 as Range<UInt64> {
      let isFound = cache.find(TraceID(high: 2, low: number + 1)) != nil
      #expect(isFound == (number >= 9900))
    }
  }

  @Test func removingFromNothingIsNothing() {
    var cache = IndexedVerdicts(seed: 1, memory: SpanMemory())
    cache.removeOldest()
    #expect(cache.count == 0)
    #expect(cache.oldest == nil)
    #expect(cache.find(TraceID(high: 0, low: 0)) == nil)
  }

  @Test(arguments: [SamplingThreshold.always, .never, SamplingThreshold(probability: 0.01)])
  func packsThresholdAndFlagsApart(threshold: SamplingThreshold) {
    let id = TraceID(high: 1, low: 2)
    for isKept in [false, true] {
      var verdict = PastVerdict(traceID: id, isKept: isKept, threshold: threshold, decidedAt: .start)
      for isSet in [true, false] {
        verdict.isTruncated = isSet
        verdict.isRestored = isSet
        #expect(verdict.isTruncated == isSet && verdict.isRestored == isSet)
        #expect(verdict.isKept == isKept)
        #expect(verdict.threshold == (isKept ? threshold : .never))
      }
    }
  }

  /// What late spans of a dropped trace are judged by fits next to the flags.
  @Test func packsWhatIsKnownOfADroppedTrace() {
    let verdict = UInt64(Instant.start.nanoseconds)
    for (start, remembered) in [
      (verdict, verdict), (verdict + 1, verdict), (verdict - 1_048_575, verdict),
      (verdict - 45_000_000_000, verdict - 45_000_000_000 + 45_000_000_000 % 1_048_576),
      (0, verdict - (1 << 30 - 1) << 20),
    ] {
      var past = PastVerdict(
        traceID: TraceID(high: 1, low: 2), isKept: false, threshold: .never, decidedAt: .start)
      #expect(past.earliestStart == verdict)
      past.note(earliestStart: start, hasRoot: start == 0, isVetoed: start == verdict)
      #expect(past.earliestStart == remembered)
      #expect(past.unreported(of: .max) == .max)
      past.report(0b101)
      #expect(past.unreported(of: 0b111) == 0b010)
      // Policies beyond those with a bit of their own share one.
      #expect(past.unreported(of: 1 << 40 | 1 << 41) == 1 << 40 | 1 << 41)
      past.report(1 << 40)
      #expect(past.unreported(of: 1 << 63 | 0b111) == 0b010)
      past.isTruncated = true
      #expect(past.earliestStart == remembered)
      #expect(past.hasRoot == (start == 0) && past.isVetoed == (start == verdict))
      #expect(!past.isKept && past.threshold == .never)
    }
  }

  /// A full ring takes 48 bytes and two 8-byte buckets per verdict; one that has just doubled takes twice as
  /// much.
  @Test func takesTensOfBytesATrace() {
    #expect(MemoryLayout<PastVerdict>.stride == 48)
    var cache = IndexedVerdicts(seed: 1, memory: SpanMemory())
    for number in 0...(1 << 14) {
      let bytesMax = number == 1 << 14 ? 64 * (1 << 14) : 128 << 14
      #expect(cache.byteCount <= bytesMax)
      let id = TraceID(high: 2, low: UInt64(number + 1))
      cache.append(PastVerdict(traceID: id, isKept: false, threshold: .never, decidedAt: .start))
    }
    #expect(cache.byteCount == 128 << 14)
  }
}

/// A cache with an index that leads to its verdicts.
private struct IndexedVerdicts: ~Copyable {
  private var cache: VerdictCache
  private var index: TraceIndex

  init(seed: UInt64, memory: SpanMemory, remembersFacts: Bool = false) {
    cache = VerdictCache(memory: memory, remembersFacts: remembersFacts)
    index = TraceIndex(seed: HashSeed(value: seed))
  }

  var count: Int { cache.count }
  var byteCount: Int { cache.byteCount }
  var oldest: Instant? { cache.oldest }
  var hasRoom: Bool { cache.hasRoom }

  func find(_ id: TraceID) -> Int? {
    guard case .past(let slot) = index.find(index.hash(id), where: { isVerdict($0, on: id) })
    else { return nil }
    return slot
  }

  private func isVerdict(_ place: TraceIndex.Place, on id: TraceID) -> Bool {
    if case .past(let slot) = place { cache[slot].traceID == id } else { false }
  }

  subscript(slot: Int) -> PastVerdict {
    get { cache[slot] }
    set { cache[slot] = newValue }
  }

  mutating func append(_ verdict: PastVerdict, _ facts: RememberedFacts = RememberedFacts()) {
    let slot = cache.append(verdict, facts, in: &index)
    index.insert(index.hash(verdict.traceID), .past(slot))
    let (indexed, found) = (index.count, cache.foundCount)
    #expect(indexed == found)
  }

  mutating func replace(_ slot: Int) { cache.replace(slot, in: &index) }

  @discardableResult
  mutating func removeOldest() -> Bool { cache.removeOldest(from: &index) }

  mutating func trim() { cache.trim(&index) }

  func facts(of slot: Int) -> RememberedFacts? { cache.facts(of: slot) }

  mutating func remember(_ facts: RememberedFacts, of slot: Int) { cache.remember(facts, of: slot) }

  mutating func follow(_ places: [Int?], _ move: PredicateMove, remembersFacts: Bool) -> Int {
    cache.follow(places, move, remembersFacts: remembersFacts, in: &index)
  }
}
