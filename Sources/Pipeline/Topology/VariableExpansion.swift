// Environment variables in values: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar.

/// A scalar's text after expansion.
struct ExpandedText {
  /// The text with its variables replaced. It may be a secret: no message shows it.
  var value: String
  /// Whether a variable stood in it.
  var hasVariables: Bool

  /// Why a text can't be expanded.
  struct Failure: Error {
    let message: String
  }

  /// Expands `raw`. It is done on parsed scalars only, so that no variable's value is ever read as YAML.
  ///
  /// - Parameter allowsLoneDollars: whether a dollar that begins neither a variable nor `$$` is a dollar.
  init(
    _ raw: String, environment: [String: String], allowsLoneDollars: Bool = false
  ) throws(Failure) {
    value = ""
    hasVariables = false
    var rest = raw.unicodeScalars[...]
    while let dollar = rest.firstIndex(of: "$") {
      value.unicodeScalars.append(contentsOf: rest[..<dollar])
      rest = rest[dollar...].dropFirst()
      switch rest.first {
      case "$":
        value += "$"
        rest = rest.dropFirst()
      case "{":
        guard let end = rest.firstIndex(of: "}") else {
          throw Failure(message: "a '${' has no '}' (a default can't hold another variable)")
        }
        let body = String(rest[..<end].dropFirst())
        value += try Self.lookUp(body, environment: environment)
        hasVariables = true
        rest = rest[end...].dropFirst()
      case _ where allowsLoneDollars:
        value += "$"
      default:
        throw Failure(message: "a '$' stands alone; write '$$' for a dollar, '${NAME}' for a variable")
      }
    }
    value.unicodeScalars.append(contentsOf: rest)
  }

  /// The value of what stands between `${` and `}`. As in a shell, `:-` also replaces an empty value.
  private static func lookUp(
    _ body: String, environment: [String: String]
  ) throws(Failure) -> String {
    let name = String(
      body.unicodeScalars.prefix { $0.isASCII && ($0.properties.isAlphabetic || isInner($0)) })
    let rest = body.unicodeScalars.dropFirst(name.unicodeScalars.count)
    let isName = name.unicodeScalars.first.map { $0 == "_" || $0.properties.isAlphabetic } ?? false
    guard isName, rest.isEmpty || rest.starts(with: ":-".unicodeScalars) else {
      let shown = MessageText.quoted("${\(body)}")
      throw Failure(message: "\(shown) is no variable; write '${NAME}' or '${NAME:-default}'")
    }
    let given = environment[name]
    if rest.isEmpty {
      guard let given else {
        throw Failure(
          message: "environment variable '\(name)' is not set; set it, or write '${\(name):-default}'")
      }
      return given
    }
    // The default is checked even when it isn't used: a mistake in it must not wait for the day it is.
    let fallback = try ExpandedText(String(rest.dropFirst(2)), environment: [:]).value
    return given.flatMap { $0.isEmpty ? nil : $0 } ?? fallback
  }

  private static func isInner(_ scalar: Unicode.Scalar) -> Bool {
    scalar == "_" || ("0"..."9").contains(scalar)
  }
}
