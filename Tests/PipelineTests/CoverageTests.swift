// What a report on a recording says: shapes, coverage, counts scaled up.

import OTLP
import Sampling
import Testing
import Topology

@testable import Pipeline

@Suite struct TraceShapeTests {
  private func shape(_ spans: [(id: UInt64, parent: UInt64, operation: UInt32)]) -> TraceShape {
    TraceShape(of: spans.map { ShapeSpan(id: $0.id, parent: $0.parent, operation: $0.operation) })
  }

  @Test func idsOrderAndRepeatsMakeNoDifference() {
    let first = shape([(1, 0, 7), (2, 1, 8), (3, 1, 9)])
    #expect(shape([(3, 1, 9), (2, 1, 8), (1, 0, 7)]) == first)
    #expect(shape([(11, 0, 7), (30, 11, 8), (20, 11, 9)]) == first)
    // Redelivered.
    #expect(shape([(1, 0, 7), (2, 1, 8), (3, 1, 9), (2, 1, 8)]) == first)
  }

  @Test func repeatedCallsDifferInOneOfThem() {
    let (once, twice) = (shape([(1, 0, 7), (2, 1, 8)]), shape([(1, 0, 7), (2, 1, 8), (3, 1, 8)]))
    #expect(once.edges == twice.edges && once.tree == twice.tree)
    #expect(once.calls != twice.calls)
  }

  /// a calls b and c, b calls d; against c calling d: other edges. Two b's, of which one calls c and one d,
  /// against one that calls both: the same edges, another tree.
  @Test func structureMatters() {
    let one = shape([(1, 0, 1), (2, 1, 2), (3, 1, 3), (4, 2, 4)])
    let other = shape([(1, 0, 1), (2, 1, 2), (3, 1, 3), (4, 3, 4)])
    #expect(one.edges != other.edges && one.tree != other.tree && one.calls != other.calls)
    let apart = shape([(1, 0, 1), (2, 1, 2), (3, 1, 2), (4, 2, 3), (5, 3, 4)])
    let together = shape([(1, 0, 1), (2, 1, 2), (4, 2, 3), (5, 2, 4)])
    #expect(apart.edges == together.edges)
    #expect(apart.tree != together.tree)
    // A root of its own, or a parent that did not arrive.
    #expect(shape([(1, 0, 1)]) == shape([(1, 9, 1)]))
    #expect(shape([]) == shape([]))
  }

  @Test func ringsAndLongChainsEnd() {
    let ring = shape([(1, 2, 1), (2, 1, 2)])
    #expect(ring == shape([(5, 6, 1), (6, 5, 2)]))
    #expect(shape([(1, 1, 1)]) == shape([(1, 0, 1)]), "its own parent")
    var chain: [(UInt64, UInt64, UInt32)] = []
    for id in 1...100_000 as ClosedRange<UInt64> { chain.append((id, id - 1, UInt32(id % 2))) }
    #expect(shape(chain).tree != shape(Array(chain.dropLast())).tree)
  }
}

@Suite struct ScaledCountTests {
  @Test func certainTracesAreExact() {
    var count = ScaledCount()
    for _ in 0..<50 { count.add(1) }
    #expect(count.kept == 50 && count.estimate == 50)
    #expect(count.interval(heaviest: 100).low == 50)
    // Nothing sampled was seen: there may still be some that stand for a hundred.
    #expect(abs(count.interval(heaviest: 100).high - 50 - 530) < 5)
  }

  /// The exact 99 % limits of Poisson counts.
  @Test(arguments: [(1, 0.005, 7.43), (10, 3.72, 21.40), (100, 76.1, 129.1)] as [(Int, Double, Double)])
  func theIntervalIsThatOfACount(_ number: Int, _ low: Double, _ high: Double) {
    var count = ScaledCount()
    for _ in 0..<number { count.add(20) }
    #expect(count.estimate == Double(number) * 20)
    let interval = count.interval()
    #expect(abs(interval.low - 20 * low) < 20 * 0.03 * Double(number) + 0.5)
    #expect(abs(interval.high - 20 * high) < 20 * 0.03 * high)
  }
}

extension ScaledCountTests {
  @Test func aHeavyTraceMayHaveBeenMissed() {
    var count = ScaledCount()
    for _ in 0..<25 { count.add(2) }
    // 50 light traces, and 50 of which 1 % are kept.
    #expect(count.interval(heaviest: 100).high > 100)
  }
}

@Suite struct CoverageTests {
  /// `count` traces of two spans, of as many kinds as `kinds` says; every tenth has an error.
  private func recording(_ count: Int, kinds: Int, pause: UInt64 = 10) throws -> RecordingReader {
    var bytes: [UInt8] = []
    for number in 0..<count {
      let id = UInt64(number + 1) &* 0x9e37_79b9_7f4a_7c15
      let end = UInt64(1_700_000_000_000_000_000) + UInt64(number) * pause * 1_000_000
      let record = tracesData([
        TestSpan(trace: id, id: 1, isError: number % 10 == 0, name: "root", end: end),
        TestSpan(trace: id, id: 2, parent: 1, name: "kind \(number % kinds)", end: end),
      ])
      bytes += (0..<4).map { UInt8(truncatingIfNeeded: record.count >> (8 * $0)) } + record
    }
    return try RecordingReader(bytes: bytes)
  }

  private func sampler(_ policies: [Policy]) -> SamplerConfiguration {
    var sampler = SamplerConfiguration()
    sampler.policies = policies
    return sampler
  }

  private var candidates: [SamplerConfiguration] {
    let share = { Policy(name: "share", rule: .probabilistic(SamplingThreshold(probability: $0))) }
    return [
      sampler([Policy(name: "all", rule: .alwaysSample)]), sampler([share(0)]),
      sampler([Policy(name: "errors", rule: .statusCode([.error])), share(0.2)]),
    ]
  }

