// The truth about generated traces, compared with what a plain decoder finds in their records; and their
// shape.

import Simulation
import Testing

@Suite struct TruthTests {
  /// Many traces of every kind, and synchronised clocks, so that records show how late they are.
  private func traffic() throws -> GeneratedTraffic {
    try GeneratedTraffic(traces: 800) {
      smallTraces(&$0)
      $0.errorShare = 0.2
      $0.slowShare = 0.2
      $0.lateShare = 0.2
      $0.rootlessShare = 0.1
      $0.clockSkewMaxNanoseconds = 0
    }
  }

  @Test func itIsWhatTheRecordsShow() throws {
    let traffic = try traffic()
    let traces = traffic.traces
    #expect(traffic.truths.count == 800)
    #expect(Set(traffic.truths.map(\.trace)) == Set(traces.keys))
    for truth in traffic.truths {
      let spans = try #require(traces[truth.trace])
      let root = spans.first { $0.parent == nil }
      #expect(truth.spanCount == spans.count)
      #expect(truth.errorCount == spans.count(where: \.isError))
      #expect(truth.hasError == spans.contains(where: \.isError))
      #expect(truth.services == Set(spans.map(\.service)).sorted())
      #expect(truth.rootService == root?.service)
      #expect(truth.rootOperation == root?.name)
      #expect(truth.rootDurationNanoseconds == root.map { $0.end - $0.start })
      #expect(truth.isSlow == ((root.map { $0.end - $0.start } ?? 0) >= 2_000_000_000))
      let origin = origin(of: spans)
      #expect(truth.errorOriginSpanID == origin?.id)
      #expect(truth.errorOriginService == origin?.service)
    }
  }

  @Test func originsFollowTheClocksOfTheirServices() throws {
    let traffic = try GeneratedTraffic(traces: 100) {
      $0.errorShare = 1
      $0.clockSkewMaxNanoseconds = 10_000_000
    }
    let traces = traffic.traces
    for truth in traffic.truths {
      #expect(truth.errorOriginSpanID == origin(of: try #require(traces[truth.trace]))?.id)
    }
  }

  @Test func latenessIsWhatTheRecordsShow() throws {
    let traffic = try traffic()
    var late: [TraceKey: [DecodedSpan]] = [:]
    var lastPublished: [TraceKey: Int64] = [:]
    for (record, spans) in zip(traffic.records, traffic.spans) {
      let trace = spans[0].trace
      lastPublished[trace] = record.publishedAt
      let delay = record.publishedAt - (spans.map(\.end).max() ?? 0)
      #expect(delay >= 0)
      if delay >= 15_000_000_000 {
        #expect(late.updateValue(spans, forKey: trace) == nil, "two records of a trace are late")
        #expect(delay <= 41_000_000_000)
      } else {
        #expect(delay <= 1_000_000_000)
      }
    }
    let traces = traffic.traces
    for truth in traffic.truths {
      let spans = late[truth.trace] ?? []
      let errors = traces[truth.trace]?.count(where: \.isError) ?? 0
      let hasAllErrors = errors > 0 && spans.count(where: \.isError) == errors
      #expect(truth.isLate == !spans.isEmpty)
      #expect(truth.isOutcomeLate == (spans.contains { $0.parent == nil } || hasAllErrors))
      #expect(truth.lastPublishedAt == lastPublished[truth.trace])
    }
  }

