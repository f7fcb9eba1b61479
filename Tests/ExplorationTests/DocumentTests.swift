// Documents of traces: the console's own and Jaeger's, and the latter against Jaeger's own fixture.

import Foundation
import OTLP
import Testing

@testable import Exploration

@Suite struct DocumentTests {
  private let id = TraceID(high: 7, low: 9)

  private func object(_ json: JSONText) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(json.bytes)) as? [String: Any])
  }

  @Test func hostileNamesAreText() throws {
    var span = TestSpan(trace: id, service: "<script>alert(1)</script>", name: "\u{202e}\"\\\u{0}\u{2028}")
    span.attributes = [("k\"", String(repeating: "x", count: 65_536))]
    var trace = TraceSpans(id)
    trace.add(span.record)
    let document = try object(trace.document(decisions: [], missing: nil))
    let spans = try #require(document["spans"] as? [[String: Any]])
    #expect(spans[0]["service"] as? String == "<script>alert(1)</script>")
    #expect(spans[0]["operation"] as? String == "\u{202e}\"\\\u{0}\u{2028}")
    let attributes = try #require(spans[0]["attributes"] as? [[Any]])
    #expect((attributes[0][1] as? String)?.count == 65_536)
    #expect(document["missing"] is NSNull)
    _ = try object(JaegerDocuments.traces([trace]))
  }

  /// Some clients write a root's missing parent as eight zero bytes.
  @Test func aParentOfZerosIsNone() throws {
    var span = TestSpan(trace: id)
    span.hasZeroParent = true
    var trace = TraceSpans(id)
    trace.add(span.record)
    let document = try object(trace.document(decisions: [], missing: nil))
    let spans = try #require(document["spans"] as? [[String: Any]])
    #expect(spans.count == 1 && spans[0]["parent_span_id"] is NSNull)
  }

  @Test func logsAreToldByTheirTimes() throws {
    func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
      [number << 3 | 2, UInt8(bytes.count)] + bytes
    }
    func log(_ time: UInt8, _ text: String, trace: UInt8 = 9, severity: UInt8 = 17) -> [UInt8] {
      let zeros = [UInt8](repeating: 0, count: 7)
      var log: [UInt8] = [0x09, time] + zeros
      log += [0x10, severity]
      log += field(5, field(1, Array(text.utf8)))
      log += field(9, zeros + [7] + zeros + [trace])
      log += field(10, zeros + [5])
      return field(2, log)
    }
    let name = field(1, Array("service.name".utf8)) + field(2, field(1, Array("shop".utf8)))
    func record(_ logs: [UInt8]...) -> [UInt8] {
      logs.flatMap { field(1, field(1, field(1, name)) + field(2, $0)) }
    }
    var logs = TraceLogs(id)
    logs.add(record(log(30, "third"), log(20, "<b>\u{202e}", severity: 0), log(1, "other", trace: 8)))
    logs.add(record(log(10, "first")))
    logs.add([1, 2, 3])
    let document = try object(TraceSpans(id).document(decisions: [], logs: logs, missing: nil))
    let told = try #require(document["logs"] as? [[String: Any]])
    #expect(told.map { $0["body"] as? String } == ["first", "<b>\u{202e}", "third"])
    #expect(told.map { $0["severity"] as? String } == ["ERROR", "", "ERROR"])
    #expect(told.allSatisfy { $0["span_id"] as? String == "0000000000000005" })
    #expect(told.allSatisfy { $0["service"] as? String == "shop" })
    #expect(told[0]["time_ns"] as? String == "10")
    let none = try object(TraceSpans(id).document(decisions: [], missing: nil))
    #expect(none["logs"] is NSNull)
  }

  /// Empty parts take two bytes of a record each, and a hundred times that in a document.
  @Test func aSpanShowsSoManyParts() throws {
    var span = TestSpan(trace: id)
    span.attributes = (0..<1500).map { ("\($0)", "") }
    var trace = TraceSpans(id)
    trace.add(span.record)
    let spans = try #require(
      try object(trace.document(decisions: [], missing: nil))["spans"] as? [[String: Any]])
    #expect((spans[0]["attributes"] as? [Any])?.count == 1024)
  }

  @Test func resourcesAreThereOnce() throws {
    var trace = TraceSpans(id)
    for (number, host) in ["a", "b", "a"].enumerated() {
      var span = TestSpan(trace: id, id: UInt64(number + 1))
      span.resource = [("host", host)]
      trace.add(span.record)
    }
    let document = try object(trace.document(decisions: [], missing: nil))
    let spans = try #require(document["spans"] as? [[String: Any]])
    let resources = try #require(document["resources"] as? [[[Any]]])
    #expect(spans.map { $0["resource"] as? Int } == [0, 1, 0])
    #expect(resources.map { $0[1][1] as? String } == ["a", "b"])
  }

  @Test func redeliveredAndForeignSpansAreLeftOut() {
    var trace = TraceSpans(id)
    let record = TestSpan(trace: id).record
    trace.add(record)
    trace.add(record)
    trace.add(TestSpan(trace: TraceID(high: 1, low: 2)).record)
    trace.add(Array(record.dropLast(3)))
    #expect(trace.count == 1)
  }

  @Test func tagsOfOneSpanAreVerified() {
    var first = TestSpan(trace: id, id: 1)
    first.attributes = [("a", "1")]
    first.resource = [("host", "h")]
    var second = TestSpan(trace: id, id: 2, isError: true)
    second.attributes = [("b", "2")]
    var trace = TraceSpans(id)
    trace.add(first.record)
    trace.add(second.record)
    func matches(_ tags: [(String, String)], operation: String? = nil) -> Bool {
      var query = TraceQuery()
      query.tags = tags.map { (key: $0.0, value: $0.1) }
      query.operation = operation
      return trace.matches(query)
    }
    #expect(matches([("a", "1"), ("host", "h")]))
    #expect(matches([("b", "2"), ("error", "true"), ("span.kind", "server")]))
    #expect(!matches([("a", "1"), ("b", "2")]))
    #expect(!matches([("a", "2")]))
    #expect(!matches([("a", "1")], operation: "other"))
  }

  @Test func base64IsRFC4648() {
    for text in ["", "f", "fo", "foo", "foob", "fooba", "foobar"] {
      #expect(Base64.text(Array(text.utf8)) == Data(text.utf8).base64EncodedString())
    }
  }

  @Test func failuresAreJaegers() throws {
    let failure = try object(JaegerDocuments.failure(404, "trace not found"))
    let errors = try #require(failure["errors"] as? [[String: Any]])
    #expect(errors[0]["code"] as? Int == 404 && errors[0]["msg"] as? String == "trace not found")
    #expect(failure["data"] is NSNull)
  }

  // MARK: Jaeger's own documents

  /// Set by who has the fixtures of Jaeger's repository: the folder with `fixture__otlp2jaeger-in.json`.
  private static let fixtures = ProcessInfo.processInfo.environment["JAEGER_DOCUMENTS"]

  @Test(
    .enabled(if: fixtures != nil, "JAEGER_DOCUMENTS names no folder: Jaeger's own documents are not here"))
  func jaegersFixtureIsTranslatedAlike() throws {
    let folder = URL(fileURLWithPath: try #require(DocumentTests.fixtures))
    let input = try Data(contentsOf: folder.appendingPathComponent("fixture__otlp2jaeger-in.json"))
    var writer = WireWriter(capacity: 4096)
    try Array(input).withRawBytes { (bytes) throws(MalformedInput) in
      try OTLPJSON.convert(bytes, into: &writer)
    }
    let output = try Data(contentsOf: folder.appendingPathComponent("fixture__otlp2jaeger-out.json"))
    let wanted = try #require(try JSONSerialization.jsonObject(with: output) as? [String: Any])
    let wantedTraces = try #require(wanted["data"] as? [[String: Any]])
    let name = try #require(wantedTraces[0]["traceID"] as? String)
    var trace = TraceSpans(try #require(Array(name.utf8).withRawBytes { TraceID(key: $0) }))
    trace.add(Array(writer.bytes))
    let made = try object(JaegerDocuments.traces([trace]))
    let traces = try #require(made["data"] as? [[String: Any]])
    #expect(Set(made.keys) == Set(wanted.keys))
    #expect(Set(traces[0].keys) == Set(wantedTraces[0].keys))
    // The fixture has the same span twice; here it is one.
    let wantedSpans = try #require(wantedTraces[0]["spans"] as? [NSDictionary])
    let spans = try #require(traces[0]["spans"] as? [NSDictionary])
    #expect(spans == [wantedSpans[0]])
    #expect(traces[0]["processes"] as? NSDictionary == wantedTraces[0]["processes"] as? NSDictionary)
  }

  /// Every key that a span, a tag, a log, a reference or a process has there, and no other.
  @Test(
    .enabled(if: fixtures != nil, "JAEGER_DOCUMENTS names no folder: Jaeger's own documents are not here"))
  func shapesAreThoseOfJaegersModel() throws {
    let folder = URL(fileURLWithPath: try #require(DocumentTests.fixtures))
    let data = try Data(contentsOf: folder.appendingPathComponent("fixtures__ui_01.json"))
    let wanted = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    var span = TestSpan(trace: id, id: 1, parent: 3)
    span.links = [(TraceID(high: 5, low: 5), 6)]
    span.attributes = [("a", "1")]
    var trace = TraceSpans(id)
    trace.add(span.record)
    let made = try object(JaegerDocuments.traces([trace]))
    let traces = try #require(made["data"] as? [[String: Any]])
    func keys(_ trace: [String: Any], _ list: String) -> Set<String> {
      let spans = trace["spans"] as? [[String: Any]] ?? []
      let entries = list == "spans" ? spans : spans.flatMap { $0[list] as? [[String: Any]] ?? [] }
      return entries.reduce(into: []) { $0.formUnion($1.keys) }
    }
    for list in ["spans", "tags", "references"] {
      #expect(keys(traces[0], list) == keys(wanted, list), "\(list)")
    }
  }
}
