// Records split by trace: nothing lost, nothing changed, nothing multiplied beyond the limit.

import OTLP
import Testing

@Suite struct SplitterTests {
  @Test func aSingleTraceIsItsOwnPiece() throws {
    let bytes = RecordModel(resources: [
      ResourceModel(service: [1], scopes: [ScopeModel(spans: [.full, .full]), ScopeModel(spans: [.full])]),
      ResourceModel(service: [2], scopes: [ScopeModel(spans: [.full])]),
    ]).encoded()
    let record = try scan(bytes)
    #expect(record.isSingleTrace)
    let pieces = try split(bytes)
    #expect(pieces.map(\.traceID) == [SpanModel.full.traceID])
    #expect(pieces.map(\.bytes) == [bytes])
    #expect(pieces.map(\.indices) == [[0, 1, 2, 3]])
  }

  @Test func aSingleTraceIsNeverTooLarge() throws {
    #expect(try split(RecordModel(.full, .full).encoded(), bytesMax: 0).count == 1)
  }

  @Test func groupsStandInTheOrderOfTheirFirstSpans() throws {
    let bytes = RecordModel(resources: [
      ResourceModel(scopes: [.numbered(9, 2, 9), .numbered(7)]), ResourceModel(scopes: [.numbered(2, 1, 9)]),
    ]).encoded()
    #expect(try !scan(bytes).isSingleTrace)
    let pieces = try split(bytes)
    #expect(pieces.map(\.traceID) == [TraceID(9), TraceID(2), TraceID(7), TraceID(1)])
    #expect(pieces.map(\.indices) == [[0, 2, 6], [1, 4], [3], [5]])
  }

  /// Ids that differ only in their high half are different traces.
  @Test func bothHalvesOfAnIdCount() throws {
    let ids = [TraceID(high: 1, low: 5), TraceID(high: 2, low: 5), TraceID(high: 1, low: 6)]
    let spans = (ids + ids).map { SpanModel(traceID: $0, spanID: 1) }
    let bytes = RecordModel(resources: [ResourceModel(scopes: [ScopeModel(spans: spans)])]).encoded()
    let pieces = try split(bytes)
    #expect(pieces.map(\.traceID) == ids)
    #expect(pieces.map(\.indices) == [[0, 3], [1, 4], [2, 5]])
  }

  @Test(arguments: FieldOrder.allCases)
  func piecesKeepAllThatStandsAroundTheirSpans(_ order: FieldOrder) throws {
    let unknown: [WireNode] = [.varint(1002, 7), .bytes(1001, [1, 2, 3])]
    let model = RecordModel(
      resources: [
        ResourceModel(
          service: [1],
          scopes: [
            ScopeModel(spans: ScopeModel.numbered(1, 2).spans, others: [.message(1, [.string(1, "lib")])]),
            ScopeModel(spans: ScopeModel.numbered(2, 3).spans, others: [.string(3, "schema")] + unknown),
          ], others: [.string(3, "schema")] + unknown),
        ResourceModel(
          service: [2], scopes: [ScopeModel(spans: ScopeModel.numbered(1).spans, others: unknown)]),
      ], others: unknown)
    for seed in UInt64(0)..<20 { try checkPieces(of: model.encoded(order, seed: seed)) }
  }

  @Test(arguments: UInt64(0)..<8)
  func piecesTogetherAreTheRecord(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<250 {
      let traceCount = UInt64.random(in: 1...6, using: &random)
      let model = RecordModel.random(traceCount: traceCount, &random)
      try checkPieces(of: model.encoded(.shuffled, seed: random.next()))
    }
  }

  // MARK: Amplification

  @Test func theLimitIsOnAllPiecesTogether() throws {
    let resource = ResourceModel(
      scopes: [.numbered(1, 2, 3, 4)], others: [.bytes(1001, [UInt8](repeating: 7, count: 500))])
    let bytes = RecordModel(resources: [resource]).encoded()
    let size = try split(bytes).reduce(0) { $0 + $1.bytes.count }
    #expect(size > 4 * 500)
    // The size is computed before the lengths of the messages are known, with their longest form.
    let slack = 4 * 2 * 6
    #expect(try split(bytes, bytesMax: size + slack).count == 4)
    #expect(throws: MalformedInput(.splitTooLarge, at: 0)) { try split(bytes, bytesMax: size - 1) }
  }

  @Test(arguments: UInt64(0)..<4)
  func noSplitIsLargerThanItsLimit(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<200 {
      let bytes = RecordModel.random(traceCount: 6, &random).encoded(.shuffled, seed: random.next())
      guard try !scan(bytes).isSingleTrace else { continue }
      let size = try split(bytes).reduce(0) { $0 + $1.bytes.count }
      #expect(throws: MalformedInput(.splitTooLarge, at: 0)) { try split(bytes, bytesMax: size - 1) }
    }
  }

  /// 20,000 pieces of 1 MB each would be 20 GB. Rejected at the first 16 MB, before a byte is written:
  /// otherwise this test would not end.
  @Test(.timeLimit(.minutes(1)), arguments: [1, 3, 1001] as [UInt32])
  func manyTracesUnderOneLargeFieldAreRefusedAtOnce(_ field: UInt32) throws {
    let large = WireNode.bytes(field, field == 1 ? [] : [UInt8](repeating: 1, count: 1 << 20))
    let scope = ScopeModel(spans: (1...20_000).map { SpanModel(traceID: TraceID($0), spanID: $0) })
    let attributes = field == 1 ? [WireNode.attribute("host", String(repeating: "x", count: 1 << 20))] : []
    let bytes = RecordModel(
      resources: [ResourceModel(scopes: [scope], attributes: attributes, others: field == 1 ? [] : [large])]
    ).encoded()
    #expect(throws: MalformedInput(.splitTooLarge, at: 0)) { try split(bytes, bytesMax: 16 << 20) }
  }

