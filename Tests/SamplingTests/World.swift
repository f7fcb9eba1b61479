// Shared by the tests: compact spans, a sampler that is fed with them, and its outputs in a readable form.

import Foundation
import Testing

@testable import OTLP
@testable import Sampling

/// One span, by the fields that matter here. Times are in milliseconds after `Instant.start`.
struct TestSpan: Equatable {
  /// The low half of the trace id, whose low 56 bits are the trace's randomness.
  var trace = TestSpan.unlucky
  var id: UInt64
  var parent: UInt64 = 0
  var start: Int64 = 0
  var end: Int64 = 10
  var status = SpanStatus.unset
  var service = "shop"
  var name = "GET /"
  /// Any bytes in place of the name.
  var nameBytes: [UInt8]?
  var traceState = ""
  var filling = 0
  var attributes: [TestAttribute] = []
  /// Attributes of the span's resource, in addition to the service name.
  var resource: [TestAttribute] = []
  var flags: UInt32 = 0
  var events: [TestEvent] = []
  var kind: UInt64 = 2
  /// How many links there are that can't be read.
  var links = 0
  /// The traces that it links to.
  var linked: [TestLink] = []

  /// Traces that no probability below one keeps.
  static let unlucky: UInt64 = 1
  /// A trace that every probability keeps.
  static let lucky: UInt64 = 0x00ff_ffff_ffff_ffff

  var traceID: TraceID { TraceID(high: 0x7411_0000_0000_0000, low: trace) }
  var startNanoseconds: UInt64 { UInt64(Instant.at(start).nanoseconds) }
  var endNanoseconds: UInt64 { UInt64(Instant.at(end).nanoseconds) }

  static func root(
    _ id: UInt64 = 1, of trace: UInt64 = unlucky, lasting duration: Int64 = 10,
    _ status: SpanStatus = .unset
  ) -> TestSpan {
    TestSpan(trace: trace, id: id, end: duration, status: status)
  }

  static func child(
    _ id: UInt64, under parent: UInt64 = 1, of trace: UInt64 = unlucky, _ status: SpanStatus = .unset
  ) -> TestSpan {
    TestSpan(trace: trace, id: id, parent: parent, status: status)
  }

  /// The span's content, without a tracestate.
  var bytesWithoutState: [UInt8] {
    var copy = self
    copy.traceState = ""
    var writer = WireWriter()
    copy.write(to: &writer)
    return writer.bytes
  }

  func write(to writer: inout WireWriter) {
    writer.bytesField(1, traceID.high.bigEndianBytes + traceID.low.bigEndianBytes)
    writer.bytesField(2, id.bigEndianBytes)
    if !traceState.isEmpty { writer.stringField(3, traceState) }
    if parent != 0 { writer.bytesField(4, parent.bigEndianBytes) }
    writer.bytesField(5, nameBytes ?? Array(name.utf8))
    writer.varintField(6, kind)
    writer.fixed64Field(7, startNanoseconds)
    writer.fixed64Field(8, endNanoseconds)
    for attribute in attributes { writer.message(9) { attribute.write(to: &$0) } }
    for event in events {
      writer.message(11) { inner in
        inner.stringField(2, event.name)
        for attribute in event.attributes { inner.message(3) { attribute.write(to: &$0) } }
      }
    }
    for _ in 0..<links { writer.message(13) { $0.bytesField(1, traceID.high.bigEndianBytes) } }
    for link in linked {
      writer.message(13) { message in
        message.bytesField(1, traceID.high.bigEndianBytes + link.trace.bigEndianBytes)
        message.bytesField(2, UInt64(7).bigEndianBytes)
        if !link.state.isEmpty { message.stringField(3, link.state) }
      }
    }
    if flags != 0 { writer.fixed32Field(16, flags) }
    if filling > 0 { writer.bytesField(99, [UInt8](repeating: 0x78, count: filling)) }
    if status != .unset { writer.message(15) { $0.varintField(3, UInt64(status.rawValue)) } }
  }
}

/// A link to a trace, by the low half of its id.
struct TestLink: Equatable, Sendable {
  var trace: UInt64
  var state = ""
}

/// Something that happened within a span.
struct TestEvent: Equatable, Sendable {
  var name = ""
  var attributes: [TestAttribute] = []
}

