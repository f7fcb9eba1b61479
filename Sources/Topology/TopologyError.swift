// What is wrong with a topology file, and where: one line of text for each problem.

import Files

/// All the problems of one topology file.
public struct TopologyError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The file's name as it was given.
  public let file: String
  /// The problems, in order of line and column; never empty.
  public let issues: [Issue]

  /// One problem.
  public struct Issue: Equatable, Sendable {
    /// The line, from 1; 0 for the file as a whole.
    public let line: Int
    /// The column, from 1, counted in Unicode scalars; 0 for the file as a whole.
    public let column: Int
    /// The key, as in `policies[0].latency.threshold_ms`; empty at the top level.
    public let keyPath: String
    /// One line of text. It shows values as they are written, never what a variable expanded to.
    public let message: String

    /// Makes an issue from its parts.
    public init(line: Int, column: Int, keyPath: String, message: String) {
      self.line = line
      self.column = column
      self.keyPath = keyPath
      self.message = message
    }
  }

  /// Makes an error from its issues.
  public init(file: String, issues: [Issue]) {
    self.file = file
    self.issues = issues
  }

  /// One line for each issue: `file:line:column: message`.
  public var description: String {
    let name = MessageText.oneLine(file)
    return issues.map { issue in
      issue.line == 0
        ? "\(name): \(issue.message)" : "\(name):\(issue.line):\(issue.column): \(issue.message)"
    }.joined(separator: "\n")
  }
}

extension TopologyError {
  init(file: String, wholeFile message: String) {
    self.init(file: file, issues: [Issue(line: 0, column: 0, keyPath: "", message: message)])
  }

  init(file: String, at place: FilePlace, _ message: String) {
    self.init(
      file: file, issues: [Issue(line: place.line, column: place.column, keyPath: "", message: message)])
  }
}

/// A position in the file, both numbers from 1; columns count Unicode scalars, as libyaml's do.
struct FilePlace: Hashable, Comparable {
  var line: Int
  var column: Int

  static func < (left: FilePlace, right: FilePlace) -> Bool {
    (left.line, left.column) < (right.line, right.column)
  }
}