  @Test(.timeLimit(.minutes(1)))
  func manyTracesUnderManySmallFieldsAreRefusedAtOnce() throws {
    // Each empty scope between two unknown fields makes a run of its own: the most runs a record can have.
    let spans = WireNode.message(
      2, (1...20_000).map { .message(2, SpanModel(traceID: TraceID($0), spanID: 1).nodes) })
    let runs = (0..<20_000).flatMap { _ in [WireNode.varint(15, 1), .message(2, [])] }
    let bytes = [WireNode.message(1, runs + [spans])].encoded
    #expect(throws: MalformedInput(.splitTooLarge, at: 0)) { try split(bytes, bytesMax: 16 << 20) }
  }

  @Test(.timeLimit(.minutes(1)))
  func manyTracesUnderASmallResourceAreTakenApart() throws {
    let numbers = (1...20_000 as ClosedRange<UInt64>).shuffledBySeed(3)
    let scope = ScopeModel(spans: numbers.map { SpanModel(traceID: TraceID($0), spanID: $0) })
    let bytes = RecordModel(resources: [ResourceModel(service: [1], scopes: [scope])]).encoded()
    let pieces = try split(bytes)
    #expect(pieces.map(\.traceID) == numbers.map { TraceID($0) })
    #expect(try pieces.allSatisfy { try scan($0.bytes).spans.map(\.spanID) == [$0.traceID.low] })
  }

  // MARK: Reuse and parts

  @Test func groupsAreReplacedNotAdded() throws {
    var groups = TraceGroups()
    for bytes in [RecordModel(.full), RecordModel(resources: [ResourceModel(scopes: [.numbered(1, 2)])])].map(
      {
        $0.encoded()
      })
    {
      var record = try scan(bytes)
      let isSingle = record.isSingleTrace
      try groups.group(&record, bytesMax: .max)
      #expect(groups.groups.flatMap(\.spans) == Array(record.spans.indices))
      #expect((groups.groups.count == 1) == isSingle)
    }
  }

  @Test func chosenSpansMoveToTheFrontOfTheirRange() throws {
    let bytes = RecordModel(resources: [ResourceModel(scopes: [.numbered(1, 2, 3, 4, 5, 6)])]).encoded()
    let original = try scan(bytes).spans.map(\.field)
    for range in [0..<6, 1..<6, 2..<5] {
      for mask in 0..<(1 << range.count) {
        let chosen = range.filter { mask >> ($0 - range.lowerBound) & 1 == 1 }
        let others = range.filter { !chosen.contains($0) }
        var record = try scan(bytes)
        #expect(
          record.moveToFront(chosen, of: range) == range.lowerBound..<range.lowerBound + chosen.count)
        let order = Array(0..<range.lowerBound) + chosen + others + Array(range.upperBound..<6)
        #expect(record.spans.map(\.field) == order.map { original[$0] })
      }
    }
  }

  @Test func aPieceMayHoldAnySpans() throws {
    let bytes = RecordModel(resources: [
      ResourceModel(service: [1], scopes: [.numbered(1, 2), .numbered(3)]),
      ResourceModel(service: [2], scopes: [.numbered(4), .numbered(5, 6)]),
    ]).encoded()
    let record = try scan(bytes)
    let all = spansInPlace(bytes)
    for chosen in 1..<(1 << record.spans.count) {
      let indices = record.spans.indices.filter { chosen >> $0 & 1 == 1 }
      var writer = WireWriter()
      bytes.withRawBytes { writer.appendPiece(Array(indices), of: record, bytes: $0) }
      #expect(spansInPlace(writer.bytes) == indices.map { all[$0] })
    }
  }
}

struct Piece {
  var traceID: TraceID
  var indices: [Int]
  var bytes: [UInt8]
}

func split(_ bytes: [UInt8], bytesMax: Int = .max) throws(MalformedInput) -> [Piece] {
  var record = try scan(bytes)
  let places = Dictionary(uniqueKeysWithValues: record.spans.enumerated().map { ($1.field.offset, $0) })
  var groups = TraceGroups()
  try groups.group(&record, bytesMax: bytesMax)
  return groups.groups.map { group in
    var writer = WireWriter()
    bytes.withRawBytes { writer.appendPiece(group.spans, of: record, bytes: $0) }
    return Piece(
      traceID: group.traceID, indices: group.spans.compactMap { places[record.spans[$0].field.offset] },
      bytes: writer.bytes)
  }
}

/// Splits a record and checks each piece against a reading that shares no code with the splitter.
private func checkPieces(of bytes: [UInt8]) throws {
  let record = try scan(bytes)
  let facts = record.spans.map { SpanFacts($0, of: record, bytes) }
  let inPlace = spansInPlace(bytes)
  let pieces = try split(bytes)
  try #require(Set(pieces.map(\.traceID)).count == pieces.count)
  try #require(pieces.flatMap(\.indices).sorted() == Array(record.spans.indices))
  for piece in pieces {
    try #require(piece.indices == facts.indices.filter { facts[$0].traceID == piece.traceID })
    try #require(spansInPlace(piece.bytes) == piece.indices.map { inPlace[$0] })
    try #require(scannedFacts(piece.bytes) == piece.indices.map { facts[$0] })
  }
  // Repeated protobuf fields concatenate, so the concatenated pieces are one record again.
  try #require(scannedFacts(pieces.flatMap(\.bytes)).counts == facts.counts)
}

extension ClosedRange<UInt64> {
  fileprivate func shuffledBySeed(_ seed: UInt64) -> [UInt64] {
    var random = SeededGenerator(seed: seed)
    return shuffled(using: &random)
  }
}
