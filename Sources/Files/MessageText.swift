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
