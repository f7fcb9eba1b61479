// Anonymous records: nothing of what people wrote is left, and everything that a sampler needs is.

import OTLP
import Simulation
import Testing

@testable import Pipeline

@Suite struct AnonymiserTests {
  private static let key: (UInt64, UInt64) = (0x1234_5678, 0x9abc_def0)

  private func anonymous(_ record: [UInt8], _ kept: Set<Anonymiser.Name> = []) throws -> [UInt8] {
    var record = record
    try Anonymiser(key: AnonymiserTests.key, keptNames: kept).anonymise(&record)
    return record
  }

  /// The vectors of the reference implementation: the key is 00 to 0f, the input 00, 01, 02...
  @Test func theHashIsSipHash() {
    let hash = SipHash(key: (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908))
    let expected: [(Int, UInt64, UInt64)] = [
      (0, 0xe6a8_25ba_047f_81a3, 0x9302_55c7_1472_f66d),
      (1, 0x44af_996b_d8c1_87da, 0x45fc_229b_1159_7634),
    ]
    for (count, low, high) in expected {
      let result = (0..<count).map { UInt8($0) }.withRawBytes { hash.hash($0) }
      #expect(result.0 == low && result.1 == high, "\(count) bytes")
    }
    let bytes = (0..<24).map { UInt8($0) }
    let words =
      (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908, 0x1716_1514_1312_1110) as (UInt64, UInt64, UInt64)
    let (whole, parts) = (bytes.withRawBytes { hash.hash($0) }, hash.hash(words.0, words.1, words.2))
    #expect(whole.0 == parts.0 && whole.1 == parts.1)
  }

  @Test(arguments: ["0123456789abcdef0123456789ABCDEF", "  0123456789abcdef0123456789abcdef\n"])
  func aKeyIs32Digits(_ text: String) throws {
    let key = try #require(Anonymiser.key(from: Array(text.utf8)))
    #expect(key.0 == 0x0123_4567_89ab_cdef && key.1 == key.0)
  }

  @Test(arguments: ["", "0123456789abcdef", "0123456789abcdef0123456789abcdeg", "16 bytes of text"])
  func anythingElseIsNoKey(_ text: String) { #expect(Anonymiser.key(from: Array(text.utf8)) == nil) }

  /// A record with everything that a record can have.
  private func richRecord() -> [UInt8] {
    var writer = WireWriter()
    writer.message(1) { resourceSpans in
      resourceSpans.message(1) { resource in
        for (key, value) in [("service.name", "secret-shop"), ("host.name", "secret-host")] {
          resource.message(1) { pair in
            pair.stringField(1, key)
            pair.message(2) { $0.stringField(1, value) }
          }
        }
      }
      resourceSpans.message(2) { scopeSpans in
        scopeSpans.message(1) { scope in
          scope.stringField(1, "secret.scope")
          scope.stringField(2, "secret-1.2")
        }
        scopeSpans.message(2) { span in
          span.bytesField(1, Array("secret-trace-id!".utf8))
          span.bytesField(2, Array("secretid".utf8))
          span.stringField(3, "secretkey=secretvalue, ot=th:c;rv:0123456789abcd;secretsub:x")
          span.bytesField(4, Array("secretpa".utf8))
          span.stringField(5, "GET /secret")
          span.varintField(6, 2)
          span.fixed64Field(7, 1_000_000_000)
          span.fixed64Field(8, 2_000_000_000)
          span.message(9) { pair in
            // Fields may come in any order.
            pair.message(2) { value in
              value.message(5) { array in
                array.message(1) { $0.stringField(1, "secret in a list") }
                array.message(1) { $0.varintField(3, 200) }
                array.message(1) { $0.varintField(2, 1) }
                array.message(1) { $0.fixed64Field(4, (1.5).bitPattern) }
              }
            }
            pair.stringField(1, "secret.list")
          }
          span.message(11) { event in
            event.fixed64Field(1, 1_500_000_000)
            event.stringField(2, "secret event")
          }
          span.message(13) { link in
            link.bytesField(1, Array("secret-trace-id!".utf8))
            link.bytesField(2, Array("secretid".utf8))
          }
          span.message(15) { status in
            status.stringField(2, "secret message")
            status.varintField(3, 2)
          }
          span.stringField(999, "secret of a later version")
        }
        scopeSpans.stringField(3, "https://secret/schema")
      }
    }
    return writer.bytes
  }

  @Test func nothingOfTheTextsRemains() throws {
    let record = richRecord()
    let result = try anonymous(record)
    #expect(result.count == record.count)
    #expect(!String(decoding: result, as: UTF8.self).contains("secret"))
    // What makes a service's name one stays.
    #expect(String(decoding: result, as: UTF8.self).contains("service.name"))
    #expect(String(decoding: result, as: UTF8.self).contains("ot=th:c;rv:"))
  }

  @Test func whatASamplerNeedsStays() throws {
    let record = richRecord()
    let (before, after) = (try scannedSpans(record)[0], try scannedSpans(anonymous(record))[0])
    #expect(
      after.traceID != before.traceID && after.spanID != before.spanID && after.parentID != before.parentID)
    #expect((after.start, after.end) == (before.start, before.end))
    #expect(after.status == .error && after.status == before.status)
    #expect(after.field == before.field)
  }

