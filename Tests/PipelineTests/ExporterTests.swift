// The exporter over an in-memory broker and a store that answers on demand: what is committed when, dead
// letters, back-pressure, and what a rebalance leaves.

import Compression
import OTLP
import Sampling
import Synchronization
import Testing
import Topology

@testable import Pipeline

/// A store that keeps its requests, and answers when it is told to.
private final class TestStore: SpanStore {
  private struct State {
    var requests: [StoreRequest] = []
    var forgotten: Set<UInt64> = []
    var answers: [StoreAnswer] = []
    var answersAtOnce: StoreAnswer.Outcome?
    var isClosed = false
  }

  private let state = Mutex(State())

  init(answersAtOnce outcome: StoreAnswer.Outcome? = nil) {
    state.withLock { $0.answersAtOnce = outcome }
  }

  func send(_ request: StoreRequest) {
    state.withLock { state in
      state.requests.append(request)
      if let outcome = state.answersAtOnce {
        state.answers.append(StoreAnswer(number: request.number, outcome: outcome))
      }
    }
  }

  func forget(_ number: UInt64) { state.withLock { _ = $0.forgotten.insert(number) } }

  func takeAnswers() -> [StoreAnswer] {
    state.withLock { state in
      defer { state.answers = [] }
      return state.answers
    }
  }

  var figures: StoreFigures { StoreFigures() }
  func close() { state.withLock { $0.isClosed = true } }

  var requests: [StoreRequest] { state.withLock(\.requests) }
  var forgotten: Set<UInt64> { state.withLock(\.forgotten) }

  func answer(_ number: UInt64, _ outcome: StoreAnswer.Outcome = .taken(rejectedSpans: 0, message: "")) {
    state.withLock { $0.answers.append(StoreAnswer(number: number, outcome: outcome)) }
  }
}

private func exporter(
  _ link: MemoryLink, _ store: TestStore, _ change: (inout ExportJob.Configuration) -> Void = { _ in },
  report: @escaping (LaneEvent) -> Void = { _ in }
) -> Lane<MemoryLink, ExportJob> {
  var configuration = ExportJob.Configuration(topic: "sampled")
  configuration.pace.interval = .seconds(0)
  configuration.batchWait = .seconds(0)
  configuration.compression = .none
  change(&configuration)
  return Lane(link: link, configuration: configuration, store: store, report: report)
}

extension Lane where Job == ExportJob {
  fileprivate func run(_ steps: Int = 3) throws {
    for _ in 0..<steps { try step(at: moment(at(0)), timeout: .seconds(0)) }
  }
}

@Suite struct ExporterTests {
  /// `count` records with one span each, all of them of another trace.
  private func broker(_ count: Int, partitions: Int = 1, padding: Int = 0) -> MemoryBroker {
    let broker = MemoryBroker(partitions: partitions)
    for number in 0..<count {
      let id = UInt64(number + 1)
      broker.append(
        tracesData([TestSpan(trace: id, id: id, padding: padding)]), key: traceKey(id), at: at(0),
        to: number % partitions)
    }
    return broker
  }

  private func spanIDs(_ request: StoreRequest) throws -> [UInt64] {
    try scannedSpans(request.body).map(\.spanID)
  }

  @Test func recordsAreSentTogetherAndCommittedOnceTaken() throws {
    let (broker, store) = (broker(5), TestStore())
    let lane = exporter(MemoryLink(broker), store)
    try lane.run()
    #expect(store.requests.count == 1)
    #expect(try spanIDs(store.requests[0]) == [1, 2, 3, 4, 5])
    #expect(broker.commits.allSatisfy { $0 == 0 })
    store.answer(1)
    try lane.run()
    #expect(broker.commits.last == 5)
    #expect(lane.snapshot().lane.export.records == 5 && lane.snapshot().exportWaitingBytes == 0)
  }

  @Test func requestsAreNoLargerThanABatch() throws {
    let (broker, store) = (broker(20, padding: 300), TestStore())
    let size = broker.inputs[0][0].value?.count ?? 0
    try exporter(MemoryLink(broker), store) { $0.batchBytes = 3 * size }.run()
    #expect(store.requests.count == 7)
    #expect(store.requests.allSatisfy { $0.body.count <= 3 * size })
    #expect(try store.requests.flatMap { try spanIDs($0) } == Array(1...20))
  }

  @Test func answersOutOfOrderCommitOnlyWhatIsBeforeTheFirstOpenOne() throws {
    let (broker, store) = (broker(3), TestStore())
    let lane = exporter(MemoryLink(broker), store) { $0.batchBytes = 1 }
    try lane.run()
    #expect(store.requests.count == 3)
    store.answer(3)
    store.answer(2)
    try lane.run()
    #expect(broker.commits.allSatisfy { $0 == 0 })
    store.answer(1)
    try lane.run()
    #expect(broker.commits.last == 3)
  }

