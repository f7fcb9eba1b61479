// Portions of a record: every span in one, in order, and none larger than announced.

import Testing

@testable import OTLP

@Suite struct PortionCutterTests {
  /// The portions of a record's spans, each with its announced size.
  private func portions(of record: ScannedRecord, _ recordBytes: Int, _ bytesMax: Int) -> [([Int], Int)] {
    var cutter = PortionCutter(recordBytes: recordBytes, bytesMax: bytesMax)
    var portions: [([Int], Int)] = []
    var chosen: [Int] = []
    for index in record.spans.indices {
      if let size = cutter.add(record.spans[index], of: record) {
        portions.append((chosen, size))
        chosen = []
      }
      chosen.append(index)
    }
    return portions + [(chosen, cutter.byteCount)]
  }

  @Test(arguments: [1, 200, 1000, 5000, 1 << 20]) func portionsAreNoLargerThanWasSaid(bytesMax: Int) throws {
    var random = SeededGenerator(seed: 12)
    for _ in 0..<200 {
      let bytes = RecordModel.random(traceCount: 2, &random).encoded(.shuffled, seed: random.next())
      try bytes.withRawBytes { (raw) throws(MalformedInput) in
        var record = ScannedRecord()
        try record.scan(raw)
        let portions = portions(of: record, bytes.count, bytesMax)
        #expect(portions.flatMap(\.0) == Array(record.spans.indices))
        for (spans, size) in portions {
          var writer = WireWriter()
          writer.appendPiece(spans, of: record, bytes: raw)
          #expect(writer.count <= size)
          if size > bytesMax { #expect(spans.count == 1 || bytesMax < 1000) }
        }
      }
    }
  }
}
