// Resources that earlier records had: recognised by all their bytes, and read like any other.

import Testing

@testable import OTLP

@Suite struct KnownResourcesTests {
  private func facts(_ record: inout ScannedRecord, _ bytes: [UInt8]) throws -> [SpanFacts] {
    try bytes.withRawBytes { (raw) throws(MalformedInput) in try record.scan(raw) }
    return record.spans.map { SpanFacts($0, of: record, bytes) }
  }

  /// A record of one resource, with an attribute besides the service's name.
  private func record(_ service: String?, _ pod: String, parts: Int = 1) -> [UInt8] {
    let attribute = WireNode.message(
      1, [.string(1, "k8s.pod.name"), .message(2, [.string(1, pod)])])
    let others = (1..<parts).map { WireNode.message(1, [.message(1, [.string(1, "part \($0)")])]) }
    return RecordModel(resources: [
      ResourceModel(
        service: service.map { Array($0.utf8) }, scopes: [.numbered(1)], attributes: [attribute],
        others: others)
    ]).encoded()
  }

  @Test func nothingIsReadOtherwise() throws {
    var random = SeededGenerator(seed: 21)
    var remembering = ScannedRecord(remembersResources: true)
    let records = (0..<50).map { _ in
      RecordModel.random(traceCount: 2, &random).encoded(.shuffled, seed: random.next())
    }
    for _ in 0..<500 {
      guard let bytes = records.randomElement(using: &random) else { continue }
      #expect(try facts(&remembering, bytes) == scannedFacts(bytes))
    }
  }

  @Test func sameBytesHaveTheSameNumberAndOthersAnother() throws {
    var scanned = ScannedRecord(remembersResources: true)
    var owners: [UInt64: [UInt8]] = [:]
    // Lengths are the same, and only a few bytes differ; many of them share a place.
    let records = (0..<700).map { record("cart", "cart-6d4cf56db6-\(100 + $0)") } + [record(nil, "cart")]
    for _ in 0..<3 {
      for bytes in records {
        for _ in 0..<2 { #expect(try facts(&scanned, bytes) == scannedFacts(bytes)) }
        let number = scanned.resources[0].number
        #expect(number != 0)
        _ = try facts(&scanned, bytes)
        #expect(scanned.resources[0].number == number, "it was the latest of its place")
        #expect(owners[number, default: bytes] == bytes)
        owners[number] = bytes
      }
    }
    let largest = try #require(owners.keys.max())
    scanned.release()
    #expect(try facts(&scanned, records[0]) == scannedFacts(records[0]))
    #expect(scanned.resources[0].number >> 8 > largest >> 8, "a number was used again")
  }

  @Test func partsAndLongResourcesAreNotRemembered() throws {
    var scanned = ScannedRecord(remembersResources: true)
    for bytes in [record("cart", "a", parts: 3), record("cart", String(repeating: "x", count: 2000))] {
      for _ in 0..<3 {
        #expect(try facts(&scanned, bytes) == scannedFacts(bytes))
        #expect(scanned.resources[0].number == 0)
      }
    }
    var forgetful = ScannedRecord()
    let before = forgetful.byteCount
    for _ in 0..<3 { _ = try facts(&forgetful, record("cart", "a")) }
    #expect(forgetful.resources[0].number == 0 && forgetful.byteCount == before)
  }

  @Test func damagedResourcesAreRejectedEachTime() throws {
    var scanned = ScannedRecord(remembersResources: true)
    var bytes = record("cart", "cart-6d4cf56db6-x7k2q")
    _ = try facts(&scanned, bytes)
    let name = try #require(bytes.firstRange(of: Array("service.name".utf8)))
    // The length of the key leads past its attribute.
    bytes[name.lowerBound - 1] = 0x7f
    for _ in 0..<2 { #expect(throws: MalformedInput.self) { try facts(&scanned, bytes) } }
  }
}