  /// Halving finds the one record that a store refuses; all others arrive, and its letter says why.
  @Test func aRefusedRecordIsADeadLetter() throws {
    let (broker, store) = (broker(9), TestStore())
    let lane = exporter(MemoryLink(broker), store)
    try lane.run()
    var answered = 0
    while answered < store.requests.count {
      let request = store.requests[answered]
      answered += 1
      let isBad = try spanIDs(request).contains(4)
      store.answer(
        request.number, isBad ? .refused(status: "400", message: "no") : .taken(rejectedSpans: 0, message: "")
      )
      try lane.run()
    }
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.count == 1)
    #expect(letters.first?.value == broker.inputs[0][3].value && letters.first?.key == traceKey(4))
    #expect(letters.first?.headers["reason"] == "refused_by_store")
    #expect(letters.first?.headers["error"] == "the store answers 400: no")
    #expect(letters.first?.headers["source_offset"] == "3")
    #expect(broker.commits.last == 9)
    let counters = lane.snapshot().lane.export
    #expect(counters.records == 8 && counters.refusedRecords == 1)
    #expect(lane.snapshot().exportWaitingBytes == 0)
  }

  /// A letter is written in the transaction that moves past its record: written before, a crash would repeat
  /// it.
  @Test func deadLettersWaitForWhatIsBeforeThem() throws {
    let (broker, store) = (broker(1), TestStore())
    broker.append([0xff, 0xff], key: nil, at: at(0))
    broker.append(nil, key: traceKey(7), at: at(0))
    let lane = exporter(MemoryLink(broker), store)
    try lane.run()
    #expect(broker.outputs(to: .deadLetters).isEmpty)
    store.answer(1)
    try lane.run()
    let reasons = broker.outputs(to: .deadLetters).map { $0.headers["reason"] }
    #expect(reasons.count == 2 && reasons.last == "tombstone")
    #expect(broker.commits.last == 3)
    #expect(lane.snapshot().exportWaitingBytes == 0)
  }

  @Test func readingStopsWhileTooMuchWaits() throws {
    let (broker, store) = (broker(100, partitions: 2, padding: 1000), TestStore())
    let link = MemoryLink(broker, assigned: 2)
    let lane = exporter(link, store) { configuration in
      configuration.batchBytes = 2000
      configuration.waitingBytesMax = 10_000
    }
    try lane.run(10)
    let size = broker.inputs[0][0].value?.count ?? 0
    #expect(lane.snapshot().exportIsPaused)
    #expect(lane.snapshot().exportWaitingBytes <= 10_000 + size)
    var answered = 0
    for _ in 0..<200 {
      while answered < store.requests.count {
        store.answer(store.requests[answered].number)
        answered += 1
      }
      try lane.run(1)
    }
    let sent = try store.requests.flatMap { try spanIDs($0) }
    #expect(sent.count == 100 && Set(sent).count == 100)
    #expect(broker.points.mapValues(\.committedOffset.value) == [PartitionID(0): 50, PartitionID(1): 50])
    #expect(!lane.snapshot().exportIsPaused && lane.snapshot().exportWaitingBytes == 0)
  }

  /// What did not fit is read again, even if there is room by the time that the lane looks.
  @Test func nothingIsPassedOver() throws {
    let broker = broker(100, partitions: 2, padding: 1000)
    let store = TestStore(answersAtOnce: .taken(rejectedSpans: 0, message: ""))
    let lane = exporter(MemoryLink(broker, assigned: 2), store) { configuration in
      configuration.batchBytes = 2000
      configuration.waitingBytesMax = 10_000
    }
    try lane.run(200)
    let sent = try store.requests.flatMap { try spanIDs($0) }
    #expect(sent.count == 100 && Set(sent).count == 100)
    #expect(broker.points.mapValues(\.committedOffset.value) == [PartitionID(0): 50, PartitionID(1): 50])
  }

  /// Records behind one that is never answered are not without limit, however small they are.
  @Test func recordsBehindAStuckRequestAreBounded() throws {
    let (broker, store) = (broker(1000), TestStore())
    let link = MemoryLink(broker)
    link.batch = 5
    let lane = exporter(link, store) { configuration in
      configuration.batchBytes = 1
      configuration.waitingRecordsMax = 20
    }
    var answered = 1
    for _ in 0..<200 {
      try lane.run(1)
      while answered < store.requests.count {
        store.answer(store.requests[answered].number)
        answered += 1
      }
    }
    #expect(lane.snapshot().exportIsPaused && store.requests.count <= 25)
    store.answer(1)
    for _ in 0..<1000 {
      try lane.run(1)
      while answered < store.requests.count {
        store.answer(store.requests[answered].number)
        answered += 1
      }
    }
    #expect(broker.commits.last == 1000)
  }

  @Test func aStoresClaimsAreBounded() throws {
    let outcome = StoreAnswer.Outcome.taken(rejectedSpans: UInt64(Int64.max), message: "")
    let lane = exporter(MemoryLink(broker(5)), TestStore(answersAtOnce: outcome)) { $0.batchBytes = 1 }
    try lane.run(5)
    #expect(lane.snapshot().lane.export.rejectedSpans == 5)
  }

  /// Markers of transactions at the log's end are behind the last record.
  @Test func theEndOfTheLogIsCommitted() throws {
    let broker = broker(5)
    let link = MemoryLink(broker)
    let lane = exporter(link, TestStore(answersAtOnce: .taken(rejectedSpans: 0, message: "")))
    try lane.run()
    link.events = [.caughtUp(PartitionID(0), Offset(7))]
    try lane.run()
    #expect(broker.commits.last == 7)
  }

  /// What was answered by then is committed before partitions leave.
  @Test func aRevocationTakesAnswersFirst() throws {
    let (broker, store) = (broker(5), TestStore())
    let link = MemoryLink(broker)
    let lane = exporter(link, store)
    try lane.run()
    store.answer(1)
    link.events = [.revoked([PartitionID(0)])]
    try lane.run(1)
    #expect(broker.commits.last == 5)
  }

  /// Requests whose partitions have gone do not hold up those of others, and their answers count for nothing.
  @Test func aLostPartitionsRequestsAreForgotten() throws {
    let (broker, store) = (broker(4, partitions: 2), TestStore())
    let link = MemoryLink(broker, assigned: 1)
    let lane = exporter(link, store)
    try lane.run()
    link.events = [.lost([PartitionID(0)])]
    try lane.run(1)
    #expect(store.forgotten == [1])
    #expect(lane.snapshot().exportWaitingBytes == 0)
    link.events = [.assigned([PartitionID(0), PartitionID(1)])]
    try lane.run()
    store.answer(1)
    try lane.run()
    #expect(broker.commits.allSatisfy { $0 == 0 })
    for request in store.requests.dropFirst() { store.answer(request.number) }
    try lane.run()
    #expect(broker.points[PartitionID(0)]?.committedOffset == Offset(2))
    #expect(broker.points[PartitionID(1)]?.committedOffset == Offset(2))
  }

  @Test func rejectedSpansAreCountedAndTold() throws {
    let store = TestStore(answersAtOnce: .taken(rejectedSpans: 2, message: "too old"))
    var told: [String] = []
    let lane = exporter(
      MemoryLink(broker(3)), store,
      report: { event in
        if case .storeRejected(let spans, let message) = event { told.append("\(spans) \(message)") }
      })
    try lane.run()
    #expect(told == ["2 too old"])
    #expect(lane.snapshot().lane.export.rejectedSpans == 2)
  }

  /// A worker that stops waits for answers, so that its requests need not be repeated.
  @Test func stoppingWaitsForAnswers() throws {
    let (broker, store) = (broker(5), TestStore())
    var now = at(0)
    let lane = Lane(
      link: MemoryLink(broker),
      job: ExportJob(ExportJob.Configuration(topic: "sampled"), store: store) { _ in },
      pace: CommitPace(),
      now: {
        now = now + .milliseconds(10)
        // The answer comes while the lane waits for it.
        if now == at(1), let request = store.requests.first { store.answer(request.number) }
        return moment(now)
      }, report: { _ in })
    for _ in 0..<3 { try lane.step(at: moment(now), timeout: .seconds(0)) }
    #expect(try lane.finish(patience: .seconds(3)) { _ in } == .committed)
    #expect(broker.commits.last == 5)
  }

  @Test func zstandardBodiesReadBack() throws {
    let (broker, store) = (broker(50, padding: 200), TestStore())
    try exporter(MemoryLink(broker), store) { $0.compression = .zstd }.run()
    let request = try #require(store.requests.first)
    var (body, place) = ([UInt8](), 0)
    try ZstandardReader().decompress(request.body, from: &place, to: &body, bytesMax: 1 << 20)
    #expect(try scannedSpans(body).count == 50)
    #expect(request.compression == .zstd && request.body.count < body.count)
  }
}