/// An attribute of a span or a resource.
struct TestAttribute: Equatable, Sendable {
  enum Value: Equatable, Sendable {
    case text(String)
    case integer(Int64)
    case truth(Bool)
    case real(Double)
    /// A list with the text in it.
    case list(String)
    /// A map with the text as key and value.
    case map(String)
    case bytes([UInt8])
    case nothing
    /// These bytes instead of an `AnyValue`.
    case raw([UInt8])
  }

  var key: String
  var value: Value

  init(_ key: String, _ value: Value) {
    self.key = key
    self.value = value
  }

  func write(to pair: inout WireWriter) {
    pair.stringField(1, key)
    if case .raw(let bytes) = value { return pair.bytesField(2, bytes) }
    pair.message(2) { any in
      switch value {
      case .text(let text): any.stringField(1, text)
      case .truth(let truth): any.varintField(2, truth ? 1 : 0)
      case .integer(let number): any.varintField(3, UInt64(bitPattern: number))
      case .real(let number): any.fixed64Field(4, number.bitPattern)
      case .list(let text): any.message(5) { list in list.message(1) { $0.stringField(1, text) } }
      case .map(let text):
        any.message(6) { map in map.message(1) { TestAttribute(text, .text(text)).write(to: &$0) } }
      case .bytes(let bytes): any.bytesField(7, bytes)
      case .nothing, .raw: break
      }
    }
  }
}

/// A record with `spans`, in a `ResourceSpans` for each run of spans of one service. An empty service is
/// omitted.
func record(_ spans: [TestSpan]) -> [UInt8] {
  var writer = WireWriter()
  var rest = spans[...]
  while let first = rest.first {
    let run = rest.prefix { $0.service == first.service && $0.resource == first.resource }
    rest = rest.dropFirst(run.count)
    writer.message(1) { resourceSpans in
      let name = first.service.isEmpty ? [] : [TestAttribute("service.name", .text(first.service))]
      if !(name + first.resource).isEmpty {
        resourceSpans.message(1) { resource in
          for attribute in name + first.resource { resource.message(1) { attribute.write(to: &$0) } }
        }
      }
      resourceSpans.message(2) { scope in
        for span in run { scope.message(2) { span.write(to: &$0) } }
      }
    }
  }
  return writer.bytes
}

extension Instant {
  /// The stream time at which the tests begin.
  static let start = Instant(milliseconds: 1_700_000_000_000)

  /// `milliseconds` after the start.
  static func at(_ milliseconds: Int64) -> Instant {
    Instant(nanoseconds: start.nanoseconds + milliseconds * 1_000_000)
  }
}

extension UInt64 {
  var bigEndianBytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: self >> UInt64(56 - 8 * $0)) } }
}

/// A decision record as a reader of the topic sees it.
struct WrittenDecision: Decodable, Equatable {
  struct Root: Decodable, Equatable {
    var service, operation: String
  }
  struct Origin: Decodable, Equatable {
    var service, operation, spanId: String
  }
  var traceId, verdict, trigger, decidedAt, config: String
  var final, late: Bool
  var spanCount, errorCount, byteCount, truncatedSpans, partition, firstOffset, lastOffset: Int
  var root: Root?
  // Only if shadow policies would change the verdict.
  var shadow: [String]?
  // Only in full records.
  var policy, threshold, startTime: String?
  var reasons, services: [String]?
  var probability, adjustedCount: Double?
  var durationNs, tooLargeSpans: Int?
  // Only if the trace is recalled.
  var recall: String?
  var revised: Bool?
  // Only if links keep it.
  var linkedFrom: String?
  var linkHops: Int?
  var links: [String]?
  // Only if it shares another trace's.
  var rv: String?
  var recallUntil: Int?
  var errorOrigin: Origin?

  init(_ bytes: some Sequence<UInt8>) throws {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    self = try decoder.decode(WrittenDecision.self, from: Data(bytes))
  }
}

/// One kept span as it was forwarded.
struct KeptSpan: Equatable {
  var id: UInt64
  var traceState: String
  /// Its fields, except the tracestate.
  var rest: [UInt8]
}

/// One output.
enum Event {
  /// A verdict and its record; none if it is not written.
  case decision(Decision, [UInt8]?)
  /// Spans of one trace, and how many bytes they were forwarded in.
  case kept(TraceID, [KeptSpan], byteCount: Int)
  /// Spans of one trace that are too large.
  case leftOut(TraceID, [KeptSpan])