  private static let names: [(Anonymiser.Name, String)] = [
    (.services, "secret-shop"), (.scopes, "secret.scope"), (.spans, "GET /secret"),
    (.attributes, "secret.list"), (.events, "secret event"),
  ]

  @Test(arguments: [Set(Anonymiser.Name.allCases), [.services, .spans], [.attributes], [.scopes], [.events]])
  func namesMayStay(_ kept: Set<Anonymiser.Name>) throws {
    let text = String(decoding: try anonymous(richRecord(), kept), as: UTF8.self)
    for (name, spelling) in AnonymiserTests.names {
      #expect(text.contains(spelling) == kept.contains(name), "\(name)")
    }
    for value in ["secret-host", "secret in a list", "secret message", "secretvalue", "secret-trace-id!"] {
      #expect(!text.contains(value), "\(value)")
    }
  }

  /// A span's attribute.
  private func attribute(_ body: (inout WireWriter) -> Void) -> [UInt8] {
    var writer = WireWriter()
    writer.message(1) { $0.message(2) { $0.message(2) { $0.message(9, body) } } }
    return writer.bytes
  }

  /// The last key of an attribute counts: others beside it are text like any other.
  @Test func keysBesideServiceNameGo() throws {
    for keys in [["secretive", "service.name"], ["service.name", "secretive"], ["secretive", "secretive"]] {
      let record = attribute { pair in
        for key in keys { pair.stringField(1, key) }
        pair.message(2) { $0.stringField(1, "secret-shop") }
      }
      let text = String(decoding: try anonymous(record), as: UTF8.self)
      #expect(!text.contains("secret"), "\(keys)")
      #expect(text.contains("service.name") == keys.contains("service.name"))
    }
  }

  /// A number that stays has no room for more than it says.
  @Test func oversizedNumbersGo() throws {
    let secret: UInt64 = 0x6574_6572_6365_73
    func number(_ record: [UInt8]) throws -> (before: [UInt8], after: [UInt8]) {
      (record, try anonymous(record))
    }
    let boolean = try number(attribute { $0.message(2) { $0.varintField(2, secret) } })
    #expect(boolean.after.count == boolean.before.count)
    #expect(boolean.after.suffix(8) == [0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00])
    for small in [0, 1] as [UInt64] {
      let kept = try number(attribute { $0.message(2) { $0.varintField(2, small) } })
      #expect(kept.before == kept.after)
    }
    // A kind, a status and a count of seven bytes; a kind and a time of another wire type.
    for body in [
      { $0.varintField(6, secret) }, { $0.message(15) { $0.varintField(3, secret) } },
      { $0.varintField(10, secret) }, { $0.fixed64Field(6, secret) }, { $0.varintField(7, secret) },
    ] as [(inout WireWriter) -> Void] {
      var writer = WireWriter()
      writer.message(1) { $0.message(2) { $0.message(2, body) } }
      let (before, after) = try number(writer.bytes)
      #expect(before.count == after.count && before.suffix(7) != after.suffix(7), "\(after)")
    }
  }

  @Test func zerosAreStillNoID() throws {
    var writer = WireWriter()
    writer.message(1) {
      $0.message(2) { $0.message(2) { $0.bytesField(1, [UInt8](repeating: 0, count: 16)) } }
    }
    #expect(try anonymous(writer.bytes) == writer.bytes)
  }

  @Test func malformedRecordsAreUnchanged() {
    for cut in [1, 20, 100, 200] {
      var record = Array(richRecord().dropLast(cut))
      let before = record
      #expect(throws: MalformedInput.self) {
        try Anonymiser(key: AnonymiserTests.key).anonymise(&record)
      }
      #expect(record == before)
    }
  }

  /// Ids stay as random as they were, equal ones stay equal, and a replay finds the same errors and slow
  /// traces.
  @Test func aReplayFindsTheSameTraces() throws {
    let directory = try TemporaryDirectory()
    // A late error is kept with its trace if that is in the baseline, and another 1 % is.
    let records = generatedRecords(traces: 300) {
      $0.errorShare = 0.1
      $0.slowShare = 0.1
      $0.lateShare = 0
    }.records
    let hidden = try records.map { try anonymous($0) }
    #expect(hidden.map(\.count) == records.map(\.count))
    let before = try ReplayOutcome(path: try writeRecording(records, in: directory, name: "a.otlp")).report
    let after = try ReplayOutcome(path: try writeRecording(hidden, in: directory, name: "b.otlp")).report
    #expect(after.damages.isEmpty && after.records == before.records && after.spans == before.spans)
    #expect(after.traces == before.traces && after.errorTraces == before.errorTraces)
    #expect(after.slowTraces == before.slowTraces && after.errorTraceSpans == before.errorTraceSpans)
    // Another 1 %: the ids are others.
    #expect(after.keptByPolicy.prefix(2).map(\.count) == before.keptByPolicy.prefix(2).map(\.count))
    let randomness = Set(try hidden.flatMap { try scannedSpans($0).map(\.traceID.randomness) })
    let mean = randomness.reduce(0.0) { $0 + Double($1) } / Double(randomness.count)
    #expect(randomness.count == 300)
    #expect(abs(mean / Double(UInt64(1) << 56) - 0.5) < 0.1)
  }
}
