// One member of a tracestate by its key, for the path `trace_state["key"]`.

import OTLP

enum TraceStateEntry {
  /// The value of the member `key` of the tracestate in `range`: empty text where there is no such member,
  /// and `missing` where the tracestate breaks W3C's rules. So the Collector has it, whose parser is
  /// go.opentelemetry.io/otel/trace.
  ///
  /// Source: W3C Trace Context, section 3.3.1. One walk, to the 33rd member at the most, whatever the length.
  static func value(of key: RawSpan, in range: ByteRange, of bytes: RawSpan) -> ConditionValue {
    var members = TraceStateWalk(range)
    return value(of: key, among: &members, of: bytes)
  }

  /// As above, with a walk whose work can be looked at.
  static func value(
    of key: RawSpan, among members: inout TraceStateWalk, of bytes: RawSpan
  ) -> ConditionValue {
    var found = ConditionValue.ownText(ByteRange(offset: 0, count: 0))
    var keys: [32 of ByteRange] = .init(repeating: ByteRange(offset: 0, count: 0))
    var count = 0
    while let member = members.next(in: bytes) {
      guard count < keys.count, let parts = parts(of: member, in: bytes) else { return .missing }
      let name = bytes.extracting(parts.key)
      // Keys of 256 bytes at the most: comparing each with each has a bound of its own.
      for other in 0..<count where bytes.extracting(keys[other].indices).isEqual(to: name) { return .missing }
      keys[count] = ByteRange(parts.key)
      count += 1
      if name.isEqual(to: key) { found = .string(ByteRange(parts.value)) }
    }
    return found
  }

  /// Key and value, without the white space around them; nil where one of them breaks the rules.
  private static func parts(
    of member: Range<Int>, in bytes: RawSpan
  ) -> (key: Range<Int>, value: Range<Int>)? {
    guard let equals = member.first(where: { bytes.octet(at: $0) == 0x3d }) else { return nil }
    let keyStart = (member.lowerBound..<equals).first { !isBlank(bytes.octet(at: $0)) } ?? equals
    let valueEnd =
      (equals + 1..<member.upperBound).last { !isBlank(bytes.octet(at: $0)) }.map { $0 + 1 } ?? equals + 1
    let (key, value) = (keyStart..<equals, equals + 1..<valueEnd)
    guard isKey(bytes.extracting(key)), (1...256).contains(value.count),
      value.allSatisfy({ (0x20...0x7e).contains(bytes.octet(at: $0)) && bytes.octet(at: $0) != 0x3d })
    else { return nil }
    return (key, value)
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

  /// A key is up to 256 characters that begin with a small letter; or a tenant of up to 241 that begins with
  /// a small letter or a digit, `@`, and a system of up to 14 that begins with a small letter.
  private static func isKey(_ key: RawSpan) -> Bool {
    guard let at = (0..<key.byteCount).first(where: { key.octet(at: $0) == 0x40 }) else {
      return isKeyPart(key, 0..<key.byteCount, most: 256, digitFirst: false)
    }
    return isKeyPart(key, 0..<at, most: 241, digitFirst: true)
      && isKeyPart(key, at + 1..<key.byteCount, most: 14, digitFirst: false)
  }

  private static func isKeyPart(_ key: RawSpan, _ part: Range<Int>, most: Int, digitFirst: Bool) -> Bool {
    guard (1...most).contains(part.count) else { return false }
    return part.allSatisfy { index in
      switch key.octet(at: index) {
      case 0x61...0x7a: true
      case 0x30...0x39: digitFirst || index > part.lowerBound
      case 0x5f, 0x2d, 0x2a, 0x2f: index > part.lowerBound
      default: false
      }
    }
  }
}

/// Cuts a tracestate at its commas, from the front to the back.
struct TraceStateWalk {
  private(set) var rest: Range<Int>

  init(_ range: ByteRange) {
    rest = range.indices
  }

  /// The next member; empty ones are stepped over.
  mutating func next(in bytes: RawSpan) -> Range<Int>? {
    while !rest.isEmpty {
      let end = rest.first { bytes.octet(at: $0) == 0x2c } ?? rest.upperBound
      let member = rest.lowerBound..<end
      rest = min(end + 1, rest.upperBound)..<rest.upperBound
      if !member.isEmpty { return member }
    }
    return nil
  }
}

extension ByteRange {
  /// The bytes at `indices`, which lie in a record: 2 GiB at the most.
  fileprivate init(_ indices: Range<Int>) {
    self.init(
      offset: UInt32(truncatingIfNeeded: indices.lowerBound), count: UInt32(truncatingIfNeeded: indices.count)
    )
  }
}
