// `stats` records: written, read back, and read from any writer.

import Simulation
import Testing

@testable import OTLP
@testable import Sampling

@Suite struct TrafficRecordTests {
  @Test(arguments: 1...20) func readsWhatItWrote(seed: UInt64) throws {
    var random = RandomSource(seed: seed)
    let record = randomRecord(partition: 63, interval: 176_000_000, keys: 40, random: &random)
    let bytes = record.encoded()
    #expect(try TrafficRecord(decoding: bytes) == record)
    // An entry costs its name and about 40 bytes.
    #expect(bytes.count < 60 * (record.entries.count + 2))
  }

  @Test func writesExactlyThis() throws {
    var record = TrafficRecord(
      partition: PartitionID(3), interval: IntervalNumber(300), intervalMilliseconds: 10_000,
      coveredMilliseconds: 10_000)
    var traffic = KeyTraffic()
    traffic.seen = 2
    traffic.failed = 1
    traffic.present = TrafficTally(traces: 1, spans: 4, bytes: 200)
    traffic.decided = TrafficTally(traces: 2, spans: 9, bytes: 500)
    traffic.forced = TrafficTally(traces: 1, spans: 5, bytes: 300)
    traffic.offered = TrafficTally(traces: 1, spans: 4, bytes: 200)
    record.entries = [TrafficRecord.Entry(name: Array("a".utf8), isKnown: true, traffic: traffic)]
    let head: [UInt8] = [1, 3, 0xac, 2, 0x90, 0x4e, 0x90, 0x4e]
    let entry: [UInt8] = [
      1, 0x61, 1, 2, 1, 1, 4, 0xc8, 1, 2, 9, 0xf4, 3, 1, 5, 0xac, 2, 1, 4, 0xc8, 1, 0, 0, 0,
    ]
    #expect(record.encoded() == head + Array(repeating: 0, count: 17) + [1] + entry)
    #expect(record.topicKey(history: 7) == Array("3/6".utf8))
  }

  @Test func shapesMakeItVersionTwo() throws {
    var record = TrafficRecord(
      partition: PartitionID(3), interval: IntervalNumber(300), intervalMilliseconds: 10_000,
      coveredMilliseconds: 10_000)
    let without = record.encoded()
    record.shapes = [0x0102_0304_0506_0708, .max]
    let bytes = record.encoded()
    #expect(bytes.first == 2 && without.first == 1)
    var expected = without
    expected[0] = 2
    expected += [2, 8, 7, 6, 5, 4, 3, 2, 1] as [UInt8]
    expected += [UInt8](repeating: .max, count: 8)
    #expect(bytes == expected)
    #expect(try TrafficRecord(decoding: bytes) == record)
    for count in 1..<bytes.count {
      #expect(throws: TrafficRecordError.truncated) { try TrafficRecord(decoding: Array(bytes[..<count])) }
    }
    #expect(throws: TrafficRecordError.trailingBytes) { try TrafficRecord(decoding: bytes + [0]) }
    var none = without
    none[0] = 2
    none.append(0)
    #expect(throws: TrafficRecordError.entry) { try TrafficRecord(decoding: none) }
    record.shapes = [5, 5]
    #expect(throws: TrafficRecordError.entry) { try TrafficRecord(decoding: record.encoded()) }
    record.shapes = (1...1000).map { UInt64($0) }
    #expect(record.shorten(toBytes: 3200) == 0)
    #expect(record.shapes.count == 100 && record.encoded().count < 3200)
  }

  /// Sums of others' counts may be larger than a record's numbers: parts are clamped with their whole.
  @Test func whatIsCutStaysConsistent() throws {
    let whole = TrafficRecord.countMax
    var traffic = KeyTraffic()
    traffic.decided = TrafficTally(traces: whole, spans: whole, bytes: whole)
    traffic.forced = TrafficTally(traces: whole / 2, spans: whole, bytes: 7)
    traffic.kept = TrafficTally(traces: whole / 2, spans: 0, bytes: whole - 7)
    var record = TrafficRecord(
      partition: PartitionID(0), interval: IntervalNumber(1), intervalMilliseconds: 5000,
      coveredMilliseconds: 5000)
    for name in ["a", "b", "c"] {
      record.entries.append(TrafficRecord.Entry(name: Array(name.utf8), isKnown: true, traffic: traffic))
    }
    #expect(record.shorten(toBytes: 300) > 0)
    let cut = try TrafficRecord(decoding: record.encoded())
    #expect(cut.entries.count < 3)
    #expect(cut.other.decided == traffic.decided)
    #expect(cut.other.forced.traces == whole && cut.other.kept.traces == 0)
  }

