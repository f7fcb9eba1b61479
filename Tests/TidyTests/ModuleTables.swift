// Which modules use which, according to the package and to ARCHITECTURE.md.

import Foundation

extension SourceTree {
  static func file(_ path: String) -> SourceFile? { files.first { $0.path == path } }
}

extension SourceFile {
  /// The names in each target's dependencies, from a package's description.
  var targetDependencies: [String: Set<String>] {
    let text = lines.map { $0.components(separatedBy: " // ")[0] }.joined(separator: " ")
    let target =
      #/\.(?:executableTarget|target)\(\s*name: "(\w+)",(?:\s*dependencies: \[(.*?)\],)?\s*swiftSettings/#
    var found: [String: Set<String>] = [:]
    for match in text.matches(of: target) {
      let names = (match.2 ?? "").matches(of: /"(\w+)"/).map { String($0.1) }
      found[String(match.1)] = Set(names)
    }
    return found
  }

  /// The names in each module's last column of the table `| module | job | uses |`.
  var moduleTable: [String: Set<String>] {
    guard let head = lines.firstIndex(of: "| module | job | uses |") else { return [:] }
    var found: [String: Set<String>] = [:]
    for line in lines[(head + 2)...].prefix(while: { $0.hasPrefix("|") }) {
      let columns = line.split(separator: "|", omittingEmptySubsequences: false)
      guard columns.count == 5, let module = columns[1].firstMatch(of: /`(\w+)`/)?.1 else { continue }
      found[String(module)] = Set(columns[3].matches(of: /`(\w+)`/).map { String($0.1) })
    }
    return found
  }
}
