// The ledger: pages say what was decided, whatever is wrong with a page is found, and its verdicts count.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

/// The entries of a page.
private func entries(_ page: [UInt8]) throws -> [LedgerEntry] {
  try page.withRawBytes { page in
    guard var reader = try LedgerReader(page: page) else { throw NoPage() }
    var entries: [LedgerEntry] = []
    while let entry = try reader.next(in: page) { entries.append(entry) }
    #expect(entries.count == Int(reader.traceCount))
    return entries
  }
}

private struct NoPage: Error {}

/// What is wrong with a page.
private func error(_ page: [UInt8]) -> LedgerError? {
  do {
    _ = try page.withRawBytes { (page) throws(LedgerError) in
      guard var reader = try LedgerReader(page: page) else { return }
      while try reader.next(in: page) != nil {}
    }
    return nil
  } catch { return error }
}

extension Decision {
  fileprivate init(
    _ id: TraceID, _ trigger: Trigger = .wait, at decidedAt: Instant, offsets: ClosedRange<Int64>,
    spans: Int = 3, errors: Int = 0, hasRoot: Bool = true, isVetoed: Bool = false
  ) {
    self.init(
      traceID: id, isKept: false, isFinal: true, trigger: trigger, matches: 0, threshold: .never,
      spanCount: spans, errorCount: errors, byteCount: 0, truncatedCount: 0, isVetoed: isVetoed,
      isLate: false, hasRoot: hasRoot, start: 0, duration: 0, firstOffset: Offset(offsets.lowerBound),
      lastOffset: Offset(offsets.upperBound), openedAt: decidedAt, decidedAt: decidedAt)
  }
}

/// A page with three entries that use every flag and numbers of several lengths.
private func samplePage() -> [UInt8] {
  var writer = LedgerWriter(partition: PartitionID(300), configuration: "1a2b3c4d", pageBytesMax: 10_000)
  let id = TraceID(high: 0x0102_0304_0506_0708, low: 0x090a_0b0c_0d0e_0f10)
  let start = UInt64(Instant.start.nanoseconds)
  writer.append(Decision(id, .root, at: .at(5000), offsets: 1000...1007), earliestStart: start)
  writer.append(
    Decision(
      TraceID(high: 1, low: 2), .wait, at: Instant(nanoseconds: Instant.at(5001).nanoseconds + 1),
      offsets: 900...40_000, spans: 70_000, errors: 300, hasRoot: false),
    earliestStart: start - 25_000_000_000)
  writer.append(
    Decision(TraceID(high: 3, low: 4), .memory, at: .at(4000), offsets: 2000...2000, isVetoed: true),
    earliestStart: .max)
  var pages: [[UInt8]] = []
  writer.takePages { page, traces in
    pages.append(page)
    #expect(traces == 3)
  }
  #expect(writer.isEmpty)
  return pages[0]
}

@Suite struct LedgerTests {
  @Test func aPageIsByteForByteAsDocumented() throws {
    let page = samplePage()
    let head: [UInt8] = [0x54, 0x52, 0x4c, 1, 3, 0, 0, 0, 0xac, 0x02, 8] + Array("1a2b3c4d".utf8)
    #expect(Array(page.prefix(head.count)) == head)
    // Zigzag of 1,700,000,005,000,000,000 and of 1000.
    let time: [UInt8] = [0x80, 0xc8, 0xff, 0x82, 0xec, 0xbf, 0xce, 0x97, 0x2f]
    #expect(Array(page[head.count..<head.count + 9]) == time, "\(page[head.count..<head.count + 9])")
    let first: [UInt8] = [
      0xd0, 0x0f,  // the offset
      1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
      0b0000_0001,  // a root; closed by the wait after it
      0, 7,  // the offset of the page, and seven more for the last one
      0,  // its time
      0xa0, 0x25,  // 4768 times 2^20 ns before that
      3,
    ]
    #expect(Array(page[(head.count + 9)...].prefix(first.count)) == first)
  }

