// Calls, links and durations in the index of kept traces.

import Foundation
import OTLP
import Testing

@testable import Exploration

@Suite struct CallTests {
  private func trace(_ number: UInt64) -> TraceID { TraceID(high: 0xabc, low: number) }

  // MARK: Calls and links

  /// Whatever the kind of a span is, it is a call if its parent is of another service: a job that continues a
  /// trace from its environment has an internal span, and some SDKs set no kind.
  @Test(arguments: [0, 1, 2, 3, 4, 5, 77] as [UInt64], [false, true])
  func aSpanBelowAnotherServicesIsACall(_ kind: UInt64, _ isChildFirst: Bool) throws {
    var test = TestIndex()
    let spans = [
      TestSpan(id: 1, service: "dispatcher", kind: 4),
      TestSpan(id: 2, parent: 1, service: "nightly", kind: kind, isError: true),
      // Within its service: no call, and no entry unless its kind says so.
      TestSpan(id: 3, parent: 2, service: "nightly", kind: 1),
      TestSpan(id: 4, parent: 2, service: "nightly", kind: 3),
    ]
    for span in isChildFirst ? spans.reversed() : spans { test.add(span) }
    let map = test.index.map(Int64(0)...Int64.max)
    #expect(map.calls.map { [$0.from, $0.to] } == [["dispatcher", "nightly"]] && map.links.isEmpty)
    #expect(map.calls[0].summary.calls == 1)
    let nightly = try #require(map.services.first { $0.name == "nightly" }?.summary)
    #expect((nightly.calls, nightly.samples, nightly.errorShare) == (1, 1, 1))
    let dots = test.index.latencies(of: "nightly", nil, 0...Int64.max)
    #expect(String(decoding: dots.bytes, as: UTF8.self).components(of: "trace_id") == 1)
  }

