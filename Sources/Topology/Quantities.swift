// Parses and formats durations and byte sizes as people write them.

/// Durations such as `500ms`, `30s`, `1m30s`: whole numbers with units, the largest first, each at most once.
public enum DurationText {
  private static let units: [(name: String, milliseconds: Int64)] = [
    ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
  ]

  /// The duration, or nil if `text` is not one.
  public static func parse(_ text: String) -> Duration? {
    var rest = text.utf8[...]
    var total: Int64 = 0
    var unitBefore = Int64.max
    repeat {
      let digits = rest.prefix(while: isDigit)
      rest = rest.dropFirst(digits.count)
      let name = rest.prefix { !isDigit($0) }
      rest = rest.dropFirst(name.count)
      // At most 11 digits: even 10^11 hours are 3.6 × 10^17 ms, so neither product nor sum overflows.
      guard digits.count <= 11, let count = Int64(Substring(digits)),
        let unit = units.first(where: { $0.name.utf8.elementsEqual(name) }), unit.milliseconds < unitBefore
      else { return nil }
      total += count * unit.milliseconds
      unitBefore = unit.milliseconds
    } while !rest.isEmpty
    return .milliseconds(total)
  }

  /// The shortest text that reads back as `duration`: whole milliseconds, not negative.
  static func format(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    var rest = seconds * 1000 + attoseconds / 1_000_000_000_000_000
    if rest == 0 { return "0s" }
    var text = ""
    for unit in units where rest >= unit.milliseconds {
      text += "\(rest / unit.milliseconds)\(unit.name)"
      rest %= unit.milliseconds
    }
    return text
  }
}

/// Byte sizes such as `512`, `2GB` (10^9 bytes) or `64MiB` (2^20 bytes).
public enum ByteSizeText {
  private static let units: [(name: String, bytes: Int)] = [
    ("TiB", 1 << 40), ("TB", 1_000_000_000_000), ("GiB", 1 << 30), ("GB", 1_000_000_000),
    ("MiB", 1 << 20), ("MB", 1_000_000), ("KiB", 1 << 10), ("KB", 1000), ("", 1),
  ]

  /// The bytes, or nil if `text` is not a size.
  public static func parse(_ text: String) -> Int? {
    let digits = text.utf8.prefix(while: isDigit)
    let name = text.utf8.dropFirst(digits.count)
    guard let count = Int(Substring(digits)),
      let unit = units.first(where: { $0.name.utf8.elementsEqual(name) })
    else { return nil }
    let (bytes, overflow) = count.multipliedReportingOverflow(by: unit.bytes)
    return overflow ? nil : bytes
  }

  /// The size in the largest unit that divides it.
  static func format(_ bytes: Int) -> String {
    for unit in units where bytes >= unit.bytes && bytes % unit.bytes == 0 {
      return "\(bytes / unit.bytes)\(unit.name)"
    }
    return "\(bytes)"
  }
}

/// Numbers as YAML writes them, without its octal, hexadecimal and sexagesimal forms.
enum NumberText {
  /// A whole number; `_` may separate digits. Leading zeros are rejected: YAML 1.1 reads them as octal.
  static func parseInteger(_ text: String) -> Int? {
    let magnitude = text.utf8.first == UInt8(ascii: "-") ? text.utf8.dropFirst() : text.utf8[...]
    let groups = magnitude.split(separator: UInt8(ascii: "_"), omittingEmptySubsequences: false)
    guard groups.allSatisfy({ !$0.isEmpty && $0.allSatisfy(isDigit) }) else { return nil }
    guard magnitude.first != UInt8(ascii: "0") || magnitude.count == 1 else { return nil }
    return Int(text.filter { $0 != "_" })
  }

  /// A non-negative decimal number: `1`, `0.5`, `1e-3`.
  static func parseDecimal(_ text: String) -> Double? {
    guard let first = text.utf8.first, isDigit(first),
      text.utf8.allSatisfy({ isDigit($0) || ".eE+-".utf8.contains($0) })
    else { return nil }
    return Double(text).flatMap { $0.isFinite ? $0 : nil }
  }

  /// The shortest text that reads back as `number`.
  static func format(_ number: Double) -> String {
    Int(exactly: number).map(String.init) ?? "\(number)"
  }
}

private func isDigit(_ byte: UInt8) -> Bool {
  (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
}