  /// The outputs of `effects`, read back; and the effects emptied.
  static func take(from effects: inout Effects) throws -> [Event] {
    let events = try effects.outputs.compactMap { output -> Event? in
      switch output {
      case .account, .count, .measure, .link, .reject: return nil
      case .decide(let decision, let range):
        return .decision(decision, range.map { Array(effects.bytes[$0]) })
      case .forward(let traceID, let range, let count):
        let spans = try keptSpans(Array(effects.bytes[range]), of: traceID)
        guard spans.count == count else { throw MismatchedCount(said: count, found: spans.count) }
        return .kept(traceID, spans, byteCount: range.count)
      case .leaveOut(let traceID, let range, let count):
        let spans = try keptSpans(Array(effects.bytes[range]), of: traceID)
        guard spans.count == count else { throw MismatchedCount(said: count, found: spans.count) }
        return .leftOut(traceID, spans)
      }
    }
    effects.removeAll()
    return events
  }

  struct MismatchedCount: Error {
    var said, found: Int
  }

  struct ForeignSpan: Error {}

  private static func keptSpans(_ bytes: [UInt8], of traceID: TraceID) throws -> [KeptSpan] {
    var scanned = ScannedRecord()
    return try bytes.withRawBytes { span in
      try scanned.scan(span)
      return try scanned.spans.map { view in
        guard view.traceID == traceID else { throw ForeignSpan() }
        var rest: [UInt8] = []
        var cursor = WireCursor(view.content)
        while !cursor.isAtEnd {
          let tag = try cursor.tag(in: span)
          try cursor.skip(tag, in: span)
          if tag.field != SpanField.traceState { rest += bytes[tag.offset..<cursor.offset] }
        }
        let state = String(decoding: bytes[view.traceState.indices], as: UTF8.self)
        return KeptSpan(id: view.spanID, traceState: state, rest: rest)
      }
    }
  }
}

extension Event {
  var decision: Decision? {
    guard case .decision(let decision, _) = self else { return nil }
    return decision
  }

  /// The record of a decision, read back; a record that can't be read fails the test.
  var written: WrittenDecision? {
    guard case .decision(_, let bytes?) = self else { return nil }
    do {
      return try WrittenDecision(bytes)
    } catch {
      Issue.record("no decision record: \(String(decoding: bytes, as: UTF8.self)): \(error)")
      return nil
    }
  }

  var kept: [KeptSpan] {
    guard case .kept(_, let spans, _) = self else { return [] }
    return spans
  }
}

extension [Event] {
  var decisions: [Decision] { compactMap(\.decision) }
  var written: [WrittenDecision] { compactMap(\.written) }
  var kept: [KeptSpan] { flatMap(\.kept) }
  var keptIDs: [UInt64] { kept.map(\.id) }
}

/// A sampler and its input: each call is one record, or one moment.
final class World {
  var sampler: Sampler
  var effects = Effects()
  var offset: Int64 = 0
  /// The records so far, by offset: what recalls read again.
  var log: [(value: [UInt8]?, time: Instant?)] = []
  /// Their keys.
  var keys: [[UInt8]?] = []
  /// Whether every span that is read is accounted for at once.
  var checksBalance: Bool

  init(_ adjust: (inout SamplerConfiguration) -> Void = { _ in }) {
    var configuration = SamplerConfiguration()
    configuration.windows.decisionWait = .seconds(30)
    // Single records advance the clock in most tests.
    configuration.clockWitnesses = 1
    adjust(&configuration)
    checksBalance = configuration.windows.buffer == .memory
    sampler = Sampler(partition: PartitionID(7), configuration: configuration)
  }

  var counters: SamplerCounters { sampler.counters }
  var commitPoint: CommitPoint? { sampler.commitPoint }
  var usage: SamplerUsage { sampler.usage }
  var clock: Instant { sampler.clock }
  var hasLedgerEntries: Bool { sampler.hasLedgerEntries }

  /// Sends one record at `time`, keyed by its first span's trace, and returns what came out.
  @discardableResult
  func send(_ spans: TestSpan..., at time: Int64) throws -> [Event] {
    try send(spans, at: time)
  }

