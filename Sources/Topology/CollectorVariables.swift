// The variables of a Collector's configuration: `${env:NAME}`, `${env:NAME:-default}`, and `${NAME}` for
// short.

/// Translates variables as they are read. In a text, a stand-in replaces the variable, so that the variable
/// itself is written; where a number or the like is expected, the variable's current value is used.
///
/// Syntax: <https://opentelemetry.io/docs/collector/configuration/#environment-variables>
struct CollectorVariables {
  /// Keys whose values are free text.
  private static let textKeys: Set = [
    "name", "key", "values", "hash_salt", "span", "spanevent", "policy", "policy_order", "brokers", "topic",
    "topics", "client_id", "rack_id", "username", "password", "ca_file", "cert_file", "key_file",
  ]

  /// The stand-ins and their variables.
  private(set) var standIns: [TopologyWriter.StandIn] = []
  /// Variables whose values were used, by place.
  private(set) var taken: [FilePlace: (name: String, path: String)] = [:]
  /// The process's variables, and each stand-in as a variable whose value is the stand-in itself.
  private(set) var environment: [String: String]
  /// The values of the written variables when the written topology is read back.
  private(set) var standInsByName: [String: String] = [:]

  init(environment: [String: String]) {
    self.environment = environment
  }

  /// `text` with its variables in the syntax of topology files.
  ///
  /// - Parameter field: the field whose value the text is.
  mutating func translated(_ text: String, of field: TopologyField) -> String {
    var result = ""
    var rest = text[...]
    while let dollar = rest.firstIndex(of: "$") {
      result += rest[..<dollar]
      rest = rest[dollar...]
      if rest.hasPrefix("$$") {
        result += "$$"
        rest = rest.dropFirst(2)
      } else if rest.hasPrefix("${"), let end = rest.firstIndex(of: "}") {
        result += variable(rest[..<end].dropFirst(2), in: field)
        rest = rest[end...].dropFirst()
      } else {
        result += "$"
        rest = rest.dropFirst()
      }
    }
    return result + rest
  }

  private mutating func variable(_ body: Substring, in field: TopologyField) -> String {
    let own = body.hasPrefix("env:") ? body.dropFirst(4) : body
    let name = own.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
    let fallback = own.dropFirst(name.count)
    // From another provider, such as `${file:…}`: the reader rejects it.
    guard !name.isEmpty, fallback.isEmpty || fallback.hasPrefix(":-") else { return "${\(body)}" }
    guard CollectorVariables.textKeys.contains(field.key) else {
      taken[field.valuePlace] = (String(name), field.path)
      return "${\(own)}"
    }
    return "${\(standIn(for: String(name), expression: "${\(own)}"))}"
  }

  /// The text with a digit in place of each stand-in, so that it can be validated.
  static func sample(of text: String) -> String {
    text.replacing(#/TAILRACE_VARIABLE_\d+_/#, with: "1")
  }

  /// A text that stands in for a variable. It is valid wherever a name is: in topics, inside conditions.
  mutating func standIn(for name: String, expression: String) -> String {
    if let known = standInsByName[name] { return known }
    let stand = "TAILRACE_VARIABLE_\(standIns.count)_"
    standIns.append(TopologyWriter.StandIn(stand: stand, expression: expression))
    standInsByName[name] = stand
    environment[stand] = stand
    return stand
  }
}
