// The index of kept traces: what it finds, what it forgets, what it counts.

import OTLP
import Sampling
import Testing

@testable import Exploration

@Suite struct IndexTests {
  private func trace(_ number: UInt64) -> TraceID {
    TraceID(high: number &* 0x9e37_79b9_7f4a_7c15, low: number)
  }

  /// Logs of a trace that never comes are not without limit.
  @Test func earlyLogsOfOneTraceAreBounded() {
    var early = EarlyLogs()
    for offset in 0..<100_000 as Range<Int64> {
      early.add(RecordPosition(.logs, partition: 0, offset: offset), of: trace(1))
    }
    #expect(early.take(trace(1)).count == 1024)
  }

  /// What is left out of a trace's logs is told.
  @Test func logsBeyondTheLimitAreTold() throws {
    var test = TestIndex()
    test.add(TestSpan(trace: trace(1), id: 1, name: "GET /"))
    test.decide(trace(1), spans: 1, errors: 0)
    for offset in 0..<1000 as Range<Int64> {
      test.index.add(logsOf: trace(1), at: RecordPosition(.logs, partition: 0, offset: offset))
    }
    #expect(test.index.trace(trace(1))?.hasMoreLogs == false)
    for offset in 1000..<1100 as Range<Int64> {
      test.index.add(logsOf: trace(1), at: RecordPosition(.logs, partition: 0, offset: offset))
    }
    #expect(test.index.trace(trace(1))?.hasMoreLogs == true)
  }

