// Metrics of all spans: every span counts once, whatever becomes of it and whoever reads it.

import OTLP
import Simulation
import Testing

@testable import Sampling

@Suite struct SpanMetricsTests {
  private struct Entry {
    var spans: [TestSpan]
    var time: Int64
  }

  private static func configuration(
    _ adjust: (inout SamplerConfiguration) -> Void = { _ in }
  ) -> SamplerConfiguration {
    var configuration = SamplerConfiguration()
    configuration.windows.decisionWait = .seconds(30)
    configuration.clockWitnesses = 1
    // Nothing is kept, so there are no exemplars: they depend on when a partition changes hands.
    configuration.policies = [
      Policy(name: "slow", rule: .latency(threshold: .seconds(9000), upper: nil))
    ]
    configuration.metrics = SpanMetricsConfiguration()
    configuration.metrics?.interval = .seconds(10)
    adjust(&configuration)
    return configuration
  }

  /// Traffic with late spans, redelivered ones, silences and a clock that goes back.
  private func log(_ seed: UInt64) -> [Entry] {
    var random = RandomSource(seed: seed)
    var time: Int64 = 0
    return (1...400).map { number in
      time += Int64(random.number(in: 0...700))
      if random.chance(0.01) { time += 60_000 }
      let trace = UInt64(random.number(in: 1...60))
      let spans = (0..<random.number(in: 1...3)).map { place in
        var span = TestSpan(trace: trace, id: UInt64(number * 4 + place))
        span.service = ["shop", "cart", "", "pay"][random.number(in: 0...3)]
        span.name = "GET /\(random.number(in: 0...4))"
        span.kind = UInt64(random.number(in: 0...7))
        span.status = [.unset, .ok, .error][random.number(in: 0...2)]
        span.end = span.start + Int64(random.number(in: 0...5000))
        if random.chance(0.1) { span.id = 3 }
        return span
      }
      return Entry(spans: spans, time: time)
    }
  }

  /// The series of all spans, and how many each has.
  private func truth(_ log: some Sequence<Entry>) -> [SpanSeries: UInt64] {
    let kinds = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
    var calls: [SpanSeries: UInt64] = [:]
    for span in log.flatMap(\.spans) {
      let series = SpanSeries(
        service: span.service.isEmpty ? "unknown_service" : span.service, name: span.name,
        kind: "SPAN_KIND_" + kinds[span.kind > 5 ? 0 : Int(span.kind)],
        status: "STATUS_CODE_" + ["UNSET", "OK", "ERROR"][Int(span.status.rawValue)])
      calls[series, default: 0] += 1
    }
    return calls
  }

  /// A sampler that reads a log and loses everything since its last commit now and then.
  private final class Run {
    let log: [Entry]
    var sampler: Sampler
    var effects = Effects()
    private(set) var committed: [[UInt8]] = []
    private var pending: [[UInt8]] = []
    private var point: CommitPoint?
    private let configuration: SamplerConfiguration

    init(_ log: [Entry], _ configuration: SamplerConfiguration) {
      self.log = log
      self.configuration = configuration
      sampler = Sampler(partition: PartitionID(7), configuration: configuration)
    }

    func read(_ offset: Int64) throws {
      let entry = log[Int(offset)]
      let error = record(entry.spans).withRawBytes { value in
        sampler.ingest(
          offset: Offset(offset), timestamp: .at(entry.time), key: nil, value: value, into: &effects)
      }
      if let error { throw error }
      take()
    }

    func take() {
      for case .measure(let range, _) in effects.outputs { pending.append(Array(effects.bytes[range])) }
      effects.removeAll()
      sampler.checkInvariants()
    }

    func commit() throws {
      committed += pending
      pending = []
      guard let now = sampler.commitPoint else { return }
      // What a broker remembers.
      point = CommitPoint(safeOffset: now.committedOffset, metadata: now.metadata)
      #expect(point == now)
    }

    /// Returns the first offset to read.
    func crash() -> Int64 {
      pending = []
      effects.removeAll()
      sampler = Sampler(partition: PartitionID(7), configuration: configuration)
      guard let point else { return 0 }
      sampler.restore(point)
      return sampler.nextOffset?.value ?? 0
    }

    func end() throws {
      sampler.advance(to: sampler.clock + .seconds(100), into: &effects)
      take()
      try commit()
    }
  }

  private func counted(_ records: [[UInt8]]) throws -> CountedSpans {
    var counted = CountedSpans()
    for record in records {
      try record.withRawBytes { (bytes) throws(MalformedInput) in try counted.read(bytes) }
    }
    return counted
  }

  private func unbroken(_ log: [Entry], _ configuration: SamplerConfiguration) throws -> [[UInt8]] {
    let run = Run(log, configuration)
    for offset in log.indices { try run.read(Int64(offset)) }
    try run.end()
    return run.committed
  }

