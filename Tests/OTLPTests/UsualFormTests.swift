// The scanner reads what encoders usually write in runs of fields, with a check for each run. The same fields
// with overlong tags never take that path: both ways must give the same result and the same errors.

import Testing

@testable import OTLP

@Suite struct UsualFormTests {
  /// Every prefix of spans in all field orders, most of them as encoders write them, some odd.
  @Test(arguments: FieldOrder.allCases)
  func areReadLikeAllOthers(_ order: FieldOrder) throws {
    var random = SeededGenerator(seed: 12)
    var sound = 0
    for round in 0..<400 {
      var nodes = SpanModel.usual(&random).nodes
      if random.oneIn(4) { nodes.append(.status(&random)) }
      if random.oneIn(4), let odd = WireNode.oddities.randomElement(using: &random) { nodes.append(odd) }
      let usual = LongTags(order.arrange(nodes, keeping: nil, &random).encoded)
      for count in (round % 8 == 0 ? 0 : usual.short.count)...usual.short.count {
        let (short, long) = usual.prefixes(count)
        #expect(seen(in: short) == seen(in: long).map(usual.shortOffset), "\(short)")
        if case .facts = seen(in: short) { sound += 1 }
      }
    }
    #expect(sound > 300)
  }

  /// What follows a span in the record is never taken for a part of it.
  @Test(arguments: FieldOrder.allCases)
  func endWithTheirSpan(_ order: FieldOrder) throws {
    var random = SeededGenerator(seed: 13)
    for _ in 0..<50 {
      let whole = order.arrange(SpanModel.usual(&random).nodes, keeping: nil, &random).encoded
      for count in 0...whole.count {
        let cut = Array(whole.prefix(count))
        let alone = seen(in: cut)
        guard case .facts(let facts) = alone else { continue }
        let record = [
          WireNode.message(1, [.message(2, [.bytes(2, cut), .bytes(2, Array(whole))])])
        ].encoded
        #expect(try scannedFacts(record).first == facts)
      }
    }
  }

  /// The general reader reads attributes as the fast paths do, damaged bytes included.
  @Test func attributesAreReadLikeAllOthers() throws {
    var random = SeededGenerator(seed: 14)
    var (pairs, texts) = (0, 0)
    for _ in 0..<20_000 {
      let values: [WireNode] = [
        .bytes(1, random.bytes(upTo: 130)), .varint(2, 1), .varint(3, random.next()),
        .fixed64(4, random.next()),
        .bytes(7, random.bytes(upTo: 9)),
      ]
      var nodes: [WireNode] = [
        .bytes(1, random.bytes(upTo: 20)),
        .message(2, random.oneIn(9) ? values : [values[Int(random.next() % 5)]]),
      ]
      if random.oneIn(2) { nodes.reverse() }
      if random.oneIn(9) { nodes.append(.varint(3, 1)) }
      var message = nodes.encoded
      if random.oneIn(2) { message[Int(random.next() % UInt64(message.count))] = UInt8(random.next() % 20) }
      if random.oneIn(9) { message.removeLast(Int(random.next() % UInt64(message.count))) }
      try message.withRawBytes { bytes in
        let whole = ByteRange(offset: 0, count: UInt32(bytes.byteCount))
        guard let usual = KeyValueView(usual: whole, in: bytes) else { return }
        pairs += 1
        let other = try KeyValueView(ofAnyForm: whole, in: bytes)
        #expect(usual.key == other.key)
        // The value is where the key is not.
        let isKeyFirst = usual.key.offset == 2
        let value = ByteRange(
          from: isKeyFirst ? usual.key.indices.upperBound + 2 : 2,
          to: isKeyFirst ? bytes.byteCount : usual.key.indices.lowerBound - 2)
        guard let text = AttributeValue(usual: value, in: bytes) else { return }
        texts += 1
        #expect(try text == AttributeValue(ofAnyForm: value, in: bytes))
        #expect(try text == other.value(in: bytes))
      }
    }
    #expect(pairs > 5000 && texts > 1000)
  }

  /// The scanner's result for a span with this content: with an offset from the content's start.
  private func seen(in content: [UInt8]) -> Outcome {
    let record = [WireNode.message(1, [.message(2, [.bytes(2, content)])])].encoded
    do {
      return .facts(try scannedFacts(record)[0])
    } catch {
      return .fault(error.reason, offset: error.offset - (record.count - content.count))
    }
  }
}