  @Test func decisionAndSpansBecomeOneRow() throws {
    var test = TestIndex()
    test.add(TestSpan(trace: trace(1), id: 1, name: "GET /", isError: true))
    test.decide(trace(1), spans: 2, errors: 1, extra: #","truncated_spans":3"#)
    test.add(TestSpan(trace: trace(1), id: 2, parent: 1, service: "db", name: "SELECT"))
    let found = try #require(test.index.trace(trace(1)))
    #expect(test.index.count == 1)
    #expect((found.service, found.operation) == ("shop", "GET /"))
    #expect((found.spans, found.errors, found.policy) == (2, 1, "errors"))
    #expect(found.isTruncated && !found.isLate)
    #expect(found.services.map(\.name).sorted() == ["db", "shop"])
    #expect(found.positions.map(\.offset) == [1, 2, 3])
    #expect(found.positions.map(\.topic) == [.sampled, .decisions, .sampled])
    #expect(found.positions.allSatisfy { $0.partition == 3 })
  }

  @Test func earlyRecordsDoNotReplaceFinalOnes() throws {
    var test = TestIndex()
    test.decide(trace(1), spans: 5)
    test.decide(trace(1), isFinal: false, spans: 2)
    #expect(try #require(test.index.trace(trace(1))).spans == 5)
  }

  @Test func searchesFind() {
    var test = TestIndex()
    for number in 1...20 as ClosedRange<UInt64> {
      var span = TestSpan(
        trace: trace(number), service: number % 2 == 0 ? "even" : "odd", name: "op\(number % 5)",
        start: 1_700_000_000_000_000_000 + number * 1_000_000_000, duration: number * 1_000_000,
        isError: number % 10 == 0)
      span.attributes = [("user", "u\(number)")]
      span.resource = [("host", "h\(number % 3)")]
      test.add(span)
    }
    func count(_ change: (inout TraceQuery) -> Void) -> Int {
      var query = TraceQuery()
      change(&query)
      return test.index.search(query).total
    }
    #expect(count { _ in } == 20)
    #expect(count { $0.service = "even" } == 10)
    #expect(count { $0.service = "unheard" } == 0)
    #expect(count { ($0.service, $0.operation) = ("even", "op1") } == 2)
    #expect(count { $0.operation = "op1" } == 4)
    #expect(count { $0.hasError = true } == 2)
    #expect(count { $0.hasError = false } == 18)
    #expect(count { $0.durations = 5_000_000...8_000_000 } == 4)
    #expect(count { $0.times = 1_700_000_019_000_000_000...Int64.max } == 2)
    // The filter lets a few others through, never leaves one out.
    #expect((1...3).contains(count { $0.tags = [("user", "u7")] }))
    #expect((6...9).contains(count { $0.tags = [("host", "h1")] }))
    #expect(count { $0.tags = [("error", "true")] } >= 2)
    var query = TraceQuery()
    query.limit = 3
    #expect(test.index.search(query).found.map(\.id) == [20, 19, 18].map(trace))
    query.order = .longest
    query.durations = 0...5_000_000
    #expect(test.index.search(query).found.map(\.id) == [5, 4, 3].map(trace))
  }

  @Test func reasonsAndPoliciesAreSearched() {
    var test = TestIndex()
    for number in 1...3 as ClosedRange<UInt64> {
      test.decide(trace(number), policy: number == 2 ? "slow" : "errors")
    }
    var query = TraceQuery()
    query.policy = "slow"
    #expect(test.index.search(query).found.map(\.id) == [trace(2)])
    #expect(test.index.search(query).found.map(\.isSlow) == [true])
    query = TraceQuery()
    query.reason = "errors"
    #expect(test.index.search(query).total == 2)
  }

  /// Every name, pair and list of a trace that leaves is released.
  @Test func memoryIsBoundedUnderHostileVariety() {
    var test = TestIndex(bytesMax: 1 << 20)
    for number in 1...20_000 as ClosedRange<UInt64> {
      test.time += 1_000_000_000
      test.add(
        TestSpan(
          trace: trace(number), id: number, parent: number % 3 == 0 ? 77 : 0, service: "s\(number)",
          name: String(repeating: "x", count: Int(number % 400)) + "\(number)"))
      test.decide(trace(number), policy: "p\(number)")
      #expect(test.index.byteCount <= 1 << 20)
    }
    #expect(test.index.evicted > 1000)
    #expect(test.index.count > 100)
    #expect(test.index.trace(trace(1)) == nil)
    #expect(test.index.trace(trace(20_000)) != nil)
    #expect(test.index.serviceNames().count < 20_000)
  }

  @Test func namesAreReleasedWithTheirLastUse() {
    var names = NamePool(bytesMax: 1000)
    let first = names.take("a")
    #expect(names.take("a") == first)
    names.release(first)
    #expect(names.find("a") == first)
    names.release(first)
    #expect(names.find("a") == nil)
    #expect(names.byteCount == 0)
    for number in 0..<100 { _ = names.take("name \(number)") }
    #expect(names.byteCount <= 1000)
    #expect(names.take("one more") == NamePool.other)
    #expect(names.crowdedOut > 0)
  }

  // MARK: Weights

  /// 100 traces, each kept with one half: 200 calls, and the variance of each is w (w - 1) n^2 = 2.
  @Test func callsAreScaledWithTheirInterval() throws {
    var test = TestIndex()
    for number in 1...100 as ClosedRange<UInt64> {
      // Children arrive before their parents in every other trace.
      let root = TestSpan(trace: trace(number), id: 1, service: "front", threshold: "8")
      let child = TestSpan(trace: trace(number), id: 2, parent: 1, service: "back", threshold: "8")
      for span in number % 2 == 0 ? [root, child] : [child, root] { test.add(span) }
    }
    let map = test.index.map(Int64(0)...Int64.max)
    #expect(map.services.map(\.name).sorted() == ["back", "front"])
    let call = try #require(map.calls.first)
    #expect((call.from, call.to, map.calls.count) == ("front", "back", 1))
    #expect(call.summary.calls == 200)
    #expect(call.summary.samples == 100)
    let reach = 2.5758 * (100.0 * 2).squareRoot()
    #expect(abs(call.summary.low - (200 - reach)) < 0.01)
    #expect(abs(call.summary.high - (200 + reach)) < 0.01)
    let median = try #require(call.summary.median)
    #expect(median > 840_000 && median < 1_190_000)
  }

  /// Ten spans of one trace come and go together: the variance is w (w - 1) 10^2, not ten times w (w - 1).
  @Test func spansOfATraceAreNotIndependent() {
    var tally = Tally()
    for before in 0..<10 { tally.add(weight: 4, count: 1, before: Double(before), isError: before == 0) }
    #expect((tally.weight, tally.errorWeight, tally.variance) == (40, 4, 1200))
  }

  /// Ten traces that stand for four each: 40 calls, and a variance of 4 (4 - 1) for each trace.
  @Test func callsHaveAnInterval() throws {
    var test = TestIndex()
    for number in 1...10 as ClosedRange<UInt64> {
      test.add(TestSpan(trace: trace(number), threshold: "c"))
      test.add(
        TestSpan(trace: trace(number), id: 2, parent: 1, service: "db", name: "SELECT", threshold: "c"))
    }
    let map = test.index.map(Int64(0)...Int64.max)
    let call = try #require(map.calls.first)
    #expect((call.from, call.to, call.summary.calls, call.summary.samples) == ("shop", "db", 40, 10))
    let reach = 2.5758 * 120.0.squareRoot()
    #expect(abs(call.summary.low - (40 - reach)) < 0.01 && abs(call.summary.high - (40 + reach)) < 0.01)
  }

  @Test func certainTracesHaveNoUncertainty() {
    var test = TestIndex()
    for number in 1...10 as ClosedRange<UInt64> { test.add(TestSpan(trace: trace(number))) }
    let summary = test.index.map(Int64(0)...Int64.max).services[0].summary
    #expect((summary.calls, summary.low, summary.high) == (10, 10, 10))
  }

  @Test(arguments: [0, 1, 2, 3, 1000, 999_999, 1_000_000, 1 << 40, UInt64(Int64.max)])
  func durationsHaveAClass(_ duration: UInt64) {
    let number = LatencyScale.number(of: duration)
    #expect(LatencyScale.low(of: number) <= max(1, Double(duration)) * 1.0001)
    #expect(LatencyScale.low(of: number + 1) > Double(duration) * 0.9999)
    let known = PairInfo(count: 40_000, hasError: true, duration: duration)
    #expect((known.count, known.hasError) == (32_767, true))
    #expect(abs(Double(known.duration) - Double(duration)) <= Double(duration) / 1000)
  }

  @Test func longDurationsAreCut() {
    #expect(PairInfo(count: 1, hasError: false, duration: .max).duration > UInt64.max / 2 - UInt64.max / 1000)
    #expect(LatencyScale.number(of: .max) == LatencyScale.classMax)
  }

  @Test func latenciesHaveDots() {
    var test = TestIndex()
    for number in 1...5 as ClosedRange<UInt64> {
      test.add(TestSpan(trace: trace(number), duration: number * 1_000_000))
    }
    let text = String(
      decoding: test.index.latencies(of: "shop", "GET /", 0...Int64.max).bytes, as: UTF8.self)
    #expect(text.contains(#""samples":5"#))
    #expect(text.components(of: "trace_id") == 5)
    let none = String(decoding: test.index.latencies(of: "none", nil, 0...Int64.max).bytes, as: UTF8.self)
    #expect(none.hasPrefix(#"{"buckets":[],"dots":[]"#))
  }

  @Test func overviewsSumUp() {
    var test = TestIndex()
    for number in 1...4 as ClosedRange<UInt64> {
      test.add(TestSpan(trace: trace(number)))
      test.decide(
        trace(number), policy: number == 1 ? "errors" : "baseline", threshold: "c",
        errors: number == 1 ? 1 : 0)
    }
    let decided: Int64 = 1_700_000_010_000_000_000
    let sums = test.index.overview(from: decided - 10, to: decided + 10, steps: 4)
    #expect(sums.kept.reduce(0, +) == 4)
    #expect(sums.weight.reduce(0, +) == 16)
    #expect(sums.reasons.map(\.policy) == ["baseline", "errors"])
    #expect(sums.services.map(\.kept) == [4])
    #expect(sums.errors == 1)
    #expect(test.index.overview(from: 0, to: 10, steps: 60).kept.reduce(0, +) == 0)
  }

  @Test func damagedRecordsAreCounted() {
    var test = TestIndex()
    [UInt8]([1, 2, 3]).withRawBytes {
      test.index.add(spans: $0, at: RecordPosition(.sampled, partition: 0, offset: 0), time: 0)
      test.index.add(decision: $0, at: RecordPosition(.decisions, partition: 0, offset: 0))
    }
    #expect((test.index.unreadable, test.index.count) == (2, 0))
  }

  /// The lists that stay are moved together, whatever left between them.
  @Test func packingReleasesWhatIsFree() {
    var pool = WordPool()
    var lists = [WordList](repeating: WordList(), count: 3000)
    // Turn by turn, so that no list's blocks are neighbours.
    for word in 0..<30 as Range<UInt32> {
      for list in lists.indices { pool.append(UInt32(list) * 100 + word, to: &lists[list]) }
    }
    let size = pool.byteCount
    #expect(!pool.isLoose)
    for list in lists.indices where list % 3 != 0 { pool.remove(lists[list]) }
    var kept = stride(from: 0, to: 3000, by: 3).map { lists[$0] }
    #expect(pool.isLoose && pool.byteCount == size)
    pool.pack { move in for place in kept.indices { move(&kept[place]) } }
    #expect(!pool.isLoose && pool.byteCount < size / 2)
    for place in kept.indices { pool.append(99, to: &kept[place]) }
    for (place, list) in kept.enumerated() {
      var words: [UInt32] = []
      pool.forEach(list, of: 3) {
        words += [$0.0, $0.1, $0.2]
        return true
      }
      let first = UInt32(place) * 300
      #expect(Array(words.prefix(31)) == (0..<30).map { first + $0 } + [99])
    }
  }

  /// Long lists leave, short ones come: what the long ones took counts until it is released, and is.
  @Test func theLimitHoldsWhenTrafficChanges() {
    let most = 4 << 20
    var test = TestIndex(bytesMax: most)
    for number in 1...1200 as ClosedRange<UInt64> {
      for span in 1...60 as ClosedRange<UInt64> {
        test.add(TestSpan(trace: trace(number), id: span, name: "operation \(span)"))
      }
      #expect(test.index.byteCount <= most)
    }
    #expect(test.index.words.byteCount > most / 4)
    for number in 10_000...30_000 as ClosedRange<UInt64> {
      test.add(TestSpan(trace: trace(number)))
      if number % 64 == 0 { #expect(test.index.byteCount <= most) }
    }
    #expect(test.index.words.byteCount < most / 4)
    #expect(test.index.count > 5000)
  }

  @Test func operationsHaveTheKindsOfTheirSpans() {
    var test = TestIndex()
    for (number, kind) in [2, 3, 3, 0, 77].enumerated() {
      test.add(TestSpan(trace: trace(UInt64(number + 1)), name: number < 3 ? "a" : "b", kind: UInt64(kind)))
    }
    let found = test.index.operationKinds(of: "shop")
    #expect(found.map(\.name) == ["a", "a", "b"] && found.map(\.kind) == ["client", "server", ""])
    #expect(test.index.operationKinds(of: "none").isEmpty)
  }

  /// The topics are read side by side: logs may be read before their trace.
  @Test func logsBelongToTheirTraces() throws {
    var test = TestIndex()
    func place(_ offset: Int64) -> RecordPosition { RecordPosition(.logs, partition: 7, offset: offset) }
    test.index.add(logsOf: trace(1), at: place(1))
    #expect(test.index.count == 0)
    test.add(TestSpan(trace: trace(1)))
    test.index.add(logsOf: trace(1), at: place(2))
    let found = try #require(test.index.trace(trace(1)))
    #expect(found.positions.filter { $0.topic == .logs } == [place(1), place(2)])
    // The first of very many are forgotten; none is a trace of its own.
    for number in 10...9000 as ClosedRange<UInt64> { test.index.add(logsOf: trace(number), at: place(3)) }
    for number in [10, 9000] as [UInt64] { test.add(TestSpan(trace: trace(number))) }
    #expect(test.index.count == 3)
    #expect(try #require(test.index.trace(trace(10))).positions.map(\.topic) == [.sampled])
    #expect(try #require(test.index.trace(trace(9000))).positions.map(\.topic) == [.logs, .sampled])
  }

  @Test func listsGrowAndAreReused() {
    var pool = WordPool()
    var lists = [WordList(), WordList()]
    for word in 0..<100 as Range<UInt32> { pool.append(word, to: &lists[Int(word % 2)]) }
    var seen: [UInt32] = []
    pool.forEach(lists[1], of: 2) {
      seen += [$0.0, $0.1]
      return true
    }
    #expect(seen == (0..<50).map { UInt32($0) * 2 + 1 })
    let size = pool.byteCount
    pool.remove(lists[0])
    lists[0] = WordList()
    for word in 0..<50 as Range<UInt32> { pool.append(word, to: &lists[0]) }
    #expect(pool.byteCount == size)
  }
}

extension String {
  func components(of part: String) -> Int { ranges(of: part).count }
}
