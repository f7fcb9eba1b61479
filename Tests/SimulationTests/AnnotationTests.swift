// Attributes on kept spans, as a reader of the topic sees them: read with the tests' own decoder.

import OTLP
import Sampling
import Testing

/// An attribute's value.
private enum PlainValue: Equatable {
  case text(String)
  case texts([String])
  case number(Double)
}

/// A kept span: its raw fields, and its attributes.
private struct PlainSpan {
  var id: UInt64
  var fields: [PlainField]
  var attributes: [(key: String, value: PlainValue)] = []

  init(_ message: ArraySlice<UInt8>) throws {
    fields = try decodeFields(message)
    id = fields.first { $0.number == 2 }?.content.reduce(0) { $0 << 8 | UInt64($1) } ?? 0
    for field in fields where field.number == 9 {
      let pair = try decodeFields(field.content)
      let key = try #require(pair.first { $0.number == 1 }).text
      let content = try #require(pair.first { $0.number == 2 }).content
      let value = try #require(try decodeFields(content).first)
      switch value.number {
      case 1: attributes.append((key, .text(value.text)))
      case 4: attributes.append((key, .number(Double(bitPattern: value.value))))
      case 5:
        let items = try decodeFields(value.content).map { try decodeFields($0.content)[0].text }
        attributes.append((key, .texts(items)))
      default: throw PlainDecodingError()
      }
    }
  }

  /// What Tailrace added.
  var own: [String: PlainValue] {
    Dictionary(uniqueKeysWithValues: attributes.filter { $0.key.hasPrefix("tailrace.") })
  }

  static func all(in record: ArraySlice<UInt8>) throws -> [PlainSpan] {
    var spans: [PlainSpan] = []
    for resourceSpans in try decodeFields(record) where resourceSpans.number == 1 {
      for scopeSpans in try decodeFields(resourceSpans.content) where scopeSpans.number == 2 {
        spans += try decodeFields(scopeSpans.content).filter { $0.number == 2 }.map {
          try PlainSpan($0.content)
        }
      }
    }
    return spans
  }
}

/// A span of a test. Times are in milliseconds.
private struct SentSpan {
  var id: UInt64
  var parent: UInt64 = 0
  var trace: UInt64 = 1
  var end: UInt64 = 10
  var isError = false
  var traceState = ""
  var filling = 0

  func write(to writer: inout WireWriter) {
    func bytes(_ value: UInt64) -> [UInt8] {
      (0..<8).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
    writer.bytesField(1, bytes(7) + bytes(trace))
    writer.bytesField(2, bytes(id))
    if !traceState.isEmpty { writer.stringField(3, traceState) }
    if parent != 0 { writer.bytesField(4, bytes(parent)) }
    writer.stringField(5, "GET /")
    writer.fixed64Field(7, 1_000_000_000)
    writer.fixed64Field(8, 1_000_000_000 + end * 1_000_000)
    writer.message(9) { attribute in
      attribute.stringField(1, "own")
      attribute.message(2) { $0.stringField(1, "value") }
    }
    writer.message(15) { if isError { $0.varintField(3, 2) } }
    writer.bytesField(99, [UInt8](repeating: 7, count: filling))
    writer.fixed32Field(1000, 5)
  }
}

/// A sampler and its output.
private final class Outlet {
  private var sampler: Sampler
  private var effects = Effects()
  private var offset: Int64 = 0

  init(_ annotate: AnnotatedSpans, _ adjust: (inout SamplerConfiguration) -> Void = { _ in }) {
    var configuration = SamplerConfiguration()
    configuration.annotate = annotate
    adjust(&configuration)
    sampler = Sampler(partition: PartitionID(0), configuration: configuration)
  }

  var counters: SamplerCounters { sampler.counters }

  /// The records of kept spans that result from sending these as one record.
  func send(_ spans: SentSpan..., at time: Int64 = 0) throws -> [[PlainSpan]] { try send(spans, at: time) }

  func send(_ spans: [SentSpan], at time: Int64 = 0) throws -> [[PlainSpan]] {
    var writer = WireWriter()
    writer.message(1) { resource in
      resource.message(2) { scope in for span in spans { scope.message(2) { span.write(to: &$0) } } }
    }
    let error = writer.bytes.withRawBytes { value in
      sampler.ingest(
        offset: Offset(offset), timestamp: Instant(milliseconds: time), key: nil, value: value, into: &effects
      )
    }
    #expect(error == nil)
    offset += 1
    return try take().map { try PlainSpan.all(in: $0[...]) }
  }

  func pass(to time: Int64) throws -> [[PlainSpan]] {
    sampler.advance(to: Instant(milliseconds: time), into: &effects)
    return try take().map { try PlainSpan.all(in: $0[...]) }
  }

  func sizes() -> [Int] { lastSizes }
  private var lastSizes: [Int] = []

  private func take() throws -> [[UInt8]] {
    var records: [[UInt8]] = []
    for case .forward(_, let range, _) in effects.outputs { records.append(Array(effects.bytes[range])) }
    effects.removeAll()
    lastSizes = records.map(\.count)
    return records
  }
}

@Suite struct AnnotationTests {
  private func reasons(_ names: String..., probability: Double = 1) -> [String: PlainValue] {
    [
      "tailrace.policy": .text(names[0]), "tailrace.reasons": .texts(names),
      "tailrace.probability": .number(probability),
    ]
  }

