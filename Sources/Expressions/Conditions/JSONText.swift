// The JSON of arrays and maps, as text for patterns to match.

import OTLP

/// Writes attribute values as the Collector does: `["a",1,null]`, `{"a":true,"b":"AQI="}`.
///
/// Source: `StandardStringLikeGetter` in pkg/ottl/expression.go, which passes `AsRaw` of a value to
/// <https://github.com/goccy/go-json>. Keys are sorted, and the last of equal ones counts; byte strings are
/// in base 64, empty ones null; `<`, `>` and `&` are escaped.
enum JSONText {
  /// The maximum nesting of arrays and maps: writing recurses once per level.
  static let nestingMax = 64

  /// Appends the JSON of a value of the record.
  static func append(
    _ value: ConditionValue, to text: inout [UInt8], in bytes: RawSpan, depth: Int = 0
  ) throws(EvaluationError) {
    switch value {
    case .string(let range): append(range, to: &text, in: bytes)
    case .integer(let integer): text.appendDecimal(integer)
    case .double(let double):
      guard double.isFinite else { throw EvaluationError(reason: .noText) }
      DecimalText.append(double, to: &text)
    case .boolean(let boolean): text.append(contentsOf: (boolean ? "true" : "false").utf8)
    case .bytes(let range) where range.count > 0: appendBase64(range, to: &text, in: bytes)
    case .array(let content):
      try checkDepth(depth, content)
      text.append(UInt8(ascii: "["))
      var isFirst = true
      var elements = ConditionElements(content)
      while let element = try elements.next(in: bytes) {
        if !isFirst { text.append(UInt8(ascii: ",")) }
        isFirst = false
        try append(ConditionValue(element: element, in: bytes), to: &text, in: bytes, depth: depth + 1)
      }
      text.append(UInt8(ascii: "]"))
    case .map(let content):
      try checkDepth(depth, content)
      try appendMap(content, to: &text, in: bytes, depth: depth)
    case .missing, .bytes, .ownText, .ownBytes, .duration, .time, .traceID, .spanID:
      text.append(contentsOf: "null".utf8)
    }
  }

  private static func checkDepth(_ depth: Int, _ content: ByteRange) throws(EvaluationError) {
    guard depth < nestingMax else { throw EvaluationError(reason: .tooLong, offset: Int(content.offset)) }
  }

  private static func appendMap(
    _ content: ByteRange, to text: inout [UInt8], in bytes: RawSpan, depth: Int
  ) throws(EvaluationError) {
    var pairs: [(pair: ConditionPair, place: Int)] = []
    var entries = ConditionElements(content)
    while let entry = try entries.next(in: bytes) {
      pairs.append((try ConditionPair(entry, in: bytes), pairs.count))
    }
    pairs.sort { left, right in
      let (one, other) = (left.pair.key.indices, right.pair.key.indices)
      if bytes.extracting(one).isEqual(to: bytes.extracting(other)) { return left.place < right.place }
      return bytes.extracting(one).precedes(bytes.extracting(other))
    }
    text.append(UInt8(ascii: "{"))
    var isFirst = true
    for place in pairs.indices {
      let pair = pairs[place].pair
      let isRepeated =
        place + 1 < pairs.count
        && bytes.extracting(pair.key.indices).isEqual(to: bytes.extracting(pairs[place + 1].pair.key.indices))
      guard !isRepeated else { continue }
      if !isFirst { text.append(UInt8(ascii: ",")) }
      isFirst = false
      append(pair.key, to: &text, in: bytes)
      text.append(UInt8(ascii: ":"))
      try append(pair.value, to: &text, in: bytes, depth: depth + 1)
    }
    text.append(UInt8(ascii: "}"))
  }

  /// Appends a string in quotes.
  private static func append(_ range: ByteRange, to text: inout [UInt8], in bytes: RawSpan) {
    text.append(UInt8(ascii: "\""))
    var place = range.indices.lowerBound
    while place < range.indices.upperBound {
      let octet = bytes.byte(at: place)
      switch octet {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += [UInt8(ascii: "\\"), octet]
      case 0x0a: text.append(contentsOf: "\\n".utf8)
      case 0x0d: text.append(contentsOf: "\\r".utf8)
      case 0x09: text.append(contentsOf: "\\t".utf8)
      case 0x00..<0x20, UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "&"):
        appendEscape(UInt32(octet), to: &text)
      case 0x20..<0x80: text.append(octet)
      default:
        let (scalar, count) = GoText.scalar(at: place, until: range.indices.upperBound) {
          bytes.byte(at: $0)
        }
        switch scalar?.value {
        case nil: appendEscape(0xfffd, to: &text)
        case 0x2028?, 0x2029?: appendEscape(scalar?.value ?? 0, to: &text)
        default: for offset in 0..<count { text.append(bytes.byte(at: place + offset)) }
        }
        place += count
        continue
      }
      place += 1
    }
    text.append(UInt8(ascii: "\""))
  }

  private static func appendEscape(_ codePoint: UInt32, to text: inout [UInt8]) {
    text.append(contentsOf: "\\u".utf8)
    Hexadecimal.append(UInt64(codePoint), digits: 4, to: &text)
  }

  private static func appendBase64(_ range: ByteRange, to text: inout [UInt8], in bytes: RawSpan) {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    text.append(UInt8(ascii: "\""))
    for start in stride(from: range.indices.lowerBound, to: range.indices.upperBound, by: 3) {
      let count = min(3, range.indices.upperBound - start)
      var group: UInt32 = 0
      for offset in 0..<3 {
        group = group << 8 | (offset < count ? UInt32(bytes.byte(at: start + offset)) : 0)
      }
      for digit in 0..<4 {
        let value = Int(group >> UInt32(18 - 6 * digit) & 0x3f)
        text.append(digit <= count ? alphabet[value] : UInt8(ascii: "="))
      }
    }
    text.append(UInt8(ascii: "\""))
  }
}
