// This project's files on disk: what the tidy tests look at.

import Foundation

/// A text file of the project.
struct SourceFile: Sendable, CustomStringConvertible {
  /// The path from the project's root.
  let path: String
  let lines: [String]
  /// The file as Swift; empty if it is something else.
  let outline: SwiftOutline

  init(path: String, text: String) {
    self.path = path
    lines = text.components(separatedBy: "\n")
    outline = SwiftOutline(path.hasSuffix(".swift") ? lines : [])
  }

  var description: String { path }
  var name: String { path.components(separatedBy: "/").last ?? path }

  /// `Sources` or `Tests`, for what is in them.
  var root: String? { path.contains("/") ? path.components(separatedBy: "/").first : nil }

  /// The module that a source belongs to: the folder in `Sources`.
  var module: String? {
    let parts = path.components(separatedBy: "/")
    return parts.count > 2 && parts[0] == "Sources" ? parts[1] : nil
  }
}

enum SourceTree {
  /// Every text file of the project except build products and version control's own.
  static let files: [SourceFile] = read()

  static let swift: [SourceFile] = files.filter { $0.name.hasSuffix(".swift") }

  static let sources: [SourceFile] = swift.filter { $0.root == "Sources" }

  /// Two folders up from this file.
  private static var root: URL {
    URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
  }

  private static func read() -> [SourceFile] {
    var files: [SourceFile] = []
    let base = root.standardizedFileURL.path(percentEncoded: false)
    guard let walk = FileManager.default.enumerator(at: root, includingPropertiesForKeys: [.isDirectoryKey])
    else { return [] }
    for case let url as URL in walk {
      let name = url.lastPathComponent
      if name.hasPrefix(".build") || name == ".git" || name == ".venv" {
        walk.skipDescendants()
        continue
      }
      // Binary files, like most of a fuzz target's corpus, are left out.
      guard let data = try? Data(contentsOf: url), !data.contains(0),
        let text = String(data: data, encoding: .utf8)
      else { continue }
      let path = url.standardizedFileURL.path(percentEncoded: false)
      files.append(SourceFile(path: String(path.dropFirst(base.count)), text: text))
    }
    return files.sorted { $0.path < $1.path }
  }
}
