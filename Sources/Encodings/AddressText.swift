// IP addresses as text.

import OTLP

extension [UInt8] {
  /// The address that these four or 16 bytes are; nil for another number of bytes.
  ///
  /// Format: RFC 5952, without its special forms for addresses that embed others.
  var addressText: [UInt8]? {
    switch count {
    case 4: return Array(map { String($0) }.joined(separator: ".").utf8)
    case 16: break
    default: return nil
    }
    let groups = (0..<8).map { UInt16(self[2 * $0]) << 8 | UInt16(self[2 * $0 + 1]) }
    // The longest run of zeros, the first of several, if it has two groups or more.
    var longest = 0..<0
    var start = 0
    for index in 0...8 where index == 8 || groups[index] != 0 {
      if index - start > Swift.max(1, longest.count) { longest = start..<index }
      start = index + 1
    }
    func text(_ range: Range<Int>) -> String {
      range.map { String(groups[$0], radix: 16) }.joined(separator: ":")
    }
    guard !longest.isEmpty else { return Array(text(0..<8).utf8) }
    return Array("\(text(0..<longest.lowerBound))::\(text(longest.upperBound..<8))".utf8)
  }
}