  @Test func whichSpans() throws {
    for (annotate, annotated) in [(AnnotatedSpans.none, Set<UInt64>()), (.root, [1]), (.all, [1, 2, 3])] {
      let spans = [SentSpan(id: 1), SentSpan(id: 2, parent: 1, isError: true), SentSpan(id: 3, parent: 1)]
      let kept = try Outlet(annotate).send(spans).flatMap(\.self)
      #expect(kept.map(\.id) == [1, 2, 3])
      for span in kept {
        #expect(span.own == (annotated.contains(span.id) ? reasons("errors") : [:]))
        #expect(span.attributes.first?.key == "own")
      }
    }
  }

  /// Nothing else in a span changes: all its fields, unknown ones too, are followed by three attributes.
  @Test func nothingElseMoves() throws {
    let spans = [
      SentSpan(id: 1, isError: true, filling: 300), SentSpan(id: 2, parent: 1, traceState: "ot=th:zz"),
      SentSpan(id: 3, parent: 1, traceState: "a=b,ot=rv:6e6d1a75832a2f"),
      SentSpan(id: 4, parent: 1, traceState: "ot=th:0"),
    ]
    let (plain, annotated) = (Outlet(.none), Outlet(.all))
    let before = try plain.send(spans).flatMap(\.self)
    let after = try annotated.send(spans).flatMap(\.self)
    #expect(before.count == 4 && after.count == 4)
    for (before, after) in zip(before, after) {
      let kept = after.fields.dropLast(3)
      #expect(kept.map(\.number) == before.fields.map(\.number))
      #expect(kept.map(\.content).map { Array($0) } == before.fields.map { Array($0.content) })
      #expect(kept.map(\.value) == before.fields.map(\.value))
      #expect(after.fields.suffix(3).map(\.number) == [9, 9, 9])
    }
    // A tracestate that can't be written is left unchanged and counted; the attributes are added all the
    // same.
    #expect(annotated.counters.tracestatesLeftAlone == 1)
    #expect(after[1].own == reasons("errors"))
  }

  /// Each span gets what is known when it is written: the first reason at once, both later, and only the
  /// probability for a late span.
  @Test func whatIsKnown() throws {
    let outlet = Outlet(.all)
    #expect(try outlet.send(SentSpan(id: 2, parent: 1, isError: true)).first?.first?.own == reasons("errors"))
    #expect(try outlet.send(SentSpan(id: 3, parent: 1)).first?.first?.own == reasons("errors"))
    #expect(try outlet.send(SentSpan(id: 1, end: 3000)).first?.first?.own == reasons("errors", "slow"))
    #expect(try outlet.pass(to: 40_000).isEmpty)
    let late = try outlet.send(SentSpan(id: 9, parent: 1), at: 40_000).flatMap(\.self)
    #expect(late.map(\.own) == [["tailrace.probability": .number(1)]])
  }

  @Test func sharesAndHeadSampling() throws {
    let lucky: UInt64 = 0x00ff_ffff_ffff_ffff
    let outlet = Outlet(.root)
    _ = try outlet.send(SentSpan(id: 1, trace: lucky), SentSpan(id: 2, parent: 1, trace: lucky))
    let kept = try outlet.pass(to: 40_000).flatMap(\.self)
    let probability = SamplingThreshold(probability: 0.01).probability
    #expect(kept.map(\.own) == [reasons("baseline", probability: probability), [:]])
    let sampled = try Outlet(.all).send(SentSpan(id: 1, isError: true, traceState: "ot=th:8"))
    #expect(sampled.first?.first?.own == reasons("errors", probability: 0.5))
  }

  @Test func aSkeletonSaysSo() throws {
    let outlet = Outlet(.all) { $0.limits.spansPerTrace = 2 }
    let spans = (2...9).map { SentSpan(id: $0, parent: 1) }
    let kept = try outlet.send(spans).flatMap(\.self)
    #expect(kept.count == 2)
    for span in kept { #expect(span.own == reasons("trace_limit")) }
    let error = try outlet.send(SentSpan(id: 20, parent: 1, isError: true)).flatMap(\.self)
    #expect(error.map(\.own) == [reasons("errors", "trace_limit")])
  }

  /// Added attributes count towards the size of a portion.
  @Test(arguments: [AnnotatedSpans.none, .root, .all])
  func portions(annotate: AnnotatedSpans) throws {
    let name = String(repeating: "n", count: 200)
    for bytesMax in [1500, 4000, 20_000] {
      for records in [1, 4, 40] {
        let outlet = Outlet(annotate) {
          $0.limits.forwardBytes = bytesMax
          $0.policies = [Policy(name: name, rule: .probabilistic(.always))]
        }
        for record in 0..<records {
          let spans = (0..<40 / records).map { SentSpan(id: UInt64(100 * record + $0 + 1), filling: 40) }
          #expect(try outlet.send(spans).isEmpty)
        }
        let kept = try outlet.pass(to: 40_000)
        #expect(kept.flatMap(\.self).count == 40)
        let sizes = outlet.sizes()
        #expect(sizes.allSatisfy { $0 <= bytesMax }, "\(sizes)")
        #expect(kept.flatMap(\.self).allSatisfy { annotate == .none ? $0.own.isEmpty : $0.own.count == 3 })
      }
    }
  }
}
