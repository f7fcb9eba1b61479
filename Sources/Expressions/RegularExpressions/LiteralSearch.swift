// Patterns that are plain text, perhaps anchored: found without an automaton.

/// Searches texts for a plain text.
struct LiteralSearch: Sendable {
  private let needle: [UInt8]
  private let isAtStart: Bool
  private let isAtEnd: Bool
  /// The needle's first byte, eight times.
  private let first: UInt64
  /// Its last byte, eight times.
  private let last: UInt64

  /// The search that is equivalent to `tree`; nil if that is not plain text.
  init?(_ tree: RegularExpressionTree) {
    var parts = LiteralSearch.parts(of: tree)
    let isAtStart = parts.first == .look(.textStart)
    if isAtStart { parts = parts.dropFirst() }
    let isAtEnd = parts.last == .look(.textEnd)
    if isAtEnd { parts = parts.dropLast() }
    var needle: [UInt8] = []
    for part in parts {
      guard let bytes = LiteralSearch.bytes(of: part) else { return nil }
      needle += bytes
    }
    self.init(needle, isAtStart: isAtStart, isAtEnd: isAtEnd)
  }

  /// A search for the longest plain text that every match of `tree` contains: without it there is no match.
  /// Nil if it is shorter than two bytes, or if an automaton would only try the start of the text anyway.
  init?(requiredBy tree: RegularExpressionTree) {
    guard !tree.isAnchoredAtStart else { return nil }
    var longest: [UInt8] = []
    var run: [UInt8] = []
    for part in LiteralSearch.parts(of: tree) {
      run = LiteralSearch.bytes(of: part).map { run + $0 } ?? []
      if run.count > longest.count { longest = run }
    }
    guard longest.count > 1 else { return nil }
    self.init(longest, isAtStart: false, isAtEnd: false)
  }

  private init(_ needle: [UInt8], isAtStart: Bool, isAtEnd: Bool) {
    self.needle = needle
    self.isAtStart = isAtStart
    self.isAtEnd = isAtEnd
    let ones: UInt64 = 0x0101_0101_0101_0101
    first = ones * UInt64(needle.first ?? 0)
    last = ones * UInt64(needle.last ?? 0)
  }

  private static func parts(of tree: RegularExpressionTree) -> ArraySlice<RegularExpressionTree> {
    if case .sequence(let parts) = tree { parts[...] } else { [tree] }
  }

  /// Nil unless it is one code point, and for U+FFFD: that also stands for bytes that are not UTF-8.
  private static func bytes(of part: RegularExpressionTree) -> [UInt8]? {
    guard case .scalar(let codePoint) = part, codePoint != 0xFFFD, let scalar = Unicode.Scalar(codePoint)
    else { return nil }
    return UTF8.encode(scalar).map(Array.init)
  }

  /// Whether the needle is in `text`, at its anchor if it has one. Nil, so that an automaton decides, if so
  /// many places begin and end like the needle that comparing them would not be linear.
  func isFound(in text: RawSpan) -> Bool? {
    let room = text.byteCount - needle.count
    guard room >= 0 else { return false }
    if isAtStart { return (!isAtEnd || room == 0) && isEqual(text, at: 0) }
    if isAtEnd { return isEqual(text, at: room) }
    if needle.isEmpty { return true }
    return isAnywhere(in: text)
  }

  /// Checks eight places at once for the needle's first and last byte (W. Muła, "SIMD-friendly algorithms for
  /// substring searching"), and compares where both are.
  private func isAnywhere(in text: RawSpan) -> Bool? {
    let room = text.byteCount - needle.count
    // Bytes that may be compared in vain.
    var patience = 2 * text.byteCount + 64
    var place = 0
    while place + 7 <= room {
      // Sound: the loads check their bounds and need no alignment, and every bit pattern is a UInt64.
      let front = UInt64(
        littleEndian: unsafe text.unsafeLoadUnaligned(fromByteOffset: place, as: UInt64.self))
      let backPlace = place + needle.count - 1
      let back = UInt64(
        littleEndian: unsafe text.unsafeLoadUnaligned(fromByteOffset: backPlace, as: UInt64.self))
      let difference = (front ^ first) | (back ^ last)
      // The top bit of each byte that is zero, and perhaps of bytes above one.
      var candidates =
        (difference &- 0x0101_0101_0101_0101) & ~difference & 0x8080_8080_8080_8080
      while candidates != 0 {
        if isEqual(text, at: place + candidates.trailingZeroBitCount / 8) { return true }
        patience -= needle.count
        if patience < 0 { return nil }
        candidates &= candidates - 1
      }
      place += 8
    }
    while place <= room {
      if isEqual(text, at: place) { return true }
      place += 1
    }
    return false
  }

  private func isEqual(_ text: RawSpan, at place: Int) -> Bool {
    let needle = needle.span
    for offset in 0..<needle.count {
      // Sound: the load checks its bounds, and every bit pattern is a UInt8.
      let byte = unsafe text.unsafeLoad(fromByteOffset: place + offset, as: UInt8.self)
      if byte != needle[offset] { return false }
    }
    return true
  }
}
