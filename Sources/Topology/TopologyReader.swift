// Checked reading of sections and values: every problem is noted with its place and key, and reading
// continues.

import Files
import Yams

/// A mapping in the file: its keys and their values.
struct TopologySection {
  /// The key path; empty for the whole file.
  let path: String
  /// Where the mapping starts, to report missing keys; nil if the file has no such section.
  let place: FilePlace?
  /// In file order, without repeats.
  let fields: [TopologyField]

  /// A section that the file leaves out.
  static func absent(_ path: String) -> TopologySection {
    TopologySection(path: path, place: nil, fields: [])
  }

  subscript(key: String) -> TopologyField? { fields.first { $0.key == key } }

  /// The key path of one of the section's keys.
  func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
}

/// A key of a section, or an item of a list, and its value.
struct TopologyField {
  let key: String
  let path: String
  /// The key's place; for a list's item, the item's.
  let place: FilePlace
  let node: Node

  var isEmptyList: Bool { if case .sequence(let items) = node { items.isEmpty } else { false } }

  var isSection: Bool { if case .mapping = node { true } else { false } }
  var isList: Bool { if case .sequence = node { true } else { false } }

  var valuePlace: FilePlace { node.mark.map(FilePlace.init) ?? place }
}

/// A scalar with its variables expanded.
struct ScalarText {
  /// As written; the only form that messages show.
  let raw: String
  /// After expansion.
  let value: String
  /// In quotes and without variables: text, never a number or a Boolean. (Quotes around a variable mean
  /// nothing: inside braces YAML requires them.)
  let isQuoted: Bool
  /// Whether it refers to a file that is not read, so that the value is unknown.
  let isUnread: Bool
  let place: FilePlace
}

/// A setting and where it comes from, for checks against other settings.
struct TopologySetting<Value> {
  var value: Value
  /// Where it is given; nil when the default applies.
  var place: FilePlace?
  /// As written, for messages; nil when the default applies.
  var raw: String?
  /// False if the given value was rejected: its problem is noted, and no other check should add to it.
  var isValid = true
}

struct TopologyReader {
  /// More issues than this are no help.
  private static let issuesMax = 200

  private let environment: [String: String]
  private let files: FileReferences
  private var maskedKeys: [FilePlace: String]
  private var issues: [TopologyError.Issue] = []
  /// For a Collector's configuration, where variables are written differently; nil for a topology file.
  var collectorVariables: CollectorVariables?
  /// Noteworthy defaults that a Collector's configuration relies on; the importer notes them.
  var remarks: [(place: FilePlace, path: String, why: String)] = []

  init(
    document: TopologyDocument, environment: [String: String], files: FileReferences = .read,
    collectorVariables: CollectorVariables? = nil
  ) {
    self.environment = environment
    self.files = files
    self.collectorVariables = collectorVariables
    maskedKeys = document.maskedKeys
    for problem in document.problems {
      report(problem.message, at: problem.place, path: "")
    }
  }

  mutating func report(_ message: String, at place: FilePlace, path: String) {
    let keyPath = MessageText.oneLine(path)
    issues.append(.init(line: place.line, column: place.column, keyPath: keyPath, message: message))
  }

  /// Adds a remark about `section` of a Collector's configuration. It is not an issue.
  mutating func remark(_ section: TopologySection, _ why: String) {
    guard collectorVariables != nil, let place = section.place else { return }
    remarks.append((place, section.path, why))
  }

  /// The key paths of the issues.
  var issuePaths: [String] { issues.map(\.keyPath) }

  /// The issues in file order.
  mutating func finish() -> [TopologyError.Issue] {
    // Sections that the reader never entered, such as an unknown key's value, may have repeated keys too.
    for (place, key) in maskedKeys {
      report("duplicate key \(MessageText.quoted(key))", at: place, path: key)
    }
    var sorted = issues.enumerated().sorted {
      ($0.element.line, $0.element.column, $0.offset) < ($1.element.line, $1.element.column, $1.offset)
    }.map(\.element)
    if sorted.count > Self.issuesMax {
      let left = sorted.count - Self.issuesMax
      sorted.removeLast(left)
      sorted.append(.init(line: 0, column: 0, keyPath: "", message: "\(left) more problems are not shown"))
    }
    return sorted
  }

