// Dead letters: single spans, their headers, their log lines, and the apparent form of unreadable values.

import OTLP
import Sampling
import Testing
import Topology

@testable import Pipeline

/// A record of good spans followed by others without ids.
private func mixed(_ good: [TestSpan], without ids: Int) -> [UInt8] {
  var writer = WireWriter()
  writer.append(tracesData(good))
  writer.message(1) { resource in
    resource.message(1) { $0.stringField(9, "about") }
    resource.message(2) { scope in
      for number in 0..<ids { scope.message(2) { $0.stringField(5, "nobody's \(number)") } }
    }
  }
  return writer.bytes
}

extension WireWriter {
  fileprivate mutating func append(_ bytes: [UInt8]) {
    appendBytes { $0 += bytes }
  }
}

/// A span with an error, whose trace is kept at once.
private func failed(_ trace: UInt64, _ id: UInt64 = 1) -> TestSpan {
  TestSpan(trace: trace, id: id, isError: true)
}

private func lane(
  _ broker: MemoryBroker, _ change: (inout SamplingJob.Configuration) -> Void = { _ in },
  report: @escaping (LaneEvent) -> Void = { _ in }
) -> Lane<MemoryLink, SamplingJob> {
  var configuration = SamplingJob.Configuration(sampler: SamplerConfiguration(), topic: "spans")
  change(&configuration)
  return Lane(link: MemoryLink(broker), configuration: configuration, report: report)
}

extension Lane where Job == SamplingJob {
  fileprivate func run(to second: Double = 40) throws {
    for time in [0, 0.1, second] { try step(at: moment(at(time)), timeout: .seconds(0)) }
  }
}

