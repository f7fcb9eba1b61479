// Kept pieces: the threshold goes into each span's tracestate, and nothing else changes.

import OTLP
import Testing

@Suite struct KeptRecordTests {
  static let onePercent = SamplingThreshold(probability: 0.01)

  @Test(arguments: [
    // Without a tracestate, and without `ot`.
    ("", "ot=th:fd70a"), ("a=b", "ot=th:fd70a,a=b"), ("a=b,c=d", "ot=th:fd70a,a=b,c=d"),
    // The modified member moves to the front, as W3C requires; the others are kept verbatim.
    ("ot=th:8,a=b", "ot=th:fd70a,a=b"), ("a=b,ot=th:8", "ot=th:fd70a,a=b"),
    ("a=b,ot=th:8,c=d", "ot=th:fd70a,a=b,c=d"), ("a=b , ot=th:8 ,c=d", "ot=th:fd70a,a=b ,c=d"),
    ("tenant@sys=Opaque value!;th:1,ot=th:0", "ot=th:fd70a,tenant@sys=Opaque value!;th:1"),
    // Other sub-keys stay, in their order.
    ("ot=rv:6e6d1a75832a2f", "ot=th:fd70a;rv:6e6d1a75832a2f"),
    ("ot=p:8;th:8;r:62", "ot=th:fd70a;p:8;r:62"), ("ot=p:8;r:62", "ot=th:fd70a;p:8;r:62"),
    // Empty members, and blank ones.
    (",", "ot=th:fd70a"), (" ", "ot=th:fd70a"), (" ,\t", "ot=th:fd70a"), ("a=b,,c=d", "ot=th:fd70a,a=b,,c=d"),
    // The stricter earlier sampling counts.
    ("ot=th:ffbe77", "ot=th:ffbe77"), ("a=b,ot=p:1;th:ffbe77", "a=b,ot=p:1;th:ffbe77"),
    ("ot=th:fd70a1", "ot=th:fd70a1"),
    // The same threshold spelled differently is the same.
    ("a=b,ot=th:fd70a", "a=b,ot=th:fd70a"), ("ot=th:fd70a000000000", "ot=th:fd70a000000000"),
  ])
  func setsTheThreshold(_ before: String, _ after: String) throws {
    let (states, counts) = try keep([before], threshold: Self.onePercent)
    #expect(states == [after])
    #expect(counts.spans == 1)
    #expect(counts.tracestatesLeftAlone == 0)
  }

  /// What is kept for its own sake represents only itself: adjusted count 1, unless it was sampled before.
  @Test(arguments: [
    ("", "ot=th:0"), ("a=b", "ot=th:0,a=b"), ("ot=rv:6e6d1a75832a2f", "ot=th:0;rv:6e6d1a75832a2f"),
    ("ot=th:0", "ot=th:0"), ("ot=th:000", "ot=th:000"), ("a=b,ot=th:8", "a=b,ot=th:8"),
  ])
  func keepsForCertain(_ before: String, _ after: String) throws {
    #expect(try keep([before], threshold: .always).states == [after])
  }

  @Test func aMalformedMemberIsLeftAlone() throws {
    let states = ["ot=th:zz", "a=b,ot=rv:1", "ot=th:8", "ot=th:", ""]
    let (kept, counts) = try keep(states, threshold: Self.onePercent)
    #expect(kept == ["ot=th:zz", "a=b,ot=rv:1", "ot=th:fd70a", "ot=th:", "ot=th:fd70a"])
    #expect(counts.spans == 5)
    #expect(counts.tracestatesLeftAlone == 3)
  }

  /// A tracestate that breaks W3C's rules, or OpenTelemetry's for `ot`, is forwarded unchanged.
  @Test(arguments: [
    "x:y", "=", "a=1,a=2", "ot=th:8,ot=th:8", "ot=th:8;th:4", "ot=rv:abc123;th:def456", "ot=th:8;", "ot=",
    "ot=th:8,b=", "congo=t61é", "A=1", "0a=1", "a =1", "big=" + String(repeating: "x", count: 300),
    String(repeating: "k", count: 257) + "=1", (0...32).map { "k\($0)=v" }.joined(separator: ","),
    "ot=th:8," + (0...31).map { "k\($0)=v" }.joined(separator: ","), "ot=th:FD70A",
  ])
  func whatBreaksTheRulesIsLeftAlone(_ state: String) throws {
    for threshold in [Self.onePercent, .always] {
      let (kept, counts) = try keep([state], threshold: threshold)
      #expect(kept == [state])
      #expect(counts.tracestatesLeftAlone == 1)
    }
  }

