// Small random records: all shapes that the schema allows.

import OTLP

extension RecordModel {
  /// A record of a few resources, scopes and spans, spread over at most `traceCount` traces.
  static func random(traceCount: UInt64, _ random: inout SeededGenerator) -> RecordModel {
    var model = RecordModel(
      resources: (0..<Int.random(in: 1...3, using: &random)).map { _ in
        ResourceModel.random(traceCount: traceCount, &random)
      }, others: WireNode.unknown(&random))
    // A record must have a span; the last resource makes sure of that.
    model.resources[model.resources.count - 1].scopes.append(
      ScopeModel(spans: [.random(traceCount: traceCount, &random)]))
    return model
  }
}

extension ResourceModel {
  fileprivate static func random(traceCount: UInt64, _ random: inout SeededGenerator) -> ResourceModel {
    let scopes = (0..<Int.random(in: 0...3, using: &random)).map { _ in
      ScopeModel(
        spans: (0..<Int.random(in: 0...4, using: &random)).map { _ in
          SpanModel.random(traceCount: traceCount, &random)
        }, others: [.message(1, [.string(1, "scope")])] + WireNode.unknown(&random))
    }
    let attribute = WireNode.message(
      1, [.string(1, "host"), .message(2, [.bytes(1, random.bytes(upTo: 9))])])
    return ResourceModel(
      service: random.oneIn(4) ? nil : random.bytes(upTo: 12), scopes: scopes,
      attributes: random.oneIn(2) ? [attribute] : [], others: WireNode.unknown(&random))
  }
}

extension SpanModel {
  fileprivate static func random(traceCount: UInt64, _ random: inout SeededGenerator) -> SpanModel {
    SpanModel(
      traceID: TraceID(.random(in: 1...traceCount, using: &random)),
      spanID: .random(in: 1 ... .max, using: &random),
      parentID: random.oneIn(3) ? 0 : .random(in: 1 ... .max, using: &random),
      start: .random(in: 0 ... .max, using: &random), end: .random(in: 0 ... .max, using: &random),
      name: random.bytes(upTo: 20), traceState: randomTraceState(&random),
      flags: .random(in: 0 ... .max, using: &random),
      status: [nil, .unset, .ok, .error].randomElement(using: &random) ?? nil,
      kind: .random(in: 0...5, using: &random), others: WireNode.unknown(&random))
  }
}

/// A tracestate of a few members, `ot` among them or not; sometimes none at all.
private func randomTraceState(_ random: inout SeededGenerator) -> [UInt8] {
  let openTelemetry = [
    "ot=th:0", "ot=th:8", "ot=th:fd70a", "ot=rv:0123456789abcd", "ot=rv:fedcba98765432;th:c;x:y", "ot=p:8",
    "ot=th:zz",
  ]
  let others = ["vendor=1", "tenant@sys=opaque value", " padded=1 ", "other=th:8"]
  if random.oneIn(8) { return random.bytes(upTo: 24) }
  var members = others.filter { _ in random.oneIn(3) }
  if random.oneIn(2) { members += [openTelemetry.randomElement(using: &random) ?? ""] }
  return Array(members.shuffled(using: &random).joined(separator: ",").utf8)
}

extension WireNode {
  /// None, one or two fields that no schema knows, of any wire type.
  fileprivate static func unknown(_ random: inout SeededGenerator) -> [WireNode] {
    (0..<Int.random(in: 0...2, using: &random)).map { _ in
      let field = UInt32.random(in: 100...(1 << 29 - 1), using: &random)
      switch Int.random(in: 0...3, using: &random) {
      case 0: return .varint(field, .random(in: 0 ... .max, using: &random))
      case 1: return .fixed64(field, .random(in: 0 ... .max, using: &random))
      case 2: return .fixed32(field, .random(in: 0 ... .max, using: &random))
      default: return .bytes(field, random.bytes(upTo: 30))
      }
    }
  }
}
