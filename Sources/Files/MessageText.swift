// Makes text from outside fit for messages.

/// Text from a file, made fit for a message: one line, printable, not too long.
package enum MessageText {
  private static let lengthMax = 80

  /// The text in single quotes, shortened.
  package static func quoted(_ text: String) -> String {
    let shown = text.unicodeScalars.prefix(lengthMax)
    let ellipsis = shown.endIndex < text.unicodeScalars.endIndex ? "…" : ""
    return "'\(oneLine(String(shown)))\(ellipsis)'"
  }

  /// Replaces a secret.
  package static let mask = "***"

  /// The text without any of the secrets, longest first; one of which shortening has left only the beginning,
  /// in front of an ellipsis, is a secret still.
  package static func masked(_ text: String, _ secrets: [String]) -> String {
    var text = text
    for secret in secrets where !secret.isEmpty {
      text = text.replacing(secret, with: mask)
      guard text.last == "…" else { continue }
      let shown = text.dropLast()
      let cut = stride(from: min(shown.count, secret.count - 1), through: cutMin, by: -1)
        .first { shown.hasSuffix(secret.prefix($0)) }
      if let cut { text = shown.dropLast(cut) + mask + "…" }
    }
    return text
  }

  /// Fewer characters at the end of a text are no secret's beginning.
  private static let cutMin = 4

  /// The text with line breaks, control and invisible characters escaped: a file must not be able to add an
  /// error line or control the terminal.
  package static func oneLine(_ text: String) -> String {
    var line = ""
    for scalar in text.unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned, .surrogate:
        line += "\\u{\(String(scalar.value, radix: 16))}"
      default:
        line.unicodeScalars.append(scalar)
      }
    }
    return line
  }
}