  @Test func mixedRecordsGiveTheTimeOfTheirOwnPublishing() throws {
    let traffic = try GeneratedTraffic(traces: 100) { $0.mixed = true }
    var lastPublished: [TraceKey: Int64] = [:]
    for (record, spans) in zip(traffic.records, traffic.spans) {
      for span in spans { lastPublished[span.trace] = record.publishedAt }
    }
    for truth in traffic.truths { #expect(truth.lastPublishedAt == lastPublished[truth.trace]) }
  }

  @Test func aTruthIsGivenWithItsLastRecord() throws {
    var options = WorkloadOptions()
    options.traceCount = 100
    var workload = Workload(options)
    var left: [TraceKey: Int] = [:]
    while let record = workload.next() {
      left[TraceKey(high: record.traceIDHigh, low: record.traceIDLow), default: 0] += record.spanCount
      for truth in workload.takeFinishedTruths() {
        #expect(left.removeValue(forKey: truth.trace) == truth.spanCount)
      }
    }
    #expect(left.isEmpty)
  }

  @Test func sharesAreAsAskedFor() throws {
    let count = 4000
    let traffic = try GeneratedTraffic(traces: count) {
      smallTraces(&$0)
      $0.errorShare = 0.1
      $0.slowShare = 0.05
      $0.asyncShare = 0.3
      $0.lateShare = 0.08
      $0.rootlessShare = 0
      $0.tracestateShare = 0.2
    }
    #expect(isPlausible(traffic.truths.count(where: \.hasError), of: count, share: 0.1))
    #expect(isPlausible(traffic.truths.count(where: \.isSlow), of: count, share: 0.05))
    #expect(isPlausible(traffic.truths.count(where: \.isLate), of: count, share: 0.08))
    let traces = traffic.traces.values
    #expect(isPlausible(traces.count { $0.contains { $0.kind == 5 } }, of: count, share: 0.3))
    #expect(isPlausible(traces.count { $0.contains { !$0.traceState.isEmpty } }, of: count, share: 0.2))
    #expect(traces.allSatisfy { Set($0.map(\.traceState)).count == 1 })
  }

  @Test func rootsStayAway() throws {
    let traffic = try GeneratedTraffic(traces: 2000) {
      smallTraces(&$0)
      $0.rootlessShare = 0.1
    }
    // Traces of one span keep their root: they are left out.
    let large = traffic.truths.filter { $0.spanCount > 1 || $0.rootDurationNanoseconds == nil }
    let rootless = large.count { $0.rootDurationNanoseconds == nil }
    #expect(isPlausible(rootless, of: large.count, share: 0.1))
    #expect(traffic.truths.allSatisfy { $0.rootDurationNanoseconds != nil || !$0.isSlow })
  }

  @Test func noRootIsCloseToTheThreshold() throws {
    let traffic = try GeneratedTraffic(traces: 1000) {
      smallTraces(&$0)
      $0.slowShare = 0.3
    }
    for duration in traffic.truths.compactMap(\.rootDurationNanoseconds) {
      #expect(duration <= 1_500_000_000 || (2_500_000_000...8_000_000_000).contains(duration))
    }
  }

  @Test func everyTraceIsOneTree() throws {
    let traffic = try GeneratedTraffic(traces: 100) { $0.rootlessShare = 0.2 }
    var identifiers: Set<UInt64> = []
    for (trace, spans) in traffic.traces {
      let byID = Dictionary(grouping: spans, by: \.id)
      #expect(byID.values.allSatisfy { $0.count == 1 })
      #expect(spans.allSatisfy { $0.id != 0 && identifiers.insert($0.id).inserted })
      let roots = spans.filter { $0.parent == nil }
      let missing = Set(spans.compactMap(\.parent)).filter { byID[$0] == nil }
      let truth = try #require(traffic.truths.first { $0.trace == trace })
      #expect(roots.count + missing.count == 1, "more than one tree")
      #expect(roots.isEmpty == (truth.rootDurationNanoseconds == nil))
      for span in spans {
        // Every path up ends at the root, or at the one span that never arrives.
        var (current, steps) = (span, 0)
        while let parent = current.parent, let next = byID[parent]?.first, steps <= spans.count {
          (current, steps) = (next, steps + 1)
        }
        #expect(steps <= spans.count, "a cycle of parents")
      }
    }
  }

  @Test(arguments: [Int64(0), 10_000_000])
  func childrenLieInTheirParentsButForTheClocksAndTheQueue(_ skew: Int64) throws {
    let traffic = try GeneratedTraffic(traces: 100) {
      $0.clockSkewMaxNanoseconds = skew
      $0.asyncShare = 0.5
    }
    for spans in traffic.traces.values {
      let byID = Dictionary(grouping: spans, by: \.id)
      for span in spans {
        #expect(span.end >= span.start)
        guard let parent = span.parent.flatMap({ byID[$0]?.first }) else { continue }
        let tolerance = span.service == parent.service ? 0 : 2 * skew
        #expect(span.start >= parent.start - tolerance)
        if span.kind == 5 {
          #expect(span.start > parent.end)
        } else {
          #expect(span.end <= parent.end + tolerance)
        }
      }
    }
  }

  /// The error span none of whose children failed; of several the one that ended first, then the smallest id.
  private func origin(of spans: [DecodedSpan]) -> DecodedSpan? {
    let errors = spans.filter(\.isError)
    let blamed = Set(errors.compactMap(\.parent))
    return errors.filter { !blamed.contains($0.id) }.min { ($0.end, $0.id) < ($1.end, $1.id) }
  }
}