  @Test func everyPrefixIsTruncated() {
    var random = RandomSource(seed: 4)
    let bytes = randomRecord(partition: 1, interval: 9, keys: 5, random: &random).encoded()
    for count in 1..<bytes.count {
      #expect(throws: TrafficRecordError.truncated) {
        try TrafficRecord(decoding: Array(bytes.prefix(count)))
      }
    }
    #expect(throws: TrafficRecordError.version) { try TrafficRecord(decoding: []) }
    #expect(throws: TrafficRecordError.trailingBytes) { try TrafficRecord(decoding: bytes + [0]) }
  }

  private static let head: [UInt8] = [1, 3, 5, 0x90, 0x4e, 0x90, 0x4e]
  private static let nothing = [UInt8](repeating: 0, count: 17)

  @Test(arguments: [
    ([3, 3, 5], TrafficRecordError.version),
    // The partition is -1 as an unsigned number, and a number with a redundant last byte.
    ([1, 0xff, 0xff, 0xff, 0xff, 0x0f], .number),
    ([1, 0x83, 0x00], .number),
    ([1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], .number),
    // More covered than possible, and nothing covered.
    ([1, 3, 5, 10, 11], .number), ([1, 3, 5, 10, 0], .number),
    // More failed than seen; more kept than decided.
    (head + [0, 1] + [UInt8](repeating: 0, count: 15), .inconsistent),
    (head + [UInt8](repeating: 0, count: 14) + [1, 0, 0], .inconsistent),
    // A million entries, a long name.
    (head + nothing + [0xc0, 0x84, 0x3d], .tooLarge),
    (head + nothing + [1, 0x81, 2], .tooLarge),
    // An unknown flag; names that do not ascend; a name twice.
    (head + nothing + [1, 1, 0x61, 2] + nothing, .entry),
    (head + nothing + [2, 1, 0x62, 0] + nothing + [1, 0x61, 0] + nothing, .entry),
    (head + nothing + [2, 1, 0x61, 0] + nothing + [1, 0x61, 0] + nothing, .entry),
  ])
  func refuses(_ bytes: [UInt8], _ expected: TrafficRecordError) {
    #expect(throws: expected) { try TrafficRecord(decoding: bytes) }
  }

  /// Whatever is read is consistent, and there is only one way to write it.
  @Test(arguments: 1...4) func mutatedBytesAreRefusedOrReadWhole(seed: UInt64) {
    var random = RandomSource(seed: seed)
    var accepted = 0
    for _ in 0..<1000 {
      var bytes = randomRecord(partition: 5, interval: 99, keys: 4, random: &random).encoded()
      for _ in 0..<random.number(in: 1...3) {
        let place = random.number(in: 0...bytes.count - 1)
        switch random.number(in: 0...3) {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes[place] ^= 1 << UInt8(random.number(in: 0...7))
        case 2: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
        default: if bytes.count > 1 { bytes.remove(at: place) }
        }
      }
      guard let record = try? TrafficRecord(decoding: bytes) else { continue }
      accepted += 1
      #expect(record.encoded() == bytes)
      #expect(record.entries.allSatisfy { $0.traffic.isConsistent })
      var fleet = FleetTraffic(configuration: BaselineConfiguration())
      _ = fleet.merge(record, latest: IntervalNumber(.max))
      let rates = RateController(configuration: BaselineConfiguration()).rates(for: fleet)
      #expect(rates.entries.allSatisfy { $0.threshold.probability > 0 })
    }
    #expect(accepted > 0)
  }

  @Test func theSmallestKeysMakeRoom() throws {
    var random = RandomSource(seed: 8)
    let record = randomRecord(partition: 0, interval: 1, keys: 300, random: &random)
    var shortened = record
    let left = shortened.shorten(toBytes: 6000)
    let bytes = shortened.encoded()
    #expect(bytes.count <= 6000 && bytes.count > 5000)
    let read = try TrafficRecord(decoding: bytes)
    #expect(left == record.entries.count - read.entries.count)
    #expect(shortened.shorten(toBytes: 6000) == 0)
    #expect(shortened.shorten(toBytes: 300) >= read.entries.count - 3)
    #expect(shortened.encoded().count <= 300)
    let least = read.entries.map(\.traffic.seen).min() ?? 0
    let kept = Set(read.entries.map(\.name))
    let folded = record.entries.filter { !kept.contains($0.name) }
    #expect(folded.allSatisfy { $0.traffic.seen <= least })
    var other = record.other
    for entry in folded { other.add(entry.traffic) }
    #expect(read.other == other)
  }
}