  /// The list of a trace counts its entries, found by kind or by parent: they are not independent.
  @Test func entriesByParentAreCountedWithTheirTrace() throws {
    var test = TestIndex()
    test.add(TestSpan(id: 1, service: "shop", threshold: "c"))
    for id in 2...4 as ClosedRange<UInt64> {
      test.add(TestSpan(id: id, parent: 1, service: "job", kind: 1, threshold: "c"))
    }
    let summary = try #require(
      test.index.map(Int64(0)...Int64.max).services.first { $0.name == "job" }?.summary)
    // w (w - 1) n^2 with w = 4 and n = 3.
    let reach = 2.5758 * (12.0 * 9).squareRoot()
    #expect(summary.calls == 12 && abs(summary.high - (12 + reach)) < 0.01)
  }

  /// A consumer that links to the producer's span, in its own trace, before or after that was read; each of
  /// two traces that stand for four is seen with the other one in one case of sixteen.
  @Test(arguments: [false, true]) func aSpanThatLinksToAnotherServices(_ isLinkFirst: Bool) throws {
    var test = TestIndex()
    let producer = TestSpan(trace: trace(1), id: 7, service: "shop", kind: 4, threshold: "c")
    var consumer = TestSpan(trace: trace(2), id: 8, service: "worker", kind: 5, threshold: "c")
    consumer.links = [(trace(1), 7), (trace(1), 7), (trace(3), 9)]
    for span in isLinkFirst ? [consumer, producer] : [producer, consumer] { test.add(span) }
    let map = test.index.map(Int64(0)...Int64.max)
    #expect(map.calls.isEmpty && map.links.map { [$0.from, $0.to] } == [["shop", "worker"]])
    #expect(map.links[0].summary.calls == 16 && map.links[0].summary.samples == 1)
    let document = String(decoding: map.document().bytes, as: UTF8.self)
    #expect(document.contains(#""links":[{"from":"shop","to":"worker","calls":16"#), "\(document)")
    let jaegers = String(decoding: JaegerDocuments.dependencies(map).bytes, as: UTF8.self)
    #expect(jaegers.contains(#"{"parent":"shop","child":"worker","callCount":16}"#))
  }

  /// Where linked traces share their randomness, both are kept with the lesser probability of the two.
  @Test(arguments: [false, true]) func linksOfTracesThatShareRandomness(_ isShared: Bool) {
    var test = TestIndex(sharesRandomness: isShared)
    test.add(TestSpan(trace: trace(1), id: 7, service: "shop", kind: 4, threshold: "c"))
    var consumer = TestSpan(trace: trace(2), id: 8, service: "worker", kind: 5, threshold: "8")
    consumer.links = [(trace(1), 7)]
    test.add(consumer)
    #expect(test.index.map(Int64(0)...Int64.max).links.map(\.summary.calls) == [isShared ? 4 : 8])
  }

  /// The links of a span are kept together: they are not independent.
  @Test func linksOfASpanAreCountedWithTheirTrace() throws {
    var test = TestIndex()
    var consumer = TestSpan(trace: trace(1), id: 9, service: "worker", kind: 5, threshold: "c")
    for id in 1...3 as ClosedRange<UInt64> {
      test.add(TestSpan(trace: trace(1), id: id, service: "shop", kind: 4, threshold: "c"))
      consumer.links.append((trace(1), id))
    }
    test.add(consumer)
    let summary = try #require(test.index.map(Int64(0)...Int64.max).links.first?.summary)
    // w (w - 1) n^2 with w = 4 and n = 3.
    let reach = 2.5758 * (12.0 * 9).squareRoot()
    #expect(summary.calls == 12 && abs(summary.high - (12 + reach)) < 0.01)
  }

  /// Links to traces that were not kept don't crowd out what waits for its parent.
  @Test func linksToNowhereCrowdOutNoCalls() {
    var test = TestIndex(bytesMax: 1 << 20)
    test.add(TestSpan(trace: trace(1), id: 2, parent: 1, service: "db"))
    for id in 1...4 as ClosedRange<UInt64> {
      var consumer = TestSpan(trace: trace(2), id: id, service: "worker", kind: 5)
      consumer.links = (1...128).map { (trace(1000 + id), $0) }
      test.add(consumer)
    }
    test.add(TestSpan(trace: trace(1), id: 1, service: "shop"))
    #expect(test.index.map(Int64(0)...Int64.max).calls.map { [$0.from, $0.to] } == [["shop", "db"]])
  }

  @Test func linksThatAreNoneAreLeftOut() {
    var test = TestIndex()
    test.add(TestSpan(id: 1, service: "shop", kind: 4))
    var consumer = TestSpan(id: 2, parent: 1, service: "worker", kind: 5)
    // To its own parent: that is the call; to nothing; to its own service.
    consumer.links = [(trace(1), 1), (trace(0), 1), (trace(1), 0), (trace(1), 3)]
    consumer.links[1].0 = TraceID(high: 0, low: 0)
    consumer.trace = trace(1)
    test.add(TestSpan(trace: trace(1), id: 1, service: "shop", kind: 4))
    test.add(TestSpan(trace: trace(1), id: 3, service: "worker", kind: 1))
    test.add(consumer)
    let map = test.index.map(Int64(0)...Int64.max)
    #expect(map.links.isEmpty && map.calls.map(\.summary.calls) == [1])
    // Where there is a call, Jaeger's document has it once.
    let jaegers = String(decoding: JaegerDocuments.dependencies(map).bytes, as: UTF8.self)
    #expect(jaegers.components(of: "callCount") == 1)
  }

  /// Forgotten minutes release the names of their links.
  @Test func linksAreForgottenWithTheirMinute() {
    var test = TestIndex(bytesMax: 1 << 20)
    for number in 1...30_000 as ClosedRange<UInt64> {
      test.time += 600_000_000
      test.add(TestSpan(trace: trace(number), id: 1, service: "a\(number % 900)", kind: 4))
      var consumer = TestSpan(trace: trace(number), id: 2, service: "b\(number % 700)", kind: 5)
      consumer.links = [(trace(number), 1)]
      test.add(consumer)
      if number % 5000 == 0 { #expect(test.index.byteCount <= test.index.bytesMax) }
    }
  }

  // MARK: Durations

  /// A span without a start does not make its trace last since 1970, decided or not.
  @Test(arguments: [false, true]) func spansWithoutAStartAreNoPartOfADuration(_ isDecided: Bool) throws {
    var test = TestIndex()
    if isDecided { test.decide(trace(1), duration: 3_000_000) }
    test.add(TestSpan(trace: trace(1), id: 2, parent: 1, service: "worker", start: 0))
    test.add(TestSpan(trace: trace(1), id: 1, duration: 3_000_000))
    test.add(TestSpan(trace: trace(1), id: 3, parent: 1, service: "worker", start: 0))
    let found = try #require(test.index.trace(trace(1)))
    #expect((found.duration, found.wholeDuration) == (3_000_000, 3_000_000))
  }

  /// What goes on after the root is part of the whole, and of its order only.
  @Test func theWholeDurationReachesToTheLastEnd() throws {
    var test = TestIndex()
    let start: UInt64 = 1_700_000_000_000_000_000
    for (number, late) in [(1, 0), (2, 9_000_000_000), (3, 0)] as [(UInt64, UInt64)] {
      let duration = number * 1_000_000
      test.add(TestSpan(trace: trace(number), id: 1, start: start, duration: duration))
      test.add(
        TestSpan(
          trace: trace(number), id: 2, parent: 1, service: "worker", kind: 5, start: start + late,
          duration: 500_000))
      test.decide(trace(number), duration: Int64(duration))
    }
    let found = try #require(test.index.trace(trace(2)))
    #expect((found.duration, found.wholeDuration) == (2_000_000, 9_000_500_000))
    #expect(test.index.trace(trace(3))?.wholeDuration == 3_000_000)
    var query = TraceQuery()
    query.order = .longest
    #expect(test.index.search(query).found.map(\.id) == [trace(3), trace(2), trace(1)])
    query.order = .longestWhole
    #expect(test.index.search(query).found.map(\.id) == [trace(2), trace(3), trace(1)])
    // Bounds are the root's.
    query.durations = 0...2_000_000
    #expect(test.index.search(query).found.map(\.id) == [trace(2), trace(1)])
    var json = JSONText()
    found.append(to: &json)
    #expect(String(decoding: json.bytes, as: UTF8.self).contains(#""whole_duration_ns":9000500000"#))
  }
}
