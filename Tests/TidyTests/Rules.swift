// The rules that the tidy tests enforce. Each takes a file and reports where it breaks the rule.

import Foundation

/// Where a rule is broken.
struct Breach: Equatable, CustomStringConvertible {
  var path: String
  /// From one.
  var line: Int
  var what: String

  var description: String { "\(path):\(line): \(what)" }
}

enum Rules {
  /// Which modules each module may import. Arrows point one way; `tailrace`, on top, may import anything.
  static let imports: [String: Set<String>] = [
    "Invariants": [],
    "Files": ["Foundation"],
    "OTLP": ["Invariants"],
    "Compression": ["CZlib", "CZstd"],
    "Encodings": ["OTLP"],
    "SpanStorage": ["Invariants", "OTLP", "CMemory", "CZstd", "Glibc"],
    "Expressions": ["Invariants", "OTLP"],
    "Sampling": ["Invariants", "OTLP", "SpanStorage", "Expressions"],
    "Kafka": ["CMemory", "CRdKafka", "Glibc", "Synchronization"],
    "Topology": ["Files", "OTLP", "Expressions", "Sampling", "Kafka", "Foundation", "Yams"],
    "Pipeline": [
      "Invariants", "Files", "Compression", "OTLP", "Encodings", "SpanStorage", "Sampling", "Kafka",
      "Topology",
      "Foundation", "Logging", "Synchronization",
    ],
    "Exploration": ["OTLP", "Sampling"],
    "Console": [
      "OTLP", "Sampling", "Kafka", "Topology", "Pipeline", "Exploration", "CConsolePages", "Foundation",
      "Synchronization", "NIOConcurrencyHelpers", "NIOCore", "NIOPosix", "NIOSSL",
    ],
    "Stores": [
      "Files", "OTLP", "Sampling", "Topology", "Pipeline", "Foundation", "Synchronization", "NIOCore",
      "NIOHPACK", "NIOHTTP1", "NIOHTTP2", "NIOPosix", "NIOSSL", "NIOTLS",
    ],
    "Simulation": ["OTLP", "Sampling", "Kafka", "Topology", "Pipeline", "Glibc"],
  ]

  static let columnsMax = 110
  /// Comments and text literals are wrapped by hand, where the sense breaks.
  static let textColumnsMax = 110
  static let functionLinesMax = 70

  static func checkImports(_ file: SourceFile) -> [Breach] {
    guard let module = file.module, module != "tailrace" else { return [] }
    guard let allowed = imports[module] else {
      return [Breach(path: file.path, line: 1, what: "module \(module) is not in the import table")]
    }
    let statement =
      #/^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:\w+\s+)?import\s+(?:(?:struct|class|enum|func|var|let)\s+)?(\w+)/#
    return breaches(in: file, file.outline.code) { line in
      guard let imported = line.firstMatch(of: statement)?.1, !allowed.contains(String(imported)) else {
        return nil
      }
      return "\(module) must not import \(imported)"
    }
  }

  /// Words that must not be in any Swift file, comments included.
  static func checkLeftovers(_ file: SourceFile) -> [Breach] {
    // Put together, so that this file does not break its own rule.
    let words = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "-Oun" + "checked"]
    return breaches(in: file, file.lines) { line in
      words.first { line.contains($0) }.map { "\($0) is left over" }
    }
  }

  /// What a merge leaves where it found a conflict, in any text file.
  static func checkMergeMarkers(_ file: SourceFile) -> [Breach] {
    let markers = ["<", ">"].map { String(repeating: $0, count: 7) + " " }
    return breaches(in: file, file.lines) { line in
      markers.first(where: line.hasPrefix).map { "\($0)is left of a merge" }
    }
  }

  /// Calls that stop the process or the thread, which no source may make.
  static func checkBannedCode(_ file: SourceFile) -> [Breach] {
    breaches(in: file, file.outline.code) { line in
      let found = line.firstMatch(of: /\btry!|\bas!|\.unsafelyUnwrapped\b|\b(?:Task|Thread)\.sleep\b/)
      return found.map { "\($0.0) is banned" }
    }
  }

  static func checkColumns(_ file: SourceFile) -> [Breach] {
    let code = file.outline.code
    return file.lines.enumerated().compactMap { number, line in
      let isText = code[number].trimmingCharacters(in: .whitespaces).isEmpty
      let most = isText ? textColumnsMax : columnsMax
      guard line.count > most else { return nil }
      return Breach(path: file.path, line: number + 1, what: "\(line.count) columns, more than \(most)")
    }
  }

  static func checkFunctionLengths(_ file: SourceFile) -> [Breach] {
    file.outline.declarations.compactMap { declaration in
      let count = declaration.end - declaration.start + 1
      guard declaration.kind == .function, count > functionLinesMax else { return nil }
      return Breach(
        path: file.path, line: declaration.start + 1, what: "\(count) lines, more than \(functionLinesMax)")
    }
  }

  /// A file states its job before anything else.
  static func checkOpening(_ file: SourceFile) -> [Breach] {
    let first = file.lines.first ?? ""
    guard file.name != "Package.swift" else { return [] }
    guard first.hasPrefix("// "), first.split(separator: " ").count >= 4 else {
      return [Breach(path: file.path, line: 1, what: "the file does not open with its job")]
    }
    return []
  }

  /// Names that tell nothing about what a file or type is for.
  static func checkNames(_ file: SourceFile) -> [Breach] {
    let empty = /(?:Utils?|Utilit(?:y|ies)|Managers?|Helpers?)$/
    let declaration = /\b(?:struct|enum|class|actor|protocol|typealias) (\w+)/
    var breaches = breaches(in: file, file.outline.code) { line in
      guard let name = line.firstMatch(of: declaration)?.1, name.contains(empty) else { return nil }
      return "the name \(name) says nothing"
    }
    if file.name.replacing(".swift", with: "").contains(empty) {
      breaches.append(Breach(path: file.path, line: 1, what: "the name \(file.name) says nothing"))
    }
    return breaches
  }

  /// Every `unsafe` step has its proof, a comment with the word "Sound": next to it, or elsewhere in the type
  /// around it or above that, where one argument covers several steps.
  static func checkUnsafe(_ file: SourceFile) -> [Breach] {
    let outline = file.outline
    return outline.code.indices.compactMap { line in
      guard outline.code[line].contains(/\bunsafe\b/) else { return nil }
      let proofs = outline.declarations(around: line).map { outline.comments[$0.commentStart...$0.end] }
      let own = outline.comments[max(0, line - 3)...line]
      guard !(proofs + [own]).contains(where: { $0.contains { $0.contains(/\b[Ss]ound\b/) } }) else {
        return nil
      }
      return Breach(path: file.path, line: line + 1, what: "`unsafe` without a comment why it is sound")
    }
  }

  /// Paths of a particular machine.
  static func checkPaths(_ file: SourceFile) -> [Breach] {
    let roots = ["wo" + "rk", "t" + "mp", "ho" + "me", "Us" + "ers"].map { "/\($0)/" }
    return breaches(in: file, file.lines) { line in
      roots.first { root in
        // A path begins there: not "https://host/root/", not "some/root/".
        line.ranges(of: root).contains { range in
          range.lowerBound == line.startIndex
            || " \"'`=(:<".contains(line[line.index(before: range.lowerBound)])
        }
      }.map { "the path \($0) is of one machine" }
    }
  }

  private static func breaches(in file: SourceFile, _ lines: [String], _ find: (String) -> String?)
    -> [Breach]
  {
    lines.enumerated().compactMap { number, line in
      find(line).map { Breach(path: file.path, line: number + 1, what: $0) }
    }
  }
}