@Suite struct SpanDeadLetterTests {
  @Test func oneBadSpanIsTheOnlyLoss() throws {
    let broker = MemoryBroker()
    let good = (1...100).map { failed(UInt64($0)) }
    broker.append(mixed(good, without: 1), key: traceKey(1), at: at(0))
    let lane = lane(broker)
    try lane.run()
    #expect(try broker.sampledSpans().count == 100)
    let letters = broker.outputs(to: .deadLetters)
    let letter = try #require(letters.first)
    #expect(letters.count == 1 && letter.keyText == traceID(1).description)
    #expect(letter.headers["reason"] == "identifier_missing" && letter.headers["spans"] == "1")
    #expect(letter.headers["source_offset"] == "0")
    #expect(
      letter.text.contains("nobody's 0") && letter.text.contains("about") && !letter.text.contains("shop"))
    #expect(lane.snapshot().lane.deadLetterSpans == ["identifier_missing": 1])
    #expect(lane.snapshot().counters.recordsMalformed == 0)
    #expect(lane.snapshot().counters.spansRejected == 1 && lane.snapshot().counters.spansRead == 100)
  }

  /// A record of one trace is forwarded without the bad span.
  @Test func keptSpansComeWithoutIt() throws {
    let broker = MemoryBroker()
    broker.append(mixed([failed(1), TestSpan(trace: 1, id: 2, parent: 1)], without: 2), at: at(0))
    try lane(broker).run()
    #expect(try broker.sampledSpans() == [traceID(1): [1, 2]])
    #expect(broker.outputs(to: .sampled).allSatisfy { !$0.text.contains("nobody's") })
  }

  @Test func manyAreOneLetter() throws {
    let broker = MemoryBroker()
    broker.append(mixed([failed(1)], without: 10_000), at: at(0))
    let lane = lane(broker)
    try lane.run()
    #expect(broker.outputs(to: .deadLetters).map { $0.headers["spans"] } == ["10000"])
    #expect(lane.snapshot().lane.deadLetters == ["identifier_missing": 1])
    #expect(lane.snapshot().lane.deadLetterSpans == ["identifier_missing": 10_000])
  }

  /// A record of only bad spans is dead-lettered unchanged.
  @Test func aRecordWithoutAGoodSpanIsOne() throws {
    let broker = MemoryBroker()
    let value = mixed([], without: 3)
    broker.append(value, at: at(0))
    let lane = lane(broker)
    try lane.run()
    let letter = try #require(broker.outputs(to: .deadLetters).first)
    #expect(letter.value == value && letter.headers["spans"] == "3")
    #expect(lane.snapshot().lane.deadLetterSpans == ["identifier_missing": 3])
    #expect(lane.snapshot().counters.recordsMalformed == 1)
  }

  /// The partition's next owner reads the record again, and writes no second letter.
  @Test func aRecordThatIsReadAgainGivesNone() throws {
    for encoding in [SpanEncoding.otlpProto, .otlpJSON] {
      let broker = MemoryBroker()
      let open = TestSpan(trace: 1, id: 1, parent: 9)
      let json = """
        {"resourceSpans":[{"scopeSpans":[{"spans":[{},{"traceId":"\(traceID(1))","spanId":"00000000000000a1",
        "parentSpanId":"00000000000000a9"}]}]}]}
        """
      broker.append(encoding == .otlpJSON ? Array(json.utf8) : mixed([open], without: 1), at: at(0))
      for _ in 0..<2 {
        let lane = lane(broker) { $0.encoding = encoding }
        for time in [0.0, 2, 4] { try lane.step(at: moment(at(time)), timeout: .seconds(0)) }
        #expect(broker.points[PartitionID(0)]?.safeOffset == Offset(0))
        #expect(lane.snapshot().openTraces == 1)
      }
      #expect(broker.outputs(to: .deadLetters).count == 1)
    }
  }

  @Test func spansOfJSONStayJSON() throws {
    let broker = MemoryBroker()
    let good = #"{"traceId":"\#(traceID(5))","spanId":"00000000000000aa","status":{"code":2}}"#
    let bad = #"{"spanId":"00000000000000ab","name":"no trace"}"#
    let odd = #"{"traceId":"\#(traceID(6))","spanId":"00000000000000ac","kind":{}}"#
    broker.append(
      Array(#"{"resourceSpans":[{"scopeSpans":[{"spans":[\#(bad),\#(good),\#(odd)]}]}]}"#.utf8), at: at(0))
    broker.append(Array(#"{"resourceSpans":[{"scopeSpans":[{"spans":[\#(bad)]}]}]}"#.utf8), at: at(0))
    let lane = lane(broker) { $0.encoding = .otlpJSON }
    try lane.run()
    #expect(try broker.sampledSpans() == [traceID(5): [0xaa]])
    let letters = broker.outputs(to: .deadLetters)
    #expect(
      letters.map { $0.headers["reason"] } == ["identifier_missing", "wrong_type", "identifier_missing"])
    #expect(letters[0].text == #"{"resourceSpans":[{"scopeSpans":[{"spans":[\#(bad)]}]}]}"#)
    #expect(letters[1].text == #"{"resourceSpans":[{"scopeSpans":[{"spans":[\#(odd)]}]}]}"#)
    #expect(letters[1].headers["trace_id"] == traceID(6).description)
    #expect(
      letters.map { $0.headers["span_id"] } == ["00000000000000ab", "00000000000000ac", "00000000000000ab"])
    #expect(lane.snapshot().lane.deadLetterSpans == ["identifier_missing": 2, "wrong_type": 1])
  }

  @Test(arguments: [SpanEncoding.otlpProto, .otlpJSON])
  func theRepartitionerSetsThemAside(_ encoding: SpanEncoding) throws {
    let broker = MemoryBroker()
    let json = """
      {"resourceSpans":[{"scopeSpans":[{"spans":[{},{"traceId":"\(traceID(1))","spanId":"0000000000000001"},
      {"traceId":"\(traceID(2))","spanId":"0000000000000001"}]}]}]}
      """
    let value = encoding == .otlpJSON ? Array(json.utf8) : mixed([failed(1), failed(2)], without: 1)
    broker.append(value, key: [1, 2], at: at(0), headers: [RecordHeaderField("tenant", "a")])
    broker.append(mixed([failed(3)], without: encoding == .otlpJSON ? 0 : 1), at: at(0))
    var configuration = RepartitionJob.Configuration(topic: "raw-spans")
    configuration.encoding = encoding
    let repartitioner = Lane(link: MemoryLink(broker), configuration: configuration) { _ in }
    for _ in 0..<3 { try repartitioner.step(at: moment(at(0)), timeout: .seconds(0)) }
    let spans = try broker.sampledSpans()
    #expect(spans[traceID(1)] == [1] && spans[traceID(2)] == [1])
    if encoding == .otlpProto { #expect(spans[traceID(3)] == [1]) }
    let letter = try #require(broker.outputs(to: .deadLetters).first)
    #expect(broker.outputs(to: .deadLetters).count == 2)
    #expect(letter.key == [1, 2] && letter.headers["reason"] == "identifier_missing")
    #expect(letter.headers["tenant"] == "a" && letter.headers["spans"] == "1")
    #expect(repartitioner.snapshot().lane.deadLetters.values.reduce(0, +) == 2)
    #expect(
      repartitioner.snapshot().lane.deadLetterSpans["identifier_missing"] == (encoding == .otlpJSON ? 1 : 2))
  }

  /// Spans in the field used before OTLP 0.15 are forwarded in the current field.
  @Test func deprecatedLibrariesAreMigrated() throws {
    let broker = MemoryBroker()
    let record = tracesData([failed(1), TestSpan(trace: 1, id: 2, parent: 1)])
    // The only field 2 on this level: the scope.
    var old = WireWriter()
    old.message(1) { resource in
      resource.message(1000) { scope in scope.appendBytes { $0 += scopeContent(of: record) } }
    }
    broker.append(old.bytes, at: at(0))
    try lane(broker).run()
    #expect(try broker.sampledSpans() == [traceID(1): [1, 2]])
    let fields = broker.outputs(to: .sampled).flatMap { $0.value ?? [] }
    #expect(!fields.indices.dropLast().contains { fields[$0] == 0xc2 && fields[$0 + 1] == 0x3e })
  }

  /// The content of the single scope of a record made by `tracesData`.
  private func scopeContent(of record: [UInt8]) -> [UInt8] {
    var writer = WireWriter()
    var scanned = ScannedRecord()
    record.withRawBytes { bytes in
      try? scanned.scan(bytes)
      for span in scanned.spans { writer.append(bytes.extracting(span.field.indices)) }
    }
    return writer.bytes
  }
}

@Suite struct DeadLetterHeaderTests {
  private static let bad: [UInt8] = [0xff, 0xff, 0xff]

  @Test func theirHeadersGoWithThem() throws {
    let broker = MemoryBroker()
    let own = [
      RecordHeaderField("tenant", "a"), RecordHeaderField("tenant", "b"),
      RecordHeaderField("none", bytes: nil),
      RecordHeaderField("binary", bytes: [0, 0xff, 0x80]), RecordHeaderField("reason", "mine"),
    ]
    broker.append(Self.bad, at: at(1.5), headers: own)
    broker.append(mixed([failed(1)], without: 1), at: at(2), headers: own)
    broker.append(nil, at: nil)
    try lane(broker).run()
    let letters = broker.outputs(to: .deadLetters)
    for letter in letters.prefix(2) {
      #expect(
        letter.fields.suffix(5)
          == own.dropLast() + [RecordHeaderField("original_reason", "mine")])
      #expect(letter.fields.count { $0.name == "reason" } == 1)
    }
    #expect(letters.map { $0.headers["source_timestamp"] } == ["1700000001500", "1700000002000", nil])
    #expect(letters.map { $0.fields.contains { $0.name == "tenant" } } == [true, true, false])
  }

  @Test func whatDoesNotFitIsLeftOutAndCounted() throws {
    let many = (0..<1000).map { RecordHeaderField("h\($0)", "v") }
    let large = [
      RecordHeaderField("large", String(repeating: "x", count: 5000)), RecordHeaderField("small", "s"),
    ]
    let broker = MemoryBroker()
    let value = [UInt8](repeating: 0xff, count: 1000)
    broker.append(value, key: [1], at: at(0), headers: many)
    broker.append(value, key: [1], at: at(0), headers: large)
    broker.append([UInt8](repeating: 0xff, count: 9000), key: [1], at: at(0), headers: [large[1]])
    try lane(broker) { $0.deadLetterBytesMax = 6000 }.run()
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.map { $0.headers["headers_left_out"] } == ["744", "2", nil])
    #expect(letters.map { $0.headers["value_left_out_bytes"] } == [nil, nil, "9000"])
    #expect(letters.map { $0.value?.count } == [1000, 1000, nil])
    #expect(letters.map { $0.headers["h255"] } == ["v", nil, nil])
    #expect(letters.map { $0.headers["small"] } == [nil, nil, "s"])
    for letter in letters {
      let size = letter.fields.reduce((letter.value?.count ?? 0) + (letter.key?.count ?? 0)) {
        $0 + $1.name.utf8.count + ($1.value?.count ?? 0) + 10
      }
      #expect(size <= 6000)
    }
  }

  /// The first is logged at once, the others a minute later, with their number and the first one's place.
  @Test func eachReasonIsLoggedAtOnceAndThenCounted() throws {
    var notices: [DeadLetterNotice] = []
    let broker = MemoryBroker()
    broker.append(Self.bad, at: at(0))
    let lane = lane(broker, report: { if case .deadLettered(let notice) = $0 { notices.append(notice) } })
    for time in [0.0, 0.1] { try lane.step(at: moment(at(time)), timeout: .seconds(0)) }
    #expect(notices.map(\.letters) == [1] && notices.map(\.offset.value) == [0])
    for number in 1...5 {
      broker.append(Self.bad, at: at(Double(number)))
      try lane.step(at: moment(at(Double(number))), timeout: .seconds(0))
    }
    #expect(notices.count == 1)
    broker.append(mixed([failed(1)], without: 7), at: at(6))
    try lane.step(at: moment(at(6)), timeout: .seconds(0))
    #expect(notices.map(\.reason) == ["truncated", "identifier_missing"] && notices[1].spans == 7)
    try lane.step(at: moment(at(61)), timeout: .seconds(0))
    #expect(notices.count == 3 && notices[2].letters == 5 && notices[2].offset == Offset(1))
    broker.append(Self.bad, at: at(62))
    try lane.step(at: moment(at(62)), timeout: .seconds(0))
    #expect(notices.count == 3)
    try lane.stop()
    #expect(notices.count == 4 && notices[3].letters == 1 && notices[3].offset == Offset(7))
  }
}

