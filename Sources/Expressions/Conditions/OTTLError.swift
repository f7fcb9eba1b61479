// Why a condition's text was rejected: which token, where, and what was expected instead.

/// The error for a text that is not a condition of the subset.
public struct OTTLError: Error, Equatable, Sendable {
  /// The line of the token, from one.
  public let line: Int
  /// The column of the token's first character, from one, in Unicode scalars.
  public let column: Int
  /// The token as written, cut after 40 characters; empty at the end of the text.
  public let token: String
  /// What was expected.
  public let expected: String

  /// - Parameter range: the token's bytes in `text`; empty at its end.
  init(_ range: Range<Int>, of text: [UInt8], expected: String) {
    let before = text[..<range.lowerBound]
    let lineStart = (before.lastIndex(of: 0x0a) ?? -1) + 1
    line = before.count { $0 == 0x0a } + 1
    column = before[lineStart...].count { $0 & 0xc0 != 0x80 } + 1
    let whole = String(decoding: text[range], as: UTF8.self)
    token = whole.count > 40 ? whole.prefix(40) + "…" : whole
    self.expected = expected
  }
}

extension OTTLError: CustomStringConvertible {
  /// For display: "1:6: found '=', expected a comparison operator".
  public var description: String {
    "\(line):\(column): found \(token.isEmpty ? "the end" : "'\(token)'"), expected \(expected)"
  }
}
