// The variables of a Collector's configuration: `${env:NAME}`, `${env:NAME:-default}`, and `${NAME}` for
// short.

/// Translates variables as they are read. Where a text is wanted, a stand-in takes the variable's place, so
/// that the variable itself is written; where a number or the like is wanted, its value now is taken.
///
/// Syntax: <https://opentelemetry.io/docs/collector/configuration/#environment-variables>
struct CollectorVariables {
  /// Keys whose values are texts of the user's own.
  private static let textKeys: Set = [
    "name", "key", "values", "hash_salt", "span", "spanevent", "policy", "policy_order", "brokers", "topic",
    "topics", "client_id", "rack_id", "username", "password", "ca_file", "cert_file", "key_file",
  ]

  /// What stands for which variable.
  private(set) var standIns: [TopologyWriter.StandIn] = []
  /// Variables whose values were taken, by where.
  private(set) var taken: [FilePlace: (name: String, path: String)] = [:]
  /// Every variable of the process, and every stand-in as a variable that has itself as its value.
  private(set) var environment: [String: String]
  /// The values that the written variables have where what is written is read again.
  private(set) var standInsByName: [String: String] = [:]

  init(environment: [String: String]) {
    self.environment = environment
  }

  /// `text` with its variables as topology files have them.
  ///
  /// - Parameter field: what the text is the value of.
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
    // Of another provider, such as `${file:…}`: the reader refuses it.
    guard !name.isEmpty, fallback.isEmpty || fallback.hasPrefix(":-") else { return "${\(body)}" }
    guard CollectorVariables.textKeys.contains(field.key) else {
      taken[field.valuePlace] = (String(name), field.path)
      return "${\(own)}"
    }
    return "${\(standIn(for: String(name), expression: "${\(own)}"))}"
  }

  /// The text with a number for each variable: fit to be looked at where its value would be.
  static func sample(of text: String) -> String {
    text.replacing(#/TAILRACE_VARIABLE_\d+_/#, with: "1")
  }

  /// A text that stands for a variable. It may stand wherever a name may: in topics, inside conditions.
  mutating func standIn(for name: String, expression: String) -> String {
    if let known = standInsByName[name] { return known }
    let stand = "TAILRACE_VARIABLE_\(standIns.count)_"
    standIns.append(TopologyWriter.StandIn(stand: stand, expression: expression))
    standInsByName[name] = stand
    environment[stand] = stand
    return stand
  }
}