@Suite struct PayloadFormTests {
  private func form(_ bytes: [UInt8], _ encoding: SpanEncoding = .otlpProto) -> PayloadForm? {
    bytes.withRawBytes { PayloadForm($0, insteadOf: encoding) }
  }

  private let noise = [UInt8](repeating: 0x5a, count: 40)

  @Test func framesAreKnown() {
    for encoding in [SpanEncoding.otlpProto, .otlpJSON] {
      #expect(form([0x1f, 0x8b, 8, 0] + noise, encoding) == .gzip)
      #expect(form([0x28, 0xb5, 0x2f, 0xfd] + noise, encoding) == .zstd)
      #expect(form([0x04, 0x22, 0x4d, 0x18] + noise, encoding) == .lz4)
      #expect(form([0xff, 6, 0, 0] + Array("sNaPpY".utf8) + noise, encoding) == .snappy)
      #expect(form([0x82] + Array("SNAPPY\0".utf8) + [0, 0, 0, 1] + noise, encoding) == .snappy)
      #expect(form([0, 0, 0, 0, 7, 0] + noise, encoding) == .schemaRegistry)
      #expect(form([UInt8](repeating: 0, count: 40), encoding) == nil)
      #expect(form(noise, encoding) == nil && form([], encoding) == nil)
    }
  }