  @Test func candidatesAreComparedSideBySide() throws {
    var study = CoverageStudy(candidates, rareShare: 0.2)
    let report = try study.run(try recording(2000, kinds: 8))
    #expect(report.traces == 2000 && report.spans == 4000 && report.uncounted == 0)
    #expect(report.candidates.map(\.traces)[..<2] == [2000, 0])
    let kept = report.candidates[2].traces
    #expect(kept > 470 && kept < 650, "\(kept)")
    #expect(report.candidates[2].spans == 2 * kept)
    for kind in CoverageReport.ShapeKind.allCases {
      #expect(report.shapes[kind.rawValue].total == 8)
      #expect(report.shapes[kind.rawValue].seen == [8, 0, 8])
      #expect(report.rareShapes[kind.rawValue].total == 8)
    }
    #expect(report.serviceCoverage.total == 1 && report.serviceCoverage.seen == [1, 0, 1])
    #expect(report.operations.total == 9 && report.roots.total == 1)
    #expect(report.services.map(\.traces) == [2000])
    // All of it, exactly; nothing at all; and an estimate that holds.
    #expect(report.services[0].estimates[0].estimate == 2000)
    #expect(report.candidates.map(\.servicesInside) == [1, 0, 1])
    #expect(abs(report.candidates[2].estimate.estimate - 2000) < 300)
  }

  /// A recording that is larger than memory is counted as it is read, with the same result.
  @Test(arguments: [(2000, 1_000_000), (500_000, 10_000)])
  func countsDoNotDependOnMemory(_ tracesMax: Int, _ spansMax: Int) throws {
    // A tenth of what fits is undecided at a time.
    let recording = { try self.recording(9000, kinds: 8, pause: 500) }
    // A replay that keeps nothing tells its verdicts in larger pieces.
    let candidates = [candidates[0], candidates[2]]
    var whole = CoverageStudy(candidates, rareShare: 0.2)
    var parts = CoverageStudy(
      candidates, rareShare: 0.2, canReadAgain: true, tracesMax: tracesMax, spansMax: spansMax)
    let (expected, report) = (try whole.run(try recording()), try parts.run(try recording()))
    #expect(report.hasTurned && !expected.hasTurned && !report.isCut)
    #expect(report.traces == 9000 && report.spans == 18_000 && report.uncounted == 0)
    #expect(report.candidates.map(\.traces) == expected.candidates.map(\.traces))
    #expect(report.candidates.map(\.spans) == expected.candidates.map(\.spans))
    #expect(report.shapes.map(\.seen) == expected.shapes.map(\.seen))
    #expect(report.services[0].estimates.map(\.estimate) == expected.services[0].estimates.map(\.estimate))
  }

  /// Where not even the traces of one wait fit, some are not counted, and it says so.
  @Test func whatDoesNotFitIsSaid() throws {
    var study = CoverageStudy(
      candidates, rareShare: 0.2, canReadAgain: true, tracesMax: 50, spansMax: 1_000_000)
    let report = try study.run(try recording(2000, kinds: 8))
    #expect(report.hasTurned && report.uncounted > 0 && report.traces < 2000)
  }
}

@Suite struct RealCoverageTests {
  /// Shapes of the real traces, counted by another program: sets of calls, those of less than 0.1 % of
  /// traces, trees, trees with repeats.
  @Test(
    .enabled(if: RealTraces.areThere, "the recordings are not there"),
    arguments: zip(RealTraces.all, [[45, 5, 45, 46], [10, 1, 10, 31]]))
  func realShapes(_ traces: RealTraces, _ counts: [Int]) throws {
    var sampler = SamplerConfiguration()
    sampler.policies = [Policy(name: "all", rule: .alwaysSample)]
    var study = CoverageStudy([sampler])
    let report = try study.run(try RecordingReader(path: traces.recording))
    #expect(report.traces == traces.traces)
    let found = [report.shapes[0], report.rareShapes[0], report.shapes[1], report.shapes[2]]
    #expect(found.map(\.total) == counts)
    #expect(found.map(\.seen) == counts.map { [$0] })
    #expect(report.candidates[0].servicesInside == report.services.count)
  }

  /// What `key: [trace.shape]` shows of the real shapes for a budget, and that it keeps to it within a tenth.
  @Test(
    .enabled(if: RealTraces.areThere, "the recordings are not there"),
    arguments: RealTraces.all, [1, 2.5])
  func aBudgetShowsItsShapes(_ traces: RealTraces, _ percentage: Double) throws {
    let text = """
      kind: tail-sampling
      policies: []
      baseline: {budget: {traces_percentage: \(percentage)}, key: [trace.shape]}
      """
    let topology = try Topology.parse(text, fileName: "t.yaml", environment: [:])
    guard case .tailSampling(let settings) = topology else {
      Issue.record("another kind")
      return
    }
    var study = CoverageStudy([SamplerConfiguration(settings)])
    let report = try study.run(try RecordingReader(path: traces.recording))
    let budget = Double(report.traces) * percentage / 100
    let kept = Double(report.candidates[0].traces)
    #expect(abs(kept / budget - 1) <= 0.1, "\(kept) of \(budget)")
    // Sets of calls, and trees with repeats. A budget that pays for fewer traces than there are shapes shows
    // nine in ten of as many.
    for shapes in [report.shapes[0], report.shapes[2]] {
      let payable = min(Double(shapes.total), budget.rounded(.down))
      #expect(
        Double(shapes.seen[0]) >= (percentage > 2 ? Double(shapes.total) : 0.9 * payable),
        "\(shapes.seen) of \(shapes.total)")
    }
  }
}
