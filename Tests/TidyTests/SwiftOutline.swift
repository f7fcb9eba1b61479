// An outline of Swift source: code without comments and text, and where each declaration begins and ends.
//
// It counts braces and knows no grammar. That is enough for code that the formatter has laid out.

import Foundation

/// The lines of a Swift file, parsed.
struct SwiftOutline: Sendable {
  /// A declaration with a body.
  struct Declaration: Sendable {
    enum Kind: Sendable {
      /// A function, initializer, deinitializer, subscript or computed variable.
      case function
      /// A type or an extension.
      case type
    }

    var kind: Kind
    /// The first line of the declaration itself, from zero.
    var start: Int
    /// The line of the brace that closes it.
    var end: Int
    /// The first line of the comment above it; `start` if there is none.
    var commentStart: Int
  }

  /// Each line without comments and the content of string literals.
  private(set) var code: [String] = []
  /// What the string literals of each line interpolate, roughly: their text from the first interpolation.
  private(set) var interpolations: [String] = []
  /// The comments on each line.
  private(set) var comments: [String] = []
  private(set) var declarations: [Declaration] = []

  init(_ lines: [String]) {
    separate(lines)
    findDeclarations()
  }

  /// The declarations around a line, the innermost first.
  func declarations(around line: Int) -> [Declaration] {
    declarations.filter { $0.start <= line && line <= $0.end }.sorted { $0.start > $1.start }
  }

  /// A text or regular expression on one line.
  private static var literal: Regex<Substring> { #/\#\/.*?\/\#|"(?:\\.|[^"\\])*"/# }

  private mutating func separate(_ lines: [String]) {
    var isInText = false
    for line in lines {
      let quotes = line.components(separatedBy: "\"\"\"").count - 1
      if isInText || quotes % 2 == 1 {
        // A multi-line literal begins after its opening quotes and ends before its closing ones.
        let parts = line.components(separatedBy: "\"\"\"")
        code.append(isInText ? (quotes > 0 ? parts[parts.count - 1] : "") : parts[0])
        interpolations.append(isInText ? SwiftOutline.interpolation(in: line[...]) : "")
        comments.append("")
        if quotes % 2 == 1 { isInText.toggle() }
        continue
      }
      var interpolation = ""
      let plain = line.replacing(SwiftOutline.literal) { match in
        interpolation += SwiftOutline.interpolation(in: match.0)
        return "\"\""
      }
      let comment = plain.firstRange(of: "//")
      code.append(comment.map { String(plain[..<$0.lowerBound]) } ?? plain)
      interpolations.append(interpolation)
      comments.append(comment.map { String(plain[$0.upperBound...]) } ?? "")
    }
  }

  private static func interpolation(in text: Substring) -> String {
    text.firstRange(of: "\\(").map { " " + text[$0.upperBound...] } ?? ""
  }

  private mutating func findDeclarations() {
    let function = #/^\s*(?:@?[a-z]\w*(?:\([^)]*\))? )*(?:func |init[?(<]|deinit\b|subscript[(<])/#
    let variable = #/^\s*(?:@?[a-z]\w*(?:\([^)]*\))? )*var .*\{/#
    let type = #/^\s*(?:@?[a-z]\w*(?:\([^)]*\))? )*(?:struct|enum|class|actor|protocol|extension) /#
    // Depth of parentheses, and for each open brace the declaration that it opened, if any.
    var parentheses = 0
    var open: [Declaration?] = []
    var pending: (declaration: Declaration, parentheses: Int)?
    for (number, line) in code.enumerated() {
      let isFunction = line.firstMatch(of: function) != nil || line.firstMatch(of: variable) != nil
      if isFunction || line.firstMatch(of: type) != nil {
        let declaration = Declaration(
          kind: isFunction ? .function : .type, start: number, end: number,
          commentStart: commentStart(above: number))
        pending = (declaration, parentheses)
      }
      for character in line {
        switch character {
        case "(", "[": parentheses += 1
        case ")", "]": parentheses -= 1
        case "{":
          let isBody = pending.map { $0.parentheses == parentheses } ?? false
          open.append(isBody ? pending?.declaration : nil)
          if isBody { pending = nil }
        case "}":
          // A requirement of a protocol has no body: the brace closes its surroundings.
          if pending?.parentheses == parentheses { pending = nil }
          guard let closed = open.popLast(), var declaration = closed else { continue }
          declaration.end = number
          declarations.append(declaration)
        default: continue
        }
      }
    }
  }

  private func commentStart(above line: Int) -> Int {
    var start = line
    while start > 0 {
      let above = code[start - 1].trimmingCharacters(in: .whitespaces)
      let isComment = above.isEmpty && !comments[start - 1].isEmpty
      guard isComment || above.hasPrefix("@") else { break }
      start -= 1
    }
    return start
  }
}
