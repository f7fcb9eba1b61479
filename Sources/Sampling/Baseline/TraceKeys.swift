// Keys with parts that belong to whole traces: shapes, and the names of roots.

import OTLP

/// Makes the names of such keys when a trace is decided.
struct TraceKeys {
  private let parts: [BaselineKeyPart]
  private let valueBytesMax: Int
  /// The name made last.
  private(set) var name: [UInt8] = []

  /// Nil if no part of the key belongs to whole traces.
  init?(_ key: BaselineKey) {
    guard key.parts.contains(where: \.isOfTrace) else { return nil }
    parts = key.parts
    valueBytesMax = TrafficName.valueBytesMax(of: key)
    name.reserveCapacity(TrafficName.bytesMax)
  }

  /// Makes the name of a key. Returns whether it has any value.
  ///
  /// - Parameters:
  ///   - spans: the values of the other parts, as `AttributeKeys` joins them; nil if the trace has none.
  ///   - root: the name of the trace's root.
  mutating func makeName(_ spans: [UInt8]?, shape: TraceShape?, root: RawSpan) -> Bool {
    name.removeAll(keepingCapacity: true)
    var next = 0
    var hasValue = spans != nil
    for (place, part) in parts.enumerated() {
      if place > 0 { name.append(TrafficName.separator) }
      switch part {
      case .traceShape:
        guard let shape else { continue }
        hasValue = true
        name.appendText(room: 16) { $0.appendHexadecimal(shape.edges, digits: 16) }
      case .rootOperation:
        if root.byteCount > 0 { hasValue = true }
        name.append(value: root.extracting(first: valueBytesMax))
      case .attribute, .spanName:
        guard let spans else { continue }
        let end = spans[next...].firstIndex(of: TrafficName.separator) ?? spans.count
        name += spans[next..<end]
        next = min(end + 1, spans.count)
      }
    }
    return hasValue
  }
}

extension TrafficName {
  /// How many bytes of each value a key's name has: so many that the name as a whole is never cut.
  static func valueBytesMax(of key: BaselineKey) -> Int { (bytesMax + 1) / max(1, key.parts.count) - 1 }
}

extension [UInt8] {
  /// Appends a value, without separators in it.
  mutating func append(value: RawSpan) {
    let start = count
    for offset in 0..<value.byteCount { append(value.byte(at: offset)) }
    for place in start..<count where self[place] == TrafficName.separator { self[place] = 0x3f }
  }
}