  /// The same points, byte for byte, however often a partition changes hands.
  @Test(arguments: 1...12 as ClosedRange<UInt64>, [0, 600] as [Int64])
  func everySpanCountsOnce(_ seed: UInt64, _ lateWindow: Int64) throws {
    let log = log(seed)
    let configuration = Self.configuration { $0.windows.lateWindow = .seconds(max(30, lateWindow)) }
    let expected = try unbroken(log, configuration)
    let all = try counted(expected)
    #expect(all.calls == truth(log) && all.durations == all.calls && all.overflow == 0)
    var random = RandomSource(seed: seed ^ 77)
    let run = Run(log, configuration)
    var offset: Int64 = 0
    var (crashes, countedOnly) = (0, 0)
    while offset < log.count {
      try run.read(offset)
      offset += 1
      if random.chance(0.2) { try run.commit() }
      guard random.chance(0.03), crashes < 25 else { continue }
      crashes += 1
      offset = run.crash()
      if offset < run.sampler.recovery.samplesFrom.value { countedOnly += 1 }
    }
    try run.end()
    #expect(run.committed == expected)
    #expect(crashes > 3 && countedOnly > 0, "\(crashes), \(countedOnly)")
  }

  @Test func pointsCoverIntervalsOfTheStreamClock() throws {
    let log = [0, 4000, 9999, 10_000, 25_000, 47_000].map { Entry(spans: [.root()], time: $0) }
    let counted = try counted(try unbroken(log, Self.configuration()))
    func stretch(_ from: Int64, _ to: Int64) -> ClosedRange<UInt64> {
      UInt64(Instant.at(from).nanoseconds)...UInt64(Instant.at(to).nanoseconds)
    }
    #expect(
      counted.stretches == [
        stretch(0, 10_000), stretch(10_000, 20_000), stretch(20_000, 30_000), stretch(40_000, 50_000),
      ])
  }

  /// The interval of a record that ends a silence is its own.
  @Test func aSilenceIsNoPartOfTheNextPoint() throws {
    let run = Run([0, 300_000].map { Entry(spans: [.root()], time: Int64($0)) }, Self.configuration())
    try run.read(0)
    run.sampler.advance(to: .at(100_000), into: &run.effects)
    run.take()
    run.sampler.drift(to: .at(300_000))
    try run.read(1)
    try run.end()
    let since = UInt64(Instant.at(300_000).nanoseconds)
    #expect(try counted(run.committed).stretches.contains(since...since + 10_000_000_000))
  }

  /// A reader that wants points in order would drop the second of two.
  @Test func noSeriesIsTwiceInARecord() throws {
    var spans = ["", "unknown_service"].enumerated().map { number, service in
      var span = TestSpan.root(of: UInt64(number + 1))
      span.service = service
      return span
    }
    for name in [[0x61, 0xe9], [0x61, 0xe8]] as [[UInt8]] {
      var span = TestSpan.root(of: 7)
      span.nameBytes = name
      span.id = UInt64(spans.count + 1)
      spans.append(span)
    }
    let counted = try counted(try unbroken([Entry(spans: spans, time: 0)], Self.configuration()))
    #expect(counted.repeated == 0 && counted.calls.values.reduce(0, +) == 4)
    #expect(counted.calls.values.sorted() == [1, 1, 2])
  }

  /// What is only counted is not all in one short interval because the interval has become shorter.
  @Test func aShorterIntervalDoesNotSqueezeWhatWasCounted() throws {
    let log = (0..<12).map { Entry(spans: [.root(of: UInt64($0 + 1))], time: Int64($0) * 1000) }
    let before = Run(log, Self.configuration { $0.metrics?.interval = .seconds(60) })
    for offset in 0..<12 as Range<Int64> { try before.read(offset) }
    let now = before.sampler.commitPoint
    let run = Run(log, Self.configuration { $0.metrics?.interval = .seconds(1) })
    run.sampler.restore(try #require(now))
    for offset in (run.sampler.nextOffset?.value ?? 0)..<12 { try run.read(offset) }
    try run.end()
    let counted = try counted(run.committed)
    #expect(counted.calls.values.reduce(0, +) == 12)
    let first = try #require(counted.stretches.min { $0.lowerBound < $1.lowerBound })
    #expect(first.upperBound - first.lowerBound >= 5_000_000_000)
  }

  /// Windows and positions are not touched by records that are read again to be counted.
  @Test func recordsBeforeTheSafeOffsetAreOnlyCounted() throws {
    let log = (0..<8).map { Entry(spans: [.root(of: UInt64($0 + 1))], time: Int64($0) * 1000) }
    let run = Run(log, Self.configuration { $0.windows.decisionWaitAfterRoot = .seconds(2) })
    for offset in 0..<8 as Range<Int64> { try run.read(offset) }
    try run.commit()
    let now = run.sampler.commitPoint
    let point = try #require(now)
    #expect(point.safeOffset == Offset(6) && point.committedOffset == Offset(0))
    let next = run.crash()
    #expect(next == 0 && run.sampler.isRecovering)
    for offset in 0..<6 as Range<Int64> {
      try run.read(offset)
      #expect(run.sampler.usage.openTraces == 0 && run.sampler.counters.spansRead == 0)
      #expect(run.sampler.commitPoint?.safeOffset == Offset(6))
    }
    for offset in 6..<8 as Range<Int64> { try run.read(offset) }
    #expect(run.sampler.usage.openTraces == 2)
    let again = run.sampler.commitPoint
    #expect(again?.safeOffset == point.safeOffset && again?.counting == point.counting)
    try run.end()
    #expect(try counted(run.committed).calls.values.reduce(0, +) == 8)
  }

  @Test func whatIsTurnedOnCountsFromThere() throws {
    let log = (0..<4).map { Entry(spans: [.root(of: UInt64($0 + 1))], time: Int64($0) * 1000) }
    let before = Run(log, Self.configuration { $0.metrics = nil })
    for offset in 0..<3 as Range<Int64> { try before.read(offset) }
    let now = before.sampler.commitPoint
    let point = try #require(now)
    #expect(point.counting == nil)
    let run = Run(log, Self.configuration())
    run.sampler.restore(point)
    #expect(run.sampler.nextOffset == point.safeOffset)
    for offset in 0..<4 as Range<Int64> { try run.read(offset) }
    try run.end()
    #expect(try counted(run.committed).calls.values.reduce(0, +) == 1)
  }

  /// Names of all lengths that differ in one byte have a series each, and the same one when they come again.
  @Test func namesAreToldApartWhateverTheirLength() throws {
    var names = [""]
    for length in 1...40 {
      let name = String(repeating: "a", count: length)
      names += [name] + (0..<length).map { name.prefix($0) + "b" + name.dropFirst($0 + 1) }
    }
    let log = (names + names.shuffled()).enumerated().map { number, name in
      var span = TestSpan.root(UInt64(number + 1))
      span.name = name
      return Entry(spans: [span], time: 0)
    }
    let counted = try counted(unbroken(log, Self.configuration()))
    #expect(counted.calls == truth(log) && counted.calls.count == 861)
    #expect(counted.calls.values.allSatisfy { $0 == 2 })
  }

  /// A flood of names takes no more memory than the limit, and the spans still count.
  @Test func seriesBeyondTheLimitCountAsOne() throws {
    let log = (0..<50).map { number in
      var span = TestSpan.root(of: UInt64(number % 3 + 1))
      span.name = "user \(number % 20)"
      span.id = UInt64(number + 1)
      return Entry(spans: [span], time: 0)
    }
    let configuration = Self.configuration { $0.metrics?.seriesMax = 4 }
    let run = Run(log, configuration)
    for offset in log.indices { try run.read(Int64(offset)) }
    #expect(run.sampler.metrics.series.count == 5)
    #expect(run.sampler.counters.spansCounted == 50)
    try run.end()
    let counted = try counted(run.committed)
    #expect(counted.calls.count == 4 && counted.calls.values.reduce(0, +) == 12)
    #expect(counted.overflow == 38 && run.sampler.counters.spansCountedTogether == 38)
    #expect(run.sampler.metrics.series.isEmpty)
  }

  /// Names that are not UTF-8 are repaired, long ones cut, and records stay within what their topic accepts.
  @Test func recordsFitTheirTopicWhateverTheNames() throws {
    var spans: [TestSpan] = []
    for number in 0..<300 {
      var span = TestSpan.root(UInt64(number + 1))
      span.name = String(repeating: "é\u{1F600}", count: number)
      span.service = "service \(number % 7) " + String(repeating: "x", count: 3 * number)
      spans.append(span)
    }
    let log = spans.map { Entry(spans: [$0], time: 0) }
    let records = try unbroken(log, Self.configuration { $0.limits.metricsBytes = 12_000 })
    #expect(records.count > 10 && records.allSatisfy { $0.count <= 12_000 })
    let counted = try counted(records)
    #expect(counted.calls.values.reduce(0, +) == 300)
    #expect(counted.calls.keys.allSatisfy { $0.name.utf8.count <= 270 })
  }

  @Test func exemplarsAreOfKeptTraces() throws {
    let log = (1...60).map { number in
      let status: SpanStatus = number % 3 == 0 ? .error : .unset
      return Entry(spans: [.root(of: UInt64(number), status)], time: Int64(number) * 1000)
    }
    let configuration = Self.configuration {
      $0.policies = [Policy(name: "errors", rule: .statusCode([.error]))]
    }
    let counted = try counted(try unbroken(log, configuration))
    #expect(counted.exemplars.count == 7, "one for each interval of the one series that is kept")
    #expect(counted.exemplars.allSatisfy { $0.trace.low % 3 == 0 && $0.span == 1 })
  }
}
