// Parses the text of a topology file to a tree of YAML nodes, each with its place.

import Files
import Yams

/// A parsed file, or why it can't be parsed.
///
/// Yams stops at a repeated key and reports only its first place. So the key there is masked and the text is
/// parsed again: the tree then has both, and `maskedKeys` has the name of the first.
struct TopologyDocument {
  /// The longest text accepted, in bytes.
  static let sizeMax = 256 << 10
  /// The most `*name` aliases accepted. Nested aliases multiply, and Yams walks all copies when it compares
  /// keys: 16 of them make at most 3 × 3 × 3 × 3 × 4 = 324 copies.
  static let aliasesMax = 16
  /// The most repeated keys looked for; each costs a parse.
  private static let maskedMax = 64

  /// The first document's root; nil if the text is empty or not YAML.
  private(set) var root: Node?
  /// What is wrong with the text as YAML.
  private(set) var problems: [(place: FilePlace, message: String)] = []
  /// Keys that are repeated later in the same mapping, by the place of the first.
  private(set) var maskedKeys: [FilePlace: String] = [:]

  init(_ yaml: String) {
    let start = FilePlace(line: 1, column: 1)
    guard yaml.utf8.count <= Self.sizeMax else {
      problems = [(start, "the file is longer than \(ByteSizeText.format(Self.sizeMax))")]
      return
    }
    if let place = Self.placeOfAlias(number: Self.aliasesMax + 1, in: yaml) {
      problems = [(place, "more than \(Self.aliasesMax) aliases (text that looks like '*name' counts too)")]
      return
    }
    var text = yaml
    while let (key, place) = parse(text) {
      guard maskedKeys.count < Self.maskedMax, maskedKeys[place] == nil,
        let masked = Self.mask(text, at: place, number: maskedKeys.count)
      else {
        problems.append((place, "duplicate key \(MessageText.quoted(key))"))
        return
      }
      maskedKeys[place] = key
      text = masked
    }
    if root == nil, problems.isEmpty {
      problems = [(start, "the file is empty; it needs at least the key 'kind'")]
    }
  }

  /// Parses `text`; returns a repeated key and its first place, if there is one.
  private mutating func parse(_ text: String) -> (key: String, place: FilePlace)? {
    do {
      let parser = try Parser(yaml: text, encoding: .utf8)
      root = try parser.nextRoot()
      if let second = try parser.nextRoot() {
        let place = second.mark.map(FilePlace.init) ?? FilePlace(line: 1, column: 1)
        problems.append((place, "a second YAML document begins here; a file holds one topology"))
      }
    } catch YamlError.duplicatedKeysInMapping(let keys, let context) {
      return (keys.first ?? "", FilePlace(context.mark))
    } catch {
      problems.append(Self.describe(error, in: text))
    }
    return nil
  }

  private static func describe(_ error: any Error, in text: String) -> (FilePlace, String) {
    switch error {
    case YamlError.scanner(let context, let problem, let mark, _),
      YamlError.parser(let context, let problem, let mark, _),
      YamlError.composer(let context, let problem, let mark, _):
      if isTab(at: FilePlace(mark), in: text) {
        return (FilePlace(mark), "not valid YAML: a tab where only spaces are allowed")
      }
      let details = context.map { ", \($0.text) that starts at \($0.mark)" } ?? ""
      return (FilePlace(mark), MessageText.oneLine("not valid YAML: \(problem)\(details)"))
    case YamlError.reader(let problem, let offset, _, _):
      let index = offset.flatMap { text.index(text.startIndex, offsetBy: $0, limitedBy: text.endIndex) }
      let place = index.map { Self.place(of: $0, in: text) } ?? FilePlace(line: 1, column: 1)
      return (place, MessageText.oneLine("not valid YAML: \(problem)"))
    default:
      return (FilePlace(line: 1, column: 1), MessageText.oneLine("not valid YAML: \(error)"))
    }
  }

  /// Whether there is a tab at `place`, or before it in a line that has only blanks so far.
  private static func isTab(at place: FilePlace, in text: String) -> Bool {
    guard let end = index(of: place, in: text) else { return false }
    let scalars = text.unicodeScalars
    if end < scalars.endIndex, scalars[end] == "\t" { return true }
    let line = scalars[..<end].reversed().prefix { $0 != "\n" && $0 != "\r" }
    return line.contains("\t") && line.allSatisfy { $0 == " " || $0 == "\t" }
  }

  /// Replaces the first character of the key at `place` with a private-use one, which makes the key unique
  /// and keeps all columns. Nil for keys that don't begin with plain text: tags, escapes, collections.
  private static func mask(_ text: String, at place: FilePlace, number: Int) -> String? {
    guard var index = Self.index(of: place, in: text), let replacement = Unicode.Scalar(0xE000 + number)
    else { return nil }
    var scalars = text.unicodeScalars
    if scalars[index] == "'" || scalars[index] == "\"" {
      index = scalars.index(after: index)
    }
    guard index < scalars.endIndex, !"'\"\\&!*[{|>? \t\r\n".unicodeScalars.contains(scalars[index]) else {
      return nil
    }
    scalars.replaceSubrange(index...index, with: [replacement])
    return String(scalars)
  }

  // MARK: Places

  /// Calls `body` with each scalar's index and place, until it returns true; returns that index.
  private static func first(
    in text: String, where body: (String.Index, FilePlace) -> Bool
  ) -> (index: String.Index, place: FilePlace)? {
    var place = FilePlace(line: 1, column: 1)
    let scalars = text.unicodeScalars
    for index in scalars.indices {
      if body(index, place) { return (index, place) }
      switch scalars[index] {
      case "\r" where scalars[scalars.index(after: index)...].first == "\n": break
      // The line breaks of YAML 1.1, which libyaml counts.
      case "\n", "\r", "\u{85}", "\u{2028}", "\u{2029}": place = FilePlace(line: place.line + 1, column: 1)
      default: place.column += 1
      }
    }
    return nil
  }

  private static func index(of wanted: FilePlace, in text: String) -> String.Index? {
    first(in: text) { _, place in place == wanted }?.index
  }

  private static func place(of wanted: String.Index, in text: String) -> FilePlace {
    first(in: text) { index, _ in index >= wanted }?.place ?? FilePlace(line: 1, column: 1)
  }

  /// The place of the n-th `*` followed by a character of an alias's name. Those in comments and quotes count
  /// too: only a count that never misses an alias bounds the work.
  private static func placeOfAlias(number: Int, in text: String) -> FilePlace? {
    var count = 0
    let scalars = text.unicodeScalars
    return first(in: text) { index, _ in
      guard scalars[index] == "*", let next = scalars[scalars.index(after: index)...].first,
        next.isASCII, next.properties.isAlphabetic || "0123456789_-".unicodeScalars.contains(next)
      else { return false }
      count += 1
      return count == number
    }?.place
  }
}

extension FilePlace {
  init(_ mark: Mark) {
    self.init(line: mark.line, column: mark.column)
  }
}
