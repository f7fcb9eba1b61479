// The scanner of log requests: traces, severities, rows of small records, damage, and pieces of each trace.

import Testing

@testable import OTLP

@Suite struct LogScannerTests {
  private struct Log {
    var trace: UInt64?
    var severity: UInt64 = 9
    var body = "text"
  }

  private func append(_ log: Log, to scope: inout WireWriter) {
    scope.message(ScopeSpansField.spans) { record in
      record.fixed64Field(LogRecordField.time, 1_760_000_000_000_000_000)
      record.varintField(LogRecordField.severityNumber, log.severity)
      record.message(LogRecordField.body) { $0.stringField(AnyValueField.string, log.body) }
      guard let trace = log.trace else { return }
      record.bytesField(
        LogRecordField.traceID,
        Array(repeating: 0, count: 8)
          + (0..<8).map { UInt8(truncatingIfNeeded: trace >> UInt64(56 - 8 * $0)) }
      )
      record.bytesField(LogRecordField.spanID, [1, 2, 3, 4, 5, 6, 7, 8])
    }
  }

  private func request(_ scopes: [[Log]]) -> [UInt8] {
    var writer = WireWriter()
    for logs in scopes {
      writer.message(LogsDataField.resourceLogs) { resource in
        resource.message(ResourceSpansField.resource) {
          $0.varintField(ResourceField.droppedAttributesCount, 7)
        }
        resource.message(ResourceSpansField.scopeSpans) { scope in
          scope.message(ScopeSpansField.scope) { $0.stringField(ScopeField.name, "library") }
          for log in logs { append(log, to: &scope) }
        }
        resource.stringField(ResourceSpansField.schemaURL, "schema")
      }
    }
    return writer.bytes
  }

  private func scan(_ bytes: [UInt8]) throws -> ScannedRecord {
    var record = ScannedRecord()
    try bytes.withRawBytes { (bytes) throws(MalformedInput) in try record.scanLogs(bytes) }
    return record
  }

  private func trace(_ number: UInt64) -> TraceID { TraceID(high: 0, low: number) }

  @Test func logRecordsAreReadWithTheirTracesAndSeverities() throws {
    let long = String(repeating: "x", count: 2000)
    let record = try scan(
      request([[Log(trace: 1, body: long), Log(trace: 2, severity: 17)], [Log(trace: nil, severity: 300)]]))
    #expect(record.spans.map(\.traceID) == [trace(1), trace(2), trace(0)])
    #expect(record.spans.map(\.severity) == [9, 17, 255])
    #expect(record.spans.map(\.logCount) == [1, 1, 1])
    #expect(!record.isSingleTrace)
    #expect(record.isWhole)
    #expect(record.resources.count == 2)
  }

  @Test func rowsOfSmallRecordsOfOneFateAreOneView() throws {
    let none = Log(trace: nil)
    let warning = Log(trace: nil, severity: 13)
    let record = try scan(
      request([[Log(trace: 1), Log(trace: 1, severity: 21), none, none, warning, Log(trace: 1)], [none]]))
    #expect(record.spans.map(\.logCount) == [2, 2, 1, 1, 1])
    #expect(record.spans.map(\.severity) == [21, 9, 13, 9, 9])
  }

  @Test func emptyRecordsTakeLittleMemory() throws {
    var writer = WireWriter()
    writer.message(LogsDataField.resourceLogs) { resource in
      resource.message(ResourceSpansField.scopeSpans) { scope in
        for _ in 0..<100_000 { scope.message(ScopeSpansField.spans) { _ in } }
      }
    }
    let record = try scan(writer.bytes)
    #expect(record.spans.reduce(0) { $0 + $1.logCount } == 100_000)
    #expect(record.spans.count < 300)
  }

  @Test func aRequestMayHaveNoLogRecords() throws {
    #expect(try scan([]).spans.isEmpty)
    #expect(try scan(request([[]])).spans.isEmpty)
    #expect(try scan(request([[]])).resources.isEmpty)
  }

  @Test(arguments: [0, 1, 8, 15, 17, 32])
  func aTraceIDOfAnotherLengthIsNone(_ length: Int) throws {
    var writer = WireWriter()
    writer.message(LogsDataField.resourceLogs) { resource in
      resource.message(ResourceSpansField.scopeSpans) { scope in
        scope.message(ScopeSpansField.spans) {
          $0.bytesField(LogRecordField.traceID, Array(repeating: 0xab, count: length))
        }
      }
    }
    #expect(try scan(writer.bytes).spans[0].traceID.isZero)
  }