  @Test func whatIsWrittenIsRead() throws {
    let found = try entries(samplePage())
    let start = UInt64(Instant.start.nanoseconds)
    #expect(found.map(\.firstOffset) == [1000, 900, 2000].map { Offset($0) })
    #expect(found.map(\.lastOffset) == [1007, 40_000, 2000].map { Offset($0) })
    #expect(found.map(\.trigger) == [.root, .wait, .memory])
    #expect(found.map(\.hasRoot) == [true, false, true])
    #expect(found.map(\.isVetoed) == [false, false, true])
    #expect(found.map(\.spanCount) == [3, 70_000, 3])
    #expect(found.map(\.errorCount) == [0, 300, 0])
    #expect(
      found.map(\.decidedAt) == [
        .at(5000), Instant(nanoseconds: Instant.at(5001).nanoseconds + 1), .at(4000),
      ])
    #expect(found[0].earliestStart - start < 1 << 20)
    #expect(found[1].earliestStart - (start - 25_000_000_000) < 1 << 20)
    #expect(found[2].earliestStart == UInt64(Instant.at(4000).nanoseconds))
    #expect(found[0].traceID == TraceID(high: 0x0102_0304_0506_0708, low: 0x090a_0b0c_0d0e_0f10))
  }

  /// Differences wrap around: no number is too large.
  @Test func extremesAreReadBack() throws {
    var random = RandomSource(seed: 5)
    let times: [Int64] = [.min, .max, 0, -1, 1, 1_000_000, -1_000_001, .max - 1]
    let offsets: [Int64] = [0, .max, 1, .max - 1]
    for bytesMax in [0, 1 << 20] {
      var writer = LedgerWriter(partition: PartitionID(0), configuration: "", pageBytesMax: bytesMax)
      var wanted: [Decision] = []
      var found: [LedgerEntry] = []
      for number in 0..<500 {
        let bounds = [offsets[random.number(in: 0...3)], offsets[random.number(in: 0...3)]].sorted()
        let decision = Decision(
          TraceID(high: .max, low: UInt64(number)), Decision.Trigger.allCases[number % 6],
          at: Instant(nanoseconds: times[random.number(in: 0...7)]), offsets: bounds[0]...bounds[1],
          spans: number % 3 == 0 ? .max : number, errors: number % 2 == 0 ? .max : 0)
        wanted.append(decision)
        writer.append(decision, earliestStart: [0, UInt64.max, 1 << 60][number % 3])
        if writer.isFull || number == 499 {
          var pages: [[UInt8]] = []
          writer.takePages { page, _ in pages.append(page) }
          for page in pages { found += try entries(page) }
        }
      }
      #expect(found.map(\.traceID) == wanted.map(\.traceID))
      #expect(found.map(\.decidedAt) == wanted.map(\.decidedAt))
      #expect(found.map(\.firstOffset) == wanted.map(\.firstOffset))
      #expect(found.map(\.lastOffset) == wanted.map(\.lastOffset))
      #expect(found.map(\.trigger) == wanted.map(\.trigger))
      #expect(found.map(\.spanCount) == wanted.map { UInt64($0.spanCount) })
      #expect(found.map(\.errorCount) == wanted.map { UInt64($0.errorCount) })
    }
  }

  @Test func everyPrefixIsTruncated() {
    let page = samplePage()
    for count in 4..<page.count {
      let found = error(Array(page.prefix(count)))
      #expect(found?.reason == .truncated, "\(count) bytes")
      #expect(found.map { $0.offset <= count } == true)
    }
    #expect(error(Array(page.prefix(3))) == nil, "too short to be a page")
  }

  /// A changed byte gives an error with its place, or other entries: nothing else happens.
  @Test func damageIsFoundOrHarmless() throws {
    let page = samplePage()
    for place in page.indices {
      for bit in 0..<8 {
        var damaged = page
        damaged[place] ^= 1 << UInt8(bit)
        if let found = error(damaged) { #expect(found.offset <= page.count) }
      }
    }
    #expect(error(page + [0]) == LedgerError(reason: .trailingBytes, offset: page.count))
    var other = page
    other[3] = 3
    #expect(error(other) == LedgerError(reason: .version(3), offset: 3))
    #expect(error(other)?.description == "unknown version 3 at byte 3")
    other = page
    other.replaceSubrange(10...11, with: [0xff, 0x01])
    #expect(error(other)?.reason == .truncated, "a configuration of 255 bytes")
    other.replaceSubrange(10...11, with: [0x80, 0x02])
    #expect(error(other) == LedgerError(reason: .number, offset: 10), "of 256")
    // The flags of the first entry.
    let flags = 11 + 8 + 9 + 2 + 16
    // Links are only in version 2.
    for bits in [0x80, 0xf0] as [UInt8] {
      other = page
      other[flags] = bits
      #expect(error(other) == LedgerError(reason: .flags, offset: flags))
    }
    other = page
    other.replaceSubrange(flags + 1..<flags + 2, with: [UInt8](repeating: 0xff, count: 10))
    #expect(error(other) == LedgerError(reason: .number, offset: flags + 1))
    // More milliseconds than nanoseconds have room for.
    other = page
    other.replaceSubrange(
      flags + 3..<flags + 4, with: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])
    #expect(error(other) == LedgerError(reason: .number, offset: flags + 3))
  }

  @Test func recordsSayWhatTheyAre() throws {
    for text in ["", "TRL", "{}", "no page"] {
      let error = #expect(throws: VerdictRecordError.self) {
        try Array(text.utf8).withRawBytes { record in try RestoredVerdict.read(record) { _ in } }
      }
      guard case .foreign = error else {
        Issue.record("'\(text)' is not foreign")
        continue
      }
    }
    var found: [RestoredVerdict] = []
    let page = Array(samplePage().dropLast())
    #expect(throws: VerdictRecordError.page(LedgerError(reason: .truncated, offset: page.count))) {
      try page.withRawBytes { record in try RestoredVerdict.read(record) { found.append($0) } }
    }
    #expect(found.count == 2, "what precedes the damage counts")
    #expect(found.allSatisfy { !$0.isKept && $0.isFinal && !$0.isLate && $0.threshold == .never })
  }
}