  // MARK: Sections and lists

  /// The value of `field` as a section; nil, and noted, if it is something else.
  mutating func section(_ field: TopologyField) -> TopologySection? {
    guard case .mapping(let mapping) = field.node else {
      refuse(field, "a section of keys and values")
      return nil
    }
    checkTag(mapping.tag, allowed: .map, of: field)
    var fields: [TopologyField] = []
    var places: [String: FilePlace] = [:]
    for (keyNode, value) in mapping {
      let place = keyNode.mark.map(FilePlace.init) ?? field.place
      guard case .scalar(let scalar) = keyNode else {
        report("a key\(Self.within(field.path)) must be plain text", at: place, path: field.path)
        continue
      }
      let key = maskedKeys.removeValue(forKey: place) ?? scalar.string
      let path = field.path.isEmpty ? key : "\(field.path).\(key)"
      if let first = places[key] {
        let within = Self.within(field.path)
        let message =
          "duplicate key \(MessageText.quoted(key))\(within), first given on line \(first.line)"
        report(message, at: place, path: path)
      } else {
        places[key] = place
        fields.append(TopologyField(key: key, path: path, place: place, node: value))
      }
    }
    return TopologySection(path: field.path, place: field.valuePlace, fields: fields)
  }

  /// The section under `key`; an absent one if it is left out or not a section.
  mutating func section(_ key: String, of parent: TopologySection) -> TopologySection {
    parent[key].flatMap { section($0) } ?? .absent(parent.path(of: key))
  }

  /// The items of a list; nil, and noted, if it is empty or not a list.
  mutating func list(_ field: TopologyField, of items: String) -> [TopologyField]? {
    guard case .sequence(let sequence) = field.node else {
      refuse(field, "a list of \(items)")
      return nil
    }
    checkTag(sequence.tag, allowed: .seq, of: field)
    if sequence.isEmpty {
      report("\(Self.shown(field.path)) needs at least one item", at: field.valuePlace, path: field.path)
      return nil
    }
    return sequence.enumerated().map { index, node in
      let place = node.mark.map(FilePlace.init) ?? field.place
      return TopologyField(key: field.key, path: "\(field.path)[\(index)]", place: place, node: node)
    }
  }

  /// Notes the keys of `section` that are not in `keys`.
  ///
  /// - Parameters:
  ///   - planned: keys reserved for later versions.
  ///   - elsewhere: where a key that is unknown here belongs; nil if nowhere.
  mutating func checkKeys(
    of section: TopologySection, _ keys: [String], planned: [String] = [],
    elsewhere: (String) -> String? = { _ in nil }
  ) {
    for field in section.fields where !keys.contains(field.key) {
      if planned.contains(field.key) {
        report(
          "\(Self.shown(field.path)) is not supported yet", at: field.place, path: field.path)
        continue
      }
      let place = section.path.isEmpty ? " at the top level" : Self.within(section.path)
      let hint =
        elsewhere(field.key).map { "; \($0)" }
        ?? Suggestion.nearest(to: field.key, among: keys).map { "; did you mean '\($0)'?" } ?? ""
      let message = "unknown key \(MessageText.quoted(field.key))\(place)\(hint)"
      report(message, at: field.place, path: field.path)
    }
  }

  /// The field under `key`; nil, and noted, if it is missing.
  mutating func required(_ key: String, of section: TopologySection) -> TopologyField? {
    if let field = section[key] { return field }
    if let place = section.place {
      let owner = section.path.isEmpty ? "the file" : Self.shown(section.path)
      report("\(owner) needs the key '\(key)'", at: place, path: section.path(of: key))
    }
    return nil
  }

  // MARK: Scalars