  /// W3C Trace Context: at most 32 list members.
  @Test func aFullListIsLeftAlone() throws {
    let members = (1...32).map { "k\($0)=v" }
    let full = members.joined(separator: ",")
    let room = members.dropLast().joined(separator: ",")
    let own = "ot=th:8," + room
    let (kept, counts) = try keep([full, room, own], threshold: Self.onePercent)
    #expect(kept == [full, "ot=th:fd70a," + room, "ot=th:fd70a," + room])
    #expect(counts.tracestatesLeftAlone == 1)
  }

  /// "TraceState Handling": the value of `ot` has at most 256 characters; what would exceed that is not set.
  @Test func aFullMemberIsLeftAlone() throws {
    let fits = "ot=x:" + String(repeating: "y", count: 236)
    let full = fits + "y"
    let (kept, counts) = try keep([fits, full], threshold: Self.onePercent)
    #expect(kept == ["ot=th:fd70a;" + fits.dropFirst(3), full])
    #expect(counts.tracestatesLeftAlone == 1)
  }

  @Test func aTracestateIsReplacedWhereItStands() throws {
    let first: [WireNode] = [
      .bytes(2, bigEndian(3)), .string(3, "a=b"), .bytes(1, bigEndian(1) + bigEndian(2)),
    ]
    let second: [WireNode] = [.bytes(2, bigEndian(4)), .bytes(1, bigEndian(1) + bigEndian(2))]
    let third: [WireNode] =
      [.string(3, "ot=th:f"), .string(3, "c=d"), .bytes(2, bigEndian(5))] + second.dropFirst()
    let kept = try keep([first, second, third].record, threshold: Self.onePercent).bytes
    let state = WireNode.string(3, "ot=th:fd70a")
    let expected = [
      [first[0], .string(3, "ot=th:fd70a,a=b"), first[2]],
      second + [state],
      // The last of a repeated field counts, so that is the one to replace.
      [third[0], .string(3, "ot=th:fd70a,c=d")] + third[2...],
    ]
    #expect(kept == expected.record)
  }

  @Test func whatIsRightAlreadyIsCopied() throws {
    var model = RecordModel(.full, .full, service: "cart")
    model.resources[0].scopes[0].spans[0].traceState = Array("ot=th:fd70a;rv:6e6d1a75832a2f".utf8)
    model.resources[0].scopes[0].spans[1].traceState = Array("ot=th:f".utf8)
    model.resources[0].scopes[0].spans[1].traceState = Array("x=y,ot=th:fe".utf8)
    for order in FieldOrder.allCases {
      let bytes = model.encoded(order, seed: 1)
      #expect(try keep(bytes, threshold: Self.onePercent).bytes == bytes)
    }
  }

  @Test func appendsBehindWhatIsThere() throws {
    var writer = WireWriter()
    writer.varintField(1001, 1)
    let before = writer.bytes
    var counts = RewriteCounts()
    try RecordModel(.full).encoded().withRawBytes {
      try writer.appendKept($0, threshold: Self.onePercent, counts: &counts)
    }
    #expect(Array(writer.bytes.prefix(before.count)) == before)
    #expect(try scan(writer.bytes).spans.count == 1)
  }

  @Test func refusesWhatTheScannerRefuses() {
    #expect(throws: MalformedInput(.lengthPastEnd, at: 1)) { try keep([0x0a, 5], threshold: .always) }
  }

  /// Attributes are appended to their spans; without them the bytes are unchanged.
  @Test(arguments: UInt64(0)..<4)
  func annotationsComeLast(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var annotation = SpanAnnotation(.all)
    annotation.append("a", "text")
    annotation.append("b", ["one", "", "two"])
    annotation.append("c", 0.25)
    for _ in 0..<100 {
      let bytes = RecordModel.random(traceCount: 3, &random).encoded(.shuffled, seed: random.next())
      let threshold = SamplingThreshold(probability: .random(in: 0.001...1, using: &random))
      let plain = try spanContents(keep(bytes, threshold: threshold).bytes)
      var writer = WireWriter()
      var counts = RewriteCounts()
      try bytes.withRawBytes {
        try writer.appendKept($0, threshold: threshold, annotation: annotation, counts: &counts)
      }
      try #require(spanContents(writer.bytes) == plain.map { $0 + annotation.fields })
      try #require(counts.spans == plain.count)
    }
  }

  // MARK: Properties