@Suite struct SamplerLedgerTests {
  private func world(_ adjust: (inout SamplerConfiguration) -> Void = { _ in }) -> World {
    World {
      $0.dropped = .ledger
      $0.version = "v1"
      adjust(&$0)
    }
  }

  @Test func aDroppedTraceIsInTheLedgerOnly() throws {
    let world = world()
    try world.send(.root(of: 5), at: 0)
    try world.send(.child(2, of: 5), at: 100)
    try world.send(.root(of: 6, .error), at: 200)
    #expect(!world.hasLedgerEntries)
    let events = try world.pass(to: 60_000)
    #expect(events.decisions.map(\.isKept) == [false, true])
    #expect(events.written.map(\.verdict) == ["keep"])
    #expect(world.hasLedgerEntries)
    let pages = world.takePages()
    #expect(!world.hasLedgerEntries && world.takePages().isEmpty)
    let found = try entries(pages[0])
    #expect(pages.count == 1 && found.count == 1)
    #expect(found[0].traceID == TestSpan.root(of: 5).traceID)
    #expect(found[0].spanCount == 2 && found[0].hasRoot && found[0].trigger == .root)
    #expect(found[0].firstOffset == Offset(0) && found[0].lastOffset == Offset(1))
    #expect(found[0].decidedAt == events.decisions[0].decidedAt)
  }

  /// A page has the verdicts of one configuration.
  @Test func anotherConfigurationBeginsAnotherPage() throws {
    let world = world()
    try world.send(.root(of: 5), at: 0)
    try world.pass(to: 60_000)
    var configuration = SamplerConfiguration()
    configuration.version = "v2"
    world.sampler.adopt(configuration)
    try world.send(.root(of: 6), at: 60_000)
    try world.pass(to: 120_000)
    let versions = try world.takePages().map { page in
      try page.withRawBytes { page in try LedgerReader(page: page)?.configuration }
    }
    #expect(versions == ["v1", "v2"])
  }

