// Credentials in values that are not secrets themselves: `https://user:password@host/?token=x`.

/// Finds credentials in addresses.
enum Credentials {
  /// The text with its credentials masked.
  static func masked(_ text: String) -> String {
    var masked = ""
    var rest = text[...]
    for range in ranges(in: text) {
      masked += rest[..<range.lowerBound] + KafkaProperty.mask
      rest = rest[range.upperBound...]
    }
    return masked + rest
  }

  /// The masked parts, and also passwords by themselves: a library may show one without the name.
  static func found(in text: String) -> [String] {
    ranges(in: text).flatMap { range in
      let whole = text[range]
      return [whole] + (whole.firstIndex(of: ":").map { [whole[$0...].dropFirst()] } ?? [])
    }.map { String($0) }
  }

  /// Where credentials are, in order.
  private static func ranges(in text: String) -> [Range<String.Index>] {
    text.split(whereSeparator: { $0.isWhitespace || "\"'".contains($0) }).flatMap { word in
      // With a scheme, commas and semicolons may be part of a password; without one they separate brokers.
      word.contains("://")
        ? ranges(ofWord: word)
        : word.split(whereSeparator: { ",;".contains($0) }).flatMap { ranges(ofWord: $0) }
    }
  }

  private static func ranges(ofWord word: Substring) -> [Range<String.Index>] {
    var ranges: [Range<String.Index>] = []
    var rest = word
    // Up to the last `@`: a password may contain an unescaped `@` or slash.
    let authority = word.firstRange(of: "://").map { word[$0.upperBound...] } ?? word
    if let end = authority.lastIndex(of: "@") {
      let user = authority[..<end]
      let hasPassword = user.contains(":") && user.last != ":"
      // After a scheme, a name without a password may be a token; elsewhere it is a principal, such as
      // `kafka/host@REALM`.
      if hasPassword || authority.startIndex != word.startIndex && !user.isEmpty {
        ranges.append(user.startIndex..<end)
        rest = authority[end...]
      }
    }
    guard let query = rest.firstIndex(of: "?") else { return ranges }
    for field in rest[query...].dropFirst().split(separator: "&") {
      guard let equals = field.firstIndex(of: "="), KafkaProperty.isSecret(String(field[..<equals])) else {
        continue
      }
      let value = field[equals...].dropFirst()
      if !value.isEmpty { ranges.append(value.startIndex..<value.endIndex) }
    }
    return ranges
  }
}
