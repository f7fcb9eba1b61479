// Records of demand: written, read back, and read from any writer.

import Testing

@testable import OTLP
@testable import Sampling

@Suite struct DemandRecordTests {
  private func record(_ demands: [DemandRecord.Demand], covered: Int64 = 5000) -> DemandRecord {
    DemandRecord(
      partition: PartitionID(3), interval: IntervalNumber(300), coveredMilliseconds: covered,
      demands: demands)
  }

  @Test func writesExactlyThis() throws {
    let record = record([
      DemandRecord.Demand(LimitID(value: 300), traces: 1, tokens: 200),
      DemandRecord.Demand(LimitID(value: 2), traces: 0, tokens: 0),
    ])
    let bytes: [UInt8] = [0x6c, 3, 0xac, 2, 0x88, 0x27, 2, 2, 0, 0, 0xac, 2, 1, 0xc8, 1]
    #expect(record.encoded() == bytes)
    #expect(try DemandRecord(decoding: bytes) == record)
    #expect(record.topicKey == Array("limits/3/0".utf8))
    #expect(DemandRecord.isOne(bytes))
    // Workers that don't know it refuse it, and its key is none of theirs.
    #expect(throws: TrafficRecordError.version) { try TrafficRecord(decoding: bytes) }
    let baseline = TrafficRecord(
      partition: PartitionID(3), interval: IntervalNumber(300), intervalMilliseconds: 5000,
      coveredMilliseconds: 5000)
    #expect(!DemandRecord.isOne(baseline.encoded()))
  }

  @Test func theLargestIsSmall() throws {
    let demands = (0..<DemandRecord.limitsMax).map {
      DemandRecord.Demand(
        LimitID(value: LimitID.valueMax - UInt64($0)), traces: .max, tokens: .max)
    }
    let record = DemandRecord(
      partition: PartitionID(.max), interval: IntervalNumber(1 << 40), coveredMilliseconds: .max,
      demands: demands)
    #expect(record.coveredMilliseconds == 5000)
    #expect(record.encoded().count <= 400)
    #expect(try DemandRecord(decoding: record.encoded()) == record)
  }

  @Test func everyPrefixIsRefused() throws {
    let bytes = record([DemandRecord.Demand(LimitID(value: 300), traces: 1, tokens: 200)]).encoded()
    for count in bytes.indices {
      #expect(throws: TrafficRecordError.self) { try DemandRecord(decoding: Array(bytes[..<count])) }
    }
    #expect(throws: TrafficRecordError.trailingBytes) { try DemandRecord(decoding: bytes + [0]) }
  }

  @Test(
    arguments: [
      ([0x6c, 3, 1, 0, 0], .number), ([0x6c, 3, 1, 0x89, 0x27, 0], .number),
      ([0x6c, 3, 1, 1, 17], .tooLarge),
      ([0x6c, 3, 1, 1, 2, 5, 0, 0, 5, 0, 0], .entry), ([0x6c, 3, 1, 1, 2, 5, 0, 0, 4, 0, 0], .entry),
      ([0x6c, 3, 1, 1, 1, 0x80, 0, 0, 0], .number), ([1, 3, 1, 1, 0], .version),
    ] as [([UInt8], TrafficRecordError)])
  func whatNobodyWritesIsRefused(_ bytes: [UInt8], _ error: TrafficRecordError) {
    #expect(throws: error) { try DemandRecord(decoding: bytes) }
  }

  @Test func limitsHaveIdsOfTheirOwn() {
    let ids = [
      LimitID(policy: "a", place: 0, paysBytes: false), LimitID(policy: "b", place: 0, paysBytes: false),
      LimitID(policy: "a", place: 1, paysBytes: false), LimitID(policy: "a", place: 0, paysBytes: true),
      LimitID(policy: "a", isShadow: true, place: 0, paysBytes: false),
    ]
    #expect(Set(ids).count == ids.count)
    // Workers of other versions count on this.
    #expect(ids[0] == LimitID(policy: "a", place: 0, paysBytes: false))
  }
}