  /// However long the next commit takes, the ledger holds no more than a page.
  @Test func aFullPageIsAnOutput() throws {
    let world = world { $0.limits.ledgerPageBytes = 2000 }
    for trace in 1...400 as ClosedRange<UInt64> { try world.send(.root(of: trace), at: Int64(trace)) }
    world.sampler.advance(to: .at(60_000), into: &world.effects)
    let held = world.sampler.ledger.byteCount
    #expect(held < 8000)
    let pages = world.takePages()
    #expect(pages.count > 3 && pages.allSatisfy { $0.count <= 2000 })
    #expect(try pages.flatMap { try entries($0) }.map(\.traceID.low) == Array(1...400))
  }

  /// A restored verdict knows when its trace began, as the verdict itself does.
  @Test(arguments: [DroppedRecords.compact, .full, .ledger])
  func lateSpansAreJudgedAsBefore(_ dropped: DroppedRecords) throws {
    func adjust(_ configuration: inout SamplerConfiguration) {
      configuration.dropped = dropped
      configuration.policies = [
        Policy(name: "long", rule: .latency(threshold: .seconds(9), upper: nil, measure: .spans))
      ]
    }
    let first = World(adjust)
    try first.send(.root(of: 5), at: 0)
    var past: [RestoredVerdict] = []
    for case .decision(_, let bytes?) in try first.send(.root(of: 6), at: 7000) {
      past.append(try RestoredVerdict(record: bytes))
    }
    past += try first.takeLedger()
    #expect(past.map(\.isKept) == [false])
    let second = World(adjust)
    second.sampler.restore(try #require(first.commitPoint), past: past)
    second.offset = first.offset
    var late = TestSpan.child(9, of: 5)
    (late.start, late.end) = (9_000, 10_000)
    let (before, after) = (try first.send(late, at: 10_000), try second.send(late, at: 10_000))
    #expect(before.decisions.map(\.isLate) == [true])
    #expect(after.decisions.map(\.isLate) == [true])
  }

  // MARK: The order of recovery

  private func verdict(_ trace: UInt64, isKept: Bool, at time: Int64) -> RestoredVerdict {
    RestoredVerdict(
      traceID: TestSpan.root(of: trace).traceID, isKept: isKept, isFinal: true,
      threshold: isKept ? .always : .never, decidedAt: .at(time))
  }

  /// The ledger is read before the decisions: of two verdicts on a trace the later one counts.
  @Test(arguments: [false, true]) func theLastVerdictCounts(isKeptLast: Bool) throws {
    let world = world { $0.windows.lateWindow = .seconds(60) }
    let point = CommitPoint(
      safeOffset: Offset(9), clockAtSafeOffset: .at(61_000), highWater: Offset(9), clock: .at(61_000))
    let (drop, keep) = isKeptLast ? (1100, 60_000) : (60_000, 1100)
    world.sampler.restore(
      point, past: [verdict(5, isKept: false, at: Int64(drop)), verdict(5, isKept: true, at: Int64(keep))])
    world.offset = 9
    #expect(try world.send(.child(2, of: 5), at: 61_000).keptIDs == (isKeptLast ? [2] : []))
  }

  /// The verdicts of decision records follow those of the ledger in the cache, though some are older. They
  /// are forgotten in time all the same.
  @Test func olderVerdictsAreForgottenInTime() throws {
    let world = world {
      $0.windows.lateWindow = .seconds(60)
      $0.policies = [Policy(name: "none", rule: .statusCode([.error]))]
    }
    let point = CommitPoint(
      safeOffset: Offset(9), clockAtSafeOffset: .at(50_000), highWater: Offset(9), clock: .at(50_000))
    world.sampler.restore(
      point, past: [verdict(4, isKept: false, at: 49_000), verdict(5, isKept: true, at: 1000)])
    world.offset = 9
    #expect(try world.send(.child(2, of: 5), at: 60_999).keptIDs == [2])
    #expect(try world.send(.child(3, of: 5), at: 61_000).keptIDs == [], "another trace with its id")
    #expect(world.usage.openTraces == 1)
    #expect(try world.send(.child(3, of: 4), at: 62_000).keptIDs == [])
    #expect(world.counters.lateSpansDropped == 1)
    // The second trace is decided late, since nothing came meanwhile.
    try world.pass(to: 600_000)
    #expect(world.usage.pastVerdicts == 1)
    try world.pass(to: 660_000)
    #expect(world.usage.pastVerdicts == 0)
  }
}
