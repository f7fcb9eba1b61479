// Dead code: declarations of the sources that are never named again.
//
// It compares names, not what they refer to. So a member with the name of another that is used (`count`), or
// an overload, passes; what it reports is dead, or is called from outside by a name that only its caller
// knows.

/// What a file declares, and the names in it.
private struct FileNames {
  /// A declaration whose name should occur again.
  struct Declaration {
    /// Where it can be used.
    enum Reach {
      case file
      case module
      case everywhere
    }

    var name: String
    /// From zero.
    var line: Int
    var reach: Reach
  }

  let file: SourceFile
  private(set) var declarations: [Declaration] = []
  /// How often each name occurs in code, declarations included.
  private(set) var counts: [String: Int] = [:]
  /// What the file's protocols require: it is used through the protocol, wherever that is visible.
  private(set) var required: Set<String> = []

  init(_ file: SourceFile) {
    self.file = file
    let outline = file.outline
    for (number, code) in outline.code.enumerated() {
      for name in FileNames.names(in: code + " " + outline.interpolations[number]) {
        counts[name, default: 0] += 1
      }
      guard let declaration = FileNames.declaration(in: code) else { continue }
      let around = outline.declarations(around: number).first { $0.kind == .type && $0.start < number }
      let type = around.map { outline.code[$0.start] } ?? ""
      if FileNames.words(of: type).contains("protocol") { required.formUnion(declaration.names) }
      // Values of such an enumeration are made from texts and numbers.
      if declaration.isCase, type.contains(/\bCaseIterable\b|: U?Int\d*\b|: String\b/) { continue }
      declarations += declaration.names.map {
        Declaration(name: $0, line: number, reach: declaration.reach)
      }
    }
  }

  private static let modifiers: Set = [
    "borrowing", "consuming", "fileprivate", "final", "indirect", "infix", "internal", "lazy", "mutating",
    "nonisolated", "nonmutating", "override", "package", "postfix", "prefix", "private", "public", "static",
    "unowned", "unsafe", "weak",
  ]
  private static let keywords: Set = [
    "actor", "associatedtype", "case", "class", "enum", "func", "let", "protocol", "struct", "typealias",
    "var",
  ]

  /// The names that a line declares, if it begins a declaration.
  private static func declaration(
    in code: String
  ) -> (names: [String], isCase: Bool, reach: Declaration.Reach)? {
    var reach = Declaration.Reach.module
    let words = words(of: code)
    for (place, word) in words.enumerated() {
      let rest = words.dropFirst(place + 1)
      switch word {
      case "case":
        let names = cases(rest.joined(separator: " "))
        return names.isEmpty ? nil : (names, true, .everywhere)
      case let keyword where keywords.contains(keyword):
        // Operators have no name.
        guard let next = rest.first, let name = names(in: next).first,
          next.trimmingPrefix("`").hasPrefix(name)
        else { return nil }
        return ([name], false, reach)
      case "private", "fileprivate": reach = .file
      case "public", "package": reach = .everywhere
      case let modifier where modifiers.contains(modifier) || modifier.hasPrefix("@"): continue
      default:
        // `private(set)` and the like don't limit who may read.
        guard let parenthesis = word.firstIndex(of: "("), modifiers.contains(String(word[..<parenthesis]))
        else {
          return nil
        }
      }
    }
    return nil
  }

  private static func words(of code: String) -> [String] { code.split(separator: " ").map(String.init) }

  /// The names after `case`; none in the pattern of a `switch`, which ends with a colon.
  private static func cases(_ text: String) -> [String] {
    var depth = 0
    let plain = text.filter { character in
      if character == "(" { depth += 1 }
      defer { if character == ")" { depth -= 1 } }
      return depth == 0
    }
    guard !plain.contains(":") else { return [] }
    let names = plain.split(separator: ",").map { $0.drop { $0 == " " } }.filter { !$0.isEmpty }
    let isList = names.allSatisfy { $0.wholeMatch(of: /`?[a-z]\w*`?(?: =.*)?/) != nil }
    return isList ? names.compactMap { FileNames.names(in: String($0)).first } : []
  }

  /// The identifiers in a line, keywords among them.
  private static func names(in code: String) -> [String] {
    var names: [String] = []
    var name: [UInt8] = []
    for byte in Array(code.utf8) + [0x20] {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "_"), UInt8(ascii: "0")...UInt8(ascii: "9"):
        name.append(byte)
      default:
        if let first = name.first, !(0x30...0x39).contains(first) {
          names.append(String(decoding: name, as: UTF8.self))
        }
        name.removeAll(keepingCapacity: true)
      }
    }
    return names
  }
}

extension Rules {
  /// Names that are used where the sources don't name them, and by what.
  static let usedFromOutside: [String: String] = [
    "InboundIn": "NIO", "InboundOut": "NIO", "OutboundOut": "NIO", "handlerAdded": "NIO",
    "handlerRemoved": "NIO", "channelReadComplete": "NIO", "channelActive": "NIO", "channelInactive": "NIO",
    "channelRead": "NIO", "userInboundEventTriggered": "NIO", "errorCaught": "NIO",
    "CodingKeys": "Codable", "advanced": "Strideable", "callAsFunction": "calls of a value",
    "customMirror": "the standard library", "debugDescription": "the standard library",
    "Main": "the system: the program begins there",
    "defaultValueDescription": "ArgumentParser", "validate": "ArgumentParser",
    // Tests need these, and nothing else does.
    "ascending": "WorkloadTests: orders of fields that encoders have",
    "failNext": "WorkerErrorTests: a broker's answers",
    "takeLeader": "StretchReaderTests: a partition that can't be read",
    "librdkafkaErrorCodes": "ErrorCodeTests: that each code has a remedy",
    "patternSteps": "SpanConditionSetTests: that a pattern runs in linear time",
  ]

  /// Declarations that nothing uses where they are visible: private ones in their file, public ones and
  /// protocols' requirements in all files, others in their module. Tests don't count as uses.
  static func checkDeadCode(
    _ files: [SourceFile], usedFromOutside: Set<String> = Set(usedFromOutside.keys)
  ) -> [Breach] {
    let all = files.map(FileNames.init)
    let required = all.reduce(into: Set()) { $0.formUnion($1.required) }
    // The occurrences of a name minus its declarations are its uses.
    var (uses, usesInModule): ([String: Int], [String: [String: Int]]) = ([:], [:])
    let usesInFile = all.map { names in
      let own = names.declarations.reduce(into: names.counts) { $0[$1.name, default: 0] -= 1 }
      uses.merge(own, uniquingKeysWith: +)
      usesInModule[names.file.module ?? "", default: [:]].merge(own, uniquingKeysWith: +)
      return own
    }
    return zip(all, usesInFile).flatMap { names, own in
      names.declarations.compactMap { declaration in
        let name = declaration.name
        guard !usedFromOutside.contains(name) else { return nil }
        let count: Int?
        switch required.contains(name) ? .everywhere : declaration.reach {
        case .file: count = own[name]
        case .module: count = usesInModule[names.file.module ?? ""]?[name]
        case .everywhere: count = uses[name]
        }
        guard count ?? 0 <= 0 else { return nil }
        return Breach(path: names.file.path, line: declaration.line + 1, what: "nothing uses \(name)")
      }
    }
  }
}