  /// The value of `field` as text; nil, and noted, if it has none or its variables can't be expanded.
  mutating func scalar(
    _ field: TopologyField, _ expected: String, allowsLoneDollars: Bool = false
  ) -> ScalarText? {
    guard case .scalar(let scalar) = field.node, !Self.isNull(scalar) else {
      refuse(field, expected)
      return nil
    }
    checkTag(scalar.tag, allowed: .str, of: field)
    var (source, environment) = (scalar.string, environment)
    if collectorVariables != nil {
      source = collectorVariables?.translated(source, of: field) ?? source
      environment = collectorVariables?.environment ?? environment
    }
    do {
      let text = try ExpandedText(
        source, environment: environment,
        allowsLoneDollars: allowsLoneDollars || collectorVariables != nil,
        files: collectorVariables == nil ? files : nil)
      let isQuoted = scalar.style != .plain && !text.hasVariables
      return ScalarText(
        raw: scalar.string, value: text.value, isQuoted: isQuoted, isUnread: text.hasUnreadFiles,
        place: field.valuePlace)
    } catch {
      report("\(Self.shown(field.path)): \(error.message)", at: field.valuePlace, path: field.path)
      return nil
    }
  }

  /// Reads the value under `key`, if it is given, with `read`, which returns nil for anything that is not
  /// `expected`.
  mutating func setting<Value>(
    _ key: String, of section: TopologySection, _ expected: String, default fallback: Value,
    read: (ScalarText) -> Value?
  ) -> TopologySetting<Value> {
    guard let field = section[key] else { return TopologySetting(value: fallback) }
    return setting(field, expected, default: fallback, read: read)
  }

  mutating func setting<Value>(
    _ field: TopologyField, _ expected: String, default fallback: Value, read: (ScalarText) -> Value?
  ) -> TopologySetting<Value> {
    guard let text = scalar(field, expected) else {
      return TopologySetting(value: fallback, place: field.valuePlace, isValid: false)
    }
    guard let value = read(text) else {
      if text.isUnread {
        reportUnread(field)
        return TopologySetting(value: fallback, place: text.place, isValid: false)
      }
      let quotes = text.isQuoted ? "the quoted string " : ""
      let found = "\(quotes)\(MessageText.quoted(text.raw))"
      report(
        "\(Self.shown(field.path)) must be \(expected), found \(found)", at: text.place, path: field.path)
      return TopologySetting(value: fallback, place: text.place, isValid: false)
    }
    return TopologySetting(value: value, place: text.place, raw: text.raw)
  }

  mutating func integer(
    _ key: String, of section: TopologySection, in range: ClosedRange<Int>, default fallback: Int
  ) -> Int {
    let expected = "a whole number from \(range.lowerBound) to \(range.upperBound)"
    return setting(key, of: section, expected, default: fallback) { text in
      text.isQuoted ? nil : NumberText.parseInteger(text.value).flatMap { range.contains($0) ? $0 : nil }
    }.value
  }

  mutating func duration(
    _ key: String, of section: TopologySection, in range: ClosedRange<Duration>, default fallback: Duration
  ) -> TopologySetting<Duration> {
    let from = DurationText.format(range.lowerBound)
    let to = DurationText.format(range.upperBound)
    let expected = "a duration from \(from) to \(to), such as 500ms, 30s or 1m30s"
    return setting(key, of: section, expected, default: fallback) { text in
      DurationText.parse(text.value).flatMap { range.contains($0) ? $0 : nil }
    }
  }

  mutating func byteSize(
    _ key: String, of section: TopologySection, in range: ClosedRange<Int>, default fallback: Int
  ) -> TopologySetting<Int> {
    let from = ByteSizeText.format(range.lowerBound)
    let to = ByteSizeText.format(range.upperBound)
    let expected = "a size from \(from) to \(to), such as 64MiB, 2GB or a number of bytes"
    return setting(key, of: section, expected, default: fallback) { text in
      ByteSizeText.parse(text.value).flatMap { range.contains($0) ? $0 : nil }
    }
  }

