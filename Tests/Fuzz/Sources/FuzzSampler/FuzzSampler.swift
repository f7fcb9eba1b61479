// Any bytes as a story for a sampler: records, time, memory pressure. Its accounts must balance after every
// step.

import Expectation
import Expressions
import OTLP
import Sampling

/// libFuzzer's entry point.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzSampler(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // Sound: libFuzzer lends `count` bytes for the duration of the call.
  let input = unsafe [UInt8](UnsafeBufferPointer(start: start, count: count))
  var story = Story(input)
  story.run()
  return 0
}

/// Limits so small that a story of a few dozen bytes reaches every one of them.
///
/// How much is annotated depends on the length of the story, `seed`.
private func configuration(_ seed: Int) -> SamplerConfiguration {
  var configuration = SamplerConfiguration()
  configuration.windows.decisionWait = .seconds(30)
  configuration.windows.decisionWaitAfterRoot = .seconds(5)
  configuration.windows.loneRootsWait = seed % 2 == 1
  configuration.windows.lateWindow = .seconds(60)
  configuration.clockWitnesses = 1 + seed % 3
  configuration.limits.spansPerTrace = 6
  configuration.limits.bytesPerTrace = 600
  configuration.limits.recordBytes = 4096
  configuration.limits.splitBytes = 4096
  configuration.limits.forwardBytes = 200
  configuration.limits.sampledBytes = 300
  configuration.limits.services = 3
  configuration.limits.servicesPerTrace = 2
  configuration.limits.errorSpansPerTrace = 2
  configuration.limits.nameBytes = 8
  configuration.limits.verdicts = 4
  configuration.limits.segmentBytes = 256
  configuration.policies[2].rule = .probabilistic(SamplingThreshold(probability: 0.5))
  configuration.policies += morePolicies
  configuration.policies.append(Policy(name: "adaptive", rule: .adaptive))
  if seed % 3 == 0 {
    configuration.dropped = .ledger
    configuration.shadow = [
      Policy(name: "all", rule: .alwaysSample),
      Policy(name: "failed", rule: .drop([.statusCode([.error])])),
      Policy(name: "few", rule: .rateLimiting(RateLimit(perSecond: 1, burst: 5))),
    ]
  }
  var baseline = BaselineConfiguration()
  baseline.key = seed % 4 == 3 ? .service : .attributes(["service.name", "k", "kk"])
  if seed % 8 > 4 {
    baseline.key =
      seed % 8 == 5 ? .parts([.traceShape]) : .parts([.rootOperation, .spanName, .attribute("k")])
    baseline.isWithinBudget = true
    baseline.firstOfShapeShare = 0.5
  }
  baseline.interval = .seconds(5)
  baseline.history = 2
  baseline.servicesMax = 2
  configuration.baseline = baseline
  configuration.annotate = AnnotatedSpans.allCases[seed % AnnotatedSpans.allCases.count]
  return configuration
}

/// Compiled once: compiling takes longer than most stories.
private let morePolicies = attributePolicies() + conditionPolicies()

/// Policies that read what the scanner steps over, in spans and resources. They sample little, so that every
/// path through the others is still taken.
private func attributePolicies() -> [Policy] {
  let number = Policy.Rule.numericAttribute(key: "k", range: 1...2)
  let text = Policy.Rule.stringAttribute(key: "k", values: ["v", "vv"])
  let pattern = Policy.Rule.patternAttribute(key: "kk", patterns: ["^v+$", "[a-c]x"])
  let rare = Policy.Rule.probabilistic(SamplingThreshold(probability: 0.2))
  let composite = Composite(
    spansPerSecondMax: 3,
    parts: [.init(rule: pattern, spansPerSecond: 2), .init(rule: .traceFlags, spansPerSecond: 1)])
  return [
    Policy(name: "number", rule: .and([number, rare])),
    Policy(name: "state", rule: .and([.traceState(key: "a", values: ["b"]), .not(text), rare])),
    Policy(name: "limited", rule: .and([text, .rateLimiting(RateLimit(perSecond: 1, burst: 4))])),
    Policy(name: "bytes", rule: .and([pattern, .bytesLimiting(RateLimit(perSecond: 100))])),
    Policy(name: "hashed", rule: .and([number, .hashed(HashSampling(salt: "s", percentage: 30))])),
    Policy(name: "composite", rule: .composite(composite)),
    // Certain not to drop from the second span on: then errors are kept at once.
    Policy(name: "drop", rule: .drop([text, number, .spanCount(least: 1, most: 1)])),
  ]
}

