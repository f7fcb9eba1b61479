// Lanes that read other encodings, compressed values and a schema registry's prefix.

import Compression
import OTLP
import Sampling
import Testing
import Topology

@testable import Pipeline

/// Spans of one trace with an error, in each encoding.
private enum Sample {
  static let zipkin = Array(
    #"[{"traceId":"abcd0000000000000005","id":"aa","tags":{"error":"true"},"timestamp":1,"duration":1}]"#.utf8
  )
  static let jaegerJSON = Array(
    #"{"traceID":"abcd0000000000000005","spanID":"aa","tags":[{"key":"error","type":"bool","value":true}]}"#
      .utf8)
  static let jaegerProto: [UInt8] = {
    var span = WireWriter()
    span.bytesField(1, [0, 0, 0, 0, 0, 0, 0xab, 0xcd, 0, 0, 0, 0, 0, 0, 0, 5])
    span.bytesField(2, [0, 0, 0, 0, 0, 0, 0, 0xaa])
    span.message(8) { tag in
      tag.stringField(1, "error")
      tag.varintField(2, 1)
      tag.varintField(4, 1)
    }
    return span.bytes
  }()
  static let zipkinProto: [UInt8] = {
    var list = WireWriter()
    list.message(1) { span in
      span.bytesField(1, [0, 0, 0, 0, 0, 0, 0xab, 0xcd, 0, 0, 0, 0, 0, 0, 0, 5])
      span.bytesField(3, [0, 0, 0, 0, 0, 0, 0, 0xaa])
      span.message(11) { tag in
        tag.stringField(1, "error")
        tag.stringField(2, "true")
      }
    }
    return list.bytes
  }()
  static let otlp = tracesData([TestSpan(trace: 5, id: 0xaa, isError: true)])
  static let otlpJSON = Array(
    #"""
    {"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"000000000000abcd0000000000000005",
    "spanId":"00000000000000aa","status":{"code":2}}]}]}]}
    """#.utf8)

  static let all: [(SpanEncoding, [UInt8])] = [
    (.otlpProto, otlp), (.otlpJSON, otlpJSON), (.jaegerProto, jaegerProto), (.jaegerJSON, jaegerJSON),
    (.zipkinProto, zipkinProto), (.zipkinJSON, zipkin),
  ]
}

private func snappyBlock(_ bytes: [UInt8]) -> [UInt8] {
  // Literals of 60 bytes at most.
  var block: [UInt8] = [UInt8(bytes.count & 0x7f | 0x80), UInt8(bytes.count >> 7)]
  for start in stride(from: 0, to: bytes.count, by: 60) {
    let part = bytes[start..<min(start + 60, bytes.count)]
    block += [UInt8(part.count - 1) << 2] + part
  }
  return block
}

private func lane(
  _ broker: MemoryBroker, _ encoding: SpanEncoding, _ compression: ValueCompression = .auto,
  recordBytes: Int = 4 << 20
) -> Lane<MemoryLink, SamplingJob> {
  var sampler = SamplerConfiguration()
  sampler.limits.recordBytes = recordBytes
  var configuration = SamplingJob.Configuration(sampler: sampler, topic: "spans")
  configuration.encoding = encoding
  configuration.compression = compression
  return Lane(link: MemoryLink(broker), configuration: configuration, report: { _ in })
}

extension Lane where Job == SamplingJob {
  fileprivate func run() throws {
    for time in [0, 0.1, 40] { try step(at: moment(at(time)), timeout: .seconds(0)) }
  }
}

@Suite struct LaneEncodingTests {
  /// Each encoding, as it is, in each compression and behind a prefix: the trace is kept.
  @Test func everyWayInIsOpen() throws {
    for (encoding, value) in Sample.all {
      let frame = try ZstandardWriter(level: 3).compress(value, isLast: true)
      let isJSON = [.otlpJSON, .jaegerJSON, .zipkinJSON].contains(encoding)
      let prefix: [UInt8] = isJSON ? [0, 0, 0, 0, 9] : [0, 0, 0, 0, 9, 0]
      let java: [UInt8] = [0x82] + Array("SNAPPY".utf8) + [0, 0, 0, 0, 1, 0, 0, 0, 1]
      let block = snappyBlock(value)
      let values = [
        value, try Gzip.compress(value), frame, java + [0, 0, 0, UInt8(block.count)] + block, prefix + value,
        try Gzip.compress(prefix + value), [0, 0, 0, 0, 9] + value,
        Array(prefix.dropLast()) + (isJSON ? [9] : [4, 2, 0]) + value,
      ]
      for (number, value) in values.enumerated() {
        let broker = MemoryBroker()
        broker.append(value, at: at(0))
        try lane(broker, encoding).run()
        let kept = try broker.sampledSpans()
        #expect(kept.count == 1 && kept.values.first == [0xaa], "\(encoding) \(number)")
        #expect(broker.outputs(to: .deadLetters).isEmpty)
      }
      let broker = MemoryBroker()
      broker.append(block, at: at(0))
      try lane(broker, encoding, .snappy).run()
      #expect(try broker.sampledSpans().count == 1, "\(encoding)")
    }
  }

  @Test func whatIsDamagedIsADeadLetter() throws {
    let gzip = try Gzip.compress(Sample.zipkin)
    let bomb = try Gzip.compress([UInt8](repeating: 0x20, count: 1 << 20))
    let inner = try Gzip.compress(Array("[{}".utf8))
    let values = [Array(gzip.dropLast(9)), bomb, inner, Array("[{\"id\":\"1\"}]".utf8), nil, []]
    let broker = MemoryBroker()
    for value in values { broker.append(value, at: at(0)) }
    broker.append(Sample.zipkin, at: at(0))
    let lane = lane(broker, .zipkinJSON, recordBytes: 64 << 10)
    try lane.run()
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.map(\.value) == values)
    #expect(
      letters.map { $0.headers["reason"] } == [
        "invalid_compression", "record_too_large", "truncated", "identifier_missing", "tombstone", "empty",
      ])
    #expect(letters[0].headers["looks_like"] == "gzip")
    #expect(letters[2].headers["error"] == "truncated at byte 3 of the decompressed value")
    #expect(letters[3].headers["spans"] == "1")
    #expect(try broker.sampledSpans().count == 1)
  }

  /// What a letter tells of its spans does not depend on a prefix, nor its reason on compression.
  @Test func wrappingsChangeNoLetter() throws {
    let broker = MemoryBroker()
    broker.append([0, 0, 0, 0, 9] + Array("[{\"id\":\"1\"}]".utf8), at: at(0))
    broker.append(try Gzip.compress([]), at: at(0))
    try lane(broker, .zipkinJSON).run()
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.map { $0.headers["reason"] } == ["identifier_missing", "empty"])
    #expect(letters.first?.headers["spans"] == "1")
  }

  /// One that follows a compressed record is not taken for it.
  @Test func whatWasDecompressedIsForgotten() throws {
    let broker = MemoryBroker()
    broker.append(try Gzip.compress(Sample.otlp), at: at(0))
    broker.append(Array(Sample.otlp.dropLast(3)), at: at(0))
    broker.append([0x0b], at: at(0))
    try lane(broker, .otlpProto).run()
    let letters = broker.outputs(to: .deadLetters)
    #expect(letters.count == 2)
    #expect(letters.allSatisfy { $0.headers["error"]?.contains("decompressed") == false })
  }

  /// In a list a bad span costs itself alone, in the topic's encoding but without its compression.
  @Test func badSpansOfAListAreSetAside() throws {
    let bad = #"{"traceId":"6","name":"no id"}"#
    let good = String(decoding: Sample.zipkin.dropFirst().dropLast(), as: UTF8.self)
    let broker = MemoryBroker()
    broker.append(try Gzip.compress(Array("[\(bad),\(good)]".utf8)), at: at(0))
    let lane = lane(broker, .zipkinJSON)
    try lane.run()
    #expect(try broker.sampledSpans().count == 1)
    let letter = try #require(broker.outputs(to: .deadLetters).first)
    #expect(letter.text == "[\(bad)]" && letter.headers["reason"] == "identifier_missing")
    #expect(letter.headers["trace_id"] == "00000000000000000000000000000006")
    #expect(lane.snapshot().lane.deadLetterSpans == ["identifier_missing": 1])
  }

  @Test func compressionCanBeTurnedOff() throws {
    let broker = MemoryBroker()
    broker.append(try Gzip.compress(Sample.otlp), at: at(0))
    try lane(broker, .otlpProto, .none).run()
    let letter = try #require(broker.outputs(to: .deadLetters).first)
    #expect(letter.headers["looks_like"] == "gzip" && letter.headers["reason"] == "invalid_tag")
  }

  /// Jaeger's collector writes ids of 64 bits as 16 digits.
  @Test func keysOfSixteenDigitsAreIDs() throws {
    let broker = MemoryBroker()
    let json =
      #"{"traceID":"00000000000000a5","spanID":"aa","tags":[{"key":"error","type":"bool","value":true}]}"#
    broker.append(Array(json.utf8), key: Array("00000000000000a5".utf8), at: at(0))
    let lane = lane(broker, .jaegerJSON)
    try lane.run()
    #expect(try broker.sampledSpans() == [TraceID(high: 0, low: 0xa5): [0xaa]])
    #expect(lane.snapshot().counters.recordsUnkeyed == 0)
    #expect(broker.outputs(to: .sampled).first?.keyText == "000000000000000000000000000000a5")
  }

  /// Both halves of a shared span are kept and counted.
  @Test func sharedSpansAreTwo() throws {
    let half =
      #"{"traceId":"5","id":"aa","parentId":"9","timestamp":1,"duration":1,"tags":{"error":"true"},"kind":"#
    let broker = MemoryBroker()
    broker.append(Array("[\(half)\"CLIENT\"},\(half)\"SERVER\",\"shared\":true}]".utf8), at: at(0))
    try lane(broker, .zipkinJSON).run()
    #expect(try broker.sampledSpans() == [TraceID(high: 0, low: 5): [0xaa, 0xaa]])
  }

  @Test func theRepartitionerReadsThem() throws {
    let broker = MemoryBroker()
    broker.append(try Gzip.compress(Sample.zipkin), at: at(0))
    broker.append(Sample.zipkin, at: at(0))
    var configuration = RepartitionJob.Configuration(topic: "raw-spans")
    configuration.encoding = .zipkinJSON
    let lane = Lane<MemoryLink, RepartitionJob>(
      link: MemoryLink(broker), configuration: configuration, report: { _ in })
    for time in [0.0, 0.1, 2] { try lane.step(at: moment(at(time)), timeout: .seconds(0)) }
    #expect(try broker.sampledSpans().values.map(\.count) == [2])
  }
}