  mutating func truth(_ key: String, of section: TopologySection, default fallback: Bool) -> Bool {
    setting(key, of: section, "true or false", default: fallback) { text in
      text.isQuoted ? nil : ["true": true, "false": false][text.value]
    }.value
  }

  /// One of the words of `Value`; `planned` are words reserved for later versions.
  mutating func choice<Value: RawRepresentable & CaseIterable>(
    _ field: TopologyField, planned: [String] = [], among values: [Value] = Array(Value.allCases),
    as type: Value.Type = Value.self
  ) -> Value? where Value.RawValue == String {
    let words = values.map(\.rawValue).filter { !planned.contains($0) }
    let expected = Self.alternatives(words)
    guard let text = scalar(field, expected) else { return nil }
    if let value = Value(rawValue: text.value), words.contains(text.value) { return value }
    guard !text.isUnread else {
      reportUnread(field)
      return nil
    }
    let found = MessageText.quoted(text.raw)
    if planned.contains(text.value) {
      let message = "\(Self.shown(field.path)) \(found) is not supported yet"
      report(message, at: text.place, path: field.path)
    } else {
      let hint =
        Suggestion.nearest(to: text.value, among: words + planned).map { "; did you mean '\($0)'?" } ?? ""
      let message = "\(Self.shown(field.path)) must be \(expected), found \(found)\(hint)"
      report(message, at: text.place, path: field.path)
    }
    return nil
  }

  mutating func choice<Value: RawRepresentable & CaseIterable>(
    _ key: String, of section: TopologySection, planned: [String] = [],
    among values: [Value] = Array(Value.allCases), default fallback: Value
  ) -> Value where Value.RawValue == String {
    section[key].flatMap { choice($0, planned: planned, among: values, as: Value.self) } ?? fallback
  }

  // MARK: Words for messages

  private mutating func reportUnread(_ field: TopologyField) {
    let message = "\(Self.shown(field.path)) comes from a file that is not read; check it with --resolve"
    report(message, at: field.valuePlace, path: field.path)
  }

  /// Notes that `field` does not have the expected shape.
  private mutating func refuse(_ field: TopologyField, _ expected: String) {
    let subject = Self.shown(field.path)
    switch field.node {
    case .scalar(let scalar) where Self.isNull(scalar):
      report("\(subject) has no value; it must be \(expected)", at: field.place, path: field.path)
    case .scalar:
      report("\(subject) must be \(expected), found a single value", at: field.valuePlace, path: field.path)
    case .mapping:
      report("\(subject) must be \(expected), found a section", at: field.valuePlace, path: field.path)
    case .sequence, .alias:
      report("\(subject) must be \(expected), found a list", at: field.valuePlace, path: field.path)
    }
  }

  /// Notes a YAML tag such as `!!binary`: tags are not supported, and ignoring one would misread the value.
  private mutating func checkTag(_ tag: Tag, allowed: Tag.Name, of field: TopologyField) {
    guard !["", "!", allowed.rawValue].contains(tag.rawValue) else { return }
    let message =
      "\(Self.shown(field.path)) has the tag \(MessageText.quoted(tag.rawValue)); tags are not allowed"
    report(message, at: field.valuePlace, path: field.path)
  }

  private static func isNull(_ scalar: Node.Scalar) -> Bool {
    scalar.style == .plain && scalar.tag.rawValue != Tag.Name.str.rawValue
      && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
  }

  /// A key path as messages show it.
  static func shown(_ path: String) -> String {
    path.isEmpty ? "the file" : MessageText.oneLine(path)
  }

  private static func within(_ path: String) -> String {
    path.isEmpty ? "" : " in \(shown(path))"
  }

  /// `a`, `a or b`, `a, b or c`.
  static func alternatives(_ words: [String]) -> String {
    words.count < 2
      ? words.joined() : "\(words.dropLast().joined(separator: ", ")) or \(words[words.count - 1])"
  }
}