  @Test func eachTracesPieceHasItsResourceAndScope() throws {
    let bytes = request([
      [Log(trace: 1), Log(trace: 2), Log(trace: 1)], [Log(trace: 2), Log(trace: nil)],
    ])
    var record = try scan(bytes)
    var groups = TraceGroups()
    try groups.group(&record, bytesMax: 1 << 20)
    #expect(groups.groups.map(\.traceID) == [trace(1), trace(2), trace(0)])
    var pieces: [[UInt8]] = []
    bytes.withRawBytes { bytes in
      for group in groups.groups {
        var writer = WireWriter()
        writer.appendPiece(group.spans, of: record, bytes: bytes)
        pieces.append(writer.bytes)
      }
    }
    // The schema URL moves before the scope: the order of fields may change, their content does not.
    let expected = [
      [[Log(trace: 1), Log(trace: 1)]], [[Log(trace: 2)], [Log(trace: 2)]], [[Log(trace: nil)]],
    ]
    for (piece, expected) in zip(pieces, expected) {
      let (found, wanted) = (try scan(piece), try scan(request(expected)))
      #expect(piece.count == request(expected).count)
      #expect(found.spans.map(\.traceID) == wanted.spans.map(\.traceID))
      #expect(found.spans.map(\.logCount) == wanted.spans.map(\.logCount))
    }
  }

  @Test func damageIsFoundWhereverTheBytesAreCut() throws {
    let bytes = request([[Log(trace: 1), Log(trace: nil)]])
    for count in 1..<bytes.count {
      #expect(throws: MalformedInput.self) { try scan(Array(bytes.prefix(count))) }
    }
  }

  @Test func fieldsOfTheWrongTypeAreRefused() {
    for field in [LogRecordField.traceID, LogRecordField.severityNumber] {
      var writer = WireWriter()
      writer.message(LogsDataField.resourceLogs) { resource in
        resource.message(ResourceSpansField.scopeSpans) { scope in
          scope.message(ScopeSpansField.spans) { $0.fixed64Field(field, 1) }
        }
      }
      #expect(throws: MalformedInput(.wrongWireType, at: 6)) { try scan(writer.bytes) }
    }
  }

  @Test func jsonBecomesTheSameBytes() throws {
    let json = """
      {"resourceLogs": [{"resource": {"droppedAttributesCount": 7}, "scopeLogs": [{"scope":
      {"name": "library"}, "logRecords": [{"timeUnixNano": "1760000000000000000", "severityNumber":
      "SEVERITY_NUMBER_INFO", "body": {"stringValue": "text"}, "traceId":
      "00000000000000000000000000000001", "spanId": "0102030405060708"}]}], "schemaUrl": "schema"}]}
      """
    var writer = WireWriter()
    try Array(json.utf8).withRawBytes { (json) throws(MalformedInput) in
      try OTLPJSON.convertLogs(json, into: &writer)
    }
    #expect(writer.bytes == request([[Log(trace: 1)]]))
  }

  /// Small records that can't be joined would take many times their bytes as views.
  @Test func manySmallRecordsOfManyTracesAreRefused() throws {
    func small(_ count: Int, body: Int) -> [UInt8] {
      var writer = WireWriter()
      writer.message(LogsDataField.resourceLogs) { resource in
        resource.message(ResourceSpansField.scopeSpans) { scope in
          for number in 0..<count {
            scope.message(ScopeSpansField.spans) { record in
              record.varintField(LogRecordField.severityNumber, UInt64(1 + number % 2))
              record.stringField(LogRecordField.body, String(repeating: "b", count: body))
            }
          }
        }
      }
      return writer.bytes
    }
    var record = ScannedRecord()
    func scan(_ bytes: [UInt8]) throws {
      try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scanLogs(raw) }
    }
    let error = #expect(throws: MalformedInput.self) { try scan(small(20_000, body: 0)) }
    #expect(error?.reason == .tooManyRecords)
    try scan(small(1000, body: 0))
    try scan(small(20_000, body: 30))
    #expect(record.spans.count == 20_000)
  }
}