/// The scanner's facts about a span.
private enum Outcome: Equatable {
  case facts(SpanFacts)
  case fault(MalformedInput.Reason, offset: Int)

  func map(_ offset: (Int) -> Int) -> Outcome {
    switch self {
    case .facts: self
    case .fault(let reason, let place): .fault(reason, offset: offset(place))
    }
  }
}

/// Fields unchanged, and with tags that are a byte longer than necessary.
private struct LongTags {
  let short: [UInt8]
  private var long: [UInt8] = []
  /// Where each byte of `short`, and its end, lies in `long`.
  private var places: [Int] = []

  init(_ bytes: [UInt8]) {
    short = bytes
    for field in fields(of: bytes) {
      let tagLength = field.number < 16 ? 1 : field.number < 2048 ? 2 : 3
      for (number, byte) in field.whole.enumerated() {
        places.append(long.count)
        if number == tagLength - 1 { long += [byte | 0x80, 0] } else { long.append(byte) }
      }
    }
    places.append(long.count)
  }

  func prefixes(_ count: Int) -> (short: [UInt8], long: [UInt8]) {
    (Array(short.prefix(count)), Array(long.prefix(places[count])))
  }

  func shortOffset(_ offset: Int) -> Int {
    places.lastIndex { $0 <= offset } ?? 0
  }
}

extension SpanModel {
  /// A span as encoders write it, with any of the optional fields, and names around the length whose own
  /// length takes a second byte.
  fileprivate static func usual(_ random: inout SeededGenerator) -> SpanModel {
    SpanModel(
      traceID: TraceID(.random(in: 0 ... .max, using: &random)),
      spanID: .random(in: 1 ... .max, using: &random),
      parentID: random.oneIn(3) ? 0 : .random(in: 1 ... .max, using: &random),
      start: random.oneIn(8) ? 0 : .random(in: 1 ... .max, using: &random),
      end: random.oneIn(8) ? 0 : .random(in: 1 ... .max, using: &random),
      name: random.bytes([0, 1, 9, 30, 126, 127, 128, 300].randomElement(using: &random) ?? 0),
      traceState: random.oneIn(4) ? Array("ot=th:8".utf8) : [],
      flags: random.oneIn(2) ? 0x301 : 0, status: random.oneIn(3) ? .error : nil,
      kind: random.oneIn(6) ? 0 : .random(in: 1 ... .max, using: &random),
      others: (0..<Int.random(in: 0...3, using: &random)).map { _ in
        .message(9, [.string(1, "key"), .message(2, [.bytes(1, random.bytes(upTo: 200))])])
      })
  }
}

extension WireNode {
  /// A status: empty, with only a code, with more than that.
  fileprivate static func status(_ random: inout SeededGenerator) -> WireNode {
    let code = WireNode.varint(3, [0, 1, 2, 3, 127, 128, 300].randomElement(using: &random) ?? 0)
    return .message(
      15, [[], [code], [.string(2, "why"), code], [code, code]].randomElement(using: &random) ?? [])
  }

  /// Fields of a span in forms that no run expects, some of them wrong.
  fileprivate static let oddities: [WireNode] = [
    .bytes(1, []), .bytes(1, Array(repeating: 1, count: 15)), .bytes(1, Array(repeating: 1, count: 17)),
    .bytes(1, Array(repeating: 0, count: 16)), .bytes(2, []), .bytes(2, Array(repeating: 0, count: 8)),
    .bytes(2, Array(repeating: 1, count: 9)), .bytes(4, []), .bytes(4, Array(repeating: 1, count: 7)),
    .bytes(4, Array(repeating: 0, count: 8)), .varint(5, 1), .fixed32(7, 1), .bytes(8, []), .varint(6, 128),
    .varint(6, .max), .fixed64(15, 1), .fixed64(16, 1), .fixed32(17, 1), .bytes(1000, [1, 2, 3]),
    .varint(9, 1),
  ]
}

extension SeededGenerator {
  /// `count` bytes.
  fileprivate mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0 ... .max, using: &self) }
  }
}