  @discardableResult
  func send(_ spans: [TestSpan], at time: Int64) throws -> [Event] {
    var key: [UInt8] = []
    spans.first?.traceID.appendHexadecimal(to: &key)
    let error = ingest(record(spans), key: key, at: .at(time))
    if let error { throw error }
    return try take()
  }

  /// Sends raw bytes. `take` returns the outputs.
  func ingest(_ value: [UInt8]?, key: [UInt8]?, at time: Instant?) -> MalformedInput? {
    defer { offset += 1 }
    while log.count <= Int(offset) { log.append((nil, nil)) }
    log[Int(offset)] = (value, time)
    while keys.count <= Int(offset) { keys.append(nil) }
    keys[Int(offset)] = key
    let place = Offset(offset)
    guard let value else {
      return sampler.ingest(
        offset: place, timestamp: time, key: nil, value: nil, into: &effects)
    }
    return value.withRawBytes { value in
      guard let key else {
        return sampler.ingest(
          offset: place, timestamp: time, key: nil, value: value, into: &effects)
      }
      return key.withRawBytes { key in
        sampler.ingest(
          offset: place, timestamp: time, key: key, value: value, into: &effects)
      }
    }
  }

  /// Reads again what recalls need, and returns what came out.
  @discardableResult
  func recall() throws -> [Event] {
    while let next = sampler.nextRecall() {
      let (value, time) = log[Int(next.value)]
      guard let value else {
        sampler.recall(offset: next, timestamp: time, value: nil, into: &effects)
        continue
      }
      value.withRawBytes { sampler.recall(offset: next, timestamp: time, value: $0, into: &effects) }
    }
    return try take()
  }

  /// Hands out from the log what log-backed windows keep, as far as that may be done now.
  @discardableResult
  func handOut(records countMax: Int = .max) throws -> [Event] {
    var count = 0
    while count < countMax, let next = sampler.nextHandOut() {
      count += 1
      let isPassed = keys[Int(next.value)]?.withRawBytes { sampler.passHandOut(offset: next, key: $0) }
      guard isPassed != true else { continue }
      guard let value = log[Int(next.value)].value else {
        sampler.handOut(offset: next, value: nil, into: &effects)
        continue
      }
      value.withRawBytes { sampler.handOut(offset: next, value: $0, into: &effects) }
    }
    return try take()
  }

  /// Lets time pass without a record.
  @discardableResult
  func pass(to time: Int64) throws -> [Event] {
    sampler.advance(to: .at(time), into: &effects)
    return try take()
  }

  /// What the ledger says of the traces dropped since the last call, as a commit would write it. Other
  /// outputs must have been taken.
  func takeLedger() throws -> [RestoredVerdict] {
    var verdicts: [RestoredVerdict] = []
    for page in takePages() {
      try page.withRawBytes { page in try RestoredVerdict.read(page) { verdicts.append($0) } }
    }
    return verdicts
  }

  /// The ledger's pages since the last call.
  func takePages() -> [[UInt8]] {
    sampler.endLedgerPage(into: &effects)
    var pages: [[UInt8]] = []
    for case .account(let page, _) in effects.outputs { pages.append(Array(effects.bytes[page])) }
    effects.removeAll()
    return pages
  }

  /// The outputs since the last call. Checks the sampler's own invariants and that every span is accounted
  /// for.
  func take() throws -> [Event] {
    sampler.checkInvariants()
    try checkBalance()
    return try Event.take(from: &effects)
  }

  struct Unbalanced: Error {
    var counters: SamplerCounters
    var undecidedSpans: UInt64
  }

  private func checkBalance() throws {
    // Spans of kept traces may be in the log.
    guard checksBalance else { return }
    var undecidedSpans: UInt64 = 0
    var slot = sampler.table.opened.first
    while let current = slot {
      if sampler.table[current].state == .undecided {
        undecidedSpans += UInt64(sampler.table[current].spanCount)
      }
      slot = sampler.table.next(after: current)
    }
    let counters = sampler.counters
    let accounted =
      counters.spansKept + counters.spansTooLarge + counters.spansDropped + counters.spansTruncated
      + counters.spansReplayed + counters.spansRedelivered + undecidedSpans
    let closed = counters.tracesKept + counters.tracesDropped + counters.lookupsFound
    guard accounted == counters.spansRead, closed + UInt64(sampler.table.count) == counters.tracesOpened
    else { throw Unbalanced(counters: counters, undecidedSpans: undecidedSpans) }
  }
}