  @Test func textsAreKnown() {
    let cases: [(String, PayloadForm)] = [
      (#"{"resourceSpans":[]}"#, .otlpJSON), ("\u{feff} \n[{\"a\":1}]", .json), ("{}", .json),
      (#"[{"traceId":"1","id":"2","name":"get"}]"#, .zipkinJSON),
      (#"[{"traceId":"1","id":"2","localEndpoint":{"serviceName":"a"}}]"#, .zipkinJSON),
      (#"[{"traceId":"1","binaryAnnotations":[]}]"#, .zipkinJSON),
      (#"{"traceId":"AAA=","spanId":"AAA=","operationName":"get"}"#, .jaegerJSON),
      (#"{"data":[{"traceID":"1","spans":[]}]}"#, .jaegerJSON),
    ]
    for (text, expected) in cases {
      #expect(form(Array(text.utf8)) == expected)
      let isOwn = expected == .json || expected == .otlpJSON
      #expect(form(Array(text.utf8), .otlpJSON) == (isOwn ? nil : expected))
    }
    #expect(form(tracesData([failed(1)]), .otlpJSON) == .otlpProto)
    #expect(form(tracesData([failed(1)])) != .otlpProto)
    // What a topic should hold is no surprise.
    for (text, encoding) in [(#"[{"traceId":"1","id":"2"}]"#, SpanEncoding.zipkinJSON), ("{}", .jaegerJSON)] {
      #expect(form(Array(text.utf8), encoding) == nil)
      #expect(form(tracesData([failed(1)]), encoding) == .otlpProto)
    }
  }

  @Test func otherMessagesAreKnown() {
    let (long, short) = ([UInt8](repeating: 7, count: 16), [UInt8](repeating: 8, count: 8))
    var jaeger = WireWriter()
    jaeger.bytesField(1, long)
    jaeger.bytesField(2, short)
    jaeger.stringField(3, "GET /")
    #expect(form(jaeger.bytes) == .jaegerProto && form(jaeger.bytes, .otlpJSON) == .jaegerProto)
    for id in [long, short] {
      for hasParent in [true, false] {
        var zipkin = WireWriter()
        zipkin.message(1) { span in
          span.bytesField(1, id)
          if hasParent { span.bytesField(2, short) }
          span.bytesField(3, short)
          span.stringField(5, String(repeating: "n", count: 200))
        }
        #expect(form(zipkin.bytes) == .zipkinProto)
      }
    }
    let name = Array("emitBatch".utf8)
    #expect(form([0x80, 1, 0, 4, 0, 0, 0, 9] + name + noise) == .jaegerThrift)
    #expect(form([0x82, 0x81, 1, 9] + name + noise) == .jaegerThrift)
    #expect(form([0x0a, 0, 1] + short + [0x0a, 0, 2] + short) == .jaegerThrift)
    #expect(form([0x0c, 0, 0, 0, 1, 0x0a, 0, 1] + short + noise) == .zipkinThrift)
  }

  /// The letter and the log name it.
  @Test func theLetterNamesIt() throws {
    let broker = MemoryBroker()
    broker.append([0x1f, 0x8b, 8, 0] + noise, at: at(0))
    broker.append(Array(#"{"resourceSpans":[]}"#.utf8), at: at(0))
    var errors: [String] = []
    let lane = lane(
      broker, report: { if case .deadLettered(let notice) = $0 { errors.append(notice.error) } })
    try lane.run()
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.map { $0.headers["looks_like"] } == ["gzip", "otlp_json"])
    #expect(letters[0].headers["reason"] == "invalid_compression")
    #expect(letters[1].headers["error"]?.hasSuffix("OTLP JSON, but the topology says otlp_proto") == true)
    #expect(letters.allSatisfy { $0.headers["error"]?.contains("; the value looks like ") == true })
    #expect(errors.count == 2 && errors.contains { $0.contains("gzip") })
  }
}