  @Test(arguments: UInt64(0)..<8)
  func changesNothingButTheTracestate(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<250 {
      let model = RecordModel.random(traceCount: 3, &random)
      let bytes = model.encoded(.shuffled, seed: random.next())
      let threshold = SamplingThreshold(probability: .random(in: 0.001...1, using: &random))
      let (kept, counts) = try keep(bytes, threshold: threshold)
      try #require(counts.spans == model.facts.count)
      try #require(withoutTraceStates(kept) == withoutTraceStates(bytes))
      let states = try zip(scannedFacts(bytes), scannedFacts(kept)).map { ($0.traceState, $1.traceState) }
      var leftAlone = 0
      for (before, after) in states {
        let old = sampling(before)
        guard !old.isMalformed else {
          leftAlone += 1
          try #require(after == before)
          continue
        }
        let new = sampling(after)
        try #require(new.threshold == max(threshold, old.threshold ?? .always))
        try #require(new.randomness == old.randomness)
        try #require(otherMembers(after) == otherMembers(before))
      }
      try #require(counts.tracestatesLeftAlone == leftAlone)
      // Once is enough.
      try #require(keep(kept, threshold: threshold).bytes == kept)
    }
  }
}

/// Keeps `bytes` with `threshold`.
private func keep(
  _ bytes: [UInt8], threshold: SamplingThreshold
) throws(MalformedInput) -> (bytes: [UInt8], counts: RewriteCounts) {
  var writer = WireWriter()
  var counts = RewriteCounts()
  try bytes.withRawBytes { (raw) throws(MalformedInput) in
    try writer.appendKept(raw, threshold: threshold, counts: &counts)
  }
  return (writer.bytes, counts)
}

/// Keeps a record of spans with these tracestates, and reads those back.
private func keep(
  _ states: [String], threshold: SamplingThreshold
) throws(MalformedInput) -> (states: [String], counts: RewriteCounts) {
  let spans = states.map { state in
    SpanModel(traceID: TraceID(1), spanID: 1, traceState: Array(state.utf8))
  }
  let record = RecordModel(resources: [ResourceModel(scopes: [ScopeModel(spans: spans)])])
  let (bytes, counts) = try keep(record.encoded(), threshold: threshold)
  return (try scannedFacts(bytes).map { String(decoding: $0.traceState, as: UTF8.self) }, counts)
}

/// The content of each span of a record.
private func spanContents(_ record: [UInt8]) throws(MalformedInput) -> [[UInt8]] {
  var scanned = ScannedRecord()
  try record.withRawBytes { (bytes) throws(MalformedInput) in try scanned.scan(bytes) }
  return scanned.spans.map { Array(record[$0.content.indices]) }
}

private func sampling(_ state: [UInt8]) -> TraceStateSampling {
  state.withRawBytes { TraceStateSampling(ByteRange(offset: 0, count: UInt32(state.count)), of: $0) }
}

/// The members of a tracestate except the first `ot`, and that one's sub-keys except `th`.
private func otherMembers(_ state: [UInt8]) -> [[UInt8]] {
  var members = state.split(separator: 0x2c).map { Array($0) }
  members.removeAll { $0.allSatisfy { $0 == 0x20 || $0 == 0x09 } }
  let prefix = Array("ot=".utf8)
  let own = members.firstIndex { Array($0.drop { $0 == 0x20 || $0 == 0x09 }).starts(with: prefix) }
  guard let own else { return members }
  let value = members.remove(at: own).drop { $0 == 0x20 || $0 == 0x09 }.dropFirst(3)
  return value.split(separator: 0x3b).map { Array($0) }.filter { !$0.starts(with: Array("th:".utf8)) }
    + members
}

/// A record as a tree, each span without the last of its tracestates.
private func withoutTraceStates(_ record: [UInt8]) -> [[[[WireField]]]] {
  fields(of: record).map { resource in
    guard resource.number == 1 else { return [[[resource]]] }
    return fields(of: resource.content).map { scope in
      guard scope.number == 2 else { return [[scope]] }
      return fields(of: scope.content).map { span in
        guard span.number == 2 else { return [span] }
        var inSpan = fields(of: span.content)
        if let last = inSpan.lastIndex(where: { $0.number == 3 }) { inSpan.remove(at: last) }
        return inSpan
      }
    }
  }
}

extension [[WireNode]] {
  /// A record with these spans.
  fileprivate var record: [UInt8] { [WireNode.message(1, [.message(2, map { .message(2, $0) })])].encoded }
}