/// Conditions on spans and events in each error mode, on attributes of any type. They too sample little.
private func conditionPolicies() -> [Policy] {
  let texts: [(ConditionErrorMode, span: String, event: String)] = [
    (.propagate, #"attributes["k"] > 1 and not IsRootSpan()"#, #"IsMatch(attributes["k"], "^v+")"#),
    (.ignore, #"IsMatch(attributes["kk"], "^v+$") or resource.attributes["k"] == 1"#, #"Len(name) > 0"#),
    (.silent, #"Len(attributes["k"]) >= 2 and trace_state["a"] == "b""#, #"attributes["kk"] < 0.5"#),
    (
      .ignore,
      #"Int(attributes["k"]) * 2 - Len(String(attributes["kk"])) == 3 or HasPrefix(ToLowerCase(name), "v")"#,
      #"time - span.start_time > Duration("1ms") or ContainsValue(span.attributes["k"], name)"#
    ),
    (
      .silent,
      #"attributes["k"]["k"] == 1 or IsMatch(attributes["kk"], "[{].*1") or attributes["kk"][1] / kind == 0"#,
      #"String(attributes["k"]) == ToUpperCase(span.attributes["kk"]) and span.status.code > 2"#
    ),
  ]
  return texts.enumerated().map { number, texts in
    let (mode, span, event) = texts
    do {
      let rule = Policy.Rule.ottlCondition(
        spans: [try OTTLCondition(span, context: .span)],
        events: [try OTTLCondition(event, context: .spanEvent)], errorMode: mode)
      let rare = Policy.Rule.probabilistic(SamplingThreshold(probability: 0.2))
      return Policy(name: "\(mode.rawValue) \(number)", rule: .and([rule, rare]))
    } catch { fatalError("\(error)") }
  }
}

/// A sampler, and the bytes that say what happens to it.
private struct Story: ~Copyable {
  private var input: ArraySlice<UInt8>
  private var sampler: Sampler
  private let baseline: BaselineConfiguration
  private var fleet: FleetTraffic
  private var effects = Effects()
  private var offset = Offset(100)
  private var time = Instant(milliseconds: 1_700_000_000_000)
  private var record = WireWriter()
  /// Spans in accepted records.
  private var spansTaken: UInt64 = 0
  private var spansForwarded: UInt64 = 0
  private var finals: UInt64 = 0

  init(_ input: [UInt8]) {
    self.input = input[...]
    let configuration = configuration(input.count)
    sampler = Sampler(partition: PartitionID(3), configuration: configuration)
    baseline = configuration.baseline ?? BaselineConfiguration()
    fleet = FleetTraffic(configuration: baseline)
  }

  mutating func run() {
    while let operation = next() {
      switch operation & 7 {
      case 0...2: ingestSpans(Int(operation >> 3 & 7) + 1)
      case 3: ingestAttributes(Int(operation >> 3))
      case 4: ingestBytes(Int(operation >> 3))
      case 5: pass(operation)
      case 6:
        sampler.relieve(toBytes: Int(operation >> 3) * 64, into: &effects)
        expect(sampler.usage.bufferedBytes <= Int(operation >> 3) * 64, "relief did not free enough")
      default: step(operation)
      }
      check()
    }
    // Much later, every window is closed and every span accounted for.
    sampler.advance(to: time + .seconds(3_600), into: &effects)
    check()
    let counters = sampler.counters
    expect(sampler.usage.openTraces == 0, "a trace never closes")
    expect(sampler.usage.bufferedBytes == 0, "bytes are buffered without a trace")
    expect(counters.spansRead == accounted(counters), "spans were lost: \(counters)")
    expect(sampler.commitPoint.map { $0.safeOffset == $0.highWater } ?? true, "the safe offset is stuck")
  }

  private mutating func next() -> UInt8? { input.popFirst() }

  private func accounted(_ counters: SamplerCounters) -> UInt64 {
    counters.spansKept + counters.spansTooLarge + counters.spansDropped + counters.spansTruncated
      + counters.spansReplayed + counters.spansRedelivered
  }

  // MARK: Operations

  /// Reads a record of `count` spans: two bytes of the story each.
  private mutating func ingestSpans(_ count: Int) {
    record.removeAll()
    var written: UInt64 = 0
    var key: [UInt8] = []
    for _ in 0..<count {
      guard let shape = next(), let identity = next() else { break }
      if key.isEmpty { TraceID(identity).appendHexadecimal(to: &key) }
      appendSpan(shape: shape, identity: identity)
      written += 1
    }
    if ingest(key: key, value: record.bytes) == nil { spansTaken += written }
  }

  /// Appends a span in a resource of its own. `identity`: 3 bits of trace, 3 of span, 2 of service. `shape`:
  /// 2 bits of parent, 2 of status, 2 of tracestate, 2 of duration.
  private mutating func appendSpan(shape: UInt8, identity: UInt8) {
    let services = ["", "a", "bb", "a service with a long name"]
    let states = ["", "ot=th:8", "ot=rv:80000000000000;th:c,a=b", "ot=th:zz"]
    let parent = UInt64(shape & 3)
    let start = UInt64(1_700_000_000_000_000_000)
    record.message(1) { resource in
      resource.message(1) { attributes in
        attributes.message(1) { pair in
          pair.stringField(1, "service.name")
          pair.message(2) { $0.stringField(1, services[Int(identity >> 6)]) }
        }
      }
      resource.message(2) { scope in
        scope.message(2) { span in
          span.bytesField(1, TraceID(identity).bytes)
          span.bytesField(2, [0, 0, 0, 0, 0, 0, 0, (identity >> 3 & 7) + 1])
          if parent > 0 { span.bytesField(4, [0, 0, 0, 0, 0, 0, 0, UInt8(parent)]) }
          span.stringField(3, states[Int(shape >> 4 & 3)])
          span.stringField(5, "operation")
          // Two of the eight ids are a producer's and a consumer's.
          span.varintField(6, UInt64(identity >> 3 & 7))
          span.fixed64Field(7, start)
          span.fixed64Field(8, start + UInt64(shape >> 6) * 900_000_000)
          span.message(15) { $0.varintField(3, UInt64(shape >> 2 & 3)) }
        }
      }
    }
  }

  /// Reads a record of one span in a resource, both with attributes that are the next bytes of the story,
  /// unchanged. The record must be accepted: a bad attribute affects only itself.
  private mutating func ingestAttributes(_ count: Int) {
    let identity = next() ?? 0
    let ofResource = Array(input.prefix(count / 2))
    input = input.dropFirst(count / 2)
    let ofSpan = Array(input.prefix(count))
    input = input.dropFirst(count)
    record.removeAll()
    record.message(1) { resource in
      resource.message(1) { attributes in
        attributes.message(1) { pair in
          pair.stringField(1, "service.name")
          pair.message(2) { $0.stringField(1, "a") }
        }
        attributes.bytesField(1, ofResource)
      }
      resource.message(2) { scope in
        scope.message(2) { span in
          span.bytesField(1, TraceID(identity).bytes)
          span.bytesField(2, [0, 0, 0, 0, 0, 0, 0, (identity >> 3 & 7) + 1])
          span.bytesField(9, ofSpan)
          span.message(9) { pair in
            pair.stringField(1, identity & 0x80 == 0 ? "k" : "kk")
            pair.bytesField(2, ofSpan)
          }
          span.message(11) { event in
            event.stringField(2, "e")
            event.bytesField(3, ofSpan)
          }
          span.fixed32Field(16, UInt32(identity >> 6))
        }
      }
    }
    let error = ingest(key: nil, value: record.bytes)
    expect(error == nil, "attributes made a record unreadable")
    spansTaken += 1
  }

  /// Reads the next bytes of the story as a record.
  private mutating func ingestBytes(_ count: Int) {
    let bytes = Array(input.prefix(count * 8))
    input = input.dropFirst(count * 8)
    let spansBefore = sampler.counters.spansRead
    let refused = ingest(key: nil, value: bytes) != nil
    let spansRead = sampler.counters.spansRead - spansBefore
    expect(!refused || spansRead == 0, "spans of a rejected record were used")
    spansTaken += spansRead
  }

  private mutating func ingest(key: [UInt8]?, value: [UInt8]) -> MalformedInput? {
    let (place, now) = (offset, time)
    offset = offset.next
    return value.withRawBytes { bytes in
      guard let key else {
        return sampler.ingest(
          offset: place, timestamp: nil, key: nil, value: bytes, into: &effects)
      }
      return key.withRawBytes {
        sampler.ingest(offset: place, timestamp: now, key: $0, value: bytes, into: &effects)
      }
    }
  }

  /// Lets up to 31 seconds pass.
  private mutating func pass(_ operation: UInt8) {
    time = Instant(nanoseconds: time.nanoseconds + Int64(operation >> 3) * 1_000_000_000)
    sampler.advance(to: time, into: &effects)
  }

  /// What else a log holds: tombstones, records that can't be converted, gaps, empty records, timestamps
  /// ahead and behind.
  private mutating func step(_ operation: UInt8) {
    let ahead = Instant(nanoseconds: time.nanoseconds + (Int64(operation >> 5) - 3) * 4_000_000_000)
    switch operation >> 3 & 3 {
    case 0:
      let error = sampler.ingest(
        offset: offset, timestamp: ahead, key: nil, value: nil, into: &effects)
      expect(error == MalformedInput(.tombstone, at: 0), "a tombstone was read")
      offset = offset.next
    case 1:
      sampler.skip(offset: offset, timestamp: ahead, into: &effects)
      offset = offset.next
    case 2: offset = Offset(offset.value + 5)
    default: expect(ingest(key: nil, value: []) == MalformedInput(.empty, at: 0), "nothing was read")
    }
  }

  // MARK: Checks

  private mutating func check() {
    sampler.checkInvariants()
    checkEffects()
    let counters = sampler.counters
    let usage = sampler.usage
    expect(counters.spansRead == spansTaken, "\(counters.spansRead) spans read, \(spansTaken) taken")
    expect(
      counters.spansKept == spansForwarded, "\(counters.spansKept) spans kept, \(spansForwarded) forwarded")
    expect(accounted(counters) <= counters.spansRead, "spans were duplicated: \(counters)")
    expect(
      counters.tracesOpened == counters.tracesKept + counters.tracesDropped + UInt64(usage.openTraces),
      "traces were lost: \(counters)")
    expect(counters.tracesKept + counters.tracesDropped == finals, "not one final verdict per trace")
    expect(usage.pastVerdicts <= 4, "too many verdicts are remembered")
    expect(usage.segmentBytes >= usage.bufferedBytes, "more bytes are buffered than allocated")
    if let point = sampler.commitPoint {
      expect(point.safeOffset <= point.highWater && point.highWater <= offset, "an offset is ahead")
      let again = CommitPoint(safeOffset: point.safeOffset, metadata: point.metadata)
      expect(again == point, "a commit point changed when read back")
    }
  }

  /// A decision reads back unchanged.
  private func check(_ decision: Decision, _ record: [UInt8]) {
    do throws(MalformedInput) {
      let verdict = try RestoredVerdict(record: record)
      expect(verdict.traceID == decision.traceID, "another trace is read back")
      expect(verdict.isKept == decision.isKept, "another verdict is read back")
      expect(
        verdict.isFinal == decision.isFinal && verdict.isLate == decision.isLate, "another record is read")
      expect(verdict.threshold == decision.threshold, "another threshold is read back")
      expect(verdict.firstOffset == decision.firstOffset, "another offset is read back")
      expect(verdict.decidedAt == decision.decidedAt, "another time is read back")
    } catch {
      expect(false, "a decision can't be read back: \(error)")
    }
  }

  /// A page of the ledger reads back, with as many traces as it claims.
  private func check(page: [UInt8], _ count: Int) {
    var found = 0
    do {
      try page.withRawBytes { page in try RestoredVerdict.read(page) { _ in found += 1 } }
    } catch {
      expect(false, "a page can't be read back: \(error)")
    }
    expect(found == count, "\(found) traces in a page of \(count)")
  }

  /// Outputs must be what they claim to be, and readable.
  private mutating func checkEffects() {
    let bytes = effects.bytes
    var reader = ScannedRecord()
    for output in effects.outputs {
      switch output {
      case .decide(let decision, let range):
        if decision.isFinal { finals += 1 }
        if let range { check(decision, Array(bytes[range])) }
      case .reject(let rejected, let range):
        // The piece holds only these spans, and they are bad for the same reason.
        do throws(MalformedInput) {
          try Array(bytes[range]).withRawBytes { (raw) throws(MalformedInput) in try reader.scan(raw) }
        } catch {
          expect(error.reason == rejected.error.reason, "\(error) instead of \(rejected.error)")
        }
        expect(reader.spans.isEmpty, "a valid span was set aside")
        expect(reader.rejected.map(\.count) == [rejected.count], "spans were lost when they were set aside")
      case .account(let range, let count): check(page: Array(bytes[range]), count)
      case .measure: fatalError("spans are not counted")
      case .link: fatalError("verdicts do not spread along links")
      case .count(_, let range): adoptRates(after: Array(bytes[range]))
      case .forward(let traceID, let range, let spans), .leaveOut(let traceID, let range, let spans):
        if case .forward = output { spansForwarded += UInt64(spans) }
        do { try Array(bytes[range]).withRawBytes { try reader.scan($0) } } catch { fatalError("\(error)") }
        expect(reader.spans.count == spans, "\(reader.spans.count) spans written, \(spans) counted")
        expect(reader.isSingleTrace && reader.spans[0].traceID == traceID, "a span of another trace")
      }
    }
    effects.removeAll()
  }
}

extension Story {
  /// Adopts the rates that follow from the counts, as a lane does.
  private mutating func adoptRates(after bytes: [UInt8]) {
    if DemandRecord.isOne(bytes) {
      let record = try? DemandRecord(decoding: bytes)
      expect(record?.encoded() == bytes, "demands changed when read back")
      return
    }
    do {
      let record = try TrafficRecord(decoding: bytes)
      expect(record.encoded() == bytes, "counts changed when read back")
      let merged = fleet.merge(record, latest: record.interval)
      expect(merged == .added, "counts were \(merged)")
    } catch { fatalError("\(error)") }
    sampler.adopt(RateController(configuration: baseline).rates(for: fleet))
  }
}

extension TraceID {
  /// One of eight traces, half of them kept by the baseline.
  fileprivate init(_ identity: UInt8) {
    self.init(high: 1, low: UInt64(identity & 7) << 53 | 1)
  }

  fileprivate var bytes: [UInt8] {
    [high, low].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> (56 - 8 * $0)) } }
  }
}
